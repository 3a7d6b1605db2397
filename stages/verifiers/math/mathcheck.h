/*
 * Decides whether a model's output gives the same answer as a gold answer: numbers, expressions, lists, sets, intervals, tuples,
 * matrices, equations, inequalities, options by letter, text. A small library of its own: it needs base/ (arena, slices, UTF-8),
 * GMP and MPFR, knows nothing of prompts or candidates, and keeps no state: no globals, no locale, no signals.
 *
 *	struct arena golds = {0}, scratch = {0};
 *	const struct math_value *gold = math_parse_gold(slice_z("#### 1,234"), &golds);
 *	struct math_verdict v;
 *	math_check(gold, slice_z("... so the answer is $1234."), &math_policy_default, &scratch, &v);
 *	if (v.outcome == MATH_EQUAL) ...
 *	arena_reset(&scratch);
 *
 * A gold is parsed once and may then be read by any number of threads. Everything that belongs to one output lives in the
 * caller's arena; reset it after each pair. Hostile text is cheap: what is looked at, the size of every number and the work
 * on them are limited, so a limit reached is an outcome and never a hang.
 */
#ifndef VERIFIERS_MATH_MATHCHECK_H
#define VERIFIERS_MATH_MATHCHECK_H

#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MATH_SCAN_BYTES_MAX (64 << 10) /* the end of an output that is looked at */
#define MATH_SPAN_BYTES_MAX (4 << 10) /* an answer longer than this is not read */
#define MATH_TOKENS_MAX 2000
#define MATH_DEPTH_MAX 64
#define MATH_BITS_MAX (1 << 17) /* of a numerator or a denominator */
#define MATH_SPANS_MAX 16

/* Only EQUAL accepts. The last three say that nothing was shown: ask another verifier, never count them as wrong. */
enum math_outcome {
	MATH_EQUAL,
	MATH_DIFFERENT,
	MATH_NO_ANSWER, /* the output holds nothing that the policy's rules find */
	MATH_PRED_UNPARSED, /* an answer was found, but it cannot be read, or not as a kind the gold can be compared with */
	MATH_GOLD_UNPARSED,
	MATH_UNDECIDED /* both were read, neither equal nor different is certain */
};

/* How it was decided. */
enum math_method {
	MATH_BY_NOTHING,
	MATH_BY_STRING, /* the same characters */
	MATH_BY_RATIONAL, /* exact numbers */
	MATH_BY_TOLERANCE, /* a rounded decimal, see math_policy */
	MATH_BY_NORMAL_FORM, /* exact expressions: the difference is zero */
	MATH_BY_NUMERIC, /* evaluated at several points, with proven error bounds */
	MATH_BY_EQUATION, /* the same up to a factor; inequalities too */
	MATH_BY_SET, /* elements without order */
	MATH_BY_INTERVAL, /* ends and whether they belong to it */
	MATH_BY_SEQUENCE, /* elements in order: tuples, matrices */
	MATH_BY_CHOICE, /* the letter of an option */
	MATH_BY_TEXT /* the same after case, spacing and wrappers are taken away */
};

/* Where an answer may be looked for, best first. */
enum math_rule {
	MATH_RULE_NONE,
	MATH_RULE_BOXED, /* \boxed{...}, \fbox{...}: the last closed one */
	MATH_RULE_HASHES, /* #### ... */
	MATH_RULE_FINAL, /* final answer is ..., Final answer: ... */
	MATH_RULE_ANSWER, /* answer is ..., Answer: ..., A: ... */
	MATH_RULE_WHOLE, /* a short output of one line is itself the answer */
	MATH_RULE_MATH, /* the last formula of the last paragraph */
	MATH_RULE_NUMBER /* the last number */
};
#define MATH_RULE_BIT(rule) (1u << (rule))

struct math_policy {
	unsigned rules; /* MATH_RULE_BIT of those allowed */
	bool open_box; /* a \boxed{ that is never closed still counts, to the end of the text */
	bool keep_thinking; /* also look before the last </think> */
	/*
	 * Do not accept rounded decimals. Otherwise, where one side is written as a decimal, a and b are equal at
	 * |a - b| <= 0.5e-6 * max(1, |a|, |b|), and relatively so where both are below 1e-3.
	 */
	bool exact;
	/* An inequality in the output is an answer for a gold interval. It could have been copied from the question. */
	bool inequality_for_interval;
};

extern const struct math_policy math_policy_default; /* every rule */
extern const struct math_policy math_policy_strict; /* boxed and hashes only */
extern const struct math_policy math_policy_lax; /* every rule, and open boxes */

struct math_span {
	struct slice text; /* points into the output, or into the arena */
	enum math_rule rule;
};

/*
 * Finds candidates for the answer, best first; at most MATH_SPANS_MAX. Spans of one rule stand together. A span's text is
 * stripped of delimiters and closing punctuation. `text` must outlive the spans.
 */
size_t math_extract(struct slice text, const struct math_policy *policy, struct arena *arena,
	struct math_span spans[MATH_SPANS_MAX]);

struct math_value;

/*
 * Reads one answer: what it can be read as, else text. NULL when it is empty, too long, or over a limit;
 * out_error_at (may be NULL) then gets the offset. The value borrows from `span` and from `arena`.
 */
const struct math_value *math_parse(struct slice span, struct arena *arena, size_t *out_error_at);
/* Copies what it needs. A gold may be a bare answer or a worked solution that ends in \boxed{}, #### or "A: ". */
const struct math_value *math_parse_gold(struct slice text, struct arena *arena);

/*
 * The answer of an output alone, for voting: the best span that can be read, as a value; NULL if there is none. out_span (may be
 * NULL) then gets it. The value borrows from `output` and `arena`.
 */
const struct math_value *math_answer(struct slice output, const struct math_policy *policy,
	struct arena *arena, struct math_span *out_span);
/*
 * Equal for values of the same canonical form, so classes may be made by hash first. Values that compare equal all the same (a
 * rounded decimal, 10% and 0.1, what only numeric evaluation shows) may differ in it: compare one value of each class.
 */
uint64_t math_value_hash(const struct math_value *v);

bool math_value_is_number(const struct math_value *v);
/* For people and logs: 3/4, 0.25 as 1/4, 10%, 2*3^(1/2), x^2 - 1 = 0, {1, 2}; text normalised. Long ones are cut. */
void math_value_format(const struct math_value *v, struct str *out);

struct math_verdict {
	enum math_outcome outcome;
	enum math_method method;
	enum math_rule rule; /* that gave the answer */
	struct slice span; /* the answer as it stands in the output */
	const struct math_value
		*pred; /* NULL if it could not be read, and where a letter decided */
};

/* Symmetric but for an inequality against an interval, see math_policy. gold or pred NULL: GOLD_UNPARSED, PRED_UNPARSED. Fills outcome and method only. */
void math_compare(const struct math_value *gold, const struct math_value *pred,
	const struct math_policy *policy, struct math_verdict *out);
/* extract, parse and compare in one. */
void math_check(const struct math_value *gold, struct slice output,
	const struct math_policy *policy, struct arena *arena, struct math_verdict *out);

/* Static words: "equal", "rational", "boxed". */
const char *math_outcome_name(enum math_outcome outcome);
const char *math_method_name(enum math_method method);
const char *math_rule_name(enum math_rule rule);

#endif
