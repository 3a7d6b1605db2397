/*
 * JSON, read and written.
 *
 * Reading gives a tree; values are borrowed from the root and die with json_free(root). Accessors take NULL and wrong kinds
 * and answer "absent" (NULL, 0, false), so a chain of lookups needs one check at its end.
 */
#ifndef PIPELINE_BASE_JSON_H
#define PIPELINE_BASE_JSON_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

struct json; /* a value */

enum json_kind {
	JSON_NONE,
	JSON_NULL,
	JSON_BOOL,
	JSON_INT,
	JSON_REAL,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

/* One value and nothing after it; FAIL_DATA with line and column of the text in the message. NULs in strings are kept. Duplicate keys are refused. */
MUST_CHECK struct json *json_parse(const char *text, size_t len, struct error *err);
void json_free(struct json *root);
void json_auto_free(struct json **root);
#define AUTO_JSON AUTO(json_auto_free)

enum json_kind json_kind(const struct json *v);
const char *json_kind_name(enum json_kind kind);
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_at(const struct json *array, size_t i);
size_t json_len(const struct json *array_or_object);
/* NULL if v is no string. */
const char *json_str(const struct json *v, size_t *out_len);
/* NUL-terminated; NULL if v is no string or has a NUL in it. */
const char *json_z(const struct json *v);
bool json_int(const struct json *v, int64_t *out);
/* INT or REAL. */
bool json_num(const struct json *v, double *out);
bool json_bool(const struct json *v, bool *out);
/* Visits members in insertion order. */
void json_each(const struct json *object,
	void (*visit)(void *ctx, const char *key, const struct json *value), void *ctx);
/* Appends the value as compact JSON; keys sorted when `sorted`. */
void json_dump(const struct json *v, bool sorted, struct str *out);

/* Writing: appends to a str and keeps track of commas. Zero-initialise, set out. */
struct json_writer {
	struct str *out; /* borrows */
	bool need_comma;
	unsigned depth;
	bool python; /* ", " and ": " as separators, as Python's json.dumps writes */
};
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
/* Invalid UTF-8 becomes U+FFFD. */
void json_put_str(struct json_writer *w, const char *bytes, size_t len);
void json_put_z(struct json_writer *w, const char *z); /* NULL writes null */
void json_put_int(struct json_writer *w, int64_t v);
void json_put_uint(struct json_writer *w, uint64_t v);
void json_put_num(struct json_writer *w,
	double v); /* shortest that reads back; NaN and infinities write null */
void json_put_bool(struct json_writer *w, bool v);
void json_put_null(struct json_writer *w);
/* Verbatim JSON text. */
void json_put_raw(struct json_writer *w, const char *json, size_t len);
/* A key and its value. */
void json_member_z(struct json_writer *w, const char *key, const char *z);
void json_member_int(struct json_writer *w, const char *key, int64_t v);
void json_member_uint(struct json_writer *w, const char *key, uint64_t v);
void json_member_num(struct json_writer *w, const char *key, double v);
void json_member_bool(struct json_writer *w, const char *key, bool v);

#endif
