/* SPDX-License-Identifier: MIT */
/* vm.c - the virtual machine: made, counted, given back.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "vm/machine.h"

static int create(struct dune_vm **out, const struct machine_ops *ops, const struct dune_vm_config *cfg)
{
	struct dune_vm *vm = calloc(1, ops->vm_size);
	int err;

	if (!vm)
		return -ENOMEM;
	vm->ops = ops;
	vm->kick_signal = cfg->kick_signal;
	vm->slot_top = (cfg->size + (1UL << 30) - 1) & ~((1UL << 30) - 1);
	vm->info.machine = ops->machine;
	/* From now on, whatever fails: dune_vm_destroy() takes the range back. */
	vm->arena.base = cfg->base;
	vm->arena.size = cfg->size;
	vm->own = (uint64_t)(cfg->own ? cfg->own : cfg->base);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->making, NULL);
	err = ops->open(vm, cfg);
	if (err) {
		dune_vm_destroy(vm);
		return err;
	}
	*out = vm;
	return 0;
}

static int create_on(struct dune_vm **out, enum dune_machine machine, const struct dune_vm_config *cfg)
{
	for (const struct machine_ops *const *ops = machines; *ops; ops++)
		if ((*ops)->machine == machine)
			return create(out, *ops, cfg);
	return -ENOTSUP;
}

/*
 * KVM where the processor virtualizes, since a software KVM's way out of the guest is dearer than one between processes;
 * where the first choice is not to be had, the other.
 */
static int create_any(struct dune_vm **out, const struct dune_vm_config *cfg)
{
	bool kvm = arch_virtualizes();
	int err = create_on(out, kvm ? DUNE_MACHINE_KVM : DUNE_MACHINE_PROCESS, cfg), other;

	if (!err || err == -ENOMEM || err == -EINVAL)
		return err;
	other = create_on(out, kvm ? DUNE_MACHINE_PROCESS : DUNE_MACHINE_KVM, cfg);
	return !other ? 0 : kvm ? other : err;
}

int dune_vm_create(struct dune_vm **out, const struct dune_vm_config *cfg)
{
	if (!cfg || !cfg->base || !cfg->size || ((uint64_t)cfg->base | cfg->size) & (PT_HUGE - 1) ||
	    cfg->size > 1UL << 43 || cfg->placement > DUNE_PLACE_RING0 || cfg->machine > DUNE_MACHINE_PROCESS ||
	    (uint64_t)cfg->own & (DUNE_PAGE_SIZE - 1) || cfg->kick_signal <= 0)
		return -EINVAL;
	return cfg->machine == DUNE_MACHINE_AUTO ? create_any(out, cfg) : create_on(out, cfg->machine, cfg);
}

/* Host memory and descriptors; the guest's memory is not touched. */
static void release(struct dune_vm *vm)
{
	for (struct dune_space *s; (s = vm->spaces);) {
		vm->spaces = s->next;
		vm->ops->space_fini(s);
		free(s->private);
		free(s);
	}
	for (struct dune_vcpu *c; (c = vm->vcpus);) {
		vm->vcpus = c->next;
		vm->ops->vcpu_fini(c);
		free(c);
	}
	vm->ops->close(vm);
	arena_fini(vm);
	free(vm->slots);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->making);
	free(vm);
}

int dune_vm_share(struct dune_vm *vm, void *addr, size_t len)
{
	return vm->ops->share(vm, addr, len);
}

int dune_vm_adopt(struct dune_vm *vm, void *addr, size_t len)
{
	return vm->ops->adopt(vm, addr, len);
}

static void tell_of_fork(struct dune_vm *vm, enum fork_moment moment)
{
	if (vm->ops->fork)
		vm->ops->fork(vm, moment);
}

void dune_vm_fork_begin(struct dune_vm *vm)
{
	tell_of_fork(vm, FORK_BEFORE);
}

void dune_vm_fork_end(struct dune_vm *vm, bool child)
{
	tell_of_fork(vm, child ? FORK_CHILD : FORK_PARENT);
}

int dune_vm_clear(struct dune_vm *vm, void *addr, size_t len)
{
	return vm->ops->clear(vm, addr, len);
}

int dune_vm_prepare(struct dune_vm *vm)
{
	return vm->ops->prepare(vm);
}

void dune_vm_stop(struct dune_vm *vm)
{
	atomic_store(&vm->broken, true);
}

void dune_vm_destroy(struct dune_vm *vm)
{
	char *base;
	size_t size;

	if (!vm)
		return;
	base = vm->arena.base;
	size = vm->arena.size;
	release(vm);
	/* The range stays reserved, its pages go. */
	mmap(base, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void dune_vm_forked(struct dune_vm *vm)
{
	/* These mappings were not inherited; something else may be there already. */
	vm->arena.pages = NULL;
	vm->ops->forked(vm);
	/*
	 * Another thread may have been about to move these: what they point to may be free already.
	 */
	for (struct dune_space *s = vm->spaces; s; s = s->next)
		s->private = NULL;
	vm->slots = NULL;
	vcpus_forked();
	release(vm);
}

void dune_vm_get_info(const struct dune_vm *vm, struct dune_vm_info *out)
{
	*out = vm->info;
}

void dune_vm_get_stats(struct dune_vm *vm, struct dune_vm_stats *out)
{
	struct dune_vm_stats st = { 0 };

	pthread_mutex_lock(&vm->lock);
	st.world_switches = vm->switches;
	for (const struct dune_vcpu *c = vm->vcpus; c; c = c->next) {
		st.world_switches += dune_vcpu_switches(c);
		st.vcpus++;
	}
	st.cow_faults = vm->cow;
	st.demand_faults = vm->demand;
	st.spurious_faults = vm->spurious;
	for (const struct dune_space *s = vm->spaces; s; s = s->next) {
		st.cow_faults += s->cow;
		st.demand_faults += s->demand;
		st.spurious_faults += s->spurious;
		st.spaces++;
	}
	st.edits = vm->edits;
	st.pages_used = vm->arena.used;
	st.pages_total = vm->arena.size / DUNE_PAGE_SIZE;
	st.table_pages = vm->arena.tables;
	st.vcpus_lost = vm->lost;
	st.slots = vm->nslots;
	pthread_mutex_unlock(&vm->lock);
	*out = st;
}
