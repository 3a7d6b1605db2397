/*
 * The full grammar. Structure that is told by brackets and separators is found on the characters first, from the outside in: lists,
 * chains of relations, tuples, sets, matrices. What is left are expressions, which a recursive descent over the lexer's tokens
 * evaluates as it reads. So a side that cannot be read, the name in "\angle ABC = 30", does not spoil the other.
 *
 *	answer   := item ((, | ; | and | or) item)*
 *	item     := side (relation side)*
 *	side     := set ((\cup | \setminus) set)* unit?      a set is any expression
 *	expr     := term ((+ | - | \pm) term)*
 *	term     := factor ((* | / | nothing) factor)*
 *	factor   := (+ | - | \pm) factor | postfix (^ factor)?
 *	postfix  := primary (! | degree)*
 *	primary  := number | letter | function | \frac | \sqrt | bracket | matrix | | expr |
 *
 * A word of four letters and more is no product, and neither are the short words of English: then all is text.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

struct parser {
	struct lexer lx;
	struct context *c;
	struct work *w;
	unsigned bars; /* open | */
	bool degrees; /* in the argument of a trigonometric function */
	size_t run_end; /* of a word of letters that is being taken apart */
};

static struct math_value *parse_sum(struct parser *p);
static struct math_value *parse_sets(struct parser *p);
static bool parse_unit(struct parser *p, struct math_value *v);
static bool is_cap(const struct parser *p);
static struct math_value *parse_factor(struct parser *p);

static enum token_kind kind(const struct parser *p)
{
	return p->lx.tok.kind;
}

static void next(struct parser *p)
{
	lexer_next(&p->lx);
}

/* The current token has not been read. */
static void unread(struct parser *p)
{
	p->lx.at = p->lx.tok.start;
}

static struct slice whole(const struct parser *p)
{
	return (struct slice){p->lx.s, p->lx.len};
}

static struct math_value *integer(struct work *w, int64_t v)
{
	return value_of_expr(w, expr_int(w, v));
}

/* Is a comma between digits one of a list? Not where ", " separates, and not in {,} nor in the groups of commands. */
static bool has_pairs(struct slice inner, enum token_kind open)
{
	return open != TOKEN_GROUP && inner.len > 2 && !memmem(inner.data, inner.len, ", ", 2) &&
		!memchr(inner.data, ';', inner.len);
}

/* --- Expressions --- */

/* {n \choose k} */
static struct math_value *parse_choose(struct context *c, struct slice inner)
{
	const char *word = memmem(inner.data, inner.len, "\\choose", 7);
	size_t at = (size_t)(word - inner.data);
	struct slice top = math_trim(math_sub(inner, 0, at));
	struct slice bottom = math_trim(math_sub(inner, at + 7, inner.len));
	const struct expr *args[2] = {value_expr(c->w, math_parse_side(c, top)),
		value_expr(c->w, math_parse_side(c, bottom))};
	return args[0] && args[1]
		? value_of_expr(c->w, math_call(c->w, slice_z("binom"), NULL, args, 2))
		: NULL;
}

struct bracket {
	enum token_kind open;
	struct slice inner;
	bool square; /* closed by ] */
	bool fits; /* what closes is of the kind that opened: no half-open interval */
};

/* The bracket whose opening token is current; the token behind it becomes current. */
static bool read_bracket(struct parser *p, struct bracket *out)
{
	struct slice s = whole(p);
	size_t from = p->lx.at, to = math_closing(s, from), bytes;
	if (to == s.len || !work_spend(p->w, (to - from) * MATH_CHARACTER_COST)) {
		return false;
	}
	(void)math_bracket_at(s, to, &bytes);
	out->open = kind(p);
	out->inner = math_sub(s, from, to);
	out->square = s.data[to] == ']';
	out->fits = out->open == TOKEN_OPEN ? s.data[to] == ')'
		: out->open == TOKEN_SQUARE ? out->square
					    : true;
	p->lx.at = to + bytes;
	next(p);
	return true;
}

/* One expression in brackets, by a parser of its own. */
static struct math_value *parse_inside(struct parser *p, struct slice s)
{
	struct math_value *out = p->degrees ? NULL : math_parse_quantity(p->w, s);
	struct parser inside = {
		.lx = {.work = p->w, .s = s.data, .len = s.len, .n_tokens = p->lx.n_tokens},
		.c = p->c,
		.w = p->w,
		.degrees = p->degrees};
	if (out) {
		p->c->decimal |= out->decimal;
		return out;
	}
	next(&inside);
	out = parse_sets(&inside);
	out = out && parse_unit(&inside, out) ? out : NULL;
	p->lx.n_tokens = inside.lx.n_tokens;
	return out;
}

/* Several elements, or those of a set. */
static struct math_value *parse_elements(
	struct parser *p, const struct bracket *b, const struct piece *pieces, size_t n)
{
	bool set = b->open == TOKEN_BRACE || b->open == TOKEN_GROUP;
	const struct math_value **items = arena_alloc_array(p->w->arena, n + 1, sizeof(*items));
	for (size_t i = 0; i < n; i++) {
		items[i] = b->open == TOKEN_BRACE ? math_parse_item(p->c, pieces[i].text)
						  : math_parse_side(p->c, pieces[i].text);
		if (!items[i]) {
			return NULL;
		}
	}
	if ((n < 2 && b->open != TOKEN_BRACE) || (!b->fits && n != 2)) {
		return NULL;
	}
	struct math_value *out = value_new(p->w,
		set                             ? VALUE_SET
			: !b->fits              ? VALUE_INTERVAL
			: b->open == TOKEN_OPEN ? VALUE_TUPLE
						: VALUE_BRACKET,
		items, n);
	out->open_low = !b->fits && b->open == TOKEN_OPEN;
	out->open_high = !b->fits && !b->square;
	return b->fits || (value_expr(p->w, items[0]) && value_expr(p->w, items[1])) ? out : NULL;
}

/* A group, a tuple, a set, an interval: whatever the bracket holds whose opening token is current. */
static struct math_value *parse_bracketed(struct parser *p)
{
	struct bracket b;
	unsigned depth = p->c->depth;
	if (depth >= MATH_DEPTH_MAX || !read_bracket(p, &b)) {
		return NULL;
	}
	size_t max = MIN(b.inner.len + 1, (size_t)MATH_ITEMS_MAX);
	struct piece *pieces = arena_alloc_array(p->w->arena, max, sizeof(*pieces));
	size_t n = math_split(b.inner, has_pairs(b.inner, b.open), pieces, max);
	struct math_value *out;
	p->c->depth++;
	if (n == 1 && b.open == TOKEN_GROUP && memmem(b.inner.data, b.inner.len, "\\choose", 7)) {
		out = parse_choose(p->c, b.inner);
	} else if (n == 1 && b.fits && b.open != TOKEN_BRACE) {
		out = parse_inside(p, b.inner);
	} else {
		out = parse_elements(p, &b, pieces, n);
	}
	p->c->depth = depth;
	return out;
}

/* {x | x > 3}: what is said of x. NULL if it is no such set. */
static struct math_value *parse_builder(struct parser *p)
{
	struct slice s = whole(p);
	size_t to = math_closing(s, p->lx.at);
	int depth = 0;
	for (size_t at = p->lx.at, n; at < to; at += n) {
		depth += math_bracket_at(s, at, &n);
		size_t bar = s.data[at] == '|' || s.data[at] == ':' ? 1
			: MATH_STARTS(s, at, "\\mid")               ? 4
								    : 0;
		if (depth == 0 && bar > 0 && p->c->depth < MATH_DEPTH_MAX) {
			p->c->depth++;
			struct math_value *v = math_parse_item(
				p->c, math_trim(math_sub(s, at + bar, to)));
			p->c->depth--;
			bool set = v && (v->kind == VALUE_INTERVAL || v->kind == VALUE_UNION);
			p->lx.at = to + (s.data[to] == '\\' ? 2 : 1);
			next(p);
			if (set) {
				v->stated = false;
			}
			return set ? v : NULL;
		}
	}
	return NULL;
}

static bool is_builder(const struct parser *p)
{
	struct slice s = whole(p);
	size_t to = math_closing(s, p->lx.at);
	for (size_t at = p->lx.at; at < to; at++) {
		if (s.data[at] == '|' || s.data[at] == ':' || MATH_STARTS(s, at, "\\mid")) {
			return to < s.len;
		}
	}
	return false;
}

/*
 * What \frac, \sqrt and ^ take: a group, or one character or command. Reads from behind the current token and leaves what
 * follows the argument unread.
 */
static struct math_value *parse_argument(struct parser *p)
{
	struct lexer *lx = &p->lx;
	while (lx->at < lx->len && math_is_blank(lx->s[lx->at])) {
		lx->at++;
	}
	if (lx->at < lx->len && math_is_digit(lx->s[lx->at])) {
		return integer(p->w, lx->s[lx->at++] - '0');
	}
	next(p);
	struct math_value *out = NULL;
	if (kind(p) == TOKEN_GROUP) {
		out = parse_bracketed(p);
		unread(p);
	} else if (kind(p) == TOKEN_WORD) {
		struct slice letter = math_sub(lx->tok.text, 0, 1);
		lx->at = lx->tok.start + 1;
		out = value_of_expr(p->w,
			*letter.data == 'e'           ? expr_constant(p->w, KERNEL_E)
				: *letter.data == 'i' ? expr_constant(p->w, KERNEL_I)
						      : expr_variable(p->w, letter));
	} else if (kind(p) == TOKEN_COMMAND || kind(p) == TOKEN_FRAC || kind(p) == TOKEN_SQRT ||
		kind(p) == TOKEN_OPEN) {
		if (++p->c->depth > MATH_DEPTH_MAX) {
			return NULL;
		}
		/* Without what stands behind it: \frac\pi2 is pi over 2. */
		struct parser one = *p;
		out = parse_factor(&one);
		p->c->depth--;
		*p = one;
		unread(p);
	}
	return out;
}

static struct math_value *parse_frac(struct parser *p)
{
	struct math_value *num = parse_argument(p), *den = num ? parse_argument(p) : NULL;
	next(p);
	return value_div(p->w, num, den);
}

static struct math_value *parse_root(struct parser *p)
{
	struct lexer *lx = &p->lx;
	struct math_value *degree = integer(p->w, 2);
	while (lx->at < lx->len && math_is_blank(lx->s[lx->at])) {
		lx->at++;
	}
	if (lx->at < lx->len && lx->s[lx->at] == '[') {
		next(p);
		degree = parse_bracketed(p);
		unread(p);
	}
	while (lx->at < lx->len && math_is_blank(lx->s[lx->at])) {
		lx->at++;
	}
	struct math_value *under;
	if (lx->at < lx->len && lx->s[lx->at] == '(') {
		next(p);
		under = parse_bracketed(p);
		unread(p);
	} else if (lx->at < lx->len && math_is_digit(lx->s[lx->at])) {
		/* \sqrt10 sets one digit under the root; nobody writes it for anything but ten. */
		next(p);
		under = value_of_expr(p->w, expr_number(p->w, lx->tok.number));
	} else {
		under = parse_argument(p);
	}
	next(p);
	return value_pow(p->w, under, value_div(p->w, integer(p->w, 1), degree));
}

/* _1, _{max}: the name with it; the token behind becomes current. */
static struct slice parse_subscript(struct parser *p, struct slice name)
{
	struct slice s = whole(p);
	while (kind(p) == TOKEN_SUBSCRIPT) {
		size_t from = p->lx.at, to;
		if (from < s.len && s.data[from] == '{') {
			from++;
			to = math_closing(s, from);
			p->lx.at = MIN(to + 1, s.len);
		} else {
			to = from;
			while (to < s.len &&
				(math_is_digit(s.data[to]) ||
					(to == from && math_is_letter(s.data[to])))) {
				to++;
			}
			p->lx.at = to;
		}
		bool word;
		struct slice sub = math_normal_text(math_sub(s, from, to), p->w->arena, &word);
		name.data = arena_printf(
			p->w->arena, "%.*s_%.*s", (int)name.len, name.data, (int)sub.len, sub.data);
		name.len = strlen(name.data);
		next(p);
	}
	while (kind(p) == TOKEN_PRIME) {
		name.data = arena_printf(p->w->arena, "%.*s'", (int)name.len, name.data);
		name.len++;
		next(p);
	}
	return name;
}

/* f(x): the only letters that are taken for functions. */
static struct math_value *parse_applied(struct parser *p, struct slice name)
{
	struct math_value *v = parse_bracketed(p);
	const struct expr *a = NULL, *b = NULL;
	if (v && v->kind == VALUE_TUPLE && v->n == 2) {
		a = value_expr(p->w, v->items[0]);
		b = value_expr(p->w, v->items[1]);
		a = b ? a : NULL;
	} else {
		a = value_expr(p->w, v);
	}
	return value_of_expr(p->w, expr_function(p->w, FUNCTION_APPLY, name, a, b));
}

/* A letter that has just been read, with what belongs to it. */
static struct math_value *parse_letter(struct parser *p, struct slice name)
{
	bool plain = kind(p) != TOKEN_SUBSCRIPT && kind(p) != TOKEN_PRIME;
	if (plain && name.len == 1 && (*name.data == 'e' || *name.data == 'i')) {
		return value_of_expr(
			p->w, expr_constant(p->w, *name.data == 'e' ? KERNEL_E : KERNEL_I));
	}
	bool function = name.len == 1 && memchr("fgFG", *name.data, 4) &&
		(kind(p) == TOKEN_OPEN || kind(p) == TOKEN_PRIME || kind(p) == TOKEN_SUBSCRIPT);
	name = parse_subscript(p, name);
	if (function && kind(p) == TOKEN_OPEN && !p->lx.tok.space_before) {
		return parse_applied(p, name);
	}
	return value_of_expr(p->w, expr_variable(p->w, name));
}

/* --- Functions --- */

static bool starts_factor(const struct parser *p);

/* The factors that stand behind a function's name: sin 2x cos x is sin(2x) cos(x). */
static struct math_value *parse_bare_argument(struct parser *p)
{
	bool minus = kind(p) == TOKEN_MINUS;
	if (minus) {
		next(p);
	}
	struct math_value *out = parse_factor(p);
	while (out && starts_factor(p) && kind(p) != TOKEN_OPEN && kind(p) != TOKEN_SQUARE) {
		bool function = (kind(p) == TOKEN_COMMAND || kind(p) == TOKEN_WORD ||
					kind(p) == TOKEN_TEXT) &&
			math_is_function(p->lx.tok.text);
		if (function) {
			break;
		}
		out = value_mul(p->w, out, parse_factor(p));
	}
	return minus ? value_mul(p->w, integer(p->w, -1), out) : out;
}

static bool is_trigonometric(struct slice name)
{
	return slice_eq_z(name, "sin") || slice_eq_z(name, "cos") || slice_eq_z(name, "tan") ||
		slice_eq_z(name, "cot") || slice_eq_z(name, "sec") || slice_eq_z(name, "csc");
}

static struct math_value *call(struct parser *p, struct slice name, const struct math_value *base,
	const struct math_value *v)
{
	const struct expr *args[8];
	size_t n = 0;
	if (!v) {
		return NULL;
	}
	if (v->kind == VALUE_TUPLE || v->kind == VALUE_SET) {
		for (; n < v->n && n < ARRAY_LEN(args); n++) {
			args[n] = value_expr(p->w, v->items[n]);
			if (!args[n]) {
				return NULL;
			}
		}
		n = v->n > ARRAY_LEN(args) ? 0 : n;
	} else if (v->kind == VALUE_LIST && v->n <= MATH_ITEMS_MAX) {
		const struct math_value **items = arena_alloc_array(
			p->w->arena, v->n + 1, sizeof(*items));
		for (size_t i = 0; i < v->n; i++) {
			const struct expr *one = value_expr(p->w, v->items[i]);
			items[i] = one
				? value_of_expr(p->w,
					  math_call(p->w, name, value_expr(p->w, base), &one, 1))
				: NULL;
			if (!items[i]) {
				return NULL;
			}
		}
		return value_new(p->w, VALUE_LIST, items, v->n);
	} else {
		args[n++] = value_expr(p->w, v);
	}
	return value_of_expr(p->w, math_call(p->w, name, value_expr(p->w, base), args, n));
}

/* The function's name was the last token; what is behind it is current. */
static struct math_value *parse_function(struct parser *p, struct slice name)
{
	struct math_value *power = NULL, *base = NULL;
	if (++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	for (int i = 0; i < 2; i++) {
		if (kind(p) == TOKEN_POWER && !power) {
			power = parse_argument(p);
			next(p);
		} else if (kind(p) == TOKEN_SUBSCRIPT && !base) {
			base = parse_argument(p);
			next(p);
			if (!base) {
				return NULL;
			}
		}
	}
	bool outer = p->degrees;
	p->degrees = is_trigonometric(name);
	struct math_value *v;
	if (kind(p) == TOKEN_OPEN || kind(p) == TOKEN_GROUP) {
		v = parse_bracketed(p);
	} else {
		v = parse_bare_argument(p);
	}
	p->degrees = outer;
	p->c->depth--;
	/* sin^{-1} is the inverse function, and so is nothing else. */
	if (power && power->is_number && number_equal(power->number, number_int(-1)) &&
		is_trigonometric(name)) {
		char *inverse = arena_printf(p->w->arena, "arc%.*s", (int)name.len, name.data);
		return call(p, slice_z(inverse), base, v);
	}
	struct math_value *out = call(p, name, base, v);
	return power ? value_pow(p->w, out, power) : out;
}

/* --- Words --- */

static bool is_english(struct slice word)
{
	static const char *const words[] = {"in", "is", "it", "to", "of", "or", "an", "as", "at",
		"be", "by", "if", "no", "so", "we", "he", "me", "my", "on", "do", "go", "us", "up",
		"am", "pm", "and", "the", "not", "for", "are", "was", "has", "had", "all", "any",
		"but", "can", "one", "two", "six", "ten", "yes", "its", "she", "her", "his", "you",
		"may", "per", "how", "let", "get", "out", "now", "way", "day", "who", "did", "odd",
		"dne", "nor", "too", "than"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strlen(words[i]) == word.len && math_word_at(word, 0, words[i], word.len)) {
			return true;
		}
	}
	return false;
}

/* Letters, as commands and, but for the shortest, as words. */
static const char *const greek[] = {"alpha", "beta", "gamma", "delta", "epsilon", "varepsilon",
	"zeta", "eta", "theta", "vartheta", "iota", "kappa", "lambda", "mu", "nu", "xi", "rho",
	"sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta",
	"Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell"};

static bool is_one_of(struct slice name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_eq_z(name, list[i])) {
			return true;
		}
	}
	return false;
}

/* sinx, lnx: bytes of a function's name before one letter. */
static size_t glued_function(struct slice word)
{
	for (size_t n = word.len - 1; n >= 2; n--) {
		if (n + 1 == word.len && math_is_function(math_sub(word, 0, n))) {
			return n;
		}
	}
	return 0;
}

static struct math_value *parse_word(struct parser *p)
{
	struct token t = p->lx.tok;
	struct slice word = t.text;
	bool fresh = t.start >= p->run_end;
	if ((unsigned char)*word.data >= 0x80) {
		return NULL;
	}
	if (fresh && math_is_function(word)) {
		next(p);
		return parse_function(p, word);
	}
	if (slice_eq_z(word, "pi") || slice_eq_z(word, "Pi")) {
		next(p);
		return value_of_expr(p->w, expr_constant(p->w, KERNEL_PI));
	}
	if (fresh &&
		(slice_eq_z(word, "inf") || slice_eq_z(word, "infinity") ||
			slice_eq_z(word, "infty") || slice_eq_z(word, "oo"))) {
		next(p);
		return value_of_expr(p->w, expr_constant(p->w, KERNEL_INFINITY));
	}
	if (fresh && word.len > 3 && is_one_of(word, greek, ARRAY_LEN(greek))) {
		next(p);
		return parse_letter(p, word);
	}
	size_t glued = fresh && word.len > 2 ? glued_function(word) : 0;
	if (glued > 0) {
		p->lx.at = t.start + glued;
		next(p);
		return parse_function(p, math_sub(word, 0, glued));
	}
	if (fresh && (word.len > 3 || (word.len > 1 && is_english(word)))) {
		return NULL;
	}
	p->run_end = fresh ? t.start + word.len : p->run_end;
	p->lx.at = t.start + 1;
	next(p);
	return parse_letter(p, math_sub(word, 0, 1));
}

/* --- Commands --- */

static const char *const accents[] = {
	"vec", "hat", "overline", "bar", "overrightarrow", "tilde", "widehat", "mathbf"};

/* \lfloor x \rfloor: an expression up to the command `close`. */
static struct math_value *parse_fenced(struct parser *p, const char *close, const char *function)
{
	next(p);
	if (++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	struct math_value *v = parse_sum(p);
	p->c->depth--;
	if (!v || kind(p) != TOKEN_COMMAND || !slice_eq_z(p->lx.tok.text, close)) {
		return NULL;
	}
	next(p);
	return call(p, slice_z(function), NULL, v);
}

static struct math_value *all_reals(struct work *w)
{
	const struct expr *infinity = expr_constant(w, KERNEL_INFINITY);
	const struct math_value **ends = arena_alloc_array(w->arena, 2, sizeof(*ends));
	ends[0] = value_of_expr(w, expr_neg(w, infinity));
	ends[1] = value_of_expr(w, infinity);
	struct math_value *v = value_new(w, VALUE_INTERVAL, ends, 2);
	v->open_low = v->open_high = true;
	return v;
}

static struct math_value *parse_blackboard(struct parser *p)
{
	struct slice s = whole(p);
	size_t from = p->lx.at;
	while (from < s.len && (s.data[from] == '{' || s.data[from] == ' ')) {
		from++;
	}
	if (from >= s.len || !math_is_letter(s.data[from])) {
		return NULL;
	}
	p->lx.at = MIN(from + 1 + (from + 1 < s.len && s.data[from + 1] == '}'), s.len);
	next(p);
	if (s.data[from] == 'R') {
		return all_reals(p->w);
	}
	return value_of_expr(p->w,
		expr_variable(p->w, slice_z(arena_printf(p->w->arena, "mathbb %c", s.data[from]))));
}

static struct math_value *parse_binomial(struct parser *p)
{
	struct math_value *n = parse_argument(p), *k = n ? parse_argument(p) : NULL;
	const struct expr *args[2] = {value_expr(p->w, n), value_expr(p->w, k)};
	next(p);
	return args[0] && args[1]
		? value_of_expr(p->w, math_call(p->w, slice_z("binom"), NULL, args, 2))
		: NULL;
}

static struct math_value *parse_command(struct parser *p)
{
	struct slice name = p->lx.tok.text;
	if (slice_eq_z(name, "pi")) {
		next(p);
		return value_of_expr(p->w, expr_constant(p->w, KERNEL_PI));
	}
	if (slice_eq_z(name, "infty") || slice_eq_z(name, "infinity")) {
		next(p);
		return value_of_expr(p->w, expr_constant(p->w, KERNEL_INFINITY));
	}
	if (slice_eq_z(name, "binom") || slice_eq_z(name, "dbinom") || slice_eq_z(name, "tbinom")) {
		return parse_binomial(p);
	}
	if (math_is_function(name)) {
		next(p);
		return parse_function(p, name);
	}
	if (is_one_of(name, greek, ARRAY_LEN(greek))) {
		next(p);
		return parse_letter(p, name);
	}
	if (is_one_of(name, accents, ARRAY_LEN(accents))) {
		struct math_value *v = parse_argument(p);
		next(p);
		return v;
	}
	if (slice_eq_z(name, "emptyset") || slice_eq_z(name, "varnothing")) {
		next(p);
		return value_new(p->w, VALUE_SET, NULL, 0);
	}
	if (slice_eq_z(name, "mathbb")) {
		return parse_blackboard(p);
	}
	if (slice_eq_z(name, "lfloor")) {
		return parse_fenced(p, "rfloor", "floor");
	}
	return slice_eq_z(name, "lceil") ? parse_fenced(p, "rceil", "ceil") : NULL;
}

/* --- Matrices --- */

/* Cells between \begin and \end: cut at & and \\ outside of brackets. */
static struct math_value *parse_cells(struct parser *p, struct slice s)
{
	const struct math_value **cells = arena_alloc_array(
		p->w->arena, MATH_ITEMS_MAX, sizeof(*cells));
	size_t n = 0, rows = 0, in_row = 0, columns = 0, from = 0;
	int depth = 0;
	for (size_t at = 0, bytes; at <= s.len; at += bytes) {
		bytes = 1;
		depth += at < s.len ? math_bracket_at(s, at, &bytes) : 0;
		bool row = at == s.len || (depth == 0 && MATH_STARTS(s, at, "\\\\"));
		if (!row && !(depth == 0 && s.data[at] == '&')) {
			continue;
		}
		struct slice text = math_trim(math_sub(s, from, MIN(at, s.len)));
		from = at + bytes;
		if (row && in_row == 0 && text.len == 0) {
			continue; /* behind the last \\ */
		}
		cells[n] = n + 1 < MATH_ITEMS_MAX ? math_parse_side(p->c, text) : NULL;
		if (!cells[n++]) {
			return NULL;
		}
		in_row++;
		if (row) {
			columns = rows == 0 ? in_row : columns;
			rows++;
			if (in_row != columns) {
				return NULL;
			}
			in_row = 0;
		}
	}
	struct math_value *v = value_new(p->w, VALUE_MATRIX, cells, n);
	v->rows = rows;
	return rows > 0 ? v : NULL;
}

static struct math_value *parse_matrix(struct parser *p)
{
	static const char *const names[] = {
		"matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"};
	struct slice s = whole(p);
	size_t from = p->lx.at, to = math_closing(s, from);
	if (!is_one_of(p->lx.tok.text, names, ARRAY_LEN(names)) || to == s.len ||
		++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	struct math_value *v = parse_cells(p, math_sub(s, from, to));
	p->c->depth--;
	p->lx.at = to;
	next(p); /* \end */
	next(p);
	return v;
}

/* --- Primaries and upwards --- */

/* Is the current \frac one of digits alone? */
static bool is_plain_fraction(const struct parser *p)
{
	struct slice s = whole(p);
	size_t at = p->lx.at;
	for (int part = 0; part < 2; part++) {
		bool brace = at < s.len && s.data[at] == '{';
		size_t from = at += brace;
		while (at < s.len && math_is_digit(s.data[at]) && (brace || at == from)) {
			at++;
		}
		if (at == from || (brace && (at == s.len || s.data[at] != '}'))) {
			return false;
		}
		at += brace;
	}
	return true;
}

static struct math_value *parse_number(struct parser *p)
{
	struct token t = p->lx.tok;
	struct math_value *out = value_of_expr(p->w, expr_number(p->w, t.number));
	p->c->decimal |= t.decimal;
	next(p);
	if (t.integer && kind(p) == TOKEN_SUBSCRIPT) {
		/* 204_5; an operation on it has no place for the base. */
		out->base = parse_subscript(p, (struct slice){"", 0});
		out->base = math_sub(out->base, 1, out->base.len);
		return kind(p) == TOKEN_END ? out : NULL;
	}
	/* A number before a fraction of whole numbers below one is a mixed number. */
	if (t.integer && kind(p) == TOKEN_FRAC && is_plain_fraction(p)) {
		struct math_value *fraction = parse_frac(p);
		bool mixed = fraction && fraction->is_number &&
			number_compare(fraction->number, number_int(1)) < 0;
		return mixed ? value_add(p->w, out, fraction, false)
			     : value_mul(p->w, out, fraction);
	}
	return out;
}

static struct math_value *parse_bars(struct parser *p)
{
	next(p);
	if (p->bars > 0 || ++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	p->bars++;
	struct math_value *v = parse_sum(p);
	p->bars--;
	p->c->depth--;
	if (!v || kind(p) != TOKEN_BAR) {
		return NULL;
	}
	next(p);
	return call(p, slice_z("abs"), NULL, v);
}

static struct math_value *parse_text(struct parser *p)
{
	struct slice text = math_trim(p->lx.tok.text);
	if (text.len == 1) {
		next(p);
		return parse_letter(p, text);
	}
	if (math_is_function(text)) {
		next(p);
		return parse_function(p, text);
	}
	return NULL;
}

static struct math_value *parse_primary(struct parser *p)
{
	switch (kind(p)) {
	case TOKEN_NUMBER:
		return parse_number(p);
	case TOKEN_WORD:
		return parse_word(p);
	case TOKEN_TEXT:
		return parse_text(p);
	case TOKEN_FRAC:
		return parse_frac(p);
	case TOKEN_SQRT:
		return parse_root(p);
	case TOKEN_COMMAND:
		return parse_command(p);
	case TOKEN_BEGIN:
		return parse_matrix(p);
	case TOKEN_BAR:
		return parse_bars(p);
	case TOKEN_BRACE:
		if (is_builder(p)) {
			return parse_builder(p);
		}
		return parse_bracketed(p);
	case TOKEN_OPEN:
	case TOKEN_SQUARE:
	case TOKEN_GROUP:
		return parse_bracketed(p);
	default:
		return NULL;
	}
}

static struct math_value *in_degrees(struct parser *p, struct math_value *v)
{
	const struct expr *turn = expr_div(
		p->w, expr_constant(p->w, KERNEL_PI), expr_int(p->w, 180));
	return p->degrees ? value_mul(p->w, v, value_of_expr(p->w, turn)) : v;
}

static struct math_value *parse_exponent(struct parser *p)
{
	struct lexer *lx = &p->lx;
	while (lx->at < lx->len && lx->s[lx->at] == ' ') {
		lx->at++;
	}
	char c = lx->at < lx->len ? lx->s[lx->at] : ' ';
	struct math_value *out;
	if (c == '-' || c == '+') {
		lx->at++;
		out = parse_exponent(p);
		return c == '-' ? value_mul(p->w, integer(p->w, -1), out) : out;
	}
	if (math_is_digit(c)) {
		/* x^10 is meant where it is written, whatever TeX sets. */
		next(p);
		out = value_of_expr(p->w, expr_number(p->w, lx->tok.number));
		next(p);
	} else if (c == 'p' && MATH_STARTS(whole(p), lx->at, "pi")) {
		lx->at += 2;
		next(p);
		out = value_of_expr(p->w, expr_constant(p->w, KERNEL_PI));
	} else {
		out = parse_argument(p);
		next(p);
	}
	if (out && kind(p) == TOKEN_POWER && ++p->c->depth <= MATH_DEPTH_MAX) {
		out = value_pow(p->w, out, parse_exponent(p));
		p->c->depth--;
	}
	return out;
}

static struct math_value *parse_postfix(struct parser *p)
{
	struct math_value *out = parse_primary(p);
	while (out) {
		if (kind(p) == TOKEN_BANG) {
			next(p);
			out = call(p, slice_z("factorial"), NULL, out);
		} else if (kind(p) == TOKEN_DEGREE || kind(p) == TOKEN_POWER) {
			if (lexer_skip_degree(&p->lx)) {
				out = in_degrees(p, out);
			} else {
				out = value_pow(p->w, out, parse_exponent(p));
			}
		} else {
			break;
		}
	}
	return out;
}

static struct math_value *plus_minus(
	struct parser *p, const struct math_value *a, const struct math_value *b)
{
	struct math_value *both[2] = {value_add(p->w, a, b, false), value_add(p->w, a, b, true)};
	if (!both[0] || !both[1]) {
		return NULL;
	}
	size_t all = (both[0]->kind == VALUE_LIST ? both[0]->n : 1) * 2, n = 0;
	const struct math_value **items = arena_alloc_array(p->w->arena, all, sizeof(*items));
	for (int i = 0; i < 2; i++) {
		bool list = both[i]->kind == VALUE_LIST;
		for (size_t j = 0; j < (list ? both[i]->n : 1); j++) {
			if (n == MATH_ITEMS_MAX) {
				return NULL;
			}
			items[n++] = list ? both[i]->items[j] : both[i];
		}
	}
	return value_new(p->w, VALUE_LIST, items, n);
}

static struct math_value *parse_factor(struct parser *p)
{
	struct math_value *out;
	if (++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	enum token_kind sign = kind(p);
	if (sign == TOKEN_PLUS || sign == TOKEN_MINUS || sign == TOKEN_PLUS_MINUS) {
		next(p);
		out = parse_factor(p);
		if (sign == TOKEN_MINUS) {
			out = value_mul(p->w, integer(p->w, -1), out);
		} else if (sign == TOKEN_PLUS_MINUS) {
			out = plus_minus(p, integer(p->w, 0), out);
		}
	} else {
		out = parse_postfix(p);
	}
	p->c->depth--;
	return out;
}

/* Does the current token begin a factor that is multiplied without a sign? */
static bool starts_factor(const struct parser *p)
{
	switch (kind(p)) {
	case TOKEN_WORD:
		return p->lx.tok.start < p->run_end ||
			!math_is_unit(p->lx.tok.text, p->lx.tok.space_before);
	case TOKEN_TEXT:
		return math_trim(p->lx.tok.text).len == 1 || math_is_function(p->lx.tok.text);
	case TOKEN_COMMAND:
		return !slice_eq_z(p->lx.tok.text, "rfloor") &&
			!slice_eq_z(p->lx.tok.text, "rceil") && !is_cap(p);
	case TOKEN_BAR:
		return p->bars == 0;
	case TOKEN_NUMBER:
		/* "5!5!", "(3)4"; two numbers side by side are no product. */
		return p->lx.tok.start > 0 && !p->lx.tok.space_before &&
			memchr("!)", p->lx.s[p->lx.tok.start - 1], 2);
	case TOKEN_FRAC:
	case TOKEN_SQRT:
	case TOKEN_OPEN:
	case TOKEN_SQUARE:
	case TOKEN_GROUP:
	case TOKEN_BEGIN:
		return true;
	default:
		return false;
	}
}

static bool unit_follows(const struct parser *p)
{
	struct lexer ahead = p->lx;
	lexer_next(&ahead);
	return ahead.tok.kind == TOKEN_TEXT ||
		(ahead.tok.kind == TOKEN_WORD && math_is_unit(ahead.tok.text, true));
}

static struct math_value *parse_term(struct parser *p)
{
	struct math_value *out = parse_factor(p);
	while (out) {
		if (kind(p) == TOKEN_TIMES) {
			next(p);
			out = value_mul(p->w, out, parse_factor(p));
		} else if (kind(p) == TOKEN_DIVIDE && !unit_follows(p)) {
			next(p);
			out = value_div(p->w, out, parse_factor(p));
		} else if (starts_factor(p)) {
			out = value_mul(p->w, out, parse_factor(p));
		} else {
			break;
		}
	}
	return out;
}

static struct math_value *parse_sum(struct parser *p)
{
	struct math_value *out = parse_term(p);
	while (out) {
		enum token_kind sign = kind(p);
		if (sign != TOKEN_PLUS && sign != TOKEN_MINUS && sign != TOKEN_PLUS_MINUS) {
			break;
		}
		next(p);
		struct math_value *right = parse_term(p);
		out = !right ? NULL
			: sign == TOKEN_PLUS_MINUS
			? plus_minus(p, out, right)
			: value_add(p->w, out, right, sign == TOKEN_MINUS);
	}
	return out;
}

static bool is_cap(const struct parser *p)
{
	return kind(p) == TOKEN_COMMAND && slice_eq_z(p->lx.tok.text, "cap");
}

static struct math_value *parse_sets(struct parser *p)
{
	struct math_value *out = parse_sum(p);
	while (out && (kind(p) == TOKEN_UNION || kind(p) == TOKEN_WITHOUT || is_cap(p))) {
		bool without = kind(p) == TOKEN_WITHOUT, cap = is_cap(p);
		next(p);
		struct math_value *right = parse_sum(p);
		if (cap) {
			out = right ? math_intersection(p->w, value_interval(p->w, out),
					      value_interval(p->w, right))
				    : NULL;
			continue;
		}
		out = without ? value_without(p->w, out, right) : value_union(p->w, out, right);
	}
	return out;
}

/* a:b is a fraction, a:b:c as a tuple by its first. */
static struct math_value *parse_ratio(struct parser *p, struct math_value *first)
{
	const struct math_value *parts[8] = {first};
	size_t n = 1;
	while (kind(p) == TOKEN_COLON && n < ARRAY_LEN(parts)) {
		next(p);
		parts[n] = parse_sum(p);
		if (!parts[n++]) {
			return NULL;
		}
	}
	if (n == 2) {
		struct math_value *v = value_div(p->w, parts[0], parts[1]);
		if (v) {
			v->clock = p->lx.len <= 5 && p->lx.len >= 4 &&
				p->lx.s[p->lx.len - 3] == ':';
		}
		return v;
	}
	/* A word before them tells it from (1, 2, 3). */
	const struct math_value **items = arena_alloc_array(p->w->arena, n + 1, sizeof(*items));
	struct math_value *word = value_new(p->w, VALUE_TEXT, NULL, 0);
	word->text = slice_z("ratio");
	word->is_word = true;
	items[0] = word;
	for (size_t i = 0; i < n; i++) {
		items[i + 1] = value_div(p->w, parts[i], parts[0]);
		if (!items[i + 1]) {
			return NULL;
		}
	}
	return value_new(p->w, VALUE_TUPLE, items, n + 1);
}

/* "4:30 p.m." is a time, "3 million" not 3, "5 squared" and "5 less than x" not 5. */
static bool changes_value(struct slice text, bool unit)
{
	for (size_t at = 0; at < text.len;) {
		size_t end = at;
		while (end < text.len &&
			(math_is_letter(text.data[end]) ||
				(text.data[end] == '.' && end == at + 1))) {
			end++;
		}
		struct slice word = math_sub(text, at, end);
		if (word.len > 0 &&
			(math_changes_value(word) || math_is_operation(word, unit) ||
				math_word_at(word, 0, "a.m", 3) ||
				math_word_at(word, 0, "p.m", 3))) {
			return true;
		}
		unit = unit || word.len > 0;
		at = end > at ? end : at + 1;
	}
	return false;
}

/* What may stand behind an expression: a unit, which is dropped, or a sign of per cent. False if it is anything else. */
static bool parse_unit(struct parser *p, struct math_value *v)
{
	bool unit = false;
	/* "A good question": behind a lone letter words are prose. */
	if (kind(p) == TOKEN_WORD && v->kind == VALUE_EXPR && expr_is_variable(v->expr)) {
		return false;
	}
	for (; kind(p) != TOKEN_END; next(p)) {
		enum token_kind k = kind(p);
		if (k == TOKEN_PERCENT && !unit && !v->percent) {
			v->percent = true;
		} else if ((k == TOKEN_TEXT || k == TOKEN_WORD) &&
			changes_value(p->lx.tok.text, unit)) {
			return false;
		} else if (k == TOKEN_TEXT ||
			(k == TOKEN_WORD &&
				(unit || math_is_unit(p->lx.tok.text, p->lx.tok.space_before)))) {
			unit = true;
		} else if (unit && k == TOKEN_POWER) {
			if (!parse_argument(p)) {
				return false;
			}
		} else if (!(unit && k == TOKEN_DOT) && !(k == TOKEN_DIVIDE && unit_follows(p))) {
			return false;
		}
	}
	return true;
}

struct math_value *math_parse_side(struct context *c, struct slice s)
{
	struct parser p = {.lx = {.work = c->w, .s = s.data, .len = s.len}, .c = c, .w = c->w};
	bool outer = c->decimal;
	unsigned depth = c->depth;
	if (s.len == 0 || !work_spend(c->w, s.len * MATH_CHARACTER_COST) ||
		depth >= MATH_DEPTH_MAX) {
		return NULL;
	}
	c->depth++;
	bool choose = *s.data != '{' && memmem(s.data, s.len, "\\choose", 7);
	struct math_value *v = choose ? parse_choose(c, s) : math_parse_quantity(c->w, s);
	if (!v && !choose) {
		c->decimal = false;
		next(&p);
		v = parse_sets(&p);
		if (v && kind(&p) == TOKEN_COLON) {
			v = parse_ratio(&p, v);
		}
		if (v && !parse_unit(&p, v)) {
			v = NULL;
		}
		if (v) {
			v->decimal = c->decimal;
		}
	}
	c->decimal = outer;
	/* Whoever gave up half-way did not count back. */
	c->depth = depth;
	return v;
}
