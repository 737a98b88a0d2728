/* SPDX-License-Identifier: MIT */
/* deadline.c - the thread that ends runs that are over a limit of time.  World: host. */
#include <signal.h>
#include <time.h>

#include "sthread/policy/policy.h"
#include "sthread/run/lane.h"

#define AGAIN_NS 1000000UL /* an overdue run that has not noticed is signalled again after this */
#define LOOK_NS	 1000000UL /* near its limit of CPU time a run is not looked at more often */
#define REST_NS	 5000000UL /* nor one that did nothing meanwhile */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started, ending;
	pthread_t thread;
	struct lane *list;
	uint64_t next; /* when the thread looks next */
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t)) /* of a thread that is gone */
		return 0;
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t watch_ring3_cpu(struct lane *l)
{
	uint64_t used = dune_vcpu_cpu_time(l->vcpu);
	struct lane *callee;

	pthread_mutex_lock(&l->stop.lock);
	callee = l->stop.waiting_for;
	used += l->deadline.beneath;
	if (callee)
		used += watch_ring3_cpu(callee) - callee->deadline.entered;
	pthread_mutex_unlock(&l->stop.lock);
	return used;
}

/* Of its thread, and of what ring 3 takes elsewhere. */
static uint64_t cpu_of(struct lane *l)
{
	return clock_ns(l->deadline.cpu_clock) + watch_ring3_cpu(l);
}

static struct span span(uint64_t now, uint64_t limit)
{
	struct span s = { .begin = now };

	if (__builtin_add_overflow(now, limit, &s.end))
		s.end = UINT64_MAX;
	return s;
}

/*
 * Ends the run if it is over a limit.  When to look again: a thread uses no more CPU time than time
 * passes, so until what is left of it has passed there is nothing to see.
 */
static uint64_t look(struct lane *l, uint64_t now)
{
	uint64_t at = l->deadline.wall.end, used, left, least;

	if (at <= now) {
		lane_stop(l, STOP_WALL);
		return now + AGAIN_NS;
	}
	if (l->deadline.cpu.end == UINT64_MAX)
		return at;
	used = cpu_of(l);
	if (used >= l->deadline.cpu.end) {
		lane_stop(l, STOP_CPU);
		return now + AGAIN_NS;
	}
	least = used == l->deadline.cpu_seen ? REST_NS : LOOK_NS;
	l->deadline.cpu_seen = used;
	left = l->deadline.cpu.end - used;
	left = left > least ? left : least;
	return left < at - now ? now + left : at;
}

static void *watch_main(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&watch.lock);
	while (!watch.ending) {
		uint64_t now = clock_ns(CLOCK_MONOTONIC);
		struct timespec until;

		watch.next = UINT64_MAX;
		for (struct lane *l = watch.list; l; l = l->deadline.next) {
			uint64_t at = look(l, now);

			if (at < watch.next)
				watch.next = at;
		}
		if (watch.next == UINT64_MAX) {
			pthread_cond_wait(&watch.changed, &watch.lock);
			continue;
		}
		until = (struct timespec){ (time_t)(watch.next / 1000000000),
					   (long)(watch.next % 1000000000) };
		pthread_cond_timedwait(&watch.changed, &watch.lock, &until);
	}
	pthread_mutex_unlock(&watch.lock);
	return NULL;
}

/* watch.lock held. */
static int start(void)
{
	pthread_condattr_t attr;
	sigset_t all, old;
	int err;

	if (watch.started)
		return 0;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watch.changed, &attr);
	watch.ending = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&watch.thread, NULL, watch_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	watch.started = !err;
	return err;
}

int watch_start(void)
{
	int err;

	pthread_mutex_lock(&watch.lock);
	err = start();
	pthread_mutex_unlock(&watch.lock);
	return err;
}

int watch_add(struct lane *l, uint64_t wall, uint64_t cpu)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t first = span(now, wall < cpu ? wall : cpu).end;
	int err;

	pthread_mutex_lock(&watch.lock);
	err = start();
	if (!err) {
		l->deadline.wall = span(now, wall);
		l->deadline.cpu = span(cpu_of(l), cpu);
		l->deadline.cpu_seen = 0;
		l->deadline.next = watch.list;
		l->deadline.link = &watch.list;
		if (l->deadline.next)
			l->deadline.next->deadline.link = &l->deadline.next;
		watch.list = l;
		if (first < watch.next)
			pthread_cond_signal(&watch.changed);
	}
	pthread_mutex_unlock(&watch.lock);
	return err;
}

void watch_remove(struct lane *l)
{
	pthread_mutex_lock(&watch.lock);
	*l->deadline.link = l->deadline.next;
	if (l->deadline.next)
		l->deadline.next->deadline.link = l->deadline.link;
	pthread_mutex_unlock(&watch.lock);
}

/* Only if it is due sooner than anything else is the thread woken, which looks at all runs then. */
void watch_cpu_limit(struct lane *l, uint64_t cpu)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC), used = cpu_of(l), left;

	pthread_mutex_lock(&watch.lock);
	l->deadline.cpu.end = span(l->deadline.cpu.begin, cpu).end;
	left = l->deadline.cpu.end > used ? l->deadline.cpu.end - used : 0;
	left = left > LOOK_NS ? left : LOOK_NS;
	if (span(now, left).end < watch.next)
		pthread_cond_signal(&watch.changed);
	pthread_mutex_unlock(&watch.lock);
}

uint64_t watch_thread_cpu(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t watch_wall(const struct lane *l)
{
	return clock_ns(CLOCK_MONOTONIC) - l->deadline.wall.begin;
}

uint64_t watch_cpu(const struct lane *l)
{
	return cpu_of((struct lane *)l) - l->deadline.cpu.begin; /* its lock, and nothing else, changes */
}

void watch_forked(void)
{
	pthread_mutex_init(&watch.lock, NULL);
	watch.started = false;
	watch.list = NULL;
}

void watch_fini(void)
{
	pthread_mutex_lock(&watch.lock);
	if (!watch.started) {
		pthread_mutex_unlock(&watch.lock);
		return;
	}
	watch.ending = true;
	pthread_cond_signal(&watch.changed);
	pthread_mutex_unlock(&watch.lock);
	pthread_join(watch.thread, NULL);
	pthread_cond_destroy(&watch.changed);
	watch.started = false;
}
