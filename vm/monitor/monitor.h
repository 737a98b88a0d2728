/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - the monitor's decisions, one source for its two placements.  World: host and ring 0.
 *
 * Where ring 0 is fast, it decides there and the trap costs no exit.  Where ring 0 is emulated,
 * ring 0 only leaves and the host side calls the same code.  What differs between the two is struct
 * mon_env.
 */
#ifndef VM_MONITOR_MONITOR_H
#define VM_MONITOR_MONITOR_H

#include "vm/monitor/abi.h"
#include "vm/pt.h"

enum mon_verdict {
	MON_RESUME,  /* resolved: back to ring 3 */
	MON_TO_HOST, /* not the monitor's business */
	MON_NOMEM,   /* a page was needed and there is none */
};

struct mon_env {
	struct pt pt; /* of the space; its operations charge tables to space->used */
	struct mon_space *space;
	dune_gpa_t zero_page;
	/* A page with one reference: zeroed, or a copy of `from`.  Non-zero: none left. */
	int (*page_alloc)(struct mon_env *env, const dune_gpa_t *from, dune_gpa_t *out);
	void (*page_free)(struct mon_env *env, dune_gpa_t page);
	/* There is room for it: page_alloc said so. */
	void (*log)(struct mon_env *env, dune_gva_t at, dune_gpa_t page, dune_gpa_t from);
	uint64_t *cow, *demand, *spurious; /* counters, of pages */
	uint32_t around;		   /* at most so many pages at one fault */
};

/*
 * How many of either a space has.  On the host nothing that ring 0 could have written is an index before it was looked at.
 */
static inline uint32_t mon_regions(const struct mon_space *space)
{
	return space->nregions < MON_REGIONS ? space->nregions : MON_REGIONS;
}

static inline uint32_t mon_answers(const struct mon_space *space)
{
	return space->nanswers < MON_ANSWERS ? space->nanswers : MON_ANSWERS;
}

/* Pages taken, or given back.  The host and ring 0 may both be at it. */
static inline void mon_count(struct mon_space *space, long pages)
{
	__atomic_fetch_add(&space->used, (uint64_t)pages, __ATOMIC_RELAXED);
}

/* A trap from ring 3.  May change frame->rax.  MON_RESUME: the same frame goes on. */
enum mon_verdict mon_trap(struct mon_env *env, struct dune_frame *frame);
/* The space touches `at` (a write or not): give it what it is due there. */
enum mon_verdict mon_touch(struct mon_env *env, dune_gva_t at, bool write);

/*
 * Make a frame fit for ring 3: selectors, flags.  False: its rip is not a user address, it must not
 * run.
 */
bool mon_frame_sanitize(struct dune_frame *frame);
/*
 * Where `syscall` stays in ring 3 and faults at `entry`, turn that fault into a system call.  True:
 * it was one.
 */
bool mon_frame_syscall(struct dune_frame *frame, uint64_t entry);

#endif
