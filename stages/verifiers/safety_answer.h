/* What a safety model answered: "safe", or "unsafe" and categories ("S1,S10") behind it. Pure; the text is hostile. */
#ifndef VERIFIERS_SAFETY_ANSWER_H
#define VERIFIERS_SAFETY_ANSWER_H

#include "base/str.h"

#include <stdbool.h>

#define SAFETY_CATEGORIES_MAX 32

struct safety_answer {
	bool safe;
	/* Of an unsafe one, each once, in the answer's order: a capital letter and one or two digits. */
	char categories[SAFETY_CATEGORIES_MAX][4];
	size_t n_categories;
};

/*
 * What stands in front of the last </think> is left out. False if the rest is anything but a verdict: other words, categories of
 * something safe, more of them than the limit.
 */
bool safety_read(struct slice text, struct safety_answer *out);

#endif
