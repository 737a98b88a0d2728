/* SPDX-License-Identifier: MIT */
/* fork.c - what a fork() of the program means to the library.  World: host. */
#include "sthread/process/fork.h"

#include <errno.h>
#include <sys/mman.h>

#include "sthread/gate/gate.h"
#include "sthread/inside/inside.h"
#include "sthread/policy/policy.h"
#include "sthread/process.h"
#include "sthread/report/unwind.h"
#include "sthread/run/helper.h"
#include "sthread/tag/tag.h"

/*
 * Every KVM descriptor is in the VM's list then, so that the child can close it.  Inside, fork()
 * calls this, too, before it fails: there the locks are as at the checkpoint, held.
 */
static void before_fork(void)
{
	if (is_inside())
		return;
	pthread_rwlock_wrlock(&process.making);
	pthread_mutex_lock(&process.lock);
	tags_before_fork();
	policies_before_fork();
}

static void after_fork_parent(void)
{
	if (is_inside())
		return;
	policies_after_fork(false);
	tags_after_fork(false);
	pthread_mutex_unlock(&process.lock);
	pthread_rwlock_unlock(&process.making);
}

/*
 * Tags and arena were not inherited, and an earlier handler of the program may have mapped
 * something there by now: only what lies around them is ours.
 */
static void unreserve(void)
{
	uint64_t start = (uint64_t)process.reserved, end = start + process.reserved_len;

	if (ALIGN_HUGE(start) > start)
		munmap(process.reserved, ALIGN_HUGE(start) - start);
	munmap((void *)process.area_start, end - process.area_start);
}

/*
 * The child has no VM: what refers to it is closed and forgotten.  What compartments the parent
 * runs is its own.
 */
static void after_fork_child(void)
{
	policies_after_fork(true);
	tags_after_fork(true);
	pthread_mutex_init(&process.lock, NULL);
	pthread_cond_init(&process.quiet, NULL);
	pthread_rwlock_init(&process.making, NULL);
	process.generation++;
	process.forks++;
	watch_forked();
	gates_forked();
	helper_pool_forked();
	gate_set_current(NULL);
	unwind_forked();
	if (!process.vm)
		return;
	dune_vm_forked(process.vm);
	sys_fini();
	unreserve();
	sigaction(process.signal, &process.signal_before, NULL);
	process.signal = 0;
	process.reserved = NULL;
	process.vm = NULL;
	process.ckpt = NULL;
	process.ready = process.ending = process.cloned = process.dead = false;
	process.lanes = process.idle_lanes = NULL;
	process.idle_workers = NULL;
	process.nidle_lanes = process.nidle_workers = process.nworkers = 0;
	atomic_store(&process.live, 0);
}

/*
 * Memory that lies in the VM: last before the fork, when every lock is taken, and first after it, before anything is
 * written by handlers of ours or of the allocator.
 */
static void copy_memory(void)
{
	if (!is_inside() && process.vm)
		dune_vm_fork_begin(process.vm);
}

static void drop_memory(void)
{
	if (!is_inside() && process.vm)
		dune_vm_fork_end(process.vm, false);
}

static void own_memory(void)
{
	if (!is_inside() && process.vm)
		dune_vm_fork_end(process.vm, true);
}

int forks_watch(void)
{
	static bool done;

	if (done)
		return 0;
	if (pthread_atfork(copy_memory, drop_memory, own_memory))
		return -ENOMEM;
	heap_start();
	if (pthread_atfork(before_fork, after_fork_parent, after_fork_child))
		return -ENOMEM;
	done = true;
	return 0;
}

/*
 * Handlers that come later take their locks before ours, and have the child after us: so those of
 * the program may hold what calls of the library are made under.  jemalloc's lock is one that is
 * taken under ours, so its handlers come first.
 */
__attribute__((constructor(101))) static void watch_forks(void)
{
	(void)!forks_watch();
}
