/* SPDX-License-Identifier: MIT */
/*
 * runs.c - which pages of the copied regions hold something: found, given arena memory, and copied.
 * World: host.
 */
#include "checkpoint/runs.h"

#include <errno.h>
#include <string.h>

#include "checkpoint/peek.h"

#define LARGE_PAGES  512UL /* pages of a 2 MiB leaf */
#define BOUNCE_PAGES 64UL  /* stays in the cache between the kernel's copy and ours */
#define BOUNCE_SIZE  (BOUNCE_PAGES * 4096)
#define GAP_PAGES    16UL
#define ABSENT_MOST  512UL /* pages of an image: they fit in what ckpt_estimate() has room for */

static int add_run(struct ckpt_runs *r, uint64_t start, uint64_t end, uint32_t region)
{
	struct ckpt_run *run = scratch_push(&r->runs, sizeof(*run));

	if (!run)
		return -ENOMEM;
	run->absent = false;
	run->at = start;
	run->pages = (end - start) / 4096;
	run->region = region;
	return 0;
}

/* Like add_run(), without the pages that are zero now. */
static int add_nonzero(struct ckpt_runs *r, uint64_t start, uint64_t end, uint32_t region,
		       void *bounce)
{
	uint64_t from = 0; /* of a run that goes on; never 0 itself */
	int err = 0;

	for (uint64_t at = start, n, got; at < end && !err; at += n * 4096) {
		n = (end - at) / 4096;
		if (n > BOUNCE_PAGES)
			n = BOUNCE_PAGES;
		got = ckpt_peek_pages(at, bounce, n);
		for (uint64_t i = 0; i < n && !err; i++) {
			uint64_t page = at + i * 4096;

			if (i < got && ckpt_page_zero((char *)bounce + i * 4096)) {
				if (from)
					err = add_run(r, from, page, region);
				from = 0;
			} else if (!from) {
				from = page;
			}
		}
	}
	if (from && !err)
		err = add_run(r, from, end, region);
	return err;
}

/* Pages between two runs that nobody touched, where they are few. */
static int add_absent(struct ckpt_runs *r, uint64_t start, uint64_t end, uint32_t region)
{
	uint64_t pages = (end - start) / 4096;
	int err;

	if (!start || !pages || pages > GAP_PAGES || r->absent + pages > ABSENT_MOST)
		return 0;
	err = add_run(r, start, end, region);
	if (!err) {
		ckpt_run_at(r, r->runs.count - 1)->absent = true;
		r->absent += pages;
	}
	return err;
}

static int find_region(struct ckpt_runs *r, struct ckpt_pagemap *pm,
		       const struct ckpt_region *region, uint32_t index, void *bounce)
{
	uint64_t start, end, there = 0, last = 0;
	int err = 0;

	if (!region->anonymous)
		return add_run(r, region->start, region->end, index);
	for (uint64_t at = region->start; ckpt_pagemap_next(pm, at, region->end, &start, &end);
	     at = end)
		there += end - start;
	/*
	 * More pages than there is memory: they show the kernel's zero page, after reads.  Arena
	 * memory must not be asked for these, there may be more of them than the arena has.
	 */
	for (uint64_t at = region->start;
	     !err && ckpt_pagemap_next(pm, at, region->end, &start, &end); at = end) {
		if (there > region->in_use) {
			err = add_nonzero(r, start, end, index, bounce);
			continue;
		}
		err = add_absent(r, last, start, index);
		if (!err)
			err = add_run(r, start, end, index);
		last = end;
	}
	return err;
}

int ckpt_runs_find(struct ckpt_runs *runs, const struct ckpt_plan *plan)
{
	struct ckpt_pagemap *pm;
	void *bounce;
	int err = 0;

	pm = scratch_alloc(sizeof(*pm));
	bounce = scratch_alloc(BOUNCE_SIZE);
	if (!pm || !bounce) {
		err = -ENOMEM;
		goto out;
	}
	ckpt_pagemap_open(pm);
	for (size_t i = 0; i < plan->regions.count && !err; i++) {
		const struct ckpt_region *region = ckpt_plan_at(plan, i);

		if (region->kind == CKPT_COPY)
			err = find_region(runs, pm, region, (uint32_t)i, bounce);
	}
	ckpt_pagemap_close(pm);
out:
	scratch_free(bounce, BOUNCE_SIZE);
	scratch_free(pm, sizeof(*pm));
	return err;
}

bool ckpt_runs_equal(const struct ckpt_runs *a, const struct ckpt_runs *b)
{
	if (a->runs.count != b->runs.count)
		return false;
	for (size_t i = 0; i < a->runs.count; i++)
		if (ckpt_run_at(a, i)->at != ckpt_run_at(b, i)->at ||
		    ckpt_run_at(a, i)->pages != ckpt_run_at(b, i)->pages)
			return false;
	return true;
}

/*
 * Arena pages that lie modulo 2 MiB as the addresses do, so that large leaves fit, when there is a
 * whole leaf in the run; otherwise anywhere.
 */
static int alloc_pages(struct dune_vm *vm, uint64_t at, uint64_t pages, uint64_t *gpa)
{
	uint64_t lead = (at / 4096) % LARGE_PAGES;
	uint64_t to_leaf = lead ? LARGE_PAGES - lead : 0;
	dune_gpa_t first;
	int err;

	if (pages >= to_leaf + LARGE_PAGES && !dune_image_alloc(vm, lead + pages, &first)) {
		for (uint64_t i = 0; i < lead; i++)
			dune_page_put(vm, dune_gpa(first.v + i * 4096));
		*gpa = first.v + lead * 4096;
		return 0;
	}
	err = dune_image_alloc(vm, pages, &first);
	if (!err)
		*gpa = first.v;
	return err;
}

static void put_range(struct dune_vm *vm, uint64_t gpa, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		dune_page_put(vm, dune_gpa(gpa + i * 4096));
}

/* The run, with its arena pages, is out's.  On failure it is nobody's. */
static int adopt(struct ckpt_runs *out, const struct ckpt_run *run)
{
	struct ckpt_run *r = scratch_push(&out->runs, sizeof(*r));

	if (!r)
		return -ENOMEM;
	if (!scratch_extend(&out->states, 1, run->pages)) {
		out->runs.count--;
		return -ENOMEM;
	}
	*r = *run;
	r->state = out->states.count - run->pages;
	return 0;
}

/* New arena pages for a run, in as many pieces as it takes. */
static int adopt_new(struct dune_vm *vm, struct ckpt_runs *out, struct ckpt_run left)
{
	uint64_t n = left.pages;

	while (left.pages) {
		struct ckpt_run piece = left;
		int err;

		if (n > left.pages)
			n = left.pages;
		piece.pages = n;
		err = alloc_pages(vm, left.at, n, &piece.gpa);
		if (err == -ENOMEM && n > 1) {
			n /= 2;
			continue;
		}
		if (err)
			return err;
		err = adopt(out, &piece);
		if (err) {
			put_range(vm, piece.gpa, n);
			return err;
		}
		left.at += n * 4096;
		left.pages -= n;
	}
	return 0;
}

/* Takes the first n pages from a run. */
static struct ckpt_run split_off(struct ckpt_run *run, uint64_t n)
{
	struct ckpt_run head = *run;

	head.pages = n;
	run->at += n * 4096;
	run->gpa += n * 4096;
	run->state += n;
	run->pages -= n;
	return head;
}

/* One wanted run: the pages that `have` has for it, from *next on, and new ones between. */
static int alloc_run(struct dune_vm *vm, struct ckpt_run left, struct ckpt_runs *have, size_t *next,
		     struct ckpt_runs *out)
{
	int err = 0;

	while (left.pages && !err) {
		struct ckpt_run *old = *next < have->runs.count ? ckpt_run_at(have, *next) : NULL;
		struct ckpt_run piece;
		uint64_t n;

		if (old && (old->pages == 0 || old->at < left.at)) {
			/* Nobody wants these any more: up to where `left` begins. */
			n = (left.at - old->at) / 4096;
			if (old->pages == 0 || n >= old->pages) {
				++*next;
				n = old->pages;
			}
			piece = split_off(old, n);
			put_range(vm, piece.gpa, n);
			continue;
		}
		n = left.pages;
		if (old && old->at == left.at)
			n = old->pages;
		else if (old)
			n = (old->at - left.at) / 4096;
		if (n > left.pages)
			n = left.pages;
		piece = split_off(&left, n);
		if (old && old->at == piece.at) {
			piece.gpa = split_off(old, n).gpa;
			err = adopt(out, &piece);
			if (err)
				put_range(vm, piece.gpa, n);
		} else {
			err = adopt_new(vm, out, piece);
		}
	}
	return err;
}

int ckpt_runs_alloc(struct dune_vm *vm, const struct ckpt_runs *want, struct ckpt_runs *have,
		    struct ckpt_runs *out)
{
	size_t next = 0;
	int err = 0;

	for (size_t i = 0; i < want->runs.count && !err; i++)
		err = alloc_run(vm, *ckpt_run_at(want, i), have, &next, out);
	ckpt_runs_free(vm, have);
	return err;
}

static void copy_run(struct dune_vm *vm, struct ckpt_runs *runs, struct ckpt_run *run, char *bounce)
{
	uint8_t *state = ckpt_run_states(runs, run);
	uint64_t done = 0;

	if (run->absent) {
		memset(state, CKPT_PAGE_ZERO, run->pages);
		return;
	}
	while (done < run->pages) {
		uint64_t n = run->pages - done, got;

		if (n > BOUNCE_PAGES)
			n = BOUNCE_PAGES;
		got = ckpt_peek_pages(run->at + done * 4096, bounce, n);
		for (uint64_t i = 0; i < got; i++) {
			const char *from = bounce + i * 4096;

			state[done + i] = CKPT_PAGE_ZERO;
			if (ckpt_page_zero(from))
				continue;
			memcpy(dune_page_host(vm, dune_gpa(run->gpa + (done + i) * 4096)), from,
			       4096);
			state[done + i] = CKPT_PAGE_STORED;
		}
		done += got;
		if (got < n)
			state[done++] = CKPT_PAGE_UNREAD;
	}
}

/*
 * Few zeroes that follow what is stored keep their arena pages, which are zero, too: what lies in one file in one piece
 * is one mapping of a stub process.  Nobody wrote these pages: there is memory behind those that are read.
 */
static void close_gaps(struct ckpt_runs *runs)
{
	const struct ckpt_run *prev = NULL;
	uint8_t *zeroes = NULL; /* the first of a row, behind a stored page */

	for (size_t i = 0; i < runs->runs.count; prev = ckpt_run_at(runs, i++)) {
		const struct ckpt_run *run = ckpt_run_at(runs, i);
		uint8_t *state = ckpt_run_states(runs, run);

		/* States lie as runs do. */
		if (!prev || prev->region != run->region || prev->at + prev->pages * 4096 != run->at)
			zeroes = NULL;
		for (uint64_t k = 0; k < run->pages; k++) {
			if (state[k] == CKPT_PAGE_STORED) {
				if (zeroes && (uint64_t)(state + k - zeroes) <= GAP_PAGES)
					memset(zeroes, CKPT_PAGE_STORED, (size_t)(state + k - zeroes));
				zeroes = state + k + 1;
			} else if (state[k] != CKPT_PAGE_ZERO) {
				zeroes = NULL;
			}
		}
	}
}

int ckpt_runs_copy(struct dune_vm *vm, struct ckpt_runs *runs)
{
	char *bounce = scratch_alloc(BOUNCE_SIZE);

	if (!bounce)
		return -ENOMEM;
	for (size_t i = 0; i < runs->runs.count; i++)
		copy_run(vm, runs, ckpt_run_at(runs, i), bounce);
	scratch_free(bounce, BOUNCE_SIZE);
	close_gaps(runs);
	return 0;
}

static void put_pages(struct dune_vm *vm, struct ckpt_runs *runs, bool stored)
{
	for (size_t i = 0; i < runs->runs.count && runs->states.count; i++) {
		struct ckpt_run *run = ckpt_run_at(runs, i);
		uint8_t *state = ckpt_run_states(runs, run);

		for (uint64_t k = 0; k < run->pages; k++) {
			bool holds = state[k] == CKPT_PAGE_STORED || state[k] == CKPT_PAGE_NEW;
			bool empty = state[k] == CKPT_PAGE_ZERO || state[k] == CKPT_PAGE_UNREAD;

			if ((holds && stored) || (empty && !runs->trimmed))
				dune_page_put(vm, dune_gpa(run->gpa + k * 4096));
		}
	}
	runs->trimmed = true;
}

void ckpt_runs_trim(struct dune_vm *vm, struct ckpt_runs *runs)
{
	put_pages(vm, runs, false);
}

void ckpt_runs_free(struct dune_vm *vm, struct ckpt_runs *runs)
{
	put_pages(vm, runs, true);
	scratch_vec_free(&runs->runs);
	scratch_vec_free(&runs->states);
	runs->trimmed = false;
	runs->absent = 0;
}
