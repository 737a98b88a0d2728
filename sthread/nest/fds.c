/* SPDX-License-Identifier: MIT */
/*
 * fds.c - descriptors kept open by a policy, child or gate of the run after the run closed its
 * own number.  World: host.
 *
 * A policy keeps the descriptors that it grants open, also when its creator closes them.  Unless
 * they are lent to a child or gate that runs, they count as the creator's own whenever it grants
 * one more: so the host has at most about twice as many descriptors of a run as its limit says.
 */
#include "sthread/gate/gate.h"
#include "sthread/nest/nest.h"

/* Of the grants, those that are not in the table of the run, under their number. */
static uint64_t gone_from(const struct lane *l, const struct policy *value)
{
	uint64_t gone = 0;

	for (unsigned i = 0; i < value->n; i++) {
		const struct fd_entry *e = fdtab_find(&l->ctx.fds, value->grant[i].number);

		gone += !e || e->obj != value->grant[i].obj;
	}
	return gone;
}

static uint64_t beyond(uint64_t gone, const uint64_t lent[POLICY_LIMITS])
{
	return gone > lent[STHREAD_LIMIT_FDS] ? gone - lent[STHREAD_LIMIT_FDS] : 0;
}

static uint64_t held(const struct lane *l, const struct nest *n)
{
	uint64_t sum = l->ctx.fds.n + l->budget.lent[STHREAD_LIMIT_FDS];

	for (unsigned i = 0; i < STHREAD_NEST_POLICIES; i++) {
		const struct policy *value;

		if (!n->policy[i].handle)
			continue;
		value = policy_copy(n->policy[i].p);
		sum += gone_from(l, value);
		policy_put(value);
	}
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++) {
		if (n->child[i].st)
			sum += beyond(gone_from(l, n->child[i].st->policy), n->child[i].lent);
		if (n->gate[i].gate)
			sum += beyond(gone_from(l, n->gate[i].gate->policy), n->gate[i].lent);
	}
	return sum;
}

bool nest_over_fd_limit(struct lane *l)
{
	const struct nest *n = atomic_load(&l->nest.made);

	return n && held(l, n) > l->ctx.policy->limit[STHREAD_LIMIT_FDS];
}
