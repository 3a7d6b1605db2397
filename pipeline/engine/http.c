/*
 * The main thread's side of HTTP: what clients and requests are, and telling what came. http_wire.c has the thread that does the talking.
 *
 * Nothing is answered from inside http_send or http_cancel: the wire rings, and what has come is told on a turn of the loop, streams
 * first. A callback may thus send, cancel, or free the client.
 */
#include "engine/http.h"

#include "base/mem.h"
#include "engine/http_wire.h"
#include "engine/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define IDLE_MAX 256 /* requests that are kept for later ones */
#define IDLE_BYTES_MAX (64 << 10) /* of storage that is kept with each */

struct http_client {
	struct wire *wire;
	uv_async_t bell; /* holds the loop while something is in flight */
	struct curl_slist *headers;
	char *ca_file, *proxy;
	uint64_t connect_timeout_ms;
	uint64_t response_bytes_max;
	size_t n_flying;
	struct http_request *idle[IDLE_MAX]; /* n_idle */
	size_t n_idle;
	bool answering, freed;
};

/* --- telling --- */

static void request_free(struct http_request *request)
{
	curl_easy_cleanup(request->easy);
	str_release(&request->body);
	str_release(&request->reply);
	str_release(&request->fresh);
	str_release(&request->given);
	free(request);
}

/* It is over: its handle and storage serve a later one. */
static void request_retire(struct http_request *request)
{
	struct http_client *client = request->client;
	size_t held;

	client->n_flying--;
	if (client->n_flying == 0)
		uv_unref((uv_handle_t *)&client->bell);
	held = request->body.size + request->reply.size + request->fresh.size + request->given.size;
	if (client->n_idle < IDLE_MAX && held <= IDLE_BYTES_MAX)
		client->idle[client->n_idle++] = request;
	else
		request_free(request);
}

static void bell_closed(uv_handle_t *bell)
{
	free(bell->data);
}

static void client_destroy(struct http_client *client)
{
	assert(client->n_flying == 0);
	wire_free(client->wire);
	while (client->n_idle > 0)
		request_free(client->idle[--client->n_idle]);
	curl_slist_free_all(client->headers);
	free(client->ca_file);
	free(client->proxy);
	uv_close((uv_handle_t *)&client->bell, bell_closed);
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

	if (request->cancelled) {
		reply.failure = HTTP_CANCELLED;
		error_set(&reply.err, FAIL_INTERRUPTED, "cancelled");
	}
	request->done(request->ctx, &reply);
	request_retire(request);
}

static void bell_rang(uv_async_t *bell)
{
	struct http_client *client = bell->data;
	struct http_requests ended = TAILQ_HEAD_INITIALIZER(ended);
	struct http_requests fresh = TAILQ_HEAD_INITIALIZER(fresh);
	struct http_request *request;

	wire_take(client->wire, &ended, &fresh);
	client->answering = true;
	while ((request = TAILQ_FIRST(&fresh)) != NULL) {
		TAILQ_REMOVE(&fresh, request, given_link);
		if (!request->cancelled)
			request->chunk(request->ctx,
				(struct slice){request->given.data, request->given.len});
		str_reset(&request->given);
	}
	while ((request = TAILQ_FIRST(&ended)) != NULL) {
		TAILQ_REMOVE(&ended, request, link);
		answer(request);
	}
	client->answering = false;
	if (client->freed)
		client_destroy(client);
}

/* On the wire's thread. */
static void ring(void *ctx)
{
	struct http_client *client = ctx;

	uv_async_send(&client->bell);
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

	client->headers = make_headers(config);
	client->ca_file = config->ca_file != NULL ? xstrdup(config->ca_file) : NULL;
	client->proxy = config->proxy != NULL ? xstrdup(config->proxy) : NULL;
	client->connect_timeout_ms = config->connect_timeout_ms;
	client->response_bytes_max = config->response_bytes_max;
	if (uv_async_init(loop_uv(loop), &client->bell, bell_rang) != 0)
		oom();
	client->bell.data = client;
	uv_unref((uv_handle_t *)&client->bell);
	client->wire = wire_new(ring, client);
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
	str_init(&request->fresh, client->response_bytes_max);
	str_init(&request->given, client->response_bytes_max);
	request->reply_bytes_max = client->response_bytes_max;
	wire_prepare(request);
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
static void set_options(struct http_request *request, const struct http_ask *ask)
{
	CURL *easy = request->easy;
	size_t bytes_max = request->client->response_bytes_max;

	curl_easy_setopt(easy, CURLOPT_URL, ask->url);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)ask->timeout_ms);
	/* A stream's length is not limited, but how much of it may wait. */
	curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE,
		request->is_stream ? (curl_off_t)0 : (curl_off_t)bytes_max);
	if (ask->body.data == NULL) {
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		return;
	}
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.data);
}

struct http_request *http_send(struct http_client *client, const struct http_ask *ask)
{
	struct http_request *request;

	assert(!client->freed);
	request = client->n_idle > 0 ? client->idle[--client->n_idle] : request_new(client);
	str_reset(&request->body);
	str_reset(&request->reply);
	str_reset(&request->fresh);
	if (ask->body.data != NULL)
		str_append(&request->body, ask->body.data, ask->body.len);
	request->done = ask->done;
	request->chunk = ask->chunk;
	request->ctx = ask->ctx;
	request->cancelled = false;
	request->retry_after_ms = -1;
	request->timeout_ms = ask->timeout_ms;
	request->is_stream = ask->chunk != NULL;
	request->error_text[0] = '\0';
	request->failure = HTTP_OK;
	request->err = (struct error){0};
	request->status = 0;
	set_options(request, ask);
	if (client->n_flying++ == 0)
		uv_ref((uv_handle_t *)&client->bell);
	wire_send(client->wire, request);
	return request;
}

void http_cancel(struct http_request *request)
{
	if (request->cancelled)
		return;
	/* It may have come back in the same turn; nobody wants that answer any more. */
	request->cancelled = true;
	wire_cancel(request->client->wire, request);
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
