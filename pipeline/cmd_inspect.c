/* `thresh inspect`: which mode is meant, and whether its options fit together; the modes are in inspect/. */
#include "base/error.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "inspect/inspect.h"

#include <string.h>

struct request {
	const char *sample;
	bool verify, json, tokens;
	struct inspect_export export;
	struct inspect_repack repack;
	const char *unpack_to, *repack_to;
};

/* Makes files of a folder, or of several. */
static bool make(struct cli *cli, struct request *q, struct error *err)
{
	const struct inspect_repack *r = &q->repack;
	if ((q->export.format != NULL) + (q->unpack_to != NULL) + (q->repack_to != NULL) +
			(q->sample != NULL) + q->verify >
		1) {
		return error_set(err, FAIL_USAGE,
			"--export, --unpack, --repack, --sample and --verify exclude each other");
	}
	if (!q->repack_to && (r->level || r->frames || r->shard_bytes || r->layout)) {
		return error_set(err, FAIL_USAGE,
			"--level, --frames, --shard-bytes and --layout go with --repack TO");
	}
	if (!q->export.format && q->export.to) {
		return error_set(err, FAIL_USAGE, "--to goes with --export FORMAT");
	}
	if (!q->export.format && cli->n_args != 1) {
		return error_set(err, FAIL_USAGE, "--unpack and --repack take one folder");
	}
	q->export.json = q->repack.json = q->json;
	return q->export.format ? inspect_export(cli->args, cli->n_args, &q->export, err)
		: q->unpack_to  ? inspect_unpack(cli->args[0], q->unpack_to, q->json, err)
				: inspect_repack(cli->args[0], q->repack_to, &q->repack, err);
}

static bool run(struct cli *cli, struct request *q, int *out_exit_code, struct error *err)
{
	if (q->export.format || q->export.to || q->unpack_to || q->repack_to || q->repack.level ||
		q->repack.frames || q->repack.shard_bytes || q->repack.layout) {
		return make(cli, q, err);
	}
	if (q->verify) {
		uint64_t n_faults;
		bool ok = inspect_verify(cli->args, cli->n_args, q->json, &n_faults, err);
		*out_exit_code = n_faults ? 1 : 0;
		return ok;
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
	if (q->tokens) {
		return error_set(err, FAIL_USAGE, "--tokens goes with --sample N");
	}
	return inspect_summary(cli->args, cli->n_args, q->json, err);
}

int cmd_inspect(int argc, char **argv)
{
	struct request q = {0};
	struct cli_option options[] = {
		{"sample", "N", "show sample N decoded: the prompt dim, what is trained on plain",
			CLI_STRING, &q.sample},
		{"tokens", NULL,
			"with --sample: a line a token, with id, loss and logprob if it was kept",
			CLI_FLAG, &q.tokens},
		{"verify", NULL,
			"check hashes, frames, offsets and values; exit 1 if anything is wrong",
			CLI_FLAG, &q.verify},
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
	char formats[1024] = "formats of --export:\n";
	inspect_export_help(formats + strlen(formats), sizeof(formats) - strlen(formats));
	struct cli cli = {"inspect", "SHARDS ...",
		"Shows what is in folders of MDS shards, ours or any other.", options, 1, 1000,
		formats, NULL, 0};
	int exit_code = 0;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct error err = {0};
	if (!run(&cli, &q, &exit_code, &err)) {
		exit_code = cli_fail(&err);
	}
	return cli_finish_stdout(exit_code);
}
