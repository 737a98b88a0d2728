/* SPDX-License-Identifier: MIT */
/*
 * ring3_probe.S - what ring 3 of this guest can do, found out once by doing it.  World: ring 3 (copied to a page).
 * An instruction that is missing ends in #UD, which the host sees.
 */
	.section .rodata
	.globl arch_probe_start, arch_probe_end
arch_probe_start:
	xorl %ecx, %ecx
	xgetbv
	rdfsbase %rbx
	wrfsbase %rbx
	rdgsbase %rbx
	wrgsbase %rbx
	movq %rdx, %rsi
	movq %rax, %rdi
	syscall
	ud2
arch_probe_end:

	.section .note.GNU-stack, "", @progbits
