/* SPDX-License-Identifier: MIT */
/*
 * sthread.h - run code that meets hostile input in compartments.  World: the program, and (where a call says
 * "inside") the compartment.
 *
 * A compartment (sthread) starts from the image of the program that sthread_init() took, copy-on-write, and has
 * no memory, descriptor or system call but those its policy grants.  See sthread(7) for the model and its limits.
 *
 * Calls that can fail return 0 or a negative errno and leave outputs untouched on failure; destroy calls take
 * NULL.  Nothing here prints or ends the program.  All calls may be made from any thread unless stated otherwise, but
 * not from a signal handler; none is a cancellation point.  All threads must share one descriptor table, as they do
 * unless one of them calls unshare(CLONE_FILES).
 * Inside a compartment every call is -EPERM except where "inside" is said.
 */
#ifndef STHREAD_H
#define STHREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STHREAD_API __attribute__((visibility("default")))
#define STHREAD_MUST __attribute__((warn_unused_result))

struct sthread;
struct sthread_policy;

/* ---- life ------------------------------------------------------------------------------------------- */

/* Where the monitor's decision code runs; AUTO: measured at start.  The others are for tests. */
enum sthread_placement { STHREAD_PLACE_AUTO, STHREAD_PLACE_HOST, STHREAD_PLACE_RING0 };

struct sthread_config {
	size_t size;            /* of this struct: sizeof(struct sthread_config) */
	size_t memory;          /* guest memory, bytes: image, private pages, page tables.  0: image + 4 GiB, not touched until used */
	int signal;             /* the real-time signal the library takes.  0: SIGRTMAX - 1 */
	unsigned pool;          /* idle compartments kept warm.  0: 64 */
	bool environment;       /* the image includes environ and argv.  false: neither */
	enum sthread_placement placement;
};

/*
 * Takes the checkpoint: the memory of the program as it is now is what every compartment starts from.  Call it
 * before secrets are loaded and before the first thread is created.  cfg NULL: defaults.
 * -EBUSY: the process has several threads.  -EALREADY: done before.  -ENOENT, -EACCES: /dev/kvm is not there,
 * or may not be opened.  -EAGAIN: the memory of the process would not stop changing.  -ENOTSUP: this KVM or
 * processor lacks what is needed.  -ENOMEM.  -EINVAL: cfg.
 * -EMFILE, -ENFILE: too few descriptors.
 */
STHREAD_MUST STHREAD_API int sthread_init(const struct sthread_config *cfg);
/* Ends what runs and gives everything back.  sthread_init() may follow. */
STHREAD_API void sthread_fini(void);
/*
 * Takes part of the image again: what the program's own writable private memory in [addr, addr+len) holds now
 * (bytes, need not be aligned).  Before any compartment ran: -EBUSY after that.  -EINVAL: not initialised, or the
 * range is not in the image.
 */
STHREAD_MUST STHREAD_API int sthread_checkpoint_range(void *addr, size_t len);

/* ---- policies: a value built once, copied where it is used ------------------------------------------- */

/* Rights on descriptors.  A call on a descriptor needs the right named in sthread_syscalls(7). */
#define STHREAD_FD_READ 0x1u            /* read, pread, recv, getdents */
#define STHREAD_FD_WRITE 0x2u           /* write, pwrite, send */
#define STHREAD_FD_SEEK 0x4u            /* lseek, and the offset in pread and pwrite */
#define STHREAD_FD_STAT 0x8u            /* fstat, getsockname, getpeername */
#define STHREAD_FD_POLL 0x10u           /* poll */
#define STHREAD_FD_SOCKOPT 0x20u        /* getsockopt and setsockopt, listed options */
#define STHREAD_FD_SHUTDOWN 0x40u       /* shutdown */
#define STHREAD_FD_FLAGS 0x80u          /* fcntl F_SETFL: O_NONBLOCK; O_APPEND, to set only */
#define STHREAD_FD_ALL 0xffu

enum sthread_action {
	STHREAD_DENY_ERRNO,     /* the call fails with ENOSYS (the default for what touches the outside) */
	STHREAD_DENY_KILL,      /* the compartment ends, as denied */
	STHREAD_ALLOW,
};

enum sthread_limit {
	STHREAD_LIMIT_MEMORY,   /* bytes of private memory, page tables included.  Default 64 MiB */
	STHREAD_LIMIT_WALL_NS,  /* nanoseconds from start.  Default none */
	STHREAD_LIMIT_FDS,      /* descriptors open at once; openat() beyond is EMFILE inside.  Default 64 */
};

/* A policy that grants nothing but what every compartment has: see sthread_syscalls(7).  -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_create(struct sthread_policy **out);
STHREAD_API void sthread_policy_destroy(struct sthread_policy *p);
/* Grants the master's descriptor, known inside under the same number.  The library duplicates it: closing it
 * afterwards, on either side, does not touch the other.  -EBADF, -EINVAL (rights, or of a kind that cannot be
 * granted: see sthread_policy(3)), -EEXIST, -EMFILE, -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_fd(struct sthread_policy *p, int fd, unsigned rights);
/* Grants openat() beneath a directory, known inside as descriptor dirfd; opened files get `rights` (any but
 * STHREAD_FD_SOCKOPT and STHREAD_FD_SHUTDOWN).  -ENOTDIR, -EACCES, -ENOENT, and as above. */
STHREAD_MUST STHREAD_API int sthread_policy_dir(struct sthread_policy *p, int dirfd, unsigned rights);
/* For sthread_policy_syscall(): every number that is not in the table.  STHREAD_DENY_ERRNO or STHREAD_DENY_KILL. */
#define STHREAD_SYSCALL_OTHERS (-1L)
/* -EINVAL: no such call in the table of sthread_syscalls(7).  -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_syscall(struct sthread_policy *p, long nr, enum sthread_action action);
STHREAD_MUST STHREAD_API int sthread_policy_limit(struct sthread_policy *p, enum sthread_limit limit, uint64_t value);

/* ---- results ------------------------------------------------------------------------------------------ */

enum sthread_end {
	STHREAD_RETURNED,       /* fn returned, or sthread_exit(): value */
	STHREAD_EXITED,         /* exit() or _exit(): status in value */
	STHREAD_ABORTED,        /* abort(), assert(), smashed stack: message */
	STHREAD_FAULTED,        /* touched what it may not, or an instruction it may not */
	STHREAD_DENIED,         /* a system call that its policy answers with a kill: nr in value */
	STHREAD_OVER_LIMIT,     /* which: limit */
	STHREAD_KILLED,         /* sthread_kill(), sthread_fini() */
	STHREAD_LOST,           /* the virtual processor failed; nothing is known */
};

enum sthread_fault {
	STHREAD_FAULT_NONE,
	STHREAD_FAULT_MEMORY,           /* page fault: address, access */
	STHREAD_FAULT_STACK,            /* the guard page of the stack */
	STHREAD_FAULT_PROTECTION,       /* general protection: privileged instruction, non-canonical address, I/O */
	STHREAD_FAULT_INSTRUCTION,      /* undefined or virtual-machine instruction */
	STHREAD_FAULT_ARITHMETIC,       /* division, x87, SIMD */
	STHREAD_FAULT_TRAP,             /* int3, single step */
	STHREAD_FAULT_OTHER,            /* vector says which */
};

#define STHREAD_BACKTRACE 32
#define STHREAD_MESSAGE 256

struct sthread_result {
	enum sthread_end end;
	void *value;
	enum sthread_limit limit;
	/* for STHREAD_FAULTED: */
	enum sthread_fault fault;
	unsigned vector, error;         /* of the processor */
	uint64_t address;               /* touched */
	unsigned access;                /* 1 read, 2 write, 4 execute */
	uint64_t ip, sp;
	uint64_t regs[16];              /* rax rbx rcx rdx rsi rdi rbp rsp r8 ... r15 */
	unsigned frames;                /* of backtrace, innermost first; for ABORTED, too */
	uint64_t backtrace[STHREAD_BACKTRACE];
	char message[STHREAD_MESSAGE];  /* the last thing written to descriptor 2 that was not granted; NUL-terminated */
};

/*
 * A bug report for people: what happened, where (function, file, line), what lies at the address (symbol, segment,
 * mapping), registers, backtrace.  Like snprintf(): at most len bytes with the NUL; returns the length of the whole
 * text, or -EINVAL.
 */
STHREAD_MUST STHREAD_API int sthread_fault_format(const struct sthread_result *result, char *buf, size_t len);

/* ---- running -------------------------------------------------------------------------------------------- */

/*
 * Runs fn(arg) in a fresh compartment, concurrently, on a thread of the library.  arg is passed as it is: what it
 * points to is there only if it was at the checkpoint.  The policy is copied.
 * -EAGAIN: no thread, virtual processor or descriptor left.  -ENOMEM.  -EINVAL: not initialised, or fn is not executable there.
 */
STHREAD_MUST STHREAD_API int sthread_create(struct sthread **out, const struct sthread_policy *policy,
					    void *(*fn)(void *), void *arg);
/* The same on the calling thread, until it ends.  result may be NULL.  -EBUSY: the thread is in one already. */
STHREAD_MUST STHREAD_API int sthread_call(const struct sthread_policy *policy, void *(*fn)(void *), void *arg,
					  struct sthread_result *result);
/* Waits for the end and frees the handle.  result may be NULL.  -EINVAL: being joined, or detached, already; or of
 * the parent, in a child of fork(), as for the next two. */
STHREAD_MUST STHREAD_API int sthread_join(struct sthread *st, struct sthread_result *result);
/* Ends it, whatever it does.  It is still to be joined.  -ESRCH: it ended before. */
STHREAD_MUST STHREAD_API int sthread_kill(struct sthread *st);
/* Nobody will join it.  The handle is gone. */
STHREAD_MUST STHREAD_API int sthread_detach(struct sthread *st);
/* Inside: ends the compartment with a value, from any depth.  Outside: pthread_exit(). */
STHREAD_API void sthread_exit(void *value) __attribute__((noreturn));
/* Inside: true. */
STHREAD_API bool sthread_inside(void);

/* ---- figures -------------------------------------------------------------------------------------------- */

struct sthread_stats {
	uint64_t created, calls;                /* compartments run: sthread_create, sthread_call */
	uint64_t live, pooled;                  /* running now; idle and warm */
	uint64_t recycled, cold;                /* runs in a space used before; in a new one */
	uint64_t world_switches;                /* entries into the guest */
	uint64_t syscalls;                      /* system calls handled, forwarded or not */
	uint64_t faults_cow, faults_demand;     /* resolved */
	uint64_t ended_faulted, ended_killed, ended_denied, ended_limit;
	uint64_t page_table_edits;              /* live entries changed by guest ring 0 */
	uint64_t pages_used, pages_total;       /* guest memory, pages of 4 KiB */
	uint64_t table_pages;
	uint64_t vcpus, vcpus_lost, slots;
	uint64_t image_pages, image_bytes;      /* the checkpoint */
	unsigned placement;                     /* enum sthread_placement in force */
	unsigned filtered;                      /* 1: threads of the library run behind a system-call filter */
};
/* -EINVAL: not initialised. */
STHREAD_MUST STHREAD_API int sthread_stats(struct sthread_stats *out);

#ifdef __cplusplus
}
#endif
#endif
