/*
 * Answers as a whole: chains of relations, and lists of them. What a chain says (a name and its value, an equation, a range of one
 * letter) is decided here; its sides are grammar.c's.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

#define SIDES_MAX 16

/* --- Relations --- */

enum relation {
	RELATION_NONE,
	RELATION_EQUAL,
	RELATION_ABOUT,
	RELATION_LESS,
	RELATION_LESS_EQUAL,
	RELATION_GREATER,
	RELATION_GREATER_EQUAL,
	RELATION_UNEQUAL,
	RELATION_IN
};

static const struct {
	const char *name;
	enum relation relation;
} relations[] = {
	{"le", RELATION_LESS_EQUAL},
	{"leq", RELATION_LESS_EQUAL},
	{"leqslant", RELATION_LESS_EQUAL},
	{"ge", RELATION_GREATER_EQUAL},
	{"geq", RELATION_GREATER_EQUAL},
	{"geqslant", RELATION_GREATER_EQUAL},
	{"lt", RELATION_LESS},
	{"gt", RELATION_GREATER},
	{"ne", RELATION_UNEQUAL},
	{"neq", RELATION_UNEQUAL},
	{"approx", RELATION_ABOUT},
	{"simeq", RELATION_ABOUT},
	{"in", RELATION_IN},
};

static enum relation relation_at(struct slice s, size_t at, size_t *out_bytes)
{
	char c = s.data[at], after = at + 1 < s.len ? s.data[at + 1] : ' ';
	*out_bytes = 1;
	if (c == '<' || c == '>') {
		bool equal = after == '=';
		*out_bytes += equal;
		return c == '<' ? (equal ? RELATION_LESS_EQUAL : RELATION_LESS)
			: equal ? RELATION_GREATER_EQUAL
				: RELATION_GREATER;
	}
	if (c == '!' && after == '=') {
		*out_bytes = 2;
		return RELATION_UNEQUAL;
	}
	if (c == '=') {
		*out_bytes += after == '=';
		return RELATION_EQUAL;
	}
	if (c != '\\') {
		return RELATION_NONE;
	}
	size_t end = at + 1;
	while (end < s.len && math_is_letter(s.data[end])) {
		end++;
	}
	/* \left and \right belong to what follows; only whole names count. */
	for (size_t i = 0; i < ARRAY_LEN(relations); i++) {
		if (slice_eq_z(math_sub(s, at + 1, end), relations[i].name)) {
			*out_bytes = end - at;
			return relations[i].relation;
		}
	}
	*out_bytes = end > at + 1 ? end - at : MIN(s.len - at, (size_t)2);
	return RELATION_NONE;
}

struct chain {
	struct slice sides[SIDES_MAX];
	enum relation before[SIDES_MAX]; /* the sign before the side */
	size_t n;
};

static bool cut_relations(struct slice s, struct chain *chain)
{
	size_t from = 0;
	int depth = 0;
	enum relation before = RELATION_NONE;
	chain->n = 0;
	for (size_t at = 0, bytes; at <= s.len; at += bytes) {
		enum relation here = RELATION_NONE;
		bytes = 1;
		if (at < s.len) {
			int turn = math_bracket_at(s, at, &bytes);
			depth += turn;
			here = turn == 0 ? relation_at(s, at, &bytes) : RELATION_NONE;
			here = depth == 0 ? here : RELATION_NONE;
		}
		if (here == RELATION_NONE && at < s.len) {
			continue;
		}
		if (chain->n == SIDES_MAX) {
			return false;
		}
		chain->sides[chain->n] = math_trim(math_sub(s, from, MIN(at, s.len)));
		chain->before[chain->n++] = before;
		before = here;
		from = at + bytes;
	}
	return true;
}

/* Negative powers of letters and sums multiplied away, the first coefficient 1: one form for all multiples. */
static const struct expr *equation_form(struct work *w, const struct expr *e)
{
	e = expr_cleared(w, e);
	for (unsigned round = 0; e && round < MATH_VARIABLES_MAX; round++) {
		const struct expr *by = NULL;
		for (size_t i = 0; i < e->n && !by; i++) {
			for (size_t j = 0; j < e->terms[i].n && !by; j++) {
				const struct factor *f = &e->terms[i].factors[j];
				if (f->kernel->kind == KERNEL_VARIABLE && f->num < 0) {
					struct number power = {.num = -f->num, .den = f->den};
					by = expr_pow(w, expr_variable(w, f->kernel->name),
						expr_number(w, power));
				}
			}
		}
		if (!by) {
			break;
		}
		e = expr_mul(w, e, by);
	}
	return e && e->n > 0 ? expr_div(w, e, expr_number(w, e->terms[0].c)) : NULL;
}

static struct math_value *equation(
	struct work *w, const struct expr *left, const struct expr *right, enum value_kind kind)
{
	const struct expr *e = equation_form(w, expr_sub(w, left, right));
	if (!e || !expr_has(e, KERNEL_VARIABLE)) {
		return NULL;
	}
	struct math_value *v = value_new(w, kind, NULL, 0);
	v->expr = e;
	return v;
}

static const struct expr *side_expr(struct context *c, struct slice s)
{
	return value_expr(c->w, math_parse_side(c, s));
}

/* Both half-lines of a chain, or of "x > 1 and x < 2". NULL if they are none of one letter. */
struct math_value *math_intersection(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	int sign;
	if (!a || !b || a->kind != VALUE_INTERVAL || b->kind != VALUE_INTERVAL ||
		!slice_eq(a->name, b->name)) {
		return NULL;
	}
	const struct math_value **ends = arena_alloc_array(w->arena, 2, sizeof(*ends));
	struct math_value *v = value_new(w, VALUE_INTERVAL, ends, 2);
	*v = *a;
	v->items = ends;
	for (int end = 0; end < 2; end++) {
		if (!math_order(
			    w, value_expr(w, a->items[end]), value_expr(w, b->items[end]), &sign)) {
			/* The one that is infinite gives way; two letters cannot be told apart. */
			const struct expr *x = value_expr(w, a->items[end]);
			bool open = x && expr_has(x, KERNEL_INFINITY);
			const struct expr *y = value_expr(w, b->items[end]);
			if (!open && !(y && expr_has(y, KERNEL_INFINITY))) {
				return NULL;
			}
			sign = open == (end == 0) ? -1 : 1;
		}
		const struct math_value *from = (end == 0 ? sign >= 0 : sign <= 0) ? a : b;
		ends[end] = from->items[end];
		if (end == 0) {
			v->open_low = from->open_low || (sign == 0 && b->open_low);
		} else {
			v->open_high = from->open_high || (sign == 0 && b->open_high);
		}
	}
	return v;
}

static bool is_less(enum relation r)
{
	return r == RELATION_LESS || r == RELATION_LESS_EQUAL;
}

static bool is_greater(enum relation r)
{
	return r == RELATION_GREATER || r == RELATION_GREATER_EQUAL;
}

/* a < x < b in either sense. */
static struct math_value *parse_inequality(struct context *c, const struct chain *chain)
{
	struct math_value *out = NULL;
	const struct expr *left = side_expr(c, chain->sides[0]);
	for (size_t i = 1; i < chain->n; i++) {
		enum relation r = chain->before[i];
		const struct expr *right = side_expr(c, chain->sides[i]);
		if (is_less(r) != is_less(chain->before[1]) || (!is_less(r) && !is_greater(r))) {
			return NULL;
		}
		bool closed = r == RELATION_LESS_EQUAL || r == RELATION_GREATER_EQUAL;
		struct math_value *one = is_less(r) ? value_inequality(c->w, left, right, closed)
						    : value_inequality(c->w, right, left, closed);
		out = i == 1 ? one : math_intersection(c->w, out, one);
		if (!out) {
			return NULL;
		}
		left = right;
	}
	return out;
}

/* Which side of a = b = c \approx d counts: the last exact one that can be read. */
static struct math_value *chain_value(
	struct context *c, const struct chain *chain, size_t *out_side)
{
	size_t last = chain->n - 1;
	if (chain->before[last] == RELATION_ABOUT) {
		size_t first = last;
		while (first > 0 && chain->before[first] == RELATION_ABOUT) {
			first--;
		}
		/* In "x \approx 3" the first is a name. */
		struct math_value *exact = math_parse_side(c, chain->sides[first]);
		bool name = first == 0 && exact && exact->kind == VALUE_EXPR &&
			expr_has(exact->expr, KERNEL_VARIABLE);
		if (exact && !name) {
			*out_side = first;
			return exact;
		}
	}
	*out_side = last;
	return math_parse_side(c, chain->sides[last]);
}

static struct math_value *parse_equality(struct context *c, const struct chain *chain)
{
	size_t side = 0;
	struct math_value *v = chain_value(c, chain, &side);
	struct slice first = chain->sides[0];
	struct math_value label = {0};
	if (!v) {
		return NULL;
	}
	if (side == 0) {
		return v;
	}
	if (math_read_name(c->w, first, &label)) {
		v->name = label.name;
		const struct expr *left = v->kind == VALUE_EXPR ? side_expr(c, first) : NULL;
		v->other = left && chain->n == 2 ? equation(c->w, left, v->expr, VALUE_EQUATION)
						 : NULL;
		return v;
	}
	const struct expr *left = side_expr(c, first), *right = value_expr(c->w, v);
	if (!left) {
		return NULL;
	}
	if (right && expr_is_variable(right) && !expr_has(left, KERNEL_VARIABLE)) {
		struct math_value *swapped = value_of_expr(c->w, left);
		swapped->name = right->terms[0].factors[0].kernel->name;
		return swapped;
	}
	if (chain->n == 2 && right &&
		(expr_has(left, KERNEL_VARIABLE) || expr_has(right, KERNEL_VARIABLE))) {
		return equation(c->w, left, right, VALUE_EQUATION);
	}
	return v;
}

struct math_value *math_parse_item(struct context *c, struct slice s)
{
	struct chain *chain = arena_alloc(c->w->arena, sizeof(*chain));
	if (!cut_relations(s, chain)) {
		return NULL;
	}
	if (chain->n == 1) {
		return math_parse_side(c, s);
	}
	bool equal = true, in = chain->n == 2 && chain->before[1] == RELATION_IN;
	for (size_t i = 1; i < chain->n; i++) {
		equal = equal &&
			(chain->before[i] == RELATION_EQUAL || chain->before[i] == RELATION_ABOUT);
	}
	if (equal) {
		return parse_equality(c, chain);
	}
	if (in) {
		struct math_value *v = math_parse_side(c, chain->sides[1]), label = {0};
		bool named = v && math_read_name(c->w, chain->sides[0], &label);
		if (named) {
			v->name = label.name;
		}
		return named ? v : NULL;
	}
	if (chain->n == 2 && chain->before[1] == RELATION_UNEQUAL) {
		return equation(c->w, side_expr(c, chain->sides[0]), side_expr(c, chain->sides[1]),
			VALUE_UNEQUAL);
	}
	return parse_inequality(c, chain);
}

/* --- Lists --- */

/* Words may be elements: "red, blue". */
static struct math_value *parse_element(struct context *c, struct slice s)
{
	struct math_value *v = math_parse_item(c, s);
	bool word = false;
	if (v) {
		return v;
	}
	struct slice text = math_normal_text(s, c->w->arena, &word);
	if (!word) {
		return NULL;
	}
	v = value_new(c->w, VALUE_TEXT, NULL, 0);
	v->text = text;
	v->is_word = true;
	return v;
}

/* The name that is the list's: of the first element alone, or of all. It moves to the list. */
static void lift_name(struct work *w, struct math_value *list)
{
	const struct math_value *first = list->items[0];
	bool all = first->name.len > 0, alone = all;
	for (size_t i = 1; i < list->n; i++) {
		all = all && slice_eq(first->name, list->items[i]->name);
		alone = alone && list->items[i]->name.len == 0;
	}
	for (size_t i = 0; i < list->n && (all || alone); i++) {
		struct math_value *copy = arena_alloc(w->arena, sizeof(*copy));
		*copy = *list->items[i];
		list->name = i == 0 ? copy->name : list->name;
		copy->name = (struct slice){0};
		copy->other = NULL;
		list->items[i] = copy;
	}
}

/* "x < 1 or x > 2": one set of reals. NULL if it is not that. */
static struct math_value *join_intervals(
	struct work *w, const struct math_value **items, const struct piece *pieces, size_t n)
{
	struct math_value *out = NULL;
	for (size_t i = 0; i < n; i++) {
		if (items[i]->kind != VALUE_INTERVAL || !items[i]->stated ||
			!slice_eq(items[i]->name, items[0]->name)) {
			return NULL;
		}
	}
	if (n == 2 && pieces[1].before != SEPARATOR_OR) {
		struct math_value *both = math_intersection(w, items[0], items[1]);
		int sign = -1;
		if (both &&
			math_order(w, value_expr(w, both->items[0]), value_expr(w, both->items[1]),
				&sign) &&
			sign < 0) {
			return both;
		}
		if (both && sign < 0) {
			return both;
		}
	}
	for (size_t i = 1; i < n; i++) {
		out = value_union(w, i == 1 ? items[0] : out, items[i]);
	}
	if (out) {
		out->name = items[0]->name;
		out->stated = true;
	}
	return out;
}

/*
 * "p = 5, q = 2 and p = 7, q = 2" is a list of two lists: where stronger separators cut it into groups of one size, all of them
 * assignments. Gives the size of a group, 0 if there are none.
 */
static size_t group_size(
	const struct math_value *const *items, const struct piece *pieces, size_t n)
{
	size_t size = 0, run = 1;
	for (size_t i = 1; i <= n; i++) {
		if (i < n && pieces[i].before == SEPARATOR_COMMA) {
			run++;
			continue;
		}
		if (run < 2 || (size > 0 && run != size)) {
			return 0;
		}
		size = run;
		run = 1;
	}
	for (size_t i = 0; i < n; i++) {
		if (items[i]->name.len == 0 || !slice_eq(items[i]->name, items[i % size]->name)) {
			return 0;
		}
	}
	return size < n ? size : 0;
}

static struct math_value *make_list(
	struct work *w, const struct math_value **items, const struct piece *pieces, size_t n)
{
	struct math_value *joined = join_intervals(w, items, pieces, n);
	size_t size = group_size(items, pieces, n);
	if (joined) {
		return joined;
	}
	if (size > 0) {
		const struct math_value **groups = arena_alloc_array(
			w->arena, n / size + 1, sizeof(*groups));
		for (size_t i = 0; i < n / size; i++) {
			groups[i] = value_new(w, VALUE_LIST, items + i * size, size);
		}
		return value_new(w, VALUE_LIST, groups, n / size);
	}
	struct math_value *list = value_new(w, VALUE_LIST, items, n);
	for (size_t i = 1; i < n; i++) {
		list->spoken |= pieces[i].before >= SEPARATOR_AND;
	}
	lift_name(w, list);
	return list;
}

/* "k \in \mathbb{Z}" behind an answer with k. */
static bool is_condition(struct slice s)
{
	size_t at = 0;
	while (at < s.len && (math_is_letter(s.data[at]) || math_is_blank(s.data[at]))) {
		at++;
	}
	return at > 0 && at <= 3 &&
		(MATH_STARTS(s, at, "\\in \\mathbb") || MATH_STARTS(s, at, "\\in\\mathbb") ||
			MATH_STARTS(s, at, "\\in \\Bbb") || MATH_STARTS(s, at, "\\in Z") ||
			MATH_STARTS(s, at, "\\in N"));
}

/* The same in brackets at the end: it goes. */
static struct slice without_condition(struct slice s)
{
	const char *open = s.len > 0 && s.data[s.len - 1] == ')' ? memrchr(s.data, '(', s.len)
								 : NULL;
	size_t at = open ? (size_t)(open - s.data) : 0;
	return at > 0 && is_condition(math_sub(s, at + 1, s.len - 1))
		? math_trim(math_sub(s, 0, at))
		: s;
}

/* The lines of a system of equations as a list; len 0 if s is none. */
static struct slice system_lines(struct work *w, struct slice s)
{
	static const char *const begins[] = {"\\{\\begin{array}", "\\{ \\begin{array}",
		"\\begin{cases}", "\\{\\begin{aligned}", "\\{\\begin{matrix}"};
	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		const char *begin = memmem(s.data, s.len, begins[i], strlen(begins[i]));
		size_t from = begin ? (size_t)(begin - s.data) + strlen(begins[i]) : s.len;
		const char *end = memmem(s.data + from, s.len - from, "\\end{", 5);
		if (!begin || !end || begin - s.data > 6) {
			continue;
		}
		if (from < s.len && s.data[from] == '{') {
			const char *columns = memchr(s.data + from, '}', s.len - from);
			from = (size_t)(columns - s.data) + 1;
		}
		struct slice inner = math_sub(
			s, MIN(from, (size_t)(end - s.data)), (size_t)(end - s.data));
		char *lines = arena_memdup0(w->arena, inner.data, inner.len);
		for (size_t at = 0; at < inner.len; at++) {
			bool row = MATH_STARTS(inner, at, "\\\\");
			lines[at] = row ? ';' : inner.data[at] == '&' ? ' ' : inner.data[at];
			if (row) {
				lines[++at] = ' ';
			}
		}
		return (struct slice){lines, inner.len};
	}
	return (struct slice){"", 0};
}

struct math_value *math_parse_full(struct work *w, struct slice s)
{
	struct context c = {.w = w};
	struct slice lines = system_lines(w, s);
	s = lines.len > 0 ? lines : without_condition(s);
	struct piece *pieces = arena_alloc_array(
		w->arena, MIN(s.len + 1, (size_t)MATH_ITEMS_MAX), sizeof(*pieces));
	size_t n = math_split(s, false, pieces, MIN(s.len + 1, (size_t)MATH_ITEMS_MAX));
	if (n == 0) {
		return NULL;
	}
	if (n == 1) {
		return math_parse_item(&c, pieces[0].text);
	}
	const struct math_value **items = arena_alloc_array(w->arena, n + 1, sizeof(*items));
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && is_condition(pieces[i].text)) {
			continue;
		}
		items[kept] = parse_element(&c, pieces[i].text);
		pieces[kept] = pieces[i];
		if (!items[kept++]) {
			return NULL;
		}
	}
	if (kept == 1) {
		return math_parse_item(&c, pieces[0].text);
	}
	return make_list(w, items, pieces, kept);
}
