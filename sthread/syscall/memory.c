// SPDX-License-Identifier: MIT
/*
 * memory.c - a compartment's own memory calls, answered on its demand regions without the host.
 * World: host.
 *
 * They act on the private area [area_start, area_end) and nowhere else: what the image maps stays
 * as it is, whatever a compartment asks.  Nothing is ever executable, shared or backed by a file.
 * Placement is first fit from the bottom, so that a recycled compartment gets the addresses, and
 * the pages, that it had before.
 */
#include "sthread/syscall/calls.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLD
#define MADV_COLD    20
#define MADV_PAGEOUT 21
#endif

#define PAGE_MASK (DUNE_PAGE_SIZE - 1)

/* 0 when it does not fit into 64 bits, or was 0. */
static uint64_t pages_of(uint64_t len)
{
	uint64_t up;

	return __builtin_add_overflow(len, PAGE_MASK, &up) ? 0 : up & ~PAGE_MASK;
}

static bool in_area(const struct sys_ctx *ctx, uint64_t at, uint64_t len)
{
	uint64_t end;

	return !__builtin_add_overflow(at, len, &end) && at >= ctx->area_start &&
	       end <= ctx->area_end;
}

/* Reading comes with writing: the processor knows no other way. */
static unsigned dune_prot(int prot)
{
	if (prot & PROT_WRITE)
		return DUNE_READ | DUNE_WRITE;
	return prot & PROT_READ ? DUNE_READ : 0;
}

static int check_prot(int prot)
{
	return prot & PROT_EXEC ? -EACCES : 0;
}

/* The part of the first region at or above *at that lies in [*at, end); false: none. */
static bool next_part(const struct sys_ctx *ctx, uint64_t *at, uint64_t end, uint64_t *len,
		      unsigned *prot)
{
	dune_gva_t start;
	size_t n;

	if (*at >= end || dune_region_next(ctx->mem.space, dune_gva(*at), &start, &n, prot) ||
	    start.v >= end)
		return false;
	n += start.v;
	if (start.v > *at)
		*at = start.v;
	*len = (n < end ? n : end) - *at;
	return true;
}

static bool taken(const struct sys_ctx *ctx, uint64_t at, uint64_t len)
{
	unsigned prot;
	uint64_t n;

	return next_part(ctx, &at, at + len, &n, &prot);
}

/* No hole in [at, at+len). */
static bool covered(const struct sys_ctx *ctx, uint64_t at, uint64_t len)
{
	uint64_t end = at + len, pos = at, n;
	unsigned prot;

	while (pos < end) {
		uint64_t from = pos;

		if (!next_part(ctx, &pos, end, &n, &prot) || pos != from)
			return false;
		pos += n;
	}
	return true;
}

static int find_gap(const struct sys_ctx *ctx, uint64_t len, uint64_t *out)
{
	uint64_t at = ctx->area_start;

	while (at <= ctx->area_end && ctx->area_end - at >= len) {
		uint64_t part = at, n;
		unsigned prot;

		if (!next_part(ctx, &part, at + len, &n, &prot)) {
			*out = at;
			return 0;
		}
		at = part + n; /* may stop inside that region: the next round goes on in it */
	}
	return -ENOMEM;
}

/* ---- mmap ---- */

#define MAP_FIXED_ANY (MAP_FIXED | MAP_FIXED_NOREPLACE)
#define MAP_GIVEN     (MAP_PRIVATE | MAP_ANONYMOUS)
#define MAP_HINTS     (MAP_NORESERVE | MAP_STACK | MAP_POPULATE | MAP_NONBLOCK)

int sys_check_mmap(struct sys_call *c)
{
	int flags = sys_int(c, 3), r = check_prot(sys_int(c, 2));
	uint64_t at = c->arg[0], len;

	if (r)
		return r;
	if (!(flags & MAP_ANONYMOUS))
		return -ENODEV;
	if ((flags & ~(MAP_FIXED_ANY | MAP_HINTS)) != MAP_GIVEN)
		return -EINVAL;
	if (!c->arg[1])
		return -EINVAL;
	len = pages_of(c->arg[1]);
	if (!len || len > c->ctx->area_end - c->ctx->area_start)
		return -ENOMEM;
	c->arg[1] = len;
	if (!(flags & MAP_FIXED_ANY))
		return 0;
	if (at & PAGE_MASK)
		return -EINVAL;
	if (!in_area(c->ctx, at, len))
		return -ENOMEM;
	return flags & MAP_FIXED_NOREPLACE && taken(c->ctx, at, len) ? -EEXIST : 0;
}

long sys_do_mmap(struct sys_call *c)
{
	struct dune_space *s = c->ctx->mem.space;
	uint64_t at = c->arg[0], len = c->arg[1];
	bool over = false;
	int r = 0;

	if (!(sys_int(c, 3) & MAP_FIXED_ANY))
		r = find_gap(c->ctx, len, &at);
	else
		over = taken(c->ctx, at, len);
	/* First what may fail, which then changes nothing. */
	if (!r)
		r = dune_region_add(s, dune_gva(at), len, dune_prot(sys_int(c, 2)));
	if (!r && over) /* what was there goes: new memory is zeros */
		r = dune_vm_unmap(s, dune_gva(at), len);
	return r ? r : (long)at;
}

/* ---- munmap, mprotect, mremap, brk ---- */

/* munmap(): a range of the private area.  Rounds the length. */
int sys_check_area(struct sys_call *c)
{
	uint64_t len = pages_of(c->arg[1]);

	if ((c->arg[0] & PAGE_MASK) || !len || !in_area(c->ctx, c->arg[0], len))
		return -EINVAL;
	c->arg[1] = len;
	return 0;
}

/* Nothing of its memory is a file's. */
int sys_check_msync(struct sys_call *c)
{
	int flags = sys_int(c, 2);

	if ((c->arg[0] & PAGE_MASK) || (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC))
		return -EINVAL;
	return 0;
}

long sys_do_munmap(struct sys_call *c)
{
	return dune_region_remove(c->ctx->mem.space, dune_gva(c->arg[0]), c->arg[1]);
}

int sys_check_mprotect(struct sys_call *c)
{
	uint64_t at = c->arg[0], len = pages_of(c->arg[1]);
	int r = check_prot(sys_int(c, 2));

	if (at & PAGE_MASK)
		return -EINVAL;
	if (!len && c->arg[1])
		return -ENOMEM;
	if (r || !len)
		return r;
	if (!in_area(c->ctx, at, len))
		return -EACCES; /* the image's rights are what they are */
	c->arg[1] = len;
	return covered(c->ctx, at, len) ? 0 : -ENOMEM;
}

long sys_do_mprotect(struct sys_call *c)
{
	if (!c->arg[1])
		return 0;
	return dune_region_add(c->ctx->mem.space, dune_gva(c->arg[0]), c->arg[1],
			       dune_prot(sys_int(c, 2)));
}

/*
 * Only in place.  Where that does not do, the answer is -ENOMEM, which makes the C library's
 * realloc() move the block itself; moving pages between addresses would need changes of live
 * page-table entries.
 */
int sys_check_mremap(struct sys_call *c)
{
	uint64_t at = c->arg[0], old = pages_of(c->arg[1]), new = pages_of(c->arg[2]);

	if ((sys_int(c, 3) & ~MREMAP_MAYMOVE) || (at & PAGE_MASK) || !old || !c->arg[2])
		return -EINVAL;
	if (!in_area(c->ctx, at, old) || !covered(c->ctx, at, old))
		return -EFAULT;
	if (!new || !in_area(c->ctx, at, new))
		return -ENOMEM;
	if (new > old && taken(c->ctx, at + old, new - old))
		return -ENOMEM;
	c->arg[1] = old;
	c->arg[2] = new;
	return 0;
}

long sys_do_mremap(struct sys_call *c)
{
	struct dune_space *s = c->ctx->mem.space;
	uint64_t at = c->arg[0], old = c->arg[1], new = c->arg[2], last = at + old - 1, n;
	unsigned prot = 0;
	int r = 0;

	if (new < old) {
		r = dune_region_remove(s, dune_gva(at + new), old - new);
	} else if (new > old) {
		last &= ~PAGE_MASK;
		next_part(c->ctx, &last, at + old, &n, &prot);
		r = dune_region_add(s, dune_gva(at + old), new - old, prot);
	}
	return r ? r : (long)at;
}

/* The break does not move: the C library then uses mmap(). */
long sys_do_brk(struct sys_call *c)
{
	return (long)c->ctx->brk;
}

/* ---- madvise ---- */

static bool advice_of_no_effect(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_FREE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_COLD:
	case MADV_PAGEOUT:
		return true;
	default:
		return false;
	}
}

int sys_check_madvise(struct sys_call *c)
{
	uint64_t at = c->arg[0], len = pages_of(c->arg[1]);

	if ((at & PAGE_MASK) || (!len && c->arg[1]))
		return -EINVAL;
	if (advice_of_no_effect(sys_int(c, 2)))
		return 0;
	if (sys_int(c, 2) != MADV_DONTNEED)
		return -EINVAL;
	c->arg[1] = len;
	if (!len)
		return 0;
	if (!in_area(c->ctx, at, len))
		return -EINVAL;
	return covered(c->ctx, at, len) ? 0 : -ENOMEM;
}

static int zero_leaf(void *arg, dune_gva_t at, const struct dune_leaf *leaf)
{
	const struct uaccess *ua = arg;
	void *host = dune_page_host(ua->vm, leaf->page);

	(void)at;
	/* In the private area whatever is not copy-on-write is the compartment's own page. */
	if (host && !(leaf->prot & DUNE_COW) && leaf->page.v != dune_zero_page(ua->vm).v)
		memset(host, 0, leaf->size);
	return 0;
}

/*
 * Pages that are there stay, zeroed: that is cheaper than giving them back and getting them again.
 */
static int discard(struct sys_ctx *ctx, uint64_t at, uint64_t len, unsigned prot)
{
	if (prot)
		return dune_vm_page_walk(ctx->mem.space, dune_gva(at), dune_gva(at + len),
					 zero_leaf, &ctx->mem);
	/* Without access there are no leaves to walk, but there may be pages behind. */
	return dune_vm_unmap(ctx->mem.space, dune_gva(at), len);
}

long sys_do_madvise(struct sys_call *c)
{
	uint64_t at = c->arg[0], end = at + c->arg[1], n;
	unsigned prot;
	int r = 0;

	if (sys_int(c, 2) != MADV_DONTNEED)
		return 0;
	while (!r && next_part(c->ctx, &at, end, &n, &prot)) {
		r = discard(c->ctx, at, n, prot);
		at += n;
	}
	return r;
}
