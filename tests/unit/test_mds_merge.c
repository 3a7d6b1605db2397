#include "fixture.h"

#include "base/json.h"
#include "shard/mds_merge.h"
#include "shard/mds_read.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An entry as MDSWriter writes it, with a raw file of 4 bytes; each %s is a place where a test puts something wrong. */
#define ENTRY(columns, samples, basename, bytes, more)                                          \
	"{\"column_encodings\": [\"str\"], \"column_names\": [" columns "], \"column_sizes\": " \
	"[null], \"compression\": null, \"format\": \"mds\", \"hashes\": [\"xxh64\"], "         \
	"\"raw_data\": {\"basename\": \"" basename "\", \"bytes\": " bytes                      \
	", \"hashes\": {\"xxh64\": \"00ff\"}}, \"samples\": " samples                           \
	", \"size_limit\": \"64mb\", \"version\": 2, \"zip_data\": null" more "}"
#define INDEX(entry) "{\"shards\": [" entry "], \"version\": 2}"
#define GOOD_ENTRY ENTRY("\"text\"", "3", "shard.00000.mds", "4", "")

static struct error err;

static void write_folder(const char *name, const char *index)
{
	AUTO_FREE char *dir = fixture_path(name);
	ck_assert_ok(file_make_dirs(dir, &err), err);
	ck_assert_ok(file_publish(dir, "shard.00000.mds", "data", 4, &err), err);
	ck_assert_ok(file_publish(dir, "index.json", index, strlen(index), &err), err);
}

/* --- folders --- */

START_TEST(folders_are_in_natural_order)
	{
		static const char *const made[] = {"2026-11-24.10", "2026-11-24.2", "2026-11-09.1",
			".staging", "2026-12-01.1"};
		static const char *const wanted[] = {
			"2026-11-09.1", "2026-11-24.2", "2026-11-24.10", "2026-12-01.1"};
		for (size_t i = 0; i < ARRAY_LEN(made); i++) {
			write_folder(made[i], INDEX(GOOD_ENTRY));
		}
		fixture_write("2026-11-25.1", "a file is no folder");
		size_t n;
		char **names;
		ck_assert_ok(mds_merge_folders(fixture_dir, &names, &n, &err), err);
		ck_assert_uint_eq(n, ARRAY_LEN(wanted));
		for (size_t i = 0; i < n; i++) {
			ck_assert_str_eq(names[i], wanted[i]);
		}
		mds_merge_free_names(names, n);
	}
END_TEST

START_TEST(a_missing_dir_has_none)
	{
		size_t n = 7;
		char **names = &(char *){NULL};
		ck_assert_ok(mds_merge_folders("/nowhere/at/all", &names, &n, &err), err);
		ck_assert_ptr_null(names);
		ck_assert_uint_eq(n, 0);
	}
END_TEST

START_TEST(a_dir_that_cannot_be_listed_is_not_empty)
	{
		size_t n;
		char **names;
		fixture_write("file", "");
		AUTO_FREE char *path = fixture_path("file");
		ck_assert(!mds_merge_folders(path, &names, &n, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
	}
END_TEST

/* --- reading --- */

static const struct {
	const char *index, *message;
} bad_indices[] = {
	{"", "index.json: "},
	{"[]", "index.json: is not an index of MDS"},
	{"{\"shards\": {}, \"version\": 2}", "is not an index of MDS"},
	{"{\"shards\": [], \"version\": 1}", "is not an index of MDS"},
	{INDEX("7"), "shard 0: is an integer, not an object"},
	{INDEX("{}"), "shard 0: has no 'column_encodings'"},
	{INDEX(ENTRY("\"text\"", "3", "shard.00000.mds", "4", ", \"more\": 1")),
		"shard 0: has 12 keys, not the 11 that readers know"},
	{INDEX(ENTRY("\"text\"", "3", "shard.00000.mds", "4", ", \"samples\": 4")), "the same key twice"},
	{INDEX(GOOD_ENTRY ", " ENTRY("\"text\"", "-1", "shard.00000.mds", "4", "")),
		"shard 1: samples is negative"},
	{INDEX(ENTRY("\"text\"", "\"3\"", "shard.00000.mds", "4", "")),
		"shard 0: 'samples' is a string"},
	{INDEX(ENTRY("\"text\", \"b\"", "3", "shard.00000.mds", "4", "")),
		"shard 0: has 2 columns, 1 encodings and 1 sizes"},
	{INDEX(ENTRY("", "3", "shard.00000.mds", "4", "")), "shard 0: has 0 columns"},
	{INDEX(ENTRY("7", "3", "shard.00000.mds", "4", "")), "shard 0: column 0 is malformed"},
	{INDEX(ENTRY("\"text\"", "3", "../b/shard.00000.mds", "4", "")),
		"raw_data: '../b/shard.00000.mds' cannot be the name"},
	{INDEX(ENTRY("\"text\"", "3", "/etc/passwd", "4", "")), "cannot be the name of a shard"},
	{INDEX(ENTRY("\"text\"", "3", "..", "4", "")), "cannot be the name of a shard"},
	{INDEX(ENTRY("\"text\"", "3", "", "4", "")), "cannot be the name of a shard"},
	{INDEX(ENTRY("\"text\"", "3", "a\\u0000b", "4", "")), "cannot be the name of a shard"},
	{INDEX(ENTRY("\"text\"", "3", "a\\nb", "4", "")), "cannot be the name of a shard"},
	{INDEX(ENTRY("\"text\"", "3", "shard.00001.mds", "4", "")), "No such file"},
	{INDEX(ENTRY("\"text\"", "3", "shard.00000.mds", "5", "")),
		"raw_data: 'shard.00000.mds' is not a file of 5 bytes"},
	{INDEX(ENTRY("\"text\"", "3", "shard.00000.mds", "-4", "")), "bytes is negative"},
	{INDEX(ENTRY("\"text\"", "3", "shard.00000.mds", "1e400", "")), "index.json: "},
	{INDEX(ENTRY("\"text\"", "4294967296", "shard.00000.mds", "4", "")),
		"shard 0: `samples` must be a number from 0 to 4294967294"},
};

START_TEST(a_bad_index_is_refused)
	{
		write_folder("a", bad_indices[_i].index);
		struct json *index = mds_merge_read(fixture_dir, "a", &err);
		ck_assert_ptr_null(index);
		ck_assert_msg(
			strstr(err.msg, bad_indices[_i].message) != NULL, "%d: %s", _i, err.msg);
	}
END_TEST

START_TEST(what_is_no_index_is_refused)
	{
		AUTO_FREE char *folder = fixture_path("a");
		AUTO_FREE char *path = file_join(folder, "index.json");
		ck_assert_ok(file_make_dirs(folder, &err), err);
		ck_assert_ptr_null(mds_merge_read(fixture_dir, "a", &err));
		ck_assert_str_eq(err.msg, "index.json: No such file or directory");
		ck_assert_int_eq(mkfifo(path, 0600), 0);
		ck_assert_ptr_null(mds_merge_read(fixture_dir, "a", &err));
		ck_assert_str_eq(err.msg, "index.json is not a file");
	}
END_TEST

START_TEST(a_folder_is_known_by_a_plain_name)
	{
		static const char *const names[] = {"..", ".", "", "a/b", "a\nb", "a\xff"};
		write_folder("a", INDEX(GOOD_ENTRY));
		ck_assert_ptr_null(mds_merge_read(fixture_dir, names[_i], &err));
		ck_assert_msg(strstr(err.msg, "name of the folder") != NULL, "%s", err.msg);
	}
END_TEST

START_TEST(a_large_index_is_not_read)
	{
		write_folder("a", INDEX(GOOD_ENTRY));
		AUTO_FREE char *folder = fixture_path("a");
		AUTO_FREE char *path = file_join(folder, "index.json");
		ck_assert_int_eq(truncate(path, (off_t)MDS_MERGE_PART_BYTES_MAX + 1), 0);
		ck_assert_ptr_null(mds_merge_read(fixture_dir, "a", &err));
		ck_assert_int_eq(err.kind, FAIL_DATA);
	}
END_TEST

/* --- comparing --- */

START_TEST(other_columns_are_told)
	{
		static const char *const texts[] = {INDEX(GOOD_ENTRY),
			INDEX(ENTRY("\"texts\"", "3", "shard.00000.mds", "4", "")),
			INDEX(GOOD_ENTRY ", " ENTRY("\"texts\"", "3", "shard.00000.mds", "4", "")),
			INDEX("")};
		struct json *indices[ARRAY_LEN(texts)];
		for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
			indices[i] = json_parse(texts[i], strlen(texts[i]), &err);
			ck_assert_msg(indices[i] != NULL, "%s", err.msg);
		}
		ck_assert_ptr_null(mds_merge_compare(indices[0], indices[0]));
		ck_assert_str_eq(mds_merge_compare(indices[0], indices[1]), "column_names");
		ck_assert_str_eq(mds_merge_compare(indices[1], indices[0]), "column_names");
		/* Also between the shards of one folder. */
		ck_assert_str_eq(mds_merge_compare(indices[2], indices[0]), "column_names");
		ck_assert_ptr_null(mds_merge_compare(indices[3], indices[0]));
		for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
			json_free(indices[i]);
		}
	}
END_TEST

/* --- merging --- */

static void merge(const char *const *names, size_t n)
{
	struct mds_merge m;
	mds_merge_init(&m, fixture_dir);
	for (size_t i = 0; i < n; i++) {
		AUTO_JSON struct json *index = mds_merge_read(fixture_dir, names[i], &err);
		ck_assert_msg(index != NULL, "%s", err.msg);
		mds_merge_add(&m, names[i], index);
	}
	ck_assert_uint_eq(m.n_folders, n);
	ck_assert_uint_eq(m.n_shards, n);
	ck_assert_uint_eq(m.n_samples, 3 * n);
	ck_assert_ok(mds_merge_publish(&m, "{\"runs\": 2}", &err), err);
	mds_merge_release(&m);
}

START_TEST(entries_are_unchanged_but_for_the_folder)
	{
		static const char *const names[] = {"n.2", "n.10"};
		write_folder("n.2", INDEX(GOOD_ENTRY));
		write_folder("n.10", INDEX(GOOD_ENTRY));
		fixture_write("index.json", "an older one, cut sho");
		merge(names, 2);
		struct str text;
		str_init(&text, 1 << 20);
		AUTO_FREE char *path = fixture_path("index.json");
		ck_assert_ok(file_read(path, 1 << 20, &text, &err), err);
		AUTO_JSON struct json *merged = json_parse(text.data, text.len, &err);
		ck_assert_msg(merged != NULL, "%s", err.msg);
		ck_assert_uint_eq(json_len(json_get(merged, "shards")), 2);
		for (size_t i = 0; i < 2; i++) {
			AUTO_FREE char *file = xasprintf("%s/shard.00000.mds", names[i]);
			const struct json *entry = json_at(json_get(merged, "shards"), i);
			ck_assert_str_eq(
				json_z(json_get(json_get(entry, "raw_data"), "basename")), file);
		}
		/* Take the folder away again: what is left must be the entry that was read. */
		str_reset(&text);
		json_dump(json_at(json_get(merged, "shards"), 1), true, &text);
		char *prefix = strstr(text.data, "n.10/");
		ck_assert_ptr_nonnull(prefix);
		memmove(prefix, prefix + 5, strlen(prefix + 5) + 1);
		struct str before;
		str_init(&before, 1 << 20);
		AUTO_JSON struct json *entry = json_parse(GOOD_ENTRY, strlen(GOOD_ENTRY), &err);
		json_dump(entry, true, &before);
		ck_assert_str_eq(text.data, before.data);
		str_release(&before);
		str_release(&text);
	}
END_TEST

START_TEST(our_reader_opens_it)
	{
		static const char *const names[] = {"n.2", "n.10"};
		write_folder("n.2", INDEX(GOOD_ENTRY));
		write_folder("n.10", INDEX(GOOD_ENTRY));
		merge(names, 2);
		struct mds_reader *r = mds_reader_open(fixture_dir, &err);
		ck_assert_msg(r != NULL, "%s", err.msg);
		ck_assert_uint_eq(mds_reader_n_samples(r), 6);
		ck_assert_str_eq(mds_reader_shard(r, 1)->raw_name, "n.10/shard.00000.mds");
		int64_t runs = 0;
		ck_assert(json_int(json_get(mds_reader_facts(r), "runs"), &runs) && runs == 2);
		mds_reader_close(r);
	}
END_TEST

START_TEST(merging_again_gives_the_same_bytes)
	{
		static const char *const names[] = {"n.1"};
		write_folder("n.1", INDEX(GOOD_ENTRY));
		AUTO_FREE char *path = fixture_path("index.json");
		struct str first, second;
		str_init(&first, 1 << 20);
		str_init(&second, 1 << 20);
		merge(names, 1);
		ck_assert_ok(file_read(path, 1 << 20, &first, &err), err);
		merge(names, 1);
		ck_assert_ok(file_read(path, 1 << 20, &second, &err), err);
		ck_assert_str_eq(first.data, second.data);
		str_release(&first);
		str_release(&second);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("mds_merge");
	TCase *t = tcase_create("all");
	tcase_add_checked_fixture(t, fixture_set_up, fixture_tear_down);
	tcase_add_test(t, folders_are_in_natural_order);
	tcase_add_test(t, a_missing_dir_has_none);
	tcase_add_test(t, a_dir_that_cannot_be_listed_is_not_empty);
	tcase_add_loop_test(t, a_bad_index_is_refused, 0, ARRAY_LEN(bad_indices));
	tcase_add_test(t, what_is_no_index_is_refused);
	tcase_add_loop_test(t, a_folder_is_known_by_a_plain_name, 0, 6);
	tcase_add_test(t, a_large_index_is_not_read);
	tcase_add_test(t, other_columns_are_told);
	tcase_add_test(t, entries_are_unchanged_but_for_the_folder);
	tcase_add_test(t, our_reader_opens_it);
	tcase_add_test(t, merging_again_gives_the_same_bytes);
	suite_add_tcase(s, t);
	return run_suite(s);
}
