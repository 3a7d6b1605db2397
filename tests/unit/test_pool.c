/* What the pool decides by: lengths, speeds, gauges, and the limit of an endpoint against simulated servers. */
#include "engine/gauges.h"
#include "engine/limit.h"
#include "engine/pace.h"

#include "base/mem.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* --- lengths and pace --- */

START_TEST(a_long_answer_is_expected_to_go_on_for_longer)
	{
		struct lengths lengths = {0};

		ck_assert_double_eq(lengths_mean(&lengths), 1);
		for (unsigned i = 0; i < 90; i++)
			lengths_add(&lengths, 100);
		for (unsigned i = 0; i < 10; i++)
			lengths_add(&lengths, 1000);
		ck_assert_double_eq(lengths_mean(&lengths), 190);
		ck_assert_double_eq(lengths_left(&lengths, 0), 190);
		ck_assert_double_eq(lengths_left(&lengths, 200), 800);
		/* Longer than any before. */
		ck_assert_double_ge(lengths_left(&lengths, 5000), 1000);
		ck_assert_double_eq(lengths_longest(&lengths, 1), 190);
		ck_assert_double_eq(lengths_longest(&lengths, 2), 100);
		ck_assert_double_eq(lengths_longest(&lengths, 16), 1000);
	}
END_TEST

START_TEST(lengths_take_any_number)
	{
		static const double odd[] = {0, -1, 0.5, 1, 2, 3, 1e9, 1e300};
		struct lengths lengths = {0};

		for (size_t i = 0; i < ARRAY_LEN(odd); i++)
			lengths_add(&lengths, odd[i]);
		for (size_t i = 0; i < ARRAY_LEN(odd); i++)
			ck_assert_double_gt(lengths_left(&lengths, odd[i]), 0);
		ck_assert_double_ge(lengths_longest(&lengths, UINT32_MAX), 1);
	}
END_TEST

START_TEST(a_pace_follows_the_last_answers)
	{
		struct pace pace = {0};

		ck_assert_double_eq(pace_ms_per_token(&pace), 0);
		pace_add(&pace, 1000, 100);
		ck_assert_double_eq_tol(pace_ms_per_token(&pace), 10, 1e-9);
		pace_add(&pace, 5, 0);
		ck_assert_double_eq_tol(pace_ms_per_token(&pace), 10, 1e-9);
		for (unsigned i = 0; i < 200; i++)
			pace_add(&pace, 200, 100);
		ck_assert_double_eq_tol(pace_ms_per_token(&pace), 2, 0.1);
	}
END_TEST

/* --- gauges --- */

static const struct {
	const char *text;
	bool ok;
	uint32_t running, waiting;
	double cache;
} metrics[] = {
	/* As the servers write them. */
	{"# HELP llamacpp:requests_processing Number of requests processing.\n"
	 "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 16\n"
	 "# TYPE llamacpp:requests_deferred gauge\nllamacpp:requests_deferred 2\n",
		true, 16, 2, -1},
	{"vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 200.0\n"
	 "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 12.0\n"
	 "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.875\n",
		true, 200, 12, 0.875},
	{"vllm:num_requests_running{engine=\"0\"} 3\nvllm:num_requests_running{engine=\"1\"} 4\n"
	 "vllm:gpu_cache_usage_perc{engine=\"0\"} 0.25\nvllm:gpu_cache_usage_perc{engine=\"1\"} "
	 "0.5\n",
		true, 7, 0, 0.5},
	{"sglang:num_running_reqs{model_name=\"a } \\\" b\",tp_rank=\"0\"} 8.0 1700000000000\n"
	 "sglang:num_queue_reqs{} 1e1\r\nsglang:token_usage 2",
		true, 8, 10, 1},
	/* As they do not. */
	{"", false, 0, 0, 0},
	{"<html>it works</html>", false, 0, 0, 0},
	{"vllm:num_requests_waiting 5\n", false, 0, 0, 0},
	{"vllm:num_requests_running NaN\n", false, 0, 0, 0},
	{"vllm:num_requests_running -1\n", false, 0, 0, 0},
	{"vllm:num_requests_running +Inf\n", false, 0, 0, 0},
	{"vllm:num_requests_running 1e30\n", false, 0, 0, 0},
	{"vllm:num_requests_running{model_name=\"} 5\n", false, 0, 0, 0},
	{"vllm:num_requests_running{model_name=\"\\", false, 0, 0, 0},
	{"vllm:num_requests_running 5five\n", false, 0, 0, 0},
	{"vllm:num_requests_running_total 5\n", false, 0, 0, 0},
	{"vllm:num_requests_running "
	 "11111111111111111111111111111111111111111111111111111111111111111111\n",
		false, 0, 0, 0},
	{"#vllm:num_requests_running 5\n", false, 0, 0, 0},
};

START_TEST(metrics_are_read_or_refused)
	{
		struct gauges gauges = {0};
		struct error err = {0};
		bool ok = gauges_read_metrics(slice_z(metrics[_i].text), &gauges, &err);

		ck_assert_msg(ok == metrics[_i].ok, "%s", metrics[_i].text);
		if (!ok) {
			ck_assert_int_eq(err.kind, FAIL_DATA);
			return;
		}
		ck_assert_uint_eq(gauges.running, metrics[_i].running);
		ck_assert_uint_eq(gauges.waiting, metrics[_i].waiting);
		ck_assert_double_eq(gauges.cache, metrics[_i].cache);
	}
END_TEST

START_TEST(slots_are_counted)
	{
		static const char *const texts[] = {
			"[{\"id\":0,\"is_processing\":true},{\"id\":1,\"is_processing\":false}]",
			"[]", "{}", "[{\"id\":0}]", "[{\"is_processing\":1}]"};

		for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
			struct error err = {0};
			struct gauges gauges = {0};
			AUTO_JSON struct json *body = json_parse(texts[i], strlen(texts[i]), &err);

			ck_assert_ptr_nonnull(body);
			ck_assert_int_eq(gauges_read_slots(body, &gauges, &err), i == 0);
			ck_assert_uint_eq(gauges.running, i == 0 ? 1 : 0);
		}
	}
END_TEST

/* --- limits --- */

/* A server that works on `capacity` requests at a time, of which others have some; we keep as many there as we may. */
static void look(struct limit *limit, uint32_t capacity, uint32_t others, double cache)
{
	uint32_t ours = limit->n + limit_ahead(limit->n, 0), all = ours + others;
	struct gauges gauges = {
		.running = MIN(all, capacity),
		.waiting = all > capacity ? all - capacity : 0,
		.cache = cache,
	};

	limit_gauges(limit, &gauges, ours, limit_ahead(limit->n, 0), true);
}

START_TEST(a_limit_grows_to_what_the_server_works_on_and_stays)
	{
		struct limit limit;

		limit_init(&limit, 0, 0);
		ck_assert_uint_eq(limit.n, LIMIT_START);
		for (unsigned i = 0; i < 60; i++)
			look(&limit, 256, 0, 0.5);
		for (unsigned i = 0; i < 60; i++) {
			look(&limit, 256, 0, 0.5);
			/* No slot idles, and no more than what is sent ahead waits. */
			ck_assert_uint_ge(limit.n + limit_ahead(limit.n, 0), 256);
			ck_assert_uint_le(limit.n, 256);
		}
	}
END_TEST

START_TEST(a_limit_falls_to_what_a_small_server_works_on)
	{
		struct limit limit;

		limit_init(&limit, 0, 0);
		for (unsigned i = 0; i < 20; i++)
			look(&limit, 4, 0, -1);
		ck_assert_uint_ge(limit.n + limit_ahead(limit.n, 0), 4);
		ck_assert_uint_le(limit.n, 4);
	}
END_TEST

START_TEST(others_get_their_slots_and_give_them_back)
	{
		struct limit limit;

		limit_init(&limit, 0, 16);
		ck_assert_uint_eq(limit.n, 16);
		for (unsigned i = 0; i < 30; i++)
			look(&limit, 16, 10, -1);
		ck_assert_uint_le(limit.n, 6);
		ck_assert_uint_ge(limit.n, 5);
		for (unsigned i = 0; i < 30; i++)
			look(&limit, 16, 0, -1);
		ck_assert_uint_eq(limit.n + limit_ahead(limit.n, 0) >= 16, 1);
		ck_assert_uint_le(limit.n, 16);
	}
END_TEST

START_TEST(a_full_cache_lowers_the_limit_and_half_a_cache_raises_it)
	{
		struct limit limit;
		uint32_t n;

		limit_init(&limit, 0, 0);
		look(&limit, 1000, 0, 0.5);
		look(&limit, 1000, 0, 0.5);
		n = limit.n;
		ck_assert_uint_eq(n, 4 * LIMIT_START);
		look(&limit, 1000, 0, 0.9);
		ck_assert_uint_eq(limit.n, n);
		look(&limit, 1000, 0, 0.97);
		ck_assert_uint_lt(limit.n, n);
	}
END_TEST

START_TEST(one_queue_lowers_the_limit_once)
	{
		struct limit limit;
		struct gauges gauges = {.running = 4, .waiting = 14, .cache = -1};

		limit_init(&limit, 0, 0);
		limit_gauges(&limit, &gauges, 18, 2, true);
		ck_assert_uint_eq(limit.n, 12);
		/* What was sent before is still there. */
		for (unsigned i = 0; i < 10; i++)
			limit_gauges(&limit, &gauges, 18, 2, true);
		ck_assert_uint_eq(limit.n, 12);
	}
END_TEST

START_TEST(what_the_server_has_not_seen_yet_raises_no_limit)
	{
		struct limit limit;
		struct gauges gauges = {.running = 16, .waiting = 0, .cache = -1};

		limit_init(&limit, 0, 0);
		limit_gauges(&limit, &gauges, 16, 2, true);
		ck_assert_uint_eq(limit.n, 32);
		/* 32 are on their way, and it still counts 16. */
		limit_gauges(&limit, &gauges, 32, 2, true);
		ck_assert_uint_eq(limit.n, 32);
	}
END_TEST

START_TEST(as_much_is_sent_ahead_as_comes_back_together)
	{
		ck_assert_uint_eq(limit_ahead(1, 0), 1);
		ck_assert_uint_eq(limit_ahead(16, 0), 2);
		ck_assert_uint_eq(limit_ahead(16, 1), 2);
		ck_assert_uint_eq(limit_ahead(16, 5.7), 5);
		ck_assert_uint_eq(limit_ahead(16, 100), 8);
		ck_assert_uint_eq(limit_ahead(1, 100), 1);
		ck_assert_uint_eq(limit_ahead(1000, 0), 2);
	}
END_TEST

START_TEST(a_fixed_limit_stays)
	{
		struct limit limit;

		limit_init(&limit, 7, 16);
		look(&limit, 2, 5, 1);
		limit_refused(&limit);
		for (unsigned i = 0; i < 100; i++)
			limit_answer(&limit, 1000, 10);
		ck_assert_uint_eq(limit.n, 7);
	}
END_TEST

/* Without gauges: `capacity` requests are computed at a time, each as fast as if it were alone. */
static void answer(struct limit *limit, uint32_t capacity)
{
	double wait = MAX((double)limit->n / capacity, 1.0);

	limit_answer(limit, 1000 * wait, 100);
}

START_TEST(without_gauges_the_limit_finds_the_capacity)
	{
		static const uint32_t capacities[] = {1, 4, 16, 64, 300};
		uint32_t capacity = capacities[_i], low = UINT32_MAX, high = 0;
		struct limit limit;

		limit_init(&limit, 0, 0);
		for (unsigned i = 0; i < 40000; i++)
			answer(&limit, capacity);
		for (unsigned i = 0; i < 4000; i++) {
			answer(&limit, capacity);
			low = MIN(low, limit.n);
			high = MAX(high, limit.n);
		}
		ck_assert_msg(low >= capacity / 2 && high <= MAX(2 * capacity, 3), "%u: %u..%u",
			capacity, low, high);
	}
END_TEST

START_TEST(a_server_that_batches_is_given_more_although_each_answer_takes_longer)
	{
		struct limit limit;

		limit_init(&limit, 0, 0);
		for (unsigned i = 0; i < 40000; i++)
			limit_answer(&limit, 1000 * (1 + limit.n / 64.0), 100);
		ck_assert_uint_gt(limit.n, 48);
	}
END_TEST

START_TEST(a_server_that_says_too_many_gets_less)
	{
		struct limit limit;

		limit_init(&limit, 0, 0);
		limit_refused(&limit);
		ck_assert_uint_eq(limit.n, 12);
		for (unsigned i = 0; i < 100; i++)
			limit_refused(&limit);
		ck_assert_uint_eq(limit.n, 1);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);

	tcase_add_test(tc, a_long_answer_is_expected_to_go_on_for_longer);
	tcase_add_test(tc, lengths_take_any_number);
	tcase_add_test(tc, a_pace_follows_the_last_answers);
	tcase_add_loop_test(tc, metrics_are_read_or_refused, 0, (int)ARRAY_LEN(metrics));
	tcase_add_test(tc, slots_are_counted);
	tcase_add_test(tc, a_limit_grows_to_what_the_server_works_on_and_stays);
	tcase_add_test(tc, a_limit_falls_to_what_a_small_server_works_on);
	tcase_add_test(tc, others_get_their_slots_and_give_them_back);
	tcase_add_test(tc, a_full_cache_lowers_the_limit_and_half_a_cache_raises_it);
	tcase_add_test(tc, one_queue_lowers_the_limit_once);
	tcase_add_test(tc, what_the_server_has_not_seen_yet_raises_no_limit);
	tcase_add_test(tc, as_much_is_sent_ahead_as_comes_back_together);
	tcase_add_test(tc, a_fixed_limit_stays);
	tcase_add_loop_test(tc, without_gauges_the_limit_finds_the_capacity, 0, 5);
	tcase_add_test(tc, a_server_that_batches_is_given_more_although_each_answer_takes_longer);
	tcase_add_test(tc, a_server_that_says_too_many_gets_less);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
