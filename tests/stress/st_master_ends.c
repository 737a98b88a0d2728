/* SPDX-License-Identifier: MIT */
/*
 * st_master_ends.c - the program ends at random moments, while compartments make calls, fault and are created: killed,
 * by exit, by exec, killed after a fork; half of the time as another user than it was at init.  Of what the library
 * made, no process is left.  World: host; what is marked runs inside.
 *
 * This process adopts what loses its parent (a subreaper), so that all that a program leaves become its children,
 * whatever their name, session or group.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"

#define GONE_MS 5000 /* it takes some milliseconds; this machine may be busy */

enum way { KILLED, EXITS, EXECS, FORKED, RAW_FORKED, WAYS };
static const char *const names[WAYS] = { "killed", "exit", "exec", "killed after fork", "killed after a bare fork" };

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *calls(void *arg)
{
	for (unsigned i = 0; i < 1000; i++)
		sched_yield();
	return arg;
}

static void *faults(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

static void *touches(void *arg)
{
	char *p = malloc(200000);

	memset(p, 1, 200000);
	free(p);
	return arg;
}

/* ---- the program ----------------------------------------------------------------------------------------------- */

static struct sthread_policy *yields;

static void *load(void *arg)
{
	static st_fn *const fns[] = { calls, faults, touches };

	for (unsigned i = (unsigned)(uintptr_t)arg;; i++) {
		struct sthread_result r;
		struct sthread *st;

		if (i % 2) {
			if (sthread_call(yields, fns[i % 3], NULL, &r))
				pause();
			continue;
		}
		if (sthread_create(&st, yields, fns[i % 3], NULL))
			pause();
		CHECK_OK(sthread_join(st, NULL));
	}
	return NULL;
}

/* Under way, it says so by a byte; what it forks, by its id. */
static void program(enum way way, unsigned as, unsigned us, int out)
{
	pid_t other = 0;

	if (as == 1)
		CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	st_init();
	yields = st_policy();
	st_allow(yields, SYS_sched_yield);
	CHECK_OK(sthread_detach(st_create(yields, life_spins, NULL)));
	for (uintptr_t i = 0; i < 3; i++)
		life_thread(load, (void *)i);
	if (as == 2)
		CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	if (way == FORKED || way == RAW_FORKED) {
		life_nap(us);
		other = way == FORKED ? fork() : (pid_t)syscall(SYS_fork);
		if (!other)
			for (;;)
				syscall(SYS_pause);
	}
	CHECK_EQ(write(out, &other, sizeof(other)), sizeof(other));
	life_nap(us);
	if (way == EXITS)
		_exit(TEST_PASSED);
	if (way == EXECS)
		execl("/proc/self/exe", "st_master_ends", "waits", NULL);
	for (;;)
		pause();
}

/* ---- who looks ---------------------------------------------------------------------------------------------------- */

/* Children of this process that live, but for one; of that one they count, too. */
static unsigned living(pid_t but)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		char name[300], text[512] = "", state, *p;
		int fd, parent;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || atoi(e->d_name) == but)
			continue;
		snprintf(name, sizeof(name), "/proc/%s/stat", e->d_name);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)!read(fd, text, sizeof(text) - 1);
		close(fd);
		p = strrchr(text, ')');
		n += p && sscanf(p, ") %c %d", &state, &parent) == 2 &&
		     (parent == getpid() || (but && parent == but)) && state != 'Z' && state != 'X';
	}
	closedir(d);
	return n;
}

static void reap(pid_t *but)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
		if (but && pid == *but)
			*but = 0;
}

/* What it leaves goes.  `but`: a child that it forked, which is to live on. */
static uint64_t gone(const char *what, pid_t but)
{
	uint64_t begun = life_now(), limit = begun + GONE_MS * 1000000UL * st_slow();
	pid_t there = but;

	for (;;) {
		reap(&there);
		if (!living(but))
			break;
		CHECK_MSG(life_now() < limit, "%s: %u processes are left", what, living(but));
		life_nap(200);
	}
	CHECK_MSG(there == but, "%s: the child that it forked has ended", what);
	return life_now() - begun;
}

static uint64_t longest;

static void round_of(enum way way, unsigned as, unsigned us)
{
	int ends[2], status;
	pid_t pid, other = 0;
	uint64_t took;
	ssize_t n;

	CHECK(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(ends[0]);
		program(way, as, us, ends[1]);
		_exit(TEST_FAILED);
	}
	close(ends[1]);
	n = read(ends[0], &other, sizeof(other));
	CHECK_MSG(n == sizeof(other), "%s, as %u: it did not begin", names[way], as);
	if (way != EXITS && way != EXECS) {
		life_nap(us);
		CHECK_GT(living(other), 0); /* the program at least: what is looked for is found */
		CHECK(!kill(pid, SIGKILL));
	}
	if (way == EXECS) { /* the descriptor closes with the exec: the new program lives, without what the old one had */
		CHECK_EQ(read(ends[0], &other, sizeof(other)), 0);
		took = gone("exec", pid);
		CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
		CHECK(!kill(pid, SIGKILL));
	}
	close(ends[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (way == EXITS)
		CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == TEST_PASSED, "wait status %#x", (unsigned)status);
	else
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s, as %u: wait status %#x", names[way], as,
			  (unsigned)status);
	took = gone(names[way], other);
	if (took > longest)
		longest = took;
	if (other) {
		CHECK(!kill(other, SIGKILL));
		CHECK_EQ(waitpid(other, &status, __WALL), other);
		gone(names[way], 0);
	}
}

int main(int argc, char **argv)
{
	unsigned long rounds;
	unsigned seed = (unsigned)getpid();

	if (argc > 1 && !strcmp(argv[1], "waits")) {
		/* What the program before the exec left is this one's child, or its parent's. */
		for (;;) {
			if (waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD)
				life_nap(1000);
		}
	}
	test_needs_machine();
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	rounds = test_scale(200);
	NOTE("seed %u", seed);
	for (unsigned long i = 0; i < rounds; i++) {
		/* 0: the same user all the time; 1: another before init; 2: another while compartments run */
		unsigned as = getuid() ? 0 : i % 2 ? 1 + (unsigned)(i / 2 % 2) : 0;

		round_of((enum way)(i / 4 % WAYS), as, (unsigned)rand_r(&seed) % (20000 * st_slow()));
	}
	NOTE("the longest took %" PRIu64 " ms", longest / 1000000);
	return TEST_PASSED;
}
