/* exec against workers that are slow, broken or hostile: whoever is asked about gets one answer, and nobody's else. */
#include "fixture.h"

#include "base/json.h"
#include "base/log.h"
#include "definition.h"
#include "engine/loop.h"
#include "engine/server.h"
#include "run.h"
#include "stage.h"
#include "verifier.h"
#include "verifiers/verifiers.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define JOBS_MAX 16

static struct loop *loop;
static struct definition def;
static struct run run;
static struct tree tree;
static void *config, *state;
static struct group group;
static struct candidate candidates[JOBS_MAX];
static struct verify_job jobs[JOBS_MAX];
/* What came of each: "0.5", "null timeout", "cancelled"; more than one answer is joined. */
static char got[JOBS_MAX][64];
static size_t n_open, n_cancelled;
static char failure[512];

/* --- in place of the verify stage and the flow --- */

static void note(const struct verify_job *job, const char *what)
{
	char *to = got[job - jobs];
	size_t len = strlen(to);
	snprintf(to + len, sizeof(got[0]) - len, "%s%s", len ? " and " : "", what);
	if (--n_open == 0) {
		loop_stop(loop);
	}
}

void verify_begun(struct verify_job *job UNUSED)
{
}

void verify_done(struct verify_job *job, const struct score *score)
{
	char text[48];
	if (score->known) {
		snprintf(text, sizeof(text), "%g", score->value);
	} else {
		snprintf(text, sizeof(text), "null %s", score->reason);
	}
	note(job, text);
}

void verify_cancelled(struct verify_job *job)
{
	n_cancelled++;
	note(job, "cancelled");
}

void flow_failed(struct run *r UNUSED, const struct error *err)
{
	ck_assert_str_eq(failure, "");
	snprintf(failure, sizeof(failure), "%s", err->msg);
	loop_stop(loop);
}

/* --- a scene --- */

/* `script` is Python with `questions`, an iterator over the questions, and say(id, score). */
static void open_exec(const char *options, const char *script)
{
	static const char head[] = "import json, os, sys, time\n"
				   "questions = (json.loads(line) for line in sys.stdin)\n"
				   "def say(i, score):\n"
				   "    print(json.dumps({'id': i, 'score': score}), flush=True)\n";
	struct error err = {0};
	struct error_list errors = {0};
	fixture_set_up();
	AUTO_FREE char *text = xasprintf("%s%s", head, script);
	fixture_write("w.py", text);
	AUTO_FREE char *yaml = xasprintf("{command: [python3, %s/w.py], %s}", fixture_dir, options);
	ck_assert_ok(tree_parse(&tree, "t.yaml", yaml, strlen(yaml), &err), err);
	config = xcalloc(1, verify_exec.config_size);
	state = xcalloc(1, verify_exec.state_size);
	param_read(verify_exec.params, &tree, tree.root, tree.root, "exec", config, &errors);
	ck_assert_uint_eq(errors.n, 0);
	log_set_level(LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN); /* as main does */
	loop = loop_new();
	run = (struct run){.def = &def, .dir = fixture_dir, .loop = loop};
	ck_assert_ok(verify_exec.open(state, config, &run, &err), err);
	group.prompt.prompt_id = "0123456789abcdef0123456789abcdef";
	group.prompt.fields = json_parse("{\"answer\": 1}", 13, &err);
	ck_assert_ptr_nonnull(group.prompt.fields);
}

static void submit(size_t i, const char *text)
{
	candidates[i] = (struct candidate){
		.group = &group, .idx = (uint32_t)i, .text = slice_z(text)};
	jobs[i] = (struct verify_job){.candidate = &candidates[i]};
	n_open++;
	verify_exec.submit(state, &jobs[i]);
}

static void ask(size_t n)
{
	static const char *const texts[JOBS_MAX] = {"0", "1", "2", "3", "4", "5", "6", "7", "8",
		"9", "10", "11", "12", "13", "14", "15"};
	for (size_t i = 0; i < n; i++) {
		submit(i, texts[i]);
	}
	loop_run(loop);
}

static void close_exec(void)
{
	verify_exec.close(state);
	loop_run(loop);
	loop_free(loop);
	param_release(verify_exec.params, config);
	free(config);
	free(state);
	tree_release(&tree);
	json_free((struct json *)(uintptr_t)group.prompt.fields);
	fixture_tear_down();
}

static void finds(size_t i, const char *wanted)
{
	ck_assert_msg(
		strcmp(got[i], wanted) == 0, "candidate %zu: '%s' and not '%s'", i, got[i], wanted);
}

/* --- answers --- */

START_TEST(an_answer_counts_once_and_for_its_own_question)
	{
		open_exec("workers: 1, in_flight: 4",
			"for q in questions:\n"
			"    i, n = q['id'], int(q['text'])\n"
			"    for other in (0, -1, i - 1, i + 1000, 2**63, 2**70, i + 0.5, str(i), "
			"None, [i]):\n"
			"        say(other, 99)\n"
			"    print('[]\\n7\\nnull\\n{}\\n\\n{\"id\":\\n{\"id\": }', flush=True)\n"
			"    say(i, n)\n"
			"    say(i, 98)\n");
		ask(8);
		for (size_t i = 0; i < 8; i++) {
			char wanted[8];
			snprintf(wanted, sizeof(wanted), "%zu", i);
			finds(i, wanted);
		}
		close_exec();
	}
END_TEST

START_TEST(what_is_no_number_could_not_tell)
	{
		static const char *const wanted[] = {"1", "0", "null null", "null bad_answer",
			"null bad_answer", "null bad_answer", "null bad_answer", "null bad_answer",
			"null bad_answer", "null bad_answer", "null bad_answer", "null bad_answer",
			"1e+300"};
		open_exec("workers: 2, in_flight: 2",
			"bodies = [b'\"score\": true', b'\"score\": false', b'\"score\": null',\n"
			"    b'\"score\": NaN', b'\"score\": Infinity', b'\"score\": 1e999',\n"
			"    b'\"score\": \"1\"', b'\"score\": [1]', b'\"scores\": 1',\n"
			"    b'\"score\": 1, \"detail\": \"\\xff\\xfe\"', b'\"score\": 1, "
			"\"reason\": "
			"\"\\\\ud800\"',\n"
			"    b'\"score\": 1' + b'0' * 400, b'\"score\": 1e300']\n"
			"for q in questions:\n"
			"    os.write(1, b'{\"id\": %d, %s}\\n' % (q['id'], "
			"bodies[int(q['text'])]))\n");
		ask(ARRAY_LEN(wanted));
		for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
			finds(i, wanted[i]);
		}
		close_exec();
	}
END_TEST

START_TEST(answers_come_in_pieces_and_in_heaps)
	{
		open_exec("workers: 1, in_flight: 8",
			"qs = [next(questions) for i in range(8)]\n"
			"text = ''.join('{\"id\": %d, \"score\": %s}\\n' % (q['id'], q['text']) "
			"for "
			"q in reversed(qs)).encode()\n"
			"for part in [text[i:i + 7] for i in range(0, 50, 7)]:\n"
			"    os.write(1, part)\n"
			"    time.sleep(0.005)\n"
			"os.write(1, text[56:])\n"
			"sys.stdin.read()\n");
		ask(8);
		finds(0, "0");
		finds(7, "7");
		close_exec();
	}
END_TEST

/* --- workers that fail --- */

START_TEST(workers_that_end_after_each_answer_do_not_hold_up_the_night)
	{
		open_exec("workers: 2",
			"q = next(questions)\nsay(q['id'], int(q['text']))\nsys.exit(1)\n");
		ask(6);
		for (size_t i = 0; i < 6; i++) {
			/* It may have been given to one that was about to end, twice. */
			ck_assert(got[i][0] == (char)('0' + i) ||
				strcmp(got[i], "null crashed") == 0);
		}
		close_exec();
	}
END_TEST

START_TEST(who_kills_a_worker_is_found_and_takes_nobody_along)
	{
		open_exec("workers: 2, in_flight: 4",
			"for q in questions:\n"
			"    if q['text'] == '5':\n"
			"        os.kill(os.getpid(), 9)\n"
			"    say(q['id'], int(q['text']))\n");
		ask(10);
		for (size_t i = 0; i < 10; i++) {
			char wanted[8];
			snprintf(wanted, sizeof(wanted), "%zu", i);
			finds(i, i == 5 ? "null crashed" : wanted);
		}
		close_exec();
	}
END_TEST

START_TEST(a_silent_worker_costs_the_oldest_alone)
	{
		open_exec("workers: 1, in_flight: 4, timeout: 700ms, start_timeout: 3s",
			"for q in questions:\n"
			"    if q['text'] == '1':\n"
			"        os.close(1)\n"
			"        time.sleep(3600)\n"
			"    say(q['id'], int(q['text']))\n");
		ask(6);
		finds(0, "0");
		finds(1, "null timeout");
		finds(2, "2");
		finds(5, "5");
		close_exec();
	}
END_TEST

START_TEST(a_worker_that_does_not_read_is_no_dam)
	{
		char *big = xmalloc((4 << 20) + 1);
		memset(big, 'x', 4 << 20);
		big[4 << 20] = '\0';
		open_exec("workers: 1, in_flight: 4, timeout: 300ms, start_timeout: 0s",
			"time.sleep(3600)\n");
		submit(0, big);
		submit(1, big);
		loop_run(loop);
		finds(0, "null timeout");
		finds(1, "null timeout");
		close_exec();
		free(big);
	}
END_TEST

START_TEST(a_line_without_end_costs_one)
	{
		open_exec("workers: 1",
			"for q in questions:\n"
			"    if q['text'] == '1':\n"
			"        while True:\n"
			"            os.write(1, b'x' * 65536)\n"
			"    say(q['id'], int(q['text']))\n");
		ask(3);
		finds(0, "0");
		finds(1, "null bad_answer");
		finds(2, "2");
		close_exec();
	}
END_TEST

/* A flood on stderr neither fills the disk nor hides the answers. */
START_TEST(noise_is_cut)
	{
		struct stat st;
		open_exec("workers: 1",
			"for q in questions:\n"
			"    for i in range(400):\n"
			"        os.write(2, b'x' * 65536)\n"
			"        os.write(1, b'no answer\\n')\n"
			"    say(q['id'], int(q['text']))\n");
		ask(2);
		finds(0, "0");
		finds(1, "1");
		AUTO_FREE char *path = fixture_path("verifier-exec.log");
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_size, 16 << 20);
		close_exec();
	}
END_TEST

/* One that was left behind holds the pipes: the end comes all the same. */
START_TEST(what_a_worker_leaves_behind_does_not_hold_its_end)
	{
		open_exec("workers: 1",
			"for q in questions:\n"
			"    if q['text'] == '0' and os.fork() == 0:\n"
			"        os.setsid()\n"
			"        time.sleep(30)\n"
			"        os._exit(0)\n"
			"    if q['text'] == '1':\n"
			"        os._exit(0)\n"
			"    say(q['id'], int(q['text']))\n");
		ask(3);
		finds(0, "0");
		finds(1, "null crashed");
		finds(2, "2");
		close_exec();
	}
END_TEST

START_TEST(a_program_that_is_broken_stops_the_run_once)
	{
		open_exec("workers: 4", "sys.exit(7)\n");
		ask(12);
		ck_assert_ptr_nonnull(strstr(failure, "exit code 7"));
		ck_assert_ptr_nonnull(strstr(failure, "5 times"));
		/* The flow cancels what is under way, and goes on until all have answered. */
		for (size_t i = 0; i < 12; i++) {
			if (!got[i][0]) {
				verify_exec.cancel(state, &jobs[i]);
			}
		}
		loop_run(loop);
		ck_assert_uint_eq(n_open, 0);
		close_exec();
	}
END_TEST

/* --- cancelling --- */

static void cancel_all(void *ctx UNUSED)
{
	for (size_t i = 0; i < 6; i++) {
		if (!got[i][0]) {
			verify_exec.cancel(state, &jobs[i]);
		}
	}
}

START_TEST(what_is_cancelled_is_told_once)
	{
		open_exec("workers: 1, in_flight: 2",
			"for q in questions:\n"
			"    time.sleep(0.3)\n"
			"    say(q['id'], int(q['text']))\n");
		loop_after(loop, 100, cancel_all, NULL);
		ask(6);
		for (size_t i = 0; i < 6; i++) {
			finds(i, "cancelled");
		}
		ck_assert_uint_eq(n_cancelled, 6);
		/* The worker has two of them still and answers; the next question is not mistaken. */
		submit(7, "7");
		loop_run(loop);
		finds(7, "7");
		close_exec();
	}
END_TEST

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "__spawn") == 0) {
		return server_spawn_main(argc - 1, argv + 1);
	}
	Suite *s = suite_create("exec");
	TCase *tc = tcase_create("exec");
	tcase_add_test(tc, an_answer_counts_once_and_for_its_own_question);
	tcase_add_test(tc, what_is_no_number_could_not_tell);
	tcase_add_test(tc, answers_come_in_pieces_and_in_heaps);
	tcase_add_test(tc, workers_that_end_after_each_answer_do_not_hold_up_the_night);
	tcase_add_test(tc, who_kills_a_worker_is_found_and_takes_nobody_along);
	tcase_add_test(tc, a_silent_worker_costs_the_oldest_alone);
	tcase_add_test(tc, a_worker_that_does_not_read_is_no_dam);
	tcase_add_test(tc, a_line_without_end_costs_one);
	tcase_add_test(tc, noise_is_cut);
	tcase_add_test(tc, what_a_worker_leaves_behind_does_not_hold_its_end);
	tcase_add_test(tc, a_program_that_is_broken_stops_the_run_once);
	tcase_add_test(tc, what_is_cancelled_is_told_once);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
