/*
 * The modes of `thresh inspect`, a file each. They print their result to stdout and return false with err set if they could
 * not do what was asked; what they find wrong in a data set is a result. cmd_inspect.c parses, checks and dispatches.
 */
#ifndef PIPELINE_INSPECT_INSPECT_H
#define PIPELINE_INSPECT_INSPECT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is in the folders, as one data set. */
MUST_CHECK bool inspect_summary(char *const *dirs, size_t n, bool json, struct error *err);

/* One sample decoded, by its number. */
struct inspect_show {
	bool tokens; /* a line a token */
	bool json;
};
MUST_CHECK bool inspect_sample(
	const char *dir, uint64_t row, const struct inspect_show *show, struct error *err);

/* The sequences of the folders in another format, a row of the table in inspect_export.c. */
struct inspect_export {
	const char *format;
	const char *to; /* NULL: standard output */
	bool json;
};
MUST_CHECK bool inspect_export(
	char *const *dirs, size_t n, const struct inspect_export *q, struct error *err);
/* The table, a line a format. */
struct str;
void inspect_export_help(struct str *out);

/* The raw images as files of a new folder `to`, checked on the way. */
MUST_CHECK bool inspect_unpack(const char *dir, const char *to, bool json, struct error *err);

/* The rows as seekable shards of a new folder `to`. */
struct inspect_repack {
	const char *level; /* of zstd; NULL: 3 */
	const char *frames; /* many or single; NULL: many */
	const char *shard_bytes; /* NULL: as the folder has it */
	const char *layout; /* samples; NULL: as it is */
	bool json;
};
MUST_CHECK bool inspect_repack(
	const char *dir, const char *to, const struct inspect_repack *q, struct error *err);

/* Checks everything; *out_faults counts what is wrong. */
struct inspect_check {
	bool ledger; /* compare with the ledger of the run, if it is there */
	bool json;
};
MUST_CHECK bool inspect_verify(char *const *dirs, size_t n, const struct inspect_check *check,
	uint64_t *out_faults, struct error *err);

/* The first match in each sequence: of a pattern in its decoded text, or of token ids in a row. */
struct inspect_query {
	const char *regex; /* PCRE2; NULL: */
	const char *ids; /* "12,7,9" */
	uint64_t max; /* matches, then it stops */
	bool trained; /* only matches in what is trained on */
	bool json;
};
/* Exit code 0 with matches, 1 without, 3 if a text made the pattern take too many steps. */
MUST_CHECK bool inspect_grep(char *const *dirs, size_t n, const struct inspect_query *query,
	int *out_exit_code, struct error *err);

/*
 * The sequence with this id, with what the sidecars tell of it: "12.3" (candidate 3 of prompt 12), a sample id, or the
 * beginning of a prompt_id. If it names several they are listed, and that is FAIL_USAGE.
 */
MUST_CHECK bool inspect_find(
	const char *dir, const char *id, const struct inspect_show *show, struct error *err);

/* What changed between two folders. */
MUST_CHECK bool inspect_diff(const char *dir_a, const char *dir_b, bool json, struct error *err);

#endif
