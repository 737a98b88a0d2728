/* SPDX-License-Identifier: MIT */
/*
 * pt_mem.h - memory for the page-table walker that checks every call it gets.  World: host.
 *
 * Tables lie in one arena; each knows its tree, its level and whether its tree's root leads to it.
 * Owned pages are numbers with a state.  A wrong call ends the test where it is made.
 */
#ifndef TESTS_UNIT_PT_MEM_H
#define TESTS_UNIT_PT_MEM_H

#include "vm/pt.h"

#define MEM_PAGES 0x4000000000UL /* guest-physical addresses of pages that can be owned */

struct tree {
	struct pt pt;
	bool frozen;            /* a clone exists or existed: no store is allowed */
	bool dying;             /* in pt_free() */
	unsigned tables;        /* allocated and not freed */
	unsigned pages;         /* owned */
	long allocs_left;       /* then -ENOMEM; negative: no limit */
	/* Totals, for differences. */
	unsigned long sets, copies, page_frees;
	void (*on_set)(struct tree *t); /* after each live store */
};

void mem_tree_new(struct tree *t);                  /* an empty root, its upper half a pattern */
void mem_tree_clone(struct tree *src, struct tree *dst);
void mem_tree_free(struct tree *t);                 /* CHECKs that everything came back */

/* n contiguous pages, aligned like `like` modulo 2 MiB. */
uint64_t mem_pages(size_t n, uint64_t like);
/* They belong to t from now on, mapped at `at`. */
void mem_pages_own(struct tree *t, uint64_t page, size_t n, uint64_t at);
/* Tables and pages of all trees. */
unsigned mem_tables(void);
unsigned mem_owned(void);

/* What a processor would find: the leaf and its level, or 0.  Software bits as this tree has them. */
uint64_t mem_translate(const struct tree *t, uint64_t at, int *level);
/* Set A, and D where writable, on the way to `at`, as a processor would. */
void mem_touch(struct tree *t, uint64_t at);
/* CHECKs the shape of the tree against what it says it has; gives a hash without A and D bits. */
uint64_t mem_audit(const struct tree *t);

#endif
