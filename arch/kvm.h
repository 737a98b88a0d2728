/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - what a processor supplies to vm/kvm/.  World: host.
 *
 * A second processor is a folder beside x86_64/ with these functions, its ring-0 entries and its
 * reset trampoline.  Negative errno throughout.
 */
#ifndef ARCH_KVM_H
#define ARCH_KVM_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_cpuid2;
struct kvm_run;

/* Where a vCPU finds the monitor; guest-virtual addresses, cr3 guest-physical. */
struct arch_vcpu_setup {
	uint64_t cr3;
	uint64_t idt, gdt, tss;
	uint64_t syscall_entry;
	uint64_t rip, rsp; /* in ring 0 */
	const struct kvm_cpuid2 *cpuid;
};

/* What the guest's processor offers, as the host kernel says. */
struct arch_features {
	bool smep, smap, umip, xsave, fsgsbase;
	unsigned phys_bits;
};

/* The processor description for KVM_SET_CPUID2; free(). */
int arch_cpuid(int kvm_fd, struct kvm_cpuid2 **out);
void arch_cpuid_features(const struct kvm_cpuid2 *cpuid, struct arch_features *out);

/* Bring a new vCPU to ring 0, long mode, ready for its first entry. */
int arch_vcpu_setup(int vcpu_fd, const struct arch_vcpu_setup *s);

/*
 * The tables of a page: 256 gates to stubs of 16 bytes; some go to other stubs on stacks of their
 * own.
 */
void arch_fill_idt(void *page, uint64_t vectors, uint64_t vectors_ist);
/* GDT and TSS of one vCPU: 512 bytes, at guest address `at`. */
#define ARCH_TSS_OFFSET 0x100
void arch_fill_gdt(void *page, uint64_t at, uint64_t stack_top, uint64_t ist);

/* Registers of kvm_run's shared area. */
struct dune_frame;
void arch_regs_get(const struct kvm_run *run,
		   struct dune_frame *frame); /* general registers, rip, rsp, rflags */
void arch_regs_set(struct kvm_run *run, const struct dune_frame *frame, uint64_t rip, uint64_t rsp);
void arch_regs_sync(struct kvm_run *run); /* KVM_RUN is to store them, special ones and events, too */
uint64_t arch_fault_address(const struct kvm_run *run);
/*
 * What follows is of a vCPU that KVM_RUN has just left: no ioctl, so that KVM_RUN stays the only one of a
 * thread that runs vCPUs.
 */
/* One that a signal took out of ring 3: its next instruction is ring 0's. */
void arch_to_ring0(struct kvm_run *run);
/* Is one that a signal took out in ring 0? */
bool arch_in_ring0(const struct kvm_run *run);
/* Is an exception on its way to the guest, so that the registers must not be changed? */
bool arch_event_pending(const struct kvm_run *run);

/*
 * Ring-3 code, position independent, that fits a page: reports rax:rdx = XCR0 and issues a system
 * call.
 */
extern const char arch_probe_start[], arch_probe_end[];

#endif
