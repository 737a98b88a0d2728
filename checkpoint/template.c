/* SPDX-License-Identifier: MIT */
/* template.c - the template address space, from what was planned and copied.  World: host. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/ckpt.h"
#include "checkpoint/peek.h"

#define LARGE_SIZE (2UL << 20)

/*
 * Zeroes.  What has the size and place of a large leaf is one: a reserved range of many GiB costs
 * an entry for 2 MiB, not 512 and a table.
 */
static int map_zero(struct ckpt *c, uint64_t at, uint64_t end, unsigned prot)
{
	int err;

	while (at < end) {
		uint64_t len = 4096;
		dune_gpa_t page = dune_zero_page(c->vm);

		if (!(at & (LARGE_SIZE - 1)) && end - at >= LARGE_SIZE) {
			err = dune_zero_block(c->vm, &page);
			if (err)
				return err;
			c->zero_block = page;
			len = LARGE_SIZE;
		}
		err = dune_vm_map(c->space, dune_gva(at), page, len, prot);
		if (err)
			return err;
		c->stats.zero_pages += len / 4096;
		at += len;
	}
	return 0;
}

/* Neighbours of one object share a slot: there is one for each object, as a rule. */
static size_t window_end(const struct ckpt *c, size_t i)
{
	const struct ckpt_region *first = ckpt_plan_at(&c->plan, i);
	size_t n = i + 1;

	for (; n < c->plan.regions.count; n++) {
		const struct ckpt_region *prev = ckpt_plan_at(&c->plan, n - 1);
		const struct ckpt_region *next = ckpt_plan_at(&c->plan, n);

		if (next->kind != CKPT_WINDOW || next->object != first->object ||
		    next->start != prev->end)
			break;
	}
	return n;
}

static int map_windows(struct ckpt *c, size_t i, size_t end)
{
	uint64_t start = ckpt_plan_at(&c->plan, i)->start;
	uint64_t len = ckpt_plan_at(&c->plan, end - 1)->end - start;
	dune_gpa_t gpa;
	int err;

	err = dune_slot_add(c->vm, (void *)start, len, &gpa);
	for (; i < end && !err; i++) {
		const struct ckpt_region *r = ckpt_plan_at(&c->plan, i);

		err = dune_vm_map(c->space, dune_gva(r->start),
				  dune_gpa(gpa.v + (r->start - start)), r->end - r->start, r->prot);
	}
	if (!err) {
		c->stats.slots++;
		c->stats.slot_bytes += len;
	}
	return err;
}

static int map_run(struct ckpt *c, const struct ckpt_run *run, unsigned prot)
{
	uint8_t *state = ckpt_run_states(&c->runs, run);
	int err = 0;

	for (uint64_t k = 0, n; k < run->pages && !err; k += n) {
		uint64_t at = run->at + k * 4096;

		for (n = 1; k + n < run->pages && state[k + n] == state[k]; n++)
			;
		switch (state[k]) {
		case CKPT_PAGE_STORED:
			err = dune_vm_map(c->space, dune_gva(at), dune_gpa(run->gpa + k * 4096),
					  n * 4096, prot | DUNE_OWNED);
			if (err)
				break;
			memset(state + k, CKPT_PAGE_TAKEN, n);
			c->stats.pages += n;
			break;
		case CKPT_PAGE_ZERO:
			err = map_zero(c, at, at + n * 4096, prot);
			break;
		default:
			c->stats.unread_pages += n;
			break;
		}
	}
	return err;
}

/* The region's runs begin at *next; between them it is zero. */
static int map_copy(struct ckpt *c, uint32_t index, size_t *next)
{
	const struct ckpt_region *r = ckpt_plan_at(&c->plan, index);
	uint64_t at = r->start;
	int err = 0;

	for (; *next < c->runs.runs.count && !err; ++*next) {
		const struct ckpt_run *run = ckpt_run_at(&c->runs, *next);

		if (run->region != index)
			break;
		err = map_zero(c, at, run->at, r->prot);
		if (!err)
			err = map_run(c, run, r->prot);
		at = run->at + run->pages * 4096;
	}
	return err ? err : map_zero(c, at, r->end, r->prot);
}

static int map_stack(struct ckpt *c, const struct ckpt_region *r)
{
	int err = 0;

	for (uint64_t at = r->start; at < r->end && !err; at += 4096) {
		const uint8_t *bytes = c->stack_bytes + (at - c->stack_base);
		dune_gpa_t page;

		if (ckpt_page_zero(bytes)) {
			err = map_zero(c, at, at + 4096, r->prot);
			continue;
		}
		err = dune_image_alloc(c->vm, 1, &page);
		if (err)
			break;
		memcpy(dune_page_host(c->vm, page), bytes, 4096);
		err = dune_vm_map(c->space, dune_gva(at), page, 4096, r->prot | DUNE_OWNED);
		if (err)
			dune_page_put(c->vm, page);
		else
			c->stats.pages++;
	}
	return err;
}

/* Is there anything behind this page?  A load would end in SIGBUS where there is not: the kernel is asked. */
static bool is_backed(int pipe_end, uint64_t page)
{
	return write(pipe_end, (const void *)page, 1) == 1;
}

/*
 * The kernel's own pages.  Of its clock data some are there only on some machines: those are not mapped, as a
 * processor that touches one could only be given up.
 */
static int map_kernel(struct ckpt *c, const struct ckpt_region *r)
{
	uint64_t len = r->end - r->start;
	int ends[2], err;
	dune_gpa_t gpa;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	err = dune_slot_add(c->vm, (void *)r->start, len, &gpa);
	for (uint64_t off = 0; off < len && !err; off += DUNE_PAGE_SIZE) {
		if (is_backed(ends[1], r->start + off))
			err = dune_vm_map(c->space, dune_gva(r->start + off), dune_gpa(gpa.v + off),
					  DUNE_PAGE_SIZE, r->prot);
	}
	close(ends[0]);
	close(ends[1]);
	if (!err) {
		c->stats.slots++;
		c->stats.slot_bytes += len;
	}
	return err;
}

int ckpt_template_build(struct ckpt *c)
{
	size_t run = 0, next;
	int err;

	err = dune_space_create(c->vm, &c->space);
	for (size_t i = 0; i < c->plan.regions.count && !err; i = next) {
		const struct ckpt_region *r = ckpt_plan_at(&c->plan, i);

		next = i + 1;
		switch (r->kind) {
		case CKPT_KERNEL:
			err = map_kernel(c, r);
			break;
		case CKPT_WINDOW:
			next = window_end(c, i);
			err = map_windows(c, i, next);
			break;
		case CKPT_COPY:
			err = map_copy(c, (uint32_t)i, &run);
			break;
		case CKPT_ZERO:
			err = map_zero(c, r->start, r->end, r->prot);
			break;
		case CKPT_STACK:
			err = map_stack(c, r);
			break;
		default: /* denied: nothing is there */
			break;
		}
	}
	c->stats.bytes = c->stats.pages * 4096;
	return err;
}
