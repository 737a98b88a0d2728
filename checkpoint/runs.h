/* SPDX-License-Identifier: MIT */
/*
 * runs.h - which pages of the copied regions hold something: found, given arena memory, and copied,
 * in three steps that can each be repeated.  World: host.
 */
#ifndef CHECKPOINT_RUNS_H
#define CHECKPOINT_RUNS_H

#include "checkpoint/plan.h"

/* Consecutive pages that are to be read; or that lie between such, few of them. */
struct ckpt_run {
	uint64_t at;
	uint64_t pages;
	uint64_t gpa;	/* of as many arena pages */
	uint64_t state; /* index of the first page's entry in ckpt_runs.states */
	uint32_t region;
	bool absent; /* nobody touched them: they are zero, and not to be read */
};

enum ckpt_page {
	CKPT_PAGE_NEW,	  /* not read yet */
	CKPT_PAGE_UNREAD, /* cannot be read: past the end of a file, a guard */
	CKPT_PAGE_ZERO,
	CKPT_PAGE_STORED, /* in its arena page */
	CKPT_PAGE_TAKEN,  /* the same, and the arena page belongs to a mapping now */
};

struct ckpt_runs {
	struct scratch_vec runs;   /* struct ckpt_run, ascending */
	struct scratch_vec states; /* uint8_t, enum ckpt_page; none before ckpt_runs_alloc() */
	bool trimmed;
	uint64_t absent; /* pages of runs that are */
};

static inline struct ckpt_run *ckpt_run_at(const struct ckpt_runs *r, size_t i)
{
	return (struct ckpt_run *)r->runs.items + i;
}

static inline uint8_t *ckpt_run_states(const struct ckpt_runs *r, const struct ckpt_run *run)
{
	return (uint8_t *)r->states.items + run->state;
}

/* A reader of /proc/self/pagemap. */
struct ckpt_pagemap {
	int fd;		       /* -1: not readable; all pages count as there */
	uint64_t first, count; /* page numbers that `entries` has */
	uint64_t entries[2048];
};
void ckpt_pagemap_open(struct ckpt_pagemap *p);
void ckpt_pagemap_close(struct ckpt_pagemap *p);
/*
 * The first pages of anonymous memory in [from, to), page aligned, that are in memory or swapped:
 * others are zero. False when there are none.
 */
bool ckpt_pagemap_next(struct ckpt_pagemap *p, uint64_t from, uint64_t to, uint64_t *start,
		       uint64_t *end);

/* Fills `runs` (all zero before) with what the plan's CKPT_COPY regions need.  -ENOMEM. */
int ckpt_runs_find(struct ckpt_runs *runs, const struct ckpt_plan *plan);
/* Do both name the same pages? */
bool ckpt_runs_equal(const struct ckpt_runs *a, const struct ckpt_runs *b);
/*
 * Arena pages for every run of `want`, into `out` (all zero before), where runs may be split: those
 * of `have` that are for the same addresses, and new ones.  `have`, which was not copied yet, is
 * empty afterwards.  -ENOMEM: `out` is to be freed all the same.
 */
int ckpt_runs_alloc(struct dune_vm *vm, const struct ckpt_runs *want, struct ckpt_runs *have,
		    struct ckpt_runs *out);
/* The bytes, now.  Calls nothing that could change what is copied.  Sets the states. */
int ckpt_runs_copy(struct dune_vm *vm, struct ckpt_runs *runs);
/* Gives back the arena pages that hold nothing (not STORED, and not TAKEN by a mapping). */
void ckpt_runs_trim(struct dune_vm *vm, struct ckpt_runs *runs);
/* With all arena pages but those TAKEN. */
void ckpt_runs_free(struct dune_vm *vm, struct ckpt_runs *runs);

#endif
