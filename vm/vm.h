/* SPDX-License-Identifier: MIT */
/*
 * vm.h - what the files of vm/ share.  World: host.
 *
 * Locking: a space's lock guards its tables, regions and private pages; it is not held while a vCPU is in
 * ring 3.  vm->making guards the making of vCPUs, and what the machine says; vm->lock slots, the page
 * allocator, the lists of spaces and vCPUs, and which vCPU is in which space.  Order: vm->lock last; which of
 * the others comes first is the machine's to say, and nothing else takes one while it has the other.
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

struct machine_ops;

/* ---- pages.c: the arena ---- */

struct page {
	uint32_t refs;
	uint32_t next; /* page number, in a free list; 0 ends it */
};

/*
 * What a page is for.  Where ring 3 is another process, memory of each kind is shared with it in another way, and a kind
 * takes the arena in blocks of 2 MiB; elsewhere all are one.
 */
enum page_kind {
	PAGE_PRIVATE, /* ring 3 may have it to write */
	PAGE_IMAGE,   /* to read and execute at most */
	PAGE_HOST,    /* never: page tables, and what the host alone looks at */
	PAGE_KINDS,
};

struct zone {
	uint64_t at, end;    /* of the block that pages are taken from; guest-physical */
	uint32_t free_pages; /* list head */
};

struct arena {
	char *base; /* the caller's range, from dune_vm_create() on */
	uint64_t size;
	uint64_t top; /* never used above; guest-physical */
	struct page *pages;
	uint8_t *kinds; /* of each 2 MiB, if they differ; else NULL */
	struct zone zones[PAGE_KINDS];
	uint32_t free_tables, free_roots; /* list heads */
	uint64_t used, tables;		  /* pages: handed out, of these table pages */
};

struct dune_vm;

/* The machine has made the range readable and writable. */
int arena_init(struct dune_vm *vm, bool kinds_differ);
void arena_fini(struct dune_vm *vm);
/* As dune_pages_alloc(). */
int arena_alloc(struct dune_vm *vm, enum page_kind kind, size_t n, dune_gpa_t *out);
/* Of a page that was handed out. */
enum page_kind arena_kind(const struct arena *a, dune_gpa_t page);
/* Used pages of the arena, all of [page, page+len)?  vm->lock held. */
bool arena_covers(const struct arena *a, dune_gpa_t page, uint64_t len);
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

/* ---- space.c, mapping.c, tables.c ---- */

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

	/*
	 * Pages that ring 3 may still reach, until a change is in force that took them away: chains through struct page,
	 * 0 ends them.
	 */
	uint32_t parked_pages, parked_tables;
	unsigned nparked;

	struct dune_private *private;
	size_t nprivate, private_cap;
	uint64_t cow, demand, spurious;
	uint64_t serial; /* never the same twice in a VM: a root page may be */

	unsigned runners; /* vCPUs inside dune_vcpu_run() with it; vm->lock */
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

/* Is there something of the machine's own? */
bool space_is_reserved(const struct dune_space *s, dune_gva_t at, size_t len);

extern const struct pt_ops space_pt_ops;
/* No vCPU can reach what is parked: it goes back. */
void space_unpark(struct dune_space *s);

/* ---- vcpu.c ---- */

struct dune_vcpu {
	struct dune_vm *vm;
	unsigned id;
	struct dune_space *space; /* inside dune_vcpu_run(): whose; vm->lock for others */
	_Atomic pid_t thread;	  /* in ring 3 or about to be: to be interrupted */
	atomic_bool kicked;	  /* dune_vcpu_kick() */
	bool lost;
	_Atomic uint64_t switches;
	struct dune_vcpu *next; /* all vCPUs of the VM */
	struct dune_vcpu *next_free;
};

/* vm->making held. */
int vcpu_new(struct dune_vm *vm, struct dune_vcpu **out);
/* About to be in ring 3: who interrupts from here on finds the thread. */
void vcpu_publish(struct dune_vcpu *c);
/* Published: who kicked before has set the flag.  False: it was kicked, or the VM is broken, and it must not enter. */
bool vcpu_may_enter(struct dune_vcpu *c);
void vcpu_withdraw(struct dune_vcpu *c);
/* In a child of fork(). */
void vcpus_forked(void);

/* ---- standard.c ---- */

/*
 * What the library opens is never descriptor 0, 1 or 2, not even for a moment: a thread that prints would write into it,
 * and a program that opens these anew would close it.  Where they are free they are held meanwhile.
 */
struct standard {
	int fd[3];
	unsigned n;
};
void standard_hold(struct standard *h);
void standard_release(struct standard *h);

/* ---- vm.c ---- */

struct dune_vm {
	const struct machine_ops *ops;
	pthread_mutex_t lock;
	pthread_mutex_t making;
	int kick_signal;
	bool one_runner; /* the machine cannot have two vCPUs run one space */
	struct dune_vm_info info;
	struct arena arena;
	uint64_t own; /* see dune_vm_config */
	struct slot *slots;
	size_t nslots, slots_cap;
	uint64_t slot_top; /* next guest-physical address for a window */
	dune_gpa_t zero_page, zero_block; /* 4 KiB; 2 MiB, 0: not asked for yet */
	struct dune_vcpu *vcpus, *free_vcpus;
	unsigned nvcpus; /* numbers that the machine has taken */
	struct dune_space *spaces;
	uint64_t spaces_made;
	uint64_t lost, switches;	/* vCPUs; of those that are gone */
	uint64_t cow, demand, spurious; /* faults of spaces that are gone */
	_Atomic uint64_t edits;
	atomic_bool broken; /* an edit could not be made, or dune_vm_stop(): nothing runs any more */
};

/* The entry as it lies in memory. */
static inline uint64_t *space_entry(struct dune_space *s, dune_gpa_t entry)
{
	return (uint64_t *)arena_host(&s->vm->arena, entry);
}

#endif
