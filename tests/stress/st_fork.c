/* SPDX-License-Identifier: MIT */
/*
 * st_fork.c - forks while other threads create compartments, new virtual processors among them: no child has anything
 * of KVM's, each can end, and some have compartments of their own.  World: host; what is marked runs inside.
 */
#include <stdatomic.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"

#define THREADS 3
#define AT_ONCE 40

static atomic_bool over;
static atomic_uint at_once = 2;

/* Inside. */
static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

/* Inside. */
static void *faults(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

/* Inside. */
static void *maps(void *arg)
{
	char *p = malloc(300000);

	memset(p, 1, 300000);
	free(p);
	return (char *)arg + 1;
}

/* Several at once, and ever more, so that they need new workers and lanes again and again. */
static void *creates(void *arg)
{
	struct sthread *st[AT_ONCE];
	struct sthread_result r;

	while (!atomic_load(&over)) {
		unsigned n = at_once;

		for (uintptr_t i = 0; i < n; i++)
			st[i] = st_create(NULL, i == 3 ? faults : i % 2 ? maps : plus_one, (void *)i);
		for (uintptr_t i = 0; i < n; i++) {
			r = st_join(st[i]);
			if (i == 3)
				ST_END(&r, STHREAD_FAULTED);
			else
				ST_RETURNED(&r, i + 1);
		}
	}
	return arg;
}

static int child(unsigned long i)
{
	struct sthread *st;
	struct sthread_result r;
	uint64_t largest;

	CHECK_EQ(life_kvm_fds(), 0);
	life_maps(&largest);
	CHECK_LT(largest, LIFE_LARGE);
	CHECK_ERR(sthread_create(&st, NULL, plus_one, NULL), -EINVAL);
	if (i % 10)
		return TEST_PASSED;
	st_init();
	r = st_call(NULL, plus_one, (void *)1);
	ST_RETURNED(&r, 2);
	r = st_run(NULL, faults, NULL);
	ST_END(&r, STHREAD_FAULTED);
	sthread_fini();
	CHECK_EQ(life_kvm_fds(), 0);
	return TEST_PASSED;
}

int main(void)
{
	unsigned long n = test_scale(300);
	pthread_t t[THREADS];

	st_init();
	for (int i = 0; i < THREADS; i++)
		t[i] = life_thread(creates, NULL);
	for (unsigned long i = 0; i < n; i++) {
		uint64_t end = life_now() + 20000000000UL;
		int status;
		pid_t pid;

		at_once = 2 + (unsigned)(i * (AT_ONCE - 2) / n);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(child(i));
		while (!waitpid(pid, &status, WNOHANG)) {
			if (life_now() > end) {
				kill(pid, SIGKILL);
				FAIL("child %lu does not end", i);
			}
			life_nap(300);
		}
		CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "child %lu: wait status %#x", i, (unsigned)status);
	}
	atomic_store(&over, true);
	for (int i = 0; i < THREADS; i++)
		life_join(t[i]);
	CHECK_EQ(life_stats().vcpus_lost, 0);
	NOTE("%" PRIu64 " created meanwhile, %" PRIu64 " vCPUs", life_stats().created, life_stats().vcpus);
	sthread_fini();
	CHECK_EQ(life_kvm_fds(), 0);
	return TEST_PASSED;
}
