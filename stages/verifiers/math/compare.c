/*
 * Equal, different, or not known. Numbers are compared exactly; a decimal may have been rounded, so it is also compared with a
 * tolerance. Text can be shown equal (it reads the same) but hardly ever different: only two single words are.
 */
#include "math_impl.h"

#include <string.h>

#define RULES_ALL                                                                  \
	(MATH_RULE_BIT(MATH_RULE_BOXED) | MATH_RULE_BIT(MATH_RULE_HASHES) |        \
		MATH_RULE_BIT(MATH_RULE_FINAL) | MATH_RULE_BIT(MATH_RULE_ANSWER) | \
		MATH_RULE_BIT(MATH_RULE_WHOLE) | MATH_RULE_BIT(MATH_RULE_MATH) |   \
		MATH_RULE_BIT(MATH_RULE_NUMBER))

const struct math_policy math_policy_default = {.rules = RULES_ALL};
const struct math_policy math_policy_strict = {
	.rules = MATH_RULE_BIT(MATH_RULE_BOXED) | MATH_RULE_BIT(MATH_RULE_HASHES)};
const struct math_policy math_policy_lax = {.rules = RULES_ALL, .open_box = true};

static void set(struct math_verdict *out, enum math_outcome outcome, enum math_method method)
{
	out->outcome = outcome;
	out->method = method;
}

/* The two numbers, as one reading of the percent signs gives them. */
static bool same_number(struct number a, struct number b, bool decimal,
	const struct math_policy *policy, struct math_verdict *out)
{
	if (number_equal(a, b)) {
		set(out, MATH_EQUAL, MATH_BY_RATIONAL);
		return true;
	}
	if (decimal && !policy->exact && number_close(a, b)) {
		set(out, MATH_EQUAL, MATH_BY_TOLERANCE);
		return true;
	}
	return false;
}

/* 10% is 0.1, and it is the 10 of a question that asks for per cent. */
static bool same_percent(const struct math_value *percent, const struct math_value *plain,
	bool decimal, const struct math_policy *policy, struct math_verdict *out)
{
	struct arena room = {0};
	struct work w;
	work_init(&w, &room);
	struct number hundredth = number_percent(&w, percent->number);
	bool same = same_number(hundredth, plain->number, decimal, policy, out);
	work_release(&w);
	arena_release(&room);
	return same;
}

static void compare_numbers(const struct math_value *a, const struct math_value *b,
	const struct math_policy *policy, struct math_verdict *out)
{
	bool decimal = a->decimal || b->decimal;
	bool named_apart = a->name.len > 0 && b->name.len > 0 && !slice_eq(a->name, b->name);
	bool units_apart = a->unit.len > 0 && b->unit.len > 0 && !slice_eq(a->unit, b->unit);
	if (named_apart || units_apart) {
		/* x = 5 and y = 5 are two statements; 1 km and 1000 m may be one. */
		bool letters = named_apart && a->name.len == 1 && b->name.len == 1;
		set(out, letters ? MATH_DIFFERENT : MATH_UNDECIDED,
			letters ? MATH_BY_TEXT : MATH_BY_NOTHING);
		return;
	}
	if (same_number(a->number, b->number, decimal, policy, out)) {
		return;
	}
	if (a->percent != b->percent &&
		same_percent(a->percent ? a : b, a->percent ? b : a, decimal, policy, out)) {
		return;
	}
	bool lists = a->comma && b->comma;
	set(out, lists ? MATH_UNDECIDED : MATH_DIFFERENT,
		lists ? MATH_BY_NOTHING : MATH_BY_RATIONAL);
}

void math_compare(const struct math_value *gold, const struct math_value *pred,
	const struct math_policy *policy, struct math_verdict *out)
{
	if (!gold || !pred) {
		set(out, gold ? MATH_PRED_UNPARSED : MATH_GOLD_UNPARSED, MATH_BY_NOTHING);
	} else if (gold->is_number && pred->is_number) {
		compare_numbers(gold, pred, policy, out);
	} else if (gold->is_number) {
		set(out, MATH_PRED_UNPARSED, MATH_BY_NOTHING);
	} else if (slice_eq(gold->source, pred->source)) {
		set(out, MATH_EQUAL, MATH_BY_STRING);
	} else if (pred->is_number) {
		/* "east" is no number; "\sqrt{4}" may be the number that was given. */
		bool word = gold->is_word && gold->text.len > 1;
		set(out, word ? MATH_DIFFERENT : MATH_UNDECIDED,
			word ? MATH_BY_TEXT : MATH_BY_NOTHING);
	} else if (slice_eq(gold->text, pred->text)) {
		set(out, MATH_EQUAL, MATH_BY_TEXT);
	} else {
		bool words = gold->is_word && pred->is_word;
		set(out, words ? MATH_DIFFERENT : MATH_UNDECIDED,
			words ? MATH_BY_TEXT : MATH_BY_NOTHING);
	}
}

/* --- An output against a gold --- */

static bool lies_inside(struct slice inner, struct slice outer)
{
	return inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len;
}

/* Does a text of words hold it together, rather than signs? "x < 7" and "5 or 6" are answers, "She has 7." is a sentence. */
static bool is_prose(struct slice s)
{
	for (size_t at = 0; at < s.len;) {
		size_t start = at;
		unsigned char lead = (unsigned char)s.data[at];
		if (lead >= 0xe3 && lead <= 0xed) {
			return true; /* scripts that write words without blanks */
		}
		while (at < s.len && math_is_letter(s.data[at])) {
			at++;
		}
		struct slice word = math_sub(s, start, at);
		bool command = start > 0 && (s.data[start - 1] == '\\' || s.data[start - 1] == '{');
		if (word.len >= 3 && !command && !slice_eq_z(word, "and")) {
			return true;
		}
		at += at == start;
	}
	return false;
}

/*
 * May span i still be tried after the spans before it, which could not be read as numbers? Not if one of them was a statement
 * of the answer: an unreadable answer must not be replaced by a number that happens to stand near it, let alone inside it.
 */
static bool still_open(const struct math_span *spans, size_t i)
{
	for (size_t j = 0; j < i; j++) {
		enum math_rule rule = spans[j].rule;
		if (rule == spans[i].rule) {
			continue;
		}
		if (rule == MATH_RULE_BOXED || rule == MATH_RULE_HASHES) {
			return false;
		}
		if (lies_inside(spans[i].text, spans[j].text) &&
			!(rule == MATH_RULE_WHOLE && is_prose(spans[j].text))) {
			return false;
		}
	}
	return true;
}

static void try_span(const struct math_value *gold, const struct math_span *span,
	const struct math_policy *policy, struct arena *arena, struct math_verdict *out)
{
	out->rule = span->rule;
	out->span = span->text;
	out->pred = math_parse(span->text, arena, NULL);
	math_compare(gold, out->pred, policy, out);
}

/*
 * A number answers a gold that is a number. For a gold in words, what stands last is no statement: it may show that the answer is
 * right, not that it is wrong.
 */
static bool is_decided(const struct math_value *gold, const struct math_verdict *v)
{
	if (!v->pred) {
		return false;
	}
	if (gold->is_number) {
		return v->pred->is_number;
	}
	return v->outcome == MATH_EQUAL ||
		(v->outcome == MATH_DIFFERENT && v->rule < MATH_RULE_MATH);
}

void math_check(const struct math_value *gold, struct slice output,
	const struct math_policy *policy, struct arena *arena, struct math_verdict *out)
{
	struct math_span spans[MATH_SPANS_MAX];
	*out = (struct math_verdict){.outcome = MATH_NO_ANSWER};
	if (!gold) {
		set(out, MATH_GOLD_UNPARSED, MATH_BY_NOTHING);
		return;
	}
	size_t n = math_extract(output, policy, arena, spans);
	struct math_verdict first = *out;
	for (size_t i = 0; i < n; i++) {
		if (!still_open(spans, i)) {
			continue;
		}
		try_span(gold, &spans[i], policy, arena, out);
		if (is_decided(gold, out)) {
			return;
		}
		/* What could not be read is told of the best span. */
		first = i == 0 ? *out : first;
	}
	*out = first;
	if (out->outcome == MATH_DIFFERENT) {
		set(out, MATH_UNDECIDED, MATH_BY_NOTHING);
	}
}

const struct math_value *math_answer(struct slice output, const struct math_policy *policy,
	struct arena *arena, struct math_span *out_span)
{
	struct math_span spans[MATH_SPANS_MAX];
	size_t n = math_extract(output, policy, arena, spans), best = 0;
	const struct math_value *first = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct math_value *v =
			still_open(spans, i) ? math_parse(spans[i].text, arena, NULL) : NULL;
		bool readable = v && v->is_number;
		if (v && (readable || !first)) {
			first = v;
			best = i;
		}
		if (readable) {
			break;
		}
	}
	if (first && out_span) {
		*out_span = spans[best];
	}
	return first;
}

/* --- Names --- */

const char *math_outcome_name(enum math_outcome outcome)
{
	static const char *const names[] = {
		"equal", "different", "no_answer", "pred_unparsed", "gold_unparsed", "undecided"};
	return names[outcome];
}

const char *math_method_name(enum math_method method)
{
	static const char *const names[] = {"none", "string", "rational", "tolerance", "text"};
	return names[method];
}

const char *math_rule_name(enum math_rule rule)
{
	static const char *const names[] = {
		"none", "boxed", "hashes", "final", "answer", "whole", "math", "number"};
	return names[rule];
}
