/*
 * The image of a shard is kept in two parts: the samples' bytes as they are added, and their end positions; the header
 * (count, offsets, config) can only be made when the number of samples is known. A file is written frame by frame: header
 * alone first, so that a reader gets all offsets for a few KiB, then frames of about frame_bytes closed at sample ends, then
 * padding if needed, then the seek table.
 *
 * Padding: python-zstd sizes its buffer with a loop that stops after the first frame which is not smaller than all bytes
 * after it, having counted one frame more. So every frame but the last two must be smaller than what follows. The short last
 * frame, the usual offender, is joined to the one before; for what remains a skippable frame of zeros makes the difference.
 */
#include "shard/mds.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/zip.h"
#include "shard/frame.h"
#include "shard/le.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mds_shard {
	const struct mds_format *format;
	uint32_t fixed_bytes[MDS_COLUMNS_MAX]; /* 0: variable */
	uint32_t shard_bytes, frame_bytes;
	struct str config; /* JSON in the header */
	struct str data; /* samples back to back */
	uint32_t *ends; /* owns; of each sample in data */
	size_t n, cap;
};

struct frame {
	uint32_t zip_bytes, raw_bytes, checksum;
};

void mds_shard_name(uint32_t no, bool zipped, char out[MDS_NAME_BYTES])
{
	snprintf(out, MDS_NAME_BYTES, "shard.%05u.mds%s", no, zipped ? ".zstd" : "");
}

static uint32_t limit_of(const struct mds_format *f)
{
	return f->shard_bytes ? f->shard_bytes : MDS_SHARD_BYTES_DEFAULT;
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
	json_key(w, "compression");
	json_put_z(w, "zstd");
	json_key(w, "format");
	json_put_z(w, "mds");
	json_key(w, "hashes");
	json_begin_array(w);
	json_put_z(w, "sha256");
	json_put_z(w, "xxh64");
	json_end_array(w);
}

static void put_tail(struct json_writer *w, const struct mds_format *f)
{
	json_key(w, "size_limit");
	json_put_uint(w, limit_of(f));
	json_key(w, "version");
	json_put_uint(w, 2);
}

struct mds_shard *mds_shard_new(const struct mds_format *format)
{
	struct mds_shard *s = xcalloc(1, sizeof(*s));
	s->format = format;
	s->shard_bytes = limit_of(format);
	s->frame_bytes = format->frame_bytes ? format->frame_bytes : MDS_FRAME_BYTES_DEFAULT;
	assert(format->n_columns >= 1 && format->n_columns <= MDS_COLUMNS_MAX &&
		s->shard_bytes >= 65536);
	for (size_t i = 0; i < format->n_columns; i++) {
		struct mds_encoding e;
		struct error err;
		bool ok = mds_encoding_parse(format->columns[i].encoding, &e, &err) &&
			e.kind != MDS_UNKNOWN;
		assert(ok &&
			(i == 0 ||
				strcmp(format->columns[i - 1].name, format->columns[i].name) < 0));
		s->fixed_bytes[i] = e.fixed_bytes;
	}
	str_init(&s->config, STR_NO_CAP);
	str_init(&s->data, STR_NO_CAP);
	struct json_writer w = {.out = &s->config, .python = true};
	json_begin_object(&w);
	put_columns(&w, format);
	put_tail(&w, format);
	json_end_object(&w);
	return s;
}

void mds_shard_free(struct mds_shard *s)
{
	if (s) {
		str_release(&s->config);
		str_release(&s->data);
		free(s->ends);
		free(s);
	}
}

void mds_shard_reset(struct mds_shard *s)
{
	str_reset(&s->data);
	s->n = 0;
}

uint32_t mds_shard_n_samples(const struct mds_shard *s)
{
	return (uint32_t)s->n;
}

static uint64_t header_bytes(const struct mds_shard *s, size_t n)
{
	return 4 + 4 * ((uint64_t)n + 1) + s->config.len;
}

uint64_t mds_sample_bytes(const struct mds_format *f, const struct slice *values)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < f->n_columns; i++) {
		struct mds_encoding e;
		struct error err;
		bool ok = mds_encoding_parse(f->columns[i].encoding, &e, &err);
		assert(ok);
		bytes += values[i].len + (e.fixed_bytes ? 0 : 4);
	}
	return bytes;
}

bool mds_shard_would_fit(const struct mds_shard *s, uint64_t sample_bytes)
{
	/* An empty shard takes a sample larger than the limit, but never beyond what u32 offsets reach. */
	uint64_t limit = s->n ? s->shard_bytes : UINT32_MAX;
	return header_bytes(s, s->n + 1) + s->data.len + sample_bytes <= limit;
}

void mds_shard_add(struct mds_shard *s, const struct slice *values)
{
	const struct mds_format *f = s->format;
	assert(mds_shard_would_fit(s, mds_sample_bytes(f, values)));
	size_t before = s->data.len;
	/* Sizes first, then values: FORMAT.md. Room for a whole shard at once, as doubling would cost twice the memory. */
	if (!s->data.size) {
		str_reserve(&s->data, s->shard_bytes);
	}
	for (size_t i = 0; i < f->n_columns; i++) {
		if (s->fixed_bytes[i]) {
			assert(values[i].len == s->fixed_bytes[i]);
		} else {
			uint32_t len = (uint32_t)values[i].len;
			str_append(&s->data, &len, sizeof(len));
		}
	}
	for (size_t i = 0; i < f->n_columns; i++) {
		str_append(&s->data, values[i].data, values[i].len);
	}
	assert(s->data.len > before);
	s->ends = array_room(s->ends, s->n, &s->cap, sizeof(*s->ends));
	s->ends[s->n++] = (uint32_t)s->data.len;
}

static void make_header(const struct mds_shard *s, struct str *out)
{
	uint32_t n = (uint32_t)s->n, start = (uint32_t)header_bytes(s, s->n);
	str_append(out, &n, sizeof(n));
	str_append(out, &start, sizeof(start));
	for (size_t i = 0; i < s->n; i++) {
		uint32_t end = start + s->ends[i];
		str_append(out, &end, sizeof(end));
	}
	str_append(out, s->config.data, s->config.len);
	assert(out->len == start);
}

uint64_t mds_shard_raw_hash(const struct mds_shard *s)
{
	struct str header;
	struct hash64_stream h;
	str_init(&header, STR_NO_CAP);
	make_header(s, &header);
	hash64_stream_init(&h);
	hash64_stream_update(&h, header.data, header.len);
	hash64_stream_update(&h, s->data.data, s->data.len);
	str_release(&header);
	return hash64_stream_final(&h);
}

/* --- the file --- */

/* Writes to the draft and keeps the hashes of the file. */
struct output {
	struct file_draft draft;
	struct sha256 sha256;
	struct hash64_stream xxh64;
	uint64_t bytes;
	struct zip zip;
	struct str zipped; /* the frame in the making */
	struct frame *frames; /* owns */
	size_t n, cap;
};

static bool put(struct output *o, const void *bytes, size_t len, struct error *err)
{
	sha256_update(&o->sha256, bytes, len);
	hash64_stream_update(&o->xxh64, bytes, len);
	o->bytes += len;
	return file_draft_write(&o->draft, bytes, len, err);
}

static void add_entry(struct output *o, size_t zip_bytes, size_t raw_bytes, uint32_t checksum)
{
	o->frames = array_room(o->frames, o->n, &o->cap, sizeof(*o->frames));
	o->frames[o->n++] = (struct frame){(uint32_t)zip_bytes, (uint32_t)raw_bytes, checksum};
}

static bool put_frame(struct output *o, const void *bytes, size_t len, int level, struct error *err)
{
	str_reset(&o->zipped);
	zip_compress(&o->zip, bytes, len, level, &o->zipped);
	/* The table's checksum is the frame's own: its last four bytes. */
	add_entry(o, o->zipped.len, len, le32_get(o->zipped.data + o->zipped.len - 4));
	return put(o, o->zipped.data, o->zipped.len, err);
}

/* Content frames of the samples: each closed at the first sample end at or after frame_bytes, a short last one joined. */
static bool put_data_frames(
	const struct mds_shard *s, struct output *o, int level, struct error *err)
{
	size_t start = 0;
	for (size_t i = 0; i < s->n; i++) {
		size_t len = s->ends[i] - start, rest = s->data.len - s->ends[i];
		if (len < s->frame_bytes && rest) {
			continue;
		}
		if (rest && rest < s->frame_bytes) {
			len += rest; /* what would be the short last frame */
			i = s->n;
		}
		if (!put_frame(o, s->data.data + start, len, level, err)) {
			return false;
		}
		start += len;
	}
	return true;
}

static size_t table_bytes(size_t n_frames)
{
	return SKIPPABLE_HEADER_BYTES + n_frames * TABLE_ENTRY_BYTES + TABLE_FOOTER_BYTES;
}

/* Bytes that are missing for the rule at the top; 0: none. */
static uint64_t missing_bytes(const struct output *o, size_t trailing)
{
	uint64_t after = trailing, missing = 0;
	for (size_t i = o->n; i-- > 0;) {
		/* The last two frames are free. */
		if (i + 2 < o->n && o->frames[i].zip_bytes >= after + missing) {
			missing = o->frames[i].zip_bytes - after + 1;
		}
		after += o->frames[i].zip_bytes;
	}
	return missing;
}

static bool put_skippable(
	struct output *o, uint32_t magic, const char *bytes, size_t len, struct error *err)
{
	uint32_t head[2] = {magic, (uint32_t)len};
	return put(o, head, sizeof(head), err) && put(o, bytes, len, err);
}

static bool put_padding(struct output *o, struct error *err)
{
	uint64_t missing = missing_bytes(o, table_bytes(o->n));
	if (!missing) {
		return true;
	}
	size_t content = missing > SKIPPABLE_HEADER_BYTES ? (size_t)missing - SKIPPABLE_HEADER_BYTES
							  : 0;
	char *zeros = xcalloc(content, 1);
	size_t n_content_frames = o->n;
	bool ok = put_skippable(o, SKIPPABLE_PADDING, zeros, content, err);
	free(zeros);
	o->n = n_content_frames;
	assert(missing_bytes(o, table_bytes(o->n + 1) + SKIPPABLE_HEADER_BYTES + content) == 0);
	add_entry(o, SKIPPABLE_HEADER_BYTES + content, 0, (uint32_t)hash64("", 0, 0));
	return ok;
}

static bool put_table(struct output *o, struct error *err)
{
	struct str table;
	str_init(&table, STR_NO_CAP);
	for (size_t i = 0; i < o->n; i++) {
		uint32_t entry[3] = {
			o->frames[i].zip_bytes, o->frames[i].raw_bytes, o->frames[i].checksum};
		str_append(&table, entry, sizeof(entry));
	}
	uint32_t n = (uint32_t)o->n, magic = TABLE_MAGIC;
	str_append(&table, &n, sizeof(n));
	str_append_c(&table, (char)TABLE_HAS_CHECKSUMS);
	str_append(&table, &magic, sizeof(magic));
	bool ok = put_skippable(o, SKIPPABLE_TABLE, table.data, table.len, err);
	str_release(&table);
	return ok;
}

static bool put_all(
	const struct mds_shard *s, struct output *o, const struct str *header, struct error *err)
{
	int level = s->format->level ? s->format->level : 3;
	if (s->format->single_frame) {
		struct str image;
		str_init(&image, STR_NO_CAP);
		str_reserve(&image, header->len + s->data.len);
		str_append(&image, header->data, header->len);
		str_append(&image, s->data.data, s->data.len);
		bool ok = put_frame(o, image.data, image.len, level, err);
		str_release(&image);
		return ok && put_table(o, err);
	}
	return put_frame(o, header->data, header->len, level, err) &&
		put_data_frames(s, o, level, err) && put_padding(o, err) && put_table(o, err);
}

/* --- reading back --- */

/* Gives the content of a file's frames one after the other, as its seek table tells them; in `err` what is wrong. */
struct frames_reader {
	int fd;
	const char *path;
	uint64_t file_bytes;
	struct str table;
	uint32_t n;
	struct zip zip;
	struct str zipped, content;
};

static bool open_frames(struct frames_reader *r, struct error *err)
{
	char footer[TABLE_FOOTER_BYTES];
	struct stat st;
	if (fstat(r->fd, &st) < 0) {
		return error_errno(err, "could not look at '%s'", r->path);
	}
	r->file_bytes = (uint64_t)st.st_size;
	if (r->file_bytes < table_bytes(1) ||
		!file_pread(r->fd, r->path, footer, sizeof(footer), r->file_bytes - sizeof(footer),
			err) ||
		le32_get(footer + 5) != TABLE_MAGIC ||
		(unsigned char)footer[4] != TABLE_HAS_CHECKSUMS) {
		return error_set(err, FAIL_DATA, "'%s' has no seek table of ours", r->path);
	}
	r->n = le32_get(footer);
	uint64_t entries = (uint64_t)r->n * TABLE_ENTRY_BYTES;
	if (entries + TABLE_FOOTER_BYTES > r->file_bytes) {
		return error_set(
			err, FAIL_DATA, "the seek table of '%s' is larger than the file", r->path);
	}
	char *to = str_reserve(&r->table, entries);
	if (!file_pread(r->fd, r->path, to, entries, r->file_bytes - TABLE_FOOTER_BYTES - entries,
		    err)) {
		return false;
	}
	r->table.len = entries;
	return true;
}

/* Frame i, which lies at `offset`, into r->content. */
static bool read_frame(struct frames_reader *r, uint32_t i, uint64_t offset,
	uint32_t *out_zip_bytes, struct error *err)
{
	uint32_t zip_bytes = le32_get(r->table.data + (size_t)i * TABLE_ENTRY_BYTES);
	uint32_t raw_bytes = le32_get(r->table.data + (size_t)i * TABLE_ENTRY_BYTES + 4);
	*out_zip_bytes = zip_bytes;
	str_reset(&r->content);
	str_reset(&r->zipped);
	if (zip_bytes > r->file_bytes - offset) {
		return error_set(
			err, FAIL_DATA, "frame %u of '%s' ends after the file", i, r->path);
	}
	char *to = str_reserve(&r->zipped, zip_bytes);
	if (!file_pread(r->fd, r->path, to, zip_bytes, offset, err)) {
		return false;
	}
	r->zipped.len = zip_bytes;
	if (!raw_bytes) {
		return true; /* padding */
	}
	if (!zip_decompress(&r->zip, r->zipped.data, zip_bytes,
		    (size_t)frame_raw_bytes_max(zip_bytes), &r->content, err)) {
		return error_context(err, "frame %u of '%s'", i, r->path);
	}
	return r->content.len == raw_bytes ||
		error_set(err, FAIL_DATA, "frame %u of '%s' has not the stated size", i, r->path);
}

static void frames_init(struct frames_reader *r, int fd, const char *path)
{
	*r = (struct frames_reader){.fd = fd, .path = path};
	str_init(&r->table, STR_NO_CAP);
	str_init(&r->zipped, STR_NO_CAP);
	str_init(&r->content, STR_NO_CAP);
}

static void frames_release(struct frames_reader *r)
{
	zip_release(&r->zip);
	str_release(&r->table);
	str_release(&r->zipped);
	str_release(&r->content);
}

/* The image's bytes [at, at + len) as they should be. */
static bool same_bytes(
	const struct mds_shard *s, const struct str *header, uint64_t at, struct slice got)
{
	if (got.len > header->len + s->data.len - at) {
		return false;
	}
	if (at < header->len) {
		size_t part = MIN(got.len, header->len - (size_t)at);
		return memcmp(header->data + at, got.data, part) == 0 &&
			(part == got.len ||
				memcmp(s->data.data, got.data + part, got.len - part) == 0);
	}
	return memcmp(s->data.data + (at - header->len), got.data, got.len) == 0;
}

/* A shard that cannot be decoded would end a trainer's epoch silently, so none is published unread. */
static bool read_back(
	const struct mds_shard *s, const struct str *header, const char *path, struct error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return error_errno(err, "could not read back '%s'", path);
	}
	struct frames_reader r;
	frames_init(&r, fd, path);
	uint64_t at = 0, offset = 0;
	bool ok = open_frames(&r, err);
	for (uint32_t i = 0; ok && i < r.n; i++) {
		uint32_t zip_bytes;
		ok = read_frame(&r, i, offset, &zip_bytes, err);
		if (ok &&
			!same_bytes(s, header, at, (struct slice){r.content.data, r.content.len})) {
			ok = error_set(err, FAIL_IO,
				"'%s' was read back otherwise than it was written (frame %u)", path,
				i);
		}
		at += r.content.len;
		offset += zip_bytes;
	}
	if (ok && at != header->len + s->data.len) {
		ok = error_set(
			err, FAIL_IO, "'%s' was read back shorter than it was written", path);
	}
	frames_release(&r);
	return ok;
}

bool mds_shard_publish(const struct mds_shard *s, const char *dir, uint32_t no,
	struct mds_shard_info *out, struct error *err)
{
	assert(s->n);
	struct output o = {0};
	struct str header;
	char name[MDS_NAME_BYTES];
	mds_shard_name(no, true, name);
	if (!file_draft_open(&o.draft, dir, name, err)) {
		return false;
	}
	str_init(&header, STR_NO_CAP);
	str_init(&o.zipped, STR_NO_CAP);
	sha256_init(&o.sha256);
	hash64_stream_init(&o.xxh64);
	make_header(s, &header);
	bool ok = put_all(s, &o, &header, err);
	struct mds_shard_info info = {.no = no,
		.n_samples = (uint32_t)s->n,
		.n_frames = (uint32_t)o.n,
		.raw_bytes = header.len + s->data.len,
		.zip_bytes = o.bytes,
		.raw_xxh64 = mds_shard_raw_hash(s)};
	for (size_t i = 0; i < o.n; i++) {
		info.n_frames -= o.frames[i].raw_bytes == 0;
	}
	info.zip_xxh64 = hash64_stream_final(&o.xxh64);
	sha256_final_hex(&o.sha256, info.zip_sha256);
	/* With one frame this is as large as the image; reading back needs that room. */
	str_release(&o.zipped);
	ok = ok && read_back(s, &header, o.draft.temp_path, err) &&
		file_draft_publish(&o.draft, err);
	file_draft_release(&o.draft);
	zip_release(&o.zip);
	str_release(&header);
	free(o.frames);
	if (ok) {
		*out = info;
	}
	return ok;
}

/* --- adopting --- */

static bool inspect_file(
	struct frames_reader *r, uint64_t planned, struct mds_shard_info *info, struct error *err)
{
	struct hash64_stream raw;
	if (!open_frames(r, err)) {
		return false;
	}
	hash64_stream_init(&raw);
	uint64_t offset = 0;
	bool ok = true;
	for (uint32_t i = 0; ok && i < r->n; i++) {
		uint32_t zip_bytes;
		ok = read_frame(r, i, offset, &zip_bytes, err);
		if (ok && i == 0 && r->content.len >= 4) {
			info->n_samples = le32_get(r->content.data);
		}
		if (ok) {
			hash64_stream_update(&raw, r->content.data, r->content.len);
			info->raw_bytes += r->content.len;
			info->n_frames += r->content.len > 0;
			offset += zip_bytes;
		}
	}
	info->raw_xxh64 = hash64_stream_final(&raw);
	if (ok && offset + table_bytes(r->n) != r->file_bytes) {
		ok = error_set(err, FAIL_DATA,
			"the frames of '%s' and its table do not fill the file", r->path);
	}
	return ok &&
		(info->raw_xxh64 == planned ||
			error_set(
				err, FAIL_DATA, "'%s' holds other samples than planned", r->path));
}

static bool hash_file(
	int fd, const char *path, uint64_t bytes, struct mds_shard_info *info, struct error *err)
{
	struct sha256 sha256;
	struct hash64_stream xxh64;
	const size_t piece = (size_t)1 << 20;
	char *buffer = xmalloc(piece);
	sha256_init(&sha256);
	hash64_stream_init(&xxh64);
	bool ok = true;
	for (uint64_t at = 0; ok && at < bytes; at += piece) {
		size_t len = (size_t)MIN(bytes - at, piece);
		ok = file_pread(fd, path, buffer, len, at, err);
		if (ok) {
			sha256_update(&sha256, buffer, len);
			hash64_stream_update(&xxh64, buffer, len);
		}
	}
	info->zip_bytes = bytes;
	info->zip_xxh64 = hash64_stream_final(&xxh64);
	sha256_final_hex(&sha256, info->zip_sha256);
	free(buffer);
	return ok;
}

bool mds_shard_check(const char *dir, uint32_t no, uint64_t planned_raw_hash,
	enum mds_found *out_found, struct mds_shard_info *out_info, struct error *err)
{
	char name[MDS_NAME_BYTES];
	mds_shard_name(no, true, name);
	AUTO_FREE char *path = file_join(dir, name);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		*out_found = MDS_ABSENT;
		return errno == ENOENT || error_errno(err, "could not open '%s'", path);
	}
	struct frames_reader r;
	struct mds_shard_info info = {.no = no};
	frames_init(&r, fd, path);
	bool same = inspect_file(&r, planned_raw_hash, &info, err);
	bool ok = same ? hash_file(fd, path, r.file_bytes, &info, err) : err->kind != FAIL_IO;
	frames_release(&r);
	if (ok) {
		*out_found = same ? MDS_SAME : MDS_OTHER;
		*out_info = info;
	}
	return ok;
}

/* --- index.json --- */

static void put_file(struct json_writer *w, const char *key, uint32_t no, bool zipped,
	uint64_t bytes, const char *sha256, uint64_t xxh64)
{
	char name[MDS_NAME_BYTES], hex[17];
	mds_shard_name(no, zipped, name);
	hash64_hex(xxh64, hex);
	json_key(w, key);
	json_begin_object(w);
	json_key(w, "basename");
	json_put_z(w, name);
	json_key(w, "bytes");
	json_put_uint(w, bytes);
	json_key(w, "hashes");
	json_begin_object(w);
	if (sha256) {
		json_key(w, "sha256");
		json_put_z(w, sha256);
	}
	json_key(w, "xxh64");
	json_put_z(w, hex);
	json_end_object(w);
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
		json_key(&w, "samples");
		json_put_uint(&w, info->n_samples);
		put_tail(&w, format);
		put_file(&w, "zip_data", info->no, true, info->zip_bytes, info->zip_sha256,
			info->zip_xxh64);
		json_end_object(&w);
	}
	json_end_array(&w);
	if (thresh_json) {
		json_key(&w, "thresh");
		json_put_raw(&w, thresh_json, strlen(thresh_json));
	}
	json_key(&w, "version");
	json_put_uint(&w, 2);
	json_end_object(&w);
	bool ok = file_publish(dir, "index.json", text.data, text.len, err);
	str_release(&text);
	return ok;
}
