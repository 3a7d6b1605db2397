/* Letters: where they are found, what is none, and what the verifier makes of them. */
#include "verifiers/choice_letter.h"

#include "base/mem.h"
#include "fixture.h"
#include "verifiers/verifiers.h"

#include <string.h>
#include <time.h>

static const struct {
	const char *text;
	char letter; /* 0: none */
	const char *rule; /* NULL: nothing that looks like an answer */
	bool hedged;
} cases[] = {
	{"so \\boxed{B}", 'B', "boxed", false},
	{"\\boxed{\\text{(c)}} is it", 'C', "boxed", false},
	{"\\boxed{\\textbf{D}}", 'D', "boxed", false},
	{"first \\boxed{A}, no: \\boxed{B}", 'B', "boxed", false},
	{"\\boxed{B) 42}", 'B', "boxed", false},
	{"\\boxed{A, C}", 'A', "boxed", true},
	{"\\boxed{42}", 0, "boxed", false},
	{"\\boxed{Area}", 0, "boxed", false},
	{"\\boxed{B} then \\boxed{C", 'B', "boxed", false},
	{"The answer is (B).", 'B', "answer", false},
	{"The answer is B", 'B', "answer", false},
	{"Answer: C\nThat is all.", 'C', "answer", false},
	{"**Answer:** D", 'D', "answer", false},
	{"Answer: **(B)** since", 'B', "answer", false},
	{"the correct option is C.", 'C', "answer", false},
	{"The answer is A. No, the answer is D.", 'D', "answer", false},
	{"The answer is A or B", 'A', "answer", true},
	{"The answer is B, C is too large.", 'B', "answer", false},
	{"The answer is B and C is wrong.", 'B', "answer", false},
	{"The answer is B, C or D.", 'B', "answer", true},
	{"The answer is A triangle", 0, NULL, false},
	{"The answer is a prime", 0, NULL, false},
	{"The answer isn't here", 0, NULL, false},
	{"The answer is I think unknown", 0, NULL, false},
	{"Hence (B) is correct, as shown.", 'B', "correct", false},
	{"so C is the right one here", 'C', "correct", false},
	{"VITAMIN C2B is correct here", 0, NULL, false},
	{"It must be **B** then", 'B', "bold", false},
	{"It must be **B) the cat** then", 'B', "bold", false},
	{"It **Because** then", 0, NULL, false},
	{"Let me think.\nB", 'B', "line", false},
	{"Let me think.\n  (b).\n\n", 'B', "line", false},
	{"Let me think.\nC) the dog", 'C', "line", false},
	{"Let me think.\nI go with (D) here", 'D', "paren", false},
	{"A dog ran.", 0, NULL, false},
	{"", 0, NULL, false},
	{"K", 0, NULL, false},
	{"<think>The answer is A</think>The answer is B", 'B', "answer", false},
	{"<think>The answer is A</think>", 0, NULL, false},
};

START_TEST(letters_are_found_where_answers_stand)
	{
		struct choice_options options = {.n = CHOICE_LETTERS_MAX};
		struct choice_found f;
		choice_find(slice_z(cases[_i].text), &options, &f);
		ck_assert_msg(f.letter == cases[_i].letter, "'%s': letter %d, rule %s",
			cases[_i].text, f.letter, f.rule ? f.rule : "none");
		ck_assert_msg(
			!f.rule == !cases[_i].rule && (!f.rule || !strcmp(f.rule, cases[_i].rule)),
			"'%s': rule %s", cases[_i].text, f.rule ? f.rule : "none");
		ck_assert_msg(f.hedged == cases[_i].hedged, "'%s'", cases[_i].text);
	}
END_TEST

START_TEST(letters_beyond_the_options_are_none)
	{
		struct choice_options options = {.n = 4};
		struct choice_found f;
		choice_find(slice_z("The answer is E"), &options, &f);
		ck_assert_int_eq(f.letter, 0);
	}
END_TEST

/* Every prefix of every case, in the middle of multi-byte characters and commands too; ASan watches. */
START_TEST(cut_texts_are_harmless)
	{
		struct choice_options options = {.n = 3,
			.has_texts = true,
			.texts = {slice_z("42"), slice_z("\xc3\xa9"), slice_z("the cat")}};
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			size_t len = strlen(cases[i].text);
			for (size_t n = 0; n <= len; n++) {
				struct choice_found f;
				char *cut = xmalloc(n + 1);
				memcpy(cut, cases[i].text, n);
				choice_find((struct slice){cut, n}, &options, &f);
				ck_assert(!f.letter || (f.letter >= 'A' && f.letter <= 'C'));
				free(cut);
			}
		}
	}
END_TEST

START_TEST(hostile_text_is_cheap)
	{
		static const char *const pieces[] = {
			"\\boxed{", "answer is ", "**A", "((((", " is correct", "(A", "\n"};
		for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
			struct choice_options options = {.n = 10};
			struct choice_found f;
			struct str text;
			str_init(&text, STR_NO_CAP);
			while (text.len < 1 << 20) {
				str_append_z(&text, pieces[i]);
			}
			clock_t before = clock();
			choice_find((struct slice){text.data, text.len}, &options, &f);
			ck_assert_msg(clock() - before < CLOCKS_PER_SEC, "%s", pieces[i]);
			str_release(&text);
		}
	}
END_TEST

/* --- the verifier --- */

static const struct {
	const char *yaml, *row, *text, *reason;
	int value; /* -1: null; -2: the prompt is refused */
} scored[] = {
	{"{gold: g}", "{\"g\": \"B\"}", "answer is B", "equal", 1},
	{"{gold: g}", "{\"g\": \"(b)\"}", "answer is B", "equal", 1},
	{"{gold: g}", "{\"g\": \"B\"}", "answer is C", "different", 0},
	{"{gold: g}", "{\"g\": \"B\"}", "answer is B or C", "ambiguous", 0},
	{"{gold: g}", "{\"g\": \"B\"}", "I do not know", "no_answer", 0},
	{"{gold: g}", "{\"g\": \"B\"}", "\\boxed{42}", "unreadable", -1},
	{"{gold: g}", "{\"g\": \"42\"}", "", "gold_unparsed", -2},
	{"{gold: g}", "{\"g\": 1}", "", "gold_unparsed", -2},
	{"{gold: g}", "{}", "", "gold_unparsed", -2},
	{"{gold: g, options: o}", "{\"g\": 1, \"o\": [\"cat\", \"dog\"]}", "answer is B", "equal",
		1},
	{"{gold: g, options: o}", "{\"g\": 2, \"o\": [\"cat\", \"dog\"]}", "", "gold_unparsed", -2},
	{"{gold: g, options: o}", "{\"g\": \"dog\", \"o\": [\"cat\", \"dog\"]}",
		"The answer is Dog.", "equal", 1},
	{"{gold: g, options: o}", "{\"g\": \"A\", \"o\": [\"0.5\", \"2\"]}", "\\boxed{\\frac12}",
		"equal", 1},
	{"{gold: g, options: o}", "{\"g\": \"A\", \"o\": {\"A\": \"x\", \"B\": \"y\"}}", "hm\ny",
		"different", 0},
	{"{gold: g, options: o}", "{\"g\": \"A\", \"o\": \"x\"}", "", "options_unparsed", -2},
	{"{gold: g, options: o}", "{\"g\": \"A\", \"o\": [1, 2]}", "", "options_unparsed", -2},
	{"{gold: g, options: o}", "{\"g\": \"A\", \"o\": [\"same\", \"same\"]}", "\\boxed{same}",
		"unreadable", -1},
};

START_TEST(choice_scores_one_zero_or_null)
	{
		const struct verifier_ops *ops = &verify_choice;
		struct error err = {0};
		struct error_list errors = {0};
		struct tree tree = {0};
		struct group group = {0};
		struct candidate candidate = {.group = &group, .text = slice_z(scored[_i].text)};
		struct score s = {0};
		void *config = xcalloc(1, ops->config_size), *state = xcalloc(1, ops->state_size);
		void *prepared = NULL;
		const char *reason = NULL;
		ck_assert(tree_parse(
			&tree, "t.yaml", scored[_i].yaml, strlen(scored[_i].yaml), &err));
		param_read(ops->params, &tree, tree.root, tree.root, "choice", config, &errors);
		ck_assert_uint_eq(errors.n, 0);
		ck_assert(ops->open(state, config, NULL, &err));
		struct json *fields = json_parse(scored[_i].row, strlen(scored[_i].row), &err);
		group.prompt.fields = fields;
		if (ops->prepare(state, &group.prompt, &group.arena, &prepared, &reason)) {
			ops->score(state, &candidate, prepared, &group.arena, &s);
			ck_assert_int_eq(s.known ? (int)s.value : -1, scored[_i].value);
			reason = s.reason;
		} else {
			ck_assert_int_eq(scored[_i].value, -2);
		}
		ck_assert_str_eq(reason, scored[_i].reason);
		json_free(fields);
		param_release(ops->params, config);
		free(config);
		free(state);
		tree_release(&tree);
		arena_release(&group.arena);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("choice");
	TCase *tc = tcase_create("choice");
	tcase_add_loop_test(tc, letters_are_found_where_answers_stand, 0, (int)ARRAY_LEN(cases));
	tcase_add_test(tc, letters_beyond_the_options_are_none);
	tcase_add_test(tc, cut_texts_are_harmless);
	tcase_add_test(tc, hostile_text_is_cheap);
	tcase_add_loop_test(tc, choice_scores_one_zero_or_null, 0, (int)ARRAY_LEN(scored));
	suite_add_tcase(s, tc);
	return run_suite(s);
}
