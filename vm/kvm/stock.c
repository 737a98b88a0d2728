/* SPDX-License-Identifier: MIT */
/*
 * stock.c - pages and tables that ring 0 may use by itself, and what it did with them.  World: host.
 *
 * The host keeps count by itself: what ring 0 shows as left must be what it was given, each once, and what it used it
 * must have noted.  Where that does not hold the vCPU is lost, and what is in doubt is never given again: a page that
 * was used and not noted, as by a vCPU that failed in the midst of a fault, or all, where what is shown or noted is false.
 */
#include <string.h>

#include "vm/kvm/kvm.h"

/* Lay out for ring 0 what there is. */
static void show(struct kvm_vcpu *c)
{
	struct mon_vcpu *v = c->mon;

	memcpy(v->pages, c->pages.at, sizeof(v->pages));
	memcpy(v->tables, c->tables.at, sizeof(v->tables));
	v->npages = c->pages.n;
	v->ntables = c->tables.n;
}

int stock_refill(struct kvm_vcpu *c, struct dune_space *s)
{
	int err = space_reserve_private(s, MON_LOG);

	if (err)
		return err;
	while (c->pages.n < MON_STOCK && !err) {
		dune_gpa_t page;

		err = dune_page_alloc(c->c.vm, &page);
		if (!err)
			c->pages.at[c->pages.n++] = page.v;
	}
	while (c->tables.n < MON_STOCK && !err) {
		dune_gpa_t table;

		err = arena_table_alloc(c->c.vm, false, &table);
		if (!err)
			c->tables.at[c->tables.n++] = table.v;
	}
	show(c);
	return c->pages.n >= 1 && c->tables.n >= PT_LEVELS ? 0 : err;
}

void stock_return(struct kvm_vcpu *c)
{
	while (c->pages.n)
		dune_page_put(c->c.vm, dune_gpa(c->pages.at[--c->pages.n]));
	while (c->tables.n)
		arena_table_free(c->c.vm, false, dune_gpa(c->tables.at[--c->tables.n]));
	show(c);
}

/* False: it is not there. */
static bool pile_take(struct pile *p, uint64_t page)
{
	for (uint32_t i = 0; i < p->n; i++) {
		if (p->at[i] == page) {
			p->at[i] = p->at[--p->n];
			return true;
		}
	}
	return false;
}

/* Of what was given, what ring 0 shows goes to `left`, and what it used stays.  False: it was not given that. */
static bool sort(struct pile *given, struct pile *left, const uint64_t *shown, uint32_t n)
{
	left->n = 0;
	if (n > given->n)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t page = shown[i];

		if (!pile_take(given, page))
			return false;
		left->at[left->n++] = page;
	}
	return true;
}

/* A page that was given went where the note says.  False: that cannot be. */
static bool note(struct kvm_vcpu *c, struct dune_space *s, struct mon_private p)
{
	struct dune_leaf leaf;

	if (p.at % DUNE_PAGE_SIZE || p.from % DUNE_PAGE_SIZE || !pile_take(&c->pages, p.page) ||
	    !slot_covers(s->vm, dune_gpa(p.from), DUNE_PAGE_SIZE, false) ||
	    pt_lookup(&s->pt, dune_gva(p.at), &leaf) || leaf.page.v != p.page || !(leaf.prot & DUNE_OWNED))
		return false;
	space_note_private(s, p);
	return true;
}

void stock_drain(struct kvm_vcpu *c, struct dune_space *s)
{
	struct mon_vcpu *v = c->mon;
	struct pile pages, tables;
	uint32_t nlog = v->nlog;
	/* stock_refill() made room for the notes; another vCPU of the same space may have used it. */
	bool sound = nlog <= MON_LOG && !space_reserve_private(s, nlog) &&
		     sort(&c->pages, &pages, v->pages, v->npages) && sort(&c->tables, &tables, v->tables, v->ntables);

	for (uint32_t i = 0; sound && i < nlog; i++)
		sound = note(c, s, v->log[i]);
	if (!sound)
		pages.n = tables.n = 0;
	if (!sound || c->pages.n)
		c->c.lost = true;
	c->pages = pages;
	c->tables = tables;
	v->nlog = 0;
	s->cow += v->cow;
	s->demand += v->demand;
	s->spurious += v->spurious;
	v->cow = v->demand = v->spurious = 0;
}
