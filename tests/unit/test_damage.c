/*
 * Damage to a folder of ours is reported or harmless: never a crash, a hang, an allocation over a limit, or other rows without a
 * word. Memory is limited for the whole process, so that an allocation which trusts a damaged length is a death.
 */
#include "base/hash.h"
#include "base/rng.h"
#include "base/workers.h"
#include "fixture.h"
#include "shard/mds.h"
#include "shard/mds_read.h"
#include "shard/packed_row.h"
#include "shard/sequences.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define N_ROWS 60
#define N_FLIPS 10000
#define MEMORY_MAX ((rlim_t)1 << 30)
#define SHARD "shard.00000.mds.zstd"

static struct error err;

static void limit_memory(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	struct rlimit limit = {MEMORY_MAX, MEMORY_MAX};
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

static void write_folder(uint32_t frame_bytes)
{
	struct mds_format format = {.columns = packed_columns(false),
		.n_columns = PACKED_N_COLUMNS,
		.shard_bytes = 1 << 20,
		.frame_bytes = frame_bytes};
	struct mds_shard *shard = mds_shard_new(&format);
	struct mds_shard_info info;
	struct packed_row row;
	struct rng rng;
	rng_seed(&rng, 3);
	packed_row_init(&row, false);
	for (uint32_t i = 0; i < N_ROWS; i++) {
		uint32_t ids[200];
		struct slice values[PACKED_N_COLUMNS];
		for (size_t k = 0; k < ARRAY_LEN(ids); k++) {
			ids[k] = (uint32_t)rng_below(&rng, 1000);
		}
		packed_row_reset(&row);
		packed_row_add(&row, ids, 5, ids + 5, 20 + i, 4096 * i, 1);
		packed_row_add(&row, ids, 9, ids + 9, 50, 4096 * i + 1, 0.5f);
		packed_row_values(&row, values);
		mds_shard_add(shard, values);
	}
	packed_row_release(&row);
	ck_assert_ok(mds_shard_publish(shard, fixture_dir, 0, &info, &err), err);
	ck_assert_ok(mds_index_publish(&format, fixture_dir, &info, 1,
			     "{\"n_vocab\": 1000, \"layout\": \"packed\"}", &err),
		err);
	mds_shard_free(shard);
}

/* An index that has no hashes, so that only the structure can tell. */
static void forget_hashes(void)
{
	struct str text, without;
	AUTO_FREE char *path = fixture_path("index.json");
	str_init(&text, 1 << 20);
	str_init(&without, 1 << 20);
	ck_assert_ok(file_read(path, 1 << 19, &text, &err), err);
	const char *from = text.data, *hashes;
	while ((hashes = strstr(from, "\"hashes\": {"))) {
		str_append(&without, from, (size_t)(hashes - from) + strlen("\"hashes\": {"));
		from = strchr(hashes, '}');
	}
	str_append_z(&without, from);
	fixture_write("index.json", without.data);
	str_release(&text);
	str_release(&without);
}

/* --- what a reader makes of it --- */

static void count_fault(void *ctx, const struct mds_fault *fault)
{
	ck_assert(fault->what[0]);
	++*(unsigned *)ctx;
}

struct outcome {
	unsigned n_faults; /* a folder that is refused, or a sample that cannot be read, is one */
	uint64_t content; /* hash of all that the rows say, if all could be read */
};

static void hash_row(struct hash64_stream *h, const struct sequences *s)
{
	size_t n = s->starts[s->n];
	hash64_stream_update(h, s->ids, n * sizeof(*s->ids));
	hash64_stream_update(h, s->mask, n);
	hash64_stream_update(h, s->starts, (s->n + 1) * sizeof(*s->starts));
	if (s->has_sample_ids) {
		hash64_stream_update(h, s->sample_ids, s->n * sizeof(*s->sample_ids));
	}
	hash64_stream_update(h, s->scores, s->n * sizeof(*s->scores));
}

static void read_rows(struct mds_reader *r, struct outcome *out)
{
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct sequences s = {0};
	struct hash64_stream h;
	hash64_stream_init(&h);
	for (uint64_t i = 0; i < mds_reader_n_samples(r); i++) {
		size_t shard;
		if (!mds_reader_sample(r, i, values, &shard, &err)) {
			ck_assert(err.msg[0]);
			out->n_faults++;
			break;
		}
		if (sequences_read(&s, r, shard, values)) {
			hash_row(&h, &s);
		}
	}
	sequences_release(&s);
	out->content = hash64_stream_final(&h);
}

static struct outcome look(struct workers *workers)
{
	struct outcome out = {0};
	struct mds_reader *r = mds_reader_open(fixture_dir, &err);
	if (!r) {
		ck_assert(err.kind == FAIL_DATA || err.kind == FAIL_IO);
		out.n_faults = 1;
		return out;
	}
	struct mds_verifier *v = mds_verifier_new(r, workers, count_fault, &out.n_faults);
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		mds_verifier_shard(v, s);
	}
	mds_verifier_free(v);
	read_rows(r, &out);
	mds_reader_close(r);
	return out;
}

/* --- damage --- */

static off_t size_of(int fd)
{
	return lseek(fd, 0, SEEK_END);
}

static void flip(int fd, uint64_t bit)
{
	unsigned char byte;
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
	byte ^= (unsigned char)(1 << bit % 8);
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
}

static const struct {
	const char *file;
	bool hashes;
	uint32_t frame_bytes;
	bool always_told; /* nothing in the file may change without a word */
} places[] = {{SHARD, true, 2048, true}, {SHARD, false, 2048, false},
	{SHARD, false, 1 << 20, false}, {"index.json", true, 2048, false},
	{"index.json", false, 2048, false}};

START_TEST(ten_thousand_flipped_bits_are_told_or_harmless)
	{
		struct rng rng;
		struct workers *workers = workers_new(2);
		rng_seed(&rng, (uint64_t)_i + 1);
		write_folder(places[_i].frame_bytes);
		if (!places[_i].hashes) {
			forget_hashes();
		}
		limit_memory();
		struct outcome sound = look(workers);
		ck_assert_uint_eq(sound.n_faults, 0);
		AUTO_FREE char *path = fixture_path(places[_i].file);
		AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
		for (unsigned i = 0; i < N_FLIPS / ARRAY_LEN(places); i++) {
			uint64_t bit = rng_below(&rng, 8 * (uint64_t)size_of(fd));
			flip(fd, bit);
			struct outcome o = look(workers);
			ck_assert_msg(o.n_faults || o.content == sound.content,
				"bit %llu of %s: other rows without a word",
				(unsigned long long)bit, places[_i].file);
			ck_assert_msg(o.n_faults || !places[_i].always_told, "bit %llu of %s",
				(unsigned long long)bit, places[_i].file);
			flip(fd, bit);
		}
		ck_assert_uint_eq(look(workers).n_faults, 0);
		workers_free(workers);
	}
END_TEST

START_TEST(a_file_that_is_cut_anywhere_is_told_of)
	{
		struct workers *workers = workers_new(1);
		write_folder(2048);
		limit_memory();
		AUTO_FREE char *path = fixture_path(_i ? "index.json" : SHARD);
		AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
		/* From the end, as what is cut off does not come back. */
		for (off_t len = size_of(fd) - 1; len >= 0; len--) {
			ck_assert_int_eq(ftruncate(fd, len), 0);
			ck_assert_msg(look(workers).n_faults, "cut at %lld", (long long)len);
		}
		workers_free(workers);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("damage");
	TCase *t = tcase_create("damage");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_loop_test(
		t, ten_thousand_flipped_bits_are_told_or_harmless, 0, ARRAY_LEN(places));
	tcase_add_loop_test(t, a_file_that_is_cut_anywhere_is_told_of, 0, 2);
	suite_add_tcase(s, t);
	return run_suite(s);
}
