// SPDX-License-Identifier: MIT
/* event.c - counters and timers as descriptors.  World: host. */
#include "sthread/syscall/calls.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#define RIGHTS                                                                                    \
	(STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT | STHREAD_FD_POLL | STHREAD_FD_FLAGS)

long sys_do_eventfd(struct sys_call *c)
{
	int flags = c->entry->arg[1].kind == ARG_NONE ? 0 : sys_int(c, 1);

	return sys_new_fd(c, SYS_MAKE(eventfd((unsigned)c->arg[0], flags | EFD_CLOEXEC)), FD_OTHER,
			  RIGHTS);
}

long sys_do_timerfd_create(struct sys_call *c)
{
	return sys_new_fd(c, SYS_MAKE(timerfd_create(sys_int(c, 0), sys_int(c, 1) | TFD_CLOEXEC)),
			  FD_OTHER, RIGHTS);
}

long sys_do_timerfd_settime(struct sys_call *c)
{
	struct itimerspec set, old;

	memcpy(&set, c->in.bytes, sizeof(set));
	if (timerfd_settime(c->fd.obj->host, sys_int(c, 1), &set, &old) < 0)
		return -errno;
	if (c->outs)
		memcpy(c->result.bytes, &old, sizeof(old));
	return 0;
}

long sys_do_timerfd_gettime(struct sys_call *c)
{
	struct itimerspec now;

	if (timerfd_gettime(c->fd.obj->host, &now) < 0)
		return -errno;
	memcpy(c->result.bytes, &now, sizeof(now));
	return 0;
}
