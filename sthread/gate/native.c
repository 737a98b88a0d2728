/* SPDX-License-Identifier: MIT */
/*
 * native.c - gates whose function runs in the master, and the threads for them.  World: host.
 *
 * On a thread of the program fn runs where it was called.  A worker of the library is confined to
 * what serving a compartment takes, so there it runs on a thread of its own kind, while the worker
 * waits; and with it what else no worker may do: make threads and lanes, compare files.  Neither is
 * interrupted: what stops the caller takes effect when fn has returned.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "sthread/futex.h"
#include "sthread/gate/gate.h"
#include "sthread/internal.h"

/* The call whose function this thread runs. */
static __thread struct gate_call *current;

/* ---- threads ---- */

/* On the stack of who waits for it. */
struct job {
	void (*fn)(void *);
	void *arg;
	int err;
	_Atomic uint32_t done; /* futex */
	struct job *next;
};

struct native {
	pthread_t thread;
	struct job *job;       /* NULL with wake: end */
	_Atomic uint32_t wake; /* futex */
	struct native *next;
};

/*
 * As many threads as calls were under way at once; they rest until sthread_fini().  They are made by
 * one that a thread of the program made, never by a worker: what confines that one would confine
 * them.
 */
static struct {
	pthread_mutex_t lock;
	struct native *idle;
	struct job *wanted; /* for whom there was no thread */
	bool up, ending;
	pthread_t maker;
	_Atomic uint32_t wake; /* futex: of the maker */
} natives = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void done(struct job *j)
{
	atomic_store(&j->done, 1);
	futex_wake(&j->done);
}

static void give(struct native *n, struct job *j)
{
	n->job = j;
	atomic_store(&n->wake, 1);
	futex_wake(&n->wake);
}

static void *native_main(void *arg)
{
	struct native *n = arg;

	for (;;) {
		struct job *j;

		while (!atomic_load(&n->wake))
			futex_wait(&n->wake, 0);
		atomic_store(&n->wake, 0);
		j = n->job;
		if (!j)
			return NULL;
		j->fn(j->arg);
		/* At rest first: who waits may be the last, and ends all that rest. */
		pthread_mutex_lock(&natives.lock);
		n->next = natives.idle;
		natives.idle = n;
		pthread_mutex_unlock(&natives.lock);
		done(j);
	}
}

/* Signals are the program's. */
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
	struct native *n = calloc(1, sizeof(*n));

	if (n && !thread_new(&n->thread, native_main, n)) {
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

		while (!atomic_load(&natives.wake))
			futex_wait(&natives.wake, 0);
		pthread_mutex_lock(&natives.lock);
		atomic_store(&natives.wake, 0);
		j = natives.wanted;
		natives.wanted = NULL;
		ending = natives.ending;
		pthread_mutex_unlock(&natives.lock);
		for (; j; j = next) {
			next = j->next; /* before who waits goes on */
			give_to_new(j);
		}
	}
	return unused;
}

int natives_start(void)
{
	int err = 0;

	pthread_mutex_lock(&natives.lock);
	if (!natives.up) {
		natives.ending = false;
		err = thread_new(&natives.maker, maker_main, NULL);
		natives.up = !err;
	}
	pthread_mutex_unlock(&natives.lock);
	return err;
}

/* natives.lock held. */
static void wake_maker(void)
{
	atomic_store(&natives.wake, 1);
	futex_wake(&natives.wake);
}

int native_run(const struct lane *asks, void (*fn)(void *), void *arg)
{
	struct job j = { .fn = fn, .arg = arg };
	struct native *n;

	if (!asks || !asks->ctx.own_thread) {
		fn(arg);
		return 0;
	}
	pthread_mutex_lock(&natives.lock);
	n = natives.idle;
	if (n) {
		natives.idle = n->next;
	} else {
		j.next = natives.wanted;
		natives.wanted = &j;
		wake_maker();
	}
	pthread_mutex_unlock(&natives.lock);
	if (n)
		give(n, &j);
	while (!atomic_load(&j.done))
		futex_wait(&j.done, 0);
	return j.err;
}

void natives_end(void)
{
	struct native *n;

	if (!natives.up)
		return;
	pthread_mutex_lock(&natives.lock);
	natives.ending = true;
	wake_maker();
	pthread_mutex_unlock(&natives.lock);
	pthread_join(natives.maker, NULL);
	natives.up = false;
	while ((n = natives.idle)) {
		natives.idle = n->next;
		give(n, NULL);
		pthread_join(n->thread, NULL);
		free(n);
	}
}

void natives_forked(void)
{
	pthread_mutex_init(&natives.lock, NULL);
	natives.idle = NULL;
	natives.wanted = NULL;
	natives.up = false;
	atomic_store(&natives.wake, 0);
	current = NULL;
}

/* ---- the call ---- */

struct gate_call *gate_current(void)
{
	return current;
}

bool gate_serves(const struct lane *l)
{
	const struct gate_call *c = current;

	while (c) {
		const struct lane *waits = c->caller;

		/* Who calls ends after the call, who made a compartment after that. */
		for (c = c->up; waits; waits = waits->creator) {
			if (waits == l)
				return true;
			c = waits->serves;
			if (c)
				break;
		}
	}
	return false;
}

static void invoke(void *arg)
{
	struct gate_call *c = arg, *before = current;
	const struct sthread_gate *g = c->gate;
	sigset_t ours, old;

	sigemptyset(&ours);
	sigaddset(&ours, process.signal);
	pthread_sigmask(SIG_BLOCK, &ours, &old);
	current = c;
	c->answer = g->fn(g->trusted, c->in, c->in_len, c->out, c->out_cap);
	current = before;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

ssize_t gate_in_master(struct gate_call *c)
{
	if (gate_stopping(c))
		return -ECANCELED;
	if (native_run(c->caller, invoke, c))
		return -EAGAIN;
	c->began = true;
	c->failed = !gate_answer_ok(c->answer, c->out_cap);
	return c->failed ? -EPROTO : c->answer;
}
