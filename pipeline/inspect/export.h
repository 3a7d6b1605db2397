/*
 * A format of `thresh inspect --export`: a row of the table in inspect_export.c. A format is given the rows of all folders in
 * their order, walked (walk.h), each with token ids.
 */
#ifndef PIPELINE_INSPECT_EXPORT_H
#define PIPELINE_INSPECT_EXPORT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct walk;

struct export_source {
	char *const *dirs;
	size_t n_dirs;
	const char *to; /* NULL: standard output */
};

struct export_ops {
	const char *name;
	const char *summary; /* for the help */
	size_t state_bytes; /* zeroed before open */
	bool needs_to; /* has no form that fits into standard output */
	uint64_t n_files;
	MUST_CHECK bool (*open)(void *state, const struct export_source *source, struct error *err);
	/* The walk has just been opened at a further folder. Optional. */
	MUST_CHECK bool (*folder)(void *state, struct walk *w, struct error *err);
	MUST_CHECK bool (*row)(void *state, struct walk *w, struct error *err);
	/* Nobody reads any more; the rest may be left out. Optional. */
	bool (*is_over)(const void *state);
	/* After the last row: makes the result visible; *out_bytes is its size. */
	MUST_CHECK bool (*publish)(void *state, uint64_t *out_bytes, struct error *err);
	/* Removes what was not published; also after an open that failed. */
	void (*release)(void *state);
};

extern const struct export_ops export_jsonl, export_trl, export_megatron;

#endif
