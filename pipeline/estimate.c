#include "estimate.h"

#include "base/attr.h"

/* Where no night tells: four candidates of a thousand tokens, with log probabilities, a quarter of them packed. */
#define TYPICAL_CANDIDATES 4
#define TYPICAL_BYTES 7000
#define LONGER_NIGHT 1.5 /* times what the last one came to, if its budget ended it */
#define CANDIDATE_BYTES \
	400 /* a candidate's rows and their indexes without its body, measured over ledgers of 100,000 */

struct estimate estimate_night(const struct estimate_trial *trial, int64_t n_prompts)
{
	struct estimate e = {0};
	if (trial->n_candidates <= 0 || trial->n_prompts <= 0) {
		return e;
	}
	double per_prompt = (double)trial->n_candidates / (double)trial->n_prompts;
	double share = (double)n_prompts / (double)trial->n_prompts;
	e.candidates = per_prompt * (double)n_prompts;
	e.tokens = (double)trial->n_tokens * share;
	e.ledger_bytes = (double)trial->body_bytes * share + e.candidates * CANDIDATE_BYTES;
	e.shard_bytes = (double)trial->shard_bytes * share;
	e.chosen = (double)trial->n_chosen * share;
	double alone = (double)trial->flow_ms * share;
	double packed = trial->n_slots ? (double)trial->latency_ms / trial->n_slots * share : alone;
	e.ms_min = MIN(alone, packed);
	e.ms_max = MAX(alone, packed);
	return e;
}

double estimate_disk(const struct estimate_past *past, int64_t n_prompts, double tokens)
{
	if (!past || past->n_candidates <= 0 || past->n_prompts <= 0) {
		return (double)n_prompts * TYPICAL_CANDIDATES * TYPICAL_BYTES;
	}
	double past_candidates = (double)past->n_candidates;
	double candidates = past_candidates / (double)past->n_prompts * (double)n_prompts;
	if (past->backlog) {
		candidates = MIN(candidates, LONGER_NIGHT * past_candidates);
	}
	if (tokens > 0 && past->n_tokens > 0) {
		candidates = MIN(candidates, tokens * past_candidates / (double)past->n_tokens);
	}
	return candidates * (double)(past->ledger_bytes + past->shard_bytes) / past_candidates;
}
