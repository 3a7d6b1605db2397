/* The funnel of a run, out of its ledger alone: for the end of `thresh run`, for `thresh status`, and as JSON. */
#ifndef PIPELINE_SUMMARY_H
#define PIPELINE_SUMMARY_H

#include "base/json.h"

#include <stdbool.h>
#include <stdio.h>

struct ledger;

struct summary_facts {
	int64_t n_prompts, n_pending, n_settled, n_prompts_failed;
	int64_t n_candidates, n_candidates_pending, n_accepted, n_rejected, n_undecided, n_failed;
	int64_t n_scores_failed; /* null because a verifier failed */
	int64_t tokens_generated, tokens_accepted, n_chosen, tokens_chosen;
	int64_t n_repeats; /* not chosen, as they had been before */
	int64_t n_told, tokens_sent,
		tokens_read; /* of prompts, as far as servers tell what they read */
	int64_t flow_ms; /* time of the generating section */
	bool finished, held; /* neither: it goes on, or can */
};

MUST_CHECK bool summary_read(struct ledger *l, struct summary_facts *out, struct error *err);
/* One JSON object. */
MUST_CHECK bool summary_json(struct ledger *l, struct json_writer *w, struct error *err);
/* The table for people. */
MUST_CHECK bool summary_print(struct ledger *l, FILE *out, struct error *err);

#endif
