/* SPDX-License-Identifier: MIT */
/*
 * vm.h - what the files of vm/ share.  World: host.
 *
 * Locking: a space's lock guards its tables, edits, regions and private pages; it is not held while
 * a vCPU is inside the guest.  vm->service_lock guards the service vCPU, the monitor's tables and
 * the making of vCPUs; vm->lock slots, the page allocator, the lists of spaces and vCPUs, and which
 * vCPU is in which space. Order: space, vm->service_lock, vm->lock.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "include/dune.h"
#include "vm/monitor/abi.h"
#include "vm/monitor/monitor.h"
#include "vm/pt.h"

struct kvm_run;

/* ---- pages.c: the arena ---- */

struct page {
	uint32_t refs;
	uint32_t next; /* page number, in a free list; 0 ends it */
};

struct arena {
	char *base;
	uint64_t size;
	uint64_t top; /* never used above; guest-physical */
	struct page *pages;
	uint32_t free_pages, free_tables, free_roots; /* list heads */
	uint64_t used, tables;			      /* pages: handed out, of these table pages */
};

struct dune_vm;

int arena_init(struct dune_vm *vm, const struct dune_vm_config *cfg);
void arena_fini(struct dune_vm *vm);
/*
 * A zeroed page that becomes a page table, and stays one for ever: its entries were cleared by ring
 * 0.  A root stays a root, with its upper half in place: a vCPU that is out may have it loaded.
 */
int arena_table_alloc(struct dune_vm *vm, bool root, dune_gpa_t *out);
/* Every entry was cleared by ring 0, or never was in a live tree. */
void arena_table_free(struct dune_vm *vm, bool root, dune_gpa_t table);

static inline void *arena_host(const struct arena *a, dune_gpa_t page)
{
	return a->base + page.v;
}

/* ---- slots.c ---- */

struct slot {
	uint64_t hva, gpa, len;
	bool readonly;
};

/* The bytes of a page of the arena or of a window, to be read.  NULL: there is none. */
const void *slot_host(struct dune_vm *vm, dune_gpa_t page);
/*
 * Is there guest memory behind all of [page, page+len): used pages of the arena, or one window;
 * `write`: that can be written?
 */
bool slot_covers(struct dune_vm *vm, dune_gpa_t page, uint64_t len, bool write);
int slot_register(struct dune_vm *vm, uint64_t gpa, const void *hva, uint64_t len,
		  bool readonly); /* vm->lock held */

/* ---- space.c, mapping.c, edits.c ---- */

#define EDITS_MAX 64

struct dune_space {
	pthread_mutex_t lock; /* recursive */
	struct dune_vm *vm;
	struct pt pt;
	struct mon_space *mon; /* host address of mon_page, an arena page */
	dune_gpa_t mon_page;
	struct dune_space *source; /* cloned from; frozen, its `clones` counts us */
	unsigned clones;	   /* vm->lock */
	bool released;		   /* goes with its last clone; vm->lock */
	bool frozen;
	bool reprotected; /* a private page may have other rights than at first */
	bool live;	  /* ran: an entry that was present is changed by ring 0 */

	/* Edits that ring 0 has not made yet.  Reads see through them. */
	struct mon_edit *edits;
	unsigned nedits;
	bool edits_flush; /* one of them was above a leaf */
	/* Was handed the first `handed` of them: these are not changed, only followed by newer. */
	struct dune_vcpu *editor;
	unsigned handed;
	/* Pages to give back once they are made: chains through struct page, 0 ends them. */
	uint32_t parked_pages, parked_tables;
	unsigned nparked;

	struct dune_private *private;
	size_t nprivate, private_cap;
	uint64_t cow, demand, spurious;
	uint64_t serial; /* never the same twice in a VM: a root page may be */

	unsigned runners; /* vCPUs inside dune_vcpu_run() with it; vm->lock */
	struct dune_vcpu *inside; /* where ring 0 decides: in the guest with it, and not yet heard of since; lock */
	struct dune_space *next, **link;
};

/* The monitor's environment for deciding on the host. */
void space_env(struct dune_space *s, struct mon_env *env);
/* Room for `more` further private pages in the list.  -ENOMEM. */
int space_reserve_private(struct dune_space *s, size_t more);
/* There is room. */
void space_note_private(struct dune_space *s, struct mon_private p);
/* The space is about to run: what it maps may be cached from now on. */
void space_mark_live(struct dune_space *s);

extern const struct pt_ops space_pt_ops;
/* Hand all staged edits (at most MON_EDITS) to the vCPU, the only one that runs the space. */
void edits_hand_over(struct dune_space *s, struct dune_vcpu *c);
/* That vCPU is out.  False: it did not get as far as to make them; they are still staged. */
bool edits_taken_back(struct dune_space *s, struct dune_vcpu *c);
/* Every staged edit was made and no vCPU can hold what they changed: pages go back. */
void edits_done(struct dune_space *s);
/* Make all staged edits now, by the service vCPU.  -EIO: the VM is broken. */
int edits_flush(struct dune_space *s);
/*
 * Dead tables, or one dead root, that were live, chained as what is parked: ring 0 clears their
 * entries (a root's lower half), then they are free.
 */
void edits_scrub(struct dune_vm *vm, uint32_t tables, bool root);

/* ---- vcpu.c ---- */

/* Arena pages that ring 0 was given and has not used. */
struct pile {
	uint64_t at[MON_STOCK];
	uint32_t n;
};

struct dune_vcpu {
	struct dune_vm *vm;
	unsigned id;
	bool ring0; /* ring 0 decides traps; else the host does */
	int fd;
	struct kvm_run *run;
	struct mon_vcpu *mon;	  /* host address of its shared page */
	char *stack;		  /* host address of the page of the ring-0 stack */
	uint64_t area;		  /* guest address */
	uint64_t syscall_entry;	  /* guest address, in MSR_LSTAR */
	struct dune_space *space; /* inside dune_vcpu_run(): whose; vm->lock for others */
	uint64_t cr3;		  /* loaded */
	uint64_t cr3_space;	  /* serial of the space it was loaded for */
	uint64_t generation;	  /* of that space, last flushed for; atomic */
	_Atomic pid_t thread;	  /* inside KVM_RUN or about to be: to be signalled */
	atomic_bool kicked;	  /* dune_vcpu_kick() */
	bool lost;
	struct pile pages, tables; /* its stock, as the host knows it: mon only shows it */
	_Atomic uint64_t switches;
	struct dune_vcpu *next; /* all vCPUs of the VM */
	struct dune_vcpu *next_free;
};

/* vm->service_lock held. */
int vcpu_new(struct dune_vm *vm, struct dune_vcpu **out);
void vcpu_close(struct dune_vcpu *c);
/* Have ring 0 make the edits in c->mon.  -EIO: the vCPU is lost. */
int vcpu_apply(struct dune_vcpu *c);
/* In a child of fork(). */
void run_forked(void);
/*
 * run.c.  s->lock held, for a change: ring 0, which knows no lock, decides nothing in the space until it is released.
 */
void run_hold(struct dune_space *s);
/*
 * stock.c.  s->lock held.  Where ring 0 decides: what it needs to resolve faults, when it asks for it.  -ENOMEM.
 */
int stock_refill(struct dune_vcpu *c, struct dune_space *s);
/* What is left of it goes back when the run stops: a waiting space holds only what is its own. */
void stock_return(struct dune_vcpu *c);
/* Takes over what ring 0 noted.  The vCPU is lost if that cannot be, or there is no room for it. */
void stock_drain(struct dune_vcpu *c, struct dune_space *s);
/* Wait until every vCPU that runs s has flushed for its current generation. */
void vcpu_shootdown(struct dune_space *s);
/* Wait until the vCPU has made the edits that it was handed, or is out. */
void vcpu_await_edits(struct dune_vcpu *c);
/* Wait until it is out. */
void vcpu_await_out(struct dune_vcpu *c);

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
enum left vcpu_enter(struct dune_vcpu *c);

/* ---- monmap.c: the upper half ---- */

struct monmap {
	dune_gpa_t root; /* an address space that maps the monitor only */
	dune_gpa_t top;	 /* the table below its last entry, shared by all roots */
	dune_gpa_t text; /* the image */
	size_t text_pages;
	const struct mon_header *header;
};

int monmap_init(struct dune_vm *vm);
/* Map the area of vCPU `id`; fills its host addresses. */
int monmap_area(struct dune_vm *vm, struct dune_vcpu *c);

/* ---- vm.c ---- */

/*
 * The program can have closed our descriptors, as by closefrom(), and have others at these numbers:
 * they are told by an ioctl that KVM knows and that does nothing.
 */
/* What an ioctl on the VM failed with, negative.  -EIO: it was not ours. */
int vm_error(int err);
/* Closes it if it is still KVM's, which knows the request. */
void vm_close(int fd, unsigned long request, void *arg);

struct dune_vm {
	pthread_mutex_t lock;
	pthread_mutex_t service_lock;
	int kvm_fd, vm_fd;
	int kick_signal;
	size_t run_size;
	struct dune_vm_info info;
	struct kvm_cpuid2 *cpuid;
	struct arena arena;
	struct slot *slots;
	size_t nslots, slots_cap;
	uint64_t slot_top; /* next guest-physical address for a window */
	struct monmap mon;
	dune_gpa_t zero_page;
	struct dune_vcpu *service; /* makes edits for spaces that no vCPU runs */
	struct dune_vcpu *vcpus, *free_vcpus;
	unsigned nvcpus;
	struct dune_space *spaces;
	uint64_t spaces_made;
	uint64_t lost, cow, demand, spurious; /* vCPUs; faults of spaces that are gone */
	_Atomic uint64_t edits;
	atomic_bool broken; /* an edit could not be made, or dune_vm_stop(): nothing runs any more */
};

#endif
