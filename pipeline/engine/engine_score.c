/* Scores: one text, one call, on the lane of judges' questions; the numbers come as a table (scoring.h). */
#include "engine/engine_private.h"

#include "base/json.h"
#include "base/mem.h"
#include "engine/scoring.h"

#include <assert.h>
#include <stdlib.h>

struct scoring {
	struct engine_request request;
	struct call call;
	const struct engine_score_job *job; /* borrowed */
	struct endpoint *home;
	engine_score_cb *done;
	void *ctx;
};

static void build(struct call *call, struct str *out)
{
	struct scoring *s = call->owner;
	const struct engine_config *config = call->engine->config;
	const struct scoring_call scoring_call = {
		.job = s->job,
		.model = config->model != NULL ? config->model : call->endpoint->facts.model,
	};

	s->job->api->build(&scoring_call, out);
}

static void deliver(struct scoring *s, const struct engine_scores *scores)
{
	s->done(s->ctx, scores);
	engine_request_end(&s->request);
	free(s);
}

static void done(struct call *call, const struct call_result *result)
{
	struct scoring *s = call->owner;
	struct engine_scores scores = {
		.reason = result->reason, .status = call->status, .latency_ms = call->latency_ms};
	struct scoring_table table;
	struct arena arena = {0};
	struct error err = {0};
	AUTO_JSON struct json *body = NULL;

	if (result->reason != ENGINE_OK) {
		err = *result->err;
		scores.err = &err;
		deliver(s, &scores);
		return;
	}
	body = json_parse(result->body.data, result->body.len, &err);
	if (body == NULL || !s->job->api->read(body, &arena, &table, &err)) {
		call_answer_is_bad(call, &err);
	} else {
		scores.values = table.values;
		scores.n_rows = table.n_rows;
		scores.n_columns = table.n_columns;
		scores.n_tokens = scoring_tokens(body);
		deliver(s, &scores);
	}
	arena_release(&arena);
}

static void cancel(struct engine_request *request)
{
	call_cancel(&((struct scoring *)request)->call);
}

struct engine_request *engine_score(struct engine *engine, const struct engine_score_job *job,
	engine_score_cb *done_cb, void *ctx)
{
	struct scoring *s = xcalloc(1, sizeof(*s));

	assert(job->n_messages > 0);
	s->job = job;
	s->done = done_cb;
	s->ctx = ctx;
	s->home = engine_home(engine, job->affinity);
	engine_request_open(&s->request, engine, cancel);
	s->call = (struct call){
		.engine = engine,
		.owner = s,
		.lane = LANE_PRIORITY,
		.weight = 1,
		.path = job->api->path,
		.build = build,
		.done = done,
		.home = &s->home,
	};
	call_submit(&s->call);
	return &s->request;
}
