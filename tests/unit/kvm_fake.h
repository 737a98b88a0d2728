/* SPDX-License-Identifier: MIT */
/*
 * kvm_fake.h - /dev/kvm without a processor: vm/ runs on it unchanged, and what the guest does is the target's to say.
 * World: host, unit tests and fuzzing.
 *
 * Linked with -Wl,--wrap=ioctl,--wrap=open.  The monitor's image is a header and nothing behind it; its part in an
 * entry (CR3, edits, flush) is done here, and done right.
 */
#ifndef TESTS_KVM_FAKE_H
#define TESTS_KVM_FAKE_H

#include <linux/kvm.h>

#include "vm/kvm/kvm.h"

/* A vCPU in KVM_RUN. */
struct fake_cpu {
	int fd;
	struct kvm_run *run;
	bool told; /* the host said where to go on; else a signal ended the last one in the midst */
	uint64_t area;
	struct mon_vcpu *mon;
	char *stack; /* host address of the page of the ring-0 stack */
};

/*
 * What the guest does from its entry to its exit: what KVM_RUN gives, with errno.  NULL: one system call, which is
 * what the probes of a new VM look for.
 */
extern int (*fake_guest)(struct fake_cpu *c);
/* The stub of a trap leaves at once, from ring 3 as *f says. */
int fake_leave_stub(struct fake_cpu *c, const struct dune_frame *f);
/* The monitor leaves. */
int fake_leave_monitor(struct fake_cpu *c, const struct dune_frame *f, enum mon_exit exit);
/* Guest-physical memory of the arena. */
void *fake_physical(uint64_t gpa);
/* The VM is gone. */
void fake_forget(void);

#endif
