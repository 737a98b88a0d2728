/* SPDX-License-Identifier: MIT */
/* record.h - how a run ended, as a record.  World: host. */
#ifndef STHREAD_REPORT_RECORD_H
#define STHREAD_REPORT_RECORD_H

#include <dune.h>
#include <sthread.h>

#include "sthread/syscall/uaccess.h"

/* What the processor said of a fault. */
void result_fault(const struct dune_frame *f, struct sthread_result *r);
/* Registers and call chain, read from the compartment's memory. */
void result_backtrace(struct uaccess *mem, const struct dune_frame *f, struct sthread_result *r);

#endif
