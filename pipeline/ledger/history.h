/* history.db: what nights know of each other. One connection per process, opened while the workdir's lock is held. */
#ifndef PIPELINE_LEDGER_HISTORY_H
#define PIPELINE_LEDGER_HISTORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct history;

/* Made if it is not there. */
MUST_CHECK struct history *history_open(const char *path, struct error *err);
void history_close(struct history *h);
/* True if an earlier run settled the prompt. */
bool history_is_settled(struct history *h, const char *prompt_id);
/* Highest run number recorded; 0 for none. */
int64_t history_last_number(struct history *h);
/* The summary of the run recorded last; malloc'd, NULL: there is none. */
char *history_last_summary(struct history *h);
/*
 * Records a finished run out of its ledger in one transaction; a run that is already recorded is left as it is, so the call
 * may be repeated after a crash.
 */
MUST_CHECK bool history_record(struct history *h, const char *run, int64_t number,
	const char *ledger_path, const char *summary_json, int64_t ended_ms, struct error *err);

/* What SQLite finds wrong with the file, a line each. */
void history_check_file(struct history *h, void (*tell)(void *ctx, const char *what), void *ctx);
/*
 * Holds the record of a finished run against its ledger: a line for each thing in which they differ. *out_recorded false: there is
 * none.
 */
MUST_CHECK bool history_check(struct history *h, const char *run, const char *ledger_path,
	bool *out_recorded, void (*tell)(void *ctx, const char *what), void *ctx,
	struct error *err);

struct history_calibration {
	const char *verifier, *fingerprint, *label;
	int64_t n, done_ms;
	double auc; /* NaN: none */
};
/* Replaces an older one of the same verifier and fingerprint. */
MUST_CHECK bool history_set_calibration(
	struct history *h, const struct history_calibration *c, struct error *err);
bool history_is_calibrated(struct history *h, const char *verifier, const char *fingerprint);

#endif
