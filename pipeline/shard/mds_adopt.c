/*
 * Adopting: is the file that lies under a shard's name the one that was planned? A run that was killed between the rename and
 * the ledger's row left it there.
 */
#include "shard/mds.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/zip.h"
#include "shard/frame.h"
#include "shard/le.h"
#include "shard/mds_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool is_skippable(const char *frame, uint64_t frame_bytes, uint32_t magic)
{
	return frame_bytes >= SKIPPABLE_HEADER_BYTES && le32_get(frame) == magic &&
		le32_get(frame + 4) == frame_bytes - SKIPPABLE_HEADER_BYTES;
}

static bool open_frames(struct frames_reader *r, struct error *err)
{
	char footer[TABLE_FOOTER_BYTES];
	struct stat st;
	if (fstat(r->fd, &st) < 0) {
		return error_errno(err, "could not look at '%s'", r->path);
	}
	r->file_bytes = (uint64_t)st.st_size;
	if (r->file_bytes < mds_table_bytes(1) ||
		!file_pread(r->fd, r->path, footer, sizeof(footer), r->file_bytes - sizeof(footer),
			err) ||
		le32_get(footer + 5) != TABLE_MAGIC ||
		(unsigned char)footer[4] != TABLE_HAS_CHECKSUMS) {
		return error_set(err, FAIL_DATA, "'%s' has no seek table of ours", r->path);
	}
	r->n = le32_get(footer);
	uint64_t bytes = mds_table_bytes(r->n);
	if (bytes > r->file_bytes) {
		return error_set(
			err, FAIL_DATA, "the seek table of '%s' is larger than the file", r->path);
	}
	char *to = str_reserve(&r->table, bytes);
	if (!file_pread(r->fd, r->path, to, bytes, r->file_bytes - bytes, err)) {
		return false;
	}
	r->table.len = bytes;
	return is_skippable(to, bytes, SKIPPABLE_TABLE) ||
		error_set(err, FAIL_DATA, "the seek table of '%s' is no skippable frame", r->path);
}

static const char *entry(const struct frames_reader *r, uint32_t i)
{
	return r->table.data + SKIPPABLE_HEADER_BYTES + (size_t)i * TABLE_ENTRY_BYTES;
}

/* Ours is zeros, and readers step over it by its head. */
static bool is_padding(const struct str *zipped)
{
	if (!is_skippable(zipped->data, zipped->len, SKIPPABLE_PADDING)) {
		return false;
	}
	for (size_t i = SKIPPABLE_HEADER_BYTES; i < zipped->len; i++) {
		if (zipped->data[i]) {
			return false;
		}
	}
	return true;
}

/* The content of the frame in r->zipped is the planned one's affair; the table has to repeat what the frame says of itself. */
static bool read_content(
	struct frames_reader *r, uint32_t raw_bytes, uint32_t *out_checksum, struct error *err)
{
	const struct str *z = &r->zipped;
	if (!raw_bytes) {
		*out_checksum = (uint32_t)hash64("", 0, 0);
		return is_padding(z) || error_set(err, FAIL_DATA, "it is no padding of ours");
	}
	if (!zip_decompress(&r->zip, z->data, z->len, (size_t)frame_raw_bytes_max(z->len),
		    &r->content, err)) {
		return false;
	}
	*out_checksum = le32_get(z->data + z->len - 4);
	return r->content.len == raw_bytes ||
		error_set(err, FAIL_DATA, "it has not the stated size");
}

/* Frame i, which lies at `offset`, into r->content. */
static bool read_frame(struct frames_reader *r, uint32_t i, uint64_t offset,
	uint32_t *out_zip_bytes, struct error *err)
{
	uint32_t zip_bytes = le32_get(entry(r, i)), raw_bytes = le32_get(entry(r, i) + 4), checksum;
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
	return (read_content(r, raw_bytes, &checksum, err) &&
		       (checksum == le32_get(entry(r, i) + 8) ||
			       error_set(err, FAIL_DATA, "the seek table has another checksum"))) ||
		error_context(err, "frame %u of '%s'", i, r->path);
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
	if (ok && offset + mds_table_bytes(r->n) != r->file_bytes) {
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

bool mds_shard_is_there(const char *dir, uint32_t no)
{
	char name[MDS_NAME_BYTES];
	mds_shard_name(no, true, name);
	AUTO_FREE char *path = file_join(dir, name);
	return file_exists(path);
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
