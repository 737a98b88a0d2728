/* SPDX-License-Identifier: MIT */
/*
 * slots.c - which memory of the process is behind which guest-physical addresses.  World: host.
 *
 * The arena from 0, then the windows from vm->slot_top upwards.  Append-only: to delete one would make KVM forget every
 * translation of the VM.
 */
#include <errno.h>
#include <stdlib.h>

#include "vm/machine.h"

int slot_register(struct dune_vm *vm, uint64_t gpa, const void *hva, uint64_t len, bool readonly)
{
	const struct slot slot = { (uint64_t)hva, gpa, len, readonly };
	int err;

	if (vm->nslots == vm->slots_cap) {
		size_t cap = vm->slots_cap ? 2 * vm->slots_cap : 64;
		struct slot *slots = realloc(vm->slots, cap * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		vm->slots = slots;
		vm->slots_cap = cap;
	}
	err = vm->ops->window(vm, &slot);
	if (!err)
		vm->slots[vm->nslots++] = slot;
	return err;
}

const void *slot_host(struct dune_vm *vm, dune_gpa_t page)
{
	if (page.v < vm->arena.size)
		return arena_host(&vm->arena, page);
	return dune_slot_host(vm, page, false);
}

void *dune_slot_host(struct dune_vm *vm, dune_gpa_t page, bool write)
{
	void *host = NULL;

	if (page.v < vm->arena.size)
		return NULL;
	pthread_mutex_lock(&vm->lock);
	for (size_t i = 0; i < vm->nslots && !host; i++) {
		const struct slot *s = &vm->slots[i];

		if (page.v - s->gpa < s->len && !(write && s->readonly))
			host = (void *)(s->hva + (page.v - s->gpa));
	}
	pthread_mutex_unlock(&vm->lock);
	return host;
}

bool slot_covers(struct dune_vm *vm, dune_gpa_t page, uint64_t len, bool write)
{
	bool covered = false;

	pthread_mutex_lock(&vm->lock);
	if (page.v < vm->arena.size) {
		covered = arena_covers(&vm->arena, page, len) &&
			  !(write && vm->arena.kinds && arena_kind(&vm->arena, page) != PAGE_PRIVATE);
	} else {
		for (size_t i = 0; i < vm->nslots && !covered; i++) {
			const struct slot *s = &vm->slots[i];

			covered = page.v >= s->gpa && page.v - s->gpa < s->len &&
				  len <= s->len - (page.v - s->gpa) && !(write && s->readonly);
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return covered;
}

static int window_add(struct dune_vm *vm, const void *addr, size_t len, bool readonly,
		      dune_gpa_t *out)
{
	uint64_t hva = (uint64_t)addr, end;
	int err = 0;

	if (!len || (hva | len) & (DUNE_PAGE_SIZE - 1) || __builtin_add_overflow(hva, len, &end) ||
	    end > DUNE_USER_END)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	for (size_t i = 0; i < vm->nslots; i++) {
		const struct slot *s = &vm->slots[i];

		if (s->gpa >= vm->arena.size && s->readonly == readonly && hva >= s->hva &&
		    end <= s->hva + s->len) {
			*out = dune_gpa(s->gpa + (hva - s->hva));
			goto out;
		}
	}
	/* The same offset in 2 MiB on both sides, so that the host may use large pages. */
	uint64_t gpa = vm->slot_top + ((hva - vm->slot_top) & (PT_HUGE - 1));

	if (gpa + len > 1UL << vm->info.phys_bits) {
		err = -ENOMEM;
		goto out;
	}
	err = slot_register(vm, gpa, addr, len, readonly);
	if (!err) {
		vm->slot_top = gpa + len;
		*out = dune_gpa(gpa);
	}
out:
	pthread_mutex_unlock(&vm->lock);
	return err;
}

int dune_slot_add(struct dune_vm *vm, const void *addr, size_t len, dune_gpa_t *out)
{
	return window_add(vm, addr, len, true, out);
}

int dune_slot_add_rw(struct dune_vm *vm, void *addr, size_t len, dune_gpa_t *out)
{
	return window_add(vm, addr, len, false, out);
}
