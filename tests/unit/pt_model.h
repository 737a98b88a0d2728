/* SPDX-License-Identifier: MIT */
/* pt_model.h - an address space as a flat array of pages.  World: host. */
#ifndef TESTS_UNIT_PT_MODEL_H
#define TESTS_UNIT_PT_MODEL_H

#include "vm/pt.h"

#define PAGE 4096UL

/*
 * Only these parts of the address space are ever mapped: windows of four level-1 tables around the
 * boundaries that model_va() names.  The very last index is the top user page, never mapped.
 */
#define WINDOW_PAGES 2048UL
#define WINDOWS 5
#define INDEXES (WINDOWS * WINDOW_PAGES)

struct page {
	uint64_t page;
	unsigned rights;        /* READ, WRITE, EXEC */
	bool mapped, cow, nocow, owned, huge;
};

enum op { MAP, REPLACE, UNMAP, PROTECT };

struct args {
	enum op op;
	size_t first, last;
	uint64_t page;
	unsigned prot;
};

uint64_t model_va(size_t i);
/* INDEXES where `at` is in no window. */
size_t model_index(uint64_t at);
/* What is reported of a page: DUNE_*. */
unsigned model_prot(const struct page *p);
/* Do it to the INDEXES pages at m; gives what the walker is to give.  On an error, nothing. */
int model_do(struct page *m, const struct args *a);
/* The INDEXES pages of a clone: what src owns it has with the same rights, to be written by copy. */
void model_clone(struct page *dst, const struct page *src);

#endif
