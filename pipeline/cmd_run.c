#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "dry_run.h"
#include "hooks.h"
#include "ledger/history.h"
#include "ledger/ledger.h"
#include "measure.h"
#include "outside.h"
#include "report/report.h"
#include "run.h"
#include "runner.h"
#include "summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct run_flags {
	struct cli_strings sets;
	struct run_options options;
	const char *log_level;
	bool json, no_report;
};

static bool set_log_level(const char *name, struct error *err)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	for (size_t i = 0; name && i < ARRAY_LEN(names); i++) {
		if (strcmp(names[i], name) == 0) {
			log_set_level((enum log_level)i);
			return true;
		}
	}
	return !name ||
		error_set(err, FAIL_USAGE, "--log must be error, warn, info or debug, not '%s'",
			name);
}

static bool print_json(struct run *run, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	bool ok = summary_json(run->ledger, &w, err);
	printf("%s\n", text.data);
	str_release(&text);
	return ok;
}

/* A threshold of a model that nobody has held against labels is a guess. */
static bool print_uncalibrated(const struct run *run, const char *pipeline, struct error *err)
{
	struct arena arena = {0};
	struct ledger_verifier *list;
	size_t n;
	bool ok = ledger_verifiers(run->ledger, &arena, &list, &n, err);
	for (size_t i = 0; ok && run->accept && i < n; i++) {
		const struct ledger_verifier *v = &list[i];
		size_t column = columns_find(&run->columns, v->name);
		char fingerprint[33];
		measured_fingerprint(run->ledger, v->name, fingerprint);
		if (v->is_verdict && v->n_between && column < run->columns.n_of_candidate &&
			expr_reads(run->accept, column) &&
			!history_is_calibrated(run->history, v->name, fingerprint)) {
			printf("\nnote: accept reads '%s', whose thresholds were never held "
			       "against "
			       "labels\n      thresh calibrate %s%s\n",
				v->name, pipeline, run->def->label ? "" : " --label FIELD");
		}
	}
	arena_release(&arena);
	return ok;
}

static void print_held(const struct run *run, const char *pipeline)
{
	printf("\nnothing was published; the same command asks again once `gate:` is another\nto "
	       "choose anew:          thresh run %s --run-id %s --from select\nto publish it as it "
	       "is: thresh run %s --run-id %s --no-gate\n",
		pipeline, run->id, pipeline, run->id);
}

/* The night is done with or without its page. */
static void write_page(const struct run *run, const char *pipeline)
{
	struct error err = {0};
	AUTO_FREE char *path = file_join(run->dir, REPORT_FILE);
	const struct report_source source = {run->ledger, run->def->workdir, pipeline};
	if (!report_write(&source, path, &err)) {
		log_warn("the report could not be written; the run is done all the same", "reason",
			err.msg, NULL);
	}
}

/* What somebody wants to look at or type next. */
static void print_next(const struct run *run, const char *pipeline)
{
	AUTO_FREE char *shards = xasprintf("%s/shards/%s", run->def->workdir, run->id);
	AUTO_FREE char *page = file_join(run->dir, REPORT_FILE);
	if (file_is_dir(shards)) {
		printf("\nshards: %s\nnext:   thresh inspect %s\n", shards, shards);
	} else {
		printf("\nno shards were made\nnext:   thresh query %s \"select state, reason, "
		       "count(*) from candidate group by 1, 2\"\n",
			pipeline);
	}
	if (file_exists(page)) {
		printf("report: %s\n", page);
	}
}

static int report(struct run *run, const char *pipeline, bool json, struct error *err)
{
	struct summary_facts facts;
	if (!(json ? print_json(run, err) : summary_print(run->ledger, stdout, err)) ||
		!summary_read(run->ledger, &facts, err)) {
		return cli_fail(err);
	}
	if (!json) {
		if (!print_uncalibrated(run, pipeline, err)) {
			return cli_fail(err);
		}
		(facts.held ? print_held : print_next)(run, pipeline);
	}
	if (facts.held) {
		return 4;
	}
	return facts.n_failed || facts.n_prompts_failed || facts.n_scores_failed ? 3 : 0;
}

static int do_work(struct run *run, const char *pipeline, const struct run_flags *flags,
	struct outside *outside, bool *out_nothing)
{
	struct error err = {0};
	enum runner_outcome outcome = RUNNER_DONE;
	bool ok = runner_run(
		run, &(struct runner_watch){outside_stage, outside_tick, outside}, &outcome, &err);
	outside_release(outside);
	if (!ok) {
		if (err.kind != FAIL_INTERRUPTED && !err.hint[0]) {
			error_hint(
				&err, "what was done is kept: the same command goes on from there");
		}
		return cli_fail(&err);
	}
	*out_nothing = outcome == RUNNER_NOTHING;
	if (*out_nothing) {
		printf("nothing to do: every prompt of the sources has been settled by an earlier "
		       "run, or is none that\n`sample` may draw (its log lines count why)\n");
		return 0;
	}
	if (!flags->no_report) {
		write_page(run, pipeline);
	}
	return report(run, pipeline, flags->json, &err);
}

/* For the hooks: the run's summary as a file. NULL: there is none, with a warning. */
static char *write_summary(struct run *run)
{
	struct error err = {0};
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	bool ok = summary_json(run->ledger, &w, &err) &&
		file_publish(run->dir, "summary.json", text.data, text.len, &err);
	str_release(&text);
	if (!ok) {
		log_warn("the summary for hooks cannot be written", "error", err.msg, NULL);
	}
	return ok ? file_join(run->dir, "summary.json") : NULL;
}

static bool has_hooks(const struct definition *def)
{
	return def->hooks.on_success || def->hooks.on_failure || def->hooks.after;
}

/* The run is released before the hooks: the workdir must be free for them. */
static void end_with_hooks(
	struct run *run, const struct definition *def, const char *pipeline, bool opened, int code)
{
	bool known = opened && run->ledger;
	AUTO_FREE char *id = known ? xstrdup(run->id) : NULL;
	AUTO_FREE char *dir = known ? xstrdup(run->dir) : NULL;
	AUTO_FREE char *shards = known ? xasprintf("%s/shards/%s", def->workdir, id) : NULL;
	AUTO_FREE char *summary = known && has_hooks(def) ? write_summary(run) : NULL;
	run_release(run);
	if (has_hooks(def)) {
		hooks_run(def,
			&(struct hook_facts){.pipeline = pipeline,
				.run = id,
				.run_dir = dir,
				.shards = shards && file_is_dir(shards) ? shards : NULL,
				.summary = summary,
				.exit_code = code});
	}
}

static int work(struct run *run, const char *pipeline, const struct run_flags *flags)
{
	const struct definition *def = run->def;
	struct outside outside;
	char stamp[40];
	bool nothing = false;
	log_set_run(run->id);
	clock_stamp(clock_wall_ms(), stamp);
	log_info(run->resumed ? "run resumes" : "run begins", "pipeline", def->name, "number",
		log_fmt("%" PRId64, run->number), "time", stamp, "dir", run->dir, NULL);
	outside_init(&outside, run);
	int code = do_work(run, pipeline, flags, &outside, &nothing);
	outside_end(&outside, run, code);
	end_with_hooks(run, def, pipeline, !nothing, code);
	return code;
}

/* The night did not even begin: whoever waits for it is told as well. */
static int not_opened(struct run *run, const struct definition *def, const char *pipeline, int code)
{
	if (run->lock.fd >= 0) { /* else they are those of the run that is at work */
		struct metrics metrics;
		metrics_init(&metrics, def);
		metrics_end(&metrics, NULL, code);
	}
	end_with_hooks(run, def, pipeline, false, code);
	return code;
}

static int already_done(struct run *run, bool held, const char *pipeline, bool json)
{
	struct error err = {0};
	fprintf(stderr,
		held ? "run %s is held back by its gate; --no-gate publishes it, --new starts "
		       "another today\n"
		     : "run %s is done; --new starts another today\n",
		run->id);
	return report(run, pipeline, json, &err);
}

int cmd_run(int argc, char **argv)
{
	struct run_flags flags = {0};
	struct cli_option options[] = {
		{"from", "STAGE", "do this stage and those after it again, without generating",
			CLI_STRING, &flags.options.from},
		{"limit", "N", "draw at most N prompts", CLI_COUNT, &flags.options.limit},
		{"run-id", "ID", "name of the run; default: DATE.N", CLI_STRING,
			&flags.options.run_id},
		{"new", NULL, "start the next run although today's is done", CLI_FLAG,
			&flags.options.start_next},
		{"no-gate", NULL, "publish whatever the definition's `gate` says", CLI_FLAG,
			&flags.options.no_gate},
		{"set", "A.B=C", "override a value of the pipeline file", CLI_STRINGS, &flags.sets},
		{"dry-run", NULL, "show what would be done, with three rendered prompts", CLI_FLAG,
			&flags.options.dry},
		{"no-report", NULL, "write no " REPORT_FILE " at the end", CLI_FLAG,
			&flags.no_report},
		{"json", NULL, "print the summary as JSON", CLI_FLAG, &flags.json},
		{"log", "LEVEL", "error, warn, info or debug; default: info", CLI_STRING,
			&flags.log_level},
		{0},
	};
	struct cli cli = {"run", "PIPELINE",
		"Runs a pipeline: resumes its open run, or starts the next.", options, 1, 1,
		"Exit codes: 0 done, 1 failed, 2 bad usage or definition, 3 done with failed "
		"items,\n4 the gate said no and nothing was published, 130 interrupted; after 1 "
		"and 130 the "
		"same command\ngoes on where it stopped.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct error err = {0};
	if (!set_log_level(flags.log_level, &err)) {
		return cli_fail(&err);
	}
	const char *pipeline = cli.args[0];
	struct definition def;
	struct error_list errors = {0};
	definition_read(&def, pipeline, flags.sets.items, flags.sets.n, &errors);
	if (errors.n) {
		exit_code = cli_fail_all(&errors);
		goto done_definition;
	}
	struct run run;
	enum run_opened opened = run_open(&run, &def, &flags.options, &err);
	switch (opened) {
	case RUN_OPENED:
		exit_code = flags.options.dry ? dry_run(&run, &err) ? 0 : cli_fail(&err)
					      : work(&run, pipeline, &flags);
		break;
	case RUN_ALREADY_DONE:
	case RUN_HELD:
		exit_code = already_done(&run, opened == RUN_HELD, pipeline, flags.json);
		break;
	case RUN_FAILED:
		exit_code = cli_fail(&err);
		exit_code = flags.options.dry ? exit_code
					      : not_opened(&run, &def, pipeline, exit_code);
		break;
	}
	run_release(&run);
done_definition:
	definition_release(&def);
	error_list_release(&errors);
	return cli_finish_stdout(exit_code);
}
