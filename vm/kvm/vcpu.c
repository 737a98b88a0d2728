/* SPDX-License-Identifier: MIT */
/* vcpu.c - KVM's vCPUs: made, interrupted, waited for.  World: host. */
#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "vm/kvm/kvm.h"

int kvm_vcpu_init(struct dune_vcpu *vcpu)
{
	struct kvm_vcpu *c = kvm_vcpu_of(vcpu);
	struct dune_vm *vm = vcpu->vm;
	struct kvm_vm *kvm = kvm_of(vm);
	struct arch_vcpu_setup setup;
	struct standard held;
	int err;

	c->ring0 = vm->info.placement == DUNE_PLACE_RING0;
	c->run = MAP_FAILED;
	/* What can fail for want of memory comes first. */
	if ((err = monmap_area(kvm, c)))
		return err;
	standard_hold(&held);
	c->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->id);
	err = c->fd < 0 ? errno : 0;
	standard_release(&held);
	if (err)
		return err == EINVAL ? -EAGAIN : kvm_error(err);
	/* The number is taken for as long as the VM lives, whatever happens from here on. */
	vm->nvcpus++;
	c->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	madvise(c->run, kvm->run_size, MADV_DONTFORK);
	setup = (struct arch_vcpu_setup){
		.cr3 = kvm->mon.root.v,
		.idt = c->ring0 ? MON_IDT_RING0 : MON_IDT_HOST,
		.gdt = c->area + MON_AREA_GDT,
		.tss = c->area + MON_AREA_GDT + ARCH_TSS_OFFSET,
		.syscall_entry =
			c->area + MON_AREA_ENTRY +
			(c->ring0 ? kvm->mon.header->syscall_ring0 : kvm->mon.header->syscall_host),
		.rip = kvm->mon.header->apply,
		.rsp = c->area + MON_AREA_STACK_TOP,
		.cpuid = kvm->cpuid,
	};
	if ((err = arch_vcpu_setup(c->fd, &setup)))
		goto fail;
	arch_regs_sync(c->run);
	c->cr3 = setup.cr3;
	c->syscall_entry = setup.syscall_entry;
	c->mon->syscall_fault = vm->info.syscall_faults ? setup.syscall_entry : 0;
	return 0;

fail:
	kvm_vcpu_fini(vcpu);
	return err;
}

void kvm_vcpu_fini(struct dune_vcpu *vcpu)
{
	struct kvm_vcpu *c = kvm_vcpu_of(vcpu);
	struct kvm_mp_state any;

	if (c->run != MAP_FAILED)
		munmap(c->run, kvm_of(vcpu->vm)->run_size);
	kvm_close(c->fd, KVM_GET_MP_STATE, &any);
}

void kvm_interrupt(struct dune_vcpu *vcpu)
{
	struct kvm_vcpu *c = kvm_vcpu_of(vcpu);
	pid_t thread;

	__atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	atomic_store(&c->mon->kick, 1);
	thread = atomic_load(&vcpu->thread);
	if (thread)
		syscall(SYS_tgkill, getpid(), thread, vcpu->vm->kick_signal);
}

/* One interruption is enough, and too many keep the vCPU from coming out: now and then. */
#define WAITS_PER_INTERRUPT 1024

void kvm_await_edits(struct kvm_vcpu *c)
{
	for (unsigned wait = 0;
	     atomic_load(&c->c.thread) && __atomic_load_n(&c->mon->nedits, __ATOMIC_SEQ_CST);
	     wait++) {
		if (wait % WAITS_PER_INTERRUPT == 0)
			kvm_interrupt(&c->c);
		sched_yield();
	}
}

void kvm_await_out(struct kvm_vcpu *c)
{
	for (unsigned wait = 0; atomic_load(&c->c.thread); wait++) {
		if (wait % WAITS_PER_INTERRUPT == 0)
			kvm_interrupt(&c->c);
		sched_yield();
	}
}

void kvm_shootdown(struct dune_space *s)
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
			    __atomic_load_n(&kvm_vcpu_of(c)->generation, __ATOMIC_SEQ_CST) < generation) {
				if (wait % WAITS_PER_INTERRUPT == 0)
					kvm_interrupt(c);
				waiting = true;
			}
		}
		pthread_mutex_unlock(&vm->lock);
		if (waiting)
			sched_yield();
		wait++;
	} while (waiting);
}
