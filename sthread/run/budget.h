/* SPDX-License-Identifier: MIT */
/*
 * budget.h - what a run has of its limits, and lends to compartments, gates and policies of its
 * own.  World: host.
 *
 * The budget itself is struct budget of policy/policy.h.  Only the thread that runs the lane
 * changes it.
 */
#ifndef STHREAD_RUN_BUDGET_H
#define STHREAD_RUN_BUDGET_H

#include <sthread.h>
#include <stddef.h>
#include <stdint.h>

#include "sthread/policy/policy.h"

struct lane;

/* How much of a limit of the run is not its own, since it is lent or taken up by its policies. */
uint64_t budget_lent(const struct lane *l, enum sthread_limit limit);
/*
 * Takes what a policy says of the limits that are divided out of the run's own, and says in
 * `lent` how much; and one of the places beneath its root.  -EAGAIN, -EDQUOT.
 */
int budget_lend(struct lane *l, const struct policy *value, uint64_t lent[POLICY_LIMITS]);
/* spent: what of it does not come back; NULL: nothing. */
void budget_take_back(struct lane *l, const uint64_t lent[POLICY_LIMITS], const uint64_t *spent);
/*
 * The run's policies take up other memory than before.  -ENOMEM: that is more than is left of its
 * own.
 */
int budget_keep(struct lane *l, size_t before, size_t now);
void budget_unkeep(struct lane *l, size_t size);
/* The run ends, and nothing beneath it runs any more: what is still lent is spent. */
void budget_write_off(struct lane *l);

#endif
