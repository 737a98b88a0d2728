/* SPDX-License-Identifier: MIT */
/*
 * run.c - one entry into the guest: what it needs, and what its end asks for.  World: host.
 *
 * The host always says where the vCPU goes on, by rip and rsp in kvm_run: `resume` (one iretq),
 * `resume_frame` (also edits, CR3, all registers from memory) or `apply`.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "vm/kvm/kvm.h"

#define FRAME_AT (MON_AREA_STACK_TOP - offsetof(struct dune_frame, cr2))
#define IRET_AT	 (MON_AREA_STACK_TOP - 5 * 8)

static char *stack_at(struct kvm_vcpu *c, uint64_t offset)
{
	return c->stack + (offset - MON_AREA_STACK);
}

/*
 * The host address of `len` bytes at a ring-0 stack pointer, or NULL if it is not on a stack of
 * this vCPU.
 */
static const void *ring0_stack(struct kvm_vcpu *c, uint64_t rsp, size_t len)
{
	uint64_t offset = rsp - c->area;

	if (rsp & 7)
		return NULL;
	if (offset - MON_AREA_STACK <= DUNE_PAGE_SIZE - len)
		return stack_at(c, offset);
	if (offset - MON_AREA_IST <= MON_AREA_IST_END - MON_AREA_IST - len)
		return (char *)c->mon + (offset - MON_AREA_VCPU);
	return NULL;
}

int kvm_apply(struct kvm_vcpu *c)
{
	const struct dune_frame none = { 0 };

	c->mon->exit = MON_EXIT_NONE;
	arch_regs_set(c->run, &none, kvm_of(c->c.vm)->mon.header->apply, c->area + FRAME_AT);
	if (kvm_run_guest(c) != LEFT_MONITOR || c->mon->exit != MON_EXIT_APPLIED) {
		c->c.lost = true;
		return -EIO;
	}
	return 0;
}

/* ---- one entry ---- */

/* Say where the vCPU goes on, so that ring 3 runs at `f` in `s`. */
static void prepare(struct kvm_vcpu *c, struct dune_space *s, const struct dune_frame *f)
{
	struct kvm_space *ks = kvm_space_of(s);
	struct mon_vcpu *v = c->mon;
	uint64_t root = s->pt.root.v, generation;
	bool in_memory = c->ring0;

	v->nedits = 0; /* whatever ring 0 left there */
	if (ks->nedits) {
		edits_hand_over(ks, c);
		__atomic_add_fetch(&s->mon->generation, 1, __ATOMIC_SEQ_CST);
		in_memory = true;
	}
	generation = __atomic_load_n(&s->mon->generation, __ATOMIC_SEQ_CST);
	if (c->cr3 != root) {
		v->cr3 = root;
		in_memory = true;
	} else if (c->cr3_space != s->serial || c->generation != generation) {
		v->flush = 1;
		in_memory = true;
	}
	c->cr3 = root;
	c->cr3_space = s->serial;
	__atomic_store_n(&c->generation, generation, __ATOMIC_SEQ_CST);
	v->space = s->mon_page.v;
	v->exit = MON_EXIT_NONE;
	if (in_memory) {
		memcpy(stack_at(c, FRAME_AT), f, sizeof(*f));
		arch_regs_set(c->run, f, kvm_of(c->c.vm)->mon.header->resume_frame, c->area + FRAME_AT);
	} else {
		memcpy(stack_at(c, IRET_AT), &f->rip, 5 * 8);
		arch_regs_set(c->run, f, kvm_of(c->c.vm)->mon.header->resume, c->area + IRET_AT);
	}
}

/* Registers and trap from where the vCPU left them.  False: they make no sense. */
static bool collect(struct kvm_vcpu *c, enum left how, struct dune_frame *f)
{
	const uint64_t *words;
	struct dune_frame regs;

	switch (how) {
	case LEFT_TRAP:
		/* vector, error, rip, cs, rflags, rsp, ss */
		arch_regs_get(c->run, &regs);
		words = ring0_stack(c, regs.rsp, 7 * 8);
		if (!words)
			return false;
		memcpy(&regs.vector, words, 7 * 8);
		regs.cr2 = arch_fault_address(c->run);
		*f = regs;
		break;
	case LEFT_MONITOR:
		memcpy(f, stack_at(c, FRAME_AT), sizeof(*f));
		break;
	case LEFT_RING3:
	case LEFT_BUS:
	case LEFT_EXCEPTION:
		arch_regs_get(c->run, f);
		f->cs = SEL_USER_CS;
		/*
		 * The next entry begins in the monitor: with ring 3's privilege it would only
		 * fault.
		 */
		arch_to_ring0(c->run);
		break;
	case LEFT_RESTORE:
		/*
		 * Where ring 0 decides the frame in memory is the newest; elsewhere *f is what was
		 * to be resumed.
		 */
		if (c->ring0)
			memcpy(f, stack_at(c, FRAME_AT), sizeof(*f));
		break;
	case LEFT_LOST:
		return false;
	}
	return (f->cs & 3) == 3;
}

/* Edits that were handed over: made, or not yet because KVM_RUN did not get that far. */
static void settle(struct kvm_vcpu *c, struct dune_space *s)
{
	/* If not, the load of CR3 was not made either. */
	if (!edits_taken_back(kvm_space_of(s), c))
		c->cr3_space = 0;
}

/* It is out of the guest: what ring 0 did there counts from here on. */
static void came_out(struct kvm_vcpu *c, struct dune_space *s)
{
	if (c->mon->cr3) { /* not loaded yet */
		c->cr3 = 0;
		c->mon->cr3 = 0;
	}
	settle(c, s);
	stock_drain(c, s); /* which looks for what ring 0 noted: after the edits that it made before */
	kvm_space_of(s)->inside = NULL;
}

void kvm_quiesce(struct dune_space *s)
{
	struct kvm_vcpu *inside = kvm_space_of(s)->inside;

	if (!inside)
		return;
	kvm_await_out(inside); /* and it waits for the lock */
	came_out(inside, s);
}

/* What the exit asks for. */
static enum entered handle(struct kvm_vcpu *c, struct dune_space *s, enum left how, struct dune_frame *f)
{
	switch (how) {
	case LEFT_TRAP:
		if (f->vector == VECTOR_DF || f->vector == VECTOR_NMI || f->vector == VECTOR_MC)
			return ENTERED_LOST;
		mon_frame_syscall(f, c->mon->syscall_fault);
		return ENTERED_TRAP;
	case LEFT_MONITOR:
		switch ((enum mon_exit)c->mon->exit) {
		case MON_EXIT_TRAP:
			return ENTERED_DECIDED;
		case MON_EXIT_NOMEM:
			/* What was unmapped counted until its edits were made: they are now. */
			mon_frame_syscall(f, c->mon->syscall_fault);
			return ENTERED_TRAP;
		case MON_EXIT_REFILL:
			return stock_refill(c, s) ? ENTERED_NOMEM : ENTERED_AGAIN;
		case MON_EXIT_KICKED:
			return ENTERED_AGAIN;
		default:
			return ENTERED_LOST;
		}
	case LEFT_BUS:
		f->vector = VECTOR_MC;
		f->error = 0;
		return ENTERED_DECIDED;
	case LEFT_EXCEPTION:
		f->vector = c->run->ex.exception;
		f->error = c->run->ex.error_code;
		return ENTERED_DECIDED;
	case LEFT_RING3:
	case LEFT_RESTORE:
		return ENTERED_AGAIN;
	case LEFT_LOST:
		break;
	}
	return ENTERED_LOST;
}

enum entered kvm_enter(struct dune_vcpu *vcpu, struct dune_space *s, struct dune_frame *f)
{
	struct kvm_space *ks = kvm_space_of(s);
	struct kvm_vcpu *c = kvm_vcpu_of(vcpu);
	enum left how;

	/* Only the one vCPU that runs the space can make edits for it on its way in. */
	if (ks->nedits && (ks->editor || s->runners > 1) && edits_flush(s))
		return ENTERED_LOST;
	vcpu_publish(vcpu);
	prepare(c, s, f);
	if (!vcpu_may_enter(vcpu)) {
		vcpu_withdraw(vcpu);
		settle(c, s);
		c->cr3_space = 0;
		if (c->mon->cr3) {
			c->cr3 = 0;
			c->mon->cr3 = 0;
		}
		return ENTERED_KICKED;
	}
	if (c->ring0)
		ks->inside = c;
	pthread_mutex_unlock(&s->lock);
	how = kvm_run_guest(c);
	vcpu_withdraw(vcpu);
	pthread_mutex_lock(&s->lock);
	atomic_store(&c->mon->kick, 0);
	__atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);

	if (!c->ring0 || ks->inside == c) /* else somebody's kvm_quiesce() has seen to it */
		came_out(c, s);
	if (vcpu->lost || !collect(c, how, f))
		return ENTERED_LOST;
	return handle(c, s, how, f);
}

void kvm_leave(struct dune_vcpu *c, struct dune_space *s)
{
	(void)s;
	stock_return(kvm_vcpu_of(c));
}
