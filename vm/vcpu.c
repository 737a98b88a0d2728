/* SPDX-License-Identifier: MIT */
/* vcpu.c - vCPUs: made, kept for the next user, kicked.  World: host. */
#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/layout.h"
#include "vm/vm.h"

int vcpu_new(struct dune_vm *vm, struct dune_vcpu **out)
{
	struct dune_vcpu *c;
	struct arch_vcpu_setup setup;
	int err;

	if (vm->nvcpus >= vm->info.max_vcpus)
		return -EAGAIN;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->vm = vm;
	c->id = vm->nvcpus;
	c->ring0 = vm->info.placement == DUNE_PLACE_RING0;
	c->run = MAP_FAILED;
	/* What can fail for want of memory comes first. */
	if ((err = monmap_area(vm, c)))
		goto no_fd;
	c->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)c->id);
	if (c->fd < 0) {
		err = errno == EINVAL ? -EAGAIN : vm_error(errno);
		goto no_fd;
	}
	/* The number is taken for as long as the VM lives, whatever happens from here on. */
	vm->nvcpus++;
	c->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	madvise(c->run, vm->run_size, MADV_DONTFORK);
	setup = (struct arch_vcpu_setup){
		.cr3 = vm->mon.root.v,
		.idt = c->ring0 ? MON_IDT_RING0 : MON_IDT_HOST,
		.gdt = c->area + MON_AREA_GDT,
		.tss = c->area + MON_AREA_GDT + ARCH_TSS_OFFSET,
		.syscall_entry =
			c->area + MON_AREA_ENTRY +
			(c->ring0 ? vm->mon.header->syscall_ring0 : vm->mon.header->syscall_host),
		.rip = vm->mon.header->apply,
		.rsp = c->area + MON_AREA_STACK_TOP,
		.cpuid = vm->cpuid,
	};
	if ((err = arch_vcpu_setup(c->fd, &setup)))
		goto fail;
	arch_regs_sync(c->run);
	c->cr3 = setup.cr3;
	c->syscall_entry = setup.syscall_entry;
	c->mon->syscall_fault = vm->info.syscall_faults ? setup.syscall_entry : 0;
	pthread_mutex_lock(&vm->lock);
	c->next = vm->vcpus;
	vm->vcpus = c;
	pthread_mutex_unlock(&vm->lock);
	*out = c;
	return 0;

fail:
	vcpu_close(c);
	return err;
no_fd:
	free(c);
	return err;
}

void vcpu_close(struct dune_vcpu *c)
{
	struct kvm_mp_state any;

	if (c->run != MAP_FAILED)
		munmap(c->run, c->vm->run_size);
	vm_close(c->fd, KVM_GET_MP_STATE, &any);
	free(c);
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
		pthread_mutex_lock(&vm->service_lock);
		err = vcpu_new(vm, &c);
		pthread_mutex_unlock(&vm->service_lock);
	}
	if (!err)
		*out = c;
	return err;
}

void dune_vcpu_destroy(struct dune_vcpu *c)
{
	struct dune_vm *vm;

	if (!c)
		return;
	vm = c->vm;
	dune_vcpu_unkick(c);
	pthread_mutex_lock(&vm->lock);
	/*
	 * KVM never gives a vCPU's number back before the VM goes: a lost one only stays in the
	 * list.
	 */
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

/* ---- kicks ---- */

/* End KVM_RUN, now or when it begins.  The reason is in kicked, or in a generation. */
static void interrupt(struct dune_vcpu *c)
{
	pid_t thread;

	__atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	atomic_store(&c->mon->kick, 1);
	thread = atomic_load(&c->thread);
	if (thread)
		syscall(SYS_tgkill, getpid(), thread, c->vm->kick_signal);
}

void dune_vcpu_kick(struct dune_vcpu *c)
{
	atomic_store(&c->kicked, true);
	interrupt(c);
}

void dune_vcpu_unkick(struct dune_vcpu *c)
{
	atomic_store(&c->kicked, false);
}

/* One interruption is enough, and too many keep the vCPU from coming out: now and then. */
#define WAITS_PER_INTERRUPT 1024

void vcpu_await_edits(struct dune_vcpu *c)
{
	for (unsigned wait = 0;
	     atomic_load(&c->thread) && __atomic_load_n(&c->mon->nedits, __ATOMIC_SEQ_CST);
	     wait++) {
		if (wait % WAITS_PER_INTERRUPT == 0)
			interrupt(c);
		sched_yield();
	}
}

void vcpu_await_out(struct dune_vcpu *c)
{
	for (unsigned wait = 0; atomic_load(&c->thread); wait++) {
		if (wait % WAITS_PER_INTERRUPT == 0)
			interrupt(c);
		sched_yield();
	}
}

void vcpu_shootdown(struct dune_space *s)
{
	struct dune_vm *vm = s->vm;
	unsigned wait = 0;
	uint64_t generation = __atomic_load_n(&s->mon->generation, __ATOMIC_SEQ_CST);
	bool waiting;

	do {
		waiting = false;
		pthread_mutex_lock(&vm->lock);
		for (struct dune_vcpu *c = vm->vcpus; c && s->runners; c = c->next) {
			if (c->space != s)
				continue;
			/* Outside of KVM_RUN it looks at the generation before it goes in. */
			if (atomic_load(&c->thread) &&
			    __atomic_load_n(&c->generation, __ATOMIC_SEQ_CST) < generation) {
				if (wait % WAITS_PER_INTERRUPT == 0)
					interrupt(c);
				waiting = true;
			}
		}
		pthread_mutex_unlock(&vm->lock);
		if (waiting)
			sched_yield();
		wait++;
	} while (waiting);
}
