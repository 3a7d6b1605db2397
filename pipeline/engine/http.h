/*
 * HTTP client of the loop: libcurl on a thread of its own, answers on the loop's. A request is answered exactly once: with a status and a body, or with an error
 * that says whether the server was reached at all. Bodies are limited before they are stored.
 */
#ifndef PIPELINE_ENGINE_HTTP_H
#define PIPELINE_ENGINE_HTTP_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

struct loop;
struct http_client; /* one per engine: connections, headers, TLS settings */
struct http_request;

struct http_config {
	const char *api_key; /* copied, never logged; NULL: none */
	char **header_names, **header_values;
	size_t n_headers;
	const char *ca_file, *proxy;
	uint64_t connect_timeout_ms, response_bytes_max;
};

enum http_failure {
	HTTP_OK,
	HTTP_UNREACHABLE, /* refused, no route, name unknown, TLS: the endpoint's fault, the request was not seen */
	HTTP_CUT, /* the connection broke in the middle */
	HTTP_TIMED_OUT,
	HTTP_TOO_BIG,
	HTTP_CANCELLED,
};

struct http_reply {
	enum http_failure failure;
	struct error err; /* when failure is not HTTP_OK */
	long status; /* also of an answer that was cut behind its head; 0: none came */
	int64_t retry_after_ms; /* -1: none */
	struct slice body; /* borrowed, valid in the callback */
};
typedef void http_done(void *ctx, const struct http_reply *reply);
/* Bytes of a 2xx answer's body, as they come; borrowed. It may send, cancel and free as `done` may. */
typedef void http_chunk(void *ctx, struct slice bytes);

struct http_client *http_client_new(struct loop *loop, const struct http_config *config);
void http_client_free(struct http_client *client); /* no request may be in flight */
struct http_ask {
	const char *url;
	struct slice body; /* POST as application/json; data NULL: GET */
	uint64_t timeout_ms; /* 0: none */
	http_done *done;
	/*
	 * NULL: a 2xx answer's body is in the reply. Else it goes here as it comes and is not in the reply; other answers are, whole. Its length
	 * as a whole is not limited: whoever reads it limits what is kept.
	 */
	http_chunk *chunk;
	void *ctx;
};
/* `ask` and what it refers to are copied. The request is valid until `done` has been called. */
struct http_request *http_send(struct http_client *client, const struct http_ask *ask);
/* `done` is called with HTTP_CANCELLED on a later turn of the loop. */
void http_cancel(struct http_request *request);

/*
 * Malloc'd address without trailing slashes or "/v1", to which a dialect's paths are appended. NULL if it is not http(s), has
 * no host, or holds a password or a query.
 */
char *http_normalize_url(const char *url, struct error *err);

#endif
