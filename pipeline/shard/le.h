/* Little-endian fields, read and written at any alignment. */
#ifndef PIPELINE_SHARD_LE_H
#define PIPELINE_SHARD_LE_H

#include <stdint.h>
#include <string.h>

/* Arrays go from memory to file and back as they are; a big-endian port starts here. */
_Static_assert(
	__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are copied as they lie in memory");

static inline uint16_t le16_get(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t le32_get(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t le64_get(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void le32_put(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

#endif
