/*
 * What the columns of a row of ours have to do with each other (FORMAT.md, "Columns"), beyond each being a value of its
 * encoding. Which columns a shard has is looked up once, then rows are checked by any thread:
 *
 *	struct packed_plan plan;
 *	packed_plan(&plan, reader, shard, n_vocab);
 *	packed_check(&plan, values, tell, ctx);
 */
#ifndef PIPELINE_SHARD_PACKED_H
#define PIPELINE_SHARD_PACKED_H

#include "shard/mds_read.h"

struct packed_plan {
	const struct mds_read_shard *shard; /* borrows */
	uint64_t n_vocab;
	int tokens, seq_lens, loss_mask, sample_ids, scores; /* columns; -1: there is none */
	int input_ids, labels;
};

/* n_vocab 0: not known. A shard without `tokens` and `seq_lens`, or `input_ids`, is not one of ours: nothing is checked. */
void packed_plan(struct packed_plan *out, const struct mds_reader *r, size_t s, uint64_t n_vocab);

/* Says what is wrong with a row. */
typedef void packed_tell(void *ctx, const char *what);
/*
 * Checks a row whose values are each sound: lengths positive, adding up to the tokens; mask as long as the tokens, of 0 and 1;
 * an id and a score for each sequence; token ids below n_vocab. Tells each kind of mistake once.
 */
void packed_check(
	const struct packed_plan *plan, const struct slice *values, packed_tell *tell, void *ctx);

#endif
