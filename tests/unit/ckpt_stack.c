/* SPDX-License-Identifier: MIT */
/* The top of the main stack: what the image has of it, and what it must not have. World: host. */
#include <elf.h>
#include <sys/auxv.h>

#include "checkpoint/stack.h"
#include "tests/test.h"

#define BASE	      0x7ffe00000000ull
#define LEN	      16384ul
#define RANDOM_INSIDE 0x123456780ull

static uint8_t in[LEN], out[LEN];
static uint64_t argc_at, random_at, argv0_at, execfn_at, platform_at, env_at, auxv_at, envp_at;

static void put(uint64_t at, uint64_t v)
{
	memcpy(in + (at - BASE), &v, 8);
}

static uint64_t get(uint64_t at)
{
	uint64_t v;

	memcpy(&v, out + (at - BASE), 8);
	return v;
}

static uint64_t put_string(uint64_t *at, const char *s)
{
	uint64_t here = *at;

	memcpy(in + (here - BASE), s, strlen(s) + 1);
	*at += strlen(s) + 1;
	return here;
}

/*
 * A stack as the kernel makes it; `nulls` extra NULLs after the environment, as unsetenv() leaves
 * them.
 */
static void make(int argc, int envc, int nulls)
{
	uint64_t at, strings = BASE + 8192;
	char s[64];

	memset(in, 0x5a, 2048); /* somebody's frames */
	memset(in + 2048, 0, LEN - 2048);
	argc_at = at = BASE + 2048;
	put(at, (uint64_t)argc);
	random_at = strings;
	for (int i = 0; i < 16; i++)
		in[random_at - BASE + (uint64_t)i] = (uint8_t)(0xa0 + i);
	strings += 16;
	platform_at = put_string(&strings, "x86_64");
	for (int i = 0; i < argc; i++) {
		snprintf(s, sizeof(s), i ? "arg-%d" : "the-program", i);
		put(at += 8, put_string(&strings, s));
		if (i == 0)
			argv0_at = strings - strlen(s) - 1;
	}
	put(at += 8, 0);
	envp_at = at + 8;
	for (int i = 0; i < envc; i++) {
		snprintf(s, sizeof(s), "SECRET_%d=hidden", i);
		env_at = strings;
		put(at += 8, put_string(&strings, s));
	}
	for (int i = 0; i <= nulls; i++)
		put(at += 8, 0);
	execfn_at = put_string(&strings, "/bin/the-program");
	auxv_at = at + 8;
	const uint64_t aux[][2] = {
		{ AT_SYSINFO_EHDR, 0x7fff12340000 },
		{ AT_HWCAP, 0xbfebfbff },
		{ AT_PAGESZ, 4096 },
		{ AT_RANDOM, random_at },
		{ AT_EXECFN, execfn_at },
		{ AT_PLATFORM, platform_at },
		{ AT_SECURE, 0 },
		{ AT_NULL, 0 },
	};
	for (size_t i = 0; i < sizeof(aux) / sizeof(aux[0]); i++) {
		put(at += 8, aux[i][0]);
		put(at += 8, aux[i][1]);
	}
}

static bool has(const void *what, size_t len)
{
	return memmem(out, LEN, what, len) != NULL;
}

static void build(bool environment, uint64_t keep)
{
	const struct ckpt_stack_rules rules = { .environment = environment,
						.at_random = RANDOM_INSIDE,
						.keep = keep };
	struct ckpt_stack s;

	CHECK_OK(ckpt_stack_parse(in, LEN, BASE, argc_at, &s));
	CHECK_EQ(s.envp_at, envp_at);
	CHECK_EQ(s.auxv_at, auxv_at);
	CHECK_EQ(s.auxv_pairs, 8);
	CHECK_EQ(s.random_at, random_at);
	memset(out, 0xee, LEN);
	ckpt_stack_build(out, in, LEN, BASE, &s, &rules);
	/* In both cases: */
	for (size_t i = 0; i < 2048; i++)
		CHECK_EQ(out[i], 0);
	CHECK(!has("\xa1\xa2\xa3", 3));
	CHECK_EQ(get(auxv_at + 3 * 16 + 8), RANDOM_INSIDE);
	for (int i = 0; i < 8; i++)
		if (i != 3)
			CHECK_MEM(out + (auxv_at - BASE) + i * 16, in + (auxv_at - BASE) + i * 16,
				  16);
	CHECK_STR((char *)out + (execfn_at - BASE), "/bin/the-program");
	CHECK_STR((char *)out + (platform_at - BASE), "x86_64");
}

static void without_environment(int argc, int envc, int nulls)
{
	make(argc, envc, nulls);
	build(false, 0);
	CHECK_EQ(get(argc_at), argc ? 1 : 0);
	if (argc) {
		CHECK_EQ(get(argc_at + 8), argv0_at);
		CHECK_STR((char *)out + (argv0_at - BASE), "the-program");
		CHECK_EQ(get(argc_at + 16), 0);
	}
	CHECK_EQ(get(envp_at), 0);
	CHECK(!has("SECRET", 6));
	CHECK(!has("arg-", 4));
	/* No pointer to them either. */
	if (envc)
		CHECK(!has(&env_at, 8));
}

static void with_environment(int argc, int envc, int nulls)
{
	make(argc, envc, nulls);
	build(true, 0);
	CHECK_EQ(get(argc_at), argc);
	CHECK_EQ(has("SECRET_0=hidden", 15), envc > 0);
	CHECK_EQ(has("arg-1", 5), argc > 1);
	if (envc)
		CHECK(has(&env_at, 8));
}

/* Pointers that the program changed do not bring in anything but strings. */
static void hostile_pointers(void)
{
	struct ckpt_stack s;

	make(3, 3, 0);
	put(argc_at + 8, BASE + 100); /* argv[0] in a frame */
	build(false, BASE + 200);
	CHECK(!has("\x5a\x5a", 2));
	put(argc_at + 8, envp_at); /* in the environment's pointers */
	build(false, 0);
	CHECK(!has(&env_at, 8));
	put(argc_at + 8, 0x1234); /* elsewhere: it stays what it is */
	build(false, 0);
	CHECK_EQ(get(argc_at + 8), 0x1234);
	make(3, 3, 0);
	build(false, env_at); /* the twin: a string that is to be kept is */
	CHECK(has("SECRET_2=hidden", 15));
	/* A string that does not end before the stack does. */
	make(1, 1, 0);
	memset(in + LEN - 100, 'x', 100);
	put(argc_at + 8, BASE + LEN - 100);
	build(false, 0);
	CHECK_EQ(out[LEN - 1], 'x');

	make(2, 2, 0);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at + 4, &s), -ENOTSUP);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, BASE - 8, &s), -ENOTSUP);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, BASE + LEN, &s), -ENOTSUP);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at - 8, &s), -ENOTSUP);
	put(argc_at, UINT64_MAX);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at, &s), -ENOTSUP);
	put(argc_at, 100000);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at, &s), -ENOTSUP);
	put(argc_at, 1);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at, &s), -ENOTSUP);
	make(2, 2, 0);
	put(auxv_at + 3 * 16 + 8, BASE + LEN - 15); /* AT_RANDOM reaches past the end */
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at, &s), -ENOTSUP);
	put(auxv_at + 3 * 16 + 8, argc_at);
	CHECK_ERR(ckpt_stack_parse(in, LEN, BASE, argc_at, &s), -ENOTSUP);
	/* Cut off anywhere: never a byte too far. */
	make(2, 2, 0);
	for (size_t n = 0; n < auxv_at - BASE + 8 * 16; n += 8) {
		uint8_t *cut = malloc(n ? n : 1);

		CHECK(cut);
		memcpy(cut, in, n);
		CHECK_ERR(ckpt_stack_parse(cut, n, BASE, argc_at, &s), -ENOTSUP);
		free(cut);
	}
}

static void random_bytes(void)
{
	uint64_t seed = 1;
	struct ckpt_stack s;
	unsigned long rounds = test_scale(20000);

	for (unsigned long i = 0; i < rounds; i++) {
		const struct ckpt_stack_rules rules = { .environment = i & 1,
							.at_random = 1,
							.keep = BASE + seed % LEN };

		make((int)(i % 4), (int)(i % 3), (int)(i % 2));
		for (int k = 0; k < 6; k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			put(argc_at + (seed >> 33) % 60 * 8,
			    (seed >> 20) & 1 ? BASE + (seed >> 40) % LEN : seed >> (seed & 63));
		}
		if (!ckpt_stack_parse(in, LEN, BASE, argc_at, &s))
			ckpt_stack_build(out, in, LEN, BASE, &s, &rules);
	}
}

/* This program's own stack. */
static void real(char **argv)
{
	uint64_t at = (uint64_t)(argv - 1);
	struct ckpt_stack s;

	CHECK_OK(ckpt_stack_parse((uint8_t *)(at & ~4095ul),
				  (getauxval(AT_EXECFN) | 7) + 1 - (at & ~4095ul), at & ~4095ul, at,
				  &s));
	CHECK_EQ(s.random_at, getauxval(AT_RANDOM));
	CHECK_EQ(s.envp_at, (uint64_t)environ);
}

int main(int argc, char **argv)
{
	(void)argc;
	for (int i = 0; i < 4; i++)
		for (int e = 0; e < 4; e++)
			for (int n = 0; n < 3; n++) {
				without_environment(i, e, n);
				with_environment(i, e, n);
			}
	hostile_pointers();
	random_bytes();
	real(argv);
	return TEST_PASSED;
}
