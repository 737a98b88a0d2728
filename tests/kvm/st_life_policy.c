/* SPDX-License-Identifier: MIT */
/*
 * st_life_policy.c - policies are values: used again, changed and destroyed while runs go on, they leave nothing open;
 * sthread_checkpoint_range() changes the image before the first run and never after.  World: host; what is marked
 * runs inside.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/kvm/st_life.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

/* arg: descriptor.  The byte that is read, or -errno. */
static void *reads(void *arg)
{
	char c;

	return (void *)(intptr_t)(read((int)(intptr_t)arg, &c, 1) < 0 ? -errno : c);
}

static void *writes(void *arg)
{
	return (void *)(intptr_t)(write((int)(intptr_t)arg, "y", 1) < 0 ? -errno : 1);
}

/* ---- policies ------------------------------------------------------------------------------------------------- */

static atomic_bool over;
static int zero;

static void *uses(void *p)
{
	while (!atomic_load(&over)) {
		struct sthread_result r = st_call(p, reads, (void *)(intptr_t)zero);

		/* Changed under it all the time: what was granted then, or not yet. */
		CHECK(r.end == STHREAD_RETURNED && (!r.value || r.value == (void *)-EBADF || r.value == (void *)-ENOSYS));
		r = st_run(p, reads, (void *)(intptr_t)zero);
		CHECK(r.end == STHREAD_RETURNED && (!r.value || r.value == (void *)-EBADF || r.value == (void *)-ENOSYS));
	}
	return NULL;
}

static void changed_between_runs(void)
{
	struct sthread_policy *p = st_policy();
	void *fd = (void *)(intptr_t)zero;
	struct sthread_result r;

	r = st_call(p, reads, fd);
	ST_RETURNED(&r, -ENOSYS);
	st_allow(p, SYS_read);
	r = st_call(p, reads, fd);
	ST_RETURNED(&r, -EBADF);
	st_grant(p, zero, STHREAD_FD_READ);
	r = st_call(p, reads, fd);
	ST_RETURNED(&r, 0);
	r = st_run(p, reads, fd);
	ST_RETURNED(&r, 0);
	st_action(p, SYS_read, STHREAD_DENY_KILL);
	r = st_call(p, reads, fd);
	ST_DENIED(&r, SYS_read);
	st_action(p, SYS_read, STHREAD_DENY_ERRNO);
	r = st_run(p, reads, fd);
	ST_RETURNED(&r, -ENOSYS);
	/* The twin: nothing of all that sticks to the compartment. */
	r = st_call(NULL, reads, fd);
	ST_RETURNED(&r, -ENOSYS);
	sthread_policy_destroy(p);
}

static void shared_and_changed(void)
{
	struct sthread_policy *p = st_policy();
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		t[i] = life_thread(uses, p);
	for (int i = 0; i < 100; i++) {
		st_action(p, SYS_read, i % 3 ? STHREAD_ALLOW : STHREAD_DENY_ERRNO);
		if (i == 50)
			st_grant(p, zero, STHREAD_FD_READ);
		st_limit(p, STHREAD_LIMIT_FDS, 64 + (uint64_t)i);
		life_nap(500);
	}
	atomic_store(&over, true);
	for (int i = 0; i < 3; i++)
		life_join(t[i]);
	sthread_policy_destroy(p);
}

static void destroyed_while_used(void)
{
	unsigned fds;
	int fd[2];
	char c;

	CHECK(!pipe2(fd, O_CLOEXEC));
	fds = life_fds();
	for (int i = 0; i < 20; i++) {
		struct sthread_policy *p = st_policy();
		struct sthread *st;
		struct sthread_result r;

		st_allow(p, SYS_read);
		st_grant(p, fd[0], STHREAD_FD_READ);
		st = st_create(p, reads, (void *)(intptr_t)fd[0]);
		if (i % 2)
			life_nap(1000);
		sthread_policy_destroy(p);
		c = (char)('a' + i);
		CHECK_EQ(write(fd[1], &c, 1), 1);
		r = st_join(st);
		ST_RETURNED(&r, c);
	}
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_LE(life_fds(), fds + 2);
	close(fd[0]);
	/* The last duplicate has gone: else this would be a pipe with a reader. */
	CHECK_EQ(write(fd[1], &c, 1), -1);
	CHECK_EQ(errno, EPIPE);
	close(fd[1]);
}

/* The number stays what it was at the grant, whatever the master does with its own. */
static void closed_and_reused(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	int fd[2], other, at;
	char c = 'z';

	CHECK(!pipe2(fd, O_CLOEXEC));
	st_allow(p, SYS_read, SYS_write);
	at = fd[1];
	st_grant(p, fd[1], STHREAD_FD_WRITE);
	close(fd[1]);
	other = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(other, at);
	r = st_call(p, writes, (void *)(intptr_t)at);
	ST_RETURNED(&r, 1);
	CHECK_EQ(read(fd[0], &c, 1), 1);
	CHECK_EQ(c, 'y');
	sthread_policy_destroy(p);
	CHECK_EQ(read(fd[0], &c, 1), 0);
	close(other);
	close(fd[0]);
}

static void errors(void)
{
	struct sthread_policy *p = st_policy();
	struct rlimit old, none;
	unsigned fds;
	int file;

	CHECK_ERR(sthread_policy_create(NULL), -EINVAL);
	sthread_policy_destroy(NULL);
	CHECK_ERR(sthread_policy_fd(NULL, zero, STHREAD_FD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_fd(p, zero, 0), -EINVAL);
	CHECK_ERR(sthread_policy_fd(p, zero, STHREAD_FD_ALL + 1), -EINVAL);
	CHECK_ERR(sthread_policy_fd(p, -1, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_fd(p, 19999, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_dir(NULL, zero, STHREAD_FD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_dir(p, zero, STHREAD_FD_READ), -ENOTDIR);
	CHECK_ERR(sthread_policy_dir(p, 19999, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_dir(p, zero, 0), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(NULL, SYS_read, STHREAD_ALLOW), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, SYS_ptrace, STHREAD_ALLOW), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, 1 << 20, STHREAD_ALLOW), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW + 1), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, SYS_read, (enum sthread_action)-1), -EINVAL);
	CHECK_ERR(sthread_policy_limit(NULL, STHREAD_LIMIT_FDS, 1), -EINVAL);
	CHECK_ERR(sthread_policy_limit(p, (enum sthread_limit)99, 1), -EINVAL);
	CHECK_ERR(sthread_policy_limit(p, (enum sthread_limit)-1, 1), -EINVAL);
	st_grant(p, zero, STHREAD_FD_READ);
	fds = life_fds();
	CHECK_ERR(sthread_policy_fd(p, zero, STHREAD_FD_READ), -EEXIST);
	CHECK_EQ(life_fds(), fds);
	/* None left: -EMFILE, and the policy is as it was. */
	file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(!getrlimit(RLIMIT_NOFILE, &old));
	none = old;
	none.rlim_cur = (rlim_t)file + 1; /* the lowest free number: all below are in use */
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	CHECK_ERR(sthread_policy_fd(p, file, STHREAD_FD_READ), -EMFILE);
	CHECK(!setrlimit(RLIMIT_NOFILE, &old));
	CHECK_OK(sthread_policy_fd(p, file, STHREAD_FD_READ));
	close(file);
	sthread_policy_destroy(p);
}

/* ---- the image -------------------------------------------------------------------------------------------------------- */

static char words[3 * 4096] = "before";
static const char constant[] = "constant";
static int number = 1;
static char *heap;

static void *first_word(void *arg)
{
	return (void *)(intptr_t)(!strcmp(words, (const char *)arg));
}

static void *sees(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)(words[5000] == 'm' && words[4999] == 0 && words[3 * 4096 - 1] == 0 && number == 2 &&
				  heap[100] == 'h' && heap[101] == 0);
}

static void image(void)
{
	static char after[16], secret[16];
	void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *later;
	struct sthread_result r;

	heap = calloc(1, 8192);
	CHECK_ERR(sthread_checkpoint_range(words, 6), -EINVAL); /* not initialised */
	st_init();
	strcpy(words, "after");
	words[5000] = 'm';
	words[4999] = 'n';                      /* these two are not taken again */
	words[3 * 4096 - 1] = 'n';
	number = 2;
	heap[100] = heap[101] = 'h';
	strcpy(after, "after");
	strcpy(secret, "secret");
	CHECK_OK(sthread_checkpoint_range(words, 6));
	CHECK_OK(sthread_checkpoint_range(words + 5000, 1));
	CHECK_OK(sthread_checkpoint_range(&number, sizeof(number)));
	CHECK_OK(sthread_checkpoint_range(heap + 100, 1));
	CHECK_OK(sthread_checkpoint_range(after, sizeof(after)));
	CHECK_OK(sthread_checkpoint_range(words, 4096 + 1));    /* over a page's end */

	later = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(later != MAP_FAILED && shared != MAP_FAILED);
	CHECK_ERR(sthread_checkpoint_range(NULL, 1), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range((void *)constant, 1), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range((void *)(uintptr_t)image, 1), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range(shared, 1), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range(later, 1), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range(words, SIZE_MAX), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range(words, 1UL << 40), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range((void *)0xffffffff80000000, 1), -EINVAL);
	{
		char local = 1;

		CHECK_ERR(sthread_checkpoint_range(&local, 1), -EINVAL);
	}
	r = st_call(NULL, first_word, after);
	ST_RETURNED(&r, 1);
	r = st_call(NULL, first_word, secret);  /* empty inside */
	ST_RETURNED(&r, 0);
	r = st_run(NULL, sees, NULL);
	ST_RETURNED(&r, 1);
	strcpy(words, "never");
	CHECK_ERR(sthread_checkpoint_range(words, 6), -EBUSY);
	r = st_call(NULL, first_word, after);
	ST_RETURNED(&r, 1);
	munmap(shared, 4096);
	munmap(later, 4096);
	free(heap);
}

int main(void)
{
	unsigned fds;

	signal(SIGPIPE, SIG_IGN);
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	CHECK(zero >= 0);
	fds = life_fds();
	image();
	errors();
	changed_between_runs();
	shared_and_changed();
	destroyed_while_used();
	closed_and_reused();
	sthread_fini();
	CHECK_EQ(life_fds(), fds);
	return TEST_PASSED;
}
