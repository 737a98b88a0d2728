/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - the machine of KVM: what the files of vm/kvm/ share.  World: host.
 *
 * Ring 3 is guest user mode of a vCPU; a table entry that was present may be remembered by it, and is changed by the
 * monitor in guest ring 0.  vm->making also guards the service vCPU and the monitor's tables.
 */
#ifndef VM_KVM_KVM_H
#define VM_KVM_KVM_H

#include "vm/machine.h"

struct kvm_run;

/* Arena pages that ring 0 was given and has not used. */
struct pile {
	uint64_t at[MON_STOCK];
	uint32_t n;
};

struct kvm_vcpu {
	struct dune_vcpu c;
	bool ring0; /* ring 0 decides traps; else the host does */
	int fd;
	struct kvm_run *run;
	struct mon_vcpu *mon;	/* host address of its shared page */
	char *stack;		/* host address of the page of the ring-0 stack */
	uint64_t area;		/* guest address */
	uint64_t syscall_entry; /* guest address, in MSR_LSTAR */
	uint64_t cr3;		/* loaded */
	uint64_t cr3_space;	/* serial of the space it was loaded for */
	uint64_t generation;	/* of that space, last flushed for; atomic */
	struct pile pages, tables; /* its stock, as the host knows it: mon only shows it */
};

#define EDITS_MAX 64

struct kvm_space {
	struct dune_space s;
	/* Edits that ring 0 has not made yet.  Reads see through them. */
	struct mon_edit *edits;
	unsigned nedits;
	bool edits_flush; /* one of them was above a leaf */
	/* Was handed the first `handed` of them: these are not changed, only followed by newer. */
	struct kvm_vcpu *editor;
	unsigned handed;
	struct kvm_vcpu *inside; /* where ring 0 decides: in the guest with it, and not yet heard of since; lock */
};

/* The upper half of every address space. */
struct monmap {
	dune_gpa_t root; /* an address space that maps the monitor only */
	dune_gpa_t top;	 /* the table below its last entry, shared by all roots */
	dune_gpa_t text; /* the image */
	size_t text_pages;
	const struct mon_header *header;
};

struct kvm_vm {
	struct dune_vm vm;
	int kvm_fd, vm_fd;
	size_t run_size;
	struct kvm_cpuid2 *cpuid;
	struct monmap mon;
	struct kvm_vcpu *service; /* makes edits for spaces that no vCPU runs */
};

static inline struct kvm_vm *kvm_of(const struct dune_vm *vm)
{
	return (struct kvm_vm *)vm;
}

static inline struct kvm_vcpu *kvm_vcpu_of(const struct dune_vcpu *c)
{
	return (struct kvm_vcpu *)c;
}

static inline struct kvm_space *kvm_space_of(const struct dune_space *s)
{
	return (struct kvm_space *)s;
}

/* ---- machine.c ---- */

/*
 * The program can have closed our descriptors, as by closefrom(), and have others at these numbers: they are told by an
 * ioctl that KVM knows and that does nothing.
 */
/* What an ioctl on the VM failed with, negative.  -EIO: it was not ours. */
int kvm_error(int err);
/* Closes it if it is still KVM's, which knows the request. */
void kvm_close(int fd, unsigned long request, void *arg);

/* ---- edits.c ---- */

int edits_init(struct dune_space *s);
void edits_fini(struct dune_space *s);
uint64_t edits_get(struct dune_space *s, dune_gpa_t entry);
void edits_set(struct dune_space *s, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at, int level);
/* Hand all staged edits (at most MON_EDITS) to the vCPU, the only one that runs the space. */
void edits_hand_over(struct kvm_space *s, struct kvm_vcpu *c);
/* That vCPU is out.  False: it did not get as far as to make them; they are still staged. */
bool edits_taken_back(struct kvm_space *s, struct kvm_vcpu *c);
bool edits_none(const struct dune_space *s);
/* Make all staged edits now, by the service vCPU.  -EIO: the VM is broken. */
int edits_flush(struct dune_space *s);
/*
 * Dead tables, or one dead root, that were live, chained as what is parked: ring 0 clears their
 * entries (a root's lower half), then they are free.
 */
void edits_scrub(struct dune_vm *vm, uint32_t tables, bool root);

/* ---- vcpu.c ---- */

int kvm_vcpu_init(struct dune_vcpu *c);
void kvm_vcpu_fini(struct dune_vcpu *c);
/* End KVM_RUN, now or when it begins.  The reason is in kicked, or in a generation. */
void kvm_interrupt(struct dune_vcpu *c);
/* Wait until every vCPU that runs s has flushed for its current generation. */
void kvm_shootdown(struct dune_space *s);
/* Wait until the vCPU has made the edits that it was handed, or is out. */
void kvm_await_edits(struct kvm_vcpu *c);
/* Wait until it is out. */
void kvm_await_out(struct kvm_vcpu *c);

/* ---- run.c ---- */

enum entered kvm_enter(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f);
void kvm_leave(struct dune_vcpu *c, struct dune_space *s);
/* s->lock held, for a change: ring 0, which knows no lock, decides nothing in the space until it is released. */
void kvm_quiesce(struct dune_space *s);
/* Have ring 0 make the edits in c->mon.  -EIO: the vCPU is lost. */
int kvm_apply(struct kvm_vcpu *c);

/* ---- stock.c ---- */

/* s->lock held.  Where ring 0 decides: what it needs to resolve faults, when it asks for it.  -ENOMEM. */
int stock_refill(struct kvm_vcpu *c, struct dune_space *s);
/* What is left of it goes back when the run stops: a waiting space holds only what is its own. */
void stock_return(struct kvm_vcpu *c);
/* Takes over what ring 0 noted.  The vCPU is lost if that cannot be, or there is no room for it. */
void stock_drain(struct kvm_vcpu *c, struct dune_space *s);

/* ---- enter.c ---- */

/* How a KVM_RUN ended. */
enum left {
	LEFT_TRAP, /* an entry stub left at once: registers in kvm_run, the processor's words on the stack */
	LEFT_MONITOR, /* the monitor left: the frame in memory, the reason in mon->exit */
	LEFT_RING3,   /* a signal, in ring 3: registers in kvm_run */
	LEFT_BUS, /* a touch in ring 3 of a slot's page with nothing behind it: registers in kvm_run */
	LEFT_EXCEPTION, /* an exception in ring 3 that KVM keeps for itself: split locks; registers in kvm_run */
	LEFT_RESTORE, /* a signal, on the way to ring 3: the frame is as the host made it or in memory */
	LEFT_LOST,
};

/* KVM_RUN, at the rip and rsp in kvm_run, until the guest is where the host may take over. */
enum left kvm_run_guest(struct kvm_vcpu *c);

/* ---- monmap.c ---- */

int monmap_init(struct kvm_vm *vm);
/* Map the area of the vCPU with the next number; fills its host addresses. */
int monmap_area(struct kvm_vm *vm, struct kvm_vcpu *c);

#endif
