/*
 * A line that lies in the bytes at hand is read where it is; only one that they cut is copied. So is the data of an event: the
 * usual event has one line of data, which is kept until the empty line behind it.
 */
#include "engine/sse.h"

#include <string.h>

void sse_init(struct sse *sse, size_t event_bytes_max)
{
	*sse = (struct sse){0};
	str_init(&sse->line, event_bytes_max);
	str_init(&sse->data, event_bytes_max);
}

void sse_release(struct sse *sse)
{
	str_release(&sse->line);
	str_release(&sse->data);
	*sse = (struct sse){0};
}

static bool too_large(const struct sse *sse, struct error *err)
{
	return error_set(err, FAIL_DATA, "an event of the stream is larger than %zu bytes",
		sse->data.cap_bytes);
}

/* The value of a line of that field; NULL: it is of another. */
static const char *field_value(struct slice line, const char *name, size_t *out_len)
{
	size_t n = strlen(name);
	const char *value = line.data + n;

	if (line.len < n || memcmp(line.data, name, n) != 0 || (line.len > n && *value != ':'))
		return NULL;
	value += line.len > n;
	value += value < line.data + line.len && *value == ' ';
	*out_len = (size_t)(line.data + line.len - value);
	return value;
}

static bool line_came(
	struct sse *sse, struct slice line, sse_event_cb *event, void *ctx, struct error *err)
{
	const char *value;
	size_t len;

	if (line.len == 0) {
		bool ok = !sse->has_data ||
			event(ctx, (struct slice){sse->data.data, sse->data.len}, err);

		sse->has_data = false;
		str_reset(&sse->data);
		return ok;
	}
	value = field_value(line, "data", &len);
	/* llama.cpp's way of ending a stream that went wrong, before it put errors into data. */
	if (value == NULL)
		value = field_value(line, "error", &len);
	if (value == NULL)
		return true;
	if (sse->has_data)
		str_append_c(&sse->data, '\n');
	str_append(&sse->data, value, len);
	sse->has_data = true;
	return !sse->data.full || too_large(sse, err);
}

static size_t find_end(struct slice bytes)
{
	const char *lf = memchr(bytes.data, '\n', bytes.len);
	size_t n = lf != NULL ? (size_t)(lf - bytes.data) : bytes.len;
	const char *cr = memchr(bytes.data, '\r', n);

	return cr != NULL ? (size_t)(cr - bytes.data) : n;
}

bool sse_feed(
	struct sse *sse, struct slice bytes, sse_event_cb *event, void *ctx, struct error *err)
{
	static const char bom[] = "\xef\xbb\xbf";

	while (bytes.len > 0) {
		struct slice line;
		size_t n;

		if (sse->after_cr && bytes.data[0] == '\n') {
			bytes = (struct slice){bytes.data + 1, bytes.len - 1};
			sse->after_cr = false;
			continue;
		}
		sse->after_cr = false;
		n = find_end(bytes);
		line = (struct slice){bytes.data, n};
		if (n == bytes.len || sse->line.len > 0) {
			str_append(&sse->line, bytes.data, n);
			if (sse->line.full)
				return too_large(sse, err);
			if (n == bytes.len)
				return true;
			line = (struct slice){sse->line.data, sse->line.len};
		}
		if (!sse->begun && line.len >= 3 && memcmp(line.data, bom, 3) == 0)
			line = (struct slice){line.data + 3, line.len - 3};
		sse->begun = true;
		sse->after_cr = bytes.data[n] == '\r';
		bytes = (struct slice){bytes.data + n + 1, bytes.len - n - 1};
		if (!line_came(sse, line, event, ctx, err))
			return false;
		str_reset(&sse->line);
	}
	return true;
}
