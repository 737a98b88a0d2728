/* SPDX-License-Identifier: MIT */
/*
 * queue.c - who runs a gate that serves one call at a time, and who is next.  World: host.
 *
 * A chain of calls may hold several recycled gates and waits for one at most.  So "waits for, held
 * by" leads from each gate to one other, and a wait that would close a circle is refused before it
 * begins: no deadlock, whatever gates call each other from however many threads.
 *
 * A chain that was begun within another (by a compartment that a gate made) ends before the other
 * releases a gate, so waiting for such a gate is refused, too.  Waits for anything but gates are
 * not looked at.
 */
#include <errno.h>
#include <pthread.h>

#include "sthread/futex.h"
#include "sthread/gate/gate.h"
#include "sthread/syscall/syscall.h"

struct gate_waiter {
	struct gate_chain *chain;
	_Atomic uint32_t turn; /* futex: 1: it holds the gate */
	struct gate_waiter *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void gate_lock(void)
{
	pthread_mutex_lock(&lock);
}

void gate_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void gates_forked(void)
{
	pthread_mutex_init(&lock, NULL);
}

static bool part_of(const struct gate_chain *us, const struct gate_chain *h)
{
	while (us && us != h)
		us = us->above;
	return us;
}

static bool waits_for(const struct sthread_gate *g, const struct gate_chain *us)
{
	const struct gate_chain *h;

	for (; g && (h = g->holder); g = h->waits)
		if (part_of(us, h))
			return true;
	return false;
}

static void enqueue(struct sthread_gate *g, struct gate_waiter *w)
{
	struct gate_waiter **at = &g->queue;

	while (*at)
		at = &(*at)->next;
	*at = w;
	w->chain->waits = g;
}

static void dequeue(struct sthread_gate *g, struct gate_waiter *w)
{
	struct gate_waiter **at = &g->queue;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->chain->waits = NULL;
}

/*
 * Serves pending revocations for the callers that wait with this thread: the holder of the gate
 * may be waiting for that.  True: one of them is served by another thread, which is signalled in
 * our place.
 */
static bool attend(const struct gate_call *c)
{
	bool other = false;

	for (; c; c = c->parent_call) {
		if (c->caller)
			sys_attend(&c->caller->ctx);
		else
			other = true;
	}
	return other;
}

/*
 * Ended by a hand-over, or by what stops the caller: a signal, if it is this thread that is
 * signalled.
 */
static void wait_for_turn(const struct gate_call *c, struct gate_waiter *me)
{
	const struct timespec look = { .tv_nsec = 5000000 };

	while (!atomic_load(&me->turn) && !gate_stopping(c))
		futex_wait_for(&me->turn, 0, attend(c) ? &look : NULL);
}

int gate_take(struct gate_call *c)
{
	struct sthread_gate *g = c->gate;
	struct gate_waiter me = { .chain = c->chain };
	bool held = true;
	int err = 0;

	gate_lock();
	if (!g->holder) {
		g->holder = c->chain;
	} else if (waits_for(g, c->chain)) {
		gate_unlock();
		return -EDEADLK;
	} else {
		enqueue(g, &me);
		gate_unlock();
		wait_for_turn(c, &me);
		gate_lock();
		held = atomic_load(&me.turn);
		if (!held)
			dequeue(g, &me);
	}
	if (gate_stopping(c))
		err = -ECANCELED;
	else if (g->gone)
		err = -ENOENT;
	gate_unlock();
	if (held && err)
		gate_release(g);
	return err;
}

bool gate_held(struct sthread_gate *g)
{
	bool held;

	gate_lock();
	held = g->holder;
	gate_unlock();
	return held;
}

void gate_release(struct sthread_gate *g)
{
	struct gate_waiter *next;
	struct lane *back = NULL;

	gate_lock();
	next = g->queue;
	g->holder = next ? next->chain : NULL;
	if (next) {
		dequeue(g, next);
		atomic_store(&next->turn, 1);
		futex_wake(&next->turn); /* it needs the lock to go on, and to go */
	} else if (g->gone) {
		back = g->lane;
		g->lane = NULL;
	}
	gate_unlock();
	if (back)
		gate_lane_back(back);
}
