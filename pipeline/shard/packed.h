/*
 * What the columns of a packed row have to do with each other (FORMAT.md, "Columns"), beyond each being a value of its
 * encoding: for each row, after mds_reader_verify has found the shard sound,
 *
 *	mds_reader_sample(r, i, values, &shard, err) && packed_check(r, shard, values, n_vocab, fault, ctx);
 */
#ifndef PIPELINE_SHARD_PACKED_H
#define PIPELINE_SHARD_PACKED_H

#include "shard/mds_read.h"

/*
 * Checks the sample that was read last, of shard s: lengths positive, adding up to the tokens; mask as long as the tokens, of
 * 0 and 1; an id and a score for each sequence; token ids below n_vocab (0: not known). Tells each kind of mistake once and
 * returns how many there were. A row without `tokens` and `seq_lens` is not a packed one, and has none.
 */
unsigned packed_check(const struct mds_reader *r, size_t s, const struct slice *values,
	uint64_t n_vocab, mds_fault_cb *fault, void *ctx);

#endif
