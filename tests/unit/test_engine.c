/*
 * The engine against the fake one, which misbehaves as its script says: whose fault is what, what is tried again, what is given
 * up, and that every callback comes exactly once. FAKE_ENGINE names the program; the binary of this test is also the helper
 * through which a served engine is started.
 */
#include "engine/engine.h"
#include "engine/guard.h"
#include "engine/loop.h"
#include "engine/scoring.h"
#include "engine/server.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 64
#define CANDIDATES_MAX 64

struct seen {
	unsigned n; /* callbacks for it */
	enum engine_reason reason;
	enum finish finish;
	uint32_t attempts, n_ids, first_id, last_id, n_tokens, n_continued;
	uint64_t ids_hash, text_hash;
	float logprobs[512];
	bool has_logprobs;
	char text[256], msg[512], endpoint[64];
};

static char dir[] = "/tmp/thresh-engine-XXXXXX";
static struct loop *loop;
static struct engine *engine;
static struct engine_config config;
static struct error err, failure;
static char *urls[4];
static pid_t fakes[4];
static char *script_path, *log_path;
static const char *fake_words[8]; /* further words for the next fake engine; NULL ends them */

static bool is_ready, is_failed, is_closed;
static unsigned n_events;
static uint32_t prompt_ids[4096];
static struct engine_prompt prompt;
static struct error prompt_failure;
static unsigned n_prompts;
static struct seen seen[JOBS_MAX][CANDIDATES_MAX];
static struct engine_job jobs[JOBS_MAX];
static struct engine_request *requests[JOBS_MAX];
static unsigned n_jobs, n_candidates, n_expected;
static struct engine_sampling sampling;
static struct engine_message message;

/* --- the fake engine --- */

static void write_script(const char *text)
{
	ck_assert(file_publish(dir, "script", text, strlen(text), &err));
}

/* Starts one on `port` (0: a free one) and waits until it says where it listens. */
static void start_fake(
	unsigned i, unsigned port, const char *dialect, const char *slots, const char *context)
{
	const char *program = getenv("FAKE_ENGINE");
	AUTO_FREE char *port_text = xasprintf("%u", port);
	const char *args[32] = {program, "--die-with-parent", "--dialect", dialect, "--slots",
		slots, "--context", context, "--port", port_text, "--script", script_path, "--log",
		log_path};
	char line[128] = "";
	int ends[2];

	ck_assert_msg(program != NULL, "FAKE_ENGINE is not set");
	ck_assert_int_eq(pipe(ends), 0);
	fakes[i] = fork();
	if (fakes[i] == 0) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		for (unsigned k = 0, n = 14; fake_words[k] != NULL; k++)
			args[n++] = fake_words[k];
		execv(program, (char *const *)(uintptr_t)args);
		_exit(127);
	}
	close(ends[1]);
	FILE *out = fdopen(ends[0], "r");
	ck_assert_msg(fgets(line, sizeof(line), out) != NULL, "the fake engine did not start");
	fclose(out);
	line[strcspn(line, "\n")] = '\0';
	const char *url = strstr(line, "http://");
	ck_assert_ptr_nonnull(url);
	free(urls[i]);
	urls[i] = xstrdup(url);
}

static void stop_fake(unsigned i)
{
	if (fakes[i] <= 0)
		return;
	kill(fakes[i], SIGKILL);
	waitpid(fakes[i], NULL, 0);
	fakes[i] = 0;
}

static unsigned port_of(const char *url)
{
	return (unsigned)strtoul(strrchr(url, ':') + 1, NULL, 10);
}

/* Lines of the fake's log that hold `word`. */
static unsigned count_log(const char *word)
{
	struct str text;
	unsigned n = 0;

	str_init(&text, 1 << 20);
	ck_assert(file_read(log_path, 1 << 20, &text, &err));
	for (const char *at = strstr(text.data, word); at != NULL; at = strstr(at + 1, word))
		n++;
	str_release(&text);
	return n;
}

/* --- events --- */

static void on_ready(void *ctx, struct engine *e)
{
	(void)ctx;
	(void)e;
	is_ready = true;
	n_events++;
	loop_stop(loop);
}

static void on_failed(void *ctx, struct engine *e, const struct error *why)
{
	(void)ctx;
	(void)e;
	is_failed = true;
	n_events++;
	failure = *why;
	loop_stop(loop);
}

static void on_closed(void *ctx)
{
	(void)ctx;
	is_closed = true;
	engine = NULL;
	loop_stop(loop);
}

static void on_prompt(void *ctx, const struct engine_prompt *p)
{
	(void)ctx;
	prompt = *p;
	if (p->err != NULL)
		prompt_failure = *p->err;
	ck_assert_uint_le(p->n, ARRAY_LEN(prompt_ids));
	if (p->n > 0)
		memcpy(prompt_ids, p->ids, p->n * sizeof(*p->ids));
	n_prompts++;
	loop_stop(loop);
}

static void on_candidate(void *ctx, const struct engine_candidate *c)
{
	unsigned job = (unsigned)(uintptr_t)ctx;
	struct seen *s;

	ck_assert_uint_lt(c->i, jobs[job].n);
	s = &seen[job][c->i];
	s->n++;
	ck_assert_uint_eq(s->n, 1);
	s->reason = c->reason;
	s->attempts = c->attempts;
	if (c->endpoint != NULL)
		snprintf(s->endpoint, sizeof(s->endpoint), "%s", c->endpoint);
	if (c->reason != ENGINE_OK) {
		snprintf(s->msg, sizeof(s->msg), "%.500s", c->err->msg);
	} else {
		s->finish = c->finish;
		s->n_ids = (uint32_t)c->n_ids;
		s->n_tokens = c->n_tokens;
		s->n_continued = c->n_continued;
		s->ids_hash = hash64(c->ids, c->n_ids * sizeof(*c->ids), 0);
		for (size_t i = 0; i < ARRAY_LEN(s->logprobs); i++)
			s->logprobs[i] = c->logprobs != NULL && i < c->n_ids ? c->logprobs[i] : NAN;
		s->text_hash = hash64(c->text.data, c->text.len, 0);
		s->first_id = c->n_ids > 0 ? c->ids[0] : 0;
		s->last_id = c->n_ids > 0 ? c->ids[c->n_ids - 1] : 0;
		s->has_logprobs = c->logprobs != NULL && c->n_ids > 0 && c->logprobs[0] <= 0;
		snprintf(
			s->text, sizeof(s->text), "%.*s", (int)MIN(c->text.len, 250), c->text.data);
	}
	if (++n_candidates == n_expected)
		loop_stop(loop);
}

static void on_timeout(void *ctx)
{
	(void)ctx;
	ck_abort_msg("nothing happened for 20 s");
}

static void run_loop(void)
{
	struct loop_timer *guard = loop_after(loop, 20000, on_timeout, NULL);

	loop_run(loop);
	loop_timer_stop(guard);
}

/* --- doing things --- */

static void setup(void)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	log_set_level(LOG_LEVEL_ERROR);
	script_path = file_join(dir, "script");
	log_path = file_join(dir, "log");
	write_script("");
	ck_assert(file_publish(dir, "log", "", 0, &err));
	loop = loop_new();
	sampling = (struct engine_sampling){
		.temperature = 0.8, .top_p = 0.95, .repeat_penalty = 1, .max_tokens = 200};
	message = (struct engine_message){"user", slice_z("What is 2+3? [fake: len=20]")};
	config = (struct engine_config){
		.name = "student",
		.dialect = "auto",
		.urls = urls,
		.n_urls = 1,
		.retries = 2,
		.connect_timeout_ms = 2000,
		.request_timeout_ms = 10000,
		.down_timeout_ms = 10000,
		.response_bytes_max = 8 << 20,
	};
}

static void teardown(void)
{
	if (engine != NULL) {
		engine_close(engine, on_closed, NULL);
		run_loop();
		ck_assert(is_closed);
	}
	loop_free(loop);
	for (unsigned i = 0; i < ARRAY_LEN(fakes); i++) {
		stop_fake(i);
		free(urls[i]);
	}
	free(script_path);
	free(log_path);
	ck_assert(file_remove_tree(dir, &err));
}

static void start_engine(void)
{
	struct engine_events events = {on_ready, on_failed, NULL};

	engine = engine_new(loop, &config, dir, events);
	engine_start(engine);
	/* Not from inside the call. */
	ck_assert(!is_ready && !is_failed);
	run_loop();
}

static void open_engine(const char *dialect, const char *script)
{
	write_script(script);
	start_fake(0, 0, dialect, "4", "4096");
	start_engine();
	ck_assert_msg(is_ready, "%s", failure.msg);
}

static void tokenize(const char *text, enum special_policy policy)
{
	unsigned before = n_prompts;

	message.content = slice_z(text);
	engine_tokenize(engine, &message, 1, policy, on_prompt, NULL);
	ck_assert_uint_eq(n_prompts, before);
	run_loop();
	ck_assert_uint_eq(n_prompts, before + 1);
}

/* Adds a job of n candidates for the prompt that was tokenized last. */
static void add_job(uint32_t n)
{
	jobs[n_jobs] = (struct engine_job){
		.messages = &message,
		.n_messages = 1,
		.prompt_ids = prompt_ids,
		.n_prompt_ids = prompt.n,
		.sampling = &sampling,
		.n = n,
		.seed = 1000 * (n_jobs + 1),
		.logprobs = true,
	};
	n_expected += n;
	requests[n_jobs] = engine_generate(
		engine, &jobs[n_jobs], on_candidate, (void *)(uintptr_t)n_jobs);
	n_jobs++;
}

/* An engine that fails stops the loop, and what it cancels may come after that. */
static void finish_jobs(void)
{
	run_loop();
	if (is_failed && n_candidates < n_expected)
		run_loop();
	ck_assert_uint_eq(n_candidates, n_expected);
}

static void generate(uint32_t n)
{
	tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
	ck_assert_msg(prompt.reason == ENGINE_OK, "%d", (int)prompt.reason);
	add_job(n);
	finish_jobs();
}

static const struct seen *one(void)
{
	generate(1);
	return &seen[0][0];
}

/* --- scores --- */

static struct engine_scores scores;
static double score_values[8];
static struct error score_err;

static void on_scores(void *ctx, const struct engine_scores *s)
{
	(void)ctx;
	scores = *s;
	if (s->err != NULL)
		score_err = *s->err;
	for (size_t i = 0; i < s->n_rows * s->n_columns; i++)
		score_values[i] = s->values[i];
	loop_stop(loop);
}

static void score(const char *api, bool steps)
{
	struct engine_message messages[] = {{"user", slice_z("[fake: answer=42 reward=2]")},
		{"assistant", slice_z("6 \xc3\x97 7<extra_0>\\boxed{42}<extra_0>")}};
	struct engine_score_job job = {.api = scoring_find(api),
		.messages = messages,
		.n_messages = 2,
		.raw = true,
		.steps = steps,
		.affinity = 7};

	engine_score(engine, &job, on_scores, NULL);
	run_loop();
}

START_TEST(scores_come_as_a_table)
	{
		open_engine("openai", "");
		score("pooling", false);
		ck_assert_msg(scores.reason == ENGINE_OK, "%s", score_err.msg);
		ck_assert_uint_eq(scores.n_rows * scores.n_columns, 1);
		ck_assert_double_eq_tol(score_values[0], 2, 1e-9);
		score("pooling", true);
		ck_assert_msg(scores.reason == ENGINE_OK, "%s", score_err.msg);
		ck_assert_uint_eq(scores.n_rows, 2);
		ck_assert_uint_eq(scores.n_columns, 2);
		ck_assert_double_eq_tol(score_values[1], 0.45, 1e-6);
		ck_assert_double_eq_tol(score_values[3], 0.9, 1e-6);
	}
END_TEST

START_TEST(a_route_that_is_not_there_is_asked_for_once)
	{
		open_engine("llama.cpp", "");
		score("rerank", false);
		ck_assert_int_eq(scores.reason, ENGINE_REJECTED);
		ck_assert_int_eq(scores.status, 501);
		ck_assert_ptr_nonnull(strstr(score_err.msg, "--reranking"));
		ck_assert_uint_eq(count_log("/v1/rerank"), 1);
		score("pooling", false);
		ck_assert_int_eq(scores.reason, ENGINE_REJECTED);
		ck_assert_int_eq(scores.status, 404);
	}
END_TEST

START_TEST(scores_that_make_no_sense_are_asked_for_again)
	{
		open_engine("openai",
			"{\"path\":\"/"
			"pooling\",\"nth\":1,\"fault\":\"body\",\"body\":\"{\\\"data\\\":[]}\"}");
		score("pooling", false);
		ck_assert_msg(scores.reason == ENGINE_OK, "%s", score_err.msg);
		ck_assert_uint_eq(count_log("/pooling"), 2);
	}
END_TEST

/* --- the good night --- */

START_TEST(llamacpp_gives_ids_with_eos_and_logprobs)
	{
		const struct engine_info *info;

		open_engine("llama.cpp", "");
		info = engine_info(engine);
		ck_assert_str_eq(info->dialect, "llama.cpp");
		ck_assert_uint_eq(info->n_slots, 4);
		ck_assert_uint_eq(info->context, 4096);
		ck_assert(info->has_ids);
		ck_assert_uint_eq(strlen(info->chat_template_hash), 32);
		generate(6);
		ck_assert_uint_gt(prompt.n, 0);
		for (unsigned i = 0; i < 6; i++) {
			ck_assert_msg(seen[0][i].reason == ENGINE_OK, "%s", seen[0][i].msg);
			ck_assert_int_eq(seen[0][i].finish, FINISH_STOP);
			ck_assert(seen[0][i].has_logprobs);
			ck_assert_uint_eq(seen[0][i].last_id, seen[0][0].last_id);
			ck_assert_uint_eq(seen[0][i].attempts, 1);
		}
		ck_assert_str_ne(seen[0][0].text, seen[0][1].text);
	}
END_TEST

START_TEST(candidates_are_the_same_however_they_are_asked_for)
	{
		open_engine("llama.cpp", "");
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		add_job(4);
		finish_jobs();
		add_job(4);
		n_expected = 8;
		finish_jobs();
		jobs[2] = jobs[0];
		jobs[2].per_request = 4;
		n_jobs = 3;
		n_expected = 12;
		engine_generate(engine, &jobs[2], on_candidate, (void *)(uintptr_t)2);
		finish_jobs();
		for (unsigned i = 0; i < 4; i++)
			ck_assert_str_eq(seen[0][i].text, seen[2][i].text);
		ck_assert_uint_eq(count_log("\"n\":4"), 1);
	}
END_TEST

/* --- streams --- */

static const struct guard_config unguarded = {.loop = 1u << 30, .period = 1};
static const struct guard_config for_loops = {.loop = 48, .period = 64};

/* The job before, asked for in another way. */
static void add_again(const struct guard_config *guard, uint32_t per_request)
{
	jobs[n_jobs] = jobs[n_jobs - 1];
	jobs[n_jobs].guard = guard;
	jobs[n_jobs].per_request = per_request;
	n_expected += jobs[n_jobs].n;
	engine_generate(engine, &jobs[n_jobs], on_candidate, (void *)(uintptr_t)n_jobs);
	n_jobs++;
	finish_jobs();
}

/* A first job that is not asked for itself. */
static void plan_job(uint32_t n)
{
	jobs[0] = (struct engine_job){.prompt_ids = prompt_ids,
		.n_prompt_ids = prompt.n,
		.sampling = &sampling,
		.n = n,
		.seed = 1,
		.logprobs = true};
	n_jobs = 1;
}

static void check_same(unsigned a, unsigned b)
{
	for (unsigned i = 0; i < jobs[a].n; i++) {
		ck_assert_msg(seen[b][i].reason == ENGINE_OK, "%s", seen[b][i].msg);
		ck_assert_str_eq(seen[a][i].text, seen[b][i].text);
		ck_assert_uint_eq(seen[a][i].text_hash, seen[b][i].text_hash);
		ck_assert_int_eq(seen[a][i].finish, seen[b][i].finish);
		/* What lies in front of a stop string is told with another certainty. */
		if (seen[a][i].finish == FINISH_STOP_STRING) {
			ck_assert_uint_le(seen[b][i].n_ids, seen[a][i].n_ids);
			ck_assert_uint_ge(seen[b][i].n_ids + 8, seen[a][i].n_ids);
			continue;
		}
		ck_assert_uint_eq(seen[a][i].n_ids, seen[b][i].n_ids);
		ck_assert_uint_eq(seen[a][i].ids_hash, seen[b][i].ids_hash);
		/* The fake engine tells some in one piece that a stream cannot have. */
		for (size_t k = 0; k < ARRAY_LEN(seen[a][i].logprobs); k++)
			ck_assert(seen[a][i].logprobs[k] == seen[b][i].logprobs[k] ||
				isnan(seen[b][i].logprobs[k]));
		/* Without ids a server may count the end of the turn or not. */
		ck_assert_uint_le(seen[b][i].n_tokens, seen[a][i].n_tokens);
		ck_assert_uint_ge(
			seen[b][i].n_tokens + (seen[a][i].n_ids == 0), seen[a][i].n_tokens);
	}
}

START_TEST(a_stream_gives_what_the_answer_in_one_piece_gives)
	{
		static char *words[] = {"the total", "boxed"};
		static const char *const dialect_names[] = {"llama.cpp", "openai"};

		open_engine(dialect_names[_i % 2], "");
		tokenize("What is 2+3? [fake: len=150]", SPECIAL_TEXT);
		/* With stop strings, cut by a limit, and without either. */
		sampling.stop = words;
		sampling.n_stop = _i / 2 == 1 ? 2 : 0;
		sampling.max_tokens = _i / 2 == 2 ? 67 : 300;
		add_job(32);
		finish_jobs();
		add_again(&unguarded, 1);
		check_same(0, 1);
		add_again(NULL, 4);
		check_same(0, 2);
	}
END_TEST

START_TEST(ids_that_a_stream_hides_are_found_or_asked_for)
	{
		struct engine_stats stats;

		open_engine("llama.cpp", "{\"path\":\"/completion\",\"nth\":1,\"fault\":\"400\"}");
		tokenize("What is 2+3? [fake: len=150]", SPECIAL_TEXT);
		plan_job(40);
		/* The vocabulary is refused: every candidate whose text has a character of several tokens is asked for again. */
		add_again(&unguarded, 1);
		engine_stats(engine, &stats);
		ck_assert_uint_gt(stats.asked_again, 4);
		ck_assert_uint_lt(stats.asked_again, 40);
		add_again(NULL, 1);
		check_same(1, 2);
	}
END_TEST

START_TEST(a_cut_stream_loses_only_what_was_not_done)
	{
		struct engine_stats stats;

		open_engine("llama.cpp",
			"{\"path\":\"/completion\",\"prompt_contains\":\"2+3\",\"nth\":1,\"fault\":"
			"\"half\"}");
		tokenize("What is 2+3? [fake: len=60 loop=0.5]", SPECIAL_TEXT);
		sampling.max_tokens = 400;
		plan_job(4);
		jobs[0].logprobs = false; /* with them, only what is guarded streams */
		add_again(NULL, 4);
		add_again(NULL, 1);
		check_same(1, 2);
		/* Some were done when the connection broke, at the first attempt. */
		unsigned first = 0;
		for (unsigned i = 0; i < 4; i++)
			first += seen[1][i].attempts == 1;
		ck_assert_uint_gt(first, 0);
		ck_assert_uint_lt(first, 4);
		engine_stats(engine, &stats);
		ck_assert_uint_eq(stats.waiting, 0);
	}
END_TEST

START_TEST(a_loop_is_cut_and_the_rest_is_not)
	{
		struct engine_stats stats;
		unsigned loops = 0;
		static const char *const dialect_names[] = {"llama.cpp", "openai"};

		open_engine(dialect_names[_i % 2], "");
		tokenize("What is 2+3? [fake: len=60 loop=0.3]", SPECIAL_TEXT);
		sampling.max_tokens = 2000;
		add_job(24);
		finish_jobs();
		add_again(&for_loops, _i < 2 ? 1 : 3);
		for (unsigned i = 0; i < 24; i++) {
			if (seen[0][i].finish == FINISH_LENGTH) {
				loops++;
				ck_assert_msg(
					seen[1][i].finish == FINISH_LOOP, "%s", seen[1][i].text);
				ck_assert_uint_lt(seen[1][i].n_tokens, 400);
				ck_assert_uint_gt(seen[1][i].n_tokens, 40);
				ck_assert(strncmp(seen[0][i].text, seen[1][i].text, 60) == 0);
			} else {
				ck_assert_int_eq(seen[1][i].finish, seen[0][i].finish);
				ck_assert_uint_eq(seen[1][i].ids_hash, seen[0][i].ids_hash);
			}
		}
		ck_assert_uint_gt(loops, 2);
		ck_assert_uint_lt(loops, 20);
		/* A server may still be saying that it is done. */
		engine_stats(engine, &stats);
		ck_assert_uint_eq(stats.waiting, 0);
	}
END_TEST

START_TEST(a_stream_that_makes_no_sense_is_asked_for_again)
	{
		static const char *const faults[] = {"not_json", "empty", "nan", "few", "half",
			"cut", "invalid_utf8", "wrong_count"};
		AUTO_FREE char *script = xasprintf(
			"{\"path\":\"/"
			"completion\",\"prompt_contains\":\"2+3\",\"nth\":1,\"fault\":\"%s\"}",
			faults[_i]);

		open_engine("llama.cpp", script);
		tokenize("What is 2+3? [fake: len=30]", SPECIAL_TEXT);
		plan_job(2);
		add_again(&unguarded, 2);
		add_again(NULL, 1);
		check_same(2, 1);
		ck_assert_uint_eq(count_log(faults[_i]), 1);
	}
END_TEST

START_TEST(a_cut_candidate_is_continued_from_its_ids)
	{
		struct engine_stats stats;

		open_engine("llama.cpp", "");
		tokenize("What is 2+3? [fake: len=60]", SPECIAL_TEXT);
		sampling.max_tokens = 25;
		add_job(8);
		finish_jobs();
		for (unsigned i = 0; i < 8; i++)
			ck_assert_int_eq(seen[0][i].finish, FINISH_LENGTH);
		jobs[1] = jobs[0];
		jobs[1].continuations = 5;
		n_jobs = 2;
		n_expected += 8;
		engine_generate(engine, &jobs[1], on_candidate, (void *)(uintptr_t)1);
		finish_jobs();
		for (unsigned i = 0; i < 8; i++) {
			ck_assert_msg(seen[1][i].reason == ENGINE_OK, "%s", seen[1][i].msg);
			ck_assert_uint_eq(seen[1][i].first_id, seen[0][i].first_id);
			ck_assert(strncmp(seen[0][i].text, seen[1][i].text, 20) == 0);
			ck_assert_uint_gt(seen[1][i].n_continued, 0);
			ck_assert_uint_le(seen[1][i].n_continued, 5);
			ck_assert_uint_gt(seen[1][i].n_ids, 25);
			ck_assert(seen[1][i].has_logprobs);
			ck_assert_uint_eq(seen[1][i].attempts, 1 + seen[1][i].n_continued);
			ck_assert_int_eq(seen[1][i].finish, FINISH_STOP);
		}
		engine_stats(engine, &stats);
		ck_assert_uint_ge(stats.continued, 8);
		/* Streamed it is the same. */
		add_again(&unguarded, 1);
		check_same(1, 2);
		/* Not without end. */
		jobs[2].continuations = 1;
		add_again(NULL, 4);
		for (unsigned i = 0; i < 8; i++) {
			ck_assert_int_eq(seen[3][i].finish, FINISH_LENGTH);
			ck_assert_uint_eq(seen[3][i].n_ids, 50);
		}
	}
END_TEST

START_TEST(a_job_is_cancelled_in_the_middle_of_its_streams)
	{
		open_engine(
			"llama.cpp", "{\"path\":\"/completion\",\"fault\":\"slow\",\"ms\":300}");
		tokenize("What is 2+3? [fake: len=60]", SPECIAL_TEXT);
		add_job(4);
		jobs[1] = jobs[0];
		jobs[1].guard = &for_loops;
		jobs[1].per_request = 2;
		n_jobs = 2;
		n_expected += 4;
		requests[1] = engine_generate(engine, &jobs[1], on_candidate, (void *)(uintptr_t)1);
		engine_cancel(requests[0]);
		engine_cancel(requests[1]);
		finish_jobs();
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(seen[1][i].reason, ENGINE_CANCELLED);
	}
END_TEST

START_TEST(openai_gives_text_and_no_ids)
	{
		open_engine("openai", "");
		ck_assert_str_eq(engine_info(engine)->dialect, "openai");
		ck_assert(!engine_info(engine)->has_ids);
		generate(3);
		ck_assert_uint_eq(prompt.n, 0);
		for (unsigned i = 0; i < 3; i++) {
			ck_assert_msg(seen[0][i].reason == ENGINE_OK, "%s", seen[0][i].msg);
			ck_assert_uint_eq(seen[0][i].n_ids, 0);
			ck_assert_uint_gt(strlen(seen[0][i].text), 0);
		}
	}
END_TEST

START_TEST(more_work_than_slots_waits_in_order)
	{
		struct engine_stats stats;

		open_engine("llama.cpp", "");
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		ck_assert(engine_has_room(engine));
		for (unsigned i = 0; i < 16; i++)
			add_job(4);
		ck_assert(!engine_has_room(engine));
		engine_stats(engine, &stats);
		/* Four slots and one sent ahead. */
		ck_assert_uint_eq(stats.in_flight, 5);
		ck_assert_uint_eq(stats.waiting, 59);
		finish_jobs();
		engine_stats(engine, &stats);
		ck_assert_uint_eq(stats.waiting + stats.in_flight, 0);
		ck_assert_uint_gt(stats.tokens_generated, 64);
		ck_assert(engine_has_room(engine));
	}
END_TEST

/* --- requests that fail --- */

static const struct {
	const char *script;
	enum engine_reason reason;
	uint32_t attempts;
} faults[] = {
	{"{\"path\":\"/completion\",\"nth\":1,\"fault\":\"500\"}\n", ENGINE_OK, 2},
	/* curl itself asks once more when a kept connection turns out to be closed; the second cut is an attempt. */
	{"{\"path\":\"/completion\",\"every\":1,\"times\":2,\"fault\":\"cut\"}\n", ENGINE_OK, 2},
	{"{\"path\":\"/completion\",\"nth\":1,\"fault\":\"half\"}\n", ENGINE_OK, 2},
	{"{\"path\":\"/completion\",\"nth\":1,\"fault\":\"not_json\"}\n", ENGINE_OK, 2},
	{"{\"path\":\"/completion\",\"nth\":1,\"fault\":\"429\",\"retry_after\":0}\n", ENGINE_OK,
		2},
	{"{\"path\":\"/completion\",\"nth\":1,\"fault\":\"429\",\"retry_after\":1}\n", ENGINE_OK,
		2},
	/* It loads its model: no attempt. */
	{"{\"path\":\"/completion\",\"nth\":1,\"fault\":\"503\"}\n", ENGINE_OK, 1},
	{"{\"path\":\"/completion\",\"fault\":\"503\"}\n", ENGINE_SERVER_ERROR, 3},
	{"{\"path\":\"/completion\",\"fault\":\"500\"}\n", ENGINE_SERVER_ERROR, 3},
	{"{\"path\":\"/completion\",\"fault\":\"half\"}\n", ENGINE_BAD_RESPONSE, 3},
	{"{\"path\":\"/completion\",\"fault\":\"not_json\"}\n", ENGINE_BAD_RESPONSE, 3},
	{"{\"path\":\"/completion\",\"fault\":\"empty\"}\n", ENGINE_BAD_RESPONSE, 3},
	{"{\"path\":\"/completion\",\"fault\":\"wrong_count\"}\n", ENGINE_BAD_RESPONSE, 3},
	{"{\"path\":\"/completion\",\"fault\":\"nan\"}\n", ENGINE_BAD_RESPONSE, 3},
	{"{\"path\":\"/completion\",\"fault\":\"huge\",\"bytes\":9000000}\n", ENGINE_BAD_RESPONSE,
		1},
	{"{\"path\":\"/completion\",\"fault\":\"400\"}\n", ENGINE_REJECTED, 1},
	{"{\"path\":\"/completion\",\"fault\":\"404\"}\n", ENGINE_REJECTED, 1},
};

START_TEST(a_fault_is_tried_again_or_told_by_its_kind)
	{
		const struct seen *s;

		open_engine("llama.cpp", faults[_i].script);
		s = one();
		ck_assert_msg(s->reason == faults[_i].reason, "%s: %s %s", faults[_i].script,
			engine_reason_name(s->reason), s->msg);
		ck_assert_uint_eq(s->attempts, faults[_i].attempts);
		if (s->reason != ENGINE_OK)
			ck_assert_ptr_nonnull(strstr(s->msg, urls[0]));
	}
END_TEST

START_TEST(an_answer_that_never_comes_is_a_timeout)
	{
		config.request_timeout_ms = 200;
		config.retries = 0;
		open_engine("llama.cpp", "{\"path\":\"/completion\",\"fault\":\"never\"}\n");
		ck_assert_int_eq(one()->reason, ENGINE_TIMEOUT);
		ck_assert_uint_eq(seen[0][0].attempts, 1);
		ck_assert(!is_failed);
	}
END_TEST

START_TEST(a_connection_always_cut_by_a_healthy_server_is_its_error)
	{
		config.retries = 1;
		open_engine("llama.cpp", "{\"path\":\"/completion\",\"fault\":\"cut\"}\n");
		ck_assert_int_eq(one()->reason, ENGINE_SERVER_ERROR);
		ck_assert(!is_failed);
	}
END_TEST

START_TEST(one_bad_request_costs_itself_only)
	{
		unsigned n_failed = 0;

		open_engine(
			"llama.cpp", "{\"path\":\"/completion\",\"nth\":3,\"fault\":\"400\"}\n");
		generate(8);
		for (unsigned i = 0; i < 8; i++)
			n_failed += seen[0][i].reason != ENGINE_OK;
		ck_assert_uint_eq(n_failed, 1);
	}
END_TEST

START_TEST(a_missing_candidate_fails_its_request)
	{
		config.retries = 0;
		open_engine("llama.cpp", "{\"path\":\"/completion\",\"fault\":\"few\"}\n");
		tokenize("What is 2+3?", SPECIAL_TEXT);
		add_job(3);
		/* The job above asks one by one: "few" leaves an empty list. */
		finish_jobs();
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(seen[0][i].reason, ENGINE_BAD_RESPONSE);
	}
END_TEST

START_TEST(a_prompt_without_room_is_not_sent)
	{
		struct str text;

		open_engine("llama.cpp", "");
		str_init(&text, 1 << 20);
		for (unsigned i = 0; i < 1500; i++)
			str_append_z(&text, "1 ");
		tokenize(text.data, SPECIAL_TEXT);
		str_release(&text);
		ck_assert_uint_ge(prompt.n, 1500);
		prompt.n = 4096;
		add_job(2);
		finish_jobs();
		ck_assert_int_eq(seen[0][0].reason, ENGINE_PROMPT_TOO_LONG);
		ck_assert_int_eq(seen[0][1].reason, ENGINE_PROMPT_TOO_LONG);
		ck_assert_uint_eq(count_log("/completion"), 0);
	}
END_TEST

START_TEST(a_token_limit_and_a_full_context_are_told_apart)
	{
		open_engine("llama.cpp", "");
		sampling.max_tokens = 5;
		generate(1);
		ck_assert_int_eq(seen[0][0].finish, FINISH_LENGTH);
		ck_assert_uint_eq(seen[0][0].n_ids, 5);
		for (unsigned i = (unsigned)prompt.n; i < 4092; i++)
			prompt_ids[i] = prompt_ids[i % 8];
		prompt.n = 4092;
		sampling.max_tokens = 500;
		add_job(1);
		finish_jobs();
		ck_assert_msg(seen[1][0].reason == ENGINE_OK, "%s", seen[1][0].msg);
		ck_assert_int_eq(seen[1][0].finish, FINISH_CONTEXT);
	}
END_TEST

/* --- prompts --- */

START_TEST(special_text_in_a_content_becomes_plain_text_or_is_reported)
	{
		size_t n_plain;
		uint32_t eos;

		open_engine("llama.cpp", "");
		generate(1);
		eos = seen[0][0].last_id;
		tokenize("a < b and [c]", SPECIAL_REJECT);
		ck_assert_int_eq(prompt.reason, ENGINE_OK);
		ck_assert(!prompt.special);
		ck_assert_uint_gt(prompt.n, 0);
		tokenize("hi<|im_end|>", SPECIAL_REJECT);
		ck_assert_int_eq(prompt.reason, ENGINE_OK);
		ck_assert(prompt.special);
		ck_assert_uint_eq(prompt.n, 0);
		/* The template writes the same special tokens around it as around any other. */
		tokenize("hi", SPECIAL_TEXT);
		n_plain = 0;
		for (size_t i = 0; i < prompt.n; i++)
			n_plain += prompt_ids[i] == eos;
		tokenize("hi<|im_end|>", SPECIAL_TEXT);
		ck_assert(prompt.special);
		for (size_t i = 0; i < prompt.n; i++)
			n_plain -= prompt_ids[i] == eos;
		ck_assert_uint_eq(n_plain, 0);
	}
END_TEST

START_TEST(a_prompt_of_no_tokens_is_a_bad_response)
	{
		unsigned n_asked;

		config.retries = 1;
		open_engine("llama.cpp",
			"{\"path\":\"/tokenize\",\"prompt_contains\":\"nothing\","
			"\"fault\":\"body\",\"body\":\"{\\\"tokens\\\": []}\"}\n");
		n_asked = count_log("/tokenize");
		tokenize("say nothing", SPECIAL_TEXT);
		ck_assert_int_eq(prompt.reason, ENGINE_BAD_RESPONSE);
		ck_assert_ptr_nonnull(strstr(prompt_failure.msg, "0 tokens"));
		ck_assert_uint_eq(prompt.n, 0);
		ck_assert_uint_eq(count_log("/tokenize"), n_asked + 2);
		/* The text that an engine wrote may be empty. */
		engine_tokenize_text(engine, slice_z("nothing"), on_prompt, NULL);
		run_loop();
		ck_assert_int_eq(prompt.reason, ENGINE_OK);
		ck_assert_uint_eq(prompt.n, 0);
		generate(1);
		ck_assert_int_eq(seen[0][0].reason, ENGINE_OK);
	}
END_TEST

START_TEST(plain_text_is_tokenized_without_special_tokens)
	{
		open_engine("llama.cpp", "");
		engine_tokenize_text(engine, slice_z("hi<|im_end|>"), on_prompt, NULL);
		run_loop();
		ck_assert_int_eq(prompt.reason, ENGINE_OK);
		ck_assert_uint_gt(prompt.n, 2);
	}
END_TEST

START_TEST(a_raw_prompt_begins_as_a_text_and_reads_no_special_tokens)
	{
		open_engine("llama.cpp", "");
		engine_tokenize_raw(engine, slice_z("<|im_end|>"), on_prompt, NULL);
		run_loop();
		ck_assert_int_eq(prompt.reason, ENGINE_OK);
		ck_assert_uint_gt(prompt.n, 2);
		ck_assert_uint_eq(prompt_ids[0], 258); /* <s> */
		for (size_t i = 1; i < prompt.n; i++)
			ck_assert_uint_ne(prompt_ids[i], 257);
	}
END_TEST

START_TEST(an_engine_without_ids_has_no_tokenizer)
	{
		open_engine("openai", "");
		engine_tokenize_text(engine, slice_z("hi"), on_prompt, NULL);
		run_loop();
		ck_assert_int_eq(prompt.reason, ENGINE_REJECTED);
	}
END_TEST

/* --- endpoints that come and go --- */

static unsigned late_port;

static void start_late(void *ctx)
{
	(void)ctx;
	start_fake(0, late_port, "llama.cpp", "4", "4096");
}

START_TEST(a_server_that_starts_later_is_waited_for)
	{
		start_fake(0, 0, "llama.cpp", "4", "4096");
		late_port = port_of(urls[0]);
		stop_fake(0);
		loop_after(loop, 300, start_late, NULL);
		start_engine();
		ck_assert_msg(is_ready, "%s", failure.msg);
		ck_assert_int_eq(one()->reason, ENGINE_OK);
	}
END_TEST

START_TEST(a_server_that_dies_and_comes_back_costs_no_attempt)
	{
		open_engine(
			"llama.cpp", "{\"path\":\"/completion\",\"nth\":4,\"fault\":\"dead\"}\n");
		late_port = port_of(urls[0]);
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		config.retries = 0;
		loop_after(loop, 400, start_late, NULL);
		add_job(6);
		finish_jobs();
		for (unsigned i = 0; i < 6; i++) {
			ck_assert_msg(seen[0][i].reason == ENGINE_OK, "%s", seen[0][i].msg);
			ck_assert_uint_eq(seen[0][i].attempts, 1);
		}
	}
END_TEST

START_TEST(a_server_that_stays_away_fails_the_engine_once)
	{
		config.down_timeout_ms = 300;
		open_engine("llama.cpp", "");
		tokenize("What is 2+3?", SPECIAL_TEXT);
		stop_fake(0);
		add_job(3);
		finish_jobs();
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(seen[0][i].reason, ENGINE_CANCELLED);
		if (!is_failed)
			run_loop();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_REMOTE);
		ck_assert_ptr_nonnull(strstr(failure.msg, urls[0]));
		ck_assert_uint_eq(n_events, 2);
		/* Nothing is accepted any more. */
		add_job(1);
		finish_jobs();
		ck_assert_int_eq(seen[1][0].reason, ENGINE_CANCELLED);
	}
END_TEST

START_TEST(a_server_that_never_starts_fails_the_engine)
	{
		start_fake(0, 0, "llama.cpp", "4", "4096");
		stop_fake(0);
		config.down_timeout_ms = 200;
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_REMOTE);
	}
END_TEST

START_TEST(two_endpoints_share_the_work_and_one_may_die)
	{
		unsigned n_first = 0;

		config.n_urls = 2;
		start_fake(0, 0, "llama.cpp", "4", "4096");
		start_fake(1, 0, "llama.cpp", "4", "4096");
		start_engine();
		ck_assert_msg(is_ready, "%s", failure.msg);
		ck_assert_uint_eq(engine_info(engine)->n_slots, 8);
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		finish_jobs();
		for (unsigned i = 0; i < 8; i++)
			n_first += strcmp(seen[i][0].endpoint, urls[0]) == 0;
		ck_assert_uint_gt(n_first, 0);
		ck_assert_uint_lt(n_first, 8);
		stop_fake(1);
		for (unsigned i = 0; i < 4; i++)
			add_job(4);
		finish_jobs();
		for (unsigned i = 8; i < 12; i++)
			ck_assert_msg(seen[i][3].reason == ENGINE_OK, "%s", seen[i][3].msg);
		ck_assert(!is_failed);
	}
END_TEST

/* --- several endpoints, and what is seen of them --- */

/* The words of the next fakes. */
static void words(const char *a, const char *b, const char *c, const char *d)
{
	fake_words[0] = a;
	fake_words[1] = b;
	fake_words[2] = c;
	fake_words[3] = d;
}

static struct engine_endpoint_stats stats_of(size_t i)
{
	struct engine_endpoint_stats stats;

	ck_assert(engine_endpoint_stats(engine, i, &stats));
	return stats;
}

static void all_are_well(void)
{
	for (unsigned i = 0; i < n_jobs; i++) {
		for (unsigned k = 0; k < jobs[i].n; k++)
			ck_assert_msg(seen[i][k].n == 1 && seen[i][k].reason == ENGINE_OK,
				"job %u candidate %u: %s", i, k, seen[i][k].msg);
	}
}

/* The first is fast, the second slow. */
static void open_two(const char *fast, const char *slow)
{
	config.n_urls = 2;
	words("--delay-ms-per-token", fast, NULL, NULL);
	start_fake(0, 0, "llama.cpp", "4", "4096");
	words("--delay-ms-per-token", slow, NULL, NULL);
	start_fake(1, 0, "llama.cpp", "4", "4096");
	start_engine();
	ck_assert_msg(is_ready, "%s", failure.msg);
	tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
}

static void stop_the_loop(void *ctx)
{
	(void)ctx;
	loop_stop(loop);
}

static void run_for(uint64_t ms)
{
	loop_after(loop, ms, stop_the_loop, NULL);
	loop_run(loop);
}

/* Requests die with their last callback. */
static void cancel_rest(void)
{
	for (unsigned i = 0; i < n_jobs; i++) {
		unsigned n = 0;

		for (unsigned k = 0; k < jobs[i].n; k++)
			n += seen[i][k].n;
		if (n < jobs[i].n)
			engine_cancel(requests[i]);
	}
	n_expected = 0;
	for (unsigned i = 0; i < n_jobs; i++)
		n_expected += jobs[i].n;
	if (n_candidates < n_expected)
		run_loop();
	ck_assert_uint_eq(n_candidates, n_expected);
}

START_TEST(a_slow_endpoint_gets_less_and_nothing_at_the_end)
	{
		open_two("1", "20");
		for (unsigned i = 0; i < 16; i++)
			add_job(4);
		engine_expect(engine, 0);
		finish_jobs();
		all_are_well();
		ck_assert_uint_gt(stats_of(1).answers, 0);
		ck_assert_uint_lt(4 * stats_of(1).answers, stats_of(0).answers);
		/* The speeds are known now: twelve candidates are done by the fast one before the slow one has done one. */
		uint64_t before = stats_of(1).requests;
		for (unsigned i = 0; i < 3; i++)
			add_job(4);
		finish_jobs();
		ck_assert_uint_eq(stats_of(1).requests, before);
		/* With more to come no slot may idle. */
		engine_expect(engine, 1000);
		for (unsigned i = 0; i < 3; i++)
			add_job(4);
		finish_jobs();
		ck_assert_uint_gt(stats_of(1).requests, before);
		ck_assert_str_eq(stats_of(1).url, urls[1]);
		ck_assert_uint_gt(stats_of(1).busy_ms, 0);
	}
END_TEST

START_TEST(a_straggler_is_sent_again_and_the_first_answer_counts)
	{
		struct engine_stats stats;
		unsigned n_hedged = 0;

		config.hedge = true;
		config.watch_ms = 50;
		open_two("1", "40");
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		finish_jobs();
		/* Those that the slow one has are under way when the fast one has nothing left. */
		for (unsigned i = 0; i < 4; i++)
			add_job(4);
		engine_expect(engine, 0);
		finish_jobs();
		all_are_well();
		engine_stats(engine, &stats);
		ck_assert_uint_gt(stats.hedges, 0);
		ck_assert_uint_gt(stats.hedges_won, 0);
		ck_assert_uint_gt(stats.tokens_wasted, 0);
		/* Asked again of the fast one alone, they are the same. */
		stop_fake(1);
		for (unsigned i = 8; i < 12; i++) {
			jobs[n_jobs] = jobs[i];
			n_expected += 4;
			engine_generate(
				engine, &jobs[n_jobs], on_candidate, (void *)(uintptr_t)n_jobs);
			n_jobs++;
		}
		finish_jobs();
		all_are_well();
		for (unsigned i = 0; i < 4; i++) {
			for (unsigned k = 0; k < 4; k++) {
				ck_assert_str_eq(seen[8 + i][k].text, seen[12 + i][k].text);
				n_hedged += strcmp(seen[8 + i][k].endpoint, urls[0]) == 0;
			}
		}
		ck_assert_uint_gt(n_hedged, 8);
	}
END_TEST

START_TEST(without_hedge_nothing_is_sent_twice)
	{
		struct engine_stats stats;

		config.watch_ms = 50;
		open_two("1", "20");
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		engine_expect(engine, 0);
		finish_jobs();
		engine_stats(engine, &stats);
		ck_assert_uint_eq(stats.hedges + stats.tokens_wasted, 0);
		ck_assert_uint_eq(count_log("/completion"), 32);
	}
END_TEST

START_TEST(a_call_that_was_sent_twice_can_be_cancelled)
	{
		struct engine_stats stats;

		config.hedge = true;
		config.watch_ms = 20;
		config.n_urls = 2;
		write_script("{\"path\":\"/completion\",\"prompt_contains\":\"2+4\","
			     "\"times\":5,\"fault\":\"slow\",\"ms\":300}\n"
			     "{\"path\":\"/"
			     "completion\",\"prompt_contains\":\"2+4\",\"fault\":\"never\"}\n");
		words("--delay-ms-per-token", "1", NULL, NULL);
		start_fake(0, 0, "llama.cpp", "4", "4096");
		write_script("{\"path\":\"/completion\",\"prompt_contains\":\"2+4\","
			     "\"fault\":\"never\"}\n");
		words("--delay-ms-per-token", "10", NULL, NULL);
		start_fake(1, 0, "llama.cpp", "4", "4096");
		start_engine();
		ck_assert_msg(is_ready, "%s", failure.msg);
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		finish_jobs();
		tokenize("What is 2+4?", SPECIAL_TEXT);
		add_job(8);
		engine_expect(engine, 0);
		run_for(1500);
		/* The fast one has given its own, and those of the slow one are under way at both. */
		engine_stats(engine, &stats);
		ck_assert_uint_gt(stats.hedges, 0);
		cancel_rest();
		ck_assert_int_eq(seen[8][7].reason, ENGINE_CANCELLED);
	}
END_TEST

static void stop_second(void *ctx)
{
	(void)ctx;
	kill(fakes[1], SIGSTOP);
}

static void go_on_second(void *ctx)
{
	(void)ctx;
	kill(fakes[1], SIGCONT);
}

START_TEST(a_hung_endpoint_is_given_up_and_its_work_goes_elsewhere)
	{
		config.hang_timeout_ms = 400;
		config.watch_ms = 50;
		open_two("1", "5");
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		loop_after(loop, 30, stop_second, NULL);
		finish_jobs();
		all_are_well();
		for (unsigned i = 0; i < 8; i++)
			ck_assert_uint_eq(seen[i][0].attempts, 1);
		ck_assert(!stats_of(1).up);
		ck_assert(stats_of(0).up);
		ck_assert(!is_failed);
		/* It is probed until it goes on. */
		loop_after(loop, 0, go_on_second, NULL);
		stop_fake(0);
		add_job(4);
		finish_jobs();
		all_are_well();
		ck_assert(stats_of(1).up);
		ck_assert_uint_gt(stats_of(1).down_ms, 0);
	}
END_TEST

START_TEST(a_slow_answer_of_a_server_that_lives_is_waited_for)
	{
		config.hang_timeout_ms = 300;
		config.watch_ms = 20;
		open_engine("llama.cpp",
			"{\"path\":\"/completion\",\"fault\":\"slow\",\"ms\":1500}\n"
			"{\"path\":\"/metrics\",\"fault\":\"never\"}\n");
		ck_assert_msg(one()->reason == ENGINE_OK, "%s", seen[0][0].msg);
		ck_assert_uint_eq(seen[0][0].attempts, 1);
		ck_assert_uint_eq(count_log("/completion"), 1);
		ck_assert_uint_gt(count_log("/health"), 0);
	}
END_TEST

START_TEST(an_endpoint_that_gives_errors_only_gets_one_request_at_a_time)
	{
		config.n_urls = 2;
		config.retries = 100;
		write_script("{\"path\":\"/completion\",\"fault\":\"500\"}\n");
		start_fake(0, 0, "llama.cpp", "4", "4096");
		write_script("");
		words("--delay-ms-per-token", "2", NULL, NULL);
		start_fake(1, 0, "llama.cpp", "4", "4096");
		start_engine();
		ck_assert_msg(is_ready, "%s", failure.msg);
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		for (unsigned i = 0; i < 16; i++)
			add_job(4);
		finish_jobs();
		all_are_well();
		ck_assert_uint_eq(stats_of(1).answers, 64);
		ck_assert_uint_eq(stats_of(0).answers, 0);
		/* Four slots, one sent ahead, what came back before the fifth error, and some trials. */
		ck_assert_uint_ge(stats_of(0).errors, 5);
		ck_assert_uint_lt(stats_of(0).errors, 24);
	}
END_TEST

START_TEST(an_endpoint_that_recovers_is_used_again)
	{
		config.retries = 100;
		open_engine(
			"llama.cpp", "{\"path\":\"/completion\",\"times\":8,\"fault\":\"500\"}\n");
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		finish_jobs();
		all_are_well();
		ck_assert_uint_eq(stats_of(0).errors, 8);
		ck_assert_uint_eq(stats_of(0).answers, 32);
	}
END_TEST

START_TEST(nothing_but_errors_for_long_fails_the_engine)
	{
		config.retries = 100;
		config.down_timeout_ms = 500;
		open_engine("llama.cpp", "{\"path\":\"/completion\",\"fault\":\"500\"}\n");
		tokenize("What is 2+3?", SPECIAL_TEXT);
		add_job(8);
		finish_jobs();
		if (!is_failed)
			run_loop();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_REMOTE);
		ck_assert_ptr_nonnull(strstr(failure.msg, "nothing but errors"));
		ck_assert_int_eq(seen[0][0].reason, ENGINE_CANCELLED);
	}
END_TEST

START_TEST(an_endpoint_that_came_back_starts_slowly)
	{
		struct engine_stats stats;

		config.watch_ms = 100000;
		write_script("");
		start_fake(0, 0, "llama.cpp", "16", "4096");
		late_port = port_of(urls[0]);
		start_engine();
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		stop_fake(0);
		write_script("{\"path\":\"/completion\",\"nth\":1,\"fault\":\"slow\",\"ms\":1}\n"
			     "{\"path\":\"/completion\",\"fault\":\"never\"}\n");
		for (unsigned i = 0; i < 8; i++)
			add_job(4);
		run_for(50);
		ck_assert(!stats_of(0).up);
		start_fake(0, late_port, "llama.cpp", "16", "4096");
		run_for(1500);
		engine_stats(engine, &stats);
		/* Two and one ahead at first; one more for the good answer. */
		ck_assert_uint_eq(n_candidates, 1);
		ck_assert_uint_eq(stats.in_flight, 4);
		cancel_rest();
	}
END_TEST

static const struct {
	const char *of, *slots, *others;
	const char *dialect;
	uint32_t at_least, at_most;
} gauged[] = {
	/* From 16, of which nothing was known, to what the server works on. */
	{"vllm", "4", "0", "openai", 3, 5},
	{"sglang", "4", "0", "openai", 3, 5},
	{"vllm", "24", "0", "openai", 20, 30},
	{"sglang", "24", "0", "openai", 20, 30},
	/* From its slots to what others leave. */
	{"llama.cpp", "8", "6", "llama.cpp", 1, 3},
	{"llama.cpp", "8", "0", "llama.cpp", 8, 8},
	/* Nothing told. */
	{"none", "8", "0", "llama.cpp", 8, 8},
};

START_TEST(the_limit_follows_what_the_server_says_of_itself)
	{
		struct engine_endpoint_stats stats;

		config.watch_ms = 10;
		words("--metrics-of", gauged[_i].of, "--others", gauged[_i].others);
		fake_words[4] = "--delay-ms-per-token";
		fake_words[5] = "1";
		start_fake(0, 0, gauged[_i].dialect, gauged[_i].slots, "4096");
		start_engine();
		ck_assert_msg(is_ready, "%s", failure.msg);
		tokenize("What is 2+3? [fake: len=20]", SPECIAL_TEXT);
		for (unsigned i = 0; i < JOBS_MAX; i++)
			add_job(16);
		/* Not to the end, where nothing waits that the limit could be raised for. */
		n_expected = 64;
		for (unsigned i = 0; i < 25; i++) {
			run_loop();
			/* Whole rounds come in one turn: the next goal is reckoned from what is there. */
			n_expected = n_candidates + 32;
			stats = stats_of(0);
			if ((stats.limit >= gauged[_i].at_least &&
				    stats.limit <= gauged[_i].at_most) ||
				n_expected > 16 * JOBS_MAX)
				break;
		}
		ck_assert_msg(
			stats.limit >= gauged[_i].at_least && stats.limit <= gauged[_i].at_most,
			"%s: %u", gauged[_i].of, stats.limit);
		cancel_rest();
	}
END_TEST

START_TEST(a_fixed_concurrency_is_kept_and_no_gauge_asked)
	{
		config.watch_ms = 20;
		config.concurrency = 3;
		words("--delay-ms-per-token", "3", NULL, NULL);
		open_engine("llama.cpp", "");
		generate(16);
		ck_assert_uint_eq(stats_of(0).limit, 3);
		ck_assert_uint_eq(count_log("/metrics"), 0);
	}
END_TEST

START_TEST(endpoints_that_tokenize_differently_are_refused)
	{
		config.n_urls = 2;
		start_fake(0, 0, "llama.cpp", "4", "4096");
		write_script("{\"path\":\"/tokenize\",\"prompt_contains\":\"Thresh\","
			     "\"fault\":\"body\",\"body\":\"{\\\"tokens\\\": [1, 2, 3]}\"}\n");
		start_fake(1, 0, "llama.cpp", "4", "4096");
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_REMOTE);
		ck_assert_ptr_nonnull(strstr(failure.msg, "tokenizes a text otherwise"));
	}
END_TEST

START_TEST(endpoints_of_different_dialects_are_refused)
	{
		config.n_urls = 2;
		start_fake(0, 0, "llama.cpp", "4", "4096");
		start_fake(1, 0, "openai", "4", "4096");
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_REMOTE);
		ck_assert_ptr_nonnull(strstr(failure.msg, "token ids"));
	}
END_TEST

START_TEST(a_dialect_that_the_server_does_not_speak_is_an_error)
	{
		config.dialect = "llama.cpp";
		start_fake(0, 0, "openai", "4", "4096");
		start_engine();
		ck_assert(is_failed);
		ck_assert_ptr_nonnull(strstr(failure.msg, "does not speak"));
	}
END_TEST

/* --- keys, addresses --- */

START_TEST(a_key_that_is_not_set_is_told_at_the_start)
	{
		unsetenv("THRESH_TEST_KEY");
		config.api_key_env = "THRESH_TEST_KEY";
		start_fake(0, 0, "llama.cpp", "4", "4096");
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_CONFIG);
		ck_assert_ptr_nonnull(strstr(failure.msg, "THRESH_TEST_KEY"));
	}
END_TEST

static const char *const bad_urls[] = {
	"127.0.0.1:8080", "ftp://127.0.0.1", "http://u:p@127.0.0.1/", "http://h/?q=1", "http://"};

START_TEST(an_address_that_makes_no_sense_is_told_at_the_start)
	{
		urls[0] = xstrdup(bad_urls[_i]);
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_CONFIG);
		ck_assert_ptr_null(strstr(failure.msg, "u:p"));
	}
END_TEST

START_TEST(slashes_and_v1_behind_an_address_do_no_harm)
	{
		start_fake(0, 0, "llama.cpp", "4", "4096");
		AUTO_FREE char *plain = urls[0];
		urls[0] = xasprintf("%s/v1//", plain);
		start_engine();
		ck_assert_msg(is_ready, "%s", failure.msg);
	}
END_TEST

/* --- cancelling --- */

START_TEST(cancelled_candidates_come_back_as_cancelled)
	{
		open_engine("llama.cpp", "{\"path\":\"/completion\",\"fault\":\"never\"}\n");
		tokenize("What is 2+3?", SPECIAL_TEXT);
		/* Some fly, some wait. */
		add_job(8);
		engine_cancel(requests[0]);
		ck_assert_uint_eq(n_candidates, 0);
		finish_jobs();
		for (unsigned i = 0; i < 8; i++)
			ck_assert_int_eq(seen[0][i].reason, ENGINE_CANCELLED);
	}
END_TEST

START_TEST(closing_answers_everything_first)
	{
		open_engine("llama.cpp", "{\"path\":\"/completion\",\"fault\":\"never\"}\n");
		tokenize("What is 2+3?", SPECIAL_TEXT);
		add_job(8);
		engine_close(engine, on_closed, NULL);
		ck_assert(!is_closed);
		n_expected = 100;
		run_loop();
		ck_assert(is_closed);
		ck_assert_uint_eq(n_candidates, 8);
	}
END_TEST

/* --- served --- */

static void serve(const char *script)
{
	AUTO_FREE char *binary = file_join(dir, "llama-server");
	AUTO_FREE char *model = file_join(dir, "model.gguf");
	const char *program = getenv("FAKE_ENGINE");
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl(program, program, "--write-gguf", model, NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(symlink(program, binary), 0);
	setenv("THRESH_LLAMA_SERVER", binary, 1);
	write_script(script);
	setenv("FAKE_ENGINE_SCRIPT", script_path, 1);
	setenv("FAKE_ENGINE_LOG", log_path, 1);
	config.n_urls = 0;
	config.serve = (struct engine_serve_config){
		.model = TAKE(model),
		.parallel = 4,
		.context = 1024,
		.restarts_max = 2,
		.start_timeout_ms = 10000,
	};
}

static void free_serve(void)
{
	free(config.serve.model);
	config.serve.model = NULL;
}

static void close_engine(void)
{
	engine_close(engine, on_closed, NULL);
	run_loop();
	ck_assert(is_closed);
}

START_TEST(a_served_engine_is_started_and_stopped)
	{
		serve("");
		start_engine();
		ck_assert_msg(is_ready, "%s (%s)", failure.msg, failure.hint);
		ck_assert_uint_eq(engine_info(engine)->context, 1024);
		ck_assert_uint_eq(engine_info(engine)->n_slots, 4);
		ck_assert_uint_eq(strlen(engine_info(engine)->model_hash), 32);
		generate(5);
		for (unsigned i = 0; i < 5; i++)
			ck_assert_msg(seen[0][i].reason == ENGINE_OK, "%s", seen[0][i].msg);
		close_engine();
		/* No child is left, not even as a zombie. */
		ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
		ck_assert_int_eq(errno, ECHILD);
		free_serve();
	}
END_TEST

START_TEST(a_served_engine_that_dies_is_started_again)
	{
		struct engine_stats stats;

		serve("{\"path\":\"/completion\",\"nth\":5,\"fault\":\"dead\"}\n");
		config.retries = 0;
		start_engine();
		ck_assert_msg(is_ready, "%s (%s)", failure.msg, failure.hint);
		generate(6);
		for (unsigned i = 0; i < 6; i++) {
			ck_assert_msg(seen[0][i].reason == ENGINE_OK, "%s", seen[0][i].msg);
			ck_assert_uint_eq(seen[0][i].attempts, 1);
		}
		engine_stats(engine, &stats);
		ck_assert_uint_eq(stats.restarts, 1);
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(a_served_engine_that_hangs_is_started_again)
	{
		struct engine_stats stats;

		/* The first question for its health is that of the start. */
		serve("{\"path\":\"/completion\",\"nth\":2,\"fault\":\"never\"}\n"
		      "{\"path\":\"/health\",\"nth\":2,\"fault\":\"never\"}\n");
		config.hang_timeout_ms = 300;
		config.watch_ms = 20;
		config.retries = 0;
		start_engine();
		ck_assert_msg(is_ready, "%s (%s)", failure.msg, failure.hint);
		generate(2);
		all_are_well();
		ck_assert_uint_eq(seen[0][1].attempts, 1);
		engine_stats(engine, &stats);
		ck_assert_uint_eq(stats.restarts, 1);
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(a_served_engine_that_keeps_dying_fails)
	{
		serve("{\"path\":\"/completion\",\"fault\":\"dead\"}\n");
		config.serve.restarts_max = 1;
		start_engine();
		ck_assert_msg(is_ready, "%s (%s)", failure.msg, failure.hint);
		generate(2);
		ck_assert_int_eq(seen[0][0].reason, ENGINE_CANCELLED);
		if (!is_failed)
			run_loop();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_IO);
		ck_assert_ptr_nonnull(strstr(failure.msg, "after 1 restarts"));
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(a_model_that_is_not_gguf_is_told_before_anything_is_started)
	{
		serve("");
		ck_assert(file_publish(dir, "model.gguf", "# Not a model\n", 14, &err));
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_DATA);
		ck_assert_ptr_nonnull(strstr(failure.msg, "not a GGUF file"));
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(a_server_that_does_not_start_is_quoted)
	{
		serve("");
		setenv("THRESH_LLAMA_SERVER", "/bin/false", 1);
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_IO);
		ck_assert_ptr_nonnull(strstr(failure.msg, "exit code 1"));
		ck_assert_ptr_nonnull(strstr(failure.hint, "engine-student.log"));
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(a_program_that_is_not_there_is_told)
	{
		serve("");
		setenv("THRESH_LLAMA_SERVER", "/nowhere/llama-server", 1);
		start_engine();
		ck_assert(is_failed);
		ck_assert_int_eq(failure.kind, FAIL_CONFIG);
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(a_port_in_use_is_told)
	{
		serve("");
		start_fake(0, 0, "llama.cpp", "4", "4096");
		config.serve.port = port_of(urls[0]);
		start_engine();
		ck_assert(is_failed);
		ck_assert_ptr_nonnull(strstr(failure.msg, "is in use"));
		close_engine();
		free_serve();
	}
END_TEST

/* --- vocabulary --- */

static struct {
	char hash[33], source[16], pieces[8][32];
	uint32_t n_vocab;
	int64_t eos_id;
	bool special[8], ok;
} vocab;

static void on_vocab(void *ctx, const struct engine_vocab *v)
{
	(void)ctx;
	vocab.ok = v->err == NULL;
	if (v->err != NULL)
		fprintf(stderr, "%s\n", v->err->msg);
	memcpy(vocab.hash, v->hash, sizeof(vocab.hash));
	snprintf(vocab.source, sizeof(vocab.source), "%s", v->source);
	vocab.n_vocab = v->n_vocab;
	vocab.eos_id = v->eos_id;
	for (size_t i = 0; i < v->n && i < 8; i++) {
		snprintf(vocab.pieces[i], sizeof(vocab.pieces[i]), "%.*s", (int)v->pieces[i].len,
			v->pieces[i].data);
		vocab.special[i] = v->special[i];
	}
	loop_stop(loop);
}

START_TEST(the_vocabulary_of_a_served_engine_comes_from_its_file)
	{
		uint32_t ids[2];

		serve("");
		start_engine();
		ck_assert_msg(is_ready, "%s (%s)", failure.msg, failure.hint);
		generate(1);
		ids[0] = seen[0][0].last_id;
		ids[1] = 0xffffff;
		engine_read_vocab(engine, ids, 2, on_vocab, NULL);
		run_loop();
		ck_assert(vocab.ok);
		ck_assert_str_eq(vocab.source, "gguf");
		ck_assert_uint_gt(vocab.n_vocab, 200);
		ck_assert_int_eq(vocab.eos_id, ids[0]);
		ck_assert_str_eq(vocab.pieces[0], "<|im_end|>");
		ck_assert(vocab.special[0]);
		ck_assert_str_eq(vocab.pieces[1], "");
		close_engine();
		free_serve();
	}
END_TEST

START_TEST(the_vocabulary_of_a_url_engine_is_asked_for)
	{
		uint32_t ids[2];

		open_engine("llama.cpp", "");
		generate(1);
		ids[0] = seen[0][0].first_id;
		ids[1] = seen[0][0].last_id;
		engine_read_vocab(engine, ids, 2, on_vocab, NULL);
		run_loop();
		ck_assert(vocab.ok);
		ck_assert_uint_gt(strlen(vocab.pieces[0]), 0);
		ck_assert_str_eq(vocab.pieces[1], "<|im_end|>");
		ck_assert_uint_eq(strlen(vocab.hash), 32);
	}
END_TEST

int main(int argc, char **argv)
{
	/* A served engine is started through the program it runs in. */
	if (argc > 1 && strcmp(argv[1], "__spawn") == 0)
		return server_spawn_main(argc - 1, argv + 1);

	Suite *suite = suite_create("engine");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(suite);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, scores_come_as_a_table);
	tcase_add_test(tc, a_route_that_is_not_there_is_asked_for_once);
	tcase_add_test(tc, scores_that_make_no_sense_are_asked_for_again);
	tcase_add_test(tc, llamacpp_gives_ids_with_eos_and_logprobs);
	tcase_add_test(tc, candidates_are_the_same_however_they_are_asked_for);
	tcase_add_loop_test(tc, a_stream_gives_what_the_answer_in_one_piece_gives, 0, 6);
	tcase_add_test(tc, ids_that_a_stream_hides_are_found_or_asked_for);
	tcase_add_test(tc, a_cut_stream_loses_only_what_was_not_done);
	tcase_add_loop_test(tc, a_loop_is_cut_and_the_rest_is_not, 0, 4);
	tcase_add_loop_test(tc, a_stream_that_makes_no_sense_is_asked_for_again, 0, 8);
	tcase_add_test(tc, a_cut_candidate_is_continued_from_its_ids);
	tcase_add_test(tc, a_job_is_cancelled_in_the_middle_of_its_streams);
	tcase_add_test(tc, openai_gives_text_and_no_ids);
	tcase_add_test(tc, more_work_than_slots_waits_in_order);
	tcase_add_loop_test(
		tc, a_fault_is_tried_again_or_told_by_its_kind, 0, (int)ARRAY_LEN(faults));
	tcase_add_test(tc, an_answer_that_never_comes_is_a_timeout);
	tcase_add_test(tc, a_connection_always_cut_by_a_healthy_server_is_its_error);
	tcase_add_test(tc, one_bad_request_costs_itself_only);
	tcase_add_test(tc, a_missing_candidate_fails_its_request);
	tcase_add_test(tc, a_prompt_without_room_is_not_sent);
	tcase_add_test(tc, a_token_limit_and_a_full_context_are_told_apart);
	tcase_add_test(tc, special_text_in_a_content_becomes_plain_text_or_is_reported);
	tcase_add_test(tc, a_prompt_of_no_tokens_is_a_bad_response);
	tcase_add_test(tc, plain_text_is_tokenized_without_special_tokens);
	tcase_add_test(tc, a_raw_prompt_begins_as_a_text_and_reads_no_special_tokens);
	tcase_add_test(tc, an_engine_without_ids_has_no_tokenizer);
	tcase_add_test(tc, a_server_that_starts_later_is_waited_for);
	tcase_add_test(tc, a_server_that_dies_and_comes_back_costs_no_attempt);
	tcase_add_test(tc, a_server_that_stays_away_fails_the_engine_once);
	tcase_add_test(tc, a_server_that_never_starts_fails_the_engine);
	tcase_add_test(tc, two_endpoints_share_the_work_and_one_may_die);
	tcase_add_test(tc, a_slow_endpoint_gets_less_and_nothing_at_the_end);
	tcase_add_test(tc, a_straggler_is_sent_again_and_the_first_answer_counts);
	tcase_add_test(tc, without_hedge_nothing_is_sent_twice);
	tcase_add_test(tc, a_call_that_was_sent_twice_can_be_cancelled);
	tcase_add_test(tc, a_hung_endpoint_is_given_up_and_its_work_goes_elsewhere);
	tcase_add_test(tc, a_slow_answer_of_a_server_that_lives_is_waited_for);
	tcase_add_test(tc, an_endpoint_that_gives_errors_only_gets_one_request_at_a_time);
	tcase_add_test(tc, an_endpoint_that_recovers_is_used_again);
	tcase_add_test(tc, nothing_but_errors_for_long_fails_the_engine);
	tcase_add_test(tc, an_endpoint_that_came_back_starts_slowly);
	tcase_add_loop_test(
		tc, the_limit_follows_what_the_server_says_of_itself, 0, (int)ARRAY_LEN(gauged));
	tcase_add_test(tc, a_fixed_concurrency_is_kept_and_no_gauge_asked);
	tcase_add_test(tc, endpoints_that_tokenize_differently_are_refused);
	tcase_add_test(tc, endpoints_of_different_dialects_are_refused);
	tcase_add_test(tc, a_dialect_that_the_server_does_not_speak_is_an_error);
	tcase_add_test(tc, a_key_that_is_not_set_is_told_at_the_start);
	tcase_add_loop_test(tc, an_address_that_makes_no_sense_is_told_at_the_start, 0,
		(int)ARRAY_LEN(bad_urls));
	tcase_add_test(tc, slashes_and_v1_behind_an_address_do_no_harm);
	tcase_add_test(tc, cancelled_candidates_come_back_as_cancelled);
	tcase_add_test(tc, closing_answers_everything_first);
	tcase_add_test(tc, a_served_engine_is_started_and_stopped);
	tcase_add_test(tc, a_served_engine_that_dies_is_started_again);
	tcase_add_test(tc, a_served_engine_that_hangs_is_started_again);
	tcase_add_test(tc, a_served_engine_that_keeps_dying_fails);
	tcase_add_test(tc, a_model_that_is_not_gguf_is_told_before_anything_is_started);
	tcase_add_test(tc, a_server_that_does_not_start_is_quoted);
	tcase_add_test(tc, a_program_that_is_not_there_is_told);
	tcase_add_test(tc, a_port_in_use_is_told);
	tcase_add_test(tc, the_vocabulary_of_a_served_engine_comes_from_its_file);
	tcase_add_test(tc, the_vocabulary_of_a_url_engine_is_asked_for);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
