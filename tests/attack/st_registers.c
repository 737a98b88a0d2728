/* SPDX-License-Identifier: MIT */
/*
 * Registers that the monitor could be fooled by: the stack pointer, the bases of FS and GS, selectors, flags and a
 * forged system call, at traps and at system calls.  World: host; ST_FN: inside.
 */
#include "tests/st.h"
#include "tests/st_soft.h"

#include <dune.h>

#include "arch/layout.h"

static char image_stack[4096] __attribute__((aligned(4096)));

/* getppid() with the stack pointer arg: the answer is 0, and the stack pointer comes back. */
ST_FN(calls_with_stack)
{
	long r;

	__asm__ volatile("movq %%rsp, %%rbx\n"
			 "	movq %2, %%rsp\n"
			 "	syscall\n"
			 "	cmpq %2, %%rsp\n"
			 "	movq %%rbx, %%rsp\n"
			 "	je 1f\n"
			 "	movq $-1, %0\n"
			 "1:\n"
			 : "=a"(r)
			 : "0"((long)SYS_sched_yield), "r"(arg)
			 : "rbx", "rcx", "r11", "memory", "cc");
	return (void *)r;
}

/* A trap that is resolved (a page is copied), with the stack pointer arg. */
ST_FN(traps_with_stack)
{
	__asm__ volatile("movq %%rsp, %%rbx\n"
			 "	movq %0, %%rsp\n"
			 "	movb $1, (%1)\n"
			 "	movq %%rbx, %%rsp\n"
			 :
			 : "r"(arg), "r"(image_stack + 64)
			 : "rbx", "memory");
	return NULL;
}

/* One that is not. */
ST_FN(faults_with_stack)
{
	__asm__ volatile("movq %0, %%rsp\n ud2" : : "r"(arg) : "memory");
	return NULL;
}

ST_FN(pushes_with_stack)
{
	__asm__ volatile("movq %%rsp, %%rbx\n movq %0, %%rsp\n pushq $1\n movq %%rbx, %%rsp"
			 :
			 : "r"(arg)
			 : "rbx", "memory");
	return NULL;
}

ST_FN(calls_with_bases)
{
	unsigned long fs;
	long r;

	__asm__ volatile("rdfsbase %0" : "=r"(fs));
	__asm__ volatile("wrfsbase %2\n wrgsbase %2\n syscall\n wrfsbase %3"
			 : "=a"(r)
			 : "0"((long)SYS_sched_yield), "r"(arg), "r"(fs)
			 : "rcx", "r11", "memory");
	return (void *)r;
}

static bool keeps_bases; /* before the checkpoint: st_host_keeps_bases() */

/* The bases survive traps and calls; then a fault with them. */
ST_FN(faults_with_bases)
{
	unsigned long gs;

	__asm__ volatile("wrgsbase %0" : : "r"(arg));
	image_stack[0] = 1;
	syscall(SYS_sched_yield);
	syscall(SYS_getpid);
	__asm__ volatile("rdgsbase %0" : "=r"(gs));
	CHECK(gs == (unsigned long)arg || !keeps_bases);
	__asm__ volatile("wrfsbase %0\n ud2" : : "r"(arg) : "memory");
	return NULL;
}

/* Flags at a system call: carry ... direction, alignment check, nested task, identification.  arg: the bits. */
ST_FN(calls_with_flags)
{
	unsigned long after;
	long r;

	__asm__ volatile("pushfq\n"
			 "	orq %3, (%%rsp)\n"
			 "	popfq\n"
			 "	syscall\n"
			 "	pushfq\n"
			 "	popq %1\n"
			 "	pushq $2\n"
			 "	popfq\n"
			 : "=a"(r), "=&r"(after)
			 : "0"((long)SYS_sched_yield), "r"(arg)
			 : "rcx", "r11", "memory", "cc");
	CHECK_EQ(r, 0);
	CHECK_EQ(after & 0x3000, 0u); /* no I/O privilege */
	return NULL;
}

/* A system call as a software KVM might see it, without one: where it enters the monitor is not for ring 3. */
ST_FN(forges_system_call)
{
	unsigned long after;

	__asm__ volatile("leaq 1f(%%rip), %%rcx\n"
			 "	movl $0x3246, %%r11d\n" /* with I/O privilege */
			 "	jmpq *%1\n"
			 "1:	pushfq\n"
			 "	popq %0\n"
			 : "=&r"(after)
			 : "r"(arg), "a"(SYS_ptrace)
			 : "rcx", "r11", "memory", "cc");
	return (void *)(after & 0x3000);
}

/* The same number and place to return to, honestly: rcx and r11 are the processor's. */
ST_FN(returns_to_own_address)
{
	register unsigned long r11 __asm__("r11") = 0xffffffff;
	unsigned long rcx = MON_BASE;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r), "+c"(rcx), "+r"(r11)
			 : "0"((long)SYS_sched_yield)
			 : "memory");
	CHECK_EQ(r, 0);
	CHECK(rcx < DUNE_USER_END && !(r11 & 0x3000));
	return NULL;
}

/* A system call with the trap flag set. */
ST_FN(steps_into_call)
{
	long r;

	__asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n syscall\n nop\n nop"
			 : "=a"(r)
			 : "0"((long)SYS_sched_yield)
			 : "rcx", "r11", "memory", "cc");
	return (void *)r;
}

ST_FN(steps_into_nop)
{
	__asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n nop" : : : "memory", "cc");
	return NULL;
}

ST_FN(asks_key)
{
	__asm__ volatile("xorl %%ecx, %%ecx\n .byte 0x0f, 0x01, 0xee" : : : "rax", "rcx", "rdx"); /* rdpkru */
	return NULL;
}

/* Takes away its own right to its own memory, where there are protection keys. */
ST_FN(denies_own_memory_by_key)
{
	__asm__ volatile(
		"xorl %%ecx, %%ecx\n xorl %%edx, %%edx\n movl $3, %%eax\n .byte 0x0f, 0x01, 0xef\n" /* wrpkru */
		"	movq (%0), %%rax"
		:
		: "r"(image_stack)
		: "rax", "rcx", "rdx", "memory");
	return NULL;
}

ST_FN(null_selectors)
{
	__asm__ volatile(
		"xorl %%eax, %%eax\n movl %%eax, %%ds\n movl %%eax, %%es\n movl %%eax, %%gs" ::
			: "rax");
	return (void *)syscall(SYS_sched_yield);
}

/*
 * Leaves selectors that the kernel takes a base from, or once took one from: it may have lost what it knew of the bases.
 * arg: the selector at the end; | 0x10000: with the base that was there before.
 */
ST_FN(leaves_selectors)
{
	uint64_t fs, how = (uintptr_t)arg;

	__asm__ volatile("rdfsbase %0\n"
			 "	movl $0x2b, %%eax\n"
			 "	movl %%eax, %%fs\n"
			 "	movl %%eax, %%gs\n"
			 "	movl %[yield], %%eax\n"
			 "	syscall\n"
			 "	movl %[yield], %%eax\n"
			 "	syscall\n"
			 "	movl %%ebx, %%eax\n"
			 "	movl %%eax, %%fs\n"
			 "	movl %%eax, %%gs\n"
			 "	wrfsbase %0\n"
			 : "=&r"(fs)
			 : "b"(how & 0xffff), [yield] "i"(SYS_sched_yield)
			 : "rax", "rcx", "r11", "memory");
	if (!(how & 0x10000))
		__asm__ volatile("xorl %%eax, %%eax\n wrfsbase %%rax\n"
				 "	movl %0, %%eax\n movq $3, %%rdi\n syscall\n ud2"
				 :
				 : "i"(DUNE_SYS_RETURN)
				 : "rax", "rdi", "memory");
	return (void *)3;
}

/* It has its thread-local storage, and keeps it while others run. */
ST_FN(keeps_its_base)
{
	uint64_t fs, now;

	(void)arg;
	__asm__ volatile("rdfsbase %0" : "=r"(fs));
	for (int i = 0; i < 20; i++) {
		syscall(SYS_sched_yield);
		__asm__ volatile("rdfsbase %0" : "=r"(now));
		if (now != fs)
			__asm__ volatile("wrfsbase %0" : : "r"(fs)); /* so that it can say so */
		CHECK_EQ(now, fs);
	}
	return (void *)fs;
}

static void selectors(void)
{
	const uintptr_t ways[] = { 0x2b, 0, 0x1002b, 0x10000, 3, 0x10003 };
	struct sthread_result r = st_call(NULL, keeps_its_base, NULL);
	void *fs = r.value;

	ST_RETURNED(&r, (uintptr_t)fs);
	for (unsigned i = 0; i < 60; i++) {
		r = st_call(NULL, leaves_selectors, (void *)ways[i % 6]);
		ST_RETURNED(&r, 3);
		r = st_call(NULL, keeps_its_base, NULL);
		ST_RETURNED(&r, (uintptr_t)fs);
	}
}

static void stacks(void)
{
	void *const places[] = {
		NULL,
		(void *)8,
		(void *)0x7ffffffff000,
		(void *)0x800000000000,
		(void *)0x4141414141414141,
		(void *)0xffff800000000000,
		(void *)MON_BASE,
		(void *)(MON_BASE + 0x4008),
		(void *)-8L,
		(void *)-1L,
		(void *)0x7fffffffffff,
		image_stack + 4096,
		image_stack + 4093,
		(void *)(uintptr_t)stacks,
	};
	struct sthread_result r;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		NOTE("stack at %p", places[i]);
		for (int k = 0; k < 2; k++) {
			r = st_call(NULL, calls_with_stack, places[i]);
			ST_RETURNED(&r, 0);
			r = st_run(NULL, traps_with_stack, places[i]);
			ST_RETURNED(&r, 0);
		}
		r = st_call(NULL, faults_with_stack, places[i]);
		ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_ANYWHERE, "faults_with_stack");
		CHECK_EQ(r.sp, (uint64_t)places[i]);
		CHECK(r.ip >= (uint64_t)ST_IN(faults_with_stack).start &&
		      r.ip < (uint64_t)ST_IN(faults_with_stack).end);
		st_others_live();
	}
	r = st_call(NULL, pushes_with_stack, image_stack + 4096);
	ST_RETURNED(&r, 0);
	r = st_call(NULL, pushes_with_stack, (void *)(MON_BASE + 0x1000));
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, MON_BASE + 0xff8, 2, ST_ANYWHERE, "pushes_with_stack");
	r = st_call(NULL, pushes_with_stack, (void *)0x4141414141414141);
	ST_FAULTS(&r, STHREAD_FAULT_PROTECTION, ST_ANY, 0, ST_ANYWHERE, "pushes_with_stack");
	CHECK(r.vector == 12 || (!st_soft() && r.vector == 13)); /* emulated processors do not tell stacks apart */
	CHECK_EQ(image_stack[64], 0);
}

static void bases(void)
{
	void *const places[] = { NULL,
				 image_stack,
				 (void *)MON_BASE,
				 (void *)(MON_BASE + 0x5000),
				 (void *)0x7ffffffff000,
				 (void *)0xffff800000000000,
				 (void *)-4096L };
	struct sthread_result r;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		r = st_call(NULL, calls_with_bases, places[i]);
		ST_RETURNED(&r, 0);
		r = st_run(NULL, faults_with_bases, places[i]);
		ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_IN(faults_with_bases), NULL);
		st_others_live();
	}
	r = st_call(NULL, calls_with_bases, (void *)0x4141414141414141);
	if (st_soft() || r.end != STHREAD_RETURNED) /* emulated processors take it */
		ST_FAULTS(&r, STHREAD_FAULT_PROTECTION, ST_ANY, 0, ST_IN(calls_with_bases), NULL);
}

static void flags(void)
{
	static const unsigned long bits[] = { 0x1, 0x400, 0x4000, 0x40000, 0x200000, 0x244cd5 };
	struct sthread_result r;

	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		ST_PASSES(NULL, calls_with_flags, bits[i]);
		ST_PASSES(NULL, calls_with_flags, 0);
	}
	/* Privilege bits that popfq leaves out. */
	ST_PASSES(NULL, calls_with_flags, 0x3000);
	/*
	 * The call clears the flag: the monitor does not step, nor does what follows.  In a process the kernel gives it
	 * back.  The twin has no call.
	 */
	for (int i = 0; i < 2; i++) {
		r = st_call(NULL, steps_into_call, NULL);
		if (test_placement() == TEST_PLACEMENT_PROCESS)
			ST_FAULTS(&r, STHREAD_FAULT_TRAP, 0, 0, ST_IN(steps_into_call), NULL);
		else
			ST_RETURNED(&r, 0);
		r = st_run(NULL, steps_into_nop, NULL);
		ST_FAULTS(&r, STHREAD_FAULT_TRAP, 0, 0, ST_IN(steps_into_nop), NULL);
		CHECK_EQ(r.vector, 1u);
	}
	st_others_live();
}

/* Wherever in the monitor: a fault there, or, at the one place that stands for it, the system call that it is. */
static void forged(void)
{
	struct sthread_result r;
	unsigned calls = 0;

	for (uint64_t i = 0; i < 3 * 64; i++) {
		/* The beginning of the monitor, then of the entry pages of the first processors. */
		uint64_t at = i < 64 ? MON_BASE + i * 16 :
				       MON_AREAS + (i / 64 - 1) * MON_AREA_SIZE + MON_AREA_ENTRY +
					       i % 64 * 16;

		r = st_call(NULL, forges_system_call, (void *)at);
		if (r.end == STHREAD_RETURNED) {
			CHECK_EQ((uint64_t)r.value, 0u);
			calls++;
			continue;
		}
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, 4, ST_ANYWHERE, NULL);
		CHECK_EQ(r.ip, at);
	}
	NOTE("%u places in the monitor stand for a system call", calls);
	CHECK_LE(calls, 1u);
	ST_PASSES(NULL, returns_to_own_address, NULL);
	st_others_live();
}

int main(void)
{
	struct sthread_policy *p;
	struct sthread_result r;
	bool keys;

	keeps_bases = st_host_keeps_bases();
	st_init();
	stacks();
	bases();
	flags();
	forged();
	r = st_call(NULL, null_selectors, NULL);
	ST_RETURNED(&r, 0);
	selectors();
	/* Where there are protection keys it locks itself out, once; elsewhere there is no such instruction. */
	p = st_policy();
	st_limit(p, STHREAD_LIMIT_WALL_NS, 2000000000UL * st_slow());
	keys = st_call(p, asks_key, NULL).end == STHREAD_RETURNED;
	r = st_call(p, denies_own_memory_by_key, NULL);
	if (keys)
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, image_stack, 1, ST_IN(denies_own_memory_by_key), NULL);
	else
		ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_IN(denies_own_memory_by_key), NULL);
	sthread_policy_destroy(p);
	ST_PASSES(NULL, calls_with_flags, 0);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
