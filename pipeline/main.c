/* The table of commands, dispatch, exit code. */
#include "base/text.h"
#include "commands.h"
#include "engine/server.h"
#include "registry.h"
#include "stages.h"
#include "verifiers/verifiers.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
	{"run", "PIPELINE", "the night: all stages, resumable", cmd_run},
	{"check", "PIPELINE", "every mistake in the file at once, offline", cmd_check},
	{"status", "PIPELINE", "the funnel of a run, while it goes on or afterwards", cmd_status},
	{"pause", "PIPELINE", "hold a running night: no candidate is begun", cmd_pause},
	{"resume", "PIPELINE", "let a paused night go on", cmd_resume},
	{"drain", "PIPELINE", "end a running night early, shards included", cmd_drain},
	{"prune", "PIPELINE", "make room: what old runs hold that nobody needs", cmd_prune},
	{"inspect", "SHARDS ...", "what is in a folder of shards", cmd_inspect},
	{"why", "[PIPELINE] ID", "the life of one prompt or candidate", cmd_why},
	{"report", "PIPELINE", "one HTML file: the morning after", cmd_report},
	{"query", "PIPELINE SQL", "read-only SQL over the ledger", cmd_query},
	{"history", "PIPELINE", "nights in a row, and the prompts by pass rate", cmd_history},
	{"calibrate", "PIPELINE", "which threshold of a verifier to choose, against labels",
		cmd_calibrate},
	{"fsck", "PIPELINE", "ledgers, shards and files checked against each other; --repair",
		cmd_fsck},
	{"math", "GOLD PRED", "the math checker by hand", cmd_math},
	{"stages", "[NAME]", "the stages and their parameters", cmd_stages},
	{"verifiers", "[NAME]", "the verifiers and their parameters", cmd_verifiers},
	{"engines", "", "what an engine may be", cmd_engines},
	{"schema", "", "JSON Schema of the pipeline file", cmd_schema},
};

static void print_usage(FILE *out)
{
	fprintf(out, "usage: thresh COMMAND ...\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		fprintf(out, "  %-10s %-14s %s\n", commands[i].name, commands[i].args,
			commands[i].summary);
	}
	fprintf(out,
		"\nthresh COMMAND --help tells more. Exit codes: 0 done, 1 failed, 2 bad usage or "
		"definition,\n"
		"3 done with failed items, 4 a quality gate said no, 130 interrupted and "
		"resumable.\n");
}

static int unknown(const char *name)
{
	const char *names[sizeof(commands) / sizeof(commands[0])];
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		names[i] = commands[i].name;
	}
	const char *nearest = text_nearest(name, names, sizeof(names) / sizeof(names[0]));
	fprintf(stderr, "thresh: unknown command '%s'\n  hint: %s%s%s\n", name,
		nearest ? "did you mean '" : "thresh --help lists them", nearest ? nearest : "",
		nearest ? "'?" : "");
	return 2;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "__spawn") == 0) {
		return server_spawn_main(argc - 1, argv + 1);
	}
	/* A reader that closes the pipe is noticed where we write. */
	signal(SIGPIPE, SIG_IGN);
	/* Large buffers (dictionary training, shard images) go back to the system when they are freed, and the pool's threads
	 * share their arenas: what a night holds is what it uses. */
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	mallopt(M_TRIM_THRESHOLD, 512 << 10);
	mallopt(M_ARENA_MAX, 2);
	if (argc < 2) {
		print_usage(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
		strcmp(argv[1], "help") == 0) {
		print_usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("thresh %s\n", THRESH_VERSION);
		return 0;
	}
	registry_set(all_stages, verifiers);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	return unknown(argv[1]);
}
