/* Megatron's indexed dataset, byte by byte; and zstd streams, and whole images, on which exports and rewrites stand. */
#include "fixture.h"

#include "base/json.h"
#include "base/str.h"
#include "base/zip.h"
#include "base/zip_stream.h"
#include "shard/image.h"
#include "shard/le.h"
#include "shard/mds.h"
#include "shard/megatron.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct str read_all(const char *name)
{
	struct error err;
	struct str out;
	AUTO_FREE char *path = fixture_path(name);
	str_init(&out, STR_NO_CAP);
	ck_assert_ok(file_read(path, (size_t)64 << 20, &out, &err), err);
	return out;
}

/* --- megatron --- */

static void write_three(enum mds_dtype dtype)
{
	static const uint32_t ids[] = {1, 2, 3, 65499, 7, 8};
	struct megatron m;
	struct error err;
	AUTO_FREE char *prefix = fixture_path("train");
	ck_assert_ok(megatron_open(&m, prefix, dtype, &err), err);
	ck_assert_ok(megatron_add(&m, ids, 3, &err), err);
	ck_assert_ok(megatron_add(&m, ids + 3, 1, &err), err);
	ck_assert_ok(megatron_add(&m, ids + 4, 2, &err), err);
	uint64_t bytes = megatron_bytes(&m);
	ck_assert_ok(megatron_publish(&m, &err), err);
	megatron_release(&m);
	struct str bin = read_all("train.bin"), idx = read_all("train.idx");
	ck_assert_uint_eq(bin.len + idx.len, bytes);
	str_release(&bin);
	str_release(&idx);
}

START_TEST(uint16_files_have_the_documented_bytes)
	{
		static const unsigned char bin_wanted[] = {
			1, 0, 2, 0, 3, 0, 0xdb, 0xff, 7, 0, 8, 0};
		static const unsigned char idx_wanted[] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0,
			0, /* magic */
			1, 0, 0, 0, 0, 0, 0, 0, /* version */
			8, /* uint16 */
			3, 0, 0, 0, 0, 0, 0, 0, /* sequences */
			4, 0, 0, 0, 0, 0, 0, 0, /* document indices */
			3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, /* lengths */
			0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, /* byte pointers */
			8, 0, 0, 0, 0, 0, 0, 0, /* */
			0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, /* documents */
			2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0};
		write_three(MDS_UINT16);
		struct str bin = read_all("train.bin"), idx = read_all("train.idx");
		ck_assert_uint_eq(bin.len, sizeof(bin_wanted));
		ck_assert_mem_eq(bin.data, bin_wanted, bin.len);
		ck_assert_uint_eq(idx.len, sizeof(idx_wanted));
		ck_assert_mem_eq(idx.data, idx_wanted, idx.len);
		str_release(&bin);
		str_release(&idx);
	}
END_TEST

START_TEST(int32_files_differ_in_code_and_pointers)
	{
		write_three(MDS_INT32);
		struct str bin = read_all("train.bin"), idx = read_all("train.idx");
		ck_assert_uint_eq(bin.len, 24);
		ck_assert_uint_eq(le32_get(bin.data + 12), 65499);
		ck_assert_int_eq(idx.data[17], 4);
		ck_assert_uint_eq(
			le64_get(idx.data + 34 + 12 + 16), 16); /* where the third one begins */
		str_release(&bin);
		str_release(&idx);
	}
END_TEST

START_TEST(a_document_larger_than_the_buffer_is_whole)
	{
		const size_t n = 3000001;
		uint32_t *ids = xreallocarray(NULL, n, sizeof(*ids));
		struct megatron m;
		struct error err;
		AUTO_FREE char *prefix = fixture_path("big");
		for (size_t i = 0; i < n; i++) {
			ids[i] = (uint32_t)(i * 2654435761u % 60000);
		}
		ck_assert_ok(megatron_open(&m, prefix, MDS_UINT16, &err), err);
		ck_assert_ok(megatron_add(&m, ids, 1, &err), err);
		ck_assert_ok(megatron_add(&m, ids, n, &err), err);
		ck_assert_ok(megatron_publish(&m, &err), err);
		megatron_release(&m);
		struct str bin = read_all("big.bin");
		ck_assert_uint_eq(bin.len, 2 * (n + 1));
		for (size_t i = 0; i < n; i++) {
			ck_assert_uint_eq(le16_get(bin.data + 2 + 2 * i), ids[i]);
		}
		str_release(&bin);
		free(ids);
	}
END_TEST

START_TEST(nothing_is_overwritten)
	{
		struct megatron m;
		struct error err = {0};
		AUTO_FREE char *prefix = fixture_path("train");
		fixture_write("train.idx", "mine");
		ck_assert(!megatron_open(&m, prefix, MDS_INT32, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
		struct str idx = read_all("train.idx");
		ck_assert_str_eq(idx.data, "mine");
		str_release(&idx);
	}
END_TEST

START_TEST(an_id_that_does_not_fit_is_refused)
	{
		static const struct {
			enum mds_dtype dtype;
			uint32_t id;
			bool ok;
		} rows[] = {{MDS_UINT16, 65535, true}, {MDS_UINT16, 65536, false},
			{MDS_INT32, INT32_MAX, true}, {MDS_INT32, (uint32_t)INT32_MAX + 1, false}};
		struct megatron m;
		struct error err = {0};
		AUTO_FREE char *prefix = fixture_path("train");
		AUTO_FREE char *bin = fixture_path("train.bin");
		ck_assert_ok(megatron_open(&m, prefix, rows[_i].dtype, &err), err);
		ck_assert_int_eq(megatron_add(&m, &rows[_i].id, 1, &err), rows[_i].ok);
		ck_assert_int_eq(err.kind, rows[_i].ok ? FAIL_NONE : FAIL_DATA);
		megatron_release(&m);
		ck_assert(!file_exists(bin));
	}
END_TEST

START_TEST(the_vocabulary_decides_the_width)
	{
		ck_assert_int_eq(megatron_dtype(65499), MDS_UINT16);
		ck_assert_int_eq(megatron_dtype(65500), MDS_INT32);
	}
END_TEST

/* --- zstd streams --- */

static bool append(void *ctx, const void *bytes, size_t len, struct error *err UNUSED)
{
	str_append(ctx, bytes, len);
	return true;
}

static void fill(struct str *out, size_t n)
{
	str_init(out, STR_NO_CAP);
	for (size_t i = 0; i < n; i++) {
		str_append_c(out, (char)(i * i >> 7 ^ i % 97));
	}
}

static struct str zip_in_pieces(const struct str *content, size_t piece)
{
	struct str zipped;
	struct zip_writer w;
	struct error err;
	str_init(&zipped, STR_NO_CAP);
	zip_writer_init(&w, 3, append, &zipped);
	for (size_t at = 0; at < content->len; at += piece) {
		ck_assert_ok(
			zip_writer_add(&w, content->data + at, MIN(piece, content->len - at), &err),
			err);
	}
	ck_assert_ok(zip_writer_end(&w, &err), err);
	zip_writer_release(&w);
	return zipped;
}

START_TEST(a_stream_is_one_frame_whatever_the_pieces)
	{
		struct str content;
		fill(&content, 5000000);
		struct str small = zip_in_pieces(&content, 1 << 10),
			   large = zip_in_pieces(&content, 1 << 22);
		size_t frame_bytes;
		uint64_t content_bytes;
		bool skippable;
		struct error err;
		ck_assert_ok(zip_frame_info(small.data, small.len, &frame_bytes, &content_bytes,
				     &skippable, &err),
			err);
		ck_assert_uint_eq(frame_bytes, small.len);
		ck_assert_uint_eq(small.len, large.len);
		ck_assert_mem_eq(small.data, large.data, small.len);
		str_release(&content);
		str_release(&small);
		str_release(&large);
	}
END_TEST

START_TEST(frames_cut_anywhere_are_read)
	{
		static const size_t pieces[] = {1, 7, 4096, 1 << 20};
		struct str content, got;
		struct zip_reader r;
		struct error err;
		fill(&content, 700000);
		str_init(&got, STR_NO_CAP);
		struct str zipped = zip_in_pieces(&content, 1 << 16),
			   more = zip_in_pieces(&content, 1 << 16);
		size_t first = zipped.len;
		str_append(&zipped, more.data, more.len);
		zip_reader_init(&r, append, &got);
		for (size_t at = 0; at < zipped.len; at += pieces[_i]) {
			ck_assert_ok(zip_reader_add(&r, zipped.data + at,
					     MIN(pieces[_i], zipped.len - at), &err),
				err);
			if (at + pieces[_i] == first) {
				ck_assert_uint_eq(r.frame, 1);
				ck_assert_uint_eq(r.frame_at, first);
			}
		}
		ck_assert_ok(zip_reader_end(&r, &err), err);
		ck_assert_uint_eq(r.frame, 2);
		ck_assert_uint_eq(got.len, 2 * content.len);
		ck_assert_mem_eq(got.data, content.data, content.len);
		ck_assert_mem_eq(got.data + content.len, content.data, content.len);
		zip_reader_release(&r);
		str_release(&content);
		str_release(&got);
		str_release(&zipped);
		str_release(&more);
	}
END_TEST

START_TEST(a_stream_that_is_cut_short_is_told)
	{
		struct str content, got;
		struct error err;
		fill(&content, 100000);
		str_init(&got, STR_NO_CAP);
		struct str zipped = zip_in_pieces(&content, 1 << 16);
		for (size_t len = 1; len < zipped.len; len += 1 + zipped.len / 50) {
			struct zip_reader r;
			zip_reader_init(&r, append, &got);
			ck_assert_ok(zip_reader_add(&r, zipped.data, len, &err), err);
			ck_assert(!zip_reader_end(&r, &err));
			ck_assert_int_eq(err.kind, FAIL_DATA);
			zip_reader_release(&r);
		}
		str_release(&content);
		str_release(&got);
		str_release(&zipped);
	}
END_TEST

/* --- images --- */

static const struct mds_column columns[] = {{"n", "uint64"}, {"t", "str"}};
static const struct mds_format format = {.columns = columns, .n_columns = 2, .frame_bytes = 4096};

/* A shard of 3,000 rows in the fixture's folder. */
static struct mds_shard_info make_folder(void)
{
	struct mds_shard *shard = mds_shard_new(&format);
	struct mds_shard_info info;
	struct error err;
	for (uint64_t i = 0; i < 3000; i++) {
		const struct slice values[] = {mds_scalar(&i, sizeof(i)), slice_z("a text")};
		mds_shard_add(shard, values);
	}
	ck_assert_ok(mds_shard_publish(shard, fixture_dir, 0, &info, &err), err);
	ck_assert_ok(mds_index_publish(&format, fixture_dir, &info, 1, NULL, &err), err);
	mds_shard_free(shard);
	return info;
}

static bool read_image(struct str *out, uint64_t *out_hash, struct error *err)
{
	struct mds_reader *r = mds_reader_open(fixture_dir, err);
	ck_assert_ok(r, *err);
	bool ok = mds_image_read(
		fixture_dir, mds_reader_shard(r, 0), out ? append : NULL, out, out_hash, err);
	mds_reader_close(r);
	return ok;
}

START_TEST(an_image_is_what_the_writer_hashed)
	{
		struct mds_shard_info info = make_folder();
		struct str image;
		struct error err;
		uint64_t hash;
		str_init(&image, STR_NO_CAP);
		ck_assert_ok(read_image(&image, &hash, &err), err);
		ck_assert_uint_eq(image.len, info.raw_bytes);
		ck_assert_uint_eq(hash, info.raw_xxh64);
		ck_assert_uint_eq(le32_get(image.data), 3000);
		str_release(&image);
	}
END_TEST

START_TEST(every_flipped_byte_of_a_shard_is_found)
	{
		struct mds_shard_info info = make_folder();
		AUTO_FREE char *path = fixture_path("shard.00000.mds.zstd");
		AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
		struct error err;
		uint64_t hash;
		for (off_t at = 0; at < (off_t)info.zip_bytes; at += 13) {
			unsigned char c, flipped;
			ck_assert_int_eq(pread(fd, &c, 1, at), 1);
			flipped = c ^ 0x10;
			ck_assert_int_eq(pwrite(fd, &flipped, 1, at), 1);
			err = (struct error){0};
			ck_assert(!read_image(NULL, &hash, &err));
			ck_assert_int_eq(err.kind, FAIL_DATA);
			ck_assert_ptr_nonnull(strstr(err.msg, "shard.00000.mds.zstd"));
			ck_assert_int_eq(pwrite(fd, &c, 1, at), 1);
		}
		ck_assert_ok(read_image(NULL, &hash, &err), err);
	}
END_TEST

START_TEST(a_raw_shard_must_match_its_hash)
	{
		static const char index[] =
			"{\"version\": 2, \"shards\": [{\"version\": 2, \"format\": \"mds\", "
			"\"compression\": null, \"hashes\": [\"xxh64\"], \"size_limit\": null, "
			"\"column_names\": [\"t\"], \"column_encodings\": [\"str\"], "
			"\"column_sizes\": "
			"[null], \"samples\": 1, \"zip_data\": null, \"raw_data\": {\"basename\": "
			"\"x\", "
			"\"bytes\": %s, \"hashes\": {\"xxh64\": \"%s\"}}}]}";
		static const struct {
			const char *bytes, *hash;
			bool ok;
		} rows[] = {{"3", "44bc2cf5ad770999", true}, {"3", "44bc2cf5ad770990", false},
			{"4", "44bc2cf5ad770999", false}, {"2", "44bc2cf5ad770999", false}};
		AUTO_FREE char *text = xasprintf(index, rows[_i].bytes, rows[_i].hash);
		struct error err = {0};
		uint64_t hash;
		fixture_write("x", "abc");
		fixture_write("index.json", text);
		ck_assert_int_eq(read_image(NULL, &hash, &err), rows[_i].ok);
		ck_assert_int_eq(err.kind, rows[_i].ok ? FAIL_NONE : FAIL_DATA);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("megatron");
	TCase *t = tcase_create("megatron");
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_test(t, uint16_files_have_the_documented_bytes);
	tcase_add_test(t, int32_files_differ_in_code_and_pointers);
	tcase_add_test(t, a_document_larger_than_the_buffer_is_whole);
	tcase_add_test(t, nothing_is_overwritten);
	tcase_add_loop_test(t, an_id_that_does_not_fit_is_refused, 0, 4);
	tcase_add_test(t, the_vocabulary_decides_the_width);
	suite_add_tcase(s, t);
	t = tcase_create("streams");
	tcase_add_test(t, a_stream_is_one_frame_whatever_the_pieces);
	tcase_add_loop_test(t, frames_cut_anywhere_are_read, 0, 4);
	tcase_add_test(t, a_stream_that_is_cut_short_is_told);
	suite_add_tcase(s, t);
	t = tcase_create("images");
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_test(t, an_image_is_what_the_writer_hashed);
	tcase_add_test(t, every_flipped_byte_of_a_shard_is_found);
	tcase_add_loop_test(t, a_raw_shard_must_match_its_hash, 0, 4);
	suite_add_tcase(s, t);
	return run_suite(s);
}
