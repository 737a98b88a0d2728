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
	const struct policy *policy; /* NULL: native, or gate_let_go() */
	enum sthread_gate_kind kind;
	bool native;
	uint64_t after; /* a handle; 0: any time */
	struct sthread_gate *after_held; /* nobody else gets that handle; NULL: no rule, or gate_let_go() */
	unsigned max_calls;
	unsigned generation; /* process.generation when it was made */
	struct lane *root;   /* made inside: the root of its creator; NULL: the master made it */
	unsigned depth;	     /* of its calls */
	struct budget budget; /* made inside: CPU time and calls of gates lent to it; the holder's */

	/* Under the lock: */
	bool gone;
	bool failed; /* `last` is the record of a call */
	struct sthread_result last;
	struct gate_chain *holder; /* RECYCLED, or made inside: who runs it */
	struct lane *runs;	   /* made inside: where that call is */
	struct gate_waiter *queue; /* first come, first served */
	struct lane *lane;	   /* RECYCLED, at rest: what it keeps.  NULL: it starts anew */

	struct sthread_gate *unheld; /* nobody's any more: the next that is to be freed */
};

struct sthread_gate *gate_get(struct sthread_gate *g);
void gate_put(struct sthread_gate *g); /* NULL is fine */
/*
 * It is gone, nothing runs it, and nothing will: its policy and its rule go.  Who still has a reference has a name, and
 * not, by way of the policy, whatever was made before.
 */
void gate_let_go(struct sthread_gate *g);
/* A reference less, where one thing leads to another; what is nobody's any more is listed, for gates_free(). */
void gate_drop(struct sthread_gate *g, struct sthread_gate **unheld);
void gates_free(struct sthread_gate *unheld);

#endif
