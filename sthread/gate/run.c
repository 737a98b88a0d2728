/* SPDX-License-Identifier: MIT */
/*
 * run.c - a call of a gate in its compartment: a lane, on the thread that serves the
 * caller.  World: host.
 *
 * The message lies at a place of its own in the gate's memory:
 *
 *	struct gate_entry | in | out ...
 */
#include <errno.h>
#include <string.h>

#include "sthread/gate/gate.h"
#include "sthread/inside/gate.h"
#include "sthread/process.h"
#include "sthread/run/budget.h"
#include "sthread/run/helper.h"

#define ALIGN16(x) (((x) + 15) & ~15UL)
#define IN_AT	   ALIGN16(sizeof(struct gate_entry))

_Static_assert(IN_AT + 2 * ALIGN16((size_t)STHREAD_GATE_MESSAGE) <= MESSAGE_SIZE, "room for both");

static uint64_t out_at(const struct gate_call *c)
{
	return process.message_low + IN_AT + ALIGN16(c->in_len);
}

static int message_in(const struct gate_call *c, struct lane *l)
{
	const struct gate_entry e = {
		.fn = c->gate->fn,
		.trusted = c->gate->trusted,
		.in = (const void *)(process.message_low + IN_AT),
		.in_len = c->in_len,
		.out = (void *)out_at(c),
		.out_cap = c->out_cap,
	};
	int err = uaccess_copy_out(&l->ctx.mem, dune_gva(process.message_low), &e, sizeof(e));

	if (!err)
		err = uaccess_copy_out(&l->ctx.mem, dune_gva(process.message_low + IN_AT), c->in,
				       c->in_len);
	return err;
}

/* ---- entering a compartment again that keeps its memory ---- */

struct wipe {
	struct dune_vm *vm;
	uint64_t end;
};

static int wipe_page(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	const struct wipe *w = ctx;
	uint64_t n = w->end - at.v;

	if (leaf->prot & DUNE_OWNED)
		memset(dune_page_host(w->vm, leaf->page), 0,
		       n < DUNE_PAGE_SIZE ? n : DUNE_PAGE_SIZE);
	return 0;
}

/* Zeroes the private pages of [low, end). */
static void wipe(struct lane *l, uint64_t low, uint64_t end)
{
	struct wipe w = { l->ctx.mem.vm, end };

	dune_vm_page_walk(l->space, dune_gva(low),
			  dune_gva((end + DUNE_PAGE_SIZE - 1) & ~(DUNE_PAGE_SIZE - 1)), wipe_page,
			  &w);
}

static int begin(const struct gate_call *c, struct lane *l, bool again)
{
	bool on_worker = c->caller && c->caller->ctx.on_worker;
	int err;

	if (again) {
		l->ctx.on_worker = on_worker;
		sys_again(&l->ctx);
		wipe(l, process.message_low, process.message_low + MESSAGE_SIZE);
		wipe(l, process.stack_low, process.stack_top - STACK_TOP_RESERVED);
		return 0;
	}
	err = policy_pin(policy_get(c->gate->policy));
	if (err)
		return err;
	err = lane_begin(l, c->gate->policy, on_worker);
	if (!err)
		err = dune_region_add(l->space, dune_gva(process.message_low), MESSAGE_SIZE,
				      DUNE_READ | DUNE_WRITE);
	return err;
}

/* ---- one call ---- */

/* The result of the call, from how the run ended. */
static ssize_t answer_of(const struct sthread_result *r)
{
	switch (r->end) {
	case STHREAD_RETURNED:
		return (ssize_t)r->value;
	case STHREAD_EXITED:
	case STHREAD_ABORTED:
	case STHREAD_FAULTED:
		return -EIO;
	case STHREAD_DENIED:
		return -EACCES;
	case STHREAD_OVER_LIMIT:
		return r->limit == STHREAD_LIMIT_WALL_NS || r->limit == STHREAD_LIMIT_CPU_NS ?
			       -ETIMEDOUT :
			       -EDQUOT;
	case STHREAD_KILLED:
		return -ECANCELED;
	case STHREAD_NOT_STARTED:
		return (int)(intptr_t)r->value;
	case STHREAD_LOST:
		break;
	}
	return -ENOTRECOVERABLE;
}

/* gate_cut() stops the call that is under way by this. */
static void tell_runs(struct sthread_gate *g, struct lane *l)
{
	gate_lock();
	g->runs = l;
	gate_unlock();
}

void gate_spend(struct sthread_gate *g, const uint64_t *spent)
{
	g->budget.spent[STHREAD_LIMIT_CPU_NS] += spent[STHREAD_LIMIT_CPU_NS];
	g->budget.spent[STHREAD_LIMIT_GATE_CALLS] += spent[STHREAD_LIMIT_GATE_CALLS];
}

static int enter(struct gate_call *c, struct lane *l, struct sthread_result *r)
{
	const struct lane_entry e = {
		.fn = gate_inside,
		.arg = (void *)process.message_low,
		.root = c->gate->root,
		.depth = c->gate->depth,
		.enclosing_call = gate_current(),
		.cpu = budget_left(&c->gate->budget, STHREAD_LIMIT_CPU_NS),
		.calls = budget_left(&c->gate->budget, STHREAD_LIMIT_GATE_CALLS),
	};
	int err = lane_enter(l, &e, r);

	if (!err)
		gate_spend(c->gate, l->budget.spent);
	return err;
}

/* *proper: it returned what a gate may return. */
static ssize_t serve(struct gate_call *c, struct lane *l, bool again, struct sthread_result *r,
		     bool *proper)
{
	ssize_t n;
	int err;

	l->gates.serving = c;
	err = begin(c, l, again);
	for (bool tried = false; !err && (err = message_in(c, l)) == -ENOMEM && lane_reclaim(l, &tried);)
		err = 0;
	c->began = !err;
	if (!err)
		err = enter(c, l, r);
	if (err)
		*r = (struct sthread_result){ .end = STHREAD_NOT_STARTED,
					      .value = (void *)(intptr_t)err };
	l->gates.serving = NULL;
	n = answer_of(r);
	*proper = r->end == STHREAD_RETURNED && gate_answer_ok(n, c->out_cap);
	if (*proper && n > 0)
		*proper = !uaccess_copy_in(&l->ctx.mem, c->out, dune_gva(out_at(c)), (size_t)n);
	return *proper || r->end != STHREAD_RETURNED ? n : -EPROTO;
}

/* ---- its lane ---- */

struct lane_wanted {
	struct lane *lane;
	int err;
};

static void get(void *arg)
{
	struct lane_wanted *w = arg;

	w->err = lane_get(&w->lane);
}

/* A new one is not for a worker to make: see run/helper.c. */
static int fresh_lane(const struct gate_call *c, struct lane **out)
{
	struct lane_wanted w = { .lane = lane_get_idle() };

	if (!w.lane && helper_run(c->caller, get, &w))
		return -EAGAIN;
	if (!w.err)
		*out = w.lane;
	return w.err;
}

/* It can be signalled, and is stopped with the caller. */
static int attach(struct gate_call *c, struct lane *l)
{
	sigset_t ours;
	int err = 0;

	if (c->caller) {
		l->stop.signal_lane = c->caller->stop.signal_lane ? c->caller->stop.signal_lane : c->caller;
		l->deadline.cpu_clock = l->stop.signal_lane->deadline.cpu_clock;
	} else if ((err = lane_arm(l))) {
		return err;
	}
	l->stop.made_inside = c->gate->root;
	if (c->stop_source && !lane_link_callee(c->stop_source, l)) {
		l->stop.signal_lane = NULL;
		lane_disarm(l);
		return -ECANCELED;
	}
	sigemptyset(&ours);
	sigaddset(&ours, process.signal);
	pthread_sigmask(SIG_UNBLOCK, &ours, &c->mask);
	return 0;
}

static void detach(struct gate_call *c, struct lane *l)
{
	if (sigismember(&c->mask, process.signal))
		pthread_sigmask(SIG_SETMASK, &c->mask, NULL);
	if (c->stop_source)
		lane_unlink_callee(c->stop_source);
	l->stop.signal_lane = NULL;
	lane_disarm(l);
}

/* After lane_end(). */
static void put(struct lane *l)
{
	if (lane_clean(l))
		lane_put(l);
	else
		lane_discard(l);
}

void gate_lane_back(struct lane *l)
{
	lane_end(l);
	put(l);
}

static void keep_record(struct sthread_gate *g, const struct sthread_result *r)
{
	gate_lock();
	g->last = *r;
	g->failed = true;
	gate_unlock();
}

/* *kept: the lane that the gate keeps between calls, or NULL; before and after. */
static ssize_t run(struct gate_call *c, struct lane **kept)
{
	struct sthread_gate *g = c->gate;
	struct lane *l = *kept;
	struct sthread_result r;
	bool proper;
	ssize_t n;

	if (!l && (n = fresh_lane(c, &l)))
		return n;
	n = attach(c, l);
	if (n) {
		if (!*kept)
			lane_put(l);
		return n;
	}
	if (g->root)
		tell_runs(g, l);
	n = serve(c, l, *kept != NULL, &r, &proper);
	if (g->root)
		tell_runs(g, NULL);
	detach(c, l);
	if (!proper) {
		c->failed = true;
		keep_record(g, &r);
	}
	if (proper && g->kind == STHREAD_GATE_RECYCLED && !lane_is_lost(l)) {
		*kept = l;
		return n;
	}
	*kept = NULL;
	lane_end(l);
	put(l);
	return n;
}

ssize_t gate_in_lane(struct gate_call *c)
{
	struct sthread_gate *g = c->gate;
	struct lane *none = NULL;
	ssize_t n;

	if (g->kind == STHREAD_GATE_FRESH && !g->root)
		return run(c, &none);
	n = gate_take(c);
	if (n)
		return n;
	n = run(c, &g->lane);
	gate_release(g);
	return n;
}
