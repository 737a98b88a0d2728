/* SPDX-License-Identifier: MIT */
/*
 * handle.h - handles of concurrent compartments.  World: host.
 *
 * Two parties release a handle: its owner (join, detach) and the worker; and every call that goes
 * on looking at it when a join in another thread may have returned.
 */
#ifndef STHREAD_RUN_HANDLE_H
#define STHREAD_RUN_HANDLE_H

#include <pthread.h>
#include <sthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sthread/policy/policy.h"

struct gate_call;
struct lane;

struct sthread {
	const struct policy *policy; /* referenced */
	void *(*fn)(void *);
	void *arg;
	_Atomic uint32_t done; /* futex: the result is there */
	_Atomic uint32_t begun;
	int cpu; /* where its worker rested last, or -1 */
	atomic_uint refs;
	pthread_mutex_t lock; /* guards lane, killed, owned */
	struct lane *lane;    /* while it runs */
	bool killed;
	uint64_t revoking; /* the open file that is being taken back; lock */
	bool owned;	/* neither joined nor detached */
	unsigned forks; /* process.forks when it was made: in a child it is the parent's */
	struct lane *root; /* made inside: its creator's; NULL: the master made it */
	struct lane *creator;
	unsigned depth;
	const struct gate_call *enclosing_call; /* that it was made in, or NULL */
	/*
	 * Once done: what of a limit is used up for good, beneath it, too; CPU time with what its
	 * beginning and end took.
	 */
	uint64_t spent[POLICY_LIMITS];
	struct sthread_result result;
};

void handle_get(struct sthread *st);
void handle_put(struct sthread *st);

#endif
