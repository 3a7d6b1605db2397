/* Code in a model's answer: the fenced block that counts, and what it becomes with the prompt's own code. */
#ifndef VERIFIERS_SANDBOX_CODE_BLOCK_H
#define VERIFIERS_SANDBOX_CODE_BLOCK_H

#include "base/str.h"

#include <stdbool.h>

/*
 * Appends the last block that is tagged with one of `tags` (in lower case, ends with NULL), or, if none is, the last without a
 * tag; of what follows the last </think>. Three or more ` or ~ fence a block; it ends where its fence does or with the text, since
 * an answer may have been cut. The fence's indentation is taken off its lines. False: there is none.
 */
bool code_block_find(struct slice text, const char *const *tags, struct str *out);

/*
 * Appends prefix and code. Code that defines `entry_point` itself follows the prefix as a piece of its own; other code continues it
 * where it stops. `from __future__` lines of the code go first, where Python wants them.
 */
void code_assemble(
	struct slice prefix, struct slice entry_point, struct slice code, struct str *out);

#endif
