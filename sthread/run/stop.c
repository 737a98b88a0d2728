/* SPDX-License-Identifier: MIT */
/*
 * stop.c - other threads at a run: to end it, with the gate that it waits for, or to have it give
 * something up.  World: host.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sthread/process.h"
#include "sthread/run/lane.h"

void lane_hear(struct lane *l)
{
	sigset_t ours;

	l->ctx.hear = NULL;
	if (l->stop.heard)
		return;
	sigemptyset(&ours);
	sigaddset(&ours, process.signal);
	pthread_sigmask(SIG_UNBLOCK, &ours, &l->stop.mask);
	l->stop.heard = true;
	atomic_store(&l->stop.deaf, false);
}

static void hears(struct sys_ctx *ctx)
{
	lane_hear(lane_of(ctx));
}

void lane_hear_later(struct lane *l)
{
	atomic_store(&l->stop.deaf, true);
	l->ctx.hear = hears;
}

void lane_unhear(struct lane *l)
{
	if (l->stop.heard && sigismember(&l->stop.mask, process.signal))
		pthread_sigmask(SIG_SETMASK, &l->stop.mask, NULL);
	l->stop.heard = false;
	atomic_store(&l->stop.deaf, false);
	l->ctx.hear = NULL;
}

/* It may be in a forwarded call, or just before one. */
static void signal_thread(struct lane *l)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1 };

	l = l->stop.signal_lane ? l->stop.signal_lane : l;
	/* Before it waits it hears, and looks: `requested` is there already. */
	if (atomic_load(&l->stop.deaf))
		return;
	if (!syscall(SYS_tgkill, getpid(), l->stop.thread, process.signal))
		return;
	/*
	 * The queue of pending signals is full, perhaps of another process's; the timer's place in
	 * it is its own.
	 */
	timer_settime(l->stop.timer, 0, &soon, NULL);
}

static void stop(struct lane *l, enum stop_reason reason);

/* Its caller's lock is held. */
static void stop_callee(struct lane *callee)
{
	pthread_mutex_lock(&callee->stop.lock);
	stop(callee, STOP_KILLED);
	pthread_mutex_unlock(&callee->stop.lock);
}

/* Its lock is held, as is that of its caller, and so on. */
static void stop(struct lane *l, enum stop_reason reason)
{
	if (!atomic_load(&l->stop.requested))
		atomic_store(&l->stop.reason, (int)reason);
	atomic_store(&l->stop.requested, true);
	if (l->stop.running) {
		l->stop.signalled = true;
		dune_vcpu_kick(l->vcpu);
		signal_thread(l);
	}
	if (l->stop.waiting_for)
		stop_callee(l->stop.waiting_for);
}

bool lane_link_callee(struct lane *caller, struct lane *callee)
{
	uint64_t used = watch_ring3_cpu(callee);
	bool going;

	pthread_mutex_lock(&caller->stop.lock);
	going = !atomic_load(&caller->stop.requested);
	callee->deadline.entered = used;
	if (going)
		caller->stop.waiting_for = callee;
	pthread_mutex_unlock(&caller->stop.lock);
	return going;
}

void lane_unlink_callee(struct lane *caller)
{
	struct lane *callee = caller->stop.waiting_for;
	uint64_t used = watch_ring3_cpu(callee);

	pthread_mutex_lock(&caller->stop.lock);
	caller->deadline.beneath += used - callee->deadline.entered;
	caller->stop.waiting_for = NULL;
	pthread_mutex_unlock(&caller->stop.lock);
	/* It is not running: what was meant for it came too late. */
	atomic_store(&callee->stop.requested, false);
	atomic_store(&callee->stop.reason, STOP_NONE);
}

bool lane_stop(struct lane *l, enum stop_reason reason)
{
	bool running;

	pthread_mutex_lock(&l->stop.lock);
	running = l->stop.running;
	if (running)
		stop(l, reason);
	pthread_mutex_unlock(&l->stop.lock);
	return running;
}

void lane_nap(struct timespec *nap)
{
	nanosleep(nap, NULL);
	if (nap->tv_nsec < 1000000)
		nap->tv_nsec *= 2;
}

bool lane_revoke(struct lane *l)
{
	bool waiting;

	pthread_mutex_lock(&l->stop.lock);
	waiting = l->stop.running && atomic_load(&l->ctx.revoke);
	if (waiting) {
		l->stop.signalled = true;
		dune_vcpu_kick(l->vcpu);
		signal_thread(l);
		if (l->stop.waiting_for && l->stop.waiting_for->stop.made_inside)
			stop_callee(l->stop.waiting_for);
	}
	pthread_mutex_unlock(&l->stop.lock);
	return waiting;
}
