/*
 * A section of flow stages at work: the loop, its turns and timers, the engines, opening and closing. What becomes of a group is in
 * flow_groups.c, its rows in flow_rows.c, and when to stop in flow_budget.c.
 *
 * Stages call back from the loop, but a step that is due is taken on the loop's next turn: no stage is entered from inside its
 * own callback.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "ledger/ledger.h"
#include "run.h"
#include "signals.h"
#include "stage.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 250
#define COMMIT_TIME_PART 12 /* of the time, one part may go into commits */
#define TICKS_OF_BOOKS 20 /* between two writings of what the endpoints did */
#define PACE_MS 1000

void flow_finished(struct run *run)
{
	run->flow->finished = true;
	flow_turn_soon(run->flow);
}

void flow_wake(struct run *run)
{
	flow_turn_soon(run->flow);
}

/* --- the loop's turns --- */

static void close_all(struct flow *f);

static void turn(void *ctx)
{
	struct flow *f = ctx;
	f->turn = NULL;
	do {
		while (f->due) {
			struct flow_group *g = f->due;
			f->due = g->next_due;
			if (!f->due) {
				f->due_end = &f->due;
			}
			flow_step(g);
		}
		flow_admit(f);
	} while (f->due);
	flow_tell_rest(f);
	if (f->n_groups || !(f->exhausted || f->stopping)) {
		return;
	}
	const struct stage_def *producer = &f->stages[f->producer];
	if (!f->finishing) {
		f->finishing = true;
		bool skip = f->failed || f->run->interrupted || !producer->ops->finish ||
			f->n_opened < f->n_stages || /* the end came before the engines */
			!f->night->can_generate; /* which the vocabulary is asked from */
		f->finished = skip;
		if (!skip) {
			producer->ops->finish(f->states[f->producer]);
		}
	}
	if (f->finished || f->failed) {
		close_all(f);
	}
}

void flow_turn_soon(struct flow *f)
{
	if (!f->turn && !f->closing) {
		f->turn = loop_after(f->run->loop, 0, turn, f);
	}
}

/*
 * Two deaths, two measures. What is committed survives the process; that takes no disk, but the loop's time, of which it may have a
 * part and no more: a candidate is committed at once where they are rare, and with others where they are many. What is synced survives
 * the machine; a thread of the pool does that every `commit_every`, while the loop goes on.
 */
static void commit(struct flow *f)
{
	struct error err = {0};
	int64_t begun = clock_mono_us();
	if (f->failed || !ledger_dirty(f->run->ledger)) {
		return;
	}
	if (!ledger_flush(f->run->ledger, &err)) {
		flow_fail(f, &err);
	}
	f->unsynced = true;
	int64_t wait_ms = (clock_mono_us() - begun) * COMMIT_TIME_PART / 1000;
	f->commit_next_ms = clock_mono_ms() + MIN(wait_ms, (int64_t)f->run->def->ledger.commit_ms);
}

static void sync_work(void *ctx)
{
	struct flow *f = ctx;
	f->sync_err = (struct error){0};
	(void)!ledger_sync(f->run->ledger, &f->sync_err);
}

static void sync_done(void *ctx)
{
	struct flow *f = ctx;
	f->syncing = false;
	if (f->sync_err.kind != FAIL_NONE) {
		flow_fail(f, &f->sync_err);
	}
}

static void commit_tick(void *ctx)
{
	struct flow *f = ctx;
	f->commit_timer = loop_after(f->run->loop, f->run->def->ledger.commit_ms, commit_tick, f);
	commit(f);
	if (f->unsynced && !f->syncing && !f->failed) {
		f->unsynced = false;
		f->syncing = true;
		loop_work(f->run->loop, sync_work, sync_done, f);
	}
}

static void commit_now(void *ctx)
{
	struct flow *f = ctx;
	f->commit_soon = NULL;
	commit(f);
}

void flow_commit_soon(struct flow *f)
{
	if (!f->commit_soon && !f->closing) {
		int64_t wait_ms = f->commit_next_ms - clock_mono_ms();
		f->commit_soon = loop_after(
			f->run->loop, wait_ms > 0 ? (uint64_t)wait_ms : 0, commit_now, f);
	}
}

static void read_engine_stats(struct flow *f)
{
	f->stats.in_flight = f->stats.waiting = 0;
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		if (f->run->engines[i]) {
			struct engine_stats s;
			engine_stats(f->run->engines[i], &s);
			f->stats.in_flight += s.in_flight;
			f->stats.waiting += s.waiting;
		}
	}
}

/* The pace of the last minute: a candidate counts when it is done, so a shorter time would jump. */
static void read_pace(struct flow *f)
{
	struct flow_stats *s = &f->stats;
	int64_t done = s->n_prompts - s->n_prompts_left - f->n_done_before;
	size_t newest = (f->n_paces - 1) % FLOW_PACES;
	if (!f->n_paces || s->ms_sitting - f->paces[newest].ms >= PACE_MS) {
		newest = f->n_paces++ % FLOW_PACES;
		f->paces[newest].ms = s->ms_sitting;
		f->paces[newest].tokens = s->n_tokens_sitting;
	}
	size_t oldest = f->n_paces > FLOW_PACES ? f->n_paces % FLOW_PACES : 0;
	int64_t ms = s->ms_sitting - f->paces[oldest].ms;
	s->tokens_per_s = ms > 0
		? 1000.0 * (double)(s->n_tokens_sitting - f->paces[oldest].tokens) / (double)ms
		: 0;
	s->eta_ms = done > 0 ? s->ms_sitting * s->n_prompts_left / done : -1;
	s->paused = f->night->paused;
	s->draining = f->night->draining;
}

static void show_tick(void *ctx)
{
	struct flow *f = ctx;
	f->tick_timer = loop_after(f->run->loop, TICK_MS, show_tick, f);
	f->stats.ms_sitting = clock_mono_ms() - f->started_ms;
	read_engine_stats(f);
	read_pace(f);
	flow_heed_signals(f);
	if (++f->n_ticks % TICKS_OF_BOOKS == 0) {
		flow_write_endpoints(f);
	}
	flow_budget_tick(f);
	if (f->tick) {
		f->tick(f->tick_ctx, &f->stats);
	}
}

/* --- engines, opening, closing --- */

static void begin(struct flow *f)
{
	struct error err = {0};
	for (; f->n_opened < f->n_stages; f->n_opened++) {
		const struct stage_def *s = &f->stages[f->n_opened];
		f->states[f->n_opened] = xcalloc(1, MAX(s->ops->state_size, 1));
		if (!run_store_fingerprint(f->run, s, &err) ||
			!ledger_set_stage(f->run->ledger, s->ops->name, false, 0, NULL, &err) ||
			(s->ops->open &&
				!s->ops->open(f->states[f->n_opened], s->config, f->run, &err))) {
			f->n_opened++; /* close() accepts a state whose open() failed */
			error_context(&err, "stage '%s'", s->ops->name);
			flow_fail(f, &err);
			return;
		}
	}
	flow_budget_begin(f);
	const struct stage_ops *producer = f->stages[f->producer].ops;
	f->order.in_rounds = producer->in_rounds && producer->in_rounds(f->states[f->producer]);
	f->started_ms = clock_mono_ms();
	flow_turn_soon(f);
}

static void note_load(struct flow *f, const struct engine *engine)
{
	for (size_t i = 0; i < f->run->def->n_engines; i++) {
		if (f->run->engines[i] == engine) {
			f->night->load_ms[i] = (double)(clock_mono_ms() - f->started_ms);
		}
	}
}

static void engine_ready(void *ctx, struct engine *engine)
{
	struct flow *f = ctx;
	const struct engine_info *info = engine_info(engine);
	struct error err = {0};
	log_info("engine is ready", "engine", engine_name(engine), "dialect", info->dialect,
		"model", info->model, "slots", log_fmt("%u", info->n_slots), "context",
		log_fmt("%u", info->context), NULL);
	if (!run_check_engine(f->run, engine_name(engine), info, &err)) {
		flow_fail(f, &err);
	} else if (note_load(f, engine),
		++f->n_engines_ready == f->n_engines_wanted && !f->failed && !f->stopping) {
		begin(f);
	}
}

static void engine_failed(void *ctx, struct engine *engine, const struct error *err)
{
	struct error copy = *err;
	if (strncmp(copy.msg, "engine '", 8) != 0) {
		error_context(&copy, "engine '%s'", engine_name(engine));
	}
	flow_fail(ctx, &copy);
}

static void start_engines(struct flow *f)
{
	struct run *run = f->run;
	free(run->engines); /* of the phase before */
	run->engines = xcalloc(run->def->n_engines, sizeof(*run->engines));
	struct engine_events events = {engine_ready, engine_failed, f};
	for (size_t i = 0; i < run->def->n_engines; i++) {
		if (flow_has_engine(f, &run->def->engines[i])) {
			run->engines[i] = engine_new(
				run->loop, &run->def->engines[i].config, run->dir, events);
			f->n_engines_wanted++;
			f->n_engines_open++;
		}
	}
	for (size_t i = 0; i < run->def->n_engines; i++) {
		if (run->engines[i]) {
			engine_start(run->engines[i]);
		}
	}
	if (!f->n_engines_wanted) {
		begin(f);
	}
}

/* After the engines: until they are closed, cancelled requests are still answered to the stages. */
static void close_stages(struct flow *f)
{
	for (size_t i = 0; i < f->n_opened; i++) {
		if (f->stages[i].ops->close) {
			f->stages[i].ops->close(f->states[i]);
		}
		free(f->states[i]);
	}
	f->n_opened = 0;
}

static void engine_closed(void *ctx)
{
	struct flow *f = ctx;
	if (--f->n_engines_open == 0) {
		close_stages(f);
	}
}

static void close_all(struct flow *f)
{
	struct run *run = f->run;
	flow_write_endpoints(f);
	f->closing = true;
	flow_control_end(f);
	flow_budget_close(f);
	loop_timer_stop(f->commit_timer);
	loop_timer_stop(f->commit_soon);
	loop_timer_stop(f->tick_timer);
	loop_timer_stop(f->drain_timer);
	loop_timer_stop(f->turn);
	f->commit_timer = f->commit_soon = f->tick_timer = f->drain_timer = f->turn = NULL;
	f->n_engines_open++; /* held until all have been asked */
	for (size_t i = 0; i < run->def->n_engines; i++) {
		if (run->engines[i]) {
			engine_close(run->engines[i], engine_closed, f);
			run->engines[i] = NULL;
		}
	}
	engine_closed(f);
}

static bool count_what_is_there(struct flow *f, struct error *err)
{
	struct arena arena = {0};
	struct ledger_count *counts;
	size_t n;
	bool ok = ledger_counts(f->run->ledger, &arena, &counts, &n, err);
	for (size_t i = 0; ok && i < n; i++) {
		const struct ledger_count *c = &counts[i];
		if (strcmp(c->what, "prompt") == 0) {
			f->stats.n_prompts += c->n;
			f->stats.n_prompts_left += strcmp(c->state, "pending") == 0 ? c->n : 0;
		} else if (strcmp(c->what, "candidate") == 0) {
			bool failed = strcmp(c->state, "failed") == 0;
			*(failed ? &f->stats.n_failed : &f->stats.n_candidates) += c->n;
			f->stats.n_accepted += strcmp(c->state, "accepted") == 0 ? c->n : 0;
			f->stats.n_tokens += failed ? 0 : c->n_tokens;
		}
	}
	arena_release(&arena);
	return ok;
}

bool flow_run_phase(struct run *run, const struct stage_def *stages, size_t n,
	struct flow_night *night, void (*tick)(void *ctx, const struct flow_stats *stats),
	void *tick_ctx, struct error *err)
{
	struct flow f = {.night = night,
		.run = run,
		.stages = stages,
		.n_stages = n,
		.tick = tick,
		.tick_ctx = tick_ctx};
	f.due_end = &f.due;
	while (!stages[f.producer].ops->plan) {
		f.producer++;
		assert(f.producer < n);
	}
	if (!count_what_is_there(&f, err)) {
		return false;
	}
	f.n_done_before = f.stats.n_prompts - f.stats.n_prompts_left;
	if (!ledger_set_lazy(run->ledger, true, err)) {
		flow_order_release(&f);
		return false;
	}
	f.states = xcalloc(n, sizeof(*f.states));
	f.row = xcalloc(run->columns.n, sizeof(*f.row));
	run->flow = &f;
	run->loop = loop_new();
	f.started_ms = clock_mono_ms();
	flow_read_endpoints(&f);
	f.last_begun = ledger_last_begun(run->ledger);
	flow_budget_open(&f);
	start_engines(&f);
	flow_control_serve(&f);
	commit_tick(&f);
	show_tick(&f);
	loop_run(run->loop);
	loop_free(run->loop);
	run->loop = NULL;
	run->flow = NULL;
	flow_order_release(&f);
	free(f.states);
	free(f.row);
	json_free(f.endpoints_before);
	/* Also after a failure: what came back is kept, if the ledger lets us. */
	struct error flush_err = {0};
	if (!ledger_set_lazy(run->ledger, false, &flush_err) && !f.failed) {
		*err = flush_err;
		return false;
	}
	night->backlog = f.backlog;
	run->interrupted = run->interrupted || signals_count() > f.n_signals;
	if (f.failed) {
		*err = f.err;
		return false;
	}
	if (run->interrupted) {
		return error_set(err, FAIL_INTERRUPTED,
			"interrupted; the same command goes on where this run stopped");
	}
	return true;
}
