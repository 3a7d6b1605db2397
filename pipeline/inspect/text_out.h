/*
 * Where an export's text goes: standard output, a file, or one zstd frame if the name ends in .zst. A file has its name only
 * when it is whole.
 *
 *	if (!text_out_open(&o, to, err)) return false;
 *	while (...) {
 *		str_append(&o.text, ...);
 *		if (!text_out_room(&o, err)) ...	// now and then: memory is bounded by what is appended between
 *	}
 *	ok = text_out_publish(&o, err);
 *	text_out_release(&o);
 */
#ifndef PIPELINE_INSPECT_TEXT_OUT_H
#define PIPELINE_INSPECT_TEXT_OUT_H

#include "base/file.h"
#include "base/str.h"
#include "base/zip_stream.h"

struct text_out {
	struct str text; /* owns; not yet written */
	uint64_t bytes; /* written, compressed if it is */
	bool closed; /* the reader of standard output went away: what is written now goes nowhere, quietly */
	/* Private. */
	struct file_draft draft;
	struct zip_writer zip;
	bool to_file, zipped;
};

#define TEXT_OUT_BYTES ((size_t)1 << 20)

/* `to` NULL: standard output. FAIL_IO if the file exists: nothing is overwritten. */
MUST_CHECK bool text_out_open(struct text_out *o, const char *to, struct error *err);
MUST_CHECK bool text_out_flush(struct text_out *o, struct error *err);
static inline MUST_CHECK bool text_out_room(struct text_out *o, struct error *err)
{
	return o->text.len < TEXT_OUT_BYTES || text_out_flush(o, err);
}
MUST_CHECK bool text_out_publish(struct text_out *o, struct error *err);
/* Removes what was not published. Zeroed: no-op. */
void text_out_release(struct text_out *o);

#endif
