/*
 * What the choice of an endpoint rests on: how long answers are, and how fast an endpoint writes. No clock, no I/O; all in tokens
 * and milliseconds. Zeroed structs are valid and know nothing.
 */
#ifndef PIPELINE_ENGINE_PACE_H
#define PIPELINE_ENGINE_PACE_H

#include <stdint.h>

#define LENGTHS_BINS 96 /* four to an octave: up to 2^24 tokens */

/* Lengths of answers seen, counted in bins that grow with the length. */
struct lengths {
	uint32_t n;
	double sum;
	struct {
		uint32_t n;
		double sum;
	} bins[LENGTHS_BINS];
};

void lengths_add(struct lengths *lengths, double tokens);
/* 1 while nothing has been seen. */
double lengths_mean(const struct lengths *lengths);
/* Tokens that an answer which has `done` already is expected to go on for: the longer it is, the longer it will be. */
double lengths_left(const struct lengths *lengths, double done);
/* Length of the longest that is expected among n answers. */
double lengths_longest(const struct lengths *lengths, uint32_t n);

/* Time that one answer takes for one token, over the last answers; those of long answers count for more. */
struct pace {
	double ms, tokens;
};

void pace_add(struct pace *pace, double ms, double tokens);
/* 0: unknown. */
double pace_ms_per_token(const struct pace *pace);

#endif
