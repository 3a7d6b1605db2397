/*
 * What the parts of an engine know of each other: engine.c (life), probe.c (what is behind a URL), pool.c (calls: queue, slots,
 * retries), choose.c (which endpoint), watch.c (endpoints at work), endpoint.c (down and up), and the kinds of requests built on
 * calls. Nobody else includes this.
 */
#ifndef PIPELINE_ENGINE_ENGINE_PRIVATE_H
#define PIPELINE_ENGINE_ENGINE_PRIVATE_H

#include "base/rng.h"
#include "engine/dialect.h"
#include "engine/engine.h"
#include "engine/http.h"
#include "engine/limit.h"
#include "engine/loop.h"
#include "engine/pace.h"
#include "engine/server.h"

#include <sys/queue.h>

struct call;
struct flight;
TAILQ_HEAD(call_list, call);
TAILQ_HEAD(flight_list, flight);
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
	const struct dialect_ops *dialect; /* NULL before it was probed */
	struct dialect_facts facts;
	struct limit limit;
	struct flight_list flying; /* in the order of sending */
	uint32_t busy, busy_aux; /* candidates and small requests in flight */
	uint32_t begun; /* of the candidates, those that have a slot, as far as can be told */
	struct pace pace;
	/* Answers that came together: their slots were free until we saw them. */
	int64_t landed_ms;
	uint32_t burst;
	double burst_peak; /* slowly forgotten */
	bool passed; /* choose.c: has been looked at in this round */
	int64_t down_since_ms;
	uint32_t failures; /* probes in a row that found it away */
	bool held; /* its server is being restarted: no use in probing */
	struct probe *probe;
	struct http_request *probe_text; /* does it tokenize like the others? */
	struct loop_timer *timer; /* next probe */
	struct loop_timer
		*pause; /* end of a pause: the server asked for it, or the breaker is open */
	struct http_request *health; /* is it alive? `suspects` wait for the answer */
	struct call_list suspects;
	/* The breaker: faults in a row; half open, one request is let through. */
	uint32_t n_faults, n_trips;
	int64_t fault_since_ms;
	bool half_open;
	uint32_t ramp; /* slow start: no more than this in flight; UINT32_MAX: as the limit says */
	/* watch.c */
	struct loop_timer *watch; /* ticks while something is in flight */
	struct http_request *gauges_request;
	uint8_t gauge_source; /* index into its table */
	int64_t busy_since_ms; /* while busy > 0 */
	int64_t heard_ms; /* when anything came from it last */
	struct engine_endpoint_stats stats;
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

/* One HTTP request of a call. Outlives the call when another flight of the same call brought the answer first. */
struct flight {
	TAILQ_ENTRY(flight) link;
	struct call *call; /* NULL: nobody waits for it any more */
	struct endpoint *endpoint;
	struct http_request *http;
	enum lane lane;
	uint32_t weight;
	int64_t sent_ms;
	int64_t begun_ms; /* when it got a slot, as far as can be told; 0: waits for one */
	bool lost; /* its endpoint was given up while it flew */
};

/* The owner sets the first block and embeds the struct; the rest is the pool's. */
struct call {
	struct engine *engine;
	void *owner; /* what the call is a part of; for `build` and `done` */
	enum lane lane;
	uint32_t weight; /* candidates */
	const char *path; /* static; NULL: where the endpoint's dialect generates */
	/* Only endpoints that speak this; NULL: any. What reads and writes the call uses the dialect of its endpoint. */
	const struct dialect_ops *dialect;
	void (*build)(struct call *call, struct str *out); /* `endpoint` is set */
	/* The last thing that the pool does with the call, unless call_answer_is_bad is called from here: it may be freed or used again. */
	void (*done)(struct call *call, const struct call_result *result);
	/* NULL, or: a 2xx answer comes here piece by piece, and `done` gets an empty body. An attempt begins with `build`, which may set this. */
	void (*chunk)(struct call *call, struct slice bytes);
	struct endpoint *
		*home; /* where calls of one job like to go; set by the first; may be NULL */

	TAILQ_ENTRY(call) link;
	enum call_state state;
	struct endpoint
		*endpoint; /* of this attempt, or the last; of the flight that brought the answer */
	struct flight *flight, *hedge; /* of CALL_FLYING; the second is there at the tail only */
	struct loop_timer *timer;
	bool cancelled, half_body, enough;
	long status; /* of the last answer that was no 2xx; 0: none came */
	uint32_t attempts; /* answers that count; in `done` of ENGINE_OK this one is included */
	uint32_t losses; /* times that its endpoint went down under it */
	uint32_t latency_ms;
	double service_ms; /* without the wait for a slot */
	enum engine_reason early_reason; /* of CALL_ENDING */
	struct error err;
};

void call_submit(struct call *call);
/* `done` comes with ENGINE_CANCELLED on a later turn. */
void call_cancel(struct call *call);
/*
 * From `chunk`: the owner has what it wanted, and `done` comes with ENGINE_OK whatever becomes of the rest of the answer.
 * `close`: nobody wants the rest, so the connection is closed, which stops the server.
 */
void call_enough(struct call *call, bool close);
/* Instead of call_submit: `done` comes with this on a later turn, nothing is sent. */
void call_refuse(struct call *call, enum engine_reason reason, const struct error *err);
/* From `done`, for a body that makes no sense: tries again, or calls `done` with ENGINE_BAD_RESPONSE. Adds the address to err. */
void call_answer_is_bad(struct call *call, const struct error *err);

/* Back to the head of its lane: what has waited once goes before what is new. */
void call_requeue(struct call *call);
/* call->err says what happened, call->attempts counts it; `retry_after_ms` -1: back off. Tries again, or ends with `reason`. */
void call_attempt_failed(struct call *call, enum engine_reason reason, int64_t retry_after_ms);
/* From `done`, for a good answer, before the call is freed: what the pool learns lengths and speeds from. */
void call_produced(struct call *call, uint64_t n_tokens);
/* Takes the endpoint's requests back to the queue: it is hung. */
void pool_give_up(struct endpoint *endpoint, const char *why);
/* Where calls of this affinity like to go; NULL: wherever. */
struct endpoint *engine_home(struct engine *engine, uint64_t affinity);
/* Sends what can be sent. */
void pool_dispatch(struct engine *engine);

/* Sends a straggler to a second endpoint if that will be done sooner. */
void pool_hedge(struct engine *engine);

/* --- choose.c --- */

/* The best endpoint of those not `passed`, for a call of the lane; NULL: none is free, or waiting for a faster one is better. */
struct endpoint *choose_endpoint(struct engine *engine, enum lane lane);
/* Candidates that the endpoint may have in flight now, without those sent ahead. */
uint32_t endpoint_slots(const struct endpoint *endpoint);
/* And those. */
uint32_t endpoint_ahead(const struct endpoint *endpoint);
bool endpoint_has_room(const struct endpoint *endpoint, enum lane lane, uint32_t weight);
bool endpoint_speaks(const struct endpoint *endpoint, const struct call *call);
/* A flying call that another endpoint would bring sooner if it began now, and that endpoint; NULL: there is none. */
struct call *choose_straggler(struct engine *engine, struct endpoint **out_endpoint);

/* --- watch.c --- */

/* Something was sent to it: looks after it until nothing is in flight any more. */
void watch_start(struct endpoint *endpoint);
void watch_stop(struct endpoint *endpoint);

/* --- endpoint.c --- */

void endpoint_probe(struct endpoint *endpoint);
void endpoint_down(struct endpoint *endpoint, const char *why);
/* Asks its health path, unless that is under way; whoever waits for the answer is told. */
void endpoint_ask_health(struct endpoint *endpoint);
/* The connection was cut under this call: finds out whether the endpoint is alive. */
void endpoint_suspect(struct call *call);
/* The server is busy and says for how long: others would only be told the same. */
void endpoint_pause(struct endpoint *endpoint, int64_t wait_ms);
/* It gave an answer that makes sense, or failed (5xx, a cut). After several of those in a row it gets a rest. */
void endpoint_is_well(struct endpoint *endpoint);
void endpoint_is_at_fault(struct endpoint *endpoint, const char *why);
/* Up, and not in a pause. */
bool endpoint_is_usable(const struct endpoint *endpoint);
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
	const struct dialect_ops *dialect; /* of the endpoint that was probed first; NULL before */
	const struct dialect_facts *facts; /* of that endpoint */
	uint32_t *
		probe_ids; /* owns: what the first endpoint makes of the probe's text; n_probe_ids */
	size_t n_probe_ids;
	struct engine_info info;
	struct arena arena; /* of info */
	struct call_list lanes[N_LANES];
	size_t n_calls; /* submitted and not answered */
	size_t n_flights;
	uint64_t n_to_come; /* candidates that are not submitted yet, about; UINT64_MAX: unknown */
	struct lengths lengths[N_LANES];
	uint32_t waiting; /* candidates in lanes */
	struct request_list_head requests;
	struct rng rng; /* jitter */
	struct engine_stats stats;
	struct spelling
		*spelling; /* of the vocabulary, once a stream has wanted them; NULL: not there */
	bool spelling_asked, spelling_came; /* it was asked for; and answered, with it or without */
	struct call_list held; /* streams that wait for it; they count as waiting */
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

/* Of all facts->n_vocab (not 0) ids; an error where only one after the other could be asked for. */
void engine_read_whole_vocab(struct engine *engine, engine_vocab_cb *done, void *ctx);

void engine_request_open(struct engine_request *request, struct engine *engine,
	void (*cancel)(struct engine_request *request));
void engine_request_end(struct engine_request *request);

#endif
