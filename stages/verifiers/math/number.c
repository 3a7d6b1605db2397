/*
 * Exact rational numbers. Nearly every answer is a small integer, so a number is two 64-bit words and GMP is only called when
 * a result does not fit. A result of GMP's is copied into the arena at once, as limbs behind a read-only view: a number is plain
 * memory, needs no clearing, and may be read by any thread.
 *
 * Work is counted, not timed: every GMP operation pays by the product of its operands' sizes, which is what reducing a fraction
 * costs at worst. Whoever runs out fails in the same place on every machine.
 */
#include "math_impl.h"

#include "base/mem.h"

#include <string.h>

#define FUEL_MAX (2u << 20) /* limb products, each about a nanosecond */
#define FORMAT_DIGITS_MAX 120
#define FACTORIAL_MAX 3000

void work_init(struct work *w, struct arena *arena)
{
	*w = (struct work){.arena = arena, .fuel = FUEL_MAX};
}

bool work_spend(struct work *w, uint64_t cost)
{
	if (w->fuel < cost) {
		w->fuel = 0;
		return false;
	}
	w->fuel -= cost;
	return true;
}

/* A number as GMP sees it: a view of a big one, or the two words in `room`. */
struct view {
	mpq_t room;
	mp_limb_t limbs[2];
	mpq_srcptr q;
};

_Static_assert(GMP_NUMB_BITS == 64, "a limb holds an int64_t");

static void view_of(struct number a, struct view *v)
{
	if (a.big) {
		v->q = a.big;
		return;
	}
	v->limbs[0] = (mp_limb_t)(a.num < 0 ? -(uint64_t)a.num : (uint64_t)a.num);
	v->limbs[1] = (mp_limb_t)a.den;
	mpz_roinit_n(mpq_numref(v->room), &v->limbs[0], a.num < 0 ? -1 : a.num > 0);
	mpz_roinit_n(mpq_denref(v->room), &v->limbs[1], 1);
	v->q = v->room;
}

static size_t limbs_of(mpq_srcptr q)
{
	return mpz_size(mpq_numref(q)) + mpz_size(mpq_denref(q));
}

static bool within_bits(mpq_srcptr q)
{
	return mpz_sizeinbase(mpq_numref(q), 2) <= MATH_BITS_MAX &&
		mpz_sizeinbase(mpq_denref(q), 2) <= MATH_BITS_MAX;
}

struct number number_int(int64_t v)
{
	return (struct number){.num = v, .den = 1};
}

static uint64_t gcd64(uint64_t a, uint64_t b)
{
	while (b != 0) {
		uint64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

uint64_t math_magnitude(int64_t v)
{
	return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

/* num / den in lowest terms; den > 0. */
static struct number small(int64_t num, int64_t den)
{
	uint64_t g = den == 1 ? 1 : gcd64(math_magnitude(num), (uint64_t)den);
	return (struct number){.num = num / (int64_t)g, .den = den / (int64_t)g};
}

static bool mul64(int64_t a, int64_t b, int64_t *out)
{
	return !__builtin_mul_overflow(a, b, out) && *out != INT64_MIN;
}

static struct number keep(struct work *w, mpq_srcptr q)
{
	mpz_srcptr parts[2] = {mpq_numref(q), mpq_denref(q)};
	/* One form for one number, so that equality is cheap. */
	if (mpz_sizeinbase(parts[0], 2) <= 63 && mpz_sizeinbase(parts[1], 2) <= 63) {
		return (struct number){
			.num = (int64_t)mpz_get_si(parts[0]), .den = (int64_t)mpz_get_si(parts[1])};
	}
	mpq_ptr kept = arena_alloc(w->arena, sizeof(mpq_t));
	for (int i = 0; i < 2; i++) {
		size_t n = mpz_size(parts[i]);
		mp_limb_t *limbs = arena_alloc_array(w->arena, n + 1, sizeof(*limbs));
		memcpy(limbs, mpz_limbs_read(parts[i]), n * sizeof(*limbs));
		mpz_roinit_n(i == 0 ? mpq_numref(kept) : mpq_denref(kept), limbs,
			mpz_sgn(parts[i]) < 0 ? -(mp_size_t)n : (mp_size_t)n);
	}
	return (struct number){.big = kept};
}

/* The result of one operation, which q held: kept if it is within the limits, and q cleared. */
static bool finish(struct work *w, mpq_ptr q, struct number *out)
{
	bool ok = within_bits(q);
	if (ok) {
		*out = keep(w, q);
	}
	mpq_clear(q);
	return ok;
}

static bool power_of_ten(unsigned e, int64_t *out)
{
	int64_t p = 1;
	if (e > 18) {
		return false;
	}
	while (e-- > 0) {
		p *= 10;
	}
	*out = p;
	return true;
}

bool number_from_digits(
	struct work *w, const char *digits, size_t n, int64_t exponent, struct number *out)
{
	int64_t scale;
	while (n > 1 && *digits == '0') {
		digits++;
		n--;
	}
	uint64_t places = exponent < 0 ? -(uint64_t)exponent : (uint64_t)exponent;
	/* 10 has 3.33 bits. */
	if (places > MATH_BITS_MAX / 4) {
		return false;
	}
	if (n <= 18 && power_of_ten((unsigned)places, &scale)) {
		int64_t v = 0;
		for (size_t i = 0; i < n; i++) {
			v = v * 10 + (digits[i] - '0');
		}
		if (exponent <= 0) {
			*out = small(v, scale);
			return true;
		}
		if (mul64(v, scale, &v)) {
			*out = number_int(v);
			return true;
		}
	}
	uint64_t limbs = (n + places) / 19 + 1;
	if (!work_spend(w, limbs * limbs)) {
		return false;
	}
	char *z = arena_memdup0(w->arena, digits, n);
	mpq_t q;
	mpq_init(q);
	mpz_set_str(mpq_numref(q), z, 10);
	mpz_t ten;
	mpz_init(ten);
	mpz_ui_pow_ui(ten, 10, places);
	if (exponent < 0) {
		mpz_set(mpq_denref(q), ten);
		mpq_canonicalize(q);
	} else {
		mpz_mul(mpq_numref(q), mpq_numref(q), ten);
	}
	mpz_clear(ten);
	return finish(w, q, out);
}

struct number number_neg(struct work *w, struct number a)
{
	if (!a.big) {
		a.num = -a.num;
		return a;
	}
	mpq_t q;
	mpq_init(q);
	mpq_neg(q, a.big);
	struct number out = keep(w, q);
	mpq_clear(q);
	return out;
}

static bool spend_pair(struct work *w, mpq_srcptr a, mpq_srcptr b)
{
	uint64_t size = limbs_of(a) + limbs_of(b);
	return work_spend(w, size * size / 4 + 1);
}

static bool on_rationals(struct work *w, struct number a, struct number b,
	void (*operation)(mpq_ptr, mpq_srcptr, mpq_srcptr), struct number *out)
{
	struct view va, vb;
	view_of(a, &va);
	view_of(b, &vb);
	if (!spend_pair(w, va.q, vb.q)) {
		return false;
	}
	mpq_t q;
	mpq_init(q);
	operation(q, va.q, vb.q);
	return finish(w, q, out);
}

bool number_add(struct work *w, struct number a, struct number b, struct number *out)
{
	int64_t left, right, den;
	if (!a.big && !b.big && mul64(a.num, b.den, &left) && mul64(b.num, a.den, &right) &&
		mul64(a.den, b.den, &den) && !__builtin_add_overflow(left, right, &left) &&
		left != INT64_MIN) {
		*out = small(left, den);
		return true;
	}
	return on_rationals(w, a, b, mpq_add, out);
}

bool number_mul(struct work *w, struct number a, struct number b, struct number *out)
{
	if (!a.big && !b.big) {
		struct number x = small(a.num, b.den), y = small(b.num, a.den);
		struct number r;
		if (mul64(x.num, y.num, &r.num) && mul64(x.den, y.den, &r.den)) {
			*out = (struct number){.num = r.num, .den = r.den};
			return true;
		}
	}
	return on_rationals(w, a, b, mpq_mul, out);
}

bool number_div(struct work *w, struct number a, struct number b, struct number *out)
{
	if (number_sign(b) == 0) {
		return false;
	}
	if (!b.big) {
		struct number inverse = {
			.num = b.num < 0 ? -b.den : b.den, .den = (int64_t)math_magnitude(b.num)};
		return number_mul(w, a, inverse, out);
	}
	mpq_t q;
	mpq_init(q);
	mpq_inv(q, b.big);
	struct number inverse = keep(w, q);
	mpq_clear(q);
	return number_mul(w, a, inverse, out);
}

bool number_pow(struct work *w, struct number a, struct number exponent, struct number *out)
{
	if (exponent.big || exponent.den != 1 || math_magnitude(exponent.num) > MATH_BITS_MAX ||
		(exponent.num <= 0 && number_sign(a) == 0)) {
		return false;
	}
	struct view va;
	view_of(a, &va);
	uint64_t e = math_magnitude(exponent.num);
	uint64_t bits = MAX(
		mpz_sizeinbase(mpq_numref(va.q), 2), mpz_sizeinbase(mpq_denref(va.q), 2));
	bool unit = !a.big && a.den == 1 && math_magnitude(a.num) <= 1;
	/* The bits of a power lie within one factor of the exponent of this. */
	if (!unit && bits * e > MATH_BITS_MAX) {
		return false;
	}
	uint64_t limbs = unit ? 1 : bits * e / 64 + 1;
	if (!work_spend(w, limbs * 16)) {
		return false;
	}
	mpq_t q;
	mpq_init(q);
	mpz_pow_ui(mpq_numref(q), mpq_numref(va.q), e);
	mpz_pow_ui(mpq_denref(q), mpq_denref(va.q), e);
	if (exponent.num < 0) {
		mpq_inv(q, q);
	}
	return finish(w, q, out);
}

static struct number from_mpz(struct work *w, mpz_srcptr z)
{
	mpq_t q;
	mpq_init(q);
	mpq_set_z(q, z);
	struct number out = keep(w, q);
	mpq_clear(q);
	return out;
}

struct number number_numerator(struct work *w, struct number a)
{
	return a.big ? from_mpz(w, mpq_numref(a.big)) : number_int(a.num);
}

struct number number_denominator(struct work *w, struct number a)
{
	return a.big ? from_mpz(w, mpq_denref(a.big)) : number_int(a.den);
}

void number_get(struct number a, mpq_ptr out)
{
	struct view v;
	view_of(a, &v);
	mpq_set(out, v.q);
}

bool number_factorial(struct work *w, struct number a, struct number *out)
{
	/* 3000! has 30,000 bits and costs GMP some microseconds. */
	if (a.big || a.den != 1 || a.num < 0 || a.num > FACTORIAL_MAX ||
		!work_spend(w, (uint64_t)a.num * 16 + 1)) {
		return false;
	}
	mpz_t z;
	mpz_init(z);
	mpz_fac_ui(z, (unsigned long)a.num);
	*out = from_mpz(w, z);
	mpz_clear(z);
	return true;
}

bool number_binomial(struct work *w, struct number n, struct number k, struct number *out)
{
	if (n.big || k.big || n.den != 1 || k.den != 1 || n.num < 0 || k.num < 0 ||
		n.num > FACTORIAL_MAX || !work_spend(w, (uint64_t)n.num * 16 + 1)) {
		return false;
	}
	mpz_t z;
	mpz_init(z);
	mpz_bin_uiui(z, (unsigned long)n.num, (unsigned long)MIN(k.num, n.num + 1));
	*out = from_mpz(w, z);
	mpz_clear(z);
	return true;
}

bool number_gcd(struct work *w, struct number a, struct number b, struct number *out)
{
	if (!number_is_integer(a) || !number_is_integer(b)) {
		return false;
	}
	struct view va, vb;
	view_of(a, &va);
	view_of(b, &vb);
	uint64_t size = limbs_of(va.q) + limbs_of(vb.q);
	if (!work_spend(w, size * size + 1)) {
		return false;
	}
	mpz_t z;
	mpz_init(z);
	mpz_gcd(z, mpq_numref(va.q), mpq_numref(vb.q));
	*out = from_mpz(w, z);
	mpz_clear(z);
	return true;
}

struct number number_floor(struct work *w, struct number a)
{
	if (number_is_integer(a)) {
		return a;
	}
	struct view v;
	view_of(a, &v);
	mpz_t z;
	mpz_init(z);
	mpz_fdiv_q(z, mpq_numref(v.q), mpq_denref(v.q));
	struct number out = from_mpz(w, z);
	mpz_clear(z);
	return out;
}

bool number_root(struct work *w, struct number a, unsigned degree, struct number *out)
{
	struct view v;
	view_of(a, &v);
	uint64_t limbs = limbs_of(v.q);
	if (!number_is_integer(a) || number_sign(a) <= 0 || !work_spend(w, limbs * limbs + 1)) {
		return false;
	}
	mpz_t z;
	mpz_init(z);
	bool exact = mpz_root(z, mpq_numref(v.q), degree) != 0;
	if (exact) {
		*out = from_mpz(w, z);
	}
	mpz_clear(z);
	return exact;
}

int number_sign(struct number a)
{
	return a.big ? mpq_sgn(a.big) : (a.num > 0) - (a.num < 0);
}

bool number_is_integer(struct number a)
{
	return a.big ? mpz_cmp_ui(mpq_denref(a.big), 1) == 0 : a.den == 1;
}

int number_compare(struct number a, struct number b)
{
	struct view va, vb;
	view_of(a, &va);
	view_of(b, &vb);
	int c = mpq_cmp(va.q, vb.q);
	return (c > 0) - (c < 0);
}

bool number_equal(struct number a, struct number b)
{
	if (!a.big && !b.big) {
		return a.num == b.num && a.den == b.den;
	}
	struct view va, vb;
	view_of(a, &va);
	view_of(b, &vb);
	return mpq_equal(va.q, vb.q) != 0;
}

bool number_close(struct number a, struct number b)
{
	struct view va, vb;
	view_of(a, &va);
	view_of(b, &vb);
	mpq_t distance, scale, other;
	mpq_inits(distance, scale, other, (mpq_ptr)NULL);
	mpq_sub(distance, va.q, vb.q);
	mpq_abs(distance, distance);
	mpq_abs(scale, va.q);
	mpq_abs(other, vb.q);
	if (mpq_cmp(other, scale) > 0) {
		mpq_swap(scale, other);
	}
	/* distance * 2,000,000 <= scale, where scale is at least 1 unless both numbers are tiny. */
	if (mpq_cmp_ui(scale, 1, 1000) >= 0 && mpq_cmp_ui(scale, 1, 1) < 0) {
		mpq_set_ui(scale, 1, 1);
	}
	mpq_set_ui(other, 2000000, 1);
	mpq_mul(distance, distance, other);
	bool close = mpq_cmp(distance, scale) <= 0;
	mpq_clears(distance, scale, other, (mpq_ptr)NULL);
	return close;
}

static void format_integer(mpz_srcptr z, struct str *out)
{
	size_t digits = mpz_sizeinbase(z, 10);
	if (digits > FORMAT_DIGITS_MAX) {
		str_printf(out, "%s(a number of %zu digits)", mpz_sgn(z) < 0 ? "-" : "", digits);
		return;
	}
	char buf[FORMAT_DIGITS_MAX + 3];
	str_append_z(out, mpz_get_str(buf, 10, z));
}

void number_format(struct number a, struct str *out)
{
	struct view v;
	view_of(a, &v);
	format_integer(mpq_numref(v.q), out);
	if (!number_is_integer(a)) {
		str_append_c(out, '/');
		format_integer(mpq_denref(v.q), out);
	}
}

uint64_t math_hash_bytes(uint64_t h, const void *p, size_t n)
{
	const unsigned char *bytes = p;
	for (size_t i = 0; i < n; i++) {
		h = (h ^ bytes[i]) * 0x100000001b3u;
	}
	return h;
}

uint64_t number_hash(struct number a)
{
	uint64_t h = 0xcbf29ce484222325u;
	struct view v;
	view_of(a, &v);
	mpz_srcptr parts[2] = {mpq_numref(v.q), mpq_denref(v.q)};
	for (int i = 0; i < 2; i++) {
		int sign = mpz_sgn(parts[i]);
		h = math_hash_bytes(h, &sign, sizeof(sign));
		h = math_hash_bytes(
			h, mpz_limbs_read(parts[i]), mpz_size(parts[i]) * sizeof(mp_limb_t));
	}
	return h;
}

uint64_t math_next_prime(uint64_t *rest, uint64_t before, uint64_t *out_exponent)
{
	for (uint64_t d = before < 3 ? before + 1 : before + 2; *rest > 1; d += d == 2 ? 1 : 2) {
		if (d > TRIAL_MAX || d * d > *rest) {
			d = *rest;
		}
		*out_exponent = 0;
		while (*rest % d == 0) {
			*rest /= d;
			++*out_exponent;
		}
		if (*out_exponent > 0) {
			return d;
		}
	}
	return 0;
}
