/* The figures of a night, against what can be counted by hand. */
#include "figures.h"

#include "definition.h"
#include "fixture.h"
#include "ledger/ledger.h"
#include "registry.h"
#include "stages.h"
#include "verifiers/verifiers.h"

#include <math.h>
#include <string.h>

#define CANDIDATES 4096

static struct error err;
static struct ledger *ledger;
static struct figures f;

static void set_up(void)
{
	fixture_set_up();
	registry_set(all_stages, verifiers);
	AUTO_FREE char *path = fixture_path("ledger.db");
	ledger = ledger_open(path, LEDGER_CREATE, &err);
	ck_assert_msg(ledger, "%s", err.msg);
}

static void tear_down(void)
{
	ledger_close(ledger);
	fixture_tear_down();
}

static void add_prompt(int64_t id)
{
	AUTO_FREE char *hex = xasprintf("%032lld", (long long)id);
	ck_assert_ok(ledger_add_prompt(ledger,
			     &(struct ledger_prompt){.id = id,
				     .prompt_id = hex,
				     .source = "s",
				     .row_no = 1,
				     .fields = slice_z("{}")},
			     &err),
		err);
}

/* answer: of the math verifier; NULL: it told none. */
static void add(int64_t prompt, uint32_t idx, uint32_t wave, const char *state, const char *answer,
	const uint32_t *ids, size_t n_ids)
{
	int64_t id = prompt * CANDIDATES + idx;
	ck_assert_ok(ledger_add_candidate(ledger,
			     &(struct ledger_candidate){.id = id,
				     .prompt = prompt,
				     .idx = idx,
				     .wave = wave,
				     .state = state,
				     .reason = strcmp(state, "undecided") == 0 ? "null_columns"
									       : "accept",
				     .finish = "stop",
				     .n_tokens = (uint32_t)n_ids,
				     .token_source = "sampled",
				     .attempts = 1,
				     .text = slice_z("x"),
				     .ids = ids,
				     .n_ids = n_ids},
			     &err),
		err);
	if (answer) {
		AUTO_FREE char *detail = xasprintf("{\"pred\":\"%s\"}", answer);
		ck_assert_ok(ledger_add_score(ledger, id,
				     &(struct ledger_score){.verifier = "math",
					     .reason = "equal",
					     .detail = detail,
					     .known = true,
					     .value = strcmp(state, "accepted") == 0},
				     &err),
			err);
	}
}

static void read_figures(void)
{
	struct verifier_def math = {
		.name = (char *)(uintptr_t) "math", .ops = registry_verifier("math")};
	struct definition def = {.verifiers = &math, .n_verifiers = 1};
	ck_assert_ok(ledger_flush(ledger, &err), err);
	ck_assert_ok(figures_read(ledger, &def, &f, &err), err);
}

#define ck_assert_figure(figure, wanted) \
	ck_assert_double_eq_tol(f.values[FIGURE_##figure], wanted, 1e-12)

START_TEST(pass_at_k_is_that_of_the_binomials)
	{
		static const struct {
			uint32_t n, c, k;
			double wanted;
		} rows[] = {
			{4, 1, 1, 0.25}, {4, 0, 4, 0}, {4, 1, 4, 1}, {4, 2, 2, 1 - 1.0 / 6},
			{10, 3, 5, 1 - 21.0 / 252}, {1, 1, 1, 1}, {200, 1, 100, 0.5}, {4, 4, 1, 1},
			{4, 3, 2, 1}, /* one wrong: no two are */
		};
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			ck_assert_double_eq_tol(figures_pass_at(rows[i].n, rows[i].c, rows[i].k),
				rows[i].wanted, 1e-12);
		}
		/* No overflow where the binomials have thousands of digits. */
		double many = figures_pass_at(4096, 2048, 12);
		ck_assert(many > 0.9997 && many < 1);
	}
END_TEST

START_TEST(the_first_wave_alone_says_how_often_a_prompt_passes)
	{
		const uint32_t ids[] = {1, 2};
		/* Two of four; none of four, and one of a further wave, which it has for having none; one of three. */
		for (uint32_t i = 0; i < 4; i++) {
			if (i == 0) {
				add_prompt(1);
				add_prompt(2);
				add_prompt(3);
				add_prompt(4);
			}
			add(1, i, 0, i < 2 ? "accepted" : "rejected", NULL, ids, 2);
			add(2, i, 0, "rejected", NULL, ids, 2);
			add(3, i, 0,
				i == 0           ? "accepted"
					: i == 3 ? "undecided"
						 : "rejected",
				NULL, ids, 2);
		}
		add(2, 4, 1, "accepted", NULL, ids, 2);
		read_figures();
		ck_assert_figure(PROMPTS, 4);
		ck_assert_figure(CANDIDATES, 13);
		ck_assert_figure(UNDECIDED, 1);
		ck_assert_figure(ACCEPTANCE, 4.0 / 13);
		ck_assert_figure(K, 4);
		ck_assert_figure(PASS_PROMPTS, 2);
		ck_assert_figure(PASS_AT_1, (0.5 + 0 + 1.0 / 3) / 3);
		ck_assert_figure(PASS_AT_K, 0.5);
		ck_assert(isnan(f.values[FIGURE_VOTE_AT_K]));
		ck_assert_figure(ACCEPTED_PER_MTOK, 1e6 * 4 / 26);
	}
END_TEST

START_TEST(the_most_frequent_answer_is_held_against_the_accepted_ones)
	{
		const uint32_t ids[] = {1};
		static const struct {
			const char *answers[4], *states;
		} prompts[] = {
			{{"7", "7", "8", "9"}, "aarr"}, /* won */
			{{"7", "8", "8", "8"}, "arrr"}, /* lost */
			{{"7", "7", "8", "8"}, "aarr"}, /* half of a tie */
			{{"14/2", "7", "8", "9"},
				"aarr"}, /* right ones are equal however they are spelt */
			{{NULL, NULL, NULL, NULL}, "rrrr"}, /* nobody voted */
		};
		for (int64_t p = 0; p < (int64_t)ARRAY_LEN(prompts); p++) {
			add_prompt(p + 1);
			for (uint32_t i = 0; i < 4; i++) {
				add(p + 1, i, 0,
					prompts[p].states[i] == 'a' ? "accepted" : "rejected",
					prompts[p].answers[i], ids, 1);
			}
		}
		read_figures();
		ck_assert_figure(VOTE_AT_K, (1 + 0 + 0.5 + 1 + 0) / 5);
	}
END_TEST

START_TEST(lengths_and_diversity_are_counted)
	{
		const uint32_t a[] = {1, 1, 1, 1}, b[] = {1, 2, 3, 4},
			       long_one[] = {9, 9, 9, 9, 9, 9, 9, 9};
		add_prompt(1);
		add_prompt(2);
		add(1, 0, 0, "accepted", NULL, a, 4);
		add(1, 1, 0, "rejected", NULL, b, 4);
		add(1, 2, 0, "rejected", NULL, b, 4);
		add(1, 3, 1, "rejected", NULL, long_one,
			8); /* of a further wave: a length, nothing else */
		add(2, 0, 0, "accepted", NULL, b, 2); /* alone, so it says nothing of diversity */
		read_figures();
		ck_assert_figure(LENGTH_MEDIAN, 4);
		ck_assert_figure(LENGTH_P90, 8);
		ck_assert_figure(ACCEPTED_LENGTH_MEDIAN, 2);
		ck_assert_figure(ACCEPTED_LENGTH_P90, 4);
		ck_assert_figure(DISTINCT_1, 4.0 / 12);
		ck_assert_figure(DISTINCT_2, 4.0 / 9);
		ck_assert_figure(DISTINCT_3, 3.0 / 6);
		ck_assert_figure(DUPLICATE_SHARE, 1.0 / 3);
	}
END_TEST

START_TEST(a_night_of_many_prompts_is_sampled)
	{
		const uint32_t a[] = {1, 2}, b[] = {3, 3};
		ledger_set_commit_rows(ledger, 100000);
		for (int64_t p = 1; p <= 5000; p++) {
			add_prompt(p);
			add(p, 0, 0, "accepted", NULL, a, 2);
			add(p, 1, 0, "accepted", NULL, p % 2 ? a : b, 2);
		}
		read_figures();
		ck_assert_figure(PROMPTS, 5000);
		ck_assert_figure(PASS_AT_1, 1);
		ck_assert(f.values[FIGURE_DUPLICATE_SHARE] >= 0 &&
			f.values[FIGURE_DUPLICATE_SHARE] <= 0.5);
		ck_assert(
			f.values[FIGURE_DISTINCT_1] >= 0.5 && f.values[FIGURE_DISTINCT_1] <= 0.75);
	}
END_TEST

START_TEST(of_nothing_nothing_is_said)
	{
		read_figures();
		ck_assert_figure(PROMPTS, 0);
		ck_assert(isnan(f.values[FIGURE_ACCEPTANCE]) && isnan(f.values[FIGURE_K]) &&
			isnan(f.values[FIGURE_PASS_AT_1]) && isnan(f.values[FIGURE_LENGTH_P90]) &&
			isnan(f.values[FIGURE_DISTINCT_2]) &&
			isnan(f.values[FIGURE_DUPLICATE_SHARE]));
	}
END_TEST

START_TEST(figures_come_back_from_a_summary)
	{
		struct figures back;
		struct str text;
		str_init(&text, STR_NO_CAP);
		struct json_writer w = {.out = &text};
		read_figures();
		f.values[FIGURE_ACCEPTANCE] = 0.1;
		f.values[FIGURE_TOKENS] = 123456789012;
		str_append_z(&text, "{\"figures\":");
		figures_put(&w, &f);
		str_append_c(&text, '}');
		AUTO_JSON struct json *json = json_parse(text.data, text.len, &err);
		ck_assert_msg(json, "%s", err.msg);
		figures_of_summary(json, &back);
		for (size_t i = 0; i < FIGURE_N; i++) {
			ck_assert(isnan(f.values[i]) ? isnan(back.values[i])
						     : f.values[i] == back.values[i]);
		}
		str_release(&text);
		static const char old[] = "{\"prompts\":2,\"candidates\":8,\"accepted\":2,"
					  "\"tokens_generated\":100,\"generate_ms\":500}";
		AUTO_JSON struct json *before = json_parse(old, strlen(old), &err);
		figures_of_summary(before, &f);
		ck_assert_figure(ACCEPTANCE, 0.25);
		ck_assert_figure(TOKENS_PER_S, 200);
		ck_assert(isnan(f.values[FIGURE_PASS_AT_1]));
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("figures");
	TCase *t = tcase_create("figures");
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, pass_at_k_is_that_of_the_binomials);
	tcase_add_test(t, the_first_wave_alone_says_how_often_a_prompt_passes);
	tcase_add_test(t, the_most_frequent_answer_is_held_against_the_accepted_ones);
	tcase_add_test(t, lengths_and_diversity_are_counted);
	tcase_add_test(t, a_night_of_many_prompts_is_sampled);
	tcase_add_test(t, of_nothing_nothing_is_said);
	tcase_add_test(t, figures_come_back_from_a_summary);
	suite_add_tcase(s, t);
	return run_suite(s);
}
