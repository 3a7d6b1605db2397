/* Texts of made-up words, and pairs of them that share a given part of their shingles: what near duplicates are measured on. */
#ifndef TESTS_BENCH_PLANTED_H
#define TESTS_BENCH_PLANTED_H

#include "base/rng.h"
#include "base/str.h"

#include <stddef.h>

/* Appends n words, most of them common ones, with punctuation here and there. */
void planted_text(struct rng *rng, size_t n, struct str *out);
/* Replaces both: texts of n words each (at least 10) whose sets of 5-word shingles have this Jaccard similarity, or nearly. */
void planted_pair(struct rng *rng, size_t n, double jaccard, struct str *a, struct str *b);

#endif
