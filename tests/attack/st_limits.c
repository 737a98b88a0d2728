/* SPDX-License-Identifier: MIT */
/*
 * Limits hold, and hold exactly: CPU time ends what computes, wherever it does, and not what waits; private memory
 * counts tables, copies, and what was unmapped until it is free.  World: host; ST_FN: inside.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/st.h"

#define MS   1000000UL
#define MIB  (1UL << 20)
#define GIB  (1UL << 30)
#define PAGE 4096UL

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- CPU time ---- */

ST_FN(computes)
{
	for (uintptr_t n = (uintptr_t)arg; n; n--)
		__asm__ volatile("");
	return NULL;
}

ST_FN(yields)
{
	for (;;)
		syscall(SYS_sched_yield);
	return NULL;
}

ST_FN(asks_who_it_is)
{
	for (;;)
		syscall(SYS_getpid);
	return NULL;
}

ST_FN(faults_in_pages)
{
	for (;;) {
		char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(p != MAP_FAILED);
		for (unsigned i = 0; i < 16; i++)
			p[i * PAGE] = 1;
		CHECK(!munmap(p, 16 * PAGE));
	}
	return NULL;
}

/* The host computes for it. */
ST_FN(takes_random)
{
	size_t len = 256 << 10;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	for (;;)
		CHECK_GT(syscall(SYS_getrandom, p, len, 0), 0);
	return NULL;
}

/* Now and then it does, and mostly it waits. */
ST_FN(naps)
{
	struct timespec t = { 0, 1 * MS };

	for (;;) {
		for (unsigned n = 0; n < 1000000; n++)
			__asm__ volatile("");
		nanosleep(&t, NULL);
	}
	return NULL;
}

ST_FN(waits)
{
	struct timespec t = { 0, (long)(uintptr_t)arg };

	nanosleep(&t, NULL);
	return NULL;
}

static void cpu_time(void)
{
	static const struct {
		st_fn *fn;
		const char *name;
	} attack[] = {
		{ computes, "computes" },	      { yields, "yields" },
		{ asks_who_it_is, "asks_who_it_is" }, { faults_in_pages, "faults_in_pages" },
		{ takes_random, "takes_random" },     { naps, "naps" },
	};
	struct sthread_policy *p = st_policy();
	const uint64_t limit = 60 * MS * st_slow();

	st_limit(p, STHREAD_LIMIT_CPU_NS, limit);
	for (unsigned i = 0; i < 2 * sizeof(attack) / sizeof(attack[0]); i++) {
		uint64_t start = now(), took;
		struct sthread_result r;

		NOTE("%s, by %s", attack[i / 2].name, i % 2 ? "create" : "call");
		r = (i % 2 ? st_run : st_call)(p, attack[i / 2].fn, (void *)UINTPTR_MAX);
		took = now() - start;
		ST_LIMIT(&r, STHREAD_LIMIT_CPU_NS);
		CHECK_HAS(st_words(&r), attack[i / 2].name);
		CHECK_HAS(st_words(&r), "CPU time");
		CHECK_GE((uint64_t)r.value, limit);
		CHECK_LE((uint64_t)r.value, took);
		CHECK_LE((uint64_t)r.value, limit + st_late());
		if (attack[i / 2].fn != naps)
			CHECK_LE(took, limit + st_late());
		st_others_live();
	}
	/* The twins: less of it, and waiting for longer than the limit. */
	ST_PASSES(p, computes, 1000);
	ST_PASSES(p, waits, limit < 300 * MS ? 3 * limit : 999 * MS);
	st_limit(p, STHREAD_LIMIT_CPU_NS, UINT64_MAX - 1);
	ST_PASSES(p, computes, 1000);
	/* Each run begins at nothing, on the same thread, too. */
	st_limit(p, STHREAD_LIMIT_CPU_NS, limit);
	for (unsigned i = 0; i < 5; i++)
		ST_PASSES(p, computes, 1000);
	sthread_policy_destroy(p);
}

/* Of two limits that which comes first; what is used of it is the value. */
static void first_of_two(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_CPU_NS, 20 * MS);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 60000 * MS);
	r = st_call(p, computes, (void *)UINTPTR_MAX);
	ST_LIMIT(&r, STHREAD_LIMIT_CPU_NS);
	st_limit(p, STHREAD_LIMIT_CPU_NS, 60000 * MS);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 20 * MS);
	r = st_call(p, computes, (void *)UINTPTR_MAX);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	CHECK_GE((uint64_t)r.value, 20 * MS);
	CHECK_LE((uint64_t)r.value, 20 * MS + st_late());
	r = st_call(p, waits, (void *)(999 * MS));
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	sthread_policy_destroy(p);
}

/* ---- private memory ---- */

static char *map(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

#define LIMIT (2 * MIB)
#define FITS  400UL /* pages */
#define MOST  1100UL

/* So many pages, so far apart that each takes a table, or two, of its own. */
ST_FN(a_page_each_2_mib)
{
	char *p = map(60 * GIB);

	for (size_t i = 0; i < (uintptr_t)arg; i++)
		p[i * 2 * MIB] = 1;
	return NULL;
}

ST_FN(a_page_each_quarter_gib)
{
	char *p = map(60 * GIB);

	for (size_t i = 0; i < (uintptr_t)arg; i++)
		p[i * GIB / 4] = 1;
	return NULL;
}

static char image[MOST * PAGE]; /* filled before the checkpoint */

ST_FN(copies_of_the_image)
{
	for (size_t i = 0; i < (uintptr_t)arg; i++)
		((volatile char *)image)[i * PAGE] = 2;
	return NULL;
}

/* More than its limit in all, never at once: what was unmapped is its own no more. */
ST_FN(unmaps)
{
	for (unsigned i = 0; i < 3; i++) {
		char *p = map(MOST * PAGE);

		for (size_t n = 0; n < (uintptr_t)arg; n++)
			p[n * PAGE] = 1;
		CHECK(!munmap(p, MOST * PAGE));
	}
	return NULL;
}

/* The same, where no entry of a page table is there any more that would have to be taken away. */
ST_FN(unmaps_without_rights)
{
	for (unsigned i = 0; i < 3; i++) {
		char *p = map(MOST * PAGE);

		for (size_t n = 0; n < (uintptr_t)arg; n++)
			p[n * PAGE] = 1;
		CHECK(!mprotect(p, MOST * PAGE, PROT_NONE));
		/* A page of each hundred stays, and with it every table. */
		for (size_t n = 0; n < MOST; n += 100)
			CHECK(!munmap(p + n * PAGE, 99 * PAGE));
	}
	return NULL;
}

ST_FN(unmaps_in_part)
{
	char *p = map(MOST * PAGE);

	for (unsigned i = 0; i < 5; i++) {
		for (size_t n = 0; n < (uintptr_t)arg; n++)
			p[n * PAGE] = 1;
		for (size_t n = i % 2; n < 120; n += 2)
			CHECK(!munmap(p + n * PAGE, PAGE));
		CHECK(mmap(p, 120 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      p);
	}
	return NULL;
}

ST_FN(protects)
{
	char *p = map(MOST * PAGE);

	for (unsigned i = 0; i < 10; i++) {
		for (size_t n = 0; n < (uintptr_t)arg; n++)
			p[n * PAGE] = 1;
		CHECK(!mprotect(p, 60 * PAGE, i % 3 ? PROT_READ : PROT_NONE));
		CHECK(!mprotect(p + 30 * PAGE, 60 * PAGE, PROT_NONE));
		CHECK(!mprotect(p, MOST * PAGE, PROT_READ | PROT_WRITE));
	}
	return NULL;
}

/* Another thread sees how much guest memory is in use while a compartment runs. */
static atomic_bool watching;

static void *peak(void *unused)
{
	uint64_t most = 0;

	(void)unused;
	while (atomic_load(&watching)) {
		const struct timespec nap = { 0, 200000 };
		struct sthread_stats s;

		CHECK_OK(sthread_stats(&s));
		most = s.pages_used > most ? s.pages_used : most;
		nanosleep(&nap, NULL);
	}
	return (void *)most;
}

/* Pages that ring 0 has in stock. */
#define STOCK 32

static void one_storm(struct sthread_policy *p, st_fn *fn, uintptr_t fits, uintptr_t not, const char *name)
{
	struct sthread_stats before;
	struct sthread_result r;
	pthread_t t;
	void *most;

	NOTE("%s", name);
	st_limit(p, STHREAD_LIMIT_MEMORY, LIMIT);
	ST_PASSES(p, fn, 1);
	CHECK_OK(sthread_stats(&before));
	atomic_store(&watching, true);
	CHECK(!pthread_create(&t, NULL, peak, NULL));
	ST_PASSES(p, fn, fits);
	r = st_call(p, fn, (void *)not );
	atomic_store(&watching, false);
	CHECK(!pthread_join(t, &most));
	ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	CHECK_LE((uint64_t)r.value, LIMIT);
	CHECK_GT((uint64_t)r.value, LIMIT - 5 * PAGE); /* a page may take four tables */
	CHECK_LE((uint64_t)most, before.pages_used + LIMIT / PAGE + STOCK);
	ST_PASSES(p, fn, fits / 4);
	st_others_live();
}

static void memory(void)
{
	struct sthread_policy *p = st_policy();

	one_storm(p, a_page_each_2_mib, 40, 400, "a_page_each_2_mib");
	one_storm(p, a_page_each_quarter_gib, 40, 238, "a_page_each_quarter_gib");
	one_storm(p, copies_of_the_image, FITS, MOST, "copies_of_the_image");
	one_storm(p, unmaps, FITS, MOST, "unmaps");
	one_storm(p, unmaps_without_rights, FITS, MOST, "unmaps_without_rights");
	one_storm(p, unmaps_in_part, FITS, MOST, "unmaps_in_part");
	one_storm(p, protects, FITS, MOST, "protects");
	sthread_policy_destroy(p);
}

/* A run that ends at a small limit keeps no table that the next does not use. */
static void tables_come_back(void)
{
	struct sthread_policy *p = st_policy();
	unsigned long rounds = test_scale(1000), i;
	struct sthread_stats s, first = { 0 };
	uint64_t start = now();

	st_limit(p, STHREAD_LIMIT_MEMORY, 120 * PAGE);
	/* An emulated ring 0 takes its time: then fewer. */
	for (i = 0; i < rounds + 20 && (i < 40 || now() - start < 5000 * MS); i++) {
		st_fn *fn = i % 2 ? a_page_each_quarter_gib : a_page_each_2_mib;
		struct sthread_result r = st_call(p, fn, (void *)(uintptr_t)(i % 2 ? 200 : 400));

		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
		CHECK_OK(sthread_stats(&s));
		if (i == 20)
			first = s;
		if (i > 20)
			CHECK_LE(s.table_pages, first.table_pages);
		if (i > 20)
			CHECK_LE(s.pages_used, first.pages_used + 8);
	}
	NOTE("%lu runs", i);
	sthread_policy_destroy(p);
}

int main(void)
{
	memset(image, 1, sizeof(image));
	st_init();
	st_others_live();
	cpu_time();
	first_of_two();
	memory();
	tables_come_back();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
