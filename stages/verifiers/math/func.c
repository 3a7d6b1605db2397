/*
 * Functions by name, with the rules that bring their arguments to one form: exact values where they are known, tangents and the
 * like as sines and cosines, logarithms of products as sums. Where there is no rule the function is a kernel.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

/* n / 12 of a turn of pi: sin(pi * n / 12) for n from 0 to 6, as (a + b * sqrt(c)) / 4 with two roots at most. */
static const struct expr *sine_of_twelfths(struct work *w, int64_t n)
{
	static const struct {
		int8_t whole, root2, root3, root6; /* quarters */
	} table[] = {{0, 0, 0, 0}, {0, -1, 0, 1}, {2, 0, 0, 0}, {0, 2, 0, 0}, {0, 0, 2, 0},
		{0, 1, 0, 1}, {4, 0, 0, 0}};
	n = ((n % 24) + 24) % 24;
	bool minus = n > 12;
	n = minus ? n - 12 : n;
	n = n > 6 ? 12 - n : n;
	const int64_t parts[][2] = {
		{1, table[n].whole}, {2, table[n].root2}, {3, table[n].root3}, {6, table[n].root6}};
	const struct expr *sum = expr_int(w, 0);
	const struct expr *half = expr_number(w, (struct number){.num = 1, .den = 2});
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (parts[i][1] != 0) {
			const struct expr *root = expr_pow(w, expr_int(w, parts[i][0]), half);
			sum = expr_add(w, sum, expr_mul(w, expr_int(w, parts[i][1]), root));
		}
	}
	return expr_div(w, sum, expr_int(w, minus ? -4 : 4));
}

/* Is `a` a multiple of pi / 12? */
static bool twelfths(struct work *w, const struct expr *a, int64_t *out)
{
	struct number c = number_int(0);
	if (a->n == 1) {
		const struct term *t = &a->terms[0];
		if (t->n != 1 || t->factors[0].kernel->kind != KERNEL_PI ||
			t->factors[0].num != 1 || t->factors[0].den != 1 ||
			!number_mul(w, t->c, number_int(12), &c)) {
			return false;
		}
	} else if (a->n != 0) {
		return false;
	}
	if (c.big || c.den != 1) {
		return false;
	}
	*out = c.num % 24;
	return true;
}

static const struct expr *kernel1(struct work *w, enum function f, const struct expr *a)
{
	return expr_function(w, f, (struct slice){"", 0}, a, NULL);
}

static const struct expr *sine(struct work *w, const struct expr *a)
{
	int64_t n;
	if (!a) {
		return NULL;
	}
	if (twelfths(w, a, &n)) {
		return sine_of_twelfths(w, n);
	}
	if (number_sign(a->terms[0].c) < 0) {
		return expr_neg(w, kernel1(w, FUNCTION_SIN, expr_neg(w, a)));
	}
	return kernel1(w, FUNCTION_SIN, a);
}

static const struct expr *cosine(struct work *w, const struct expr *a)
{
	int64_t n;
	if (!a) {
		return NULL;
	}
	if (twelfths(w, a, &n)) {
		return sine_of_twelfths(w, n + 6);
	}
	return kernel1(w, FUNCTION_COS, number_sign(a->terms[0].c) < 0 ? expr_neg(w, a) : a);
}

static const struct expr *logarithm(struct work *w, const struct expr *a);

/* ln of a positive integer by its small primes. */
static const struct expr *integer_log(struct work *w, struct number n)
{
	const struct expr *sum = expr_int(w, 0);
	if (n.big) {
		return kernel1(w, FUNCTION_LN, expr_number(w, n));
	}
	uint64_t rest = (uint64_t)n.num;
	if (!work_spend(w, TRIAL_COST)) {
		return NULL;
	}
	for (uint64_t d = 1, e; (d = math_next_prime(&rest, d, &e)) > 0;) {
		const struct expr *ln = kernel1(w, FUNCTION_LN, expr_int(w, (int64_t)d));
		sum = expr_add(w, sum, expr_mul(w, expr_int(w, (int64_t)e), ln));
	}
	return sum;
}

static const struct expr *factor_log(struct work *w, const struct factor *f)
{
	const struct kernel *k = f->kernel;
	const struct expr *out = NULL;
	if (k->kind == KERNEL_E) {
		out = expr_int(w, 1);
	} else if (k->kind == KERNEL_PRIME) {
		out = integer_log(w, k->prime);
	} else if (k->kind == KERNEL_POWER) {
		out = expr_mul(w, k->args[1], logarithm(w, k->args[0]));
	} else if (k->kind == KERNEL_SUM) {
		out = kernel1(w, FUNCTION_LN, k->args[0]);
	} else if (k->kind == KERNEL_VARIABLE) {
		out = kernel1(w, FUNCTION_LN, expr_variable(w, k->name));
	} else if (k->kind == KERNEL_PI) {
		out = kernel1(w, FUNCTION_LN, expr_constant(w, KERNEL_PI));
	} else if (k->kind == KERNEL_FUNCTION) {
		out = kernel1(w, FUNCTION_LN,
			expr_function(w, k->function, k->name, k->args[0], k->args[1]));
	}
	return out ? expr_mul(w, out, expr_number(w, (struct number){.num = f->num, .den = f->den}))
		   : NULL;
}

static const struct expr *logarithm(struct work *w, const struct expr *a)
{
	if (!a || a->n == 0) {
		return NULL;
	}
	const struct term *t = &a->terms[0];
	if (a->n > 1 || number_sign(t->c) < 0) {
		return kernel1(w, FUNCTION_LN, a);
	}
	const struct expr *sum = expr_sub(w, integer_log(w, number_numerator(w, t->c)),
		integer_log(w, number_denominator(w, t->c)));
	for (size_t i = 0; i < t->n && sum; i++) {
		const struct expr *part = factor_log(w, &t->factors[i]);
		if (!part) {
			return kernel1(w, FUNCTION_LN, a);
		}
		sum = expr_add(w, sum, part);
	}
	return sum;
}

static const struct expr *half_of(
	struct work *w, const struct expr *a, const struct expr *b, bool minus)
{
	return expr_div(w, minus ? expr_sub(w, a, b) : expr_add(w, a, b), expr_int(w, 2));
}

static const struct expr *hyperbolic(struct work *w, const struct expr *a, bool sinh)
{
	const struct expr *e = expr_constant(w, KERNEL_E);
	return half_of(w, expr_pow(w, e, a), expr_pow(w, e, expr_neg(w, a)), sinh);
}

static const struct expr *rounded(struct work *w, const struct expr *a, bool up)
{
	struct number c;
	a = up ? expr_neg(w, a) : a;
	const struct expr *out = a && expr_is_number(a, &c) ? expr_number(w, number_floor(w, c))
							    : kernel1(w, FUNCTION_FLOOR, a);
	return up ? expr_neg(w, out) : out;
}

static const struct expr *magnitude_of(struct work *w, const struct expr *a)
{
	struct number c;
	if (!a) {
		return NULL;
	}
	if (expr_is_number(a, &c)) {
		return number_sign(c) < 0 ? expr_neg(w, a) : a;
	}
	/* |u| and |-u| are one. */
	int sign;
	if (!expr_has(a, KERNEL_VARIABLE) && math_order(w, a, expr_int(w, 0), &sign)) {
		return sign < 0 ? expr_neg(w, a) : a;
	}
	return kernel1(w, FUNCTION_ABS, number_sign(a->terms[0].c) < 0 ? expr_neg(w, a) : a);
}

static const struct expr *factorial(struct work *w, const struct expr *a)
{
	struct number c, out;
	return a && expr_is_number(a, &c) && number_factorial(w, c, &out)
		? expr_number(w, out)
		: kernel1(w, FUNCTION_FACTORIAL, a);
}

typedef const struct expr *unary(struct work *w, const struct expr *a);

static const struct expr *call_tan(struct work *w, const struct expr *a)
{
	return expr_div(w, sine(w, a), cosine(w, a));
}

static const struct expr *call_cot(struct work *w, const struct expr *a)
{
	return expr_div(w, cosine(w, a), sine(w, a));
}

static const struct expr *call_sec(struct work *w, const struct expr *a)
{
	return expr_div(w, expr_int(w, 1), cosine(w, a));
}

static const struct expr *call_csc(struct work *w, const struct expr *a)
{
	return expr_div(w, expr_int(w, 1), sine(w, a));
}

static const struct expr *call_asin(struct work *w, const struct expr *a)
{
	return kernel1(w, FUNCTION_ASIN, a);
}

static const struct expr *call_acos(struct work *w, const struct expr *a)
{
	return kernel1(w, FUNCTION_ACOS, a);
}

static const struct expr *call_atan(struct work *w, const struct expr *a)
{
	return kernel1(w, FUNCTION_ATAN, a);
}

static const struct expr *call_sinh(struct work *w, const struct expr *a)
{
	return hyperbolic(w, a, true);
}

static const struct expr *call_cosh(struct work *w, const struct expr *a)
{
	return hyperbolic(w, a, false);
}

static const struct expr *call_tanh(struct work *w, const struct expr *a)
{
	return expr_div(w, hyperbolic(w, a, true), hyperbolic(w, a, false));
}

static const struct expr *call_exp(struct work *w, const struct expr *a)
{
	return expr_pow(w, expr_constant(w, KERNEL_E), a);
}

static const struct expr *call_log(struct work *w, const struct expr *a)
{
	return expr_div(w, logarithm(w, a), logarithm(w, expr_int(w, 10)));
}

static const struct expr *call_floor(struct work *w, const struct expr *a)
{
	return rounded(w, a, false);
}

static const struct expr *call_ceil(struct work *w, const struct expr *a)
{
	return rounded(w, a, true);
}

static const struct expr *call_sqrt(struct work *w, const struct expr *a)
{
	return expr_pow(w, a, expr_number(w, (struct number){.num = 1, .den = 2}));
}

static const struct expr *call_cbrt(struct work *w, const struct expr *a)
{
	return expr_pow(w, a, expr_number(w, (struct number){.num = 1, .den = 3}));
}

static const struct {
	const char *name;
	unary *call;
} unaries[] = {
	{"sin", sine},
	{"cos", cosine},
	{"tan", call_tan},
	{"cot", call_cot},
	{"sec", call_sec},
	{"csc", call_csc},
	{"arcsin", call_asin},
	{"arccos", call_acos},
	{"arctan", call_atan},
	{"asin", call_asin},
	{"acos", call_acos},
	{"atan", call_atan},
	{"sinh", call_sinh},
	{"cosh", call_cosh},
	{"tanh", call_tanh},
	{"ln", logarithm},
	{"log", call_log},
	{"lg", call_log},
	{"exp", call_exp},
	{"sqrt", call_sqrt},
	{"cbrt", call_cbrt},
	{"abs", magnitude_of},
	{"floor", call_floor},
	{"ceil", call_ceil},
	{"factorial", factorial},
};

static const char *const binaries[] = {"gcd", "lcm", "max", "min", "binom"};

static unary *unary_of(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(unaries); i++) {
		if (slice_eq_z(name, unaries[i].name)) {
			return unaries[i].call;
		}
	}
	return NULL;
}

bool math_is_function(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(binaries); i++) {
		if (slice_eq_z(name, binaries[i])) {
			return true;
		}
	}
	return unary_of(name) != NULL;
}

static const struct expr *greatest_common(
	struct work *w, const struct expr *a, const struct expr *b, bool multiple)
{
	struct number x, y, g;
	if (!expr_is_number(a, &x) || !expr_is_number(b, &y) || !number_gcd(w, x, y, &g)) {
		return multiple ? NULL
				: expr_function(w, FUNCTION_GCD, (struct slice){"", 0}, a, b);
	}
	return multiple ? expr_div(w, expr_mul(w, a, b), expr_number(w, g)) : expr_number(w, g);
}

static const struct expr *greater(struct work *w, const struct expr *a, const struct expr *b)
{
	int sign;
	if (math_order(w, a, b, &sign)) {
		return sign >= 0 ? a : b;
	}
	bool swap = a->hash > b->hash;
	return expr_function(w, FUNCTION_MAX, (struct slice){"", 0}, swap ? b : a, swap ? a : b);
}

#define FALLING_MAX 8

/* "a over k" is a (a - 1) ... (a - k + 1) / k! for any a. */
static const struct expr *falling(
	struct work *w, const struct expr *a, const struct expr *b, struct number k)
{
	const struct expr *out = expr_int(w, 1);
	if (k.big || k.den != 1 || k.num < 0 || k.num > FALLING_MAX) {
		return expr_function(w, FUNCTION_BINOMIAL, (struct slice){"", 0}, a, b);
	}
	for (int64_t i = 0; i < k.num && out; i++) {
		out = expr_mul(w, out, expr_sub(w, a, expr_int(w, i)));
		out = out ? expr_div(w, out, expr_int(w, i + 1)) : NULL;
	}
	return out;
}

static const struct expr *call_binary(
	struct work *w, struct slice name, const struct expr *a, const struct expr *b)
{
	struct number n, k, out;
	if (!a || !b) {
		return NULL;
	}
	if (slice_eq_z(name, "gcd") || slice_eq_z(name, "lcm")) {
		return greatest_common(w, a, b, *name.data == 'l');
	}
	if (slice_eq_z(name, "max")) {
		return greater(w, a, b);
	}
	if (slice_eq_z(name, "min")) {
		return expr_neg(w, greater(w, expr_neg(w, a), expr_neg(w, b)));
	}
	if (!slice_eq_z(name, "binom")) {
		return NULL;
	}
	if (!expr_is_number(b, &k)) {
		return expr_function(w, FUNCTION_BINOMIAL, (struct slice){"", 0}, a, b);
	}
	if (expr_is_number(a, &n)) {
		return number_binomial(w, n, k, &out)
			? expr_number(w, out)
			: expr_function(w, FUNCTION_BINOMIAL, (struct slice){"", 0}, a, b);
	}
	return falling(w, a, b, k);
}

const struct expr *math_call(struct work *w, struct slice name, const struct expr *base,
	const struct expr *const *args, size_t n_args)
{
	unary *one = unary_of(name);
	if (n_args == 0 || !args[0]) {
		return NULL;
	}
	if (base) {
		bool log = n_args == 1 && slice_eq_z(name, "log");
		return log ? expr_div(w, logarithm(w, args[0]), logarithm(w, base)) : NULL;
	}
	if (one) {
		return n_args == 1 ? one(w, args[0]) : NULL;
	}
	const struct expr *out = args[0];
	for (size_t i = 1; i < n_args && out; i++) {
		out = call_binary(w, name, out, args[i]);
	}
	return n_args > 1 ? out : NULL;
}
