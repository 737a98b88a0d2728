/* SPDX-License-Identifier: MIT */
/*
 * record.c - how a run ended, as a record: what the processor said, and the call chain.  World:
 * host.
 */
#include "sthread/report/record.h"

#include <string.h>

#include "arch/cpu.h"
#include "sthread/process.h"
#include "sthread/report/describe.h"
#include "sthread/report/unwind.h"
#include "sthread/syscall/syscall.h"
#include "sthread/tag/tag.h"

static enum sthread_fault kind_of(enum cpu_fault fault)
{
	switch (fault) {
	case CPU_FAULT_ARITHMETIC:
		return STHREAD_FAULT_ARITHMETIC;
	case CPU_FAULT_TRAP:
		return STHREAD_FAULT_TRAP;
	case CPU_FAULT_INSTRUCTION:
		return STHREAD_FAULT_INSTRUCTION;
	case CPU_FAULT_PROTECTION:
		return STHREAD_FAULT_PROTECTION;
	case CPU_FAULT_PAGE:
		return STHREAD_FAULT_MEMORY;
	case CPU_FAULT_OTHER:
		break;
	}
	return STHREAD_FAULT_OTHER;
}

void result_fault(const struct dune_frame *f, struct sthread_result *r)
{
	r->end = STHREAD_FAULTED;
	r->vector = (unsigned)f->vector;
	r->error = (unsigned)f->error;
	r->fault = kind_of(cpu_fault(f->vector));
	if (r->fault != STHREAD_FAULT_MEMORY)
		return;
	r->address = f->cr2;
	r->access = cpu_executes(f->error) ? 4 : cpu_writes(f->error) ? 2 : 1;
	if (f->cr2 >= process.stack_low - STACK_GUARD && f->cr2 < process.stack_low)
		r->fault = STHREAD_FAULT_STACK;
}

static bool read_word(void *ctx, uint64_t addr, uint64_t *out)
{
	return !uaccess_copy_in(ctx, out, dune_gva(addr), sizeof(*out));
}

void result_backtrace(struct uaccess *mem, const struct dune_frame *f, struct sthread_result *r)
{
	struct unwind_regs regs = { .rip = f->rip };

	cpu_registers(f, r->regs);
	r->ip = f->rip;
	r->sp = f->rsp;
	memcpy(regs.gpr, r->regs, sizeof(regs.gpr));
	r->frames = unwind_frames(&regs, read_word, mem, r->backtrace, STHREAD_BACKTRACE);
}

const char *report_describe(uint64_t addr, unsigned error, char *buf, size_t len)
{
	const char *what = NULL;

	pthread_mutex_lock(&process.lock);
	if (!process.ready) {
		what = NULL;
	} else if (tag_describe(addr, error, buf, len)) {
		what = buf;
	} else if (addr >= process.stack_low && addr < process.stack_top) {
		what = "the compartment's stack";
	} else if (addr >= process.stack_low - STACK_GUARD && addr < process.stack_low) {
		what = "the guard below the compartment's stack";
	} else if (addr >= process.message_low && addr < process.message_low + MESSAGE_SIZE) {
		what = "the message of a call of a gate";
	} else if (addr >= process.area_end && addr < process.message_low) {
		what = "the guard below a gate's message";
	} else if (addr >= process.area_start && addr < process.area_end) {
		what = "the compartment's private memory, not mapped or not so";
	} else if (addr >= (uint64_t)process.reserved && addr < process.area_start) {
		what = "memory of the library: never granted";
	} else if (addr >= DUNE_USER_END) {
		what = "not an address of user memory";
	} else if (ckpt_describe(process.ckpt, addr, buf, len)) {
		what = buf;
	}
	pthread_mutex_unlock(&process.lock);
	return what;
}

const char *report_call_name(uint64_t nr)
{
	int i = sys_index(nr);

	return i < 0 ? NULL : sys_table[i].name;
}
