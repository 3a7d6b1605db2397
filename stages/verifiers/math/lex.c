/*
 * Tokens of an answer, one at a time: nothing is stored, so a long text costs no memory and a parser may save and restore its
 * place by copying the lexer. Commands that only set type are dropped here, once, so that the grammar never sees them.
 *
 * What is not 7-bit is first rewritten as TeX (math_ascii), since models write the minus sign, the times sign and full-width
 * digits in every way that Unicode has; the lexer and the extraction then know one spelling each.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

/* --- Unicode --- */

static const struct {
	uint32_t from;
	const char *to;
} spellings[] = {
	{0xa0, " "},
	{0xa3, "$"},
	{0xa5, "$"},
	{0xb0, "^\\circ "},
	{0xb1, "\\pm "},
	{0xb2, "^2"},
	{0xb3, "^3"},
	{0xb7, "\\cdot "},
	{0xbc, "\\frac14 "},
	{0xbd, "\\frac12 "},
	{0xbe, "\\frac34 "},
	{0xd7, "\\times "},
	{0xf7, "\\div "},
	{0x3b1, "\\alpha "},
	{0x3b2, "\\beta "},
	{0x3b8, "\\theta "},
	{0x3bb, "\\lambda "},
	{0x3bc, "\\mu "},
	{0x3c0, "\\pi "},
	{0x3c6, "\\phi "},
	{0x2009, "\\,"},
	{0x200a, "\\,"},
	{0x200b, ""},
	{0x2010, "-"},
	{0x2011, "-"},
	{0x2012, "-"},
	{0x2013, "-"},
	{0x2018, "'"},
	{0x2019, "'"},
	{0x201c, "\""},
	{0x201d, "\""},
	{0x2026, "\\ldots "},
	{0x202f, "\\,"},
	{0x2032, "'"},
	{0x2044, "/"},
	{0x2070, "^0"},
	{0x2074, "^4"},
	{0x2075, "^5"},
	{0x2076, "^6"},
	{0x2077, "^7"},
	{0x2078, "^8"},
	{0x2079, "^9"},
	{0x20ac, "$"},
	{0x2153, "\\frac13 "},
	{0x2154, "\\frac23 "},
	{0x215b, "\\frac18 "},
	{0x2205, "\\emptyset "},
	{0x2208, "\\in "},
	{0x211d, "\\mathbb{R}"},
	{0x2212, "-"},
	{0x2215, "/"},
	{0x221a, "\\sqrt "},
	{0x221e, "\\infty "},
	{0x222a, "\\cup "},
	{0x2229, "\\cap "},
	{0x2248, "\\approx "},
	{0x2260, "\\neq "},
	{0x2264, "\\le "},
	{0x2265, "\\ge "},
	{0x3002, "."},
	{0xfeff, ""},
	{0xfe63, "-"},
};

static const char *spelling(uint32_t c, char one[2])
{
	/* The full-width forms are ASCII, moved. */
	if (c >= 0xff01 && c <= 0xff5e) {
		one[0] = (char)(c - 0xff01 + 0x21);
		one[1] = '\0';
		return one;
	}
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		if (spellings[i].from == c) {
			return spellings[i].to;
		}
	}
	return NULL;
}

static bool is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if ((unsigned char)s.data[i] >= 0x80) {
			return false;
		}
	}
	return true;
}

/* Brackets that are spelt as commands. */
static struct slice respell(struct slice s, struct arena *arena)
{
	static const struct {
		const char *from, *to;
	} brackets[] = {{"\\langle", "("}, {"\\rangle", ")"}, {"\\lbrack", "["}, {"\\rbrack", "]"},
		{"\\lbrace", "\\{"}, {"\\rbrace", "\\}"}, {"\\lparen", "("}, {"\\rparen", ")"}};
	if (!memmem(s.data, s.len, "\\l", 2) && !memmem(s.data, s.len, "\\r", 2)) {
		return s;
	}
	char *out = arena_alloc(arena, s.len + 1);
	size_t n = 0;
	for (size_t at = 0; at < s.len;) {
		size_t i = 0, from = 0;
		for (; s.data[at] == '\\' && i < ARRAY_LEN(brackets); i++) {
			from = strlen(brackets[i].from);
			if (math_starts(s, at, brackets[i].from, from)) {
				break;
			}
		}
		if (s.data[at] != '\\' || i == ARRAY_LEN(brackets)) {
			out[n++] = s.data[at++];
			continue;
		}
		memcpy(out + n, brackets[i].to, strlen(brackets[i].to));
		n += strlen(brackets[i].to);
		at += from;
	}
	return (struct slice){out, n};
}

/* "\\\\frac": a text that was escaped once too often. Where rows are separated, two backslashes are what they seem. */
static struct slice unescape(struct slice s, struct arena *arena)
{
	s = respell(s, arena);
	if (!memmem(s.data, s.len, "\\\\", 2) || memmem(s.data, s.len, "\\begin", 6)) {
		return s;
	}
	char *out = arena_alloc(arena, s.len + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		bool twice = s.data[i] == '\\' && i + 2 < s.len && s.data[i + 1] == '\\' &&
			math_is_letter(s.data[i + 2]);
		i += twice;
		out[n++] = s.data[i];
	}
	return (struct slice){out, n};
}

struct slice math_ascii(struct slice s, struct arena *arena)
{
	s = unescape(s, arena);
	if (is_ascii(s)) {
		return s;
	}
	/* The longest replacement of a code point is ten bytes, for three. */
	char *out = arena_alloc(arena, s.len * 5 + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.len;) {
		uint32_t c = 0;
		char one[2];
		unsigned bytes = utf8_decode(s.data + i, s.len - i, &c);
		const char *to = bytes > 1 ? spelling(c, one) : NULL;
		size_t to_len = to ? strlen(to) : MAX(bytes, 1u);
		memcpy(out + n, to ? to : s.data + i, to_len);
		n += to_len;
		i += MAX(bytes, 1u);
	}
	return (struct slice){out, n};
}

/* --- Commands --- */

enum command {
	COMMAND_OTHER,
	COMMAND_SPACE, /* sets type or space only */
	COMMAND_WRAP, /* its group is text or set in another face */
	COMMAND_FRAC,
	COMMAND_TIMES,
	COMMAND_DIVIDE,
	COMMAND_PERCENT,
	COMMAND_DEGREE,
	COMMAND_SQRT,
	COMMAND_PLUS_MINUS,
	COMMAND_UNION,
	COMMAND_WITHOUT,
	COMMAND_BRACE,
	COMMAND_BRACE_END,
	COMMAND_BAR,
	COMMAND_ROW,
	COMMAND_BEGIN,
	COMMAND_END,
};

static const struct {
	const char *name;
	enum command command;
} commands[] = {
	{"frac", COMMAND_FRAC},
	{"dfrac", COMMAND_FRAC},
	{"tfrac", COMMAND_FRAC},
	{"cfrac", COMMAND_FRAC},
	{"text", COMMAND_WRAP},
	{"textbf", COMMAND_WRAP},
	{"textit", COMMAND_WRAP},
	{"textrm", COMMAND_WRAP},
	{"texttt", COMMAND_WRAP},
	{"mbox", COMMAND_WRAP},
	{"hbox", COMMAND_WRAP},
	{"mathrm", COMMAND_WRAP},
	{"mathbf", COMMAND_WRAP},
	{"mathit", COMMAND_WRAP},
	{"mathsf", COMMAND_WRAP},
	{"mathtt", COMMAND_WRAP},
	{"boldsymbol", COMMAND_WRAP},
	{"bf", COMMAND_SPACE},
	{"operatorname", COMMAND_WRAP},
	{"boxed", COMMAND_WRAP},
	{"fbox", COMMAND_WRAP},
	{"left", COMMAND_SPACE},
	{"right", COMMAND_SPACE},
	{"big", COMMAND_SPACE},
	{"Big", COMMAND_SPACE},
	{"bigl", COMMAND_SPACE},
	{"bigr", COMMAND_SPACE},
	{"Bigl", COMMAND_SPACE},
	{"Bigr", COMMAND_SPACE},
	{"displaystyle", COMMAND_SPACE},
	{"textstyle", COMMAND_SPACE},
	{"limits", COMMAND_SPACE},
	{"quad", COMMAND_SPACE},
	{"qquad", COMMAND_SPACE},
	{"thinspace", COMMAND_SPACE},
	{"times", COMMAND_TIMES},
	{"cdot", COMMAND_TIMES},
	{"ast", COMMAND_TIMES},
	{"div", COMMAND_DIVIDE},
	{"percent", COMMAND_PERCENT},
	{"circ", COMMAND_DEGREE},
	{"sqrt", COMMAND_SQRT},
	{"pm", COMMAND_PLUS_MINUS},
	{"cup", COMMAND_UNION},
	{"setminus", COMMAND_WITHOUT},
	{"backslash", COMMAND_WITHOUT},
	{"lbrace", COMMAND_BRACE},
	{"rbrace", COMMAND_BRACE_END},
	{"lvert", COMMAND_BAR},
	{"rvert", COMMAND_BAR},
	{"vert", COMMAND_BAR},
	{"begin", COMMAND_BEGIN},
	{"end", COMMAND_END},
	{"textnormal", COMMAND_WRAP},
	{"textsf", COMMAND_WRAP},
	{"textup", COMMAND_WRAP},
	{"mathcal", COMMAND_WRAP},
	{"bm", COMMAND_WRAP},
	{"emph", COMMAND_WRAP},
	{"underline", COMMAND_WRAP},
	{"rm", COMMAND_SPACE},
	{"bigg", COMMAND_SPACE},
	{"Bigg", COMMAND_SPACE},
	{"biggl", COMMAND_SPACE},
	{"biggr", COMMAND_SPACE},
	{"Biggl", COMMAND_SPACE},
	{"Biggr", COMMAND_SPACE},
	{"middle", COMMAND_SPACE},
	{"enspace", COMMAND_SPACE},
	{"scriptstyle", COMMAND_SPACE},
	{"nobreak", COMMAND_SPACE},
	{"degree", COMMAND_DEGREE},
};

/* The command at s[at] == '\\'; *out_end is behind it. */
static enum command command_at(struct slice s, size_t at, size_t *out_end)
{
	size_t end = at + 1;
	while (end < s.len && math_is_letter(s.data[end])) {
		end++;
	}
	if (end == at + 1) {
		*out_end = MIN(at + 2, s.len);
		switch (at + 1 < s.len ? s.data[at + 1] : ' ') {
		case ',':
		case '!':
		case ';':
		case ':':
		case ' ':
		case '\n':
		case '$':
		case '(':
		case ')':
		case '[':
		case ']':
			return COMMAND_SPACE;
		case '%':
			return COMMAND_PERCENT;
		case '{':
			return COMMAND_BRACE;
		case '}':
			return COMMAND_BRACE_END;
		case '|':
			return COMMAND_BAR;
		case '\\':
			return COMMAND_ROW;
		default:
			return COMMAND_OTHER;
		}
	}
	*out_end = end;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strlen(commands[i].name) == end - at - 1 &&
			memcmp(commands[i].name, s.data + at + 1, end - at - 1) == 0) {
			return commands[i].command;
		}
	}
	return COMMAND_OTHER;
}

/* --- Numbers --- */

/* Bytes of a mark between thousands at s[at], 0 if there is none: , {,} ,\! \, space ~ */
static size_t separator_at(struct slice s, size_t at)
{
	if (MATH_STARTS(s, at, "{,}") || MATH_STARTS(s, at, ",\\!") || MATH_STARTS(s, at, ",\\,")) {
		return 3;
	}
	if (MATH_STARTS(s, at, "{,}\\!")) {
		return 5;
	}
	if (MATH_STARTS(s, at, "\\,") || MATH_STARTS(s, at, "\\ ") || MATH_STARTS(s, at, "\\;")) {
		return 2;
	}
	if (at < s.len && (s.data[at] == ',' || s.data[at] == ' ' || s.data[at] == '~')) {
		return 1;
	}
	return 0;
}

static size_t digits_at(struct slice s, size_t at)
{
	size_t n = 0;
	while (at + n < s.len && math_is_digit(s.data[at + n])) {
		n++;
	}
	return n;
}

/*
 * End of a number's whole part that begins at s[at]. A mark counts as one between thousands only if every group behind it has
 * exactly three digits and the first group is not zero.
 */
static size_t whole_end(struct slice s, size_t at)
{
	size_t first = digits_at(s, at), end = at + first;
	if (first == 0 || first > 3 || s.data[at] == '0') {
		return end;
	}
	for (;;) {
		size_t mark = separator_at(s, end);
		if (mark == 0 || digits_at(s, end + mark) != 3) {
			break;
		}
		end += mark + 3;
	}
	/* "12 345,6789" and "1,234,56" are no thousands: leave the mark to the grammar, which does not know it. */
	return end;
}

/* 1.2e5: bytes of the exponent part, its value in *out. */
static size_t exponent_at(struct slice s, size_t at, int64_t *out)
{
	if (at >= s.len || (s.data[at] != 'e' && s.data[at] != 'E')) {
		return 0;
	}
	size_t sign = at + 1 < s.len && (s.data[at + 1] == '-' || s.data[at + 1] == '+');
	size_t n = digits_at(s, at + 1 + sign);
	if (n == 0 || n > 6) {
		return 0;
	}
	int64_t v = 0;
	for (size_t i = 0; i < n; i++) {
		v = v * 10 + (s.data[at + 1 + sign + i] - '0');
	}
	*out = sign && s.data[at + 1] == '-' ? -v : v;
	return 1 + sign + n;
}

/* Copies the digits of s[from..to) behind those in buf. */
static size_t collect(struct slice s, size_t from, size_t to, char *buf, size_t n)
{
	for (size_t i = from; i < to; i++) {
		if (math_is_digit(s.data[i])) {
			buf[n++] = s.data[i];
		}
	}
	return n;
}

/* \overline{3} or \dot3 behind a decimal part: bytes, and the digits' place. */
static size_t repeat_at(struct slice s, size_t at, size_t *out_from, size_t *out_n)
{
	size_t open = 0;
	if (MATH_STARTS(s, at, "\\overline{")) {
		open = 10;
	} else if (MATH_STARTS(s, at, "\\dot{")) {
		open = 5;
	} else {
		return 0;
	}
	size_t n = digits_at(s, at + open);
	if (n == 0 || at + open + n >= s.len || s.data[at + open + n] != '}') {
		return 0;
	}
	*out_from = at + open;
	*out_n = n;
	return open + n + 1;
}

/* 0.1\overline{6} = (16 - 1) / (10 * 9). `digits` holds both parts, the last n_repeat of them repeat. */
static bool repeating(struct work *w, const char *digits, size_t n, size_t n_fraction,
	size_t n_repeat, struct number *out)
{
	struct number all, head, scale, ones;
	return number_from_digits(w, digits, n, 0, &all) &&
		number_from_digits(w, n > n_repeat ? digits : "0", n > n_repeat ? n - n_repeat : 1,
			0, &head) &&
		number_add(w, all, number_neg(w, head), &all) &&
		number_from_digits(w, "1", 1, (int64_t)n_repeat, &ones) &&
		number_add(w, ones, number_int(-1), &ones) &&
		number_from_digits(w, "1", 1, (int64_t)n_fraction, &scale) &&
		number_mul(w, ones, scale, &scale) && number_div(w, all, scale, out);
}

static void lex_number(struct lexer *lx)
{
	struct slice s = {lx->s, lx->len};
	struct token *t = &lx->tok;
	size_t start = lx->at, whole = whole_end(s, start), end = whole;
	size_t n_fraction = 0, repeat_from = 0, n_repeat = 0;
	int64_t exponent = 0;
	if (end < s.len && s.data[end] == '.') {
		n_fraction = digits_at(s, end + 1);
		size_t repeat = repeat_at(s, end + 1 + n_fraction, &repeat_from, &n_repeat);
		if (n_fraction + repeat > 0) {
			end += 1 + n_fraction + repeat;
			t->decimal = true;
		}
	}
	size_t mantissa = end;
	if (n_repeat == 0) {
		end += exponent_at(s, end, &exponent);
	}
	t->kind = TOKEN_NUMBER;
	t->integer = end == whole;
	t->decimal = t->decimal && n_repeat == 0;
	t->text = math_sub(s, start, end);
	lx->at = end;
	/* Short and plain digits need no copy. */
	const char *digits = s.data + start;
	size_t n = end - start;
	if (!(t->integer && digits_at(s, start) == n)) {
		char *buf = arena_alloc(lx->work->arena, mantissa - start + 1);
		n = collect(s, start, n_repeat ? repeat_from + n_repeat : mantissa, buf, 0);
		digits = buf;
	}
	bool ok = n_repeat ? repeating(lx->work, digits, n, n_fraction, n_repeat, &t->number)
			   : number_from_digits(lx->work, digits, n, exponent - (int64_t)n_fraction,
				     &t->number);
	if (!ok) {
		t->kind = TOKEN_BAD;
	}
}

/* --- The rest --- */

static bool starts_number(struct slice s, size_t at)
{
	return math_is_digit(s.data[at]) ||
		(s.data[at] == '.' && at + 1 < s.len &&
			(math_is_digit(s.data[at + 1]) || MATH_STARTS(s, at + 1, "\\overline")));
}

static void skip_blanks(struct lexer *lx)
{
	struct slice s = {lx->s, lx->len};
	while (lx->at < lx->len) {
		char c = lx->s[lx->at];
		size_t end;
		if (math_is_blank(c) || c == '~' || c == '$') {
			lx->tok.newline_before |= c == '\n';
			lx->at++;
		} else if (c == '\\' && command_at(s, lx->at, &end) == COMMAND_SPACE) {
			lx->at = end;
		} else {
			break;
		}
		lx->tok.space_before = true;
	}
}

/* \text{...}: words are one token; anything else is read as if the command were not there. */
static void lex_wrapper(struct lexer *lx)
{
	size_t at = lx->at;
	while (at < lx->len && math_is_blank(lx->s[at])) {
		at++;
	}
	lx->tok.kind = TOKEN_BAD;
	if (at >= lx->len || lx->s[at] != '{') {
		return;
	}
	size_t end = at + 1;
	bool letters = false;
	while (end < lx->len && lx->s[end] != '{' && lx->s[end] != '}' && lx->s[end] != '\\') {
		letters |= math_is_letter(lx->s[end]);
		end++;
	}
	/* An upright e or i is the number. */
	bool constant = end == at + 2 && (lx->s[at + 1] == 'e' || lx->s[at + 1] == 'i');
	if (letters && !constant && end < lx->len && lx->s[end] == '}') {
		lx->tok.kind = TOKEN_TEXT;
		lx->tok.text = math_sub((struct slice){lx->s, lx->len}, at + 1, end);
		lx->at = end + 1;
		return;
	}
	lx->tok.kind = TOKEN_GROUP;
	lx->at = at + 1;
}

/* \begin{name} or \end{name}; the columns of an array, {cc}, go with the name. */
static void lex_environment(struct lexer *lx, bool begin)
{
	lx->tok.kind = TOKEN_BAD;
	const char *close = lx->at < lx->len && lx->s[lx->at] == '{'
		? memchr(lx->s + lx->at, '}', lx->len - lx->at)
		: NULL;
	if (!close) {
		return;
	}
	size_t end = (size_t)(close - lx->s);
	lx->tok.text = math_sub((struct slice){lx->s, lx->len}, lx->at + 1, end);
	lx->tok.kind = begin ? TOKEN_BEGIN : TOKEN_ENVIRONMENT_END;
	lx->at = end + 1;
	if (begin && slice_eq_z(lx->tok.text, "array") && lx->at < lx->len &&
		lx->s[lx->at] == '{') {
		close = memchr(lx->s + lx->at, '}', lx->len - lx->at);
		lx->at = close ? (size_t)(close - lx->s) + 1 : lx->len;
	}
}

static void lex_command(struct lexer *lx)
{
	struct slice s = {lx->s, lx->len};
	size_t end, start = lx->at;
	enum command command = command_at(s, lx->at, &end);
	lx->at = end;
	switch (command) {
	case COMMAND_FRAC:
		lx->tok.kind = TOKEN_FRAC;
		break;
	case COMMAND_TIMES:
		lx->tok.kind = TOKEN_TIMES;
		break;
	case COMMAND_DIVIDE:
		lx->tok.kind = TOKEN_DIVIDE;
		break;
	case COMMAND_PERCENT:
		lx->tok.kind = TOKEN_PERCENT;
		break;
	case COMMAND_DEGREE:
		lx->tok.kind = TOKEN_DEGREE;
		break;
	case COMMAND_WRAP:
		lex_wrapper(lx);
		break;
	case COMMAND_SQRT:
		lx->tok.kind = TOKEN_SQRT;
		break;
	case COMMAND_PLUS_MINUS:
		lx->tok.kind = TOKEN_PLUS_MINUS;
		break;
	case COMMAND_UNION:
		lx->tok.kind = TOKEN_UNION;
		break;
	case COMMAND_WITHOUT:
		lx->tok.kind = TOKEN_WITHOUT;
		break;
	case COMMAND_BRACE:
		lx->tok.kind = TOKEN_BRACE;
		break;
	case COMMAND_BRACE_END:
		lx->tok.kind = TOKEN_BRACE_END;
		break;
	case COMMAND_BAR:
		lx->tok.kind = TOKEN_BAR;
		break;
	case COMMAND_ROW:
		lx->tok.kind = TOKEN_ROW;
		break;
	case COMMAND_BEGIN:
	case COMMAND_END:
		lex_environment(lx, command == COMMAND_BEGIN);
		break;
	case COMMAND_SPACE:
	case COMMAND_OTHER:
		lx->tok.kind = TOKEN_COMMAND;
		lx->tok.text = math_sub(s, start + 1, end);
		break;
	}
}

static void lex_word(struct lexer *lx)
{
	size_t start = lx->at;
	/* Bytes of other alphabets are letters of words. */
	while (lx->at < lx->len &&
		(math_is_letter(lx->s[lx->at]) || (unsigned char)lx->s[lx->at] >= 0x80)) {
		lx->at++;
	}
	lx->tok.kind = TOKEN_WORD;
	lx->tok.text = math_sub((struct slice){lx->s, lx->len}, start, lx->at);
}

static enum token_kind operator_kind(char c)
{
	switch (c) {
	case '+':
		return TOKEN_PLUS;
	case '-':
		return TOKEN_MINUS;
	case '*':
		return TOKEN_TIMES;
	case '/':
		return TOKEN_DIVIDE;
	case '^':
		return TOKEN_POWER;
	case '(':
		return TOKEN_OPEN;
	case ')':
		return TOKEN_CLOSE;
	case '{':
		return TOKEN_GROUP;
	case '}':
		return TOKEN_GROUP_END;
	case '%':
		return TOKEN_PERCENT;
	case '.':
		return TOKEN_DOT;
	case ',':
		return TOKEN_COMMA;
	case '[':
		return TOKEN_SQUARE;
	case ']':
		return TOKEN_SQUARE_END;
	case '|':
		return TOKEN_BAR;
	case ':':
		return TOKEN_COLON;
	case '_':
		return TOKEN_SUBSCRIPT;
	case '!':
		return TOKEN_BANG;
	case '\'':
		return TOKEN_PRIME;
	case '&':
		return TOKEN_COLUMN;
	default:
		return TOKEN_BAD;
	}
}

void lexer_next(struct lexer *lx)
{
	lx->tok = (struct token){.kind = TOKEN_END};
	skip_blanks(lx);
	lx->tok.start = lx->at;
	if (lx->at >= lx->len) {
		return;
	}
	if (++lx->n_tokens > MATH_TOKENS_MAX) {
		lx->tok.kind = TOKEN_BAD;
		return;
	}
	struct slice s = {lx->s, lx->len};
	char c = lx->s[lx->at];
	if (starts_number(s, lx->at)) {
		lex_number(lx);
	} else if (c == '\\') {
		lex_command(lx);
	} else if (math_is_letter(c) || (unsigned char)c >= 0x80) {
		lex_word(lx);
	} else if (MATH_STARTS(s, lx->at, "**")) {
		lx->tok.kind = TOKEN_POWER;
		lx->at += 2;
	} else {
		lx->tok.kind = operator_kind(c);
		lx->at++;
	}
}

/* --- Text --- */

/* Groups that belong to a wrapper, by depth, so that their end can be dropped with their beginning. */
struct normalizer {
	struct slice s;
	size_t at;
	char *out;
	size_t n;
	uint64_t dropped;
	unsigned depth;
	bool drop_next; /* the next group is a wrapper's */
};

static void normal_open(struct normalizer *m)
{
	/* {x} is x. */
	size_t at = m->at;
	if (!m->drop_next && at + 2 < m->s.len && m->s.data[at + 2] == '}' &&
		(math_is_digit(m->s.data[at + 1]) || math_is_letter(m->s.data[at + 1]))) {
		m->out[m->n++] = math_lower(m->s.data[at + 1]);
		m->at += 3;
		return;
	}
	bool drop = m->drop_next && m->depth < 64;
	if (m->depth < 64) {
		m->dropped = (m->dropped & ~(1ull << m->depth)) | ((uint64_t)drop << m->depth);
	}
	m->depth++;
	m->at++;
	m->drop_next = false;
	if (!drop) {
		m->out[m->n++] = '{';
	}
}

static void normal_close(struct normalizer *m)
{
	m->at++;
	if (m->depth > 0) {
		m->depth--;
		if (m->depth < 64 && (m->dropped >> m->depth & 1)) {
			return;
		}
	}
	m->out[m->n++] = '}';
}

static void normal_command(struct normalizer *m)
{
	size_t end;
	enum command command = command_at(m->s, m->at, &end);
	m->drop_next = command == COMMAND_WRAP;
	if (command == COMMAND_FRAC) {
		memcpy(m->out + m->n, "\\frac", 5);
		m->n += 5;
	} else if (command != COMMAND_SPACE && command != COMMAND_WRAP &&
		command != COMMAND_PERCENT) {
		/* Greek letters keep their case: \Delta is not \delta. */
		memcpy(m->out + m->n, m->s.data + m->at, end - m->at);
		m->n += end - m->at;
	} else if (command == COMMAND_PERCENT) {
		m->out[m->n++] = '%';
	}
	m->at = end;
}

static struct slice unwrap_letter(struct slice s)
{
	if (s.len == 3 && s.data[0] == '(' && math_is_letter(s.data[1]) && s.data[2] == ')') {
		return math_sub(s, 1, 2);
	}
	return s;
}

struct slice math_normal_text(struct slice s, struct arena *arena, bool *out_word)
{
	/* \dfrac shrinks and nothing grows. \cfrac and \frac are as long. */
	struct normalizer m = {.s = s, .out = arena_alloc(arena, s.len + 8)};
	bool blank = false, blanks = false;
	while (m.at < s.len) {
		char c = s.data[m.at];
		if (math_is_blank(c) || c == '~' || c == '$') {
			blank |= c != '$';
			m.at++;
			continue;
		}
		/* "1 2" is not "12". */
		if (blank && m.n > 0 && math_is_digit(c) && math_is_digit(m.out[m.n - 1])) {
			m.out[m.n++] = ' ';
		}
		blanks |= blank && m.n > 0;
		blank = false;
		if (c == '\\') {
			normal_command(&m);
		} else if (c == '{') {
			normal_open(&m);
		} else if (c == '}') {
			normal_close(&m);
		} else {
			m.drop_next = false;
			/* "p.m." is "pm". */
			if (c == '.' && m.n > 0 && math_is_letter(m.out[m.n - 1]) &&
				(m.at + 1 == s.len || math_is_letter(s.data[m.at + 1]) ||
					s.data[m.at + 1] == ' ')) {
				m.at++;
				continue;
			}
			m.out[m.n++] = math_lower(c);
			m.at++;
		}
	}
	while (m.n > 0 && m.out[m.n - 1] == '.') {
		m.n--;
	}
	struct slice text = unwrap_letter((struct slice){m.out, m.n});
	*out_word = text.len > 0 && !blanks;
	for (size_t i = 0; i < text.len; i++) {
		*out_word = *out_word && math_is_letter(text.data[i]);
	}
	return text;
}

bool lexer_skip_degree(struct lexer *lx)
{
	struct lexer before = *lx;
	bool power = lx->tok.kind == TOKEN_POWER;
	if (power) {
		lexer_next(lx);
	}
	bool group = power && lx->tok.kind == TOKEN_GROUP;
	if (group) {
		lexer_next(lx);
	}
	if (lx->tok.kind == TOKEN_DEGREE) {
		lexer_next(lx);
		if (!group) {
			return true;
		}
		if (lx->tok.kind == TOKEN_GROUP_END) {
			lexer_next(lx);
			return true;
		}
	}
	*lx = before;
	return false;
}
