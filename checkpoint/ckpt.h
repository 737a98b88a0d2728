/* SPDX-License-Identifier: MIT */
/*
 * ckpt.h - what the files of checkpoint/ that make the image share.  World: host.
 *
 * Order of events, so that the image is of one moment: everything that may change memory of this
 * process (loading lists, arena pages, page tables) comes before the copying or after it, never
 * between; see image.c.
 */
#ifndef CHECKPOINT_CKPT_H
#define CHECKPOINT_CKPT_H

#include "checkpoint/image.h"
#include "checkpoint/plan.h"
#include "checkpoint/runs.h"
#include "checkpoint/stack.h"

/* Lies in scratch memory, with all it points to. */
struct ckpt {
	struct dune_vm *vm;
	struct dune_space *space;
	struct ckpt_objects objects;
	struct ckpt_plan plan;
	struct ckpt_runs runs; /* until the template is built */
	struct ckpt_range reserved;

	struct ckpt_stack stack;
	uint64_t stack_base; /* page of argc */
	size_t stack_len;
	uint8_t *stack_bytes; /* the image's version; until the template is built */

	dune_gpa_t zero_block;	    /* dune_zero_block(), 0: not used yet */
	struct scratch_vec patches; /* struct kept_patch: of the configuration */
	struct scratch_vec patch_bytes;
	uint64_t fs_base;
	bool environment;
	struct ckpt_seed seeds[CKPT_SEEDS];
	struct ckpt_stats stats;
};

struct kept_patch {
	uint64_t at;
	size_t len;
	size_t bytes; /* index into patch_bytes */
};

/*
 * template.c: slots and mappings for everything that was planned and copied.  Changes states of
 * runs to TAKEN.
 */
int ckpt_template_build(struct ckpt *c);

/*
 * patch.c: everything that differs in the image from this process on purpose.  May be repeated.
 * -ENOMEM and those of dune_vm_*: some of it may be stored.
 */
int ckpt_patch_all(struct ckpt *c);

#endif
