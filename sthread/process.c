/* SPDX-License-Identifier: MIT */
/* process.c - the state of the library in this process, and who is within it.  World: host. */
#include "sthread/process.h"

struct process process = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.quiet = PTHREAD_COND_INITIALIZER,
	.making = PTHREAD_RWLOCK_INITIALIZER,
};

bool process_enter_locked(void)
{
	if (!process.ready || process.ending)
		return false;
	atomic_fetch_add(&process.live, 1);
	return true;
}

int process_enter(void *(*fn)(void *))
{
	struct dune_leaf leaf;
	int err = process_enter_any();

	if (err)
		return err;
	if (dune_vm_lookup(ckpt_space(process.ckpt), dune_gva((uint64_t)fn), &leaf) ||
	    !(leaf.prot & DUNE_EXEC)) {
		process_leave();
		return -EINVAL;
	}
	return 0;
}

void process_leave(void)
{
	pthread_mutex_lock(&process.lock);
	atomic_fetch_sub(&process.live, 1);
	pthread_cond_broadcast(&process.quiet);
	pthread_mutex_unlock(&process.lock);
}
