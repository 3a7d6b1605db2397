/*
 * A bucket is a cache line of 12 slots: the record's number and a byte of the key's hash, so that a look-up costs one line a
 * band and hardly ever a record for nothing. A full bucket overflows into the next one, up to NEAR_RUN_MAX. Nothing is ever
 * taken out; when the table is too full, it is made anew out of the records, which is cheap and leaves no second format.
 */
#include "near/table.h"

#include <assert.h>
#include <string.h>

#define AHEAD 16 /* records whose buckets are fetched before they are needed */

struct key {
	uint32_t bucket; /* within its band */
	uint8_t tag;
};

static inline struct key key_of(const struct near_table *t, const uint8_t *places, size_t band)
{
	uint64_t h = 0;
	memcpy(&h, places + band * NEAR_BAND_PLACES, NEAR_BAND_PLACES);
	h = (h + 1) * 0x9e3779b97f4a7c15u;
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	return (struct key){(uint32_t)(((h >> 32) * t->n_band_buckets) >> 32), (uint8_t)(h >> 24)};
}

static inline struct near_bucket *band_of(const struct near_table *t, size_t band)
{
	return t->buckets + band * t->n_band_buckets;
}

uint32_t near_table_buckets(uint64_t n_records)
{
	uint64_t n = n_records * 10 / (8 * NEAR_BUCKET_SLOTS) + 1;
	assert(n <= UINT32_MAX);
	return (uint32_t)n;
}

static void add_to_band(struct near_table *t, size_t band, uint32_t no, const uint8_t *places)
{
	struct key key = key_of(t, places, band);
	struct near_bucket *buckets = band_of(t, band);
	for (unsigned run = 0; run < NEAR_RUN_MAX; run++) {
		struct near_bucket *b = &buckets[key.bucket];
		if (b->n < NEAR_BUCKET_SLOTS) {
			b->no[b->n] = no;
			b->tag[b->n++] = key.tag;
			return;
		}
		key.bucket = key.bucket + 1 == t->n_band_buckets ? 0 : key.bucket + 1;
	}
}

void near_table_add(struct near_table *t, uint32_t no, const uint8_t *places)
{
	for (size_t band = 0; band < NEAR_BANDS; band++) {
		add_to_band(t, band, no, places);
	}
}

void near_table_add_band(struct near_table *t, size_t band, uint32_t first,
	const struct near_record *records, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i + AHEAD < n) {
			struct key ahead = key_of(t, records[i + AHEAD].places, band);
			__builtin_prefetch(band_of(t, band) + ahead.bucket, 1);
		}
		add_to_band(t, band, first + (uint32_t)i, records[i].places);
	}
}

static size_t find_in_bucket(const struct near_bucket *b, uint8_t tag, uint32_t *out)
{
	size_t n = 0;
	/* From a file: a count beyond the slots is not believed. */
	for (size_t i = 0; i < MIN(b->n, NEAR_BUCKET_SLOTS); i++) {
		out[n] = b->no[i];
		n += b->tag[i] == tag;
	}
	return n;
}

size_t near_table_find(const struct near_table *t, const uint8_t *places, uint32_t *out)
{
	size_t n = 0;
	for (size_t band = 0; band < NEAR_BANDS; band++) {
		__builtin_prefetch(band_of(t, band) + key_of(t, places, band).bucket);
	}
	for (size_t band = 0; band < NEAR_BANDS; band++) {
		struct key key = key_of(t, places, band);
		const struct near_bucket *buckets = band_of(t, band);
		for (unsigned run = 0; run < NEAR_RUN_MAX; run++) {
			const struct near_bucket *b = &buckets[key.bucket];
			n += find_in_bucket(b, key.tag, out + n);
			if (b->n < NEAR_BUCKET_SLOTS) {
				break;
			}
			key.bucket = key.bucket + 1 == t->n_band_buckets ? 0 : key.bucket + 1;
		}
	}
	return n;
}
