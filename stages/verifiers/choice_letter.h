/*
 * Which letter does an answer to a multiple-choice question name? Rules over letters alone: a capital A to J where an answer
 * stands, never any letter of a word.
 *
 *	struct choice_options options = {.n = 4};
 *	struct choice_found found;
 *	choice_find(slice_z("... so the answer is (B)."), &options, &found);	// letter 'B', rule "answer"
 */
#ifndef VERIFIERS_CHOICE_LETTER_H
#define VERIFIERS_CHOICE_LETTER_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

#define CHOICE_LETTERS_MAX 10 /* A to J */
#define CHOICE_OPTION_BYTES_MAX 4096 /* longer texts are never compared */

struct choice_options {
	size_t n; /* letters that there are, from A */
	bool has_texts;
	struct slice texts[CHOICE_LETTERS_MAX];
};

struct choice_found {
	char letter; /* 'A' ..; 0: none */
	bool hedged; /* "A or B": not an answer to a question with one */
	/* Which gave it: boxed, answer, correct, bold, line, paren, text. NULL: nothing that looks like an answer; with no letter: one that names none. */
	const char *rule;
};

/* Looks at what follows the last </think>, at most the last 64 KiB. */
void choice_find(struct slice text, const struct choice_options *options, struct choice_found *out);
/* The whole text is a letter ("B", "(b)", "B."), or the text of one option; 0: neither. */
char choice_read(struct slice text, const struct choice_options *options);

#endif
