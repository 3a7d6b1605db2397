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
#define BREAKER_FAULTS 5 /* in a row, from which on it gets a rest */
#define BREAKER_MS 500
#define BREAKER_MS_MAX 5000
#define RAMP_FIRST 2 /* candidates in flight when it has just come back */

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
	if (endpoint->state == ENDPOINT_UP)
		endpoint->ramp = RAMP_FIRST;
	endpoint->state = ENDPOINT_DOWN;
	endpoint->half_open = false;
	endpoint->n_faults = endpoint->n_trips = 0;
	endpoint->down_since_ms = clock_mono_ms();
	endpoint->failures = 1;
	if (engine->state == ENGINE_CLOSING || engine->state == ENGINE_FAILED)
		return;
	log_warn("endpoint does not answer, waiting for it", "engine", engine->config->name, "url",
		endpoint->url, "why", why, NULL);
	probe_later(endpoint);
	engine_endpoint_changed(engine);
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

/* Of another dialect: what both tell must agree. */
static bool check_told(
	const struct endpoint *endpoint, const struct dialect_facts *facts, struct error *err)
{
	const struct dialect_facts *first = endpoint->engine->facts;

	if (facts->n_vocab != 0 && first->n_vocab != 0 && facts->n_vocab != first->n_vocab)
		return error_set(err, FAIL_REMOTE,
			"%s has a vocabulary of %u tokens, other endpoints %u", endpoint->url,
			facts->n_vocab, first->n_vocab);
	if (facts->eos_id >= 0 && first->eos_id >= 0 && facts->eos_id != first->eos_id)
		return error_set(err, FAIL_REMOTE,
			"%s ends a turn with token %lld, others with %lld", endpoint->url,
			(long long)facts->eos_id, (long long)first->eos_id);
	return true;
}

static bool is_other(const char *was, const char *is)
{
	return was != NULL && is != NULL && strcmp(was, is) != 0;
}

/*
 * One that was away must come back as what it was: another model may well have the same vocabulary and chat template. A model that is
 * asked for by its name may be one of several that a server lists, in any order.
 */
static bool check_model(
	const struct endpoint *endpoint, const struct dialect_facts *facts, struct error *err)
{
	const struct dialect_facts *before = &endpoint->facts;
	bool by_name = endpoint->engine->config->model == NULL &&
		is_other(before->model, facts->model);

	if (!by_name && !is_other(before->model_path, facts->model_path))
		return true;
	error_set(err, FAIL_REMOTE,
		"%s has come back with another model: '%.100s', it was '%.100s'", endpoint->url,
		by_name ? facts->model : facts->model_path,
		by_name ? before->model : before->model_path);
	return error_hint(err, "start the server with the old model, and the same command goes on");
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
	if (!check_model(endpoint, facts, err))
		return false;
	if (found->dialect->has_ids != engine->dialect->has_ids) {
		error_set(err, FAIL_REMOTE,
			"%s speaks '%s', which returns %s, the other endpoints speak '%s'",
			endpoint->url, found->dialect->name,
			found->dialect->has_ids ? "token ids" : "no token ids",
			engine->dialect->name);
		return error_hint(
			err, "make them two engines; candidates with and without ids do not mix");
	}
	/* What one dialect does not tell cannot be compared; the probe's text is then all there is. */
	if (found->dialect != engine->dialect)
		return check_told(endpoint, facts, err);
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

static void endpoint_is_up(struct endpoint *endpoint)
{
	struct engine *engine = endpoint->engine;
	bool was_down = endpoint->state == ENDPOINT_DOWN;

	if (was_down)
		endpoint->stats.down_ms += (uint64_t)(clock_mono_ms() - endpoint->down_since_ms);
	endpoint->state = ENDPOINT_UP;
	endpoint->failures = 0;
	endpoint->gauge_source = 0;
	limit_init(&endpoint->limit, engine->config->concurrency, endpoint->facts.n_slots);
	if (engine->facts == NULL) {
		engine->dialect = endpoint->dialect;
		engine->facts = &endpoint->facts;
	}
	if (was_down)
		log_info("endpoint answers again", "engine", engine->config->name, "url",
			endpoint->url, NULL);
	engine_endpoint_changed(engine);
	pool_dispatch(engine);
}

/* What is known so far stayed valid until the new facts were complete. */
static void take_facts(struct endpoint *endpoint, const struct probe_result *found)
{
	endpoint->dialect = found->dialect;
	endpoint->facts = found->facts;
	arena_release(&endpoint->arena);
	endpoint->arena = endpoint->probe_arena;
	endpoint->probe_arena = (struct arena){0};
}

/* --- does it tokenize as the others do? --- */

/*
 * Ids of one endpoint are sent to another, and those of all are packed together. Vocabularies of the same size are no proof: so
 * all endpoints with ids are given one text, in which tokenizers differ (spaces, digits, accents, an emoji, code).
 */
static const char probe_text[] =
	"Thresh:  12345 + 6789.01 = ?\n\tnaïve café — \xf0\x9f\x8c\xbe 稲 don't; x += y[i];";

static bool check_text_ids(struct endpoint *endpoint, const struct http_reply *reply,
	struct arena *arena, struct error *err)
{
	struct engine *engine = endpoint->engine;
	AUTO_JSON struct json *body = NULL;
	const uint32_t *ids;
	size_t n;

	if (reply->status < 200 || reply->status > 299)
		return error_set(err, FAIL_REMOTE, "%s answers HTTP %ld when it is to tokenize",
			endpoint->url, reply->status);
	body = json_parse(reply->body.data, reply->body.len, err);
	if (body == NULL ||
		!endpoint->dialect->read_tokenize(
			body, endpoint->facts.n_vocab, arena, &ids, &n, err))
		return error_context(err, "%s%s", endpoint->url, endpoint->dialect->tokenize_path);
	if (engine->probe_ids == NULL) {
		engine->probe_ids = xreallocarray(NULL, MAX(n, 1), sizeof(*ids));
		memcpy(engine->probe_ids, ids, n * sizeof(*ids));
		engine->n_probe_ids = n;
		return true;
	}
	if (n == engine->n_probe_ids && memcmp(ids, engine->probe_ids, n * sizeof(*ids)) == 0)
		return true;
	error_set(err, FAIL_REMOTE,
		"%s tokenizes a text otherwise than the other endpoints (%zu tokens, they %zu)",
		endpoint->url, n, engine->n_probe_ids);
	return error_hint(err, "endpoints of one engine serve the same model");
}

static void text_came(void *ctx, const struct http_reply *reply)
{
	struct endpoint *endpoint = ctx;
	struct engine *engine = endpoint->engine;
	struct arena arena = {0};
	struct error err = {0};

	endpoint->probe_text = NULL;
	if (engine->state == ENGINE_CLOSING || engine->state == ENGINE_FAILED)
		engine_check_closed(engine);
	else if (endpoint->held)
		return;
	else if (reply->failure != HTTP_OK)
		endpoint_is_away(endpoint, reply->err.msg);
	else if (reply->status >= 500 && reply->status != 501)
		endpoint_is_away(endpoint, "it cannot tokenize");
	else if (!check_text_ids(endpoint, reply, &arena, &err))
		refuse_endpoint(endpoint, &err);
	else
		endpoint_is_up(endpoint);
	arena_release(&arena);
}

static void take_probe(struct endpoint *endpoint, const struct probe_result *found)
{
	struct engine *engine = endpoint->engine;
	AUTO_FREE char *url = NULL;
	struct str body;

	take_facts(endpoint, found);
	if (engine->n_endpoints == 1 || !found->dialect->has_ids) {
		endpoint_is_up(endpoint);
		return;
	}
	/* The first to come this far is what the others are compared with, whoever tokenizes first. */
	if (engine->facts == NULL) {
		engine->dialect = endpoint->dialect;
		engine->facts = &endpoint->facts;
	}
	str_init(&body, STR_NO_CAP);
	found->dialect->build_tokenize(slice_z(probe_text), false, false, &body);
	url = xasprintf("%s%s", endpoint->url, found->dialect->tokenize_path);
	endpoint->probe_text = http_send(engine->http,
		&(struct http_ask){
			.url = url,
			.body = {body.data, body.len},
			.timeout_ms = HEALTH_TIMEOUT_MS,
			.done = text_came,
			.ctx = endpoint,
		});
	str_release(&body);
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
	if (!result->away)
		endpoint->heard_ms = clock_mono_ms();
	if (result->away)
		endpoint_is_away(endpoint, result->err.msg);
	else if (result->dialect == NULL)
		refuse_endpoint(endpoint, &result->err);
	else if (!check_same(endpoint, result, &err))
		refuse_endpoint(endpoint, &err);
	else
		take_probe(endpoint, result);
}

void endpoint_probe(struct endpoint *endpoint)
{
	struct engine *engine = endpoint->engine;
	const struct dialect_ops *only = endpoint->dialect;

	if (endpoint->probe != NULL || endpoint->probe_text != NULL || endpoint->held)
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
		struct error cut = call->err;
		call_attempt_failed(
			call, call->half_body ? ENGINE_BAD_RESPONSE : ENGINE_SERVER_ERROR, -1);
		endpoint_is_at_fault(endpoint, cut.msg);
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
	if (reply->status != 0)
		endpoint->heard_ms = clock_mono_ms();
	if (reply->failure == HTTP_OK && endpoint->dialect->loading != NULL) {
		body = json_parse(reply->body.data, reply->body.len, &err);
		alive = !endpoint->dialect->loading(reply->status, body);
	}
	/* No connection at all: whatever still flies there will not come back either. */
	if (reply->failure == HTTP_UNREACHABLE && engine->state == ENGINE_READY)
		pool_give_up(endpoint, reply->err.msg);
	judge_suspects(
		endpoint, alive, alive ? "" : "the connection was cut, and it is not healthy");
	engine_check_closed(engine);
}

void endpoint_ask_health(struct endpoint *endpoint)
{
	AUTO_FREE char *url = NULL;

	if (endpoint->health != NULL || endpoint->state != ENDPOINT_UP)
		return;
	url = xasprintf("%s%s", endpoint->url, endpoint->dialect->health_path);
	endpoint->health = http_send(endpoint->engine->http,
		&(struct http_ask){
			.url = url,
			.timeout_ms = HEALTH_TIMEOUT_MS,
			.done = health_came,
			.ctx = endpoint,
		});
}

void endpoint_suspect(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;

	call->state = CALL_SUSPECT;
	TAILQ_INSERT_TAIL(&endpoint->suspects, call, link);
	if (endpoint->state != ENDPOINT_UP)
		judge_suspects(endpoint, false, "");
	else
		endpoint_ask_health(endpoint);
}

void endpoint_stop(struct endpoint *endpoint)
{
	loop_timer_stop(TAKE(endpoint->timer));
	loop_timer_stop(TAKE(endpoint->pause));
	if (endpoint->probe != NULL)
		probe_cancel(endpoint->probe);
	if (endpoint->probe_text != NULL)
		http_cancel(endpoint->probe_text);
	if (endpoint->health != NULL)
		http_cancel(endpoint->health);
	watch_stop(endpoint);
}

/* --- pauses --- */

static void pause_is_over(void *ctx)
{
	struct endpoint *endpoint = ctx;

	endpoint->pause = NULL;
	pool_dispatch(endpoint->engine);
}

void endpoint_pause(struct endpoint *endpoint, int64_t wait_ms)
{
	if (wait_ms <= 0 || endpoint->pause != NULL)
		return;
	endpoint->pause = loop_after(
		endpoint->engine->loop, (uint64_t)wait_ms, pause_is_over, endpoint);
}

/*
 * --- the breaker ---
 *
 * A string of 5xx and cut connections, whoever's requests they were, says that the endpoint is broken. It rests, then one request
 * is let through; a good answer opens it again, slowly. Nonsense with a 2xx does not count: that is as a rule about the request.
 * Nor does 429, which is about load, nor a time-out, which is about patience.
 */

static void fail_if_hopeless(struct endpoint *endpoint, const char *why)
{
	struct engine *engine = endpoint->engine;
	int64_t since_ms = clock_mono_ms() - endpoint->fault_since_ms;
	struct error err = {0};

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *other = &engine->endpoints[i];

		if (other->state == ENDPOINT_UP && other->n_trips == 0)
			return;
	}
	if (since_ms < (int64_t)engine->config->down_timeout_ms)
		return;
	error_set(&err, FAIL_REMOTE, "%s%s has answered nothing but errors for %.3g s: %s",
		endpoint->url, engine->n_endpoints > 1 ? " (like all other endpoints)" : "",
		(double)since_ms / 1000, why);
	error_hint(&err,
		"see the server's log, then run the same command again; it goes on where it "
		"stopped");
	engine_fail(engine, &err);
}

void endpoint_is_at_fault(struct endpoint *endpoint, const char *why)
{
	struct engine *engine = endpoint->engine;

	endpoint->stats.errors++;
	if (endpoint->n_faults++ == 0)
		endpoint->fault_since_ms = clock_mono_ms();
	/* Answers to what was sent before the rest say nothing new. */
	if (endpoint->n_faults < BREAKER_FAULTS || endpoint->pause != NULL ||
		endpoint->state != ENDPOINT_UP || engine->state != ENGINE_READY)
		return;
	if (endpoint->n_trips++ == 0)
		log_warn("endpoint gives nothing but errors, one request at a time is tried",
			"engine", engine->config->name, "url", endpoint->url, "why", why, NULL);
	endpoint->half_open = true;
	endpoint_pause(endpoint,
		(int64_t)engine_backoff_ms(engine, endpoint->n_trips, BREAKER_MS, BREAKER_MS_MAX));
	fail_if_hopeless(endpoint, why);
}

void endpoint_is_well(struct endpoint *endpoint)
{
	if (endpoint->half_open) {
		endpoint->half_open = false;
		endpoint->ramp = RAMP_FIRST;
		log_info("endpoint gives answers again", "engine", endpoint->engine->config->name,
			"url", endpoint->url, NULL);
	} else if (endpoint->ramp < endpoint->limit.n) {
		/* As fast as it doubles when each round of answers is good. */
		endpoint->ramp++;
	} else {
		endpoint->ramp = UINT32_MAX;
	}
	endpoint->n_faults = endpoint->n_trips = 0;
}
