/*
 * index.json, and the config that stands in each image's header: the same keys but for what only the file knows. Keys are
 * sorted and separators are Python's, as MDSWriter has them.
 */
#include "shard/mds.h"

#include "base/file.h"
#include "base/json.h"
#include "shard/mds_impl.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void mds_shard_name(uint32_t no, bool zipped, char out[MDS_NAME_BYTES])
{
	snprintf(out, MDS_NAME_BYTES, "shard.%05u.mds%s", no, zipped ? ".zstd" : "");
}

/* The keys that the embedded config and index.json's entries share, up to where "raw_data" and the like come in. */
static void put_columns(struct json_writer *w, const struct mds_format *f)
{
	json_key(w, "column_encodings");
	json_begin_array(w);
	for (size_t i = 0; i < f->n_columns; i++) {
		json_put_z(w, f->columns[i].encoding);
	}
	json_end_array(w);
	json_key(w, "column_names");
	json_begin_array(w);
	for (size_t i = 0; i < f->n_columns; i++) {
		json_put_z(w, f->columns[i].name);
	}
	json_end_array(w);
	json_key(w, "column_sizes");
	json_begin_array(w);
	for (size_t i = 0; i < f->n_columns; i++) {
		struct mds_encoding e;
		struct error err;
		bool ok = mds_encoding_parse(f->columns[i].encoding, &e, &err);
		assert(ok);
		if (e.fixed_bytes) {
			json_put_uint(w, e.fixed_bytes);
		} else {
			json_put_null(w);
		}
	}
	json_end_array(w);
	json_member_z(w, "compression", "zstd");
	json_member_z(w, "format", "mds");
	json_key(w, "hashes");
	json_begin_array(w);
	json_put_z(w, "sha256");
	json_put_z(w, "xxh64");
	json_end_array(w);
}

static void put_tail(struct json_writer *w, const struct mds_format *f)
{
	json_member_uint(w, "size_limit", mds_shard_bytes(f));
	json_member_uint(w, "version", 2);
}

void mds_put_config(const struct mds_format *f, struct str *out)
{
	struct json_writer w = {.out = out, .python = true};
	json_begin_object(&w);
	put_columns(&w, f);
	put_tail(&w, f);
	json_end_object(&w);
}

static void put_file(struct json_writer *w, const char *key, uint32_t no, bool zipped,
	uint64_t bytes, const char *sha256, uint64_t xxh64)
{
	char name[MDS_NAME_BYTES], hex[17];
	mds_shard_name(no, zipped, name);
	hash64_hex(xxh64, hex);
	json_key(w, key);
	json_begin_object(w);
	json_member_z(w, "basename", name);
	json_member_uint(w, "bytes", bytes);
	json_key(w, "hashes");
	json_begin_object(w);
	if (sha256) {
		json_member_z(w, "sha256", sha256);
	}
	json_member_z(w, "xxh64", hex);
	json_end_object(w);
	json_end_object(w);
}

void mds_end_index(struct json_writer *w, const char *thresh_json)
{
	if (thresh_json) {
		json_key(w, "thresh");
		json_put_raw(w, thresh_json, strlen(thresh_json));
	}
	json_member_uint(w, "version", 2);
	json_end_object(w);
}

bool mds_index_publish(const struct mds_format *format, const char *dir,
	const struct mds_shard_info *infos, size_t n_infos, const char *thresh_json,
	struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text, .python = true};
	json_begin_object(&w);
	json_key(&w, "shards");
	json_begin_array(&w);
	for (size_t i = 0; i < n_infos; i++) {
		const struct mds_shard_info *info = &infos[i];
		/* Exactly these keys: the reader passes them on as keyword arguments. */
		json_begin_object(&w);
		put_columns(&w, format);
		put_file(&w, "raw_data", info->no, false, info->raw_bytes, NULL, info->raw_xxh64);
		json_member_uint(&w, "samples", info->n_samples);
		put_tail(&w, format);
		put_file(&w, "zip_data", info->no, true, info->zip_bytes, info->zip_sha256,
			info->zip_xxh64);
		json_end_object(&w);
	}
	json_end_array(&w);
	mds_end_index(&w, thresh_json);
	bool ok = file_publish(dir, "index.json", text.data, text.len, err);
	str_release(&text);
	return ok;
}
