// SPDX-License-Identifier: MIT
/*
 * revoke.c - the master takes a descriptor back from a compartment that runs.  World: host.
 *
 * A table of descriptors belongs to the thread that runs the compartment, and has no lock.  So
 * that thread is asked, in one word (sys_ctx.revoke), and woken until it has done it: out of the
 * guest, or out of a call that waits.  It does it between two system calls, when none uses the
 * table.
 */
#include <errno.h>
#include <time.h>

#include "sthread/cancel.h"
#include "sthread/gate/gate.h"
#include "sthread/inside/inside.h"
#include "sthread/nest/nest.h"
#include "sthread/process.h"

/* The open file that the policy granted under this number; inside it may have others by now. */
static uint64_t file_of(const struct policy *p, int fd)
{
	unsigned at = fd_entries_search(p->grant, p->n, fd);

	return at < p->n && p->grant[at].number == fd ? p->grant[at].obj->file : 0;
}

/*
 * The steps.  First end the run's own gates that may have the file, and let no new one have it:
 * when the run then gives it up, no gate can give it back.
 */
struct taking {
	enum { NOT_BEGUN, GATES, ASKED } step;
	struct sthread_gate *gate[STHREAD_NEST_LIVE];
	struct sthread *st[STHREAD_NEST_LIVE];
	unsigned ngates, n;
};

/*
 * True: over, but for its children.  A run that has not begun holds nothing yet, and is about to.
 * The lock is held for one try, so that a kill comes through.
 */
static bool try_take_back(struct sthread *st, uint64_t file, struct taking *t, int *err)
{
	bool over = false;

	pthread_mutex_lock(&st->lock);
	if (atomic_load(&st->done)) {
		*err = t->step == NOT_BEGUN ? -ESRCH : 0; /* 0: it ended over that */
		over = true;
	} else if (st->lane && gate_serves(st->lane)) {
		*err = -EDEADLK;
		over = true;
	} else if (st->lane && t->step == NOT_BEGUN && !st->revoking) { /* or another's comes first */
		st->revoking = file;
		t->ngates = nest_revoke_gates(st->lane, file, t->gate);
		t->step = GATES;
	} else if (st->lane && t->step != NOT_BEGUN) {
		if (t->step == GATES)
			atomic_store(&st->lane->ctx.revoke, file);
		t->step = ASKED;
		over = !lane_revoke(st->lane);
		if (over)
			t->n = nest_children(st->lane, t->st);
	}
	if (over && t->step != NOT_BEGUN)
		st->revoking = 0;
	pthread_mutex_unlock(&st->lock);
	return over;
}

/* -ESRCH: it has ended. */
static int take_back(struct sthread *st, uint64_t file)
{
	struct timespec nap = FIRST_NAP;
	struct taking t = { .step = NOT_BEGUN };
	int err = 0;

	while (!try_take_back(st, file, &t, &err)) {
		if (!t.ngates)
			lane_nap(&nap);
		while (t.ngates) {
			struct sthread_gate *g = t.gate[--t.ngates];

			gate_cut(g);
			gate_put(g);
		}
	}
	while (t.n) {
		struct sthread *child = t.st[--t.n];

		(void)!take_back(child, file);
		handle_put(child);
	}
	return err;
}

int sthread_policy_fd_revoke(struct sthread *st, int fd)
{
	int cancel, err;
	uint64_t file;

	if (is_inside())
		return -EPERM;
	if (!st || st->forks != process.forks)
		return -EINVAL;
	cancel = cancel_disable();
	handle_get(st);
	file = file_of(st->policy, fd);
	err = file ? take_back(st, file) : -EBADF;
	handle_put(st);
	cancel_restore(cancel);
	return err;
}
