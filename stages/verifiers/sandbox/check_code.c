#include "verifiers/sandbox/check_code.h"

#include "base/attr.h"
#include "base/json.h"
#include "base/mem.h"
#include "check_python.h"
#include "verifiers/sandbox/interpreter.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NONCE_BYTES 16
#define ARGS_MAX 12
#define COMPILE_CPU_MS 10000
#define COMPILE_WALL_MS 60000
#define HARNESS_FD (SANDBOX_INPUT_FD + 2) /* behind the code and the secret */

struct language {
	const char *name;
	const char *interpreter;
	const char *query; /* for one outside /usr: see interpreter.h */
	const char *options[4]; /* between the interpreter and a script; end with NULL */
	const char *harness;
	const char *compile; /* script: writes its first argument, compiled, to the report */
	const char *start; /* script: runs what `compile` made, which it reads from HARNESS_FD */
	const char *tags[4];
	struct {
		const char *code, *test, *entry_point;
	} trivial; /* what code_checker_new tries */
};

/*
 * Python: no site-packages (-S, -s) and no bytecode files (-B), which also makes the start faster; the environment is ours, so it need not
 * be ignored, and PYTHONHASHSEED must not be. Compiling the harness takes as long as starting the interpreter.
 */
static const struct language languages[] = {
	{
		.name = "python",
		.interpreter = "/usr/bin/python3",
		.query = "import "
			 "os,sys;print(os.path.realpath(sys.executable),sys.base_prefix,sys.prefix,"
			 "sep='\\n')",
		.options = {"-sSB", "-c"},
		.harness = check_python_py,
		.compile =
			"import marshal,os,sys;"
			"os.write(3,marshal.dumps(compile(sys.argv[1],'check_python.py','exec')))",
		.start = "import marshal,os;exec(marshal.loads(os.read(6,1<<20)))",
		.tags = {"python", "py", "python3"},
		.trivial = {"def f(x):\n    return x + 1\n", "assert f(1) == 2", "f"},
	},
};

const char *const code_language_names[] = {"python", NULL};

const char *const code_status_names[CODE_N_STATUSES] = {"passed", "failed", "time_limit",
	"memory_limit", "output_limit", "runtime_error", "compile_error", "test_error",
	"sandbox_error"};

struct code_checker {
	const struct language *language;
	struct interpreter interpreter;
	struct sandbox *box;
	struct sandbox_limits limits;
	struct str harness; /* compiled */
};

static_assert(HARNESS_FD == 6, "the number in the rows of `languages`");

const char *const *code_language_tags(uint32_t language)
{
	return languages[language].tags;
}

const char *code_checker_missing(const struct code_checker *checker)
{
	return sandbox_missing(checker->box);
}

/* Not from base/rng.h: the candidate must not be able to guess it. */
static bool make_nonce(char out[2 * NONCE_BYTES + 1])
{
	unsigned char bytes[NONCE_BYTES];
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
		return false;
	}
	for (size_t i = 0; i < sizeof(bytes); i++) {
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	}
	return true;
}

static void put(struct json_writer *w, const char *key, struct slice value)
{
	if (value.len) {
		json_key(w, key);
		json_put_str(w, value.data, value.len);
	}
}

/* What the harness reads once the candidate's process is apart. */
static void write_secret(struct str *out, const struct code_tests *tests, const char *nonce)
{
	struct json_writer w = {.out = out};
	json_begin_object(&w);
	json_member_z(&w, "nonce", nonce);
	put(&w, "prefix", tests->prefix);
	put(&w, "setup", tests->setup);
	put(&w, "entry_point", tests->entry_point);
	put(&w, "reference", tests->reference);
	json_key(&w, "tests");
	json_begin_array(&w);
	for (size_t i = 0; i < tests->n; i++) {
		json_put_str(&w, tests->items[i].data, tests->items[i].len);
	}
	json_end_array(&w);
	json_end_object(&w);
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Addresses ("<f object at 0x7f...>") differ from run to run, and what is stored must not: their digits go. */
static void set_detail(struct code_outcome *out, enum code_status status, const char *detail)
{
	size_t n = 0;
	out->status = status;
	while (*detail && n + 1 < sizeof(out->detail)) {
		bool address = n >= 2 && out->detail[n - 2] == '0' && out->detail[n - 1] == 'x';
		size_t digits = 0;
		while (address && is_hex(detail[digits])) {
			digits++;
		}
		detail += digits >= 8 ? digits : 0;
		if (*detail) {
			out->detail[n++] = *detail++;
		}
	}
	out->detail[n] = '\0';
}

/* False: no line of the report is a verdict with this run's nonce. */
static bool take_verdict(const struct str *report, const char *nonce, struct code_outcome *out)
{
	static const char started[] = "started\n";
	struct error err = {0};
	if (strncmp(report->data, started, strlen(started)) != 0) {
		return false;
	}
	size_t skip = strlen(started);
	AUTO_JSON struct json *v = json_parse(report->data + skip, report->len - skip, &err);
	const char *said = json_z(json_get(v, "nonce")), *word = json_z(json_get(v, "status"));
	int64_t n_passed = 0, cpu_ms = 0;
	if (!said || !word || strcmp(said, nonce) != 0) {
		return false;
	}
	for (int i = 0; i < CODE_N_STATUSES; i++) {
		if (strcmp(word, code_status_names[i]) == 0) {
			const char *detail = json_z(json_get(v, "detail"));
			set_detail(out, (enum code_status)i, detail ? detail : "");
			json_int(json_get(v, "passed"), &n_passed);
			json_int(json_get(v, "cpu_ms"), &cpu_ms);
			out->n_passed = n_passed > 0 ? (uint32_t)n_passed : 0;
			out->cpu_ms = cpu_ms > 0 ? (uint64_t)cpu_ms : 0;
			return true;
		}
	}
	return false;
}

/*
 * The checker is the init of its namespace, where nobody can kill it: somebody outside has, or the kernel for want of memory. Without
 * the namespace the candidate can.
 */
static bool was_killed_from_outside(
	const struct code_checker *checker, const struct sandbox_result *result)
{
	return !sandbox_missing(checker->box) && result->exit_code == 128 + SIGKILL;
}

static void judge(const struct code_checker *checker, const struct sandbox_result *result,
	const char *nonce, struct code_outcome *out)
{
	switch (result->end) {
	case SANDBOX_TIME:
		set_detail(out, CODE_TIME_LIMIT, "CPU time");
		return;
	case SANDBOX_WALL:
		set_detail(out, CODE_TIME_LIMIT, "wall clock");
		return;
	case SANDBOX_MEMORY:
		set_detail(out, CODE_MEMORY_LIMIT, "memory of all processes");
		return;
	case SANDBOX_OUTPUT:
		set_detail(out, CODE_OUTPUT_LIMIT, "printed too much");
		return;
	case SANDBOX_PROCESSES:
		set_detail(out, CODE_RUNTIME_ERROR, "too many processes");
		return;
	case SANDBOX_STOPPED:
		set_detail(out, CODE_SANDBOX_ERROR, "stopped");
		return;
	case SANDBOX_FAILED:
		set_detail(out, CODE_SANDBOX_ERROR, result->err.data);
		return;
	case SANDBOX_EXITED:
		break;
	}
	if (take_verdict(&result->report, nonce, out)) {
		return;
	}
	if (was_killed_from_outside(checker, result)) {
		set_detail(out, CODE_SANDBOX_ERROR, "the run was killed by somebody outside");
	} else if (result->report.len == 0) {
		set_detail(out, CODE_SANDBOX_ERROR,
			result->err.len ? result->err.data : "the harness did not start");
	} else {
		set_detail(out, CODE_RUNTIME_ERROR, "the run ended without a verdict");
	}
}

static void put_argv(
	const struct code_checker *checker, const char *argv[ARGS_MAX], const char *const *args)
{
	size_t n = 0;
	argv[n++] = checker->interpreter.path;
	for (const char *const *option = checker->language->options; *option; option++) {
		argv[n++] = *option;
	}
	for (; *args; args++) {
		argv[n++] = *args;
	}
	argv[n] = NULL;
	assert(n < ARGS_MAX);
}

static void check_once(const struct code_checker *checker, struct slice code,
	const struct code_tests *tests, const struct sandbox_limits *limits,
	const atomic_bool *stop, struct code_outcome *out)
{
	char nonce[2 * NONCE_BYTES + 1], processes[16], cpu_s[24];
	const char *argv[ARGS_MAX];
	struct str secret;
	struct sandbox_result result;
	*out = (struct code_outcome){0};
	if (!make_nonce(nonce)) {
		set_detail(out, CODE_SANDBOX_ERROR, "there are no random numbers");
		return;
	}
	str_init(&secret, STR_NO_CAP);
	write_secret(&secret, tests, nonce);
	snprintf(processes, sizeof(processes), "%u",
		sandbox_missing(checker->box) ? 0 : limits->processes);
	snprintf(cpu_s, sizeof(cpu_s), "%llu", (unsigned long long)limits->cpu_ms / 1000 + 1);
	put_argv(checker, argv, (const char *[]){checker->language->start, processes, cpu_s, NULL});
	struct sandbox_command command = {.argv = argv,
		.inputs = {code, {secret.data, secret.len},
			{checker->harness.data, checker->harness.len}},
		.n_inputs = 3,
		.limits = *limits,
		.stop = stop};
	sandbox_run(checker->box, &command, &result);
	out->cpu_ms = result.cpu_ms;
	judge(checker, &result, nonce, out);
	out->wall_ms = result.wall_ms;
	sandbox_result_release(&result);
	str_release(&secret);
}

static size_t tests_bytes(const struct code_tests *tests)
{
	size_t bytes = tests->prefix.len + tests->setup.len + tests->reference.len;
	for (size_t i = 0; i < tests->n; i++) {
		bytes += tests->items[i].len;
	}
	return bytes;
}

void code_check(const struct code_checker *checker, struct slice code,
	const struct code_tests *tests, uint64_t cpu_ms, const atomic_bool *stop,
	struct code_outcome *out)
{
	struct sandbox_limits limits = checker->limits;
	if (cpu_ms) {
		/* The backstop keeps its distance. */
		limits.wall_ms += cpu_ms > limits.cpu_ms ? cpu_ms - limits.cpu_ms : 0;
		limits.cpu_ms = cpu_ms;
	}
	*out = (struct code_outcome){0};
	if (code.len > CODE_BYTES_MAX) {
		set_detail(out, CODE_COMPILE_ERROR, "longer than 256 KiB");
		return;
	}
	if (tests_bytes(tests) > CODE_TESTS_BYTES_MAX) {
		set_detail(out, CODE_TEST_ERROR, "the tests are longer than 4 MiB");
		return;
	}
	check_once(checker, code, tests, &limits, stop, out);
	if (out->status == CODE_SANDBOX_ERROR && !(stop && atomic_load(stop))) {
		check_once(checker, code, tests, &limits, stop, out);
	}
}

static bool compile_harness(struct code_checker *checker, struct error *err)
{
	const char *argv[ARGS_MAX];
	struct sandbox_result result;
	put_argv(checker, argv,
		(const char *[]){checker->language->compile, checker->language->harness, NULL});
	struct sandbox_command command = {.argv = argv, .limits = checker->limits};
	/* The candidate's time limits say nothing of this, which happens once, and on a machine that may be busy. */
	command.limits.cpu_ms = MAX(command.limits.cpu_ms, COMPILE_CPU_MS);
	command.limits.wall_ms = MAX(command.limits.wall_ms, COMPILE_WALL_MS);
	sandbox_run(checker->box, &command, &result);
	bool ok = result.end == SANDBOX_EXITED && result.exit_code == 0 && result.report.len;
	if (ok) {
		str_append(&checker->harness, result.report.data, result.report.len);
	} else {
		error_set(err, FAIL_IO,
			"the interpreter '%s' does not start in the sandbox: %.300s",
			checker->interpreter.path,
			result.err.len                         ? result.err.data
				: result.end == SANDBOX_EXITED ? "it printed nothing"
							       : "it met a limit");
		error_hint(err, "it must be readable for everybody");
	}
	sandbox_result_release(&result);
	return ok;
}

/* Limits may be too low for the harness itself. */
static bool try_it(const struct code_checker *checker, struct error *err)
{
	const struct language *l = checker->language;
	struct slice test = slice_z(l->trivial.test);
	struct code_tests tests = {
		.items = &test, .n = 1, .entry_point = slice_z(l->trivial.entry_point)};
	struct code_outcome outcome;
	code_check(checker, slice_z(l->trivial.code), &tests, 0, NULL, &outcome);
	if (outcome.status == CODE_PASSED) {
		return true;
	}
	error_set(err, FAIL_IO, "a trivial check does not pass in the sandbox: %s: %.300s",
		code_status_names[outcome.status], outcome.detail);
	return error_hint(
		err, "the limits may be too low for '%s' itself", checker->interpreter.path);
}

struct code_checker *code_checker_new(const struct code_checker_config *config, struct error *err)
{
	struct code_checker *c = xcalloc(1, sizeof(*c));
	c->language = &languages[config->language];
	c->limits = config->limits;
	str_init(&c->harness, STR_NO_CAP);
	if (interpreter_find(&c->interpreter, config->interpreter, c->language->interpreter,
		    c->language->query, err)) {
		struct sandbox_config box = {
			.readable = (const char *const *)c->interpreter.folders,
			.scratch_bytes = config->scratch_bytes,
			.unsafe = config->unsafe,
		};
		c->box = sandbox_new(&box, err);
	}
	if (!c->box || !compile_harness(c, err) || !try_it(c, err)) {
		code_checker_free(c);
		return NULL;
	}
	return c;
}

void code_checker_free(struct code_checker *checker)
{
	if (!checker) {
		return;
	}
	sandbox_free(checker->box);
	interpreter_release(&checker->interpreter);
	str_release(&checker->harness);
	free(checker);
}
