/*
 * Candidates. A job is cut into parts of `per_request` candidates, one call each, that share a home endpoint and otherwise
 * know nothing of each other: one that fails, fails alone.
 *
 * One candidate a request is the default. Measured with llama.cpp (README.md), it keeps slots busier than n_cmpl, whose slots
 * must all be free at once and whose answer comes when the slowest is done; the prefix cache makes the repeated prompt cheap.
 */
#include "engine/engine_private.h"

#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct generate;

struct part {
	struct call call;
	struct generate *generate;
	uint32_t first, n;
};

struct generate {
	struct engine_request request;
	const struct engine_job *job; /* borrowed */
	engine_candidate_cb *done;
	void *ctx;
	struct endpoint *home;
	uint32_t left; /* callbacks to come */
	size_t n_parts;
	struct part parts[];
};

static void deliver(struct generate *generate, const struct engine_candidate *candidate)
{
	assert(generate->left > 0);
	generate->done(generate->ctx, candidate);
	if (--generate->left > 0)
		return;
	engine_request_end(&generate->request);
	free(generate);
}

static struct dialect_call describe(const struct part *part)
{
	const struct generate *generate = part->generate;
	const struct engine_job *job = generate->job;
	const struct engine *engine = generate->request.engine;
	uint32_t context = engine->info.context, room = UINT32_MAX;

	if (context != 0 && job->n_prompt_ids > 0)
		room = context - (uint32_t)job->n_prompt_ids;
	return (struct dialect_call){
		.job = job,
		.first = part->first,
		.n = part->n,
		.max_tokens = MIN(job->sampling->max_tokens, room),
		.context = context,
		.model = engine->config->model != NULL ? engine->config->model
						       : part->call.endpoint->facts.model,
		.facts = &part->call.endpoint->facts,
	};
}

static void build(struct call *call, struct str *out)
{
	struct part *part = call->owner;
	struct dialect_call dialect_call = describe(part);

	call->endpoint->dialect->build_generate(&dialect_call, out);
}

static void deliver_failure(struct part *part, const struct call_result *result)
{
	struct generate *generate = part->generate;
	struct error err = *result->err; /* `part` dies with the last delivery */
	uint32_t first = part->first, n = part->n;
	struct engine_candidate candidate = {
		.reason = result->reason,
		.err = &err,
		.endpoint = part->call.endpoint != NULL ? part->call.endpoint->url : NULL,
		.attempts = part->call.attempts,
		.latency_ms = part->call.latency_ms,
	};

	for (uint32_t i = 0; i < n; i++) {
		candidate.i = first + i;
		deliver(generate, &candidate);
	}
}

static void deliver_answer(struct part *part, struct dialect_result *result)
{
	struct generate *generate = part->generate;
	struct engine_stats *stats = &generate->request.engine->stats;
	uint32_t n = part->n;

	call_produced(&part->call, result->n_sampled);
	stats->tokens_generated += result->n_sampled;
	stats->tokens_prompt += result->n_prompt;
	for (uint32_t i = 0; i < n; i++) {
		struct engine_candidate *candidate = &result->candidates[i];

		candidate->endpoint = part->call.endpoint->url;
		candidate->attempts = part->call.attempts;
		candidate->latency_ms = part->call.latency_ms;
	}
	for (uint32_t i = 0; i < n; i++)
		deliver(generate, &result->candidates[i]);
}

static void part_done(struct call *call, const struct call_result *result)
{
	struct part *part = call->owner;
	struct dialect_call dialect_call;
	struct dialect_result answer = {0};
	struct arena arena = {0};
	struct error err = {0};
	AUTO_JSON struct json *body = NULL;

	if (result->reason != ENGINE_OK) {
		deliver_failure(part, result);
		return;
	}
	dialect_call = describe(part);
	body = json_parse(result->body.data, result->body.len, &err);
	if (body == NULL ||
		!call->endpoint->dialect->read_generate(&dialect_call, body, &arena, &answer, &err))
		call_answer_is_bad(call, &err);
	else
		deliver_answer(part, &answer);
	arena_release(&arena);
}

static void cancel(struct engine_request *request)
{
	struct generate *generate = (struct generate *)request;

	/* Calls that ended are idle, and cancelling them does nothing. */
	for (size_t i = 0; i < generate->n_parts; i++)
		call_cancel(&generate->parts[i].call);
}

static bool check_job(const struct engine *engine, const struct engine_job *job, struct error *err)
{
	uint32_t context = engine->info.context;

	if (engine->state != ENGINE_READY || !engine->info.has_ids || context == 0 ||
		job->n_prompt_ids < context)
		return true;
	return error_set(err, FAIL_DATA,
		"the prompt has %zu tokens and the context %u: there is no room for an answer",
		job->n_prompt_ids, context);
}

struct engine_request *engine_generate(
	struct engine *engine, const struct engine_job *job, engine_candidate_cb *done, void *ctx)
{
	uint32_t per_request = job->per_request != 0 ? job->per_request : 1;
	size_t n_parts;
	struct generate *generate;
	struct error err = {0};
	bool fits = check_job(engine, job, &err);

	assert(job->n > 0);
	if (engine->state == ENGINE_READY) {
		assert(engine->info.has_ids ? job->n_prompt_ids > 0 : job->n_messages > 0);
		per_request = !engine->info.has_n ? 1 : per_request;
		if (engine->facts->n_slots != 0)
			per_request = MIN(per_request, engine->facts->n_slots);
	}
	per_request = MIN(per_request, job->n);
	n_parts = (job->n + per_request - 1) / per_request;
	generate = xcalloc(1, sizeof(*generate) + n_parts * sizeof(generate->parts[0]));
	generate->job = job;
	generate->done = done;
	generate->ctx = ctx;
	generate->left = job->n;
	generate->n_parts = n_parts;
	generate->home = engine_home(engine, job->affinity);
	engine_request_open(&generate->request, engine, cancel);
	for (size_t i = 0; i < n_parts; i++) {
		struct part *part = &generate->parts[i];

		part->generate = generate;
		part->first = (uint32_t)i * per_request;
		part->n = MIN(per_request, job->n - part->first);
		part->call = (struct call){
			.engine = engine,
			.owner = part,
			.lane = job->priority ? LANE_PRIORITY : LANE_NORMAL,
			.weight = part->n,
			.build = build,
			.done = part_done,
			.home = job->home != NULL ? job->home : &generate->home,
		};
		if (fits)
			call_submit(&part->call);
		else
			call_refuse(&part->call, ENGINE_PROMPT_TOO_LONG, &err);
	}
	return &generate->request;
}
