/*
 * Writing MDS v2 shards (MosaicML Streaming) as seekable zstd; FORMAT.md has every byte.
 *
 * A shard is collected row by row and becomes a file in one step. It holds nothing but what was added, so a resumed run can rebuild any single shard from its range of rows and get the same bytes:
 *
 *	struct mds_shard *shard = mds_shard_new(&format);
 *	for (each row) {
 *		if (!mds_shard_would_fit(shard, values)) {
 *			publish();	// as below, then mds_shard_reset(shard)
 *		}
 *		mds_shard_add(shard, values);
 *	}
 *	publish:
 *		// A file that a killed run published but did not record is adopted if it is the one we planned.
 *		if (mds_shard_is_there(dir, no))
 *			mds_shard_check(dir, no, mds_shard_raw_hash(shard), &found, &info, err)
 *		if (found != MDS_SAME) mds_shard_publish(shard, dir, no, &info, err)
 *		... record `info`, only now ...
 *	mds_index_publish(&format, dir, infos, n_infos, thresh_json, err);	// last: it makes the folder readable
 *
 * Frames are compressed while rows are still added, by the threads of format.workers, and their raw bytes are given up. Memory:
 * the compressed frames (in the worst case a little more than shard_bytes) and some frames a thread; with single_frame the
 * image and three times as much while it is published. One thread uses a shard at a time, and it owns the workers.
 */
#ifndef PIPELINE_SHARD_MDS_H
#define PIPELINE_SHARD_MDS_H

#include "base/error.h"
#include "base/hash.h"
#include "base/str.h"
#include "shard/encoding.h"

#include <stdint.h>

#define MDS_COLUMNS_MAX 256
#define MDS_SHARD_BYTES_DEFAULT (64u << 20)
#define MDS_FRAME_BYTES_DEFAULT (1u << 20)
#define MDS_FRAME_BYTES_MIN 64u
#define MDS_NAME_BYTES 32

struct workers;

struct mds_column {
	const char *name; /* ASCII */
	const char *encoding; /* "str", "uint64", "ndarray:uint16", ... */
};

/* What all shards of a folder share. Borrowed by the shard and unchanged while it lives. */
struct mds_format {
	const struct mds_column *columns; /* sorted by name, as readers get them from MDSWriter */
	size_t n_columns;
	uint32_t shard_bytes; /* limit of one raw image; 0: 64 MiB */
	uint32_t
		frame_bytes; /* raw bytes after which a frame is closed at the next sample end; 0: 1 MiB */
	int level; /* of zstd; 0: 3 */
	/* One frame and a seek table, for readers with python-zstd before 1.5.5.1; single samples then cost a whole shard. */
	bool single_frame;
	struct workers *
		workers; /* borrowed; NULL: the calling thread does all. The bytes do not depend on it. */
};

/* A published shard: what the ledger and index.json say of it. */
struct mds_shard_info {
	uint32_t no, n_samples, n_frames; /* frames without padding and table */
	uint64_t raw_bytes, zip_bytes;
	uint64_t raw_xxh64, zip_xxh64;
	char zip_sha256[SHA256_HEX_BYTES];
};

struct mds_shard;

/* Asserts that the format is well formed: names sorted, encodings known, 64 KiB to 4 GiB a shard, frames not below the minimum. Never NULL. */
struct mds_shard *mds_shard_new(const struct mds_format *format);
void mds_shard_free(struct mds_shard *shard);
/* Empties the shard for the next rows and keeps the storage. */
void mds_shard_reset(struct mds_shard *shard);

/* `values`: one slice a column, in column order. An empty shard takes any sample that the format can hold at all. */
bool mds_shard_would_fit(const struct mds_shard *shard, const struct slice *values);
/* Copies. The sample must fit; a fixed-size column must have its size, and a row must not be empty. */
void mds_shard_add(struct mds_shard *shard, const struct slice *values);
uint32_t mds_shard_n_samples(const struct mds_shard *shard);
/*
 * XXH64 of the raw image: what raw_data.hashes will say. The same on every machine and for every libzstd. Costs the decoding
 * of the shard, which then takes no more rows until it is reset.
 */
uint64_t mds_shard_raw_hash(struct mds_shard *shard);

/*
 * Writes DIR/shard.NNNNN.mds.zstd under a temporary name, reads it back, decodes it and compares each frame's checksum with the
 * one of its raw bytes, and publishes it; an older file of that name is replaced. Then the shard takes no more rows until it is reset.
 */
MUST_CHECK bool mds_shard_publish(struct mds_shard *shard, const char *dir, uint32_t no,
	struct mds_shard_info *out, struct error *err);

enum mds_found {
	MDS_ABSENT, /* no such file */
	MDS_SAME, /* it decodes to the planned image; `out_info` is filled */
	MDS_OTHER /* it is damaged or something else; err says what, for the log */
};
/* Looks at DIR/shard.NNNNN.mds.zstd, one frame in memory at a time. False only if the file cannot be read. */
MUST_CHECK bool mds_shard_check(const char *dir, uint32_t no, uint64_t planned_raw_hash,
	enum mds_found *out_found, struct mds_shard_info *out_info, struct error *err);

/*
 * Publishes DIR/index.json, after which readers see the shards `infos[0..n)` in that order. `thresh_json` is the text of a
 * JSON object that becomes the top-level key "thresh" (readers ignore it); may be NULL.
 */
MUST_CHECK bool mds_index_publish(const struct mds_format *format, const char *dir,
	const struct mds_shard_info *infos, size_t n_infos, const char *thresh_json,
	struct error *err);

/* Whether there is a file of that name at all; hashing the plan is for nothing if not. */
bool mds_shard_is_there(const char *dir, uint32_t no);

/* "shard.00007.mds" or "shard.00007.mds.zstd". */
void mds_shard_name(uint32_t no, bool zipped, char out[MDS_NAME_BYTES]);

#endif
