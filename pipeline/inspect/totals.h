/* What the summary and the comparison count of a folder, or of several as one data set. */
#ifndef PIPELINE_INSPECT_TOTALS_H
#define PIPELINE_INSPECT_TOTALS_H

#include "base/json.h"
#include "inspect/inspect_print.h"
#include "inspect/walk.h"

#define SOURCES_MAX 64 /* that are told apart; what is beyond is counted together */

struct source_count {
	char *name; /* owns */
	uint64_t n;
};

struct totals {
	uint64_t n_shards, n_rows, n_tokens, n_loss_tokens, n_sequences, raw_bytes, zip_bytes;
	struct numbers lengths, scores;
	struct source_count sources[SOURCES_MAX];
	size_t n_sources;
	uint64_t n_other_sources;
	int64_t context; /* 0: not told */
	bool packed; /* rows are meant to be filled up to `context` */
};

/* A zeroed struct is empty. Files once a folder, then its rows. */
void totals_add_files(struct totals *t, const struct mds_reader *r);
void totals_add_row(struct totals *t, struct walk *w);
void totals_release(struct totals *t);
/* Share of `context` that the rows fill; 0 if they are not meant to. */
double totals_fill(const struct totals *t);
/* Members of an object that the caller has begun. Sorts the numbers. */
void totals_put_json(struct totals *t, struct json_writer *w);

#endif
