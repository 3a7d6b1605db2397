#include "base/zip_stream.h"

#include "base/mem.h"

#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

#define BUFFER_BYTES ((size_t)256 << 10)
#define WORKERS_MAX 4 /* each holds a few MiB */
#define WINDOW_LOG_MAX 27 /* 128 MiB: what zstd itself accepts without being told otherwise */

void zip_writer_init(struct zip_writer *w, int level, zip_sink *sink, void *ctx)
{
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	*w = (struct zip_writer){.sink = sink, .ctx = ctx};
	w->cctx = ZSTD_createCCtx();
	w->buffer = xmalloc(BUFFER_BYTES);
	if (!w->cctx) {
		oom();
	}
	ZSTD_CCtx_setParameter(w->cctx, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(w->cctx, ZSTD_c_checksumFlag, 1);
	/* At least one worker: without any, libzstd cuts its jobs otherwise. One built without threads refuses, and works. */
	ZSTD_CCtx_setParameter(w->cctx, ZSTD_c_nbWorkers, (int)MIN(MAX(n_cpus, 1), WORKERS_MAX));
}

static bool compress(struct zip_writer *w, ZSTD_inBuffer *in, ZSTD_EndDirective mode,
	size_t *out_left, struct error *err)
{
	ZSTD_outBuffer out = {w->buffer, BUFFER_BYTES, 0};
	*out_left = ZSTD_compressStream2(w->cctx, &out, in, mode);
	if (ZSTD_isError(*out_left)) {
		return error_set(err, FAIL_IO, "zstd: %s", ZSTD_getErrorName(*out_left));
	}
	return !out.pos || w->sink(w->ctx, w->buffer, out.pos, err);
}

bool zip_writer_add(struct zip_writer *w, const void *bytes, size_t len, struct error *err)
{
	ZSTD_inBuffer in = {bytes, len, 0};
	size_t left;
	while (in.pos < in.size) {
		if (!compress(w, &in, ZSTD_e_continue, &left, err)) {
			return false;
		}
	}
	return true;
}

bool zip_writer_end(struct zip_writer *w, struct error *err)
{
	ZSTD_inBuffer none = {"", 0, 0};
	size_t left;
	do {
		if (!compress(w, &none, ZSTD_e_end, &left, err)) {
			return false;
		}
	} while (left);
	return true;
}

void zip_writer_release(struct zip_writer *w)
{
	ZSTD_freeCCtx(w->cctx);
	free(w->buffer);
	*w = (struct zip_writer){0};
}

void zip_reader_init(struct zip_reader *r, zip_sink *sink, void *ctx)
{
	*r = (struct zip_reader){.sink = sink, .ctx = ctx};
	r->dctx = ZSTD_createDCtx();
	r->buffer = xmalloc(BUFFER_BYTES);
	if (!r->dctx) {
		oom();
	}
	ZSTD_DCtx_setParameter(r->dctx, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
}

/* Fills the buffer once and hands it on. */
static bool decompress(struct zip_reader *r, ZSTD_inBuffer *in, bool *out_filled, struct error *err)
{
	ZSTD_outBuffer out = {r->buffer, BUFFER_BYTES, 0};
	size_t before = in->pos, left = ZSTD_decompressStream(r->dctx, &out, in);
	if (ZSTD_isError(left)) {
		return error_set(err, FAIL_DATA, "zstd: %s", ZSTD_getErrorName(left));
	}
	r->used += in->pos - before;
	r->mid_frame = left != 0;
	if (!r->mid_frame) {
		r->frame++;
		r->frame_at = r->used;
	}
	*out_filled = out.pos == out.size;
	return !out.pos || r->sink(r->ctx, r->buffer, out.pos, err);
}

bool zip_reader_add(struct zip_reader *r, const void *bytes, size_t len, struct error *err)
{
	ZSTD_inBuffer in = {bytes, len, 0};
	bool filled = false;
	/* A full buffer may leave content behind in the context though all input is used. */
	while (in.pos < in.size || (filled && r->mid_frame)) {
		if (!decompress(r, &in, &filled, err)) {
			return false;
		}
	}
	return true;
}

bool zip_reader_end(struct zip_reader *r, struct error *err)
{
	return !r->mid_frame || error_set(err, FAIL_DATA, "the file is cut short");
}

void zip_reader_release(struct zip_reader *r)
{
	ZSTD_freeDCtx(r->dctx);
	free(r->buffer);
	*r = (struct zip_reader){0};
}
