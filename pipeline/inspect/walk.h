/*
 * Walks all rows of a folder with their sequences and what the sidecar says of each:
 *
 *	struct walk w;
 *	if (!walk_open(&w, "out/shards/2026-11-24.1", err)) return false;
 *	while (walk_next(&w, err)) {
 *		... w.row, w.seqs, w.values; walk_meta(&w, k, &meta) for sequence k of the row ...
 *	}
 *	walk_close(&w);		// err is set if the walk ended early
 *
 * A row without token ids has seqs.n = 0.
 */
#ifndef PIPELINE_INSPECT_WALK_H
#define PIPELINE_INSPECT_WALK_H

#include "shard/mds_read.h"
#include "shard/sequences.h"

struct decoder;

struct walk {
	struct mds_reader *reader; /* owns */
	/* The current row: */
	uint64_t row; /* in the folder */
	size_t shard;
	uint64_t first_sequence; /* its row of the sidecars, of which each sub-folder has its own */
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct sequences seqs; /* owns */
	/* Private. */
	const char *dir;
	uint64_t next_row, next_sequence;
	uint64_t
		uncounted; /* rows that a seek passed over and whose sequences next_sequence lacks */
	char *part; /* owns; sub-folder of the current row; NULL: none was read yet */
	struct mds_reader *meta, *logprobs; /* own; of the part; NULL: there is none */
	struct slice side_values[MDS_READ_COLUMNS_MAX];
	bool sidecars_sought;
};

/* `dir` is borrowed. */
MUST_CHECK bool walk_open(struct walk *w, const char *dir, struct error *err);
/* False at the end, and when a row cannot be read: then err->kind is not FAIL_NONE. */
bool walk_next(struct walk *w, struct error *err);
/*
 * The next row read is `row`, at the cost of one frame. Asking for its sidecars then costs the reading of all rows before it in
 * its sub-folder. Before the first walk_next only.
 */
MUST_CHECK bool walk_seek(struct walk *w, uint64_t row, struct error *err);
/* After walk_seek: a caller who knows the first_sequence of the row spares the reading. */
void walk_passed_over(struct walk *w, uint64_t first_sequence);
void walk_close(struct walk *w);

/* What the row itself (layout `samples`) or the sidecar OUT/meta/RUN says of one sequence; absent: NULL or len 0. */
struct walk_meta {
	struct slice prompt_id, source, model, verifier;
	struct slice meta; /* JSON */
	int64_t candidate; /* index; -1: not known */
};
/* Of sequence k of the current row; valid until the next call. False: nothing is known. */
bool walk_meta(struct walk *w, size_t k, struct walk_meta *out);
/* Logprobs of the sampled tokens of sequence k, in their order; valid until the next call. False: there are none. */
bool walk_logprobs(struct walk *w, size_t k, struct mds_array *out);

/* OUT/shards/RUN -> OUT/NAME/RUN, malloc'd; NULL if there is no such folder of shards. */
char *walk_sidecar(const char *dir, const char *name);

#endif
