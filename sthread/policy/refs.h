/* SPDX-License-Identifier: MIT */
/*
 * refs.h - gates, as policies refer to them: counted references, names, rules.  World: host.
 *
 * A policy looks at the first part of a gate only; the rest is the business of gate/ and nest/.
 */
#ifndef STHREAD_POLICY_REFS_H
#define STHREAD_POLICY_REFS_H

#include <sthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sthread/policy/policy.h"

struct gate_chain;
struct gate_waiter;
struct lane;

struct sthread_gate {
	atomic_uint refs;
	uint64_t handle; /* its name inside: its address; of one that was made there, a number */
	char name[STHREAD_GATE_NAME];
	sthread_gate_fn *fn;
	void *trusted;
	const struct policy *policy; /* NULL: native, or gate_drop_policy() */
	enum sthread_gate_kind kind;
	bool native;
	uint64_t after; /* a handle; 0: any time */
	struct sthread_gate *after_ref; /* so that the handle is not used again; NULL: no rule, or gate_drop_policy() */
	unsigned max_calls;
	unsigned generation; /* process.generation when it was made */
	struct lane *root;   /* made inside: the root of its creator; NULL: the master made it */
	unsigned depth;	     /* of its calls */
	struct budget budget; /* made inside: CPU time and calls of gates lent to it; the holder's */

	/* Under the lock: */
	bool gone;
	bool failed; /* `last` is the record of a call */
	struct sthread_result last;
	struct gate_chain *holder; /* RECYCLED, or made inside: the calls that run it */
	struct lane *runs;	   /* made inside: where that call is */
	struct gate_waiter *queue; /* first come, first served */
	struct lane *lane;	   /* RECYCLED, idle: with the memory that it keeps.  NULL: it starts anew */

	struct sthread_gate *unreferenced; /* the next in the work list of gates_free() */
};

struct sthread_gate *gate_get(struct sthread_gate *g);
void gate_put(struct sthread_gate *g); /* NULL is fine */
/*
 * Drops its policy and its rule, once it is destroyed and nothing runs it.  Remaining references
 * are to its name, and keep nothing else alive.
 */
void gate_drop_policy(struct sthread_gate *g);
/* Drops a reference; a gate without any goes to the work list, for gates_free(). */
void gate_drop(struct sthread_gate *g, struct sthread_gate **unreferenced);
void gates_free(struct sthread_gate *unreferenced);

#endif
