/*
 * How many candidates a prompt gets. Decisions are made at the end of a wave, from what the prompt's candidates are by then, and from
 * nothing else: no clock, no order of arrival, no other prompt. So a resumed run decides as the first did.
 */
#ifndef STAGES_GENERATE_PLAN_H
#define STAGES_GENERATE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct candidates_plan {
	uint32_t min; /* of the first wave */
	uint32_t max;
	uint32_t wave; /* of each further one; 0: as min */
	uint32_t stop_after; /* accepted candidates that are enough; 0: up to max in any case */
	/* Give up once the pass rate is below this, at this confidence; 0: never. */
	double worthwhile, confidence;
};

/*
 * `n` candidates are decided, so many of them accepted or rejected; the others (undecided, failed) say nothing of the pass rate. Returns how many
 * there shall be after the next wave, or `n` and why not more: "enough", "all", "gave_up".
 */
size_t candidates_next(const struct candidates_plan *plan, size_t n, size_t n_accepted,
	size_t n_rejected, const char **out_reason);

/*
 * The pass rate is below `worthwhile` at this confidence: so few accepted ones (or fewer) of `n` would be seen with a probability below
 * 1 - confidence if it were `worthwhile`. The same as asking whether the one-sided Clopper-Pearson upper bound lies below it.
 */
bool candidates_hopeless(size_t n_accepted, size_t n, double worthwhile, double confidence);

/* The fewest candidates, all of them rejected, after which that is so. */
size_t candidates_hopeless_after(double worthwhile, double confidence);

/*
 * For an engine that keeps a prompt in the slot which has read it, and nowhere else: how many candidates of a prompt to ask for in one
 * request, which reads the prompt once, when `n_idle` slots are idle, `n_others` further prompts want some of them, and `n_missing`
 * candidates of this one are missing. One while there are prompts for all slots: the others follow it in its slot.
 */
uint32_t candidates_at_once(uint32_t n_idle, uint64_t n_others, uint32_t n_missing);

#endif
