/*
 * A section of flow stages at work: brings groups out of the ledger, sends them through waves, keeps what comes back, and
 * ends when every prompt is settled, the budget is spent, or somebody wants to stop.
 */
#ifndef PIPELINE_FLOW_FLOW_H
#define PIPELINE_FLOW_FLOW_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run;
struct stage_def;

/* For progress displays; any time. */
struct flow_stats {
	int64_t n_prompts; /* of the run */
	int64_t n_prompts_left; /* not yet settled */
	int64_t n_candidates, n_accepted, n_failed; /* of the run */
	int64_t n_tokens; /* generated, of the run */
	int64_t n_tokens_sitting; /* since this process began */
	int64_t ms_sitting;
	double tokens_per_s; /* over the last minute */
	int64_t eta_ms; /* until the last prompt is settled, at the pace of this sitting; -1: unknown */
	uint32_t in_flight, waiting; /* candidates at the engines */
	bool stopping, paused, draining;
};

/*
 * Works through stages[0..n). Returns when the flow is over; *out_backlog tells whether prompts were left for want of budget. False: an
 * error, or FAIL_INTERRUPTED after a signal; either way everything that came back is durable and the run can go on.
 * `tick` is called some times a second with the stats; may be NULL.
 */
MUST_CHECK bool flow_run(struct run *run, const struct stage_def *stages, size_t n,
	void (*tick)(void *ctx, const struct flow_stats *stats), void *tick_ctx, bool *out_backlog,
	struct error *err);

/* Prompts that will still be brought to the stages, as far as can be told. */
int64_t flow_prompts_to_come(const struct run *run);
/* Tokens that a candidate of this source will have, by those there are of it, or of any (NULL: of any); 1 if there are none. */
double flow_expected_tokens(const struct run *run, const char *source);
/* So many more candidates (or fewer) are known to be wanted, and the engine has not been asked for them. */
void flow_unasked(struct run *run, int64_t more);
/* A stage has room again (see has_room). */
void flow_wake(struct run *run);
/* From `tick`: stops at once, as a second signal does. flow_run ends with FAIL_INTERRUPTED. */
void flow_interrupt(struct run *run);

#endif
