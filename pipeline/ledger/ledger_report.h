/* What the morning's page reads of a night: every candidate once, narrowly and in order, without its text; and the nights before. */
#ifndef PIPELINE_LEDGER_LEDGER_REPORT_H
#define PIPELINE_LEDGER_LEDGER_REPORT_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

/* Between the two, a connection that only reads sees one state, whatever a running night writes meanwhile. */
MUST_CHECK bool ledger_begin_reading(struct ledger *l, struct error *err);
void ledger_end_reading(struct ledger *l);

/* Bounds that histograms need before the walk. All 0 without candidates. */
struct ledger_extent {
	int64_t begin_ms,
		end_ms; /* wall clock: the first request sent, the last candidate stored */
	uint32_t n_tokens_max;
};
MUST_CHECK bool ledger_get_extent(struct ledger *l, struct ledger_extent *out, struct error *err);

/* A candidate with one of its scores. Borrowed for the call. */
struct ledger_row {
	int64_t candidate, prompt;
	const char *state, *reason;
	uint32_t n_tokens;
	int64_t latency_ms, created_ms;
	const char *verifier; /* NULL: it has no score, and what follows is not set */
	const char *score_reason;
	bool known, audit;
	double value;
};
/* Candidates by id, their scores by verifier: as many calls as it has scores, one if it has none. */
MUST_CHECK bool ledger_each_row(struct ledger *l,
	void (*visit)(void *ctx, const struct ledger_row *row), void *ctx, struct error *err);

/* What the run was made with, at most `max` values (0: all): stages' parameters, then engines and programs. Borrowed for the call. */
MUST_CHECK bool ledger_each_setting(struct ledger *l, size_t max,
	void (*visit)(void *ctx, const char *of, const char *path, const char *value), void *ctx,
	struct error *err);

/* --- history.db, read only --- */

struct past_run {
	const char *run;
	int64_t number, ended_ms; /* a run made from another (--from) may have its number */
	const char *summary; /* JSON */
};
/* The last `max` runs that are over, oldest first, in the arena; none if there is no such file. */
MUST_CHECK bool past_runs(const char *path, size_t max, struct arena *arena, struct past_run **out,
	size_t *out_n, struct error *err);

#endif
