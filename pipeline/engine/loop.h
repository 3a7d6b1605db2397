/*
 * The event loop: libuv for processes, timers, signals, the thread pool and what HTTP brings, on one thread.
 * Tests of async code run a loop of their own.
 */
#ifndef PIPELINE_ENGINE_LOOP_H
#define PIPELINE_ENGINE_LOOP_H

#include "base/error.h"

#include <stdint.h>

struct loop;

struct loop *loop_new(void);
/* Runs until loop_stop or nothing is left to wait for. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Everything opened on it must be closed; asserts that. */
void loop_free(struct loop *loop);
/* uv_loop_t *, for the runner and the engine, which include uv.h. */
void *loop_uv(struct loop *loop);

/* Calls fn once after delay_ms (0: on the next turn). The handle is freed after the call or by loop_timer_stop. */
struct loop_timer;
struct loop_timer *loop_after(
	struct loop *loop, uint64_t delay_ms, void (*fn)(void *ctx), void *ctx);
void loop_timer_stop(struct loop_timer *timer); /* NULL: no-op; not after fn has been called */

/* Work on the thread pool; done on the loop. */
void loop_work(struct loop *loop, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx);

#endif
