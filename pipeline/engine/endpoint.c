/*
 * Endpoints: found to be up, away or unusable. A down endpoint is probed with back-off, and the probe reads its facts anew, since
 * the server that comes back may be another. If none is up for down_timeout_ms, the engine has failed; a served engine fails
 * when its server has used up its restarts, however long that takes.
 *
 * A connection cut in the middle of an answer does not say whose fault it was, so the endpoint's health is asked while the calls
 * wait as suspects. Gone: it is down, and the calls are sent again without counting. Alive: each has failed an attempt. A call
 * under which endpoints keep dying (LOSSES_MAX) may be what kills them, and from then on a loss counts as an attempt.
 */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

#define PROBE_BACKOFF_MS 100
#define PROBE_BACKOFF_MS_MAX 5000
#define HEALTH_TIMEOUT_MS 10000

uint64_t engine_backoff_ms(struct engine *engine, uint32_t n, uint64_t first_ms, uint64_t max_ms)
{
	uint64_t ms = first_ms;

	for (uint32_t i = 1; i < n && ms < max_ms; i++)
		ms *= 2;
	ms = MIN(ms, max_ms);
	return (uint64_t)((double)ms * (0.5 + 0.5 * rng_unit(&engine->rng)));
}

/* --- down, and up again --- */

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
	uint64_t wait_ms = engine_backoff_ms(
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
			call_requeue(call);
			continue;
		}
		call->attempts++;
		call_attempt_failed(
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

void endpoint_suspect(struct call *call)
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

/* --- pauses --- */

static void pause_is_over(void *ctx)
{
	struct endpoint *endpoint = ctx;

	endpoint->pause = NULL;
	endpoint->paused_until_ms = 0;
	pool_dispatch(endpoint->engine);
}

void endpoint_pause(struct endpoint *endpoint, int64_t wait_ms)
{
	if (wait_ms <= 0 || endpoint->pause != NULL)
		return;
	endpoint->paused_until_ms = clock_mono_ms() + wait_ms;
	endpoint->pause = loop_after(
		endpoint->engine->loop, (uint64_t)wait_ms, pause_is_over, endpoint);
}
