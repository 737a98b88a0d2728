/* SPDX-License-Identifier: MIT */
/*
 * What calls a gate can be stopped wherever the call is: in a gate, in a gate's gate, in a queue, under a native gate, at
 * any moment; a gate's own limit ends the gate alone; and without anything left to run a gate with, the caller goes on.
 * World: host; gates and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#include <stdatomic.h>
#include <sys/resource.h>

#define SOON 5000000000UL /* generous: the emulated machine is slow, and never as slow as for ever */

/* ---- gates ---- */

static ssize_t spins(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out;
	for (;;)
		__asm__ volatile("");
	return (ssize_t)out_cap;
}

static ssize_t reads(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char c;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	return read((int)(intptr_t)trusted, &c, 1) < 0 ? -errno : 0;
}

static ssize_t calls_inner(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return gate_ask("inner", NULL, 0, NULL, 0);
}

/* Native: calls the gate `trusted`, and goes on when that has ended. */
static atomic_uint native_started, native_done;
static _Atomic ssize_t native_saw;

static ssize_t native_calls(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len, (void)out, (void)out_cap;
	atomic_fetch_add(&native_started, 1);
	atomic_store(&native_saw, sthread_gate_call(trusted, NULL, 0, NULL, 0));
	atomic_fetch_add(&native_done, 1);
	return 0;
}

/* Native: not to be ended half way. */
static ssize_t native_sleeps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct timespec t = { 0, 300000000 };

	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	atomic_fetch_add(&native_started, 1);
	CHECK_OK(nanosleep(&t, NULL));
	atomic_fetch_add(&native_done, 1);
	return 0;
}

/* ---- inside ---- */

ST_FN(asks)
{
	return (void *)gate_ask("outer", arg, 0, NULL, 0);
}

ST_FN(asks_on)
{
	for (;;)
		CHECK_EQ(gate_ask("outer", arg, 0, NULL, 0), 0);
	return NULL;
}

ST_FN(has_none)
{
	struct sthread_gate *g;

	CHECK_ERR(sthread_gate_find(&g, "outer"), -ENOENT);
	return arg;
}

/* ---- the master ---- */

/* When to kill: at once, when it has been in there for a while, when a native gate has begun. */
enum when { AT_ONCE, LATER, IN_NATIVE };

/* How long it takes to take effect is bounded. */
static void killed(const char *where, struct sthread_policy *p, enum when when)
{
	unsigned before = atomic_load(&native_started);
	struct sthread *st = st_create(p, asks, NULL);
	struct sthread_result r;
	uint64_t start;

	NOTE("killed %s", where);
	if (when == LATER)
		life_nap(60000);
	if (when == IN_NATIVE)
		LIFE_UNTIL(atomic_load(&native_started) > before);
	start = life_now();
	CHECK_OK(sthread_kill(st));
	r = st_join(st);
	ST_END(&r, STHREAD_KILLED);
	CHECK_LT(life_now() - start, SOON);
}

/* Its wall limit: the same, and on the program's own thread. */
static void limited(const char *where, struct sthread_policy *p)
{
	struct sthread_result r;
	uint64_t start = life_now();

	NOTE("over its time %s", where);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 80000000);
	r = st_call(p, asks, NULL);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	r = st_run(p, asks, NULL);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	CHECK_LT(life_now() - start, 2 * SOON);
}

static void stopped(const char *where, struct sthread_policy *p)
{
	killed(where, p, LATER);
	killed(where, p, AT_ONCE);
	limited(where, p);
	sthread_policy_destroy(p);
}

static void in_gates(void)
{
	struct sthread_policy *p = st_policy(), *q;
	struct sthread_gate *outer, *inner;
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	st_allow(p, SYS_read);
	st_grant(p, fd[0], STHREAD_FD_READ);
	for (int kind = 0; kind < 2; kind++) {
		outer = GATE(.name = "outer", .fn = spins, .kind = (enum sthread_gate_kind)kind);
		stopped("in a gate that spins", gate_policy(outer));
		sthread_gate_destroy(outer);
		outer = GATE(.name = "outer", .fn = reads, .policy = p, .trusted = (void *)(intptr_t)fd[0],
			     .kind = (enum sthread_gate_kind)kind);
		stopped("in a gate that reads", gate_policy(outer));
		sthread_gate_destroy(outer);
		inner = GATE(.name = "inner", .fn = spins, .kind = (enum sthread_gate_kind)kind);
		q = gate_policy(inner);
		outer = GATE(.name = "outer", .fn = calls_inner, .policy = q, .kind = (enum sthread_gate_kind)kind);
		stopped("in a gate's gate", gate_policy(outer));
		sthread_gate_destroy(outer);
		sthread_gate_destroy(inner);
		sthread_policy_destroy(q);
	}
	sthread_policy_destroy(p);
	close(fd[0]);
	close(fd[1]);
}

static void in_queue(void)
{
	struct sthread_gate *busy = GATE(.name = "outer", .fn = spins, .kind = STHREAD_GATE_RECYCLED), *outer;
	struct sthread_policy *p = gate_policy(busy), *q;
	struct sthread *holder = st_create(p, asks, NULL);
	struct sthread_result r;

	life_nap(60000);
	stopped("in a queue", gate_policy(busy));
	/* Beneath a native gate, which goes on. */
	outer = GATE(.name = "outer", .fn = native_calls, .native = true, .trusted = busy);
	atomic_store(&native_saw, 0);
	q = gate_policy(outer);
	killed("in a queue, under a native gate", q, IN_NATIVE);
	sthread_policy_destroy(q);
	CHECK_EQ(atomic_load(&native_done), atomic_load(&native_started));
	CHECK_EQ(atomic_load(&native_saw), -ECANCELED);
	CHECK_OK(sthread_kill(holder));
	r = st_join(holder);
	ST_END(&r, STHREAD_KILLED);
	sthread_gate_destroy(outer);
	sthread_gate_destroy(busy);
	sthread_policy_destroy(p);
}

static void under_native(void)
{
	struct sthread_gate *inner = GATE(.fn = spins),
			    *outer = GATE(.name = "outer", .fn = native_calls, .native = true, .trusted = inner);
	struct sthread_policy *p;

	p = gate_policy(outer);
	killed("under a native gate", p, IN_NATIVE);
	CHECK_EQ(atomic_load(&native_saw), -ECANCELED);
	limited("under a native gate", p);
	CHECK_EQ(atomic_load(&native_done), atomic_load(&native_started));
	sthread_policy_destroy(p);
	sthread_gate_destroy(outer);
	sthread_gate_destroy(inner);
	/* The native function itself is not ended, nor its sleep. */
	outer = GATE(.name = "outer", .fn = native_sleeps, .native = true);
	p = gate_policy(outer);
	killed("in a native gate", p, IN_NATIVE);
	CHECK_EQ(atomic_load(&native_done), atomic_load(&native_started));
	limited("in a native gate", p);
	CHECK_EQ(atomic_load(&native_done), atomic_load(&native_started));
	sthread_policy_destroy(p);
	sthread_gate_destroy(outer);
}

/* The gate's limit is the gate's, inner or outer. */
static void own_limit(void)
{
	struct sthread_policy *brief = st_policy(), *p, *q;
	struct sthread_gate *inner, *outer;
	struct sthread_result r;

	st_limit(brief, STHREAD_LIMIT_WALL_NS, 80000000UL * st_slow()); /* enough for the outer to call the inner */
	inner = GATE(.name = "inner", .fn = spins, .policy = brief);
	p = gate_policy(inner);
	outer = GATE(.name = "outer", .fn = calls_inner, .policy = p);
	q = gate_policy(outer);
	for (int i = 0; i < 3; i++) {
		r = i ? st_run(q, asks, NULL) : st_call(q, asks, NULL);
		ST_RETURNED(&r, -ETIMEDOUT);
	}
	sthread_gate_destroy(inner);
	sthread_gate_destroy(outer);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	/* Of the outer: the inner goes with it. */
	inner = GATE(.name = "inner", .fn = spins);
	CHECK_OK(sthread_policy_gate(brief, inner));
	outer = GATE(.name = "outer", .fn = calls_inner, .policy = brief);
	q = gate_policy(outer);
	r = st_run(q, asks, NULL);
	ST_RETURNED(&r, -ETIMEDOUT);
	CHECK_OK(sthread_gate_last_result(inner, &r));
	ST_END(&r, STHREAD_KILLED);
	sthread_gate_destroy(inner);
	sthread_gate_destroy(outer);
	sthread_policy_destroy(brief);
	sthread_policy_destroy(q);
}

/* Callers of all kinds of gates, killed at any moment. */
static void any_moment(void)
{
	struct sthread_gate *inner = GATE(.name = "inner", .fn = gate_nothing, .kind = STHREAD_GATE_RECYCLED), *g[4];
	struct sthread_policy *p = gate_policy(inner), *caller[4];
	unsigned long rounds = test_scale(150);
	struct sthread_result r;

	g[0] = GATE(.name = "outer", .fn = gate_nothing);
	g[1] = GATE(.name = "outer", .fn = calls_inner, .policy = p);
	g[2] = GATE(.name = "outer", .fn = calls_inner, .policy = p, .kind = STHREAD_GATE_RECYCLED);
	g[3] = GATE(.name = "outer", .fn = native_calls, .native = true, .trusted = inner);
	for (int i = 0; i < 4; i++)
		caller[i] = gate_policy(g[i]);
	for (unsigned long i = 0; i < rounds; i++) {
		struct sthread *one = st_create(caller[i % 4], asks_on, NULL),
			       *two = st_create(caller[(i + i / 4) % 4], asks_on, NULL);

		life_nap((unsigned)(i * 37 % 1500));
		CHECK_OK(sthread_kill(one));
		life_nap((unsigned)(i * 11 % 300));
		CHECK_OK(sthread_kill(two));
		r = st_join(one);
		ST_END(&r, STHREAD_KILLED);
		r = st_join(two);
		ST_END(&r, STHREAD_KILLED);
	}
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(sthread_gate_call(g[i], NULL, 0, NULL, 0), 0);
		sthread_gate_destroy(g[i]);
		sthread_policy_destroy(caller[i]);
	}
	CHECK_EQ(sthread_gate_call(inner, NULL, 0, NULL, 0), 0);
	sthread_gate_destroy(inner);
	sthread_policy_destroy(p);
}

/* No descriptor for another virtual processor: the call fails, the caller goes on, and so does the next. */
static void exhausted(void)
{
	struct sthread_gate *outer = GATE(.name = "outer", .fn = gate_nothing, .max_calls = 1);
	struct sthread_policy *p = gate_policy(outer);
	struct rlimit old, none;
	struct sthread_result r;

	r = st_call(NULL, has_none, NULL); /* this thread's lane is there, and no other */
	ST_RETURNED(&r, 0);
	CHECK(!getrlimit(RLIMIT_NOFILE, &old));
	none = old;
	none.rlim_cur = 3;
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	r = st_call(p, asks, NULL);
	CHECK(!setrlimit(RLIMIT_NOFILE, &old));
	ST_RETURNED(&r, -EAGAIN);
	/* Nor was it a call: its one is there yet. */
	r = st_call(p, asks, NULL);
	ST_RETURNED(&r, 0);
	sthread_gate_destroy(outer);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	in_gates();
	in_queue();
	under_native();
	own_limit();
	any_moment();
	st_others_live();
	sthread_fini();
	st_init();
	exhausted();
	sthread_fini();
	return TEST_PASSED;
}
