/* SPDX-License-Identifier: MIT */
/*
 * KVM fails: a virtual processor that is not run is lost with the one run that it had, whose record says nothing but
 * that, and what it wrote is nobody's; a gate's caller hears of it.  When it is the processor that makes the edits,
 * nothing runs any more until sthread_init() comes again.  World: host; what is marked inside.
 */
#include <linux/kvm.h>
#include <stdatomic.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

/* ---- what fails (tests/meson.build wraps it) --------------------------------------------------------------- */

static atomic_int run_until, edit_until; /* entries of compartments, of the service processor; the last before 0 fails */
static atomic_int service = -1;		 /* the first of a VM */
static atomic_int ran, spared = -1;	 /* the last compartment's; one that does not fail */

int __real_ioctl(int fd, unsigned long request, long arg);
int __wrap_ioctl(int fd, unsigned long request, long arg);

static bool due(atomic_int *until)
{
	return atomic_load(until) > 0 && atomic_fetch_sub(until, 1) == 1;
}

int __wrap_ioctl(int fd, unsigned long request, long arg)
{
	bool edits = fd == atomic_load(&service);
	int r;

	if (request == KVM_RUN && !edits)
		atomic_store(&ran, fd);
	if (request == KVM_RUN && fd != atomic_load(&spared) && due(edits ? &edit_until : &run_until)) {
		errno = EFAULT;
		return -1;
	}
	r = __real_ioctl(fd, request, arg);
	if (request == KVM_CREATE_VM)
		atomic_store(&service, -1);
	if (request == KVM_CREATE_VCPU && r >= 0 && atomic_load(&service) < 0)
		atomic_store(&service, r);
	return r;
}

/* ---- inside -------------------------------------------------------------------------------------------------- */

static int said[2], hold[2];  /* pipes: what is written; what is waited for */
static volatile int64_t kept; /* 0 in the image */

/* Calls that reach the host, and how often it was here before, which should be never. */
static void *counts(void *unused)
{
	(void)unused;
	kept++;
	for (int i = 0; i < 3; i++)
		if (write(said[1], "x", 1) != 1)
			return (void *)-1L;
	return (void *)(kept - 1);
}

static void *waits(void *unused)
{
	char c;

	(void)unused;
	return write(said[1], "w", 1) == 1 ? (void *)(intptr_t)read(hold[0], &c, 1) : NULL;
}

static ssize_t keeps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, ++kept);
}

/* Native: the next two entries are its caller's, which looks for the gate and calls it; the third fails. */
static ssize_t arms(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	atomic_store(&run_until, 3);
	return gate_answer(out, out_cap, 0);
}

/* Its pages are there when it arms. */
static void *calls(void *unused)
{
	(void)unused;
	CHECK_EQ(gate_word("keeps"), 2); /* after the master's */
	CHECK_EQ(gate_word("keeps"), 3);
	CHECK_EQ(gate_word("arms"), 0);
	return (void *)gate_word("keeps");
}

/* ---- one is lost ---------------------------------------------------------------------------------------------- */

static struct sthread_policy *policy(void)
{
	struct sthread_policy *p = st_policy();

	st_allow(p, SYS_read, SYS_write);
	st_grant(p, hold[0], STHREAD_FD_READ);
	st_grant(p, said[1], STHREAD_FD_WRITE);
	return p;
}

static struct sthread *waiting(const struct sthread_policy *p)
{
	struct sthread *st = st_create(p, waits, NULL);
	char c;

	LIFE_UNTIL(read(said[0], &c, 1) == 1);
	return st;
}

static void expect_lost(const struct sthread_result *r)
{
	const struct sthread_result lost = { .end = STHREAD_LOST };

	CHECK_MEM(r, &lost, sizeof(lost));
}

static void runs(void)
{
	struct sthread_policy *p = policy();
	struct sthread *other = waiting(p);
	struct sthread_result r;
	unsigned lost = 0;
	char c[4];

	NOTE("a run");
	atomic_store(&spared, atomic_load(&ran));
	for (int how = 0; how < 2; how++)
		for (int n = 1; n <= 4; n++) {
			atomic_store(&run_until, n); /* four entries at least: to begin, and after each call */
			r = st_both[how](p, counts, NULL);
			CHECK_EQ(atomic_load(&run_until), 0);
			expect_lost(&r);
			CHECK_EQ(life_stats().vcpus_lost, ++lost);
			CHECK_LT(read(said[0], c, 4), n); /* what it had written: one an entry at most; nothing: EAGAIN */
			r = st_both[how](p, counts, NULL);
			ST_RETURNED(&r, 0);
			CHECK_EQ(read(said[0], c, 4), 3);
		}
	CHECK_EQ(write(hold[1], "x", 1), 1);
	r = st_join(other);
	ST_RETURNED(&r, 1);
	atomic_store(&spared, -1);
	sthread_policy_destroy(p);
}

static void gates(void)
{
	struct sthread_gate *g = GATE(.name = "keeps", .fn = keeps, .kind = STHREAD_GATE_RECYCLED),
			    *n = GATE(.name = "arms", .fn = arms, .native = true);
	struct sthread_policy *p = gate_policy(g);
	struct sthread_result r;
	int64_t word;

	NOTE("a gate's run");
	CHECK_OK(sthread_policy_gate(p, n));
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), (ssize_t)sizeof(word));
	CHECK_EQ(word, 1);
	r = st_call(p, calls, NULL);
	ST_RETURNED(&r, -ENOTRECOVERABLE);
	/* It is put back. */
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), (ssize_t)sizeof(word));
	CHECK_EQ(word, 1);
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
	sthread_gate_destroy(n);
}

/* ---- all are ---------------------------------------------------------------------------------------------------- */

static void edits(void)
{
	struct sthread_config cfg = life_config();
	struct sthread_policy *p;
	struct sthread_result r;
	struct sthread *st[4];
	struct life was;
	char c[4];

	NOTE("an edit");
	cfg.pool = 1;
	p = policy();
	was = life_take(LIFE_SIGNAL);
	for (int broken = 1; broken >= 0; broken--) {
		CHECK_OK(sthread_init(&cfg));
		for (int i = 0; i < 4; i++)
			st[i] = waiting(p);
		atomic_store(&edit_until, broken);
		/* The pool keeps a thread, and a space of another; taking the third apart takes edits. */
		for (int i = 0; i < 3; i++) {
			CHECK_OK(sthread_kill(st[i]));
			r = st_join(st[i]);
			ST_END(&r, STHREAD_KILLED);
		}
		LIFE_UNTIL(!atomic_load(&edit_until));
		CHECK_EQ(write(hold[1], "x", 1), 1);
		r = st_join(st[3]);
		if (broken) {
			expect_lost(&r);
			r = st_call(NULL, waits, NULL);
			expect_lost(&r);
			r = st_run(NULL, waits, NULL);
			expect_lost(&r);
		} else {
			ST_RETURNED(&r, 1);
			r = st_call(p, counts, NULL);
			ST_RETURNED(&r, 0);
			CHECK_EQ(read(said[0], c, 4), 3);
		}
		sthread_fini();
		LIFE_SAME(&was, LIFE_SIGNAL, 12);
	}
	sthread_policy_destroy(p);
}

int main(void)
{
	CHECK_OK(pipe2(said, O_CLOEXEC | O_NONBLOCK) || pipe2(hold, O_CLOEXEC));
	st_init();
	runs();
	gates();
	sthread_fini();
	edits();
	return TEST_PASSED;
}
