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
#include <stdlib.h>
#include <string.h>

#include "vm/kvm/kvm.h"

_Static_assert(EDITS_MAX <= MON_EDITS, "what is staged can be handed over");

/* The newest edit of this entry. */
static struct mon_edit *staged(struct kvm_space *s, dune_gpa_t entry)
{
	for (unsigned i = s->nedits; i-- > 0;) {
		if (entry.v - s->edits[i].entry <= s->edits[i].more * 8)
			return &s->edits[i];
	}
	return NULL;
}

/* The newest edit of all, if it clears the entry just before this one and may still change. */
static struct mon_edit *clears_before(struct kvm_space *s, dune_gpa_t entry)
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

uint64_t edits_get(struct dune_space *space, dune_gpa_t entry)
{
	struct kvm_space *s = kvm_space_of(space);
	const struct mon_edit *e = s->nedits ? staged(s, entry) : NULL;

	return e ? e->value : *space_entry(&s->s, entry);
}

void edits_set(struct dune_space *space, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at,
	       int level)
{
	struct kvm_space *s = kvm_space_of(space);
	struct mon_edit *e = s->nedits ? staged(s, entry) : NULL;

	if (e && e >= s->edits + s->handed && !e->more) {
		e->value = val;
		return;
	}
	if (!e && (!s->s.live || !(old & PT_P))) {
		__atomic_store_n(space_entry(&s->s, entry), val, __ATOMIC_RELEASE);
		return;
	}
	e = s->nedits && !val ? clears_before(s, entry) : NULL;
	if (e) {
		e->more++;
		s->edits_flush = true;
		return;
	}
	if (s->nedits == EDITS_MAX)
		edits_flush(space);
	s->edits[s->nedits++] = (struct mon_edit){ .entry = entry.v, .value = val, .at = at.v };
	s->edits_flush |= level > 1;
}

/* Every staged edit was made and no vCPU can hold what they changed. */
static void done(struct kvm_space *s)
{
	s->nedits = 0;
	s->edits_flush = false;
	space_unpark(&s->s);
}

int edits_init(struct dune_space *s)
{
	kvm_space_of(s)->edits = malloc(EDITS_MAX * sizeof(struct mon_edit));
	return kvm_space_of(s)->edits ? 0 : -ENOMEM;
}

void edits_fini(struct dune_space *s)
{
	free(kvm_space_of(s)->edits);
}

bool edits_none(const struct dune_space *s)
{
	return !kvm_space_of(s)->nedits;
}

void edits_hand_over(struct kvm_space *s, struct kvm_vcpu *c)
{
	memcpy(c->mon->edits, s->edits, s->nedits * sizeof(*s->edits));
	c->mon->nedits = s->nedits;
	c->mon->flush |= s->edits_flush;
	s->editor = c;
	s->handed = s->nedits;
}

bool edits_taken_back(struct kvm_space *s, struct kvm_vcpu *c)
{
	unsigned made = s->handed;

	if (s->editor != c) {
		/*
		 * A flush did not wait for this; or there were none, and what is parked waits for
		 * nothing: tables that were taken and not used, pages that had no rights.
		 */
		if (!s->nedits && s->s.nparked)
			done(s);
		return true;
	}
	s->editor = NULL;
	s->handed = 0;
	if (c->mon->nedits) {
		c->mon->nedits = 0;
		return false;
	}
	atomic_fetch_add_explicit(&s->s.vm->edits, entries(s->edits, made), memory_order_relaxed);
	/* While the vCPU was inside further ones may have come. */
	s->nedits -= made;
	memmove(s->edits, s->edits + made, s->nedits * sizeof(*s->edits));
	if (!s->nedits)
		done(s);
	return true;
}

/* Have the service vCPU make `n` edits.  vm->making held. */
static int service(struct dune_vm *vm, const struct mon_edit *edits, unsigned n, bool flush)
{
	struct mon_vcpu *v = kvm_of(vm)->service->mon;

	while (n) {
		unsigned batch = n < MON_EDITS ? n : MON_EDITS;
		int err;

		memcpy(v->edits, edits, batch * sizeof(*edits));
		v->nedits = batch;
		v->flush = flush;
		err = kvm_apply(kvm_of(vm)->service);
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

int edits_flush(struct dune_space *space)
{
	struct kvm_space *s = kvm_space_of(space);
	struct dune_vm *vm = space->vm;
	int err = 0;

	if (s->editor) {
		/* First those, then all again: the last word on an entry must be the newest. */
		kvm_await_edits(s->editor);
		s->editor = NULL;
		s->handed = 0;
	}
	if (s->nedits) {
		pthread_mutex_lock(&vm->making);
		err = atomic_load(&vm->broken) ? -EIO : service(vm, s->edits, s->nedits, true);
		atomic_fetch_add_explicit(&vm->edits, entries(s->edits, s->nedits),
					  memory_order_relaxed);
		pthread_mutex_unlock(&vm->making);
		/* A processor that ran the space before flushes before it does again. */
		__atomic_add_fetch(&space->mon->generation, 1, __ATOMIC_SEQ_CST);
		kvm_shootdown(space);
	}
	if (err) {
		/*
		 * Nothing runs any more, so that the tables may be made what they are said to be.
		 */
		for (const struct mon_edit *e = s->edits; e < s->edits + s->nedits; e++)
			for (uint64_t i = 0; i <= e->more; i++)
				space_entry(space, dune_gpa(e->entry))[i] = e->value;
	}
	done(s);
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
		pthread_mutex_lock(&vm->making);
		err = atomic_load(&vm->broken) ? -EIO : service(vm, edits, n, true);
		pthread_mutex_unlock(&vm->making);
		if (err) /* nobody will use them again */
			return;
		while (n--)
			arena_table_free(vm, root,
					 dune_gpa(edits[n].entry & ~(DUNE_PAGE_SIZE - 1)));
	}
}
