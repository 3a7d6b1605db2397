/* Where a language's interpreter is, and what must be visible for it to run. */
#ifndef VERIFIERS_SANDBOX_INTERPRETER_H
#define VERIFIERS_SANDBOX_INTERPRETER_H

#include "base/error.h"

#define INTERPRETER_FOLDERS_MAX 4

struct interpreter {
	char *path; /* owns; absolute, no link outside /usr */
	char *folders[INTERPRETER_FOLDERS_MAX + 1]; /* own; to show beside /usr; ends with NULL */
};

/*
 * `name`: a path, or a name to look for on PATH. `usual`: taken when name is NULL and it exists. One that lies outside /usr is run,
 * here and now, as `PATH -I -S -c query`, and prints its real path and then the folders it needs, a line each.
 */
MUST_CHECK bool interpreter_find(struct interpreter *out, const char *name, const char *usual,
	const char *query, struct error *err);
void interpreter_release(struct interpreter *interpreter);

#endif
