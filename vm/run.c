/* SPDX-License-Identifier: MIT */
/* run.c - running a space on a vCPU until something happens that the monitor cannot resolve.  World: host. */
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/layout.h"
#include "vm/machine.h"

static __thread pid_t tid; /* 0: not asked for yet */

static pid_t this_thread(void)
{
	if (!tid)
		tid = (pid_t)syscall(SYS_gettid);
	return tid;
}

void vcpus_forked(void)
{
	tid = 0;
}

void vcpu_publish(struct dune_vcpu *c)
{
	atomic_store(&c->thread, this_thread());
}

bool vcpu_may_enter(struct dune_vcpu *c)
{
	return !atomic_load(&c->kicked) && !atomic_load(&c->vm->broken);
}

void vcpu_withdraw(struct dune_vcpu *c)
{
	atomic_store(&c->thread, 0);
}

static enum dune_exit exit_of(const struct dune_frame *f)
{
	return f->vector == VECTOR_SYSCALL ? DUNE_EXIT_SYSCALL : DUNE_EXIT_FAULT;
}

/*
 * A page was replaced: other vCPUs in the space forget the old one before this one goes on, or they would not see what it
 * writes.  If the machine cannot do it the VM is broken, and nothing is entered any more.
 */
static void tell_others(struct dune_space *s)
{
	if (s->runners > 1 && !s->vm->ops->is_synced(s))
		(void)!s->vm->ops->sync(s);
}

/* Decide a trap on the host.  -1: resolved, go on. */
static int decide(struct dune_space *s, struct dune_frame *f)
{
	struct mon_env env;

	space_env(s, &env);
	switch (mon_trap(&env, f)) {
	case MON_RESUME:
		tell_others(s);
		return -1;
	case MON_NOMEM:
		return DUNE_EXIT_NOMEM;
	case MON_TO_HOST:
		break;
	}
	return exit_of(f);
}

/* -1: go on. */
static int run_once(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	if (!mon_frame_sanitize(f)) {
		f->vector = VECTOR_GP; /* what an iretq to such an address would be */
		f->error = 0;
		return DUNE_EXIT_FAULT;
	}
	switch (c->vm->ops->enter(c, s, f)) {
	case ENTERED_TRAP:
		return decide(s, f);
	case ENTERED_DECIDED:
		return exit_of(f);
	case ENTERED_AGAIN:
		return -1;
	case ENTERED_KICKED:
		return atomic_exchange(&c->kicked, false) ? DUNE_EXIT_KICKED : DUNE_EXIT_LOST;
	case ENTERED_NOMEM:
		return DUNE_EXIT_NOMEM;
	case ENTERED_LOST:
		break;
	}
	c->lost = true;
	return DUNE_EXIT_LOST;
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
	if (vm->one_runner && s->runners) {
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
	vm->ops->leave(c, s);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_lock(&vm->lock);
	c->space = NULL;
	s->runners--;
	if (c->lost)
		vm->lost++;
	pthread_mutex_unlock(&vm->lock);
	return (enum dune_exit)verdict;
}
