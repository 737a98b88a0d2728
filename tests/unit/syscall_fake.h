/* SPDX-License-Identifier: MIT */
/*
 * syscall_fake.h - a compartment without KVM: the dune_* calls that the system-call side uses, over
 * a plain arena and a list of pages. World: host, unit tests.
 *
 * Link-time replacement for vm/. One VM, one space, at most FAKE_PAGES pages; every reference is
 * counted, so that a page reference that a system call forgot is seen.
 */
#ifndef TESTS_SYSCALL_FAKE_H
#define TESTS_SYSCALL_FAKE_H

#include <dune.h>
#include <sthread.h>
#include <stdatomic.h>

#include "sthread/syscall/syscall.h"

#define FAKE_PAGES 512
#define PAGE DUNE_PAGE_SIZE

/* Addresses inside that tests use. */
#define FAKE_DATA 0x10000000UL          /* pages that are there, readable and writable */
#define FAKE_DATA_PAGES 80
#define FAKE_COW 0x20000000UL           /* two copy-on-write pages, filled with 0xcc */
#define FAKE_RO 0x30000000UL            /* one read-only page, filled with 0x11 */
#define FAKE_NOTHING 0x40000000UL       /* never mapped */
#define FAKE_DEMAND 0x50000000UL        /* a demand region of 16 pages, nothing there yet */
#define FAKE_DEMAND_RO 0x58000000UL     /* the same, read-only */
#define FAKE_AREA 0x60000000UL
#define FAKE_AREA_END (FAKE_AREA + 64 * PAGE)

#define FAKE_PID 1234567

/* Everything above mapped; the arena empty but for that. */
void fake_reset(void);
/* A page of its own at `at`. */
void fake_map(uint64_t at, unsigned prot, int fill);
/* The page of this process that holds `host`, at its own address, read-only, as a slot shows it. */
void fake_map_slot(const void *host, unsigned prot, bool readonly);
/* The compartment's byte at `at`, as it would see it. Fails the test where nothing is mapped. */
unsigned char *fake_host(uint64_t at);
/* The byte of the template that FAKE_COW was made from. */
const unsigned char *fake_template(uint64_t at);
/* Pages that may still be allocated. */
void fake_room(unsigned pages);
/* References beyond those of the mappings: must be 0 between system calls. */
unsigned fake_extra_refs(void);
/* There is no room for another region. */
void fake_no_regions(bool full);
unsigned fake_lookups(void);    /* since the last call of this */
unsigned fake_edits(void);      /* pages made private, since the last call of this */
void fake_inside(bool inside);  /* what is_inside() says */

/* ---- a run ---- */

extern struct sys_ctx fake_ctx;
extern atomic_bool fake_stop;

/* Begins a run with the policy; ends the one before. */
void fake_begin(const struct sthread_policy *p);
void fake_end(void);
/*
 * Calls are made on a thread of their own behind the filter of workers, or (direct) on the calling one, as with
 * sthread_call(): where the thread matters, for its signals or its descriptor table.
 */
void fake_direct(bool direct);
/* A system call that returns. */
#define CALL(nr, ...) fake_call((nr), (const uint64_t[6]){ __VA_ARGS__ })
long fake_call(long nr, const uint64_t arg[6]);
/* One that ends the run: the reason. */
#define CALL_ENDS(nr, ...) fake_call_ends((nr), (const uint64_t[6]){ __VA_ARGS__ })
enum sthread_end fake_call_ends(long nr, const uint64_t arg[6]);

/* A policy that allows every call of the table. */
struct sthread_policy *fake_policy_all(void);
/* Puts bytes at an address inside. */
uint64_t fake_put(uint64_t at, const void *bytes, size_t len);
uint64_t fake_puts(uint64_t at, const char *text);

#endif
