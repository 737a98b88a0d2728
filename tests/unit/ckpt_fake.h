/* SPDX-License-Identifier: MIT */
/*
 * The calls of <dune.h> that the checkpoint layer makes, on plain memory: an arena with reference
 * counts, spaces as lists of ranges. World: host. All its state lies in memory that is marked
 * MADV_DONTFORK, so that it does not change what it is asked to copy, unless `noise` says so.
 */
#ifndef TESTS_UNIT_CKPT_FAKE_H
#define TESTS_UNIT_CKPT_FAKE_H

#include "include/dune.h"

struct fake_extent {
	uint64_t at, len, gpa;
	unsigned prot;
};

struct dune_space {
	struct fake_extent *extents; /* ascending */
	size_t count, cap;
};

struct dune_vm {
	char *arena;
	uint64_t size, top;
	dune_gpa_t zero_block;
	uint16_t *refs; /* of each page */
	uint32_t *free_list;
	size_t n_free;
	struct {
		uint64_t hva, len, gpa;
	} slots[512];
	size_t n_slots;
	uint64_t slot_top;
	struct dune_space space; /* there is one at a time */
	bool space_used;
	long fail_after; /* allocations that succeed; negative: all */
	long noise;	 /* allocations that touch the heap */
	void **noises;	 /* what that left there, until the VM is freed */
	long allocs;
};

struct dune_vm *fake_vm(uint64_t arena_size);
void fake_vm_free(struct dune_vm *vm);
/* Arena pages that somebody holds. */
uint64_t fake_used(const struct dune_vm *vm);
/* What the space shows at a page: its bytes in this process, or NULL. */
const uint8_t *fake_page(const struct dune_vm *vm, uint64_t at, unsigned *prot);

#endif
