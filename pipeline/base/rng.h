/* Seeded random numbers (splitmix64): same seed, same sequence, on every machine. Nothing in the program draws from elsewhere. */
#ifndef PIPELINE_BASE_RNG_H
#define PIPELINE_BASE_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state;
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, n), n > 0, without modulo bias. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* Uniform in [0, 1). */
double rng_unit(struct rng *r);

#endif
