/* SPDX-License-Identifier: MIT */
/*
 * st_life_thread.c - what a program may do to the threads that run compartments: cancel them, interrupt them with a
 * handler that calls again, fill the queue of signals, have much thread-local storage.  World: host.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/st.h"

static __thread char much[300 << 10];

static int pipes[2];
static struct sthread_policy *reader;

static void *reads(void *arg)
{
	char c;

	(void)arg;
	return (void *)(intptr_t)read(pipes[0], &c, 1);
}

static void *answers(void *arg)
{
	return arg;
}

/* Inside for about 300 ms. */
static void *works(void *arg)
{
	for (volatile uint64_t i = 0; i < 300000000; i++)
		;
	return arg;
}

/* ---- cancellation: a request waits until the call is over --------------------------------------------- */

static int cancelled_result = 1;

static void *calls_and_is_cancelled(void *unused)
{
	struct sthread_result r;

	(void)unused;
	cancelled_result = sthread_call(reader, reads, NULL, &r);
	if (!cancelled_result && r.end != STHREAD_RETURNED)
		cancelled_result = 2;
	pthread_testcancel();
	return NULL;
}

static void cancellation(void)
{
	struct sthread_stats stats;
	pthread_t t;
	void *how;

	CHECK_EQ(pthread_create(&t, NULL, calls_and_is_cancelled, NULL), 0);
	usleep(200000);
	CHECK_EQ(pthread_cancel(t), 0);
	usleep(50000);
	CHECK_EQ(write(pipes[1], "x", 1), 1);
	CHECK_EQ(pthread_join(t, &how), 0);
	CHECK(how == PTHREAD_CANCELED);
	CHECK_EQ(cancelled_result, 0);
	CHECK_EQ(sthread_stats(&stats), 0);
	CHECK_EQ(stats.live, 0);
}

/* ---- a handler that calls ------------------------------------------------------------------------------- */

static volatile int inner = 1;

static void on_alarm(int sig)
{
	(void)sig;
	inner = sthread_call(NULL, answers, (void *)7, NULL);
}

static void nested(void)
{
	struct sthread_policy *p = st_policy();
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value.tv_usec = 50000 };
	struct sthread_result r;

	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	r = st_call(p, works, (void *)1234);
	ST_RETURNED(&r, 1234);
	CHECK_EQ(inner, -EBUSY);
	r = st_call(p, answers, (void *)5);
	ST_RETURNED(&r, 5);
	sthread_policy_destroy(p);
}

/* ---- no room for a signal in the queue ------------------------------------------------------------------ */

static void full_queue(void)
{
	struct sthread *st = st_create(reader, reads, NULL);
	struct rlimit old, none;
	struct sthread_result r;

	usleep(100000);
	CHECK_EQ(getrlimit(RLIMIT_SIGPENDING, &old), 0);
	none = old;
	none.rlim_cur = 0;
	CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	CHECK_EQ(sthread_kill(st), 0);
	r = st_join(st);
	ST_END(&r, STHREAD_KILLED);
	CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &old), 0);
}

/* ---- thread-local storage larger than a worker's stack --------------------------------------------------- */

static void storage(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r = st_run(p, answers, (void *)9);

	ST_RETURNED(&r, 9);
	sthread_policy_destroy(p);
}

int main(void)
{
	much[0] = 1;
	CHECK_EQ(pipe(pipes), 0);
	st_init();
	reader = st_policy();
	st_allow(reader, SYS_read);
	st_grant(reader, pipes[0], STHREAD_FD_READ);
	cancellation();
	nested();
	full_queue();
	storage();
	sthread_policy_destroy(reader);
	sthread_fini();
	return 0;
}
