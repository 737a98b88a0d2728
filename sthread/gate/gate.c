/* SPDX-License-Identifier: MIT */
/* gate.c - gates: made, destroyed, asked what happened.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/cancel.h"
#include "sthread/gate/gate.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/process.h"
#include "sthread/run/worker.h"

int gate_check(const struct sthread_gate_config *cfg)
{
	if (!cfg || cfg->size != sizeof(*cfg) || !cfg->fn ||
	    (unsigned)cfg->kind > STHREAD_GATE_RESIDENT)
		return -EINVAL;
	if (cfg->name && strlen(cfg->name) >= STHREAD_GATE_NAME)
		return -EINVAL;
	if (cfg->kind == STHREAD_GATE_RESIDENT)
		return -ENOTSUP;
	return cfg->native && (cfg->kind != STHREAD_GATE_FRESH || cfg->policy) ? -EINVAL : 0;
}

/* One more user of the library.  fn: also, it is there in a compartment. */
static int enter(const struct sthread_gate_config *cfg)
{
	return cfg->native ? process_enter_any() : process_enter((void *(*)(void *))(uintptr_t)cfg->fn);
}

static void fill(struct sthread_gate *g, const struct sthread_gate_config *cfg,
		 const struct policy *value, struct lane *creator)
{
	atomic_init(&g->refs, 1);
	g->handle = (uintptr_t)g;
	if (cfg->name)
		strcpy(g->name, cfg->name);
	g->fn = cfg->fn;
	g->trusted = cfg->trusted;
	g->policy = value;
	g->kind = cfg->kind;
	g->native = cfg->native;
	if (cfg->after) {
		g->after_ref = gate_get((struct sthread_gate *)cfg->after);
		g->after = g->after_ref->handle;
	}
	g->max_calls = cfg->max_calls;
	g->generation = process.generation;
	for (unsigned k = 0; k < POLICY_LIMITS; k++)
		g->budget.limit[k] = POLICY_NO_LIMIT;
	if (creator) {
		g->root = creator->nest.root;
		g->depth = creator->nest.depth + 1;
	}
}

int gate_new(struct sthread_gate **out, const struct sthread_gate_config *cfg,
	      const struct policy *value, struct lane *creator)
{
	struct sthread_gate *g = NULL;
	int err = enter(cfg);

	if (err) {
		policy_put(value);
		return err;
	}
	err = helpers_start(value, creator);
	if (!err && !(g = calloc(1, sizeof(*g))))
		err = -ENOMEM;
	if (!err) {
		fill(g, cfg, value, creator);
		*out = g;
	} else {
		policy_put(value);
	}
	process_leave();
	return err;
}

int sthread_gate_create(struct sthread_gate **out, const struct sthread_gate_config *cfg)
{
	int err;

	if (is_inside())
		return inside_gate_create(out, cfg);
	err = out ? gate_check(cfg) : -EINVAL;
	return err ? err : gate_new(out, cfg, cfg->native ? NULL : policy_copy(cfg->policy), NULL);
}

struct lane *gate_close(struct sthread_gate *g)
{
	struct lane *l = NULL;

	gate_lock();
	g->gone = true;
	if (!g->holder) {
		l = g->lane;
		g->lane = NULL;
	}
	gate_unlock();
	return l;
}

/*
 * Return the gate's lane to the pool, unless the library has ended or is ending: that frees all
 * lanes, this one included.
 */
static void give_back(struct sthread_gate *g, struct lane *l)
{
	bool entered;
	int cancel;

	pthread_mutex_lock(&process.lock);
	entered = g->generation == process.generation && process_enter_locked();
	pthread_mutex_unlock(&process.lock);
	if (!entered)
		return;
	cancel = cancel_disable();
	gate_lane_back(l);
	cancel_restore(cancel);
	process_leave();
}

void gate_cut(struct sthread_gate *g)
{
	struct timespec nap = FIRST_NAP;
	struct lane *l = gate_close(g);

	if (l)
		give_back(g, l);
	/* Those that wait for their turn get it, and see. */
	while (gate_held(g)) {
		gate_lock();
		if (g->runs)
			lane_stop(g->runs, STOP_KILLED);
		gate_unlock();
		lane_nap(&nap);
	}
}

void sthread_gate_destroy(struct sthread_gate *g)
{
	struct lane *l;

	if (!g)
		return;
	if (is_inside()) {
		inside_gate_destroy(g);
		return;
	}
	l = gate_close(g);
	if (l)
		give_back(g, l);
	gate_put(g);
}

int sthread_gate_last_result(const struct sthread_gate *g, struct sthread_result *out)
{
	int err = 0;

	if (is_inside())
		return -EPERM;
	if (!g || !out)
		return -EINVAL;
	gate_lock();
	if (g->failed)
		*out = g->last;
	else
		err = -ENOENT;
	gate_unlock();
	return err;
}
