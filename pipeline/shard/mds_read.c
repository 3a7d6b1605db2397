/*
 * A shard is opened on first use: its frames are found (seek table, else by walking the file's frames, else one raw file) and its
 * header is decoded. A sample is then the bytes between two offsets, put together from the one or two frames that hold them;
 * the frame decoded last is kept, so reading samples in order decodes each frame once.
 */
#include "shard/mds_read.h"

#include "base/file.h"
#include "base/mem.h"
#include "shard/frame.h"
#include "shard/le.h"
#include "shard/mds_read_impl.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAMES_MAX (1u << 24)

/* --- index.json --- */

static bool bad(struct error *err, size_t shard, const char *what)
{
	return error_set(err, FAIL_DATA, "shard %zu: %s", shard, what);
}

/* Sub-folders are allowed, ways out of the folder are not. */
static bool safe_name(const char *name)
{
	if (!name || !name[0] || name[0] == '/' || strlen(name) >= 1024) {
		return false;
	}
	for (const char *part = name; part; part = strchr(part, '/')) {
		part += *part == '/';
		size_t len = strcspn(part, "/");
		if (len == 2 && part[0] == '.' && part[1] == '.') {
			return false;
		}
	}
	return true;
}

static bool read_file_entry(const struct json *entry, const char **out_name, uint64_t *out_bytes)
{
	int64_t bytes;
	*out_name = json_z(json_get(entry, "basename"));
	if (!safe_name(*out_name) || !json_int(json_get(entry, "bytes"), &bytes) || bytes < 0) {
		return false;
	}
	*out_bytes = (uint64_t)bytes;
	return true;
}

struct hashes {
	const char **xxh64, **sha256, **other;
};

static void read_hash(void *ctx, const char *kind, const struct json *value)
{
	struct hashes *to = ctx;
	bool is_xxh64 = strcmp(kind, "xxh64") == 0;
	if (is_xxh64 || strcmp(kind, "sha256") == 0) {
		*(is_xxh64 ? to->xxh64 : to->sha256) = json_z(value);
	} else {
		*to->other = kind;
	}
}

static bool read_columns(struct mds_reader *r, const struct json *entry, struct mds_read_shard *s,
	size_t no, struct error *err)
{
	const struct json *names = json_get(entry, "column_names"),
			  *encodings = json_get(entry, "column_encodings"),
			  *sizes = json_get(entry, "column_sizes");
	s->n_columns = json_len(names);
	if (!s->n_columns || s->n_columns > MDS_READ_COLUMNS_MAX ||
		json_len(encodings) != s->n_columns || json_len(sizes) != s->n_columns) {
		return bad(err, no,
			"column_names, column_encodings and column_sizes must be lists of equal "
			"length");
	}
	struct mds_read_column *columns = arena_alloc_array(
		&r->arena, s->n_columns, sizeof(*columns));
	for (size_t i = 0; i < s->n_columns; i++) {
		int64_t size = 0;
		columns[i].name = json_z(json_at(names, i));
		columns[i].encoding_name = json_z(json_at(encodings, i));
		if (!columns[i].name || !columns[i].encoding_name) {
			return bad(err, no, "column names and encodings must be texts");
		}
		if (!mds_encoding_parse(columns[i].encoding_name, &columns[i].encoding, err)) {
			return error_context(err, "shard %zu", no);
		}
		if (json_kind(json_at(sizes, i)) != JSON_NULL &&
			(!json_int(json_at(sizes, i), &size) || size < 1 || size > UINT32_MAX)) {
			return bad(err, no, "a column size must be null or a positive number");
		}
		if (columns[i].encoding.fixed_bytes &&
			columns[i].encoding.fixed_bytes != (uint32_t)size) {
			return bad(err, no, "a column's size is not that of its encoding");
		}
		columns[i].fixed_bytes = (uint32_t)size;
	}
	s->columns = columns;
	return true;
}

static bool read_shard_entry(
	struct mds_reader *r, const struct json *entry, size_t no, struct error *err)
{
	struct mds_read_shard *s = &r->shards[no];
	const char *format = json_z(json_get(entry, "format")),
		   *compression = json_z(json_get(entry, "compression"));
	const struct json *raw = json_get(entry, "raw_data"), *zip = json_get(entry, "zip_data");
	int64_t version = 0, samples;
	if (!format || strcmp(format, "mds") != 0 ||
		!json_int(json_get(entry, "version"), &version) || version != 2) {
		return bad(err, no, "not MDS version 2");
	}
	if (!json_int(json_get(entry, "samples"), &samples) || samples < 0 ||
		samples >= UINT32_MAX) {
		return bad(err, no, "`samples` must be a number from 0 to 4294967294");
	}
	if (!read_file_entry(raw, &s->raw_name, &s->raw_bytes) ||
		s->raw_bytes > MDS_IMAGE_BYTES_MAX) {
		return bad(err, no, "`raw_data` must have a safe basename and bytes below 4 GiB");
	}
	if (json_kind(zip) == JSON_OBJECT && !read_file_entry(zip, &s->zip_name, &s->zip_bytes)) {
		return bad(err, no, "`zip_data` must have a safe basename and bytes");
	}
	if (s->zip_name && (!compression || strncmp(compression, "zstd", 4) != 0)) {
		return bad(err, no, "only zstd compression can be read");
	}
	json_each(json_get(raw, "hashes"), read_hash,
		&(struct hashes){&s->raw_xxh64, &s->raw_sha256, &s->other_hash});
	json_each(json_get(zip, "hashes"), read_hash,
		&(struct hashes){&s->zip_xxh64, &s->zip_sha256, &s->other_hash});
	s->n_samples = (uint64_t)samples;
	s->first_sample = r->n_samples;
	r->n_samples += s->n_samples;
	return read_columns(r, entry, s, no, err);
}

struct mds_reader *mds_reader_open(const char *dir, struct error *err)
{
	struct mds_reader *r = xcalloc(1, sizeof(*r));
	AUTO_FREE char *path = file_join(dir, "index.json");
	struct str text;
	r->dir = xstrdup(dir);
	r->open = r->decoded = MDS_NONE;
	r->fd = -1;
	str_init(&text, MDS_INDEX_BYTES_MAX + (64 << 10));
	str_init(&r->zipped, STR_NO_CAP);
	str_init(&r->frame, STR_NO_CAP);
	str_init(&r->sample, STR_NO_CAP);
	str_init(&r->offsets, STR_NO_CAP);
	bool ok = file_read_regular(path, MDS_INDEX_BYTES_MAX, &text, err);
	if (ok) {
		r->index = json_parse(text.data, text.len, err);
		ok = r->index || error_context(err, "'%s'", path);
	} else if (!file_exists(path)) {
		error_hint(err,
			"a folder of shards has an index.json; one whose run was not finished has "
			"none yet");
	}
	str_release(&text);
	const struct json *shards = json_get(r->index, "shards");
	if (ok && json_kind(shards) != JSON_ARRAY) {
		ok = error_set(err, FAIL_DATA, "'%s' has no list of `shards`", path);
	}
	r->n_shards = ok ? json_len(shards) : 0;
	r->shards = arena_alloc_array(&r->arena, r->n_shards, sizeof(*r->shards));
	for (size_t i = 0; ok && i < r->n_shards; i++) {
		ok = read_shard_entry(r, json_at(shards, i), i, err) ||
			error_context(err, "'%s'", path);
	}
	if (!ok) {
		mds_reader_close(r);
		return NULL;
	}
	return r;
}

static void close_shard(struct mds_reader *r)
{
	if (r->fd >= 0) {
		close(r->fd);
	}
	free(r->path);
	free(r->frames);
	r->fd = -1;
	r->path = NULL;
	r->frames = NULL;
	r->n_frames = 0;
	r->open = r->decoded = MDS_NONE;
	str_reset(&r->offsets);
}

void mds_reader_close(struct mds_reader *r)
{
	if (!r) {
		return;
	}
	close_shard(r);
	zip_release(&r->zip);
	str_release(&r->zipped);
	str_release(&r->frame);
	str_release(&r->sample);
	str_release(&r->offsets);
	arena_release(&r->arena);
	json_free(r->index);
	free(r->dir);
	free(r);
}

size_t mds_reader_n_shards(const struct mds_reader *r)
{
	return r->n_shards;
}

const struct mds_read_shard *mds_reader_shard(const struct mds_reader *r, size_t s)
{
	assert(s < r->n_shards);
	return &r->shards[s];
}

uint64_t mds_reader_n_samples(const struct mds_reader *r)
{
	return r->n_samples;
}

const struct json *mds_reader_facts(const struct mds_reader *r)
{
	return json_get(r->index, "thresh");
}

char *mds_reader_part(const struct mds_reader *r, size_t s)
{
	const struct mds_read_shard *shard = mds_reader_shard(r, s);
	return file_dirname(shard->zip_name ? shard->zip_name : shard->raw_name);
}

int mds_reader_column(const struct mds_reader *r, size_t s, const char *name)
{
	for (size_t i = 0; i < r->shards[s].n_columns; i++) {
		if (strcmp(r->shards[s].columns[i].name, name) == 0) {
			return (int)i;
		}
	}
	return -1;
}

bool mds_reader_array(const struct mds_reader *r, size_t s, const struct slice *values,
	const char *name, struct mds_array *out)
{
	int i = mds_reader_column(r, s, name);
	struct error err;
	if (i < 0) {
		return false;
	}
	const struct mds_encoding *e = &r->shards[s].columns[i].encoding;
	return (e->kind == MDS_NDARRAY || e->kind == MDS_SCALAR) &&
		mds_array_decode(e, values[i], out, &err);
}

/* --- frames --- */

static bool add_frame(struct mds_reader *r, size_t *cap, struct mds_frame f, struct error *err)
{
	if (f.raw_bytes > frame_raw_bytes_max(f.zip_bytes)) {
		return error_set(err, FAIL_DATA,
			"'%s': frame %zu claims to hold %u bytes in %u compressed ones", r->path,
			r->n_frames, f.raw_bytes, f.zip_bytes);
	}
	r->frames = array_room(r->frames, r->n_frames, cap, sizeof(*r->frames));
	r->frames[r->n_frames++] = f;
	return true;
}

/* *out_found false: the file has none; that is no error. */
static bool read_table(struct mds_reader *r, bool *out_found, struct error *err)
{
	char footer[TABLE_FOOTER_BYTES], head[SKIPPABLE_HEADER_BYTES];
	*out_found = false;
	if (r->file_bytes < TABLE_FOOTER_BYTES + sizeof(head)) {
		return true;
	}
	if (!file_pread(r->fd, r->path, footer, sizeof(footer), r->file_bytes - TABLE_FOOTER_BYTES,
		    err)) {
		return false;
	}
	if (le32_get(footer + 5) != TABLE_MAGIC) {
		return true;
	}
	uint64_t n = le32_get(footer),
		 entry_bytes = (unsigned char)footer[4] & TABLE_HAS_CHECKSUMS ? TABLE_ENTRY_BYTES
									      : 8;
	uint64_t table_bytes = n * entry_bytes;
	if (((unsigned char)footer[4] & TABLE_RESERVED_BITS) || !n || n > FRAMES_MAX ||
		table_bytes + TABLE_FOOTER_BYTES + sizeof(head) > r->file_bytes) {
		return error_set(err, FAIL_DATA, "'%s' has a malformed seek table", r->path);
	}
	uint64_t at = r->file_bytes - TABLE_FOOTER_BYTES - table_bytes - sizeof(head);
	if (!file_pread(r->fd, r->path, head, sizeof(head), at, err)) {
		return false;
	}
	if (le32_get(head) != SKIPPABLE_TABLE ||
		le32_get(head + 4) != table_bytes + TABLE_FOOTER_BYTES) {
		return error_set(err, FAIL_DATA, "'%s' has a malformed seek table", r->path);
	}
	char *table = xmalloc((size_t)table_bytes);
	bool ok = file_pread(r->fd, r->path, table, (size_t)table_bytes, at + sizeof(head), err);
	uint64_t zip_at = 0, raw_at = 0;
	size_t cap = 0;
	for (uint64_t i = 0; ok && i < n; i++) {
		const char *entry = table + i * entry_bytes;
		struct mds_frame f = {zip_at, raw_at, le32_get(entry), le32_get(entry + 4),
			entry_bytes == TABLE_ENTRY_BYTES ? le32_get(entry + 8) : 0, false};
		ok = add_frame(r, &cap, f, err);
		zip_at += f.zip_bytes;
		raw_at += f.raw_bytes;
		if (ok && (zip_at > at || raw_at > MDS_IMAGE_BYTES_MAX)) {
			ok = error_set(err, FAIL_DATA,
				"'%s': the seek table's sums exceed the file at frame %llu",
				r->path, (unsigned long long)i);
		}
	}
	if (ok && zip_at != at) {
		ok = error_set(
			err, FAIL_DATA, "'%s': the seek table does not cover the file", r->path);
	}
	free(table);
	r->image_bytes = raw_at;
	r->has_checksums = entry_bytes == TABLE_ENTRY_BYTES;
	*out_found = ok;
	return ok;
}

/*
 * Without a table: the frames one after the other. The whole file is read for that, and a frame that does not state its size
 * is decoded once to count it.
 */
static bool walk_frames(struct mds_reader *r, struct error *err)
{
	struct str file;
	str_init(&file, STR_NO_CAP);
	if (r->file_bytes > MDS_IMAGE_BYTES_MAX) {
		return error_set(err, FAIL_DATA, "'%s' is too large", r->path);
	}
	char *to = str_reserve(&file, (size_t)r->file_bytes);
	bool ok = file_pread(r->fd, r->path, to, (size_t)r->file_bytes, 0, err);
	uint64_t at = 0, raw_at = 0;
	size_t cap = 0;
	while (ok && at < r->file_bytes) {
		size_t zip_bytes;
		uint64_t content;
		bool skippable;
		ok = zip_frame_info(to + at, (size_t)(r->file_bytes - at), &zip_bytes, &content,
			&skippable, err);
		bool unsized = ok && content == UINT64_MAX;
		if (unsized) {
			ok = zip_decompress_stream(&r->zip, to + at, zip_bytes,
				(size_t)(MDS_IMAGE_BYTES_MAX - raw_at), NULL, &content, err);
		}
		if (!ok) {
			error_context(err, "'%s' at byte %llu", r->path, (unsigned long long)at);
		} else if (content > UINT32_MAX || content > MDS_IMAGE_BYTES_MAX - raw_at ||
			zip_bytes > UINT32_MAX) {
			ok = error_set(err, FAIL_DATA, "'%s' at byte %llu: a frame is too large",
				r->path, (unsigned long long)at);
		} else {
			ok = add_frame(r, &cap,
				(struct mds_frame){at, raw_at, (uint32_t)zip_bytes,
					(uint32_t)content, 0, unsized},
				err);
			at += zip_bytes;
			raw_at += content;
		}
	}
	str_release(&file);
	r->image_bytes = raw_at;
	return ok;
}

bool mds_open_shard(struct mds_reader *r, size_t s, struct error *err)
{
	if (r->open == s) {
		return true;
	}
	close_shard(r);
	const struct mds_read_shard *shard = &r->shards[s];
	/* A folder that was read in place has the raw file beside the compressed one; ours is the one the index tells first. */
	r->compressed = shard->zip_name != NULL;
	r->path = file_join(r->dir, r->compressed ? shard->zip_name : shard->raw_name);
	if (r->compressed && !file_exists(r->path)) {
		char *raw = file_join(r->dir, shard->raw_name);
		if (file_exists(raw)) {
			free(r->path);
			r->path = raw;
			r->compressed = false;
		} else {
			free(raw);
		}
	}
	r->fd = file_open_regular(r->path, &r->file_bytes, err);
	if (r->fd < 0) {
		close_shard(r);
		return false;
	}
	r->image_bytes = r->file_bytes;
	r->has_table = r->has_checksums = false;
	if (r->compressed &&
		(!read_table(r, &r->has_table, err) || (!r->has_table && !walk_frames(r, err)))) {
		close_shard(r);
		return false;
	}
	r->open = s;
	return true;
}

static bool decompress_frame(struct mds_frame *f, struct zip *zip, const char *zipped,
	struct str *content, struct error *err)
{
	size_t frame_bytes;
	uint64_t stated;
	bool skippable;
	if (!zip_frame_info(zipped, f->zip_bytes, &frame_bytes, &stated, &skippable, err)) {
		return false;
	}
	f->unsized = stated == UINT64_MAX;
	return f->unsized ? zip_decompress_stream(
				    zip, zipped, f->zip_bytes, f->raw_bytes, content, &stated, err)
			  : zip_decompress(zip, zipped, f->zip_bytes, f->raw_bytes, content, err);
}

bool mds_load_frame(struct mds_reader *r, size_t i, struct zip *zip, struct str *zipped,
	struct str *content, struct error *err)
{
	struct mds_frame *f = &r->frames[i];
	str_reset(zipped);
	str_reset(content);
	char *to = str_reserve(zipped, f->zip_bytes);
	if (!file_pread(r->fd, r->path, to, f->zip_bytes, f->zip_at, err)) {
		return false;
	}
	zipped->len = f->zip_bytes;
	if (!decompress_frame(f, zip, to, content, err)) {
		return error_context(err, "'%s': frame %zu at byte %llu", r->path, i,
			(unsigned long long)f->zip_at);
	}
	return content->len == f->raw_bytes ||
		error_set(err, FAIL_DATA, "'%s': frame %zu holds %zu bytes, its table says %u",
			r->path, i, content->len, f->raw_bytes);
}

static bool decode_frame(struct mds_reader *r, size_t i, struct error *err)
{
	if (r->decoded == i) {
		return true;
	}
	r->decoded = MDS_NONE;
	if (!mds_load_frame(r, i, &r->zip, &r->zipped, &r->frame, err)) {
		return false;
	}
	r->decoded = i;
	return true;
}

size_t mds_frame_of(const struct mds_reader *r, uint64_t at)
{
	size_t low = 0, high = r->n_frames;
	while (low + 1 < high) {
		size_t middle = low + (high - low) / 2;
		if (r->frames[middle].raw_at <= at) {
			low = middle;
		} else {
			high = middle;
		}
	}
	while (low > 0 && !r->frames[low].raw_bytes) {
		low--;
	}
	return low;
}

bool mds_read_image(
	struct mds_reader *r, uint64_t at, size_t len, struct str *out, struct error *err)
{
	assert(at <= r->image_bytes && len <= r->image_bytes - at);
	if (!r->compressed) {
		char *to = str_reserve(out, len);
		if (!file_pread(r->fd, r->path, to, len, at, err)) {
			return false;
		}
		out->len += len;
		return true;
	}
	for (size_t i = mds_frame_of(r, at); len; i++) {
		assert(i < r->n_frames);
		const struct mds_frame *f = &r->frames[i];
		if (at >= f->raw_at + f->raw_bytes) {
			continue;
		}
		if (!decode_frame(r, i, err)) {
			return false;
		}
		size_t from = (size_t)(at - f->raw_at), part = MIN(len, f->raw_bytes - from);
		str_append(out, r->frame.data + from, part);
		at += part;
		len -= part;
	}
	return true;
}

/* --- samples --- */

bool mds_split_sample(const struct mds_read_shard *s, struct slice sample, struct slice *values,
	struct error *err)
{
	size_t at = 0;
	for (size_t i = 0; i < s->n_columns; i++) {
		values[i].len = s->columns[i].fixed_bytes;
		if (!values[i].len) {
			if (sample.len - at < 4) {
				return error_set(
					err, FAIL_DATA, "the sample ends within its lengths");
			}
			values[i].len = le32_get(sample.data + at);
			at += 4;
		}
	}
	for (size_t i = 0; i < s->n_columns; i++) {
		if (values[i].len > sample.len - at) {
			return error_set(err, FAIL_DATA, "column '%.64s' reaches beyond the sample",
				s->columns[i].name);
		}
		values[i].data = sample.data + at;
		at += values[i].len;
	}
	return at == sample.len ||
		error_set(err, FAIL_DATA, "%zu bytes of the sample belong to no column",
			sample.len - at);
}

bool mds_read_offsets(struct mds_reader *r, uint64_t n, struct error *err)
{
	uint64_t head = 4 + 4 * (n + 1);
	if (head > r->image_bytes) {
		return error_set(err, FAIL_DATA, "'%s' is too short for %llu samples", r->path,
			(unsigned long long)n);
	}
	/* All at once: they lie in another frame than the samples, and would be decoded again for each. */
	if (!r->offsets.len && !mds_read_image(r, 4, (size_t)head - 4, &r->offsets, err)) {
		str_reset(&r->offsets); /* a part of them would pass for all */
		return false;
	}
	return true;
}

static bool sample_range(struct mds_reader *r, uint64_t i, uint64_t n, uint32_t *out_from,
	uint32_t *out_to, struct error *err)
{
	*out_from = *out_to = 0;
	if (!mds_read_offsets(r, n, err)) {
		return false;
	}
	*out_from = le32_get(r->offsets.data + 4 * i);
	*out_to = le32_get(r->offsets.data + 4 * i + 4);
	if (*out_from < 4 + 4 * (n + 1) || *out_to < *out_from || *out_to > r->image_bytes) {
		return error_set(err, FAIL_DATA,
			"'%s': the offsets of sample %llu are %u and %u in %llu bytes", r->path,
			(unsigned long long)i, *out_from, *out_to,
			(unsigned long long)r->image_bytes);
	}
	return true;
}

bool mds_read_sample(
	struct mds_reader *r, size_t s, uint64_t i, struct slice *values, struct error *err)
{
	uint32_t from, to;
	r->sample_no = i;
	r->sample_at = 0;
	if (!sample_range(r, i, r->shards[s].n_samples, &from, &to, err)) {
		return false;
	}
	r->sample_at = from;
	str_reset(&r->sample);
	return mds_read_image(r, from, to - from, &r->sample, err) &&
		mds_split_sample(
			&r->shards[s], (struct slice){r->sample.data, r->sample.len}, values, err);
}

bool mds_reader_sample(struct mds_reader *r, uint64_t i, struct slice *values, size_t *out_shard,
	struct error *err)
{
	/* Most often the shard that is open: a walk would else look through all that were before, for each sample. */
	size_t s = r->open != MDS_NONE && i >= r->shards[r->open].first_sample ? r->open : 0;
	if (i >= r->n_samples) {
		return error_set(err, FAIL_USAGE, "there is no sample %llu, '%s' has %llu",
			(unsigned long long)i, r->dir, (unsigned long long)r->n_samples);
	}
	while (i >= r->shards[s].first_sample + r->shards[s].n_samples) {
		s++;
	}
	if (out_shard) {
		*out_shard = s;
	}
	return mds_open_shard(r, s, err) &&
		(mds_read_sample(r, s, i - r->shards[s].first_sample, values, err) ||
			error_context(err, "sample %llu", (unsigned long long)i));
}
