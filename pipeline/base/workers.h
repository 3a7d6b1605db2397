/*
 * Threads for work that comes in pieces: frames to compress or to check. The thread that makes the pieces takes part.
 *
 *	struct workers *w = workers_new(0);
 *	for (i = 0; i < n; i++) workers_push(w, compress, ctx, i);	// begins at once
 *	workers_wait(w);						// helps, returns when all are done
 *	workers_free(w);
 *
 * Jobs of one push order may run in any order and at the same time, so a job writes to what is its own: the element i of an
 * array, or the place of its thread in one. One thread owns the workers: only it pushes and waits; jobs do not push.
 */
#ifndef PIPELINE_BASE_WORKERS_H
#define PIPELINE_BASE_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

struct workers;

/* `thread` is below workers_n(): for buffers and contexts that are kept from job to job. The owner's is 0. */
typedef void workers_job(void *ctx, size_t i, unsigned thread);

/* Threads in all, the caller's among them; 0: one a core that we may use. With 1, a push does the job before it returns. */
struct workers *workers_new(unsigned n_threads);
unsigned workers_n(const struct workers *w);
void workers_push(struct workers *w, workers_job *job, void *ctx, size_t i);
/* Does one job, or waits for one to end if none is queued. False: there is none at all. To make way when buffers are used up. */
bool workers_help(struct workers *w);
void workers_wait(struct workers *w);
/* Waits. NULL: no-op. */
void workers_free(struct workers *w);

#endif
