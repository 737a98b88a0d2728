// SPDX-License-Identifier: MIT
/*
 * refs.c - gates are counted: by their handle, policies, other gates' rules.  World:
 * host.
 *
 * A gate holds a policy, which holds gates, and so on, as long as somebody cares to make it.  So what
 * is freed is taken from a list, to which its freeing adds: a chain of any length needs one frame.
 */
#include <stdlib.h>

#include "sthread/policy/policy.h"
#include "sthread/policy/refs.h"

struct sthread_gate *gate_get(struct sthread_gate *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void gate_drop(struct sthread_gate *g, struct sthread_gate **unheld)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) > 1)
		return;
	g->unheld = *unheld;
	*unheld = g;
}

static void drop_held(struct sthread_gate *g, struct sthread_gate **unheld)
{
	policy_drop(g->policy, unheld);
	gate_drop(g->after_held, unheld);
	g->policy = NULL;
	g->after_held = NULL;
}

void gates_free(struct sthread_gate *unheld)
{
	while (unheld) {
		struct sthread_gate *g = unheld;

		unheld = g->unheld;
		drop_held(g, &unheld);
		free(g);
	}
}

void gate_let_go(struct sthread_gate *g)
{
	struct sthread_gate *unheld = NULL;

	drop_held(g, &unheld);
	gates_free(unheld);
}

/* The handle's reference goes after what the gate kept: the last one frees memory only. */
void gate_put(struct sthread_gate *g)
{
	struct sthread_gate *unheld = NULL;

	gate_drop(g, &unheld);
	gates_free(unheld);
}
