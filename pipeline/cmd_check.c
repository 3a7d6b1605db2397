#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "probe_engines.h"

#include <stdio.h>
#include <stdlib.h>

static void print_json(const struct error_list *errors)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_array(&w);
	for (size_t i = 0; i < errors->n; i++) {
		json_begin_object(&w);
		json_key(&w, "where");
		json_put_z(&w, errors->items[i].where);
		json_key(&w, "message");
		json_put_z(&w, errors->items[i].msg);
		json_key(&w, "hint");
		json_put_z(&w, errors->items[i].hint[0] ? errors->items[i].hint : NULL);
		json_end_object(&w);
	}
	json_end_array(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

static int check_online(const struct definition *def)
{
	char dir[] = "/tmp/thresh-check-XXXXXX";
	struct error err = {0};
	if (!mkdtemp(dir)) {
		error_errno(&err, "could not make a temporary folder");
		return cli_fail(&err);
	}
	struct probe_engines probe;
	int exit_code = 0;
	probe_engines_open(&probe, def, dir);
	for (size_t i = 0; i < def->n_engines; i++) {
		const char *name = def->engines[i].config.name;
		if (!probe.engines[i]) {
			printf("engine %s: not used by any stage\n", name);
		} else if (probe.errors[i].msg[0]) {
			exit_code = 1;
			cli_fail(&probe.errors[i]);
		} else {
			const struct engine_info *info = engine_info(probe.engines[i]);
			printf("engine %s: %s dialect, model %s, build %s, %u slots, context %u, "
			       "ids %s, logprobs %s, n %s, seeds %s\n",
				name, info->dialect, info->model ? info->model : "?",
				info->build ? info->build : "?", info->n_slots, info->context,
				info->has_ids ? "yes" : "no", info->has_logprobs ? "yes" : "no",
				info->has_n ? "yes" : "no", info->has_seed ? "yes" : "no");
		}
	}
	probe_engines_close(&probe);
	return file_remove_tree(dir, &err) ? exit_code : cli_fail(&err);
}

int cmd_check(int argc, char **argv)
{
	struct cli_strings sets = {0};
	bool json = false, online = false;
	struct cli_option options[] = {
		{"online", NULL, "also start or reach each engine and say what it can do", CLI_FLAG,
			&online},
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
	struct definition def;
	struct error_list errors = {0};
	definition_read(&def, cli.args[0], sets.items, sets.n, &errors);
	if (json) {
		print_json(&errors);
		exit_code = errors.n ? 2 : 0;
	} else if (errors.n) {
		exit_code = cli_fail_all(&errors);
	} else {
		printf("%s: ok, %zu stages, %zu verifiers, %zu engines\n", cli.args[0],
			def.n_stages, def.n_verifiers, def.n_engines);
		exit_code = 0;
	}
	if (!errors.n && online) {
		exit_code = check_online(&def);
	}
	definition_release(&def);
	error_list_release(&errors);
	return cli_finish_stdout(exit_code);
}
