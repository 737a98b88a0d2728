/* SPDX-License-Identifier: MIT */
/*
 * gate.h - callgates.  World: host.
 *
 *	inside: host call ──┐                          ┌── run.c: a lane, on this thread
 *	                    ├── call.c ── perform ─────┤
 *	master, native ─────┘   checks, copies once    └── native.c: the master
 *
 * A call is a struct gate_call on the stack of the thread that serves the caller.  Calls within
 * calls are linked by `parent_call`, lanes by `waiting_for`: what stops a lane stops what it
 * waits for.
 *
 * One that a compartment made (nest/nest.h) runs one call at a time, of either kind, since what
 * it may use at once is taken out of its creator's limits.
 *
 * Locking: one lock for what changes in all gates: queues, the lanes of recycled ones, `gone`, the
 * last record. Only stop.lock of a lane is taken under it.
 */
#ifndef STHREAD_GATE_H
#define STHREAD_GATE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sthread.h>

#include "sthread/policy/refs.h"
#include "sthread/run/call.h"
#include "sthread/run/lane.h"

/* A gate that a run made. */
struct gate_own {
	struct sthread_gate *gate; /* NULL: the place is free */
	bool destroyed;		   /* and a call may still be under way */
	struct gate_count count;   /* of its creator's calls */
	uint64_t lent[POLICY_LIMITS];
};

/* gate.c */
int gate_check(const struct sthread_gate_config *cfg); /* -EINVAL, -ENOTSUP */
/*
 * One that was checked, with a reference on its policy, which is taken over in any case (NULL:
 * native).  creator: the run that asks for it, served by this thread; NULL: the master.
 */
int gate_new(struct sthread_gate **out, const struct sthread_gate_config *cfg,
	      const struct policy *value, struct lane *creator);
/* No call begins any more.  The lane that it keeps, if it is idle, or NULL. */
struct lane *gate_close(struct sthread_gate *g);
/* Of one made inside: the same, and a call that is under way ends; when it returns, none is. */
void gate_cut(struct sthread_gate *g);

/* call.c: one that the run made and did not destroy; NULL. */
struct gate_own *gate_own_find(const struct lane *l, uint64_t handle);
/* call.c: what the run may call, by its handle: of its policy, or its own.  NULL: none. */
struct sthread_gate *gate_callable(struct lane *l, uint64_t handle);
/* call.c: what hostcall_serve() hands on */
long gate_serve_call(struct lane *l, const uint64_t arg[5]);
long gate_serve_find(struct lane *l, uint64_t name);
long gate_serve_caller(struct lane *l);
/* The caller of the calling thread's native gate is being stopped, or the call of c is. */
bool gate_stopping(const struct gate_call *c);

/* give.c: the same, and at the end of each call what becomes of what was given */
long gate_serve_give_fd(struct lane *l, int fd, uint64_t rights);
long gate_serve_give_tag(struct lane *l, uint64_t tag, uint64_t rights);
void gate_given(struct gate_call *c, bool stays);

/* queue.c: gates that run one call at a time */
int gate_take(struct gate_call *c); /* -EDEADLK, -ECANCELED, -ENOENT */
void gate_release(struct sthread_gate *g);
bool gate_held(struct sthread_gate *g);
void gate_lock(void);
void gate_unlock(void);
void gates_forked(void);

/* run.c: the answer's length, now in c->out, or a negative errno */
ssize_t gate_in_lane(struct gate_call *c);
void gate_lane_back(struct lane *l); /* what a recycled gate kept */
/* A run of it has ended and spent that much of its limits; of CPU time only what it made did. */
void gate_spend(struct sthread_gate *g, const uint64_t *spent); /* by enum sthread_limit */
/* A length of at most cap, or an errno. */
static inline bool gate_answer_ok(ssize_t n, size_t cap)
{
	return n < 0 ? n >= -4095 : (size_t)n <= cap;
}

/* native.c */
ssize_t gate_in_master(struct gate_call *c);

#endif
