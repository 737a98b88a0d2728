/* SPDX-License-Identifier: MIT */
/*
 * The data of libsthread, where it is a shared library, is granted to nobody: not a page of it; that of other libraries
 * is.  World: host.
 */
#include "tests/st.h"

#include <link.h>

#define PAGE 4096UL

struct pages {
	struct sthread_policy *policy;
	unsigned ours, ours_granted, others, others_granted;
};

/* Each page that any of a writable segment is in. */
static int asks(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct pages *n = ctx;
	bool ours = strstr(info->dlpi_name, "/libsthread.so") != NULL;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t at = (info->dlpi_addr + ph->p_vaddr) & ~(PAGE - 1);
		uintptr_t end = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_W))
			continue;
		for (; at < end; at += PAGE) {
			/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
			int err = sthread_policy_memory(n->policy, (void *)at, PAGE, STHREAD_READ);

			CHECK(!err || err == -EINVAL);
			*(ours ? &n->ours : &n->others) += 1;
			*(ours ? &n->ours_granted : &n->others_granted) += !err;
		}
	}
	return 0;
}

int main(void)
{
	struct pages n = { .policy = NULL };

	st_init();
	n.policy = st_policy();
	dl_iterate_phdr(asks, &n);
	NOTE("%u pages of ours, %u of others: %u granted", n.ours, n.others, n.others_granted);
	CHECK_GT(n.ours, 4); /* so that some are whole and open */
	CHECK_EQ(n.ours_granted, 0);
	CHECK_GT(n.others_granted, 0);
	sthread_policy_destroy(n.policy);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
