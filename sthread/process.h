/* SPDX-License-Identifier: MIT */
/*
 * process.h - the state of the library in this process, and who is within it.  World: host.
 *
 * Locking: process.lock guards the lists of lanes and workers and the state of the process.  Order:
 * process.making, process.lock, the lock of a lane.
 */
#ifndef STHREAD_PROCESS_H
#define STHREAD_PROCESS_H

#include <dune.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "checkpoint/image.h"

/*
 * What only compartments use, at the end of the library's range: see reserve() of process/init.c.
 */
#define STACK_SIZE	   (1UL << 20)
#define STACK_GUARD	   (64UL << 10)
#define OWN_GAP		   (256UL << 10)
#define STACK_TOP_RESERVED 64 /* above the first frame: the bytes of AT_RANDOM */
#define MESSAGE_SIZE	   (144UL << 10) /* of a gate: both ways, and what is passed */

#define PREFAULT_PAGES	   8

#define ALIGN_HUGE(x)	   (((x) + (2UL << 20) - 1) & ~((2UL << 20) - 1))

struct lane;
struct worker;

struct process {
	pthread_mutex_t lock;
	pthread_cond_t quiet; /* live fell, or a worker ended */
	pthread_rwlock_t making; /* read: KVM descriptors are being made; write: a fork is under way */
	bool ready;
	bool ending;
	unsigned generation; /* counts inits and forks: a thread's cached lane is of one */
	unsigned forks;	     /* how many forks away from the first process */
	int signal;
	bool kick_signals; /* it also brings a thread out of ring 3 */
	struct sigaction signal_before; /* what the program had for it */
	pid_t main_tid;
	unsigned pool;
	char *reserved;
	size_t reserved_len;
	uint64_t area_start, area_end, message_low, stack_low, stack_top;
	size_t tag_area; /* the first bytes of it */
	uint64_t brk; /* what brk() answers inside */
	struct dune_vm *vm;
	struct ckpt *ckpt;
	bool cloned;

	struct lane *lanes, *idle_lanes;
	struct worker *idle_workers;
	unsigned nidle_lanes, nidle_workers, nworkers;
	bool dead; /* dead_worker ended last, and is to be joined */
	pthread_t dead_worker;
	bool filter;		 /* the kernel has what filter_install() needs */
	atomic_uint unfiltered;	 /* workers for which it could not be installed */
	uint64_t prefault[PREFAULT_PAGES]; /* image pages that earlier runs wrote */
	unsigned nprefault;

	atomic_uint live;
	atomic_uint next_pid;
	_Atomic uint64_t next_id;
	_Atomic uint64_t gate_calls, gate_faults, gate_denied;
	_Atomic uint64_t created, calls, recycled, cold, syscalls;
	_Atomic uint64_t faulted, killed, denied, limited;
};

extern struct process process;

/*
 * One more user of the library: it does not end before process_leave().  False: it is not ready.
 * process.lock held.
 */
bool process_enter_locked(void);
/* The same, to run a function that is in the image.  -EINVAL. */
int process_enter(void *(*fn)(void *));
void process_leave(void);

/* process_enter_locked() without the lock.  -EINVAL. */
static inline int process_enter_any(void)
{
	bool entered;

	pthread_mutex_lock(&process.lock);
	entered = process_enter_locked();
	pthread_mutex_unlock(&process.lock);
	return entered ? 0 : -EINVAL;
}

/* init.c: 0; -EBUSY: the process has several threads; -ENOTSUP: that cannot be told. */
int process_one_thread(void);

#endif
