/* SPDX-License-Identifier: MIT */
/*
 * machine.h - the contract of a machine: what runs ring 3 on the page tables of vm/.  World: host.
 *
 * vm/ keeps what is the same everywhere: guest-physical memory, windows, the page-table walker, regions, spaces, and
 * what a page fault is answered with.  A machine says how ring 3 executes on these tables: how memory is shared with
 * it, what follows from a changed table entry, how it is entered and left.
 *
 * A machine's objects begin with vm/'s: struct kvm_space begins with struct dune_space.  vm/ allocates them, zeroed, in
 * the sizes stated here, and fills its part before it calls init.  Its lists hold what there is: an object that is being
 * made is not in them yet, one that is being taken apart may or may not be, one that was freed never is.
 *
 * Errors are negative errnos.  What fails has changed nothing, and may be tried again.
 *
 * There is a third machine, in plain memory, which checks what is promised here: tests/unit/fake_machine.c.
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "vm/vm.h"

/* How ring 3 was left. */
enum entered {
	ENTERED_TRAP,	 /* the frame has a trap that nobody has decided yet */
	ENTERED_DECIDED, /* it has one that the machine has decided is the caller's */
	ENTERED_AGAIN,	 /* nothing happened that concerns the caller: enter again */
	ENTERED_KICKED,	 /* vcpu_may_enter() said no */
	ENTERED_NOMEM,	 /* a page was needed and there is none */
	ENTERED_LOST,	 /* the vCPU is of no more use */
};

enum fork_moment { FORK_BEFORE, FORK_PARENT, FORK_CHILD };

struct machine_ops {
	enum dune_machine machine;
	size_t vm_size, space_size, vcpu_size;

	/*
	 * Opens what the machine needs, makes the arena's memory usable (arena_init()), has a page of zeroes
	 * (vm->zero_page), and finds out what this host really does: vm->info, vm->one_runner.  On an error close() follows,
	 * and vm/ takes the arena's range back, whatever is mapped there.
	 */
	int (*open)(struct dune_vm *vm, const struct dune_vm_config *cfg);
	/* Everything of open() that is still there.  Spaces and vCPUs are gone. */
	void (*close)(struct dune_vm *vm);
	/*
	 * In a child of fork(), before all else is taken apart: what was not inherited is forgotten.  Neither the arena nor
	 * vm->slots is there any more.
	 */
	void (*forked)(struct dune_vm *vm);

	/*
	 * Where kinds of pages differ (else NULL): a block of 2 MiB of the arena is of this kind from now on, and for ever.
	 * On an error it is of none yet, and may become one of another kind.  vm->lock held.
	 */
	int (*block)(struct dune_vm *vm, uint64_t gpa, enum page_kind kind);
	/* See dune_vm_share() and those that follow it there. */
	int (*share)(struct dune_vm *vm, void *addr, size_t len);
	int (*adopt)(struct dune_vm *vm, void *addr, size_t len);
	void (*fork)(struct dune_vm *vm, enum fork_moment moment); /* may be NULL */
	int (*clear)(struct dune_vm *vm, void *addr, size_t len);
	int (*prepare)(struct dune_vm *vm);
	/* Bytes from vm->own on where nothing can be mapped in a space. */
	uint64_t reserved;
	/* The guest is to see this memory of the process from now on.  vm->lock held; the slot is not in the list yet. */
	int (*window)(struct dune_vm *vm, const struct slot *slot);

	/* The space's root is in place, and empty; its upper half is the machine's, and stays as it is for as long as it is a root. */
	int (*space_init)(struct dune_space *s);
	/*
	 * Nobody runs it or will, and nobody else knows it.  Its tables and the pages that they map are still its own, and
	 * are somebody else's next: from here on nothing of the machine's reaches them.
	 */
	void (*space_fini)(struct dune_space *s);
	/*
	 * The walker's view of an entry of a table that is reachable from the root, and a change to it; as in struct pt_ops.
	 * s->lock held, unless the space is frozen, which is not changed.  An entry that was present, and a table that it led
	 * to, may be in use by a vCPU until that has entered anew, or sync(); one that was absent is in use by none.
	 */
	uint64_t (*get)(struct dune_space *s, dune_gpa_t entry);
	void (*set)(struct dune_space *s, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at, int level);
	/* Is every change in force, in every vCPU?  s->lock held. */
	bool (*is_synced)(const struct dune_space *s);
	/*
	 * Puts every change in force, in every vCPU, also one that is inside, and gives back what was parked
	 * (space_unpark()).  s->lock held; it may be released for a time.  -EIO: it cannot be; vm->broken is set, so that
	 * nothing is entered any more, and what was parked is given back all the same.
	 */
	int (*sync)(struct dune_space *s);
	/*
	 * s->lock held, for a change: nobody but its holder changes the space's tables until it is released, not even a
	 * vCPU that is inside.
	 */
	void (*quiesce)(struct dune_space *s);
	/* Dead tables, or one dead root, chained through struct page, that were in use: to be cleared and made free. */
	void (*scrub)(struct dune_vm *vm, uint32_t tables, bool root);

	/* The source of a first clone, which ran or not, frozen if that succeeds.  No lock held. */
	int (*freeze)(struct dune_space *source);

	bool vcpus_last; /* a vCPU's number is taken for as long as the VM lives */
	/* vm->making held. */
	int (*vcpu_init)(struct dune_vcpu *c);
	void (*vcpu_fini)(struct dune_vcpu *c);
	/*
	 * Runs ring 3 at *f in the space, until something happens, and says in *f how it goes on.  s->lock is held on both
	 * sides, and released for the time inside; vcpu_publish() and vcpu_may_enter() come before, vcpu_withdraw() after that
	 * time.  Changes that were made before are in force inside; where that makes all of them so, what was parked is given
	 * back as by sync().
	 */
	enum entered (*enter)(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f);
	/* The run is over: what the vCPU kept of the space goes back.  s->lock held. */
	void (*leave)(struct dune_vcpu *c, struct dune_space *s);
	/* The registers of *f that an exit did not tell; may be NULL: it tells all. */
	int (*registers)(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f);
	/* CPU time in ring 3 that is not the calling thread's; may be NULL: there is none. */
	uint64_t (*cpu_time)(struct dune_vcpu *c);
	/* Ends the time inside, now or when it begins.  Any thread; c->thread says whether there is anything to end. */
	void (*interrupt)(struct dune_vcpu *c);
};

extern const struct machine_ops kvm_machine, process_machine;
/* machines.c: all that there are; NULL ends them. */
extern const struct machine_ops *const machines[];

#endif
