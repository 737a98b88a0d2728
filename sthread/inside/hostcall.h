/* SPDX-License-Identifier: MIT */
/*
 * hostcall.h - the library's own calls from inside a compartment.  World: ring 3 (host_call), and
 * host.
 *
 * They are system calls with numbers that Linux does not have.  As with those, nothing that
 * arrives is believed: an argument that names an object of the library is looked up among those
 * that the caller's policy grants, and never followed.
 *
 * Such a number is of another kind of calls (x32) in the eyes of a filter around the program, which sees the calls of
 * stub processes before the library does, and may answer EPERM or kill.  So the library's own code makes a call that
 * usual filters let through, and has the number in the sixth argument.
 */
#ifndef STHREAD_INSIDE_HOSTCALL_H
#define STHREAD_INSIDE_HOSTCALL_H

#include <dune.h>
#include <stdint.h>

enum hostcall {
	HOSTCALL_RETURN = DUNE_SYS_RETURN, /* value: the function has returned */
	HOSTCALL_EXIT,			   /* value: sthread_exit() */
	HOSTCALL_GATE_CALL,		   /* gate, in, in_len, out, out_cap */
	HOSTCALL_GATE_FIND,		   /* name: the handle */
	HOSTCALL_GATE_CALLER,		   /* the id of the run that calls; 0: the master */
	HOSTCALL_GATE_GIVE_FD,		   /* fd, rights: the caller's number */
	HOSTCALL_GATE_GIVE_TAG,		   /* tag, rights */
	HOSTCALL_GATE_CREATE,		   /* configuration: the handle */
	HOSTCALL_GATE_DESTROY,		   /* gate */
	HOSTCALL_TAG_ALLOC,		   /* tag, size: address */
	HOSTCALL_TAG_RESIZE,		   /* tag, address, size: bytes that the block now has, where it is */
	HOSTCALL_TAG_FREE,		   /* address */
	HOSTCALL_TAG_OF,		   /* address: tag */
	HOSTCALL_POLICY_CREATE,			   /* the handle */
	HOSTCALL_POLICY_DESTROY,		   /* policy */
	HOSTCALL_POLICY_FD,			   /* policy, fd, rights */
	HOSTCALL_POLICY_DIR,			   /* the same */
	HOSTCALL_POLICY_SYSCALL,		   /* policy, nr, action */
	HOSTCALL_POLICY_SYSCALL_ARG,		   /* policy, nr, arg, mask, value */
	HOSTCALL_POLICY_LIMIT,			   /* policy, limit, value */
	HOSTCALL_POLICY_TAG,			   /* policy, tag, rights */
	HOSTCALL_POLICY_MEMORY,			   /* policy, address, len, rights */
	HOSTCALL_POLICY_GATE,			   /* policy, gate */
	HOSTCALL_POLICY_TAGGED,			   /* policy, name, rights */
	HOSTCALL_POLICY_CONNECT,		   /* policy, address, len, prefix */
	HOSTCALL_POLICY_BIND,			   /* the same */
	HOSTCALL_POLICY_FORMAT,			   /* policy, buffer, len: length of the whole text */
	HOSTCALL_POLICY_IS_SUBSET,		   /* policy, policy: 1, 0 */
	HOSTCALL_STHREAD_CREATE,		   /* policy, function, argument: the handle */
	HOSTCALL_STHREAD_CALL,			   /* policy, function, argument, result */
	HOSTCALL_STHREAD_JOIN,			   /* sthread, result */
	HOSTCALL_STHREAD_KILL,			   /* sthread */
	HOSTCALL_STHREAD_DETACH,		   /* sthread */
	HOSTCALLS_END,
};

/* restart_syscall: without a meaning inside, without arguments, and never answered by ring 0 alone. */
#define HOSTCALL_CARRIER 219

/* Which of them a call is, by its number and its sixth argument; 0: none. */
static inline uint64_t host_call_number(uint64_t nr, uint64_t sixth)
{
	if (nr == HOSTCALL_CARRIER)
		nr = sixth;
	return nr >= HOSTCALL_RETURN && nr < HOSTCALLS_END ? nr : 0;
}

/* From inside only. */
static inline long host_call(enum hostcall nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	register uint64_t r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = nr;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"((long)HOSTCALL_CARRIER), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

struct sys_ctx;

/*
 * Serves one that is not the end, on the host: result, -errno, or SYS_PERFORM_END.  -ENOSYS: no
 * such call.  Set as ctx->host_call by the owner of the run; ctx->mem checks and copies what
 * arguments point to.
 */
long hostcall_serve(struct sys_ctx *ctx, enum hostcall nr, const uint64_t arg[5]);

#endif
