#include "shard/image.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)256 << 10)

/* Hashes of one of a shard's two forms; sha256 only where there is one to compare with. */
struct checked {
	struct hash64_stream xxh64;
	struct sha256 sha256;
	bool has_sha256;
};

struct image {
	const struct mds_read_shard *shard;
	const char *name; /* of the file that is read */
	struct checked raw, zip;
	uint64_t raw_bytes;
	zip_sink *sink;
	void *ctx;
};

static void checked_init(struct checked *c, const char *sha256)
{
	*c = (struct checked){.has_sha256 = sha256 != NULL};
	hash64_stream_init(&c->xxh64);
	if (c->has_sha256) {
		sha256_init(&c->sha256);
	}
}

static void checked_update(struct checked *c, const void *bytes, size_t len)
{
	hash64_stream_update(&c->xxh64, bytes, len);
	if (c->has_sha256) {
		sha256_update(&c->sha256, bytes, len);
	}
}

static bool same(
	const char *form, const char *kind, const char *got, const char *told, struct error *err)
{
	return !told || strcmp(got, told) == 0 ||
		error_set(err, FAIL_DATA, "%s of the %s is %s, index.json says %.64s", kind, form,
			got, told);
}

/* Ends the hashes, and compares them if the bytes are all there (`compare`). */
static bool checked_final(struct checked *c, bool compare, const char *form, const char *xxh64,
	const char *sha256, uint64_t *out_xxh64, struct error *err)
{
	char hex64[17], hex256[SHA256_HEX_BYTES];
	*out_xxh64 = hash64_stream_final(&c->xxh64);
	hash64_hex(*out_xxh64, hex64);
	if (c->has_sha256) {
		sha256_final_hex(&c->sha256, hex256);
	}
	return compare && same(form, "xxh64", hex64, xxh64, err) &&
		(!c->has_sha256 || same(form, "sha256", hex256, sha256, err));
}

static bool take_raw(void *ctx, const void *bytes, size_t len, struct error *err)
{
	struct image *m = ctx;
	m->raw_bytes += len;
	if (m->raw_bytes > m->shard->raw_bytes) {
		return error_set(err, FAIL_DATA,
			"it holds more than the %" PRIu64 " bytes that index.json says",
			m->shard->raw_bytes);
	}
	checked_update(&m->raw, bytes, len);
	return !m->sink || m->sink(m->ctx, bytes, len, err);
}

static bool read_zipped(struct image *m, int fd, uint64_t bytes, char *piece, struct error *err)
{
	struct zip_reader zip;
	bool ok = true;
	zip_reader_init(&zip, take_raw, m);
	for (uint64_t at = 0; ok && at < bytes; at += PIECE_BYTES) {
		size_t len = (size_t)MIN(bytes - at, PIECE_BYTES);
		ok = file_pread(fd, m->name, piece, len, at, err);
		if (ok) {
			checked_update(&m->zip, piece, len);
			ok = zip_reader_add(&zip, piece, len, err);
		}
	}
	ok = ok && zip_reader_end(&zip, err);
	if (!ok && err->kind == FAIL_DATA) {
		error_context(err, "frame %" PRIu64 " at byte %" PRIu64, zip.frame, zip.frame_at);
	}
	zip_reader_release(&zip);
	return ok;
}

static bool read_plain(struct image *m, int fd, uint64_t bytes, char *piece, struct error *err)
{
	bool ok = true;
	for (uint64_t at = 0; ok && at < bytes; at += PIECE_BYTES) {
		size_t len = (size_t)MIN(bytes - at, PIECE_BYTES);
		ok = file_pread(fd, m->name, piece, len, at, err) && take_raw(m, piece, len, err);
	}
	return ok;
}

static bool read_all(struct image *m, int fd, bool zipped, uint64_t bytes, uint64_t *out_raw_xxh64,
	struct error *err)
{
	const struct mds_read_shard *s = m->shard;
	uint64_t ignored;
	checked_init(&m->raw, s->raw_sha256);
	checked_init(&m->zip, s->zip_sha256);
	char *piece = xmalloc(PIECE_BYTES);
	bool ok = zipped ? read_zipped(m, fd, bytes, piece, err)
			 : read_plain(m, fd, bytes, piece, err);
	free(piece);
	if (ok && m->raw_bytes < s->raw_bytes) {
		ok = error_set(err, FAIL_DATA,
			"it holds %" PRIu64 " bytes, index.json says %" PRIu64, m->raw_bytes,
			s->raw_bytes);
	}
	ok = checked_final(
		&m->raw, ok, "raw image", s->raw_xxh64, s->raw_sha256, out_raw_xxh64, err);
	return checked_final(&m->zip, ok, "file", zipped ? s->zip_xxh64 : NULL,
		zipped ? s->zip_sha256 : NULL, &ignored, err);
}

bool mds_image_read(const char *dir, const struct mds_read_shard *shard, zip_sink *sink, void *ctx,
	uint64_t *out_raw_xxh64, struct error *err)
{
	AUTO_FREE char *zip_path = shard->zip_name ? file_join(dir, shard->zip_name) : NULL;
	AUTO_FREE char *raw_path = file_join(dir, shard->raw_name);
	/* As readers do: a folder may have been unpacked in place. */
	bool zipped = zip_path && (file_exists(zip_path) || !file_exists(raw_path));
	const char *path = zipped ? zip_path : raw_path;
	struct image m = {.shard = shard, .name = path, .sink = sink, .ctx = ctx};
	uint64_t bytes;
	AUTO_FD int fd = file_open_regular(path, &bytes, err);
	if (fd < 0) {
		return false;
	}
	return read_all(&m, fd, zipped, bytes, out_raw_xxh64, err) ||
		(err->kind == FAIL_DATA ? error_context(err, "'%s'", path) : false);
}
