/* SPDX-License-Identifier: MIT */
/* gate.c - gates: made, let go of, asked what happened.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/gate.h"
#include "sthread/internal.h"

static int check(const struct sthread_gate_config *cfg)
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
	bool entered;

	if (!cfg->native)
		return process_enter((void *(*)(void *))(uintptr_t)cfg->fn);
	pthread_mutex_lock(&process.lock);
	entered = process_enter_locked();
	pthread_mutex_unlock(&process.lock);
	return entered ? 0 : -EINVAL;
}

int sthread_gate_create(struct sthread_gate **out, const struct sthread_gate_config *cfg)
{
	struct sthread_gate *g;
	int err;

	if (is_inside())
		return -EPERM;
	err = out ? check(cfg) : -EINVAL;
	if (err || (err = enter(cfg)))
		return err;
	err = natives_start();
	if (err)
		goto out;
	g = calloc(1, sizeof(*g));
	if (!g) {
		err = -ENOMEM;
		goto out;
	}
	atomic_init(&g->refs, 1);
	if (cfg->name)
		strcpy(g->name, cfg->name);
	g->fn = cfg->fn;
	g->trusted = cfg->trusted;
	g->policy = cfg->native ? NULL : policy_copy(cfg->policy);
	if (g->policy && (g->policy->limit[STHREAD_LIMIT_WALL_NS] != POLICY_NO_LIMIT ||
			  g->policy->limit[STHREAD_LIMIT_CPU_NS] != POLICY_NO_LIMIT) &&
	    watch_start()) {
		policy_put(g->policy);
		free(g);
		err = -EAGAIN;
		goto out;
	}
	g->kind = cfg->kind;
	g->native = cfg->native;
	g->after = cfg->after ? gate_get((struct sthread_gate *)cfg->after) : NULL;
	g->max_calls = cfg->max_calls;
	g->generation = process.generation;
	*out = g;
out:
	process_leave();
	return err;
}

/*
 * What it kept goes back to the pool, unless the library has ended, or is about to: then all lanes
 * go, and this one with them.
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
	cancel = cancel_hold();
	gate_lane_back(l);
	cancel_release(cancel);
	process_leave();
}

void sthread_gate_destroy(struct sthread_gate *g)
{
	struct lane *l = NULL;

	if (!g || is_inside())
		return;
	gate_lock();
	g->gone = true;
	if (!g->holder) {
		l = g->lane;
		g->lane = NULL;
	}
	gate_unlock();
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
