/* SPDX-License-Identifier: MIT */
/*
 * What ring 3 has read or written is out of its reach once the host took it away, at every level of the tables:
 * on the vCPU that cached it, on another one, and back on the first.  World: host.
 */
#include "tests/guest.h"

#define OLD   0x01d01d01d01d01d0UL
#define NEW   0x4e34e34e34e34e34UL
#define GIB   (1UL << 30)
#define BASE  (64 * GIB)
#define PAGES 1024

static struct dune_vcpu *a, *b;
static dune_gpa_t old_pages, new_pages; /* PAGES + 512 each, aligned to 2 MiB */

/* What is mapped, the part of it that the host changes, where ring 3 looks inside that, and where outside it. */
static const struct shape {
	const char *name;
	struct {
		uint64_t at, len;
	} map[4];
	bool huge;
	uint64_t at, len;
	uint64_t probes[3];
	uint64_t outside[2];
} shapes[] = {
	{ "a page among others",
	  { { BASE, 3 * 4096 } },
	  false,
	  BASE + 4096,
	  4096,
	  { BASE + 4096 },
	  { BASE, BASE + 8192 } },
	{ "the only page of its tables",
	  { { BASE, 4096 }, { BASE + GIB, 4096 } },
	  false,
	  BASE,
	  4096,
	  { BASE },
	  { BASE + GIB } },
	{ "the only page of the root's entry",
	  { { BASE, 4096 }, { BASE + 512 * GIB, 4096 } },
	  false,
	  BASE,
	  4096,
	  { BASE },
	  { BASE + 512 * GIB } },
	{ "a large leaf",
	  { { BASE, 2 * GUEST_HUGE } },
	  true,
	  BASE,
	  GUEST_HUGE,
	  { BASE, BASE + 0x1ff000, BASE + 0x77000 },
	  { BASE + GUEST_HUGE } },
	{ "a page of a large leaf",
	  { { BASE, GUEST_HUGE } },
	  true,
	  BASE + 0x5000,
	  4096,
	  { BASE + 0x5000 },
	  { BASE + 0x4000, BASE + 0x6000 } },
	{ "a table full of small pages",
	  { { BASE, GUEST_HUGE }, { BASE + GUEST_HUGE, 4096 } },
	  false,
	  BASE,
	  GUEST_HUGE,
	  { BASE, BASE + 0x1ff000, BASE + 0x100000 },
	  { BASE + GUEST_HUGE } },
	{ "1 GiB with two tables in it",
	  { { BASE, 0x10000 }, { BASE + GIB - 0x10000, 0x10000 }, { BASE + GIB, 4096 } },
	  false,
	  BASE,
	  GIB,
	  { BASE, BASE + 0xf000, BASE + GIB - 4096 },
	  { BASE + GIB } },
	{ "a range across large and small",
	  { { BASE, GUEST_HUGE }, { BASE + GUEST_HUGE, 0x10000 } },
	  true,
	  BASE + 0x100000,
	  0x108000,
	  { BASE + 0x100000, BASE + 0x1ff000, BASE + 0x207000 },
	  { BASE + 0xff000, BASE + 0x208000 } },
};

enum change { UNMAP, READ_ONLY, NONE, REMAP, REMAP_ONCE_MORE, CHANGES };

static const char *const change_names[] = { "unmap", "read-only", "no rights", "remap",
					    "remap twice" };

/* The page that goes to `at`: for small leaves, one that is not congruent modulo 2 MiB. */
static dune_gpa_t page_for(const struct shape *sh, dune_gpa_t pages, uint64_t at)
{
	return dune_gpa(pages.v + at % (PAGES * DUNE_PAGE_SIZE) + (sh->huge ? 0 : DUNE_PAGE_SIZE));
}

static void map_all(struct dune_space *s, const struct shape *sh, dune_gpa_t pages, uint64_t from,
		    uint64_t to, unsigned prot)
{
	for (size_t i = 0; i < 4 && sh->map[i].len; i++) {
		uint64_t start = sh->map[i].at, end = start + sh->map[i].len;

		start = start < from ? from : start;
		end = end > to ? to : end;
		if (start < end)
			CHECK_OK(dune_vm_map(s, dune_gva(start), page_for(sh, pages, start),
					     end - start, prot));
	}
}

static void change(struct dune_space *s, const struct shape *sh, enum change what)
{
	dune_gva_t at = dune_gva(sh->at);

	switch (what) {
	case UNMAP:
		CHECK_OK(dune_vm_unmap(s, at, sh->len));
		break;
	case READ_ONLY:
		CHECK_OK(dune_vm_mprotect(s, at, sh->len, RO));
		break;
	case NONE:
		CHECK_OK(dune_vm_mprotect(s, at, sh->len, 0));
		break;
	case REMAP_ONCE_MORE:
		CHECK_OK(dune_vm_unmap(s, at, sh->len));
		map_all(s, sh, old_pages, sh->at, sh->at + sh->len, RO);
		/* fall through */
	case REMAP:
		CHECK_OK(dune_vm_unmap(s, at, sh->len));
		map_all(s, sh, new_pages, sh->at, sh->at + sh->len, RW);
		break;
	case CHANGES:
		break;
	}
}

static void cache(struct dune_vcpu *c, struct dune_space *s, const struct shape *sh)
{
	for (size_t i = 0; i < 3 && sh->probes[i]; i++) {
		CHECK_EQ(guest_read(c, s, sh->probes[i]), OLD);
		guest_write(c, s, sh->probes[i], OLD);
	}
	for (size_t i = 0; i < 2 && sh->outside[i]; i++)
		guest_write(c, s, sh->outside[i], OLD);
}

static void look(struct dune_vcpu *c, struct dune_space *s, const struct shape *sh,
		 enum change what)
{
	for (size_t i = 0; i < 3 && sh->probes[i]; i++) {
		uint64_t at = sh->probes[i];

		switch (what) {
		case UNMAP:
		case NONE:
			guest_read_fault(c, s, at, PF_ABSENT_READ);
			guest_write_fault(c, s, at, PF_ABSENT_WRITE);
			break;
		case READ_ONLY:
			guest_write_fault(c, s, at, PF_DENIED_WRITE);
			CHECK_EQ(guest_read(c, s, at), OLD);
			break;
		default:
			CHECK_EQ(guest_read(c, s, at), NEW);
			guest_write(c, s, at, NEW);
		}
		/* The twin: beside it everything is as before. */
		for (size_t k = 0; k < 2 && sh->outside[k]; k++) {
			CHECK_EQ(guest_read(c, s, sh->outside[k]), OLD);
			guest_write(c, s, sh->outside[k], OLD);
		}
	}
}

/* Granted again, it works again. */
static void restore(struct dune_space *s, const struct shape *sh, enum change what)
{
	if (what == UNMAP)
		map_all(s, sh, old_pages, sh->at, sh->at + sh->len, RW);
	else
		CHECK_OK(dune_vm_mprotect(s, dune_gva(sh->at), sh->len, RW));
}

static void one(const struct shape *sh, enum change what, bool two, bool sync)
{
	struct dune_space *s = guest_space();

	guest_fill(old_pages, PAGES + 512, OLD);
	guest_fill(new_pages, PAGES + 512, NEW);
	map_all(s, sh, old_pages, 0, DUNE_USER_END, RW);
	cache(a, s, sh);
	if (two)
		cache(b, s, sh);
	change(s, sh, what);
	if (sync)
		CHECK_OK(dune_vm_sync(s));
	look(two ? b : a, s, sh, what);
	look(a, s, sh, what);
	if (what == UNMAP || what == READ_ONLY || what == NONE) {
		restore(s, sh, what);
		if (sync)
			CHECK_OK(dune_vm_sync(s));
		cache(two ? b : a, s, sh);
		cache(a, s, sh);
	}
	dune_vm_free(s);
}

/* ---- copy-on-write -------------------------------------------------------------------------------------- */

/* Both vCPUs cached the shared page; the first write, on one of them, must show on the other. */
static void cow_moves(bool by_host)
{
	uint64_t at = BASE + 0x3000, beside = BASE + 0x4000;
	struct dune_space *t, *s, *other;
	dune_gpa_t page = guest_page(OLD), second = guest_page(OLD);
	volatile uint64_t *template = dune_page_host(guest_vm, page);
	const struct dune_private *list;

	CHECK_OK(dune_space_create(guest_vm, &t));
	CHECK_OK(dune_vm_map(t, dune_gva(at), page, DUNE_PAGE_SIZE, RO | DUNE_COW));
	CHECK_OK(dune_vm_map(t, dune_gva(beside), second, DUNE_PAGE_SIZE, RO | DUNE_COW));
	CHECK_OK(dune_vm_clone(t, &s));
	CHECK_OK(dune_vm_clone(t, &other));
	guest_furnish(s);
	guest_furnish(other);
	CHECK_EQ(guest_read(a, s, at), OLD);
	CHECK_EQ(guest_read(a, other, at), OLD);
	CHECK_EQ(guest_read(b, s, at), OLD);
	CHECK_EQ(guest_read(b, other, at), OLD);
	if (by_host) {
		CHECK_OK(dune_vm_make_private(s, dune_gva(at)));
		CHECK_OK(dune_vm_make_private(s, dune_gva(at)));
		CHECK_EQ(dune_space_private(s, &list), 1);
		*(volatile uint64_t *)dune_page_host(guest_vm, list->page) = NEW;
	} else {
		guest_write(b, s, at, NEW);
	}
	CHECK_EQ(guest_read(a, s, at), NEW);
	CHECK_EQ(guest_read(b, s, at), NEW);
	CHECK_EQ(guest_read(a, s, at + 8), OLD);
	CHECK_EQ(template[0], OLD);
	CHECK_EQ(guest_read(a, other, at), OLD);
	CHECK_EQ(guest_read(b, other, at), OLD);
	CHECK_EQ(dune_space_private(s, &list), 1);
	CHECK_EQ(list[0].at.v, at);
	CHECK_EQ(list[0].from.v, page.v);
	CHECK_EQ(dune_space_private(other, &list), 0);
	/* And the way back: reset drops neither's rights, and a reset with a cap shows the template again. */
	guest_write(b, s, beside, NEW);
	CHECK_EQ(guest_read(a, s, beside), NEW);
	CHECK_OK(dune_space_reset(s, 1));
	CHECK_EQ(guest_read(a, s, beside), OLD);
	CHECK_EQ(guest_read(b, s, beside), OLD);
	CHECK_EQ(guest_read(a, s, at), OLD);
	guest_write(a, s, beside, NEW);
	CHECK_EQ(*(volatile uint64_t *)dune_page_host(guest_vm, second), OLD);
	CHECK_EQ(guest_read(b, s, beside), NEW);
	CHECK_EQ(guest_read(b, other, beside), OLD);
	dune_vm_free(s);
	dune_vm_free(other);
	dune_vm_free(t);
	dune_page_put(guest_vm, page);
	dune_page_put(guest_vm, second);
}

/* A private page that the host protects is refused, not copied again; granted again, it is the same page. */
static void cow_protected(void)
{
	uint64_t at = BASE + 0x3000;
	dune_gpa_t page = guest_page(OLD);
	struct dune_space *s = guest_space();

	CHECK_OK(dune_vm_map(s, dune_gva(at), page, DUNE_PAGE_SIZE, RO | DUNE_COW));
	CHECK_EQ(guest_read(a, s, at), OLD);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, RO));
	guest_write_fault(a, s, at, PF_DENIED_WRITE);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, 0));
	guest_write_fault(a, s, at, PF_ABSENT_WRITE);
	guest_read_fault(a, s, at, PF_ABSENT_READ);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, RW));
	CHECK_EQ(guest_read(a, s, at), OLD);
	guest_write(b, s, at, NEW);
	CHECK_EQ(guest_read(a, s, at), NEW);
	CHECK_EQ(*(volatile uint64_t *)dune_page_host(guest_vm, page), OLD);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, RO));
	guest_write_fault(a, s, at, PF_DENIED_WRITE);
	guest_write_fault(b, s, at, PF_DENIED_WRITE);
	CHECK_OK(dune_vm_mprotect(s, dune_gva(at), DUNE_PAGE_SIZE, RW));
	guest_write(a, s, at, NEW);
	CHECK_EQ(*(volatile uint64_t *)dune_page_host(guest_vm, page), OLD);
	dune_vm_free(s);
	dune_page_put(guest_vm, page);
}

/* An owned page is nobody else's before ring 0 has taken it away, and comes back then. */
static void parked(void)
{
	struct dune_space *s = guest_space();
	dune_gpa_t page = guest_map(s, BASE, OLD, RW), got[64];
	bool again = false;

	guest_write(a, s, BASE, OLD);
	CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), DUNE_PAGE_SIZE));
	for (int i = 0; i < 64; i++) {
		got[i] = guest_page(0);
		CHECK_NE(got[i].v, page.v);
	}
	for (int i = 0; i < 64; i++)
		dune_page_put(guest_vm, got[i]);
	CHECK_OK(dune_vm_sync(s));
	for (int i = 0; i < 64; i++) {
		got[i] = guest_page(0);
		again |= got[i].v == page.v;
	}
	CHECK(again);
	for (int i = 0; i < 64; i++)
		dune_page_put(guest_vm, got[i]);
	guest_read_fault(a, s, BASE, PF_ABSENT_READ);
	dune_vm_free(s);
}

int main(void)
{
	guest_start(64UL << 20);
	a = guest_vcpu();
	b = guest_vcpu();
	CHECK_OK(dune_pages_alloc(guest_vm, PAGES + 512, &old_pages));
	CHECK_OK(dune_pages_alloc(guest_vm, PAGES + 512, &new_pages));
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		for (enum change what = 0; what < CHANGES; what++) {
			NOTE("%s: %s", shapes[i].name, change_names[what]);
			for (int how = 0; how < 4; how++)
				one(&shapes[i], what, how & 1, how & 2);
		}
	}
	NOTE("copy-on-write");
	cow_moves(false);
	cow_moves(true);
	cow_protected();
	NOTE("parked pages");
	parked();
	guest_stop();
	return 0;
}
