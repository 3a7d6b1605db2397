/*
 * Shard folders: whatever index, shard file and vocabulary say, they are read or refused, and verifying, showing and decoding
 * touches nothing that is not there. Input: u16 length of index.json, index.json, then the shard, which is there both as
 * shard.00000.mds and as shard.00000.mds.zstd.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/workers.h"
#include "shard/mds.h"
#include "shard/mds_read.h"
#include "shard/sequences.h"
#include "shard/vocab.h"

#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void remove_folder(void)
{
	struct error err;
	bool ok = file_remove_tree(folder, &err);
	(void)ok;
}

static void make_folder(void)
{
	snprintf(folder, sizeof(folder), "%s/thresh-fuzz-XXXXXX",
		file_is_dir("/dev/shm") ? "/dev/shm" : "/tmp");
	if (!mkdtemp(folder)) {
		abort();
	}
	atexit(remove_folder);
}

/* Not file_publish: flushing each input to disk would be most of the work. */
static void put_file(const char *name, const uint8_t *bytes, size_t len)
{
	AUTO_FREE char *path = file_join(folder, name);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len) {
		abort();
	}
}

static void on_fault(void *ctx, const struct mds_fault *fault)
{
	assert(fault->file && fault->what && fault->what[0]);
	++*(unsigned *)ctx;
}

static void show(const struct mds_read_shard *shard, const struct slice *values)
{
	struct str text;
	str_init(&text, 64 << 10);
	struct json_writer w = {.out = &text};
	for (size_t i = 0; i < shard->n_columns; i++) {
		struct mds_array a;
		struct error err;
		const struct mds_encoding *e = &shard->columns[i].encoding;
		mds_value_format(e, values[i], 200, &text);
		mds_value_json(e, values[i], &w);
		if ((e->kind == MDS_NDARRAY || e->kind == MDS_SCALAR) &&
			mds_array_decode(e, values[i], &a, &err)) {
			(void)mds_array_u64(&a, a.n - 1);
			(void)mds_array_double(&a, a.n - 1);
		}
	}
	str_release(&text);
}

/* Boundaries lie within the tokens, and every one of those can be looked at. */
static void walk(const struct sequences *q)
{
	uint64_t sum = 0;
	for (size_t k = 0; k < q->n; k++) {
		assert(q->starts[k] <= q->starts[k + 1]);
		for (size_t i = q->starts[k]; i < q->starts[k + 1]; i++) {
			sum += q->ids[i] + q->mask[i];
		}
		sum += (q->has_sample_ids ? q->sample_ids[k] : 0) + (q->scores[k] > 0);
	}
	volatile uint64_t seen = sum; /* not to be left out */
	(void)seen;
}

static void read_all(struct mds_reader *r)
{
	struct sequences q = {0};
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct error err;
	size_t shard;
	unsigned n_faults = 0;
	struct workers *workers = workers_new(1);
	struct mds_verifier *v = mds_verifier_new(r, workers, on_fault, &n_faults);
	for (size_t s = 0; s < mds_reader_n_shards(r) && s < 4; s++) {
		mds_verifier_shard(v, s);
	}
	mds_verifier_free(v);
	workers_free(workers);
	for (uint64_t i = 0; i < mds_reader_n_samples(r) && i < SAMPLES_MAX; i++) {
		if (mds_reader_sample(r, i, values, &shard, &err)) {
			show(mds_reader_shard(r, shard), values);
			if (sequences_read(&q, r, shard, values)) {
				walk(&q);
			}
		} else {
			assert(err.msg[0]);
		}
	}
	sequences_release(&q);
}

static void check_vocab(void)
{
	struct error err;
	struct vocab *v = vocab_read(folder, &err);
	for (uint32_t id = 0; v && id < 300; id++) {
		struct slice piece;
		bool special;
		if (vocab_piece(v, id, &piece, &special) && piece.len) {
			assert(memchr(piece.data, piece.data[piece.len - 1], piece.len));
		}
	}
	vocab_free(v);
}

static void check_adopting(void)
{
	struct mds_shard_info info;
	enum mds_found found;
	struct error err;
	if (mds_shard_check(folder, 0, 1, &found, &info, &err)) {
		assert(found == MDS_OTHER);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err;
	if (!folder[0]) {
		make_folder();
	}
	size_t index_len = size >= 2 ? (size_t)(data[0] | data[1] << 8) : 0;
	if (size < 2 || index_len > size - 2) {
		return 0;
	}
	const uint8_t *shard = data + 2 + index_len;
	size_t shard_len = size - 2 - index_len;
	put_file("index.json", data + 2, index_len);
	put_file("shard.00000.mds", shard, shard_len);
	put_file("shard.00000.mds.zstd", shard, shard_len);
	put_file("vocab.zst", shard, shard_len);
	struct mds_reader *r = mds_reader_open(folder, &err);
	if (r) {
		read_all(r);
		mds_reader_close(r);
	}
	check_vocab();
	check_adopting();
	return 0;
}
