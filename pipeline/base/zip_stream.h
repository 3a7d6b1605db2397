/*
 * zstd for data of any length in bounded memory. What is written becomes one frame, since some readers stop after the first;
 * what is read may be many.
 *
 *	struct zip_writer w;
 *	zip_writer_init(&w, 3, sink, ctx);
 *	ok = zip_writer_add(&w, bytes, len, err) && ... && zip_writer_end(&w, err);
 *	zip_writer_release(&w);
 */
#ifndef PIPELINE_BASE_ZIP_STREAM_H
#define PIPELINE_BASE_ZIP_STREAM_H

#include "base/error.h"

#include <stdint.h>

/* Takes the next bytes of the result; false, with err set, ends the work. */
typedef bool zip_sink(void *ctx, const void *bytes, size_t len, struct error *err);

struct zip_writer {
	void *cctx; /* owns */
	char *buffer; /* owns */
	zip_sink *sink;
	void *ctx;
};

/* Compresses on threads of its own where libzstd can; the bytes do not depend on how many. With a checksum. */
void zip_writer_init(struct zip_writer *w, int level, zip_sink *sink, void *ctx);
MUST_CHECK bool zip_writer_add(
	struct zip_writer *w, const void *bytes, size_t len, struct error *err);
MUST_CHECK bool zip_writer_end(struct zip_writer *w, struct error *err);
/* Zeroed: no-op. */
void zip_writer_release(struct zip_writer *w);

struct zip_reader {
	void *dctx; /* owns */
	char *buffer; /* owns */
	zip_sink *sink;
	void *ctx;
	/* Where it is: the frame that is being read, and the compressed byte at which it began. */
	uint64_t frame, frame_at;
	uint64_t used; /* compressed bytes, private */
	bool mid_frame; /* private */
};

void zip_reader_init(struct zip_reader *r, zip_sink *sink, void *ctx);
/* The next compressed bytes, cut anywhere. FAIL_DATA for what is not zstd, a wrong checksum, a window above 128 MiB. */
MUST_CHECK bool zip_reader_add(
	struct zip_reader *r, const void *bytes, size_t len, struct error *err);
/* FAIL_DATA if the bytes ended within a frame. */
MUST_CHECK bool zip_reader_end(struct zip_reader *r, struct error *err);
void zip_reader_release(struct zip_reader *r);

#endif
