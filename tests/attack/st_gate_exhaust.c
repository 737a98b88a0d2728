/* SPDX-License-Identifier: MIT */
/*
 * Gates under more callers than they can serve: hundreds in the queue of one, threads refused.  Who waits is served or
 * can be stopped, who cannot be served is told so, others do not notice, and nothing is lost.  World: host; gates and
 * ST_FN: inside.
 */
#include <stdatomic.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"
#include "tests/st_no_threads.h"

#define MOST 300

/* ---- gates ---- */

/* Which call it is: it keeps count.  With a message: says that it is in, and waits for a byte. */
static ssize_t counts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	uintptr_t pipes = (uintptr_t)trusted;
	static int64_t calls;
	char c = 'i';

	(void)in;
	if (in_len)
		CHECK(write((int)(pipes >> 16), &c, 1) == 1 &&
		      read((int)(pipes & 0xffff), &c, 1) == 1);
	return gate_answer(out, out_cap, ++calls);
}

/* Native: until the pipe has a byte for it. */
static atomic_uint native_in;

static ssize_t native_waits(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char c;

	(void)in, (void)in_len;
	atomic_fetch_add(&native_in, 1);
	CHECK_EQ(read((int)(intptr_t)trusted, &c, 1), 1);
	return gate_answer(out, out_cap, 7);
}

static ssize_t native_answers(void *trusted, const void *in, size_t in_len, void *out,
			      size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, 8);
}

/* ---- inside ---- */

static char counts_[] = "counts", other_[] = "other", native_[] = "native", waits_[] = "waits";

ST_FN(asks)
{
	return (void *)gate_word(arg);
}

ST_FN(asks_and_holds)
{
	int64_t word = -1;

	CHECK_EQ(gate_ask("counts", "x", 1, &word, sizeof(word)), (ssize_t)sizeof(word));
	return (void *)word;
}

/* It is told, once, and goes on. */
ST_FN(asks_twice)
{
	CHECK_EQ(gate_word(arg), -EAGAIN);
	CHECK_EQ(gate_word(arg), -EAGAIN);
	return (void *)gate_word("other");
}

/* ---- a queue of hundreds ---- */

static void *calls_from_master(void *gate)
{
	return (void *)gate_word_of(gate, NULL, 0);
}

static void queued(void)
{
	unsigned n = (unsigned)test_scale(MOST), left = 0, masters = n / 20 + 1;
	struct sthread_policy *own = st_policy(), *p, *q;
	struct sthread_gate *g, *other = GATE(.name = "other", .fn = counts);
	struct sthread *st[MOST], *holder;
	bool seen[2 * MOST + 2] = { false };
	struct sthread_stats before, after;
	pthread_t master[MOST / 20 + 1];
	struct sthread_result r;
	int hold[2], is_in[2];
	char c;

	CHECK(n <= MOST && !pipe2(hold, O_CLOEXEC) && !pipe2(is_in, O_CLOEXEC));
	st_allow(own, SYS_read, SYS_write);
	st_grant(own, is_in[1], STHREAD_FD_WRITE);
	st_grant(own, hold[0], STHREAD_FD_READ);
	g = GATE(.name = "counts", .fn = counts, .policy = own, .kind = STHREAD_GATE_RECYCLED,
		 .trusted = (void *)((uintptr_t)is_in[1] << 16 | (unsigned)hold[0]));
	p = gate_policy(g);
	q = gate_policy(other);
	LIFE_UNTIL(life_stats().live == 1); /* that of st_others_live(): workers count until they rest */
	CHECK_OK(sthread_stats(&before));
	holder = st_create(p, asks_and_holds, NULL);
	CHECK_EQ(read(is_in[0], &c, 1), 1);
	for (unsigned i = 0; i < n; i++)
		st[i] = st_create(p, asks, counts_);
	for (unsigned i = 0; i < masters; i++)
		master[i] = life_thread(calls_from_master, g);
	LIFE_UNTIL(life_stats().live == before.live + n + masters + 1);
	life_nap(50000);
	NOTE("%u in the queue", n + masters);
	CHECK_EQ(life_stats().live, before.live + n + masters + 1);
	/* Others do not notice. */
	for (int i = 0; i < 5; i++) {
		uint64_t start = life_now();

		r = st_call(q, asks, other_);
		ST_RETURNED(&r, 1); /* a fresh one */
		CHECK_EQ((intptr_t)calls_from_master(other), 1);
		r = st_run(q, asks, other_);
		ST_RETURNED(&r, 1);
		CHECK_LT(life_now() - start, st_late());
	}
	st_others_live();
	/* Each third leaves the queue. */
	for (unsigned i = 0; i < n; i += 3) {
		uint64_t start = life_now();

		CHECK_OK(sthread_kill(st[i]));
		r = st_join(st[i]);
		ST_END(&r, STHREAD_KILLED);
		CHECK_LT(life_now() - start, st_late());
	}
	/* The others are served, each once. */
	CHECK_EQ(write(hold[1], "x", 1), 1);
	r = st_join(holder);
	ST_RETURNED(&r, 1);
	for (unsigned i = 0; i < n; i++) {
		if (i % 3 == 0)
			continue;
		r = st_join(st[i]);
		ST_END(&r, STHREAD_RETURNED);
		CHECK_MSG((intptr_t)r.value > 1 && (uintptr_t)r.value <= n + masters + 1, "%s",
			  st_words(&r));
		CHECK(!seen[(uintptr_t)r.value]);
		seen[(uintptr_t)r.value] = true;
		left++;
	}
	for (unsigned i = 0; i < masters; i++) {
		uintptr_t word = (uintptr_t)life_join(master[i]);

		CHECK(word > 1 && word <= n + masters + 1 && !seen[word]);
		seen[word] = true;
		left++;
	}
	for (unsigned i = 2; i < left + 2;
	     i++) /* none was left out, nor a call begun for one that was killed */
		CHECK(seen[i]);
	CHECK_EQ((intptr_t)calls_from_master(g), left + 2);
	LIFE_UNTIL(life_stats().live == before.live);
	CHECK_OK(sthread_stats(&after));
	CHECK_EQ(after.gate_calls, before.gate_calls + left + 2 + 15);
	CHECK_EQ(after.gate_faults, before.gate_faults);
	CHECK_EQ(after.vcpus_lost, 0);
	sthread_gate_destroy(g);
	sthread_gate_destroy(other);
	sthread_policy_destroy(own);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	for (int i = 0; i < 2; i++) {
		close(hold[i]);
		close(is_in[i]);
	}
}

/* ---- no thread ---- */

static void all_rest(void)
{
	LIFE_UNTIL(!life_stats().live);
}

static void no_native_thread(void)
{
	struct sthread_gate_config cfg = { .size = sizeof(cfg),
					   .name = "native",
					   .fn = native_answers,
					   .native = true,
					   .max_calls = 1 };
	struct sthread_gate *g = (void *)1, *other, *waits;
	struct sthread_policy *p, *q;
	struct sthread *st[8];
	struct sthread_result r;
	int hold[2];

	CHECK(!pipe2(hold, O_CLOEXEC));
	/* Not even one that makes them. */
	atomic_store(&no_threads, true);
	CHECK_ERR(sthread_gate_create(&g, &cfg), -EAGAIN);
	CHECK(g == (void *)1);
	atomic_store(&no_threads, false);
	CHECK_OK(sthread_gate_create(&g, &cfg));
	other = GATE(.name = "other", .fn = counts);
	waits = GATE(.name = "waits", .fn = native_waits, .native = true,
		     .trusted = (void *)(intptr_t)hold[0]);
	p = gate_policy(g);
	q = gate_policy(waits);
	CHECK_OK(sthread_policy_gate(p, other));
	CHECK_OK(sthread_policy_gate(q, other));
	/* A worker and a lane that rest, and no thread for native gates yet. */
	r = st_run(NULL, asks, other_);
	ST_EXITED(&r, 1);
	CHECK_EQ((intptr_t)calls_from_master(other), 1);
	all_rest();
	atomic_store(&no_threads, true);
	/* A refused call is none: it has its one yet. */
	r = st_run(p, asks_twice, native_);
	ST_RETURNED(&r, 1);
	/* The twins need no thread of that kind. */
	r = st_call(p, asks, native_);
	ST_RETURNED(&r, 8);
	CHECK_EQ((intptr_t)calls_from_master(g), 8);
	atomic_store(&no_threads, false);
	all_rest();
	r = st_run(p, asks, native_);
	ST_RETURNED(&r, 8);

	/* All of them wait: no more can be made, and each that is free again serves. */
	for (unsigned i = 0; i < 8; i++)
		st[i] = st_create(q, asks, waits_);
	LIFE_UNTIL(atomic_load(&native_in) == 8);
	atomic_store(&no_threads, true);
	for (int i = 0; i < 3; i++) {
		struct sthread_result again = st_call(q, asks, other_);

		ST_RETURNED(&again, 1);
	}
	CHECK_EQ(write(hold[1], "12345678", 8), 8);
	for (unsigned i = 0; i < 8; i++) {
		r = st_join(st[i]);
		ST_RETURNED(&r, 7);
	}
	all_rest();
	for (unsigned i = 0; i < 8; i++)
		st[i] = st_create(q, asks, waits_);
	CHECK_EQ(write(hold[1], "12345678", 8), 8);
	for (unsigned i = 0; i < 8; i++) {
		r = st_join(st[i]);
		ST_RETURNED(&r, 7);
	}
	atomic_store(&no_threads, false);
	CHECK_EQ(atomic_load(&native_in), 16u);
	st_others_live();
	sthread_gate_destroy(g);
	sthread_gate_destroy(other);
	sthread_gate_destroy(waits);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	close(hold[0]);
	close(hold[1]);
}

int main(void)
{
	st_init_with((struct sthread_config){
		.pool = 2 * MOST }); /* at the end they go together, and faster */
	NOTE("no thread");
	no_native_thread();
	NOTE("a long queue");
	queued();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
