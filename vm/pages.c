/* SPDX-License-Identifier: MIT */
/*
 * pages.c - the arena: guest-physical pages from 0, with reference counts.  World: host.
 *
 * Its memslots are made at once, so that who runs later needs no other ioctl than KVM_RUN; an unused
 * page costs the kernel 8 bytes, and us as many.  Page 0 is never handed out.  A page that was ever a
 * page table is only ever a page table again: the host kernel may remember what it translated, and only
 * entries that ring 0 cleared are forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vm/machine.h"

#define SLOT_MOST (1UL << 40) /* KVM takes less than 2^31 pages in one */

static uint32_t number(dune_gpa_t page)
{
	return (uint32_t)(page.v / DUNE_PAGE_SIZE);
}

static dune_gpa_t address(uint32_t n)
{
	return dune_gpa((uint64_t)n * DUNE_PAGE_SIZE);
}

int arena_init(struct dune_vm *vm, bool kinds_differ)
{
	struct arena *a = &vm->arena;
	size_t meta = a->size / DUNE_PAGE_SIZE * sizeof(struct page);
	void *pages = mmap(NULL, meta, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int err;

	if (pages == MAP_FAILED)
		return -ENOMEM;
	madvise(pages, meta, MADV_DONTFORK);
	a->pages = pages;
	a->top = DUNE_PAGE_SIZE;
	if (kinds_differ) {
		a->kinds = calloc(a->size / PT_HUGE, 1);
		if (!a->kinds)
			return -ENOMEM;
		a->top = PT_HUGE; /* its first page is no page: a block less */
	} else {
		a->zones[PAGE_PRIVATE] = (struct zone){ .at = DUNE_PAGE_SIZE, .end = a->size };
	}
	pthread_mutex_lock(&vm->lock);
	err = 0;
	for (uint64_t at = 0, len; at < a->size && !err; at += len) {
		len = a->size - at < SLOT_MOST ? a->size - at : SLOT_MOST;
		err = slot_register(vm, at, a->base + at, len, false);
	}
	pthread_mutex_unlock(&vm->lock);
	return err;
}

void arena_fini(struct dune_vm *vm)
{
	struct arena *a = &vm->arena;

	if (a->pages)
		munmap(a->pages, a->size / DUNE_PAGE_SIZE * sizeof(struct page));
	a->pages = NULL;
	free(a->kinds);
	a->kinds = NULL;
}

enum page_kind arena_kind(const struct arena *a, dune_gpa_t page)
{
	return a->kinds ? (enum page_kind)a->kinds[page.v / PT_HUGE] : PAGE_PRIVATE;
}

bool arena_covers(const struct arena *a, dune_gpa_t page, uint64_t len)
{
	if (!page.v || page.v >= a->top || len > a->top - page.v)
		return false;
	for (uint64_t at = page.v; a->kinds && at < page.v + len; at += DUNE_PAGE_SIZE)
		if (arena_kind(a, dune_gpa(at)) == PAGE_HOST)
			return false;
	return true;
}

static struct zone *zone_of(struct arena *a, enum page_kind kind)
{
	return &a->zones[a->kinds ? kind : PAGE_PRIVATE];
}

/* Pages that were never used, one at a time. */
static void free_range(struct arena *a, struct zone *z, uint64_t at, uint64_t end)
{
	for (; at < end; at += DUNE_PAGE_SIZE) {
		a->pages[number(dune_gpa(at))].next = z->free_pages;
		z->free_pages = number(dune_gpa(at));
	}
}

/* Blocks for `bytes` more of a kind.  Where not all can be had, those before are of that kind all the same, and stay so. */
static int more_blocks(struct dune_vm *vm, struct zone *z, enum page_kind kind, uint64_t bytes)
{
	struct arena *a = &vm->arena;
	uint64_t len = (bytes + PT_HUGE - 1) & ~(PT_HUGE - 1), at = a->top, end;
	int err = 0;

	if (!a->kinds || len > a->size - a->top)
		return -ENOMEM;
	end = at + len;
	while (at < end && !(err = vm->ops->block(vm, at, kind))) {
		a->kinds[at / PT_HUGE] = (uint8_t)kind;
		at += PT_HUGE;
	}
	if (at == a->top)
		return err;
	free_range(a, z, z->at, z->end);
	z->at = a->top;
	z->end = a->top = at;
	return err;
}

/* `bytes` that were never used, aligned; vm->lock held. */
static int grow(struct dune_vm *vm, enum page_kind kind, uint64_t bytes, uint64_t align, dune_gpa_t *out)
{
	struct arena *a = &vm->arena;
	struct zone *z = zone_of(a, kind);
	uint64_t at = (z->at + align - 1) & ~(align - 1), end;
	int err;

	if (__builtin_add_overflow(at, bytes, &end))
		return -ENOMEM;
	if (end > z->end) {
		err = more_blocks(vm, z, kind, bytes);
		if (err)
			return err;
		at = z->at;
		end = at + bytes;
	}
	free_range(a, z, z->at, at); /* what the alignment skipped */
	z->at = end;
	if (!a->kinds)
		a->top = end;
	a->used += bytes / DUNE_PAGE_SIZE;
	*out = dune_gpa(at);
	return 0;
}

/*
 * A page of a kind, from this list or fresh; says whether it may hold bytes of its last use.  vm->lock held.
 */
static int take(struct dune_vm *vm, enum page_kind kind, uint32_t *list, dune_gpa_t *out, bool *dirty)
{
	struct arena *a = &vm->arena;
	int err;

	*dirty = *list;
	if (*list) {
		*out = address(*list);
		*list = a->pages[*list].next;
		a->used++;
	} else {
		err = grow(vm, kind, DUNE_PAGE_SIZE, DUNE_PAGE_SIZE, out);
		if (err)
			return err;
	}
	a->pages[number(*out)] = (struct page){ .refs = 1 };
	return 0;
}

static void give(struct arena *a, uint32_t *list, dune_gpa_t page)
{
	a->pages[number(page)] = (struct page){ .next = *list };
	*list = number(page);
	a->used--;
}

static int alloc_one(struct dune_vm *vm, enum page_kind kind, dune_gpa_t *out)
{
	dune_gpa_t page;
	bool dirty;
	int err;

	pthread_mutex_lock(&vm->lock);
	err = take(vm, kind, &zone_of(&vm->arena, kind)->free_pages, &page, &dirty);
	pthread_mutex_unlock(&vm->lock);
	if (err)
		return err;
	if (dirty)
		memset(arena_host(&vm->arena, page), 0, DUNE_PAGE_SIZE);
	*out = page;
	return 0;
}

int dune_page_alloc(struct dune_vm *vm, dune_gpa_t *out)
{
	return alloc_one(vm, PAGE_PRIVATE, out);
}

int arena_table_alloc(struct dune_vm *vm, bool root, dune_gpa_t *out)
{
	struct arena *a = &vm->arena;
	struct zone *z = zone_of(a, PAGE_HOST);
	bool dirty, page = false;
	int err;

	pthread_mutex_lock(&vm->lock);
	err = take(vm, PAGE_HOST, root ? &a->free_roots : &a->free_tables, out, &dirty);
	if (err == -ENOMEM && z->free_pages) {
		/* The arena is used up: an ordinary page becomes a table, for ever. */
		err = take(vm, PAGE_HOST, &z->free_pages, out, &dirty);
		page = true;
	}
	if (!err)
		a->tables++;
	pthread_mutex_unlock(&vm->lock);
	if (!err && page)
		memset(arena_host(a, *out), 0, DUNE_PAGE_SIZE);
	return err;
}

void arena_table_free(struct dune_vm *vm, bool root, dune_gpa_t table)
{
	struct arena *a = &vm->arena;

	pthread_mutex_lock(&vm->lock);
	give(a, root ? &a->free_roots : &a->free_tables, table);
	a->tables--;
	pthread_mutex_unlock(&vm->lock);
}

void dune_page_get(struct dune_vm *vm, dune_gpa_t page)
{
	if (page.v >= vm->arena.size)
		return;
	__atomic_add_fetch(&vm->arena.pages[number(page)].refs, 1, __ATOMIC_RELAXED);
}

void dune_page_put(struct dune_vm *vm, dune_gpa_t page)
{
	if (page.v >= vm->arena.size)
		return;
	if (__atomic_sub_fetch(&vm->arena.pages[number(page)].refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_lock(&vm->lock);
	give(&vm->arena, &zone_of(&vm->arena, arena_kind(&vm->arena, page))->free_pages, page);
	pthread_mutex_unlock(&vm->lock);
}

int arena_alloc(struct dune_vm *vm, enum page_kind kind, size_t n, dune_gpa_t *out)
{
	uint64_t bytes;
	int err;

	if (n == 1)
		return alloc_one(vm, kind, out);
	if (!n || __builtin_mul_overflow(n, DUNE_PAGE_SIZE, &bytes))
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	err = grow(vm, kind, bytes, bytes >= PT_HUGE ? PT_HUGE : DUNE_PAGE_SIZE, out);
	if (!err) {
		for (size_t i = 0; i < n; i++)
			vm->arena.pages[number(*out) + i] = (struct page){ .refs = 1 };
	}
	pthread_mutex_unlock(&vm->lock);
	return err;
}

int dune_pages_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out)
{
	return arena_alloc(vm, PAGE_PRIVATE, n, out);
}

int dune_image_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out)
{
	return arena_alloc(vm, PAGE_IMAGE, n, out);
}

int dune_zero_block(struct dune_vm *vm, dune_gpa_t *out)
{
	int err = 0;

	pthread_mutex_lock(&vm->making);
	if (!vm->zero_block.v)
		err = arena_alloc(vm, PAGE_IMAGE, PT_HUGE / DUNE_PAGE_SIZE, &vm->zero_block);
	pthread_mutex_unlock(&vm->making);
	if (!err)
		*out = vm->zero_block;
	return err;
}

void *dune_page_host(const struct dune_vm *vm, dune_gpa_t page)
{
	return page.v < vm->arena.size ? arena_host(&vm->arena, page) : NULL;
}

dune_gpa_t dune_zero_page(const struct dune_vm *vm)
{
	return vm->zero_page;
}
