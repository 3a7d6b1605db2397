#include "base/json.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "preflight.h"

#include <stdio.h>

static void print_json(const struct error_list *errors)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_array(&w);
	for (size_t i = 0; i < errors->n; i++) {
		json_begin_object(&w);
		json_member_z(&w, "where", errors->items[i].where);
		json_member_z(&w, "message", errors->items[i].msg);
		json_member_z(&w, "hint", errors->items[i].hint[0] ? errors->items[i].hint : NULL);
		json_end_object(&w);
	}
	json_end_array(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

int cmd_check(int argc, char **argv)
{
	struct cli_strings sets = {0};
	struct preflight_options preflight_options = {.trial_ms = 60000};
	const char *trial = NULL;
	bool json = false, online = false;
	struct cli_option options[] = {
		{"online", NULL,
			"also ask each engine what it can do, and run a trial night in a temporary "
			"folder",
			CLI_FLAG, &online},
		{"trial-time", "TIME", "cut the trial after this; 0s: no trial; default: 60s",
			CLI_STRING, &trial},
		{"set", "A.B=C", "override a value of the pipeline file", CLI_STRINGS, &sets},
		{"json", NULL, "print the mistakes as JSON", CLI_FLAG, &json},
		{0},
	};
	struct cli cli = {"check", "PIPELINE",
		"Finds every mistake of a pipeline file at once, offline.", options, 1, 1, NULL,
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	if (trial && !text_parse_duration(trial, &preflight_options.trial_ms)) {
		struct error err = {0};
		error_set(&err, FAIL_USAGE,
			"--trial-time is a duration such as 90s or 5m, not '%s'", trial);
		return cli_fail(&err);
	}
	struct definition def;
	struct error_list errors = {0};
	definition_read(&def, cli.args[0], sets.items, sets.n, &errors);
	preflight_options.json = json;
	if (json && !(online && !errors.n)) {
		print_json(&errors);
		exit_code = errors.n ? 2 : 0;
	} else if (errors.n) {
		exit_code = cli_fail_all(&errors);
	} else if (!json) {
		printf("%s: ok, %zu stages, %zu verifiers, %zu engines\n", cli.args[0],
			def.n_stages, def.n_verifiers, def.n_engines);
		exit_code = 0;
	} else {
		exit_code = 0;
	}
	if (!errors.n && online) {
		exit_code = preflight(&def, &preflight_options);
	}
	definition_release(&def);
	error_list_release(&errors);
	return cli_finish_stdout(exit_code);
}
