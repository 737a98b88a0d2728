/* SPDX-License-Identifier: MIT */
/* deadline.h - limits of time, in nanoseconds from now; POLICY_NO_LIMIT: none.  World: host. */
#ifndef STHREAD_RUN_DEADLINE_H
#define STHREAD_RUN_DEADLINE_H

#include <stdint.h>
#include <time.h>

struct lane;

/* Nanoseconds of a clock; end UINT64_MAX: never. */
struct span {
	uint64_t begin, end;
};

struct deadline {
	clockid_t cpu_clock; /* of the thread that runs it */
	/* Of a run with a limit of time, which is on the list: */
	struct span wall, cpu;
	uint64_t cpu_seen;
	/* CPU time in ring 3 that is no thread's: of gates that it called, up to their ends; its own before its last call. */
	uint64_t beneath, entered; /* stop.lock of the caller */
	struct lane *next, **link;
};

/* The thread that looks at all, which a worker behind the filter cannot make.  -EAGAIN. */
int watch_start(void);
int watch_add(struct lane *l, uint64_t wall, uint64_t cpu); /* -EAGAIN: no thread */
void watch_remove(struct lane *l);
/* The run that is on the list has another limit of CPU time, from its beginning. */
void watch_cpu_limit(struct lane *l, uint64_t cpu);
/* CPU time of the calling thread. */
uint64_t watch_thread_cpu(void);
/* CPU time that ring 3 of the lane took, and of gates that it calls, beside that of the thread; ever. */
uint64_t watch_ring3_cpu(struct lane *l);
/* How much the run that is on the list has used. */
uint64_t watch_wall(const struct lane *l);
uint64_t watch_cpu(const struct lane *l);
void watch_forked(void);
void watch_fini(void);

#endif
