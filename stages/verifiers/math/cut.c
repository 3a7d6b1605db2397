/*
 * Structure that characters tell: which bracket closes which, and where a list is cut. Known before anything is evaluated, so that
 * one element that cannot be read does not spoil how the others are found.
 */
#include "math_impl.h"

#include "base/text.h"

#include <string.h>

/* --- Brackets on characters --- */

/* +1 for what opens at s[at], -1 for what closes, 0 else. out_bytes: how much it takes. */
int math_bracket_at(struct slice s, size_t at, size_t *out_bytes)
{
	char c = s.data[at];
	*out_bytes = 1;
	if (c == '\\') {
		*out_bytes = MIN(s.len - at, (size_t)2);
		if (MATH_STARTS(s, at, "\\{") || MATH_STARTS(s, at, "\\lbrace") ||
			MATH_STARTS(s, at, "\\begin{") || MATH_STARTS(s, at, "\\lfloor") ||
			MATH_STARTS(s, at, "\\lceil")) {
			return 1;
		}
		if (MATH_STARTS(s, at, "\\}") || MATH_STARTS(s, at, "\\rbrace") ||
			MATH_STARTS(s, at, "\\end{") || MATH_STARTS(s, at, "\\rfloor") ||
			MATH_STARTS(s, at, "\\rceil")) {
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
size_t math_closing(struct slice s, size_t from)
{
	int depth = 1;
	for (size_t at = from, n; at < s.len; at += n) {
		depth += math_bracket_at(s, at, &n);
		if (depth == 0) {
			return at;
		}
	}
	return s.len;
}

/* --- Separators --- */

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

bool math_word_at(struct slice s, size_t at, const char *word, size_t n)
{
	if (s.len - at < n) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (math_lower(s.data[at + i]) != word[i]) {
			return false;
		}
	}
	return (at + n == s.len || !math_is_letter(s.data[at + n])) &&
		(at == 0 || !math_is_letter(s.data[at - 1]));
}

/* \text{ and }, \mbox{or}: bytes, 0 if the command at s[at] is something else. */
static size_t text_word(struct slice s, size_t at, enum separator *out)
{
	size_t brace = at + 1;
	while (brace < s.len && math_is_letter(s.data[brace])) {
		brace++;
	}
	bool text = MATH_STARTS(s, at, "\\text") || MATH_STARTS(s, at, "\\mbox") ||
		MATH_STARTS(s, at, "\\mathrm");
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
	if (word.len == 3 && math_word_at(word, 0, "and", 3)) {
		*out = SEPARATOR_AND;
	} else if (word.len == 2 && math_word_at(word, 0, "or", 2)) {
		*out = SEPARATOR_OR;
	} else if (word.len == 0) {
		*out = to > brace + 1 &&
				memchr(s.data + brace, ',', (size_t)(close - s.data) - brace)
			? SEPARATOR_COMMA
			: SEPARATOR_NONE;
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
	if ((c == 'a' || c == 'A') && math_word_at(s, at, "and", 3)) {
		*out_bytes = 3;
		return SEPARATOR_AND;
	}
	if ((c == 'o' || c == 'O') && math_word_at(s, at, "or", 2)) {
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

struct slice math_trim(struct slice s)
{
	for (;;) {
		size_t n = 0;
		if (s.len > 0 && (math_is_blank(*s.data) || *s.data == '$' || *s.data == '~')) {
			n = 1;
		} else if (MATH_STARTS(s, 0, "\\,") || MATH_STARTS(s, 0, "\\;") ||
			MATH_STARTS(s, 0, "\\ ") || MATH_STARTS(s, 0, "\\!") ||
			MATH_STARTS(s, 0, "\\(") || MATH_STARTS(s, 0, "\\)")) {
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
size_t math_split(struct slice s, bool pairs, struct piece *pieces, size_t max)
{
	size_t n = 0, from = 0;
	int depth = 0;
	enum separator before = SEPARATOR_NONE;
	for (size_t at = 0, bytes; at <= s.len; at += bytes) {
		enum separator here = SEPARATOR_NONE;
		bytes = 1;
		if (at < s.len) {
			int turn = math_bracket_at(s, at, &bytes);
			depth += turn;
			here = depth == 0 && turn == 0 ? separator_at(s, at, pairs, &bytes)
						       : SEPARATOR_NONE;
		}
		if (here == SEPARATOR_NONE && at < s.len) {
			continue;
		}
		struct slice text = math_trim(math_sub(s, from, MIN(at, s.len)));
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
