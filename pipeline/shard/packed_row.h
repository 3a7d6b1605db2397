/*
 * A row of the packed layout in the making (FORMAT.md, "Columns"): sequences one after the other, then its values.
 *
 *	packed_row_init(&row, wide);
 *	packed_row_reset(&row);
 *	packed_row_add(&row, prompt_ids, n_prompt_ids, ids, n_ids, sample_id, score);	// once a sequence
 *	packed_row_values(&row, values);
 *	mds_shard_add(shard, values);
 */
#ifndef PIPELINE_SHARD_PACKED_ROW_H
#define PIPELINE_SHARD_PACKED_ROW_H

#include "shard/mds.h"

#define PACKED_N_COLUMNS 5

struct packed_row {
	bool wide; /* ids are uint32; else uint16 */
	size_t n_tokens, n_sequences;
	struct str columns
		[PACKED_N_COLUMNS]; /* own; values behind room for the header of their array */
};

/* Sorted by name. */
const struct mds_column *packed_columns(bool wide);
void packed_row_init(struct packed_row *row, bool wide);
void packed_row_release(struct packed_row *row);
void packed_row_reset(struct packed_row *row);
/* Ids of the prompt are not trained on, those that were sampled are. Without `wide` all are below 65,536 (asserted). */
void packed_row_add(struct packed_row *row, const uint32_t *prompt_ids, size_t n_prompt_ids,
	const uint32_t *ids, size_t n_ids, uint64_t sample_id, float score);
/* Appends ids as they stand in an array, which is what packed_row_add does. */
void packed_put_ids(struct str *out, bool wide, const uint32_t *ids, size_t n);
/* values[0..PACKED_N_COLUMNS), which borrow from the row until it is changed; it must have a token. */
void packed_row_values(struct packed_row *row, struct slice *values);

#endif
