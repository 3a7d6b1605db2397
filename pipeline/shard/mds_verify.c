/*
 * Each frame is read once: a job decodes it and checks the samples that lie in it, while the owner hashes what came before, file
 * and image, in order. Samples that lie in several frames (other writers' only) are read one by
 * one at the end.
 */
#include "shard/mds_read.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/workers.h"
#include "shard/frame.h"
#include "shard/le.h"
#include "shard/mds_read_impl.h"
#include "shard/packed.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PYTHON_ZSTD_BUFFER_BYTES (128u << 10) /* for a frame that does not state its size */
#define PIECE_BYTES ((size_t)1 << 20) /* of a file without frames */
#define CONFIG_BYTES_MAX ((size_t)1 << 20)
#define FRAME_HAS_CHECKSUM 4 /* in the descriptor, the fifth byte of a frame */

struct found {
	uint64_t sample;
	uint32_t at; /* in the image */
	char *what; /* owns */
};

/* A frame, or a piece of a raw file, while it is checked. */
struct slot {
	size_t piece;
	struct str zipped, content;
	struct found *found; /* owns; what is wrong with samples */
	size_t n_found, cap;
	bool good; /* it could be decoded */
	struct error err;
	bool used;
	atomic_bool done;
};

/* What lasts from shard to shard comes first; the rest is of the one at hand. */
struct mds_verifier {
	struct mds_reader *r;
	struct workers *workers;
	mds_fault_cb *fault;
	void *ctx;
	struct slot *slots; /* owns; a ring */
	size_t n_slots;
	struct zip *zips; /* owns; one a thread */
	size_t s;
	const struct mds_read_shard *shard;
	unsigned n_faults;
	struct packed_plan plan;
	const char *
		offsets; /* n_samples + 1 u32, in order and within the image; NULL: they are not to be relied on */
	size_t n_pieces;
	struct hash64_stream raw_xxh64, zip_xxh64; /* of the image and of the file */
	struct sha256 raw_sha256, zip_sha256;
	uint64_t hashed; /* bytes of the file */
	bool all_good; /* every piece could be decoded */
};

/* The one that was opened, which may be the raw one though the index has a compressed one first. */
static const char *file_of(const struct mds_verifier *c)
{
	bool zip = c->r->open == c->s ? c->r->compressed : c->shard->zip_name != NULL;
	return zip ? c->shard->zip_name : c->shard->raw_name;
}

static void tell(
	struct mds_verifier *c, int64_t frame, int64_t sample, int64_t offset, const char *what)
{
	if (c->n_faults++ < MDS_FAULTS_MAX) {
		c->fault(c->ctx, &(struct mds_fault){file_of(c), frame, sample, offset, what});
	}
}

static void tell_sample(struct mds_verifier *c, uint64_t sample, uint32_t at, const char *what)
{
	int64_t frame = c->r->compressed && at ? (int64_t)mds_frame_of(c->r, at) : -1;
	tell(c, frame, (int64_t)sample, at ? (int64_t)at : -1, what);
}

/* --- jobs --- */

/* Where faults of one sample go. */
struct sample_faults {
	struct slot *slot;
	uint64_t sample;
	uint32_t at;
};

static void note(void *ctx, const char *what)
{
	const struct sample_faults *to = ctx;
	struct slot *slot = to->slot;
	if (slot->n_found < MDS_FAULTS_MAX) {
		slot->found = array_room(
			slot->found, slot->n_found, &slot->cap, sizeof(*slot->found));
		slot->found[slot->n_found++] = (struct found){to->sample, to->at, xstrdup(what)};
	}
}

static void check_values(
	const struct mds_verifier *c, struct slice *values, struct sample_faults *to)
{
	struct error err;
	bool good = true;
	for (size_t k = 0; k < c->shard->n_columns; k++) {
		if (!mds_value_check(&c->shard->columns[k].encoding, values[k], &err)) {
			error_context(&err, "column '%.64s'", c->shard->columns[k].name);
			note(to, err.msg);
			good = false;
		}
	}
	if (good) {
		packed_check(&c->plan, values, note, to);
	}
}

/* First sample that begins at `at` or later. */
static uint64_t sample_from(const struct mds_verifier *c, uint64_t at)
{
	uint64_t low = 0, high = c->shard->n_samples;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (le32_get(c->offsets + 4 * middle) < at) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

static void check_samples_of(const struct mds_verifier *c, struct slot *slot, uint64_t piece_at)
{
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct error err;
	for (uint64_t i = sample_from(c, piece_at); i < c->shard->n_samples; i++) {
		uint32_t from = le32_get(c->offsets + 4 * i), to = le32_get(c->offsets + 4 * i + 4);
		if (to - piece_at > slot->content.len) {
			break;
		}
		struct sample_faults faults = {slot, i, from};
		struct slice sample = {slot->content.data + (from - piece_at), to - from};
		if (mds_split_sample(c->shard, sample, values, &err)) {
			check_values(c, values, &faults);
		} else {
			note(&faults, err.msg);
		}
	}
}

static uint64_t piece_at(const struct mds_verifier *c, size_t i)
{
	return c->r->compressed ? c->r->frames[i].raw_at : (uint64_t)i * PIECE_BYTES;
}

static bool load_piece(struct mds_verifier *c, struct slot *slot, unsigned thread)
{
	struct mds_reader *r = c->r;
	if (r->compressed) {
		return mds_load_frame(r, slot->piece, &c->zips[thread], &slot->zipped,
			&slot->content, &slot->err);
	}
	uint64_t at = piece_at(c, slot->piece);
	size_t len = (size_t)MIN(r->image_bytes - at, PIECE_BYTES);
	str_reset(&slot->content);
	char *to = str_reserve(&slot->content, len);
	slot->content.len = len;
	return file_pread(r->fd, r->path, to, len, at, &slot->err);
}

static void check_piece(void *ctx, size_t i, unsigned thread)
{
	struct mds_verifier *c = ctx;
	struct slot *slot = &c->slots[i % c->n_slots];
	slot->good = load_piece(c, slot, thread);
	if (slot->good && c->offsets) {
		check_samples_of(c, slot, piece_at(c, i));
	}
	slot->done = true;
}

/* --- the owner --- */

static void hash_zipped(struct mds_verifier *c, const char *bytes, size_t len)
{
	if (c->shard->zip_sha256) {
		sha256_update(&c->zip_sha256, bytes, len);
	}
	if (c->shard->zip_xxh64) {
		hash64_stream_update(&c->zip_xxh64, bytes, len);
	}
	c->hashed += len;
}

/* What lies in no frame that was read: padding, the table, and frames that could not be read. */
static void hash_file_to(struct mds_verifier *c, uint64_t end)
{
	struct error err;
	struct str buffer;
	str_init(&buffer, STR_NO_CAP);
	while (c->hashed < end) {
		size_t len = (size_t)MIN(end - c->hashed, PIECE_BYTES);
		char *to = str_reserve(&buffer, len);
		if (!file_pread(c->r->fd, c->r->path, to, len, c->hashed, &err)) {
			tell(c, -1, -1, (int64_t)c->hashed, err.msg);
			break;
		}
		hash_zipped(c, to, len);
	}
	str_release(&buffer);
}

/* zstd has compared the frame's own checksum, so the table's is right if it is the same. */
static bool same_checksum(const struct slot *slot, const struct mds_frame *f)
{
	bool has_own = slot->zipped.data[4] & FRAME_HAS_CHECKSUM;
	uint32_t sum = has_own ? le32_get(slot->zipped.data + slot->zipped.len - 4)
			       : (uint32_t)hash64(slot->content.data, slot->content.len, 0);
	return sum == f->checksum;
}

static void end_slot(struct mds_verifier *c, struct slot *slot)
{
	while (!slot->done) {
		workers_help(c->workers);
	}
	const struct mds_frame *f = c->r->compressed ? &c->r->frames[slot->piece] : NULL;
	int64_t frame = f ? (int64_t)slot->piece : -1,
		at = (int64_t)(f ? f->zip_at : piece_at(c, slot->piece));
	if (!slot->good) {
		tell(c, frame, -1, at, slot->err.msg);
		c->all_good = false;
	} else if (f && c->r->has_checksums && !same_checksum(slot, f)) {
		tell(c, frame, -1, at, "the seek table has another checksum for this frame");
	}
	for (size_t i = 0; i < slot->n_found; i++) {
		tell_sample(c, slot->found[i].sample, slot->found[i].at, slot->found[i].what);
		free(slot->found[i].what);
	}
	if (f && slot->zipped.len == f->zip_bytes) {
		hash_file_to(c, f->zip_at);
		hash_zipped(c, slot->zipped.data, slot->zipped.len);
	}
	if (slot->good) {
		hash64_stream_update(&c->raw_xxh64, slot->content.data, slot->content.len);
		if (c->shard->raw_sha256) {
			sha256_update(&c->raw_sha256, slot->content.data, slot->content.len);
		}
	}
	slot->n_found = 0;
	slot->used = false;
}

static bool is_skippable(struct mds_reader *r, const struct mds_frame *f)
{
	char head[SKIPPABLE_HEADER_BYTES];
	struct error ignored;
	return f->zip_bytes >= sizeof(head) &&
		file_pread(r->fd, r->path, head, sizeof(head), f->zip_at, &ignored) &&
		(le32_get(head) & ~0xfu) == SKIPPABLE_PADDING &&
		le32_get(head + 4) == f->zip_bytes - sizeof(head);
}

/* Frames that are said to be empty are decoded, too: a reader that does not know the table would get what is in them. */
static void check_pieces(struct mds_verifier *c)
{
	for (size_t i = 0; i < c->n_pieces; i++) {
		struct slot *slot = &c->slots[i % c->n_slots];
		if (slot->used) {
			end_slot(c, slot);
		}
		if (c->r->compressed && !c->r->frames[i].raw_bytes &&
			is_skippable(c->r, &c->r->frames[i])) {
			continue;
		}
		slot->piece = i;
		slot->used = true;
		slot->done = false;
		workers_push(c->workers, check_piece, c, i);
	}
	for (size_t i = c->n_pieces; i < c->n_pieces + c->n_slots; i++) {
		struct slot *slot = &c->slots[i % c->n_slots];
		if (slot->used) {
			end_slot(c, slot);
		}
	}
}

static void check_file(struct mds_verifier *c)
{
	const struct mds_read_shard *s = c->shard;
	char sha256[SHA256_HEX_BYTES], xxh64[17];
	if (c->r->compressed) {
		hash_file_to(c, c->r->file_bytes);
	}
	sha256_final_hex(&c->zip_sha256, sha256);
	hash64_hex(hash64_stream_final(&c->zip_xxh64), xxh64);
	if (!c->r->compressed || c->hashed < c->r->file_bytes) {
		return;
	}
	if (s->zip_bytes != c->r->file_bytes) {
		tell(c, -1, -1, -1, "the file has another size than index.json says");
	}
	if (s->zip_sha256 && strcmp(s->zip_sha256, sha256) != 0) {
		tell(c, -1, -1, -1, "sha256 of the file is not that of index.json");
	}
	if (s->zip_xxh64 && strcmp(s->zip_xxh64, xxh64) != 0) {
		tell(c, -1, -1, -1, "xxh64 of the file is not that of index.json");
	}
}

/*
 * What python-zstd needs: every frame but the last two is smaller than what follows it (see mds_write.c), and each states its
 * size, but for one frame alone that its first buffer can hold. Called when the frames were decoded.
 */
static void check_rule(struct mds_verifier *c)
{
	const struct mds_reader *r = c->r;
	uint64_t after;
	size_t n = r->n_frames;
	while (n && !r->frames[n - 1].raw_bytes) {
		n--; /* padding and table are what follows */
	}
	for (size_t i = 0; i < n; i++) {
		if (r->frames[i].unsized && (n > 1 || r->image_bytes > PYTHON_ZSTD_BUFFER_BYTES)) {
			tell(c, (int64_t)i, -1, (int64_t)r->frames[i].zip_at,
				"python-zstd could not read this frame: it does not state its "
				"size");
		}
	}
	for (size_t i = 0; i + 2 < n; i++) {
		after = r->file_bytes - r->frames[i].zip_at - r->frames[i].zip_bytes;
		if (r->frames[i].zip_bytes >= after) {
			tell(c, (int64_t)i, -1, (int64_t)r->frames[i].zip_at,
				"python-zstd would stop at this frame: it is not smaller than all "
				"that follows");
		}
	}
}

static void check_image(struct mds_verifier *c)
{
	const struct mds_read_shard *s = c->shard;
	char hex[17], sha256[SHA256_HEX_BYTES];
	hash64_hex(hash64_stream_final(&c->raw_xxh64), hex);
	sha256_final_hex(&c->raw_sha256, sha256);
	if (!c->all_good) {
		return;
	}
	if (c->r->image_bytes != s->raw_bytes) {
		tell(c, -1, -1, -1, "the raw image has another size than index.json says");
	}
	if (s->raw_xxh64 && strcmp(hex, s->raw_xxh64) != 0) {
		tell(c, -1, -1, -1, "xxh64 of the raw image is not that of index.json");
	}
	if (s->raw_sha256 && strcmp(sha256, s->raw_sha256) != 0) {
		tell(c, -1, -1, -1, "sha256 of the raw image is not that of index.json");
	}
}

/* One by one, for what the pieces have not seen. */
static void check_sample(struct mds_verifier *c, uint64_t i)
{
	struct slice values[MDS_READ_COLUMNS_MAX];
	struct error err;
	struct slot one = {0};
	bool read = mds_read_sample(c->r, c->s, i, values, &err);
	struct sample_faults faults = {&one, i, c->r->sample_at};
	if (read) {
		check_values(c, values, &faults);
	} else {
		note(&faults, err.msg);
	}
	for (size_t k = 0; k < one.n_found; k++) {
		tell_sample(c, i, faults.at, one.found[k].what);
		free(one.found[k].what);
	}
	free(one.found);
}

static bool lies_in_one_piece(const struct mds_verifier *c, uint32_t from, uint32_t to)
{
	if (!c->r->compressed) {
		return from / PIECE_BYTES == (to - 1) / PIECE_BYTES;
	}
	const struct mds_frame *f = &c->r->frames[mds_frame_of(c->r, from)];
	return to <= f->raw_at + f->raw_bytes;
}

static void check_other_samples(struct mds_verifier *c)
{
	for (uint64_t i = 0; i < c->shard->n_samples && c->n_faults < MDS_FAULTS_MAX; i++) {
		uint32_t from = 0, to = 0;
		if (c->offsets) {
			from = le32_get(c->offsets + 4 * i);
			to = le32_get(c->offsets + 4 * i + 4);
		}
		if (!c->offsets || from == to || !lies_in_one_piece(c, from, to)) {
			check_sample(c, i);
		}
	}
}

static bool same_name(const struct json *v, const char *name)
{
	const char *text = json_z(v);
	return text && strcmp(text, name) == 0;
}

static bool same_size(const struct json *v, uint32_t fixed_bytes)
{
	int64_t size;
	return fixed_bytes ? json_int(v, &size) && size == fixed_bytes : json_kind(v) == JSON_NULL;
}

/*
 * The header repeats what the index says of the columns. Readers go by the index, whose bytes no hash protects: a name or a
 * type that was damaged there would give other rows.
 */
static void check_config(struct mds_verifier *c, uint32_t from, uint32_t to)
{
	struct str text;
	struct error err;
	str_init(&text, CONFIG_BYTES_MAX);
	struct json *config = NULL;
	if (to - from <= CONFIG_BYTES_MAX && mds_read_image(c->r, from, to - from, &text, &err)) {
		config = json_parse(text.data, text.len, &err);
	}
	const struct json *names = json_get(config, "column_names"),
			  *encodings = json_get(config, "column_encodings"),
			  *sizes = json_get(config, "column_sizes");
	/* Other writers may have left it empty. */
	bool told = names && encodings && sizes;
	bool same = json_len(names) == c->shard->n_columns;
	for (size_t i = 0; told && same && i < c->shard->n_columns; i++) {
		const struct mds_read_column *column = &c->shard->columns[i];
		same = same_name(json_at(names, i), column->name) &&
			same_name(json_at(encodings, i), column->encoding_name) &&
			same_size(json_at(sizes, i), column->fixed_bytes);
	}
	if (told && !same) {
		tell(c, c->r->compressed ? 0 : -1, -1, from,
			"the columns of index.json are not those in the shard's header");
	}
	json_free(config);
	str_release(&text);
}

/* Count and offsets; after this, c->offsets can be relied on, or is NULL. */
static void check_header(struct mds_verifier *c)
{
	struct mds_reader *r = c->r;
	uint64_t n = c->shard->n_samples;
	struct str count;
	struct error err;
	str_init(&count, 64);
	bool read = r->image_bytes >= 4 && mds_read_image(r, 0, 4, &count, &err);
	bool same = read && le32_get(count.data) == n;
	str_release(&count);
	if (!same) {
		/* A frame that cannot be decoded is told of with the others. */
		if (read || r->image_bytes < 4) {
			tell(c, 0, -1, 0,
				read ? "the number of samples is not that of index.json"
				     : "the image is too short for its count");
		}
		c->all_good = false;
		return;
	}
	if (!mds_read_offsets(r, n, &err)) {
		tell(c, 0, -1, 4, err.msg);
		c->all_good = false;
		return;
	}
	uint64_t before = 4 + 4 * (n + 1);
	bool sound = true;
	for (uint64_t i = 0; i <= n; i++) {
		uint32_t at = le32_get(r->offsets.data + 4 * i);
		sound = sound && at >= before && at <= r->image_bytes;
		before = at;
	}
	c->offsets = sound ? r->offsets.data : NULL;
	if (sound) {
		check_config(c, (uint32_t)(4 + 4 * (n + 1)), le32_get(r->offsets.data));
	}
	if (n && before != r->image_bytes) {
		tell(c, -1, -1, (int64_t)before,
			before < r->image_bytes ? "bytes are left after the last sample"
						: "the last sample ends after the image");
	}
}

struct mds_verifier *mds_verifier_new(
	struct mds_reader *r, struct workers *workers, mds_fault_cb *fault, void *ctx)
{
	struct mds_verifier *c = xcalloc(1, sizeof(*c));
	unsigned n_threads = workers_n(workers);
	c->r = r;
	c->workers = workers;
	c->fault = fault;
	c->ctx = ctx;
	c->n_slots = n_threads > 1 ? 4 * n_threads : 1;
	c->slots = xcalloc(c->n_slots, sizeof(*c->slots));
	for (size_t i = 0; i < c->n_slots; i++) {
		str_init(&c->slots[i].zipped, STR_NO_CAP);
		str_init(&c->slots[i].content, STR_NO_CAP);
	}
	c->zips = xcalloc(n_threads, sizeof(*c->zips));
	return c;
}

void mds_verifier_free(struct mds_verifier *c)
{
	if (!c) {
		return;
	}
	for (size_t i = 0; i < c->n_slots; i++) {
		str_release(&c->slots[i].zipped);
		str_release(&c->slots[i].content);
		free(c->slots[i].found);
	}
	for (unsigned i = 0; i < workers_n(c->workers); i++) {
		zip_release(&c->zips[i]);
	}
	free(c->slots);
	free(c->zips);
	free(c);
}

static void begin(struct mds_verifier *c, size_t s)
{
	int64_t n_vocab = 0;
	json_int(json_get(mds_reader_facts(c->r), "n_vocab"), &n_vocab);
	packed_plan(&c->plan, c->r, s, (uint64_t)MAX(n_vocab, 0));
	c->n_pieces = c->r->compressed
		? c->r->n_frames
		: (size_t)((c->r->image_bytes + PIECE_BYTES - 1) / PIECE_BYTES);
	c->offsets = NULL;
	c->all_good = true;
	c->hashed = 0;
	hash64_stream_init(&c->raw_xxh64);
	hash64_stream_init(&c->zip_xxh64);
	sha256_init(&c->raw_sha256);
	sha256_init(&c->zip_sha256);
}

unsigned mds_verifier_shard(struct mds_verifier *c, size_t s)
{
	struct error err;
	c->s = s;
	c->shard = mds_reader_shard(c->r, s);
	c->n_faults = 0;
	if (!mds_open_shard(c->r, s, &err)) {
		tell(c, -1, -1, -1, err.msg);
		return c->n_faults;
	}
	begin(c, s);
	check_header(c);
	check_pieces(c);
	check_file(c);
	check_rule(c);
	check_image(c);
	if (c->all_good) {
		check_other_samples(c);
	}
	return c->n_faults;
}
