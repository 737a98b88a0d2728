/* SPDX-License-Identifier: MIT */
/*
 * enter.c - entering the guest, and how it was left.  World: host.
 *
 * What a vCPU was doing in ring 0 is never left half done: a run that a signal ended inside the
 * monitor is entered again, unchanged, until the monitor leaves.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "vm/kvm/kvm.h"

static bool in_monitor(uint64_t rip)
{
	return rip >= MON_BASE;
}

/* What the calling thread's signals were before they were held up. */
struct mask {
	bool held;
	sigset_t old;
};

static void hold_signals(struct mask *m)
{
	sigset_t all;

	sigfillset(&all);
	m->held = m->held || !pthread_sigmask(SIG_SETMASK, &all, &m->old);
}

/* KVM_RUN until the guest is where the host may take over. */
static enum left enter_masked(struct kvm_vcpu *c, struct mask *mask)
{
	const struct mon_header *h = kvm_of(c->c.vm)->mon.header;
	struct dune_frame now;
	int again = 0;

	for (;;) {
		int r;

		atomic_fetch_add_explicit(&c->c.switches, 1, memory_order_relaxed);
		r = ioctl(c->fd, KVM_RUN, 0);
		if (r == 0)
			break;
		if (errno == EFAULT) {
			arch_regs_get(c->run, &now);
			return in_monitor(now.rip) || arch_event_pending(c->run) ? LEFT_LOST :
										   LEFT_BUS;
		}
		if (errno != EINTR || again++ > 10000)
			return LEFT_LOST;
		__atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		arch_regs_get(c->run, &now);
		if (!arch_event_pending(c->run)) {
			if (!in_monitor(now.rip))
				return LEFT_RING3;
			if (now.rip >= h->restore && now.rip <= h->resume &&
			    arch_in_ring0(c->run))
				return LEFT_RESTORE;
		}
		/*
		 * mon->kick makes the monitor leave before ring 3; an entry leaves anyway.  A timer of the
		 * program's may be faster than an entry takes, and would never let it.
		 */
		atomic_store(&c->mon->kick, 1);
		hold_signals(mask);
	}
	arch_regs_get(c->run, &now);
	if (c->run->exit_reason == KVM_EXIT_EXCEPTION && !in_monitor(now.rip) &&
	    !arch_event_pending(c->run))
		return LEFT_EXCEPTION;
	if (c->run->exit_reason != KVM_EXIT_IO || c->run->io.port != MON_PORT ||
	    !in_monitor(now.rip))
		return LEFT_LOST;
	return c->mon->exit == MON_EXIT_NONE ? LEFT_TRAP : LEFT_MONITOR;
}

enum left kvm_run_guest(struct kvm_vcpu *c)
{
	struct mask mask = { .held = false };
	enum left how = enter_masked(c, &mask);

	if (mask.held)
		pthread_sigmask(SIG_SETMASK, &mask.old, NULL);
	return how;
}
