/* SPDX-License-Identifier: MIT */
/*
 * pt_level.h - the geometry of the page tables, for vm/pt*.c only.  World: host and ring 0.
 *
 *   63 ........ 48 47 ..... 39 38 ..... 30 29 ..... 21 20 ..... 12 11 ....... 0
 *   0              root index  index       index       index       offset
 *                  level 4     level 3     level 2     level 1
 *                  512 GiB     1 GiB       2 MiB       4 KiB       per entry
 */
#ifndef VM_PT_LEVEL_H
#define VM_PT_LEVEL_H

#include "vm/pt.h"

#define PT_RIGHTS (DUNE_READ | DUNE_WRITE | DUNE_EXEC)

static inline unsigned pt_shift(int level)
{
	return 12 + 9 * ((unsigned)level - 1);
}

/* Bytes that one entry translates. */
static inline uint64_t pt_span(int level)
{
	return 1UL << pt_shift(level);
}

static inline unsigned pt_index(uint64_t at, int level)
{
	return (at >> pt_shift(level)) % PT_ENTRIES;
}

static inline dune_gpa_t pt_slot(dune_gpa_t table, uint64_t at, int level)
{
	return dune_gpa(table.v + pt_index(at, level) * sizeof(uint64_t));
}

static inline uint64_t pt_get(const struct pt *pt, dune_gpa_t table, uint64_t at, int level)
{
	return pt->ops->get(pt->ctx, pt_slot(table, at, level));
}

/* The end of what the entry for `at` translates, or of the range. */
static inline uint64_t pt_entry_end(uint64_t at, int level, uint64_t to)
{
	uint64_t end = (at | (pt_span(level) - 1)) + 1;

	return end < to ? end : to;
}

static inline dune_gpa_t pt_target(uint64_t entry)
{
	return dune_gpa(entry & PT_ADDR);
}

static inline bool pt_is_leaf(uint64_t entry, int level)
{
	return entry && (level == 1 || (entry & PT_PS));
}

static inline bool pt_range_ok(uint64_t at, size_t len)
{
	uint64_t end;

	return !((at | len) % DUNE_PAGE_SIZE) && !__builtin_add_overflow(at, len, &end) &&
	       end <= DUNE_USER_END;
}

/* The leaf with other rights.  A COW leaf never gets W: its page is not this tree's to write. */
uint64_t pt_leaf_protect(uint64_t leaf, unsigned prot);

#define PT_NO_PAGE (~0UL)

/* Give back the pages of [from, to) in a leaf that is unreachable now, if OWNED; not `except`. */
void pt_release(const struct pt *pt, uint64_t leaf, int level, uint64_t from, uint64_t to,
		uint64_t except);
/*
 * Give back a table that is no longer reachable with all below it that is this tree's.  Of a
 * root, the upper half is not looked at.
 */
void pt_drop(const struct pt *pt, dune_gpa_t table, int level);

#endif
