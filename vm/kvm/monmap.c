/* SPDX-License-Identifier: MIT */
/*
 * monmap.c - the upper half of every address space: the monitor, mapped once and shared by all
 * roots. World: host.  Only ever adds entries that were absent; all of it is supervisor-only.
 */
#include <errno.h>
#include <string.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "vm/kvm/kvm.h"

/* The monitor's image, embedded by vm/monitor/blob.S. */
extern const char monitor_blob[], monitor_blob_end[];

#define READ  (PT_P | PT_A | PT_NX)
#define WRITE (PT_P | PT_W | PT_A | PT_D | PT_NX)
#define TEXT  (PT_P | PT_A)
#define TABLE (PT_P | PT_W | PT_A)

static uint64_t *entry_of(struct kvm_vm *vm, dune_gpa_t table, uint64_t at, int level)
{
	return (uint64_t *)arena_host(&vm->vm.arena, table) +
	       (at >> (3 + 9 * level) & (PT_ENTRIES - 1));
}

/* The leaf table (level 1) that translates `at`, made if need be. */
static int leaf_table(struct kvm_vm *vm, uint64_t at, dune_gpa_t *out)
{
	dune_gpa_t table = vm->mon.top;

	for (int level = 3; level > 1; level--) {
		uint64_t *e = entry_of(vm, table, at, level);
		int err;

		if (!(*e & PT_P)) {
			dune_gpa_t fresh;

			err = arena_table_alloc(&vm->vm, false, &fresh);
			if (err)
				return err;
			*e = fresh.v | TABLE;
		}
		table = dune_gpa(*e & PT_ADDR);
	}
	*out = table;
	return 0;
}

static int map(struct kvm_vm *vm, uint64_t at, dune_gpa_t page, uint64_t bits)
{
	dune_gpa_t table;
	int err = leaf_table(vm, at, &table);

	if (!err)
		*entry_of(vm, table, at, 1) = page.v | bits;
	return err;
}

/* A fresh page mapped at `at`. */
static int map_new(struct kvm_vm *vm, uint64_t at, uint64_t bits, void **host)
{
	dune_gpa_t page;
	int err = dune_page_alloc(&vm->vm, &page);

	if (err)
		return err;
	*host = arena_host(&vm->vm.arena, page);
	return map(vm, at, page, bits);
}

int monmap_init(struct kvm_vm *vm)
{
	const struct mon_header *h = (const struct mon_header *)monitor_blob;
	size_t len = (size_t)(monitor_blob_end - monitor_blob);
	struct monmap *m = &vm->mon;
	void *idt;
	int err;

	if (len < sizeof(*h) || h->magic != MON_MAGIC || h->end - MON_BASE < len)
		return -ENOEXEC;
	m->header = h;
	m->text_pages = (h->end - MON_BASE) / DUNE_PAGE_SIZE;
	if ((err = arena_table_alloc(&vm->vm, true, &m->root)) ||
	    (err = arena_table_alloc(&vm->vm, false, &m->top)) ||
	    (err = dune_pages_alloc(&vm->vm, m->text_pages, &m->text)))
		return err;
	*entry_of(vm, m->root, MON_BASE, 4) = m->top.v | TABLE;
	memcpy(arena_host(&vm->vm.arena, m->text), monitor_blob, len);
	for (uint64_t at = MON_BASE; at < h->end; at += DUNE_PAGE_SIZE) {
		err = map(vm, at, dune_gpa(m->text.v + (at - MON_BASE)),
			  at < h->text ? READ : TEXT);
		if (err)
			return err;
	}
	if ((err = map_new(vm, MON_IDT_HOST, READ, &idt)))
		return err;
	arch_fill_idt(idt, h->vectors_host, h->vectors_host);
	if ((err = map_new(vm, MON_IDT_RING0, READ, &idt)))
		return err;
	/* The small stacks of the exceptional vectors have no room for decisions. */
	arch_fill_idt(idt, h->vectors_ring0, h->vectors_host);
	return 0;
}

/* The page of an area at `at`, made at the first attempt. */
static int area_page(struct kvm_vm *vm, dune_gpa_t table, uint64_t at, void *host)
{
	uint64_t *e = entry_of(vm, table, at, 1);
	dune_gpa_t page;

	if (!(*e & PT_P)) {
		int err = dune_page_alloc(&vm->vm, &page);

		if (err)
			return err;
		*e = page.v | WRITE;
	}
	*(void **)host = arena_host(&vm->vm.arena, dune_gpa(*e & PT_ADDR));
	return 0;
}

int monmap_area(struct kvm_vm *vm, struct kvm_vcpu *c)
{
	uint64_t area = MON_AREAS + (uint64_t)c->c.id * MON_AREA_SIZE, tables_at;
	struct monmap *m = &vm->mon;
	dune_gpa_t table;
	int err;

	/*
	 * One leaf table maps 32 areas whole: the windows' entries of a vCPU are in the table found
	 * here.
	 */
	tables_at = MON_AREA_TABLES + (area - MON_AREAS) / PT_HUGE * DUNE_PAGE_SIZE;
	if ((err = leaf_table(vm, area, &table)) || (err = map(vm, tables_at, table, WRITE)) ||
	    (err = map(vm, area + MON_AREA_ENTRY,
		       dune_gpa(m->text.v + (m->header->entry - MON_BASE)), TEXT)) ||
	    (err = area_page(vm, table, area + MON_AREA_VCPU, &c->mon)) ||
	    (err = area_page(vm, table, area + MON_AREA_STACK, &c->stack)))
		return err;
	c->area = area;
	c->mon->area = area;
	c->mon->area_table = tables_at;
	c->mon->zero_page = vm->vm.zero_page.v;
	arch_fill_gdt((char *)c->mon + (MON_AREA_GDT - MON_AREA_VCPU), area + MON_AREA_GDT,
		      area + MON_AREA_STACK_TOP, area + MON_AREA_IST);
	return 0;
}
