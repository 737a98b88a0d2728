/* SPDX-License-Identifier: MIT */
/*
 * st_life_waits.c - nobody waits for itself: who kills an sthread or takes a descriptor back from a native gate that it
 * waits for by way of what it made, or of a gate that is busy.  World: host; ST_FN: inside.
 */
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

static struct sthread *_Atomic it;
static int fd; /* what it was granted */
static atomic_int gave;
static atomic_bool entered, taking;

static void *inside_fd(void *arg)
{
	return (void *)(intptr_t)read((int)(intptr_t)arg, &(uint64_t){ 0 }, 8);
}

static struct sthread *root(void)
{
	LIFE_UNTIL(atomic_load(&it));
	return atomic_load(&it);
}

static ssize_t kills(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, sthread_kill(root()));
}

static ssize_t takes(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int err = sthread_policy_fd_revoke(root(), fd);

	(void)trusted, (void)in, (void)in_len;
	atomic_store(&gave, err);
	return gate_answer(out, out_cap, err);
}

/* While another thread takes it back. */
static ssize_t kills_meanwhile(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	atomic_store(&entered, true);
	LIFE_UNTIL(atomic_load(&taking));
	life_nap(200000);
	return kills(trusted, in, in_len, out, out_cap);
}

/* ---- by way of what it made ---- */

ST_FN(asks)
{
	return (void *)(intptr_t)gate_word("it");
}

ST_FN(asks_and_reads)
{
	CHECK_EQ(gate_word("it"), -EDEADLK);
	return inside_fd(arg);
}

static struct sthread_result makes(st_fn *fn, int number)
{
	struct sthread_policy *p;
	struct sthread_gate *g;
	struct sthread_result r;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_gate_find(&g, "it"));
	CHECK_OK(sthread_policy_gate(p, g));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_fd(p, number, STHREAD_FD_READ));
	CHECK_OK(sthread_call(p, fn, (void *)(intptr_t)number, &r));
	return r;
}

ST_FN(makes_one)
{
	return makes(asks, (int)(intptr_t)arg).value;
}

ST_FN(makes_two)
{
	return makes(makes_one, (int)(intptr_t)arg).value;
}

ST_FN(makes_reader)
{
	return makes(asks_and_reads, (int)(intptr_t)arg).value;
}

static ssize_t gate_makes_one(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_result r = makes(asks, *(const int *)in);

	(void)trusted, (void)in_len;
	return gate_answer(out, out_cap, (intptr_t)r.value);
}

ST_FN(asks_maker)
{
	int number = (int)(intptr_t)arg;
	int64_t word = -1;

	CHECK_EQ(gate_ask("maker", &number, sizeof(number), &word, sizeof(word)), (ssize_t)sizeof(word));
	return (void *)word;
}

static struct sthread_policy *policy(struct sthread_gate *g)
{
	struct sthread_policy *p = gate_policy(g);

	st_allow(p, SYS_read);
	st_grant(p, fd, STHREAD_FD_READ);
	return p;
}

static void begin(const struct sthread_policy *p, st_fn *fn)
{
	CHECK_EQ(write(fd, &(uint64_t){ 1 }, 8), 8);
	atomic_store(&it, st_create(p, fn, (void *)(intptr_t)fd));
}

static struct sthread_result end(void)
{
	struct sthread_result r = st_join(atomic_load(&it));

	atomic_store(&it, NULL);
	(void)!read(fd, &(uint64_t){ 0 }, 8);
	return r;
}

static void made(void)
{
	struct sthread_gate *g = GATE(.name = "it", .fn = kills, .native = true), *maker;
	struct sthread_policy *p = policy(g), *q;
	struct sthread_result r;

	NOTE("killed by its child's native gate");
	begin(p, makes_one);
	r = end();
	ST_END(&r, STHREAD_KILLED);
	NOTE("by its child's child's");
	begin(p, makes_two);
	r = end();
	ST_END(&r, STHREAD_KILLED);
	NOTE("by that of a gate's child");
	maker = GATE(.name = "maker", .fn = gate_makes_one, .policy = p);
	q = policy(maker);
	begin(q, asks_maker);
	r = end();
	ST_END(&r, STHREAD_KILLED);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	sthread_gate_destroy(maker);
	sthread_gate_destroy(g);

	NOTE("taken back by its child's native gate");
	g = GATE(.name = "it", .fn = takes, .native = true);
	p = policy(g);
	begin(p, makes_reader);
	r = end();
	ST_RETURNED(&r, 8);
	CHECK_EQ(atomic_load(&gave), -EDEADLK);
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
}

/* A child in a gate holds up who takes something back, and nobody else. */
static void *takes_back(void *arg)
{
	atomic_store(&taking, true);
	atomic_store(&gave, sthread_policy_fd_revoke(arg, fd));
	return NULL;
}

static ssize_t asks_it(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return in_len ? 0 : gate_answer(out, out_cap, gate_word("it"));
}

ST_FN(asks_own)
{
	return (void *)(intptr_t)gate_word("own");
}

/* What it made calls a gate that it made. */
ST_FN(makes_gate)
{
	struct sthread_gate_config cfg = { .size = sizeof(cfg), .name = "own", .fn = asks_it };
	struct sthread_policy *p, *q;
	struct sthread_gate *native, *own;
	struct sthread_result r;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_gate_find(&native, "it"));
	CHECK_OK(sthread_policy_gate(p, native));
	CHECK_OK(sthread_policy_fd(p, (int)(intptr_t)arg, STHREAD_FD_READ));
	cfg.policy = p;
	CHECK_OK(sthread_gate_create(&own, &cfg));
	CHECK_OK(sthread_policy_create(&q));
	CHECK_OK(sthread_policy_gate(q, own));
	CHECK_OK(sthread_call(q, asks_own, NULL, &r));
	return r.value;
}

static void killed_meanwhile(void)
{
	static st_fn *const fns[] = { makes_one, makes_gate };
	struct sthread_gate *g = GATE(.name = "it", .fn = kills_meanwhile, .native = true);
	struct sthread_policy *p = policy(g);
	struct sthread_result r;
	pthread_t t;

	for (int i = 0; i < 2; i++) {
		NOTE("killed while a descriptor is taken back, of its %s", i ? "gate" : "child");
		atomic_store(&entered, false);
		atomic_store(&taking, false);
		begin(p, fns[i]);
		LIFE_UNTIL(atomic_load(&entered));
		t = life_thread(takes_back, atomic_load(&it));
		life_join(t);
		CHECK_MSG(!atomic_load(&gave) || atomic_load(&gave) == -ESRCH, "%d", atomic_load(&gave));
		r = end();
		ST_END(&r, STHREAD_KILLED);
	}
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
}

/* ---- by way of a gate that is busy ---- */

static ssize_t takes_later(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	atomic_store(&entered, true);
	root();
	life_nap(300000); /* it waits for its turn */
	return takes(trusted, in, in_len, out, out_cap);
}

static ssize_t asks_busy(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return gate_ask("busy", "x", 1, NULL, 0);
}

static ssize_t asks_trusted(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len, (void)out, (void)out_cap;
	return sthread_gate_call(trusted, "x", 1, NULL, 0);
}

ST_FN(waits_its_turn)
{
	uint64_t word;

	CHECK_EQ(gate_ask("outer", "x", 1, NULL, 0), 0);
	CHECK(read((int)(intptr_t)arg, &word, 8) == -1 && errno == EBADF);
	return NULL;
}

ST_FN(asks_busy_gate)
{
	return (void *)gate_word("busy");
}

/* outer: what it calls, which calls the busy gate in its turn. */
static void busy_by(struct sthread_gate *busy, struct sthread_gate *outer, const char *how)
{
	struct sthread_policy *p = policy(outer), *q = gate_policy(busy);
	struct sthread *other;
	struct sthread_result r;

	NOTE("taken back while it waits for a gate, %s", how);
	atomic_store(&entered, false);
	atomic_store(&gave, 1);
	other = st_create(q, asks_busy_gate, NULL);
	LIFE_UNTIL(atomic_load(&entered));
	begin(p, waits_its_turn);
	r = st_join(other);
	ST_RETURNED(&r, 0);
	CHECK_OK(atomic_load(&gave));
	r = end();
	ST_RETURNED(&r, 0);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	sthread_gate_destroy(outer);
}

static void busy(void)
{
	struct sthread_gate *g = GATE(.name = "it", .fn = takes_later, .native = true), *gate, *inner;
	struct sthread_policy *p = gate_policy(g), *q;

	gate = GATE(.name = "busy", .fn = asks_it, .policy = p, .kind = STHREAD_GATE_RECYCLED);
	q = gate_policy(gate);
	busy_by(gate, GATE(.name = "outer", .fn = asks_busy, .policy = q), "under another");
	busy_by(gate, GATE(.name = "outer", .fn = asks_trusted, .native = true, .trusted = gate), "under a native one");
	inner = GATE(.name = "inner", .fn = asks_busy, .policy = q);
	busy_by(gate, GATE(.name = "outer", .fn = asks_trusted, .native = true, .trusted = inner), "under both");
	sthread_gate_destroy(inner);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	sthread_gate_destroy(gate);
	sthread_gate_destroy(g);
}

/* A gate that is busy until what it made has ended. */
static struct sthread_gate *again;

static ssize_t asks_again(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, sthread_gate_call(again, "x", 1, NULL, 0));
}

static void made_by_gate(void)
{
	struct sthread_gate *g = GATE(.name = "it", .fn = asks_again, .native = true);
	struct sthread_policy *p = policy(g);
	int64_t word;

	NOTE("a gate's child and the gate");
	again = GATE(.name = "maker", .fn = gate_makes_one, .policy = p, .kind = STHREAD_GATE_RECYCLED);
	CHECK_EQ(sthread_gate_call(again, &fd, sizeof(fd), &word, sizeof(word)), (ssize_t)sizeof(word));
	CHECK_EQ(word, -EDEADLK);
	sthread_policy_destroy(p);
	sthread_gate_destroy(again);
	sthread_gate_destroy(g);
}

/* ---- the end ---- */

static ssize_t ends_all(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	sthread_fini();
	return gate_answer(out, out_cap, 5);
}

static void ended(void)
{
	struct sthread_gate *g = GATE(.name = "it", .fn = ends_all, .native = true);
	struct sthread_policy *p = policy(g);
	struct sthread_result r;
	int64_t word;

	NOTE("sthread_fini() in a native gate");
	r = st_call(p, asks, NULL);
	ST_RETURNED(&r, 5);
	r = st_run(p, asks, NULL);
	ST_RETURNED(&r, 5);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), (ssize_t)sizeof(word));
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
}

int main(void)
{
	fd = eventfd(0, EFD_NONBLOCK);
	CHECK_GE(fd, 0);
	st_init();
	made();
	killed_meanwhile();
	busy();
	made_by_gate();
	ended();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
