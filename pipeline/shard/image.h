/*
 * The raw image of a shard as a whole, in pieces and in bounded memory, checked on the way: its size, and every hash that the
 * index tells and that can be computed here. A reader of samples (mds_read.h) sees frames, and a frame of somebody else's may
 * have no checksum.
 *
 *	if (!mds_image_read(dir, mds_reader_shard(r, s), write_piece, &file, &raw_hash, err)) ...	// names shard and place
 */
#ifndef PIPELINE_SHARD_IMAGE_H
#define PIPELINE_SHARD_IMAGE_H

#include "base/zip_stream.h"
#include "shard/mds_read.h"

/* `sink` may be NULL: the image is only checked. What it got is worth nothing unless this returns true. */
MUST_CHECK bool mds_image_read(const char *dir, const struct mds_read_shard *shard, zip_sink *sink,
	void *ctx, uint64_t *out_raw_xxh64, struct error *err);

#endif
