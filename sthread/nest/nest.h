/* SPDX-License-Identifier: MIT */
/*
 * nest.h - compartments that compartments make.  World: host.
 *
 *	policy.c      policies made inside: never wider than their creator's rights
 *	child.c       sthreads made inside: how they begin and end
 *	gate.c        gates made inside: the same
 *	fds.c         descriptors that are closed and held by these
 *
 * All are objects of the host, in tables of the run that made them.  Inside they have numbers as
 * handles, which are compared and never followed, and which no other run makes.  A child runs on
 * a thread of its own, from the image; a gate's call on that of its caller, who is the gate's
 * creator or beneath it.  Children and gates have ended before their creator's run is over.
 *
 * Tables belong to the thread that runs the creator.  The lock is for the one other reader, who
 * takes a descriptor back.  Order: sthread.lock of the creator, nest.lock, the lock of gates.
 */
#ifndef STHREAD_NEST_H
#define STHREAD_NEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sthread.h>

#include "sthread/gate/gate.h"
#include "sthread/inside/hostcall.h"
#include "sthread/policy/policy.h"
#include "sthread/run/handle.h"
#include "sthread/run/lane.h"

struct nest_policy {
	uint64_t handle; /* 0: the place is free */
	struct sthread_policy *p;
	size_t size; /* of its value: part of `kept` */
	uint8_t ruled[POLICY_CALLS]; /* by index: arguments with rules of its own, not its creator's */
};

struct nest_child {
	uint64_t handle;
	struct sthread *st; /* NULL: the place is free */
	bool detached;
	uint64_t lent[POLICY_LIMITS];
};

struct nest {
	uint64_t serial; /* of handles */
	struct nest_policy policy[STHREAD_NEST_POLICIES];
	pthread_mutex_t lock; /* child[].st, gate[].gate */
	struct nest_child child[STHREAD_NEST_LIVE];
	struct gate_own gate[STHREAD_NEST_LIVE];
};

/* ---- child.c ---- */

/* The run's own, made when first asked for.  NULL: no memory. */
struct nest *nest_of(struct lane *l);
/* A number that was no handle before. */
uint64_t nest_handle(struct lane *l, struct nest *n);
/* The calls HOSTCALL_STHREAD_*. */
long nest_serve(struct lane *l, enum hostcall nr, const uint64_t arg[5]);
/*
 * By another thread, while the run goes on, which is to give up the open file: no gate of its own
 * gets it any more.  Those that may hold it; gate_put() each.
 */
unsigned nest_revoke_gates(struct lane *l, uint64_t file, struct sthread_gate *list[STHREAD_NEST_LIVE]);
/* By another thread, while the run goes on: its children; handle_put() each. */
unsigned nest_children(struct lane *l, struct sthread *list[STHREAD_NEST_LIVE]);

/* ---- gate.c ---- */

/* The calls HOSTCALL_GATE_CREATE and _DESTROY. */
long nest_gate_create(struct lane *l, uint64_t config);
long nest_gate_destroy(struct lane *l, uint64_t handle);
bool nest_gate_own(const struct lane *l, const struct sthread_gate *g);
/* The run ends, and nothing beneath it runs any more. */
void nest_gates_end(struct lane *l, struct nest *n);
/* nest.lock held.  Those that may hold the open file; gate_put() each. */
unsigned nest_gates_with(struct nest *n, uint64_t file, struct sthread_gate *list[STHREAD_NEST_LIVE]);

/* ---- fds.c ---- */

/*
 * Descriptors of the run, with those that its policies, sthreads and gates keep open, are as many
 * as its limit says.
 */
bool nest_over_fd_limit(struct lane *l);

/* ---- policy.c ---- */

/* The calls HOSTCALL_POLICY_*. */
long nest_policy_serve(struct lane *l, enum hostcall nr, const uint64_t arg[5]);
/* A reference on the value; handle 0: grants nothing.  -EINVAL: no such policy.  -ENOMEM. */
int nest_policy_value(struct lane *l, uint64_t handle, const struct policy **out);
/* Does the run itself have, now, all that the policy gives, to pass on? */
bool nest_covers(const struct lane *l, const struct policy *value);

#endif
