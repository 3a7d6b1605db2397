#include "base/half.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

static uint16_t to_half(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof(bits));
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
	uint32_t mantissa = bits & 0x7fffff;
	if (exponent >= 31) {
		return (uint16_t)(sign | (exponent == 143 && mantissa ? 0x7e00 : 0x7c00));
	}
	if (exponent <= 0) {
		if (exponent < -10) {
			return sign;
		}
		mantissa |= 0x800000;
		unsigned shift = (unsigned)(14 - exponent);
		uint32_t half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1),
			 middle = 1u << (shift - 1);
		half += rest > middle || (rest == middle && (half & 1));
		return (uint16_t)(sign | half);
	}
	uint32_t half = (uint32_t)exponent << 10 | mantissa >> 13, rest = mantissa & 0x1fff;
	half += rest > 0x1000 || (rest == 0x1000 && (half & 1));
	return (uint16_t)(sign | half);
}

static float from_half(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
	uint32_t bits;
	if (exponent == 31) {
		bits = sign | 0x7f800000 | mantissa << 13;
	} else if (exponent) {
		bits = sign | (exponent + 112) << 23 | mantissa << 13;
	} else {
		float f = (float)mantissa * 0x1p-24f;
		return sign ? -f : f;
	}
	float f;
	memcpy(&f, &bits, sizeof(f));
	return f;
}

void half_encode(const float *values, size_t n, struct str *out)
{
	char *to = str_reserve(out, 2 * n);
	assert(to);
	for (size_t i = 0; i < n; i++) {
		uint16_t half = to_half(values[i]);
		*to++ = (char)half;
		*to++ = (char)(half >> 8);
	}
	out->len += 2 * n;
	out->data[out->len] = '\0';
}

void half_decode(const char *bytes, size_t n, float *out)
{
	const unsigned char *p = (const unsigned char *)bytes;
	for (size_t i = 0; i < n; i++) {
		out[i] = from_half((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
	}
}
