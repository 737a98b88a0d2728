/* SPDX-License-Identifier: MIT */
/*
 * fake_machine.h - a machine in plain memory, behind vm/machine.h: what ring 3 does is a script of the test's.
 * World: host, unit tests.
 *
 * No processor and no kernel: an access of the script goes through the page tables as a processor's would, and what it
 * translated stays cached, with the tables on the way, until the space is entered anew or sync() is called.  Each op checks
 * what the contract promises it: locks, order, that no cached translation reaches a page or a table that is free.
 */
#ifndef TESTS_FAKE_MACHINE_H
#define TESTS_FAKE_MACHINE_H

#include "vm/machine.h"

/* What the next VM is like. */
struct fake_config {
	bool in_place;	/* changed entries are written at once, as where no processor reads them; else staged */
	bool kinds;	/* page kinds differ */
	bool one_runner;
	bool keeps_vcpus; /* vcpus_last; takes effect for all VMs that there are */
	uint64_t reserved;
	unsigned max_vcpus;
};
extern struct fake_config fake_config;

/* Two of them, so that a first choice can fail: under the names of the real ones. */
extern struct machine_ops fake_kvm, fake_process;
/* What open() of either gives, by its name; 0: it works. */
extern int fake_open_error[DUNE_MACHINE_PROCESS + 1];

enum fake_op {
	FAKE_READ,  /* 8 bytes at `at`, into the vCPU's `loaded` */
	FAKE_WRITE, /* `value` to `at` */
	FAKE_FETCH, /* an instruction at `at` */
	FAKE_CALL,  /* system call number `at`, first argument `value` */
	FAKE_TRAP,  /* exception `at`, error code `value` */
	FAKE_HOST,  /* fn(ctx): what the host does meanwhile, or an interruption of it */
	FAKE_FAIL,  /* the machine itself fails: enter() gives `value`, an enum entered */
};

struct fake_step {
	enum fake_op op;
	uint64_t at, value;
	void (*fn)(void *ctx);
	void *ctx;
};

/* The system call that ends every script. */
#define FAKE_END 1000

/* Ring 3 of this vCPU does that from the next entry on; the steps stay the caller's until the run ends. */
void fake_order(struct dune_vcpu *c, const struct fake_step *steps, unsigned n);
/* Runs a script; *f as the run left it (NULL: nobody cares). */
enum dune_exit fake_run(struct dune_vcpu *c, struct dune_space *s, const struct fake_step *steps, unsigned n,
			struct dune_frame *f);
/* One access.  DUNE_EXIT_SYSCALL: it was made. */
enum dune_exit fake_read(struct dune_vcpu *c, struct dune_space *s, uint64_t at, uint64_t *value);
enum dune_exit fake_write(struct dune_vcpu *c, struct dune_space *s, uint64_t at, uint64_t value);
enum dune_exit fake_fetch(struct dune_vcpu *c, struct dune_space *s, uint64_t at);

/* Does a cached translation of `at`, in force, lead there?  vCPUs that rest count: they may be entered. */
bool fake_reaches(struct dune_vm *vm, dune_gpa_t page);
/* Nothing that is free is reached by a cached translation; each op that is called checks it, too. */
void fake_check(struct dune_vm *vm);
/* Entries of page tables that a processor would look at, changed and not in force yet. */
unsigned fake_staged(struct dune_space *s);

/* The k-th call (from 1) of any op that can fail does; 0: none.  Gives how many there were since the last time. */
unsigned fake_fail_at(unsigned k);
extern bool fake_paused;	/* nothing fails, and nothing counts */
extern int fake_fail_with;   /* -ENOMEM; sync() always gives -EIO */
extern const char *fake_failed; /* the op that did, or NULL */

/* VMs, spaces and vCPUs that the machine was told of and that are not gone; blocks of a page kind; windows. */
struct fake_counts {
	unsigned vms, spaces, vcpus, blocks, windows, forks[3];
};
extern struct fake_counts fake_counts;

/* An aligned reserved range, for dune_vm_config.base; without access. */
void *fake_reserve(size_t size);
struct dune_vm *fake_vm(size_t arena);
uint64_t fake_pages_used(struct dune_vm *vm);

#endif
