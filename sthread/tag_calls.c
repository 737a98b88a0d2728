/* SPDX-License-Identifier: MIT */
/*
 * tag_calls.c - sthread_malloc() and its like.  World: the program, and ring 3 (the public calls; inside they ask the
 * host), and host (tag_serve, and all that is static).
 *
 * From inside, a handle is only compared with those of the tags that the caller's policy names, an address with the
 * ranges of these; what is in a block is never looked at.
 */
#include <errno.h>
#include <string.h>

#include "sthread/internal.h"
#include "sthread/tag.h"

/* ---- with a tag that has been entered, or is held by a run: an address or a negative errno ---- */

static long do_alloc(struct sthread_tag *t, size_t size, bool zero)
{
	void *p = t->plain ? NULL : heap_alloc(t, size);

	if (!p)
		return t->plain ? -EINVAL : -ENOMEM;
	/* A tenant may have written what was free: it is never taken to be zero. */
	if (zero)
		memset(p, 0, size);
	return (long)p;
}

static long do_realloc(struct sthread_tag *t, uint64_t at, size_t size)
{
	void *p;
	int err = heap_resize(t, at, size, &p);

	return err ? err : (long)p;
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
		return do_alloc(g->tag, arg[1], false);
	case HOSTCALL_TAG_CALLOC:
		return do_alloc(g->tag, arg[1], true);
	case HOSTCALL_TAG_REALLOC:
		return do_realloc(g->tag, arg[1], arg[2]);
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

static long outside(struct sthread_tag *tag, enum hostcall nr, uint64_t a, uint64_t b)
{
	int cancel = cancel_hold();
	struct sthread_tag *t = tag_enter(tag);
	long result = -EINVAL;

	if (t) {
		result = nr == HOSTCALL_TAG_REALLOC ? do_realloc(t, a, b) :
						      do_alloc(t, a, nr == HOSTCALL_TAG_CALLOC);
		tag_leave(t);
	}
	cancel_release(cancel);
	return result;
}

static void *call(struct sthread_tag *tag, enum hostcall nr, uint64_t a, uint64_t b)
{
	return pointer(is_inside() ? host_call(nr, (uint64_t)tag, a, b, 0, 0) :
				     outside(tag, nr, a, b));
}

void *sthread_malloc(struct sthread_tag *tag, size_t size)
{
	return call(tag, HOSTCALL_TAG_ALLOC, size, 0);
}

void *sthread_calloc(struct sthread_tag *tag, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return pointer(-ENOMEM);
	return call(tag, HOSTCALL_TAG_CALLOC, bytes, 0);
}

void *sthread_realloc(struct sthread_tag *tag, void *ptr, size_t size)
{
	return ptr ? call(tag, HOSTCALL_TAG_REALLOC, (uint64_t)ptr, size) :
		     sthread_malloc(tag, size);
}

void sthread_free(void *ptr)
{
	struct sthread_tag *t;
	int cancel;

	if (!ptr)
		return;
	if (is_inside()) {
		host_call(HOSTCALL_TAG_FREE, (uint64_t)ptr, 0, 0, 0, 0);
		return;
	}
	cancel = cancel_hold();
	t = tag_enter_at((uint64_t)ptr);
	if (t) {
		heap_free(t, (uint64_t)ptr);
		tag_leave(t);
	}
	cancel_release(cancel);
}

struct sthread_tag *sthread_tag_of(const void *ptr)
{
	struct sthread_tag *t;
	long result;

	if (is_inside()) {
		result = host_call(HOSTCALL_TAG_OF, (uint64_t)ptr, 0, 0, 0, 0);
		return result < 0 ? NULL : (struct sthread_tag *)result;
	}
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
