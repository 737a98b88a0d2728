/* SPDX-License-Identifier: MIT */
/* handle.c - handles of concurrent compartments: join, detach, kill.  World: host. */
#include "sthread/run/handle.h"

#include <errno.h>
#include <stdlib.h>

#include "sthread/cancel.h"
#include "sthread/futex.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/process.h"
#include "sthread/run/call.h"
#include "sthread/run/lane.h"

/* For a call that goes on looking at it while another thread's join lets go of it. */
void handle_get(struct sthread *st)
{
	atomic_fetch_add(&st->refs, 1);
}

void handle_put(struct sthread *st)
{
	if (atomic_fetch_sub(&st->refs, 1) != 1)
		return;
	policy_put(st->policy);
	pthread_mutex_destroy(&st->lock);
	free(st);
}

/* Take the owner's part away, once. */
static int disown(struct sthread *st)
{
	bool owned;

	if (!st || st->forks != process.forks)
		return -EINVAL;
	pthread_mutex_lock(&st->lock);
	owned = st->owned;
	st->owned = false;
	pthread_mutex_unlock(&st->lock);
	return owned ? 0 : -EINVAL;
}

int sthread_join(struct sthread *st, struct sthread_result *result)
{
	int err;

	if (is_inside())
		return inside_join(st, result);
	err = disown(st);
	if (err)
		return err;
	futex_await_run(&st->done, &st->begun, st->cpu);
	if (result)
		*result = st->result;
	handle_put(st);
	return 0;
}

int sthread_detach(struct sthread *st)
{
	int err;

	if (is_inside())
		return inside_detach(st);
	err = disown(st);
	if (!err)
		handle_put(st);
	return err;
}

int sthread_kill(struct sthread *st)
{
	struct timespec nap = FIRST_NAP;
	int cancel;

	if (is_inside())
		return inside_kill(st);
	if (!st || st->forks != process.forks)
		return -EINVAL;
	if (atomic_load(&st->done))
		return -ESRCH;
	cancel = cancel_disable();
	handle_get(st);
	/*
	 * The lock is held for one try, so that a kill and a revocation do not wait for each
	 * other.
	 */
	for (bool again = true; again;) {
		pthread_mutex_lock(&st->lock);
		st->killed = true;
		again = st->lane && lane_stop(st->lane, STOP_KILLED) && !gate_serves(st->lane);
		pthread_mutex_unlock(&st->lock);
		if (again)
			lane_nap(&nap);
	}
	handle_put(st);
	cancel_restore(cancel);
	return 0;
}
