/*
 * One table of dtypes, one of scalar names, and a small parser for "ndarray:DTYPE:D0,D1". Whatever comes from a file is
 * checked against the bytes that are there before anything is read or allocated; showing a value never fails.
 */
#include "shard/encoding.h"

#include "base/json.h"
#include "base/text.h"
#include "shard/le.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned bytes;
	unsigned char code; /* in the values of plain "ndarray" */
} dtypes[MDS_N_DTYPES] = {
	[MDS_UINT8] = {"uint8", 1, 8},
	[MDS_INT8] = {"int8", 1, 9},
	[MDS_UINT16] = {"uint16", 2, 16},
	[MDS_INT16] = {"int16", 2, 17},
	[MDS_UINT32] = {"uint32", 4, 32},
	[MDS_INT32] = {"int32", 4, 33},
	[MDS_UINT64] = {"uint64", 8, 64},
	[MDS_INT64] = {"int64", 8, 65},
	[MDS_FLOAT16] = {"float16", 2, 18},
	[MDS_FLOAT32] = {"float32", 4, 34},
	[MDS_FLOAT64] = {"float64", 8, 66},
};

const char *mds_dtype_name(enum mds_dtype dtype)
{
	return dtypes[dtype].name;
}

unsigned mds_dtype_bytes(enum mds_dtype dtype)
{
	return dtypes[dtype].bytes;
}

static bool find_dtype(const char *name, size_t len, enum mds_dtype *out)
{
	for (int i = 0; i < MDS_N_DTYPES; i++) {
		if (strlen(dtypes[i].name) == len && memcmp(dtypes[i].name, name, len) == 0) {
			*out = i;
			return true;
		}
	}
	return false;
}

/* --- names --- */

static bool parse_shape(const char *s, struct mds_encoding *e, struct error *err, const char *name)
{
	uint64_t n = 1;
	while (true) {
		uint64_t dim = 0;
		size_t digits = strspn(s, "0123456789");
		if (!digits || digits > 10 || e->n_dims == MDS_DIMS_MAX) {
			return error_set(
				err, FAIL_DATA, "encoding '%.64s' has a malformed shape", name);
		}
		for (size_t i = 0; i < digits; i++) {
			dim = dim * 10 + (uint64_t)(s[i] - '0');
		}
		/* Two factors below 2^32: the product cannot wrap before it is looked at. */
		if (!dim || dim > UINT32_MAX || n * mds_dtype_bytes(e->dtype) * dim > UINT32_MAX) {
			return error_set(err, FAIL_DATA,
				"encoding '%.64s' has a shape that no value can have", name);
		}
		n *= dim;
		e->dims[e->n_dims++] = (uint32_t)dim;
		s += digits;
		if (!*s) {
			break;
		}
		if (*s++ != ',') {
			return error_set(
				err, FAIL_DATA, "encoding '%.64s' has a malformed shape", name);
		}
	}
	e->fixed_bytes = (uint32_t)(n * mds_dtype_bytes(e->dtype));
	return true;
}

static bool parse_ndarray(const char *name, struct mds_encoding *e, struct error *err)
{
	const char *s = name + strlen("ndarray");
	e->kind = MDS_NDARRAY;
	e->dtype_in_value = e->shape_in_value = true;
	if (!*s) {
		return true;
	}
	size_t len = strcspn(s + 1, ":");
	if (!find_dtype(s + 1, len, &e->dtype)) {
		return error_set(err, FAIL_DATA, "encoding '%.64s' has an unknown dtype", name);
	}
	e->dtype_in_value = false;
	s += 1 + len;
	if (!*s) {
		return true;
	}
	e->shape_in_value = false;
	return parse_shape(s + 1, e, err, name);
}

bool mds_encoding_parse(const char *name, struct mds_encoding *out, struct error *err)
{
	static const struct {
		const char *name;
		enum mds_kind kind;
	} plain[] = {{"bytes", MDS_BYTES}, {"str", MDS_STR}, {"json", MDS_JSON},
		{"pkl", MDS_PICKLE}, {"str_int", MDS_DECIMAL}, {"str_float", MDS_DECIMAL},
		{"str_decimal", MDS_DECIMAL}, {"pil", MDS_IMAGE}, {"jpeg", MDS_IMAGE},
		{"png", MDS_IMAGE}, {"list[pil]", MDS_IMAGE}, {"list[jpeg]", MDS_IMAGE},
		{"list[png]", MDS_IMAGE}, {"jpeg_array", MDS_IMAGE}, {"jpegarray", MDS_IMAGE}};
	struct mds_encoding e = {.kind = MDS_UNKNOWN};
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		if (strcmp(name, plain[i].name) == 0) {
			e.kind = plain[i].kind;
		}
	}
	bool is_int = strcmp(name, "int") == 0;
	if (is_int || find_dtype(name, strlen(name), &e.dtype)) {
		e.dtype = is_int ? MDS_INT64 : e.dtype;
		e.kind = MDS_SCALAR;
		e.fixed_bytes = mds_dtype_bytes(e.dtype);
	} else if (strcmp(name, "ndarray") == 0 || strncmp(name, "ndarray:", 8) == 0) {
		if (!parse_ndarray(name, &e, err)) {
			return false;
		}
	}
	*out = e;
	return true;
}

/* --- writing --- */

static unsigned width_of(size_t n)
{
	return n <= UINT8_MAX ? 0 : n <= UINT16_MAX ? 1 : n <= UINT32_MAX ? 2 : 3;
}

size_t mds_array_header(size_t n, char out[MDS_ARRAY_HEADER_MAX])
{
	unsigned width = width_of(n);
	uint64_t dim = n;
	assert(n > 0);
	out[0] = (char)(1 << 2 | width);
	memcpy(out + 1, &dim, (size_t)1 << width);
	return 1 + ((size_t)1 << width);
}

size_t mds_array_bytes(enum mds_dtype dtype, size_t n)
{
	return 1 + ((size_t)1 << width_of(n)) + n * mds_dtype_bytes(dtype);
}

void mds_put_array(struct str *out, enum mds_dtype dtype, const void *values, size_t n)
{
	char header[MDS_ARRAY_HEADER_MAX];
	str_append(out, header, mds_array_header(n, header));
	str_append(out, values, n * mds_dtype_bytes(dtype));
}

/* --- reading --- */

static bool bad_shape(struct slice value, struct error *err)
{
	return error_set(
		err, FAIL_DATA, "an array whose shape does not fit into its %zu bytes", value.len);
}

/* Multiplies one dimension in. No value has more elements than bytes, so nothing wraps. */
static bool add_dim(uint64_t dim, struct slice value, uint64_t *n)
{
	if (!dim || dim > value.len || *n * dim > value.len) {
		return false;
	}
	*n *= dim;
	return true;
}

static bool read_shape(
	struct slice value, size_t *at, unsigned *out_n_dims, uint64_t *out_n, struct error *err)
{
	if (*at >= value.len) {
		return error_set(err, FAIL_DATA, "an array without its shape");
	}
	unsigned head = (unsigned char)value.data[(*at)++];
	unsigned width = 1u << (head & 3), n_dims = head >> 2;
	if (!n_dims || n_dims > MDS_DIMS_MAX || (size_t)n_dims * width > value.len - *at) {
		return bad_shape(value, err);
	}
	for (unsigned i = 0; i < n_dims; i++) {
		uint64_t dim = 0;
		memcpy(&dim, value.data + *at, width);
		*at += width;
		if (!add_dim(dim, value, out_n)) {
			return bad_shape(value, err);
		}
	}
	*out_n_dims = n_dims;
	return true;
}

static bool static_shape(const struct mds_encoding *e, struct slice value, unsigned *out_n_dims,
	uint64_t *out_n, struct error *err)
{
	for (unsigned i = 0; i < e->n_dims; i++) {
		if (!add_dim(e->dims[i], value, out_n)) {
			return bad_shape(value, err);
		}
	}
	*out_n_dims = e->n_dims;
	return true;
}

static int dtype_of_code(struct slice value)
{
	for (int i = 0; value.len && i < MDS_N_DTYPES; i++) {
		if (dtypes[i].code == (unsigned char)value.data[0]) {
			return i;
		}
	}
	return -1;
}

bool mds_array_decode(
	const struct mds_encoding *e, struct slice value, struct mds_array *out, struct error *err)
{
	struct mds_array a = {.dtype = e->dtype};
	uint64_t n = 1;
	size_t at = 0;
	assert(e->kind == MDS_NDARRAY || e->kind == MDS_SCALAR);
	if (e->kind == MDS_NDARRAY && e->dtype_in_value) {
		int found = dtype_of_code(value);
		if (found < 0) {
			return error_set(err, FAIL_DATA, "an array of an unknown dtype");
		}
		a.dtype = found;
		at = 1;
	}
	if (!(e->kind == MDS_NDARRAY && e->shape_in_value
			    ? read_shape(value, &at, &a.n_dims, &n, err)
			    : static_shape(e, value, &a.n_dims, &n, err))) {
		return false;
	}
	if (n * mds_dtype_bytes(a.dtype) != value.len - at) {
		return error_set(err, FAIL_DATA, "an array of %llu values in %zu bytes",
			(unsigned long long)n, value.len);
	}
	a.n = (size_t)n;
	a.data = value.data + at;
	*out = a;
	return true;
}

static double half_to_double(uint16_t h)
{
	unsigned exponent = h >> 10 & 31, mantissa = h & 0x3ff;
	double v = exponent == 31 ? (mantissa ? NAN : INFINITY)
		: exponent        ? ldexp(mantissa + 1024.0, (int)exponent - 25)
				  : ldexp(mantissa, -24);
	return h & 0x8000 ? -v : v;
}

double mds_array_double(const struct mds_array *array, size_t i)
{
	const char *p = array->data + i * mds_dtype_bytes(array->dtype);
	float f;
	double d;
	switch (array->dtype) {
	case MDS_FLOAT16:
		return half_to_double(le16_get(p));
	case MDS_FLOAT32:
		memcpy(&f, p, sizeof(f));
		return (double)f;
	case MDS_FLOAT64:
		memcpy(&d, p, sizeof(d));
		return d;
	case MDS_UINT64:
		return (double)le64_get(p);
	default:
		return (double)(int64_t)mds_array_u64(array, i);
	}
}

/* A column that should hold integers may hold floats in a folder of unknown origin; a bare cast would be undefined for most. */
static uint64_t double_to_u64(double v)
{
	return v >= 0 && v < 0x1p64 ? (uint64_t)v : 0;
}

uint64_t mds_array_u64(const struct mds_array *array, size_t i)
{
	const char *p = array->data + i * mds_dtype_bytes(array->dtype);
	switch (array->dtype) {
	case MDS_UINT8:
		return (unsigned char)*p;
	case MDS_INT8:
		return (uint64_t)(int64_t)(signed char)*p;
	case MDS_UINT16:
		return le16_get(p);
	case MDS_INT16:
		return (uint64_t)(int64_t)(int16_t)le16_get(p);
	case MDS_UINT32:
		return le32_get(p);
	case MDS_INT32:
		return (uint64_t)(int64_t)(int32_t)le32_get(p);
	case MDS_UINT64:
	case MDS_INT64:
		return le64_get(p);
	default:
		return double_to_u64(mds_array_double(array, i));
	}
}

bool mds_value_check(const struct mds_encoding *e, struct slice value, struct error *err)
{
	struct mds_array array;
	switch (e->kind) {
	case MDS_STR:
		return utf8_valid(value.data, value.len) ||
			error_set(err, FAIL_DATA, "a text that is not UTF-8");
	case MDS_JSON: {
		AUTO_JSON struct json *root = json_parse(value.data, value.len, err);
		return root != NULL;
	}
	case MDS_NDARRAY:
	case MDS_SCALAR:
		return mds_array_decode(e, value, &array, err);
	case MDS_DECIMAL:
		for (size_t i = 0; i < value.len; i++) {
			if (!memchr("0123456789+-.eEinfaNIty", value.data[i], 23)) {
				return error_set(err, FAIL_DATA, "a number that is no number");
			}
		}
		return value.len > 0 || error_set(err, FAIL_DATA, "an empty number");
	default:
		return true;
	}
}

static void put_number(struct str *out, const struct mds_array *a, size_t i)
{
	bool is_float = a->dtype == MDS_FLOAT16 || a->dtype == MDS_FLOAT32 ||
		a->dtype == MDS_FLOAT64;
	bool is_signed = a->dtype == MDS_INT8 || a->dtype == MDS_INT16 || a->dtype == MDS_INT32 ||
		a->dtype == MDS_INT64;
	if (is_float) {
		str_printf(out, "%.6g", mds_array_double(a, i));
	} else if (is_signed) {
		str_printf(out, "%" PRId64, (int64_t)mds_array_u64(a, i));
	} else {
		str_printf(out, "%" PRIu64, mds_array_u64(a, i));
	}
}

static void put_bytes(struct str *out, struct slice value, size_t max_bytes)
{
	str_printf(out, "(%zu bytes) ", value.len);
	for (size_t i = 0; i < value.len && 2 * i < max_bytes; i++) {
		str_printf(out, "%02x", (unsigned char)value.data[i]);
	}
}

/* Not within a character, whose first bytes would be shown as damage. */
static size_t text_cut(struct slice text, size_t max_bytes)
{
	size_t len = MIN(text.len, max_bytes);
	while (len && len < text.len && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
		len--;
	}
	return len;
}

void mds_value_format(
	const struct mds_encoding *e, struct slice value, size_t max_bytes, struct str *out)
{
	struct error err;
	struct mds_array a;
	size_t start = out->len;
	bool good = mds_value_check(e, value, &err);
	if (good && (e->kind == MDS_NDARRAY || e->kind == MDS_SCALAR) &&
		mds_array_decode(e, value, &a, &err)) {
		str_append_z(out, a.n_dims ? "[" : "");
		for (size_t i = 0; i < a.n && out->len - start < max_bytes; i++) {
			str_append_z(out, i ? ", " : "");
			put_number(out, &a, i);
		}
		str_append_z(out, a.n_dims ? "]" : "");
		if (a.n_dims) {
			str_printf(out, " %s x %zu", mds_dtype_name(a.dtype), a.n);
		}
	} else if (good && (e->kind == MDS_STR || e->kind == MDS_JSON || e->kind == MDS_DECIMAL)) {
		text_put_printable(out, value.data, text_cut(value, max_bytes), false);
	} else {
		put_bytes(out, value, max_bytes);
	}
}

void mds_value_json(const struct mds_encoding *e, struct slice value, struct json_writer *w)
{
	struct error err;
	struct mds_array a;
	bool good = mds_value_check(e, value, &err);
	if (good && (e->kind == MDS_NDARRAY || e->kind == MDS_SCALAR) &&
		mds_array_decode(e, value, &a, &err)) {
		if (a.n_dims) {
			json_begin_array(w); /* flat: the shape is the column's affair */
		}
		for (size_t i = 0; i < a.n; i++) {
			struct str number;
			str_init(&number, 64);
			put_number(&number, &a, i);
			bool finite = isfinite(mds_array_double(&a, i));
			json_put_raw(w, finite ? number.data : "null", finite ? number.len : 4);
			str_release(&number);
		}
		if (a.n_dims) {
			json_end_array(w);
		}
	} else if (good && (e->kind == MDS_STR || e->kind == MDS_DECIMAL)) {
		json_put_str(w, value.data, value.len);
	} else if (good && e->kind == MDS_JSON) {
		json_put_raw(w, value.data, value.len);
	} else {
		char hex[65] = "";
		for (size_t i = 0; i < value.len && i < 32; i++) {
			snprintf(hex + 2 * i, 3, "%02x", (unsigned char)value.data[i]);
		}
		json_begin_object(w);
		json_member_uint(w, "bytes", value.len);
		json_member_z(w, "hex", hex);
		json_end_object(w);
	}
}
