/* SPDX-License-Identifier: MIT */
/*
 * st_gates.c - threads and sthreads call gates of every kind, gates that call gates, gates that fault, while gates come
 * and go and callers are killed: every answer is one that can be, no message is another's, and nothing grows.  World:
 * host; gates and what is marked: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define THREADS 4
#define GATES	6

static struct sthread_gate *gate[GATES];
static struct sthread_policy *all;

static const char *const names[GATES] = { "fresh", "recycled", "native", "to recycled", "to native", "coming and going" };

/* ---- gates ---- */

struct word {
	uint64_t id, n; /* n % 8 == 7: fault */
};

static char *volatile nowhere = (char *)0x18;

static ssize_t twice(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct word w;

	(void)trusted;
	if (in_len != sizeof(w) || out_cap < sizeof(w))
		return -EBADMSG;
	memcpy(&w, in, sizeof(w));
	if (w.n % 8 == 7 && sthread_inside())
		*nowhere = 1;
	w.n *= 2;
	memcpy(out, &w, sizeof(w));
	return sizeof(w);
}

static ssize_t hands_on(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_gate *g;
	int err = sthread_gate_find(&g, trusted);

	return err ? err : sthread_gate_call(g, in, in_len, out, out_cap);
}

/* ---- callers ---- */

/* Inside, and in the master: what the answer can be. */
static void check(const struct word *asked, const struct word *got, ssize_t n, int which)
{
	bool faults = asked->n % 8 == 7 && which != 2 && which != 4;

	if (n == -ENOENT && which == 5)
		return;
	if (n == -ECANCELED && which != 2)
		return; /* this one is about to be killed, and will not go far */
	if (faults) {
		CHECK_EQ(n, -EIO);
		return;
	}
	CHECK_EQ(n, (ssize_t)sizeof(*got));
	CHECK_EQ(got->id, asked->id);
	CHECK_EQ(got->n, asked->n * 2);
}

/* Inside.  arg: a seed; an odd one never ends. */
static void *asks(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	for (unsigned i = 0; i < 12 || seed % 2; i++) {
		int which = (int)((seed + i) % GATES);
		struct word w = { seed, seed + i }, got = { 0 };

		check(&w, &got, gate_ask(names[which], &w, sizeof(w), &got, sizeof(got)), which);
	}
	return NULL;
}

static void *caller(void *arg)
{
	unsigned long rounds = (uintptr_t)arg >> 8;
	uint64_t seed = (uintptr_t)arg & 0xff;

	for (unsigned long i = 0; i < rounds; i++) {
		struct word w = { seed, i }, got = { 0 };
		int which = (int)(i % (GATES - 1)); /* the last is not the master's to call at any time */
		struct sthread_result r;
		struct sthread *st;

		check(&w, &got, sthread_gate_call(gate[which], &w, sizeof(w), &got, sizeof(got)), which);
		seed += 2;
		if (i % 4 == 0) {
			st = st_create(all, asks, (void *)(seed | 1));
			life_nap((unsigned)(i * 71 % 3000));
			CHECK_OK(sthread_kill(st));
			r = st_join(st);
			ST_END(&r, STHREAD_KILLED);
		} else {
			r = i % 4 == 1 ? st_run(all, asks, (void *)(seed & ~1UL)) : st_call(all, asks, (void *)(seed & ~1UL));
			ST_RETURNED(&r, 0);
		}
	}
	return NULL;
}

int main(void)
{
	unsigned long rounds = test_scale(40);
	struct sthread_policy *inner = st_policy(), *last;
	pthread_t t[THREADS];
	struct sthread_stats s;
	unsigned fds;

	st_init();
	all = st_policy();
	gate[0] = GATE(.name = names[0], .fn = twice);
	gate[1] = GATE(.name = names[1], .fn = twice, .kind = STHREAD_GATE_RECYCLED);
	gate[2] = GATE(.name = names[2], .fn = twice, .native = true);
	CHECK_OK(sthread_policy_gate(inner, gate[1]));
	CHECK_OK(sthread_policy_gate(inner, gate[2]));
	gate[3] = GATE(.name = names[3], .fn = hands_on, .policy = inner, .trusted = (void *)(uintptr_t)names[1]);
	gate[4] = GATE(.name = names[4], .fn = hands_on, .policy = inner, .trusted = (void *)(uintptr_t)names[2],
		       .kind = STHREAD_GATE_RECYCLED);
	gate[5] = GATE(.name = names[5], .fn = twice, .kind = STHREAD_GATE_RECYCLED);
	for (int i = 0; i < GATES; i++)
		CHECK_OK(sthread_policy_gate(all, gate[i]));
	fds = life_fds() - life_kvm_fds();
	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = life_thread(caller, (void *)(rounds << 8 | i * 50));
	life_nap(100000);
	sthread_gate_destroy(gate[5]);
	/* Others come and go, in policies of their own. */
	for (unsigned long i = 0; i < rounds; i++) {
		struct sthread_gate *g = GATE(.fn = twice, .kind = i % 2 ? STHREAD_GATE_RECYCLED : STHREAD_GATE_FRESH);
		struct word w = { i, i * 8 }, got = { 0 };

		last = gate_policy(g);
		check(&w, &got, sthread_gate_call(g, &w, sizeof(w), &got, sizeof(got)), 0);
		sthread_gate_destroy(g);
		sthread_policy_destroy(last);
	}
	for (int i = 0; i < THREADS; i++)
		life_join(t[i]);
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_OK(sthread_stats(&s));
	CHECK_GT(s.gate_calls, rounds * THREADS * 10);
	CHECK_GT(s.gate_faults, 0);
	CHECK_EQ(s.vcpus_lost, 0);
	CHECK_LE(life_fds() - life_kvm_fds(), fds + 8); /* files of the unwinder */
	for (int i = 0; i < GATES - 1; i++)
		sthread_gate_destroy(gate[i]);
	sthread_policy_destroy(all);
	sthread_policy_destroy(inner);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
