/* SPDX-License-Identifier: MIT */
/*
 * Instructions that are not for user mode, and traps: they end, at most, the compartment that executes them, and the
 * record says which it was.  World: host; ST_FN: inside.
 */
#include "tests/st.h"
#include "tests/st_soft.h"

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

/* How it ends: by an exception (its bit), or without effect. */
#define V(vector) (1u << (vector))
#define DE	  V(0)
#define DB	  V(1)
#define BP	  V(3)
#define UD	  V(6)
#define SS	  V(12)
#define GP	  V(13)
#define PF	  V(14)
#define MF	  V(16)
#define AC	  V(17)
#define XM	  V(19)
#define RUNS	  V(31)

/*
 * One outcome on the software KVM, one on hardware virtualization.  There are several where processors differ: those
 * of one vendor know the other's instructions or do not, and have them for ring 3 or not; QEMU 7.2, the processor of
 * the emulated machine, takes far returns in ring 3 as accesses of ring 0 (PF), and lacks #AC, SSE exceptions, and
 * the stack's own.
 */
static const struct attack {
	st_fn *fn;
	struct st_place in;
	uint32_t soft, hard;
} attacks[] = {
#define A(fn, ...) { fn, { __start_st_##fn, __stop_st_##fn, #fn }, __VA_ARGS__ }
	A(does_nop, RUNS, RUNS),
	A(does_hlt, GP, GP),
	A(does_cli, GP, GP),
	A(does_sti, GP, GP),
	A(does_in, GP, GP),
	A(does_out, GP, GP),
	A(does_out_dx, GP, GP),
	A(does_outs, GP, GP),
	A(does_ins, GP, GP),
	A(does_rdmsr, GP, GP),
	A(does_wrmsr, GP, GP),
	A(does_wrmsr_fs, GP, GP),
	A(does_read_cr0, GP, GP),
	A(does_read_cr3, GP, GP),
	A(does_write_cr3, GP, GP),
	A(does_write_cr4, GP, GP),
	A(does_read_dr, GP, GP),
	A(does_write_dr, GP, GP),
	A(does_lgdt, GP, GP),
	A(does_lidt, GP, GP),
	A(does_ltr, GP, GP),
	A(does_lldt, GP, GP),
	A(does_lmsw, GP, GP),
	A(does_clts, GP, GP),
	A(does_invd, GP, GP),
	A(does_wbinvd, GP, GP),
	A(does_invlpg, GP, GP),
	A(does_swapgs, GP, GP),
	A(does_sysretq, GP, GP),
	A(does_load_ss, GP, GP),
	A(does_load_ds, GP, GP),
	A(does_xsetbv, GP, GP),
	A(does_iretq_kernel, GP, GP | PF),
	A(does_lretq_kernel, GP, GP | PF),
	A(does_int_0, UD, GP),
	A(does_int_2, UD, GP),
	A(does_int_8, UD, GP),
	A(does_int_14, UD, GP),
	A(does_int_18, UD, GP),
	A(does_int_32, UD, GP),
	A(does_int_80, UD, GP),
	A(does_int_255, UD, GP),
	A(does_ud2, UD, UD),
	A(does_trap, UD, UD),
	A(does_rsm, UD, UD),
	A(does_vmxon, UD, UD),
	A(does_sysenter, UD | GP, UD | GP),
	A(does_monitor, UD | GP, UD | GP),
	A(does_vmrun, UD | GP, UD | GP),
	A(does_clgi, UD | GP, UD | GP),
	A(does_int3, BP, BP),
	A(does_int1, DB, DB | UD),
	A(does_single_step, DB, DB),
	A(does_divide, DE, DE),
	A(does_divide_overflow, DE, DE),
	A(does_simd_error, XM, XM | RUNS),
	A(does_x87_error, MF, MF),
	A(does_alignment, AC, AC | RUNS),
	A(does_stack_not_canonical, SS, SS | GP),
};

static enum sthread_fault kind_of(unsigned vector)
{
	switch (V(vector)) {
	case DE:
	case MF:
	case XM:
		return STHREAD_FAULT_ARITHMETIC;
	case DB:
	case BP:
		return STHREAD_FAULT_TRAP;
	case UD:
		return STHREAD_FAULT_INSTRUCTION;
	case SS:
	case GP:
		return STHREAD_FAULT_PROTECTION;
	case PF:
		return STHREAD_FAULT_MEMORY;
	default:
		return STHREAD_FAULT_OTHER;
	}
}

static void attack(const struct attack *a, void *arg)
{
	uint32_t want = st_soft() ? a->soft : a->hard;
	struct sthread_result r;

	for (int i = 0; i < 2; i++) {
		r = i ? st_run(NULL, a->fn, arg) : st_call(NULL, a->fn, arg);
		if (want & RUNS && r.end == STHREAD_RETURNED)
			continue;
		ST_END(&r, STHREAD_FAULTED);
		CHECK_MSG(r.vector < 31 && want & V(r.vector), "%s: vector %u: %s", a->in.name, r.vector, st_words(&r));
		if (r.vector != 14)
			ST_FAULTS(&r, kind_of(r.vector), 0, 0, a->in, NULL);
		else
			ST_FAULTS(&r, STHREAD_FAULT_MEMORY, r.sp, 1, a->in, NULL);
	}
	st_others_live();
}

int main(void)
{
	static char nothing[64];

	st_init();
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		NOTE("%s", attacks[i].in.name);
		attack(&attacks[i], nothing);
	}
	ST_PASSES(NULL, aligned_with_ac, NULL);
	ST_PASSES(NULL, does_nop, NULL);
	sthread_fini();
	return TEST_PASSED;
}
