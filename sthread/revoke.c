// SPDX-License-Identifier: MIT
/*
 * revoke.c - the master takes a descriptor back from a compartment that runs.  World: host.
 *
 * A table of descriptors belongs to the thread that runs the compartment, and has no lock.  So that
 * thread is asked, in one word (sys_ctx.revoke), and woken until it has done it: out of the guest, or
 * out of a call that waits.  It does it between two system calls, when none uses the table.
 */
#include <errno.h>
#include <time.h>

#include "sthread/gate.h"
#include "sthread/internal.h"
#include "sthread/nest.h"

/* What the policy granted under this number; it may have any number inside by now. */
static uint64_t file_of(const struct policy *p, int fd)
{
	unsigned at = fd_entries_search(p->grant, p->n, fd);

	return at < p->n && p->grant[at].number == fd ? p->grant[at].obj->file : 0;
}

/* What a run has made and may hold it, too. */
struct made {
	struct sthread *st[STHREAD_NEST_LIVE];
	struct sthread_gate *gate[STHREAD_NEST_LIVE];
	unsigned n, ngates;
};

/*
 * True: over, but for what it made.  A run that has not begun holds nothing yet, and is about to.
 * The lock is held for one try, so that a kill comes through.
 */
static bool take_back(struct sthread *st, uint64_t file, struct made *m, int *err)
{
	bool over = true;

	pthread_mutex_lock(&st->lock);
	if (atomic_load(&st->done)) {
		*err = st->revoking == file ? 0 : -ESRCH; /* 0: it ended over that */
	} else if (st->lane && gate_serves(st->lane)) {
		*err = -EDEADLK;
	} else if (st->lane && st->revoking && st->revoking != file) {
		over = false; /* another's comes first */
	} else if (st->lane) {
		if (!st->revoking)
			atomic_store(&st->lane->ctx.revoke, file);
		st->revoking = file;
		over = !lane_revoke(st->lane);
		/* From now on it can hand it to no other. */
		if (over) {
			m->n = nest_children(st->lane, m->st);
			m->ngates = nest_bar(st->lane, file, m->gate);
		}
	} else {
		over = false;
	}
	if (over && st->revoking == file)
		st->revoking = 0;
	pthread_mutex_unlock(&st->lock);
	return over;
}

/* What was made is ended, or gives it up.  True: a gate may have given it to its maker again meanwhile. */
static bool take_from_made(struct made *m, uint64_t file)
{
	bool given = false;

	while (m->ngates) {
		struct sthread_gate *g = m->gate[--m->ngates];

		given |= gate_cut(g);
		gate_put(g);
	}
	while (m->n) {
		struct sthread *child = m->st[--m->n];

		(void)!sthread_take_back(child, file);
		handle_put(child);
	}
	return given;
}

int sthread_take_back(struct sthread *st, uint64_t file)
{
	struct made m = { .n = 0, .ngates = 0 };
	int err = 0, later;

	for (int *says = &err;; says = &later) {
		struct timespec nap = FIRST_NAP;

		while (!take_back(st, file, &m, says))
			lane_nap(&nap);
		if (!take_from_made(&m, file))
			return err;
	}
}

int sthread_policy_fd_revoke(struct sthread *st, int fd)
{
	int cancel, err;
	uint64_t file;

	if (is_inside())
		return -EPERM;
	if (!st || st->forks != process.forks)
		return -EINVAL;
	cancel = cancel_hold();
	handle_get(st);
	file = file_of(st->policy, fd);
	err = file ? sthread_take_back(st, file) : -EBADF;
	handle_put(st);
	cancel_release(cancel);
	return err;
}
