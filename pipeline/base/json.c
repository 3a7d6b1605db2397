/*
 * A recursive descent over a copy of the text, in which strings are decoded in place. Values are nodes of 32 bytes; those of a list or an
 * object lie side by side, so a list of token ids is an array of nodes. Children are collected on one stack and moved to the arena
 * when their parent is complete: no allocation a value. Most of a night's JSON is lists of ids, and reading them into a tree of single
 * allocations was more than half of the client's work (tests/bench: rate).
 *
 * Strict: RFC 8259, one value, valid UTF-8, no lone surrogates, no integer beyond 64 bits, no infinite number, no key twice.
 */
#include "base/json.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 512
#define STACK_ROOM \
	1024 /* values that the stack has room for from the beginning, in a text that could hold so many */
#define KEYS_LINEAR 12 /* so many keys are compared with each other; more are sorted */
#define EXACT_DIGITS 15 /* a number of so many digits is an exact double */
#define EXACT_POWER 22 /* and so is this power of ten, so one division gives the nearest double */

struct json {
	const char *key; /* in an object; NUL-terminated */
	union {
		int64_t integer;
		double real;
		const char *text; /* NUL-terminated */
		const struct json *items;
		bool truth;
	};
	uint32_t key_len;
	uint32_t n; /* bytes of a string, items of a list or an object */
	enum json_kind kind;
};

struct document {
	struct json root; /* first: json_free gets its address */
	struct arena arena;
};

struct reader {
	char *at, *end; /* *end is NUL */
	const char *start;
	struct arena *arena;
	struct json *stack; /* owns */
	size_t n, cap;
	unsigned depth;
	const char *wrong; /* NULL: fine; `at` is where */
};

static bool fail(struct reader *r, const char *wrong)
{
	r->wrong = r->wrong ? r->wrong : wrong;
	return false;
}

static void skip_blanks(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t') {
		r->at++;
	}
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* --- strings --- */

static bool read_hex(struct reader *r, uint32_t *out)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		char c = r->at[i];
		uint32_t digit = is_digit(c)     ? (uint32_t)(c - '0')
			: (c >= 'a' && c <= 'f') ? (uint32_t)(c - 'a') + 10
			: (c >= 'A' && c <= 'F') ? (uint32_t)(c - 'A') + 10
						 : 16;
		if (digit == 16) {
			return fail(r, "\\u is not followed by four hexadecimal digits");
		}
		v = v << 4 | digit;
	}
	r->at += 4;
	*out = v;
	return true;
}

static char *put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* Behind "\u"; an escape takes more bytes than what it stands for. */
static bool read_unicode(struct reader *r, char **to)
{
	uint32_t c, low;
	if (!read_hex(r, &c)) {
		return false;
	}
	if (c >= 0xdc00 && c <= 0xdfff) {
		return fail(r, "a low surrogate without a high one");
	}
	if (c >= 0xd800 && c <= 0xdbff) {
		if (r->at[0] != '\\' || r->at[1] != 'u') {
			return fail(r, "a high surrogate without a low one");
		}
		r->at += 2;
		if (!read_hex(r, &low)) {
			return false;
		}
		if (low < 0xdc00 || low > 0xdfff) {
			return fail(r, "a high surrogate without a low one");
		}
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	*to = put_utf8(*to, c);
	return true;
}

static bool read_escape(struct reader *r, char **to)
{
	static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	char c = *++r->at;
	if (c == 'u') {
		r->at++;
		return read_unicode(r, to);
	}
	const char *found = c ? strchr(escapes, c) : NULL;
	if (!found) {
		return fail(r, "an unknown escape");
	}
	*(*to)++ = meant[found - escapes];
	r->at++;
	return true;
}

/* Whether one of eight bytes is a quote, a backslash, below 0x20 or above 0x7f. May say so of bytes behind such a one. */
static bool has_special(const char *at)
{
	const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
	uint64_t v, quote, slash;
	memcpy(&v, at, sizeof(v));
	quote = v ^ ones * '"';
	slash = v ^ ones * '\\';
	return (((quote - ones) | (slash - ones) | (v - ones * 0x20) | v) & highs) != 0;
}

/* Over bytes that stand for themselves, eight at a time; *to is where they belong. */
static void skip_plain(struct reader *r, char **to)
{
	char *from = r->at;
	while (r->end - r->at >= 8 && !has_special(r->at)) {
		r->at += 8;
	}
	if (*to != from) {
		memmove(*to, from, (size_t)(r->at - from));
	}
	*to += r->at - from;
}

/* At the opening quote. What was decoded stands where the text stood, with a NUL behind it. */
static bool read_string(struct reader *r, const char **out, uint32_t *out_len)
{
	char *to = ++r->at, *from = to;
	for (;;) {
		skip_plain(r, &to);
		unsigned char c = (unsigned char)*r->at;
		if (c == '"') {
			break;
		}
		if (c == '\\') {
			if (!read_escape(r, &to)) {
				return false;
			}
		} else if (c < 0x20) {
			return fail(r,
				r->at == r->end ? "a string without an end"
						: "a control character in a string");
		} else if (c < 0x80) {
			*to++ = *r->at++;
		} else {
			uint32_t code;
			unsigned n = utf8_decode(r->at, (size_t)(r->end - r->at), &code);
			if (!n) {
				return fail(r, "bytes that are not UTF-8");
			}
			memmove(to, r->at, n);
			to += n;
			r->at += n;
		}
	}
	r->at++;
	*to = '\0';
	*out = from;
	*out_len = (uint32_t)(to - from);
	return true;
}

/* --- numbers --- */

/* The text of a number from `from`, which is known to be well formed. */
static bool read_real(struct reader *r, char *from, struct json *v)
{
	char behind = *r->at;
	*r->at = '\0';
	bool ok = text_parse_double(from, &v->real);
	*r->at = behind;
	v->kind = JSON_REAL;
	return ok || fail(r, "a number beyond what a double holds");
}

/* "0.25", "-1.5": digits that make an exact integer, over an exact power of ten. */
static bool read_short_real(struct json *v, bool minus, uint64_t digits, size_t n, size_t n_behind)
{
	static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	if (n > EXACT_DIGITS || n_behind > EXACT_POWER) {
		return false;
	}
	double value = (double)digits / powers[n_behind];
	v->kind = JSON_REAL;
	v->real = minus ? -value : value;
	return true;
}

static uint64_t skip_digits(struct reader *r, uint64_t value)
{
	while (is_digit(*r->at)) {
		value = value * 10 + (uint64_t)(*r->at++ - '0');
	}
	return value;
}

static bool read_integer(struct reader *r, bool minus, uint64_t digits, size_t n, struct json *v)
{
	uint64_t limit = (uint64_t)INT64_MAX + minus;
	/* 19 digits do not overflow 64 bits. */
	if (n > 19 || digits > limit) {
		return fail(r, "an integer beyond 64 bits");
	}
	v->kind = JSON_INT;
	v->integer = minus ? (int64_t)(0 - digits) : (int64_t)digits;
	return true;
}

static bool read_number(struct reader *r, struct json *v)
{
	char *from = r->at;
	bool minus = *r->at == '-';
	r->at += minus;
	char *first = r->at;
	uint64_t digits = skip_digits(r, 0);
	size_t n = (size_t)(r->at - first), n_behind = 0;
	if (!n || (n > 1 && *first == '0')) {
		return fail(r, "no value");
	}
	if (*r->at == '.') {
		char *point = ++r->at;
		digits = skip_digits(r, digits);
		n_behind = (size_t)(r->at - point);
		if (!n_behind) {
			return fail(r, "no digit behind the point");
		}
	}
	if (*r->at == 'e' || *r->at == 'E') {
		r->at++;
		r->at += *r->at == '+' || *r->at == '-';
		if (!is_digit(*r->at)) {
			return fail(r, "no digit in the exponent");
		}
		skip_digits(r, 0);
		return read_real(r, from, v);
	}
	if (!n_behind) {
		return read_integer(r, minus, digits, n, v);
	}
	return read_short_real(v, minus, digits, n + n_behind, n_behind) || read_real(r, from, v);
}

/* --- lists and objects --- */

static bool read_value(struct reader *r, struct json *v);

static inline void push(struct reader *r, const struct json *v)
{
	if (r->n == r->cap) {
		r->stack = array_room(r->stack, r->n, &r->cap, sizeof(*r->stack));
	}
	r->stack[r->n++] = *v;
}

/* What lies on the stack from `from` on becomes v's. */
static bool take_items(struct reader *r, size_t from, struct json *v)
{
	size_t n = r->n - from;
	if (n > UINT32_MAX) {
		return fail(r, "too many values");
	}
	r->n = from;
	v->items = arena_memdup(r->arena, r->stack + from, n * sizeof(*r->stack));
	v->n = (uint32_t)n;
	return true;
}

/* Most items are token ids: short integers with a comma behind. Takes what it finds of them and leaves the rest to read_value. */
static void read_short_integers(struct reader *r)
{
	for (;;) {
		char *at = r->at;
		int64_t value = 0;
		while (is_digit(*at) && at - r->at < 18) {
			value = value * 10 + (*at++ - '0');
		}
		if (at == r->at || *at != ',' || (*r->at == '0' && at - r->at > 1)) {
			return;
		}
		push(r, &(struct json){.kind = JSON_INT, .integer = value});
		r->at = at + 1;
	}
}

static bool read_list(struct reader *r, struct json *v)
{
	size_t from = r->n;
	v->kind = JSON_ARRAY;
	r->at++;
	skip_blanks(r);
	if (*r->at == ']') {
		r->at++;
		return take_items(r, from, v);
	}
	for (;;) {
		struct json item = {0};
		read_short_integers(r);
		if (!read_value(r, &item)) {
			return false;
		}
		push(r, &item);
		skip_blanks(r);
		if (*r->at == ']') {
			r->at++;
			return take_items(r, from, v);
		}
		if (*r->at != ',') {
			return fail(r, "',' or ']' is missing");
		}
		r->at++;
	}
}

static int compare_keys(const void *a, const void *b)
{
	const struct json *x = *(const struct json *const *)a, *y = *(const struct json *const *)b;
	int order = memcmp(x->key, y->key, MIN(x->key_len, y->key_len));
	return order ? order : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

/* Pointers to an object's members in the order of their keys; malloc'd. */
static const struct json **sorted(const struct json *items, size_t n)
{
	const struct json **list = xreallocarray(NULL, MAX(n, 1), sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		list[i] = &items[i];
	}
	qsort(list, n, sizeof(*list), compare_keys);
	return list;
}

static bool same_key(const struct json *a, const struct json *b)
{
	return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0;
}

static bool has_key_twice(const struct json *items, size_t n)
{
	bool twice = false;
	if (n <= KEYS_LINEAR) {
		for (size_t i = 1; i < n; i++) {
			for (size_t k = 0; k < i; k++) {
				twice |= same_key(&items[i], &items[k]);
			}
		}
		return twice;
	}
	AUTO_FREE const struct json **list = sorted(items, n);
	for (size_t i = 1; i < n; i++) {
		twice |= same_key(list[i - 1], list[i]);
	}
	return twice;
}

static bool read_member(struct reader *r)
{
	struct json item = {0};
	const char *key;
	uint32_t key_len;
	skip_blanks(r);
	if (*r->at != '"') {
		return fail(r, "a key in quotes is missing");
	}
	if (!read_string(r, &key, &key_len)) {
		return false;
	}
	if (memchr(key, '\0', key_len)) {
		return fail(r, "a key with a NUL");
	}
	skip_blanks(r);
	if (*r->at != ':') {
		return fail(r, "':' is missing");
	}
	r->at++;
	if (!read_value(r, &item)) {
		return false;
	}
	item.key = key;
	item.key_len = key_len;
	push(r, &item);
	return true;
}

static bool read_object(struct reader *r, struct json *v)
{
	size_t from = r->n;
	v->kind = JSON_OBJECT;
	r->at++;
	skip_blanks(r);
	if (*r->at == '}') {
		r->at++;
		return take_items(r, from, v);
	}
	for (;;) {
		if (!read_member(r)) {
			return false;
		}
		skip_blanks(r);
		if (*r->at == '}') {
			r->at++;
			break;
		}
		if (*r->at != ',') {
			return fail(r, "',' or '}' is missing");
		}
		r->at++;
	}
	if (!take_items(r, from, v)) {
		return false;
	}
	return !has_key_twice(v->items, v->n) || fail(r, "an object with the same key twice");
}

static bool read_word(struct reader *r, const char *word, size_t len)
{
	if (strncmp(r->at, word, len) != 0) {
		return fail(r, "no value");
	}
	r->at += len;
	return true;
}

static bool read_nested(struct reader *r, struct json *v)
{
	if (++r->depth > DEPTH_MAX) {
		return fail(r, "too many brackets in each other");
	}
	bool ok = *r->at == '[' ? read_list(r, v) : read_object(r, v);
	r->depth--;
	return ok;
}

static bool read_value(struct reader *r, struct json *v)
{
	skip_blanks(r);
	switch (*r->at) {
	case '{':
	case '[':
		return read_nested(r, v);
	case '"':
		v->kind = JSON_STRING;
		return read_string(r, &v->text, &v->n);
	case 't':
	case 'f':
		v->kind = JSON_BOOL;
		v->truth = *r->at == 't';
		return v->truth ? read_word(r, "true", 4) : read_word(r, "false", 5);
	case 'n':
		v->kind = JSON_NULL;
		return read_word(r, "null", 4);
	default:
		return read_number(r, v);
	}
}

/* --- the whole --- */

/* Decoding shortens what it has passed, and what is wrong is where it stopped; lines are counted in the text as it came. */
static void tell(const struct reader *r, const char *text, struct error *err)
{
	size_t at = (size_t)(r->at - r->start);
	unsigned long line = 1, column = 1;
	for (size_t i = 0; i < at; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	error_set(err, FAIL_DATA, "not JSON: %s (line %lu, column %lu)", r->wrong, line, column);
}

struct json *json_parse(const char *text, size_t len, struct error *err)
{
	if (len >= UINT32_MAX) {
		error_set(err, FAIL_DATA, "not JSON: a text of 4 GiB or more");
		return NULL;
	}
	struct document *doc = xcalloc(1, sizeof(*doc));
	struct reader r = {.arena = &doc->arena, .cap = MIN(len / 4 + 1, STACK_ROOM)};
	r.stack = xreallocarray(NULL, r.cap, sizeof(*r.stack));
	r.start = r.at = len ? arena_memdup0(r.arena, text, len) : arena_memdup0(r.arena, "", 0);
	r.end = r.at + len;
	bool ok = read_value(&r, &doc->root);
	if (ok) {
		skip_blanks(&r);
		ok = r.at == r.end || fail(&r, "something behind the value");
	}
	free(r.stack);
	if (!ok) {
		tell(&r, text, err);
		json_free(&doc->root);
		return NULL;
	}
	return &doc->root;
}

void json_free(struct json *root)
{
	if (root) {
		struct document *doc = (struct document *)(void *)root;
		arena_release(&doc->arena);
		free(doc);
	}
}

void json_auto_free(struct json **root)
{
	json_free(*root);
}

/* --- looking --- */

enum json_kind json_kind(const struct json *v)
{
	return v ? v->kind : JSON_NONE;
}

const char *json_kind_name(enum json_kind kind)
{
	static const char *const names[] = {"nothing", "null", "a boolean", "an integer",
		"a number", "a string", "a list", "an object"};
	return names[kind];
}

const struct json *json_get(const struct json *object, const char *key)
{
	size_t len = strlen(key);
	for (size_t i = 0; json_kind(object) == JSON_OBJECT && i < object->n; i++) {
		const struct json *item = &object->items[i];
		if (item->key_len == len && memcmp(item->key, key, len) == 0) {
			return item;
		}
	}
	return NULL;
}

const struct json *json_at(const struct json *array, size_t i)
{
	return json_kind(array) == JSON_ARRAY && i < array->n ? &array->items[i] : NULL;
}

size_t json_len(const struct json *v)
{
	return json_kind(v) == JSON_ARRAY || json_kind(v) == JSON_OBJECT ? v->n : 0;
}

const char *json_str(const struct json *v, size_t *out_len)
{
	if (json_kind(v) != JSON_STRING) {
		return NULL;
	}
	*out_len = v->n;
	return v->text;
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
	*out_value = v->integer;
	return true;
}

bool json_num(const struct json *v, double *out_value)
{
	if (json_kind(v) != JSON_INT && json_kind(v) != JSON_REAL) {
		return false;
	}
	*out_value = v->kind == JSON_INT ? (double)v->integer : v->real;
	return true;
}

bool json_bool(const struct json *v, bool *out_value)
{
	if (json_kind(v) != JSON_BOOL) {
		return false;
	}
	*out_value = v->truth;
	return true;
}

void json_each(const struct json *object,
	void (*visit)(void *ctx, const char *key, const struct json *value), void *ctx)
{
	for (size_t i = 0; json_kind(object) == JSON_OBJECT && i < object->n; i++) {
		visit(ctx, object->items[i].key, &object->items[i]);
	}
}

/* --- dumping --- */

static void dump_text(const char *text, size_t len, struct str *s)
{
	static const char escapes[] = "btnvfr"; /* 8 to 13; \v has no short form */
	str_append_c(s, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"' || c == '\\') {
			str_append_c(s, '\\');
			str_append_c(s, (char)c);
		} else if (c >= 8 && c <= 13 && c != 11) {
			str_append_c(s, '\\');
			str_append_c(s, escapes[c - 8]);
		} else if (c < 0x20) {
			str_printf(s, "\\u%04X", c);
		} else {
			str_append_c(s, (char)c);
		}
	}
	str_append_c(s, '"');
}

/* 17 digits, a point or an exponent, and no more of the exponent than it needs: hashes of rows rest on it. */
static void dump_real(double v, struct str *s)
{
	char text[40];
	snprintf(text, sizeof(text), "%.17g", v);
	char *e = strchr(text, 'e');
	if (!e) {
		str_append_z(s, text);
		str_append_z(s, strchr(text, '.') ? "" : ".0");
		return;
	}
	char *digits = e + 1;
	str_append(s, text, (size_t)(digits - text));
	if (*digits == '-') {
		str_append_c(s, '-');
	}
	digits++;
	while (*digits == '0' && digits[1]) {
		digits++;
	}
	str_append_z(s, digits);
}

static void dump_members(const struct json *v, bool in_order, struct str *s)
{
	AUTO_FREE const struct json **list = in_order ? sorted(v->items, v->n) : NULL;
	str_append_c(s, '{');
	for (size_t i = 0; i < v->n; i++) {
		const struct json *item = list ? list[i] : &v->items[i];
		if (i) {
			str_append_c(s, ',');
		}
		dump_text(item->key, item->key_len, s);
		str_append_c(s, ':');
		json_dump(item, in_order, s);
	}
	str_append_c(s, '}');
}

static void dump_items(const struct json *v, bool in_order, struct str *s)
{
	str_append_c(s, '[');
	for (size_t i = 0; i < v->n; i++) {
		if (i) {
			str_append_c(s, ',');
		}
		json_dump(&v->items[i], in_order, s);
	}
	str_append_c(s, ']');
}

void json_dump(const struct json *v, bool in_order, struct str *s)
{
	switch (json_kind(v)) {
	case JSON_NONE:
		break;
	case JSON_NULL:
		str_append_z(s, "null");
		break;
	case JSON_BOOL:
		str_append_z(s, v->truth ? "true" : "false");
		break;
	case JSON_INT:
		str_printf(s, "%" PRId64, v->integer);
		break;
	case JSON_REAL:
		dump_real(v->real, s);
		break;
	case JSON_STRING:
		dump_text(v->text, v->n, s);
		break;
	case JSON_ARRAY:
		dump_items(v, in_order, s);
		break;
	case JSON_OBJECT:
		dump_members(v, in_order, s);
		break;
	}
}
