/*
 * struct json is jansson's json_t under another name; every accessor casts once, at this border. The writer is our own:
 * it streams into a str, where jansson would build a tree of the same answer first.
 */
/* jansson's kinds have the names of ours, so they are renamed while its header is read; hence not our own header first. */
#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_NULL JANSSON_NULL
#define JSON_REAL JANSSON_REAL
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_NULL
#undef JSON_REAL

#include "base/json.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const json_t *in(const struct json *v)
{
	return (const json_t *)(const void *)v;
}

static const struct json *out(const json_t *v)
{
	return (const struct json *)(const void *)v;
}

struct json *json_parse(const char *text, size_t len, struct error *err)
{
	json_error_t e;
	json_t *root = json_loadb(
		text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);
	if (!root) {
		error_set(err, FAIL_DATA, "not JSON: %s (line %d, column %d)", e.text, e.line,
			e.column);
		return NULL;
	}
	return (struct json *)(void *)root;
}

void json_free(struct json *root)
{
	json_decref((json_t *)(void *)root);
}

void json_auto_free(struct json **root)
{
	json_free(*root);
}

enum json_kind json_kind(const struct json *v)
{
	if (!v) {
		return JSON_NONE;
	}
	switch (json_typeof(in(v))) {
	case JANSSON_OBJECT:
		return JSON_OBJECT;
	case JANSSON_ARRAY:
		return JSON_ARRAY;
	case JANSSON_STRING:
		return JSON_STRING;
	case JSON_INTEGER:
		return JSON_INT;
	case JANSSON_REAL:
		return JSON_REAL;
	case JSON_TRUE:
	case JSON_FALSE:
		return JSON_BOOL;
	case JANSSON_NULL:
		return JSON_NULL;
	}
	return JSON_NONE;
}

const char *json_kind_name(enum json_kind kind)
{
	static const char *const names[] = {"nothing", "null", "a boolean", "an integer",
		"a number", "a string", "a list", "an object"};
	return names[kind];
}

const struct json *json_get(const struct json *object, const char *key)
{
	return json_kind(object) == JSON_OBJECT ? out(json_object_get(in(object), key)) : NULL;
}

const struct json *json_at(const struct json *array, size_t i)
{
	return json_kind(array) == JSON_ARRAY ? out(json_array_get(in(array), i)) : NULL;
}

size_t json_len(const struct json *v)
{
	switch (json_kind(v)) {
	case JSON_ARRAY:
		return json_array_size(in(v));
	case JSON_OBJECT:
		return json_object_size(in(v));
	default:
		return 0;
	}
}

const char *json_str(const struct json *v, size_t *out_len)
{
	if (json_kind(v) != JSON_STRING) {
		return NULL;
	}
	*out_len = json_string_length(in(v));
	return json_string_value(in(v));
}

const char *json_z(const struct json *v)
{
	size_t len;
	const char *s = json_str(v, &len);
	return s && strlen(s) == len ? s : NULL;
}

bool json_int(const struct json *v, int64_t *out_value)
{
	if (json_kind(v) != JSON_INT) {
		return false;
	}
	*out_value = json_integer_value(in(v));
	return true;
}

bool json_num(const struct json *v, double *out_value)
{
	if (json_kind(v) != JSON_INT && json_kind(v) != JSON_REAL) {
		return false;
	}
	*out_value = json_number_value(in(v));
	return true;
}

bool json_bool(const struct json *v, bool *out_value)
{
	if (json_kind(v) != JSON_BOOL) {
		return false;
	}
	*out_value = json_typeof(in(v)) == JSON_TRUE;
	return true;
}

void json_each(const struct json *object,
	void (*visit)(void *ctx, const char *key, const struct json *value), void *ctx)
{
	if (json_kind(object) != JSON_OBJECT) {
		return;
	}
	json_t *o = (json_t *)(void *)(uintptr_t)object;
	const char *key;
	json_t *value;
	json_object_foreach(o, key, value)
	{
		visit(ctx, key, out(value));
	}
}

static int append_to_str(const char *bytes, size_t len, void *s)
{
	str_append(s, bytes, len);
	return 0;
}

void json_dump(const struct json *v, bool sorted, struct str *s)
{
	json_dump_callback(in(v), append_to_str, s,
		JSON_COMPACT | JSON_ENCODE_ANY | (sorted ? JSON_SORT_KEYS : 0));
}

/* --- writing --- */

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
	before_value(w);
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	str_append(w->out, digits + at, sizeof(digits) - at);
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
