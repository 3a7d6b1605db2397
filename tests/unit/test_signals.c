#include "signals.h"

#include "fixture.h"

#include <signal.h>
#include <string.h>

START_TEST(signals_are_counted_and_named)
	{
		signals_watch();
		ck_assert_uint_eq(signals_count(), 0);
		raise(SIGTERM);
		ck_assert_uint_eq(signals_count(), 1);
		ck_assert_str_eq(signals_last(), "SIGTERM");
		signals_heed(true);
		raise(SIGINT);
		raise(SIGINT);
		ck_assert_uint_eq(signals_count(), 3);
		ck_assert_str_eq(signals_last(), "SIGINT");
		signals_watch();
		ck_assert_uint_eq(signals_count(), 0);
	}
END_TEST

/* In a batch stage, which cannot be asked to stop. */
START_TEST(a_second_one_kills_where_nobody_heeds)
	{
		signals_watch();
		raise(SIGTERM);
		raise(SIGTERM);
	}
END_TEST

/* The phases of a night: between two of them nobody looks, and one signal is not lost. */
START_TEST(one_that_comes_between_two_loops_is_still_there)
	{
		signals_watch();
		signals_heed(true);
		signals_heed(false);
		raise(SIGTERM);
		signals_heed(true);
		ck_assert_uint_eq(signals_count(), 1);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("signals");
	TCase *t = tcase_create("signals");
	tcase_add_test(t, signals_are_counted_and_named);
	tcase_add_test_raise_signal(t, a_second_one_kills_where_nobody_heeds, SIGTERM);
	tcase_add_test(t, one_that_comes_between_two_loops_is_still_there);
	suite_add_tcase(s, t);
	return run_suite(s);
}
