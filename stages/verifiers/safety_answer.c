/* Word by word: the verdict first, then nothing but categories. */
#include "verifiers/safety_answer.h"

#include <string.h>
#include <strings.h>

static bool is_between(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ';' ||
		c == '.' || c == ':' || c == '*' || c == '"';
}

/* The next word and what follows it; empty at the end. */
static struct slice take_word(struct slice *rest)
{
	const char *p = rest->data, *end = rest->data + rest->len, *from;
	while (p < end && is_between(*p)) {
		p++;
	}
	for (from = p; p < end && !is_between(*p);) {
		p++;
	}
	*rest = (struct slice){p, (size_t)(end - p)};
	return (struct slice){from, (size_t)(p - from)};
}

static bool is_word(struct slice word, const char *z)
{
	return word.len == strlen(z) && strncasecmp(word.data, z, word.len) == 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_category(struct slice word)
{
	return (word.len == 2 || word.len == 3) && word.data[0] >= 'A' && word.data[0] <= 'Z' &&
		is_digit(word.data[1]) && (word.len == 2 || is_digit(word.data[2]));
}

static bool add_category(struct safety_answer *out, struct slice word)
{
	if (!is_category(word)) {
		return false;
	}
	for (size_t i = 0; i < out->n_categories; i++) {
		if (slice_eq_z(word, out->categories[i])) {
			return true;
		}
	}
	if (out->n_categories == SAFETY_CATEGORIES_MAX) {
		return false;
	}
	memcpy(out->categories[out->n_categories++], word.data, word.len);
	return true;
}

static struct slice behind_thoughts(struct slice text)
{
	static const char close[] = "</think>";
	const char *found;
	while ((found = memmem(text.data, text.len, close, strlen(close)))) {
		text.len -= (size_t)(found + strlen(close) - text.data);
		text.data = found + strlen(close);
	}
	return text;
}

bool safety_read(struct slice text, struct safety_answer *out)
{
	struct safety_answer answer = {0};
	if (!text.data) {
		return false;
	}
	text = behind_thoughts(text);
	struct slice word = take_word(&text);
	answer.safe = is_word(word, "safe");
	if (!answer.safe && !is_word(word, "unsafe")) {
		return false;
	}
	while ((word = take_word(&text)).len) {
		if (answer.safe || !add_category(&answer, word)) {
			return false;
		}
	}
	*out = answer;
	return true;
}
