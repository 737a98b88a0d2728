/* SPDX-License-Identifier: MIT */
/*
 * A compartment that does not stop is stopped: by sthread_kill() wherever it is, by its wall time, by its memory limit;
 * and one that gives up does so alone.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#define MIB (1UL << 20)

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- killed ---- */

static void say_started(int fd)
{
	char c = 's';

	if (fd >= 0 && write(fd, &c, 1) != 1)
		_exit(9);
}

/* arg: where to say that it started << 16 | a pipe that never has anything. */
#define TELL(arg)  say_started((int)((uintptr_t)(arg) >> 16))
#define EMPTY(arg) ((int)((uintptr_t)(arg)&0xffff))

ST_FN(loops)
{
	TELL(arg);
	for (;;)
		__asm__ volatile("");
	return NULL;
}

ST_FN(loops_in_system_calls)
{
	TELL(arg);
	for (;;)
		syscall(SYS_sched_yield);
	return NULL;
}

ST_FN(loops_in_answered_calls)
{
	TELL(arg);
	for (;;)
		syscall(SYS_getpid);
	return NULL;
}

ST_FN(loops_in_faults)
{
	char *p = mmap(NULL, 32 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TELL(arg);
	for (;;) {
		for (int i = 0; i < 32; i++)
			p[i * 4096] = 1;
		munmap(p, 32 * 4096);
		if (mmap(p, 32 * 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p)
			_exit(8);
	}
}

ST_FN(reads_for_ever)
{
	char c;

	TELL(arg);
	return (void *)(intptr_t)read(EMPTY(arg), &c, 1);
}

ST_FN(polls_for_ever)
{
	struct pollfd p = { .fd = EMPTY(arg), .events = POLLIN };

	TELL(arg);
	return (void *)(intptr_t)poll(&p, 1, -1);
}

ST_FN(sleeps_for_ever)
{
	struct timespec t = { 100000, 0 };

	TELL(arg);
	nanosleep(&t, NULL);
	return NULL;
}

ST_FN(waits_for_ever)
{
	static int word;

	TELL(arg);
	syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0);
	return NULL;
}

static void killed(void)
{
	static st_fn *const fns[] = {
		loops,		loops_in_system_calls, loops_in_answered_calls, loops_in_faults,
		reads_for_ever, polls_for_ever,	       sleeps_for_ever,		waits_for_ever
	};
	static const char *const names[] = {
		"loops",	   "loops_in_system_calls", "loops_in_answered_calls",
		"loops_in_faults", "reads_for_ever",	    "polls_for_ever",
		"sleeps_for_ever", "waits_for_ever"
	};
	struct sthread_policy *p = st_policy_all_calls();
	int started[2], empty[2];
	char c;

	CHECK(!pipe(started) && !pipe(empty));
	st_grant(p, started[1], STHREAD_FD_WRITE);
	st_grant(p, empty[0], STHREAD_FD_READ | STHREAD_FD_POLL);
	for (unsigned i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
		struct sthread *st = st_create(
			p, fns[i], (void *)((uintptr_t)started[1] << 16 | (unsigned)empty[0]));
		struct timespec nap = { .tv_nsec = i & 1 ? 0 : 3000000 };
		struct sthread_result r;

		CHECK_EQ(read(started[0], &c, 1), 1);
		nanosleep(&nap, NULL);
		CHECK_OK(sthread_kill(st));
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
		CHECK_HAS(st_words(&r), "was killed");
		CHECK_MSG(strstr(st_words(&r), names[i]), "%s: %s", names[i], st_words(&r));
		st_others_live();
	}
	/* The twin: what the pipe waits for comes. */
	CHECK_EQ(write(empty[1], "x", 1), 1);
	{
		struct sthread_result r =
			st_run(p, reads_for_ever,
			       (void *)((uintptr_t)started[1] << 16 | (unsigned)empty[0]));

		ST_RETURNED(&r, 1);
	}
	sthread_policy_destroy(p);
}

/* ---- over a limit ---- */

ST_FN(naps)
{
	struct timespec t = { 0, 1000000 };

	nanosleep(&t, NULL);
	return NULL;
}

/* Does the pipe say that the function began?  A limit of wall time may end a run before. */
static bool has_begun(int fd)
{
	char c;

	return read(fd, &c, 1) == 1;
}

static void wall_limit(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	uint64_t before, limit;
	int started[2];

	CHECK(!pipe2(started, O_NONBLOCK));
	st_allow(p, SYS_write);
	st_grant(p, started[1], STHREAD_FD_WRITE);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 5000000000UL * st_slow());
	ST_PASSES(p, naps, NULL);
	for (int i = 0; i < 2; i++) {
		limit = 15000000;
		do { /* as long as it takes the function to begin */
			limit *= 2;
			st_limit(p, STHREAD_LIMIT_WALL_NS, limit);
			before = now();
			r = st_both[i](p, loops, (void *)((uintptr_t)started[1] << 16));
			ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
			CHECK_GE(now() - before, limit);
		} while (!has_begun(started[0]) && limit < 3000000000UL);
		CHECK_HAS(st_words(&r), " loops+");
	}
	st_limit(p, STHREAD_LIMIT_WALL_NS, 30000000);
	r = st_run(p, sleeps_for_ever, (void *)(UINT64_MAX << 16));
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	sthread_policy_destroy(p);
	st_others_live();
}

ST_FN(mallocs)
{
	size_t left = (uintptr_t)arg;

	for (; left; left -= 65536) {
		char *volatile p = malloc(65536); /* a block that nobody looks at need not be made */

		if (!p)
			return (void *)1;
		memset(p, 1, 65536);
	}
	return NULL;
}

/* A page each gibibyte or two mebibytes: the tables cost more than the pages. */
ST_FN(touches_sparsely)
{
	size_t len = 60UL << 30;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	for (size_t at = 0; at < len && at / (2 * MIB) < (uintptr_t)arg; at += 2 * MIB)
		p[at] = 1;
	return NULL;
}

/* By a system call that writes into memory of which there is no more. */
ST_FN(reads_random_into_much)
{
	size_t len = (uintptr_t)arg;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	for (size_t at = 0; at < len; at += 65536)
		CHECK_EQ(syscall(SYS_getrandom, p + at, 65536, 0), 65536);
	return NULL;
}

/* Zeros into so many pages: at the limit those that are as a fault would make them are taken back, and it goes on. */
ST_FN(keeps_vectors)
{
	size_t pages = (uintptr_t)arg;
	char *p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t was = 0x5ec7025, is;

	CHECK(p != MAP_FAILED);
	__asm__ volatile("movq %3, %%xmm7\n"
			 "1: movb $0, (%0)\n"
			 "	addq $4096, %0\n"
			 "	decq %1\n"
			 "	jnz 1b\n"
			 "	movq %%xmm7, %2\n"
			 : "+r"(p), "+r"(pages), "=r"(is)
			 : "r"(was)
			 : "xmm7", "memory", "cc");
	return (void *)(uintptr_t)(is == was);
}

ST_FN(maps_in_pieces)
{
	unsigned n = 0;

	/* Every other page: as many regions. */
	for (; n < 1000; n++) {
		char *p = mmap(NULL, 8192, n & 1 ? PROT_READ : PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || munmap(p + 4096, 4096))
			break;
	}
	CHECK_EQ(errno, ENOMEM);
	return NULL;
}

static void over_memory(struct sthread_policy *p, st_fn *fn, uintptr_t fits, uintptr_t not,
			const char *name)
{
	struct sthread_stats before, after;
	struct sthread_result r;

	NOTE("%s", name);
	ST_PASSES(p, fn, fits);
	CHECK_OK(sthread_stats(&before));
	r = st_call(p, fn, (void *)not );
	ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	CHECK_HAS(st_words(&r), name);
	CHECK_HAS(st_words(&r), "private memory");
	CHECK_OK(sthread_stats(&after));
	CHECK_EQ(after.ended_limit, before.ended_limit + 1);
	/* All is given back, at the latest when the lane runs again. */
	ST_PASSES(p, fn, fits);
	CHECK_OK(sthread_stats(&after));
	CHECK_LE(after.pages_used, before.pages_used + 64);
	st_others_live();
}

static void memory_limit(void)
{
	struct sthread_policy *p = st_policy();

	st_limit(p, STHREAD_LIMIT_MEMORY, 3 * MIB);
	over_memory(p, mallocs, MIB, 6 * MIB, "mallocs");
	over_memory(p, touches_sparsely, 100, 1000, "touches_sparsely");
	over_memory(p, reads_random_into_much, MIB, 6 * MIB, "reads_random_into_much");
	for (int i = 0; i < 3; i++) {
		struct sthread_result r = st_call(p, keeps_vectors, (void *)2000);

		ST_RETURNED(&r, 1);
	}
	st_limit(p, STHREAD_LIMIT_MEMORY, 64 * MIB);
	ST_PASSES(p, maps_in_pieces, NULL);
	ST_PASSES(p, maps_in_pieces, NULL);
	sthread_policy_destroy(p);
}

/* ---- gives up ---- */

ST_FN(aborts)
{
	fprintf(stderr, "last words %d\n", 7);
	abort();
}

ST_FN(asserts)
{
	assert(arg == (void *)5);
	return NULL;
}

ST_FN(raises)
{
	raise((int)(uintptr_t)arg);
	return NULL;
}

ST_FN(frees_twice)
{
	char *volatile p = malloc(2000);

	free(p);
	free(p);
	return NULL;
}

/* Built with -fstack-protector-all, see tests/meson.build. */
__attribute__((noinline)) static void smash(volatile char *p, size_t n)
{
	char buf[16];
	volatile char *b = buf;

	for (size_t i = 0; i < n; i++)
		b[i] = p[i % 8];
}

ST_FN(smashes_stack)
{
	char bytes[8] = "AAAAAAA";

	smash(bytes, (uintptr_t)arg);
	return NULL;
}

static void gives_up(void)
{
	static const int deadly[] = { SIGSEGV, SIGABRT, SIGTERM, SIGKILL, SIGSTOP, SIGUSR1 };
	struct sthread_result r;

	r = st_call(NULL, aborts, NULL);
	ST_ABORTED(&r, "last words 7\n");
	CHECK_HAS(st_words(&r), "aborts");
	r = st_run(NULL, asserts, NULL);
	ST_ABORTED(&r, "arg == (void *)5");
	CHECK_HAS(st_words(&r), "asserts");
	ST_PASSES(NULL, asserts, 5);
	r = st_call(NULL, frees_twice, NULL);
	ST_ABORTED(&r, "double free");
	r = st_call(NULL, smashes_stack, (void *)64);
	ST_ABORTED(&r, "stack smashing detected");
	ST_PASSES(NULL, smashes_stack, 16);
	for (unsigned i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		r = i & 1 ? st_run(NULL, raises, (void *)(intptr_t)deadly[i]) :
			    st_call(NULL, raises, (void *)(intptr_t)deadly[i]);
		ST_ABORTED(&r, "");
		CHECK_HAS(st_words(&r), "raises");
	}
	ST_PASSES(NULL, raises, SIGCHLD);
	st_others_live();
}

int main(void)
{
	st_init();
	killed();
	wall_limit();
	memory_limit();
	gives_up();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
