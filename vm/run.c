/* SPDX-License-Identifier: MIT */
/*
 * run.c - running a space on a vCPU: what one entry needs, and what its end asks for.  World: host.
 *
 * The host always says where the vCPU goes on, by rip and rsp in kvm_run: `resume` (one iretq),
 * `resume_frame` (also edits, CR3, all registers from memory) or `apply`.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/layout.h"
#include "vm/vm.h"

#define FRAME_AT (MON_AREA_STACK_TOP - offsetof(struct dune_frame, cr2))
#define IRET_AT	 (MON_AREA_STACK_TOP - 5 * 8)

static __thread pid_t tid; /* 0: not asked for yet */

static pid_t this_thread(void)
{
	if (!tid)
		tid = (pid_t)syscall(SYS_gettid);
	return tid;
}

void run_forked(void)
{
	tid = 0;
}

static char *stack_at(struct dune_vcpu *c, uint64_t offset)
{
	return c->stack + (offset - MON_AREA_STACK);
}

/*
 * The host address of `len` bytes at a ring-0 stack pointer, or NULL if it is not on a stack of
 * this vCPU.
 */
static const void *ring0_stack(struct dune_vcpu *c, uint64_t rsp, size_t len)
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

int vcpu_apply(struct dune_vcpu *c)
{
	const struct dune_frame none = { 0 };

	c->mon->exit = MON_EXIT_NONE;
	arch_regs_set(c->run, &none, c->vm->mon.header->apply, c->area + FRAME_AT);
	if (vcpu_enter(c) != LEFT_MONITOR || c->mon->exit != MON_EXIT_APPLIED) {
		c->lost = true;
		return -EIO;
	}
	return 0;
}

/* ---- one entry ---- */

/* Say where the vCPU goes on, so that ring 3 runs at `f` in `s`. */
static void prepare(struct dune_vcpu *c, struct dune_space *s, const struct dune_frame *f)
{
	struct mon_vcpu *v = c->mon;
	uint64_t root = s->pt.root.v, generation;
	bool in_memory = c->ring0;

	v->nedits = 0; /* whatever ring 0 left there */
	if (s->nedits) {
		edits_hand_over(s, c);
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
		arch_regs_set(c->run, f, c->vm->mon.header->resume_frame, c->area + FRAME_AT);
	} else {
		memcpy(stack_at(c, IRET_AT), &f->rip, 5 * 8);
		arch_regs_set(c->run, f, c->vm->mon.header->resume, c->area + IRET_AT);
	}
}

/* Registers and trap from where the vCPU left them.  False: they make no sense. */
static bool collect(struct dune_vcpu *c, enum left how, struct dune_frame *f)
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
static void settle(struct dune_vcpu *c, struct dune_space *s)
{
	/* If not, the load of CR3 was not made either. */
	if (!edits_taken_back(s, c))
		c->cr3_space = 0;
}

/* It is out of the guest: what ring 0 did there counts from here on. */
static void came_out(struct dune_vcpu *c, struct dune_space *s)
{
	if (c->mon->cr3) { /* not loaded yet */
		c->cr3 = 0;
		c->mon->cr3 = 0;
	}
	settle(c, s);
	stock_drain(c, s); /* which looks for what ring 0 noted: after the edits that it made before */
	s->inside = NULL;
}

void run_hold(struct dune_space *s)
{
	if (!s->inside)
		return;
	vcpu_await_out(s->inside); /* and it waits for the lock */
	came_out(s->inside, s);
}

static enum dune_exit exit_of(const struct dune_frame *f)
{
	return f->vector == VECTOR_SYSCALL ? DUNE_EXIT_SYSCALL : DUNE_EXIT_FAULT;
}

/* Decide a trap on the host.  -1: resolved, go on. */
static int decide(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	struct mon_env env;

	mon_frame_syscall(f, c->mon->syscall_fault);
	space_env(s, &env);
	switch (mon_trap(&env, f)) {
	case MON_RESUME:
		return -1;
	case MON_NOMEM:
		return DUNE_EXIT_NOMEM;
	case MON_TO_HOST:
		break;
	}
	return exit_of(f);
}

/* What the exit asks for.  -1: go on. */
static int handle(struct dune_vcpu *c, struct dune_space *s, enum left how, struct dune_frame *f)
{
	switch (how) {
	case LEFT_TRAP:
		if (f->vector == VECTOR_DF || f->vector == VECTOR_NMI || f->vector == VECTOR_MC)
			return DUNE_EXIT_LOST;
		return decide(c, s, f);
	case LEFT_MONITOR:
		switch ((enum mon_exit)c->mon->exit) {
		case MON_EXIT_TRAP:
			return exit_of(f);
		case MON_EXIT_NOMEM:
			/* What was unmapped counted until its edits were made: they are now. */
			return decide(c, s, f);
		case MON_EXIT_REFILL:
			return stock_refill(c, s) ? DUNE_EXIT_NOMEM : -1;
		case MON_EXIT_KICKED:
			return -1;
		default:
			return DUNE_EXIT_LOST;
		}
	case LEFT_BUS:
		f->vector = VECTOR_MC;
		f->error = 0;
		return DUNE_EXIT_FAULT;
	case LEFT_EXCEPTION:
		f->vector = c->run->ex.exception;
		f->error = c->run->ex.error_code;
		return DUNE_EXIT_FAULT;
	case LEFT_RING3:
	case LEFT_RESTORE:
		return -1;
	case LEFT_LOST:
		break;
	}
	return DUNE_EXIT_LOST;
}

static int run_once(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	enum left how;
	int verdict;

	if (!mon_frame_sanitize(f)) {
		f->vector = 13; /* what an iretq to such an address would be */
		f->error = 0;
		return DUNE_EXIT_FAULT;
	}
	/* Only the one vCPU that runs the space can make edits for it on its way in. */
	if (s->nedits && (s->editor || s->runners > 1) && edits_flush(s))
		return DUNE_EXIT_LOST;

	/* s->lock is held but for the time inside. */
	atomic_store(&c->thread, this_thread());
	prepare(c, s, f);
	/* Whoever kicks from here on finds the thread; who did before has set the flag. */
	if (atomic_load(&c->kicked) || atomic_load(&c->vm->broken)) {
		atomic_store(&c->thread, 0);
		settle(c, s);
		c->cr3_space = 0;
		if (c->mon->cr3) {
			c->cr3 = 0;
			c->mon->cr3 = 0;
		}
		return atomic_exchange(&c->kicked, false) ? DUNE_EXIT_KICKED : DUNE_EXIT_LOST;
	}
	if (c->ring0)
		s->inside = c;
	pthread_mutex_unlock(&s->lock);
	how = vcpu_enter(c);
	atomic_store(&c->thread, 0);
	pthread_mutex_lock(&s->lock);
	atomic_store(&c->mon->kick, 0);
	__atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);

	if (!c->ring0 || s->inside == c) /* else somebody's run_hold() has seen to it */
		came_out(c, s);
	if (c->lost || !collect(c, how, f)) {
		c->lost = true;
		return DUNE_EXIT_LOST;
	}
	verdict = handle(c, s, how, f);
	if (verdict == DUNE_EXIT_LOST)
		c->lost = true;
	return verdict;
}

enum dune_exit dune_vcpu_run(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	struct dune_vm *vm = c->vm;
	int verdict;

	if (c->lost)
		return DUNE_EXIT_LOST;
	if (s->frozen || s->vm != vm)
		return DUNE_EXIT_BUSY;
	pthread_mutex_lock(&vm->lock);
	/* Ring 0 changes tables without a lock. */
	if (c->ring0 && s->runners) {
		pthread_mutex_unlock(&vm->lock);
		return DUNE_EXIT_BUSY;
	}
	c->space = s;
	s->runners++;
	space_mark_live(s);
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_lock(&s->lock);
	do {
		verdict = run_once(c, s, f);
	} while (verdict < 0);
	stock_return(c);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_lock(&vm->lock);
	c->space = NULL;
	s->runners--;
	if (c->lost)
		vm->lost++;
	pthread_mutex_unlock(&vm->lock);
	return (enum dune_exit)verdict;
}
