/*
 * Each rule is a function that tells its first violation: one number that is off usually means that all behind it are. Long
 * columns are first looked through for any violation, which the compiler does many values at a time, and only then for which.
 */
#include "shard/packed.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct row {
	const struct packed_plan *plan;
	const struct slice *values;
	struct mds_array tokens, lens;
	packed_tell *tell;
	void *ctx;
};

void packed_plan(struct packed_plan *out, const struct mds_reader *r, size_t s, uint64_t n_vocab)
{
	*out = (struct packed_plan){.shard = mds_reader_shard(r, s),
		.n_vocab = n_vocab,
		.tokens = mds_reader_column(r, s, "tokens"),
		.seq_lens = mds_reader_column(r, s, "seq_lens"),
		.loss_mask = mds_reader_column(r, s, "loss_mask"),
		.sample_ids = mds_reader_column(r, s, "sample_ids"),
		.scores = mds_reader_column(r, s, "scores"),
		.input_ids = mds_reader_column(r, s, "input_ids"),
		.labels = mds_reader_column(r, s, "labels")};
}

static void tell(const struct row *row, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void tell(const struct row *row, const char *fmt, ...)
{
	char text[128];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	row->tell(row->ctx, text);
}

/* The column as numbers; false if there is none, or it holds something else. */
static bool array_of(const struct row *row, int column, struct mds_array *out)
{
	struct error ignored;
	if (column < 0) {
		return false;
	}
	const struct mds_encoding *e = &row->plan->shard->columns[column].encoding;
	return (e->kind == MDS_NDARRAY || e->kind == MDS_SCALAR) &&
		mds_array_decode(e, row->values[column], out, &ignored);
}

/* Each length is compared before it is added: a negative one could make up for one that is too long, and sums could wrap. */
static void check_lengths(const struct row *row)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < row->lens.n; i++) {
		double len = mds_array_double(&row->lens, i);
		if (!(len >= 1 && len <= (double)row->tokens.n)) {
			tell(row, "seq_lens[%zu] is %.0f, of %zu tokens", i, len, row->tokens.n);
			return;
		}
		sum += mds_array_u64(&row->lens, i);
	}
	if (sum != row->tokens.n) {
		tell(row, "seq_lens add up to %" PRIu64 ", there are %zu tokens", sum,
			row->tokens.n);
	}
}

static bool any_above_1(const struct mds_array *mask)
{
	unsigned char any = 0;
	for (size_t i = 0; i < mask->n; i++) {
		any |= (unsigned char)mask->data[i];
	}
	return any > 1;
}

static void check_mask(const struct row *row)
{
	struct mds_array mask;
	if (!array_of(row, row->plan->loss_mask, &mask)) {
		return;
	}
	if (mask.n != row->tokens.n) {
		tell(row, "loss_mask has %zu values, there are %zu tokens", mask.n, row->tokens.n);
		return;
	}
	/* Another writer's mask of floats may hold weights. */
	if (mask.dtype != MDS_UINT8 || !any_above_1(&mask)) {
		return;
	}
	size_t i = 0;
	while (mds_array_u64(&mask, i) <= 1) {
		i++;
	}
	tell(row, "loss_mask[%zu] is %" PRIu64 ", neither 0 nor 1", i, mds_array_u64(&mask, i));
}

static void check_one_each(const struct row *row, int column)
{
	struct mds_array a;
	if (array_of(row, column, &a) && a.n != row->lens.n) {
		tell(row, "%s has %zu values, there are %zu sequences",
			row->plan->shard->columns[column].name, a.n, row->lens.n);
	}
}

static bool all_below(const struct mds_array *ids, uint64_t n_vocab)
{
	uint16_t most = 0;
	if (ids->dtype != MDS_UINT16) {
		return false; /* one by one, then */
	}
	for (size_t i = 0; i < ids->n; i++) {
		uint16_t id;
		memcpy(&id, ids->data + 2 * i, sizeof(id));
		most = id > most ? id : most;
	}
	return most < n_vocab;
}

static void check_ids(const struct row *row, const char *name, const struct mds_array *ids)
{
	uint64_t n_vocab = row->plan->n_vocab;
	if (!n_vocab || all_below(ids, n_vocab)) {
		return;
	}
	for (size_t i = 0; i < ids->n; i++) {
		uint64_t id = mds_array_u64(ids, i);
		if (id >= n_vocab) {
			tell(row, "%s[%zu] is %" PRIu64 ", the vocabulary has %" PRIu64, name, i,
				id, n_vocab);
			return;
		}
	}
}

void packed_check(
	const struct packed_plan *plan, const struct slice *values, packed_tell *tell_cb, void *ctx)
{
	struct row row = {.plan = plan, .values = values, .tell = tell_cb, .ctx = ctx};
	struct mds_array ids;
	if (array_of(&row, plan->tokens, &row.tokens) &&
		array_of(&row, plan->seq_lens, &row.lens)) {
		check_lengths(&row);
		check_mask(&row);
		check_one_each(&row, plan->sample_ids);
		check_one_each(&row, plan->scores);
		check_ids(&row, "tokens", &row.tokens);
	}
	if (array_of(&row, plan->input_ids, &ids)) {
		check_ids(&row, "input_ids", &ids);
	}
	/* Signed ones, of other writers, have -100 where there is nothing to learn. */
	if (plan->input_ids >= 0 && array_of(&row, plan->labels, &ids) &&
		(ids.dtype == MDS_UINT16 || ids.dtype == MDS_UINT32)) {
		check_ids(&row, "labels", &ids);
	}
}
