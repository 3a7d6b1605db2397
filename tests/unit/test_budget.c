/* The budget's controller, fifty simulated nights, deadlines over the clock changes of a year, and energy counters that start again. */
#include "budget.h"

#include "base/clock.h"
#include "base/energy.h"
#include "bench/night.h"
#include "deadline.h"
#include "fixture.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define HOUR_MS INT64_C(3600000)
#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3" /* needs no data on the machine */

/* --- nights --- */

START_TEST(fifty_nights_are_never_late_and_waste_little)
	{
		double used = 0, thrown = 0;
		for (uint64_t seed = 1; seed <= 50; seed++) {
			struct night night;
			night_simulate(seed, false, &night);
			ck_assert_msg(night.ended_early_s >= 0, "night %d is %.1f s late",
				(int)seed, -night.ended_early_s);
			ck_assert_double_ge(night.used, 0.95);
			ck_assert_double_le(night.thrown, 0.02);
			used += night.used / 50;
			thrown += night.thrown / 50;
		}
		ck_assert_double_ge(used, 0.99);
		ck_assert_double_le(thrown, 0.005);
	}
END_TEST

START_TEST(a_night_is_the_same_again)
	{
		struct night a, b;
		night_simulate(7, false, &a);
		night_simulate(7, false, &b);
		ck_assert_mem_eq(&a, &b, sizeof(a));
	}
END_TEST

/* --- leave --- */

#define BEGUN_MS INT64_C(1795500000000)

/* Teaches n candidates of so many tokens at 10 ms each. */
static void teach(struct budget *b, const char *source, unsigned n, uint32_t n_tokens)
{
	unsigned no = budget_source(b, source);
	for (unsigned i = 0; i < n; i++) {
		struct budget_ticket t = {0};
		budget_begin(b, &t, no, BEGUN_MS);
		budget_end(b, &t, BEGUN_MS + 10 * (int64_t)n_tokens, n_tokens);
	}
}

static struct budget budget;

static void with_deadline(void)
{
	budget_init(&budget,
		&(struct budget_limits){
			.deadline_ms = BEGUN_MS + HOUR_MS, .drain_ms = 600000, .tokens = 0});
}

static enum budget_answer ask_at(int64_t before_deadline_ms, const char *source)
{
	return budget_ask(
		&budget, BEGUN_MS + HOUR_MS - before_deadline_ms, budget_source(&budget, source));
}

START_TEST(until_lengths_are_known_drain_decides)
	{
		with_deadline();
		ck_assert_int_eq(ask_at(600001, "a"), BUDGET_GO);
		ck_assert_int_eq(ask_at(600000, "a"), BUDGET_LATE);
		ck_assert(!budget_has_leave(&budget, BEGUN_MS + HOUR_MS - 1));
		budget_release(&budget);
	}
END_TEST

START_TEST(short_sources_go_on_when_long_ones_are_late)
	{
		with_deadline();
		teach(&budget, "long", 200, 3000); /* 30 s */
		teach(&budget, "short", 200, 100); /* 1 s */
		ck_assert_int_eq(ask_at(60000, "long"), BUDGET_GO);
		ck_assert_int_eq(ask_at(20000, "long"), BUDGET_LATE);
		ck_assert_int_eq(ask_at(20000, "short"), BUDGET_GO);
		ck_assert(budget_has_leave(&budget, BEGUN_MS + HOUR_MS - 20000));
		ck_assert_int_eq(ask_at(500, "short"), BUDGET_LATE);
		ck_assert_int_eq(ask_at(0, "short"), BUDGET_LATE);
		budget_release(&budget);
	}
END_TEST

START_TEST(an_engine_that_gets_slower_stops_earlier)
	{
		with_deadline();
		teach(&budget, "a", 200, 1000); /* 10 s */
		ck_assert_int_eq(ask_at(15000, "a"), BUDGET_GO);
		for (unsigned i = 0; i < 200; i++) { /* now 40 s */
			struct budget_ticket t = {0};
			budget_begin(&budget, &t, 0, BEGUN_MS);
			budget_end(&budget, &t, BEGUN_MS + 40000, 1000);
		}
		ck_assert_int_eq(ask_at(15000, "a"), BUDGET_LATE);
		budget_release(&budget);
	}
END_TEST

START_TEST(what_comes_after_is_kept_free)
	{
		with_deadline();
		budget.reserve_ms = 60000;
		budget_verified(&budget, 8000);
		ck_assert_int_eq(budget_flow_end(&budget), BEGUN_MS + HOUR_MS - 60000);
		ck_assert_int_eq(budget_generation_end(&budget), BEGUN_MS + HOUR_MS - 70000);
		teach(&budget, "a", 200, 100);
		ck_assert_int_eq(ask_at(70000, "a"), BUDGET_LATE);
		ck_assert_int_eq(ask_at(80000, "a"), BUDGET_GO);
		budget_release(&budget);
	}
END_TEST

/* Of 300 candidates one in five takes ten times as long. */
START_TEST(no_more_is_put_at_stake_than_a_share)
	{
		static struct budget_ticket tickets[64];
		with_deadline();
		for (unsigned i = 0; i < 60; i++) {
			teach(&budget, "a", 4, 1000);
			teach(&budget, "a", 1, 10000);
		}
		unsigned n = 0;
		while (n < 64 && ask_at(20000, "a") == BUDGET_GO) {
			budget_begin(&budget, &tickets[n++], 0, BEGUN_MS + HOUR_MS - 20000);
		}
		/* 60 * 14000 tokens were generated; each of these stakes about 2000 / 5. */
		ck_assert_uint_ge(n, 10);
		ck_assert_uint_lt(n, 40);
		ck_assert_int_eq(ask_at(20000, "a"), BUDGET_WAIT);
		for (unsigned i = 0; i < n; i++) {
			budget_end(&budget, &tickets[i], BEGUN_MS + HOUR_MS - 10001, 1000);
		}
		ck_assert_int_eq(ask_at(19000, "a"), BUDGET_GO);
		budget_release(&budget);
	}
END_TEST

START_TEST(tokens_in_flight_are_counted_before_they_come)
	{
		struct budget_ticket a = {0}, b = {0};
		budget_init(&budget, &(struct budget_limits){.tokens = 1000});
		budget_add_tokens(&budget, 500); /* of an earlier sitting */
		teach(&budget, "a", 2, 100);
		ck_assert_int_eq(budget_ask(&budget, BEGUN_MS, 0), BUDGET_GO);
		budget_begin(&budget, &a, 0, BEGUN_MS);
		budget_begin(&budget, &b, 0, BEGUN_MS);
		ck_assert_int_eq(budget_ask(&budget, BEGUN_MS, 0), BUDGET_GO);
		struct budget_ticket c = {0};
		budget_begin(&budget, &c, 0, BEGUN_MS);
		ck_assert_int_eq(budget_ask(&budget, BEGUN_MS, 0), BUDGET_TOKENS);
		budget_end(&budget, &a, BEGUN_MS + 100, 10); /* shorter than expected */
		ck_assert_int_eq(budget_ask(&budget, BEGUN_MS, 0), BUDGET_GO);
		budget_forget(&budget, &b);
		budget_drop(&budget, &c, BEGUN_MS + 500);
		ck_assert_uint_eq(budget.n_thrown, 1);
		ck_assert_uint_eq(budget.n_flying, 0);
		budget_release(&budget);
	}
END_TEST

START_TEST(energy_ends_it)
	{
		budget_init(&budget, &(struct budget_limits){.energy_wh = 5});
		budget.energy_wh = 4.99;
		ck_assert_int_eq(budget_ask(&budget, BEGUN_MS, 0), BUDGET_GO);
		budget.energy_wh = 5;
		ck_assert_int_eq(budget_ask(&budget, BEGUN_MS, 0), BUDGET_ENERGY);
		ck_assert_str_eq(budget_reason(BUDGET_ENERGY), "energy");
		budget_release(&budget);
	}
END_TEST

START_TEST(any_number_of_sources_finds_a_place)
	{
		with_deadline();
		for (unsigned i = 0; i < 100; i++) {
			AUTO_FREE char *name = xasprintf("source%u", i);
			ck_assert_uint_lt(budget_source(&budget, name), BUDGET_SOURCES_MAX);
		}
		ck_assert_uint_eq(budget_source(&budget, "source3"), 3);
		budget_release(&budget);
	}
END_TEST

/* --- local time --- */

static const struct next_case {
	const char *zone;
	int64_t now_s; /* UTC */
	int hour, minute;
	const char *expected;
} next_cases[] = {
	/* The same day, over midnight, and never the present moment itself. */
	{"UTC0", 1795500000, 7, 30, "2026-11-24 07:30:00 UTC"},
	{"UTC0", 1795500000, 6, 0, "2026-11-25 06:00:00 UTC"},
	{BERLIN, 1795500000, 6, 0, "2026-11-25 06:00:00 CET"},
	{"NST3:30", 1795500000, 6, 15, "2026-11-24 06:15:00 NST"},
	{"LINT-14", 1795500000, 6, 0, "2026-11-25 06:00:00 LINT"},
	/* 2026-03-29: 02:00 CET is 03:00 CEST. 02:30 does not exist: the jump. */
	{BERLIN, 1774738800, 2, 30, "2026-03-29 03:00:00 CEST"},
	{BERLIN, 1774738800, 1, 59, "2026-03-29 01:59:00 CET"},
	{BERLIN, 1774738800, 2, 0, "2026-03-29 03:00:00 CEST"},
	{BERLIN, 1774738800, 3, 0, "2026-03-29 03:00:00 CEST"},
	{BERLIN, 1774738800, 6, 0, "2026-03-29 06:00:00 CEST"},
	/* After the jump the next one is tomorrow's, which exists. */
	{BERLIN, 1774746000, 2, 30, "2026-03-30 02:30:00 CEST"},
	/* 2026-10-25: 03:00 CEST is 02:00 CET. 02:30 comes twice: the first; after it, the second. */
	{BERLIN, 1792875600, 2, 30, "2026-10-25 02:30:00 CEST"},
	{BERLIN, 1792888200, 2, 30, "2026-10-25 02:30:00 CET"},
	{BERLIN, 1792891800, 2, 30, "2026-10-26 02:30:00 CET"},
	{BERLIN, 1792875600, 6, 0, "2026-10-25 06:00:00 CET"},
	{BERLIN, 1792875600, 3, 0, "2026-10-25 03:00:00 CET"},
	/* South of the equator, and half an hour (Lord Howe). */
	{"AEST-10AEDT,M10.1.0,M4.1.0/3", 1790985600, 2, 30, "2026-10-04 03:00:00 AEDT"},
	{"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 1790985600, 2, 15, "2026-10-04 02:30:00 +11"},
	/* The year ends. */
	{BERLIN, 1798754400, 0, 0, "2027-01-01 00:00:00 CET"},
};

START_TEST(a_time_of_day_is_the_next_one_of_the_local_clock)
	{
		const struct next_case *c = &next_cases[_i];
		char stamp[40];
		ck_assert_int_eq(setenv("TZ", c->zone, 1), 0);
		int64_t at = clock_next(c->now_s * 1000, c->hour, c->minute);
		ck_assert_int_gt(at, c->now_s * 1000);
		clock_stamp(at, stamp);
		ck_assert_str_eq(stamp, c->expected);
	}
END_TEST

/* Against the slow way: the first minute that the local clock shows, if it is shown that day. */
START_TEST(of_a_whole_year_every_answer_is_the_first_moment)
	{
		ck_assert_int_eq(setenv("TZ", BERLIN, 1), 0);
		tzset();
		for (int64_t now = INT64_C(1767222000); now < INT64_C(1798758000); now += 86399) {
			int hour = (int)(now / 7 % 24), minute = (int)(now / 11 % 60);
			int64_t at = clock_next(now * 1000, hour, minute) / 1000;
			ck_assert_int_gt(at, now);
			ck_assert_int_le(at, now + 25 * 3600);
			for (int64_t t = now - now % 60 + 60; t < at; t += 60) {
				struct tm tm;
				time_t seconds = (time_t)t;
				localtime_r(&seconds, &tm);
				ck_assert(tm.tm_hour != hour || tm.tm_min != minute);
			}
		}
	}
END_TEST

/* --- deadlines --- */

static const struct {
	const char *text;
	int kind; /* -1: none */
} texts[] = {
	{"06:00", DEADLINE_DAILY},
	{"6:00", DEADLINE_DAILY},
	{"23:59", DEADLINE_DAILY},
	{"2026-11-25 06:00", DEADLINE_MOMENT},
	{"2026-11-25T06:00", DEADLINE_MOMENT},
	{"2028-02-29 06:00", DEADLINE_MOMENT},
	{"8h", DEADLINE_AFTER},
	{"90m", DEADLINE_AFTER},
	{"24:00", -1},
	{"06:60", -1},
	{"0600", -1},
	{"06:00 ", -1},
	{"+6:00", -1},
	{"06:00:00", -1},
	{"2026-02-30 06:00", -1},
	{"2027-02-29 06:00", -1},
	{"2026-13-01 06:00", -1},
	{"2026-11-25", -1},
	{"2026-11-25 06:00 CET", -1},
	{"0s", -1},
	{"-8h", -1},
	{"99999d", -1},
	{"", -1},
	{"tomorrow", -1},
};

START_TEST(a_deadline_has_three_forms)
	{
		struct deadline d;
		bool ok = deadline_parse(texts[_i].text, &d);
		ck_assert_msg(ok == (texts[_i].kind >= 0), "'%s'", texts[_i].text);
		ck_assert(!ok || (int)d.kind == texts[_i].kind);
	}
END_TEST

START_TEST(a_moment_may_have_passed_and_a_duration_counts_from_now)
	{
		struct deadline d;
		ck_assert_int_eq(setenv("TZ", BERLIN, 1), 0);
		ck_assert(deadline_parse("2026-10-25 02:30", &d));
		ck_assert_int_eq(deadline_of(&d, BEGUN_MS), INT64_C(1792888200000));
		ck_assert(deadline_parse("90m", &d));
		ck_assert_int_eq(deadline_of(&d, BEGUN_MS), BEGUN_MS + 3 * HOUR_MS / 2);
	}
END_TEST

/* --- energy --- */

static void zone(const char *name, const char *energy, const char *range)
{
	AUTO_FREE char *dir = fixture_path(name);
	struct error err;
	ck_assert_ok(file_make_dirs(dir, &err), err);
	ck_assert_ok(file_publish(dir, "energy_uj", energy, strlen(energy), &err), err);
	ck_assert_ok(file_publish(dir, "max_energy_range_uj", range, strlen(range), &err), err);
}

START_TEST(packages_are_added_up_and_their_parts_are_not)
	{
		struct energy_meter m;
		zone("intel-rapl:0", "1000000\n", "65532610987\n");
		zone("intel-rapl:1", "5000000\n", "65532610987\n");
		zone("intel-rapl:0:0", "1000000\n", "65532610987\n");
		zone("intel-rapl-mmio:0", "1000000\n", "65532610987\n");
		ck_assert(energy_open(&m, fixture_dir));
		ck_assert_double_eq_tol(energy_read(&m), 0, 1e-9);
		zone("intel-rapl:0", "3500000\n", "65532610987\n");
		zone("intel-rapl:1", "6000000\n", "65532610987\n");
		zone("intel-rapl:0:0", "9000000\n", "65532610987\n");
		zone("intel-rapl-mmio:0", "9000000\n", "65532610987\n");
		ck_assert_double_eq_tol(energy_read(&m), 3.5, 1e-9);
		energy_close(&m);
	}
END_TEST

START_TEST(a_counter_that_starts_again_loses_nothing)
	{
		struct energy_meter m;
		zone("intel-rapl:0", "9000000\n", "10000000\n");
		ck_assert(energy_open(&m, fixture_dir));
		zone("intel-rapl:0", "500000\n", "10000000\n");
		ck_assert_double_eq_tol(energy_read(&m), 1.5, 1e-9);
		zone("intel-rapl:0", "700000\n", "10000000\n");
		ck_assert_double_eq_tol(energy_read(&m), 1.7, 1e-9);
		energy_close(&m);
	}
END_TEST

START_TEST(without_counters_nothing_is_measured)
	{
		struct energy_meter m;
		ck_assert(!energy_open(&m, fixture_dir));
		energy_close(&m);
		ck_assert(!energy_open(&m, "/nonexistent"));
		energy_close(&m);
		zone("intel-rapl:0", "no number\n", "10000000\n");
		ck_assert(!energy_open(&m, fixture_dir));
		energy_close(&m);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("budget");
	TCase *nights = tcase_create("nights"), *leave = tcase_create("leave"),
	      *time = tcase_create("time"), *energy = tcase_create("energy");
	tcase_add_test(nights, fifty_nights_are_never_late_and_waste_little);
	tcase_add_test(nights, a_night_is_the_same_again);
	tcase_add_test(leave, until_lengths_are_known_drain_decides);
	tcase_add_test(leave, short_sources_go_on_when_long_ones_are_late);
	tcase_add_test(leave, an_engine_that_gets_slower_stops_earlier);
	tcase_add_test(leave, what_comes_after_is_kept_free);
	tcase_add_test(leave, no_more_is_put_at_stake_than_a_share);
	tcase_add_test(leave, tokens_in_flight_are_counted_before_they_come);
	tcase_add_test(leave, energy_ends_it);
	tcase_add_test(leave, any_number_of_sources_finds_a_place);
	tcase_add_loop_test(time, a_time_of_day_is_the_next_one_of_the_local_clock, 0,
		sizeof(next_cases) / sizeof(next_cases[0]));
	tcase_add_test(time, of_a_whole_year_every_answer_is_the_first_moment);
	tcase_add_loop_test(time, a_deadline_has_three_forms, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(time, a_moment_may_have_passed_and_a_duration_counts_from_now);
	tcase_add_checked_fixture(energy, fixture_set_up, fixture_tear_down);
	tcase_add_test(energy, packages_are_added_up_and_their_parts_are_not);
	tcase_add_test(energy, a_counter_that_starts_again_loses_nothing);
	tcase_add_test(energy, without_counters_nothing_is_measured);
	suite_add_tcase(suite, nights);
	suite_add_tcase(suite, leave);
	suite_add_tcase(suite, time);
	suite_add_tcase(suite, energy);
	return run_suite(suite);
}
