#include "ledger/body.h"

#include "base/half.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Enough of a kind's first rows to know its vocabulary, few enough to be over within minutes of a night. */
#define SAMPLES_MIN 256
#define SAMPLE_BYTES_MAX ((size_t)1 << 20)
#define DICT_BYTES ((size_t)32 << 10)
#define LEVEL 3

const char *const body_kind_names[BODY_N_KINDS] = {"fields", "text", "ids"};

void body_codec_init(struct body_codec *c)
{
	*c = (struct body_codec){0};
	for (int k = 0; k < BODY_N_KINDS; k++) {
		str_init(&c->kinds[k].samples, STR_NO_CAP);
	}
	str_init(&c->out, STR_NO_CAP);
	str_init(&c->raw, STR_NO_CAP);
}

static void drop_samples(struct body_codec *c, enum body_kind kind)
{
	str_release(&c->kinds[kind].samples);
	free(c->kinds[kind].sample_bytes);
	c->kinds[kind].sample_bytes = NULL;
	c->kinds[kind].n_samples = c->kinds[kind].cap = 0;
}

void body_codec_release(struct body_codec *c)
{
	for (int k = 0; k < BODY_N_KINDS; k++) {
		drop_samples(c, k);
	}
	for (size_t i = 0; i < c->n_dicts; i++) {
		zip_dict_free(c->dicts[i].dict);
	}
	free(c->dicts);
	zip_release(&c->zip);
	str_release(&c->out);
	str_release(&c->raw);
	*c = (struct body_codec){0};
}

void body_codec_add_dict(
	struct body_codec *c, int64_t id, enum body_kind kind, const void *bytes, size_t len)
{
	c->dicts = array_room(c->dicts, c->n_dicts, &c->cap_dicts, sizeof(*c->dicts));
	c->dicts[c->n_dicts++] = (struct body_dict){id, zip_dict_load(bytes, len, LEVEL)};
	c->kinds[kind].current = id;
	drop_samples(c, kind);
}

bool body_codec_sample(struct body_codec *c, enum body_kind kind, struct slice raw)
{
	if (c->kinds[kind].current) {
		return false;
	}
	c->kinds[kind].sample_bytes = array_room(c->kinds[kind].sample_bytes,
		c->kinds[kind].n_samples, &c->kinds[kind].cap, sizeof(size_t));
	c->kinds[kind].sample_bytes[c->kinds[kind].n_samples++] = raw.len;
	str_append(&c->kinds[kind].samples, raw.data, raw.len);
	return c->kinds[kind].n_samples >= SAMPLES_MIN ||
		c->kinds[kind].samples.len >= SAMPLE_BYTES_MAX;
}

struct zip_dict *body_codec_train(struct body_codec *c, enum body_kind kind)
{
	struct zip_dict *dict = zip_dict_train(c->kinds[kind].samples.data,
		c->kinds[kind].sample_bytes, (unsigned)c->kinds[kind].n_samples, DICT_BYTES, LEVEL);
	drop_samples(c, kind);
	return dict;
}

static const struct zip_dict *dict_of(const struct body_codec *c, int64_t id)
{
	for (size_t i = 0; i < c->n_dicts; i++) {
		if (c->dicts[i].id == id) {
			return c->dicts[i].dict;
		}
	}
	return NULL;
}

int64_t body_pack(struct body_codec *c, enum body_kind kind, struct slice raw)
{
	str_reset(&c->out);
	int64_t id = c->kinds[kind].current;
	if (id) {
		zip_compress_dict(&c->zip, dict_of(c, id), raw.data, raw.len, &c->out);
	} else {
		zip_compress(&c->zip, raw.data, raw.len, LEVEL, &c->out);
	}
	return id;
}

bool body_unpack(struct body_codec *c, int64_t dict, const void *frame, size_t len, struct str *out,
	struct error *err)
{
	if (!dict) {
		return zip_decompress(&c->zip, frame, len, BODY_BYTES_MAX, out, err);
	}
	const struct zip_dict *d = dict_of(c, dict);
	if (!d) {
		return error_set(err, FAIL_DATA, "dictionary %lld is missing", (long long)dict);
	}
	return zip_decompress_dict(&c->zip, d, frame, len, BODY_BYTES_MAX, out, err);
}

void body_encode_ids(const uint32_t *ids, size_t n, struct str *out)
{
	uint32_t all = 0;
	for (size_t i = 0; i < n; i++) {
		all |= ids[i];
	}
	unsigned width = all > 0xffff ? 4 : 2;
	char *to = str_reserve(out, 1 + n * width);
	assert(to);
	*to++ = (char)width;
	for (size_t i = 0; i < n; i++) {
		for (unsigned b = 0; b < width; b++) {
			*to++ = (char)(ids[i] >> (8 * b));
		}
	}
	out->len += 1 + n * width;
	out->data[out->len] = '\0';
}

bool body_decode_ids(
	struct slice raw, struct arena *arena, uint32_t **out_ids, size_t *out_n, struct error *err)
{
	const unsigned char *p = (const unsigned char *)raw.data;
	if (raw.len < 1 || (p[0] != 2 && p[0] != 4) || (raw.len - 1) % p[0]) {
		return error_set(err, FAIL_DATA, "a list of token ids is malformed");
	}
	unsigned width = p[0];
	size_t n = (raw.len - 1) / width;
	uint32_t *ids = arena_alloc_array(arena, n, sizeof(*ids));
	p++;
	for (size_t i = 0; i < n; i++) {
		for (unsigned b = 0; b < width; b++) {
			ids[i] |= (uint32_t)*p++ << (8 * b);
		}
	}
	*out_ids = ids;
	*out_n = n;
	return true;
}

float *body_decode_logprobs(struct slice raw, struct arena *arena, size_t *out_n)
{
	*out_n = raw.len / 2;
	float *logprobs = arena_alloc_array(arena, *out_n, sizeof(*logprobs));
	half_decode(raw.data, *out_n, logprobs);
	return logprobs;
}
