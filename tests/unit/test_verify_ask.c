/* What verifiers that ask a model share: verdicts out of log-probabilities, and the order in which candidates are asked about. */
#include "verifiers/safety_answer.h"
#include "verifiers/steps_split.h"
#include "verifiers/verify_ask.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/loop.h"
#include "group.h"
#include "verifier.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- verdicts --- */

#define PIECE(text, p)                                              \
	{                                                           \
		{(text), sizeof(text) - 1}, (float)log((double)(p)) \
	}

static struct param_strings yes_words, no_words;

static void words_setup(void)
{
	static char *yes[] = {"yes"}, *no[] = {"no"};
	yes_words = (struct param_strings){yes, 1};
	no_words = (struct param_strings){no, 1};
}

START_TEST(all_spellings_of_a_word_count)
	{
		const struct engine_top top[] = {PIECE("Yes", 0.2), PIECE(" yes", 0.1),
			PIECE("\xe2\x96\x81YES", 0.1), PIECE("\xc4\xa0Yes", 0.1), PIECE("\n", 0.05),
			PIECE(" No", 0.2), PIECE("NO", 0.1), PIECE("Yesterday", 0.1),
			PIECE("Not", 0.05)};
		struct verdict v = verdict_read(top, ARRAY_LEN(top), &yes_words, &no_words, 0.5);
		ck_assert(v.known && !v.bounded);
		ck_assert_str_eq(v.reason, "verdict");
		ck_assert_double_eq_tol(v.yes, 0.5, 1e-6);
		ck_assert_double_eq_tol(v.no, 0.3, 1e-6);
		ck_assert_double_eq_tol(v.rest, 0.2, 1e-6);
		ck_assert_double_eq_tol(v.p, 0.625, 1e-6);
	}
END_TEST

START_TEST(a_side_that_is_not_listed_is_bounded)
	{
		const struct engine_top yes[] = {PIECE("Yes", 0.9), PIECE("The", 0.02)};
		const struct engine_top no[] = {PIECE("no", 0.9), PIECE("The", 0.02)};
		struct verdict v = verdict_read(yes, 2, &yes_words, &no_words, 0.5);
		ck_assert(v.known && v.bounded);
		ck_assert_double_eq_tol(v.p, 0.9 / 0.92, 1e-6);
		v = verdict_read(no, 2, &yes_words, &no_words, 0.5);
		ck_assert(v.known && v.bounded);
		ck_assert_double_eq_tol(v.p, 0.02 / 0.92, 1e-6);
		/* It is all that is listed: the other has at most what is left. */
		v = verdict_read(yes, 1, &yes_words, &no_words, 0.5);
		ck_assert(v.known && v.bounded);
		ck_assert_double_eq_tol(v.p, 0.9, 1e-6);
	}
END_TEST

START_TEST(what_tells_nothing_is_not_a_no)
	{
		const struct engine_top neither[] = {PIECE("The", 0.6), PIECE("I", 0.3)};
		const struct engine_top little[] = {PIECE("Yes", 0.3), PIECE("No", 0.1)};
		struct verdict v = verdict_read(neither, 2, &yes_words, &no_words, 0.5);
		ck_assert(!v.known);
		ck_assert_str_eq(v.reason, "no_verdict");
		v = verdict_read(little, 2, &yes_words, &no_words, 0.5);
		ck_assert(!v.known);
		ck_assert_str_eq(v.reason, "rest_mass");
		ck_assert_double_eq_tol(v.rest, 0.6, 1e-6);
		v = verdict_read(NULL, 0, &yes_words, &no_words, 0.5);
		ck_assert(!v.known);
		ck_assert_str_eq(v.reason, "no_logprobs");
	}
END_TEST

/* --- in a row --- */

static struct loop *loop;
static struct engine *engine;
static pid_t fake;
static char order[64];
static unsigned n_begun, n_done;

static void on_ready(void *ctx, struct engine *e)
{
	(void)ctx;
	(void)e;
	loop_stop(loop);
}

static void on_failed(void *ctx, struct engine *e, const struct error *err)
{
	(void)ctx;
	(void)e;
	ck_abort_msg("%s", err->msg);
}

static void on_closed(void *ctx)
{
	(void)ctx;
	loop_stop(loop);
}

/* A fake engine with `slots` slots, and an engine that is ready to ask it. */
static void open_engine(const char *slots)
{
	static char url[128];
	static char *urls[] = {url};
	static struct engine_config config = {.name = "judge",
		.dialect = "llama.cpp",
		.urls = urls,
		.n_urls = 1,
		.connect_timeout_ms = 5000,
		.request_timeout_ms = 5000,
		.down_timeout_ms = 5000,
		.response_bytes_max = 1 << 20};
	const char *program = getenv("FAKE_ENGINE");
	char line[160] = "";
	int ends[2];
	ck_assert_ptr_nonnull(program);
	ck_assert_int_eq(pipe(ends), 0);
	fake = fork();
	if (fake == 0) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		execl(program, program, "--die-with-parent", "--slots", slots, NULL);
		_exit(127);
	}
	close(ends[1]);
	FILE *out = fdopen(ends[0], "r");
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), out));
	fclose(out);
	line[strcspn(line, "\n")] = '\0';
	snprintf(url, sizeof(url), "%s", strstr(line, "http://"));
	log_set_level(LOG_LEVEL_ERROR);
	loop = loop_new();
	engine = engine_new(loop, &config, ".", (struct engine_events){on_ready, on_failed, NULL});
	engine_start(engine);
	loop_run(loop);
	order[0] = '\0';
}

/* Whoever still waits is dropped. */
static void close_engine(void)
{
	engine_close(engine, on_closed, NULL);
	loop_run(loop);
	loop_free(loop);
	kill(fake, SIGKILL);
	waitpid(fake, NULL, 0);
}

struct asked {
	struct turn turn; /* first */
	char name;
};

static void note(const void *asked, const char *what)
{
	size_t len = strlen(order);
	snprintf(order + len, sizeof(order) - len, "%s%c ", what,
		((const struct asked *)asked)->name);
}

static void note_start(struct turn *turn)
{
	note(turn, "+");
}

/* In place of the verify stage: what it is told of a job, whose owner is the question. */
void verify_begun(struct verify_job *job UNUSED)
{
	n_begun++;
}

void verify_done(struct verify_job *job, const struct score *score)
{
	ck_assert_str_eq(score->reason, "verdict");
	ck_assert_ptr_null(job->request);
	n_done++;
}

void verify_cancelled(struct verify_job *job)
{
	ck_assert_ptr_null(job->request);
	note(job->owner, "-");
}

/* A question of its own for each name; the job and the candidate outlive it. */
static struct asked *enter(struct turns *turns, char name, struct group *group)
{
	static struct verify_job jobs[8];
	static struct candidate candidates[8];
	struct asked *asked = xcalloc(1, sizeof(*asked));
	size_t i = (size_t)(name - 'a');
	asked->name = name;
	candidates[i] = (struct candidate){.group = group};
	jobs[i] = (struct verify_job){.candidate = &candidates[i], .owner = asked};
	turns_enter(turns, &asked->turn, &jobs[i], note_start);
	return asked;
}

static void end(struct asked *asked)
{
	/* What is told may lie in what is freed. */
	const char *reason = arena_strdup(&asked->turn.arena, "verdict");
	turn_end(&asked->turn, &(struct score){.reason = reason});
}

START_TEST(candidates_of_a_prompt_are_asked_about_in_a_row)
	{
		struct turns turns;
		struct group groups[3] = {0};
		struct asked *a, *b, *c, *d, *e;
		open_engine("2");
		turns_init(&turns, engine);
		a = enter(&turns, 'a', &groups[0]);
		b = enter(&turns, 'b', &groups[1]);
		c = enter(&turns, 'c', &groups[2]); /* a third prompt, for which there is no slot */
		d = enter(&turns, 'd', &groups[0]);
		e = enter(&turns, 'e', &groups[1]);
		ck_assert_str_eq(order, "+a +b ");
		end(a);
		ck_assert_str_eq(order, "+a +b +d ");
		end(d);
		ck_assert_str_eq(order, "+a +b +d +c ");
		end(c);
		ck_assert_str_eq(order, "+a +b +d +c ");
		end(b);
		ck_assert_str_eq(order, "+a +b +d +c +e ");
		end(e);
		ck_assert_uint_eq(turns.n_active, 0);
		ck_assert_uint_eq(n_begun, 5);
		ck_assert_uint_eq(n_done, 5);
		close_engine();
		ck_assert_str_eq(order, "+a +b +d +c +e ");
	}
END_TEST

START_TEST(a_cancelled_one_is_dropped_and_never_asked_about)
	{
		struct turns turns;
		struct group group = {0};
		struct asked *a, *b, *c, *d;
		open_engine("2");
		turns_init(&turns, engine);
		a = enter(&turns, 'a', &group);
		b = enter(&turns, 'b', &group);
		c = enter(&turns, 'c', &group);
		d = enter(&turns, 'd', &group);
		ck_assert_ptr_nonnull(b->turn.job->request);
		engine_cancel(b->turn.job->request);
		/* Not yet told, and its turn would come. */
		end(a);
		ck_assert_str_eq(order, "+a +c ");
		end(c);
		ck_assert_str_eq(order, "+a +c +d ");
		a = enter(&turns, 'a', &group);
		close_engine();
		ck_assert_str_eq(order, "+a +c +d -b -a ");
		end(d);
	}
END_TEST

/* --- steps --- */

static const struct {
	const char *text, *split, *steps; /* each step in <> */
	size_t n;
} splits[] = {
	{"one\n\ntwo\nlines\n\n\n\nthree", NULL, "<one><two\nlines><three>", 3},
	{"\n\n one \n \t\r\n two\n\n", NULL, "<one><two>", 2},
	{"one\n two", NULL, "<one\n two>", 1},
	{"", NULL, "", 0},
	{" \n\n \n", NULL, "", 0},
	{"a. b.\n\nc. ", ". ", "<a><b.\n\nc>", 2},
	{". . a", ". ", "<a>", 1},
	{"a##", "##", "<a>", 1},
	{"a#", "##", "<a#>", 1},
	{"1\n\n2\n\n3\n\n4\n\n5\n\n6", NULL, "<1><2><3><4>", 5},
};

START_TEST(chains_are_split_into_steps)
	{
		struct slice steps[4];
		char got[64] = "";
		size_t n = steps_split(
			slice_z(splits[_i].text), splits[_i].split, steps, ARRAY_LEN(steps));
		ck_assert_uint_eq(n, splits[_i].n);
		for (size_t i = 0; i < n && i < ARRAY_LEN(steps); i++) {
			size_t len = strlen(got);
			snprintf(got + len, sizeof(got) - len, "<%.*s>", (int)steps[i].len,
				steps[i].data);
		}
		ck_assert_str_eq(got, splits[_i].steps);
	}
END_TEST

/* --- what safety models answer --- */

static const struct {
	const char *text, *verdict; /* the categories; "safe"; NULL: none */
} answers[] = {
	{"safe", "safe"},
	{"\n\nsafe", "safe"},
	{"Safe.", "safe"},
	{"**safe**", "safe"},
	{"<think>unsafe? no</think>\nsafe", "safe"},
	{"unsafe\nS1,S10", "S1 S10 "},
	{"\n\nunsafe\nS2", "S2 "},
	{"unsafe", ""},
	{"Unsafe: S2, S2; O3", "S2 O3 "},
	{"", NULL},
	{" \n", NULL},
	{"safe\nS1", NULL},
	{"safe and sound", NULL},
	{"safely", NULL},
	{"unsafe\nS123", NULL},
	{"unsafe\ns1", NULL},
	{"unsafe\nS", NULL},
	{"unsafe\nperhaps", NULL},
	{"not safe", NULL},
	{"safe</think>", NULL},
};

START_TEST(verdicts_of_safety_models_are_read)
	{
		struct safety_answer answer = {0};
		char got[64] = "";
		bool ok = safety_read(slice_z(answers[_i].text), &answer);
		ck_assert_msg(ok == (answers[_i].verdict != NULL), "'%s'", answers[_i].text);
		for (size_t i = 0; i < answer.n_categories; i++) {
			size_t len = strlen(got);
			snprintf(got + len, sizeof(got) - len, "%s ", answer.categories[i]);
		}
		if (ok) {
			ck_assert_str_eq(answer.safe ? "safe" : got, answers[_i].verdict);
		}
	}
END_TEST

START_TEST(categories_beyond_the_limit_are_no_verdict)
	{
		struct safety_answer answer;
		char text[8 + 4 * (SAFETY_CATEGORIES_MAX + 1) + 1] = "unsafe\n";
		ck_assert(!safety_read((struct slice){NULL, 0}, &answer));
		for (int i = 0; i <= SAFETY_CATEGORIES_MAX; i++) {
			size_t len = strlen(text);
			ck_assert(safety_read((struct slice){text, len}, &answer));
			snprintf(text + len, sizeof(text) - len, "S%d,", 10 + i);
		}
		ck_assert(!safety_read(slice_z(text), &answer));
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("verify_ask");
	TCase *tc = tcase_create("verify_ask");
	tcase_add_checked_fixture(tc, words_setup, NULL);
	tcase_add_test(tc, all_spellings_of_a_word_count);
	tcase_add_test(tc, a_side_that_is_not_listed_is_bounded);
	tcase_add_test(tc, what_tells_nothing_is_not_a_no);
	tcase_add_test(tc, candidates_of_a_prompt_are_asked_about_in_a_row);
	tcase_add_test(tc, a_cancelled_one_is_dropped_and_never_asked_about);
	tcase_add_loop_test(tc, chains_are_split_into_steps, 0, (int)ARRAY_LEN(splits));
	tcase_add_loop_test(tc, verdicts_of_safety_models_are_read, 0, (int)ARRAY_LEN(answers));
	tcase_add_test(tc, categories_beyond_the_limit_are_no_verdict);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
