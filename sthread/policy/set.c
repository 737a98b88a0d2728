// SPDX-License-Identifier: MIT
/*
 * set.c - the calls that fill a policy: each checks, makes a copy of the value, changes that
 * and puts it in the place of the other.  World: host.
 */
#include <errno.h>

#include "sthread/cancel.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/policy/policy.h"
#include "sthread/policy/syscalls.h"

/* Rights for files beneath a directory, which are no sockets. */
#define DIR_RIGHTS                                                                                \
	(STHREAD_FD_ALL & ~(STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN | STHREAD_FD_ACCEPT |        \
			    STHREAD_FD_CONNECT))

static bool rights_ok(unsigned rights, bool dir)
{
	return rights && !(rights & ~(dir ? DIR_RIGHTS : STHREAD_FD_ALL));
}

static bool same_grants(const struct policy *v, const struct policy *w)
{
	if (v->n != w->n)
		return false;
	for (unsigned i = 0; i < v->n; i++)
		if (v->grant[i].obj != w->grant[i].obj || v->grant[i].rights != w->grant[i].rights)
			return false;
	return true;
}

/*
 * Whether a directory fits is asked without the lock, of a value that is held, since a file
 * system may take its time.  1: p has changed meanwhile.
 */
static int insert(struct sthread_policy *p, const struct fd_entry *e, const struct policy *seen)
{
	struct policy *v;
	int r = seen ? fd_dirs_fit(seen->grant, seen->n, e) : 0;

	if (r)
		return r;
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	r = seen && !same_grants(v, seen) ? 1 : fd_entries_insert(&v->grant, &v->n, &v->cap, e);
	policy_edited(p);
	return r;
}

int policy_grant_object(struct sthread_policy *p, int fd, struct fd_object *obj, unsigned rights,
			bool dir)
{
	struct fd_entry e = { .number = fd, .rights = rights, .dir = dir, .obj = obj };
	int r = rights_ok(rights, dir) ? 1 : -EINVAL;

	while (r > 0) {
		const struct policy *seen = dir ? policy_copy(p) : NULL;

		r = insert(p, &e, seen);
		policy_put(seen);
	}
	if (r)
		fd_object_put(obj);
	return r;
}

static int policy_grant(struct sthread_policy *p, int fd, unsigned rights, bool dir)
{
	struct fd_object *obj;
	int r, cancel;

	if (is_inside())
		return dir ? inside_policy_dir(p, fd, rights) : inside_policy_fd(p, fd, rights);
	if (!p || !rights_ok(rights, dir))
		return -EINVAL;
	cancel = cancel_disable();
	r = dir ? fd_object_dir(fd, &obj) : fd_object_dup(fd, &obj);
	cancel_restore(cancel);
	return r ? r : policy_grant_object(p, fd, obj, rights, dir);
}

STHREAD_API int sthread_policy_fd(struct sthread_policy *p, int fd, unsigned rights)
{
	return policy_grant(p, fd, rights, false);
}

STHREAD_API int sthread_policy_dir(struct sthread_policy *p, int dirfd, unsigned rights)
{
	return policy_grant(p, dirfd, rights, true);
}

STHREAD_API int sthread_policy_syscall(struct sthread_policy *p, long nr,
				       enum sthread_action action)
{
	struct policy *v;
	int index = -1;

	if (is_inside())
		return inside_policy_syscall(p, nr, action);
	if (!p || (unsigned)action > STHREAD_ALLOW)
		return -EINVAL;
	if (nr == STHREAD_SYSCALL_OTHERS) {
		if (action == STHREAD_ALLOW)
			return -EINVAL;
	} else {
		index = sys_index((uint64_t)nr);
		if (index < 0)
			return -EINVAL;
	}
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	if (index < 0)
		v->other = (uint8_t)action;
	else
		v->action[index] = (uint8_t)action;
	policy_edited(p);
	return 0;
}

/* ---- arguments ---- */

/* A number in itself: what it stands for, and not what it points to or names. */
static bool comparable(const struct sys_arg *a)
{
	switch (a->kind) {
	case ARG_NUMBER:
	case ARG_VALUE:
	case ARG_FLAGS:
	case ARG_INT:
	case ARG_SIZE:
		return true;
	default:
		return false;
	}
}

STHREAD_API int sthread_policy_syscall_arg(struct sthread_policy *p, long nr, unsigned arg,
					   uint64_t mask, uint64_t value)
{
	struct policy *v;
	int index, r = 0;

	if (is_inside())
		return inside_policy_syscall_arg(p, nr, arg, mask, value);
	index = sys_index((uint64_t)nr);
	if (!p || index < 0 || arg >= 6 || !comparable(&sys_table[index].arg[arg]) ||
	    (value & ~mask))
		return -EINVAL;
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	if (v->rules < POLICY_RULES)
		v->rule[v->rules++] = (struct policy_rule){ (uint8_t)index, (uint8_t)arg, mask,
							    value };
	else
		r = -ENOSPC;
	policy_edited(p);
	return r;
}

/* ---- addresses ---- */

static int policy_grant_address(struct sthread_policy *p, enum policy_use use,
				const struct sockaddr *addr, socklen_t len, int prefix)
{
	struct policy_address a = { .use = (uint8_t)use };
	struct policy *v;
	unsigned bits;
	int r = 0;

	if (is_inside())
		return use == POLICY_CONNECT ? inside_policy_connect(p, addr, len, prefix) :
					       inside_policy_bind(p, addr, len, prefix);
	if (!p || !addr || address_read(&a.address, addr, len))
		return -EINVAL;
	bits = address_bits(&a.address);
	/* Relative to what the working directory is one day: not the same for ever. */
	if (!bits && a.address.un.sun_path[0] && a.address.un.sun_path[0] != '/')
		return -EINVAL;
	if (prefix != STHREAD_EXACT && (prefix < 0 || (unsigned)prefix > bits || !bits))
		return -EINVAL;
	a.prefix = (uint8_t)(prefix == STHREAD_EXACT ? bits : (unsigned)prefix);
	address_truncate(&a.address, a.prefix);
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	if (v->addresses < POLICY_ADDRESSES)
		v->address[v->addresses++] = a;
	else
		r = -ENOSPC;
	policy_edited(p);
	return r;
}

STHREAD_API int sthread_policy_connect(struct sthread_policy *p, const struct sockaddr *addr,
				       socklen_t len, int prefix)
{
	return policy_grant_address(p, POLICY_CONNECT, addr, len, prefix);
}

STHREAD_API int sthread_policy_bind(struct sthread_policy *p, const struct sockaddr *addr,
				    socklen_t len, int prefix)
{
	return policy_grant_address(p, POLICY_BIND, addr, len, prefix);
}

/* ---- limits ---- */

STHREAD_API int sthread_policy_limit(struct sthread_policy *p, enum sthread_limit limit,
				     uint64_t value)
{
	struct policy *v;

	if (is_inside())
		return inside_policy_limit(p, limit, value);
	if (!p || (unsigned)limit >= POLICY_LIMITS)
		return -EINVAL;
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	v->limit[limit] = value;
	policy_edited(p);
	return 0;
}

STHREAD_API int sthread_policy_gate(struct sthread_policy *p, struct sthread_gate *gate)
{
	struct policy *v;
	int r;

	if (is_inside())
		return inside_policy_gate(p, gate);
	if (!p || !gate)
		return -EINVAL;
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	r = policy_gate_insert(v, gate);
	policy_edited(p);
	return r;
}
