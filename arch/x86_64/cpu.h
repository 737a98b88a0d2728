/* SPDX-License-Identifier: MIT */
/* cpu.h - what a frame of dune_vcpu_run() means on x86-64.  World: host. */
#ifndef ARCH_X86_64_CPU_H
#define ARCH_X86_64_CPU_H

#include <dune.h>
#include <linux/audit.h>
#include <stdbool.h>
#include <stdint.h>

#define CPU_AUDIT_ARCH AUDIT_ARCH_X86_64 /* what a seccomp filter finds in `arch` */

/* ---- system calls ---- */

struct cpu_call {
	uint64_t nr, arg[6];
};

static inline struct cpu_call cpu_call(const struct dune_frame *f)
{
	return (struct cpu_call){ f->rax, { f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9 } };
}

static inline void cpu_call_result(struct dune_frame *f, long result)
{
	f->rax = (uint64_t)result;
}

/* ---- faults: `vector` and `error` as in struct dune_frame and struct sthread_result ---- */

enum cpu_fault {
	CPU_FAULT_OTHER,
	CPU_FAULT_ARITHMETIC,
	CPU_FAULT_TRAP, /* breakpoint, single step, overflow */
	CPU_FAULT_INSTRUCTION,
	CPU_FAULT_PROTECTION,
	CPU_FAULT_PAGE, /* the frame's cr2 is the address, and the functions below say more */
};

static inline enum cpu_fault cpu_fault(uint64_t vector)
{
	switch (vector) {
	case 0:
	case 16:
	case 19:
		return CPU_FAULT_ARITHMETIC;
	case 1:
	case 3:
	case 4:
		return CPU_FAULT_TRAP;
	case 6:
		return CPU_FAULT_INSTRUCTION;
	case 12:
	case 13:
		return CPU_FAULT_PROTECTION;
	case 14:
		return CPU_FAULT_PAGE;
	default:
		return CPU_FAULT_OTHER;
	}
}

/* Of a page fault's error code, SDM 3A, figure 4-12. */
static inline bool cpu_page_there(uint64_t error)
{
	return error & 1;
}

static inline bool cpu_table_broken(uint64_t error)
{
	return error & 8;
}

static inline bool cpu_writes(uint64_t error)
{
	return error & 2;
}

static inline bool cpu_executes(uint64_t error)
{
	return error & 16;
}

/* SDM 3A, 6.3.1.  NULL: it has none. */
static inline const char *cpu_vector_name(unsigned vector)
{
	static const char *const names[] = {
		[0] = "divide error",
		[1] = "debug exception",
		[2] = "non-maskable interrupt",
		[3] = "breakpoint",
		[4] = "overflow",
		[5] = "bound range exceeded",
		[6] = "invalid opcode",
		[7] = "no floating-point unit",
		[8] = "double fault",
		[10] = "invalid task state",
		[11] = "segment not present",
		[12] = "stack segment fault",
		[13] = "general protection",
		[14] = "page fault",
		[16] = "x87 error",
		[17] = "alignment check",
		[18] = "machine check",
		[19] = "SIMD error",
		[20] = "virtualization exception",
		[21] = "control protection",
	};

	return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : 0;
}

/* ---- registers, in the order of sthread_result.regs ---- */

#define CPU_REGISTERS 16

static inline void cpu_registers(const struct dune_frame *f, uint64_t regs[CPU_REGISTERS])
{
	const uint64_t r[CPU_REGISTERS] = { f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->rsp,
					    f->r8,  f->r9,  f->r10, f->r11, f->r12, f->r13, f->r14, f->r15 };

	for (int i = 0; i < CPU_REGISTERS; i++)
		regs[i] = r[i];
}

static inline const char *cpu_register_name(unsigned i)
{
	static const char names[CPU_REGISTERS][4] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
						      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

	return names[i];
}

#endif
