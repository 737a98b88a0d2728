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

int arena_init(struct dune_vm *vm, void *base, uint64_t size)
{
	struct arena *a = &vm->arena;
	size_t meta = size / DUNE_PAGE_SIZE * sizeof(struct page);
	void *pages = mmap(NULL, meta, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int err;

	if (pages == MAP_FAILED)
		return -ENOMEM;
	madvise(pages, meta, MADV_DONTFORK);
	a->base = base;
	a->size = size;
	a->pages = pages;
	a->top = DUNE_PAGE_SIZE;
	for (uint64_t at = 0, len; at < a->size; at += len) {
		len = a->size - at < SLOT_MOST ? a->size - at : SLOT_MOST;
		err = slot_register(vm, at, a->base + at, len, false);
		if (err)
			return err;
	}
	return 0;
}

void arena_fini(struct dune_vm *vm)
{
	struct arena *a = &vm->arena;

	if (a->pages)
		munmap(a->pages, a->size / DUNE_PAGE_SIZE * sizeof(struct page));
	a->pages = NULL;
}

/* Move the top up by `bytes`, aligned; vm->lock held. */
static int grow(struct dune_vm *vm, uint64_t bytes, uint64_t align, dune_gpa_t *out)
{
	struct arena *a = &vm->arena;
	uint64_t at = (a->top + align - 1) & ~(align - 1), end;

	if (__builtin_add_overflow(at, bytes, &end) || end > a->size)
		return -ENOMEM;
	/* What the alignment skipped is usable, one page at a time. */
	for (uint64_t p = a->top; p < at; p += DUNE_PAGE_SIZE) {
		a->pages[p / DUNE_PAGE_SIZE].next = a->free_pages;
		a->free_pages = (uint32_t)(p / DUNE_PAGE_SIZE);
	}
	a->top = end;
	a->used += bytes / DUNE_PAGE_SIZE;
	*out = dune_gpa(at);
	return 0;
}

/*
 * A page of one of the two kinds; says whether it may hold bytes of its last use.  vm->lock held.
 */
static int take(struct dune_vm *vm, uint32_t *list, dune_gpa_t *out, bool *dirty)
{
	struct arena *a = &vm->arena;
	int err;

	*dirty = *list;
	if (*list) {
		*out = address(*list);
		*list = a->pages[*list].next;
		a->used++;
	} else {
		err = grow(vm, DUNE_PAGE_SIZE, DUNE_PAGE_SIZE, out);
		if (err)
			return err;
	}
	a->pages[number(*out)] = (struct page){ .refs = 1 };
	return 0;
}

static void give(struct arena *a, uint32_t *list, dune_gpa_t page)
{
	a->pages[number(page)].next = *list;
	*list = number(page);
	a->used--;
}

int dune_page_alloc(struct dune_vm *vm, dune_gpa_t *out)
{
	dune_gpa_t page;
	bool dirty;
	int err;

	pthread_mutex_lock(&vm->lock);
	err = take(vm, &vm->arena.free_pages, &page, &dirty);
	pthread_mutex_unlock(&vm->lock);
	if (err)
		return err;
	if (dirty)
		memset(arena_host(&vm->arena, page), 0, DUNE_PAGE_SIZE);
	*out = page;
	return 0;
}

int arena_table_alloc(struct dune_vm *vm, bool root, dune_gpa_t *out)
{
	struct arena *a = &vm->arena;
	bool dirty, page = false;
	int err;

	pthread_mutex_lock(&vm->lock);
	err = take(vm, root ? &a->free_roots : &a->free_tables, out, &dirty);
	if (err == -ENOMEM && a->free_pages) {
		/* The arena is used up: an ordinary page becomes a table, for ever. */
		err = take(vm, &a->free_pages, out, &dirty);
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
	give(&vm->arena, &vm->arena.free_pages, page);
	pthread_mutex_unlock(&vm->lock);
}

int dune_pages_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out)
{
	uint64_t bytes;
	int err;

	if (!n || __builtin_mul_overflow(n, DUNE_PAGE_SIZE, &bytes))
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	err = grow(vm, bytes, bytes >= PT_HUGE ? PT_HUGE : DUNE_PAGE_SIZE, out);
	if (!err) {
		for (size_t i = 0; i < n; i++)
			vm->arena.pages[number(*out) + i] = (struct page){ .refs = 1 };
	}
	pthread_mutex_unlock(&vm->lock);
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
