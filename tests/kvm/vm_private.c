/* SPDX-License-Identifier: MIT */
/* Private pages: copy-on-write, demand regions, limits, resets, and that every page comes back.  World: host. */
#include "tests/guest.h"

#define BASE   0x40000000UL
#define DEMAND 0x50000000UL
#define PAGES  24

static struct dune_vcpu *c;

static dune_gpa_t originals[PAGES];

static uint64_t byte_sum(dune_gpa_t page)
{
	const uint64_t *w = dune_page_host(guest_vm, page);
	uint64_t sum = 0;

	for (size_t i = 0; i < 512; i++)
		sum = sum * 31 + w[i];
	return sum;
}

static struct dune_space *template(void)
{
	struct dune_space *t;

	CHECK_OK(dune_space_create(guest_vm, &t));
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_OK(dune_vm_map(t, dune_gva(BASE + i * 4096), originals[i], DUNE_PAGE_SIZE,
				     RO | DUNE_COW));
	return t;
}

static void dirty(struct dune_space *s)
{
	CHECK_EQ(guest_call(c, s, guest_r_touch, BASE, BASE + PAGES * 4096), BASE + PAGES * 4096);
	CHECK_EQ(guest_call(c, s, guest_r_touch, DEMAND, DEMAND + PAGES * 4096),
		 DEMAND + PAGES * 4096);
}

static void resets(struct dune_space *t, size_t keep)
{
	const struct dune_private *list;
	struct dune_space *s;
	size_t n, kept = keep ? keep : 2 * PAGES, before;
	dune_gva_t start;
	size_t len;
	unsigned prot;

	CHECK_OK(dune_vm_clone(t, &s));
	guest_furnish(s);
	before = dune_space_pages(s);
	for (int round = 0; round < 3; round++) {
		CHECK_OK(dune_region_add(s, dune_gva(DEMAND), PAGES * 4096, RW));
		dirty(s);
		CHECK_EQ(dune_space_private(s, &list), 2 * PAGES);
		for (size_t i = 0; i < 2 * PAGES; i++) {
			CHECK_EQ(*(uint64_t *)dune_page_host(guest_vm, list[i].page), list[i].at.v);
			CHECK_EQ(list[i].from.v, list[i].at.v >= DEMAND ?
							 dune_zero_page(guest_vm).v :
							 originals[(list[i].at.v - BASE) / 4096].v);
		}
		CHECK_OK(dune_space_reset(s, keep));
		n = dune_space_private(s, &list);
		CHECK_EQ(n, kept);
		for (size_t i = 0; i < n; i++)
			CHECK_EQ(byte_sum(list[i].page), byte_sum(list[i].from));
		CHECK_ERR(dune_region_next(s, dune_gva(0), &start, &len, &prot), -ENOENT);
		/* Ring 3 sees the template's bytes everywhere, and zeroes or nothing in what was demand memory. */
		for (unsigned i = 0; i < PAGES; i++) {
			struct dune_leaf leaf;

			CHECK_EQ(guest_read(c, s, BASE + i * 4096 + 8 * i), 0xc0de00 + i);
			if (dune_vm_lookup(s, dune_gva(DEMAND + i * 4096), &leaf) == -ENOENT)
				guest_read_fault(c, s, DEMAND + i * 4096, PF_ABSENT_READ);
			else
				CHECK_EQ(guest_read(c, s, DEMAND + i * 4096), 0);
		}
	}
	CHECK_GE(dune_space_pages(s), before);
	dune_vm_free(s);
}

/* What a clone has changed it has again as its source does: copied, mapped over, unmapped; and nothing is left over. */
static void restores(struct dune_space *t)
{
	const struct dune_private *list;
	struct dune_space *s, *u;
	struct dune_leaf leaf;
	dune_gpa_t page;
	size_t before;

	CHECK_OK(dune_vm_clone(t, &s));
	guest_furnish(s);
	CHECK_OK(dune_page_alloc(guest_vm, &page));
	*(uint64_t *)dune_page_host(guest_vm, page) = 0x11fe;
	CHECK_OK(dune_vm_make_private(s, dune_gva(BASE + 4096)));
	CHECK_OK(dune_vm_restore(s, dune_gva(BASE), PAGES * 4096));
	before = dune_space_pages(s);
	for (int round = 0; round < 3; round++) {
		CHECK_EQ(guest_call(c, s, guest_r_touch, BASE, BASE + 3 * 4096), BASE + 3 * 4096);
		CHECK_EQ(guest_read(c, s, BASE + 4096), BASE + 4096);
		CHECK_OK(dune_vm_unmap(s, dune_gva(BASE + 4096), 2 * 4096));
		guest_read_fault(c, s, BASE + 4096, PF_ABSENT_READ);
		CHECK_OK(dune_vm_map(s, dune_gva(BASE + 4096), page, 4096, RW));
		CHECK_EQ(guest_read(c, s, BASE + 4096), 0x11fe);
		CHECK_EQ(dune_space_private(s, &list), 1);
		CHECK_EQ(list[0].at.v, BASE);
		CHECK_OK(dune_vm_restore(s, dune_gva(BASE), PAGES * 4096));
		CHECK_EQ(dune_space_private(s, &list), 0);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(guest_read(c, s, BASE + i * 4096 + 8 * i), 0xc0de00 + i);
		CHECK_OK(dune_vm_sync(s));
		CHECK_EQ(dune_space_pages(s), before);
		CHECK_EQ(*(uint64_t *)dune_page_host(guest_vm, page), 0x11fe);
	}
	/* Where the source has nothing, nothing. */
	CHECK_OK(dune_vm_map(s, dune_gva(DEMAND), page, 4096, RW));
	CHECK_EQ(guest_read(c, s, DEMAND), 0x11fe);
	CHECK_OK(dune_vm_restore(s, dune_gva(DEMAND), 4096));
	CHECK_ERR(dune_vm_lookup(s, dune_gva(DEMAND), &leaf), -ENOENT);
	guest_read_fault(c, s, DEMAND, PF_ABSENT_READ);
	CHECK_ERR(dune_vm_restore(s, dune_gva(BASE + 8), 4096), -EINVAL);
	CHECK_ERR(dune_vm_restore(s, dune_gva(BASE), 4095), -EINVAL);
	CHECK_ERR(dune_vm_restore(s, dune_gva(DUNE_USER_END), 4096), -EINVAL);
	CHECK_ERR(dune_vm_restore(t, dune_gva(BASE), 4096), -EBUSY);
	CHECK_OK(dune_space_create(guest_vm, &u));
	CHECK_ERR(dune_vm_restore(u, dune_gva(BASE), 4096), -EINVAL); /* no clone */
	dune_vm_free(u);
	dune_vm_free(s);
	dune_page_put(guest_vm, page);
}

/* What was touched and is as it was goes, and nothing else; tables, too: as many pages are left as in a new clone. */
static void sheds(struct dune_space *t)
{
	const struct dune_private *list;
	struct dune_space *s, *u;
	size_t least;

	CHECK_OK(dune_vm_clone(t, &s));
	guest_furnish(s);
	CHECK_OK(dune_region_add(s, dune_gva(DEMAND), PAGES * 4096, RW));
	CHECK_OK(dune_vm_make_private(s, dune_gva(BASE)));
	least = dune_space_pages(s);
	CHECK_OK(dune_space_shed(s, 1, NULL, NULL));
	CHECK_EQ(dune_space_pages(s), least);
	CHECK_EQ(dune_space_room(s), SIZE_MAX);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_OK(dune_vm_make_private(s, dune_gva(BASE + i * 4096)));
			CHECK_EQ(guest_read(c, s, DEMAND + i * 4096), 0);
		}
		CHECK_EQ(guest_call(c, s, guest_r_touch, DEMAND + 4096, DEMAND + 2 * 4096), DEMAND + 2 * 4096);
		CHECK_GT(dune_space_private(s, &list), 3);
		dune_page_get(guest_vm, list[2].page);
		CHECK_OK(dune_space_shed(s, 1, NULL, NULL));
		CHECK_EQ(dune_space_private(s, &list), 3); /* kept; referred to; written */
		CHECK_EQ(guest_read(c, s, DEMAND + 4096), DEMAND + 4096);
		CHECK_EQ(guest_read(c, s, BASE + 3 * 4096 + 24), 0xc0de03);
		for (size_t i = 0; i < 3; i++)
			if (list[i].at.v != BASE && list[i].at.v != DEMAND + 4096)
				dune_page_put(guest_vm, list[i].page);
		CHECK_OK(dune_vm_unmap(s, dune_gva(DEMAND + 4096), 4096));
		CHECK_OK(dune_space_shed(s, 1, NULL, NULL));
		CHECK_EQ(dune_space_pages(s), least);
	}
	dune_space_limit(s, least + 3);
	CHECK_EQ(dune_space_room(s), 3);
	dune_space_limit(s, least);
	CHECK_ERR(dune_vm_map(s, dune_gva(1UL << 40), originals[0], 4096, RO), -EDQUOT);
	CHECK_ERR(dune_space_shed(t, 0, NULL, NULL), -EBUSY);
	CHECK_OK(dune_space_create(guest_vm, &u));
	CHECK_ERR(dune_space_shed(u, 0, NULL, NULL), -EINVAL);
	dune_vm_free(u);
	dune_vm_free(s);
}

static void limits(struct dune_space *t)
{
	struct dune_frame f =
		guest_frame(guest_r_touch, DEMAND, DEMAND + PAGES * 4096, GUEST_SHARED);
	const struct dune_private *list;
	struct dune_space *s;
	enum dune_exit e;
	uint64_t far;

	CHECK_OK(dune_vm_clone(t, &s));
	guest_furnish(s);
	CHECK_OK(dune_region_add(s, dune_gva(DEMAND), PAGES * 4096, RW));
	dune_space_limit(s, dune_space_pages(s) + 8);
	e = dune_vcpu_run(c, s, &f);
	CHECK_MSG(e == DUNE_EXIT_NOMEM && f.cr2 >= DEMAND && f.cr2 < DEMAND + PAGES * 4096 &&
			  f.rdi == f.cr2,
		  "%s", guest_exit_text(e, &f));
	CHECK_LE(dune_space_private(s, &list), 8);
	CHECK_GE(dune_space_private(s, &list), 1);
	far = f.cr2;
	/* Again the same; the host's own wish is refused too, and reading what is there goes on. */
	e = dune_vcpu_run(c, s, &f);
	CHECK(e == DUNE_EXIT_NOMEM && f.cr2 == far);
	CHECK_ERR(dune_vm_make_private(s, dune_gva(BASE)), -ENOMEM);
	CHECK_EQ(guest_read(c, s, BASE), 0xc0de00);
	dune_space_limit(s, 0);
	e = dune_vcpu_run(c, s, &f);
	CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rdi == DEMAND + PAGES * 4096, "%s",
		  guest_exit_text(e, &f));
	CHECK_OK(dune_vm_make_private(s, dune_gva(BASE)));
	CHECK_EQ(guest_read(c, s, BASE), 0xc0de00);
	dune_vm_free(s);
}

/* The arena runs out; the run says so, the space and the VM go on when there is room again. */
static void exhaustion(void)
{
	struct dune_space *s = guest_space();
	struct dune_frame f;
	dune_gpa_t page, *held = malloc(65536 * sizeof(*held));
	size_t n = 0;
	enum dune_exit e;

	CHECK(held);
	CHECK_OK(dune_region_add(s, dune_gva(DEMAND), PAGES * 4096, RW));
	CHECK_EQ(guest_call(c, s, guest_r_touch, DEMAND, DEMAND + 4096), DEMAND + 4096);
	while (n < 65536 && !dune_page_alloc(guest_vm, &held[n]))
		n++;
	CHECK_LT(n, 65536);
	CHECK_ERR(dune_page_alloc(guest_vm, &page), -ENOMEM);
	f = guest_frame(guest_r_touch, DEMAND, DEMAND + PAGES * 4096, GUEST_SHARED);
	e = dune_vcpu_run(c, s, &f);
	CHECK_MSG(e == DUNE_EXIT_NOMEM && f.cr2 >= DEMAND, "%s", guest_exit_text(e, &f));
	CHECK_ERR(dune_vm_make_private(s, dune_gva(DEMAND + 8 * 4096)), -ENOMEM);
	while (n)
		dune_page_put(guest_vm, held[--n]);
	e = dune_vcpu_run(c, s, &f);
	CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rdi == DEMAND + PAGES * 4096, "%s",
		  guest_exit_text(e, &f));
	for (uint64_t i = 0; i < PAGES; i++)
		CHECK_EQ(guest_read(c, s, DEMAND + i * 4096), DEMAND + i * 4096);
	dune_vm_free(s);
	free(held);
}

static void regions(void)
{
	struct dune_space *s = guest_space();
	const struct dune_private *list;
	uint64_t step = 3 * 4096, at = DEMAND;
	dune_gva_t start;
	size_t len, n = 0;
	unsigned prot;
	int err;

	/* Neighbours alike become one, whatever the order. */
	CHECK_OK(dune_region_add(s, dune_gva(at), 4096, RW));
	CHECK_OK(dune_region_add(s, dune_gva(at + 8192), 4096, RW));
	CHECK_OK(dune_region_add(s, dune_gva(at + 4096), 4096, RW));
	CHECK_OK(dune_region_next(s, dune_gva(0), &start, &len, &prot));
	CHECK(start.v == at && len == 3 * 4096 && prot == RW);
	/* A hole in the middle, with less right, then with none. */
	guest_write(c, s, at + 4096, 5);
	CHECK_OK(dune_region_add(s, dune_gva(at + 4096), 4096, RO));
	CHECK_EQ(guest_read(c, s, at + 4096), 5);
	guest_write_fault(c, s, at + 4096, PF_DENIED_WRITE);
	guest_write(c, s, at + 8192, 6);
	CHECK_OK(dune_region_add(s, dune_gva(at + 4096), 4096, 0));
	guest_read_fault(c, s, at + 4096, PF_ABSENT_READ);
	CHECK_OK(dune_region_add(s, dune_gva(at + 4096), 4096, RW));
	CHECK_EQ(guest_read(c, s, at + 4096), 5);
	CHECK_OK(dune_region_remove(s, dune_gva(at + 4096), 4096));
	guest_read_fault(c, s, at + 4096, PF_ABSENT_READ);
	CHECK_OK(dune_region_next(s, dune_gva(at + 4096), &start, &len, &prot));
	CHECK(start.v == at + 8192 && len == 4096);
	CHECK_OK(dune_region_add(s, dune_gva(at + 4096), 4096, RW));
	CHECK_EQ(guest_read(c, s, at + 4096), 0);
	CHECK_EQ(guest_read(c, s, at + 8192), 6);
	CHECK_OK(dune_region_remove(s, dune_gva(at), 3 * 4096));
	CHECK_ERR(dune_region_next(s, dune_gva(0), &start, &len, &prot), -ENOENT);
	/* An ordinary mapping has the region's rights, also where the space has no private page. */
	guest_map(s, at, 5, RW);
	CHECK_EQ(dune_space_private(s, &list), 0);
	guest_write(c, s, at, 6);
	CHECK_OK(dune_region_add(s, dune_gva(at), 4096, RO));
	guest_write_fault(c, s, at, PF_DENIED_WRITE);
	CHECK_EQ(guest_read(c, s, at), 6);
	CHECK_OK(dune_region_add(s, dune_gva(at), 4096, 0));
	guest_read_fault(c, s, at, PF_ABSENT_READ);
	CHECK_OK(dune_region_remove(s, dune_gva(at), 4096));
	/* As many as fit, and not one more; what is there still works. */
	while (!(err = dune_region_add(s, dune_gva(at + n * step), 4096, RW)))
		n++;
	CHECK_EQ(err, -ENOMEM);
	CHECK_GE(n, 100);
	guest_write(c, s, at, 1);
	guest_write(c, s, at + (n - 1) * step, 2);
	guest_read_fault(c, s, at + n * step, PF_ABSENT_READ);
	CHECK_ERR(dune_region_add(s, dune_gva(at + n * step), 4096, RO), -ENOMEM);
	CHECK_OK(dune_region_remove(s, dune_gva(at + step), 4096));
	CHECK_OK(dune_region_add(s, dune_gva(at + n * step), 4096, RW));
	guest_write(c, s, at + n * step, 3);
	dune_vm_free(s);
}

/* The write of a page that is the host's, through a slot: the copy is the arena's. */
static void slot_cow(void)
{
	static uint64_t mine[1024] __attribute__((aligned(4096)));
	struct dune_space *s = guest_space();
	const struct dune_private *list;
	dune_gpa_t page;

	mine[0] = 0x11;
	mine[511] = 0x22;
	CHECK_OK(dune_slot_add(guest_vm, mine, 8192, &page));
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), page, 8192, RO | DUNE_COW));
	CHECK_EQ(guest_read(c, s, BASE), 0x11);
	guest_write(c, s, BASE, 0x33);
	CHECK_EQ(guest_read(c, s, BASE), 0x33);
	CHECK_EQ(guest_read(c, s, BASE + 511 * 8), 0x22);
	CHECK_EQ(mine[0], 0x11);
	CHECK_GE(dune_space_private(s, &list), 1);
	CHECK_EQ(list[0].from.v, page.v);
	CHECK_OK(dune_space_reset(s, 0));
	CHECK_EQ(guest_read(c, s, BASE), 0x11);
	dune_vm_free(s);
}

/* A copy-on-write page that the mapping owns is there for clones; the space itself may not write it. */
static void owned_cow(void)
{
	struct dune_space *t = guest_space(), *s;

	guest_map(t, BASE, 0xb0b, RO | DUNE_COW);
	CHECK_EQ(guest_read(c, t, BASE), 0xb0b);
	guest_write_fault(c, t, BASE, PF_DENIED_WRITE);
	CHECK_ERR(dune_vm_make_private(t, dune_gva(BASE)), -EFAULT);
	CHECK_OK(dune_vm_unmap(t, dune_gva(GUEST_STACK_TOP - 4096), 4096));
	CHECK_OK(dune_vm_unmap(t, dune_gva(GUEST_SHARED), 4096));
	CHECK_OK(dune_vm_unmap(t, dune_gva(GUEST_CODE), 4096));
	CHECK_OK(dune_vm_clone(t, &s));
	guest_furnish(s);
	guest_write(c, s, BASE, 1);
	CHECK_EQ(guest_read(c, s, BASE), 1);
	CHECK_OK(dune_space_reset(s, 0));
	CHECK_EQ(guest_read(c, s, BASE), 0xb0b);
	dune_vm_free(s);
	dune_vm_free(t);
}

static void leaks(struct dune_space *t, unsigned long rounds)
{
	struct dune_vm_stats first = { 0 }, st;

	for (unsigned long i = 0; i < rounds; i++) {
		struct dune_space *s;

		CHECK_OK(dune_vm_clone(t, &s));
		guest_furnish(s);
		CHECK_OK(dune_region_add(s, dune_gva(DEMAND), PAGES * 4096, RW));
		guest_write(c, s, BASE + i % PAGES * 4096, i);
		guest_write(c, s, DEMAND + i % PAGES * 4096, i);
		if (i % 3 == 0)
			CHECK_OK(dune_space_reset(s, i % 2));
		if (i % 5 == 0)
			CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), 1UL << 30));
		dune_vm_free(s);
		dune_vm_get_stats(guest_vm, &st);
		if (i < 16)
			first = st;
		CHECK_EQ(st.pages_used, first.pages_used);
		CHECK_EQ(st.table_pages, first.table_pages);
		CHECK_EQ(st.spaces, first.spaces);
	}
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(((uint64_t *)dune_page_host(guest_vm, originals[i]))[i], 0xc0de00 + i);
}

int main(void)
{
	struct dune_space *t;
	uint64_t used;

	guest_start(64UL << 20);
	c = guest_vcpu();
	for (unsigned i = 0; i < PAGES; i++)
		originals[i] = guest_page(0xc0de00 + i);
	t = template();
	NOTE("resets");
	resets(t, 0);
	used = guest_pages_used();
	resets(t, 0);
	resets(t, 1);
	resets(t, PAGES);
	resets(t, 2 * PAGES);
	CHECK_EQ(guest_pages_used(), used);
	NOTE("restores");
	restores(t);
	CHECK_EQ(guest_pages_used(), used);
	NOTE("sheds");
	sheds(t);
	CHECK_EQ(guest_pages_used(), used);
	NOTE("limits");
	limits(t);
	CHECK_EQ(guest_pages_used(), used);
	NOTE("an arena that is full");
	exhaustion();
	CHECK_EQ(guest_pages_used(), used);
	NOTE("regions");
	regions();
	CHECK_EQ(guest_pages_used(), used);
	NOTE("leaks");
	/* Where ring 0 is emulated and decides, a fault costs a millisecond. */
	leaks(t, test_scale(guest_info.placement == DUNE_PLACE_RING0 ? 500 : 1500));
	NOTE("copy-on-write of a slot");
	slot_cow();
	NOTE("copy-on-write of an owned page");
	owned_cow();
	dune_vm_free(t);
	guest_stop();
	return 0;
}
