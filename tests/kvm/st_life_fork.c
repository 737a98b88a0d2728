/* SPDX-License-Identifier: MIT */
/*
 * st_life_fork.c - a child of fork() has nothing of its parent's virtual machine and may have its own; exec and vfork
 * leave nothing open either; the parent's compartments do not notice.  World: host; plus_one() runs inside.
 */
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"

extern char **environ;
static atomic_bool over;
static atomic_uint calls;

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

static void *calls_on(void *arg)
{
	while (!atomic_load(&over)) {
		struct sthread_result r = st_call(NULL, plus_one, (void *)1);

		ST_RETURNED(&r, 2);
		atomic_fetch_add(&calls, 1);
	}
	return arg;
}

static void *creates_on(void *arg)
{
	while (!atomic_load(&over)) {
		struct sthread_result r = st_run(NULL, plus_one, (void *)2);

		ST_RETURNED(&r, 3);
	}
	return arg;
}

static void ended_well(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "wait status %#x", (unsigned)status);
}

/* ---- in the child ------------------------------------------------------------------------------------------ */

static void has_nothing(void)
{
	struct sthread_stats s;
	struct sthread *st = NULL;
	struct sthread_result r;
	struct sigaction sa;
	uint64_t largest;

	CHECK_EQ(life_kvm_fds(), 0);
	life_maps(&largest);
	CHECK_MSG(largest < LIFE_LARGE, "the parent's range is mapped, %#" PRIx64 " bytes", largest);
	CHECK(!sigaction(LIFE_SIGNAL, NULL, &sa));
	CHECK(sa.sa_handler == SIG_DFL);
	CHECK_ERR(sthread_call(NULL, plus_one, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_create(&st, NULL, plus_one, NULL), -EINVAL);
	CHECK(!st);
	CHECK_ERR(sthread_stats(&s), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range(&over, 1), -EINVAL);
	sthread_fini();
}

/* What the parent has running is not the child's to wait for. */
static void parents_handle(struct sthread *st)
{
	CHECK_ERR(sthread_join(st, NULL), -EINVAL);
	CHECK_ERR(sthread_kill(st), -EINVAL);
	CHECK_ERR(sthread_detach(st), -EINVAL);
}

/* An init that fails gives back what is its own, not what has come to lie where the parent's range was. */
static void failing_init(void)
{
	struct sthread_config cfg = life_config();
	char *mine[8];

	for (size_t i = 0; i < 8; i++) {
		mine[i] = mmap(NULL, 16UL << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mine[i] != MAP_FAILED);
		memset(mine[i], 7, 4096);
	}
	cfg.memory = 4096;
	CHECK_ERR(sthread_init(&cfg), -ENOMEM);
	for (size_t i = 0; i < 8; i++) {
		CHECK_EQ(mine[i][4095], 7);
		CHECK(!munmap(mine[i], 16UL << 20));
	}
}

static void has_its_own(void)
{
	struct sthread *st;
	struct sthread_result r;

	st_init();
	CHECK_EQ(life_stats().created, 0);
	r = st_call(NULL, plus_one, (void *)4);
	ST_RETURNED(&r, 5);
	st = st_create(NULL, life_sleeps, NULL);
	r = st_run(NULL, plus_one, (void *)5);
	ST_RETURNED(&r, 6);
	CHECK_OK(sthread_kill(st));
	r = st_join(st);
	ST_END(&r, STHREAD_KILLED);
}

static void child(struct sthread *st, int generations)
{
	has_nothing();
	parents_handle(st);
	failing_init();
	has_its_own();
	if (generations) {
		pid_t pid = fork();

		if (!pid) {
			child(st, generations - 1);
			_exit(TEST_PASSED);
		}
		ended_well(pid);
	}
	sthread_fini();
	CHECK_EQ(life_kvm_fds(), 0);
}

/*
 * A handler that was there before the library's runs before it in the child, and may map what it likes where the
 * parent's range is not.
 */
static char *mapped_first;
#define MAPPED_FIRST (64UL << 20)

static void maps_first(void)
{
	mapped_first = mmap(NULL, MAPPED_FIRST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	if (mapped_first != MAP_FAILED)
		memset(mapped_first, 7, 4096);
}

static void is_still_mapped(void)
{
	CHECK(mapped_first != MAP_FAILED);
	CHECK_OK(mprotect(mapped_first, MAPPED_FIRST, PROT_READ));
	CHECK_EQ(mapped_first[4095], 7);
	CHECK(!munmap(mapped_first, MAPPED_FIRST));
}

/* A lock of the program's, held over a fork, and by those who make calls. */
static pthread_mutex_t ours = PTHREAD_MUTEX_INITIALIZER;

static void locks(void)
{
	pthread_mutex_lock(&ours);
}

static void unlocks(void)
{
	pthread_mutex_unlock(&ours);
}

static void *calls_locked(void *arg)
{
	struct sthread_stats s;

	while (!atomic_load(&over)) {
		locks();
		CHECK_OK(sthread_stats(&s));
		unlocks();
	}
	return arg;
}

static void while_locked(void)
{
	pthread_t t = life_thread(calls_locked, NULL);

	NOTE("while a call is made with a lock that the program's own handlers take");
	alarm(20);
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (!pid) {
			locks();
			unlocks();
			_exit(TEST_PASSED);
		}
		ended_well(pid);
	}
	alarm(0);
	atomic_store(&over, true);
	life_join(t);
	atomic_store(&over, false);
}

/* Handles of policies are its own, whatever the parent's threads were doing with them. */
static struct sthread_policy *changing;

static void *copies(void *arg)
{
	while (!atomic_load(&over))
		CHECK_GT(sthread_policy_format(changing, NULL, 0), 0);
	return arg;
}

static void *changes(void *arg)
{
	while (!atomic_load(&over))
		st_limit(changing, STHREAD_LIMIT_FDS, 50);
	return arg;
}

static void changes_too(void)
{
	alarm(20);
	st_limit(changing, STHREAD_LIMIT_FDS, 60);
	CHECK_GT(sthread_policy_format(changing, NULL, 0), 0);
	alarm(0);
}

static void while_it_changes(void)
{
	pthread_t t[2] = { life_thread(copies, NULL), life_thread(changes, NULL) };

	NOTE("while a policy changes");
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (!pid) {
			is_still_mapped();
			changes_too();
			_exit(TEST_PASSED);
		}
		ended_well(pid);
	}
	atomic_store(&over, true);
	life_join(t[0]);
	life_join(t[1]);
}

/* ---- in the parent -------------------------------------------------------------------------------------------- */

static void *forks(void *arg)
{
	/* From a thread that has a lane of its own. */
	struct sthread_result r = st_call(NULL, plus_one, (void *)1);
	pid_t pid;

	ST_RETURNED(&r, 2);
	pid = fork();
	if (!pid) {
		child(arg, 1);
		pthread_exit(NULL); /* the destructors run, too */
	}
	ended_well(pid);
	r = st_call(NULL, plus_one, (void *)1);
	ST_RETURNED(&r, 2);
	return NULL;
}

static void executes(void)
{
	char *const argv[] = { (char *)"st_life_fork", (char *)"--exec", NULL };
	pid_t pid;

	NOTE("vfork and exit, vfork and exec, spawn, exec without atfork handlers");
	CHECK_GE(life_kvm_fds(), 3);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	pid = vfork();
	if (!pid)
		_exit(0);
	ended_well(pid);
	pid = vfork();
	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(1);
	}
#pragma GCC diagnostic pop
	ended_well(pid);
	CHECK(!posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ));
	ended_well(pid);
	pid = (pid_t)syscall(SYS_fork);
	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(1);
	}
	ended_well(pid);
}

int main(int argc, char **argv)
{
	struct sthread_policy *p;
	struct sthread *st;
	struct sthread_result r;
	pthread_t t[2];
	unsigned before;
	int fd[2];

	if (argc > 1 && !strcmp(argv[1], "--exec")) {
		/* Standard descriptors, and what those who started us had left open. */
		return life_kvm_fds() || life_fds_named("pipe:") > 3 ? TEST_FAILED : TEST_PASSED;
	}
	CHECK(!pthread_atfork(NULL, NULL, maps_first));
	CHECK(!pthread_atfork(locks, unlocks, unlocks));
	st_init();
	p = st_policy();
	CHECK(!pipe2(fd, O_CLOEXEC));
	st_grant(p, fd[0], STHREAD_FD_ALL);
	st_allow(p, SYS_read);
	st = st_create(p, life_sleeps, NULL);
	t[0] = life_thread(calls_on, NULL);
	t[1] = life_thread(creates_on, NULL);
	LIFE_UNTIL(atomic_load(&calls) > 3);
	for (int i = 0; i < 4; i++) {
		NOTE("fork %d", i);
		before = atomic_load(&calls);
		life_join(life_thread(forks, st));
		st_others_live();
		LIFE_UNTIL(atomic_load(&calls) > before + 3);
	}
	executes();
	before = atomic_load(&calls);
	LIFE_UNTIL(atomic_load(&calls) > before + 3);
	atomic_store(&over, true);
	life_join(t[0]);
	life_join(t[1]);
	atomic_store(&over, false);
	while_locked();
	changing = p;
	while_it_changes();
	st_others_live();
	CHECK_OK(sthread_kill(st));
	r = st_join(st);
	ST_END(&r, STHREAD_KILLED);
	CHECK_EQ(life_stats().vcpus_lost, 0);
	sthread_policy_destroy(p);
	sthread_fini();
	CHECK_EQ(life_kvm_fds(), 0);
	return TEST_PASSED;
}
