/*
 * `budget.deadline`, in its three forms: a time of day ("06:00"), a moment ("2026-11-25 06:00"), a time from the run's beginning on
 * ("8h"). Local times.
 */
#ifndef PIPELINE_DEADLINE_H
#define PIPELINE_DEADLINE_H

#include "base/clock.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct run;

struct deadline {
	enum { DEADLINE_DAILY, DEADLINE_MOMENT, DEADLINE_AFTER } kind;
	struct clock_local at; /* of the first only hour and minute */
	uint64_t after_ms;
};

/* False: it is none of the three. */
bool deadline_parse(const char *text, struct deadline *out);
/* The deadline of a run that begins now. */
int64_t deadline_of(const struct deadline *d, int64_t now_ms);
/*
 * Sets run->deadline_ms, 0 for none. A run keeps the deadline that it began with, whoever resumes it: one that comes back after it only
 * brings home what is there. But half a day later another night has begun, and with it the next deadline counts; as it does at once
 * when the definition says another. A new run whose moment has passed is refused.
 */
MUST_CHECK bool deadline_of_run(struct run *run, int64_t now_ms, struct error *err);

#endif
