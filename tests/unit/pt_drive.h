/* SPDX-License-Identifier: MIT */
/*
 * pt_drive.h - operations on a few trees and their clones, each compared with the flat model, while every address is
 * looked at in their midst and every allocation fails in turn.  World: host.
 */
#ifndef TESTS_UNIT_PT_DRIVE_H
#define TESTS_UNIT_PT_DRIVE_H

#include <stdbool.h>
#include <stdint.h>

/* What happens next: a number below n. */
extern uint64_t (*drive_rnd)(uint64_t n);

/* map, replace, unmap, protect, clone, free */
extern struct drive_seen {
	unsigned long done[6], refused, nomem, midway, copies, rejoined;
} drive_seen;

void drive_begin(void);
void drive_step(bool all); /* all: every tree is compared, not only the one that changed */
void drive_end(void);	   /* CHECKs that nothing is left */
void drive_fini(void);	   /* gives back the models */

#endif
