/* What the files of this folder share: numbers, values, tokens, and the text services of extract.c. Not for users. */
#ifndef VERIFIERS_MATH_MATH_IMPL_H
#define VERIFIERS_MATH_MATH_IMPL_H

#include "verifiers/math/mathcheck.h"

#include <gmp.h>
#include <stdint.h>

/* --- value.c: exact rationals. Small ones are two machine words; the rest is GMP's, tracked by the work that made it. --- */

struct number {
	int64_t num, den; /* lowest terms, den > 0, num never INT64_MIN; unused when big is set */
	mpq_ptr big; /* canonical; NULL for a small one. Kept numbers are small if they can be. */
};

struct big;

/* One parse: the GMP numbers it allocated and what it may still spend. Release it on every path. */
struct work {
	struct arena *arena;
	struct big *bigs; /* owns */
	uint64_t fuel;
};

void work_init(struct work *w, struct arena *arena);
void work_release(struct work *w);

struct number number_int(int64_t v);
/* `digits` decimal digits (ASCII, at most MATH_SPAN_BYTES_MAX) times 10^exponent. */
bool number_from_digits(
	struct work *w, const char *digits, size_t n, int64_t exponent, struct number *out);
bool number_add(struct work *w, struct number a, struct number b, struct number *out);
bool number_mul(struct work *w, struct number a, struct number b, struct number *out);
bool number_div(struct work *w, struct number a, struct number b, struct number *out);
bool number_pow(struct work *w, struct number a, struct number exponent, struct number *out);
struct number number_neg(struct work *w, struct number a);
int number_sign(struct number a);
bool number_is_integer(struct number a);
/* Three-way, exact. */
int number_compare(struct number a, struct number b);
/* Moves a big number's limbs into the arena, so that it needs no clearing and may be read by many threads. */
struct number number_keep(struct work *w, struct number a);
bool number_equal(struct number a, struct number b);
/* |a - b| <= 0.5e-6 * max(1, |a|, |b|), relative when both are below 1e-3. */
bool number_close(struct number a, struct number b);
struct number number_percent(struct work *w, struct number a); /* a / 100 */
uint64_t number_hash(struct number a);
void number_format(struct number a, struct str *out);

/* --- Values --- */

struct math_value {
	bool is_number;
	bool is_word; /* text of letters only: two that differ are different */
	bool percent; /* number counts hundredths, and also itself: 10% is 0.1 and 10 */
	bool decimal; /* written with a decimal point: may have been rounded */
	bool comma; /* "2,74" read as 2.74: could be a list as well */
	struct number number;
	struct slice name; /* of "x = 5"; empty: none */
	struct slice unit; /* what stood behind the number; empty: none */
	struct slice source; /* as written, stripped */
	struct slice text; /* normalised; text values only */
};

/* --- lex.c --- */

enum token_kind {
	TOKEN_END,
	TOKEN_NUMBER,
	TOKEN_PLUS,
	TOKEN_MINUS,
	TOKEN_TIMES,
	TOKEN_DIVIDE,
	TOKEN_POWER,
	TOKEN_OPEN, /* ( */
	TOKEN_CLOSE,
	TOKEN_GROUP, /* { */
	TOKEN_GROUP_END,
	TOKEN_FRAC,
	TOKEN_PERCENT,
	TOKEN_DEGREE,
	TOKEN_WORD, /* letters */
	TOKEN_TEXT, /* \text{...}: what is inside */
	TOKEN_DOT, /* as in "sq. ft." */
	TOKEN_BAD /* anything that numbers are not made of */
};

struct token {
	enum token_kind kind;
	bool space_before; /* blanks, spacing commands */
	bool newline_before;
	bool decimal, integer; /* of a number: written with a point; written as digits only */
	size_t start; /* offset in the text */
	struct slice text;
	struct number number;
};

struct lexer {
	struct work *work;
	const char *s;
	size_t len, at;
	unsigned n_tokens;
	struct token tok; /* the current one */
};

/* Makes the next token the current one. */
void lexer_next(struct lexer *lx);
/* 7-bit form of a text: minus signs, full-width digits, fractions and the like become what TeX would write. May return `s` itself. */
struct slice math_ascii(struct slice s, struct arena *arena);
/* Case, spacing, delimiters and wrappers taken away. */
struct slice math_normal_text(struct slice s, struct arena *arena, bool *out_word);

/* --- extract.c --- */

/* Takes delimiters, emphasis, closing punctuation and one \boxed{} from around an answer, repeatedly. */
struct slice math_strip(struct slice s);

static inline bool math_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool math_is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool math_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline char math_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline bool math_starts(struct slice s, size_t at, const char *z, size_t z_len)
{
	if (s.len - at < z_len) {
		return false;
	}
	for (size_t i = 0; i < z_len; i++) {
		if (s.data[at + i] != z[i]) {
			return false;
		}
	}
	return true;
}
#define MATH_STARTS(s, at, literal) math_starts((s), (at), (literal), sizeof(literal) - 1)

static inline struct slice math_sub(struct slice s, size_t from, size_t to)
{
	return (struct slice){s.data + from, to - from};
}

#endif
