/* SPDX-License-Identifier: MIT */
/*
 * pt.h - the guest page-table walker.
 * World: host and ring 0 (compiled for both; freestanding, no libc).
 *
 * Four levels of 512 entries; leaves of 4 KiB (level 1) and 2 MiB (level 2).
 *
 *   63 62 .. 56  55    54   53    52     51 ........ 12 11 .. 9  8  7  6 5 4 3 2 1 0
 *   NX    0     NOCOW COW  OWNED SHARED  page address    0      0 PS  D A 0 0 U W P
 *
 * COW    (leaf)  the page is not this tree's to write; a private copy is.  W is clear, and NX is set
 *                unless NOCOW is.
 * NOCOW  (leaf)  with COW: pt_protect() withdrew WRITE, or the page was borrowed without it, so a
 *                write is refused, not resolved.  WRITE asked for lifts it, takes EXEC away, and
 *                never reaches the page itself.
 * OWNED  (leaf)  the page belongs to this tree: released when the leaf goes.
 * SHARED (table) the table below belongs to another tree (the frozen source of a clone): copied
 *                before it is changed, never changed in place, never released.
 *
 * An entry is 0, or a table (P, no PS), or a leaf.  Leaves have U also when they are not present
 * (no rights), so page 0 without rights is not mistaken for a hole.  Tables are P | W | U without
 * NX: rights are in the leaf.  No table below the root is empty.
 *
 * The walker never touches memory itself: it goes through pt_ops, so that it runs over an arena,
 * over a window in ring 0, and over plain memory in the unit test.  An entry that was present may
 * be cached by a processor or shadowed by the host kernel: ops->set() knows what that asks for,
 * the walker only tells old and new.
 * The upper half of the root belongs to the monitor and is never looked at, only copied.
 */
#ifndef VM_PT_H
#define VM_PT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/dune.h"

#define PT_P (1UL << 0)
#define PT_W (1UL << 1)
#define PT_U (1UL << 2)
#define PT_A (1UL << 5)
#define PT_D (1UL << 6)
#define PT_PS (1UL << 7)
#define PT_SHARED (1UL << 52)
#define PT_OWNED (1UL << 53)
#define PT_COW (1UL << 54)
#define PT_NOCOW (1UL << 55)
#define PT_NX (1UL << 63)
#define PT_ADDR 0x000ffffffffff000UL

#define PT_LEVELS 4
#define PT_ENTRIES 512
#define PT_HUGE (2UL << 20)

struct pt_ops {
	/* The entry at `entry` (8-byte aligned); shows what set() and init() stored. */
	uint64_t (*get)(void *ctx, dune_gpa_t entry);
	/*
	 * Make it `val`; it was `old`; `at` is the first address it translates (for invalidation),
	 * `level` 1..4: at level 2 and up a present `old` stood for more than one page, also where
	 * it was a table.  Cannot fail; the number of calls grows with the range.
	 */
	void (*set)(void *ctx, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at,
		    int level);
	/* A zeroed table page, not yet reachable from the root.  Negative errno. */
	int (*table_alloc)(void *ctx, dune_gpa_t *out);
	/*
	 * Fill the unreachable table dst: entry i is pt_borrow(entry i of src, level, i).  src may
	 * be another tree's.
	 */
	void (*table_copy)(void *ctx, dune_gpa_t dst, dune_gpa_t src, int level);
	/* A store to a table that is not reachable from the root yet. */
	void (*init)(void *ctx, dune_gpa_t entry, uint64_t val);
	/*
	 * The tree let go of a table page (also one that was never linked), or of an OWNED leaf's
	 * page (4 KiB pages; a 2 MiB leaf: 512 calls).  By then set() has taken away the last entry
	 * that led there.
	 */
	void (*table_free)(void *ctx, dune_gpa_t table);
	void (*page_free)(void *ctx, dune_gpa_t page);
	/* Can [page, page+size), which a leaf maps, be written?  NULL: all can. */
	bool (*writable)(void *ctx, dune_gpa_t page, uint64_t size);
};

struct pt {
	dune_gpa_t root;
	const struct pt_ops *ops;
	void *ctx;
};

/* Entry constructors and readers: nobody ORs bits elsewhere. */
uint64_t pt_leaf(dune_gpa_t page, unsigned prot, bool huge);   /* DUNE_* rights; always user */
uint64_t pt_table(dune_gpa_t table, bool shared);              /* P | W | U */
void pt_leaf_read(uint64_t entry, int level, dune_gva_t at, struct dune_leaf *out);

/*
 * Entry `index` of a table of `level` as a tree has it that borrows what the owner's entry leads
 * to: a table is SHARED, and the monitor's half of a root is as it was.  A leaf is not OWNED; if it
 * was, it has the same rights and is only ever written by copy.  The page of a leaf that nobody
 * OWNs (a window on host memory, a page whose reference the caller keeps) is the caller's
 * responsibility: plain, it stays plain, and whoever asks for WRITE gets it on the page itself.
 */
static inline uint64_t pt_borrow(uint64_t entry, int level, unsigned index)
{
	if (!entry || (level == PT_LEVELS && index >= PT_ENTRIES / 2))
		return entry;
	if (level > 1 && !(entry & PT_PS))
		return entry | PT_SHARED;
	if ((entry & PT_OWNED) && !(entry & PT_COW))
		entry = (entry & ~PT_W) | PT_COW | PT_NOCOW;
	return entry & ~PT_OWNED;
}

/*
 * All of these check first and change afterwards; on a negative errno nothing has changed.
 * Addresses and lengths are page aligned, in the user half below DUNE_USER_END, and do not
 * overflow: -EINVAL otherwise.  An empty range is nothing to do.  WRITE and EXEC include READ; COW
 * needs it; WRITE|EXEC, and COW with either, are -EINVAL.
 *
 * pt_map: -EEXIST when any page of the range is mapped; 2 MiB leaves where both addresses allow it;
 * -EINVAL for none of READ, WRITE and EXEC.
 */
int pt_map(struct pt *pt, dune_gva_t at, dune_gpa_t page, size_t len, unsigned prot);
/*
 * Drops the leaves in the range, splitting large ones at its ends, and the tables of its own that
 * became empty.  A table with no leaf outside the range goes as a whole: one set() at its parent,
 * its own entries as they were.
 */
int pt_unmap(struct pt *pt, dune_gva_t at, size_t len);
/*
 * New rights (READ/WRITE/EXEC or none: the entry stays, not present, its page and software bits
 * kept) for the leaves in the range.  Holes are skipped.  A COW leaf stays COW: asked for WRITE it
 * is written by copy; asked for READ alone it is not written (and not reported COW) until WRITE is
 * asked for again; asked for EXEC: -EINVAL, unless it is executable (a borrowed one can be) and so
 * stays what it is.  READ|COW makes every leaf of the range COW.  WRITE for any other leaf whose
 * page cannot be written: -EINVAL.
 */
int pt_protect(struct pt *pt, dune_gva_t at, size_t len, unsigned prot);
/*
 * `at` need not be aligned.  -ENOENT where no leaf is.  A leaf without rights is found, with prot 0
 * and OWNED or COW as it has them: COW without READ is no permission.
 */
int pt_lookup(struct pt *pt, dune_gva_t at, struct dune_leaf *out);
/*
 * Calls fn with addresses in [from, to): a large leaf that begins below `from` is met at `from`.
 * fn changes nothing.
 */
int pt_walk(struct pt *pt, dune_gva_t from, dune_gva_t to,
	    int (*fn)(void *ctx, dune_gva_t at, const struct dune_leaf *leaf), void *ctx);
/*
 * Tables of this tree that translate addresses in [from, to) and no others.  0 for a range that the
 * above would not take.
 */
size_t pt_tables(const struct pt *pt, dune_gva_t from, dune_gva_t to);
/*
 * Replace the leaf page at `at` (of any size: split first) by `page` with `prot`, checked as
 * pt_map() does; the old page is released if it was OWNED (an OWNED page replaced by itself, OWNED,
 * only changes rights).  With no leaf there: maps it.  What copy-on-write and demand faults end in.
 */
int pt_replace(struct pt *pt, dune_gva_t at, dune_gpa_t page, unsigned prot);
/*
 * Make the leaf at `at` what a clone of `src` has there: the borrowed leaf, or none.  The old page
 * is released if it was OWNED.
 */
int pt_restore(struct pt *pt, dune_gva_t at, const struct pt *src);
/*
 * Of a clone of `src`: its own tables that say only what src's do give way to those.  What is mapped stays as it is.
 * False: stop (NULL: none), which is asked for each table, said so; some of it is done.
 */
bool pt_rejoin(struct pt *pt, const struct pt *src, bool (*stop)(void *ctx), void *ctx);
/*
 * dst's root, which maps nothing and which no processor has seen, shares every lower table of `src`
 * from now on; src must not change any more.  What src OWNs stays src's, and dst can write it only by
 * copy.  A writable leaf of src is not looked for: it would be writable in both.
 */
void pt_clone(const struct pt *src, struct pt *dst);
/*
 * Releases all tables and OWNED pages of this tree, and its root.  The tree must not be live on any
 * processor; present entries are not written: scrubbing is the table allocator's business.
 */
void pt_free(struct pt *pt);

#endif
