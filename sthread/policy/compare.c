// SPDX-License-Identifier: MIT
/*
 * compare.c - sthread_policy_is_subset(): does one policy give anything that another does
 * not?  World: host.
 *
 * The answer errs on the side of no: what two files have in common is not looked for, only whether
 * they are the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/policy/kinds.h"
#include "sthread/policy/policy.h"
#include "sthread/policy/refs.h"
#include "sthread/policy/syscalls.h"

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY (1024 + 3) /* Linux 6.10 */
#endif

/* All of these give 1 or 0, or a negative errno: it cannot be told. */

/* One no is enough. */
static int both(int a, int b)
{
	if (!a || !b)
		return 0;
	return a < 0 ? a : b;
}

/* ---- descriptors --------------------------------------------------------------------------- */

/* One open file: a second open of its name has an offset, flags and rights of its own. */
static int same_open_file(int a, int b)
{
	long r = fcntl(a, F_DUPFD_QUERY, b);

	if (r >= 0)
		return (int)r;
	r = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, (long)a, (long)b);
	return r < 0 ? -ENOTSUP : r == 0;
}

/*
 * Each grant of a directory is an open of its own, without any state.  Another mount of the same
 * directory may be read-only, or show other things beneath it.
 */
static int same_directory(int a, int b)
{
	struct statx x, y;

	if (statx(a, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &x) ||
	    statx(b, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &y))
		return -errno;
	if (!(x.stx_mask & y.stx_mask & STATX_MNT_ID))
		return -ENOTSUP;
	return x.stx_ino == y.stx_ino && x.stx_dev_major == y.stx_dev_major &&
	       x.stx_dev_minor == y.stx_dev_minor && x.stx_mnt_id == y.stx_mnt_id;
}

/* The same file under the same number, with no more rights. */
static int within_descriptors(const struct policy *p, const struct policy *of)
{
	int r = 1;

	for (unsigned i = 0; i < p->n; i++) {
		const struct fd_entry *e = &p->grant[i], *f;
		unsigned at = fd_entries_search(of->grant, of->n, e->number);

		if (at == of->n)
			return 0;
		f = &of->grant[at];
		if (f->number != e->number || f->dir != e->dir || (e->rights & ~f->rights))
			return 0;
		if (e->obj != f->obj)
			r = both(r, e->dir ? same_directory(e->obj->host, f->obj->host) :
					     same_open_file(e->obj->host, f->obj->host));
	}
	return r;
}

/* ---- system calls -------------------------------------------------------------------------- */

/*
 * A call that fails lets the compartment go on, and try another: that is more than a kill leaves
 * it.
 */
unsigned policy_leaves(uint8_t action)
{
	switch ((enum sthread_action)action) {
	case STHREAD_DENY_KILL:
		return 0;
	case STHREAD_DENY_ERRNO:
		return 1;
	case STHREAD_ALLOW:
		break;
	}
	return 2;
}

static int within_calls(const struct policy *p, const struct policy *of)
{
	for (unsigned i = 0; i < sys_table_len; i++)
		if (policy_leaves(p->action[i]) > policy_leaves(of->action[i]))
			return 0;
	return policy_leaves(p->other) <= policy_leaves(of->other);
}

/* ---- rules on arguments, addresses --------------------------------------------------------- */

bool rule_within(const struct policy_rule *r, const struct policy_rule *of)
{
	return r->index == of->index && r->arg == of->arg && !(of->mask & ~r->mask) &&
	       (r->value & of->mask) == of->value;
}

/* `r` of `of` leaves what a rule of p on that argument does; false also if p has none. */
static bool ruled_within(const struct policy *p, const struct policy_rule *r, const struct policy *of)
{
	bool ruled = false;

	for (unsigned i = 0; i < p->rules; i++) {
		bool within = false;

		if (p->rule[i].index != r->index || p->rule[i].arg != r->arg)
			continue;
		ruled = true;
		for (unsigned k = 0; k < of->rules && !within; k++)
			within = rule_within(&p->rule[i], &of->rule[k]);
		if (!within)
			return false;
	}
	return ruled;
}

static int within_rules(const struct policy *p, const struct policy *of)
{
	for (unsigned i = 0; i < of->rules; i++)
		if (p->action[of->rule[i].index] == STHREAD_ALLOW &&
		    !ruled_within(p, &of->rule[i], of))
			return 0;
	return 1;
}

bool address_within(const struct policy_address *a, const struct policy_address *of)
{
	return a->use == of->use && a->prefix >= of->prefix &&
	       address_matches(&of->address, of->prefix, &a->address);
}

static int within_addresses(const struct policy *p, const struct policy *of)
{
	for (unsigned i = 0; i < p->addresses; i++) {
		bool within = false;

		for (unsigned k = 0; k < of->addresses && !within; k++)
			within = address_within(&p->address[i], &of->address[k]);
		if (!within)
			return 0;
	}
	return 1;
}

/* ---- memory -------------------------------------------------------------------------------- */

static int within_memory(const struct policy *p, const struct policy *of)
{
	return grants_subset(&p->mem, &of->mem);
}

/* ---- gates --------------------------------------------------------------------------------- */

static int within_gates(const struct policy *p, const struct policy *of)
{
	for (unsigned i = 0; i < p->ngates; i++) {
		int at = policy_gate(of, p->gate[i]->handle);

		if (at < 0 || of->gate[at] != p->gate[i])
			return 0;
	}
	return 1;
}

/* ---- limits -------------------------------------------------------------------------------- */

/* POLICY_NO_LIMIT is the largest number. */
static int within_limits(const struct policy *p, const struct policy *of)
{
	for (unsigned i = 0; i < POLICY_LIMITS; i++)
		if (p->limit[i] > of->limit[i])
			return 0;
	return 1;
}

/* -------------------------------------------------------------------------------------------- */

int policy_within(const struct policy *p, const struct policy *of)
{
	int r = 1;

#define WITHIN(kind) r = both(r, within_##kind(p, of));
	POLICY_KINDS(WITHIN)
#undef WITHIN
	return r;
}

STHREAD_API int sthread_policy_is_subset(const struct sthread_policy *p,
					 const struct sthread_policy *of)
{
	const struct policy *v, *w;
	int r;

	if (is_inside())
		return inside_policy_is_subset(p, of);
	v = policy_copy(p);
	w = policy_copy(of);
	r = policy_within(v, w);
	policy_put(v);
	policy_put(w);
	return r;
}
