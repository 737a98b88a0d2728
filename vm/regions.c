/* SPDX-License-Identifier: MIT */
/*
 * regions.c - demand regions of a space: a small sorted array that both placements read.  World:
 * host.
 */
#include <errno.h>
#include <string.h>

#include "vm/machine.h"

static int check(const struct dune_space *s, dune_gva_t at, size_t len, unsigned prot)
{
	uint64_t end;

	if (!len || (at.v | len) & (DUNE_PAGE_SIZE - 1) ||
	    __builtin_add_overflow(at.v, len, &end) || end > DUNE_USER_END ||
	    prot & ~(DUNE_READ | DUNE_WRITE) || space_is_reserved(s, at, len))
		return -EINVAL;
	return s->frozen ? -EBUSY : 0;
}

#define ROOM (MON_REGIONS + 2)

/*
 * The list as it is with [start, end) having `prot`, or taken out (present false), into `to`, which
 * has ROOM: enough for a list that is sorted and disjoint.  Alike neighbours become one.
 */
static uint32_t rebuild(const struct mon_space *m, struct mon_region *to, uint64_t start,
			uint64_t end, bool present, uint64_t prot)
{
	uint32_t n = 0;
	bool placed = !present;

#define ADD(from_, to_, prot_)                                                     \
	do {                                                                       \
		struct mon_region add = { (from_), (to_), (prot_) };               \
		if (add.start >= add.end)                                          \
			break;                                                     \
		if (n && to[n - 1].end == add.start && to[n - 1].prot == add.prot) \
			to[n - 1].end = add.end;                                   \
		else if (n < ROOM)                                                 \
			to[n++] = add;                                             \
	} while (0)

	for (uint32_t i = 0; i < mon_regions(m); i++) {
		const struct mon_region *r = &m->regions[i];

		if (!placed && r->end > start) {
			ADD(r->start, r->start < start ? start : r->start, r->prot);
			ADD(start, end, prot);
			placed = true;
			ADD(r->start > end ? r->start : end, r->end, r->prot);
		} else if (r->end <= start || r->start >= end) {
			ADD(r->start, r->end, r->prot);
		} else {
			ADD(r->start, r->start < start ? start : r->start, r->prot);
			ADD(r->end > end ? end : r->end, r->end, r->prot);
		}
	}
	if (!placed)
		ADD(start, end, prot);
#undef ADD
	return n;
}

/*
 * The list, and the pages that are there: they keep their bytes and get the region's rights, or go.
 */
static int change(struct dune_space *s, dune_gva_t at, size_t len, bool present, unsigned prot)
{
	struct mon_region list[ROOM];
	uint32_t n = rebuild(s->mon, list, at.v, at.v + len, present, prot);
	int err = 0;

	if (n > MON_REGIONS)
		return -ENOMEM;
	if (!present)
		err = dune_vm_unmap(s, at, len);
	else
		err = pt_protect(&s->pt, at, len, prot);
	if (err)
		return err;
	/* Ordinary pages have these rights already. */
	if (present && prot != (DUNE_READ | DUNE_WRITE))
		s->reprotected = true;
	memcpy(s->mon->regions, list, n * sizeof(*list));
	s->mon->nregions = n;
	return 0;
}

int dune_region_add(struct dune_space *s, dune_gva_t at, size_t len, unsigned prot)
{
	int err = check(s, at, len, prot);

	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	s->vm->ops->quiesce(s);
	err = change(s, at, len, true, prot);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int dune_region_remove(struct dune_space *s, dune_gva_t at, size_t len)
{
	int err = check(s, at, len, 0);

	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	s->vm->ops->quiesce(s);
	err = change(s, at, len, false, 0);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int dune_region_next(const struct dune_space *s, dune_gva_t at, dune_gva_t *start, size_t *len,
		     unsigned *prot)
{
	for (uint32_t i = 0; i < mon_regions(s->mon); i++) {
		const struct mon_region *r = &s->mon->regions[i];

		if (r->end <= at.v)
			continue;
		*start = dune_gva(r->start);
		*len = r->end - r->start;
		*prot = (unsigned)r->prot;
		return 0;
	}
	return -ENOENT;
}
