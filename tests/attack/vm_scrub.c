/* SPDX-License-Identifier: MIT */
/*
 * A dead page table is cleared whole, whatever was in it, before it is a table again: a new address space that has it
 * reads nothing through it that the dead one had, and the clearing costs an entry into the guest for many tables, not
 * an edit for each of their entries.  World: host.
 */
#include "tests/guest.h"

#define BASE  0x40000000UL
#define GIB   (1UL << 30)
#define OLD   0xdeadUL
#define NEW   0x600dUL
#define VCPUS 2

static struct dune_vcpu *c[VCPUS];
static dune_gpa_t old_page, new_page;

static uint64_t switches(void)
{
	struct dune_vm_stats st;

	dune_vm_get_stats(guest_vm, &st);
	return st.world_switches;
}

static void map(struct dune_space *s, uint64_t at, dune_gpa_t page)
{
	CHECK_OK(dune_vm_map(s, dune_gva(at), page, DUNE_PAGE_SIZE, RO));
}

/* Which entries of a table are there: every `step`-th of [first, end). */
static const struct pattern {
	unsigned first, end, step;
} patterns[] = {
	{ 0, 512, 1 },	 { 0, 512, 2 },	  { 1, 512, 2 },    { 0, 1, 1 },       { 511, 512, 1 },
	{ 0, 512, 511 }, { 255, 257, 1 }, { 100, 400, 37 }, { 511, 512, 512 },
};
#define PATTERNS (sizeof(patterns) / sizeof(*patterns))

static uint64_t nth(unsigned n)
{
	return BASE + n * DUNE_PAGE_SIZE;
}

/*
 * All of the dead space's pages were read on both vCPUs.  The new one has one page, in the same table of the arena, if
 * that was cleared; reads everything where the other had something, and finds nothing.
 */
static void one(const struct pattern *p, bool whole_space)
{
	struct dune_space *dead = guest_space(), *s = dead;
	struct dune_vm_stats before, after;
	unsigned mine = (p->first + 3) % 512;

	for (unsigned n = p->first; n < p->end; n += p->step)
		map(dead, nth(n), old_page);
	for (unsigned n = p->first; n < p->end; n += p->step)
		CHECK_EQ(guest_read(c[n % VCPUS], dead, nth(n)), OLD);
	CHECK_EQ(guest_read(c[0], dead, nth(p->first)), OLD);
	CHECK_EQ(guest_read(c[1], dead, nth(p->first)), OLD);
	dune_vm_get_stats(guest_vm, &before);
	if (whole_space) {
		dune_vm_free(dead);
		s = guest_space();
	} else {
		CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), GUEST_HUGE));
		CHECK_OK(dune_vm_sync(s));
	}
	map(s, nth(mine), new_page);
	dune_vm_get_stats(guest_vm, &after);
	CHECK_EQ(after.table_pages, before.table_pages);
	CHECK_EQ(after.pages_used, before.pages_used);
	for (unsigned v = 0; v < VCPUS; v++)
		CHECK_EQ(guest_read(c[v], s, nth(mine)), NEW);
	/* An emulated ring 0 takes milliseconds for a fault: some of many. */
	for (unsigned n = p->first; n < p->end; n += p->step)
		if (n != mine && (n % 8 < 2 || n >= 504))
			guest_read_fault(c[n % VCPUS], s, nth(n), PF_ABSENT_READ);
	for (unsigned n = 0; n < 512; n++)
		if (n != mine)
			map(s, nth(n), new_page);
	for (unsigned v = 0; v < VCPUS; v++)
		CHECK_EQ(guest_call(c[v], s, guest_r_sum, nth(0), nth(512)), 512 * NEW);
	dune_vm_free(s);
}

/* A space that was in use, with `tables` tables of which each maps `entries` pages. */
static struct dune_space *sized(unsigned tables, unsigned entries)
{
	struct dune_space *s = guest_space();

	for (unsigned t = 0; t < tables; t++)
		for (unsigned n = 0; n < entries; n++)
			map(s, nth(n) + t * GUEST_HUGE, old_page);
	CHECK_EQ(guest_read(c[0], s, BASE), OLD);
	return s;
}

static void costs(void)
{
	const unsigned tables = 40;
	struct dune_space *s = sized(1, 510);
	uint64_t before, one_less;

	/* One edit takes the table away, and one clears it. */
	map(s, BASE + GIB / 2, old_page);
	before = switches();
	CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), GUEST_HUGE));
	CHECK_OK(dune_vm_sync(s));
	CHECK_EQ(switches() - before, 2);
	dune_vm_free(s);

	/* The root apart, many at a time. */
	s = sized(1, 510);
	before = switches();
	dune_vm_free(s);
	one_less = switches() - before;
	CHECK_EQ(one_less, 2);
	s = sized(tables, 3);
	before = switches();
	dune_vm_free(s);
	CHECK_LE(switches() - before, one_less + tables / 16 + 1);

	/* Of a space that never ran nothing was read: it costs none. */
	s = guest_space();
	map(s, BASE, old_page);
	before = switches();
	dune_vm_free(s);
	CHECK_EQ(switches(), before);
}

/*
 * Pages in a row that go from a table that stays are one edit, of as many entries, made on the way in or by a service
 * vCPU; and changes on top of it, before it is made, are seen.
 */
static void rows(bool sync)
{
	struct dune_space *s = sized(1, 510);
	struct dune_vm_stats before, after;
	struct dune_leaf leaf;

	for (unsigned n = 0; n < 510; n++)
		CHECK_EQ(guest_read(c[n % VCPUS], s, nth(n)), OLD);
	dune_vm_get_stats(guest_vm, &before);
	CHECK_OK(dune_vm_unmap(s, dune_gva(nth(5)), 400 * DUNE_PAGE_SIZE));
	if (sync) {
		CHECK_OK(dune_vm_sync(s));
		dune_vm_get_stats(guest_vm, &after);
		CHECK_EQ(after.world_switches - before.world_switches, 1);
	}
	CHECK_EQ(guest_read(c[0], s, nth(4)), OLD);
	dune_vm_get_stats(guest_vm, &after);
	CHECK_EQ(after.edits - before.edits, 400);
	CHECK_EQ(after.table_pages, before.table_pages);
	for (unsigned n = 5; n < 405; n += n < 20 || n > 395 ? 1 : 25)
		guest_read_fault(c[n / 3 % VCPUS], s, nth(n), PF_ABSENT_READ);
	for (unsigned v = 0; v < VCPUS; v++) {
		CHECK_EQ(guest_read(c[v], s, nth(4)), OLD);
		CHECK_EQ(guest_read(c[v], s, nth(405)), OLD);
	}

	/* Again, and on top of it pages that come, go, and come otherwise; one of them at the row's end. */
	for (unsigned n = 5; n < 405; n++)
		map(s, nth(n), old_page);
	CHECK_EQ(guest_call(c[0], s, guest_r_sum, nth(0), nth(510)), 510 * OLD);
	CHECK_EQ(guest_call(c[1], s, guest_r_sum, nth(0), nth(510)), 510 * OLD);
	CHECK_OK(dune_vm_unmap(s, dune_gva(nth(5)), 100 * DUNE_PAGE_SIZE));
	map(s, nth(50), new_page);
	map(s, nth(104), new_page);
	CHECK_OK(dune_vm_unmap(s, dune_gva(nth(105)), 10 * DUNE_PAGE_SIZE));
	CHECK_OK(dune_vm_unmap(s, dune_gva(nth(50)), DUNE_PAGE_SIZE));
	map(s, nth(105), new_page);
	CHECK_OK(dune_vm_unmap(s, dune_gva(nth(51)), 2 * DUNE_PAGE_SIZE)); /* holes */
	map(s, nth(52), new_page);
	CHECK_ERR(dune_vm_lookup(s, dune_gva(nth(50)), &leaf), -ENOENT);
	CHECK_ERR(dune_vm_lookup(s, dune_gva(nth(51)), &leaf), -ENOENT);
	CHECK_OK(dune_vm_lookup(s, dune_gva(nth(52)), &leaf));
	CHECK_EQ(leaf.page.v, new_page.v);
	CHECK_ERR(dune_vm_lookup(s, dune_gva(nth(106)), &leaf), -ENOENT);
	if (sync)
		CHECK_OK(dune_vm_sync(s));
	for (unsigned v = 0; v < VCPUS; v++) {
		CHECK_EQ(guest_read(c[v], s, nth(52)), NEW);
		CHECK_EQ(guest_read(c[v], s, nth(104)), NEW);
		CHECK_EQ(guest_read(c[v], s, nth(105)), NEW);
		CHECK_EQ(guest_read(c[v], s, nth(115)), OLD);
		guest_read_fault(c[v], s, nth(5), PF_ABSENT_READ);
		guest_read_fault(c[v], s, nth(50), PF_ABSENT_READ);
		guest_read_fault(c[v], s, nth(51), PF_ABSENT_READ);
		guest_read_fault(c[v], s, nth(53), PF_ABSENT_READ);
		guest_read_fault(c[v], s, nth(103), PF_ABSENT_READ);
		guest_read_fault(c[v], s, nth(106), PF_ABSENT_READ);
		guest_read_fault(c[v], s, nth(114), PF_ABSENT_READ);
	}
	dune_vm_free(s);
}

int main(void)
{
	guest_start(64UL << 20);
	for (int i = 0; i < VCPUS; i++)
		c[i] = guest_vcpu();
	old_page = guest_page(OLD);
	new_page = guest_page(NEW);
	/* The routines' and the stack's tables are there before anything is counted. */
	dune_vm_free(guest_space());
	for (size_t i = 0; i < PATTERNS; i++) {
		NOTE("entries %u to %u, each %u.", patterns[i].first, patterns[i].end,
		     patterns[i].step);
		one(&patterns[i], true);
		one(&patterns[i], false);
	}
	NOTE("rows");
	rows(false);
	rows(true);
	NOTE("costs");
	costs();
	guest_stop();
	return 0;
}
