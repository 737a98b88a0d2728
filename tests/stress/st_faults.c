/* SPDX-License-Identifier: MIT */
/*
 * st_faults.c - thousands of runs that end badly, in every way there is: no virtual processor is lost, nothing grows,
 * and the run after each is as good as the first.  World: host; what is marked runs inside.
 */
#include "tests/kvm/st_life.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

static void *writes(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

static void *jumps(void *arg)
{
	((void (*)(void))(uintptr_t)arg)();
	return NULL;
}

/* Without an end that can be reached. */
__attribute__((noinline)) static unsigned recursion(volatile char *above, unsigned depth)
{
	volatile char here[1024];

	here[0] = above[0];
	if (!depth)
		return 0;
	return recursion(here, depth - 1) + (unsigned)here[0];
}

static void *overflows(void *arg)
{
	char first = 1;

	return (char *)arg + recursion(&first, 1u << 30);
}

static void *undefined(void *arg)
{
	__asm__ volatile("ud2");
	return arg;
}

static void *privileged(void *arg)
{
	__asm__ volatile("hlt");
	return arg;
}

static void *divides(void *arg)
{
	int quotient = 1, rest = 0;

	__asm__ volatile("idivl %2" : "+a"(quotient), "+d"(rest) : "r"(0));
	return (char *)arg + quotient;
}

static void *traps(void *arg)
{
	__asm__ volatile("int3");
	return arg;
}

static void *stackless(void *arg)
{
	__asm__ volatile("mov $0xdeadbeef000, %%rsp; push %%rax" ::: "memory");
	return arg;
}

static void *aborts(void *arg)
{
	(void)arg;
	abort();
}

static void *exits(void *arg)
{
	exit((int)(intptr_t)arg);
}

static char words[16];

static const struct {
	const char *name;
	st_fn *fn;
	void *arg;
	enum sthread_end end;
	enum sthread_fault fault;
} ways[] = {
	{ "null", writes, NULL, STHREAD_FAULTED, STHREAD_FAULT_MEMORY },
	{ "text", writes, (void *)(uintptr_t)plus_one, STHREAD_FAULTED, STHREAD_FAULT_MEMORY },
	{ "kernel half", writes, (void *)0xffffffff80000000, STHREAD_FAULTED, STHREAD_FAULT_MEMORY },
	{ "not canonical", writes, (void *)0x8000000000000000, STHREAD_FAULTED, STHREAD_FAULT_PROTECTION },
	{ "jump to data", jumps, words, STHREAD_FAULTED, STHREAD_FAULT_MEMORY },
	{ "jump to null", jumps, NULL, STHREAD_FAULTED, STHREAD_FAULT_MEMORY },
	{ "stack", overflows, NULL, STHREAD_FAULTED, STHREAD_FAULT_STACK },
	{ "undefined", undefined, NULL, STHREAD_FAULTED, STHREAD_FAULT_INSTRUCTION },
	{ "privileged", privileged, NULL, STHREAD_FAULTED, STHREAD_FAULT_PROTECTION },
	{ "division", divides, NULL, STHREAD_FAULTED, STHREAD_FAULT_ARITHMETIC },
	{ "breakpoint", traps, NULL, STHREAD_FAULTED, STHREAD_FAULT_TRAP },
	{ "no stack", stackless, NULL, STHREAD_FAULTED, STHREAD_FAULT_MEMORY },
	{ "abort", aborts, NULL, STHREAD_ABORTED, STHREAD_FAULT_NONE },
	{ "exit", exits, (void *)3, STHREAD_EXITED, STHREAD_FAULT_NONE },
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* ---- outside ------------------------------------------------------------------------------------------------------ */

static void one(unsigned long i)
{
	size_t k = i % WAYS;
	struct sthread_result r;

	/* A stack is 256 pages, each of which an emulated ring 0 takes its time over. */
	if (ways[k].fn == overflows && i / WAYS % 16 > 1)
		k = 0;
	r = i / WAYS % 2 ? st_run(NULL, ways[k].fn, ways[k].arg) : st_call(NULL, ways[k].fn, ways[k].arg);
	if (r.end != ways[k].end || (r.end == STHREAD_FAULTED && r.fault != ways[k].fault))
		FAIL("%s, round %lu: %s", ways[k].name, i, st_words(&r));
	r = st_call(NULL, plus_one, (void *)i);
	ST_RETURNED(&r, i + 1);
}

int main(void)
{
	unsigned long n = test_scale(5000);
	struct sthread_stats was, now;
	uint64_t rss, start;
	unsigned fds;

	st_init();
	for (unsigned long i = 0; i < 6 * WAYS; i++)
		one(i);
	was = life_stats();
	rss = life_rss();
	fds = life_fds();
	start = life_now();
	for (unsigned long i = 0; i < n; i++)
		one(i);
	now = life_stats();
	NOTE("%lu bad ends in %" PRIu64 " ms: pages %" PRIu64 " -> %" PRIu64 ", vCPUs %" PRIu64 " -> %" PRIu64
	     ", resident %" PRIu64 " -> %" PRIu64 " KiB",
	     n, (life_now() - start) / 1000000, was.pages_used, now.pages_used, was.vcpus, now.vcpus, rss, life_rss());
	CHECK_EQ(now.vcpus_lost, 0);
	CHECK_LE(now.vcpus, was.vcpus + 3);
	CHECK_LE(now.pages_used, was.pages_used + 4 * 128);
	CHECK_LE(life_rss(), rss + 3072);
	CHECK_EQ(life_fds(), fds + (now.vcpus - was.vcpus) * (now.machine == STHREAD_MACHINE_KVM ? 1 : 2));
	sthread_fini();
	return TEST_PASSED;
}
