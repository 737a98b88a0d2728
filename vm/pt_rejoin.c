/* SPDX-License-Identifier: MIT */
/* pt_rejoin.c - tables of a clone that say nothing which its source does not say are given back.  World: host. */
#include "vm/pt_level.h"

/* A table of this tree alone. */
static bool is_own(uint64_t entry, int level)
{
	return entry && !pt_is_leaf(entry, level) && !(entry & PT_SHARED);
}

/*
 * Entry `index` of a table of `level` as a clone of src has it, which in place of that table has `above`: a table, a
 * large leaf, or nothing.
 */
static uint64_t borrowed(const struct pt *src, uint64_t above, int level, unsigned index)
{
	dune_gpa_t entry = dune_gpa(pt_target(above).v + index * sizeof(uint64_t));

	if (!above)
		return 0;
	if (above & PT_PS)
		return (above & ~PT_PS) + index * pt_span(level);
	return pt_borrow(src->ops->get(src->ctx, entry), level, index);
}

static uint64_t own_entry(const struct pt *pt, dune_gpa_t table, unsigned index)
{
	return pt->ops->get(pt->ctx, dune_gpa(table.v + index * sizeof(uint64_t)));
}

/* Does the table say what `above` says?  Those below it were looked at: one that is still its own differs. */
static bool is_like(const struct pt *pt, dune_gpa_t table, int level, const struct pt *src,
		    uint64_t above)
{
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		uint64_t entry = own_entry(pt, table, i), want = borrowed(src, above, level, i);

		if (is_own(entry, level) || (entry ^ want) & ~(PT_A | PT_D))
			return false;
	}
	return true;
}

struct rejoin {
	struct pt *pt;
	const struct pt *src;
	bool (*stop)(void *ctx);
	void *ctx;
};

/* False: it was stopped. */
static bool rejoin(const struct rejoin *r, dune_gpa_t table, int level, uint64_t from, uint64_t above)
{
	unsigned entries = level == PT_LEVELS ? PT_ENTRIES / 2 : PT_ENTRIES;

	if (r->stop && r->stop(r->ctx))
		return false;
	for (unsigned i = 0; i < entries; i++) {
		uint64_t entry = own_entry(r->pt, table, i), at = from + i * pt_span(level), want;

		if (!is_own(entry, level))
			continue;
		want = borrowed(r->src, above, level, i);
		if (!rejoin(r, pt_target(entry), level - 1, at, want))
			return false;
		if (!is_like(r->pt, pt_target(entry), level - 1, r->src, want))
			continue;
		r->pt->ops->set(r->pt->ctx, pt_slot(table, at, level), entry, want, dune_gva(at), level);
		pt_drop(r->pt, pt_target(entry), level - 1);
	}
	return true;
}

bool pt_rejoin(struct pt *pt, const struct pt *src, bool (*stop)(void *ctx), void *ctx)
{
	const struct rejoin r = { pt, src, stop, ctx };

	return rejoin(&r, pt->root, PT_LEVELS, 0, pt_table(src->root, true));
}
