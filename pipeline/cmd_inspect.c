/* `thresh inspect`: which mode is meant, and whether its options fit together; the modes are in inspect/. */
#include "base/attr.h"
#include "base/error.h"
#include "base/str.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "inspect/inspect.h"

/* clang-format off */
static const char help[] =
	"\n\n"
	"--grep takes Perl-compatible patterns: (?i) in front ignores case, (?s) lets the dot match newlines.\n"
	"It matches the decoded text of each sequence; rows without token ids by their columns of text. A line\n"
	"tells the first match of a sequence, where --sample shows it, and whether it lies in the prompt or in\n"
	"what is trained on. Exit code 0 with matches, 1 without, 3 if a text made the pattern take too many\n"
	"steps. --grep-ids is the same for token ids, and needs no vocabulary.\n\n"
	"--id of a prompt with several sequences lists them and exits 2. --diff says what B has that A has not:\n"
	"sequences are the same if all their token ids are.";
/* clang-format on */

struct request {
	const char *sample, *id, *grep, *grep_ids, *max;
	bool trained, diff, verify, no_ledger, json, tokens;
	struct inspect_export export;
	struct inspect_repack repack;
	const char *unpack_to, *repack_to;
};

/* Two modes in one command would each want to say what is printed. */
static bool check_modes(const struct request *q, struct error *err)
{
	const struct {
		const char *name;
		bool given;
	} modes[] = {{"sample", q->sample}, {"id", q->id}, {"grep", q->grep},
		{"grep-ids", q->grep_ids}, {"diff", q->diff}, {"verify", q->verify},
		{"export", q->export.format}, {"unpack", q->unpack_to}, {"repack", q->repack_to}};
	const char *chosen = NULL;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (modes[i].given && chosen) {
			return error_set(err, FAIL_USAGE, "--%s and --%s cannot go together",
				chosen, modes[i].name);
		}
		chosen = modes[i].given ? modes[i].name : chosen;
	}
	return true;
}

static bool check_details(const struct request *q, struct error *err)
{
	if (q->tokens && !q->sample && !q->id) {
		return error_set(err, FAIL_USAGE, "--tokens goes with --sample N or --id ID");
	}
	if (q->no_ledger && !q->verify) {
		return error_set(err, FAIL_USAGE, "--no-ledger goes with --verify");
	}
	if (q->export.to && !q->export.format) {
		return error_set(err, FAIL_USAGE, "--to goes with --export FORMAT");
	}
	const struct inspect_repack *r = &q->repack;
	if (!q->repack_to && (r->level || r->frames || r->shard_bytes || r->layout)) {
		return error_set(err, FAIL_USAGE,
			"--level, --frames, --shard-bytes and --layout go with --repack TO");
	}
	return (!q->max && !q->trained) || q->grep || q->grep_ids ||
		error_set(err, FAIL_USAGE, "--%s goes with --grep or --grep-ids",
			q->max ? "max" : "trained");
}

static bool search(struct cli *cli, const struct request *q, int *out_exit_code, struct error *err)
{
	struct inspect_query query = {q->grep, q->grep_ids, UINT64_MAX, q->trained, q->json};
	if (q->max && (!text_parse_u64(q->max, &query.max) || !query.max)) {
		return error_set(err, FAIL_USAGE,
			"--max must be a whole number and at least 1, not '%.40s'", q->max);
	}
	return inspect_grep(cli->args, cli->n_args, &query, out_exit_code, err);
}

/* Makes another folder of one. */
static bool rewrite(struct cli *cli, const struct request *q, struct error *err)
{
	if (cli->n_args != 1) {
		return error_set(err, FAIL_USAGE, "--%s takes one folder",
			q->unpack_to ? "unpack" : "repack");
	}
	return q->unpack_to ? inspect_unpack(cli->args[0], q->unpack_to, q->json, err)
			    : inspect_repack(cli->args[0], q->repack_to, &q->repack, err);
}

static bool run(struct cli *cli, const struct request *q, int *out_exit_code, struct error *err)
{
	if (!check_modes(q, err) || !check_details(q, err)) {
		return false;
	}
	if (q->verify) {
		uint64_t n_faults;
		bool ok = inspect_verify(cli->args, cli->n_args,
			&(struct inspect_check){!q->no_ledger, q->json}, &n_faults, err);
		*out_exit_code = n_faults ? 1 : 0;
		return ok;
	}
	if (q->export.format) {
		return inspect_export(cli->args, cli->n_args, &q->export, err);
	}
	if (q->unpack_to || q->repack_to) {
		return rewrite(cli, q, err);
	}
	if (q->grep || q->grep_ids) {
		return search(cli, q, out_exit_code, err);
	}
	if (q->sample) {
		uint64_t row;
		if (!text_parse_u64(q->sample, &row) || cli->n_args != 1) {
			return error_set(
				err, FAIL_USAGE, "--sample takes a number, and one folder");
		}
		return inspect_sample(
			cli->args[0], row, &(struct inspect_show){q->tokens, q->json}, err);
	}
	if (q->id) {
		if (cli->n_args != 1) {
			return error_set(err, FAIL_USAGE, "--id takes one folder");
		}
		return inspect_find(
			cli->args[0], q->id, &(struct inspect_show){q->tokens, q->json}, err);
	}
	if (q->diff) {
		return cli->n_args == 2
			? inspect_diff(cli->args[0], cli->args[1], q->json, err)
			: error_set(err, FAIL_USAGE, "--diff compares two folders, not %zu",
				  cli->n_args);
	}
	return inspect_summary(cli->args, cli->n_args, q->json, err);
}

int cmd_inspect(int argc, char **argv)
{
	struct request q = {0};
	struct cli_option options[] = {
		{"sample", "N", "show sample N decoded: the prompt dim, what is trained on plain",
			CLI_STRING, &q.sample},
		{"id", "ID",
			"show one sequence: 12.3, a sample id, or the beginning of a prompt_id",
			CLI_STRING, &q.id},
		{"tokens", NULL,
			"with --sample, --id: a line a token, with id, loss and logprob if it was "
			"kept",
			CLI_FLAG, &q.tokens},
		{"grep", "REGEX", "a line for each sequence whose text matches (PCRE2)", CLI_STRING,
			&q.grep},
		{"grep-ids", "ID,ID,...",
			"a line for each sequence that has these token ids in a row", CLI_STRING,
			&q.grep_ids},
		{"trained", NULL, "with --grep, --grep-ids: only in what is trained on", CLI_FLAG,
			&q.trained},
		{"max", "N", "with --grep, --grep-ids: stop after N matches", CLI_STRING, &q.max},
		{"diff", NULL,
			"what changed from folder A to B: sizes, sources, lengths, scores, overlap",
			CLI_FLAG, &q.diff},
		{"verify", NULL,
			"check hashes, frames, offsets and values, and the ledger if it is "
			"there; exit 1 if anything is wrong",
			CLI_FLAG, &q.verify},
		{"no-ledger", NULL, "with --verify: do not compare with the ledger", CLI_FLAG,
			&q.no_ledger},
		{"export", "FORMAT", "all sequences in another format, see below", CLI_STRING,
			&q.export.format},
		{"to", "PATH",
			"with --export: where to; in one zstd frame if it ends in .zst; default: "
			"standard output",
			CLI_STRING, &q.export.to},
		{"unpack", "TO",
			"raw shards in a new folder TO, for readers that do not decompress",
			CLI_STRING, &q.unpack_to},
		{"repack", "TO", "seekable zstd shards in a new folder TO, out of any MDS folder",
			CLI_STRING, &q.repack_to},
		{"level", "N", "with --repack: of zstd, 1 to 19; default: 3", CLI_STRING,
			&q.repack.level},
		{"frames", "HOW", "with --repack: many (default) or single, for old readers",
			CLI_STRING, &q.repack.frames},
		{"shard-bytes", "SIZE",
			"with --repack: of a raw shard at most; default: as the folder has it",
			CLI_STRING, &q.repack.shard_bytes},
		{"layout", "LAYOUT",
			"with --repack: samples, a row a sequence; default: rows as they are",
			CLI_STRING, &q.repack.layout},
		{"json", NULL, "print the result as JSON", CLI_FLAG, &q.json},
		{0},
	};
	struct str more;
	str_init(&more, STR_NO_CAP);
	str_append_z(&more, "formats of --export:\n");
	inspect_export_help(&more);
	str_append_z(&more, help);
	struct cli cli = {"inspect", "SHARDS ...",
		"Shows what is in folders of MDS shards, ours or any other.", options, 1, 1000,
		more.data, NULL, 0};
	int exit_code = 0;
	bool parsed = cli_parse(&cli, argc, argv, &exit_code);
	str_release(&more);
	if (!parsed) {
		return exit_code;
	}
	q.export.json = q.repack.json = q.json;
	struct error err = {0};
	if (!run(&cli, &q, &exit_code, &err)) {
		exit_code = cli_fail(&err);
	}
	return cli_finish_stdout(exit_code);
}
