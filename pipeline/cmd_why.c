#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "group.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "measure.h"
#include "run.h"

#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text of the model on a terminal: no control characters but newlines, indented. */
static void print_text(const char *indent, struct slice text)
{
	fputs(indent, stdout);
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];
		if (c == '\n') {
			printf("\n%s", indent);
		} else if ((c < 0x20 && c != '\t') || c == 0x7f) {
			printf("\\x%02x", c);
		} else {
			putchar(c);
		}
	}
	putchar('\n');
}

/* What all nights that are over know of it. */
static void print_history(struct history *h, const char *prompt_id)
{
	struct history_prompt p = {0};
	double low, high;
	if (h) {
		history_prompt(h, prompt_id, &p);
	}
	if (!p.known) {
		return;
	}
	printf("  over %" PRId64 " night%s: %" PRId64 " candidates, %" PRId64 " of %" PRId64
	       " decided ones accepted",
		p.n_runs, p.n_runs == 1 ? "" : "s", p.n_candidates, p.n_accepted, p.n_decided);
	if (p.model_decided) {
		measured_interval(
			(uint64_t)p.model_accepted, (uint64_t)p.model_decided, &low, &high);
		printf("; pass rate %.1f %% (95 %% interval %.1f to %.1f) of %" PRId64 " by %s",
			100 * (double)p.model_accepted / (double)p.model_decided, 100 * low,
			100 * high, p.model_decided, p.model[0] ? p.model : "a model not known");
	}
	printf("; last in %s\n", p.last_run);
}

static void print_prompt(const struct ledger_prompt *p, struct history *h)
{
	printf("prompt %" PRId64 " (%s)\n", p->id, p->prompt_id);
	printf("  drawn from %s, line %" PRIu64 "; %s%s%s%s%s\n", p->source, p->row_no, p->state, p->reason ? ", reason " : "",
		p->reason ? p->reason : "", p->detail ? ": " : "", p->detail ? p->detail : "");
	if (p->ids) {
		printf("  %zu tokens\n", p->n_ids);
	}
	print_history(h, p->prompt_id);
	print_text("  | ", p->fields);
}

/* What the word of the ledger means; chosen needs no more words. */
static const char *outcome_note(const char *outcome)
{
	static const struct {
		const char *outcome, *note;
	} notes[] = {
		{"where", " (select.where is not true)"},
		{"per_prompt", " (better ones fill select.per_prompt)"},
		{"repeat", " (the very tokens of a better one of this prompt)"},
		{"shipped_before", " (an earlier night has shipped the very tokens for this prompt)"},
		{"duplicate", " (its text was there before)"},
		{"over_long", " (longer than pack.context)"},
		{"empty", " (no sampled token to train on)"},
	};
	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		if (strcmp(notes[i].outcome, outcome) == 0) {
			return notes[i].note;
		}
	}
	return "";
}

/* "duplicate of 17.3, shipped by run 2026-11-24.1, 0.86 of 5-word runs in common" */
static void print_duplicate(struct ledger *l, int64_t candidate, struct arena *arena)
{
	struct ledger_duplicate d;
	struct error err = {0};
	if (ledger_get_duplicate(l, candidate, arena, &d, &err) != LEDGER_FOUND) {
		return;
	}
	printf("  duplicate of %" PRId64 ".%" PRId64 "%s%s, ", d.original / CANDIDATES_MAX, d.original % CANDIDATES_MAX,
		d.run ? ", shipped by run " : ", which is kept", d.run ? d.run : "");
	if (d.same) {
		printf("in the same words\n");
	} else {
		printf("%.2f of 5-word runs in common\n", d.likeness);
	}
	if (d.stand_in) {
		printf("  %" PRId64 ".%" PRId64 " is chosen in its place\n", d.stand_in / CANDIDATES_MAX, d.stand_in % CANDIDATES_MAX);
	}
}

static void print_place(struct ledger *l, const struct ledger_candidate *c, struct arena *arena)
{
	struct ledger_place place;
	struct error err = {0};
	if (ledger_get_place(l, c->id, arena, &place, &err) != LEDGER_FOUND) {
		return;
	}
	printf("  selection: %s%s, rank %u of its prompt's accepted\n", place.outcome, outcome_note(place.outcome), place.rank);
	print_duplicate(l, c->id, arena);
	if (place.instead_of) {
		printf("  in the place of %" PRId64 ".%" PRId64 ", a duplicate\n", place.instead_of / CANDIDATES_MAX,
			place.instead_of % CANDIDATES_MAX);
	}
	if (place.row >= 0) {
		printf("  packed: row %" PRId64 ", sequence %" PRId64 " of the row", place.row, place.pos);
		if (place.shard >= 0) {
			printf(", shard %" PRId64, place.shard);
		}
		putchar('\n');
	}
}

static void print_candidate(struct ledger *l, const struct ledger_candidate *c, bool with_text, struct arena *arena)
{
	printf("candidate %" PRId64 ".%u (id %" PRId64 ")\n", c->prompt, c->idx, c->id);
	printf("  %s%s%s%s%s\n", c->state, c->reason ? ", reason " : "", c->reason ? c->reason : "", c->detail ? ": " : "", c->detail ? c->detail : "");
	printf("  wave %u, seed %u, %u tokens (%s), finish %s, %u attempts, %u ms, %s\n", c->wave, c->seed, c->n_tokens, c->token_source,
		c->finish ? c->finish : "none", c->attempts, c->latency_ms, c->endpoint ? c->endpoint : "no endpoint");
	for (size_t i = 0; i < c->n_scores; i++) {
		const struct ledger_score *s = &c->scores[i];
		char number[32] = "null";
		if (s->known) {
			text_format_double(s->value, number);
		}
		printf("  %s = %s, %s%s%s%s\n", s->verifier, number, s->reason, s->audit ? " (audited: no decision sees it)" : "",
			s->detail ? " " : "", s->detail ? s->detail : "");
	}
	print_place(l, c, arena);
	struct ledger_pruned pruned;
	ledger_pruned(l, &pruned);
	if (with_text && c->text.data) {
		print_text("  | ", c->text);
	} else if (with_text && pruned.at_ms && c->finish) {
		char date[11];
		clock_date(pruned.at_ms, date);
		printf("  its text is gone: thresh prune, %s\n", date);
	}
}

static bool show_candidate(struct ledger *l, struct history *h, int64_t id, struct error *err)
{
	struct arena arena = {0};
	struct ledger_candidate c;
	struct ledger_prompt p;
	enum ledger_found found = ledger_get_candidate(l, id, &arena, &c, &p, err);
	if (found == LEDGER_FOUND) {
		print_prompt(&p, h);
		putchar('\n');
		print_candidate(l, &c, true, &arena);
	}
	arena_release(&arena);
	return found == LEDGER_FOUND || (found == LEDGER_END && error_set(err, FAIL_USAGE, "the run has no candidate %" PRId64 ".%" PRId64,
								id / CANDIDATES_MAX, id % CANDIDATES_MAX));
}

static bool show_prompt(struct ledger *l, struct history *h, int64_t id, struct error *err)
{
	struct arena arena = {0};
	struct ledger_prompt p;
	struct ledger_candidate *list;
	size_t n = 0;
	enum ledger_found found = ledger_get_prompt(l, id, &arena, &p, err);
	bool ok = found == LEDGER_FOUND && ledger_get_candidates(l, id, &arena, &list, &n, err);
	if (ok) {
		print_prompt(&p, h);
	}
	for (size_t i = 0; ok && i < n; i++) {
		putchar('\n');
		print_candidate(l, &list[i], true, &arena);
	}
	arena_release(&arena);
	return ok || (found == LEDGER_END && error_set(err, FAIL_USAGE, "the run has no prompt %" PRId64, id));
}

/* "17" a prompt, "17.3" a candidate, a number above any prompt's a candidate's id, 32 hex digits or their beginning a prompt. */
static bool show(struct ledger *l, struct history *h, const char *id, struct error *err)
{
	int64_t number, found_id;
	uint64_t idx;
	const char *dot = strchr(id, '.');
	AUTO_FREE char *before = xmemdup0(id, dot ? (size_t)(dot - id) : strlen(id));
	if (dot && text_parse_i64(before, &number) && text_parse_u64(dot + 1, &idx) && idx < CANDIDATES_MAX) {
		return show_candidate(l, h, number * CANDIDATES_MAX + (int64_t)idx, err);
	}
	if (!dot && strlen(id) < 18 && text_parse_i64(id, &number)) {
		return number > ledger_count_prompts(l) && number >= CANDIDATES_MAX ? show_candidate(l, h, number, err) : show_prompt(l, h, number, err);
	}
	switch (ledger_find_prompt(l, id, &found_id, err)) {
	case LEDGER_FOUND:
		return show_prompt(l, h, found_id, err);
	case LEDGER_FAILED:
		return false;
	case LEDGER_END:
		break;
	}
	error_set(err, FAIL_USAGE, "no prompt begins with '%s'", id);
	return error_hint(err, "an ID is a prompt (17, or the beginning of its hash) or a candidate (17.3, or its id in a shard)");
}

/* Without a pipeline: the ledger written last below out/. */
static char *newest_ledger(struct error *err)
{
	glob_t found = {0};
	char *path = NULL;
	if (glob("out/*/runs/*/ledger.db", 0, NULL, &found) == 0) {
		int64_t best = -1;
		for (size_t i = 0; i < found.gl_pathc; i++) {
			int64_t changed = file_changed_ms(found.gl_pathv[i]);
			if (changed > best) {
				best = changed;
				path = found.gl_pathv[i];
			}
		}
		path = path ? xstrdup(path) : NULL;
	}
	globfree(&found);
	if (!path) {
		error_set(err, FAIL_USAGE, "there is no run below out/");
		error_hint(err, "name the pipeline: thresh why PIPELINE ID");
	}
	return path;
}

/* WORKDIR/history.db of a WORKDIR/runs/ID/ledger.db. NULL: none, or not to be read, which is no reason to tell nothing. */
static struct history *open_history(const char *ledger_path)
{
	struct error ignored;
	AUTO_FREE char *run = file_dirname(ledger_path);
	AUTO_FREE char *path = xasprintf("%s/../../history.db", run);
	return file_exists(path) ? history_open(path, &ignored) : NULL;
}

int cmd_why(int argc, char **argv)
{
	const char *run_id = NULL;
	struct cli_option options[] = {{"run-id", "ID", "which run; default: the newest", CLI_STRING, &run_id}, {0}};
	struct cli cli = {"why", "[PIPELINE] ID", "Shows the life of one prompt or candidate: every score, every decision, every reason.", options, 1, 2,
		"ID is a prompt (17, or the beginning of its hash) or a candidate (17.3, or its id in a shard).\nWithout PIPELINE, the newest run "
		"below out/ is asked.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def = {0};
	struct error err = {0};
	AUTO_FREE char *path = NULL;
	struct ledger *l = NULL;
	if (cli.n_args == 2) {
		path = definition_for_reading(&def, cli.args[0], &err) ? run_find_ledger(def.workdir, run_id, &err) : NULL;
	} else {
		path = newest_ledger(&err);
	}
	struct history *h = path ? open_history(path) : NULL;
	bool ok = path && (l = ledger_open(path, LEDGER_READ, &err)) && show(l, h, cli.args[cli.n_args - 1], &err);
	exit_code = ok ? 0 : cli_fail(&err);
	ledger_close(l);
	history_close(h);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
