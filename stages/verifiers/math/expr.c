/*
 * Expressions as sums of terms: a rational coefficient times rational powers of kernels. Roots of integers are powers of their
 * primes between 0 and 1, so that sqrt(12) is 2 * 3^(1/2) and products of roots merge by adding exponents; i^2 is -1; a sum that
 * is divided by, or stands under a root, is a kernel of its own that expands again as soon as its exponent reaches 1.
 *
 * So two expressions without such denominators are equal exactly when their terms are; with them, both sides are multiplied by the
 * denominators first. Letters stand for positive numbers: sqrt(x^2) is x. What this misses (sin^2 + cos^2) numeric.c shows.
 *
 * Nothing is changed once it is made, so expressions share their parts, and a gold's may be read by any thread.
 */
#include "math_impl.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define TERMS_MAX 2000
#define SIZE_MAX_PARTS 5000 /* kernels in kernels: bounds every walk over an expression */
#define FORMAT_BYTES_MAX 600
#define EXPONENT_MAX (1 << 16)
#define EXPAND_MAX 64 /* the power to which a sum is multiplied out */
#define CLEAR_ROUNDS_MAX 8
#define TERM_COST 300 /* of a product of two terms, in limb products */
#define FIELD ((1ull << 61) - 1) /* the prime of expr_hash */

/* --- Order --- */

static int expr_order(const struct expr *a, const struct expr *b);

static int order64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int name_order(struct slice a, struct slice b)
{
	int c = a.len && b.len ? memcmp(a.data, b.data, MIN(a.len, b.len)) : 0;
	return c != 0 ? c : order64(a.len, b.len);
}

static int kernel_order(const struct kernel *a, const struct kernel *b)
{
	int c = order64(a->kind, b->kind);
	if (a == b || c != 0) {
		return c;
	}
	/* Any order will do that is the same everywhere; but for letters, people read results. */
	c = a->kind == KERNEL_VARIABLE ? name_order(a->name, b->name) : order64(a->hash, b->hash);
	c = c != 0 ? c : order64(a->function, b->function);
	c = c != 0 ? c : name_order(a->name, b->name);
	c = c != 0 || a->kind != KERNEL_PRIME ? c : number_compare(a->prime, b->prime);
	for (int i = 0; i < 2 && c == 0; i++) {
		c = order64(!a->args[i], !b->args[i]);
		c = c == 0 && a->args[i] ? expr_order(a->args[i], b->args[i]) : c;
	}
	return c;
}

static int exponent_order(const struct factor *a, const struct factor *b)
{
	int64_t left = (int64_t)a->num * b->den, right = (int64_t)b->num * a->den;
	return (left > right) - (left < right);
}

static int term_order(const void *pa, const void *pb)
{
	const struct term *a = pa, *b = pb;
	for (size_t i = 0; i < a->n && i < b->n; i++) {
		int c = kernel_order(a->factors[i].kernel, b->factors[i].kernel);
		/* Higher powers first. */
		c = c != 0 ? c : exponent_order(&b->factors[i], &a->factors[i]);
		if (c != 0) {
			return c;
		}
	}
	return order64(b->n, a->n);
}

static int expr_order(const struct expr *a, const struct expr *b)
{
	int c = a == b ? 0 : order64(a->hash, b->hash);
	if (a == b || c != 0) {
		return c;
	}
	c = order64(a->n, b->n);
	for (size_t i = 0; i < a->n && c == 0; i++) {
		c = term_order(&a->terms[i], &b->terms[i]);
		c = c != 0 ? c : number_compare(a->terms[i].c, b->terms[i].c);
	}
	return c;
}

/* --- Making --- */

static uint64_t structure_hash(const struct term *terms, size_t n)
{
	uint64_t h = n;
	for (size_t i = 0; i < n; i++) {
		h = math_hash_mix(h, number_hash(terms[i].c));
		for (size_t j = 0; j < terms[i].n; j++) {
			const struct factor *f = &terms[i].factors[j];
			h = math_hash_mix(h, f->kernel->hash);
			h = math_hash_mix(h, (uint64_t)(uint32_t)f->num << 32 | (uint32_t)f->den);
		}
	}
	return h;
}

/* Sorts and merges `terms`, which the expression takes. */
static const struct expr *from_terms(struct work *w, struct term *terms, size_t n)
{
	size_t kept = 0;
	if (n > TERMS_MAX || !work_spend(w, n * 80)) {
		return NULL;
	}
	if (n > 1) {
		qsort(terms, n, sizeof(*terms), term_order);
	}
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && term_order(&terms[kept - 1], &terms[i]) == 0) {
			if (!number_add(w, terms[kept - 1].c, terms[i].c, &terms[kept - 1].c)) {
				return NULL;
			}
		} else {
			terms[kept++] = terms[i];
		}
		if (number_sign(terms[kept - 1].c) == 0) {
			kept--;
		}
	}
	struct expr *e = arena_alloc(w->arena, sizeof(*e));
	*e = (struct expr){
		.n = kept, .terms = terms, .hash = structure_hash(terms, kept), .size = 1};
	for (size_t i = 0; i < kept; i++) {
		for (size_t j = 0; j < terms[i].n; j++) {
			e->size += terms[i].factors[j].kernel->size;
			e->has |= terms[i].factors[j].kernel->has;
		}
		if (e->size > SIZE_MAX_PARTS) {
			return NULL;
		}
	}
	return e;
}

static const struct expr *from_term(struct work *w, struct term t)
{
	struct term *terms = arena_alloc(w->arena, sizeof(*terms));
	*terms = t;
	return from_terms(w, terms, 1);
}

const struct expr *expr_number(struct work *w, struct number c)
{
	return from_term(w, (struct term){.c = c});
}

const struct expr *expr_int(struct work *w, int64_t v)
{
	return expr_number(w, number_int(v));
}

static const struct expr *from_kernel(
	struct work *w, const struct kernel *kernel, int64_t num, int64_t den)
{
	if (num == 0) {
		return expr_int(w, 1);
	}
	if (num > EXPONENT_MAX || num < -EXPONENT_MAX || den > EXPONENT_MAX) {
		return NULL;
	}
	struct factor *f = arena_alloc(w->arena, sizeof(*f));
	*f = (struct factor){.kernel = kernel, .num = (int32_t)num, .den = (int32_t)den};
	return from_term(w, (struct term){.c = number_int(1), .n = 1, .factors = f});
}

static const struct kernel *new_kernel(struct work *w, struct kernel k)
{
	uint64_t h = math_hash_mix(k.kind, k.function);
	h = math_hash_bytes(h, k.name.data, k.name.len);
	h = k.kind == KERNEL_PRIME ? math_hash_mix(h, number_hash(k.prime)) : h;
	for (int i = 0; i < 2; i++) {
		h = math_hash_mix(h, k.args[i] ? k.args[i]->hash : 1);
	}
	k.hash = h;
	k.size = 1;
	k.has = 1u << k.kind;
	for (int i = 0; i < 2 && k.args[i]; i++) {
		k.size += k.args[i]->size;
		k.has |= k.args[i]->has;
	}
	struct kernel *out = arena_alloc(w->arena, sizeof(*out));
	*out = k;
	return out;
}

const struct expr *expr_constant(struct work *w, enum kernel_kind kind)
{
	return from_kernel(w, new_kernel(w, (struct kernel){.kind = kind}), 1, 1);
}

const struct expr *expr_variable(struct work *w, struct slice name)
{
	struct kernel k = {.kind = KERNEL_VARIABLE, .name = name};
	return from_kernel(w, new_kernel(w, k), 1, 1);
}

const struct expr *expr_function(struct work *w, enum function function, struct slice name,
	const struct expr *a, const struct expr *b)
{
	struct kernel k = {
		.kind = KERNEL_FUNCTION, .function = function, .name = name, .args = {a, b}};
	return a ? from_kernel(w, new_kernel(w, k), 1, 1) : NULL;
}

/* --- Sums --- */

static const struct expr *add_scaled(
	struct work *w, const struct expr *a, const struct expr *b, bool minus)
{
	if (!a || !b || a->n + b->n > TERMS_MAX) {
		return NULL;
	}
	struct term *terms = arena_alloc_array(w->arena, a->n + b->n + 1, sizeof(*terms));
	memcpy(terms, a->terms, a->n * sizeof(*terms));
	for (size_t i = 0; i < b->n; i++) {
		terms[a->n + i] = b->terms[i];
		if (minus) {
			terms[a->n + i].c = number_neg(w, b->terms[i].c);
		}
	}
	return from_terms(w, terms, a->n + b->n);
}

const struct expr *expr_add(struct work *w, const struct expr *a, const struct expr *b)
{
	return add_scaled(w, a, b, false);
}

const struct expr *expr_sub(struct work *w, const struct expr *a, const struct expr *b)
{
	return add_scaled(w, a, b, true);
}

const struct expr *expr_neg(struct work *w, const struct expr *a)
{
	return a ? add_scaled(w, expr_number(w, number_int(0)), a, true) : NULL;
}

static const struct expr *scale(struct work *w, const struct expr *a, struct number c)
{
	struct term *terms = arena_alloc_array(w->arena, a->n + 1, sizeof(*terms));
	for (size_t i = 0; i < a->n; i++) {
		terms[i] = a->terms[i];
		if (!number_mul(w, terms[i].c, c, &terms[i].c)) {
			return NULL;
		}
	}
	return from_terms(w, terms, a->n);
}

/* --- Products --- */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && a < 0);
}

static int64_t gcd(int64_t a, int64_t b)
{
	while (b != 0) {
		int64_t r = a % b;
		a = b;
		b = r;
	}
	return a < 0 ? -a : a;
}

/* A product under construction: `t` without the whole powers of sums, which `sums` has. */
struct product {
	struct term t;
	struct factor *factors;
	struct factor *sums;
	size_t n_sums;
};

/* kernel ^ (num / den), with what is whole in the exponent of a root taken out. */
static bool put_factor(
	struct work *w, struct product *p, const struct kernel *kernel, int64_t num, int64_t den)
{
	int64_t g = gcd(num, den), whole = 0;
	num /= g ? g : 1;
	den /= g ? g : 1;
	if (kernel->kind == KERNEL_PRIME) {
		whole = floor_div(num, den);
	} else if (kernel->kind == KERNEL_SUM && num >= den) {
		whole = num / den;
	} else if (kernel->kind == KERNEL_I && den == 1) {
		int64_t turns = ((num % 4) + 4) % 4;
		p->t.c = turns >= 2 ? number_neg(w, p->t.c) : p->t.c;
		num = turns % 2;
	}
	num -= whole * den;
	if (num > EXPONENT_MAX || num < -EXPONENT_MAX || den > EXPONENT_MAX) {
		return false;
	}
	if (whole != 0 && kernel->kind == KERNEL_PRIME) {
		struct number power;
		if (!number_pow(w, kernel->prime, number_int(whole), &power) ||
			!number_mul(w, p->t.c, power, &p->t.c)) {
			return false;
		}
	} else if (whole != 0) {
		p->sums[p->n_sums++] = (struct factor){kernel, (int32_t)whole, 1};
	}
	if (num != 0) {
		p->factors[p->t.n++] = (struct factor){kernel, (int32_t)num, (int32_t)den};
	}
	return true;
}

static bool multiply_terms(
	struct work *w, const struct term *a, const struct term *b, struct product *p)
{
	size_t i = 0, j = 0, n = a->n + b->n;
	*p = (struct product){
		.factors = arena_alloc_array(w->arena, 2 * n + 1, sizeof(*p->factors))};
	p->sums = p->factors + n;
	p->t.factors = p->factors;
	if (!work_spend(w, TERM_COST) || !number_mul(w, a->c, b->c, &p->t.c)) {
		return false;
	}
	while (i < a->n || j < b->n) {
		const struct factor *x = i < a->n ? &a->factors[i] : NULL;
		const struct factor *y = j < b->n ? &b->factors[j] : NULL;
		int c = !x ? 1 : !y ? -1 : kernel_order(x->kernel, y->kernel);
		const struct factor *f = c <= 0 ? x : y;
		int64_t num = f->num, den = f->den;
		if (c == 0) {
			num = (int64_t)x->num * y->den + (int64_t)y->num * x->den;
			den = (int64_t)x->den * y->den;
		}
		if (!put_factor(w, p, f->kernel, num, den)) {
			return false;
		}
		i += c <= 0;
		j += c >= 0;
	}
	return true;
}

static const struct expr *power_of_sum(struct work *w, const struct expr *base, int64_t n)
{
	const struct expr *out = expr_int(w, 1);
	if (n > EXPAND_MAX) {
		return NULL;
	}
	for (int64_t i = 0; i < n && out; i++) {
		out = expr_mul(w, out, base);
	}
	return out;
}

/* The product with its sums multiplied out. */
static const struct expr *expanded(struct work *w, const struct product *p)
{
	const struct expr *out = from_term(w, p->t);
	for (size_t i = 0; i < p->n_sums && out; i++) {
		const struct factor *f = &p->sums[i];
		out = expr_mul(w, out, power_of_sum(w, f->kernel->args[0], f->num));
	}
	return out;
}

const struct expr *expr_mul(struct work *w, const struct expr *a, const struct expr *b)
{
	if (!a || !b || a->n * b->n > TERMS_MAX * 2) {
		return NULL;
	}
	size_t cap = a->n * b->n, n = 0;
	struct term *terms = arena_alloc_array(w->arena, cap + 1, sizeof(*terms));
	const struct expr *rest = NULL;
	for (size_t i = 0; i < a->n; i++) {
		for (size_t j = 0; j < b->n; j++) {
			struct product p;
			if (!multiply_terms(w, &a->terms[i], &b->terms[j], &p)) {
				return NULL;
			}
			if (p.n_sums == 0) {
				terms[n++] = p.t;
				continue;
			}
			const struct expr *e = expanded(w, &p);
			rest = rest ? expr_add(w, rest, e) : e;
			if (!rest) {
				return NULL;
			}
		}
	}
	const struct expr *out = from_terms(w, terms, n);
	return rest ? expr_add(w, out, rest) : out;
}

const struct expr *expr_div(struct work *w, const struct expr *a, const struct expr *b)
{
	return a && b ? expr_mul(w, a, expr_pow(w, b, expr_int(w, -1))) : NULL;
}

/* --- Powers --- */

static const struct expr *root_of(struct work *w, struct number prime, int64_t num, int64_t den)
{
	struct kernel k = {.kind = KERNEL_PRIME, .prime = prime};
	struct product p = {
		.t = {.c = number_int(1)}, .factors = arena_alloc(w->arena, sizeof(struct factor))};
	p.t.factors = p.factors;
	return put_factor(w, &p, new_kernel(w, k), num, den) ? from_term(w, p.t) : NULL;
}

/* n ^ (num / den) for an integer n > 0, by its prime factors. What is left after trial division counts as a prime. */
static const struct expr *integer_root(struct work *w, struct number n, int64_t num, int64_t den)
{
	const struct expr *out = expr_int(w, 1);
	struct number root;
	if (n.big) {
		return den <= 64 && number_root(w, n, (unsigned)den, &root)
			? expr_pow(w, expr_number(w, root), expr_int(w, num))
			: root_of(w, n, num, den);
	}
	uint64_t rest = (uint64_t)n.num;
	if (!work_spend(w, TRIAL_COST)) {
		return NULL;
	}
	for (uint64_t d = 2; d <= TRIAL_MAX && d * d <= rest; d += d == 2 ? 1 : 2) {
		int64_t e = 0;
		while (rest % d == 0) {
			rest /= d;
			e++;
		}
		if (e > 0) {
			out = expr_mul(w, out, root_of(w, number_int((int64_t)d), e * num, den));
		}
	}
	struct number last = number_int((int64_t)rest);
	if (rest > 1 && number_root(w, last, 2, &root)) {
		return expr_mul(w, out, root_of(w, root, 2 * num, den));
	}
	return rest > 1 ? expr_mul(w, out, root_of(w, last, num, den)) : out;
}

/* c ^ (num / den). NULL also where there is no real root but a square one. */
static const struct expr *number_power(struct work *w, struct number c, int64_t num, int64_t den)
{
	if (den == 1) {
		struct number out;
		return number_pow(w, c, number_int(num), &out) ? expr_number(w, out) : NULL;
	}
	const struct expr *sign = expr_int(w, 1);
	if (number_sign(c) < 0) {
		c = number_neg(w, c);
		if (den % 2 == 1) {
			sign = expr_int(w, num % 2 == 0 ? 1 : -1);
		} else if (den == 2) {
			sign = expr_pow(w, expr_constant(w, KERNEL_I), expr_int(w, num));
		} else {
			return NULL;
		}
	}
	const struct expr *top = integer_root(w, number_numerator(w, c), num, den);
	const struct expr *bottom = integer_root(w, number_denominator(w, c), -num, den);
	return expr_mul(w, sign, expr_mul(w, top, bottom));
}

static const struct expr *term_power(struct work *w, const struct term *t, int64_t num, int64_t den)
{
	const struct expr *out = number_power(w, t->c, num, den);
	for (size_t i = 0; i < t->n && out; i++) {
		const struct factor *f = &t->factors[i];
		if (f->kernel->kind == KERNEL_I && den != 1) {
			return NULL;
		}
		/* Through a product, which takes whole powers out. */
		struct factor room[2];
		struct product p = {.t = {.c = number_int(1)},
			.factors = arena_alloc(w->arena, sizeof(*f)),
			.sums = room};
		p.t.factors = p.factors;
		out = put_factor(w, &p, f->kernel, (int64_t)f->num * num, (int64_t)f->den * den)
			? expr_mul(w, out, expanded(w, &p))
			: NULL;
	}
	return out;
}

/* The rational that all coefficients are multiples of, in magnitude; 0 if it cannot be had. */
static struct number content(struct work *w, const struct expr *a)
{
	struct number top = number_int(0), bottom = number_int(1);
	for (size_t i = 0; i < a->n; i++) {
		struct number num = number_numerator(w, a->terms[i].c),
			      den = number_denominator(w, a->terms[i].c), g;
		if (!number_gcd(w, top, num, &top) || !number_gcd(w, bottom, den, &g) ||
			!number_mul(w, bottom, den, &bottom) ||
			!number_div(w, bottom, g, &bottom)) {
			return number_int(0);
		}
	}
	return number_div(w, top, bottom, &top) ? top : number_int(0);
}

/* A sum of several terms to a power that is not a small whole number. */
static const struct expr *sum_power(struct work *w, const struct expr *a, int64_t num, int64_t den)
{
	struct number c = content(w, a);
	if (number_sign(c) == 0) {
		return NULL;
	}
	/* Under a root the sign matters; in a whole power it goes before. */
	if (den == 1 && number_sign(a->terms[0].c) < 0) {
		c = number_neg(w, c);
	}
	struct number inverse;
	if (!number_div(w, number_int(1), c, &inverse)) {
		return NULL;
	}
	struct kernel k = {.kind = KERNEL_SUM, .args = {scale(w, a, inverse)}};
	const struct expr *outside = number_power(w, c, num, den);
	if (!k.args[0] || !outside) {
		return NULL;
	}
	struct factor room[2];
	struct product p = {.t = {.c = number_int(1)},
		.factors = arena_alloc(w->arena, sizeof(*room)),
		.sums = room};
	p.t.factors = p.factors;
	return put_factor(w, &p, new_kernel(w, k), num, den) ? expr_mul(w, outside, expanded(w, &p))
							     : NULL;
}

static const struct expr *power_kernel(struct work *w, const struct expr *a, const struct expr *b)
{
	struct kernel k = {.kind = KERNEL_POWER, .args = {a, b}};
	return from_kernel(w, new_kernel(w, k), 1, 1);
}

static const struct expr *rational_power(
	struct work *w, const struct expr *a, int64_t num, int64_t den)
{
	if (a->n == 0) {
		return num > 0 ? a : NULL;
	}
	if (a->n == 1) {
		return term_power(w, &a->terms[0], num, den);
	}
	return den == 1 && num >= 0 && num <= EXPAND_MAX ? power_of_sum(w, a, num)
							 : sum_power(w, a, num, den);
}

/* base ^ (c * m) for one term of an exponent. Only kernels have a base of one kernel, so that 4^x is (2^x)^2. */
static const struct expr *kernel_power(
	struct work *w, const struct expr *base, const struct term *exponent)
{
	struct number c = exponent->c;
	struct term bare = *exponent;
	if (c.big || math_magnitude(c.num) > EXPONENT_MAX || c.den > EXPONENT_MAX) {
		return NULL;
	}
	/* e^(c ln u) is u^c. */
	const struct kernel *k = bare.n == 1 ? bare.factors[0].kernel : NULL;
	if (k && k->kind == KERNEL_FUNCTION && k->function == FUNCTION_LN &&
		bare.factors[0].num == 1 && bare.factors[0].den == 1 && base->n == 1 &&
		base->terms[0].n == 1 && base->terms[0].factors[0].kernel->kind == KERNEL_E) {
		return expr_pow(w, k->args[0], expr_number(w, c));
	}
	bare.c = number_int(1);
	struct kernel power = {.kind = KERNEL_POWER, .args = {base, from_term(w, bare)}};
	return power.args[1] ? from_kernel(w, new_kernel(w, power), c.num, c.den) : NULL;
}

/* One factor u^e of a base, to the power b: the product over the terms of b of (u^term)^e. */
static const struct expr *factor_power(
	struct work *w, const struct expr *base, const struct expr *b)
{
	const struct expr *out = expr_int(w, 1);
	for (size_t i = 0; i < b->n && out; i++) {
		const struct term *t = &b->terms[i];
		out = expr_mul(w, out,
			t->n == 0 ? expr_pow(w, base, from_term(w, *t)) : kernel_power(w, base, t));
	}
	return out;
}

/* Splits an integer base by its primes: 12^x = (2^x)^2 * 3^x. */
static const struct expr *integer_to(struct work *w, struct number n, const struct expr *b)
{
	const struct expr *out = expr_int(w, 1);
	uint64_t rest = n.big ? 1 : (uint64_t)n.num;
	if (n.big || !work_spend(w, TRIAL_COST)) {
		return NULL;
	}
	for (uint64_t d = 1, e; (d = math_next_prime(&rest, d, &e)) > 0;) {
		const struct expr *one = factor_power(w, expr_int(w, (int64_t)d), b);
		out = expr_mul(w, out, one ? expr_pow(w, one, expr_int(w, (int64_t)e)) : NULL);
	}
	return out;
}

/* (-1)^(n + 1) is -(-1)^n: letters in such exponents stand for integers. */
static const struct expr *sign_power(struct work *w, const struct expr *b)
{
	const struct expr *out = expr_int(w, 1), *minus = expr_int(w, -1);
	for (size_t i = 0; i < b->n && out; i++) {
		const struct expr *term = from_term(w, b->terms[i]);
		struct number c;
		bool integer = term && expr_is_number(term, &c) && !c.big && c.den == 1;
		out = expr_mul(w, out,
			integer ? expr_int(w, c.num % 2 == 0 ? 1 : -1)
				: power_kernel(w, minus, term));
	}
	return out;
}

static const struct expr *general_power(struct work *w, const struct expr *a, const struct expr *b)
{
	if (a->n != 1) {
		return power_kernel(w, a, b);
	}
	if (number_sign(a->terms[0].c) < 0) {
		const struct expr *sign = sign_power(w, b);
		struct number one;
		bool bare = expr_is_number(a, &one) && number_equal(one, number_int(-1));
		return bare ? sign : expr_mul(w, sign, general_power(w, expr_neg(w, a), b));
	}
	const struct term *t = &a->terms[0];
	const struct expr *top = integer_to(w, number_numerator(w, t->c), b);
	const struct expr *bottom = integer_to(w, number_denominator(w, t->c), b);
	const struct expr *out = expr_div(w, top, bottom);
	for (size_t i = 0; i < t->n && out; i++) {
		const struct factor *f = &t->factors[i];
		if (f->kernel->kind == KERNEL_I) {
			return power_kernel(w, a, b);
		}
		const struct expr *e = expr_number(
			w, (struct number){.num = f->num, .den = f->den});
		out = expr_mul(w, out,
			factor_power(w, from_kernel(w, f->kernel, 1, 1), expr_mul(w, b, e)));
	}
	return out;
}

/* e^(i pi r) for the angles that func.c knows. */
static const struct expr *euler(struct work *w, const struct expr *a, const struct expr *b)
{
	const struct term *t = b->n == 1 ? &b->terms[0] : NULL;
	if (!t || t->n != 2 || t->factors[0].kernel->kind != KERNEL_I ||
		t->factors[1].kernel->kind != KERNEL_PI || a->n != 1 || a->terms[0].n != 1 ||
		a->terms[0].factors[0].kernel->kind != KERNEL_E ||
		!number_equal(a->terms[0].c, number_int(1))) {
		return NULL;
	}
	const struct expr *angle = expr_div(w, b, expr_constant(w, KERNEL_I));
	const struct expr *sine = math_call(w, slice_z("sin"), NULL, &angle, 1);
	const struct expr *cosine = math_call(w, slice_z("cos"), NULL, &angle, 1);
	return expr_add(w, cosine, expr_mul(w, expr_constant(w, KERNEL_I), sine));
}

const struct expr *expr_pow(struct work *w, const struct expr *a, const struct expr *b)
{
	struct number r, base;
	if (!a || !b || !work_spend(w, TERM_COST)) {
		return NULL;
	}
	if (expr_is_number(b, &r)) {
		bool zero = expr_is_number(a, &base) && number_sign(base) == 0;
		if (zero && number_sign(r) <= 0) {
			return NULL;
		}
		if (!r.big && math_magnitude(r.num) <= (1u << 24) && r.den <= 64) {
			const struct expr *out = rational_power(w, a, r.num, r.den);
			if (out) {
				return out;
			}
		}
		return w->fuel > 0 ? power_kernel(w, a, b) : NULL;
	}
	if (expr_has(b, KERNEL_I)) {
		const struct expr *out = euler(w, a, b);
		return out ? out : power_kernel(w, a, b);
	}
	const struct expr *out = general_power(w, a, b);
	return out ? out : w->fuel > 0 ? power_kernel(w, a, b) : NULL;
}

/* --- Questions --- */

bool expr_is_number(const struct expr *a, struct number *out)
{
	if (a->n > 1 || (a->n == 1 && a->terms[0].n > 0)) {
		return false;
	}
	*out = a->n == 0 ? number_int(0) : a->terms[0].c;
	return true;
}

bool expr_is_variable(const struct expr *a)
{
	return a->n == 1 && a->terms[0].n == 1 && number_equal(a->terms[0].c, number_int(1)) &&
		a->terms[0].factors[0].num == 1 && a->terms[0].factors[0].den == 1 &&
		a->terms[0].factors[0].kernel->kind == KERNEL_VARIABLE;
}

/* The sum with the most negative exponent, and how often it must be multiplied by. */
static const struct kernel *divisor_of(const struct expr *a, int64_t *out_times)
{
	for (size_t i = 0; i < a->n; i++) {
		for (size_t j = 0; j < a->terms[i].n; j++) {
			const struct factor *f = &a->terms[i].factors[j];
			if (f->kernel->kind == KERNEL_SUM && f->num < 0) {
				*out_times = -floor_div(f->num, f->den);
				return f->kernel;
			}
		}
	}
	return NULL;
}

const struct expr *expr_cleared(struct work *w, const struct expr *a)
{
	for (unsigned round = 0; a && round < CLEAR_ROUNDS_MAX; round++) {
		int64_t times = 0;
		const struct kernel *k = divisor_of(a, &times);
		if (!k) {
			return a;
		}
		a = times <= EXPAND_MAX ? expr_mul(w, a, from_kernel(w, k, times, 1)) : NULL;
	}
	return NULL;
}

bool expr_equal(struct work *w, const struct expr *a, const struct expr *b)
{
	if (expr_order(a, b) == 0) {
		return true;
	}
	const struct expr *zero = expr_cleared(w, expr_sub(w, a, b));
	return zero && zero->n == 0;
}

size_t expr_variables(const struct expr *a, const struct kernel **out, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < a->n; i++) {
		for (size_t j = 0; j < a->terms[i].n; j++) {
			const struct kernel *found[MATH_VARIABLES_MAX + 1];
			const struct kernel *k = a->terms[i].factors[j].kernel;
			size_t n_found = 0;
			if (k->kind == KERNEL_VARIABLE) {
				found[n_found++] = k;
			}
			for (int arg = 0; arg < 2 && k->args[arg]; arg++) {
				n_found += expr_variables(k->args[arg], found + n_found,
					MATH_VARIABLES_MAX - n_found);
			}
			for (size_t f = 0; f < n_found && n < max; f++) {
				size_t known = 0;
				while (known < n && kernel_order(out[known], found[f]) != 0) {
					known++;
				}
				out[known] = found[f];
				n += known == n;
			}
		}
	}
	return n;
}

bool expr_has(const struct expr *a, enum kernel_kind kind)
{
	return a->has >> kind & 1;
}

/* --- The hash: a value modulo a prime, where every kernel is a number drawn by its own hash --- */

static uint64_t field_mul(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;
	uint64_t sum = (uint64_t)(product & FIELD) + (uint64_t)(product >> 61);
	return sum >= FIELD ? sum - FIELD : sum;
}

static uint64_t field_pow(uint64_t a, uint64_t e)
{
	uint64_t out = 1;
	for (; e > 0; e >>= 1) {
		out = e & 1 ? field_mul(out, a) : out;
		a = field_mul(a, a);
	}
	return out;
}

static uint64_t field_number(struct number c)
{
	if (c.big) {
		return number_hash(c) % FIELD;
	}
	uint64_t num = math_magnitude(c.num) % FIELD;
	num = c.num < 0 && num != 0 ? FIELD - num : num;
	return c.den == 1 ? num : field_mul(num, field_pow((uint64_t)c.den % FIELD, FIELD - 2));
}

static uint64_t field_kernel(const struct factor *f)
{
	const struct kernel *k = f->kernel;
	bool sum = k->kind == KERNEL_SUM;
	uint64_t value = sum ? expr_hash(k->args[0]) : k->hash % FIELD;
	/* Whole powers of a sum are powers of its value; a part of a power is drawn. */
	int64_t whole = sum ? floor_div(f->num, f->den) : f->num,
		part = sum ? f->num - whole * f->den : 0;
	uint64_t root = sum ? math_hash_mix(value, (uint64_t)f->den) % FIELD
			    : math_hash_mix(value, (uint64_t)f->den) % FIELD;
	uint64_t base = sum ? value : root;
	uint64_t out = field_pow(base, math_magnitude(whole));
	if (whole < 0) {
		out = field_pow(out, FIELD - 2);
	}
	return part == 0 ? out : field_mul(out, field_pow(root, (uint64_t)part));
}

uint64_t expr_hash(const struct expr *a)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < a->n; i++) {
		uint64_t product = field_number(a->terms[i].c);
		for (size_t j = 0; j < a->terms[i].n; j++) {
			product = field_mul(product, field_kernel(&a->terms[i].factors[j]));
		}
		sum = (sum + product) % FIELD;
	}
	return sum;
}

/* --- For people --- */

static void format_kernel(const struct kernel *k, struct str *out)
{
	static const char *const functions[] = {"sin", "cos", "ln", "asin", "acos", "atan", "abs",
		"floor", "factorial", "binomial", "gcd", "max", ""};
	static const char *const constants[] = {"i", "e", "pi", "infinity"};
	switch (k->kind) {
	case KERNEL_VARIABLE:
		str_append(out, k->name.data, k->name.len);
		break;
	case KERNEL_PRIME:
		number_format(k->prime, out);
		break;
	case KERNEL_SUM:
	case KERNEL_POWER:
		str_append_c(out, '(');
		expr_format(k->args[0], out);
		str_append_c(out, ')');
		if (k->args[1]) {
			str_append_z(out, "^(");
			expr_format(k->args[1], out);
			str_append_c(out, ')');
		}
		break;
	case KERNEL_FUNCTION:
		str_append_z(out, functions[k->function]);
		str_append(out, k->name.data, k->name.len);
		str_append_c(out, '(');
		expr_format(k->args[0], out);
		if (k->args[1]) {
			str_append_z(out, ", ");
			expr_format(k->args[1], out);
		}
		str_append_c(out, ')');
		break;
	default:
		str_append_z(out, constants[k->kind]);
		break;
	}
}

static void format_term(const struct term *t, bool first, struct str *out)
{
	struct work none = {0};
	bool minus = number_sign(t->c) < 0, one;
	struct number c = minus && !t->c.big ? number_neg(&none, t->c) : t->c;
	str_append_z(out,
		first                        ? (minus && !t->c.big ? "-" : "")
			: minus && !t->c.big ? " - "
					     : " + ");
	one = number_equal(c, number_int(1)) && t->n > 0;
	if (!one) {
		number_format(c, out);
	}
	for (size_t i = 0; i < t->n; i++) {
		const struct factor *f = &t->factors[i];
		str_append_z(out, i == 0 && one ? "" : "*");
		format_kernel(f->kernel, out);
		if (f->den != 1) {
			str_printf(out, "^(%d/%d)", (int)f->num, (int)f->den);
		} else if (f->num != 1) {
			str_printf(out, "^%d", (int)f->num);
		}
	}
}

void expr_format(const struct expr *a, struct str *out)
{
	if (a->n == 0) {
		str_append_c(out, '0');
	}
	for (size_t i = 0; i < a->n; i++) {
		if (out->len > FORMAT_BYTES_MAX) {
			str_append_z(out, " ...");
			return;
		}
		format_term(&a->terms[i], i == 0, out);
	}
}
