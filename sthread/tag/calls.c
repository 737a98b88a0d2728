/* SPDX-License-Identifier: MIT */
/*
 * calls.c - sthread_malloc() and its like, for the program and for compartments.  World: host.
 *
 * From inside, a handle is only compared with those of the tags that the caller's policy names,
 * an address with the ranges of these; what is in a block is never looked at, nor are its bytes
 * moved or zeroed for a compartment: it does that itself, in its own time, where it can be
 * stopped.
 */
#include <errno.h>
#include <string.h>

#include "sthread/cancel.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/syscall/syscall.h"
#include "sthread/tag/tag.h"

/* ---- with a tag that was entered, or is held by a run: an address or a negative errno ---- */

static long do_alloc(struct sthread_tag *t, size_t size)
{
	void *p = t->plain ? NULL : heap_alloc(t, size);

	if (!p)
		return t->plain ? -EINVAL : -ENOMEM;
	return (long)p;
}

/* ---- host: for a run ---- */

long tag_serve(struct sys_ctx *ctx, enum hostcall nr, const uint64_t arg[5])
{
	const struct grants *mem = &ctx->policy->mem;
	bool by_address = nr == HOSTCALL_TAG_FREE || nr == HOSTCALL_TAG_OF;
	const struct grant *g = by_address ? grants_find(mem, arg[0]) : grants_handle(mem, arg[0]);

	if (!g || (nr != HOSTCALL_TAG_OF && !(g->rights & STHREAD_WRITE)))
		return -EPERM;
	switch (nr) {
	case HOSTCALL_TAG_ALLOC:
		return do_alloc(g->tag, arg[1]);
	case HOSTCALL_TAG_RESIZE:
		return heap_resize_here(g->tag, arg[1], arg[2]);
	case HOSTCALL_TAG_FREE:
		return heap_free(g->tag, arg[0]) ? 0 : -EINVAL;
	case HOSTCALL_TAG_OF:
		return g->tag->plain ? -EINVAL : (long)g->tag;
	default:
		return -ENOSYS;
	}
}

/* ---- the public calls ---- */

static void *pointer(long result)
{
	if (result >= 0)
		return (void *)result;
	errno = (int)-result;
	return NULL;
}

/* ptr NULL: a new one; zero: of zeros. */
static long outside(struct sthread_tag *tag, void *ptr, size_t size, bool zero)
{
	int cancel = cancel_disable();
	struct sthread_tag *t = tag_enter(tag);
	long result = -EINVAL;

	if (t && ptr) {
		result = heap_resize(t, (uint64_t)ptr, size, &ptr);
		result = result ? result : (long)ptr;
	} else if (t) {
		result = do_alloc(t, size);
	}
	if (zero && result > 0)
		memset((void *)result, 0, size);
	if (t)
		tag_leave(t);
	cancel_restore(cancel);
	return result;
}

void *sthread_malloc(struct sthread_tag *tag, size_t size)
{
	return pointer(is_inside() ? inside_malloc(tag, size) : outside(tag, NULL, size, false));
}

/* A tenant may have written what was free: it is never taken to be zero. */
void *sthread_calloc(struct sthread_tag *tag, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return pointer(-ENOMEM);
	return pointer(is_inside() ? inside_calloc(tag, bytes) : outside(tag, NULL, bytes, true));
}

void *sthread_realloc(struct sthread_tag *tag, void *ptr, size_t size)
{
	if (!ptr)
		return sthread_malloc(tag, size);
	return pointer(is_inside() ? inside_realloc(tag, ptr, size) : outside(tag, ptr, size, false));
}

void sthread_free(void *ptr)
{
	struct sthread_tag *t;
	int cancel;

	if (!ptr)
		return;
	if (is_inside()) {
		inside_free(ptr);
		return;
	}
	cancel = cancel_disable();
	t = tag_enter_at((uint64_t)ptr);
	if (t) {
		heap_free(t, (uint64_t)ptr);
		tag_leave(t);
	}
	cancel_restore(cancel);
}

struct sthread_tag *sthread_tag_of(const void *ptr)
{
	struct sthread_tag *t;

	if (is_inside())
		return inside_tag_of(ptr);
	t = tag_enter_at((uint64_t)ptr);
	if (!t)
		return NULL;
	tag_leave(t);
	return t->plain ? NULL : t;
}

static __thread struct sthread_tag *into;

struct sthread_tag *sthread_malloc_into(struct sthread_tag *tag)
{
	struct sthread_tag *before = into;

	into = tag;
	return before;
}

struct sthread_tag *sthread_malloc_tag(void)
{
	return into;
}
