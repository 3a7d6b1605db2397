/*
 * What is compared of a text: 96 bytes that agree in as many places as two texts share of their 5-word runs (shingles). The
 * text is normalised first: case, punctuation and spacing do not count, numbers do.
 *
 *	struct near_reader reader = {0};
 *	near_read(&reader, text, len);
 *	near_sketch(&reader, prompt, &record);	// may be repeated for another prompt
 *	...
 *	near_reader_release(&reader);
 *
 * A text of fewer than NEAR_SHORT_WORDS words is like another of the same prompt only: "The answer is 4." answers many.
 * Sketches are stored (segment.h): a change of what they are is a new NEAR_SKETCH_VERSION.
 */
#ifndef PIPELINE_NEAR_SKETCH_H
#define PIPELINE_NEAR_SKETCH_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NEAR_SKETCH_VERSION 1
#define NEAR_PLACES 96
#define NEAR_SHINGLE_WORDS 5
#define NEAR_SHORT_WORDS 16

/* As it lies in files, little-endian. */
struct near_record {
	uint64_t owner; /* whose text it is: the caller's */
	uint32_t prompt; /* hash of what was asked */
	uint32_t
		text; /* hash of all words: with equal places, the texts are the same but for normalisation */
	uint8_t places[NEAR_PLACES];
};
_Static_assert(sizeof(struct near_record) == 112, "records are copied as they lie in memory");

/* The words of one text, and room for those of the next. Zeroed: empty. One thread at a time. */
struct near_reader {
	uint8_t *folded; /* owns; the text with separators zeroed */
	size_t folded_bytes;
	uint64_t *words; /* owns; hashes, then those of shingles in their place */
	size_t n_words, words_cap;
	uint64_t *shingles; /* owns; as many as words_cap */
};

/* Any bytes; what is no UTF-8 counts as letters. Returns the number of words. */
size_t near_read(struct near_reader *r, const char *text, size_t len);
/* Of the text read last; fills all but `owner`. */
void near_sketch(const struct near_reader *r, uint32_t prompt, struct near_record *out);
void near_reader_release(struct near_reader *r);

/* When two records are of near duplicates. */
struct near_rule {
	unsigned places_min; /* that must agree */
	bool exact; /* and all words */
	bool own_prompt; /* of the same prompt only */
};

/*
 * For texts that share `threshold` of their shingles or more (Jaccard, 0.7 to 1): 99 % of those at a threshold of 0.8 agree in
 * places_min places. At 1: the same words.
 */
void near_rule_init(struct near_rule *rule, double threshold, bool own_prompt);
/* Places that agree. */
unsigned near_places(const struct near_record *a, const struct near_record *b);
/* The same words in the same order. */
bool near_same(const struct near_record *a, const struct near_record *b);

/* What a look-up finds; zeroed: nothing. */
struct near_hit {
	const struct near_record *record; /* borrowed from what was searched */
	unsigned places; /* that agree */
	uint64_t no; /* place of the record in what was searched */
	const char *run; /* borrowed; NULL from a near_set */
};
/* Takes the record if it is likelier than the hit so far, or as likely and earlier, so that the order of offers does not matter. */
void near_offer(struct near_hit *hit, const struct near_rule *rule,
	const struct near_record *wanted, const struct near_record *record, uint64_t no,
	const char *run);
/* The share of shingles that so many equal places tell of; 0 to 1. */
double near_similarity(unsigned places);

#endif
