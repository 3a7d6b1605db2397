/* thresh pause, resume and drain: one request each to the running night (control.h). */
#include "base/json.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "control.h"
#include "definition.h"

#include <inttypes.h>
#include <stdio.h>

struct order {
	const char *word, *summary, *more_help;
	void (*tell)(const char *run, int64_t in_flight, const char *pipeline);
};

static void tell_paused(const char *run, int64_t in_flight, const char *pipeline)
{
	printf("run %s is paused; %" PRId64
	       " candidates in flight are finished and kept\nnext:   thresh resume %s\n",
		run, in_flight, pipeline);
}

static void tell_resumed(const char *run, int64_t in_flight, const char *pipeline)
{
	(void)in_flight;
	printf("run %s goes on\nnext:   thresh status --watch %s\n", run, pipeline);
}

static void tell_draining(const char *run, int64_t in_flight, const char *pipeline)
{
	printf("run %s ends: %" PRId64
	       " candidates in flight may finish, then what there is is selected and "
	       "packed\nnext:   thresh status --watch %s\n",
		run, in_flight, pipeline);
}

/* A refusal is an answer, too. */
static bool read_answer(const struct json *answer, struct error *err)
{
	bool ok = false;
	const char *why = json_z(json_get(answer, "error"));
	return (json_bool(json_get(answer, "ok"), &ok) && ok) ||
		error_set(err, FAIL_IO, "%s", why ? why : "the answer of the run is not readable");
}

static bool give(const struct order *order, const char *pipeline, const char *workdir, bool as_json,
	struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	AUTO_JSON struct json *answer = NULL;
	bool ok = control_ask(workdir, order->word, &text, err) &&
		(answer = json_parse(text.data, text.len, err)) && read_answer(answer, err);
	int64_t in_flight = 0;
	const char *run = json_z(json_get(answer, "run"));
	json_int(json_get(answer, "in_flight"), &in_flight);
	if (ok && as_json) {
		printf("%s\n", text.data);
	} else if (ok) {
		order->tell(run ? run : "?", in_flight, pipeline);
	}
	str_release(&text);
	return ok;
}

static int command(const struct order *order, int argc, char **argv)
{
	bool as_json = false;
	struct cli_option options[] = {
		{"json", NULL, "print the run's answer as JSON", CLI_FLAG, &as_json},
		{0},
	};
	struct cli cli = {
		order->word, "PIPELINE", order->summary, options, 1, 1, order->more_help, NULL, 0};
	int exit_code = 0;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	if (!definition_for_reading(&def, cli.args[0], &err) ||
		!give(order, cli.args[0], def.workdir, as_json, &err)) {
		exit_code = cli_fail(&err);
	}
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}

int cmd_pause(int argc, char **argv)
{
	static const struct order order = {"pause", "Holds a running night: no candidate is begun.",
		"What is in flight is finished, verified and kept. Deadline and energy go on. A "
		"run "
		"that is\nstopped and started again is not paused.",
		tell_paused};
	return command(&order, argc, argv);
}

int cmd_resume(int argc, char **argv)
{
	static const struct order order = {
		"resume", "Lets a paused night go on.", NULL, tell_resumed};
	return command(&order, argc, argv);
}

int cmd_drain(int argc, char **argv)
{
	static const struct order order = {"drain",
		"Ends a running night early, as its deadline would.",
		"No candidate is begun; what is in flight may finish for budget.drain, then "
		"everything there\nis is verified, selected and packed, and the run ends as "
		"finished. Prompts that are left\nare drawn again by the next run. To stop and go "
		"on later, use Ctrl-C or SIGTERM.",
		tell_draining};
	return command(&order, argc, argv);
}
