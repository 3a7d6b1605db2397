/* `thresh inspect`: which mode is meant, and whether its options fit together; the modes are in inspect/. */
#include "base/error.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "inspect/inspect.h"

struct request {
	const char *sample;
	bool verify, no_ledger, json, tokens;
};

static bool run(struct cli *cli, const struct request *q, int *out_exit_code, struct error *err)
{
	if (q->verify) {
		uint64_t n_faults;
		bool ok = inspect_verify(cli->args, cli->n_args,
			&(struct inspect_check){!q->no_ledger, q->json}, &n_faults, err);
		*out_exit_code = n_faults ? 1 : 0;
		return ok;
	}
	if (q->no_ledger) {
		return error_set(err, FAIL_USAGE, "--no-ledger goes with --verify");
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
			"check hashes, frames, offsets and values, and the ledger if it is "
			"there; exit 1 if anything is wrong",
			CLI_FLAG, &q.verify},
		{"no-ledger", NULL, "with --verify: do not compare with the ledger", CLI_FLAG,
			&q.no_ledger},
		{"json", NULL, "print the result as JSON", CLI_FLAG, &q.json},
		{0},
	};
	struct cli cli = {"inspect", "SHARDS ...",
		"Shows what is in folders of MDS shards, ours or any other.", options, 1, 1000,
		NULL, NULL, 0};
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
