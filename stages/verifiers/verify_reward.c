/*
 * Outcome reward model: a model with a classification head reads question and candidate and gives one number. Its range is the
 * model's affair: most give a logit without bounds (`raw: true`), which orders candidates better than its sigmoid, since that is 1
 * for all that are good.
 *
 * The template's messages are the conversation that is scored, the candidate's turn last. Which API the server has is taken from what
 * it calls itself, or said by `api:`; engine/scoring.c tells what each is sent.
 *
 * A model without a head is the trap: llama.cpp then answers with numbers all the same, around 1e-20 or, in other versions, whatever
 * the hidden state begins with. So the model file is looked into before the night if it can be read here, else that it could
 * not is told; and an answer of that size is null.
 */
#include "verifiers.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/gguf.h"
#include "engine/loop.h"
#include "engine/scoring.h"
#include "run.h"
#include "template.h"
#include "verifier.h"
#include "verifiers/verify_ask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_HEAD_MAX \
	1e-15 /* logits are not that small, nor probabilities that a float's softmax gives */

enum api { API_AUTO };

struct reward_config {
	char *engine, *template;
	uint32_t api, labels, label;
	bool raw, per_token;
};

static const char *const api_names[] = {"auto", "rerank", "pooling", "classify", "sglang", NULL};

static const struct param params[] = {
	PARAM_REF("engine", struct reward_config, engine, .ref = "engine", .required = true,
		.help = "engine with the reward model"),
	PARAM_PATH("template", struct reward_config, template, .ref = "template", .required = true,
		.must_exist = true,
		.help = "conversation that is scored; {{candidate}} in its last message"),
	PARAM_ENUM("api", struct reward_config, api, .names = api_names, .def = "auto",
		.help = "how the server is asked: llama.cpp's rerank, vLLM's pooling or classify, "
			"SGLang's"),
	PARAM_BOOL("raw", struct reward_config, raw, .def = "true",
		.help = "the head's value without softmax or sigmoid; for pooling and classify"),
	PARAM_BOOL("per_token", struct reward_config, per_token, .def = "false",
		.help = "the head scores every token, and the last one's score is taken; for "
			"pooling"),
	PARAM_U32("labels", struct reward_config, labels, .def = "1", .min = 1,
		.max = SCORING_COLUMNS_MAX, .help = "numbers that the head gives"),
	PARAM_U32("label", struct reward_config, label, .def = "0", .min = 0,
		.max = SCORING_COLUMNS_MAX - 1, .help = "the one that is the score, from 0"),
	{0},
};

static const char *const reasons[] = {"scored", "no_head", "bad_scores", "no_endpoint", "special",
	"prompt", "prompt_too_long", "engine", NULL};
static const char *const failures[] = {"engine", "no_endpoint", "no_head", "bad_scores", NULL};

struct reward_state {
	const struct reward_config *config;
	struct run *run;
	struct engine *engine;
	const struct scoring_ops *api;
	struct template *template; /* owns */
	struct ask_marks marks;
};

struct asking {
	struct reward_state *state;
	struct verify_job *job;
	struct arena arena;
	struct engine_score_job score_job;
	struct score failure;
};

static void check(const void *config, const struct tree *tree, const struct node *node,
	struct error_list *errors)
{
	const struct reward_config *c = config;
	const struct node *at = node_get(node, "label");
	struct error err = {0};
	if (c->label >= c->labels) {
		node_error(&err, tree, at ? at : node,
			"label %u is not one of %u, which are counted from 0", c->label, c->labels);
		error_list_add(errors, &err);
	}
	if (c->per_token && c->api != API_AUTO && !scoring_find(api_names[c->api])->has_steps) {
		at = node_get(node, "per_token");
		node_error(&err, tree, at ? at : node, "the api %s gives no scores per token",
			api_names[c->api]);
		error_hint(&err, "only pooling does");
		error_list_add(errors, &err);
	}
}

/* --- life --- */

/* Of the file that the server names, if it can be read here and is a model. */
static bool check_head(const struct engine *engine, struct error *err)
{
	const char *model = engine_info(engine)->model_path;
	bool has_head = true;
	struct error unreadable = {0};
	if (!model || !gguf_has_head(model, &has_head, &unreadable)) {
		log_warn("cannot see whether the reward model has a classification head", "engine",
			engine_name(engine), "why", model ? unreadable.msg : "no file is named",
			NULL);
		return true;
	}
	if (has_head) {
		return true;
	}
	error_set(err, FAIL_CONFIG,
		"model file '%s' has no classification head, so its scores would mean nothing",
		model);
	return error_hint(err,
		"a reward model's head is in the tensors `cls.*`; a model that writes text is "
		"asked by `judge` or `steps`");
}

static bool open_reward(void *state, const void *config, struct run *run, struct error *err)
{
	struct reward_state *s = state;
	const struct reward_config *c = config;
	s->config = c;
	s->run = run;
	s->engine = run_engine(run, c->engine);
	s->api = c->api == API_AUTO ? ask_scoring(s->engine, err) : scoring_find(api_names[c->api]);
	if (s->api && c->per_token && !s->api->has_steps) {
		error_set(err, FAIL_CONFIG, "the api %s gives no scores per token", s->api->name);
		return error_hint(err, "only pooling does; leave `per_token` out");
	}
	if (!s->api || (strcmp(s->api->name, "rerank") == 0 && !check_head(s->engine, err))) {
		return false;
	}
	s->template = template_read(c->template, err);
	if (s->template && s->api->by_text) {
		ask_marks_find(&s->marks, s->template);
	}
	return s->template != NULL;
}

static void close_reward(void *state)
{
	struct reward_state *s = state;
	template_free(s->template);
	ask_marks_release(&s->marks);
}

/* --- a candidate --- */

static void finish(struct asking *a, const struct score *score)
{
	struct verify_job *job = a->job;
	job->request = NULL;
	verify_done(job, score);
	arena_release(&a->arena);
	free(a);
}

static struct score read_scores(struct asking *a, const struct engine_scores *scores)
{
	const struct reward_config *c = a->state->config;
	if (!scores->n_rows || (scores->n_rows > 1 && !c->per_token) ||
		scores->n_columns != c->labels) {
		return (struct score){.reason = "bad_scores",
			.detail = arena_printf(&a->arena,
				"the server gave %zu rows of %zu numbers, expected %s of %u",
				scores->n_rows, scores->n_columns, c->per_token ? "some" : "1",
				c->labels)};
	}
	double value = scores->values[(scores->n_rows - 1) * c->labels + c->label];
	if (strcmp(a->state->api->name, "rerank") == 0 && fabs(value) < NO_HEAD_MAX) {
		return (struct score){.reason = "no_head",
			.detail = arena_printf(&a->arena,
				"the score is %g, as of a model without a classification head",
				value)};
	}
	return (struct score){.known = true, .value = value, .reason = "scored"};
}

static void on_scores(void *ctx, const struct engine_scores *scores)
{
	struct asking *a = ctx;
	if (scores->reason == ENGINE_CANCELLED) {
		struct verify_job *job = a->job;
		job->request = NULL;
		verify_cancelled(job);
		arena_release(&a->arena);
		free(a);
		return;
	}
	struct score score = scores->reason == ENGINE_OK ? read_scores(a, scores)
							 : ask_scoring_failure(scores);
	/* All are handed to the engine at once and wait in its queue, which took no time of the model's. */
	score.us = (int64_t)MAX(scores->latency_ms, 1) * 1000;
	a->job->n_tokens += scores->n_tokens;
	finish(a, &score);
}

static void finish_failure(void *ctx)
{
	struct asking *a = ctx;
	finish(a, &a->failure);
}

static void refuse(struct asking *a, const char *reason, const char *detail)
{
	a->failure = (struct score){.reason = reason, .detail = arena_strdup(&a->arena, detail)};
	loop_after(a->state->run->loop, 0, finish_failure, a);
}

static void submit(void *state, struct verify_job *job)
{
	struct reward_state *s = state;
	struct asking *a = xcalloc(1, sizeof(*a));
	struct engine_message *messages;
	struct ask_fields fields = ask_fields(job->candidate, s->engine, &s->marks, &a->arena);
	struct error err = {0};
	a->state = s;
	a->job = job;
	const char *reason = ask_render(
		s->template, &fields, &messages, &a->score_job.n_messages, &err);
	if (reason) {
		refuse(a, reason, err.msg);
		return;
	}
	a->score_job.api = s->api;
	a->score_job.messages = messages;
	a->score_job.raw = s->config->raw;
	a->score_job.steps = s->config->per_token;
	a->score_job.affinity = ask_affinity(job->candidate->group);
	job->request = engine_score(s->engine, &a->score_job, on_scores, a);
}

const struct verifier_ops verify_reward = {
	.name = "reward",
	.summary = "what an outcome reward model gives the candidate; its range is the model's",
	.version = 1,
	.params = params,
	.config_size = sizeof(struct reward_config),
	.state_size = sizeof(struct reward_state),
	.reasons = reasons,
	.failures = failures,
	.check = check,
	.open = open_reward,
	.submit = submit,
	.close = close_reward,
};
