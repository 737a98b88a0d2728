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

#define PAGE	    4096UL
#define CALLS	    128	 /* system calls in a run that has any */
#define TOUCHES	    16UL /* pages that a run touches first */
/*
 * Every fourth page: what lies beside a page that was touched may be given with the next, so that
 * not each touch is a fault.
 */
#define STRIDE	    4UL
#define WINDOW	    (TOUCHES * STRIDE * PAGE)
#define COW_WINDOWS 256UL
#define CALL_OFFSET 2UL	 /* pages that calls are to make private lie between those that runs write to */
#define STACK_DEPTH 24UL /* below what of the stack stays from run to run */

static struct sthread_policy *policy;
static int file = -1;
static unsigned char *cow_memory; /* COW_WINDOWS windows of the image */
static unsigned long cow_window, call_window;

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

/* Inside: arg system calls that the master must make. */
static void *seek(void *arg)
{
	for (uintptr_t n = (uintptr_t)arg; n; n--)
		if (lseek(file, 0, SEEK_SET) != 0)
			return (void *)1;
	return NULL;
}

/* Nanoseconds for writes to TOUCHES pages, by the clock of the compartment. */
static void *timed_writes(volatile unsigned char *p)
{
	uint64_t start;

	(void)now_ns(); /* touches the clock's own pages */
	start = now_ns();
	for (unsigned long i = TOUCHES; i-- > 0;)
		p[i * STRIDE * PAGE] = 1;
	return (void *)(uintptr_t)(now_ns() - start);
}

/* Inside: pages of the image. */
static void *write_pages(void *arg)
{
	return timed_writes(arg);
}

/* Inside: pages of the stack that were not there. */
static void *write_stack(void *arg)
{
	uintptr_t at = (uintptr_t)__builtin_frame_address(0) - STACK_DEPTH * PAGE - WINDOW;

	(void)arg;
	return timed_writes((volatile unsigned char *)at);
}

/* Inside: TOUCHES calls that each write a byte to a page of the image. */
static void *read_pages(void *arg)
{
	unsigned char *p = arg;
	uint64_t start;

	(void)now_ns();
	start = now_ns();
	for (unsigned long i = 0; i < TOUCHES; i++)
		if (pread(file, p + i * STRIDE * PAGE, 1, 0) != 1)
			return NULL;
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
	size_t len = COW_WINDOWS * WINDOW;
	int err;

	cow_memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cow_memory == MAP_FAILED)
		return -errno;
	memset(cow_memory, 0x5a, len); /* not zero: zero pages are not copied from the image */
	file = memfd_create("bench", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, (off_t)PAGE))
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

/* A run that touches TOUCHES pages: of each the mean. */
static int touched(void *(*fn)(void *), void *at, uint64_t *out)
{
	void *took;
	int err = bench_call(policy, fn, at, &took);

	if (!err && !took)
		err = -EPROTO;
	*out = (uintptr_t)took / TOUCHES;
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
		int err = touched(write_pages, cow_memory + cow_window++ * WINDOW, &out[i]);

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
		void *at = cow_memory + call_window++ * WINDOW + CALL_OFFSET * PAGE;
		int err = touched(read_pages, at, &out[i]);

		if (err)
			return err;
	}
	return (int)i;
}

/* What a run touches so far down on its stack goes again with it. */
int sample_demand(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n; i++) {
		int err = touched(write_stack, NULL, &out[i]);

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
		err = bench_call(policy, nothing, NULL, NULL);
	if (!err)
		err = sthread_stats(&was);
	for (unsigned i = 0; i < runs && !err; i++)
		err = bench_call(policy, nothing, NULL, NULL);
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
