/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what the host side and the monitor in ring 0 share.  World: host and ring 0; addresses of
 * the other world are integers here.
 */
#ifndef VM_MONITOR_ABI_H
#define VM_MONITOR_ABI_H

#include <stddef.h>
#include <stdint.h>

#include "arch/layout.h"

#define MON_MAGIC 0x6e6f6d6874733031UL

/*
 * The first bytes of the monitor's image: where to enter it.  Addresses in the guest's upper half.
 */
struct mon_header {
	uint64_t magic;
	uint64_t vectors_host;	/* 256 entry stubs of 16 bytes that leave at once ... */
	uint64_t vectors_ring0; /* ... and that let ring 0 decide first */
	uint64_t syscall_host;	/* offset in the entry page, for MSR_LSTAR */
	uint64_t syscall_ring0;
	uint64_t apply; /* CR3, edits, flush, then leave */
	uint64_t resume_frame; /* rsp: struct dune_frame; CR3, edits, flush, then all registers from it ... */
	uint64_t restore; /* ... from here on nothing but a look at `kick` and the registers is left, up to ... */
	uint64_t resume; /* ... the iretq.  rsp: the five words of an interrupt frame */
	uint64_t text;	 /* page-aligned start of the text, up to ... */
	uint64_t entry;	 /* the entry page */
	uint64_t end;	 /* of everything */
};

/* A store to a page-table entry that may be live, or to several in a row. */
struct mon_edit {
	uint64_t entry; /* guest-physical address of the entry */
	uint64_t value;
	uint64_t at; /* address to invalidate; the address of a table entry asks for a whole flush */
	uint64_t more; /* entries after it in its table that get the value, too; they ask for a whole flush */
};

#define MON_EDITS 64

/* A page that copy-on-write or a demand region gave the space. */
struct mon_private {
	uint64_t at, page, from;
};

#define MON_LOG	  16
#define MON_STOCK 8

enum mon_exit {
	MON_EXIT_NONE,
	MON_EXIT_TRAP,	  /* the host decides: the frame says what */
	MON_EXIT_REFILL,  /* the stock is too low, or the log full: then again */
	MON_EXIT_NOMEM,	  /* the space is over its limit */
	MON_EXIT_APPLIED, /* the edits are done */
	MON_EXIT_KICKED,  /* asked not to enter ring 3; the frame says where it would have */
	MON_EXIT_PANIC,	  /* a trap in ring 0 */
};

/* Per vCPU, one page: written by the host while the vCPU is out, by ring 0 while it is in. */
struct mon_vcpu {
	/* Assembly knows where these are. */
	uint64_t user_rsp;     /* scratch of the syscall entry */
	uint32_t exit;	       /* enum mon_exit; NONE: an entry stub left at once */
	_Atomic uint32_t kick; /* the host asks not to enter ring 3 */

	uint64_t area;	     /* address of this vCPU's area */
	uint64_t area_table; /* address at which ring 0 sees the table that maps the windows' entries */
	uint64_t space;	     /* guest-physical address of the space's struct mon_space */
	uint64_t zero_page;
	uint64_t syscall_fault; /* where `syscall` faults to on processors on which it stays in ring 3, or 0 */
	uint64_t cr3;	/* to load before the edits, or 0 */
	uint32_t flush; /* reload CR3 after the edits */
	uint32_t nedits, nlog, npages, ntables, pad;
	uint64_t cow, demand, spurious; /* faults resolved in ring 0, since the host last looked */
	uint64_t pages[MON_STOCK]; /* zeroed pages, and scrubbed table pages, that ring 0 may use */
	uint64_t tables[MON_STOCK];
	struct mon_private log[MON_LOG];
	struct mon_edit edits[MON_EDITS];
};

/* A demand region: private zeroed memory that appears when touched. */
struct mon_region {
	uint64_t start, end;
	uint64_t prot; /* DUNE_READ | DUNE_WRITE, or 0 */
};

#define MON_ANSWERS 16
#define MON_REGIONS 154

/* Per address space, one page: what the monitor's decisions rest on. */
struct mon_space {
	uint64_t root;
	uint64_t generation; /* counts changes after which a processor that ran the space earlier must flush */
	uint64_t limit, used; /* private pages and tables; limit 0: none */
	uint64_t around_low,
		around_high; /* what the last fault gave, and how many pages that was */
	uint32_t around;
	uint32_t nregions, nanswers, pad;
	struct {
		uint64_t nr, value;
	} answers[MON_ANSWERS];
	struct mon_region regions[MON_REGIONS]; /* sorted, disjoint, not adjacent when alike */
};

_Static_assert(offsetof(struct mon_vcpu, user_rsp) == 0 &&
		       offsetof(struct mon_vcpu, exit) == MON_VCPU_EXIT &&
		       offsetof(struct mon_vcpu, kick) == MON_VCPU_KICK &&
		       MON_EXIT_KICKED == MON_VCPU_KICKED,
	       "assembly");
_Static_assert(sizeof(struct mon_vcpu) <= MON_AREA_VCPU_END - MON_AREA_VCPU,
	       "in one page with the GDT and small stacks");
_Static_assert(sizeof(struct mon_space) <= 4096, "one page per space");

#endif
