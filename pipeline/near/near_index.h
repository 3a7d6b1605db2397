/*
 * All that was shipped, as sketches: a folder of one file a night (segment.h), and `tables`, hash tables over all of them
 * (table.h), which are made of the files and made anew whenever they are not there, damaged, or of other files.
 *
 *	struct near_index *index = near_index_open("out/near", &options, err);
 *	if (near_index_find(index, &record, &rule, &hit)) ...	// hit.run, hit.record->owner
 *	near_index_close(index);
 *
 * One process at a time: the folder is locked while an index is open, or FAIL_IO names who has it.
 */
#ifndef PIPELINE_NEAR_NEAR_INDEX_H
#define PIPELINE_NEAR_NEAR_INDEX_H

#include "base/error.h"
#include "near/segment.h"
#include "near/sketch.h"

struct near_index;

struct near_index_options {
	/*
	 * A night's file cannot be used, `why` says why not: publish another, or fail with what the user can do. NULL:
	 * the error is `why`.
	 */
	bool (*remake)(void *ctx, const char *run, const struct error *why, struct error *err);
	void *ctx;
	int64_t ignored; /* number of a run whose files are not searched; 0: all are */
};

/* Makes the folder if it is not there. NULL on failure. */
MUST_CHECK struct near_index *near_index_open(
	const char *dir, const struct near_index_options *options, struct error *err);
void near_index_close(struct near_index *ix);
uint64_t near_index_records(const struct near_index *ix);
/* Without those of the ignored run. */
uint64_t near_index_searched(const struct near_index *ix);
/* Records whose tables were made by this open: all, if they were made anew. */
uint64_t near_index_added(const struct near_index *ix);
/* The likest that the rule allows; of equals the earliest. Of a crowd that table.h leaves out some, the likest of the others. */
bool near_index_find(const struct near_index *ix, const struct near_record *wanted,
	const struct near_rule *rule, struct near_hit *out);

/*
 * For fsck: tells every file in the folder that is not whole, changes nothing. A fault of `tables` costs time only: the file may be
 * removed, and is made anew. A missing folder has no faults.
 */
typedef void near_fault_cb(void *ctx, const char *what);
MUST_CHECK bool near_index_check(
	const char *dir, near_fault_cb *fault, void *ctx, struct error *err);

#endif
