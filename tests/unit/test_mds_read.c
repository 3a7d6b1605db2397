/* The reader on folders of other writers, made here byte by byte: what ours never writes, and what must not pass for sound. */
#include "base/hash.h"
#include "base/workers.h"
#include "base/zip.h"
#include "fixture.h"
#include "shard/mds_read.h"
#include "shard/sequences.h"

#include <string.h>

#define RAW_NAME "shard.00000.mds"
#define ZIP_NAME "shard.00000.mds.zstd"

static struct error err;

/* --- making folders --- */

/* An image of two rows of one column "a" of type int: -5 and 77. */
#define INT_COLUMNS "\"column_names\":[\"a\"],\"column_encodings\":[\"int\"],\"column_sizes\":[8]"
#define INT_IMAGE_BYTES 34

static void make_image(struct str *out, const struct str *rows, uint32_t n)
{
	uint32_t at = 4 + 4 * (n + 1);
	str_init(out, STR_NO_CAP);
	str_append(out, &n, sizeof(n));
	for (uint32_t i = 0; i <= n; i++) {
		str_append(out, &at, sizeof(at));
		at += i < n ? (uint32_t)rows[i].len : 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		str_append(out, rows[i].data, rows[i].len);
	}
}

static void make_int_image(struct str *out)
{
	uint32_t words[] = {2, 18, 26, 34};
	int64_t values[] = {-5, 77};
	str_init(out, STR_NO_CAP);
	str_append(out, words, sizeof(words));
	str_append(out, "{}", 2);
	str_append(out, values, sizeof(values));
	ck_assert_uint_eq(out->len, INT_IMAGE_BYTES);
}

/* As streaming compressors write them: a zstd frame of raw blocks, without content size or checksum. */
static void put_unsized_frame(struct str *out, const char *bytes, size_t len)
{
	str_append(out, "\x28\xb5\x2f\xfd\x00\x58", 6);
	do {
		size_t part = MIN(len, (size_t)100000);
		uint32_t head = (uint32_t)(part << 3 | (part == len));
		str_append(out, &head, 3);
		str_append(out, bytes, part);
		bytes += part;
		len -= part;
	} while (len);
}

static void put_frame(struct str *out, const char *bytes, size_t len)
{
	struct zip zip = {0};
	zip_compress(&zip, bytes, len, 3, out);
	zip_release(&zip);
}

/* A seek table of n frames, 8 bytes each. */
static void put_table(struct str *out, uint32_t (*frames)[2], uint32_t n)
{
	uint32_t head[] = {0x184D2A5E, 8 * n + 9}, magic = 0x8F92EAB1;
	str_append(out, head, sizeof(head));
	str_append(out, frames, 8 * (size_t)n);
	str_append(out, &n, sizeof(n));
	str_append_c(out, 0);
	str_append(out, &magic, sizeof(magic));
}

static void put_file(const char *name, const struct str *bytes)
{
	ck_assert_ok(file_publish(fixture_dir, name, bytes->data, bytes->len, &err), err);
}

static char *entry(const char *columns, const char *basename, uint64_t n, size_t raw_bytes,
	size_t zip_bytes, const char *raw_hashes)
{
	AUTO_FREE char *zip = zip_bytes
		? xasprintf(
			  "{\"basename\":\"" ZIP_NAME "\",\"bytes\":%zu,\"hashes\":{}}", zip_bytes)
		: xstrdup("null");
	return xasprintf("{\"version\":2,\"format\":\"mds\",\"compression\":%s,\"hashes\":[],"
			 "\"size_limit\":null,%s,\"samples\":%llu,\"raw_data\":{\"basename\":"
			 "\"%s\",\"bytes\":%zu,\"hashes\":{%s}},\"zip_data\":%s}",
		zip_bytes ? "\"zstd\"" : "null", columns, (unsigned long long)n, basename,
		raw_bytes, raw_hashes, zip);
}

static void put_index(const char *entries)
{
	AUTO_FREE char *text = xasprintf("{\"version\":2,\"shards\":[%s]}", entries);
	fixture_write("index.json", text);
}

static void put_int_folder(const struct str *zip)
{
	struct str image;
	make_int_image(&image);
	AUTO_FREE char *e = entry(INT_COLUMNS, RAW_NAME, 2, image.len, zip ? zip->len : 0, "");
	put_file(zip ? ZIP_NAME : RAW_NAME, zip ? zip : &image);
	put_index(e);
	str_release(&image);
}

/* --- looking at them --- */

struct told {
	unsigned n;
	struct mds_fault last;
	char what[512], file[64];
};

static void on_fault(void *ctx, const struct mds_fault *fault)
{
	struct told *told = ctx;
	told->n++;
	told->last = *fault;
	snprintf(told->what, sizeof(told->what), "%s", fault->what);
	snprintf(told->file, sizeof(told->file), "%s", fault->file);
}

static struct told verify(void)
{
	struct told told = {0};
	struct mds_reader *r = mds_reader_open(fixture_dir, &err);
	ck_assert_msg(r, "%s", err.msg);
	struct workers *workers = workers_new(3);
	struct mds_verifier *v = mds_verifier_new(r, workers, on_fault, &told);
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		mds_verifier_shard(v, s);
	}
	mds_verifier_free(v);
	workers_free(workers);
	mds_reader_close(r);
	return told;
}

static void check_ints(void)
{
	struct mds_reader *r = mds_reader_open(fixture_dir, &err);
	ck_assert_msg(r, "%s", err.msg);
	for (uint64_t i = 2; i-- > 0;) {
		struct slice value;
		struct mds_array a;
		ck_assert_ok(mds_reader_sample(r, i, &value, NULL, &err), err);
		ck_assert(mds_reader_array(r, 0, &value, "a", &a));
		ck_assert_int_eq((int64_t)mds_array_u64(&a, 0), i ? 77 : -5);
	}
	mds_reader_close(r);
}

/* --- frames --- */

START_TEST(a_frame_that_does_not_state_its_size_is_read)
	{
		struct str image, file;
		make_int_image(&image);
		str_init(&file, STR_NO_CAP);
		put_unsized_frame(&file, image.data, image.len);
		put_int_folder(&file);
		check_ints();
		ck_assert_uint_eq(verify().n, 0); /* small and alone: python-zstd reads it, too */
		str_release(&image);
		str_release(&file);
	}
END_TEST

/* A trainer's cache, or a folder that was read in place and of which the compressed files were removed. */
START_TEST(a_fault_names_the_file_that_was_read)
	{
		struct str image;
		make_int_image(&image);
		AUTO_FREE char *e = entry(INT_COLUMNS, RAW_NAME, 2, image.len, 99, "");
		image.data[0] = 3;
		put_file(RAW_NAME, &image);
		put_index(e);
		struct told told = verify();
		ck_assert_uint_eq(told.n, 1);
		ck_assert_str_eq(told.file, RAW_NAME);
		str_release(&image);
	}
END_TEST

START_TEST(several_unsized_frames_are_read_and_told_of)
	{
		struct str image, file;
		size_t cut = (size_t)_i;
		make_int_image(&image);
		str_init(&file, STR_NO_CAP);
		put_unsized_frame(&file, image.data, cut);
		put_unsized_frame(&file, image.data + cut, image.len - cut);
		put_int_folder(&file);
		check_ints();
		struct told told = verify();
		ck_assert_uint_eq(told.n, 2);
		ck_assert_msg(strstr(told.what, "python-zstd"), "%s", told.what);
		ck_assert_int_eq(told.last.frame, 1);
		ck_assert_int_eq(told.last.offset, 9 + _i);
		str_release(&image);
		str_release(&file);
	}
END_TEST

START_TEST(an_unsized_frame_may_have_its_size_in_the_seek_table)
	{
		struct str image, file;
		make_int_image(&image);
		str_init(&file, STR_NO_CAP);
		put_unsized_frame(&file, image.data, image.len);
		/* Another number of bytes than are there is a fault, and no more memory than the table says is used. */
		uint32_t frames[][2] = {{(uint32_t)file.len, (uint32_t)image.len + (uint32_t)_i}};
		put_table(&file, frames, 1);
		put_int_folder(&file);
		if (_i) {
			ck_assert_uint_gt(verify().n, 0);
		} else {
			check_ints();
			ck_assert_uint_eq(verify().n, 0);
		}
		str_release(&image);
		str_release(&file);
	}
END_TEST

START_TEST(content_hidden_in_a_frame_that_the_table_calls_empty_is_found)
	{
		struct str image, file;
		make_int_image(&image);
		str_init(&file, STR_NO_CAP);
		if (_i == 0) {
			put_frame(&file, "other rows", 10);
		} else if (_i == 1) {
			put_unsized_frame(&file, "other rows", 10);
		} else {
			put_frame(&file, "", 0); /* really empty: harmless */
		}
		uint32_t first = (uint32_t)file.len;
		put_frame(&file, image.data, image.len);
		uint32_t frames[][2] = {
			{first, 0}, {(uint32_t)file.len - first, (uint32_t)image.len}};
		put_table(&file, frames, 2);
		put_int_folder(&file);
		check_ints(); /* by the table all is well, but StreamingDataset would get the other rows */
		struct told told = verify();
		ck_assert(_i == 2 ? told.n == 0 : told.n > 0);
		ck_assert(_i == 2 || told.last.frame == 0);
		str_release(&image);
		str_release(&file);
	}
END_TEST

/* 0: raw, 1: one frame, 2: unsized frames, 3: with a table */
START_TEST(damage_anywhere_is_told_or_harmless)
	{
		struct str image, file;
		make_int_image(&image);
		str_init(&file, STR_NO_CAP);
		if (_i == 0) {
			str_append(&file, image.data, image.len);
		} else if (_i == 2) {
			put_unsized_frame(&file, image.data, 20);
			put_unsized_frame(&file, image.data + 20, image.len - 20);
		} else {
			put_frame(&file, image.data, image.len);
			uint32_t frames[][2] = {{(uint32_t)file.len, (uint32_t)image.len}};
			if (_i == 3) {
				put_table(&file, frames, 1);
			}
		}
		put_int_folder(_i ? &file : NULL);
		AUTO_FREE char *path = fixture_path(_i ? ZIP_NAME : RAW_NAME);
		for (size_t len = 0; len < file.len; len++) {
			fixture_write(_i ? ZIP_NAME : RAW_NAME, "");
			ck_assert_ok(file_publish(fixture_dir, file_basename(path), file.data, len,
					     &err),
				err);
			ck_assert_msg(verify().n > 0, "cut at %zu", len);
		}
		for (size_t bit = 0; bit < 8 * file.len; bit++) {
			file.data[bit / 8] ^= (char)(1 << bit % 8);
			put_file(file_basename(path), &file);
			verify();
			file.data[bit / 8] ^= (char)(1 << bit % 8);
		}
		str_release(&image);
		str_release(&file);
	}
END_TEST

/* --- index.json --- */

static const struct {
	const char *name;
	bool safe;
} names[] = {{"sub/" RAW_NAME, true}, {"..data", true}, {"../" RAW_NAME, false},
	{"/etc/hostname", false}, {"sub/../../" RAW_NAME, false}, {"sub/..", false}, {"..", false},
	{"", false}};

START_TEST(a_name_leads_out_of_the_folder_or_is_read)
	{
		struct str image;
		struct error e;
		make_int_image(&image);
		AUTO_FREE char *sub = fixture_path("sub");
		ck_assert_ok(file_make_dirs(sub, &e), e);
		ck_assert_ok(file_publish(sub, RAW_NAME, image.data, image.len, &e), e);
		put_file("..data", &image);
		AUTO_FREE char *text = entry(
			INT_COLUMNS, names[_i].name, 2, INT_IMAGE_BYTES, 0, "");
		put_index(text);
		if (names[_i].safe) {
			check_ints();
			ck_assert_uint_eq(verify().n, 0);
		} else {
			struct mds_reader *r = mds_reader_open(fixture_dir, &err);
			ck_assert_ptr_null(r);
			ck_assert_int_eq(err.kind, FAIL_DATA);
		}
		str_release(&image);
	}
END_TEST

START_TEST(a_shard_without_samples_is_passed_over)
	{
		/* MDSWriter makes one when its first sample is larger than a shard. */
		struct str none;
		make_image(&none, NULL, 0);
		put_file("shard.none.mds", &none);
		put_int_folder(NULL);
		AUTO_FREE char *a = entry(INT_COLUMNS, "shard.none.mds", 0, none.len, 0, "");
		AUTO_FREE char *b = entry(INT_COLUMNS, RAW_NAME, 2, INT_IMAGE_BYTES, 0, "");
		AUTO_FREE char *both = xasprintf("%s,%s,%s", a, b, a);
		put_index(both);
		check_ints();
		ck_assert_uint_eq(verify().n, 0);
		str_release(&none);
	}
END_TEST

START_TEST(hashes_of_the_image_are_checked_or_named)
	{
		struct str image;
		char sha256[SHA256_HEX_BYTES];
		make_int_image(&image);
		put_int_folder(NULL);
		sha256_hex(image.data, image.len, sha256);
		sha256[0] = _i == 1 ? (sha256[0] == '0' ? '1' : '0') : sha256[0];
		AUTO_FREE char *hashes = xasprintf(
			"\"sha256\":\"%s\"%s", sha256, _i == 2 ? ",\"sha1\":\"00\"" : "");
		AUTO_FREE char *text = entry(INT_COLUMNS, RAW_NAME, 2, INT_IMAGE_BYTES, 0, hashes);
		put_index(text);
		ck_assert_uint_eq(verify().n, _i == 1);
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		ck_assert_pstr_eq(mds_reader_shard(r, 0)->other_hash, _i == 2 ? "sha1" : NULL);
		mds_reader_close(r);
		str_release(&image);
	}
END_TEST

/* --- packed rows --- */

#define PACKED_COLUMNS                                                                        \
	"\"column_names\":[\"loss_mask\",\"sample_ids\",\"scores\",\"seq_lens\",\"tokens\"]," \
	"\"column_encodings\":[\"ndarray:uint8\",\"ndarray:uint64\",\"ndarray:float32\","     \
	"\"ndarray:int32\",\"ndarray:uint16\"],\"column_sizes\":[null,null,null,null,null]"

struct packed_row {
	uint16_t tokens[4];
	uint8_t mask[4];
	int32_t lens[3];
	size_t n_tokens, n_mask, n_lens, n_ids, n_scores;
	const char *fault; /* NULL: none */
};

static const struct packed_row packed_rows[] = {
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {2, 2}, 4, 4, 2, 2, 2, NULL},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {-1, 5}, 4, 4, 2, 2, 2, "seq_lens[0] is -1"},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {0, 4}, 4, 4, 2, 2, 2, "seq_lens[0] is 0"},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {5, -1}, 4, 4, 2, 2, 2, "seq_lens[0] is 5"},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {2, 1}, 4, 4, 2, 2, 2, "add up to 3"},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {2, 3}, 4, 4, 2, 2, 2, "add up to 5"},
	{{1, 2, 3, 4}, {0, 1, 0}, {2, 2}, 4, 3, 2, 2, 2, "loss_mask has 3 values"},
	{{1, 2, 3, 4}, {0, 1, 2, 1}, {2, 2}, 4, 4, 2, 2, 2, "loss_mask[2] is 2"},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {2, 2}, 4, 4, 2, 1, 2, "sample_ids has 1 values"},
	{{1, 2, 3, 4}, {0, 1, 0, 1}, {2, 2}, 4, 4, 2, 2, 3, "scores has 3 values"},
	{{1, 2, 9, 4}, {0, 1, 0, 1}, {2, 2}, 4, 4, 2, 2, 2, "tokens[2] is 9"},
};

static void make_packed(struct str *out, const struct packed_row *row)
{
	static const uint64_t ids[3] = {1, 2, 3};
	static const float scores[3] = {0, 0.5f, 1};
	const struct {
		enum mds_dtype dtype;
		const void *values;
		size_t n;
	} columns[] = {{MDS_UINT8, row->mask, row->n_mask}, {MDS_UINT64, ids, row->n_ids},
		{MDS_FLOAT32, scores, row->n_scores}, {MDS_INT32, row->lens, row->n_lens},
		{MDS_UINT16, row->tokens, row->n_tokens}};
	str_init(out, STR_NO_CAP);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		uint32_t len = (uint32_t)mds_array_bytes(columns[i].dtype, columns[i].n);
		str_append(out, &len, sizeof(len));
	}
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		mds_put_array(out, columns[i].dtype, columns[i].values, columns[i].n);
	}
}

/* Whoever shows a row goes by its boundaries, so they lie within its tokens whatever the columns say. */
static void check_sequences(size_t n_tokens)
{
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct sequences q = {0};
	size_t shard;
	struct mds_reader *r = mds_reader_open(fixture_dir, &err);
	ck_assert_ok(mds_reader_sample(r, 1, values, &shard, &err), err);
	ck_assert(sequences_read(&q, r, shard, values));
	ck_assert_uint_ge(q.n, 1);
	ck_assert_uint_eq(q.starts[0], 0);
	for (size_t k = 0; k < q.n; k++) {
		ck_assert_uint_le(q.starts[k], q.starts[k + 1]);
	}
	ck_assert_uint_eq(q.starts[q.n], n_tokens);
	sequences_release(&q);
	mds_reader_close(r);
}

START_TEST(a_row_whose_columns_disagree_is_told_with_its_place)
	{
		struct str rows[2], image;
		make_packed(&rows[0], &packed_rows[0]);
		make_packed(&rows[1], &packed_rows[_i]);
		make_image(&image, rows, 2);
		put_file(RAW_NAME, &image);
		AUTO_FREE char *text = entry(PACKED_COLUMNS, RAW_NAME, 2, image.len, 0, "");
		AUTO_FREE char *index = xasprintf(
			"{\"version\":2,\"shards\":[%s],\"thresh\":{\"n_vocab\":5}}", text);
		fixture_write("index.json", index);
		check_sequences(packed_rows[_i].n_tokens);
		struct told told = verify();
		if (packed_rows[_i].fault) {
			ck_assert_uint_eq(told.n, 1);
			ck_assert_msg(strstr(told.what, packed_rows[_i].fault), "%s", told.what);
			ck_assert_int_eq(told.last.sample, 1);
			ck_assert_int_eq(told.last.frame, -1);
			ck_assert_int_eq(told.last.offset, (int64_t)(image.len - rows[1].len));
		} else {
			ck_assert_uint_eq(told.n, 0);
		}
		str_release(&rows[0]);
		str_release(&rows[1]);
		str_release(&image);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("mds_read");
	TCase *t = tcase_create("mds_read");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_test(t, a_frame_that_does_not_state_its_size_is_read);
	tcase_add_test(t, a_fault_names_the_file_that_was_read);
	tcase_add_loop_test(t, several_unsized_frames_are_read_and_told_of, 1, INT_IMAGE_BYTES);
	tcase_add_loop_test(t, an_unsized_frame_may_have_its_size_in_the_seek_table, -1, 2);
	tcase_add_loop_test(t, content_hidden_in_a_frame_that_the_table_calls_empty_is_found, 0, 3);
	tcase_add_loop_test(t, damage_anywhere_is_told_or_harmless, 0, 4);
	tcase_add_loop_test(t, a_name_leads_out_of_the_folder_or_is_read, 0, ARRAY_LEN(names));
	tcase_add_test(t, a_shard_without_samples_is_passed_over);
	tcase_add_loop_test(t, hashes_of_the_image_are_checked_or_named, 0, 3);
	tcase_add_loop_test(
		t, a_row_whose_columns_disagree_is_told_with_its_place, 0, ARRAY_LEN(packed_rows));
	suite_add_tcase(s, t);
	return run_suite(s);
}
