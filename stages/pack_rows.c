/*
 * The columns of each folder, and how a row of them is made from the ledger. The plan is walked once for each folder, so that
 * memory holds one image and one row, whatever the size of the night. The sidecars have a row for each sequence, in the order
 * in which the sequences stand in the shards.
 *
 * A sequence is prompt ids, then sampled ids; only the sampled ones are trained on. The packed layout has several in a row and
 * a mask; the samples layout has one, in two columns, which the trainer puts together (llm-foundry's sense of `input_ids` and
 * `labels`, not Hugging Face's).
 */
#include "pack_private.h"

#include "base/half.h"
#include "base/mem.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"
#include "shard/packed_row.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Columns are sorted by name, as MDSWriter has them. No encoding: token ids, as narrow as the vocabulary allows. */
static const struct mds_column samples_columns[] = {{"candidate", "int32"}, {"input_ids", NULL},
	{"labels", NULL}, {"meta", "json"}, {"model", "str"}, {"prompt_id", "str"},
	{"sample_id", "uint64"}, {"score", "float32"}};
static const struct mds_column meta_columns[] = {{"candidate", "int32"}, {"meta", "json"},
	{"model", "str"}, {"prompt_id", "str"}, {"sample_id", "uint64"}, {"score", "float32"},
	{"source", "str"}, {"verifier", "str"}};
static const struct mds_column logprobs_columns[] = {
	{"logprobs", "ndarray:float16"}, {"sample_id", "uint64"}};

/* A folder's rows in the making. */
struct rows {
	struct pack_state *s;
	struct pack_folder folder;
	struct arena arena; /* the candidate at hand */
	struct str buffers[4]; /* values of the row at hand */
	struct packed_row packed; /* that is not complete yet */
	int64_t row; /* its number; -1: none */
};

/* A candidate as the ledger has it, and what all folders want to know of it. */
struct sequence {
	struct ledger_candidate c;
	struct ledger_prompt p;
	uint64_t id;
	float score;
};

static float score_of(const struct pack_state *s, const struct ledger_candidate *c)
{
	for (size_t i = 0; s->score && i < c->n_scores; i++) {
		if (strcmp(c->scores[i].verifier, s->score) == 0 && c->scores[i].known &&
			!c->scores[i].audit) {
			return (float)c->scores[i].value;
		}
	}
	return NAN;
}

static bool load(struct rows *r, int64_t candidate, struct sequence *out, struct error *err)
{
	arena_reset(&r->arena);
	enum ledger_found found = ledger_get_candidate(
		r->s->run->ledger, candidate, &r->arena, &out->c, &out->p, err);
	if (found == LEDGER_END || (found == LEDGER_FOUND && (!out->c.n_ids || !out->p.n_ids))) {
		return error_set(err, FAIL_DATA,
			"candidate %lld is in the plan but its tokens are not in the ledger",
			(long long)candidate);
	}
	out->id = (uint64_t)candidate;
	out->score = found == LEDGER_FOUND ? score_of(r->s, &out->c) : NAN;
	return found == LEDGER_FOUND;
}

static void count_sequence(struct pack_state *s, const struct sequence *q)
{
	s->n_sequences++;
	s->n_tokens += q->p.n_ids + q->c.n_ids;
	s->n_loss_tokens += q->c.n_ids;
	s->has_logprobs = s->has_logprobs || q->c.logprobs;
}

static struct slice array_value(
	struct str *buffer, enum mds_dtype dtype, const void *items, size_t n)
{
	str_reset(buffer);
	mds_put_array(buffer, dtype, items, n);
	return (struct slice){buffer->data, buffer->len};
}

/* --- packed --- */

static bool end_packed_row(struct rows *r, struct error *err)
{
	struct slice values[PACKED_N_COLUMNS];
	if (r->row < 0) {
		return true;
	}
	assert(r->packed.n_tokens <= r->s->config->context);
	packed_row_values(&r->packed, values);
	r->s->n_rows++;
	return pack_folder_add(&r->folder, values, err);
}

static bool visit_packed(
	void *ctx, uint64_t row, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct rows *r = ctx;
	struct sequence q;
	if ((int64_t)row != r->row) {
		if (!end_packed_row(r, err)) {
			return false;
		}
		packed_row_reset(&r->packed);
		r->row = (int64_t)row;
	}
	if (!load(r, candidate, &q, err)) {
		return false;
	}
	packed_row_add(&r->packed, q.p.ids, q.p.n_ids, q.c.ids, q.c.n_ids, q.id, q.score);
	count_sequence(r->s, &q);
	return true;
}

/* --- samples, and the sidecars --- */

static void put_meta(struct pack_state *s, const struct ledger_candidate *c, struct str *out)
{
	struct json_writer w = {.out = out};
	str_reset(out);
	json_begin_object(&w);
	json_member_z(&w, "finish", c->finish);
	json_member_uint(&w, "n_tokens", c->n_tokens);
	json_member_z(&w, "run", s->run->id);
	json_key(&w, "scores");
	json_begin_object(&w);
	for (size_t i = 0; i < c->n_scores; i++) {
		if (c->scores[i].audit) {
			continue; /* for the books alone: a night ships the same with an audit and without */
		}
		json_key(&w, c->scores[i].verifier);
		if (c->scores[i].known) {
			json_put_num(&w, c->scores[i].value);
		} else {
			json_put_null(&w);
		}
	}
	json_end_object(&w);
	json_member_uint(&w, "seed", c->seed);
	json_member_z(&w, "token_source", c->token_source);
	json_end_object(&w);
}

static struct slice meta_value(struct rows *r, const struct sequence *q)
{
	put_meta(r->s, &q->c, &r->buffers[0]);
	return (struct slice){r->buffers[0].data, r->buffers[0].len};
}

static struct slice ids_value(struct rows *r, const uint32_t *ids, size_t n, struct str *buffer)
{
	if (r->s->wide_ids) {
		return array_value(buffer, MDS_UINT32, ids, n);
	}
	str_reset(&r->buffers[3]);
	packed_put_ids(&r->buffers[3], false, ids, n);
	return array_value(buffer, MDS_UINT16, r->buffers[3].data, n);
}

static bool visit_samples(
	void *ctx, uint64_t row UNUSED, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct rows *r = ctx;
	struct sequence q;
	if (!load(r, candidate, &q, err)) {
		return false;
	}
	/* An array of MDS must not be empty. */
	assert(q.p.n_ids && q.c.n_ids);
	int32_t idx = (int32_t)q.c.idx;
	struct slice values[PACK_COLUMNS_MAX] = {
		mds_scalar(&idx, sizeof(idx)),
		ids_value(r, q.p.ids, q.p.n_ids, &r->buffers[1]),
		ids_value(r, q.c.ids, q.c.n_ids, &r->buffers[2]),
		meta_value(r, &q),
		slice_z(r->s->model),
		slice_z(q.p.prompt_id),
		mds_scalar(&q.id, sizeof(q.id)),
		mds_scalar(&q.score, sizeof(q.score)),
	};
	count_sequence(r->s, &q);
	r->s->n_rows++;
	return pack_folder_add(&r->folder, values, err);
}

static bool visit_meta(
	void *ctx, uint64_t row UNUSED, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct rows *r = ctx;
	struct sequence q;
	if (!load(r, candidate, &q, err)) {
		return false;
	}
	int32_t idx = (int32_t)q.c.idx;
	struct slice values[PACK_COLUMNS_MAX] = {
		mds_scalar(&idx, sizeof(idx)),
		meta_value(r, &q),
		slice_z(r->s->model),
		slice_z(q.p.prompt_id),
		mds_scalar(&q.id, sizeof(q.id)),
		mds_scalar(&q.score, sizeof(q.score)),
		slice_z(q.p.source),
		slice_z(r->s->score ? r->s->score : ""),
	};
	return pack_folder_add(&r->folder, values, err);
}

static bool visit_logprobs(
	void *ctx, uint64_t row UNUSED, uint32_t pos UNUSED, int64_t candidate, struct error *err)
{
	struct rows *r = ctx;
	struct sequence q;
	if (!load(r, candidate, &q, err)) {
		return false;
	}
	/* A candidate without them (its tokens were made by another engine) has NaNs, so that rows stay parallel to meta's. */
	float *logprobs = arena_alloc_array(&r->arena, q.c.n_ids, sizeof(*logprobs));
	for (size_t i = 0; i < q.c.n_ids; i++) {
		logprobs[i] = q.c.logprobs ? q.c.logprobs[i] : NAN;
	}
	str_reset(&r->buffers[1]);
	half_encode(logprobs, q.c.n_ids, &r->buffers[1]);
	struct slice values[PACK_COLUMNS_MAX] = {
		array_value(&r->buffers[0], MDS_FLOAT16, r->buffers[1].data, q.c.n_ids),
		mds_scalar(&q.id, sizeof(q.id))};
	return pack_folder_add(&r->folder, values, err);
}

/* --- a folder --- */

struct row_kind {
	const struct mds_column *columns; /* NULL: of the packed layout */
	size_t n_columns;
	bool (*visit)(void *ctx, uint64_t row, uint32_t pos, int64_t candidate, struct error *err);
};

static const struct row_kind *kind_of(const struct pack_state *s, enum pack_folder_kind folder)
{
	static const struct row_kind layouts[] =
		{
			[PACK_PACKED] = {NULL, PACKED_N_COLUMNS, visit_packed},
			[PACK_SAMPLES] = {samples_columns, ARRAY_LEN(samples_columns),
				visit_samples},
		},
				     sidecars[] = {
					     [PACK_META] = {meta_columns, ARRAY_LEN(meta_columns),
						     visit_meta},
					     [PACK_LOGPROBS] = {logprobs_columns,
						     ARRAY_LEN(logprobs_columns), visit_logprobs},
				     };
	return folder == PACK_SHARDS ? &layouts[s->config->layout] : &sidecars[folder];
}

bool pack_build_folder(struct pack_state *s, enum pack_folder_kind folder, struct error *err)
{
	const struct row_kind *kind = kind_of(s, folder);
	const struct mds_column *from = kind->columns ? kind->columns : packed_columns(s->wide_ids);
	struct mds_column columns[PACK_COLUMNS_MAX];
	for (size_t i = 0; i < kind->n_columns; i++) {
		columns[i] = from[i];
		if (!columns[i].encoding) {
			columns[i].encoding = s->wide_ids ? "ndarray:uint32" : "ndarray:uint16";
		}
	}
	struct rows r = {.s = s, .row = -1};
	packed_row_init(&r.packed, s->wide_ids);
	for (size_t i = 0; i < ARRAY_LEN(r.buffers); i++) {
		str_init(&r.buffers[i], STR_NO_CAP);
	}
	uint64_t n_rows = (uint64_t)ledger_count_plan_rows(s->run->ledger);
	bool ok = pack_folder_init(&r.folder, s, folder, columns, kind->n_columns, err) &&
		ledger_each_plan(s->run->ledger, 0, n_rows, kind->visit, &r, err) &&
		end_packed_row(&r, err) && pack_folder_finish(&r.folder, err);
	pack_folder_release(&r.folder);
	packed_row_release(&r.packed);
	for (size_t i = 0; i < ARRAY_LEN(r.buffers); i++) {
		str_release(&r.buffers[i]);
	}
	arena_release(&r.arena);
	return ok || error_context(err, "folder '%s'", pack_folder_names[folder]);
}
