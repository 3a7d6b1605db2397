/* Each rule is a function that tells its first violation: one number that is off usually means that all behind it are. */
#include "shard/packed.h"

#include <inttypes.h>
#include <stdio.h>

struct row {
	const struct mds_reader *r;
	size_t s;
	const struct slice *values;
	struct mds_array tokens, lens;
	mds_fault_cb *fault;
	void *ctx;
	unsigned n_faults;
};

static void tell(struct row *row, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void tell(struct row *row, const char *fmt, ...)
{
	char text[128];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	mds_reader_fault(row->r, text, row->fault, row->ctx);
	row->n_faults++;
}

/* Each length is compared before it is added: a negative one could make up for one that is too long, and sums could wrap. */
static void check_lengths(struct row *row)
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

static void check_mask(struct row *row)
{
	struct mds_array mask;
	if (!mds_reader_array(row->r, row->s, row->values, "loss_mask", &mask)) {
		return;
	}
	if (mask.n != row->tokens.n) {
		tell(row, "loss_mask has %zu values, there are %zu tokens", mask.n, row->tokens.n);
		return;
	}
	/* Another writer's mask of floats may hold weights. */
	for (size_t i = 0; mask.dtype == MDS_UINT8 && i < mask.n; i++) {
		if (mds_array_u64(&mask, i) > 1) {
			tell(row, "loss_mask[%zu] is %" PRIu64 ", neither 0 nor 1", i,
				mds_array_u64(&mask, i));
			return;
		}
	}
}

static void check_one_each(struct row *row, const char *name)
{
	struct mds_array a;
	if (mds_reader_array(row->r, row->s, row->values, name, &a) && a.n != row->lens.n) {
		tell(row, "%s has %zu values, there are %zu sequences", name, a.n, row->lens.n);
	}
}

static void check_ids(struct row *row, uint64_t n_vocab)
{
	for (size_t i = 0; n_vocab && i < row->tokens.n; i++) {
		uint64_t id = mds_array_u64(&row->tokens, i);
		if (id >= n_vocab) {
			tell(row, "tokens[%zu] is %" PRIu64 ", the vocabulary has %" PRIu64, i, id,
				n_vocab);
			return;
		}
	}
}

unsigned packed_check(const struct mds_reader *r, size_t s, const struct slice *values,
	uint64_t n_vocab, mds_fault_cb *fault, void *ctx)
{
	struct row row = {.r = r, .s = s, .values = values, .fault = fault, .ctx = ctx};
	if (!mds_reader_array(r, s, values, "tokens", &row.tokens) ||
		!mds_reader_array(r, s, values, "seq_lens", &row.lens)) {
		return 0;
	}
	check_lengths(&row);
	check_mask(&row);
	check_one_each(&row, "sample_ids");
	check_one_each(&row, "scores");
	check_ids(&row, n_vocab);
	return row.n_faults;
}
