/* SPDX-License-Identifier: MIT */
/*
 * objects.h - the ELF objects that the dynamic linker has loaded, pinned, and which of their memory
 * can only hold what the linker put there.  World: host.
 */
#ifndef CHECKPOINT_OBJECTS_H
#define CHECKPOINT_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/scratch.h"

struct ckpt_object {
	uint64_t base; /* load address: what addr2line subtracts */
	uint32_t name; /* offset into names, NUL-terminated path; a newline in it is '?' */
	bool pinned;   /* it cannot be unloaded any more */
};

/* Page aligned. */
struct ckpt_segment {
	uint64_t start, end;
	uint32_t object;
	bool fixed; /* read-only by the object's headers: nobody writes there */
};

/*
 * Ascending, not overlapping.  Neither the vdso nor objects of other linker namespaces are among
 * them.
 */
struct ckpt_objects {
	struct scratch_vec objects;  /* struct ckpt_object */
	struct scratch_vec segments; /* struct ckpt_segment */
	struct scratch_vec names;    /* char */
};

/*
 * Objects that cannot be pinned are listed as such.  Uses the heap and the linker's locks.
 * -ENOMEM. Nothing to free on failure.
 */
int ckpt_objects_load(struct ckpt_objects *out);
void ckpt_objects_free(struct ckpt_objects *o);

const struct ckpt_segment *ckpt_objects_find(const struct ckpt_objects *o, uint64_t addr);
const struct ckpt_object *ckpt_object_at(const struct ckpt_objects *o, uint32_t index);
const char *ckpt_object_name(const struct ckpt_objects *o, uint32_t index);

/* For tests of those who use the list: adds an object, and one segment of the object last added. */
int ckpt_objects_add(struct ckpt_objects *o, uint64_t base, const char *name, bool pinned);
int ckpt_objects_add_segment(struct ckpt_objects *o, uint64_t start, uint64_t end, bool fixed);
/*
 * Puts the segments in order, and out of each other's way: what two cover is not fixed.  -ENOMEM.
 */
int ckpt_objects_sort(struct ckpt_objects *o);

#endif
