/* SPDX-License-Identifier: MIT */
/*
 * policy.c - policies that a compartment makes: never wider than what it has.  World: host.
 *
 * A set-up call is made on the policy as the master's would be.  If the policy then has anything
 * that its creator does not have, the call is undone and gives -EPERM: one check for all kinds of
 * rights.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/gate/gate.h"
#include "sthread/nest/nest.h"
#include "sthread/run/budget.h"
#include "sthread/run/helper.h"
#include "sthread/run/reclaim.h"
#include "sthread/tag/tag.h"

/* A policy that says nothing of a limit has this part of its creator's. */
#define SHARE 8

/*
 * Its own gates it may pass on as it likes.  Calls of others are counted for each run: another run
 * would begin to count anew.
 */
static bool covers_gates(const struct lane *l, const struct policy *value)
{
	for (unsigned i = 0; i < value->ngates; i++) {
		const struct sthread_gate *g = value->gate[i];
		int at = policy_gate(l->ctx.policy, g->handle);

		if (nest_gate_own(l, g))
			continue;
		if (g->max_calls || at < 0 || l->ctx.policy->gate[at] != g)
			return false;
	}
	return true;
}

bool nest_covers(const struct lane *l, const struct policy *value)
{
	struct policy asked, now; /* only looked at: no references */

	for (unsigned i = 0; i < value->n; i++) {
		const struct fd_entry *e = fdtab_find(&l->ctx.fds, value->grant[i].number);

		if (!e || e->obj != value->grant[i].obj)
			return false;
	}
	if (!covers_gates(l, value))
		return false;
	memcpy(&asked, value, sizeof(asked));
	asked.ngates = 0;
	memcpy(&now, l->ctx.policy, sizeof(now));
	now.grant = l->ctx.fds.entry;
	now.n = l->ctx.fds.n;
	return policy_within(&asked, &now) > 0;
}

/* ---- a new one: what every compartment has, as far as this one has it ---- */

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void clip(struct policy *v, const struct policy *of)
{
	for (unsigned i = 0; i < sys_table_len; i++)
		if (policy_leaves(v->action[i]) > policy_leaves(of->action[i]))
			v->action[i] = of->action[i];
	if (policy_leaves(v->other) > policy_leaves(of->other))
		v->other = of->other;
	v->rules = of->rules;
	memcpy(v->rule, of->rule, of->rules * sizeof(v->rule[0]));
	for (unsigned i = 0; i < POLICY_LIMITS; i++) {
		uint64_t whole = of->limit[i];
		bool passes = i == STHREAD_LIMIT_WALL_NS || whole == POLICY_NO_LIMIT;

		v->limit[i] = lesser(v->limit[i], passes ? whole : whole / SHARE);
	}
}

static int new_policy(const struct lane *l, struct sthread_policy **out)
{
	struct sthread_policy *p;
	int err = policy_create(&p);

	if (err)
		return err;
	clip(policy_edit(p), l->ctx.policy); /* nobody shares it: no copy is made */
	policy_edited(p);
	*out = p;
	return 0;
}

static struct nest_policy *find(struct lane *l, uint64_t handle)
{
	struct nest *n = atomic_load(&l->nest.made);

	for (unsigned i = 0; n && handle && i < STHREAD_NEST_POLICIES; i++)
		if (n->policy[i].handle == handle)
			return &n->policy[i];
	return NULL;
}

int nest_policy_value(struct lane *l, uint64_t handle, const struct policy **out)
{
	struct nest_policy *np = find(l, handle);
	struct sthread_policy *p;
	int err;

	if (np) {
		*out = policy_copy(np->p);
		return 0;
	}
	if (handle)
		return -EINVAL;
	err = new_policy(l, &p);
	if (err)
		return err;
	*out = policy_copy(p);
	sthread_policy_destroy(p);
	return 0;
}

static long create(struct lane *l)
{
	struct nest *n = nest_of(l);
	struct nest_policy *np = NULL;
	int err;

	if (!n)
		return -ENOMEM;
	for (unsigned i = 0; i < STHREAD_NEST_POLICIES && !np; i++)
		if (!n->policy[i].handle)
			np = &n->policy[i];
	if (!np)
		return -EAGAIN;
	np->size = sizeof(struct policy);
	err = budget_keep(l, 0, np->size);
	if (!err && (err = new_policy(l, &np->p)))
		budget_unkeep(l, np->size);
	if (err)
		return err;
	memset(np->ruled, 0, sizeof(np->ruled));
	np->handle = nest_handle(l, n);
	return (long)np->handle;
}

static long destroy(struct lane *l, struct nest_policy *np)
{
	budget_unkeep(l, np->size);
	sthread_policy_destroy(np->p);
	np->p = NULL;
	np->handle = 0;
	return 0;
}

/* ---- set-up calls: what they name is looked up among what the run has ---- */

static int grant_fd(struct lane *l, struct sthread_policy *p, int fd, unsigned rights, bool dir)
{
	const struct fd_entry *e = fdtab_find(&l->ctx.fds, fd);

	if (!e)
		return -EBADF;
	/* A set of its creator's numbers means nothing to another table. */
	if (e->obj->kind == FD_EPOLL)
		return -EINVAL;
	if (nest_over_fd_limit(l))
		return -EMFILE;
	return policy_grant_object(p, fd, fd_object_get(e->obj), rights, dir);
}

static int grant_tag(struct lane *l, struct sthread_policy *p, uint64_t tag, unsigned rights)
{
	const struct grant *g = grants_handle(&l->ctx.policy->mem, tag);

	return g ? sthread_policy_tag(p, g->tag, rights) : -EPERM;
}

/* The answer says nothing of memory that the run does not have. */
static int grant_memory(struct lane *l, struct sthread_policy *p, uint64_t at, uint64_t len,
			unsigned rights)
{
	const struct grant *g = grants_find(&l->ctx.policy->mem, at);

	if (!g || at - g->start >= g->len || len > g->len - (at - g->start))
		return -EPERM;
	return sthread_policy_memory(p, (void *)at, len, rights);
}

/* The run must have the name itself; the answer says nothing of other names. */
static int grant_tagged(struct lane *l, struct sthread_policy *p, uint64_t at, unsigned rights)
{
	char name[TAG_NAME];
	int n = at ? uaccess_str(&l->ctx.mem, name, dune_gva(at), sizeof(name)) : -EINVAL;

	if (n < 0)
		return n == -ENAMETOOLONG ? -EPERM : n;
	return grants_global(&l->ctx.policy->mem, name) ? sthread_policy_tagged(p, name, rights) :
							   -EPERM;
}

static int grant_gate(struct lane *l, struct sthread_policy *p, uint64_t gate)
{
	struct sthread_gate *g = gate_callable(l, gate);

	return g ? sthread_policy_gate(p, g) : -EPERM;
}

static int grant_address(struct lane *l, struct sthread_policy *p, enum hostcall nr,
			 const uint64_t arg[4])
{
	struct sockaddr_storage addr = { 0 };
	const struct sockaddr *a = (const struct sockaddr *)&addr;
	socklen_t len = (socklen_t)arg[2];
	int err;

	if (!arg[1] || len > sizeof(addr))
		return -EINVAL;
	err = uaccess_copy_in(&l->ctx.mem, &addr, dune_gva(arg[1]), len);
	if (err)
		return err;
	return nr == HOSTCALL_POLICY_CONNECT ? sthread_policy_connect(p, a, len, (int)arg[3]) :
					       sthread_policy_bind(p, a, len, (int)arg[3]);
}

/*
 * Rules on one argument are alternatives.  So the first of its own takes the place of those that
 * came from its creator, and must be within one of them.
 */
static int rule(struct nest_policy *np, const uint64_t arg[5])
{
	int index = sys_index(arg[1]);
	unsigned kept = 0, bit;
	struct policy *v;

	if (index < 0 || arg[2] >= 6)
		return -EINVAL;
	bit = 1U << arg[2];
	if (!(np->ruled[index] & bit)) {
		v = policy_edit(np->p);
		if (!v)
			return -ENOMEM;
		for (unsigned i = 0; i < v->rules; i++)
			if (v->rule[i].index != index || v->rule[i].arg != arg[2])
				v->rule[kept++] = v->rule[i];
		v->rules = kept;
		policy_edited(np->p);
	}
	return sthread_policy_syscall_arg(np->p, (long)arg[1], (unsigned)arg[2], arg[3], arg[4]);
}

static int edit(struct lane *l, struct nest_policy *np, enum hostcall nr, const uint64_t arg[5])
{
	struct sthread_policy *p = np->p;

	switch (nr) {
	case HOSTCALL_POLICY_FD:
	case HOSTCALL_POLICY_DIR:
		return grant_fd(l, p, (int)arg[1], (unsigned)arg[2], nr == HOSTCALL_POLICY_DIR);
	case HOSTCALL_POLICY_SYSCALL:
		return sthread_policy_syscall(p, (long)arg[1], (enum sthread_action)arg[2]);
	case HOSTCALL_POLICY_SYSCALL_ARG:
		return rule(np, arg);
	case HOSTCALL_POLICY_LIMIT:
		return sthread_policy_limit(p, (enum sthread_limit)arg[1], arg[2]);
	case HOSTCALL_POLICY_TAG:
		return grant_tag(l, p, arg[1], (unsigned)arg[2]);
	case HOSTCALL_POLICY_MEMORY:
		return grant_memory(l, p, arg[1], arg[2], (unsigned)arg[3]);
	case HOSTCALL_POLICY_GATE:
		return grant_gate(l, p, arg[1]);
	case HOSTCALL_POLICY_TAGGED:
		return grant_tagged(l, p, arg[1], (unsigned)arg[2]);
	case HOSTCALL_POLICY_CONNECT:
	case HOSTCALL_POLICY_BIND:
		return grant_address(l, p, nr, arg);
	default:
		return -ENOSYS;
	}
}

/* ---- asked of one: the text is at most as long as the policy makes it ---- */

static long format(struct lane *l, const struct policy *value, uint64_t at, uint64_t len)
{
	size_t n = policy_text(value, true, NULL, 0);
	char *text;
	int err;

	if (len && !at)
		return -EINVAL;
	len = lesser(len, n + 1);
	if (!len)
		return n < INT_MAX ? (long)n : -EOVERFLOW;
	err = lane_prepare_out(l, at, len);
	if (err)
		return err;
	text = malloc(len);
	if (!text)
		return -ENOMEM;
	policy_text(value, true, text, len);
	err = uaccess_copy_out(&l->ctx.mem, dune_gva(at), text, len);
	free(text);
	if (err)
		return err;
	return n < INT_MAX ? (long)n : -EOVERFLOW;
}

struct comparison {
	const struct policy *p, *of;
	int result;
};

static void compare(void *arg)
{
	struct comparison *c = arg;

	c->result = policy_within(c->p, c->of);
}

/* Whether two descriptors are one file is not for a worker to ask: see run/helper.c. */
static long is_subset(struct lane *l, const struct policy *p, uint64_t of)
{
	struct comparison c = { .p = p };
	int err = nest_policy_value(l, of, &c.of);

	if (err)
		return err;
	if (helper_run(l, compare, &c))
		c.result = -EAGAIN;
	policy_put(c.of);
	return c.result;
}

/* 0 for a handle is fine here: a policy that grants nothing. */
static long ask(struct lane *l, enum hostcall nr, const uint64_t arg[5])
{
	const struct policy *value;
	long r = nest_policy_value(l, arg[0], &value);

	if (r)
		return r;
	r = nr == HOSTCALL_POLICY_FORMAT ? format(l, value, arg[1], arg[2]) :
					   is_subset(l, value, arg[1]);
	policy_put(value);
	return r;
}

long nest_policy_serve(struct lane *l, enum hostcall nr, const uint64_t arg[5])
{
	const struct policy *before, *after;
	struct nest_policy *np;
	size_t size;
	int err;

	if (nr == HOSTCALL_POLICY_CREATE)
		return create(l);
	if (nr == HOSTCALL_POLICY_FORMAT || nr == HOSTCALL_POLICY_IS_SUBSET)
		return ask(l, nr, arg);
	np = find(l, arg[0]);
	if (!np)
		return -EINVAL;
	if (nr == HOSTCALL_POLICY_DESTROY)
		return destroy(l, np);
	/* Referenced, so that the edit works on a copy. */
	before = policy_copy(np->p);
	err = edit(l, np, nr, arg);
	after = policy_copy(np->p);
	size = policy_size(after);
	if (!err && !nest_covers(l, after))
		err = -EPERM;
	if (!err)
		err = budget_keep(l, np->size, size);
	policy_put(after);
	if (err) {
		policy_restore(np->p, before);
		return err;
	}
	policy_put(before);
	np->size = size;
	if (nr == HOSTCALL_POLICY_SYSCALL_ARG)
		np->ruled[sys_index(arg[1])] |= (uint8_t)(1U << arg[2]);
	return 0;
}
