/* How many candidates a prompt gets: against numbers worked out by hand or taken from tables. */
#include "generate_plan.h"

#include "fixture.h"

#include <math.h>
#include <string.h>

static size_t next(
	const struct candidates_plan *plan, size_t n, size_t n_accepted, const char **out)
{
	*out = NULL;
	return candidates_next(plan, n, n_accepted, n - n_accepted, out);
}

START_TEST(first_wave_then_further_ones_up_to_max)
	{
		struct candidates_plan plan = {.min = 3, .max = 8, .wave = 2};
		const char *reason;
		ck_assert_uint_eq(next(&plan, 0, 0, &reason), 3);
		ck_assert_uint_eq(next(&plan, 3, 0, &reason), 5);
		ck_assert_uint_eq(next(&plan, 7, 0, &reason), 8);
		ck_assert_ptr_null(reason);
		ck_assert_uint_eq(next(&plan, 8, 0, &reason), 8);
		ck_assert_str_eq(reason, "all");
	}
END_TEST

START_TEST(waves_are_as_large_as_the_first_unless_told)
	{
		struct candidates_plan plan = {.min = 3, .max = 8};
		const char *reason;
		ck_assert_uint_eq(next(&plan, 3, 0, &reason), 6);
		ck_assert_uint_eq(next(&plan, 6, 0, &reason), 8);
	}
END_TEST

START_TEST(enough_are_enough_and_come_before_all)
	{
		struct candidates_plan plan = {.min = 2, .max = 4, .stop_after = 2};
		const char *reason;
		ck_assert_uint_eq(next(&plan, 2, 1, &reason), 4);
		ck_assert_uint_eq(next(&plan, 2, 2, &reason), 2);
		ck_assert_str_eq(reason, "enough");
		ck_assert_uint_eq(next(&plan, 4, 3, &reason), 4);
		ck_assert_str_eq(reason, "enough");
		ck_assert_uint_eq(next(&plan, 4, 1, &reason), 4);
		ck_assert_str_eq(reason, "all");
	}
END_TEST

START_TEST(the_hopeless_are_given_up)
	{
		/* 0.9^21 = 0.109 and 0.9^22 = 0.098: 22 rejected ones in a row rule out one in ten at 90 %. */
		struct candidates_plan plan = {
			.min = 1, .max = 64, .stop_after = 1, .worthwhile = 0.1, .confidence = 0.9};
		const char *reason;
		ck_assert_uint_eq(next(&plan, 0, 0, &reason), 1);
		ck_assert_uint_eq(next(&plan, 21, 0, &reason), 22);
		ck_assert_uint_eq(next(&plan, 22, 0, &reason), 22);
		ck_assert_str_eq(reason, "gave_up");
		plan.worthwhile = 0;
		ck_assert_uint_eq(next(&plan, 63, 0, &reason), 64);
	}
END_TEST

START_TEST(what_could_not_be_decided_is_no_evidence)
	{
		struct candidates_plan plan = {
			.min = 1, .max = 64, .worthwhile = 0.1, .confidence = 0.9};
		const char *reason = NULL;
		ck_assert_uint_eq(candidates_next(&plan, 40, 0, 21, &reason), 41);
		ck_assert_uint_eq(candidates_next(&plan, 40, 0, 22, &reason), 40);
		ck_assert_str_eq(reason, "gave_up");
	}
END_TEST

/* One-sided Clopper-Pearson upper bounds of k of n: the worthwhile rate just above is hopeless, the one just below is not. */
static const struct {
	size_t k, n;
	double confidence, bound;
} bounds[] = {
	{0, 10, 0.95, 0.25887}, /* 1 - 0.05^(1/10) */
	{1, 10, 0.95, 0.394163},
	{2, 20, 0.975, 0.316983},
	{5, 50, 0.9, 0.177618},
	{0, 4096, 0.99, 0.00112368},
	{4095, 4096, 0.95, 0.99998748},
};

START_TEST(hopeless_is_where_the_bound_lies_below)
	{
		const size_t i = (size_t)_i;
		double bound = bounds[i].bound, step = bound * (1 - bound) * 1e-3;
		ck_assert(candidates_hopeless(
			bounds[i].k, bounds[i].n, bound + step, bounds[i].confidence));
		ck_assert(!candidates_hopeless(
			bounds[i].k, bounds[i].n, bound - step, bounds[i].confidence));
	}
END_TEST

START_TEST(all_accepted_are_never_hopeless)
	{
		ck_assert(!candidates_hopeless(0, 0, 0.5, 0.9));
		ck_assert(!candidates_hopeless(5, 5, 0.99, 0.5));
	}
END_TEST

START_TEST(the_first_hopeless_count_is_the_first)
	{
		static const double rates[] = {0.001, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9};
		for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
			size_t n = candidates_hopeless_after(rates[i], 0.9);
			ck_assert(candidates_hopeless(0, n, rates[i], 0.9));
			ck_assert(!candidates_hopeless(0, n - 1, rates[i], 0.9));
		}
		ck_assert_uint_eq(candidates_hopeless_after(0.02, 0.9), 114);
		ck_assert_uint_eq(candidates_hopeless_after(0.5, 0.9), 4);
	}
END_TEST

/* {idle slots, other prompts that want some, missing candidates, asked for in one request} */
static const uint32_t shares[][4] = {
	{16, 100, 4, 1}, /* a prompt for every slot */
	{16, 0, 8, 8}, /* nobody else: all of them */
	{16, 0, 32, 16}, /* as many as there are slots */
	{16, 9, 4, 2}, /* ten prompts: two for each of the first, so that no slot is idle */
	{4, 3, 4, 1},
	{1, 0, 4, 1},
	{0, 0, 4, 1},
	{16, 2, 4, 4},
};

START_TEST(idle_slots_are_shared_by_the_prompts_there_are)
	{
		const uint32_t *row = shares[_i];
		ck_assert_uint_eq(candidates_at_once(row[0], row[1], row[2]), row[3]);
	}
END_TEST

START_TEST(every_slot_gets_one_whatever_the_number_of_prompts)
	{
		for (uint32_t n_prompts = 1; n_prompts <= 20; n_prompts++) {
			uint32_t idle = 16;
			for (uint32_t left = n_prompts; left && idle; left--) {
				idle -= MIN(candidates_at_once(idle, left - 1, 16), idle);
			}
			ck_assert_uint_eq(idle, 0);
		}
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("generate_plan");
	TCase *tc = tcase_create("generate_plan");
	tcase_add_test(tc, first_wave_then_further_ones_up_to_max);
	tcase_add_test(tc, waves_are_as_large_as_the_first_unless_told);
	tcase_add_test(tc, enough_are_enough_and_come_before_all);
	tcase_add_test(tc, the_hopeless_are_given_up);
	tcase_add_test(tc, what_could_not_be_decided_is_no_evidence);
	tcase_add_loop_test(tc, hopeless_is_where_the_bound_lies_below, 0, ARRAY_LEN(bounds));
	tcase_add_test(tc, all_accepted_are_never_hopeless);
	tcase_add_test(tc, the_first_hopeless_count_is_the_first);
	tcase_add_loop_test(
		tc, idle_slots_are_shared_by_the_prompts_there_are, 0, ARRAY_LEN(shares));
	tcase_add_test(tc, every_slot_gets_one_whatever_the_number_of_prompts);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
