#include "inspect/text_out.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LEVEL 3

/* Not through stdio: its error flag would outlive a reader that went away, which is no error. */
static bool write_stdout(struct text_out *o, const char *bytes, size_t len, struct error *err)
{
	while (len && !o->closed) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);
		if (n < 0 && errno == EPIPE) {
			o->closed = true;
		} else if (n < 0 && errno != EINTR) {
			return error_errno(err, "could not write to standard output");
		} else if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool write_bytes(void *ctx, const void *bytes, size_t len, struct error *err)
{
	struct text_out *o = ctx;
	o->bytes += len;
	return o->to_file ? file_draft_write(&o->draft, bytes, len, err)
			  : write_stdout(o, bytes, len, err);
}

static bool open_file(struct text_out *o, const char *to, struct error *err)
{
	AUTO_FREE char *dir = file_dirname(to);
	const char *name = file_basename(to);
	if (!name[0]) {
		return error_set(err, FAIL_USAGE, "--to must name a file, '%s' is a folder", to);
	}
	if (file_exists(to)) {
		error_set(err, FAIL_IO, "'%s' exists", to);
		return error_hint(err, "remove it, or choose another name");
	}
	o->to_file = true;
	return file_draft_open(&o->draft, dir, name, err);
}

static bool ends_in(const char *text, const char *ending)
{
	size_t len = strlen(text), n = strlen(ending);
	return len > n && strcmp(text + len - n, ending) == 0;
}

bool text_out_open(struct text_out *o, const char *to, struct error *err)
{
	*o = (struct text_out){.draft.fd = -1};
	str_init(&o->text, STR_NO_CAP);
	if (to && !open_file(o, to, err)) {
		return false;
	}
	o->zipped = to && ends_in(to, ".zst");
	if (o->zipped) {
		zip_writer_init(&o->zip, LEVEL, write_bytes, o);
	}
	return true;
}

bool text_out_flush(struct text_out *o, struct error *err)
{
	bool ok = o->zipped ? zip_writer_add(&o->zip, o->text.data, o->text.len, err)
			    : write_bytes(o, o->text.data, o->text.len, err);
	str_reset(&o->text);
	return ok;
}

bool text_out_publish(struct text_out *o, struct error *err)
{
	return text_out_flush(o, err) && (!o->zipped || zip_writer_end(&o->zip, err)) &&
		(!o->to_file || file_draft_publish(&o->draft, err));
}

void text_out_release(struct text_out *o)
{
	file_draft_release(&o->draft);
	zip_writer_release(&o->zip);
	if (o->text.data) {
		str_release(&o->text);
	}
	*o = (struct text_out){.draft.fd = -1};
}
