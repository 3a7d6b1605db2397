/*
 * How many candidates one endpoint is given at a time. Four ways to find out, the first that applies:
 *
 *	LIMIT_FIXED	the definition says so (`concurrency`)
 *	LIMIT_SLOTS	the server has told its slots (llama.cpp): all of them, less what others use
 *	LIMIT_GAUGES	the server tells what runs and what waits (vLLM, SGLang): as much as it takes without a queue
 *	LIMIT_LATENCY	it tells nothing: as much as still brings more tokens a second
 *
 * No clock, no I/O: the endpoint calls it with what it sees. See limit.c for the rules.
 */
#ifndef PIPELINE_ENGINE_LIMIT_H
#define PIPELINE_ENGINE_LIMIT_H

#include "engine/gauges.h"

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_START 16 /* of a server of which nothing is known */
#define LIMIT_MAX 1024

enum limit_kind { LIMIT_FIXED, LIMIT_SLOTS, LIMIT_GAUGES, LIMIT_LATENCY };

struct limit {
	enum limit_kind kind;
	uint32_t n; /* the limit, at least 1 */
	uint32_t max;
	bool met; /* LIMIT_GAUGES: the server's own limit has been met, no doubling any more */
	/* LIMIT_LATENCY: the answers of the window that goes on, and what the last one gave. */
	uint32_t n_answers;
	double ms, tokens;
	uint32_t last_n;
	double last_rate;
};

/* `fixed` and `slots` are 0 where there are none. */
void limit_init(struct limit *limit, uint32_t fixed, uint32_t slots);
/*
 * How many more than n are sent, so that a slot which falls free has work at once. `burst`: answers that we find together, since
 * we (or the machine) had been busy with something else; 0: not known.
 */
uint32_t limit_ahead(uint32_t n, double burst);
/*
 * The server's gauges came. `ours`: candidates that we had there meanwhile, `ahead` of them sent ahead; `wanted`: more of ours
 * wait.
 */
void limit_gauges(struct limit *limit, const struct gauges *gauges, uint32_t ours, uint32_t ahead,
	bool wanted);
/* An answer came while the limit was what held us back. */
void limit_answer(struct limit *limit, double ms, double tokens);
/* The server refused a request since it has too many (429). */
void limit_refused(struct limit *limit);

#endif
