/*
 * curl multi, driven by libuv: curl tells us which sockets to watch (one uv_poll_t each) and when to wake it (one uv_timer_t);
 * we tell curl what happened. One multi handle per client, so that the connections of an engine are its own.
 *
 * Nothing is answered from inside curl: transfers that ended are first taken off the multi handle and put on the `ended` list,
 * streams that have news on the `fresh` list, then both are told one after the other. A callback may thus send, cancel, or free
 * the client.
 */
#include "engine/http.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/loop.h"

#include <assert.h>
#include <curl/curl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <uv.h>

#define RETRY_AFTER_MS_MAX (60 * 60 * 1000)
#define IDLE_MAX 256 /* requests that are kept for later ones */
#define IDLE_BYTES_MAX (64 << 10) /* of a reply's storage that is kept with them */

TAILQ_HEAD(request_list, http_request);
TAILQ_HEAD(fresh_list, http_request);

struct http_client {
	struct loop *loop;
	CURLM *multi;
	uv_timer_t *timer; /* freed in its close callback */
	struct curl_slist *headers;
	char *ca_file, *proxy;
	uint64_t connect_timeout_ms;
	uint64_t response_bytes_max;
	struct request_list flying, ended;
	struct fresh_list
		fresh; /* streams with bytes that were not handed on yet; empty outside of collect() */
	struct http_request *idle[IDLE_MAX]; /* n_idle */
	size_t n_idle;
	struct loop_timer *wake; /* answers `ended` on the next turn */
	bool answering, freed;
};

struct http_request {
	TAILQ_ENTRY(http_request) link;
	struct http_client *client;
	CURL *easy; /* owns; with the options that all requests of the client share */
	struct str body, reply;
	int64_t retry_after_ms;
	uint64_t timeout_ms;
	char error_text[CURL_ERROR_SIZE];
	enum http_failure failure;
	struct error err;
	long status;
	http_done *done;
	http_chunk *chunk; /* NULL: the body is collected */
	TAILQ_ENTRY(http_request) fresh_link;
	bool is_fresh;
	void *ctx;
};

/* --- the library --- */

/* curl_global_init is not thread-safe everywhere; the first client is made by the only thread that makes clients. */
static void curl_ready(void)
{
	static bool done;

	if (done)
		return;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		oom();
	/* With CURLOPT_NOSIGNAL curl leaves it to us: a TLS peer that hangs up must not kill the process. */
	signal(SIGPIPE, SIG_IGN);
	done = true;
}

/* --- what ended --- */

static void request_free(struct http_request *request)
{
	curl_easy_cleanup(request->easy);
	str_release(&request->reply);
	str_release(&request->body);
	free(request);
}

/* It is over: its handle and storage serve a later one. */
static void request_retire(struct http_request *request)
{
	struct http_client *client = request->client;

	if (client->n_idle < IDLE_MAX && request->reply.size <= IDLE_BYTES_MAX &&
		request->body.size <= IDLE_BYTES_MAX)
		client->idle[client->n_idle++] = request;
	else
		request_free(request);
}

static void timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void client_destroy(struct http_client *client)
{
	assert(TAILQ_EMPTY(&client->flying) && TAILQ_EMPTY(&client->ended));
	loop_timer_stop(client->wake);
	while (client->n_idle > 0)
		request_free(client->idle[--client->n_idle]);
	/* Closes connections, which calls socket_changed for each: the uv handles go before the client does. */
	curl_multi_cleanup(client->multi);
	uv_timer_stop(client->timer);
	uv_close((uv_handle_t *)client->timer, timer_closed);
	curl_slist_free_all(client->headers);
	free(client->ca_file);
	free(client->proxy);
	free(client);
}

static void answer(struct http_request *request)
{
	struct http_reply reply = {
		.failure = request->failure,
		.err = request->err,
		.status = request->status,
		.retry_after_ms = request->retry_after_ms,
		.body = {request->reply.data, request->reply.len},
	};

	request->done(request->ctx, &reply);
	request_retire(request);
}

static void answer_all(struct http_client *client)
{
	struct http_request *request;

	if (client->answering)
		return;
	client->answering = true;
	while ((request = TAILQ_FIRST(&client->ended)) != NULL) {
		TAILQ_REMOVE(&client->ended, request, link);
		answer(request);
	}
	client->answering = false;
	if (client->freed)
		client_destroy(client);
}

static void wake(void *ctx)
{
	struct http_client *client = ctx;

	client->wake = NULL;
	answer_all(client);
}

static void answer_next_turn(struct http_client *client)
{
	if (client->wake == NULL)
		client->wake = loop_after(client->loop, 0, wake, client);
}

static enum http_failure failure_of(CURL *easy, CURLcode code)
{
	curl_off_t begun_us = 0;

	switch (code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return HTTP_CUT;
	case CURLE_OPERATION_TIMEDOUT:
		/* A connection that never came up is another matter than a server that thinks for too long. */
		curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &begun_us);
		return begun_us > 0 ? HTTP_TIMED_OUT : HTTP_UNREACHABLE;
	case CURLE_WRITE_ERROR:
	case CURLE_FILESIZE_EXCEEDED:
		return HTTP_TOO_BIG;
	default:
		return HTTP_UNREACHABLE;
	}
}

static void describe(struct http_request *request, CURLcode code)
{
	const char *why = request->error_text[0] != '\0' ? request->error_text
							 : curl_easy_strerror(code);
	char size[24];

	switch (request->failure) {
	case HTTP_OK:
		return;
	case HTTP_TOO_BIG:
		text_format_size(request->client->response_bytes_max, size);
		error_set(&request->err, FAIL_DATA, "the answer is larger than the limit of %s",
			size);
		return;
	case HTTP_TIMED_OUT:
		error_set(&request->err, FAIL_REMOTE, "no answer within %.3g s",
			(double)request->timeout_ms / 1000);
		return;
	default:
		error_set(&request->err, FAIL_REMOTE, "%s", why);
	}
}

static void transfer_ended(struct http_client *client, CURL *easy, CURLcode code)
{
	struct http_request *request = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &request->status);
	request->failure = failure_of(easy, code);
	describe(request, code);
	curl_multi_remove_handle(client->multi, easy);
	TAILQ_REMOVE(&client->flying, request, link);
	TAILQ_INSERT_TAIL(&client->ended, request, link);
}

static void hand_on_fresh(struct http_client *client)
{
	struct http_request *request;

	client->answering = true;
	while ((request = TAILQ_FIRST(&client->fresh)) != NULL) {
		TAILQ_REMOVE(&client->fresh, request, fresh_link);
		request->is_fresh = false;
		if (request->failure != HTTP_CANCELLED)
			request->chunk(request->ctx,
				(struct slice){request->reply.data, request->reply.len});
		str_reset(&request->reply);
	}
	client->answering = false;
}

static void collect(struct http_client *client)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(client->multi, &left)) != NULL) {
		if (msg->msg == CURLMSG_DONE)
			transfer_ended(client, msg->easy_handle, msg->data.result);
	}
	hand_on_fresh(client);
	answer_all(client);
}

/* --- curl's wishes, libuv's events --- */

struct watch {
	uv_poll_t uv;
	struct http_client *client;
	curl_socket_t socket;
};

static void watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void socket_ready(uv_poll_t *uv, int status, int events)
{
	struct watch *watch = uv->data;
	int flags = 0, running;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	/* `watch` may be gone after this: curl can close the socket. */
	struct http_client *client = watch->client;
	curl_multi_socket_action(client->multi, watch->socket, flags, &running);
	collect(client);
}

static struct watch *watch_new(struct http_client *client, curl_socket_t socket)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));

	watch->client = client;
	watch->socket = socket;
	watch->uv.data = watch;
	if (uv_poll_init_socket(loop_uv(client->loop), &watch->uv, socket) != 0) {
		free(watch);
		return NULL;
	}
	curl_multi_assign(client->multi, socket, watch);
	return watch;
}

static int socket_changed(CURL *easy, curl_socket_t socket, int what, void *userp, void *socketp)
{
	struct http_client *client = userp;
	struct watch *watch = socketp;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watch != NULL) {
			uv_poll_stop(&watch->uv);
			uv_close((uv_handle_t *)&watch->uv, watch_closed);
			curl_multi_assign(client->multi, socket, NULL);
		}
		return 0;
	}
	if (watch == NULL)
		watch = watch_new(client, socket);
	if (watch == NULL)
		return -1;
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	uv_poll_start(&watch->uv, events, socket_ready);
	return 0;
}

static void timer_fired(uv_timer_t *timer)
{
	struct http_client *client = timer->data;
	int running;

	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(client);
}

static int timer_changed(CURLM *multi, long timeout_ms, void *userp)
{
	struct http_client *client = userp;

	(void)multi;
	if (timeout_ms < 0) {
		uv_timer_stop(client->timer);
	} else {
		uv_update_time(loop_uv(client->loop));
		uv_timer_start(client->timer, timer_fired, (uint64_t)timeout_ms, 0);
	}
	return 0;
}

/* --- a client --- */

static struct curl_slist *add_header(struct curl_slist *list, const char *line)
{
	list = curl_slist_append(list, line);
	if (list == NULL)
		oom();
	return list;
}

static struct curl_slist *make_headers(const struct http_config *config)
{
	/* Without the last, curl waits for a "100 Continue" before it sends long prompts; the second names the body's type. */
	struct curl_slist *list = add_header(NULL, "Accept: application/json");

	list = add_header(list, "Content-Type: application/json");
	list = add_header(list, "Expect:");
	if (config->api_key != NULL) {
		AUTO_FREE char *line = xasprintf("Authorization: Bearer %s", config->api_key);

		list = add_header(list, line);
	}
	for (size_t i = 0; i < config->n_headers; i++) {
		AUTO_FREE char *line = xasprintf(
			"%s: %s", config->header_names[i], config->header_values[i]);

		list = add_header(list, line);
	}
	return list;
}

struct http_client *http_client_new(struct loop *loop, const struct http_config *config)
{
	struct http_client *client = xcalloc(1, sizeof(*client));

	curl_ready();
	client->loop = loop;
	client->multi = curl_multi_init();
	client->timer = xcalloc(1, sizeof(*client->timer));
	if (client->multi == NULL)
		oom();
	client->headers = make_headers(config);
	client->ca_file = config->ca_file != NULL ? xstrdup(config->ca_file) : NULL;
	client->proxy = config->proxy != NULL ? xstrdup(config->proxy) : NULL;
	client->connect_timeout_ms = config->connect_timeout_ms;
	client->response_bytes_max = config->response_bytes_max;
	TAILQ_INIT(&client->flying);
	TAILQ_INIT(&client->ended);
	TAILQ_INIT(&client->fresh);
	uv_timer_init(loop_uv(loop), client->timer);
	client->timer->data = client;
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	return client;
}

void http_client_free(struct http_client *client)
{
	if (client == NULL)
		return;
	client->freed = true;
	if (!client->answering)
		client_destroy(client);
}

/* --- a request --- */

static bool is_success(const struct http_request *request)
{
	long status = 0;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status <= 299;
}

static size_t body_came(char *bytes, size_t size, size_t n, void *userp)
{
	struct http_request *request = userp;

	str_append(&request->reply, bytes, size * n);
	if (request->chunk != NULL && !request->is_fresh && is_success(request)) {
		TAILQ_INSERT_TAIL(&request->client->fresh, request, fresh_link);
		request->is_fresh = true;
	}
	return request->reply.full ? 0 : size * n;
}

/* "120" or a date; nonsense counts as absent. */
static int64_t parse_retry_after(const char *value)
{
	uint64_t seconds;
	int64_t wait_ms;
	time_t when;

	if (text_parse_u64(value, &seconds))
		return (int64_t)MIN(seconds, (uint64_t)RETRY_AFTER_MS_MAX / 1000) * 1000;
	when = curl_getdate(value, NULL);
	if (when < 0)
		return -1;
	wait_ms = (int64_t)when * 1000 - clock_wall_ms();
	return MIN(MAX(wait_ms, 0), RETRY_AFTER_MS_MAX);
}

static size_t header_came(char *bytes, size_t size, size_t n, void *userp)
{
	static const char name[] = "retry-after:";
	struct http_request *request = userp;
	size_t len = size * n, start = sizeof(name) - 1;

	if (len >= start && len < 256 && strncasecmp(bytes, name, start) == 0) {
		while (start < len && (bytes[start] == ' ' || bytes[start] == '\t'))
			start++;
		while (len > start && strchr(" \t\r\n", bytes[len - 1]) != NULL)
			len--;
		AUTO_FREE char *value = xmemdup0(bytes + start, len - start);

		request->retry_after_ms = parse_retry_after(value);
	}
	return size * n;
}

/* What all requests of a client have in common; a handle keeps it from request to request. */
static struct http_request *request_new(struct http_client *client)
{
	struct http_request *request = xcalloc(1, sizeof(*request));
	CURL *easy = curl_easy_init();

	if (easy == NULL)
		oom();
	request->client = client;
	request->easy = easy;
	str_init(&request->body, STR_NO_CAP);
	str_init(&request->reply, client->response_bytes_max);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_came);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, client->headers);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "thresh/" THRESH_VERSION);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
	if (client->ca_file != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
	if (client->proxy != NULL)
		curl_easy_setopt(easy, CURLOPT_PROXY, client->proxy);
	return request;
}

/* What is this request's own: each of these is set anew for every request. */
static void set_options(struct http_request *request, const char *url, bool post)
{
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	curl_easy_setopt(
		easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->client->response_bytes_max);
	if (!post) {
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		return;
	}
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.data);
}

struct http_request *http_send(struct http_client *client, const char *url, const char *body,
	size_t body_len, uint64_t timeout_ms, http_done *done, void *ctx)
{
	struct http_request *request;

	assert(!client->freed);
	request = client->n_idle > 0 ? client->idle[--client->n_idle] : request_new(client);
	str_reset(&request->body);
	str_reset(&request->reply);
	if (body != NULL)
		str_append(&request->body, body, body_len);
	request->retry_after_ms = -1;
	request->timeout_ms = timeout_ms;
	request->error_text[0] = '\0';
	request->failure = HTTP_OK;
	request->err = (struct error){0};
	request->status = 0;
	request->done = done;
	request->chunk = NULL;
	request->ctx = ctx;
	set_options(request, url, body != NULL);
	TAILQ_INSERT_TAIL(&client->flying, request, link);
	if (curl_multi_add_handle(client->multi, request->easy) != CURLM_OK)
		oom();
	return request;
}

void http_stream(struct http_request *request, http_chunk *chunk)
{
	request->chunk = chunk;
	curl_easy_setopt(request->easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)0);
}

void http_cancel(struct http_request *request)
{
	struct http_client *client = request->client;

	/* It may be on `ended` already, with an answer that came in the same turn; nobody wants that one any more. */
	if (request->failure == HTTP_CANCELLED)
		return;
	struct http_request *flying;
	TAILQ_FOREACH(flying, &client->flying, link)
	{
		if (flying == request)
			break;
	}
	if (flying != NULL) {
		curl_multi_remove_handle(client->multi, request->easy);
		TAILQ_REMOVE(&client->flying, request, link);
		TAILQ_INSERT_TAIL(&client->ended, request, link);
	}
	request->failure = HTTP_CANCELLED;
	error_set(&request->err, FAIL_INTERRUPTED, "cancelled");
	answer_next_turn(client);
}

/* --- addresses --- */

static bool url_refused(struct error *err, const char *url, const char *why)
{
	return error_set(err, FAIL_CONFIG, "url '%s' %s", url, why);
}

static bool url_check(CURLU *parts, const char *url, struct error *err)
{
	char *scheme = NULL, *user = NULL, *query = NULL;
	bool ok = true;

	curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
	if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK) {
		/* The address itself is not repeated: it holds a secret. */
		ok = error_set(err, FAIL_CONFIG, "a url must not hold a user name or password");
		error_hint(err,
			"put the secret into an environment variable and name it in 'api_key_env'");
	} else if (scheme == NULL ||
		(strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
		ok = url_refused(err, url, "is neither http nor https");
	} else if (curl_url_get(parts, CURLUPART_QUERY, &query, 0) == CURLUE_OK) {
		ok = url_refused(err, url, "has a query");
		error_hint(err,
			"give the address below which the API lies, such as http://127.0.0.1:8080");
	}
	curl_free(scheme);
	curl_free(user);
	curl_free(query);
	return ok;
}

char *http_normalize_url(const char *url, struct error *err)
{
	CURLU *parts = curl_url();
	char *full = NULL, *out = NULL;

	if (parts == NULL)
		oom();
	if (strstr(url, "://") == NULL) {
		url_refused(err, url, "has no scheme");
		error_hint(err, "write http://%s", url);
	} else if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK) {
		url_refused(err, url, "is not an address");
	} else if (url_check(parts, url, err)) {
		curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0);
		if (curl_url_get(parts, CURLUPART_URL, &full, 0) != CURLUE_OK)
			oom();
		size_t len = strlen(full);
		while (len > 0 && full[len - 1] == '/')
			len--;
		/* "/v1" is part of every path that the dialects ask for. */
		if (len > 3 && memcmp(full + len - 3, "/v1", 3) == 0)
			len -= 3;
		out = xmemdup0(full, len);
		curl_free(full);
	}
	curl_url_cleanup(parts);
	return out;
}
