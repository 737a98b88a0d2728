/* SPDX-License-Identifier: MIT */
/*
 * No time is to be had by those that are stopped late: what a child takes beyond what it was lent, and what it takes to
 * begin and to end it, is its maker's.  World: host; gates and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_nested.h"

#include "sthread/process.h"
#include "vm/vm.h"

struct board {
	_Atomic uint64_t made;
};

/* Hardly any, of all that is lent. */
static struct sthread_policy *of_a_moment(uint64_t cpu)
{
	struct sthread_policy *p = fresh();

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, cpu));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 0));
	return p;
}

ST_FN(one_by_one)
{
	struct sthread_policy *p = of_a_moment(1);
	struct sthread_result r;
	int err;

	board = arg;
	while (!(err = sthread_call(p, burns, NULL, &r))) {
		CHECK(r.end == STHREAD_OVER_LIMIT && r.limit == STHREAD_LIMIT_CPU_NS);
		board->made++;
	}
	CHECK_ERR(err, -EDQUOT);
	return NULL;
}

ST_FN(side_by_side)
{
	struct sthread_policy *p = of_a_moment(0);
	const struct timespec nap = { 0, 100000 };
	struct sthread *st;
	int err;

	board = arg;
	while (!(err = sthread_create(&st, p, burns, NULL)) || err == -EAGAIN) {
		if (err)
			nanosleep(&nap, NULL);
		else
			CHECK_OK(sthread_detach(st));
		board->made += !err;
	}
	CHECK_ERR(err, -EDQUOT);
	return NULL;
}

/* A gate has some of its maker's time, and its children far less of that than they take. */
static ssize_t has_children(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_policy *p = of_a_moment(1);
	struct sthread *st[8];
	unsigned n = 0;

	(void)trusted, (void)in, (void)in_len;
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 64 << 10));
	while (n < 8 && !sthread_create(&st[n], p, burns, NULL))
		n++;
	for (unsigned i = 0; i < n; i++)
		CHECK_OK(sthread_join(st[i], NULL));
	return gate_answer(out, out_cap, n);
}

ST_FN(by_gates)
{
	struct sthread_policy *p = of_a_moment(10 * MS * st_slow());
	struct sthread_gate *g;
	int64_t word;
	int err;

	board = arg;
	while (!(err = try_gate(&g, p, has_children, NULL))) {
		word = gate_word_of(g, NULL, 0);
		CHECK(word >= 0 || word == -ETIMEDOUT);
		board->made += word > 0 ? (uint64_t)word : 1; /* or it was stopped while it made them */
		sthread_gate_destroy(g);
	}
	CHECK_ERR(err, -EDQUOT);
	return NULL;
}

/* What stubs took: they have clocks of their own. */
static uint64_t used_by_stubs(void)
{
	uint64_t sum = 0;

	if (!process.vm)
		return 0;
	pthread_mutex_lock(&process.vm->lock);
	for (struct dune_vcpu *c = process.vm->vcpus; c; c = c->next)
		sum += dune_vcpu_cpu_time(c);
	pthread_mutex_unlock(&process.vm->lock);
	return sum;
}

static uint64_t used(void)
{
	struct timespec t;

	CHECK(!clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec + used_by_stubs();
}

static void bounded(st_fn *fn, const char *name, st_run_fn *how)
{
	const uint64_t limit = 200 * MS * st_slow();
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	uint64_t start, cpu;

	st_limit(p, STHREAD_LIMIT_CPU_NS, limit);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 100 * limit);
	board->made = 0;
	start = used();
	r = how(p, fn, board);
	cpu = used() - start;
	NOTE("%s: %" PRIu64 " made, %" PRIu64 " ms of %" PRIu64, name, board->made, cpu / MS,
	     limit / MS);
	if (r.end == STHREAD_OVER_LIMIT)
		ST_LIMIT(&r, STHREAD_LIMIT_CPU_NS);
	else
		ST_RETURNED(&r, 0);
	CHECK_GE(board->made, 4);
	/* What stubs took that are gone is not known any more. */
	CHECK_GE(cpu, test_placement() == TEST_PLACEMENT_PROCESS ? limit / 20 : limit / 2);
	CHECK_LE(cpu, 4 * limit); /* with what cleans up behind them, and the watch */
	sthread_policy_destroy(p);
}

/* The twin: what a child leaves of its part comes back, so that there is no end of those that take little. */
ST_FN(returns_at_once)
{
	struct sthread_policy *p = of_a_moment((uint64_t)arg / 2);
	struct sthread_result r;

	for (unsigned i = 0; i < 20; i++) {
		CHECK_OK(sthread_call(p, returns, NULL, &r));
		CHECK(r.end == STHREAD_RETURNED);
	}
	return NULL;
}

int main(void)
{
	struct sthread_policy *p;

	st_init();
	board_init();
	for (unsigned i = 0; i < 2; i++) {
		bounded(one_by_one, "one by one", st_both[i]);
		bounded(side_by_side, "side by side", st_both[i]);
		bounded(by_gates, "by gates", st_both[i]);
	}
	p = of_master();
	st_limit(p, STHREAD_LIMIT_CPU_NS, 2000 * MS * st_slow());
	both_ways(p, returns_at_once, (void *)(2000 * MS * st_slow()));
	sthread_policy_destroy(p);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
