/*
 * What the world outside is told while a run is at work: the terminal (progress.h), the service manager (base/notify.h), and whoever collects
 * metrics (metrics.h). A runner_watch of one object.
 */
#ifndef PIPELINE_OUTSIDE_H
#define PIPELINE_OUTSIDE_H

#include "metrics.h"
#include "progress.h"

#include <stdint.h>

struct run;

struct outside {
	struct progress progress;
	struct metrics metrics;
	const struct run *run; /* borrows */
	char stage[64];
	uint64_t watchdog_us; /* as the service manager wants it; 0: no watchdog */
	bool relaxed; /* it was told to be patient */
	bool stopping; /* it was told that we stop */
	int64_t told_ms, fed_ms; /* monotonic: the last status, the last sign of life */
};

/* The run is open and its lock is held: the service is up. */
void outside_init(struct outside *o, const struct run *run);
void outside_stage(void *o, const char *name);
void outside_tick(void *o, const struct flow_stats *stats);
/* The stages are over: the terminal is free again. */
void outside_release(struct outside *o);
/* The last words, with the exit code; run NULL: none was opened. */
void outside_end(struct outside *o, const struct run *run, int exit_code);

#endif
