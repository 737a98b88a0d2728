/* SPDX-License-Identifier: MIT */
/*
 * st_family.c - a program that looks after its children, its signals and its descriptors in its own way: it waits for any
 * child, counts SIGCHLD, ignores it, adopts orphans, closes all descriptors, forks and executes.  The library's
 * processes are none of its children that it hears of; nothing hangs, and errors have one meaning.  World: host; what is
 * marked runs inside.
 */
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

static void *faults(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

/* ---- the program ----------------------------------------------------------------------------------------------- */

static atomic_uint told;

static void on_child(int sig)
{
	(void)sig;
	atomic_fetch_add(&told, 1);
}

/* Of all kinds: made, ended, killed, faulted. */
static void works(void)
{
	struct sthread *st[6];
	struct sthread_result r;

	for (int i = 0; i < 6; i++)
		st[i] = st_create(NULL, life_spins, NULL);
	for (int i = 0; i < 6; i++) {
		CHECK_OK(sthread_kill(st[i]));
		r = st_join(st[i]);
		ST_END(&r, STHREAD_KILLED);
	}
	r = st_run(NULL, faults, NULL);
	ST_END(&r, STHREAD_FAULTED);
	r = st_call(NULL, plus_one, (void *)1);
	ST_RETURNED(&r, 2);
	st_others_live();
}

static void has_no_child(void)
{
	siginfo_t info;

	CHECK(wait(NULL) < 0);
	CHECK_EQ(errno, ECHILD);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0);
	CHECK_EQ(errno, ECHILD);
	CHECK(waitpid(0, NULL, WUNTRACED | WCONTINUED) < 0);
	CHECK_EQ(errno, ECHILD);
	CHECK(waitid(P_ALL, 0, &info, WEXITED | WSTOPPED) < 0);
	CHECK_EQ(errno, ECHILD);
}

static void waits(void)
{
	CHECK(signal(SIGCHLD, on_child) != SIG_ERR);
	st_init();
	for (int i = 0; i < 5; i++) {
		pid_t pid;

		works();
		has_no_child();
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(7);
		works();
		CHECK_EQ(wait(NULL), pid); /* its own, and no other */
		has_no_child();
	}
	sthread_fini();
	has_no_child();
	CHECK_EQ(told, 5);
}

/* Who has children reaped by the kernel. */
static void reaps_by(void (*handler)(int))
{
	const struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_NOCLDWAIT };

	CHECK(!sigaction(SIGCHLD, &sa, NULL));
	st_init();
	works();
	has_no_child();
	sthread_fini();
	has_no_child();
	CHECK_EQ(told, 0);
}

static void ignores(void)
{
	reaps_by(SIG_IGN);
}

static void does_not_wait(void)
{
	reaps_by(on_child);
}

static void adopts(void)
{
	CHECK(signal(SIGCHLD, on_child) != SIG_ERR);
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	st_init();
	for (int i = 0; i < 5; i++) {
		works();
		has_no_child();
	}
	sthread_fini();
	has_no_child();
	CHECK(waitpid(-1, NULL, __WALL) < 0);
	CHECK_EQ(errno, ECHILD);
	CHECK_EQ(told, 0);
}

/* Nothing runs any more, which each call says, and the end comes. */
static void closes(void)
{
	uint64_t end;
	struct sthread *st;
	struct sthread_result r = { 0 };
	int err;

	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	st_init();
	works();
	closefrom(3);
	for (int i = 0; i < 3; i++) {
		err = sthread_call(NULL, plus_one, (void *)1, &r);
		CHECK_MSG(err < 0 || r.end == STHREAD_LOST, "call: %d, %s", err, st_words(&r));
		err = sthread_create(&st, NULL, plus_one, (void *)1);
		if (!err)
			CHECK_OK(sthread_join(st, &r));
		CHECK_MSG(err < 0 || r.end == STHREAD_LOST, "create: %d, %s", err, st_words(&r));
	}
	sthread_fini();
	for (end = life_now() + 10000000000UL; waitpid(-1, NULL, WNOHANG | __WALL) >= 0;) {
		CHECK_MSG(life_now() < end, "a process is left");
		life_nap(500);
	}
	CHECK_EQ(errno, ECHILD);
	st_init(); /* and another beginning */
	r = st_call(NULL, plus_one, (void *)1);
	ST_RETURNED(&r, 2);
	sthread_fini();
}

/* Children that execute, and that only live, while compartments run. */
static void executes(void)
{
	st_init();
	for (int i = 0; i < 10; i++) {
		int status;
		pid_t pid = i % 2 ? vfork() : fork();

		CHECK(pid >= 0);
		if (!pid) {
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		works();
		CHECK_EQ(waitpid(-1, &status, 0), pid);
		CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
		has_no_child();
	}
	sthread_fini();
}

static const struct {
	const char *name;
	void (*fn)(void);
} programs[] = {
	{ "waits for any child", waits },     { "ignores SIGCHLD", ignores }, { "does not wait", does_not_wait },
	{ "adopts orphans", adopts },	      { "executes others", executes },
};

static void apart(const char *name, void (*fn)(void))
{
	pid_t pid;
	int status;

	NOTE("%s", name);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(100); /* a hang is a failure */
		fn();
		_exit(TEST_PASSED);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "%s: wait status %#x", name, (unsigned)status);
}

int main(void)
{
	test_needs_machine();
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		apart(programs[i].name, programs[i].fn);
	if (test_placement() == TEST_PLACEMENT_PROCESS) /* KVM's: st_program */
		apart("closes everything", closes);
	return TEST_PASSED;
}
