/*
 * The image of a shard is kept in two parts: the samples' bytes as they are added, and their end positions; the header
 * (count, offsets, config) can only be made when the number of samples is known. A file is written frame by frame: header
 * alone first, so that a reader gets all offsets for a few KiB, then frames of about frame_bytes closed at sample ends, then
 * padding if needed, then the seek table.
 *
 * A frame of samples is compressed as soon as it cannot change any more, by whichever thread is free, while samples are still
 * added: frames depend on nothing but their own bytes, so the file is the same for any number of threads. It may change until
 * the next one is closed, because what is short at the end is joined to it. Publishing writes the frames in order, and each is
 * read back and compared while the next are being written.
 *
 * Padding: python-zstd sizes its buffer with a loop that stops after the first frame which is not smaller than all bytes
 * after it, having counted one frame more. So every frame but the last two must be smaller than what follows. The short last
 * frame, the usual offender, is joined to the one before; for what remains a skippable frame of zeros makes the difference.
 */
#include "shard/mds.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/workers.h"
#include "base/zip.h"
#include "shard/frame.h"
#include "shard/le.h"
#include "shard/mds_impl.h"

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEVEL_DEFAULT 3
#define SYNC_BYTES ((uint64_t)4 << 20)

/* A frame of the image. */
struct piece {
	size_t at, len; /* in the image without its header */
	size_t zipped_at, zipped_len; /* in `zipped`, once it is compressed */
};

/* What a thread keeps from frame to frame. */
struct thread {
	struct zip zip;
	struct str zipped, content;
};

struct mds_shard {
	const struct mds_format *format;
	uint32_t fixed_bytes[MDS_COLUMNS_MAX]; /* 0: variable */
	uint32_t shard_bytes, frame_bytes;
	struct str config; /* JSON in the header */
	char *data; /* owns; samples back to back */
	size_t data_len, data_size;
	uint32_t *ends; /* owns; of each sample in data */
	size_t n, cap;
	char *zipped; /* owns; compressed pieces, in the order in which they were done */
	size_t zipped_size;
	atomic_size_t zipped_len;
	struct piece *pieces; /* owns; room for all of a shard, since jobs hold its elements */
	size_t n_pieces, n_pushed; /* the last one that is closed is pushed when the next one is */
	size_t piece_at; /* where the open one begins */
	struct workers *workers; /* the format's, or our own single thread */
	struct thread *threads; /* owns; one each */
};

struct mds_shard *mds_shard_new(const struct mds_format *format)
{
	struct mds_shard *s = xcalloc(1, sizeof(*s));
	s->format = format;
	s->shard_bytes = mds_shard_bytes(format);
	s->frame_bytes = format->frame_bytes ? format->frame_bytes : MDS_FRAME_BYTES_DEFAULT;
	assert(format->n_columns >= 1 && format->n_columns <= MDS_COLUMNS_MAX &&
		s->shard_bytes >= 65536 && s->frame_bytes >= MDS_FRAME_BYTES_MIN);
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
	s->pieces = xcalloc(s->shard_bytes / s->frame_bytes + 2, sizeof(*s->pieces));
	s->workers = format->workers ? format->workers : workers_new(1);
	s->threads = xcalloc(workers_n(s->workers), sizeof(*s->threads));
	for (unsigned i = 0; i < workers_n(s->workers); i++) {
		str_init(&s->threads[i].zipped, STR_NO_CAP);
		str_init(&s->threads[i].content, STR_NO_CAP);
	}
	str_init(&s->config, STR_NO_CAP);
	mds_put_config(format, &s->config);
	return s;
}

void mds_shard_reset(struct mds_shard *s)
{
	workers_wait(s->workers);
	s->zipped_len = 0;
	s->n_pieces = s->n_pushed = s->piece_at = 0;
	s->data_len = 0;
	s->n = 0;
}

void mds_shard_free(struct mds_shard *s)
{
	if (!s) {
		return;
	}
	mds_shard_reset(s);
	for (unsigned i = 0; i < workers_n(s->workers); i++) {
		zip_release(&s->threads[i].zip);
		str_release(&s->threads[i].zipped);
		str_release(&s->threads[i].content);
	}
	if (!s->format->workers) {
		workers_free(s->workers);
	}
	str_release(&s->config);
	free(s->data);
	free(s->threads);
	free(s->zipped);
	free(s->pieces);
	free(s->ends);
	free(s);
}

uint32_t mds_shard_n_samples(const struct mds_shard *s)
{
	return (uint32_t)s->n;
}

static uint64_t header_bytes(const struct mds_shard *s, size_t n)
{
	return 4 + 4 * ((uint64_t)n + 1) + s->config.len;
}

static uint64_t sample_bytes(const struct mds_shard *s, const struct slice *values)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < s->format->n_columns; i++) {
		bytes += values[i].len + (s->fixed_bytes[i] ? 0 : 4);
	}
	return bytes;
}

bool mds_shard_would_fit(const struct mds_shard *s, const struct slice *values)
{
	/* An empty shard takes a sample larger than the limit, but never beyond what u32 offsets reach. */
	uint64_t limit = s->n ? s->shard_bytes : UINT32_MAX;
	return header_bytes(s, s->n + 1) + s->data_len + sample_bytes(s, values) <= limit;
}

/* --- frames --- */

static int level_of(const struct mds_shard *s)
{
	return s->format->level ? s->format->level : LEVEL_DEFAULT;
}

static void compress_piece(void *ctx, size_t i, unsigned thread)
{
	struct mds_shard *s = ctx;
	struct thread *t = &s->threads[thread];
	struct piece *p = &s->pieces[i];
	str_reset(&t->zipped);
	zip_compress(&t->zip, s->data + p->at, p->len, level_of(s), &t->zipped);
	p->zipped_len = t->zipped.len;
	p->zipped_at = atomic_fetch_add(&s->zipped_len, t->zipped.len);
	memcpy(s->zipped + p->zipped_at, t->zipped.data, t->zipped.len);
}

/* Room for a whole shard at once, even if it does not compress: jobs write to it, so it must not move while there are any. */
static void push_piece(struct mds_shard *s)
{
	size_t data_bytes = MAX(s->shard_bytes, s->data_len);
	size_t bound = data_bytes + data_bytes / 128 + 128 * (data_bytes / s->frame_bytes + 2);
	if (bound > s->zipped_size) {
		assert(!s->n_pushed);
		free(s->zipped);
		s->zipped = xmalloc_large(bound);
		s->zipped_size = bound;
	}
	workers_push(s->workers, compress_piece, s, s->n_pushed++);
}

static void close_piece(struct mds_shard *s)
{
	s->pieces[s->n_pieces++] = (struct piece){
		.at = s->piece_at, .len = s->data_len - s->piece_at};
	s->piece_at = s->data_len;
	while (s->n_pushed + 1 < s->n_pieces) {
		push_piece(s);
	}
}

/* The short last frame goes into the one before. Afterwards all are compressed. */
static void finish_pieces(struct mds_shard *s)
{
	size_t rest = s->data_len - s->piece_at;
	if (rest && s->n_pieces) {
		assert(s->n_pushed < s->n_pieces);
		s->pieces[s->n_pieces - 1].len += rest;
		s->piece_at = s->data_len;
	} else if (rest) {
		close_piece(s);
	}
	while (s->n_pushed < s->n_pieces) {
		push_piece(s);
	}
	workers_wait(s->workers);
}

/* For a whole shard at once: growing by doubling would cost twice the memory, and jobs read what is there. */
static void room_for(struct mds_shard *s, uint64_t bytes)
{
	size_t need = MAX(s->shard_bytes, s->data_len + (size_t)bytes);
	if (need > s->data_size) {
		assert(!s->data_len);
		free(s->data);
		s->data = xmalloc_large(need);
		s->data_size = need;
	}
}

static void append(struct mds_shard *s, const void *bytes, size_t len)
{
	if (len) {
		memcpy(s->data + s->data_len, bytes, len);
		s->data_len += len;
	}
}

void mds_shard_add(struct mds_shard *s, const struct slice *values)
{
	const struct mds_format *f = s->format;
	size_t before = s->data_len;
	assert(mds_shard_would_fit(s, values));
	room_for(s, sample_bytes(s, values));
	for (size_t i = 0; i < f->n_columns; i++) {
		if (s->fixed_bytes[i]) {
			assert(values[i].len == s->fixed_bytes[i]);
		} else {
			uint32_t len = (uint32_t)values[i].len;
			append(s, &len, sizeof(len));
		}
	}
	for (size_t i = 0; i < f->n_columns; i++) {
		append(s, values[i].data, values[i].len);
	}
	assert(s->data_len > before);
	s->ends = array_room(s->ends, s->n, &s->cap, sizeof(*s->ends));
	s->ends[s->n++] = (uint32_t)s->data_len;
	if (!f->single_frame && s->data_len - s->piece_at >= s->frame_bytes) {
		close_piece(s);
	}
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
	hash64_stream_update(&h, s->data, s->data_len);
	str_release(&header);
	return hash64_stream_final(&h);
}

/* --- the file --- */

struct frame {
	uint64_t zip_at, raw_at;
	uint32_t zip_bytes, raw_bytes, checksum;
	bool bad; /* was read back otherwise than it was written */
};

/* A file in the making: what was written, its hashes, and what reading it back says. */
struct output {
	struct mds_shard *shard;
	struct file_draft draft;
	int fd; /* to read back */
	struct str header;
	struct sha256 sha256;
	struct hash64_stream xxh64, raw_xxh64;
	uint64_t bytes, raw_bytes;
	uint64_t syncing; /* of the bytes, those that the disk was told of */
	struct frame *frames; /* owns; room for all, since jobs hold its elements */
	size_t n;
};

static bool put(struct output *o, const void *bytes, size_t len, struct error *err)
{
	sha256_update(&o->sha256, bytes, len);
	hash64_stream_update(&o->xxh64, bytes, len);
	o->bytes += len;
	if (!file_draft_write(&o->draft, bytes, len, err)) {
		return false;
	}
	/* The disk works while the rest is compressed and read back. */
	if (o->bytes - o->syncing >= SYNC_BYTES) {
		file_draft_begin_sync(&o->draft);
		o->syncing = o->bytes;
	}
	return true;
}

/* The image's bytes [at, at + len) as they should be. */
static bool same_bytes(const struct output *o, uint64_t at, const struct str *got)
{
	const struct str *header = &o->header;
	const struct mds_shard *s = o->shard;
	if (at + got->len > header->len + s->data_len) {
		return false;
	}
	if (at >= header->len) {
		return memcmp(s->data + (at - header->len), got->data, got->len) == 0;
	}
	size_t part = MIN(got->len, header->len - (size_t)at);
	return memcmp(header->data + at, got->data, part) == 0 &&
		memcmp(s->data, got->data + part, got->len - part) == 0;
}

static bool read_back(struct output *o, const struct frame *f, struct thread *t, struct error *err)
{
	str_reset(&t->zipped);
	str_reset(&t->content);
	char *to = str_reserve(&t->zipped, f->zip_bytes);
	return file_pread(o->fd, o->draft.temp_path, to, f->zip_bytes, f->zip_at, err) &&
		zip_decompress(&t->zip, to, f->zip_bytes, f->raw_bytes, &t->content, err) &&
		t->content.len == f->raw_bytes && same_bytes(o, f->raw_at, &t->content);
}

static void read_back_frame(void *ctx, size_t i, unsigned thread)
{
	struct output *o = ctx;
	struct error ignored;
	o->frames[i].bad = !read_back(o, &o->frames[i], &o->shard->threads[thread], &ignored);
}

static void add_frame(struct output *o, uint64_t at, size_t raw_bytes, uint32_t checksum)
{
	o->frames[o->n++] = (struct frame){.zip_at = at,
		.raw_at = o->raw_bytes,
		.zip_bytes = (uint32_t)(o->bytes - at),
		.raw_bytes = (uint32_t)raw_bytes,
		.checksum = checksum};
	o->raw_bytes += raw_bytes;
}

/* A shard that cannot be decoded would end a trainer's epoch silently, so each frame is read back from the file. */
static bool put_frame(struct output *o, struct slice raw, struct slice zipped, struct error *err)
{
	uint64_t at = o->bytes;
	hash64_stream_update(&o->raw_xxh64, raw.data, raw.len);
	if (!put(o, zipped.data, zipped.len, err)) {
		return false;
	}
	/* The table's checksum is the frame's own: its last four bytes. */
	add_frame(o, at, raw.len, le32_get(zipped.data + zipped.len - 4));
	workers_push(o->shard->workers, read_back_frame, o, o->n - 1);
	return true;
}

static bool put_bytes(struct output *o, const char *bytes, size_t len, struct error *err)
{
	struct str zipped;
	struct zip zip = {0};
	str_init(&zipped, STR_NO_CAP);
	zip_compress(&zip, bytes, len, level_of(o->shard), &zipped);
	bool ok = put_frame(
		o, (struct slice){bytes, len}, (struct slice){zipped.data, zipped.len}, err);
	zip_release(&zip);
	str_release(&zipped);
	return ok;
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
	uint64_t missing = missing_bytes(o, mds_table_bytes(o->n)), at = o->bytes;
	if (!missing) {
		return true;
	}
	size_t content = missing > SKIPPABLE_HEADER_BYTES ? (size_t)missing - SKIPPABLE_HEADER_BYTES
							  : 0;
	char *zeros = xcalloc(content, 1);
	bool ok = put_skippable(o, SKIPPABLE_PADDING, zeros, content, err);
	free(zeros);
	assert(missing_bytes(o, mds_table_bytes(o->n + 1) + SKIPPABLE_HEADER_BYTES + content) == 0);
	add_frame(o, at, 0, (uint32_t)hash64("", 0, 0));
	return ok;
}

static void make_table(const struct output *o, struct str *out)
{
	for (size_t i = 0; i < o->n; i++) {
		uint32_t entry[3] = {
			o->frames[i].zip_bytes, o->frames[i].raw_bytes, o->frames[i].checksum};
		str_append(out, entry, sizeof(entry));
	}
	uint32_t n = (uint32_t)o->n, magic = TABLE_MAGIC;
	str_append(out, &n, sizeof(n));
	str_append_c(out, (char)TABLE_HAS_CHECKSUMS);
	str_append(out, &magic, sizeof(magic));
}

/* Readers trust the table, so it is compared like the frames. */
static bool put_table(struct output *o, struct error *err)
{
	struct str table;
	str_init(&table, STR_NO_CAP);
	make_table(o, &table);
	bool ok = put_skippable(o, SKIPPABLE_TABLE, table.data, table.len, err);
	char *got = xmalloc(table.len);
	ok = ok &&
		file_pread(o->fd, o->draft.temp_path, got, table.len, o->bytes - table.len, err) &&
		(memcmp(got, table.data, table.len) == 0 ||
			error_set(err, FAIL_IO,
				"the seek table of '%s' was read back otherwise than it was "
				"written",
				o->draft.temp_path));
	free(got);
	str_release(&table);
	return ok;
}

/* One frame needs the whole image in one piece. */
static bool put_single_frame(struct output *o, struct error *err)
{
	const struct mds_shard *s = o->shard;
	struct str image;
	str_init(&image, STR_NO_CAP);
	str_reserve(&image, o->header.len + s->data_len);
	str_append(&image, o->header.data, o->header.len);
	str_append(&image, s->data, s->data_len);
	bool ok = put_bytes(o, image.data, image.len, err);
	str_release(&image);
	return ok && put_table(o, err);
}

static bool put_all(struct output *o, struct error *err)
{
	struct mds_shard *s = o->shard;
	if (s->format->single_frame) {
		return put_single_frame(o, err);
	}
	bool ok = put_bytes(o, o->header.data, o->header.len, err);
	for (size_t i = 0; ok && i < s->n_pieces; i++) {
		const struct piece *p = &s->pieces[i];
		ok = put_frame(o, (struct slice){s->data + p->at, p->len},
			(struct slice){s->zipped + p->zipped_at, p->zipped_len}, err);
	}
	return ok && put_padding(o, err) && put_table(o, err);
}

static bool all_read_back(const struct output *o, struct error *err)
{
	for (size_t i = 0; i < o->n; i++) {
		if (o->frames[i].bad) {
			return error_set(err, FAIL_IO,
				"'%s' was read back otherwise than it was written (frame %zu)",
				o->draft.temp_path, i);
		}
	}
	assert(o->raw_bytes == o->header.len + o->shard->data_len);
	return true;
}

static bool output_open(
	struct output *o, struct mds_shard *s, const char *dir, uint32_t no, struct error *err)
{
	char name[MDS_NAME_BYTES];
	mds_shard_name(no, true, name);
	*o = (struct output){.shard = s, .fd = -1};
	str_init(&o->header, STR_NO_CAP);
	sha256_init(&o->sha256);
	hash64_stream_init(&o->xxh64);
	hash64_stream_init(&o->raw_xxh64);
	if (!file_draft_open(&o->draft, dir, name, err)) {
		return false;
	}
	o->fd = open(o->draft.temp_path, O_RDONLY | O_CLOEXEC);
	if (o->fd < 0) {
		return error_errno(err, "could not read back '%s'", o->draft.temp_path);
	}
	make_header(s, &o->header);
	/* Header, padding and what a single frame is. */
	o->frames = xcalloc(s->n_pieces + 3, sizeof(*o->frames));
	return true;
}

static void output_release(struct output *o)
{
	if (o->fd >= 0) {
		close(o->fd);
	}
	file_draft_release(&o->draft);
	str_release(&o->header);
	free(o->frames);
}

bool mds_shard_publish(struct mds_shard *s, const char *dir, uint32_t no,
	struct mds_shard_info *out, struct error *err)
{
	struct output o;
	assert(s->n);
	if (!s->format->single_frame) {
		finish_pieces(s);
	}
	bool ok = output_open(&o, s, dir, no, err) && put_all(&o, err);
	struct mds_shard_info info = {.no = no,
		.n_samples = (uint32_t)s->n,
		.n_frames = (uint32_t)o.n,
		.raw_bytes = o.raw_bytes,
		.zip_bytes = o.bytes};
	workers_wait(s->workers);
	ok = ok && all_read_back(&o, err) && file_draft_publish(&o.draft, err);
	for (size_t i = 0; i < o.n; i++) {
		info.n_frames -= o.frames[i].raw_bytes == 0;
	}
	info.raw_xxh64 = hash64_stream_final(&o.raw_xxh64);
	info.zip_xxh64 = hash64_stream_final(&o.xxh64);
	sha256_final_hex(&o.sha256, info.zip_sha256);
	if (ok) {
		*out = info;
	}
	output_release(&o);
	return ok;
}
