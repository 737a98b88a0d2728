/* SPDX-License-Identifier: MIT */
/*
 * Callgates together with limits of time, kill and revocation: what either does well alone.  World: host; gates that
 * are not native and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#include <stdatomic.h>

#define MS 1000000UL

static int null_fd; /* opened before the checkpoint */

static st_fn asks;
/* ---- gates whose message is a time, ns ---- */

static uint64_t time_of(const void *in, size_t in_len)
{
	uint64_t ns;

	CHECK_EQ(in_len, sizeof(ns));
	memcpy(&ns, in, sizeof(ns));
	return ns;
}

static ssize_t spins(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	uint64_t end = life_now() + time_of(in, in_len);

	(void)trusted, (void)out, (void)out_cap;
	while (life_now() < end)
		;
	return 0;
}

/* trusted: says there that it has begun; 0: nowhere. */
static ssize_t sleeps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)out, (void)out_cap;
	if (trusted)
		CHECK_EQ(write((int)(intptr_t)trusted, "x", 1), 1);
	life_nap((unsigned)(time_of(in, in_len) / 1000));
	return 0;
}

ST_FN(asks)
{
	uint64_t ns = (uintptr_t)arg;

	return (void *)gate_ask("gate", &ns, sizeof(ns), NULL, 0);
}

/* ---- CPU time ---- */

static void *short_call(void *p)
{
	struct sthread_result r = st_call(p, asks, (void *)1000);

	ST_RETURNED(&r, 0);
	return NULL;
}

/* Who had the lanes before. */
static void used_by(unsigned who, struct sthread_gate *g, struct sthread_policy *p)
{
	static const char *const names[] = { "nobody else", "the master", "a worker", "a thread that has ended" };
	struct sthread_result r;
	uint64_t ns = 1000;

	NOTE("in lanes that were used by %s", names[who]);
	if (who == 1) {
		CHECK_EQ(sthread_gate_call(g, &ns, sizeof(ns), NULL, 0), 0);
	} else if (who == 2) {
		r = st_run(p, asks, (void *)ns);
		ST_RETURNED(&r, 0);
	} else if (who == 3) {
		life_join(life_thread(short_call, p));
	}
}

static void cpu_time(void)
{
	const uint64_t limit = 60 * MS * st_slow();
	struct sthread_policy *limited = st_policy();

	st_limit(limited, STHREAD_LIMIT_CPU_NS, limit);
	for (int kind = 0; kind < 2; kind++) {
		struct sthread_gate *spin = GATE(.name = "gate", .fn = spins, .policy = limited,
						 .kind = (enum sthread_gate_kind)kind),
				    *rest = GATE(.name = "gate", .fn = sleeps, .policy = limited,
						 .kind = (enum sthread_gate_kind)kind);
		struct sthread_policy *p = gate_policy(spin), *q = gate_policy(rest);
		struct sthread_result r;
		struct sthread *st;
		uint64_t start;

		for (unsigned i = 0; i < 8; i++) {
			used_by(i / 2, spin, p);
			start = life_now();
			r = st_both[i % 2](p, asks, (void *)(4 * st_late()));
			ST_RETURNED(&r, -ETIMEDOUT);
			CHECK_LT(life_now() - start, st_late());
			CHECK_OK(sthread_gate_last_result(spin, &r));
			ST_LIMIT(&r, STHREAD_LIMIT_CPU_NS);
			CHECK_GE((uint64_t)r.value, limit);
			st_others_live();
		}
		/* The twins: less of it, and waiting for longer than the limit, while others compute. */
		for (unsigned i = 0; i < 8; i++) {
			used_by(i / 2, rest, q);
			r = st_both[i % 2](p, asks, (void *)1000);
			ST_RETURNED(&r, 0);
			r = st_both[i % 2](q, asks, (void *)(3 * limit / 2));
			ST_RETURNED(&r, 0);
		}
		used_by(1, rest, q);
		st = st_create(q, asks, (void *)(3 * limit));
		for (start = life_now(); life_now() - start < 2 * limit;)
			;
		r = st_join(st);
		ST_RETURNED(&r, 0);
		CHECK_ERR(sthread_gate_last_result(rest, &r), -ENOENT);
		sthread_policy_destroy(p);
		sthread_policy_destroy(q);
		sthread_gate_destroy(spin);
		sthread_gate_destroy(rest);
	}
	sthread_policy_destroy(limited);
	st_others_live();
}

/* ---- revocation ---- */

ST_FN(asks_then_reads)
{
	char c;

	CHECK_EQ((intptr_t)asks(arg), 0);
	return (void *)(intptr_t)(read(null_fd, &c, 1) < 0 ? -errno : 0);
}

static atomic_uint revoked;

static void *revokes(void *st)
{
	int err = sthread_policy_fd_revoke(st, null_fd);

	atomic_fetch_add(&revoked, 1);
	return (void *)(intptr_t)err;
}

/* The run is in a gate call that waits; who takes a descriptor from it waits for that. */
static void revoke_kill(void)
{
	struct sthread_policy *in_gate = st_policy(), *p;
	struct sthread_result r;
	struct sthread_gate *g;
	int word[2];

	CHECK(!pipe2(word, O_CLOEXEC));
	st_allow(in_gate, SYS_write);
	st_grant(in_gate, word[1], STHREAD_FD_WRITE);
	for (int i = 0; i < 4; i++) {
		bool kill = i % 2;
		struct sthread *st;
		uint64_t start;
		pthread_t t;
		int err;
		char c;

		NOTE("%s while it is taken back", kill ? "killed" : "on to its end");
		g = GATE(.name = "gate", .fn = sleeps, .policy = in_gate, .trusted = (void *)(intptr_t)word[1],
			 .kind = (enum sthread_gate_kind)(i / 2));
		p = gate_policy(g);
		st_allow(p, SYS_read);
		st_grant(p, null_fd, STHREAD_FD_READ);
		atomic_store(&revoked, 0);
		st = st_create(p, asks_then_reads, (void *)(kill ? 3 * st_late() : 300 * MS * st_slow()));
		CHECK_EQ(read(word[0], &c, 1), 1);
		t = life_thread(revokes, st);
		if (kill) {
			life_nap(100000);
			CHECK_EQ(atomic_load(&revoked), 0);
			start = life_now();
			CHECK_OK(sthread_kill(st));
			CHECK_LT(life_now() - start, st_late());
		}
		err = (int)(intptr_t)life_join(t);
		CHECK_MSG(err == 0 || err == -ESRCH, /* it had ended */ "%d", err);
		r = st_join(st);
		if (kill)
			ST_END(&r, STHREAD_KILLED);
		else
			ST_RETURNED(&r, -EBADF);
		sthread_policy_destroy(p);
		sthread_gate_destroy(g);
		st_others_live();
	}
	sthread_policy_destroy(in_gate);
	close(word[0]);
	close(word[1]);
}

static _Atomic(struct sthread *) victim;
static atomic_uint native_done;

/* trusted: takes from the victim; NULL: kills it. */
static ssize_t native(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int err;

	(void)in, (void)in_len;
	LIFE_UNTIL(atomic_load(&victim));
	err = trusted ? sthread_policy_fd_revoke(atomic_load(&victim), null_fd) : sthread_kill(atomic_load(&victim));
	atomic_fetch_add(&native_done, 1);
	return gate_answer(out, out_cap, err);
}

static ssize_t relays(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, gate_word("gate"));
}

/* What the gate answers, and the descriptor is there still. */
ST_FN(asks_native)
{
	int64_t word = gate_word("gate");
	char c;

	CHECK_EQ(read(null_fd, &c, 1), 0);
	return (void *)word;
}

ST_FN(reads_on)
{
	char c;

	while (!read(null_fd, &c, 1))
		;
	return (void *)(intptr_t)-errno;
}

/* A native gate, or one beneath another gate, that turns against who waits for it. */
static void native_self(void)
{
	for (unsigned i = 0; i < 4; i++) {
		void *what = (void *)(uintptr_t)(i % 2); /* NULL: kill */
		struct sthread_gate *n = GATE(.name = "gate", .fn = native, .native = true, .trusted = what), *over;
		struct sthread_policy *p = gate_policy(n), *caller;
		struct sthread_result r;
		struct sthread *st;

		NOTE("%s its own caller, %s", what ? "takes from" : "kills", i / 2 ? "beneath a gate" : "at once");
		over = GATE(.name = "gate", .fn = relays, .policy = p);
		caller = gate_policy(i / 2 ? over : n);
		st_allow(caller, SYS_read);
		st_grant(caller, null_fd, STHREAD_FD_READ);
		atomic_store(&victim, NULL);
		atomic_store(&native_done, 0);
		st = st_create(caller, asks_native, NULL);
		atomic_store(&victim, st);
		r = st_join(st);
		CHECK_EQ(atomic_load(&native_done), 1);
		if (what)
			ST_RETURNED(&r, -EDEADLK);
		else
			ST_END(&r, STHREAD_KILLED);
		/* The twin: another one. */
		for (unsigned j = 0; j < 2; j++) {
			st = st_create(caller, reads_on, NULL);
			atomic_store(&victim, st);
			r = st_both[j](caller, asks_native, NULL);
			ST_END(&r, STHREAD_RETURNED);
			CHECK(!r.value || (what && (intptr_t)r.value == -ESRCH)); /* it had ended */
			r = st_join(st);
			if (what)
				ST_RETURNED(&r, -EBADF);
			else
				ST_END(&r, STHREAD_KILLED);
		}
		st_others_live();
		sthread_policy_destroy(p);
		sthread_policy_destroy(caller);
		sthread_gate_destroy(over);
		sthread_gate_destroy(n);
	}
}

int main(void)
{
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(null_fd >= 0);
	st_init();
	cpu_time();
	revoke_kill();
	native_self();
	sthread_fini();
	return TEST_PASSED;
}
