/*
 * When a section may go on, and how it stops: tokens, the deadline, signals. To drain is to begin nothing new and to let what is under
 * way finish for a while.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/loop.h"
#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

/*
 * Whether tokens may still be spent. Without leave, what is there is verified and settled all the same: it has been paid for.
 * `--from` never generates.
 */
bool flow_may_produce(struct flow *f)
{
	uint64_t tokens = f->run->def->budget.tokens;
	if (tokens && f->stats.n_tokens >= (int64_t)tokens && !f->backlog) {
		log_info("the token budget is spent, no further prompt is begun", "tokens",
			log_fmt("%lld", (long long)f->stats.n_tokens), NULL);
		f->backlog = true;
	}
	return !f->stopping && !f->backlog && !f->run->options.from;
}

static void drained(void *ctx)
{
	struct flow *f = ctx;
	f->drain_timer = NULL;
	if (f->n_groups) {
		log_info("the time to drain is over, stopping what is under way", "prompts",
			log_fmt("%zu", f->n_groups), NULL);
		flow_cancel_all(f);
	}
}

static void drain(struct flow *f, uint64_t ms)
{
	flow_stop_admitting(f);
	loop_timer_stop(f->drain_timer);
	f->drain_timer = loop_after(f->run->loop, ms, drained, f);
}

/* --- signals --- */

void flow_interrupt(struct run *run)
{
	run->interrupted = true;
	flow_cancel_all(run->flow);
	flow_stop_admitting(run->flow);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct flow *f = handle->data;
	f->run->interrupted = true;
	if (f->closing) {
		return;
	}
	f->n_signals++;
	if (f->n_signals > 1) {
		flow_interrupt(f->run);
		return;
	}
	char duration[24];
	clock_duration((int64_t)f->run->def->budget.drain_ms, duration);
	log_info("stopping: candidates under way may finish", "signal",
		number == SIGINT ? "SIGINT" : "SIGTERM", "drain", duration, "again",
		"to stop at once", NULL);
	drain(f, f->run->def->budget.drain_ms);
}

/* Signals are watched from the very start: loading a model takes time, too. */
void flow_watch_signals(struct flow *f)
{
	uv_loop_t *uv = loop_uv(f->run->loop);
	uv_signal_init(uv, &f->sigint);
	uv_signal_init(uv, &f->sigterm);
	f->sigint.data = f->sigterm.data = f;
	uv_signal_start(&f->sigint, on_signal, SIGINT);
	uv_signal_start(&f->sigterm, on_signal, SIGTERM);
	f->n_signals_open = 2;
}

static void signal_closed(uv_handle_t *handle)
{
	struct flow *f = handle->data;
	f->n_signals_open--;
}

void flow_close_signals(struct flow *f)
{
	uv_close((uv_handle_t *)&f->sigint, signal_closed);
	uv_close((uv_handle_t *)&f->sigterm, signal_closed);
}

/* --- the deadline --- */

static void on_deadline(void *ctx)
{
	struct flow *f = ctx;
	f->deadline_timer = NULL;
	f->backlog = true;
	log_info("the deadline is near, no further prompt is begun", "deadline",
		f->run->def->budget.deadline, NULL);
	drain(f, f->run->def->budget.drain_ms);
}

/* Milliseconds until the next HH:MM of local time. */
static int64_t until(const char *deadline)
{
	int64_t now = clock_wall_ms();
	time_t seconds = (time_t)(now / 1000);
	struct tm tm;
	unsigned hour = 0, minute = 0;
	localtime_r(&seconds, &tm);
	if (sscanf(deadline, "%2u:%2u", &hour, &minute) != 2) {
		return INT64_MAX; /* definition_read has refused it */
	}
	tm.tm_hour = (int)hour;
	tm.tm_min = (int)minute;
	tm.tm_sec = 0;
	tm.tm_isdst = -1;
	int64_t at = (int64_t)mktime(&tm) * 1000;
	if (at <= now) {
		tm.tm_mday++;
		tm.tm_isdst = -1;
		at = (int64_t)mktime(&tm) * 1000;
	}
	return at - now;
}

void flow_set_deadline(struct flow *f)
{
	const char *deadline = f->run->def->budget.deadline;
	if (!deadline) {
		return;
	}
	char stamp[40];
	int64_t left = until(deadline), drain_ms = (int64_t)f->run->def->budget.drain_ms;
	clock_stamp(clock_wall_ms() + left, stamp);
	log_info("the night ends at the deadline", "deadline", stamp, NULL);
	f->deadline_timer = loop_after(
		f->run->loop, (uint64_t)MAX(left - drain_ms, 0), on_deadline, f);
}
