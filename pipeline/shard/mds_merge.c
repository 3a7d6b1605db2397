/*
 * Folders may be damaged or somebody else's, and one bad entry makes the whole data set unreadable: StreamingDataset raises on
 * an unknown key and ends its epoch silently at a file that is missing. So an index is taken only if all of it can be read, and
 * is then copied member by member, not patched as text.
 */
#include "shard/mds_merge.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "shard/mds_impl.h"
#include "shard/mds_read.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_BYTES_MAX 255 /* of a file */

/* --- the folders --- */

static int compare_names(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

bool mds_merge_folders(const char *dir, char ***out_names, size_t *out_n, struct error *err)
{
	char **names = NULL;
	size_t n = 0, cap = 0;
	DIR *d = opendir(dir);
	struct dirent *entry;
	if (!d && errno != ENOENT) {
		return error_errno(err, "could not list folder '%s'", dir);
	}
	while (d && (errno = 0, entry = readdir(d))) {
		AUTO_FREE char *path = file_join(dir, entry->d_name);
		if (entry->d_name[0] != '.' && file_is_dir(path)) {
			names = array_room(names, n, &cap, sizeof(*names));
			names[n++] = xstrdup(entry->d_name);
		}
	}
	/* What could be read is a part of them, and the rest would be missing from the index without a word. */
	bool ok = !d || !errno || error_errno(err, "could not list folder '%s'", dir);
	if (d) {
		closedir(d);
	}
	if (!ok) {
		mds_merge_free_names(names, n);
		return false;
	}
	if (n) {
		qsort(names, n, sizeof(*names), compare_names);
	}
	*out_names = names;
	*out_n = n;
	return true;
}

void mds_merge_free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(names[i]);
	}
	free(names);
}

/* --- checking --- */

struct expected_key {
	const char *name;
	enum json_kind kinds[3]; /* JSON_NONE: no further one */
};

/* Both lists are complete: readers pass the members on as keyword arguments. */
static const struct expected_key entry_keys[] = {
	{"column_encodings", {JSON_ARRAY}},
	{"column_names", {JSON_ARRAY}},
	{"column_sizes", {JSON_ARRAY}},
	{"compression", {JSON_STRING, JSON_NULL}},
	{"format", {JSON_STRING}},
	{"hashes", {JSON_ARRAY}},
	{"raw_data", {JSON_OBJECT}},
	{"samples", {JSON_INT}},
	{"size_limit", {JSON_INT, JSON_STRING, JSON_NULL}},
	{"version", {JSON_INT}},
	{"zip_data", {JSON_OBJECT, JSON_NULL}},
};
static const struct expected_key file_keys[] = {
	{"basename", {JSON_STRING}}, {"bytes", {JSON_INT}}, {"hashes", {JSON_OBJECT}}};

static bool is_of_kind(const struct expected_key *key, enum json_kind kind)
{
	for (size_t i = 0; i < ARRAY_LEN(key->kinds); i++) {
		if (kind != JSON_NONE && key->kinds[i] == kind) {
			return true;
		}
	}
	return false;
}

static bool check_keys(
	const struct json *object, const struct expected_key *keys, size_t n, struct error *err)
{
	if (json_kind(object) != JSON_OBJECT) {
		return error_set(
			err, FAIL_DATA, "is %s, not an object", json_kind_name(json_kind(object)));
	}
	for (size_t i = 0; i < n; i++) {
		const struct json *value = json_get(object, keys[i].name);
		if (!value) {
			return error_set(err, FAIL_DATA, "has no '%s'", keys[i].name);
		}
		if (!is_of_kind(&keys[i], json_kind(value))) {
			return error_set(err, FAIL_DATA, "'%s' is %s", keys[i].name,
				json_kind_name(json_kind(value)));
		}
	}
	/* Keys are unique, so with all of them there a larger number means an unknown one. */
	return json_len(object) == n ||
		error_set(err, FAIL_DATA, "has %zu keys, not the %zu that readers know",
			json_len(object), n);
}

/* A file of the folder itself: a way out of it would put another's file into the data set. */
static bool is_plain_name(const char *name)
{
	size_t len = name ? strlen(name) : 0;
	if (!len || len > NAME_BYTES_MAX || name[0] == '.' || !utf8_valid(name, len)) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '/' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
			return false;
		}
	}
	return true;
}

/* `folder` NULL: the entry alone, as of a raw file of which only the compressed one is there. */
static bool check_file(
	const struct json *file, const char *what, const char *folder, struct error *err)
{
	if (!check_keys(file, file_keys, ARRAY_LEN(file_keys), err)) {
		return error_context(err, "%s", what);
	}
	const char *name = json_z(json_get(file, "basename"));
	int64_t bytes;
	if (!is_plain_name(name)) {
		return error_set(err, FAIL_DATA, "%s: '%.80s' cannot be the name of a shard", what,
			name ? name : "");
	}
	if (!json_int(json_get(file, "bytes"), &bytes) || bytes < 0) {
		return error_set(err, FAIL_DATA, "%s: bytes is negative", what);
	}
	if (!folder) {
		return true;
	}
	AUTO_FREE char *path = file_join(folder, name);
	struct stat st;
	if (stat(path, &st) < 0) {
		return error_errno(err, "%s: '%s'", what, name);
	}
	if (!S_ISREG(st.st_mode) || st.st_size != bytes) {
		return error_set(err, FAIL_DATA, "%s: '%s' is not a file of %lld bytes", what, name,
			(long long)bytes);
	}
	return true;
}

static bool check_columns(const struct json *entry, struct error *err)
{
	const struct json *names = json_get(entry, "column_names"),
			  *encodings = json_get(entry, "column_encodings"),
			  *sizes = json_get(entry, "column_sizes");
	size_t n = json_len(names);
	if (!n || json_len(encodings) != n || json_len(sizes) != n) {
		return error_set(err, FAIL_DATA, "has %zu columns, %zu encodings and %zu sizes", n,
			json_len(encodings), json_len(sizes));
	}
	for (size_t i = 0; i < n; i++) {
		int64_t size = 0;
		enum json_kind kind = json_kind(json_at(sizes, i));
		if (!json_z(json_at(names, i)) || !json_z(json_at(encodings, i)) ||
			!(kind == JSON_NULL || (json_int(json_at(sizes, i), &size) && size >= 0))) {
			return error_set(err, FAIL_DATA, "column %zu is malformed", i);
		}
	}
	return true;
}

static bool check_entry(const struct json *entry, const char *folder, struct error *err)
{
	int64_t version, samples;
	if (!check_keys(entry, entry_keys, ARRAY_LEN(entry_keys), err) ||
		!check_columns(entry, err)) {
		return false;
	}
	const char *format = json_z(json_get(entry, "format"));
	if (!json_int(json_get(entry, "version"), &version) || version != 2 || !format ||
		strcmp(format, "mds") != 0) {
		return error_set(err, FAIL_DATA, "is not MDS, version 2");
	}
	if (!json_int(json_get(entry, "samples"), &samples) || samples < 0) {
		return error_set(err, FAIL_DATA, "samples is negative");
	}
	const struct json *zip = json_get(entry, "zip_data");
	bool compressed = json_kind(json_get(entry, "compression")) == JSON_STRING;
	if (compressed != (json_kind(zip) == JSON_OBJECT)) {
		return error_set(err, FAIL_DATA, "compression and zip_data contradict each other");
	}
	return check_file(
		       json_get(entry, "raw_data"), "raw_data", compressed ? NULL : folder, err) &&
		(!compressed || check_file(zip, "zip_data", folder, err));
}

static bool check_index(const struct json *index, const char *folder, struct error *err)
{
	const struct json *shards = json_get(index, "shards");
	int64_t version;
	if (!json_int(json_get(index, "version"), &version) || version != 2 ||
		json_kind(shards) != JSON_ARRAY) {
		return error_set(err, FAIL_DATA, "is not an index of MDS, version 2");
	}
	for (size_t i = 0; i < json_len(shards); i++) {
		if (!check_entry(json_at(shards, i), folder, err)) {
			return error_context(err, "shard %zu", i);
		}
	}
	return true;
}

/* Ours refuses a whole data set for one entry that it cannot read, so that must not get into the index. */
static bool check_readable(const char *folder, struct error *err)
{
	struct mds_reader *r = mds_reader_open(folder, err);
	mds_reader_close(r);
	return r != NULL;
}

struct json *mds_merge_read(const char *dir, const char *name, struct error *err)
{
	if (!is_plain_name(name)) {
		error_set(err, FAIL_DATA, "the name of the folder cannot stand in an index");
		return NULL;
	}
	AUTO_FREE char *folder = file_join(dir, name);
	AUTO_FREE char *path = file_join(folder, "index.json");
	struct stat st;
	/* Looked at first: opening a pipe would wait for its writer. */
	if (stat(path, &st) < 0) {
		error_errno(err, "index.json");
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, FAIL_DATA, "index.json is not a file");
		return NULL;
	}
	struct str text;
	str_init(&text, MDS_MERGE_PART_BYTES_MAX);
	struct json *index = file_read(path, MDS_MERGE_PART_BYTES_MAX, &text, err)
		? json_parse(text.data, text.len, err)
		: NULL;
	str_release(&text);
	bool ok = index && check_index(index, folder, err);
	if (!ok) {
		error_context(err, "index.json");
	}
	if (!ok || !check_readable(folder, err)) {
		json_free(index);
		return NULL;
	}
	return index;
}

/* --- comparing --- */

static bool same_json(const struct json *a, const struct json *b)
{
	struct str text_a, text_b;
	str_init(&text_a, STR_NO_CAP);
	str_init(&text_b, STR_NO_CAP);
	json_dump(a, true, &text_a);
	json_dump(b, true, &text_b);
	bool same = slice_eq(
		(struct slice){text_a.data, text_a.len}, (struct slice){text_b.data, text_b.len});
	str_release(&text_a);
	str_release(&text_b);
	return same;
}

static const char *compare_entry(const struct json *entry, const struct json *first)
{
	static const char *const keys[] = {"column_names", "column_encodings", "column_sizes"};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!same_json(json_get(entry, keys[i]), json_get(first, keys[i]))) {
			return keys[i];
		}
	}
	return NULL;
}

const char *mds_merge_compare(const struct json *index, const struct json *other)
{
	const struct json *lists[] = {json_get(index, "shards"), json_get(other, "shards")};
	const struct json *first = json_at(lists[json_len(lists[0]) == 0], 0);
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		for (size_t i = 0; i < json_len(lists[l]); i++) {
			const char *key = compare_entry(json_at(lists[l], i), first);
			if (key) {
				return key;
			}
		}
	}
	return NULL;
}

/* --- writing --- */

void mds_merge_init(struct mds_merge *m, const char *dir)
{
	*m = (struct mds_merge){.dir = xstrdup(dir)};
	str_init(&m->entries, MDS_INDEX_BYTES_MAX);
	str_init(&m->runs, MDS_INDEX_BYTES_MAX);
}

void mds_merge_release(struct mds_merge *m)
{
	free(m->dir);
	str_release(&m->entries);
	str_release(&m->runs);
}

struct copying {
	struct json_writer *w;
	const char *folder;
};

static void put_value(struct json_writer *w, const struct json *value)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	json_dump(value, false, &text);
	json_put_raw(w, text.data, text.len);
	str_release(&text);
}

static void copy_file_member(void *ctx, const char *key, const struct json *value)
{
	const struct copying *c = ctx;
	json_key(c->w, key);
	if (strcmp(key, "basename") == 0) {
		AUTO_FREE char *path = xasprintf("%s/%s", c->folder, json_z(value));
		json_put_z(c->w, path);
	} else {
		put_value(c->w, value);
	}
}

static void copy_member(void *ctx, const char *key, const struct json *value)
{
	const struct copying *c = ctx;
	json_key(c->w, key);
	if (json_get(value, "basename")) { /* of raw_data or zip_data */
		json_begin_object(c->w);
		json_each(value, copy_file_member, ctx);
		json_end_object(c->w);
	} else {
		put_value(c->w, value);
	}
}

void mds_merge_add(struct mds_merge *m, const char *name, const struct json *index)
{
	const struct json *shards = json_get(index, "shards");
	m->writer.out = &m->entries; /* here, so that the struct may be moved before */
	struct copying c = {&m->writer, name};
	for (size_t i = 0; i < json_len(shards); i++) {
		int64_t samples = 0;
		json_begin_object(&m->writer);
		json_each(json_at(shards, i), copy_member, &c);
		json_end_object(&m->writer);
		json_int(json_get(json_at(shards, i), "samples"), &samples);
		m->n_samples += (uint64_t)samples;
	}
	m->runs_writer.out = &m->runs;
	json_put_z(&m->runs_writer, name);
	m->n_shards += json_len(shards);
	m->n_folders++;
}

void mds_merge_put_facts(const struct mds_merge *m, const struct json *like, struct str *out)
{
	struct json_writer w = {.out = out};
	int64_t n_vocab = 0;
	json_int(json_get(like, "n_vocab"), &n_vocab);
	json_begin_object(&w);
	json_member_z(&w, "layout", json_z(json_get(like, "layout")));
	json_member_z(&w, "tokenizer", json_z(json_get(like, "tokenizer")));
	json_member_int(&w, "n_vocab", n_vocab);
	json_member_uint(&w, "rows", m->n_samples);
	json_key(&w, "runs");
	json_begin_array(&w);
	json_put_raw(&w, m->runs.data, m->runs.len);
	json_end_array(&w);
	json_end_object(&w);
}

bool mds_merge_publish(const struct mds_merge *m, const char *thresh_json, struct error *err)
{
	struct str text;
	str_init(&text, MDS_INDEX_BYTES_MAX);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_key(&w, "shards");
	json_begin_array(&w);
	json_put_raw(&w, m->entries.data, m->entries.len);
	json_end_array(&w);
	mds_end_index(&w, thresh_json);
	bool ok;
	if (m->entries.full || m->runs.full || text.full) {
		ok = error_set(err, FAIL_DATA,
			"the index over all %zu folders of '%s' would exceed %zu MiB", m->n_folders,
			m->dir, MDS_INDEX_BYTES_MAX >> 20);
		error_hint(err, "move old ones into another folder");
	} else {
		ok = file_publish(m->dir, "index.json", text.data, text.len, err);
	}
	str_release(&text);
	return ok;
}
