/*
 * Finds out what is behind a URL: walks through the steps of one dialect, or of each until one is recognised, and collects
 * facts. An endpoint that cannot be reached, or answers 5xx, is `away`: that tells nothing of what it speaks.
 */
#include "engine/engine_private.h"

#include "base/mem.h"

#include <stdlib.h>

#define PROBE_TIMEOUT_MS 30000

struct probe {
	struct http_client *http;
	char *url;
	bool fixed; /* only dialects[at] is tried */
	const struct dialect_ops *const *at; /* points into the table, or at `only` */
	const struct dialect_ops *only;
	const struct dialect_step *step;
	struct arena *arena;
	struct dialect_facts facts;
	struct str tried; /* what was asked and answered, for the error */
	struct http_request *http_request;
	bool cancelled;
	probe_done *done;
	void *ctx;
};

static void next_step(struct probe *probe);

static void finish(struct probe *probe, struct probe_result *result)
{
	probe_done *done = probe->done;
	void *ctx = probe->ctx;

	result->facts = probe->facts;
	str_release(&probe->tried);
	free(probe->url);
	free(probe);
	done(ctx, result);
}

static void finish_away(struct probe *probe, const char *why)
{
	struct probe_result result = {.away = true};

	error_set(&result.err, FAIL_REMOTE, "%s", why);
	finish(probe, &result);
}

static void finish_unknown(struct probe *probe)
{
	struct probe_result result = {0};

	if (probe->fixed)
		error_set(&result.err, FAIL_REMOTE,
			"the server at %s does not speak the dialect '%s' (tried %s)", probe->url,
			probe->only->name, probe->tried.data);
	else
		error_set(&result.err, FAIL_REMOTE,
			"the server at %s speaks no dialect that we know (tried %s)", probe->url,
			probe->tried.data);
	error_hint(&result.err,
		"the url is that of the server, without the API's path; `thresh engines` lists the "
		"dialects");
	finish(probe, &result);
}

static void finish_locked_out(struct probe *probe, long status)
{
	struct probe_result result = {0};

	error_set(&result.err, FAIL_REMOTE, "the server at %s refused our key (HTTP %ld)",
		probe->url, status);
	error_hint(&result.err, "'api_key_env' names the environment variable that holds the key");
	finish(probe, &result);
}

static void begin_dialect(struct probe *probe)
{
	arena_reset(probe->arena);
	probe->facts = (struct dialect_facts){.bos_id = -1, .eos_id = -1};
	probe->step = (*probe->at)->steps;
	next_step(probe);
}

static void not_this_dialect(struct probe *probe)
{
	probe->at++;
	if (probe->fixed || *probe->at == NULL)
		finish_unknown(probe);
	else
		begin_dialect(probe);
}

static void note(struct probe *probe, const char *what)
{
	str_printf(&probe->tried, "%s%s %s: %s", probe->tried.len > 0 ? "; " : "",
		probe->step->build != NULL ? "POST" : "GET", probe->step->path, what);
}

/* The answer of a step, or why there is none that can be used. */
static bool read_answer(struct probe *probe, const struct http_reply *reply, struct error *err)
{
	AUTO_JSON struct json *body = NULL;

	if (reply->status < 200 || reply->status > 299)
		return error_set(err, FAIL_REMOTE, "HTTP %ld", reply->status);
	body = json_parse(reply->body.data, reply->body.len, err);
	if (body == NULL)
		return error_set(err, FAIL_REMOTE, "not JSON");
	return probe->step->read(body, probe->arena, &probe->facts, err);
}

static void step_done(void *ctx, const struct http_reply *reply)
{
	struct probe *probe = ctx;
	struct error err = {0};

	probe->http_request = NULL;
	if (probe->cancelled || reply->failure != HTTP_OK) {
		finish_away(probe, probe->cancelled ? "cancelled" : reply->err.msg);
		return;
	}
	if (reply->status == 401 || reply->status == 403) {
		finish_locked_out(probe, reply->status);
		return;
	}
	if (reply->status >= 500 && reply->status != 501 && !probe->step->optional) {
		AUTO_FREE char *why = xasprintf("HTTP %ld", reply->status);

		finish_away(probe, why);
		return;
	}
	if (read_answer(probe, reply, &err) || probe->step->optional) {
		probe->step++;
		next_step(probe);
		return;
	}
	note(probe, err.msg);
	not_this_dialect(probe);
}

static void next_step(struct probe *probe)
{
	struct probe_result result = {.dialect = *probe->at};
	struct str body;

	str_init(&body, 1 << 20);
	while (probe->step->path != NULL && probe->step->build != NULL) {
		str_reset(&body);
		if (probe->step->build(&probe->facts, &body))
			break;
		probe->step++;
	}
	if (probe->step->path == NULL) {
		finish(probe, &result);
	} else {
		bool post = probe->step->build != NULL;
		AUTO_FREE char *url = xasprintf("%s%s", probe->url, probe->step->path);

		probe->http_request = http_send(probe->http,
			&(struct http_ask){
				.url = url,
				.body = {post ? body.data : NULL, body.len},
				.timeout_ms = PROBE_TIMEOUT_MS,
				.done = step_done,
				.ctx = probe,
			});
	}
	str_release(&body);
}

struct probe *probe_start(struct http_client *http, const char *url, const struct dialect_ops *only,
	struct arena *arena, probe_done *done, void *ctx)
{
	struct probe *probe = xcalloc(1, sizeof(*probe));

	probe->http = http;
	probe->url = xstrdup(url);
	probe->fixed = only != NULL;
	probe->only = only;
	probe->at = only != NULL ? &probe->only : dialects;
	probe->arena = arena;
	probe->done = done;
	probe->ctx = ctx;
	str_init(&probe->tried, 400);
	begin_dialect(probe);
	return probe;
}

void probe_cancel(struct probe *probe)
{
	probe->cancelled = true;
	if (probe->http_request != NULL)
		http_cancel(probe->http_request);
}
