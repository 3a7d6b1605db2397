/* One line on a terminal that tells how the night goes; nothing at all where stderr is no terminal (the log tells it there). */
#ifndef PIPELINE_PROGRESS_H
#define PIPELINE_PROGRESS_H

#include "flow/flow.h"

struct progress {
	bool fancy;
	char stage[64];
	char line[512]; /* what stands there now; empty: nothing */
	int64_t logged_ms; /* when the log last had a line of progress */
};

void progress_init(struct progress *p);
/* Wipes the line; log hooks are taken back. */
void progress_release(struct progress *p);
void progress_stage(void *p, const char *name);
void progress_tick(void *p, const struct flow_stats *stats);

#endif
