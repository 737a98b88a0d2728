/* SPDX-License-Identifier: MIT */
/*
 * filter.h - the second wall: which host system calls a worker thread may make.  World: host.
 *
 * A worker runs KVM_RUN and the perform functions of the system-call table, on behalf of code that is hostile.
 * Should the first wall have a hole, a seccomp filter says what such a thread can still ask of the kernel: the
 * host calls of the table's entries (rules.c, one row an entry), those of the run loop, and nothing else.
 * Whatever is refused fails with EPERM: a filter that kills would end the program.
 *
 * no_new_privs, which an unprivileged filter needs, is the thread's own and inherited by what it executes; a worker
 * executes nothing.
 */
#ifndef STHREAD_SECCOMP_FILTER_H
#define STHREAD_SECCOMP_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What an argument must be: its low 32 bits, which is all that the kernel reads of those that are tested. */
enum wall_how {
	WALL_ANY,
	WALL_IS,	/* == value */
	WALL_WITHOUT,	/* no bit of value */
	WALL_IS_SELF,	/* this process's id */
	WALL_IS_THREAD, /* the calling thread's id */
};

/* One host call; all of its tests must hold.  Several rules for one number: any. */
struct wall_rule {
	uint16_t nr;
	struct wall_test {
		uint8_t how, arg;
		uint32_t value;
	} test[2];
};

/* The host calls of one entry of sys_table.  The list ends with number WALL_END. */
struct wall_row {
	const char *call; /* sys_entry.name */
	const struct wall_rule *rules;
};
#define WALL_END   UINT16_MAX
#define WALL_CALLS 512u /* numbers from here on are refused */

extern const struct wall_row wall_rows[];
extern const unsigned wall_rows_len;
extern const struct wall_rule wall_loop[]; /* of the run loop and of the C library beneath it */

#define WALL_PROGRAM 512
/* The filter: instructions written.  0: it does not fit.  refuse: the verdict on what is not allowed. */
struct wall_whose {
	pid_t process, thread;
};
unsigned wall_build(struct sock_filter out[WALL_PROGRAM], const struct wall_whose *whose, uint32_t refuse);

/* Does this kernel have what wall_raise() needs? */
bool wall_possible(void);
/* The calling thread from now on, and what it creates.  -ENOTSUP; -ENOMEM. */
int wall_raise(void);

#endif
