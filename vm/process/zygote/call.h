/* SPDX-License-Identifier: MIT */
/* call.h - system calls without a C library, and what the zygote's files share.  World: zygote. */
#ifndef VM_PROCESS_ZYGOTE_CALL_H
#define VM_PROCESS_ZYGOTE_CALL_H

#include "vm/process/abi.h"

/* Negative errno. */
static inline long zcall(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* strip.c: gives up all that a stub is not to inherit.  Negative errno: it must not go on. */
long zygote_strip(const struct zygote_boot *b);

#endif
