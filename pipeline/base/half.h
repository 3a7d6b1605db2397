/* IEEE 754 binary16, little-endian: how logprobs are stored. */
#ifndef PIPELINE_BASE_HALF_H
#define PIPELINE_BASE_HALF_H

#include "base/str.h"

#include <stddef.h>

/* Appends 2 * n bytes, rounded to nearest even; NaN stays NaN, what is too large becomes infinite. */
void half_encode(const float *values, size_t n, struct str *out);
void half_decode(const char *bytes, size_t n, float *out);

#endif
