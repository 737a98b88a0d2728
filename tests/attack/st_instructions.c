/* SPDX-License-Identifier: MIT */
/*
 * Instructions that are not for user mode, and traps: they end, at most, the compartment that executes them, and the
 * record says which it was.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <cpuid.h>

/* Executes these words.  The twin of all: a nop. */
#define INSN(fn, text)                                              \
	ST_FN(fn)                                                   \
	{                                                           \
		__asm__ volatile(text                               \
				 :                                  \
				 : "D"(arg), "a"(0), "c"(0), "d"(0) \
				 : "rbx", "memory", "cc");          \
		return NULL;                                        \
	}

/* Privileged. */
INSN(does_nop, "nop")
INSN(does_hlt, "hlt")
INSN(does_cli, "cli")
INSN(does_sti, "sti")
INSN(does_in, "inb $0x80, %%al")
INSN(does_out, "outb %%al, $0x80")
INSN(does_out_dx, "movl $0x1f0, %%edx\n outl %%eax, %%dx")
INSN(does_outs, "movl $0x80, %%edx\n movq %%rsp, %%rsi\n outsb")
INSN(does_ins, "subq $128, %%rsp\n movl $0x80, %%edx\n movq %%rsp, %%rdi\n insb\n addq $128, %%rsp")
INSN(does_rdmsr, "movl $0xc0000082, %%ecx\n rdmsr")
INSN(does_wrmsr, "movl $0xc0000082, %%ecx\n wrmsr")
INSN(does_wrmsr_fs, "movl $0xc0000100, %%ecx\n wrmsr")
INSN(does_read_cr0, "movq %%cr0, %%rax")
INSN(does_read_cr3, "movq %%cr3, %%rax")
INSN(does_write_cr3, "movq %%rax, %%cr3")
INSN(does_write_cr4, "movq %%rax, %%cr4")
INSN(does_read_dr, "movq %%dr7, %%rax")
INSN(does_write_dr, "movq %%rax, %%dr7")
INSN(does_lgdt, "lgdt (%%rdi)")
INSN(does_lidt, "lidt (%%rdi)")
INSN(does_ltr, "ltr %%ax")
INSN(does_lldt, "lldt %%ax")
INSN(does_lmsw, "lmsw %%ax")
INSN(does_clts, "clts")
INSN(does_invd, "invd")
INSN(does_wbinvd, "wbinvd")
INSN(does_invlpg, "invlpg (%%rdi)")
INSN(does_swapgs, "swapgs")
INSN(does_sysretq, "sysretq")
INSN(does_iretq_kernel,
     "movq %%rsp, %%rbx\n pushq $0x18\n pushq %%rbx\n pushfq\n pushq $0x10\n leaq 1f(%%rip), %%rax\n"
     " pushq %%rax\n iretq\n 1:")
INSN(does_lretq_kernel, "pushq $0x10\n leaq 1f(%%rip), %%rax\n pushq %%rax\n lretq\n 1:")
INSN(does_load_ss, "movl $0x18, %%eax\n movl %%eax, %%ss")
INSN(does_load_ds, "movl $0x40, %%eax\n movl %%eax, %%ds\n movl $0xfff8, %%eax\n movl %%eax, %%ds")
INSN(does_xsetbv, "xsetbv")

/* Interrupts by number: gates that are not for ring 3. */
INSN(does_int_0, "int $0")
INSN(does_int_2, "int $2")
INSN(does_int_8, "int $8")
INSN(does_int_14, "int $14")
INSN(does_int_18, "int $18")
INSN(does_int_32, "int $32")
INSN(does_int_80, "int $0x80")
INSN(does_int_255, "int $255")

/* Undefined, or not there. */
INSN(does_ud2, "ud2")
INSN(does_sysenter, "sysenter")
INSN(does_monitor, "monitor")
INSN(does_vmxon, "subq $16, %%rsp\n vmxon (%%rsp)")
INSN(does_vmrun, "vmrun")
INSN(does_clgi, "clgi")
INSN(does_rsm, ".byte 0x0f, 0xaa")

/* Traps and arithmetic. */
INSN(does_int3, "int3")
INSN(does_int1, ".byte 0xf1")
INSN(does_single_step, "pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n nop")
INSN(does_divide, "xorl %%edx, %%edx\n movl $1, %%eax\n divl %%ecx")
INSN(does_divide_overflow, "movl $1, %%ecx\n movl $1, %%edx\n divl %%ecx")
INSN(does_simd_error,
     "subq $16, %%rsp\n movl $0, (%%rsp)\n ldmxcsr (%%rsp)\n xorps %%xmm0, %%xmm0\n xorps %%xmm1, %%xmm1\n"
     " divps %%xmm1, %%xmm0\n addq $16, %%rsp")
INSN(does_x87_error,
     "subq $16, %%rsp\n movw $0, (%%rsp)\n fldcw (%%rsp)\n fldz\n fldz\n fdivrp\n fwait\n addq $16, %%rsp")
INSN(does_alignment, "pushfq\n orq $0x40000, (%%rsp)\n popfq\n movl 1(%%rsp), %%eax")
INSN(does_stack_not_canonical,
     "movq $0x4141414141414141, %%rbx\n movq %%rbx, %%rbp\n movq (%%rbp), %%rax")

ST_FN(does_trap)
{
	__builtin_trap();
}

ST_FN(aligned_with_ac)
{
	__asm__ volatile("pushfq\n orq $0x40000, (%%rsp)\n popfq\n movl (%%rsp), %%eax\n"
			 " pushfq\n andq $~0x40000, (%%rsp)\n popfq" ::
				 : "rax", "memory", "cc");
	return NULL;
}

#define KINDS(a, b) (1u << STHREAD_FAULT_##a | 1u << STHREAD_FAULT_##b)
#define PRIVILEGED  KINDS(PROTECTION, INSTRUCTION)

struct attack {
	st_fn *fn;
	struct st_place in;
	unsigned kinds; /* of fault, as bits */
	bool may_pass; /* exceptions that emulated processors leave out */
};
#define A(fn, kinds)                                                         \
	{                                                                    \
		fn, { __start_st_##fn, __stop_st_##fn, #fn }, (kinds), false \
	}
#define MAY_PASS(fn, kinds)                                                 \
	{                                                                   \
		fn, { __start_st_##fn, __stop_st_##fn, #fn }, (kinds), true \
	}

static void attack(const struct attack *a, void *arg)
{
	struct sthread_result r;

	for (int i = 0; i < 2; i++) {
		r = i ? st_run(NULL, a->fn, arg) : st_call(NULL, a->fn, arg);
		if (a->may_pass && r.end == STHREAD_RETURNED)
			continue;
		ST_END(&r, STHREAD_FAULTED);
		CHECK_MSG(a->kinds >> r.fault & 1, "%s: %s", a->in.name, st_words(&r));
		if (r.fault == STHREAD_FAULT_MEMORY)
			ST_FAULTS(&r, r.fault, r.sp, 1, a->in, NULL);
		else
			ST_FAULTS(&r, r.fault, 0, 0, a->in, NULL);
	}
	st_others_live();
}

int main(void)
{
	static char nothing[64];
	const struct attack attacks[] = {
		A(does_hlt, PRIVILEGED),
		A(does_cli, PRIVILEGED),
		A(does_sti, PRIVILEGED),
		A(does_in, PRIVILEGED),
		A(does_out, PRIVILEGED),
		A(does_out_dx, PRIVILEGED),
		A(does_outs, PRIVILEGED),
		A(does_ins, PRIVILEGED),
		A(does_rdmsr, PRIVILEGED),
		A(does_wrmsr, PRIVILEGED),
		A(does_wrmsr_fs, PRIVILEGED),
		A(does_read_cr0, PRIVILEGED),
		A(does_read_cr3, PRIVILEGED),
		A(does_write_cr3, PRIVILEGED),
		A(does_write_cr4, PRIVILEGED),
		A(does_read_dr, PRIVILEGED),
		A(does_write_dr, PRIVILEGED),
		A(does_lgdt, PRIVILEGED),
		A(does_lidt, PRIVILEGED),
		A(does_ltr, PRIVILEGED),
		A(does_lldt, PRIVILEGED),
		A(does_lmsw, PRIVILEGED),
		A(does_clts, PRIVILEGED),
		A(does_invd, PRIVILEGED),
		A(does_wbinvd, PRIVILEGED),
		A(does_invlpg, PRIVILEGED),
		A(does_swapgs, PRIVILEGED),
		A(does_sysretq, PRIVILEGED),
		/* An emulated processor reads the stack first, with the privilege to be. */
		A(does_iretq_kernel, PRIVILEGED | 1u << STHREAD_FAULT_MEMORY),
		A(does_lretq_kernel, PRIVILEGED | 1u << STHREAD_FAULT_MEMORY),
		A(does_load_ss, PRIVILEGED),
		A(does_load_ds, KINDS(PROTECTION, OTHER)),
		A(does_xsetbv, PRIVILEGED),
		A(does_int_0, PRIVILEGED),
		A(does_int_2, PRIVILEGED),
		A(does_int_8, PRIVILEGED),
		A(does_int_14, PRIVILEGED),
		A(does_int_18, PRIVILEGED),
		A(does_int_32, PRIVILEGED),
		A(does_int_80, PRIVILEGED),
		A(does_int_255, PRIVILEGED),
		A(does_ud2, KINDS(INSTRUCTION, INSTRUCTION)),
		A(does_trap, KINDS(INSTRUCTION, INSTRUCTION)),
		A(does_sysenter, PRIVILEGED),
		A(does_monitor, PRIVILEGED),
		A(does_vmxon, PRIVILEGED),
		A(does_vmrun, PRIVILEGED),
		A(does_clgi, PRIVILEGED),
		A(does_rsm, PRIVILEGED),
		A(does_int3, KINDS(TRAP, TRAP)),
		A(does_int1, KINDS(TRAP, INSTRUCTION)),
		A(does_single_step, KINDS(TRAP, TRAP)),
		A(does_divide, KINDS(ARITHMETIC, ARITHMETIC)),
		A(does_divide_overflow, KINDS(ARITHMETIC, ARITHMETIC)),
		MAY_PASS(does_simd_error, KINDS(ARITHMETIC, ARITHMETIC)),
		MAY_PASS(does_x87_error, KINDS(ARITHMETIC, ARITHMETIC)),
		MAY_PASS(does_alignment, KINDS(OTHER, OTHER)),
		A(does_stack_not_canonical, KINDS(PROTECTION, PROTECTION)),
	};
	struct sthread_result r;

	st_init();
	ST_PASSES(NULL, does_nop, NULL);
	for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		NOTE("%s", attacks[i].in.name);
		attack(&attacks[i], nothing);
	}
	ST_PASSES(NULL, aligned_with_ac, NULL);
	ST_PASSES(NULL, does_nop, NULL);
	/* Exactly what it was, where that is not the machine's business. */
	r = st_call(NULL, does_ud2, NULL);
	CHECK_EQ(r.vector, 6u);
	r = st_call(NULL, does_int3, NULL);
	CHECK_EQ(r.vector, 3u);
	r = st_call(NULL, does_single_step, NULL);
	CHECK_EQ(r.vector, 1u);
	r = st_call(NULL, does_divide, NULL);
	CHECK_EQ(r.vector, 0u);
	r = st_call(NULL, does_simd_error, NULL);
	CHECK(r.end == STHREAD_RETURNED || r.vector == 19);
	r = st_call(NULL, does_x87_error, NULL);
	CHECK(r.end == STHREAD_RETURNED || r.vector == 16);
	r = st_call(NULL, does_alignment, NULL);
	CHECK(r.end == STHREAD_RETURNED || r.vector == 17);
	r = st_call(NULL, does_hlt, NULL);
	CHECK_EQ(r.vector, 13u);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
