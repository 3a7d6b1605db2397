#include "base/rng.h"
#include "fixture.h"
#include "shard/packing.h"

#include <math.h>
#include <string.h>

static void check_complete(
	const struct packing *p, const uint32_t *lengths, size_t n, uint32_t context, uint32_t cap)
{
	char *seen = xcalloc(n, 1);
	ck_assert_uint_eq(p->n_items, n);
	ck_assert_uint_eq(p->row_starts[p->n_rows], n);
	for (size_t r = 0; r < p->n_rows; r++) {
		uint64_t sum = 0;
		ck_assert_uint_lt(p->row_starts[r], p->row_starts[r + 1]);
		ck_assert(!cap || p->row_starts[r + 1] - p->row_starts[r] <= cap);
		for (uint32_t k = p->row_starts[r]; k < p->row_starts[r + 1]; k++) {
			ck_assert(!seen[p->items[k]]);
			seen[p->items[k]] = 1;
			sum += lengths[p->items[k]];
		}
		ck_assert_uint_le(sum, context);
	}
	free(seen);
}

/* What best-fit decreasing is, written as plainly as can be: rows needed for these lengths. */
static size_t plain_bfd(const uint32_t *lengths, size_t n, uint32_t context)
{
	uint32_t *left = xcalloc(n, sizeof(*left));
	size_t rows = 0;
	for (uint32_t len = context; len; len--) {
		for (size_t i = 0; i < n; i++) {
			if (lengths[i] != len) {
				continue;
			}
			size_t best = rows;
			for (size_t r = 0; r < rows; r++) {
				if (left[r] >= len && (best == rows || left[r] < left[best])) {
					best = r;
				}
			}
			if (best == rows) {
				left[rows++] = context;
			}
			left[best] -= len;
		}
	}
	free(left);
	return rows;
}

START_TEST(rows_are_those_of_plain_best_fit_decreasing)
	{
		struct rng rng;
		rng_seed(&rng, (uint64_t)_i);
		size_t n = 50 + (size_t)rng_below(&rng, 400);
		uint32_t context = 64 + (uint32_t)rng_below(&rng, 300);
		uint32_t *lengths = xcalloc(n, sizeof(*lengths));
		for (size_t i = 0; i < n; i++) {
			lengths[i] = 1 + (uint32_t)((double)context * pow(rng_unit(&rng), 2));
			lengths[i] = MIN(lengths[i], context);
		}
		struct packing p;
		pack_lengths(
			lengths, n, &(struct packing_options){.context = context, .seed = 1}, &p);
		check_complete(&p, lengths, n, context, 0);
		ck_assert_uint_eq(p.n_rows, plain_bfd(lengths, n, context));
		packing_release(&p);
		free(lengths);
	}
END_TEST

START_TEST(the_cap_on_sequences_holds)
	{
		uint32_t lengths[100];
		for (size_t i = 0; i < 100; i++) {
			lengths[i] = 1 + (uint32_t)i % 7;
		}
		struct packing p;
		pack_lengths(lengths, 100,
			&(struct packing_options){.context = 1000, .row_sequences_max = 8}, &p);
		check_complete(&p, lengths, 100, 1000, 8);
		ck_assert_uint_eq(p.n_rows, 13);
		packing_release(&p);
	}
END_TEST

START_TEST(the_same_seed_gives_the_same_rows_and_another_another_order)
	{
		uint32_t lengths[200];
		struct packing a, b, c;
		for (size_t i = 0; i < 200; i++) {
			lengths[i] = 1 + (uint32_t)(i * 37 % 60);
		}
		pack_lengths(
			lengths, 200, &(struct packing_options){.context = 100, .seed = 5}, &a);
		pack_lengths(
			lengths, 200, &(struct packing_options){.context = 100, .seed = 5}, &b);
		pack_lengths(
			lengths, 200, &(struct packing_options){.context = 100, .seed = 6}, &c);
		ck_assert_mem_eq(a.items, b.items, 200 * sizeof(*a.items));
		ck_assert_uint_eq(a.n_rows, c.n_rows);
		ck_assert(memcmp(a.items, c.items, 200 * sizeof(*a.items)) != 0);
		packing_release(&a);
		packing_release(&b);
		packing_release(&c);
	}
END_TEST

START_TEST(samples_of_one_length_are_taken_in_order)
	{
		/* Neighbours in the ledger stay neighbours in the shards, which compresses better. */
		uint32_t lengths[120];
		struct packing p;
		for (size_t i = 0; i < 120; i++) {
			lengths[i] = i % 3 ? 20 : 30;
		}
		pack_lengths(
			lengths, 120, &(struct packing_options){.context = 100, .seed = 9}, &p);
		uint32_t next[2] = {0, 1};
		for (size_t k = 0; k < 120; k++) {
			uint32_t i = p.items[k], *expected = &next[i % 3 != 0];
			ck_assert_uint_eq(i, *expected);
			*expected += i % 3 == 1 ? 1 : i % 3 == 2 ? 2 : 3;
		}
		packing_release(&p);
	}
END_TEST

START_TEST(nothing_and_full_rows_are_packed)
	{
		struct packing p;
		pack_lengths(NULL, 0, &(struct packing_options){.context = 10}, &p);
		ck_assert_uint_eq(p.n_rows, 0);
		packing_release(&p);
		const uint32_t full[] = {10, 10, 10};
		pack_lengths(full, 3, &(struct packing_options){.context = 10}, &p);
		ck_assert_uint_eq(p.n_rows, 3);
		ck_assert_double_eq(packing_fill(&p, 10), 1);
		packing_release(&p);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("packing");
	TCase *t = tcase_create("packing");
	tcase_add_loop_test(t, rows_are_those_of_plain_best_fit_decreasing, 0, 30);
	tcase_add_test(t, the_cap_on_sequences_holds);
	tcase_add_test(t, the_same_seed_gives_the_same_rows_and_another_another_order);
	tcase_add_test(t, samples_of_one_length_are_taken_in_order);
	tcase_add_test(t, nothing_and_full_rows_are_packed);
	suite_add_tcase(s, t);
	return run_suite(s);
}
