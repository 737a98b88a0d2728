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
 * Inside a compartment every call is -EPERM except where "inside" is said, or what makes compartments (see STHREAD_NEST_*).
 */
#ifndef STHREAD_H
#define STHREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STHREAD_API __attribute__((visibility("default")))
#define STHREAD_MUST __attribute__((warn_unused_result))

struct sthread;
struct sthread_gate;
struct sthread_policy;
struct sthread_tag;

/* ---- life ------------------------------------------------------------------------------------------- */

/*
 * What runs compartments: guest user mode of a KVM virtual machine, or stub processes.  AUTO: KVM where the processor
 * virtualizes and /dev/kvm is of use, else stub processes.
 */
enum sthread_machine { STHREAD_MACHINE_AUTO, STHREAD_MACHINE_KVM, STHREAD_MACHINE_PROCESS };


/* Where the monitor's decision code runs; AUTO: measured at start.  The others are for tests. */
enum sthread_placement { STHREAD_PLACE_AUTO, STHREAD_PLACE_HOST, STHREAD_PLACE_RING0 };

struct sthread_config {
	size_t size;            /* of this struct: sizeof(struct sthread_config) */
	size_t memory;          /* guest memory, bytes: image, private pages, page tables.  0: image + 4 GiB, not touched until used */
	int signal;             /* the real-time signal the library takes.  0: SIGRTMAX - 1 */
	unsigned pool;          /* idle compartments kept warm.  0: 64 */
	bool environment;       /* the image includes environ and argv.  false: neither */
	enum sthread_placement placement;
	enum sthread_machine machine;   /* what runs compartments */
};

/*
 * Takes the checkpoint: the memory of the program as it is now is what every compartment starts from.  Call it
 * before secrets are loaded and before the first thread is created.  cfg NULL: defaults.
 * -EBUSY: the process has several threads.  -EALREADY: done before.  -EAGAIN: the memory of the process would not
 * stop changing, or no process can be made.  -ENOTSUP: the kernel, KVM or processor lacks what is needed, or a filter
 * around the process denies it.  -ENOMEM.  -EINVAL: cfg.  -ENOENT, -EACCES: KVM was asked for by name, and /dev/kvm is
 * not there, or may not be opened.  -EFBIG: RLIMIT_FSIZE.  -EIO: the process that stubs are cloned from has died.
 * -EMFILE, -ENFILE: too few descriptors.
 */
STHREAD_MUST STHREAD_API int sthread_init(const struct sthread_config *cfg);
/* Ends what runs and gives everything back.  sthread_init() may follow.  In a native gate: does nothing. */
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
#define STHREAD_FD_ACCEPT 0x100u        /* accept; the new descriptor has the listener's other rights, but CONNECT */
#define STHREAD_FD_CONNECT 0x200u       /* connect, bind, listen, send to an address: those that the policy grants */
#define STHREAD_FD_MAKE 0x400u          /* of a directory: mkdirat, unlinkat, renameat beneath it */
#define STHREAD_FD_LOCK 0x800u          /* flock */
#define STHREAD_FD_ALL 0xfffu

enum sthread_action {
	STHREAD_DENY_ERRNO,     /* the call fails with ENOSYS (the default for what touches the outside) */
	STHREAD_DENY_KILL,      /* the compartment ends, as denied */
	STHREAD_ALLOW,
};

enum sthread_limit {
	STHREAD_LIMIT_MEMORY,   /* bytes of private memory that is not as it began, page tables and policies included.  Default 64 MiB */
	STHREAD_LIMIT_WALL_NS,  /* nanoseconds from start.  Default none */
	STHREAD_LIMIT_FDS,      /* descriptors open at once; one more is EMFILE inside.  Default 64 */
	STHREAD_LIMIT_CPU_NS,   /* nanoseconds of CPU time, in the guest and in the host for it.  Default none */
	STHREAD_LIMIT_GATE_CALLS, /* calls of gates that were entered, by the compartment itself.  Default none */
};

/* A policy that grants nothing but what every compartment has: see sthread_syscalls(7).  -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_create(struct sthread_policy **out);
STHREAD_API void sthread_policy_destroy(struct sthread_policy *p);
/* Grants the master's descriptor, known inside under the same number.  The library duplicates it: closing it
 * afterwards, on either side, does not touch the other.  -EBADF, -EINVAL (rights, or of a kind that cannot be
 * granted, as files of procfs, block devices, most others: see sthread_policy(3)), -EEXIST, -EMFILE, -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_fd(struct sthread_policy *p, int fd, unsigned rights);
/* Grants openat() beneath a directory, known inside as descriptor dirfd; opened files get `rights` (any but
 * STHREAD_FD_SOCKOPT, STHREAD_FD_SHUTDOWN, STHREAD_FD_ACCEPT and STHREAD_FD_CONNECT).  -ENOTDIR, -EACCES, -ENOENT, and as above.
 * -EINVAL also: it lies beneath another, granted with STHREAD_FD_MAKE, and has a right that that one has not; or the
 * other way round. */
STHREAD_MUST STHREAD_API int sthread_policy_dir(struct sthread_policy *p, int dirfd, unsigned rights);
/* For sthread_policy_syscall(): every number that is not in the table.  STHREAD_DENY_ERRNO or STHREAD_DENY_KILL. */
#define STHREAD_SYSCALL_OTHERS (-1L)
/* -EINVAL: no such call in the table of sthread_syscalls(7).  -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_syscall(struct sthread_policy *p, long nr, enum sthread_action action);
/*
 * Narrows an allowed call: argument `arg` (0 to 5), with the bits of `mask`, must be `value`; otherwise the call is
 * EPERM inside.  Several rules on one argument are alternatives; on several arguments, all must be met.  Never allows
 * what the table of sthread_syscalls(7) refuses; says nothing of another call that does the same, as sendmmsg beside
 * sendmsg.  Of an int the lower half counts, sign-extended.
 * -EINVAL: no such call; no such argument, or one that is a pointer or a descriptor; value has bits outside mask.
 * -ENOSPC: 64 rules are there already.  -ENOMEM.
 */
STHREAD_MUST STHREAD_API int sthread_policy_syscall_arg(struct sthread_policy *p, long nr, unsigned arg, uint64_t mask,
							uint64_t value);
/* For `prefix` below: all of the address. */
#define STHREAD_EXACT (-1)
/*
 * Grants connecting (and sending) to an address, and binding to one, with sockets that have STHREAD_FD_CONNECT; those
 * made inside do.  AF_INET and AF_INET6: this port, and an address that begins with the same `prefix` bits.  AF_UNIX:
 * this absolute path or abstract name; STHREAD_EXACT.  A datagram socket made inside hears whom it may send to; once
 * it is bound, everybody.  -EINVAL: any other address, or an IPv4-mapped one (grant the AF_INET address); prefix.
 * -ENOSPC: 32 addresses are there already.  -ENOMEM.
 */
STHREAD_MUST STHREAD_API int sthread_policy_connect(struct sthread_policy *p, const struct sockaddr *addr,
						    socklen_t len, int prefix);
STHREAD_MUST STHREAD_API int sthread_policy_bind(struct sthread_policy *p, const struct sockaddr *addr, socklen_t len,
						 int prefix);
/*
 * Takes a descriptor that its policy granted, of this number, back from an sthread that was created, with what the
 * sthread duplicated from it.  On return no call inside reaches it: one under way was ended, unless the host cannot
 * interrupt it, then it was waited for.  What was opened or accepted through it stays.  Gates made inside that may hold
 * it are destroyed; a call of one that the sthread waits for ends.
 * While it is in a call of a gate of the master's, that is waited for, too; a kill is not held up.
 * -EBADF: its policy did not grant it.  -ESRCH: it has ended.  -EDEADLK: called by a native gate that it, or one that it
 * made, waits for.
 * -EINVAL: as for sthread_kill().
 */
STHREAD_MUST STHREAD_API int sthread_policy_fd_revoke(struct sthread *st, int fd);
STHREAD_MUST STHREAD_API int sthread_policy_limit(struct sthread_policy *p, enum sthread_limit limit, uint64_t value);
/*
 * The policy as text, one right a line, in an order that does not depend on how it was built.  p NULL: as where it
 * runs, one that grants nothing.  Like snprintf(): at most len bytes with the NUL; returns the length of the whole
 * text.  -EINVAL: buf NULL with a len.  -EOVERFLOW: no int holds the length.
 */
STHREAD_MUST STHREAD_API int sthread_policy_format(const struct sthread_policy *p, char *buf, size_t len);
/*
 * 1: whatever p gives, `of` gives, too (the same open file under the same number with the same rights or more, no
 * system call less, no limit lower); 0: not so.  NULL: grants nothing.  A call that fails leaves more than one that
 * kills.  Of two that are each a subset of the other the texts are the same.
 * -ENOTSUP, or what statx() says: this kernel cannot tell whether two descriptors are one file.
 */
STHREAD_MUST STHREAD_API int sthread_policy_is_subset(const struct sthread_policy *p, const struct sthread_policy *of);
/* Grants calls of a gate, which stays as long as the policy does.  Hundreds are fine.  -EINVAL: NULL.  -EEXIST.  -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_gate(struct sthread_policy *p, struct sthread_gate *gate);

/* Rights on memory; writing includes reading.  Nothing of it is ever executable. */
#define STHREAD_READ 0x1u
#define STHREAD_WRITE 0x2u
/* Grants the tag's memory, at its address.  -EINVAL: rights, or not a tag that is there.  -EEXIST: granted already.
 * -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_tag(struct sthread_policy *p, struct sthread_tag *tag, unsigned rights);
/* Grants whole pages of live memory of the master: of one mapping of sthread_map(), or of the writable data of the
 * program or a library, which then stays loaded.  -EINVAL: rights, unaligned, other memory (see sthread_policy(3)), or
 * an overlap with what is granted.  -EEXIST: granted already.  -ENOMEM. */
STHREAD_MUST STHREAD_API int sthread_policy_memory(struct sthread_policy *p, void *addr, size_t len, unsigned rights);

/* Grants the globals that STHREAD_TAGGED() put under this name.  -ENOENT: there were none at sthread_init().  Else as
 * for a tag. */
STHREAD_MUST STHREAD_API int sthread_policy_tagged(struct sthread_policy *p, const char *name, unsigned rights);

/* ---- tagged memory: at one address in the master and in every compartment that was granted it -------- */

/*
 * A tag: `max` bytes of zeros (in whole pages; from 2 MiB on of 2 MiB), which take up memory when touched.  The name,
 * 1 to 31 bytes, is for records.  In a child of fork() no tag of the parent exists; sthread_fini() destroys all.
 * -EINVAL: name or max, or not initialised.  -ENOMEM: no memory, or no range of addresses of that size.
 */
STHREAD_MUST STHREAD_API int sthread_tag_create(struct sthread_tag **out, const char *name, size_t max);
/* Its memory goes, and what was allocated in it.  The handle is gone, though policies may name it: runs with these are
 * refused.  -EBUSY, and nothing is done: a live compartment was granted it, or a call on it is under way.
 * -EINVAL: of the parent, in a child of fork(). */
STHREAD_MUST STHREAD_API int sthread_tag_destroy(struct sthread_tag *tag);
/* Where its memory begins, for all of its life; NULL: as for -EINVAL above, or inside.  What of it is allocated is the
 * business of sthread_malloc() alone. */
STHREAD_API void *sthread_tag_start(struct sthread_tag *tag);
/*
 * Blocks of a tag, as malloc(3) and its like; also inside, for a tag that was granted for writing.  NULL with errno:
 * ENOMEM; EPERM (inside: not granted so); EINVAL (not a tag that is there, or ptr is not a live block of it: nothing
 * was done).  realloc of NULL allocates.  Sizes are rounded as jemalloc does: a tag of less than 64 KiB holds few
 * sizes.  Some 4,000 tags can have blocks at the same time.
 */
STHREAD_API void *sthread_malloc(struct sthread_tag *tag, size_t size);
STHREAD_API void *sthread_calloc(struct sthread_tag *tag, size_t n, size_t size);
STHREAD_API void *sthread_realloc(struct sthread_tag *tag, void *ptr, size_t size);
/* Of whichever tag it is in.  What is not a live block, or (inside) not of a tag granted for writing, is left alone. */
STHREAD_API void sthread_free(void *ptr);
/* The tag whose memory this is; inside, of those that were granted.  NULL: none, or of sthread_map(). */
STHREAD_API struct sthread_tag *sthread_tag_of(const void *ptr);
/* For <sthread/malloc.h>: where the calling thread's plain malloc goes from now on (NULL: to the C library); gives what
 * it was.  The tag must not be destroyed meanwhile.  Also inside. */
STHREAD_API struct sthread_tag *sthread_malloc_into(struct sthread_tag *tag);
STHREAD_API struct sthread_tag *sthread_malloc_tag(void);
/* Is the address one that only tags and sthread_map() have?  Also inside, without asking anybody. */
STHREAD_API bool sthread_is_tagged(const void *ptr);
/* Whole pages of zeros without an allocator, for sthread_policy_memory().  Errors as for a tag; -EINVAL: len. */
STHREAD_MUST STHREAD_API int sthread_map(size_t len, void **out);
/* The whole of such a mapping.  -EBUSY as for a tag.  -EINVAL: none begins at addr. */
STHREAD_MUST STHREAD_API int sthread_unmap(void *addr);

/*
 * A global on pages of its own, zero at first, which no compartment has unless it was granted by the name `tag` (an
 * identifier of at most 31 characters).  `name` is a constant pointer to it:
 *
 *	STHREAD_TAGGED(session, struct session, current);       current->user = ...
 *
 * At file scope.  What an object that is loaded after sthread_init() tags cannot be granted.
 */
#define STHREAD_TAGGED(tag, type, name)                                                                               \
	static union {                                                                                                \
		type value;                                                                                           \
		unsigned char pages[(sizeof(type) + 4095) / 4096 * 4096];                                             \
	} name##_pages __attribute__((section("sthread_tag_" #tag), aligned(4096), used));                            \
	extern unsigned char __start_sthread_tag_##tag[] __attribute__((visibility("hidden")));                       \
	extern unsigned char __stop_sthread_tag_##tag[] __attribute__((visibility("hidden")));                        \
	static struct sthread_tagged name##_tagged = { NULL, #tag, __start_sthread_tag_##tag, __stop_sthread_tag_##tag }; \
	__attribute__((constructor)) static void name##_tagged_add(void) { sthread_tagged_add(&name##_tagged); }      \
	__attribute__((destructor)) static void name##_tagged_remove(void) { sthread_tagged_remove(&name##_tagged); } \
	typedef char name##_tag_fits[sizeof(#tag) <= 32 ? 1 : -1] __attribute__((unused));                            \
	static type *const name __attribute__((unused)) = &name##_pages.value

/* What STHREAD_TAGGED() is made of. */
struct sthread_tagged {
	struct sthread_tagged *next;
	const char *name;
	void *start, *stop;
};
STHREAD_API void sthread_tagged_add(struct sthread_tagged *section);
STHREAD_API void sthread_tagged_remove(struct sthread_tagged *section);

/* ---- results ------------------------------------------------------------------------------------------ */

enum sthread_end {
	STHREAD_RETURNED,       /* fn returned, or sthread_exit(): value */
	STHREAD_EXITED,         /* exit() or _exit(): status in value */
	STHREAD_ABORTED,        /* abort(), assert(), smashed stack: message */
	STHREAD_FAULTED,        /* touched what it may not, or an instruction it may not */
	STHREAD_DENIED,         /* a system call that its policy answers with a kill: nr in value */
	STHREAD_OVER_LIMIT,     /* which: limit; how much it had used: value, in the limit's unit */
	STHREAD_KILLED,         /* sthread_kill(), sthread_fini() */
	STHREAD_LOST,           /* the virtual processor failed; nothing is known */
	STHREAD_NOT_STARTED,    /* of sthread_create() only: no instruction of it ran; why: value, a negative errno */
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
 * -EAGAIN: no thread, virtual processor or descriptor left.  -ENOMEM.  -EIO: the virtual machine has failed; nothing
 * runs any more.  -EINVAL: not initialised, or fn is not executable there, or the policy names tagged memory that is
 * gone.  What the thread of the library finds out too late for that is in the result, as STHREAD_NOT_STARTED.
 */
STHREAD_MUST STHREAD_API int sthread_create(struct sthread **out, const struct sthread_policy *policy,
					    void *(*fn)(void *), void *arg);
/* The same on the calling thread, until it ends; an error: it did not start.  result may be NULL.  -EBUSY: the thread
 * is in one already. */
STHREAD_MUST STHREAD_API int sthread_call(const struct sthread_policy *policy, void *(*fn)(void *), void *arg,
					  struct sthread_result *result);
/* Waits for the end and frees the handle.  result may be NULL.  -EINVAL: being joined, or detached, already; or of
 * the parent, in a child of fork(), as for the next two. */
STHREAD_MUST STHREAD_API int sthread_join(struct sthread *st, struct sthread_result *result);
/* Ends it, whatever it does.  It is still to be joined.  -ESRCH: it ended before. */
STHREAD_MUST STHREAD_API int sthread_kill(struct sthread *st);
/* Nobody will join it.  The handle is gone. */
STHREAD_MUST STHREAD_API int sthread_detach(struct sthread *st);
/*
 * The five calls above, and those on policies (but for taking back), work inside, too: a compartment makes
 * compartments of its own.  A call on a policy is -EPERM, and the policy as it was, if it would give what its maker has
 * not.  Children start from the image, run on threads of the library, and end with their creator's run (of a gate: with
 * the call); their limits of memory, descriptors, CPU time and gate calls are taken out of the creator's until they are joined.
 * See sthread_create(3), sthread_policy(3).  Also inside: -EPERM: the creator has lost a right since.  -EDQUOT: more
 * than is left of its limits.  -EAGAIN: one of
 * the counts below.  -ELOOP: the depth.  -EFAULT: result, addr.  -EINVAL: not a handle of this run.
 */
#define STHREAD_NEST_DEPTH 8            /* sthreads within sthreads beneath one of the master's */
#define STHREAD_NEST_LIVE 64            /* sthreads not joined, and gates, beneath one of the master's, of all depths */
#define STHREAD_NEST_POLICIES 64        /* of one run */
/* Inside: ends the compartment with a value, from any depth.  Outside: pthread_exit(). */
STHREAD_API void sthread_exit(void *value) __attribute__((noreturn));
/* Inside: true. */
STHREAD_API bool sthread_inside(void);

/* ---- callgates: functions that run with other rights than their caller's ----------------------------------- */

#define STHREAD_GATE_MESSAGE (64u << 10)        /* bytes, the largest message each way */
#define STHREAD_GATE_DEPTH 16                   /* calls within calls */
#define STHREAD_GATE_GIVES 16                   /* descriptors given in one call */
#define STHREAD_GATE_NAME 32                    /* longest name, with its NUL */

enum sthread_gate_kind {
	STHREAD_GATE_FRESH,     /* each call starts from the image, in a compartment of its own; callers run in parallel */
	STHREAD_GATE_RECYCLED,  /* one compartment that keeps its memory and descriptors between calls; callers queue */
	STHREAD_GATE_RESIDENT,  /* not yet: -ENOTSUP */
};

/*
 * in: a copy of the caller's message.  out: out_cap zeroed bytes.  Returns how many of them are the answer, or a
 * negative errno for the caller.  Its stack and registers are new for each call.
 */
typedef ssize_t sthread_gate_fn(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap);

struct sthread_gate_config {
	size_t size;                            /* of this struct: sizeof(struct sthread_gate_config) */
	const char *name;                       /* copied; NULL: none */
	sthread_gate_fn *fn;
	const struct sthread_policy *policy;    /* of the compartment that fn runs in; copied.  NULL: grants nothing */
	void *trusted;                          /* passed to fn; no caller can change or see it */
	enum sthread_gate_kind kind;
	bool native;                            /* fn runs in the master, with all its rights; kind FRESH, policy NULL */
	const struct sthread_gate *after;       /* only after a successful call of that gate by the same caller.  NULL: any time */
	unsigned max_calls;                     /* by the same caller.  0: no limit */
};

/*
 * -EINVAL: not initialised; cfg; fn not executable in the image; name too long.  -ENOTSUP: RESIDENT.  -ENOMEM.
 * -EAGAIN: no thread left.
 * A gate is of this sthread_init(): after sthread_fini(), or in a child of fork(), its calls are -EINVAL.
 * Inside, a compartment makes gates of its own, which it and what it makes may call: not native ones (-EPERM), nor with
 * a policy that gives what it has not (-EPERM).  Such a gate, of either kind, serves one call at a time, and ends with its
 * maker's run; its limits of memory, descriptors and CPU time are taken out of the maker's until it is destroyed.  See
 * sthread_gate(3).  Also inside: -EDQUOT: more than is left of the limits.  -EAGAIN: STHREAD_NEST_LIVE.  -ELOOP:
 * STHREAD_NEST_DEPTH.  -EFAULT: cfg, its name.  -EINVAL: its policy or `after` is not a handle of this run.
 */
STHREAD_MUST STHREAD_API int sthread_gate_create(struct sthread_gate **out, const struct sthread_gate_config *cfg);
/* Calls under way end as they would; there are no new ones, though policies still hold it.  The handle is gone.  Inside:
 * a gate that this run made; any other is left alone. */
STHREAD_API void sthread_gate_destroy(struct sthread_gate *gate);
/*
 * Inside, and in the master: the number of bytes of the answer, in out, or a negative errno.
 * Of the gate: what fn returned.  -EPROTO: that was neither a length of at most out_cap nor an errno.  -EIO: fn
 * faulted, aborted or exited.  -EACCES: its policy ended it.  -ETIMEDOUT: over its wall or CPU time.  -EDQUOT: over another limit.
 * -ECANCELED: killed.  -ENOTRECOVERABLE: lost.
 * Of the call: -ENOENT: not granted to the caller, or destroyed.  -EPERM: not now, by the gate's rules of order.
 * -EFAULT: in is not readable or out not writable for the caller.  -EMSGSIZE: over STHREAD_GATE_MESSAGE.
 * -ELOOP: over STHREAD_GATE_DEPTH.  -EDEADLK: the recycled gate waits for this very call.  -EAGAIN, -ENOMEM: nothing left
 * to run it with.  -EINVAL: not initialised, or NULL, or the gate's policy names tagged memory that is gone.
 */
STHREAD_MUST STHREAD_API ssize_t sthread_gate_call(struct sthread_gate *gate, const void *in, size_t in_len,
						   void *out, size_t out_cap);
/* Inside: the gate of that name that the policy grants.  -ENOENT.  -EFAULT.  -EINVAL: NULL; outside. */
STHREAD_MUST STHREAD_API int sthread_gate_find(struct sthread_gate **out, const char *name);

struct sthread_id {
	uint64_t run;   /* of one run of one compartment, never of another in this process; 0: the master */
	bool master;    /* the program itself, or a native gate */
};
/* In a gate: who calls.  -EINVAL: not in a gate. */
STHREAD_MUST STHREAD_API int sthread_gate_caller(struct sthread_id *out);
/*
 * In a gate: hands the caller a descriptor, with rights that the gate itself has (a native gate: the master's, any
 * rights).  Gives the number that it has in the caller; it is there once the call has returned successfully.
 * -EPERM: more rights than the gate has.  -EBADF.  -EMFILE: over STHREAD_GATE_GIVES, or the caller's limit.  -EINVAL:
 * not in a gate, called by the master, rights, of a kind that cannot be granted, or a directory that no policy could
 * grant beside those that the caller has.  -ENOMEM, -ENFILE.
 */
STHREAD_MUST STHREAD_API int sthread_gate_give_fd(int fd, unsigned rights);
/*
 * In a gate: hands the caller a tag, with rights that the gate itself has (a native gate: any tag of the master, any
 * rights).  The memory is there, at its address, once the call has returned successfully, besides what the caller has
 * (rights of both, if it has this one), as if its policy had granted it: until the end of its run, and for what it makes
 * and hands on.  Until then the tag is not destroyed (-EBUSY).
 * -EPERM: more rights than the gate has, or not a tag of the gate's.  -ENOMEM: also, the caller's limit of memory leaves
 * no room for page tables.  -EINVAL: not in a gate, called by the master, rights; native: not a tag that is there.
 */
STHREAD_MUST STHREAD_API int sthread_gate_give_tag(struct sthread_tag *tag, unsigned rights);
/* The record of the last call that did not return properly, for the log.  -ENOENT: there was none.  -EINVAL. */
STHREAD_MUST STHREAD_API int sthread_gate_last_result(const struct sthread_gate *gate, struct sthread_result *out);

/* ---- figures -------------------------------------------------------------------------------------------- */

struct sthread_stats {
	uint64_t created, calls;                /* compartments run: sthread_create, sthread_call */
	uint64_t live, pooled;                  /* running now; idle and warm */
	uint64_t recycled, cold;                /* runs in a space used before; in a new one */
	uint64_t world_switches;                /* entries into the guest */
	uint64_t syscalls;                      /* system calls handled, forwarded or not */
	uint64_t faults_cow, faults_demand;     /* resolved */
	uint64_t ended_faulted, ended_killed, ended_denied, ended_limit;
	uint64_t gate_calls, gate_faults;       /* of gates; of them those that did not return properly */
	uint64_t gate_denied;                   /* not granted, or out of order */
	uint64_t page_table_edits;              /* live entries changed by guest ring 0; mappings, by stubs */
	uint64_t pages_used, pages_total;       /* guest memory, pages of 4 KiB */
	uint64_t table_pages;
	uint64_t vcpus, vcpus_lost, slots;
	uint64_t image_pages, image_bytes;      /* the checkpoint */
	uint64_t tags, tag_bytes;               /* tags and sthread_map() mappings; bytes of blocks allocated in tags */
	unsigned placement;                     /* enum sthread_placement in force */
	unsigned machine;                       /* enum sthread_machine in force */
	unsigned filtered;                      /* 1: threads of the library run behind a system-call filter */
};
/* -EINVAL: not initialised. */
STHREAD_MUST STHREAD_API int sthread_stats(struct sthread_stats *out);

#ifdef __cplusplus
}
#endif
#endif
