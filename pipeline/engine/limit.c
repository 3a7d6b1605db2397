/*
 * With gauges. A queue at the server that is longer than what we send ahead means that somebody waits: we give up as many places
 * as requests wait, a quarter of ours at most at a time, so that the limit comes down to what the server works on and not below
 * it. A KV cache that is nearly full costs an eighth, since what is thrown out of it is computed again. While nothing waits, the
 * cache has room and we use all we may, the limit grows: doubling until the server's own limit was met once, then by a 32nd.
 * Nothing is lowered twice for the same queue: what is in flight must first have come down to the limit, and that may take as
 * long as an answer does.
 *
 * Without gauges. Latency per token rises with the load of any server that computes in batches, so a rising latency is no reason
 * to stop; one that rises as fast as the load is. A window of answers gives a rate, limit / (time per token). If of a step up (or
 * down) in the limit less than a third shows in the rate, the step brought (or cost) nothing but waiting, and the limit goes
 * down, else up. So it stays about where the server is just busy, and gives way where others make it slower. A 429 takes a
 * quarter off.
 */
#include "engine/limit.h"

#include "base/attr.h"

#include <math.h>

#define AHEAD_DIVISOR 8 /* of the slots, rounded up */
#define AHEAD_MAX \
	2 /* older llama.cpp has an HTTP thread for each slot and few more, and /health needs one */
#define CACHE_FULL 0.95
#define CACHE_ROOM 0.85
#define WINDOW_ANSWERS 16
#define PAYS 0.33 /* of a relative change of the limit, in the rate */

void limit_init(struct limit *limit, uint32_t fixed, uint32_t slots)
{
	*limit = (struct limit){
		.kind = fixed > 0   ? LIMIT_FIXED
			: slots > 0 ? LIMIT_SLOTS
				    : LIMIT_LATENCY,
		.n = fixed > 0      ? fixed
			: slots > 0 ? slots
				    : LIMIT_START,
		.max = fixed > 0    ? fixed
			: slots > 0 ? slots
				    : LIMIT_MAX,
	};
}

uint32_t limit_ahead(uint32_t n, double burst)
{
	uint32_t least = MIN((n + AHEAD_DIVISOR - 1) / AHEAD_DIVISOR, AHEAD_MAX);

	return MAX(least, (uint32_t)MIN(burst, n / 2));
}

static uint32_t step_of(uint32_t n)
{
	return MAX(n / 8, 1);
}

static void lower(struct limit *limit, uint32_t by)
{
	limit->n = limit->n > by ? limit->n - by : 1;
	limit->met = true;
}

static void raise_by(struct limit *limit, uint32_t by)
{
	limit->n = MIN(limit->n + by, limit->max);
}

void limit_gauges(struct limit *limit, const struct gauges *gauges, uint32_t ours, uint32_t ahead,
	bool wanted)
{
	uint64_t there = (uint64_t)gauges->running + gauges->waiting;
	/* What we have sent since the server counted tells nothing of it. */
	bool seen = 10 * there >= 9 * (uint64_t)limit->n;

	if (limit->kind == LIMIT_FIXED)
		return;
	if (limit->kind == LIMIT_LATENCY)
		limit->kind = LIMIT_GAUGES;
	if (ours > limit->n + ahead)
		return;
	if (gauges->waiting > ahead)
		lower(limit, MIN(gauges->waiting - ahead, MAX(limit->n / 4, 1)));
	else if (gauges->cache >= CACHE_FULL)
		lower(limit, step_of(limit->n));
	else if (gauges->waiting == 0 && gauges->cache < CACHE_ROOM && wanted && seen &&
		ours >= limit->n)
		raise_by(limit, limit->met ? MAX(limit->n / 32, 1) : limit->n);
}

static void close_window(struct limit *limit)
{
	double rate = limit->n / (limit->ms / limit->tokens), pays = 1;
	uint32_t n = limit->n;

	if (limit->last_n != 0 && limit->last_n != n)
		pays = log(rate / limit->last_rate) / log((double)n / limit->last_n);
	limit->last_n = n;
	limit->last_rate = rate;
	limit->n_answers = 0;
	limit->ms = limit->tokens = 0;
	if (pays >= PAYS)
		raise_by(limit, step_of(n));
	else
		lower(limit, step_of(n));
}

void limit_answer(struct limit *limit, double ms, double tokens)
{
	if (limit->kind != LIMIT_LATENCY || ms <= 0 || tokens <= 0)
		return;
	limit->n_answers++;
	limit->ms += ms;
	limit->tokens += tokens;
	if (limit->n_answers >= MAX(limit->n, WINDOW_ANSWERS))
		close_window(limit);
}

void limit_refused(struct limit *limit)
{
	if (limit->kind == LIMIT_FIXED || limit->kind == LIMIT_SLOTS)
		return;
	lower(limit, MAX(limit->n / 4, 1));
	limit->n_answers = 0;
	limit->ms = limit->tokens = 0;
	limit->last_n = 0;
}
