/* SPDX-License-Identifier: MIT */
/*
 * budget.c - limits: a child's part of what there is no more of is taken out of its creator's.
 * World: host.
 */
#include "sthread/run/budget.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "sthread/run/lane.h"

/* Limits that are divided between a run and what it makes.  Wall time passes for all alike. */
static const enum sthread_limit divided[] = { STHREAD_LIMIT_MEMORY, STHREAD_LIMIT_FDS,
					      STHREAD_LIMIT_CPU_NS, STHREAD_LIMIT_GATE_CALLS };
#define DIVIDED (sizeof(divided) / sizeof(divided[0]))

uint64_t budget_lent(const struct lane *l, enum sthread_limit limit)
{
	return l->budget.lent[limit] + (limit == STHREAD_LIMIT_MEMORY ? l->budget.kept : 0);
}

/* By the run itself. */
static uint64_t used(const struct lane *l, enum sthread_limit limit)
{
	switch (limit) {
	case STHREAD_LIMIT_MEMORY:
		return dune_space_pages(l->space) * DUNE_PAGE_SIZE + l->budget.kept;
	case STHREAD_LIMIT_FDS:
		return l->ctx.fds.n;
	case STHREAD_LIMIT_CPU_NS:
		return watch_cpu(l);
	case STHREAD_LIMIT_GATE_CALLS:
		return l->budget.spent[limit];
	case STHREAD_LIMIT_WALL_NS:
		break;
	}
	return 0;
}

/* Sets the limits that are in force to what is left to the creator. */
static void apply(struct lane *l)
{
	const uint64_t *limit = l->budget.limit, *lent = l->budget.lent;
	uint64_t cpu = limit[STHREAD_LIMIT_CPU_NS], left;

	if (limit[STHREAD_LIMIT_MEMORY] != POLICY_NO_LIMIT) {
		left = (limit[STHREAD_LIMIT_MEMORY] - lent[STHREAD_LIMIT_MEMORY] - l->budget.kept) /
		       DUNE_PAGE_SIZE;
		dune_space_limit(l->space, left ? left : 1);
	}
	left = limit[STHREAD_LIMIT_FDS] - lent[STHREAD_LIMIT_FDS];
	l->ctx.fds.limit = left < INT_MAX ? (unsigned)left : INT_MAX;
	if (cpu != POLICY_NO_LIMIT)
		watch_cpu_limit(l, lent[STHREAD_LIMIT_CPU_NS] < cpu ? cpu - lent[STHREAD_LIMIT_CPU_NS] : 0);
}

/* Does `more` go beyond what the creator has left? */
static bool too_much(const struct lane *l, enum sthread_limit k, uint64_t more)
{
	uint64_t sum;

	return __builtin_add_overflow(used(l, k) + l->budget.lent[k], more, &sum) ||
	       sum > l->budget.limit[k];
}

/* Also without pages that it does not need. */
static bool lacks(struct lane *l, enum sthread_limit k, uint64_t more)
{
	return too_much(l, k, more) &&
	       (k != STHREAD_LIMIT_MEMORY || lane_trim(l) || too_much(l, k, more));
}

static int lend(struct lane *l, const struct policy *value, uint64_t lent[POLICY_LIMITS])
{
	memset(lent, 0, POLICY_LIMITS * sizeof(*lent));
	for (unsigned i = 0; i < DIVIDED; i++) {
		enum sthread_limit k = divided[i];

		if (l->budget.limit[k] == POLICY_NO_LIMIT)
			continue;
		if (lacks(l, k, value->limit[k]))
			return -EDQUOT;
		lent[k] = value->limit[k];
	}
	for (unsigned k = 0; k < POLICY_LIMITS; k++)
		l->budget.lent[k] += lent[k];
	apply(l);
	return 0;
}

int budget_lend(struct lane *l, const struct policy *value, uint64_t lent[POLICY_LIMITS])
{
	atomic_uint *descendants = &l->nest.root->nest.descendants;
	int err = -EAGAIN;

	if (atomic_fetch_add(descendants, 1) < STHREAD_NEST_LIVE)
		err = lend(l, value, lent);
	if (err)
		atomic_fetch_sub(descendants, 1);
	return err;
}

void budget_take_back(struct lane *l, const uint64_t lent[POLICY_LIMITS], const uint64_t *spent)
{
	/* Of time more may be spent than was lent, since a stop takes effect a little later. */
	for (unsigned k = 0; k < POLICY_LIMITS; k++)
		if (l->budget.limit[k] != POLICY_NO_LIMIT)
			l->budget.lent[k] += (spent ? spent[k] : 0) - lent[k];
	apply(l);
	atomic_fetch_sub(&l->nest.root->nest.descendants, 1);
}

int budget_keep(struct lane *l, size_t before, size_t now)
{
	if (now > before && l->budget.limit[STHREAD_LIMIT_MEMORY] != POLICY_NO_LIMIT &&
	    lacks(l, STHREAD_LIMIT_MEMORY, now - before))
		return -ENOMEM;
	if (now != before) {
		l->budget.kept += now - before;
		apply(l);
	}
	return 0;
}

void budget_unkeep(struct lane *l, size_t size)
{
	l->budget.kept -= size;
	apply(l);
}

void budget_write_off(struct lane *l)
{
	for (unsigned k = 0; k < POLICY_LIMITS; k++) {
		l->budget.spent[k] += l->budget.lent[k];
		l->budget.lent[k] = 0; /* the next entry has CPU time of its own */
	}
	apply(l);
}
