/*
 * One queue under one lock: pieces are of a millisecond, so the lock is not what is waited for. The queue is a ring that grows:
 * a job is 24 bytes and what it works on is in memory anyway.
 */
#include "base/workers.h"

#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 256

struct job {
	workers_job *run;
	void *ctx;
	size_t i;
};

struct helper {
	struct workers *workers;
	unsigned thread;
	pthread_t id;
};

struct workers {
	unsigned n_threads;
	struct helper *helpers; /* owns; n_threads - 1 */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t pushed, ended;
	struct job *queue; /* owns; a ring */
	size_t first, n_queued, cap;
	unsigned n_running;
	bool over;
};

static unsigned cores(void)
{
	cpu_set_t set;
	/* What we may use, not what the machine has: a Slurm job is given a part of it. */
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	return n > 0 ? (unsigned)n : 1;
}

static bool take(struct workers *w, struct job *out)
{
	if (!w->n_queued) {
		return false;
	}
	*out = w->queue[w->first];
	w->first = (w->first + 1) % w->cap;
	w->n_queued--;
	w->n_running++;
	return true;
}

/* Called with the lock held, which is given up while the job runs. */
static void run_one(struct workers *w, const struct job *job, unsigned thread)
{
	pthread_mutex_unlock(&w->lock);
	job->run(job->ctx, job->i, thread);
	pthread_mutex_lock(&w->lock);
	w->n_running--;
	pthread_cond_signal(&w->ended); /* only the owner waits for it */
}

static void *help(void *arg)
{
	struct helper *h = arg;
	struct workers *w = h->workers;
	struct job job;
	pthread_mutex_lock(&w->lock);
	while (true) {
		if (take(w, &job)) {
			run_one(w, &job, h->thread);
		} else if (w->over) {
			break;
		} else {
			pthread_cond_wait(&w->pushed, &w->lock);
		}
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct workers *workers_new(unsigned n_threads)
{
	struct workers *w = xcalloc(1, sizeof(*w));
	n_threads = n_threads ? n_threads : cores();
	n_threads = MIN(n_threads, THREADS_MAX);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->pushed, NULL);
	pthread_cond_init(&w->ended, NULL);
	w->helpers = xcalloc(n_threads, sizeof(*w->helpers));
	w->n_threads = 1;
	while (w->n_threads < n_threads) {
		struct helper *h = &w->helpers[w->n_threads - 1];
		*h = (struct helper){.workers = w, .thread = w->n_threads};
		if (pthread_create(&h->id, NULL, help, h) != 0) {
			break; /* a limit on threads: fewer of them do the same work */
		}
		w->n_threads++;
	}
	return w;
}

unsigned workers_n(const struct workers *w)
{
	return w->n_threads;
}

static void grow(struct workers *w)
{
	size_t cap = w->cap ? 2 * w->cap : 64;
	struct job *queue = xcalloc(cap, sizeof(*queue));
	for (size_t i = 0; i < w->n_queued; i++) {
		queue[i] = w->queue[(w->first + i) % w->cap];
	}
	free(w->queue);
	w->queue = queue;
	w->first = 0;
	w->cap = cap;
}

void workers_push(struct workers *w, workers_job *job, void *ctx, size_t i)
{
	if (w->n_threads == 1) {
		job(ctx, i, 0);
		return;
	}
	pthread_mutex_lock(&w->lock);
	if (w->n_queued == w->cap) {
		grow(w);
	}
	w->queue[(w->first + w->n_queued) % w->cap] = (struct job){job, ctx, i};
	w->n_queued++;
	pthread_cond_signal(&w->pushed);
	pthread_mutex_unlock(&w->lock);
}

bool workers_help(struct workers *w)
{
	struct job job;
	pthread_mutex_lock(&w->lock);
	bool any = true;
	if (take(w, &job)) {
		run_one(w, &job, 0);
	} else if (w->n_running) {
		pthread_cond_wait(&w->ended, &w->lock);
	} else {
		any = false;
	}
	pthread_mutex_unlock(&w->lock);
	return any;
}

void workers_wait(struct workers *w)
{
	while (workers_help(w)) {
	}
}

void workers_free(struct workers *w)
{
	if (!w) {
		return;
	}
	workers_wait(w);
	pthread_mutex_lock(&w->lock);
	w->over = true;
	pthread_cond_broadcast(&w->pushed);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i + 1 < w->n_threads; i++) {
		pthread_join(w->helpers[i].id, NULL);
	}
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->pushed);
	pthread_cond_destroy(&w->ended);
	free(w->helpers);
	free(w->queue);
	free(w);
}
