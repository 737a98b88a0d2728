/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - a compartment's system calls.  World: host.
 *
 * A system call is data until it is checked.  One typed table (table.c) says of every call
 * that exists inside what each argument is; decoding checks all of it against the compartment's
 * page tables, descriptors and policy and copies what it points to, once; performing takes only
 * what decoding made and does the host call; finishing copies results out, to places that decoding
 * made sure of.
 *
 *	frame → look-up → policy → decode → perform → finish → rax
 *	                     │        │        └ host calls, with host descriptors and ranges
 *	                     │        └ an errno
 *	                     └ ENOSYS, or the end (DENIED)
 *
 * What is not in the table does not exist: see sthread_syscalls(7).
 */
#ifndef STHREAD_SYSCALL_H
#define STHREAD_SYSCALL_H

#include <dune.h>
#include <sthread.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "sthread/fd/table.h"
#include "sthread/inside/hostcall.h"
#include "sthread/policy/policy.h"
#include "sthread/policy/syscalls.h"
#include "sthread/syscall/uaccess.h"

/* The user and group id that a compartment sees instead of the master's. */
#define SYS_UID 65534

enum sys_outcome {
	SYS_RESUME,     /* frame->rax is the result: run on (the owner looks at *stop first) */
	SYS_END,        /* it has ended: ctx->end, ctx->value, ctx->limit */
};

/*
 * What a run is, for its system calls.  Owned by the run loop (run/loop.c).  One thread at a time.
 */
struct sys_ctx {
	/* The owner sets these before sys_begin(). */
	struct uaccess mem;             /* vm, space */
	const struct policy *policy;    /* referenced by the owner, at least until sys_done() */
	uint64_t area_start, area_end;  /* where mmap() works; only demand regions lie there */
	uint64_t brk;                   /* what brk() answers, always */
	uint64_t stack_size;            /* what RLIMIT_STACK says */
	int pid, tid;                   /* what getpid() and gettid() answer; unique per run */
	int image_tid;                  /* the tid in the image: tgkill() to it is to itself */
	bool on_worker;                /* a thread of the library: signals are blocked */
	/* The library's own calls: hostcall_serve(). */
	long (*host_call)(struct sys_ctx *ctx, enum hostcall nr, const uint64_t arg[5]);
	uint64_t (*ring3_cpu)(struct sys_ctx *ctx); /* ns of CPU time of ring 3 that are not this thread's.  May be NULL */
	const atomic_bool *stop;        /* true: a kill is pending, nothing blocks.  May be NULL */
	void (*hear)(struct sys_ctx *ctx); /* once, before anything blocks: the signal of `stop` arrives then.  May be NULL */
	/*
	 * Not 0: the descriptors of this open file (fd_object.file) are taken back.  Set by another
	 * thread, which then signals this one until it is 0 again.
	 */
	_Atomic uint64_t revoke;

	/* The run's own; sys_begin() resets them. */
	struct fdtab fds;
	enum sthread_end end;           /* valid after SYS_END */
	uint64_t value;
	enum sthread_limit limit;
	uint64_t calls;                 /* system calls dispatched */
	bool in_call;                   /* a call is under way that may use host descriptors */
	int umask;
	char name[16];                  /* prctl(PR_SET_NAME) */
	unsigned message_len;           /* of message */
	char message[STHREAD_MESSAGE];  /* last text to a descriptor 2 not granted; raw, with NUL */
};

/*
 * Once per process, from sthread_init(): host resources that performing needs.  Negative errno of
 * opening /proc.
 */
int sys_init(void);
void sys_fini(void);

/* Zeroed memory is a valid sys_ctx for sys_begin().  -ENOMEM. */
int sys_begin(struct sys_ctx *ctx);
/* The next entry of a run that keeps its memory: its descriptors stay, too. */
void sys_again(struct sys_ctx *ctx);
/* Drops the run's descriptors; memory is kept for the next sys_begin(). */
void sys_done(struct sys_ctx *ctx);
/* Drops everything. */
void sys_ctx_fini(struct sys_ctx *ctx);

/*
 * After DUNE_EXIT_SYSCALL. Blocks as the call does; a signal without SA_RESTART and *stop end that,
 * with -EINTR.
 */
enum sys_outcome sys_dispatch(struct sys_ctx *ctx, struct dune_frame *frame);

/*
 * By the thread that runs the compartment, between calls: takes back what another thread asked for
 * in ctx->revoke.
 */
void sys_attend(struct sys_ctx *ctx);

/*
 * Calls whose answer is constant for a run, for dune_space_answer(); those the policy denies are
 * left out.
 */
struct sys_answer { long nr; uint64_t value; };
#define SYS_ANSWERS 7
unsigned sys_answers(const struct sys_ctx *ctx, struct sys_answer out[SYS_ANSWERS]);

#define SYS_PERFORM_END LONG_MIN /* what perform gives when the run has ended */

/* ---- one call, decoded ---- */

#define SYS_POLLFDS 256
#define SYS_OUTS 4
#define SYS_FDSET 1024 /* numbers that an fd_set holds */
#define SYS_MMSG 64 /* messages of one call; more are for the next */

struct sys_out {
	dune_gva_t at;          /* made sure of for `cap` bytes */
	uint32_t cap;
	uint32_t len;           /* to copy: set by perform, 0 by decode (ARG_STRUCT_OUT: cap) */
	const void *from;
};

struct sys_call {
	struct sys_ctx *ctx;
	const struct sys_entry *entry;
	uint64_t arg[6];                /* int arguments are sign-extended */
	struct fd_entry fd;             /* the first ARG_FD or ARG_DIRFD; obj NULL: none */
	struct fd_entry fd2;            /* the second */
	bool partial;                   /* the spans hold only a beginning of what was asked for */
	unsigned in_len;                /* of in; 0: it was NULL */
	unsigned outs;
	struct sys_out out[SYS_OUTS];   /* in the order of the arguments; not there for NULL */
	union {
		unsigned char bytes[128];
		uint64_t word[16];
	} in;                           /* ARG_STRUCT_IN, ARG_OPT_IN */
	union {
		unsigned char bytes[512];
		uint64_t word[64];
		struct sockaddr_storage addr;
		uint64_t set[3][SYS_FDSET / 64]; /* ARG_FDSET */
	} result;                       /* of out[0] */
	uint64_t more[SYS_OUTS - 1][2]; /* of out[1] and so on */
	int64_t offset[2];              /* ARG_OFFSET, as copied in, and as it goes out */
	unsigned offsets, paths;
	struct msghdr msg;              /* ARG_MSG_*: the compartment's own, as copied */
	uint32_t socklen;               /* ARG_SOCKLEN, as copied in, and as it goes out */
	struct uspans spans;
	union {
		struct {
			char path[PATH_MAX];            /* the first ARG_PATH */
			union {
				char path2[PATH_MAX];   /* the second */
				unsigned char bytes[PATH_MAX];
			};
		};
		struct {
			unsigned n;
			struct pollfd fd[SYS_POLLFDS];  /* with host descriptors */
			int number[SYS_POLLFDS];        /* theirs inside */
		} poll;
	} u;                            /* last: not there for calls that do not use it */
};

/* What a struct sys_call must have for this call: without `u`, or with part of it, memory of many threads that wait. */
size_t sys_call_size(const struct sys_entry *entry);

/* Checks all and copies all: 0 or a negative errno.  sys_release() in any case. */
int sys_decode(struct sys_ctx *ctx, const struct sys_entry *entry, const uint64_t arg[6],
	       struct sys_call *c);
/* Copies out what perform left.  0 or -EFAULT, which decoding has excluded. */
int sys_finish(struct sys_call *c, long result);
void sys_release(struct sys_call *c);

/* For the check functions: a place for a result, made sure of.  Its length is set by perform. */
int sys_add_out(struct sys_call *c, dune_gva_t at, uint32_t cap, const void *from);

/*
 * For the perform functions, after EINTR: give up.  Either a kill is pending, or a descriptor is to
 * be taken back; then the call is decoded again, and made if it still may be.
 */
bool sys_stopping(struct sys_ctx *ctx);
/* Gives SYS_PERFORM_END. */
long sys_ended(struct sys_ctx *ctx, enum sthread_end end, uint64_t value);
static inline int sys_int(const struct sys_call *c, unsigned i)
{
	return (int)c->arg[i];
}

#endif
