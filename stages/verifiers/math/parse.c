/*
 * From an answer's text to a value. A recursive descent over the lexer's tokens evaluates as it goes: there is no tree, since
 * a rational number is all that an expression of rational numbers can be.
 *
 *	answer   := side ((= | \approx) side)*       the last side counts, the one before an \approx if that is a number
 *	side     := expr suffix
 *	expr     := term ((+ | -) term)*
 *	term     := factor ((* | /) factor)*
 *	factor   := (+ | -) factor | primary (^ factor)?
 *	primary  := NUMBER | mixed | \frac group group | ( expr ) | { expr }
 *	mixed    := INTEGER INTEGER / INTEGER | INTEGER \frac group group       with 0 <= numerator < denominator
 *	suffix   := (% | degree | million | unit)*
 *
 * Whatever does not fit is text: never a number found somewhere inside it. A number wrongly read is a wrong chain accepted; text
 * that was a number after all is "could not tell".
 */
#include "math_impl.h"

#include <string.h>

struct parser {
	struct lexer lx;
	struct work *work;
	unsigned depth;
	bool decimal;
	bool in_unit; /* a unit has been read */
	bool degree; /* a sign of degrees */
};

static bool parse_expr(struct parser *p, struct number *out);

static enum token_kind kind(const struct parser *p)
{
	return p->lx.tok.kind;
}

static void next(struct parser *p)
{
	lexer_next(&p->lx);
}

/* The kind of the token behind the current one. */
static enum token_kind peek(const struct parser *p)
{
	struct lexer ahead = p->lx;
	lexer_next(&ahead);
	return ahead.tok.kind;
}

/* Argument of \frac: a group, or one digit. Reads from behind the current token and leaves the argument's last one current. */
static bool parse_group(struct parser *p, struct number *out)
{
	struct lexer *lx = &p->lx;
	while (lx->at < lx->len && math_is_blank(lx->s[lx->at])) {
		lx->at++;
	}
	if (lx->at < lx->len && math_is_digit(lx->s[lx->at])) {
		*out = number_int(lx->s[lx->at++] - '0');
		return true;
	}
	next(p);
	if (kind(p) != TOKEN_GROUP) {
		return false;
	}
	next(p);
	return parse_expr(p, out) && kind(p) == TOKEN_GROUP_END;
}

static bool parse_frac(struct parser *p, struct number *out_num, struct number *out_den)
{
	if (!parse_group(p, out_num) || !parse_group(p, out_den)) {
		return false;
	}
	next(p);
	return true;
}

/* The integer part has been read; the fraction is current. */
static bool parse_mixed(struct parser *p, struct number whole, struct number *out)
{
	struct number num, den, fraction;
	if (kind(p) == TOKEN_FRAC) {
		if (!parse_frac(p, &num, &den)) {
			return false;
		}
	} else {
		num = p->lx.tok.number;
		next(p);
		next(p); /* the slash, seen by the caller */
		if (kind(p) != TOKEN_NUMBER || !p->lx.tok.integer) {
			return false;
		}
		den = p->lx.tok.number;
		next(p);
	}
	return number_is_integer(num) && number_is_integer(den) && number_sign(num) >= 0 &&
		number_compare(num, den) < 0 && number_div(p->work, num, den, &fraction) &&
		number_add(p->work, whole, fraction, out);
}

/* Is the current token the fraction of a mixed number whose integer stands before it? */
static bool at_mixed(const struct parser *p)
{
	const struct token *t = &p->lx.tok;
	if (t->newline_before) {
		return false;
	}
	return t->kind == TOKEN_FRAC ||
		(t->kind == TOKEN_NUMBER && t->integer && t->space_before &&
			peek(p) == TOKEN_DIVIDE);
}

static bool parse_primary(struct parser *p, bool first, struct number *out)
{
	struct number num, den;
	switch (kind(p)) {
	case TOKEN_NUMBER: {
		bool integer = p->lx.tok.integer;
		p->decimal |= p->lx.tok.decimal;
		*out = p->lx.tok.number;
		next(p);
		/* Behind a slash or a times sign it could be read in two ways. */
		return !(first && integer && at_mixed(p)) || parse_mixed(p, *out, out);
	}
	case TOKEN_FRAC:
		return parse_frac(p, &num, &den) && number_div(p->work, num, den, out);
	case TOKEN_OPEN:
	case TOKEN_GROUP: {
		enum token_kind close = kind(p) == TOKEN_OPEN ? TOKEN_CLOSE : TOKEN_GROUP_END;
		next(p);
		if (!parse_expr(p, out) || kind(p) != close) {
			return false;
		}
		next(p);
		return true;
	}
	default:
		return false;
	}
}

static bool parse_factor(struct parser *p, bool first, struct number *out)
{
	if (++p->depth > MATH_DEPTH_MAX) {
		return false;
	}
	bool ok = true;
	if (kind(p) == TOKEN_PLUS || kind(p) == TOKEN_MINUS) {
		bool minus = kind(p) == TOKEN_MINUS;
		next(p);
		ok = parse_factor(p, first, out);
		if (ok && minus) {
			*out = number_neg(p->work, *out);
		}
	} else {
		ok = parse_primary(p, first, out);
		bool power = ok && kind(p) == TOKEN_POWER;
		p->degree = power && lexer_skip_degree(&p->lx);
		if (power && !p->degree) {
			struct number exponent;
			next(p);
			ok = parse_factor(p, false, &exponent) &&
				number_pow(p->work, *out, exponent, out);
		}
	}
	p->depth--;
	return ok;
}

/* "km/h", "m/s": behind a slash and a unit even one letter is one. */
static bool is_letter_unit(const struct parser *p, struct slice word)
{
	return kind(p) == TOKEN_DIVIDE && p->in_unit &&
		(slice_eq_z(word, "h") || slice_eq_z(word, "s"));
}

/* "5/hour" and "5-foot" go on with a unit; "4-x" does not. */
static bool unit_follows(const struct parser *p)
{
	struct lexer ahead = p->lx;
	lexer_next(&ahead);
	return (ahead.tok.kind == TOKEN_TEXT && ahead.tok.text.len > 1) ||
		(ahead.tok.kind == TOKEN_WORD &&
			(math_is_unit(ahead.tok.text, true) || is_letter_unit(p, ahead.tok.text)));
}

static bool parse_term(struct parser *p, struct number *out)
{
	if (!parse_factor(p, true, out)) {
		return false;
	}
	while ((kind(p) == TOKEN_TIMES || kind(p) == TOKEN_DIVIDE) && !unit_follows(p)) {
		bool divide = kind(p) == TOKEN_DIVIDE;
		struct number right;
		next(p);
		if (!parse_factor(p, false, &right) ||
			!(divide ? number_div(p->work, *out, right, out)
				 : number_mul(p->work, *out, right, out))) {
			return false;
		}
	}
	return true;
}

static bool parse_expr(struct parser *p, struct number *out)
{
	if (++p->depth > MATH_DEPTH_MAX || !parse_term(p, out)) {
		return false;
	}
	while ((kind(p) == TOKEN_PLUS || kind(p) == TOKEN_MINUS) && !unit_follows(p)) {
		bool minus = kind(p) == TOKEN_MINUS;
		struct number right;
		next(p);
		if (!parse_term(p, &right)) {
			return false;
		}
		right = minus ? number_neg(p->work, right) : right;
		if (!number_add(p->work, *out, right, out)) {
			return false;
		}
	}
	p->depth--;
	return true;
}

/* --- Units --- */

static bool word_in(struct slice word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list[i]), j = 0;
		if (len != word.len) {
			continue;
		}
		while (j < len && math_lower(word.data[j]) == list[i][j]) {
			j++;
		}
		if (j == len) {
			return true;
		}
	}
	return false;
}
#define WORD_IN(word, list) word_in((word), (list), ARRAY_LEN(list))

/* Short ones, and those that may be written without a space; long words pass for units anyway. */
static const char *const short_units[] = {"mm", "cm", "dm", "km", "in", "ft", "yd", "mi", "oz",
	"lb", "lbs", "kg", "mg", "ml", "cl", "dl", "hr", "hrs", "min", "mins", "sec", "secs", "ms",
	"mph", "kph", "kmh", "sq", "cu", "pt", "qt", "gal", "deg", "rad", "usd", "eur", "gbp", "ft",
	"meters", "metres", "miles", "inches", "feet", "dollars", "cents", "hours", "minutes",
	"seconds", "days", "grams", "units"};

/* Words that change the value, or make something else of it than a number with a unit. */
static const char *const no_units[] = {"pi", "sqrt", "sin", "cos", "tan", "cot", "csc", "log", "ln",
	"exp", "and", "or", "inf", "infty", "infinity", "mod", "modulo", "half", "halves", "third",
	"thirds", "quarter", "quarters", "fourth", "fourths", "fifth", "fifths", "sixth", "sixths",
	"seventh", "sevenths", "eighth", "eighths", "ninth", "ninths", "tenth", "tenths",
	"hundredths", "thousandths", "base", "am", "pm", "noon", "midnight", "to", "through",
	"between", "plus", "minus", "over", "divided", "dozen", "dozens", "not", "but", "if",
	"else"};

static int64_t multiplier(struct slice word);

bool math_changes_value(struct slice word)
{
	return WORD_IN(word, no_units) || multiplier(word) != 0;
}

bool math_is_unit(struct slice word, bool space_before)
{
	if (WORD_IN(word, no_units) || math_is_function(word)) {
		return false;
	}
	return (word.len >= 4 && space_before) || (WORD_IN(word, short_units) && word.len > 1);
}

/* Of a unit they are part of it, of a bare number they are an operation. */
static const char *const power_words[] = {"squared", "cubed", "factorial"};

/* "5 less than x" is an expression in words; an article or a unit is another letter. */
bool math_is_operation(struct slice word, bool behind_unit)
{
	return behind_unit ? word.len == 1 && memchr("xyznk", *word.data, 5) != NULL
			   : WORD_IN(word, power_words);
}

static const char *const percent_words[] = {"percent", "percentage", "pct"};

static const struct {
	const char *word;
	int64_t factor;
} multipliers[] = {
	{"hundred", 100},
	{"thousand", 1000},
	{"million", 1000000},
	{"billion", 1000000000},
	{"trillion", 1000000000000},
};

static int64_t multiplier(struct slice word)
{
	for (size_t i = 0; i < ARRAY_LEN(multipliers); i++) {
		if (word_in(word, &multipliers[i].word, 1)) {
			return multipliers[i].factor;
		}
	}
	return 0;
}

/* The m of "m/s". */
static bool is_speed(const struct parser *p, struct slice word)
{
	struct slice s = {p->lx.s, p->lx.len};
	return slice_eq_z(word, "m") &&
		(MATH_STARTS(s, p->lx.at, "/s") || MATH_STARTS(s, p->lx.at, " / s")) &&
		p->lx.at + 4 >= s.len;
}

struct suffix {
	bool percent;
	bool unit; /* one was seen */
	size_t unit_start; /* offset in the text */
};

static bool add_word(struct parser *p, struct suffix *x, struct slice word, bool text)
{
	int64_t factor = x->unit ? 0 : multiplier(word);
	if (WORD_IN(word, no_units) || math_is_operation(word, x->unit)) {
		return false;
	}
	if (!x->unit && WORD_IN(word, percent_words)) {
		x->percent = true;
		return true;
	}
	if (factor == 0 && !x->unit && !text) {
		bool known = WORD_IN(word, short_units);
		known = known || is_speed(p, word);
		/* "5x" is a product, and so may "5 x" and "5xyz" be. */
		if (!known && (word.len < 3 || !p->lx.tok.space_before)) {
			return false;
		}
	}
	if (factor == 0 && !x->unit) {
		x->unit = true;
		x->unit_start = p->lx.tok.start;
	}
	return true;
}

/* Words of \text{...}; digits in it make it something else. */
static bool add_text(struct parser *p, struct suffix *x, struct slice text)
{
	for (size_t at = 0; at < text.len;) {
		if (math_is_digit(text.data[at])) {
			return false;
		}
		size_t end = at;
		while (end < text.len && math_is_letter(text.data[end])) {
			end++;
		}
		if (end > at && !add_word(p, x, math_sub(text, at, end), true)) {
			return false;
		}
		at = MAX(end, at + 1);
	}
	return true;
}

/* Squared and cubic units: ^2, ^{3}. */
static bool skip_power(struct parser *p)
{
	next(p);
	bool group = kind(p) == TOKEN_GROUP;
	if (group) {
		next(p);
	}
	if (kind(p) != TOKEN_NUMBER || !p->lx.tok.integer) {
		return false;
	}
	if (group) {
		next(p);
	}
	return !group || kind(p) == TOKEN_GROUP_END;
}

static bool apply_multiplier(struct parser *p, const struct suffix *x, struct number *number)
{
	const struct token *t = &p->lx.tok;
	struct slice word = t->text;
	while (t->kind == TOKEN_TEXT && word.len > 0 && math_is_blank(*word.data)) {
		word = math_sub(word, 1, word.len);
	}
	while (t->kind == TOKEN_TEXT && word.len > 0 && math_is_blank(word.data[word.len - 1])) {
		word.len--;
	}
	int64_t factor = x->unit ? 0 : multiplier(word);
	return factor == 0 || number_mul(p->work, *number, number_int(factor), number);
}

/* The C or F of a temperature. */
static bool is_scale(const struct parser *p)
{
	struct slice scale = p->lx.tok.text;
	return p->degree && (kind(p) == TOKEN_WORD || kind(p) == TOKEN_TEXT) && scale.len == 1 &&
		memchr("CF", *scale.data, 2);
}

static bool parse_suffix(struct parser *p, struct number *number, struct suffix *x)
{
	for (; kind(p) != TOKEN_END; next(p)) {
		p->in_unit = x->unit;
		if (is_scale(p)) {
			continue;
		}
		switch (kind(p)) {
		case TOKEN_PERCENT:
			if (x->unit || x->percent) {
				return false;
			}
			x->percent = true;
			break;
		case TOKEN_DEGREE:
			p->degree = true;
			break;
		case TOKEN_WORD:
			if (!apply_multiplier(p, x, number) ||
				!add_word(p, x, p->lx.tok.text, false)) {
				return false;
			}
			break;
		case TOKEN_TEXT:
			if (!apply_multiplier(p, x, number) || !add_text(p, x, p->lx.tok.text)) {
				return false;
			}
			break;
		case TOKEN_POWER:
			if (!x->unit || !skip_power(p)) {
				return false;
			}
			break;
		case TOKEN_DIVIDE:
		case TOKEN_MINUS:
		case TOKEN_TIMES:
			/* "/hour", "-foot" */
			if (!unit_follows(p)) {
				return false;
			}
			if (!x->unit) {
				x->unit = true;
				x->unit_start = p->lx.tok.start;
			}
			break;
		case TOKEN_DOT:
			if (!x->unit) {
				return false;
			}
			break;
		default:
			return false;
		}
	}
	return true;
}

/* --- Sides --- */

static struct slice trim(struct slice s)
{
	while (s.len > 0 && math_is_blank(*s.data)) {
		s = math_sub(s, 1, s.len);
	}
	while (s.len > 0 && math_is_blank(s.data[s.len - 1])) {
		s.len--;
	}
	return s;
}

/* One word for one unit. The plural's s is gone already. */
static struct slice unit_alias(struct slice unit)
{
	static const struct {
		const char *name, *shorter;
	} aliases[] = {{"centimeter", "cm"}, {"centimetre", "cm"}, {"meter", "m"}, {"metre", "m"},
		{"kilometer", "km"}, {"kilometre", "km"}, {"millimeter", "mm"}, {"inche", "in"},
		{"inch", "in"}, {"foot", "ft"}, {"feet", "ft"}, {"mile", "mi"}, {"hour", "hr"},
		{"h", "hr"}, {"minute", "min"}, {"second", "sec"}, {"kilogram", "kg"},
		{"gram", "g"}, {"liter", "l"}, {"litre", "l"}, {"yard", "yd"}, {"pound", "lb"},
		{"degree", "deg"}, {"squareunit", "unit"}, {"unit^2", "unit"},
		{"squareinche", "in^2"}, {"squarefeet", "ft^2"}, {"squarecentimeter", "cm^2"},
		{"squaremeter", "m^2"}};
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
		if (slice_eq_z(unit, aliases[i].name)) {
			return slice_z(aliases[i].shorter);
		}
	}
	return unit;
}

/* One side: a number with what may stand behind it. Fills the number's part of `v`. */
static bool parse_side(struct work *w, struct slice s, struct math_value *v, size_t *out_error_at)
{
	struct parser p = {.work = w, .lx = {.work = w, .s = s.data, .len = s.len}};
	struct suffix x = {0};
	struct number number;
	next(&p);
	/* "about 5" is 5. */
	static const char *const hedges[] = {
		"about", "approximately", "exactly", "roughly", "around", "only", "just"};
	if (kind(&p) == TOKEN_WORD && WORD_IN(p.lx.tok.text, hedges)) {
		next(&p);
	}
	if (!parse_expr(&p, &number) || !parse_suffix(&p, &number, &x)) {
		*out_error_at = p.lx.tok.start;
		return false;
	}
	v->is_number = true;
	v->number = number;
	v->percent = x.percent;
	v->decimal = p.decimal;
	if (x.unit) {
		bool word;
		struct slice unit = math_normal_text(
			math_sub(s, x.unit_start, s.len), w->arena, &word);
		if (unit.len > 1 && unit.data[unit.len - 1] == 's') {
			unit.len--;
		}
		v->unit = unit_alias(unit);
	}
	return true;
}

/* Places of the relation signs at brace depth 0. */
struct relations {
	bool equals, approx;
	size_t first_equals, last_equals; /* offset of the sign */
	size_t first_approx, approx_end,
		last_approx_end; /* first sign, its end, the last one's end */
};

static bool is_equals(struct slice s, size_t at)
{
	return s.data[at] == '=' && (at == 0 || !memchr("<>!:=", s.data[at - 1], 5)) &&
		(at + 1 >= s.len || !memchr("=<>", s.data[at + 1], 3));
}

static size_t approx_at(struct slice s, size_t at)
{
	size_t n = MATH_STARTS(s, at, "\\approx") ? 7 : MATH_STARTS(s, at, "\\simeq") ? 6 : 0;
	return n > 0 && at + n < s.len && math_is_letter(s.data[at + n]) ? 0 : n;
}

static struct relations find_relations(struct slice s)
{
	struct relations r = {0};
	unsigned depth = 0;
	for (size_t at = 0; at < s.len; at++) {
		char c = s.data[at];
		if (c == '{') {
			depth++;
		} else if (c == '}' && depth > 0) {
			depth--;
		} else if (depth == 0 && is_equals(s, at)) {
			r.first_equals = r.equals ? r.first_equals : at;
			r.last_equals = at;
			r.equals = true;
			r.approx = false;
		} else if (depth == 0 && c == '\\' && approx_at(s, at) > 0) {
			r.first_approx = r.approx ? r.first_approx : at;
			r.approx_end = r.approx ? r.approx_end : at + approx_at(s, at);
			r.last_approx_end = at + approx_at(s, at);
			r.approx = true;
		}
	}
	return r;
}

/* A command that makes an expression of what holds it. */
static bool is_operation(struct slice s, size_t at)
{
	static const char *const commands[] = {"\\sqrt", "\\frac", "\\dfrac", "\\tfrac", "\\pi",
		"\\ln", "\\log", "\\pm", "\\binom"};
	for (size_t i = 0; s.data[at] == '\\' && i < ARRAY_LEN(commands); i++) {
		if (math_starts(s, at, commands[i], strlen(commands[i]))) {
			return true;
		}
	}
	return false;
}

/*
 * What stands before the first sign: a name ("x", "|AB|", "f(2)") is kept, a label in words is dropped, an expression with
 * operators makes the whole an equation, which is not a number.
 */
bool math_read_name(struct work *w, struct slice s, struct math_value *v)
{
	struct slice name = trim(s);
	unsigned depth = 0, words = 0;
	if (name.len == 0) {
		return true;
	}
	if (math_is_digit(*name.data)) {
		return false;
	}
	for (size_t i = 0; i < name.len; i++) {
		char c = name.data[i];
		depth += c == '(' || c == '{';
		depth -= (c == ')' || c == '}') && depth > 0;
		if (depth == 0 && memchr("+-*/^<>,;", c, 9)) {
			return false;
		}
		if (depth == 0 && is_operation(name, i)) {
			return false;
		}
		words += i > 0 && math_is_letter(c) && math_is_blank(name.data[i - 1]);
		if (MATH_STARTS(name, i, "\\times") || MATH_STARTS(name, i, "\\cdot") ||
			MATH_STARTS(name, i, "\\le") || MATH_STARTS(name, i, "\\ge") ||
			MATH_STARTS(name, i, "\\in") || MATH_STARTS(name, i, "\\to")) {
			/* \left is harmless, \le is a relation. */
			if (!MATH_STARTS(name, i, "\\left")) {
				return false;
			}
		}
		words += MATH_STARTS(name, i, "\\text");
	}
	if (words == 0) {
		bool word;
		v->name = math_normal_text(name, w->arena, &word);
	}
	return true;
}

/* Between the first and the last sign of a chain a = b = c stands one thing, not a list: "x = 1, x = 2" is two answers. */
static bool is_list(struct slice s)
{
	for (size_t at = 0; at < s.len; at++) {
		bool comma = s.data[at] == ',' &&
			(at + 1 == s.len || !math_is_digit(s.data[at + 1]));
		if (comma || s.data[at] == ';' || MATH_STARTS(s, at, " or ") ||
			MATH_STARTS(s, at, " and ") || MATH_STARTS(s, at, "\\text")) {
			return true;
		}
	}
	return false;
}

static bool parse_number(struct work *w, struct slice s, struct math_value *v, size_t *out_error_at)
{
	struct relations r = find_relations(s);
	size_t start = r.equals ? r.last_equals + 1 : 0;
	struct slice side = math_sub(s, start, s.len);
	size_t name_end = r.equals ? r.first_equals : r.approx ? r.first_approx : 0;
	if (r.approx) {
		struct slice left = math_sub(s, start, r.first_approx);
		if (parse_side(w, left, v, out_error_at)) {
			/* The exact value stands before the sign. */
			side = left;
			name_end = r.equals ? name_end : 0;
		} else if (!r.equals) {
			struct math_value name = {0};
			if (!math_read_name(w, left, &name)) {
				*out_error_at = 0;
				return false;
			}
			side = math_sub(s, r.last_approx_end, s.len);
		}
	}
	if (r.equals && is_list(math_sub(s, r.first_equals, r.last_equals))) {
		*out_error_at = r.first_equals;
		return false;
	}
	if (!parse_side(w, side, v, out_error_at)) {
		*out_error_at += (size_t)(side.data - s.data);
		return false;
	}
	struct math_value left = {0};
	size_t ignored;
	struct slice name = math_sub(s, 0, name_end);
	if (name_end > 0 && !parse_side(w, name, &left, &ignored) && !math_read_name(w, name, v)) {
		*out_error_at = name_end;
		return false;
	}
	return true;
}

/* 2,74 and 0,111: a decimal comma, unless it is a list of two. */
static bool parse_decimal_comma(struct work *w, struct slice s, struct math_value *v)
{
	size_t at = s.len > 0 && (*s.data == '-' || *s.data == '+'), comma = 0;
	size_t start = at;
	for (; at < s.len; at++) {
		if (s.data[at] == ',' && comma == 0 && at > start) {
			comma = at;
		} else if (!math_is_digit(s.data[at])) {
			return false;
		}
	}
	if (comma == 0 || comma + 1 == s.len) {
		return false;
	}
	char *digits = arena_memdup0(w->arena, s.data, s.len);
	memmove(digits + comma, digits + comma + 1, s.len - comma);
	if (!number_from_digits(w, digits + start, s.len - 1 - start, -(int64_t)(s.len - comma - 1),
		    &v->number)) {
		return false;
	}
	if (*s.data == '-') {
		v->number = number_neg(w, v->number);
	}
	v->is_number = v->decimal = v->comma = true;
	return true;
}

/* Digits only, at most 18 of them: most answers. */
static bool parse_plain_integer(struct slice s, struct math_value *v)
{
	size_t at = s.len > 0 && *s.data == '-';
	int64_t n = 0;
	if (s.len == at || s.len - at > 18) {
		return false;
	}
	for (size_t i = at; i < s.len; i++) {
		if (!math_is_digit(s.data[i])) {
			return false;
		}
		n = n * 10 + (s.data[i] - '0');
	}
	v->is_number = true;
	v->number = number_int(at ? -n : n);
	return true;
}

struct math_value *math_parse_quantity(struct work *w, struct slice s)
{
	struct math_value room = {0};
	size_t error_at;
	if (s.len == 0 || !parse_side(w, s, &room, &error_at)) {
		return NULL;
	}
	struct math_value *v = arena_alloc(w->arena, sizeof(*v));
	*v = room;
	return v;
}

/* Text, and for a word of one or two letters the letters as well. */
static struct math_value *parse_text(struct work *w, struct slice s, struct math_value *full)
{
	struct math_value *v = arena_alloc(w->arena, sizeof(*v));
	*v = (struct math_value){.kind = VALUE_TEXT};
	v->text = math_normal_text(s, w->arena, &v->is_word);
	v->other = full;
	return v->text.len > 0 ? v : NULL;
}

/* Two words or more of three letters at least, and nothing else: "New York". */
static bool is_words(struct slice s)
{
	size_t n_words = 0, letters = 0;
	for (size_t i = 0; i <= s.len; i++) {
		if (i < s.len && math_is_letter(s.data[i])) {
			letters++;
		} else if (letters < 3 || (i < s.len && s.data[i] != ' ')) {
			return false;
		} else {
			n_words++;
			letters = 0;
		}
	}
	return n_words > 1;
}

/* A lone word is not the product of its letters: "dog" is not "god". */
static bool is_lone_word(struct work *w, struct slice s)
{
	bool word;
	struct slice text = math_normal_text(s, w->arena, &word);
	return word && text.len > 0 && text.len != 2 && !slice_eq_z(text, "pi");
}

static struct math_value *parse_any(struct work *w, struct slice s, size_t *out_error_at)
{
	struct math_value room = {0}, *v = NULL;
	if (parse_number(w, s, &room, out_error_at)) {
		v = arena_alloc(w->arena, sizeof(*v));
		*v = room;
		return v;
	}
	room = (struct math_value){0};
	bool comma = parse_decimal_comma(w, s, &room);
	struct math_value *full = math_parse_full(w, s);
	if (comma) {
		v = arena_alloc(w->arena, sizeof(*v));
		*v = room;
		v->other = full;
		return v;
	}
	if (!full && MATH_STARTS(s, 0, "\\text{")) {
		/* "\text{The answer is }5": what is said before is no part of it. */
		const char *close = memchr(s.data, '}', s.len);
		struct slice rest = close ? math_sub(s, (size_t)(close - s.data) + 1, s.len) : s;
		full = close && rest.len > 0 && !math_is_letter(*rest.data)
			? math_parse_full(w, rest)
			: NULL;
	}
	if (is_words(s)) {
		return parse_text(w, s, NULL);
	}
	return !full || is_lone_word(w, s) ? parse_text(w, s, full) : full;
}

const struct math_value *math_parse_on(struct work *w, struct slice span, size_t *out_error_at)
{
	size_t error_at = 0;
	struct slice source = math_strip(span);
	if (out_error_at) {
		*out_error_at = 0;
	}
	if (source.len == 0 || source.len > MATH_SPAN_BYTES_MAX) {
		return NULL;
	}
	struct math_value plain = {0}, *v;
	if (parse_plain_integer(source, &plain)) {
		v = arena_alloc(w->arena, sizeof(*v));
		*v = plain;
		v->source = source;
		return v;
	}
	struct slice s = math_ascii(source, w->arena);
	s = s.data == source.data ? s : math_strip(s);
	v = parse_any(w, s, &error_at);
	if (v) {
		v->source = source;
	}
	if (out_error_at && (!v || v->kind == VALUE_TEXT)) {
		*out_error_at = error_at;
	}
	return v;
}

const struct math_value *math_parse(struct slice span, struct arena *arena, size_t *out_error_at)
{
	struct work w;
	work_init(&w, arena);
	return math_parse_on(&w, span, out_error_at);
}

/* Rules under which a gold's answer stands at the end of a worked solution. */
static const struct math_policy gold_policy = {
	.rules = MATH_RULE_BIT(MATH_RULE_BOXED) | MATH_RULE_BIT(MATH_RULE_HASHES)};
static const struct math_policy long_gold_policy = {
	.rules = MATH_RULE_BIT(MATH_RULE_FINAL) | MATH_RULE_BIT(MATH_RULE_ANSWER)};

const struct math_value *math_parse_gold(struct slice text, struct arena *arena)
{
	struct math_span spans[MATH_SPANS_MAX];
	struct slice copy = {arena_memdup0(arena, text.data ? text.data : "", text.len), text.len};
	size_t n = math_extract(copy, &gold_policy, arena, spans);
	/* Only a text of several lines has an answer line; "the answer is x" in one line may be the answer itself. */
	if (n == 0 && memchr(copy.data, '\n', copy.len)) {
		n = math_extract(copy, &long_gold_policy, arena, spans);
	}
	struct work w;
	work_init(&w, arena);
	for (size_t i = 0; i < n; i++) {
		const struct math_value *v = math_parse_on(&w, spans[i].text, NULL);
		if (v && v->kind != VALUE_TEXT) {
			return v;
		}
	}
	struct slice best = n > 0 ? spans[0].text : copy;
	const struct math_value *read = math_parse_on(&w, best, NULL);
	if (!read) {
		return NULL;
	}
	struct math_value *v = arena_alloc(arena, sizeof(*v));
	*v = *read;
	math_read_choice(&w, best, v);
	return v;
}
