/* SPDX-License-Identifier: MIT */
/*
 * enter.c - ring 3 run in a stub: what it is told, waiting for it, a whole entry.  World: host.
 *
 * A stub that is held at REPORT is told by its request page: edits, then all registers.  One that is held at a system
 * call of the compartment's goes on with an answer alone, if nothing has changed that it could see; else it is
 * brought to REPORT by a signal first.  What its notifications mean: notify.c.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "vm/process/process.h"

/* ---- what a stub is told ---- */

static bool goes_on(const struct proc_vcpu *c, const struct dune_frame *f)
{
	struct dune_frame a = *f, b = c->given;

	a.rax = b.rax = a.vector = b.vector = a.error = b.error = a.cr2 = b.cr2 = 0;
	return !memcmp(&a, &b, sizeof(a));
}

/* What the kernel was told, where it forgets other bases; 0: nothing, or nothing that matters. */
static uint64_t to_be_checked(const struct proc_vcpu *c, uint64_t told)
{
	return proc_of(c->c.vm)->keeps_bases || told == BASE_UNKNOWN ? 0 : told;
}

/* To resume *f behind all edits that are due; or, `then`, to report again.  -EAGAIN: not in this stub. */
static int order(struct proc_vcpu *c, const struct dune_frame *f, bool then)
{
	struct request *r = c->request;
	const bool beginning = !then && f->rip == (uint64_t)dune_reset_entry;
	int err;

	if (beginning) {
		c->fs = f->rcx; /* which its first instructions load */
		c->gs = 0;
	}
	c->fs = canonical(c->fs);
	c->gs = canonical(c->gs);
	err = realise_edits(c);
	if (err)
		return err;
	(void)!stub_hint(c); /* without, a touch is a report */
	c->ordered = *f;
	memcpy(r->edit, c->edit, c->nedits * sizeof(c->edit[0]));
	r->count = c->nedits;
	r->then = then || c->stale.n;
	r->hint_at = c->hint;
	r->hint_len = c->hint_len * DUNE_PAGE_SIZE;
	memcpy(r->regs, f, sizeof(r->regs));
	if (beginning) {
		/* A new beginning; and where it ends, no signal is needed to begin the next. */
		vectors_initial(c);
		stub_clear_signals(c);
		r->regs[offsetof(struct dune_frame, r8) / 8] = stub_base(c->c.vm) + stub_header()->end;
	}
	r->fs = c->fs;
	r->gs = c->gs;
	r->told_fs = to_be_checked(c, c->telling.fs);
	r->told_gs = to_be_checked(c, c->telling.gs);
	r->flags = f->rflags;
	r->rsp = f->rsp;
	r->rip = f->rip;
	c->kept = false;
	c->unheard = true;
	c->state = STUB_INSIDE;
	/* If it was interrupted it reports again.  If it is dead, nothing of this has happened: another can take its place. */
	return stub_answer(c, 0) || (!c->killable && !stub_is_dead(c)) ? 0 : -EAGAIN;
}
/* ---- waiting ---- */

void stub_seize(struct proc_vcpu *c, struct dune_space *s)
{
	while (atomic_exchange(&c->busy, true)) {
		pthread_mutex_unlock(&s->lock);
		sched_yield();
		pthread_mutex_lock(&s->lock);
	}
}

/* The next notification; s->lock is released meanwhile.  timeout_ms -1: none.  ENTERED_LOST: there will be none. */
static int await(struct proc_vcpu *c, struct dune_space *s, int timeout_ms)
{
	int64_t until = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	bool interrupted, alive;

	for (;;) {
		int64_t left = until < 0 ? -1 : until - now_ms();

		pthread_mutex_unlock(&s->lock);
		alive = stub_receive(c, until < 0 ? -1 : left < 0 ? 0 : (int)left, &interrupted);
		pthread_mutex_lock(&s->lock);
		if (!alive)
			return ENTERED_LOST;
		if (!interrupted)
			return 0;
		/* Who kicked may have come just before the stub was let go. */
		if (until < 0 && !vcpu_may_enter(&c->c)) {
			stub_kick(c);
			until = now_ms() + KICK_MS;
		}
	}
}

int enter_recall(struct proc_vcpu *c, struct dune_space *s, int64_t value, struct dune_frame *f)
{
	int r;

	/* First the signal: behind the answer its handler runs before any instruction of the compartment's. */
	if (!stub_signal(c, STUB_KICK))
		return -EIO;
	c->kept = true;
	c->kept_call = c->held;
	c->kept_value = value;
	for (;;) {
		stub_answer(c, value);
		if (await(c, s, KICK_MS))
			return -EIO;
		if (c->held.instruction_pointer == stub_base(c->c.vm) + stub_header()->report_ip && c->held.nr == REPORT_NR)
			break;
		/* It asks again before the signal is there. */
	}
	r = notify_report(c, s, f);
	return r == ENTERED_LOST ? -EIO : 0;
}

static int registers(struct dune_vcpu *vcpu, struct dune_space *s, struct dune_frame *f)
{
	struct proc_vcpu *c = proc_vcpu_of(vcpu);
	struct dune_frame all;

	if (c->rests && goes_on(c, f)) {
		all = c->resting;
		all.rax = f->rax;
		all.vector = f->vector;
		all.error = f->error;
		*f = all;
		return 0;
	}
	if (c->state != STUB_AT_CALL || !goes_on(c, f))
		return 0;
	if (enter_recall(c, s, (int64_t)f->rax, &all)) {
		stub_kill(c);
		vcpu->lost = true;
		return -EIO;
	}
	all.vector = f->vector;
	all.error = f->error;
	*f = all;
	return 0;
}

int proc_registers(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	int err;

	stub_seize(proc_vcpu_of(c), s);
	err = registers(c, s, f);
	stub_release(proc_vcpu_of(c));
	return err;
}

int enter_settle(struct proc_vcpu *c, struct dune_space *s)
{
	struct dune_frame f = c->ordered;
	int r;

	/* Where it is held at a call, that goes on some time: with the registers that it has. */
	if (c->state == STUB_AT_CALL) {
		struct dune_frame given = c->given;

		/* How it goes on is told later: with the answer, or with another beginning. */
		if (enter_recall(c, s, (int64_t)given.rax, &f))
			return -EIO;
		c->resting = f;
		c->rests = true;
	}
	while (c->stale.n || c->ordered_ranges.n) {
		if (c->state != STUB_AT_REPORT || order(c, &f, true))
			return -EIO;
		do {
			if (await(c, s, KICK_MS))
				return -EIO;
			r = notify(c, s, &f);
		} while (r == GO_ON);
		if (r != ENTERED_AGAIN)
			return -EIO;
	}
	return 0;
}

/* ---- an entry ---- */

/* Another in its place.  Who destroys a vCPU takes a space's lock within vm->making: so s->lock is released here. */
static int replace(struct proc_vcpu *c, struct dune_space *s)
{
	int err;

	pthread_mutex_unlock(&s->lock);
	pthread_mutex_lock(&s->vm->making);
	stub_kill(c);
	stub_unbind(c);
	err = stub_spawn(c);
	pthread_mutex_unlock(&s->vm->making);
	pthread_mutex_lock(&s->lock);
	return err;
}

/* The stub realises this space, or one that does takes its place. */
static int bind(struct proc_vcpu *c, struct dune_space *s)
{
	int err = 0;

	if (c->space == proc_space_of(s))
		return c->state == STUB_NONE ? -EIO : 0;
	/* Also one that was cloned before the template that it could have inherited. */
	if (c->space || c->state == STUB_NONE ||
	    (s->source && proc_of(s->vm)->template == s->source && c->inherits != s->source->serial))
		err = replace(c, s);
	if (!err) {
		vectors_initial(c);
		realise_bind(c, s);
	}
	return err;
}

/* Another in its place, with the same to do, and what registers a frame does not have. */
static int renew(struct proc_vcpu *c, struct dune_space *s)
{
	const uint64_t fs = c->fs, gs = c->gs;
	const bool initial = c->initial_vectors;
	int err = replace(c, s);

	if (err)
		return err;
	c->fs = fs;
	c->gs = gs;
	c->initial_vectors = initial; /* those in the request page are as they were */
	realise_bind(c, s);
	return 0;
}

static int begin(struct proc_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	int err;

	if (c->state == STUB_AT_CALL) {
		struct dune_frame all;
		bool on = goes_on(c, f);

		if (on && !c->stale.n) {
			c->kept = true;
			c->kept_call = c->held;
			c->kept_value = (int64_t)f->rax;
			c->state = STUB_INSIDE;
			c->kept_refused = !stub_answer(c, c->kept_value);
			return GO_ON;
		}
		if (enter_recall(c, s, (int64_t)f->rax, &all))
			return ENTERED_LOST;
		if (on)
			*f = all;
		c->rests = false;
		/* Another's kick may have become one with the signal. */
		if (!vcpu_may_enter(&c->c))
			return ENTERED_KICKED;
	} else if (c->rests && goes_on(c, f)) {
		uint64_t rax = f->rax;

		*f = c->resting;
		f->rax = rax;
	}
	c->rests = false;
	if (c->state != STUB_AT_REPORT)
		return ENTERED_LOST;
	err = order(c, f, false);
	if (err == -EAGAIN && !(err = renew(c, s))) {
		/* A kick that went to the one before. */
		if (!vcpu_may_enter(&c->c))
			return ENTERED_KICKED;
		err = order(c, f, false);
	}
	return !err ? GO_ON : err == -ENOMEM ? ENTERED_NOMEM : ENTERED_LOST;
}

static enum entered enter(struct dune_vcpu *vcpu, struct dune_space *s, struct dune_frame *f)
{
	struct proc_vcpu *c = proc_vcpu_of(vcpu);
	int r;

	if (bind(c, s))
		return ENTERED_LOST;
	vcpu_publish(vcpu);
	if (!vcpu_may_enter(vcpu)) {
		c->traps = 0;
		vcpu_withdraw(vcpu);
		return ENTERED_KICKED;
	}
	r = begin(c, s, f);
	while (r == GO_ON) {
		r = await(c, s, -1) ? ENTERED_LOST : notify(c, s, f);
	}
	vcpu_withdraw(vcpu);
	if (r == ENTERED_LOST)
		stub_kill(c);
	return (enum entered)r;
}

enum entered proc_enter(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	enum entered r;

	stub_seize(proc_vcpu_of(c), s);
	r = enter(c, s, f);
	stub_release(proc_vcpu_of(c));
	return r;
}
