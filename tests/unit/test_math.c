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
	UNDEC = MATH_UNDECIDED,
	NONE_OR_UNREAD /* no verdict of any kind */
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
	/* What overlaps or touches is one interval. */
	{"[1,2]\\cup[2,3]", "[1,3]", EQ},
	{"[1,2)\\cup(2,3]", "[1,3]", NE},
	{"(-\\infty,2)\\cup\\{2\\}", "(-\\infty,2]", EQ},
	{"[0,5]\\cup[1,2]", "[0,5]", EQ},
	{"(0,\\sqrt2)\\cup[1,2)", "(0,2)", EQ},
	{"(0,1)\\cup(2,3)", "(0,3)", NE},
	{"(0,1)\\cup\\{2\\}", "\\{2\\}\\cup(0,1)", EQ},
	{"(0,1)\\cup\\{2\\}", "(0,1)\\cup\\{3\\}", NE},
	/* Binomials with a small lower number are polynomials. */
	{"\\binom{n}{3}", "\\frac{n(n-1)(n-2)}{6}", EQ},
	{"\\binom{n+1}{2}", "\\frac{n(n+1)}{2}", EQ},
	{"\\binom{n}{2}", "\\frac{n(n+1)}{2}", NE},
	/* Roots are opened for positive letters, so a magnitude proves nothing against them. */
	{"\\sqrt{x^2}", "|x|", UNDEC},
	{"|x|", "|y|", NE},
	{"|x-1|", "|1-x|", EQ},
	{"|x|+1", "x-1", NE},
	/* Words. */
	{"New York", "new york", EQ},
	{"New York", "New Jersey", UNDEC},
	{"2e", "2\\mathrm{e}", EQ},
	{"3+2\\mathrm{i}", "3+2i", EQ},
	/* Matrices row by row. */
	{"\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "[[1,2],[3,4]]", EQ},
	{"\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "[[1,3],[2,4]]", NE},
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
	{"12", "1, 2", NE},
	{"1234567", "1,234,56", NE},
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
	{"1 km", "1000 m", UNDEC},
	{"1 km", "1000 mm", UNDEC},
	{"5", "5x", NE},
	{"5", "\\boxed{5 less than x}", UNREAD},
	{"5", "\\boxed{5 squared}", UNREAD},
	{"5", "\\boxed{5 times n}", UNREAD},
	{"5", "5 meters squared", EQ},
	{"5", "5 dollars a day", EQ},
	{"5", "5 x", NE},
	{"5", "5xy", NE},
	{"5", "5 pi", NE},
	{"5", "5\\pi", NE},
	{"5", "5i", NE},
	{"7", "7 pm", UNREAD},
	{"5", "5 or 6", NE},
	{"6", "5 or 6", NE},
	{"6", "5 and 6", NE},
	{"2", "2 thirds", UNREAD},
	{"7", "7:30", UNDEC},
	{"204", "204_5", EQ},
	{"2045", "204_5", NE},
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
	{"0", "a^2 + b = 0", UNDEC},
	{"1", "2x+z=1", UNDEC},
	{"7", "x < 7", NE},
	{"7", "x \\le 7", NE},
	{"2", "x = 1, x = 2", NE},
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
	{"x^{2y}", "x^2y", NE},
	{"x+1", "1+x", EQ},
	{"\\sqrt{4}", "2", EQ},
	{"2", "\\sqrt{4}", EQ},
	{"17", "\\sqrt{17}", NE},
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

/* --- Values that are more than a number --- */

static const struct {
	const char *gold, *pred;
	bool equal;
} values[] = {
	{"(-\\infty, 3)", "[-\\infty, 3)", true},
	{"4-x", "4", false},
	{"(2,3)", "2 or 3", false},
	{"(1,2)", "x=1 or x=2", false},
	{"\\{1,2,3,4\\}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", false},
	{"1,2,3,4", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", false},
	{"1:2:3", "(1,2,3)", false},
	{"A", "A, B, C", false},
	{"B", "A \\cup B", false},
	{"4-x^2", "4", false},
	{"5/x", "5", false},
	{"3-2n", "3", false},
	{"\\frac{1}{2}", "0.5", true},
	{"\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", true},
	{"\\frac{1}{1+\\sqrt{2}}", "\\sqrt{2}-1", true},
	{"\\sqrt{12}", "2\\sqrt{3}", true},
	{"\\sqrt{4+2\\sqrt{3}}", "1+\\sqrt{3}", true},
	{"2\\pi", "6.283185307", true},
	{"\\pi", "3.14", false},
	{"3.14", "\\pi", false},
	{"(1,2)", "(2,1)", false},
	{"\\{1,2\\}", "\\{2,1\\}", true},
	{"1,2", "2,1", true},
	{"(1,2)", "\\{1,2\\}", false},
	{"[1,2]", "(1,2)", false},
	{"(1,2)", "1,2", true},
	{"10\\%", "0.1", true},
	{"10\\%", "10", true},
	{"x=5", "5", true},
	{"x=5", "y=5", false},
	{"x=5", "x=6", false},
	{"y = 2x+3", "2x+3", true},
	{"y = 2x+3", "y-2x=3", true},
	{"2x+3", "y=2x+3", true},
	{"x^2+y^2=4", "y^2+x^2-4=0", true},
	{"x^2+y^2=4", "2x^2+2y^2=8", true},
	{"x^2+y^2=4", "x^2+y^2=5", false},
	{"(x+1)^2", "x^2+2x+1", true},
	{"\\frac{x^2-1}{x-1}", "x+1", true},
	{"\\sin^2 x + \\cos^2 x", "1", true},
	{"\\tan x", "\\frac{\\sin x}{\\cos x}", true},
	{"\\sin 2x", "2\\sin x\\cos x", true},
	{"\\ln 4", "2\\ln 2", true},
	{"\\log_2 8", "3", true},
	{"e^{i\\pi}", "-1", true},
	{"e^{2x}", "(e^x)^2", true},
	{"\\frac{\\pi}{4}", "\\arctan(1)", true},
	{"\\sin 30^\\circ", "1/2", true},
	{"\\cos(\\pi/3)", "0.5", true},
	{"5!", "120", true},
	{"\\binom{5}{2}", "10", true},
	{"\\lfloor 3.7 \\rfloor", "3", true},
	{"-2 \\le x \\le 7", "[-2,7]", true},
	{"[-2,7]", "-2 \\le x \\le 7", false},
	{"(-\\infty, 2)", "x<2", false},
	{"x<2", "(-\\infty,2)", true},
	{"x<2 \\text{ or } x>3", "(-\\infty,2)\\cup(3,\\infty)", true},
	{"x \\in (-\\infty,2)\\cup(3,\\infty)", "(-\\infty,2)\\cup(3,\\infty)", true},
	{"(-\\infty,0)\\cup(0,\\infty)", "\\mathbb{R}\\setminus\\{0\\}", true},
	{"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}",
		true},
	{"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&5\\end{bmatrix}",
		false},
	{"\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)", true},
	{"3\\frac{1}{2}", "7/2", true},
	{"4 4/9", "40/9", true},
	{"3 1/2", "3.5", true},
	{"1{,}234", "1234", true},
	{"1,234", "1234", true},
	{"12,345,678", "12345678", true},
	{"2.5\\times 10^3", "2500", true},
	{"1.2e5", "120000", true},
	{"3 million", "3000000", true},
	{"0.\\overline{3}", "1/3", true},
	{"0.\\overline{3}", "\\frac{1}{3}", true},
	{"204_5", "204", true},
	{"204_5", "204_6", false},
	{"204_5", "54", false},
	{"7:32", "7/32", true},
	{"3:4", "3/4", true},
	{"12:00", "1:00", false},
	{"5\\text{ cm}", "5", true},
	{"5\\text{ cm}", "5\\text{ m}", false},
	{"5\\sqrt{3}\\text{ cm}", "5\\sqrt{3}", true},
	{"10\\pi", "10\\pi\\text{ cm}^2", true},
	{"10\\pi \\text{ square units}", "10\\pi", true},
	{"36\\pi", "36 \\pi \\, \\text{in}^3", true},
	{"\\text{east}", "East", true},
	{"\\text{(A)}", "A", true},
	{"\\text{(A)}", "\\text{(B)}", false},
	{"A", "\\boxed{\\text{A}}", true},
	{"C", "The correct option is (C).", true},
	{"1 \\pm \\sqrt{2}", "1+\\sqrt{2}, 1-\\sqrt{2}", true},
	{"\\frac{1\\pm\\sqrt{5}}{2}", "\\frac{1-\\sqrt5}{2},\\frac{1+\\sqrt5}{2}", true},
	{"\\pm 2", "2,-2", true},
	{"x=2,x=-3", "x=-3 \\text{ or } x=2", true},
	{"x=2,x=-3", "2,-3", true},
	{"x = -2, 3", "\\{3,-2\\}", true},
	{"2^{10}", "1024", true},
	{"2^{100}", "1267650600228229401496703205376", true},
	{"1/2^{99}", "1/2^{98}", false},
	{"\\frac{1}{2004!}", "\\frac{1}{2006!}", false},
	{"2^{2005}+1", "2^{2005}", false},
	{"5^{5^{5^{5^5}}}", "5^{5^{5^{5^4}}}", false},
	{"5^{5^{5^{5^5}}}", "5^{5^{5^{5^5}}}", true},
	{"70000", "70001", false},
	{"x^2+2x", "x(x+2)", true},
	{"\\frac{a}{b}", "a/b", true},
	{"a^2b", "ba^2", true},
	{"3xy", "3yx", true},
	{"2n+1", "2k+1", false},
	{"f(x)=x^2", "x^2", true},
	{"\\emptyset", "\\varnothing", true},
	{"\\emptyset", "\\{\\}", true},
	{"\\frac{3}{4}i", "0.75i", true},
	{"1+2i", "2i+1", true},
	{"(1+i)^2", "2i", true},
	{"\\frac{1}{i}", "-i", true},
	{"\\sqrt{-4}", "2i", true},
	{"\\$5.00", "5", true},
	{"\\$1,000", "1000", true},
	{"50\\%", "\\frac{1}{2}", true},
	{"12 \\text{ hours}", "12", true},
	{"90^\\circ", "90", true},
	{"45^\\circ", "\\frac{\\pi}{4}", false},
	{"\\frac{3\\pi}{4}", "0.75\\pi", true},
	{"6 - 5i", "6-5i", true},
	{"\\sqrt[3]{16}", "2\\sqrt[3]{2}", true},
	{"\\sqrt[3]{-8}", "-2", true},
	{"x^{1/2}", "\\sqrt{x}", true},
	{"(-1,0)\\cup(0,1)", "(0,1)\\cup(-1,0)", true},
	{"[0,\\infty)", "x\\geq 0", false},
	{"x\\ge 0", "[0,\\infty)", true},
	{"2x-y<3", "y>2x-3", true},
	{"(3,4),(4,3)", "(4,3),(3,4)", true},
	{"(3,4),(4,3)", "(3,4)", false},
	{"\\left(\\frac{1}{2},3\\right)", "(0.5,3)", true},
	{"\\log 100", "2", true},
	{"\\frac{\\ln 2}{\\ln 3}", "\\log_3 2", true},
	{"x\\neq 3", "x \\ne 3", true},
	{"-\\frac{1}{2}", "\\frac{-1}{2}", true},
	{"\\frac{-1}{2}", "-0.5", true},
	{"\\frac12", "0.5", true},
	{"\\tfrac{1}{2}", "\\dfrac12", true},
	{"100", "100.0", true},
	{"5", "5.0", true},
	{"10,\\!000", "10000", true},
	{"10\\,000", "10000", true},
	{"1 234 567", "1234567", true},
	{"0.1", ".1", true},
	{"\\text{Monday}", "monday", true},
	{"4n^2+4n+1", "(2n+1)^2", true},
	{"n(n+1)/2", "\\frac{n^2+n}{2}", true},
	{"k = 3", "3", true},
	{"-\\infty", "\\infty", false},
	{"\\infty", "\\infty", true},
	{"2\\sqrt{2}+\\sqrt{8}", "4\\sqrt2", true},
	{"\\cot x", "\\frac{1}{\\tan x}", true},
	{"\\frac{\\pi}{6}+2\\pi k", "\\frac\\pi6+2k\\pi", true},
	{"8 \\sqrt{2}", "8\\sqrt2", true},
	{"8\\sqrt{2}", "8\\sqrt{3}", false},
	{"(x-1)(x-2)", "x^2-3x+2", true},
	{"(2, \\infty)", "(2, +\\infty)", true},
	{"(-\\infty, -1) \\cup (1, \\infty)", "(-\\infty, -1) \\cup [1, \\infty)", false},
	{"13 \\text{ and } 14", "13, 14", true},
	{"\\frac{5}{6} \\text{ hours}", "5/6", true},
	{"6,10,12", "6, 10, 12", true},
	{"6:10", "3/5", true},
	{"2 \\cdot 3^5", "486", true},
	{"3x^2y - 2", "3 y x^2-2", true},
	{"y=\\frac{1}{2}x+3", "y = 0.5x + 3", true},
	{"\\{-1,0,1\\}", "-1,0,1", true},
	{"1.5", "3/2", true},
	{"\\cos\\theta", "cos(theta)", true},
	{"\\sqrt{x^2+1}", "sqrt(x^2+1)", true},
	{"2*sqrt(3)", "2\\sqrt{3}", true},
	{"pi/4", "\\frac{\\pi}{4}", true},
	{"3**2", "9", true},
	{"(a+b)(a-b)", "a^2-b^2", true},
	{"\\sum_{k=1}^n k", "\\sum_{k=1}^{n} k", true},
	{"\\overline{AB}", "AB", true},
	{"\\vec{v}", "\\vec{v}", true},
	{"\\angle ABC = 30^\\circ", "30", true},
	{"p - q", "q - p", false},
	{"p-q", "-q+p", true},
	{"(0,0)", "0", false},
	{"5", "5,6", false},
	{"1000", "1,000", true},
	{"\\frac{10\\sqrt{10.5}}{27}", "\\frac{5\\sqrt{42}}{27}", true},
	{"\\text{No solution}", "no solution", true},
	{"\\text{yes}", "Yes", true},
	{"\\text{yes}", "No", false},
	{"0.333", "1/3", false},
	{"0.3333333", "1/3", true},
	{"x + y = 5", "5 = x + y", true},
	{"x = 5", "5 = x", true},
	{"3(x-2)", "3x-6", true},
	{"\\frac{x}{2}", "0.5x", true},
	{"\\frac{2}{4}", "\\frac12", true},
	{"x^2 = 4", "x=\\pm 2", false},
	{"y \\le 3", "3 \\ge y", true},
	{"a = 1, b = 2", "b=2, a=1", true},
	{"a = 1, b = 2", "a=2, b=1", false},
	{"(a,b)=(1,2)", "(1,2)", true},
	{"(a,b)=(1,2)", "a=1,b=2", true},
	{"$\\{1,2,3\\} \\cup \\{4\\}$", "$\\{1,2,3,4\\}$", true},
	{"$\\{1\\} \\cup \\{2\\}$", "\\boxed{\\{1,2\\}}", true},
	{"$(1,5) \\cap (3,7)$", "$(3,5)$", true},
	{"$\\frac{\\pi}{6} + k\\pi, k \\in \\mathbb{Z}$",
		"$\\frac{\\pi}{6}+\\pi k, k\\in\\mathbb{Z}$", true},
	{"$x = \\frac{\\pi}{6} + k\\pi \\quad (k \\in \\mathbb{Z})$",
		"$\\frac{\\pi}{6}+\\pi k, k\\in\\mathbb{Z}$", true},
	{"$(x,y)=(1,2),(2,1)$", "$(2,1),(1,2)$", true},
	{"$(x,y)=(1,2)$", "\\boxed{x=1, y=2}", true},
	{"$P(x)=cx$", "$cx$", true},
	{"$a_n = 2^{n}$", "$2^n$", true},
	{"$a_{n}=2^{n}-1$", "\\boxed{a_n = 2^n - 1}", true},
	{"$6n\\pm1$", "$6n+1, 6n-1$", true},
	{"\\text{No solution}", "\\text{no solutions}", false},
	{"$(0,3) \\cup (3,\\infty)$", "$(0, 3)\\cup(3, +\\infty)$", true},
	{"$[0,1)\\cup(1,2]$", "$(1,2]\\cup[0,1)$", true},
	{"$-\\frac{1}{2} < x < 1$", "$x\\in(-\\frac12,1)$", true},
	{"$\\left(-\\infty,-\\frac{1}{2}\\right) \\cup \\left(\\frac{1}{2},\\infty\\right)$",
		"$x<-1/2$ or $x>1/2$", false},
	{"$x<-1/2$ or $x>1/2$",
		"$\\left(-\\infty,-\\frac{1}{2}\\right) \\cup \\left(\\frac{1}{2},\\infty\\right)$",
		true},
	{"$x \\ge 2$", "$[2, \\infty)$", true},
	{"$a \\geq 1$", "$a \\in [1,+\\infty)$", true},
	{"$m>2$", "$(2,\\infty)$", true},
	{"$\\boxed{\\text{A, B, C}}$", "A, B, C", true},
	{"\\boxed{32,348}", "32348", true},
	{"\\boxed{\\$32,348}", "32,348", true},
	{"$10^{-3}$", "0.001", true},
	{"2^{-10}", "\\frac{1}{1024}", true},
	{"$1.0\\times10^{-5}$", "0.00001", true},
	{"\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}", true},
	{"$\\dfrac{7+\\sqrt{13}}{2}$", "(7+\\sqrt{13})/2", true},
	{"$\\frac{-1+\\sqrt{5}}{2}, \\frac{-1-\\sqrt5}{2}$", "$\\frac{-1\\pm\\sqrt{5}}{2}$", true},
	{"C", "The answer is C) 42", true},
	{"B", "**Answer: B**", true},
	{"B", "Answer: **(B)** 12", true},
	{"\\textbf{(C) }9", "C", true},
	{"\\textbf{(B)}\\ 3", "\\boxed{B}", true},
	{"(C) 9", "9", true},
	{"\\frac{3}{5}", "3/5", true},
	{"$8:15$", "8:15", true},
	{"8:15 a.m.", "8:15 AM", true},
	{"$50^{\\circ}$", "50 degrees", true},
	{"$50^{\\circ}$", "50^\\circ C", true},
	{"25\\pi\\text{ cm}^2", "25\\pi", true},
	{"$12\\sqrt{3}$ cm$^2$", "12\\sqrt3", true},
	{"$2\\frac{1}{3}$ hours", "7/3", true},
	{"5 cm", "5 centimeters", true},
	{"5 \\text{ m/s}", "5", true},
	{"5 m/s", "5", true},
	{"5", "5 m/s", true},
	{"60 km/h", "60", true},
	{"\\$12.50", "12.5", true},
	{"12.50 dollars", "\\$12.50", true},
	{"x^3+3x-6", "-6+3x+x^{3}", true},
	{"\\sin^{-1} x", "\\arcsin x", true},
	{"\\sec^2 x - \\tan^2 x", "1", true},
	{"\\frac{1}{2}\\ln(x^2+1)+C", "\\frac{\\ln(x^2+1)}{2}+C", true},
	{"e^x", "\\exp(x)", true},
	{"\\ln|x|+C", "\\ln(|x|)+C", true},
	{"2\\cos^2 x - 1", "\\cos 2x", true},
	{"\\sqrt{x^2}", "|x|", false},
	{"n!", "n\\cdot (n-1)!", false},
	{"\\log_a b", "\\frac{\\ln b}{\\ln a}", true},
	{"\\lg 2", "\\log_{10} 2", true},
	{"3^{x+1}", "3\\cdot 3^x", true},
	{"4^x", "2^{2x}", true},
	{"\\sqrt[4]{4}", "\\sqrt{2}", true},
	{"\\frac{\\sqrt[3]{4}}{2}", "\\frac{1}{\\sqrt[3]{2}}", true},
	{"\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}",
		"\\left[\\begin{array}{cc}1&0\\\\0&1\\end{array}\\right]", true},
	{"\\begin{pmatrix} -1 \\\\ 2 \\\\ 3 \\end{pmatrix}",
		"\\begin{bmatrix} -1 \\\\ 2 \\\\ 3 \\end{bmatrix}", true},
	{"\\begin{pmatrix} 1/2 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 0.5 \\\\ 2 \\end{pmatrix}",
		true},
	{"\\langle 1,2,3 \\rangle", "(1,2,3)", true},
	{"\\mathbf{i}+2\\mathbf{j}", "\\mathbf{i} + 2 \\mathbf{j}", true},
	{"3\\vec{i}-\\vec{j}", "-\\vec{j}+3\\vec{i}", true},
	{"y = -2x + 5", "2x + y = 5", true},
	{"y = -2x + 5", "2x + y - 5 = 0", true},
	{"2x + y - 5 = 0", "y = -2x + 5", true},
	{"\\frac{x^2}{4}+\\frac{y^2}{9}=1", "9x^2+4y^2=36", true},
	{"(x-1)^2+(y-2)^2=25", "x^2-2x+y^2-4y=20", true},
	{"y=x^2", "x=y^2", false},
	{"x=1 \\text{ or } x=2", "x \\in \\{1,2\\}", true},
	{"x_1=1, x_2=2", "1, 2", true},
	{"x_1 = 1, x_2 = -3", "x=1, x=-3", true},
	{"\\{x \\mid -1<x<2\\}", "(-1,2)", true},
	{"\\mathbb{R}", "(-\\infty,\\infty)", true},
	{"\\text{all real numbers}", "\\mathbb{R}", false},
	{"\\emptyset", "\\text{no solution}", false},
	{"5\\%", "0.05", true},
	{"12.5\\%", "1/8", true},
	{"33\\frac{1}{3}\\%", "1/3", true},
	{"1:2:3", "2:4:6", true},
	{"1:2", "2:4", true},
	{"2:3", "3:2", false},
	{"\\frac{9}{4}\\pi", "2.25\\pi", true},
	{"123_{4}", "123_4", true},
	{"1011_2", "1011", true},
	{"2A_{16}", "2A_{16}", true},
	{"1,000,000", "10^6", true},
	{"$1 \\text{ million}$", "1000000", true},
	{"-1", "\\boxed{-1}.", true},
	{"\\frac{1}{2}", "\\boxed{\\frac12}\\text{.}", true},
	{"\\frac{1}{2}", "\\boxed{\\text{The answer is }\\frac12}", true},
	{"7", "\\boxed{\\text{seven}}", false},
	{"16", "\\boxed{x = 16 \\text{ cm}}", true},
	{"\\pi r^2", "\\pi r^{2}", true},
	{"2\\pi r h", "2 \\pi rh", true},
	{"\\frac{ab}{2}", "\\frac{1}{2}ab", true},
	{"a^2+b^2=c^2", "c^2=a^2+b^2", true},
	{"\\alpha+\\beta", "\\beta + \\alpha", true},
	{"x>5", "5<x", true},
	{"1 < x \\leq 3", "(1,3]", true},
	{"|x| < 2", "(-2,2)", false},
	{"x^2>4", "x^2-4>0", true},
	{"\\sqrt{2}\\approx 1.414", "\\sqrt{2}", true},
	{"\\approx 3.14", "3.14", true},
	{"3.14", "\\approx 3.14", true},
	{"n = 12k + 5", "12k+5", true},
	{"0", "x=0", true},
	{"f(x) = 2x", "f(x)=2 x", true},
	{"f(n)=n+1", "n+1", true},
	{"p(x)=x^2+1", "x^2 + 1", true},
	{"\\frac{n}{n+1}", "1-\\frac{1}{n+1}", true},
	{"\\frac{2x}{x^2-1}", "\\frac{1}{x-1}+\\frac{1}{x+1}", true},
	{"2^{n+1}-2", "2(2^n-1)", true},
	{"(-1)^n", "(-1)^{n}", true},
	{"(-1)^{n+1}", "-(-1)^n", true},
	{"i", "-i", false},
	{"\\frac{1}{2}+\\frac{\\sqrt{3}}{2}i", "e^{i\\pi/3}", true},
	{"\\cos 60^\\circ", "0.5", true},
	{"\\frac{1}{\\sqrt{2}+1}", "\\sqrt2 - 1", true},
	{"\\text{3, 4, 5}", "3,4,5", true},
	{"(3,4)", "\\text{(3, 4)}", true},
	{"A \\cup B", "A\\cup B", true},
	{"\\angle A = 30^\\circ, \\angle B=60^\\circ",
		"\\angle A=30^{\\circ},\\angle B = 60^{\\circ}", true},
	{"4.5 \\times 10^{4}", "45,000", true},
	{"0.25", "25\\%", true},
	{"25", "25\\%", true},
	{"\\frac{5}{2}", "2.50", true},
	{"-0.5", "-\\frac{1}{2}", true},
	{"\\frac{a+b}{a-b}", "-\\frac{a+b}{b-a}", true},
	{"\\sqrt{a}\\sqrt{b}", "\\sqrt{ab}", true},
	{"(\\sqrt{3}-1)^2", "4-2\\sqrt{3}", true},
	{"1+\\sqrt{2}+\\sqrt{3}", "\\sqrt{3}+\\sqrt{2}+1", true},
	{"\\log_2 3", "\\log_3 2", false},
	{"(2,3),(4,5)", "(2,3) \\text{ and } (4,5)", true},
	{"(2,3)", "x=2,y=3", true},
	{"(2,3)", "(x,y) = (2,3)", true},
	{"[2,3]", "x \\in [2,3]", true},
	{"\\left[ -\\frac{\\pi}{3}, \\frac{\\pi}{3} \\right]", "[-\\pi/3, \\pi/3]", true},
	{"k > \\frac{1}{4}", "k>0.25", true},
	{"-1 \\le m \\le 1", "[-1,1]", true},
	{"9,000", "9000", true},
	{"3x-4y+5=0", "-3x+4y-5=0", true},
	{"x = \\pm 3", "x = 3 \\text{ or } x=-3", true},
	{"\\pm 3", "3, -3", true},
	{"\\frac{\\pi}{2} - 1", "\\frac{\\pi - 2}{2}", true},
	{"12\\text{ cm} \\times 5 \\text{ cm}", "12 \\times 5", false},
	{"\\text{Friday}", "\\boxed{\\text{Friday}}", true},
	{"50", "\\boxed{50\\text{ mph}}", true},
	{"\\tan 45^\\circ", "1", true},
	{"\\frac{\\sqrt{6}-\\sqrt{2}}{4}", "\\sin 15^\\circ", true},
	{"x=-1, y=4", "\\left\\{\\begin{array}{l}x=-1\\\\y=4\\end{array}\\right.", true},
	{"\\left\\{\\begin{array}{l}x=-1\\\\y=4\\end{array}\\right.", "x=-1, y=4", true},
	{"\\begin{cases} x=1 \\\\ y=2 \\end{cases}", "(1,2)", true},
	{"5,\\!000", "5000", true},
	{"4^{2/3}", "\\sqrt[3]{16}", true},
	{"\\frac{3}{4} \\text{ or } 0.75", "3/4", true},
	{"$(3,2,7)$", "$p=3,q=2,r=7$", true},
	{"$x+y=7$", "The line is $x+y-7=0$", true},
	{"$\\frac{3}{4}$", "Thus the probability is $\\boxed{\\frac{3}{4}}$.", true},
	{"$[0, 1] \\cup [2,3]$", "$[0,1]$ $\\cup$ $[2,3]$", true},
	{"$1/3$", "the answer is 1/3", true},
	{"A", "The best answer is A because B is wrong.", true},
	{"A", "I would choose (A).", true},
	{"B", "(B)", true},
	{"B", "The answer is **B**", true},
	{"B", "Answer: B) 5 apples", true},
	{"C", "Option C is correct", true},
	{"C", "\\boxed{C}", true},
	{"C", "\\boxed{(C)\\ 12}", true},
	{"D", "Therefore, D.", true},
	{"D", "A, B and C are wrong so it's D", false},
	{"$x=3$", "So x equals 3. The solution is $x = 3$.", true},
	{"$10$", "so there are 10 ways.", true},
	{"$10$", "The total is 5 + 5 = 10.", true},
	{"$10$", "I get $5+5=10$ apples.", true},
	{"12", "Thus there are \\(\\boxed{12}\\) solutions", true},
	{"12", "The answer is twelve (12).", true},
	{"-2", "x = -2.", true},
	{"3,\\sqrt{5}", "$\\sqrt5$ and $3$", true},
	{"$5.3$", "5.3", true},
	{"1.5", "$1\\frac{1}{2}$", true},
	{"2.25", "2 1/4", true},
	{"1000", "1.000", false},
	{"1000", "10^3", true},
	{"$\\$18.90$", "18.9", true},
	{"$\\$18.90$", "\\boxed{\\$18.90}", true},
	{"18.90", "$18.90$ dollars", true},
	{"18.90", "USD 18.90", true},
	{"45", "It takes 45 minutes.", true},
	{"\\text{6 hours}", "6", true},
	{"3:30", "3:30 PM", false},
	{"3:30 \\text{ PM}", "3:30 p.m.", true},
	{"5:1", "\\frac{5}{1}", true},
	{"5", "\\frac{5}{1}", true},
	{"12x", "12 x", true},
	{"3/2", "\\boxed{x=\\frac{3}{2}}", true},
	{"2/3", "\\boxed{\\frac{2}{3}\\text{ of the pizza}}", true},
	{"50\\%", "\\boxed{50}", true},
	{"0.5", "\\boxed{50\\%}", true},
	{"2", "\\boxed{2 \\text{ or } 3}", false},
	{"16", "\\boxed{2^4}", true},
	{"\\frac{1}{16}", "0.0625", true},
	{"3+4i", "\\boxed{4i+3}", true},
	{"y=\\frac{3}{2}x-\\frac{5}{2}", "$3x-2y=5$", true},
	{"y = 3x - 2", "\\boxed{y = 3x-2}", true},
	{"x^2+5x+6", "(x+2)(x+3)", true},
	{"(x+2)(x+3)", "(x+3)(x+2)", true},
	{"a^{m+n}", "a^m a^n", true},
	{"\\frac{2}{\\sqrt{3}}", "\\frac{2\\sqrt{3}}{3}", true},
	{"7.0", "7", true},
	{"09", "9", true},
	{"1", "True", false},
	{"True", "\\text{true}", true},
	{"\\text{increasing}", "The function is increasing. Answer: increasing", true},
	{"-\\frac{9}{4}", "\\boxed{-2.25}", true},
	{"\\sqrt{3}/2", "\\frac{\\sqrt{3}}{2}", true},
	{"0.866025403784", "\\frac{\\sqrt{3}}{2}", true},
	{"0.87", "\\frac{\\sqrt{3}}{2}", false},
	{"1,2,3,4", "\\{1,2,3,4\\}", true},
	{"1, 2, 3", "1, 2, 4", false},
	{"\\{0\\}", "0", true},
	{"x \\leq -1 \\text{ or } x \\geq 1", "(-\\infty,-1]\\cup[1,\\infty)", true},
	{"x\\in(1,2)", "(1,2)", true},
	{"(1,2)", "1<x<2", false},
	{"1<x<2", "2>x>1", true},
	{"1<x<2", "1<y<2", false},
	{"x<2", "x\\le 2", false},
	{"x > 3", "3", false},
	{"n \\ge 5", "n \\geqslant 5", true},
	{"\\pi", "180^\\circ", false},
	{"100", "one hundred", false},
	{"13", "<<6+7=13>>13", true},
	{"13", "6+7 = <<6+7=13>>13 apples\n#### 13", true},
	{"13", "#### 13.0", true},
	{"1,300", "#### 1300", true},
	{"13", "#### $13", true},
	{"-13", "#### -13", true},
	{"13", "The final answer is $\\boxed{13}$. I hope it is correct.", true},
	{"8", "\\[ \\boxed{8} \\] Final Answer: 9", false},
	{"9", "\\[ \\boxed{8} \\] The final answer is 9", true},
	{"\\frac{4}{3}\\pi r^3", "\\frac{4\\pi r^3}{3}", true},
	{"\\frac{4}{3} \\pi", "4\\pi/3", true},
	{"x = 2, y = 3", "(2,3)", true},
	{"(2,3)", "(2,3]", false},
	{"3\\sqrt{5}, -3\\sqrt5", "\\pm 3\\sqrt{5}", true},
	{"\\log_{10} 5", "\\log 5", true},
	{"\\ln(2)", "\\log_e 2", true},
	{"e^2", "e^{2.0}", true},
	{"5e", "5*e", true},
	{"\\frac{d}{dt}", "\\frac{d}{dt}", true},
	{"2^{31}", "2147483648", true},
	{"10!", "3628800", true},
	{"\\frac{10!}{5!5!}", "252", true},
	{"{10 \\choose 5}", "252", true},
	{"C(10,5)", "252", false},
	{"\\sqrt{50}", "5\\sqrt{2}", true},
	{"\\sqrt{0.5}", "\\frac{\\sqrt2}{2}", true},
	{"10^{10}", "10000000000", true},
	{"(-3,4]", "(-3, 4]", true},
	{"|x-2|<3", "|x-2| < 3", true},
	{"\\cos^{-1}(1/2)", "\\frac{\\pi}{3}", true},
	{"\\text{cm}^2", "5", false},
	{"20 \\text{ units}^2", "20", true},
	{"\\frac{1}{2} x + 3", "\\frac{x}{2}+3", true},
	{"-x+4", "4-x", true},
	{"4-x", "4", false},
	{"5-3y", "5", false},
	{"x", "y", false},
	{"x", "2x", false},
	{"2 + 3", "5", true},
	{"$a=1$", "$a=2$", false},
	{"1", "$f(2)=1$", true},
	{"\\angle C", "\\angle C", true},
	{"$\\frac{\\sqrt{5}}{5}$", "$\\frac1{\\sqrt5}$", true},
	{"4 \\text{ R } 2", "4", false},
	{"4\\text{ remainder }2", "4", false},
	{"17\\frac{1}{2}\\%", "17.5\\%", true},
	{"17.5", "17\\frac{1}{2}\\%", true},
	{"6 \\frac{2}{3}", "\\frac{20}{3}", true},
	{"6 \\frac{2}{3}", "6.67", false},
	{"\\frac{20}{3}", "6\\ \\frac{2}{3}", true},
	{"x+1", "x+1+0", true},
	{"(2x)^3", "8x^3", true},
	{"2x^3", "(2x)^3", false},
	{"\\sqrt{2x}", "\\sqrt{2}x", false},
	{"\\frac{1}{x+1}", "\\frac{1}{x}+1", false},
	{"1/(x+1)", "1/x+1", false},
	{"1/2x", "\\frac{x}{2}", true},
	{"ab/c", "\\frac{ab}{c}", true},
	{"a/(bc)", "\\frac{a}{bc}", true},
	{"e^{-x}", "\\frac{1}{e^x}", true},
};

START_TEST(tells_values_apart)
	{
		struct arena arena = {0};
		struct math_verdict v = check_with(
			values[_i].gold, values[_i].pred, &math_policy_default, &arena);
		ck_assert_msg((v.outcome == MATH_EQUAL) == values[_i].equal,
			"gold '%s', output '%s': %s by %s", values[_i].gold, values[_i].pred,
			math_outcome_name(v.outcome), math_method_name(v.method));
		arena_release(&arena);
	}
END_TEST

/* Every gold against every output: in both directions the same, but for the one rule that is off here. */
START_TEST(all_pairs_are_symmetric)
	{
		struct arena arena = {0};
		struct math_policy policy = math_policy_default;
		policy.inequality_for_interval = true;
		const struct math_value *a = math_parse(slice_z(values[_i].gold), &arena, NULL);
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			struct math_verdict ab, ba;
			const struct math_value *b = math_parse(
				slice_z(values[i].pred), &arena, NULL);
			if (!a || !b) {
				continue;
			}
			math_compare(a, b, &policy, &ab);
			math_compare(b, a, &policy, &ba);
			bool unread = ab.outcome == MATH_PRED_UNPARSED ||
				ba.outcome == MATH_PRED_UNPARSED;
			ck_assert_msg(unread || ab.outcome == ba.outcome, "'%s' and '%s': %s, %s",
				values[_i].gold, values[i].pred, math_outcome_name(ab.outcome),
				math_outcome_name(ba.outcome));
		}
		arena_release(&arena);
	}
END_TEST

static const char *const classes[][3] = {
	{"1/2", "0.5", "\\frac{2}{4}"},
	{"x^2+2x+1", "(x+1)^2", "1+2x+x^2"},
	{"\\frac{x^2-1}{x-1}", "x+1", "1+x"},
	{"\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}", "\\sqrt{0.5}"},
	{"\\{1,2\\}", "2, 1", "1 and 2"},
	{"(1,2)", "\\left(1, 2\\right)", "(1.0, 4/2)"},
	{"x^2+y^2=4", "2x^2+2y^2=8", "y^2=4-x^2"},
	{"-2 < x < 3", "(-2,3)", "x > -2 and x < 3"},
};

START_TEST(equal_forms_hash_alike)
	{
		struct arena arena = {0};
		uint64_t hashes[ARRAY_LEN(classes)];
		for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
			for (size_t j = 0; j < 3; j++) {
				const struct math_value *v = math_parse(
					slice_z(classes[i][j]), &arena, NULL);
				ck_assert_ptr_nonnull(v);
				hashes[i] = j == 0 ? math_value_hash(v) : hashes[i];
				ck_assert_msg(math_value_hash(v) == hashes[i], "'%s' and '%s'",
					classes[i][0], classes[i][j]);
			}
			for (size_t j = 0; j < i; j++) {
				ck_assert_msg(hashes[i] != hashes[j], "'%s' and '%s'",
					classes[i][0], classes[j][0]);
			}
		}
		arena_release(&arena);
	}
END_TEST

/* For voting: no gold, the best span that can be read. */
START_TEST(gives_the_answer_alone)
	{
		struct arena arena = {0};
		struct math_span span;
		const struct math_value *a = math_answer(slice_z("We get \\boxed{\\frac{2}{4}}."),
			&math_policy_default, &arena, &span);
		const struct math_value *b = math_answer(
			slice_z("So the answer is 0.5."), &math_policy_default, &arena, NULL);
		ck_assert(a && b && math_value_is_number(a));
		ck_assert_int_eq(span.rule, MATH_RULE_BOXED);
		ck_assert(math_value_hash(a) == math_value_hash(b));
		ck_assert_ptr_null(math_answer(
			slice_z("I do not know.\nSorry."), &math_policy_default, &arena, &span));
		arena_release(&arena);
	}
END_TEST

START_TEST(an_inequality_may_be_copied_from_the_question)
	{
		struct arena arena = {0};
		struct math_policy policy = math_policy_default;
		ck_assert_int_eq(
			check_with("[-2,7]", "-2 \\le x \\le 7", &policy, &arena).outcome, UNDEC);
		ck_assert_int_eq(
			check_with("-2 \\le x \\le 7", "[-2,7]", &policy, &arena).outcome, EQ);
		policy.inequality_for_interval = true;
		ck_assert_int_eq(
			check_with("[-2,7]", "-2 \\le x \\le 7", &policy, &arena).outcome, EQ);
		arena_release(&arena);
	}
END_TEST

static const struct {
	const char *gold, *output;
	int outcome;
} choices[] = {
	{"A", "The correct option is A.", EQ},
	{"A", "I choose B, since the first is wrong.", NE},
	{"B", "B and C", NONE_OR_UNREAD},
	{"B", "(B) or (C)", NONE_OR_UNREAD},
	{"B", "B/C", NONE_OR_UNREAD},
	{"A", "\\boxed{\\text{A}}", EQ},
	{"(A) Cecile", "A", EQ},
	{"(A) Cecile", "C", NE},
	{"(A) Cecile", "\\boxed{Cecile}", EQ},
	{"C", "The correct option is (C).", EQ},
	{"D", "The answer: D, it cannot be A or B", EQ},
	{"B", "B. It is not A.", EQ},
	{"A", "A good question without an answer", NONE_OR_UNREAD},
	{"E", "\\mathrm{E}*2", NONE_OR_UNREAD},
	{"B", "so it is \\boxed{B", NONE},
};

START_TEST(chooses_by_letter)
	{
		struct arena arena = {0};
		struct math_verdict v = check_with(
			choices[_i].gold, choices[_i].output, &math_policy_default, &arena);
		bool vague = choices[_i].outcome == NONE_OR_UNREAD;
		ck_assert_msg(vague ? v.outcome != MATH_EQUAL && v.outcome != MATH_DIFFERENT
				    : (int)v.outcome == choices[_i].outcome,
			"gold '%s', output '%s': %s", choices[_i].gold, choices[_i].output,
			math_outcome_name(v.outcome));
		arena_release(&arena);
	}
END_TEST

/* --- Where answers stand --- */

static const struct {
	const char *output;
	enum math_rule rule;
	int outcome; /* against 18 */
} outputs[] = {
	{"boxed{18}", MATH_RULE_BOXED, EQ},
	{"\boxed{18}", MATH_RULE_BOXED, EQ}, /* "\\boxed" read as JSON */
	{"unboxed{17}, so 18", MATH_RULE_NUMBER, EQ},
	{"\\boxed 18", MATH_RULE_BOXED, EQ},
	{"$\\boxed 18$ and not 17", MATH_RULE_BOXED, EQ},
	{"17 <answer>18</answer>", MATH_RULE_FINAL, EQ},
	{"<answer>17</answer>\nNo:\n<ANSWER>\n18\n</answer>", MATH_RULE_FINAL, EQ},
	{"\\boxed{17}<answer>18</answer>", MATH_RULE_FINAL, EQ},
	{"<answer>17</answer> \\boxed{18}", MATH_RULE_BOXED, EQ},
	{"<answer>17</answer> and <answer>18", MATH_RULE_FINAL, NE},
	{"#### The answer is 18", MATH_RULE_HASHES, EQ},
	{"Therefore, x = 18.", MATH_RULE_WHOLE, EQ},
	{"The answer is 18 (not 17).", MATH_RULE_ANSWER, EQ},
	{"so \\boxed{18}.", MATH_RULE_BOXED, EQ},
	{"\\boxed{5} is wrong, it is \\boxed{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18} and then 7", MATH_RULE_BOXED, EQ},
	{"\\fbox{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed {18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{\\frac{36}{2}}", MATH_RULE_BOXED, EQ},
	{"\\boxed{\\boxed{18}}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18\\text{ dollars}}", MATH_RULE_BOXED, EQ},
	{"\\boxed{18} \\boxed{18}", MATH_RULE_BOXED, EQ},
	{"\\boxed{1}\\boxed{8}", MATH_RULE_BOXED, NE},
	{"\\boxed{17} and \\boxed{18}", MATH_RULE_BOXED, NE},
	{"\\boxed{x = \\{18\\}}", MATH_RULE_BOXED, EQ},
	{"The answer is 18. \\boxed{19}", MATH_RULE_BOXED, NE},
	{"\\boxed{x+18}", MATH_RULE_BOXED, NE},
	{"\\boxed{x+18} so 18", MATH_RULE_BOXED, NE},
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
	{"The answer is 17 or 18.", MATH_RULE_ANSWER, NE},
	{"The answer is x = 17 or x = 18.", MATH_RULE_ANSWER, NE},
	{"The answer is $\\sqrt{18}$.", MATH_RULE_ANSWER, NE},
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
	{"We find \\sqrt{18}\nand that is it.", MATH_RULE_NUMBER, UNDEC},
	{"so we get\nx+18", MATH_RULE_NUMBER, UNDEC},
	{"so we get\n18x", MATH_RULE_NUMBER, UNDEC},
	{"They meet at\n7:18 then", MATH_RULE_NUMBER, UNDEC},
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
	{"\\boxed{", "(x+y+z+w)^{64}", "1}"},
	{"\\boxed{", "\\sqrt{x+", "1}"},
	{"\\boxed{", "\\sin(", "1}"},
	{"\\boxed{", "(a+b+c)(d+e+f)", "1}"},
	{"\\boxed{", "x^{y^{", "1}"},
	{"\\boxed{", "\\frac{1}{x+", "1}"},
	{"\\boxed{", "|x+", "1}"},
	{"\\boxed{", "\\{1,", "1}"},
	{"\\boxed{", "x<1,", "1}"},
	{"\\boxed{", "1\\pm ", "1}"},
	{"\\boxed{", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "1}"},
	{"\\boxed{", "\\begin{pmatrix}", "1}"},
	{"\\boxed{", "(1,2)\\cup ", "1}"},
	{"\\boxed{", "\\mathbb{R}\\setminus\\{1\\}\\cup ", "1}"},
	{"\\boxed{", "\\sqrt{99999999999971}*", "1}"},
	{"\\boxed{", "\\ln(99999999999971)+", "1}"},
	{"\\boxed{", "3000!*", "1}"},
	{"\\boxed{", "e^{", "1}"},
	{"\\boxed{", "\\log_2 ", "1}"},
	{"\\boxed{", "f(", "1}"},
	{"\\boxed{", "(1+\\sqrt{x+1})^{63}*", "1}"},
	{"\\boxed{", "\\cos(", "1}"},
	{"\\boxed{", "\\vec ", "1}"},
	{"\\boxed{", "3\\frac{3}{", "1}"},
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
		ck_assert_uint_ge(right * 100, n * 98);
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

/* Evaluation would find them equal, too; a vote's classes and speed rest on the form. */
static const struct {
	const char *gold, *pred;
} primes[] = {{"\\ln 12", "\\boxed{2\\ln 2+\\ln 3}"}, {"\\ln 45", "\\boxed{2\\ln 3+\\ln 5}"},
	{"\\ln 1001", "\\boxed{\\ln 7+\\ln 11+\\ln 13}"}, {"12^x", "\\boxed{4^x \\cdot 3^x}"},
	{"\\sqrt{12}", "\\boxed{2\\sqrt{3}}"}};

START_TEST(integers_are_taken_apart_by_their_primes)
	{
		struct arena arena = {0};
		struct math_verdict v = check_with(
			primes[_i].gold, primes[_i].pred, &math_policy_default, &arena);
		ck_assert_int_eq(v.outcome, MATH_EQUAL);
		ck_assert_msg(v.method == MATH_BY_NORMAL_FORM, "%s: %s", primes[_i].gold,
			math_method_name(v.method));
		arena_release(&arena);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("math");
	TCase *tc = tcase_create("math");
	tcase_add_loop_test(tc, decides, 0, (int)ARRAY_LEN(pairs));
	tcase_add_loop_test(
		tc, integers_are_taken_apart_by_their_primes, 0, (int)ARRAY_LEN(primes));
	tcase_add_loop_test(tc, tells_values_apart, 0, (int)ARRAY_LEN(values));
	tcase_add_loop_test(tc, all_pairs_are_symmetric, 0, (int)ARRAY_LEN(values));
	tcase_add_test(tc, equal_forms_hash_alike);
	tcase_add_test(tc, gives_the_answer_alone);
	tcase_add_test(tc, an_inequality_may_be_copied_from_the_question);
	tcase_add_loop_test(tc, chooses_by_letter, 0, (int)ARRAY_LEN(choices));
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
