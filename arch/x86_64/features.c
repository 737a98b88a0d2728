/* SPDX-License-Identifier: MIT */
/* features.c - what this processor offers.  World: host. */
#include <cpuid.h>

#include "arch/arch.h"

#define VMX (1U << 5) /* leaf 1, ecx */
#define SVM (1U << 2) /* leaf 0x80000001, ecx */

bool arch_virtualizes(void)
{
	unsigned a, b, c, d;

	return (__get_cpuid(1, &a, &b, &c, &d) && (c & VMX)) || (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & SVM));
}
