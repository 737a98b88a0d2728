/* SPDX-License-Identifier: MIT */
/*
 * map.c - what a lane maps of tags is made what the policy of its next run grants.  World: host.
 *
 * A lane remembers what it maps.  What an earlier run had and this one has not is unmapped, and rights that differ are
 * changed, by edits that ring 0 makes before ring 3 is entered; so no run can see a tag, or a right, of another.  That a
 * tag is gone need not be known here: the run that had it has ended, its memory was replaced, and an address has the
 * same guest-physical one for ever.  The same policy again costs one comparison.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/internal.h"
#include "sthread/tag/tag.h"

#define IN_BETWEEN UINT64_MAX /* no list of grants has that number */

static unsigned prot_of(const struct grant *g)
{
	return DUNE_READ | (g->rights & STHREAD_WRITE ? DUNE_WRITE : 0);
}

static bool is_that(const struct mapped *m, const struct grant *g)
{
	return m->start == g->start && m->len == g->len;
}

/* In the area there is nothing beneath; where the program has its data the image is. */
static int unmap(struct lane *l, size_t first, size_t last)
{
	uint64_t start = l->mapped[first].start;
	uint64_t len = l->mapped[last].start + l->mapped[last].len - start;

	return sthread_is_tagged((void *)start) ? dune_vm_unmap(l->space, dune_gva(start), len) :
						  dune_vm_restore(l->space, dune_gva(start), len);
}

/*
 * What is mapped and not wanted goes, from the list, too; of what stays, rights are made what they should be.  Neighbours
 * that go, go together: a table of which nothing remains is one edit.  Between two tags there is nothing that is not
 * ours; beside data of an object there is.
 */
static int drop(struct lane *l, const struct grants *want)
{
	size_t first = 0, n = 0, k = 0; /* n neighbours from `first` on are to go */
	size_t kept = 0;
	int err = 0;

	for (size_t i = 0; i < l->nmapped && !err; i++) {
		const struct mapped *m = &l->mapped[i];
		const struct grant *g;
		bool stays;

		while (k < want->n && want->list[k].start < m->start)
			k++;
		g = k < want->n ? &want->list[k] : NULL;
		stays = g && is_that(m, g);
		if (n && (stays || !sthread_is_tagged((void *)l->mapped[first].start) ||
			  !sthread_is_tagged((void *)m->start))) {
			err = unmap(l, first, i - 1);
			n = 0;
		}
		if (!stays) {
			first = n++ ? first : i;
			continue;
		}
		if (!err && m->rights != g->rights)
			err = dune_vm_mprotect(l->space, dune_gva(m->start), m->len, prot_of(g));
		l->mapped[kept++] = (struct mapped){ g->start, g->len, g->rights };
	}
	if (n && !err)
		err = unmap(l, first, l->nmapped - 1);
	l->nmapped = kept;
	/* What is left of it cannot be told. */
	l->lost |= err != 0;
	return err;
}

/* All of it or nothing; where not even that can be had the lane is lost. */
static int map(struct lane *l, const struct grant *g)
{
	uint64_t end = g->start + g->len, at = g->start, next;
	bool image = !sthread_is_tagged((void *)g->start); /* and copies of it from earlier runs */
	dune_gpa_t page;
	int err = 0;

	if (image && (err = dune_vm_unmap(l->space, dune_gva(at), g->len)))
		return err;
	/* A slot's share at a time. */
	for (; at < end; at = next) {
		next = end;
		err = tag_window(g->tag, at, &next, &page);
		if (!err)
			err = dune_vm_map(l->space, dune_gva(at), page, next - at, prot_of(g));
		if (err)
			break;
	}
	if (!err)
		return 0;
	if (image)
		l->lost |= dune_vm_restore(l->space, dune_gva(g->start), g->len) != 0;
	else if (at > g->start)
		l->lost |= dune_vm_unmap(l->space, dune_gva(g->start), at - g->start) != 0;
	return err;
}

/* What is mapped now is a part of what is wanted.  The list says what is mapped afterwards, also when it was not all. */
static int add(struct lane *l, const struct grants *want)
{
	size_t i = 0, k = 0; /* want[0..i) is mapped, [0..k) was, and all from there on is beyond */
	int err = 0;

	for (; i < want->n; i++) {
		bool there = k < l->nmapped && is_that(&l->mapped[k], &want->list[i]);

		if (!there && (err = map(l, &want->list[i])))
			break;
		k += there;
	}
	memmove(l->mapped + i, l->mapped + k, (l->nmapped - k) * sizeof(*l->mapped));
	l->nmapped += i - k;
	while (i--)
		l->mapped[i] = (struct mapped){ want->list[i].start, want->list[i].len,
						want->list[i].rights };
	return err;
}

static int remap(struct lane *l, const struct grants *want)
{
	int err;

	if (want->n > l->mapped_cap) {
		struct mapped *list = realloc(l->mapped, want->n * sizeof(*list));

		if (!list)
			return -ENOMEM;
		l->mapped = list;
		l->mapped_cap = want->n;
	}
	l->mem_serial = IN_BETWEEN;
	err = drop(l, want);
	if (!err)
		err = add(l, want);
	l->tag_tables = tag_tables(l->space);
	if (!err)
		l->mem_serial = want->serial;
	return err;
}

int tag_map(struct lane *l, const struct policy *p)
{
	assert(!p->mem.n || p->runs); /* whoever starts a run holds its policy first */
	return l->mem_serial == p->mem.serial ? 0 : remap(l, &p->mem);
}

/* One grant differs: rights, which take no table; or it is missing here, and drop() has nothing to do; or there. */
int tag_map_more(struct lane *l, const struct policy *p)
{
	assert(!p->mem.n || p->runs);
	return remap(l, &p->mem);
}

void tag_map_fini(struct lane *l)
{
	free(l->mapped);
}
