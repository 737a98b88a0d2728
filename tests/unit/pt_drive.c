/* SPDX-License-Identifier: MIT */
/* pt_drive.c - operations on a few trees and their clones, each compared with the flat model.  World: host. */
#include "tests/unit/pt_drive.h"

#include "tests/test.h"
#include "tests/unit/pt_mem.h"
#include "tests/unit/pt_model.h"

#define TREES 5

struct node {
	struct tree tree;
	struct page *now;       /* INDEXES */
	bool used;
	int parent, clones;
	uint64_t frozen_hash;
};

static struct node nodes[TREES];
static struct page *next_state; /* what the operation in hand is to make of its tree */
static struct node *busy;       /* the tree it is done to, and the indexes it may change */
static size_t busy_first, busy_last;
struct drive_seen drive_seen;
uint64_t (*drive_rnd)(uint64_t n);

/* ---- comparing ---- */

struct seen_walk {
	const struct page *m;
	size_t pages;
	uint64_t from, to;
};

static void check_leaf(const struct page *p, const struct dune_leaf *leaf, uint64_t off)
{
	CHECK(p->mapped);
	CHECK_EQ(leaf->page.v + off, p->page);
	CHECK_EQ(leaf->prot, model_prot(p));
	CHECK_EQ(leaf->size, p->huge ? PT_HUGE : PAGE);
}

static int on_leaf(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	struct seen_walk *w = ctx;
	uint64_t off, end = (at.v | (leaf->size - 1)) + 1;
	size_t i = model_index(at.v);

	CHECK_LT(i, INDEXES);
	CHECK(at.v >= w->from && at.v < w->to);
	for (off = 0; at.v + off < end && at.v + off < w->to; off += PAGE, i++) {
		check_leaf(&w->m[i], leaf, off);
		w->pages++;
	}
	return 0;
}

static void check_walk(struct node *n, uint64_t from, uint64_t to)
{
	struct seen_walk w = { .m = n->now, .from = from, .to = to };
	size_t i, want = 0;

	for (i = 0; i < INDEXES; i++)
		want += n->now[i].mapped && model_va(i) >= from && model_va(i) < to;
	CHECK_OK(pt_walk(&n->tree.pt, dune_gva(from), dune_gva(to), on_leaf, &w));
	CHECK_EQ(w.pages, want);
}

static void check_tree(struct node *n)
{
	uint64_t hash = mem_audit(&n->tree);
	struct dune_leaf leaf;
	size_t a, b;
	int i;

	if (n->tree.frozen)
		CHECK_EQ(hash, n->frozen_hash);
	check_walk(n, 0, DUNE_USER_END);
	a = drive_rnd(INDEXES - 1);
	b = a + drive_rnd(INDEXES - 1 - a);
	check_walk(n, model_va(a), model_va(b));
	for (i = 0; i < 20; i++) {
		a = drive_rnd(INDEXES - 1);
		if (n->now[a].mapped) {
			CHECK_OK(pt_lookup(&n->tree.pt, dune_gva(model_va(a) + drive_rnd(PAGE)), &leaf));
			check_leaf(&n->now[a], &leaf, 0);
		} else {
			CHECK_ERR(pt_lookup(&n->tree.pt, dune_gva(model_va(a)), &leaf), -ENOENT);
		}
	}
}

static bool same(const struct page *p, uint64_t entry, int level, uint64_t at)
{
	struct dune_leaf leaf;

	if (!entry || !p->mapped)
		return !entry && !p->mapped;
	pt_leaf_read(entry, level, dune_gva(at), &leaf);
	return leaf.page.v == p->page && leaf.prot == model_prot(p);
}

/* In the middle of an operation every address is as it was or as it is to be. */
static void midway(struct tree *t)
{
	size_t i, end = busy_last + 2;
	int level;

	CHECK(t == &busy->tree);
	if (drive_rnd(32))
		return;
	drive_seen.midway++;
	for (i = busy_first ? busy_first - 1 : 0; i < end && i < INDEXES - 1; i++) {
		uint64_t entry = mem_translate(t, model_va(i), &level);

		CHECK_MSG(same(&busy->now[i], entry, level, model_va(i)) ||
				  same(&next_state[i], entry, level, model_va(i)),
			  "%#lx is %#lx, neither the old nor the new", model_va(i), entry);
	}
}

/* ---- operations ---- */

static int pt_do(struct pt *pt, const struct args *a)
{
	dune_gva_t at = dune_gva(model_va(a->first));
	size_t len = model_va(a->last) + PAGE - at.v;

	switch (a->op) {
	case MAP:
		return pt_map(pt, at, dune_gpa(a->page), len, a->prot);
	case REPLACE:
		return pt_replace(pt, at, dune_gpa(a->page), a->prot);
	case UNMAP:
		return pt_unmap(pt, at, len);
	default:
		return pt_protect(pt, at, len, a->prot);
	}
}

/* Fail the first, the second, ... allocation until it succeeds; each failure changes nothing. */
static int fail_each(struct tree *t, const struct args *a)
{
	uint64_t hash = mem_audit(t);
	unsigned tables = t->tables;
	unsigned long sets = t->sets, pages = t->page_frees;
	long k;
	int err;

	for (k = 0; ; k++) {
		t->allocs_left = k;
		err = pt_do(&t->pt, a);
		if (err != -ENOMEM)
			break;
		drive_seen.nomem++;
		CHECK(t->sets == sets && t->page_frees == pages && t->tables == tables);
		CHECK_EQ(mem_audit(t), hash);
	}
	CHECK_EQ(t->allocs_left, 0);
	t->allocs_left = -1;
	return err;
}

static void operate(struct node *n, const struct args *a)
{
	struct tree *t = &n->tree;
	unsigned long sets = t->sets, copies = t->copies;
	struct page *swap;
	unsigned freed = 0;
	int want, got;
	size_t i;

	memcpy(next_state, n->now, INDEXES * sizeof(*n->now));
	want = model_do(next_state, a);
	busy = n;
	busy_first = a->first;
	busy_last = a->last;
	t->on_set = midway;
	t->page_frees = 0;
	got = !want && drive_rnd(3) == 0 ? fail_each(t, a) : pt_do(&t->pt, a);
	CHECK_ERR(got, want);
	t->on_set = NULL;
	if (want) {
		drive_seen.refused++;
		CHECK_EQ(t->sets, sets);
		return;
	}
	for (i = a->first; i <= a->last; i++) {
		bool kept = next_state[i].owned && n->now[i].page == next_state[i].page;

		if (n->now[i].owned && !kept)
			freed++;
		if (next_state[i].owned && !(n->now[i].owned && kept))
			mem_pages_own(t, next_state[i].page, 1, model_va(i));
	}
	CHECK_EQ(t->page_frees, freed);
	drive_seen.copies += t->copies - copies;
	swap = n->now;
	n->now = next_state;
	next_state = swap;
	drive_seen.done[a->op]++;
}

/* Indexes within one window, with a liking for the edges of tables. */
static void pick_range(struct args *a)
{
	size_t w = drive_rnd(WINDOWS) * WINDOW_PAGES, first = drive_rnd(WINDOW_PAGES), n;

	switch (drive_rnd(6)) {
	case 0:
		first = (first & ~511UL) + 511;
		break;
	case 1:
	case 2:
		first &= ~511UL;
		break;
	}
	switch (drive_rnd(6)) {
	case 0:
		n = 1;
		break;
	case 1:
		n = 1 + drive_rnd(8);
		break;
	case 2:
		n = 1 + drive_rnd(700);
		break;
	case 3:
		n = 512 - first % 512 + 512 * drive_rnd(3);
		break;
	case 4:
		n = 512 - first % 512 + 1;
		break;
	default:
		n = WINDOW_PAGES;
	}
	if (n > WINDOW_PAGES - first)
		n = WINDOW_PAGES - first;
	a->first = w + first;
	a->last = w + first + n - 1;
	if (a->last == INDEXES - 1)
		a->last--;
	if (a->first > a->last)
		a->first = a->last;
}

static void pick(struct args *a, struct node *n)
{
	static const unsigned prots[] = {
		DUNE_READ, DUNE_READ | DUNE_WRITE, DUNE_READ | DUNE_EXEC, DUNE_WRITE, DUNE_EXEC,
		DUNE_READ | DUNE_COW, DUNE_READ | DUNE_COW, 0,
		DUNE_WRITE | DUNE_EXEC, DUNE_READ | DUNE_WRITE | DUNE_COW, DUNE_COW,
	};
	bool owned = drive_rnd(2);

	*a = (struct args){ .op = (enum op)drive_rnd(4) };
	pick_range(a);
	if (a->op >= UNMAP && drive_rnd(12) == 0) {
		struct args other;

		pick_range(&other);
		a->first = a->first < other.first ? a->first : other.first;
		a->last = a->last > other.last ? a->last : other.last;
	}
	a->prot = prots[drive_rnd(drive_rnd(4) ? 8 : 11)];
	if (a->op == REPLACE)
		a->last = a->first;
	if (a->op >= UNMAP)
		return;
	if (a->op == REPLACE && n->now[a->first].owned && drive_rnd(4) == 0) {
		a->page = n->now[a->first].page;
		owned = true;
	} else if (owned) {
		a->page = mem_pages(a->last - a->first + 1,
				    drive_rnd(3) ? model_va(a->first) : drive_rnd(512) * PAGE);
	} else {
		a->page = (drive_rnd(2) ? model_va(a->first) % PT_HUGE : 0) + (drive_rnd(3) << 40);
	}
	if (owned)
		a->prot |= DUNE_OWNED;
}

/* Take WRITE from what has it, run by run: executable pages, and those without rights, stay so. */
static void freeze_writable(struct node *n)
{
	static const unsigned prots[] = { DUNE_READ | DUNE_COW, DUNE_READ, DUNE_READ | DUNE_EXEC, 0 };
	struct args a = { .op = PROTECT };
	size_t i;

	for (i = 0; i < INDEXES - 1; i++) {
		if (!(n->now[i].rights & DUNE_WRITE))
			continue;
		a.first = i;
		while (i + 1 < INDEXES - 1 && (i + 1) % WINDOW_PAGES &&
		       (n->now[i + 1].rights & DUNE_WRITE))
			i++;
		a.last = i;
		a.prot = prots[drive_rnd(4)];
		operate(n, &a);
	}
}

static void clone_some(struct node *src)
{
	struct node *dst;
	struct args a = { .op = PROTECT, .first = 0, .last = INDEXES - 2 };

	for (dst = nodes; dst < nodes + TREES && dst->used; dst++)
		;
	if (dst == nodes + TREES)
		return;
	if (!src->tree.frozen) {
		a.prot = drive_rnd(2) ? DUNE_READ | DUNE_COW : DUNE_READ;
		/* As a rule all is as it is, but nothing is writable. */
		if (drive_rnd(3))
			freeze_writable(src);
		else
			operate(src, &a);
		src->frozen_hash = mem_audit(&src->tree);
	}
	mem_tree_clone(&src->tree, &dst->tree);
	model_clone(dst->now, src->now);
	dst->used = true;
	dst->clones = 0;
	dst->parent = (int)(src - nodes);
	src->clones++;
	drive_seen.done[4]++;
}

static bool alike(const struct page *a, const struct page *b)
{
	return a->mapped == b->mapped && a->page == b->page && a->rights == b->rights && a->cow == b->cow &&
	       a->nocow == b->nocow && a->owned == b->owned;
}

/* All is as it is, but what is as in the source is that in large leaves where it has them; and nothing is left to do. */
static void rejoin(struct node *n)
{
	struct node *src = &nodes[n->parent];
	struct page *like = calloc(INDEXES, sizeof(*like)), *swap;
	struct tree *t = &n->tree;
	unsigned tables = t->tables;
	unsigned long sets;

	model_clone(like, src->now);
	memcpy(next_state, n->now, INDEXES * sizeof(*n->now));
	for (size_t at = 0, k; at < INDEXES; at += 512) {
		for (k = 0; k < 512 && like[at].huge && alike(&like[at + k], &n->now[at + k]); k++)
			;
		for (bool all = k == 512; all && k; k--)
			next_state[at + k - 1].huge = true;
	}
	free(like);
	busy = n;
	busy_first = 0;
	busy_last = INDEXES - 2;
	t->on_set = midway;
	t->page_frees = 0;
	CHECK(pt_rejoin(&t->pt, &src->tree.pt, NULL, NULL));
	t->on_set = NULL;
	CHECK_EQ(t->page_frees, 0);
	CHECK_LE(t->tables, tables);
	drive_seen.rejoined += tables - t->tables;
	sets = t->sets;
	CHECK(pt_rejoin(&t->pt, &src->tree.pt, NULL, NULL));
	CHECK_EQ(t->sets, sets);
	swap = n->now;
	n->now = next_state;
	next_state = swap;
}

static void free_one(struct node *n)
{
	if (n->clones)
		return;
	if (n->parent >= 0)
		nodes[n->parent].clones--;
	mem_tree_free(&n->tree);
	n->used = false;
	drive_seen.done[5]++;
}

static void new_tree(struct node *n)
{
	mem_tree_new(&n->tree);
	memset(n->now, 0, INDEXES * sizeof(*n->now));
	n->used = true;
	n->parent = -1;
	n->clones = 0;
}

/* ---- a sequence ---- */

void drive_begin(void)
{
	struct node *n;

	if (!next_state) {
		next_state = calloc(INDEXES, sizeof(*next_state));
		for (n = nodes; n < nodes + TREES; n++)
			n->now = calloc(INDEXES, sizeof(*n->now));
	}
	new_tree(&nodes[0]);
}

void drive_step(bool all)
{
	struct node *n = &nodes[drive_rnd(TREES)];
	struct args a;

	if (!n->used) {
		if (drive_rnd(40) == 0)
			new_tree(n);
		return;
	}
	if (drive_rnd(50) == 0)
		clone_some(n);
	else if (drive_rnd(120) == 0)
		free_one(n);
	else if (!n->tree.frozen && n->parent >= 0 && drive_rnd(12) == 0)
		rejoin(n);
	else if (!n->tree.frozen) {
		pick(&a, n);
		operate(n, &a);
	}
	if (!n->used)
		return;
	mem_touch(&n->tree, model_va(drive_rnd(INDEXES - 1)));
	check_tree(n);
	for (n = nodes; all && n < nodes + TREES; n++)
		if (n->used)
			check_tree(n);
}

void drive_end(void)
{
	/* Children first: a frozen tree outlives its clones. */
	for (int i = 0; i < TREES; i++)
		for (struct node *n = nodes; n < nodes + TREES; n++)
			if (n->used)
				free_one(n);
	CHECK_EQ(mem_tables(), 0);
	CHECK_EQ(mem_owned(), 0);
}

void drive_fini(void)
{
	for (struct node *n = nodes; n < nodes + TREES; n++)
		free(n->now);
	free(next_state);
}
