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

#include <dune.h>
#include <sthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "sthread/fd/table.h"
#include "sthread/policy/address.h"
#include "sthread/policy/memory.h"

#define POLICY_CALLS 192        /* room for the system-call table */
#define POLICY_LIMITS (STHREAD_LIMIT_GATE_CALLS + 1) /* the last one */
#define POLICY_NO_LIMIT UINT64_MAX
#define POLICY_RULES 64
#define POLICY_ADDRESSES 32

/*
 * An argument of an allowed call: (argument & mask) == value.  Those on one argument are
 * alternatives.
 */
struct policy_rule {
	uint8_t index;          /* in the system-call table */
	uint8_t arg;
	uint64_t mask, value;
};

enum policy_use { POLICY_CONNECT = 1, POLICY_BIND = 2 };

struct policy_address {
	uint8_t use;            /* enum policy_use */
	uint8_t prefix;         /* bits of an internet address that count */
	struct address address;
};

/* The owner's share of each limit, by enum sthread_limit. */
struct budget {
	uint64_t limit[POLICY_LIMITS]; /* POLICY_NO_LIMIT: none */
	uint64_t lent[POLICY_LIMITS];  /* to compartments and gates that the owner made: not its own meanwhile */
	uint64_t spent[POLICY_LIMITS]; /* for good: CPU time of what it made, calls of gates with its own */
	uint64_t kept;		       /* bytes of its policies, which are its memory, too */
};

/* The rest of a limit; POLICY_NO_LIMIT: it has none. */
static inline uint64_t budget_left(const struct budget *b, enum sthread_limit k)
{
	if (b->limit[k] == POLICY_NO_LIMIT)
		return POLICY_NO_LIMIT;
	return b->spent[k] < b->limit[k] ? b->limit[k] - b->spent[k] : 0;
}

struct policy {
	atomic_uint refs;
	unsigned n, cap;                /* grants, sorted by number */
	struct fd_entry *grant;
	unsigned ngates, gate_cap;      /* gates, sorted by handle */
	struct sthread_gate **gate;
	struct grants mem;
	/*
	 * Runs that pin what `mem` names; these and the list of pinned policies are tags.lock's:
	 * tag/pin.c.
	 */
	unsigned pins;
	uint64_t found;                 /* all of it was there when tags.destroyed was this */
	struct policy *pinned_next, **pinned_link;
	uint64_t limit[POLICY_LIMITS];  /* by enum sthread_limit; POLICY_NO_LIMIT: none */
	uint8_t action[POLICY_CALLS];   /* by index in the system-call table; enum sthread_action */
	uint8_t other;                  /* numbers that are not in the table */
	unsigned rules, addresses;
	struct policy_rule rule[POLICY_RULES];
	struct policy_address address[POLICY_ADDRESSES];
};

/*
 * The value of now, with a reference for the caller.  NULL for a handle: the policy that grants
 * nothing.  Does not allocate and cannot fail.
 */
const struct policy *policy_copy(const struct sthread_policy *p);
const struct policy *policy_get(const struct policy *p); /* one reference more */
void policy_put(const struct policy *p); /* NULL is fine */
/* The same, but gates without a reference go to a work list: refs.h. */
void policy_drop(const struct policy *p, struct sthread_gate **unreferenced);
/*
 * 1: every right that p gives is one that `of` gives; 0: not so; -ENOTSUP, -errno of statx(): it
 * cannot be told.
 */
int policy_within(const struct policy *p, const struct policy *of);

/*
 * What sthread_policy_format() writes; bare: for a compartment, without the names of the host's
 * files.  The length of the whole text.
 */
size_t policy_text(const struct policy *p, bool bare, char *buf, size_t len);

/* Bytes that the value takes up, without what it refers to. */
size_t policy_size(const struct policy *p);

/* How much an action leaves to a compartment: a call that fails leaves more than one that kills. */
unsigned policy_leaves(uint8_t action);

/* The call's arguments are among those that the rules leave. */
bool policy_arguments(const struct policy *p, int index, const uint64_t arg[6]);
bool policy_address(const struct policy *p, enum policy_use use, const struct address *a);
/*
 * Index of the gate that `handle` is, or -1.  The handle may be any number: it is compared, never
 * followed.
 */
int policy_gate(const struct policy *p, uint64_t handle);
/* Into a value that is not shared yet; takes a reference.  -EEXIST, -ENOMEM. */
int policy_gate_insert(struct policy *v, struct sthread_gate *gate);

/* One that is no handle of the program's, for a compartment: sthread_policy_destroy() ends it, too.  -ENOMEM. */
int policy_create(struct sthread_policy **out);
/*
 * Locks all handles, with a lock that is a leaf, and gives the value to change, until
 * policy_edited(); NULL, and not locked: -ENOMEM.
 */
struct policy *policy_edit(struct sthread_policy *p);
void policy_edited(struct sthread_policy *p);
void policies_before_fork(void);
void policies_after_fork(bool child);
/* It is that value again, whose reference is taken over. */
void policy_restore(struct sthread_policy *p, const struct policy *value);
/*
 * Another value, for the caller: what p gives, and this memory, with the rights of both.
 * -ENOMEM.  -EINVAL: it overlaps.
 */
int policy_with_memory(const struct policy *p, const struct grant *e, const struct policy **out);
/*
 * What sthread_policy_fd() and _dir() do, with an object whose reference is taken over.  Errors
 * as theirs.
 */
int policy_grant_object(struct sthread_policy *p, int fd, struct fd_object *obj, unsigned rights, bool dir);

#endif
