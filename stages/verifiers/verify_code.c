/*
 * code: runs the candidate's code against tests in the sandbox (sandbox/check_code.h).
 *
 * A run keeps a core busy for tens of milliseconds to seconds, so it has threads of its own: in the loop's pool of four,
 * a few sleeping candidates would hold up all other verifiers. The loop keeps the queue and hands out as many runs as there are
 * threads; so what is cancelled leaves the queue, and what is running is killed. Results come back through a uv_async_t, which is
 * what brings uv.h here.
 *
 * With a reference solution, the first candidate of a prompt waits for its run: it shows how much time this machine
 * needs, and whether the tests are right at all. If the reference fails, nothing is known about the candidates.
 */
#include "verifiers/verifiers.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "group.h"
#include "run.h"
#include "verifiers/sandbox/check_code.h"
#include "verifiers/sandbox/code_block.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#include <uv.h>

#define TESTS_MAX 10000

enum take { TAKE_BLOCK, TAKE_TEXT };

struct code_config {
	uint32_t language, take;
	char *field, *tests, *entry_point, *prefix, *setup, *reference, *interpreter;
	uint64_t time_limit_ms, wall_limit_ms, memory_bytes, output_bytes, scratch_bytes;
	uint32_t processes, parallel;
	double reference_factor;
	bool unsafe;
};

static const char *const take_names[] = {"block", "text", NULL};

static const struct param params[] = {
	PARAM_ENUM("language", struct code_config, language, .names = code_language_names,
		.def = "python", .help = "what the code is written in"),
	PARAM_ENUM("take", struct code_config, take, .names = take_names, .def = "block",
		.help = "what of the candidate is code: its last fenced block, or all of it"),
	PARAM_STR("field", struct code_config, field, .min = 1,
		.help = "field of the prompt that holds the code, instead of the candidate"),
	PARAM_STR("tests", struct code_config, tests, .def = "test", .min = 1,
		.help = "field with the tests: one text, or a list of assertions"),
	PARAM_STR("entry_point", struct code_config, entry_point, .min = 1,
		.help = "field with the name under test; a check() that the tests define gets it"),
	PARAM_STR("prefix", struct code_config, prefix, .min = 1,
		.help = "field with the code that the candidate continues or defines anew"),
	PARAM_STR("setup", struct code_config, setup, .min = 1,
		.help = "field with code that the tests need"),
	PARAM_STR("reference", struct code_config, reference, .min = 1,
		.help = "field with a right solution: it must pass, and time limits follow it"),
	PARAM_DOUBLE("reference_factor", struct code_config, reference_factor, .def = "4", .min = 1,
		.max = 1000,
		.help = "time limit as a multiple of what the reference takes, which itself has as "
			"many times time_limit"),
	PARAM_DURATION("time_limit", struct code_config, time_limit_ms, .def = "5s", .min = 100,
		.max = 3600000, .help = "CPU time of a run; more where the reference needs more"),
	PARAM_DURATION("wall_limit", struct code_config, wall_limit_ms, .def = "30s", .min = 100,
		.max = 7200000, .help = "time on the clock, for code that sleeps"),
	PARAM_SIZE("memory", struct code_config, memory_bytes, .def = "512MiB", .min = 64 << 20,
		.max = 1099511627776.0, .help = "of each process, and of all together"),
	PARAM_SIZE("output", struct code_config, output_bytes, .def = "1MiB", .min = 1024,
		.max = 1 << 30, .help = "of stdout, and of stderr"),
	PARAM_SIZE("scratch", struct code_config, scratch_bytes, .def = "64MiB", .min = 65536,
		.max = 107374182400.0,
		.help = "size of /tmp, the one folder that can be written to"),
	PARAM_U32("processes", struct code_config, processes, .def = "32", .min = 8, .max = 4096,
		.help = "processes and threads"),
	PARAM_STR("interpreter", struct code_config, interpreter, .min = 1,
		.help = "path or name; default: the language's in /usr/bin"),
	PARAM_U32("parallel", struct code_config, parallel, .max = 1024, .no_fingerprint = true,
		.help = "runs at a time; 0: one a core"),
	PARAM_BOOL("unsafe", struct code_config, unsafe, .no_fingerprint = true,
		.help = "run although the sandbox lacks a layer on this machine"),
	{0},
};

static const char *const reasons[] = {"passed", "failed", "time_limit", "memory_limit",
	"output_limit", "runtime_error", "compile_error", "test_error", "sandbox_error", "no_code",
	"no_tests", "reference_failed", NULL};
static const char *const failures[] = {"sandbox_error", NULL};

TAILQ_HEAD(run_list, code_run);

/* What the candidates of a prompt share; written by the loop only. */
struct code_prompt {
	struct slice *items;
	struct code_tests tests;
	struct slice reference;
	enum {
		REFERENCE_NONE,
		REFERENCE_NEW,
		REFERENCE_RUNNING,
		REFERENCE_PASSED,
		REFERENCE_BAD
	} state;
	uint64_t cpu_ms; /* limit of a run; 0: as configured */
	char detail[512]; /* why the reference is bad */
	struct code_run *running; /* the reference's, while there is one */
	struct run_list waiting; /* for it */
};

struct code_run {
	struct code_state *state;
	struct verify_job *job; /* NULL: a reference's */
	struct code_prompt *prompt;
	struct str code;
	struct code_outcome outcome;
	enum { RUN_QUEUED, RUN_WAITING, RUN_OUT, RUN_ANSWERED } where; /* RUN_OUT: a thread's */
	atomic_bool cancelled;
	TAILQ_ENTRY(code_run) link;
};

struct code_state {
	const struct code_config *config;
	struct run *run;
	struct code_checker *checker; /* owns */
	struct run_list queue; /* the loop's */
	uint32_t n_running; /* the loop's: handed out and not back */
	uv_async_t *async; /* owns; freed by its close callback */
	pthread_t *threads; /* owns */
	uint32_t n_threads;
	pthread_mutex_t mutex; /* guards the next three */
	struct run_list todo, done;
	bool stop;
	pthread_cond_t more;
};

static struct code_run *pop(struct run_list *list)
{
	struct code_run *run = TAILQ_FIRST(list);
	if (run) {
		TAILQ_REMOVE(list, run, link);
	}
	return run;
}

static void free_run(struct code_run *run)
{
	str_release(&run->code);
	free(run);
}

/* --- the threads --- */

static void *work(void *ctx)
{
	struct code_state *s = ctx;
	pthread_mutex_lock(&s->mutex);
	while (!s->stop) {
		struct code_run *run = pop(&s->todo);
		if (!run) {
			pthread_cond_wait(&s->more, &s->mutex);
			continue;
		}
		pthread_mutex_unlock(&s->mutex);
		struct slice code = {run->code.data, run->code.len};
		code_check(s->checker, code, &run->prompt->tests, run->prompt->cpu_ms,
			&run->cancelled, &run->outcome);
		pthread_mutex_lock(&s->mutex);
		TAILQ_INSERT_TAIL(&s->done, run, link);
		uv_async_send(s->async);
	}
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

/* --- the loop --- */

static void answer(struct code_run *run, const char *reason, bool known, const char *text)
{
	struct str detail;
	struct json_writer w = {.out = &detail};
	str_init(&detail, STR_NO_CAP);
	json_begin_object(&w);
	if (run->prompt && run->prompt->tests.n > 1) {
		json_member_uint(&w, "passed", run->outcome.n_passed);
		json_member_uint(&w, "tests", run->prompt->tests.n);
	}
	if (text && *text) {
		json_member_z(&w, "text", text);
	}
	json_end_object(&w);
	/* Times would differ from night to night, so they stay out of what is stored. */
	struct score score = {.known = known,
		.value = strcmp(reason, "passed") == 0 ? 1 : 0,
		.reason = reason,
		.detail = detail.len > 2 ? detail.data : NULL};
	verify_done(run->job, &score);
	str_release(&detail);
	free_run(run);
}

static void answer_outcome(struct code_run *run)
{
	enum code_status status = run->outcome.status;
	answer(run, code_status_names[status],
		status != CODE_SANDBOX_ERROR && status != CODE_TEST_ERROR, run->outcome.detail);
}

static void answer_bad_reference(void *ctx)
{
	struct code_run *run = ctx;
	answer(run, "reference_failed", false, run->prompt->detail);
}

static void answer_no_code(void *ctx)
{
	answer(ctx, "no_code", true, NULL);
}

static void enqueue(struct code_state *s, struct code_run *run)
{
	run->where = RUN_QUEUED;
	TAILQ_INSERT_TAIL(&s->queue, run, link);
}

/* Hands out what there are threads for. */
static void feed(struct code_state *s)
{
	struct code_run *run;
	if (s->n_running == 0 && !TAILQ_EMPTY(&s->queue)) {
		uv_ref((uv_handle_t *)s->async);
	}
	while (s->n_running < s->n_threads && (run = pop(&s->queue))) {
		s->n_running++;
		run->where = RUN_OUT;
		pthread_mutex_lock(&s->mutex);
		TAILQ_INSERT_TAIL(&s->todo, run, link);
		pthread_cond_signal(&s->more);
		pthread_mutex_unlock(&s->mutex);
	}
	if (s->n_running == 0) {
		/* An idle verifier must not keep the loop alive. */
		uv_unref((uv_handle_t *)s->async);
	}
}

static void reference_done(struct code_state *s, struct code_run *run)
{
	struct code_prompt *p = run->prompt;
	bool passed = run->outcome.status == CODE_PASSED;
	p->state = passed ? REFERENCE_PASSED : REFERENCE_BAD;
	if (passed) {
		double ms = (double)run->outcome.cpu_ms * s->config->reference_factor;
		p->cpu_ms = MAX((uint64_t)ms, s->config->time_limit_ms);
	} else {
		snprintf(p->detail, sizeof(p->detail), "%s: %.400s",
			code_status_names[run->outcome.status], run->outcome.detail);
	}
	free_run(run);
	p->running = NULL;
	for (struct code_run *waiting; (waiting = pop(&p->waiting));) {
		if (waiting->cancelled) {
			verify_cancelled(waiting->job);
			free_run(waiting);
		} else if (passed) {
			enqueue(s, waiting);
		} else {
			answer_bad_reference(waiting);
		}
	}
}

static void on_done(uv_async_t *async)
{
	struct code_state *s = async->data;
	struct run_list done = TAILQ_HEAD_INITIALIZER(done);
	pthread_mutex_lock(&s->mutex);
	TAILQ_CONCAT(&done, &s->done, link);
	pthread_mutex_unlock(&s->mutex);
	for (struct code_run *run; (run = pop(&done));) {
		s->n_running--;
		if (run->job) {
			answer_outcome(run);
		} else {
			reference_done(s, run);
		}
	}
	feed(s);
}

static struct code_run *new_run(struct code_state *s, struct code_prompt *p, struct verify_job *job)
{
	struct code_run *run = xcalloc(1, sizeof(*run));
	run->state = s;
	run->prompt = p;
	run->job = job;
	str_init(&run->code, STR_NO_CAP);
	if (job) {
		job->work = run;
	}
	return run;
}

static void start_reference(struct code_state *s, struct code_prompt *p)
{
	struct code_run *run = new_run(s, p, NULL);
	code_assemble(p->tests.prefix, p->tests.entry_point, p->reference, &run->code);
	/* What is right on a slow machine must be seen to be, before its time can be a measure. */
	p->cpu_ms = (uint64_t)((double)s->config->time_limit_ms * s->config->reference_factor);
	p->state = REFERENCE_RUNNING;
	p->running = run;
	enqueue(s, run);
}

/* False: there is none. */
static bool find_code(const struct code_state *s, const struct candidate *c, struct str *out)
{
	size_t len = 0;
	if (s->config->field) {
		const struct json *v = json_get(c->group->prompt.fields, s->config->field);
		const char *text = json_str(v, &len);
		str_append(out, text ? text : "", len);
	} else if (s->config->take == TAKE_TEXT) {
		str_append(out, c->text.len ? c->text.data : "", c->text.len);
	} else {
		code_block_find(c->text, code_language_tags(s->config->language), out);
	}
	return out->len > 0;
}

static void submit(void *state, struct verify_job *job)
{
	struct code_state *s = state;
	struct code_prompt *p = job->prepared;
	struct code_run *run = new_run(s, p, job);
	struct str code;
	str_init(&code, STR_NO_CAP);
	bool found = find_code(s, job->candidate, &code);
	if (found) {
		code_assemble(p->tests.prefix, p->tests.entry_point,
			(struct slice){code.data, code.len}, &run->code);
	}
	str_release(&code);
	if (!found) {
		run->where = RUN_ANSWERED;
		loop_after(s->run->loop, 0, answer_no_code, run);
		return;
	}
	if (p->state == REFERENCE_BAD) {
		run->where = RUN_ANSWERED;
		loop_after(s->run->loop, 0, answer_bad_reference, run);
		return;
	}
	if (p->state == REFERENCE_NEW) {
		start_reference(s, p);
	}
	if (p->state == REFERENCE_RUNNING) {
		run->where = RUN_WAITING;
		TAILQ_INSERT_TAIL(&p->waiting, run, link);
	} else {
		enqueue(s, run);
	}
	feed(s);
}

static void tell_cancelled(void *ctx)
{
	verify_cancelled(ctx);
}

/* Nobody waits for the reference any more. */
static void drop_reference(struct code_state *s, struct code_prompt *p)
{
	TAILQ_REMOVE(&s->queue, p->running, link);
	free_run(p->running);
	p->running = NULL;
	p->state = REFERENCE_NEW;
}

static bool all_cancelled(const struct run_list *list)
{
	const struct code_run *run;
	TAILQ_FOREACH(run, list, link)
	{
		if (!run->cancelled) {
			return false;
		}
	}
	return true;
}

/*
 * A thread reads what is the group's, so nothing may be given back while one is at it: then the run, or the reference's that it waits
 * for, is killed, and what becomes of it is the answer.
 */
static void cancel(void *state, struct verify_job *job)
{
	struct code_state *s = state;
	struct code_run *run = job->work;
	struct code_prompt *p = run->prompt;
	run->cancelled = true;
	if (run->where == RUN_OUT || run->where == RUN_ANSWERED) {
		return;
	}
	if (run->where == RUN_WAITING && p->running->where == RUN_OUT) {
		p->running->cancelled = all_cancelled(&p->waiting);
		return;
	}
	TAILQ_REMOVE(run->where == RUN_QUEUED ? &s->queue : &p->waiting, run, link);
	if (run->where == RUN_WAITING && TAILQ_EMPTY(&p->waiting)) {
		drop_reference(s, p);
	}
	free_run(run);
	loop_after(s->run->loop, 0, tell_cancelled, job);
}

/* --- a prompt --- */

static struct slice field(const struct prompt *prompt, const char *name)
{
	struct slice text = {"", 0};
	const char *data = name ? json_str(json_get(prompt->fields, name), &text.len) : NULL;
	if (data) {
		text.data = data;
	}
	return text;
}

static bool read_tests(const struct json *v, struct arena *arena, struct code_prompt *p)
{
	bool list = json_kind(v) == JSON_ARRAY;
	size_t n = list ? json_len(v) : 1;
	if (n == 0 || n > TESTS_MAX) {
		return false;
	}
	p->items = arena_alloc_array(arena, n, sizeof(*p->items));
	for (size_t i = 0; i < n; i++) {
		p->items[i].data = json_str(list ? json_at(v, i) : v, &p->items[i].len);
		if (!p->items[i].data || !p->items[i].len) {
			return false;
		}
	}
	p->tests.items = p->items;
	p->tests.n = n;
	return true;
}

static bool prepare(const void *state, const struct prompt *prompt, struct arena *arena,
	void **out_prepared, const char **out_reason)
{
	const struct code_config *c = ((const struct code_state *)state)->config;
	struct code_prompt *p = arena_alloc(arena, sizeof(*p));
	if (!read_tests(json_get(prompt->fields, c->tests), arena, p)) {
		*out_reason = "no_tests";
		return false;
	}
	p->tests.prefix = field(prompt, c->prefix);
	p->tests.setup = field(prompt, c->setup);
	p->tests.entry_point = field(prompt, c->entry_point);
	p->reference = field(prompt, c->reference);
	p->tests.reference = p->reference;
	p->state = p->reference.len ? REFERENCE_NEW : REFERENCE_NONE;
	TAILQ_INIT(&p->waiting);
	*out_prepared = p;
	return true;
}

/* --- life --- */

static void check(const void *config, const struct tree *tree, const struct node *node,
	struct error_list *errors)
{
	const struct code_config *c = config;
	struct error err = {0};
	if (c->prefix && !c->entry_point) {
		const struct node *at = node ? node_get(node, "prefix") : NULL;
		node_error(&err, tree, at ? at : node, "prefix needs entry_point");
		error_hint(&err,
			"without the name under test nobody can tell it from what the "
			"prompt defines beside it");
		error_list_add(errors, &err);
	}
	if (c->wall_limit_ms < c->time_limit_ms) {
		const struct node *at = node ? node_get(node, "wall_limit") : NULL;
		node_error(&err, tree, at ? at : node,
			"wall_limit must not be shorter than time_limit, which is %llu ms",
			(unsigned long long)c->time_limit_ms);
		error_list_add(errors, &err);
	}
}

static bool open_threads(struct code_state *s, struct error *err)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t wanted = s->config->parallel ? s->config->parallel : (uint32_t)MAX(cores, 1);
	s->async = xcalloc(1, sizeof(*s->async));
	uv_async_init(loop_uv(s->run->loop), s->async, on_done);
	s->async->data = s;
	uv_unref((uv_handle_t *)s->async);
	s->threads = xcalloc(wanted, sizeof(*s->threads));
	for (; s->n_threads < wanted; s->n_threads++) {
		int rc = pthread_create(&s->threads[s->n_threads], NULL, work, s);
		if (rc != 0) {
			return error_set(err, FAIL_IO, "could not start thread %u of %u: %s",
				s->n_threads + 1, wanted, strerror(rc));
		}
	}
	return true;
}

static bool open_code(void *state, const void *config, struct run *run, struct error *err)
{
	struct code_state *s = state;
	const struct code_config *c = config;
	s->config = c;
	s->run = run;
	TAILQ_INIT(&s->queue);
	TAILQ_INIT(&s->todo);
	TAILQ_INIT(&s->done);
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->more, NULL);
	struct code_checker_config checker = {
		.language = c->language,
		.interpreter = c->interpreter,
		.scratch_bytes = c->scratch_bytes,
		.limits = {.cpu_ms = c->time_limit_ms,
			.wall_ms = c->wall_limit_ms,
			.memory_bytes = c->memory_bytes,
			.output_bytes = c->output_bytes,
			.processes = c->processes},
		.unsafe = c->unsafe,
	};
	s->checker = code_checker_new(&checker, err);
	if (!s->checker) {
		return false;
	}
	if (code_checker_missing(s->checker)) {
		log_warn("running models' code without a layer of the sandbox, as `unsafe` allows",
			"missing", code_checker_missing(s->checker), NULL);
	}
	return open_threads(s, err);
}

static void async_closed(uv_handle_t *handle)
{
	free(handle);
}

static void close_code(void *state)
{
	struct code_state *s = state;
	if (!s->config) {
		return;
	}
	pthread_mutex_lock(&s->mutex);
	s->stop = true;
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->mutex);
	for (uint32_t i = 0; i < s->n_threads; i++) {
		pthread_join(s->threads[i], NULL);
	}
	free(s->threads);
	if (s->async) {
		uv_close((uv_handle_t *)s->async, async_closed);
	}
	code_checker_free(s->checker);
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->mutex);
}

const struct verifier_ops verify_code = {
	.name = "code",
	.summary = "1: the code passes all tests; 0: it does not, or there is none; null: the "
		   "sandbox, the tests or the reference failed",
	.version = 2,
	.params = params,
	.config_size = sizeof(struct code_config),
	.state_size = sizeof(struct code_state),
	.reasons = reasons,
	.failures = failures,
	.check = check,
	.open = open_code,
	.prepare = prepare,
	.submit = submit,
	.cancel = cancel,
	.close = close_code,
};
