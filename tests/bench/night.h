/*
 * A simulated night for the budget's controller: slots, sources with long-tailed lengths, an engine whose speed drifts, a judge with
 * a queue, batch stages that take other than expected. No clock, no sleep: the same seed gives the same night.
 */
#ifndef TESTS_BENCH_NIGHT_H
#define TESTS_BENCH_NIGHT_H

#include <stdbool.h>
#include <stdint.h>

struct night {
	unsigned n_slots;
	double hours;
	double used; /* share of the slots' time until the deadline in which they worked */
	double thrown; /* share of the generated tokens that were thrown away */
	double ended_early_s; /* before the deadline; negative: late */
	uint64_t n_candidates, n_thrown, n_unverified;
};

/* `stop_at_drain`: what a fixed time before the deadline would give instead of the controller. */
void night_simulate(uint64_t seed, bool stop_at_drain, struct night *out);

#endif
