/* SPDX-License-Identifier: MIT */
/*
 * uaccess.h - a compartment's memory, reached through its own page tables.  World: host.
 *
 * An address from a compartment is a number (dune_gva_t).  Everything here translates it page by
 * page, with the rights that the compartment's page table gives the compartment, and never uses it
 * as a host address.  Pages of windows (text and constants, tags) have no count of references: a
 * run holds the tags that it was granted until it has ended.
 *
 * For reading, a page must be there and readable; memory of a demand region that was never touched
 * reads as zeros. For writing it must be writable; a copy-on-write or untouched demand page is made
 * the compartment's own first, so that a host write can never reach the image that others share.
 *
 * By the thread that runs the compartment, while the guest is not running.  Errors: -EFAULT, also
 * for a range that wraps or leaves user space; -ENOMEM where a private page could not be had (then
 * `nomem` is set, too: the compartment is over its memory limit, which is not an answer to give
 * it).
 */
#ifndef STHREAD_SYSCALL_UACCESS_H
#define STHREAD_SYSCALL_UACCESS_H

#include <dune.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct uaccess {
	struct dune_vm *vm;
	struct dune_space *space;
	bool nomem;
};

/* Most pages and host ranges that one system call may use: 256 KiB at once. */
#define UACCESS_PAGES 64

/* Host ranges over a compartment's pages, which stay referenced until uspans_put(). */
struct uspans {
	unsigned n;             /* of iov */
	unsigned pages;         /* of page */
	size_t bytes;           /* sum of iov */
	struct iovec iov[UACCESS_PAGES];
	dune_gpa_t page[UACCESS_PAGES];
};

int uaccess_copy_in(struct uaccess *ua, void *dst, dune_gva_t src, size_t len);
int uaccess_copy_out(struct uaccess *ua, dune_gva_t dst, const void *src, size_t len);
/*
 * A string with its NUL into dst; its length without it.  -ENAMETOOLONG: no NUL in the first `cap`
 * bytes, which are in dst.  Pages after the one with the NUL are not looked at.
 */
int uaccess_str(struct uaccess *ua, char *dst, dune_gva_t src, size_t cap);
/* Makes sure that uaccess_copy_out() to this range will succeed. */
int uaccess_prepare_out(struct uaccess *ua, dune_gva_t dst, size_t len);

/* Only the counters: the arrays are not touched. */
static inline void uspans_init(struct uspans *sp)
{
	sp->n = 0;
	sp->pages = 0;
	sp->bytes = 0;
}
/*
 * Adds the host ranges of [at, at+len), adjacent ones merged.  The whole range is checked to lie in
 * user space, but only as much as there is room for is translated: 1 when all was added, 0 when the
 * table is full (what is in it is a beginning of what was asked for).  On failure what was added
 * stays; call uspans_put() in any case.
 */
int uaccess_spans(struct uaccess *ua, struct uspans *sp, dune_gva_t at, size_t len, bool write);
void uspans_put(struct uaccess *ua, struct uspans *sp);

#endif
