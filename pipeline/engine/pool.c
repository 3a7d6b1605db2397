/*
 * Calls and endpoints.
 *
 * A call waits in a lane, flies to an endpoint, and comes back. What then happens depends on whose fault it was:
 *
 *	an answer 2xx			the owner reads it; nonsense is a failed attempt
 *	408, 429, 5xx, no answer in time	a failed attempt; waits (Retry-After, or exponential with jitter), then again
 *	other 4xx			the call's own fault: ends at once
 *	connection refused, "loading"	the endpoint is down: the call goes back to the head of its lane, no attempt is counted
 *	cut in the middle		whose fault? The endpoint's health is asked: gone means down, as above; alive means a
 *					failed attempt. A call under which endpoints keep dying (LOSSES_MAX) is suspected to
 *					kill them, and from then on a loss counts as an attempt.
 *
 * A down endpoint is probed with back-off. If none is up for down_timeout_ms, the engine has failed; a served engine fails
 * when its server has used up its restarts, however long that takes.
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
#define PROBE_BACKOFF_MS 100
#define PROBE_BACKOFF_MS_MAX 5000
#define HEALTH_TIMEOUT_MS 10000
#define AUX_PER_ENDPOINT \
	8 /* small requests in flight: they take HTTP threads of the server, no slots */
#define PREFETCH_DIVISOR 8 /* of the slots, rounded up */
#define AFFINITY_WINDOW \
	128 /* calls at a lane's head that are searched for one that fits an endpoint */
#define LOSSES_MAX 3

static void requeue(struct call *call);

/* Exponential, with jitter so that calls that failed together do not come back together. */
static uint64_t backoff_ms(struct engine *engine, uint32_t n, uint64_t first_ms, uint64_t max_ms)
{
	uint64_t ms = first_ms;

	for (uint32_t i = 1; i < n && ms < max_ms; i++)
		ms *= 2;
	ms = MIN(ms, max_ms);
	return (uint64_t)((double)ms * (0.5 + 0.5 * rng_unit(&engine->rng)));
}

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
	requeue(call);
	pool_dispatch(call->engine);
}

/* call->err says what happened. */
static void attempt_failed(struct call *call, enum engine_reason reason, int64_t retry_after_ms)
{
	struct engine *engine = call->engine;
	uint64_t wait_ms;

	if (call->attempts > engine->config->retries) {
		end_call(call, reason);
		return;
	}
	wait_ms = retry_after_ms >= 0
		? (uint64_t)retry_after_ms
		: backoff_ms(engine, call->attempts, BACKOFF_MS, BACKOFF_MS_MAX);
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
	attempt_failed(call, ENGINE_BAD_RESPONSE, -1);
}

/* --- endpoints: down, and up again --- */

static bool any_up(const struct engine *engine)
{
	for (size_t i = 0; i < engine->n_endpoints; i++) {
		if (engine->endpoints[i].state == ENDPOINT_UP)
			return true;
	}
	return false;
}

static void probe_now(void *ctx)
{
	struct endpoint *endpoint = ctx;

	endpoint->timer = NULL;
	endpoint_probe(endpoint);
}

static void probe_later(struct endpoint *endpoint)
{
	uint64_t wait_ms = backoff_ms(
		endpoint->engine, endpoint->failures, PROBE_BACKOFF_MS, PROBE_BACKOFF_MS_MAX);

	if (endpoint->timer == NULL && endpoint->probe == NULL && !endpoint->held)
		endpoint->timer = loop_after(endpoint->engine->loop, wait_ms, probe_now, endpoint);
}

void endpoint_down(struct endpoint *endpoint, const char *why)
{
	struct engine *engine = endpoint->engine;

	if (endpoint->state == ENDPOINT_DOWN || endpoint->state == ENDPOINT_REFUSED)
		return;
	endpoint->state = ENDPOINT_DOWN;
	endpoint->down_since_ms = clock_mono_ms();
	endpoint->failures = 1;
	if (engine->state == ENGINE_CLOSING || engine->state == ENGINE_FAILED)
		return;
	log_warn("endpoint does not answer, waiting for it", "engine", engine->config->name, "url",
		endpoint->url, "why", why, NULL);
	probe_later(endpoint);
}

/* When the last endpoint that was up went down long ago. */
static void check_lost(struct endpoint *endpoint, const char *why)
{
	struct engine *engine = endpoint->engine;
	int64_t away_ms = clock_mono_ms() - endpoint->down_since_ms;
	struct error err = {0};

	if (engine->server != NULL || any_up(engine))
		return;
	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *other = &engine->endpoints[i];

		if (other->state == ENDPOINT_NEW)
			return;
		if (other->state == ENDPOINT_DOWN)
			away_ms = MIN(away_ms, clock_mono_ms() - other->down_since_ms);
	}
	if (away_ms < (int64_t)engine->config->down_timeout_ms)
		return;
	error_set(&err, FAIL_REMOTE, "%s%s has not answered for %.3g s: %s", endpoint->url,
		engine->n_endpoints > 1 ? " (like all other endpoints)" : "",
		(double)away_ms / 1000, why);
	error_hint(&err,
		"start the server, then run the same command again; it goes on where it stopped");
	engine_fail(engine, &err);
}

static void endpoint_is_away(struct endpoint *endpoint, const char *why)
{
	if (endpoint->state == ENDPOINT_DOWN)
		endpoint->failures++;
	else
		endpoint_down(endpoint, why);
	probe_later(endpoint);
	check_lost(endpoint, why);
	engine_endpoint_changed(endpoint->engine);
}

/* Endpoints of one engine are the same model; what is taken for granted of one must hold for the others. */
static bool check_same(
	struct endpoint *endpoint, const struct probe_result *found, struct error *err)
{
	const struct engine *engine = endpoint->engine;
	const struct dialect_facts *facts = &found->facts, *first = engine->facts;
	const char *name = engine->config->name;

	if (engine->server != NULL && facts->model != NULL && strcmp(facts->model, name) != 0)
		return error_set(err, FAIL_REMOTE,
			"another server than ours answers at %s (it serves '%.100s')",
			endpoint->url, facts->model);
	if (first == NULL)
		return true;
	if (found->dialect != engine->dialect)
		return error_set(err, FAIL_REMOTE, "%s speaks '%s', the other endpoints speak '%s'",
			endpoint->url, found->dialect->name, engine->dialect->name);
	if (facts->n_vocab != first->n_vocab || facts->eos_id != first->eos_id)
		return error_set(err, FAIL_REMOTE,
			"%s has a vocabulary of %u tokens (EOS %lld), other endpoints %u (EOS "
			"%lld)",
			endpoint->url, facts->n_vocab, (long long)facts->eos_id, first->n_vocab,
			(long long)first->eos_id);
	if ((facts->chat_template == NULL) != (first->chat_template == NULL) ||
		(facts->chat_template != NULL &&
			strcmp(facts->chat_template, first->chat_template) != 0))
		return error_set(err, FAIL_REMOTE,
			"%s has another chat template than the other endpoints", endpoint->url);
	return true;
}

static void endpoint_is_up(struct endpoint *endpoint, const struct probe_result *found)
{
	struct engine *engine = endpoint->engine;
	bool was_down = endpoint->state == ENDPOINT_DOWN;

	endpoint->state = ENDPOINT_UP;
	endpoint->failures = 0;
	/* What is known so far stays valid until the new facts are complete. */
	endpoint->facts = found->facts;
	arena_release(&endpoint->arena);
	endpoint->arena = endpoint->probe_arena;
	endpoint->probe_arena = (struct arena){0};
	endpoint->limit = engine->config->concurrency;
	if (endpoint->limit == 0)
		endpoint->limit = found->facts.n_slots > 0 ? found->facts.n_slots : 16;
	if (engine->facts == NULL) {
		engine->dialect = found->dialect;
		engine->facts = &endpoint->facts;
	}
	if (was_down)
		log_info("endpoint answers again", "engine", engine->config->name, "url",
			endpoint->url, NULL);
	engine_endpoint_changed(engine);
	pool_dispatch(engine);
}

static void refuse_endpoint(struct endpoint *endpoint, const struct error *err)
{
	struct engine *engine = endpoint->engine;

	endpoint->state = ENDPOINT_REFUSED;
	/* At the start a mistake of the definition is told; in the middle of the night the others go on. */
	if (engine->state != ENGINE_READY || !any_up(engine)) {
		engine_fail(engine, err);
		return;
	}
	log_error("endpoint is not used any more", "engine", engine->config->name, "why", err->msg,
		NULL);
}

static void probed(void *ctx, const struct probe_result *result)
{
	struct endpoint *endpoint = ctx;
	struct engine *engine = endpoint->engine;
	struct error err = {0};

	endpoint->probe = NULL;
	if (engine->state == ENGINE_CLOSING || engine->state == ENGINE_FAILED) {
		engine_check_closed(engine);
		return;
	}
	if (endpoint->held)
		return;
	if (result->away)
		endpoint_is_away(endpoint, result->err.msg);
	else if (result->dialect == NULL)
		refuse_endpoint(endpoint, &result->err);
	else if (!check_same(endpoint, result, &err))
		refuse_endpoint(endpoint, &err);
	else
		endpoint_is_up(endpoint, result);
}

void endpoint_probe(struct endpoint *endpoint)
{
	struct engine *engine = endpoint->engine;
	const struct dialect_ops *only = engine->dialect;

	if (endpoint->probe != NULL || endpoint->held)
		return;
	if (only == NULL && engine->server != NULL)
		only = &dialect_llamacpp;
	if (only == NULL && engine->config->dialect != NULL &&
		strcmp(engine->config->dialect, "auto") != 0)
		only = dialect_find(engine->config->dialect);
	loop_timer_stop(TAKE(endpoint->timer));
	endpoint->probe = probe_start(
		engine->http, endpoint->url, only, &endpoint->probe_arena, probed, endpoint);
}

/* --- whose fault is a cut connection? --- */

static void judge_suspects(struct endpoint *endpoint, bool alive, const char *why)
{
	struct call *call;

	if (!alive)
		endpoint_down(endpoint, why);
	/* Owners may cancel others on this list from their callbacks; none can come onto it meanwhile. */
	while ((call = TAILQ_FIRST(&endpoint->suspects)) != NULL) {
		TAILQ_REMOVE(&endpoint->suspects, call, link);
		if (!alive && ++call->losses <= LOSSES_MAX) {
			requeue(call);
			continue;
		}
		call->attempts++;
		attempt_failed(
			call, call->half_body ? ENGINE_BAD_RESPONSE : ENGINE_SERVER_ERROR, -1);
	}
	pool_dispatch(endpoint->engine);
}

static void health_came(void *ctx, const struct http_reply *reply)
{
	struct endpoint *endpoint = ctx;
	struct engine *engine = endpoint->engine;
	AUTO_JSON struct json *body = NULL;
	struct error err;
	bool alive = reply->failure == HTTP_OK || reply->failure == HTTP_TIMED_OUT;

	endpoint->health = NULL;
	if (reply->failure == HTTP_OK && engine->dialect->loading != NULL) {
		body = json_parse(reply->body.data, reply->body.len, &err);
		alive = !engine->dialect->loading(reply->status, body);
	}
	judge_suspects(
		endpoint, alive, alive ? "" : "the connection was cut, and it is not healthy");
	engine_check_closed(engine);
}

static void suspect(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	struct engine *engine = call->engine;
	AUTO_FREE char *url = xasprintf("%s%s", endpoint->url, engine->dialect->health_path);

	call->state = CALL_SUSPECT;
	TAILQ_INSERT_TAIL(&endpoint->suspects, call, link);
	if (endpoint->state != ENDPOINT_UP)
		judge_suspects(endpoint, false, "");
	else if (endpoint->health == NULL)
		endpoint->health = http_send(
			engine->http, url, NULL, 0, HEALTH_TIMEOUT_MS, health_came, endpoint);
}

void endpoint_stop(struct endpoint *endpoint)
{
	loop_timer_stop(TAKE(endpoint->timer));
	loop_timer_stop(TAKE(endpoint->pause));
	if (endpoint->probe != NULL)
		probe_cancel(endpoint->probe);
	if (endpoint->health != NULL)
		http_cancel(endpoint->health);
}

/* --- answers --- */

static void pause_is_over(void *ctx)
{
	struct endpoint *endpoint = ctx;

	endpoint->pause = NULL;
	endpoint->paused_until_ms = 0;
	pool_dispatch(endpoint->engine);
}

/* The server is busy and says for how long: others would only be told the same. */
static void pause_endpoint(struct endpoint *endpoint, int64_t wait_ms)
{
	if (wait_ms <= 0 || endpoint->pause != NULL)
		return;
	endpoint->paused_until_ms = clock_mono_ms() + wait_ms;
	endpoint->pause = loop_after(
		endpoint->engine->loop, (uint64_t)wait_ms, pause_is_over, endpoint);
}

static void refused(struct call *call, const struct json *body, long status)
{
	const struct dialect_ops *dialect = call->engine->dialect;

	if (status == 401) {
		/* Not this call's fault, and every other one would meet the same. */
		struct error err = call->err;

		error_hint(&err, "'api_key_env' names the environment variable that holds the key");
		set_cancelled(call);
		engine_fail(call->engine, &err);
		end_call(call, ENGINE_CANCELLED);
		return;
	}
	if (dialect->prompt_too_long != NULL && dialect->prompt_too_long(body))
		end_call(call, ENGINE_PROMPT_TOO_LONG);
	else
		end_call(call, ENGINE_REJECTED);
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
		requeue(call);
		return;
	}
	call->attempts++;
	error_set(&call->err, FAIL_REMOTE, "HTTP %ld%s%.400s", status, text != NULL ? ": " : "",
		text != NULL ? text : "");
	name_endpoint(call);
	if (status >= 500 || status == 429 || status == 408) {
		pause_endpoint(call->endpoint, reply->retry_after_ms);
		attempt_failed(call, ENGINE_SERVER_ERROR, reply->retry_after_ms);
	} else {
		refused(call, body, status);
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
		requeue(call);
		break;
	case HTTP_CUT:
		call->half_body = reply->status != 0;
		suspect(call);
		break;
	case HTTP_TIMED_OUT:
		call->attempts++;
		attempt_failed(call, ENGINE_TIMEOUT, -1);
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

/* What has waited once goes before what is new. */
static void requeue(struct call *call)
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
	fly(call, endpoint);
	return true;
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
