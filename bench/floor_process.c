/* SPDX-License-Identifier: MIT */
/*
 * process.round_trip: the least that a system call of a stub process can cost.  World: host; the
 * child makes nothing but system calls.
 *
 * A child with the filter of a stub, the one instruction RET USER_NOTIF, that makes a call again and
 * again. The host answers the one and waits for the next, with the flags and by the rule of the
 * library's stubs: SYNC_WAKE_UP where the kernel knows it, killable waits likewise, and a poll of
 * listener and pidfd before each wait where a death would not end it (before Linux 6.11).
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/bench.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#define NO_LISTENER_YET (-4096L)

/* In memory that both have. */
static struct talk {
	_Atomic long listener; /* or a negative errno; the table of descriptors is one, so far */
	_Atomic long answer;   /* what the last call gave */
} *talk;

static int listener = -1, child = -1; /* the latter a pidfd */
static bool must_poll;
static uint64_t held; /* the call that the child waits in */

static long raw(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

/* From the filter on no call of the C library: each is answered by the host, or by nobody. */
__attribute__((noreturn)) static void call_for_ever(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF) };
	const struct sock_fprog prog = { .len = 1, .filter = code };
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER |
			      SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	long fd, got;

	raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	fd = raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long)flags, (long)&prog);
	if (fd == -EINVAL) /* before Linux 5.19 */
		fd = raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			 (long)&prog);
	atomic_store(&talk->listener, fd);
	raw(SYS_close_range, 0, ~0U, CLOSE_RANGE_UNSHARE); /* allowed */
	do {
		got = raw(SYS_getppid, 0, 0, 0);
		atomic_store_explicit(&talk->answer, got, memory_order_relaxed);
	} while (got >= 0); /* the listener is gone */
	for (;;)
		__builtin_trap();
}

static int receive(struct seccomp_notif *n)
{
	if (must_poll) {
		struct pollfd p[2] = { { .fd = listener, .events = POLLIN },
				       { .fd = child, .events = POLLIN } };

		while (ppoll(p, 2, NULL, NULL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!(p[0].revents & POLLIN))
			return -ESRCH;
	}
	do
		memset(n, 0, sizeof(*n));
	while (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, n) && errno == EINTR);
	return n->id ? 0 : -errno;
}

static int answer(uint64_t id, long value, uint32_t flags)
{
	struct seccomp_notif_resp r = { .id = id, .val = value, .flags = flags };

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r) ? -errno : 0;
}

/* One hand-over there, and one back. */
static int trip(long value, struct seccomp_notif *n)
{
	int err = answer(held, value, 0);

	if (!err)
		err = receive(n);
	held = n->id;
	return err;
}

static int meet(void)
{
	struct seccomp_notif n;
	int err = receive(&n);

	if (!err && n.data.nr != SYS_close_range)
		err = -EPROTO;
	if (!err)
		err = answer(n.id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	if (!err)
		err = receive(&n);
	held = n.id;
	return err;
}

/* The child lasts as long as this process: nothing is undone. */
int setup_floor_process(void)
{
	unsigned long sync = SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP;
	unsigned major = 0, minor = 0;
	struct utsname kernel;
	long pid, fd;

	talk = mmap(NULL, sizeof(*talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (talk == MAP_FAILED)
		return -errno;
	atomic_store(&talk->listener, NO_LISTENER_YET);
	uname(&kernel);
	if (sscanf(kernel.release, "%u.%u", &major, &minor) == 2)
		must_poll = major < 6 || (major == 6 && minor < 11);
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		return -errno;
	if (!pid)
		call_for_ever();
	child = (int)syscall(SYS_pidfd_open, pid, 0);
	if (child < 0)
		return -errno;
	while ((fd = atomic_load(&talk->listener)) == NO_LISTENER_YET)
		sched_yield();
	if (fd < 0)
		return (int)fd;
	listener = (int)fd;
	facts->sync = !ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, sync);
	facts->polls = must_poll;
	return meet();
}

int sample_round_trip_process(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		struct seccomp_notif got;
		uint64_t start = now_ns(), took;
		int err = trip((long)i, &got);

		took = now_ns() - start;
		if (err)
			return err;
		if (got.data.nr != SYS_getppid || got.data.arch != AUDIT_ARCH_X86_64 ||
		    atomic_load(&talk->answer) != (long)i)
			return -EPROTO;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}
