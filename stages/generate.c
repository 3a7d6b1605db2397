/*
 * Asks an engine for candidates. One wave of a group: render the template, have the prompt tokenized (once per prompt; the
 * ids are kept in the ledger), ask for each missing candidate with its own seed, and hand over what comes. An engine that
 * returns no ids has them made by its `tokenizer` engine afterwards. What a guard has cut is kept and rejected, for the guard's reason.
 *
 * Most engines are asked for all of a wave at once, and queue. One that keeps a prompt in the slot that has read it (llama.cpp) would then
 * read it in each of several slots. It gets as many requests as it has slots, and a prompt's candidates one after another, so that
 * each finds the prompt in the slot that its predecessor has left: feed(). Where slots would be idle, several are asked for
 * in one request, which reads the prompt once. Which of this happens depends on time; what is sampled does not, since each
 * candidate has its seed.
 */
#include "generate_plan.h"
#include "sample.h"
#include "stages.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "definition.h"
#include "engine/guard.h"
#include "flow/flow.h"
#include "ledger/ledger.h"
#include "run.h"
#include "shard/vocab.h"
#include "stage.h"
#include "template.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct generate_config {
	char *engine;
	struct candidates_plan candidates;
	uint32_t per_request;
	bool rounds;
	struct {
		double temperature, top_p, min_p, repeat_penalty;
		uint32_t top_k, max_tokens;
		struct param_strings stop;
	} sampling;
	struct {
		uint32_t loop, period, after_answer, samples;
		double quantile, margin;
	} guard;
	bool logprobs;
	uint32_t special_tokens, truncated, continuations;
};

#define READ_COST \
	8 /* tokens of a prompt that are read in the time in which one is written, about */
#define SLOTS_UNKNOWN 16 /* what a server is taken for that does not tell its slots */

enum truncated { TRUNCATED_REJECT, TRUNCATED_SCORE };

static const struct param give_up_params[] = {
	PARAM_DOUBLE("below", struct generate_config, candidates.worthwhile, .required = true,
		.min = 0.0001, .max = 0.99,
		.help = "the lowest pass rate that is worth its tokens"),
	PARAM_DOUBLE("confidence", struct generate_config, candidates.confidence, .def = "0.9",
		.min = 0.5, .max = 0.9999,
		.help = "how sure to be, at each wave's end, that the rate is lower"),
	{0},
};

static const char *const below_only[] = {"below", NULL};

static const struct param candidates_params[] = {
	PARAM_U32("min", struct generate_config, candidates.min, .def = "4", .min = 1,
		.max = CANDIDATES_MAX, .help = "candidates of the first wave"),
	PARAM_U32("max", struct generate_config, candidates.max, .def = "4", .min = 1,
		.max = CANDIDATES_MAX, .help = "candidates of a prompt at most"),
	PARAM_U32("wave", struct generate_config, candidates.wave, .min = 1, .max = CANDIDATES_MAX,
		.help = "candidates of each further wave; as min unless given"),
	PARAM_U32("stop_after", struct generate_config, candidates.stop_after, .def = "0", .min = 0,
		.max = CANDIDATES_MAX,
		.help = "no further wave when so many are accepted; 0: always up to max"),
	PARAM_GROUP("give_up", .table = give_up_params, .scalar_for = below_only,
		.help = "no further wave for a prompt that is not worth it; a number: below"),
	PARAM_BOOL("rounds", struct generate_config, rounds, .def = "false", .no_fingerprint = true,
		.help = "the first wave of every prompt before the second of any: for a budget "
			"that does not suffice for all"),
	PARAM_U32("per_request", struct generate_config, per_request, .def = "0", .min = 0,
		.max = CANDIDATES_MAX, .no_fingerprint = true,
		.help = "asked for in one HTTP request; 0: as keeps the slots busy and reads a "
			"prompt once"),
	{0},
};

static const struct param sampling_params[] = {
	PARAM_DOUBLE("temperature", struct generate_config, sampling.temperature, .def = "0.8",
		.min = 0, .max = 10, .help = "0: greedy"),
	PARAM_DOUBLE("top_p", struct generate_config, sampling.top_p, .def = "0.95", .min = 0,
		.max = 1, .help = "nucleus sampling; 1: off"),
	PARAM_U32("top_k", struct generate_config, sampling.top_k, .def = "0", .min = 0,
		.max = 1000000, .help = "0: off"),
	PARAM_DOUBLE("min_p", struct generate_config, sampling.min_p, .def = "0", .min = 0,
		.max = 1, .help = "0: off"),
	PARAM_DOUBLE("repeat_penalty", struct generate_config, sampling.repeat_penalty, .def = "1",
		.min = 0.01, .max = 10, .help = "1: off"),
	PARAM_U32("max_tokens", struct generate_config, sampling.max_tokens, .def = "1024",
		.min = 1, .max = 1048576, .help = "limit of one candidate"),
	PARAM_STRINGS("stop", struct generate_config, sampling.stop, .max = 16,
		.help = "texts that end a candidate; cut from it"),
	{0},
};

static const struct param guard_params[] = {
	PARAM_U32("loop", struct generate_config, guard.loop, .def = "0", .min = 0, .max = 1048576,
		.help = "tokens of one passage again and again, four times at least, after which a "
			"candidate is "
			"cut; four times as many without a letter among them; 0: off"),
	PARAM_U32("period", struct generate_config, guard.period, .def = "256", .min = 1,
		.max = GUARD_PERIOD_MAX,
		.help = "tokens of the longest passage whose repetition is seen"),
	PARAM_U32("after_answer", struct generate_config, guard.after_answer, .def = "0", .min = 0,
		.max = 1048576,
		.help = "tokens after the final answer (\\boxed{} or a line of ####, outside of "
			"<think>) within which a candidate must end; 0: off"),
	PARAM_DOUBLE("quantile", struct generate_config, guard.quantile, .def = "0", .min = 0,
		.max = 1,
		.help = "of the lengths of a source's accepted candidates: longer ones, by "
			"`margin`, are "
			"cut; 0: off"),
	PARAM_DOUBLE("margin", struct generate_config, guard.margin, .def = "1.5", .min = 1,
		.max = 100, .help = "factor between that length and the limit"),
	PARAM_U32("samples", struct generate_config, guard.samples, .def = "100", .min = 20,
		.max = 1000000, .help = "accepted candidates of a source before it has a limit"),
	{0},
};

static const char *const special_names[] = {"text", "reject", NULL};
static const char *const truncated_names[] = {"reject", "score", NULL};
static const char *const min_and_max[] = {"min", "max", NULL};

static const struct param params[] = {
	PARAM_REF("engine", struct generate_config, engine, .ref = "engine", .required = true,
		.help = "name of the engine that writes"),
	PARAM_GROUP("candidates", .table = candidates_params, .scalar_for = min_and_max,
		.help = "how many per prompt; a number: exactly so many"),
	PARAM_GROUP("sampling", .table = sampling_params, .help = "how tokens are drawn"),
	PARAM_GROUP("guard", .table = guard_params,
		.help = "cuts hopeless candidates while they are written; streams, which costs "
			"processor time"),
	PARAM_U32("continue", struct generate_config, continuations, .def = "0", .min = 0,
		.max = 64,
		.help = "times that a candidate cut by max_tokens is continued from its ids, by "
			"max_tokens "
			"each"),
	PARAM_BOOL("logprobs", struct generate_config, logprobs, .def = "false",
		.help = "keep the log-probability of each token"),
	PARAM_ENUM("special_tokens", struct generate_config, special_tokens, .def = "text",
		.names = special_names,
		.help = "a field that holds the text of a special token: tokenized as plain text, "
			"or the prompt rejected"),
	PARAM_ENUM("truncated", struct generate_config, truncated, .def = "reject",
		.names = truncated_names,
		.help = "a candidate cut by max_tokens or the context: rejected unscored, or "
			"scored as any other"),
	{0},
};

/* --- state --- */

/* Lengths of the accepted candidates of a source, for the limit of the next ones. */
struct lengths {
	char *source; /* owns */
	uint32_t *counts; /* owns; n_buckets of LENGTH_STEP tokens each */
	size_t n_buckets;
	uint64_t n;
	uint32_t limit; /* 0: not enough were seen */
};

#define LENGTH_STEP 16

struct generate_state {
	const struct generate_config *config;
	struct run *run;
	struct engine *engine,
		*tokenizer; /* tokenizer NULL: the engine itself gives ids, or nobody does */
	struct template *template; /* owns */
	struct engine_sampling sampling;
	uint32_t n_tokenizing; /* waves that wait for their prompt's ids */
	struct lengths *lengths; /* owns; n_lengths sources */
	size_t n_lengths, lengths_cap;
	uint32_t n_asked; /* candidates that the engine has been asked for */
	/* Only if the engine keeps prompts per slot: waves that have missing candidates to ask for. */
	bool feeds;
	TAILQ_HEAD(, wave) waiting, begun; /* without a request that is out, and with one */
	uint32_t n_waiting;
};

/* The wave that a group is in; lives in the group's arena. */
struct wave {
	struct generate_state *state;
	struct group *group;
	size_t from, to;
	size_t next; /* the first that may not have been asked for */
	uint32_t n_unasked;
	enum { WAVE_UNLISTED, WAVE_WAITING, WAVE_BEGUN } listed;
	TAILQ_ENTRY(wave) link;
	struct engine_message *messages;
	size_t n_messages;
	struct engine_request *tokenizing; /* the one request that comes before all others */
	struct part
		*parts; /* generating requests: one per run of neighbouring missing candidates */
	size_t n_out; /* candidates that are still owed */
	bool cancelled;
};

struct part {
	struct wave *wave;
	struct engine_job job;
	struct guard_config guard;
	struct engine_request *request; /* NULL when all is answered */
	size_t first;
	uint32_t n_left;
	struct budget_ticket *tickets; /* job.n */
	struct part *next;
};

/* --- configuration --- */

PRINTF_LIKE(3, 4)
static void refuse(const struct stage_check *c, const char *hint, const char *fmt, ...)
{
	const struct node *at = node_get(c->node, "candidates");
	struct error err = {0};
	va_list args;
	va_start(args, fmt);
	AUTO_FREE char *what = xvasprintf(fmt, args);
	va_end(args);
	node_error(&err, c->tree, at ? at : c->node, "stage 'generate': candidates.%s", what);
	if (hint) {
		error_hint(&err, "%s", hint);
	}
	error_list_add(c->errors, &err);
}

/* What is written and can never matter is a misunderstanding. */
static void check_candidates(const struct generate_config *gc, const struct stage_check *c)
{
	const struct candidates_plan *p = &gc->candidates;
	if (p->min > p->max) {
		refuse(c, NULL, "min (%u) is above candidates.max (%u)", p->min, p->max);
		return;
	}
	if (p->stop_after > p->max) {
		refuse(c, "lower stop_after, or raise max",
			"stop_after (%u) is above candidates.max (%u): no prompt gets so many",
			p->stop_after, p->max);
	}
	bool one_wave = p->min == p->max;
	if (one_wave && (p->wave || p->worthwhile > 0 || gc->rounds)) {
		refuse(c, "raise max, or lower min",
			"%s has no effect: the first wave has all %u candidates",
			p->wave                     ? "wave"
				: p->worthwhile > 0 ? "give_up"
						    : "rounds",
			p->max);
	} else if (p->worthwhile > 0) {
		size_t n = candidates_hopeless_after(p->worthwhile, p->confidence);
		if (n >= p->max) {
			refuse(c, "raise max or give_up.below, or lower give_up.confidence",
				"give_up has no effect: a rate below %g is certain to %g after %zu "
				"rejected candidates, "
				"and max is %u",
				p->worthwhile, p->confidence, n, p->max);
		}
	}
}

static void check(const void *config, const struct stage_check *c)
{
	const struct generate_config *gc = config;
	struct error err = {0};
	check_candidates(gc, c);
	const struct engine_def *engine = gc->engine ? definition_engine(c->definition, gc->engine)
						     : NULL;
	if (gc->continuations && engine && engine->config.dialect &&
		strcmp(engine->config.dialect, "openai") == 0) {
		const struct node *at = node_get(c->node, "continue");
		node_error(&err, c->tree, at ? at : c->node,
			"stage 'generate': continue (%u) needs the ids of what was sampled, and "
			"engine '%s' speaks the openai dialect, which has none",
			gc->continuations, gc->engine);
		error_hint(&err, "raise sampling.max_tokens instead");
		error_list_add(c->errors, &err);
	}
	if (!sample_template(c->definition)) {
		node_error(&err, c->tree, c->node,
			"stage 'generate' needs stage 'sample', which has the prompt template");
		error_list_add(c->errors, &err);
	}
}

/* --- lengths of the accepted --- */

static struct lengths *lengths_of(struct generate_state *s, const char *source)
{
	for (size_t i = 0; i < s->n_lengths; i++) {
		if (strcmp(s->lengths[i].source, source) == 0) {
			return &s->lengths[i];
		}
	}
	s->lengths = array_room(s->lengths, s->n_lengths, &s->lengths_cap, sizeof(*s->lengths));
	s->lengths[s->n_lengths] = (struct lengths){.source = xstrdup(source)};
	return &s->lengths[s->n_lengths++];
}

/* The upper end of the bucket in which the quantile lies, times the margin. */
static uint32_t find_limit(const struct generate_config *c, const struct lengths *l)
{
	uint64_t below = 0, wanted = (uint64_t)ceil(c->guard.quantile * (double)l->n);
	size_t i = 0;
	if (l->n < c->guard.samples) {
		return 0;
	}
	while (i < l->n_buckets && (below += l->counts[i]) < wanted) {
		i++;
	}
	return (uint32_t)MIN(
		ceil((double)(i + 1) * LENGTH_STEP * c->guard.margin), (double)UINT32_MAX);
}

static void add_length(void *ctx, const char *source, uint32_t n_tokens)
{
	struct generate_state *s = ctx;
	struct lengths *l = lengths_of(s, source);
	size_t bucket = n_tokens / LENGTH_STEP;
	if (bucket >= l->n_buckets) {
		l->counts = xreallocarray(l->counts, bucket + 1, sizeof(*l->counts));
		memset(l->counts + l->n_buckets, 0,
			(bucket + 1 - l->n_buckets) * sizeof(*l->counts));
		l->n_buckets = bucket + 1;
	}
	l->counts[bucket]++;
	l->n++;
	l->limit = find_limit(s->config, l);
}

/* Those of earlier sittings were taken from the ledger when the stage was opened. */
static void learn_lengths(struct generate_state *s, const struct group *group)
{
	for (size_t i = 0; i < group->n_candidates; i++) {
		struct candidate *c = group->candidates[i];
		if (c && c->state == CANDIDATE_ACCEPTED && !c->length_known) {
			c->length_known = true;
			add_length(s, group->prompt.source, c->n_tokens);
		}
	}
}

static bool guards(const struct generate_config *c)
{
	return c->guard.loop || c->guard.after_answer || c->guard.quantile > 0;
}

static struct guard_config guard_for(struct generate_state *s, const char *source)
{
	const struct generate_config *c = s->config;
	return (struct guard_config){
		.loop = c->guard.loop,
		.period = c->guard.period,
		.after_answer = c->guard.after_answer,
		.length_max = c->guard.quantile > 0 ? lengths_of(s, source)->limit : 0,
	};
}

static bool open_generate(void *state, const void *config, struct run *run, struct error *err)
{
	struct generate_state *s = state;
	const struct generate_config *gc = config;
	s->config = gc;
	s->run = run;
	s->engine = run_engine(run, gc->engine);
	s->template = template_read(sample_template(run->def), err);
	if (!s->template || !s->engine) {
		return s->template != NULL; /* in a phase without it nothing is generated */
	}
	const char *tokenizer = definition_engine(run->def, gc->engine)->tokenizer;
	if (!engine_info(s->engine)->has_ids && tokenizer) {
		s->tokenizer = run_engine(run, tokenizer);
		if (!s->tokenizer) {
			s->engine = NULL;
			return true;
		}
		if (!engine_info(s->tokenizer)->has_ids) {
			return error_set(err, FAIL_REMOTE,
				"engine '%s' cannot tokenize for '%s': it speaks the %s dialect",
				tokenizer, gc->engine, engine_info(s->tokenizer)->dialect);
		}
	}
	if (gc->logprobs && !engine_info(s->engine)->has_logprobs) {
		error_set(err, FAIL_REMOTE, "engine '%s' gives no logprobs", gc->engine);
		return error_hint(err, "set generate.logprobs to false");
	}
	s->sampling = (struct engine_sampling){gc->sampling.temperature, gc->sampling.top_p,
		gc->sampling.min_p, gc->sampling.top_k, gc->sampling.repeat_penalty,
		gc->sampling.max_tokens, gc->sampling.stop.items, gc->sampling.stop.n};
	if (gc->continuations && !engine_info(s->engine)->has_ids) {
		error_set(err, FAIL_REMOTE,
			"engine '%s' speaks the %s dialect, which gives no ids that a candidate "
			"could be "
			"continued from",
			gc->engine, engine_info(s->engine)->dialect);
		return error_hint(err, "set generate.continue to 0");
	}
	if (gc->guard.quantile > 0 && !ledger_each_length(run->ledger, add_length, s, err)) {
		return false;
	}
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->begun);
	s->feeds = engine_info(s->engine)->prefix_per_slot && !gc->per_request;
	return true;
}

static void close_generate(void *state)
{
	struct generate_state *s = state;
	template_free(s->template);
	s->template = NULL;
	for (size_t i = 0; i < s->n_lengths; i++) {
		free(s->lengths[i].source);
		free(s->lengths[i].counts);
	}
	free(s->lengths);
	s->lengths = NULL;
	s->n_lengths = 0;
}

/* --- waves --- */

static size_t plan(
	void *state, const struct group *group, size_t n_accepted, const char **out_reason)
{
	const struct generate_state *s = state;
	if (s->config->guard.quantile > 0) {
		learn_lengths(state, group);
	}
	return candidates_next(&s->config->candidates, group->n_candidates, n_accepted,
		group_count(group, CANDIDATE_REJECTED), out_reason);
}

static uint32_t n_slots(const struct generate_state *s)
{
	/* With every endpoint down, one request waits for the first that comes back. */
	return MAX(engine_slots(s->engine), 1);
}

/* Prompts being tokenized are candidates that the engine does not know of yet: one filling of its slots is enough. */
static bool has_room(void *state)
{
	struct generate_state *s = state;
	if (!s->engine) {
		return true;
	}
	uint32_t slots = MAX(engine_info(s->engine)->n_slots, SLOTS_UNKNOWN);
	if (s->tokenizer && !engine_has_room(s->tokenizer)) {
		return false;
	}
	if (s->feeds) {
		slots = n_slots(s);
		return s->n_asked + s->n_waiting + s->n_tokenizing < slots + slots / 4 + 2;
	}
	return (uint64_t)s->n_tokenizing * s->config->candidates.min < slots &&
		engine_has_room(s->engine);
}

static bool in_rounds(void *state)
{
	return ((struct generate_state *)state)->config->rounds;
}

static void end_wave(struct wave *w)
{
	struct group *group = w->group;
	struct run *run = w->state->run;
	group->generate = NULL;
	if (w->cancelled) {
		flow_cancelled(group);
	} else {
		flow_wave_made(group);
	}
	flow_wake(run);
}

static void owe_one_less(struct wave *w)
{
	if (--w->n_out == 0) {
		end_wave(w);
	}
}

static void copy_answer(struct candidate *c, const struct engine_candidate *from)
{
	struct arena *arena = &c->group->arena;
	c->text = (struct slice){
		arena_memdup0(arena, from->text.data, from->text.len), from->text.len};
	c->finish = from->finish;
	c->n_tokens = from->n_tokens;
	c->n_read = from->n_read;
	c->knows_read = from->knows_read;
	c->endpoint = from->endpoint ? arena_strdup(arena, from->endpoint) : NULL;
	c->attempts = from->attempts;
	c->latency_ms = from->latency_ms;
	if (from->n_ids) {
		uint32_t *ids = arena_alloc_array(arena, from->n_ids, sizeof(*ids));
		memcpy(ids, from->ids, from->n_ids * sizeof(*ids));
		c->ids = ids;
		c->n_ids = from->n_ids;
	}
	if (from->logprobs) {
		float *logprobs = arena_alloc_array(arena, from->n_ids, sizeof(*logprobs));
		memcpy(logprobs, from->logprobs, from->n_ids * sizeof(*logprobs));
		c->logprobs = logprobs;
	}
}

/*
 * What the guard has cut is never scored: its EOS was not sampled, and to add one would teach what the model did not say, even
 * where the answer in it is right.
 */
static void reject_cut(struct candidate *c)
{
	if (c->finish == FINISH_LOOP || c->finish == FINISH_AFTER_ANSWER ||
		c->finish == FINISH_OUTLIER) {
		c->state = CANDIDATE_REJECTED;
		c->reason = finish_name(c->finish);
	}
}

/* A chain that was cut is told apart from a wrong one; without its end it would teach to stop in mid-thought. */
static void reject_truncated(const struct generate_state *s, struct candidate *c)
{
	if (s->config->truncated == TRUNCATED_REJECT &&
		(c->finish == FINISH_LENGTH || c->finish == FINISH_CONTEXT)) {
		c->state = CANDIDATE_REJECTED;
		c->reason = c->finish == FINISH_LENGTH ? "token_limit" : "context_limit";
	}
}

static void fail_candidate(struct candidate *c, enum engine_reason reason, const struct error *err)
{
	c->state = CANDIDATE_FAILED;
	c->reason = engine_reason_name(reason);
	c->detail = err ? arena_strdup(&c->group->arena, err->msg) : NULL;
	c->ids = NULL;
	c->n_ids = 0;
}

struct retokenizing {
	struct wave *wave;
	struct candidate *candidate;
};

static void on_retokenized(void *ctx, const struct engine_prompt *answer)
{
	struct retokenizing *r = ctx;
	struct candidate *c = r->candidate;
	if (answer->reason == ENGINE_CANCELLED) {
		r->wave->cancelled = true;
		owe_one_less(r->wave);
		return;
	}
	if (answer->reason != ENGINE_OK) {
		fail_candidate(c, answer->reason, answer->err);
	} else {
		/* The server ended the text by itself, so the model had sampled the end of its turn. */
		int64_t eos = c->finish == FINISH_STOP
			? engine_info(r->wave->state->tokenizer)->eos_id
			: -1;
		uint32_t *ids = arena_alloc_array(&c->group->arena, answer->n + 1, sizeof(*ids));
		memcpy(ids, answer->ids, answer->n * sizeof(*ids));
		c->n_ids = answer->n;
		if (eos >= 0 && (!answer->n || ids[answer->n - 1] != (uint32_t)eos)) {
			ids[c->n_ids++] = (uint32_t)eos;
		}
		c->ids = ids;
		c->n_tokens = (uint32_t)c->n_ids;
		c->logprobs = NULL;
		c->retokenized = true;
	}
	flow_candidate(c);
	owe_one_less(r->wave);
}

static enum engine_leave may_start(void *ctx, uint32_t i, uint32_t n)
{
	struct part *part = ctx;
	return flow_begin(part->wave->group, &part->tickets[i], n);
}

static void on_candidate(void *ctx, const struct engine_candidate *answer);

/* One request for the next missing candidates, `n` at most; neighbours, since their seeds count up. */
static void ask_part(struct wave *w, uint32_t n)
{
	struct generate_state *s = w->state;
	struct group *group = w->group;
	const struct prompt *prompt = &group->prompt;
	bool by_messages = !engine_info(s->engine)->has_ids;
	while (group->candidates[w->next]) {
		w->next++;
	}
	size_t first = w->next, end = first;
	while (end < w->to && end - first < n && !group->candidates[end]) {
		end++;
	}
	n = (uint32_t)(end - first);
	struct part *part = arena_alloc(&group->arena, sizeof(*part));
	*part = (struct part){.wave = w, .first = first, .n_left = n, .next = w->parts};
	w->parts = part;
	part->tickets = arena_alloc_array(&group->arena, n, sizeof(*part->tickets));
	w->next = end;
	w->n_unasked -= n;
	flow_unasked(s->run, -(int64_t)n);
	s->n_asked += n;
	part->job = (struct engine_job){
		.messages = by_messages ? w->messages : NULL,
		.n_messages = by_messages ? w->n_messages : 0,
		.prompt_ids = prompt->ids,
		.n_prompt_ids = prompt->n_ids,
		.sampling = &s->sampling,
		.n = n,
		.seed = run_seed(s->run, prompt->prompt_id, (uint32_t)first),
		.logprobs = s->config->logprobs,
		.whole = s->feeds,
		.per_request = s->feeds ? n : s->config->per_request,
		.home = &group->home,
		.may_start = may_start,
		.guard = guards(s->config) ? &part->guard : NULL,
		.continuations = s->config->continuations,
	};
	part->guard = guard_for(s, prompt->source);
	part->request = engine_generate(s->engine, &part->job, on_candidate, part);
}

static void list_wave(struct wave *w, int where)
{
	struct generate_state *s = w->state;
	if (w->listed == WAVE_WAITING) {
		TAILQ_REMOVE(&s->waiting, w, link);
		s->n_waiting--;
	} else if (w->listed == WAVE_BEGUN) {
		TAILQ_REMOVE(&s->begun, w, link);
	}
	w->listed = where;
	if (where == WAVE_BEGUN) {
		TAILQ_INSERT_TAIL(&s->begun, w, link);
	} else if (where == WAVE_WAITING) {
		/* What was begun goes first: its prompt is cached, and it ends sooner. But in rounds the first wave of others does. */
		if (w->parts || (w->group->wave && !s->config->rounds)) {
			TAILQ_INSERT_HEAD(&s->waiting, w, link);
		} else {
			TAILQ_INSERT_TAIL(&s->waiting, w, link);
		}
		s->n_waiting++;
	}
}

/* Of one more candidate: as those that the prompt has, or else as those of its source. */
static double expected_tokens(const struct wave *w)
{
	const struct group *group = w->group;
	uint64_t n = 0, n_tokens = 0;
	for (size_t i = 0; i < group->n_candidates; i++) {
		const struct candidate *c = group->candidates[i];
		n += c != NULL;
		n_tokens += c ? c->n_tokens : 0;
	}
	return n_tokens ? (double)n_tokens / (double)n
			: flow_expected_tokens(w->state->run, group->prompt.source);
}

/*
 * The wave whose candidates, one after another, would outlast all other work spread over the slots; NULL: none would. It gets a second
 * slot, although the prompt is read again there. That happens near the end, which would otherwise wait for one slot.
 */
static struct wave *find_straggler(const struct generate_state *s)
{
	double all = (double)flow_prompts_to_come(s->run) * s->config->candidates.min *
		flow_expected_tokens(s->run, NULL);
	struct wave *longest = NULL, *w;
	double most = 0;
	TAILQ_FOREACH(w, &s->waiting, link)
	{
		all += w->n_unasked * expected_tokens(w);
	}
	TAILQ_FOREACH(w, &s->begun, link)
	{
		double tokens = expected_tokens(w);
		/* With the candidate that is under way, and less what a second slot costs. */
		double chain = (w->n_unasked + 1) * tokens -
			(double)w->group->prompt.n_ids / READ_COST;
		all += w->n_unasked * tokens;
		longest = chain > most ? w : longest;
		most = MAX(chain, most);
	}
	return most * n_slots(s) > all ? longest : NULL;
}

/* Asks for candidates while slots are idle. */
static void feed(struct generate_state *s)
{
	while (s->n_asked < n_slots(s)) {
		uint64_t n_others = (uint64_t)flow_prompts_to_come(s->run) + s->n_tokenizing +
			s->n_waiting;
		struct wave *w = find_straggler(s);
		if (!w && (w = TAILQ_FIRST(&s->waiting))) {
			n_others--;
		}
		if (!w) {
			return;
		}
		ask_part(w, candidates_at_once(n_slots(s) - s->n_asked, n_others, w->n_unasked));
		list_wave(w, w->n_unasked ? WAVE_BEGUN : WAVE_UNLISTED);
		flow_wake(s->run);
	}
}

static void ask(struct wave *w)
{
	struct generate_state *s = w->state;
	/* All are counted before the first is asked for. */
	for (size_t i = w->from; i < w->to; i++) {
		w->n_unasked += w->group->candidates[i] == NULL;
	}
	assert(w->n_unasked);
	w->n_out = w->n_unasked;
	flow_unasked(s->run, w->n_unasked);
	w->next = w->from;
	if (s->feeds) {
		list_wave(w, WAVE_WAITING);
		feed(s);
		return;
	}
	while (w->n_unasked) {
		ask_part(w, UINT32_MAX);
	}
}

/* Those that were never asked for will not come. */
static void drop_unasked(struct wave *w)
{
	list_wave(w, WAVE_UNLISTED);
	w->n_out -= w->n_unasked;
	flow_unasked(w->state->run, -(int64_t)w->n_unasked);
	w->n_unasked = 0;
}

static void on_candidate(void *ctx, const struct engine_candidate *answer)
{
	struct part *part = ctx;
	struct wave *w = part->wave;
	struct generate_state *s = w->state;
	s->n_asked--;
	if (--part->n_left == 0) {
		part->request = NULL;
	}
	flow_end(w->group, &part->tickets[answer->i], answer->reason, answer->n_tokens);
	if (answer->reason == ENGINE_CANCELLED) {
		w->cancelled = true;
		drop_unasked(w);
		owe_one_less(w);
		feed(s); /* the budget may have refused this one alone */
		return;
	}
	/* Before anything else: a slot is idle. */
	if (!part->n_left && w->listed == WAVE_BEGUN) {
		list_wave(w, WAVE_WAITING);
	}
	feed(s);
	struct candidate *c = group_new_candidate(
		w->group, s->run->def->n_verifiers, (uint32_t)part->first + answer->i);
	c->seed = run_seed(s->run, w->group->prompt.prompt_id, c->idx);
	if (answer->reason != ENGINE_OK) {
		fail_candidate(c, answer->reason, answer->err);
	} else {
		copy_answer(c, answer);
		reject_truncated(s, c);
		reject_cut(c);
		if (s->tokenizer && !c->n_ids) {
			struct retokenizing *r = arena_alloc(&w->group->arena, sizeof(*r));
			*r = (struct retokenizing){w, c};
			engine_tokenize_text(s->tokenizer, c->text, on_retokenized, r);
			return;
		}
	}
	flow_candidate(c);
	owe_one_less(w);
}

static void on_prompt(void *ctx, const struct engine_prompt *answer)
{
	struct wave *w = ctx;
	struct group *group = w->group;
	struct generate_state *s = w->state;
	w->tokenizing = NULL;
	s->n_tokenizing--;
	flow_wake(s->run);
	if (w->cancelled || answer->reason == ENGINE_CANCELLED) {
		w->cancelled = true;
		end_wave(w);
		return;
	}
	uint32_t context = engine_info(s->engine)->context;
	const char *reason = NULL, *detail = NULL;
	if (answer->reason != ENGINE_OK) {
		reason = engine_reason_name(answer->reason);
		detail = answer->err ? answer->err->msg : NULL;
	} else if (answer->special && s->config->special_tokens == SPECIAL_REJECT) {
		reason = "special_token";
		detail = "a field holds the text of a special token";
	} else if (context && answer->n >= context) {
		reason = "prompt_too_long";
		detail = arena_printf(&group->arena,
			"the prompt has %zu tokens, the engine's context %u", answer->n, context);
	}
	if (reason) {
		struct run *run = s->run;
		group->generate = NULL;
		flow_prompt_failed(group, reason, detail);
		flow_wake(run);
		return;
	}
	flow_prompt_ids(group, answer->ids, answer->n);
	ask(w);
}

static void start_wave(void *state, struct group *group, size_t from, size_t to)
{
	struct generate_state *s = state;
	struct wave *w = arena_alloc(&group->arena, sizeof(*w));
	*w = (struct wave){.state = s, .group = group, .from = from, .to = to};
	group->generate = w;
	struct error err = {0};
	if (!template_render_row(s->template, group->prompt.fields, &group->arena, &w->messages,
		    &w->n_messages, &err)) {
		error_context(&err, "prompt %lld", (long long)group->prompt.id);
		w->cancelled = true;
		flow_failed(s->run, &err);
		end_wave(w);
		return;
	}
	struct engine *tokenizer = s->tokenizer   ? s->tokenizer
		: engine_info(s->engine)->has_ids ? s->engine
						  : NULL;
	if (tokenizer && !group->prompt.n_ids) {
		s->n_tokenizing++;
		w->tokenizing = engine_tokenize(tokenizer, w->messages, w->n_messages,
			s->config->special_tokens, on_prompt, w);
	} else {
		ask(w);
	}
}

static void cancel(void *state UNUSED, struct group *group)
{
	struct wave *w = group->generate;
	if (!w) {
		return;
	}
	w->cancelled = true;
	if (w->tokenizing) {
		engine_cancel(w->tokenizing);
		return;
	}
	if (w->n_unasked) {
		drop_unasked(w);
		if (!w->n_out) {
			end_wave(w);
			return;
		}
	}
	for (struct part *p = w->parts; p; p = p->next) {
		if (p->request) {
			engine_cancel(p->request);
		}
	}
}

/* --- the vocabulary, for reading the shards offline --- */

struct seen_ids {
	uint8_t *bits; /* owns */
	size_t n_bytes;
};

#define ID_MAX (1u << 24)

static void see_ids(void *ctx, const uint32_t *ids, size_t n)
{
	struct seen_ids *seen = ctx;
	for (size_t i = 0; i < n; i++) {
		size_t byte = ids[i] / 8;
		if (ids[i] >= ID_MAX) {
			continue;
		}
		if (byte >= seen->n_bytes) {
			size_t more = MAX(byte + 1, 2 * seen->n_bytes);
			seen->bits = xreallocarray(seen->bits, more, 1);
			memset(seen->bits + seen->n_bytes, 0, more - seen->n_bytes);
			seen->n_bytes = more;
		}
		seen->bits[byte] |= (uint8_t)(1u << ids[i] % 8);
	}
}

static void on_vocab(void *ctx, const struct engine_vocab *vocab)
{
	struct generate_state *s = ctx;
	struct error err = {0};
	if (vocab->err) {
		/* Nothing that was generated depends on it: shards are packed, and shown as ids. */
		log_warn("the vocabulary could not be read, shards will be shown as ids", "engine",
			engine_name(s->engine), "reason", vocab->err->msg, NULL);
	} else if (!vocab_publish(s->run->dir, vocab->ids, vocab->pieces, vocab->special, vocab->n,
			   &err)) {
		flow_failed(s->run, &err);
	} else if (!ledger_set_meta(s->run->ledger, "tokenizer", vocab->hash, &err) ||
		!ledger_set_meta(s->run->ledger, "n_vocab", log_fmt("%u", vocab->n_vocab), &err) ||
		!ledger_set_meta(s->run->ledger, "eos_id",
			log_fmt("%lld", (long long)vocab->eos_id), &err)) {
		flow_failed(s->run, &err);
	}
	flow_finished(s->run);
}

/* How often a candidate was continued, or asked for again because its stream could not tell its ids; for `status --json`. */
static bool keep_counts(struct generate_state *s, struct error *err)
{
	struct engine_stats stats;
	struct arena arena = {0};
	struct ledger_stage row;
	struct error ignored;
	int64_t continued = 0, again = 0;
	engine_stats(s->engine, &stats);
	if (!stats.continued && !stats.asked_again) {
		return true;
	}
	ledger_stage(s->run->ledger, "generate", &arena, &row);
	AUTO_JSON struct json *before = row.facts
		? json_parse(row.facts, strlen(row.facts), &ignored)
		: NULL;
	json_int(json_get(before, "continued"), &continued);
	json_int(json_get(before, "asked_again"), &again);
	const char *facts = arena_printf(&arena, "{\"continued\":%lld,\"asked_again\":%lld}",
		(long long)(continued + (int64_t)stats.continued),
		(long long)(again + (int64_t)stats.asked_again));
	bool ok = ledger_set_stage(s->run->ledger, "generate", false, 0, facts, err);
	arena_release(&arena);
	return ok;
}

static void finish(void *state)
{
	struct generate_state *s = state;
	struct seen_ids seen = {0};
	struct error err = {0};
	if (!keep_counts(s, &err) || !ledger_each_ids(s->run->ledger, see_ids, &seen, &err)) {
		free(seen.bits);
		flow_failed(s->run, &err);
		return;
	}
	uint32_t *ids = NULL;
	size_t n = 0, cap = 0;
	for (uint32_t id = 0; id < 8 * seen.n_bytes; id++) {
		if (seen.bits[id / 8] >> id % 8 & 1) {
			ids = array_room(ids, n, &cap, sizeof(*ids));
			ids[n++] = id;
		}
	}
	engine_read_vocab(s->tokenizer ? s->tokenizer : s->engine, ids, n, on_vocab, s);
	free(ids);
	free(seen.bits);
}

const struct stage_ops generate_stage = {
	.name = "generate",
	.summary = "asks an engine for candidates of each prompt, seeded, token-exact",
	.params = params,
	.config_size = sizeof(struct generate_config),
	.state_size = sizeof(struct generate_state),
	.check = check,
	.open = open_generate,
	.plan = plan,
	.start_wave = start_wave,
	.in_rounds = in_rounds,
	.has_room = has_room,
	.finish = finish,
	.cancel = cancel,
	.close = close_generate,
};
