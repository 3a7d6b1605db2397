/*
 * Errors as values. A fallible function returns bool (or a pointer) and takes `struct error *err` last, never NULL:
 *
 *	if (!file_read(path, limit_bytes, &text, err)) {
 *		return error_context(err, "template '%s'", name);
 *	}
 *
 * Fixed buffers: reporting never allocates, and an error outlives the file or the tree that it tells of. Messages are lower
 * case, without a full stop, and name the kind of thing, its name in quotes, and the reason.
 */
#ifndef PIPELINE_BASE_ERROR_H
#define PIPELINE_BASE_ERROR_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>

enum fail {
	FAIL_NONE,
	FAIL_USAGE, /* the command line; exit 2 */
	FAIL_CONFIG, /* a definition, template or parameter; exit 2 */
	FAIL_IO, /* the file system, a child process, the local machine; exit 1 */
	FAIL_REMOTE, /* an engine; exit 1 */
	FAIL_DATA, /* malformed or over a limit: rows, responses, shards, ledgers; exit 1 */
	FAIL_INTERRUPTED, /* stopped by a signal or a deadline, resumable; exit 130 */
};

struct error {
	enum fail kind;
	char where[256]; /* "nightly.yaml:14:7"; empty if no file is at fault */
	char msg[768];
	char hint[384]; /* what the user can do; may be empty */
};

/* All of these fill `err` and return false, so that `return error_set(...)` reads well. A second error_set overwrites. */
PRINTF_LIKE(3, 4) bool error_set(struct error *err, enum fail kind, const char *fmt, ...);
/* Appends ": strerror(errno)". FAIL_IO. */
PRINTF_LIKE(2, 3) bool error_errno(struct error *err, const char *fmt, ...);
/* Puts "CONTEXT: " in front of the message. */
PRINTF_LIKE(2, 3) bool error_context(struct error *err, const char *fmt, ...);
/* Sets where the error is; an error that already has a place keeps it. */
bool error_place(struct error *err, const char *file, unsigned line, unsigned column);
PRINTF_LIKE(2, 3) bool error_hint(struct error *err, const char *fmt, ...);
/* Exit code for a kind, as the README promises: 0, 1, 2, 130. */
int error_exit_code(enum fail kind);
/* "where: msg" and, if there is one, "hint" on a second line of its own. Writes to `out`, always NUL-terminated. */
void error_format(const struct error *err, char *out, size_t out_bytes);

/* Every mistake of a definition, in the order of discovery. Zero-initialise; error_list_release frees. */
struct error_list {
	struct error *items; /* owns */
	size_t n, cap;
};

/* Adds a copy of `err` and resets `err` for the next use. Above 1,000 entries nothing more is added. */
void error_list_add(struct error_list *list, struct error *err);
void error_list_release(struct error_list *list);

#endif
