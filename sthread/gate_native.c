/* SPDX-License-Identifier: MIT */
/*
 * gate_native.c - gates whose function runs in the master, and the threads for them.  World: host.
 *
 * On a thread of the program fn runs where it was called.  A worker of the library is confined to what serving a
 * compartment takes, so there it runs on a thread of its own kind, while the worker waits.  Neither is interrupted:
 * what stops the caller takes effect when fn has returned.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "sthread/futex.h"
#include "sthread/gate.h"
#include "sthread/internal.h"

/* The call whose function this thread runs. */
static __thread struct gate_call *current;

/* ---- threads ---- */

struct native {
	pthread_t thread;
	_Atomic uint32_t wake; /* futex: a job is there, or with fn NULL the end */
	void (*fn)(void *);
	void *arg;
	_Atomic uint32_t *done;
	struct native *next;
};

/* As many as calls were under way at once; they rest until sthread_fini(). */
static pthread_mutex_t natives_lock = PTHREAD_MUTEX_INITIALIZER;
static struct native *idle;

static void rest(struct native *n)
{
	pthread_mutex_lock(&natives_lock);
	n->next = idle;
	idle = n;
	pthread_mutex_unlock(&natives_lock);
}

static void *native_main(void *arg)
{
	struct native *n = arg;

	for (;;) {
		_Atomic uint32_t *done;

		while (!atomic_load(&n->wake))
			futex_wait(&n->wake, 0);
		atomic_store(&n->wake, 0);
		if (!n->fn)
			return NULL;
		n->fn(n->arg);
		/* At rest first: who waits may be the last, and ends all that rest. */
		done = n->done;
		rest(n);
		atomic_store(done, 1);
		futex_wake(done);
	}
}

static struct native *native_new(void)
{
	struct native *n = calloc(1, sizeof(*n));
	sigset_t all, old;
	int err;

	if (!n)
		return NULL;
	/* Signals are the program's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&n->thread, NULL, native_main, n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		return n;
	free(n);
	return NULL;
}

static void give(struct native *n, void (*fn)(void *), void *arg, _Atomic uint32_t *done)
{
	n->fn = fn;
	n->arg = arg;
	n->done = done;
	atomic_store(&n->wake, 1);
	futex_wake(&n->wake);
}

int native_run(void (*fn)(void *), void *arg)
{
	_Atomic uint32_t done = 0;
	struct native *n;

	pthread_mutex_lock(&natives_lock);
	n = idle;
	if (n)
		idle = n->next;
	pthread_mutex_unlock(&natives_lock);
	if (!n && !(n = native_new()))
		return -EAGAIN;
	give(n, fn, arg, &done);
	while (!atomic_load(&done))
		futex_wait(&done, 0);
	return 0;
}

void natives_end(void)
{
	struct native *n;

	while ((n = idle)) {
		idle = n->next;
		give(n, NULL, NULL, NULL);
		pthread_join(n->thread, NULL);
		free(n);
	}
}

void natives_forked(void)
{
	pthread_mutex_init(&natives_lock, NULL);
	idle = NULL;
	current = NULL;
}

/* ---- the call ---- */

struct gate_call *gate_current(void)
{
	return current;
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
	if (c->caller && c->caller->ctx.own_thread) {
		if (native_run(invoke, c))
			return -EAGAIN;
	} else {
		invoke(c);
	}
	c->began = true;
	c->failed = !gate_answer_ok(c->answer, c->out_cap);
	return c->failed ? -EPROTO : c->answer;
}
