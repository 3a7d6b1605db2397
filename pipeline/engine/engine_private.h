/*
 * What the parts of an engine know of each other: engine.c (life), probe.c (what is behind a URL), pool.c (calls: queue, slots,
 * retries), endpoint.c (down and up), and the three kinds of requests built on calls. Nobody else includes this.
 */
#ifndef PIPELINE_ENGINE_ENGINE_PRIVATE_H
#define PIPELINE_ENGINE_ENGINE_PRIVATE_H

#include "base/rng.h"
#include "engine/dialect.h"
#include "engine/engine.h"
#include "engine/http.h"
#include "engine/loop.h"
#include "engine/server.h"

#include <sys/queue.h>

struct call;
TAILQ_HEAD(call_list, call);
TAILQ_HEAD(request_list_head, engine_request);

/* --- probe.c --- */

struct probe_result {
	const struct dialect_ops *dialect; /* NULL: none was recognised */
	struct dialect_facts facts;
	bool away; /* not reachable or still loading: ask again later */
	struct error err; /* when there is no dialect */
};
struct probe;
typedef void probe_done(void *ctx, const struct probe_result *result);
/* `only` NULL: try all dialects in order. Facts are allocated in `arena`. */
struct probe *probe_start(struct http_client *http, const char *url, const struct dialect_ops *only,
	struct arena *arena, probe_done *done, void *ctx);
/* `done` comes on a later turn, with `away`. */
void probe_cancel(struct probe *probe);

/* --- endpoints --- */

enum endpoint_state {
	ENDPOINT_NEW, /* never probed to the end */
	ENDPOINT_UP,
	ENDPOINT_DOWN, /* being waited for */
	ENDPOINT_REFUSED, /* answers, but is not what we need; never used */
};

struct endpoint {
	struct engine *engine;
	char *url;
	enum endpoint_state state;
	struct arena arena, probe_arena; /* of facts; of those that a probe is collecting */
	struct dialect_facts facts;
	uint32_t limit; /* candidates that it works on at a time */
	uint32_t busy, busy_aux; /* candidates and small requests in flight */
	int64_t down_since_ms, paused_until_ms;
	uint32_t failures; /* probes in a row that found it away */
	bool held; /* its server is being restarted: no use in probing */
	struct probe *probe;
	struct loop_timer *timer; /* next probe */
	struct loop_timer *pause; /* end of a pause the server asked for */
	struct http_request *health; /* is it alive? `suspects` wait for the answer */
	struct call_list suspects;
};

#define LOSSES_MAX 3 /* of one call that are free; further ones count as attempts */

/* --- calls: one HTTP request to whichever endpoint, with everything that may go wrong --- */

enum lane {
	LANE_AUX, /* small requests that take no slot: tokenize, detokenize */
	LANE_PRIORITY,
	LANE_NORMAL,
	N_LANES
};

enum call_state { CALL_IDLE, CALL_QUEUED, CALL_FLYING, CALL_SUSPECT, CALL_WAITING, CALL_ENDING };

struct call_result {
	enum engine_reason reason;
	const struct error *err; /* when reason is not ENGINE_OK */
	struct slice body; /* when it is: of a 2xx answer */
};

/* The owner sets the first block and embeds the struct; the rest is the pool's. */
struct call {
	struct engine *engine;
	void *owner; /* what the call is a part of; for `build` and `done` */
	enum lane lane;
	uint32_t weight; /* candidates */
	const char *path; /* static */
	void (*build)(struct call *call, struct str *out); /* `endpoint` is set */
	enum engine_leave (*may_start)(struct call *call); /* NULL: always */
	/* The last thing that the pool does with the call, unless call_answer_is_bad is called from here: it may be freed or used again. */
	void (*done)(struct call *call, const struct call_result *result);
	struct endpoint *
		*home; /* where calls of one job like to go; set by the first; may be NULL */

	TAILQ_ENTRY(call) link;
	enum call_state state;
	struct endpoint *endpoint; /* of this attempt, or the last */
	struct http_request *http;
	struct loop_timer *timer;
	bool cancelled, half_body;
	long status; /* of the last answer that was no 2xx; 0: none came */
	uint32_t attempts; /* answers that count; in `done` of ENGINE_OK this one is included */
	uint32_t losses; /* times that its endpoint went down under it */
	int64_t sent_ms;
	uint32_t latency_ms;
	enum engine_reason early_reason; /* of CALL_ENDING */
	struct error err;
};

void call_submit(struct call *call);
/* `done` comes with ENGINE_CANCELLED on a later turn. */
void call_cancel(struct call *call);
/* Instead of call_submit: `done` comes with this on a later turn, nothing is sent. */
void call_refuse(struct call *call, enum engine_reason reason, const struct error *err);
/* From `done`, for a body that makes no sense: tries again, or calls `done` with ENGINE_BAD_RESPONSE. Adds the address to err. */
void call_answer_is_bad(struct call *call, const struct error *err);

/* Back to the head of its lane: what has waited once goes before what is new. */
void call_requeue(struct call *call);
/* call->err says what happened, call->attempts counts it; `retry_after_ms` -1: back off. Tries again, or ends with `reason`. */
void call_attempt_failed(struct call *call, enum engine_reason reason, int64_t retry_after_ms);
/* Where calls of this affinity like to go; NULL: wherever. */
struct endpoint *engine_home(struct engine *engine, uint64_t affinity);
/* Sends what can be sent. */
void pool_dispatch(struct engine *engine);

/* --- endpoint.c --- */

void endpoint_probe(struct endpoint *endpoint);
void endpoint_down(struct endpoint *endpoint, const char *why);
/* The connection was cut under this call: finds out whether the endpoint is alive. */
void endpoint_suspect(struct call *call);
/* The server is busy and says for how long: others would only be told the same. */
void endpoint_pause(struct endpoint *endpoint, int64_t wait_ms);
/* Stops everything of the endpoint that is not a call. */
void endpoint_stop(struct endpoint *endpoint);
/* Exponential in `n`, with jitter so that calls that failed together do not come back together. */
uint64_t engine_backoff_ms(struct engine *engine, uint32_t n, uint64_t first_ms, uint64_t max_ms);

/* --- the engine --- */

enum engine_state { ENGINE_NEW, ENGINE_STARTING, ENGINE_READY, ENGINE_FAILED, ENGINE_CLOSING };

struct engine_request {
	TAILQ_ENTRY(engine_request) link;
	struct engine *engine;
	void (*cancel)(struct engine_request *request);
};

struct engine {
	struct loop *loop;
	const struct engine_config *config;
	char *log_dir;
	struct engine_events events;
	enum engine_state state;
	struct http_client *http;
	struct server *server; /* NULL: not served */
	bool server_closing;
	struct endpoint *endpoints; /* n_endpoints */
	size_t n_endpoints;
	const struct dialect_ops *dialect; /* of all endpoints; NULL before the first was probed */
	const struct dialect_facts *facts; /* of the endpoint that was probed first */
	struct engine_info info;
	struct arena arena; /* of info */
	struct call_list lanes[N_LANES];
	size_t n_calls; /* submitted and not answered */
	uint32_t waiting; /* candidates in lanes */
	struct request_list_head requests;
	struct rng rng; /* jitter */
	struct engine_stats stats;
	struct error err; /* of ENGINE_FAILED */
	struct loop_timer *tell; /* ready or failed, on the next turn */
	struct loop_timer *end; /* the last step of closing */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* Once; later calls are ignored. */
void engine_fail(struct engine *engine, const struct error *err);
/* An endpoint was found to be up, away or refused. */
void engine_endpoint_changed(struct engine *engine);
/* To be called whenever something ended that closing may have waited for. */
void engine_check_closed(struct engine *engine);

void engine_request_open(struct engine_request *request, struct engine *engine,
	void (*cancel)(struct engine_request *request));
void engine_request_end(struct engine_request *request);

#endif
