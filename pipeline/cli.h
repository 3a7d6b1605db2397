/*
 * Command lines. A command has a table of options, which is parsed and printed as its help:
 *
 *	const struct cli_option options[] = {
 *		{"run-id", "ID", "which run; default: the newest", CLI_STRING, &run_id},
 *		{"json", NULL, "print JSON", CLI_FLAG, &json},
 *		{0},
 *	};
 *	struct cli cli = {"status", "PIPELINE", "Shows a run's funnel.", options, 1, 1};
 *	if (!cli_parse(&cli, argc, argv, &exit_code)) return exit_code;	// cli.args[0 .. cli.n_args)
 */
#ifndef PIPELINE_CLI_H
#define PIPELINE_CLI_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum cli_type {
	CLI_FLAG, /* bool */
	CLI_STRING, /* const char * */
	CLI_COUNT, /* uint64_t, with units: 50k */
	CLI_STRINGS, /* struct cli_strings; may be given several times */
};

struct cli_strings {
	const char *items[64];
	size_t n;
};

struct cli_option {
	const char *name; /* without the dashes */
	const char *arg; /* placeholder in the help; NULL for flags */
	const char *help;
	enum cli_type type;
	void *to;
};

struct cli {
	const char *command, *args_help, *summary;
	const struct cli_option *options; /* ends with {0} */
	size_t args_min, args_max;
	const char *more_help; /* paragraphs below the options; may be NULL */
	/* Filled: */
	char **args;
	size_t n_args;
};

/* False: the command is over (help, or a usage error that was printed) and *out_exit_code says how. */
MUST_CHECK bool cli_parse(struct cli *cli, int argc, char **argv, int *out_exit_code);
/* Prints an error as the user should read it, control characters made visible, and returns its exit code. */
int cli_fail(const struct error *err);
/* Prints all mistakes, in the order of their places, and returns 2. */
int cli_fail_all(struct error_list *errors);
/* Whether to use colours and redraw on this file descriptor: a terminal, and NO_COLOR not set. */
bool cli_is_fancy(int fd);
/* Call after the last output to stdout: a reader that went away early is no error, a full disk is. Returns the exit code to use. */
int cli_finish_stdout(int exit_code);

#endif
