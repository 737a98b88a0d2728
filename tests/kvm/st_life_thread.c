/* SPDX-License-Identifier: MIT */
/*
 * st_life_thread.c - what a program may do to the threads that run compartments: cancel them, interrupt them with a
 * handler that calls again, fill the queue of signals, have much thread-local storage.  World: host.
 */
#include <fcntl.h>
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

/* No call is where a request takes effect, as long or as short as it may be. */
static struct sthread_result died;
static struct sthread *ended, *left;
static struct sthread_gate *gate;
static struct sthread_policy *granting;
static int root;

static ssize_t nothing(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return 0;
}

static void formats(void)
{
	char buf[4096];

	CHECK_GE(sthread_fault_format(&died, buf, sizeof(buf)), 0);
}

static void grants_fd(void)
{
	CHECK_OK(sthread_policy_fd(granting, pipes[0], STHREAD_FD_READ));
	CHECK_ERR(sthread_policy_fd(granting, pipes[0], STHREAD_FD_READ), -EEXIST);
}

static void grants_dir(void)
{
	CHECK_OK(sthread_policy_dir(granting, root, STHREAD_FD_READ));
}

static void compares(void)
{
	CHECK_EQ(sthread_policy_is_subset(granting, granting), 1);
	CHECK_GE(sthread_policy_format(granting, NULL, 0), 0);
}

/* What these let go of is closed. */
static void joins(void)
{
	CHECK_OK(sthread_join(ended, NULL));
}

static void detaches(void)
{
	CHECK_OK(sthread_detach(left));
}

static void destroys_gate(void)
{
	sthread_gate_destroy(gate);
}

static void destroys(void)
{
	sthread_policy_destroy(granting);
}

static void *does_and_is_cancelled(void *fn)
{
	int state;

	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state), 0);
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	CHECK_EQ(pthread_setcancelstate(state, NULL), 0);
	((void (*)(void))fn)();
	return NULL;
}

static struct sthread *ends_alone_with(int fd)
{
	struct sthread_policy *p = st_policy();
	struct sthread *st;

	st_grant(p, fd, STHREAD_FD_READ);
	st = st_create(p, answers, NULL);
	sthread_policy_destroy(p);
	usleep(100000);
	return st;
}

static void short_calls(void)
{
	static void (*const fns[])(void) = { formats, grants_fd,     grants_dir, compares,
					     joins,   detaches, destroys_gate, destroys };
	struct sthread_gate_config cfg = { .size = sizeof(cfg), .fn = nothing };
	struct sthread_policy *p = st_policy();

	root = open("/", O_RDONLY | O_DIRECTORY);
	CHECK_OK(sthread_policy_create(&granting));
	died = (struct sthread_result){ .end = STHREAD_FAULTED, .ip = (uintptr_t)answers };
	ended = ends_alone_with(pipes[0]);
	left = ends_alone_with(pipes[0]);
	st_grant(p, pipes[0], STHREAD_FD_READ);
	cfg.policy = p;
	CHECK_OK(sthread_gate_create(&gate, &cfg));
	sthread_policy_destroy(p);
	for (size_t i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
		pthread_t t;
		void *how;

		CHECK_EQ(pthread_create(&t, NULL, does_and_is_cancelled, (void *)(uintptr_t)fns[i]), 0);
		CHECK_EQ(pthread_join(t, &how), 0);
		CHECK_MSG(how != PTHREAD_CANCELED, "call %zu", i);
	}
	/* Nor did one keep a lock. */
	formats();
	close(root);
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
	short_calls();
	nested();
	full_queue();
	storage();
	sthread_policy_destroy(reader);
	sthread_fini();
	return 0;
}
