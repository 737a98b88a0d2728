/* SPDX-License-Identifier: MIT */
/*
 * machine_stale.c - what a vCPU remembers of a changed page table: until when, and what is not reused meanwhile.
 * World: host, over fake_machine.c.
 *
 * One thread: while ring 3 is inside, its script lets the host do something.
 */
#include "arch/layout.h"
#include "tests/test.h"
#include "tests/unit/fake_machine.h"

#define ARENA (8UL << 20)
#define AT    0x10000000UL
#define PAGE  DUNE_PAGE_SIZE
#define RO    DUNE_READ
#define RW    (DUNE_READ | DUNE_WRITE)

#define READ(a)	    { .op = FAKE_READ, .at = (a) }
#define WRITE(a, v) { .op = FAKE_WRITE, .at = (a), .value = (v) }
#define HOST(f)	    { .op = FAKE_HOST, .fn = (f) }
#define RUN(steps)  fake_run(c, s, steps, sizeof(steps) / sizeof((steps)[0]), &f)

static struct dune_vm *vm;
static struct dune_space *s, *source;
static struct dune_vcpu *c, *other;
static dune_gpa_t page;
static struct dune_frame f;
static uint64_t seen;

static uint32_t refs(dune_gpa_t p)
{
	return vm->arena.pages[p.v / PAGE].refs;
}

static dune_gpa_t map(struct dune_space *in, uint64_t at, uint64_t value, unsigned prot)
{
	dune_gpa_t p;

	CHECK_OK(dune_page_alloc(vm, &p));
	*(uint64_t *)dune_page_host(vm, p) = value;
	CHECK_OK(dune_vm_map(in, dune_gva(at), p, PAGE, prot));
	return p;
}

static void unmap(void *unused)
{
	(void)unused;
	CHECK(fake_reaches(vm, page));
	CHECK_OK(dune_vm_unmap(s, dune_gva(AT), PAGE));
	CHECK(fake_reaches(vm, page));
	CHECK_EQ(refs(page), 1);
}

static void sync_now(void *unused)
{
	(void)unused;
	CHECK_OK(dune_vm_sync(s));
}

static void is_free(void *unused)
{
	(void)unused;
	CHECK(!fake_reaches(vm, page));
	CHECK_EQ(refs(page), 0);
}

static void expect_fault(uint64_t at, uint64_t error)
{
	CHECK_MSG(f.vector == VECTOR_PF && f.cr2 == at && f.error == error, "vector %" PRIu64 " at %#" PRIx64 ": %#" PRIx64,
		  f.vector, f.cr2, f.error);
}

static void unmapped_inside(void)
{
	const struct fake_step stays[] = { READ(AT), HOST(unmap), WRITE(AT, 2), READ(AT) };
	const struct fake_step goes[] = { READ(AT), HOST(unmap), HOST(sync_now), HOST(is_free), READ(AT) };

	/* Until it comes out ring 3 goes on as before. */
	page = map(s, AT, 1, RW | DUNE_OWNED);
	CHECK_EQ(RUN(stays), DUNE_EXIT_SYSCALL);
	CHECK_EQ(f.rdi, 2);
	CHECK_EQ(refs(page), 1);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_FAULT);
	CHECK_EQ(refs(page), 0);
	/* And with sync() not even so long. */
	page = map(s, AT, 1, RW | DUNE_OWNED);
	CHECK_EQ(RUN(goes), DUNE_EXIT_FAULT);
	expect_fault(AT, 4);
}

static void unmapped_outside(void)
{
	page = map(s, AT, 1, RW | DUNE_OWNED);
	map(s, AT + PAGE, 3, RW | DUNE_OWNED);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_vm_unmap(s, dune_gva(AT), PAGE));
	CHECK_EQ(refs(page), 1);
	CHECK(fake_config.in_place ? !fake_staged(s) : fake_staged(s));
	/* What is mapped there next is seen, not what waits. */
	map(s, AT, 4, RO | DUNE_OWNED);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_SYSCALL);
	CHECK_EQ(seen, 4);
	CHECK_EQ(refs(page), 0);
	/* Absent entries are remembered by nobody, and what was never run by nobody waits. */
	CHECK_EQ(dune_space_pages(s), 2 + 3 + 2);
}

static void protect(void *unused)
{
	(void)unused;
	CHECK_OK(dune_vm_mprotect(s, dune_gva(AT), PAGE, RO));
}

static void protected_inside(void)
{
	const struct fake_step stays[] = { WRITE(AT, 1), HOST(protect), WRITE(AT, 2) };
	const struct fake_step goes[] = { WRITE(AT, 1), HOST(protect), HOST(sync_now), WRITE(AT, 3) };

	page = map(s, AT, 0, RW);
	CHECK_EQ(RUN(stays), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(AT), PAGE, RW));
	CHECK_EQ(RUN(goes), DUNE_EXIT_FAULT);
	expect_fault(AT, 7);
	CHECK_EQ(*(uint64_t *)dune_page_host(vm, page), 1);
}

/* All of what a table translates goes, and the table with it; its place is taken at once. */
static void exchange(void *unused)
{
	uint64_t tables = vm->arena.tables;
	struct dune_leaf leaf;

	(void)unused;
	CHECK_OK(dune_vm_unmap(s, dune_gva(AT), PT_HUGE));
	CHECK_EQ(vm->arena.tables, tables);
	CHECK_ERR(dune_vm_lookup(s, dune_gva(AT), &leaf), -ENOENT);
	map(s, AT + 2 * PAGE, 9, RW | DUNE_OWNED);
	CHECK_GT(vm->arena.tables, tables); /* not the one that is remembered */
}

static void table_inside(void)
{
	const struct fake_step stays[] = { READ(AT), HOST(exchange), READ(AT + PAGE), READ(AT + 2 * PAGE) };
	const struct fake_step goes[] = { READ(AT), HOST(exchange), HOST(sync_now), READ(AT + 2 * PAGE), READ(AT + PAGE) };

	map(s, AT + PT_HUGE, 0, RW | DUNE_OWNED);
	page = map(s, AT, 1, RW | DUNE_OWNED);
	map(s, AT + PAGE, 2, RW | DUNE_OWNED);
	/* By the table that it remembers: still the second page; and a third that is not in it is looked for anew. */
	CHECK_EQ(RUN(stays), DUNE_EXIT_SYSCALL);
	CHECK_EQ(f.rdi, 9);
	CHECK_EQ(refs(page), 0);
	CHECK_OK(dune_vm_unmap(s, dune_gva(AT), PT_HUGE));
	page = map(s, AT, 1, RW | DUNE_OWNED);
	CHECK_EQ(RUN(goes), DUNE_EXIT_FAULT);
	expect_fault(AT + PAGE, 4);
	CHECK_EQ(refs(page), 0);
}

static void run_other(void *steps)
{
	CHECK_EQ(fake_run(other, s, steps, 1, NULL), DUNE_EXIT_SYSCALL);
}

/* One vCPU has read what another writes by copy: it reads the copy from then on. */
static void copied_beside(void)
{
	struct fake_step write = WRITE(AT, 6);
	const struct fake_step steps[] = { READ(AT), { .op = FAKE_HOST, .fn = run_other, .ctx = &write }, READ(AT) };

	page = map(s, AT, 5, RO | DUNE_COW);
	CHECK_EQ(RUN(steps), DUNE_EXIT_SYSCALL);
	CHECK_EQ(f.rdi, 6);
	CHECK(!fake_reaches(vm, page));
}

static void unmap_beside(void *unused)
{
	struct fake_step touch = READ(AT + PAGE);

	unmap(unused);
	/* The other entered after the change: that says nothing about this one. */
	run_other(&touch);
	CHECK_EQ(refs(page), 1);
	CHECK(fake_reaches(vm, page));
}

static void unmapped_beside(void)
{
	const struct fake_step steps[] = { READ(AT), HOST(unmap_beside), READ(AT) };

	page = map(s, AT, 1, RW | DUNE_OWNED);
	map(s, AT + PAGE, 3, RW | DUNE_OWNED);
	CHECK_EQ(RUN(steps), DUNE_EXIT_SYSCALL);
	CHECK_EQ(f.rdi, 1);
	CHECK_EQ(fake_read(c, s, AT + PAGE, &seen), DUNE_EXIT_SYSCALL);
	CHECK_EQ(refs(page), 0);
}

/* Of a clone: its copy goes, the source's page stays and is seen again. */
static void restored(void)
{
	struct dune_leaf leaf;

	source = s;
	map(source, AT, 1, RO | DUNE_OWNED | DUNE_COW);
	CHECK_OK(dune_vm_clone(source, &s));
	CHECK_EQ(fake_write(c, s, AT, 2), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_vm_lookup(s, dune_gva(AT), &leaf));
	page = leaf.page;
	CHECK_EQ(dune_space_tables(s, dune_gva(0), DUNE_USER_END), 3);
	CHECK_OK(dune_vm_restore(s, dune_gva(AT), PAGE));
	CHECK_EQ(refs(page), 1);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_SYSCALL);
	CHECK_EQ(seen, 1);
	CHECK_EQ(refs(page), 0);
	/* What says only what the source says goes, too: pages and tables. */
	CHECK_EQ(fake_write(c, s, AT, 1), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_space_shed(s, 0, NULL, NULL));
	CHECK_EQ(dune_space_tables(s, dune_gva(0), DUNE_USER_END), 0);
	CHECK_EQ(dune_space_pages(s), 2);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_SYSCALL);
	CHECK_EQ(seen, 1);
	/* The source is kept by its clone, and goes with it. */
	dune_vm_free(source);
	CHECK_EQ(fake_counts.spaces, 2);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_SYSCALL);
}

/* Pages that wait for a change do not wait for ever because the space rests. */
static void reset(void)
{
	uint64_t used;

	CHECK_OK(dune_region_add(s, dune_gva(AT), 64 * PAGE, RW));
	used = fake_pages_used(vm);
	for (unsigned i = 0; i < 64; i++)
		CHECK_EQ(fake_write(c, s, AT + i * PAGE, i), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_space_reset(s, 1));
	CHECK_EQ(fake_pages_used(vm), used + 3 + 1);
	CHECK_EQ(fake_read(c, s, AT, &seen), DUNE_EXIT_SYSCALL);
	CHECK_EQ(seen, 0);
	CHECK_EQ(fake_read(c, s, AT + PAGE, &seen), DUNE_EXIT_FAULT);
}

static void all(const char *name, void (*test)(void))
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t used;

		fake_config = (struct fake_config){ .in_place = i & 1, .kinds = i & 2, .keeps_vcpus = i & 2 };
		NOTE("%s%s%s", name, i & 1 ? ", changed in place" : "", i & 2 ? ", kinds" : "");
		vm = fake_vm(ARENA);
		used = fake_pages_used(vm);
		CHECK_OK(dune_space_create(vm, &s));
		CHECK_OK(dune_vcpu_create(vm, &c));
		CHECK_OK(dune_vcpu_create(vm, &other));
		f = (struct dune_frame){ .rip = 0x1000 };
		page = dune_gpa(0);
		test();
		dune_vm_free(s);
		fake_check(vm);
		/* A page that is mapped without being owned is the test's. */
		if (page.v && refs(page))
			dune_page_put(vm, page);
		CHECK_EQ(fake_pages_used(vm), used);
		dune_vcpu_destroy(c);
		dune_vcpu_destroy(other);
		dune_vm_destroy(vm);
		CHECK(!fake_counts.vms && !fake_counts.spaces && !fake_counts.vcpus);
	}
}

int main(void)
{
#define ALL(test) all(#test, test)
	ALL(unmapped_inside);
	ALL(unmapped_outside);
	ALL(protected_inside);
	ALL(table_inside);
	ALL(unmapped_beside);
	ALL(restored);
	ALL(reset);
	ALL(copied_beside);
	return TEST_PASSED;
}
