// SPDX-License-Identifier: MIT
/*
 * time.c - clocks, sleeping, and futexes of a compartment with one thread.  World: host.
 *
 * All sleeps are to a point in time, so that a signal that is none of the compartment's business
 * neither lengthens nor shortens them.
 */
#include "sthread/syscall/calls.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define NS_PER_S 1000000000L
#define FOREVER	 (1LL << 40) /* seconds */

/* The process's own time would tell what the master does: a compartment's time is its thread's. */
static clockid_t clock_of(const struct sys_call *c)
{
	clockid_t id = sys_int(c, 0);

	return id == CLOCK_PROCESS_CPUTIME_ID ? CLOCK_THREAD_CPUTIME_ID : id;
}

uint64_t sys_ring3_cpu(const struct sys_call *c)
{
	return c->ctx->ring3_cpu ? c->ctx->ring3_cpu(c->ctx) : 0;
}

long sys_do_clock_gettime(struct sys_call *c)
{
	clockid_t id = clock_of(c);
	struct timespec t;
	uint64_t ns;

	if (clock_gettime(id, &t) < 0)
		return -errno;
	if (id == CLOCK_THREAD_CPUTIME_ID) {
		ns = (uint64_t)t.tv_nsec + sys_ring3_cpu(c);
		t.tv_sec += (time_t)(ns / NS_PER_S);
		t.tv_nsec = (long)(ns % NS_PER_S);
	}
	memcpy(c->result.bytes, &t, sizeof(t));
	return 0;
}

long sys_do_clock_getres(struct sys_call *c)
{
	struct timespec t;

	if (clock_getres(clock_of(c), &t) < 0)
		return -errno;
	memcpy(c->result.bytes, &t, sizeof(t));
	return 0;
}

/* The time zone, if asked for, is zeros. */
long sys_do_gettimeofday(struct sys_call *c)
{
	struct timeval t;

	if (gettimeofday(&t, NULL) < 0)
		return -errno;
	if (c->arg[0])
		memcpy(c->result.bytes, &t, sizeof(t));
	return 0;
}

long sys_do_time(struct sys_call *c)
{
	time_t t = time(NULL);

	memcpy(c->result.bytes, &t, sizeof(t));
	return t;
}

/* ---- sleeping ---- */

static bool valid(const struct timespec *t)
{
	return t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < NS_PER_S;
}

static struct timespec wanted(const struct sys_call *c)
{
	struct timespec t;

	memcpy(&t, c->in.bytes, sizeof(t));
	return t;
}

int sys_check_sleep(struct sys_call *c)
{
	struct timespec t = wanted(c);

	return valid(&t) ? 0 : -EINVAL;
}

static struct timespec from_now(clockid_t clock, const struct timespec *by)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += by->tv_nsec;
	t.tv_sec += t.tv_nsec / NS_PER_S;
	t.tv_nsec %= NS_PER_S;
	t.tv_sec = by->tv_sec < FOREVER ? t.tv_sec + by->tv_sec : FOREVER;
	return t;
}

/* 0, or -EINTR when a kill is pending. */
static long sleep_until(const struct sys_call *c, clockid_t clock, const struct timespec *t)
{
	int r;

	do {
		if (sys_stopping(c->ctx))
			return -EINTR;
		r = clock_nanosleep(clock, TIMER_ABSTIME, t, NULL);
	} while (r == EINTR);
	return -r;
}

static long sleep_for(const struct sys_call *c, clockid_t clock, const struct timespec *by)
{
	struct timespec t = from_now(clock, by);

	return sleep_until(c, clock, &t);
}

long sys_do_clock_nanosleep(struct sys_call *c)
{
	clockid_t clock = sys_int(c, 0);
	struct timespec t = wanted(c);

	if (sys_int(c, 1) & TIMER_ABSTIME)
		return sleep_until(c, clock, &t);
	/* A length of time does not change when somebody sets the clock. */
	return sleep_for(c, clock == CLOCK_BOOTTIME ? clock : CLOCK_MONOTONIC, &t);
}

long sys_do_nanosleep(struct sys_call *c)
{
	struct timespec t = wanted(c);

	return sleep_for(c, CLOCK_MONOTONIC, &t);
}

/* ---- futex ---- */

static int futex_cmd(const struct sys_call *c)
{
	return sys_int(c, 1) & FUTEX_CMD_MASK;
}

/* Copies the word to in.word[2]; a timeout to in.bytes. */
int sys_check_futex(struct sys_call *c)
{
	struct uaccess *ua = &c->ctx->mem;
	struct timespec t;
	uint32_t word;
	int r;

	if (c->arg[0] % sizeof(word))
		return -EINVAL;
	r = uaccess_copy_in(ua, &word, dune_gva(c->arg[0]), sizeof(word));
	if (r)
		return r;
	c->in.word[2] = word;
	switch (futex_cmd(c)) {
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
	case FUTEX_REQUEUE:
		return 0;
	case FUTEX_CMP_REQUEUE:
		return word == (uint32_t)c->arg[5] ? 0 : -EAGAIN;
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		break;
	default:
		return -ENOSYS; /* priority inheritance and the like */
	}
	if (futex_cmd(c) == FUTEX_WAIT_BITSET && !(uint32_t)c->arg[5])
		return -EINVAL;
	if (c->arg[3]) {
		r = uaccess_copy_in(ua, &t, dune_gva(c->arg[3]), sizeof(t));
		if (r)
			return r;
		if (!valid(&t))
			return -EINVAL;
		memcpy(c->in.bytes, &t, sizeof(t));
	}
	return word == (uint32_t)c->arg[2] ? 0 : -EAGAIN;
}

/*
 * The compartment has one thread, and its memory is its own: nobody can wake it, and there is
 * nobody to wake.  The host's futex is not touched.  Waiting without a timeout waits for the end of
 * the compartment.
 */
long sys_do_futex(struct sys_call *c)
{
	const struct timespec forever = { .tv_sec = FOREVER };
	int cmd = futex_cmd(c);
	struct timespec t = wanted(c);
	long r;

	if (cmd != FUTEX_WAIT && cmd != FUTEX_WAIT_BITSET)
		return 0;
	if (!c->arg[3])
		r = sleep_until(c, CLOCK_MONOTONIC, &forever);
	else if (cmd == FUTEX_WAIT)
		r = sleep_for(c, CLOCK_MONOTONIC, &t);
	else
		r = sleep_until(
			c, sys_int(c, 1) & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC,
			&t);
	return r ? r : -ETIMEDOUT;
}
