/* SPDX-License-Identifier: MIT */
/*
 * entry.S - every way into ring 0 and out of it.  World: ring 0.
 *
 * The stack after an entry, growing down, is struct dune_frame without its last word:
 *
 *	ss rsp rflags cs rip | error vector | rdi rsi rdx rcx rax r8 ... r15
 *	by the processor       stub           only where ring 0 decides
 *
 * Two sets of stubs.  `host`: leave at once; the host takes the general registers from kvm_run, and a stub on
 * an emulated ring 0 costs an exit's worth of instructions otherwise.  `ring0`: save all, let the monitor decide.
 * No entry uses FS, GS, SWAPGS or anything else that ring 3 can set: the area of the vCPU follows from the stack
 * the processor switched to, and for `syscall`, which switches none, from the instruction pointer, because the
 * entry page is mapped once in each area.
 */
#include "arch/x86_64/layout.h"

	.section .header, "a"
	.globl mon_header
mon_header:
	.quad 0x6e6f6d6874733031
	.quad vectors_host
	.quad vectors_ring0
	.quad syscall_host - entry_page
	.quad syscall_ring0 - entry_page
	.quad apply
	.quad resume_frame
	.quad restore
	.quad resume
	.quad __text_start
	.quad entry_page
	.quad __end

/* Vectors for which the processor pushes an error code. */
#define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21 || (v) == 29 || (v) == 30)

	.macro push_general
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %rax
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	.endm

	.text
	.balign 16
vectors_host:
	.set v, 0
	.rept 256
	.balign 16
	.if !HAS_ERROR(v)
	pushq $0
	.endif
	pushq $v
	outl %eax, $MON_PORT
	ud2
	.set v, v + 1
	.endr

	.balign 16
vectors_ring0:
	.set v, 0
	.rept 256
	.balign 16
	.if !HAS_ERROR(v)
	pushq $0
	.endif
	pushq $v
	jmp save
	.set v, v + 1
	.endr

	.balign 16
save:
	push_general
saved:
	/* rsp: the frame.  No flag of ring 3 is left: AC would switch SMAP off */
	pushq $2
	popfq
	movq %rsp, %rdi
	movq %cr2, %rsi
	call ring0_trap
	testl %eax, %eax
	jz restore
	jmp leave
kicked:
	movl $MON_VCPU_KICKED, MON_AREA_VCPU + MON_VCPU_EXIT(%rax)
leave:
	outl %eax, $MON_PORT
	ud2	/* the host always says where to go on */

	/* rsp: the frame, made fit for ring 3 by the host */
	.balign 16
resume_frame:
	cld
	movq %rsp, %rdi
	call ring0_resume
	/*
	 * A signal that comes before this is seen here, since the host sets `kick` and lets the monitor go on; one
	 * that comes later ends the run, since the host takes over from here on.
	 */
restore:
	movq %rsp, %rax
	andq $~(MON_AREA_SIZE - 1), %rax
	cmpl $0, MON_AREA_VCPU + MON_VCPU_KICK(%rax)
	jne kicked
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rax
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	addq $16, %rsp
resume:
	iretq

	.balign 16
apply:
	cld
	movq %rsp, %rdi
	call ring0_apply
	outl %eax, $MON_PORT
	ud2

/*
 * The entry page.  Linked once, mapped at MON_AREA_ENTRY of every area: what it names relative to the
 * instruction pointer is the data of the vCPU that runs it.
 */
	.section .entry, "ax"
	.balign 4096
entry_page:
	.set this_user_rsp, entry_page - MON_AREA_ENTRY + MON_AREA_VCPU
	.set this_stack_top, entry_page - MON_AREA_ENTRY + MON_AREA_STACK_TOP

	.macro syscall_frame
	movq %rsp, this_user_rsp(%rip)
	leaq this_stack_top(%rip), %rsp
	pushq $SEL_USER_DS
	pushq this_user_rsp(%rip)
	pushq %r11
	pushq $SEL_USER_CS
	pushq %rcx
	pushq $0
	pushq $VECTOR_SYSCALL
	.endm

	.balign 64
syscall_host:
	syscall_frame
	outl %eax, $MON_PORT
	ud2

	.balign 64
syscall_ring0:
	syscall_frame
	push_general
	movabsq $saved, %rax
	jmp *%rax
