/*
 * Which endpoint. Work is put where it is expected to be done first:
 *
 *	time on an endpoint = (1 + its queue / its slots) * mean length * its time per token
 *
 * Speeds within a quarter of each other count as equal, and the emptier endpoint gets the work; so do all as long as one speed is
 * not known. While more work is to come than all slots hold, every slot is filled whatever its speed: that is the most tokens a
 * second.
 *
 * The end is another matter. When what is left (waiting, and to come) would be done by the faster endpoints before a slow one had
 * finished the longest of the answers it works on, the slow one gets nothing more: the night is as long as its last answer. What
 * that length may be is read off the lengths seen so far (pace.h).
 *
 * Stragglers. At the very end, with slots free, an answer under way on a slow endpoint may be begun again on a fast one (same
 * seed, so the same answer). It has written `done` tokens, and is expected to have `left` to go: sent again if (done + left) on
 * the fast one takes clearly less than `left` on the slow one.
 */
#include "engine/engine_private.h"

#include "base/clock.h"

#define AUX_PER_ENDPOINT \
	8 /* small requests in flight: they take HTTP threads of the server, no slots */
#define ALIKE 1.25
#define CLEARLY_LESS 0.7

bool endpoint_is_usable(const struct endpoint *endpoint)
{
	return endpoint->state == ENDPOINT_UP && endpoint->pause == NULL;
}

uint32_t endpoint_slots(const struct endpoint *endpoint)
{
	return MIN(endpoint->limit.n, endpoint->ramp);
}

uint32_t endpoint_ahead(const struct endpoint *endpoint)
{
	return limit_ahead(endpoint_slots(endpoint), endpoint->burst_peak);
}

bool endpoint_speaks(const struct endpoint *endpoint, const struct call *call)
{
	return call->dialect == NULL || call->dialect == endpoint->dialect;
}

bool endpoint_has_room(const struct endpoint *endpoint, enum lane lane, uint32_t weight)
{
	if (endpoint->half_open && endpoint->busy + endpoint->busy_aux > 0)
		return false;
	if (lane == LANE_AUX)
		return endpoint->busy_aux < AUX_PER_ENDPOINT;
	/* A call heavier than the endpoint goes out alone. */
	return endpoint->busy == 0 ||
		endpoint->busy + weight <= endpoint_slots(endpoint) + endpoint_ahead(endpoint);
}

/* Share of the endpoint's slots that are taken. */
static double load(const struct endpoint *endpoint, enum lane lane)
{
	if (lane == LANE_AUX)
		return (double)endpoint->busy_aux / AUX_PER_ENDPOINT;
	return (double)endpoint->busy / endpoint_slots(endpoint);
}

/* Of one more candidate there, against that of a free slot. */
static double queueing(const struct endpoint *endpoint)
{
	double ahead = (double)endpoint->busy + 1 - endpoint_slots(endpoint);

	return 1 + MAX(ahead, 0) / endpoint_slots(endpoint);
}

static bool all_paces_known(const struct engine *engine)
{
	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *endpoint = &engine->endpoints[i];

		if (endpoint_is_usable(endpoint) && endpoint->pace.tokens <= 0)
			return false;
	}
	return true;
}

static struct endpoint *least_loaded(struct engine *engine, enum lane lane, double slowest)
{
	struct endpoint *best = NULL;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		struct endpoint *endpoint = &engine->endpoints[i];

		if (endpoint->passed || !endpoint_is_usable(endpoint) ||
			!endpoint_has_room(endpoint, lane, 1))
			continue;
		if (slowest > 0 &&
			pace_ms_per_token(&endpoint->pace) * queueing(endpoint) > slowest)
			continue;
		if (best == NULL || load(endpoint, lane) < load(best, lane))
			best = endpoint;
	}
	return best;
}

static double first_done(const struct engine *engine, enum lane lane)
{
	double first = 0;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *endpoint = &engine->endpoints[i];
		double time = pace_ms_per_token(&endpoint->pace) * queueing(endpoint);

		if (!endpoint->passed && endpoint_is_usable(endpoint) &&
			endpoint_has_room(endpoint, lane, 1) && (first == 0 || time < first))
			first = time;
	}
	return first;
}

/* Whether the faster ones would be done with all that is left before `endpoint` with one candidate more. */
static bool better_to_wait(
	const struct engine *engine, const struct endpoint *endpoint, enum lane lane)
{
	const struct lengths *lengths = &engine->lengths[lane];
	double mean = lengths_mean(lengths), pace = pace_ms_per_token(&endpoint->pace);
	double longest = lengths_longest(lengths, endpoint_slots(endpoint));
	double rate = 0, fastest = pace;
	double work = mean * ((double)engine->waiting + (double)engine->n_to_come);

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		const struct endpoint *other = &engine->endpoints[i];
		double other_pace = pace_ms_per_token(&other->pace);

		if (!endpoint_is_usable(other) || other->half_open || other_pace * ALIKE > pace)
			continue;
		rate += endpoint_slots(other) / other_pace;
		work += mean * other->busy;
		fastest = MIN(fastest, other_pace);
	}
	return rate > 0 && work / rate + longest * fastest < longest * pace * queueing(endpoint);
}

struct endpoint *choose_endpoint(struct engine *engine, enum lane lane)
{
	bool by_pace = lane != LANE_AUX && engine->n_endpoints > 1 && all_paces_known(engine);
	struct endpoint *best = least_loaded(
		engine, lane, by_pace ? ALIKE * first_done(engine, lane) : 0);

	if (best != NULL && by_pace && engine->n_to_come != UINT64_MAX &&
		better_to_wait(engine, best, lane))
		return NULL;
	return best;
}

/* --- stragglers --- */

/* Where it would be begun again: the fastest that has a slot free, whatever it is sent ahead. */
static struct endpoint *free_and_fast(struct engine *engine, const struct flight *flight)
{
	struct endpoint *best = NULL;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		struct endpoint *endpoint = &engine->endpoints[i];

		if (endpoint == flight->endpoint || !endpoint_is_usable(endpoint) ||
			endpoint->half_open || endpoint->pace.tokens <= 0 ||
			!endpoint_speaks(endpoint, flight->call) ||
			endpoint->busy + flight->weight > endpoint_slots(endpoint))
			continue;
		if (best == NULL ||
			pace_ms_per_token(&endpoint->pace) < pace_ms_per_token(&best->pace))
			best = endpoint;
	}
	return best;
}

/* Time that is won by beginning it again at `endpoint`; 0: none worth it. */
static double gain_of(const struct flight *flight, const struct endpoint *endpoint)
{
	const struct lengths *lengths = &flight->endpoint->engine->lengths[flight->lane];
	double here = pace_ms_per_token(&flight->endpoint->pace);
	double there = pace_ms_per_token(&endpoint->pace);
	double done = flight->begun_ms == 0 || here <= 0
		? 0
		: (double)(clock_mono_ms() - flight->begun_ms) / here;
	double left = lengths_left(lengths, done);
	/* One that has not been measured is as slow as its answer is late. */
	double stays = here > 0 ? left * here : (double)(clock_mono_ms() - flight->sent_ms);
	double goes = (done + left) * there;

	return goes < CLEARLY_LESS * stays ? stays - goes : 0;
}

struct call *choose_straggler(struct engine *engine, struct endpoint **out_endpoint)
{
	struct call *best = NULL;
	double most = 0;

	for (size_t i = 0; i < engine->n_endpoints; i++) {
		struct flight *flight;

		TAILQ_FOREACH(flight, &engine->endpoints[i].flying, link)
		{
			struct endpoint *to;
			double gain;

			/* A stream is read as it comes, from one endpoint. */
			if (flight->lane == LANE_AUX || flight->call == NULL ||
				flight->call->cancelled || flight->call->hedge != NULL ||
				flight->call->chunk != NULL)
				continue;
			to = free_and_fast(engine, flight);
			gain = to != NULL ? gain_of(flight, to) : 0;
			if (gain > most) {
				most = gain;
				best = flight->call;
				*out_endpoint = to;
			}
		}
	}
	return best;
}
