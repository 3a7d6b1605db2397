/*
 * Equal, different, or not known. Numbers are compared exactly; a decimal may have been rounded, so it is also compared with a
 * tolerance. Text can be shown equal (it reads the same) but hardly ever different: only two single words are.
 */
#include "math_impl.h"

#include <string.h>

#define COMPARE_COST 200 /* of a pair of values, in limb products */

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

/* One comparison under way: where its results live, what it may still spend, how it ends. */
struct comparison {
	struct work *w;
	const struct math_policy *policy;
	unsigned depth;
};

struct result {
	enum math_outcome outcome; /* EQUAL, DIFFERENT or UNDECIDED */
	enum math_method method;
};

static struct result result(enum math_outcome outcome, enum math_method method)
{
	return (struct result){outcome, outcome == MATH_UNDECIDED ? MATH_BY_NOTHING : method};
}

static const struct result undecided = {MATH_UNDECIDED, MATH_BY_NOTHING};

static struct result compare_values(
	struct comparison *c, const struct math_value *a, const struct math_value *b);

/* --- Scalars --- */

/* The two numbers, as one reading of the percent signs gives them. */
static struct result compare_numbers(
	struct comparison *c, struct number a, struct number b, bool decimal)
{
	if (number_equal(a, b)) {
		return result(MATH_EQUAL, MATH_BY_RATIONAL);
	}
	bool close = decimal && !c->policy->exact && number_close(a, b);
	return close ? result(MATH_EQUAL, MATH_BY_TOLERANCE)
		     : result(MATH_DIFFERENT, MATH_BY_RATIONAL);
}

static struct result compare_exprs(
	struct comparison *c, const struct expr *a, const struct expr *b, bool decimal)
{
	struct number x, y;
	if (!a || !b) {
		return undecided;
	}
	if (expr_is_number(a, &x) && expr_is_number(b, &y)) {
		return compare_numbers(c, x, y, decimal);
	}
	if (expr_equal(c->w, a, b)) {
		return result(MATH_EQUAL, MATH_BY_NORMAL_FORM);
	}
	switch (math_numeric(c->w, a, b, decimal && !c->policy->exact)) {
	case NUMERIC_EQUAL:
		return result(MATH_EQUAL, MATH_BY_NUMERIC);
	case NUMERIC_CLOSE:
		return result(MATH_EQUAL, MATH_BY_TOLERANCE);
	case NUMERIC_DIFFERENT:
		return result(MATH_DIFFERENT, MATH_BY_NUMERIC);
	case NUMERIC_UNKNOWN:
		break;
	}
	return undecided;
}

static struct result compare_scalars(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	bool decimal = a->decimal || b->decimal;
	if (a->base.len > 0 && b->base.len > 0 && !slice_eq(a->base, b->base)) {
		return result(MATH_DIFFERENT, MATH_BY_RATIONAL);
	}
	/* 1 km and 1000 m may be one. */
	if (a->unit.len > 0 && b->unit.len > 0 && !slice_eq(a->unit, b->unit)) {
		return undecided;
	}
	bool numbers = a->is_number && b->is_number;
	const struct expr *x = numbers ? NULL : value_expr(c->w, a),
			  *y = numbers ? NULL : value_expr(c->w, b);
	struct result r = numbers ? compare_numbers(c, a->number, b->number, decimal)
				  : compare_exprs(c, x, y, decimal);
	/* 1:30 as a time is not 2:60, and nothing is known of it but what it says. */
	if ((a->clock && (b->clock || r.outcome != MATH_EQUAL)) ||
		(b->clock && r.outcome != MATH_EQUAL)) {
		return undecided;
	}
	/* The m of "1000 m" may be a unit as well as a letter. */
	if ((a->unit.len > 0 && y && expr_has(y, KERNEL_VARIABLE)) ||
		(b->unit.len > 0 && x && expr_has(x, KERNEL_VARIABLE))) {
		return undecided;
	}
	if (r.outcome == MATH_EQUAL || a->percent == b->percent) {
		return r;
	}
	/* 10% is 0.1, and it is the 10 of a question that asks for per cent. */
	const struct expr *hundredth = expr_number(c->w, (struct number){.num = 1, .den = 100});
	x = value_expr(c->w, a);
	y = value_expr(c->w, b);
	x = a->percent ? expr_mul(c->w, x, hundredth) : x;
	y = b->percent ? expr_mul(c->w, y, hundredth) : y;
	struct result hundredths = compare_exprs(c, x, y, decimal);
	return hundredths.outcome == MATH_EQUAL ? hundredths : r;
}

/* --- Several --- */

static struct result compare_in_order(struct comparison *c, const struct math_value *a,
	const struct math_value *b, enum math_method method)
{
	enum math_outcome all = MATH_EQUAL;
	if (a->n != b->n) {
		return result(MATH_DIFFERENT, method);
	}
	for (size_t i = 0; i < a->n; i++) {
		struct result r = compare_values(c, a->items[i], b->items[i]);
		if (r.outcome == MATH_DIFFERENT) {
			return result(MATH_DIFFERENT, method);
		}
		all = r.outcome == MATH_EQUAL ? all : MATH_UNDECIDED;
	}
	return result(all, method);
}

/* Is every element of `a` among those of `b`? */
static enum math_outcome is_within(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	enum math_outcome all = MATH_EQUAL;
	for (size_t i = 0; i < a->n; i++) {
		enum math_outcome found = MATH_DIFFERENT;
		/* Most lists come in the same order. */
		for (size_t j = 0; j < b->n && found != MATH_EQUAL; j++) {
			struct result r = compare_values(c, a->items[i], b->items[(i + j) % b->n]);
			found = r.outcome == MATH_DIFFERENT ? found : r.outcome;
		}
		if (found == MATH_DIFFERENT) {
			return MATH_DIFFERENT;
		}
		all = found == MATH_EQUAL ? all : MATH_UNDECIDED;
	}
	return all;
}

/* Elements that are said twice count once. */
static struct result compare_sets(struct comparison *c, const struct math_value *a,
	const struct math_value *b, enum math_method method)
{
	if (a->n == 0 || b->n == 0) {
		return result(a->n == b->n ? MATH_EQUAL : MATH_DIFFERENT, method);
	}
	enum math_outcome there = is_within(c, a, b);
	enum math_outcome back = there == MATH_DIFFERENT ? there : is_within(c, b, a);
	enum math_outcome both = there == MATH_EQUAL ? back : there;
	return result(back == MATH_DIFFERENT ? MATH_DIFFERENT : both, method);
}

static struct result compare_intervals(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	const struct math_value *x = value_interval(c->w, a), *y = value_interval(c->w, b);
	if (!x || !y) {
		return undecided;
	}
	struct result ends = compare_in_order(c, x, y, MATH_BY_INTERVAL);
	bool same = x->open_low == y->open_low && x->open_high == y->open_high;
	return same ? ends : result(MATH_DIFFERENT, MATH_BY_INTERVAL);
}

static struct result compare_statements(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	if (a->kind != b->kind || (a->kind == VALUE_INEQUALITY && a->open_low != b->open_low)) {
		return undecided;
	}
	if (expr_equal(c->w, a->expr, b->expr)) {
		return result(MATH_EQUAL, MATH_BY_EQUATION);
	}
	/* x^2 = 4 and (x - 2)(x + 2) = 0 are one form; what differs in form may still have the same solutions. */
	return math_numeric(c->w, a->expr, b->expr, false) == NUMERIC_EQUAL
		? result(MATH_EQUAL, MATH_BY_EQUATION)
		: undecided;
}

static struct result compare_texts(const struct math_value *a, const struct math_value *b)
{
	if (slice_eq(a->text, b->text)) {
		return result(MATH_EQUAL, MATH_BY_TEXT);
	}
	return a->is_word && b->is_word ? result(MATH_DIFFERENT, MATH_BY_TEXT) : undecided;
}

/* --- By kind --- */

static bool is_scalar(const struct math_value *v)
{
	return v->kind == VALUE_NUMBER || v->kind == VALUE_EXPR;
}

static bool is_statement(const struct math_value *v)
{
	return v->kind == VALUE_EQUATION || v->kind == VALUE_UNEQUAL || v->kind == VALUE_INEQUALITY;
}

/* Without order: {1, 2}, and "1, 2". */
static bool is_unordered(const struct math_value *v)
{
	return v->kind == VALUE_LIST || v->kind == VALUE_SET || v->kind == VALUE_UNION;
}

static bool is_sequence(const struct math_value *v)
{
	return v->kind == VALUE_TUPLE || v->kind == VALUE_BRACKET || v->kind == VALUE_MATRIX;
}

/* A list of one is what is in it. */
static const struct math_value *sole(const struct math_value *v)
{
	return is_unordered(v) && v->n == 1 ? v->items[0] : v;
}

/* [[1, 2], [3, 4]] against a matrix: row by row. */
static struct result compare_rows(
	struct comparison *c, const struct math_value *matrix, const struct math_value *rows)
{
	size_t width = matrix->rows > 0 ? matrix->n / matrix->rows : 0;
	enum math_outcome all = MATH_EQUAL;
	if (rows->n != matrix->rows) {
		return undecided;
	}
	for (size_t i = 0; i < rows->n; i++) {
		const struct math_value *row = rows->items[i];
		struct math_value line = *matrix;
		line.items = matrix->items + i * width;
		line.n = width;
		if (row->kind != VALUE_BRACKET && row->kind != VALUE_TUPLE) {
			return undecided;
		}
		struct result r = compare_in_order(c, &line, row, MATH_BY_SEQUENCE);
		if (r.outcome == MATH_DIFFERENT) {
			return r;
		}
		all = r.outcome == MATH_EQUAL ? all : MATH_UNDECIDED;
	}
	return result(all, MATH_BY_SEQUENCE);
}

static struct result compare_sequences(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	bool matrices = a->kind == VALUE_MATRIX && b->kind == VALUE_MATRIX;
	if (matrices && a->rows != b->rows) {
		return result(MATH_DIFFERENT, MATH_BY_SEQUENCE);
	}
	if (a->kind == b->kind) {
		return compare_in_order(c, a, b, MATH_BY_SEQUENCE);
	}
	/* A column or a row may be written as a tuple; [a, b] is no pair. */
	const struct math_value *matrix = a->kind == VALUE_MATRIX ? a
		: b->kind == VALUE_MATRIX                         ? b
								  : NULL;
	const struct math_value *other = matrix == a ? b : a;
	bool nested = matrix && other->n > 0 && other->kind == VALUE_BRACKET &&
		is_sequence(other->items[0]);
	if (nested) {
		return compare_rows(c, matrix, other);
	}
	bool vector = matrix && (matrix->rows == 1 || matrix->rows == matrix->n) &&
		(a->n > 2 || a->kind == VALUE_TUPLE || b->kind == VALUE_TUPLE);
	struct result r = vector ? compare_in_order(c, a, b, MATH_BY_SEQUENCE) : undecided;
	return r.outcome == MATH_EQUAL ? r
		: matrix               ? undecided
				       : result(MATH_DIFFERENT, MATH_BY_SEQUENCE);
}

/* Alternatives, and several values of one letter, are no tuple; "x = 2 and y = 3" is the pair. */
static bool may_be_sequence(const struct math_value *list, const struct math_value *sequence)
{
	bool letters = list->n > 0 && list->items[0]->name.len > 0;
	bool vector = sequence->kind != VALUE_MATRIX || sequence->rows == 1 ||
		sequence->rows == sequence->n;
	bool several = list->name.len > 0 && sequence->name.len == 0;
	return vector && !several && (!list->spoken || letters) &&
		(sequence->kind != VALUE_BRACKET || sequence->n > 2);
}

/* "3/4 or 0.75" says one thing twice. */
static struct result compare_with_one(
	struct comparison *c, const struct math_value *one, const struct math_value *many)
{
	bool all = many->kind == VALUE_LIST && many->n > 0;
	for (size_t i = 0; i < many->n && all; i++) {
		all = compare_values(c, one, many->items[i]).outcome == MATH_EQUAL;
	}
	return result(all ? MATH_EQUAL : MATH_DIFFERENT, MATH_BY_SET);
}

static struct result compare_kinds(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	if (is_scalar(a) && is_scalar(b)) {
		return compare_scalars(c, a, b);
	}
	if (a->kind == VALUE_TEXT || b->kind == VALUE_TEXT) {
		return a->kind == b->kind ? compare_texts(a, b) : undecided;
	}
	if (is_statement(a) || is_statement(b)) {
		return compare_statements(c, a, b);
	}
	if (a->kind == VALUE_UNION || b->kind == VALUE_UNION) {
		a = value_merged(c->w, a);
		b = value_merged(c->w, b);
	}
	if (is_unordered(a) && is_unordered(b)) {
		return compare_sets(c, a, b, MATH_BY_SET);
	}
	if (a->kind == VALUE_INTERVAL || b->kind == VALUE_INTERVAL) {
		return is_scalar(a) || is_scalar(b) ? result(MATH_DIFFERENT, MATH_BY_INTERVAL)
						    : compare_intervals(c, a, b);
	}
	if (is_sequence(a) && is_sequence(b)) {
		return compare_sequences(c, a, b);
	}
	if (is_scalar(a) || is_scalar(b)) {
		return compare_with_one(c, is_scalar(a) ? a : b, is_scalar(a) ? b : a);
	}
	/* "1, 2" without brackets is the pair if the other says so; a set is not. */
	const struct math_value *list = a->kind == VALUE_LIST ? a
		: b->kind == VALUE_LIST                       ? b
							      : NULL;
	const struct math_value *sequence = is_sequence(a) ? a : b;
	if (list && is_sequence(sequence) && may_be_sequence(list, sequence)) {
		struct result r = compare_in_order(c, a, b, MATH_BY_SEQUENCE);
		return r.outcome == MATH_EQUAL ? r : undecided;
	}
	return list ? undecided : result(MATH_DIFFERENT, MATH_BY_SET);
}

static struct result compare_readings(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	struct result r = compare_kinds(c, a, b);
	const struct math_value *pairs[3][2] = {{a->other, b}, {a, b->other}, {a->other, b->other}};
	for (int i = 0; i < 3 && r.outcome != MATH_EQUAL; i++) {
		if (!pairs[i][0] || !pairs[i][1]) {
			continue;
		}
		struct result again = compare_kinds(c, sole(pairs[i][0]), sole(pairs[i][1]));
		if (again.outcome == MATH_EQUAL ||
			(r.outcome == MATH_DIFFERENT && again.outcome == MATH_UNDECIDED &&
				!a->comma && !b->comma)) {
			r = again;
		}
	}
	/* "2,74" and "2,75" may be lists, of which one element is the same. */
	return a->comma && b->comma && r.outcome == MATH_DIFFERENT ? undecided : r;
}

/* x = 5 and y = 5 are two statements, whatever the numbers; longer names may be words for the same. */
static bool names_apart(const struct math_value *a, const struct math_value *b, struct result *out)
{
	if (a->name.len == 0 || b->name.len == 0 || slice_eq(a->name, b->name)) {
		return false;
	}
	bool letters = a->name.len == 1 && b->name.len == 1;
	*out = letters ? result(MATH_DIFFERENT, MATH_BY_TEXT) : undecided;
	return true;
}

static struct result compare_values(
	struct comparison *c, const struct math_value *a, const struct math_value *b)
{
	struct result r = undecided;
	if (!work_spend(c->w, COMPARE_COST) || c->depth >= MATH_DEPTH_MAX) {
		return undecided;
	}
	c->depth++;
	if (a != b && names_apart(a, b, &r)) {
		/* Sets of reals say the same in any letter only when nothing else is said. */
		bool equations = a->other && b->other;
		r = equations ? compare_kinds(c, a->other, b->other) : r;
	} else {
		r = a == b ? result(MATH_EQUAL, MATH_BY_STRING)
			   : compare_readings(c, sole(a), sole(b));
	}
	c->depth--;
	return r;
}

/* An answer that states an inequality may be the question's; see math_policy. */
static bool repeats_question(const struct math_value *gold, const struct math_value *pred,
	const struct math_policy *policy)
{
	return pred->stated && !gold->stated && gold->kind != VALUE_TEXT &&
		!policy->inequality_for_interval;
}

static void compare_on(struct work *w, const struct math_value *gold, const struct math_value *pred,
	const struct math_policy *policy, struct math_verdict *out)
{
	struct comparison c = {.w = w, .policy = policy};
	if (!gold || !pred) {
		set(out, gold ? MATH_PRED_UNPARSED : MATH_GOLD_UNPARSED, MATH_BY_NOTHING);
		return;
	}
	if (slice_eq(gold->source, pred->source)) {
		enum math_method method = gold->is_number && pred->is_number ? MATH_BY_RATIONAL
									     : MATH_BY_STRING;
		set(out, MATH_EQUAL, method);
		return;
	}
	struct result r = compare_values(&c, gold, pred);
	if (r.outcome == MATH_EQUAL && repeats_question(gold, pred, policy)) {
		r = undecided;
	}
	/* The text of the option that the gold names. */
	if ((gold->option.len > 0 && pred->kind == VALUE_TEXT &&
		    slice_eq(gold->option, pred->text)) ||
		(pred->option.len > 0 && gold->kind == VALUE_TEXT &&
			slice_eq(pred->option, gold->text))) {
		r = result(MATH_EQUAL, MATH_BY_CHOICE);
	}
	bool word = gold->is_word && gold->text.len > 1 && pred->is_number;
	if (word) {
		/* "east" is no number. */
		r = result(MATH_DIFFERENT, MATH_BY_TEXT);
	} else if (r.outcome == MATH_UNDECIDED && gold->is_number && pred->kind == VALUE_TEXT) {
		r = (struct result){MATH_PRED_UNPARSED, MATH_BY_NOTHING};
	}
	set(out, r.outcome, r.method);
}

void math_compare(const struct math_value *gold, const struct math_value *pred,
	const struct math_policy *policy, struct math_verdict *out)
{
	struct arena room = {0};
	struct work w;
	work_init(&w, &room);
	compare_on(&w, gold, pred, policy, out);
	arena_release(&room);
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
		/* A formula that is set off within a text stands for itself. */
		bool set_off = rule == MATH_RULE_WHOLE &&
			(spans[i].rule == MATH_RULE_MATH || is_prose(spans[j].text));
		if (lies_inside(spans[i].text, spans[j].text) && !set_off) {
			return false;
		}
	}
	return true;
}

static void try_span(const struct math_value *gold, const struct math_span *span,
	const struct math_policy *policy, struct work *w, struct math_verdict *out)
{
	out->rule = span->rule;
	out->span = span->text;
	out->pred = math_parse_on(w, span->text, NULL);
	compare_on(w, gold, out->pred, policy, out);
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
	if (gold->is_number && v->pred->is_number) {
		return true;
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
	struct work w;
	work_init(&w, arena);
	size_t n = math_extract(output, policy, arena, spans);
	/* An opened box is no answer, so letters around it are none. */
	bool prose = n > 0 ||
		((policy->rules & MATH_RULE_BIT(MATH_RULE_WHOLE)) &&
			!memmem(output.data, output.len, "boxed", 5));
	if (gold->choice && prose && math_check_choice(gold, output, spans, n, out)) {
		return;
	}
	*out = (struct math_verdict){.outcome = MATH_NO_ANSWER};
	struct math_verdict first = *out;
	for (size_t i = 0; i < n; i++) {
		if (!still_open(spans, i)) {
			continue;
		}
		try_span(gold, &spans[i], policy, &w, out);
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
		const struct math_value *v = still_open(spans, i)
			? math_parse(spans[i].text, arena, NULL)
			: NULL;
		bool readable = v && v->kind != VALUE_TEXT;
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
	static const char *const names[] = {"none", "string", "rational", "tolerance",
		"normal_form", "numeric", "equation", "set", "interval", "sequence", "choice",
		"text"};
	return names[method];
}

const char *math_rule_name(enum math_rule rule)
{
	static const char *const names[] = {
		"none", "boxed", "hashes", "final", "answer", "whole", "math", "number"};
	return names[rule];
}
