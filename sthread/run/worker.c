/* SPDX-License-Identifier: MIT */
/*
 * worker.c - concurrent compartments, on threads of the library; and sthread_call(), on the
 * caller's.  World: host.
 */
#include "sthread/run/worker.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/cancel.h"
#include "sthread/futex.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/process.h"
#include "sthread/run/handle.h"
#include "sthread/run/helper.h"
#include "sthread/run/lane.h"
#include "sthread/seccomp/filter.h"
#include "sthread/tag/tag.h"

#define WORKER_STACK (256UL << 10)

/* ---- workers ---- */

static void run_job(struct worker *w, struct sthread *st)
{
	struct lane *l = w->lane;
	uint64_t begun = st->creator ? watch_thread_cpu() + watch_ring3_cpu(l) : 0;
	int err;

	atomic_store(&st->begun, 1);
	err = lane_run(l, st->policy, st->fn, st->arg, st, &st->result);
	if (st->creator)
		st->spent[STHREAD_LIMIT_CPU_NS] += watch_thread_cpu() + watch_ring3_cpu(l) - begun;
	if (err) {
		st->result.end = STHREAD_NOT_STARTED;
		st->result.value = (void *)(intptr_t)err;
	}
	/* Before cleaning, so that the waiter need not wait for that. */
	atomic_store(&st->done, 1);
	futex_wake(&st->done);
	handle_put(st);
	if (!lane_clean(l)) {
		w->lane = NULL;
		lane_discard(l);
	}
}

/* Goes idle, into the pool; false: that is full. */
static bool rest(struct worker *w)
{
	bool stays;

	pthread_mutex_lock(&process.lock);
	stays = w->lane && !process.ending && process.nidle_workers < process.pool;
	w->job = NULL;
	w->cpu = sched_getcpu();
	atomic_store(&w->wake, 0);
	if (stays) {
		w->idle_next = process.idle_workers;
		process.idle_workers = w;
		process.nidle_workers++;
	}
	atomic_fetch_sub(&process.live, 1);
	pthread_cond_broadcast(&process.quiet);
	pthread_mutex_unlock(&process.lock);
	return stays;
}

/*
 * Each worker that ends joins the one that ended before it, and sthread_fini() the last: none is on
 * its way out any more when the program is told that it has one thread again.
 */
static void leave(void)
{
	pthread_t before;
	bool join;

	pthread_mutex_lock(&process.lock);
	before = process.dead_worker;
	join = process.dead;
	process.dead_worker = pthread_self();
	process.dead = true;
	pthread_mutex_unlock(&process.lock);
	if (join)
		pthread_join(before, NULL);
	pthread_mutex_lock(&process.lock);
	process.nworkers--;
	pthread_cond_broadcast(&process.quiet);
	pthread_mutex_unlock(&process.lock);
}

void workers_reap(void)
{
	if (process.dead)
		pthread_join(process.dead_worker, NULL);
	process.dead = false;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	sigset_t mask;

	/* Signals are the program's, but for the one that ends a run. */
	sigfillset(&mask);
	sigdelset(&mask, process.signal);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (process.filter && filter_install())
		atomic_fetch_add(&process.unfiltered, 1);
	atomic_store(&w->up, lane_arm(w->lane) ? 2 : 1);
	futex_wake(&w->up);
	for (;;) {
		futex_await(&w->wake);
		if (!w->job)
			break;
		run_job(w, w->job);
		if (!rest(w))
			break;
	}
	if (w->lane)
		lane_put(w->lane);
	free(w);
	leave();
	return NULL;
}

static void give(struct worker *w, struct sthread *job)
{
	w->job = job;
	atomic_store(&w->wake, 1);
	futex_wake(&w->wake);
}

/*
 * glibc takes a thread's static thread-local storage out of its stack, and says how much only under
 * this name.
 */
static size_t stack_size(void)
{
	size_t (*least)(const pthread_attr_t *) =
		(size_t(*)(const pthread_attr_t *))dlsym(RTLD_DEFAULT, "__pthread_get_minstack");
	pthread_attr_t attr;
	size_t size = WORKER_STACK;

	pthread_attr_init(&attr);
	if (least)
		size += least(&attr);
	pthread_attr_destroy(&attr);
	return size;
}

static int worker_new(struct worker **out)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	if (!w)
		return -ENOMEM;
	w->cpu = -1;
	err = lane_get(&w->lane);
	if (err)
		goto no_lane;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack_size());
	pthread_mutex_lock(&process.lock);
	process.nworkers++;
	pthread_mutex_unlock(&process.lock);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&w->thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err) {
		pthread_mutex_lock(&process.lock);
		process.nworkers--;
		pthread_mutex_unlock(&process.lock);
		lane_put(w->lane);
		err = err == -EINVAL ? -EAGAIN : err;
		goto no_lane;
	}
	while (!atomic_load(&w->up))
		futex_wait(&w->up, 0);
	if (atomic_load(&w->up) == 2) {
		give(w, NULL);
		return -EAGAIN;
	}
	*out = w;
	return 0;
no_lane:
	free(w);
	return err;
}

void workers_end_idle(void)
{
	struct worker *w;

	while ((w = process.idle_workers)) {
		process.idle_workers = w->idle_next;
		process.nidle_workers--;
		give(w, NULL);
	}
}

struct lane *worker_lay_off(void)
{
	struct lane *l = NULL;
	struct worker *w;

	pthread_mutex_lock(&process.lock);
	w = process.idle_workers;
	if (w) {
		process.idle_workers = w->idle_next;
		process.nidle_workers--;
		l = w->lane;
		w->lane = NULL;
		give(w, NULL);
	}
	pthread_mutex_unlock(&process.lock);
	return l;
}

/* ---- the public calls ---- */

struct wanted {
	struct worker *worker;
	int err;
};

static void make(void *arg)
{
	struct wanted *w = arg;

	w->err = worker_new(&w->worker);
}

/* A new one is not for a worker to make: see run/helper.c. */
static int worker_get(const struct lane *creator, struct worker **out)
{
	struct wanted w = { .err = 0 };

	pthread_mutex_lock(&process.lock);
	w.worker = process.idle_workers;
	if (w.worker) {
		process.idle_workers = w.worker->idle_next;
		process.nidle_workers--;
	}
	pthread_mutex_unlock(&process.lock);
	if (!w.worker && helper_run(creator, make, &w))
		return -EAGAIN;
	if (!w.err)
		*out = w.worker;
	return w.err;
}

/* The threads that what runs there may need, and cannot make. */
static void start_helpers(void *arg)
{
	struct wanted *w = arg;

	w->err = watch_start() ? -EAGAIN : 0;
}

int helpers_start(const struct policy *value, const struct lane *creator)
{
	struct wanted w = { .err = 0 };

	if (!(creator && creator->ctx.on_worker) && helper_pool_start())
		return -EAGAIN;
	if (!value || (value->limit[STHREAD_LIMIT_WALL_NS] == POLICY_NO_LIMIT &&
		       value->limit[STHREAD_LIMIT_CPU_NS] == POLICY_NO_LIMIT))
		return 0;
	return helper_run(creator, start_helpers, &w) ? -EAGAIN : w.err;
}

int worker_start(struct sthread **out, const struct policy *value, void *(*fn)(void *), void *arg,
		 struct lane *creator)
{
	struct sthread *st = NULL;
	struct worker *w;
	int err = process_enter(fn);

	if (err)
		goto no_entry;
	err = helpers_start(value, creator);
	if (!err && !(st = calloc(1, sizeof(*st))))
		err = -ENOMEM;
	if (!err)
		err = policy_pin(policy_get(value));
	if (err)
		goto no_pin;
	err = worker_get(creator, &w);
	if (err)
		goto no_worker;
	pthread_mutex_init(&st->lock, NULL);
	st->policy = value;
	st->fn = fn;
	st->arg = arg;
	st->owned = true;
	st->cpu = w->cpu;
	st->forks = process.forks;
	if (creator) {
		st->root = creator->nest.root;
		st->creator = creator;
		st->depth = creator->nest.depth + 1;
		st->enclosing_call = creator->gates.serving ? creator->gates.serving : creator->gates.enclosing_call;
	}
	atomic_store(&st->refs, 2);
	atomic_fetch_add(&process.created, 1);
	*out = st;
	give(w, st); /* which leaves in our place */
	return 0;
no_worker:
	policy_unpin(value);
no_pin:
	free(st);
	process_leave();
no_entry:
	policy_put(value);
	return err;
}

int sthread_create(struct sthread **out, const struct sthread_policy *policy, void *(*fn)(void *),
		   void *arg)
{
	int err, cancel;

	if (is_inside())
		return inside_create(out, policy, fn, arg);
	if (!out)
		return -EINVAL;
	cancel = cancel_disable();
	err = worker_start(out, policy_copy(policy), fn, arg, NULL);
	cancel_restore(cancel);
	return err;
}

int sthread_call(const struct sthread_policy *policy, void *(*fn)(void *), void *arg,
		 struct sthread_result *result)
{
	const struct policy *value;
	struct lane *l;
	int err, cancel;

	if (is_inside())
		return inside_call(policy, fn, arg, result);
	err = process_enter(fn);
	if (err)
		return err;
	cancel = cancel_disable();
	value = policy_copy(policy);
	err = policy_pin(value);
	if (err)
		goto no_pin;
	err = lane_of_thread(&l);
	if (err) {
		policy_unpin(value);
		goto no_pin;
	}
	if (process.kick_signals)
		lane_hear(l);
	else
		lane_hear_later(l);
	atomic_fetch_add(&process.calls, 1);
	err = lane_run(l, value, fn, arg, NULL, result);
	lane_unhear(l);
	if (!lane_clean(l))
		lane_drop_of_thread();
	lane_rests();
no_pin:
	process_leave();
	cancel_restore(cancel);
	return err;
}
