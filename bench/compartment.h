/* SPDX-License-Identifier: MIT */
/* compartment.h - small calls around sthread.h that the libsthread series share.  World: host. */
#ifndef BENCH_COMPARTMENT_H
#define BENCH_COMPARTMENT_H

#include <sthread.h>

#include "bench/bench.h"

/*
 * sthread_init() with so many pooled compartments (0: the default), where STHREAD_PLACEMENT says.
 */
int bench_init(unsigned pool);
/* -EPROTO unless fn returned. value may be NULL. */
int bench_call(const struct sthread_policy *p, void *(*fn)(void *), void *arg, void **value);
int bench_create_join(const struct sthread_policy *p, void *(*fn)(void *), void *arg);

#endif
