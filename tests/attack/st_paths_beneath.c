/* SPDX-License-Identifier: MIT */
/*
 * Granted directories one beneath the other: who may move names in the upper one could move a file to where the lower
 * one's rights hold.  So a table has no two of which the lower one gives more, whichever comes first, whoever gives it.
 * World: host; gives() and ST_FN: inside.
 */
#include "tests/st_gate.h"

#include <pthread.h>
#include <sys/stat.h>

#define MOVES (STHREAD_FD_MAKE | STHREAD_FD_STAT)

/* upper/file, upper/lower/deep, beside: in the image. */
static int upper = -1, lower = -1, deep = -1, beside = -1;

static int opens(int dir, const char *name)
{
	int fd = (int)syscall(SYS_openat, dir, name, O_RDONLY, 0);

	if (fd < 0)
		return -errno;
	CHECK_EQ(close(fd), 0);
	return 0;
}

static ssize_t gives(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned rights;

	CHECK_EQ(in_len, sizeof(rights));
	memcpy(&rights, in, sizeof(rights));
	return gate_answer(out, out_cap, sthread_gate_give_fd(*(int *)trusted, rights));
}

/* It may move the file to where the gate may read; and asks for that. */
ST_FN(asks_for_the_lower)
{
	unsigned rights = STHREAD_FD_READ;
	int64_t answer = 0;

	CHECK_EQ(renameat(upper, "file", upper, "lower/file"), 0);
	CHECK_EQ(opens(upper, "lower/file"), -EACCES);
	CHECK_EQ(gate_ask("gives", &rights, sizeof(rights), &answer, sizeof(answer)),
		 sizeof(answer));
	CHECK_EQ(answer, -EINVAL);
	for (int fd = 0; fd < 64; fd++)
		CHECK_MSG(opens(fd, "file") != 0, "%d", fd);
	/* The twin: with no more than it has. */
	rights = STHREAD_FD_STAT;
	CHECK_EQ(gate_ask("gives", &rights, sizeof(rights), &answer, sizeof(answer)),
		 sizeof(answer));
	CHECK_GE(answer, 0);
	CHECK_EQ(opens((int)answer, "file"), -EACCES);
	CHECK_EQ(faccessat((int)answer, "file", F_OK, 0), 0);
	CHECK_EQ(renameat(upper, "lower/file", upper, "file"), 0);
	return NULL;
}

/* The twin for the gate: to who may not move names it gives what it was asked for. */
ST_FN(is_given_the_lower)
{
	unsigned rights = STHREAD_FD_READ;
	int64_t answer = -1;

	CHECK_EQ(gate_ask("gives", &rights, sizeof(rights), &answer, sizeof(answer)),
		 sizeof(answer));
	CHECK_GE(answer, 0);
	CHECK_EQ(opens((int)answer, "there"), 0);
	CHECK_EQ(opens((int)answer, "file"), -ENOENT);
	return NULL;
}

/* Nor may it make a compartment that has fewer of the rights above. */
ST_FN(makes_one)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_dir(p, upper, MOVES));
	CHECK_ERR(sthread_policy_dir(p, lower, STHREAD_FD_READ), -EINVAL);
	CHECK_OK(sthread_policy_dir(p, lower, STHREAD_FD_STAT));
	sthread_policy_destroy(p);
	return NULL;
}

static void by_gate(void)
{
	struct sthread_policy *has = st_policy_all_calls(), *reader = st_policy_all_calls(),
			      *of_gate = st_policy();
	struct sthread_gate *g;

	st_grant_dir(of_gate, lower, STHREAD_FD_READ | STHREAD_FD_STAT);
	g = GATE(.name = "gives", .fn = gives, .policy = of_gate, .trusted = &lower);
	st_grant_dir(has, upper, MOVES);
	CHECK_OK(sthread_policy_gate(has, g));
	CHECK_OK(sthread_policy_gate(reader, g));
	ST_PASSES(has, asks_for_the_lower, NULL);
	ST_PASSES(reader, is_given_the_lower, NULL);
	sthread_policy_destroy(has);
	sthread_policy_destroy(reader);
	sthread_policy_destroy(of_gate);
	sthread_gate_destroy(g);
}

static void by_child(void)
{
	struct sthread_policy *p = st_policy_all_calls();

	st_grant_dir(p, upper, MOVES | STHREAD_FD_READ);
	st_grant_dir(p, lower, STHREAD_FD_STAT | STHREAD_FD_READ);
	ST_PASSES(p, makes_one, NULL);
	sthread_policy_destroy(p);
}

static int both(int a, unsigned rights_a, int b, unsigned rights_b)
{
	struct sthread_policy *p = st_policy();
	int r;

	st_grant_dir(p, a, rights_a);
	r = sthread_policy_dir(p, b, rights_b);
	sthread_policy_destroy(p);
	return r;
}

static void by_policy(void)
{
	for (unsigned right = 1; right <= STHREAD_FD_LOCK; right <<= 1) {
		if (right & (MOVES | STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN | STHREAD_FD_ACCEPT |
			     STHREAD_FD_CONNECT))
			continue;
		CHECK_ERR(both(upper, MOVES, lower, right), -EINVAL);
		CHECK_ERR(both(lower, right, upper, MOVES), -EINVAL);
		CHECK_ERR(both(upper, MOVES, deep, MOVES | right), -EINVAL);
		CHECK_ERR(both(deep, MOVES | right, upper, MOVES), -EINVAL);
		/* The twins: above or below no more, nothing moved above, not beneath, the same. */
		CHECK_OK(both(upper, MOVES | right, lower, right));
		CHECK_OK(both(lower, MOVES, upper, MOVES | right));
		CHECK_OK(both(upper, STHREAD_FD_STAT, lower, MOVES | right));
		CHECK_OK(both(upper, MOVES, beside, right));
		CHECK_OK(both(beside, MOVES, upper, right));
		CHECK_OK(both(lower, MOVES, upper, right));
		CHECK_OK(both(upper, MOVES, dup(upper), right));
	}
}

/* ---- by two threads at once ---- */

static struct {
	struct sthread_policy *p;
	_Atomic uintptr_t begin, end; /* rounds */
	int dir, result;
} other;

static void *grants_it(void *rounds)
{
	for (uintptr_t i = 1; i <= (uintptr_t)rounds; i++) {
		while (other.begin != i)
			;
		other.result = sthread_policy_dir(other.p, other.dir, STHREAD_FD_READ);
		other.end = i;
	}
	return NULL;
}

/* Whoever comes second is refused; the twin: beside one another both are granted, and nothing is lost. */
static void by_threads(void)
{
	struct sthread_policy *both_granted = st_policy();
	uintptr_t rounds = test_scale(2000);
	pthread_t thread;

	st_grant_dir(both_granted, upper, MOVES);
	st_grant_dir(both_granted, beside, STHREAD_FD_READ);
	CHECK_EQ(pthread_create(&thread, NULL, grants_it, (void *)rounds), 0);
	for (uintptr_t i = 1; i <= rounds; i++) {
		int r;

		other.p = st_policy();
		other.dir = i % 2 ? lower : beside;
		other.begin = i;
		for (volatile uintptr_t n = 0; n < i % 64 * 64; n++) /* the other one has to be heard of first */
			;
		r = sthread_policy_dir(other.p, upper, MOVES);
		while (other.end != i)
			;
		if (i % 2)
			CHECK_MSG((r == 0 && other.result == -EINVAL) || (r == -EINVAL && other.result == 0),
				  "round %lu: %d and %d", i, r, other.result);
		else
			CHECK_MSG(!r && !other.result && sthread_policy_is_subset(both_granted, other.p) == 1,
				  "round %lu: %d and %d", i, r, other.result);
		sthread_policy_destroy(other.p);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	sthread_policy_destroy(both_granted);
}

int main(void)
{
	char top[] = "/tmp/st_paths_beneath_XXXXXX", command[64];
	int at;

	CHECK(mkdtemp(top));
	at = open(top, O_RDONLY | O_DIRECTORY);
	CHECK(!mkdirat(at, "upper", 0700) && !mkdirat(at, "upper/lower", 0700) &&
	      !mkdirat(at, "upper/lower/deep", 0700) && !mkdirat(at, "beside", 0700));
	upper = openat(at, "upper", O_RDONLY | O_DIRECTORY);
	lower = openat(upper, "lower", O_RDONLY | O_DIRECTORY);
	deep = openat(lower, "deep", O_RDONLY | O_DIRECTORY);
	beside = openat(at, "beside", O_RDONLY | O_DIRECTORY);
	CHECK(upper >= 0 && lower >= 0 && deep >= 0 && beside >= 0);
	close(openat(upper, "file", O_CREAT | O_WRONLY, 0600));
	close(openat(lower, "there", O_CREAT | O_WRONLY, 0600));
	st_init();
	by_policy();
	by_threads();
	by_gate();
	by_child();
	CHECK_OK(faccessat(upper, "file", F_OK, 0));
	st_others_live();
	sthread_fini();
	snprintf(command, sizeof(command), "rm -r %s", top);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
