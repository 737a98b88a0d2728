/* SPDX-License-Identifier: MIT */
/*
 * worker.h - threads of the library, each with a lane, that run concurrent compartments.
 * World: host.
 */
#ifndef STHREAD_RUN_WORKER_H
#define STHREAD_RUN_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct lane;
struct policy;
struct sthread;

struct worker {
	pthread_t thread;
	struct lane *lane;
	_Atomic uint32_t wake; /* futex: a job is there, or the end */
	_Atomic uint32_t up;   /* futex: 1 ready for jobs, 2 it could not be made so */
	struct sthread *job;   /* NULL with wake: end */
	int cpu;	       /* where it was when it had nothing to do any more; -1: it is new */
	struct worker *idle_next;
};

/*
 * What sthread_create() does, with a policy whose reference is taken over in any case.  creator:
 * the run that asks for it, served by this thread; NULL: the master.
 */
int worker_start(struct sthread **out, const struct policy *value, void *(*fn)(void *), void *arg,
		 struct lane *creator);
/*
 * The threads that runs of the policy (NULL: none) may need, and a worker cannot make.  creator: as
 * above.  -EAGAIN.
 */
int helpers_start(const struct policy *value, const struct lane *creator);
void workers_end_idle(void); /* process.lock held */
struct lane *worker_lay_off(void); /* an idle one ends, without its lane; NULL: none is idle */
void workers_reap(void); /* all have ended; process.lock held */

#endif
