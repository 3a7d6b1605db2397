/*
 * Calls. One waits in a lane, flies to an endpoint, and comes back. What then happens depends on whose fault it was:
 *
 *	an answer 2xx			the owner reads it; nonsense is a failed attempt
 *	408, 429, 5xx, no answer in time	a failed attempt; waits (Retry-After, or exponential with jitter), then again
 *	other 4xx			the call's own fault: ends at once (401 is everybody's: the engine fails)
 *	connection refused, "loading"	the endpoint is down: back to the head of the lane, no attempt is counted
 *	silence, /health included	the endpoint hangs (watch.c): the same
 *	cut in the middle		endpoint.c finds out which of the two it was
 *
 * Losses that are not counted as attempts are limited, too (LOSSES_MAX): a server that is well whenever it is probed, and down for
 * this call whenever it is sent, would otherwise be asked for ever.
 *
 * Slots. Each endpoint works on `limit` candidates at a time (limit.h); a few more are sent ahead, so that a slot that falls free
 * has work before we have read the answer that freed it. Measured with llama.cpp, 16 slots, 2 cores, 96 tokens each: see
 * README.md. Which endpoint is free first is choose.c's affair; of the calls that wait, it gets one of a job that it has had
 * before (the prefix is cached there), as long as no slot idles for that.
 *
 * Flights. A call has one HTTP request under way, or at the tail two (`hedge`): the first good answer counts, the other is
 * cancelled and its end is waited for by the engine alone, since the call may be gone by then. What fails while the other one
 * flies costs nothing.
 */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MS 250
#define BACKOFF_MS_MAX 30000
#define TOGETHER_MS 2
#define BURST_KEPT 0.95
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
	error_context(&call->err, "%s%s", call->endpoint->url,
		call->path != NULL ? call->path : call->endpoint->dialect->generate_path);
}

void call_answer_is_bad(struct call *call, const struct error *err)
{
	call->engine->n_calls++;
	call->err = *err;
	name_endpoint(call);
	call->endpoint->stats.errors++;
	call_attempt_failed(call, ENGINE_BAD_RESPONSE, -1);
}

void call_produced(struct call *call, uint64_t n_tokens)
{
	struct endpoint *endpoint = call->endpoint;
	double tokens = (double)n_tokens / MAX(call->weight, 1);

	endpoint->stats.tokens += n_tokens;
	lengths_add(&call->engine->lengths[call->lane], tokens);
	pace_add(&endpoint->pace, call->service_ms, tokens);
	if (endpoint->busy + call->weight >= endpoint_slots(endpoint))
		limit_answer(&endpoint->limit, call->service_ms, tokens);
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
	const struct dialect_ops *dialect = call->endpoint->dialect;
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
		struct endpoint *endpoint = call->endpoint;
		struct error why = call->err;

		endpoint_pause(endpoint, reply->retry_after_ms);
		if (status == 429)
			limit_refused(&endpoint->limit);
		call_attempt_failed(call, ENGINE_SERVER_ERROR, reply->retry_after_ms);
		/* Last, since it may fail the engine, which cancels every call. */
		if (status >= 500)
			endpoint_is_at_fault(endpoint, why.msg);
	} else {
		refused(call, status);
	}
}

static void answered_well(struct call *call, const struct http_reply *reply)
{
	struct call_result result = {.reason = ENGINE_OK, .body = reply->body};
	struct endpoint *endpoint = call->endpoint;
	uint64_t n_errors = endpoint->stats.errors;
	bool counts = call->lane != LANE_AUX;

	call->attempts++;
	count_end(call);
	call->done(call, &result);
	/* The owner has looked at it by now. */
	if (endpoint->stats.errors == n_errors) {
		endpoint->stats.answers += counts;
		endpoint_is_well(endpoint);
	}
}

/* Back to the queue; a call under which endpoints keep dying begins to pay for it. */
static void lost_under_way(struct call *call)
{
	name_endpoint(call);
	if (++call->losses <= LOSSES_MAX) {
		call_requeue(call);
		return;
	}
	call->attempts++;
	call_attempt_failed(call, ENGINE_TIMEOUT, -1);
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

/* --- flights --- */

static void came_back(void *ctx, const struct http_reply *reply);

static void chunk_came(void *ctx, struct slice bytes)
{
	struct flight *flight = ctx;

	flight->endpoint->heard_ms = clock_mono_ms();
	if (flight->call != NULL)
		flight->call->chunk(flight->call, bytes);
}

static void begin(struct flight *flight)
{
	flight->begun_ms = clock_mono_ms();
	flight->endpoint->begun += flight->weight;
}

/* The oldest that wait get the slots that are free: the server works in order, as all known ones do. */
static void begin_next(struct endpoint *endpoint)
{
	uint32_t slots = endpoint_slots(endpoint);
	struct flight *flight = TAILQ_FIRST(&endpoint->flying);

	while (flight != NULL && endpoint->begun < endpoint->busy && endpoint->begun < slots) {
		if (flight->lane != LANE_AUX && flight->begun_ms == 0)
			begin(flight);
		flight = TAILQ_NEXT(flight, link);
	}
}

static void send_flight(struct call *call, struct endpoint *endpoint, struct flight **place)
{
	struct engine *engine = call->engine;
	const char *path = call->path != NULL ? call->path : endpoint->dialect->generate_path;
	AUTO_FREE char *url = xasprintf("%s%s", endpoint->url, path);
	struct flight *flight = xcalloc(1, sizeof(*flight));
	struct endpoint *before = call->endpoint;
	struct str body;

	*place = flight;
	flight->call = call;
	flight->endpoint = endpoint;
	flight->lane = call->lane;
	flight->weight = call->weight;
	flight->sent_ms = clock_mono_ms();
	TAILQ_INSERT_TAIL(&endpoint->flying, flight, link);
	if (flight->lane == LANE_AUX) {
		endpoint->busy_aux++;
	} else {
		if (endpoint->busy == 0)
			endpoint->busy_since_ms = clock_mono_ms();
		endpoint->busy += flight->weight;
		if (endpoint->begun < endpoint_slots(endpoint))
			begin(flight);
	}
	engine->n_flights++;
	engine->stats.requests++;
	endpoint->stats.requests += flight->lane != LANE_AUX;
	str_init(&body, STR_NO_CAP);
	call->endpoint = endpoint;
	call->build(call, &body);
	if (place == &call->hedge)
		call->endpoint = before;
	flight->http = http_send(engine->http,
		&(struct http_ask){
			.url = url,
			.body = {body.data, body.len},
			.timeout_ms = engine->config->request_timeout_ms,
			.done = came_back,
			.chunk = call->chunk != NULL ? chunk_came : NULL,
			.ctx = flight,
		});
	str_release(&body);
	watch_start(endpoint);
}

/* What it was sent for has come by another way, or is not wanted any more. */
static void abandon(struct flight *flight)
{
	struct engine *engine = flight->call->engine;
	double ms = (double)(clock_mono_ms() - flight->begun_ms);
	double pace = pace_ms_per_token(&flight->endpoint->pace);

	if (flight->begun_ms != 0 && pace > 0)
		engine->stats.tokens_wasted += (uint64_t)(ms / pace);
	flight->call = NULL;
	http_cancel(flight->http);
}

/* Answers that are found together were ready while we were busy elsewhere: so many slots had nothing but what was sent ahead. */
static void count_burst(struct endpoint *endpoint, uint32_t weight)
{
	int64_t now_ms = clock_mono_ms();

	if (now_ms - endpoint->landed_ms > TOGETHER_MS) {
		endpoint->burst_peak = MAX(endpoint->burst_peak * BURST_KEPT, endpoint->burst);
		endpoint->burst = 0;
	}
	endpoint->landed_ms = now_ms;
	endpoint->burst += weight;
}

/* Off the endpoint; what it was the flight of is told apart by the caller. */
static void land(struct flight *flight, const struct http_reply *reply)
{
	struct endpoint *endpoint = flight->endpoint;

	if (reply->status != 0)
		endpoint->heard_ms = clock_mono_ms();
	TAILQ_REMOVE(&endpoint->flying, flight, link);
	endpoint->engine->n_flights--;
	if (flight->lane == LANE_AUX) {
		endpoint->busy_aux--;
		return;
	}
	count_burst(endpoint, flight->weight);
	endpoint->busy -= flight->weight;
	if (endpoint->busy == 0)
		endpoint->stats.busy_ms += (uint64_t)(clock_mono_ms() - endpoint->busy_since_ms);
	if (flight->begun_ms != 0)
		endpoint->begun -= flight->weight;
	begin_next(endpoint);
}

static bool is_good(const struct http_reply *reply)
{
	return reply->failure == HTTP_OK && reply->status >= 200 && reply->status <= 299;
}

/* One of two has failed: of that, only what it says of the endpoint counts. */
static void one_of_two_failed(struct endpoint *endpoint, const struct http_reply *reply)
{
	if (reply->failure == HTTP_UNREACHABLE)
		endpoint_down(endpoint, reply->err.msg);
	else if (reply->failure == HTTP_OK && reply->status >= 500)
		endpoint_is_at_fault(endpoint, "5xx");
}

static void answer_call(struct call *call, const struct http_reply *reply, bool lost)
{
	if (call->cancelled)
		end_call(call, ENGINE_CANCELLED);
	else if (call->enough)
		answered_well(call, reply);
	else if (lost)
		lost_under_way(call);
	else if (reply->failure != HTTP_OK)
		failed_to_answer(call, reply);
	else if (is_good(reply))
		answered_well(call, reply);
	else
		answered_badly(call, reply);
}

static void came_back(void *ctx, const struct http_reply *reply)
{
	struct flight *flight = ctx, *other;
	struct endpoint *endpoint = flight->endpoint;
	struct engine *engine = endpoint->engine;
	struct call *call = flight->call;
	int64_t now_ms = clock_mono_ms();

	land(flight, reply);
	if (call != NULL) {
		bool is_hedge = call->hedge == flight;

		other = is_hedge ? call->flight : call->hedge;
		call->flight = other;
		call->hedge = NULL;
		if (other != NULL && !is_good(reply)) {
			if (!call->cancelled && !flight->lost)
				one_of_two_failed(endpoint, reply);
			call->endpoint = other->endpoint;
		} else {
			if (other != NULL)
				abandon(other);
			if (is_good(reply) && is_hedge)
				engine->stats.hedges_won += flight->weight;
			call->flight = NULL;
			call->endpoint = endpoint;
			call->latency_ms = (uint32_t)MIN(
				now_ms - flight->sent_ms, (int64_t)UINT32_MAX);
			call->service_ms = (double)(now_ms -
				(flight->begun_ms != 0 ? flight->begun_ms : flight->sent_ms));
			answer_call(call, reply, flight->lost);
		}
	}
	free(flight);
	pool_dispatch(engine);
	engine_check_closed(engine);
}

void pool_give_up(struct endpoint *endpoint, const char *why)
{
	struct flight *flight;

	/* Answers come on a later turn, so the list stays as it is. */
	endpoint_down(endpoint, why);
	TAILQ_FOREACH(flight, &endpoint->flying, link)
	{
		flight->lost = true;
		if (flight->call != NULL)
			error_set(&flight->call->err, FAIL_REMOTE, "%s", why);
		http_cancel(flight->http);
	}
}

void pool_hedge(struct engine *engine)
{
	struct endpoint *to = NULL;
	struct call *call;

	if (!engine->config->hedge || engine->state != ENGINE_READY || engine->n_to_come > 0)
		return;
	for (enum lane lane = LANE_PRIORITY; lane < N_LANES; lane++) {
		if (!TAILQ_EMPTY(&engine->lanes[lane]))
			return;
	}
	while ((call = choose_straggler(engine, &to)) != NULL) {
		log_debug("straggler is sent again", "engine", engine->config->name, "from",
			call->endpoint->url, "to", to->url, NULL);
		engine->stats.hedges += call->weight;
		send_flight(call, to, &call->hedge);
	}
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
	call->flight = call->hedge = NULL;
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
		http_cancel(call->flight->http);
		if (call->hedge != NULL)
			http_cancel(call->hedge->http);
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

void call_enough(struct call *call, bool close)
{
	if (call->state != CALL_FLYING || call->enough)
		return;
	call->enough = true;
	if (close)
		http_cancel(call->flight->http);
}

/* --- dispatch --- */

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
		if (!endpoint_speaks(endpoint, call))
			continue;
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
	if (stranger != NULL && endpoint_is_usable(home_of(stranger)) &&
		endpoint->busy >= endpoint_slots(endpoint))
		return NULL;
	return stranger;
}

static void fly(struct call *call, struct endpoint *endpoint)
{
	dequeue(call);
	call->state = CALL_FLYING;
	call->enough = false;
	if (call->home != NULL && *call->home == NULL)
		*call->home = endpoint;
	send_flight(call, endpoint, &call->flight);
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
	struct endpoint *endpoint;

	for (size_t i = 0; i < engine->n_endpoints; i++)
		engine->endpoints[i].passed = false;
	while (!TAILQ_EMPTY(&engine->lanes[lane]) &&
		(endpoint = choose_endpoint(engine, lane)) != NULL) {
		struct call *call = pick_call(engine, lane, endpoint);

		if (call != NULL && endpoint_has_room(endpoint, lane, call->weight)) {
			return take_off(call, endpoint);
		}
		endpoint->passed = true;
	}
	return false;
}

void pool_dispatch(struct engine *engine)
{
	if (engine->state != ENGINE_READY)
		return;
	for (enum lane lane = LANE_AUX; lane < N_LANES; lane++) {
		while (dispatch_one(engine, lane))
			;
	}
	pool_hedge(engine);
}

void engine_expect(struct engine *engine, uint64_t n_to_come)
{
	engine->n_to_come = n_to_come;
	pool_dispatch(engine);
}

void engine_wake(struct engine *engine)
{
	pool_dispatch(engine);
}
