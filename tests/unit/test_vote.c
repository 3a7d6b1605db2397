/* Votes: classes of equal answers, shares, ties, weights, and the figures of a public set of model solutions. */
#include "base/json.h"
#include "base/lines.h"
#include "base/mem.h"
#include "definition.h"
#include "fixture.h"
#include "run.h"
#include "verifiers/verifiers.h"

#include <string.h>

#define N_MAX 600

/* A group of texts and the verifier that counts it; `weights` are the scores of a verifier named w. */
struct poll {
	struct tree tree;
	void *config, *state;
	struct verifier_def verifiers[2];
	struct definition def;
	struct run run;
	struct group group;
	const struct candidate *list[N_MAX];
	struct score out[N_MAX];
	size_t n;
};

static void start(struct poll *p, const char *yaml)
{
	struct error err = {0};
	struct error_list errors = {0};
	const struct verifier_ops *ops = &verify_vote;
	*p = (struct poll){0};
	p->config = xcalloc(1, ops->config_size);
	p->state = xcalloc(1, ops->state_size);
	p->verifiers[0].name = (char *)(uintptr_t) "other";
	p->verifiers[1].name = (char *)(uintptr_t) "w";
	p->def.verifiers = p->verifiers;
	p->def.n_verifiers = 2;
	p->run.def = &p->def;
	ck_assert(tree_parse(&p->tree, "t.yaml", yaml, strlen(yaml), &err));
	param_read(ops->params, &p->tree, p->tree.root, p->tree.root, "vote", p->config, &errors);
	ck_assert_uint_eq(errors.n, 0);
	ck_assert(ops->open(p->state, p->config, &p->run, &err));
}

/* weight below -1e9: null. */
static void add(struct poll *p, struct slice text, double weight)
{
	struct candidate *c = group_new_candidate(&p->group, 2, (uint32_t)p->n);
	c->group = &p->group;
	c->text = text;
	c->scores[1] = (struct score){.known = weight > -1e9, .value = weight, .reason = "x"};
	c->scored[1] = true;
	p->list[p->n++] = c;
}

static void count(struct poll *p)
{
	verify_vote.score_group(p->state, p->list, p->n, &p->group.arena, p->out);
}

static void stop(struct poll *p)
{
	param_release(verify_vote.params, p->config);
	free(p->config);
	free(p->state);
	tree_release(&p->tree);
	arena_release(&p->group.arena);
}

#define NULL_SCORE (-1.0)

static const struct {
	const char *yaml;
	struct {
		const char *text;
		double weight, score;
		const char *reason;
	} votes[5];
} polls[] = {
	{"{}",
		{{"\\boxed{1/2}", 1, 0.75, "winner"}, {"\\boxed{0.5}", 1, 0.75, "winner"},
			{"\\boxed{3}", 1, 0.25, "minority"},
			{"The answer is 50%", 1, 0.75, "winner"}}},
	{"{}", {{"\\boxed{1}", 1, 0.5, "tie"}, {"\\boxed{2}", 1, 0.5, "tie"}}},
	{"{}",
		{{"\\boxed{1}", 1, 0.25, "winner"}, {"No idea.\nSorry.", 1, 0, "no_answer"},
			{"", 1, 0, "no_answer"}, {"Hm.\nWell.", 1, 0, "no_answer"}}},
	{"{rules: strict}",
		{{"\\boxed{1}", 1, 0.5, "winner"}, {"The answer is 1", 1, 0, "no_answer"}}},
	{"{answer: choice}",
		{{"The answer is (B)", 1, 0.5, "winner"}, {"\\boxed{B}", 1, 0.5, "winner"},
			{"Answer: C", 1, 0.25, "minority"},
			{"A or B? The answer is A or B", 1, NULL_SCORE, "unreadable"}}},
	{"{weight: w}",
		{{"\\boxed{1}", 0.25, 0.25, "minority"}, {"\\boxed{1}", 0, 0.25, "minority"},
			{"\\boxed{2}", 0.75, 0.75, "winner"}, {"\\boxed{2}", -5, 0.75, "winner"},
			{"\\boxed{2}", -1e10, 0.75, "winner"}}},
	{"{weight: w}",
		{{"\\boxed{1}", 0, NULL_SCORE, "no_weight"},
			{"\\boxed{2}", -1e10, NULL_SCORE, "no_weight"}}},
	/* 0.1 + 0.2 and 0.3 are a tie. */
	{"{weight: w}",
		{{"\\boxed{1}", 0.1, 0.5, "tie"}, {"\\boxed{1}", 0.2, 0.5, "tie"},
			{"\\boxed{2}", 0.3, 0.5, "tie"}}},
	{"{}", {{"\\boxed{7}", 1, 1, "winner"}}},
};

START_TEST(shares_are_counted)
	{
		struct poll p;
		start(&p, polls[_i].yaml);
		for (size_t i = 0; i < 5 && polls[_i].votes[i].text; i++) {
			add(&p, slice_z(polls[_i].votes[i].text), polls[_i].votes[i].weight);
		}
		count(&p);
		for (size_t i = 0; i < p.n; i++) {
			const struct score *s = &p.out[i];
			ck_assert_str_eq(s->reason, polls[_i].votes[i].reason);
			ck_assert_double_eq_tol(
				s->known ? s->value : NULL_SCORE, polls[_i].votes[i].score, 1e-12);
		}
		stop(&p);
	}
END_TEST

/* More classes than are compared pairwise: equal answers still meet. */
START_TEST(many_answers_are_counted_fast)
	{
		struct poll p;
		char texts[N_MAX][24];
		start(&p, "{}");
		for (size_t i = 0; i < N_MAX; i++) {
			snprintf(
				texts[i], sizeof(texts[i]), "\\boxed{%zu}", 1000 + i % (N_MAX / 2));
			add(&p, slice_z(texts[i]), 1);
		}
		count(&p);
		for (size_t i = 0; i < N_MAX; i++) {
			ck_assert_str_eq(p.out[i].reason, "tie");
			ck_assert_double_eq_tol(p.out[i].value, 2.0 / N_MAX, 1e-12);
		}
		stop(&p);
	}
END_TEST

static char *shared_file(const char *name)
{
	const char *env = getenv("THRESH_SHARED");
	char *path = env ? file_join(env, name) : NULL;
	if (!path || !file_exists(path)) {
		printf("# %s is not there: skipped\n", name);
		free(path);
		return NULL;
	}
	return path;
}

struct figures {
	size_t n, right, any, voted;
};

/* Of the winners the first is taken, as select does: by order, then by place. */
static void count_problem(const struct json *row, struct figures *f)
{
	static const char *const models[] = {
		"6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"};
	struct poll p;
	bool right[4], any = false;
	size_t best = 0;
	start(&p, "{}");
	for (size_t i = 0; i < ARRAY_LEN(models); i++) {
		const struct json *m = json_get(row, models[i]);
		struct slice text;
		text.data = json_str(json_get(m, "solution"), &text.len);
		ck_assert(text.data && json_bool(json_get(m, "is_correct"), &right[i]));
		f->right += right[i];
		any = any || right[i];
		add(&p, text, 1);
	}
	count(&p);
	for (size_t i = 1; i < p.n; i++) {
		best = p.out[i].value > p.out[best].value ? i : best;
	}
	f->n++;
	f->any += any;
	f->voted += right[best];
	stop(&p);
}

START_TEST(reproduces_the_figures_of_gsm8k)
	{
		AUTO_FREE char *path = shared_file("data/gsm8k-k4-open.jsonl");
		struct error err = {0};
		struct lines in = {0};
		struct slice line;
		struct figures f = {0};
		if (!path) {
			return;
		}
		ck_assert(lines_open(&in, path, 1 << 20, &err));
		while (lines_next(&in, &line, &err) == LINES_LINE) {
			AUTO_JSON struct json *row = json_parse(line.data, line.len, &err);
			count_problem(row, &f);
		}
		lines_release(&in);
		printf("# gsm8k-k4-open: single %.2f %%, vote of 4 %.2f %%, any of 4 %.2f %%\n",
			25.0 * (double)f.right / (double)f.n, 100.0 * (double)f.voted / (double)f.n,
			100.0 * (double)f.any / (double)f.n);
		ck_assert_uint_eq(f.n, 400);
		ck_assert_double_eq_tol(25.0 * (double)f.right / 400, 38.4, 0.05);
		ck_assert_uint_eq(f.voted * 10000 / 400, 4475);
		ck_assert_uint_eq(f.any * 10000 / 400, 6575);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("vote");
	TCase *tc = tcase_create("vote");
	tcase_add_loop_test(tc, shares_are_counted, 0, (int)ARRAY_LEN(polls));
	tcase_add_test(tc, many_answers_are_counted_fast);
	tcase_add_test(tc, reproduces_the_figures_of_gsm8k);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
