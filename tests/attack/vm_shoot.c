/* SPDX-License-Identifier: MIT */
/*
 * A compartment that is running loses a page when dune_vm_sync() returns, not later: what the page holds from
 * then on it neither sees nor changes.  World: host.
 */
#include "tests/guest.h"

#define OLD    0x01d01d01d01d01d0UL
#define SECRET 0x5ec2e75ec2e75ec2UL
#define BASE   0x40000000UL
#define BESIDE (BASE + 0x40000000UL)

static struct dune_vcpu *c;
static dune_gpa_t large;

enum change { UNMAP, REMAP, READ_ONLY, READ_ONLY_THEN_UNMAP, NONE, UNMAP_ALL, CHANGES };

static const char *const change_names[] = { "unmap",	 "remap",
					    "read-only", "read-only, then unmap",
					    "no rights", "unmap the whole gigabyte" };

static void pause_us(unsigned us)
{
	struct timespec t = { 0, (long)us * 1000 };

	if (us)
		nanosleep(&t, NULL);
}

/* The page that the compartment uses must be `old` before and have nothing to do with it afterwards. */
static void one(const char *routine, bool writes, enum change what, bool huge, unsigned delay)
{
	struct dune_space *s = guest_space();
	uint64_t at = BASE + (huge ? 0x7000 : 0x3000);
	dune_gpa_t page = huge ? dune_gpa(large.v + 0x7000) : guest_page(OLD),
		   next = guest_page(OLD);
	volatile uint64_t *old = dune_page_host(guest_vm, page);
	struct guest_thread t;
	uint64_t stop;
	bool faults = true;

	if (huge) {
		guest_fill(large, 512, OLD);
		CHECK_OK(dune_vm_map(s, dune_gva(BASE), large, GUEST_HUGE, RW));
	} else {
		CHECK_OK(dune_vm_map(s, dune_gva(at), page, DUNE_PAGE_SIZE, RW));
		guest_map(s, at + 4096, 1, RW);
	}
	guest_map(s, BESIDE, 1, RW);
	guest_thread_start(&t, c, s, routine, at, OLD, GUEST_SHARED);
	CHECK(guest_wait_progress(&t, guest_shared(s), 1));
	pause_us(delay);
	switch (what) {
	case UNMAP:
		CHECK_OK(dune_vm_unmap(s, dune_gva(at), DUNE_PAGE_SIZE));
		break;
	case UNMAP_ALL:
		CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), 1UL << 30));
		break;
	case NONE:
		CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, 0));
		break;
	case READ_ONLY_THEN_UNMAP:
		CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, RO));
		pause_us(delay);
		CHECK_OK(dune_vm_unmap(s, dune_gva(at), DUNE_PAGE_SIZE));
		break;
	case READ_ONLY:
		CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, RO));
		faults = writes;
		break;
	case REMAP:
	case CHANGES:
		CHECK_OK(dune_vm_unmap(s, dune_gva(at), DUNE_PAGE_SIZE));
		pause_us(delay);
		CHECK_OK(dune_vm_map(s, dune_gva(at), next, DUNE_PAGE_SIZE, RW));
		faults = false;
		break;
	}
	CHECK_OK(dune_vm_sync(s));
	/* From here on the page is somebody else's. */
	if (faults || what == REMAP)
		*old = SECRET;
	if (faults) {
		guest_thread_join(&t);
	} else {
		/* It may have met the moment in which nothing was mapped there. */
		guest_wait_progress(&t, guest_shared(s), 1);
		for (stop = guest_now_ms() + 2; guest_now_ms() < stop;)
			;
		guest_thread_stop(&t);
	}
	if (faults || what == REMAP)
		CHECK_MSG(*old == SECRET, "a page that was taken away was written: %#" PRIx64,
			  *old);
	if (t.exit == DUNE_EXIT_FAULT) {
		CHECK_MSG(t.frame.vector == VECTOR_PF && t.frame.cr2 == at, "%s",
			  guest_exit_text(t.exit, &t.frame));
		CHECK_EQ(t.frame.error,
			 writes ? (what == READ_ONLY ? PF_DENIED_WRITE : t.frame.error) :
				  PF_ABSENT_READ);
		CHECK(faults || what == REMAP);
	} else {
		CHECK_MSG(!faults && t.exit != DUNE_EXIT_LOST &&
				  !(t.exit == DUNE_EXIT_SYSCALL && t.frame.rax == GUEST_DONE),
			  "%s", guest_exit_text(t.exit, &t.frame));
	}
	/* The same vCPU afterwards, and the twin beside. */
	CHECK_EQ(guest_read(c, s, BESIDE), 1);
	if (what == REMAP)
		CHECK_EQ(guest_read(c, s, at), OLD);
	else if (what == READ_ONLY)
		guest_write_fault(c, s, at, PF_DENIED_WRITE);
	else
		guest_read_fault(c, s, at, PF_ABSENT_READ);
	dune_vm_free(s);
	if (!huge)
		dune_page_put(guest_vm, page);
	dune_page_put(guest_vm, next);
}

/*
 * An owned page that was taken away is the next one's: found again through the allocator, filled, not seen.  False:
 * it was not found, since the vCPU, which was interrupted, has taken it into its stock of free pages.
 */
static bool reused(const char *routine, bool writes, unsigned delay)
{
	struct dune_space *s = guest_space(), *other = guest_space();
	dune_gpa_t page = guest_map(s, BASE, OLD, RW), again = { 0 };
	struct guest_thread t;
	volatile uint64_t *word = dune_page_host(guest_vm, page);
	bool found;
	int tries;

	guest_thread_start(&t, c, s, routine, BASE, OLD, GUEST_SHARED);
	CHECK(guest_wait_progress(&t, guest_shared(s), 1));
	pause_us(delay);
	CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), DUNE_PAGE_SIZE));
	CHECK_OK(dune_vm_sync(s));
	for (tries = 0; tries < 64 && again.v != page.v; tries++)
		again = guest_map(other, BASE + (uint64_t)tries * 4096, SECRET, RW);
	found = again.v == page.v;
	guest_thread_join(&t);
	CHECK_MSG(t.exit == DUNE_EXIT_FAULT && t.frame.vector == VECTOR_PF, "%s",
		  guest_exit_text(t.exit, &t.frame));
	if (found) {
		CHECK(!writes || *word == SECRET);
		CHECK_EQ(guest_read(c, other, BASE + (uint64_t)(tries - 1) * 4096), SECRET);
	}
	/* What was in the stock has come back with the end of the run. */
	for (; again.v != page.v; tries++)
		again = guest_map(other, BASE + (uint64_t)tries * 4096, SECRET, RW);
	dune_vm_free(s);
	dune_vm_free(other);
	return found;
}

/* The compartment fills a demand region or runs into copies while the host changes other parts of its space. */
static void storm(unsigned long rounds)
{
	const uint64_t from = 0x100000000UL, len = 256 * 4096;
	uint64_t pages = guest_pages_used(), begun = 0;

	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 3000); i++) {
		struct dune_space *s = guest_space();
		struct guest_thread t;
		const struct dune_private *list;
		uint64_t sum = 0;
		size_t n;

		CHECK_OK(dune_region_add(s, dune_gva(from), len, RW));
		guest_thread_start(&t, c, s, guest_r_touch, from, from + len, GUEST_SHARED);
		guest_wait_progress(&t, guest_shared(s), 1); /* or it is through already */
		while (!atomic_load(&t.ended)) {
			guest_map(s, BESIDE, 2, RW);
			CHECK_OK(dune_vm_sync(s));
			CHECK_OK(dune_vm_unmap(s, dune_gva(BESIDE), DUNE_PAGE_SIZE));
			CHECK_OK(dune_vm_sync(s));
		}
		guest_thread_join(&t);
		CHECK_MSG(t.exit == DUNE_EXIT_SYSCALL && t.frame.rax == GUEST_DONE, "%s",
			  guest_exit_text(t.exit, &t.frame));
		n = dune_space_private(s, &list);
		CHECK_EQ(n, len / 4096);
		for (size_t k = 0; k < n; k++) {
			struct dune_leaf leaf;

			CHECK_OK(dune_vm_lookup(s, list[k].at, &leaf));
			CHECK_EQ(leaf.page.v, list[k].page.v);
			CHECK_EQ(*(uint64_t *)dune_page_host(guest_vm, leaf.page), list[k].at.v);
			sum += list[k].at.v;
		}
		CHECK_EQ(guest_call(c, s, guest_r_sum, from, from + len), sum);
		dune_vm_free(s);
		if (i == 0)
			pages = guest_pages_used(); /* the vCPU has its stock now */
		else
			CHECK_EQ(guest_pages_used(), pages);
	}
}

int main(void)
{
	unsigned long rounds, found = 0, sought = 0;
	uint64_t begun = 0;

	guest_start(64UL << 20);
	c = guest_vcpu();
	CHECK_OK(dune_pages_alloc(guest_vm, 512, &large));
	rounds = test_scale(20);
	for (enum change what = 0; what < CHANGES; what++) {
		begun = 0;
		NOTE("%s", change_names[what]);
		for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 2000); i++) {
			one(guest_r_watch, false, what, i & 1, (unsigned)(i * 37 % 300));
			one(guest_r_hammer, true, what, i & 1, (unsigned)(i * 53 % 300));
			one(guest_r_watch_call, false, what, i & 1, (unsigned)(i * 71 % 300));
		}
	}
	NOTE("reused pages");
	begun = 0;
	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 2000); i++) {
		found += reused(guest_r_watch, false, (unsigned)(i * 37 % 300));
		found += reused(guest_r_hammer, true, (unsigned)(i * 53 % 300));
		found += reused(guest_r_watch_call, false, (unsigned)(i * 71 % 300));
		sought += 3;
	}
	NOTE("found again while it ran: %lu of %lu", found, sought);
	CHECK_MSG(2 * found >= sought, "%lu of %lu pages found again", found, sought);
	NOTE("storm");
	storm(rounds / 4 + 1);
	guest_stop();
	return 0;
}
