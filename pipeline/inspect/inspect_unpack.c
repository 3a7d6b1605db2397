/*
 * `thresh inspect DIR --unpack TO`: the raw images as files, for readers that do not decompress. The bytes are the images that
 * the index has hashes of, so whoever has those can check them; their embedded config goes on saying "zstd", which no reader
 * looks at.
 */
#include "inspect/inspect.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "inspect/companions.h"
#include "inspect/facts.h"
#include "inspect/made.h"
#include "inspect/new_folder.h"
#include "shard/image.h"
#include "shard/mds.h"

#include <string.h>

static bool write_piece(void *ctx, const void *bytes, size_t len, struct error *err)
{
	return file_draft_write(ctx, bytes, len, err);
}

/* What a reader passes on as keyword arguments: exactly these keys, and no other. */
static void put_entry(struct json_writer *w, const struct json *entry,
	const struct mds_read_shard *shard, const char *name, uint64_t raw_xxh64)
{
	static const char *const kept[] = {"column_encodings", "column_names", "column_sizes"};
	struct str value;
	char hex[17];
	str_init(&value, STR_NO_CAP);
	json_begin_object(w);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		str_reset(&value);
		json_dump(json_get(entry, kept[i]), false, &value);
		json_key(w, kept[i]);
		json_put_raw(w, value.data, value.len);
	}
	json_key(w, "compression");
	json_put_null(w);
	json_member_z(w, "format", "mds");
	json_key(w, "hashes");
	json_put_raw(w, "[\"xxh64\"]", 9);
	json_key(w, "raw_data");
	json_begin_object(w);
	json_member_z(w, "basename", name);
	json_member_uint(w, "bytes", shard->raw_bytes);
	json_key(w, "hashes");
	json_begin_object(w);
	json_key(w, "xxh64");
	hash64_hex(raw_xxh64, hex);
	json_put_z(w, hex);
	json_end_object(w);
	json_end_object(w);
	json_member_uint(w, "samples", shard->n_samples);
	str_reset(&value);
	json_key(w, "size_limit");
	json_dump(json_get(entry, "size_limit"), false, &value);
	json_put_raw(w, value.len ? value.data : "null", value.len ? value.len : 4);
	json_member_uint(w, "version", 2);
	json_key(w, "zip_data");
	json_put_null(w);
	json_end_object(w);
	str_release(&value);
}

/* Top-level keys are whoever's who wrote them. */
static void put_other(void *ctx, const char *key, const struct json *value)
{
	struct json_writer *w = ctx;
	if (strcmp(key, "shards") == 0 || strcmp(key, "version") == 0) {
		return;
	}
	struct str text;
	str_init(&text, STR_NO_CAP);
	if (strcmp(key, "thresh") == 0 && json_kind(value) == JSON_OBJECT) {
		facts_put(value, NULL, 0, &text);
	} else {
		json_dump(value, false, &text);
	}
	json_key(w, key);
	json_put_raw(w, text.data, text.len);
	str_release(&text);
}

static bool unpack_shard(const struct new_folder *f, const char *from,
	const struct mds_read_shard *shard, const char *name, uint64_t *out_xxh64,
	struct error *err)
{
	struct file_draft draft;
	if (!file_draft_open(&draft, f->temp, name, err)) {
		return false;
	}
	bool ok = mds_image_read(from, shard, write_piece, &draft, out_xxh64, err) &&
		file_draft_publish(&draft, err);
	file_draft_release(&draft);
	return ok;
}

static bool unpack_all(const struct new_folder *f, const char *from, const struct mds_reader *r,
	struct made *made, struct error *err)
{
	AUTO_JSON struct json *index = new_folder_index(from, err);
	struct str text;
	if (!index) {
		return false;
	}
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text, .python = true};
	json_begin_object(&w);
	json_key(&w, "shards");
	json_begin_array(&w);
	bool ok = true;
	for (size_t s = 0; ok && s < mds_reader_n_shards(r); s++) {
		const struct mds_read_shard *shard = mds_reader_shard(r, s);
		char name[MDS_NAME_BYTES]; /* base names of merged folders may be the same */
		uint64_t xxh64;
		mds_shard_name((uint32_t)s, false, name);
		ok = unpack_shard(f, from, shard, name, &xxh64, err);
		if (ok) {
			put_entry(&w, json_at(json_get(index, "shards"), s), shard, name, xxh64);
			made->files++;
			made->rows += shard->n_samples;
			made->bytes += shard->raw_bytes;
		}
	}
	json_end_array(&w);
	json_each(index, put_other, &w);
	json_member_uint(&w, "version", 2);
	json_end_object(&w);
	ok = ok && file_publish(f->temp, "index.json", text.data, text.len, err);
	str_release(&text);
	return ok;
}

bool inspect_unpack(const char *dir, const char *to, bool json, struct error *err)
{
	struct made made = {.what = "unpacked", .path = to, .started_ms = clock_mono_ms()};
	struct new_folder f;
	struct mds_reader *r = mds_reader_open(dir, err);
	if (!r || !new_folder_open(&f, to, dir, err)) {
		mds_reader_close(r);
		return false;
	}
	bool ok = unpack_all(&f, dir, r, &made, err) && companions_copy(f.temp, dir, r, err) &&
		new_folder_publish(&f, err);
	new_folder_release(&f);
	mds_reader_close(r);
	if (ok) {
		made_tell(&made, json);
	}
	return ok;
}
