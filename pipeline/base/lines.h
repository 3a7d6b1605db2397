/*
 * Reads a text file line by line, plain or zstd (by its magic), any size, with a limit on one line.
 *
 *	struct lines in;
 *	if (!lines_open(&in, path, 16 << 20, err)) return false;
 *	while ((got = lines_next(&in, &line, err)) == LINES_LINE) { ... in.line_no ... }
 *	lines_release(&in);
 */
#ifndef PIPELINE_BASE_LINES_H
#define PIPELINE_BASE_LINES_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

enum lines_result { LINES_LINE, LINES_END, LINES_FAILED };

struct lines {
	char *path; /* owns */
	int fd;
	void *dctx; /* owns; NULL for plain text */
	struct str raw; /* compressed bytes read and not yet used */
	struct str text; /* decoded bytes, from `start` on not yet given out */
	size_t raw_used, start, limit_bytes;
	uint64_t line_no; /* of the line given last, from 1 */
	bool at_end;
	bool mid_frame; /* the compressed stream stopped inside a frame */
};

MUST_CHECK bool lines_open(
	struct lines *in, const char *path, size_t line_limit_bytes, struct error *err);
/* The line without its newline (or CR LF), valid until the next call. A longer line than the limit: FAIL_DATA with the place. */
enum lines_result lines_next(struct lines *in, struct slice *out_line, struct error *err);
void lines_release(struct lines *in);

#endif
