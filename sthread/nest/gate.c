/* SPDX-License-Identifier: MIT */
/*
 * gate.c - gates that a compartment makes, from their start to their end.  World: host.
 *
 * Memory and descriptors of such a gate are taken out of its creator's limits as long as it lives,
 * enough for one call at a time.  The CPU time of a call is its caller's.  CPU time that was lent
 * is for the children of all its calls together, and calls of gates that were lent are for all its
 * calls together.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "sthread/gate/gate.h"
#include "sthread/nest/nest.h"
#include "sthread/run/budget.h"

/* Handles of gates and addresses of gates are in one table: no address has this bit. */
#define GATE_MADE_INSIDE (1UL << 62)

bool nest_gate_own(const struct lane *l, const struct sthread_gate *g)
{
	const struct gate_own *e = gate_own_find(l, g->handle);

	return e && e->gate == g;
}

/* ---- their end ---- */

static void set_slot(struct nest *n, struct gate_own *e, struct sthread_gate *g)
{
	pthread_mutex_lock(&n->lock);
	e->gate = g;
	pthread_mutex_unlock(&n->lock);
}

/* Nothing runs it. */
static void release(struct lane *l, struct nest *n, struct gate_own *e)
{
	struct sthread_gate *g = e->gate;
	struct lane *kept = gate_close(g);
	uint64_t spent[POLICY_LIMITS] = { 0 };

	if (kept)
		gate_lane_back(kept);
	set_slot(n, e, NULL);
	if (g->budget.limit[STHREAD_LIMIT_CPU_NS] != POLICY_NO_LIMIT)
		spent[STHREAD_LIMIT_CPU_NS] = g->budget.spent[STHREAD_LIMIT_CPU_NS];
	if (g->budget.limit[STHREAD_LIMIT_GATE_CALLS] != POLICY_NO_LIMIT)
		spent[STHREAD_LIMIT_GATE_CALLS] = e->lent[STHREAD_LIMIT_GATE_CALLS] -
						  budget_left(&g->budget, STHREAD_LIMIT_GATE_CALLS);
	budget_take_back(l, e->lent, spent);
	/*
	 * Policies may still name it; that must not keep its policy alive, and the gates of that.
	 */
	gate_drop_policy(g);
	gate_put(g);
}

/* Releases gates that were destroyed while a call went on. */
static void reap_destroyed(struct lane *l, struct nest *n)
{
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (n->gate[i].gate && n->gate[i].destroyed && !gate_held(n->gate[i].gate))
			release(l, n, &n->gate[i]);
}

long nest_gate_destroy(struct lane *l, uint64_t handle)
{
	struct gate_own *e = gate_own_find(l, handle);
	struct lane *kept;

	if (!e)
		return -EINVAL;
	e->destroyed = true;
	kept = gate_close(e->gate);
	if (kept)
		gate_lane_back(kept);
	reap_destroyed(l, atomic_load(&l->nest.made));
	return 0;
}

void nest_gates_end(struct lane *l, struct nest *n)
{
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (n->gate[i].gate)
			release(l, n, &n->gate[i]);
}

/* ---- their beginning ---- */

/* Read once; what it names is looked up.  name: STHREAD_GATE_NAME bytes. */
static int read_config(struct lane *l, uint64_t at, struct sthread_gate_config *cfg, char *name)
{
	unsigned char native; /* of somebody else's: it need not be a bool */
	int n;

	if (!at)
		return -EINVAL;
	n = uaccess_copy_in(&l->ctx.mem, cfg, dune_gva(at), sizeof(*cfg));
	if (n)
		return n;
	memcpy(&native, &cfg->native, sizeof(native));
	cfg->native = native;
	if (cfg->name) {
		n = uaccess_str(&l->ctx.mem, name, dune_gva((uintptr_t)cfg->name),
				STHREAD_GATE_NAME);
		if (n < 0)
			return n == -ENAMETOOLONG ? -EINVAL : n;
		cfg->name = name;
	}
	if (cfg->after) {
		cfg->after = gate_callable(l, (uintptr_t)cfg->after);
		if (!cfg->after)
			return -EINVAL;
	}
	return gate_check(cfg);
}

static struct gate_own *place(struct nest *n)
{
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (!n->gate[i].gate)
			return &n->gate[i];
	return NULL;
}

static bool names_file(const struct policy *p, uint64_t file)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->grant[i].obj->file == file)
			return true;
	return false;
}

/* Of a policy that was found to be within the creator's rights; its reference is taken over. */
static long start(struct lane *l, struct nest *n, const struct sthread_gate_config *cfg,
		  const struct policy *value)
{
	struct gate_own *e = place(n);
	struct sthread_gate *g;
	uint64_t revoking;
	int err = e ? budget_lend(l, value, e->lent) : -EAGAIN;

	if (err) {
		policy_put(value);
		return err;
	}
	err = gate_new(&g, cfg, value, l);
	if (err) {
		budget_take_back(l, e->lent, NULL);
		return err;
	}
	g->handle = GATE_MADE_INSIDE | nest_handle(l, n);
	if (l->budget.limit[STHREAD_LIMIT_CPU_NS] != POLICY_NO_LIMIT)
		g->budget.limit[STHREAD_LIMIT_CPU_NS] = e->lent[STHREAD_LIMIT_CPU_NS];
	if (l->budget.limit[STHREAD_LIMIT_GATE_CALLS] != POLICY_NO_LIMIT)
		g->budget.limit[STHREAD_LIMIT_GATE_CALLS] = e->lent[STHREAD_LIMIT_GATE_CALLS];
	e->destroyed = false;
	e->count = (struct gate_count){ 0 };
	set_slot(n, e, g);
	revoking = atomic_load(&l->nest.revoking_file);
	if (!revoking || !names_file(value, revoking))
		return (long)g->handle;
	release(l, n, e); /* taken back just now */
	return -EPERM;
}

long nest_gate_create(struct lane *l, uint64_t config)
{
	struct nest *n = nest_of(l);
	struct sthread_gate_config cfg;
	char name[STHREAD_GATE_NAME];
	const struct policy *value;
	int err;

	if (!n)
		return -ENOMEM;
	err = read_config(l, config, &cfg, name);
	if (err)
		return err;
	if (cfg.native)
		return -EPERM;
	if (l->nest.depth >= STHREAD_NEST_DEPTH)
		return -ELOOP;
	reap_destroyed(l, n);
	err = nest_policy_value(l, (uintptr_t)cfg.policy, &value);
	if (err)
		return err;
	if (!nest_covers(l, value)) {
		policy_put(value);
		return -EPERM;
	}
	return start(l, n, &cfg, value);
}

/* ---- a descriptor is taken back ---- */

/* By its policy; or it may have been given it by another. */
static bool may_hold(const struct policy *p, uint64_t file)
{
	for (unsigned i = 0; i < p->ngates; i++)
		if (p->gate[i]->root)
			return true;
	return names_file(p, file);
}

unsigned nest_gates_with(struct nest *n, uint64_t file, struct sthread_gate *list[STHREAD_NEST_LIVE])
{
	unsigned found = 0;

	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++) {
		struct sthread_gate *g = n->gate[i].gate;

		if (g && may_hold(g->policy, file))
			list[found++] = gate_get(g);
	}
	return found;
}
