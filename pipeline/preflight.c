#include "preflight_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "deadline.h"
#include "definition.h"
#include "dry_run.h"
#include "engine/engine.h"
#include "engine/loop.h"
#include "ledger/ledger.h"
#include "room.h"
#include "run.h"
#include "runner.h"
#include "template.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 4 /* prompts that are tokenized to find the longest */
#define SEED_TOKENS 24
#define TRIAL_PROMPTS_MIN 4
#define TRIAL_PROMPTS_MAX 64
#define DISK_SPARE \
	2 /* times the estimate should be free: temporary files, and an estimate is one */

PRINTF_LIKE(2, 3) static void warn(struct preflight *p, const char *fmt, ...)
{
	char line[1024];
	va_list args;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	str_append(&p->warnings, line, strlen(line) + 1);
	p->n_warnings++;
}

static bool fail(struct preflight *p, const struct error *err)
{
	p->exit_code = cli_fail(err);
	return false;
}

/* --- engines --- */

static void probe(struct preflight *p, const char *dir)
{
	const char *writer = definition_writer(p->def);
	probe_engines_open(&p->probe, p->def, dir);
	for (size_t i = 0; i < p->def->n_engines; i++) {
		struct engine *engine = p->probe.engines[i];
		if (p->probe.errors[i].msg[0]) {
			fail(p, &p->probe.errors[i]);
		} else if (engine && writer && strcmp(engine_name(engine), writer) == 0) {
			p->writer = engine;
			p->n_slots = engine_info(engine)->n_slots;
			p->context = engine_info(engine)->context;
		}
	}
}

static bool is_writer(const struct preflight *p, size_t i)
{
	return p->writer && p->probe.engines[i] == p->writer;
}

static void check_writer(struct preflight *p, const char *tokenizer)
{
	const struct engine_info *info = engine_info(p->writer);
	const char *name = engine_name(p->writer);
	if (!info->has_ids && !tokenizer) {
		warn(p,
			"engine %s returns no token ids (%s dialect): what it writes can be kept, "
			"not "
			"packed; name a `tokenizer` engine",
			name, info->dialect);
	} else if (!info->has_ids) {
		warn(p,
			"engine %s returns no token ids: they are made again from the text, which "
			"need "
			"not give those that were sampled",
			name);
	}
	if (!info->context) {
		warn(p,
			"engine %s does not tell its context: over-long prompts are found when "
			"they are "
			"sent",
			name);
	}
}

static void check_engines(struct preflight *p)
{
	for (size_t i = 0; i < p->def->n_engines; i++) {
		if (is_writer(p, i)) {
			check_writer(p, p->def->engines[i].tokenizer);
		}
	}
}

/* --- asking --- */

struct asking {
	struct preflight *p;
	struct arena *arena;
	const uint32_t *ids;
	size_t n_ids;
	enum engine_reason reason;
	struct slice text;
};

static void prompt_came(void *ctx, const struct engine_prompt *prompt)
{
	struct asking *a = ctx;
	a->reason = prompt->reason;
	a->n_ids = prompt->n;
	a->ids = memcpy(arena_alloc_array(a->arena, MAX(prompt->n, 1), sizeof(*a->ids)),
		prompt->ids, prompt->n * sizeof(*a->ids));
	loop_stop(a->p->probe.loop);
}

static void candidate_came(void *ctx, const struct engine_candidate *c)
{
	struct asking *a = ctx;
	a->reason = c->reason;
	if (c->reason == ENGINE_OK) {
		a->text = (struct slice){
			arena_memdup0(a->arena, c->text.data, c->text.len), c->text.len};
	}
	loop_stop(a->p->probe.loop);
}

static bool tokenize(struct asking *a, const struct engine_message *messages, size_t n)
{
	if (!engine_info(a->p->writer)->has_ids) {
		return true;
	}
	engine_tokenize(a->p->writer, messages, n, SPECIAL_TEXT, prompt_came, a);
	loop_run(a->p->probe.loop);
	return a->reason == ENGINE_OK;
}

static bool same(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* One after the other: whether seeds hold where an engine batches is told by nobody. */
static enum seeds try_seeds(struct preflight *p)
{
	struct engine_message question = {
		"user", slice_z("Name ten animals in an order that nobody expects.")};
	struct engine_sampling sampling = {
		.temperature = 1, .top_p = 1, .repeat_penalty = 1, .max_tokens = SEED_TOKENS};
	struct asking a = {.p = p, .arena = &p->arena};
	struct slice texts[3];
	if (!tokenize(&a, &question, 1)) {
		return SEEDS_UNKNOWN;
	}
	struct engine_job job = {.messages = &question,
		.n_messages = 1,
		.prompt_ids = a.ids,
		.n_prompt_ids = a.n_ids,
		.sampling = &sampling,
		.n = 1};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		job.seed = i == 2 ? 97 : 41;
		engine_generate(p->writer, &job, candidate_came, &a);
		loop_run(p->probe.loop);
		if (a.reason != ENGINE_OK) {
			return SEEDS_UNKNOWN;
		}
		texts[i] = a.text;
	}
	return !same(texts[0], texts[1])   ? SEEDS_DIFFER
		: same(texts[0], texts[2]) ? SEEDS_IGNORED
					   : SEEDS_HONOURED;
}

/* --- the draw --- */

static bool measure_prompt(struct preflight *p, struct run *run, const struct template *t,
	int64_t id, struct error *err)
{
	struct arena arena = {0};
	struct ledger_prompt row;
	struct json *fields = NULL;
	struct engine_message *messages;
	size_t n;
	struct asking a = {.p = p, .arena = &arena};
	bool ok = ledger_get_prompt(run->ledger, id, &arena, &row, err) == LEDGER_FOUND &&
		(fields = json_parse(row.fields.data, row.fields.len, err)) &&
		template_render_row(t, fields, &arena, &messages, &n, err);
	if (ok && tokenize(&a, messages, n)) {
		p->longest = MAX(p->longest, a.n_ids);
	}
	json_free(fields);
	arena_release(&arena);
	return ok || error_context(err, "prompt %" PRId64, id);
}

struct ids {
	int64_t ids[LONGEST];
	size_t n;
};

static bool take_id(void *ctx, const char *const *names UNUSED, const struct ledger_cell *cells,
	size_t n UNUSED)
{
	struct ids *list = ctx;
	list->ids[list->n++] = cells[0].integer;
	return list->n < LONGEST;
}

/* The rows with the most bytes: with one template, theirs are the longest prompts, or nearly so. */
static bool measure_longest(struct preflight *p, struct run *run, struct error *err)
{
	const char *path = definition_template(p->def);
	struct ids list = {0};
	struct template *t = NULL;
	bool ok = ledger_query(run->ledger,
			  "SELECT id FROM prompt ORDER BY length(fields) DESC, id LIMIT 4", take_id,
			  &list, err) &&
		(!path || !p->writer || (t = template_read(path, err)));
	for (size_t i = 0; ok && t && i < list.n; i++) {
		ok = measure_prompt(p, run, t, list.ids[i], err);
	}
	template_free(t);
	return ok;
}

static bool draw_and_look(struct preflight *p)
{
	struct error err = {0};
	struct run run;
	bool ok = run_open(&run, p->def, &(struct run_options){.dry = true}, &err) == RUN_OPENED &&
		dry_draw(&run, &err);
	if (ok) {
		p->n_prompts = ledger_count_prompts(run.ledger);
		ok = measure_longest(p, &run, &err);
	}
	run_release(&run);
	return ok || fail(p, &err);
}

static void check_prompts(struct preflight *p)
{
	if (!p->n_prompts) {
		warn(p, "no prompt is left to draw: the night would end at once");
	}
	if (p->context && p->longest >= p->context) {
		warn(p, "the longest prompts have %zu tokens, the context %u: they will fail",
			p->longest, p->context);
	}
}

/* --- the trial --- */

struct cutting {
	struct run *run;
	int64_t until_ms;
	bool cut;
};

static void cut_when_over(void *ctx, const struct flow_stats *stats UNUSED)
{
	struct cutting *c = ctx;
	if (!c->cut && clock_mono_ms() >= c->until_ms) {
		c->cut = true;
		flow_interrupt(c->run);
	}
}

static int64_t number(const struct ledger_cell *cell)
{
	return cell->kind == CELL_INT ? cell->integer : 0;
}

static bool take_facts(void *ctx, const char *const *names UNUSED, const struct ledger_cell *cells,
	size_t n UNUSED)
{
	struct trial *t = ctx;
	t->facts.n_prompts = number(&cells[0]);
	t->facts.n_candidates = number(&cells[1]);
	t->facts.n_tokens = number(&cells[2]);
	t->facts.latency_ms = number(&cells[3]);
	t->facts.flow_ms = number(&cells[4]);
	t->facts.body_bytes = number(&cells[5]);
	t->facts.n_chosen = number(&cells[6]);
	t->facts.shard_bytes = number(&cells[7]);
	t->n_accepted = number(&cells[8]);
	t->n_rejected = number(&cells[9]);
	t->n_undecided = number(&cells[10]);
	t->n_failed = number(&cells[11]);
	t->n_truncated = number(&cells[12]);
	t->n_prompts_failed = number(&cells[13]);
	return false;
}

struct worst {
	struct arena *arena;
	const char *text;
};

static bool take_worst(void *ctx, const char *const *names UNUSED, const struct ledger_cell *cells,
	size_t n UNUSED)
{
	struct worst *w = ctx;
	if (cells[0].kind == CELL_TEXT) {
		w->text = arena_memdup0(w->arena, cells[0].text.data, cells[0].text.len);
	}
	return false;
}

static bool read_trial(struct preflight *p, struct ledger *l, struct error *err)
{
	struct worst worst = {&p->arena, NULL};
	bool ok =
		ledger_query(l,
			"SELECT count(DISTINCT prompt), count(*), sum(n_tokens), sum(latency_ms), "
			"max(created_ms) - min(created_ms - latency_ms), "
			"(SELECT sum(length(text) + coalesce(length(ids), 0) + "
			"coalesce(length(logprobs), "
			"0)) FROM candidate_body), "
			"(SELECT count(*) FROM selection WHERE outcome = 'chosen'), "
			"(SELECT sum(zip_bytes) FROM shard), "
			"sum(state = 'accepted'), sum(state = 'rejected'), sum(state = "
			"'undecided'), "
			"sum(state = 'failed'), sum(finish IN ('length', 'context')), "
			"(SELECT count(*) FROM prompt WHERE state = 'failed') FROM candidate",
			take_facts, &p->trial, err) &&
		ledger_query(l,
			"SELECT reason || coalesce(': ' || detail, '') FROM (SELECT reason, detail "
			"FROM "
			"candidate WHERE state = 'failed' UNION ALL SELECT reason, detail FROM "
			"prompt "
			"WHERE state = 'failed' UNION ALL SELECT s.verifier || ' ' || s.reason, "
			"s.detail "
			"FROM score s WHERE s.value IS NULL) GROUP BY 1 ORDER BY count(*) DESC, 1 "
			"LIMIT 1",
			take_worst, &worst, err);
	p->trial.worst = worst.text;
	p->trial.facts.n_slots = p->n_slots;
	return ok;
}

/* Enough prompts to fill the slots at four candidates each. */
static uint64_t n_trial_prompts(const struct preflight *p)
{
	return MIN(MAX(p->n_slots / 4, TRIAL_PROMPTS_MIN), TRIAL_PROMPTS_MAX);
}

static bool run_trial(struct preflight *p, struct run *run, struct error *err)
{
	struct cutting cutting = {run, clock_mono_ms() + (int64_t)p->options->trial_ms, false};
	enum runner_outcome outcome = RUNNER_DONE;
	bool ok = runner_run(
		run, &(struct runner_watch){.tick = cut_when_over, .ctx = &cutting}, &outcome, err);
	p->trial.done = ok && outcome == RUNNER_DONE;
	p->trial.cut = !ok && cutting.cut && err->kind == FAIL_INTERRUPTED;
	/* A trial without a prompt has discarded its ledger. */
	return (ok || p->trial.cut) &&
		(outcome == RUNNER_NOTHING || read_trial(p, run->ledger, err));
}

/* In a workdir of its own, without budget or gate: what would end the night early would end the trial. */
static bool try_night(struct preflight *p, char *dir)
{
	struct error err = {0};
	struct run run;
	char *workdir = p->def->workdir;
	typeof(p->def->budget) budget = p->def->budget;
	struct param_strings gate = p->def->gate;
	p->def->workdir = dir;
	memset(&p->def->budget, 0, sizeof(p->def->budget));
	memset(&p->def->gate, 0, sizeof(p->def->gate));
	bool ok = run_open(&run, p->def, &(struct run_options){.limit = n_trial_prompts(p)},
			  &err) == RUN_OPENED &&
		run_trial(p, &run, &err);
	run_release(&run);
	p->def->workdir = workdir;
	p->def->budget = budget;
	p->def->gate = gate;
	if (!ok) {
		error_context(&err, "trial night");
		return fail(p, &err);
	}
	p->estimate = estimate_night(&p->trial.facts, p->n_prompts);
	return true;
}

static void check_trial(struct preflight *p)
{
	const struct trial *t = &p->trial;
	int64_t n = t->facts.n_candidates;
	if (t->cut && !n) {
		warn(p,
			"no candidate was done when the trial was cut: give it more time "
			"(--trial-time), or look at the engine");
		return;
	}
	if (t->n_failed || t->n_prompts_failed) {
		warn(p, "%" PRId64 " candidates and %" PRId64 " prompts of the trial failed",
			t->n_failed, t->n_prompts_failed);
		p->exit_code = n && t->n_failed == n ? 1 : p->exit_code;
	}
	if (t->worst) {
		warn(p, "most often, something could not be done because of: %.300s", t->worst);
	}
	if (n && 4 * t->n_truncated > n) {
		warn(p,
			"%" PRId64 " of %" PRId64
			" candidates were cut by max_tokens or the context",
			t->n_truncated, n);
	}
	if (t->done && n > t->n_failed && !t->n_accepted) {
		warn(p, "none of %" PRId64 " candidates was accepted", n);
	}
}

/* What the budget leaves undone, as far as a trial can tell. */
static void check_budget(struct preflight *p)
{
	const struct estimate *e = &p->estimate;
	struct deadline deadline;
	char low[24], high[24], left[24];
	if (p->def->budget.tokens && e->tokens > (double)p->def->budget.tokens) {
		char need[28], have[28];
		text_format_count((uint64_t)e->tokens, need);
		text_format_count(p->def->budget.tokens, have);
		warn(p,
			"the night would generate %s tokens, budget.tokens is %s: prompts will be "
			"left "
			"for the next",
			need, have);
	}
	if (!p->def->budget.deadline || !deadline_parse(p->def->budget.deadline, &deadline)) {
		return;
	}
	int64_t now = clock_wall_ms();
	int64_t room = deadline_of(&deadline, now) - now - (int64_t)p->def->budget.drain_ms;
	if (e->ms_max <= (double)room) {
		return;
	}
	clock_duration((int64_t)e->ms_min, low);
	clock_duration((int64_t)e->ms_max, high);
	clock_duration(MAX(room, 0), left);
	warn(p,
		"generating would take %s to %s, and if the night began now its deadline (%s) "
		"would leave "
		"it %s: prompts %s be left for the next",
		low, high, p->def->budget.deadline, left,
		e->ms_min > (double)room ? "will" : "may");
}

static void check_disk(struct preflight *p)
{
	double wanted = p->estimate.ledger_bytes + 2 * p->estimate.shard_bytes;
	p->disk_free = room_free_bytes(p->def->workdir);
	if (p->disk_free && wanted * DISK_SPARE > (double)p->disk_free) {
		char need[24], there[24];
		text_format_size((uint64_t)(wanted * DISK_SPARE), need);
		text_format_size(p->disk_free, there);
		warn(p, "workdir '%s' has %s free, and should have %s", p->def->workdir, there,
			need);
	}
}

/* --- in order --- */

static void look_at_engines(struct preflight *p, const char *dir)
{
	probe(p, dir);
	if (p->writer) {
		p->seeds = try_seeds(p);
	}
	if (p->seeds == SEEDS_DIFFER) {
		warn(p,
			"seeds are not honoured: what a crash loses comes back as other "
			"candidates");
	}
	check_engines(p);
	preflight_tell_engines(p);
	if (draw_and_look(p)) {
		check_prompts(p);
	}
	preflight_tell_prompts(p);
	probe_engines_close(&p->probe);
}

static void look_at_workdir(struct preflight *p)
{
	const char *fs = file_unsafe_fs(p->def->workdir);
	struct error err = {0};
	if (fs) {
		error_set(&err, FAIL_IO, "workdir '%s' is on a network file system (%s)",
			p->def->workdir, fs);
		error_hint(&err, "use a local disk for workdir and copy the shards afterwards");
		fail(p, &err);
	}
}

static void look(struct preflight *p, char *dir)
{
	look_at_workdir(p);
	look_at_engines(p, dir);
	if (!p->exit_code && p->n_prompts && p->options->trial_ms && try_night(p, dir)) {
		check_trial(p);
		check_budget(p);
		check_disk(p);
		preflight_tell_trial(p);
	}
	preflight_tell_warnings(p);
}

int preflight(struct definition *def, const struct preflight_options *options)
{
	char dir[] = "/tmp/thresh-check-XXXXXX";
	struct preflight p = {.def = def, .options = options};
	struct error err = {0};
	if (!mkdtemp(dir)) {
		error_errno(&err, "could not make a temporary folder");
		return cli_fail(&err);
	}
	str_init(&p.warnings, STR_NO_CAP);
	str_init(&p.json, STR_NO_CAP);
	p.w.out = &p.json;
	log_set_level(LOG_LEVEL_WARN);
	if (options->json) {
		json_begin_object(&p.w);
	}
	look(&p, dir);
	if (options->json) {
		json_member_bool(&p.w, "ok", !p.exit_code);
		json_end_object(&p.w);
		printf("%s\n", p.json.data);
	}
	str_release(&p.warnings);
	str_release(&p.json);
	arena_release(&p.arena);
	return file_remove_tree(dir, &err) ? p.exit_code : cli_fail(&err);
}
