/*
 * Generative verifier: a model is asked whether the solution is correct, and the score is P(yes), read off the log-probabilities
 * of the first token of its answer: p = y / (y + n), each summed over the spellings of the word. Nothing is sampled that
 * matters, so one token per candidate is all it costs.
 *
 * When only one of the words is among the listed tokens, the other has at most the smallest listed probability, and that
 * bound is used. When neither is, or when more than half of the mass is on other words, the prompt does not work with this
 * model: the score is null and the reason says so.
 */
#include "verifiers.h"

#include "base/mem.h"
#include "definition.h"
#include "engine/engine.h"
#include "engine/loop.h"
#include "run.h"
#include "template.h"
#include "verifier.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOP_LOGPROBS 20 /* what vLLM and OpenAI give at most by default */

struct judge_config {
	char *engine, *template;
	struct param_strings yes, no;
	double rest_max;
};

static const struct param params[] = {
	PARAM_REF("engine", struct judge_config, engine, .ref = "engine", .required = true,
		.help = "engine that judges"),
	PARAM_PATH("template", struct judge_config, template, .ref = "template", .required = true,
		.must_exist = true, .help = "prompt; {{candidate}} is the text to judge"),
	PARAM_STRINGS("yes", struct judge_config, yes, .def = "[\"yes\"]", .min = 1, .max = 32,
		.help = "words that say yes; case and leading space do not matter"),
	PARAM_STRINGS("no", struct judge_config, no, .def = "[\"no\"]", .min = 1, .max = 32,
		.help = "words that say no"),
	PARAM_DOUBLE("rest_max", struct judge_config, rest_max, .def = "0.5", .min = 0, .max = 1,
		.help = "mass on other words above which the verdict is null"),
	{0},
};

static const char *const reasons[] = {
	"verdict", "no_verdict", "rest_mass", "no_logprobs", "prompt", "engine", NULL};

struct judge_state {
	const struct judge_config *config;
	struct run *run;
	struct engine *engine;
	struct template *template; /* owns */
	struct engine_sampling sampling;
};

struct asking {
	struct judge_state *state;
	struct verify_job *job;
	struct engine_message *messages; /* in the arena */
	size_t n_messages;
	struct engine_job request;
	const char *failure; /* of rendering; in the arena */
	struct arena arena;
};

static bool open_judge(void *state, const void *config, struct run *run, struct error *err)
{
	struct judge_state *s = state;
	s->config = config;
	s->run = run;
	s->engine = run_engine(run, s->config->engine);
	s->sampling = (struct engine_sampling){
		.temperature = 0, .top_p = 1, .repeat_penalty = 1, .max_tokens = 1};
	if (!engine_info(s->engine)->has_logprobs) {
		return error_set(err, FAIL_REMOTE,
			"engine '%s' gives no logprobs, which a judge needs", s->config->engine);
	}
	s->template = template_read(s->config->template, err);
	return s->template != NULL;
}

static void close_judge(void *state)
{
	template_free(((struct judge_state *)state)->template);
}

static struct slice lookup(void *ctx, const char *field)
{
	struct asking *a = ctx;
	const struct candidate *c = a->job->candidate;
	return strcmp(field, "candidate") == 0
		? c->text
		: template_value(c->group->prompt.fields, field, &a->arena);
}

static void finish(struct asking *a, const struct score *score)
{
	struct verify_job *job = a->job;
	job->request = NULL;
	verify_done(job, score);
	arena_release(&a->arena);
	free(a);
}

static void finish_cancelled(struct asking *a)
{
	struct verify_job *job = a->job;
	job->request = NULL;
	verify_cancelled(job);
	arena_release(&a->arena);
	free(a);
}

static void finish_null(struct asking *a, const char *reason, const char *detail)
{
	finish(a, &(struct score){.reason = reason, .detail = detail});
}

/* The piece without leading spaces in any of their spellings, in lower case; compared with each word. */
static bool says(struct slice piece, const struct param_strings *words)
{
	static const char *const spaces[] = {
		" ", "\t", "\n", "\xe2\x96\x81" /* ▁ */, "\xc4\xa0" /* Ġ */};
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
		size_t len = strlen(spaces[i]);
		if (piece.len >= len && memcmp(piece.data, spaces[i], len) == 0) {
			piece.data += len;
			piece.len -= len;
			i = (size_t)-1; /* from the first again */
		}
	}
	for (size_t i = 0; i < words->n; i++) {
		if (piece.len == strlen(words->items[i]) &&
			strncasecmp(piece.data, words->items[i], piece.len) == 0) {
			return true;
		}
	}
	return false;
}

static void on_answer(void *ctx, const struct engine_candidate *answer)
{
	struct asking *a = ctx;
	const struct judge_config *config = a->state->config;
	if (answer->reason == ENGINE_CANCELLED) {
		finish_cancelled(a);
		return;
	}
	if (answer->reason != ENGINE_OK) {
		finish_null(a, answer->reason == ENGINE_PROMPT_TOO_LONG ? "prompt" : "engine",
			answer->err ? answer->err->msg : engine_reason_name(answer->reason));
		return;
	}
	if (!answer->n_top) {
		finish_null(a, "no_logprobs", NULL);
		return;
	}
	double yes = 0, no = 0, least = 1;
	for (size_t i = 0; i < answer->n_top; i++) {
		double p = exp((double)answer->top[i].logprob);
		least = fmin(least, p);
		if (says(answer->top[i].piece, &config->yes)) {
			yes += p;
		} else if (says(answer->top[i].piece, &config->no)) {
			no += p;
		}
	}
	double rest = fmax(1 - yes - no, 0);
	const char *detail = arena_printf(
		&a->arena, "{\"yes\":%.6f,\"no\":%.6f,\"rest\":%.6f}", yes, no, rest);
	if (!(yes > 0) && !(no > 0)) {
		finish_null(a, "no_verdict", detail);
	} else if (rest > config->rest_max) {
		finish_null(a, "rest_mass", detail);
	} else {
		double y = yes > 0 ? yes : fmin(least, no), n = no > 0 ? no : fmin(least, yes);
		finish(a,
			&(struct score){.known = true,
				.value = y / (y + n),
				.reason = "verdict",
				.detail = detail});
	}
}

static void ask(struct asking *a, const uint32_t *ids, size_t n)
{
	uint32_t *copy = arena_alloc_array(&a->arena, n, sizeof(*copy));
	if (n) {
		memcpy(copy, ids, n * sizeof(*copy));
	}
	a->request = (struct engine_job){
		.messages = n ? NULL : a->messages,
		.n_messages = n ? 0 : a->n_messages,
		.prompt_ids = n ? copy : NULL,
		.n_prompt_ids = n,
		.sampling = &a->state->sampling,
		.n = 1,
		.top_logprobs = TOP_LOGPROBS,
		.logprobs = true,
		.priority = true,
	};
	a->job->request = engine_generate(a->state->engine, &a->request, on_answer, a);
}

static void on_prompt(void *ctx, const struct engine_prompt *prompt)
{
	struct asking *a = ctx;
	if (prompt->reason == ENGINE_CANCELLED) {
		finish_cancelled(a);
		return;
	}
	if (prompt->reason != ENGINE_OK) {
		finish_null(a, "prompt",
			prompt->err ? prompt->err->msg : engine_reason_name(prompt->reason));
		return;
	}
	ask(a, prompt->ids, prompt->n);
}

static void on_no_prompt(void *ctx)
{
	struct asking *a = ctx;
	finish_null(a, "prompt", a->failure);
}

static void submit(void *state, struct verify_job *job)
{
	struct judge_state *s = state;
	struct asking *a = xcalloc(1, sizeof(*a));
	a->state = s;
	a->job = job;
	struct error err = {0};
	if (!template_render(
		    s->template, lookup, a, &a->arena, &a->messages, &a->n_messages, &err)) {
		/* An optional field that this row does not have. */
		a->failure = arena_strdup(&a->arena, err.msg);
		loop_after(s->run->loop, 0, on_no_prompt, a);
		return;
	}
	if (engine_info(s->engine)->has_ids) {
		job->request = engine_tokenize(
			s->engine, a->messages, a->n_messages, SPECIAL_TEXT, on_prompt, a);
	} else {
		ask(a, NULL, 0);
	}
}

const struct verifier_ops verify_judge = {
	.name = "judge",
	.summary = "P(yes) of a model asked whether the candidate is correct, 0 to 1",
	.version = 1,
	.params = params,
	.config_size = sizeof(struct judge_config),
	.state_size = sizeof(struct judge_state),
	.reasons = reasons,
	.open = open_judge,
	.submit = submit,
	.close = close_judge,
};
