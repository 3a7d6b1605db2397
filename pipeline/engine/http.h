/*
 * HTTP client on the loop (libcurl multi). A request is answered exactly once: with a status and a body, or with an error
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
/* body NULL: GET, else POST application/json; the body is copied. timeout_ms 0: none. */
struct http_request *http_send(struct http_client *client, const char *url, const char *body,
	size_t body_len, uint64_t timeout_ms, http_done *done, void *ctx);
/*
 * From now on, a 2xx answer goes to `chunk` as it comes and is not in the reply; other answers are, whole. Its length as a whole
 * is not limited: whoever reads it limits what is kept. To be called right after http_send.
 */
void http_stream(struct http_request *request, http_chunk *chunk);
/* `done` is called with HTTP_CANCELLED on the next turn of the loop. */
void http_cancel(struct http_request *request);

/*
 * Malloc'd address without trailing slashes or "/v1", to which a dialect's paths are appended. NULL if it is not http(s), has
 * no host, or holds a password or a query.
 */
char *http_normalize_url(const char *url, struct error *err);

#endif
