/* Writer and reader together, and the reader against damage. */
#include "base/rng.h"
#include "base/workers.h"
#include "base/zip.h"
#include "fixture.h"
#include "shard/mds.h"
#include "shard/mds_read.h"
#include "shard/vocab.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static const struct mds_column columns[] = {
	{"score", "float32"}, {"text", "str"}, {"tokens", "ndarray:uint16"}};
static struct error err;

static void put_row(struct mds_shard *shard, uint32_t i, size_t n_tokens)
{
	char text[32];
	float score = (float)i / 8;
	struct str tokens;
	uint16_t *ids = xcalloc(n_tokens, sizeof(*ids));
	for (size_t k = 0; k < n_tokens; k++) {
		ids[k] = (uint16_t)(i * 31 + k);
	}
	snprintf(text, sizeof(text), "row %u", i);
	str_init(&tokens, STR_NO_CAP);
	mds_put_array(&tokens, MDS_UINT16, ids, n_tokens);
	struct slice values[] = {
		mds_scalar(&score, sizeof(score)), slice_z(text), {tokens.data, tokens.len}};
	ck_assert(mds_shard_would_fit(shard, values));
	mds_shard_add(shard, values);
	str_release(&tokens);
	free(ids);
}

static void write_folder(const struct mds_format *format, uint32_t n_rows, size_t n_tokens,
	struct mds_shard_info *info)
{
	struct mds_shard *shard = mds_shard_new(format);
	for (uint32_t i = 0; i < n_rows; i++) {
		put_row(shard, i, n_tokens);
	}
	ck_assert_ok(mds_shard_publish(shard, fixture_dir, 0, info, &err), err);
	ck_assert_uint_eq(info->raw_xxh64, mds_shard_raw_hash(shard));
	ck_assert_ok(mds_index_publish(format, fixture_dir, info, 1, "{\"context\":8}", &err), err);
	mds_shard_free(shard);
}

static void check_rows(uint32_t n_rows, size_t n_tokens)
{
	struct mds_reader *r = mds_reader_open(fixture_dir, &err);
	ck_assert_msg(r, "%s", err.msg);
	ck_assert_uint_eq(mds_reader_n_samples(r), n_rows);
	/* Backwards, so that frames are not met in their order. */
	for (uint32_t i = n_rows; i-- > 0;) {
		struct slice values[3];
		struct mds_array a;
		char text[32];
		snprintf(text, sizeof(text), "row %u", i);
		ck_assert_ok(mds_reader_sample(r, i, values, NULL, &err), err);
		ck_assert(slice_eq_z(values[1], text));
		ck_assert_ok(mds_array_decode(&mds_reader_shard(r, 0)->columns[2].encoding,
				     values[2], &a, &err),
			err);
		ck_assert_uint_eq(a.n, n_tokens);
		ck_assert_uint_eq(
			mds_array_u64(&a, n_tokens - 1), (uint16_t)(i * 31 + n_tokens - 1));
		ck_assert_ok(mds_array_decode(&mds_reader_shard(r, 0)->columns[0].encoding,
				     values[0], &a, &err),
			err);
		ck_assert_double_eq(mds_array_double(&a, 0), (double)i / 8);
	}
	mds_reader_close(r);
}

static void count_fault(void *ctx, const struct mds_fault *fault UNUSED)
{
	++*(unsigned *)ctx;
}

static unsigned faults(void)
{
	unsigned n = 0;
	struct mds_reader *r = mds_reader_open(fixture_dir, &err);
	if (!r) {
		return 1;
	}
	struct workers *workers = workers_new(1);
	struct mds_verifier *v = mds_verifier_new(r, workers, count_fault, &n);
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		mds_verifier_shard(v, s);
	}
	mds_verifier_free(v);
	workers_free(workers);
	mds_reader_close(r);
	return n;
}

static const struct {
	uint32_t rows;
	size_t tokens;
	uint32_t frame_bytes;
	bool single;
} shapes[] = {{1, 1, 0, false}, {10, 300, 1024, false}, {500, 200, 4096, false},
	{500, 200, 4096, true}, {3, 70000, 65536, false}, {100, 11, MDS_FRAME_BYTES_MIN, false}};

START_TEST(rows_come_back_from_every_shape)
	{
		struct mds_format format = {.columns = columns,
			.n_columns = 3,
			.frame_bytes = shapes[_i].frame_bytes,
			.single_frame = shapes[_i].single};
		struct mds_shard_info info;
		write_folder(&format, shapes[_i].rows, shapes[_i].tokens, &info);
		ck_assert_uint_eq(info.n_samples, shapes[_i].rows);
		check_rows(shapes[_i].rows, shapes[_i].tokens);
		ck_assert_uint_eq(faults(), 0);
	}
END_TEST

START_TEST(the_file_is_the_same_for_any_number_of_threads)
	{
		struct mds_format format = {
			.columns = columns, .n_columns = 3, .frame_bytes = 1024};
		struct mds_shard_info alone, info;
		write_folder(&format, 300, 200, &alone);
		format.workers = workers_new((unsigned)_i);
		write_folder(&format, 300, 200, &info);
		ck_assert_str_eq(info.zip_sha256, alone.zip_sha256);
		ck_assert_uint_eq(info.raw_xxh64, alone.raw_xxh64);
		ck_assert_uint_eq(info.n_frames, alone.n_frames);
		ck_assert_uint_gt(info.n_frames, 20);
		ck_assert_uint_eq(faults(), 0);
		workers_free(format.workers);
	}
END_TEST

/* Frames so small that the jobs for all buffers may end between a look for a free one and the next. */
START_TEST(buffers_that_become_free_all_at_once_are_found)
	{
		struct mds_format format = {.columns = columns + 1,
			.n_columns = 1,
			.shard_bytes = 1 << 20,
			.frame_bytes = MDS_FRAME_BYTES_MIN,
			.workers = workers_new((unsigned)_i)};
		struct mds_shard *shard = mds_shard_new(&format);
		char text[MDS_FRAME_BYTES_MIN] = "";
		struct slice value = {text, sizeof(text)};
		for (uint32_t i = 0; i < 60000; i++) {
			if (!mds_shard_would_fit(shard, &value)) {
				mds_shard_reset(shard);
			}
			mds_shard_add(shard, &value);
		}
		ck_assert_uint_gt(mds_shard_n_samples(shard), 0);
		mds_shard_free(shard);
		workers_free(format.workers);
	}
END_TEST

START_TEST(frames_of_any_sizes_obey_the_rule_of_python_zstd)
	{
		/* Incompressible and compressible rows by turns give frames whose sizes fall as often as they rise. */
		struct rng rng;
		rng_seed(&rng, (uint64_t)_i + 1);
		struct mds_format format = {
			.columns = columns, .n_columns = 3, .frame_bytes = 2048};
		struct mds_shard *shard = mds_shard_new(&format);
		for (uint32_t i = 0; i < 12; i++) {
			uint16_t ids[2000];
			size_t n = 1 + (size_t)rng_below(&rng, 2000);
			bool noise = rng_below(&rng, 2);
			for (size_t k = 0; k < n; k++) {
				ids[k] = noise ? (uint16_t)rng_next(&rng) : 7;
			}
			struct str tokens;
			float score = 0;
			str_init(&tokens, STR_NO_CAP);
			mds_put_array(&tokens, MDS_UINT16, ids, n);
			struct slice values[] = {mds_scalar(&score, sizeof(score)), slice_z("x"),
				{tokens.data, tokens.len}};
			mds_shard_add(shard, values);
			str_release(&tokens);
		}
		struct mds_shard_info info;
		ck_assert_ok(mds_shard_publish(shard, fixture_dir, 0, &info, &err), err);
		ck_assert_ok(mds_index_publish(&format, fixture_dir, &info, 1, NULL, &err), err);
		ck_assert_uint_eq(faults(), 0); /* the verifier has its own reading of the rule */
		mds_shard_free(shard);
	}
END_TEST

START_TEST(a_shard_that_is_there_is_adopted_only_if_it_is_the_planned_one)
	{
		struct mds_format format = {.columns = columns, .n_columns = 3};
		struct mds_shard_info info, found_info;
		enum mds_found found;
		ck_assert_ok(mds_shard_check(fixture_dir, 0, 1, &found, &found_info, &err), err);
		ck_assert_int_eq(found, MDS_ABSENT);
		write_folder(&format, 20, 50, &info);
		ck_assert_ok(
			mds_shard_check(fixture_dir, 0, info.raw_xxh64, &found, &found_info, &err),
			err);
		ck_assert_int_eq(found, MDS_SAME);
		ck_assert_str_eq(found_info.zip_sha256, info.zip_sha256);
		ck_assert_uint_eq(found_info.zip_xxh64, info.zip_xxh64);
		ck_assert_uint_eq(found_info.n_samples, 20);
		ck_assert_ok(mds_shard_check(
				     fixture_dir, 0, info.raw_xxh64 + 1, &found, &found_info, &err),
			err);
		ck_assert_int_eq(found, MDS_OTHER);
	}
END_TEST

/* A night that adopts a damaged file would publish it. A large frame before two small ones needs padding. */
START_TEST(a_damaged_shard_is_not_adopted)
	{
		struct mds_format format = {.columns = columns, .n_columns = 3, .frame_bytes = 256};
		struct mds_shard_info info, found_info;
		enum mds_found found;
		struct str file;
		struct mds_shard *shard = mds_shard_new(&format);
		static const size_t n_tokens[] = {700, 130, 130};
		unsigned n_adopted = 0;
		for (uint32_t i = 0; i < ARRAY_LEN(n_tokens); i++) {
			put_row(shard, i, n_tokens[i]);
		}
		ck_assert_ok(mds_shard_publish(shard, fixture_dir, 0, &info, &err), err);
		mds_shard_free(shard);
		AUTO_FREE char *path = fixture_path("shard.00000.mds.zstd");
		str_init(&file, STR_NO_CAP);
		ck_assert_ok(file_read(path, 1 << 20, &file, &err), err);
		bool has_padding = memmem(file.data, file.len, "\x50\x2a\x4d\x18", 4) != NULL;
		ck_assert(has_padding);
		for (size_t i = 0; i < file.len; i++) {
			file.data[i] ^= (char)(1 << i % 8);
			ck_assert_ok(file_publish(fixture_dir, "shard.00000.mds.zstd", file.data,
					     file.len, &err),
				err);
			ck_assert_ok(mds_shard_check(fixture_dir, 0, info.raw_xxh64, &found,
					     &found_info, &err),
				err);
			/* A bit that no decoder looks at makes no difference. */
			n_adopted += found == MDS_SAME;
			ck_assert_ok(mds_index_publish(
					     &format, fixture_dir, &found_info, 1, NULL, &err),
				err);
			ck_assert_msg(found == MDS_OTHER || faults() == 0, "flipped at %zu of %zu",
				i, file.len);
			file.data[i] ^= (char)(1 << i % 8);
		}
		ck_assert_uint_lt(n_adopted, 10);
		str_release(&file);
	}
END_TEST

START_TEST(every_truncation_and_flipped_byte_is_reported)
	{
		struct mds_format format = {.columns = columns, .n_columns = 3, .frame_bytes = 256};
		struct mds_shard_info info;
		struct str file;
		write_folder(&format, 6, 60, &info);
		AUTO_FREE char *path = fixture_path("shard.00000.mds.zstd");
		str_init(&file, STR_NO_CAP);
		ck_assert_ok(file_read(path, 1 << 20, &file, &err), err);
		for (size_t i = 0; i < file.len; i++) {
			ck_assert_ok(file_publish(fixture_dir, "shard.00000.mds.zstd", file.data, i,
					     &err),
				err);
			ck_assert_msg(faults() > 0, "cut at %zu", i);
		}
		for (size_t i = 0; i < file.len; i++) {
			file.data[i] ^= (char)(1 << i % 8);
			ck_assert_ok(file_publish(fixture_dir, "shard.00000.mds.zstd", file.data,
					     file.len, &err),
				err);
			ck_assert_msg(faults() > 0, "flipped at %zu", i);
			file.data[i] ^= (char)(1 << i % 8);
		}
		str_release(&file);
	}
END_TEST

START_TEST(an_uncompressed_folder_of_another_writer_is_read)
	{
		/* By hand: two rows of one column "a" of type int (fixed, 8 bytes). */
		static const char config[] = "{}";
		struct str image;
		str_init(&image, STR_NO_CAP);
		uint32_t head = 4 + 12 + sizeof(config) - 1,
			 words[] = {2, head, head + 8, head + 16};
		int64_t values[] = {-5, 1ll << 40};
		str_append(&image, words, sizeof(words));
		str_append(&image, config, sizeof(config) - 1);
		str_append(&image, values, sizeof(values));
		ck_assert(
			file_publish(fixture_dir, "shard.00000.mds", image.data, image.len, &err));
		fixture_write("index.json",
			"{\"version\":2,\"shards\":[{\"version\":2,\"format\":\"mds\","
			"\"compression\":null,\"hashes\":[],\"size_limit\":null,"
			"\"column_names\":[\"a\"],\"column_encodings\":[\"int\"],\"column_sizes\":["
			"8],\"samples\":2,"
			"\"raw_data\":{\"basename\":\"shard.00000.mds\",\"bytes\":34,\"hashes\":{}}"
			",\"zip_data\":null}]}");
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		struct slice value;
		struct mds_array a;
		ck_assert_msg(r, "%s", err.msg);
		for (uint64_t i = 0; i < 2; i++) {
			ck_assert_ok(mds_reader_sample(r, i, &value, NULL, &err), err);
			ck_assert(mds_array_decode(
				&mds_reader_shard(r, 0)->columns[0].encoding, value, &a, &err));
			ck_assert_int_eq((int64_t)mds_array_u64(&a, 0), values[i]);
		}
		ck_assert(!mds_reader_sample(r, 2, &value, NULL, &err));
		mds_reader_close(r);
		str_release(&image);
	}
END_TEST

/* An index of one compressed shard with one column "a" of type int. */
static void write_index(uint64_t n_samples, size_t raw_bytes, size_t zip_bytes)
{
	AUTO_FREE char *text = xasprintf(
		"{\"version\":2,\"shards\":[{\"version\":2,\"format\":\"mds\",\"compression\":"
		"\"zstd\","
		"\"hashes\":[],\"size_limit\":null,\"column_names\":[\"a\"],\"column_encodings\":["
		"\"int\"],"
		"\"column_sizes\":[8],\"samples\":%llu,\"raw_data\":{\"basename\":\"shard.00000."
		"mds\","
		"\"bytes\":%zu,\"hashes\":{}},\"zip_data\":{\"basename\":\"shard.00000.mds.zstd\","
		"\"bytes\":%zu,\"hashes\":{}}}]}",
		(unsigned long long)n_samples, raw_bytes, zip_bytes);
	fixture_write("index.json", text);
}

/* Two rows, cut into two frames at byte `cut` of the image, without a seek table. */
static void make_two_frames(size_t cut, struct str *image, struct str *file)
{
	uint32_t words[] = {2, 18, 26, 34};
	int64_t values[] = {-5, 77};
	struct zip zip = {0};
	str_init(image, STR_NO_CAP);
	str_init(file, STR_NO_CAP);
	str_append(image, words, sizeof(words));
	str_append(image, "{}", 2);
	str_append(image, values, sizeof(values));
	zip_compress(&zip, image->data, cut, 3, file);
	zip_compress(&zip, image->data + cut, image->len - cut, 3, file);
	zip_release(&zip);
}

START_TEST(frames_of_another_writer_may_end_anywhere)
	{
		struct str image, file;
		struct slice value;
		int64_t v;
		make_two_frames((size_t)_i, &image, &file);
		ck_assert(file_publish(
			fixture_dir, "shard.00000.mds.zstd", file.data, file.len, &err));
		write_index(2, image.len, file.len);
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		ck_assert_msg(r, "%s", err.msg);
		for (uint64_t i = 2; i-- > 0;) {
			ck_assert_ok(mds_reader_sample(r, i, &value, NULL, &err), err);
			memcpy(&v, value.data, sizeof(v));
			ck_assert_int_eq(v, i ? 77 : -5);
		}
		mds_reader_close(r);
		ck_assert_uint_eq(faults(), 0);
		str_release(&image);
		str_release(&file);
	}
END_TEST

START_TEST(offsets_that_were_read_in_part_are_not_used)
	{
		struct str image, file;
		struct slice value;
		make_two_frames(9, &image, &file); /* within the second offset */
		file.data[file.len - 1] ^= 1; /* the checksum of the second frame */
		ck_assert(file_publish(
			fixture_dir, "shard.00000.mds.zstd", file.data, file.len, &err));
		write_index(2, image.len, file.len);
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		ck_assert_msg(r, "%s", err.msg);
		for (int i = 0; i < 2; i++) {
			ck_assert(!mds_reader_sample(r, 1, &value, NULL, &err));
			ck_assert_int_eq(err.kind, FAIL_DATA);
		}
		mds_reader_close(r);
		str_release(&image);
		str_release(&file);
	}
END_TEST

START_TEST(an_index_that_counts_billions_is_one_fault)
	{
		struct str image, file;
		make_two_frames(18, &image, &file);
		ck_assert(file_publish(
			fixture_dir, "shard.00000.mds.zstd", file.data, file.len, &err));
		write_index(4000000000u, image.len, file.len);
		ck_assert_uint_eq(faults(), 1);
		str_release(&image);
		str_release(&file);
	}
END_TEST

START_TEST(a_frame_that_claims_more_than_it_can_hold_is_refused)
	{
		/* One empty frame of zstd that states a content of 3.75 GiB, alone and with a table that agrees. */
		static const char frame[] = "\x28\xb5\x2f\xfd\xa0\x00\x00\x00\xf0\x01\x00\x00";
		static const char table[] = "\x5e\x2a\x4d\x18\x15\x00\x00\x00"
					    "\x0c\x00\x00\x00\x00\x00\x00\xf0\x00\x00\x00\x00"
					    "\x01\x00\x00\x00\x80\xb1\xea\x92\x8f";
		struct str file;
		struct slice value;
		str_init(&file, STR_NO_CAP);
		str_append(&file, frame, sizeof(frame) - 1);
		str_append(&file, table, _i ? sizeof(table) - 1 : 0);
		ck_assert(file_publish(
			fixture_dir, "shard.00000.mds.zstd", file.data, file.len, &err));
		write_index(2, 0xf0000000u, file.len);
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		ck_assert_msg(r, "%s", err.msg);
		ck_assert(!mds_reader_sample(r, 0, &value, NULL, &err));
		ck_assert_msg(strstr(err.msg, "claims"), "%s", err.msg);
		mds_reader_close(r);
		struct mds_shard_info info;
		enum mds_found found;
		ck_assert_ok(mds_shard_check(fixture_dir, 0, 1, &found, &info, &err), err);
		ck_assert_int_eq(found, MDS_OTHER);
		str_release(&file);
	}
END_TEST

START_TEST(a_named_pipe_is_no_shard)
	{
		AUTO_FREE char *path = fixture_path("shard.00000.mds.zstd");
		struct slice value;
		ck_assert_int_eq(mkfifo(path, 0600), 0);
		write_index(2, 34, 34);
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		ck_assert_msg(r, "%s", err.msg);
		ck_assert(!mds_reader_sample(r, 0, &value, NULL, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		mds_reader_close(r);
	}
END_TEST

START_TEST(a_named_pipe_is_no_index_and_no_vocabulary)
	{
		AUTO_FREE char *index = fixture_path("index.json");
		AUTO_FREE char *vocab = fixture_path("vocab.zst");
		ck_assert_int_eq(mkfifo(index, 0600), 0);
		ck_assert_int_eq(mkfifo(vocab, 0600), 0);
		ck_assert_ptr_null(mds_reader_open(fixture_dir, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
		ck_assert_ptr_null(vocab_read(fixture_dir, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
	}
END_TEST

START_TEST(the_seek_table_must_agree_with_the_frames)
	{
		struct mds_format format = {.columns = columns, .n_columns = 3, .frame_bytes = 256};
		struct mds_shard_info info;
		struct str file;
		write_folder(&format, 6, 60, &info);
		AUTO_FREE char *path = fixture_path("shard.00000.mds.zstd");
		str_init(&file, STR_NO_CAP);
		ck_assert_ok(file_read(path, 1 << 20, &file, &err), err);
		/* The checksum of the last frame, found without the hashes of the file. */
		file.data[file.len - 9 - 4] ^= 1;
		ck_assert(file_publish(
			fixture_dir, "shard.00000.mds.zstd", file.data, file.len, &err));
		ck_assert_uint_eq(faults(), 3); /* sha256, xxh64, and the frame */
		str_release(&file);
	}
END_TEST

START_TEST(floats_where_ids_should_be_are_no_undefined_numbers)
	{
		const float values[] = {-1, 3.7f, 1e30f, NAN};
		const struct mds_array a = {
			.dtype = MDS_FLOAT32, .n_dims = 1, .n = 4, .data = (const char *)values};
		ck_assert_uint_eq(mds_array_u64(&a, 0), 0);
		ck_assert_uint_eq(mds_array_u64(&a, 1), 3);
		ck_assert_uint_eq(mds_array_u64(&a, 2), 0);
		ck_assert_uint_eq(mds_array_u64(&a, 3), 0);
	}
END_TEST

static const char *const bad_indices[] = {"", "[]", "{}", "{\"shards\": 3}", "{\"shards\": [{}]}",
	"{\"shards\":[{\"version\":2,\"format\":\"mds\",\"compression\":null,\"column_names\":["
	"\"a\"],\"column_encodings\":[\"int\"],\"column_sizes\":[8],"
	"\"samples\":2,\"raw_data\":{\"basename\":\"../../etc/"
	"passwd\",\"bytes\":34,\"hashes\":{}},\"zip_data\":null}]}",
	"{\"shards\":[{\"version\":2,\"format\":\"mds\",\"compression\":null,\"column_names\":["
	"\"a\"],\"column_encodings\":[\"int\"],\"column_sizes\":[4],"
	"\"samples\":2,\"raw_data\":{\"basename\":\"x\",\"bytes\":34,\"hashes\":{}},\"zip_data\":"
	"null}]}",
	"{\"shards\":[{\"version\":2,\"format\":\"mds\",\"compression\":null,\"column_names\":["
	"\"a\"],\"column_encodings\":[\"ndarray:uint16:0\"],"
	"\"column_sizes\":[4],\"samples\":2,\"raw_data\":{\"basename\":\"x\",\"bytes\":34,"
	"\"hashes\":{}},\"zip_data\":null}]}",
	"{\"shards\":[{\"version\":2,\"format\":\"mds\",\"compression\":null,\"column_names\":["
	"\"a\"],\"column_encodings\":[\"int\"],\"column_sizes\":[8],"
	"\"samples\":-1,\"raw_data\":{\"basename\":\"x\",\"bytes\":34,\"hashes\":{}},\"zip_data\":"
	"null}]}",
	/* 2^31 times 2^33 values: 0 in 64 bits. */
	"{\"shards\":[{\"version\":2,\"format\":\"mds\",\"compression\":null,\"column_names\":["
	"\"a\"],\"column_encodings\":[\"ndarray:uint8:2147483648,8589934592\"],"
	"\"column_sizes\":[null],\"samples\":2,\"raw_data\":{\"basename\":\"x\",\"bytes\":34,"
	"\"hashes\":{}},\"zip_data\":null}]}"};

START_TEST(a_malformed_index_is_refused)
	{
		fixture_write("index.json", bad_indices[_i]);
		ck_assert_ptr_null(mds_reader_open(fixture_dir, &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
	}
END_TEST

/* The last id decides whether ids are looked up in a table or by halving. */
static const uint32_t last_ids[] = {49151, (1u << 20) - 1, 1u << 20, VOCAB_IDS_MAX - 1};

START_TEST(a_vocabulary_comes_back)
	{
		const uint32_t ids[] = {0, 2, last_ids[_i]};
		const struct slice pieces[] = {{"a\0b", 3}, {"<|im_end|>", 10}, {"", 0}};
		const uint8_t special[] = {0, 1, 0};
		struct slice piece;
		bool is_special;
		ck_assert_ok(vocab_publish(fixture_dir, ids, pieces, special, 3, &err), err);
		struct vocab *v = vocab_read(fixture_dir, &err);
		ck_assert_msg(v, "%s", err.msg);
		ck_assert(vocab_piece(v, 0, &piece, &is_special) && slice_eq(piece, pieces[0]) &&
			!is_special);
		ck_assert(vocab_piece(v, 2, &piece, &is_special) && slice_eq(piece, pieces[1]) &&
			is_special);
		ck_assert(vocab_piece(v, ids[2], &piece, &is_special) && piece.len == 0);
		ck_assert(!vocab_piece(v, 1, &piece, &is_special));
		ck_assert(!vocab_piece(v, ids[2] + 1, &piece, &is_special));
		ck_assert(!vocab_piece(v, UINT32_MAX, &piece, &is_special));
		vocab_free(v);
		fixture_write("vocab.zst", "no vocabulary");
		ck_assert_ptr_null(vocab_read(fixture_dir, &err));
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("mds");
	TCase *t = tcase_create("mds");
	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_loop_test(t, rows_come_back_from_every_shape, 0, ARRAY_LEN(shapes));
	tcase_add_loop_test(t, the_file_is_the_same_for_any_number_of_threads, 2, 6);
	tcase_add_loop_test(t, buffers_that_become_free_all_at_once_are_found, 2, 5);
	tcase_add_loop_test(t, frames_of_any_sizes_obey_the_rule_of_python_zstd, 0, 40);
	tcase_add_test(t, a_shard_that_is_there_is_adopted_only_if_it_is_the_planned_one);
	tcase_add_test(t, a_damaged_shard_is_not_adopted);
	tcase_add_test(t, every_truncation_and_flipped_byte_is_reported);
	tcase_add_test(t, an_uncompressed_folder_of_another_writer_is_read);
	tcase_add_loop_test(t, frames_of_another_writer_may_end_anywhere, 1, 34);
	tcase_add_test(t, offsets_that_were_read_in_part_are_not_used);
	tcase_add_test(t, an_index_that_counts_billions_is_one_fault);
	tcase_add_loop_test(t, a_frame_that_claims_more_than_it_can_hold_is_refused, 0, 2);
	tcase_add_test(t, a_named_pipe_is_no_shard);
	tcase_add_test(t, a_named_pipe_is_no_index_and_no_vocabulary);
	tcase_add_test(t, the_seek_table_must_agree_with_the_frames);
	tcase_add_test(t, floats_where_ids_should_be_are_no_undefined_numbers);
	tcase_add_loop_test(t, a_malformed_index_is_refused, 0, ARRAY_LEN(bad_indices));
	tcase_add_loop_test(t, a_vocabulary_comes_back, 0, ARRAY_LEN(last_ids));
	suite_add_tcase(s, t);
	return run_suite(s);
}
