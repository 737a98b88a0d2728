/* SPDX-License-Identifier: MIT */
/*
 * gate.h - callgates.  World: host; struct gate_entry and gate_inside() also ring 3.
 *
 *	inside: host call ──┐                          ┌── run.c: a lane, on this thread
 *	                    ├── call.c ── perform ─────┤
 *	master, native ─────┘   checks, copies once    └── native.c: the master
 *
 * A call is a struct gate_call on the stack of the thread that serves the caller.  Calls within
 * calls are linked by `up`, lanes by `callee`: who stops a lane stops what it waits for.
 *
 * One that a compartment made (nest/nest.h) runs one call at a time, of either kind, since what it may use
 * at once is taken out of its maker's limits.
 *
 * Locking: one lock for what changes in all gates: queues, the lanes of recycled ones, `gone`, the
 * last record. Only lane.lock is taken under it.
 */
#ifndef STHREAD_GATE_H
#define STHREAD_GATE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sthread.h>

#include "sthread/policy/refs.h"

struct lane;

/*
 * One sequence of calls within calls.  It waits for one gate at most.  Its first caller may be a compartment that was
 * made in a call of another, which does not end before it.
 */
struct gate_chain {
	struct sthread_gate *waits;
	const struct gate_chain *above; /* that other, or NULL */
};

struct gate_call {
	struct sthread_gate *gate;
	struct gate_call *up; /* the call that the caller itself serves, or NULL */
	struct lane *caller;  /* the compartment that calls; NULL: the master, or a native gate */
	struct lane *stopper; /* whose end is the end of this; NULL: nobody's */
	struct gate_chain *chain, own_chain;
	unsigned depth;
	uint64_t id; /* of the caller */
	size_t in_len, out_cap;
	unsigned char *in, *out; /* the private copies */
	uint64_t out_at;	 /* in the caller, if there is one */
	bool began, failed;	 /* fn has been entered; has not returned properly */
	ssize_t answer;		 /* native.c */
	sigset_t mask;		 /* run.c */
	unsigned n_given;
	int given[STHREAD_GATE_GIVES]; /* numbers in the caller's table */
	const struct policy *before;   /* the caller's, held, if it was given a tag; else NULL */
};

/* gate.c */
int gate_check(const struct sthread_gate_config *cfg); /* -EINVAL, -ENOTSUP */
/*
 * One that was checked, with a reference on its policy, which is taken over in any case (NULL:
 * native).  maker: the run that asks for it, served by this thread; NULL: the master.
 */
int gate_new(struct sthread_gate **out, const struct sthread_gate_config *cfg,
	      const struct policy *value, struct lane *maker);
/* No call begins any more.  What it keeps, if it is at rest, or NULL. */
struct lane *gate_close(struct sthread_gate *g);
/* Of one made inside: the same, and a call that is under way ends; when it returns, none is. */
void gate_cut(struct sthread_gate *g);

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
/* A run of it has ended, and used up so much of the limits; of CPU time only what it made. */
void gate_spend(struct sthread_gate *g, const uint64_t *spent); /* by enum sthread_limit */
/* A length of at most cap, or an errno. */
static inline bool gate_answer_ok(ssize_t n, size_t cap)
{
	return n < 0 ? n >= -4095 : (size_t)n <= cap;
}

/* native.c */
ssize_t gate_in_master(struct gate_call *c);
struct gate_call *gate_current(void); /* the call whose native gate this thread runs, or NULL */
/*
 * Does this thread run a native gate that the lane, or a compartment made in it, waits for, at whatever depth?  Nobody
 * may wait for it here.
 */
bool gate_serves(const struct lane *l);
/* By a thread of the program, before native_run(): -EAGAIN */
int natives_start(void);
/*
 * Runs fn(arg) to its end where nothing confines it: here, or, if `asks` (NULL: the master) runs on a worker, on a
 * thread of the library that is not behind the second wall.  -EAGAIN: there is none.
 */
int native_run(const struct lane *asks, void (*fn)(void *), void *arg);
void natives_end(void); /* none runs */
void natives_forked(void);

/* inside/gate.c: what a gate's lane finds at the beginning of its message */
struct gate_entry {
	sthread_gate_fn *fn;
	void *trusted;
	const void *in;
	size_t in_len;
	void *out;
	size_t out_cap;
};
void *gate_inside(void *entry);

#endif
