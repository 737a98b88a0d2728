/* SPDX-License-Identifier: MIT */
/*
 * Gates whose policies grant gates whose policies grant gates ...: a compartment that makes one after the other, and
 * lets go of those before, has the library keep no more than it may have at once; and a chain of any length, the
 * program's own, ends on the smallest stack.  World: host; gates and ST_FN: inside.
 */
#include <malloc.h>
#include <poll.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define LINKS	1500	   /* of a compartment */
#define PLENTY	100000	   /* of the program */
#define AT_ONCE (64 << 10) /* bytes of the heap, for what it has at once */

static ssize_t nothing(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return 0;
}

/* Native: how much of the program's heap is in use. */
static ssize_t heap(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mallinfo2 m = mallinfo2();

	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)(m.uordblks + m.hblkhd));
}

/* ---- a compartment's ---- */

enum { BY_POLICY = 1, BY_ORDER = 2, LEFT = 4 };

static struct sthread_gate *another(struct sthread_gate *before, unsigned how)
{
	struct sthread_policy *p;
	struct sthread_gate *g;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	if (before && how & BY_POLICY)
		CHECK_OK(sthread_policy_gate(p, before));
	g = GATE(.fn = nothing, .policy = p, .after = how & BY_ORDER ? before : NULL);
	sthread_policy_destroy(p);
	return g;
}

/* Each gate is the last one's reason to be there. */
ST_FN(makes_chain)
{
	unsigned how = (unsigned)(uintptr_t)arg & 7, n = (unsigned)((uintptr_t)arg >> 3);
	struct sthread_gate *first = another(NULL, how), *last = another(first, how), *g;
	int64_t before = gate_word("heap"), after;

	CHECK_GT(before, 0);
	/* The twin: it does hold what it was made with. */
	CHECK_EQ(sthread_gate_call(last, NULL, 0, NULL, 0), how & BY_ORDER ? -EPERM : 0);
	CHECK_EQ(sthread_gate_call(first, NULL, 0, NULL, 0), 0);
	CHECK_EQ(sthread_gate_call(last, NULL, 0, NULL, 0), 0);
	sthread_gate_destroy(first);
	for (unsigned i = 2; i < n; i++) {
		g = another(last, how);
		sthread_gate_destroy(last);
		last = g;
	}
	CHECK_EQ(sthread_gate_call(last, NULL, 0, NULL, 0), how & BY_ORDER ? -EPERM : 0);
	after = gate_word("heap");
	CHECK_LT(after - before, AT_ONCE);
	if (!(how & LEFT))
		sthread_gate_destroy(last);
	return (void *)7;
}

static void of_compartment(void)
{
	uintptr_t n = test_scale(LINKS);
	struct sthread_gate *g = GATE(.name = "heap", .fn = heap, .native = true);
	struct sthread_policy *p = gate_policy(g);
	struct sthread_result r;

	for (unsigned how = BY_POLICY; how <= (BY_POLICY | BY_ORDER | LEFT); how++) {
		if (how == LEFT)
			continue;
		NOTE("%s%s%s", how & BY_POLICY ? "by policy " : "",
		     how & BY_ORDER ? "by order " : "", how & LEFT ? "left to the end" : "");
		r = st_both[how % 2](p, makes_chain, (void *)(n << 3 | how));
		ST_RETURNED(&r, 7);
		st_others_live();
	}
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
}

/* ---- the program's ---- */

static bool open_yet(int fd)
{
	struct pollfd p = { .fd = fd };

	CHECK(poll(&p, 1, 0) >= 0);
	return !(p.revents & (POLLHUP | POLLERR));
}

/* The first one holds a pipe's end for writing: when all has gone, it has.  `after`, not by policy: by order. */
static struct sthread_gate *chain(unsigned n, bool after, int *pipe_end)
{
	struct sthread_policy *p = st_policy();
	struct sthread_gate *g, *last;
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	st_grant(p, fd[1], STHREAD_FD_WRITE);
	close(fd[1]);
	*pipe_end = fd[0];
	last = GATE(.name = "last", .fn = nothing, .policy = p);
	sthread_policy_destroy(p);
	for (unsigned i = 1; i < n; i++) {
		p = after ? NULL : gate_policy(last);
		g = GATE(.name = "last", .fn = nothing, .policy = p, .after = after ? last : NULL);
		sthread_policy_destroy(p);
		sthread_gate_destroy(last);
		last = g;
	}
	return last;
}

static void *lets_go(void *gate)
{
	sthread_gate_destroy(gate);
	return NULL;
}

/* By a thread with the smallest stack there is. */
static void on_small_stack(struct sthread_gate *g)
{
	pthread_attr_t attr;
	pthread_t t;

	CHECK(!pthread_attr_init(&attr) &&
	      !pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN));
	CHECK(!pthread_create(&t, &attr, lets_go, g));
	pthread_attr_destroy(&attr);
	CHECK(!life_join(t));
}

ST_FN(asks_last)
{
	char c;

	CHECK_EQ(read((int)(intptr_t)arg, &c, 1), 1);
	CHECK_EQ(gate_ask("last", NULL, 0, NULL, 0), 0);
	return NULL;
}

/* A run that nobody joins is the last to hold it: the thread that ran it lets go. */
static void on_worker(struct sthread_gate *g, int end)
{
	struct sthread_policy *p = gate_policy(g);
	struct sthread *st;
	int go[2];

	CHECK(!pipe2(go, O_CLOEXEC));
	st_allow(p, SYS_read);
	st_grant(p, go[0], STHREAD_FD_READ);
	st = st_create(p, asks_last, (void *)(intptr_t)go[0]);
	CHECK_OK(sthread_detach(st));
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
	CHECK(open_yet(end));
	CHECK_EQ(write(go[1], "x", 1), 1);
	LIFE_UNTIL(!open_yet(end));
	close(go[0]);
	close(go[1]);
}

static void of_program(void)
{
	unsigned n = (unsigned)test_scale(PLENTY);
	struct sthread_gate *g;
	int end;

	for (int after = 0; after <= 1; after++) {
		g = chain(n, after, &end);
		CHECK(open_yet(end));
		on_small_stack(g);
		CHECK(!open_yet(end));
		close(end);
		st_others_live();
	}
	g = chain(n, false, &end);
	on_worker(g, end);
	close(end);
	st_others_live();
}

int main(void)
{
	st_init();
	NOTE("a compartment's");
	of_compartment();
	NOTE("the program's");
	of_program();
	sthread_fini();
	return TEST_PASSED;
}
