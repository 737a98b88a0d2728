/* SPDX-License-Identifier: MIT */
/*
 * helper.h - threads of the library without the filter, for what a worker may not do.
 * World: host.
 */
#ifndef STHREAD_RUN_HELPER_H
#define STHREAD_RUN_HELPER_H

struct lane;

/* By a thread of the program, before helper_run(): -EAGAIN */
int helper_pool_start(void);
/*
 * Runs fn(arg) to its end where no filter confines it: here, or, if `asks` (NULL: the master) is
 * served by a worker, on a helper.  -EAGAIN: there is none.
 */
int helper_run(const struct lane *asks, void (*fn)(void *), void *arg);
void helper_pool_end(void); /* none is busy */
void helper_pool_forked(void);

#endif
