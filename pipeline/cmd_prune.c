#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "prune.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const fates[] = {"pruned", "kept", "open", "unreadable"};

static void put_run(struct json_writer *w, const struct prune_run *r)
{
	json_begin_object(w);
	json_member_z(w, "run", r->id);
	json_member_z(w, "fate", fates[r->fate]);
	if (r->fate == PRUNE_OLD) {
		json_member_int(w, "texts", r->n_bodies);
		json_member_int(w, "ledger_bytes_before", r->ledger_before);
		json_member_int(w, "ledger_bytes_after", r->ledger_after);
		json_member_int(w, "log_bytes", r->log_bytes);
		json_member_int(w, "shard_bytes", r->shard_bytes);
	}
	json_end_object(w);
}

static void print_json(const struct prune_result *result, bool dry)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_member_bool(&w, "dry_run", dry);
	json_member_int(&w, "freed_bytes", result->freed_bytes);
	json_member_int(&w, "leftover_bytes", result->leftover_bytes);
	json_key(&w, "runs");
	json_begin_array(&w);
	for (size_t i = 0; i < result->n; i++) {
		put_run(&w, &result->runs[i]);
	}
	json_end_array(&w);
	json_end_object(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

static void print_part(const char *what, int64_t bytes)
{
	char size[24];
	if (bytes > 0) {
		text_format_size((uint64_t)bytes, size);
		printf(", %s %s", what, size);
	}
}

static void print_run(const struct prune_run *r)
{
	char count[28], before[24], after[24];
	if (r->fate != PRUNE_OLD) {
		return;
	}
	text_format_count((uint64_t)r->n_bodies, count);
	text_format_size((uint64_t)r->ledger_before, before);
	text_format_size((uint64_t)r->ledger_after, after);
	printf("  %-16s %10s texts, ledger %s -> %s", r->id, count, before, after);
	print_part("logs", r->log_bytes);
	print_part("shards", r->shard_bytes);
	putchar('\n');
}

static size_t count(const struct prune_result *result, enum prune_fate fate)
{
	size_t n = 0;
	for (size_t i = 0; i < result->n; i++) {
		n += result->runs[i].fate == fate;
	}
	return n;
}

static void print_text(const struct prune_result *result, bool dry)
{
	char size[24];
	for (size_t i = 0; i < result->n; i++) {
		print_run(&result->runs[i]);
	}
	text_format_size((uint64_t)MAX(result->freed_bytes, 0), size);
	printf("%s%s: %zu old runs; %zu younger and %zu open ones are left alone\n",
		dry ? "would free about " : "freed ", size, count(result, PRUNE_OLD),
		count(result, PRUNE_YOUNG), count(result, PRUNE_OPEN));
}

static bool work(const struct definition *def, const char *keep, struct prune_options *options,
	struct prune_result *result, struct error *err)
{
	uint64_t keep_ms;
	int64_t now = clock_wall_ms();
	if (!keep) {
		error_set(err, FAIL_USAGE,
			"--keep is missing: how long are the texts of a run kept?");
		return error_hint(err, "thresh prune PIPELINE --keep 14d --dry-run");
	}
	if (!text_parse_duration(keep, &keep_ms) || keep_ms > (uint64_t)now) {
		return error_set(
			err, FAIL_USAGE, "--keep must be a duration like 14d, not '%s'", keep);
	}
	options->before_ms = now - (int64_t)keep_ms;
	return prune(def->workdir, def->name, options, result, err);
}

int cmd_prune(int argc, char **argv)
{
	const char *keep = NULL;
	struct prune_options options = {0};
	bool json = false;
	struct cli_option table[] = {
		{"keep", "TIME", "runs that ended less than that ago are left alone: 14d",
			CLI_STRING, &keep},
		{"shards", NULL, "old runs' published shards and sidecars go, too", CLI_FLAG,
			&options.shards},
		{"dry-run", NULL, "only say what would go", CLI_FLAG, &options.dry},
		{"json", NULL, "print JSON", CLI_FLAG, &json},
		{0},
	};
	struct cli cli = {"prune", "PIPELINE",
		"Makes room: what old runs hold that nobody needs any more.", table, 1, 1,
		"In this order: leftovers of dead processes, texts of candidates that were not "
		"shipped "
		"(their\nrows, scores and decisions stay), logs of engines and hooks; with "
		"--shards what "
		"was published.\nOpen runs are never touched. --from verify and --from select need "
		"the "
		"texts: after pruning only\n--from pack is left.",
		NULL, 0};
	int exit_code = 0;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	struct prune_result result = {0};
	if (!definition_for_reading(&def, cli.args[0], &err) || !def.name) {
		exit_code = cli_fail(&err);
	} else if (work(&def, keep, &options, &result, &err)) {
		json ? print_json(&result, options.dry) : print_text(&result, options.dry);
		exit_code = count(&result, PRUNE_UNREADABLE) ? 3 : 0;
	} else {
		exit_code = cli_fail(&err);
	}
	prune_result_release(&result);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
