/*
 * Where the answer stands in an output. Each rule looks from the end, since what a model writes last is what it means, and gives
 * one to three spans; nothing is parsed here. A rule that makes a statement of an answer ("the answer is x = 5 or x = 6")
 * gives the whole statement, so that the caller can see that it is unreadable, and does not fall for the 6 in it.
 *
 * Every rule is linear in the text and looks at a bounded number of hits: a text of nothing but "\boxed{" or "answer" costs
 * what reading it costs.
 */
#include "math_impl.h"

#include <string.h>

#define HITS_MAX 32 /* of one phrase, from the end */
#define BOXES_MAX 16 /* open at once; closed ones remembered */
#define WHOLE_BYTES_MAX 160
#define PHRASE_BYTES_MAX 80 /* between "answer" and "is" */
#define COLON_BYTES_MAX 24 /* between "answer" and a colon */
#define STRIP_ROUNDS_MAX 64

struct finder {
	struct slice text;
	const struct math_policy *policy;
	struct arena *arena;
	struct math_span *spans;
	size_t n;
};

static void add(struct finder *f, enum math_rule rule, struct slice s)
{
	s = math_strip(s);
	if (s.len == 0 || s.len > MATH_SPAN_BYTES_MAX || f->n == MATH_SPANS_MAX) {
		return;
	}
	for (size_t i = 0; i < f->n; i++) {
		if (f->spans[i].text.data == s.data && f->spans[i].text.len == s.len) {
			return;
		}
	}
	f->spans[f->n++] = (struct math_span){.text = s, .rule = rule};
}

static bool has_digit(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (math_is_digit(s.data[i])) {
			return true;
		}
	}
	return false;
}

static bool is_digits(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!math_is_digit(s.data[i])) {
			return false;
		}
	}
	return true;
}

/* Does s have `z` (lower case) at `at`, whatever its case? */
static bool says(struct slice s, size_t at, const char *z)
{
	for (size_t i = 0; z[i] != '\0'; i++) {
		if (at + i >= s.len || math_lower(s.data[at + i]) != z[i]) {
			return false;
		}
	}
	return true;
}

/* --- Stripping --- */

/* Offset of the brace that closes the one at s[open]; s.len if there is none. */
static size_t matching_brace(struct slice s, size_t open)
{
	size_t depth = 0;
	for (size_t i = open; i < s.len; i++) {
		if (s.data[i] == '\\') {
			i++;
		} else if (s.data[i] == '{') {
			depth++;
		} else if (s.data[i] == '}' && --depth == 0) {
			return i;
		}
	}
	return s.len;
}

static const struct {
	const char *open, *close;
} fences[] = {
	{"**", "**"},
	{"__", "__"},
	{"$$", "$$"},
	{"\\(", "\\)"},
	{"\\[", "\\]"},
	{"$", "$"},
	{"*", "*"},
	{"_", "_"},
	{"`", "`"},
	{"\"", "\""},
};

/* A fence counts if its end is the end of the text and nothing inside looks like one: "$1$ and $2$" stays. */
static bool strip_fence(struct slice *s)
{
	for (size_t i = 0; i < ARRAY_LEN(fences); i++) {
		if (s->len == 0 || *s->data != *fences[i].open) {
			continue;
		}
		size_t open = strlen(fences[i].open), close = strlen(fences[i].close);
		if (s->len < open + close || memcmp(s->data, fences[i].open, open) != 0 ||
			memcmp(s->data + s->len - close, fences[i].close, close) != 0) {
			continue;
		}
		struct slice inner = math_sub(*s, open, s->len - close);
		if (!memmem(inner.data, inner.len, fences[i].close, close)) {
			*s = inner;
			return true;
		}
	}
	return false;
}

static const char *const wrappers[] = {"{", "\\boxed{", "\\fbox{", "\\text{", "\\textbf{",
	"\\mathbf{", "\\mathrm{", "\\mbox{", "\\boldsymbol{"};

static bool strip_wrapper(struct slice *s)
{
	if (s->len == 0 || s->data[s->len - 1] != '}' || (*s->data != '{' && *s->data != '\\')) {
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(wrappers); i++) {
		size_t n = strlen(wrappers[i]);
		if (s->len > n && memcmp(s->data, wrappers[i], n) == 0 &&
			matching_brace(*s, n - 1) == s->len - 1) {
			*s = math_sub(*s, n, s->len - 1);
			return true;
		}
	}
	return false;
}

static bool strip_end(struct slice *s)
{
	char last = s->data[s->len - 1];
	bool dots = s->len > 1 && s->data[s->len - 2] == '.';
	if ((last == '.' && !dots) || last == ',' || last == ';' || last == ':' || last == '\\') {
		s->len--;
		return true;
	}
	return false;
}

struct slice math_strip(struct slice s)
{
	for (unsigned round = 0; round < STRIP_ROUNDS_MAX; round++) {
		while (s.len > 0 && math_is_blank(*s.data)) {
			s = math_sub(s, 1, s.len);
		}
		while (s.len > 0 && math_is_blank(s.data[s.len - 1])) {
			s.len--;
		}
		if (s.len == 0 || !(strip_end(&s) || strip_fence(&s) || strip_wrapper(&s))) {
			break;
		}
	}
	return s;
}

/* --- 1: boxes (by_box stands below: it also looks for what is said behind a box) --- */

struct box {
	size_t start, from, to; /* of the command, of the content */
	size_t depth; /* braces open around it */
};

/* Bytes of the command, 0 if there is none. A backslash that was lost, or read as an escape of JSON (\b), is thought there. */
static size_t box_command_at(struct slice s, size_t at)
{
	char before = at > 0 ? s.data[at - 1] : ' ';
	switch (s.data[at]) {
	case '\\':
		return MATH_STARTS(s, at, "\\boxed") ? 6 : MATH_STARTS(s, at, "\\fbox") ? 5 : 0;
	case '\b':
		return MATH_STARTS(s, at, "\boxed") ? 5 : 0;
	case 'b':
		return before != '\\' && !math_is_letter(before) && MATH_STARTS(s, at, "boxed{")
			? 5
			: 0;
	default:
		return 0;
	}
}

/* Bytes of a \boxed{ or \fbox{ at s[at], 0 if there is none; a space may stand before the brace. */
static size_t box_at(struct slice s, size_t at)
{
	size_t n = box_command_at(s, at);
	if (n == 0) {
		return 0;
	}
	while (at + n < s.len && s.data[at + n] == ' ') {
		n++;
	}
	return at + n < s.len && s.data[at + n] == '{' ? n + 1 : 0;
}

static void push(struct box *list, size_t *n, struct box b)
{
	/* The oldest goes: the last one is the answer. */
	if (*n == BOXES_MAX) {
		memmove(list, list + 1, (BOXES_MAX - 1) * sizeof(*list));
		(*n)--;
	}
	list[(*n)++] = b;
}

/* One pass over the text keeps the boxes that are open and remembers those that closed. */
static size_t find_boxes(struct slice s, size_t at, struct box closed[BOXES_MAX],
	struct box open[BOXES_MAX], size_t *out_n_open)
{
	size_t n_closed = 0, n_open = 0, depth = 0;
	for (; at < s.len; at++) {
		size_t box = box_at(s, at);
		if (box > 0) {
			push(open, &n_open, (struct box){at, at + box, 0, depth++});
			at += box - 1;
		} else if (s.data[at] == '\\') {
			at++;
		} else if (s.data[at] == '{') {
			depth++;
		} else if (s.data[at] == '}' && depth > 0) {
			depth--;
			if (n_open > 0 && open[n_open - 1].depth == depth) {
				struct box b = open[--n_open];
				b.to = at;
				push(closed, &n_closed, b);
			}
		}
	}
	*out_n_open = n_open;
	return n_closed;
}

/* Bytes of what may stand between two boxes of one list, at gap[at]; 0 if it is something else. */
static size_t list_glue(struct slice gap, size_t at)
{
	static const char *const glue[] = {",", ";", "$", "\\(", "\\)", "\\quad", "\\qquad",
		"\\text{", "\\,", "\\ ", "}", "and", "or"};
	if (math_is_blank(gap.data[at])) {
		return 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(glue); i++) {
		if (says(gap, at, glue[i])) {
			return strlen(glue[i]);
		}
	}
	return 0;
}

/* "y_2 = " before the next box: bytes, 0 if there is none. */
static size_t assignment_at(struct slice gap, size_t at)
{
	size_t end = at;
	if (!math_is_letter(gap.data[at])) {
		return 0;
	}
	end++;
	while (end < gap.len && end < at + 8 &&
		(math_is_digit(gap.data[end]) || memchr("_{} ", gap.data[end], 4))) {
		end++;
	}
	return end < gap.len && gap.data[end] == '=' ? end + 1 - at : 0;
}

/* "\boxed{1} and \boxed{2}", "\boxed{1},\boxed{2}", "\boxed{1}\boxed{2}" are one answer. */
static bool boxes_joined(struct slice s, const struct box *a, const struct box *b)
{
	if (a->to + 1 > b->start || b->start - a->to - 1 > 70) {
		return false;
	}
	struct slice gap = math_sub(s, a->to + 1, b->start);
	unsigned words = 0;
	for (size_t at = 0; at < gap.len;) {
		size_t n = list_glue(gap, at);
		n = n > 0 ? n : assignment_at(gap, at);
		words += n > 0 && (says(gap, at, "and") || says(gap, at, "or"));
		if (n == 0 || words > 1) {
			return false;
		}
		at += n;
	}
	return !memmem(gap.data, gap.len, "\n\n", 2);
}

static bool box_repeats(struct slice s, const struct box *boxes, size_t from, size_t i)
{
	for (size_t j = from; j < i; j++) {
		if (slice_eq(math_strip(math_sub(s, boxes[j].from, boxes[j].to)),
			    math_strip(math_sub(s, boxes[i].from, boxes[i].to)))) {
			return true;
		}
	}
	return false;
}

/* The boxes from..n-1 as one list; a box that says the same again counts once. */
static struct slice join_boxes(struct finder *f, const struct box *boxes, size_t from, size_t n)
{
	size_t bytes = 0, used = 0;
	for (size_t i = from; i < n; i++) {
		bytes += boxes[i].to - boxes[i].from + 2;
	}
	char *list = arena_alloc(f->arena, bytes + 1);
	for (size_t i = from; i < n; i++) {
		struct slice one = math_sub(f->text, boxes[i].from, boxes[i].to);
		if (box_repeats(f->text, boxes, from, i)) {
			continue;
		}
		if (used > 0) {
			list[used++] = ',';
			list[used++] = ' ';
		}
		memcpy(list + used, one.data, one.len);
		used += one.len;
	}
	return (struct slice){list, used};
}

/* --- 2: #### --- */

static size_t line_end(struct slice s, size_t at)
{
	const char *nl = at < s.len ? memchr(s.data + at, '\n', s.len - at) : NULL;
	return nl ? (size_t)(nl - s.data) : s.len;
}

static bool only_blanks(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!math_is_blank(s.data[i])) {
			return false;
		}
	}
	return true;
}

/* "#### Step 3: ...", "#### 2. Add" are headings. The last line of the text never is. */
static bool is_heading(struct slice line)
{
	size_t at = 0;
	if (line.len == 0 || math_is_letter(*line.data) || line.data[line.len - 1] == ':') {
		return true;
	}
	while (at < line.len && math_is_digit(line.data[at])) {
		at++;
	}
	return at > 0 && at + 2 < line.len && (line.data[at] == '.' || line.data[at] == ')') &&
		line.data[at + 1] == ' ';
}

/* "#### The answer is 18": 18. */
static struct slice behind_phrase(struct slice line)
{
	static const char *const phrases[] = {"the final answer is", "the answer is",
		"final answer:", "answer:", "answer is", "final answer is"};
	for (size_t i = 0; i < ARRAY_LEN(phrases); i++) {
		if (says(line, 0, phrases[i])) {
			return math_strip(math_sub(line, strlen(phrases[i]), line.len));
		}
	}
	return line;
}

static bool by_hashes(struct finder *f)
{
	struct slice s = f->text;
	size_t end = s.len;
	for (unsigned hit = 0; hit < HITS_MAX; hit++) {
		const char *hash = memrchr(s.data, '#', end);
		if (!hash || hash - s.data < 3) {
			return false;
		}
		size_t at = (size_t)(hash - s.data) - 3;
		if (memcmp(s.data + at, "####", 4) != 0) {
			end = at + 3;
			continue;
		}
		size_t stop = line_end(s, at + 4);
		struct slice line = math_strip(math_sub(s, at + 4, stop));
		if (line.len > 0 && (only_blanks(math_sub(s, stop, s.len)) || !is_heading(line))) {
			add(f, MATH_RULE_HASHES, behind_phrase(line));
			return true;
		}
		end = at;
	}
	return false;
}

/* --- Numbers in prose --- */

/* Bytes of what can stand in a number or be glued to it, from s[at]: a generous reading, which the parser then judges. */
static size_t skip_group(struct slice s, size_t at)
{
	if (at < s.len && s.data[at] == '{') {
		size_t close = matching_brace(math_sub(s, 0, MIN(s.len, at + 200)), at);
		return close < MIN(s.len, at + 200) ? close + 1 - at : 0;
	}
	return at < s.len && math_is_digit(s.data[at]) ? 1 : 0;
}

static size_t frac_at(struct slice s, size_t at)
{
	size_t n = MATH_STARTS(s, at, "\\frac") ? 5
		: MATH_STARTS(s, at, "\\dfrac") || MATH_STARTS(s, at, "\\tfrac") ||
			MATH_STARTS(s, at, "\\cfrac")
		? 6
		: 0;
	if (n == 0) {
		return 0;
	}
	size_t first = skip_group(s, at + n);
	size_t second = first ? skip_group(s, at + n + first) : 0;
	return second ? n + first + second : 0;
}

static bool digit_at(struct slice s, size_t at)
{
	return at < s.len && math_is_digit(s.data[at]);
}

static bool three_digits_at(struct slice s, size_t at)
{
	return digit_at(s, at) && digit_at(s, at + 1) && digit_at(s, at + 2) &&
		!digit_at(s, at + 3);
}

/* End of digits with marks between thousands, a decimal part, a power, a fraction. */
static size_t plain_number_end(struct slice s, size_t at)
{
	while (at < s.len) {
		char c = s.data[at];
		if (math_is_digit(c)) {
			at++;
		} else if ((c == '.' || c == ':' || c == '/') && digit_at(s, at + 1)) {
			at++;
		} else if (c == ',' && three_digits_at(s, at + 1)) {
			at++;
		} else if (MATH_STARTS(s, at, "{,}") && digit_at(s, at + 3)) {
			at += 3;
		} else if ((MATH_STARTS(s, at, ",\\!") || MATH_STARTS(s, at, "\\,")) &&
			three_digits_at(s, at + (c == ',' ? 3 : 2))) {
			at += c == ',' ? 3 : 2;
		} else if ((c == '^' || c == '_') && at + 1 < s.len) {
			size_t group = skip_group(s, at + 1);
			if (group == 0) {
				break;
			}
			at += 1 + group;
		} else if (math_is_letter(c) && math_is_digit(s.data[at - 1])) {
			/* "2x", "3rd", "5cm", "1e5" */
			while (at < s.len &&
				(math_is_letter(s.data[at]) || math_is_digit(s.data[at]))) {
				at++;
			}
		} else {
			break;
		}
	}
	return at;
}

static size_t percent_at(struct slice s, size_t at)
{
	size_t blank = at < s.len && s.data[at] == ' ';
	if (at + blank < s.len && s.data[at + blank] == '%') {
		return blank + 1;
	}
	if (MATH_STARTS(s, at + blank, "\\%")) {
		return blank + 2;
	}
	return says(s, at + blank, "percent") ? blank + 7 : 0;
}

/* The number that begins at s[at] with a digit, a point or \frac; 0 bytes if none does. */
static size_t number_bytes(struct slice s, size_t at)
{
	size_t end = at + frac_at(s, at);
	if (end == at) {
		if (!digit_at(s, at) && !(s.data[at] == '.' && digit_at(s, at + 1))) {
			return 0;
		}
		end = plain_number_end(s, at);
		/* "4 4/9", "4\frac{4}{9}" */
		size_t blank = end < s.len && s.data[end] == ' ';
		size_t frac = frac_at(s, end + blank);
		if (frac > 0) {
			end += blank + frac;
		} else if (blank && digit_at(s, end + 1)) {
			size_t more = plain_number_end(s, end + 1);
			if (memchr(s.data + end + 1, '/', more - end - 1)) {
				end = more;
			} else if (three_digits_at(s, end + 1) && more == end + 4) {
				end = more;
			}
		}
	}
	return end + percent_at(s, end) - at;
}

/* With the sign before it, if it is one: "x-5" and "7 - 5" subtract. */
static size_t sign_before(struct slice s, size_t at)
{
	size_t i = at;
	while (i > 0 && (s.data[i - 1] == '$' || (s.data[i - 1] == '\\' && s.data[i] == '$'))) {
		i--;
	}
	size_t sign = i > 0 && (s.data[i - 1] == '-' || s.data[i - 1] == '+') ? i - 1 : at;
	if (sign == at && i >= 3 && memcmp(s.data + i - 3, "\xe2\x88\x92", 3) == 0) {
		sign = i - 3;
	}
	if (sign == at) {
		return at;
	}
	size_t before = sign;
	while (before > 0 && s.data[before - 1] == ' ') {
		before--;
	}
	char c = before > 0 ? s.data[before - 1] : ' ';
	bool operand = math_is_digit(c) || c == ')' || c == '}' ||
		(before == sign && math_is_letter(c));
	return operand ? at : sign;
}

/* The last number of s, and how many there are (counted up to two). */
static struct slice last_number(struct slice s, unsigned *out_count)
{
	struct slice last = {s.data, 0};
	*out_count = 0;
	for (size_t at = 0; at < s.len;) {
		size_t n = number_bytes(s, at);
		if (n == 0) {
			/* "H2" and "x1" are names. */
			bool name = math_is_letter(s.data[at]);
			at++;
			while (name && at < s.len &&
				(math_is_letter(s.data[at]) || math_is_digit(s.data[at]))) {
				at++;
			}
			continue;
		}
		last = math_sub(s, sign_before(s, at), at + n);
		*out_count += *out_count < 2;
		at += n;
	}
	return last;
}

/* Does s hold what makes a formula of it: a command other than a fence or a sign, a group, a power, a letter at an operator? */
static bool is_formula(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.data[i], next = i + 1 < s.len ? s.data[i + 1] : ' ';
		if (c == '\\' && memchr("()[]$%,!", next, 8)) {
			i++;
		} else if (memchr("\\{}^_", c, 5)) {
			return true;
		} else if (memchr("+-*/", c, 4) && math_is_letter(next)) {
			return true;
		} else if (math_is_letter(c) && memchr("+-*/", next, 4)) {
			return true;
		}
	}
	return false;
}

/* Words that make another value of the number before them. */
static size_t value_word_at(struct slice s, size_t at)
{
	static const char *const words[] = {"pi", "am", "a.m", "pm", "p.m", "noon", "half",
		"halves", "third", "thirds", "quarter", "quarters", "fourth", "fourths", "fifth",
		"fifths", "sixth", "sixths", "seventh", "sevenths", "eighth", "eighths", "ninth",
		"ninths", "tenth", "tenths", "hundredths", "thousandths", "dozen", "hundred",
		"thousand", "million", "billion", "trillion"};
	size_t blank = at < s.len && (s.data[at] == ' ' || s.data[at] == '-');
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t end = at + blank + strlen(words[i]);
		if (says(s, at + blank, words[i]) &&
			(end == s.len || !math_is_letter(s.data[end]))) {
			return end - at;
		}
	}
	return 0;
}

/* Is s[at] behind "5 or " or "5 and "? Then the offset of the 5's run, else `at`. */
static size_t alternative_before(struct slice s, size_t at)
{
	size_t n = at >= 4 && says(s, at - 4, " or ") ? 4
		: at >= 5 && says(s, at - 5, " and ") ? 5
						      : 0;
	size_t end = at - n;
	if (n == 0 || end == 0 || !math_is_digit(s.data[end - 1])) {
		return at;
	}
	while (end > 0 && !math_is_blank(s.data[end - 1])) {
		end--;
	}
	return end;
}

/*
 * A number that was found inside a formula stands for nothing: the 17 of \sqrt{17}, the 2 of x+2. What is then given is the
 * whole run between blanks, for the parser to judge; likewise "5 or 6", "2 thirds" and "3 million".
 */
static struct slice in_context(struct slice s, struct slice number)
{
	size_t from = (size_t)(number.data - s.data), to = from + number.len;
	while (from > 0 && !math_is_blank(s.data[from - 1])) {
		from--;
	}
	while (to < s.len && !math_is_blank(s.data[to])) {
		to++;
	}
	struct slice run = math_sub(s, from, to);
	if (run.len > MATH_SPAN_BYTES_MAX || !is_formula(run)) {
		run = number;
	}
	from = alternative_before(s, (size_t)(run.data - s.data));
	to = (size_t)(run.data - s.data) + run.len;
	return math_sub(s, from, to + value_word_at(s, to));
}

/* --- 3 and 4: "the answer is" --- */

/* The formula that s begins with, without its fences; len 0 if it begins with none. */
static struct slice leading_math(struct slice s)
{
	for (size_t i = 2; i < 6 && s.len > 0; i++) {
		if (*s.data != *fences[i].open) {
			continue;
		}
		size_t open = strlen(fences[i].open), close = strlen(fences[i].close);
		if (s.len <= open || memcmp(s.data, fences[i].open, open) != 0) {
			continue;
		}
		struct slice rest = math_sub(s, open, MIN(s.len, open + MATH_SPAN_BYTES_MAX));
		/* A single dollar closes on its line, or it is money. */
		size_t limit = open == 1 ? line_end(rest, 0) : rest.len;
		const char *end = memmem(rest.data, limit, fences[i].close, close);
		return end ? math_sub(rest, 0, (size_t)(end - rest.data))
			   : (struct slice){s.data, 0};
	}
	return (struct slice){s.data, 0};
}

/* Words that end the statement and begin its reason. */
static bool reason_at(struct slice s, size_t at)
{
	static const char *const words[] = {" because ", " since ", " as ", " which ", ", so ",
		" (not ", " (since ", " (as ", ", not ", ", which ", ", because ", ", since ",
		", as ", ", and ", ". ", "! ", "? ", " i hope", " (because", " <|"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (says(s, at, words[i])) {
			return true;
		}
	}
	return false;
}

/* The end of a sentence that begins at s[at]: its line's end, or a stop that stands in no number. */
static size_t sentence_end(struct slice s, size_t at)
{
	size_t end = MIN(line_end(s, at), at + MATH_SPAN_BYTES_MAX);
	for (size_t i = at; i < end; i++) {
		char c = s.data[i];
		if ((c == ' ' || c == '.' || c == ',' || c == '!' || c == '?') && reason_at(s, i)) {
			return i;
		}
		/* The ideographic full stop needs no space behind it. */
		if (MATH_STARTS(s, i, "\xe3\x80\x82")) {
			return i;
		}
	}
	return end;
}

/*
 * s[at] is behind "answer". Finds where the answer begins: behind "is", ":" or "=" in the same sentence, or at a formula that
 * follows at once. False if the word states nothing.
 */
static bool statement_start(struct slice s, size_t at, size_t *out)
{
	size_t limit = MIN(MIN(s.len, at + PHRASE_BYTES_MAX), line_end(s, at));
	size_t i = at;
	while (i < limit && (s.data[i] == ' ' || s.data[i] == '*' || s.data[i] == '_')) {
		i++;
	}
	if (i < limit &&
		(s.data[i] == '$' || MATH_STARTS(s, i, "\\(") || MATH_STARTS(s, i, "\\["))) {
		*out = i;
		return true;
	}
	for (i = at; i < limit; i++) {
		char c = s.data[i];
		if ((c == ':' || c == '=') && i - at <= COLON_BYTES_MAX) {
			*out = i + 1;
			return true;
		}
		if (says(s, i, " is") &&
			(i + 3 == s.len || math_is_blank(s.data[i + 3]) || s.data[i + 3] == ':' ||
				s.data[i + 3] == '*')) {
			*out = i + 3;
			return true;
		}
		if ((c == '.' || c == '?' || c == '!') && i + 1 < limit && s.data[i + 1] == ' ') {
			return false;
		}
	}
	return false;
}

/* Blanks, emphasis, a colon and words that say nothing between "is" and the answer. */
static size_t skip_filler(struct slice s, size_t at)
{
	static const char *const fillers[] = {"approximately ", "about ", "simply ", "therefore ",
		"equal to ", "exactly ", "thus ", "then ", "option ", "choice "};
	unsigned lines = 0;
	for (;;) {
		size_t before = at;
		while (at < s.len &&
			(math_is_blank(s.data[at]) || s.data[at] == ':' ||
				(s.data[at] == '*' && !digit_at(s, at + 1)))) {
			lines += s.data[at] == '\n';
			if (lines > 3) {
				return at;
			}
			at++;
		}
		if (at < s.len && s.data[at] == '*') {
			return at + 1;
		}
		for (size_t i = 0; i < ARRAY_LEN(fillers); i++) {
			if (says(s, at, fillers[i])) {
				at += strlen(fillers[i]);
			}
		}
		if (at == before) {
			return at;
		}
	}
}

static bool has_currency(struct slice s, struct slice number)
{
	size_t from = (size_t)(number.data - s.data), to = from + number.len;
	size_t blank = to < s.len && s.data[to] == ' ';
	return (from > 0 && s.data[from - 1] == '$') ||
		(to + blank < s.len && s.data[to + blank] == '$') ||
		MATH_STARTS(s, MIN(to + blank, s.len), "\xe2\x82\xac");
}

/* Of several numbers the one that is an amount of money, if there is one only: *out_count is then 1. */
static struct slice money(struct slice s, struct slice number, unsigned *out_count)
{
	struct slice found = number;
	unsigned n = 0;
	for (size_t at = 0; at < s.len;) {
		size_t bytes = number_bytes(s, at);
		struct slice one = math_sub(s, at, at + bytes);
		if (bytes > 0 && has_currency(s, one)) {
			found = one;
			n++;
		}
		at += MAX(bytes, (size_t)1);
	}
	*out_count = n == 1 ? 1 : *out_count;
	return n == 1 ? found : number;
}

/* What is stated at s[at]: the formula, the sentence, and the number in it if there is only one. False if nothing is. */
static bool add_statement(struct finder *f, enum math_rule rule, size_t at)
{
	struct slice s = f->text;
	size_t n = f->n;
	at = skip_filler(s, at);
	if (at >= s.len) {
		return false;
	}
	struct slice math = leading_math(math_sub(s, at, s.len));
	if (math.len > 0) {
		add(f, rule, math);
	}
	struct slice sentence = math_sub(s, at, sentence_end(s, at));
	unsigned count;
	struct slice number = last_number(sentence, &count);
	if (math.len == 0 || *s.data == '$') {
		add(f, rule, sentence);
	}
	if (count > 1) {
		number = money(sentence, number, &count);
	}
	if (count == 1 && math.len == 0) {
		add(f, rule, in_context(sentence, number));
	}
	return f->n > n;
}

/* The last "answer" of the text before `end`; s.len if there is none. 'w' is the rarest letter of the word. */
static size_t answer_before(struct slice s, size_t end, char w)
{
	while (end > 0) {
		const char *hit = memrchr(s.data, w, end);
		if (!hit) {
			break;
		}
		size_t at = (size_t)(hit - s.data);
		if (at >= 3 && says(s, at - 3, "answer")) {
			return at - 3;
		}
		end = at;
	}
	return s.len;
}

/* The last "answer" behind offset `from` that states something. */
static bool by_answer_word(struct finder *f, char w, size_t from)
{
	struct slice s = f->text;
	size_t end = s.len;
	for (unsigned hit = 0; hit < HITS_MAX; hit++) {
		size_t at = answer_before(s, end, w), start;
		if (at == s.len || at < from) {
			break;
		}
		end = at;
		bool final = at >= 6 && says(s, at - 6, "final ");
		size_t behind = at + 6 + (at + 6 < s.len && math_lower(s.data[at + 6]) == 's');
		if (statement_start(s, behind, &start) &&
			add_statement(f, final ? MATH_RULE_FINAL : MATH_RULE_ANSWER, start)) {
			return true;
		}
	}
	return false;
}

/* <answer>...</answer> behind offset `from`: the last one; what is left open at the end of a text is none. */
static bool by_tag(struct finder *f, size_t from)
{
	static const char open[] = "<answer>", close[] = "</answer>";
	struct slice s = f->text;
	size_t end = s.len;
	for (unsigned hit = 0; hit < HITS_MAX && end > from; hit++) {
		const char *mark = memrchr(s.data + from, '<', end - from);
		if (!mark) {
			return false;
		}
		size_t at = (size_t)(mark - s.data);
		const char *to = says(s, at, open)
			? memmem(mark, s.len - at, close, sizeof(close) - 1)
			: NULL;
		size_t n = f->n;
		if (to) {
			add(f, MATH_RULE_FINAL,
				math_sub(s, at + sizeof(open) - 1, (size_t)(to - s.data)));
		}
		if (f->n > n) {
			return true;
		}
		end = at;
	}
	return false;
}

/* A statement of the final answer behind offset `from`. */
static bool by_final_after(struct finder *f, size_t from)
{
	struct slice s = f->text;
	if (by_tag(f, from)) {
		return true;
	}
	size_t start, at = answer_before(s, s.len, 'w');
	return at < s.len && at >= from + 6 && says(s, at - 6, "final ") &&
		statement_start(s, at + 6, &start) && add_statement(f, MATH_RULE_FINAL, start);
}

/* Offset behind the last "A:" at the beginning of a line; 0 if there is none. */
static size_t answer_letter(struct slice s)
{
	size_t end = s.len;
	for (unsigned hit = 0; hit < HITS_MAX; hit++) {
		const char *colon = memrchr(s.data, ':', end);
		if (!colon || colon == s.data) {
			return 0;
		}
		end = (size_t)(colon - s.data);
		if (s.data[end - 1] == 'A' && (end == 1 || s.data[end - 2] == '\n')) {
			return end + 1;
		}
	}
	return 0;
}

/* Offset behind the last "answer" of another language that has a colon or "is"; 0 if there is none. */
static size_t foreign_answer(struct slice s)
{
	static const char *const words[] = {"r\xc3\xa9ponse", "reponse", "respuesta", "resposta",
		"antwort", "risposta", "\xe7\xad\x94\xe6\xa1\x88"};
	static const char *const verbs[] = {":", " :", " est ", " es ", " is ", " ist ",
		"\xef\xbc\x9a", "\xe6\x98\xaf", "\xe4\xb8\xba", " finale :", " finale:", " final:"};
	size_t best = 0, from = s.len > MATH_SPAN_BYTES_MAX ? s.len - MATH_SPAN_BYTES_MAX : 0;
	for (size_t at = from; at < s.len; at++) {
		char c = math_lower(s.data[at]);
		bool first = c == 'r' || c == 'a' || c == '\xe7';
		for (size_t i = 0; first && i < ARRAY_LEN(words); i++) {
			size_t behind = at + strlen(words[i]);
			if (!says(s, at, words[i])) {
				continue;
			}
			for (size_t v = 0; v < ARRAY_LEN(verbs); v++) {
				best = says(s, behind, verbs[v]) ? behind + strlen(verbs[v]) : best;
			}
		}
	}
	return best;
}

static bool by_foreign_answer(struct finder *f)
{
	size_t at = foreign_answer(f->text);
	return at > 0 && add_statement(f, MATH_RULE_ANSWER, at);
}

/* What is said last counts. */
static bool by_answer(struct finder *f)
{
	size_t letter = answer_letter(f->text);
	return by_tag(f, 0) || by_answer_word(f, 'w', letter) || by_answer_word(f, 'W', letter) ||
		(letter > 0 &&
			(add_statement(f, MATH_RULE_ANSWER, letter) || by_answer_word(f, 'w', 0) ||
				by_answer_word(f, 'W', 0))) ||
		by_foreign_answer(f);
}

/* "\boxed 42": TeX boxes the 4, the writer means the number. */
static bool bare_box(struct finder *f)
{
	struct slice s = f->text;
	const char *last = NULL, *at = s.data;
	while ((at = memmem(at, s.len - (size_t)(at - s.data), "\\boxed ", 7))) {
		last = at;
		at += 7;
	}
	size_t from = last ? (size_t)(last - s.data) + 7 : s.len, to = from;
	while (to < s.len && !math_is_blank(s.data[to]) && s.data[to] != '$') {
		to++;
	}
	size_t n = f->n;
	add(f, MATH_RULE_BOXED, math_sub(s, from, to));
	return f->n > n;
}

/* True when boxes decide: found, or opened and cut off, which is no answer rather than a number from somewhere else. */
static bool by_box(struct finder *f)
{
	struct box closed[BOXES_MAX], open[BOXES_MAX];
	size_t n_open = 0, from;
	struct slice s = f->text;
	const char *boxed = memmem(s.data, s.len, "oxed", 4);
	const char *fbox = memmem(s.data, s.len, "\\fbox", 5);
	const char *first = boxed && (!fbox || boxed < fbox) ? boxed : fbox;
	if (!first) {
		return false;
	}
	size_t start = (size_t)(first - s.data);
	size_t n = find_boxes(s, start > 2 ? start - 2 : 0, closed, open, &n_open);
	if (n == 0 && n_open == 0 && bare_box(f)) {
		return true;
	}
	if (n == 0) {
		if (n_open > 0 && f->policy->open_box) {
			add(f, MATH_RULE_BOXED, math_sub(s, open[n_open - 1].from, s.len));
		}
		return n_open > 0;
	}
	for (from = n - 1; from > 0 && boxes_joined(s, &closed[from - 1], &closed[from]); from--) {
	}
	/* "... \boxed{255} ... The final answer is 10,455": what is said last, and called final, is the answer. */
	if (f->policy->rules & MATH_RULE_BIT(MATH_RULE_FINAL) &&
		by_final_after(f, closed[n - 1].to)) {
		return true;
	}
	bool one = true;
	for (size_t i = from + 1; i < n; i++) {
		one = one && box_repeats(s, closed, from, i);
	}
	add(f, MATH_RULE_BOXED,
		one ? math_sub(s, closed[n - 1].from, closed[n - 1].to)
		    : join_boxes(f, closed, from, n));
	return true;
}

/* --- 5 to 7 --- */

/* "Therefore, x = 42": x = 42. */
static struct slice behind_connective(struct slice s)
{
	static const char *const words[] = {"therefore", "thus", "hence", "finally", "consequently",
		"so", "then", "we get", "we have"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t at = strlen(words[i]);
		if (!says(s, 0, words[i])) {
			continue;
		}
		at += at < s.len && s.data[at] == ',';
		if (at < s.len && s.data[at] == ' ') {
			return math_sub(s, at + 1, s.len);
		}
	}
	return s;
}

static bool whole(struct finder *f)
{
	struct slice s = math_strip(f->text);
	/* A calculator's note before the number. */
	const char *note = MATH_STARTS(s, 0, "<<") ? memmem(s.data, s.len, ">>", 2) : NULL;
	s = note ? math_sub(s, (size_t)(note - s.data) + 2, s.len) : s;
	if (s.len == 0 || s.len > WHOLE_BYTES_MAX || memchr(s.data, '\n', s.len)) {
		return false;
	}
	add(f, MATH_RULE_WHOLE, behind_connective(s));
	return true;
}

/* Money rather than a formula: "$5 and spends $": a digit, and inside a plain word. */
static bool is_money(struct slice inner)
{
	unsigned letters = 0;
	if (!digit_at(inner, 0)) {
		return false;
	}
	for (size_t i = 0; i < inner.len; i++) {
		letters = math_is_letter(inner.data[i]) ? letters + 1 : 0;
		if (letters == 3 && (i < 3 || inner.data[i - 3] == ' ')) {
			return true;
		}
	}
	return false;
}

/* The last formula of the paragraph that begins at `at`; len 0 if there is none. */
static struct slice last_formula(struct slice s, size_t at)
{
	struct slice last = {s.data, 0};
	while (at < s.len) {
		/* Every fence of a formula begins with one of two characters. */
		if (s.data[at] != '$' && s.data[at] != '\\') {
			at++;
			continue;
		}
		size_t i = 2;
		while (i < 6 && !math_starts(s, at, fences[i].open, strlen(fences[i].open))) {
			i++;
		}
		if (i == 6 || (i == 5 && at > 0 && s.data[at - 1] == '\\')) {
			at++;
			continue;
		}
		size_t open = strlen(fences[i].open), close = strlen(fences[i].close);
		struct slice rest = math_sub(s, at + open, MIN(s.len, at + open + 1024));
		const char *end = memmem(rest.data, rest.len, fences[i].close, close);
		struct slice inner = {rest.data, end ? (size_t)(end - rest.data) : 0};
		if (!end || (i == 5 && is_money(inner))) {
			at += open;
			continue;
		}
		last = inner;
		at += open + inner.len + close;
	}
	return last;
}

static size_t last_paragraph(struct slice s)
{
	size_t end = s.len;
	while (end > 0 && math_is_blank(s.data[end - 1])) {
		end--;
	}
	size_t from = end > MATH_SPAN_BYTES_MAX ? end - MATH_SPAN_BYTES_MAX : 0;
	for (size_t at = end; at > from + 1; at--) {
		if (s.data[at - 1] == '\n' && s.data[at - 2] == '\n') {
			return at;
		}
	}
	return from;
}

/* The formula, then the number; a number that stands behind the formula is said last, so it goes first. */
static void by_end(struct finder *f)
{
	struct slice s = f->text, none = {s.data, 0};
	unsigned allowed = f->policy->rules, count = 0;
	struct slice formula = allowed & MATH_RULE_BIT(MATH_RULE_MATH)
		? last_formula(s, last_paragraph(s))
		: none;
	/* Back from the end over lines without a digit; one long line is looked at from where it can still hold a span. */
	size_t end = s.len;
	while (end > 0 && !math_is_digit(s.data[end - 1])) {
		end--;
	}
	const char *nl = end > 0 ? memrchr(s.data, '\n', end) : NULL;
	size_t from = nl ? (size_t)(nl - s.data) + 1 : 0;
	from = MAX(from, end > MATH_SPAN_BYTES_MAX ? end - MATH_SPAN_BYTES_MAX : 0);
	struct slice number = last_number(math_sub(s, from, line_end(s, end)), &count);
	bool behind = count > 0 && formula.len > 0 && number.data > formula.data + formula.len;
	if (formula.len > 0 && !behind && has_digit(formula)) {
		add(f, MATH_RULE_MATH, formula);
	}
	if (count > 0 && (allowed & MATH_RULE_BIT(MATH_RULE_NUMBER))) {
		add(f, MATH_RULE_NUMBER, in_context(s, number));
	}
	if (formula.len > 0 && !has_digit(formula)) {
		add(f, MATH_RULE_MATH, formula);
	}
}

/* --- All together --- */

/* What a model writes when it runs on into the next turn is not its answer. */
static struct slice cut_turns(struct slice s)
{
	static const char *const marks[] = {"<|im_end|>", "<|im_start|>", "<|eot_id|>",
		"<|end_of_text|>", "<|endoftext|>", "<|end|>", "</s>"};
	const char *at = s.data;
	while ((at = memchr(at, '<', s.len - (size_t)(at - s.data)))) {
		size_t offset = (size_t)(at - s.data);
		for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
			if (math_starts(s, offset, marks[i], strlen(marks[i]))) {
				return math_sub(s, 0, offset);
			}
		}
		at++;
	}
	return s;
}

static struct slice cut_thinking(struct slice s)
{
	static const char close[] = "</think>";
	size_t end = s.len;
	while (end > 0) {
		const char *hit = memrchr(s.data, '<', end);
		if (!hit) {
			break;
		}
		end = (size_t)(hit - s.data);
		if (MATH_STARTS(s, end, close)) {
			return math_sub(s, end + sizeof(close) - 1, s.len);
		}
	}
	return s;
}

static bool is_allowed(const struct finder *f, enum math_rule rule)
{
	return f->policy->rules & MATH_RULE_BIT(rule);
}

size_t math_extract(struct slice text, const struct math_policy *policy, struct arena *arena,
	struct math_span spans[MATH_SPANS_MAX])
{
	if (text.len > MATH_SCAN_BYTES_MAX) {
		text = math_sub(text, text.len - MATH_SCAN_BYTES_MAX, text.len);
	}
	if (text.len == 0) {
		return 0;
	}
	struct slice s = policy->keep_thinking ? text : cut_thinking(text);
	struct finder f = {.text = cut_turns(s), .policy = policy, .arena = arena, .spans = spans};
	if (is_allowed(&f, MATH_RULE_BOXED) && by_box(&f)) {
		return f.n;
	}
	if (is_allowed(&f, MATH_RULE_HASHES) && by_hashes(&f)) {
		return f.n;
	}
	if (is_allowed(&f, MATH_RULE_FINAL) || is_allowed(&f, MATH_RULE_ANSWER)) {
		(void)by_answer(&f);
	}
	if (is_allowed(&f, MATH_RULE_WHOLE) && f.n == 0) {
		(void)whole(&f);
	}
	/* Stated in plain digits: nothing else will be asked for. */
	bool plain = f.n > 0 && f.spans[0].rule != MATH_RULE_WHOLE && is_digits(f.spans[0].text);
	if (!plain && (is_allowed(&f, MATH_RULE_MATH) || is_allowed(&f, MATH_RULE_NUMBER))) {
		by_end(&f);
	}
	return f.n;
}
