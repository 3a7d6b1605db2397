/*
 * Making room in a workdir: what nights left that nobody needs after a while. In this order, so that what is missed least goes first:
 *
 *	leftovers of dead processes; texts of candidates that were not shipped; the ledgers' holes; logs of engines and hooks;
 *	if asked for, published shards with their sidecars
 *
 * Rows of the ledgers, the texts of what was shipped and history.db stay. Open runs are left alone. It may be killed at any
 * point and repeated.
 */
#ifndef PIPELINE_PRUNE_H
#define PIPELINE_PRUNE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prune_options {
	int64_t before_ms; /* wall clock: runs that ended before are old */
	bool shards; /* published ones of old runs go as well */
	bool dry; /* only say what would be done; sizes are then estimates */
};

enum prune_fate { PRUNE_OLD, PRUNE_YOUNG, PRUNE_OPEN, PRUNE_UNREADABLE };

struct prune_run {
	char *id; /* owns */
	enum prune_fate fate;
	int64_t n_bodies; /* texts that went */
	int64_t ledger_before, ledger_after; /* bytes */
	int64_t log_bytes, shard_bytes; /* that went */
	bool compacted; /* false where there was nothing to do, or no room for it */
};

struct prune_result {
	struct prune_run *runs; /* owns n */
	size_t n;
	int64_t leftover_bytes;
	int64_t freed_bytes; /* of all of it */
};

/* Takes the workdir's lock. What was done before an error is in *out as well; release in either case. */
MUST_CHECK bool prune(const char *workdir, const char *pipeline,
	const struct prune_options *options, struct prune_result *out, struct error *err);
void prune_result_release(struct prune_result *r);

#endif
