/* SPDX-License-Identifier: MIT */
/*
 * Restartable sequences: the kernel moves a thread that has registered an area to an address that this area names, when
 * it lets another run.  The C library has registered one, and a compartment may write where it lies: nobody reads that,
 * whatever its own memory or a stub process has inherited.  The twin is the program's own thread, which is moved.
 * World: host; what is marked runs inside.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/rseq.h>
#include <time.h>

#include "sthread/process.h"
#include "tests/st.h"

#define RUN_NS	  400000000 /* a run */
#define RUN_SLOW  20	    /* runs at most, until the twin has been moved */
#define AT_A_TIME 2000000UL

static struct {
	uint32_t version, flags;
	uint64_t start, length, moved;
} sequence __attribute__((aligned(32)));

static uint64_t now_ns(void)
{
	struct timespec t;

	CHECK(!clock_gettime(CLOCK_MONOTONIC, &t));
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Inside, or natively: spins in a sequence.  How often it was moved out of it, or its area was touched. */
static uintptr_t spins(void)
{
	volatile uint64_t *area = (uint64_t *)((char *)__builtin_thread_pointer() + __rseq_offset) + 1;
	uint64_t end = now_ns() + RUN_NS;
	uintptr_t moved = 0;

	do {
		uint64_t n = AT_A_TIME, was = 0;

		__asm__ volatile("leaq 1f(%%rip), %%rax\n"
				 "	movq %%rax, 8+%[s]\n"
				 "	leaq 2f(%%rip), %%rdx\n"
				 "	subq %%rax, %%rdx\n"
				 "	movq %%rdx, 16+%[s]\n"
				 "	leaq 3f(%%rip), %%rax\n"
				 "	movq %%rax, 24+%[s]\n"
				 "	leaq %[s], %%rax\n"
				 "	movq %%rax, (%[area])\n"
				 "1:	decq %[n]\n"
				 "	jnz 1b\n"
				 "2:	jmp 4f\n"
				 "	.byte 0x0f, 0xb9, 0x3d\n" /* an instruction that is none; then the signature */
				 "	.long 0x53053053\n"
				 "3:	movq $1, %[was]\n"
				 "4:"
				 : [s] "+m"(sequence), [n] "+r"(n), [was] "+r"(was)
				 : [area] "r"(area)
				 : "rax", "rdx", "memory", "cc");
		moved += was || *area != (uint64_t)&sequence;
		*area = 0;
	} while (now_ns() < end);
	return moved;
}

ST_FN(is_not_moved)
{
	(void)arg;
	CHECK_ERR(syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, 0, 0x53053053) ? -errno : 0,
		  -ENOSYS);
	CHECK_EQ(spins(), 0u);
	return NULL;
}

/* A sequence that covers what a stub process executes of the library's, where it is interrupted at each call. */
ST_FN(is_not_moved_by_it)
{
	volatile uint64_t *area = (uint64_t *)((char *)__builtin_thread_pointer() + __rseq_offset) + 1;
	uint64_t was = 0;

	sequence.start = (uint64_t)arg;
	sequence.length = DUNE_OWN_SIZE;
	__asm__ volatile("leaq 3f(%%rip), %%rax\n"
			 "	movq %%rax, 24+%[s]\n"
			 "	leaq %[s], %%rax\n"
			 "	movq %%rax, (%[area])\n"
			 "	movl $2000, %%ebx\n"
			 "1:	movl %[yield], %%eax\n"
			 "	syscall\n"
			 "	decl %%ebx\n"
			 "	jnz 1b\n"
			 "	jmp 4f\n"
			 "	.byte 0x0f, 0xb9, 0x3d\n"
			 "	.long 0x53053053\n"
			 "3:	movq $1, %[was]\n"
			 "4:"
			 : [s] "+m"(sequence), [was] "+r"(was)
			 : [area] "r"(area), [yield] "i"(SYS_sched_yield)
			 : "rax", "rbx", "rcx", "r11", "memory", "cc");
	CHECK(!was && *area == (uint64_t)&sequence);
	return NULL;
}

static atomic_bool over;

/* So that there is somebody to be interrupted for. */
static void *loads(void *arg)
{
	while (!atomic_load(&over))
		;
	return arg;
}

int main(void)
{
	pthread_t load[4];
	unsigned moved = 0;

	if (!__rseq_size)
		SKIP("the C library has registered no area");
	st_init();
	for (unsigned i = 0; i < 4; i++)
		CHECK_ERR(-pthread_create(&load[i], NULL, loads, NULL), 0);
	for (unsigned i = 0; i < RUN_SLOW && !moved; i++)
		moved = (unsigned)spins();
	NOTE("moved natively: %u times", moved);
	CHECK(moved > 0);
	for (unsigned i = 0; i < 3; i++)
		ST_PASSES(NULL, is_not_moved, NULL);
	ST_PASSES(NULL, is_not_moved_by_it, (void *)(process.stack_top + OWN_GAP));
	atomic_store(&over, true);
	for (unsigned i = 0; i < 4; i++)
		CHECK_ERR(-pthread_join(load[i], NULL), 0);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
