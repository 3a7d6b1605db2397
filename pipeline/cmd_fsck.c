#include "base/json.h"
#include "base/mem.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "fsck/fsck.h"
#include "inspect/inspect_print.h"

#include <inttypes.h>
#include <stdio.h>

struct printing {
	bool json;
	struct str faults; /* JSON objects, comma-separated */
	struct json_writer w;
};

static void put_fault(struct json_writer *w, const struct fsck_fault *fault)
{
	const struct {
		const char *key, *value;
	} members[] = {{"path", fault->path}, {"fault", fault->what}, {"repaired", fault->repaired},
		{"remedy", fault->remedy}};
	json_begin_object(w);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_member_z(w, members[i].key, members[i].value);
	}
	json_end_object(w);
}

static void print_fault(void *ctx, const struct fsck_fault *fault)
{
	struct printing *p = ctx;
	if (p->json) {
		put_fault(&p->w, fault);
		return;
	}
	print_z(fault->path);
	printf(": ");
	print_z(fault->what);
	if (fault->repaired) {
		printf(" [%s]", fault->repaired);
	} else if (fault->remedy) {
		printf("\n  hint: %s", fault->remedy);
	}
	putchar('\n');
}

static void print_end_json(const struct fsck *f, const struct printing *p)
{
	const struct {
		const char *key;
		uint64_t value;
	} counts[] = {{"runs", f->n_runs}, {"candidates", f->n_candidates}, {"shards", f->n_shards},
		{"repaired", f->n_repaired}, {"left", f->n_faults - f->n_repaired}};
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		json_member_uint(&w, counts[i].key, counts[i].value);
	}
	json_key(&w, "faults");
	json_put_raw(&w, p->faults.data, p->faults.len);
	json_end_object(&w);
	puts(text.data);
	str_release(&text);
}

static void print_end(const struct fsck *f)
{
	print_z(f->def->workdir);
	if (!f->n_faults) {
		printf(": ok, ");
	} else {
		printf(": %" PRIu64 " faults, %" PRIu64 " repaired, %" PRIu64 " left; ",
			f->n_faults, f->n_repaired, f->n_faults - f->n_repaired);
	}
	printf("%" PRIu64 " runs, %" PRIu64 " candidates with texts, %" PRIu64
	       " shards and sidecars\n",
		f->n_runs, f->n_candidates, f->n_shards);
}

int cmd_fsck(int argc, char **argv)
{
	const char *run_id = NULL;
	struct printing p = {0};
	struct fsck f = {.tell = print_fault, .ctx = &p};
	struct cli_option options[] = {
		{"run-id", "ID", "check this run alone; default: all, and what lies beside them",
			CLI_STRING, &run_id},
		{"repair", NULL, "repair what can be made again out of what is sound", CLI_FLAG,
			&f.repair},
		{"json", NULL, "print one JSON object", CLI_FLAG, &p.json},
		{0},
	};
	struct cli cli = {"fsck", "PIPELINE",
		"Checks ledgers, shards, history and files of a workdir against each other.",
		options, 1, 1,
		"Repaired are: what dead processes left, a missing history or record in it, the "
		"index over\nall nights. Exit codes: 0 all is well, or was repaired; 1 faults are "
		"left, or it could not\nbe checked.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	str_init(&p.faults, STR_NO_CAP);
	p.w.out = &p.faults;
	json_begin_array(&p.w);
	if (definition_for_reading(&def, cli.args[0], &err)) {
		f.def = &def;
	}
	if (!f.def || !fsck_workdir(&f, run_id, &err)) {
		exit_code = cli_fail(&err);
	} else {
		json_end_array(&p.w);
		if (p.json) {
			print_end_json(&f, &p);
		} else {
			print_end(&f);
		}
		exit_code = f.n_faults > f.n_repaired;
	}
	str_release(&p.faults);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
