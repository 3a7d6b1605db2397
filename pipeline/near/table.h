/*
 * Which of many records may be like one: 12 hash tables, one a band of 5 places of the sketch. Records that agree in a band
 * lie in the same bucket of its table, and 99.1 % of the pairs at a Jaccard similarity of 0.8 agree in one of the bands, 96 % at
 * 0.75, 89 % at 0.7; at 0.5, one in three, which the sketches then tell apart.
 *
 * The table borrows its memory, which may be a mapped file: zeros are an empty table. It holds record numbers, no records.
 */
#ifndef PIPELINE_NEAR_TABLE_H
#define PIPELINE_NEAR_TABLE_H

#include "near/sketch.h"

#define NEAR_BANDS 12
#define NEAR_BAND_PLACES 5
#define NEAR_BUCKET_SLOTS 12
/* Buckets that one key can fill. What more records have in common is left out of that band: nothing tells them apart there. */
#define NEAR_RUN_MAX 8
#define NEAR_FOUND_MAX ((size_t)NEAR_BANDS * NEAR_RUN_MAX * NEAR_BUCKET_SLOTS)

/* A cache line; little-endian in files. */
struct near_bucket {
	uint32_t no[NEAR_BUCKET_SLOTS];
	uint8_t tag[NEAR_BUCKET_SLOTS];
	uint8_t n;
	uint8_t zero[3];
};
_Static_assert(sizeof(struct near_bucket) == 64, "buckets are cache lines");

struct near_table {
	struct near_bucket *buckets; /* borrowed; NEAR_BANDS * n_band_buckets */
	uint32_t n_band_buckets;
};

/* Buckets of a band for so many records, four fifths full; at least one. */
uint32_t near_table_buckets(uint64_t n_records);
static inline size_t near_table_bytes(uint32_t n_band_buckets)
{
	return (size_t)NEAR_BANDS * n_band_buckets * sizeof(struct near_bucket);
}
void near_table_add(struct near_table *t, uint32_t no, const uint8_t *places);
/*
 * For many records, numbered from `first` on: once for each band, and to be called for all records before the next band. Then what
 * is written to at random is a twelfth of the table, and no page of a file is dirtied again and again.
 */
void near_table_add_band(struct near_table *t, size_t band, uint32_t first,
	const struct near_record *records, size_t n);
/*
 * Numbers of records that share a band with these places, some of them several times and some by mistake, into out
 * (NEAR_FOUND_MAX); returns how many.
 */
size_t near_table_find(const struct near_table *t, const uint8_t *places, uint32_t *out);

#endif
