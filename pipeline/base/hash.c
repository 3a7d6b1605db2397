#include "base/hash.h"

#include "base/mem.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <xxhash.h>

uint64_t hash64(const void *bytes, size_t len, uint64_t seed)
{
	return XXH64(bytes, len, seed);
}

struct hash128 hash128(const void *bytes, size_t len)
{
	XXH128_hash_t h = XXH3_128bits(bytes, len);
	return (struct hash128){h.high64, h.low64};
}

void hash128_hex(struct hash128 h, char out[33])
{
	snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}

void hash64_hex(uint64_t h, char out[17])
{
	snprintf(out, 17, "%016llx", (unsigned long long)h);
}

void sha256_init(struct sha256 *h)
{
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
		oom();
	}
}

void sha256_update(struct sha256 *h, const void *bytes, size_t len)
{
	int ok = EVP_DigestUpdate(h->ctx, bytes, len);
	assert(ok == 1);
}

void sha256_final_hex(struct sha256 *h, char out[SHA256_HEX_BYTES])
{
	unsigned char digest[32];
	int ok = EVP_DigestFinal_ex(h->ctx, digest, NULL);
	assert(ok == 1);
	EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
	for (size_t i = 0; i < sizeof(digest); i++) {
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	}
}

void sha256_hex(const void *bytes, size_t len, char out[SHA256_HEX_BYTES])
{
	struct sha256 h;
	sha256_init(&h);
	sha256_update(&h, bytes, len);
	sha256_final_hex(&h, out);
}

void hash64_stream_init(struct hash64_stream *h)
{
	h->state = XXH64_createState();
	if (!h->state) {
		oom();
	}
	XXH64_reset(h->state, 0);
}

void hash64_stream_update(struct hash64_stream *h, const void *bytes, size_t len)
{
	XXH64_update(h->state, bytes, len);
}

uint64_t hash64_stream_final(struct hash64_stream *h)
{
	uint64_t value = XXH64_digest(h->state);
	XXH64_freeState(h->state);
	h->state = NULL;
	return value;
}
