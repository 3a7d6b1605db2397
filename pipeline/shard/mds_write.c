/*
 * Samples are collected into frames of about frame_bytes, each closed at a sample's end. A frame is compressed as soon as it
 * cannot change any more, by whichever thread is free, while samples are still added; its raw bytes are then given up. So a
 * shard in the making is its compressed frames, the ends of its samples and a few raw frames. A frame may change until the
 * next one is closed, because what is short at the end is joined to it. Frames depend on nothing but their own bytes: the file
 * is the same for any number of threads.
 *
 * The header (count, offsets, config) can only be made when the number of samples is known, and stands first in the file and in
 * the image's hash. Publishing writes it as a frame of its own, so that a reader gets all offsets for a few KiB, then the frames
 * of samples, padding if needed, and the seek table. What was written is read back and decoded by the other threads meanwhile;
 * the owner hashes the decoded image in order, which is the raw hash that readers are told.
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

/* Raw bytes of a frame in the making; goes from the owner to a job and back. */
struct raw {
	struct str bytes;
	atomic_bool taken; /* cleared by the job that has compressed it */
};

/* A frame of samples. */
struct piece {
	struct raw *raw; /* NULL once it was pushed */
	size_t raw_len;
	size_t zipped_at, zipped_len; /* in `zipped`, once it is compressed */
};

/* What a thread keeps from frame to frame. */
struct thread {
	struct zip zip;
	struct str zipped;
};

struct mds_shard {
	const struct mds_format *format;
	uint32_t fixed_bytes[MDS_COLUMNS_MAX]; /* 0: variable */
	uint32_t shard_bytes, frame_bytes;
	struct str config; /* JSON in the header */
	uint64_t data_len; /* of all samples */
	uint32_t *ends; /* owns; of each sample, from the end of the header */
	size_t n, cap;
	struct raw *raws; /* owns; n_raws */
	size_t n_raws;
	struct raw *open; /* the frame that takes samples; NULL: none has begun */
	struct piece *pieces; /* owns; room for all of a shard, since jobs hold its elements */
	size_t n_pieces, n_pushed; /* the last one that is closed is pushed when the next one is */
	char *zipped; /* owns; compressed pieces, in the order in which they were done */
	size_t zipped_size;
	atomic_size_t zipped_len;
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
	}
	/* For each thread one in work and one waiting; the open one and the one that may still change. */
	s->n_raws = 2 * workers_n(s->workers) + 2;
	s->raws = xcalloc(s->n_raws, sizeof(*s->raws));
	for (size_t i = 0; i < s->n_raws; i++) {
		str_init(&s->raws[i].bytes, STR_NO_CAP);
	}
	str_init(&s->config, STR_NO_CAP);
	mds_put_config(format, &s->config);
	return s;
}

void mds_shard_reset(struct mds_shard *s)
{
	workers_wait(s->workers);
	for (size_t i = 0; i < s->n_raws; i++) {
		s->raws[i].taken = false;
	}
	s->open = NULL;
	s->zipped_len = 0;
	s->n_pieces = s->n_pushed = s->n = 0;
	s->data_len = 0;
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
	}
	for (size_t i = 0; i < s->n_raws; i++) {
		str_release(&s->raws[i].bytes);
	}
	if (!s->format->workers) {
		workers_free(s->workers);
	}
	str_release(&s->config);
	free(s->raws);
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
	zip_compress(&t->zip, p->raw->bytes.data, p->raw->bytes.len, level_of(s), &t->zipped);
	p->raw->taken = false;
	p->raw = NULL;
	p->zipped_len = t->zipped.len;
	p->zipped_at = atomic_fetch_add(&s->zipped_len, t->zipped.len);
	memcpy(s->zipped + p->zipped_at, t->zipped.data, t->zipped.len);
}

/* Room for a whole shard at once, even if it does not compress: jobs write to it, so it must not move while there are any. */
static void push_piece(struct mds_shard *s)
{
	size_t data_bytes = MAX(s->shard_bytes, (size_t)s->data_len);
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
	struct raw *raw = s->open;
	s->pieces[s->n_pieces++] = (struct piece){.raw = raw, .raw_len = raw->bytes.len};
	s->open = NULL;
	while (s->n_pushed + 1 < s->n_pieces) {
		push_piece(s);
	}
}

/* The short last frame goes into the one before. Afterwards all are compressed. */
static void finish_pieces(struct mds_shard *s)
{
	if (s->open && s->n_pieces) {
		struct piece *last = &s->pieces[s->n_pieces - 1];
		assert(s->n_pushed < s->n_pieces);
		str_append(&last->raw->bytes, s->open->bytes.data, s->open->bytes.len);
		last->raw_len = last->raw->bytes.len;
		s->open->taken = false;
		s->open = NULL;
	} else if (s->open) {
		close_piece(s);
	}
	while (s->n_pushed < s->n_pieces) {
		push_piece(s);
	}
	workers_wait(s->workers);
}

static struct raw *find_raw(struct mds_shard *s)
{
	for (size_t i = 0; i < s->n_raws; i++) {
		if (!s->raws[i].taken) {
			return &s->raws[i];
		}
	}
	return NULL;
}

/* A free buffer; while there is none, we compress as well. Looked for once more without any job: the last may just have ended. */
static struct raw *take_raw(struct mds_shard *s)
{
	bool any_job = true;
	struct raw *raw;
	while (!(raw = find_raw(s))) {
		assert(any_job); /* without jobs no more than one buffer is taken */
		any_job = workers_help(s->workers);
	}
	raw->taken = true;
	str_reset(&raw->bytes);
	return raw;
}

void mds_shard_add(struct mds_shard *s, const struct slice *values)
{
	const struct mds_format *f = s->format;
	uint64_t bytes = sample_bytes(s, values);
	assert(bytes && mds_shard_would_fit(s, values));
	s->open = s->open ? s->open : take_raw(s);
	struct str *to = &s->open->bytes;
	if (!to->size && !f->single_frame) {
		/* A frame is longer than frame_bytes by less than its last sample. */
		str_reserve(to, s->frame_bytes + (size_t)bytes);
	}
	for (size_t i = 0; i < f->n_columns; i++) {
		if (s->fixed_bytes[i]) {
			assert(values[i].len == s->fixed_bytes[i]);
		} else {
			uint32_t len = (uint32_t)values[i].len;
			str_append(to, &len, sizeof(len));
		}
	}
	for (size_t i = 0; i < f->n_columns; i++) {
		str_append(to, values[i].data, values[i].len);
	}
	s->data_len += bytes;
	s->ends = array_room(s->ends, s->n, &s->cap, sizeof(*s->ends));
	s->ends[s->n++] = (uint32_t)s->data_len;
	if (!f->single_frame && to->len >= s->frame_bytes) {
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

static void hash_piece(struct mds_shard *s, const struct piece *p, struct hash64_stream *h)
{
	struct thread *t = &s->threads[0];
	struct error err;
	str_reset(&t->zipped);
	bool ok = zip_decompress(
		&t->zip, s->zipped + p->zipped_at, p->zipped_len, p->raw_len, &t->zipped, &err);
	assert(ok);
	hash64_stream_update(h, t->zipped.data, t->zipped.len);
}

uint64_t mds_shard_raw_hash(struct mds_shard *s)
{
	struct str header;
	struct hash64_stream h;
	str_init(&header, STR_NO_CAP);
	make_header(s, &header);
	hash64_stream_init(&h);
	hash64_stream_update(&h, header.data, header.len);
	str_release(&header);
	if (s->format->single_frame) {
		hash64_stream_update(&h, s->open->bytes.data, s->open->bytes.len);
		return hash64_stream_final(&h);
	}
	finish_pieces(s);
	for (size_t i = 0; i < s->n_pieces; i++) {
		hash_piece(s, &s->pieces[i], &h);
	}
	return hash64_stream_final(&h);
}

/* --- the file --- */

struct frame {
	uint32_t zip_bytes, raw_bytes, checksum;
};

/* A frame on its way back from the file. */
struct back {
	uint64_t at; /* in the file */
	struct frame frame; /* as it was written */
	struct str content;
	bool good;
	struct error err;
	atomic_bool done;
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
	struct frame *frames; /* owns; n */
	size_t n, cap;
	struct back *backs; /* owns; a ring of the frames that are being read back */
	size_t n_backs, n_pushed, n_ended; /* the latter two count frames */
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

/*
 * A shard that cannot be decoded would end a trainer's epoch silently. The decoder checks the content against the frame's
 * checksum, and that must be the one which was made of the raw bytes.
 */
static bool read_frame(struct output *o, struct back *b, struct thread *t, struct error *err)
{
	str_reset(&t->zipped);
	str_reset(&b->content);
	char *to = str_reserve(&t->zipped, b->frame.zip_bytes);
	if (!file_pread(o->fd, o->draft.temp_path, to, b->frame.zip_bytes, b->at, err) ||
		!zip_decompress(
			&t->zip, to, b->frame.zip_bytes, b->frame.raw_bytes, &b->content, err)) {
		return false;
	}
	return (b->content.len == b->frame.raw_bytes &&
		       le32_get(to + b->frame.zip_bytes - 4) == b->frame.checksum) ||
		error_set(err, FAIL_IO, "other bytes than were written");
}

static void read_back(void *ctx, size_t i, unsigned thread)
{
	struct output *o = ctx;
	struct back *b = &o->backs[i % o->n_backs];
	b->good = read_frame(o, b, &o->shard->threads[thread], &b->err);
	b->done = true;
}

/* Takes the oldest frame that is on its way back and hashes it: the image is hashed in the order of the file. */
static bool end_back(struct output *o, struct error *err)
{
	struct back *b = &o->backs[o->n_ended++ % o->n_backs];
	while (!b->done) {
		workers_help(o->shard->workers);
	}
	if (!b->good) {
		*err = b->err;
		return error_context(err, "reading back '%s' at byte %llu", o->draft.temp_path,
			(unsigned long long)b->at);
	}
	hash64_stream_update(&o->raw_xxh64, b->content.data, b->content.len);
	return true;
}

static bool push_back(struct output *o, uint64_t at, const struct frame *f, struct error *err)
{
	if (o->n_pushed - o->n_ended == o->n_backs && !end_back(o, err)) {
		return false;
	}
	struct back *b = &o->backs[o->n_pushed % o->n_backs];
	b->at = at;
	b->frame = *f;
	b->done = false;
	workers_push(o->shard->workers, read_back, o, o->n_pushed++);
	return true;
}

static void add_frame(struct output *o, size_t zip_bytes, size_t raw_bytes, uint32_t checksum)
{
	o->frames = array_room(o->frames, o->n, &o->cap, sizeof(*o->frames));
	o->frames[o->n++] = (struct frame){(uint32_t)zip_bytes, (uint32_t)raw_bytes, checksum};
	o->raw_bytes += raw_bytes;
}

static bool put_frame(
	struct output *o, const char *zipped, size_t len, size_t raw_bytes, struct error *err)
{
	uint64_t at = o->bytes;
	if (!put(o, zipped, len, err)) {
		return false;
	}
	/* The table's checksum is the frame's own: its last four bytes. */
	add_frame(o, len, raw_bytes, le32_get(zipped + len - 4));
	return push_back(o, at, &o->frames[o->n - 1], err);
}

static bool put_bytes(struct output *o, const char *bytes, size_t len, struct error *err)
{
	struct str zipped;
	str_init(&zipped, STR_NO_CAP);
	zip_compress(&o->shard->threads[0].zip, bytes, len, level_of(o->shard), &zipped);
	bool ok = put_frame(o, zipped.data, zipped.len, len, err);
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
	uint64_t missing = missing_bytes(o, mds_table_bytes(o->n));
	if (!missing) {
		return true;
	}
	size_t content = missing > SKIPPABLE_HEADER_BYTES ? (size_t)missing - SKIPPABLE_HEADER_BYTES
							  : 0;
	char *zeros = xcalloc(content, 1);
	bool ok = put_skippable(o, SKIPPABLE_PADDING, zeros, content, err);
	free(zeros);
	assert(missing_bytes(o, mds_table_bytes(o->n + 1) + SKIPPABLE_HEADER_BYTES + content) == 0);
	add_frame(o, SKIPPABLE_HEADER_BYTES + content, 0, (uint32_t)hash64("", 0, 0));
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
	const struct str *data = &o->shard->open->bytes;
	struct str image;
	str_init(&image, STR_NO_CAP);
	str_reserve(&image, o->header.len + data->len);
	str_append(&image, o->header.data, o->header.len);
	str_append(&image, data->data, data->len);
	bool ok = put_bytes(o, image.data, image.len, err);
	str_release(&image);
	return ok;
}

static bool put_frames(struct output *o, struct error *err)
{
	struct mds_shard *s = o->shard;
	if (s->format->single_frame) {
		return put_single_frame(o, err);
	}
	bool ok = put_bytes(o, o->header.data, o->header.len, err);
	for (size_t i = 0; ok && i < s->n_pieces; i++) {
		const struct piece *p = &s->pieces[i];
		ok = put_frame(o, s->zipped + p->zipped_at, p->zipped_len, p->raw_len, err);
	}
	return ok && put_padding(o, err);
}

static bool put_all(struct output *o, struct error *err)
{
	bool ok = put_frames(o, err) && put_table(o, err);
	while (ok && o->n_ended < o->n_pushed) {
		ok = end_back(o, err);
	}
	assert(!ok || o->raw_bytes == o->header.len + o->shard->data_len);
	return ok;
}

static bool output_open(
	struct output *o, struct mds_shard *s, const char *dir, uint32_t no, struct error *err)
{
	unsigned n_threads = workers_n(s->workers);
	char name[MDS_NAME_BYTES];
	mds_shard_name(no, true, name);
	*o = (struct output){.shard = s, .fd = -1};
	o->n_backs = n_threads > 1 ? 4 * n_threads : 1;
	o->backs = xcalloc(o->n_backs, sizeof(*o->backs));
	for (size_t i = 0; i < o->n_backs; i++) {
		str_init(&o->backs[i].content, STR_NO_CAP);
	}
	str_init(&o->header, STR_NO_CAP);
	make_header(s, &o->header);
	sha256_init(&o->sha256);
	hash64_stream_init(&o->xxh64);
	hash64_stream_init(&o->raw_xxh64);
	if (!file_draft_open(&o->draft, dir, name, err)) {
		return false;
	}
	o->fd = open(o->draft.temp_path, O_RDONLY | O_CLOEXEC);
	return o->fd >= 0 || error_errno(err, "could not read back '%s'", o->draft.temp_path);
}

static void output_release(struct output *o)
{
	workers_wait(o->shard->workers);
	if (o->fd >= 0) {
		close(o->fd);
	}
	for (size_t i = 0; i < o->n_backs; i++) {
		str_release(&o->backs[i].content);
	}
	free(o->backs);
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
	ok = ok && file_draft_publish(&o.draft, err);
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
