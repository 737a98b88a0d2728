/* SPDX-License-Identifier: MIT */
/* tables.c - the memory of the page-table walker on the host: arena pages, through the machine.  World: host. */
#include <errno.h>
#include <string.h>

#include "vm/machine.h"

static uint64_t ops_get(void *ctx, dune_gpa_t entry)
{
	struct dune_space *s = ctx;

	return s->vm->ops->get(s, entry);
}

static void ops_set(void *ctx, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at,
		    int level)
{
	struct dune_space *s = ctx;

	s->vm->ops->set(s, entry, old, val, at, level);
}

static void ops_init(void *ctx, dune_gpa_t entry, uint64_t val)
{
	*space_entry(ctx, entry) = val;
}

static int ops_table_alloc(void *ctx, dune_gpa_t *out)
{
	struct dune_space *s = ctx;
	int err;

	if (s->mon->limit && s->mon->used >= s->mon->limit)
		return -EDQUOT;
	err = arena_table_alloc(s->vm, false, out);
	if (!err)
		mon_count(s->mon, 1);
	return err;
}

static void ops_table_copy(void *ctx, dune_gpa_t dst, dune_gpa_t src, int level)
{
	uint64_t *to = space_entry(ctx, dst);
	const uint64_t *from = space_entry(ctx, src);

	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		if (from[i])
			to[i] = pt_borrow(from[i], level, i);
	}
}

static void park(struct dune_space *s, uint32_t *list, dune_gpa_t page)
{
	uint32_t n = (uint32_t)(page.v / DUNE_PAGE_SIZE);

	s->vm->arena.pages[n].next = *list;
	*list = n;
	s->nparked++;
}

static void ops_table_free(void *ctx, dune_gpa_t table)
{
	struct dune_space *s = ctx;

	if (table.v == s->pt.root.v) /* the space goes: dune_vm_free() */
		return;
	if (s->live) {
		park(s, &s->parked_tables, table);
	} else {
		memset(space_entry(s, table), 0, DUNE_PAGE_SIZE);
		arena_table_free(s->vm, false, table);
		mon_count(s->mon, -1);
	}
}

static void ops_page_free(void *ctx, dune_gpa_t page)
{
	struct dune_space *s = ctx;

	if (s->live) {
		park(s, &s->parked_pages, page);
	} else {
		dune_page_put(s->vm, page);
		mon_count(s->mon, -1);
	}
}

static bool ops_writable(void *ctx, dune_gpa_t page, uint64_t size)
{
	struct dune_vm *vm = ((struct dune_space *)ctx)->vm;

	return (page.v < vm->arena.size && !vm->arena.kinds) || slot_covers(vm, page, size, true);
}

const struct pt_ops space_pt_ops = {
	.get = ops_get,
	.set = ops_set,
	.table_alloc = ops_table_alloc,
	.table_copy = ops_table_copy,
	.init = ops_init,
	.table_free = ops_table_free,
	.page_free = ops_page_free,
	.writable = ops_writable,
};

void space_unpark(struct dune_space *s)
{
	uint32_t pages = s->parked_pages, tables = s->parked_tables;

	mon_count(s->mon, -(long)s->nparked); /* until now they were the space's */
	s->parked_pages = s->parked_tables = 0;
	s->nparked = 0;
	while (pages) {
		dune_gpa_t page = dune_gpa((uint64_t)pages * DUNE_PAGE_SIZE);

		pages = s->vm->arena.pages[pages].next;
		dune_page_put(s->vm, page);
	}
	if (tables)
		s->vm->ops->scrub(s->vm, tables, false);
}
