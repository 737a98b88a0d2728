/* SPDX-License-Identifier: MIT */
/*
 * A recycled gate that makes compartments, and one of these calls it again by way of a native gate: the call is refused,
 * since it would wait for what waits for it.  And a fresh one: calls by way of children are not deeper than others.  World: host; gates that are not native, child() and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

static struct sthread_gate *ring, *back; /* recycled; native, which calls *trusted */
static struct sthread_policy *with_back;

static ssize_t calls_back(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len;
	return gate_answer(out, out_cap, gate_word_of(*(struct sthread_gate **)trusted, "x", 1));
}

/* Without a message: so that the gate that it calls makes a child again. */
static ssize_t calls_deeper(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len;
	return gate_answer(out, out_cap, gate_word_of(*(struct sthread_gate **)trusted, NULL, 0));
}

/* Of depth `arg`: what the native gate says to the last one. */
static void *child(void *arg)
{
	struct sthread_policy *p;
	struct sthread_result r;
	struct sthread_gate *g;

	if (!arg)
		return (void *)gate_word("back");
	CHECK_OK(sthread_gate_find(&g, "back"));
	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_gate(p, g));
	CHECK_OK(sthread_call(p, child, (char *)arg - 1, &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	return r.value;
}

/* A message: the end of the way.  None: by way of children, so many deep. */
static ssize_t spawns(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in;
	return gate_answer(out, out_cap, in_len ? 7 : (int64_t)child(trusted));
}

/* The same by one that a native gate runs. */
static ssize_t runs(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_result r = st_call(with_back, child, NULL);

	(void)trusted, (void)in, (void)in_len;
	ST_END(&r, STHREAD_RETURNED);
	return gate_answer(out, out_cap, (int64_t)r.value);
}

static ssize_t asks_runs(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in;
	return gate_answer(out, out_cap, in_len ? 7 : gate_word("runs"));
}

static ssize_t rests(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in;
	life_nap(100000);
	return gate_answer(out, out_cap, in_len ? 7 : 8);
}

static void *calls(void *g)
{
	return (void *)gate_word_of(g, NULL, 0);
}

ST_FN(asks_ring)
{
	return (void *)gate_word("ring");
}

/* The gate `back` leads to is busy with a call that waits for it; then, the twin, with one that does not. */
static void with_ring(sthread_gate_fn *fn, uintptr_t depth, struct sthread_policy *in_ring)
{
	struct sthread_gate *other = GATE(.name = "other", .fn = rests,
					  .kind = STHREAD_GATE_RECYCLED),
			    *leads;
	struct sthread_policy *caller;
	struct sthread_result r;

	ring = GATE(.name = "ring", .fn = fn, .policy = in_ring, .trusted = (void *)depth,
		    .kind = STHREAD_GATE_RECYCLED);
	leads = ring;
	caller = gate_policy(ring);
	for (int i = 0; i < 4; i++) {
		ring = i < 2 ? leads : other; /* what the native gate calls */
		if (i < 2) {
			CHECK_ERR((int)(intptr_t)calls(leads), -EDEADLK);
			/* A thread in sthread_call() is in no second one, by native gates neither. */
			r = st_both[i % 2 || fn == asks_runs](caller, asks_ring, NULL);
			ST_RETURNED(&r, -EDEADLK);
		} else {
			pthread_t t = life_thread(calls, other);

			life_nap(20000);
			r = st_both[i % 2 || fn == asks_runs](caller, asks_ring, NULL);
			ST_RETURNED(&r, 7);
			CHECK_EQ((intptr_t)life_join(t), 8);
		}
	}
	sthread_policy_destroy(caller);
	sthread_gate_destroy(leads);
	sthread_gate_destroy(other);
}

/* The limit of depth holds by way of children, and what they used is there again. */
static void deep(void)
{
	struct sthread_gate *deeper =
		GATE(.name = "back", .fn = calls_deeper, .native = true, .trusted = &ring);
	struct sthread_policy *p = gate_policy(deeper), *caller;
	struct sthread_result r;

	ring = GATE(.name = "ring", .fn = spawns, .policy = p, .trusted = (void *)1);
	caller = gate_policy(ring);
	for (int i = 0; i < 4; i++) {
		r = st_both[i % 2](caller, asks_ring, NULL);
		ST_RETURNED(&r, -ELOOP);
	}
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	sthread_gate_destroy(ring);
	sthread_gate_destroy(deeper);
}

int main(void)
{
	struct sthread_policy *with_run;
	struct sthread_result r;
	struct sthread_gate *run;

	st_init();
	run = GATE(.name = "runs", .fn = runs, .native = true);
	back = GATE(.name = "back", .fn = calls_back, .native = true, .trusted = &ring);
	with_run = gate_policy(run);
	with_back = gate_policy(back);
	for (uintptr_t depth = 1; depth < 4; depth++)
		with_ring(spawns, depth, with_back);
	with_ring(asks_runs, 0, with_run);
	deep();
	/* Nor is a child refused whose maker is in no gate. */
	ring = GATE(.name = "ring", .fn = rests, .kind = STHREAD_GATE_RECYCLED);
	for (int i = 0; i < 2; i++) {
		r = st_both[i](with_back, child, (void *)2);
		ST_RETURNED(&r, 7);
	}
	sthread_gate_destroy(ring);
	sthread_gate_destroy(back);
	sthread_gate_destroy(run);
	sthread_policy_destroy(with_back);
	sthread_policy_destroy(with_run);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
