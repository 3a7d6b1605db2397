/*
 * How the bulk of a ledger is stored: fields, texts and token ids as small zstd frames with dictionaries trained on the
 * run's own first rows, logprobs as float16. Rows written before a kind's dictionary exists have dictionary 0.
 */
#ifndef PIPELINE_LEDGER_BODY_H
#define PIPELINE_LEDGER_BODY_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "base/zip.h"

#include <stdbool.h>
#include <stdint.h>

#define BODY_BYTES_MAX ((size_t)64 << 20) /* of one text or one list of ids, unpacked */

enum body_kind { BODY_FIELDS, BODY_TEXT, BODY_IDS, BODY_N_KINDS };
extern const char *const body_kind_names[BODY_N_KINDS];

struct body_dict {
	int64_t id;
	struct zip_dict *dict; /* owns */
};

struct body_codec {
	struct zip zip;
	struct {
		struct str samples; /* what the dictionary will be trained on, end to end */
		size_t *sample_bytes; /* owns; n_samples */
		size_t n_samples, cap;
		int64_t current; /* id of the dictionary in use; 0: none yet */
	} kinds[BODY_N_KINDS];
	struct body_dict *dicts; /* owns */
	size_t n_dicts, cap_dicts;
	struct str out, raw; /* scratch */
};

void body_codec_init(struct body_codec *c);
void body_codec_release(struct body_codec *c);
void body_codec_add_dict(
	struct body_codec *c, int64_t id, enum body_kind kind, const void *bytes, size_t len);
/* Takes a sample; true when a dictionary should be trained now (body_codec_train). */
bool body_codec_sample(struct body_codec *c, enum body_kind kind, struct slice raw);
/* NULL if the samples give none; the samples are dropped either way. */
struct zip_dict *body_codec_train(struct body_codec *c, enum body_kind kind);

/* The frame is in c->out until the next call; the dictionary's id is returned. */
int64_t body_pack(struct body_codec *c, enum body_kind kind, struct slice raw);
bool body_unpack(struct body_codec *c, int64_t dict, const void *frame, size_t len, struct str *out,
	struct error *err);

/* Ids and logprobs to raw bytes and back. */
void body_encode_ids(const uint32_t *ids, size_t n, struct str *out);
bool body_decode_ids(struct slice raw, struct arena *arena, uint32_t **out_ids, size_t *out_n,
	struct error *err);
float *body_decode_logprobs(struct slice raw, struct arena *arena, size_t *out_n);

#endif
