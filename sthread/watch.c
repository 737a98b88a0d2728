/* SPDX-License-Identifier: MIT */
/* watch.c - the thread that ends runs whose wall-clock limit has passed.  World: host. */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "sthread/internal.h"

#define AGAIN_NS 1000000UL /* an overdue run that has not noticed is signalled again after this */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started, ending;
	pthread_t thread;
	struct lane *list;
	uint64_t next; /* when the thread looks next */
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void *watch_main(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&watch.lock);
	while (!watch.ending) {
		uint64_t now = now_ns();
		struct timespec until;

		watch.next = UINT64_MAX;
		for (struct lane *l = watch.list; l; l = l->watch_next) {
			uint64_t at = l->deadline;

			if (at <= now) {
				lane_stop(l, STOP_WALL, false);
				at = now + AGAIN_NS;
			}
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

int watch_add(struct lane *l, uint64_t ns)
{
	uint64_t now = now_ns();
	int err;

	pthread_mutex_lock(&watch.lock);
	err = start();
	if (!err) {
		if (__builtin_add_overflow(now, ns, &l->deadline))
			l->deadline = UINT64_MAX;
		l->watch_next = watch.list;
		l->watch_link = &watch.list;
		if (l->watch_next)
			l->watch_next->watch_link = &l->watch_next;
		watch.list = l;
		if (l->deadline < watch.next)
			pthread_cond_signal(&watch.changed);
	}
	pthread_mutex_unlock(&watch.lock);
	return err;
}

void watch_remove(struct lane *l)
{
	pthread_mutex_lock(&watch.lock);
	*l->watch_link = l->watch_next;
	if (l->watch_next)
		l->watch_next->watch_link = l->watch_link;
	l->deadline = 0;
	pthread_mutex_unlock(&watch.lock);
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
