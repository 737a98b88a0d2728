/* SPDX-License-Identifier: MIT */
/*
 * describe.h - what sthread_fault_format() needs to be told.  World: host.
 */
#ifndef STHREAD_REPORT_DESCRIBE_H
#define STHREAD_REPORT_DESCRIBE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Says in a few words what lies at an address of a compartment: "image of /usr/bin/x, data,
 * symbol table_of_x+8", "heap, not in the image". One line, no full stop. Gives buf, a constant
 * text, or NULL where nothing is known. Not defined here: whoever knows the checkpoint defines
 * it. What it gives is escaped before it is shown.  `error` is what the page fault said, for
 * memory that some may use and some may not.
 */
const char *report_describe(uint64_t addr, unsigned error, char *buf, size_t len);

/* The name of a system call, or NULL.  Defined beside report_describe(). */
const char *report_call_name(uint64_t nr);

#endif
