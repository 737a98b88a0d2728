/* SPDX-License-Identifier: MIT */
/*
 * st_life_end.c - create, join, detach and kill in every order, on compartments in every state; sthread_fini() over
 * all of them.  World: host; what is in `what` runs inside.
 */
#include <malloc.h>
#include <poll.h>
#include <stdatomic.h>

#include "tests/kvm/st_life.h"

static int quiet[2]; /* a pipe in which nothing ever is */

static void *returns(void *arg)
{
	return arg;
}

static void *reads(void *arg)
{
	char c;

	return read(quiet[0], &c, 1) < 0 ? (void *)(intptr_t)-errno : arg;
}

static void *polls(void *arg)
{
	struct pollfd f = { .fd = quiet[0], .events = POLLIN };

	return poll(&f, 1, -1) < 0 ? (void *)(intptr_t)-errno : arg;
}

static void *waits(void *arg)
{
	uint32_t word = 0;

	syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0);
	return arg;
}

/* Demand faults, copies on write, system calls and page-table changes without end. */
static void *storms(void *arg)
{
	static volatile char image[256 * 4096];

	for (unsigned n = 0;; n++) {
		image[n % 256 * 4096]++;
		free(memset(malloc(200000), 1, 200000));
		getppid();
	}
	return arg;
}

static void *yields(void *arg)
{
	for (;;)
		syscall(SYS_sched_yield);
	return arg;
}

static const struct {
	const char *name;
	st_fn *fn;
} what[] = {
	{ "life_spins", life_spins }, { "reads", reads },   { "polls", polls },   { "life_sleeps", life_sleeps },
	{ "waits", waits }, { "storms", storms }, { "yields", yields },
};
#define KINDS (sizeof(what) / sizeof(what[0]))

static struct sthread_policy *policy(void)
{
	struct sthread_policy *p = st_policy();

	st_allow(p, SYS_read, SYS_poll);
	st_grant(p, quiet[0], STHREAD_FD_READ | STHREAD_FD_POLL);
	return p;
}

static void killed(struct sthread *st)
{
	uint64_t start = life_now();
	struct sthread_result r = st_join(st);

	ST_END(&r, STHREAD_KILLED);
	CHECK_LT(life_now() - start, st_late());
}

/* ---- kills ------------------------------------------------------------------------------------------------------ */

static void kill_in_every_state(const struct sthread_policy *p)
{
	for (size_t k = 0; k < KINDS; k++) {
		/* Before it started, while it starts, and long after. */
		static const unsigned after[] = { 0, 50, 500, 20000 };

		NOTE("kill: %s", what[k].name);
		for (size_t i = 0; i < 4; i++) {
			struct sthread *st = st_create(p, what[k].fn, NULL);

			if (after[i])
				life_nap(after[i]);
			CHECK_OK(sthread_kill(st));
			(void)!sthread_kill(st); /* again is fine: 0 or -ESRCH */
			killed(st);
		}
	}
}

static void kill_ended(void)
{
	for (int i = 0; i < 20; i++) {
		struct sthread *st = st_create(NULL, returns, (void *)5);
		struct sthread_result r;

		LIFE_UNTIL(sthread_kill(st) == -ESRCH || i % 2 == 0);
		if (i % 2)
			CHECK_ERR(sthread_kill(st), -ESRCH);
		r = st_join(st);
		/* A kill that comes while it ends may or may not be in time; it never loses the result. */
		CHECK(r.end == STHREAD_KILLED || (r.end == STHREAD_RETURNED && r.value == (void *)5));
	}
	for (int i = 0; i < 5; i++) {
		struct sthread_result r;
		struct sthread *st;

		LIFE_UNTIL(!life_stats().live); /* workers count until they rest */
		st = st_create(NULL, returns, (void *)5);
		LIFE_UNTIL(!life_stats().live);
		CHECK_ERR(sthread_kill(st), -ESRCH);
		r = st_join(st);
		ST_RETURNED(&r, 5);
	}
}

static pthread_barrier_t barrier;

static void *killer(void *st)
{
	int err;

	pthread_barrier_wait(&barrier);
	err = sthread_kill(st);
	CHECK(!err || err == -ESRCH);
	return (void *)(intptr_t)err;
}

static void many_killers(const struct sthread_policy *p)
{
	pthread_t t[4];

	pthread_barrier_init(&barrier, NULL, 4);
	for (unsigned i = 0; i < 5 * KINDS; i++) {
		struct sthread *st = st_create(p, what[i % KINDS].fn, NULL);
		bool one = false;

		if (i >= KINDS)
			life_nap(i * 30);
		for (int k = 0; k < 4; k++)
			t[k] = life_thread(killer, st);
		for (int k = 0; k < 4; k++)
			one |= !life_join(t[k]);
		CHECK(one);
		killed(st);
	}
	pthread_barrier_destroy(&barrier);
}

/* ---- joins and detaches -------------------------------------------------------------------------------------------- */

static atomic_uint joining;

static void *joiner(void *st)
{
	struct sthread_result r;

	atomic_fetch_add(&joining, 1);
	CHECK_OK(sthread_join(st, &r));
	return (void *)(uintptr_t)r.end;
}

static void twice(const struct sthread_policy *p)
{
	struct sthread_result r = { .end = STHREAD_LOST };
	struct sthread *st = st_create(p, reads, NULL);
	pthread_t t = life_thread(joiner, st);

	LIFE_UNTIL(atomic_load(&joining));
	life_nap(20000);
	/* Somebody waits already: the second is refused, and its output untouched. */
	CHECK_ERR(sthread_join(st, &r), -EINVAL);
	CHECK_ERR(sthread_detach(st), -EINVAL);
	CHECK_EQ(r.end, STHREAD_LOST);
	CHECK_OK(sthread_kill(st));
	CHECK_EQ((uintptr_t)life_join(t), STHREAD_KILLED);

	/* The kill is what makes the join return, and with it the handle go, while the kill still looks at it. */
	for (size_t i = 0; i < 16 * KINDS; i++) {
		st = st_create(p, what[i % KINDS].fn, NULL);
		t = life_thread(joiner, st);
		life_nap(i / KINDS * 200);
		CHECK_OK(sthread_kill(st));
		CHECK_EQ((uintptr_t)life_join(t), STHREAD_KILLED);
	}

	CHECK_ERR(sthread_join(NULL, &r), -EINVAL);
	CHECK_ERR(sthread_detach(NULL), -EINVAL);
	CHECK_ERR(sthread_kill(NULL), -EINVAL);
	CHECK_OK(sthread_join(st_create(NULL, returns, NULL), NULL));
}

static void detaches(void)
{
	struct sthread_policy *p;
	int fd[2];
	char c;

	/* One that is blocked, then goes on and writes; one that has ended. */
	CHECK(!pipe2(fd, O_CLOEXEC));
	p = st_policy();
	st_allow(p, SYS_read);
	st_grant(p, fd[0], STHREAD_FD_READ);
	for (int i = 0; i < 8; i++) {
		struct sthread *st = st_create(p, life_sleeps, NULL);

		life_nap(i % 2 ? 0 : 3000);
		CHECK_OK(sthread_detach(st));
	}
	CHECK_GE(life_stats().live, 8);
	for (int i = 0; i < 50; i++) {
		struct sthread *st = st_create(NULL, returns, NULL);

		if (i % 2)
			life_nap(300);
		CHECK_OK(sthread_detach(st));
	}
	sthread_policy_destroy(p);
	LIFE_UNTIL(life_stats().live == 8);
	/* The library's duplicates live as long as the compartments do, no longer. */
	close(fd[0]);
	signal(SIGPIPE, SIG_IGN);
	c = 'x';
	CHECK_EQ(write(fd[1], &c, 1), 1);
	sthread_fini();
	CHECK_EQ(write(fd[1], &c, 1), -1);
	CHECK_EQ(errno, EPIPE);
	close(fd[1]);
}

/* ---- fini over everything ------------------------------------------------------------------------------------------- */

static atomic_bool refused;

static void *calls_until_fini(void *p)
{
	for (;;) {
		struct sthread_result r;
		int err = sthread_call(p, life_spins, NULL, &r);

		if (err == -EINVAL)
			break;
		CHECK_OK(err);
		ST_END(&r, STHREAD_KILLED);
	}
	atomic_store(&refused, true);
	return NULL;
}

static void *creates_until_fini(void *p)
{
	for (unsigned i = 0;; i++) {
		struct sthread *st;
		struct sthread_result r;
		int err = sthread_create(&st, p, i % 4 ? returns : life_sleeps, NULL);

		if (err == -EINVAL)
			break;
		CHECK_OK(err);
		if (i % 4)
			CHECK_OK(sthread_join(st, &r));
		else
			CHECK_OK(sthread_detach(st));
	}
	return NULL;
}

/* Threads that have a lane of their own end while fini is at work. */
static void *calls_and_ends(void *p)
{
	struct sthread_result r;
	int err = sthread_call(p, returns, NULL, &r);

	CHECK(!err || err == -EINVAL);
	return NULL;
}

static void fini_over_all(unsigned round)
{
	struct sthread_policy *p = policy();
	struct sthread *st[2 * KINDS];
	pthread_t joins[2 * KINDS], kills[KINDS], busy[6];

	pthread_barrier_init(&barrier, NULL, KINDS + 1);
	for (size_t i = 0; i < 2 * KINDS; i++)
		st[i] = st_create(p, what[i % KINDS].fn, NULL);
	busy[0] = life_thread(calls_until_fini, p);
	busy[1] = life_thread(calls_until_fini, p);
	busy[2] = life_thread(creates_until_fini, p);
	for (size_t i = 0; i < 2 * KINDS; i++)
		joins[i] = life_thread(joiner, st[i]);
	life_nap(round * 7000);
	for (size_t i = 3; i < 6; i++)
		busy[i] = life_thread(calls_and_ends, p);
	sthread_fini();
	for (size_t i = 0; i < 2 * KINDS; i++)
		CHECK_EQ((uintptr_t)life_join(joins[i]), STHREAD_KILLED);
	for (size_t i = 0; i < 6; i++)
		life_join(busy[i]);
	CHECK_EQ(life_kvm_fds(), 0);

	/* Killers at the same time as fini: the handles stay theirs. */
	st_init();
	for (size_t i = 0; i < KINDS; i++)
		st[i] = st_create(p, what[i].fn, NULL);
	life_nap(round * 3000);
	for (size_t i = 0; i < KINDS; i++)
		kills[i] = life_thread(killer, st[i]);
	pthread_barrier_wait(&barrier);
	sthread_fini();
	for (size_t i = 0; i < KINDS; i++) {
		life_join(kills[i]);
		killed(st[i]);
	}
	pthread_barrier_destroy(&barrier);
	sthread_policy_destroy(p);
	CHECK_EQ(life_kvm_fds(), 0);
}

int main(void)
{
	struct sthread_policy *p;
	unsigned fds;

	mallopt(M_PERTURB, 0xa5); /* what is used after it was freed is garbage */
	CHECK(!pipe2(quiet, O_CLOEXEC));
	fds = life_fds();
	st_init();
	p = policy();
	kill_in_every_state(p);
	NOTE("kill what has ended");
	kill_ended();
	NOTE("several killers");
	many_killers(p);
	NOTE("join and detach");
	twice(p);
	CHECK_EQ(life_stats().vcpus_lost, 0);
	sthread_policy_destroy(p);
	detaches();
	CHECK_EQ(life_fds(), fds);
	for (unsigned i = 0; i < 4; i++) {
		NOTE("fini over everything, %u", i);
		st_init();
		fini_over_all(i);
		CHECK_EQ(life_fds(), fds);
	}
	return TEST_PASSED;
}
