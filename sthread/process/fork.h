/* SPDX-License-Identifier: MIT */
/* fork.h - what a fork() of the program means to the library.  World: host. */
#ifndef STHREAD_PROCESS_FORK_H
#define STHREAD_PROCESS_FORK_H

int forks_watch(void); /* once per process, when it is loaded, or in sthread_init().  -ENOMEM */

#endif
