/* SPDX-License-Identifier: MIT */
/* child.c - sthreads that a compartment makes, from their start to their end.  World: host. */
#include "sthread/nest/nest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/futex.h"
#include "sthread/run/budget.h"
#include "sthread/run/reclaim.h"
#include "sthread/run/worker.h"

/* Handles of a run: its number, which no other has, and a count. */
#define HANDLE_COUNT 24

static void end(struct lane *l);
static void fini(struct lane *l);

static const struct nest_ops ops = { .end = end, .fini = fini };

struct nest *nest_of(struct lane *l)
{
	struct nest *n = atomic_load(&l->nest.made);

	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	pthread_mutex_init(&n->lock, NULL);
	l->nest.ops = &ops;
	l->gates.own = n->gate;
	atomic_store(&l->nest.made, n);
	return n;
}

uint64_t nest_handle(struct lane *l, struct nest *n)
{
	return l->id << HANDLE_COUNT | (++n->serial & ((1UL << HANDLE_COUNT) - 1));
}

/* ---- children ---- */

static struct nest_child *find(struct lane *l, uint64_t handle)
{
	struct nest *n = atomic_load(&l->nest.made);

	for (unsigned i = 0; n && i < STHREAD_NEST_LIVE; i++)
		if (n->child[i].st && !n->child[i].detached && n->child[i].handle == handle)
			return &n->child[i];
	return NULL;
}

static void set_slot(struct nest *n, struct nest_child *c, struct sthread *st)
{
	pthread_mutex_lock(&n->lock);
	c->st = st;
	pthread_mutex_unlock(&n->lock);
}

/* Waits for its end, and forgets it. */
static void reap(struct lane *l, struct nest *n, struct nest_child *c, struct sthread_result *r)
{
	struct sthread *st = c->st;
	uint64_t spent[POLICY_LIMITS];

	while (!atomic_load(&st->done))
		futex_wait(&st->done, 0);
	set_slot(n, c, NULL);
	memcpy(spent, st->spent, sizeof(spent));
	(void)!sthread_join(st, r);
	budget_take_back(l, c->lent, spent);
}

/* Those that nobody will join. */
static void reap_detached(struct lane *l, struct nest *n)
{
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++) {
		struct nest_child *c = &n->child[i];

		if (c->st && c->detached && atomic_load(&c->st->done))
			reap(l, n, c, NULL);
	}
}

static struct nest_child *place(struct nest *n)
{
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (!n->child[i].st)
			return &n->child[i];
	return NULL;
}

/* Of a policy that was found to be within the creator's rights; its reference is taken over. */
static int start(struct lane *l, struct nest *n, const struct policy *value, void *fn, void *arg,
		 struct nest_child **out)
{
	struct nest_child *c = place(n);
	struct sthread *st;
	int err = c ? budget_lend(l, value, c->lent) : -EAGAIN;

	if (err) {
		policy_put(value);
		return err;
	}
	err = worker_start(&st, value, (void *(*)(void *))(uintptr_t)fn, arg, l);
	if (err) {
		budget_take_back(l, c->lent, NULL);
		return err;
	}
	c->handle = nest_handle(l, n);
	c->detached = false;
	set_slot(n, c, st);
	*out = c;
	return 0;
}

static int create(struct lane *l, const uint64_t arg[3], struct nest_child **out)
{
	struct nest *n = nest_of(l);
	const struct policy *value;
	int err;

	if (!n)
		return -ENOMEM;
	if (l->nest.depth >= STHREAD_NEST_DEPTH)
		return -ELOOP;
	reap_detached(l, n);
	err = nest_policy_value(l, arg[0], &value);
	if (err)
		return err;
	/* Whatever the set-up calls let pass, and what the creator has lost since. */
	if (!nest_covers(l, value)) {
		policy_put(value);
		return -EPERM;
	}
	return start(l, n, value, (void *)arg[1], (void *)arg[2], out);
}

/* Ended by what stops the creator, too; what is to be taken back of it meanwhile is. */
static int wait_for(struct lane *l, struct nest_child *c)
{
	while (!atomic_load(&c->st->done)) {
		sys_attend(&l->ctx);
		if (atomic_load(&l->stop.requested))
			return -EINTR;
		futex_wait(&c->st->done, 0);
	}
	return 0;
}

static int prepare(struct lane *l, uint64_t at)
{
	return at ? lane_prepare_out(l, at, sizeof(struct sthread_result)) : 0;
}

/* The place was prepared; its page may have gone since, for what the child was lent. */
static int deliver(struct lane *l, uint64_t at, const struct sthread_result *r)
{
	int err = prepare(l, at);

	return err || !at ? err : uaccess_copy_out(&l->ctx.mem, dune_gva(at), r, sizeof(*r));
}

static int join(struct lane *l, struct nest_child *c, uint64_t at)
{
	struct sthread_result r;
	int err = prepare(l, at);

	if (!err)
		err = wait_for(l, c);
	if (err)
		return err;
	reap(l, atomic_load(&l->nest.made), c, &r);
	return deliver(l, at, &r);
}

/* Joined at once.  Not on this thread: a stop or a revocation is for one run. */
static int call(struct lane *l, const uint64_t arg[4])
{
	struct sthread_result r;
	struct nest_child *c;
	int err = prepare(l, arg[3]);

	if (err || (err = create(l, arg, &c)) || (err = wait_for(l, c)))
		return err;
	reap(l, atomic_load(&l->nest.made), c, &r);
	if (r.end == STHREAD_NOT_STARTED)
		return (int)(intptr_t)r.value;
	return deliver(l, arg[3], &r);
}

long nest_serve(struct lane *l, enum hostcall nr, const uint64_t arg[5])
{
	struct nest_child *c;
	int err;

	if (nr == HOSTCALL_STHREAD_CREATE) {
		err = create(l, arg, &c);
		return err ? err : (long)c->handle;
	}
	if (nr == HOSTCALL_STHREAD_CALL)
		return call(l, arg);
	c = find(l, arg[0]);
	if (!c)
		return -EINVAL;
	if (nr == HOSTCALL_STHREAD_JOIN)
		return join(l, c, arg[1]);
	if (nr == HOSTCALL_STHREAD_KILL)
		return sthread_kill(c->st);
	c->detached = true;
	return 0;
}

/* ---- the creator's end ---- */

static void end(struct lane *l)
{
	struct nest *n = atomic_load(&l->nest.made);

	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (n->child[i].st)
			(void)!sthread_kill(n->child[i].st);
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (n->child[i].st)
			reap(l, n, &n->child[i], NULL);
	nest_gates_end(l, n);
	budget_write_off(l);
}

static void fini(struct lane *l)
{
	struct nest *n = atomic_load(&l->nest.made);

	atomic_store(&l->nest.made, NULL);
	l->gates.own = NULL;
	l->budget.kept = 0;
	for (unsigned i = 0; i < STHREAD_NEST_POLICIES; i++)
		sthread_policy_destroy(n->policy[i].p);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

unsigned nest_revoke_gates(struct lane *l, uint64_t file, struct sthread_gate *list[STHREAD_NEST_LIVE])
{
	struct nest *n;
	unsigned found;

	/* First: a gate that is being made is in the table before this is looked at. */
	atomic_store(&l->nest.revoking_file, file);
	n = atomic_load(&l->nest.made);
	if (!n)
		return 0;
	pthread_mutex_lock(&n->lock);
	found = nest_gates_with(n, file, list);
	pthread_mutex_unlock(&n->lock);
	return found;
}

unsigned nest_children(struct lane *l, struct sthread *list[STHREAD_NEST_LIVE])
{
	struct nest *n = atomic_load(&l->nest.made);
	unsigned found = 0;

	if (!n)
		return 0;
	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++) {
		if (!n->child[i].st)
			continue;
		handle_get(n->child[i].st);
		list[found++] = n->child[i].st;
	}
	pthread_mutex_unlock(&n->lock);
	return found;
}
