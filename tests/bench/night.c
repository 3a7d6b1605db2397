/* One queue of events, as a heap by time; everything random is drawn from the seed. */
#include "bench/night.h"

#include "base/mem.h"
#include "base/rng.h"
#include "budget.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX 64
#define SOURCES 3
#define JUDGES_MAX 8
#define TICK_MS 250
#define BEGIN_MS INT64_C(1795557600000)

enum what { CANDIDATE_ENDS, CANDIDATE_DECIDED, TICK };

struct event {
	int64_t at_ms;
	enum what what;
	unsigned slot;
	int64_t since_ms;
};

struct slot {
	struct budget_ticket ticket;
	unsigned n_tokens;
	bool busy;
};

struct sim {
	struct rng rng;
	struct budget budget;
	struct slot slots[SLOTS_MAX];
	unsigned n_slots, source_now, left_in_group, group_size;
	double median[SOURCES], spread[SOURCES], cap, tokens_per_s, drift, phase, period_ms;
	unsigned n_judges;
	double judge_ms;
	int64_t judge_free[JUDGES_MAX];
	struct event *heap; /* owns */
	size_t n, cap_heap;
	int64_t begin_ms, busy_ms;
	double tokens_kept, tokens_thrown;
	uint64_t n_at_judge;
	struct night night;
};

static double uniform(struct sim *s, double from, double to)
{
	return from + (to - from) * (double)(rng_next(&s->rng) >> 11) * 0x1p-53;
}

static double normal(struct sim *s)
{
	return sqrt(-2 * log(uniform(s, 1e-12, 1))) * cos(6.283185307179586 * uniform(s, 0, 1));
}

static void push(struct sim *s, struct event e)
{
	s->heap = array_room(s->heap, s->n, &s->cap_heap, sizeof(*s->heap));
	size_t i = s->n++;
	for (; i > 0 && s->heap[(i - 1) / 2].at_ms > e.at_ms; i = (i - 1) / 2) {
		s->heap[i] = s->heap[(i - 1) / 2];
	}
	s->heap[i] = e;
}

static struct event pop(struct sim *s)
{
	struct event first = s->heap[0], last = s->heap[--s->n];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < s->n; i = child) {
		child += child + 1 < s->n && s->heap[child + 1].at_ms < s->heap[child].at_ms;
		if (last.at_ms <= s->heap[child].at_ms) {
			break;
		}
		s->heap[i] = s->heap[child];
	}
	s->heap[i] = last;
	return first;
}

static double speed_at(const struct sim *s, int64_t ms)
{
	return s->tokens_per_s *
		(1 + s->drift * sin(s->phase + 6.283185307179586 * (double)ms / s->period_ms));
}

static void draw_night(struct sim *s)
{
	static const unsigned slots[] = {2, 4, 8, 16, 16, 32, 64};
	s->n_slots = slots[(size_t)uniform(s, 0, ARRAY_LEN(slots))];
	s->night.hours = uniform(s, 3, 10);
	s->cap = exp2(uniform(s, 10, 15)); /* at 15 tokens/s the longest takes 36 minutes */
	for (unsigned i = 0; i < SOURCES; i++) {
		s->median[i] = s->cap / exp2(uniform(s, 1, 5));
		s->spread[i] = uniform(s, 0.4, 1.1);
	}
	s->tokens_per_s = uniform(s, 15, 60);
	s->drift = uniform(s, 0, 0.3);
	s->phase = uniform(s, 0, 6.28);
	s->period_ms = uniform(s, 0.5, 6) * 3.6e6;
	s->group_size = (unsigned)uniform(s, 1, 9);
	s->n_judges = (unsigned)uniform(s, 1, JUDGES_MAX + 1);
	/* From a quick check to one that is busy half of the night. */
	double per_s = s->n_slots * s->tokens_per_s / (s->cap / 8);
	s->judge_ms = 1000 * s->n_judges / per_s * uniform(s, 0.01, 0.5);
	s->budget.reserve_ms = (int64_t)(1000 * uniform(s, 10, 90));
}

/* A group's candidates come one after the other, of one source; near the end, of a source that gets leave. */
static bool next_source(struct sim *s, int64_t now, unsigned *out)
{
	if (s->left_in_group == 0) {
		s->source_now = (unsigned)uniform(s, 0, SOURCES);
		s->left_in_group = s->group_size;
	}
	*out = s->source_now;
	if (budget_ask(&s->budget, now, s->source_now) == BUDGET_GO) {
		s->left_in_group--;
		return true;
	}
	for (unsigned i = 0; i < SOURCES; i++) {
		if (budget_ask(&s->budget, now, i) == BUDGET_GO) {
			*out = i;
			return true;
		}
	}
	return false;
}

static void fill_slots(struct sim *s, int64_t now, bool leave)
{
	unsigned source;
	for (unsigned i = 0; i < s->n_slots && leave; i++) {
		struct slot *slot = &s->slots[i];
		if (slot->busy || !next_source(s, now, &source)) {
			continue;
		}
		double length = s->median[source] * exp(s->spread[source] * normal(s));
		slot->n_tokens = (unsigned)fmax(1, fmin(length, s->cap));
		slot->busy = true;
		double first = 1000 * slot->n_tokens / speed_at(s, now);
		double ms = 1000 * slot->n_tokens / speed_at(s, now + (int64_t)(first / 2)) *
				uniform(s, 0.9, 1.1) +
			uniform(s, 20, 500);
		slot->ticket = (struct budget_ticket){0};
		budget_begin(&s->budget, &slot->ticket, source, now);
		push(s, (struct event){now + (int64_t)ms, CANDIDATE_ENDS, i, now});
	}
}

static void to_judge(struct sim *s, int64_t now)
{
	unsigned first = 0;
	for (unsigned i = 1; i < s->n_judges; i++) {
		first = s->judge_free[i] < s->judge_free[first] ? i : first;
	}
	int64_t begin = s->judge_free[first] > now ? s->judge_free[first] : now;
	s->judge_free[first] = begin + (int64_t)(s->judge_ms * uniform(s, 0.5, 1.5));
	s->n_at_judge++;
	push(s, (struct event){s->judge_free[first], CANDIDATE_DECIDED, 0, now});
}

static void end_candidate(struct sim *s, const struct event *e)
{
	struct slot *slot = &s->slots[e->slot];
	budget_end(&s->budget, &slot->ticket, e->at_ms, slot->n_tokens);
	slot->busy = false;
	s->busy_ms += e->at_ms - e->since_ms;
	s->tokens_kept += slot->n_tokens;
	s->night.n_candidates++;
	to_judge(s, e->at_ms);
}

static void cancel_candidates(struct sim *s, int64_t now)
{
	for (unsigned i = 0; i < s->n_slots; i++) {
		struct slot *slot = &s->slots[i];
		if (slot->busy) {
			double ms = (double)(now - slot->ticket.begun_ms);
			s->tokens_thrown += ms / 1000 * speed_at(s, now);
			s->busy_ms += now - slot->ticket.begun_ms;
			s->night.n_thrown++;
			budget_drop(&s->budget, &slot->ticket, now);
			slot->busy = false;
		}
	}
}

/* To the time at which nothing generates and nothing is verified any more. */
static int64_t run_night(struct sim *s, bool stop_at_drain)
{
	int64_t now = s->begin_ms;
	bool over = false;
	push(s, (struct event){now, TICK, 0, 0});
	while (!(over && !s->n_at_judge) && now < budget_flow_end(&s->budget)) {
		struct event e = pop(s);
		now = e.at_ms;
		if (e.what == CANDIDATE_ENDS && s->slots[e.slot].busy) {
			end_candidate(s, &e);
		} else if (e.what == CANDIDATE_DECIDED) {
			s->n_at_judge--;
			budget_verified(&s->budget, now - e.since_ms);
		} else if (e.what == TICK && (!over || s->n_at_judge)) {
			push(s, (struct event){now + TICK_MS, TICK, 0, 0});
		}
		if (!over && now >= budget_generation_end(&s->budget)) {
			over = true;
			cancel_candidates(s, now);
		}
		fill_slots(s, now,
			!over &&
				(!stop_at_drain ||
					now < budget_generation_end(&s->budget) -
							(int64_t)s->budget.limits.drain_ms));
	}
	return now;
}

void night_simulate(uint64_t seed, bool stop_at_drain, struct night *out)
{
	struct sim *s = xcalloc(1, sizeof(*s));
	rng_seed(&s->rng, seed);
	s->begin_ms = BEGIN_MS;
	budget_init(&s->budget, &(struct budget_limits){.drain_ms = 600000});
	for (unsigned i = 0; i < SOURCES; i++) {
		budget_source(&s->budget, (const char *[]){"a", "b", "c"}[i]);
	}
	draw_night(s);
	int64_t length_ms = (int64_t)(s->night.hours * 3.6e6);
	s->budget.limits.deadline_ms = s->begin_ms + length_ms;
	int64_t flow_over = run_night(s, stop_at_drain);
	/* Select and pack, as expected or quicker: what the reserve is for. */
	int64_t over = flow_over + (int64_t)((double)s->budget.reserve_ms * uniform(s, 0.3, 0.95));
	s->night.n_slots = s->n_slots;
	s->night.used = (double)s->busy_ms / ((double)length_ms * s->n_slots);
	s->night.thrown = s->tokens_thrown / fmax(s->tokens_thrown + s->tokens_kept, 1);
	s->night.ended_early_s = (double)(s->budget.limits.deadline_ms - over) / 1000;
	s->night.n_unverified = s->n_at_judge;
	*out = s->night;
	budget_release(&s->budget);
	free(s->heap);
	free(s);
}
