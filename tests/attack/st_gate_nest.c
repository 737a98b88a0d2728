/* SPDX-License-Identifier: MIT */
/*
 * Gates that call gates: each with its own rights and no others, to a stated depth, and never into a deadlock, from
 * however many threads.  World: host; gates and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#include <stdatomic.h>

/* ---- rights ---- */

static ssize_t leaf(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_id id;

	(void)trusted, (void)in, (void)in_len;
	CHECK_OK(sthread_gate_caller(&id));
	return gate_answer(out, out_cap, (int64_t)id.run);
}

/* Its own gate, not its caller's other one.  Answers its own id, seen by the gate it calls. */
static ssize_t middle(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_gate *g;
	struct sthread_id id;
	int64_t me;

	(void)trusted;
	CHECK_ERR(sthread_gate_find(&g, "caller's"), -ENOENT);
	CHECK_EQ(in_len, sizeof(g));
	memcpy(&g, in, sizeof(g));
	CHECK_ERR(sthread_gate_call(g, NULL, 0, out, out_cap), -ENOENT);
	CHECK_OK(sthread_gate_caller(&id));
	me = gate_word("leaf");
	CHECK(me > 0 && (uint64_t)me != id.run);
	return gate_answer(out, out_cap, me);
}

ST_FN(calls_middle)
{
	struct sthread_gate *own;
	int64_t word, before = 0;

	CHECK_ERR(sthread_gate_find(&own, "leaf"), -ENOENT);
	CHECK_OK(sthread_gate_find(&own, "caller's"));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gate_ask(i ? "recycled" : "middle", &own, sizeof(own), &word, sizeof(word)), 8);
		CHECK_NE(word, before); /* each call is a run */
		before = word;
	}
	CHECK_EQ(sthread_gate_call(own, NULL, 0, &word, sizeof(word)), 8);
	return arg;
}

static void rights(void)
{
	struct sthread_gate *l = GATE(.name = "leaf", .fn = leaf), *own = GATE(.name = "caller's", .fn = leaf);
	struct sthread_policy *p = gate_policy(l), *caller = gate_policy(own);
	struct sthread_gate *m = GATE(.name = "middle", .fn = middle, .policy = p),
			    *r = GATE(.name = "recycled", .fn = middle, .policy = p, .kind = STHREAD_GATE_RECYCLED);
	struct sthread_result res;

	CHECK_OK(sthread_policy_gate(caller, m));
	CHECK_OK(sthread_policy_gate(caller, r));
	/* A gate took its policy's value: what is granted later is not its. */
	CHECK_OK(sthread_policy_gate(p, own));
	ST_PASSES(caller, calls_middle, NULL);
	res = st_run(caller, calls_middle, NULL);
	ST_RETURNED(&res, 0);
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	sthread_gate_destroy(l);
	sthread_gate_destroy(own);
	sthread_gate_destroy(m);
	sthread_gate_destroy(r);
}

/* ---- depth ---- */

static struct sthread_gate *next[40];

/* A native gate calls on, so that there can be a circle at all. */
static ssize_t deeper(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int64_t word = 0;
	ssize_t n = sthread_gate_call(trusted ? *(struct sthread_gate **)trusted : NULL, NULL, 0, &word, sizeof(word));

	(void)in, (void)in_len;
	return gate_answer(out, out_cap, n < 0 ? n == -ELOOP ? 1 : n : word + 1);
}

static ssize_t to_next(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int64_t word = gate_word("next");

	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, word == -ELOOP ? 1 : word < 0 ? word : word + 1);
}

ST_FN(asks_next)
{
	return (void *)gate_word("next");
}

static ssize_t faults(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len, (void)out;
	*(volatile char *)trusted = 1;
	return (ssize_t)out_cap;
}

/* As deep as can be: the record of that, too, is made on the one stack. */
static void deepest_fault(void)
{
	struct sthread_policy *p = NULL;
	struct sthread_result r;

	for (int i = 0; i < STHREAD_GATE_DEPTH; i++) {
		next[i] = GATE(.name = "next", .fn = i ? to_next : faults, .policy = p, .trusted = (void *)0x18,
			       .kind = i % 2 ? STHREAD_GATE_FRESH : STHREAD_GATE_RECYCLED);
		sthread_policy_destroy(p);
		p = gate_policy(next[i]);
	}
	for (int i = 0; i < 3; i++) {
		r = i ? st_run(p, asks_next, NULL) : st_call(p, asks_next, NULL);
		ST_RETURNED(&r, -EIO);
		CHECK_OK(sthread_gate_last_result(next[0], &r));
		CHECK(r.end == STHREAD_FAULTED && r.address == 0x18 && r.frames > 0);
		CHECK_ERR(sthread_gate_last_result(next[1], &r), -ENOENT);
	}
	sthread_policy_destroy(p);
	for (int i = 0; i < STHREAD_GATE_DEPTH; i++)
		sthread_gate_destroy(next[i]);
}

static void depth(void)
{
	struct sthread_gate *circle[2];
	struct sthread_policy *p = NULL;
	struct sthread_result r;
	int64_t word;

	/* Through itself, and through two. */
	circle[0] = GATE(.fn = deeper, .native = true, .trusted = &circle[0]);
	CHECK_EQ(sthread_gate_call(circle[0], NULL, 0, &word, sizeof(word)), 8);
	CHECK_EQ(word, STHREAD_GATE_DEPTH);
	sthread_gate_destroy(circle[0]);
	/* A chain of compartments, longer than that. */
	for (int i = 0; i < STHREAD_GATE_DEPTH + 4; i++) {
		next[i] = GATE(.name = "next", .fn = to_next, .policy = p);
		sthread_policy_destroy(p);
		p = gate_policy(next[i]);
	}
	for (int i = 0; i < 3; i++) {
		r = i ? st_run(p, asks_next, NULL) : st_call(p, asks_next, NULL);
		ST_RETURNED(&r, STHREAD_GATE_DEPTH);
	}
	sthread_policy_destroy(p);
	for (int i = 0; i < STHREAD_GATE_DEPTH + 4; i++)
		sthread_gate_destroy(next[i]);
}

/* ---- deadlock ---- */

static struct sthread_gate *a, *b;
static atomic_uint met;

/* Native: calls the gate that `trusted` points to, when two are here. */
static ssize_t crosses(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int64_t word = 0;
	ssize_t n;

	(void)in, (void)in_len;
	atomic_fetch_add(&met, 1);
	LIFE_UNTIL(atomic_load(&met) >= 2);
	n = sthread_gate_call(*(struct sthread_gate **)trusted, "x", 1, &word, sizeof(word));
	return gate_answer(out, out_cap, n < 0 ? n : word);
}

/* Recycled.  A message: the end of the way.  None: on. */
static ssize_t holds(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in;
	return gate_answer(out, out_cap, in_len ? 7 : gate_word("cross"));
}

static void *calls(void *g)
{
	return (void *)gate_word_of(g, NULL, 0);
}

ST_FN(asks_a)
{
	return (void *)gate_word("a");
}

ST_FN(asks_b)
{
	return (void *)gate_word("b");
}

static void deadlock(void)
{
	struct sthread_gate *to_a = GATE(.name = "cross", .fn = crosses, .native = true, .trusted = &a),
			    *to_b = GATE(.name = "cross", .fn = crosses, .native = true, .trusted = &b);
	struct sthread_policy *pa = gate_policy(to_b), *pb = gate_policy(to_a), *callers = st_policy();
	int64_t one, two;
	pthread_t t[2];

	a = GATE(.name = "a", .fn = holds, .policy = pa, .kind = STHREAD_GATE_RECYCLED);
	b = GATE(.name = "b", .fn = holds, .policy = pb, .kind = STHREAD_GATE_RECYCLED);
	CHECK_OK(sthread_policy_gate(callers, a));
	CHECK_OK(sthread_policy_gate(callers, b));
	/* One thread: a → b → a. */
	atomic_store(&met, 2);
	{
		struct sthread_gate *self = GATE(.name = "cross", .fn = crosses, .native = true, .trusted = &a);
		struct sthread_policy *ps = gate_policy(self);
		struct sthread_gate *first = a;

		a = GATE(.name = "a", .fn = holds, .policy = ps, .kind = STHREAD_GATE_RECYCLED);
		CHECK_EQ((intptr_t)calls(a), -EDEADLK);
		CHECK_EQ((intptr_t)calls(a), -EDEADLK);
		sthread_gate_destroy(a);
		a = first;
		sthread_gate_destroy(self);
		sthread_policy_destroy(ps);
	}
	/* The twin: a → b, nobody in the way. */
	CHECK_EQ((intptr_t)calls(a), 7);
	CHECK_EQ((intptr_t)calls(b), 7);
	/* Two threads, a → b and b → a at once: one of them is told, and the other served. */
	for (unsigned long i = test_scale(10); i; i--) {
		atomic_store(&met, 0);
		t[0] = life_thread(calls, a);
		t[1] = life_thread(calls, b);
		one = (intptr_t)life_join(t[0]);
		two = (intptr_t)life_join(t[1]);
		CHECK_MSG((one == 7 && two == -EDEADLK) || (one == -EDEADLK && two == 7), "%ld and %ld", (long)one,
			  (long)two);
	}
	for (unsigned long i = test_scale(10); i; i--) {
		struct sthread *st;
		struct sthread_result r;

		atomic_store(&met, 0);
		st = st_create(callers, asks_a, NULL);
		r = st_run(callers, asks_b, NULL);
		ST_END(&r, STHREAD_RETURNED);
		two = (intptr_t)r.value;
		r = st_join(st);
		ST_END(&r, STHREAD_RETURNED);
		one = (intptr_t)r.value;
		CHECK_MSG((one == 7 && two == -EDEADLK) || (one == -EDEADLK && two == 7), "%ld and %ld", (long)one,
			  (long)two);
	}
	sthread_gate_destroy(a);
	sthread_gate_destroy(b);
	sthread_gate_destroy(to_a);
	sthread_gate_destroy(to_b);
	sthread_policy_destroy(pa);
	sthread_policy_destroy(pb);
	sthread_policy_destroy(callers);
}

int main(void)
{
	st_init();
	rights();
	depth();
	deepest_fault();
	deadlock();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
