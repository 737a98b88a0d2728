/* SPDX-License-Identifier: MIT */
/*
 * Whatever registers and stack say, a backtrace ends, has its first frame, and holds only code
 * after that. World: host.
 */
#include "sthread/report/unwind.h"
#include "tests/test.h"

static uint64_t seed = 88172645463325252u;
static unsigned long calls;

static uint64_t random_word(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Addresses of code, where an attacker would point a made-up stack. */
static uint64_t some_code(void)
{
	static void *const code[] = { (void *)random_word, (void *)unwind_frames, (void *)printf,
				      (void *)qsort, (void *)memcpy };

	return (uint64_t)(uintptr_t)code[random_word() % 5] + random_word() % 256;
}

static bool never(void *ctx, uint64_t addr, uint64_t *out)
{
	(void)ctx, (void)addr, (void)out;
	calls++;
	return false;
}

static bool noise(void *ctx, uint64_t addr, uint64_t *out)
{
	(void)ctx, (void)addr;
	calls++;
	*out = random_word();
	return random_word() % 16 != 0;
}

/* Mostly return addresses, and frame pointers that lead back to where they lie. */
static bool plausible(void *ctx, uint64_t addr, uint64_t *out)
{
	(void)ctx;
	calls++;
	*out = random_word() % 3 ? some_code() : addr + 8 * (random_word() % 8) - 32;
	return true;
}

static bool self_loop(void *ctx, uint64_t addr, uint64_t *out)
{
	(void)addr;
	calls++;
	*out = *(uint64_t *)ctx;
	return true;
}

static unsigned unwind(const struct unwind_regs *r,
		       bool (*read_word)(void *ctx, uint64_t addr, uint64_t *out), void *ctx)
{
	uint64_t f[64];
	struct unwind_symbol sym;
	unsigned n;

	memset(f, 0xa5, sizeof(f));
	calls = 0;
	n = unwind_frames(r, read_word, ctx, f, 64);
	CHECK_GE(n, 1);
	CHECK_LE(n, UNWIND_FRAMES);
	CHECK_LE(calls, 4096);
	CHECK_EQ(f[0], r->rip);
	for (unsigned i = 1; i < n; i++)
		CHECK(unwind_symbol(f[i], true, &sym));
	for (unsigned i = n; i < 64; i++)
		CHECK_EQ(f[i], 0xa5a5a5a5a5a5a5a5u);
	return n;
}

int main(void)
{
	unsigned rounds = (unsigned)test_scale(2000), longest = 0;
	struct unwind_regs r;

	for (unsigned i = 0; i < rounds; i++) {
		bool (*const how[])(void *, uint64_t, uint64_t *) = { never, noise, plausible };
		unsigned n;

		for (unsigned k = 0; k < 16; k++)
			r.gpr[k] = random_word() % 4 ? random_word() : some_code();
		r.rip = random_word() % 4 ? some_code() : random_word();
		n = unwind(&r, how[i % 3], NULL);
		longest = n > longest ? n : longest;
	}
	NOTE("longest chain made of noise: %u", longest);

	NOTE("every word of the stack is one return address; every word points to itself");
	for (unsigned i = 0; i < 256; i++) {
		uint64_t word = i < 128 ? some_code() : (uint64_t)(uintptr_t)&r;

		memset(&r, 0, sizeof(r));
		r.rip = i % 2 ? word : 0;
		r.gpr[6] = r.gpr[7] = i % 4 ? word : (uint64_t)(uintptr_t)&word;
		unwind(&r, self_loop, &word);
	}

	NOTE("registers at the ends of the address space");
	for (unsigned i = 0; i < 64; i++) {
		memset(&r, i % 2 ? 0xff : 0, sizeof(r));
		r.rip = i % 4 < 2 ? some_code() : r.rip;
		unwind(&r, i % 3 ? never : noise, NULL);
	}
	unwind_fini();
	return TEST_PASSED;
}
