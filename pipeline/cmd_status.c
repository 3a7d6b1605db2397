#include "base/file.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"
#include "summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WATCH_SECONDS 2

static bool show(const char *path, bool json, struct error *err)
{
	struct ledger *l = ledger_open(path, LEDGER_READ, err);
	if (!l) {
		return false;
	}
	bool ok;
	if (json) {
		struct str text;
		str_init(&text, STR_NO_CAP);
		struct json_writer w = {.out = &text};
		ok = summary_json(l, &w, err);
		if (ok) {
			printf("%s\n", text.data);
		}
		str_release(&text);
	} else {
		ok = summary_print(l, stdout, err);
	}
	ledger_close(l);
	return ok && fflush(stdout) == 0;
}

int cmd_status(int argc, char **argv)
{
	const char *run_id = NULL;
	bool json = false, watch = false;
	struct cli_option options[] = {
		{"run-id", "ID", "which run; default: the newest", CLI_STRING, &run_id},
		{"watch", NULL, "show it again every 2 seconds", CLI_FLAG, &watch},
		{"json", NULL, "print JSON", CLI_FLAG, &json},
		{0},
	};
	struct cli cli = {"status", "PIPELINE", "Shows the funnel of a run, while it goes on or afterwards.", options, 1, 1, NULL, NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	AUTO_FREE char *path = NULL;
	exit_code = 0;
	if (!definition_for_reading(&def, cli.args[0], &err)) {
		exit_code = cli_fail(&err);
	} else if (!(path = run_find_ledger(def.workdir, run_id, &err))) {
		exit_code = cli_fail(&err);
	} else {
		AUTO_FREE char *lock = file_join(def.workdir, ".lock");
		do {
			if (watch && cli_is_fancy(STDOUT_FILENO)) {
				printf("\033[H\033[2J");
			}
			long pid = file_lock_holder(lock);
			if (pid && !json) {
				printf("thresh is at work, pid %ld\n", pid);
			}
			if (!show(path, json, &err)) {
				exit_code = err.kind ? cli_fail(&err) : 0; /* no kind: the reader has gone */
				break;
			}
			if (watch) {
				sleep(WATCH_SECONDS);
			}
		} while (watch);
	}
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
