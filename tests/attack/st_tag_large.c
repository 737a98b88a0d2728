/* SPDX-License-Identifier: MIT */
/*
 * Zeroing and moving a large block takes its time: it is the compartment's own, which ends at its limit or when it is
 * killed.  World: host; ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_nested.h"

#define MIB (1UL << 20)
#define GIB (1UL << 30)

struct board {
	struct sthread_tag *large; /* far more than can be touched within the limit */
	_Atomic uint64_t begun;
};

ST_FN(zeroes)
{
	struct board *b = arg;

	b->begun++;
	return sthread_calloc(b->large, 3, GIB);
}

/* What lies behind it is taken: it can only grow elsewhere. */
ST_FN(moves)
{
	struct board *b = arg;
	char *p = sthread_malloc(b->large, GIB);

	CHECK(p && sthread_malloc(b->large, MIB));
	b->begun++;
	return sthread_realloc(b->large, p, 2 * GIB);
}

static void ends(st_fn *fn, bool by_kill)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	uint64_t start;

	CHECK_OK(sthread_tag_create(&board->large, "large", 4 * GIB));
	CHECK_OK(sthread_policy_tag(p, board->large, STHREAD_WRITE));
	board->begun = 0;
	if (by_kill) {
		struct sthread *st = st_create(p, fn, board);

		LIFE_UNTIL(board->begun);
		life_nap(50000);
		start = life_now();
		CHECK_OK(sthread_kill(st));
		CHECK_LE(life_now() - start, st_late());
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
	} else {
		const uint64_t limit = 200 * MS * st_slow();

		st_limit(p, STHREAD_LIMIT_WALL_NS, limit);
		start = life_now();
		r = st_call(p, fn, board);
		CHECK_LE(life_now() - start, limit + st_late());
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		CHECK_EQ(board->begun, 1);
	}
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(board->large));
	st_others_live();
}

/* The twin: a block of a size that is fine is zeros, and keeps its bytes where it goes. */
ST_FN(small_ones)
{
	struct board *b = arg;
	char *p = sthread_malloc(b->large, MIB), *q;

	CHECK(p);
	memset(p, 'x', MIB);
	sthread_free(p);
	p = sthread_calloc(b->large, 16, MIB / 16);
	CHECK(p);
	for (size_t i = 0; i < MIB; i++)
		CHECK_EQ(p[i], 0);
	memset(p, 'y', MIB);
	CHECK(sthread_malloc(b->large, MIB)); /* behind it */
	CHECK(!sthread_realloc(b->large, p, 8 * GIB) && errno == ENOMEM);
	q = sthread_realloc(b->large, p, 2 * MIB);
	CHECK(q && q != p && q[0] == 'y' && q[MIB - 1] == 'y');
	CHECK(!sthread_realloc(b->large, p, 100) && errno == EINVAL); /* it is no more */
	p = sthread_realloc(b->large, q, 100);
	CHECK(p && p != q && p[0] == 'y' && p[99] == 'y');
	CHECK(sthread_realloc(b->large, p, 90) == p);
	sthread_free(p);
	return NULL;
}

static void twin(void)
{
	struct sthread_policy *p = of_master();

	CHECK_OK(sthread_tag_create(&board->large, "large", 4 * GIB));
	CHECK_OK(sthread_policy_tag(p, board->large, STHREAD_WRITE));
	both_ways(p, small_ones, board);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(board->large));
}

int main(void)
{
	st_init();
	board_init();
	for (int by_kill = 0; by_kill < 2; by_kill++) {
		ends(zeroes, by_kill);
		ends(moves, by_kill);
	}
	twin();
	sthread_fini();
	return TEST_PASSED;
}
