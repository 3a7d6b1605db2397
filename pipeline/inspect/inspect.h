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

/* Checks everything; *out_faults counts what is wrong. */
struct inspect_check {
	bool ledger; /* compare with the ledger of the run, if it is there */
	bool json;
};
MUST_CHECK bool inspect_verify(char *const *dirs, size_t n, const struct inspect_check *check,
	uint64_t *out_faults, struct error *err);

#endif
