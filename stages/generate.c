/*
 * Asks an engine for candidates. One wave of a group: render the template, have the prompt tokenized (once per prompt; the
 * ids are kept in the ledger), ask for each missing candidate with its own seed, and hand over what comes. An engine that
 * returns no ids has them made by its `tokenizer` engine afterwards. What a guard has cut is kept and rejected, for the guard's reason.
 */
#include "generate_private.h"
#include "sample.h"
#include "stages.h"

#include "base/log.h"
#include "base/mem.h"
#include "definition.h"
#include "flow/flow.h"
#include "ledger/ledger.h"
#include "run.h"
#include "stage.h"
#include "template.h"

#include <string.h>

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
	if (generate_guards(gc) && !engine_info(s->engine)->has_streams) {
		log_warn("an endpoint's answers are not streamed: the guard does not see them",
			"engine", gc->engine, NULL);
	}
	if (gc->guard.quantile > 0 &&
		!ledger_each_length(run->ledger, generate_add_length, s, err)) {
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
	generate_release_lengths(s);
}

/* --- waves --- */

static size_t plan(
	void *state, const struct group *group, size_t n_accepted, const char **out_reason)
{
	const struct generate_state *s = state;
	if (s->config->guard.quantile > 0) {
		generate_learn_lengths(state, group);
	}
	return candidates_next(&s->config->candidates, group->n_candidates, n_accepted,
		group_count(group, CANDIDATE_REJECTED), out_reason);
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
		slots = generate_slots(s);
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

void generate_on_candidate(void *ctx, const struct engine_candidate *answer)
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
		generate_drop_unasked(w);
		owe_one_less(w);
		generate_feed(s); /* the budget may have refused this one alone */
		return;
	}
	/* Before anything else: a slot is idle. */
	if (!part->n_left) {
		generate_part_done(w);
	}
	generate_feed(s);
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
	generate_ask(w);
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
		generate_ask(w);
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
		generate_drop_unasked(w);
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
	.finish = generate_finish,
	.cancel = cancel,
	.close = close_generate,
};
