#include "base/zip.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zdict.h>
#include <zstd.h>

struct zip_dict {
	char *bytes; /* owns */
	size_t len;
	ZSTD_CDict *cdict; /* owns */
	ZSTD_DDict *ddict; /* owns */
};

static ZSTD_CCtx *cctx(struct zip *z)
{
	if (!z->cctx) {
		z->cctx = ZSTD_createCCtx();
		if (!z->cctx) {
			oom();
		}
	}
	return z->cctx;
}

static ZSTD_DCtx *dctx(struct zip *z)
{
	if (!z->dctx) {
		z->dctx = ZSTD_createDCtx();
		if (!z->dctx) {
			oom();
		}
	}
	return z->dctx;
}

void zip_release(struct zip *z)
{
	ZSTD_freeCCtx(z->cctx);
	ZSTD_freeDCtx(z->dctx);
	*z = (struct zip){0};
}

static void compress(struct zip *z, const void *bytes, size_t len, struct str *out)
{
	size_t bound = ZSTD_compressBound(len);
	char *to = str_reserve(out, bound);
	assert(to);
	size_t n = ZSTD_compress2(cctx(z), to, bound, bytes, len);
	if (ZSTD_isError(n)) {
		oom(); /* with room for the bound, memory is all that can be missing */
	}
	out->len += n;
	out->data[out->len] = '\0';
}

void zip_compress(struct zip *z, const void *bytes, size_t len, int level, struct str *out)
{
	ZSTD_CCtx_reset(cctx(z), ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(z->cctx, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(z->cctx, ZSTD_c_checksumFlag, 1);
	compress(z, bytes, len, out);
}

void zip_compress_dict(
	struct zip *z, const struct zip_dict *d, const void *bytes, size_t len, struct str *out)
{
	ZSTD_CCtx_reset(cctx(z), ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(z->cctx, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_refCDict(z->cctx, d->cdict);
	compress(z, bytes, len, out);
}

static bool decompress(struct zip *z, const ZSTD_DDict *dict, const void *frame, size_t len,
	size_t limit, struct str *out, struct error *err)
{
	uint64_t content;
	size_t frame_bytes;
	bool skippable;
	if (!zip_frame_info(frame, len, &frame_bytes, &content, &skippable, err)) {
		return false;
	}
	if (skippable || content == UINT64_MAX || frame_bytes != len) {
		return error_set(err, FAIL_DATA, "zstd: expected one frame of known size");
	}
	char *to = content <= limit ? str_reserve(out, (size_t)content) : NULL;
	if (!to) {
		return error_set(err, FAIL_DATA,
			"zstd: content of %llu bytes is over the limit of %zu",
			(unsigned long long)content, limit);
	}
	size_t n = ZSTD_decompress_usingDDict(dctx(z), to, (size_t)content, frame, len, dict);
	if (ZSTD_isError(n) || n != content) {
		*to = '\0';
		return error_set(err, FAIL_DATA, "zstd: %s",
			ZSTD_isError(n) ? ZSTD_getErrorName(n) : "content is shorter than stated");
	}
	out->len += n;
	out->data[out->len] = '\0';
	return true;
}

bool zip_decompress(struct zip *z, const void *frame, size_t len, size_t limit_bytes,
	struct str *out, struct error *err)
{
	return decompress(z, NULL, frame, len, limit_bytes, out, err);
}

bool zip_decompress_stream(struct zip *z, const void *frame, size_t len, size_t limit_bytes,
	struct str *out, uint64_t *out_bytes, struct error *err)
{
	AUTO_FREE char *piece = xmalloc(ZSTD_DStreamOutSize());
	ZSTD_inBuffer in = {frame, len, 0};
	uint64_t bytes = 0;
	size_t left = 1; /* 0 at the end of the frame */
	ZSTD_DCtx_reset(dctx(z), ZSTD_reset_session_only);
	while (left) {
		ZSTD_outBuffer to = {piece, ZSTD_DStreamOutSize(), 0};
		left = ZSTD_decompressStream(z->dctx, &to, &in);
		if (ZSTD_isError(left)) {
			return error_set(err, FAIL_DATA, "zstd: %s", ZSTD_getErrorName(left));
		}
		bytes += to.pos;
		if (bytes > limit_bytes) {
			return error_set(err, FAIL_DATA,
				"zstd: content is over the limit of %zu bytes", limit_bytes);
		}
		if (out) {
			str_append(out, piece, to.pos);
		}
		if (left && in.pos == len && to.pos < to.size) {
			return error_set(err, FAIL_DATA, "zstd: the frame is cut short");
		}
	}
	if (in.pos != len) {
		return error_set(err, FAIL_DATA, "zstd: bytes are left after the frame");
	}
	*out_bytes = bytes;
	return true;
}

bool zip_decompress_dict(struct zip *z, const struct zip_dict *d, const void *frame, size_t len,
	size_t limit_bytes, struct str *out, struct error *err)
{
	return decompress(z, d->ddict, frame, len, limit_bytes, out, err);
}

struct zip_dict *zip_dict_train(
	const void *samples, const size_t *sample_bytes, unsigned n, size_t dict_bytes, int level)
{
	AUTO_FREE char *dict = xmalloc(dict_bytes);
	size_t len = ZDICT_trainFromBuffer(dict, dict_bytes, samples, sample_bytes, n);
	return ZDICT_isError(len) ? NULL : zip_dict_load(dict, len, level);
}

struct zip_dict *zip_dict_load(const void *bytes, size_t len, int level)
{
	struct zip_dict *d = xcalloc(1, sizeof(*d));
	d->bytes = xmemdup0(bytes, len);
	d->len = len;
	d->cdict = ZSTD_createCDict(d->bytes, len, level);
	d->ddict = ZSTD_createDDict(d->bytes, len);
	if (!d->cdict || !d->ddict) {
		oom();
	}
	return d;
}

void zip_dict_free(struct zip_dict *d)
{
	if (!d) {
		return;
	}
	ZSTD_freeCDict(d->cdict);
	ZSTD_freeDDict(d->ddict);
	free(d->bytes);
	free(d);
}

const void *zip_dict_bytes(const struct zip_dict *d, size_t *out_len)
{
	*out_len = d->len;
	return d->bytes;
}

bool zip_frame_info(const void *bytes, size_t len, size_t *out_frame_bytes,
	uint64_t *out_content_bytes, bool *out_skippable, struct error *err)
{
	size_t frame = ZSTD_findFrameCompressedSize(bytes, len);
	if (ZSTD_isError(frame)) {
		return error_set(err, FAIL_DATA, "zstd: %s", ZSTD_getErrorName(frame));
	}
	const unsigned char *p = bytes;
	bool skippable = (p[0] & 0xf0) == 0x50 && p[1] == 0x2a && p[2] == 0x4d && p[3] == 0x18;
	unsigned long long content = skippable ? 0 : ZSTD_getFrameContentSize(bytes, len);
	if (content == ZSTD_CONTENTSIZE_ERROR) {
		return error_set(err, FAIL_DATA, "zstd: not a frame");
	}
	*out_frame_bytes = frame;
	*out_content_bytes = content == ZSTD_CONTENTSIZE_UNKNOWN ? UINT64_MAX : content;
	*out_skippable = skippable;
	return true;
}
