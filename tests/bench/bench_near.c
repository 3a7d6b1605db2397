/*
 * Near duplicates, from text to index, on one core; bench.py calls it and reads `key value` lines.
 *
 *	bench_near make TEXTS.txt N WORDS        N texts, one a line, a tenth of them near duplicates of the one before
 *	bench_near index TEXTS.txt DIR           each is sketched, looked for, added if new; then published, durable, and indexed
 *	bench_near sketch TEXTS.txt              sketching alone
 *	bench_near planted PAIRS                 share of planted pairs of 300 words that are found, by their similarity
 *	bench_near many N DIR                    an index of N records in nights of 100,000: time, size, look-ups
 */
#include "planted.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "near/near_index.h"
#include "near/near_set.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THRESHOLD 0.8
#define NIGHT 100000 /* records of a night in `many` */

static void must(bool ok, const struct error *err)
{
	if (!ok) {
		fprintf(stderr, "bench_near: %s\n", err->msg);
		exit(1);
	}
}

static double seconds_of(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void)
{
	return seconds_of(CLOCK_MONOTONIC);
}

/* What the machine's other users do not change. */
static double cpu_now(void)
{
	return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

static void make(const char *path, size_t n, size_t words)
{
	struct rng rng = {.state = 1};
	struct str a, b;
	AUTO_FILE FILE *out = fopen(path, "w");
	str_init(&a, STR_NO_CAP);
	str_init(&b, STR_NO_CAP);
	for (size_t i = 0; out && i < n; i++) {
		if (i % 10 == 9) {
			fprintf(out, "%s\n", b.data);
			continue;
		}
		planted_pair(&rng, words, 0.9, &a, &b);
		fprintf(out, "%s\n", a.data);
	}
	str_release(&a);
	str_release(&b);
}

struct texts {
	struct str bytes;
	struct slice *list;
	size_t n, cap;
};

static void read_texts(const char *path, struct texts *out)
{
	struct error err;
	*out = (struct texts){0};
	str_init(&out->bytes, STR_NO_CAP);
	must(file_read(path, SIZE_MAX / 2, &out->bytes, &err), &err);
	for (char *p = out->bytes.data, *end; (end = strchr(p, '\n')); p = end + 1) {
		out->list = array_room(out->list, out->n, &out->cap, sizeof(*out->list));
		out->list[out->n++] = (struct slice){p, (size_t)(end - p)};
	}
}

static void texts_release(struct texts *texts)
{
	str_release(&texts->bytes);
	free(texts->list);
}

/* What a night leaves to its index must be on the disk before the clock stops. */
static void sync_tables(const char *dir)
{
	AUTO_FREE char *path = file_join(dir, "tables");
	AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0) {
		perror(path);
		exit(1);
	}
}

static uint64_t folder_bytes(const char *dir, uint64_t n_nights)
{
	uint64_t bytes = 0;
	struct stat st;
	for (uint64_t i = 0; i <= n_nights; i++) {
		AUTO_FREE char *name = i < n_nights ? xasprintf("%" PRIu64 ".sketches", i)
						    : xstrdup("tables");
		AUTO_FREE char *path = file_join(dir, name);
		bytes += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
	}
	return bytes;
}

static void index_texts(const char *path, const char *dir)
{
	struct error err;
	struct texts texts;
	struct near_reader reader = {0};
	struct near_rule rule;
	struct near_draft draft;
	struct near_index_options options = {0};
	read_texts(path, &texts);
	near_rule_init(&rule, THRESHOLD, false);
	double begun = now(), cpu_begun = cpu_now();
	must(file_make_dirs(dir, &err), &err);
	struct near_set *set = near_set_new(dir, texts.n, &err);
	must(set && near_draft_open(&draft, dir, "0", 1, &err), &err);
	for (size_t i = 0; i < texts.n; i++) {
		struct near_record record = {.owner = i};
		struct near_hit hit;
		near_read(&reader, texts.list[i].data, texts.list[i].len);
		near_sketch(&reader, (uint32_t)i, &record);
		if (!near_set_find(set, &record, &rule, &hit)) {
			near_set_add(set, &record);
			must(near_draft_add(&draft, &record, &err), &err);
		}
	}
	must(near_draft_publish(&draft, &err), &err);
	struct near_index *index = near_index_open(dir, &options, &err);
	must(index != NULL, &err);
	sync_tables(dir);
	double seconds = now() - begun, cpu_seconds = cpu_now() - cpu_begun;
	printf("texts %zu\nbytes %zu\nkept %" PRIu64 "\ntexts_per_s %.0f\ntexts_per_cpu_s %.0f\n",
		texts.n, texts.bytes.len, near_index_records(index), (double)texts.n / seconds,
		(double)texts.n / cpu_seconds);
	near_index_close(index);
	near_set_free(set);
	near_draft_release(&draft);
	near_reader_release(&reader);
	texts_release(&texts);
}

static void sketch_texts(const char *path)
{
	struct texts texts;
	struct near_reader reader = {0};
	struct near_record record = {0};
	uint64_t sum = 0;
	read_texts(path, &texts);
	double begun = now();
	for (size_t i = 0; i < texts.n; i++) {
		near_read(&reader, texts.list[i].data, texts.list[i].len);
		near_sketch(&reader, (uint32_t)i, &record);
		sum += record.text;
	}
	double seconds = now() - begun;
	printf("texts_per_s %.0f\nMB_per_s %.0f\nsum %" PRIu64 "\n", (double)texts.n / seconds,
		(double)texts.bytes.len / seconds / 1e6, sum);
	near_reader_release(&reader);
	texts_release(&texts);
}

/* Through the tables, not by comparing sketches: what no band brings together is missed. */
static double share_found(struct rng *rng, size_t n, double jaccard)
{
	struct error err;
	struct near_reader reader = {0};
	struct near_rule rule;
	struct str a, b;
	near_rule_init(&rule, THRESHOLD, false);
	struct near_set *set = near_set_new("/tmp", n, &err);
	struct near_record *seconds = xcalloc(n, sizeof(*seconds));
	must(set != NULL, &err);
	str_init(&a, STR_NO_CAP);
	str_init(&b, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		struct near_record first = {.owner = i};
		planted_pair(rng, 300, jaccard, &a, &b);
		near_read(&reader, a.data, a.len);
		near_sketch(&reader, 1, &first);
		near_read(&reader, b.data, b.len);
		near_sketch(&reader, 2, &seconds[i]);
		near_set_add(set, &first);
	}
	size_t found = 0;
	for (size_t i = 0; i < n; i++) {
		struct near_hit hit;
		found += near_set_find(set, &seconds[i], &rule, &hit);
	}
	near_set_free(set);
	near_reader_release(&reader);
	str_release(&a);
	str_release(&b);
	free(seconds);
	return (double)found / (double)n;
}

static void planted(size_t n)
{
	static const double similarities[] = {0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.3};
	struct rng rng = {.state = 2};
	for (size_t i = 0; i < ARRAY_LEN(similarities); i++) {
		printf("%.2f %.5f\n", similarities[i], share_found(&rng, n, similarities[i]));
	}
}

static void random_record(struct rng *rng, struct near_record *out)
{
	for (size_t i = 0; i < NEAR_PLACES; i += 8) {
		uint64_t bits = rng_next(rng);
		memcpy(out->places + i, &bits, sizeof(bits));
	}
}

static void many(uint64_t n, const char *dir)
{
	struct error err;
	struct rng rng = {.state = 3};
	struct near_index_options options = {0};
	struct near_rule rule;
	uint64_t n_nights = (n + NIGHT - 1) / NIGHT;
	near_rule_init(&rule, THRESHOLD, false);
	must(file_make_dirs(dir, &err), &err);
	for (uint64_t night = 0; night < n_nights; night++) {
		AUTO_FREE char *run = xasprintf("%" PRIu64, night);
		struct near_draft draft;
		must(near_draft_open(&draft, dir, run, (int64_t)night + 1, &err), &err);
		for (uint64_t i = night * NIGHT; i < MIN((night + 1) * NIGHT, n); i++) {
			struct near_record r = {.owner = i};
			random_record(&rng, &r);
			must(near_draft_add(&draft, &r, &err), &err);
		}
		must(near_draft_publish(&draft, &err), &err);
		near_draft_release(&draft);
	}
	double begun = now();
	struct near_index *index = near_index_open(dir, &options, &err);
	must(index != NULL, &err);
	double made = now() - begun;
	near_index_close(index);
	begun = now();
	must((index = near_index_open(dir, &options, &err)) != NULL, &err);
	double opened = now() - begun;
	begun = now();
	size_t n_found = 0, n_asked = 200000;
	rng = (struct rng){.state = 3};
	for (size_t i = 0; i < n_asked; i++) {
		struct near_record r = {0};
		struct near_hit hit;
		random_record(&rng, &r);
		memset(r.places + 80, 0, 16); /* five sixths alike */
		n_found += near_index_find(index, &r, &rule, &hit) && hit.record->owner == i;
	}
	double asked = now() - begun;
	near_index_close(index);
	printf("records %" PRIu64 "\nmake_tables_s %.2f\nopen_s %.2f\nlook_ups_per_s %.0f\n"
	       "found %.5f\nbytes %" PRIu64 "\n",
		n, made, opened, (double)n_asked / asked, (double)n_found / (double)n_asked,
		folder_bytes(dir, n_nights));
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	if (strcmp(mode, "make") == 0 && argc == 5) {
		make(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	} else if (strcmp(mode, "index") == 0 && argc == 4) {
		index_texts(argv[2], argv[3]);
	} else if (strcmp(mode, "sketch") == 0) {
		sketch_texts(argv[2]);
	} else if (strcmp(mode, "planted") == 0) {
		planted(strtoull(argv[2], NULL, 10));
	} else if (strcmp(mode, "many") == 0 && argc == 4) {
		many(strtoull(argv[2], NULL, 10), argv[3]);
	} else {
		fprintf(stderr, "usage: see the head of bench_near.c\n");
		return 2;
	}
	return 0;
}
