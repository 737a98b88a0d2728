/* SPDX-License-Identifier: MIT */
/*
 * record.c - how a run ended, as a record: what the processor said, and the call chain.  World:
 * host.
 */
#include "sthread/report/record.h"

#include <string.h>

#include "sthread/process.h"
#include "sthread/report/describe.h"
#include "sthread/report/unwind.h"
#include "sthread/syscall/syscall.h"
#include "sthread/tag/tag.h"

#define PAGE_FAULT 14

static enum sthread_fault kind_of(uint64_t vector)
{
	switch (vector) {
	case 0:
	case 16:
	case 19:
		return STHREAD_FAULT_ARITHMETIC;
	case 1:
	case 3:
	case 4:
		return STHREAD_FAULT_TRAP;
	case 6:
		return STHREAD_FAULT_INSTRUCTION;
	case 12:
	case 13:
		return STHREAD_FAULT_PROTECTION;
	case PAGE_FAULT:
		return STHREAD_FAULT_MEMORY;
	default:
		return STHREAD_FAULT_OTHER;
	}
}

static void registers(const struct dune_frame *f, uint64_t regs[16])
{
	const uint64_t r[16] = { f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->rsp,
				 f->r8,	 f->r9,	 f->r10, f->r11, f->r12, f->r13, f->r14, f->r15 };

	memcpy(regs, r, sizeof(r));
}

void result_fault(const struct dune_frame *f, struct sthread_result *r)
{
	r->end = STHREAD_FAULTED;
	r->vector = (unsigned)f->vector;
	r->error = (unsigned)f->error;
	r->fault = kind_of(f->vector);
	if (f->vector != PAGE_FAULT)
		return;
	r->address = f->cr2;
	r->access = f->error & 16 ? 4 : f->error & 2 ? 2 : 1;
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

	registers(f, r->regs);
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
