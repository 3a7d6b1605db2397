/*
 * Is a - b zero? Both are evaluated in balls: a midpoint and a radius that is never too small, so a ball of the difference that
 * excludes zero proves that they differ. Nothing can prove by evaluation that they are equal; 25 digits at several points, drawn by
 * the letters' names so that every run draws the same, are taken for it.
 *
 * Real and imaginary part are told apart first: i has no powers but the first, so both are sums without it. i within a function, and
 * functions of which nothing is known, end in "unknown".
 */
#include "math_impl.h"

#include "base/text.h"

#include <mpfr.h>

#define POINTS 8
#define POINTS_GOOD 4
#define BITS_MIN 128
#define BITS_MAX 1024
#define RADIUS_BITS 32
#define EVAL_DEPTH_MAX 48
#define EXPONENT_BITS_MAX 4096 /* of arguments and results: beyond, reducing them costs too much */
#define DIGITS_BITS 83 /* 25 digits */
/* A bit, in limb products: a product of balls, and a logarithm and an exponential. */
#define FACTOR_COST 8
#define FUNCTION_COST 100

struct ball {
	mpfr_t mid, rad;
};

struct eval {
	struct work *work;
	mpfr_prec_t bits;
	const struct kernel *variables[MATH_VARIABLES_MAX];
	size_t n_variables;
	unsigned point, depth;
	bool negative; /* points of either sign: a magnitude occurs */
};

static void ball_init(struct ball *b, const struct eval *e)
{
	mpfr_init2(b->mid, e->bits);
	mpfr_init2(b->rad, RADIUS_BITS);
	mpfr_set_zero(b->mid, 1);
	mpfr_set_zero(b->rad, 1);
}

static void ball_clear(struct ball *b)
{
	mpfr_clear(b->mid);
	mpfr_clear(b->rad);
}

/* After rounding to nearest with a result of `inexact`: half a unit in the last place; a whole one is simpler and safe. */
static bool ball_rounded(struct ball *b, int inexact)
{
	if (!mpfr_number_p(b->mid) || !mpfr_number_p(b->rad)) {
		return false;
	}
	if (mpfr_zero_p(b->mid)) {
		return inexact == 0; /* underflow has no useful bound */
	}
	if (mpfr_get_exp(b->mid) > EXPONENT_BITS_MAX || mpfr_get_exp(b->mid) < -EXPONENT_BITS_MAX) {
		return false;
	}
	if (inexact != 0) {
		mpfr_t ulp;
		mpfr_init2(ulp, RADIUS_BITS);
		mpfr_set_ui_2exp(ulp, 1, mpfr_get_exp(b->mid) - mpfr_get_prec(b->mid), MPFR_RNDU);
		mpfr_add(b->rad, b->rad, ulp, MPFR_RNDU);
		mpfr_clear(ulp);
	}
	return true;
}

static bool ball_add(struct ball *out, const struct ball *a, const struct ball *b, bool minus)
{
	mpfr_add(out->rad, a->rad, b->rad, MPFR_RNDU);
	return ball_rounded(out,
		minus ? mpfr_sub(out->mid, a->mid, b->mid, MPFR_RNDN)
		      : mpfr_add(out->mid, a->mid, b->mid, MPFR_RNDN));
}

/* |a| rb + |b| ra + ra rb */
static bool ball_mul(struct ball *out, const struct ball *a, const struct ball *b)
{
	mpfr_t x, y;
	mpfr_inits2(RADIUS_BITS, x, y, (mpfr_ptr)NULL);
	mpfr_abs(x, a->mid, MPFR_RNDU);
	mpfr_add(x, x, a->rad, MPFR_RNDU);
	mpfr_mul(x, x, b->rad, MPFR_RNDU);
	mpfr_abs(y, b->mid, MPFR_RNDU);
	mpfr_mul(y, y, a->rad, MPFR_RNDU);
	int inexact = mpfr_mul(out->mid, a->mid, b->mid, MPFR_RNDN);
	mpfr_add(out->rad, x, y, MPFR_RNDU);
	mpfr_clears(x, y, (mpfr_ptr)NULL);
	return ball_rounded(out, inexact);
}

/* The magnitude that the ball is surely above, if that is positive. */
static bool lower_bound(mpfr_ptr out, const struct ball *a)
{
	mpfr_abs(out, a->mid, MPFR_RNDD);
	mpfr_sub(out, out, a->rad, MPFR_RNDD);
	return mpfr_sgn(out) > 0;
}

static bool surely_positive(const struct ball *a)
{
	mpfr_t low;
	mpfr_init2(low, RADIUS_BITS);
	bool ok = lower_bound(low, a) && mpfr_sgn(a->mid) > 0;
	mpfr_clear(low);
	return ok;
}

/* 1/a: the radius is r / (|a| low). */
static bool ball_invert(struct ball *a)
{
	mpfr_t low, whole;
	mpfr_inits2(RADIUS_BITS, low, whole, (mpfr_ptr)NULL);
	bool ok = lower_bound(low, a);
	if (ok) {
		mpfr_abs(whole, a->mid, MPFR_RNDD);
		mpfr_mul(low, low, whole, MPFR_RNDD);
		mpfr_div(a->rad, a->rad, low, MPFR_RNDU);
		ok = ball_rounded(a, mpfr_ui_div(a->mid, 1, a->mid, MPFR_RNDN));
	}
	mpfr_clears(low, whole, (mpfr_ptr)NULL);
	return ok;
}

/* The slope of ln is at most 1 / low. */
static bool ball_ln(struct ball *a)
{
	mpfr_t low;
	mpfr_init2(low, RADIUS_BITS);
	bool ok = mpfr_sgn(a->mid) > 0 && lower_bound(low, a);
	if (ok) {
		mpfr_div(a->rad, a->rad, low, MPFR_RNDU);
		ok = ball_rounded(a, mpfr_log(a->mid, a->mid, MPFR_RNDN));
	}
	mpfr_clear(low);
	return ok;
}

/* e^(m + r) - e^m <= 2 r e^m for r <= 1. */
static bool ball_exp(struct ball *a)
{
	if (mpfr_cmp_ui(a->rad, 1) > 0 || mpfr_cmpabs_ui(a->mid, EXPONENT_BITS_MAX) > 0) {
		return false;
	}
	int inexact = mpfr_exp(a->mid, a->mid, MPFR_RNDN);
	mpfr_t high;
	mpfr_init2(high, RADIUS_BITS);
	mpfr_set(high, a->mid, MPFR_RNDU);
	mpfr_mul_2ui(a->rad, a->rad, 2, MPFR_RNDU);
	mpfr_mul(a->rad, a->rad, high, MPFR_RNDU);
	mpfr_clear(high);
	return ball_rounded(a, inexact);
}

/* asin and acos: the slope at the end nearer to 1 bounds it. */
static bool ball_arc(struct ball *a, bool sine)
{
	bool ok = mpfr_cmpabs_ui(a->mid, 1) <= 0;
	if (ok && !mpfr_zero_p(a->rad)) {
		mpfr_t edge;
		mpfr_init2(edge, RADIUS_BITS);
		mpfr_abs(edge, a->mid, MPFR_RNDU);
		mpfr_add(edge, edge, a->rad, MPFR_RNDU);
		ok = mpfr_cmp_ui(edge, 1) < 0;
		mpfr_mul(edge, edge, edge, MPFR_RNDU);
		mpfr_ui_sub(edge, 1, edge, MPFR_RNDD);
		mpfr_sqrt(edge, edge, MPFR_RNDD);
		mpfr_div(a->rad, a->rad, edge, MPFR_RNDU);
		mpfr_clear(edge);
	}
	return ok &&
		ball_rounded(a,
			sine ? mpfr_asin(a->mid, a->mid, MPFR_RNDN)
			     : mpfr_acos(a->mid, a->mid, MPFR_RNDN));
}

static bool ball_floor(struct ball *a, const struct eval *e)
{
	mpfr_t low, high;
	mpfr_inits2(e->bits, low, high, (mpfr_ptr)NULL);
	mpfr_sub(low, a->mid, a->rad, MPFR_RNDD);
	mpfr_add(high, a->mid, a->rad, MPFR_RNDU);
	mpfr_floor(low, low);
	mpfr_floor(high, high);
	bool ok = mpfr_equal_p(low, high) != 0;
	mpfr_set(a->mid, low, MPFR_RNDN);
	mpfr_set_zero(a->rad, 1);
	mpfr_clears(low, high, (mpfr_ptr)NULL);
	return ok;
}

static bool ball_number(struct ball *out, struct number c)
{
	mpq_t q;
	mpq_init(q);
	number_get(c, q);
	mpfr_set_zero(out->rad, 1);
	bool ok = ball_rounded(out, mpfr_set_q(out->mid, q, MPFR_RNDN));
	mpq_clear(q);
	return ok;
}

static bool eval_expr(struct eval *e, const struct expr *a, struct ball *out);

/* A rational between 1/8 and 4, by the letter and the number of the point. */
static bool eval_variable(struct eval *e, const struct kernel *k, struct ball *out)
{
	uint64_t h = math_hash_mix(math_hash_mix(k->hash, e->point), 0x51ab);
	struct number c = {.num = (int64_t)(h >> 8 & 0xff) + 8, .den = 61};
	if (e->negative && (h & 1)) {
		c.num = -c.num;
	}
	return ball_number(out, c);
}

static bool eval_function(struct eval *e, const struct kernel *k, struct ball *out)
{
	if (k->args[1] || !eval_expr(e, k->args[0], out) ||
		!work_spend(e->work, (uint64_t)e->bits * FUNCTION_COST)) {
		return false;
	}
	switch (k->function) {
	case FUNCTION_SIN:
	case FUNCTION_COS:
		/* Slopes of at most 1: the radius stays. */
		return ball_rounded(out,
			k->function == FUNCTION_SIN ? mpfr_sin(out->mid, out->mid, MPFR_RNDN)
						    : mpfr_cos(out->mid, out->mid, MPFR_RNDN));
	case FUNCTION_ATAN:
		return ball_rounded(out, mpfr_atan(out->mid, out->mid, MPFR_RNDN));
	case FUNCTION_LN:
		return ball_ln(out);
	case FUNCTION_ASIN:
		return ball_arc(out, true);
	case FUNCTION_ACOS:
		return ball_arc(out, false);
	case FUNCTION_ABS:
		mpfr_abs(out->mid, out->mid, MPFR_RNDN);
		return true;
	case FUNCTION_FLOOR:
		return ball_floor(out, e);
	default:
		return false;
	}
}

/* a ^ (num / den) in place. */
static bool ball_power(struct eval *e, struct ball *a, int64_t num, int64_t den)
{
	struct ball factor;
	bool ok = true;
	if (den == 1 && math_magnitude(num) <= 64) {
		ball_init(&factor, e);
		mpfr_set_ui(factor.mid, 1, MPFR_RNDN);
		for (uint64_t i = 0; i < math_magnitude(num) && ok; i++) {
			ok = ball_mul(&factor, &factor, a);
		}
		mpfr_swap(factor.mid, a->mid);
		mpfr_swap(factor.rad, a->rad);
		ball_clear(&factor);
		return ok && (num > 0 || ball_invert(a));
	}
	if (!work_spend(e->work, (uint64_t)e->bits * FUNCTION_COST) || !surely_positive(a) ||
		!ball_ln(a)) {
		return false;
	}
	ball_init(&factor, e);
	ok = ball_number(&factor, (struct number){.num = num, .den = den}) &&
		ball_mul(a, a, &factor) && ball_exp(a);
	ball_clear(&factor);
	return ok;
}

static bool eval_power_kernel(struct eval *e, const struct kernel *k, struct ball *out)
{
	struct ball exponent;
	struct number c;
	if (!eval_expr(e, k->args[0], out)) {
		return false;
	}
	if (expr_is_number(k->args[1], &c) && !c.big) {
		return ball_power(e, out, c.num, c.den);
	}
	ball_init(&exponent, e);
	bool ok = work_spend(e->work, (uint64_t)e->bits * FUNCTION_COST) &&
		eval_expr(e, k->args[1], &exponent) && surely_positive(out) && ball_ln(out) &&
		ball_mul(out, out, &exponent) && ball_exp(out);
	ball_clear(&exponent);
	return ok;
}

static bool eval_kernel(struct eval *e, const struct kernel *k, struct ball *out)
{
	switch (k->kind) {
	case KERNEL_PI:
		return ball_rounded(out, mpfr_const_pi(out->mid, MPFR_RNDN));
	case KERNEL_E:
		mpfr_set_ui(out->mid, 1, MPFR_RNDN);
		return ball_exp(out);
	case KERNEL_VARIABLE:
		return eval_variable(e, k, out);
	case KERNEL_PRIME:
		return ball_number(out, k->prime);
	case KERNEL_SUM:
		return eval_expr(e, k->args[0], out);
	case KERNEL_POWER:
		return eval_power_kernel(e, k, out);
	case KERNEL_FUNCTION:
		return eval_function(e, k, out);
	case KERNEL_I:
	case KERNEL_INFINITY:
		break;
	}
	return false;
}

/* Parts of a complex number: terms with i, and terms without. Without i everything is real. */
static bool is_imaginary(const struct term *t)
{
	return t->n > 0 && t->factors[0].kernel->kind == KERNEL_I;
}

static bool eval_term(struct eval *e, const struct term *t, struct ball *out)
{
	struct ball factor;
	bool ok = ball_number(out, t->c);
	ball_init(&factor, e);
	for (size_t i = is_imaginary(t); i < t->n && ok; i++) {
		const struct factor *f = &t->factors[i];
		mpfr_set_zero(factor.rad, 1);
		ok = work_spend(e->work, (uint64_t)e->bits * FACTOR_COST) &&
			eval_kernel(e, f->kernel, &factor) &&
			ball_power(e, &factor, f->num, f->den) && ball_mul(out, out, &factor);
	}
	ball_clear(&factor);
	return ok;
}

static bool eval_terms(struct eval *e, const struct expr *a, bool imaginary, struct ball *out)
{
	struct ball term;
	bool ok = ++e->depth <= EVAL_DEPTH_MAX;
	ball_init(&term, e);
	mpfr_set_zero(out->mid, 1);
	mpfr_set_zero(out->rad, 1);
	for (size_t i = 0; i < a->n && ok; i++) {
		if (is_imaginary(&a->terms[i]) == imaginary) {
			ok = eval_term(e, &a->terms[i], &term) && ball_add(out, out, &term, false);
		}
	}
	ball_clear(&term);
	e->depth--;
	return ok;
}

static bool eval_expr(struct eval *e, const struct expr *a, struct ball *out)
{
	for (size_t i = 0; i < a->n; i++) {
		if (is_imaginary(&a->terms[i])) {
			return false;
		}
	}
	return eval_terms(e, a, false, out);
}

/* --- The decision --- */

/* Is |d| <= 2^-shift * scale for sure, where the scale is max(|a|, |b|), at least `least`? */
static bool within(const struct ball *d, const struct ball *a, const struct ball *b,
	mpfr_srcptr relative, double least)
{
	mpfr_t high, scale, other;
	mpfr_inits2(RADIUS_BITS, high, scale, other, (mpfr_ptr)NULL);
	mpfr_abs(high, d->mid, MPFR_RNDU);
	mpfr_add(high, high, d->rad, MPFR_RNDU);
	mpfr_abs(scale, a->mid, MPFR_RNDD);
	mpfr_abs(other, b->mid, MPFR_RNDD);
	mpfr_max(scale, scale, other, MPFR_RNDD);
	if (mpfr_cmp_d(scale, least) < 0 && (least < 1 || mpfr_cmp_d(scale, 1e-3) >= 0)) {
		mpfr_set_d(scale, least, MPFR_RNDD);
	}
	mpfr_mul(scale, scale, relative, MPFR_RNDD);
	bool ok = mpfr_cmp(high, scale) <= 0;
	mpfr_clears(high, scale, other, (mpfr_ptr)NULL);
	return ok;
}

static enum numeric judge(
	const struct ball *a, const struct ball *b, const struct ball *d, bool close)
{
	enum numeric out = NUMERIC_UNKNOWN;
	mpfr_t tolerance;
	mpfr_init2(tolerance, RADIUS_BITS);
	mpfr_set_ui_2exp(tolerance, 1, -DIGITS_BITS, MPFR_RNDD);
	bool apart = mpfr_cmpabs(d->mid, d->rad) > 0;
	/* Of a scale that is itself next to nothing there is nothing to be said. */
	if (!apart && within(d, a, b, tolerance, 1e-9)) {
		out = NUMERIC_EQUAL;
	} else if (apart) {
		mpfr_set_d(tolerance, 0.5e-6, MPFR_RNDD);
		out = close && within(d, a, b, tolerance, 1) ? NUMERIC_CLOSE : NUMERIC_DIFFERENT;
	}
	mpfr_clear(tolerance);
	return out;
}

/* One part at one point, with as many bits as it takes. */
static enum numeric compare_at(
	struct eval *e, const struct expr *a, const struct expr *b, bool imaginary, bool close)
{
	for (e->bits = BITS_MIN; e->bits <= BITS_MAX; e->bits *= 2) {
		struct ball x, y, d;
		enum numeric out = NUMERIC_UNKNOWN;
		ball_init(&x, e);
		ball_init(&y, e);
		ball_init(&d, e);
		bool ok = eval_terms(e, a, imaginary, &x) && eval_terms(e, b, imaginary, &y) &&
			ball_add(&d, &x, &y, true);
		if (ok) {
			out = judge(&x, &y, &d, close);
		}
		ball_clear(&x);
		ball_clear(&y);
		ball_clear(&d);
		if (!ok || out != NUMERIC_UNKNOWN) {
			return out;
		}
	}
	return NUMERIC_UNKNOWN;
}

static bool has_function(const struct expr *a, enum function function, unsigned depth)
{
	for (size_t i = 0; i < a->n && depth > 0; i++) {
		for (size_t j = 0; j < a->terms[i].n; j++) {
			const struct kernel *k = a->terms[i].factors[j].kernel;
			if ((k->kind == KERNEL_FUNCTION && k->function == function) ||
				(k->args[0] && has_function(k->args[0], function, depth - 1)) ||
				(k->args[1] && has_function(k->args[1], function, depth - 1))) {
				return true;
			}
		}
	}
	return false;
}

static enum numeric compare_points(
	struct eval *e, const struct expr *a, const struct expr *b, bool close)
{
	unsigned good = 0, points = e->n_variables == 0 ? 1 : POINTS;
	bool near = false;
	for (e->point = 0; e->point < points; e->point++) {
		enum numeric parts[2] = {compare_at(e, a, b, false, close), NUMERIC_EQUAL};
		if (expr_has(a, KERNEL_I) || expr_has(b, KERNEL_I)) {
			parts[1] = compare_at(e, a, b, true, close);
		}
		if (parts[0] == NUMERIC_DIFFERENT || parts[1] == NUMERIC_DIFFERENT) {
			return NUMERIC_DIFFERENT;
		}
		good += parts[0] != NUMERIC_UNKNOWN && parts[1] != NUMERIC_UNKNOWN;
		near |= parts[0] == NUMERIC_CLOSE || parts[1] == NUMERIC_CLOSE;
	}
	if (good < MIN(points, (unsigned)POINTS_GOOD)) {
		return NUMERIC_UNKNOWN;
	}
	return near ? NUMERIC_CLOSE : NUMERIC_EQUAL;
}

enum numeric math_numeric(struct work *w, const struct expr *a, const struct expr *b, bool close)
{
	struct eval e = {.work = w};
	const struct kernel *other[MATH_VARIABLES_MAX];
	e.n_variables = expr_variables(a, e.variables, MATH_VARIABLES_MAX);
	size_t n_other = expr_variables(b, other, MATH_VARIABLES_MAX);
	if (e.n_variables >= MATH_VARIABLES_MAX || n_other >= MATH_VARIABLES_MAX ||
		expr_has(a, KERNEL_INFINITY) || expr_has(b, KERNEL_INFINITY)) {
		return NUMERIC_UNKNOWN;
	}
	e.n_variables = e.n_variables > n_other ? e.n_variables : n_other;
	bool one = has_function(a, FUNCTION_ABS, EVAL_DEPTH_MAX);
	bool other_one = has_function(b, FUNCTION_ABS, EVAL_DEPTH_MAX);
	e.negative = one || other_one;
	enum numeric out = compare_points(&e, a, b, close && e.n_variables == 0);
	/* sqrt(x^2) was read as x, so where one side has a magnitude, negative numbers prove nothing against the other. */
	if (out == NUMERIC_DIFFERENT && one != other_one) {
		e.negative = false;
		out = compare_points(&e, a, b, false);
		out = out == NUMERIC_DIFFERENT ? out : NUMERIC_UNKNOWN;
	}
	/* MPFR keeps constants for the thread; nothing of ours is to stay behind. */
	mpfr_free_cache2(MPFR_FREE_LOCAL_CACHE);
	return out;
}

bool math_order(struct work *w, const struct expr *a, const struct expr *b, int *out_sign)
{
	struct number x;
	const struct expr *d = expr_sub(w, a, b);
	if (!d || expr_has(d, KERNEL_VARIABLE) || expr_has(d, KERNEL_I)) {
		return false;
	}
	if (expr_is_number(d, &x)) {
		*out_sign = number_sign(x);
		return true;
	}
	/* Infinity is beyond everything that has none. */
	if (expr_has(d, KERNEL_INFINITY)) {
		bool alone = d->n >= 1 && d->terms[0].n == 1 &&
			d->terms[0].factors[0].kernel->kind == KERNEL_INFINITY;
		*out_sign = alone ? number_sign(d->terms[0].c) : 0;
		return alone;
	}
	struct eval e = {.work = w, .bits = BITS_MIN};
	struct ball ball;
	ball_init(&ball, &e);
	bool ok = eval_expr(&e, d, &ball) && mpfr_cmpabs(ball.mid, ball.rad) > 0;
	if (ok) {
		*out_sign = mpfr_sgn(ball.mid);
	}
	ball_clear(&ball);
	mpfr_free_cache2(MPFR_FREE_LOCAL_CACHE);
	return ok;
}
