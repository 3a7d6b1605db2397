/*
 * Packing: which samples share a row of at most `context` tokens. Best-fit decreasing, worked out on the histogram of
 * lengths, so that it costs one counting pass over the samples and next to nothing after that.
 *
 *	struct packing p;
 *	pack_lengths(lengths, n, &(struct packing_options){.context = 2048, .seed = seed}, &p);
 *	for (size_t r = 0; r < p.n_rows; r++)
 *		for (size_t k = p.row_starts[r]; k < p.row_starts[r + 1]; k++)
 *			... sample p.items[k] ...
 *	packing_release(&p);
 *
 * The result depends on lengths, options and their order alone. Nothing is cut: a length above the context is the caller's
 * affair, who drops or refuses it first.
 */
#ifndef PIPELINE_SHARD_PACKING_H
#define PIPELINE_SHARD_PACKING_H

#include <stddef.h>
#include <stdint.h>

struct packing_options {
	uint32_t context; /* tokens a row may have, 1 to 2^24 */
	uint32_t row_sequences_max; /* cap on samples in a row; 0: none */
	uint64_t seed; /* of the shuffle of rows; without it rows would come sorted by length */
};

struct packing {
	size_t n_rows, n_items;
	uint32_t *row_starts; /* owns; n_rows + 1 positions in items */
	uint32_t *
		items; /* owns; indices into the lengths, each exactly once, longest first within a row */
	uint64_t n_tokens;
};

/* `lengths` in id order, each from 1 to the context (asserted); n below 2^32. n = 0 gives 0 rows. */
void pack_lengths(const uint32_t *lengths, size_t n, const struct packing_options *options,
	struct packing *out);
void packing_release(struct packing *p);
/* Tokens by room for tokens, 0 to 1. */
double packing_fill(const struct packing *p, uint32_t context);

#endif
