/*
 * The encodings of MDS columns: what the name in `column_encodings` says about the bytes of a value.
 *
 * Writing, for a variable vector of token ids and a fixed scalar:
 *
 *	mds_put_array(&buf, MDS_UINT16, ids, n);		// column "tokens", "ndarray:uint16"
 *	values[1] = mds_scalar(&score, sizeof(score));		// column "score", "float32"
 *
 * Reading: mds_encoding_parse once a column, then mds_array_decode for numbers or mds_value_format for people.
 */
#ifndef PIPELINE_SHARD_ENCODING_H
#define PIPELINE_SHARD_ENCODING_H

#include "base/error.h"
#include "base/str.h"

#include <stdint.h>

#define MDS_DIMS_MAX 63 /* of an array; six bits of the shape header */

enum mds_dtype {
	MDS_UINT8,
	MDS_INT8,
	MDS_UINT16,
	MDS_INT16,
	MDS_UINT32,
	MDS_INT32,
	MDS_UINT64,
	MDS_INT64,
	MDS_FLOAT16,
	MDS_FLOAT32,
	MDS_FLOAT64,
	MDS_N_DTYPES
};

enum mds_kind {
	MDS_UNKNOWN, /* shown as bytes */
	MDS_BYTES,
	MDS_STR,
	MDS_SCALAR, /* int, uint8 ... float64 */
	MDS_DECIMAL, /* a number as text: str_int, str_float, str_decimal */
	MDS_JSON,
	MDS_NDARRAY, /* dtype or shape may stand in the value instead of the name */
	MDS_PICKLE, /* a program, not data: never decoded */
	MDS_IMAGE
};

struct mds_encoding {
	enum mds_kind kind;
	enum mds_dtype dtype; /* of MDS_SCALAR, and of MDS_NDARRAY unless dtype_in_value */
	bool dtype_in_value, shape_in_value;
	unsigned n_dims; /* of a static shape */
	uint32_t dims[MDS_DIMS_MAX];
	uint32_t fixed_bytes; /* 0: variable, a length precedes the value */
};

/* False if the name is malformed (an unknown dtype, a shape of 2^32 bytes); a name we do not know is MDS_UNKNOWN and true. */
MUST_CHECK bool mds_encoding_parse(const char *name, struct mds_encoding *out, struct error *err);

const char *mds_dtype_name(enum mds_dtype dtype);
unsigned mds_dtype_bytes(enum mds_dtype dtype);

/* Appends a vector: shape header and values, the value of a column "ndarray:DTYPE". MDS has no empty arrays: n > 0. */
void mds_put_array(struct str *out, enum mds_dtype dtype, const void *values, size_t n);
/* What stands before the values of a vector; returns its length. */
#define MDS_ARRAY_HEADER_MAX 9
size_t mds_array_header(size_t n, char out[MDS_ARRAY_HEADER_MAX]);
/* Bytes that mds_put_array appends. */
size_t mds_array_bytes(enum mds_dtype dtype, size_t n);
/* A scalar where it lies; borrows. */
static inline struct slice mds_scalar(const void *value, size_t bytes)
{
	return (struct slice){(const char *)value, bytes};
}

struct mds_array {
	enum mds_dtype dtype;
	unsigned n_dims;
	size_t n; /* of all elements; in C order */
	const char *data; /* borrows from the value, at any alignment */
};

/* For MDS_NDARRAY and MDS_SCALAR (one element, no dimensions). FAIL_DATA if header and length disagree. */
MUST_CHECK bool mds_array_decode(const struct mds_encoding *encoding, struct slice value,
	struct mds_array *out, struct error *err);
/* Element i; integers beyond 2^53 lose digits, so ids are read with mds_array_u64. */
double mds_array_double(const struct mds_array *array, size_t i);
/* Element i of an array of unsigned or non-negative integers; negative ones wrap, floats beyond the range give 0. */
uint64_t mds_array_u64(const struct mds_array *array, size_t i);

/*
 * Checks that the bytes are a value of this encoding: array headers, UTF-8, JSON, decimal text. Fixed sizes are the reader's.
 * FAIL_DATA with the reason.
 */
MUST_CHECK bool mds_value_check(
	const struct mds_encoding *encoding, struct slice value, struct error *err);
/*
 * Appends a value for people, at most about max_bytes of it; text is given with control characters escaped. A value that is
 * not of its encoding is shown as bytes: showing never fails.
 */
void mds_value_format(
	const struct mds_encoding *encoding, struct slice value, size_t max_bytes, struct str *out);
/* Appends the value as JSON: numbers, strings, arrays, embedded JSON; other bytes as {"bytes": n, "hex": "first 32"}. */
struct json_writer;
void mds_value_json(
	const struct mds_encoding *encoding, struct slice value, struct json_writer *out);

#endif
