#include "estimate.h"

#include "base/attr.h"

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
