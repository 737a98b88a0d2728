/* SPDX-License-Identifier: MIT */
/* pt_read.c - page-table entries made and read; look up and walk.  World: host and ring 0. */
#include <linux/errno.h>

#include "vm/pt_level.h"

uint64_t pt_leaf(dune_gpa_t page, unsigned prot, bool huge)
{
	uint64_t entry = page.v | PT_U;

	if (prot & PT_RIGHTS)
		entry |= PT_P;
	if (prot & DUNE_WRITE)
		entry |= PT_W;
	if (!(prot & DUNE_EXEC))
		entry |= PT_NX;
	if (prot & DUNE_COW)
		entry |= PT_COW;
	if (prot & DUNE_OWNED)
		entry |= PT_OWNED;
	if (huge)
		entry |= PT_PS;
	return entry;
}

uint64_t pt_leaf_protect(uint64_t leaf, unsigned prot)
{
	uint64_t keep = leaf & (PT_PS | PT_OWNED);

	if (!(leaf & PT_COW) && !(prot & DUNE_COW))
		return pt_leaf(pt_target(leaf), prot, false) | keep;
	if (!(prot & PT_RIGHTS))
		keep |= leaf & PT_NOCOW;
	else if (!(prot & (DUNE_WRITE | DUNE_COW)))
		keep |= PT_NOCOW;
	return pt_leaf(pt_target(leaf), (prot & ~DUNE_WRITE) | DUNE_COW, false) | keep;
}

uint64_t pt_table(dune_gpa_t table, bool shared)
{
	return table.v | PT_P | PT_W | PT_U | (shared ? PT_SHARED : 0);
}

void pt_leaf_read(uint64_t entry, int level, dune_gva_t at, struct dune_leaf *out)
{
	uint64_t offset = at.v & (pt_span(level) - 1);
	unsigned prot = 0;

	if (entry & PT_P) {
		prot |= DUNE_READ;
		if (entry & PT_W)
			prot |= DUNE_WRITE;
		if (!(entry & PT_NX))
			prot |= DUNE_EXEC;
	}
	if ((entry & PT_COW) && !(entry & PT_NOCOW))
		prot |= DUNE_COW;
	if (entry & PT_OWNED)
		prot |= DUNE_OWNED;
	out->page = dune_gpa((entry & PT_ADDR) + (offset & ~(DUNE_PAGE_SIZE - 1)));
	out->prot = prot;
	out->size = pt_span(level);
}

/* The entry as this tree has it: below a SHARED table nothing is this tree's own. */
static uint64_t read_entry(const struct pt *pt, dune_gpa_t table, uint64_t at, int level,
			   bool borrowed)
{
	uint64_t entry = pt_get(pt, table, at, level);

	return borrowed ? pt_borrow(entry, level, pt_index(at, level)) : entry;
}

int pt_lookup(struct pt *pt, dune_gva_t at, struct dune_leaf *out)
{
	dune_gpa_t table = pt->root;
	bool borrowed = false;
	uint64_t entry;
	int level;

	if (at.v >= DUNE_USER_END)
		return -EINVAL;
	for (level = PT_LEVELS;; level--) {
		entry = read_entry(pt, table, at.v, level, borrowed);
		if (!entry)
			return -ENOENT;
		if (pt_is_leaf(entry, level))
			break;
		table = pt_target(entry);
		borrowed = entry & PT_SHARED;
	}
	pt_leaf_read(entry, level, at, out);
	return 0;
}

/* What pt_walk() hands down. */
struct walk {
	struct pt *pt;
	int (*fn)(void *ctx, dune_gva_t at, const struct dune_leaf *leaf);
	void *ctx;
};

static int walk(const struct walk *w, dune_gpa_t table, int level, uint64_t from, uint64_t to,
		bool borrowed)
{
	struct dune_leaf leaf;
	uint64_t at, next;
	int ret;

	for (at = from; at < to; at = next) {
		uint64_t entry = read_entry(w->pt, table, at, level, borrowed);

		next = pt_entry_end(at, level, to);
		if (!entry)
			continue;
		if (pt_is_leaf(entry, level)) {
			pt_leaf_read(entry, level, dune_gva(at), &leaf);
			ret = w->fn(w->ctx, dune_gva(at), &leaf);
		} else {
			ret = walk(w, pt_target(entry), level - 1, at, next, entry & PT_SHARED);
		}
		if (ret)
			return ret;
	}
	return 0;
}

int pt_walk(struct pt *pt, dune_gva_t from, dune_gva_t to,
	    int (*fn)(void *ctx, dune_gva_t at, const struct dune_leaf *leaf), void *ctx)
{
	struct walk w = { .pt = pt, .fn = fn, .ctx = ctx };

	if (from.v > to.v || !pt_range_ok(from.v, to.v - from.v))
		return -EINVAL;
	return walk(&w, pt->root, PT_LEVELS, from.v, to.v, false);
}

static size_t tables(const struct pt *pt, dune_gpa_t table, int level, uint64_t from, uint64_t to)
{
	uint64_t at, next;
	size_t n = 0;

	for (at = from; at < to; at = next) {
		uint64_t entry = pt_get(pt, table, at, level);

		next = pt_entry_end(at, level, to);
		if (!entry || pt_is_leaf(entry, level) || (entry & PT_SHARED))
			continue;
		n += next - at == pt_span(level);
		if (level > 2) /* what level 1 has is leaves */
			n += tables(pt, pt_target(entry), level - 1, at, next);
	}
	return n;
}

size_t pt_tables(const struct pt *pt, dune_gva_t from, dune_gva_t to)
{
	if (from.v > to.v || !pt_range_ok(from.v, to.v - from.v))
		return 0;
	return tables(pt, pt->root, PT_LEVELS, from.v, to.v);
}
