/*
 * Token ids as JSON texts, at the speed of copying: the escaped text of each id is kept once it was needed. Unlike decode.h,
 * which shows, this one is for training data: an id without a text is an error, not "<123>".
 */
#ifndef PIPELINE_INSPECT_PIECES_H
#define PIPELINE_INSPECT_PIECES_H

#include "inspect/text_out.h"
#include "shard/mds_read.h"

struct pieces;

/* `dir` and the reader are borrowed. Never NULL. */
struct pieces *pieces_new(const char *dir, const struct mds_reader *r);
void pieces_free(struct pieces *p);
/* Chooses the vocabulary for rows of a shard: that of its sub-folder. FAIL_IO if there is none. */
MUST_CHECK bool pieces_use(struct pieces *p, size_t shard, struct error *err);
/* Appends the quoted text of ids; bytes that are not UTF-8 become U+FFFD. FAIL_DATA if an id is not in the vocabulary. */
MUST_CHECK bool pieces_put(
	struct pieces *p, const uint32_t *ids, size_t n, struct text_out *out, struct error *err);

#endif
