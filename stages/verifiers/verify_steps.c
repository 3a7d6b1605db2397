/*
 * Process reward model: every step of the chain is scored, and `aggregate` makes one number of them; all are kept in the detail.
 * Steps are what stands between blank lines, or between `split`.
 *
 * Three kinds of models, three ways:
 *
 *	logprobs	a model that writes text, on any engine with logprobs: question and first step as a user's turn, then "+" as the
 *			assistant's, the next step as a user's turn, and so on; the score of a step is P(+) / (P(+) + P(-)) of the
 *			token that would fill the turn behind it. One request a step, each the beginning of the next.
 *	tag		a model that was trained to write + or - behind a tag (Math-Shepherd), on engines that take ids: question and
 *			steps as one text without a chat template, the tag behind each step. One request a step, too.
 *	pooling		a model with a head of its own on vLLM (Qwen2.5-Math-PRM): the steps are the assistant's turn, each with the
 *			mark behind it, and the answer is a pair of probabilities for each mark.
 *
 * A chain is scored as a whole or not at all: one that is too long, has too many steps or gets another number of scores than it
 * has steps is null. A shorter chain would be another one.
 */
#include "verifiers.h"

#include "base/json.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "engine/scoring.h"
#include "run.h"
#include "template.h"
#include "verifier.h"
#include "verifiers/steps_split.h"
#include "verifiers/verify_ask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOP_LOGPROBS 20
#define STEPS_MAX 4096
#define TAG " \xd0\xba\xd0\xb8" /* ки: Math-Shepherd's */
#define SUM_TOLERANCE 0.02 /* of two probabilities that a server computed in bfloat16 */

enum api { API_LOGPROBS, API_TAG, API_POOLING };
enum aggregate { AGGREGATE_MIN, AGGREGATE_PROD, AGGREGATE_LAST, AGGREGATE_MEAN };

struct steps_config {
	char *engine, *template, *split, *mark;
	struct param_strings yes, no;
	uint32_t api, aggregate, steps_max;
	double rest_max;
};

static const char *const api_names[] = {"logprobs", "tag", "pooling", NULL};
static const char *const aggregate_names[] = {"min", "prod", "last", "mean", NULL};

static const struct param params[] = {
	PARAM_REF("engine", struct steps_config, engine, .ref = "engine", .required = true,
		.help = "engine with the process reward model"),
	PARAM_PATH("template", struct steps_config, template, .ref = "template", .required = true,
		.must_exist = true,
		.help = "prompt; {{candidate}} is the first step (logprobs) or all with their "
			"marks"),
	PARAM_ENUM("api", struct steps_config, api, .names = api_names, .def = "logprobs",
		.help = "logprobs: a model that writes + or - as a turn of its own; tag: behind a "
			"tag; pooling: one with a head, on vLLM"),
	PARAM_STR("split", struct steps_config, split, .min = 1, .max = 64,
		.help = "text between two steps; blank lines if it is not given"),
	PARAM_ENUM("aggregate", struct steps_config, aggregate, .names = aggregate_names,
		.def = "min", .help = "what is made of the steps' scores"),
	PARAM_U32("steps_max", struct steps_config, steps_max, .def = "128", .min = 1,
		.max = STEPS_MAX, .help = "steps above which a chain is not scored"),
	PARAM_STRINGS("yes", struct steps_config, yes, .def = "[\"+\"]", .min = 1, .max = 32,
		.help = "words for a right step; the first stands behind those before"),
	PARAM_STRINGS("no", struct steps_config, no, .def = "[\"-\"]", .min = 1, .max = 32,
		.help = "words for a wrong step"),
	PARAM_DOUBLE("rest_max", struct steps_config, rest_max, .def = "0.5", .min = 0, .max = 1,
		.help = "mass on other words above which the score is null"),
	PARAM_STR("mark", struct steps_config, mark, .min = 1, .max = 64,
		.help = "what ends a step; <extra_0> with pooling and '" TAG
			"' with tag if not given"),
	{0},
};

static const char *const reasons[] = {"scored", "no_steps", "too_many_steps", "count_mismatch",
	"bad_scores", "no_verdict", "rest_mass", "no_logprobs", "no_endpoint", "special", "prompt",
	"prompt_too_long", "engine", NULL};
static const char *const failures[] = {
	"engine", "no_endpoint", "no_logprobs", "bad_scores", "count_mismatch", NULL};

struct steps_state {
	const struct steps_config *config;
	char *mark; /* owns; behind each step, but with API_LOGPROBS */
	struct ask_marks marks; /* it alone; borrows */
	struct run *run;
	struct engine *engine;
	struct template *template; /* owns */
	struct engine_sampling sampling;
	struct turns turns;
};

struct asking {
	struct turn turn; /* first */
	struct steps_state *state;
	struct slice *steps; /* n */
	double *scores; /* of the first n_scores */
	size_t n, n_scores;
	struct engine_message
		*messages; /* n_messages for the first step; two more for each other */
	size_t n_messages;
	const struct ask_marks *marks; /* NULL: the common ones, where the engine takes no ids */
	struct ask ask;
	struct engine_score_job score_job;
	bool cancelled;
	const char *reason, *detail; /* of a null score */
};

/* --- the definition --- */

static void check(const void *config, const struct tree *tree, const struct node *node,
	struct error_list *errors)
{
	const struct steps_config *c = config;
	const char *wanted = c->api == API_POOLING ? "assistant" : "user";
	/* With a tag the messages are one text, and nobody's turns. */
	bool matters = c->template && c->api != API_TAG;
	struct error err = {0};
	verdict_check(&c->yes, &c->no, tree, node, errors);
	const char *role = matters ? ask_last_role(c->template) : NULL;
	if (role && strcmp(role, wanted) != 0) {
		const struct node *at = node_get(node, "template");
		node_error(&err, tree, at ? at : node,
			"the last message of template '%s' is the %s's, but with api %s the steps "
			"are the %s's turn",
			c->template, role, api_names[c->api], wanted);
		error_list_add(errors, &err);
	}
}

static bool open_steps(void *state, const void *config, struct run *run, struct error *err)
{
	struct steps_state *s = state;
	const struct steps_config *c = config;
	s->config = c;
	s->run = run;
	s->engine = run_engine(run, c->engine);
	turns_init(&s->turns, s->engine);
	s->sampling = (struct engine_sampling){
		.temperature = 0, .top_p = 1, .repeat_penalty = 1, .max_tokens = 1};
	s->mark = xstrdup(c->mark ? c->mark : c->api == API_TAG ? TAG : "<extra_0>");
	s->marks = (struct ask_marks){&s->mark, 1, 0};
	if (c->api != API_POOLING && !engine_info(s->engine)->has_logprobs) {
		return error_set(err, FAIL_REMOTE,
			"engine '%s' gives no logprobs, which api %s needs", c->engine,
			api_names[c->api]);
	}
	if (c->api == API_TAG && !engine_info(s->engine)->has_ids) {
		error_set(err, FAIL_CONFIG,
			"engine '%s' takes no ids, which api tag needs to ask without a chat "
			"template",
			c->engine);
		return error_hint(err, "llama.cpp's own dialect does");
	}
	s->template = template_read(c->template, err);
	return s->template != NULL;
}

static void close_steps(void *state)
{
	struct steps_state *s = state;
	template_free(s->template);
	free(s->mark);
}

/* --- the end --- */

static double aggregate(enum aggregate how, const double *scores, size_t n)
{
	double least = scores[0], product = 1, sum = 0;
	for (size_t i = 0; i < n; i++) {
		least = fmin(least, scores[i]);
		product *= scores[i];
		sum += scores[i];
	}
	switch (how) {
	case AGGREGATE_MIN:
		return least;
	case AGGREGATE_PROD:
		return product;
	case AGGREGATE_LAST:
		return scores[n - 1];
	case AGGREGATE_MEAN:
		break;
	}
	return sum / (double)n;
}

static void put_mass(struct json_writer *w, const char *key, double mass)
{
	json_member_num(w, key, mass);
}

/* {"steps":[0.9,0.4]}; with the masses of the step behind them, if it has no score. */
static const char *describe(struct asking *a, const struct verdict *failed)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_key(&w, "steps");
	json_begin_array(&w);
	for (size_t i = 0; i < a->n_scores; i++) {
		json_put_num(&w, a->scores[i]);
	}
	json_end_array(&w);
	if (failed) {
		put_mass(&w, "yes", failed->yes);
		put_mass(&w, "no", failed->no);
		put_mass(&w, "rest", failed->rest);
	}
	json_end_object(&w);
	const char *detail = arena_memdup0(&a->turn.arena, text.data, text.len);
	str_release(&text);
	return detail;
}

static void finish(struct asking *a)
{
	if (a->cancelled) {
		turn_end(&a->turn, NULL);
	} else if (a->reason) {
		turn_end(&a->turn, &(struct score){.reason = a->reason, .detail = a->detail});
	} else {
		double value = aggregate(
			(enum aggregate)a->state->config->aggregate, a->scores, a->n_scores);
		turn_end(&a->turn,
			&(struct score){.known = true,
				.value = value,
				.reason = "scored",
				.detail = describe(a, NULL)});
	}
}

static void finish_soon(void *ctx)
{
	finish(ctx);
}

static void refuse(struct asking *a, const char *reason, const char *detail)
{
	a->reason = reason;
	a->detail = arena_strdup(&a->turn.arena, detail);
	loop_after(a->state->run->loop, 0, finish_soon, a);
}

/* --- prompts --- */

/* The first n steps with their marks. Those of a text for a tag stand on lines of their own. */
static struct slice join_steps(struct asking *a, size_t n)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		str_append_z(&text, i && a->state->config->api == API_TAG ? "\n" : "");
		str_append(&text, a->steps[i].data, a->steps[i].len);
		str_append_z(&text, a->state->mark);
	}
	struct slice joined = {arena_memdup0(&a->turn.arena, text.data, text.len), text.len};
	str_release(&text);
	return joined;
}

/* With what stands for {{candidate}}; marks of the model in it are ours, those in the row's fields are not. */
static const char *render(struct asking *a, struct slice text, struct error *err)
{
	struct ask_fields fields = ask_fields(
		a->turn.job->candidate, a->state->engine, a->marks, &a->turn.arena);
	fields.text = text;
	fields.text_is_ours = true;
	return ask_render(a->state->template, &fields, &a->messages, &a->n_messages, err);
}

/* --- by logprobs --- */

static void ask_step(struct asking *a);

static void on_step(struct ask *ask, const struct engine_candidate *answer)
{
	struct asking *a = ask->owner;
	const struct steps_config *c = a->state->config;
	if (answer->reason != ENGINE_OK) {
		a->cancelled = answer->reason == ENGINE_CANCELLED;
		a->reason = ask_reason(answer->reason);
		a->detail = arena_strdup(&a->turn.arena, ask_detail(answer));
		finish(a);
		return;
	}
	struct verdict v = verdict_read(answer->top, answer->n_top, &c->yes, &c->no, c->rest_max);
	if (!v.known) {
		a->reason = v.reason;
		a->detail = describe(a, &v);
		finish(a);
		return;
	}
	a->scores[a->n_scores++] = v.p;
	if (a->n_scores == a->n) {
		finish(a);
	} else {
		ask_step(a);
	}
}

/* The beginning of the conversation up to the step, or the text up to its tag. */
static bool begin_step(struct asking *a)
{
	struct error err = {0};
	const char *reason = NULL;
	if (a->state->config->api == API_LOGPROBS) {
		a->ask.messages = a->messages;
		a->ask.n_messages = a->n_messages + 2 * a->n_scores;
		return true;
	}
	reason = render(a, join_steps(a, a->n_scores + 1), &err);
	a->ask.messages = a->messages;
	a->ask.n_messages = a->n_messages;
	a->ask.raw = true;
	if (reason) {
		refuse(a, reason, err.msg);
	}
	return !reason;
}

static void ask_step(struct asking *a)
{
	a->ask = (struct ask){
		.owner = a,
		.engine = a->state->engine,
		.job = a->turn.job,
		.arena = &a->turn.arena,
		.sampling = &a->state->sampling,
		.n = 1,
		.top_logprobs = TOP_LOGPROBS,
		.affinity = ask_affinity(a->turn.job->candidate->group),
		.answered = on_step,
	};
	if (begin_step(a)) {
		ask_start(&a->ask);
	}
}

/* Behind the first step's messages: "+", the second step, "+", the third ... */
static void add_turns(struct asking *a)
{
	size_t n = a->n_messages;
	struct engine_message *all = arena_alloc_array(
		&a->turn.arena, n + 2 * (a->n - 1), sizeof(*all));
	memcpy(all, a->messages, n * sizeof(*all));
	for (size_t i = 1; i < a->n; i++) {
		all[n++] = (struct engine_message){
			"assistant", slice_z(a->state->config->yes.items[0])};
		all[n++] = (struct engine_message){"user", a->steps[i]};
	}
	a->messages = all;
}

/* --- by pooling --- */

static void count_mismatch(struct asking *a, const struct engine_scores *scores)
{
	a->reason = "count_mismatch";
	a->detail = arena_printf(&a->turn.arena,
		"the server gave %zu scores for %zu steps; is '%s' the mark of its model?",
		scores->n_rows, a->n, a->state->mark);
}

static void read_pairs(struct asking *a, const struct engine_scores *scores)
{
	if (scores->n_rows != a->n) {
		count_mismatch(a, scores);
		return;
	}
	for (size_t i = 0; i < a->n; i++) {
		const double *pair = scores->values + i * scores->n_columns;
		if (scores->n_columns != 2 || pair[0] < 0 || pair[1] < 0 ||
			fabs(pair[0] + pair[1] - 1) > SUM_TOLERANCE) {
			a->reason = "bad_scores";
			a->detail = arena_printf(&a->turn.arena,
				"the %zu numbers for step %zu are not the probabilities of wrong "
				"and right",
				scores->n_columns, i + 1);
			return;
		}
		a->scores[a->n_scores++] = fmin(pair[1], 1);
	}
}

static void on_scores(void *ctx, const struct engine_scores *scores)
{
	struct asking *a = ctx;
	a->cancelled = scores->reason == ENGINE_CANCELLED;
	a->turn.job->n_tokens += scores->n_tokens;
	if (scores->reason == ENGINE_OK) {
		read_pairs(a, scores);
	} else {
		struct score failure = ask_scoring_failure(scores);
		a->reason = failure.reason;
		a->detail = arena_strdup(&a->turn.arena, failure.detail);
	}
	finish(a);
}

static void ask_scores(struct asking *a)
{
	a->score_job = (struct engine_score_job){
		.api = scoring_find("pooling"),
		.messages = a->messages,
		.n_messages = a->n_messages,
		.steps = true,
		.affinity = ask_affinity(a->turn.job->candidate->group),
	};
	a->turn.job->request = engine_score(a->state->engine, &a->score_job, on_scores, a);
}

/* --- a candidate --- */

/* NULL, or with err why the chain cannot be asked about. */
static const char *find_steps(struct asking *a, struct error *err)
{
	const struct steps_config *c = a->state->config;
	struct ask_fields fields = ask_fields(
		a->turn.job->candidate, a->state->engine, a->marks, &a->turn.arena);
	a->steps = arena_alloc_array(&a->turn.arena, c->steps_max, sizeof(*a->steps));
	a->scores = arena_alloc_array(&a->turn.arena, c->steps_max, sizeof(*a->scores));
	a->n = steps_split(fields.text, c->split, a->steps, c->steps_max);
	if (!a->n) {
		error_set(err, FAIL_DATA, "the candidate has no step");
		return "no_steps";
	}
	if (a->n > c->steps_max) {
		error_set(err, FAIL_DATA, "the candidate has more than %u steps", c->steps_max);
		return "too_many_steps";
	}
	if (fields.marks && ask_marks_in(fields.marks, fields.text)) {
		error_set(err, FAIL_DATA, "the candidate holds one of the model's own marks");
		return "special";
	}
	return NULL;
}

static void start(struct turn *turn)
{
	struct asking *a = (struct asking *)turn;
	struct error err = {0};
	enum api api = (enum api)a->state->config->api;
	/* A mark of ours in the text would be taken for the end of a step. */
	a->marks = api == API_LOGPROBS ? NULL : &a->state->marks;
	const char *reason = find_steps(a, &err);
	if (!reason && api != API_TAG) {
		reason = render(a, api == API_POOLING ? join_steps(a, a->n) : a->steps[0], &err);
	}
	if (reason) {
		refuse(a, reason, err.msg);
	} else if (api == API_POOLING) {
		ask_scores(a);
	} else {
		if (api == API_LOGPROBS) {
			add_turns(a);
		}
		ask_step(a);
	}
}

static void submit(void *state, struct verify_job *job)
{
	struct steps_state *s = state;
	struct asking *a = xcalloc(1, sizeof(*a));
	a->state = s;
	turns_enter(&s->turns, &a->turn, job, start);
}

const struct verifier_ops verify_steps = {
	.name = "steps",
	.summary = "what a process reward model gives the steps, made one number, 0 to 1",
	.version = 1,
	.params = params,
	.config_size = sizeof(struct steps_config),
	.state_size = sizeof(struct steps_state),
	.reasons = reasons,
	.failures = failures,
	.check = check,
	.open = open_steps,
	.submit = submit,
	.close = close_steps,
};
