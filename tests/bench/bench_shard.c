/*
 * The shard library against libzstd on the same bytes, in one run; asserts nothing, machines are noisy.
 *
 *	bench_shard write DIR TOKENS SHARD_BYTES THREADS ROUNDS	leaves DIR/shards and DIR/tokens.u16, for others to write and read
 *	bench_shard sample SHARDS ROUNDS			one random sample in a reader that was just opened
 *	bench_shard pack N ROUNDS				N lognormal lengths into rows of 4096
 *
 * Prints key=value lines. `limit` is what libzstd alone needs: compressing and decompressing the frames of the same images.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/workers.h"
#include "base/zip.h"
#include "shard/mds.h"
#include "shard/mds_read.h"
#include "shard/packed_row.h"
#include "shard/packing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONTEXT 2048
#define N_IDS 49152
#define LEVEL 3
#define FRAME_BYTES ((size_t)1 << 20)
#define ROUNDS_MAX 100

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Of all our threads: what a busy machine does not change. */
static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

/* --- tokens that compress like text: phrases of a few ids each, few of them frequent --- */

#define N_PHRASES 60000
#define PHRASE_IDS 12

static uint32_t zipf(struct rng *rng, uint32_t n)
{
	return (uint32_t)(pow((double)n, rng_unit(rng)) - 1);
}

static uint16_t *make_tokens(size_t n)
{
	struct rng rng;
	rng_seed(&rng, 1);
	uint16_t *ids = xmalloc((n + PHRASE_IDS) * sizeof(*ids)),
		 *phrases = xmalloc(N_PHRASES * PHRASE_IDS * sizeof(*phrases));
	for (size_t i = 0; i < N_PHRASES * PHRASE_IDS; i++) {
		phrases[i] = (uint16_t)zipf(&rng, N_IDS);
	}
	for (size_t at = 0; at < n;) {
		const uint16_t *phrase = phrases + (size_t)zipf(&rng, N_PHRASES) * PHRASE_IDS;
		size_t len = 1 + rng_below(&rng, PHRASE_IDS);
		memcpy(ids + at, phrase, len * sizeof(*ids));
		at += len;
	}
	free(phrases);
	return ids;
}

/* --- the limit --- */

struct limit {
	struct slice *frames; /* owns; of the raw images */
	size_t n, cap;
	struct str *zipped; /* owns; n */
	struct zip zips[256];
	struct str contents[256];
};

static void limit_compress(void *ctx, size_t i, unsigned thread)
{
	struct limit *l = ctx;
	str_reset(&l->zipped[i]);
	zip_compress(&l->zips[thread], l->frames[i].data, l->frames[i].len, LEVEL, &l->zipped[i]);
}

static void limit_decompress(void *ctx, size_t i, unsigned thread)
{
	struct limit *l = ctx;
	struct error err;
	str_reset(&l->contents[thread]);
	if (!zip_decompress(&l->zips[thread], l->zipped[i].data, l->zipped[i].len, l->frames[i].len,
		    &l->contents[thread], &err)) {
		abort();
	}
}

static void limit_cut(struct limit *l, const char *data, size_t len)
{
	for (size_t at = 0; at < len; at += FRAME_BYTES) {
		l->frames = array_room(l->frames, l->n, &l->cap, sizeof(*l->frames));
		l->frames[l->n++] = (struct slice){data + at, MIN(FRAME_BYTES, len - at)};
	}
	l->zipped = xcalloc(l->n, sizeof(*l->zipped));
	for (size_t i = 0; i < l->n; i++) {
		str_init(&l->zipped[i], STR_NO_CAP);
	}
	for (size_t i = 0; i < ARRAY_LEN(l->contents); i++) {
		str_init(&l->contents[i], STR_NO_CAP);
	}
}

static double limit_round(struct limit *l, struct workers *workers)
{
	double start = seconds();
	for (size_t i = 0; i < l->n; i++) {
		workers_push(workers, limit_compress, l, i);
	}
	workers_wait(workers);
	for (size_t i = 0; i < l->n; i++) {
		workers_push(workers, limit_decompress, l, i);
	}
	workers_wait(workers);
	return seconds() - start;
}

static void limit_release(struct limit *l)
{
	for (size_t i = 0; i < l->n; i++) {
		str_release(&l->zipped[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(l->contents); i++) {
		str_release(&l->contents[i]);
		zip_release(&l->zips[i]);
	}
	free(l->zipped);
	free(l->frames);
}

/* --- writing --- */

struct job {
	const char *dir;
	const uint16_t *ids;
	size_t n_tokens;
	struct mds_format format;
	struct str *image; /* NULL, or where the raw bytes go */
	uint64_t zip_bytes;
};

static void fail(const struct error *err)
{
	char text[1024];
	error_format(err, text, sizeof(text));
	fprintf(stderr, "bench_shard: %s\n", text);
	exit(1);
}

static void row_values(const struct job *j, size_t row, struct packed_row *to, struct slice *values)
{
	/* As the ledger gives them: unpacked a moment ago. */
	uint32_t ids[CONTEXT];
	for (size_t i = 0; i < CONTEXT; i++) {
		ids[i] = j->ids[row * CONTEXT + i];
	}
	packed_row_reset(to);
	for (size_t k = 0; k < 4; k++) {
		packed_row_add(to, ids + k * 512, 160, ids + k * 512 + 160, 352,
			(uint64_t)(row * 4 + k), 1.0f);
	}
	packed_row_values(to, values);
}

static void publish(
	struct job *j, struct mds_shard *shard, struct mds_shard_info *infos, uint32_t *n_infos)
{
	struct error err;
	if (!mds_shard_publish(shard, j->dir, *n_infos, &infos[*n_infos], &err)) {
		fail(&err);
	}
	j->zip_bytes += infos[(*n_infos)++].zip_bytes;
	mds_shard_reset(shard);
}

static void write_shards(struct job *j)
{
	struct mds_shard *shard = mds_shard_new(&j->format);
	struct mds_shard_info *infos = xcalloc(100000, sizeof(*infos));
	struct packed_row row;
	struct slice values[PACKED_N_COLUMNS];
	struct error err;
	uint32_t n_infos = 0;
	packed_row_init(&row, false);
	j->zip_bytes = 0;
	for (size_t i = 0; i < j->n_tokens / CONTEXT; i++) {
		row_values(j, i, &row, values);
		if (!mds_shard_would_fit(shard, values)) {
			publish(j, shard, infos, &n_infos);
		}
		mds_shard_add(shard, values);
	}
	publish(j, shard, infos, &n_infos);
	if (!mds_index_publish(&j->format, j->dir, infos, n_infos, NULL, &err)) {
		fail(&err);
	}
	mds_shard_free(shard);
	packed_row_release(&row);
	free(infos);
}

/* The same bytes as the images', but for the headers. */
static void make_image(const struct job *j, struct str *out)
{
	struct packed_row row;
	struct slice values[PACKED_N_COLUMNS];
	packed_row_init(&row, false);
	for (size_t i = 0; i < j->n_tokens / CONTEXT; i++) {
		row_values(j, i, &row, values);
		for (size_t k = 0; k < PACKED_N_COLUMNS; k++) {
			uint32_t len = (uint32_t)values[k].len;
			str_append(out, &len, sizeof(len));
		}
		for (size_t k = 0; k < PACKED_N_COLUMNS; k++) {
			str_append(out, values[k].data, values[k].len);
		}
	}
	packed_row_release(&row);
}

static void keep_tokens(const struct job *j, const char *dir)
{
	struct error err;
	if (!file_publish(dir, "tokens.u16", j->ids, j->n_tokens * sizeof(*j->ids), &err)) {
		fail(&err);
	}
}

static int bench_write(char **args)
{
	size_t n_tokens = strtoull(args[1], NULL, 10) / CONTEXT * CONTEXT;
	unsigned n_threads = (unsigned)strtoul(args[3], NULL, 10),
		 rounds = (unsigned)strtoul(args[4], NULL, 10);
	AUTO_FREE char *dir = file_join(args[0], "shards");
	struct workers *workers = workers_new(n_threads);
	uint16_t *ids = make_tokens(n_tokens);
	struct job job = {.dir = dir,
		.ids = ids,
		.n_tokens = n_tokens,
		.format = {.columns = packed_columns(false),
			.n_columns = PACKED_N_COLUMNS,
			.shard_bytes = (uint32_t)strtoul(args[2], NULL, 10),
			.level = LEVEL,
			.workers = workers}};
	struct limit limit = {0};
	struct str image;
	struct error err;
	double ours[ROUNDS_MAX], limits[ROUNDS_MAX], ratios[ROUNDS_MAX], cpu_ratios[ROUNDS_MAX];
	rounds = MIN(MAX(rounds, 1), ROUNDS_MAX);
	str_init(&image, STR_NO_CAP);
	make_image(&job, &image);
	limit_cut(&limit, image.data, image.len);
	limit_round(&limit, workers); /* buffers and caches */
	for (unsigned i = 0; i < rounds; i++) {
		if (!file_remove_tree(dir, &err) || !file_make_dirs(dir, &err)) {
			fail(&err);
		}
		double cpu = cpu_seconds();
		limits[i] = limit_round(&limit, workers);
		double limit_cpu = cpu_seconds() - cpu, start = seconds();
		cpu = cpu_seconds();
		write_shards(&job);
		ours[i] = seconds() - start;
		cpu_ratios[i] = limit_cpu / (cpu_seconds() - cpu);
		ratios[i] = limits[i] / ours[i];
	}
	keep_tokens(&job, args[0]);
	printf("tokens=%zu raw_bytes=%zu zip_bytes=%llu threads=%u rounds=%u\n", n_tokens,
		image.len, (unsigned long long)job.zip_bytes, workers_n(workers), rounds);
	double ours_s = median(ours, rounds), limit_s = median(limits, rounds),
	       ratio = median(ratios, rounds);
	printf("limit_s=%.4f write_s=%.4f ratio=%.3f (min %.3f, max %.3f) cpu_ratio=%.3f "
	       "write_tokens_per_s=%.0f\n",
		limit_s, ours_s, ratio, ratios[0], ratios[rounds - 1], median(cpu_ratios, rounds),
		(double)n_tokens / ours_s);
	limit_release(&limit);
	str_release(&image);
	free(ids);
	workers_free(workers);
	return 0;
}

/* --- one sample --- */

static int bench_sample(char **args)
{
	unsigned rounds = MIN((unsigned)strtoul(args[1], NULL, 10), ROUNDS_MAX);
	double first[ROUNDS_MAX], next[ROUNDS_MAX], all[ROUNDS_MAX];
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct error err;
	struct rng rng;
	rng_seed(&rng, 7);
	for (unsigned i = 0; i < rounds; i++) {
		double start = seconds();
		struct mds_reader *r = mds_reader_open(args[0], &err);
		if (!r ||
			!mds_reader_sample(
				r, rng_below(&rng, mds_reader_n_samples(r)), values, NULL, &err)) {
			fail(&err);
		}
		first[i] = seconds() - start;
		start = seconds();
		if (!mds_reader_sample(
			    r, rng_below(&rng, mds_reader_n_samples(r)), values, NULL, &err)) {
			fail(&err);
		}
		next[i] = seconds() - start;
		start = seconds();
		for (uint64_t k = 0; k < mds_reader_n_samples(r); k++) {
			if (!mds_reader_sample(r, k, values, NULL, &err)) {
				fail(&err);
			}
		}
		all[i] = seconds() - start;
		mds_reader_close(r);
	}
	printf("open_and_sample_ms=%.3f next_sample_ms=%.3f all_samples_ms=%.1f\n",
		1e3 * median(first, rounds), 1e3 * median(next, rounds), 1e3 * median(all, rounds));
	return 0;
}

/* --- packing --- */

static int bench_pack(char **args)
{
	size_t n = strtoull(args[0], NULL, 10);
	unsigned rounds = MIN((unsigned)strtoul(args[1], NULL, 10), ROUNDS_MAX);
	uint32_t *lengths = xmalloc(n * sizeof(*lengths));
	double times[ROUNDS_MAX];
	struct packing p = {0};
	struct rng rng;
	uint64_t tokens = 0;
	rng_seed(&rng, 1);
	for (size_t i = 0; i < n; i++) {
		/* Box and Muller; mean 600, sigma 1. */
		double normal = sqrt(-2 * log(1 - rng_unit(&rng))) *
			cos(6.283185307179586 * rng_unit(&rng));
		double len = exp(log(600) - 0.5 + normal);
		lengths[i] = (uint32_t)MIN(MAX(len, 1), 4096);
		tokens += lengths[i];
	}
	for (unsigned i = 0; i < rounds; i++) {
		packing_release(&p);
		double start = seconds();
		pack_lengths(lengths, n, &(struct packing_options){4096, 0, 1}, &p);
		times[i] = seconds() - start;
	}
	printf("lengths=%zu tokens=%llu rows=%zu fill=%.6f pack_ms=%.2f\n", n,
		(unsigned long long)tokens, p.n_rows, (double)tokens / ((double)p.n_rows * 4096),
		1e3 * median(times, rounds));
	if (args[2]) {
		struct error err;
		if (!file_publish(args[2], "lengths.u32", lengths, n * sizeof(*lengths), &err)) {
			fail(&err);
		}
	}
	packing_release(&p);
	free(lengths);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "write") == 0) {
		return bench_write(argv + 2);
	}
	if (argc == 4 && strcmp(argv[1], "sample") == 0) {
		return bench_sample(argv + 2);
	}
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "pack") == 0) {
		return bench_pack(argv + 2);
	}
	fprintf(stderr, "usage: see the top of bench_shard.c\n");
	return 2;
}
