/*
 * The columns of a folder that is written again, and the rows that go into them: the same ones sorted by name, or those of the
 * layout `samples`, a row a sequence. Columns are the same for all shards, as our writer has it.
 */
#ifndef PIPELINE_INSPECT_ROW_COLUMNS_H
#define PIPELINE_INSPECT_ROW_COLUMNS_H

#include "shard/mds.h"
#include "shard/mds_read.h"

struct walk;

#define ROW_COLUMNS_LAYOUT 8 /* that the layout `samples` has at most */

struct row_columns {
	struct mds_column columns[MDS_COLUMNS_MAX];
	size_t n;
	/* Private. */
	bool samples;
	size_t shard; /* that `order` is of; SIZE_MAX: none yet */
	unsigned order[MDS_COLUMNS_MAX]; /* index of each column in the shard that is read */
	unsigned fields[ROW_COLUMNS_LAYOUT]; /* of the layout: which one each column is */
	enum mds_dtype ids_dtype;
	struct str scratch[2]; /* own; values that are made */
};

/*
 * Borrows names from the reader, for as long. FAIL_DATA naming shard and column if the shards differ, or if a column can not be
 * written. What the layout has beyond ids depends on the first row, and on whether `dir` has sidecars.
 */
MUST_CHECK bool row_columns_init(struct row_columns *c, const char *dir, const struct mds_reader *r,
	bool samples, struct error *err);
void row_columns_release(struct row_columns *c);

/* Takes the values of one row, in the order of the columns; they are valid during the call. */
typedef bool row_columns_sink(void *ctx, const struct slice *values, struct error *err);
/* The rows that the current row of a walk becomes. FAIL_DATA if it cannot be said in the layout. */
MUST_CHECK bool row_columns_put(struct row_columns *c, struct walk *w, row_columns_sink *sink,
	void *ctx, struct error *err);

#endif
