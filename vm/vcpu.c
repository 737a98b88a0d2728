/* SPDX-License-Identifier: MIT */
/* vcpu.c - vCPUs: made, kept for the next user, kicked.  World: host. */
#include <errno.h>
#include <stdlib.h>

#include "vm/machine.h"

int vcpu_new(struct dune_vm *vm, struct dune_vcpu **out)
{
	struct dune_vcpu *c;
	int err;

	if (vm->ops->vcpus_last && vm->nvcpus >= vm->info.max_vcpus)
		return -EAGAIN;
	c = calloc(1, vm->ops->vcpu_size);
	if (!c)
		return -ENOMEM;
	c->vm = vm;
	c->id = vm->nvcpus;
	err = vm->ops->vcpu_init(c);
	if (err) {
		free(c);
		return err;
	}
	pthread_mutex_lock(&vm->lock);
	c->next = vm->vcpus;
	vm->vcpus = c;
	pthread_mutex_unlock(&vm->lock);
	*out = c;
	return 0;
}

int dune_vcpu_create(struct dune_vm *vm, struct dune_vcpu **out)
{
	struct dune_vcpu *c;
	int err = 0;

	pthread_mutex_lock(&vm->lock);
	c = vm->free_vcpus;
	if (c)
		vm->free_vcpus = c->next_free;
	pthread_mutex_unlock(&vm->lock);
	if (!c) {
		pthread_mutex_lock(&vm->making);
		err = vcpu_new(vm, &c);
		pthread_mutex_unlock(&vm->making);
	}
	if (!err)
		*out = c;
	return err;
}

static void unlist(struct dune_vcpu *c)
{
	struct dune_vm *vm = c->vm;

	pthread_mutex_lock(&vm->lock);
	for (struct dune_vcpu **link = &vm->vcpus; *link; link = &(*link)->next) {
		if (*link == c) {
			*link = c->next;
			break;
		}
	}
	vm->switches += dune_vcpu_switches(c);
	pthread_mutex_unlock(&vm->lock);
}

void dune_vcpu_destroy(struct dune_vcpu *c)
{
	struct dune_vm *vm;

	if (!c)
		return;
	vm = c->vm;
	dune_vcpu_unkick(c);
	if (!vm->ops->vcpus_last) {
		unlist(c);
		pthread_mutex_lock(&vm->making);
		vm->ops->vcpu_fini(c);
		pthread_mutex_unlock(&vm->making);
		free(c);
		return;
	}
	pthread_mutex_lock(&vm->lock);
	/* KVM never gives a vCPU's number back before the VM goes: a lost one only stays in the list. */
	if (!c->lost) {
		c->next_free = vm->free_vcpus;
		vm->free_vcpus = c;
	}
	pthread_mutex_unlock(&vm->lock);
}

uint64_t dune_vcpu_switches(const struct dune_vcpu *c)
{
	return atomic_load_explicit(&c->switches, memory_order_relaxed);
}

int dune_vcpu_registers(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	int err = 0;

	if (!c->vm->ops->registers || c->lost)
		return c->lost ? -EIO : 0;
	pthread_mutex_lock(&s->lock);
	err = c->vm->ops->registers(c, s, f);
	pthread_mutex_unlock(&s->lock);
	return err;
}

uint64_t dune_vcpu_cpu_time(struct dune_vcpu *c)
{
	return c->vm->ops->cpu_time ? c->vm->ops->cpu_time(c) : 0;
}

void dune_vcpu_kick(struct dune_vcpu *c)
{
	atomic_store(&c->kicked, true);
	c->vm->ops->interrupt(c);
}

void dune_vcpu_unkick(struct dune_vcpu *c)
{
	atomic_store(&c->kicked, false);
}
