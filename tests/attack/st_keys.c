/* SPDX-License-Identifier: MIT */
/*
 * Protection keys (WRPKRU, and XRSTOR, which loads the same register): inside they are no way to anything, and what one
 * run leaves in the register neither the next one nor the master finds.  Where ring 3 has none, the instructions are
 * faults.  World: host; ST_FN: inside.
 */
#include <cpuid.h>

#include "tests/st.h"

#define NO_KEY_BUT_0 0x55555554UL

static inline unsigned rdpkru(void)
{
	unsigned eax, edx;

	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

ST_FN(gives)
{
	return (void *)(uintptr_t)rdpkru();
}

ST_FN(sets)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(arg), "c"(0), "d"(0) : "memory");
	return (void *)(uintptr_t)rdpkru();
}

/* A state area as a signal frame would have one: nothing but the keys. */
ST_FN(restores)
{
	static _Alignas(64) unsigned char area[4096];
	const uint64_t keys = 1 << 9;
	unsigned eax, ebx, ecx, edx;

	__cpuid_count(0xd, 9, eax, ebx, ecx, edx);
	memcpy(area + 512, &keys, 8);
	if (ebx && ebx < sizeof(area) - 4)
		memcpy(area + ebx, &arg, 4);
	__asm__ volatile("xrstor64 %0" : : "m"(area), "a"(512), "d"(0) : "memory");
	return (void *)(uintptr_t)rdpkru();
}

ST_FN(nothing)
{
	return arg;
}

static bool master_has_keys(void)
{
	unsigned eax, ebx, ecx = 0, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ecx & 1u << 4;
}

static void none(void)
{
	struct sthread_result r;

	NOTE("no protection keys inside");
	r = st_run(NULL, gives, NULL);
	ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_IN(gives), NULL);
	r = st_call(NULL, sets, (void *)NO_KEY_BUT_0);
	ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_IN(sets), NULL);
	/* A component that is not enabled cannot be loaded. */
	r = st_call(NULL, restores, (void *)NO_KEY_BUT_0);
	ST_FAULTS(&r, STHREAD_FAULT_PROTECTION, ST_ANY, 0, ST_IN(restores), NULL);
}

static void no_residue(void)
{
	static st_fn *const loads[] = { sets, restores };
	struct sthread_result r;

	NOTE("protection keys inside");
	for (int i = 0; i < 4; i++) {
		r = (i % 2 ? st_run : st_call)(NULL, loads[i / 2], (void *)NO_KEY_BUT_0);
		ST_RETURNED(&r, NO_KEY_BUT_0); /* the twin */
		r = (i % 2 ? st_run : st_call)(NULL, gives, NULL);
		ST_RETURNED(&r, 0);
	}
}

int main(void)
{
	unsigned mine = master_has_keys() ? rdpkru() : 0;
	struct sthread_result r;

	st_init();
	r = st_call(NULL, nothing, (void *)42);
	ST_RETURNED(&r, 42);
	r = st_call(NULL, gives, NULL);
	if (r.end == STHREAD_RETURNED)
		no_residue();
	else
		none();
	if (master_has_keys())
		CHECK_EQ(rdpkru(), mine);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
