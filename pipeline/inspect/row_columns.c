#include "inspect/row_columns.h"

#include "base/mem.h"
#include "inspect/walk.h"

#include <stdlib.h>
#include <string.h>

/* --- the same columns --- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct mds_column *)a)->name, ((const struct mds_column *)b)->name);
}

static bool is_ascii(const char *name)
{
	while (*name && (unsigned char)*name < 0x80) {
		name++;
	}
	return !*name;
}

static bool check_column(const struct mds_read_column *c, struct error *err)
{
	if (c->encoding.kind == MDS_UNKNOWN) {
		return error_set(err, FAIL_DATA,
			"column '%.64s' has the encoding '%.64s', which is none of MDS's, so its "
			"size cannot be known",
			c->name, c->encoding_name);
	}
	return is_ascii(c->name) ||
		error_set(err, FAIL_DATA, "the name of column '%.64s' is not ASCII", c->name);
}

static bool take_columns(struct row_columns *c, const struct mds_read_shard *s, struct error *err)
{
	for (size_t i = 0; i < s->n_columns; i++) {
		if (!check_column(&s->columns[i], err)) {
			return false;
		}
		c->columns[i] = (struct mds_column){
			s->columns[i].name, s->columns[i].encoding_name};
	}
	c->n = s->n_columns;
	qsort(c->columns, c->n, sizeof(*c->columns), by_name);
	for (size_t i = 1; i < c->n; i++) {
		if (strcmp(c->columns[i - 1].name, c->columns[i].name) == 0) {
			return error_set(err, FAIL_DATA, "there are two columns '%.64s'",
				c->columns[i].name);
		}
	}
	return true;
}

/* Finds our columns among those of a shard, which may have them in another order. */
static bool find_order(
	struct row_columns *c, const struct mds_reader *r, size_t shard, struct error *err)
{
	const struct mds_read_shard *s = mds_reader_shard(r, shard);
	bool same = s->n_columns == c->n;
	for (size_t i = 0; same && i < c->n; i++) {
		int at = mds_reader_column(r, shard, c->columns[i].name);
		same = at >= 0 && strcmp(s->columns[at].encoding_name, c->columns[i].encoding) == 0;
		c->order[i] = same ? (unsigned)at : 0;
	}
	c->shard = shard;
	return same ||
		error_set(err, FAIL_DATA, "shard %zu has other columns than shard 0", shard) ||
		error_hint(err, "a folder of ours has the same ones in all shards");
}

static bool same_init(struct row_columns *c, const struct mds_reader *r, struct error *err)
{
	if (!take_columns(c, mds_reader_shard(r, 0), err)) {
		return false;
	}
	/* All of them now: not after an hour's work. */
	for (size_t s = mds_reader_n_shards(r); s-- > 0;) {
		if (!find_order(c, r, s, err)) {
			return false;
		}
	}
	return true;
}

static bool same_put(
	struct row_columns *c, struct walk *w, row_columns_sink *sink, void *ctx, struct error *err)
{
	struct slice values[MDS_COLUMNS_MAX];
	if (c->shard != w->shard && !find_order(c, w->reader, w->shard, err)) {
		return false;
	}
	for (size_t i = 0; i < c->n; i++) {
		values[i] = w->values[c->order[i]];
	}
	return sink(ctx, values, err);
}

/* --- layout `samples` --- */

enum field { CANDIDATE, INPUT_IDS, LABELS, META, MODEL, PROMPT_ID, SAMPLE_ID, SCORE, N_FIELDS };
_Static_assert(N_FIELDS <= ROW_COLUMNS_LAYOUT, "room for all fields");

/* Sorted by name. FORMAT.md tells what they mean. */
static const struct {
	const char *name, *encoding; /* NULL: ndarray of the ids' width */
} layout[N_FIELDS] = {
	[CANDIDATE] = {"candidate", "int32"},
	[INPUT_IDS] = {"input_ids", NULL},
	[LABELS] = {"labels", NULL},
	[META] = {"meta", "json"},
	[MODEL] = {"model", "str"},
	[PROMPT_ID] = {"prompt_id", "str"},
	[SAMPLE_ID] = {"sample_id", "uint64"},
	[SCORE] = {"score", "float32"},
};

/* uint16 only if all shards have it. */
static enum mds_dtype ids_dtype(const struct mds_reader *r)
{
	for (size_t s = 0; s < mds_reader_n_shards(r); s++) {
		int i = mds_reader_column(r, s, "tokens");
		i = i >= 0 ? i : mds_reader_column(r, s, "input_ids");
		const struct mds_read_column *columns = mds_reader_shard(r, s)->columns;
		if (i < 0 || columns[i].encoding.dtype_in_value ||
			columns[i].encoding.dtype != MDS_UINT16) {
			return MDS_UINT32;
		}
	}
	return MDS_UINT16;
}

static bool samples_init(
	struct row_columns *c, const char *dir, const struct mds_reader *r, struct error *err)
{
	struct walk w;
	struct walk_meta meta;
	bool has[N_FIELDS] = {[INPUT_IDS] = true, [LABELS] = true};
	bool ok = walk_open(&w, dir, err);
	if (ok && walk_next(&w, err) && w.seqs.n) {
		has[SAMPLE_ID] = w.seqs.has_sample_ids;
		has[SCORE] = w.seqs.has_scores;
		has[CANDIDATE] = has[META] = has[MODEL] = has[PROMPT_ID] = walk_meta(&w, 0, &meta);
	}
	ok = ok && err->kind == FAIL_NONE;
	walk_close(&w);
	c->ids_dtype = ids_dtype(r);
	for (unsigned i = 0; ok && i < N_FIELDS; i++) {
		if (has[i]) {
			const char *ids = c->ids_dtype == MDS_UINT16 ? "ndarray:uint16"
								     : "ndarray:uint32";
			c->fields[c->n] = i;
			c->columns[c->n++] = (struct mds_column){
				layout[i].name, layout[i].encoding ? layout[i].encoding : ids};
		}
	}
	return ok;
}

static void put_ids(struct row_columns *c, struct str *out, const uint32_t *ids, size_t n)
{
	str_reset(out);
	if (c->ids_dtype == MDS_UINT32) {
		mds_put_array(out, MDS_UINT32, ids, n);
		return;
	}
	uint16_t *narrow = xreallocarray(NULL, n, sizeof(*narrow));
	for (size_t i = 0; i < n; i++) {
		narrow[i] = (uint16_t)ids[i];
	}
	mds_put_array(out, MDS_UINT16, narrow, n);
	free(narrow);
}

static bool has_field(const struct row_columns *c, enum field field)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->fields[i] == field) {
			return true;
		}
	}
	return false;
}

/* The layout says "a prompt, then a response": both there, one after the other. */
static bool cut_sequence(struct row_columns *c, const struct sequences *q, size_t k,
	struct slice *out_prompt, struct slice *out_response, struct error *err)
{
	size_t from = q->starts[k], end = q->starts[k + 1], at = from, rest;
	while (at < end && !q->mask[at]) {
		at++;
	}
	for (rest = at; rest < end && q->mask[rest];) {
		rest++;
	}
	const char *why = at == end ? "nothing of it is trained on"
		: at == from        ? "it has no prompt: all of it is trained on"
		: rest < end        ? "tokens that are not trained on follow trained ones"
				    : NULL;
	if (why) {
		error_set(err, FAIL_DATA, "sequence %zu cannot be a sample of its own: %s", k, why);
		return error_hint(err, "the packed layout and --export trl keep the whole mask");
	}
	put_ids(c, &c->scratch[0], q->ids + from, at - from);
	put_ids(c, &c->scratch[1], q->ids + at, end - at);
	*out_prompt = (struct slice){c->scratch[0].data, c->scratch[0].len};
	*out_response = (struct slice){c->scratch[1].data, c->scratch[1].len};
	return true;
}

static bool find_meta(
	struct row_columns *c, struct walk *w, size_t k, struct walk_meta *out, struct error *err)
{
	*out = (struct walk_meta){0};
	return !has_field(c, PROMPT_ID) || walk_meta(w, k, out) ||
		error_set(err, FAIL_DATA, "the sidecar has no row for sequence %zu", k);
}

static bool samples_put(struct row_columns *c, struct walk *w, size_t k, row_columns_sink *sink,
	void *ctx, struct error *err)
{
	const struct sequences *q = &w->seqs;
	struct slice all[N_FIELDS], values[N_FIELDS];
	struct walk_meta meta;
	if (!cut_sequence(c, q, k, &all[INPUT_IDS], &all[LABELS], err) ||
		!find_meta(c, w, k, &meta, err)) {
		return false;
	}
	if (has_field(c, SAMPLE_ID) && !q->has_sample_ids) {
		return error_set(err, FAIL_DATA, "sequence %zu has no sample id", k);
	}
	int32_t candidate = (int32_t)meta.candidate;
	uint64_t sample_id = q->has_sample_ids ? q->sample_ids[k] : 0;
	float score = (float)q->scores[k]; /* NaN: none */
	all[CANDIDATE] = mds_scalar(&candidate, sizeof(candidate));
	all[SAMPLE_ID] = mds_scalar(&sample_id, sizeof(sample_id));
	all[SCORE] = mds_scalar(&score, sizeof(score));
	all[META] = meta.meta.len ? meta.meta : slice_z("null");
	all[MODEL] = meta.model;
	all[PROMPT_ID] = meta.prompt_id;
	for (size_t i = 0; i < c->n; i++) {
		values[i] = all[c->fields[i]];
	}
	return sink(ctx, values, err);
}

/* --- both --- */

bool row_columns_init(struct row_columns *c, const char *dir, const struct mds_reader *r,
	bool samples, struct error *err)
{
	*c = (struct row_columns){.samples = samples, .shard = SIZE_MAX};
	str_init(&c->scratch[0], STR_NO_CAP);
	str_init(&c->scratch[1], STR_NO_CAP);
	if (!mds_reader_n_samples(r)) {
		return error_set(err, FAIL_DATA, "'%s' has no samples", dir);
	}
	return (samples ? samples_init(c, dir, r, err) : same_init(c, r, err)) ||
		error_context(err, "'%s'", dir);
}

void row_columns_release(struct row_columns *c)
{
	str_release(&c->scratch[0]);
	str_release(&c->scratch[1]);
}

bool row_columns_put(
	struct row_columns *c, struct walk *w, row_columns_sink *sink, void *ctx, struct error *err)
{
	if (!c->samples) {
		return same_put(c, w, sink, ctx, err);
	}
	if (!w->seqs.n) {
		return error_set(err, FAIL_DATA, "it has no token ids");
	}
	bool ok = true;
	for (size_t k = 0; ok && k < w->seqs.n; k++) {
		ok = samples_put(c, w, k, sink, ctx, err);
	}
	return ok;
}
