/* SPDX-License-Identifier: MIT */
/*
 * helper.c - threads of the library without the filter, for what a worker may not do: run native
 * gates, make threads and lanes, compare files.  World: host.
 */
#include "sthread/run/helper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "sthread/futex.h"
#include "sthread/run/lane.h"

/* On the stack of the thread that waits for it. */
struct job {
	void (*fn)(void *);
	void *arg;
	int err;
	_Atomic uint32_t done; /* futex */
	struct job *next;
};

struct helper {
	pthread_t thread;
	struct job *job;       /* NULL with wake: end */
	_Atomic uint32_t wake; /* futex */
	struct helper *next;
};

/*
 * As many threads as jobs were under way at once; they are idle until sthread_fini().  They are
 * made by one that a thread of the program made, never by a worker: a new thread inherits the
 * filter of its maker.
 */
static struct {
	pthread_mutex_t lock;
	struct helper *idle;
	struct job *wanted; /* those for which there was no idle thread */
	bool up, ending;
	pthread_t maker;
	_Atomic uint32_t wake; /* futex: of the maker */
} helpers = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void done(struct job *j)
{
	atomic_store(&j->done, 1);
	futex_wake(&j->done);
}

static void give(struct helper *n, struct job *j)
{
	n->job = j;
	atomic_store(&n->wake, 1);
	futex_wake(&n->wake);
}

static void *helper_main(void *arg)
{
	struct helper *n = arg;

	for (;;) {
		struct job *j;

		while (!atomic_load(&n->wake))
			futex_wait(&n->wake, 0);
		atomic_store(&n->wake, 0);
		j = n->job;
		if (!j)
			return NULL;
		j->fn(j->arg);
		/* Go idle before signalling completion: the waiter may end all idle helpers. */
		pthread_mutex_lock(&helpers.lock);
		n->next = helpers.idle;
		helpers.idle = n;
		pthread_mutex_unlock(&helpers.lock);
		done(j);
	}
}

/* Signals are for threads of the program. */
static int thread_new(pthread_t *out, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(out, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err ? -EAGAIN : 0;
}

static void give_to_new(struct job *j)
{
	struct helper *n = calloc(1, sizeof(*n));

	if (n && !thread_new(&n->thread, helper_main, n)) {
		give(n, j);
		return;
	}
	free(n);
	j->err = -EAGAIN;
	done(j);
}

static void *maker_main(void *unused)
{
	bool ending = false;

	while (!ending) {
		struct job *j, *next;

		while (!atomic_load(&helpers.wake))
			futex_wait(&helpers.wake, 0);
		pthread_mutex_lock(&helpers.lock);
		atomic_store(&helpers.wake, 0);
		j = helpers.wanted;
		helpers.wanted = NULL;
		ending = helpers.ending;
		pthread_mutex_unlock(&helpers.lock);
		for (; j; j = next) {
			next = j->next; /* before the waiter goes on */
			give_to_new(j);
		}
	}
	return unused;
}

int helper_pool_start(void)
{
	int err = 0;

	pthread_mutex_lock(&helpers.lock);
	if (!helpers.up) {
		helpers.ending = false;
		err = thread_new(&helpers.maker, maker_main, NULL);
		helpers.up = !err;
	}
	pthread_mutex_unlock(&helpers.lock);
	return err;
}

/* helpers.lock held. */
static void wake_maker(void)
{
	atomic_store(&helpers.wake, 1);
	futex_wake(&helpers.wake);
}

int helper_run(const struct lane *asks, void (*fn)(void *), void *arg)
{
	struct job j = { .fn = fn, .arg = arg };
	struct helper *n;

	if (!asks || !asks->ctx.on_worker) {
		fn(arg);
		return 0;
	}
	pthread_mutex_lock(&helpers.lock);
	n = helpers.idle;
	if (n) {
		helpers.idle = n->next;
	} else {
		j.next = helpers.wanted;
		helpers.wanted = &j;
		wake_maker();
	}
	pthread_mutex_unlock(&helpers.lock);
	if (n)
		give(n, &j);
	while (!atomic_load(&j.done))
		futex_wait(&j.done, 0);
	return j.err;
}

void helper_pool_end(void)
{
	struct helper *n;

	if (!helpers.up)
		return;
	pthread_mutex_lock(&helpers.lock);
	helpers.ending = true;
	wake_maker();
	pthread_mutex_unlock(&helpers.lock);
	pthread_join(helpers.maker, NULL);
	helpers.up = false;
	while ((n = helpers.idle)) {
		helpers.idle = n->next;
		give(n, NULL);
		pthread_join(n->thread, NULL);
		free(n);
	}
}

void helper_pool_forked(void)
{
	pthread_mutex_init(&helpers.lock, NULL);
	helpers.idle = NULL;
	helpers.wanted = NULL;
	helpers.up = false;
	atomic_store(&helpers.wake, 0);
}
