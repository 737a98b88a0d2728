// SPDX-License-Identifier: MIT
/*
 * gate_object.c - gates are counted: by their handle, policies, other gates' rules.  World:
 * host.
 */
#include <stdlib.h>

#include "sthread/gate.h"
#include "sthread/policy.h"

struct sthread_gate *gate_get(struct sthread_gate *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

/* The handle's reference goes after what the gate kept: the last one frees memory only. */
void gate_put(struct sthread_gate *g)
{
	while (g && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1) {
		struct sthread_gate *keeps = g->keeps;

		policy_put(g->policy);
		free(g);
		g = keeps;
	}
}
