/* The rows of the table of verifiers that need no engine: what their numbers, reasons and mistakes are. */
#include "verifiers/verifiers.h"

#include "base/mem.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A verifier set up from a YAML map, with the candidate it is asked about. */
struct bench {
	const struct verifier_ops *ops;
	struct tree tree;
	struct error_list errors;
	void *config, *state;
	struct group group;
	struct candidate candidate;
	struct json *fields; /* owns */
	void *prepared;
	struct score score;
};

static void setup(struct bench *b, const struct verifier_ops *ops, const char *yaml)
{
	struct error err = {0};
	*b = (struct bench){.ops = ops};
	ck_assert_msg(tree_parse(&b->tree, "t.yaml", yaml, strlen(yaml), &err), "%s", err.msg);
	b->config = xcalloc(1, ops->config_size + 1);
	b->state = xcalloc(1, ops->state_size + 1);
	param_read(ops->params, &b->tree, b->tree.root, b->tree.root, ops->name, b->config,
		&b->errors);
	if (ops->check) {
		ops->check(b->config, &b->tree, b->tree.root, &b->errors);
	}
	b->candidate.group = &b->group;
}

static void start(struct bench *b, const struct verifier_ops *ops, const char *yaml)
{
	struct error err = {0};
	setup(b, ops, yaml);
	ck_assert_msg(b->errors.n == 0, "%s", b->errors.n ? b->errors.items[0].msg : "");
	ck_assert(!ops->open || ops->open(b->state, b->config, NULL, &err));
}

static void stop(struct bench *b)
{
	if (b->ops->close) {
		b->ops->close(b->state);
	}
	param_release(b->ops->params, b->config);
	free(b->config);
	free(b->state);
	tree_release(&b->tree);
	error_list_release(&b->errors);
	json_free(b->fields);
	arena_release(&b->group.arena);
}

static bool is_reason(const struct verifier_ops *ops, const char *word)
{
	for (const char *const *r = ops->reasons; *r; r++) {
		if (strcmp(*r, word) == 0) {
			return true;
		}
	}
	return false;
}

static const struct score *ask(struct bench *b, const char *text)
{
	b->candidate.text = slice_z(text);
	b->ops->score(b->state, &b->candidate, b->prepared, &b->group.arena, &b->score);
	ck_assert_msg(is_reason(b->ops, b->score.reason), "reason '%s'", b->score.reason);
	ck_assert(!b->score.known || isfinite(b->score.value));
	return &b->score;
}

static bool prepare(struct bench *b, const char *row, const char **out_reason)
{
	struct error err = {0};
	b->fields = json_parse(row, strlen(row), &err);
	ck_assert_ptr_nonnull(b->fields);
	b->group.prompt.fields = b->fields;
	return b->ops->prepare(
		b->state, &b->group.prompt, &b->group.arena, &b->prepared, out_reason);
}

static void finds(const struct score *s, double value, const char *reason)
{
	ck_assert_msg(s->known, "null, %s", s->reason);
	ck_assert_double_eq_tol(s->value, value, 1e-12);
	ck_assert_str_eq(s->reason, reason);
}

static void cannot_tell(const struct score *s, const char *reason)
{
	ck_assert(!s->known);
	ck_assert_str_eq(s->reason, reason);
}

START_TEST(rows_are_well_formed)
	{
		size_t n = 0;
		for (; verifiers[n]; n++) {
			const struct verifier_ops *ops = verifiers[n];
			ck_assert(ops->name && ops->summary && ops->reasons && ops->version > 0);
			ck_assert_int_eq((ops->score != NULL) + (ops->submit != NULL) +
					(ops->score_group != NULL),
				1);
			param_assert(ops->params, ops->config_size);
			for (size_t i = 0; i < n; i++) {
				ck_assert_str_ne(verifiers[i]->name, ops->name);
			}
		}
		ck_assert_uint_ge(n, 4);
	}
END_TEST

/* --- math --- */

START_TEST(math_scores_one_zero_or_null)
	{
		struct bench b;
		const char *reason = NULL;
		start(&b, &verify_math, "{gold: answer}");
		ck_assert(prepare(&b, "{\"answer\": \"She has 9 + 9.\\n#### 18\"}", &reason));
		finds(ask(&b, "so \\boxed{18}"), 1, "equal");
		finds(ask(&b, "so \\boxed{19}"), 0, "different");
		finds(ask(&b, "I do not know.\nSorry."), 0, "no_answer");
		finds(ask(&b, ""), 0, "no_answer");
		finds(ask(&b, "= 18, so \\boxed{1"), 0, "no_answer");
		finds(ask(&b, "so \\boxed{x+1}"), 0, "different");
		cannot_tell(ask(&b, "so \\boxed{eighteen}"), "pred_unparsed");
		stop(&b);
	}
END_TEST

START_TEST(math_tells_what_it_saw)
	{
		struct bench b;
		const char *reason = NULL;
		struct error err = {0};
		start(&b, &verify_math, "{gold: answer}");
		ck_assert(prepare(&b, "{\"answer\": \"3/4\"}", &reason));
		const struct score *s = ask(&b, "The answer is $0.75$, \"sir\".");
		AUTO_JSON struct json *detail = json_parse(s->detail, strlen(s->detail), &err);
		ck_assert_str_eq(json_z(json_get(detail, "gold")), "3/4");
		ck_assert_str_eq(json_z(json_get(detail, "pred")), "0.75");
		ck_assert_str_eq(json_z(json_get(detail, "rule")), "answer");
		ck_assert_str_eq(json_z(json_get(detail, "method")), "rational");
		stop(&b);
	}
END_TEST

START_TEST(math_knows_two_spellings_of_algebra)
	{
		struct bench b;
		const char *reason = NULL;
		start(&b, &verify_math, "{gold: answer}");
		ck_assert(prepare(&b, "{\"answer\": \"x+1\"}", &reason));
		finds(ask(&b, "\\boxed{x + 1}"), 1, "equal");
		finds(ask(&b, "\\boxed{1+x}"), 1, "equal");
		cannot_tell(ask(&b, "\\boxed{x + + }"), "undecided");
		stop(&b);
	}
END_TEST

START_TEST(math_strict_wants_a_box)
	{
		struct bench b;
		const char *reason = NULL;
		start(&b, &verify_math, "{gold: answer, rules: strict}");
		ck_assert(prepare(&b, "{\"answer\": 18}", &reason));
		finds(ask(&b, "The answer is 18"), 0, "no_answer");
		finds(ask(&b, "#### 18"), 1, "equal");
		stop(&b);
	}
END_TEST

START_TEST(math_takes_numbers_of_the_row)
	{
		struct bench b;
		const char *reason = NULL;
		start(&b, &verify_math, "{gold: answer}");
		ck_assert(prepare(&b, "{\"answer\": 0.5}", &reason));
		finds(ask(&b, "\\boxed{\\frac12}"), 1, "equal");
		stop(&b);
	}
END_TEST

START_TEST(math_skips_prompts_without_a_readable_gold)
	{
		static const char *const rows[] = {"{}", "{\"answer\": \"\"}", "{\"answer\": null}",
			"{\"answer\": [1]}", "{\"answer\": \" $$ \"}"};
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			struct bench b;
			const char *reason = NULL;
			start(&b, &verify_math, "{gold: answer}");
			ck_assert_msg(!prepare(&b, rows[i], &reason), "%s", rows[i]);
			ck_assert_str_eq(reason, "gold_unparsed");
			stop(&b);
		}
	}
END_TEST

/* --- Mistakes of the definition --- */

static const struct {
	const struct verifier_ops *ops;
	const char *yaml, *says;
} mistakes[] = {
	{&verify_math, "{}", "gold"},
	{&verify_math, "{gold: a, rules: stirct}", "strict"},
	{&verify_regex, "{}", "pattern"},
	{&verify_regex, "{pattern: '('}", "parenthes"},
	{&verify_regex, "{pattern: a, flags: q}", "flags"},
	{&verify_length, "{unit: lines}", "lines"},
	{&verify_repetition, "{n: 0}", "n"},
};

START_TEST(mistakes_are_found_before_the_run)
	{
		struct bench b;
		setup(&b, mistakes[_i].ops, mistakes[_i].yaml);
		ck_assert_uint_eq(b.errors.n, 1);
		const struct error *err = &b.errors.items[0];
		ck_assert_int_eq(err->kind, FAIL_CONFIG);
		ck_assert_msg(strstr(err->where, "t.yaml:1:"), "where '%s'", err->where);
		ck_assert_msg(
			strstr(err->msg, mistakes[_i].says) || strstr(err->hint, mistakes[_i].says),
			"says '%s', hints '%s'", err->msg, err->hint);
		stop(&b);
	}
END_TEST

/* --- regex --- */

static const struct {
	const char *yaml, *text;
	double value;
	const char *reason;
} regexes[] = {
	{"{pattern: 'a+b'}", "xaab", 1, "match"},
	{"{pattern: 'a+b'}", "xAAB", 0, "no_match"},
	{"{pattern: 'a+b', flags: i}", "xAAB", 1, "match"},
	{"{pattern: 'a+b', match: false}", "xaab", 0, "match"},
	{"{pattern: 'a+b', match: false}", "x", 1, "no_match"},
	{"{pattern: '^b$'}", "a\nb\nc", 0, "no_match"},
	{"{pattern: '^b$', flags: m}", "a\nb\nc", 1, "match"},
	{"{pattern: 'a.b'}", "a\nb", 0, "no_match"},
	{"{pattern: 'a.b', flags: s}", "a\nb", 1, "match"},
	{"{pattern: 'a b', flags: xi}", "AB", 1, "match"},
	{"{pattern: '^$'}", "", 1, "match"},
	{"{pattern: 'x', field: answer}", "<think>x</think>y", 0, "no_match"},
	{"{pattern: 'y', field: answer}", "<think>x</think>y", 1, "match"},
	{"{pattern: 'x', field: answer}", "x", 1, "match"},
	{"{pattern: 'x', field: reasoning}", "<think>x</think>y", 1, "match"},
	{"{pattern: 'y', field: reasoning}", "<think>x</think>y", 0, "no_match"},
	{"{pattern: 'y', field: reasoning}", "y", 0, "no_match"},
};

START_TEST(regex_searches)
	{
		struct bench b;
		start(&b, &verify_regex, regexes[_i].yaml);
		finds(ask(&b, regexes[_i].text), regexes[_i].value, regexes[_i].reason);
		stop(&b);
	}
END_TEST

START_TEST(regex_that_runs_away_cannot_tell)
	{
		struct bench b;
		char text[60];
		memset(text, 'a', sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		start(&b, &verify_regex, "{pattern: '(a+)+(a+)+(a+)+[b-c]$'}");
		cannot_tell(ask(&b, text), "limit");
		stop(&b);
	}
END_TEST

/* --- length --- */

START_TEST(length_counts_what_it_is_told_to)
	{
		static const char text[] = "one tw\xc3\xb6  three\n\xe2\x9c\x93\xff";
		struct bench b;
		start(&b, &verify_length, "{}");
		b.candidate.n_tokens = 17;
		finds(ask(&b, text), 17, "measured");
		stop(&b);
		start(&b, &verify_length, "{unit: chars}");
		finds(ask(&b, text), 17, "measured");
		finds(ask(&b, ""), 0, "measured");
		stop(&b);
		start(&b, &verify_length, "{unit: words}");
		finds(ask(&b, text), 4, "measured");
		finds(ask(&b, " \t\n"), 0, "measured");
		stop(&b);
	}
END_TEST

/* --- repetition --- */

START_TEST(repetition_is_the_share_of_runs_seen_before)
	{
		static const uint32_t ids[] = {1, 2, 3, 1, 2, 3, 1};
		struct bench b;
		start(&b, &verify_repetition, "{n: 2}");
		b.candidate.ids = ids;
		b.candidate.n_ids = ARRAY_LEN(ids);
		/* 12 23 31 12 23 31: three of six. */
		finds(ask(&b, "ignored"), 0.5, "measured");
		b.candidate.n_ids = 4;
		finds(ask(&b, "ignored"), 0, "measured");
		b.candidate.n_ids = 2;
		finds(ask(&b, "ignored"), 0, "too_short");
		b.candidate.n_ids = 0;
		finds(ask(&b, "ignored"), 0, "too_short");
		stop(&b);
	}
END_TEST

START_TEST(repetition_of_a_loop_is_near_one)
	{
		static uint32_t ids[5000];
		struct bench b;
		start(&b, &verify_repetition, "{}");
		for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
			ids[i] = (uint32_t)(i % 3);
		}
		b.candidate.ids = ids;
		b.candidate.n_ids = ARRAY_LEN(ids);
		ck_assert_double_gt(ask(&b, "")->value, 0.99);
		for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
			ids[i] = (uint32_t)i;
		}
		finds(ask(&b, ""), 0, "measured");
		stop(&b);
	}
END_TEST

START_TEST(repetition_counts_words_without_ids)
	{
		struct bench b;
		start(&b, &verify_repetition, "{n: 2}");
		finds(ask(&b, "a b  a\nb a"), 0.5, "measured");
		finds(ask(&b, "a"), 0, "too_short");
		finds(ask(&b, ""), 0, "too_short");
		stop(&b);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("verify");
	TCase *tc = tcase_create("verify");
	tcase_add_test(tc, rows_are_well_formed);
	tcase_add_test(tc, math_scores_one_zero_or_null);
	tcase_add_test(tc, math_tells_what_it_saw);
	tcase_add_test(tc, math_knows_two_spellings_of_algebra);
	tcase_add_test(tc, math_strict_wants_a_box);
	tcase_add_test(tc, math_takes_numbers_of_the_row);
	tcase_add_test(tc, math_skips_prompts_without_a_readable_gold);
	tcase_add_loop_test(tc, mistakes_are_found_before_the_run, 0, (int)ARRAY_LEN(mistakes));
	tcase_add_loop_test(tc, regex_searches, 0, (int)ARRAY_LEN(regexes));
	tcase_add_test(tc, regex_that_runs_away_cannot_tell);
	tcase_add_test(tc, length_counts_what_it_is_told_to);
	tcase_add_test(tc, repetition_is_the_share_of_runs_seen_before);
	tcase_add_test(tc, repetition_of_a_loop_is_near_one);
	tcase_add_test(tc, repetition_counts_words_without_ids);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
