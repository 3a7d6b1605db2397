/*
 * Where an answer may stand is tried from the surest place on: the last closed \boxed{}, "the answer is (B)", "(B) is correct",
 * bold, the last line. The first rule that finds an answer decides: a box that names no letter is an answer that cannot be
 * read, and what stands elsewhere in the text is not looked at any more.
 *
 * The letter itself must stand alone, and an "A" or "I" that a lower-case word follows is a word: "The answer is A triangle"
 * names nothing.
 */
#include "verifiers/choice_letter.h"

#include "verifiers/math/mathcheck.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define SCAN_BYTES_MAX (64 << 10)
#define SPAN_BYTES_MAX 4096
#define OPEN_BOXES_MAX 16
#define LINES_TRIED_MAX 64

/* --- letters --- */

struct reader {
	const char *at, *end;
	const struct choice_options *options;
};

static bool skip_word(struct reader *r, const char *word)
{
	size_t len = strlen(word);
	if ((size_t)(r->end - r->at) < len || strncasecmp(r->at, word, len) != 0) {
		return false;
	}
	r->at += len;
	return true;
}

/* Opening signs around a letter. Returns whether there were any, that is, whether the letter is set apart. */
static bool skip_openers(struct reader *r)
{
	static const char *const wrappers[] = {
		"\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "\\textrm{", "\\boxed{", "\\("};
	bool apart = false;
	for (bool more = true; more && r->at < r->end;) {
		more = false;
		for (size_t i = 0; i < ARRAY_LEN(wrappers) && !more; i++) {
			more = skip_word(r, wrappers[i]);
		}
		if (!more && strchr("([{*_$\"'`", *r->at)) {
			more = true;
			r->at++;
		}
		apart = apart || more;
		while (r->at < r->end && (*r->at == ' ' || *r->at == '\t')) {
			r->at++;
		}
	}
	return apart;
}

static void skip_closers(struct reader *r)
{
	while (r->at < r->end && strchr(")]}*_$\"'`. \t", *r->at)) {
		r->at++;
	}
}

static bool is_word_byte(char c)
{
	return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || c == '_';
}

/* A lower-case word, but for those that link letters. */
static bool word_follows(const char *after, const char *end)
{
	struct reader r = {after, end, NULL};
	return end - after >= 2 && after[0] == ' ' && islower((unsigned char)after[1]) &&
		!skip_word(&r, " or ") && !skip_word(&r, " and ");
}

/* "A triangle", "I think", and not "A or B". */
static bool is_article(char letter, const char *after, const char *end)
{
	return (letter == 'A' || letter == 'I') && word_follows(after, end);
}

/* A letter that stands alone, here; lower case only where it is set apart. */
static char take_letter(struct reader *r, bool apart)
{
	apart = skip_openers(r) || apart;
	if (r->at == r->end) {
		return 0;
	}
	char c = *r->at;
	bool lower = c >= 'a' && c <= 'z';
	char letter = lower ? (char)(c - 'a' + 'A') : c;
	const char *after = r->at + 1;
	bool alone = after == r->end ||
		(!is_word_byte(*after) &&
			!(*after == '\'' && after + 1 < r->end &&
				islower((unsigned char)after[1]))) ||
		(*after == '_' && apart);
	if (letter < 'A' || letter >= (char)('A' + r->options->n) || (lower && !apart) || !alone ||
		(!apart && is_article(letter, after, r->end))) {
		return 0;
	}
	r->at = after;
	return letter;
}

/* "A or B", "A and B", "A, B", "A/B", and not "A, C is too large". */
static bool is_hedged(struct reader r, char letter)
{
	static const char *const links[] = {"or ", "and ", ",", "/", "&"};
	skip_closers(&r);
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		struct reader next = r;
		if (skip_word(&next, links[i])) {
			while (next.at < next.end && *next.at == ' ') {
				next.at++;
			}
			char other = take_letter(&next, false);
			if (other && other != letter && !word_follows(next.at, next.end)) {
				return true;
			}
		}
	}
	return false;
}

static bool found(struct choice_found *out, struct reader r, char letter, const char *rule)
{
	*out = (struct choice_found){letter, is_hedged(r, letter), rule};
	return true;
}

/* --- options' texts --- */

/* Lower case, one space for many, without outer signs: how the texts of options are compared. */
static struct slice plain(struct slice s, char buf[CHOICE_OPTION_BYTES_MAX])
{
	size_t n = 0;
	while (s.len && strchr(" \t\r\n*$\"'`(", s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && strchr(" \t\r\n*$\"'`.;:)", s.data[s.len - 1])) {
		s.len--;
	}
	for (size_t i = 0; i < s.len && n < CHOICE_OPTION_BYTES_MAX; i++) {
		bool space = isspace((unsigned char)s.data[i]);
		if (!space || (n && buf[n - 1] != ' ')) {
			buf[n++] = space ? ' ' : (char)tolower((unsigned char)s.data[i]);
		}
	}
	return (struct slice){buf, n};
}

static bool same_value(struct slice a, struct slice b, struct arena *scratch)
{
	const struct math_value *x = math_parse(a, scratch, NULL),
				*y = math_parse(b, scratch, NULL);
	struct math_verdict verdict;
	if (!x || !y || !math_value_is_number(x) || !math_value_is_number(y)) {
		return false;
	}
	math_compare(x, y, &math_policy_default, &verdict);
	return verdict.outcome == MATH_EQUAL;
}

/* The one option with this text; 0: none, or several. */
static char option_of(struct slice text, const struct choice_options *options)
{
	char buf[CHOICE_OPTION_BYTES_MAX], other[CHOICE_OPTION_BYTES_MAX];
	struct arena scratch = {0};
	struct slice wanted = plain(text, buf);
	char letter = 0;
	bool several = false;
	for (size_t i = 0; options->has_texts && wanted.len && i < options->n; i++) {
		if (slice_eq(wanted, plain(options->texts[i], other)) ||
			same_value(text, options->texts[i], &scratch)) {
			several = letter != 0;
			letter = (char)('A' + i);
		}
	}
	arena_release(&scratch);
	return several ? 0 : letter;
}

char choice_read(struct slice text, const struct choice_options *options)
{
	struct reader r = {text.data, text.data + text.len, options};
	while (r.at < r.end && isspace((unsigned char)*r.at)) {
		r.at++;
	}
	char letter = text.len ? take_letter(&r, true) : 0;
	skip_closers(&r);
	while (r.at < r.end && isspace((unsigned char)*r.at)) {
		r.at++;
	}
	return letter && r.at == r.end ? letter : option_of(text, options);
}

/* --- rules --- */

/* "B", "(B)", "B) 42", "B. 42", "B: 42". */
static bool take_labelled(struct reader *r, bool apart, char *out_letter)
{
	*out_letter = take_letter(r, apart);
	if (!*out_letter) {
		return false;
	}
	struct reader rest = *r;
	skip_closers(&rest);
	return rest.at == rest.end || strchr(").:]}*", *r->at) || is_hedged(*r, *out_letter);
}

/* The content of the last closed box, braces counted. One that is not closed costs a scan each, so few are looked at. */
static bool last_box(struct slice text, struct slice *out)
{
	bool have = false;
	unsigned n_open = 0;
	for (const char *at = text.data, *end = text.data + text.len;
		n_open < OPEN_BOXES_MAX && (at = memmem(at, (size_t)(end - at), "boxed{", 6));) {
		const char *start = at + 6, *p = start;
		unsigned depth = 1;
		for (; p < end && depth; p++) {
			depth += *p == '{' && p[-1] != '\\';
			depth -= *p == '}' && p[-1] != '\\';
		}
		at = start;
		if (!depth) {
			*out = (struct slice){start, (size_t)(p - 1 - start)};
			have = true;
			at = p;
		} else {
			n_open++;
		}
	}
	return have;
}

static bool by_box(
	struct slice text, const struct choice_options *options, struct choice_found *out)
{
	struct slice box;
	if (!last_box(text, &box)) {
		return false;
	}
	struct reader r = {box.data, box.data + box.len, options};
	char letter;
	if (box.len && box.len <= SPAN_BYTES_MAX && take_labelled(&r, true, &letter)) {
		return found(out, r, letter, "boxed");
	}
	letter = box.len <= SPAN_BYTES_MAX ? choice_read(box, options) : 0;
	*out = (struct choice_found){letter, false, "boxed"};
	return true;
}

/* After "answer": signs and filling words. Sets *out_linked when something says that the answer follows. */
static void skip_filling(struct reader *r, bool *out_linked)
{
	static const struct {
		const char *word;
		bool links;
	} words[] = {{"is ", true}, {"is:", true}, {"is\n", true}, {":", true}, {"=", true},
		{"would be ", true}, {"should be ", true}, {"must be ", true}, {"choice ", false},
		{"option ", false}, {"letter ", false}, {"therefore ", false}, {"the ", false},
		{"correct ", false}, {"thus ", false}, {" ", false}, {"\n", false}, {"**", false}};
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < ARRAY_LEN(words) && !more; i++) {
			more = skip_word(r, words[i].word);
			*out_linked = *out_linked || (more && words[i].links);
		}
	}
}

/* Where one of the words stands, from `from` back; `r` is then behind it. */
static bool find_back(const char *from, struct slice text, const char *const *words, size_t n_words,
	struct reader *r, const char **out_at, size_t *out_word)
{
	for (const char *at = from; at-- > text.data;) {
		for (size_t i = 0; i < n_words; i++) {
			r->at = at;
			if (skip_word(r, words[i])) {
				*out_at = at;
				*out_word = i;
				return true;
			}
		}
	}
	return false;
}

/* The text of an option, to the end of the line. */
static char option_in_line(const struct reader *r)
{
	const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at));
	struct slice rest = {r->at, (size_t)((stop ? stop : r->end) - r->at)};
	return rest.len <= SPAN_BYTES_MAX ? option_of(rest, r->options) : 0;
}

/* "answer is (B)", "Answer: B", "the correct option is B": the last one that names a letter or an option's text. */
static bool by_phrase(
	struct slice text, const struct choice_options *options, struct choice_found *out)
{
	static const char *const keys[] = {"answer", "option", "choice"};
	struct reader r = {NULL, text.data + text.len, options};
	unsigned n_lines = 0;
	size_t key;
	for (const char *at = r.end; find_back(at, text, keys, ARRAY_LEN(keys), &r, &at, &key);) {
		bool linked = false;
		skip_filling(&r, &linked);
		bool apart = r.at < r.end && strchr("([*", *r.at);
		struct reader here = r;
		char letter = linked || (apart && key == 0) ? take_letter(&r, false) : 0;
		if (letter) {
			return found(out, r, letter, "answer");
		}
		letter = linked && n_lines++ < LINES_TRIED_MAX ? option_in_line(&here) : 0;
		if (letter) {
			*out = (struct choice_found){letter, false, "answer"};
			return true;
		}
	}
	return false;
}

/* "(B) is correct", "B is the right answer": the letter before the last such words. */
static bool by_correct(
	struct slice text, const struct choice_options *options, struct choice_found *out)
{
	static const char *const words[] = {" is correct", " is the correct", " is the answer",
		" is right", " is the right", " is the best answer"};
	struct reader r = {NULL, text.data + text.len, options};
	size_t word;
	for (const char *at = r.end;
		find_back(at, text, words, ARRAY_LEN(words), &r, &at, &word);) {
		const char *p = at;
		while (p > text.data && strchr(")]}*$", p[-1])) {
			p--;
		}
		bool alone = p > text.data && (p - 1 == text.data || !is_word_byte(p[-2]));
		struct reader before = {p - alone, at, options};
		char letter = alone ? take_letter(&before, p < at) : 0;
		if (letter) {
			*out = (struct choice_found){letter, false, "correct"};
			return true;
		}
	}
	return false;
}

static bool by_bold(
	struct slice text, const struct choice_options *options, struct choice_found *out)
{
	bool have = false;
	for (const char *at = text.data, *end = text.data + text.len;
		(at = memmem(at, (size_t)(end - at), "**", 2));) {
		const char *close = memmem(at + 2, (size_t)(end - at - 2), "**", 2);
		if (!close) {
			break;
		}
		struct reader r = {at + 2, close, options};
		char letter;
		if (take_labelled(&r, false, &letter)) {
			have = found(out, r, letter, "bold");
		}
		at = close + 2;
	}
	return have;
}

static struct slice last_line(struct slice text)
{
	while (text.len && isspace((unsigned char)text.data[text.len - 1])) {
		text.len--;
	}
	const char *newline = memrchr(text.data, '\n', text.len);
	return newline ? (struct slice){newline + 1, (size_t)(text.data + text.len - newline - 1)}
		       : text;
}

/* The last line is a letter, has one in parentheses, or is an option's text. */
static bool by_line(
	struct slice text, const struct choice_options *options, struct choice_found *out)
{
	struct slice line = last_line(text);
	struct reader r = {line.data, line.data + line.len, options};
	char letter;
	while (r.at < r.end && isspace((unsigned char)*r.at)) {
		r.at++;
	}
	if (line.len && take_labelled(&r, false, &letter)) {
		return found(out, r, letter, "line");
	}
	for (const char *p = line.data + line.len; line.len <= SPAN_BYTES_MAX && p-- > line.data;) {
		struct reader at = {p, line.data + line.len, options};
		if (*p == '(' && (letter = take_letter(&at, false)) && at.at < at.end &&
			*at.at == ')') {
			return found(out, at, letter, "paren");
		}
	}
	letter = line.len <= SPAN_BYTES_MAX ? option_of(line, options) : 0;
	*out = (struct choice_found){letter, false, "text"};
	return letter != 0;
}

static struct slice cut_thinking(struct slice s)
{
	static const char close[] = "</think>";
	for (const char *hit; (hit = memmem(s.data, s.len, close, strlen(close)));) {
		size_t n = (size_t)(hit - s.data) + strlen(close);
		s = (struct slice){s.data + n, s.len - n};
	}
	return s;
}

void choice_find(struct slice text, const struct choice_options *options, struct choice_found *out)
{
	*out = (struct choice_found){0};
	text = text.len ? cut_thinking(text) : slice_z("");
	if (text.len > SCAN_BYTES_MAX) {
		text.data += text.len - SCAN_BYTES_MAX;
		text.len = SCAN_BYTES_MAX;
	}
	if (!by_box(text, options, out) && !by_phrase(text, options, out) &&
		!by_correct(text, options, out) && !by_bold(text, options, out) &&
		!by_line(text, options, out)) {
		*out = (struct choice_found){0};
	}
}
