/*
 * Does this code pass these tests? A language is a row in a table: its interpreter, and the harness that runs in the sandbox,
 * talks to the candidate's process, and gives the verdict (check_python.py says how, and what it holds against a candidate that
 * wants to be called right).
 *
 *	struct code_checker *c = code_checker_new(&config, err);
 *	code_check(c, code, &tests, 0, &outcome);	// from several threads at once
 *	code_checker_free(c);
 */
#ifndef VERIFIERS_SANDBOX_CHECK_CODE_H
#define VERIFIERS_SANDBOX_CHECK_CODE_H

#include "verifiers/sandbox/sandbox.h"

enum code_status {
	CODE_PASSED,
	CODE_FAILED, /* a test said no */
	CODE_TIME_LIMIT,
	CODE_MEMORY_LIMIT,
	CODE_OUTPUT_LIMIT,
	CODE_RUNTIME_ERROR, /* the code raised, or ended the process */
	CODE_COMPILE_ERROR,
	CODE_TEST_ERROR, /* the tests are no code of that language; says nothing of the candidate */
	CODE_SANDBOX_ERROR, /* ours; says nothing of the candidate */
	CODE_N_STATUSES,
};

/* "passed", "failed", "time_limit", ... */
extern const char *const code_status_names[CODE_N_STATUSES];

struct code_tests {
	const struct slice *items; /* run in order; the first that fails ends the run */
	size_t n;
	/* All optional. */
	struct slice prefix; /* what the prompt showed: what it defines is the tests' to use */
	struct slice setup; /* run before the tests */
	struct slice
		entry_point; /* the name under test; a check() that the tests define is called with it */
	struct slice reference; /* without entry_point: what it defines is under test */
};

struct code_checker_config {
	uint32_t language; /* index into code_language_names */
	const char *interpreter; /* path or name; NULL: the language's */
	uint64_t scratch_bytes;
	struct sandbox_limits limits;
	bool unsafe;
};

struct code_outcome {
	enum code_status status;
	uint32_t n_passed;
	uint64_t cpu_ms, wall_ms;
	char detail[512];
};

#define CODE_BYTES_MAX (256 << 10)
#define CODE_TESTS_BYTES_MAX (4 << 20)

extern const char *const code_language_names[]; /* ends with NULL */
/* Tags of fenced blocks that mean this language, in lower case; ends with NULL. */
const char *const *code_language_tags(uint32_t language);

/* Runs a trivial check, so that whatever this machine lacks is told now. */
struct code_checker *code_checker_new(const struct code_checker_config *config, struct error *err);
void code_checker_free(struct code_checker *checker);
/* As sandbox_missing(). */
const char *code_checker_missing(const struct code_checker *checker);
/*
 * cpu_ms: another limit for this run; 0: as configured. A failure of the sandbox is tried once more. `stop` ends the run as
 * sandbox.h says, and the outcome is CODE_SANDBOX_ERROR. Thread-safe.
 */
void code_check(const struct code_checker *checker, struct slice code,
	const struct code_tests *tests, uint64_t cpu_ms, const atomic_bool *stop,
	struct code_outcome *out);

#endif
