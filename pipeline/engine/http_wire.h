/*
 * The thread that talks HTTP: curl multi on a uv loop of its own. What it is given it sends; what came back it lays down and rings. So
 * sockets are served while the main loop commits or plans, and half of a client's work is on another core.
 *
 * A request belongs to the main thread until wire_send, to the wire until wire_take gives it back. In between the main thread may
 * only cancel it. Private to http.c.
 */
#ifndef PIPELINE_ENGINE_HTTP_WIRE_H
#define PIPELINE_ENGINE_HTTP_WIRE_H

#include "base/error.h"
#include "base/str.h"
#include "engine/http.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum wire_state {
	WIRE_IDLE, /* the main thread's */
	WIRE_SENT, /* given, not begun */
	WIRE_FLYING,
	WIRE_ENDED, /* not yet taken */
};

struct http_request {
	/* The main thread's. */
	struct http_client *client;
	http_done *done;
	http_chunk *chunk;
	void *ctx;
	bool cancelled;
	struct str given; /* of a stream, while it is handed on */
	TAILQ_ENTRY(http_request) given_link;

	struct wire *wire; /* the last it was given to */

	/* Of the thread whose it is. */
	TAILQ_ENTRY(http_request) link;
	CURL *easy; /* owns */
	struct str body, reply;
	int64_t retry_after_ms; /* -1: none */
	uint64_t timeout_ms;
	size_t reply_bytes_max;
	bool is_stream;
	char error_text[CURL_ERROR_SIZE];
	enum http_failure failure;
	struct error err;
	long status;

	/* Under the wire's lock. */
	enum wire_state state;
	struct str fresh; /* of a stream: what came and was not taken */
	TAILQ_ENTRY(http_request) fresh_link, cancel_link;
	bool is_fresh, is_cancel;
};
TAILQ_HEAD(http_requests, http_request);

struct wire;

/* `ring` is called on the wire's thread when there is something to take. */
struct wire *wire_new(void (*ring)(void *ctx), void *ctx);
/* Ends the thread and closes all connections. Everything must have been taken. */
void wire_free(struct wire *wire);
/* Sets what the wire wants of a handle, once. */
void wire_prepare(struct http_request *request);
void wire_send(struct wire *wire, struct http_request *request);
/* It ends soon, with what it has by then. */
void wire_cancel(struct wire *wire, struct http_request *request);
/*
 * What ended, in that order, to the end of `ended`; streams that got bytes to the end of `fresh` (by given_link), the bytes in
 * `given`. One that ended is cancelled no more.
 */
void wire_take(struct wire *wire, struct http_requests *ended, struct http_requests *fresh);

#endif
