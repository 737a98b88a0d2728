/* SPDX-License-Identifier: MIT */
/* gate.c - how a gate's function is entered in its compartment.  World: ring 3. */
#include "sthread/inside/gate.h"

void *gate_inside(void *entry)
{
	const struct gate_entry *e = entry;

	return (void *)e->fn(e->trusted, e->in, e->in_len, e->out, e->out_cap);
}
