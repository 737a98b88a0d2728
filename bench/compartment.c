/* SPDX-License-Identifier: MIT */
/*
 * Warm compartments: spaces that ran before and were put back.  World: host; functions marked
 * "inside" run in the compartment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sthread.h>

#include "bench/compartment.h"

#define CALLS	    128	 /* system calls in a run that has any */
#define COW_PAGES   16UL /* pages that a run writes to first */
#define COW_WINDOWS 1024UL

static struct sthread_policy *policy;
static int file = -1;
static unsigned char *cow_memory; /* COW_WINDOWS * COW_PAGES pages of the image */
static unsigned long cow_window;

int bench_init(unsigned pool)
{
	struct sthread_config cfg = { .size = sizeof(cfg), .pool = pool };
	const char *where = getenv("STHREAD_PLACEMENT"); /* as for the tests */
	struct sthread_stats stats;
	int err;

	if (where && !strcmp(where, "host"))
		cfg.placement = STHREAD_PLACE_HOST;
	if (where && !strcmp(where, "ring0"))
		cfg.placement = STHREAD_PLACE_RING0;
	err = sthread_init(&cfg);
	if (!err)
		err = sthread_stats(&stats);
	if (!err)
		facts->placement = (int)stats.placement;
	return err;
}

/* Inside. */
static void *nothing(void *arg)
{
	return arg;
}

/* Inside. */
static void *never_ends(void *arg)
{
	for (;;)
		__asm__ volatile("");
	return arg;
}

/* Inside: arg system calls that the master must make. */
static void *seek(void *arg)
{
	for (uintptr_t n = (uintptr_t)arg; n; n--)
		if (lseek(file, 0, SEEK_SET) != 0)
			return (void *)1;
	return NULL;
}

/* Inside: nanoseconds for the first writes to COW_PAGES pages, by the clock of the compartment. */
static void *write_pages(void *arg)
{
	volatile unsigned char *p = arg;
	uint64_t start;

	(void)now_ns(); /* touches the clock's own pages */
	start = now_ns();
	for (unsigned long i = 0; i < COW_PAGES; i++)
		p[i * 4096] = 1;
	return (void *)(uintptr_t)(now_ns() - start);
}

int bench_call(const struct sthread_policy *p, void *(*fn)(void *), void *arg, void **value)
{
	struct sthread_result r;
	int err = sthread_call(p, fn, arg, &r);

	if (err)
		return err;
	if (r.end != STHREAD_RETURNED)
		return -EPROTO;
	if (value)
		*value = r.value;
	return 0;
}

int bench_create_join(const struct sthread_policy *p, void *(*fn)(void *), void *arg)
{
	struct sthread_result r;
	struct sthread *st;
	int err = sthread_create(&st, p, fn, arg);

	if (!err)
		err = sthread_join(st, &r);
	if (err)
		return err;
	return r.end == STHREAD_RETURNED ? 0 : -EPROTO;
}

int setup_warm(void)
{
	int err;

	file = memfd_create("bench", MFD_CLOEXEC);
	if (file < 0)
		return -errno;
	err = bench_init(0);
	if (!err)
		err = sthread_policy_create(&policy);
	if (!err)
		err = sthread_policy_fd(policy, file, STHREAD_FD_SEEK);
	if (!err)
		err = sthread_policy_syscall(policy, SYS_lseek, STHREAD_ALLOW);
	return err;
}

int sample_call(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		uint64_t start = now_ns();
		int err = bench_call(policy, nothing, NULL, NULL);
		uint64_t took = now_ns() - start;

		if (err)
			return err;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}

int sample_create_join(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		uint64_t start, took;
		int err;

		settle();
		start = now_ns();
		err = bench_create_join(policy, nothing, NULL);
		took = now_ns() - start;
		if (err)
			return err;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}

static int timed_seek(uintptr_t calls, uint64_t *took)
{
	uint64_t start = now_ns();
	void *failed;
	int err = bench_call(policy, seek, (void *)calls, &failed);

	*took = now_ns() - start;
	if (!err && failed)
		err = -EPROTO;
	return err;
}

int sample_syscall(unsigned n, uint64_t *out)
{
	uint64_t none, many;

	for (unsigned i = 0; i < n; i++) {
		int err = i ? 0 : timed_seek(CALLS, &many); /* warm up */

		if (!err)
			err = timed_seek(0, &none);
		if (!err)
			err = timed_seek(CALLS, &many);
		if (err)
			return err;
		out[i] = many > none ? (many - none) / CALLS : 0;
	}
	return (int)n;
}

/* How much later than its limit an endless loop ends. */
static int sample_late(enum sthread_limit which, unsigned n, uint64_t *out)
{
	const uint64_t limit = 2000000;
	struct sthread_policy *p;
	int err = sthread_policy_create(&p);

	if (err)
		return err;
	err = sthread_policy_limit(p, which, limit);
	for (unsigned i = 0; i < n && !err; i++) {
		uint64_t start = now_ns();
		struct sthread_result r;

		err = sthread_call(p, never_ends, NULL, &r);
		out[i] = now_ns() - start - limit;
		if (!err && (r.end != STHREAD_OVER_LIMIT || r.limit != which))
			err = -EPROTO;
	}
	sthread_policy_destroy(p);
	return err ? err : (int)n;
}

int sample_late_wall(unsigned n, uint64_t *out)
{
	return sample_late(STHREAD_LIMIT_WALL_NS, n, out);
}

int sample_late_cpu(unsigned n, uint64_t *out)
{
	return sample_late(STHREAD_LIMIT_CPU_NS, n, out);
}

int setup_cow(void)
{
	size_t len = COW_WINDOWS * COW_PAGES * 4096;
	int err;

	cow_memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cow_memory == MAP_FAILED)
		return -errno;
	memset(cow_memory, 0x5a, len); /* not zero: zero pages are not copied from the image */
	err = bench_init(0);
	if (!err)
		err = sthread_policy_create(&policy);
	if (!err)
		err = sthread_policy_syscall(policy, SYS_clock_gettime, STHREAD_ALLOW);
	return err;
}

/*
 * A compartment keeps its private pages when it is put back, so every run writes to pages that none
 * wrote to before. When all have been, it ends: later samples would be of something else.
 */
int sample_cow(unsigned n, uint64_t *out)
{
	unsigned i;

	for (i = 0; i < n && cow_window < COW_WINDOWS; i++) {
		void *at = cow_memory + cow_window++ * COW_PAGES * 4096, *took;
		int err = bench_call(policy, write_pages, at, &took);

		if (err)
			return err;
		if (!took)
			return -EPROTO;
		out[i] = (uintptr_t)took / COW_PAGES;
	}
	return (int)i;
}
