/* SPDX-License-Identifier: MIT */
/*
 * Random changes to a clone, large leaves and overlaps included, against a model of what dune.h says of each page;
 * asked by ring 3 on one vCPU and another, so that what is staged, split, flushed, taken back, over a limit half way or
 * put back is right where it counts.  World: host; the routines: ring 3.
 */
#include "tests/guest.h"

#define BASE   0x100000000UL
#define LARGE  512  /* pages of a large leaf: the first so many are one in the source */
#define SMALL  1024 /* up to here the source has single pages, holes between them */
#define PAGES  1600 /* from there on nothing */
#define SHARED 600  /* pages that any address may show */
#define STEPS  300

enum kind { NOTHING, SOURCE, SEEN, OWN };
enum { NONE, READS, WRITES }; /* as mprotect() last said; of a page of the source: by copy */

struct page {
	enum kind kind;
	int access;
	int region;	      /* -1: none; else the access of one */
	uint64_t value, from; /* OWN: its first word, and what that is after a reset */
	int seen;	      /* SEEN: which of the shared ones */
};

static struct page page[PAGES], source[PAGES];
static uint64_t shared_value[SHARED];
static dune_gpa_t shared;
static struct dune_space *s;
static struct dune_vcpu *vcpu[3];
static bool limited;
static unsigned long round_no, step;
static uint64_t seed;

static const unsigned prot_of[] = { [NONE] = 0, [READS] = RO, [WRITES] = RW };

#define RIGHT(cond, ...)                                                          \
	do {                                                                      \
		if (!(cond)) {                                                    \
			fprintf(stderr, "round %lu, step %lu: ", round_no, step); \
			FAIL(__VA_ARGS__);                                        \
		}                                                                 \
	} while (0)

static int any(int n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (int)((seed >> 33) % (unsigned)n);
}

static dune_gva_t at(int i)
{
	return dune_gva(BASE + (uint64_t)i * DUNE_PAGE_SIZE);
}

static size_t bytes(int n)
{
	return (size_t)n * DUNE_PAGE_SIZE;
}

static int access_of(const struct page *p)
{
	return p->kind != NOTHING ? p->access : p->region;
}

/* The space gives the page a copy, or zeroes. */
static void becomes_own(struct page *p)
{
	if (p->kind == NOTHING)
		*p = (struct page){ .kind = OWN, .access = p->region, .region = p->region };
	else if (p->kind == SOURCE)
		p->from = p->value, p->kind = OWN;
}

/* Whole leaves, single pages, the edges of leaves, anything. */
static void any_range(int *first, int *n)
{
	switch (any(16)) {
	case 0:
		*first = any(3) * LARGE;
		*n = LARGE;
		break;
	case 1:
	case 2:
		*first = any(PAGES);
		*n = 1;
		break;
	case 3:
	case 4:
		*first = LARGE - 2 + LARGE * any(2) - any(4);
		*n = 1 + any(8);
		break;
	case 5:
		*first = 0;
		*n = PAGES;
		break;
	default:
		*first = any(PAGES);
		*n = 1 + any(any(2) ? 90 : 600);
	}
	if (*first + *n > PAGES)
		*n = PAGES - *first;
}

/* Done, or not at all for want of pages where there is a limit. */
static bool done(int err, const char *what)
{
	RIGHT(!err || ((err == -ENOMEM || err == -EDQUOT) && limited), "%s gave %d", what, err);
	return !err;
}

static void unlimit(void)
{
	dune_space_limit(s, 0);
	limited = false;
}

/* ---- changes -------------------------------------------------------------------------------------------- */

static void protects(int first, int n)
{
	int access = any(3);

	if (!done(dune_vm_mprotect(s, at(first), bytes(n), prot_of[access]), "dune_vm_mprotect()"))
		return;
	for (int i = first; i < first + n; i++) {
		struct dune_leaf leaf;

		/* A neighbour of one that was touched may be there, too. */
		if (page[i].kind == NOTHING && !dune_vm_lookup(s, at(i), &leaf))
			becomes_own(&page[i]);
		page[i].access = access;
	}
}

static void unmaps(int first, int n)
{
	if (!done(dune_vm_unmap(s, at(first), bytes(n)), "dune_vm_unmap()"))
		return;
	for (int i = first; i < first + n; i++)
		page[i].kind = NOTHING;
}

static void maps(int first, int n)
{
	int which, access = READS + any(2), err;
	struct dune_leaf leaf;
	bool taken = false;

	n = n < SHARED ? n : SHARED;
	which = any(2) ? 0 : any(SHARED - n + 1);
	for (int i = first; i < first + n; i++)
		taken |= !dune_vm_lookup(s, at(i), &leaf);
	err = dune_vm_map(s, at(first), dune_gpa(shared.v + bytes(which)), bytes(n),
			  prot_of[access]);
	RIGHT(err == -EEXIST ? taken : !taken || limited, "dune_vm_map() gave %d", err);
	if (err == -EEXIST || !done(err, "dune_vm_map()"))
		return;
	for (int i = first; i < first + n; i++) {
		page[i].kind = SEEN;
		page[i].access = access;
		page[i].seen = which + i - first;
	}
}

static void restores(int first, int n)
{
	n = n < 100 ? n : 100;
	if (!done(dune_vm_restore(s, at(first), bytes(n)), "dune_vm_restore()")) {
		unlimit(); /* of a beginning it may be done */
		CHECK_OK(dune_vm_restore(s, at(first), bytes(n)));
	}
	for (int i = first; i < first + n; i++) {
		int region = page[i].region;

		page[i] = source[i];
		page[i].region = region;
	}
}

static void regions(int first, int n)
{
	int access = any(3), err;

	if (any(3) == 0) {
		if (!done(dune_region_remove(s, at(first), bytes(n)), "dune_region_remove()"))
			return;
		for (int i = first; i < first + n; i++) {
			page[i].kind = NOTHING;
			page[i].region = -1;
		}
		return;
	}
	err = dune_region_add(s, at(first), bytes(n), prot_of[access]);
	if (!done(err, "dune_region_add()"))
		return;
	for (int i = first; i < first + n; i++)
		page[i].region = page[i].access = access;
}

static void makes_private(int i)
{
	int err = dune_vm_make_private(s, at(i));

	if (access_of(&page[i]) < WRITES)
		RIGHT(err == -EFAULT, "page %d made private: %d", i, err);
	else if (done(err, "dune_vm_make_private()"))
		becomes_own(&page[i]);
}

/* Which pages stay is the space's choice: what they hold is not. */
static void resets(void)
{
	if (!done(dune_space_reset(s, (size_t)any(60)), "dune_space_reset()")) {
		unlimit();
		CHECK_OK(dune_space_reset(s, (size_t)any(60)));
	}
	for (int i = 0; i < PAGES; i++) {
		struct page *p = &page[i];
		struct dune_leaf leaf;
		bool mapped = !dune_vm_lookup(s, at(i), &leaf);

		if (mapped &&
		    (leaf.prot & DUNE_OWNED)) { /* it, or a neighbour that a fault gave, stays */
			becomes_own(p);
			p->value = p->from;
			p->access = WRITES;
		} else if (p->kind == OWN || (p->kind == NOTHING && mapped)) {
			*p = source[i];
		}
		p->region = -1;
	}
}

static bool now_and_then(void *one_in)
{
	return any((int)(intptr_t)one_in) == 0;
}

/* What is as it was made from may go; nobody can tell. */
static void sheds(void)
{
	int err = dune_space_shed(s, (size_t)any(20), any(2) ? now_and_then : NULL, (void *)20);

	RIGHT(!err || err == -EINTR, "dune_space_shed() gave %d", err);
	for (int i = 0; i < PAGES; i++) {
		struct page *p = &page[i];
		struct dune_leaf leaf;

		if (p->kind != OWN || (!dune_vm_lookup(s, at(i), &leaf) && leaf.prot & DUNE_OWNED))
			continue;
		RIGHT(p->value == p->from, "page %d went, which was written", i);
		p->kind = source[i].kind;
		RIGHT(p->kind == SOURCE || p->access == p->region || p->region == -1, "page %d has other rights", i);
	}
}

static void limits(void)
{
	if (limited) {
		unlimit();
	} else {
		dune_space_limit(s, dune_space_pages(s) + (size_t)any(12));
		limited = true;
	}
}

/* ---- what ring 3 has --------------------------------------------------------------------------------------- */

static void touches(int i, bool write)
{
	uint64_t value = (uint64_t)any(1 << 30);
	struct dune_frame f = guest_frame(write ? guest_r_write : guest_r_read, at(i).v, value, 0);
	enum dune_exit e = dune_vcpu_run(vcpu[any(3)], s, &f);
	struct page *p = &page[i];

	if (access_of(p) < (write ? WRITES : READS)) {
		RIGHT(e == DUNE_EXIT_FAULT && f.vector == VECTOR_PF, "page %d, denied: %s", i,
		      guest_exit_text(e, &f));
		return;
	}
	if (e == DUNE_EXIT_NOMEM && limited)
		return;
	RIGHT(e == DUNE_EXIT_SYSCALL, "page %d, allowed: %s", i, guest_exit_text(e, &f));
	if (write || p->kind == NOTHING)
		becomes_own(p);
	if (write && p->kind == SEEN)
		shared_value[p->seen] = value;
	else if (write)
		p->value = value;
	else
		RIGHT(f.rdi == (p->kind == SEEN ? shared_value[p->seen] : p->value),
		      "page %d holds %#" PRIx64, i, f.rdi);
}

static struct dune_space *any_source(void)
{
	struct dune_space *t;
	dune_gpa_t large;

	CHECK_OK(dune_space_create(guest_vm, &t));
	CHECK_OK(dune_pages_alloc(guest_vm, LARGE, &large));
	CHECK_OK(dune_vm_map(t, at(0), large, bytes(LARGE), RO | DUNE_COW | DUNE_OWNED));
	for (int i = 0; i < PAGES; i++) {
		struct page *p = &source[i];

		*p = (struct page){ .region = -1 };
		if (i >= SMALL || (i >= LARGE && any(4) == 0))
			continue;
		p->kind = SOURCE;
		p->access = WRITES;
		if (i < LARGE) {
			p->value = 0x1000 + (uint64_t)i;
			guest_fill(dune_gpa(large.v + bytes(i)), 1, p->value);
		} else if (any(2)) {
			CHECK_OK(dune_vm_map(t, at(i), dune_zero_page(guest_vm), DUNE_PAGE_SIZE,
					     RO | DUNE_COW));
		} else {
			p->value = 0x2000 + (uint64_t)i;
			p->access = any(3) ? WRITES : READS;
			guest_map(t, at(i).v, p->value, p->access == WRITES ? RO | DUNE_COW : RO);
		}
	}
	memcpy(page, source, sizeof(page));
	return t;
}

static void one_step(void)
{
	int first, n, what = any(15);

	any_range(&first, &n);
	if (what < 3)
		protects(first, n);
	else if (what < 4)
		unmaps(first, n);
	else if (what < 6)
		maps(first, n);
	else if (what < 7)
		restores(first, n);
	else if (what < 9)
		regions(first, n);
	else if (what < 10)
		makes_private(first);
	else if (what < 11 && any(4) == 0)
		resets();
	else if (what < 12)
		CHECK_OK(dune_vm_sync(s));
	else if (what < 13)
		sheds();
	else if (any(3) == 0)
		limits();
	/* Often changes come upon changes that nobody has seen yet. */
	for (int looks = any(2) ? any(6) : 0; looks; looks--) {
		int i = any(3) ? first + any(n + 1) : any(PAGES);

		touches(i < PAGES ? i : PAGES - 1, any(3) == 0);
	}
}

int main(void)
{
	unsigned long rounds = test_scale(30);
	uint64_t used = 0, begun = 0;
	struct dune_vm_stats st;

	guest_start(128UL << 20);
	for (int i = 0; i < 3; i++)
		vcpu[i] = guest_vcpu();
	CHECK_OK(dune_pages_alloc(guest_vm, SHARED, &shared));
	for (int i = 0; i < SHARED; i++) {
		shared_value[i] = 0x9000 + (uint64_t)i;
		guest_fill(dune_gpa(shared.v + bytes(i)), 1, shared_value[i]);
	}
	for (round_no = 1; round_no <= rounds && guest_in_time(&begun, 20000); round_no++) {
		struct dune_space *t;

		seed = round_no;
		t = any_source();
		CHECK_OK(dune_vm_clone(t, &s));
		guest_furnish(s);
		limited = false;
		for (step = 0; step < STEPS; step++)
			one_step();
		for (int i = 0; i < SMALL; i++) { /* nobody wrote the source */
			const uint64_t *words;
			struct dune_leaf leaf;

			if (dune_vm_lookup(t, at(i), &leaf))
				continue;
			words = dune_page_host(guest_vm, leaf.page);
			RIGHT(words[0] == source[i].value, "page %d of the source was written", i);
		}
		dune_vm_free(s);
		dune_vm_free(t);
		if (round_no > 1)
			CHECK_EQ(guest_pages_used(), used);
		used = guest_pages_used();
	}
	dune_vm_get_stats(guest_vm, &st);
	CHECK_EQ(st.vcpus_lost, 0);
	NOTE("%lu rounds, %" PRIu64 " live entries changed", round_no - 1, st.edits);
	guest_stop();
	return TEST_PASSED;
}
