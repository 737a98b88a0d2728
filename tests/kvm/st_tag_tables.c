/* SPDX-License-Identifier: MIT */
/*
 * st_tag_tables.c - page tables for tags: the same tags again cost nothing, however many tables they need; other tags
 * give them back; they count as private memory; small tags share them.  World: host; ST_FN: inside.
 */
#include "tests/kvm/st_life.h"

#define PAGE  4096UL
#define HUGE  (2UL << 20)
#define WORST 4200 /* more than a lane keeps */
#define MANY  4000 /* not more */
#define SOME  300

static char *memory;

/* A page in each of the first `n` 2 MiB of `memory`: a page table each. */
static struct sthread_policy *pages(unsigned n)
{
	struct sthread_policy *p = st_policy();

	for (unsigned i = 0; i < n; i++)
		CHECK_OK(sthread_policy_memory(p, memory + i * HUGE, PAGE, STHREAD_WRITE));
	return p;
}

/* Each of them is there, whatever was there before. */
ST_FN(counts)
{
	uintptr_t *n = arg;

	for (uintptr_t i = 1; i < *n; i++)
		++*(unsigned *)((char *)arg + i * HUGE);
	return (void *)*n;
}

ST_FN(nothing)
{
	return arg;
}

/* Private memory, that a lane keeps for its next run. */
ST_FN(takes_stack)
{
	char deep[3 * PAGE];

	for (unsigned i = 0; i < sizeof(deep); i += PAGE)
		deep[i] = 1;
	__asm__ volatile("" : : "r"(deep) : "memory"); /* all of it is there */
	return NULL;
}

static void call(const struct sthread_policy *p, unsigned n)
{
	struct sthread_result r;

	*(uintptr_t *)memory = n;
	r = st_call(p, counts, memory);
	ST_RETURNED(&r, n);
}

static void same_again(void)
{
	struct sthread_policy *p = pages(SOME);
	struct sthread_stats none = life_stats(), first, s;
	struct sthread_result r;

	call(p, SOME);
	first = life_stats();
	CHECK_GE(first.table_pages, none.table_pages + SOME);
	CHECK_LE(first.table_pages, none.table_pages + SOME + 8);
	for (unsigned i = 1; i <= 5; i++) {
		uint64_t switches = life_stats().world_switches;

		call(p, SOME);
		s = life_stats();
		CHECK_EQ(s.world_switches - switches, 1);
		CHECK_EQ(s.recycled, first.recycled + i);
	}
	CHECK_EQ(s.cold, first.cold);
	CHECK_EQ(s.page_table_edits, first.page_table_edits);
	CHECK_EQ(s.table_pages, first.table_pages);
	CHECK_EQ(*(unsigned *)(memory + HUGE), 6);
	/* On a thread of the library, too. */
	for (unsigned i = 0; i < 5; i++) {
		r = st_run(p, counts, memory);
		ST_RETURNED(&r, SOME);
		LIFE_UNTIL(life_stats().live == 0);
		if (!i)
			first = life_stats();
	}
	CHECK_EQ(life_stats().cold, first.cold);
	CHECK_EQ(life_stats().table_pages, first.table_pages);
	/* And with one tag more or less, an entry changes and no table. */
	sthread_policy_destroy(p);
	p = pages(SOME - 1);
	call(p, SOME - 1);
	s = life_stats();
	CHECK_EQ(s.cold, first.cold);
	CHECK_LE(s.page_table_edits, first.page_table_edits + 1);
	CHECK_EQ(s.table_pages, first.table_pages - 1);
	sthread_policy_destroy(p);
}

/* Another policy has not what the lane keeps, and the tables go with it; asked for again they are there again. */
static void another(void)
{
	struct sthread_policy *p = pages(SOME);
	struct sthread_stats with, without;
	struct sthread_result r;

	call(p, SOME);
	with = life_stats();
	r = st_call(NULL, counts, memory);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, memory, 1, ST_IN(counts), "not granted");
	without = life_stats();
	CHECK_EQ(without.cold, with.cold);
	CHECK_LE(without.table_pages, with.table_pages - SOME);
	/* One edit took all away: of the table above.  A stub unmaps each page. */
	CHECK_LE(without.page_table_edits,
		 with.page_table_edits + (test_placement() == TEST_PLACEMENT_PROCESS ? SOME : 2));
	call(p, SOME);
	CHECK_EQ(life_stats().table_pages, with.table_pages);
	CHECK_EQ(life_stats().cold, with.cold);
	sthread_policy_destroy(p);
}

/* What the run's tags need is the run's private memory, whoever ran before in the lane. */
static void limited(void)
{
	struct sthread_policy *p = pages(SOME);
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, SOME * PAGE);
	for (int warm = 0; warm < 4; warm++) {
		if (warm % 2)
			ST_PASSES(NULL, takes_stack, NULL);
		r = st_call(p, takes_stack, NULL);
		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	}
	/* The twin: room for these and for a small run, though not for what else the lane keeps. */
	st_limit(p, STHREAD_LIMIT_MEMORY, (SOME + 100) * PAGE);
	for (int warm = 0; warm < 3; warm++) {
		call(p, SOME);
		ST_PASSES(p, takes_stack, NULL);
	}
	sthread_policy_destroy(p);
}

/* A lane at rest keeps many, and not any number. */
static void bound(void)
{
	struct sthread_policy *many = pages(MANY), *worst = pages(WORST);
	struct sthread_stats none, s;

	ST_PASSES(NULL, nothing, NULL);
	none = life_stats();
	call(many, MANY);
	call(many, MANY);
	s = life_stats();
	CHECK_GE(s.table_pages, none.table_pages + MANY);
	CHECK_EQ(s.cold, none.cold);
	call(worst, WORST);
	CHECK_LE(life_stats().table_pages, none.table_pages);
	ST_PASSES(NULL, nothing, NULL);
	CHECK_EQ(life_stats().cold, none.cold + 1);
	sthread_policy_destroy(many);
	sthread_policy_destroy(worst);
}

/* Two thousand tags of a page lie side by side. */
static void small(void)
{
	enum { TAGS = 2000 };
	static struct sthread_tag *t[TAGS];
	struct sthread_policy *p = st_policy();
	struct sthread_stats none;

	ST_PASSES(NULL, nothing, NULL);
	none = life_stats();
	for (unsigned i = 0; i < TAGS; i++) {
		CHECK_OK(sthread_tag_create(&t[i], "small", PAGE));
		CHECK_OK(sthread_policy_tag(p, t[i], STHREAD_READ));
	}
	ST_PASSES(p, nothing, NULL);
	/* A page and its guard each, at most two tables at the ends, and two levels above. */
	CHECK_LE(life_stats().table_pages, none.table_pages + TAGS * 2 / 512 + 2 + 2);
	for (unsigned i = 0; i < TAGS; i++)
		CHECK_OK(sthread_tag_destroy(t[i]));
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	CHECK_OK(sthread_map(WORST * HUGE, (void **)&memory));
	ST_PASSES(NULL, nothing, NULL);
	NOTE("the same again");
	same_again();
	NOTE("another policy");
	another();
	NOTE("limits");
	limited();
	NOTE("a bound");
	bound();
	NOTE("small tags");
	small();
	st_others_live();
	CHECK_OK(sthread_unmap(memory));
	sthread_fini();
	return TEST_PASSED;
}
