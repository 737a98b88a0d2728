// SPDX-License-Identifier: MIT
/*
 * Policies: the errors of the set-up calls, values that a run keeps whatever happens to the handle,
 * and no descriptor left over. World: host.
 */
#include <asm/unistd.h>
#include <pthread.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

static void errors(void)
{
	struct sthread_policy *p = NULL;
	int fd = open("/dev/null", O_RDWR), dir = open("/tmp", O_PATH | O_DIRECTORY);

	CHECK_ERR(sthread_policy_create(NULL), -EINVAL);
	CHECK_OK(sthread_policy_create(&p));
	CHECK_ERR(sthread_policy_fd(p, -1, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_fd(p, 12345, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_fd(p, fd, 0), -EINVAL);
	CHECK_ERR(sthread_policy_fd(p, fd, STHREAD_FD_ALL + 1), -EINVAL);
	CHECK_ERR(sthread_policy_fd(NULL, fd, STHREAD_FD_READ), -EINVAL);
	CHECK_OK(sthread_policy_fd(p, fd, STHREAD_FD_READ));
	CHECK_ERR(sthread_policy_fd(p, fd, STHREAD_FD_WRITE), -EEXIST);
	CHECK_ERR(sthread_policy_dir(p, -1, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_dir(p, fd, STHREAD_FD_READ), -ENOTDIR);
	CHECK_ERR(sthread_policy_dir(p, dir, 0), -EINVAL);
	/* What no file or directory has. */
	CHECK_ERR(sthread_policy_dir(p, dir, STHREAD_FD_READ | STHREAD_FD_SOCKOPT), -EINVAL);
	CHECK_ERR(sthread_policy_dir(p, dir, STHREAD_FD_READ | STHREAD_FD_SHUTDOWN), -EINVAL);
	CHECK_ERR(sthread_policy_dir(p, dir, STHREAD_FD_ALL), -EINVAL);
	CHECK_OK(sthread_policy_dir(p, dir, STHREAD_FD_READ));
	CHECK_ERR(sthread_policy_dir(p, dir, STHREAD_FD_READ), -EEXIST);
	CHECK_EQ(fd_objects(), 2);

	CHECK_ERR(sthread_policy_syscall(p, __NR_ptrace, STHREAD_ALLOW), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, 100000, STHREAD_DENY_KILL), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, -2, STHREAD_DENY_KILL), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, __NR_read + 0x40000000L, STHREAD_ALLOW),
		  -EINVAL); /* x32 */
	CHECK_ERR(sthread_policy_syscall(p, (long)(1UL << 32), STHREAD_ALLOW), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, __NR_read, (enum sthread_action)3), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, __NR_read, (enum sthread_action) - 1), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, STHREAD_SYSCALL_OTHERS, STHREAD_ALLOW), -EINVAL);
	CHECK_OK(sthread_policy_syscall(p, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_KILL));
	CHECK_OK(sthread_policy_syscall(p, __NR_read, STHREAD_ALLOW));
	CHECK_ERR(sthread_policy_limit(p, (enum sthread_limit)99, 1), -EINVAL);
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 3));

	/* Inside they ask the host: natively that call has nothing to restart. */
	fake_inside(true);
	CHECK_ERR(sthread_policy_create(&p), -EINTR);
	CHECK_ERR(sthread_policy_fd(p, fd, STHREAD_FD_READ), -EINTR);
	CHECK_ERR(sthread_policy_dir(p, dir, STHREAD_FD_READ), -EINTR);
	CHECK_ERR(sthread_policy_syscall(p, __NR_read, STHREAD_ALLOW), -EINTR);
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 3), -EINTR);
	fake_inside(false);
	sthread_policy_destroy(p);
	sthread_policy_destroy(NULL);
	CHECK_EQ(fd_objects(), 0);
	close(fd);
	close(dir);
}

static void values(void)
{
	const struct policy *before, *after, *none;
	struct sthread_policy *p;
	int read_index = sys_index(__NR_read);

	none = policy_copy(NULL);
	CHECK_EQ(none->n, 0);
	CHECK_EQ(none->action[read_index], STHREAD_DENY_ERRNO);
	CHECK_EQ(none->action[sys_index(__NR_mmap)], STHREAD_ALLOW);
	policy_put(none);
	policy_put(NULL);

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_fd(p, 0, STHREAD_FD_READ));
	before = policy_copy(p);
	/* What a run holds does not change. */
	CHECK_OK(sthread_policy_syscall(p, __NR_read, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_fd(p, 1, STHREAD_FD_READ));
	after = policy_copy(p);
	CHECK(before != after);
	CHECK_EQ(before->n, 1);
	CHECK_EQ(before->action[read_index], STHREAD_DENY_ERRNO);
	CHECK_EQ(after->n, 2);
	CHECK_EQ(after->action[read_index], STHREAD_ALLOW);
	CHECK_EQ(fd_objects(), 2);
	sthread_policy_destroy(p);
	CHECK_EQ(fd_objects(), 2);
	policy_put(after);
	CHECK_EQ(fd_objects(), 1);
	policy_put(before);
	CHECK_EQ(fd_objects(), 0);
}

/* Many grants, and set-up from several threads while values are taken. */
static void *taker(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		const struct policy *v = policy_copy(arg);

		CHECK_GE(v->n, 1);
		policy_put(v);
	}
	return NULL;
}

static void *setter(void *arg)
{
	for (int i = 0; i < 2000; i++)
		CHECK_OK(sthread_policy_limit(arg, STHREAD_LIMIT_WALL_NS, (uint64_t)i));
	return NULL;
}

static void threads(void)
{
	struct sthread_policy *p;
	pthread_t t[4];

	CHECK_OK(sthread_policy_create(&p));
	for (int i = 0; i < 3; i++)
		CHECK_OK(sthread_policy_fd(p, i, STHREAD_FD_READ));
	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_create(&t[i], NULL, i < 2 ? taker : setter, p));
	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_join(t[i], NULL));
	sthread_policy_destroy(p);
	CHECK_EQ(fd_objects(), 0);
}

int main(void)
{
	errors();
	values();
	threads();
	return TEST_PASSED;
}
