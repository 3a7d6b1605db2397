/*
 * The watchdog of a service manager is fed from the flow's loop alone, so that a loop that hangs is noticed. A batch stage has no loop and is
 * no hang: before one the watchdog is told to be patient, and in the next flow to be strict again.
 */
#include "outside.h"

#include "base/clock.h"
#include "base/notify.h"
#include "base/text.h"
#include "definition.h"
#include "run.h"

#include <inttypes.h>
#include <stdio.h>

#define TELL_EVERY_MS 5000
#define PATIENCE_US UINT64_C(3600000000)
#define MORE_TIME_US UINT64_C(30000000) /* to stop in, from each time it is said */

static void be_patient(struct outside *o)
{
	if (o->watchdog_us && !o->relaxed) {
		notify_send("WATCHDOG_USEC=%" PRIu64, PATIENCE_US);
		o->relaxed = true;
	}
}

static void feed(struct outside *o)
{
	int64_t now = clock_mono_ms();
	if (!o->watchdog_us) {
		return;
	}
	if (o->relaxed) {
		notify_send("WATCHDOG_USEC=%" PRIu64 "\nWATCHDOG=1", o->watchdog_us);
		o->relaxed = false;
		o->fed_ms = now;
	} else if ((uint64_t)(now - o->fed_ms) * 1000 >= o->watchdog_us / 4) {
		notify_send("WATCHDOG=1");
		o->fed_ms = now;
	}
}

void outside_init(struct outside *o, const struct run *run)
{
	*o = (struct outside){.run = run, .watchdog_us = notify_watchdog_us()};
	progress_init(&o->progress);
	metrics_init(&o->metrics, run->def);
	notify_send("READY=1\nSTATUS=run %s of %s %s", run->id, run->def->name,
		run->resumed ? "resumes" : "begins");
	be_patient(o);
}

void outside_stage(void *ctx, const char *name)
{
	struct outside *o = ctx;
	snprintf(o->stage, sizeof(o->stage), "%s", name);
	progress_stage(&o->progress, name);
	metrics_tick(&o->metrics, o->run, NULL);
	notify_send("STATUS=run %s: %s", o->run->id, name);
	be_patient(o);
}

static void tell(struct outside *o, const struct flow_stats *s)
{
	char done[28], all[28], eta[24] = "?";
	text_format_count((uint64_t)(s->n_prompts - s->n_prompts_left), done);
	text_format_count((uint64_t)s->n_prompts, all);
	if (s->eta_ms >= 0) {
		clock_duration(s->eta_ms, eta);
	}
	notify_send("STATUS=run %s: %s %s of %s prompts, %" PRId64 " candidates, %" PRId64
		    " accepted, %.0f tokens/s, %s%s",
		o->run->id,
		s->stopping           ? "stopping,"
			: s->draining ? "draining,"
			: s->paused   ? "paused,"
				      : o->stage,
		done, all, s->n_candidates, s->n_accepted, s->tokens_per_s,
		s->stopping ? "" : "ETA ", s->stopping ? "in flight is finished" : eta);
}

void outside_tick(void *ctx, const struct flow_stats *stats)
{
	struct outside *o = ctx;
	progress_tick(&o->progress, stats);
	metrics_tick(&o->metrics, o->run, stats);
	feed(o);
	bool news = stats->stopping && !o->stopping;
	if (!notify_is_wanted() || (!news && clock_mono_ms() - o->told_ms < TELL_EVERY_MS)) {
		return;
	}
	o->told_ms = clock_mono_ms();
	if (o->run->interrupted) {
		notify_send(
			"%sEXTEND_TIMEOUT_USEC=%" PRIu64, news ? "STOPPING=1\n" : "", MORE_TIME_US);
		o->stopping = true;
	}
	tell(o, stats);
}

void outside_release(struct outside *o)
{
	progress_release(&o->progress);
	be_patient(o);
}

void outside_end(struct outside *o, const struct run *run, int exit_code)
{
	metrics_end(&o->metrics, run, exit_code);
	notify_send("STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64
		    "\nSTATUS=run %s ended with exit code %d",
		MORE_TIME_US, run && run->id ? run->id : "none", exit_code);
}
