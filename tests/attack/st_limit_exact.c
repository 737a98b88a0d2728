/* SPDX-License-Identifier: MIT */
/*
 * What the limit of memory says is a matter of the run alone: the same job, just over its limit and just within it, ends
 * the same way and at the same figure, whatever ran in its lane before and whichever lane that is; and it is within by
 * one page.  World: host; ST_FN and gates: inside.
 */
#include <sys/mman.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define PAGE   4096UL
#define HUGE   (2UL << 20)
#define PAGES  12 /* of a job; half of the image's */
#define ROUNDS 50
#define MOST   120

/* Filled before the checkpoint. */
static char image_room[HUGE + 2 * PAGES * PAGE], *image;
static char live[8 * PAGE] __attribute__((aligned(4096)));

/* ---- jobs: arg is how much of it ---- */

/* The first place that a table of pages begins with: what lies there in less than 2 MiB needs no second one. */
static char *table_of(char *p)
{
	return p + (-(uintptr_t)p & (HUGE - 1));
}

static char *map(size_t len)
{
	char *p = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return table_of(p);
}

ST_FN(writes)
{
	char *p = map(2 * PAGES * PAGE);

	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		p[i * PAGE] = 1;
	return arg;
}

/* Not in order, and other pages are read meanwhile: they are given back to make room for these. */
ST_FN(writes_among_others)
{
	char *p = map(4 * PAGES * PAGE);
	uintptr_t n = (uintptr_t)arg;

	for (uintptr_t i = 0; i < n; i++) {
		p[i * 7 % n * PAGE] = 1;
		CHECK(!((volatile char *)p)[(3 * n - i) * PAGE]);
	}
	for (uintptr_t i = 0; i < 4 * PAGES; i++)
		CHECK_EQ(((volatile char *)p)[i * PAGE], i < n);
	return arg;
}

ST_FN(scatters)
{
	char *p = map(40 * HUGE);

	for (uintptr_t i = 0; i < (uintptr_t)arg / 2; i++)
		p[i * HUGE] = 1;
	return arg;
}

ST_FN(overwrites_the_image)
{
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		((volatile char *)image)[i * 2 * PAGE] = 2;
	return arg;
}

ST_FN(goes_deep)
{
	volatile char *deep = __builtin_alloca((uintptr_t)arg * PAGE);

	for (uintptr_t i = (uintptr_t)arg; i-- > 0;)
		deep[i * PAGE] = 1;
	return arg;
}

/* The host writes it. */
ST_FN(has_it_written)
{
	char *p = map(2 * PAGES * PAGE);

	for (uintptr_t i = 0; i < (uintptr_t)arg; i += 4)
		CHECK_EQ(syscall(SYS_getrandom, p + i * PAGE, 4 * PAGE, 0), 4 * PAGE);
	return arg;
}

/* One instruction needs two pages, one of which is only read. */
ST_FN(copies_across)
{
	char *to = map(2 * PAGES * PAGE), *from = map(2 * PAGES * PAGE);

	for (uintptr_t i = 0; i < (uintptr_t)arg; i++) {
		void *d = to + i * PAGE, *s = from + i * PAGE;
		size_t n = 8;

		*(char *)d = 1;
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		to[i * PAGE + 1] = 1;
	}
	return arg;
}

ST_FN(protects)
{
	char *p = map(2 * PAGES * PAGE);

	for (uintptr_t i = 0; i < (uintptr_t)arg; i++) {
		p[i * PAGE] = 1;
		CHECK(!mprotect(p + i * PAGE, PAGE, PROT_READ));
	}
	CHECK(!mprotect(p, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE));
	return arg;
}

static const struct {
	st_fn *fn;
	const char *name;
	bool by_page; /* one more is one page more */
} job[] = {
	{ writes, "writes", true },
	{ writes_among_others, "writes_among_others", true },
	{ scatters, "scatters", false },
	{ overwrites_the_image, "overwrites_the_image", true },
	{ goes_deep, "goes_deep", true },
	{ has_it_written, "has_it_written", false },
	{ copies_across, "copies_across", true },
	{ protects, "protects", true },
};
#define JOBS (sizeof(job) / sizeof(job[0]))

/* ---- what a lane has seen before ---- */

ST_FN(faults)
{
	image[0] = 3;
	*(volatile char *)arg = 1;
	return NULL;
}

ST_FN(reads_much)
{
	char *p = map(MOST * PAGE), sum = 0;

	for (uintptr_t i = 0; i < MOST; i++)
		sum |= ((volatile char *)p)[i * PAGE];
	return (void *)(intptr_t)sum;
}

ST_FN(looks)
{
	return (void *)(uintptr_t)((volatile char *)live)[0];
}

enum { PLAIN, TAGS, DATA, BOTH, VARIANTS };
static struct sthread_policy *variant[VARIANTS];

static void before(unsigned how, st_run_fn *run)
{
	struct sthread_policy *small;
	struct sthread_result r;

	switch (how % 8) {
	case 0: /* the job itself was */
		return;
	case 1:
		r = run(variant[PLAIN], writes, (void *)(uintptr_t)(2 * PAGES));
		break;
	case 2:
		r = run(variant[TAGS], scatters, (void *)60);
		break;
	case 3:
		r = run(variant[PLAIN], overwrites_the_image, (void *)PAGES);
		break;
	case 4:
		r = run(variant[DATA], looks, NULL);
		ST_RETURNED(&r, 'n');
		return;
	case 5:
		r = run(variant[BOTH], faults, (void *)8);
		ST_END(&r, STHREAD_FAULTED);
		return;
	case 6:
		r = run(variant[PLAIN], goes_deep, (void *)12);
		break;
	default:
		small = st_policy();
		st_limit(small, STHREAD_LIMIT_MEMORY, 2 * PAGES * PAGE);
		r = run(small, writes, (void *)(2 * PAGES));
		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
		/* Pages that were only read are nobody's limit. */
		ST_PASSES(small, reads_much, NULL);
		sthread_policy_destroy(small);
		return;
	}
	ST_END(&r, STHREAD_RETURNED);
}

/* ---- one job, at one limit ---- */

static struct sthread_result at_limit(struct sthread_policy *p, unsigned j, uintptr_t n,
				      unsigned pages, st_run_fn *run)
{
	st_limit(p, STHREAD_LIMIT_MEMORY, pages * PAGE);
	return run(p, job[j].fn, (void *)n);
}

/* The fewest pages that it can do with. */
static unsigned enough(struct sthread_policy *p, unsigned j, uintptr_t n, unsigned from,
		       st_run_fn *run)
{
	for (;; from++) {
		struct sthread_result r = at_limit(p, j, n, from, run);

		CHECK_LT(from, MOST);
		if (r.end == STHREAD_RETURNED)
			return from;
		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	}
}

/* All of what may have been before; then as often as there is time: an emulated ring 0 takes it. */
static bool goes_on(unsigned long i, uint64_t start)
{
	return i < 8 || life_now() - start < 1000000000;
}

static void same_each_time(unsigned v, unsigned j, unsigned long rounds)
{
	uint64_t start = life_now();
	struct sthread_policy *p = variant[v];
	unsigned least = enough(p, j, PAGES, PAGES, st_both[0]);
	struct sthread_result over = at_limit(p, j, PAGES, least - 1, st_both[0]), r;

	NOTE("variant %u, %s: %u pages", v, job[j].name, least);
	ST_LIMIT(&over, STHREAD_LIMIT_MEMORY);
	CHECK_LE((uint64_t)over.value, (least - 1) * PAGE);
	CHECK_GT((uint64_t)over.value, (least - 5) * PAGE); /* a page may take three tables */
	for (unsigned long i = 0; i < rounds && goes_on(i, start); i++) {
		st_run_fn *run = st_both[i / 8 % 2];

		st_limit(p, STHREAD_LIMIT_MEMORY, 64 << 20);
		before((unsigned)i, run);
		r = at_limit(p, j, PAGES, least - 1, run);
		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
		CHECK_EQ((uint64_t)r.value, (uint64_t)over.value);
		if (i % 3) {
			st_limit(p, STHREAD_LIMIT_MEMORY, 64 << 20);
			before((unsigned)(i + i / 8), run);
		}
		r = at_limit(p, j, PAGES, least, run);
		ST_RETURNED(&r, PAGES);
	}
	if (job[j].by_page) {
		unsigned more = enough(p, j, PAGES + 3, least - 2, st_both[1]) - least;

		/* The stack lies where the kernel put it: a table more, where one ends. */
		CHECK(more == 3 || (more == 4 && job[j].fn == goes_deep));
	}
	st_limit(p, STHREAD_LIMIT_MEMORY, 64 << 20);
}

/* ---- the same in a gate ---- */

static ssize_t works(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned j;

	(void)trusted;
	CHECK_EQ(in_len, sizeof(j));
	memcpy(&j, in, sizeof(j));
	return gate_answer(out, out_cap, (intptr_t)job[j].fn((void *)PAGES));
}

/* Negative: how it failed; then *figure is what it had used. */
static int64_t ask(struct sthread_gate *g, unsigned j, uint64_t *figure)
{
	struct sthread_result r;
	int64_t word = -1;
	ssize_t n = sthread_gate_call(g, &j, sizeof(j), &word, sizeof(word));

	if (n >= 0)
		return word;
	if (n == -ENOMEM) { /* not even the message */
		*figure = 0;
		return n;
	}
	CHECK_OK(sthread_gate_last_result(g, &r));
	ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	*figure = (uint64_t)r.value;
	return n;
}

static struct sthread_gate *gate(enum sthread_gate_kind kind, unsigned v, unsigned pages)
{
	struct sthread_gate *g;

	st_limit(variant[v], STHREAD_LIMIT_MEMORY, pages * PAGE);
	g = GATE(.fn = works, .policy = variant[v], .kind = kind);
	st_limit(variant[v], STHREAD_LIMIT_MEMORY, 64 << 20);
	return g;
}

static void in_gates(unsigned v, unsigned j, unsigned long rounds)
{
	static const enum sthread_gate_kind kind[] = { STHREAD_GATE_FRESH, STHREAD_GATE_RECYCLED };
	struct sthread_gate *over[2], *within[2], *g;
	uint64_t first = 0, figure, start = life_now();
	unsigned least = PAGES;

	for (int64_t r = -1; r < 0; least++) {
		CHECK_LT(least, MOST);
		g = gate(STHREAD_GATE_FRESH, v, least);
		r = ask(g, j, &first);
		CHECK(r == PAGES || r == -EDQUOT || (r == -ENOMEM && !first));
		sthread_gate_destroy(g);
	}
	least--;
	NOTE("variant %u, %s in gates: %u pages", v, job[j].name, least);
	for (int k = 0; k < 2; k++) {
		over[k] = gate(kind[k], v, least - 1);
		within[k] = gate(kind[k], v, least);
	}
	CHECK_ERR(ask(over[0], j, &first), -EDQUOT);
	for (unsigned long i = 0; i < rounds && goes_on(i, start); i++) {
		for (int k = 0; k < 2; k++) {
			before((unsigned)i, st_both[k]);
			CHECK_ERR(ask(over[k], j, &figure), -EDQUOT);
			CHECK_EQ(figure, first);
		}
		CHECK_EQ(ask(within[0], j, &figure), PAGES);
		if (!i) /* it keeps what it has, and would want more in the next */
			CHECK_EQ(ask(within[1], j, &figure), PAGES);
	}
	for (int k = 0; k < 2; k++) {
		sthread_gate_destroy(over[k]);
		sthread_gate_destroy(within[k]);
	}
}

static void grant_tags(struct sthread_policy *p, struct sthread_tag *const *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		CHECK_OK(sthread_policy_tag(p, t[i], i % 2 ? STHREAD_READ : STHREAD_WRITE));
}

int main(void)
{
	static const size_t size[] = { PAGE, 64 << 10, HUGE, 5 * HUGE + PAGE, 300UL << 20 };
	struct sthread_tag *tag[sizeof(size) / sizeof(size[0])];
	unsigned long rounds;

	image = table_of(image_room);
	memset(image, 1, 2 * PAGES * PAGE);
	live[0] = 'b';
	st_init();
	live[0] = 'n';
	rounds = test_scale(ROUNDS);
	for (unsigned i = 0; i < sizeof(tag) / sizeof(tag[0]); i++)
		CHECK_OK(sthread_tag_create(&tag[i], "sized", size[i]));
	for (unsigned v = 0; v < VARIANTS; v++) {
		variant[v] = st_policy();
		if (v == TAGS || v == BOTH)
			grant_tags(variant[v], tag, sizeof(tag) / sizeof(tag[0]));
		if (v == DATA || v == BOTH)
			CHECK_OK(sthread_policy_memory(variant[v], live, sizeof(live),
						       STHREAD_READ));
	}
	st_others_live();
	for (unsigned j = 0; j < JOBS; j++)
		for (unsigned v = j ? BOTH : PLAIN; v < VARIANTS; v++)
			same_each_time(v, j, rounds);
	for (unsigned v = 0; v < VARIANTS; v++)
		in_gates(v, v, rounds);
	st_others_live();
	for (unsigned v = 0; v < VARIANTS; v++)
		sthread_policy_destroy(variant[v]);
	sthread_fini();
	return TEST_PASSED;
}
