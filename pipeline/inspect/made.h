/* What an export or a rewrite has made: a line on stderr at the end, or JSON on stdout. */
#ifndef PIPELINE_INSPECT_MADE_H
#define PIPELINE_INSPECT_MADE_H

#include <stdbool.h>
#include <stdint.h>

struct made {
	const char *what; /* "jsonl", "unpacked", ... */
	const char *path; /* NULL: standard output */
	uint64_t files, rows, sequences, tokens, bytes;
	int64_t started_ms; /* of clock_mono_ms */
};

/* Sequences and tokens that are 0 were not counted: left out of the line, null in JSON. */
void made_tell(const struct made *m, bool json);

#endif
