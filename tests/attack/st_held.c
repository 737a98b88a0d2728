/* SPDX-License-Identifier: MIT */
/*
 * Tagged memory is not destroyed while anybody may touch it: a run, a gate's call, a recycled gate at rest, a waiting
 * child.  -EBUSY, and nothing is done; when the last of them has ended, it goes.  World: host; gates and ST_FN: inside.
 */
#include <stdatomic.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define BEFORE 0x11
#define AFTER  0x22

/* What is held: a tag; or a page in the middle of a mapping, which keeps the whole. */
static struct held {
	struct sthread_tag *tag; /* NULL: a mapping */
	void *map;
	_Atomic uint32_t *at; /* the memory */
} held;

static void make(bool map)
{
	void *at;

	held.tag = NULL;
	if (map) {
		CHECK_OK(sthread_map(3 * 4096, &held.map));
		at = (char *)held.map + 4096;
	} else {
		CHECK_OK(sthread_tag_create(&held.tag, "held", 4096));
		at = sthread_tag_start(held.tag);
	}
	held.at = at;
	atomic_store(held.at, BEFORE);
}

static int destroy(void)
{
	return held.tag ? sthread_tag_destroy(held.tag) : sthread_unmap(held.map);
}

static struct sthread_policy *holds(void)
{
	struct sthread_policy *p = st_policy();

	if (held.tag)
		CHECK_OK(sthread_policy_tag(p, held.tag, STHREAD_WRITE));
	else
		CHECK_OK(sthread_policy_memory(p, held.at, 4096, STHREAD_WRITE));
	return p;
}

/* Refused as often as it is tried; the memory is there, and what was written. */
static void is_held(void)
{
	for (int i = 0; i < 3; i++)
		CHECK_ERR(destroy(), -EBUSY);
	CHECK_EQ(atomic_load(held.at), AFTER);
}

static void goes(void)
{
	CHECK_OK(destroy());
}

/* ---- inside ---- */

/* Says that it is there, and waits until the master answers. */
static void *waits(void *arg)
{
	_Atomic uint32_t *at = arg;

	atomic_store(at, AFTER);
	while (atomic_load(at) == AFTER)
		__builtin_ia32_pause();
	return NULL;
}

static ssize_t gate_waits(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)out, (void)out_cap;
	if (in_len)
		waits(trusted);
	else
		atomic_store((_Atomic uint32_t *)trusted, AFTER);
	return 0;
}

ST_FN(asks)
{
	return (void *)gate_ask("held", "x", 1, NULL, 0);
}

/* A child that has it, too; arg: memory. */
ST_FN(has_child)
{
	struct sthread_policy *p;
	struct sthread *child;

	CHECK_OK(sthread_policy_create(&p));
	if (sthread_tag_of(arg))
		CHECK_OK(sthread_policy_tag(p, sthread_tag_of(arg), STHREAD_WRITE));
	else
		CHECK_OK(sthread_policy_memory(p, arg, 4096, STHREAD_WRITE));
	CHECK_OK(sthread_create(&child, p, waits, arg));
	return (void *)(intptr_t)sthread_join(child, NULL);
}

/* ---- who holds it ---- */

static void await(void)
{
	LIFE_UNTIL(atomic_load(held.at) == AFTER);
}

/* Ends by itself, or is killed. */
static void by_run(st_fn *fn, bool killed)
{
	struct sthread_policy *p = holds();
	struct sthread *st = st_create(p, fn, held.at);
	struct sthread_result r;

	await();
	is_held();
	sthread_policy_destroy(p);
	is_held();
	if (killed)
		CHECK_OK(sthread_kill(st));
	else
		atomic_store(held.at, BEFORE);
	r = st_join(st);
	if (killed)
		ST_END(&r, STHREAD_KILLED);
	else
		ST_RETURNED(&r, 0);
	goes();
}

static void by_gate(enum sthread_gate_kind kind)
{
	struct sthread_policy *own = holds(), *p;
	struct sthread_gate *g = GATE(.name = "held", .fn = gate_waits, .policy = own,
				      .trusted = held.at, .kind = kind);
	struct sthread_result r;
	struct sthread *st;

	sthread_policy_destroy(own);
	p = gate_policy(g);
	/* A call under way. */
	st = st_create(p, asks, NULL);
	await();
	is_held();
	atomic_store(held.at, BEFORE);
	r = st_join(st);
	ST_RETURNED(&r, 0);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
	/* At rest: a recycled one has a compartment that maps it; of a fresh one nothing is there. */
	if (kind == STHREAD_GATE_RECYCLED) {
		is_held();
	} else {
		goes();
		CHECK_ERR((int)sthread_gate_call(g, NULL, 0, NULL, 0), -EINVAL);
		r = st_call(p, asks, NULL);
		ST_RETURNED(&r, -EINVAL);
	}
	sthread_gate_destroy(g);
	if (kind == STHREAD_GATE_RECYCLED)
		goes();
	sthread_policy_destroy(p);
}

/* A gate that was never called holds nothing, however it is kept. */
static void by_nobody(enum sthread_gate_kind kind)
{
	struct sthread_policy *own = holds();
	struct sthread_gate *g = GATE(.name = "held", .fn = gate_waits, .policy = own,
				      .trusted = held.at, .kind = kind);

	goes();
	CHECK_ERR((int)sthread_gate_call(g, NULL, 0, NULL, 0), -EINVAL);
	sthread_gate_destroy(g);
	sthread_policy_destroy(own);
}

int main(void)
{
	st_init();
	for (int map = 0; map < 2; map++) {
		for (int killed = 0; killed < 2; killed++) {
			NOTE("%s, a run%s", map ? "a mapping" : "a tag", killed ? ", killed" : "");
			make(map);
			by_run(waits, killed);
			NOTE("its child");
			make(map);
			by_run(has_child, killed);
		}
		for (int kind = STHREAD_GATE_FRESH; kind <= STHREAD_GATE_RECYCLED; kind++) {
			NOTE("a gate of kind %d", kind);
			make(map);
			by_gate((enum sthread_gate_kind)kind);
			make(map);
			by_nobody((enum sthread_gate_kind)kind);
		}
	}
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
