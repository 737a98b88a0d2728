/* SPDX-License-Identifier: MIT */
/*
 * st_life_call.c - sthread_call() on the program's own threads: many short-lived ones, signals of the program, its
 * signal mask, and limits of wall time.  World: host; what is marked runs inside.
 */
#include <poll.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "tests/kvm/st_life.h"

#define MS 1000000UL

static int quiet[2]; /* a pipe in which nothing ever is */

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

static void *reads(void *arg)
{
	char c;

	return read(quiet[0], &c, 1) < 0 ? NULL : arg;
}

static void *polls(void *arg)
{
	struct pollfd f = { .fd = quiet[0], .events = POLLIN };

	/* arg: ms. */
	return (void *)(intptr_t)poll(&f, 1, (int)(intptr_t)arg);
}

static void *sleeps(void *arg)
{
	struct timespec t = { (time_t)arg / 1000, (long)arg % 1000 * 1000000 }, left = { 0, 0 };

	return (void *)(intptr_t)(nanosleep(&t, &left) ? -errno : 0);
}

static void *computes(void *arg)
{
	uint64_t x = (uintptr_t)arg;

	for (unsigned i = 0; i < 1000000; i++)
		x = x * 6364136223846793005UL + 1442695040888963407UL;
	return (void *)x;
}

static void *computes_floats(void *arg)
{
	volatile double x = (double)(uintptr_t)arg;

	for (unsigned i = 0; i < 200000; i++)
		x = x * 1.0000001 + 0.5;
	return (void *)(uintptr_t)x;
}

static struct sthread_policy *policy(void)
{
	struct sthread_policy *p = st_policy();

	st_allow(p, SYS_read, SYS_poll);
	st_grant(p, quiet[0], STHREAD_FD_READ | STHREAD_FD_POLL);
	return p;
}

/* ---- wall time -------------------------------------------------------------------------------------------------- */

static void wall(struct sthread_result (*run)(const struct sthread_policy *, st_fn *, void *))
{
	static const struct {
		st_fn *fn;
		void *arg;
	} what[] = { { life_spins, NULL }, { reads, NULL }, { polls, (void *)-1 }, { sleeps, (void *)3600000 } };
	struct sthread_policy *p = policy();
	struct sthread_result r;

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		uint64_t start = life_now(), took;

		st_limit(p, STHREAD_LIMIT_WALL_NS, (20 + 10 * i) * MS);
		r = run(p, what[i].fn, what[i].arg);
		took = life_now() - start;
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		CHECK_GE(took, (20 + 10 * i) * MS);
		CHECK_LT(took, st_late());
	}
	st_limit(p, STHREAD_LIMIT_WALL_NS, 0);
	r = run(p, life_spins, NULL);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	/* Enough time, and all of it there is, are no limit. */
	st_limit(p, STHREAD_LIMIT_WALL_NS, 60000 * MS);
	r = run(p, sleeps, (void *)30);
	ST_RETURNED(&r, 0);
	st_limit(p, STHREAD_LIMIT_WALL_NS, UINT64_MAX);
	r = run(p, plus_one, NULL);
	ST_RETURNED(&r, 1);
	st_limit(p, STHREAD_LIMIT_WALL_NS, UINT64_MAX - 1);
	r = run(p, plus_one, NULL);
	ST_RETURNED(&r, 1);
	sthread_policy_destroy(p);
}

/* ---- short-lived threads ---------------------------------------------------------------------------------------- */

static void *one_call(void *arg)
{
	struct sthread_result r = st_call(NULL, plus_one, arg);

	ST_RETURNED(&r, (uintptr_t)arg + 1);
	return NULL;
}

static void short_threads(void)
{
	unsigned long n = test_scale(3000);
	struct sthread_stats before, after;
	unsigned fds;
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		t[i] = life_thread(one_call, (void *)7);
	for (int i = 0; i < 4; i++)
		life_join(t[i]);
	before = life_stats();
	fds = life_fds();
	for (unsigned long k = 0; k < n; k += 4) {
		for (uintptr_t i = 0; i < 4; i++)
			t[i] = life_thread(one_call, (void *)(k + i));
		for (int i = 0; i < 4; i++)
			life_join(t[i]);
	}
	after = life_stats();
	NOTE("vCPUs %" PRIu64 " -> %" PRIu64 ", pages %" PRIu64 " -> %" PRIu64, before.vcpus, after.vcpus,
	     before.pages_used, after.pages_used);
	/* Four at once, this thread's own and the service's. */
	CHECK_LE(after.vcpus, before.vcpus + 3);
	CHECK_LE(after.vcpus, 9);
	CHECK_LE(life_fds(), fds + 3);
	CHECK_LE(after.pages_used, before.pages_used + 4 * 64);
	CHECK_EQ(after.live, 0);
}

/* ---- signals of the program --------------------------------------------------------------------------------------- */

static atomic_uint alarms;

static void on_alarm(int sig)
{
	(void)sig;
	atomic_fetch_add(&alarms, 1);
}

static void storm(int which, int sig, int flags)
{
	const struct itimerval often = { { 0, 400 }, { 0, 400 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	struct sthread_policy *p = policy();
	uint64_t want = (uintptr_t)computes((void *)3), floats = (uintptr_t)computes_floats((void *)3), end;
	struct sthread_result r;
	unsigned rounds = 0;

	atomic_store(&alarms, 0);
	CHECK(!sigaction(sig, &sa, NULL));
	CHECK(!setitimer(which, &often, NULL));
	for (end = life_now() + 500 * MS; rounds < 5 || life_now() < end; rounds++) {
		uint64_t start;

		r = st_call(p, computes, (void *)3);
		ST_RETURNED(&r, want);
		r = st_call(p, computes_floats, (void *)3);
		ST_RETURNED(&r, floats);
		start = life_now();
		r = st_call(p, sleeps, (void *)5);
		ST_RETURNED(&r, 0);
		CHECK_GE(life_now() - start, 5 * MS);
		start = life_now();
		r = st_call(p, polls, (void *)5);
		ST_RETURNED(&r, 0);
		CHECK_GE(life_now() - start, 5 * MS - MS / 10);
		CHECK_LT(life_now() - start, st_late());
		r = st_run(p, computes, (void *)3);
		ST_RETURNED(&r, want);
	}
	CHECK(!setitimer(which, &never, NULL));
	sa.sa_handler = SIG_DFL;
	/* Of processor time there is little: most is sleep, and what stubs take is theirs. */
	if (which != ITIMER_PROF || test_placement() != TEST_PLACEMENT_PROCESS)
		CHECK_GT(alarms, which == ITIMER_PROF ? 0 : 20);
	NOTE("signal %d: %u of them in %u rounds", sig, atomic_load(&alarms), rounds);
	CHECK(!sigaction(sig, &sa, NULL));
	sthread_policy_destroy(p);
	CHECK_EQ(life_stats().vcpus_lost, 0);
}

/* ---- the signal mask -------------------------------------------------------------------------------------------------- */

static void mask(void)
{
	struct sthread_policy *p = policy();
	struct sthread_result r;
	sigset_t blocked, old, now;

	st_limit(p, STHREAD_LIMIT_WALL_NS, 10 * MS);
	sigemptyset(&blocked);
	sigaddset(&blocked, LIFE_SIGNAL);
	sigaddset(&blocked, SIGUSR1);
	for (int round = 0; round < 3; round++) {
		if (round == 1)
			sigfillset(&blocked);
		else if (round == 2)
			sigemptyset(&blocked);
		CHECK(!pthread_sigmask(SIG_SETMASK, &blocked, &old));
		CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &blocked)); /* without those that cannot be blocked */
		/* Ended all the same, in user mode and in a system call. */
		r = st_call(p, life_spins, NULL);
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		r = st_call(p, reads, NULL);
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		r = st_run(p, life_spins, NULL);
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &now));
		for (int sig = 1; sig <= SIGRTMAX; sig++)
			CHECK_EQ(sigismember(&now, sig), sigismember(&blocked, sig));
		/* None is left over, to end a system call of the program's or the program. */
		CHECK(!sigpending(&now));
		CHECK(!sigismember(&now, LIFE_SIGNAL));
		CHECK(!pthread_sigmask(SIG_SETMASK, &old, NULL));
	}
	sthread_policy_destroy(p);
}

/* A program's blocking call right after a killed run is not disturbed. */
static void nothing_left_over(void)
{
	struct sthread_policy *p = policy();

	for (unsigned i = 0; i < 50; i++) {
		const struct timespec t = { 0, 300000 };
		struct sthread_result r;

		st_limit(p, STHREAD_LIMIT_WALL_NS, 100000 + i * 10000);
		r = st_call(p, i % 2 ? life_spins : reads, NULL);
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		CHECK_MSG(!nanosleep(&t, NULL), "round %u: interrupted", i);
	}
	sthread_policy_destroy(p);
}

int main(void)
{
	CHECK(!pipe2(quiet, O_CLOEXEC));
	st_init();
	NOTE("wall time, on this thread and on another");
	wall(st_call);
	wall(st_run);
	NOTE("short-lived threads");
	short_threads();
	NOTE("signals");
	storm(ITIMER_REAL, SIGALRM, SA_RESTART);
	storm(ITIMER_REAL, SIGALRM, 0);
	storm(ITIMER_PROF, SIGPROF, SA_RESTART);
	NOTE("signal mask");
	mask();
	nothing_left_over();
	CHECK_EQ(life_stats().vcpus_lost, 0);
	sthread_fini();
	return TEST_PASSED;
}
