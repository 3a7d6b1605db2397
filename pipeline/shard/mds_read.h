/*
 * Reading any MDS folder, ours or another's: uncompressed, one zstd frame, or many with a seek table.
 *
 *	struct mds_reader *r = mds_reader_open(dir, err);
 *	for (size_t s = 0; s < mds_reader_n_shards(r); s++) ...
 *	if (!mds_reader_sample(r, 1234, values, err)) ...	// values[i] belongs to column i of its shard
 *	mds_reader_close(r);
 *
 * Files are hostile: every length is checked against what is there before it is used, and nothing is allocated beyond the
 * limits below. One thread uses a reader at a time.
 */
#ifndef PIPELINE_SHARD_MDS_READ_H
#define PIPELINE_SHARD_MDS_READ_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "shard/encoding.h"

#include <stdint.h>

#define MDS_INDEX_BYTES_MAX ((size_t)256 << 20)
#define MDS_IMAGE_BYTES_MAX ((size_t)4 << 30) /* u32 offsets reach no further */
#define MDS_READ_COLUMNS_MAX 256
/* That are told of a shard: what is beyond repair needs no line for each of a million samples. */
#define MDS_FAULTS_MAX 100

struct mds_reader;

struct mds_read_column {
	const char *name, *encoding_name;
	struct mds_encoding encoding;
	uint32_t fixed_bytes; /* as the index says; 0: variable */
};

struct mds_read_shard {
	const char *raw_name, *zip_name; /* zip_name NULL: uncompressed */
	uint64_t raw_bytes, zip_bytes; /* as the index says */
	const char *raw_xxh64, *raw_sha256, *zip_xxh64, *zip_sha256; /* NULL: not told */
	const char *
		other_hash; /* kind of a hash that stands in the index and cannot be checked here; NULL: none */
	uint64_t n_samples, first_sample;
	const struct mds_read_column *columns;
	size_t n_columns;
};

/* FAIL_IO if there is no index.json, FAIL_DATA naming shard and key for a malformed one. */
MUST_CHECK struct mds_reader *mds_reader_open(const char *dir, struct error *err);
void mds_reader_close(struct mds_reader *r);
size_t mds_reader_n_shards(const struct mds_reader *r);
const struct mds_read_shard *mds_reader_shard(const struct mds_reader *r, size_t s);
uint64_t mds_reader_n_samples(const struct mds_reader *r);
/* The object under the top-level key "thresh"; NULL in other folders. */
const struct json *mds_reader_facts(const struct mds_reader *r);
/* Sub-folder that shard s lies in, which has its vocab.zst; "." for the folder itself. Malloc'd. */
char *mds_reader_part(const struct mds_reader *r, size_t s);
/* Index of a column in shard s, or -1. */
int mds_reader_column(const struct mds_reader *r, size_t s, const char *name);

/* Value of a column if shard s has it, as numbers: an array or a scalar that decodes. Borrows from `values`. */
bool mds_reader_array(const struct mds_reader *r, size_t s, const struct slice *values,
	const char *name, struct mds_array *out);

/* Sample i of the folder: one slice a column of its shard, valid until the next call. out_shard may be NULL. */
MUST_CHECK bool mds_reader_sample(struct mds_reader *r, uint64_t i, struct slice *values,
	size_t *out_shard, struct error *err);

struct mds_fault {
	const char *file;
	int64_t frame, sample,
		offset; /* -1: not known. The sample counts from the start of its shard. */
	const char *what;
};
typedef void mds_fault_cb(void *ctx, const struct mds_fault *fault);

/*
 * Checks shards with all that can be known without the ledger: hashes and sizes, seek table, frames and their checksums, what
 * python-zstd needs, offsets, each value against its encoding, and what the columns of our layouts have to do with each other
 * (packed.h). `fault` is called, by the calling thread, for each mistake found.
 *
 *	struct mds_verifier *v = mds_verifier_new(reader, workers, fault, ctx);
 *	for (size_t s = 0; s < mds_reader_n_shards(reader); s++) mds_verifier_shard(v, s);
 *	mds_verifier_free(v);
 *
 * Reader and workers are borrowed. Memory: two frames a thread.
 */
struct mds_verifier;
struct workers;
struct mds_verifier *mds_verifier_new(
	struct mds_reader *r, struct workers *workers, mds_fault_cb *fault, void *ctx);
/* Number of faults; MDS_FAULTS_MAX of them at most were told. */
unsigned mds_verifier_shard(struct mds_verifier *v, size_t s);
void mds_verifier_free(struct mds_verifier *v);

#endif
