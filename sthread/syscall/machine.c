// SPDX-License-Identifier: MIT
/*
 * machine.c - what a compartment is told about its machine: limits, time used, scheduling, and
 * randomness.  World: host.
 *
 * Constants wherever the truth would be the master's, as in self.c.
 */
#include "sthread/syscall/calls.h"

#include <sched.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <time.h>

long sys_do_getrandom(struct sys_call *c)
{
	const struct uspans *sp = &c->spans;
	size_t done = 0;

	for (unsigned i = 0; i < sp->n; i++) {
		long r = SYS_RETRY(c, getrandom(sp->iov[i].iov_base, sp->iov[i].iov_len,
						(unsigned)c->arg[2]));

		if (r < 0)
			return done ? (long)done : r;
		done += (size_t)r;
		if ((size_t)r < sp->iov[i].iov_len)
			break;
	}
	return (long)done;
}

long sys_do_sched_yield(struct sys_call *c)
{
	(void)c;
	sched_yield();
	return 0;
}

int sys_check_getaffinity(struct sys_call *c)
{
	if (c->arg[0] && !sys_is_self(c->ctx, sys_int(c, 0)))
		return -ESRCH;
	return c->out[0].cap < sizeof(uint64_t) ? -EINVAL : 0;
}

long sys_do_getaffinity(struct sys_call *c)
{
	c->result.word[0] = 1;
	c->out[0].len = sizeof(uint64_t);
	return sizeof(uint64_t);
}

int sys_check_self(struct sys_call *c)
{
	return c->arg[0] && !sys_is_self(c->ctx, sys_int(c, 0)) ? -ESRCH : 0;
}

/* sched_get_priority_min: that of the ordinary policy is 0. */
long sys_do_sched_priority(struct sys_call *c)
{
	return sys_int(c, 0) ? -EINVAL : 0;
}

/* getpriority() of nice 0, as the kernel says it. */
long sys_do_nice(struct sys_call *c)
{
	(void)c;
	return 20;
}

/* It is one thread: nothing is supported because nothing is needed. */
long sys_do_membarrier(struct sys_call *c)
{
	return sys_int(c, 0) ? -EINVAL : 0;
}

/* The thread's own, and ring 3's where that is elsewhere; what else the host counts is the whole master's. */
static int thread_usage(const struct sys_call *c, struct rusage *u)
{
	uint64_t us;

	if (getrusage(RUSAGE_THREAD, u) < 0)
		return -errno;
	us = (uint64_t)u->ru_utime.tv_usec + sys_ring3_cpu(c) / 1000;
	u->ru_utime.tv_sec += (time_t)(us / 1000000);
	u->ru_utime.tv_usec = (suseconds_t)(us % 1000000);
	return 0;
}

long sys_do_getrusage(struct sys_call *c)
{
	struct rusage host, *u = (struct rusage *)c->result.word;
	int r;

	switch (sys_int(c, 0)) {
	case RUSAGE_SELF:
	case RUSAGE_THREAD:
		r = thread_usage(c, &host);
		if (r)
			return r;
		u->ru_utime = host.ru_utime;
		u->ru_stime = host.ru_stime;
		return 0;
	case RUSAGE_CHILDREN:
		return 0; /* it has none */
	default:
		return -EINVAL;
	}
}

static clock_t ticks(const struct timeval *t)
{
	return (clock_t)(t->tv_sec * 100 + t->tv_usec / 10000); /* USER_HZ */
}

long sys_do_times(struct sys_call *c)
{
	struct tms *t = (struct tms *)c->result.word;
	struct timespec now;
	struct rusage u;
	int r = thread_usage(c, &u);

	if (r)
		return r;
	if (c->outs) {
		t->tms_utime = ticks(&u.ru_utime);
		t->tms_stime = ticks(&u.ru_stime);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 100 + now.tv_nsec / 10000000;
}

static uint64_t memory_limit(const struct sys_ctx *ctx)
{
	uint64_t v = ctx->policy->limit[STHREAD_LIMIT_MEMORY];

	return v < (1ULL << 46) ? v : 1ULL << 46;
}

long sys_do_sysinfo(struct sys_call *c)
{
	struct sysinfo *si = (struct sysinfo *)c->result.word;

	si->totalram = memory_limit(c->ctx);
	si->freeram = si->totalram;
	si->procs = 1;
	si->mem_unit = 1;
	return 0;
}

static struct rlimit limit_of(const struct sys_ctx *ctx, int resource)
{
	rlim_t v = RLIM_INFINITY;

	switch (resource) {
	case RLIMIT_STACK:
		v = ctx->stack_size;
		break;
	case RLIMIT_NOFILE:
		v = ctx->fds.limit;
		break;
	case RLIMIT_NPROC:
		v = 1;
		break;
	case RLIMIT_CORE:
	case RLIMIT_MEMLOCK:
	case RLIMIT_MSGQUEUE:
	case RLIMIT_NICE:
	case RLIMIT_RTPRIO:
	case RLIMIT_SIGPENDING:
		v = 0;
		break;
	default:
		break;
	}
	return (struct rlimit){ v, v };
}

/* Its own, and to look at only. */
int sys_check_prlimit(struct sys_call *c)
{
	if (c->arg[0] && !sys_is_self(c->ctx, sys_int(c, 0)))
		return -ESRCH;
	return c->arg[2] ? -EPERM : 0;
}

long sys_do_prlimit(struct sys_call *c)
{
	struct rlimit l = limit_of(c->ctx, sys_int(c, 1));

	memcpy(c->result.bytes, &l, sizeof(l));
	return 0;
}

long sys_do_getrlimit(struct sys_call *c)
{
	struct rlimit l = limit_of(c->ctx, sys_int(c, 0));

	memcpy(c->result.bytes, &l, sizeof(l));
	return 0;
}

long sys_do_arch_prctl(struct sys_call *c)
{
	/*
	 * Queries about shadow stacks; no is EINVAL.  The bases of FS and GS are set by
	 * instructions.
	 */
	return (sys_int(c, 0) & ~0xff) == 0x3000 ? -EINVAL : -EPERM;
}
