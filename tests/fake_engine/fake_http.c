/*
 * One buffer serves all reads, since a read callback follows its allocation at once; what is read is appended to the
 * connection's own buffer, which is given back when a request was large, so that hundreds of idle connections cost little. Answers
 * are written with uv_try_write first: nearly all fit the socket's buffer and need no copy.
 *
 * While a request is open the connection is still read, for that is how the client's going away is noticed; what it sends
 * meanwhile waits in the buffer.
 */
#include "fake_http.h"

#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <strings.h>

#define HEAD_MAX (16u << 10)
#define IDLE_BUFFER_MAX (64u << 10)
#define HUGE_STEP (64u << 10)

struct fake_conn {
	uv_tcp_t tcp; /* first: the handle is the connection */
	struct fake_http *http; /* borrows */
	struct fake_conn *prev, *next;
	struct str in;
	size_t request_bytes; /* of the open request, at the start of `in` */
	bool open; /* a request waits for its answer */
	bool keep_alive; /* of the open request */
	bool continued; /* "100 Continue" was sent for the request that is being read */
	bool last; /* the connection ends after what is being written */
	bool reading; /* inside read_requests */
	bool closing;
	void *call;
	uint64_t huge_left;
};

struct write {
	uv_write_t req; /* first */
	struct fake_conn *conn;
	bool close_after;
	char *bytes; /* owns */
};

static void read_requests(struct fake_conn *conn);
static void send_huge(struct fake_conn *conn);

void **fake_conn_call(struct fake_conn *conn)
{
	return &conn->call;
}

/* --- closing --- */

static void conn_closed(uv_handle_t *handle)
{
	struct fake_conn *conn = (struct fake_conn *)handle;

	str_release(&conn->in);
	free(conn);
}

static void conn_close(struct fake_conn *conn)
{
	if (conn->closing) {
		return;
	}
	conn->closing = true;
	if (conn->open) {
		conn->open = false;
		conn->http->events.gone(conn->http->events.ctx, conn);
	}
	if (conn->prev) {
		conn->prev->next = conn->next;
	} else {
		conn->http->conns = conn->next;
	}
	if (conn->next) {
		conn->next->prev = conn->prev;
	}
	uv_close((uv_handle_t *)&conn->tcp, conn_closed);
}

void fake_http_drop(struct fake_conn *conn)
{
	conn->open = false;
	conn_close(conn);
}

/* --- writing --- */

static void written(uv_write_t *req, int status)
{
	struct write *w = (struct write *)req;
	struct fake_conn *conn = w->conn;
	bool close_after = w->close_after || status < 0;

	free(w->bytes);
	free(w);
	if (conn->closing) {
		return;
	}
	if (close_after) {
		conn_close(conn);
	} else if (conn->huge_left) {
		send_huge(conn);
	}
}

/* Sends both parts; copies only what the socket does not take at once. */
static void send_parts(
	struct fake_conn *conn, struct slice head, struct slice body, bool close_after)
{
	uv_buf_t bufs[2] = {uv_buf_init((char *)head.data, (unsigned)head.len),
		uv_buf_init((char *)body.data, (unsigned)body.len)};
	int took = uv_try_write((uv_stream_t *)&conn->tcp, bufs, body.len ? 2 : 1);
	size_t sent = took > 0 ? (size_t)took : 0, left = head.len + body.len - sent;
	struct write *w;
	uv_buf_t rest;

	if (left == 0 && !conn->huge_left) {
		if (close_after) {
			conn_close(conn);
		}
		return;
	}
	w = xcalloc(1, sizeof(*w));
	w->conn = conn;
	w->close_after = close_after;
	w->bytes = xmalloc(left + 1);
	if (sent < head.len) {
		memcpy(w->bytes, head.data + sent, head.len - sent);
		memcpy(w->bytes + head.len - sent, body.data, body.len);
	} else {
		memcpy(w->bytes, body.data + (sent - head.len), left);
	}
	rest = uv_buf_init(w->bytes, (unsigned)left);
	if (uv_write(&w->req, (uv_stream_t *)&conn->tcp, &rest, 1, written) < 0) {
		free(w->bytes);
		free(w);
		conn_close(conn);
	}
}

static void send_huge(struct fake_conn *conn)
{
	static char spaces[HUGE_STEP];
	uint64_t step = MIN(conn->huge_left, (uint64_t)sizeof(spaces));
	struct slice none = {"", 0};

	memset(spaces, ' ', sizeof(spaces));
	conn->huge_left -= step;
	send_parts(conn, (struct slice){spaces, step}, none, conn->huge_left == 0);
}

static const char *status_text(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 404:
		return "Not Found";
	case 429:
		return "Too Many Requests";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	default:
		return "Status";
	}
}

static void next_request(struct fake_conn *conn)
{
	size_t left = conn->in.len - conn->request_bytes;

	memmove(conn->in.data, conn->in.data + conn->request_bytes, left);
	conn->in.len = left;
	conn->in.data[left] = '\0';
	conn->request_bytes = 0;
	conn->continued = false;
	if (left == 0 && conn->in.size > IDLE_BUFFER_MAX) {
		str_release(&conn->in);
		str_init(&conn->in, HEAD_MAX + 2 * (size_t)FAKE_HTTP_BODY_MAX);
	}
}

void fake_http_reply(struct fake_conn *conn, const struct fake_reply *reply)
{
	char head[512], retry[48] = "";
	bool huge = reply->kind == FAKE_REPLY_HUGE && reply->bytes > reply->body.len;
	bool half = reply->kind == FAKE_REPLY_HALF;
	struct slice body = reply->body;
	uint64_t announced = huge ? reply->bytes : body.len;
	bool close_after = !conn->keep_alive || half || huge;
	int len;

	assert(conn->open);
	conn->open = false;
	if (reply->retry_after_s >= 0) {
		snprintf(retry, sizeof(retry), "Retry-After: %d\r\n", reply->retry_after_s);
	}
	len = snprintf(head, sizeof(head),
		"HTTP/1.1 %u %s\r\nServer: fake-engine\r\nContent-Type: %s\r\n%sContent-Length: "
		"%llu\r\n"
		"Connection: %s\r\n\r\n",
		reply->status, status_text(reply->status), reply->content_type, retry,
		(unsigned long long)announced, close_after ? "close" : "keep-alive");
	next_request(conn);
	body.len = half ? body.len / 2 : body.len;
	conn->huge_left = huge ? reply->bytes - body.len : 0;
	conn->last = close_after;
	send_parts(conn, (struct slice){head, (size_t)len}, body, close_after && !huge);
	/* An answer given from inside the callback goes back to the loop there. */
	if (!conn->reading) {
		read_requests(conn);
	}
}

void fake_http_begin(struct fake_conn *conn, unsigned status, const char *content_type)
{
	char head[256];
	int len = snprintf(head, sizeof(head),
		"HTTP/1.1 %u %s\r\nServer: fake-engine\r\nContent-Type: %s\r\n"
		"Transfer-Encoding: chunked\r\n\r\n",
		status, status_text(status), content_type);

	assert(conn->open);
	send_parts(conn, (struct slice){head, (size_t)len}, (struct slice){"", 0}, false);
}

void fake_http_part(struct fake_conn *conn, struct slice bytes)
{
	struct str chunk;

	assert(conn->open);
	str_init(&chunk, STR_NO_CAP);
	str_printf(&chunk, "%zx\r\n", bytes.len);
	str_append(&chunk, bytes.data, bytes.len);
	str_append_z(&chunk, "\r\n");
	send_parts(conn, (struct slice){chunk.data, chunk.len}, (struct slice){"", 0}, false);
	str_release(&chunk);
}

void fake_http_end(struct fake_conn *conn)
{
	static const char end[] = "0\r\n\r\n";

	assert(conn->open);
	conn->open = false;
	next_request(conn);
	conn->last = !conn->keep_alive;
	send_parts(conn, (struct slice){end, sizeof(end) - 1}, (struct slice){"", 0}, conn->last);
	if (!conn->reading) {
		read_requests(conn);
	}
}

/* --- reading --- */

/* An answer of the server itself to what it does not understand; the connection ends. */
static void refuse(struct fake_conn *conn, const char *status)
{
	char head[128];
	int len = snprintf(head, sizeof(head),
		"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);

	conn->last = true;
	send_parts(conn, (struct slice){head, (size_t)len}, (struct slice){"", 0}, true);
}

/* The value of a header in a head that ends with an empty line; empty if it is not there. */
static struct slice find_header(const char *head, size_t head_bytes, const char *name)
{
	const char *end = head + head_bytes;
	size_t name_len = strlen(name);

	for (const char *line = head; line < end;) {
		const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);

		if (!stop) {
			break;
		}
		if ((size_t)(stop - line) > name_len && line[name_len] == ':' &&
			strncasecmp(line, name, name_len) == 0) {
			const char *value = line + name_len + 1;

			while (value < stop && *value == ' ') {
				value++;
			}
			return (struct slice){value, (size_t)(stop - value)};
		}
		line = stop + 2;
	}
	return (struct slice){"", 0};
}

static bool slice_is(struct slice s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.data, word, s.len) == 0;
}

/* "POST /path?query HTTP/1.1" */
static bool read_request_line(struct fake_conn *conn, size_t head_bytes, struct fake_request *out)
{
	const char *p = conn->in.data, *end = memmem(p, head_bytes, "\r\n", 2);
	const char *target = memchr(p, ' ', (size_t)(end - p));
	const char *version = target ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;
	const char *query;

	if (!version || end - version != 9 || memcmp(version, " HTTP/1.", 8) != 0) {
		return false;
	}
	out->method = (struct slice){p, (size_t)(target - p)};
	out->path = (struct slice){target + 1, (size_t)(version - target - 1)};
	query = memchr(out->path.data, '?', out->path.len);
	if (query) {
		out->path.len = (size_t)(query - out->path.data);
	}
	conn->keep_alive = version[8] != '0';
	return true;
}

/* The length that the head announces; false after refusing it. */
static bool read_body_bytes(struct fake_conn *conn, size_t head_bytes, size_t *out)
{
	struct slice length = find_header(conn->in.data, head_bytes, "Content-Length");
	char digits[24];
	uint64_t bytes = 0;

	if (find_header(conn->in.data, head_bytes, "Transfer-Encoding").len) {
		refuse(conn, "411 Length Required");
		return false;
	}
	snprintf(digits, sizeof(digits), "%.*s", (int)MIN(length.len, sizeof(digits) - 1),
		length.data);
	if (length.len && !text_parse_u64(digits, &bytes)) {
		refuse(conn, "400 Bad Request");
		return false;
	}
	if (bytes > FAKE_HTTP_BODY_MAX) {
		refuse(conn, "413 Payload Too Large");
		return false;
	}
	*out = (size_t)bytes;
	return true;
}

/* curl asks before it sends a large body. */
static void say_continue(struct fake_conn *conn, size_t head_bytes)
{
	if (!conn->continued &&
		slice_is(find_header(conn->in.data, head_bytes, "Expect"), "100-continue")) {
		conn->continued = true;
		send_parts(conn, slice_z("HTTP/1.1 100 Continue\r\n\r\n"), (struct slice){"", 0},
			false);
	}
}

/* Takes one request from the buffer; false when there is no whole one. */
static bool read_request(struct fake_conn *conn)
{
	const char *end = memmem(conn->in.data, MIN(conn->in.len, HEAD_MAX), "\r\n\r\n", 4);
	struct fake_request request = {0};
	size_t head_bytes = end ? (size_t)(end - conn->in.data) + 4 : 0, body_bytes;

	if (!end) {
		if (conn->in.len >= HEAD_MAX) {
			refuse(conn, "431 Request Header Fields Too Large");
		}
		return false;
	}
	if (!read_request_line(conn, head_bytes, &request)) {
		refuse(conn, "400 Bad Request");
		return false;
	}
	if (!read_body_bytes(conn, head_bytes, &body_bytes)) {
		return false;
	}
	if (conn->in.len < head_bytes + body_bytes) {
		say_continue(conn, head_bytes);
		return false;
	}
	if (slice_is(find_header(conn->in.data, head_bytes, "Connection"), "close")) {
		conn->keep_alive = false;
	}
	request.authorization = find_header(conn->in.data, head_bytes, "Authorization");
	request.body = (struct slice){conn->in.data + head_bytes, body_bytes};
	conn->request_bytes = head_bytes + body_bytes;
	conn->open = true;
	conn->http->events.request(conn->http->events.ctx, conn, &request);
	return true;
}

static void read_requests(struct fake_conn *conn)
{
	conn->reading = true;
	while (!conn->closing && !conn->open && !conn->last && conn->in.len && read_request(conn)) {
	}
	conn->reading = false;
}

static void give_buffer(uv_handle_t *handle, size_t suggested UNUSED, uv_buf_t *out)
{
	struct fake_http *http = ((struct fake_conn *)handle)->http;

	*out = uv_buf_init(http->read_buf, sizeof(http->read_buf));
}

static void got_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct fake_conn *conn = (struct fake_conn *)stream;

	if (n < 0) {
		conn_close(conn);
		return;
	}
	str_append(&conn->in, buf->base, (size_t)n);
	if (conn->in.full) {
		conn_close(conn);
		return;
	}
	read_requests(conn);
}

static void got_connection(uv_stream_t *listener, int status)
{
	struct fake_http *http = listener->data;
	struct fake_conn *conn;

	if (status < 0) {
		return;
	}
	conn = xcalloc(1, sizeof(*conn));
	conn->http = http;
	str_init(&conn->in, HEAD_MAX + 2 * (size_t)FAKE_HTTP_BODY_MAX);
	uv_tcp_init(listener->loop, &conn->tcp);
	conn->next = http->conns;
	if (conn->next) {
		conn->next->prev = conn;
	}
	http->conns = conn;
	if (uv_accept(listener, (uv_stream_t *)&conn->tcp) < 0) {
		conn_close(conn);
		return;
	}
	uv_tcp_nodelay(&conn->tcp, 1);
	uv_read_start((uv_stream_t *)&conn->tcp, give_buffer, got_bytes);
}

bool fake_http_listen(struct fake_http *http, uv_loop_t *loop, unsigned port,
	struct fake_http_events events, unsigned *out_port, struct error *err)
{
	struct sockaddr_in address;
	int len = sizeof(address), rc;

	http->events = events;
	http->listener.data = http;
	uv_tcp_init(loop, &http->listener);
	rc = uv_ip4_addr("127.0.0.1", (int)port, &address);
	if (rc == 0) {
		rc = uv_tcp_bind(&http->listener, (const struct sockaddr *)&address, 0);
	}
	if (rc == 0) {
		rc = uv_listen((uv_stream_t *)&http->listener, 1024, got_connection);
	}
	if (rc == 0) {
		rc = uv_tcp_getsockname(&http->listener, (struct sockaddr *)&address, &len);
	}
	if (rc < 0) {
		return error_set(err, FAIL_IO, "could not listen on 127.0.0.1:%u: %s", port,
			uv_strerror(rc));
	}
	*out_port = ntohs(address.sin_port);
	return true;
}

void fake_http_stop(struct fake_http *http)
{
	uv_close((uv_handle_t *)&http->listener, NULL);
	while (http->conns) {
		conn_close(http->conns);
	}
}
