/* SPDX-License-Identifier: MIT */
/*
 * Handles of policies and sthreads are their maker's own: no number that was guessed, stolen or let go of is one, and
 * results go only where it may write.  World: host; ST_FN: inside.
 */
#include "tests/st_nested.h"

struct board {
	_Atomic uint64_t go, stolen_st, stolen_policy;
};

ST_FN(forges)
{
	struct sthread_policy *p = fresh(), *gone = fresh();
	struct sthread_result r = { .end = STHREAD_LOST };
	struct sthread *st, *joined;
	struct board *b = arg;

	CHECK_OK(sthread_create(&joined, p, returns, NULL));
	CHECK_OK(sthread_join(joined, NULL));
	CHECK_OK(sthread_create(&st, p, rests, NULL));
	sthread_policy_destroy(gone);
	for (int bit = 0; bit < 64; bit++) {
		CHECK_ERR(sthread_kill((void *)((uintptr_t)st ^ 1UL << bit)), -EINVAL);
		CHECK_ERR(sthread_policy_limit((void *)((uintptr_t)p ^ 1UL << bit), STHREAD_LIMIT_FDS, 1), -EINVAL);
	}
	void *const bad[] = { NULL, (void *)-1, joined, gone, b, (void *)(uintptr_t)forges,
			      (void *)b->stolen_st, (void *)b->stolen_policy };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(sthread_join(bad[i], &r), -EINVAL);
		CHECK_ERR(sthread_kill(bad[i]), -EINVAL);
		CHECK_ERR(sthread_detach(bad[i]), -EINVAL);
		CHECK_ERR(sthread_policy_limit(bad[i], STHREAD_LIMIT_FDS, 1), -EINVAL);
		if (bad[i])
			CHECK_ERR(sthread_create(&joined, bad[i], returns, NULL), -EINVAL);
		sthread_policy_destroy(bad[i]);
	}
	CHECK_ERR(sthread_policy_limit((void *)st, STHREAD_LIMIT_FDS, 1), -EINVAL);
	CHECK_ERR(sthread_kill((void *)p), -EINVAL);
	CHECK_EQ(r.end, STHREAD_LOST);
	/* Results go where its maker may write; functions are those of the image. */
	CHECK_ERR(sthread_join(st, (void *)8), -EFAULT);
	CHECK_ERR(sthread_join(st, (void *)0x7ffffffff000), -EFAULT);
	CHECK_ERR(sthread_call(p, returns, NULL, (void *)(uintptr_t)forges), -EFAULT);
	CHECK_ERR(sthread_call(p, (st_fn *)(uintptr_t)&r, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(p, NULL, NULL, &r), -EINVAL);
	CHECK_OK(sthread_kill(st));
	CHECK_OK(sthread_join(st, &r));
	CHECK_EQ(r.end, STHREAD_KILLED);
	return NULL;
}

/* Its handles lie open for others, while it is there. */
ST_FN(shows_handles)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread *st;

	CHECK_OK(sthread_create(&st, p, rests, NULL));
	board->stolen_policy = (uint64_t)p;
	board->stolen_st = (uint64_t)st;
	board->go = 1;
	CHECK_OK(sthread_join(st, NULL));
	return NULL;
}

static void handles(void)
{
	struct sthread_policy *p = of_master();
	struct sthread *victim;
	struct sthread_result r;

	victim = st_create(p, shows_handles, board);
	while (!board->go)
		usleep(1000);
	ST_PASSES(p, forges, board);
	CHECK_OK(sthread_kill(victim));
	r = st_join(victim);
	ST_END(&r, STHREAD_KILLED);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	board_init();
	handles();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
