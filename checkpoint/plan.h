/* SPDX-License-Identifier: MIT */
/*
 * plan.h - what becomes of every piece of this process's memory in the image: decided here and
 * nowhere else, before anything is copied.  World: host.
 */
#ifndef CHECKPOINT_PLAN_H
#define CHECKPOINT_PLAN_H

#include "checkpoint/image.h"
#include "checkpoint/maps.h"
#include "checkpoint/objects.h"

enum ckpt_kind {
	/* in the image */
	CKPT_WINDOW, /* a slot over pinned memory of a loaded object */
	CKPT_KERNEL, /* a slot over vdso, vvar */
	CKPT_COPY,   /* its bytes */
	CKPT_ZERO,   /* zeroes: MADV_WIPEONFORK */
	CKPT_STACK,  /* the main stack from the page of argc upward */
	/* not in the image */
	CKPT_NO_STACK,
	CKPT_NO_SHARED,
	CKPT_NO_ACCESS, /* this process cannot read it either */
	CKPT_NO_FORK,	/* MADV_DONTFORK */
	CKPT_NO_KEY,	/* under a protection key */
	CKPT_NO_DEVICE,
	CKPT_NO_RESERVED,
	CKPT_NO_EXCLUDED,
	CKPT_NO_USER, /* above DUNE_USER_END */
};

static inline bool ckpt_kind_mapped(enum ckpt_kind kind)
{
	return kind <= CKPT_STACK;
}

#define CKPT_NO_OBJECT UINT32_MAX

struct ckpt_region {
	uint64_t start, end; /* page aligned */
	uint64_t offset;     /* of start in the file */
	uint64_t in_use;     /* bytes of the whole mapping that are in memory or swapped */
	enum ckpt_kind kind;
	unsigned prot;		 /* DUNE_*, for those in the image */
	bool anonymous;		 /* what was never touched is zero, and need not be read */
	uint32_t object;	 /* index, or CKPT_NO_OBJECT */
	uint32_t name, name_len; /* of the file, in ckpt_plan.names; 0: none */
};

/* Regions ascend and do not overlap; where there is none nothing was mapped. */
struct ckpt_plan {
	struct scratch_vec regions; /* struct ckpt_region */
	struct scratch_vec names;   /* char, not terminated */
};

/*
 * maps must be detailed (smaps).  argc_at is the address of argc on the main stack; 0: none is in
 * the image. -ENOTSUP: a mapping without details.  -EINVAL: ranges of cfg.  -ENOMEM.  Nothing to
 * free on failure.
 */
int ckpt_plan_make(struct ckpt_plan *out, const struct maps *maps,
		   const struct ckpt_objects *objects, const struct ckpt_config *cfg,
		   uint64_t argc_at);
void ckpt_plan_free(struct ckpt_plan *p);

/* Do both put the same memory into the image in the same way? */
bool ckpt_plan_equal(const struct ckpt_plan *a, const struct ckpt_plan *b);

/* The region that holds the address, or NULL. */
const struct ckpt_region *ckpt_plan_find(const struct ckpt_plan *p, uint64_t addr);
static inline const struct ckpt_region *ckpt_plan_at(const struct ckpt_plan *p, size_t i)
{
	return (const struct ckpt_region *)p->regions.items + i;
}

#endif
