#include "metrics.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "registry.h"
#include "run.h"
#include "summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EVERY_MS 15000

/* --- the text format --- */

struct writer {
	struct str *out;
	const char *pipeline;
};

/* Backslash, quote and newline are written as the format wants it; a name of the definition is UTF-8 already. */
static void put_escaped(struct str *out, const char *value)
{
	for (const char *c = value; *c; c++) {
		if (*c == '\n') {
			str_append_z(out, "\\n");
			continue;
		}
		if (*c == '\\' || *c == '"') {
			str_append_c(out, '\\');
		}
		str_append_c(out, *c);
	}
}

static void head(struct writer *w, const char *name, const char *type, const char *help)
{
	str_printf(w->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A sample with at most one label beside the pipeline; a value that is not known is left out. */
static void sample(struct writer *w, const char *name, const char *label, const char *label_value,
	double value)
{
	char number[32];
	if (!isfinite(value)) {
		return;
	}
	str_printf(w->out, "%s{pipeline=\"", name);
	put_escaped(w->out, w->pipeline);
	if (label) {
		str_printf(w->out, "\",%s=\"", label);
		put_escaped(w->out, label_value);
	}
	text_format_double(value, number);
	str_printf(w->out, "\"} %s\n", number);
}

static void gauge(struct writer *w, const char *name, const char *help, double value)
{
	head(w, name, "gauge", help);
	sample(w, name, NULL, NULL, value);
}

/* --- figures --- */

static void put_prompts(struct writer *w, const struct summary_facts *f)
{
	static const char name[] = "thresh_prompts";
	head(w, name, "gauge", "Prompts of the newest run by state.");
	sample(w, name, "state", "pending", (double)f->n_pending);
	sample(w, name, "state", "settled", (double)f->n_settled);
	sample(w, name, "state", "failed", (double)f->n_prompts_failed);
}

static void put_candidates(struct writer *w, const struct summary_facts *f)
{
	static const char name[] = "thresh_candidates";
	head(w, name, "gauge", "Candidates of the newest run by state.");
	sample(w, name, "state", "pending", (double)f->n_candidates_pending);
	sample(w, name, "state", "accepted", (double)f->n_accepted);
	sample(w, name, "state", "rejected", (double)f->n_rejected);
	sample(w, name, "state", "undecided", (double)f->n_undecided);
	sample(w, name, "state", "failed", (double)f->n_failed);
	gauge(w, "thresh_candidates_chosen", "Candidates of the newest run that were selected.",
		(double)f->n_chosen);
	double decided = (double)(f->n_accepted + f->n_rejected + f->n_undecided);
	gauge(w, "thresh_acceptance_ratio", "Accepted of the decided candidates.",
		decided > 0 ? (double)f->n_accepted / decided : NAN);
}

static void put_tokens(struct writer *w, const struct summary_facts *f)
{
	static const char name[] = "thresh_tokens";
	head(w, name, "gauge", "Generated tokens of the newest run.");
	sample(w, name, "kind", "generated", (double)f->tokens_generated);
	sample(w, name, "kind", "accepted", (double)f->tokens_accepted);
	sample(w, name, "kind", "chosen", (double)f->tokens_chosen);
}

static void put_stages(struct writer *w, const struct run *run)
{
	static const char done[] = "thresh_stage_done", busy[] = "thresh_stage_seconds";
	struct arena arena = {0};
	struct ledger_stage row;
	head(w, done, "gauge", "1: the stage of the newest run is done.");
	for (size_t i = 0; i < run->def->n_stages; i++) {
		const char *name = run->def->stages[i].ops->name;
		ledger_stage(run->ledger, name, &arena, &row);
		sample(w, done, "stage", name, row.known && row.done);
	}
	head(w, busy, "gauge",
		"Time spent in the stage so far; of stages that work together the first has it.");
	for (size_t i = 0; i < run->def->n_stages; i++) {
		const char *name = run->def->stages[i].ops->name;
		ledger_stage(run->ledger, name, &arena, &row);
		sample(w, busy, "stage", name, row.known ? (double)row.busy_ms / 1000 : 0);
	}
	arena_release(&arena);
}

static void put_pace(struct writer *w, const struct flow_stats *s)
{
	gauge(w, "thresh_tokens_per_second", "Generated tokens a second over the last minute.",
		s->tokens_per_s);
	gauge(w, "thresh_candidates_in_flight", "Candidates at the engines.", s->in_flight);
	gauge(w, "thresh_eta_seconds", "Until the last prompt is settled, at the present pace.",
		s->eta_ms >= 0 ? (double)s->eta_ms / 1000 : NAN);
	gauge(w, "thresh_paused", "1: the run was told to pause.", s->paused);
}

static double meta_seconds(const struct run *run, const char *key)
{
	struct arena arena = {0};
	const char *text = ledger_meta(run->ledger, key, &arena);
	int64_t ms;
	double seconds = text && text_parse_i64(text, &ms) ? (double)ms / 1000 : NAN;
	arena_release(&arena);
	return seconds;
}

/* NaN while the run is open, even if it is a copy of one that has ended. */
static double ended_seconds(const struct run *run)
{
	struct arena arena = {0};
	const char *state = ledger_meta(run->ledger, "state", &arena);
	bool ended = state && strcmp(state, "finished") == 0;
	arena_release(&arena);
	return ended ? meta_seconds(run, "ended_ms") : NAN;
}

static void put_run(struct writer *w, const struct run *run)
{
	struct summary_facts facts;
	struct error ignored;
	head(w, "thresh_run_info", "gauge", "The newest run.");
	sample(w, "thresh_run_info", "run", run->id, 1);
	gauge(w, "thresh_run_number", "Runs of the pipeline so far.", (double)run->number);
	double begun = meta_seconds(run, "started_ms");
	gauge(w, "thresh_run_start_timestamp_seconds", "When the newest run began.", begun);
	double ended = ended_seconds(run);
	gauge(w, "thresh_run_duration_seconds",
		"From the beginning of the newest run to its end, or until now.",
		(isnan(ended) ? (double)clock_wall_ms() / 1000 : ended) - begun);
	if (!summary_read(run->ledger, &facts, &ignored)) {
		return;
	}
	put_prompts(w, &facts);
	put_candidates(w, &facts);
	put_tokens(w, &facts);
	put_stages(w, run);
}

void metrics_write(const struct metrics *m, const struct run *run, const struct flow_stats *stats,
	int exit_code, struct str *out)
{
	struct writer w = {out, m->def->name};
	gauge(&w, "thresh_running", "1: a run is at work.", exit_code < 0);
	gauge(&w, "thresh_last_success_timestamp_seconds",
		"When a run of the pipeline last came to its end.",
		m->last_success_ms ? (double)m->last_success_ms / 1000 : NAN);
	gauge(&w, "thresh_last_exit_code", "Exit code of the last thresh run.",
		exit_code < 0 ? NAN : exit_code);
	gauge(&w, "thresh_metrics_timestamp_seconds", "When this file was written.",
		(double)clock_wall_ms() / 1000);
	if (run && run->ledger) {
		put_run(&w, run);
	}
	if (stats) {
		put_pace(&w, stats);
	}
}

/* --- the file --- */

/* Of the newest run that has finished. */
static int64_t find_last_success(const char *workdir)
{
	struct arena arena = {0};
	size_t n;
	int64_t found_ms = 0;
	char **ids = run_list(workdir, &n);
	for (size_t i = n; i-- > 0;) {
		struct error ignored;
		AUTO_FREE char *path = xasprintf("%s/runs/%s/ledger.db", workdir, ids[i]);
		struct ledger *l = found_ms ? NULL : ledger_open(path, LEDGER_READ, &ignored);
		const char *ended = l ? ledger_meta(l, "ended_ms", &arena) : NULL;
		if (ended && !text_parse_i64(ended, &found_ms)) {
			found_ms = 0;
		}
		ledger_close(l);
		free(ids[i]);
	}
	free(ids);
	arena_release(&arena);
	return found_ms;
}

void metrics_init(struct metrics *m, const struct definition *def)
{
	*m = (struct metrics){.def = def};
	if (def->metrics) {
		m->last_success_ms = find_last_success(def->workdir);
	}
}

static void publish(
	struct metrics *m, const struct run *run, const struct flow_stats *stats, int exit_code)
{
	AUTO_FREE char *dir = file_dirname(m->def->metrics);
	struct error err = {0};
	struct str text;
	str_init(&text, STR_NO_CAP);
	metrics_write(m, run, stats, exit_code, &text);
	if (!file_publish(dir, file_basename(m->def->metrics), text.data, text.len, &err) &&
		!m->complained) {
		m->complained = true;
		log_warn("the metrics cannot be written", "error", err.msg, NULL);
	}
	str_release(&text);
	m->written_ms = clock_mono_ms();
}

void metrics_tick(struct metrics *m, const struct run *run, const struct flow_stats *stats)
{
	if (m->def->metrics && (!stats || clock_mono_ms() - m->written_ms >= EVERY_MS)) {
		publish(m, run, stats, -1);
	}
}

void metrics_end(struct metrics *m, const struct run *run, int exit_code)
{
	if (!m->def->metrics) {
		return;
	}
	double ended = run && run->ledger ? ended_seconds(run) : NAN;
	if (!isnan(ended)) {
		m->last_success_ms = (int64_t)(ended * 1000);
	}
	publish(m, run, NULL, exit_code);
}
