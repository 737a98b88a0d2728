/* SPDX-License-Identifier: MIT */
/* The documented errors of every call of dune.h, each beside the call that succeeds.  World: host. */
#include <signal.h>
#include <sys/mman.h>

#include "tests/guest.h"

#define BASE  0x40000000UL
#define ARENA (32UL << 20)

static struct dune_vcpu *c;

static void creation(void)
{
	struct sigaction kick = { .sa_handler = SIG_IGN };
	struct dune_vm_config good = { .base = guest_reserve(ARENA),
				       .size = ARENA,
				       .kick_signal = SIGRTMAX - 2 },
			      bad;
	struct dune_vm *vm = NULL;

	sigaction(good.kick_signal, &kick, NULL);
	CHECK_ERR(dune_vm_create(&vm, NULL), -EINVAL);
	bad = good, bad.base = NULL;
	CHECK_ERR(dune_vm_create(&vm, &bad), -EINVAL);
	bad = good, bad.base = (char *)good.base + 4096;
	CHECK_ERR(dune_vm_create(&vm, &bad), -EINVAL);
	bad = good, bad.size = 0;
	CHECK_ERR(dune_vm_create(&vm, &bad), -EINVAL);
	bad = good, bad.size = ARENA + 4096;
	CHECK_ERR(dune_vm_create(&vm, &bad), -EINVAL);
	bad = good, bad.placement = (enum dune_placement)3;
	CHECK_ERR(dune_vm_create(&vm, &bad), -EINVAL);
	bad = good, bad.kick_signal = 0;
	CHECK_ERR(dune_vm_create(&vm, &bad), -EINVAL);
	CHECK(!vm);
	/* Again and again: nothing is left of a VM that was destroyed, and its range can be used again. */
	for (int i = 0; i < 5; i++) {
		CHECK_OK(dune_vm_create(&vm, &good));
		dune_vm_destroy(vm);
	}
	dune_vm_destroy(NULL);
	dune_vm_free(NULL);
	dune_vcpu_destroy(NULL);
}

static void mappings(void)
{
	struct dune_space *s = guest_space();
	dune_gpa_t page = guest_page(1), pages;
	struct dune_leaf leaf;

	CHECK_OK(dune_vm_map(s, dune_gva(BASE), page, 4096, RO));
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), page, 4096, RO), -EEXIST);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE - 4096), page, 8192, RO), -EEXIST);
	CHECK_ERR(dune_vm_lookup(s, dune_gva(BASE - 4096), &leaf), -ENOENT); /* nothing changed */
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), page, 4096, DUNE_WRITE | DUNE_EXEC),
		  -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), page, 4096, RW | DUNE_COW), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), page, 4096, RX | DUNE_COW), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), page, 4096, 0), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), page, 4096, RO | 64), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 1), page, 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), dune_gpa(page.v + 8), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE + 4096), page, 100, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(DUNE_USER_END), page, 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(DUNE_USER_END - 4096), page, 8192, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(-4096UL), page, 8192, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(0xffffffff80000000), page, 4096, RO), -EINVAL);
	CHECK_OK(dune_vm_map(s, dune_gva(DUNE_USER_END - 4096), page, 4096, RO));
	CHECK_OK(dune_vm_map(s, dune_gva(guest_info.lowest), page, 4096, RO));
	CHECK_EQ(guest_read(c, s, guest_info.lowest), 1);
	if (guest_info.lowest)
		CHECK_ERR(dune_vm_map(s, dune_gva(guest_info.lowest - 4096), page, 4096, RO), -EINVAL);
	CHECK_EQ(guest_read(c, s, DUNE_USER_END - 4096), 1);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE), 4096, DUNE_WRITE | DUNE_EXEC), -EINVAL);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE + 8), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(DUNE_USER_END), 4096, RO), -EINVAL);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE - 4096), 3 * 4096, RW)); /* holes are skipped */
	guest_write(c, s, BASE, 1);
	CHECK_ERR(dune_vm_unmap(s, dune_gva(BASE + 8), 4096), -EINVAL);
	CHECK_ERR(dune_vm_unmap(s, dune_gva(0), DUNE_USER_END + 4096), -EINVAL);
	CHECK_OK(dune_vm_unmap(s, dune_gva(BASE - 4096), 3 * 4096));
	CHECK_OK(dune_vm_unmap(s, dune_gva(BASE - 4096), 3 * 4096));
	CHECK_ERR(dune_vm_lookup(s, dune_gva(BASE), &leaf), -ENOENT);
	CHECK_ERR(dune_vm_make_private(s, dune_gva(BASE)), -EFAULT);
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), page, 4096, RO));
	CHECK_ERR(dune_vm_make_private(s, dune_gva(BASE)), -EFAULT);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE), 4096, RW));
	CHECK_OK(dune_vm_make_private(s, dune_gva(BASE)));
	CHECK_ERR(dune_vm_make_private(s, dune_gva(DUNE_USER_END)), -EFAULT);

	CHECK_ERR(dune_region_add(s, dune_gva(BASE), 0, RW), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(BASE + 1), 4096, RW), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(BASE), 4096, DUNE_EXEC), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(BASE), 4096, RO | DUNE_COW), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(DUNE_USER_END), 4096, RW), -EINVAL);
	CHECK_ERR(dune_region_add(s, dune_gva(4096), -4096UL, RW), -EINVAL);
	CHECK_ERR(dune_region_remove(s, dune_gva(BASE), 1), -EINVAL);

	CHECK_ERR(dune_pages_alloc(guest_vm, 0, &pages), -EINVAL);
	CHECK_ERR(dune_pages_alloc(guest_vm, -1UL, &pages), -EINVAL);
	CHECK_ERR(dune_pages_alloc(guest_vm, ARENA / 4096, &pages), -ENOMEM);
	CHECK_OK(dune_pages_alloc(guest_vm, 512, &pages));
	CHECK_EQ(pages.v % GUEST_HUGE, 0);
	CHECK(!dune_page_host(guest_vm, dune_gpa(ARENA)));
	CHECK(dune_page_host(guest_vm, page));

	for (long nr = 0; nr < 16; nr++)
		CHECK_OK(dune_space_answer(s, nr, 5));
	CHECK_OK(dune_space_answer(s, 3, 6));
	CHECK_ERR(dune_space_answer(s, 16, 5), -ENOSPC);
	dune_vm_free(s);
}

static void clones(void)
{
	struct dune_space *t, *s, *u;
	dune_gpa_t page = guest_page(9);
	struct dune_frame f = { .rip = BASE };

	CHECK_OK(dune_space_create(guest_vm, &t));
	CHECK_OK(dune_vm_map(t, dune_gva(BASE), page, 4096, RW));
	CHECK_ERR(dune_vm_clone(t, &s), -EINVAL);
	CHECK_OK(dune_vm_mprotect(t, dune_gva(BASE), 4096, RO));
	CHECK_OK(dune_vm_clone(t, &s));
	CHECK_ERR(dune_vm_map(t, dune_gva(BASE + 4096), page, 4096, RO), -EBUSY);
	CHECK_ERR(dune_vm_mprotect(t, dune_gva(BASE), 4096, RO), -EBUSY);
	CHECK_ERR(dune_vm_unmap(t, dune_gva(BASE), 4096), -EBUSY);
	CHECK_ERR(dune_vm_make_private(t, dune_gva(BASE)), -EBUSY);
	CHECK_ERR(dune_region_add(t, dune_gva(BASE), 4096, RW), -EBUSY);
	CHECK_ERR(dune_region_remove(t, dune_gva(BASE), 4096), -EBUSY);
	CHECK_ERR(dune_space_reset(t, 0), -EBUSY);
	/* It is not run; the vCPU is none the worse. */
	CHECK_EQ(dune_vcpu_run(c, t, &f), DUNE_EXIT_BUSY);
	guest_furnish(s);
	CHECK_EQ(guest_read(c, s, BASE), 9);
	/* A clone's clone. */
	CHECK_OK(dune_vm_unmap(s, dune_gva(GUEST_STACK_TOP - 4096), 4096));
	CHECK_OK(dune_vm_unmap(s, dune_gva(GUEST_SHARED), 4096));
	CHECK_OK(dune_vm_clone(s, &u));
	CHECK_ERR(dune_vm_unmap(s, dune_gva(BASE), 4096), -EBUSY);
	CHECK_OK(dune_vm_unmap(u, dune_gva(GUEST_CODE), 4096));
	guest_furnish(u);
	CHECK_EQ(guest_read(c, u, BASE), 9);
	/* Sources may be let go of first: they stay until their clones are gone. */
	dune_vm_free(t);
	dune_vm_free(s);
	for (int i = 0; i < 64; i++) {
		struct dune_space *x = guest_space();

		guest_map(x, BASE, 0xbad, RW);
		CHECK_EQ(guest_read(c, x, BASE), 0xbad);
		CHECK_EQ(guest_read(c, u, BASE), 9);
		dune_vm_free(x);
	}
	dune_vm_free(u);
	dune_page_put(guest_vm, page);
}

/* May be written through windows: small pages, and large ones. */
static char *small, *large;

static void slots(void)
{
	char *p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dune_space *s = guest_space();
	dune_gpa_t first, again, part;

	CHECK(p != MAP_FAILED);
	CHECK_ERR(dune_slot_add(guest_vm, p, 0, &first), -EINVAL);
	CHECK_ERR(dune_slot_add(guest_vm, p + 1, 4096, &first), -EINVAL);
	CHECK_ERR(dune_slot_add(guest_vm, p, 5, &first), -EINVAL);
	CHECK_ERR(dune_slot_add(guest_vm, (void *)DUNE_USER_END, 4096, &first), -EINVAL);
	CHECK_ERR(dune_slot_add(guest_vm, p, -4096UL, &first), -EINVAL);
	CHECK_OK(dune_slot_add(guest_vm, p, 4 * 4096, &first));
	CHECK_OK(dune_slot_add(guest_vm, p, 4 * 4096, &again));
	CHECK_EQ(again.v, first.v);
	CHECK_OK(dune_slot_add(guest_vm, p + 8192, 4096, &part));
	CHECK_EQ(part.v, first.v + 8192);
	CHECK_GE(first.v, ARENA);
	CHECK(!dune_page_host(guest_vm, first));

	/*
	 * The rule: a slot shows whatever is mapped at that address later.  The host's secret, mapped where
	 * something harmless was, is read by a compartment that nobody granted it.  Hence whoever adds a slot
	 * owns or pins the mapping for ever, as the checkpoint does with every object it shows.  A stub has inherited
	 * what was there, or a copy.
	 */
	memset(p, 0x11, 4 * 4096);
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), first, 4 * 4096, RO));
	CHECK_EQ(guest_read(c, s, BASE), 0x1111111111111111);
	CHECK(mmap(p, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == p);
	memset(p, 0x5e, 4 * 4096);
	CHECK_EQ(guest_read(c, s, BASE), guest_info.machine == DUNE_MACHINE_PROCESS ? 0x1111111111111111 : 0x5e5e5e5e5e5e5e5e);
	guest_write_fault(c, s, BASE, PF_DENIED_WRITE);
	CHECK(dune_slot_host(guest_vm, dune_gpa(first.v + 4096), false) == p + 4096);
	CHECK(!dune_slot_host(guest_vm, first, true));
	CHECK(!dune_slot_host(guest_vm, dune_gpa(0), false));
	dune_vm_free(s);
}

/* Memory that windows may show for writing, on every machine; before the first vCPU. */
static char *shareable(size_t len)
{
	char *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK_OK(dune_vm_share(guest_vm, p, len));
	CHECK_OK(mprotect(p, len, PROT_READ | PROT_WRITE));
	return p;
}

/* A window that may be written: both worlds see the same bytes, and each leaf has rights of its own. */
static void writable_slots(void)
{
	char *p = small;
	struct dune_space *s = guest_space();
	dune_gpa_t first, again;

	CHECK_ERR(dune_slot_add_rw(guest_vm, p, 0, &first), -EINVAL);
	CHECK_ERR(dune_slot_add_rw(guest_vm, p + 1, 4096, &first), -EINVAL);
	CHECK_OK(dune_slot_add_rw(guest_vm, p, 4 * 4096, &first));
	CHECK_OK(dune_slot_add_rw(guest_vm, p + 4096, 4096, &again));
	CHECK_EQ(again.v, first.v + 4096);
	/* A read-only window on the same memory is another. */
	CHECK_OK(dune_slot_add(guest_vm, p, 4096, &again));
	CHECK_NE(again.v, first.v);
	CHECK(!dune_slot_host(guest_vm, again, true));
	CHECK(dune_slot_host(guest_vm, dune_gpa(first.v + 8192), true) == p + 8192);
	CHECK(!dune_page_host(guest_vm, first));
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), first, 4096, RW));
	CHECK_OK(dune_vm_map(s, dune_gva(BASE + 4096), dune_gpa(first.v + 4096), 4096, RO));
	guest_write(c, s, BASE, 0x1234);
	CHECK_EQ(*(uint64_t *)p, 0x1234);
	*(uint64_t *)p = 0x5678;
	CHECK_EQ(guest_read(c, s, BASE), 0x5678);
	guest_write_fault(c, s, BASE + 4096, PF_DENIED_WRITE);
	CHECK_EQ(*(uint64_t *)(p + 4096), 0);
	dune_vm_free(s);
}

/* Only what is there can be mapped, and written to only where it can be. */
static void behind(void)
{
	char *p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	dune_gpa_t window, page = guest_page(3), run, next, back;
	struct dune_space *s = guest_space();
	bool again = false;

	CHECK(p != MAP_FAILED);
	memset(p, 0x22, 2 * 4096);
	CHECK_OK(dune_slot_add(guest_vm, p, 2 * 4096, &window));
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), dune_gpa(0), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), dune_gpa(ARENA - 4096), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), page, ARENA, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), page, -4096UL, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), dune_gpa(ARENA), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), dune_gpa(window.v + 2 * 4096), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), dune_gpa(window.v + 4096), 2 * 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), dune_gpa(1UL << 45), 4096, RO), -EINVAL);
	CHECK_ERR(dune_vm_map(s, dune_gva(BASE), window, 4096, RW), -EINVAL);
	guest_read_fault(c, s, BASE, PF_ABSENT_READ);
	/* The twins: read, and written by copy. */
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), window, 2 * 4096, RO));
	CHECK_EQ(guest_read(c, s, BASE + 4096), 0x2222222222222222);
	CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), 2 * 4096));
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), window, 2 * 4096, RO | DUNE_COW));
	guest_write(c, s, BASE, 7);
	CHECK_EQ(p[0], 0x22);
	CHECK_OK(dune_vm_map(s, dune_gva(BASE + (1 << 20)), page, 4096, RW));
	guest_write(c, s, BASE + (1 << 20), 7);

	/* A region over ordinary mappings: they have its rights, and go with it. */
	CHECK_OK(dune_region_add(s, dune_gva(BASE + (1 << 20)), 4096, RO));
	CHECK_EQ(guest_read(c, s, BASE + (1 << 20)), 7);
	guest_write_fault(c, s, BASE + (1 << 20), PF_DENIED_WRITE);
	CHECK_OK(dune_region_remove(s, dune_gva(BASE + (1 << 20)), 4096));
	guest_read_fault(c, s, BASE + (1 << 20), PF_ABSENT_READ);

	/* Runs of pages are always new; single ones are found again. */
	CHECK_OK(dune_pages_alloc(guest_vm, 4, &run));
	for (size_t i = 0; i < 4; i++)
		dune_page_put(guest_vm, dune_gpa(run.v + i * 4096));
	CHECK_OK(dune_pages_alloc(guest_vm, 4, &next));
	CHECK_GE(next.v, run.v + 4 * 4096);
	for (int i = 0; i < 4; i++) {
		CHECK_OK(dune_page_alloc(guest_vm, &back));
		again |= back.v - run.v < 4 * 4096;
	}
	CHECK(again);
	dune_vm_free(s);
}

/* A window that is read-only stays so, whoever asks and beside whatever; what is refused changes nothing. */
static void windows_protected(void)
{
	char *p = large;
	const uint64_t own = BASE + 8 * GUEST_HUGE;
	struct dune_space *t = guest_space(), *s = guest_space();
	const struct dune_private *list;
	dune_gpa_t ro, rw;
	struct dune_leaf leaf;
	dune_gva_t start;
	size_t len;
	unsigned prot;

	memset(p, 0x33, 4 * GUEST_HUGE);
	CHECK_OK(dune_slot_add(guest_vm, p, 4 * GUEST_HUGE, &ro));
	CHECK_OK(dune_slot_add_rw(guest_vm, p, 4 * GUEST_HUGE, &rw));
	/* Large leaves and small ones, and a page of its own just before them. */
	CHECK_OK(dune_vm_map(s, dune_gva(BASE + ro.v % GUEST_HUGE), ro, 4 * GUEST_HUGE, RO));
	guest_map(s, BASE + ro.v % GUEST_HUGE - 4096, 5, RO);
	CHECK_OK(dune_vm_lookup(s, dune_gva(BASE + GUEST_HUGE), &leaf));
	CHECK_EQ(leaf.size, GUEST_HUGE);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE), 5 * GUEST_HUGE, RW), -EINVAL);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE + GUEST_HUGE), 4096, DUNE_WRITE), -EINVAL);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE + ro.v % GUEST_HUGE - 4096), 2 * 4096, RW), -EINVAL);
	guest_write_fault(c, s, BASE + ro.v % GUEST_HUGE - 4096, PF_DENIED_WRITE);
	guest_write_fault(c, s, BASE + GUEST_HUGE, PF_DENIED_WRITE);
	CHECK_EQ(guest_read(c, s, BASE + GUEST_HUGE), 0x3333333333333333);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE + GUEST_HUGE), 4096, 0));
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE + GUEST_HUGE), 4096, RW), -EINVAL);
	guest_read_fault(c, s, BASE + GUEST_HUGE, PF_ABSENT_READ);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE + GUEST_HUGE), 4096, RO));
	CHECK_EQ(guest_read(c, s, BASE + GUEST_HUGE), 0x3333333333333333);

	/* A region over it does not manage either, and is none then. */
	CHECK_OK(dune_region_add(s, dune_gva(own), 4096, RW));
	guest_write(c, s, own, 1);
	CHECK_ERR(dune_region_add(s, dune_gva(BASE + GUEST_HUGE), 4096, RW), -EINVAL);
	CHECK_OK(dune_region_next(s, dune_gva(0), &start, &len, &prot));
	CHECK(start.v == own && len == 4096);
	guest_write_fault(c, s, BASE + GUEST_HUGE, PF_DENIED_WRITE);
	CHECK_OK(dune_region_add(s, dune_gva(BASE + GUEST_HUGE), 4096, RO));
	CHECK_EQ(guest_read(c, s, BASE + GUEST_HUGE), 0x3333333333333333);

	/* The twins: a page of its own; the same memory by the other window; by copy. */
	CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE + ro.v % GUEST_HUGE - 4096), 4096, RW));
	guest_write(c, s, BASE + ro.v % GUEST_HUGE - 4096, 6);
	CHECK_OK(dune_vm_map(s, dune_gva(own + 4096), rw, 4096, RO));
	CHECK_OK(dune_vm_mprotect(s, dune_gva(own + 4096), 4096, RW));
	guest_write(c, s, own + 4096, 7);
	CHECK_EQ(*(uint64_t *)p, 7);
	CHECK_OK(dune_vm_map(s, dune_gva(own + 8192), dune_gpa(ro.v + 4096), 4096, RO | DUNE_COW));
	CHECK_OK(dune_vm_mprotect(s, dune_gva(own + 8192), 4096, RO));
	CHECK_OK(dune_vm_mprotect(s, dune_gva(own + 8192), 4096, RW));
	guest_write(c, s, own + 8192, 8);
	CHECK_EQ(*(uint64_t *)(p + 4096), 0x3333333333333333);
	CHECK_EQ(dune_space_private(s, &list), 2);
	dune_vm_free(s);

	/* A clone has it no better. */
	CHECK_OK(dune_vm_map(t, dune_gva(BASE), dune_gpa(ro.v + 4096), 4096, RO));
	CHECK_OK(dune_vm_unmap(t, dune_gva(GUEST_CODE), 4096));
	CHECK_OK(dune_vm_unmap(t, dune_gva(GUEST_STACK_TOP - 4096), 4096));
	CHECK_OK(dune_vm_unmap(t, dune_gva(GUEST_SHARED), 4096));
	CHECK_OK(dune_vm_clone(t, &s));
	guest_furnish(s);
	CHECK_ERR(dune_vm_mprotect(s, dune_gva(BASE), 4096, RW), -EINVAL);
	guest_write_fault(c, s, BASE, PF_DENIED_WRITE);
	CHECK_EQ(guest_read(c, s, BASE), 0x3333333333333333);
	dune_vm_free(s);
	dune_vm_free(t);
}

/* Two vCPUs in one space: only where the host, which has a lock, decides. */
static void two_in_one(void)
{
	struct dune_vcpu *other = guest_vcpu();
	struct dune_space *s = guest_space(), *own = guest_space();
	struct dune_frame f = guest_frame(guest_r_read, BASE, 0, 0);
	struct guest_thread t;
	enum dune_exit e;

	guest_map(s, BASE, 4, RW);
	guest_map(own, BASE, 5, RW);
	guest_thread_start(&t, other, s, guest_r_spin, 0, 0, GUEST_SHARED);
	CHECK(guest_wait_progress(&t, guest_shared(s), 1));
	e = dune_vcpu_run(c, s, &f);
	if (guest_info.placement == DUNE_PLACE_RING0) {
		CHECK_EQ(e, DUNE_EXIT_BUSY);
	} else {
		CHECK_EQ(e, DUNE_EXIT_SYSCALL);
		CHECK_EQ(f.rdi, 4);
	}
	CHECK_EQ(guest_read(c, own, BASE), 5);
	CHECK(guest_wait_progress(&t, guest_shared(s), 1));
	guest_thread_stop(&t);
	CHECK_EQ(guest_read(c, s, BASE), 4);
	dune_vm_free(s);
	dune_vm_free(own);
	dune_vcpu_destroy(other);
}

int main(void)
{
	struct dune_vm_stats st;

	guest_start(ARENA);
	small = shareable(4 * 4096);
	large = shareable(4 * GUEST_HUGE);
	c = guest_vcpu();
	if (guest_info.machine == DUNE_MACHINE_PROCESS)
		CHECK_ERR(dune_vm_share(guest_vm, small, 4096), -EBUSY);
	NOTE("creation");
	creation();
	NOTE("mappings");
	mappings();
	NOTE("slots");
	slots();
	writable_slots();
	NOTE("clones");
	clones();
	NOTE("behind");
	behind();
	NOTE("windows protected");
	windows_protected();
	NOTE("two in one");
	two_in_one();
	dune_vm_get_stats(guest_vm, &st);
	CHECK_EQ(st.vcpus_lost, 0);
	guest_stop();
	return 0;
}
