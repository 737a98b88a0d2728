/* SPDX-License-Identifier: MIT */
/*
 * layout.h - the layout of the upper half, of the processor this is built for.  World: host and
 * ring 0.
 */
#ifndef ARCH_LAYOUT_H
#define ARCH_LAYOUT_H

#if defined(__x86_64__)
#include "arch/x86_64/layout.h"
#else
#error "no such processor in arch/"
#endif

#endif
