/* SPDX-License-Identifier: MIT */
/*
 * syscalls.h - the system calls that exist, as data: what each argument is, what is allowed by
 * default.  World: host.
 *
 * A policy speaks of calls by their index here.  The decoder (syscall/decode.c) and the tests
 * read the same table, which syscall/table.c defines.
 */
#ifndef STHREAD_POLICY_SYSCALLS_H
#define STHREAD_POLICY_SYSCALLS_H

#include <sthread.h>
#include <stdbool.h>
#include <stdint.h>

enum sys_arg_kind {
	ARG_NONE,       /* the call has no such argument */
	ARG_IGNORED,    /* taken, not looked at */
	ARG_NUMBER,     /* 64 bits, used as a number; never followed as an address */
	ARG_VALUE,      /* int, 0 ... 63: those whose bit is in `allowed`; otherwise -EINVAL */
	ARG_FLAGS,      /* int: no bit outside `allowed`; otherwise -EINVAL */
	ARG_INT,        /* int: the call's own check looks at it */
	ARG_SIZE,       /* length in bytes, or count, of the argument that names it */
	ARG_FD,         /* a descriptor, all of `rights` held (0: check asks): -EBADF, -EPERM */
	ARG_DIRFD,      /* a directory granted for opening beneath; AT_EMPTY_PATH: any */
	ARG_IN,         /* buffer read: becomes spans; length in argument `len` */
	ARG_OUT,        /* buffer written: the same */
	ARG_BYTES_OUT,  /* written from a copy, at most `size` bytes; length in argument `len` */
	ARG_PATH,       /* string, at most PATH_MAX with its NUL: copied */
	ARG_STRUCT_IN,  /* `size` bytes: copied */
	ARG_STRUCT_OUT, /* `size` bytes: made sure of, copied out at the end */
	ARG_IOV_IN,     /* struct iovec[], memory read: becomes spans; count in argument `len` */
	ARG_IOV_OUT,    /* the same, memory written */
	ARG_MSG_IN,     /* struct msghdr of sendmsg */
	ARG_MSG_OUT,    /* struct msghdr of recvmsg */
	ARG_POLL,       /* struct pollfd[], count in argument `len` */
	ARG_OPT_IN,     /* at most `size` bytes: copied; length in argument `len` */
	ARG_VAR_OUT,    /* result of at most `size` bytes; argument `len` points to its length */
	ARG_SOCKLEN,    /* socklen_t *, in and out */
	ARG_ARRAY_OUT,  /* elements of `size` bytes, as many as fit into u.bytes; count in argument `len` */
	ARG_OFFSET,     /* off_t *, in and out */
	ARG_FDSET,      /* fd_set *, in and out; numbers in it in argument `len` */
	ARG_MMSG,       /* struct mmsghdr[]: made sure of; each is decoded in its turn.  Count in `len` */
};

struct sys_arg {
	uint8_t kind;
	uint8_t len;            /* argument that holds the length or count */
	uint16_t rights;        /* STHREAD_FD_* */
	bool null;              /* NULL is fine, and means none */
	uint32_t size;
	uint64_t allowed;
};

enum sys_class {
	SYS_ALWAYS,     /* touches the compartment only: allowed unless the policy denies it */
	SYS_OUTSIDE,    /* touches the outside: needs the policy's leave, and a right */
};

struct sys_call;
struct sys_entry {
	const char *name;
	uint16_t nr;
	uint8_t class;
	bool forwarded;         /* makes host system calls */
	struct sys_arg arg[6];
	int (*check)(struct sys_call *c);       /* what the types cannot say.  May be NULL */
	long (*perform)(struct sys_call *c);    /* result, -errno, or SYS_PERFORM_END */
	const char *note;                       /* for sthread_syscalls(7) */
};

/* Of the argument the lower half counts, as a signed number. */
static inline bool sys_is_int(const struct sys_arg *a)
{
	switch (a->kind) {
	case ARG_VALUE:
	case ARG_FLAGS:
	case ARG_INT:
	case ARG_FD:
	case ARG_DIRFD:
		return true;
	default:
		return false;
	}
}

extern const struct sys_entry sys_table[];
extern const unsigned sys_table_len;
/* Index in the table; negative: no such call. */
int sys_index(uint64_t nr);
/* Actions before any set-up call: what sys_class says, for every index. */
static inline enum sthread_action sys_default_action(unsigned index)
{
	return sys_table[index].class == SYS_ALWAYS ? STHREAD_ALLOW : STHREAD_DENY_ERRNO;
}

#endif
