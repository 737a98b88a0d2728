/* SPDX-License-Identifier: MIT */
/*
 * call.c - a call of a gate: who may, what goes in, what comes out.  World: host.
 *
 * All checks come first, the message is copied in once, fn runs on the copy, and what it answers is
 * copied out once.  What a caller may call is looked up in its policy and lane, on this side.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/cancel.h"
#include "sthread/gate/gate.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/process.h"
#include "sthread/run/budget.h"

bool gate_stopping(const struct gate_call *c)
{
	return c->stop_source && atomic_load(&c->stop_source->stop.requested);
}

/* ---- any caller ---- */

/*
 * The private copies: in_len bytes to fill, out_cap zeroed ones.  call_close() when it
 * succeeded.
 */
static int call_open(struct gate_call *c, struct sthread_gate *gate, size_t in_len, size_t out_cap)
{
	const struct gate_call *above = c->parent_call ? c->parent_call :
					c->caller      ? c->caller->gates.enclosing_call :
							 NULL;

	if (in_len > STHREAD_GATE_MESSAGE || out_cap > STHREAD_GATE_MESSAGE)
		return -EMSGSIZE;
	c->gate = gate;
	c->in_len = in_len;
	c->out_cap = out_cap;
	c->chain = c->parent_call ? c->parent_call->chain : &c->own_chain;
	c->own_chain.above = above ? above->chain : NULL;
	c->stop_source = c->caller ? c->caller : c->parent_call ? c->parent_call->stop_source : NULL;
	c->id = c->caller ? c->caller->id : 0;
	c->depth = above ? above->depth + 1 : 1;
	if (c->depth > STHREAD_GATE_DEPTH)
		return -ELOOP;
	c->in = calloc(1, in_len + out_cap + 1);
	if (!c->in)
		return -ENOMEM;
	c->out = c->in + in_len;
	return 0;
}

/* When the call fails, what the gate gave is taken back. */
static ssize_t call_close(struct gate_call *c, ssize_t n)
{
	gate_given(c, n >= 0);
	explicit_bzero(c->in, c->in_len + c->out_cap);
	free(c->in);
	return n;
}

static bool gate_gone(struct sthread_gate *g)
{
	bool gone;

	gate_lock();
	gone = g->gone || g->generation != process.generation;
	gate_unlock();
	return gone;
}

static ssize_t perform(struct gate_call *c)
{
	ssize_t n = c->gate->native ? gate_in_master(c) : gate_in_lane(c);

	atomic_fetch_add(&process.gate_calls, c->began);
	atomic_fetch_add(&process.gate_faults, c->failed);
	return n;
}

/* ---- a compartment ---- */

static int want_counts(struct lane *l)
{
	const struct policy *p = l->ctx.policy;

	if (l->gates.counted)
		return 0;
	if (l->gates.cap < p->ngates) {
		struct gate_count *t = reallocarray(l->gates.count, p->ngates, sizeof(*t));

		if (!t)
			return -ENOMEM;
		l->gates.count = t;
		l->gates.cap = p->ngates;
	}
	if (p->ngates)
		memset(l->gates.count, 0, p->ngates * sizeof(*l->gates.count));
	l->gates.counted = true;
	return 0;
}

static struct gate_own *own_find(const struct lane *l, uint64_t handle, const char *name)
{
	for (unsigned i = 0; l->gates.own && i < STHREAD_NEST_LIVE; i++) {
		struct gate_own *e = &l->gates.own[i];

		if (!e->gate || e->destroyed)
			continue;
		if (name ? !strcmp(e->gate->name, name) : e->gate->handle == handle)
			return e;
	}
	return NULL;
}

struct gate_own *gate_own_find(const struct lane *l, uint64_t handle)
{
	return own_find(l, handle, NULL);
}

/* The handle, or -ENOENT. */
static long own_named(const struct lane *l, const char *name)
{
	const struct gate_own *e = own_find(l, 0, name);

	return e ? (long)e->gate->handle : -ENOENT;
}

struct sthread_gate *gate_callable(struct lane *l, uint64_t handle)
{
	int at = policy_gate(l->ctx.policy, handle);
	struct gate_own *own;

	if (at >= 0)
		return l->ctx.policy->gate[at];
	own = gate_own_find(l, handle);
	return own ? own->gate : NULL;
}

/* After want_counts(); NULL: it cannot call that. */
static struct gate_count *count_of(struct lane *l, uint64_t handle)
{
	int at = policy_gate(l->ctx.policy, handle);
	struct gate_own *own;

	if (at >= 0)
		return &l->gates.count[at];
	own = gate_own_find(l, handle);
	return own ? &own->count : NULL;
}

static bool in_order(struct lane *l, const struct sthread_gate *g, const struct gate_count *t)
{
	const struct gate_count *before;

	if (g->max_calls && t->calls >= g->max_calls)
		return false;
	if (!g->after)
		return true;
	before = count_of(l, g->after);
	return before && before->succeeded;
}

static long denied(int err)
{
	atomic_fetch_add(&process.gate_denied, 1);
	return err;
}

/* The call may be made, but for the number of those before. */
static bool calls_left(struct lane *l)
{
	const enum sthread_limit k = STHREAD_LIMIT_GATE_CALLS;

	return l->budget.limit[k] == POLICY_NO_LIMIT ||
	       l->budget.spent[k] + budget_lent(l, k) < l->budget.limit[k];
}

static long over_calls(struct lane *l)
{
	l->ctx.limit = STHREAD_LIMIT_GATE_CALLS;
	return sys_ended(&l->ctx, STHREAD_OVER_LIMIT, 0);
}

/* Copies the message in, and makes sure that the answer can be copied out. */
static int copy_from_caller(struct gate_call *c, uint64_t in, uint64_t out)
{
	int err = 0;

	c->out_at = out;
	if (c->in_len)
		err = uaccess_copy_in(&c->caller->ctx.mem, c->in, dune_gva(in), c->in_len);
	if (!err && c->out_cap)
		err = lane_prepare_out(c->caller, out, c->out_cap);
	return err;
}

long gate_serve_call(struct lane *l, const uint64_t arg[5])
{
	struct gate_call c = { .parent_call = l->gates.serving, .caller = l };
	struct sthread_gate *g = gate_callable(l, arg[0]);
	struct gate_count *t;
	ssize_t n;
	int err;

	if (!g || gate_gone(g))
		return denied(-ENOENT);
	err = want_counts(l);
	if (err)
		return err;
	t = count_of(l, arg[0]);
	if (!in_order(l, g, t))
		return denied(-EPERM);
	err = call_open(&c, g, arg[2], arg[4]);
	if (err)
		return err;
	n = copy_from_caller(&c, arg[1], arg[3]);
	if (!n)
		n = calls_left(l) ? perform(&c) : over_calls(l);
	l->budget.spent[STHREAD_LIMIT_GATE_CALLS] += c.began;
	if (c.began && t->calls < UINT_MAX)
		t->calls++;
	if (n > 0 && uaccess_copy_out(&l->ctx.mem, dune_gva(arg[3]), c.out, (size_t)n))
		n = -EFAULT;
	if (n >= 0)
		t->succeeded = true;
	return call_close(&c, n);
}

long gate_serve_find(struct lane *l, uint64_t at)
{
	const struct policy *p = l->ctx.policy;
	char name[STHREAD_GATE_NAME];
	int n = uaccess_str(&l->ctx.mem, name, dune_gva(at), sizeof(name));

	if (n < 0)
		return n == -ENAMETOOLONG ? -ENOENT : n;
	for (unsigned i = 0; n && i < p->ngates; i++)
		if (!strcmp(p->gate[i]->name, name))
			return (long)p->gate[i]->handle;
	return n ? own_named(l, name) : -ENOENT;
}

long gate_serve_caller(struct lane *l)
{
	return l->gates.serving ? (long)l->gates.serving->id : -EINVAL;
}

/* ---- the public calls ---- */

static ssize_t call_from_master(struct sthread_gate *gate, const void *in, size_t in_len, void *out,
				size_t out_cap)
{
	struct gate_call c = { .parent_call = gate_current() };
	int err = gate_gone(gate) ? -EINVAL : call_open(&c, gate, in_len, out_cap);
	ssize_t n;

	if (err)
		return err;
	if (in_len)
		memcpy(c.in, in, in_len);
	n = perform(&c);
	if (n > 0)
		memcpy(out, c.out, (size_t)n);
	return call_close(&c, n);
}

ssize_t sthread_gate_call(struct sthread_gate *gate, const void *in, size_t in_len, void *out,
			  size_t out_cap)
{
	int cancel, err;
	ssize_t n;

	if (is_inside())
		return inside_gate_call(gate, in, in_len, out, out_cap);
	if (!gate || (!in && in_len) || (!out && out_cap))
		return -EINVAL;
	err = process_enter_any();
	if (err)
		return err;
	cancel = cancel_disable();
	gate_get(gate); /* for compartments, their policy has one */
	n = call_from_master(gate, in, in_len, out, out_cap);
	gate_put(gate);
	cancel_restore(cancel);
	process_leave();
	return n;
}

int sthread_gate_find(struct sthread_gate **out, const char *name)
{
	return out && name && is_inside() ? inside_gate_find(out, name) : -EINVAL;
}

int sthread_gate_caller(struct sthread_id *out)
{
	const struct gate_call *c;

	if (!out)
		return -EINVAL;
	if (is_inside())
		return inside_gate_caller(out);
	c = gate_current();
	if (!c)
		return -EINVAL;
	*out = (struct sthread_id){ .run = c->id, .master = !c->id };
	return 0;
}
