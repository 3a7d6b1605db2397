/*
 * Two buffers: `raw` holds what read(2) gave, `text` what it decodes to. Given-out lines are dropped from `text` only when it
 * is refilled, so a line stays valid until the next call and the bytes of a line are moved at most once per refill.
 */
#include "base/lines.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define READ_BYTES ((size_t)128 << 10)

static bool fail(struct lines *in, struct error *err, const char *what)
{
	error_set(err, FAIL_DATA, "%s", what);
	return error_place(err, in->path, (unsigned)in->line_no + 1, 0);
}

/* Appends up to READ_BYTES; *out_n 0 at the end of the file. */
static bool read_some(struct lines *in, struct str *to, size_t *out_n, struct error *err)
{
	char *room = str_reserve(to, READ_BYTES);
	ssize_t n;
	do {
		n = read(in->fd, room, READ_BYTES);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return error_errno(err, "could not read '%s'", in->path);
	}
	to->len += (size_t)n;
	to->data[to->len] = '\0';
	*out_n = (size_t)n;
	return true;
}

bool lines_open(struct lines *in, const char *path, size_t line_limit_bytes, struct error *err)
{
	*in = (struct lines){.fd = -1, .limit_bytes = line_limit_bytes};
	in->path = xstrdup(path);
	str_init(&in->raw, STR_NO_CAP);
	str_init(&in->text, STR_NO_CAP);
	in->fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	if (in->fd < 0) {
		error_errno(err, "could not open '%s'", path);
		goto fail_open;
	}
	if (!read_some(in, &in->raw, &n, err)) {
		goto fail_open;
	}
	static const char magic[4] = {'\x28', '\xb5', '\x2f', '\xfd'};
	if (in->raw.len >= sizeof(magic) && memcmp(in->raw.data, magic, sizeof(magic)) == 0) {
		in->dctx = ZSTD_createDCtx();
		if (!in->dctx) {
			oom();
		}
		/* 128 MiB: what zstd itself accepts without being told otherwise. */
		ZSTD_DCtx_setParameter(in->dctx, ZSTD_d_windowLogMax, 27);
	} else {
		struct str spare = in->text;
		in->text = in->raw;
		in->raw = spare;
	}
	return true;

fail_open:
	lines_release(in);
	return false;
}

void lines_release(struct lines *in)
{
	if (!in->path) {
		return;
	}
	if (in->fd >= 0) {
		close(in->fd);
	}
	ZSTD_freeDCtx(in->dctx);
	str_release(&in->raw);
	str_release(&in->text);
	free(in->path);
	*in = (struct lines){.fd = -1};
}

static bool decode_some(struct lines *in, struct error *err)
{
	while (true) {
		if (in->raw_used == in->raw.len) {
			str_reset(&in->raw);
			in->raw_used = 0;
			size_t n = 0;
			if (!read_some(in, &in->raw, &n, err)) {
				return false;
			}
			if (n == 0) {
				in->at_end = true;
				return in->mid_frame ? fail(in, err, "zstd: the file is cut short")
						     : true;
			}
		}
		ZSTD_inBuffer from = {in->raw.data, in->raw.len, in->raw_used};
		ZSTD_outBuffer to = {str_reserve(&in->text, READ_BYTES), READ_BYTES, 0};
		size_t rc = ZSTD_decompressStream(in->dctx, &to, &from);
		in->raw_used = from.pos;
		if (ZSTD_isError(rc)) {
			return fail(in, err, ZSTD_getErrorName(rc));
		}
		in->mid_frame = rc != 0;
		if (to.pos) {
			in->text.len += to.pos;
			in->text.data[in->text.len] = '\0';
			return true;
		}
	}
}

static bool refill(struct lines *in, struct error *err)
{
	memmove(in->text.data, in->text.data + in->start, in->text.len - in->start);
	in->text.len -= in->start;
	in->start = 0;
	if (in->dctx) {
		return decode_some(in, err);
	}
	size_t n = 0;
	if (!read_some(in, &in->text, &n, err)) {
		return false;
	}
	in->at_end = n == 0;
	return true;
}

enum lines_result lines_next(struct lines *in, struct slice *out_line, struct error *err)
{
	size_t seen = 0; /* bytes after start that hold no newline */
	while (true) {
		char *from = in->text.data + in->start;
		size_t have = in->text.len - in->start;
		char *newline = have > seen ? memchr(from + seen, '\n', have - seen) : NULL;
		if (newline || (in->at_end && have)) {
			size_t len = newline ? (size_t)(newline - from) : have;
			in->start += newline ? len + 1 : len;
			in->line_no++;
			if (len && from[len - 1] == '\r') {
				len--;
			}
			*out_line = (struct slice){from, len};
			return LINES_LINE;
		}
		if (in->at_end) {
			return LINES_END;
		}
		if (have > in->limit_bytes) {
			fail(in, err, "the line is too long");
			return LINES_FAILED;
		}
		seen = have;
		if (!refill(in, err)) {
			return LINES_FAILED;
		}
	}
}
