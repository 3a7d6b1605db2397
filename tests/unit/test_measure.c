/* Precision, recall and AUC, by hand. */
#include "measure.h"

#include "base/mem.h"
#include "fixture.h"
#include "ledger/history.h"
#include "ledger/ledger.h"

#include <math.h>
#include <string.h>

START_TEST(figures_are_those_counted_by_hand)
	{
		struct labelled list[] = {
			{0.9, true}, {0.8, false}, {0.7, true}, {0.7, false}, {0.1, false}};
		struct measured m = {.list = list, .n = 5, .n_right = 2};
		struct outcome o = measured_at(&m, 0.7);
		ck_assert_uint_eq(o.n_kept, 4);
		ck_assert_double_eq_tol(o.precision, 0.5, 1e-12);
		ck_assert(o.precision_low > 0 && o.precision_low < 0.4);
		ck_assert_double_eq_tol(o.precision_low + o.precision_high, 1, 1e-9);
		ck_assert_double_eq_tol(o.recall, 1, 1e-12);
		ck_assert_double_eq_tol(o.kept, 0.8, 1e-12);
		o = measured_at(&m, 0.85);
		ck_assert_double_eq_tol(o.precision, 1, 1e-12);
		ck_assert_double_eq_tol(o.recall, 0.5, 1e-12);
		o = measured_at(&m, 0.95);
		ck_assert(isnan(o.precision) && isnan(o.precision_low));
		ck_assert_double_eq_tol(o.recall, 0, 1e-12);
		/* 0.9 beats three, 0.7 beats one and ties with one: 4.5 of 6. */
		ck_assert_double_eq_tol(measured_auc(&m), 0.75, 1e-12);
		m.n_right = 0;
		for (size_t i = 0; i < 5; i++) {
			list[i].right = false;
		}
		ck_assert(isnan(measured_auc(&m)));
		ck_assert(isnan(measured_at(&m, 0.5).recall));
	}
END_TEST

static struct error err;

static void add(struct ledger *l, int64_t prompt, const char *fields, double judge, double math)
{
	AUTO_FREE char *id = xasprintf("%032lld", (long long)prompt);
	ck_assert_ok(ledger_add_prompt(l,
			     &(struct ledger_prompt){.id = prompt,
				     .prompt_id = id,
				     .source = "s",
				     .row_no = 1,
				     .fields = slice_z(fields)},
			     &err),
		err);
	ck_assert_ok(ledger_add_candidate(l,
			     &(struct ledger_candidate){.id = prompt * 4096,
				     .prompt = prompt,
				     .state = "accepted",
				     .reason = "accept",
				     .finish = "stop",
				     .token_source = "none",
				     .attempts = 1,
				     .text = slice_z("x")},
			     &err),
		err);
	const struct ledger_score scores[] = {{"judge", "x", NULL, judge >= 0, judge, true, 0, 0},
		{"math", "x", NULL, math >= 0, math, false, 0, 0}};
	for (size_t i = 0; i < 2; i++) {
		ck_assert_ok(ledger_add_score(l, prompt * 4096, &scores[i], &err), err);
	}
}

START_TEST(labels_come_from_fields_and_verifiers)
	{
		struct measures m;
		AUTO_FREE char *path = fixture_path("ledger.db");
		struct ledger *l = ledger_open(path, LEDGER_CREATE, &err);
		ck_assert_ptr_nonnull(l);
		add(l, 1, "{\"ok\": true}", 0.9, 1);
		add(l, 2, "{\"ok\": \"no\"}", 0.4, 0);
		add(l, 3, "{\"ok\": 0}", 0.6, 1);
		add(l, 4, "{\"ok\": \"perhaps\"}", 0.5, -1);
		add(l, 5, "{}", -1, 0);
		ck_assert_ok(measures_read(l, "ok", &m, &err), err);
		ck_assert_uint_eq(m.n_labelled, 3);
		ck_assert_uint_eq(m.n, 2);
		ck_assert_str_eq(m.list[0].verifier, "judge");
		ck_assert_uint_eq(m.list[0].n, 3);
		ck_assert_uint_eq(m.list[0].n_between, 3);
		ck_assert_uint_eq(m.list[1].n_between, 0);
		ck_assert_double_eq_tol(measured_auc(&m.list[0]), 1, 1e-12);
		measures_release(&m);
		ck_assert_ok(measures_read(l, "math", &m, &err), err);
		ck_assert_uint_eq(m.n_labelled, 4);
		ck_assert_uint_eq(m.n, 1);
		ck_assert_uint_eq(m.list[0].n, 3);
		measures_release(&m);
		ck_assert_ok(measures_read(l, "nothing", &m, &err), err);
		ck_assert_uint_eq(m.n_labelled + m.n, 0);
		measures_release(&m);
		ledger_close(l);
	}
END_TEST

START_TEST(a_calibration_is_of_one_fingerprint)
	{
		AUTO_FREE char *path = fixture_path("history.db");
		struct history *h = history_open(path, &err);
		ck_assert_msg(h != NULL, "%s", err.msg);
		ck_assert(!history_is_calibrated(h, "judge", "aa"));
		for (int i = 0; i < 2; i++) {
			ck_assert_ok(history_set_calibration(h,
					     &(struct history_calibration){
						     "judge", "aa", "math", 10, 1, i ? 0.5 : NAN},
					     &err),
				err);
		}
		history_close(h);
		h = history_open(path, &err);
		ck_assert_ptr_nonnull(h);
		ck_assert(history_is_calibrated(h, "judge", "aa"));
		ck_assert(!history_is_calibrated(h, "judge", "bb"));
		ck_assert(!history_is_calibrated(h, "other", "aa"));
		history_close(h);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("measure");
	TCase *tc = tcase_create("measure");
	tcase_add_checked_fixture(tc, fixture_set_up, fixture_tear_down);
	tcase_add_test(tc, figures_are_those_counted_by_hand);
	tcase_add_test(tc, labels_come_from_fields_and_verifiers);
	tcase_add_test(tc, a_calibration_is_of_one_fingerprint);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
