/*
 * Writing Megatron's indexed dataset: PREFIX.bin, the token ids back to back, and PREFIX.idx, where each document begins.
 * FORMAT.md, "Exports", has the bytes. A document is one sequence here.
 *
 *	struct megatron m;
 *	if (!megatron_open(&m, "out/train", megatron_dtype(n_vocab), err)) return false;
 *	ok = megatron_add(&m, ids, n, err) && ... && megatron_publish(&m, err);
 *	megatron_release(&m);		// removes what was not published
 *
 * Memory: a buffer, and 4 bytes a document.
 */
#ifndef PIPELINE_SHARD_MEGATRON_H
#define PIPELINE_SHARD_MEGATRON_H

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "shard/encoding.h"

#include <stdint.h>

/* Below it, Megatron's own tools choose uint16. */
#define MEGATRON_UINT16_VOCAB 65500

struct megatron {
	struct file_draft bin, idx;
	enum mds_dtype dtype; /* MDS_UINT16 or MDS_INT32 */
	struct str buffer; /* owns; of the .bin */
	int32_t *lengths; /* owns; of the documents, in tokens */
	size_t n_documents, cap;
	uint64_t n_tokens;
};

/* Of a vocabulary of so many ids. */
enum mds_dtype megatron_dtype(uint64_t n_vocab);
/* FAIL_IO if one of the two files exists: nothing is overwritten. */
MUST_CHECK bool megatron_open(
	struct megatron *m, const char *prefix, enum mds_dtype dtype, struct error *err);
/* One document. FAIL_DATA for an id that the dtype does not hold. */
MUST_CHECK bool megatron_add(struct megatron *m, const uint32_t *ids, size_t n, struct error *err);
/* The .idx last: without it there is no data set. */
MUST_CHECK bool megatron_publish(struct megatron *m, struct error *err);
uint64_t megatron_bytes(const struct megatron *m);
/* Zeroed: no-op. */
void megatron_release(struct megatron *m);

#endif
