/* SPDX-License-Identifier: MIT */
/* gate.h - how a gate's function is entered in its compartment.  World: ring 3, and host. */
#ifndef STHREAD_INSIDE_GATE_H
#define STHREAD_INSIDE_GATE_H

#include <sthread.h>
#include <stddef.h>

/* What a gate's lane finds at the beginning of its message. */
struct gate_entry {
	sthread_gate_fn *fn;
	void *trusted;
	const void *in;
	size_t in_len;
	void *out;
	size_t out_cap;
};

/* The first C function of a gate's run; dune_reset_entry() calls it. */
void *gate_inside(void *entry);

#endif
