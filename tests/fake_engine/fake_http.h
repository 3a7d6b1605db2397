/*
 * A small HTTP/1.1 server on a libuv loop: keep-alive, hundreds of connections, one request at a time on each, bodies up to 8 MiB
 * with a Content-Length. Made to be as badly behaved as a test asks: it can send half an answer, none, or far too much.
 *
 * A request stays open until fake_http_reply or fake_http_drop is called for its connection, at once or later; if
 * the client goes away first, `gone` is called and the connection must not be used again.
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_HTTP_H
#define TESTS_FAKE_ENGINE_FAKE_HTTP_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>
#include <uv.h>

#define FAKE_HTTP_BODY_MAX (8u << 20)

struct fake_conn;

/* Borrowed, valid in the callback. */
struct fake_request {
	struct slice method, path; /* the path without its query */
	struct slice body;
	struct slice authorization; /* value of the header; empty if there is none */
};

struct fake_http_events {
	void (*request)(void *ctx, struct fake_conn *conn, const struct fake_request *request);
	void (*gone)(void *ctx, struct fake_conn *conn);
	void *ctx;
};

struct fake_http {
	uv_tcp_t listener;
	struct fake_http_events events;
	struct fake_conn *conns; /* owns the list */
	char read_buf[64 << 10]; /* of whichever connection is being read */
};

enum fake_reply_kind {
	FAKE_REPLY_WHOLE,
	FAKE_REPLY_HALF, /* announces the whole body, sends half of it and closes */
	FAKE_REPLY_HUGE, /* the body, then spaces up to `bytes` */
};

struct fake_reply {
	enum fake_reply_kind kind;
	unsigned status;
	const char *content_type;
	int retry_after_s; /* -1: no such header */
	struct slice body; /* borrowed for the call */
	uint64_t bytes; /* HUGE */
};

/* Binds to 127.0.0.1; port 0 lets the kernel pick one. FAIL_IO when it is taken. `http` is zeroed. */
MUST_CHECK bool fake_http_listen(struct fake_http *http, uv_loop_t *loop, unsigned port,
	struct fake_http_events events, unsigned *out_port, struct error *err);
void fake_http_reply(struct fake_conn *conn, const struct fake_reply *reply);
/* An answer in pieces: its head, then its body as it comes, then its end. The request stays open until then. */
void fake_http_begin(struct fake_conn *conn, unsigned status, const char *content_type);
void fake_http_part(struct fake_conn *conn, struct slice bytes);
void fake_http_end(struct fake_conn *conn);
/* Closes the connection without a word. */
void fake_http_drop(struct fake_conn *conn);
/* Closes everything, calling `gone` for open requests; memory is free when the loop has run out. */
void fake_http_stop(struct fake_http *http);

/* What the owner of the request keeps with its connection; NULL at first. */
void **fake_conn_call(struct fake_conn *conn);

#endif
