/* The math checker: what it reads, where it looks, what it decides, and that hostile text is cheap. */
#include "verifiers/math/mathcheck.h"

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/mem.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	EQ = MATH_EQUAL,
	NE = MATH_DIFFERENT,
	NONE = MATH_NO_ANSWER,
	UNREAD = MATH_PRED_UNPARSED,
	UNDEC = MATH_UNDECIDED
};

static struct math_verdict check_with(
	const char *gold, const char *pred, const struct math_policy *policy, struct arena *arena)
{
	struct math_verdict v;
	math_check(math_parse_gold(slice_z(gold), arena), slice_z(pred), policy, arena, &v);
	return v;
}

/* --- What answers mean --- */

static const struct {
	const char *gold, *pred;
	int outcome;
} pairs[] = {
	/* Integers. */
	{"18", "18", EQ},
	{"18", "18.", EQ},
	{"18", "+18", EQ},
	{"18", "018", EQ},
	{"-3", "-3", EQ},
	{"-3",
		"\xe2\x88\x92"
		"3",
		EQ},
	{"-3", "3", NE},
	{"18", "81", NE},
	{"0", "-0", EQ},
	{"18", "\xef\xbc\x91\xef\xbc\x98", EQ},
	{"123456789012345678901234567890", "123,456,789,012,345,678,901,234,567,890", EQ},
	{"123456789012345678901234567890", "123456789012345678901234567891", NE},
	/* Decimals. */
	{"0.5", ".5", EQ},
	{"0.50", "0.5", EQ},
	{"18", "18.0", EQ},
	{"18.00", "18", EQ},
	{"3.14", "3.15", NE},
	{"0.1", "0.1000000000000000000001", EQ},
	{"1000.99", "1,000.99\xe2\x82\xac", EQ},
	{"70000", "70001", NE},
	{"70000", "70,000.00", EQ},
	/* Thousands. */
	{"1234567", "1,234,567", EQ},
	{"1234567", "1{,}234{,}567", EQ},
	{"1234567", "1\\,234\\,567", EQ},
	{"1234567", "1 234 567", EQ},
	{"10000", "10,\\!000", EQ},
	{"1234", "1,234", EQ},
	{"1234", "12,34", NE},
	{"1234.5", "1,234.5", EQ},
	{"123", "0,123", NE},
	{"0,111", "0.111", EQ},
	{"12", "1, 2", UNREAD},
	{"1234567", "1,234,56", UNREAD},
	/* Fractions and mixed numbers. */
	{"1/2", "\\frac{1}{2}", EQ},
	{"1/2", "\\dfrac{1}{2}", EQ},
	{"1/2", "\\tfrac12", EQ},
	{"1/72", "\\frac1{72}", EQ},
	{"1/2", "\\frac{1}2", EQ},
	{"1/2", "\\frac 1 2", EQ},
	{"1/2", "0.5", EQ},
	{"1/2", "2/4", EQ},
	{"1/2", "\xc2\xbd", EQ},
	{"1/2", "2/1", NE},
	{"-1/2", "\\frac{-1}{2}", EQ},
	{"-1/2", "-\\frac{1}{2}", EQ},
	{"1/2", "\\frac{\\frac{1}{2}}{1}", EQ},
	{"40/9", "4 4/9", EQ},
	{"40/9", "4\\frac{4}{9}", EQ},
	{"40/9", "4\\dfrac49", EQ},
	{"-40/9", "-4 4/9", EQ},
	{"59/6", "11 7/6", UNREAD},
	{"0", "4 0/0", UNREAD},
	{"4", "4 0/0", UNREAD},
	{"11", "11 6/6", UNREAD},
	{"1/3", "0.333", NE},
	{"1/3", "0.333333333", EQ},
	{"1/3", "0.\\overline{3}", EQ},
	{"1/6", "0.1\\overline{6}", EQ},
	{"2", "4\\div2", EQ},
	/* Per cent. */
	{"10", "10%", EQ},
	{"0.1", "10%", EQ},
	{"10%", "10", EQ},
	{"10\\%", "0.1", EQ},
	{"10%", "10 percent", EQ},
	{"28\\%", "28 pct", EQ},
	{"7/25", "28%", EQ},
	{"40/900", "4 4/9%", EQ},
	{"10%", "1000%", NE},
	{"0.28", "28", NE},
	{"28/100", "28", NE},
	{"100", "1", NE},
	/* Currency and units. */
	{"18", "$18", EQ},
	{"18", "\\$18", EQ},
	{"18", "-$18", NE},
	{"-18", "-$18", EQ},
	{"18", "18 dollars", EQ},
	{"18", "18 dollars a day", EQ},
	{"$18",
		"\xe2\x82\xac"
		"18",
		EQ},
	{"5", "5 cm", EQ},
	{"5", "5cm", EQ},
	{"5", "5\\text{ cm}^2", EQ},
	{"5", "5 \\mathrm{m}", EQ},
	{"15\\mbox{ cm}^2", "15", EQ},
	{"5", "5 miles per hour", EQ},
	{"5", "5 km/h", EQ},
	{"5", "$5/hour", EQ},
	{"5", "5 sq. ft.", EQ},
	{"90^\\circ", "90", EQ},
	{"90", "90\xc2\xb0", EQ},
	{"90", "90^{\\circ}", EQ},
	{"5 km", "5 miles", UNDEC},
	{"5 mile", "5 miles", EQ},
	{"1 km", "1000 m", UNREAD},
	{"1 km", "1000 mm", UNDEC},
	{"5", "5x", UNREAD},
	{"5", "5 x", UNREAD},
	{"5", "5xy", UNREAD},
	{"5", "5 pi", UNREAD},
	{"5", "5\\pi", UNREAD},
	{"5", "5i", UNREAD},
	{"7", "7 pm", UNREAD},
	{"5", "5 or 6", UNREAD},
	{"6", "5 or 6", UNREAD},
	{"6", "5 and 6", UNREAD},
	{"2", "2 thirds", UNREAD},
	{"7", "7:30", UNREAD},
	{"204", "204_5", UNREAD},
	{"2045", "204_5", UNREAD},
	/* Large and small. */
	{"120000", "1.2e5", EQ},
	{"120000", "1.2E+5", EQ},
	{"0.012", "1.2e-2", EQ},
	{"120000", "1.2 \\times 10^5", EQ},
	{"120000", "1.2\\cdot10^{5}", EQ},
	{"120000", "1.2 \xc3\x97 10^5", EQ},
	{"0.00012", "1.2 \\times 10^{-4}", EQ},
	{"2000000", "2 million", EQ},
	{"2500000", "$2.5 million", EQ},
	{"1/2^{99}", "1/2^{98}", NE},
	{"1e-9", "2e-9", NE},
	{"1.0e-9", "1.0000001e-9", EQ},
	{"2^{100}", "1267650600228229401496703205376", EQ},
	{"1e400", "1e400", EQ},
	{"1e400", "1e401", NE},
	/* Arithmetic of numbers. */
	{"10", "(9+1)", EQ},
	{"16", "480/30", EQ},
	{"1024", "2^{10}", EQ},
	{"1024", "2**10", EQ},
	{"2", "$2^{10}.$", NE},
	{"8", "2^3", EQ},
	{"-4", "-2^2", EQ},
	{"7", "1+2*3", EQ},
	{"1/12", "\\frac{1}{3}-\\frac{1}{4}", EQ},
	{"1", "1/0", UNREAD},
	{"1", "0^0", UNREAD},
	/* Equations. */
	{"11", "x=11", EQ},
	{"x = 11", "11", EQ},
	{"x=5", "x = 5", EQ},
	{"x=5", "y=5", NE},
	{"11", "x = 5+5+1 = 11", EQ},
	{"11", "5+6=11", EQ},
	{"1", "|AB|=1", EQ},
	{"1", "f(x)=1", EQ},
	{"1/3", "x=1/3\\approx0.33", EQ},
	{"11", "x\\approx11", EQ},
	{"6", "\\text{Area} = 6", EQ},
	{"0", "a^2 + b = 0", UNREAD},
	{"1", "2x+z=1", UNREAD},
	{"7", "x < 7", UNREAD},
	{"7", "x \\le 7", UNREAD},
	{"2", "x = 1, x = 2", UNREAD},
	/* Fences. */
	{"$2/3$", "\\(2/3\\)", EQ},
	{"\\boxed{\\dfrac{9}{7}}", "\\frac{9}{7}", EQ},
	{"1/3", "$$\\frac{1}{3}.$$", EQ},
	{"1/3", "\\[\\frac{1}{3}.\\]", EQ},
	{"73", "**73**", EQ},
	{"13", "\\text{13}", EQ},
	{"185\\", "185\\", EQ},
	{"5", "{5}", EQ},
	{"5", "\\mathbf{5}", EQ},
	{"5", "\\left(5\\right)", EQ},
	/* Text. */
	{"east", "East", EQ},
	{"\\text{Evelyn}", "Evelyn", EQ},
	{"$\\text{E}$", "$E$", EQ},
	{"B", "(B)", EQ},
	{"east", "west", NE},
	{"x+1", "x + 1", EQ},
	{"\\frac{x}{2}", "\\dfrac{x}{2}", EQ},
	{"x^{2}", "x^2", EQ},
	{"x^{2y}", "x^2y", UNDEC},
	{"x+1", "1+x", UNDEC},
	{"\\sqrt{4}", "2", UNDEC},
	{"2", "\\sqrt{4}", UNREAD},
	{"17", "\\sqrt{17}", UNREAD},
	{"18", "eighteen", UNREAD},
	{"12:00", "1:00", UNDEC},
	{"12:00", "12:00", EQ},
	{"4:30 p.m.", "\\text{4:30 p.m.}", EQ},
	{"5^{5^{5^{5^5}}}", "5^{5^{5^{5^5}}}", EQ},
	{"5^{5^{5^{5^5}}}", "5^{5^{5^{5^4}}}", UNDEC},
};

START_TEST(decides)
	{
		struct arena arena = {0};
		struct math_verdict v = check_with(
			pairs[_i].gold, pairs[_i].pred, &math_policy_default, &arena);
		ck_assert_msg((int)v.outcome == pairs[_i].outcome,
			"gold '%s', output '%s': %s (%s, %s)", pairs[_i].gold, pairs[_i].pred,
			math_outcome_name(v.outcome), math_method_name(v.method),
			math_rule_name(v.rule));
		arena_release(&arena);
	}
END_TEST

START_TEST(comparing_is_symmetric)
	{
		struct arena arena = {0};
		struct math_verdict ab, ba;
		const struct math_value *a = math_parse(slice_z(pairs[_i].gold), &arena, NULL);
		const struct math_value *b = math_parse(slice_z(pairs[_i].pred), &arena, NULL);
		ck_assert(a && b);
		math_compare(a, b, &math_policy_default, &ab);
		math_compare(b, a, &math_policy_default, &ba);
		bool unread = ab.outcome == MATH_PRED_UNPARSED || ba.outcome == MATH_PRED_UNPARSED;
		ck_assert_msg(unread || ab.outcome == ba.outcome, "'%s' and '%s': %s, %s",
			pairs[_i].gold, pairs[_i].pred, math_outcome_name(ab.outcome),
			math_outcome_name(ba.outcome));
		math_compare(a, a, &math_policy_default, &ab);
		ck_assert_msg(ab.outcome == MATH_EQUAL, "'%s' is not itself", pairs[_i].gold);
		arena_release(&arena);
	}
END_TEST

/* --- Where answers stand --- */

static const struct {
	const char *output;
	enum math_rule rule;
	int outcome; /* against 18 */
} outputs[] = {
	{"so \\boxed{18}.", MATH_RULE_BOXED, EQ},
	{"\\boxed{5} is wrong, it is \\boxed{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18} and then 7", MATH_RULE_BOXED, EQ},
	{"\\fbox{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed {18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{\\frac{36}{2}}", MATH_RULE_BOXED, EQ},
	{"\\boxed{\\boxed{18}}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18\\text{ dollars}}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18} \\boxed{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{1}\\boxed{8}", MATH_RULE_BOXED, UNREAD},
	{"\\boxed{17} and \\boxed{18}", MATH_RULE_BOXED, UNREAD},
	{"\\boxed{x = \\{18\\}}", MATH_RULE_BOXED, UNREAD},
	{"The answer is 18. \\boxed{19}", MATH_RULE_BOXED, NE},
	{"\\boxed{x+18}", MATH_RULE_BOXED, UNREAD},
	{"\\boxed{x+18} so 18", MATH_RULE_BOXED, UNREAD},
	{"\\boxed{255} cents. Final Answer: The final answer is $18$. I hope it is correct.",
		MATH_RULE_FINAL, EQ},
	{"The final answer is $\\boxed{18}$. I hope it is correct.", MATH_RULE_BOXED, EQ},
	/* Cut off. */
	{"= 18 so \\boxed{18", MATH_RULE_NONE, NONE},
	{"\\boxed{18} or \\boxed{1", MATH_RULE_BOXED, EQ},
	{"first\n#### 18", MATH_RULE_HASHES, EQ},
	{"#### $18\n", MATH_RULE_HASHES, EQ},
	{"#### 18 dollars\n\nHope this helps!", MATH_RULE_HASHES, EQ},
	{"#### Step 2\nShe has 18", MATH_RULE_NUMBER, EQ},
	{"#### 2. Add them\nThe answer is 18", MATH_RULE_ANSWER, EQ},
	{"#### eighteen", MATH_RULE_HASHES, UNREAD},
	{"Final Answer: The final answer is $18$. I hope it is correct.", MATH_RULE_FINAL, EQ},
	{"**Final answer:** 18", MATH_RULE_FINAL, EQ},
	{"### Final Answer\nThe answer is **18**.", MATH_RULE_ANSWER, EQ},
	{"The answer is 18.", MATH_RULE_ANSWER, EQ},
	{"THE ANSWER IS 18", MATH_RULE_ANSWER, EQ},
	{"The answer is: 18 dollars per day.", MATH_RULE_ANSWER, EQ},
	{"The answer to the question is $18 per day.", MATH_RULE_ANSWER, EQ},
	{"Answer:\n\n18", MATH_RULE_ANSWER, EQ},
	{"Answer \\( 18 \\)", MATH_RULE_ANSWER, EQ},
	{"Answer $$ \n 18 \n $$", MATH_RULE_ANSWER, EQ},
	{"\\[Answer: 018\\]", MATH_RULE_ANSWER, EQ},
	{"So the answer is that she makes 18 dollars.", MATH_RULE_ANSWER, EQ},
	{"The answer is 18 because 9 * 2 is 18 and not 20.", MATH_RULE_ANSWER, EQ},
	{"The answer is 17 or 18.", MATH_RULE_ANSWER, UNREAD},
	{"The answer is x = 17 or x = 18.", MATH_RULE_ANSWER, UNREAD},
	{"The answer is $\\sqrt{18}$.", MATH_RULE_ANSWER, UNREAD},
	{"To answer this, we add. 9 + 9 = 18", MATH_RULE_NUMBER, EQ},
	{"Add it to the answer from the step before to find the total: 9 + 9 = 18\nA: 18",
		MATH_RULE_ANSWER, EQ},
	{"She has 9.\nA: 18", MATH_RULE_ANSWER, EQ},
	{"18 dollars", MATH_RULE_WHOLE, EQ},
	{"It costs $5 and then $13, in total $18.", MATH_RULE_NUMBER, EQ},
	{"Adding up:\n\n\\[9 + 9 = 18\\]", MATH_RULE_MATH, EQ},
	{"We add up.\nThus the sum is $x = 18$ apples.", MATH_RULE_MATH, EQ},
	{"We add up.\nThe sum $x = 17$ grows to 18.", MATH_RULE_NUMBER, EQ},
	{"9 * 2 = <<9*2=18>>18 eggs\nshe sells all of them", MATH_RULE_NUMBER, EQ},
	{"We find \\sqrt{18}\nand that is it.", MATH_RULE_NUMBER, UNREAD},
	{"so we get\nx+18", MATH_RULE_NUMBER, UNREAD},
	{"so we get\n18x", MATH_RULE_NUMBER, UNREAD},
	{"They meet at\n7:18 then", MATH_RULE_NUMBER, UNREAD},
	{"See H18.\nNo number", MATH_RULE_NONE, NONE},
	{"I do not know.\nSorry.", MATH_RULE_NONE, NONE},
	{"", MATH_RULE_NONE, NONE},
	/* Thinking. */
	{"<think>\\boxed{5}</think>The answer is 18", MATH_RULE_ANSWER, EQ},
	{"</think> a </think> \\boxed{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18}</think>", MATH_RULE_NONE, NONE},
	/* The next turn. */
	{"The answer is 18.<|im_end|>\n<|im_start|>user\nWhat is 5?", MATH_RULE_ANSWER, EQ},
};

START_TEST(finds_answers)
	{
		struct arena arena = {0};
		struct math_verdict v = check_with(
			"18", outputs[_i].output, &math_policy_default, &arena);
		ck_assert_msg((int)v.outcome == outputs[_i].outcome && v.rule == outputs[_i].rule,
			"'%s': %s by %s from '%.*s'", outputs[_i].output,
			math_outcome_name(v.outcome), math_rule_name(v.rule), (int)v.span.len,
			v.span.data ? v.span.data : "");
		arena_release(&arena);
	}
END_TEST

START_TEST(policies_limit_the_rules)
	{
		struct arena arena = {0};
		ck_assert_int_eq(
			check_with("18", "The answer is 18", &math_policy_strict, &arena).outcome,
			NONE);
		ck_assert_int_eq(
			check_with("18", "\\boxed{18}", &math_policy_strict, &arena).outcome, EQ);
		ck_assert_int_eq(
			check_with("18", "#### 18", &math_policy_strict, &arena).outcome, EQ);
		ck_assert_int_eq(
			check_with("18", "so \\boxed{18", &math_policy_lax, &arena).outcome, EQ);
		struct math_policy exact = math_policy_default;
		exact.exact = true;
		ck_assert_int_eq(check_with("1/3", "0.333333333", &exact, &arena).outcome, NE);
		struct math_policy thinking = math_policy_default;
		thinking.keep_thinking = true;
		ck_assert_int_eq(
			check_with("18", "\\boxed{18}</think>", &thinking, &arena).outcome, EQ);
		arena_release(&arena);
	}
END_TEST

static const struct {
	const char *gold, *formatted;
} golds[] = {
	{"18", "18"},
	{"Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\n#### 18", "18"},
	{"She makes 9 * 2 = $<<9*2=18>>18 a day.\nA: 18", "18"},
	{"We have $x = 3$, so \\boxed{\\frac{18}{4}}.", "9/2"},
	{"First 5.\nThe answer is 7.", "7"},
	{"$-0.25$", "-1/4"},
	{"10\\%", "10%"},
	{"x = 3", "x = 3"},
	{"Even", "even"},
	{"2^{2000}", "(a number of 603 digits)"},
};

START_TEST(reads_golds)
	{
		struct arena arena = {0};
		struct str out;
		str_init(&out, STR_NO_CAP);
		const struct math_value *v = math_parse_gold(slice_z(golds[_i].gold), &arena);
		ck_assert_ptr_nonnull(v);
		math_value_format(v, &out);
		ck_assert_str_eq(out.data, golds[_i].formatted);
		str_release(&out);
		arena_release(&arena);
	}
END_TEST

START_TEST(an_unreadable_gold_is_not_a_wrong_answer)
	{
		static const char *const bad[] = {"", "  ", "$$", ".", "\\boxed{}"};
		struct arena arena = {0};
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			struct math_verdict v = check_with(
				bad[i], "18", &math_policy_default, &arena);
			ck_assert_msg(v.outcome == MATH_GOLD_UNPARSED, "'%s'", bad[i]);
		}
		char *big = xcalloc(1, MATH_SPAN_BYTES_MAX + 2);
		memset(big, '1', MATH_SPAN_BYTES_MAX + 1);
		ck_assert_ptr_null(math_parse(slice_z(big), &arena, NULL));
		big[MATH_SPAN_BYTES_MAX] = '\0';
		ck_assert_ptr_nonnull(math_parse(slice_z(big), &arena, NULL));
		free(big);
		arena_release(&arena);
	}
END_TEST

START_TEST(says_where_reading_stopped)
	{
		struct arena arena = {0};
		size_t at = 0;
		ck_assert(!math_value_is_number(math_parse(slice_z("12 + )"), &arena, &at)));
		ck_assert_uint_eq(at, 5);
		ck_assert(math_value_is_number(math_parse(slice_z("12 + 3"), &arena, &at)));
		ck_assert_uint_eq(at, 0);
		arena_release(&arena);
	}
END_TEST

START_TEST(bytes_of_any_kind_are_no_harm)
	{
		struct arena arena = {0};
		static const char nul[] = "The answer is\0 18\0.";
		static const char bad[] = "\xff\xfe \\boxed{\xe2\x88 18\xc3}";
		struct math_verdict v;
		const struct math_value *gold = math_parse_gold(slice_z("18"), &arena);
		math_check(gold, (struct slice){nul, sizeof(nul) - 1}, &math_policy_default, &arena,
			&v);
		math_check(gold, (struct slice){bad, sizeof(bad) - 1}, &math_policy_default, &arena,
			&v);
		ck_assert_int_ne(v.outcome, MATH_EQUAL);
		arena_release(&arena);
	}
END_TEST

/* --- Hostile text --- */

static const struct {
	const char *head, *piece, *tail;
} bombs[] = {
	{"", "\\boxed{", ""},
	{"", "\\boxed{", "18}"},
	{"", "\\boxed{18}", ""},
	{"", "\\boxed{1} and ", ""},
	{"", "{", ""},
	{"", "}", ""},
	{"", "####", ""},
	{"", "#### a\n", ""},
	{"", "answer ", ""},
	{"", "answer is ", ""},
	{"", "answer is 1 or 2\n", ""},
	{"", "final answer is $", ""},
	{"", "A:", ""},
	{"", "$", ""},
	{"", "$1", ""},
	{"", "\\(", ""},
	{"", "\\[1", ""},
	{"", "</think>", ""},
	{"", "<", ""},
	{"", "1", ""},
	{"", "1 ", ""},
	{"", "1/", ""},
	{"", "1,", ""},
	{"", "1.", ""},
	{"", "1e", ""},
	{"", "\\frac{", ""},
	{"", "\\frac{1}{2}", ""},
	{"", "\\frac12", ""},
	{"", "x_1^2", ""},
	{"", "+", ""},
	{"", "-", "1"},
	{"", "\xe2\x88\x92", "1"},
	{"\\boxed{", "(", "}"},
	{"\\boxed{", "-", "1}"},
	{"\\boxed{", "\\frac{1}{", "}"},
	{"\\boxed{1", "0", "}"},
	{"\\boxed{1", "+1", "}"},
	{"\\boxed{9", "9", "^{9999}}"},
	{"\\boxed{9", "^9", "}"},
	{"\\boxed{9", "^{9", "}"},
	{"\\boxed{", "9^{9999}*", "1}"},
	{"\\boxed{", "9^{9999}+", "1}"},
	{"\\boxed{", "1/9^{9999}+1/7^{9999}+", "1}"},
	{"\\boxed{", "1/(7^{4000}+1)-", "1}"},
	{"\\boxed{", "2^{131071}-", "1}"},
	{"\\boxed{0.", "1\\overline{", "}"},
	{"\\boxed{", "0.1\\overline{23}+", "1}"},
	{"\\boxed{", "\\text{", "}"},
	{"\\boxed{", "{1}", "}"},
	{"\\boxed{", "x=", "1}"},
	{"\\boxed{", "1\\approx", "1}"},
	{"\\boxed{", "5 miles ", "}"},
	{"\\boxed{1e", "9", "}"},
	{"\\boxed{", "1 million ", "}"},
	{"\\boxed{5", "^{5", "}"},
};

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The bomb, filled up to `bytes` and, where its head opens a box, to what a box may hold. */
static char *make_bomb(int i, size_t bytes, size_t *out_len)
{
	struct str s;
	str_init(&s, STR_NO_CAP);
	str_append_z(&s, bombs[i].head);
	while (s.len + strlen(bombs[i].piece) + strlen(bombs[i].tail) < bytes) {
		str_append_z(&s, bombs[i].piece);
	}
	str_append_z(&s, bombs[i].tail);
	*out_len = s.len;
	return str_take(&s);
}

START_TEST(hostile_text_is_cheap)
	{
		static const size_t sizes[] = {500, 1500, 4000, MATH_SCAN_BYTES_MAX, 1 << 20};
		/* What sanitizers and a loaded machine add is far below what a blow-up would. */
		const double limit = 0.5;
		struct arena arena = {0};
		const struct math_value *gold = math_parse_gold(slice_z("0.5"), &arena);
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			struct arena scratch = {0};
			size_t len;
			AUTO_FREE char *bomb = make_bomb(_i, sizes[i], &len);
			struct math_verdict v;
			double before = seconds();
			math_check(gold, (struct slice){bomb, len}, &math_policy_lax, &scratch, &v);
			double spent = seconds() - before;
			ck_assert_msg(spent < limit, "'%s%s...' of %zu bytes took %.3f s",
				bombs[_i].head, bombs[_i].piece, len, spent);
			/* As a gold, too. */
			(void)math_parse_gold(
				(struct slice){bomb, MIN(len, (size_t)MATH_SPAN_BYTES_MAX)},
				&scratch);
			ck_assert_uint_lt(scratch.used_bytes, 32u << 20);
			arena_release(&scratch);
		}
		arena_release(&arena);
	}
END_TEST

/* --- Labelled data, where it is at hand --- */

/* FOLDER/NAME of the data that does not lie in this tree, or NULL. */
static char *shared_file(const char *name)
{
	const char *env = getenv("THRESH_SHARED");
	AUTO_FREE char *here = file_dirname(__FILE__);
	char *path = env ? file_join(env, name) : xasprintf("%s/../../../shared/%s", here, name);
	if (!file_exists(path)) {
		printf("# %s is not there: skipped\n", name);
		free(path);
		return NULL;
	}
	return path;
}

START_TEST(agrees_with_labels_of_gsm8k)
	{
		static const char *const models[] = {
			"6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"};
		AUTO_FREE char *path = shared_file("data/gsm8k-k4-open.jsonl");
		struct error err = {0};
		struct lines in = {0};
		struct slice line;
		size_t n = 0, agree = 0, false_equal = 0;
		double spent = 0;
		if (!path) {
			return;
		}
		ck_assert(lines_open(&in, path, 1 << 20, &err));
		while (lines_next(&in, &line, &err) == LINES_LINE) {
			AUTO_JSON struct json *row = json_parse(line.data, line.len, &err);
			struct arena golds_arena = {0}, scratch = {0};
			const struct math_value *gold = math_parse_gold(
				slice_z(json_z(json_get(row, "ground_truth"))), &golds_arena);
			ck_assert_ptr_nonnull(gold);
			for (size_t i = 0; i < ARRAY_LEN(models); i++) {
				const struct json *m = json_get(row, models[i]);
				struct slice text;
				struct math_verdict v;
				bool right = false;
				text.data = json_str(json_get(m, "solution"), &text.len);
				json_bool(json_get(m, "is_correct"), &right);
				double before = seconds();
				math_check(gold, text, &math_policy_default, &scratch, &v);
				arena_reset(&scratch);
				spent += seconds() - before;
				n++;
				agree += (v.outcome == MATH_EQUAL) == right;
				false_equal += v.outcome == MATH_EQUAL && !right;
			}
			arena_release(&golds_arena);
			arena_release(&scratch);
		}
		lines_release(&in);
		printf("# gsm8k-k4-open: %zu of %zu as labelled, %zu false equal, %.0f pairs/s\n",
			agree, n, false_equal, (double)n / spent);
		ck_assert_uint_ge(n, 1000);
		ck_assert_uint_ge(agree * 1000, n * 999);
	}
END_TEST

/* Returns how many of the uncontested pairs of a case file are decided as labelled. */
static size_t run_cases(const char *path, size_t *out_n, size_t *out_false_equal)
{
	struct error err = {0};
	struct lines in = {0};
	struct slice line;
	size_t right = 0;
	*out_n = *out_false_equal = 0;
	ck_assert(lines_open(&in, path, 1 << 20, &err));
	while (lines_next(&in, &line, &err) == LINES_LINE) {
		AUTO_JSON struct json *row = json_parse(line.data, line.len, &err);
		struct arena arena = {0};
		struct slice gold, pred;
		struct math_verdict v;
		bool contested = false, equal = false;
		json_bool(json_get(row, "contested"), &contested);
		json_bool(json_get(row, "equal"), &equal);
		gold.data = json_str(json_get(row, "gold"), &gold.len);
		pred.data = json_str(json_get(row, "pred"), &pred.len);
		math_check(math_parse_gold(gold, &arena), pred, &math_policy_default, &arena, &v);
		arena_release(&arena);
		*out_n += !contested;
		right += !contested && (v.outcome == MATH_EQUAL) == equal;
		*out_false_equal += !contested && v.outcome == MATH_EQUAL && !equal;
	}
	lines_release(&in);
	return right;
}

/* Numbers and text only, so far: expressions, sets, intervals and matrices are undecided, which counts as not right here. */
START_TEST(decides_most_open_cases)
	{
		AUTO_FREE char *path = shared_file("cases/answers-open.jsonl");
		size_t n, false_equal;
		if (!path) {
			return;
		}
		size_t right = run_cases(path, &n, &false_equal);
		printf("# answers-open: %zu of %zu right, %zu false equal\n", right, n,
			false_equal);
		ck_assert_uint_ge(right * 100, n * 80);
		ck_assert_uint_le(false_equal, 1);
	}
END_TEST

START_TEST(decides_all_solutions_of_the_math_set)
	{
		AUTO_FREE char *path = shared_file("cases/math-self-open.jsonl");
		size_t n, false_equal;
		if (!path) {
			return;
		}
		size_t right = run_cases(path, &n, &false_equal);
		printf("# math-self-open: %zu of %zu right, %zu false equal\n", right, n,
			false_equal);
		ck_assert_uint_eq(right, n);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("math");
	TCase *tc = tcase_create("math");
	tcase_add_loop_test(tc, decides, 0, (int)ARRAY_LEN(pairs));
	tcase_add_loop_test(tc, comparing_is_symmetric, 0, (int)ARRAY_LEN(pairs));
	tcase_add_loop_test(tc, finds_answers, 0, (int)ARRAY_LEN(outputs));
	tcase_add_test(tc, policies_limit_the_rules);
	tcase_add_loop_test(tc, reads_golds, 0, (int)ARRAY_LEN(golds));
	tcase_add_test(tc, an_unreadable_gold_is_not_a_wrong_answer);
	tcase_add_test(tc, says_where_reading_stopped);
	tcase_add_test(tc, bytes_of_any_kind_are_no_harm);
	tcase_add_loop_test(tc, hostile_text_is_cheap, 0, (int)ARRAY_LEN(bombs));
	tcase_add_test(tc, agrees_with_labels_of_gsm8k);
	tcase_add_test(tc, decides_most_open_cases);
	tcase_add_test(tc, decides_all_solutions_of_the_math_set);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
