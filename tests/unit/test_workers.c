/* base/workers: every job once, by threads that are told apart. */
#include "base/workers.h"

#include "fixture.h"

#include <stdatomic.h>

#define N_JOBS 1000

struct count {
	atomic_uint runs[N_JOBS];
	atomic_uint of_thread[8];
	atomic_bool wrong_thread;
	unsigned n_threads;
};

static void count_job(void *ctx, size_t i, unsigned thread)
{
	struct count *c = ctx;
	c->runs[i]++;
	if (thread >= c->n_threads) {
		c->wrong_thread = true;
		return;
	}
	/* Two jobs of one thread at a time would be seen here by TSan, and by their sum without it. */
	c->of_thread[thread]++;
}

START_TEST(each_job_runs_once_on_a_thread_of_ours)
	{
		struct workers *w = workers_new((unsigned)_i);
		static struct count c;
		c.n_threads = workers_n(w);
		ck_assert_uint_eq(c.n_threads, (unsigned)_i);
		for (size_t round = 1; round <= 3; round++) {
			for (size_t i = 0; i < N_JOBS; i++) {
				workers_push(w, count_job, &c, i);
			}
			workers_wait(w);
			for (size_t i = 0; i < N_JOBS; i++) {
				ck_assert_uint_eq(c.runs[i], round);
			}
		}
		ck_assert(!c.wrong_thread);
		unsigned all = 0;
		for (unsigned i = 0; i < c.n_threads; i++) {
			all += c.of_thread[i];
		}
		ck_assert_uint_eq(all, 3 * N_JOBS);
		ck_assert(!workers_help(w));
		workers_free(w);
	}
END_TEST

START_TEST(freeing_waits_for_what_was_pushed)
	{
		struct workers *w = workers_new(4);
		static struct count c = {.n_threads = 4};
		for (size_t i = 0; i < N_JOBS; i++) {
			workers_push(w, count_job, &c, i);
		}
		workers_free(w);
		for (size_t i = 0; i < N_JOBS; i++) {
			ck_assert_uint_eq(c.runs[i], 1);
		}
		workers_free(NULL);
	}
END_TEST

static void hold(void *ctx, size_t i UNUSED, unsigned thread UNUSED)
{
	atomic_bool *go = ctx;
	while (!*go) {
	}
}

static void let_go(void *ctx, size_t i UNUSED, unsigned thread UNUSED)
{
	atomic_bool *go = ctx;
	*go = true;
}

START_TEST(the_owner_helps_with_what_is_queued)
	{
		/* The only other thread is held until the owner has done the second job itself. */
		static atomic_bool go;
		struct workers *w = workers_new(2);
		workers_push(w, hold, &go, 0);
		workers_push(w, let_go, &go, 1);
		while (workers_help(w)) {
		}
		ck_assert(go);
		workers_free(w);
	}
END_TEST

int main(void)
{
	Suite *s = suite_create("workers");
	TCase *t = tcase_create("workers");
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, each_job_runs_once_on_a_thread_of_ours, 1, 5);
	tcase_add_test(t, freeing_waits_for_what_was_pushed);
	tcase_add_test(t, the_owner_helps_with_what_is_queued);
	suite_add_tcase(s, t);
	return run_suite(s);
}
