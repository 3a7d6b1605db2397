/*
 * `thresh fsck`: is everything of a workdir there and whole, and does it fit together? Ledgers, shards and sidecars, the index over
 * all nights, history.db, and what a dead process may have left. What can be made again out of what is sound is repaired when that is
 * asked for; nothing that was generated is ever changed or removed.
 *
 *	struct fsck f = {.def = def, .repair = true, .tell = tell, .ctx = ctx};
 *	if (!fsck_workdir(&f, NULL, err)) ...	// could not be checked
 *	... f.n_faults - f.n_repaired are left ...
 */
#ifndef PIPELINE_FSCK_FSCK_H
#define PIPELINE_FSCK_FSCK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct definition;
struct history;
struct workers;

struct fsck_fault {
	const char *path; /* file or folder, below the workdir's own path */
	const char *what;
	const char *repaired; /* how; NULL: it was not */
	const char
		*remedy; /* what the user can do about one that was not; NULL: nothing is known */
};

struct fsck {
	struct definition *def;
	bool repair;
	void (*tell)(void *ctx, const struct fsck_fault *fault); /* valid during the call */
	void *ctx;
	/* What was found. */
	uint64_t n_runs, n_candidates, n_shards, n_faults, n_repaired;
	/* While it goes on. */
	struct history *history; /* NULL: there is none, or it cannot be read */
	struct workers *workers;
};

/*
 * Takes the workdir's lock. run_id NULL: all runs, and what lies beside them. False: it cannot be checked at all (another thresh is
 * at work, no such run); whatever is wrong in the workdir is a fault and told.
 */
MUST_CHECK bool fsck_workdir(struct fsck *f, const char *run_id, struct error *err);

/* --- between the files of this folder --- */

void fsck_tell(struct fsck *f, const char *path, const char *what, const char *remedy);
void fsck_repaired(struct fsck *f, const char *path, const char *what, const char *how);
/* Something that a dead process has left: removed, if repairs are asked for. */
void fsck_leftover(struct fsck *f, const char *path, const char *what);
/* A folder of shards by itself, and against the ledger of its run if there is one. */
void fsck_shards(struct fsck *f, const char *dir);
/* One run: ledger, folders, record in the history. *out_published: it has shards, and is finished. */
void fsck_run(struct fsck *f, const char *id, bool *out_published);

#endif
