/*
 * SIGINT and SIGTERM of a run, from its first stage to its last. One handler stays installed over all stages and phases, so that no signal
 * falls between two watchers. It only counts: whoever can stop looks at the count some times a second.
 */
#ifndef PIPELINE_SIGNALS_H
#define PIPELINE_SIGNALS_H

#include <stdbool.h>

/* Installs the handler and begins to count from 0. */
void signals_watch(void);
/* Signals that came since signals_watch(). */
unsigned signals_count(void);
/* Name of the last one: "SIGINT" or "SIGTERM". */
const char *signals_last(void);
/*
 * Whether somebody looks at the count now. While nobody does, a second signal kills the process: a batch stage cannot be asked to stop, and
 * dying in it is resumable.
 */
void signals_heed(bool heeded);

#endif
