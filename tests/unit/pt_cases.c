/* SPDX-License-Identifier: MIT */
/* pt_cases.c - the page-table walker, one promise of its contract at a time.  World: host. */
#include "tests/test.h"
#include "tests/unit/pt_mem.h"

#define PAGE 4096UL
#define MIB (1UL << 20)
#define GIB (1UL << 30)
#define R DUNE_READ
#define RW (DUNE_READ | DUNE_WRITE)
#define RX (DUNE_READ | DUNE_EXEC)
#define RC (DUNE_READ | DUNE_COW)

static int map(struct tree *t, uint64_t at, uint64_t page, size_t len, unsigned prot)
{
	int err = pt_map(&t->pt, dune_gva(at), dune_gpa(page), len, prot);

	if (!err && (prot & DUNE_OWNED))
		mem_pages_own(t, page, len / PAGE, at);
	return err;
}

static int unmap(struct tree *t, uint64_t at, size_t len)
{
	return pt_unmap(&t->pt, dune_gva(at), len);
}

static int protect(struct tree *t, uint64_t at, size_t len, unsigned prot)
{
	return pt_protect(&t->pt, dune_gva(at), len, prot);
}

static struct dune_leaf look(struct tree *t, uint64_t at)
{
	struct dune_leaf leaf = { .prot = ~0u };

	CHECK_OK(pt_lookup(&t->pt, dune_gva(at), &leaf));
	return leaf;
}

static bool hole(struct tree *t, uint64_t at)
{
	struct dune_leaf leaf;

	return pt_lookup(&t->pt, dune_gva(at), &leaf) == -ENOENT;
}

static void entries(void)
{
	struct dune_leaf leaf;
	uint64_t e;

	NOTE("entries");
	CHECK_EQ(pt_table(dune_gpa(0x5000), false), 0x5000 | PT_P | PT_W | PT_U);
	CHECK_EQ(pt_table(dune_gpa(0x5000), true), 0x5000 | PT_P | PT_W | PT_U | PT_SHARED);
	CHECK_EQ(pt_leaf(dune_gpa(0x5000), R, false), 0x5000 | PT_P | PT_U | PT_NX);
	CHECK_EQ(pt_leaf(dune_gpa(0x5000), RW, false), 0x5000 | PT_P | PT_W | PT_U | PT_NX);
	CHECK_EQ(pt_leaf(dune_gpa(0x5000), RX, false), 0x5000 | PT_P | PT_U);
	CHECK_EQ(pt_leaf(dune_gpa(0), 0, false), PT_U | PT_NX);
	e = pt_leaf(dune_gpa(6 * MIB), RC | DUNE_OWNED, true);
	CHECK_EQ(e, 6 * MIB | PT_P | PT_U | PT_NX | PT_PS | PT_COW | PT_OWNED);
	pt_leaf_read(e | PT_A, 2, dune_gva(4 * MIB + 0x3456), &leaf);
	CHECK(leaf.page.v == 6 * MIB + 0x3000 && leaf.prot == (RC | DUNE_OWNED) &&
	      leaf.size == 2 * MIB);

	CHECK_EQ(pt_borrow(0, 2, 0), 0);
	CHECK_EQ(pt_borrow(e, 2, 0), e & ~PT_OWNED);
	e = pt_leaf(dune_gpa(0x5000), RX, false);
	CHECK_EQ(pt_borrow(e, 1, 7), e);
	CHECK_EQ(pt_borrow(e | PT_OWNED, 1, 7), e | PT_COW | PT_NOCOW);
	e = pt_leaf(dune_gpa(6 * MIB), 0, true);
	CHECK_EQ(pt_borrow(e | PT_OWNED, 2, 7), e | PT_COW | PT_NOCOW);
	/* Nothing that is borrowed from its owner is writable. */
	e = pt_leaf(dune_gpa(0x5000), R, false);
	CHECK_EQ(pt_borrow(e | PT_OWNED | PT_W, 1, 7), e | PT_COW | PT_NOCOW);
	CHECK_EQ(pt_borrow(pt_table(dune_gpa(0x5000), false), 4, 255),
		 pt_table(dune_gpa(0x5000), true));
	CHECK_EQ(pt_borrow(0x5003, 4, 256), 0x5003);
}

static int stop_at_second(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	int *calls = ctx;

	(void)at;
	(void)leaf;
	return ++*calls == 2 ? 42 : 0;
}

static int walk(struct tree *t, uint64_t from, uint64_t to, int *calls)
{
	return pt_walk(&t->pt, dune_gva(from), dune_gva(to), stop_at_second, calls);
}

static void arguments(void)
{
	static const struct {
		uint64_t at, page;
		size_t len;
		unsigned prot;
		int err;
	} maps[] = {
		{ 0x1000, 0x5000, PAGE, R, 0 },
		{ 0x1000, 0x5000, PAGE, R, -EEXIST },
		{ 0x0000, 0x5000, 3 * PAGE, R, -EEXIST },
		{ 0x2001, 0x5000, PAGE, R, -EINVAL },
		{ 0x2000, 0x5001, PAGE, R, -EINVAL },
		{ 0x2000, 0x5000, PAGE + 1, R, -EINVAL },
		{ 0x2000, 0x5000, 0, R, 0 },
		{ DUNE_USER_END - PAGE, 0, PAGE, R, 0 },
		{ DUNE_USER_END, 0, PAGE, R, -EINVAL },
		{ DUNE_USER_END - 2 * PAGE, 0, 3 * PAGE, R, -EINVAL },
		{ 0xffff800000000000UL, 0, PAGE, R, -EINVAL },
		{ 0x2000, 0, -PAGE, R, -EINVAL },
		{ 0x2000, 0, -0x2000UL, R, -EINVAL },
		{ 0x2000, 1UL << 52, PAGE, R, -EINVAL },
		{ 0x2000, (1UL << 52) - PAGE, 2 * PAGE, R, -EINVAL },
		{ 0x2000, (1UL << 52) - PAGE, PAGE, R, 0 },
		{ 0x3000, 0, PAGE, 0, -EINVAL },
		{ 0x3000, 0, PAGE, DUNE_OWNED, -EINVAL },
		{ 0x3000, 0, PAGE, DUNE_COW, -EINVAL },
		{ 0x3000, 0, PAGE, RW | DUNE_EXEC, -EINVAL },
		{ 0x3000, 0, PAGE, DUNE_WRITE | DUNE_EXEC, -EINVAL },
		{ 0x3000, 0, PAGE, RC | DUNE_WRITE, -EINVAL },
		{ 0x3000, 0, PAGE, RC | DUNE_EXEC, -EINVAL },
		{ 0x3000, 0, PAGE, R | 32, -EINVAL },
		{ 0x3000, 0, PAGE, DUNE_WRITE, 0 },
		{ 0x4000, 0, PAGE, RX, 0 },
		{ 0x5000, 0, PAGE, RC, 0 },
	};
	struct dune_leaf leaf;
	struct tree t;
	size_t i;
	int calls = 0;

	NOTE("arguments");
	mem_tree_new(&t);
	for (i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		int got = map(&t, maps[i].at, maps[i].page, maps[i].len, maps[i].prot);

		CHECK_MSG(got == maps[i].err, "line %zu gave %d, not %d", i, got, maps[i].err);
	}
	CHECK_EQ(look(&t, 0x3000).prot, RW);
	CHECK_ERR(unmap(&t, 0x1001, PAGE), -EINVAL);
	CHECK_ERR(unmap(&t, DUNE_USER_END, PAGE), -EINVAL);
	CHECK_ERR(protect(&t, 0x1000, PAGE, RW | DUNE_EXEC), -EINVAL);
	CHECK_ERR(protect(&t, 0x1000, PAGE, R | DUNE_OWNED), -EINVAL);
	CHECK_ERR(protect(&t, 0x1000, 1, R), -EINVAL);
	CHECK_ERR(pt_replace(&t.pt, dune_gva(DUNE_USER_END), dune_gpa(0), R), -EINVAL);
	CHECK_ERR(pt_lookup(&t.pt, dune_gva(DUNE_USER_END), &leaf), -EINVAL);
	CHECK_ERR(pt_lookup(&t.pt, dune_gva(~0UL), &leaf), -EINVAL);
	CHECK_ERR(walk(&t, 0x2000, 0x1000, &calls), -EINVAL);
	CHECK_ERR(walk(&t, 0, DUNE_USER_END + PAGE, &calls), -EINVAL);
	CHECK_ERR(walk(&t, 1, DUNE_USER_END, &calls), -EINVAL);
	CHECK_EQ(calls, 0);
	CHECK_EQ(walk(&t, 0, DUNE_USER_END, &calls), 42);
	CHECK_EQ(calls, 2);
	mem_tree_free(&t);
}

/* A COW page is never written in place, whatever rights come and go. */
static void copy_on_write(void)
{
	struct tree t;
	uint64_t own = mem_pages(1, 0);
	int level;

	NOTE("copy-on-write");
	mem_tree_new(&t);
	CHECK_OK(map(&t, 0x1000, 0x7000, PAGE, RC));
	CHECK_OK(protect(&t, 0x1000, PAGE, RW));
	CHECK_EQ(look(&t, 0x1000).prot, RC);
	CHECK_OK(protect(&t, 0x1000, PAGE, R));
	CHECK_EQ(look(&t, 0x1000).prot, R);
	CHECK_OK(protect(&t, 0x1000, PAGE, 0));
	CHECK_EQ(look(&t, 0x1000).prot, 0);
	CHECK_OK(protect(&t, 0x1000, PAGE, RW));
	CHECK_OK(protect(&t, 0x1000, PAGE, 0));
	CHECK_EQ(look(&t, 0x1000).prot, DUNE_COW);
	CHECK(!(mem_translate(&t, 0x1000, &level) & PT_P));
	CHECK_OK(protect(&t, 0x1000, PAGE, R));
	CHECK_EQ(look(&t, 0x1000).prot, R);
	CHECK_ERR(protect(&t, 0x1000, PAGE, RX), -EINVAL);
	CHECK_OK(protect(&t, 0x1000, PAGE, DUNE_WRITE));
	CHECK_EQ(look(&t, 0x1000).prot, RC);
	CHECK_OK(pt_replace(&t.pt, dune_gva(0x1000), dune_gpa(own), RW | DUNE_OWNED));
	mem_pages_own(&t, own, 1, 0x1000);
	CHECK_EQ(look(&t, 0x1000).prot, RW | DUNE_OWNED);
	/* The way into a frozen tree, and rights without a new page. */
	CHECK_OK(protect(&t, 0x1000, PAGE, RC));
	CHECK_EQ(look(&t, 0x1000).prot, RC | DUNE_OWNED);
	CHECK_OK(pt_replace(&t.pt, dune_gva(0x1000), dune_gpa(own), RW | DUNE_OWNED));
	CHECK_EQ(t.page_frees, 0);
	/* Page 0 without any right is not a hole. */
	CHECK_OK(map(&t, 0x2000, 0, PAGE, R));
	CHECK_OK(protect(&t, 0x2000, PAGE, 0));
	CHECK_EQ(look(&t, 0x2000).prot, 0);
	CHECK_ERR(map(&t, 0x2000, 0, PAGE, R), -EEXIST);
	mem_tree_free(&t);
	CHECK_EQ(t.page_frees, 1);
}

static void large_leaves(void)
{
	struct tree t;
	uint64_t page = mem_pages(1024, 0);
	unsigned long sets;

	NOTE("large leaves");
	mem_tree_new(&t);
	CHECK_OK(map(&t, 1 * GIB, page, 4 * MIB, RW | DUNE_OWNED));
	CHECK_EQ(t.tables, 3);
	CHECK_EQ(look(&t, 1 * GIB + 5 * PAGE).page.v, page + 5 * PAGE);
	/* One page out of a large leaf: one table, one store, one page. */
	sets = t.sets;
	t.allocs_left = 0;
	CHECK_ERR(unmap(&t, 1 * GIB + 7 * PAGE, PAGE), -ENOMEM);
	CHECK_EQ(look(&t, 1 * GIB + 7 * PAGE).size, 2 * MIB);
	t.allocs_left = 1;
	CHECK_OK(unmap(&t, 1 * GIB + 7 * PAGE, PAGE));
	CHECK(t.sets == sets + 1 && t.page_frees == 1 && t.allocs_left == 0);
	CHECK(hole(&t, 1 * GIB + 7 * PAGE));
	CHECK_EQ(look(&t, 1 * GIB + 8 * PAGE).size, PAGE);
	CHECK_EQ(look(&t, 1 * GIB + 2 * MIB).size, 2 * MIB);
	/* All of it, by a range that is wider: one store at the root. */
	CHECK_OK(unmap(&t, 0, 2 * GIB));
	CHECK(t.sets == sets + 2 && t.page_frees == 1024 && t.tables == 1);
	mem_tree_free(&t);
}

static size_t tables(struct tree *t, uint64_t from, uint64_t to)
{
	return pt_tables(&t->pt, dune_gva(from), dune_gva(to));
}

/* Many GiB across a root entry: what is needed is known, and failing late leaves nothing. */
static void many_tables(void)
{
	uint64_t at = 512 * GIB - 100 * GIB;
	size_t len = 200 * GIB;
	struct tree t;
	long k;

	NOTE("many tables");
	mem_tree_new(&t);
	for (k = 0; k < 202; k++) {
		t.allocs_left = k;
		CHECK_ERR(map(&t, at, 0, len, RW), -ENOMEM);
		CHECK(t.tables == 1 && !t.sets && hole(&t, at));
	}
	t.allocs_left = 202;
	CHECK_OK(map(&t, at, 0, len, RW));
	CHECK(t.tables == 203 && t.sets == 2);
	CHECK_EQ(look(&t, at + len - PAGE).page.v, len - PAGE);
	CHECK_ERR(map(&t, at + len - PAGE, 0, GIB, R), -EEXIST);
	mem_audit(&t);
	/* 4 KiB leaves, where one address is off by a page. */
	t.allocs_left = -1;
	CHECK_OK(map(&t, at - 2 * GIB, PAGE, 2 * GIB, RW));
	CHECK_EQ(t.tables, 203 + 2 + 2 * 512);
	mem_audit(&t);
	/* Of a range: those that are there for it alone. */
	CHECK_EQ(tables(&t, 0, DUNE_USER_END), 2 + 202 + 2 * 512);
	CHECK_EQ(tables(&t, 0, 1024 * GIB), 2 + 202 + 2 * 512);
	CHECK_EQ(tables(&t, at - 2 * GIB, at), 2 + 2 * 512);
	CHECK_EQ(tables(&t, at - 2 * GIB, at - PAGE), 2 + 2 * 512 - 2);
	CHECK_EQ(tables(&t, at - 2 * GIB + PAGE, at), 2 + 2 * 512 - 2);
	CHECK_EQ(tables(&t, at - 2 * MIB, at), 1);
	CHECK_EQ(tables(&t, at - 2 * MIB, at - PAGE), 0);
	CHECK_EQ(tables(&t, at, at + len), 200);
	CHECK_EQ(tables(&t, at - GIB, at + GIB + 2 * MIB), 1 + 512 + 1);
	CHECK_EQ(tables(&t, at, at), 0);
	CHECK_EQ(tables(&t, at + len, at), 0);
	CHECK_EQ(tables(&t, at + 1, at + len), 0);
	CHECK_EQ(tables(&t, 0, DUNE_USER_END + PAGE), 0);
	CHECK_OK(unmap(&t, 0, DUNE_USER_END));
	CHECK_EQ(t.tables, 1);
	mem_tree_free(&t);
}

static void clones(void)
{
	struct tree src, a, b;
	uint64_t page = mem_pages(513, 0), copy = mem_pages(1, 0), hash;

	NOTE("clones");
	mem_tree_new(&src);
	CHECK_OK(map(&src, 2 * MIB, page, 513 * PAGE, RC | DUNE_OWNED));
	CHECK_OK(map(&src, 3 * GIB, 0x9000, PAGE, RX));
	hash = mem_audit(&src);
	mem_tree_clone(&src, &a);
	CHECK_EQ(a.tables, 1);
	/* What the source owns is not the clone's, also where no table was copied yet. */
	CHECK_EQ(look(&src, 2 * MIB).prot, RC | DUNE_OWNED);
	CHECK_EQ(look(&a, 2 * MIB).prot, RC);
	/* One page differs: three tables, one for the split large leaf; the root's entry last. */
	CHECK_OK(pt_replace(&a.pt, dune_gva(2 * MIB + PAGE), dune_gpa(copy), RW | DUNE_OWNED));
	mem_pages_own(&a, copy, 1, 2 * MIB + PAGE);
	CHECK(a.tables == 4 && a.sets == 1);
	/* A table that another tree has is not counted. */
	CHECK_EQ(tables(&a, 0, DUNE_USER_END), 3);
	CHECK_EQ(tables(&a, 2 * MIB, 4 * MIB), 1);
	CHECK_EQ(tables(&a, 4 * MIB, 4 * GIB), 0);
	CHECK_EQ(tables(&src, 0, DUNE_USER_END), 5);
	CHECK_EQ(look(&src, 2 * MIB + PAGE).page.v, page + PAGE);
	CHECK_EQ(look(&src, 2 * MIB + PAGE).prot, RC | DUNE_OWNED);
	CHECK_EQ(look(&a, 2 * MIB + PAGE).page.v, copy);
	/* What is dropped whole needs no copy, and is still the source's. */
	mem_tree_clone(&src, &b);
	b.allocs_left = 0;
	CHECK_OK(unmap(&b, 0, 4 * GIB));
	CHECK(hole(&b, 2 * MIB) && !hole(&src, 2 * MIB));
	CHECK_EQ(b.tables, 1);
	/* A range that holds nothing needs none either. */
	mem_tree_free(&b);
	mem_tree_clone(&src, &b);
	b.allocs_left = 0;
	CHECK_OK(unmap(&b, 1 * GIB, 2 * GIB));
	CHECK_OK(protect(&b, 1 * GIB, 2 * GIB, RW));
	CHECK_EQ(b.sets, 0);
	CHECK_ERR(unmap(&b, 2 * MIB, PAGE), -ENOMEM);
	/* A clone of a clone. */
	mem_tree_free(&b);
	CHECK_OK(protect(&a, 0, 1 * GIB, RC));
	mem_tree_clone(&a, &b);
	CHECK_OK(unmap(&b, 2 * MIB, 2 * MIB));
	CHECK(hole(&b, 2 * MIB + PAGE) && !hole(&a, 2 * MIB + PAGE) && !hole(&b, 4 * MIB));
	CHECK_EQ(look(&a, 2 * MIB + PAGE).page.v, copy);
	mem_audit(&b);
	mem_audit(&a);
	CHECK_EQ(mem_audit(&src), hash);
	mem_tree_free(&b);
	mem_tree_free(&a);
	CHECK_EQ(src.page_frees, 0);
	CHECK_EQ(mem_audit(&src), hash);
	mem_tree_free(&src);
	CHECK_EQ(src.page_frees, 513);
}

/* The source's page at `at`, asked for in every way: it stays out of reach and reports what it is. */
static void borrowed_page(struct tree *t, uint64_t at, uint64_t page, unsigned prot)
{
	int level;

	CHECK_EQ(look(t, at).prot, prot);
	CHECK_OK(protect(t, at, PAGE, prot));
	CHECK_EQ(look(t, at).prot, prot);
	if (!(prot & DUNE_EXEC))
		CHECK_ERR(protect(t, at, PAGE, RX), -EINVAL);
	CHECK_OK(protect(t, at, PAGE, RW));
	CHECK_MSG(!(mem_translate(t, at, &level) & PT_W), "the source's page is writable");
	CHECK_EQ(look(t, at).prot, RC);
	CHECK_EQ(look(t, at).page.v, page);
	CHECK(mem_translate(t, at, &level) & PT_NX);
	CHECK_ERR(protect(t, at, PAGE, RX), -EINVAL);
	CHECK_OK(protect(t, at, PAGE, R));
	CHECK_EQ(look(t, at).prot, R);
	/* No rights do not bring COW back. */
	CHECK_OK(protect(t, at, PAGE, 0));
	CHECK_EQ(look(t, at).prot, 0);
	CHECK_OK(protect(t, at, PAGE, DUNE_WRITE));
	CHECK_EQ(look(t, at).prot, RC);
}

/* What a source owns without COW: a clone can never write it, whatever it asks for. */
static void borrowed(void)
{
	static const unsigned prots[] = { R, RX, 0 };
	uint64_t large = mem_pages(3 * 512, 0), small = mem_pages(4, 0), copy = mem_pages(1, 0), at, hash;
	struct tree src, a, b;
	unsigned i;

	NOTE("borrowed");
	mem_tree_new(&src);
	for (i = 0; i < 3; i++) {
		at = 2 * MIB * (i + 1);
		CHECK_OK(map(&src, at, large + 2 * MIB * i, 2 * MIB, R | DUNE_OWNED));
		CHECK_OK(protect(&src, at, 2 * MIB, prots[i]));
		CHECK_OK(map(&src, 1 * GIB + i * PAGE, small + i * PAGE, PAGE, R | DUNE_OWNED));
		CHECK_OK(protect(&src, 1 * GIB + i * PAGE, PAGE, prots[i]));
		CHECK_EQ(look(&src, at).size, 2 * MIB);
	}
	/* Pages that nobody owns. */
	CHECK_OK(map(&src, 2 * GIB, 0x9000, PAGE, R));
	CHECK_OK(map(&src, 2 * GIB + PAGE, 0xa000, PAGE, RX));
	hash = mem_audit(&src);

	/* Where no table was copied yet, and by the whole large leaf. */
	mem_tree_clone(&src, &a);
	for (i = 0; i < 3; i++) {
		at = 2 * MIB * (i + 1);
		CHECK_EQ(look(&a, at).prot, prots[i]);
		CHECK_OK(protect(&a, at, 2 * MIB, RW));
		CHECK_EQ(look(&a, at + 5 * PAGE).prot, RC);
		CHECK_EQ(look(&a, at).size, 2 * MIB);
		borrowed_page(&a, 1 * GIB + i * PAGE, small + i * PAGE, prots[i]);
	}
	mem_audit(&a);
	/* Part of a large leaf: the rest is split, and no less borrowed. */
	mem_tree_free(&a);
	mem_tree_clone(&src, &a);
	for (i = 0; i < 3; i++) {
		at = 2 * MIB * (i + 1);
		borrowed_page(&a, at + 5 * PAGE, large + 2 * MIB * i + 5 * PAGE, prots[i]);
		CHECK_EQ(look(&a, at).size, PAGE);
		borrowed_page(&a, at + 6 * PAGE, large + 2 * MIB * i + 6 * PAGE, prots[i]);
	}
	/* A private copy is the clone's own. */
	CHECK_OK(pt_replace(&a.pt, dune_gva(1 * GIB + PAGE), dune_gpa(copy), RX | DUNE_OWNED));
	mem_pages_own(&a, copy, 1, 1 * GIB + PAGE);
	CHECK_OK(protect(&a, 1 * GIB + PAGE, PAGE, RW));
	CHECK_EQ(look(&a, 1 * GIB + PAGE).prot, RW | DUNE_OWNED);
	CHECK_OK(protect(&a, 1 * GIB + PAGE, PAGE, RX));
	/* A clone of a clone, of the source's pages and of the copy. */
	mem_tree_clone(&a, &b);
	borrowed_page(&b, 2 * MIB + 7 * PAGE, large + 7 * PAGE, R);
	borrowed_page(&b, 4 * MIB + 7 * PAGE, large + 2 * MIB + 7 * PAGE, RX);
	borrowed_page(&b, 1 * GIB, small, R);
	borrowed_page(&b, 1 * GIB + PAGE, copy, RX);
	/* Nobody's pages are as they were. */
	CHECK_OK(protect(&b, 2 * GIB, 2 * PAGE, RX));
	CHECK_EQ(look(&b, 2 * GIB).prot, RX);
	CHECK_OK(protect(&b, 2 * GIB, 2 * PAGE, RW));
	CHECK_EQ(look(&b, 2 * GIB + PAGE).prot, RW);
	mem_audit(&b);
	mem_audit(&a);
	CHECK_EQ(mem_audit(&src), hash);
	mem_tree_free(&b);
	mem_tree_free(&a);
	CHECK_EQ(src.page_frees, 0);
	mem_tree_free(&src);
	CHECK_EQ(src.page_frees, 3 * 512 + 3);
}

/* A private page goes back to what the source has: with the source's rights, and as little to be written. */
static void restored(void)
{
	static const unsigned prots[] = { R, RX, 0, RC };
	uint64_t small = mem_pages(4, 0), large = mem_pages(512, 0), copy = mem_pages(6, 0), hash;
	struct tree src, a;
	unsigned long sets;
	unsigned i, tables;

	NOTE("restored");
	mem_tree_new(&src);
	CHECK_OK(map(&src, 2 * MIB, large, 2 * MIB, R | DUNE_OWNED));
	CHECK_OK(protect(&src, 2 * MIB, 2 * MIB, RC));
	for (i = 0; i < 4; i++) {
		CHECK_OK(map(&src, GIB + i * PAGE, small + i * PAGE, PAGE, R | DUNE_OWNED));
		CHECK_OK(protect(&src, GIB + i * PAGE, PAGE, prots[i]));
	}
	hash = mem_audit(&src);
	mem_tree_clone(&src, &a);
	for (i = 0; i < 4; i++) {
		CHECK_OK(pt_replace(&a.pt, dune_gva(GIB + i * PAGE), dune_gpa(copy + i * PAGE), RW | DUNE_OWNED));
		mem_pages_own(&a, copy + i * PAGE, 1, GIB + i * PAGE);
	}
	CHECK_OK(pt_replace(&a.pt, dune_gva(2 * MIB + 7 * PAGE), dune_gpa(copy + 4 * PAGE), RW | DUNE_OWNED));
	mem_pages_own(&a, copy + 4 * PAGE, 1, 2 * MIB + 7 * PAGE);
	CHECK_OK(pt_replace(&a.pt, dune_gva(2 * GIB), dune_gpa(copy + 5 * PAGE), RW | DUNE_OWNED));
	mem_pages_own(&a, copy + 5 * PAGE, 1, 2 * GIB);
	/* Nothing is as in the source yet. */
	tables = a.tables;
	sets = a.sets;
	CHECK(pt_rejoin(&a.pt, &src.pt, NULL, NULL));
	CHECK(a.tables == tables && a.sets == sets);
	for (i = 0; i < 4; i++) {
		CHECK_OK(pt_restore(&a.pt, dune_gva(GIB + i * PAGE), &src.pt));
		CHECK_EQ(look(&a, GIB + i * PAGE).page.v, small + i * PAGE);
		if (i < 3)
			borrowed_page(&a, GIB + i * PAGE, small + i * PAGE, prots[i]);
		else
			CHECK_EQ(look(&a, GIB + i * PAGE).prot, RC);
	}
	CHECK_OK(pt_restore(&a.pt, dune_gva(2 * MIB + 7 * PAGE), &src.pt));
	CHECK_EQ(look(&a, 2 * MIB + 7 * PAGE).page.v, large + 7 * PAGE);
	CHECK_EQ(look(&a, 2 * MIB + 7 * PAGE).prot, RC);
	CHECK_EQ(look(&a, 2 * MIB + 8 * PAGE).page.v, large + 8 * PAGE);
	/* Where the source has nothing there is nothing. */
	CHECK_OK(pt_restore(&a.pt, dune_gva(2 * GIB), &src.pt));
	CHECK_ERR(pt_restore(&a.pt, dune_gva(GIB + 1), &src.pt), -EINVAL);
	CHECK_ERR(pt_restore(&a.pt, dune_gva(DUNE_USER_END), &src.pt), -EINVAL);
	mem_audit(&a);
	/* Tables that say only what the source's say give way to those; what is mapped is the same. */
	CHECK_EQ(look(&a, 2 * MIB + 7 * PAGE).size, PAGE);
	CHECK_OK(protect(&a, GIB, PAGE, RC));
	CHECK_GT(a.tables, 4);
	CHECK(pt_rejoin(&a.pt, &src.pt, NULL, NULL));
	CHECK_EQ(a.tables, 4); /* a level each, to the page that has other rights */
	CHECK_EQ(look(&a, 2 * MIB + 7 * PAGE).size, 2 * MIB);
	CHECK_EQ(look(&a, 2 * MIB + 7 * PAGE).page.v, large + 7 * PAGE);
	CHECK_EQ(look(&a, GIB).prot, RC);
	for (i = 0; i < 4; i++)
		CHECK_OK(pt_restore(&a.pt, dune_gva(GIB + i * PAGE), &src.pt));
	CHECK(pt_rejoin(&a.pt, &src.pt, NULL, NULL));
	CHECK_EQ(a.tables, 1);
	CHECK_EQ(look(&a, GIB).page.v, small);
	CHECK_EQ(look(&a, 2 * MIB).prot, RC);
	mem_audit(&a);
	mem_tree_free(&a);
	CHECK_EQ(mem_audit(&src), hash);
	mem_tree_free(&src);
}

int main(void)
{
	entries();
	arguments();
	copy_on_write();
	large_leaves();
	many_tables();
	clones();
	borrowed();
	restored();
	CHECK_EQ(mem_tables(), 0);
	CHECK_EQ(mem_owned(), 0);
	return 0;
}
