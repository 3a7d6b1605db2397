/* What the files of the dedup stage share: dedup.c decides, dedup_nights.c keeps the index of what was shipped. */
#ifndef STAGES_DEDUP_PRIVATE_H
#define STAGES_DEDUP_PRIVATE_H

#include "near/near_index.h"

struct ledger;
struct run;

/* The sketch of a candidate's text, unless it is pruned. */
MUST_CHECK bool dedup_sketch(struct ledger *ledger, int64_t candidate, struct near_reader *reader,
	struct near_record *out, bool *out_pruned, struct error *err);

/*
 * The index of what earlier runs have shipped, whatever their definition was. Runs that it does not know are added out of their
 * ledgers first, and files that are damaged are made again; NULL if that cannot be. This run and those it was made from (`--from`)
 * are not searched.
 */
MUST_CHECK struct near_index *dedup_open_nights(struct run *run, struct error *err);
/* Writes what the run's ledger says that it ships, in place of what was there of the run. */
MUST_CHECK bool dedup_tell_night(struct run *run, struct error *err);

#endif
