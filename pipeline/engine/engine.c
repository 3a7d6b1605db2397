/*
 * The life of an engine: start (a server of our own, or URLs to probe), ready, perhaps failed, closed. Requests are in the
 * engine_*.c files; what becomes of them on the way to a server and back is in pool.c.
 *
 * Ready when at least one endpoint is up and each of the others has been tried once. Ready and failed are told on a turn of
 * their own, so that a callback never runs inside a call. Closing waits for everything that may still call back (HTTP, the server's
 * process) before it frees anything.
 */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/gguf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *engine_reason_name(enum engine_reason reason)
{
	static const char *const names[] = {
		[ENGINE_OK] = "ok",
		[ENGINE_REJECTED] = "rejected",
		[ENGINE_SERVER_ERROR] = "server_error",
		[ENGINE_TIMEOUT] = "timeout",
		[ENGINE_BAD_RESPONSE] = "bad_response",
		[ENGINE_PROMPT_TOO_LONG] = "prompt_too_long",
		[ENGINE_CANCELLED] = "cancelled",
	};

	assert((size_t)reason < ARRAY_LEN(names));
	return names[reason];
}

const char *finish_name(enum finish finish)
{
	static const char *const names[] = {
		[FINISH_STOP] = "stop",
		[FINISH_STOP_STRING] = "stop_string",
		[FINISH_LENGTH] = "length",
		[FINISH_CONTEXT] = "context",
		[FINISH_LOOP] = "loop",
		[FINISH_AFTER_ANSWER] = "after_answer",
		[FINISH_OUTLIER] = "length_outlier",
		[FINISH_CANCELLED] = "cancelled",
	};

	assert((size_t)finish < ARRAY_LEN(names));
	return names[finish];
}

/* --- requests --- */

void engine_request_open(struct engine_request *request, struct engine *engine,
	void (*cancel)(struct engine_request *request))
{
	request->engine = engine;
	request->cancel = cancel;
	TAILQ_INSERT_TAIL(&engine->requests, request, link);
}

void engine_request_end(struct engine_request *request)
{
	TAILQ_REMOVE(&request->engine->requests, request, link);
	engine_check_closed(request->engine);
}

void engine_cancel(struct engine_request *request)
{
	request->cancel(request);
}

struct hold {
	struct engine_request request;
	void (*cancelled)(void *ctx);
	void *ctx;
	struct loop_timer *timer; /* cancelled: the callback is on its way */
};

static void free_hold(struct hold *hold)
{
	engine_request_end(&hold->request);
	free(hold);
}

static void tell_hold(void *ctx)
{
	struct hold *hold = ctx;

	hold->cancelled(hold->ctx);
	free_hold(hold);
}

static void cancel_hold(struct engine_request *request)
{
	struct hold *hold = (struct hold *)request;

	if (hold->timer == NULL)
		hold->timer = loop_after(request->engine->loop, 0, tell_hold, hold);
}

struct engine_request *engine_hold(struct engine *engine, void (*cancelled)(void *ctx), void *ctx)
{
	struct hold *hold = xcalloc(1, sizeof(*hold));

	hold->cancelled = cancelled;
	hold->ctx = ctx;
	engine_request_open(&hold->request, engine, cancel_hold);
	if (engine->state != ENGINE_READY)
		cancel_hold(&hold->request);
	return &hold->request;
}

bool engine_release(struct engine_request *request)
{
	struct hold *hold = (struct hold *)request;

	if (hold->timer != NULL)
		return false;
	free_hold(hold);
	return true;
}

static void cancel_all(struct engine *engine)
{
	struct engine_request *request;

	/* Nothing ends inside `cancel`, so the list stays as it is. */
	TAILQ_FOREACH(request, &engine->requests, link)
	{
		request->cancel(request);
	}
}

/* --- ready, failed --- */

static void tell(void *ctx)
{
	struct engine *engine = ctx;

	engine->tell = NULL;
	if (engine->state == ENGINE_READY)
		engine->events.ready(engine->events.ctx, engine);
	else if (engine->state == ENGINE_FAILED)
		engine->events.failed(engine->events.ctx, engine, &engine->err);
}

static void tell_later(struct engine *engine)
{
	loop_timer_stop(engine->tell);
	engine->tell = loop_after(engine->loop, 0, tell, engine);
}

void engine_fail(struct engine *engine, const struct error *err)
{
	if (engine->state == ENGINE_FAILED || engine->state == ENGINE_CLOSING)
		return;
	engine->state = ENGINE_FAILED;
	engine->err = *err;
	error_context(&engine->err, "engine '%s'", engine->config->name);
	cancel_all(engine);
	for (size_t i = 0; i < engine->n_endpoints; i++)
		endpoint_stop(&engine->endpoints[i]);
	tell_later(engine);
}

static void hash_text(const char *text, char out[33])
{
	hash128_hex(hash128(text, strlen(text)), out);
}

bool engine_model_hash(const struct engine_config *config, char out[33], struct error *err)
{
	out[0] = '\0';
	if (config->serve.model != NULL)
		return gguf_fingerprint(config->serve.model, out, err);
	if (config->model != NULL)
		hash_text(config->model, out);
	return true;
}

static const char *copy(struct engine *engine, const char *text)
{
	return text != NULL ? arena_strdup(&engine->arena, text) : NULL;
}

/*
 * The endpoint whose word counts for all: one that tells its chat template before one that does not, then the first in the
 * definition. So it does not depend on which of them answers first.
 */
static const struct endpoint *spokesman(const struct engine *engine)
{
	const struct endpoint *best = NULL;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *endpoint = &engine->endpoints[i];

		if (endpoint->state == ENDPOINT_UP &&
			(best == NULL ||
				(best->facts.chat_template == NULL &&
					endpoint->facts.chat_template != NULL)))
			best = endpoint;
	}
	return best;
}

/* New prompts are tokenized by endpoints that are up: of several dialects, this may be another one than before. */
static void prefer_dialect(struct engine *engine)
{
	const struct endpoint *best = spokesman(engine);

	if (best != NULL) {
		engine->dialect = best->dialect;
		engine->facts = &best->facts;
	}
}

/* What endpoints differ in is put together carefully: the sum of slots, the smallest context. */
static bool fill_info(struct engine *engine, struct error *err)
{
	const struct engine_config *config = engine->config;
	const struct dialect_facts *facts = engine->facts;
	struct engine_info *info = &engine->info;

	info->dialect = engine->dialect->name;
	info->has_ids = info->has_n = info->has_logprobs = true;
	info->has_seed = info->has_streams = info->prefix_per_slot = true;
	info->eos_id = facts->eos_id;
	info->build = copy(engine, facts->build);
	info->server = copy(engine, facts->server);
	info->model_path = config->serve.model != NULL ? config->serve.model
						       : copy(engine, facts->model_path);
	info->model = config->serve.model != NULL ? config->serve.model
		: config->model != NULL           ? config->model
						  : copy(engine, facts->model);
	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *endpoint = &engine->endpoints[i];
		uint32_t context = endpoint->facts.context;

		/* What one of them cannot do, the engine cannot. */
		if (endpoint->dialect != NULL) {
			info->has_ids &= endpoint->dialect->has_ids;
			info->has_n &= endpoint->dialect->has_n;
			info->has_streams &= endpoint->dialect->read_event != NULL;
			info->has_logprobs &= endpoint->dialect->has_logprobs;
			info->has_seed &= !endpoint->facts.ignores_seeds;
			info->prefix_per_slot &= endpoint->dialect->prefix_per_slot;
		}
		info->n_slots += endpoint->facts.n_slots;
		if (context != 0 && (info->context == 0 || context < info->context))
			info->context = context;
	}
	/* llama.cpp rounds a slot's context up; a candidate may still have only what was asked for. */
	if (engine->server != NULL && info->context > config->serve.context)
		info->context = config->serve.context;
	if (facts->chat_template != NULL)
		hash_text(facts->chat_template, info->chat_template_hash);
	if (!engine_model_hash(config, info->model_hash, err))
		return false;
	if (info->model_hash[0] == '\0')
		hash_text(info->model != NULL ? info->model : "", info->model_hash);
	return true;
}

static bool all_tried(const struct engine *engine)
{
	size_t n_up = 0;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		if (engine->endpoints[i].state == ENDPOINT_NEW)
			return false;
		n_up += engine->endpoints[i].state == ENDPOINT_UP;
	}
	return n_up > 0;
}

void engine_endpoint_changed(struct engine *engine)
{
	struct error err = {0};

	if (engine->state == ENGINE_READY || all_tried(engine))
		prefer_dialect(engine);
	if (engine->state != ENGINE_STARTING || !all_tried(engine))
		return;
	if (!fill_info(engine, &err)) {
		engine_fail(engine, &err);
		return;
	}
	if (engine->server != NULL && engine->info.context < engine->config->serve.context)
		log_warn("the server gives a slot less context than was asked for", "engine",
			engine->config->name, "context", log_fmt("%u", engine->info.context), NULL);
	engine->state = ENGINE_READY;
	tell_later(engine);
}

/* --- a server of our own --- */

static void server_is_up(void *ctx)
{
	struct engine *engine = ctx;
	struct endpoint *endpoint = &engine->endpoints[0];

	free(endpoint->url);
	endpoint->url = xstrdup(server_url(engine->server));
	endpoint->held = false;
	endpoint_probe(endpoint);
}

static void server_is_down(void *ctx)
{
	struct engine *engine = ctx;
	struct endpoint *endpoint = &engine->endpoints[0];

	endpoint->held = true;
	endpoint_down(endpoint, "its process ended");
	loop_timer_stop(TAKE(endpoint->timer));
	if (endpoint->probe != NULL)
		probe_cancel(endpoint->probe);
}

static void server_has_failed(void *ctx, const struct error *err)
{
	engine_fail(ctx, err);
}

/* --- start --- */

static bool read_key(const struct engine_config *config, const char **out, struct error *err)
{
	*out = NULL;
	if (config->api_key_env == NULL)
		return true;
	*out = getenv(config->api_key_env);
	if (*out != NULL && **out != '\0')
		return true;
	error_set(err, FAIL_CONFIG, "the environment variable '%s' (api_key_env) is %s",
		config->api_key_env, *out == NULL ? "not set" : "empty");
	return error_hint(err,
		"export %s=... before the run; systemd's EnvironmentFile= keeps it out of the unit",
		config->api_key_env);
}

static bool open_http(struct engine *engine, struct error *err)
{
	const struct engine_config *config = engine->config;
	struct http_config http = {
		.header_names = config->header_names,
		.header_values = config->header_values,
		.n_headers = config->n_headers,
		.ca_file = config->ca_file,
		/* Our own server is on this machine, whatever http_proxy says. */
		.proxy = config->serve.model != NULL ? "" : config->proxy,
		.connect_timeout_ms = config->connect_timeout_ms,
		.response_bytes_max = config->response_bytes_max,
	};

	if (!read_key(config, &http.api_key, err))
		return false;
	engine->http = http_client_new(engine->loop, &http);
	return true;
}

static bool open_endpoints(struct engine *engine, struct error *err)
{
	const struct engine_config *config = engine->config;
	bool served = config->serve.model != NULL;
	size_t n = served ? 1 : config->n_urls;

	if (n == 0)
		return error_set(err, FAIL_CONFIG, "it has neither 'serve' nor 'url'");
	engine->endpoints = xcalloc(n, sizeof(*engine->endpoints));
	for (size_t i = 0; i < n; i++) {
		struct endpoint *endpoint = &engine->endpoints[i];

		endpoint->engine = engine;
		endpoint->ramp = UINT32_MAX;
		TAILQ_INIT(&endpoint->flying);
		TAILQ_INIT(&endpoint->suspects);
		endpoint->url = served ? NULL : http_normalize_url(config->urls[i], err);
		engine->n_endpoints++;
		if (!served && endpoint->url == NULL)
			return false;
	}
	return true;
}

static bool open_engine(struct engine *engine, struct error *err)
{
	const char *dialect = engine->config->dialect;

	if (dialect != NULL && strcmp(dialect, "auto") != 0 && dialect_find(dialect) == NULL)
		return error_set(err, FAIL_CONFIG, "there is no dialect '%s'", dialect);
	return open_http(engine, err) && open_endpoints(engine, err);
}

struct engine *engine_new(struct loop *loop, const struct engine_config *config,
	const char *log_dir, struct engine_events events)
{
	struct engine *engine = xcalloc(1, sizeof(*engine));

	engine->loop = loop;
	engine->config = config;
	engine->log_dir = xstrdup(log_dir != NULL ? log_dir : ".");
	engine->events = events;
	engine->n_to_come = UINT64_MAX;
	for (size_t i = 0; i < N_LANES; i++)
		TAILQ_INIT(&engine->lanes[i]);
	TAILQ_INIT(&engine->requests);
	rng_seed(&engine->rng, hash64(config->name, strlen(config->name), 0));
	return engine;
}

void engine_start(struct engine *engine)
{
	struct server_events events = {
		.up = server_is_up,
		.down = server_is_down,
		.failed = server_has_failed,
		.ctx = engine,
	};
	struct error err = {0};

	assert(engine->state == ENGINE_NEW);
	engine->state = ENGINE_STARTING;
	if (!open_engine(engine, &err)) {
		engine_fail(engine, &err);
		return;
	}
	if (engine->config->serve.model != NULL) {
		engine->server = server_new(engine->loop, engine->http, &engine->config->serve,
			engine->config->name, engine->log_dir, events);
		server_start(engine->server);
		return;
	}
	for (size_t i = 0; i < engine->n_endpoints; i++)
		endpoint_probe(&engine->endpoints[i]);
}

/* --- questions --- */

const struct engine_info *engine_info(const struct engine *engine)
{
	assert(engine->info.dialect != NULL);
	return &engine->info;
}

const char *engine_name(const struct engine *engine)
{
	return engine->config->name;
}

static uint32_t sum_limits(const struct engine *engine)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < engine->n_endpoints; i++)
		sum += engine->endpoints[i].state == ENDPOINT_UP ? engine->endpoints[i].limit.n : 0;
	return sum;
}

void engine_stats(const struct engine *engine, struct engine_stats *out)
{
	*out = engine->stats;
	out->waiting = engine->waiting;
	for (size_t i = 0; i < engine->n_endpoints; i++)
		out->in_flight += engine->endpoints[i].busy;
	if (engine->server != NULL && !engine->server_closing)
		out->restarts = server_restarts(engine->server);
}

bool engine_endpoint_stats(const struct engine *engine, size_t i, struct engine_endpoint_stats *out)
{
	const struct endpoint *endpoint;

	if (i >= engine->n_endpoints)
		return false;
	endpoint = &engine->endpoints[i];
	*out = endpoint->stats;
	out->url = endpoint->url;
	out->dialect = endpoint->dialect != NULL ? endpoint->dialect->name : NULL;
	out->up = endpoint->state == ENDPOINT_UP;
	out->limit = endpoint->limit.n;
	out->in_flight = endpoint->busy;
	if (endpoint->state == ENDPOINT_DOWN)
		out->down_ms += (uint64_t)(clock_mono_ms() - endpoint->down_since_ms);
	if (endpoint->busy > 0)
		out->busy_ms += (uint64_t)(clock_mono_ms() - endpoint->busy_since_ms);
	return true;
}

uint32_t engine_slots(const struct engine *engine)
{
	return sum_limits(engine);
}

bool engine_has_room(const struct engine *engine)
{
	return engine->state == ENGINE_READY && engine->waiting < sum_limits(engine);
}

/* --- close --- */

static void destroy(void *ctx)
{
	struct engine *engine = ctx;
	void (*closed)(void *ctx) = engine->closed;
	void *closed_ctx = engine->closed_ctx;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		free(engine->endpoints[i].url);
		arena_release(&engine->endpoints[i].arena);
		arena_release(&engine->endpoints[i].probe_arena);
	}
	free(engine->probe_ids);
	free(engine->endpoints);
	http_client_free(engine->http);
	arena_release(&engine->arena);
	spelling_free(engine->spelling);
	free(engine->log_dir);
	free(engine);
	closed(closed_ctx);
}

static bool is_quiet(const struct engine *engine)
{
	if (engine->n_calls > 0 || engine->n_flights > 0 || engine->server != NULL ||
		!TAILQ_EMPTY(&engine->requests))
		return false;
	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *endpoint = &engine->endpoints[i];

		if (endpoint->probe != NULL || endpoint->probe_text != NULL ||
			endpoint->health != NULL || endpoint->gauges_request != NULL)
			return false;
	}
	return true;
}

void engine_check_closed(struct engine *engine)
{
	if (engine->state == ENGINE_CLOSING && engine->end == NULL && is_quiet(engine))
		engine->end = loop_after(engine->loop, 0, destroy, engine);
}

static void server_is_gone(void *ctx)
{
	struct engine *engine = ctx;

	engine->server = NULL;
	engine_check_closed(engine);
}

void engine_close(struct engine *engine, void (*closed)(void *ctx), void *ctx)
{
	assert(engine->state != ENGINE_CLOSING);
	engine->state = ENGINE_CLOSING;
	engine->closed = closed;
	engine->closed_ctx = ctx;
	loop_timer_stop(TAKE(engine->tell));
	cancel_all(engine);
	for (size_t i = 0; i < engine->n_endpoints; i++)
		endpoint_stop(&engine->endpoints[i]);
	if (engine->server != NULL) {
		engine->server_closing = true;
		server_stop(engine->server, server_is_gone, engine);
	}
	engine_check_closed(engine);
}
