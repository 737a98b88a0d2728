/* SPDX-License-Identifier: MIT */
/*
 * Instructions instead of time.  World: host, and inside.
 *
 * On the emulated computer of `scripts/vm-run --icount` the time stamp counter goes up by one with
 * each instruction, in whatever mode, ring or virtual machine. While the processor has nothing to
 * do, it jumps to when the next timer is due: a wait counts as an instruction per nanosecond.
 */
#include "bench/bench.h"

uint64_t instructions(void)
{
	return __builtin_ia32_rdtsc();
}

/* A loop of five instructions. */
static uint64_t count_loop(uint64_t n)
{
	uint64_t start = instructions();

	__asm__ volatile("1:	nop\n"
			 "	nop\n"
			 "	nop\n"
			 "	dec	%0\n"
			 "	jnz	1b"
			 : "+r"(n));
	return instructions() - start;
}

/* Of three tries: an interrupt may fall into one. No processor has all of them by chance. */
bool instructions_counted(void)
{
	unsigned exact = 0;

	(void)count_loop(1);
	for (unsigned i = 0; i < 3; i++)
		exact += count_loop(2000) - count_loop(1000) == 5000;
	return exact >= 2;
}
