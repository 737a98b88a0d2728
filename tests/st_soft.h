/* SPDX-License-Identifier: MIT */
/* st_soft.h - which kind of KVM this is, for what processors do differently.  World: host. */
#ifndef TESTS_ST_SOFT_H
#define TESTS_ST_SOFT_H

#include "sthread/process.h"

/* The software KVM, as docs/architecture.md has it.  After st_init(). */
static inline bool st_soft(void)
{
	struct dune_vm_info info;

	dune_vm_get_info(process.vm, &info);
	return info.syscall_faults;
}

#endif
