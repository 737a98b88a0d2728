/* SPDX-License-Identifier: MIT */
/*
 * filter.h - the seccomp filter of worker threads: which host system calls they may make.
 * World: host.
 *
 * A worker runs KVM_RUN and the perform functions of the system-call table, on behalf of code
 * that is hostile.  Should that code break out, the filter is what still limits what its thread
 * can ask of the kernel: the host calls of the table's entries (rules.c, one row an entry), those
 * of the run loop, and nothing else.  Whatever is refused fails with EPERM: a filter that kills
 * would end the program.
 *
 * Who changes the program's user or groups has the C library change every thread's, by a signal whose
 * handler makes the call, and aborts where one fails.  So these calls are allowed to that handler,
 * told by the instruction pointer, and to nobody else: a call that is made for a compartment comes from
 * elsewhere, and cannot take back rights that the program has laid down for a while.
 *
 * no_new_privs, which an unprivileged filter needs, is the thread's own and inherited by what it
 * executes; a worker executes nothing.
 */
#ifndef STHREAD_SECCOMP_FILTER_H
#define STHREAD_SECCOMP_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * How an argument is tested: its low 32 bits, which is all that the kernel reads of the arguments
 * that are tested.
 */
enum filter_how {
	FILTER_ANY,
	FILTER_IS,	/* == value */
	FILTER_WITHOUT,	/* no bit of value */
	FILTER_IS_SELF,	/* this process's id */
	FILTER_IS_THREAD, /* the calling thread's id */
};

/* One host call; all of its tests must hold.  Several rules for one number: any. */
struct filter_rule {
	uint16_t nr;
	struct filter_test {
		uint8_t how, arg;
		uint32_t value;
	} test[2];
};

/* The host calls of one entry of sys_table.  The list ends with number FILTER_END. */
struct filter_row {
	const char *call; /* sys_entry.name */
	const struct filter_rule *rules;
};
#define FILTER_END   UINT16_MAX
#define FILTER_CALLS 512u /* numbers from here on are refused */

extern const struct filter_row filter_rows[];
extern const unsigned filter_rows_len;
extern const struct filter_rule filter_loop[]; /* of the run loop and of the C library beneath it */

#define FILTER_PROGRAM 512
/*
 * The filter: instructions written.  0: it does not fit.  refuse: the verdict on what is not
 * allowed.
 */
struct filter_ids {
	pid_t process, thread;
	uint64_t setxid; /* the C library's handler that changes user and groups; 0: there is none */
};
unsigned filter_build(struct sock_filter out[FILTER_PROGRAM], const struct filter_ids *whose, uint32_t refuse);

/* Does this kernel have what filter_install() needs? */
bool filter_possible(void);
/* The calling thread from now on, and what it creates.  -ENOTSUP; -ENOMEM. */
int filter_install(void);

#endif
