/*
 * Generative verifier: a model is asked whether the solution is correct, and the score is P(yes), read off the log-probabilities
 * of the first token of its answer (verify_ask.h). Nothing is sampled that matters, so one token per candidate is all it costs.
 *
 * With `rationale: N` the model first writes N checks of the solution, each is put back as its own turn, and the verdict is
 * asked behind each; the score is the mean. One template says both: what stands before the message with {{rationale}} is the prompt of
 * the check, and the whole of it the prompt of the verdict. So the two share their beginning, and the server its cache.
 *
 * A prompt that does not work with the model (neither word is listed, or more than half of the mass is on others) gives null
 * and says so. Of N verdicts at least half must be known.
 */
#include "verifiers.h"

#include "base/json.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "run.h"
#include "template.h"
#include "verifier.h"
#include "verifiers/verify_ask.h"

#include <stdlib.h>
#include <string.h>

#define TOP_LOGPROBS 20 /* what vLLM and OpenAI give at most by default */

struct judge_config {
	char *engine, *template;
	struct param_strings yes, no;
	double rest_max, temperature;
	uint32_t rationale, rationale_tokens;
};

static const struct param params[] = {
	PARAM_REF("engine", struct judge_config, engine, .ref = "engine", .required = true,
		.help = "engine that judges"),
	PARAM_PATH("template", struct judge_config, template, .ref = "template", .required = true,
		.must_exist = true,
		.help = "prompt; {{candidate}} is the text to judge, {{rationale}} its check"),
	PARAM_STRINGS("yes", struct judge_config, yes, .def = "[\"yes\"]", .min = 1, .max = 32,
		.help = "words that say yes; case and leading space do not matter"),
	PARAM_STRINGS("no", struct judge_config, no, .def = "[\"no\"]", .min = 1, .max = 32,
		.help = "words that say no"),
	PARAM_DOUBLE("rest_max", struct judge_config, rest_max, .def = "0.5", .min = 0, .max = 1,
		.help = "mass on other words above which the verdict is null"),
	PARAM_U32("rationale", struct judge_config, rationale, .def = "0", .min = 0, .max = 64,
		.help = "checks that are written before the verdict, which is the mean over them"),
	PARAM_U32("rationale_tokens", struct judge_config, rationale_tokens, .def = "512", .min = 1,
		.max = 1 << 20, .help = "limit of one check"),
	PARAM_DOUBLE("temperature", struct judge_config, temperature, .def = "0.7", .min = 0,
		.max = 5, .help = "at which checks are written"),
	{0},
};

static const char *const reasons[] = {"verdict", "no_verdict", "rest_mass", "no_logprobs",
	"special", "prompt", "prompt_too_long", "engine", NULL};
static const char *const failures[] = {"engine", "no_logprobs", NULL};

struct judge_state {
	const struct judge_config *config;
	struct run *run;
	struct engine *engine;
	struct template *template; /* owns */
	size_t n_before; /* messages before that with {{rationale}} */
	struct engine_sampling verdict, rationale;
	struct turns turns;
};

struct asking {
	struct turn turn; /* first */
	struct judge_state *state;
	struct ask ask;
	const char *hash; /* of the first prompt */
	bool cancelled;
	struct slice *rationales; /* n_rationales; data NULL: not written */
	size_t n_rationales, n_cut;
	size_t at; /* the next to ask behind */
	struct verdict *verdicts; /* n_verdicts */
	size_t n_verdicts;
	/* Of the last that failed. */
	const char *reason, *detail;
};

/* --- the template --- */

static struct slice anything(void *ctx, const char *field)
{
	return strcmp(field, "rationale") == 0 ? slice_z(ctx) : slice_z("");
}

/* The place of the first message that uses {{rationale}}: where two renderings begin to differ. SIZE_MAX: none does. */
static size_t find_rationale(const struct template *t)
{
	static char one[] = "x", two[] = "xx";
	struct engine_message *a, *b;
	struct arena arena = {0};
	struct error err = {0};
	size_t n, at = 0;
	/* Every field has a value here, so that rendering cannot fail. */
	if (!template_render(t, anything, one, &arena, &a, &n, &err) ||
		!template_render(t, anything, two, &arena, &b, &n, &err)) {
		n = 0;
	}
	while (at < n && a[at].content.len == b[at].content.len) {
		at++;
	}
	arena_release(&arena);
	return at < n ? at : SIZE_MAX;
}

static void check_rationale(const struct judge_config *c, const struct tree *tree,
	const struct node *node, struct error_list *errors)
{
	struct error err = {0};
	struct template *t = template_read(c->template, &err);
	if (!t) {
		return; /* told where templates are checked */
	}
	size_t at = find_rationale(t);
	const struct node *place = node_get(node, c->rationale ? "rationale" : "template");
	if (c->rationale && (at == SIZE_MAX || at == 0)) {
		node_error(&err, tree, place ? place : node,
			"a rationale needs a template with {{rationale}} in a message after the "
			"first, which '%s' has not",
			c->template);
		error_hint(&err, "prompts/judge-rationale.yaml is one");
		error_list_add(errors, &err);
	} else if (!c->rationale && at != SIZE_MAX) {
		node_error(&err, tree, place ? place : node,
			"template '%s' uses {{rationale}}, but 'rationale' is 0", c->template);
		error_list_add(errors, &err);
	}
	template_free(t);
}

static void check(const void *config, const struct tree *tree, const struct node *node,
	struct error_list *errors)
{
	const struct judge_config *c = config;
	verdict_check(&c->yes, &c->no, tree, node, errors);
	if (c->template) {
		check_rationale(c, tree, node, errors);
	}
}

/* --- life --- */

static bool open_judge(void *state, const void *config, struct run *run, struct error *err)
{
	struct judge_state *s = state;
	const struct judge_config *c = config;
	s->config = c;
	s->run = run;
	s->engine = run_engine(run, c->engine);
	turns_init(&s->turns, s->engine);
	/* Greedy: what SGLang scales its logprobs by is 1 then, and nobody else scales them. */
	s->verdict = (struct engine_sampling){
		.temperature = 0, .top_p = 1, .repeat_penalty = 1, .max_tokens = 1};
	s->rationale = (struct engine_sampling){.temperature = c->temperature,
		.top_p = 1,
		.repeat_penalty = 1,
		.max_tokens = c->rationale_tokens};
	if (!engine_info(s->engine)->has_logprobs) {
		return error_set(err, FAIL_REMOTE,
			"engine '%s' gives no logprobs, which a judge needs", c->engine);
	}
	s->template = template_read(c->template, err);
	if (s->template) {
		s->n_before = find_rationale(s->template);
	}
	return s->template != NULL;
}

static void close_judge(void *state)
{
	template_free(((struct judge_state *)state)->template);
}

/* --- the end --- */

static void put_known(struct json_writer *w, const struct verdict *v)
{
	if (v->known) {
		json_put_num(w, v->p);
	} else {
		json_put_null(w);
	}
}

/* {"yes":..,"no":..,"rest":..,"bounded":true,"p":[..],"cut":1,"prompt":".."}; the masses are means over the verdicts. */
static const char *describe(struct asking *a)
{
	struct str text;
	double yes = 0, no = 0, rest = 0, n = (double)a->n_verdicts;
	bool bounded = false;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	for (size_t i = 0; i < a->n_verdicts; i++) {
		yes += a->verdicts[i].yes / n;
		no += a->verdicts[i].no / n;
		rest += a->verdicts[i].rest / n;
		bounded |= a->verdicts[i].bounded;
	}
	str_printf(&text, "{\"yes\":%.6f,\"no\":%.6f,\"rest\":%.6f%s", yes, no, rest,
		bounded ? ",\"bounded\":true" : "");
	if (a->state->config->rationale) {
		str_append_z(&text, ",\"p\":");
		json_begin_array(&w);
		for (size_t i = 0; i < a->n_verdicts; i++) {
			put_known(&w, &a->verdicts[i]);
		}
		json_end_array(&w);
		str_printf(&text, ",\"cut\":%zu", a->n_cut);
	}
	str_printf(&text, ",\"prompt\":\"%s\"}", a->hash);
	const char *detail = arena_memdup0(&a->turn.arena, text.data, text.len);
	str_release(&text);
	return detail;
}

static struct score make_score(struct asking *a)
{
	const struct judge_config *c = a->state->config;
	double sum = 0;
	size_t n_known = 0, n_wanted = MAX(c->rationale, 1);
	for (size_t i = 0; i < a->n_verdicts; i++) {
		const struct verdict *v = &a->verdicts[i];
		n_known += v->known;
		sum += v->known ? v->p : 0;
		if (!v->known && !a->reason) {
			a->reason = v->reason;
		}
	}
	if (n_known && 2 * n_known >= n_wanted) {
		return (struct score){.known = true,
			.value = sum / (double)n_known,
			.reason = "verdict",
			.detail = describe(a)};
	}
	return (struct score){.reason = a->reason, .detail = a->detail ? a->detail : describe(a)};
}

static void finish(struct asking *a)
{
	if (a->cancelled) {
		turn_end(&a->turn, NULL);
	} else {
		struct score score = make_score(a);
		turn_end(&a->turn, &score);
	}
}

static void fail(struct asking *a, const char *reason, const char *detail)
{
	a->reason = reason;
	a->detail = detail ? arena_strdup(&a->turn.arena, detail) : NULL;
}

/* An answer that is none: notes why. */
static bool has_failed(struct asking *a, const struct engine_candidate *answer)
{
	if (answer->reason == ENGINE_OK) {
		return false;
	}
	a->cancelled |= answer->reason == ENGINE_CANCELLED;
	fail(a, ask_reason(answer->reason), ask_detail(answer));
	return true;
}

/* --- questions --- */

static void finish_soon(void *ctx)
{
	finish(ctx);
}

/* False: the template cannot be filled with this row or text, and the end is on its way. */
static bool render(struct asking *a, struct slice rationale, size_t n_before)
{
	struct engine_message *messages;
	size_t n;
	struct error err = {0};
	struct ask_fields fields = ask_fields(
		a->turn.job->candidate, a->state->engine, NULL, &a->turn.arena);
	fields.rationale = rationale;
	const char *reason = ask_render(a->state->template, &fields, &messages, &n, &err);
	if (reason) {
		fail(a, reason, err.msg);
		loop_after(a->state->run->loop, 0, finish_soon, a);
		return false;
	}
	a->ask.messages = messages;
	a->ask.n_messages = MIN(n, n_before);
	if (!a->hash) {
		a->hash = ask_hash(messages, a->ask.n_messages, &a->turn.arena);
	}
	return true;
}

static void ask_verdict(struct asking *a);

static void on_verdict(struct ask *ask, const struct engine_candidate *answer)
{
	struct asking *a = ask->owner;
	const struct judge_config *c = a->state->config;
	if (!has_failed(a, answer)) {
		a->verdicts[a->n_verdicts++] = verdict_read(
			answer->top, answer->n_top, &c->yes, &c->no, c->rest_max);
	}
	ask_verdict(a);
}

/* Asks behind the next check that was written, until there is none. */
static void ask_verdict(struct asking *a)
{
	while (a->at < a->n_rationales && !a->rationales[a->at].data) {
		a->at++;
	}
	if (a->cancelled || a->at == a->n_rationales) {
		finish(a);
		return;
	}
	if (render(a, a->rationales[a->at++], SIZE_MAX)) {
		a->ask.sampling = &a->state->verdict;
		a->ask.n = 1;
		a->ask.top_logprobs = TOP_LOGPROBS;
		a->ask.answered = on_verdict;
		ask_start(&a->ask);
	}
}

static void on_rationale(struct ask *ask, const struct engine_candidate *answer)
{
	struct asking *a = ask->owner;
	if (!has_failed(a, answer)) {
		a->rationales[answer->i] = (struct slice){
			arena_memdup0(&a->turn.arena, answer->text.data, answer->text.len),
			answer->text.len};
		a->n_cut += answer->finish == FINISH_LENGTH || answer->finish == FINISH_CONTEXT;
	}
	if (!ask->left) {
		ask_verdict(a);
	}
}

static void start(struct turn *turn)
{
	struct asking *a = (struct asking *)turn;
	const struct candidate *candidate = a->turn.job->candidate;
	uint32_t n = a->state->config->rationale;
	a->n_rationales = MAX(n, 1);
	a->rationales = arena_alloc_array(&a->turn.arena, a->n_rationales, sizeof(*a->rationales));
	a->verdicts = arena_alloc_array(&a->turn.arena, a->n_rationales, sizeof(*a->verdicts));
	a->ask = (struct ask){.owner = a,
		.engine = a->state->engine,
		.job = a->turn.job,
		.arena = &a->turn.arena,
		.affinity = ask_affinity(candidate->group)};
	if (!n) {
		a->rationales[0] = slice_z("");
		ask_verdict(a);
	} else if (render(a, slice_z(""), a->state->n_before)) {
		a->ask.sampling = &a->state->rationale;
		a->ask.n = n;
		a->ask.seed = ask_seed(candidate);
		a->ask.answered = on_rationale;
		ask_start(&a->ask);
	}
}

static void submit(void *state, struct verify_job *job)
{
	struct judge_state *s = state;
	struct asking *a = xcalloc(1, sizeof(*a));
	a->state = s;
	turns_enter(&s->turns, &a->turn, job, start);
}

const struct verifier_ops verify_judge = {
	.name = "judge",
	.summary = "P(yes) of a model asked whether the candidate is correct, 0 to 1",
	.version = 2,
	.params = params,
	.config_size = sizeof(struct judge_config),
	.state_size = sizeof(struct judge_state),
	.reasons = reasons,
	.failures = failures,
	.check = check,
	.open = open_judge,
	.submit = submit,
	.close = close_judge,
};
