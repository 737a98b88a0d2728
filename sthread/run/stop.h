/* SPDX-License-Identifier: MIT */
/*
 * stop.h - other threads at a run: to end it, or to have it give something up.  World: host.
 *
 * Calls of gates within each other are a chain of lanes, `waiting_for`: what stops a lane stops
 * all that it waits for.  Locks are taken from the caller to the callee.
 */
#ifndef STHREAD_RUN_STOP_H
#define STHREAD_RUN_STOP_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct lane;

enum stop_reason { STOP_NONE, STOP_KILLED, STOP_WALL, STOP_CPU };

struct stop_state {
	pthread_mutex_t lock;
	bool running;		  /* the thread may be signalled; lock */
	bool signalled;		  /* lock */
	pid_t thread;		  /* whose `timer` signals it; 0: none */
	timer_t timer;
	atomic_bool requested;	  /* end the run */
	atomic_int reason;	  /* enum stop_reason */
	struct lane *waiting_for; /* the gate that it called: stopped with it; lock */
	bool made_inside;	  /* it runs a gate that a compartment made; set before it is waited for */
	struct lane *signal_lane; /* the lane whose timer signals its thread; NULL: its own */
	/*
	 * The thread is the program's, may block the signal, and waits in no call of the host: a signal would only be queued.
	 * Else `heard`: it does not block it for now, and `mask` is what it blocked before.
	 */
	atomic_bool deaf;
	bool heard;
	sigset_t mask;
};

/*
 * On a thread of the program's, which may block the signal that ends a call of the host: from here on it arrives.  That
 * costs a call, so a run that never waits in the host does not make it: lane_hear_later() has the first call that may wait do
 * it.
 */
void lane_hear(struct lane *l);
void lane_hear_later(struct lane *l);
/* At the end of the run: the thread blocks what it did before. */
void lane_unhear(struct lane *l);

/*
 * From here to lane_unlink_callee(), what stops the caller stops the callee.  False: the caller is
 * being stopped already, and nothing is linked.
 */
bool lane_link_callee(struct lane *caller, struct lane *callee);
void lane_unlink_callee(struct lane *caller);
/*
 * Makes the lane's run, if there is one, end.  True: it has not taken notice yet; then again, with
 * naps between.
 */
bool lane_stop(struct lane *l, enum stop_reason reason);
/*
 * Makes the lane's run give up its descriptors of the open file that ctx.revoke says.  A call of
 * a gate of its own making ends, so that it cannot delay that.  True: it has not yet; then again.
 */
bool lane_revoke(struct lane *l);
/* Before the next try of either. */
void lane_nap(struct timespec *nap);
#define FIRST_NAP { .tv_nsec = 20000 }

#endif
