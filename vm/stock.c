/* SPDX-License-Identifier: MIT */
/* stock.c - pages and tables that ring 0 may use by itself, and what it did with them.  World: host. */
#include "vm/vm.h"

int stock_refill(struct dune_vcpu *c, struct dune_space *s)
{
	struct mon_vcpu *v = c->mon;
	int err = space_reserve_private(s, MON_LOG);

	if (err)
		return err;
	while (v->npages < MON_STOCK && !err) {
		dune_gpa_t page;

		err = dune_page_alloc(c->vm, &page);
		if (!err)
			v->pages[v->npages++] = page.v;
	}
	while (v->ntables < MON_STOCK && !err) {
		dune_gpa_t table;

		err = arena_table_alloc(c->vm, false, &table);
		if (!err)
			v->tables[v->ntables++] = table.v;
	}
	return v->npages >= 1 && v->ntables >= PT_LEVELS ? 0 : err;
}

void stock_return(struct dune_vcpu *c)
{
	struct mon_vcpu *v = c->mon;

	while (v->npages)
		dune_page_put(c->vm, dune_gpa(v->pages[--v->npages]));
	while (v->ntables)
		arena_table_free(c->vm, false, dune_gpa(v->tables[--v->ntables]));
}

void stock_drain(struct dune_vcpu *c, struct dune_space *s)
{
	struct mon_vcpu *v = c->mon;

	/* refill() made room; another vCPU of the same space may have used it. */
	if (space_reserve_private(s, v->nlog))
		c->lost = true;
	else
		for (uint32_t i = 0; i < v->nlog; i++)
			space_note_private(s, v->log[i]);
	v->nlog = 0;
	s->cow += v->cow;
	s->demand += v->demand;
	s->spurious += v->spurious;
	v->cow = v->demand = v->spurious = 0;
}
