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

#define TIMES	    16L /* in a run that times what it does */
/*
 * Every fourth page: what lies beside a page that was touched may be given with the next, so that
 * not each touch is a fault.
 */
#define STRIDE	    (4L * 4096)
#define WINDOW	    (TIMES * STRIDE)
#define COW_WINDOWS 256L
#define CALL_OFFSET (STRIDE / 2) /* pages that calls are to make private lie between those that runs write to */
#define STACK_DEPTH (24L * 4096) /* below what of the stack stays from run to run */

static struct sthread_policy *policy, *empty;
static int file = -1;
static unsigned char *cow_memory; /* COW_WINDOWS windows of the image */
static long cow_window, call_window;

int bench_init(unsigned pool)
{
	struct sthread_config cfg = {
		.size = sizeof(cfg),
		.pool = pool,
		.machine = here.machine == KVM ? STHREAD_MACHINE_KVM : STHREAD_MACHINE_PROCESS,
	};
	const char *where = getenv("STHREAD_PLACEMENT"); /* as for the tests */
	struct sthread_stats stats;
	int err;

	if (here.machine != KVM)
		where = NULL;
	if (where && !strcmp(where, "host"))
		cfg.placement = STHREAD_PLACE_HOST;
	if (where && !strcmp(where, "ring0"))
		cfg.placement = STHREAD_PLACE_RING0;
	err = sthread_init(&cfg);
	if (!err)
		err = sthread_stats(&stats);
	if (!err && here.machine == KVM)
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

/*
 * Inside: what is timed there, TIMES in a run, each by itself by the clock of the compartment. The
 * median is what a run says: an interruption, or the first of something that the others then have,
 * is no part of it.
 */
typedef bool timed_fn(unsigned char *at);

static void *median_of(timed_fn *fn, unsigned char *first, long step)
{
	uint64_t took[TIMES];

	(void)now_ns(); /* touches the clock's own pages */
	for (long i = 0; i < TIMES; i++) {
		uint64_t start = now_ns(), t;
		long at = i;

		if (!fn(first + i * step))
			return NULL;
		t = now_ns() - start;
		for (; at && took[at - 1] > t; at--)
			took[at] = took[at - 1];
		took[at] = t;
	}
	return (void *)(uintptr_t)took[TIMES / 2];
}

static bool write_byte(unsigned char *at)
{
	*(volatile unsigned char *)at = 1;
	return true;
}

static bool read_byte(unsigned char *at)
{
	return pread(file, at, 1, 0) == 1;
}

static bool seek_once(unsigned char *unused)
{
	(void)unused;
	return lseek(file, 0, SEEK_SET) == 0;
}

/* Inside: pages of the image, the last one first. */
static void *write_pages(void *arg)
{
	return median_of(write_byte, (unsigned char *)arg + WINDOW - STRIDE, -STRIDE);
}

/* Inside: pages of the stack that were not there. */
static void *write_stack(void *arg)
{
	(void)arg;
	return median_of(write_byte, (unsigned char *)__builtin_frame_address(0) - STACK_DEPTH, -STRIDE);
}

/* Inside: calls that each write a byte to a page of the image. */
static void *read_pages(void *arg)
{
	return median_of(read_byte, arg, STRIDE);
}

/* Inside: system calls that the master must make. */
static void *seek(void *arg)
{
	return median_of(seek_once, arg, 0);
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
		err = sthread_policy_create(&empty);
	if (!err)
		err = sthread_policy_create(&policy);
	if (!err)
		err = sthread_policy_fd(policy, file, STHREAD_FD_SEEK);
	if (!err)
		err = sthread_policy_syscall(policy, SYS_lseek, STHREAD_ALLOW);
	if (!err)
		err = sthread_policy_syscall(policy, SYS_clock_gettime, STHREAD_ALLOW);
	return err;
}

int sample_call(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		uint64_t start = now_ns();
		int err = bench_call(empty, nothing, NULL, NULL);
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
		err = bench_create_join(empty, nothing, NULL);
		took = now_ns() - start;
		if (err)
			return err;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}

/* A run that times what it does. */
static int timed_run(void *(*fn)(void *), void *at, uint64_t *out)
{
	void *took;
	int err = bench_call(policy, fn, at, &took);

	*out = (uintptr_t)took;
	return !err && !took ? -EPROTO : err;
}

int sample_syscall(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n; i++) {
		int err = timed_run(seek, NULL, &out[i]);

		if (err)
			return err;
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
	const size_t len = COW_WINDOWS * WINDOW;
	int err;

	cow_memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cow_memory == MAP_FAILED)
		return -errno;
	memset(cow_memory, 0x5a, len); /* not zero: zero pages are not copied from the image */
	file = memfd_create("bench", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, 4096))
		return -errno;
	err = bench_init(0);
	if (!err)
		err = sthread_policy_create(&policy);
	if (!err)
		err = sthread_policy_fd(policy, file, STHREAD_FD_READ | STHREAD_FD_SEEK);
	if (!err)
		err = sthread_policy_syscall(policy, SYS_pread64, STHREAD_ALLOW);
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
		int err = timed_run(write_pages, cow_memory + cow_window++ * WINDOW, &out[i]);

		if (err)
			return err;
	}
	return (int)i;
}

/* Likewise. */
int sample_private(unsigned n, uint64_t *out)
{
	unsigned i;

	for (i = 0; i < n && call_window < COW_WINDOWS; i++) {
		void *at = cow_memory + call_window++ * WINDOW + CALL_OFFSET;
		int err = timed_run(read_pages, at, &out[i]);

		if (err)
			return err;
	}
	return (int)i;
}

/* What a run touches so far down on its stack goes again with it. */
int sample_demand(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n; i++) {
		int err = timed_run(write_stack, NULL, &out[i]);

		if (err)
			return err;
	}
	return (int)n;
}

/* What is counted in warm runs, of one, in thousandths. */
int sample_steady(unsigned n, uint64_t *out)
{
	const unsigned runs = 100;
	struct sthread_stats was, is;
	int err = 0;

	if (n < STEADY_VALUES)
		return -EINVAL;
	for (unsigned i = 0; i < WARM_UP && !err; i++)
		err = bench_call(empty, nothing, NULL, NULL);
	if (!err)
		err = sthread_stats(&was);
	for (unsigned i = 0; i < runs && !err; i++)
		err = bench_call(empty, nothing, NULL, NULL);
	if (!err)
		err = sthread_stats(&is);
	if (err)
		return err;
	out[STEADY_SWITCHES] = (is.world_switches - was.world_switches) * 1000 / runs;
	out[STEADY_FAULTS] = (is.faults_cow + is.faults_demand - was.faults_cow - was.faults_demand) *
			     1000 / runs;
	out[STEADY_EDITS] = (is.page_table_edits - was.page_table_edits) * 1000 / runs;
	return STEADY_VALUES;
}
