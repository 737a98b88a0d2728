/* SPDX-License-Identifier: MIT */
/* pt_mem.c - memory for the page-table walker that checks every call it gets.  World: host. */
#include "tests/test.h"
#include "tests/unit/pt_mem.h"

#define TABLES 4096
#define TABLE_BASE 0x10000000UL /* guest-physical */
#define PAGES (1UL << 20)
#define PAGE 4096UL
#define SOFT (PT_A | PT_D)

static struct {
	struct tree *owner;     /* NULL: free */
	int level;              /* 0: never linked */
	bool live;
} meta[TABLES];
static uint64_t (*arena)[PT_ENTRIES];
static unsigned tables_used, tables_next;

static struct {
	struct tree *owner;
	uint64_t at;
} pages[PAGES];
static unsigned pages_used;
static size_t pages_next;

static size_t number(uint64_t table)
{
	size_t n = (table - TABLE_BASE) / PAGE;

	CHECK(table >= TABLE_BASE && table % PAGE == 0 && n < TABLES);
	CHECK_MSG(meta[n].owner, "table %#lx is free", table);
	return n;
}

static uint64_t *entry_at(uint64_t entry, size_t *table)
{
	CHECK(entry % 8 == 0);
	*table = number(entry & ~(PAGE - 1));
	return &arena[*table][entry % PAGE / 8];
}

static bool is_table(uint64_t entry, int level)
{
	return level > 1 && (entry & PT_P) && !(entry & PT_PS);
}

static unsigned shift(int level)
{
	return 12 + 9 * (level - 1);
}

/* The entry of `level` that translates `at`; NULL if a leaf or hole above ends the way. */
static uint64_t *path(const struct tree *t, uint64_t at, int level)
{
	uint64_t table = t->pt.root.v, *entry;
	int l;

	for (l = PT_LEVELS; ; l--) {
		entry = &arena[number(table)][at >> shift(l) & 511];
		if (l == level)
			return entry;
		if (!is_table(*entry, l))
			return NULL;
		table = *entry & PT_ADDR;
	}
}

uint64_t mem_translate(const struct tree *t, uint64_t at, int *level)
{
	bool borrowed = false;
	uint64_t entry = 0;
	int l;

	for (l = PT_LEVELS; l; l--) {
		entry = *path(t, at, l);
		if (!is_table(entry, l))
			break;
		if (entry & PT_SHARED)
			borrowed = true;
	}
	*level = l;
	if (!borrowed || !(entry & PT_OWNED))
		return entry;
	return (entry & ~PT_OWNED) | (entry & PT_COW ? 0 : PT_COW | PT_NOCOW);
}

void mem_touch(struct tree *t, uint64_t at)
{
	int l;

	for (l = PT_LEVELS; l; l--) {
		uint64_t *entry = path(t, at, l);

		if (!(*entry & PT_P))
			return;
		*entry |= PT_A;
		if (is_table(*entry, l))
			continue;
		if (*entry & PT_W)
			*entry |= PT_D;
		return;
	}
}

/* A subtree was linked: all of it that is this tree's becomes live, and must not have been. */
static void link_table(struct tree *t, uint64_t table, int level)
{
	size_t n = number(table);
	bool empty = true;
	int i;

	CHECK_MSG(meta[n].owner == t, "another tree's table %#lx linked as own", table);
	CHECK_MSG(!meta[n].live, "table %#lx linked twice", table);
	meta[n].live = true;
	meta[n].level = level;
	for (i = 0; i < PT_ENTRIES; i++) {
		uint64_t entry = arena[n][i];

		if (entry)
			empty = false;
		if (is_table(entry, level) && !(entry & PT_SHARED))
			link_table(t, entry & PT_ADDR, level - 1);
	}
	CHECK_MSG(!empty, "table %#lx linked before it was filled", table);
}

static void unlink_table(struct tree *t, uint64_t table, int level)
{
	size_t n = number(table);
	int i;

	CHECK(meta[n].owner == t && meta[n].live && meta[n].level == level);
	meta[n].live = false;
	for (i = 0; i < PT_ENTRIES; i++)
		if (is_table(arena[n][i], level) && !(arena[n][i] & PT_SHARED))
			unlink_table(t, arena[n][i] & PT_ADDR, level - 1);
}

/* ---- the operations ---- */

static uint64_t mem_get(void *ctx, dune_gpa_t entry)
{
	size_t n;

	(void)ctx;
	return *entry_at(entry.v, &n);
}

static void mem_set(void *ctx, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at,
		    int level)
{
	struct tree *t = ctx;
	uint64_t *e;
	size_t n;

	e = entry_at(entry.v, &n);
	t->sets++;
	CHECK(!t->frozen && !t->dying);
	CHECK_MSG(meta[n].owner == t, "set() in another tree's table");
	CHECK_MSG(meta[n].live, "set() in an unreachable table");
	CHECK(level == meta[n].level);
	CHECK_MSG(*e == old, "set() says it was %#lx, it is %#lx", old, *e);
	CHECK_NE(old, val);
	CHECK(at.v < DUNE_USER_END && at.v % (1UL << shift(level)) == 0);
	CHECK_MSG(path(t, at.v, level) == e, "%#lx is not translated there", at.v);
	*e = val;
	if (is_table(old, level) && !(old & PT_SHARED))
		unlink_table(t, old & PT_ADDR, level - 1);
	if (is_table(val, level) && (val & PT_SHARED)) {
		n = number(val & PT_ADDR);
		CHECK(meta[n].owner && meta[n].owner != t && meta[n].owner->frozen);
		CHECK(meta[n].live && meta[n].level == level - 1);
	} else if (is_table(val, level)) {
		link_table(t, val & PT_ADDR, level - 1);
	}
	if (t->on_set)
		t->on_set(t);
}

static void mem_init(void *ctx, dune_gpa_t entry, uint64_t val)
{
	struct tree *t = ctx;
	uint64_t *e;
	size_t n;

	e = entry_at(entry.v, &n);
	CHECK(!t->frozen && !t->dying);
	CHECK_MSG(meta[n].owner == t, "init() in another tree's table");
	CHECK_MSG(!meta[n].live, "init() in a live table");
	*e = val;
}

static int mem_table_alloc(void *ctx, dune_gpa_t *out)
{
	struct tree *t = ctx;

	if (!t->allocs_left)
		return -ENOMEM;
	if (t->allocs_left > 0)
		t->allocs_left--;
	CHECK_LT(tables_used, TABLES);
	do
		tables_next = (tables_next + 1) % TABLES;
	while (meta[tables_next].owner);
	meta[tables_next].owner = t;
	meta[tables_next].live = false;
	meta[tables_next].level = 0;
	memset(arena[tables_next], 0, PAGE);
	tables_used++;
	t->tables++;
	*out = dune_gpa(TABLE_BASE + tables_next * PAGE);
	return 0;
}

static void mem_table_copy(void *ctx, dune_gpa_t dst, dune_gpa_t src, int level)
{
	size_t d = number(dst.v), s = number(src.v);
	struct tree *t = ctx;
	unsigned i;

	t->copies++;
	CHECK_MSG(meta[d].owner == t && !meta[d].live, "copy to a live or foreign table");
	CHECK_MSG(meta[s].owner != t && meta[s].owner->frozen, "copy of a table not borrowed");
	CHECK_EQ(level, meta[s].level);
	for (i = 0; i < PT_ENTRIES; i++) {
		CHECK_EQ(arena[d][i], 0);
		arena[d][i] = pt_borrow(arena[s][i], level, i);
	}
}

static void mem_table_free(void *ctx, dune_gpa_t table)
{
	size_t n = number(table.v);
	struct tree *t = ctx;

	CHECK_MSG(meta[n].owner == t, "another tree's table freed");
	CHECK_MSG(!meta[n].live || t->dying, "a live table freed");
	memset(arena[n], 0xa5, PAGE);
	meta[n].owner = NULL;
	tables_used--;
	t->tables--;
}

static void mem_page_free(void *ctx, dune_gpa_t page)
{
	size_t n = (page.v - MEM_PAGES) / PAGE;
	struct tree *t = ctx;
	int level;

	CHECK_MSG(page.v >= MEM_PAGES && n < PAGES && !(page.v % PAGE), "page %#lx", page.v);
	CHECK_MSG(pages[n].owner == t, "page %#lx is not this tree's", page.v);
	if (!t->dying) {
		uint64_t off, entry = mem_translate(t, pages[n].at, &level);

		off = level > 1 ? pages[n].at & (PT_HUGE - 1) : 0;
		CHECK_MSG(!entry || (entry & PT_ADDR) + off != page.v, "a reachable page freed");
	}
	pages[n].owner = NULL;
	pages_used--;
	t->pages--;
	t->page_frees++;
}

static const struct pt_ops ops = {
	.get = mem_get,
	.set = mem_set,
	.table_alloc = mem_table_alloc,
	.table_copy = mem_table_copy,
	.init = mem_init,
	.table_free = mem_table_free,
	.page_free = mem_page_free,
};

/* ---- trees and pages ---- */

static uint64_t upper(int i)
{
	return i % 3 ? 0 : 0x7ff0000000000000UL + (uint64_t)i * 0x1003 + PT_P;
}

static void tree_init(struct tree *t)
{
	if (!arena) {
		arena = malloc(TABLES * PAGE);
		CHECK(arena);
		memset(arena, 0xa5, TABLES * PAGE);
	}
	*t = (struct tree){ .pt = { .ops = &ops, .ctx = t }, .allocs_left = -1 };
}

static void root_live(struct tree *t)
{
	size_t n = number(t->pt.root.v);

	meta[n].live = true;
	meta[n].level = PT_LEVELS;
}

void mem_tree_new(struct tree *t)
{
	int i;

	tree_init(t);
	CHECK_OK(mem_table_alloc(t, &t->pt.root));
	for (i = PT_ENTRIES / 2; i < PT_ENTRIES; i++)
		arena[number(t->pt.root.v)][i] = upper(i);
	root_live(t);
}

void mem_tree_clone(struct tree *src, struct tree *dst)
{
	src->frozen = true;
	tree_init(dst);
	dst->allocs_left = 0;
	CHECK_ERR(mem_table_alloc(dst, &dst->pt.root), -ENOMEM);
	dst->allocs_left = 1;
	CHECK_OK(mem_table_alloc(dst, &dst->pt.root));
	pt_clone(&src->pt, &dst->pt);
	dst->allocs_left = -1;
	root_live(dst);
}

void mem_tree_free(struct tree *t)
{
	t->dying = true;
	pt_free(&t->pt);
	CHECK_EQ(t->tables, 0);
	CHECK_EQ(t->pages, 0);
}

uint64_t mem_pages(size_t n, uint64_t like)
{
	size_t want = like / PAGE % 512, i;

	for (;;) {
		pages_next += (want - pages_next) % 512;
		if (pages_next + n > PAGES)
			pages_next = want;
		for (i = 0; i < n && !pages[pages_next + i].owner; i++)
			;
		if (i == n)
			break;
		pages_next++;
	}
	i = pages_next;
	pages_next += n;
	return MEM_PAGES + i * PAGE;
}

void mem_pages_own(struct tree *t, uint64_t page, size_t n, uint64_t at)
{
	size_t i = (page - MEM_PAGES) / PAGE;

	for (; n; n--, i++, at += PAGE) {
		CHECK(i < PAGES && !pages[i].owner);
		pages[i].owner = t;
		pages[i].at = at;
		pages_used++;
		t->pages++;
	}
}

unsigned mem_tables(void)
{
	return tables_used;
}

unsigned mem_owned(void)
{
	return pages_used;
}

/* ---- the shape of a tree ---- */

struct audit {
	uint64_t hash;
	unsigned tables, pages;
};

static void audit_leaf(struct audit *a, uint64_t e, int level)
{
	uint64_t known = PT_P | PT_W | PT_U | SOFT | PT_ADDR | PT_OWNED | PT_COW | PT_NOCOW | PT_NX;
	uint64_t size = level == 2 ? PT_HUGE : PAGE;

	CHECK_LE(level, 2);
	CHECK(!(e & ~(known | (level == 2 ? PT_PS : 0))));
	CHECK(e & PT_U);
	CHECK_EQ((e & PT_ADDR) % size, 0);
	CHECK((e & PT_NX) || !(e & PT_W));
	CHECK((e & PT_NX) || !(e & PT_COW) || (e & PT_NOCOW));
	CHECK(!(e & PT_COW) || !(e & PT_W));
	CHECK((e & PT_COW) || !(e & PT_NOCOW));
	CHECK((e & PT_P) || ((e & PT_NX) && !(e & PT_W)));
	if (e & PT_OWNED)
		a->pages += size / PAGE;
}

static void audit_table(struct audit *a, const struct tree *t, uint64_t table, int level)
{
	size_t n = number(table);
	int i, present = 0;

	a->tables++;
	a->hash = (a->hash ^ table) * 0x100000001b3UL;
	CHECK(meta[n].owner == t && meta[n].live && meta[n].level == level);
	for (i = 0; i < PT_ENTRIES; i++) {
		uint64_t e = arena[n][i];

		a->hash = (a->hash ^ (e & ~SOFT)) * 0x100000001b3UL;
		if (level == PT_LEVELS && i >= PT_ENTRIES / 2) {
			CHECK_EQ(e, upper(i));
			continue;
		}
		if (!e)
			continue;
		present++;
		if (!is_table(e, level)) {
			audit_leaf(a, e, level);
			continue;
		}
		CHECK_EQ(e & ~(PT_ADDR | PT_A | PT_SHARED), PT_P | PT_W | PT_U);
		if (!(e & PT_SHARED)) {
			audit_table(a, t, e & PT_ADDR, level - 1);
			continue;
		}
		n = number(e & PT_ADDR);
		CHECK(meta[n].owner != t && meta[n].owner->frozen && meta[n].level == level - 1);
		n = number(table);
	}
	CHECK(present || level == PT_LEVELS);
}

uint64_t mem_audit(const struct tree *t)
{
	struct audit a = { .hash = 0xcbf29ce484222325UL };

	audit_table(&a, t, t->pt.root.v, PT_LEVELS);
	CHECK_EQ(a.tables, t->tables);
	CHECK_EQ(a.pages, t->pages);
	return a.hash;
}
