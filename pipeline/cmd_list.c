/* `thresh stages`, `verifiers`, `engines` and `schema`: what can be written in YAML, out of the tables that read it. */
#include "base/json.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "registry.h"

#include <stdio.h>
#include <string.h>

static int unknown(const char *what, const char *name, const char *const *names, size_t n)
{
	struct error err = {0};
	error_set(&err, FAIL_USAGE, "there is no %s '%s'", what, name);
	const char *nearest = text_nearest(name, names, n);
	if (nearest) {
		error_hint(&err, "did you mean '%s'?", nearest);
	}
	return cli_fail(&err);
}

static void print_row(const char *name, const char *summary, const struct param *params)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	if (params) {
		param_help(params, 2, &text);
	}
	printf("%s\n  %s\n%s\n", name, summary, text.data);
	str_release(&text);
}

int cmd_stages(int argc, char **argv)
{
	struct cli_option options[] = {{0}};
	struct cli cli = {"stages", "[NAME]", "Lists the stages and their parameters.", options, 0,
		1, NULL, NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	size_t n;
	const char *const *names = registry_stage_names(&n);
	if (cli.n_args && !registry_stage(cli.args[0])) {
		return unknown("stage", cli.args[0], names, n);
	}
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		if (!cli.n_args || strcmp(cli.args[0], (*s)->name) == 0) {
			print_row((*s)->name, (*s)->summary, (*s)->params);
			if (!(*s)->params) {
				printf("  a list of verifiers, see `thresh verifiers`\n\n");
			}
		}
	}
	return cli_finish_stdout(0);
}

int cmd_verifiers(int argc, char **argv)
{
	struct cli_option options[] = {{0}};
	struct cli cli = {"verifiers", "[NAME]", "Lists the verifiers and their parameters.",
		options, 0, 1,
		"Each also takes `as: NAME`, its column's name where one kind is used twice, "
		"and\n`when: SQL`, who is asked at all.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	size_t n;
	const char *const *names = registry_verifier_names(&n);
	if (cli.n_args && !registry_verifier(cli.args[0])) {
		return unknown("verifier", cli.args[0], names, n);
	}
	for (const struct verifier_ops *const *v = registry_verifiers(); *v; v++) {
		if (!cli.n_args || strcmp(cli.args[0], (*v)->name) == 0) {
			print_row((*v)->name, (*v)->summary, (*v)->params);
			printf("  reasons: ");
			for (const char *const *r = (*v)->reasons; *r; r++) {
				printf("%s%s", *r, r[1] ? " " : "\n\n");
			}
		}
	}
	return cli_finish_stdout(0);
}

int cmd_engines(int argc, char **argv)
{
	struct cli_option options[] = {{0}};
	struct cli cli = {"engines", "", "Says what may be written of an engine.", options, 0, 0,
		NULL, NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	print_row("engines: {NAME: {...}}",
		"a model behind one or more servers (`url`), or one that thresh starts (`serve`)",
		engine_params);
	return cli_finish_stdout(0);
}

/* --- schema --- */

static void key_text(struct json_writer *w, const char *key, const char *text)
{
	json_member_z(w, key, text);
}

/* {"type": "object", "properties": {NAME: schema}, "required": [NAME], "additionalProperties": false} */
static void begin_one_key(struct json_writer *w, const char *name, const char *summary)
{
	json_begin_object(w);
	key_text(w, "type", "object");
	key_text(w, "description", summary);
	json_key(w, "required");
	json_begin_array(w);
	json_put_z(w, name);
	json_end_array(w);
	json_member_bool(w, "additionalProperties", false);
	json_key(w, "properties");
	json_begin_object(w);
	json_key(w, name);
}

static void end_one_key(struct json_writer *w)
{
	json_end_object(w);
	json_end_object(w);
}

/* A verifier's own schema with `as` and `when` beside its parameters. */
static void put_verifier(struct json_writer *w, const struct verifier_ops *v)
{
	struct str own;
	str_init(&own, STR_NO_CAP);
	struct json_writer inner = {.out = &own};
	param_schema(v->params, &inner);
	static const char common[] =
		"\"as\":{\"type\":\"string\",\"description\":\"its column's name\"},"
		"\"when\":{\"type\":\"string\",\"description\":\"SQL: who is asked at all\"},";
	const char *at = strstr(own.data, "\"properties\":{");
	begin_one_key(w, v->name, v->summary);
	if (at) {
		struct str merged;
		str_init(&merged, STR_NO_CAP);
		size_t head = (size_t)(at - own.data) + strlen("\"properties\":{");
		bool empty = own.data[head] == '}';
		str_append(&merged, own.data, head);
		str_append(&merged, common, sizeof(common) - 1 - empty);
		str_append(&merged, own.data + head, own.len - head);
		json_put_raw(w, merged.data, merged.len);
		str_release(&merged);
	} else {
		json_put_raw(w, own.data, own.len);
	}
	end_one_key(w);
	str_release(&own);
}

static void put_stages(struct json_writer *w)
{
	json_begin_object(w);
	key_text(w, "type", "array");
	json_key(w, "items");
	json_begin_object(w);
	json_key(w, "oneOf");
	json_begin_array(w);
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		begin_one_key(w, (*s)->name, (*s)->summary);
		if ((*s)->params) {
			param_schema((*s)->params, w);
		} else {
			json_begin_object(w);
			key_text(w, "type", "array");
			json_key(w, "items");
			json_begin_object(w);
			json_key(w, "oneOf");
			json_begin_array(w);
			for (const struct verifier_ops *const *v = registry_verifiers(); *v; v++) {
				put_verifier(w, *v);
			}
			json_end_array(w);
			json_end_object(w);
			json_end_object(w);
		}
		end_one_key(w);
	}
	json_end_array(w);
	json_end_object(w);
	json_end_object(w);
}

/* The table leaves `engines` and `stages` open (rows of type NODE); their schemas are put in their places. */
static void put_pipeline(struct json_writer *w)
{
	static struct param plain[32];
	size_t n = 0;
	for (const struct param *row = definition_params; row->name; row++) {
		if (row->type != PARAM_TYPE_NODE) {
			plain[n++] = *row;
		}
	}
	plain[n] = (struct param){0};
	struct str own;
	str_init(&own, STR_NO_CAP);
	struct json_writer inner = {.out = &own};
	param_schema(plain, &inner);
	const char *at = strstr(own.data, "\"properties\":{");
	size_t head = at ? (size_t)(at - own.data) + strlen("\"properties\":{") : 0;
	struct str merged;
	str_init(&merged, STR_NO_CAP);
	str_append_z(&merged,
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"Thresh "
		"pipeline\",");
	str_append(&merged, own.data + 1, head - 1);
	struct json_writer members = {.out = &merged};
	json_key(&members, "engines");
	json_begin_object(&members);
	key_text(&members, "type", "object");
	json_key(&members, "additionalProperties");
	param_schema(engine_params, &members);
	json_end_object(&members);
	json_key(&members, "stages");
	put_stages(&members);
	str_append_c(&merged, ',');
	str_append(&merged, own.data + head, own.len - head);
	json_put_raw(w, merged.data, merged.len);
	str_release(&merged);
	str_release(&own);
}

int cmd_schema(int argc, char **argv)
{
	struct cli_option options[] = {{0}};
	struct cli cli = {"schema", "", "Prints the JSON Schema of the pipeline file, for editors.",
		options, 0, 0, NULL, NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	put_pipeline(&w);
	printf("%s\n", text.data);
	str_release(&text);
	return cli_finish_stdout(0);
}
