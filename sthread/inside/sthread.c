/* SPDX-License-Identifier: MIT */
/* sthread.c - calls on compartments of its own, as a compartment makes them.  World: ring 3. */
#include <errno.h>

#include "sthread/inside/hostcall.h"
#include "sthread/inside/stubs.h"

int inside_create(struct sthread **out, const struct sthread_policy *policy, void *(*fn)(void *),
		  void *arg)
{
	long handle;

	if (!out)
		return -EINVAL;
	handle = host_call(HOSTCALL_STHREAD_CREATE, (uintptr_t)policy, (uintptr_t)fn,
			   (uintptr_t)arg, 0, 0);
	if (handle < 0)
		return (int)handle;
	*out = (struct sthread *)handle; /* NOLINT(performance-no-int-to-ptr) */
	return 0;
}

int inside_call(const struct sthread_policy *policy, void *(*fn)(void *), void *arg,
		struct sthread_result *result)
{
	return (int)host_call(HOSTCALL_STHREAD_CALL, (uintptr_t)policy, (uintptr_t)fn,
			      (uintptr_t)arg, (uintptr_t)result, 0);
}

int inside_join(struct sthread *st, struct sthread_result *result)
{
	return (int)host_call(HOSTCALL_STHREAD_JOIN, (uintptr_t)st, (uintptr_t)result, 0, 0, 0);
}

int inside_kill(struct sthread *st)
{
	return (int)host_call(HOSTCALL_STHREAD_KILL, (uintptr_t)st, 0, 0, 0, 0);
}

int inside_detach(struct sthread *st)
{
	return (int)host_call(HOSTCALL_STHREAD_DETACH, (uintptr_t)st, 0, 0, 0, 0);
}
