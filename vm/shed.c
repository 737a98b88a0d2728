/* SPDX-License-Identifier: MIT */
/*
 * shed.c - a space without what it would get again, the same, at its next touch.  World: host.
 *
 * Pages that were kept from an earlier run, given ahead of a touch or only read hold what they were made from, and
 * tables that were copied to be changed, and changed back, say what the source's say.  The space is the same without
 * them: what is left is what differs from its source, whatever it was used for before.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "vm/machine.h"

/* Has the source nothing there?  Then it is memory of a demand region. */
static bool is_demand(struct dune_space *s, dune_gva_t at)
{
	struct dune_leaf below;

	return pt_lookup(&s->source->pt, at, &below) == -ENOENT;
}

/* Was it made from what the next would be made from: the source's page, or zeros? */
static bool has_usual_origin(struct dune_space *s, const struct dune_private *p)
{
	struct dune_leaf below;

	return p->from.v ==
	       (pt_lookup(&s->source->pt, p->at, &below) ? s->vm->zero_page : below.page).v;
}

/* Has it the rights of one that is given there?  Where a reset has removed the region it is kept for the next, any. */
static bool has_usual_rights(struct dune_space *s, dune_gva_t at, unsigned prot)
{
	unsigned usual = DUNE_READ | DUNE_WRITE;
	dune_gva_t start;
	size_t len;

	if (is_demand(s, at) && (dune_region_next(s, at, &start, &len, &usual) || start.v > at.v))
		return true;
	return prot == (usual | DUNE_OWNED);
}

/* Would it be the same again, and does nobody else refer to it? */
static bool is_spare(struct dune_space *s, const struct dune_private *p)
{
	const struct arena *a = &s->vm->arena;
	struct dune_leaf leaf;

	if (pt_lookup(&s->pt, p->at, &leaf) || leaf.page.v != p->page.v ||
	    __atomic_load_n(&a->pages[p->page.v / DUNE_PAGE_SIZE].refs, __ATOMIC_RELAXED) != 1)
		return false;
	return has_usual_origin(s, p) && has_usual_rights(s, p->at, leaf.prot) &&
	       !memcmp(arena_host(a, p->page), slot_host(s->vm, p->from), DUNE_PAGE_SIZE);
}

/* One page, or several of demand regions: a table of which nothing remains is one edit. */
static void give_back(struct dune_space *s, dune_gva_t at, size_t len)
{
	int err = len > DUNE_PAGE_SIZE ? pt_unmap(&s->pt, at, len) :
		  len		       ? pt_restore(&s->pt, at, &s->source->pt) :
					 0;

	assert(!err); /* these pages' tables are the space's own: that takes none */
}

/* So much is looked at between two looks at whether it is to end. */
#define STEP 256

int dune_space_shed(struct dune_space *s, size_t keep, bool (*stop)(void *ctx), void *ctx)
{
	dune_gva_t from = { 0 }; /* a run of pages that go */
	size_t kept = 0, len = 0;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	if (s->frozen || s->runners)
		err = -EBUSY;
	else if (!s->source)
		err = -EINVAL;
	if (err)
		goto out;
	for (size_t i = 0; i < s->nprivate; i++) {
		const struct dune_private *p = &s->private[i];

		if (!err && i % STEP == STEP - 1)
			err = stop && stop(ctx) ? -EINTR : s->vm->ops->sync(s);
		if (i < keep || err || !is_spare(s, p)) {
			s->private[kept++] = *p;
			continue;
		}
		if (!len || p->at.v != from.v + len || !is_demand(s, p->at) || !is_demand(s, from)) {
			give_back(s, from, len);
			from = p->at;
			len = 0;
		}
		len += DUNE_PAGE_SIZE;
	}
	give_back(s, from, len);
	s->nprivate = kept;
	s->mon->around_low = s->mon->around_high = 0;
	s->mon->around = 0;
	if (!err)
		err = s->vm->ops->sync(s);
	if (!err) {
		bool done = pt_rejoin(&s->pt, &s->source->pt, stop, ctx);

		err = s->vm->ops->sync(s);
		if (!err && !done)
			err = -EINTR;
	}
out:
	pthread_mutex_unlock(&s->lock);
	return err;
}
