/* Buffers grow to the largest row and are used again; nothing is larger than the row that was read. */
#include "shard/sequences.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void room_for_ids(struct sequences *s, size_t n)
{
	if (n > s->ids_cap) {
		s->ids = xreallocarray(s->ids, n, sizeof(*s->ids));
		s->mask = xreallocarray(s->mask, n, sizeof(*s->mask));
		s->ids_cap = n;
	}
}

static void room_for_sequences(struct sequences *s, size_t n)
{
	if (n > s->n_cap) {
		s->starts = xreallocarray(s->starts, n + 1, sizeof(*s->starts));
		s->sample_ids = xreallocarray(s->sample_ids, n, sizeof(*s->sample_ids));
		s->scores = xreallocarray(s->scores, n, sizeof(*s->scores));
		s->n_cap = n;
	}
}

static void put_ids(uint32_t *to, const struct mds_array *a)
{
	/* The two that shards have, without a switch for each id. */
	if (a->dtype == MDS_UINT16) {
		const unsigned char *p = (const unsigned char *)a->data;
		for (size_t i = 0; i < a->n; i++) {
			to[i] = (uint32_t)p[2 * i] | (uint32_t)p[2 * i + 1] << 8;
		}
	} else if (a->dtype == MDS_UINT32) {
		memcpy(to, a->data, a->n * sizeof(*to));
	} else {
		for (size_t i = 0; i < a->n; i++) {
			uint64_t id = mds_array_u64(a, i);
			to[i] = id > UINT32_MAX ? UINT32_MAX : (uint32_t)id;
		}
	}
}

static void put_mask(uint8_t *to, const struct mds_array *a)
{
	for (size_t i = 0; i < a->n; i++) {
		to[i] = a->dtype == MDS_UINT8 ? a->data[i] != 0 : mds_array_double(a, i) != 0;
	}
}

/* Boundaries out of seq_lens; one sequence if there is no such column. */
static void put_starts(
	struct sequences *s, size_t n_ids, const struct mds_array *lens, bool has_lens)
{
	size_t at = 0, n = 0, most = has_lens ? MIN(lens->n, MAX(n_ids, 1)) : 1;
	room_for_sequences(s, most);
	s->starts[0] = 0;
	for (size_t i = 0; has_lens && i < lens->n && at < n_ids && n < most; i++) {
		uint64_t len = mds_array_u64(lens, i);
		at += (size_t)MIN(len, n_ids - at);
		s->starts[++n] = at;
	}
	s->n = MAX(n, 1);
	if (at < n_ids || !n) {
		s->starts[s->n] = n_ids; /* what is left over goes with the last one */
	}
}

static void put_facts(struct sequences *s, const struct mds_reader *r, size_t shard,
	const struct slice *values, const char *ids_name, const char *scores_name)
{
	struct mds_array a;
	s->has_sample_ids = mds_reader_array(r, shard, values, ids_name, &a) && a.n >= s->n;
	for (size_t i = 0; s->has_sample_ids && i < s->n; i++) {
		s->sample_ids[i] = mds_array_u64(&a, i);
	}
	s->has_scores = mds_reader_array(r, shard, values, scores_name, &a) && a.n >= s->n;
	for (size_t i = 0; i < s->n; i++) {
		s->scores[i] = s->has_scores ? mds_array_double(&a, i) : (double)NAN;
	}
}

static void read_packed(struct sequences *s, const struct mds_reader *r, size_t shard,
	const struct slice *values, const struct mds_array *tokens)
{
	struct mds_array mask, lens;
	room_for_ids(s, tokens->n);
	put_ids(s->ids, tokens);
	s->has_mask = mds_reader_array(r, shard, values, "loss_mask", &mask) && mask.n == tokens->n;
	if (s->has_mask) {
		put_mask(s->mask, &mask);
	} else {
		memset(s->mask, 1, tokens->n);
	}
	put_starts(s, tokens->n, &lens, mds_reader_array(r, shard, values, "seq_lens", &lens));
	put_facts(s, r, shard, values, "sample_ids", "scores");
}

/* In other folders, labels as long as input_ids are aligned with them, and -100 is what is not trained on. */
static bool are_aligned(
	const struct mds_reader *r, const struct mds_array *ids, const struct mds_array *labels)
{
	return !mds_reader_facts(r) && ids->n == labels->n &&
		(labels->dtype == MDS_INT32 || labels->dtype == MDS_INT64 ||
			labels->dtype == MDS_INT16);
}

static void read_samples(struct sequences *s, const struct mds_reader *r, size_t shard,
	const struct slice *values, const struct mds_array *ids)
{
	struct mds_array labels;
	bool has_labels = mds_reader_array(r, shard, values, "labels", &labels);
	bool aligned = has_labels && are_aligned(r, ids, &labels);
	size_t n = ids->n + (has_labels && !aligned ? labels.n : 0);
	room_for_ids(s, n);
	put_ids(s->ids, ids);
	s->has_mask = has_labels;
	memset(s->mask, !has_labels, ids->n);
	for (size_t i = 0; aligned && i < ids->n; i++) {
		s->mask[i] = mds_array_double(&labels, i) >= 0;
	}
	if (has_labels && !aligned) {
		put_ids(s->ids + ids->n, &labels);
		memset(s->mask + ids->n, 1, labels.n);
	}
	put_starts(s, n, NULL, false);
	put_facts(s, r, shard, values, "sample_id", "score");
}

bool sequences_read(
	struct sequences *s, const struct mds_reader *r, size_t shard, const struct slice *values)
{
	struct mds_array a;
	if (mds_reader_array(r, shard, values, "tokens", &a)) {
		read_packed(s, r, shard, values, &a);
		return true;
	}
	if (mds_reader_array(r, shard, values, "input_ids", &a)) {
		read_samples(s, r, shard, values, &a);
		return true;
	}
	return false;
}

void sequences_release(struct sequences *s)
{
	free(s->starts);
	free(s->ids);
	free(s->mask);
	free(s->sample_ids);
	free(s->scores);
	*s = (struct sequences){0};
}
