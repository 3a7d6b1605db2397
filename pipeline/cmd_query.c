#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct printing {
	bool json, head_done;
	struct str line;
};

/* Tabs and newlines of a value would break the table. */
static void put_text(struct str *line, struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		if (c == '\t' || c == '\n' || c == '\\') {
			str_append_c(line, '\\');
			str_append_c(line, c == '\t' ? 't' : c == '\n' ? 'n' : '\\');
		} else if ((unsigned char)c < 0x20 || c == 0x7f) {
			str_printf(line, "\\x%02x", (unsigned char)c);
		} else {
			str_append_c(line, c);
		}
	}
}

static void put_plain(struct str *line, const struct ledger_cell *cell)
{
	char number[32];
	switch (cell->kind) {
	case CELL_NULL:
		break;
	case CELL_INT:
		str_printf(line, "%" PRId64, cell->integer);
		break;
	case CELL_REAL:
		text_format_double(cell->real, number);
		str_append_z(line, number);
		break;
	case CELL_TEXT:
		put_text(line, cell->text);
		break;
	case CELL_BLOB:
		str_printf(line, "(%zu bytes)", cell->text.len);
		break;
	}
}

static void put_json(struct json_writer *w, const struct ledger_cell *cell)
{
	switch (cell->kind) {
	case CELL_NULL:
		json_put_null(w);
		break;
	case CELL_INT:
		json_put_int(w, cell->integer);
		break;
	case CELL_REAL:
		json_put_num(w, cell->real);
		break;
	case CELL_TEXT:
		json_put_str(w, cell->text.data, cell->text.len);
		break;
	case CELL_BLOB:
		json_begin_object(w);
		json_member_uint(w, "bytes", cell->text.len);
		json_end_object(w);
		break;
	}
}

static bool row(void *ctx, const char *const *names, const struct ledger_cell *cells, size_t n)
{
	struct printing *p = ctx;
	str_reset(&p->line);
	if (p->json) {
		struct json_writer w = {.out = &p->line};
		json_begin_object(&w);
		for (size_t i = 0; i < n; i++) {
			json_key(&w, names[i]);
			put_json(&w, &cells[i]);
		}
		json_end_object(&w);
	} else {
		for (size_t i = 0; i < n && !p->head_done; i++) {
			str_printf(&p->line, "%s%s", names[i], i + 1 < n ? "\t" : "\n");
		}
		p->head_done = true;
		for (size_t i = 0; i < n; i++) {
			put_plain(&p->line, &cells[i]);
			if (i + 1 < n) {
				str_append_c(&p->line, '\t');
			}
		}
	}
	str_append_c(&p->line, '\n');
	return fwrite(p->line.data, 1, p->line.len, stdout) == p->line.len;
}

int cmd_query(int argc, char **argv)
{
	const char *run_id = NULL;
	struct printing p = {0};
	struct cli_option options[] = {
		{"run-id", "ID", "which run; default: the newest", CLI_STRING, &run_id},
		{"json", NULL, "print a JSON object a row", CLI_FLAG, &p.json},
		{0},
	};
	struct cli cli = {"query", "PIPELINE SQL",
		"Runs one read-only SQL statement over a run's ledger.", options, 2, 2,
		"Tables: meta fingerprint prompt candidate candidate_body score selection plan "
		"shard stage.\n"
		"Functions: text(candidate) and ids(candidate) unpack a candidate, fields(prompt) "
		"and\nprompt_ids(prompt) a prompt.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	AUTO_FREE char *path = NULL;
	struct ledger *l = NULL;
	str_init(&p.line, STR_NO_CAP);
	bool ok = definition_for_reading(&def, cli.args[0], &err) &&
		(path = run_find_ledger(def.workdir, run_id, &err)) &&
		(l = ledger_open(path, LEDGER_READ, &err)) &&
		ledger_query(l, cli.args[1], row, &p, &err);
	exit_code = ok ? 0 : cli_fail(&err);
	ledger_close(l);
	str_release(&p.line);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
