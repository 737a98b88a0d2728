/* SPDX-License-Identifier: MIT */
/*
 * A run at its limit of memory, where the host looks through hundreds of thousands of its pages for some that it does not
 * need, ends when it is to end.  World: host; ST_FN: inside.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/kvm/st_life.h"
#include "tests/st_nested.h"

#define PAGE  4096UL
#define LIMIT (512UL << 20)

static int zeros; /* a descriptor */

struct board {
	_Atomic uint64_t at; /* pages touched */
};

/* What was only read is not needed, and lies between what is. */
ST_FN(fills)
{
	volatile char *p =
		mmap(NULL, 2 * LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct board *b = arg;

	CHECK(p != MAP_FAILED);
	for (b->at = 0; b->at < 2 * LIMIT / PAGE; b->at++) {
		if (b->at % 2)
			p[b->at * PAGE] = 1;
		else
			CHECK_EQ(p[b->at * PAGE], 0);
	}
	return (void *)1;
}

/* The same by system calls, many pages at a time: zeros are written to them, which is what they began as. */
ST_FN(has_filled)
{
	char *p = mmap(NULL, 2 * LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct board *b = arg;

	CHECK(p != MAP_FAILED);
	for (b->at = 0; b->at < 2 * LIMIT / PAGE; b->at += 64) {
		CHECK_EQ(read(zeros, p + b->at * PAGE, 64 * PAGE), 64 * PAGE);
		for (unsigned i = 1; i < 64; i += 2)
			p[(b->at + i) * PAGE] = 1;
	}
	return (void *)1;
}

/* It stands still: the host is at work.  Or it takes too long to get there. */
static void await(void)
{
	uint64_t start = life_now(), since = start, last = 0;

	while (life_now() - since < 200 * MS && life_now() - start < 4000 * MS) {
		if (board->at != last || !last) {
			last = board->at;
			since = life_now();
		}
		life_nap(1000);
	}
}

static void killed(st_fn *fn)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	struct sthread *st;
	uint64_t start;

	st_limit(p, STHREAD_LIMIT_MEMORY, LIMIT);
	st_allow(p, SYS_read);
	st_grant(p, zeros, STHREAD_FD_READ);
	board->at = 0;
	st = st_create(p, fn, board);
	await();
	start = life_now();
	CHECK_OK(sthread_kill(st));
	start = life_now() - start;
	CHECK_MSG(start < st_late() / 4, "%" PRIu64 " ms, at page %" PRIu64, start / MS, board->at);
	r = st_join(st);
	ST_END(&r, STHREAD_KILLED);
	sthread_policy_destroy(p);
}

/* The twin: it goes on without what it does not need, up to what it does. */
static void over_limit(void)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, 8UL << 20);
	r = st_call(p, fills, board);
	ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	CHECK_GT(board->at, (8UL << 20) / PAGE);
	sthread_policy_destroy(p);
}

int main(void)
{
	zeros = open("/dev/zero", O_RDONLY);
	CHECK_GE(zeros, 0);
	st_init();
	board_init();
	killed(fills);
	killed(has_filled);
	over_limit();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
