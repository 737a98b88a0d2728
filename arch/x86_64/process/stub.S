/* SPDX-License-Identifier: MIT */
/*
 * stub.S - all code of the library's own that a stub process executes once its filter is in place.  World: stub.
 *
 * The filter asks the host about every system call.  So nothing here is trusted to be executed in order, or with the
 * registers it expects: the compartment can jump to any instruction.  What holds is this: who is held at REPORT does
 * next only what the request page says, which the stub cannot write.
 *
 *	handler ── a touch of private memory: mmap(), as the hint says ── allowed ── back to the instruction
 *	   │                                                     └─ refused ─┐
 *	   └── anything else ────────────────────────────────────────────── REPORT
 *	REPORT ── held, until the host answers ── edits, one call each ── resume: all registers
 *
 * It never returns by rt_sigreturn: handlers mask nothing, so registers are all that there is to put back, and a forged
 * frame could mask the host's signal.
 */
#include "arch/x86_64/process/layout.h"

#define CONTEXT_R8	40 /* of ucontext_t: uc_mcontext.gregs[REG_R8] */
#define CONTEXT_RSP	160
#define CONTEXT_RIP	168
#define CONTEXT_FLAGS	176
#define CONTEXT_ERR	192
#define CONTEXT_TRAPNO	200
#define CONTEXT_CR2	216
#define CONTEXT_FPREGS	224

#define SIGINFO_CODE	8

#define SEGV		11
#define TRAP_PF		14
#define NR_MMAP		9
#define NR_SECCOMP	317

	/* Where the linker script puts them: the displacement is the same wherever the text lies. */
	.hidden request, signals
	.section .stub, "ax", @progbits
	.balign 16
	.globl stub_handler, stub_fault_ip, stub_report, stub_report_ip, stub_edit_ip, stub_resume, stub_end, stub_start
	.globl stub_resume_end, stub_left, stub_left_end, stub_text_end

	/* rdi signal, rsi siginfo, rdx context */
stub_handler:
	movq %rdx, %rbp		/* the host looks for it there, if this is interrupted */
	/*
	 * Where REPORT itself was interrupted, no frame is needed: the next one may lie where this one does, instead of
	 * below it.  The host takes frames that lead to each other for that.
	 */
	movq CONTEXT_RIP(%rdx), %rax
	leaq stub_report_ip(%rip), %rcx
	subq %rcx, %rax
	cmpq $(stub_resume_end - stub_report_ip), %rax
	jae 1f
	leaq request(%rip), %rsp
1:
	cmpl $SEGV, %edi
	jne report_context
	cmpl $TRAP_PF, CONTEXT_TRAPNO(%rdx)
	jne report_context
	movl CONTEXT_ERR(%rdx), %eax
	movl %eax, %ecx
	andl $0x1c, %ecx	/* fetch, reserved bit, user */
	cmpl $4, %ecx
	jne report_context
	movq request+REQUEST_HINT_LEN(%rip), %rsi
	testq %rsi, %rsi
	jz report_context
	movq CONTEXT_CR2(%rdx), %rdi
	andq $-4096, %rdi
	/* MAP_SHARED | MAP_FIXED | MAP_POPULATE; MAP_NORESERVE, which means nothing here, says that it was a read */
	movl $0x8011, %r10d
	testl $2, %eax
	jnz 1f
	orl $0x4000, %r10d
1:	movl $3, %edx
	movl $STUB_FD_PRIVATE, %r8d
	movq request+REQUEST_HINT_AT(%rip), %r9
	movl $NR_MMAP, %eax
	syscall
stub_fault_ip:
	cmpq %rax, %rdi
	je leave_context
	movl $SEGV, %edi
	movq %rbp, %rdx
report_context:
	movq %rdx, %rsi
	/* rdi why, rsi its argument; what no frame has goes along */
stub_report:
	rdfsbase %rdx
	rdgsbase %r10
	movl $REPORT_NR, %eax
	syscall
stub_report_ip:
	/*
	 * First of all off the signal stack, wherever on it the run has left rsp: signals from here on would use it up, one
	 * below the other; and for that of a trap flag that the run has left, there might be no room even once.
	 */
	leaq request(%rip), %rsp
	testq %rax, %rax
	jnz die
	movq %rsp, %r12
	movq REQUEST_COUNT(%r12), %r13
	leaq REQUEST_EDITS(%r12), %r14
1:	testq %r13, %r13
	jz 2f
	movq (%r14), %rax
	movq 8(%r14), %rdi
	movq 16(%r14), %rsi
	movq 24(%r14), %rdx
	movq 32(%r14), %r10
	movq 40(%r14), %r8
	movq 48(%r14), %r9
	syscall
stub_edit_ip:
	cmpq 56(%r14), %rax
	jne 3f
	addq $REQUEST_EDIT_SIZE, %r14
	decq %r13
	jmp 1b
3:	movq %rax, %rsi
	movq $REPORT_FAILED, %rdi
	jmp stub_report
2:	movq $REPORT_EDITED, %rdi
	xorl %esi, %esi
	cmpq $0, REQUEST_THEN(%r12)
	jne stub_report
	/*
	 * Who is held sleeps, as a rule, and when it goes on the kernel has put in the bases that it knows of.  By selectors
	 * the last run may have had it forget what it was told.
	 */
	movq $REPORT_BASES, %rdi
	movq REQUEST_TOLD_FS(%r12), %rcx
	rdfsbase %rdx
	testq %rcx, %rcx
	jz 4f
	cmpq %rcx, %rdx
	jne stub_report
4:	movq REQUEST_TOLD_GS(%r12), %rcx
	rdgsbase %rdx
	testq %rcx, %rcx
	jz stub_resume
	cmpq %rcx, %rdx
	jne stub_report

stub_resume:
	movl $-1, %eax
	movl $-1, %edx
	fninit
	xrstor64 REQUEST_VECTORS(%r12)
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movq REQUEST_FS(%r12), %rax
	wrfsbase %rax
	movq REQUEST_GS(%r12), %rax
	wrgsbase %rax
	leaq REQUEST_FLAGS(%r12), %rsp
	popfq
	movq request+REQUEST_REGS+0(%rip), %r15
	movq request+REQUEST_REGS+8(%rip), %r14
	movq request+REQUEST_REGS+16(%rip), %r13
	movq request+REQUEST_REGS+24(%rip), %r12
	movq request+REQUEST_REGS+32(%rip), %rbp
	movq request+REQUEST_REGS+40(%rip), %rbx
	movq request+REQUEST_REGS+48(%rip), %r11
	movq request+REQUEST_REGS+56(%rip), %r10
	movq request+REQUEST_REGS+64(%rip), %r9
	movq request+REQUEST_REGS+72(%rip), %r8
	movq request+REQUEST_REGS+80(%rip), %rax
	movq request+REQUEST_REGS+88(%rip), %rcx
	movq request+REQUEST_REGS+96(%rip), %rdx
	movq request+REQUEST_REGS+104(%rip), %rsi
	movq request+REQUEST_REGS+112(%rip), %rdi
	movq request+REQUEST_RSP(%rip), %rsp
	jmp *request+REQUEST_RIP(%rip)
stub_resume_end:

	/*
	 * The host has let the touch happen: all registers as they were, from the frame.  rbp context, until all others
	 * are there, so that the host finds the frame if this is interrupted; then rsp and rip, from the stack's far end.
	 */
leave_context:
	movq CONTEXT_FPREGS(%rbp), %rbx
	movl $-1, %eax
	movl $-1, %edx
	xrstor64 (%rbx)
	movq CONTEXT_RIP(%rbp), %rax
	movq %rax, signals(%rip)	/* the stack's far end */
	movq CONTEXT_RSP(%rbp), %rax
	movq %rax, signals+8(%rip)
	pushq CONTEXT_FLAGS(%rbp)
	popfq
	movq CONTEXT_R8(%rbp), %r8
	movq CONTEXT_R8+8(%rbp), %r9
	movq CONTEXT_R8+16(%rbp), %r10
	movq CONTEXT_R8+24(%rbp), %r11
	movq CONTEXT_R8+32(%rbp), %r12
	movq CONTEXT_R8+40(%rbp), %r13
	movq CONTEXT_R8+48(%rbp), %r14
	movq CONTEXT_R8+56(%rbp), %r15
	movq CONTEXT_R8+64(%rbp), %rdi
	movq CONTEXT_R8+72(%rbp), %rsi
	movq CONTEXT_R8+88(%rbp), %rbx
	movq CONTEXT_R8+96(%rbp), %rdx
	movq CONTEXT_R8+104(%rbp), %rax
	movq CONTEXT_R8+112(%rbp), %rcx
	movq CONTEXT_R8+80(%rbp), %rbp
stub_left:
	movq signals+8(%rip), %rsp
	jmp *signals(%rip)
stub_left_end:

	/* Where dune_reset_entry() goes when its function has returned.  rax value */
stub_end:
	movq %rax, %rsi
	movq $REPORT_END, %rdi
	jmp stub_report

	/* The listener is gone, and nobody answers: the kernel ends a process whose signal frame does not fit. */
die:
	leaq signals+256(%rip), %rsp
	ud2

	/* A new stub.  rdi where it says the number of its listener, rsi end of the signal stack */
stub_start:
	movq %rdi, %r12
	movq %rsi, %rsp
	leaq filter(%rip), %rax
	pushq %rax
	pushq $1
	xorl %r13d, %r13d
	movl $0x28, %esi	/* SECCOMP_FILTER_FLAG_NEW_LISTENER, _WAIT_KILLABLE_RECV */
2:	movl $1, %edi		/* SECCOMP_SET_MODE_FILTER */
	movq %rsp, %rdx
	movl $NR_SECCOMP, %eax
	syscall
	cmpq $-22, %rax		/* EINVAL: before Linux 5.19 */
	jne 3f
	cmpl $8, %esi
	je 3f
	movl $8, %esi
	jmp 2b
3:	cmpl $8, %esi
	setne %r13b
	shlq $32, %r13
	movl %eax, (%r12)
	movl %eax, %esi
	orq %r13, %rsi
	movl $REPORT_START, %edi
	jmp stub_report
	.balign 8
filter:	/* BPF_RET, SECCOMP_RET_USER_NOTIF */
	.short 6
	.byte 0, 0
	.long 0x7fc00000
stub_text_end:

	.section .note.GNU-stack, "", @progbits
