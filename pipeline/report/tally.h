/*
 * What the page counts that the summary does not: one walk over all candidates and scores into bins, reasons, pairs of verdicts
 * and a bounded sample, so that memory is the same for a hundred candidates and for millions.
 */
#ifndef PIPELINE_REPORT_TALLY_H
#define PIPELINE_REPORT_TALLY_H

#include "base/error.h"
#include "ledger/ledger_report.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;
struct ledger_verifier;

#define TALLY_BINS 24 /* of lengths and scores */
#define TALLY_SPEED_BINS 96
#define TALLY_VERIFIERS_MAX 16
#define TALLY_REASONS_MAX \
	32 /* of a verifier; what an `exec` program says beyond these is counted with the last */
#define TALLY_EXAMPLES 3 /* rejected candidates kept of each reason */
#define TALLY_STRATA_MAX 32
#define TALLY_PICKS_MAX 160 /* candidates kept of each stratum */

/* In the order in which they are stacked and listed. */
enum state { STATE_ACCEPTED, STATE_REJECTED, STATE_UNDECIDED, STATE_FAILED, STATE_PENDING };
#define N_STATES 5
extern const char *const state_names[N_STATES];

struct tally_pick {
	uint64_t hash; /* of the id */
	int64_t candidate;
};
/* Those with the smallest hashes: a sample that is the same each time, whatever the order. */
struct tally_picks {
	size_t n, max;
	struct tally_pick list[TALLY_PICKS_MAX]; /* by hash, once tally_read is done */
};

struct tally_reason {
	char name[64]; /* cut if longer */
	int64_t n[N_STATES]; /* by the candidate's state */
	struct tally_picks *examples; /* owns; rejected candidates */
};

struct tally_verifier {
	const char *name; /* borrowed */
	double low, high; /* of the bins */
	bool has_shades; /* more than the two values 0 and 1 */
	bool is_verdict; /* says from 0 to 1 how right a candidate is */
	int64_t n[N_STATES], bins[N_STATES][TALLY_BINS]; /* of known scores */
	struct tally_reason *reasons; /* owns */
	size_t n_reasons;
};

/* Two verdicts on the same candidate; a score from 0.5 on says yes. */
struct tally_pair {
	size_t a, b; /* verifiers */
	int64_t n[2][2]; /* [a says yes][b says yes] */
};

/* Candidates of one state and reason. */
struct tally_stratum {
	enum state state;
	char reason[32];
	int64_t n;
	struct tally_picks picks;
};

/* Prompts by the share of their candidates that was accepted: none, up to a quarter, .. less than all, all. */
#define TALLY_RATES 6
struct tally_rate {
	int64_t n_prompts, n_candidates, n_accepted;
};

struct tally {
	struct ledger_extent extent;
	double length_high; /* of the bins, which begin at 0 */
	int64_t n[N_STATES], lengths[N_STATES][TALLY_BINS];
	double tokens[2][TALLY_SPEED_BINS]; /* [accepted]; over extent.begin_ms .. end_ms */
	struct tally_rate rates[TALLY_RATES];
	struct tally_verifier *verifiers; /* owns */
	size_t n_verifiers;
	struct tally_pair *pairs; /* owns */
	size_t n_pairs;
	struct tally_stratum *strata; /* owns */
	size_t n_strata;
};

/* `verifiers` are the ledger's (ledger_verifiers), whose names must outlive the tally. */
MUST_CHECK bool tally_read(struct tally *t, struct ledger *l,
	const struct ledger_verifier *verifiers, size_t n_verifiers, struct error *err);
void tally_release(struct tally *t);

/* Where an axis ends that begins at 0 and has room for max: a round number; 1 if max is not above 0. */
double tally_round_up(double max);

#endif
