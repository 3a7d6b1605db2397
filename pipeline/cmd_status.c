#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "run.h"
#include "status_watch.h"

#include <stdio.h>

struct status_flags {
	const char *run_id, *every;
	bool json, watch;
};

static bool show(const struct definition *def, const struct status_flags *flags, struct error *err)
{
	struct status_watch w = {.workdir = def->workdir, .json = flags->json};
	if (flags->every && (!text_parse_duration(flags->every, &w.every_ms) || !w.every_ms)) {
		return error_set(err, FAIL_USAGE, "--every must be a duration like 10s, not '%s'",
			flags->every);
	}
	AUTO_FREE char *path = run_find_ledger(def->workdir, flags->run_id, err);
	w.ledger_path = path;
	if (!path || flags->watch) {
		return path && status_watch(&w, err);
	}
	AUTO_FREE char *lock = file_join(def->workdir, ".lock");
	long pid = file_lock_holder(lock);
	if (pid && !flags->json) {
		printf("thresh is at work, pid %ld\n", pid);
	}
	return status_show(path, flags->json, err);
}

int cmd_status(int argc, char **argv)
{
	struct status_flags flags = {0};
	struct cli_option options[] = {
		{"run-id", "ID", "which run; default: the newest", CLI_STRING, &flags.run_id},
		{"watch", NULL, "show it again and again until the run ends", CLI_FLAG,
			&flags.watch},
		{"every", "TIME", "how often; default: 2s, and 30s for lines of a log", CLI_STRING,
			&flags.every},
		{"json", NULL, "print JSON; with --watch one line each time", CLI_FLAG,
			&flags.json},
		{0},
	};
	struct cli cli = {"status", "PIPELINE",
		"Shows the funnel of a run, while it goes on or afterwards.", options, 1, 1,
		"--watch draws the screen again on a terminal, with the run's pace, its engines "
		"and "
		"the time\nthat is left; elsewhere it prints a line each time.",
		NULL, 0};
	int exit_code = 0;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	bool shown = definition_for_reading(&def, cli.args[0], &err) && show(&def, &flags, &err);
	definition_release(&def);
	if (!shown) {
		return err.kind ? cli_fail(&err) : 0; /* no kind: the reader has gone */
	}
	return cli_finish_stdout(exit_code);
}
