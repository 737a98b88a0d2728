/* SPDX-License-Identifier: MIT */
/*
 * A compartment cannot call a gate that it was not granted, whatever it takes for a handle; nor make a gate, or the
 * library, read or write for it what it may not itself; nor change the message while it is looked at; nor call out of
 * order; nor learn, change or replace the trusted argument.  World: host; gates and ST_FN: inside.
 */
#include "tests/st_gate.h"

#include <stdatomic.h>
#include <sys/mman.h>

static struct sthread_gate *mine, *others, *native; /* after the image: unknown inside */
static char *secret;	/* of the master, after the image */

static uint64_t denied_so_far(void)
{
	struct sthread_stats s;

	CHECK_OK(sthread_stats(&s));
	return s.gate_denied;
}

/* ---- gates ---- */

static ssize_t trusts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	(void)in_len;
	return gate_answer(out, out_cap, (int64_t)(uintptr_t)trusted);
}

static ssize_t echoes(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	if (in_len > out_cap)
		return -ENOSPC;
	memcpy(out, in, in_len);
	return (ssize_t)in_len;
}

/* Where its message is. */
static ssize_t where(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	(void)in_len;
	return gate_answer(out, out_cap, (int64_t)(uintptr_t)in);
}

static atomic_uint runs;

static ssize_t counts_runs(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	atomic_fetch_add(&runs, 1);
	return 0;
}

/* ---- handles ---- */

static uint64_t state = 88172645463325252;

static uint64_t xorshift(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

#define FORGED 400

/* arg: the handle of a gate that others were granted. */
ST_FN(forges)
{
	static char fake[512];
	struct sthread_gate *granted, *const not_granted = arg;
	uint64_t v = 0;

	CHECK_OK(sthread_gate_find(&granted, "mine"));
	memset(fake, 0xff, sizeof(fake));
	CHECK_ERR(sthread_gate_call(not_granted, NULL, 0, &v, 8), -ENOENT);
	CHECK_ERR(sthread_gate_call(NULL, NULL, 0, &v, 8), -ENOENT);
	CHECK_ERR(sthread_gate_call((void *)-1, NULL, 0, &v, 8), -ENOENT);
	CHECK_ERR(sthread_gate_call((void *)fake, NULL, 0, &v, 8), -ENOENT);
	CHECK_ERR(sthread_gate_call((void *)&granted, NULL, 0, &v, 8), -ENOENT);
	for (int bit = 0; bit < 64; bit++)
		CHECK_ERR(sthread_gate_call((void *)((uintptr_t)granted ^ 1UL << bit), NULL, 0, &v, 8), -ENOENT);
	for (int i = 0; i < FORGED - 69; i++)
		CHECK_ERR(sthread_gate_call((void *)xorshift(), NULL, 0, &v, 8), -ENOENT);
	CHECK_EQ(v, 0);
	CHECK_EQ(sthread_gate_call(granted, NULL, 0, &v, 8), 8);
	CHECK_EQ(v, 0x7777);
	return NULL;
}

ST_FN(finds_none)
{
	struct sthread_gate *g;

	CHECK_ERR(sthread_gate_find(&g, "mine"), -ENOENT);
	CHECK_ERR(sthread_gate_call(arg, NULL, 0, NULL, 0), -ENOENT);
	return NULL;
}

static void handles(void)
{
	struct sthread_policy *p = gate_policy(mine);
	uint64_t before = denied_so_far();

	ST_PASSES(p, forges, others);
	CHECK_EQ(denied_so_far() - before, FORGED);
	ST_PASSES(NULL, finds_none, mine);
	sthread_policy_destroy(p);
}

/* ---- confused deputies ---- */

static const char constant[64] = "constant";
static char data[3 * 4096];

/* A page, and nothing behind it. */
static char *edge(void)
{
	char *p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(!munmap(p + 4096, 4096));
	return p + 4096;
}

/* arg: the secret. */
ST_FN(deputy)
{
	static const char *const names[] = { "echo", "recycled", "native" };
	char *end = edge(), *none, *ro, out[64];
	struct sthread_gate *g, *w;
	char *there;

	none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(end - 4096, 'e', 4096);
	CHECK_OK(sthread_gate_find(&w, "where"));
	CHECK_EQ(sthread_gate_call(w, NULL, 0, &there, 8), 8);
	for (int k = 0; k < 3; k++) {
		void *const bad[] = { arg, NULL, (void *)8, none, end, end - 7, there, (void *)0x7ffffffff000, (void *)-8,
				      (void *)0x800000000000, (void *)0xffffffff80000000 };

		CHECK_OK(sthread_gate_find(&g, names[k]));
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			memset(out, 'o', sizeof(out));
			CHECK_MSG(sthread_gate_call(g, bad[i], 8, out, 64) == -EFAULT, "in: bad[%zu]", i);
			CHECK_EQ(out[0], 'o');
			CHECK_MSG(sthread_gate_call(g, "12345678", 8, bad[i], 8) == -EFAULT, "out: bad[%zu]", i);
		}
		/* Read-only: to read, not to write. */
		CHECK_ERR(sthread_gate_call(g, "12345678", 8, ro, 8), -EFAULT);
		CHECK_EQ(sthread_gate_call(g, ro, 8, out, 8), 8);
		CHECK_EQ(out[0] | out[7], 0);
		CHECK_ERR(sthread_gate_call(g, "12345678", 8, (void *)(uintptr_t)constant, 8), -EFAULT);
		CHECK_EQ(sthread_gate_call(g, constant, 8, out, 8), 8);
		CHECK_MEM(out, "constant", 8);
		CHECK_ERR(sthread_gate_call(g, "12345678", 8, (void *)(uintptr_t)memcpy, 8), -EFAULT);
		/* Lengths. */
		CHECK_ERR(sthread_gate_call(g, data, SIZE_MAX, out, 8), -EMSGSIZE);
		CHECK_ERR(sthread_gate_call(g, data, 8, out, SIZE_MAX), -EMSGSIZE);
		CHECK_ERR(sthread_gate_call(g, data, 1UL << 32, out, 8), -EMSGSIZE);
		CHECK_ERR(sthread_gate_call(g, data, 8, out, 1UL << 63), -EMSGSIZE);
		CHECK_ERR(sthread_gate_call(g, end - 4096, 4097, out, 64), -EFAULT);
		/* The twins: up to the edge, over a page's end, overlapping. */
		CHECK_EQ(sthread_gate_call(g, end - 8, 8, end - 8, 8), 8);
		CHECK_EQ(sthread_gate_call(g, "12345678", 8, data + 4092, 8), 8);
		CHECK_MEM(data + 4092, "12345678", 8);
		CHECK_EQ(sthread_gate_call(g, data + 4092, 8, data + 4094, 64), 8);
		CHECK_MEM(data + 4092, "1212345678", 10);
	}
	return NULL;
}

ST_FN(calls_counter)
{
	struct sthread_gate *g;
	char out[8];

	CHECK_OK(sthread_gate_find(&g, "runs"));
	CHECK_ERR(sthread_gate_call(g, arg, 8, out, 8), -EFAULT);
	CHECK_ERR(sthread_gate_call(g, out, 8, arg, 8), -EFAULT);
	return NULL;
}

ST_FN(calls_counter_well)
{
	char out[8] = "";

	CHECK_EQ(gate_ask("runs", out, 8, out, 8), 0);
	return arg;
}

static void deputies(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_gate *g[] = {
		GATE(.name = "echo", .fn = echoes), GATE(.name = "recycled", .fn = echoes, .kind = STHREAD_GATE_RECYCLED),
		GATE(.name = "native", .fn = echoes, .native = true), GATE(.name = "where", .fn = where),
		GATE(.name = "runs", .fn = counts_runs, .native = true),
	};
	struct sthread_result r;

	for (int i = 0; i < 5; i++)
		CHECK_OK(sthread_policy_gate(p, g[i]));
	ST_PASSES(p, deputy, secret);
	r = st_run(p, deputy, secret);
	ST_RETURNED(&r, 0);
	CHECK_STR(secret, "secret of the master");
	/* The buffers are checked before the gate runs. */
	ST_PASSES(p, calls_counter, secret);
	CHECK_EQ(atomic_load(&runs), 0);
	ST_PASSES(p, calls_counter_well, NULL);
	CHECK_EQ(atomic_load(&runs), 1);
	for (int i = 0; i < 5; i++)
		sthread_gate_destroy(g[i]);
	sthread_policy_destroy(p);
}

/* ---- trusted arguments, and what the caller hears of the gate ---- */

ST_FN(asks_trusted)
{
	CHECK_EQ(gate_word("mine"), 0x7777);
	CHECK_EQ(gate_word("native"), 0x8888);
	return NULL;
}

/* Spoils its message's frame and its own trusted argument, in a gate that keeps its memory. */
static ssize_t spoils(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	uint64_t *entry = (uint64_t *)((uintptr_t)in & ~4095UL), was = (uintptr_t)trusted;

	(void)in_len;
	memset(entry, 0x41, 32);
	return gate_answer(out, out_cap, (int64_t)was);
}

static void trusted(void)
{
	struct sthread_gate *s = GATE(.fn = spoils, .kind = STHREAD_GATE_RECYCLED, .trusted = (void *)0x9999);
	struct sthread_policy *p = gate_policy(mine);
	int64_t word;

	CHECK_OK(sthread_policy_gate(p, native));
	ST_PASSES(p, asks_trusted, NULL);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(sthread_gate_call(s, NULL, 0, &word, 8), 8);
		CHECK_EQ(word, 0x9999);
	}
	sthread_gate_destroy(s);
	sthread_policy_destroy(p);
}

/* ---- order ---- */

/* Fails when asked to. */
static ssize_t step(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)out, (void)out_cap;
	return in_len ? -ECONNREFUSED : 0;
}

static ssize_t go(const char *name, bool well)
{
	return gate_ask(name, "!", well ? 0 : 1, NULL, 0);
}

ST_FN(in_disorder)
{
	CHECK_ERR(go("read", true), -EPERM);
	CHECK_ERR(go("login", false), -ECONNREFUSED);
	CHECK_ERR(go("read", true), -EPERM); /* it failed */
	CHECK_ERR(go("login", false), -ECONNREFUSED);
	CHECK_EQ(go("login", true), 0);
	CHECK_ERR(go("login", true), -EPERM); /* three times */
	CHECK_EQ(go("read", true), 0);
	CHECK_EQ(go("read", true), 0);
	CHECK_EQ(go("leave", true), 0);
	CHECK_ERR(go("leave", true), -EPERM); /* once */
	CHECK_EQ(go("read", true), 0);
	CHECK_ERR(go("orphan", true), -EPERM); /* after one that is not granted */
	return arg;
}

/* What the caller did with buffers that it may not use was no call. */
ST_FN(bad_calls_count_not)
{
	struct sthread_gate *g;

	CHECK_OK(sthread_gate_find(&g, "leave"));
	CHECK_EQ(go("login", true), 0);
	CHECK_EQ(go("read", true), 0);
	for (int i = 0; i < 3; i++)
		CHECK_ERR(sthread_gate_call(g, NULL, 1, NULL, 0), -EFAULT);
	CHECK_EQ(go("leave", true), 0);
	return arg;
}

static void order(void)
{
	struct sthread_policy *p = st_policy();
	uint64_t before = denied_so_far();
	struct sthread_gate *g[5];
	struct sthread_result r;

	g[0] = GATE(.name = "login", .fn = step, .max_calls = 3);
	g[1] = GATE(.name = "read", .fn = step, .after = g[0], .kind = STHREAD_GATE_RECYCLED);
	g[2] = GATE(.name = "leave", .fn = step, .after = g[1], .max_calls = 1, .native = true);
	g[3] = GATE(.name = "elsewhere", .fn = step);
	g[4] = GATE(.name = "orphan", .fn = step, .after = g[3]);
	for (int i = 0; i < 5; i++)
		if (i != 3)
			CHECK_OK(sthread_policy_gate(p, g[i]));
	/* Each caller from the beginning: no lane, gate or policy remembers another. */
	for (int i = 0; i < 2; i++) {
		ST_PASSES(p, in_disorder, NULL);
		r = st_run(p, in_disorder, NULL);
		ST_RETURNED(&r, 0);
	}
	CHECK_EQ(denied_so_far() - before, 4 * 5);
	ST_PASSES(p, bad_calls_count_not, NULL);
	/* The master is not held to it. */
	CHECK_EQ(sthread_gate_call(g[2], NULL, 0, NULL, 0), 0);
	CHECK_EQ(sthread_gate_call(g[2], NULL, 0, NULL, 0), 0);
	for (int i = 0; i < 5; i++)
		sthread_gate_destroy(g[i]);
	sthread_policy_destroy(p);
}

/* ---- many ---- */

#define GATES 300

ST_FN(calls_every)
{
	char name[STHREAD_GATE_NAME];

	for (int i = 0; i < GATES; i += 7) {
		snprintf(name, sizeof(name), "gate %d", i);
		CHECK_EQ(gate_word(name), i);
	}
	return arg;
}

static void many(void)
{
	static struct sthread_gate *g[GATES];
	struct sthread_policy *p = st_policy();
	char name[STHREAD_GATE_NAME];

	for (int i = 0; i < GATES; i++) {
		snprintf(name, sizeof(name), "gate %d", i);
		g[i] = GATE(.name = name, .fn = trusts, .trusted = (void *)(intptr_t)i, .native = i % 2);
		CHECK_OK(sthread_policy_gate(p, g[i]));
	}
	ST_PASSES(p, calls_every, NULL);
	for (int i = 0; i < GATES; i++)
		sthread_gate_destroy(g[i]);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(secret, "secret of the master");
	mine = GATE(.name = "mine", .fn = trusts, .trusted = (void *)0x7777);
	others = GATE(.name = "others", .fn = trusts);
	native = GATE(.name = "native", .fn = trusts, .trusted = (void *)0x8888, .native = true);
	handles();
	deputies();
	trusted();
	order();
	many();
	sthread_gate_destroy(mine);
	sthread_gate_destroy(others);
	sthread_gate_destroy(native);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
