// SPDX-License-Identifier: MIT
/*
 * A compartment's memory is reached through its own page table and rights, and a host write never
 * reaches the image. World: host.
 */
#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

static unsigned char page_of_host[2 * PAGE] __attribute__((aligned(4096)));
static unsigned char buf[4 * PAGE];
static struct uspans sp;

static struct uaccess *ua(void)
{
	return &fake_ctx.mem;
}

static int in(uint64_t at, size_t len)
{
	return uaccess_copy_in(ua(), buf, dune_gva(at), len);
}

static int out(uint64_t at, size_t len)
{
	return uaccess_copy_out(ua(), dune_gva(at), buf, len);
}

static int spans(uint64_t at, size_t len, bool write)
{
	int r;

	uspans_init(&sp);
	r = uaccess_spans(ua(), &sp, dune_gva(at), len, write);
	uspans_put(ua(), &sp);
	CHECK_EQ(fake_extra_refs(), 0);
	return r;
}

static void ranges(void)
{
	const uint64_t end = FAKE_DATA + FAKE_DATA_PAGES * PAGE;
	static const uint64_t bad[][2] = {
		{ 0, 1 },
		{ FAKE_NOTHING, 1 },
		{ FAKE_DATA - 1, 2 },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX - 4, 5 },
		{ FAKE_DATA, UINT64_MAX },
		{ FAKE_DATA, UINT64_MAX - FAKE_DATA + 1 },
		{ DUNE_USER_END, 1 },
		{ DUNE_USER_END - 1, 2 },
		{ 0xffff800000000000UL, 8 },
		{ 0x800000000000UL, 8 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(in(bad[i][0], bad[i][1]), -EFAULT);
		CHECK_ERR(out(bad[i][0], bad[i][1]), -EFAULT);
		CHECK_ERR(spans(bad[i][0], bad[i][1], false), -EFAULT);
		CHECK_ERR(spans(bad[i][0], bad[i][1], true), -EFAULT);
		CHECK_ERR(uaccess_prepare_out(ua(), dune_gva(bad[i][0]), bad[i][1]), -EFAULT);
	}
	/* The last byte before a hole, and one more. */
	CHECK_OK(in(end - 1, 1));
	CHECK_ERR(in(end - 1, 2), -EFAULT);
	CHECK_OK(out(end - 1, 1));
	CHECK_ERR(out(end - 1, 2), -EFAULT);
	/* Across pages that are not neighbours in the arena. */
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (unsigned char)(i * 7);
	CHECK_OK(out(FAKE_DATA + 100, 3 * PAGE));
	memset(buf, 0, sizeof(buf));
	CHECK_OK(in(FAKE_DATA + 100, 3 * PAGE));
	for (unsigned i = 0; i < 3 * PAGE; i++)
		CHECK_EQ(buf[i], (unsigned char)(i * 7));
}

static void rights(void)
{
	CHECK_OK(in(FAKE_RO, PAGE));
	CHECK_EQ(buf[7], 0x11);
	memset(buf, 0x77, sizeof(buf));
	CHECK_ERR(out(FAKE_RO, 1), -EFAULT);
	CHECK_ERR(spans(FAKE_RO, 8, true), -EFAULT);
	CHECK_EQ(spans(FAKE_RO, 8, false), 1);
	CHECK_EQ(*fake_host(FAKE_RO), 0x11);
	fake_map(FAKE_NOTHING + 64 * PAGE, DUNE_WRITE,
		 0x22); /* there is no such thing, but if there were */
	CHECK_ERR(in(FAKE_NOTHING + 64 * PAGE, 1), -EFAULT);
}

static void copy_on_write(void)
{
	fake_edits();
	CHECK_OK(in(FAKE_COW, PAGE));
	CHECK_EQ(spans(FAKE_COW, PAGE, false), 1);
	CHECK_EQ(fake_edits(), 0); /* reading makes no page */
	memset(buf, 0x77, sizeof(buf));
	CHECK_OK(out(FAKE_COW + PAGE - 2, 4)); /* both pages */
	CHECK_EQ(fake_edits(), 2);
	CHECK_EQ(*fake_host(FAKE_COW + PAGE - 2), 0x77);
	CHECK_EQ(*fake_host(FAKE_COW + PAGE + 1), 0x77);
	CHECK_EQ(*fake_host(FAKE_COW + PAGE + 2), 0xcc);
	for (unsigned i = 0; i < PAGE; i++) {
		CHECK_EQ(*fake_template(FAKE_COW + i), 0xcc);
		CHECK_EQ(*fake_template(FAKE_COW + PAGE + i), 0xcc);
	}
	/* The same by way of spans. */
	fake_reset();
	uspans_init(&sp);
	CHECK_EQ(uaccess_spans(ua(), &sp, dune_gva(FAKE_COW), PAGE, true), 1);
	CHECK_EQ(sp.n, 1);
	CHECK_EQ(sp.iov[0].iov_len, PAGE);
	CHECK(sp.iov[0].iov_base == fake_host(FAKE_COW));
	CHECK(sp.iov[0].iov_base != fake_template(FAKE_COW));
	CHECK_EQ(fake_extra_refs(), 1);
	uspans_put(ua(), &sp);
	CHECK_EQ(fake_extra_refs(), 0);
	/* No page to be had. */
	fake_reset();
	fake_room(0);
	CHECK(!ua()->nomem);
	CHECK_ERR(out(FAKE_COW, 1), -ENOMEM);
	CHECK(ua()->nomem);
	ua()->nomem = false;
	CHECK_EQ(*fake_template(FAKE_COW), 0xcc);
	fake_room(1);
	CHECK_OK(out(FAKE_COW, 1));
	fake_reset();
}

static void demand(void)
{
	memset(buf, 0x77, sizeof(buf));
	fake_edits();
	CHECK_OK(in(FAKE_DEMAND + 5, 2 * PAGE));
	for (unsigned i = 0; i < 2 * PAGE; i++)
		CHECK_EQ(buf[i], 0);
	CHECK_OK(in(FAKE_DEMAND_RO + 5, PAGE));
	CHECK_EQ(fake_edits(), 0);
	CHECK_ERR(out(FAKE_DEMAND_RO, 1), -EFAULT);
	buf[0] = 9;
	CHECK_OK(out(FAKE_DEMAND + 3, 1));
	CHECK_EQ(fake_edits(), 1);
	CHECK_EQ(*fake_host(FAKE_DEMAND + 3), 9);
	CHECK_ERR(in(FAKE_DEMAND + 16 * PAGE - 1, 2), -EFAULT);
	CHECK_OK(in(FAKE_DEMAND + 16 * PAGE - 1, 1));
	/* A region without access. */
	CHECK_OK(dune_region_add(ua()->space, dune_gva(FAKE_AREA), PAGE, 0));
	CHECK_ERR(in(FAKE_AREA, 1), -EFAULT);
	CHECK_ERR(out(FAKE_AREA, 1), -EFAULT);
	/* The page of zeros is nobody's to write. */
	uspans_init(&sp);
	CHECK_EQ(uaccess_spans(ua(), &sp, dune_gva(FAKE_DEMAND_RO), 2 * PAGE, false), 1);
	CHECK_EQ(sp.bytes, 2 * PAGE);
	uspans_put(ua(), &sp);
}

static void slots(void)
{
	memset(page_of_host, 0x5a, sizeof(page_of_host));
	CHECK_ERR(in((uintptr_t)page_of_host, 4),
		  -EFAULT); /* a host address is nothing without a leaf */
	fake_map_slot(page_of_host, DUNE_READ, true);
	CHECK_OK(in((uintptr_t)page_of_host, PAGE));
	CHECK_EQ(buf[0], 0x5a);
	CHECK_ERR(in((uintptr_t)page_of_host, PAGE + 1), -EFAULT);
	CHECK_ERR(out((uintptr_t)page_of_host, 1), -EFAULT);
	CHECK_ERR(spans((uintptr_t)page_of_host, 1, true), -EFAULT);
	CHECK_EQ(spans((uintptr_t)page_of_host, 1, false), 1);
	/* A window that may be written, by those whose leaf says so; and one that may not, whatever the leaf says. */
	fake_map_slot(page_of_host, DUNE_READ, false);
	CHECK_ERR(out((uintptr_t)page_of_host, 1), -EFAULT);
	fake_map_slot(page_of_host, DUNE_READ | DUNE_WRITE, true);
	CHECK_ERR(out((uintptr_t)page_of_host, 1), -EFAULT);
	CHECK_ERR(spans((uintptr_t)page_of_host, 1, true), -EFAULT);
	CHECK_EQ(page_of_host[0], 0x5a);
	fake_map_slot(page_of_host, DUNE_READ | DUNE_WRITE, false);
	memset(buf, 0x77, sizeof(buf));
	CHECK_OK(out((uintptr_t)page_of_host + 1, 3));
	CHECK_EQ(page_of_host[0], 0x5a);
	CHECK_EQ(page_of_host[3], 0x77);
	CHECK_EQ(page_of_host[4], 0x5a);
	CHECK_EQ(spans((uintptr_t)page_of_host, PAGE, true), 1);
}

static void strings(void)
{
	const uint64_t last = FAKE_DATA + FAKE_DATA_PAGES * PAGE;
	char s[64];

	memset(buf, 'x', sizeof(buf));
	CHECK_OK(out(last - PAGE, PAGE));
	CHECK_ERR(uaccess_str(ua(), s, dune_gva(last - 10), sizeof(s)),
		  -EFAULT); /* no NUL before the hole */
	*fake_host(last - 1) = 0;
	CHECK_EQ(uaccess_str(ua(), s, dune_gva(last - 10), sizeof(s)), 9);
	CHECK_STR(s, "xxxxxxxxx");
	CHECK_EQ(uaccess_str(ua(), s, dune_gva(last - 1), sizeof(s)), 0);
	CHECK_EQ(uaccess_str(ua(), s, dune_gva(last - 64), sizeof(s)), 63);
	CHECK_ERR(uaccess_str(ua(), s, dune_gva(last - 65), sizeof(s)), -ENAMETOOLONG);
	CHECK_ERR(uaccess_str(ua(), s, dune_gva(0), sizeof(s)), -EFAULT);
	CHECK_ERR(uaccess_str(ua(), s, dune_gva(DUNE_USER_END), sizeof(s)), -EFAULT);
	CHECK_ERR(uaccess_str(ua(), s, dune_gva(UINT64_MAX), sizeof(s)), -EFAULT);
	CHECK_EQ(uaccess_str(ua(), s, dune_gva(FAKE_DEMAND), sizeof(s)), 0);
}

static void span_tables(void)
{
	/* The fake's pages are neighbours: one range. */
	uspans_init(&sp);
	CHECK_EQ(uaccess_spans(ua(), &sp, dune_gva(FAKE_DATA + 8), 4 * PAGE, true), 1);
	CHECK_EQ(sp.n, 1);
	CHECK_EQ(sp.pages, 5);
	CHECK_EQ(sp.bytes, 4 * PAGE);
	/* The same page again needs no second reference, and continues nothing. */
	CHECK_EQ(uaccess_spans(ua(), &sp, dune_gva(FAKE_DATA + 4 * PAGE), 4, false), 1);
	CHECK_EQ(sp.n, 2);
	CHECK_EQ(sp.pages, 5);
	uspans_put(ua(), &sp);
	/* More than fits: a beginning. */
	uspans_init(&sp);
	CHECK_EQ(uaccess_spans(ua(), &sp, dune_gva(FAKE_DATA), FAKE_DATA_PAGES * PAGE, true), 0);
	CHECK_EQ(sp.bytes, UACCESS_PAGES * PAGE);
	CHECK_EQ(uaccess_spans(ua(), &sp, dune_gva(FAKE_DATA), 1, true), 0);
	uspans_put(ua(), &sp);
	CHECK_EQ(fake_extra_refs(), 0);
	/* A failure in the middle keeps what was referenced for uspans_put(). */
	uspans_init(&sp);
	CHECK_ERR(uaccess_spans(ua(), &sp, dune_gva(FAKE_DATA + (FAKE_DATA_PAGES - 1) * PAGE),
				2 * PAGE, true),
		  -EFAULT);
	CHECK_EQ(fake_extra_refs(), 1);
	uspans_put(ua(), &sp);
	CHECK_EQ(spans(FAKE_DATA, 0, true), 1);
	CHECK_EQ(spans(FAKE_NOTHING, 0, true), 1);
}

int main(void)
{
	fake_reset();
	fake_begin(NULL);
	ranges();
	rights();
	copy_on_write();
	demand();
	slots();
	strings();
	span_tables();
	fake_end();
	sys_ctx_fini(&fake_ctx);
	return TEST_PASSED;
}
