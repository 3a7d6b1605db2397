/*
 * curl tells which sockets to watch (one uv_poll_t each) and when to wake it (one uv_timer_t); it is told what happened. Transfers that
 * ended are collected and laid down once a turn of this loop, under the lock, with one ring for all of them.
 */
#include "engine/http_wire.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#define RETRY_AFTER_MS_MAX (60 * 60 * 1000)
/* curl's own limit is four for each transfer under way: whenever many end together it closes what the next ones need. */
#define IDLE_CONNECTIONS_MAX 4096L

TAILQ_HEAD(fresh_requests, http_request);
TAILQ_HEAD(cancelled_requests, http_request);

struct wire {
	uv_thread_t thread;
	void (*ring)(void *ctx);
	void *ctx;

	/* The thread's. */
	uv_loop_t uv;
	uv_async_t door; /* somebody has given something, or wants it to end */
	uv_prepare_t turn;
	uv_timer_t timer;
	CURLM *multi;
	struct http_requests landed; /* ended in this turn */

	uv_mutex_t lock;
	/* Under it. */
	struct http_requests sent, ended;
	struct fresh_requests fresh;
	struct cancelled_requests cancelled;
	bool news; /* streams got bytes since the last ring */
	bool over;
};

struct watch {
	uv_poll_t uv;
	struct wire *wire;
	curl_socket_t socket;
};

/* --- what came --- */

static bool is_success(const struct http_request *request)
{
	long status = 0;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status <= 299;
}

static bool fresh_came(struct http_request *request, const char *bytes, size_t len)
{
	struct wire *wire = request->wire;
	bool full;

	uv_mutex_lock(&wire->lock);
	str_append(&request->fresh, bytes, len);
	full = request->fresh.full;
	if (!request->is_fresh) {
		TAILQ_INSERT_TAIL(&wire->fresh, request, fresh_link);
		request->is_fresh = true;
		wire->news = true;
	}
	uv_mutex_unlock(&wire->lock);
	return !full;
}

static size_t body_came(char *bytes, size_t size, size_t n, void *userp)
{
	struct http_request *request = userp;
	size_t len = size * n;

	if (request->is_stream && is_success(request))
		return fresh_came(request, bytes, len) ? len : 0;
	str_append(&request->reply, bytes, len);
	return request->reply.full ? 0 : len;
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

void wire_prepare(struct http_request *request)
{
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_came);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
}

/* --- what ended --- */

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
		text_format_size(request->reply_bytes_max, size);
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

static void collect(struct wire *wire)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(wire->multi, &left)) != NULL) {
		CURL *easy = msg->easy_handle;
		CURLcode code = msg->data.result;
		struct http_request *request = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &request->status);
		request->failure = failure_of(easy, code);
		describe(request, code);
		curl_multi_remove_handle(wire->multi, easy);
		TAILQ_INSERT_TAIL(&wire->landed, request, link);
	}
}

/* --- what was given --- */

static void begin_sent(struct wire *wire)
{
	struct http_requests starting;
	struct http_request *request;

	TAILQ_INIT(&starting);
	uv_mutex_lock(&wire->lock);
	TAILQ_CONCAT(&starting, &wire->sent, link);
	TAILQ_FOREACH(request, &starting, link)
	{
		request->state = WIRE_FLYING;
	}
	uv_mutex_unlock(&wire->lock);
	while ((request = TAILQ_FIRST(&starting)) != NULL) {
		TAILQ_REMOVE(&starting, request, link);
		if (curl_multi_add_handle(wire->multi, request->easy) != CURLM_OK)
			oom();
	}
}

static bool has_landed(const struct wire *wire, const struct http_request *request)
{
	const struct http_request *landed;

	TAILQ_FOREACH(landed, &wire->landed, link)
	{
		if (landed == request)
			return true;
	}
	return false;
}

static void end_cancelled(struct wire *wire)
{
	struct http_request *request;

	uv_mutex_lock(&wire->lock);
	while ((request = TAILQ_FIRST(&wire->cancelled)) != NULL) {
		TAILQ_REMOVE(&wire->cancelled, request, cancel_link);
		request->is_cancel = false;
		if (request->state == WIRE_ENDED || has_landed(wire, request))
			continue;
		/* It may have been given and taken back between the two looks. */
		if (request->state == WIRE_SENT)
			TAILQ_REMOVE(&wire->sent, request, link);
		else
			curl_multi_remove_handle(wire->multi, request->easy);
		TAILQ_INSERT_TAIL(&wire->landed, request, link);
	}
	uv_mutex_unlock(&wire->lock);
}

static void lay_down(struct wire *wire)
{
	struct http_request *request;
	bool news;

	uv_mutex_lock(&wire->lock);
	news = wire->news || !TAILQ_EMPTY(&wire->landed);
	wire->news = false;
	TAILQ_FOREACH(request, &wire->landed, link)
	{
		request->state = WIRE_ENDED;
	}
	TAILQ_CONCAT(&wire->ended, &wire->landed, link);
	uv_mutex_unlock(&wire->lock);
	if (news)
		wire->ring(wire->ctx);
}

/* --- the thread --- */

static void watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void socket_ready(uv_poll_t *uv, int status, int events)
{
	struct watch *watch = uv->data;
	/* `watch` may be gone after the call: curl can close the socket. */
	struct wire *wire = watch->wire;
	int flags = 0, running;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	curl_multi_socket_action(wire->multi, watch->socket, flags, &running);
	collect(wire);
}

static struct watch *watch_new(struct wire *wire, curl_socket_t socket)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));

	watch->wire = wire;
	watch->socket = socket;
	watch->uv.data = watch;
	if (uv_poll_init_socket(&wire->uv, &watch->uv, socket) != 0) {
		free(watch);
		return NULL;
	}
	curl_multi_assign(wire->multi, socket, watch);
	return watch;
}

static int socket_changed(CURL *easy, curl_socket_t socket, int what, void *userp, void *socketp)
{
	struct wire *wire = userp;
	struct watch *watch = socketp;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watch != NULL) {
			uv_poll_stop(&watch->uv);
			uv_close((uv_handle_t *)&watch->uv, watch_closed);
			curl_multi_assign(wire->multi, socket, NULL);
		}
		return 0;
	}
	if (watch == NULL)
		watch = watch_new(wire, socket);
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
	struct wire *wire = timer->data;
	int running;

	curl_multi_socket_action(wire->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(wire);
}

static int timer_changed(CURLM *multi, long timeout_ms, void *userp)
{
	struct wire *wire = userp;

	(void)multi;
	if (timeout_ms < 0) {
		uv_timer_stop(&wire->timer);
	} else {
		uv_update_time(&wire->uv);
		uv_timer_start(&wire->timer, timer_fired, (uint64_t)timeout_ms, 0);
	}
	return 0;
}

static void close_all(struct wire *wire)
{
	/* Closes connections, which calls socket_changed for each. */
	curl_multi_cleanup(wire->multi);
	uv_close((uv_handle_t *)&wire->door, NULL);
	uv_close((uv_handle_t *)&wire->turn, NULL);
	uv_close((uv_handle_t *)&wire->timer, NULL);
}

static void door_opened(uv_async_t *door)
{
	struct wire *wire = door->data;
	bool over;

	begin_sent(wire);
	end_cancelled(wire);
	uv_mutex_lock(&wire->lock);
	over = wire->over;
	uv_mutex_unlock(&wire->lock);
	if (over)
		close_all(wire);
}

/* Right before the loop waits: whatever has happened since it last did is told at once. */
static void turn_ends(uv_prepare_t *turn)
{
	struct wire *wire = turn->data;

	lay_down(wire);
}

static void wire_main(void *arg)
{
	struct wire *wire = arg;

	uv_run(&wire->uv, UV_RUN_DEFAULT);
}

/* Signals are for the main thread. */
static void start_thread(struct wire *wire)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (uv_thread_create(&wire->thread, wire_main, wire) != 0)
		oom();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* curl_global_init is not thread-safe everywhere; the first wire is made by the only thread that makes them. */
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

struct wire *wire_new(void (*ring)(void *ctx), void *ctx)
{
	struct wire *wire = xcalloc(1, sizeof(*wire));

	curl_ready();
	wire->ring = ring;
	wire->ctx = ctx;
	TAILQ_INIT(&wire->landed);
	TAILQ_INIT(&wire->sent);
	TAILQ_INIT(&wire->ended);
	TAILQ_INIT(&wire->fresh);
	TAILQ_INIT(&wire->cancelled);
	wire->multi = curl_multi_init();
	if (wire->multi == NULL || uv_loop_init(&wire->uv) != 0 ||
		uv_mutex_init(&wire->lock) != 0 ||
		uv_async_init(&wire->uv, &wire->door, door_opened) != 0)
		oom();
	uv_prepare_init(&wire->uv, &wire->turn);
	uv_timer_init(&wire->uv, &wire->timer);
	wire->door.data = wire->turn.data = wire->timer.data = wire;
	uv_prepare_start(&wire->turn, turn_ends);
	curl_multi_setopt(wire->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS_MAX);
	curl_multi_setopt(wire->multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
	curl_multi_setopt(wire->multi, CURLMOPT_SOCKETDATA, wire);
	curl_multi_setopt(wire->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
	curl_multi_setopt(wire->multi, CURLMOPT_TIMERDATA, wire);
	start_thread(wire);
	return wire;
}

void wire_free(struct wire *wire)
{
	uv_mutex_lock(&wire->lock);
	wire->over = true;
	uv_mutex_unlock(&wire->lock);
	uv_async_send(&wire->door);
	uv_thread_join(&wire->thread);
	assert(TAILQ_EMPTY(&wire->sent) && TAILQ_EMPTY(&wire->ended));
	if (uv_loop_close(&wire->uv) != 0)
		assert(!"a handle of the wire is open");
	uv_mutex_destroy(&wire->lock);
	free(wire);
}

/* --- of the main thread --- */

void wire_send(struct wire *wire, struct http_request *request)
{
	request->wire = wire;
	uv_mutex_lock(&wire->lock);
	request->state = WIRE_SENT;
	TAILQ_INSERT_TAIL(&wire->sent, request, link);
	uv_mutex_unlock(&wire->lock);
	uv_async_send(&wire->door);
}

void wire_cancel(struct wire *wire, struct http_request *request)
{
	uv_mutex_lock(&wire->lock);
	if (request->state != WIRE_IDLE && !request->is_cancel) {
		request->is_cancel = true;
		TAILQ_INSERT_TAIL(&wire->cancelled, request, cancel_link);
	}
	uv_mutex_unlock(&wire->lock);
	uv_async_send(&wire->door);
}

void wire_take(struct wire *wire, struct http_requests *ended, struct http_requests *fresh)
{
	struct http_request *request;

	uv_mutex_lock(&wire->lock);
	TAILQ_FOREACH(request, &wire->ended, link)
	{
		request->state = WIRE_IDLE;
		if (request->is_cancel)
			TAILQ_REMOVE(&wire->cancelled, request, cancel_link);
		request->is_cancel = false;
	}
	TAILQ_CONCAT(ended, &wire->ended, link);
	while ((request = TAILQ_FIRST(&wire->fresh)) != NULL) {
		struct str given = request->given;

		TAILQ_REMOVE(&wire->fresh, request, fresh_link);
		request->is_fresh = false;
		request->given = request->fresh;
		request->fresh = given;
		TAILQ_INSERT_TAIL(fresh, request, given_link);
	}
	uv_mutex_unlock(&wire->lock);
}
