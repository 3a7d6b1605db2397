/*
 * Looks after an endpoint while it has work, about once a second.
 *
 * Gauges. What the server says of itself moves the limit (limit.h), unless the definition fixes it or the server is our own,
 * which nobody else uses. /metrics is tried first, then /slots; where neither is there, nothing is asked again until the endpoint
 * comes back up.
 *
 * Silence. An answer may take 40 minutes, so that nothing comes is no failure. But every server that we know answers its health
 * path while it computes (HTTP threads or an event loop of their own; llama.cpp's /slots and /metrics wait for the end of a
 * batch, /health does not). So when nothing at all has come for a while, health is asked; when that too stays unanswered until
 * `hang_timeout` has passed, the endpoint hangs, or is cut off without a word: it is given up, its requests go elsewhere, and it
 * is probed until it answers. Any byte of an answer in the meantime, be it 404, is life.
 *
 * Slow start. After it came back the endpoint gets few requests at first; the number doubles with each look at which it is alive.
 */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define WATCH_MS 1000
#define QUIET_MS 5000 /* of silence, after which health is asked */
#define ASK_TIMEOUT_MS 5000

enum source { SOURCE_METRICS, SOURCE_SLOTS, SOURCE_NONE };

static uint64_t period_ms(const struct engine *engine)
{
	return engine->config->watch_ms != 0 ? engine->config->watch_ms : WATCH_MS;
}

static void heard(struct endpoint *endpoint)
{
	endpoint->heard_ms = clock_mono_ms();
}

/* --- gauges --- */

static bool read_gauges(
	const struct endpoint *endpoint, const struct http_reply *reply, struct gauges *out)
{
	struct error ignored = {0};
	AUTO_JSON struct json *body = NULL;

	if (reply->status < 200 || reply->status > 299)
		return false;
	if (endpoint->gauge_source == SOURCE_METRICS)
		return gauges_read_metrics(reply->body, out, &ignored);
	body = json_parse(reply->body.data, reply->body.len, &ignored);
	return gauges_read_slots(body, out, &ignored);
}

static void gauges_came(void *ctx, const struct http_reply *reply)
{
	struct endpoint *endpoint = ctx;
	struct engine *engine = endpoint->engine;
	uint32_t before = endpoint->limit.n;
	struct gauges gauges;

	endpoint->gauges_request = NULL;
	if (engine->state != ENGINE_READY) {
		engine_check_closed(engine);
		return;
	}
	if (reply->failure != HTTP_OK)
		return;
	heard(endpoint);
	if (!read_gauges(endpoint, reply, &gauges)) {
		/* A server that is busy or reloading is asked again; one that has no such path is not. */
		if (reply->status < 500 || reply->status == 501)
			endpoint->gauge_source++;
		return;
	}
	limit_gauges(&endpoint->limit, &gauges, endpoint->busy, endpoint_ahead(endpoint),
		engine->waiting > 0);
	if (endpoint->limit.n != before)
		log_debug("limit of an endpoint", "engine", engine->config->name, "url",
			endpoint->url, "from", log_fmt("%u", before), "to",
			log_fmt("%u", endpoint->limit.n), "running", log_fmt("%u", gauges.running),
			"waiting", log_fmt("%u", gauges.waiting), NULL);
	if (endpoint->limit.n > before)
		pool_dispatch(engine);
}

static void ask_gauges(struct endpoint *endpoint)
{
	static const char *const paths[] = {"/metrics", "/slots"};
	struct engine *engine = endpoint->engine;

	if (engine->config->concurrency != 0 || engine->server != NULL ||
		endpoint->gauge_source >= SOURCE_NONE || endpoint->gauges_request != NULL)
		return;
	AUTO_FREE char *url = xasprintf("%s%s", endpoint->url, paths[endpoint->gauge_source]);
	endpoint->gauges_request = http_send(engine->http,
		&(struct http_ask){
			.url = url,
			.timeout_ms = ASK_TIMEOUT_MS,
			.done = gauges_came,
			.ctx = endpoint,
		});
}

/* --- silence --- */

static void check_silence(struct endpoint *endpoint)
{
	uint64_t hang_ms = endpoint->engine->config->hang_timeout_ms;
	int64_t silent_ms = clock_mono_ms() - endpoint->heard_ms;

	if (hang_ms == 0 || silent_ms < (int64_t)MIN((uint64_t)QUIET_MS, hang_ms / 4))
		return;
	if (silent_ms < (int64_t)hang_ms) {
		endpoint_ask_health(endpoint);
		return;
	}
	pool_give_up(endpoint, "it is silent, and does not answer its health path either");
	if (endpoint->engine->server != NULL)
		server_kill(endpoint->engine->server);
}

/* --- the watch --- */

static void tick(void *ctx)
{
	struct endpoint *endpoint = ctx;
	struct engine *engine = endpoint->engine;

	endpoint->watch = NULL;
	if (TAILQ_EMPTY(&endpoint->flying) || engine->state != ENGINE_READY)
		return;
	endpoint->watch = loop_after(engine->loop, period_ms(engine), tick, endpoint);
	if (endpoint->ramp < endpoint->limit.n && !endpoint->half_open &&
		clock_mono_ms() - endpoint->heard_ms < 2 * (int64_t)period_ms(engine))
		endpoint->ramp *= 2;
	if (endpoint->state == ENDPOINT_UP)
		ask_gauges(endpoint);
	check_silence(endpoint);
	/* What was held back for a faster endpoint may be due by now, and a straggler may have become one. */
	pool_dispatch(engine);
}

void watch_start(struct endpoint *endpoint)
{
	if (endpoint->watch != NULL)
		return;
	heard(endpoint);
	endpoint->watch = loop_after(
		endpoint->engine->loop, period_ms(endpoint->engine), tick, endpoint);
}

void watch_stop(struct endpoint *endpoint)
{
	loop_timer_stop(TAKE(endpoint->watch));
	if (endpoint->gauges_request != NULL)
		http_cancel(endpoint->gauges_request);
}
