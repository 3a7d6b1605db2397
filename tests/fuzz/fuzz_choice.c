/*
 * Model output of any kind against options of any kind: the first lines are the options, up to an empty one, the rest the output.
 * A letter is always one of those there are, only what can be hedged is, and the same text gives the same answer.
 */
#include "verifiers/choice_letter.h"

#include "base/attr.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes the options off the front of the text. */
static struct choice_options take_options(struct slice *text)
{
	struct choice_options o = {.has_texts = true};
	const char *newline;
	while (o.n < CHOICE_LETTERS_MAX && text->len &&
		(newline = memchr(text->data, '\n', text->len))) {
		struct slice line = {text->data, (size_t)(newline - text->data)};
		text->data = newline + 1;
		text->len -= line.len + 1;
		if (!line.len) {
			break;
		}
		if (line.len <= 4096) {
			o.texts[o.n++] = line;
		}
	}
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	struct choice_options options = take_options(&text), plain = {.n = CHOICE_LETTERS_MAX};
	const struct choice_options *const both[] = {&options, &plain};
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		struct choice_found a, b;
		choice_find(text, both[i], &a);
		choice_find(text, both[i], &b);
		assert(a.letter == b.letter && a.hedged == b.hedged && a.rule == b.rule);
		assert(!a.letter || (a.letter >= 'A' && a.letter < (char)('A' + both[i]->n)));
		assert(!a.letter || a.rule);
		assert(!a.hedged || a.letter);
		char letter = text.len <= 4096 ? choice_read(text, both[i]) : 0;
		assert(!letter || (letter >= 'A' && letter < (char)('A' + both[i]->n)));
	}
	return 0;
}
