/* SPDX-License-Identifier: MIT */
/* scratch.c - memory straight from the kernel.  World: host. */
#include "checkpoint/scratch.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define SCRATCH_FIRST (64UL << 10)

static size_t scratch_round(size_t size)
{
	return (size + 4095) & ~4095UL;
}

void *scratch_alloc(size_t size)
{
	void *p;

	if (size == 0 || size > SIZE_MAX / 2)
		return NULL;
	size = scratch_round(size);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* Without this mark the image would have a copy of it, while it is written. */
	if (madvise(p, size, MADV_DONTFORK) || madvise(p, size, MADV_DONTDUMP)) {
		munmap(p, size);
		return NULL;
	}
	return p;
}

void scratch_free(void *p, size_t size)
{
	if (p)
		munmap(p, scratch_round(size));
}

void *scratch_extend(struct scratch_vec *v, size_t item_size, size_t n)
{
	size_t used = v->count * item_size, add, need;
	char *item;

	if (__builtin_mul_overflow(n, item_size, &add) ||
	    __builtin_add_overflow(used, add, &need) || need > SIZE_MAX / 4)
		return NULL;
	if (need > v->bytes) {
		size_t bytes = v->bytes ? v->bytes : SCRATCH_FIRST;
		void *items;

		while (bytes < need)
			bytes *= 2;
		/* Copied, not mremap()ed: a moved mapping could merge with whatever lies there. */
		items = scratch_alloc(bytes);
		if (!items)
			return NULL;
		if (v->items)
			memcpy(items, v->items, used);
		scratch_free(v->items, v->bytes);
		v->items = items;
		v->bytes = bytes;
	}
	item = (char *)v->items + used;
	memset(item, 0, add);
	v->count += n;
	return item;
}

void *scratch_push(struct scratch_vec *v, size_t item_size)
{
	return scratch_extend(v, item_size, 1);
}

void scratch_vec_free(struct scratch_vec *v)
{
	scratch_free(v->items, v->bytes);
	memset(v, 0, sizeof(*v));
}
