/* Comparing a published folder with the ledger of the run that made it. */
#ifndef PIPELINE_INSPECT_INSPECT_LEDGER_H
#define PIPELINE_INSPECT_INSPECT_LEDGER_H

#include "shard/mds_read.h"

/*
 * WORKDIR/shards/RUN, meta/RUN or logprobs/RUN against WORKDIR/runs/RUN/ledger.db: are these the shards that were recorded, and
 * has each planned candidate its place, tokens and score? `fault` is called for each difference. *out_checked is false, and
 * nothing is compared, if there is no such ledger. The folder itself must be sound. False: the ledger cannot be read.
 */
MUST_CHECK bool inspect_ledger(
	const char *dir, mds_fault_cb *fault, void *ctx, bool *out_checked, struct error *err);

#endif
