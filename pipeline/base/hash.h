/* Hashes: XXH64 and XXH3-128 (fingerprints, ids, MDS), SHA-256 (lineage, MDS). xxhash.h and openssl stay behind this header. */
#ifndef PIPELINE_BASE_HASH_H
#define PIPELINE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash128 {
	uint64_t hi, lo;
};

uint64_t hash64(const void *bytes, size_t len, uint64_t seed);
struct hash128 hash128(const void *bytes, size_t len);
/* 32 lower-case hex digits and a NUL. */
void hash128_hex(struct hash128 h, char out[33]);

#define SHA256_HEX_BYTES 65
void sha256_hex(const void *bytes, size_t len, char out[SHA256_HEX_BYTES]);
void hash64_hex(uint64_t h, char out[17]);

/* Incremental forms, for files. Zeroed: no-op release. */
struct sha256 {
	void *ctx; /* owns */
};
void sha256_init(struct sha256 *h);
void sha256_update(struct sha256 *h, const void *bytes, size_t len);
void sha256_final_hex(struct sha256 *h, char out[SHA256_HEX_BYTES]); /* releases */

struct hash64_stream {
	void *state; /* owns */
};
void hash64_stream_init(struct hash64_stream *h);
void hash64_stream_update(struct hash64_stream *h, const void *bytes, size_t len);
uint64_t hash64_stream_final(struct hash64_stream *h); /* releases */

#endif
