/* SPDX-License-Identifier: MIT */
/*
 * Children are no way out of limits, counts or depths: what they use is their maker's.  World: host; ST_FN: inside.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/st_nested.h"

/* ---- what one has, two cannot have ---- */

ST_FN(parts_limits)
{
	static const struct {
		enum sthread_limit limit;
		uint64_t whole, part;
	} of[] = { { STHREAD_LIMIT_MEMORY, 32UL << 20, 8UL << 20 }, { STHREAD_LIMIT_FDS, 40, 16 },
		   { STHREAD_LIMIT_CPU_NS, 30000 * MS, 12000 * MS } };
	struct sthread_result r;
	struct sthread *st[8];

	for (int i = 0; i < 3; i++) {
		struct sthread_policy *p = fresh();
		unsigned n = 0;

		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].whole));
		CHECK_ERR(sthread_call(p, returns, NULL, &r), -EDQUOT);
		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].part));
		for (int again = 0; again < 2; again++) {
			for (n = 0; n < 8 && !sthread_create(&st[n], p, returns, NULL); n++)
				;
			CHECK_EQ(n, i ? 2 : 3);
			CHECK_ERR(sthread_create(&st[n], p, returns, NULL), -EDQUOT);
			while (n)
				CHECK_OK(sthread_join(st[--n], NULL));
		}
	}
	return NULL;
}

static void limits(void)
{
	struct sthread_policy *p = st_policy();
	int fd = open("/dev/null", O_RDONLY);

	st_grant(p, fd, STHREAD_FD_READ); /* one that it has itself */
	close(fd);
	st_limit(p, STHREAD_LIMIT_MEMORY, 32UL << 20);
	st_limit(p, STHREAD_LIMIT_FDS, 40);
	st_limit(p, STHREAD_LIMIT_CPU_NS, 30000 * MS);
	ST_PASSES(p, parts_limits, NULL);
	sthread_policy_destroy(p);
}

/* ---- time of children is their maker's ---- */

ST_FN(burns_by_others)
{
	struct sthread_result r;
	uint64_t n = 0;
	int err;

	(void)arg;
	/* Each has an eighth of 800 ms. */
	while (!(err = sthread_call(NULL, burns, NULL, &r))) {
		CHECK(r.end == STHREAD_OVER_LIMIT && r.limit == STHREAD_LIMIT_CPU_NS);
		n++;
	}
	CHECK_ERR(err, -EDQUOT);
	return (void *)n;
}

/* Of 400 ms each, times arg: what its own child used of it. */
ST_FN(burns_by_child)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 300 * MS * (uintptr_t)arg));
	CHECK_OK(sthread_call(p, burns, NULL, &r));
	CHECK(r.end == STHREAD_OVER_LIMIT && r.limit == STHREAD_LIMIT_CPU_NS);
	return arg;
}

ST_FN(burns_by_grandchildren)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;
	uint64_t n = 0;
	int err;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 400 * MS * (uintptr_t)arg));
	while (!(err = sthread_call(p, burns_by_child, arg, &r))) {
		CHECK(r.end == STHREAD_RETURNED);
		n++;
	}
	CHECK_ERR(err, -EDQUOT);
	return (void *)n;
}

static void time_is_parted(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_CPU_NS, 800 * MS * st_slow());
	r = st_run(p, burns_by_others, NULL);
	ST_END(&r, STHREAD_RETURNED);
	CHECK_GE((uint64_t)r.value, 5); /* who is stopped late has used more */
	CHECK_LE((uint64_t)r.value, 7); /* it needs a little itself */
	r = st_run(p, burns_by_grandchildren, (void *)(uintptr_t)st_slow());
	ST_END(&r, STHREAD_RETURNED);
	CHECK_GE((uint64_t)r.value, 1);
	CHECK_LE((uint64_t)r.value, 2);
	sthread_policy_destroy(p);
}

/* ---- what the host keeps for it is its memory ---- */

#define GRANTS 200
#define SPARE  (4 * 4096) /* for what is written on the way from there: the program's own state, counters of gcov */

/* Policies of some 10 KiB each, all that there may be.  How many it can have, of which the last is not complete. */
ST_FN(keeps_policies)
{
	struct sthread_policy *p[STHREAD_NEST_POLICIES];
	char *spare = mmap(NULL, SPARE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned n, i = 0;
	int err = 0;

	CHECK(spare != MAP_FAILED);
	memset(spare, 1, SPARE);
	for (n = 0; n < STHREAD_NEST_POLICIES && !err; n++) {
		err = sthread_policy_create(&p[n]);
		if (err)
			break;
		for (i = 0; i < GRANTS && !err; i++)
			err = sthread_policy_memory(p[n], (char *)arg + i * 8192, 4096, STHREAD_READ);
	}
	if (!err)
		return (void *)(uintptr_t)n;
	CHECK_ERR(err, -ENOMEM);
	CHECK_EQ(munmap(spare, SPARE), 0);
	CHECK_GE(n, 2);
	/* It has as much again as it gives up, and no more. */
	sthread_policy_destroy(p[0]);
	p[0] = fresh();
	for (i = 0; i < GRANTS; i++)
		CHECK_OK(sthread_policy_memory(p[0], (char *)arg + i * 8192, 4096, STHREAD_READ));
	for (i = 0; (p[1] = NULL, !(err = sthread_policy_create(&p[1]))) && i < 64; i++)
		;
	CHECK_ERR(err, -ENOMEM);
	return (void *)(uintptr_t)n;
}

static void policies(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	void *pages;

	CHECK_OK(sthread_map(GRANTS * 8192, &pages));
	CHECK_OK(sthread_policy_memory(p, pages, GRANTS * 8192, STHREAD_READ));
	for (int i = 0; i < 2; i++) {
		st_limit(p, STHREAD_LIMIT_MEMORY, 640 << 10);
		r = st_both[i](p, keeps_policies, pages);
		ST_END(&r, STHREAD_RETURNED);
		CHECK_LT((uint64_t)r.value, 60); /* of 640 KiB, 10.5 each */
		st_limit(p, STHREAD_LIMIT_MEMORY, 4 << 20);
		r = st_both[i](p, keeps_policies, pages);
		ST_RETURNED(&r, STHREAD_NEST_POLICIES);
	}
	sthread_policy_destroy(p);
	CHECK_OK(sthread_unmap(pages));
}

/* ---- exhaustion ---- */

ST_FN(makes_many)
{
	struct sthread_policy *p, *policy[STHREAD_NEST_POLICIES];
	struct sthread *st[STHREAD_NEST_LIVE], *more;
	unsigned n;

	(void)arg;
	for (n = 0; n < STHREAD_NEST_POLICIES; n++)
		policy[n] = fresh();
	CHECK_ERR(sthread_policy_create(&p), -EAGAIN);
	sthread_policy_destroy(policy[7]);
	p = fresh();
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 0));
	for (n = 0; n < STHREAD_NEST_LIVE; n++)
		CHECK_OK(sthread_create(&st[n], p, returns, NULL));
	CHECK_ERR(sthread_create(&more, p, returns, NULL), -EAGAIN);
	CHECK_ERR(sthread_call(p, returns, NULL, NULL), -EAGAIN);
	CHECK_OK(sthread_join(st[3], NULL));
	CHECK_OK(sthread_create(&st[3], p, returns, NULL));
	/* Those that are detached make room when they have ended. */
	for (n = 0; n < STHREAD_NEST_LIVE; n++)
		CHECK_OK(sthread_detach(st[n]));
	while ((n = (unsigned)-sthread_create(&more, p, returns, NULL)) == EAGAIN)
		;
	CHECK_EQ(n, 0);
	return NULL;
}

/* How deep it comes. */
ST_FN(digs)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;
	int err;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, (uint64_t)arg / 2));
	err = sthread_call(p, digs, (void *)((uint64_t)arg / 2), &r);
	if (err) {
		CHECK_ERR(err, -ELOOP);
		return (void *)0;
	}
	CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
	return (char *)r.value + 1;
}

static void exhausted(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, 256UL << 20);
	ST_PASSES(p, makes_many, NULL);
	ST_PASSES(p, makes_many, NULL);
	r = st_run(p, digs, (void *)(256UL << 20));
	ST_RETURNED(&r, STHREAD_NEST_DEPTH);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	limits();
	time_is_parted();
	policies();
	exhausted();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
