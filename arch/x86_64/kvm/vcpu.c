/* SPDX-License-Identifier: MIT */
/*
 * vcpu.c - a vCPU brought up, and its registers read and written, by the KVM interface.  World:
 * host.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "arch/kvm.h"
#include "arch/x86_64/layout.h"
#include "include/dune.h"

#define CR0_LONG_MODE	     0x80050033UL /* PG AM WP NE ET MP PE */
#define CR4_PAE		     (1UL << 5)
#define CR4_OSFXSR	     (1UL << 9)
#define CR4_OSXMMEXCPT	     (1UL << 10)
#define CR4_UMIP	     (1UL << 11)
#define CR4_FSGSBASE	     (1UL << 16)
#define CR4_OSXSAVE	     (1UL << 18)
#define CR4_SMEP	     (1UL << 20)
#define CR4_SMAP	     (1UL << 21)
#define EFER_SCE_LME_LMA_NXE 0xd01UL

#define MSR_SYSENTER_CS	     0x174
#define MSR_STAR	     0xc0000081
#define MSR_LSTAR	     0xc0000082
#define MSR_CSTAR	     0xc0000083
#define MSR_SFMASK	     0xc0000084
#define MSR_KERNEL_GS_BASE   0xc0000102

int arch_cpuid(int kvm_fd, struct kvm_cpuid2 **out)
{
	for (uint32_t room = 128; room <= 4096; room *= 2) {
		struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + room * sizeof(c->entries[0]));
		uint32_t kept = 0;

		if (!c)
			return -ENOMEM;
		c->nent = room;
		if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0) {
			int err = errno;

			free(c);
			if (err == E2BIG)
				continue;
			return -err;
		}
		/* The paravirtual leaves name hypercalls and MSRs that no code here uses. */
		for (uint32_t i = 0; i < c->nent; i++) {
			if (c->entries[i].function >> 8 != 0x400000)
				c->entries[kept++] = c->entries[i];
		}
		c->nent = kept;
		*out = c;
		return 0;
	}
	return -ENOTSUP;
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *c, uint32_t function,
					   uint32_t index)
{
	for (uint32_t i = 0; i < c->nent; i++) {
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	}
	return NULL;
}

void arch_cpuid_features(const struct kvm_cpuid2 *c, struct arch_features *out)
{
	const struct kvm_cpuid_entry2 *l1 = leaf(c, 1, 0), *l7 = leaf(c, 7, 0),
				      *size = leaf(c, 0x80000008, 0);

	*out = (struct arch_features){
		.xsave = l1 && l1->ecx >> 26 & 1,
		.fsgsbase = l7 && l7->ebx & 1,
		.smep = l7 && l7->ebx >> 7 & 1,
		.smap = l7 && l7->ebx >> 20 & 1,
		.umip = l7 && l7->ecx >> 2 & 1,
		.phys_bits = size && (size->eax & 0xff) >= 36 ? size->eax & 0xff : 36,
	};
}

/*
 * All that this processor and this KVM both know, so that code compiled for the one runs in the
 * other.
 */
static int set_xcr0(int fd, const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *ld = leaf(cpuid, 0xd, 0);
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	xcrs.xcrs[0].value = ((uint64_t)high << 32 | low) &
			     (ld ? (uint64_t)ld->edx << 32 | ld->eax : 3);
	return ioctl(fd, KVM_SET_XCRS, &xcrs) < 0 ? -errno : 0;
}

/* The guest's time stamp counter is the host's, so that the vDSO's arithmetic holds. */
static int set_tsc(int fd)
{
	uint64_t offset = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)&offset,
	};

	return ioctl(fd, KVM_SET_DEVICE_ATTR, &attr) < 0 ? -errno : 0;
}

static int set_msrs(int fd, uint64_t syscall_entry)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[6];
	} m = {
		.head.nmsrs = 6,
		.entries = {
			{ .index = MSR_STAR, .data = (uint64_t)(SEL_USER_DS - 8) << 48 | (uint64_t)SEL_KERNEL_CS << 32 },
			{ .index = MSR_LSTAR, .data = syscall_entry },
			{ .index = MSR_CSTAR, .data = syscall_entry },
			{ .index = MSR_SFMASK, .data = FLAGS_SYSCALL_CLEARS },
			{ .index = MSR_KERNEL_GS_BASE, .data = 0 },
			{ .index = MSR_SYSENTER_CS, .data = 0 },
		},
	};
	int done = ioctl(fd, KVM_SET_MSRS, &m);

	if (done < 0)
		return -errno;
	return done == 6 ? 0 : -ENOTSUP;
}

static const struct kvm_segment ring0_code = { .limit = 0xffffffff,
					       .selector = SEL_KERNEL_CS,
					       .type = 11,
					       .present = 1,
					       .s = 1,
					       .l = 1,
					       .g = 1 };
static const struct kvm_segment ring0_data = { .limit = 0xffffffff,
					       .selector = SEL_KERNEL_DS,
					       .type = 3,
					       .present = 1,
					       .db = 1,
					       .s = 1,
					       .g = 1 };

int arch_vcpu_setup(int fd, const struct arch_vcpu_setup *s)
{
	const struct kvm_segment none = { .limit = 0xffffffff,
					  .type = 3,
					  .present = 1,
					  .dpl = 3,
					  .db = 1,
					  .s = 1,
					  .g = 1,
					  .selector = SEL_USER_DS };
	struct kvm_regs regs = { .rip = s->rip, .rsp = s->rsp, .rflags = FLAGS_FIXED };
	struct arch_features f;
	struct kvm_sregs sregs;
	int err;

	arch_cpuid_features(s->cpuid, &f);
	if (ioctl(fd, KVM_SET_CPUID2, s->cpuid) < 0 || ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = ring0_code;
	sregs.ss = ring0_data;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = none;
	sregs.tr = (struct kvm_segment){
		.base = s->tss, .limit = 103, .selector = SEL_TSS, .type = 11, .present = 1
	};
	sregs.ldt = (struct kvm_segment){ .unusable = 1 };
	sregs.gdt.base = s->gdt;
	sregs.gdt.limit = SEL_TSS + 15;
	sregs.idt.base = s->idt;
	sregs.idt.limit = 4095;
	sregs.cr0 = CR0_LONG_MODE;
	sregs.cr3 = s->cr3;
	sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | (f.umip ? CR4_UMIP : 0) |
		    (f.fsgsbase ? CR4_FSGSBASE : 0) | (f.xsave ? CR4_OSXSAVE : 0) |
		    (f.smep ? CR4_SMEP : 0) | (f.smap ? CR4_SMAP : 0);
	sregs.efer = EFER_SCE_LME_LMA_NXE;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	if (f.xsave && (err = set_xcr0(fd, s->cpuid)))
		return err;
	err = set_msrs(fd, s->syscall_entry);
	return err ? err : set_tsc(fd);
}

void arch_regs_sync(struct kvm_run *run)
{
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
}

uint64_t arch_fault_address(const struct kvm_run *run)
{
	return run->s.regs.sregs.cr2;
}

#define EACH_GENERAL(X)                                                                          \
	X(r15)                                                                                   \
	X(r14) X(r13) X(r12) X(rbp) X(rbx) X(r11) X(r10) X(r9) X(r8) X(rax) X(rcx) X(rdx) X(rsi) \
		X(rdi)

void arch_regs_get(const struct kvm_run *run, struct dune_frame *frame)
{
	const struct kvm_regs *r = &run->s.regs.regs;

#define GET(name) frame->name = r->name;
	EACH_GENERAL(GET)
#undef GET
	frame->rip = r->rip;
	frame->rsp = r->rsp;
	frame->rflags = r->rflags;
}

void arch_regs_set(struct kvm_run *run, const struct dune_frame *frame, uint64_t rip, uint64_t rsp)
{
	struct kvm_regs *r = &run->s.regs.regs;

#define SET(name) r->name = frame->name;
	EACH_GENERAL(SET)
#undef SET
	r->rip = rip;
	r->rsp = rsp;
	r->rflags = FLAGS_FIXED;
	run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
}

void arch_to_ring0(struct kvm_run *run)
{
	run->s.regs.sregs.cs = ring0_code;
	run->s.regs.sregs.ss = ring0_data;
	run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

bool arch_in_ring0(const struct kvm_run *run)
{
	return (run->s.regs.sregs.cs.selector & 3) == 0;
}

bool arch_event_pending(const struct kvm_run *run)
{
	const struct kvm_vcpu_events *e = &run->s.regs.events;

	return e->exception.injected || e->exception.pending || e->interrupt.injected ||
	       e->nmi.injected || e->nmi.pending;
}
