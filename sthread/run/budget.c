/* SPDX-License-Identifier: MIT */
/*
 * budget.c - limits: a child's part of what there is no more of is taken out of its creator's.
 * World: host.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "sthread/internal.h"
#include "sthread/nest/nest.h"

static const enum sthread_limit parted[] = { STHREAD_LIMIT_MEMORY, STHREAD_LIMIT_FDS,
					     STHREAD_LIMIT_CPU_NS, STHREAD_LIMIT_GATE_CALLS };
#define PARTED (sizeof(parted) / sizeof(parted[0]))

uint64_t nest_lent(struct lane *l, enum sthread_limit limit)
{
	const struct nest *n = atomic_load(&l->nest);

	if (!n)
		return 0;
	return n->lent[limit] + (limit == STHREAD_LIMIT_MEMORY ? n->kept : 0);
}

static uint64_t used(struct lane *l, const struct nest *n, enum sthread_limit limit)
{
	switch (limit) {
	case STHREAD_LIMIT_MEMORY:
		return dune_space_pages(l->space) * DUNE_PAGE_SIZE + n->kept;
	case STHREAD_LIMIT_FDS:
		return l->ctx.fds.n;
	case STHREAD_LIMIT_CPU_NS:
		return watch_cpu(l);
	case STHREAD_LIMIT_GATE_CALLS: /* which looks at what is lent itself */
		return l->gate_calls;
	case STHREAD_LIMIT_WALL_NS: /* passes for all alike: children end with their creator */
		break;
	}
	return 0;
}

static uint64_t whole(const struct lane *l, enum sthread_limit limit)
{
	return limit == STHREAD_LIMIT_CPU_NS	     ? l->cpu_limit :
	       limit == STHREAD_LIMIT_GATE_CALLS ? l->calls_limit :
						     l->ctx.policy->limit[limit];
}

/* Makes what the creator is held to what is left to it. */
static void settle(struct lane *l, const struct nest *n)
{
	const uint64_t *limit = l->ctx.policy->limit;
	uint64_t cpu = n->lent[STHREAD_LIMIT_CPU_NS], left;

	if (limit[STHREAD_LIMIT_MEMORY] != POLICY_NO_LIMIT) {
		left = (limit[STHREAD_LIMIT_MEMORY] - n->lent[STHREAD_LIMIT_MEMORY] - n->kept) /
		       DUNE_PAGE_SIZE;
		dune_space_limit(l->space, left ? left : 1);
	}
	left = limit[STHREAD_LIMIT_FDS] - n->lent[STHREAD_LIMIT_FDS];
	l->ctx.fds.limit = left < INT_MAX ? (unsigned)left : INT_MAX;
	if (l->cpu_limit != POLICY_NO_LIMIT)
		watch_cpu_limit(l, cpu < l->cpu_limit ? l->cpu_limit - cpu : 0);
}

/* Does `more` go beyond what the creator has left? */
static bool too_much(struct lane *l, const struct nest *n, enum sthread_limit k, uint64_t more)
{
	uint64_t sum;

	return __builtin_add_overflow(used(l, n, k) + n->lent[k], more, &sum) || sum > whole(l, k);
}

/* Also without pages that it does not need. */
static bool lacks(struct lane *l, const struct nest *n, enum sthread_limit k, uint64_t more)
{
	return too_much(l, n, k, more) &&
	       (k != STHREAD_LIMIT_MEMORY || lane_shed(l) || too_much(l, n, k, more));
}

static int lend(struct lane *l, struct nest *n, const struct policy *value,
		uint64_t lent[POLICY_LIMITS])
{
	memset(lent, 0, POLICY_LIMITS * sizeof(*lent));
	for (unsigned i = 0; i < PARTED; i++) {
		enum sthread_limit k = parted[i];

		if (whole(l, k) == POLICY_NO_LIMIT)
			continue;
		if (lacks(l, n, k, value->limit[k]))
			return -EDQUOT;
		lent[k] = value->limit[k];
	}
	for (unsigned k = 0; k < POLICY_LIMITS; k++)
		n->lent[k] += lent[k];
	settle(l, n);
	return 0;
}

int nest_lend(struct lane *l, struct nest *n, const struct policy *value,
	      uint64_t lent[POLICY_LIMITS])
{
	int err = -EAGAIN;

	if (atomic_fetch_add(&l->root->descendants, 1) < STHREAD_NEST_LIVE)
		err = lend(l, n, value, lent);
	if (err)
		atomic_fetch_sub(&l->root->descendants, 1);
	return err;
}

void nest_give_back(struct lane *l, struct nest *n, const uint64_t lent[POLICY_LIMITS],
		    const uint64_t *spent)
{
	/* Of time more may be spent than was lent, since nobody is stopped at once. */
	for (unsigned k = 0; k < POLICY_LIMITS; k++)
		if (whole(l, k) != POLICY_NO_LIMIT)
			n->lent[k] += (spent ? spent[k] : 0) - lent[k];
	settle(l, n);
	atomic_fetch_sub(&l->root->descendants, 1);
}

int nest_keep(struct lane *l, struct nest *n, size_t before, size_t now)
{
	if (now > before && whole(l, STHREAD_LIMIT_MEMORY) != POLICY_NO_LIMIT &&
	    lacks(l, n, STHREAD_LIMIT_MEMORY, now - before))
		return -ENOMEM;
	if (now != before) {
		n->kept += now - before;
		settle(l, n);
	}
	return 0;
}

void nest_unkeep(struct lane *l, struct nest *n, size_t size)
{
	n->kept -= size;
	settle(l, n);
}

void nest_write_off(struct lane *l, struct nest *n, uint64_t spent[POLICY_LIMITS])
{
	memcpy(spent, n->lent, sizeof(n->lent));
	memset(n->lent, 0, sizeof(n->lent)); /* the next entry has CPU time of its own */
	settle(l, n);
}
