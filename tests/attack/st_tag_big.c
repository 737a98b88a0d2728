/* SPDX-License-Identifier: MIT */
/*
 * Gigabytes of a tag that the host clears or copies for a compartment do not keep it from its end.  World: host; ST_FN:
 * inside.
 */
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/st_tag.h"

#define MIB (1UL << 20)
#define GIB (1UL << 30)
#define BIG (8 * GIB)

/* In a small tag, for both sides. */
struct board {
	struct sthread_tag *big;
	atomic_uint step;
};

ST_FN(clears)
{
	struct board *b = arg;

	b->step = 1;
	CHECK(sthread_calloc(b->big, 1, 7 * GIB));
	b->step = 2;
	return NULL;
}

/* Something lies behind the block, so that it must move; what was not touched is copied like anything else. */
ST_FN(copies)
{
	struct board *b = arg;
	void *p = sthread_malloc(b->big, 3 * GIB);

	CHECK(p && sthread_malloc(b->big, 4096));
	b->step = 1;
	CHECK(sthread_realloc(b->big, p, 4 * GIB));
	b->step = 2;
	return NULL;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Killed when the host has been at it for a while. */
static void killed(st_fn *fn)
{
	const struct timespec while_ = { .tv_nsec = 30000000 };
	struct sthread_tag *control = tag("control", 4096), *big = tag("big", BIG);
	struct board *b = sthread_tag_start(control);
	struct sthread_policy *p = grants(control, STHREAD_WRITE);
	struct sthread_result r;
	struct sthread *st;
	uint64_t at;

	*b = (struct board){ .big = big };
	CHECK_OK(sthread_policy_tag(p, big, STHREAD_WRITE));
	st = st_create(p, fn, b);
	while (!b->step)
		sched_yield();
	nanosleep(&while_, NULL);
	at = now();
	CHECK_OK(sthread_kill(st));
	r = st_join(st);
	at = now() - at;
	ST_END(&r, STHREAD_KILLED);
	CHECK_EQ(b->step, 1u);
	CHECK_MSG(at < st_late() / 8, "%" PRIu64 " ms", at / 1000000);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(control));
	CHECK_OK(sthread_tag_destroy(big));
}

/* ---- the twin: who is not stopped has all of it ---- */

#define LEN (48 * MIB + 8)

static bool all(const unsigned char *p, size_t n, unsigned char value)
{
	return *p == value && !memcmp(p, p + 1, n - 1);
}

ST_FN(has_all_of_it)
{
	struct board *b = arg;
	unsigned char *p = sthread_malloc(b->big, LEN), *q;

	CHECK(p);
	memset(p, 0x5a, LEN);
	CHECK(sthread_malloc(b->big, 4096));
	q = sthread_realloc(b->big, p, 2 * LEN);
	CHECK(q && q != p);
	CHECK(all(q, LEN, 0x5a));
	/* In the place of what was freed just now. */
	p = sthread_calloc(b->big, LEN, 1);
	CHECK(p);
	CHECK(all(p, LEN, 0));
	p[LEN - 1] = 1;
	CHECK(sthread_realloc(b->big, q, LEN / 2));
	sthread_free(p);
	return NULL;
}

static void not_stopped(void)
{
	struct sthread_tag *control = tag("control", 4096), *big = tag("big", GIB);
	struct board *b = sthread_tag_start(control);
	struct sthread_policy *p = grants(control, STHREAD_WRITE);

	*b = (struct board){ .big = big };
	CHECK_OK(sthread_policy_tag(p, big, STHREAD_WRITE));
	ST_PASSES(p, has_all_of_it, b);
	/* And so has the program. */
	CHECK(!has_all_of_it(b));
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(control));
	CHECK_OK(sthread_tag_destroy(big));
}

int main(void)
{
	st_init();
	killed(clears);
	killed(copies);
	not_stopped();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
