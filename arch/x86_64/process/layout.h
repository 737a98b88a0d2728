/* SPDX-License-Identifier: MIT */
/*
 * layout.h - what the library has in the address space of a stub process, and where.  World: host, zygote, stub, assembly.
 *
 * All of it lies in one range, where no compartment can have anything mapped (dune_vm_config.own):
 *
 *   +00000  text of the stub: signal handler, REPORT, edits, resume (read, execute)
 *   +01000  request page and the vector registers behind it: what the host wants of the stub (read)
 *   +05000  hole
 *   +08000  signal stack, 32 KiB (write)
 *   +10000  hole
 *   +20000  the zygote's text, data and stack; gone before a stub runs anything else
 *   +40000  end
 */
#ifndef ARCH_X86_64_PROCESS_LAYOUT_H
#define ARCH_X86_64_PROCESS_LAYOUT_H

#define STUB_TEXT	   0x0
#define STUB_TEXT_SIZE	   0x1000
#define STUB_REQUEST	   0x1000
#define STUB_REQUEST_SIZE  0x4000
#define STUB_REQUEST_USED  0x1000 /* holds the vector registers that most processors have, AVX-512 among them */
#define STUB_SIGNALS	   0x8000
#define STUB_SIGNALS_SIZE  0x8000
#define STUB_ZYGOTE	   0x20000
#define STUB_ZYGOTE_TEXT   0x4000 /* read, execute */
#define STUB_ZYGOTE_DATA   0x1c000 /* write: variables at the start, the stack at the end */
#define STUB_SIZE	   0x40000

/* struct request, in the request page. */
#define REQUEST_EDITS_MAX  16
#define REQUEST_COUNT	   0 /* of edits */
#define REQUEST_THEN	   8 /* after them: 0 resume, else REPORT */
#define REQUEST_HINT_AT	   16 /* offset in the arena's file, ... */
#define REQUEST_HINT_LEN   24 /* ... and length, of what the next touch of private memory gets; 0: nothing */
#define REQUEST_REGS	   32 /* r15 .. rax, in the order of struct dune_frame: 15 words */
#define REQUEST_FS	   152
#define REQUEST_GS	   160
#define REQUEST_FLAGS	   168
#define REQUEST_RSP	   176
#define REQUEST_RIP	   184
#define REQUEST_TOLD_FS	   192 /* the bases that the kernel was told behind the edits, where it forgets others; 0: not to be checked */
#define REQUEST_TOLD_GS	   200
#define REQUEST_EDITS	   208
#define REQUEST_EDIT_SIZE  64 /* number, six arguments, the result that is expected */
#define REQUEST_VECTORS	   0x500 /* XSAVE area, standard form */
#define REQUEST_VECTORS_SIZE 0x3b00

/* What REPORT's first argument says; a positive one is a signal, and the second the address of its context. */
#define REPORT_START	   0 /* the second is the descriptor of the listener; and 1 << 32: the kernel waits killably */
#define REPORT_END	   (-1) /* a function returned, the second is its value */
#define REPORT_EDITED	   (-2)
#define REPORT_FAILED	   (-3) /* an edit, the second is its result */
#define REPORT_BASES	   (-4) /* the edits are made, and the kernel does not have the bases that it was told */

/* REPORT is this system call, getppid: one that no usual filter around us denies. */
#define REPORT_NR	   110
/* The signal that brings a stub to REPORT: SIGURG. */
#define STUB_KICK	   23
/* Descriptors of a stub; those of other memory follow. */
#define STUB_FD_PRIVATE	   0
#define STUB_FD_IMAGE	   1

#endif
