/* SPDX-License-Identifier: MIT */
/*
 * st_churn.c - four threads create, call, kill, detach, join and let fault, in random order, thousands of times: every
 * result is one that can be, nothing of the master's changes, and nothing grows.  World: host; what is marked runs
 * inside.
 */
#include <stdatomic.h>
#include <sys/mman.h>

#include "tests/kvm/st_life.h"

#define THREADS 4
#define CANARY (1UL << 20)

static char *canary;    /* zero in the image */
static int quiet[2];
static struct sthread_policy *plain, *brief;
static atomic_bool over;

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

/* Its own copies: that no earlier run has left anything there, and that the master does not see it. */
static void *scribbles(void *arg)
{
	for (size_t i = (uintptr_t)arg % 4096; i < CANARY; i += 16 * 4096) {
		if (canary[i])
			return (void *)(i + 1);
		canary[i] = 'x';
	}
	return NULL;
}

static void *allocates(void *arg)
{
	for (unsigned i = 1; i < 20; i++) {
		char *p = malloc(i * 5000);

		if (!p)
			return (void *)1;
		memset(p, 'a', i * 5000);
		free(p);
	}
	return (char *)arg + 1;
}

static void *reads(void *arg)
{
	char c;

	return read(quiet[0], &c, 1) < 0 ? (void *)(intptr_t)-errno : arg;
}

static void *faults(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

/* ---- outside ------------------------------------------------------------------------------------------------------ */

static char pattern(size_t i)
{
	return (char)(i * 31 + (i >> 12) * 7 + 1);
}

static void canary_lives(void)
{
	for (size_t i = 0; i < CANARY; i++)
		CHECK_MSG(canary[i] == pattern(i), "byte %zu of the master's has changed", i);
}

static void *watches(void *arg)
{
	while (!atomic_load(&over)) {
		canary_lives();
		life_nap(20000);
	}
	return arg;
}

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
	return *seed >> 33;
}

static void create_and_kill(st_fn *fn, unsigned us)
{
	struct sthread *st = st_create(plain, fn, (void *)1);
	struct sthread_result r;

	if (us)
		life_nap(us);
	CHECK_OK(sthread_kill(st));
	r = st_join(st);
	ST_END(&r, STHREAD_KILLED);
}

/* It may end before the kill does. */
static void race(void)
{
	struct sthread *st = st_create(plain, plus_one, (void *)1);
	struct sthread_result r;
	int err = sthread_kill(st);

	CHECK(!err || err == -ESRCH);
	r = st_join(st);
	if (r.end != STHREAD_KILLED)
		ST_RETURNED(&r, 2);
}

static void one(uint64_t *seed)
{
	uintptr_t x = next(seed) & 0xffff;
	struct sthread_result r;

	switch (next(seed) % 16) {
	case 0: case 1: case 2:
		r = st_call(plain, plus_one, (void *)x);
		ST_RETURNED(&r, x + 1);
		break;
	case 3: case 4: case 5:
		r = st_run(plain, plus_one, (void *)x);
		ST_RETURNED(&r, x + 1);
		break;
	case 6: case 7:
		ST_PASSES(plain, scribbles, x);
		break;
	case 8:
		r = st_run(plain, scribbles, (void *)x);
		ST_RETURNED(&r, 0);
		break;
	case 9:
		r = st_run(plain, allocates, (void *)x);
		ST_RETURNED(&r, x + 1);
		break;
	case 10: create_and_kill(life_spins, x % 300); break;
	case 11: create_and_kill(reads, x % 300); break;
	case 12: race(); break;
	case 13: CHECK_OK(sthread_detach(st_create(plain, x % 2 ? plus_one : scribbles, NULL))); break;
	case 14:
		r = st_call(brief, x % 2 ? life_spins : reads, NULL);
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		break;
	case 15:
		r = x % 2 ? st_call(plain, faults, (void *)(x % 4096)) : st_run(plain, faults, (void *)(x % 4096));
		ST_END(&r, STHREAD_FAULTED);
		CHECK_EQ(r.address, x % 4096);
		break;
	}
}

static unsigned long rounds;

static void *churns(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 977 + 5;

	for (unsigned long i = 0; i < rounds; i++)
		one(&seed);
	return NULL;
}

static void all(unsigned long n)
{
	pthread_t t[THREADS];

	rounds = n / THREADS + 1;
	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = life_thread(churns, (void *)(i + n));
	for (int i = 0; i < THREADS; i++)
		life_join(t[i]);
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_EQ(life_stats().vcpus_lost, 0);
}

int main(void)
{
	unsigned long n = test_scale(10000);
	struct sthread_stats was, now;
	uint64_t rss, start;
	unsigned fds;
	pthread_t w;

	canary = mmap(NULL, CANARY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(canary != MAP_FAILED);
	CHECK(!pipe2(quiet, O_CLOEXEC));
	st_init();
	for (size_t i = 0; i < CANARY; i++)
		canary[i] = pattern(i);
	plain = st_policy();
	st_allow(plain, SYS_read);
	st_grant(plain, quiet[0], STHREAD_FD_READ);
	brief = st_policy();
	st_allow(brief, SYS_read);
	st_grant(brief, quiet[0], STHREAD_FD_READ);
	st_limit(brief, STHREAD_LIMIT_WALL_NS, 300000);

	w = life_thread(watches, NULL);
	all(n / 4);
	was = life_stats();
	rss = life_rss();
	fds = life_fds();
	start = life_now();
	all(n);
	now = life_stats();
	NOTE("%lu rounds in %" PRIu64 " ms: pages %" PRIu64 " -> %" PRIu64 ", tables %" PRIu64 " -> %" PRIu64 ", vCPUs %"
	     PRIu64 " -> %" PRIu64 ", resident %" PRIu64 " -> %" PRIu64 " KiB, descriptors %u -> %u",
	     n, (life_now() - start) / 1000000, was.pages_used, now.pages_used, was.table_pages, now.table_pages, was.vcpus,
	     now.vcpus, rss, life_rss(), fds, life_fds());
	/* A thread more that was busy at the same moment brings a lane of its own: that is all. */
	CHECK_LE(now.vcpus, was.vcpus + 8);
	CHECK_LE(life_fds(), fds + 8);
	CHECK_LE(now.pages_used, was.pages_used + (now.vcpus - was.vcpus + 4) * 128);
	CHECK_LE(life_rss(), rss + 4096 + (now.vcpus - was.vcpus) * 600);
	CHECK_EQ(now.recycled + now.cold, now.created + now.calls);
	atomic_store(&over, true);
	life_join(w);
	canary_lives();
	sthread_policy_destroy(plain);
	sthread_policy_destroy(brief);
	sthread_fini();
	CHECK_EQ(life_kvm_fds(), 0);
	return TEST_PASSED;
}
