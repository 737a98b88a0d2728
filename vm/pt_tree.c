/* SPDX-License-Identifier: MIT */
/* pt_tree.c - whole page-table trees: cloned, and given back.  World: host and ring 0. */
#include "vm/pt_level.h"

void pt_release(const struct pt *pt, uint64_t leaf, int level, uint64_t from, uint64_t to,
		uint64_t except)
{
	uint64_t page = (leaf & PT_ADDR) + (from & (pt_span(level) - 1));
	uint64_t end = page + (to - from);

	if (!(leaf & PT_OWNED))
		return;
	for (; page < end; page += DUNE_PAGE_SIZE)
		if (page != except)
			pt->ops->page_free(pt->ctx, dune_gpa(page));
}

void pt_drop(const struct pt *pt, dune_gpa_t table, int level)
{
	unsigned i, entries = level == PT_LEVELS ? PT_ENTRIES / 2 : PT_ENTRIES;

	for (i = 0; i < entries; i++) {
		uint64_t entry = pt_get(pt, table, i * pt_span(level), level);

		if (pt_is_leaf(entry, level))
			pt_release(pt, entry, level, 0, pt_span(level), PT_NO_PAGE);
		else if (entry && !(entry & PT_SHARED))
			pt_drop(pt, pt_target(entry), level - 1);
	}
	pt->ops->table_free(pt->ctx, table);
}

void pt_clone(const struct pt *src, struct pt *dst)
{
	dst->ops->table_copy(dst->ctx, dst->root, src->root, PT_LEVELS);
}

void pt_free(struct pt *pt)
{
	pt_drop(pt, pt->root, PT_LEVELS);
}
