/*
 * A prompt and its candidates: the unit of scheduling. A group owns one arena; everything that its prompt and candidates point
 * to lives there and dies with the group. Only one thread works on a group at a time: the loop's, or a worker that the loop
 * handed one candidate to (which then writes to that candidate's scores only).
 */
#ifndef PIPELINE_GROUP_H
#define PIPELINE_GROUP_H

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"
#include "engine/engine.h"

#include <stdbool.h>
#include <stdint.h>

#define CANDIDATES_MAX 4096 /* of one prompt; also the factor in a candidate's id */

struct prompt {
	int64_t id; /* place in the draw, from 1; the same whatever happens later */
	const char *prompt_id; /* 32 hex digits of its content: stable over runs and files */
	const char *source; /* name of the source it was drawn from */
	const struct json *fields; /* the mapped row; freed with the group */
	const uint32_t *ids; /* rendered and tokenized, n_ids; NULL until generate has asked */
	size_t n_ids;
};

/* What a verifier found: a finite number or "could not tell", never a decision. */
struct score {
	bool known; /* false: null */
	double value;
	const char *reason; /* one word of the verifier's list: static or in the group's arena */
	const char *detail; /* free text or JSON; NULL: none */
	bool audit; /* `when` had not asked for it: kept, and invisible to every expression */
	uint32_t n_tokens; /* given to a model and by it, for the cost; 0: none */
	int64_t us; /* time it took; 0: the verify stage sets it */
};

enum candidate_state {
	CANDIDATE_PENDING,
	CANDIDATE_ACCEPTED,
	CANDIDATE_REJECTED,
	CANDIDATE_UNDECIDED,
	CANDIDATE_FAILED
};
/* "pending", "accepted", ...: as in the ledger. */
const char *candidate_state_name(enum candidate_state state);

struct candidate {
	struct group *group;
	uint32_t idx; /* 0 .. within its prompt */
	uint32_t wave;
	uint32_t seed;
	struct slice text;
	const uint32_t *ids; /* n_ids; EOS included when finish is FINISH_STOP */
	size_t n_ids;
	const float *logprobs; /* n_ids or NULL */
	uint32_t n_tokens;
	enum finish finish;
	bool retokenized;
	const char *endpoint;
	uint32_t attempts, latency_ms;
	enum candidate_state state;
	const char *reason; /* why it failed, was rejected or is undecided; NULL while pending */
	const char *detail; /* the error's text, or the columns that were null */
	struct score *scores; /* one per verifier instance, in definition order */
	bool *scored; /* which of them have been filled */
	bool has_stored; /* the ledger has scores of an earlier sitting: the next decision replaces them */
	bool length_known; /* accepted, and its length was counted by the generate stage */
	size_t stage; /* the flow stage that has it */
};

/* A candidate's id in the ledger and in the shards. */
static inline int64_t candidate_id(int64_t prompt, uint32_t idx)
{
	return prompt * CANDIDATES_MAX + idx;
}

struct group {
	struct arena arena;
	struct prompt prompt;
	struct candidate *
		*candidates; /* by idx; n_candidates, NULL while asked for and not there */
	size_t n_candidates, n_reserved;
	uint32_t wave; /* the one in progress */
	void *flow; /* the runner's */
	void *generate; /* the producing stage's */
	void **prepared; /* per verifier instance: what its prepare() returned */
};

/* A zeroed candidate in the group's arena, with room for its scores; not yet in group->candidates. */
struct candidate *group_new_candidate(struct group *group, size_t n_verifiers, uint32_t idx);
/* Makes room for n places in group->candidates; new ones are NULL. Does not change n_candidates. */
void group_reserve(struct group *group, size_t n);

#endif
