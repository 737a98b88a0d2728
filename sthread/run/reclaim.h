/* SPDX-License-Identifier: MIT */
/*
 * reclaim.h - memory for a run that has none left.  World: host.  Of a run that is out of the
 * guest.
 */
#ifndef STHREAD_RUN_RECLAIM_H
#define STHREAD_RUN_RECLAIM_H

#include <dune.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lane;

/* When and where a run last had too little memory. */
struct shortage {
	uint64_t calls;
	struct dune_frame at;
};

/*
 * After memory could not be had: true: there is more now, try again.  *tried, false at first, is
 * for the next time, so that what the trial itself takes is not given back for ever.
 */
bool lane_reclaim(struct lane *l, bool *tried);
/*
 * Drops private pages and tables that the run does not need (dune_space_shed()), unless a stop is
 * pending.
 */
int lane_trim(struct lane *l);
/* lane_reclaim() for what ring 3 touched. */
bool lane_reclaim_to_touch(struct lane *l, const struct dune_frame *f);
/* uaccess_prepare_out() of a call that has done nothing yet. */
int lane_prepare_out(struct lane *l, uint64_t at, size_t len);

#endif
