/*
 * Token ids of a folder as text, by the vocab.zst beside its shards; in a merged folder each part has its own, looked for in the
 * part of the shard at hand.
 */
#ifndef PIPELINE_INSPECT_DECODE_H
#define PIPELINE_INSPECT_DECODE_H

#include "base/str.h"
#include "shard/mds_read.h"

struct decoder;

/* `dir` and the reader are borrowed. Never NULL. A malformed vocabulary is told on stderr and then ids are shown. */
struct decoder *decoder_new(const char *dir, const struct mds_reader *r);
void decoder_free(struct decoder *d);
/* Chooses the vocabulary for rows of a shard. False: there is none. */
bool decoder_use(struct decoder *d, size_t shard);
/* Appends the piece of an id, or <id> if it is not known; true if it is of a special token. */
bool decoder_put(const struct decoder *d, uint32_t id, struct str *out);

#endif
