/* Runs a run: its stages in order, each one that is not done yet; then the books, the history, and the verdict. */
#ifndef PIPELINE_RUNNER_H
#define PIPELINE_RUNNER_H

#include "base/error.h"
#include "flow/flow.h"

struct run;

enum runner_outcome {
	RUNNER_DONE,
	RUNNER_NOTHING, /* no prompt was left to draw; the run was discarded */
	RUNNER_HELD, /* the gate said no: nothing is published, and the run is closed until it may be asked again */
};

struct runner_watch {
	void (*stage)(void *ctx, const char *name); /* a stage begins */
	void (*tick)(void *ctx, const struct flow_stats *stats);
	void *ctx;
};

/* False: err; what was done is kept, and the run can go on. */
MUST_CHECK bool runner_run(struct run *run, const struct runner_watch *watch,
	enum runner_outcome *out, struct error *err);

#endif
