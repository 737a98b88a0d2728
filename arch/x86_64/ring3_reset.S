/* SPDX-License-Identifier: MIT */
/*
 * ring3_reset.S - the register-reset trampoline: the first instructions of every compartment.  World: ring 3.
 *
 * The host enters here with all general registers set; this resets what only ring 3 can reset everywhere: every
 * component of XCR0 (x87, SSE, AVX, AVX-512, tiles, keys), the segment selectors, the bases of FS and GS.
 * It is read-only to the compartment, and a run begins here because the trusted side put RIP here.
 *
 *	rdi argument   rdx function   rcx FS base   r8 where to go when it returns, its value in rax; 0: a system call
 */
	.text
	.globl dune_reset_entry
	.type dune_reset_entry, @function
	.balign 64
dune_reset_entry:
	.cfi_startproc
	.cfi_undefined rip /* the outermost frame */
	movq %rdx, %rbx
	movl $-1, %eax
	movl $-1, %edx
	fninit	/* some processors leave the x87 pointers to XRSTOR alone */
	xrstor64 initial_state(%rip)
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	wrfsbase %rcx
	wrgsbase %rax
	xorl %ecx, %ecx
	xorl %edx, %edx
	movq %rbx, %r11
	xorl %ebx, %ebx
	xorl %ebp, %ebp
	pushq %r8
	pushq %r8
	.cfi_undefined rip
	xorl %r8d, %r8d
	call *%r11
	popq %r8
	testq %r8, %r8
	jz 1f
	jmp *%r8
1:	movq %rax, %rdi
	movl $0x40000000, %eax	/* DUNE_SYS_RETURN */
	syscall
	ud2
	.cfi_endproc
	.size dune_reset_entry, . - dune_reset_entry

	/* XSAVE area, standard form: XSTATE_BV 0 puts every component in its initial state; MXCSR is taken from here. */
	.section .rodata
	.balign 64
initial_state:
	.zero 24
	.long 0x1f80
	.zero 576 - 28

	.section .note.GNU-stack, "", @progbits
