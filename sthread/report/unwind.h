/* SPDX-License-Identifier: MIT */
/*
 * unwind.h - the call chain of a dead compartment, and names for code addresses.  World: host.
 *
 * Registers and stack are the compartment's: any value may stand there. Code, symbols and unwind
 * tables come from the objects that this process has loaded, and are trusted. One elfutils session
 * serves the process; it is opened when first needed, behind a mutex, so every call may be made
 * from any thread. Nothing is fetched from the network.
 */
#ifndef STHREAD_REPORT_UNWIND_H
#define STHREAD_REPORT_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

/* At the most so many frames, whatever is asked for. */
#define UNWIND_FRAMES 32

struct unwind_regs {
	uint64_t gpr[16]; /* rax rbx rcx rdx rsi rdi rbp rsp r8 ... r15, as sthread_result.regs */
	uint64_t rip;
};

/*
 * Fills frames[] with code addresses, innermost first; gives how many (at most max). The first is
 * regs->rip even where nothing else can be found; the others are return addresses. After a jump to
 * what is no code the second is the word on top of the stack, if that is code.
 *
 * read_word() gives the 8 bytes of the compartment's memory at addr (any value, not aligned), or
 * false. Nothing else of its memory is read, and at most a few thousand words. It is called with
 * the session's mutex held: it must not call into this file.
 */
unsigned unwind_frames(const struct unwind_regs *regs,
		       bool (*read_word)(void *ctx, uint64_t addr, uint64_t *out), void *ctx,
		       uint64_t *frames, unsigned max);

struct unwind_symbol {
	char function[128]; /* "" if unknown, as the others */
	char file[256];	    /* as the compiler was told it */
	char module[256];   /* path of the object */
	uint64_t offset; /* from the start of the function; where unknown, of the module */
	int line;	 /* 0: unknown */
};

/*
 * What lies at a code address. `call`: pc is a return address, and the line wanted is the call's.
 * False: not in a loaded object; *out is untouched.
 */
bool unwind_symbol(uint64_t pc, bool call, struct unwind_symbol *out);

/* Gives the session back. It is opened again when needed. */
void unwind_fini(void);
/* In a child of fork(): forget the session, and the mutex, which another thread may have held. */
void unwind_forked(void);

#endif
