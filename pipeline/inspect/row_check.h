/*
 * Whether a row says what its columns promise, before it becomes training data or a shard with new hashes. A reader shows what
 * it can of a malformed row; who writes one on would hide that it was malformed.
 */
#ifndef PIPELINE_INSPECT_ROW_CHECK_H
#define PIPELINE_INSPECT_ROW_CHECK_H

#include "base/error.h"
#include "shard/packed.h"

struct walk;

/* Zeroed: ready. Of one walk. */
struct row_check {
	struct packed_plan plan; /* of the shard that was checked last */
};

/* Of the current row: each value is one of its encoding, and the columns of ours fit together. FAIL_DATA with the reason. */
MUST_CHECK bool row_check(struct row_check *c, const struct walk *w, struct error *err);

#endif
