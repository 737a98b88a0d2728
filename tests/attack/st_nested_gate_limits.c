/* SPDX-License-Identifier: MIT */
/*
 * Gates that compartments make are no way out of limits, counts or depths: what they use is their maker's.  World: host;
 * gates and ST_FN: inside.
 */
#include <fcntl.h>
#include <time.h>

#include "tests/st_nested.h"

struct board {
	_Atomic uint64_t inside, most, burnt, counted;
	_Atomic(struct sthread_gate *) gate;
};

static void returned(const struct sthread_result *r)
{
	CHECK_MSG(r->end == STHREAD_RETURNED, "end %d: %s", r->end, r->message);
}

/* ---- limits: memory and descriptors are taken out of its maker's ---- */

static ssize_t fills(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static volatile char room[16 << 20];

	(void)in, (void)in_len, (void)out, (void)out_cap;
	for (size_t at = 0; at < (size_t)trusted; at += 4096)
		room[at] = 1;
	return !room[0];
}

ST_FN(parts)
{
	static const struct {
		enum sthread_limit limit;
		uint64_t whole, part;
		unsigned fit;
	} of[] = { { STHREAD_LIMIT_MEMORY, 32UL << 20, 8UL << 20, 3 }, { STHREAD_LIMIT_FDS, 40, 16, 2 },
		   { STHREAD_LIMIT_CPU_NS, 60000 * MS, 25000 * MS, 2 } };
	struct sthread_gate *g[8], *more;

	for (int i = 0; i < 3; i++) {
		struct sthread_policy *p = with_board(arg);
		unsigned n;

		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].whole));
		CHECK_ERR(try_gate(&more, p, gate_nothing, NULL), -EDQUOT);
		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].part));
		for (int again = 0; again < 2; again++) {
			for (n = 0; n < 8 && !try_gate(&g[n], p, gate_nothing, NULL); n++)
				;
			CHECK_EQ(n, of[i].fit);
			CHECK_ERR(try_gate(&more, p, gate_nothing, NULL), -EDQUOT);
			CHECK_ERR(sthread_call(p, returns, NULL, NULL), -EDQUOT);
			while (n)
				sthread_gate_destroy(g[--n]);
		}
	}
	/* A gate has what it was lent, and not more. */
	struct sthread_policy *p = with_board(arg);

	CHECK_OK(try_gate(&more, p, fills, (void *)(1UL << 20)));
	CHECK_EQ(sthread_gate_call(more, NULL, 0, NULL, 0), 0);
	CHECK_OK(try_gate(&more, p, fills, (void *)(8UL << 20)));
	CHECK_ERR(sthread_gate_call(more, NULL, 0, NULL, 0), -EDQUOT);
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One call at a time, also of the fresh kind: each waits for another to come. */
static ssize_t gathers(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	uint64_t until = now_ms() + 20, now;
	struct board *b = trusted;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	now = ++b->inside;
	if (b->most < now)
		b->most = now;
	while (b->most < 2 && now_ms() < until)
		;
	b->inside--;
	return 0;
}

ST_FN(asks_often)
{
	struct board *b = arg;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(sthread_gate_call(b->gate, NULL, 0, NULL, 0), 0);
	return NULL;
}

ST_FN(gathered)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_result r;
	struct sthread *st[3];

	CHECK_OK(try_gate((struct sthread_gate **)&board->gate, p, gathers, arg));
	p = of_gate(arg, board->gate);
	for (int i = 0; i < 3; i++)
		CHECK_OK(sthread_create(&st[i], p, asks_often, arg));
	for (int i = 0; i < 3; i++) {
		CHECK_OK(sthread_join(st[i], &r));
		returned(&r);
	}
	return NULL;
}

static void limits(void)
{
	struct sthread_policy *p = of_master();
	int fd = open("/dev/null", O_RDONLY);

	st_grant(p, fd, STHREAD_FD_READ); /* one that it has itself */
	close(fd);
	st_limit(p, STHREAD_LIMIT_MEMORY, 32UL << 20);
	st_limit(p, STHREAD_LIMIT_FDS, 40);
	st_limit(p, STHREAD_LIMIT_CPU_NS, 60000 * MS);
	ST_PASSES(p, parts, board);
	board->inside = board->most = 0;
	ST_PASSES(p, gathered, board);
	CHECK_EQ(board->most, 1);
	sthread_policy_destroy(p);
}

/* ---- time: of what a gate's calls make, and of grandchildren, nothing is forgotten ---- */

/* 100 ms each, until there is no more. */
static uint64_t burn_all(void)
{
	struct sthread_policy *p;
	struct sthread_result r;
	uint64_t n = 0;
	int err;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 100 * MS));
	while (!(err = sthread_call(p, burns, NULL, &r))) {
		CHECK(r.end == STHREAD_OVER_LIMIT && r.limit == STHREAD_LIMIT_CPU_NS);
		n++;
	}
	CHECK_ERR(err, -EDQUOT);
	return n;
}

static ssize_t gate_burns(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct board *b = trusted;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	b->burnt += burn_all();
	return 0;
}

ST_FN(child_burns)
{
	struct board *b = arg;

	b->burnt += burn_all();
	return NULL;
}

/* 1600 ms: 600 of it for a gate, as often as it is called; then for another. */
ST_FN(burns_by_gates)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_gate *g;
	int made = 0;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 600 * MS));
	while (made < 8 && !try_gate(&g, p, gate_burns, arg)) {
		made++;
		for (int i = 0; i < 4; i++) {
			ssize_t n = sthread_gate_call(g, NULL, 0, NULL, 0);

			CHECK(!n || n == -ETIMEDOUT);
		}
		sthread_gate_destroy(g);
	}
	return (void *)(intptr_t)made;
}

ST_FN(burns_by_grandchildren)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_result r;
	int made = 0;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 600 * MS));
	while (made < 8 && !sthread_call(p, child_burns, arg, &r))
		made++;
	return (void *)(intptr_t)made;
}

static void time_is_parted(void)
{
	st_fn *const by[] = { burns_by_gates, burns_by_grandchildren };
	struct sthread_policy *p = of_master();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_CPU_NS, 1600 * MS);
	for (int i = 0; i < 2; i++) {
		board->burnt = 0;
		r = st_run(p, by[i], board);
		/* Two, where it needs little itself; for a third there is not enough left.  Or it needs too much. */
		if (r.end == STHREAD_RETURNED)
			CHECK(r.value == (void *)1 || r.value == (void *)2);
		else
			ST_LIMIT(&r, STHREAD_LIMIT_CPU_NS);
		CHECK_GE(board->burnt, 3); /* of 6 each; and these need a little */
		CHECK_LE(board->burnt, 12);
	}
	sthread_policy_destroy(p);
}

/* ---- exhaustion ---- */

ST_FN(makes_many)
{
	struct sthread_gate *g[STHREAD_NEST_LIVE], *more;
	struct sthread_policy *p = with_board(arg);
	struct sthread *st;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 0));
	for (int i = 0; i < STHREAD_NEST_LIVE; i++)
		CHECK_OK(try_gate(&g[i], p, gate_nothing, NULL));
	CHECK_ERR(try_gate(&more, p, gate_nothing, NULL), -EAGAIN);
	CHECK_ERR(sthread_call(p, returns, NULL, NULL), -EAGAIN);
	for (int i = 0; i < STHREAD_NEST_LIVE; i++)
		CHECK_EQ(sthread_gate_call(g[i], NULL, 0, NULL, 0), 0);
	sthread_gate_destroy(g[5]);
	CHECK_OK(sthread_create(&st, p, returns, NULL));
	CHECK_ERR(try_gate(&more, p, gate_nothing, NULL), -EAGAIN);
	CHECK_OK(sthread_join(st, NULL));
	CHECK_OK(try_gate(&more, p, gate_nothing, NULL));
	return NULL;
}

/* A gate that makes a gate, and calls it: how deep it comes. */
static ssize_t digs(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	uint64_t memory = (uint64_t)trusted / 2;
	struct sthread_policy *p;
	struct sthread_gate *g;
	int64_t below;
	int err;

	(void)in, (void)in_len;
	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, memory));
	err = try_gate(&g, p, digs, (void *)memory);
	if (err) {
		CHECK_ERR(err, -ELOOP);
		return gate_answer(out, out_cap, 0);
	}
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &below, sizeof(below)), (ssize_t)sizeof(below));
	return gate_answer(out, out_cap, below + 1);
}

ST_FN(digs_by_gates)
{
	int64_t depth = -1;

	CHECK_EQ(digs(arg, NULL, 0, &depth, sizeof(depth)), (ssize_t)sizeof(depth));
	return (void *)depth;
}

static void exhausted(void)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, 512UL << 20);
	ST_PASSES(p, makes_many, board);
	ST_PASSES(p, makes_many, board);
	r = st_run(p, digs_by_gates, (void *)(512UL << 20));
	ST_RETURNED(&r, STHREAD_NEST_DEPTH);
	sthread_policy_destroy(p);
}

/* ---- gate calls: those that a gate may make are its maker's, and what it made does not come back ---- */

static ssize_t counts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len, (void)out, (void)out_cap;
	((struct board *)trusted)->counted++;
	return 0;
}

static ssize_t asks_twice(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	CHECK_EQ(gate_ask("counts", NULL, 0, NULL, 0), 0);
	return gate_ask("counts", NULL, 0, NULL, 0);
}

/* Ten are spent at the end. */
ST_FN(calls_by_gates)
{
	struct sthread_gate *master, *g;
	struct sthread_policy *p;

	CHECK_OK(sthread_gate_find(&master, "counts"));
	p = of_gate(arg, master);
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, UINT64_MAX), -EPERM);
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, 4));
	CHECK_OK(try_gate(&g, p, asks_twice, NULL));
	CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0); /* three: itself, and two */
	CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -EDQUOT); /* it has none */
	sthread_gate_destroy(g);
	/* Three are left, or four. */
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, 5));
	CHECK_ERR(try_gate(&g, p, asks_twice, NULL), -EDQUOT);
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, 2));
	CHECK_OK(try_gate(&g, p, asks_twice, NULL));
	CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
	sthread_gate_destroy(g);
	CHECK_EQ(sthread_gate_call(master, NULL, 0, NULL, 0), 0);
	return NULL;
}

static void calls_are_parted(void)
{
	struct sthread_gate *g = GATE(.name = "counts", .fn = counts, .trusted = board, .native = true);
	struct sthread_result r;

	for (uint64_t most = 10; most <= 11; most++) {
		struct sthread_policy *p = of_master();

		CHECK_OK(sthread_policy_gate(p, g));
		st_limit(p, STHREAD_LIMIT_GATE_CALLS, most);
		board->counted = 0;
		r = st_call(p, calls_by_gates, board);
		if (most == 10)
			ST_LIMIT(&r, STHREAD_LIMIT_GATE_CALLS);
		else
			ST_RETURNED(&r, NULL);
		CHECK_EQ(board->counted, most - 4);
		sthread_policy_destroy(p);
	}
	sthread_gate_destroy(g);
}

int main(void)
{
	st_init();
	board_init();
	limits();
	time_is_parted();
	exhausted();
	calls_are_parted();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
