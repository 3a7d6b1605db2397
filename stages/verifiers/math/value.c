/*
 * What can be done with values that are more than one expression: element by element for lists (a \pm b is a list of two) and
 * matrices, unions and differences of sets of reals, inequalities as intervals. NULL stands for "makes no sense" throughout, so
 * that callers chain.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

#define ITEMS_MAX 256

const struct expr *value_expr(struct work *w, const struct math_value *v)
{
	if (!v || (v->kind != VALUE_NUMBER && v->kind != VALUE_EXPR)) {
		return NULL;
	}
	return v->kind == VALUE_EXPR ? v->expr : expr_number(w, v->number);
}

struct math_value *value_new(
	struct work *w, enum value_kind kind, const struct math_value **items, size_t n)
{
	struct math_value *v = arena_alloc(w->arena, sizeof(*v));
	*v = (struct math_value){.kind = kind, .items = items, .n = n};
	return v;
}

struct math_value *value_of_expr(struct work *w, const struct expr *e)
{
	struct number number;
	if (!e) {
		return NULL;
	}
	struct math_value *v = value_new(w, VALUE_EXPR, NULL, 0);
	if (expr_is_number(e, &number)) {
		v->kind = VALUE_NUMBER;
		v->is_number = true;
		v->number = number;
	} else {
		v->expr = e;
	}
	return v;
}

/* --- Arithmetic --- */

typedef struct math_value *binary(
	struct work *w, const struct math_value *a, const struct math_value *b);

static struct math_value *add(
	struct work *w, const struct math_value *a, const struct math_value *b);
static struct math_value *subtract(
	struct work *w, const struct math_value *a, const struct math_value *b);

/* f of every element of the list that one of the two is, or of both, and the other. */
static struct math_value *over_list(
	struct work *w, binary *f, const struct math_value *a, const struct math_value *b)
{
	bool left = a->kind == VALUE_LIST, right = b->kind == VALUE_LIST;
	size_t n_left = left ? a->n : 1, n_right = right ? b->n : 1;
	if (n_left * n_right > ITEMS_MAX || !work_spend(w, n_left * n_right * 100)) {
		return NULL;
	}
	const struct math_value **items = arena_alloc_array(
		w->arena, n_left * n_right + 1, sizeof(*items));
	for (size_t i = 0; i < n_left * n_right; i++) {
		items[i] = f(
			w, left ? a->items[i / n_right] : a, right ? b->items[i % n_right] : b);
		if (!items[i]) {
			return NULL;
		}
	}
	return value_new(w, VALUE_LIST, items, n_left * n_right);
}

static struct math_value *each(
	struct work *w, binary *f, const struct math_value *a, const struct math_value *b)
{
	if (a->n != b->n || a->rows != b->rows) {
		return NULL;
	}
	const struct math_value **items = arena_alloc_array(w->arena, a->n + 1, sizeof(*items));
	for (size_t i = 0; i < a->n; i++) {
		items[i] = f(w, a->items[i], b->items[i]);
		if (!items[i]) {
			return NULL;
		}
	}
	struct math_value *v = value_new(w, a->kind, items, a->n);
	v->rows = a->rows;
	return v;
}

static struct math_value *sum(
	struct work *w, const struct math_value *a, const struct math_value *b, bool minus)
{
	binary *f = minus ? subtract : add;
	if (!a || !b) {
		return NULL;
	}
	if (a->kind == VALUE_LIST || b->kind == VALUE_LIST) {
		return over_list(w, f, a, b);
	}
	if (a->kind == VALUE_MATRIX && b->kind == VALUE_MATRIX) {
		return each(w, f, a, b);
	}
	const struct expr *x = value_expr(w, a), *y = value_expr(w, b);
	return value_of_expr(w, minus ? expr_sub(w, x, y) : expr_add(w, x, y));
}

static struct math_value *add(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	return sum(w, a, b, false);
}

static struct math_value *subtract(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	return sum(w, a, b, true);
}

struct math_value *value_add(
	struct work *w, const struct math_value *a, const struct math_value *b, bool minus)
{
	return sum(w, a, b, minus);
}

static struct math_value *scaled(
	struct work *w, const struct math_value *matrix, const struct math_value *by)
{
	const struct math_value **items = arena_alloc_array(
		w->arena, matrix->n + 1, sizeof(*items));
	for (size_t i = 0; i < matrix->n; i++) {
		items[i] = value_mul(w, matrix->items[i], by);
		if (!items[i]) {
			return NULL;
		}
	}
	struct math_value *v = value_new(w, VALUE_MATRIX, items, matrix->n);
	v->rows = matrix->rows;
	return v;
}

static struct math_value *matrix_product(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	size_t inner = a->n / a->rows, columns = b->n / b->rows, n = a->rows * columns;
	if (inner != b->rows || n > ITEMS_MAX || !work_spend(w, n * inner * 100)) {
		return NULL;
	}
	const struct math_value **items = arena_alloc_array(w->arena, n + 1, sizeof(*items));
	for (size_t i = 0; i < n; i++) {
		const struct math_value *sum = value_of_expr(w, expr_int(w, 0));
		for (size_t k = 0; k < inner && sum; k++) {
			const struct math_value *x = a->items[i / columns * inner + k];
			sum = add(w, sum, value_mul(w, x, b->items[k * columns + i % columns]));
		}
		if (!sum) {
			return NULL;
		}
		items[i] = sum;
	}
	struct math_value *v = value_new(w, VALUE_MATRIX, items, n);
	v->rows = a->rows;
	return v;
}

struct math_value *value_mul(struct work *w, const struct math_value *a, const struct math_value *b)
{
	if (!a || !b) {
		return NULL;
	}
	if (a->kind == VALUE_LIST || b->kind == VALUE_LIST) {
		return over_list(w, value_mul, a, b);
	}
	if (a->kind == VALUE_MATRIX) {
		return b->kind == VALUE_MATRIX ? matrix_product(w, a, b) : scaled(w, a, b);
	}
	if (b->kind == VALUE_MATRIX) {
		return scaled(w, b, a);
	}
	return value_of_expr(w, expr_mul(w, value_expr(w, a), value_expr(w, b)));
}

struct math_value *value_div(struct work *w, const struct math_value *a, const struct math_value *b)
{
	if (!a || !b) {
		return NULL;
	}
	if (a->kind == VALUE_LIST || b->kind == VALUE_LIST) {
		return over_list(w, value_div, a, b);
	}
	const struct expr *by = value_expr(w, b);
	if (a->kind == VALUE_MATRIX) {
		return by ? value_mul(w, a, value_of_expr(w, expr_div(w, expr_int(w, 1), by)))
			  : NULL;
	}
	return value_of_expr(w, expr_div(w, value_expr(w, a), by));
}

struct math_value *value_pow(struct work *w, const struct math_value *a, const struct math_value *b)
{
	if (!a || !b) {
		return NULL;
	}
	if (a->kind == VALUE_LIST || b->kind == VALUE_LIST) {
		return over_list(w, value_pow, a, b);
	}
	if (a->kind == VALUE_MATRIX) {
		struct math_value *out = NULL;
		bool power = b->is_number && !b->number.big && b->number.den == 1 &&
			b->number.num >= 1 && b->number.num <= 16;
		for (int64_t i = 0; power && i < b->number.num && (out || i == 0); i++) {
			out = i == 0 ? scaled(w, a, value_of_expr(w, expr_int(w, 1)))
				     : matrix_product(w, out, a);
		}
		return out;
	}
	return value_of_expr(w, expr_pow(w, value_expr(w, a), value_expr(w, b)));
}

/* --- Sets of reals --- */

static bool is_infinite(const struct math_value *v)
{
	return v->kind == VALUE_EXPR && expr_has(v->expr, KERNEL_INFINITY);
}

static struct math_value *interval(struct work *w, const struct math_value *low,
	const struct math_value *high, bool open_low, bool open_high)
{
	const struct math_value **ends = arena_alloc_array(w->arena, 2, sizeof(*ends));
	ends[0] = low;
	ends[1] = high;
	struct math_value *v = value_new(w, VALUE_INTERVAL, ends, 2);
	/* Nobody means that infinity belongs to it. */
	v->open_low = open_low || is_infinite(low);
	v->open_high = open_high || is_infinite(high);
	return v;
}

const struct math_value *value_interval(struct work *w, const struct math_value *v)
{
	if (v->kind == VALUE_INTERVAL) {
		bool odd = (!v->open_low && is_infinite(v->items[0])) ||
			(!v->open_high && is_infinite(v->items[1]));
		return odd ? interval(w, v->items[0], v->items[1], v->open_low, v->open_high) : v;
	}
	if ((v->kind != VALUE_TUPLE && v->kind != VALUE_BRACKET) || v->n != 2 ||
		!value_expr(w, v->items[0]) || !value_expr(w, v->items[1])) {
		return NULL;
	}
	bool open = v->kind == VALUE_TUPLE;
	return interval(w, v->items[0], v->items[1], open, open);
}

static size_t parts_of(const struct math_value *v)
{
	return v->kind == VALUE_UNION ? v->n : 1;
}

static struct math_value *joined_sets(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	size_t n = a->n + b->n;
	const struct math_value **items = arena_alloc_array(w->arena, n + 1, sizeof(*items));
	for (size_t i = 0; i < n; i++) {
		items[i] = i < a->n ? a->items[i] : b->items[i - a->n];
	}
	return n <= ITEMS_MAX ? value_new(w, VALUE_SET, items, n) : NULL;
}

struct math_value *value_union(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	const struct math_value *both[2] = {a, b};
	size_t n = 0, all = a && b ? parts_of(a) + parts_of(b) : 0;
	if (all == 0 || all > ITEMS_MAX || !work_spend(w, all * 100)) {
		return NULL;
	}
	if (a->kind == VALUE_SET && b->kind == VALUE_SET) {
		return joined_sets(w, a, b);
	}
	const struct math_value **items = arena_alloc_array(w->arena, all, sizeof(*items));
	for (int i = 0; i < 2; i++) {
		for (size_t j = 0; j < parts_of(both[i]); j++) {
			const struct math_value *one = both[i]->kind == VALUE_UNION
				? both[i]->items[j]
				: both[i];
			items[n] = one->kind == VALUE_SET ? one : value_interval(w, one);
			if (!items[n++]) {
				return NULL;
			}
		}
	}
	return value_new(w, VALUE_UNION, items, n);
}

/* A piece of the real line: an interval, or a point, whose ends are one. */
struct span {
	const struct math_value *low, *high;
	bool open_low, open_high;
};

/* False: an end is not known well enough to say which comes first. */
static bool order_ends(
	struct work *w, const struct math_value *a, const struct math_value *b, int *out_sign)
{
	const struct expr *x = value_expr(w, a), *y = value_expr(w, b);
	if (x && y && expr_equal(w, x, y)) {
		*out_sign = 0;
		return true;
	}
	return x && y && math_order(w, x, y, out_sign);
}

/* Into its place by the lower end. */
static bool insert_span(struct work *w, struct span *spans, size_t n, struct span s)
{
	size_t at = n;
	for (; at > 0; at--) {
		int sign;
		if (!order_ends(w, spans[at - 1].low, s.low, &sign)) {
			return false;
		}
		if (sign < 0 || (sign == 0 && (!spans[at - 1].open_low || s.open_low))) {
			break;
		}
		spans[at] = spans[at - 1];
	}
	spans[at] = s;
	return true;
}

static bool spans_of(struct work *w, const struct math_value *v, struct span *spans, size_t *out_n)
{
	*out_n = 0;
	for (size_t i = 0; i < parts_of(v); i++) {
		const struct math_value *one = v->kind == VALUE_UNION ? v->items[i] : v;
		bool points = one->kind == VALUE_SET;
		const struct math_value *range = points ? NULL : value_interval(w, one);
		for (size_t j = 0; j < (points ? one->n : 1); j++) {
			struct span s = points
				? (struct span){one->items[j], one->items[j], false, false}
				: range ? (struct span){range->items[0], range->items[1],
						  range->open_low, range->open_high}
					: (struct span){NULL, NULL, false, false};
			if (!s.low || *out_n == ITEMS_MAX || !insert_span(w, spans, *out_n, s)) {
				return false;
			}
			++*out_n;
		}
	}
	return *out_n > 0;
}

/* Those that overlap or touch become one; how many are left, 0 if that cannot be said. */
static size_t merge_spans(struct work *w, struct span *spans, size_t n)
{
	size_t kept = 1;
	for (size_t i = 1; i < n; i++) {
		struct span *last = &spans[kept - 1];
		int gap, end;
		if (!order_ends(w, spans[i].low, last->high, &gap) ||
			!order_ends(w, spans[i].high, last->high, &end)) {
			return 0;
		}
		if (gap > 0 || (gap == 0 && last->open_high && spans[i].open_low)) {
			spans[kept++] = spans[i];
		} else if (end > 0) {
			last->high = spans[i].high;
			last->open_high = spans[i].open_high;
		} else if (end == 0) {
			last->open_high = last->open_high && spans[i].open_high;
		}
	}
	return kept;
}

const struct math_value *value_merged(struct work *w, const struct math_value *v)
{
	if (v->kind != VALUE_UNION || !work_spend(w, v->n * 100)) {
		return v;
	}
	struct span *spans = arena_alloc_array(w->arena, ITEMS_MAX, sizeof(*spans));
	size_t n = 0, n_items = 0, n_points = 0;
	n = spans_of(w, v, spans, &n) ? n : 0;
	n = n ? merge_spans(w, spans, n) : 0;
	if (n == 0) {
		return v;
	}
	const struct math_value **items = arena_alloc_array(w->arena, n + 1, sizeof(*items));
	const struct math_value **points = arena_alloc_array(w->arena, n, sizeof(*points));
	for (size_t i = 0; i < n; i++) {
		int sign;
		bool point = !spans[i].open_low && !spans[i].open_high &&
			order_ends(w, spans[i].low, spans[i].high, &sign) && sign == 0;
		if (point) {
			points[n_points++] = spans[i].low;
		} else {
			items[n_items++] = interval(w, spans[i].low, spans[i].high,
				spans[i].open_low, spans[i].open_high);
		}
	}
	if (n_points > 0) {
		items[n_items++] = value_new(w, VALUE_SET, points, n_points);
	}
	return n_items == 1 ? items[0] : value_new(w, VALUE_UNION, items, n_items);
}

/* One interval without one point: itself, or two. */
static struct math_value *without_point(
	struct work *w, const struct math_value *v, const struct math_value *point)
{
	int low, high;
	const struct expr *p = value_expr(w, point);
	if (!p || !math_order(w, p, value_expr(w, v->items[0]), &low) ||
		!math_order(w, value_expr(w, v->items[1]), p, &high)) {
		return NULL;
	}
	struct math_value *left = interval(w, v->items[0], point, v->open_low, true);
	struct math_value *right = interval(w, point, v->items[1], true, v->open_high);
	if (low < 0 || high < 0) {
		return interval(w, v->items[0], v->items[1], v->open_low, v->open_high);
	}
	return low == 0 ? right : high == 0 ? left : value_union(w, left, right);
}

struct math_value *value_without(
	struct work *w, const struct math_value *a, const struct math_value *b)
{
	if (!a || !b || b->kind != VALUE_SET || b->n == 0) {
		return NULL;
	}
	for (size_t i = 0; i < b->n && a; i++) {
		struct math_value *out = NULL;
		bool many = a->kind == VALUE_UNION;
		for (size_t j = 0; j < (many ? a->n : 1); j++) {
			const struct math_value *part = value_interval(w, many ? a->items[j] : a);
			part = part ? without_point(w, part, b->items[i]) : NULL;
			if (!part) {
				return NULL;
			}
			out = out ? value_union(w, out, part)
				  : value_union(w, part, value_new(w, VALUE_SET, NULL, 0));
		}
		/* The empty set that made a union of it goes again. */
		size_t kept = 0;
		for (size_t j = 0; out && j < out->n; j++) {
			if (out->items[j]->kind != VALUE_SET || out->items[j]->n > 0) {
				out->items[kept++] = out->items[j];
			}
		}
		if (!out) {
			return NULL;
		}
		out->n = kept;
		a = out;
	}
	return value_new(w, VALUE_UNION, a->items, a->n);
}

/* c * x + k: the variable, else NULL. */
static const struct kernel *linear_in(
	struct work *w, const struct expr *e, struct number *out_c, const struct expr **out_rest)
{
	const struct kernel *x[2];
	if (!e || expr_variables(e, x, 2) != 1) {
		return NULL;
	}
	const struct expr *name = expr_variable(w, x[0]->name);
	for (size_t i = 0; i < e->n; i++) {
		const struct term *t = &e->terms[i];
		if (t->n == 1 && t->factors[0].kernel->kind == KERNEL_VARIABLE &&
			t->factors[0].num == 1 && t->factors[0].den == 1) {
			*out_c = t->c;
			*out_rest = expr_sub(w, e, expr_mul(w, name, expr_number(w, t->c)));
			return *out_rest && !expr_has(*out_rest, KERNEL_VARIABLE) ? x[0] : NULL;
		}
	}
	return NULL;
}

struct math_value *value_inequality(
	struct work *w, const struct expr *low, const struct expr *high, bool closed)
{
	struct number c, size;
	const struct expr *rest, *e = expr_sub(w, high, low);
	const struct kernel *x = linear_in(w, e, &c, &rest);
	if (x) {
		/* c x + rest > 0 */
		const struct expr *limit = expr_neg(w, expr_div(w, rest, expr_number(w, c)));
		const struct math_value *end = value_of_expr(w, limit);
		bool below = number_sign(c) < 0;
		const struct expr *far = expr_constant(w, KERNEL_INFINITY);
		const struct math_value *infinity = value_of_expr(
			w, below ? expr_neg(w, far) : far);
		if (!end || !infinity) {
			return NULL;
		}
		struct math_value *v = below ? interval(w, infinity, end, true, !closed)
					     : interval(w, end, infinity, !closed, true);
		v->stated = true;
		v->name = x->name;
		return v;
	}
	if (!e || e->n == 0 || !expr_has(e, KERNEL_VARIABLE)) {
		return NULL;
	}
	size = number_sign(e->terms[0].c) < 0 ? number_neg(w, e->terms[0].c) : e->terms[0].c;
	struct math_value *v = value_new(w, VALUE_INEQUALITY, NULL, 0);
	v->expr = expr_div(w, e, expr_number(w, size));
	v->open_low = !closed;
	return v->expr ? v : NULL;
}

/* --- Hash, and for people --- */

bool math_value_is_number(const struct math_value *v)
{
	return v->kind == VALUE_NUMBER;
}

uint64_t math_value_hash(const struct math_value *v)
{
	uint64_t h = 0;
	struct arena room = {0};
	struct work w;
	switch (v->kind) {
	case VALUE_NUMBER:
		return number_hash(v->number);
	case VALUE_EXPR:
	case VALUE_EQUATION:
	case VALUE_UNEQUAL:
	case VALUE_INEQUALITY:
		return math_hash_mix(expr_hash(v->expr), v->kind);
	case VALUE_TEXT:
		return math_hash_bytes(VALUE_TEXT, v->text.data, v->text.len);
	case VALUE_LIST:
	case VALUE_SET:
	case VALUE_UNION:
		/* Without order, and the same for {1, 2} and "1, 2". */
		for (size_t i = 0; i < v->n; i++) {
			h += math_hash_mix(math_value_hash(v->items[i]), 1);
		}
		return v->n == 1 && v->kind != VALUE_UNION ? math_value_hash(v->items[0]) : h;
	case VALUE_MATRIX:
	case VALUE_TUPLE:
	case VALUE_BRACKET:
	case VALUE_INTERVAL:
		break;
	}
	work_init(&w, &room);
	const struct math_value *range = value_interval(&w, v);
	h = range ? 1000u + range->open_low * 2u + range->open_high : v->kind + v->rows * 64u;
	for (size_t i = 0; i < v->n; i++) {
		h = math_hash_mix(h, math_value_hash(v->items[i]));
	}
	arena_release(&room);
	return h;
}

static void format_items(
	const struct math_value *v, const char *open, const char *close, struct str *out)
{
	str_append_z(out, open);
	for (size_t i = 0; i < v->n && out->len < 600; i++) {
		size_t columns = v->rows ? v->n / v->rows : 0;
		str_append_z(out,
			i == 0                                ? ""
				: columns && i % columns == 0 ? "; "
				: v->kind == VALUE_UNION      ? " | "
							      : ", ");
		math_value_format(v->items[i], out);
	}
	str_append_z(out, close);
}

static void format_bare(const struct math_value *v, struct str *out)
{
	switch (v->kind) {
	case VALUE_NUMBER:
		number_format(v->number, out);
		str_append_z(out, v->percent ? "%" : "");
		break;
	case VALUE_EXPR:
		expr_format(v->expr, out);
		str_append_z(out, v->percent ? "%" : "");
		break;
	case VALUE_EQUATION:
		expr_format(v->expr, out);
		str_append_z(out, " = 0");
		break;
	case VALUE_UNEQUAL:
		expr_format(v->expr, out);
		str_append_z(out, " != 0");
		break;
	case VALUE_INEQUALITY:
		expr_format(v->expr, out);
		str_append_z(out, v->open_low ? " > 0" : " >= 0");
		break;
	case VALUE_TEXT:
		str_append(out, v->text.data, MIN(v->text.len, (size_t)200));
		break;
	case VALUE_SET:
		format_items(v, "{", "}", out);
		break;
	case VALUE_TUPLE:
		format_items(v, "(", ")", out);
		break;
	case VALUE_BRACKET:
		format_items(v, "[", "]", out);
		break;
	case VALUE_INTERVAL:
		format_items(v, v->open_low ? "(" : "[", v->open_high ? ")" : "]", out);
		break;
	case VALUE_MATRIX:
		format_items(v, "matrix(", ")", out);
		break;
	case VALUE_LIST:
	case VALUE_UNION:
		format_items(v, "", "", out);
		break;
	}
}

void math_value_format(const struct math_value *v, struct str *out)
{
	if (v->name.len > 0) {
		str_append(out, v->name.data, MIN(v->name.len, (size_t)40));
		str_append_z(
			out, v->kind == VALUE_INTERVAL || v->kind == VALUE_UNION ? " in " : " = ");
	}
	format_bare(v, out);
	if (v->base.len > 0) {
		str_append_c(out, '_');
		str_append(out, v->base.data, MIN(v->base.len, (size_t)8));
	}
}
