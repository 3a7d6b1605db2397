/*
 * Calls. One waits in a lane, flies to an endpoint, and comes back. What then happens depends on whose fault it was:
 *
 *	an answer 2xx			the owner reads it; nonsense is a failed attempt
 *	408, 429, 5xx, no answer in time	a failed attempt; waits (Retry-After, or exponential with jitter), then again
 *	other 4xx			the call's own fault: ends at once (401 is everybody's: the engine fails)
 *	connection refused, "loading"	the endpoint is down: back to the head of the lane, no attempt is counted
 *	cut in the middle		endpoint.c finds out which of the two it was
 *
 * Losses that are not counted as attempts are limited, too (LOSSES_MAX): a server that is well whenever it is probed, and down for
 * this call whenever it is sent, would otherwise be asked for ever.
 *
 * Slots. Each endpoint works on `limit` candidates at a time; a few more (the prefetch) are sent ahead, so that a slot that falls
 * free has work before we have read the answer that freed it. Measured with llama.cpp, 16 slots, 2 cores, 96 tokens each: see README.md.
 * A call of a job goes where the job's first one went (its prefix is cached there) unless that would leave slots idle.
 */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define BACKOFF_MS 250
#define BACKOFF_MS_MAX 30000
#define AUX_PER_ENDPOINT \
	8 /* small requests in flight: they take HTTP threads of the server, no slots */
#define PREFETCH_DIVISOR 8 /* of the slots, rounded up */
#define AFFINITY_WINDOW \
	128 /* calls at a lane's head that are searched for one that fits an endpoint */

/* --- the end of a call --- */

static void count_end(struct call *call)
{
	struct engine *engine = call->engine;

	assert(engine->n_calls > 0);
	engine->n_calls--;
	call->state = CALL_IDLE;
}

static void end_call(struct call *call, enum engine_reason reason)
{
	struct call_result result = {.reason = reason, .err = &call->err};
	struct engine *engine = call->engine;

	count_end(call);
	if (reason != ENGINE_OK && reason != ENGINE_CANCELLED)
		engine->stats.failures += call->weight;
	call->done(call, &result);
	engine_check_closed(engine);
}

static void end_now(void *ctx)
{
	struct call *call = ctx;

	call->timer = NULL;
	end_call(call, call->early_reason);
}

static void end_later(struct call *call, enum engine_reason reason)
{
	call->state = CALL_ENDING;
	call->early_reason = reason;
	call->timer = loop_after(call->engine->loop, 0, end_now, call);
}

static void set_cancelled(struct call *call)
{
	call->cancelled = true;
	error_set(&call->err, FAIL_INTERRUPTED, "cancelled");
}

static void wait_is_over(void *ctx)
{
	struct call *call = ctx;

	call->timer = NULL;
	call_requeue(call);
	pool_dispatch(call->engine);
}

void call_attempt_failed(struct call *call, enum engine_reason reason, int64_t retry_after_ms)
{
	struct engine *engine = call->engine;
	uint64_t wait_ms;

	if (call->attempts > engine->config->retries) {
		end_call(call, reason);
		return;
	}
	wait_ms = retry_after_ms >= 0
		? (uint64_t)retry_after_ms
		: engine_backoff_ms(engine, call->attempts, BACKOFF_MS, BACKOFF_MS_MAX);
	engine->stats.retries++;
	log_debug("retry", "engine", engine->config->name, "attempt", log_fmt("%u", call->attempts),
		"wait_ms", log_fmt("%llu", (unsigned long long)wait_ms), "why", call->err.msg,
		NULL);
	call->state = CALL_WAITING;
	call->timer = loop_after(engine->loop, wait_ms, wait_is_over, call);
}

static void name_endpoint(struct call *call)
{
	error_context(&call->err, "%s%s", call->endpoint->url, call->path);
}

void call_answer_is_bad(struct call *call, const struct error *err)
{
	call->engine->n_calls++;
	call->err = *err;
	name_endpoint(call);
	call_attempt_failed(call, ENGINE_BAD_RESPONSE, -1);
}

/* --- answers --- */

static void refused(struct call *call, long status)
{
	if (status == 401) {
		/* Not this call's fault, and every other one would meet the same. */
		struct error err = call->err;

		error_hint(&err, "'api_key_env' names the environment variable that holds the key");
		set_cancelled(call);
		engine_fail(call->engine, &err);
		end_call(call, ENGINE_CANCELLED);
		return;
	}
	end_call(call, ENGINE_REJECTED);
}

/* Statuses that another attempt may change. A server that has not implemented something will not have a second later. */
static bool may_pass(long status)
{
	return (status >= 500 && status != 501) || status == 429 || status == 408;
}

static void answered_badly(struct call *call, const struct http_reply *reply)
{
	const struct dialect_ops *dialect = call->engine->dialect;
	struct error ignored;
	AUTO_JSON struct json *body = json_parse(reply->body.data, reply->body.len, &ignored);
	const char *text = dialect_error_text(body);
	long status = reply->status;

	if (dialect->loading != NULL && dialect->loading(status, body)) {
		endpoint_down(call->endpoint, "it is loading its model");
		if (++call->losses <= LOSSES_MAX) {
			call_requeue(call);
			return;
		}
	}
	call->attempts++;
	error_set(&call->err, FAIL_REMOTE, "HTTP %ld%s%.400s", status, text != NULL ? ": " : "",
		text != NULL ? text : "");
	name_endpoint(call);
	call->status = status;
	if (dialect->prompt_too_long != NULL && dialect->prompt_too_long(body)) {
		/* llama.cpp says so with 500 where the batch is the limit. */
		end_call(call, ENGINE_PROMPT_TOO_LONG);
	} else if (may_pass(status)) {
		endpoint_pause(call->endpoint, reply->retry_after_ms);
		call_attempt_failed(call, ENGINE_SERVER_ERROR, reply->retry_after_ms);
	} else {
		refused(call, status);
	}
}

static void answered_well(struct call *call, const struct http_reply *reply)
{
	struct call_result result = {.reason = ENGINE_OK, .body = reply->body};

	call->attempts++;
	count_end(call);
	call->done(call, &result);
}

static void failed_to_answer(struct call *call, const struct http_reply *reply)
{
	call->err = reply->err;
	name_endpoint(call);
	switch (reply->failure) {
	case HTTP_UNREACHABLE:
		endpoint_down(call->endpoint, reply->err.msg);
		call_requeue(call);
		break;
	case HTTP_CUT:
		call->half_body = reply->status != 0;
		endpoint_suspect(call);
		break;
	case HTTP_TIMED_OUT:
		call->attempts++;
		call_attempt_failed(call, ENGINE_TIMEOUT, -1);
		break;
	default:
		/* Too big: it would be so again. */
		call->attempts++;
		end_call(call, ENGINE_BAD_RESPONSE);
	}
}

static void came_back(void *ctx, const struct http_reply *reply)
{
	struct call *call = ctx;
	struct engine *engine = call->engine;
	struct endpoint *endpoint = call->endpoint;

	call->http = NULL;
	call->latency_ms = (uint32_t)MIN(clock_mono_ms() - call->sent_ms, (int64_t)UINT32_MAX);
	if (call->lane == LANE_AUX)
		endpoint->busy_aux--;
	else
		endpoint->busy -= call->weight;
	if (call->cancelled)
		end_call(call, ENGINE_CANCELLED);
	else if (reply->failure != HTTP_OK)
		failed_to_answer(call, reply);
	else if (reply->status >= 200 && reply->status <= 299)
		answered_well(call, reply);
	else
		answered_badly(call, reply);
	pool_dispatch(engine);
	engine_check_closed(engine);
}

/* --- lanes --- */

static void enqueue(struct call *call, bool at_head)
{
	struct engine *engine = call->engine;

	call->state = CALL_QUEUED;
	if (call->lane != LANE_AUX)
		engine->waiting += call->weight;
	if (at_head)
		TAILQ_INSERT_HEAD(&engine->lanes[call->lane], call, link);
	else
		TAILQ_INSERT_TAIL(&engine->lanes[call->lane], call, link);
}

static void dequeue(struct call *call)
{
	struct engine *engine = call->engine;

	TAILQ_REMOVE(&engine->lanes[call->lane], call, link);
	if (call->lane != LANE_AUX)
		engine->waiting -= call->weight;
}

void call_requeue(struct call *call)
{
	enum engine_state state = call->engine->state;

	if (state == ENGINE_FAILED || state == ENGINE_CLOSING) {
		set_cancelled(call);
		end_later(call, ENGINE_CANCELLED);
		return;
	}
	enqueue(call, true);
}

void call_submit(struct call *call)
{
	struct engine *engine = call->engine;

	call->attempts = call->losses = 0;
	call->cancelled = call->half_body = false;
	call->status = 0;
	call->err = (struct error){0};
	engine->n_calls++;
	if (engine->state != ENGINE_READY) {
		set_cancelled(call);
		end_later(call, ENGINE_CANCELLED);
		return;
	}
	enqueue(call, false);
	pool_dispatch(engine);
}

void call_refuse(struct call *call, enum engine_reason reason, const struct error *err)
{
	call->engine->n_calls++;
	call->attempts = 0;
	call->endpoint = NULL;
	call->err = *err;
	end_later(call, reason);
}

void call_cancel(struct call *call)
{
	if (call->cancelled || call->state == CALL_IDLE || call->state == CALL_ENDING)
		return;
	set_cancelled(call);
	switch (call->state) {
	case CALL_FLYING:
		http_cancel(call->http);
		return;
	case CALL_QUEUED:
		dequeue(call);
		break;
	case CALL_SUSPECT:
		TAILQ_REMOVE(&call->endpoint->suspects, call, link);
		break;
	default:
		loop_timer_stop(TAKE(call->timer));
	}
	end_later(call, ENGINE_CANCELLED);
}

/* --- dispatch --- */

static uint32_t capacity(const struct endpoint *endpoint)
{
	return endpoint->limit + (endpoint->limit + PREFETCH_DIVISOR - 1) / PREFETCH_DIVISOR;
}

static bool usable(const struct endpoint *endpoint)
{
	return endpoint->state == ENDPOINT_UP && endpoint->pause == NULL;
}

/* Share of the endpoint's slots that are taken. */
static double load(const struct endpoint *endpoint, enum lane lane)
{
	if (lane == LANE_AUX)
		return (double)endpoint->busy_aux / AUX_PER_ENDPOINT;
	return (double)endpoint->busy / endpoint->limit;
}

static bool has_room_for(const struct endpoint *endpoint, const struct call *call)
{
	if (call->lane == LANE_AUX)
		return endpoint->busy_aux < AUX_PER_ENDPOINT;
	/* A call heavier than the endpoint goes out alone. */
	return endpoint->busy == 0 || endpoint->busy + call->weight <= capacity(endpoint);
}

static struct endpoint *least_loaded(struct engine *engine, const struct call *call)
{
	struct endpoint *best = NULL;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		struct endpoint *endpoint = &engine->endpoints[i];

		if (usable(endpoint) && has_room_for(endpoint, call) &&
			(best == NULL || load(endpoint, call->lane) < load(best, call->lane)))
			best = endpoint;
	}
	return best;
}

struct endpoint *engine_home(struct engine *engine, uint64_t affinity)
{
	struct endpoint *endpoint;

	if (affinity == 0 || engine->n_endpoints == 0)
		return NULL;
	endpoint = &engine->endpoints[affinity % engine->n_endpoints];
	return endpoint->state == ENDPOINT_UP ? endpoint : NULL;
}

static struct endpoint *home_of(const struct call *call)
{
	return call->home != NULL ? *call->home : NULL;
}

/* Of the calls at the head of a lane, the one that fits `endpoint` best: at home there, else at home nowhere, else a stranger. */
static struct call *pick_call(
	struct engine *engine, enum lane lane, const struct endpoint *endpoint)
{
	struct call *call, *free_one = NULL, *stranger = NULL;
	unsigned n = 0;

	TAILQ_FOREACH(call, &engine->lanes[lane], link)
	{
		struct endpoint *home = home_of(call);

		if (n++ == AFFINITY_WINDOW)
			break;
		if (home == endpoint)
			return call;
		if (home == NULL && free_one == NULL)
			free_one = call;
		if (home != NULL && stranger == NULL)
			stranger = call;
	}
	if (free_one != NULL)
		return free_one;
	/* Strangers lose their cached prefix; still better than idle slots, but not worth a place in the queue. */
	if (stranger != NULL && usable(home_of(stranger)) && endpoint->busy >= endpoint->limit)
		return NULL;
	return stranger;
}

static void fly(struct call *call, struct endpoint *endpoint)
{
	struct engine *engine = call->engine;
	AUTO_FREE char *url = xasprintf("%s%s", endpoint->url, call->path);
	struct str body;

	dequeue(call);
	call->state = CALL_FLYING;
	call->endpoint = endpoint;
	if (call->home != NULL && *call->home == NULL)
		*call->home = endpoint;
	if (call->lane == LANE_AUX)
		endpoint->busy_aux++;
	else
		endpoint->busy += call->weight;
	engine->stats.requests++;
	str_init(&body, STR_NO_CAP);
	call->build(call, &body);
	call->sent_ms = clock_mono_ms();
	call->http = http_send(engine->http, url, body.data, body.len,
		engine->config->request_timeout_ms, came_back, call);
	str_release(&body);
}

/* False: it is held, and with it what is behind it. */
static bool take_off(struct call *call, struct endpoint *endpoint)
{
	enum engine_leave leave = call->may_start != NULL ? call->may_start(call) : ENGINE_GO;

	if (leave == ENGINE_GO)
		fly(call, endpoint);
	else if (leave == ENGINE_DROP)
		call_cancel(call);
	return leave != ENGINE_HOLD;
}

static bool dispatch_one(struct engine *engine, enum lane lane)
{
	struct call *call = TAILQ_FIRST(&engine->lanes[lane]);
	struct endpoint *endpoint;

	if (call == NULL)
		return false;
	endpoint = least_loaded(engine, call);
	if (endpoint == NULL)
		return false;
	call = pick_call(engine, lane, endpoint);
	if (call == NULL || !has_room_for(endpoint, call))
		return false;
	return take_off(call, endpoint);
}

void pool_dispatch(struct engine *engine)
{
	if (engine->state != ENGINE_READY)
		return;
	for (enum lane lane = LANE_AUX; lane < N_LANES; lane++) {
		while (dispatch_one(engine, lane))
			;
	}
}

void engine_wake(struct engine *engine)
{
	pool_dispatch(engine);
}
