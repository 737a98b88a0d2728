/* SPDX-License-Identifier: MIT */
/* cpu.h - the privileged and string instructions the monitor uses.  World: ring 0. */
#ifndef ARCH_X86_64_RING0_CPU_H
#define ARCH_X86_64_RING0_CPU_H

#include <stdint.h>

static inline void cpu_invlpg(uint64_t at)
{
	__asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
}

static inline uint64_t cpu_read_cr3(void)
{
	uint64_t v;

	__asm__ volatile("movq %%cr3, %0" : "=r"(v));
	return v;
}

static inline void cpu_write_cr3(uint64_t v)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(v) : "memory");
}

static inline void cpu_stosq(void *to, uint64_t value, uint64_t words)
{
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(value) : "memory");
}

static inline void cpu_movsq(void *to, const void *from, uint64_t words)
{
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

#endif
