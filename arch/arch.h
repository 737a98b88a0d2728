/* SPDX-License-Identifier: MIT */
/* arch.h - what a processor supplies to vm/, whatever machine runs ring 3 on it.  World: host. */
#ifndef ARCH_ARCH_H
#define ARCH_ARCH_H

#include <stdbool.h>

/* Does the processor offer hardware virtualization? */
bool arch_virtualizes(void);

#endif
