/* SPDX-License-Identifier: MIT */
/*
 * trap.c - what the monitor decides about traps, on page tables, regions and edits that the input makes: a space gets
 * what it is due, and nothing else, and the source of its clones stays as it is.  World: host, fuzzing.
 *
 * What is due is told here from the leaf and the list of regions as they were; the tables are pt_mem.c's, which checks
 * every store.
 */
#include "arch/layout.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/pt_mem.h"
#include "vm/monitor/monitor.h"

#define PAGE   DUNE_PAGE_SIZE
#define WINDOW 96 /* pages around a boundary of tables, looked at after each step */
#define BASE   ((1UL << 30) - 48 * PAGE)
#define R      DUNE_READ
#define W      DUNE_WRITE

static struct input in;
static struct tree source, tree;
static struct mon_space space;
static struct pt_ops charged;
static const struct pt_ops *plain;
static dune_gpa_t zero;
static uint64_t cow, demand, spurious;
static uint64_t last; /* address */

/* What the decisions of one trap did. */
static struct {
	unsigned n;
	struct mon_private p[WINDOW];
	unsigned pages_left; /* then there are none */
	bool refused;
} did;

/* ---- the environment ---- */

static int table_alloc(void *ctx, dune_gpa_t *out)
{
	int err = space.limit && space.used >= space.limit ? -ENOMEM : plain->table_alloc(ctx, out);

	space.used += !err;
	did.refused |= !!err;
	return err;
}

static void table_free(void *ctx, dune_gpa_t table)
{
	plain->table_free(ctx, table);
	space.used--;
}

static void page_gone(void *ctx, dune_gpa_t page)
{
	plain->page_free(ctx, page);
	space.used--;
}

static int page_alloc(struct mon_env *env, const dune_gpa_t *from, dune_gpa_t *out)
{
	(void)env;
	CHECK(!from || from->v != zero.v); /* a zeroed page is cheaper */
	if (!did.pages_left) {
		did.refused = true;
		return -ENOMEM;
	}
	did.pages_left--;
	*out = dune_gpa(mem_pages(1, 0));
	return 0;
}

static void page_free(struct mon_env *env, dune_gpa_t page)
{
	(void)env;
	CHECK(page.v >= MEM_PAGES);
}

static void note(struct mon_env *env, dune_gva_t at, dune_gpa_t page, dune_gpa_t from)
{
	(void)env;
	CHECK_LT(did.n, WINDOW);
	did.p[did.n++] = (struct mon_private){ at.v, page.v, from.v };
	mem_pages_own(&tree, page.v, 1, at.v);
}

/* ---- what is due ---- */

struct seen {
	bool mapped;
	struct dune_leaf leaf;
};

static struct seen look(uint64_t at)
{
	struct seen s = { 0 };

	s.mapped = !pt_lookup(&tree.pt, dune_gva(at), &s.leaf);
	return s;
}

static unsigned region_prot(uint64_t at)
{
	for (uint32_t i = 0; i < space.nregions; i++)
		if (at >= space.regions[i].start && at < space.regions[i].end)
			return (unsigned)space.regions[i].prot;
	return 0;
}

/* MON_RESUME, and *own: with a page of its own; or MON_TO_HOST. */
static enum mon_verdict due(const struct seen *s, uint64_t at, bool write, bool *own)
{
	unsigned prot = s->mapped ? s->leaf.prot : region_prot(at);

	*own = s->mapped ? write && (prot & (R | DUNE_COW | DUNE_OWNED)) == (R | DUNE_COW) :
			   prot && (prot & W || !write);
	if (*own)
		return MON_RESUME;
	return s->mapped && prot & (write ? W : R) ? MON_RESUME : MON_TO_HOST;
}

static bool same(const struct seen *a, const struct seen *b)
{
	return a->mapped == b->mapped &&
	       (!a->mapped || (a->leaf.page.v == b->leaf.page.v && a->leaf.prot == b->leaf.prot));
}

static const struct mon_private *noted(uint64_t at)
{
	const struct mon_private *found = NULL;

	for (unsigned i = 0; i < did.n; i++) {
		if (did.p[i].at == at) {
			CHECK_MSG(!found, "%#lx was given two pages", at);
			found = &did.p[i];
		}
	}
	return found;
}

/* Every page of the window is as it was, or was due and is the space's own now, made from what was there. */
static void compare(const struct seen *before, bool write)
{
	for (unsigned i = 0; i < WINDOW; i++) {
		uint64_t at = BASE + i * PAGE, from;
		const struct mon_private *p = noted(at);
		struct seen now = look(at);
		bool own;

		if (!p) {
			CHECK_MSG(same(&before[i], &now), "%#lx changed and was not noted", at);
			continue;
		}
		(void)due(&before[i], at, write, &own);
		CHECK_MSG(own, "%#lx was not due", at);
		from = before[i].mapped ? before[i].leaf.page.v : zero.v;
		CHECK(now.mapped && now.leaf.page.v == p->page && p->from == from);
		CHECK_EQ(now.leaf.prot, DUNE_OWNED | (before[i].mapped ? R | W : R | (region_prot(at) & W)));
	}
}

/* ---- steps ---- */

/* Often where the last one was, or beside it. */
static uint64_t somewhere(void)
{
	unsigned i = (unsigned)take(&in, 1);

	if (i < WINDOW)
		return last = BASE + i * PAGE;
	if (i > 250)
		return DUNE_USER_END - (i & 1) * PAGE + (i > 253) * PAGE + 8;
	return last += (i & 16 && last < BASE + (WINDOW - 1) * PAGE) * PAGE;
}

static struct mon_env environment(unsigned around)
{
	return (struct mon_env){
		.pt = { tree.pt.root, &charged, &tree },
		.space = &space,
		.zero_page = zero,
		.page_alloc = page_alloc,
		.page_free = page_free,
		.log = note,
		.cow = &cow,
		.demand = &demand,
		.spurious = &spurious,
		.around = around,
	};
}

static void trap(unsigned op)
{
	struct mon_env env = environment(op & 8 ? 64 : 4);
	struct dune_frame f = { .cs = op & 16 ? SEL_KERNEL_CS : SEL_USER_CS, .vector = VECTOR_PF, .cr2 = somewhere() }, was;
	unsigned error = (unsigned)take(&in, 1), frees = (unsigned)tree.page_frees;
	uint64_t at = f.cr2 & ~(PAGE - 1), used = space.used, pages = cow + demand;
	struct seen before[WINDOW], one = look(at);
	bool write = error & 2, ours = !(op & 16) && (error & 0x1c) == 4, own = false;
	enum mon_verdict want = MON_TO_HOST, got;
	unsigned tables = tree.tables;

	for (unsigned i = 0; i < WINDOW; i++)
		before[i] = look(BASE + i * PAGE);
	did.n = 0;
	did.refused = false;
	did.pages_left = op & 32 ? error & 1 : 64;
	f.error = error;
	was = f;
	if (ours && at < DUNE_USER_END)
		want = due(&one, at, write, &own);
	got = mon_trap(&env, &f);
	CHECK_MEM(&f, &was, sizeof(f));
	if (got == MON_NOMEM)
		CHECK(want == MON_RESUME && own && !did.n && (did.refused || (space.limit && used >= space.limit)));
	else
		CHECK_EQ(got, want);
	if (got == MON_RESUME && own)
		CHECK(noted(at));
	else
		CHECK_EQ(did.n, 0);
	CHECK_LE(did.n, env.around);
	CHECK_EQ(cow + demand, pages + did.n);
	CHECK_EQ(space.used, used + did.n + (tree.tables - tables));
	CHECK(!space.limit || space.used <= space.limit || space.used == used);
	CHECK_EQ(tree.page_frees, frees); /* what is replaced was never the space's own */
	compare(before, write);
}

static void answer(unsigned op)
{
	struct dune_frame f = { .cs = SEL_USER_CS, .vector = VECTOR_SYSCALL, .rax = op & 15 };
	struct mon_env env = environment(4);
	bool known = false;

	space.nanswers = take(&in, 1) % (MON_ANSWERS + 1);
	for (uint32_t i = 0; i < space.nanswers; i++) {
		space.answers[i].nr = take(&in, 1) & 15;
		space.answers[i].value = 1000 + space.answers[i].nr;
		known |= space.answers[i].nr == f.rax;
	}
	CHECK_EQ(mon_trap(&env, &f), known ? MON_RESUME : MON_TO_HOST);
	CHECK_EQ(f.rax, known ? 1000 + (op & 15) : (op & 15));
}

/* Regions as the host makes them: sorted and disjoint. */
static void regions(void)
{
	uint64_t at = BASE;

	space.nregions = 0;
	for (unsigned n = take(&in, 1) % 8; n; n--) {
		unsigned v = (unsigned)take(&in, 1);

		at += (v & 7) * PAGE;
		space.regions[space.nregions++] = (struct mon_region){
			at, at + (1 + (v >> 3 & 15)) * PAGE, v & 128 ? R | W : take(&in, 1) & 1 ? R : 0
		};
		at = space.regions[space.nregions - 1].end;
	}
}

/* What the host, or what ring 0 had noted, makes of the space meanwhile. */
static void edit(unsigned op)
{
	struct pt pt = environment(4).pt;
	uint64_t at = somewhere() & ~(PAGE - 1);
	size_t len = PAGE * (1 + (op >> 4 & 7));
	static const unsigned prots[] = { R, R | W, 0, R | DUNE_COW };

	did.refused = false;
	switch (op % 6) {
	case 0: (void)!pt_unmap(&pt, dune_gva(at), len); break;
	case 1: (void)!pt_protect(&pt, dune_gva(at), len, prots[op >> 4 & 3]); break;
	case 2: (void)!pt_restore(&pt, dune_gva(at), &source.pt); break;
	case 3: regions(); break;
	case 4: space.limit = op & 128 ? space.used + (op >> 4 & 7) : 0; break;
	default: /* nobody's word for it */
		space.around_low = somewhere() & ~(PAGE - 1);
		space.around_high = somewhere() & ~(PAGE - 1);
		space.around = (uint32_t)take(&in, op & 16 ? 4 : 1);
		break;
	}
}

/* A source with pages of all kinds, some of them in one large leaf. */
static void begin(void)
{
	static const unsigned prots[] = { R | DUNE_COW, R | DUNE_EXEC, R, R | DUNE_COW, 0 };
	uint64_t pages;

	mem_tree_new(&source);
	last = BASE;
	zero = dune_gpa(0x7000);
	for (unsigned i = 0; i < 40; i++) {
		unsigned v = i % 5;

		pages = i % 2 ? mem_pages(1, 0) : zero.v;
		CHECK_OK(pt_map(&source.pt, dune_gva(BASE + 2 * i * PAGE), dune_gpa(pages), PAGE,
				i % 2 ? R | DUNE_OWNED : R | DUNE_COW));
		if (i % 2)
			mem_pages_own(&source, pages, 1, BASE + 2 * i * PAGE);
		if (i % 2 && v != 2)
			CHECK_OK(pt_protect(&source.pt, dune_gva(BASE + 2 * i * PAGE), PAGE, prots[v]));
	}
	mem_tree_clone(&source, &tree);
	plain = tree.pt.ops;
	charged = *plain;
	charged.table_alloc = table_alloc;
	charged.table_free = table_free;
	charged.page_free = page_gone;
	memset(&space, 0, sizeof(space));
	space.used = 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t hash;

	in = (struct input){ data, len };
	begin();
	hash = mem_audit(&source);
	while (in.left) {
		unsigned op = (unsigned)take(&in, 1), kind = op >> 6;

		if (kind < 2)
			trap(op);
		else if (kind == 2)
			edit((unsigned)take(&in, 1));
		else
			answer(op);
	}
	mem_audit(&tree);
	CHECK_EQ(mem_audit(&source), hash);
	mem_tree_free(&tree);
	mem_tree_free(&source);
	CHECK_EQ(mem_tables(), 0);
	CHECK_EQ(mem_owned(), 0);
	return 0;
}
