/* SPDX-License-Identifier: MIT */
/*
 * pt.c - changes to a range of a page-table tree: map, replace, restore, unmap, protect.
 * World: host and ring 0.
 *
 * A change is decoded, then performed.  plan() walks the range, refuses what is not allowed and
 * counts the tables that will be taken; they are allocated; perform() walks the range again and
 * cannot fail.  Both let decide() say what happens at an entry, so that the count is exact.
 *
 * A table that is new, a copy, or a split leaf is complete, with the change already in it, before
 * one store links it.  Where something goes, the entry that led there is gone first.
 */
#include <linux/errno.h>

#include "vm/pt_level.h"

enum kind { MAP, REPLACE, RESTORE, UNMAP, PROTECT };

/* One change of one range. */
struct edit {
	struct pt *pt;
	enum kind kind;
	uint64_t at; /* MAP, REPLACE: `page` goes here, the following pages behind it */
	uint64_t page;
	uint64_t leaf; /* RESTORE: this entry goes to `at` */
	unsigned prot;
	bool huge;	  /* MAP: 2 MiB leaves are possible */
	dune_gpa_t spare; /* tables for this change, chained through their first entry */
	size_t spares;
};

/* What a change does at one entry. */
enum step {
	SKIP,	 /* nothing */
	LEAF,	 /* write, change or clear a leaf */
	GROW,	 /* a hole: hang a new table into it */
	SPLIT,	 /* a large leaf that changes in part: 512 small ones instead */
	COPY,	 /* a table of another tree: a copy instead */
	DETACH,	 /* a table of which nothing remains */
	DESCEND, /* a table of this tree */
};

/* perform() takes what plan() counted.  Anything else is a broken walker: never go on. */
static dune_gpa_t take(struct edit *e)
{
	const struct pt *pt = e->pt;
	dune_gpa_t table = e->spare;

	if (!e->spares)
		__builtin_trap();
	e->spares--;
	e->spare = dune_gpa(pt->ops->get(pt->ctx, table));
	pt->ops->init(pt->ctx, table, 0);
	return table;
}

static int reserve(struct edit *e, size_t need)
{
	const struct pt *pt = e->pt;
	dune_gpa_t table;
	int err;

	while (e->spares < need) {
		err = pt->ops->table_alloc(pt->ctx, &table);
		if (err) {
			while (e->spares)
				pt->ops->table_free(pt->ctx, take(e));
			return err;
		}
		pt->ops->init(pt->ctx, table, e->spare.v);
		e->spare = table;
		e->spares++;
	}
	return 0;
}

/*
 * Is there a leaf in [from, to), a range within this table?  No table below the root is empty, so
 * only the two ends are descended into.
 */
static bool occupied(const struct pt *pt, dune_gpa_t table, int level, uint64_t from, uint64_t to)
{
	uint64_t at, next;

	for (at = from; at < to; at = next) {
		uint64_t entry = pt_get(pt, table, at, level);

		next = pt_entry_end(at, level, to);
		if (!entry)
			continue;
		if (pt_is_leaf(entry, level) || next - at == pt_span(level) ||
		    occupied(pt, pt_target(entry), level - 1, at, next))
			return true;
	}
	return false;
}

/* Is there a leaf in this table outside [from, to)? */
static bool occupied_outside(const struct pt *pt, dune_gpa_t table, int level, uint64_t from,
			     uint64_t to)
{
	uint64_t start = from & ~(pt_span(level + 1) - 1);

	return occupied(pt, table, level, start, from) ||
	       occupied(pt, table, level, to, start + pt_span(level + 1));
}

/* What e does at `entry`, which translates [at, next) and perhaps addresses on both sides. */
static enum step decide(const struct edit *e, uint64_t entry, int level, uint64_t at, uint64_t next)
{
	bool adds = e->kind == MAP || e->kind == REPLACE || e->kind == RESTORE;
	bool whole = next - at == pt_span(level);

	if (!entry) {
		if (!adds)
			return SKIP;
		return level == 1 || (level == 2 && whole && e->huge) ? LEAF : GROW;
	}
	if (pt_is_leaf(entry, level))
		return level == 1 || (whole && e->kind != REPLACE && e->kind != RESTORE) ? LEAF :
											   SPLIT;
	if (e->kind == UNMAP && !occupied_outside(e->pt, pt_target(entry), level - 1, at, next))
		return DETACH;
	if (!(entry & PT_SHARED))
		return DESCEND;
	return adds || occupied(e->pt, pt_target(entry), level - 1, at, next) ? COPY : SKIP;
}

/* Tables that leaves for [from, to) need below one hole of a table of `level`. */
static size_t tables_below(int level, uint64_t from, uint64_t to, bool huge)
{
	size_t n = 0;

	for (; level > 1; level--)
		n += ((to - 1) >> pt_shift(level)) - (from >> pt_shift(level)) + 1;
	if (huge) {
		uint64_t first = (from + PT_HUGE - 1) / PT_HUGE, end = to / PT_HUGE;

		if (first < end)
			n -= end - first;
	}
	return n;
}

/* May e not touch this leaf? */
static int refuse(const struct edit *e, uint64_t leaf, int level)
{
	const struct pt *pt = e->pt;

	if (e->kind == MAP)
		return -EEXIST;
	if (e->kind != PROTECT)
		return 0;
	if ((e->prot & DUNE_EXEC) && (leaf & PT_COW) && (leaf & PT_NX))
		return -EINVAL;
	if ((e->prot & DUNE_WRITE) && !(leaf & (PT_COW | PT_W)) && pt->ops->writable &&
	    !pt->ops->writable(pt->ctx, pt_target(leaf), pt_span(level)))
		return -EINVAL;
	return 0;
}

/*
 * The tables that perform() will take in [from, to) of this table, or a negative errno.
 * `borrowed`: the table stands for the copy that perform() will have made of it.
 */
static long plan(const struct edit *e, dune_gpa_t table, int level, uint64_t from, uint64_t to,
		 bool borrowed)
{
	uint64_t at, next;
	long need = 0, n;
	enum step step;
	int err;

	for (at = from; at < to; at = next) {
		uint64_t entry = pt_get(e->pt, table, at, level);

		next = pt_entry_end(at, level, to);
		if (borrowed)
			entry = pt_borrow(entry, level, pt_index(at, level));
		if (pt_is_leaf(entry, level)) {
			err = refuse(e, entry, level);
			if (err)
				return err;
		}
		step = decide(e, entry, level, at, next);
		if (step == GROW)
			need += (long)tables_below(level, at, next, e->huge);
		if (step == SPLIT || step == COPY)
			need++;
		if (step == COPY || step == DESCEND) {
			n = plan(e, pt_target(entry), level - 1, at, next, step == COPY);
			if (n < 0)
				return n;
			need += n;
		}
	}
	return need;
}

static void store(const struct pt *pt, dune_gpa_t table, uint64_t at, int level, uint64_t old,
		  uint64_t val, bool live)
{
	dune_gva_t first = dune_gva(at & ~(pt_span(level) - 1));

	if (live)
		pt->ops->set(pt->ctx, pt_slot(table, at, level), old, val, first, level);
	else
		pt->ops->init(pt->ctx, pt_slot(table, at, level), val);
}

/* Let go of the part [from, to) of a leaf that e took out of the live tree. */
static void release_old(const struct edit *e, uint64_t leaf, int level, uint64_t from, uint64_t to)
{
	bool kept = e->kind == REPLACE && (e->prot & DUNE_OWNED);

	if (e->kind != PROTECT)
		pt_release(e->pt, leaf, level, from, to, kept ? e->page : PT_NO_PAGE);
}

static uint64_t new_leaf(const struct edit *e, uint64_t old, int level, uint64_t at)
{
	switch (e->kind) {
	case MAP:
	case REPLACE:
		return pt_leaf(dune_gpa(e->page + (at - e->at)), e->prot, level == 2);
	case RESTORE:
		return e->leaf;
	case PROTECT:
		return pt_leaf_protect(old, e->prot);
	case UNMAP:
		break;
	}
	return 0;
}

/* Fill a new level-1 table with what one large leaf was. */
static void split(const struct pt *pt, dune_gpa_t table, uint64_t leaf)
{
	uint64_t off;

	for (off = 0; off < PT_HUGE; off += DUNE_PAGE_SIZE)
		pt->ops->init(pt->ctx, pt_slot(table, off, 1), (leaf & ~PT_PS) + off);
}

/*
 * `live`: the table can be reached from the root.  Otherwise whoever links it also lets go of the
 * pages: none may be released while the large leaf that is being split still leads to it.
 */
static void perform(struct edit *e, dune_gpa_t table, int level, uint64_t from, uint64_t to,
		    bool live)
{
	const struct pt *pt = e->pt;
	uint64_t at, next, val;
	dune_gpa_t child;

	for (at = from; at < to; at = next) {
		uint64_t entry = pt_get(pt, table, at, level);
		enum step step;

		next = pt_entry_end(at, level, to);
		step = decide(e, entry, level, at, next);
		if (step == SKIP)
			continue;
		if (step == DESCEND) {
			perform(e, pt_target(entry), level - 1, at, next, live);
			continue;
		}
		if (step == LEAF) {
			val = new_leaf(e, entry, level, at);
			if (!((val ^ entry) & ~(PT_A | PT_D)))
				continue;
		} else if (step == DETACH) {
			val = 0;
		} else {
			child = take(e);
			if (step == SPLIT)
				split(pt, child, entry);
			else if (step == COPY)
				pt->ops->table_copy(pt->ctx, child, pt_target(entry), level - 1);
			perform(e, child, level - 1, at, next, false);
			val = pt_table(child, false);
		}
		store(pt, table, at, level, entry, val, live);
		if (step == DETACH && !(entry & PT_SHARED))
			pt_drop(pt, pt_target(entry), level - 1);
		else if (live && pt_is_leaf(entry, level))
			release_old(e, entry, level, at, next);
	}
}

static bool page_ok(uint64_t page, size_t len)
{
	return !(page & ~PT_ADDR) && len <= PT_ADDR + DUNE_PAGE_SIZE - page;
}

/* Rights among `allowed`; never writable and executable, never writable in place and by copy. */
static bool prot_ok(unsigned prot, unsigned allowed)
{
	unsigned wx = prot & (DUNE_WRITE | DUNE_EXEC);

	if (prot & ~allowed)
		return false;
	if (prot & DUNE_COW)
		return (prot & DUNE_READ) && !wx;
	return wx != (DUNE_WRITE | DUNE_EXEC);
}

/* WRITE and EXEC include READ, as they do in an entry. */
static unsigned with_read(unsigned prot)
{
	return prot & (DUNE_WRITE | DUNE_EXEC) ? prot | DUNE_READ : prot;
}

static int change(struct edit *e, uint64_t at, size_t len)
{
	long need = plan(e, e->pt->root, PT_LEVELS, at, at + len, false);
	int err;

	if (need < 0)
		return (int)need;
	err = reserve(e, (size_t)need);
	if (err)
		return err;
	perform(e, e->pt->root, PT_LEVELS, at, at + len, true);
	if (e->spares)
		__builtin_trap();
	return 0;
}

static int put(struct pt *pt, enum kind kind, uint64_t at, uint64_t page, size_t len, unsigned prot)
{
	struct edit e = {
		.pt = pt,
		.kind = kind,
		.at = at,
		.page = page,
		.prot = with_read(prot),
	};

	if (!pt_range_ok(at, len) || !page_ok(page, len) || !(prot & PT_RIGHTS) ||
	    !prot_ok(prot, PT_RIGHTS | DUNE_COW | DUNE_OWNED))
		return -EINVAL;
	e.huge = kind == MAP && !((at ^ page) % PT_HUGE);
	return change(&e, at, len);
}

int pt_map(struct pt *pt, dune_gva_t at, dune_gpa_t page, size_t len, unsigned prot)
{
	return put(pt, MAP, at.v, page.v, len, prot);
}

int pt_replace(struct pt *pt, dune_gva_t at, dune_gpa_t page, unsigned prot)
{
	return put(pt, REPLACE, at.v, page.v, DUNE_PAGE_SIZE, prot);
}

int pt_restore(struct pt *pt, dune_gva_t at, const struct pt *src)
{
	struct edit e = { .pt = pt, .kind = RESTORE, .at = at.v };
	dune_gpa_t table = src->root;
	int level = PT_LEVELS;

	if (!pt_range_ok(at.v, DUNE_PAGE_SIZE))
		return -EINVAL;
	for (;; level--) {
		e.leaf = pt_borrow(pt_get(src, table, at.v, level), level, pt_index(at.v, level));
		if (!e.leaf)
			return pt_unmap(pt, at, DUNE_PAGE_SIZE);
		if (pt_is_leaf(e.leaf, level))
			break;
		table = pt_target(e.leaf);
	}
	if (level > 1)
		e.leaf = (e.leaf & ~PT_PS) + (at.v & (pt_span(level) - 1));
	return change(&e, at.v, DUNE_PAGE_SIZE);
}

int pt_unmap(struct pt *pt, dune_gva_t at, size_t len)
{
	struct edit e = { .pt = pt, .kind = UNMAP };

	return pt_range_ok(at.v, len) ? change(&e, at.v, len) : -EINVAL;
}

int pt_protect(struct pt *pt, dune_gva_t at, size_t len, unsigned prot)
{
	struct edit e = { .pt = pt, .kind = PROTECT, .prot = with_read(prot) };

	if (!pt_range_ok(at.v, len) || !prot_ok(prot, PT_RIGHTS | DUNE_COW))
		return -EINVAL;
	return change(&e, at.v, len);
}
