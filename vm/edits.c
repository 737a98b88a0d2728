/* SPDX-License-Identifier: MIT */
/*
 * edits.c - changes to page tables that a processor may have read.  World: host.
 *
 * A table entry that was present in a space that ran may be cached: in a TLB, and, on software KVM,
 * in shadow tables that only a store by guest ring 0 reaches.  Such a change is staged here; the
 * walker reads through the staged edits, ring 0 makes them before the space next enters ring 3, and
 * the pages that went stay parked until then.  An entry that was absent is cached nowhere and is
 * written in place.
 */
#include <errno.h>
#include <string.h>

#include "vm/vm.h"

_Static_assert(EDITS_MAX <= MON_EDITS, "what is staged can be handed over");

static uint64_t *entry_host(struct dune_space *s, dune_gpa_t entry)
{
	return (uint64_t *)arena_host(&s->vm->arena, entry);
}

/* The newest edit of this entry. */
static struct mon_edit *staged(struct dune_space *s, dune_gpa_t entry)
{
	for (unsigned i = s->nedits; i-- > 0;) {
		if (entry.v - s->edits[i].entry <= s->edits[i].more * 8)
			return &s->edits[i];
	}
	return NULL;
}

/* The newest edit of all, if it clears the entry just before this one and may still change. */
static struct mon_edit *clears_before(struct dune_space *s, dune_gpa_t entry)
{
	struct mon_edit *e = &s->edits[s->nedits - 1];

	if (s->nedits == s->handed || e->value || !(entry.v % DUNE_PAGE_SIZE) ||
	    entry.v != e->entry + (e->more + 1) * 8)
		return NULL;
	return e;
}

static uint64_t entries(const struct mon_edit *edits, unsigned n)
{
	uint64_t sum = n;

	while (n--)
		sum += edits[n].more;
	return sum;
}

static uint64_t ops_get(void *ctx, dune_gpa_t entry)
{
	struct dune_space *s = ctx;
	const struct mon_edit *e = s->nedits ? staged(s, entry) : NULL;

	return e ? e->value : *entry_host(s, entry);
}

static void ops_set(void *ctx, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at,
		    int level)
{
	struct dune_space *s = ctx;
	struct mon_edit *e = s->nedits ? staged(s, entry) : NULL;

	if (e && e >= s->edits + s->handed && !e->more) {
		e->value = val;
		return;
	}
	if (!e && (!s->live || !(old & PT_P))) {
		__atomic_store_n(entry_host(s, entry), val, __ATOMIC_RELEASE);
		return;
	}
	e = s->nedits && !val ? clears_before(s, entry) : NULL;
	if (e) {
		e->more++;
		s->edits_flush = true;
		return;
	}
	if (s->nedits == EDITS_MAX)
		edits_flush(s);
	s->edits[s->nedits++] = (struct mon_edit){ .entry = entry.v, .value = val, .at = at.v };
	s->edits_flush |= level > 1;
}

static void ops_init(void *ctx, dune_gpa_t entry, uint64_t val)
{
	*entry_host(ctx, entry) = val;
}

static int ops_table_alloc(void *ctx, dune_gpa_t *out)
{
	struct dune_space *s = ctx;
	int err;

	if (s->mon->limit && s->mon->used >= s->mon->limit)
		return -EDQUOT;
	err = arena_table_alloc(s->vm, false, out);
	if (!err)
		mon_count(s->mon, 1);
	return err;
}

static void ops_table_copy(void *ctx, dune_gpa_t dst, dune_gpa_t src, int level)
{
	uint64_t *to = entry_host(ctx, dst);
	const uint64_t *from = entry_host(ctx, src);

	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		if (from[i])
			to[i] = pt_borrow(from[i], level, i);
	}
}

static void park(struct dune_space *s, uint32_t *list, dune_gpa_t page)
{
	uint32_t n = (uint32_t)(page.v / DUNE_PAGE_SIZE);

	s->vm->arena.pages[n].next = *list;
	*list = n;
	s->nparked++;
}

static void ops_table_free(void *ctx, dune_gpa_t table)
{
	struct dune_space *s = ctx;

	if (table.v == s->pt.root.v) /* the space goes: dune_vm_free() */
		return;
	if (s->live) {
		park(s, &s->parked_tables, table);
	} else {
		memset(entry_host(s, table), 0, DUNE_PAGE_SIZE);
		arena_table_free(s->vm, false, table);
		mon_count(s->mon, -1);
	}
}

static void ops_page_free(void *ctx, dune_gpa_t page)
{
	struct dune_space *s = ctx;

	if (s->live) {
		park(s, &s->parked_pages, page);
	} else {
		dune_page_put(s->vm, page);
		mon_count(s->mon, -1);
	}
}

static bool ops_writable(void *ctx, dune_gpa_t page, uint64_t size)
{
	struct dune_vm *vm = ((struct dune_space *)ctx)->vm;

	return page.v < vm->arena.size || slot_covers(vm, page, size, true);
}

const struct pt_ops space_pt_ops = {
	.get = ops_get,
	.set = ops_set,
	.table_alloc = ops_table_alloc,
	.table_copy = ops_table_copy,
	.init = ops_init,
	.table_free = ops_table_free,
	.page_free = ops_page_free,
	.writable = ops_writable,
};

void edits_done(struct dune_space *s)
{
	uint32_t pages = s->parked_pages, tables = s->parked_tables;

	s->nedits = 0;
	s->edits_flush = false;
	mon_count(s->mon, -(long)s->nparked); /* until now they were the space's */
	s->parked_pages = s->parked_tables = 0;
	s->nparked = 0;
	while (pages) {
		dune_gpa_t page = dune_gpa((uint64_t)pages * DUNE_PAGE_SIZE);

		pages = s->vm->arena.pages[pages].next;
		dune_page_put(s->vm, page);
	}
	edits_scrub(s->vm, tables, false);
}

void edits_hand_over(struct dune_space *s, struct dune_vcpu *c)
{
	memcpy(c->mon->edits, s->edits, s->nedits * sizeof(*s->edits));
	c->mon->nedits = s->nedits;
	c->mon->flush |= s->edits_flush;
	s->editor = c;
	s->handed = s->nedits;
}

bool edits_taken_back(struct dune_space *s, struct dune_vcpu *c)
{
	unsigned made = s->handed;

	if (s->editor != c) {
		/*
		 * A flush did not wait for this; or there were none, and what is parked waits for
		 * nothing: tables that were taken and not used, pages that had no rights.
		 */
		if (!s->nedits && s->nparked)
			edits_done(s);
		return true;
	}
	s->editor = NULL;
	s->handed = 0;
	if (c->mon->nedits) {
		c->mon->nedits = 0;
		return false;
	}
	atomic_fetch_add_explicit(&s->vm->edits, entries(s->edits, made), memory_order_relaxed);
	/* While the vCPU was inside further ones may have come. */
	s->nedits -= made;
	memmove(s->edits, s->edits + made, s->nedits * sizeof(*s->edits));
	if (!s->nedits)
		edits_done(s);
	return true;
}

/* Have the service vCPU make `n` edits.  vm->service_lock held. */
static int service(struct dune_vm *vm, const struct mon_edit *edits, unsigned n, bool flush)
{
	struct mon_vcpu *v = vm->service->mon;

	while (n) {
		unsigned batch = n < MON_EDITS ? n : MON_EDITS;
		int err;

		memcpy(v->edits, edits, batch * sizeof(*edits));
		v->nedits = batch;
		v->flush = flush;
		err = vcpu_apply(vm->service);
		if (err) {
			/* Old translations may be in force for ever: nothing may run any more. */
			atomic_store(&vm->broken, true);
			return err;
		}
		edits += batch;
		n -= batch;
	}
	return 0;
}

int edits_flush(struct dune_space *s)
{
	struct dune_vm *vm = s->vm;
	int err = 0;

	if (s->editor) {
		/* First those, then all again: the last word on an entry must be the newest. */
		vcpu_await_edits(s->editor);
		s->editor = NULL;
		s->handed = 0;
	}
	if (s->nedits) {
		pthread_mutex_lock(&vm->service_lock);
		err = atomic_load(&vm->broken) ? -EIO : service(vm, s->edits, s->nedits, true);
		atomic_fetch_add_explicit(&vm->edits, entries(s->edits, s->nedits),
					  memory_order_relaxed);
		pthread_mutex_unlock(&vm->service_lock);
		/* A processor that ran the space before flushes before it does again. */
		__atomic_add_fetch(&s->mon->generation, 1, __ATOMIC_SEQ_CST);
		vcpu_shootdown(s);
	}
	if (err) {
		/*
		 * Nothing runs any more, so that the tables may be made what they are said to be.
		 */
		for (const struct mon_edit *e = s->edits; e < s->edits + s->nedits; e++)
			for (uint64_t i = 0; i <= e->more; i++)
				entry_host(s, dune_gpa(e->entry))[i] = e->value;
	}
	edits_done(s);
	return err;
}

/* So many at a time: meanwhile others wait for the service vCPU. */
#define SCRUBS 16

/* The edit that clears all of a dead table that is not zero.  False: there is nothing. */
static bool clearing(struct dune_vm *vm, dune_gpa_t table, bool root, struct mon_edit *out)
{
	const uint64_t *entries = arena_host(&vm->arena, table);
	unsigned first = 0, end = root ? PT_ENTRIES / 2 : PT_ENTRIES;

	while (first < end && !entries[first])
		first++;
	while (first < end && !entries[end - 1])
		end--;
	if (first == end)
		return false;
	*out = (struct mon_edit){ .entry = table.v + first * 8, .more = end - first - 1 };
	return true;
}

void edits_scrub(struct dune_vm *vm, uint32_t tables, bool root)
{
	while (tables) {
		struct mon_edit edits[SCRUBS];
		unsigned n = 0;
		int err;

		while (tables && n < SCRUBS) {
			dune_gpa_t table = dune_gpa((uint64_t)tables * DUNE_PAGE_SIZE);

			tables = vm->arena.pages[tables].next;
			if (clearing(vm, table, root, &edits[n]))
				n++;
			else
				arena_table_free(vm, root, table);
		}
		pthread_mutex_lock(&vm->service_lock);
		err = atomic_load(&vm->broken) ? -EIO : service(vm, edits, n, true);
		pthread_mutex_unlock(&vm->service_lock);
		if (err) /* nobody will use them again */
			return;
		while (n--)
			arena_table_free(vm, root,
					 dune_gpa(edits[n].entry & ~(DUNE_PAGE_SIZE - 1)));
	}
}
