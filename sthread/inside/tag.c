/* SPDX-License-Identifier: MIT */
/*
 * tag.c - sthread_malloc() and its like, as a compartment makes them.  World: ring 3.
 *
 * The host never moves or zeroes the bytes of a block for a compartment: it does that itself, in
 * its own time, where it can be stopped.
 */
#include <string.h>

#include "sthread/inside/hostcall.h"
#include "sthread/inside/stubs.h"

long inside_malloc(struct sthread_tag *tag, size_t size)
{
	return host_call(HOSTCALL_TAG_ALLOC, (uint64_t)tag, size, 0, 0, 0);
}

long inside_calloc(struct sthread_tag *tag, size_t size)
{
	long at = inside_malloc(tag, size);

	if (at >= 0)
		memset((void *)at, 0, size);
	return at;
}

/* A block that would be more than half empty moves, too, if it can. */
long inside_realloc(struct sthread_tag *tag, void *ptr, size_t size)
{
	long has = host_call(HOSTCALL_TAG_RESIZE, (uint64_t)tag, (uint64_t)ptr, size, 0, 0), to;
	bool fits = has >= 0 && (size_t)has >= size;

	if (has < 0)
		return has;
	if (fits && (size_t)has / 2 <= size + 16)
		return (long)ptr;
	to = inside_malloc(tag, size);
	if (to < 0)
		return fits ? (long)ptr : to;
	memcpy((void *)to, ptr, fits ? size : (size_t)has);
	inside_free(ptr);
	return to;
}

void inside_free(void *ptr)
{
	host_call(HOSTCALL_TAG_FREE, (uint64_t)ptr, 0, 0, 0, 0);
}

struct sthread_tag *inside_tag_of(const void *ptr)
{
	long result = host_call(HOSTCALL_TAG_OF, (uint64_t)ptr, 0, 0, 0, 0);

	return result < 0 ? NULL : (struct sthread_tag *)result;
}
