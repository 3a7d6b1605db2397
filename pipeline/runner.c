/*
 * Stages are done one after the other, but for neighbouring flow stages, which form one section (flow.h). A stage's row in
 * the ledger says `done` only after all it has made is committed; so a resumed run skips what is done and repeats the one
 * that was under way, which batch stages allow and the flow is built for.
 */
#include "runner.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "deadline.h"
#include "definition.h"
#include "gate.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "room.h"
#include "run.h"
#include "signals.h"
#include "stage.h"
#include "summary.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_done(struct run *run, const struct stage_def *s)
{
	struct arena arena = {0};
	struct ledger_stage row;
	ledger_stage(run->ledger, s->ops->name, &arena, &row);
	arena_release(&arena);
	return row.done;
}

/*
 * The funnel, and whether each row is in exactly one place of it: at the end of a stage, and before a resumed run spends
 * anything on top of what does not fit together.
 */
static bool check_books(struct run *run, const char *when, struct error *err)
{
	struct ledger_funnel f;
	if (!ledger_funnel(run->ledger, &f, err)) {
		return false;
	}
	AUTO_FREE char *prompts = xasprintf("%lld = %lld settled + %lld failed + %lld pending",
		(long long)f.n_prompts, (long long)f.n_settled, (long long)f.n_prompts_failed,
		(long long)f.n_prompts_pending);
	AUTO_FREE char *candidates = xasprintf("%lld = %lld accepted + %lld rejected + %lld "
					       "undecided + %lld failed + %lld pending",
		(long long)f.n_candidates, (long long)f.n_accepted, (long long)f.n_rejected,
		(long long)f.n_undecided, (long long)f.n_failed, (long long)f.n_pending);
	log_info("books", "at", when, "prompts", prompts, "candidates", candidates, "chosen",
		log_fmt("%lld", (long long)f.n_chosen), NULL);
	if (f.n_prompts != f.n_settled + f.n_prompts_failed + f.n_prompts_pending ||
		f.n_candidates !=
			f.n_accepted + f.n_rejected + f.n_undecided + f.n_failed + f.n_pending) {
		return error_set(err, FAIL_DATA,
			"the books of ledger '%s' do not balance: prompts %s, candidates %s",
			run->ledger_path, prompts, candidates);
	}
	return ledger_check_books(run->ledger, err);
}

static bool run_batch(struct run *run, const struct stage_def *s, struct error *err)
{
	int64_t begun = clock_mono_ms();
	void *state = xcalloc(1, MAX(s->ops->state_size, 1));
	bool ok = run_store_fingerprint(run, s, err) &&
		ledger_set_stage(run->ledger, s->ops->name, false, 0, NULL, err) &&
		(!s->ops->open || s->ops->open(state, s->config, run, err)) &&
		s->ops->run(state, run, err);
	if (s->ops->close) {
		s->ops->close(state);
	}
	free(state);
	if (!ok) {
		ledger_rollback(run->ledger);
	}
	return (ok &&
		       ledger_set_stage(run->ledger, s->ops->name, true, clock_mono_ms() - begun,
			       NULL, err) &&
		       ledger_flush(run->ledger, err)) ||
		error_context(err, "stage '%s'", s->ops->name);
}

static size_t end_of_section(const struct definition *def, size_t i)
{
	while (i < def->n_stages && !def->stages[i].ops->run) {
		i++;
	}
	return i;
}

/* They only serve status: a difference must not cost the night. */
static bool check_counts(struct run *run, struct error *err)
{
	bool same = false;
	if (!ledger_check_counts(run->ledger, &same, err)) {
		return false;
	}
	if (!same) {
		log_warn("the ledger's counts are not those of its rows: counted again", NULL);
	}
	return same || ledger_count_again(run->ledger, err);
}

static bool run_section(struct run *run, size_t from, size_t to, const struct runner_watch *watch,
	struct error *err)
{
	bool backlog = false;
	int64_t begun = clock_mono_ms();
	bool ok = room_check(run, err) &&
		flow_run(run, &run->def->stages[from], to - from, watch->tick, watch->ctx, &backlog,
			err);
	/* Before the stages are marked as done: a mismatch must be found again by the next sitting. */
	ok = ok && check_books(run, run->def->stages[to - 1].ops->name, err) &&
		check_counts(run, err);
	int64_t busy_ms = clock_mono_ms() - begun;
	struct error ignored = {0};
	/* The whole section's time stands at its first stage, as its stages work at the same time. */
	for (size_t i = from; i < to; i++) {
		bool kept = ledger_set_stage(run->ledger, run->def->stages[i].ops->name, ok,
			i == from ? busy_ms : 0, NULL, ok ? err : &ignored);
		ok = ok && kept;
	}
	return ledger_flush(run->ledger, ok ? err : &ignored) && ok;
}

/* Whose model history will say has written the candidates. */
static bool name_writer(struct run *run, struct error *err)
{
	const char *writer = definition_writer(run->def);
	return !writer || ledger_set_meta(run->ledger, "writer", writer, err);
}

static bool tell_stages(struct run *run, struct error *err)
{
	bool ok = true;
	for (size_t i = 0; ok && i < run->def->n_stages; i++) {
		const struct stage_def *s = &run->def->stages[i];
		ok = !s->ops->published || s->ops->published(s->config, run, err) ||
			error_context(err, "stage '%s'", s->ops->name);
	}
	return ok;
}

/* Stages and history first: they may be told twice, while a run that is over is not opened again. */
static bool end_run(struct run *run, bool held, struct error *err)
{
	char ended[24];
	int64_t now = clock_wall_ms();
	snprintf(ended, sizeof(ended), "%lld", (long long)now);
	struct str json;
	str_init(&json, STR_NO_CAP);
	struct json_writer w = {.out = &json};
	bool ok = name_writer(run, err) && (held || tell_stages(run, err)) &&
		summary_json(run->ledger, &w, err) && ledger_flush(run->ledger, err);
	const struct history_run row = {run->id, run->number, now, held, json.data};
	ok = ok && history_record(run->history, &row, run->ledger_path, err) &&
		ledger_set_meta(run->ledger, "ended_ms", ended, err) &&
		ledger_set_meta(run->ledger, "state", held ? "held" : "finished", err) &&
		ledger_flush(run->ledger, err);
	str_release(&json);
	return ok;
}

/* Before the first stage that publishes, or at the end if none does. */
static bool ask_gate(struct run *run, bool *out_open, struct error *err)
{
	return (gate_ask(run, out_open, err) && ledger_flush(run->ledger, err)) ||
		error_context(err, "the gate");
}

bool runner_run(struct run *run, const struct runner_watch *watch, enum runner_outcome *out,
	struct error *err)
{
	const struct definition *def = run->def;
	signals_watch();
	if (!deadline_of_run(run, clock_wall_ms(), err)) {
		struct error ignored;
		return (run->resumed || run->options.from || run_discard(run, &ignored)) && false;
	}
	if (run->resumed && !check_books(run, "resume", err)) {
		return false;
	}
	for (size_t i = 0; i < def->n_stages;) {
		bool flow = !def->stages[i].ops->run;
		size_t next = flow ? end_of_section(def, i) : i + 1;
		if (is_done(run, &def->stages[i])) {
			i = next;
			continue;
		}
		/* Batch stages are short and end before we stop. */
		if (signals_count()) {
			run->interrupted = true;
			return error_set(err, FAIL_INTERRUPTED,
				"interrupted before stage '%s'; the same command goes on where "
				"this run stopped",
				def->stages[i].ops->name);
		}
		bool open = true;
		if (def->stages[i].ops->publishes && !ask_gate(run, &open, err)) {
			return false;
		}
		if (!open) {
			*out = RUNNER_HELD;
			return end_run(run, true, err);
		}
		if (watch->stage) {
			watch->stage(watch->ctx, def->stages[i].ops->name);
		}
		log_info("stage begins", "stage", def->stages[i].ops->name, NULL);
		if (!(flow ? run_section(run, i, next, watch, err)
			   : run_batch(run, &def->stages[i], err) &&
					    check_books(run, def->stages[i].ops->name, err))) {
			return false;
		}
		if (i == 0 && ledger_count_prompts(run->ledger) == 0) {
			*out = RUNNER_NOTHING;
			return run->resumed || run_discard(run, err);
		}
		i = next;
	}
	/* Nothing is asked twice. */
	bool open;
	if (!ask_gate(run, &open, err)) {
		return false;
	}
	*out = open ? RUNNER_DONE : RUNNER_HELD;
	return end_run(run, !open, err);
}
