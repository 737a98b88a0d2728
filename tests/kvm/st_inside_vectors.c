/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions inside: the C library's string functions as it chose them for this processor, AVX2 and AVX-512
 * code, floating point; and that vector registers survive system calls, faults and being interrupted.  World: host;
 * ST_FN: inside.
 */
#include "tests/st.h"

#include <cpuid.h>
#include <float.h>
#include <math.h>
#include <sys/mman.h>
#include <time.h>

#define BIG 100000

static unsigned char from[BIG + 64], to[BIG + 64];
static bool has_avx2, has_avx512;

ST_FN(string_functions)
{
	static const unsigned lengths[] = { 0,	 1,   15,  16,	 17,   31,   33,    63,	  65,
					    127, 129, 255, 1000, 4095, 4097, 65537, 99000 };

	for (unsigned i = 0; i < BIG; i++)
		from[i] = (unsigned char)(i * 7 % 251 + 1);
	for (unsigned off = 0; off < 64; off += 9) {
		for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			unsigned n = lengths[i];
			unsigned char was = from[off + n];

			memset(to, 0, sizeof(to));
			CHECK(memcpy(to + 63 - off, from + off, n) == to + 63 - off);
			for (unsigned k = 0; k<n; k += n> 5000 ? 97 : 1)
				CHECK_EQ(to[63 - off + k], from[off + k]);
			CHECK_EQ(to[63 - off + n], 0);
			CHECK_EQ(memcmp(to + 63 - off, from + off, n), 0);
			from[off + n] = 0;
			CHECK_EQ(strlen((char *)from + off), n);
			CHECK(memchr(from + off, 0, BIG - off) == from + off + n);
			CHECK(strchr((char *)from + off, 0) == (char *)from + off + n);
			from[off + n] = was;
			memmove(to + 1, to, sizeof(to) - 1);
			CHECK_EQ(memcmp(to + 64 - off, from + off, n), 0);
		}
	}
	CHECK_HAS("a haystack with a needle in it, and far more of it than thirty-two bytes",
		  "needle");
	return NULL;
}

__attribute__((target("avx2"))) static void add_avx2(int *a, const int *b, int n)
{
	for (int i = 0; i < n; i += 8)
		__asm__ volatile(
			"vmovdqu %1, %%ymm0\n vpaddd %0, %%ymm0, %%ymm1\n vmovdqu %%ymm1, %0\n vzeroupper"
			: "+m"(*(int(*)[8])(a + i))
			: "m"(*(const int(*)[8])(b + i))
			: "xmm0", "xmm1");
}

__attribute__((target("avx512f"))) static void add_avx512(int *a, const int *b, int n)
{
	for (int i = 0; i < n; i += 16)
		__asm__ volatile(
			"vmovdqu32 %1, %%zmm16\n vpaddd %0, %%zmm16, %%zmm17\n vmovdqu32 %%zmm17, %0"
			: "+m"(*(int(*)[16])(a + i))
			: "m"(*(const int(*)[16])(b + i)));
}

ST_FN(adds)
{
	static int a[1024], b[1024];

	for (int way = 0; way < 2; way++) {
		if (!(way ? has_avx512 : has_avx2))
			continue;
		for (int i = 0; i < 1024; i++) {
			a[i] = i;
			b[i] = 3 * i;
		}
		(way ? add_avx512 : add_avx2)(a, b, 1024);
		for (int i = 0; i < 1024; i++)
			CHECK_EQ(a[i], 4 * i);
	}
	return NULL;
}

/* Upper halves and mask registers over calls that leave the compartment, and faults that are resolved. */
ST_FN(keeps_vectors)
{
	uint64_t in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[8] = { 0 }, k = 0;
	volatile char *fresh =
		mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 64; i++) {
		long r = SYS_sched_yield;

		if (has_avx512)
			__asm__ volatile(
				"vmovdqu64 %3, %%zmm30\n kmovw %k4, %%k3\n syscall\n movb $1, (%5)\n"
				" vmovdqu64 %%zmm30, %1\n kmovw %%k3, %k2"
				: "+a"(r), "=m"(out), "=r"(k)
				: "m"(in), "r"(0xabcd), "r"(fresh + i * 4096)
				: "rcx", "r11", "memory");
		else if (has_avx2)
			__asm__ volatile(
				"vmovdqu %2, %%ymm14\n syscall\n movb $1, (%3)\n vmovdqu %%ymm14, %1"
				: "+a"(r), "=m"(out)
				: "m"(in), "r"(fresh + i * 4096)
				: "rcx", "r11", "memory", "xmm14");
		else
			break;
		CHECK_EQ(memcmp(in, out, has_avx512 ? 64 : 32), 0);
		if (has_avx512)
			CHECK_EQ(k, 0xabcdu);
	}
	return NULL;
}

/* A long sum that is exact only if no register is ever lost while it is interrupted. */
ST_FN(sums_for_long)
{
	struct timespec now, end;
	unsigned rounds = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += 60000000;
	do {
		volatile double sum = 0;

		for (int i = 1; i <= 10000; i++)
			sum += i * 0.5;
		CHECK(sum == 25002500.0);
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec ||
		 (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	CHECK(rounds);
	return NULL;
}

ST_FN(floating_point)
{
	volatile double zero = 0, tiny = DBL_MIN, third = 1.0 / 3;
	volatile long double l = 1;

	CHECK(isinf(1 / zero) && isnan(zero / zero) && sqrt(-1.0 - zero) != 0);
	CHECK(tiny / 2 != 0); /* denormals are kept */
	CHECK(third * 3 == 1.0 && nearbyint(2.5) == 2.0);
	CHECK(l / 3 * 3 == 1 && sizeof(l) == 16 && l / 3 != (long double)third);
	return NULL;
}

/* Features that CPUID gives inside are there outside, and those that the C library chose by still work. */
ST_FN(asks_processor)
{
	unsigned a, b, c, d;

	CHECK(__get_cpuid(1, &a, &b, &c, &d));
	CHECK(d & 1 << 26);
	return NULL;
}

int main(void)
{
	has_avx2 = __builtin_cpu_supports("avx2");
	has_avx512 = __builtin_cpu_supports("avx512f");
	NOTE("avx2 %d, avx512f %d", has_avx2, has_avx512);
	st_init();
	for (int i = 0; i < 2; i++) {
		ST_PASSES(NULL, string_functions, NULL);
		ST_PASSES(NULL, adds, NULL);
		ST_PASSES(NULL, keeps_vectors, NULL);
		ST_PASSES(NULL, floating_point, NULL);
		ST_PASSES(NULL, asks_processor, NULL);
	}
	struct sthread *a = st_create(NULL, sums_for_long, NULL),
		       *b = st_create(NULL, sums_for_long, NULL);
	struct sthread_result r;

	ST_PASSES(NULL, sums_for_long, NULL);
	r = st_join(a);
	ST_RETURNED(&r, 0);
	r = st_join(b);
	ST_RETURNED(&r, 0);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
