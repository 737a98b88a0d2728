/* SPDX-License-Identifier: MIT */
/*
 * scratch.h - memory straight from the kernel, for work that must not disturb the heap it looks at.
 * World: host.
 *
 * Marked MADV_DONTFORK and MADV_DONTDUMP: a mapping of its own, which the image leaves out.
 */
#ifndef CHECKPOINT_SCRATCH_H
#define CHECKPOINT_SCRATCH_H

#include <stddef.h>

/* Zeroed, at least `size` bytes (> 0).  NULL: no memory. */
void *scratch_alloc(size_t size);
void scratch_free(void *p, size_t size);

/* A growing array of elements of one size.  All zero: empty. */
struct scratch_vec {
	void *items;
	size_t count;
	size_t bytes; /* mapped */
};
/* n zeroed new last elements, NULL: no memory.  Elements move. */
void *scratch_extend(struct scratch_vec *v, size_t item_size, size_t n);
void *scratch_push(struct scratch_vec *v, size_t item_size);
void scratch_vec_free(struct scratch_vec *v);

#endif
