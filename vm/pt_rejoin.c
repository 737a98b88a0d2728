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

/* Does the table, and what is below it, say what `above` says? */
static bool is_like(const struct pt *pt, dune_gpa_t table, int level, const struct pt *src,
		    uint64_t above)
{
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		uint64_t entry = own_entry(pt, table, i), want = borrowed(src, above, level, i);

		if (is_own(entry, level) ?
			    !is_like(pt, pt_target(entry), level - 1, src, want) :
			    ((entry ^ want) & ~(PT_A | PT_D)) != 0)
			return false;
	}
	return true;
}

static void rejoin(struct pt *pt, dune_gpa_t table, int level, uint64_t from, const struct pt *src,
		   uint64_t above)
{
	unsigned entries = level == PT_LEVELS ? PT_ENTRIES / 2 : PT_ENTRIES;

	for (unsigned i = 0; i < entries; i++) {
		uint64_t entry = own_entry(pt, table, i), at = from + i * pt_span(level), want;

		if (!is_own(entry, level))
			continue;
		want = borrowed(src, above, level, i);
		if (!is_like(pt, pt_target(entry), level - 1, src, want)) {
			rejoin(pt, pt_target(entry), level - 1, at, src, want);
			continue;
		}
		pt->ops->set(pt->ctx, pt_slot(table, at, level), entry, want, dune_gva(at), level);
		pt_drop(pt, pt_target(entry), level - 1);
	}
}

void pt_rejoin(struct pt *pt, const struct pt *src)
{
	rejoin(pt, pt->root, PT_LEVELS, 0, src, pt_table(src->root, true));
}
