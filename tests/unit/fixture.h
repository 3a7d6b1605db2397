/* What unit suites share: a temporary folder per test, and main(). */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"

#include <check.h>
#include <stdlib.h>

/* One per process; Check runs each test in its own. */
static char fixture_dir[64];

static inline void fixture_set_up(void)
{
	snprintf(fixture_dir, sizeof(fixture_dir), "/tmp/thresh-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fixture_dir));
}

static inline void fixture_tear_down(void)
{
	struct error err;
	ck_assert(file_remove_tree(fixture_dir, &err));
}

static inline char *fixture_path(const char *name)
{
	return file_join(fixture_dir, name);
}

static inline void fixture_write(const char *name, const char *text)
{
	struct error err;
	ck_assert(file_publish(fixture_dir, name, text, strlen(text), &err));
}

#define ck_assert_ok(call, err) ck_assert_msg((call), "%s", (err).msg)

static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
