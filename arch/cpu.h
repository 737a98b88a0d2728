/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - what a frame means on the processor this is built for: system calls, faults, names.  What all layers above may
 * ask of arch/.  World: host.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#if defined(__x86_64__)
#include "arch/x86_64/cpu.h"
#else
#error "no such processor in arch/"
#endif

#endif
