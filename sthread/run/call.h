/* SPDX-License-Identifier: MIT */
/*
 * call.h - a call of a gate, as the runs on both sides of it know it.  World: host.
 *
 * It is on the stack of the thread that serves the caller.  Calls within calls are linked by
 * `parent_call`.
 */
#ifndef STHREAD_RUN_CALL_H
#define STHREAD_RUN_CALL_H

#include <signal.h>
#include <sthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct lane;
struct policy;

/*
 * One sequence of calls within calls.  It waits for one gate at most.  Its first caller may be a
 * compartment that was made in a call of another, which does not end before it.
 */
struct gate_chain {
	struct sthread_gate *waits;
	const struct gate_chain *above; /* that other, or NULL */
};

struct gate_call {
	struct sthread_gate *gate;
	struct gate_call *parent_call; /* the call that the caller itself serves, or NULL */
	struct lane *caller; /* the compartment that calls; NULL: the master, or a native gate */
	struct lane *stop_source; /* what stops this lane stops the call; NULL: nothing does */
	struct gate_chain *chain, own_chain;
	unsigned depth;
	uint64_t id; /* of the caller */
	size_t in_len, out_cap;
	unsigned char *in, *out; /* the private copies */
	uint64_t out_at;	 /* in the caller, if there is one */
	bool began, failed;	 /* fn has been entered; it has not returned properly */
	ssize_t answer;		 /* gate/native.c */
	sigset_t mask;		 /* gate/run.c */
	unsigned n_given;
	int given[STHREAD_GATE_GIVES]; /* numbers in the caller's table */
	const struct policy *before;   /* the caller's, pinned, if it was given a tag; else NULL */
};

/* The call whose native gate this thread runs, or NULL. */
struct gate_call *gate_current(void);
/* Makes it another one; the one before. */
struct gate_call *gate_set_current(struct gate_call *c);
/*
 * Does this thread run a native gate that the lane, or a compartment made in it, waits for, at
 * whatever depth?  Then this thread must not wait for the lane.
 */
bool gate_serves(const struct lane *l);

#endif
