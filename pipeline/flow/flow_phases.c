/*
 * Engines that exclude each other: one of them is in memory at a time, so the section is gone through several times, each time with
 * another. A phase is a whole section out of the ledger. What it cannot do for want of an engine it leaves there: a candidate whose next
 * verifier is absent stays pending, with the scores it has; a prompt that wants more candidates stays as it is. So nothing
 * waits in memory, and a run that is killed in any phase goes on as every other does.
 *
 * A switch costs the loading of a model, so each phase goes on until nothing is left that it can do, and verifiers come before generation:
 * a wave is decided for all prompts before the next is asked for. There are no fewer switches than waves demand.
 */
#include "flow/flow_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "run.h"
#include "signals.h"
#include "verifier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATER_MARGIN 1.2
#define LATER_SHARE 0.5 /* of the time spent generating, where no judge has been seen at work */
#define LOAD_MS 20000 /* of a model that has not been loaded yet */

static bool is_named(const char *name, const struct engine_def *e)
{
	return name && strcmp(name, e->config.name) == 0;
}

static bool is_asked_by_verifiers(const struct definition *def, const struct engine_def *e)
{
	for (size_t i = 0; i < def->n_verifiers; i++) {
		const struct verifier_def *v = &def->verifiers[i];
		if (is_named(definition_engine_named(v->ops->params, v->config), e)) {
			return true;
		}
	}
	return false;
}

static bool has_vocab(const struct run *run)
{
	AUTO_FREE char *path = file_join(run->dir, "vocab.zst");
	return file_exists(path);
}

/* `--from` generates nothing: of engines that only write, none is needed once the vocabulary is there. */
static bool is_needed(const struct run *run, const struct engine_def *e)
{
	return e->used &&
		(!run->options.from || is_asked_by_verifiers(run->def, e) || !has_vocab(run));
}

bool flow_has_engine(const struct flow *f, const struct engine_def *e)
{
	return is_needed(f->run, e) &&
		(!e->exclusive || !definition_has_phases(f->run->def) ||
			is_named(f->night->active, e));
}

/* The exclusive engine without which nothing is generated; NULL: there is none. */
static const struct engine_def *writer_of(const struct definition *def)
{
	const char *name = definition_writer(def);
	const struct engine_def *e = name ? definition_engine(def, name) : NULL,
				*tokenizer = e && e->tokenizer
		? definition_engine(def, e->tokenizer)
		: NULL;
	return e && e->exclusive ? e : tokenizer && tokenizer->exclusive ? tokenizer : NULL;
}

static bool can_generate(const struct run *run, const char *active)
{
	const struct definition *def = run->def;
	const struct engine_def *writer = writer_of(def);
	const char *name = definition_writer(def);
	if (name && !is_needed(run, definition_engine(def, name))) {
		return false;
	}
	return !definition_has_phases(def) || !writer || is_named(active, writer);
}

/* --- what is still to come --- */

/* Of each engine, from what the verifiers that ask it have taken so far. */
static bool read_asking(struct run *run, struct flow_night *night, struct error *err)
{
	const struct definition *def = run->def;
	struct arena arena = {0};
	struct ledger_verifier *list;
	size_t n = 0;
	bool ok = ledger_verifiers(run->ledger, &arena, &list, &n, err);
	for (size_t i = 0; ok && i < def->n_engines; i++) {
		night->asking_ms[i] = NAN;
		for (size_t k = 0; k < n; k++) {
			const struct verifier_def *v = definition_verifier(def, list[k].name);
			if (v && list[k].n &&
				is_named(definition_engine_named(v->ops->params, v->config),
					&def->engines[i])) {
				double before = night->asking_ms[i];
				night->asking_ms[i] = (isnan(before) ? 0 : before) +
					(double)list[k].us / 1000 / (double)list[k].n;
			}
		}
	}
	arena_release(&arena);
	return ok;
}

static double load_of(const struct flow_night *night, size_t i)
{
	return night->load_ms[i] > 0 ? night->load_ms[i]
				     : fmin(LOAD_MS, (double)night->length_ms / 10);
}

int64_t flow_switch_ms(const struct flow *f)
{
	const struct definition *def = f->run->def;
	double sum = 0;
	for (size_t i = 0; definition_has_phases(def) && i < def->n_engines; i++) {
		const struct engine_def *e = &def->engines[i];
		sum += e->used && e->exclusive ? load_of(f->night, i) : 0;
	}
	return (int64_t)sum;
}

static double later_of(const struct flow *f, size_t i)
{
	const struct flow_night *night = f->night;
	double load = load_of(night, i);
	if (isnan(night->asking_ms[i])) {
		return load + LATER_SHARE * (double)(clock_mono_ms() - f->started_ms);
	}
	return load +
		LATER_MARGIN * night->asking_ms[i] * (double)night->waiting[i] /
		MAX(f->run->def->engines[i].config.serve.parallel, 1);
}

int64_t flow_later_ms(const struct flow *f)
{
	const struct definition *def = f->run->def;
	double sum = 0;
	for (size_t i = 0;
		definition_has_phases(def) && f->night->can_generate && i < def->n_engines; i++) {
		const struct engine_def *e = &def->engines[i];
		if (e->exclusive && !is_named(f->night->active, e) &&
			is_asked_by_verifiers(def, e)) {
			sum += later_of(f, i);
		}
	}
	return (int64_t)sum;
}

/* --- phases --- */

/* How often one made place for another, over all sittings; that which was there last is remembered with it. */
static bool note_switch(struct run *run, const char *active, struct error *err)
{
	struct arena arena = {0};
	const char *last = ledger_meta(run->ledger, "exclusive_engine", &arena),
		   *count = ledger_meta(run->ledger, "engine_switches", &arena);
	int64_t n = 0;
	bool ok = true;
	if (count && !text_parse_i64(count, &n)) {
		n = 0;
	}
	if (!last || strcmp(last, active) != 0) {
		char text[24];
		n += last != NULL;
		snprintf(text, sizeof(text), "%lld", (long long)n);
		log_info("the engine of this phase", "engine", active, "switches", text, NULL);
		ok = ledger_set_meta(run->ledger, "exclusive_engine", active, err) &&
			ledger_set_meta(run->ledger, "engine_switches", text, err);
	}
	arena_release(&arena);
	return ok;
}

/* Verifiers first, so that all prompts that want more candidates are known when what writes comes back. NULL: nothing is left. */
static const char *next_engine(const struct run *run, const struct flow_night *night)
{
	const struct definition *def = run->def;
	const struct engine_def *writer = writer_of(def);
	for (size_t i = 0; i < def->n_engines; i++) {
		if (night->waiting[i]) {
			return def->engines[i].config.name;
		}
	}
	return writer && night->n_wanting ? writer->config.name : NULL;
}

struct section {
	struct run *run;
	const struct stage_def *stages;
	size_t n;
	void (*tick)(void *ctx, const struct flow_stats *stats);
	void *tick_ctx;
};

static bool run_phase(
	const struct section *s, struct flow_night *night, const char *active, struct error *err)
{
	night->active = active;
	night->can_generate = can_generate(s->run, active);
	night->n_wanting = night->n_done = 0;
	memset(night->waiting, 0, s->run->def->n_engines * sizeof(*night->waiting));
	return (!active || note_switch(s->run, active, err)) &&
		(!s->run->deadline_ms || read_asking(s->run, night, err)) &&
		flow_run_phase(s->run, s->stages, s->n, night, s->tick, s->tick_ctx, err);
}

/* A run that was killed while it generated may come to its end with what verifies alone. */
static bool fetch_vocab(const struct section *s, struct flow_night *night, struct error *err)
{
	const struct engine_def *writer = writer_of(s->run->def);
	if (!writer || has_vocab(s->run) || !ledger_last_begun(s->run->ledger)) {
		return true;
	}
	night->read_vocab = true;
	return run_phase(s, night, writer->config.name, err);
}

static bool run_phases(const struct section *s, struct flow_night *night, struct error *err)
{
	const struct engine_def *writer = writer_of(s->run->def);
	/* A fresh night begins with what writes; else a look at what is there, without any of them, tells who is needed. */
	bool fresh = writer && !s->run->options.from && !ledger_last_begun(s->run->ledger);
	const char *active = fresh ? writer->config.name : NULL;
	for (;;) {
		if (!run_phase(s, night, active, err)) {
			return false;
		}
		const char *next = next_engine(s->run, night);
		if (!next ||
			(night->budget.limits.deadline_ms &&
				clock_wall_ms() >= budget_flow_end(&night->budget))) {
			return fetch_vocab(s, night, err);
		}
		if (active && !night->n_done && !night->backlog) {
			return error_set(err, FAIL_DATA,
				"engine '%s' was started and nothing was done with it", active);
		}
		active = next;
	}
}

bool flow_run(struct run *run, const struct stage_def *stages, size_t n,
	void (*tick)(void *ctx, const struct flow_stats *stats), void *tick_ctx, bool *out_backlog,
	struct error *err)
{
	const struct section s = {run, stages, n, tick, tick_ctx};
	size_t n_engines = MAX(run->def->n_engines, 1);
	struct flow_night night = {.waiting = xcalloc(n_engines, sizeof(*night.waiting)),
		.load_ms = xcalloc(n_engines, sizeof(*night.load_ms)),
		.asking_ms = xcalloc(n_engines, sizeof(*night.asking_ms))};
	flow_control_open(&night, run->def->workdir);
	signals_heed(true);
	bool ok = definition_has_phases(run->def) ? run_phases(&s, &night, err)
						  : run_phase(&s, &night, NULL, err);
	signals_heed(false);
	flow_control_close(&night, run->def->workdir);
	*out_backlog = night.backlog;
	if (night.begun) {
		budget_release(&night.budget);
	}
	free(night.waiting);
	free(night.load_ms);
	free(night.asking_ms);
	return ok;
}
