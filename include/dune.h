/* SPDX-License-Identifier: MIT */
/*
 * dune.h - the layer below libsthread: one virtual machine, of KVM or of stub processes, its guest-physical
 * memory, guest address spaces, and vCPUs that run guest user mode (ring 3).  World: host.
 *
 * A guest here has no kernel of its own beyond a small monitor that belongs to the library.  Code runs in
 * ring 3 of an address space (a tree of page tables); whatever it does that the monitor cannot resolve ends
 * dune_vcpu_run() with a frame and a reason.  The layer knows page tables, not policies.
 *
 * Conventions: calls that can fail return 0 or a negative errno and leave outputs untouched on failure;
 * destroy calls take NULL.  Lengths are bytes and addresses page aligned (4096) unless stated otherwise.
 * See dune(3).
 */
#ifndef DUNE_H
#define DUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DUNE_API __attribute__((visibility("default")))
#define DUNE_MUST __attribute__((warn_unused_result))

#define DUNE_PAGE_SIZE 4096UL

/* Addresses are one-member structs: what they mean cannot be mixed up. */
typedef struct { uint64_t v; } dune_gva_t; /* guest-virtual */
typedef struct { uint64_t v; } dune_gpa_t; /* guest-physical */

static inline dune_gva_t dune_gva(uint64_t v) { dune_gva_t a = { v }; return a; }
static inline dune_gpa_t dune_gpa(uint64_t v) { dune_gpa_t a = { v }; return a; }

struct dune_vm;
struct dune_space;
struct dune_vcpu;

/* ---- the virtual machine ------------------------------------------------------------------------- */

/* What runs ring 3. */
enum dune_machine { DUNE_MACHINE_AUTO, DUNE_MACHINE_KVM, DUNE_MACHINE_PROCESS };

/* Where the monitor's decision code runs.  AUTO measures once which is cheaper. */
enum dune_placement { DUNE_PLACE_AUTO, DUNE_PLACE_HOST, DUNE_PLACE_RING0 };

struct dune_vm_config {
	void *base;                     /* arena: reserved PROT_NONE range, 2 MiB aligned, owned by the VM from now on */
	size_t size;                    /* its length, a multiple of 2 MiB; guest-physical 0 .. size */
	enum dune_machine machine;      /* AUTO: KVM where the processor does it in hardware, else PROCESS */
	enum dune_placement placement;  /* of KVM */
	int kick_signal;                /* a signal with a handler and without SA_RESTART; interrupts dune_vcpu_run() */
	void *own;                      /* page aligned: DUNE_OWN_SIZE reserved addresses where a stub process has what is the
	                                   library's, and no space anything; NULL: the first ones of the arena */
};
#define DUNE_OWN_SIZE (256UL << 10)

/* What the machine offers, probed when the VM was created. */
struct dune_vm_info {
	enum dune_machine machine;      /* not AUTO */
	enum dune_placement placement;  /* HOST or RING0 */
	bool syscall_faults;            /* `syscall` in ring 3 stays in ring 3 and arrives as a page fault (software KVM) */
	bool smep, smap, umip;          /* in force in the guest */
	uint64_t xcr0;                  /* register components ring 3 may use */
	unsigned max_vcpus;
	unsigned phys_bits;             /* guest-physical address width */
	uint64_t lowest;                /* nothing can be mapped below: what the kernel keeps from processes, or 0 */
	bool kick_signals;              /* dune_vcpu_kick() needs the thread in ring 3 not to block kick_signal */
	bool adopt_moves;               /* dune_vm_adopt() puts other memory in place: nobody may write it meanwhile */
};

/*
 * Errors: -ENOENT, -EACCES (of KVM: no /dev/kvm, no right to it), -ENOTSUP (what is needed is missing), -ENOMEM, -EINVAL;
 * of stub processes also -EFBIG (RLIMIT_FSIZE), -EAGAIN, -EMFILE, -EIO.
 */
DUNE_MUST DUNE_API int dune_vm_create(struct dune_vm **out, const struct dune_vm_config *cfg);
/*
 * No vCPU is running, and from now on none does (DUNE_EXIT_LOST).  What is freed afterwards is not made fit for use
 * again, which takes guest ring 0 its time: call it before taking a large machine apart.
 */
DUNE_API void dune_vm_stop(struct dune_vm *vm);
/* No vCPU may be running.  Frees spaces, pages, slots and vCPUs that are left. */
DUNE_API void dune_vm_destroy(struct dune_vm *vm);
DUNE_API void dune_vm_get_info(const struct dune_vm *vm, struct dune_vm_info *out);
/* In a child of fork(): close the descriptors and forget the rest, which was not inherited.  `vm` is gone afterwards. */
DUNE_API void dune_vm_forked(struct dune_vm *vm);

/* ---- guest-physical memory: pages of the arena ----------------------------------------------------- */

/* A zeroed page with one reference.  -ENOMEM when the arena is full.  Thread-safe. */
DUNE_MUST DUNE_API int dune_page_alloc(struct dune_vm *vm, dune_gpa_t *out);
DUNE_API void dune_page_get(struct dune_vm *vm, dune_gpa_t page);
DUNE_API void dune_page_put(struct dune_vm *vm, dune_gpa_t page);
/*
 * `n` contiguous zeroed pages, aligned to 2 MiB when n >= 512, each with one reference; in memory advised for huge pages.
 * Always of memory that was never used: pages that were freed are found again one by one, by dune_page_alloc(), only.
 */
DUNE_MUST DUNE_API int dune_pages_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out);
/* The same, of pages that are only ever mapped to be read or executed: what many spaces have in common. */
DUNE_MUST DUNE_API int dune_image_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out);
/* The page's bytes in this process.  NULL for an address outside the arena. */
DUNE_API void *dune_page_host(const struct dune_vm *vm, dune_gpa_t page);
/* The page that is always zero; map it copy-on-write or read-only only. */
DUNE_API dune_gpa_t dune_zero_page(const struct dune_vm *vm);
/* 2 MiB of it, for large leaves. */
DUNE_MUST DUNE_API int dune_zero_block(struct dune_vm *vm, dune_gpa_t *out);

/*
 * Memory of this process that the guest may be given to write: dune_slot_add_rw() of anything within
 * [addr, addr+len).  The range is the caller's, reserved without access, and stays so; its bytes are zero.  Where ring 3
 * is another process, it becomes shared memory, while there is no vCPU (-EBUSY); elsewhere all memory will do, and this
 * does nothing.
 */
DUNE_MUST DUNE_API int dune_vm_share(struct dune_vm *vm, void *addr, size_t len);
/*
 * The same for private writable memory of the program, as it is, whole pages: it stays where it is, with the bytes that
 * it has.  No other thread may be writing it meanwhile.  A program that has adopted memory calls
 * dune_vm_fork_begin() and dune_vm_fork_end() around fork(), or parent and child share that memory.  -ENOMEM.
 */
DUNE_MUST DUNE_API int dune_vm_adopt(struct dune_vm *vm, void *addr, size_t len);
/*
 * Around fork(), in the thread that forks, while nobody calls dune_vm_adopt(): right before it, and right after it in the
 * parent and in the child.  What was adopted is the child's own then, as it was at dune_vm_fork_begin(); what other
 * threads write between that and the fork, the child does not see.
 */
DUNE_API void dune_vm_fork_begin(struct dune_vm *vm);
DUNE_API void dune_vm_fork_end(struct dune_vm *vm, bool child);
/* A part of such a range is zero again, without access, and its memory given back. */
DUNE_MUST DUNE_API int dune_vm_clear(struct dune_vm *vm, void *addr, size_t len);
/*
 * Windows that there are now are seen as they are now.  To be called when they are made, while nothing is in memory
 * that a compartment must not have; where ring 3 is another process it inherits them.  Else at the first vCPU.
 */
DUNE_MUST DUNE_API int dune_vm_prepare(struct dune_vm *vm);

/*
 * A read-only window of the guest on memory of this process, for ever: whatever is mapped at that address
 * later is shown.  So the caller must own or have pinned it.  Repeating a range returns the first's address.
 */
DUNE_MUST DUNE_API int dune_slot_add(struct dune_vm *vm, const void *addr, size_t len, dune_gpa_t *out);
/* The same, and leaves may be writable: the guest then writes this memory of the process. */
DUNE_MUST DUNE_API int dune_slot_add_rw(struct dune_vm *vm, void *addr, size_t len, dune_gpa_t *out);
/*
 * The bytes of a window's page in this process.  They may be mapped from a file that has become shorter.  NULL: no
 * window has the page or, with `write`, only a read-only one.
 */
DUNE_API void *dune_slot_host(struct dune_vm *vm, dune_gpa_t page, bool write);

/* ---- address spaces --------------------------------------------------------------------------------- */

#define DUNE_READ 1u
#define DUNE_WRITE 2u
#define DUNE_EXEC 4u    /* with DUNE_WRITE: -EINVAL, always */
#define DUNE_COW 8u     /* reads show the mapped page, the first write gives the space a private copy; without DUNE_WRITE or EXEC */
#define DUNE_OWNED 16u  /* the mapping takes over the caller's reference: the page goes when it is unmapped.  With
			   DUNE_COW: only clones get copies, a write in the space itself is denied */

/* Highest user address that can be mapped, exclusive: the top user page never is. */
#define DUNE_USER_END 0x00007ffffffff000UL

struct dune_leaf {
	dune_gpa_t page;        /* of the 4 KiB page that holds the address, also inside a large leaf */
	unsigned prot;          /* DUNE_READ ... DUNE_OWNED */
	size_t size;            /* of the leaf: 4096 or 2 MiB */
};

DUNE_MUST DUNE_API int dune_space_create(struct dune_vm *vm, struct dune_space **out);
/*
 * A new space that shares all of `src` by reference and copies a table when it must differ.  Freezes `src`:
 * from now on it can be neither changed nor run (-EBUSY), and it stays until its clones are gone.  Pages that
 * src OWNs stay src's: make them COW or read-only first (a writable leaf in src: -EINVAL); a clone has them
 * with the same rights and, if it asks for WRITE, by copy only, not executable any more.  Pages that src maps
 * without owning them (windows on host memory, pages whose reference the caller keeps) are the caller's
 * responsibility: where they are not COW, a clone that asks for WRITE writes the page that all of them see.
 */
DUNE_MUST DUNE_API int dune_vm_clone(struct dune_space *src, struct dune_space **out);
DUNE_API void dune_vm_free(struct dune_space *space);

/*
 * Changes to a space.  One thread at a time per space; not while a vCPU runs it, unless that run is waited
 * for or dune_vm_sync() follows.  An entry that was present is changed by guest ring 0 before the space next
 * enters ring 3, on whichever vCPU; reads through this interface show the new state at once, and pages that
 * went are reused only after that.  dune_vm_sync() makes all of it true now, on every vCPU, also running ones.
 * With DUNE_PLACE_RING0 a vCPU that runs the space comes out of the guest for the time of each of these calls.
 * Errors: -EINVAL, -EEXIST (map over a mapping), -ENOMEM and -EDQUOT (the space's limit; nothing changed), -EBUSY (frozen).
 * What is mapped must be there: pages of the arena that were handed out, or a part of one window; and a read-only
 * window is not made writable, by either call (-EINVAL).
 */
DUNE_MUST DUNE_API int dune_vm_map(struct dune_space *s, dune_gva_t at, dune_gpa_t page, size_t len, unsigned prot);
DUNE_MUST DUNE_API int dune_vm_mprotect(struct dune_space *s, dune_gva_t at, size_t len, unsigned prot); /* holes are skipped */
DUNE_MUST DUNE_API int dune_vm_unmap(struct dune_space *s, dune_gva_t at, size_t len);                   /* holes are skipped */
/*
 * Of a clone: what its source has there again, as if it had not been touched.  -EINVAL also: not a clone.  -ENOMEM,
 * -EDQUOT: done for a beginning of it.
 */
DUNE_MUST DUNE_API int dune_vm_restore(struct dune_space *s, dune_gva_t at, size_t len);
DUNE_MUST DUNE_API int dune_vm_sync(struct dune_space *s);
/* -ENOENT where nothing is mapped. */
DUNE_MUST DUNE_API int dune_vm_lookup(struct dune_space *s, dune_gva_t at, struct dune_leaf *out);
/* Calls fn for every leaf in [from, to); a non-zero return of fn ends the walk and is returned. */
DUNE_API int dune_vm_page_walk(struct dune_space *s, dune_gva_t from, dune_gva_t to,
			       int (*fn)(void *ctx, dune_gva_t at, const struct dune_leaf *leaf), void *ctx);

/*
 * Give the space its own writable copy of a copy-on-write page now instead of at the first write (or, in a
 * demand region, a zeroed page).  Already writable: 0.  -EFAULT where a write would be denied; -ENOMEM.
 */
DUNE_MUST DUNE_API int dune_vm_make_private(struct dune_space *s, dune_gva_t at);

/*
 * Demand regions: [at, at+len) has zeroed private memory that appears when touched.  prot is DUNE_READ and
 * DUNE_WRITE or none (no access, but the range is taken).  Adding over a region replaces that part of it and
 * keeps pages that are there, their rights adjusted; removing unmaps them.  Adjacent alike regions are one.
 * Ordinary mappings in the range get its rights, too, as by dune_vm_mprotect(), and go when it is removed: keep them apart.
 * Errors: -EINVAL, -ENOMEM (also too many regions); nothing changed.
 */
DUNE_MUST DUNE_API int dune_region_add(struct dune_space *s, dune_gva_t at, size_t len, unsigned prot);
DUNE_MUST DUNE_API int dune_region_remove(struct dune_space *s, dune_gva_t at, size_t len);
/* The region at or above `at`; -ENOENT. */
DUNE_MUST DUNE_API int dune_region_next(const struct dune_space *s, dune_gva_t at, dune_gva_t *start, size_t *len, unsigned *prot);

/*
 * Private pages: what copy-on-write and demand regions gave this space.  The list is in order of appearance.
 * `from` is the page it was copied from (the zero page for demand memory).
 */
struct dune_private { dune_gva_t at; dune_gpa_t page; dune_gpa_t from; };
DUNE_API size_t dune_space_private(struct dune_space *s, const struct dune_private **list);
/*
 * At most this many private pages and tables (0: no limit); beyond it the run ends with DUNE_EXIT_NOMEM, and what would
 * need a table fails with -EDQUOT.
 */
DUNE_API void dune_space_limit(struct dune_space *s, size_t pages);
/* How many more of them there may be; SIZE_MAX: no limit. */
DUNE_API size_t dune_space_room(const struct dune_space *s);
/* Arena pages this space holds alone: tables, private pages, bookkeeping. */
DUNE_API size_t dune_space_pages(const struct dune_space *s);
/* Those of them that are page tables which translate addresses in [at, at+len) and no others. */
DUNE_API size_t dune_space_tables(struct dune_space *s, dune_gva_t at, size_t len);

/*
 * Put a space back to a beginning: the first `keep` private pages (0: all) get the bytes they were made from
 * and stay mapped, the others are unmapped, demand regions are removed.  Not while it runs.
 */
DUNE_MUST DUNE_API int dune_space_reset(struct dune_space *s, size_t keep);

/*
 * Give back what a clone would get again, the same, at its next touch: private pages beyond the first `keep` that hold
 * what they were made from (and, in a demand region, have its rights), and tables that say what its source's say.  What is
 * left does not depend on what was touched before.  It can take long: stop (NULL: none) is asked again and again, and
 * true ends it with a part of it done.
 * -EINVAL: not a clone; -EBUSY: it runs, or is frozen; -EINTR: stopped; -EIO: the VM is broken.
 */
DUNE_MUST DUNE_API int dune_space_shed(struct dune_space *s, size_t keep, bool (*stop)(void *ctx), void *ctx);

/* System calls the monitor answers itself with a constant, without an exit: e.g. getpid.  At most 16. */
DUNE_MUST DUNE_API int dune_space_answer(struct dune_space *s, long nr, uint64_t value);

/* ---- vCPUs ------------------------------------------------------------------------------------------ */

/* Ring-3 registers.  The segment selectors and the bases of FS and GS are the trampoline's business. */
struct dune_frame {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	uint64_t vector, error;         /* of the last exit */
	uint64_t rip, cs, rflags, rsp, ss;
	uint64_t cr2;
};

enum dune_exit {
	DUNE_EXIT_SYSCALL,      /* frame: number in rax, arguments as Linux; rip is after the instruction */
	DUNE_EXIT_FAULT,        /* frame.vector, error, and cr2 for #PF: the monitor did not resolve it */
	DUNE_EXIT_KICKED,       /* dune_vcpu_kick() */
	DUNE_EXIT_NOMEM,        /* a page was needed: arena empty or the space over its limit; frame.cr2 */
	DUNE_EXIT_LOST,         /* the vCPU is unusable: destroy it (monitor fault, shutdown, KVM error) */
	DUNE_EXIT_BUSY,         /* not run, the vCPU is as it was: the space is frozen, of another VM or, with DUNE_PLACE_RING0,
				   in another vCPU.  DUNE_PLACE_HOST: any number of vCPUs may run one space */
};

/*
 * -EAGAIN: no vCPU left (dune_vm_info.max_vcpus).  A destroyed vCPU is kept for the next create, unless lost: KVM never
 * gives a lost one's number out again while the VM lives.  A create that fails takes no number.  -EIO: the VM's
 * descriptor is not KVM's any more, since the program has closed it (dune_slot_add(), too).
 */
DUNE_MUST DUNE_API int dune_vcpu_create(struct dune_vm *vm, struct dune_vcpu **out);
DUNE_API void dune_vcpu_destroy(struct dune_vcpu *vcpu);
/*
 * Run the space at *frame until something happens that the monitor cannot resolve.  frame->rip and rsp are any
 * user addresses; flags are masked to arithmetic flags, DF and AC.  Blocks; one thread at a time per vCPU.
 * The registers that frame does not name keep what ring 3 left: enter through a trampoline (see dune_reset_entry)
 * when the code that ran before must not be heard of.
 */
DUNE_API enum dune_exit dune_vcpu_run(struct dune_vcpu *vcpu, struct dune_space *s, struct dune_frame *frame);
/*
 * After a run that ended with DUNE_EXIT_SYSCALL: the registers of *frame that are neither number, argument nor rip.  They
 * may not be known before.  -EIO: the vCPU is lost.
 */
DUNE_MUST DUNE_API int dune_vcpu_registers(struct dune_vcpu *vcpu, struct dune_space *s, struct dune_frame *frame);
/* CPU time in nanoseconds that ring 3 took and that is not the time of the thread which ran it. */
DUNE_API uint64_t dune_vcpu_cpu_time(struct dune_vcpu *vcpu);
/* Make the current or the next dune_vcpu_run() return DUNE_EXIT_KICKED.  Any thread; sticks until it did. */
DUNE_API void dune_vcpu_kick(struct dune_vcpu *vcpu);
/* Withdraw a kick that has not been seen.  Only by the thread that runs the vCPU. */
DUNE_API void dune_vcpu_unkick(struct dune_vcpu *vcpu);

/*
 * Ring-3 code of the library (mapped wherever its text is) that resets every register that a frame does not
 * name (all of XCR0, segment selectors, GS base), sets the FS base to rcx, and calls the function in rdx with
 * rdi; when that returns, it issues the system call DUNE_SYS_RETURN with the result in rdi.
 */
DUNE_API void dune_reset_entry(void);
#define DUNE_SYS_RETURN 0x40000000L

struct dune_vm_stats {
	uint64_t world_switches;        /* KVM_RUN calls; notifications of stubs */
	uint64_t cow_faults, demand_faults, spurious_faults;
	uint64_t edits;                 /* live entries changed by ring 0; mappings, by stubs */
	uint64_t pages_used, pages_total, table_pages;
	uint64_t vcpus, vcpus_lost, slots, spaces;
};
DUNE_API void dune_vm_get_stats(struct dune_vm *vm, struct dune_vm_stats *out);
DUNE_API uint64_t dune_vcpu_switches(const struct dune_vcpu *vcpu);

#ifdef __cplusplus
}
#endif
#endif
