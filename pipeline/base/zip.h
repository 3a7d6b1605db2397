/*
 * zstd, behind one header: the ledger compresses texts with it, sources read .zst files, shards are made of its frames.
 */
#ifndef PIPELINE_BASE_ZIP_H
#define PIPELINE_BASE_ZIP_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

/* Compression contexts are reused; one per thread. Zeroed struct is valid and empty. */
struct zip {
	void *cctx, *dctx; /* own */
};
void zip_release(struct zip *z);

/* Appends one frame with content size and checksum. */
void zip_compress(struct zip *z, const void *bytes, size_t len, int level, struct str *out);
/* Decompresses exactly one frame whose content size is stated and at most limit_bytes; appends. Trailing bytes are an error. */
MUST_CHECK bool zip_decompress(struct zip *z, const void *frame, size_t len, size_t limit_bytes,
	struct str *out, struct error *err);
/*
 * The same for a frame that need not state its size: it is at most limit_bytes, and memory grows with what is really in it.
 * `out` may be NULL: the content is only counted. On failure, `out` may hold a part of it.
 */
MUST_CHECK bool zip_decompress_stream(struct zip *z, const void *frame, size_t len,
	size_t limit_bytes, struct str *out, uint64_t *out_bytes, struct error *err);

/* A dictionary for many small texts of one kind. */
struct zip_dict;
/* Trains on n samples laid end to end; NULL if the samples are too few or too alike to give one. */
struct zip_dict *zip_dict_train(
	const void *samples, const size_t *sample_bytes, unsigned n, size_t dict_bytes, int level);
struct zip_dict *zip_dict_load(const void *bytes, size_t len, int level);
void zip_dict_free(struct zip_dict *d);
const void *zip_dict_bytes(const struct zip_dict *d, size_t *out_len);
void zip_compress_dict(
	struct zip *z, const struct zip_dict *d, const void *bytes, size_t len, struct str *out);
MUST_CHECK bool zip_decompress_dict(struct zip *z, const struct zip_dict *d, const void *frame,
	size_t len, size_t limit_bytes, struct str *out, struct error *err);

/* Frame facts without decompressing. frame_bytes counts the compressed frame; content is UINT64_MAX when not stated. */
MUST_CHECK bool zip_frame_info(const void *bytes, size_t len, size_t *out_frame_bytes,
	uint64_t *out_content_bytes, bool *out_skippable, struct error *err);

#endif
