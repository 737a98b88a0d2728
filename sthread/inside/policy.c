/* SPDX-License-Identifier: MIT */
/* policy.c - calls on policies, as a compartment makes them.  World: ring 3. */
#include <errno.h>

#include "sthread/inside/hostcall.h"
#include "sthread/inside/stubs.h"

/* The host looks for the handle among the caller's own (nest/policy.c). */
static int ask(enum hostcall nr, const void *p, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return (int)host_call(nr, (uintptr_t)p, a, b, c, d);
}

int inside_policy_create(struct sthread_policy **out)
{
	long handle;

	if (!out)
		return -EINVAL;
	handle = host_call(HOSTCALL_POLICY_CREATE, 0, 0, 0, 0, 0);
	if (handle < 0)
		return (int)handle;
	*out = (struct sthread_policy *)handle; /* NOLINT(performance-no-int-to-ptr) */
	return 0;
}

void inside_policy_destroy(struct sthread_policy *p)
{
	host_call(HOSTCALL_POLICY_DESTROY, (uintptr_t)p, 0, 0, 0, 0);
}

int inside_policy_fd(struct sthread_policy *p, int fd, unsigned rights)
{
	return ask(HOSTCALL_POLICY_FD, p, (uint64_t)fd, rights, 0, 0);
}

int inside_policy_dir(struct sthread_policy *p, int dirfd, unsigned rights)
{
	return ask(HOSTCALL_POLICY_DIR, p, (uint64_t)dirfd, rights, 0, 0);
}

int inside_policy_syscall(struct sthread_policy *p, long nr, enum sthread_action action)
{
	return ask(HOSTCALL_POLICY_SYSCALL, p, (uint64_t)nr, action, 0, 0);
}

int inside_policy_syscall_arg(struct sthread_policy *p, long nr, unsigned arg, uint64_t mask,
			      uint64_t value)
{
	return ask(HOSTCALL_POLICY_SYSCALL_ARG, p, (uint64_t)nr, arg, mask, value);
}

int inside_policy_limit(struct sthread_policy *p, enum sthread_limit limit, uint64_t value)
{
	return ask(HOSTCALL_POLICY_LIMIT, p, limit, value, 0, 0);
}

int inside_policy_tag(struct sthread_policy *p, struct sthread_tag *tag, unsigned rights)
{
	return ask(HOSTCALL_POLICY_TAG, p, (uintptr_t)tag, rights, 0, 0);
}

int inside_policy_memory(struct sthread_policy *p, void *addr, size_t len, unsigned rights)
{
	return ask(HOSTCALL_POLICY_MEMORY, p, (uintptr_t)addr, len, rights, 0);
}

int inside_policy_tagged(struct sthread_policy *p, const char *name, unsigned rights)
{
	return ask(HOSTCALL_POLICY_TAGGED, p, (uintptr_t)name, rights, 0, 0);
}

int inside_policy_gate(struct sthread_policy *p, struct sthread_gate *gate)
{
	return ask(HOSTCALL_POLICY_GATE, p, (uintptr_t)gate, 0, 0, 0);
}

int inside_policy_connect(struct sthread_policy *p, const struct sockaddr *addr, socklen_t len,
			  int prefix)
{
	return ask(HOSTCALL_POLICY_CONNECT, p, (uintptr_t)addr, len, (uint64_t)prefix, 0);
}

int inside_policy_bind(struct sthread_policy *p, const struct sockaddr *addr, socklen_t len,
		       int prefix)
{
	return ask(HOSTCALL_POLICY_BIND, p, (uintptr_t)addr, len, (uint64_t)prefix, 0);
}

int inside_policy_format(const struct sthread_policy *p, char *buf, size_t len)
{
	return ask(HOSTCALL_POLICY_FORMAT, p, (uintptr_t)buf, len, 0, 0);
}

int inside_policy_is_subset(const struct sthread_policy *p, const struct sthread_policy *of)
{
	return ask(HOSTCALL_POLICY_IS_SUBSET, p, (uintptr_t)of, 0, 0, 0);
}
