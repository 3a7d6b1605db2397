/* What a trial says of a night, by hand. */
#include "estimate.h"

#include "fixture.h"

#include <string.h>

START_TEST(a_night_is_so_many_trials)
	{
		struct estimate_trial trial = {.n_prompts = 4,
			.n_candidates = 16,
			.n_tokens = 1600,
			.latency_ms = 32000,
			.flow_ms = 5000,
			.body_bytes = 4800,
			.n_chosen = 2,
			.shard_bytes = 1000,
			.n_slots = 16};
		struct estimate e = estimate_night(&trial, 400);
		ck_assert_double_eq_tol(e.candidates, 1600, 1e-9);
		ck_assert_double_eq_tol(e.tokens, 160000, 1e-9);
		/* 32 s of slots on 16 of them are 2 s a trial; its own 5 s have an empty beginning and end. */
		ck_assert_double_eq_tol(e.ms_min, 200000, 1e-9);
		ck_assert_double_eq_tol(e.ms_max, 500000, 1e-9);
		ck_assert_double_eq_tol(e.chosen, 200, 1e-9);
		ck_assert_double_eq_tol(e.shard_bytes, 100000, 1e-9);
		ck_assert_double_gt(e.ledger_bytes, 480000);
	}
END_TEST

START_TEST(slots_that_nobody_tells_leave_one_bound)
	{
		struct estimate_trial trial = {.n_prompts = 1,
			.n_candidates = 2,
			.n_tokens = 10,
			.latency_ms = 900,
			.flow_ms = 500};
		struct estimate e = estimate_night(&trial, 3);
		ck_assert_double_eq_tol(e.ms_min, 1500, 1e-9);
		ck_assert_double_eq_tol(e.ms_max, 1500, 1e-9);
	}
END_TEST

START_TEST(without_a_candidate_nothing_is_said)
	{
		struct estimate e = estimate_night(&(struct estimate_trial){.n_prompts = 4}, 100);
		ck_assert_double_eq(e.candidates, 0);
		ck_assert_double_eq(e.ledger_bytes, 0);
		e = estimate_night(&(struct estimate_trial){.n_candidates = 4}, 100);
		ck_assert_double_eq(e.candidates, 0);
	}
END_TEST

START_TEST(a_night_takes_the_disk_that_the_last_one_took)
	{
		struct estimate_past past = {.n_prompts = 100,
			.n_candidates = 400,
			.n_tokens = 40000,
			.ledger_bytes = 700000,
			.shard_bytes = 100000};
		ck_assert_double_eq_tol(estimate_disk(&past, 1000, 0), 8e6, 1e-6);
		/* A budget of tokens is met before. */
		ck_assert_double_eq_tol(estimate_disk(&past, 1000, 20000), 4e5, 1e-6);
		/* Where the last night was ended by its budget, this one comes not much further. */
		past.backlog = true;
		ck_assert_double_eq_tol(estimate_disk(&past, 1000, 0), 1.2e6, 1e-6);
		ck_assert_double_eq_tol(estimate_disk(&past, 10, 0), 8e4, 1e-6);
		ck_assert_double_gt(estimate_disk(NULL, 10, 0), 1e5);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("estimate");
	TCase *tc = tcase_create("estimate");
	tcase_add_test(tc, a_night_is_so_many_trials);
	tcase_add_test(tc, slots_that_nobody_tells_leave_one_bound);
	tcase_add_test(tc, without_a_candidate_nothing_is_said);
	tcase_add_test(tc, a_night_takes_the_disk_that_the_last_one_took);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
