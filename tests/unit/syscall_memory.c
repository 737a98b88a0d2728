// SPDX-License-Identifier: MIT
/*
 * A compartment's memory calls: in its private area, zeroed, never executable, and nowhere else.
 * World: host.
 */
#include <asm/unistd.h>
#include <sys/mman.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static long map(uint64_t at, uint64_t len, int prot, int flags)
{
	return CALL(__NR_mmap, at, len, prot, flags, -1, 0);
}

static bool writable(uint64_t at)
{
	char c = 1;

	return uaccess_copy_out(&fake_ctx.mem, dune_gva(at), &c, 1) == 0;
}

static int byte(uint64_t at)
{
	unsigned char c;

	return uaccess_copy_in(&fake_ctx.mem, &c, dune_gva(at), 1) ? -1 : c;
}

static void fresh(void)
{
	fake_reset();
	fake_begin(NULL);
}

static void mapping(void)
{
	fresh();
	CHECK_EQ(map(0, 3 * PAGE, RW, ANON), FAKE_AREA);
	CHECK_EQ(map(0, 1, RW, ANON | MAP_STACK | MAP_NORESERVE), FAKE_AREA + 3 * PAGE);
	CHECK_EQ(map(FAKE_NOTHING, PAGE, RW, ANON), FAKE_AREA + 4 * PAGE); /* a hint is a hint */
	CHECK_OK(CALL(__NR_munmap, FAKE_AREA + PAGE, PAGE));
	CHECK_EQ(byte(FAKE_AREA + PAGE), -1);
	CHECK_EQ(map(0, 2 * PAGE, RW, ANON), FAKE_AREA + 5 * PAGE); /* does not fit the hole */
	CHECK_EQ(map(0, PAGE, RW, ANON), FAKE_AREA + PAGE);	    /* first fit */
	CHECK(writable(FAKE_AREA));
	/* To the brim, and one more. */
	CHECK_EQ(map(0, 57 * PAGE, RW, ANON), FAKE_AREA + 7 * PAGE);
	CHECK_ERR(map(0, PAGE, RW, ANON), -ENOMEM);
	CHECK_OK(CALL(__NR_munmap, FAKE_AREA, 64 * PAGE));
	CHECK_ERR(map(0, 65 * PAGE, RW, ANON), -ENOMEM);
	CHECK_EQ(map(0, 64 * PAGE, RW, ANON), FAKE_AREA);
	CHECK_OK(CALL(__NR_munmap, FAKE_AREA, 64 * PAGE - 1)); /* rounded up */
	CHECK_ERR(map(0, 0, RW, ANON), -EINVAL);
	CHECK_ERR(map(0, UINT64_MAX, RW, ANON), -ENOMEM);
	CHECK_ERR(map(0, UINT64_MAX - PAGE, RW, ANON), -ENOMEM);
	CHECK_ERR(map(0, 1UL << 46, RW, ANON | MAP_NORESERVE), -ENOMEM);
}

static void refused(void)
{
	fresh();
	CHECK_ERR(map(0, PAGE, PROT_EXEC, ANON), -EACCES);
	CHECK_ERR(map(0, PAGE, RW | PROT_EXEC, ANON), -EACCES);
	CHECK_ERR(map(0, PAGE, RW | 0x100, ANON), -EINVAL);
	CHECK_ERR(map(0, PAGE, RW, MAP_PRIVATE), -ENODEV);
	CHECK_ERR(CALL(__NR_mmap, 0, PAGE, PROT_READ, MAP_SHARED, 0, 0), -ENODEV);
	CHECK_ERR(map(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS), -EINVAL);
	CHECK_ERR(map(0, PAGE, RW, ANON | MAP_HUGETLB), -EINVAL);
	CHECK_ERR(map(0, PAGE, RW, ANON | MAP_GROWSDOWN), -EINVAL);
	CHECK_ERR(map(0, PAGE, RW, ANON | MAP_LOCKED), -EINVAL);
	CHECK_ERR(map(0, PAGE, RW, MAP_ANONYMOUS), -EINVAL);
}

static void fixed(void)
{
	static const uint64_t elsewhere[] = { FAKE_DATA,
					      FAKE_COW,
					      FAKE_RO,
					      FAKE_DEMAND,
					      0,
					      FAKE_AREA - PAGE,
					      FAKE_AREA_END,
					      FAKE_AREA_END - PAGE,
					      0xffff800000000000UL,
					      UINT64_MAX - PAGE + 1 };

	fresh();
	for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		CHECK_MSG(map(elsewhere[i], 2 * PAGE, RW, ANON | MAP_FIXED) == -ENOMEM, "0x%lx",
			  elsewhere[i]);
		CHECK_MSG(map(elsewhere[i], 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE) == -ENOMEM,
			  "0x%lx", elsewhere[i]);
	}
	CHECK_EQ(*fake_host(FAKE_RO), 0x11);
	CHECK_ERR(map(FAKE_AREA + 8, PAGE, RW, ANON | MAP_FIXED), -EINVAL);
	CHECK_EQ(map(FAKE_AREA + 8 * PAGE, 4 * PAGE, RW, ANON | MAP_FIXED), FAKE_AREA + 8 * PAGE);
	CHECK(writable(FAKE_AREA + 9 * PAGE));
	CHECK_EQ(byte(FAKE_AREA + 9 * PAGE), 1);
	CHECK_ERR(map(FAKE_AREA + 7 * PAGE, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE), -EEXIST);
	CHECK_EQ(map(FAKE_AREA + 7 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE),
		 FAKE_AREA + 7 * PAGE);
	CHECK_EQ(map(FAKE_AREA + 9 * PAGE, PAGE, RW, ANON | MAP_FIXED), FAKE_AREA + 9 * PAGE);
	CHECK_EQ(byte(FAKE_AREA + 9 * PAGE), 0); /* new memory is zeros */
	CHECK_EQ(map(FAKE_AREA + 60 * PAGE, 4 * PAGE, RW, ANON | MAP_FIXED), FAKE_AREA + 60 * PAGE);
}

/* What fails changes nothing: neither a new mapping over an old one nor advice. */
static void no_room(void)
{
	fresh();
	CHECK_EQ(map(0, 3 * PAGE, RW, ANON), FAKE_AREA);
	for (unsigned i = 0; i < 3; i++)
		CHECK(writable(FAKE_AREA + i * PAGE));
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA + 2 * PAGE, PAGE, PROT_NONE));
	fake_no_regions(true);
	CHECK_ERR(map(FAKE_AREA + PAGE, PAGE, PROT_READ, ANON | MAP_FIXED), -ENOMEM);
	CHECK_EQ(byte(FAKE_AREA + PAGE), 1);
	CHECK(writable(FAKE_AREA + PAGE));
	CHECK_OK(CALL(__NR_madvise, FAKE_AREA + 2 * PAGE, PAGE, MADV_DONTNEED));
	fake_no_regions(false);
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA + 2 * PAGE, PAGE, RW));
	CHECK_EQ(byte(FAKE_AREA + 2 * PAGE), 0);
	/* Over what has no access, and giving none: zeros all the same. */
	CHECK_EQ(map(FAKE_AREA, 2 * PAGE, PROT_NONE, ANON | MAP_FIXED), FAKE_AREA);
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA, PAGE, RW));
	CHECK_EQ(byte(FAKE_AREA), 0);
	CHECK_EQ(map(FAKE_AREA + PAGE, PAGE, RW, ANON | MAP_FIXED), FAKE_AREA + PAGE);
	CHECK_EQ(byte(FAKE_AREA + PAGE), 0);
}

static void protection(void)
{
	fresh();
	CHECK_EQ(map(0, 8 * PAGE, PROT_NONE, ANON | MAP_NORESERVE), FAKE_AREA);
	CHECK_EQ(byte(FAKE_AREA), -1);
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA + PAGE, 2 * PAGE, RW));
	CHECK(writable(FAKE_AREA + PAGE));
	CHECK(!writable(FAKE_AREA));
	CHECK(!writable(FAKE_AREA + 3 * PAGE));
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA, 4 * PAGE, PROT_READ)); /* over three regions */
	CHECK(!writable(FAKE_AREA + PAGE));
	CHECK_EQ(byte(FAKE_AREA + PAGE), 1);
	CHECK_EQ(byte(FAKE_AREA), 0);
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA, PAGE, PROT_WRITE));
	CHECK(writable(FAKE_AREA));
	CHECK_EQ(byte(FAKE_AREA), 1);
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA, 0, PROT_READ));
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA, PAGE, PROT_EXEC), -EACCES);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA, PAGE, PROT_READ | PROT_EXEC), -EACCES);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA, PAGE, PROT_GROWSDOWN), -EINVAL);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA + 1, PAGE, RW), -EINVAL);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA, 9 * PAGE, RW), -ENOMEM); /* a hole */
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA, UINT64_MAX, RW), -ENOMEM);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_AREA, UINT64_MAX - FAKE_AREA, RW), -EACCES);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_RO, PAGE, RW), -EACCES);
	CHECK_ERR(CALL(__NR_mprotect, FAKE_COW, PAGE, RW), -EACCES);
	CHECK(!writable(FAKE_RO));
	CHECK_ERR(CALL(__NR_munmap, FAKE_DATA, PAGE), -EINVAL);
	CHECK_ERR(CALL(__NR_munmap, FAKE_AREA - PAGE, 2 * PAGE), -EINVAL);
	CHECK_ERR(CALL(__NR_munmap, FAKE_AREA_END - PAGE, 2 * PAGE), -EINVAL);
	CHECK_ERR(CALL(__NR_munmap, FAKE_AREA, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_munmap, FAKE_AREA + 1, PAGE), -EINVAL);
	CHECK_ERR(CALL(__NR_munmap, FAKE_AREA, UINT64_MAX - FAKE_AREA), -EINVAL);
	CHECK_EQ(byte(FAKE_AREA), 1);
	CHECK_OK(CALL(__NR_munmap, FAKE_AREA + 20 * PAGE, PAGE)); /* nothing there: fine, as ever */
}

static void moving(void)
{
	fresh();
	CHECK_EQ(map(0, 2 * PAGE, RW, ANON), FAKE_AREA);
	CHECK(writable(FAKE_AREA + PAGE));
	CHECK_EQ(CALL(__NR_mremap, FAKE_AREA, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0), FAKE_AREA);
	CHECK(writable(FAKE_AREA + 3 * PAGE));
	CHECK_EQ(byte(FAKE_AREA + PAGE), 1);
	CHECK_EQ(CALL(__NR_mremap, FAKE_AREA, 4 * PAGE, PAGE, 0, 0), FAKE_AREA);
	CHECK_EQ(byte(FAKE_AREA + PAGE), -1);
	CHECK_EQ(map(0, PAGE, RW, ANON), FAKE_AREA + PAGE);
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0),
		  -ENOMEM); /* the neighbour */
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       FAKE_DATA),
		  -EINVAL);
	CHECK_ERR(CALL(__NR_mremap, FAKE_DATA, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA + 8 * PAGE, PAGE, 2 * PAGE, 0, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA, 0, PAGE, MREMAP_MAYMOVE, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA, PAGE, 0, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA, PAGE, UINT64_MAX, 0, 0), -ENOMEM);
	CHECK_ERR(CALL(__NR_mremap, FAKE_AREA, UINT64_MAX, PAGE, 0, 0), -EINVAL);
	CHECK_EQ(CALL(__NR_brk, 0), 0x7000000);
	CHECK_EQ(CALL(__NR_brk, 0x7100000), 0x7000000);
	CHECK_EQ(CALL(__NR_brk, UINT64_MAX), 0x7000000);
}

static void advice(void)
{
	fresh();
	CHECK_EQ(map(0, 4 * PAGE, RW, ANON), FAKE_AREA);
	for (unsigned i = 0; i < 4; i++)
		CHECK(writable(FAKE_AREA + i * PAGE));
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA + 2 * PAGE, PAGE, PROT_READ));
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA + 3 * PAGE, PAGE, PROT_NONE));
	CHECK_OK(CALL(__NR_madvise, FAKE_AREA + PAGE, 3 * PAGE, MADV_DONTNEED));
	CHECK_EQ(byte(FAKE_AREA), 1);
	CHECK_EQ(byte(FAKE_AREA + PAGE), 0);
	CHECK_EQ(byte(FAKE_AREA + 2 * PAGE), 0);
	CHECK(!writable(FAKE_AREA + 2 * PAGE));
	CHECK_EQ(byte(FAKE_AREA + 3 * PAGE), -1);
	CHECK_OK(CALL(__NR_mprotect, FAKE_AREA + 3 * PAGE, PAGE, RW));
	CHECK_EQ(byte(FAKE_AREA + 3 * PAGE), 0); /* also what had no access meanwhile */
	CHECK_ERR(CALL(__NR_madvise, FAKE_AREA, 5 * PAGE, MADV_DONTNEED), -ENOMEM);
	CHECK_ERR(CALL(__NR_madvise, FAKE_DATA, PAGE, MADV_DONTNEED), -EINVAL);
	CHECK_ERR(CALL(__NR_madvise, FAKE_COW, PAGE, MADV_DONTNEED), -EINVAL);
	CHECK_ERR(CALL(__NR_madvise, FAKE_AREA + 1, PAGE, MADV_DONTNEED), -EINVAL);
	CHECK_ERR(CALL(__NR_madvise, FAKE_AREA, UINT64_MAX, MADV_DONTNEED), -EINVAL);
	CHECK_OK(CALL(__NR_madvise, FAKE_AREA, 0, MADV_DONTNEED));
	CHECK_OK(CALL(__NR_madvise, FAKE_DATA, PAGE, MADV_HUGEPAGE));
	CHECK_OK(CALL(__NR_madvise, FAKE_AREA, PAGE, MADV_FREE));
	CHECK_ERR(CALL(__NR_madvise, FAKE_AREA, PAGE, 100 /* MADV_HWPOISON */), -EINVAL);
	CHECK_ERR(CALL(__NR_madvise, FAKE_AREA, PAGE, MADV_REMOVE), -EINVAL);
	CHECK_ERR(CALL(__NR_madvise, FAKE_AREA, PAGE, -1), -EINVAL);
	for (unsigned i = 0; i < PAGE; i += 64)
		CHECK_EQ(*fake_template(FAKE_COW + i), 0xcc);
}

/* Thousands of random calls: what is mapped stays in the area, and what is new is zeros. */
static void random_calls(void)
{
	unsigned seed = 1;

	fresh();
	for (int i = 0; i < 5000; i++) {
		uint64_t at = FAKE_AREA - 2 * PAGE + (uint64_t)(rand_r(&seed) % 68) * PAGE;
		uint64_t len = (uint64_t)(rand_r(&seed) % 10) * PAGE;
		int prot = rand_r(&seed) % 4, op = rand_r(&seed) % 6;
		long r;

		if (op < 2) {
			r = map(op ? at : 0, len, RW, ANON | (op ? MAP_FIXED : 0));
			for (uint64_t k = 0; r > 0 && k < len; k += PAGE) {
				CHECK(r >= (long)FAKE_AREA && (uint64_t)r + len <= FAKE_AREA_END);
				CHECK_EQ(byte((uint64_t)r + k), 0);
				CHECK(writable((uint64_t)r + k));
			}
		} else if (op == 2) {
			r = CALL(__NR_munmap, at, len);
		} else if (op == 3) {
			r = CALL(__NR_mprotect, at, len, prot);
		} else if (op == 4) {
			r = CALL(__NR_madvise, at, len, MADV_DONTNEED);
		} else {
			r = CALL(__NR_mremap, at, PAGE, len, 0, 0);
		}
		CHECK(r == -EINVAL || r == -ENOMEM || r == -EACCES || r == -EFAULT || r >= 0);
		CHECK_EQ(byte(FAKE_AREA - 1), -1);
		CHECK_EQ(byte(FAKE_AREA_END), -1);
	}
}

int main(void)
{
	mapping();
	refused();
	fixed();
	no_room();
	protection();
	moving();
	advice();
	random_calls();
	fake_end();
	sys_ctx_fini(&fake_ctx);
	return TEST_PASSED;
}
