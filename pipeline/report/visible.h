/*
 * Texts of strangers for the eye of a reader: what cannot be seen, or would turn other text around, is named instead of
 * obeyed: NUL, ESC and their like by their names, bidirectional overrides, zero-width characters and line separators as
 * U+202E, bytes that are no UTF-8 as \xff. Newlines and tabs stay.
 *
 * This is not escaping: what comes out may still hold < and &. html.h escapes.
 */
#ifndef PIPELINE_REPORT_VISIBLE_H
#define PIPELINE_REPORT_VISIBLE_H

#include "base/str.h"

#include <stdbool.h>

/* Called for stretches of text in order, borrowed for the call; `named`: the text stands for a character that was taken out. */
typedef void visible_part(void *ctx, struct slice text, bool named);
void visible_split(struct slice text, visible_part *part, void *ctx);
/* The same in one piece: named characters stand in ‹ ›. */
void visible_append(struct str *out, struct slice text);

/* At most max_bytes from the beginning or the end, without half a character. */
struct slice visible_head(struct slice text, size_t max_bytes);
struct slice visible_tail(struct slice text, size_t max_bytes);

#endif
