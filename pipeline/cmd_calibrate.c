#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "measure.h"
#include "run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS 20 /* thresholds 0.05, 0.10 .. 0.95 */
#define FEW 50 /* labelled candidates below which a table says little */
#define FEW_OF_A_KIND 10 /* right ones, or wrong ones */

struct calibration {
	const char *label;
	struct ledger *ledger;
	struct measures measures;
	struct arena arena;
	struct ledger_verifier *verifiers;
	size_t n_verifiers;
};

static double threshold_at(unsigned step)
{
	return (double)step / STEPS;
}

static double f1_of(struct outcome o)
{
	double sum = o.precision + o.recall;
	return sum > 0 ? 2 * o.precision * o.recall / sum : 0; /* NaN compares false */
}

/* The lowest threshold with the highest F1. */
static unsigned best_step(const struct measured *m)
{
	unsigned best = 1;
	for (unsigned i = 2; i < STEPS; i++) {
		if (f1_of(measured_at(m, threshold_at(i))) >
			f1_of(measured_at(m, threshold_at(best))) + 1e-12) {
			best = i;
		}
	}
	return best;
}

/* Verdicts with shades; where every score is 0 or 1 there is nothing to choose. */
static bool has_threshold(const struct calibration *c, const struct measured *m)
{
	for (size_t i = 0; i < c->n_verifiers; i++) {
		const struct ledger_verifier *v = &c->verifiers[i];
		if (strcmp(v->name, m->verifier) == 0) {
			return v->is_verdict && v->min >= 0 && v->max <= 1 && m->n_between;
		}
	}
	return false;
}

/* --- output --- */

static void print_share(double v)
{
	if (isnan(v)) {
		printf(" %9s", "-");
	} else {
		printf(" %9.3f", v);
	}
}

static void print_interval(struct outcome o)
{
	if (o.n_kept) {
		printf(" %.3f-%.3f", o.precision_low, o.precision_high);
	} else {
		printf(" %11s", "-");
	}
}

static bool is_scarce(size_t n)
{
	return n < FEW_OF_A_KIND;
}

static void print_verifier(const struct calibration *c, const struct measured *m)
{
	unsigned best = best_step(m);
	printf("%s against %s: %zu candidates, %zu right, AUC", m->verifier, c->label, m->n,
		m->n_right);
	double auc = measured_auc(m);
	if (isnan(auc)) {
		printf(" - (all of one kind)\n\n");
	} else {
		printf(" %.3f\n\n", auc);
	}
	printf("  threshold precision        95 %%    recall      kept\n");
	for (unsigned i = 1; i < STEPS; i++) {
		struct outcome o = measured_at(m, threshold_at(i));
		printf("  %9.2f", threshold_at(i));
		print_share(o.precision);
		print_interval(o);
		print_share(o.recall);
		print_share(o.kept);
		printf("%s\n", i == best ? "   highest F1" : "");
	}
	if (m->n < FEW) {
		printf("\n  %zu labelled candidates are few; differences of some percent are "
		       "chance\n",
			m->n);
	}
	if (is_scarce(m->n_right) || is_scarce(m->n - m->n_right)) {
		printf("\n  %zu right and %zu wrong: the AUC and the highest F1 are chance; label "
		       "more of "
		       "both\n",
			m->n_right, m->n - m->n_right);
	}
	printf("\n");
}

static void put_verifier(struct json_writer *w, const struct measured *m)
{
	json_begin_object(w);
	json_member_uint(w, "n", m->n);
	json_member_uint(w, "right", m->n_right);
	json_member_num(w, "auc", measured_auc(m));
	json_member_num(w, "highest_f1", threshold_at(best_step(m)));
	json_key(w, "thresholds");
	json_begin_array(w);
	for (unsigned i = 1; i < STEPS; i++) {
		struct outcome o = measured_at(m, threshold_at(i));
		json_begin_object(w);
		json_member_num(w, "threshold", threshold_at(i));
		json_member_num(w, "precision", o.precision);
		json_member_num(w, "precision_low", o.precision_low);
		json_member_num(w, "precision_high", o.precision_high);
		json_member_num(w, "recall", o.recall);
		json_member_num(w, "kept", o.kept);
		json_end_object(w);
	}
	json_end_array(w);
	json_end_object(w);
}

static void print_json(const struct calibration *c)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_member_z(&w, "label", c->label);
	json_member_uint(&w, "labelled", c->measures.n_labelled);
	json_key(&w, "verifiers");
	json_begin_object(&w);
	for (size_t i = 0; i < c->measures.n; i++) {
		if (has_threshold(c, &c->measures.list[i])) {
			json_key(&w, c->measures.list[i].verifier);
			put_verifier(&w, &c->measures.list[i]);
		}
	}
	json_end_object(&w);
	json_end_object(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

/* --- reading and recording --- */

static bool read_all(struct calibration *c, struct error *err)
{
	size_t n = 0;
	if (!ledger_verifiers(c->ledger, &c->arena, &c->verifiers, &c->n_verifiers, err) ||
		!measures_read(c->ledger, c->label, &c->measures, err)) {
		return false;
	}
	for (size_t i = 0; i < c->measures.n; i++) {
		n += has_threshold(c, &c->measures.list[i]);
	}
	if (!c->measures.n_labelled) {
		error_set(err, FAIL_USAGE, "no candidate has a label '%s'", c->label);
		return error_hint(err,
			"a label is a field of the prompts that is true or false, 1 or 0, yes or "
			"no, or a verifier");
	}
	if (!n) {
		error_set(err, FAIL_USAGE,
			"no verifier has scores between 0 and 1 for the %zu labelled candidates",
			c->measures.n_labelled);
		return error_hint(err,
			"`when` may have left them out: audit: 2%% asks for a share of those, too");
	}
	return true;
}

/* So that `thresh run` knows which thresholds were chosen and which were guessed. */
static bool record(const struct calibration *c, const char *workdir, struct error *err)
{
	AUTO_FREE char *path = file_join(workdir, "history.db");
	struct history *h = history_open(path, err);
	bool ok = h != NULL;
	for (size_t i = 0; ok && i < c->measures.n; i++) {
		const struct measured *m = &c->measures.list[i];
		char fingerprint[33];
		measured_fingerprint(c->ledger, m->verifier, fingerprint);
		ok = !has_threshold(c, m) ||
			history_set_calibration(h,
				&(struct history_calibration){m->verifier, fingerprint, c->label,
					(int64_t)m->n, clock_wall_ms(), measured_auc(m)},
				err);
	}
	history_close(h);
	return ok;
}

static int calibrate(
	const struct definition *def, const char *ledger_path, const char *label, bool json)
{
	struct error err = {0};
	struct calibration c = {.label = label};
	c.ledger = ledger_open(ledger_path, LEDGER_READ, &err);
	bool ok = c.ledger && read_all(&c, &err);
	if (ok && json) {
		print_json(&c);
	}
	for (size_t i = 0; ok && !json && i < c.measures.n; i++) {
		if (has_threshold(&c, &c.measures.list[i])) {
			print_verifier(&c, &c.measures.list[i]);
		}
	}
	ok = ok && record(&c, def->workdir, &err);
	measures_release(&c.measures);
	arena_release(&c.arena);
	ledger_close(c.ledger);
	return ok ? 0 : cli_fail(&err);
}

int cmd_calibrate(int argc, char **argv)
{
	const char *run_id = NULL, *label = NULL;
	bool json = false;
	struct cli_option options[] = {
		{"label", "NAME",
			"field or verifier that says what is right; default: `label` of the "
			"pipeline",
			CLI_STRING, &label},
		{"run-id", "ID", "which run; default: the newest", CLI_STRING, &run_id},
		{"json", NULL, "print JSON", CLI_FLAG, &json},
		{0},
	};
	struct cli cli = {"calibrate", "PIPELINE",
		"Shows for each verifier with scores between 0 and 1 what a threshold would keep, "
		"against labels.",
		options, 1, 1,
		"precision: share of the kept that is right; recall: share of the right that is "
		"kept;\n"
		"kept: share of all; 95 %: where the precision of many more would lie. A run tells "
		"when its `accept` reads a verifier without this.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	AUTO_FREE char *path = NULL;
	bool ok = definition_for_reading(&def, cli.args[0], &err);
	label = label || !ok ? label : def.label;
	if (ok && !label) {
		ok = error_set(&err, FAIL_USAGE, "there is no label to hold the scores against");
		error_hint(&err,
			"--label NAME names a field of the prompts, or a verifier such as math");
	}
	path = ok ? run_find_ledger(def.workdir, run_id, &err) : NULL;
	exit_code = path ? calibrate(&def, path, label, json) : cli_fail(&err);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
