/* The steps of a chain of thought: what stands between blank lines, or between separators. Pure. */
#ifndef VERIFIERS_STEPS_SPLIT_H
#define VERIFIERS_STEPS_SPLIT_H

#include "base/str.h"

/*
 * Writes up to `most` steps, blanks around them cut off and empty ones left out, and returns how many there are; most + 1 stands for
 * more than `most`. `split` NULL: blank lines, which may hold spaces and tabs.
 */
size_t steps_split(struct slice text, const char *split, struct slice *out, size_t most);

#endif
