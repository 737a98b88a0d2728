/* SPDX-License-Identifier: MIT */
/* call.c - the call of a native gate that a thread is in the midst of.  World: host. */
#include "sthread/run/call.h"

#include "sthread/run/lane.h"

static __thread struct gate_call *current;

struct gate_call *gate_set_current(struct gate_call *c)
{
	struct gate_call *before = current;

	current = c;
	return before;
}

struct gate_call *gate_current(void)
{
	return current;
}

bool gate_serves(const struct lane *l)
{
	const struct gate_call *c = current;

	while (c) {
		const struct lane *waits = c->caller;

		/* The caller ends after the call, the creator of a compartment after that. */
		for (c = c->parent_call; waits; waits = waits->nest.creator) {
			if (waits == l)
				return true;
			c = waits->gates.serving;
			if (c)
				break;
		}
	}
	return false;
}
