// SPDX-License-Identifier: MIT
/*
 * refs.c - gates are counted: by their handle, policies, other gates' rules.  World:
 * host.
 *
 * A gate refers to a policy, which refers to gates.  Reference chains can be of any length, so
 * they are freed iteratively from a work list, and not by recursion.
 */
#include <stdlib.h>

#include "sthread/policy/policy.h"
#include "sthread/policy/refs.h"

struct sthread_gate *gate_get(struct sthread_gate *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void gate_drop(struct sthread_gate *g, struct sthread_gate **unreferenced)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) > 1)
		return;
	g->unreferenced = *unreferenced;
	*unreferenced = g;
}

static void drop_held(struct sthread_gate *g, struct sthread_gate **unreferenced)
{
	policy_drop(g->policy, unreferenced);
	gate_drop(g->after_ref, unreferenced);
	g->policy = NULL;
	g->after_ref = NULL;
}

void gates_free(struct sthread_gate *unreferenced)
{
	while (unreferenced) {
		struct sthread_gate *g = unreferenced;

		unreferenced = g->unreferenced;
		drop_held(g, &unreferenced);
		free(g);
	}
}

void gate_drop_policy(struct sthread_gate *g)
{
	struct sthread_gate *unreferenced = NULL;

	drop_held(g, &unreferenced);
	gates_free(unreferenced);
}

/* The handle's reference goes after what the gate kept: the last one frees memory only. */
void gate_put(struct sthread_gate *g)
{
	struct sthread_gate *unreferenced = NULL;

	gate_drop(g, &unreferenced);
	gates_free(unreferenced);
}
