#include "base/file.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "report/report.h"
#include "run.h"

#include <stdio.h>

int cmd_report(int argc, char **argv)
{
	const char *run_id = NULL, *output = NULL;
	struct cli_option options[] = {
		{"run-id", "ID", "which run; default: the newest", CLI_STRING, &run_id},
		{"output", "FILE", "where to; default: " REPORT_FILE " beside the run's ledger",
			CLI_STRING, &output},
		{0},
	};
	struct cli cli = {"report", "PIPELINE",
		"Writes one self-contained HTML file that tells the story of a run.", options, 1, 1,
		"The file's path is printed. While a run goes on, it tells of what is there so "
		"far.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	struct ledger *l = NULL;
	AUTO_FREE char *ledger_path = NULL, *path = NULL;
	bool ok = definition_for_reading(&def, cli.args[0], &err) &&
		(ledger_path = run_find_ledger(def.workdir, run_id, &err)) &&
		(l = ledger_open(ledger_path, LEDGER_READ, &err));
	if (ok) {
		AUTO_FREE char *dir = file_dirname(ledger_path);
		path = output ? xstrdup(output) : file_join(dir, REPORT_FILE);
		ok = report_write(&(struct report_source){l, def.workdir, cli.args[0]}, path, &err);
	}
	exit_code = ok ? 0 : cli_fail(&err);
	if (ok) {
		printf("%s\n", path);
	}
	ledger_close(l);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
