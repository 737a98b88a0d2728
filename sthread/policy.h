/* SPDX-License-Identifier: MIT */
/*
 * policy.h - what a compartment may do, as an immutable value.  World: host.
 *
 * The public handle (struct sthread_policy) points to the current value.  A run takes a reference
 * on the value, which never changes while more than the handle refers to it: a set-up call then
 * works on a copy.  So taking the policy of a run costs one counter, and destroying the handle
 * while compartments run is safe.
 */
#ifndef STHREAD_POLICY_H
#define STHREAD_POLICY_H

#include <sthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "sthread/fdtab.h"
#include "sthread/grant.h"

#define POLICY_CALLS 128        /* room for the system-call table */
#define POLICY_LIMITS (STHREAD_LIMIT_FDS + 1)
#define POLICY_NO_LIMIT UINT64_MAX

struct policy {
	atomic_uint refs;
	unsigned n, cap;                /* grants, sorted by number */
	struct fd_entry *grant;
	struct grants mem;
	/* Runs that hold what `mem` names; these and the list of held policies are tags.lock's. */
	unsigned runs;
	uint64_t found;                 /* all of it was there when tags.destroyed was this */
	struct policy *held_next, **held_link;
	uint64_t limit[POLICY_LIMITS];  /* by enum sthread_limit; POLICY_NO_LIMIT: none */
	uint8_t action[POLICY_CALLS];   /* by index in the system-call table; enum sthread_action */
	uint8_t other;                  /* numbers that are not in the table */
};

/*
 * The value of now, with a reference for the caller.  NULL for a handle: the policy that grants
 * nothing.  Does not allocate and cannot fail.
 */
const struct policy *policy_copy(const struct sthread_policy *p);
void policy_put(const struct policy *p); /* NULL is fine */

/* Locks the handle and gives the value to change, until policy_edited(); NULL, and not locked: -ENOMEM. */
struct policy *policy_edit(struct sthread_policy *p);
void policy_edited(struct sthread_policy *p);

#endif
