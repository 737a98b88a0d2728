// SPDX-License-Identifier: MIT
/*
 * Numbers and what they stand for: duplicates with the rights of the original and no more, whole
 * files and copies between two, arguments that a policy narrows, and what a compartment is told of
 * itself besides.  World: host.
 */
#include <asm/unistd.h>
#include <linux/close_range.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define BUF (FAKE_DATA + 8 * PAGE)
#define OFF (FAKE_DATA + 4 * PAGE)

static int file(void)
{
	char name[] = "/tmp/sthread-XXXXXX";
	int fd = mkstemp(name);

	CHECK_GE(fd, 0);
	unlink(name);
	return fd;
}

static void with2(int a, unsigned rights_a, int b, unsigned rights_b)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_fd(p, a, rights_a));
	if (b >= 0)
		CHECK_OK(sthread_policy_fd(p, b, rights_b));
	fake_begin(p);
	sthread_policy_destroy(p);
}

static void duplicates(void)
{
	int fd = file(), dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	struct sthread_policy *p;

	CHECK_EQ(write(fd, "abc", 3), 3);
	with2(fd, STHREAD_FD_READ | STHREAD_FD_SEEK, -1, 0);
	CHECK_EQ(CALL(__NR_dup, (uint64_t)fd), 0);
	CHECK_EQ(CALL(__NR_dup2, (uint64_t)fd, 9), 9);
	CHECK_EQ(CALL(__NR_dup3, 9, 10, O_CLOEXEC), 10);
	CHECK_EQ(CALL(__NR_fcntl, 10, F_DUPFD, 10), 11);
	CHECK_EQ(CALL(__NR_fcntl, 10, F_DUPFD_CLOEXEC, 0), 1);
	CHECK_EQ(CALL(__NR_dup2, 9, 9), 9);
	CHECK_ERR(CALL(__NR_dup3, 9, 9, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_dup3, 9, 8, O_NONBLOCK), -EINVAL);
	CHECK_ERR(CALL(__NR_dup2, 9, (uint64_t)-1), -EBADF);
	CHECK_ERR(CALL(__NR_dup2, 9, 64), -EBADF);
	CHECK_ERR(CALL(__NR_dup2, 8, 9), -EBADF);
	CHECK_ERR(CALL(__NR_dup2, 8, 8), -EBADF);
	CHECK_ERR(CALL(__NR_fcntl, 9, F_DUPFD, (uint64_t)-1), -EINVAL);
	CHECK_ERR(CALL(__NR_fcntl, 9, F_DUPFD, 64), -EINVAL);
	/* No wider than the original, by any way; and the same open file. */
	for (unsigned i = 0; i < fake_ctx.fds.n; i++) {
		uint64_t number = (uint64_t)fake_ctx.fds.entry[i].number;

		CHECK_EQ(fake_ctx.fds.entry[i].rights, STHREAD_FD_READ | STHREAD_FD_SEEK);
		CHECK_ERR(CALL(__NR_write, number, BUF, 1), -EPERM);
		CHECK_ERR(CALL(__NR_ftruncate, number, 0), -EPERM);
		CHECK_EQ(CALL(__NR_lseek, number, (uint64_t)i, SEEK_SET), (long)i);
		CHECK_EQ(CALL(__NR_lseek, (uint64_t)fd, 0, SEEK_CUR), (long)i);
		for (unsigned k = 0; k < i; k++)
			CHECK(fake_ctx.fds.entry[k].obj != fake_ctx.fds.entry[i].obj);
	}
	CHECK_OK(CALL(__NR_close_range, 9, 10, CLOSE_RANGE_CLOEXEC)); /* without effect */
	CHECK_OK(CALL(__NR_close_range, 9, 10, 0));
	CHECK_ERR(CALL(__NR_close, 9), -EBADF);
	CHECK_OK(CALL(__NR_close, 11));
	CHECK_ERR(CALL(__NR_close_range, 2, 1, 0), -EINVAL);
	CHECK_OK(CALL(__NR_close_range, UINT32_MAX, UINT32_MAX, 0));
	CHECK_OK(CALL(__NR_close_range, 0, UINT32_MAX, 0));
	CHECK_EQ(fake_ctx.fds.n, 0);
	/* A directory is one again, and no more. */
	p = fake_policy_all();
	CHECK_OK(sthread_policy_dir(p, dir, STHREAD_FD_STAT));
	fake_begin(p);
	sthread_policy_destroy(p);
	CHECK_EQ(CALL(__NR_dup, (uint64_t)dir), 0);
	CHECK_OK(CALL(__NR_faccessat, 0, fake_puts(BUF, "."), 0));
	CHECK_ERR(CALL(__NR_openat, 0, BUF, O_RDONLY, 0), -EACCES);
	fake_end();
	CHECK_EQ(fd_objects(), 0);
	close(fd);
	close(dir);
}

static void whole_files(void)
{
	struct iovec iov = { (void *)BUF, 3 };
	int fd = file(), null = open("/dev/null", O_RDWR);
	struct rlimit old, small;
	struct stat st;

	with2(fd, STHREAD_FD_ALL, null, STHREAD_FD_ALL);
	fake_puts(BUF, "abc");
	fake_put(OFF, &iov, sizeof(iov));
	CHECK_EQ(CALL(__NR_pwritev, (uint64_t)fd, OFF, 1, 5, 0), 3);
	CHECK_EQ(CALL(__NR_pwritev2, (uint64_t)fd, OFF, 1, 8, 0, RWF_DSYNC), 3);
	CHECK_ERR(CALL(__NR_pwritev2, (uint64_t)fd, OFF, 1, 8, 0, RWF_APPEND), -EINVAL);
	CHECK_ERR(CALL(__NR_pwritev2, (uint64_t)fd, OFF, 1, (uint64_t)-1, 0, 0), -EINVAL);
	CHECK_EQ(CALL(__NR_preadv, (uint64_t)fd, OFF, 1, 6, 0), 3);
	CHECK_MEM(fake_host(BUF), "bca", 3);
	CHECK_EQ(CALL(__NR_preadv2, (uint64_t)fd, OFF, 1, 8, 0, 0), 3);
	CHECK_OK(CALL(__NR_ftruncate, (uint64_t)fd, 100));
	CHECK_OK(CALL(__NR_fallocate, (uint64_t)fd, 0, 0, 200));
	CHECK_ERR(CALL(__NR_fallocate, (uint64_t)fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 200),
		  -EINVAL);
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_size, 200);
	CHECK_OK(CALL(__NR_fsync, (uint64_t)fd));
	CHECK_OK(CALL(__NR_fdatasync, (uint64_t)fd));
	CHECK_OK(CALL(__NR_fadvise64, (uint64_t)fd, 0, 0, POSIX_FADV_WILLNEED));
	CHECK_ERR(CALL(__NR_fadvise64, (uint64_t)fd, 0, 0, 6), -EINVAL);
	CHECK_ERR(CALL(__NR_ftruncate, (uint64_t)null, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_ftruncate, (uint64_t)fd, (uint64_t)-1), -EINVAL);
	CHECK_OK(CALL(__NR_flock, (uint64_t)fd, LOCK_EX | LOCK_NB));
	CHECK_OK(CALL(__NR_flock, (uint64_t)fd, LOCK_UN));
	CHECK_ERR(CALL(__NR_flock, (uint64_t)fd, LOCK_MAND), -EINVAL);
	/* A limit on files raises a signal in nobody. */
	CHECK_OK(getrlimit(RLIMIT_FSIZE, &old));
	small = old;
	small.rlim_cur = 1000;
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &small));
	CHECK_ERR(CALL(__NR_ftruncate, (uint64_t)fd, 1001), -EFBIG);
	CHECK_ERR(CALL(__NR_fallocate, (uint64_t)fd, 0, 0, 1001), -EFBIG);
	CHECK_OK(CALL(__NR_ftruncate, (uint64_t)fd, 1000));
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &old));
	with2(fd, STHREAD_FD_ALL & ~STHREAD_FD_LOCK, -1, 0);
	CHECK_ERR(CALL(__NR_flock, (uint64_t)fd, LOCK_SH), -EPERM);
	fake_end();
	close(fd);
	close(null);
}

static long copy(int a, uint64_t off_a, int b, uint64_t off_b)
{
	return CALL(__NR_copy_file_range, (uint64_t)a, off_a, (uint64_t)b, off_b, 100, 0);
}

/* Each right on each side. */
static void copies(void)
{
	const unsigned r = STHREAD_FD_READ, w = STHREAD_FD_WRITE, s = STHREAD_FD_SEEK;
	int a = file(), b = file(), sock[2];
	int64_t off = 2, back;
	char text[16];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	CHECK_EQ(write(a, "0123456789", 10), 10);
	fake_put(OFF, &off, 8);
	fake_put(OFF + 8, &off, 8);
	with2(a, r | s, b, w | s);
	CHECK_EQ(copy(a, OFF, b, OFF + 8), 8);
	memcpy(&back, fake_host(OFF), 8);
	CHECK_EQ(back, 10);
	memcpy(&back, fake_host(OFF + 8), 8);
	CHECK_EQ(back, 10);
	CHECK_EQ(pread(b, text, 16, 2), 8);
	CHECK_MEM(text, "23456789", 8);
	CHECK_ERR(copy(b, OFF, a, OFF + 8), -EPERM);
	CHECK_ERR(copy(a, FAKE_RO, b, 0), -EFAULT);
	CHECK_ERR(copy(a, OFF, b + 100, 0), -EBADF);
	CHECK_ERR(copy(a, 0, a, 0), -EPERM);
	CHECK_ERR(CALL(__NR_copy_file_range, (uint64_t)a, 0, (uint64_t)b, 0, 1, 1), -EINVAL);
	off = -1;
	CHECK_ERR(copy(a, fake_put(OFF, &off, 8), b, 0), -EOVERFLOW);
	with2(a, r, b, w);
	CHECK_ERR(copy(a, OFF, b, 0), -EPERM);
	CHECK_ERR(copy(a, 0, b, OFF + 8), -EPERM);
	CHECK_EQ(lseek(a, 0, SEEK_SET), 0);
	CHECK_EQ(copy(a, 0, b, 0), 10);
	with2(a, r | w | s, b, r);
	CHECK_ERR(copy(a, 0, b, 0), -EPERM);
	with2(a, w | s, b, w);
	CHECK_ERR(copy(a, 0, b, 0), -EPERM);

	off = 3;
	fake_put(OFF, &off, 8);
	with2(a, r | s, sock[0], w);
	CHECK_EQ(CALL(__NR_sendfile, (uint64_t)sock[0], (uint64_t)a, OFF, UINT64_MAX), 7);
	memcpy(&back, fake_host(OFF), 8);
	CHECK_EQ(back, 10);
	CHECK_EQ(recv(sock[1], text, 16, 0), 7);
	CHECK_MEM(text, "3456789", 7);
	CHECK_ERR(CALL(__NR_sendfile, (uint64_t)a, (uint64_t)sock[0], 0, 1), -EPERM);
	with2(a, r, sock[0], w);
	CHECK_ERR(CALL(__NR_sendfile, (uint64_t)sock[0], (uint64_t)a, OFF, 1), -EPERM);
	with2(a, w | s, sock[0], w);
	CHECK_ERR(CALL(__NR_sendfile, (uint64_t)sock[0], (uint64_t)a, 0, 1), -EPERM);
	with2(a, r | s, sock[0], r);
	CHECK_ERR(CALL(__NR_sendfile, (uint64_t)sock[0], (uint64_t)a, 0, 1), -EPERM);
	with2(a, STHREAD_FD_ALL, sock[0], STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_sendfile, (uint64_t)a, (uint64_t)sock[0], 0, 1), -EINVAL);
	/* Nobody reads any more: an errno, and no signal in the master. */
	close(sock[1]);
	off = 0;
	CHECK_ERR(CALL(__NR_sendfile, (uint64_t)sock[0], (uint64_t)a, fake_put(OFF, &off, 8), 1), -EPIPE);
	fake_end();
	close(a);
	close(b);
	close(sock[0]);
}

static void arguments(void)
{
	struct sthread_policy *p = fake_policy_all();
	int fd = file();

	CHECK_ERR(sthread_policy_syscall_arg(NULL, __NR_socket, 0, 1, 1), -EINVAL);
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_ptrace, 0, 1, 1), -EINVAL);
	CHECK_ERR(sthread_policy_syscall_arg(p, -1, 0, 1, 1), -EINVAL);
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_socket, 3, 1, 1), -EINVAL); /* it has three */
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_socket, 6, 1, 1), -EINVAL);
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_read, 0, 1, 1), -EINVAL); /* a descriptor */
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_read, 1, 1, 1), -EINVAL); /* a pointer */
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_socket, 0, 1, 2), -EINVAL);
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_socket, 0, UINT64_MAX, AF_UNIX));
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_socket, 0, UINT64_MAX, AF_INET));
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_socket, 1, 0xf, SOCK_STREAM));
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_mmap, 2, PROT_WRITE, 0));
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_fcntl, 1, UINT64_MAX, F_GETFL));
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_ioctl, 1, UINT32_MAX, FIONREAD));
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_kill, 0, UINT64_MAX, (uint64_t)-5));
	/* It does not let in what the table does not. */
	CHECK_OK(sthread_policy_syscall_arg(p, __NR_socketpair, 0, UINT64_MAX, AF_INET));
	CHECK_OK(sthread_policy_fd(p, fd, STHREAD_FD_ALL));
	fake_begin(p);
	CHECK_EQ(CALL(__NR_socket, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), 1);
	CHECK_ERR(CALL(__NR_socket, AF_INET6, SOCK_STREAM, 0), -EPERM);
	CHECK_ERR(CALL(__NR_socket, AF_INET, SOCK_DGRAM, 0), -EPERM);
	CHECK_ERR(CALL(__NR_socket, AF_NETLINK, SOCK_STREAM, 0), -EPERM);
	CHECK_EQ(CALL(__NR_socket, 0xdead00000000 | AF_INET, SOCK_STREAM, 0), 2); /* an int */
	CHECK_ERR(CALL(__NR_socketpair, AF_INET, SOCK_STREAM, 0, BUF), -EINVAL);
	CHECK_ERR(CALL(__NR_socketpair, AF_UNIX, SOCK_STREAM, 0, BUF), -EPERM);
	CHECK_ERR(CALL(__NR_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), -EPERM);
	CHECK_EQ(CALL(__NR_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1), (long)FAKE_AREA);
	CHECK_EQ(CALL(__NR_fcntl, (uint64_t)fd, F_GETFL), O_RDWR);
	CHECK_ERR(CALL(__NR_fcntl, (uint64_t)fd, F_GETFD), -EPERM);
	CHECK_OK(CALL(__NR_ioctl, (uint64_t)fd, FIONREAD, BUF));
	CHECK_ERR(CALL(__NR_ioctl, (uint64_t)fd, FIONBIO, BUF), -EPERM);
	CHECK_ERR(CALL(__NR_kill, FAKE_PID, SIGKILL), -EPERM);
	CHECK_ERR(CALL(__NR_kill, UINT32_MAX - 4, 0), -ESRCH); /* minus five: past the rule */
	/* Beside a kill, a rule changes nothing. */
	CHECK_OK(sthread_policy_syscall(p, __NR_socket, STHREAD_DENY_KILL));
	fake_begin(p);
	CHECK_EQ(CALL_ENDS(__NR_socket, AF_UNIX, SOCK_STREAM, 0), STHREAD_DENIED);
	for (unsigned i = fake_ctx.policy->rules; i < POLICY_RULES; i++)
		CHECK_OK(sthread_policy_syscall_arg(p, __NR_kill, 1, UINT64_MAX, i));
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_kill, 1, UINT64_MAX, 1), -ENOSPC);
	fake_inside(true);
	CHECK_ERR(sthread_policy_syscall_arg(p, __NR_kill, 1, UINT64_MAX, 1), -EINTR);
	fake_inside(false);
	sthread_policy_destroy(p);
	fake_end();
	close(fd);
}

static uint32_t word(uint64_t at)
{
	return *(uint32_t *)(void *)fake_host(at);
}

static void itself(void)
{
	struct rusage u;

	fake_begin(NULL);
	CHECK_EQ(CALL(__NR_getpgrp), FAKE_PID);
	CHECK_EQ(CALL(__NR_getsid, 0), FAKE_PID);
	CHECK_ERR(CALL(__NR_getsid, 1), -ESRCH);
	CHECK_ERR(CALL(__NR_getpgid, (uint64_t)getppid()), -ESRCH);
	CHECK_OK(CALL(__NR_getresuid, BUF, BUF + 4, BUF + 8));
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(word(BUF + 4 * i), SYS_UID);
	CHECK_OK(CALL(__NR_getresgid, 0, BUF + 16, 0));
	CHECK_EQ(word(BUF + 16), SYS_UID);
	CHECK_OK(CALL(__NR_getgroups, 100, FAKE_NOTHING));
	CHECK_OK(CALL(__NR_prctl, PR_SET_NAME, fake_puts(BUF, "a name that is too long")));
	CHECK_OK(CALL(__NR_prctl, PR_GET_NAME, BUF + 64));
	CHECK_STR((char *)fake_host(BUF + 64), "a name that is ");
	CHECK_ERR(CALL(__NR_prctl, PR_SET_NAME, FAKE_NOTHING), -EFAULT);
	CHECK_ERR(CALL(__NR_prctl, PR_GET_NAME, FAKE_RO), -EFAULT);
	CHECK_OK(CALL(__NR_prctl, PR_SET_NAME, fake_puts(FAKE_DATA + FAKE_DATA_PAGES * PAGE - 3, "xy")));
	CHECK_OK(CALL(__NR_prctl, PR_GET_NAME, BUF));
	CHECK_MEM(fake_host(BUF), "xy\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	CHECK_ERR(CALL(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1), -EINVAL);
	fake_begin(NULL); /* the next one has no name */
	CHECK_OK(CALL(__NR_prctl, PR_GET_NAME, BUF));
	CHECK_EQ(*fake_host(BUF), 0);
	CHECK_OK(CALL(__NR_personality, UINT32_MAX));
	CHECK_ERR(CALL(__NR_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */), -EPERM);
	CHECK_OK(CALL(__NR_sched_getscheduler, 0));
	CHECK_ERR(CALL(__NR_sched_getscheduler, 1), -ESRCH);
	CHECK_OK(CALL(__NR_sched_get_priority_max, 0));
	CHECK_ERR(CALL(__NR_sched_get_priority_max, 1), -EINVAL);
	CHECK_EQ(CALL(__NR_getpriority, 0, 0), 20);
	memset(fake_host(BUF), 0xff, 8);
	CHECK_OK(CALL(__NR_getcpu, BUF, BUF + 4, 0));
	CHECK_EQ(word(BUF) | word(BUF + 4), 0);
	CHECK_OK(CALL(__NR_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
	CHECK_ERR(CALL(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0), -EINVAL);
	CHECK_OK(CALL(__NR_getrusage, RUSAGE_SELF, BUF));
	memcpy(&u, fake_host(BUF), sizeof(u));
	CHECK_EQ(u.ru_maxrss | u.ru_minflt | u.ru_nvcsw, 0); /* the master's */
	CHECK_OK(CALL(__NR_getrusage, (uint64_t)RUSAGE_CHILDREN, BUF));
	CHECK_ERR(CALL(__NR_getrusage, 5, BUF), -EINVAL);
	CHECK_GT(CALL(__NR_times, 0), 0);
	CHECK_OK(CALL(__NR_msync, FAKE_AREA, PAGE, MS_SYNC));
	CHECK_ERR(CALL(__NR_msync, FAKE_AREA, PAGE, MS_SYNC | MS_ASYNC), -EINVAL);
	CHECK_ERR(CALL(__NR_msync, FAKE_AREA + 1, PAGE, MS_SYNC), -EINVAL);
	CHECK_ERR(CALL(__NR_mlock, FAKE_AREA, PAGE), -EPERM);
	CHECK_OK(CALL(__NR_munlock, FAKE_AREA, PAGE));
	CHECK_ERR(CALL(__NR_wait4, (uint64_t)-1, BUF, 0, 0), -ECHILD);
	CHECK_ERR(CALL(__NR_restart_syscall), -EINTR);
	CHECK_OK(CALL(__NR_getitimer, 0, BUF));
	CHECK_ERR(CALL(__NR_setitimer, 0, BUF, 0), -EPERM);
	CHECK_ERR(CALL(__NR_setrlimit, RLIMIT_NOFILE, BUF), -EPERM);
	CHECK_EQ(CALL(__NR_umask, 07777), 0);
	CHECK_EQ(CALL(__NR_umask, 0), 0777);
	fake_end();
}

int main(void)
{
	signal(SIGPIPE, SIG_DFL); /* would end the test */
	signal(SIGXFSZ, SIG_DFL);
	fake_reset();
	duplicates();
	whole_files();
	copies();
	arguments();
	itself();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
