/* SPDX-License-Identifier: MIT */
/*
 * machine_guest.c - what a run of ring 3 gets and how it ends, on any machine: faults, memory, calls, kicks.
 * World: host, over fake_machine.c.
 */
#include "arch/layout.h"
#include "tests/test.h"
#include "tests/unit/fake_machine.h"

#define ARENA (8UL << 20)
#define AT    0x10000000UL
#define PAGE  DUNE_PAGE_SIZE
#define RO    DUNE_READ
#define RW    (DUNE_READ | DUNE_WRITE)
#define RX    (DUNE_READ | DUNE_EXEC)

#define READ(a)	      { .op = FAKE_READ, .at = (a) }
#define WRITE(a, v)   { .op = FAKE_WRITE, .at = (a), .value = (v) }
#define CALL(nr, arg) { .op = FAKE_CALL, .at = (nr), .value = (arg) }
#define HOST(f, c)    { .op = FAKE_HOST, .fn = (f), .ctx = (c) }

static struct dune_vm *vm;
static struct dune_space *s;
static struct dune_vcpu *c, *other;

static dune_gpa_t page_of(uint64_t value)
{
	dune_gpa_t page;

	CHECK_OK(dune_page_alloc(vm, &page));
	*(uint64_t *)dune_page_host(vm, page) = value;
	return page;
}

static dune_gpa_t map(uint64_t at, uint64_t value, unsigned prot)
{
	dune_gpa_t page = page_of(value);

	CHECK_OK(dune_vm_map(s, dune_gva(at), page, PAGE, prot));
	return page;
}

static uint64_t reads(uint64_t at)
{
	uint64_t value = 0;

	CHECK_EQ(fake_read(c, s, at, &value), DUNE_EXIT_SYSCALL);
	return value;
}

static void expect_fault(enum fake_op op, uint64_t at, uint64_t error)
{
	struct dune_frame f = { .rip = 0x1000 };

	CHECK_EQ(fake_run(c, s, &(struct fake_step){ .op = op, .at = at }, 1, &f), DUNE_EXIT_FAULT);
	CHECK_EQ(f.vector, VECTOR_PF);
	CHECK_EQ(f.cr2, at);
	CHECK_EQ(f.error, error);
}

static struct dune_vm_stats stats(void)
{
	struct dune_vm_stats st;

	dune_vm_get_stats(vm, &st);
	return st;
}

static void demand(void)
{
	const struct dune_private *list;

	CHECK_OK(dune_region_add(s, dune_gva(AT), 64 * PAGE, RW));
	CHECK_OK(dune_region_add(s, dune_gva(AT + 100 * PAGE), 4 * PAGE, RO));
	CHECK_OK(dune_region_add(s, dune_gva(AT + 200 * PAGE), PAGE, 0));
	CHECK_EQ(reads(AT + 8), 0);
	CHECK_EQ(fake_write(c, s, AT + 8, 7), DUNE_EXIT_SYSCALL);
	CHECK_EQ(reads(AT + 8), 7);
	CHECK_EQ(dune_space_private(s, &list), 1);
	CHECK(list[0].at.v == AT && list[0].from.v == dune_zero_page(vm).v);
	/* The second in a row brings one more, the fourth three. */
	CHECK_EQ(reads(AT + PAGE), 0);
	CHECK_EQ(dune_space_private(s, &list), 3);
	CHECK_EQ(reads(AT + 3 * PAGE), 0);
	CHECK_EQ(dune_space_private(s, &list), 7);
	CHECK_EQ(stats().demand_faults, 7);
	CHECK_EQ(reads(AT + 100 * PAGE), 0);
	expect_fault(FAKE_WRITE, AT + 100 * PAGE, 7);
	expect_fault(FAKE_WRITE, AT + 101 * PAGE, 6);
	expect_fault(FAKE_READ, AT + 200 * PAGE, 4);
	expect_fault(FAKE_READ, AT + 300 * PAGE, 4);
	expect_fault(FAKE_FETCH, AT + 20 * PAGE, 0x14); /* nothing is given to be executed */
	expect_fault(FAKE_FETCH, AT, 0x15);
	CHECK_OK(dune_region_remove(s, dune_gva(AT), 64 * PAGE));
	expect_fault(FAKE_READ, AT + 8, 4);
}

static void copied_on_write(void)
{
	dune_gpa_t page = map(AT, 5, RO | DUNE_COW);
	const struct dune_private *list;

	CHECK_EQ(reads(AT), 5);
	CHECK_EQ(fake_write(c, s, AT, 6), DUNE_EXIT_SYSCALL);
	CHECK_EQ(reads(AT), 6);
	CHECK_EQ(*(uint64_t *)dune_page_host(vm, page), 5);
	CHECK_EQ(dune_space_private(s, &list), 1);
	CHECK(list[0].from.v == page.v);
	CHECK_EQ(stats().cow_faults, 1);
	CHECK_OK(dune_space_reset(s, 0));
	CHECK_EQ(reads(AT), 5);
	map(AT + PAGE, 8, RX);
	CHECK_EQ(fake_fetch(c, s, AT + PAGE), DUNE_EXIT_SYSCALL);
	expect_fault(FAKE_WRITE, AT + PAGE, 7);
}

static void protect_rw(void *unused)
{
	(void)unused;
	CHECK_OK(dune_vm_mprotect(s, dune_gva(AT), PAGE, RW));
}

/* The vCPU remembers that it must not write, and is told so anew: no fault for anybody else. */
static void spurious(void)
{
	const struct fake_step steps[] = { READ(AT), HOST(protect_rw, NULL), WRITE(AT, 9), READ(AT) };

	map(AT, 1, RO);
	CHECK_EQ(fake_run(c, s, steps, 4, NULL), DUNE_EXIT_SYSCALL);
	CHECK_EQ(stats().spurious_faults, 1);
	CHECK_EQ(reads(AT), 9);
}

static void calls(void)
{
	const struct fake_step steps[] = { CALL(39, 0), CALL(40, 4), CALL(41, 0) };
	struct dune_frame f = { .rip = 0x1000 };

	CHECK_OK(dune_space_answer(s, 39, 77));
	CHECK_EQ(fake_run(c, s, steps, 3, &f), DUNE_EXIT_SYSCALL);
	CHECK(f.rax == 40 && f.rdi == 4 && f.rip == 0x1004);
	CHECK_EQ(dune_vcpu_run(c, s, &f), DUNE_EXIT_SYSCALL);
	CHECK_EQ(f.rax, 41);
	CHECK_OK(dune_vcpu_registers(c, s, &f));
	CHECK_EQ(f.rbx, 0xb);
	CHECK_EQ(dune_vcpu_cpu_time(c), 0);
	f = (struct dune_frame){ .rip = DUNE_USER_END };
	CHECK_EQ(fake_run(c, s, steps, 3, &f), DUNE_EXIT_FAULT);
	CHECK_EQ(f.vector, VECTOR_GP);
}

static void kick(void *vcpu)
{
	dune_vcpu_kick(vcpu);
}

static void kicks(void)
{
	const struct fake_step steps[] = { WRITE(AT, 1), HOST(kick, c), WRITE(AT, 2) };
	struct dune_frame f = { .rip = 0x1000 };

	map(AT, 0, RW);
	dune_vcpu_kick(c);
	CHECK_EQ(fake_run(c, s, steps, 3, &f), DUNE_EXIT_KICKED);
	CHECK_EQ(dune_vcpu_run(c, s, &f), DUNE_EXIT_KICKED); /* that of the script */
	CHECK_EQ(dune_vcpu_run(c, s, &f), DUNE_EXIT_SYSCALL);
	CHECK_EQ(reads(AT), 2);
	dune_vcpu_kick(c);
	dune_vcpu_unkick(c);
	CHECK_EQ(reads(AT), 2);
}

static void room(void)
{
	const struct fake_step none = { .op = FAKE_FAIL, .value = ENTERED_NOMEM };

	size_t before = dune_space_pages(s);

	CHECK_OK(dune_region_add(s, dune_gva(AT), 64 * PAGE, RW));
	dune_space_limit(s, before + 3); /* three tables, and no page */
	CHECK_EQ(fake_write(c, s, AT, 1), DUNE_EXIT_NOMEM);
	dune_space_limit(s, before + 4);
	CHECK_EQ(fake_write(c, s, AT, 1), DUNE_EXIT_SYSCALL);
	CHECK_EQ(dune_space_room(s), 0);
	CHECK_EQ(fake_write(c, s, AT + PAGE, 1), DUNE_EXIT_NOMEM);
	dune_space_limit(s, 0);
	CHECK_EQ(fake_write(c, s, AT + PAGE, 1), DUNE_EXIT_SYSCALL);
	CHECK_EQ(fake_run(c, s, &none, 1, NULL), DUNE_EXIT_NOMEM);
	CHECK_EQ(reads(AT), 1);
}

static void lost(void)
{
	const struct fake_step fails = { .op = FAKE_FAIL, .value = ENTERED_LOST };
	struct dune_frame f = { .rip = 0x1000 };

	CHECK_EQ(fake_run(c, s, &fails, 1, &f), DUNE_EXIT_LOST);
	CHECK_EQ(fake_run(c, s, NULL, 0, &f), DUNE_EXIT_LOST);
	CHECK_ERR(dune_vcpu_registers(c, s, &f), -EIO);
	CHECK_EQ(stats().vcpus_lost, 1);
	CHECK_EQ(fake_run(other, s, NULL, 0, &f), DUNE_EXIT_SYSCALL);
	dune_vm_stop(vm);
	CHECK_EQ(fake_run(other, s, NULL, 0, &f), DUNE_EXIT_LOST);
}

static void run_other(void *exit)
{
	*(enum dune_exit *)exit = fake_run(other, s, NULL, 0, NULL);
}

static void busy(void)
{
	enum dune_exit second;
	const struct fake_step steps[] = { HOST(run_other, &second) };
	struct dune_space *clone;

	CHECK_EQ(fake_run(c, s, steps, 1, NULL), DUNE_EXIT_SYSCALL);
	CHECK_EQ(second, DUNE_EXIT_SYSCALL);
	vm->one_runner = true;
	CHECK_EQ(fake_run(c, s, steps, 1, NULL), DUNE_EXIT_SYSCALL);
	CHECK_EQ(second, DUNE_EXIT_BUSY);
	vm->one_runner = false;
	CHECK_OK(dune_vm_clone(s, &clone));
	CHECK_EQ(fake_run(c, s, NULL, 0, NULL), DUNE_EXIT_BUSY);
	CHECK_EQ(fake_run(c, clone, NULL, 0, NULL), DUNE_EXIT_SYSCALL);
	CHECK_ERR(dune_vm_unmap(s, dune_gva(AT), PAGE), -EBUSY);
	dune_vm_free(clone);
}

static void windows(void)
{
	static uint64_t memory[3 * PAGE / 8] __attribute__((aligned(PAGE)));
	dune_gpa_t ro, rw, again;

	CHECK_OK(dune_slot_add(vm, memory, 2 * PAGE, &ro));
	CHECK_OK(dune_slot_add_rw(vm, memory, sizeof(memory), &rw));
	CHECK_OK(dune_slot_add(vm, (char *)memory + PAGE, PAGE, &again));
	CHECK_EQ(again.v, ro.v + PAGE);
	CHECK_ERR(dune_slot_add(vm, (char *)memory + 1, PAGE, &again), -EINVAL);
	memory[PAGE / 8] = 3;
	CHECK_OK(dune_vm_map(s, dune_gva(AT), ro, 2 * PAGE, RO));
	CHECK_EQ(reads(AT + PAGE), 3);
	expect_fault(FAKE_WRITE, AT + PAGE, 7);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(AT), PAGE, RW), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(AT + 8 * PAGE), ro, PAGE, RW), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(AT + 8 * PAGE), ro, 3 * PAGE, RO), -EINVAL); /* more than the window */
	CHECK_OK(dune_vm_map(s, dune_gva(AT + 8 * PAGE), rw, 3 * PAGE, RW));
	CHECK_EQ(fake_write(c, s, AT + 9 * PAGE, 4), DUNE_EXIT_SYSCALL);
	CHECK_EQ(memory[PAGE / 8], 4);
	CHECK_EQ(reads(AT + PAGE), 4);
	CHECK_EQ(dune_slot_host(vm, ro, true), NULL);
	CHECK_EQ(dune_slot_host(vm, rw, true), memory);
}

/* Pages of the image are not written, whatever is asked for; where kinds are one, nobody can tell. */
static void kinds(void)
{
	dune_gpa_t image;
	int err = fake_config.kinds ? -EINVAL : 0;

	CHECK_OK(dune_image_alloc(vm, 3, &image));
	CHECK_ERR(dune_vm_map(s, dune_gva(AT), image, PAGE, RW), err);
	CHECK_OK(dune_vm_map(s, dune_gva(AT + PAGE), image, PAGE, RX));
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(AT + PAGE), PAGE, RW), err);
	CHECK_OK(dune_vm_map(s, dune_gva(AT + 2 * PAGE), image, PAGE, RO | DUNE_COW));
	CHECK_EQ(fake_write(c, s, AT + 2 * PAGE, 4), DUNE_EXIT_SYSCALL);
	CHECK_EQ(*(uint64_t *)dune_page_host(vm, image), 0);
	/* The tables themselves cannot be had. */
	CHECK_ERR(dune_vm_map(s, dune_gva(AT + 3 * PAGE), s->mon_page, PAGE, RO), err);
}

static void reserved(void)
{
	uint64_t base = (uint64_t)vm->arena.base;
	dune_gpa_t page = page_of(1);

	CHECK_ERR(dune_vm_map(s, dune_gva(base), page, PAGE, RO), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(base + PAGE), PAGE, RO), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(base - PAGE), 2 * PAGE, RO), -EINVAL);
	CHECK_OK(dune_vm_map(s, dune_gva(base + 2 * PAGE), page, PAGE, RO));
	CHECK_OK(dune_region_add(s, dune_gva(base - PAGE), PAGE, RO));
}

static void all(const char *name, void (*test)(void))
{
	for (unsigned i = 0; i < 8; i++) {
		fake_config = (struct fake_config){ .in_place = i & 1, .kinds = i & 2, .keeps_vcpus = i & 4, .reserved = 2 * PAGE };
		NOTE("%s%s%s%s", name, i & 1 ? ", changed in place" : "", i & 2 ? ", kinds" : "", i & 4 ? ", kept vCPUs" : "");
		vm = fake_vm(ARENA);
		CHECK_OK(dune_space_create(vm, &s));
		CHECK_OK(dune_vcpu_create(vm, &c));
		CHECK_OK(dune_vcpu_create(vm, &other));
		test();
		dune_vcpu_destroy(other);
		dune_vcpu_destroy(c);
		dune_vm_free(s);
		dune_vm_destroy(vm);
		CHECK(!fake_counts.vms && !fake_counts.spaces && !fake_counts.vcpus);
	}
}

int main(void)
{
#define ALL(test) all(#test, test)
	ALL(demand);
	ALL(copied_on_write);
	ALL(spurious);
	ALL(calls);
	ALL(kicks);
	ALL(room);
	ALL(lost);
	ALL(busy);
	ALL(windows);
	ALL(kinds);
	ALL(reserved);
	return TEST_PASSED;
}
