/*
 * A thin layer over libuv, so that the rest of the tree needs neither its handles nor its two-step closing. A handle of libuv
 * may only be freed in its close callback; here each lives in the struct that the caller sees, is unhooked at once, and is
 * freed by the loop on a later turn. curl has a loop of its own (http_wire.c).
 */
#include "engine/loop.h"

#include "base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

struct loop {
	uv_loop_t uv;
};

struct loop_timer {
	uv_timer_t uv;
	void (*fn)(void *ctx);
	void *ctx;
};

struct work {
	uv_work_t uv;
	void (*work)(void *ctx);
	void (*done)(void *ctx);
	void *ctx;
};

struct loop *loop_new(void)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));

	if (uv_loop_init(&loop->uv) != 0)
		oom();
	return loop;
}

void loop_run(struct loop *loop)
{
	uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
	uv_stop(&loop->uv);
}

void loop_free(struct loop *loop)
{
	int rc;

	/* Handles that are closing need a turn or two to be let go. Open ones are a bug of the caller. */
	for (int turn = 0; turn < 8 && uv_loop_alive(&loop->uv); turn++)
		uv_run(&loop->uv, UV_RUN_NOWAIT);
	rc = uv_loop_close(&loop->uv);
	assert(rc == 0);
	(void)rc;
	free(loop);
}

void *loop_uv(struct loop *loop)
{
	return &loop->uv;
}

static void timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void timer_fired(uv_timer_t *uv)
{
	struct loop_timer *timer = uv->data;

	/* Closed before the call: fn may free everything that knows of the timer. */
	uv_close((uv_handle_t *)uv, timer_closed);
	timer->fn(timer->ctx);
}

struct loop_timer *loop_after(
	struct loop *loop, uint64_t delay_ms, void (*fn)(void *ctx), void *ctx)
{
	struct loop_timer *timer = xcalloc(1, sizeof(*timer));

	timer->fn = fn;
	timer->ctx = ctx;
	uv_timer_init(&loop->uv, &timer->uv);
	timer->uv.data = timer;
	/* libuv counts from the start of the turn; after a long callback that would be too early. */
	uv_update_time(&loop->uv);
	uv_timer_start(&timer->uv, timer_fired, delay_ms, 0);
	return timer;
}

void loop_timer_stop(struct loop_timer *timer)
{
	if (timer == NULL)
		return;
	uv_timer_stop(&timer->uv);
	uv_close((uv_handle_t *)&timer->uv, timer_closed);
}

static void work_run(uv_work_t *uv)
{
	struct work *work = uv->data;

	work->work(work->ctx);
}

static void work_done(uv_work_t *uv, int status)
{
	struct work *work = uv->data;

	/* Nothing here calls uv_cancel, so the work has been done. */
	assert(status == 0);
	(void)status;
	work->done(work->ctx);
	free(work);
}

void loop_work(struct loop *loop, void (*fn)(void *ctx), void (*done)(void *ctx), void *ctx)
{
	struct work *work = xcalloc(1, sizeof(*work));

	work->work = fn;
	work->done = done;
	work->ctx = ctx;
	work->uv.data = work;
	if (uv_queue_work(&loop->uv, &work->uv, work_run, work_done) != 0)
		oom();
}
