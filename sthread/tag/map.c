/* SPDX-License-Identifier: MIT */
/*
 * map.c - makes a space map of tagged memory what a policy grants.  World: host.
 *
 * A lane keeps a list of the tags that its space maps (struct tag_view).  When a run begins, tags
 * that its policy does not grant are unmapped and rights are corrected, by edits that are made
 * before ring 3 is entered; so no run can see a tag, or a right, of another.  Destroyed tags need
 * no tracking here: the run that had one has ended, its memory was replaced, and an address keeps
 * its guest-physical address for ever.  The same policy again costs one comparison.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/tag/tag.h"

#define IN_BETWEEN UINT64_MAX /* no list of grants has that number */

static unsigned prot_of(const struct grant *g)
{
	return DUNE_READ | (g->rights & STHREAD_WRITE ? DUNE_WRITE : 0);
}

static bool is_that(const struct tag_range *m, const struct grant *g)
{
	return m->start == g->start && m->len == g->len;
}

/* In the area there is nothing beneath; where the program has its data the image is. */
static int unmap(struct tag_view *v, size_t first, size_t last)
{
	uint64_t start = v->range[first].start;
	uint64_t len = v->range[last].start + v->range[last].len - start;

	return sthread_is_tagged((void *)start) ? dune_vm_unmap(v->space, dune_gva(start), len) :
						  dune_vm_restore(v->space, dune_gva(start), len);
}

/*
 * Unmaps what is not wanted, and corrects the rights of the rest.  Neighbours that go, go
 * together: a table of which nothing remains is one edit.  Between two tags there is nothing that
 * is not ours; beside data of an object there is.
 */
static int drop(struct tag_view *v, const struct grants *want)
{
	size_t first = 0, n = 0, k = 0; /* n neighbours from `first` on are to go */
	size_t kept = 0;
	int err = 0;

	for (size_t i = 0; i < v->n && !err; i++) {
		const struct tag_range *m = &v->range[i];
		const struct grant *g;
		bool stays;

		while (k < want->n && want->list[k].start < m->start)
			k++;
		g = k < want->n ? &want->list[k] : NULL;
		stays = g && is_that(m, g);
		if (n && (stays || !sthread_is_tagged((void *)v->range[first].start) ||
			  !sthread_is_tagged((void *)m->start))) {
			err = unmap(v, first, i - 1);
			n = 0;
		}
		if (!stays) {
			first = n++ ? first : i;
			continue;
		}
		if (!err && m->rights != g->rights)
			err = dune_vm_mprotect(v->space, dune_gva(m->start), m->len, prot_of(g));
		v->range[kept++] = (struct tag_range){ g->start, g->len, g->rights };
	}
	if (n && !err)
		err = unmap(v, first, v->n - 1);
	v->n = kept;
	/* How much was unmapped is unknown. */
	v->lost |= err != 0;
	return err;
}

/* All of it or nothing; where not even that can be had the space is lost. */
static int map(struct tag_view *v, const struct grant *g)
{
	uint64_t end = g->start + g->len, at = g->start, next;
	bool image = !sthread_is_tagged((void *)g->start); /* and copies of it from earlier runs */
	dune_gpa_t page;
	int err = 0;

	if (image && (err = dune_vm_unmap(v->space, dune_gva(at), g->len)))
		return err;
	/* A slot's share at a time. */
	for (; at < end; at = next) {
		next = end;
		err = tag_window(g->tag, at, &next, &page);
		if (!err)
			err = dune_vm_map(v->space, dune_gva(at), page, next - at, prot_of(g));
		if (err)
			break;
	}
	if (!err)
		return 0;
	if (image)
		v->lost |= dune_vm_restore(v->space, dune_gva(g->start), g->len) != 0;
	else if (at > g->start)
		v->lost |= dune_vm_unmap(v->space, dune_gva(g->start), at - g->start) != 0;
	return err;
}

/*
 * Map the grants that are missing; all that is mapped already is wanted.  On an error the list
 * says how far it came.
 */
static int add(struct tag_view *v, const struct grants *want)
{
	size_t i = 0, k = 0; /* want[0..i) is mapped, [0..k) was, and all from there on is beyond */
	int err = 0;

	for (; i < want->n; i++) {
		bool there = k < v->n && is_that(&v->range[k], &want->list[i]);

		if (!there && (err = map(v, &want->list[i])))
			break;
		k += there;
	}
	memmove(v->range + i, v->range + k, (v->n - k) * sizeof(*v->range));
	v->n += i - k;
	while (i--)
		v->range[i] = (struct tag_range){ want->list[i].start, want->list[i].len,
						want->list[i].rights };
	return err;
}

static int remap(struct tag_view *v, const struct grants *want)
{
	int err;

	if (want->n > v->cap) {
		struct tag_range *list = realloc(v->range, want->n * sizeof(*list));

		if (!list)
			return -ENOMEM;
		v->range = list;
		v->cap = want->n;
	}
	v->serial = IN_BETWEEN;
	err = drop(v, want);
	if (!err)
		err = add(v, want);
	v->tables = tag_tables(v->space);
	if (!err)
		v->serial = want->serial;
	return err;
}

int tag_map(struct tag_view *v, const struct policy *p)
{
	assert(!p->mem.n || p->pins); /* whoever starts a run pins its policy first */
	return v->serial == p->mem.serial ? 0 : remap(v, &p->mem);
}

/* Exactly one grant differs: its rights changed, it is new, or it is gone. */
int tag_map_more(struct tag_view *v, const struct policy *p)
{
	assert(!p->mem.n || p->pins);
	return remap(v, &p->mem);
}

void tag_map_fini(struct tag_view *v)
{
	free(v->range);
}
