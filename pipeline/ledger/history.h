/*
 * history.db: what nights know of each other. One connection per process, opened while the workdir's lock is held; commands
 * that only read may open it beside a night.
 *
 * A night is a run and those made from it by `--from`: they have one number, and what is counted of a prompt is that of the last
 * of them. A held run, whose gate said no, is listed and counts nowhere else.
 */
#ifndef PIPELINE_LEDGER_HISTORY_H
#define PIPELINE_LEDGER_HISTORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct history;

/*
 * Made if it is not there; one of an older version is brought up to date, in one transaction. FAIL_DATA for a newer or a foreign
 * file.
 */
MUST_CHECK struct history *history_open(const char *path, struct error *err);
void history_close(struct history *h);

/* --- prompts --- */

/* What is known of a prompt; zeroed for one that no night has tried. */
struct history_prompt {
	bool known, settled;
	int64_t n_runs, n_candidates, n_decided, n_accepted;
	/* Of the model that tried it last. */
	int64_t model_decided, model_accepted;
	char model_hash[33]; /* "": not known */
	char model[128]; /* its name, cut if it is longer */
	char last_run[65];
};
void history_prompt(struct history *h, const char *prompt_id, struct history_prompt *out);
/* True if an earlier run settled the prompt. */
bool history_is_settled(struct history *h, const char *prompt_id);
/* True if a night before `number` shipped the candidate with this hash (ledger_sampled). */
bool history_is_shipped(struct history *h, int64_t hash, int64_t number);

/* Known prompts by the pass rate of the model that tried them last: 0; ten bands, each with its upper end, but for 1; 1. */
#define HISTORY_BANDS 12
struct history_bands {
	int64_t n_prompts, n_undecided, n[HISTORY_BANDS];
};
MUST_CHECK bool history_bands(struct history *h, struct history_bands *out, struct error *err);

/* --- runs --- */

/* Highest run number recorded; 0 for none. */
int64_t history_last_number(struct history *h);
/* The summary of the night finished last; malloc'd, NULL: there is none. */
char *history_last_summary(struct history *h);
struct history_run {
	const char *run;
	int64_t number, ended_ms;
	bool held;
	const char *summary; /* JSON */
};
/* The newest `n` runs (0: all), oldest first; what is passed is valid during the call. */
MUST_CHECK bool history_each_run(struct history *h, uint64_t n,
	bool (*visit)(void *ctx, const struct history_run *run, struct error *err), void *ctx,
	struct error *err);
/* The run that a night of this number is held against: the last finished one of an earlier number. False: there is none. */
MUST_CHECK bool history_previous(struct history *h, int64_t number,
	void (*visit)(void *ctx, const struct history_run *run), void *ctx);

/*
 * Records a run out of its ledger in one transaction; one that is already recorded as finished is left as it is, so the call
 * may be repeated after a crash. A held run may be recorded again, as held or as finished. Who wrote the candidates is what
 * the ledger knows of its `writer` (meta: name of an engine).
 */
MUST_CHECK bool history_record(struct history *h, const struct history_run *run,
	const char *ledger_path, struct error *err);

/* --- calibration --- */

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
