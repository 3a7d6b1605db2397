#include "planted.h"

#include "near/sketch.h"

#include <math.h>

#define VOCABULARY 20000

/* The letters follow from the number; frequent words are short, as in any language. */
static void put_word(uint64_t number, struct str *out)
{
	static const char consonants[] = "bcdfghklmnprstvw", vowels[] = "aeiou";
	uint64_t left = number * 2654435761u + 1;
	size_t syllables = 1 + (number > 30) + (number > 600) + (number > 9000);
	for (size_t i = 0; i < syllables; i++) {
		str_append_c(out, consonants[left % 16]);
		str_append_c(out, vowels[left / 16 % 5]);
		left /= 80;
	}
	/* What tells words of equal syllables apart. */
	for (uint64_t n = number; n; n /= 16) {
		str_append_c(out, n >= 16 * 16 * 16 ? 'x' : consonants[n % 16]);
	}
}

/* Numbers are distributed like the ranks of words: the density falls as 1 / rank. */
static uint64_t pick_word(struct rng *rng)
{
	return (uint64_t)exp(rng_unit(rng) * log(VOCABULARY));
}

void planted_text(struct rng *rng, size_t n, struct str *out)
{
	for (size_t i = 0; i < n; i++) {
		put_word(pick_word(rng), out);
		uint64_t mark = rng_below(rng, 16);
		str_append_z(out, mark == 0 ? ", " : mark == 1 ? ". " : " ");
	}
}

/*
 * Both begin with the same words: s shingles in common and n - 4 - s of its own for each, so J = s / (2 (n - 4) - s). The
 * first word that differs is of no vocabulary, so that no shingle is shared by chance where the texts part.
 */
void planted_pair(struct rng *rng, size_t n, double jaccard, struct str *a, struct str *b)
{
	size_t shingles = n - NEAR_SHINGLE_WORDS + 1;
	size_t common = (size_t)lround(2 * jaccard / (1 + jaccard) * (double)shingles);
	size_t begin = common ? common + NEAR_SHINGLE_WORDS - 1 : 0;
	str_reset(a);
	str_reset(b);
	planted_text(rng, begin, a);
	str_append(b, a->data, a->len);
	if (begin < n) {
		str_append_z(a, "left ");
		str_append_z(b, "right ");
		planted_text(rng, n - begin - 1, a);
		planted_text(rng, n - begin - 1, b);
	}
}
