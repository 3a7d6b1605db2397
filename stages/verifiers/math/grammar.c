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

#define SIDES_MAX 16
#define ITEMS_MAX 256
#define CHARACTER_COST 20 /* of looking for brackets and separators, in limb products */

struct context {
	struct work *w;
	unsigned depth;
	bool decimal;
};

struct parser {
	struct lexer lx;
	struct context *c;
	struct work *w;
	unsigned bars; /* open | */
	bool degrees; /* in the argument of a trigonometric function */
	size_t run_end; /* of a word of letters that is being taken apart */
};

typedef struct math_value value;

static value *parse_side(struct context *c, struct slice s);
static value *parse_item(struct context *c, struct slice s);
static value *parse_sum(struct parser *p);
static value *parse_sets(struct parser *p);
static bool parse_unit(struct parser *p, value *v);
static value *intersection(struct work *w, const value *a, const value *b);
static bool is_cap(const struct parser *p);
static value *parse_factor(struct parser *p);

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

static value *integer(struct work *w, int64_t v)
{
	return value_of_expr(w, expr_int(w, v));
}

/* --- Brackets on characters --- */

/* +1 for what opens at s[at], -1 for what closes, 0 else. out_bytes: how much it takes. */
static int bracket_at(struct slice s, size_t at, size_t *out_bytes)
{
	char c = s.data[at];
	*out_bytes = 1;
	if (c == '\\') {
		*out_bytes = MIN(s.len - at, (size_t)2);
		if (MATH_STARTS(s, at, "\\{") || MATH_STARTS(s, at, "\\lbrace") || MATH_STARTS(s, at, "\\begin{") ||
			MATH_STARTS(s, at, "\\lfloor") || MATH_STARTS(s, at, "\\lceil")) {
			return 1;
		}
		if (MATH_STARTS(s, at, "\\}") || MATH_STARTS(s, at, "\\rbrace") || MATH_STARTS(s, at, "\\end{") ||
			MATH_STARTS(s, at, "\\rfloor") || MATH_STARTS(s, at, "\\rceil")) {
			return -1;
		}
		return 0;
	}
	if (c == '(' || c == '[' || c == '{') {
		return 1;
	}
	return c == ')' || c == ']' || c == '}' ? -1 : 0;
}

/* Offset of what closes the bracket that opens before `from`; s.len if nothing does. */
static size_t closing(struct slice s, size_t from)
{
	int depth = 1;
	for (size_t at = from, n; at < s.len; at += n) {
		depth += bracket_at(s, at, &n);
		if (depth == 0) {
			return at;
		}
	}
	return s.len;
}

/* --- Separators --- */

enum separator { SEPARATOR_NONE, SEPARATOR_COMMA, SEPARATOR_SEMICOLON, SEPARATOR_AND, SEPARATOR_OR };

static bool is_thousands(struct slice s, size_t comma)
{
	size_t from = comma;
	while (from > 0 && (math_is_digit(s.data[from - 1]) || s.data[from - 1] == ',')) {
		from--;
	}
	size_t first = from;
	while (first < comma && math_is_digit(s.data[first])) {
		first++;
	}
	size_t at = comma + 1, n = 0;
	if (MATH_STARTS(s, at, "\\!") || MATH_STARTS(s, at, "\\,")) {
		at += 2;
	}
	while (at + n < s.len && math_is_digit(s.data[at + n])) {
		n++;
	}
	return n == 3 && first > from && first - from <= 3 && s.data[from] != '0' &&
		(from == 0 || !math_is_letter(s.data[from - 1]));
}

static bool word_at(struct slice s, size_t at, const char *word, size_t n)
{
	if (s.len - at < n) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (math_lower(s.data[at + i]) != word[i]) {
			return false;
		}
	}
	return (at + n == s.len || !math_is_letter(s.data[at + n])) && (at == 0 || !math_is_letter(s.data[at - 1]));
}

/* \text{ and }, \mbox{or}: bytes, 0 if the command at s[at] is something else. */
static size_t text_word(struct slice s, size_t at, enum separator *out)
{
	size_t brace = at + 1;
	while (brace < s.len && math_is_letter(s.data[brace])) {
		brace++;
	}
	bool text = MATH_STARTS(s, at, "\\text") || MATH_STARTS(s, at, "\\mbox") || MATH_STARTS(s, at, "\\mathrm");
	const char *close = text && brace < s.len && s.data[brace] == '{'
		? memchr(s.data + brace, '}', s.len - brace)
		: NULL;
	if (!close) {
		return 0;
	}
	size_t from = brace + 1, to = (size_t)(close - s.data);
	while (from < to && (math_is_blank(s.data[from]) || s.data[from] == ',')) {
		from++;
	}
	while (to > from && (math_is_blank(s.data[to - 1]) || s.data[to - 1] == ',')) {
		to--;
	}
	struct slice word = math_sub(s, from, to);
	if (word.len == 3 && word_at(word, 0, "and", 3)) {
		*out = SEPARATOR_AND;
	} else if (word.len == 2 && word_at(word, 0, "or", 2)) {
		*out = SEPARATOR_OR;
	} else if (word.len == 0) {
		*out = to > brace + 1 && memchr(s.data + brace, ',', (size_t)(close - s.data) - brace) ? SEPARATOR_COMMA : SEPARATOR_NONE;
	} else {
		return 0;
	}
	return (size_t)(close - s.data) + 1 - at;
}

/* With `pairs` every comma separates: within brackets (12,102) is a pair. */
static enum separator separator_at(struct slice s, size_t at, bool pairs, size_t *out_bytes)
{
	enum separator out = SEPARATOR_NONE;
	char c = s.data[at];
	*out_bytes = 1;
	if (c == ',') {
		return !pairs && is_thousands(s, at) ? SEPARATOR_NONE : SEPARATOR_COMMA;
	}
	if (c == ';') {
		return SEPARATOR_SEMICOLON;
	}
	if ((c == 'a' || c == 'A') && word_at(s, at, "and", 3)) {
		*out_bytes = 3;
		return SEPARATOR_AND;
	}
	if ((c == 'o' || c == 'O') && word_at(s, at, "or", 2)) {
		*out_bytes = 2;
		return SEPARATOR_OR;
	}
	if (c == '\\') {
		size_t n = text_word(s, at, &out);
		if (n == 0 && (MATH_STARTS(s, at, "\\lor") || MATH_STARTS(s, at, "\\vee"))) {
			*out_bytes = 4;
			return SEPARATOR_OR;
		}
		*out_bytes = n ? n : MIN(s.len - at, (size_t)2);
	}
	return out;
}

struct piece {
	struct slice text;
	enum separator before;
};

static struct slice trim(struct slice s)
{
	for (;;) {
		size_t n = 0;
		if (s.len > 0 && (math_is_blank(*s.data) || *s.data == '$' || *s.data == '~')) {
			n = 1;
		} else if (MATH_STARTS(s, 0, "\\,") || MATH_STARTS(s, 0, "\\;") || MATH_STARTS(s, 0, "\\ ") ||
			MATH_STARTS(s, 0, "\\!") || MATH_STARTS(s, 0, "\\(") || MATH_STARTS(s, 0, "\\)")) {
			n = 2;
		} else if (MATH_STARTS(s, 0, "\\quad")) {
			n = 5;
		} else if (MATH_STARTS(s, 0, "\\qquad")) {
			n = 6;
		}
		if (n == 0) {
			break;
		}
		s = math_sub(s, n, s.len);
	}
	while (s.len > 0) {
		char c = s.data[s.len - 1];
		bool dots = s.len > 1 && s.data[s.len - 2] == '.';
		if (!math_is_blank(c) && c != '$' && (c != '.' || dots)) {
			break;
		}
		s.len--;
	}
	return s;
}

/* Cuts at separators outside of brackets. Empty pieces ("2, and 3") are left out. 0: too many. */
static size_t split(struct slice s, bool pairs, struct piece *pieces, size_t max)
{
	size_t n = 0, from = 0;
	int depth = 0;
	enum separator before = SEPARATOR_NONE;
	for (size_t at = 0, bytes; at <= s.len; at += bytes) {
		enum separator here = SEPARATOR_NONE;
		bytes = 1;
		if (at < s.len) {
			int turn = bracket_at(s, at, &bytes);
			depth += turn;
			here = depth == 0 && turn == 0 ? separator_at(s, at, pairs, &bytes) : SEPARATOR_NONE;
		}
		if (here == SEPARATOR_NONE && at < s.len) {
			continue;
		}
		struct slice text = trim(math_sub(s, from, MIN(at, s.len)));
		if (text.len > 0) {
			if (n == max) {
				return 0;
			}
			pieces[n++] = (struct piece){text, before};
			before = SEPARATOR_NONE;
		}
		/* In ", and" the word counts. */
		before = here > before ? here : before;
		from = at + bytes;
	}
	return n;
}

/* Is a comma between digits one of a list? Not where ", " separates, and not in {,} nor in the groups of commands. */
static bool has_pairs(struct slice inner, enum token_kind open)
{
	return open != TOKEN_GROUP && inner.len > 2 && !memmem(inner.data, inner.len, ", ", 2) && !memchr(inner.data, ';', inner.len);
}

/* --- Expressions --- */

/* The text within a bracket whose opening token is current, as items; the token behind it becomes current. */
static value *parse_bracketed(struct parser *p)
{
	struct slice s = whole(p);
	enum token_kind open = kind(p);
	size_t from = p->lx.at, to = closing(s, from);
	if (to == s.len || !work_spend(p->w, (to - from) * CHARACTER_COST) || ++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	struct piece *pieces = arena_alloc_array(p->w->arena, MIN(to - from + 1, (size_t)ITEMS_MAX), sizeof(*pieces));
	struct slice inner = math_sub(s, from, to);
	size_t n = split(inner, has_pairs(inner, open), pieces, MIN(to - from + 1, (size_t)ITEMS_MAX)), bytes = 1;
	(void)bracket_at(s, to, &bytes);
	bool square = s.data[to] == ']', brace = open == TOKEN_BRACE, degrees = p->degrees;
	bool group = open == TOKEN_OPEN ? s.data[to] == ')' : open == TOKEN_SQUARE ? square : true;
	value *out = NULL;
	if (MATH_STARTS(s, to, "\\rbrace")) {
		bytes = 7;
	}
	p->lx.at = to + bytes;
	next(p);
	if (n == 1 && group && !brace) {
		/* In the middle of an expression: its own parser on its own text. */
		struct parser inside = {.lx = {.work = p->w, .s = inner.data, .len = inner.len, .n_tokens = p->lx.n_tokens}, .c = p->c, .w = p->w, .degrees = degrees};
		out = degrees ? NULL : math_parse_quantity(p->w, inner);
		if (!out) {
			next(&inside);
			out = parse_sets(&inside);
			out = out && parse_unit(&inside, out) ? out : NULL;
		}
		p->lx.n_tokens = inside.lx.n_tokens;
		p->c->depth--;
		return out;
	}
	const value **items = arena_alloc_array(p->w->arena, n + 1, sizeof(*items));
	for (size_t i = 0; i < n; i++) {
		items[i] = brace ? parse_item(p->c, pieces[i].text) : parse_side(p->c, pieces[i].text);
		if (!items[i]) {
			return NULL;
		}
	}
	p->c->depth--;
	if (brace || (open == TOKEN_GROUP && n > 1)) {
		return value_new(p->w, VALUE_SET, items, n);
	}
	if (n < 2 || (!group && n != 2)) {
		return NULL;
	}
	out = value_new(p->w, !group ? VALUE_INTERVAL : open == TOKEN_OPEN ? VALUE_TUPLE : VALUE_BRACKET, items, n);
	out->open_low = open == TOKEN_OPEN;
	out->open_high = !square;
	const value *range = group ? out : value_interval(p->w, out);
	return range ? out : NULL;
}

/* {x | x > 3}: what is said of x. NULL if it is no such set. */
static value *parse_builder(struct parser *p)
{
	struct slice s = whole(p);
	size_t to = closing(s, p->lx.at);
	int depth = 0;
	for (size_t at = p->lx.at, n; at < to; at += n) {
		depth += bracket_at(s, at, &n);
		size_t bar = s.data[at] == '|' || s.data[at] == ':' ? 1 : MATH_STARTS(s, at, "\\mid") ? 4 : 0;
		if (depth == 0 && bar > 0 && p->c->depth < MATH_DEPTH_MAX) {
			p->c->depth++;
			value *v = parse_item(p->c, trim(math_sub(s, at + bar, to)));
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
	size_t to = closing(s, p->lx.at);
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
static value *parse_argument(struct parser *p)
{
	struct lexer *lx = &p->lx;
	while (lx->at < lx->len && math_is_blank(lx->s[lx->at])) {
		lx->at++;
	}
	if (lx->at < lx->len && math_is_digit(lx->s[lx->at])) {
		return integer(p->w, lx->s[lx->at++] - '0');
	}
	next(p);
	value *out = NULL;
	if (kind(p) == TOKEN_GROUP) {
		out = parse_bracketed(p);
		unread(p);
	} else if (kind(p) == TOKEN_WORD) {
		struct slice letter = math_sub(lx->tok.text, 0, 1);
		lx->at = lx->tok.start + 1;
		out = value_of_expr(p->w, *letter.data == 'e' ? expr_constant(p->w, KERNEL_E)
				: *letter.data == 'i'             ? expr_constant(p->w, KERNEL_I)
							  : expr_variable(p->w, letter));
	} else if (kind(p) == TOKEN_COMMAND || kind(p) == TOKEN_FRAC || kind(p) == TOKEN_SQRT || kind(p) == TOKEN_OPEN) {
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

static value *parse_frac(struct parser *p)
{
	value *num = parse_argument(p), *den = num ? parse_argument(p) : NULL;
	next(p);
	return value_div(p->w, num, den);
}

static value *parse_root(struct parser *p)
{
	struct lexer *lx = &p->lx;
	value *degree = integer(p->w, 2);
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
	value *under;
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
			to = closing(s, from);
			p->lx.at = MIN(to + 1, s.len);
		} else {
			to = from;
			while (to < s.len && (math_is_digit(s.data[to]) || (to == from && math_is_letter(s.data[to])))) {
				to++;
			}
			p->lx.at = to;
		}
		bool word;
		struct slice sub = math_normal_text(math_sub(s, from, to), p->w->arena, &word);
		name.data = arena_printf(p->w->arena, "%.*s_%.*s", (int)name.len, name.data, (int)sub.len, sub.data);
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
static value *parse_applied(struct parser *p, struct slice name)
{
	value *v = parse_bracketed(p);
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
static value *parse_letter(struct parser *p, struct slice name)
{
	bool plain = kind(p) != TOKEN_SUBSCRIPT && kind(p) != TOKEN_PRIME;
	if (plain && name.len == 1 && (*name.data == 'e' || *name.data == 'i')) {
		return value_of_expr(p->w, expr_constant(p->w, *name.data == 'e' ? KERNEL_E : KERNEL_I));
	}
	bool function = name.len == 1 && memchr("fgFG", *name.data, 4) && (kind(p) == TOKEN_OPEN || kind(p) == TOKEN_PRIME || kind(p) == TOKEN_SUBSCRIPT);
	name = parse_subscript(p, name);
	if (function && kind(p) == TOKEN_OPEN && !p->lx.tok.space_before) {
		return parse_applied(p, name);
	}
	return value_of_expr(p->w, expr_variable(p->w, name));
}

/* --- Functions --- */

static bool starts_factor(const struct parser *p);

/* The factors that stand behind a function's name: sin 2x cos x is sin(2x) cos(x). */
static value *parse_bare_argument(struct parser *p)
{
	bool minus = kind(p) == TOKEN_MINUS;
	if (minus) {
		next(p);
	}
	value *out = parse_factor(p);
	while (out && starts_factor(p) && kind(p) != TOKEN_OPEN && kind(p) != TOKEN_SQUARE) {
		bool function = (kind(p) == TOKEN_COMMAND || kind(p) == TOKEN_WORD || kind(p) == TOKEN_TEXT) && math_is_function(p->lx.tok.text);
		if (function) {
			break;
		}
		out = value_mul(p->w, out, parse_factor(p));
	}
	return minus ? value_mul(p->w, integer(p->w, -1), out) : out;
}

static bool is_trigonometric(struct slice name)
{
	return slice_eq_z(name, "sin") || slice_eq_z(name, "cos") || slice_eq_z(name, "tan") || slice_eq_z(name, "cot") ||
		slice_eq_z(name, "sec") || slice_eq_z(name, "csc");
}

static value *call(struct parser *p, struct slice name, const value *base, const value *v)
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
	} else if (v->kind == VALUE_LIST && v->n <= ITEMS_MAX) {
		const value **items = arena_alloc_array(p->w->arena, v->n + 1, sizeof(*items));
		for (size_t i = 0; i < v->n; i++) {
			const struct expr *one = value_expr(p->w, v->items[i]);
			items[i] = one ? value_of_expr(p->w, math_call(p->w, name, value_expr(p->w, base), &one, 1)) : NULL;
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
static value *parse_function(struct parser *p, struct slice name)
{
	value *power = NULL, *base = NULL;
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
	value *v;
	if (kind(p) == TOKEN_OPEN || kind(p) == TOKEN_GROUP) {
		v = parse_bracketed(p);
	} else {
		v = parse_bare_argument(p);
	}
	p->degrees = outer;
	p->c->depth--;
	/* sin^{-1} is the inverse function, and so is nothing else. */
	if (power && power->is_number && number_equal(power->number, number_int(-1)) && is_trigonometric(name)) {
		char *inverse = arena_printf(p->w->arena, "arc%.*s", (int)name.len, name.data);
		return call(p, slice_z(inverse), base, v);
	}
	value *out = call(p, name, base, v);
	return power ? value_pow(p->w, out, power) : out;
}

/* --- Words --- */

static bool is_english(struct slice word)
{
	static const char *const words[] = {"in", "is", "it", "to", "of", "or", "an", "as", "at", "be", "by", "if", "no", "so",
		"we", "he", "me", "my", "on", "do", "go", "us", "up", "am", "pm", "and", "the", "not", "for", "are", "was", "has",
		"had", "all", "any", "but", "can", "one", "two", "six", "ten", "yes", "its", "she", "her", "his", "you", "may",
		"per", "how", "let", "get", "out", "now", "way", "day", "who", "did", "odd", "dne", "nor", "too", "than"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strlen(words[i]) == word.len && word_at(word, 0, words[i], word.len)) {
			return true;
		}
	}
	return false;
}

/* Letters, as commands and, but for the shortest, as words. */
static const char *const greek[] = {"alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta",
	"vartheta", "iota", "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi",
	"omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell"};

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

static value *parse_word(struct parser *p)
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
	if (fresh && (slice_eq_z(word, "inf") || slice_eq_z(word, "infinity") || slice_eq_z(word, "infty") || slice_eq_z(word, "oo"))) {
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

static const char *const accents[] = {"vec", "hat", "overline", "bar", "overrightarrow", "tilde", "widehat", "mathbf"};

/* \lfloor x \rfloor: an expression up to the command `close`. */
static value *parse_fenced(struct parser *p, const char *close, const char *function)
{
	next(p);
	if (++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	value *v = parse_sum(p);
	p->c->depth--;
	if (!v || kind(p) != TOKEN_COMMAND || !slice_eq_z(p->lx.tok.text, close)) {
		return NULL;
	}
	next(p);
	return call(p, slice_z(function), NULL, v);
}

static value *all_reals(struct work *w)
{
	const struct expr *infinity = expr_constant(w, KERNEL_INFINITY);
	const value **ends = arena_alloc_array(w->arena, 2, sizeof(*ends));
	ends[0] = value_of_expr(w, expr_neg(w, infinity));
	ends[1] = value_of_expr(w, infinity);
	value *v = value_new(w, VALUE_INTERVAL, ends, 2);
	v->open_low = v->open_high = true;
	return v;
}

static value *parse_blackboard(struct parser *p)
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
	return value_of_expr(p->w, expr_variable(p->w, slice_z(arena_printf(p->w->arena, "mathbb %c", s.data[from]))));
}

static value *parse_binomial(struct parser *p)
{
	value *n = parse_argument(p), *k = n ? parse_argument(p) : NULL;
	const struct expr *args[2] = {value_expr(p->w, n), value_expr(p->w, k)};
	next(p);
	return args[0] && args[1] ? value_of_expr(p->w, math_call(p->w, slice_z("binom"), NULL, args, 2)) : NULL;
}

static value *parse_command(struct parser *p)
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
		value *v = parse_argument(p);
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
static value *parse_cells(struct parser *p, struct slice s)
{
	const value **cells = arena_alloc_array(p->w->arena, ITEMS_MAX, sizeof(*cells));
	size_t n = 0, rows = 0, in_row = 0, columns = 0, from = 0;
	int depth = 0;
	for (size_t at = 0, bytes; at <= s.len; at += bytes) {
		bytes = 1;
		depth += at < s.len ? bracket_at(s, at, &bytes) : 0;
		bool row = at == s.len || (depth == 0 && MATH_STARTS(s, at, "\\\\"));
		if (!row && !(depth == 0 && s.data[at] == '&')) {
			continue;
		}
		struct slice text = trim(math_sub(s, from, MIN(at, s.len)));
		from = at + bytes;
		if (row && in_row == 0 && text.len == 0) {
			continue; /* behind the last \\ */
		}
		cells[n] = n + 1 < ITEMS_MAX ? parse_side(p->c, text) : NULL;
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
	value *v = value_new(p->w, VALUE_MATRIX, cells, n);
	v->rows = rows;
	return rows > 0 ? v : NULL;
}

static value *parse_matrix(struct parser *p)
{
	static const char *const names[] = {"matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"};
	struct slice s = whole(p);
	size_t from = p->lx.at, to = closing(s, from);
	if (!is_one_of(p->lx.tok.text, names, ARRAY_LEN(names)) || to == s.len || ++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	value *v = parse_cells(p, math_sub(s, from, to));
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

static value *parse_number(struct parser *p)
{
	struct token t = p->lx.tok;
	value *out = value_of_expr(p->w, expr_number(p->w, t.number));
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
		value *fraction = parse_frac(p);
		bool mixed = fraction && fraction->is_number && number_compare(fraction->number, number_int(1)) < 0;
		return mixed ? value_add(p->w, out, fraction, false) : value_mul(p->w, out, fraction);
	}
	return out;
}

static value *parse_bars(struct parser *p)
{
	next(p);
	if (p->bars > 0 || ++p->c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	p->bars++;
	value *v = parse_sum(p);
	p->bars--;
	p->c->depth--;
	if (!v || kind(p) != TOKEN_BAR) {
		return NULL;
	}
	next(p);
	return call(p, slice_z("abs"), NULL, v);
}

static value *parse_text(struct parser *p)
{
	struct slice text = trim(p->lx.tok.text);
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

static value *parse_primary(struct parser *p)
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

static value *in_degrees(struct parser *p, value *v)
{
	const struct expr *turn = expr_div(p->w, expr_constant(p->w, KERNEL_PI), expr_int(p->w, 180));
	return p->degrees ? value_mul(p->w, v, value_of_expr(p->w, turn)) : v;
}

/* ^\circ, ^{\circ}, \degree: true if one was read. */
static bool parse_degree(struct parser *p)
{
	if (kind(p) == TOKEN_DEGREE) {
		next(p);
		return true;
	}
	struct parser before = *p;
	next(p);
	bool group = kind(p) == TOKEN_GROUP;
	if (group) {
		next(p);
	}
	if (kind(p) == TOKEN_DEGREE) {
		next(p);
		if (!group || kind(p) == TOKEN_GROUP_END) {
			if (group) {
				next(p);
			}
			return true;
		}
	}
	*p = before;
	return false;
}

static value *parse_exponent(struct parser *p)
{
	struct lexer *lx = &p->lx;
	while (lx->at < lx->len && lx->s[lx->at] == ' ') {
		lx->at++;
	}
	char c = lx->at < lx->len ? lx->s[lx->at] : ' ';
	value *out;
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

static value *parse_postfix(struct parser *p)
{
	value *out = parse_primary(p);
	while (out) {
		if (kind(p) == TOKEN_BANG) {
			next(p);
			out = call(p, slice_z("factorial"), NULL, out);
		} else if (kind(p) == TOKEN_DEGREE || kind(p) == TOKEN_POWER) {
			if (parse_degree(p)) {
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

static value *plus_minus(struct parser *p, const value *a, const value *b)
{
	value *both[2] = {value_add(p->w, a, b, false), value_add(p->w, a, b, true)};
	if (!both[0] || !both[1]) {
		return NULL;
	}
	size_t all = (both[0]->kind == VALUE_LIST ? both[0]->n : 1) * 2, n = 0;
	const value **items = arena_alloc_array(p->w->arena, all, sizeof(*items));
	for (int i = 0; i < 2; i++) {
		bool list = both[i]->kind == VALUE_LIST;
		for (size_t j = 0; j < (list ? both[i]->n : 1); j++) {
			if (n == ITEMS_MAX) {
				return NULL;
			}
			items[n++] = list ? both[i]->items[j] : both[i];
		}
	}
	return value_new(p->w, VALUE_LIST, items, n);
}

static value *parse_factor(struct parser *p)
{
	value *out;
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
		return p->lx.tok.start < p->run_end || !math_is_unit(p->lx.tok.text, p->lx.tok.space_before);
	case TOKEN_TEXT:
		return trim(p->lx.tok.text).len == 1 || math_is_function(p->lx.tok.text);
	case TOKEN_COMMAND:
		return !slice_eq_z(p->lx.tok.text, "rfloor") && !slice_eq_z(p->lx.tok.text, "rceil") && !is_cap(p);
	case TOKEN_BAR:
		return p->bars == 0;
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
	return ahead.tok.kind == TOKEN_TEXT || (ahead.tok.kind == TOKEN_WORD && math_is_unit(ahead.tok.text, true));
}

static value *parse_term(struct parser *p)
{
	value *out = parse_factor(p);
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

static value *parse_sum(struct parser *p)
{
	value *out = parse_term(p);
	while (out) {
		enum token_kind sign = kind(p);
		if (sign != TOKEN_PLUS && sign != TOKEN_MINUS && sign != TOKEN_PLUS_MINUS) {
			break;
		}
		next(p);
		value *right = parse_term(p);
		out = !right ? NULL : sign == TOKEN_PLUS_MINUS ? plus_minus(p, out, right)
							      : value_add(p->w, out, right, sign == TOKEN_MINUS);
	}
	return out;
}

static bool is_cap(const struct parser *p)
{
	return kind(p) == TOKEN_COMMAND && slice_eq_z(p->lx.tok.text, "cap");
}

static value *parse_sets(struct parser *p)
{
	value *out = parse_sum(p);
	while (out && (kind(p) == TOKEN_UNION || kind(p) == TOKEN_WITHOUT || is_cap(p))) {
		bool without = kind(p) == TOKEN_WITHOUT, cap = is_cap(p);
		next(p);
		value *right = parse_sum(p);
		if (cap) {
			out = right ? intersection(p->w, value_interval(p->w, out), value_interval(p->w, right)) : NULL;
			continue;
		}
		out = without ? value_without(p->w, out, right) : value_union(p->w, out, right);
	}
	return out;
}

/* a:b is a fraction, a:b:c as a tuple by its first. */
static value *parse_ratio(struct parser *p, value *first)
{
	const value *parts[8] = {first};
	size_t n = 1;
	while (kind(p) == TOKEN_COLON && n < ARRAY_LEN(parts)) {
		next(p);
		parts[n] = parse_sum(p);
		if (!parts[n++]) {
			return NULL;
		}
	}
	if (n == 2) {
		value *v = value_div(p->w, parts[0], parts[1]);
		if (v) {
			v->clock = p->lx.len <= 5 && p->lx.len >= 4 && p->lx.s[p->lx.len - 3] == ':';
		}
		return v;
	}
	const value **items = arena_alloc_array(p->w->arena, n, sizeof(*items));
	for (size_t i = 0; i < n; i++) {
		items[i] = value_div(p->w, parts[i], parts[0]);
		if (!items[i]) {
			return NULL;
		}
	}
	return value_new(p->w, VALUE_TUPLE, items, n);
}

/* "4:30 p.m." is a time, "3 million" not 3. */
static bool changes_value(struct slice text)
{
	for (size_t at = 0; at < text.len;) {
		size_t end = at;
		while (end < text.len && (math_is_letter(text.data[end]) || (text.data[end] == '.' && end == at + 1))) {
			end++;
		}
		struct slice word = math_sub(text, at, end);
		if (word.len > 0 && (math_changes_value(word) || word_at(word, 0, "a.m", 3) || word_at(word, 0, "p.m", 3))) {
			return true;
		}
		at = end > at ? end : at + 1;
	}
	return false;
}

/* What may stand behind an expression: a unit, which is dropped, or a sign of per cent. False if it is anything else. */
static bool parse_unit(struct parser *p, value *v)
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
		} else if ((k == TOKEN_TEXT || k == TOKEN_WORD) && changes_value(p->lx.tok.text)) {
			return false;
		} else if (k == TOKEN_TEXT || (k == TOKEN_WORD && (unit || math_is_unit(p->lx.tok.text, p->lx.tok.space_before)))) {
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

static value *parse_side(struct context *c, struct slice s)
{
	struct parser p = {.lx = {.work = c->w, .s = s.data, .len = s.len}, .c = c, .w = c->w};
	bool outer = c->decimal;
	if (!work_spend(c->w, s.len * CHARACTER_COST) || ++c->depth > MATH_DEPTH_MAX) {
		return NULL;
	}
	value *v = math_parse_quantity(c->w, s);
	if (!v) {
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
	c->depth--;
	return v;
}

/* --- Relations --- */

enum relation { RELATION_NONE, RELATION_EQUAL, RELATION_ABOUT, RELATION_LESS, RELATION_LESS_EQUAL, RELATION_GREATER,
	RELATION_GREATER_EQUAL, RELATION_UNEQUAL, RELATION_IN };

static const struct {
	const char *name;
	enum relation relation;
} relations[] = {
	{"le", RELATION_LESS_EQUAL}, {"leq", RELATION_LESS_EQUAL}, {"leqslant", RELATION_LESS_EQUAL},
	{"ge", RELATION_GREATER_EQUAL}, {"geq", RELATION_GREATER_EQUAL}, {"geqslant", RELATION_GREATER_EQUAL},
	{"lt", RELATION_LESS}, {"gt", RELATION_GREATER}, {"ne", RELATION_UNEQUAL}, {"neq", RELATION_UNEQUAL},
	{"approx", RELATION_ABOUT}, {"simeq", RELATION_ABOUT}, {"in", RELATION_IN},
};

static enum relation relation_at(struct slice s, size_t at, size_t *out_bytes)
{
	char c = s.data[at], after = at + 1 < s.len ? s.data[at + 1] : ' ';
	*out_bytes = 1;
	if (c == '<' || c == '>') {
		bool equal = after == '=';
		*out_bytes += equal;
		return c == '<' ? (equal ? RELATION_LESS_EQUAL : RELATION_LESS) : equal ? RELATION_GREATER_EQUAL : RELATION_GREATER;
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
			int turn = bracket_at(s, at, &bytes);
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
		chain->sides[chain->n] = trim(math_sub(s, from, MIN(at, s.len)));
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
					by = expr_pow(w, expr_variable(w, f->kernel->name), expr_number(w, power));
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

static value *equation(struct work *w, const struct expr *left, const struct expr *right, enum value_kind kind)
{
	const struct expr *e = equation_form(w, expr_sub(w, left, right));
	if (!e || !expr_has(e, KERNEL_VARIABLE)) {
		return NULL;
	}
	value *v = value_new(w, kind, NULL, 0);
	v->expr = e;
	return v;
}

static const struct expr *side_expr(struct context *c, struct slice s)
{
	return value_expr(c->w, parse_side(c, s));
}

/* Both half-lines of a chain, or of "x > 1 and x < 2". NULL if they are none of one letter. */
static value *intersection(struct work *w, const value *a, const value *b)
{
	int sign;
	if (!a || !b || a->kind != VALUE_INTERVAL || b->kind != VALUE_INTERVAL || !slice_eq(a->name, b->name)) {
		return NULL;
	}
	const value **ends = arena_alloc_array(w->arena, 2, sizeof(*ends));
	value *v = value_new(w, VALUE_INTERVAL, ends, 2);
	*v = *a;
	v->items = ends;
	for (int end = 0; end < 2; end++) {
		if (!math_order(w, value_expr(w, a->items[end]), value_expr(w, b->items[end]), &sign)) {
			/* The one that is infinite gives way; two letters cannot be told apart. */
			const struct expr *x = value_expr(w, a->items[end]);
			bool open = x && expr_has(x, KERNEL_INFINITY);
			const struct expr *y = value_expr(w, b->items[end]);
			if (!open && !(y && expr_has(y, KERNEL_INFINITY))) {
				return NULL;
			}
			sign = open == (end == 0) ? -1 : 1;
		}
		const value *from = (end == 0 ? sign >= 0 : sign <= 0) ? a : b;
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
static value *parse_inequality(struct context *c, const struct chain *chain)
{
	value *out = NULL;
	const struct expr *left = side_expr(c, chain->sides[0]);
	for (size_t i = 1; i < chain->n; i++) {
		enum relation r = chain->before[i];
		const struct expr *right = side_expr(c, chain->sides[i]);
		if (is_less(r) != is_less(chain->before[1]) || (!is_less(r) && !is_greater(r))) {
			return NULL;
		}
		bool closed = r == RELATION_LESS_EQUAL || r == RELATION_GREATER_EQUAL;
		value *one = is_less(r) ? value_inequality(c->w, left, right, closed)
					: value_inequality(c->w, right, left, closed);
		out = i == 1 ? one : intersection(c->w, out, one);
		if (!out) {
			return NULL;
		}
		left = right;
	}
	return out;
}

/* Which side of a = b = c \approx d counts: the last exact one that can be read. */
static value *chain_value(struct context *c, const struct chain *chain, size_t *out_side)
{
	size_t last = chain->n - 1;
	if (chain->before[last] == RELATION_ABOUT) {
		size_t first = last;
		while (first > 0 && chain->before[first] == RELATION_ABOUT) {
			first--;
		}
		/* In "x \approx 3" the first is a name. */
		value *exact = parse_side(c, chain->sides[first]);
		bool name = first == 0 && exact && exact->kind == VALUE_EXPR && expr_has(exact->expr, KERNEL_VARIABLE);
		if (exact && !name) {
			*out_side = first;
			return exact;
		}
	}
	*out_side = last;
	return parse_side(c, chain->sides[last]);
}

static value *parse_equality(struct context *c, const struct chain *chain)
{
	size_t side = 0;
	value *v = chain_value(c, chain, &side);
	struct slice first = chain->sides[0];
	value label = {0};
	if (!v) {
		return NULL;
	}
	if (side == 0) {
		return v;
	}
	if (math_read_name(c->w, first, &label)) {
		v->name = label.name;
		const struct expr *left = v->kind == VALUE_EXPR ? side_expr(c, first) : NULL;
		v->other = left && chain->n == 2 ? equation(c->w, left, v->expr, VALUE_EQUATION) : NULL;
		return v;
	}
	const struct expr *left = side_expr(c, first), *right = value_expr(c->w, v);
	if (!left) {
		return NULL;
	}
	if (right && expr_is_variable(right) && !expr_has(left, KERNEL_VARIABLE)) {
		value *swapped = value_of_expr(c->w, left);
		swapped->name = right->terms[0].factors[0].kernel->name;
		return swapped;
	}
	if (chain->n == 2 && right && (expr_has(left, KERNEL_VARIABLE) || expr_has(right, KERNEL_VARIABLE))) {
		return equation(c->w, left, right, VALUE_EQUATION);
	}
	return v;
}

static value *parse_item(struct context *c, struct slice s)
{
	struct chain *chain = arena_alloc(c->w->arena, sizeof(*chain));
	if (!cut_relations(s, chain)) {
		return NULL;
	}
	if (chain->n == 1) {
		return parse_side(c, s);
	}
	bool equal = true, in = chain->n == 2 && chain->before[1] == RELATION_IN;
	for (size_t i = 1; i < chain->n; i++) {
		equal = equal && (chain->before[i] == RELATION_EQUAL || chain->before[i] == RELATION_ABOUT);
	}
	if (equal) {
		return parse_equality(c, chain);
	}
	if (in) {
		value *v = parse_side(c, chain->sides[1]), label = {0};
		bool named = v && math_read_name(c->w, chain->sides[0], &label);
		if (named) {
			v->name = label.name;
		}
		return named ? v : NULL;
	}
	if (chain->n == 2 && chain->before[1] == RELATION_UNEQUAL) {
		return equation(c->w, side_expr(c, chain->sides[0]), side_expr(c, chain->sides[1]), VALUE_UNEQUAL);
	}
	return parse_inequality(c, chain);
}

/* --- Lists --- */

/* Words may be elements: "red, blue". */
static value *parse_element(struct context *c, struct slice s)
{
	value *v = parse_item(c, s);
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
static void lift_name(struct work *w, value *list)
{
	const value *first = list->items[0];
	bool all = first->name.len > 0, alone = all;
	for (size_t i = 1; i < list->n; i++) {
		all = all && slice_eq(first->name, list->items[i]->name);
		alone = alone && list->items[i]->name.len == 0;
	}
	for (size_t i = 0; i < list->n && (all || alone); i++) {
		value *copy = arena_alloc(w->arena, sizeof(*copy));
		*copy = *list->items[i];
		list->name = i == 0 ? copy->name : list->name;
		copy->name = (struct slice){0};
		copy->other = NULL;
		list->items[i] = copy;
	}
}

/* "x < 1 or x > 2": one set of reals. NULL if it is not that. */
static value *join_intervals(struct work *w, const value **items, const struct piece *pieces, size_t n)
{
	value *out = NULL;
	for (size_t i = 0; i < n; i++) {
		if (items[i]->kind != VALUE_INTERVAL || !items[i]->stated || !slice_eq(items[i]->name, items[0]->name)) {
			return NULL;
		}
	}
	if (n == 2 && pieces[1].before != SEPARATOR_OR) {
		value *both = intersection(w, items[0], items[1]);
		int sign = -1;
		if (both && math_order(w, value_expr(w, both->items[0]), value_expr(w, both->items[1]), &sign) && sign < 0) {
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
static size_t group_size(const value *const *items, const struct piece *pieces, size_t n)
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

static value *make_list(struct work *w, const value **items, const struct piece *pieces, size_t n)
{
	value *joined = join_intervals(w, items, pieces, n);
	size_t size = group_size(items, pieces, n);
	if (joined) {
		return joined;
	}
	if (size > 0) {
		const value **groups = arena_alloc_array(w->arena, n / size + 1, sizeof(*groups));
		for (size_t i = 0; i < n / size; i++) {
			groups[i] = value_new(w, VALUE_LIST, items + i * size, size);
		}
		return value_new(w, VALUE_LIST, groups, n / size);
	}
	value *list = value_new(w, VALUE_LIST, items, n);
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
	return at > 0 && at <= 3 && (MATH_STARTS(s, at, "\\in \\mathbb") || MATH_STARTS(s, at, "\\in\\mathbb") ||
		MATH_STARTS(s, at, "\\in \\Bbb") || MATH_STARTS(s, at, "\\in Z") || MATH_STARTS(s, at, "\\in N"));
}

/* The same in brackets at the end: it goes. */
static struct slice without_condition(struct slice s)
{
	const char *open = s.len > 0 && s.data[s.len - 1] == ')' ? memrchr(s.data, '(', s.len) : NULL;
	size_t at = open ? (size_t)(open - s.data) : 0;
	return at > 0 && is_condition(math_sub(s, at + 1, s.len - 1)) ? trim(math_sub(s, 0, at)) : s;
}

/* The lines of a system of equations as a list; len 0 if s is none. */
static struct slice system_lines(struct work *w, struct slice s)
{
	static const char *const begins[] = {"\\{\\begin{array}", "\\{ \\begin{array}", "\\begin{cases}", "\\{\\begin{aligned}", "\\{\\begin{matrix}"};
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
		struct slice inner = math_sub(s, MIN(from, (size_t)(end - s.data)), (size_t)(end - s.data));
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

value *math_parse_full(struct work *w, struct slice s)
{
	struct context c = {.w = w};
	struct slice lines = system_lines(w, s);
	s = lines.len > 0 ? lines : without_condition(s);
	struct piece *pieces = arena_alloc_array(w->arena, MIN(s.len + 1, (size_t)ITEMS_MAX), sizeof(*pieces));
	size_t n = split(s, false, pieces, MIN(s.len + 1, (size_t)ITEMS_MAX));
	if (n == 0) {
		return NULL;
	}
	if (n == 1) {
		return parse_item(&c, pieces[0].text);
	}
	const value **items = arena_alloc_array(w->arena, n + 1, sizeof(*items));
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
		return parse_item(&c, pieces[0].text);
	}
	return make_list(w, items, pieces, kept);
}
