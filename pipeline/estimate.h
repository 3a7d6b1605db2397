/*
 * What a night will take, from what a trial of a few prompts took. A trial is short: its slots fill and empty again, so its own
 * tokens/s are too low; and a candidate alone on a slot is faster than one among many. The two bounds are just these.
 */
#ifndef PIPELINE_ESTIMATE_H
#define PIPELINE_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

struct estimate_trial {
	int64_t n_prompts; /* that have at least one candidate */
	int64_t n_candidates, n_tokens; /* generated */
	int64_t latency_ms; /* of all candidates together */
	int64_t flow_ms; /* from the first request to the last answer */
	int64_t body_bytes; /* texts, ids and logprobs as the ledger holds them */
	int64_t n_chosen;
	int64_t shard_bytes; /* compressed, of the chosen ones */
	uint32_t n_slots; /* of the engine that writes */
};

struct estimate {
	double candidates, tokens;
	double ms_min, ms_max; /* of generating */
	double ledger_bytes, shard_bytes, chosen;
};

/* For `n_prompts` prompts. Zeroed if the trial has no candidate. */
struct estimate estimate_night(const struct estimate_trial *trial, int64_t n_prompts);

/* A night that is over. */
struct estimate_past {
	int64_t n_prompts, n_candidates, n_tokens; /* n_prompts: that have all their candidates */
	int64_t ledger_bytes, shard_bytes; /* of its files; sidecars are in the latter */
	bool backlog; /* prompts were left: it ended for want of budget */
};

/*
 * Bytes that a night of so many prompts will write. past NULL: there is none to go by, and what is typical is taken. tokens: that may
 * be generated; 0: no limit.
 */
double estimate_disk(const struct estimate_past *past, int64_t n_prompts, double tokens);

#endif
