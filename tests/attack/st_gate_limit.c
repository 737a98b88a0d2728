/* SPDX-License-Identifier: MIT */
/*
 * The limit on gate calls is exact: so many are entered and not one more, whichever gates they are of and however they
 * end, in a run and in all that it makes together.  World: host; gates that are not native and ST_FN: inside.
 */
#include <stdatomic.h>

#include "tests/st_gate.h"

static _Atomic uint64_t entered; /* of the native gate */

/* in: what it does; none: nothing. */
static ssize_t does(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char what = in_len ? *(const char *)in : 0;

	(void)trusted, (void)out, (void)out_cap;
	if (what == 'f')
		*(volatile char *)NULL = 0;
	return what == 'e' ? -EPIPE : 0;
}

static ssize_t counts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	atomic_fetch_add(&entered, 1);
	return does(trusted, in, in_len, out, out_cap);
}

static ssize_t one(char what)
{
	return gate_ask("gate", &what, 1, NULL, 0);
}

static void some(uintptr_t n)
{
	while (n--)
		CHECK_EQ(gate_ask("gate", NULL, 0, NULL, 0), 0);
}

static void expect_over(const struct sthread_result *r, uint64_t calls)
{
	ST_LIMIT(r, STHREAD_LIMIT_GATE_CALLS);
	CHECK_EQ((uint64_t)r->value, calls);
	CHECK_HAS(st_words(r), "gate calls");
}

/* ---- one run ---- */

ST_FN(asks)
{
	some((uintptr_t)arg);
	return NULL;
}

static void exact(struct sthread_policy *p, bool native)
{
	static const uint64_t limits[] = { 0, 1, 5 };
	struct sthread_result r;

	for (unsigned i = 0; i < 6; i++) {
		uint64_t n = limits[i / 2];

		st_limit(p, STHREAD_LIMIT_GATE_CALLS, n);
		for (int again = 0; again < 2; again++) { /* each run begins at nothing */
			atomic_store(&entered, 0);
			r = st_both[i % 2](p, asks, (void *)n);
			ST_RETURNED(&r, 0);
			r = st_both[i % 2](p, asks, (void *)(n + 1));
			expect_over(&r, n);
			CHECK_EQ(atomic_load(&entered), native ? 2 * n : 0);
		}
	}
	st_limit(p, STHREAD_LIMIT_GATE_CALLS, UINT64_MAX - 1);
	ST_PASSES(p, asks, 20);
	st_limit(p, STHREAD_LIMIT_GATE_CALLS, UINT64_MAX); /* none, as at first */
	ST_PASSES(p, asks, 20);
}

/* How calls end does not matter; those that do not reach the gate are none, at the limit, too.  It is four. */
ST_FN(asks_badly)
{
	struct sthread_gate *g, *counted;
	bool native = arg != NULL;

	CHECK_OK(sthread_gate_find(&g, "gate"));
	CHECK_OK(sthread_gate_find(&counted, "once"));
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 5; k++) {
			CHECK_ERR((int)sthread_gate_call(g, (void *)1, 1, NULL, 0), -EFAULT);
			CHECK_ERR((int)sthread_gate_call(g, NULL, 0, (void *)1, 1), -EFAULT);
			CHECK_ERR((int)sthread_gate_call(g, NULL, STHREAD_GATE_MESSAGE + 1, NULL,
							 0),
				  -EMSGSIZE);
			CHECK_ERR((int)sthread_gate_call((void *)((uintptr_t)g + 1), NULL, 0, NULL,
							 0),
				  -ENOENT);
			if (i)
				CHECK_ERR((int)sthread_gate_call(counted, NULL, 0, NULL, 0),
					  -EPERM);
		}
		if (i == 0) {
			CHECK_EQ(sthread_gate_call(counted, NULL, 0, NULL, 0), 0);
			CHECK_ERR((int)one('e'), -EPIPE);
		}
		if (i == 1) {
			CHECK_EQ(one(native ? 'e' : 'f'), native ? -EPIPE : -EIO);
			CHECK_EQ(one(0), 0);
		}
	}
	one(0);
	return NULL;
}

/* ---- a gate's own ---- */

/* in: how many calls of the inner gate. */
static ssize_t relays(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)out, (void)out_cap;
	CHECK_EQ(in_len, 1);
	some(*(const unsigned char *)in);
	return 0;
}

ST_FN(asks_relay)
{
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gate_ask("relay", "\2", 1, NULL, 0), 0);
		CHECK_ERR((int)gate_ask("relay", "\3", 1, NULL, 0), -EDQUOT);
	}
	return arg;
}

/* Each call of a gate is a run; and its calls are its own, not its caller's. */
static void of_gates(struct sthread_policy *inner)
{
	st_limit(inner, STHREAD_LIMIT_GATE_CALLS, 2);
	for (int kind = 0; kind < 2; kind++) {
		struct sthread_gate *g = GATE(.name = "relay", .fn = relays, .policy = inner,
					      .kind = (enum sthread_gate_kind)kind);
		struct sthread_policy *p = gate_policy(g);
		struct sthread_result r;

		st_limit(p, STHREAD_LIMIT_GATE_CALLS, 6);
		for (int i = 0; i < 2; i++) {
			r = st_both[i](p, asks_relay, NULL);
			ST_RETURNED(&r, 0);
			CHECK_OK(sthread_gate_last_result(g, &r));
			expect_over(&r, 2);
		}
		/* Nobody counts for the master. */
		for (int i = 0; i < 10; i++)
			CHECK_EQ(sthread_gate_call(g, "\2", 1, NULL, 0), 0);
		sthread_policy_destroy(p);
		sthread_gate_destroy(g);
	}
}

/* ---- a run and what it makes: the root's limit is ten ---- */

static struct sthread_policy *part(uint64_t calls)
{
	struct sthread_policy *p;
	struct sthread_gate *g;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_gate_find(&g, "gate"));
	CHECK_OK(sthread_policy_gate(p, g));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, calls));
	return p;
}

/* Has four: makes one that has three, and uses up `arg`. */
ST_FN(has_child)
{
	struct sthread_policy *p = part(3);
	struct sthread_result r;

	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, 5), -EPERM);
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, UINT64_MAX), -EPERM);
	CHECK_OK(sthread_call(p, asks, arg, &r));
	return (void *)(uintptr_t)r.end;
}

/* Nothing comes back but what was not used, from whatever depth. */
ST_FN(has_grandchild)
{
	struct sthread_policy *p = part(4);
	struct sthread_result r;

	CHECK_OK(sthread_call(p, has_child, (void *)3, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)STHREAD_RETURNED);
	CHECK_OK(sthread_call(p, has_child, (void *)2, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)STHREAD_RETURNED);
	some((uintptr_t)arg); /* of five */
	return NULL;
}

/* Four are the child's until it is joined; of these it uses two, or more than it may: all of them. */
ST_FN(has_part)
{
	struct sthread_policy *p = part(4), *rest = part(7);
	struct sthread_result r;
	struct sthread *st;
	bool all = (uintptr_t)arg & 1, before = (uintptr_t)arg & 2;

	CHECK_OK(sthread_create(&st, p, asks, all ? (void *)5 : (void *)2));
	CHECK_ERR(sthread_call(rest, asks, NULL, &r), -EDQUOT);
	some(6);
	if (before)
		some(1);
	CHECK_OK(sthread_join(st, &r));
	CHECK_EQ(r.end, all ? STHREAD_OVER_LIMIT : STHREAD_RETURNED);
	if (all)
		CHECK(r.limit == STHREAD_LIMIT_GATE_CALLS && r.value == (void *)4);
	else
		some(2);
	some((uintptr_t)arg >> 2);
	return NULL;
}

static void parted(struct sthread_policy *p)
{
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_GATE_CALLS, 10);
	for (int i = 0; i < 2; i++) {
		r = st_both[i](p, has_grandchild, (void *)5);
		ST_RETURNED(&r, 0);
		r = st_both[i](p, has_grandchild, (void *)6);
		expect_over(&r, 10);
		for (uintptr_t all = 0; all < 2; all++) {
			r = st_both[i](p, has_part, (void *)all);
			ST_RETURNED(&r, 0);
			r = st_both[i](p, has_part, (void *)(all | 1 << 2));
			expect_over(&r, 10);
			r = st_both[i](p, has_part, (void *)(all | 2));
			expect_over(&r, 10);
		}
	}
}

int main(void)
{
	st_init();
	for (int k = 0; k < 3; k++) {
		bool native = k == 2;
		struct sthread_gate *g = native ? GATE(.name = "gate", .fn = counts,
						       .native = true) :
						  GATE(.name = "gate", .fn = does,
						       .kind = (enum sthread_gate_kind)k),
				    *once = GATE(.name = "once", .fn = does, .max_calls = 1);
		struct sthread_policy *p = gate_policy(g), *inner = gate_policy(g);
		struct sthread_result r;

		NOTE("gate %d", k);
		exact(p, native);
		parted(p);
		CHECK_OK(sthread_policy_gate(p, once));
		st_limit(p, STHREAD_LIMIT_GATE_CALLS, 4);
		for (int i = 0; i < 2; i++) {
			r = st_both[i](p, asks_badly, native ? p : NULL);
			expect_over(&r, 4);
		}
		of_gates(inner);
		st_others_live();
		sthread_policy_destroy(p);
		sthread_policy_destroy(inner);
		sthread_gate_destroy(g);
		sthread_gate_destroy(once);
	}
	sthread_fini();
	return TEST_PASSED;
}
