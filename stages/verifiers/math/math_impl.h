/* What the files of this folder share: numbers, values, tokens, and the text services of extract.c. Not for users. */
#ifndef VERIFIERS_MATH_MATH_IMPL_H
#define VERIFIERS_MATH_MATH_IMPL_H

#include "verifiers/math/mathcheck.h"

#include <gmp.h>
#include <stdint.h>

#define MATH_VARIABLES_MAX 16

/* --- number.c: exact rationals. Small ones are two machine words; the rest is GMP's, in the arena. --- */

struct number {
	int64_t num, den; /* lowest terms, den > 0, num never INT64_MIN; unused when big is set */
	mpq_srcptr big; /* canonical, and too big for the two words; NULL for a small one */
};

/* What one check, or one parse, may still spend, and where its results live. */
struct work {
	struct arena *arena;
	uint64_t fuel; /* limb products, or what costs about as much */
};

void work_init(struct work *w, struct arena *arena);
/* False when there is not enough left; then nothing is. */
bool work_spend(struct work *w, uint64_t cost);

struct number number_int(int64_t v);
/* `digits` decimal digits (ASCII, at most MATH_SPAN_BYTES_MAX) times 10^exponent. */
bool number_from_digits(
	struct work *w, const char *digits, size_t n, int64_t exponent, struct number *out);
bool number_add(struct work *w, struct number a, struct number b, struct number *out);
bool number_mul(struct work *w, struct number a, struct number b, struct number *out);
/* False too when b is 0. */
bool number_div(struct work *w, struct number a, struct number b, struct number *out);
bool number_pow(struct work *w, struct number a, struct number exponent, struct number *out);
bool number_factorial(struct work *w, struct number a, struct number *out);
bool number_binomial(struct work *w, struct number n, struct number k, struct number *out);
bool number_gcd(struct work *w, struct number a, struct number b, struct number *out);
struct number number_floor(struct work *w, struct number a);
/* a > 0 is an integer: its root if it is exact. */
bool number_root(struct work *w, struct number a, unsigned degree, struct number *out);
struct number number_neg(struct work *w, struct number a);
int number_sign(struct number a);
bool number_is_integer(struct number a);
/* Three-way, exact. */
int number_compare(struct number a, struct number b);
bool number_equal(struct number a, struct number b);
/* |a - b| <= 0.5e-6 * max(1, |a|, |b|), relative when both are below 1e-3. */
bool number_close(struct number a, struct number b);
/* Numerator and denominator as integers. */
struct number number_numerator(struct work *w, struct number a);
struct number number_denominator(struct work *w, struct number a);
void number_get(struct number a, mpq_ptr out);
uint64_t number_hash(struct number a);
void number_format(struct number a, struct str *out);

uint64_t math_magnitude(int64_t v);
uint64_t math_hash_bytes(uint64_t h, const void *p, size_t n);
static inline uint64_t math_hash_mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

#define TRIAL_MAX 10000 /* divisors that are tried for a prime */
#define TRIAL_COST 8000 /* of trying them all, in limb products */
/*
 * The next prime factor of *rest behind `before` (1 at first), which is divided out, and how often it is in it; 0 if there is none. What
 * trial division leaves counts as a prime. The caller spends TRIAL_COST once.
 */
uint64_t math_next_prime(uint64_t *rest, uint64_t before, uint64_t *out_exponent);

/* --- expr.c: sums of products of rational powers of kernels, over the rationals --- */

enum kernel_kind {
	KERNEL_I, /* the imaginary unit */
	KERNEL_E,
	KERNEL_PI,
	KERNEL_INFINITY,
	KERNEL_VARIABLE,
	KERNEL_PRIME, /* an integer that stands under a root: its exponent lies between 0 and 1 */
	KERNEL_SUM, /* a sum of several terms that is divided by, or stands under a root */
	KERNEL_POWER, /* args[0] ^ args[1] that is none of the others */
	KERNEL_FUNCTION
};

enum function {
	FUNCTION_SIN,
	FUNCTION_COS,
	FUNCTION_LN,
	FUNCTION_ASIN,
	FUNCTION_ACOS,
	FUNCTION_ATAN,
	FUNCTION_ABS,
	FUNCTION_FLOOR,
	FUNCTION_FACTORIAL,
	FUNCTION_BINOMIAL,
	FUNCTION_GCD,
	FUNCTION_MAX,
	FUNCTION_APPLY /* of a name: f(x) */
};

struct expr;

struct kernel {
	enum kernel_kind kind;
	enum function function;
	uint64_t hash; /* of all the rest */
	struct slice name; /* of a variable, of FUNCTION_APPLY */
	struct number prime;
	const struct expr *args[2];
	uint32_t size; /* parts in all: what walking over it costs */
	uint32_t has; /* bits of the kinds that occur in it */
};

/* kernel ^ (num / den); lowest terms, den > 0, num != 0. */
struct factor {
	const struct kernel *kernel;
	int32_t num, den;
};

struct term {
	struct number c; /* not 0 */
	size_t n;
	const struct factor *factors; /* in the order of kernels */
};

/* Canonical but for KERNEL_SUM's denominators: see expr_equal. */
struct expr {
	size_t n; /* 0: zero */
	const struct term *terms; /* in the order of their factors */
	uint64_t hash;
	uint32_t size, has; /* as a kernel's */
};

/* All of these give NULL when a limit is reached, when there is no value (1/0), or for an operand that is NULL. */
const struct expr *expr_number(struct work *w, struct number c);
const struct expr *expr_int(struct work *w, int64_t v);
const struct expr *expr_constant(struct work *w, enum kernel_kind kind);
const struct expr *expr_variable(struct work *w, struct slice name);
const struct expr *expr_neg(struct work *w, const struct expr *a);
const struct expr *expr_add(struct work *w, const struct expr *a, const struct expr *b);
const struct expr *expr_sub(struct work *w, const struct expr *a, const struct expr *b);
const struct expr *expr_mul(struct work *w, const struct expr *a, const struct expr *b);
const struct expr *expr_div(struct work *w, const struct expr *a, const struct expr *b);
const struct expr *expr_pow(struct work *w, const struct expr *a, const struct expr *b);
/* A kernel of this function, whatever its argument: func.c knows the rules. */
const struct expr *expr_function(struct work *w, enum function function, struct slice name,
	const struct expr *a, const struct expr *b);
/* Multiplied by every sum it is divided by: a polynomial, zero only if the whole is. */
const struct expr *expr_cleared(struct work *w, const struct expr *a);

bool expr_is_number(const struct expr *a, struct number *out);
bool expr_is_variable(const struct expr *a);
/* Exact: false means "not shown". Runs out of fuel into false. */
bool expr_equal(struct work *w, const struct expr *a, const struct expr *b);
/* The same after a canonical evaluation in a finite field: fractions need no reduction for it. */
uint64_t expr_hash(const struct expr *a);
/* Distinct variables, at most max; the count may be more. */
size_t expr_variables(const struct expr *a, const struct kernel **out, size_t max);
bool expr_has(const struct expr *a, enum kernel_kind kind);
void expr_format(const struct expr *a, struct str *out);

/* --- func.c: functions of canonical arguments --- */

/* NULL if the name is none, or of another number of arguments. `base` of a logarithm, else NULL. */
const struct expr *math_call(struct work *w, struct slice name, const struct expr *base,
	const struct expr *const *args, size_t n_args);
bool math_is_function(struct slice name);

/* --- numeric.c: proven by evaluation in balls --- */

enum numeric { NUMERIC_UNKNOWN, NUMERIC_EQUAL, NUMERIC_CLOSE, NUMERIC_DIFFERENT };

/* CLOSE, as number_close, only if `close` is allowed and neither has variables. */
enum numeric math_numeric(struct work *w, const struct expr *a, const struct expr *b, bool close);
/* Sign of a - b for constants; false if it cannot be told. */
bool math_order(struct work *w, const struct expr *a, const struct expr *b, int *out_sign);

/* --- Values --- */

enum value_kind {
	VALUE_NUMBER,
	VALUE_EXPR,
	VALUE_LIST, /* 1, 2 or 3: no order, unless the other side has one */
	VALUE_SET,
	VALUE_TUPLE, /* (a, b): also an open interval */
	VALUE_BRACKET, /* [a, b]: also a closed one */
	VALUE_INTERVAL, /* that can be nothing else */
	VALUE_UNION, /* of intervals and sets */
	VALUE_MATRIX,
	VALUE_EQUATION, /* expr = 0 */
	VALUE_UNEQUAL, /* expr != 0 */
	VALUE_INEQUALITY, /* expr > 0, or >= 0 where closed */
	VALUE_TEXT
};

struct math_value {
	enum value_kind kind;
	bool is_number; /* kind is VALUE_NUMBER */
	bool is_word; /* text of letters only: two that differ are different */
	bool percent; /* number counts hundredths, and also itself: 10% is 0.1 and 10 */
	bool decimal; /* written with a decimal point: may have been rounded */
	bool comma; /* "2,74" read as 2.74: could be a list as well */
	bool clock; /* "4:30" read as 4/30 */
	bool spoken; /* a list with "and" or "or" between */
	bool stated; /* an interval that was written as an inequality */
	bool open_low, open_high; /* of an interval; of an inequality, open_low */
	struct number number;
	const struct expr *expr;
	const struct math_value **items;
	size_t n, rows; /* of items, of a matrix */
	const struct math_value *other; /* another reading; NULL: there is none */
	struct slice base; /* of 204_5; empty: none named */
	char choice; /* the letter of an option, A to J; 0: none */
	struct slice option; /* its text, normalised; empty: none */
	struct slice name; /* of "x = 5"; empty: none */
	struct slice unit; /* what stood behind the number; empty: none */
	struct slice source; /* as written, stripped */
	struct slice text; /* normalised; text values only */
};

/* --- value.c --- */

/* A number or an expression as an expression; NULL if it is neither. */
const struct expr *value_expr(struct work *w, const struct math_value *v);
/* A value of its own of this kind, with the items, which it takes. */
struct math_value *value_new(
	struct work *w, enum value_kind kind, const struct math_value **items, size_t n);
/* A number if it is one. NULL for NULL. */
struct math_value *value_of_expr(struct work *w, const struct expr *e);
/* Of scalars, matrices, and lists (element by element); NULL if it makes no sense. */
struct math_value *value_add(
	struct work *w, const struct math_value *a, const struct math_value *b, bool minus);
struct math_value *value_mul(
	struct work *w, const struct math_value *a, const struct math_value *b);
struct math_value *value_div(
	struct work *w, const struct math_value *a, const struct math_value *b);
struct math_value *value_pow(
	struct work *w, const struct math_value *a, const struct math_value *b);
/* Of intervals and sets. */
struct math_value *value_union(
	struct work *w, const struct math_value *a, const struct math_value *b);
struct math_value *value_without(
	struct work *w, const struct math_value *a, const struct math_value *b);
/* A union in its one form: what overlaps or touches is one interval, the points stand in one set; v if that cannot be said. */
const struct math_value *value_merged(struct work *w, const struct math_value *v);
/* An interval of this kind; TUPLE and BRACKET as intervals. NULL if v is none. */
const struct math_value *value_interval(struct work *w, const struct math_value *v);
/* "a < b" and the like. A chain of two is an interval. */
struct math_value *value_inequality(
	struct work *w, const struct expr *low, const struct expr *high, bool closed);

/* --- parse.c --- */

/* A number with what may stand behind it: per cent, a unit. NULL if it is anything else. */
struct math_value *math_parse_quantity(struct work *w, struct slice s);
/* Is the word a unit, rather than a product of letters? */
bool math_is_unit(struct slice word, bool space_before);
/* Words that make another value of the number before them: "half", "million", "pm". */
bool math_changes_value(struct slice word);
/* "squared" behind a number, a letter like x behind a unit: they go on with the expression. */
bool math_is_operation(struct slice word, bool behind_unit);
/* What stands before "=": a name is kept in v, a label in words is not; false for an expression. */
bool math_read_name(struct work *w, struct slice s, struct math_value *v);

/* --- cut.c --- */

#define MATH_ITEMS_MAX 256 /* of a list, a set, a matrix */
#define MATH_CHARACTER_COST 20 /* of looking for brackets and separators, in limb products */

/* The stronger the later. */
enum separator {
	SEPARATOR_NONE,
	SEPARATOR_COMMA,
	SEPARATOR_SEMICOLON,
	SEPARATOR_AND,
	SEPARATOR_OR
};

struct piece {
	struct slice text; /* trimmed, never empty */
	enum separator before;
};

/* +1 for what opens at s[at], -1 for what closes, 0 else. out_bytes: how much it takes. */
int math_bracket_at(struct slice s, size_t at, size_t *out_bytes);
/* Offset of what closes the bracket that opens before `from`; s.len if nothing does. */
size_t math_closing(struct slice s, size_t from);
/* Is the word (lower case) at s[at], as a word of its own? */
bool math_word_at(struct slice s, size_t at, const char *word, size_t n);
/* Without blanks, spacing commands and dollar signs around it, and without a full stop. */
struct slice math_trim(struct slice s);
/*
 * Cuts at separators outside of brackets. Empty pieces ("2, and 3") are left out. With `pairs` a comma between digits always
 * cuts. 0: nothing there, or more than max.
 */
size_t math_split(struct slice s, bool pairs, struct piece *pieces, size_t max);

/* --- grammar.c, answer.c --- */

/* One answer being read, from the outside in. */
struct context {
	struct work *w;
	unsigned depth;
	bool decimal; /* a decimal point was seen in the side that is being read */
};

/* An expression, a set, a matrix, with a unit. NULL if it is none. */
struct math_value *math_parse_side(struct context *c, struct slice s);
/* The same, with relations. */
struct math_value *math_parse_item(struct context *c, struct slice s);
/* Of two intervals of one letter, or of none. */
struct math_value *math_intersection(
	struct work *w, const struct math_value *a, const struct math_value *b);

/* Everything that is more than a number with a unit. NULL if the grammar does not know it. */
struct math_value *math_parse_full(struct work *w, struct slice s);
/* Reads on a budget that several answers of one output share. */
const struct math_value *math_parse_on(struct work *w, struct slice span, size_t *out_error_at);

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
	/* What the grammar of numbers does not know: */
	TOKEN_COMMA,
	TOKEN_SQUARE, /* [ */
	TOKEN_SQUARE_END,
	TOKEN_BRACE, /* \{ */
	TOKEN_BRACE_END,
	TOKEN_BAR,
	TOKEN_COLON,
	TOKEN_SUBSCRIPT,
	TOKEN_BANG,
	TOKEN_PRIME,
	TOKEN_PLUS_MINUS,
	TOKEN_SQRT,
	TOKEN_UNION,
	TOKEN_WITHOUT,
	TOKEN_COLUMN, /* & */
	TOKEN_ROW, /* \\ */
	TOKEN_BEGIN, /* \begin{...}: the name of the environment */
	TOKEN_ENVIRONMENT_END,
	TOKEN_COMMAND, /* any other: its name without the backslash */
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
/* A degree, ^\circ or ^{\circ}; false, and nothing is read, if the current token begins none. */
bool lexer_skip_degree(struct lexer *lx);
/* 7-bit form of a text: minus signs, full-width digits, fractions and the like become what TeX would write. May return `s` itself. */
struct slice math_ascii(struct slice s, struct arena *arena);
/* Case, spacing, delimiters and wrappers taken away. */
struct slice math_normal_text(struct slice s, struct arena *arena, bool *out_word);

/* --- choice.c --- */

/* Is a gold the letter of an option, with or without its text? Fills choice and option. */
void math_read_choice(struct work *w, struct slice s, struct math_value *v);
/* Decides an output against such a gold by letters alone; false where there are none that state an option. */
bool math_check_choice(const struct math_value *gold, struct slice output,
	const struct math_span *spans, size_t n, struct math_verdict *out);

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
