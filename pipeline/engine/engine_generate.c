/*
 * Candidates. A job is cut into parts of `per_request` candidates, one call each, that share a home endpoint and otherwise
 * know nothing of each other: one that fails, fails alone.
 *
 * One candidate a request is the default. Measured with llama.cpp (README.md), it keeps slots busier than n_cmpl, whose slots
 * must all be free at once and whose answer comes when the slowest is done; the prefix cache makes the repeated prompt cheap.
 *
 * An answer comes in one piece or as a stream of events. A stream costs a JSON text a token, here and in the server, so it is
 * asked for where it pays: where a guard watches, and where a request has several candidates, each of which is then delivered
 * when it is done. What is delivered is the same. When a stream breaks, the next attempt asks for the candidates from the first
 * to the last that is missing.
 *
 * A candidate may need another part, of its own: to be asked for in one piece, when its stream could not tell all of its ids; and
 * to be continued, when max_tokens has cut it. The part that had it does not owe it any more.
 */
#include "engine/engine_private.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/guard.h"
#include "engine/sse.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_BYTES_MAX (8u << 20)

struct generate;

/* What earlier parts have of a candidate that is being continued. */
struct head {
	uint32_t *
		prompt_ids; /* owns: the job's and those sampled so far; the part's job borrows them */
	size_t n_prompt; /* of the job */
	size_t n_ids; /* sampled */
	float *logprobs; /* owns; n_ids, or NULL */
	struct str text;
	uint32_t n_continued, attempts, latency_ms;
};

/* A candidate as a part knows it. */
struct strand {
	bool done; /* delivered, or another part's */
	struct guard *guard; /* owns; NULL: nobody watches */
	size_t n_seen; /* ids, or pieces, that the guard has seen */
	size_t text_seen;
};

struct part {
	TAILQ_ENTRY(part) link;
	struct call call;
	struct generate *generate;
	const struct engine_job *job; /* the caller's, or `own` */
	struct engine_job own; /* of one candidate that is continued */
	struct head head; /* of that candidate */
	uint32_t first, n; /* of `job` */
	uint32_t i; /* of the caller's job: what `first` is there */
	struct strand *strands; /* owns; n */
	uint32_t n_owed;
	bool in_one_piece; /* do not stream */
	bool over; /* its call has ended */
	bool held; /* it was not submitted yet */
	/* The stream of this attempt: candidates from first + skipped. */
	bool streaming;
	uint32_t skipped;
	struct dialect_call asked;
	struct dialect_stream stream;
	struct sse sse;
	struct error broken; /* what the stream said that makes no sense */
};

TAILQ_HEAD(part_list, part);

struct generate {
	struct engine_request request;
	const struct engine_job *job; /* borrowed until `left` is 0 */
	engine_candidate_cb *done;
	void *ctx;
	struct endpoint *home;
	uint32_t left; /* callbacks to come */
	size_t n_flying; /* parts whose call has not ended */
	bool cancelled;
	struct part_list parts;
};

/* --- life --- */

static void part_free(struct part *part)
{
	dialect_stream_release(&part->stream);
	sse_release(&part->sse);
	for (uint32_t i = 0; i < part->n; i++)
		guard_free(part->strands[i].guard);
	free(part->strands);
	free(part->head.prompt_ids);
	free(part->head.logprobs);
	str_release(&part->head.text);
	free(part);
}

/* A call may outlive the last candidate: one that was closed early, or whose server has not said that it is done. */
static void end_if_over(struct generate *generate)
{
	struct part *part;

	if (generate->left > 0 || generate->n_flying > 0)
		return;
	while ((part = TAILQ_FIRST(&generate->parts)) != NULL) {
		TAILQ_REMOVE(&generate->parts, part, link);
		part_free(part);
	}
	engine_request_end(&generate->request);
	free(generate);
}

static void build(struct call *call, struct str *out);
static void part_done(struct call *call, const struct call_result *result);
static void chunk_came(struct call *call, struct slice bytes);

/*
 * A stream that hides ids does not tell their logprobs, either. A candidate must be the same whoever was asked for with it, and how many a
 * resumed run asks for together is chance: so with logprobs only a guard, which watches all candidates, is reason enough.
 */
static bool wants_stream(const struct part *part, const struct dialect_ops *dialect)
{
	const struct engine_job *job = part->job;

	if (dialect == NULL || dialect->read_event == NULL || part->in_one_piece)
		return false;
	return job->guard != NULL ||
		(part->n > 1 && !job->whole && !(job->logprobs && dialect->stream_hides_ids));
}

static enum engine_leave may_start(struct call *call)
{
	const struct part *part = call->owner;

	return part->generate->job->may_start(part->generate->ctx, part->i, part->n);
}

static struct part *part_new(struct generate *generate, uint32_t first, uint32_t n)
{
	struct engine *engine = generate->request.engine;
	struct part *part = xcalloc(1, sizeof(*part));

	part->generate = generate;
	part->job = generate->job;
	part->first = part->i = first;
	part->n = part->n_owed = n;
	part->strands = xcalloc(n, sizeof(*part->strands));
	str_init(&part->head.text, STR_NO_CAP);
	part->call = (struct call){
		.engine = engine,
		.owner = part,
		.lane = generate->job->priority ? LANE_PRIORITY : LANE_NORMAL,
		.weight = n,
		.build = build,
		.may_start = generate->job->may_start != NULL ? may_start : NULL,
		.done = part_done,
		.home = generate->job->home != NULL ? generate->job->home : &generate->home,
	};
	TAILQ_INSERT_TAIL(&generate->parts, part, link);
	generate->n_flying++;
	return part;
}

static void submit_now(struct part *part)
{
	call_submit(&part->call);
	if (part->generate->cancelled)
		call_cancel(&part->call);
}

/* --- the vocabulary, for streams that hide ids --- */

static void release_held(struct part *part)
{
	struct engine *engine = part->call.engine;

	part->held = false;
	TAILQ_REMOVE(&engine->held, &part->call, link);
	engine->waiting -= part->call.weight;
	submit_now(part);
}

static void vocabulary_came(void *ctx, const struct engine_vocab *vocab)
{
	struct engine *engine = ctx;
	struct call *call;

	/* Without it, a candidate whose stream hides ids is asked for again. */
	if (vocab->err == NULL)
		engine->spelling = spelling_new(vocab->pieces, vocab->special, (uint32_t)vocab->n);
	engine->spelling_came = true;
	while ((call = TAILQ_FIRST(&engine->held)) != NULL)
		release_held(call->owner);
}

/* True: it is being waited for. A stream that hid an id before would be asked for again, and go unguarded. */
static bool lacks_vocabulary(struct engine *engine)
{
	if (engine->state != ENGINE_READY || engine->facts->n_vocab == 0 ||
		!engine->dialect->stream_hides_ids)
		return false;
	if (!engine->spelling_asked) {
		engine->spelling_asked = true;
		TAILQ_INIT(&engine->held);
		engine_read_whole_vocab(engine, vocabulary_came, engine);
	}
	return !engine->spelling_came;
}

static void submit(struct part *part)
{
	struct engine *engine = part->call.engine;

	if (!wants_stream(part, engine->dialect) || part->generate->cancelled ||
		!lacks_vocabulary(engine)) {
		submit_now(part);
		return;
	}
	part->held = true;
	TAILQ_INSERT_TAIL(&engine->held, &part->call, link);
	engine->waiting += part->call.weight;
}

/* --- requests --- */

static struct dialect_call describe(const struct part *part)
{
	const struct engine_job *job = part->job;
	const struct engine *engine = part->generate->request.engine;
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
		.spelling = engine->spelling,
	};
}

/* From the first to the last candidate that is owed. */
static void narrow(struct part *part)
{
	uint32_t from = 0, to = part->n;

	while (part->strands[from].done)
		from++;
	while (part->strands[to - 1].done)
		to--;
	part->skipped = from;
	part->asked.first = part->first + from;
	part->asked.n = to - from;
}

static void begin_stream(struct part *part)
{
	const struct guard_config *guard = part->job->guard;

	sse_release(&part->sse);
	part->broken = (struct error){0};
	narrow(part);
	part->asked.stream = true;
	dialect_stream_init(&part->stream, &part->asked);
	sse_init(&part->sse, EVENT_BYTES_MAX);
	for (uint32_t i = 0; i < part->n; i++) {
		struct strand *strand = &part->strands[i];
		enum finish ignored;

		guard_free(strand->guard);
		*strand = (struct strand){.done = strand->done};
		if (guard == NULL || strand->done)
			continue;
		strand->guard = guard_new(guard);
		if (part->head.n_ids > 0)
			guard_add(strand->guard, part->head.prompt_ids + part->head.n_prompt,
				part->head.n_ids,
				(struct slice){part->head.text.data, part->head.text.len},
				&ignored);
	}
}

static void build(struct call *call, struct str *out)
{
	struct part *part = call->owner;

	dialect_stream_release(&part->stream);
	part->asked = describe(part);
	part->streaming = wants_stream(part, call->endpoint->dialect);
	call->chunk = part->streaming ? chunk_came : NULL;
	if (part->streaming)
		begin_stream(part);
	call->endpoint->dialect->build_generate(&part->asked, out);
}

/* --- delivery --- */

static void hand_over(struct part *part, const struct engine_candidate *candidate)
{
	struct generate *generate = part->generate;

	assert(generate->left > 0);
	/* Counted before the callback, which may cancel, but told after it: the handle is valid until the last has returned. */
	generate->done(generate->ctx, candidate);
	generate->left--;
}

static void owe_no_more(struct part *part, uint32_t at)
{
	assert(!part->strands[at].done && part->n_owed > 0);
	part->strands[at].done = true;
	part->n_owed--;
}

/* An attempt that is still flying is not counted yet. */
static uint32_t attempts(const struct part *part)
{
	return part->head.attempts + part->call.attempts + !part->over;
}

/* With what earlier parts have of it in front. */
static void deliver(struct part *part, uint32_t at, struct engine_candidate candidate)
{
	struct head *head = &part->head;
	struct call *call = &part->call;
	AUTO_FREE uint32_t *ids = NULL;
	AUTO_FREE float *logprobs = NULL;
	AUTO_FREE char *text = NULL;

	owe_no_more(part, at);
	candidate.i = part->i + at;
	candidate.endpoint = call->endpoint != NULL ? call->endpoint->url : NULL;
	candidate.attempts = attempts(part);
	candidate.latency_ms = call->latency_ms + head->latency_ms;
	candidate.n_continued = head->n_continued;
	if (head->n_ids > 0 && candidate.reason == ENGINE_OK) {
		size_t n = head->n_ids, all = n + candidate.n_ids, len = head->text.len;

		ids = xreallocarray(NULL, all, sizeof(*ids));
		memcpy(ids, head->prompt_ids + head->n_prompt, n * sizeof(*ids));
		if (candidate.n_ids > 0)
			memcpy(ids + n, candidate.ids, candidate.n_ids * sizeof(*ids));
		if (candidate.logprobs != NULL && head->logprobs != NULL) {
			logprobs = xreallocarray(NULL, all, sizeof(*logprobs));
			memcpy(logprobs, head->logprobs, n * sizeof(*logprobs));
			memcpy(logprobs + n, candidate.logprobs,
				candidate.n_ids * sizeof(*logprobs));
		}
		text = xmalloc(len + candidate.text.len + 1);
		memcpy(text, head->text.data, len);
		memcpy(text + len, candidate.text.data, candidate.text.len);
		candidate.ids = ids;
		candidate.n_ids = all;
		candidate.n_tokens = (uint32_t)all;
		candidate.logprobs = logprobs;
		candidate.text = (struct slice){text, len + candidate.text.len};
	}
	hand_over(part, &candidate);
}

/* To be asked for once more by itself, without a stream. */
static void ask_again(struct part *part, uint32_t at)
{
	struct generate *generate = part->generate;
	struct part *next;

	owe_no_more(part, at);
	generate->request.engine->stats.asked_again++;
	next = part_new(generate, part->i + at, 1);
	next->in_one_piece = true;
	if (part->head.n_ids > 0) {
		/* The only candidate of its part, which will not use its head again. */
		next->own = part->own;
		next->job = &next->own;
		next->first = 0;
		str_release(&next->head.text);
		next->head = part->head;
		part->head = (struct head){0};
		str_init(&part->head.text, STR_NO_CAP);
	}
	submit(next);
}

/* --- continuing --- */

/* A text that stops inside a character: its other half would not join it. */
static bool stops_inside_character(struct slice text)
{
	static const char replacement[] = "\xef\xbf\xbd";

	return text.len >= 3 && memcmp(text.data + text.len - 3, replacement, 3) == 0;
}

static bool may_continue(const struct part *part, const struct engine_candidate *c)
{
	const struct engine_job *job = part->generate->job;
	uint32_t context = part->generate->request.engine->info.context;
	size_t used = part->job->n_prompt_ids + c->n_ids;

	return c->reason == ENGINE_OK && c->finish == FINISH_LENGTH && c->n_ids > 0 &&
		part->head.n_continued < job->continuations && !part->generate->cancelled &&
		(context == 0 || used < context) && !stops_inside_character(c->text);
}

/* The same numbers again after other tokens would do no harm, but would tie what should be independent. */
static uint32_t continued_seed(uint32_t seed, uint32_t n_continued)
{
	uint32_t key[2] = {seed, n_continued};

	return (uint32_t)(hash64(key, sizeof(key), 0) & INT32_MAX);
}

static void go_on(struct part *part, uint32_t at, const struct engine_candidate *c)
{
	struct generate *generate = part->generate;
	const struct engine_job *job = generate->job;
	struct head *old = &part->head, *head;
	struct part *next;
	size_t n_before = part->job->n_prompt_ids, n = n_before + c->n_ids;

	owe_no_more(part, at);
	generate->request.engine->stats.continued++;
	next = part_new(generate, part->i + at, 1);
	head = &next->head;
	head->n_prompt = job->n_prompt_ids;
	head->n_ids = old->n_ids + c->n_ids;
	head->n_continued = old->n_continued + 1;
	head->attempts = attempts(part);
	head->latency_ms = old->latency_ms + part->call.latency_ms;
	head->prompt_ids = xreallocarray(NULL, n, sizeof(*head->prompt_ids));
	memcpy(head->prompt_ids, part->job->prompt_ids, n_before * sizeof(*head->prompt_ids));
	memcpy(head->prompt_ids + n_before, c->ids, c->n_ids * sizeof(*head->prompt_ids));
	if (job->logprobs && c->logprobs != NULL) {
		head->logprobs = xreallocarray(NULL, head->n_ids, sizeof(*head->logprobs));
		if (old->n_ids > 0)
			memcpy(head->logprobs, old->logprobs, old->n_ids * sizeof(*head->logprobs));
		memcpy(head->logprobs + old->n_ids, c->logprobs,
			c->n_ids * sizeof(*head->logprobs));
	}
	str_append(&head->text, old->text.data, old->text.len);
	str_append(&head->text, c->text.data, c->text.len);
	next->own = *job;
	next->own.prompt_ids = head->prompt_ids;
	next->own.n_prompt_ids = n;
	next->own.n = 1;
	next->own.seed = continued_seed(job->seed + part->i + at, head->n_continued);
	next->job = &next->own;
	next->first = 0;
	submit(next);
}

static void settle(struct part *part, uint32_t at, const struct engine_candidate *c)
{
	if (may_continue(part, c))
		go_on(part, at, c);
	else
		deliver(part, at, *c);
}

/* --- answers: streams --- */

/* Shows the guard what is new; true: it was cut, and delivered as it is. */
static bool guarded(struct part *part, uint32_t at, const struct dialect_partial *c)
{
	struct strand *strand = &part->strands[at];
	struct engine_stats *stats = &part->generate->request.engine->stats;
	struct slice text = {c->text.data + strand->text_seen, c->text.len - strand->text_seen};
	int64_t eos = part->asked.facts->eos_id;
	bool has_ids = part->generate->request.engine->info.has_ids;
	size_t n = has_ids ? c->n_ids : c->n_pieces, n_new = n - strand->n_seen;
	uint32_t piece = (uint32_t)hash64(text.data, text.len, 0);
	struct engine_candidate candidate;
	enum finish why;

	if (strand->guard == NULL || n_new == 0)
		return false;
	/* It has ended by itself; the event that says so is still to come. */
	if (has_ids && eos >= 0 && c->ids[n - 1] == (uint32_t)eos)
		return false;
	if (!has_ids)
		n_new = 1;
	if (!guard_add(
		    strand->guard, has_ids ? c->ids + strand->n_seen : &piece, n_new, text, &why)) {
		strand->n_seen = n;
		strand->text_seen = c->text.len;
		return false;
	}
	candidate = (struct engine_candidate){
		.text = {c->text.data, c->text.len},
		.ids = c->ids,
		.n_ids = c->n_ids,
		.logprobs = part->job->logprobs && has_ids ? c->logprobs : NULL,
		.n_tokens = (uint32_t)n,
		.finish = why,
		.top = c->top,
		.n_top = c->n_top,
	};
	stats->tokens_generated += n;
	deliver(part, at, candidate);
	return true;
}

static bool ended(struct part *part, uint32_t at, struct error *err)
{
	const struct dialect_ops *dialect = part->call.endpoint->dialect;
	struct engine_stats *stats = &part->generate->request.engine->stats;
	uint32_t index = at - part->skipped;
	struct dialect_partial *c = &part->stream.candidates[index];
	struct engine_candidate candidate;

	if (!dialect->conclude(&part->stream, index, &candidate, err))
		return false;
	stats->tokens_generated += part->generate->request.engine->info.has_ids ? c->n_ids
										: c->n_tokens;
	settle(part, at, &candidate);
	return true;
}

/* The attempt has not come back when the stream has what was wanted of it. */
static void stamp(struct call *call)
{
	int64_t ms;

	if (call->flight == NULL)
		return;
	ms = clock_mono_ms() - call->flight->sent_ms;
	call->latency_ms = (uint32_t)MIN(MAX(ms, 0), (int64_t)UINT32_MAX);
}

static bool look_at_all(struct part *part, struct error *err)
{
	stamp(&part->call);
	for (uint32_t i = 0; i < part->asked.n; i++) {
		struct dialect_partial *c = &part->stream.candidates[i];
		uint32_t at = part->skipped + i;

		if (part->strands[at].done)
			continue;
		if (c->lost) {
			ask_again(part, at);
		} else if (c->ended) {
			if (!ended(part, at, err))
				return false;
		} else {
			guarded(part, at, c);
		}
	}
	return true;
}

/* Nothing is owed any more: what the server still samples for this request is for nobody. */
static void close_if_idle(struct part *part)
{
	bool all_ended = true;

	if (part->n_owed > 0)
		return;
	for (uint32_t i = 0; i < part->asked.n; i++)
		all_ended &= part->stream.candidates[i].ended;
	call_enough(&part->call, !all_ended);
}

static bool event_came(void *ctx, struct slice data, struct error *err)
{
	static const char done[] = "[DONE]";
	struct part *part = ctx;
	const struct dialect_ops *dialect = part->call.endpoint->dialect;
	AUTO_JSON struct json *event = NULL;

	/* What comes behind the last candidate is nobody's. */
	if (part->n_owed == 0)
		return true;
	if (slice_eq_z(data, done))
		return dialect->read_event(&part->stream, NULL, err) && look_at_all(part, err);
	event = json_parse(data.data, data.len, err);
	if (event == NULL)
		return false;
	if (json_get(event, "error") != NULL || json_get(event, "code") != NULL) {
		const char *text = dialect_error_text(event);

		return error_set(err, FAIL_REMOTE, "the server broke the stream off: %.400s",
			text != NULL ? text : "without a reason");
	}
	return dialect->read_event(&part->stream, event, err) && look_at_all(part, err);
}

static void chunk_came(struct call *call, struct slice bytes)
{
	struct part *part = call->owner;

	if (part->broken.kind != FAIL_NONE || part->n_owed == 0)
		return;
	if (!sse_feed(&part->sse, bytes, event_came, part, &part->broken))
		call_enough(call, true);
	else
		close_if_idle(part);
}

/* False: it makes no sense, or not all that was owed came. */
static bool end_stream(struct part *part, struct error *err)
{
	uint32_t n_owed;

	if (part->n_owed == 0)
		return true;
	if (part->broken.kind != FAIL_NONE) {
		*err = part->broken;
		return false;
	}
	if (!part->call.endpoint->dialect->read_event(&part->stream, NULL, err) ||
		!look_at_all(part, err))
		return false;
	n_owed = part->n_owed;
	return n_owed == 0 ||
		error_set(err, FAIL_DATA, "the stream ended before %u of %u candidates", n_owed,
			part->asked.n);
}

/* --- answers: in one piece --- */

static bool read_answer(struct part *part, const struct call_result *result, struct error *err)
{
	struct engine_stats *stats = &part->generate->request.engine->stats;
	struct dialect_result answer = {0};
	struct arena arena = {0};
	AUTO_JSON struct json *body = json_parse(result->body.data, result->body.len, err);
	bool ok = body != NULL &&
		part->call.endpoint->dialect->read_generate(
			&part->asked, body, &arena, &answer, err);

	if (ok) {
		stats->tokens_generated += answer.n_sampled;
		stats->tokens_prompt += answer.n_prompt;
		call_produced(&part->call, answer.n_sampled);
	}
	for (uint32_t at = 0; at < part->n && ok; at++)
		settle(part, at, &answer.candidates[at]);
	arena_release(&arena);
	return ok;
}

static void deliver_failure(struct part *part, const struct call_result *result)
{
	struct error err = *result->err;
	struct engine_candidate candidate = {.reason = result->reason, .err = &err};

	/* What was there before it was continued is as good as it was. */
	if (part->head.n_ids > 0 && result->reason != ENGINE_CANCELLED)
		candidate = (struct engine_candidate){
			.finish = FINISH_LENGTH, .logprobs = part->head.logprobs};
	for (uint32_t at = 0; at < part->n; at++) {
		if (!part->strands[at].done)
			deliver(part, at, candidate);
	}
}

static void count_stream(struct part *part)
{
	uint64_t n_tokens = 0;

	for (uint32_t i = 0; i < part->asked.n; i++) {
		const struct dialect_partial *c = &part->stream.candidates[i];

		n_tokens += MAX(c->n_ids, c->n_tokens);
	}
	part->generate->request.engine->stats.tokens_prompt += part->stream.n_prompt;
	call_produced(&part->call, n_tokens);
}

/* --- calls --- */

static void part_done(struct call *call, const struct call_result *result)
{
	struct part *part = call->owner;
	struct generate *generate = part->generate;
	struct error err = {0};
	bool ok = true;

	part->over = true;
	if (result->reason != ENGINE_OK)
		deliver_failure(part, result);
	else if (part->streaming)
		ok = end_stream(part, &err);
	else
		ok = read_answer(part, result, &err);
	if (!ok) {
		part->over = false;
		call_answer_is_bad(call, &err);
		return;
	}
	if (part->streaming && result->reason == ENGINE_OK)
		count_stream(part);
	generate->n_flying--;
	end_if_over(generate);
}

static void cancel(struct engine_request *request)
{
	struct generate *generate = (struct generate *)request;
	struct part *part;

	generate->cancelled = true;
	/* Calls that ended are idle, and cancelling them does nothing. */
	TAILQ_FOREACH(part, &generate->parts, link)
	{
		if (part->held)
			release_held(part);
		else
			call_cancel(&part->call);
	}
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
	struct generate *generate = xcalloc(1, sizeof(*generate));
	struct error err = {0};
	bool fits = check_job(engine, job, &err);

	assert(job->n > 0);
	assert(job->continuations == 0 || engine->info.has_ids || engine->state != ENGINE_READY);
	if (engine->state == ENGINE_READY) {
		assert(engine->info.has_ids ? job->n_prompt_ids > 0 : job->n_messages > 0);
		per_request = !engine->info.has_n ? 1 : per_request;
		if (engine->facts->n_slots != 0)
			per_request = MIN(per_request, engine->facts->n_slots);
	}
	generate->job = job;
	generate->done = done;
	generate->ctx = ctx;
	generate->left = job->n;
	generate->home = engine_home(engine, job->affinity);
	TAILQ_INIT(&generate->parts);
	engine_request_open(&generate->request, engine, cancel);
	for (uint32_t first = 0; first < job->n; first += per_request) {
		struct part *part = part_new(generate, first, MIN(per_request, job->n - first));

		if (fits)
			submit(part);
		else
			call_refuse(&part->call, ENGINE_PROMPT_TOO_LONG, &err);
	}
	return &generate->request;
}
