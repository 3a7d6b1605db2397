/*
 * The sequences of one row, the same way for every layout: `packed` (many in a row, with a mask), `samples` (prompt ids and
 * response ids apart), and what other writers have (tokens alone, or input_ids with labels of -100).
 *
 *	struct sequences s = {0};
 *	while (mds_reader_sample(r, i++, values, &shard, err)) {
 *		if (sequences_read(&s, r, shard, values)) {
 *			for (size_t k = 0; k < s.n; k++) ... s.ids[s.starts[k]] to s.ids[s.starts[k + 1]] ...
 *		}
 *	}
 *	sequences_release(&s);
 */
#ifndef PIPELINE_SHARD_SEQUENCES_H
#define PIPELINE_SHARD_SEQUENCES_H

#include "shard/mds_read.h"

struct sequences {
	size_t n; /* at least 1 */
	size_t *starts; /* owns; n + 1, in ids and mask */
	uint32_t *ids; /* owns; of the row's tokens, back to back; one beyond u32 is UINT32_MAX */
	uint8_t *mask; /* owns; 1: trained on. All 1 if the row has no mask. */
	uint64_t *sample_ids; /* owns; n, if has_sample_ids */
	double *scores; /* owns; n, NaN: none; if has_scores */
	bool has_mask, has_sample_ids, has_scores;
	size_t ids_cap, n_cap; /* private */
};

/*
 * Reads the row whose values are given, of shard s. False: it has no token ids. Lengths that do not add up are cut to the
 * tokens that are there: telling so is packed_check's.
 */
bool sequences_read(
	struct sequences *s, const struct mds_reader *r, size_t shard, const struct slice *values);
void sequences_release(struct sequences *s);

#endif
