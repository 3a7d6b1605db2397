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
void inspect_export_help(char *out, size_t out_bytes);

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
MUST_CHECK bool inspect_verify(
	char *const *dirs, size_t n, bool json, uint64_t *out_faults, struct error *err);

#endif
