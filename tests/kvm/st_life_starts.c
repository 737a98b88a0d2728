/* SPDX-License-Identifier: MIT */
/*
 * What keeps a compartment from starting is said as it is: no thread for the watch, no descriptor, no guest memory; by
 * the call or, where its thread alone can find out, by the result.  Outputs are untouched, nothing is used up by
 * failing, and afterwards all goes on.  World: host; what is marked runs inside.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/kvm/st_life.h"
#include "tests/st_no_threads.h"

#define MOST 200
#define PAGE 4096UL
#define HUGE (2UL << 20)

/* Inside. */
static void *same(void *arg)
{
	return arg;
}

/* Inside: has so many pages, and says so; until the pipe is closed. */
static void *holds(void *arg)
{
	size_t n = (uintptr_t)arg >> 16;
	unsigned fds = (unsigned)(uintptr_t)arg & 0xffff;
	char *p = mmap(NULL, (n + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0),
	     c = 1;

	if (p == MAP_FAILED)
		return (void *)1;
	for (size_t i = 0; i < n; i++)
		p[i * PAGE] = 1;
	if (write((int)(fds >> 8), &c, 1) != 1)
		return (void *)2;
	return (void *)(read((int)(fds & 0xff), &c, 1) ? 3UL : 0UL);
}

/* ---- */

static const struct sthread_result untouched = { .end = STHREAD_LOST,
						 .value = (void *)0x77,
						 .frames = 99 };

static void no_watch(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r = untouched;
	struct sthread_stats before, after;
	struct sthread *st;

	st_limit(p, STHREAD_LIMIT_WALL_NS, 60000000000);
	ST_PASSES(NULL, same, NULL); /* a lane of this thread; a worker in the pool */
	r = st_run(NULL, same, NULL);
	ST_RETURNED(&r, 0);
	LIFE_UNTIL(!life_stats().live);
	CHECK_OK(sthread_stats(&before));
	atomic_store(&no_threads, true);
	for (int i = 0; i < 20; i++) {
		r = untouched;
		CHECK_ERR(sthread_call(p, same, NULL, &r), -EAGAIN);
		CHECK_MEM(&r, &untouched, sizeof(r));
		LIFE_UNTIL(!life_stats().live); /* the worker rests */
		CHECK_ERR(sthread_create(&st, p, same, NULL), -EAGAIN);
		/* The twin needs no watch. */
		ST_PASSES(NULL, same, NULL);
		LIFE_UNTIL(!life_stats().live);
		r = st_run(NULL, same, NULL);
		ST_RETURNED(&r, 0);
	}
	LIFE_UNTIL(!life_stats().live);
	CHECK_OK(sthread_stats(&after));
	CHECK_EQ(after.ended_limit, before.ended_limit);
	CHECK_EQ(after.live, 0);
	CHECK_EQ(after.vcpus, before.vcpus);
	atomic_store(&no_threads, false);
	r = st_call(p, same, (void *)5);
	ST_RETURNED(&r, 5);
	r = st_run(p, same, (void *)5);
	ST_RETURNED(&r, 5);
	sthread_policy_destroy(p);
}

/* A thread's first call makes a virtual processor. */
static void *calls_once(void *out)
{
	return (void *)(intptr_t)sthread_call(NULL, same, NULL, out);
}

/* A policy for holds(), its argument, and the pipe that lets go of all. */
static struct sthread_policy *holding(int ready[2], int hold[2], void **arg)
{
	struct sthread_policy *p = st_policy();

	CHECK(!pipe(ready) && !pipe(hold));
	CHECK(ready[1] < 256 && hold[0] < 256);
	st_allow(p, SYS_read, SYS_write);
	st_grant(p, ready[1], STHREAD_FD_WRITE);
	st_grant(p, hold[0], STHREAD_FD_READ);
	st_limit(p, STHREAD_LIMIT_MEMORY, UINT64_MAX);
	*arg = (void *)(uintptr_t)(ready[1] << 8 | hold[0]);
	return p;
}

static void let_go(int ready[2], int hold[2])
{
	close(ready[0]);
	close(ready[1]);
	close(hold[0]);
}

static void no_descriptors(void)
{
	struct sthread_result r = untouched;
	struct rlimit was, none;
	struct sthread *st[MOST];
	int ready[2], hold[2], err = 0;
	struct sthread_policy *p;
	unsigned n = 0;
	void *arg;

	p = holding(ready, hold, &arg);
	CHECK(!getrlimit(RLIMIT_NOFILE, &was));
	none = was;
	none.rlim_cur = 3;
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	/* What rests is taken first. */
	while (n < MOST && !(err = sthread_create(&st[n], p, holds, arg)))
		n++;
	CHECK_EQ(err, -EAGAIN);
	CHECK_EQ((intptr_t)life_join(life_thread(calls_once, &r)), -EAGAIN);
	CHECK_MEM(&r, &untouched, sizeof(r));
	/* The twin has what it needs. */
	ST_PASSES(NULL, same, NULL);
	CHECK(!setrlimit(RLIMIT_NOFILE, &was));
	CHECK_EQ((intptr_t)life_join(life_thread(calls_once, &r)), 0);
	ST_RETURNED(&r, 0);
	close(hold[1]);
	while (n) {
		r = st_join(st[--n]);
		ST_RETURNED(&r, 0);
	}
	let_go(ready, hold);
	sthread_policy_destroy(p);
}

/* ---- */

/*
 * Too late for sthread_create() to say so: there is a thread, and an address space, but that guest memory for the tables
 * is missing that the policy's grants take, only the thread finds out.
 */
static struct late {
	struct sthread_policy *wide, *p;
	struct sthread *spare; /* lets go of a thread and an address space */
	int ready[2], hold[2];
	void *map;
} late;

#define TABLES 64 /* more pages than an address space takes, so that less than that is left */

/* Inside. */
static void *reads(void *arg)
{
	return (void *)(uintptr_t)*(unsigned char *)arg;
}

static void late_prepare(void)
{
	void *arg;
	char c;

	CHECK_OK(sthread_map(TABLES * HUGE, &late.map));
	late.wide = st_policy();
	for (size_t i = 0; i < TABLES; i++)
		CHECK_OK(sthread_policy_memory(late.wide, (char *)late.map + i * HUGE + PAGE, PAGE,
					       STHREAD_READ));
	*((unsigned char *)late.map + PAGE) = 42;
	late.p = holding(late.ready, late.hold, &arg);
	late.spare = st_create(late.p, holds, arg);
	CHECK_EQ(read(late.ready[0], &c, 1), 1);
}

/* There is no guest memory; `live` others hold it. */
static void late_found(unsigned live)
{
	const struct sthread_result expected = { .end = STHREAD_NOT_STARTED,
						 .value = (void *)(intptr_t)-ENOMEM };
	struct sthread_result r;
	struct sthread_stats before, after;
	struct sthread *st;
	char text[256];

	close(late.hold[1]);
	r = st_join(late.spare);
	ST_RETURNED(&r, 0);
	LIFE_UNTIL(life_stats().live == live); /* it rests */
	CHECK_OK(sthread_stats(&before));
	CHECK_OK(sthread_create(&st, late.wide, reads, (char *)late.map + PAGE));
	r = untouched;
	CHECK_OK(sthread_join(st, &r));
	/* Of the kind that tables lie in there may be some left. */
	if (test_placement() == TEST_PLACEMENT_PROCESS && r.end == STHREAD_RETURNED) {
		CHECK_EQ((uintptr_t)r.value, 42);
	} else {
		CHECK_MEM(&r, &expected, sizeof(r));
		CHECK_GT(sthread_fault_format(&r, text, sizeof(text)), 0);
		CHECK_STR(text, "sthread was not started: error -12\n");
	}
	LIFE_UNTIL(life_stats().live == live);
	CHECK_OK(sthread_stats(&after));
	CHECK_EQ(after.created, before.created + 1);
}

/* There is memory again, once all have been cleaned up. */
static void late_twin(void)
{
	struct sthread_result r;

	LIFE_UNTIL(!life_stats().live);
	r = st_run(late.wide, reads, (char *)late.map + PAGE);
	ST_RETURNED(&r, 42);
	LIFE_UNTIL(!life_stats().live);
	sthread_policy_destroy(late.wide);
	sthread_policy_destroy(late.p);
	CHECK_OK(sthread_unmap(late.map));
	let_go(late.ready, late.hold);
}

/* ---- */

static void no_guest_memory(void)
{
	struct sthread_policy *p, *any = st_policy();
	struct sthread *st[MOST], *big;
	struct sthread_stats full, s;
	struct sthread_result r;
	int ready[2], hold[2], err = 0;
	unsigned n = 0;
	uint64_t room;
	void *arg;
	char c;

	p = holding(ready, hold, &arg);
	late_prepare();
	ST_PASSES(NULL, same, NULL);
	CHECK_OK(sthread_stats(&s));
	room = s.pages_total - s.pages_used;
	/* For stubs memory is of three kinds, in blocks: pages of another kind are of no use to `big`. */
	if (test_placement() == TEST_PLACEMENT_PROCESS)
		room -= 4 * HUGE / PAGE;
	big = st_create(p, holds, (void *)((room - room / 100 - 400) << 16 | (uintptr_t)arg));
	CHECK_EQ(read(ready[0], &c, 1), 1);
	/* Small ones, until there is no more for another. */
	while (n < MOST && !(err = sthread_create(&st[n], p, holds, arg)))
		n++;
	CHECK_EQ(err, -ENOMEM);
	CHECK_GT(n, 0);
	NOTE("%u more beside %" PRIu64 " pages", n, room);
	CHECK_OK(sthread_stats(&full));
	for (int i = 0; i < 500; i++) {
		struct sthread *none = NULL;

		CHECK_ERR(sthread_create(&none, p, holds, arg), -ENOMEM);
		CHECK(!none);
	}
	/* No number of a virtual processor was used up. */
	CHECK_OK(sthread_stats(&s));
	CHECK_LE(s.vcpus, full.vcpus + 1);
	late_found(n + 1);
	/* Who has what it needs goes on; who needs more ends, with less than its limit. */
	ST_PASSES(NULL, same, NULL);
	st_limit(any, STHREAD_LIMIT_MEMORY, 1UL << 30);
	st_allow(any, SYS_write);
	r = st_call(any, holds, (void *)(4000UL << 16));
	ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	CHECK_LT((uint64_t)r.value, 4000 * PAGE);

	close(hold[1]);
	for (unsigned i = 0; i < n; i++) {
		r = st_join(st[i]);
		CHECK(r.end == STHREAD_RETURNED || r.end == STHREAD_OVER_LIMIT);
	}
	r = st_join(big);
	ST_RETURNED(&r, 0);
	/* And all of it can be had again. */
	ST_PASSES(NULL, same, NULL);
	late_twin();
	for (unsigned i = 0; i < 20; i++)
		st[i] = st_create(NULL, same, (void *)3);
	for (unsigned i = 0; i < 20; i++) {
		r = st_join(st[i]);
		ST_RETURNED(&r, 3);
	}
	sthread_policy_destroy(p);
	sthread_policy_destroy(any);
	let_go(ready, hold);
}

int main(void)
{
	struct sthread_config cfg = life_config();

	cfg.memory = 0;
	st_init_with(cfg);
	NOTE("no thread");
	no_watch();
	NOTE("no descriptor");
	no_descriptors();
	{
		struct sthread_stats s;

		CHECK_OK(sthread_stats(&s));
		cfg.memory = s.image_bytes + (24UL << 20);
	}
	sthread_fini();
	st_init_with(cfg);
	NOTE("no guest memory");
	no_guest_memory();
	sthread_fini();
	return TEST_PASSED;
}
