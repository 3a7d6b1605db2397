/* The writer streams into a str: no tree is built of what is only to be sent. */
#include "base/json.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void before_value(struct json_writer *w)
{
	if (w->need_comma) {
		str_append_z(w->out, w->python ? ", " : ",");
	}
	w->need_comma = true;
}

static void open_with(struct json_writer *w, char c)
{
	before_value(w);
	str_append_c(w->out, c);
	w->depth++;
	w->need_comma = false;
}

static void close_with(struct json_writer *w, char c)
{
	str_append_c(w->out, c);
	w->depth--;
	w->need_comma = true;
}

void json_begin_object(struct json_writer *w)
{
	open_with(w, '{');
}

void json_end_object(struct json_writer *w)
{
	close_with(w, '}');
}

void json_begin_array(struct json_writer *w)
{
	open_with(w, '[');
}

void json_end_array(struct json_writer *w)
{
	close_with(w, ']');
}

static void put_quoted(struct str *s, const char *bytes, size_t len)
{
	static const char escapes[] = "btnvfr"; /* 8 to 13; \v has no short form */
	str_append_c(s, '"');
	size_t start = 0; /* of the bytes that need no escape */
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)bytes[i];
		uint32_t code;
		unsigned n = c < 0x80 ? 1 : utf8_decode(bytes + i, len - i, &code);
		if (n && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
			i += n;
			continue;
		}
		str_append(s, bytes + start, i - start);
		if (!n) {
			str_append_z(s, "\xef\xbf\xbd");
		} else if (c == '"' || c == '\\') {
			str_append_c(s, '\\');
			str_append_c(s, (char)c);
		} else if (c >= 8 && c <= 13 && c != 11) {
			str_append_c(s, '\\');
			str_append_c(s, escapes[c - 8]);
		} else {
			str_printf(s, "\\u%04x", c);
		}
		i += n ? n : 1;
		start = i;
	}
	str_append(s, bytes + start, len - start);
	str_append_c(s, '"');
}

void json_key(struct json_writer *w, const char *key)
{
	before_value(w);
	put_quoted(w->out, key, strlen(key));
	str_append_z(w->out, w->python ? ": " : ":");
	w->need_comma = false;
}

void json_put_str(struct json_writer *w, const char *bytes, size_t len)
{
	before_value(w);
	put_quoted(w->out, bytes, len);
}

void json_put_z(struct json_writer *w, const char *z)
{
	if (z) {
		json_put_str(w, z, strlen(z));
	} else {
		json_put_null(w);
	}
}

void json_put_int(struct json_writer *w, int64_t v)
{
	before_value(w);
	str_printf(w->out, "%" PRId64, v);
}

/* Token ids come by the thousand, so not through printf. */
void json_put_uint(struct json_writer *w, uint64_t v)
{
	char text[24];
	size_t at = sizeof(text);
	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	if (w->need_comma && w->python) {
		text[--at] = ' ';
	}
	if (w->need_comma) {
		text[--at] = ',';
	}
	w->need_comma = true;
	str_append(w->out, text + at, sizeof(text) - at);
}

void json_put_num(struct json_writer *w, double v)
{
	if (!isfinite(v)) {
		json_put_null(w);
		return;
	}
	char text[32];
	text_format_double(v, text);
	json_put_raw(w, text, strlen(text));
}

void json_put_bool(struct json_writer *w, bool v)
{
	json_put_raw(w, v ? "true" : "false", v ? 4 : 5);
}

void json_put_null(struct json_writer *w)
{
	json_put_raw(w, "null", 4);
}

void json_put_raw(struct json_writer *w, const char *json, size_t len)
{
	before_value(w);
	str_append(w->out, json, len);
}

void json_member_z(struct json_writer *w, const char *key, const char *z)
{
	json_key(w, key);
	json_put_z(w, z);
}

void json_member_int(struct json_writer *w, const char *key, int64_t v)
{
	json_key(w, key);
	json_put_int(w, v);
}

void json_member_uint(struct json_writer *w, const char *key, uint64_t v)
{
	json_key(w, key);
	json_put_uint(w, v);
}

void json_member_num(struct json_writer *w, const char *key, double v)
{
	json_key(w, key);
	json_put_num(w, v);
}

void json_member_bool(struct json_writer *w, const char *key, bool v)
{
	json_key(w, key);
	json_put_bool(w, v);
}
