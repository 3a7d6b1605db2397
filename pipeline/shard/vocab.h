/*
 * vocab.zst: the pieces of the token ids that a data set uses, beside its shards, so that they can be read as text offline.
 * FORMAT.md has the bytes.
 */
#ifndef PIPELINE_SHARD_VOCAB_H
#define PIPELINE_SHARD_VOCAB_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

#define VOCAB_BYTES_MAX ((size_t)256 << 20)
#define VOCAB_IDS_MAX (1u << 24)

/* ids ascending, each below VOCAB_IDS_MAX; pieces are raw bytes; special: 1 for control tokens. Publishes DIR/vocab.zst. */
MUST_CHECK bool vocab_publish(const char *dir, const uint32_t *ids, const struct slice *pieces,
	const uint8_t *special, size_t n, struct error *err);

struct vocab;

/* Reads DIR/vocab.zst. FAIL_IO if it is not there, FAIL_DATA if it is malformed. */
MUST_CHECK struct vocab *vocab_read(const char *dir, struct error *err);
void vocab_free(struct vocab *v);
/* False: the id is not in it. */
bool vocab_piece(const struct vocab *v, uint32_t id, struct slice *out_piece, bool *out_special);
size_t vocab_n(const struct vocab *v);

#endif
