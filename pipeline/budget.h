/*
 * May another candidate begin? The controller behind `budget:`. It is told what begins and ends, with times, and answers; it reads no clock,
 * knows no engine and no ledger, so that fifty nights can be simulated in a second (tests/bench/night.c).
 *
 *	budget_init(&b, &limits);
 *	if (budget_ask(&b, now, source) == BUDGET_GO) {
 *		budget_begin(&b, &ticket, source, now);
 *		... budget_end(&b, &ticket, now, n_tokens);	// or budget_drop(): it was cancelled
 *	}
 *	now >= budget_generation_end(&b)	// time to cancel what is generating
 *	now >= budget_flow_end(&b)		// and what is being verified
 *
 * Times are milliseconds of the wall clock, since a deadline is one of people. docs/budget.md argues the policy.
 */
#ifndef PIPELINE_BUDGET_H
#define PIPELINE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct budget_limits {
	int64_t deadline_ms; /* 0: none */
	uint64_t tokens; /* 0: none */
	double energy_wh; /* 0: none */
	uint64_t drain_ms; /* what a candidate is taken to last until some have been seen */
};

enum budget_answer {
	BUDGET_GO,
	BUDGET_WAIT, /* not now: too much is at stake already; ask again */
	BUDGET_LATE, /* it would not be done in time, nor would any later one of this source */
	BUDGET_TOKENS,
	BUDGET_ENERGY,
	BUDGET_DRAINED, /* somebody has asked the night to end; not said by budget_ask() */
};
/* Closed list of reasons why work is left: "deadline", "tokens", "energy", "drain". */
const char *budget_reason(enum budget_answer answer);

#define BUDGET_SOURCES_MAX 32 /* sources beyond are one */
#define BUDGET_BINS 168 /* of lengths, eight to a doubling */

/* A candidate in flight; where it lies must not move. */
struct budget_ticket {
	LIST_ENTRY(budget_ticket) link;
	int64_t begun_ms;
	unsigned source;
	bool open;
	bool ended; /* a request sent once more may hold candidates that have come already */
};

/* How long candidates are, in tokens; a slow one counts as longer. */
struct budget_lengths {
	double n, bins[BUDGET_BINS];
	double left[BUDGET_BINS + 1]; /* share that is longer than the bin's beginning */
};

struct budget {
	struct budget_limits limits;
	char *sources[BUDGET_SOURCES_MAX]; /* own */
	unsigned n_sources;
	struct budget_lengths lengths[BUDGET_SOURCES_MAX + 1]; /* the last: of all together */
	LIST_HEAD(, budget_ticket) flying;
	unsigned n_flying;
	double pace_ms, pace_tokens; /* their ratio: what a token takes, of late */
	double longest; /* candidate so far, in tokens */
	double tokens; /* generated, of the run */
	double tokens_seen; /* of them, those whose end was told here */
	double tokens_thrown; /* about: of candidates that were cancelled */
	uint64_t n_thrown;
	double verify_ms; /* from a candidate's end to its decision, of late, at worst */
	int64_t reserve_ms; /* for what comes after the flow */
	int64_t later_ms; /* for verification that begins when generation has ended */
	double energy_wh;
};

void budget_init(struct budget *b, const struct budget_limits *limits);
void budget_release(struct budget *b);
/* The number of a source's name. */
unsigned budget_source(struct budget *b, const char *name);

enum budget_answer budget_ask(struct budget *b, int64_t now_ms, unsigned source);
/* Whether some source that has been seen would get leave. */
bool budget_has_leave(struct budget *b, int64_t now_ms);
void budget_begin(struct budget *b, struct budget_ticket *t, unsigned source, int64_t now_ms);
void budget_end(struct budget *b, struct budget_ticket *t, int64_t now_ms, uint32_t n_tokens);
/* It was cancelled, and what it had is thrown away. Not open: no-op; the same for the other two. */
void budget_drop(struct budget *b, struct budget_ticket *t, int64_t now_ms);
/* It failed: nothing is learnt from it. */
void budget_forget(struct budget *b, struct budget_ticket *t);
/* A candidate was decided so long after its end. */
void budget_verified(struct budget *b, int64_t ms);
/* Counts of earlier sittings. */
void budget_add_tokens(struct budget *b, double n);

/* INT64_MAX without a deadline. */
int64_t budget_generation_end(const struct budget *b);
int64_t budget_flow_end(const struct budget *b);

#endif
