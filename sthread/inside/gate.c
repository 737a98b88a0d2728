/* SPDX-License-Identifier: MIT */
/*
 * gate.c - how a gate's function is entered in its compartment, and calls on gates, as a
 * compartment makes them.  World: ring 3.
 */
#include "sthread/inside/gate.h"

#include <errno.h>

#include "sthread/inside/hostcall.h"
#include "sthread/inside/stubs.h"

void *gate_inside(void *entry)
{
	const struct gate_entry *e = entry;

	return (void *)e->fn(e->trusted, e->in, e->in_len, e->out, e->out_cap);
}

int inside_gate_create(struct sthread_gate **out, const struct sthread_gate_config *cfg)
{
	long handle;

	if (!out)
		return -EINVAL;
	handle = host_call(HOSTCALL_GATE_CREATE, (uintptr_t)cfg, 0, 0, 0, 0);
	if (handle < 0)
		return (int)handle;
	*out = (struct sthread_gate *)handle; /* NOLINT(performance-no-int-to-ptr) */
	return 0;
}

void inside_gate_destroy(struct sthread_gate *gate)
{
	host_call(HOSTCALL_GATE_DESTROY, (uintptr_t)gate, 0, 0, 0, 0);
}

ssize_t inside_gate_call(struct sthread_gate *gate, const void *in, size_t in_len, void *out,
			 size_t out_cap)
{
	return host_call(HOSTCALL_GATE_CALL, (uintptr_t)gate, (uintptr_t)in, in_len, (uintptr_t)out,
			 out_cap);
}

int inside_gate_find(struct sthread_gate **out, const char *name)
{
	long r = host_call(HOSTCALL_GATE_FIND, (uintptr_t)name, 0, 0, 0, 0);

	if (r < 0)
		return (int)r;
	*out = (struct sthread_gate *)r; /* NOLINT(performance-no-int-to-ptr) */
	return 0;
}

int inside_gate_caller(struct sthread_id *out)
{
	long id = host_call(HOSTCALL_GATE_CALLER, 0, 0, 0, 0, 0);

	if (id < 0)
		return (int)id;
	*out = (struct sthread_id){ .run = (uint64_t)id, .master = !id };
	return 0;
}

int inside_gate_give_fd(int fd, unsigned rights)
{
	return (int)host_call(HOSTCALL_GATE_GIVE_FD, (uint64_t)fd, rights, 0, 0, 0);
}

int inside_gate_give_tag(struct sthread_tag *tag, unsigned rights)
{
	return (int)host_call(HOSTCALL_GATE_GIVE_TAG, (uintptr_t)tag, rights, 0, 0, 0);
}
