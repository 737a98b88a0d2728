/* SPDX-License-Identifier: MIT */
/*
 * st_many.c - a thousand live compartments at once, and what one costs; more than there are virtual processors or
 * descriptors for is -EAGAIN, and passes.  World: host; what is marked runs inside.
 */
#include <poll.h>
#include <sys/resource.h>

#include "tests/kvm/st_life.h"

#define MOST 1100
#define KEPT_MAPPINGS 400 /* 40 MiB of stacks, and heaps of threads, that the C library keeps */
#define FIRST 20 /* before the slope is measured: the pools are full then */

static int quiet[2]; /* the pipe that all wait on */
static struct sthread *st[MOST];

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *nothing(void *arg)
{
	return arg;
}

/* Until the other end is closed. */
static void *polls(void *arg)
{
	struct pollfd f = { .fd = (int)((uintptr_t)arg >> 16), .events = POLLIN };

	return poll(&f, 1, -1) == 1 && (f.revents & POLLHUP) ? arg : (void *)-1;
}

static void *sleeps(void *arg)
{
	struct pollfd f = { .fd = (int)((uintptr_t)arg >> 16), .events = POLLIN };
	const struct timespec t = { 1, 0 };

	do {
		nanosleep(&t, NULL);
	} while (!poll(&f, 1, 0));
	return arg;
}

/* ---- outside ------------------------------------------------------------------------------------------------------ */

static struct sthread_policy *policy(void)
{
	struct sthread_policy *p = st_policy();

	CHECK(!pipe2(quiet, O_CLOEXEC));
	st_allow(p, SYS_poll);
	st_grant(p, quiet[0], STHREAD_FD_POLL);
	return p;
}

/* The descriptor inside, and which one it is. */
static void *number(unsigned i)
{
	return (void *)((uintptr_t)quiet[0] << 16 | i);
}

/* All return what they were passed. */
static void release(unsigned n)
{
	close(quiet[1]);
	for (unsigned i = 0; i < n; i++) {
		struct sthread_result r = st_join(st[i]);

		ST_RETURNED(&r, number(i));
	}
	close(quiet[0]);
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_EQ(life_stats().vcpus_lost, 0);
}

static void *one_call(void *p)
{
	struct sthread_result r;
	int err = sthread_call(p, nothing, (void *)1, &r);

	if (!err)
		ST_RETURNED(&r, 1);
	return (void *)(intptr_t)err;
}

static void a_thousand(unsigned n)
{
	struct sthread_policy *p = policy();
	struct sthread_stats first, last;
	uint64_t start = life_now(), rss = 0;
	double pages;
	struct sthread_result r;

	for (unsigned i = 0; i < n; i++) {
		if (i == FIRST) {
			life_nap(100000); /* these are blocked by now */
			first = life_stats();
			rss = life_rss();
		}
		st[i] = st_create(p, i % 2 ? polls : sleeps, number(i));
	}
	CHECK_EQ(life_stats().live, n);
	life_nap(300000);
	last = life_stats();
	pages = (double)(last.pages_used - first.pages_used) / (n - FIRST);
	NOTE("%u live in %" PRIu64 " ms; each further one: %.2f pages (%.1f KiB) of guest memory, of them %.2f tables; %.1f"
	     " KiB resident in all",
	     n, (life_now() - start) / 1000000, pages, pages * 4,
	     (double)(last.table_pages - first.table_pages) / (n - FIRST), (double)(life_rss() - rss) / (n - FIRST));
	/* A stub has its request page, its signal stack and a page for its next touch besides. */
	CHECK_MSG(pages < (life_stats().machine == STHREAD_MACHINE_KVM ? 16 : 32), "an idle one costs %.2f pages", pages);
	/* The others work as ever meanwhile. */
	r = st_call(p, nothing, (void *)5);
	ST_RETURNED(&r, 5);
	CHECK(!life_join(life_thread(one_call, p)));
	release(n);
	sthread_policy_destroy(p);
}

static void all_live(unsigned n)
{
	struct sthread_stats s = life_stats();

	CHECK_MSG(s.live == n,
		  "%" PRIu64 " live, not %u; ended: %" PRIu64 " by faults, %" PRIu64 " over a limit; %" PRIu64
		  " virtual processors lost",
		  s.live, n, s.ended_faulted, s.ended_limit, s.vcpus_lost);
}

static bool process_machine;

static void none_left(const char *of, unsigned least)
{
	struct sthread_policy *p = policy();
	struct sthread_result r;
	struct sthread *more = NULL;
	unsigned n, fds, kept;
	int err = 0;

	r = st_call(p, nothing, (void *)5); /* from here on this thread has what it needs */
	for (n = 0; n < MOST; n++) {
		err = sthread_create(&st[n], p, polls, number(n));
		if (err)
			break;
	}
	CHECK_ERR(err, -EAGAIN);
	NOTE("no %s left after %u", of, n);
	CHECK_GE(n, life_stats().machine == STHREAD_MACHINE_KVM ? least : least / 2); /* two descriptors each */
	kept = n;
	fds = life_stats().vcpus;
	for (int i = 0; i < 20; i++) {
		CHECK_ERR(sthread_create(&more, p, nothing, NULL), -EAGAIN);
		CHECK_EQ((intptr_t)life_join(life_thread(one_call, p)), -EAGAIN);
	}
	CHECK(!more);
	CHECK_EQ(life_stats().vcpus, fds);
	all_live(n);
	r = st_call(p, nothing, (void *)5);
	ST_RETURNED(&r, 5);
	/* One goes: one more can be had. */
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(sthread_kill(st[--n]));
		r = st_join(st[n]);
		ST_END(&r, STHREAD_KILLED);
	}
	LIFE_UNTIL(life_stats().live == n);
	for (; n < kept; n++)
		st[n] = st_create(p, polls, number(n));
	all_live(kept);
	release(n);
	CHECK(!life_join(life_thread(one_call, p)));
	for (unsigned i = 0; i < 50; i++) {
		r = st_run(p, nothing, (void *)7);
		ST_RETURNED(&r, 7);
	}
	sthread_policy_destroy(p);
}

int main(void)
{
	unsigned n = (unsigned)test_scale(1000);
	struct rlimit limit, few;
	unsigned fds;
	struct life was;
	uint64_t start;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	if (limit.rlim_cur < 2 * MOST)
		SKIP_CPU("only %u descriptors", (unsigned)limit.rlim_cur);
	was = life_take(LIFE_SIGNAL);
	st_init();
	a_thousand(n < 100 + FIRST ? 100 + FIRST : n);
	start = life_now();
	sthread_fini();
	NOTE("sthread_fini: %" PRIu64 " ms", (life_now() - start) / 1000000);
	LIFE_SAME(&was, LIFE_SIGNAL, KEPT_MAPPINGS);

	st_init();
	few = limit;
	few.rlim_cur = 200;
	CHECK(!setrlimit(RLIMIT_NOFILE, &few));
	process_machine = life_stats().machine == STHREAD_MACHINE_PROCESS;
	none_left("descriptor", 100);
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	fds = life_fds();
	if (process_machine)
		NOTE("a stub is no virtual processor of which there is a number");
	else if (n == 1000)
		none_left("virtual processor", 1000);
	else
		NOTE("not all virtual processors are taken: the run is scaled");
	CHECK_LE(life_fds(), fds + 1024);
	start = life_now();
	sthread_fini();
	NOTE("sthread_fini: %" PRIu64 " ms", (life_now() - start) / 1000000);
	LIFE_SAME(&was, LIFE_SIGNAL, KEPT_MAPPINGS);
	return TEST_PASSED;
}
