// SPDX-License-Identifier: MIT
/*
 * Reading, writing and asking on descriptors: what arrives where, hostile vectors, no signal in the
 * master, and text to a standard error that was not granted. World: host.
 */
#include <asm/unistd.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <termios.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define BUF (FAKE_DATA + 8 * PAGE)
#define FAR (FAKE_DATA + 24 * PAGE)

static int file(void)
{
	char name[] = "/tmp/sthread-XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	unlink(name);
	return fd;
}

static struct sthread_policy *policy_of(int fd, unsigned rights)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_fd(p, fd, rights));
	return p;
}

/* Begins a run that holds fd with the rights. */
static void with(int fd, unsigned rights)
{
	struct sthread_policy *p = policy_of(fd, rights);

	fake_begin(p);
	sthread_policy_destroy(p); /* the run goes on */
}

static void plain(void)
{
	int fd = file();
	struct stat st;
	char text[32];

	with(fd, STHREAD_FD_ALL);
	fake_puts(BUF, "hello, world");
	CHECK_EQ(CALL(__NR_write, fd, BUF, 12), 12);
	CHECK_EQ(CALL(__NR_write, fd, BUF, 0), 0);
	CHECK_EQ(pread(fd, text, sizeof(text), 0), 12);
	CHECK_MEM(text, "hello, world", 12);
	CHECK_EQ(CALL(__NR_lseek, fd, 7, SEEK_SET), 7);
	CHECK_ERR(CALL(__NR_lseek, fd, 0, 5), -EINVAL);
	CHECK_ERR(CALL(__NR_lseek, fd, -1, SEEK_SET), -EINVAL);
	CHECK_EQ(CALL(__NR_read, fd, FAR + PAGE - 2, 100), 5); /* across pages */
	CHECK_MEM(fake_host(FAR + PAGE - 2), "wo", 2);
	CHECK_MEM(fake_host(FAR + PAGE), "rld", 3);
	CHECK_EQ(CALL(__NR_read, fd, FAR, 100), 0);
	CHECK_EQ(CALL(__NR_pread64, fd, FAR, 5, 0), 5);
	CHECK_MEM(fake_host(FAR), "hello", 5);
	CHECK_EQ(CALL(__NR_pwrite64, fd, BUF, 5, 100), 5);
	CHECK_ERR(CALL(__NR_pread64, fd, FAR, 5, -1), -EINVAL);
	CHECK_OK(CALL(__NR_fstat, fd, FAR));
	memcpy(&st, fake_host(FAR), sizeof(st));
	CHECK_EQ(st.st_size, 105);
	/* Lengths before contents. */
	CHECK_ERR(CALL(__NR_write, fd, BUF, UINT64_MAX), -EINVAL);
	CHECK_ERR(CALL(__NR_write, fd, BUF, (uint64_t)SSIZE_MAX), -EFAULT);
	CHECK_ERR(CALL(__NR_read, fd, BUF, DUNE_USER_END), -EFAULT);
	/* More than one call may carry is a short write, and the rest is written by the next. */
	CHECK_EQ(CALL(__NR_pwrite64, fd, FAKE_DATA, FAKE_DATA_PAGES * PAGE, 0),
		 UACCESS_PAGES * PAGE);
	/* Closed inside: revoked, and only inside. */
	CHECK_OK(CALL(__NR_close, fd));
	CHECK_ERR(CALL(__NR_read, fd, FAR, 1), -EBADF);
	CHECK_ERR(CALL(__NR_close, fd), -EBADF);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	fake_begin(NULL);
	CHECK_EQ(fd_objects(), 0);
	close(fd);
}

/* The path that matters: a small request on a socket or a file. */
static void lean(void)
{
	int fd = file();

	with(fd, STHREAD_FD_ALL);
	fake_lookups();
	CHECK_EQ(CALL(__NR_write, fd, BUF, 100), 100);
	CHECK_LE(fake_lookups(), 1);
	CHECK_EQ(CALL(__NR_write, fd, BUF + PAGE - 10, 100), 100);
	CHECK_LE(fake_lookups(), 2);
	fake_begin(NULL);
	close(fd);
}

static void cow(void)
{
	int fd = file();

	with(fd, STHREAD_FD_ALL);
	CHECK_EQ(write(fd, "secret", 6), 6);
	CHECK_EQ(CALL(__NR_pread64, fd, FAKE_COW + PAGE - 3, 6, 0), 6);
	CHECK_MEM(fake_host(FAKE_COW + PAGE - 3), "sec", 3);
	CHECK_MEM(fake_host(FAKE_COW + PAGE), "ret", 3);
	CHECK_EQ(*fake_template(FAKE_COW + PAGE - 3), 0xcc);
	CHECK_EQ(*fake_template(FAKE_COW + PAGE), 0xcc);
	CHECK_EQ(CALL(__NR_pread64, fd, FAKE_DEMAND + 9, 6, 0), 6);
	CHECK_MEM(fake_host(FAKE_DEMAND + 9), "secret", 6);
	CHECK_ERR(CALL(__NR_pread64, fd, FAKE_RO, 6, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_pread64, fd, FAKE_DEMAND_RO, 6, 0), -EFAULT);
	CHECK_EQ(CALL(__NR_pwrite64, fd, FAKE_RO, 6, 0), 6);
	/* No page to be had: the compartment is over its limit, no errno. */
	fake_reset();
	fake_room(0);
	CHECK_EQ(CALL_ENDS(__NR_pread64, fd, FAKE_COW, 6, 0), STHREAD_OVER_LIMIT);
	CHECK_EQ(fake_ctx.limit, STHREAD_LIMIT_MEMORY);
	CHECK_EQ(*fake_template(FAKE_COW), 0xcc);
	fake_reset();
	fake_begin(NULL);
	close(fd);
}

/*
 * A device is read with the signals of terminals blocked; an eventfd is none of the kinds that are
 * known.
 */
static void devices(void)
{
	int zero = open("/dev/zero", O_RDWR), event = eventfd(3, 0);
	uint64_t count = 0;
	sigset_t before, after;

	fake_direct(true);
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	with(zero, STHREAD_FD_ALL);
	memset(fake_host(BUF), 0xff, 16);
	CHECK_EQ(CALL(__NR_read, zero, BUF, 8), 8);
	CHECK_EQ(fake_host(BUF)[7], 0);
	CHECK_EQ(fake_host(BUF)[8], 0xff);
	CHECK_EQ(CALL(__NR_write, zero, BUF, 8), 8);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	CHECK_MEM(&before, &after, 8);
	fake_direct(false);
	with(event, STHREAD_FD_ALL);
	CHECK_EQ(CALL(__NR_read, event, BUF, 8), 8);
	memcpy(&count, fake_host(BUF), 8);
	CHECK_EQ(count, 3);
	CHECK_ERR(CALL(__NR_read, event, BUF, 7), -EINVAL);
	CHECK_EQ(CALL(__NR_write, event, BUF, 8), 8);
	fake_begin(NULL);
	close(zero);
	close(event);
}

static uint64_t put_iov(const struct iovec *iov, size_t n)
{
	return fake_put(FAKE_DATA, iov, n * sizeof(*iov));
}

static void vectors(void)
{
	struct iovec iov[IOV_MAX + 1];
	int fd = file();

	with(fd, STHREAD_FD_ALL);
	fake_puts(BUF, "abcdef");
	iov[0] = (struct iovec){ (void *)(BUF + 3), 3 };
	iov[1] = (struct iovec){ NULL, 0 };
	iov[2] = (struct iovec){ (void *)BUF, 3 };
	CHECK_EQ(CALL(__NR_writev, fd, put_iov(iov, 3), 3), 6);
	CHECK_EQ(CALL(__NR_lseek, fd, 0, SEEK_SET), 0);
	iov[0] = (struct iovec){ (void *)FAR, 2 };
	iov[1] = (struct iovec){ (void *)(FAR + PAGE - 2), 4 };
	CHECK_EQ(CALL(__NR_readv, fd, put_iov(iov, 2), 2), 6);
	CHECK_MEM(fake_host(FAR), "de", 2);
	CHECK_MEM(fake_host(FAR + PAGE - 2), "fa", 2);
	CHECK_MEM(fake_host(FAR + PAGE), "bc", 2);
	CHECK_EQ(CALL(__NR_writev, fd, FAKE_NOTHING, 0), 0);

	for (unsigned i = 0; i <= IOV_MAX; i++)
		iov[i] = (struct iovec){ (void *)(BUF + i), 1 };
	put_iov(iov, IOV_MAX + 1);
	CHECK_ERR(CALL(__NR_writev, fd, FAKE_DATA, IOV_MAX + 1), -EINVAL);
	CHECK_ERR(CALL(__NR_writev, fd, FAKE_DATA, UINT64_MAX), -EINVAL);
	CHECK_EQ(CALL(__NR_writev, fd, FAKE_DATA, IOV_MAX), IOV_MAX); /* neighbours: one range */
	for (unsigned i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){ (void *)(BUF + 2 * i), 1 };
	put_iov(iov, IOV_MAX);
	CHECK_EQ(CALL(__NR_writev, fd, FAKE_DATA, IOV_MAX),
		 UACCESS_PAGES); /* short, but never wrong */

	/* One bad element spoils it, and nothing is written. */
	CHECK_OK(ftruncate(fd, 0));
	iov[0] = (struct iovec){ (void *)BUF, 3 };
	iov[1] = (struct iovec){ (void *)FAKE_NOTHING, 3 };
	CHECK_ERR(CALL(__NR_writev, fd, put_iov(iov, 2), 2), -EFAULT);
	iov[1] = (struct iovec){ (void *)BUF, (size_t)-1 };
	CHECK_ERR(CALL(__NR_writev, fd, put_iov(iov, 2), 2), -EINVAL);
	iov[1] = (struct iovec){ (void *)BUF, SSIZE_MAX };
	CHECK_ERR(CALL(__NR_writev, fd, put_iov(iov, 2), 2), -EINVAL);
	iov[1] = (struct iovec){ (void *)(UINT64_MAX - 1), 3 };
	CHECK_ERR(CALL(__NR_writev, fd, put_iov(iov, 2), 2), -EFAULT);
	iov[1] = (struct iovec){ (void *)FAKE_RO, 3 };
	CHECK_ERR(CALL(__NR_readv, fd, put_iov(iov, 2), 2), -EFAULT);
	/* The vector itself ends at a hole. */
	CHECK_ERR(CALL(__NR_writev, fd, FAKE_DATA + FAKE_DATA_PAGES * PAGE - 16, 2), -EFAULT);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
	fake_begin(NULL);
	close(fd);
}

static void signals_shown(int sig)
{
	FAIL("signal %d in the master", sig);
}

/* Broken pipes and file size limits are errors inside and nothing outside. */
static void no_signals(void)
{
	struct rlimit old, small;
	int pipefd[2], fd = file();
	sigset_t pending, set;

	signal(SIGPIPE, signals_shown);
	signal(SIGXFSZ, signals_shown);
	for (int blocked = 0; blocked < 2; blocked++) {
		sigemptyset(&set);
		sigaddset(&set, SIGPIPE);
		sigaddset(&set, SIGXFSZ);
		CHECK_OK(sigprocmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL));
		CHECK_OK(pipe(pipefd));
		close(pipefd[0]);
		with(pipefd[1], STHREAD_FD_ALL);
		CHECK_ERR(CALL(__NR_write, pipefd[1], BUF, 1), -EPIPE);
		CHECK_EQ(CALL(__NR_writev, pipefd[1], FAKE_NOTHING, 0), 0);
		sigpending(&pending);
		CHECK(!sigismember(&pending, SIGPIPE));
		close(pipefd[1]);
		CHECK_OK(getrlimit(RLIMIT_FSIZE, &old));
		small = old;
		small.rlim_cur = 10;
		CHECK_OK(setrlimit(RLIMIT_FSIZE, &small));
		with(fd, STHREAD_FD_ALL);
		CHECK_ERR(CALL(__NR_pwrite64, fd, BUF, 1, 100), -EFBIG);
		CHECK_EQ(CALL(__NR_pwrite64, fd, BUF, 1, 5), 1);
		CHECK_OK(setrlimit(RLIMIT_FSIZE, &old));
		sigpending(&pending);
		CHECK(!sigismember(&pending, SIGXFSZ));
	}
	/* One that was pending before stays the master's. */
	CHECK_OK(raise(SIGPIPE));
	CHECK_OK(pipe(pipefd));
	close(pipefd[0]);
	with(pipefd[1], STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_write, pipefd[1], BUF, 1), -EPIPE);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGPIPE));
	signal(SIGPIPE, SIG_IGN);
	fake_begin(NULL);
	close(pipefd[1]);
	close(fd);
}

static void *closes_late(void *arg)
{
	usleep(100000);
	close(*(int *)arg);
	return NULL;
}

/* The reader goes in the middle: a part was written, and the signal raised all the same. */
static void no_late_signal(void)
{
	sigset_t set, pending;
	int pipefd[2];
	pthread_t t;

	signal(SIGPIPE, signals_shown);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	while (sigtimedwait(&set, NULL, &(struct timespec){ 0, 0 }) == SIGPIPE)
		;
	for (int blocked = 1; blocked >= 0; blocked--) {
		CHECK_OK(sigprocmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL));
		CHECK_OK(pipe(pipefd));
		with(pipefd[1], STHREAD_FD_ALL);
		CHECK_OK(pthread_create(&t, NULL, closes_late, &pipefd[0]));
		CHECK_EQ(CALL(__NR_write, pipefd[1], FAKE_DATA, UACCESS_PAGES * PAGE), 16 * PAGE);
		CHECK_OK(pthread_join(t, NULL));
		sigpending(&pending);
		CHECK(!sigismember(&pending, SIGPIPE));
		fake_begin(NULL);
		close(pipefd[1]);
	}
}

/* What is only appended to stays so. */
static void append_only(void)
{
	int fd = file();

	with(fd, STHREAD_FD_ALL);
	CHECK_EQ(CALL(__NR_fcntl, fd, F_GETFL), O_RDWR);
	CHECK_OK(CALL(__NR_fcntl, fd, F_SETFL, O_APPEND));
	CHECK(fcntl(fd, F_GETFL) & O_APPEND);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETFL, 0), -EPERM);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETFL, O_NONBLOCK), -EPERM);
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND);
	CHECK_OK(CALL(__NR_fcntl, fd, F_SETFL, O_APPEND | O_NONBLOCK));
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND | O_NONBLOCK);
	CHECK_OK(CALL(__NR_fcntl, fd, F_SETFL, O_APPEND));
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND);
	fake_begin(NULL);
	close(fd);
}

/* FIONREAD only where no driver answers; and a counter and a timer work. */
static void counted(void)
{
	int event = eventfd(3, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY), fd = file(), value = -1;
	const struct itimerspec soon = { .it_value = { 0, 1 } };

	with(event, STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_ioctl, event, FIONREAD, FAKE_DATA), -ENOTTY);
	with(tmp, STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_ioctl, tmp, FIONREAD, FAKE_DATA), -ENOTTY);
	with(fd, STHREAD_FD_ALL);
	CHECK_EQ(write(fd, "abc", 3), 3);
	CHECK_OK(lseek(fd, 0, SEEK_SET));
	CHECK_OK(CALL(__NR_ioctl, fd, FIONREAD, FAKE_DATA));
	memcpy(&value, fake_host(FAKE_DATA), sizeof(value));
	CHECK_EQ(value, 3);
	with(timer, STHREAD_FD_ALL);
	CHECK_OK(timerfd_settime(timer, 0, &soon, NULL));
	CHECK_EQ(CALL(__NR_read, timer, BUF, 8), 8);
	fake_begin(NULL);
	close(event);
	close(timer);
	close(tmp);
	close(fd);
}

static void message(void)
{
	const struct iovec iov[2] = { { (void *)BUF, 5 }, { (void *)(BUF + 100), 7 } };
	struct sthread_policy *p = fake_policy_all();
	int pipefd[2];

	fake_begin(NULL);
	fake_puts(BUF, "*** s");
	fake_puts(BUF + 100, "mashed\n");
	put_iov(iov, 2);
	CHECK_ERR(CALL(__NR_writev, 2, FAKE_DATA, 2),
		  -ENOSYS); /* not allowed at all: heard all the same */
	CHECK_STR(fake_ctx.message, "*** smashed\n");
	fake_begin(p);
	CHECK_ERR(CALL(__NR_writev, 2, FAKE_DATA, 2), -EBADF);
	CHECK_ERR(CALL(__NR_write, 2, BUF + 100, 6), -EBADF);
	CHECK_STR(fake_ctx.message, "*** smashed\nmashed");
	/* Long, hostile, unmapped: the end of what could be read. */
	memset(fake_host(BUF), 'x', PAGE);
	*fake_host(BUF + PAGE - 1) = 'y';
	CHECK_ERR(CALL(__NR_write, 2, BUF, PAGE), -EBADF);
	CHECK_EQ(strlen(fake_ctx.message), STHREAD_MESSAGE - 1);
	CHECK_EQ(fake_ctx.message[STHREAD_MESSAGE - 2], 'y');
	CHECK_ERR(CALL(__NR_write, 2, FAKE_NOTHING, 10), -EBADF);
	CHECK_ERR(CALL(__NR_write, 2, UINT64_MAX, UINT64_MAX), -EBADF);
	CHECK_ERR(CALL(__NR_writev, 2, UINT64_MAX, UINT64_MAX), -EBADF);
	CHECK_EQ(strlen(fake_ctx.message), STHREAD_MESSAGE - 1);
	CHECK_ERR(CALL(__NR_write, 2, BUF, 0), -EBADF);
	/* Granted: it is where it was sent, and nowhere else. */
	CHECK_OK(pipe(pipefd));
	CHECK_EQ(dup2(2, 200), 200);
	CHECK_EQ(dup2(pipefd[1], 2), 2);
	CHECK_OK(sthread_policy_fd(p, 2, STHREAD_FD_WRITE));
	CHECK_EQ(dup2(200, 2), 2);
	fake_begin(p);
	CHECK_EQ(CALL(__NR_write, 2, BUF, 3), 3);
	CHECK_STR(fake_ctx.message, "");
	for (unsigned i = 0; i < STHREAD_MESSAGE; i++) /* nothing of the run before */
		CHECK_EQ(fake_ctx.message[i], 0);
	close(200);
	close(pipefd[0]);
	close(pipefd[1]);
	sthread_policy_destroy(p);
	fake_begin(NULL);
}

static void entries(void)
{
	char dir[] = "/tmp/sthread-XXXXXX", name[64];
	unsigned seen = 0;
	int fd;
	long n;

	CHECK(mkdtemp(dir));
	snprintf(name, sizeof(name), "%s/one", dir);
	fd = open(name, O_CREAT | O_RDWR, 0600);
	close(fd);
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	with(fd, STHREAD_FD_READ);
	n = CALL(__NR_getdents64, fd, FAKE_COW + 96, 8000);
	CHECK_GT(n, 0);
	for (long at = 0; at < n;) {
		const struct dirent64 *d = (void *)fake_host(FAKE_COW + 96 + (uint64_t)at);

		seen += !strcmp(d->d_name, "one");
		at += d->d_reclen;
	}
	CHECK_EQ(seen, 1);
	CHECK_EQ(CALL(__NR_getdents64, fd, FAKE_DATA, 8000), 0);
	CHECK_OK(lseek(fd, 0, SEEK_SET));
	CHECK_ERR(CALL(__NR_getdents64, fd, FAKE_DATA, 3), -EINVAL);
	CHECK_ERR(CALL(__NR_getdents64, fd, FAKE_RO, 800), -EFAULT);
	CHECK_ERR(CALL(__NR_read, fd, FAKE_DATA, 10), -EISDIR);
	fake_begin(NULL);
	close(fd);
	unlink(name);
	rmdir(dir);
}

static void commands(void)
{
	int pipefd[2], fd, value;

	CHECK_OK(pipe(pipefd));
	fd = pipefd[0];
	with(fd, STHREAD_FD_ALL & ~STHREAD_FD_FLAGS);
	CHECK_EQ(CALL(__NR_fcntl, fd, F_GETFL), O_RDONLY);
	CHECK_EQ(CALL(__NR_fcntl, fd, F_GETFD), FD_CLOEXEC);
	CHECK_OK(CALL(__NR_fcntl, fd, F_SETFD, 0));
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETFL, O_NONBLOCK), -EPERM);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETLEASE, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETOWN, getpid()), -EINVAL);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETSIG, SIGKILL), -EINVAL);
	CHECK_EQ(write(pipefd[1], "abc", 3), 3);
	CHECK_OK(CALL(__NR_ioctl, fd, FIONREAD, FAKE_COW));
	memcpy(&value, fake_host(FAKE_COW), sizeof(value));
	CHECK_EQ(value, 3);
	CHECK_EQ(*fake_template(FAKE_COW), 0xcc);
	CHECK_ERR(CALL(__NR_ioctl, fd, FIONREAD, FAKE_RO), -EFAULT);
	CHECK_ERR(CALL(__NR_ioctl, fd, TCGETS, FAKE_NOTHING), -ENOTTY);
	CHECK_ERR(CALL(__NR_ioctl, fd, FIONBIO, FAKE_DATA), -EPERM);
	CHECK_ERR(CALL(__NR_ioctl, fd, FIOASYNC, FAKE_DATA), -EINVAL);
	CHECK_ERR(CALL(__NR_ioctl, fd, TIOCSTI, FAKE_DATA), -EINVAL);
	with(fd, STHREAD_FD_FLAGS);
	CHECK_ERR(CALL(__NR_ioctl, fd, FIONREAD, FAKE_DATA), -EPERM);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETFL, O_ASYNC), -EPERM);
	CHECK_ERR(CALL(__NR_fcntl, fd, F_SETFL, O_DIRECT), -EPERM);
	CHECK_OK(CALL(__NR_fcntl, fd, F_SETFL, O_NONBLOCK | O_RDONLY));
	CHECK(fcntl(fd, F_GETFL) &
	      O_NONBLOCK); /* shared with the master: that is what the right means */
	CHECK_EQ(CALL(__NR_fcntl, fd, F_GETFL), O_NONBLOCK);
	value = 0;
	fake_put(FAKE_DATA, &value, sizeof(value));
	CHECK_OK(CALL(__NR_ioctl, fd, FIONBIO, FAKE_DATA));
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	fake_begin(NULL);
	close(pipefd[0]);
	close(pipefd[1]);
}

static struct pollfd *polled(unsigned i)
{
	return (struct pollfd *)(void *)fake_host(FAKE_COW) + i;
}

static void polling(void)
{
	struct sthread_policy *p = fake_policy_all();
	int a[2], b[2];
	struct pollfd fds[5];

	CHECK_OK(pipe(a));
	CHECK_OK(pipe(b));
	CHECK_OK(sthread_policy_fd(p, a[0], STHREAD_FD_POLL));
	CHECK_OK(sthread_policy_fd(p, b[0], STHREAD_FD_ALL & ~STHREAD_FD_POLL));
	fake_begin(p);
	CHECK_EQ(write(a[1], "x", 1), 1);
	CHECK_EQ(write(b[1], "x", 1), 1);
	fds[0] = (struct pollfd){ a[0], POLLIN, 77 };
	fds[1] = (struct pollfd){ -1, POLLIN, 77 };
	fake_put(FAKE_COW, fds, sizeof(fds));
	CHECK_EQ(CALL(__NR_poll, FAKE_COW, 2, -1), 1);
	CHECK_EQ(polled(0)->revents, POLLIN);
	CHECK_EQ(polled(0)->fd, a[0]); /* their number, not ours */
	CHECK_EQ(polled(1)->revents, 0);
	CHECK_EQ(polled(1)->fd, -1);
	/* Without the right, not granted, and open in the master. */
	fds[1] = (struct pollfd){ b[0], POLLIN, 0 };
	fds[2] = (struct pollfd){ b[1], POLLOUT, 0 };
	fds[3] = (struct pollfd){ 4000, POLLIN, 0 };
	fake_put(FAKE_COW, fds, sizeof(fds));
	CHECK_EQ(CALL(__NR_poll, FAKE_COW, 4, -1), 4);
	for (unsigned i = 1; i < 4; i++)
		CHECK_EQ(polled(i)->revents, POLLNVAL);
	CHECK_EQ(polled(1)->fd, b[0]);
	CHECK_ERR(CALL(__NR_poll, FAKE_COW, SYS_POLLFDS + 1, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_poll, FAKE_COW, UINT32_MAX, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_poll, FAKE_RO, 1, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_poll, FAKE_DATA + FAKE_DATA_PAGES * PAGE - 8, 2, 0), -EFAULT);
	CHECK_EQ(CALL(__NR_poll, FAKE_NOTHING, 0, 1), 0);
	CHECK_EQ(CALL(__NR_poll, FAKE_COW, 1, 0), 1);
	CHECK_EQ(CALL(__NR_poll, FAKE_DATA, SYS_POLLFDS, 0),
		 SYS_POLLFDS); /* number 0, which is not granted */
	sthread_policy_destroy(p);
	fake_begin(NULL);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

int main(void)
{
	fake_reset();
	plain();
	lean();
	cow();
	devices();
	vectors();
	fake_direct(true); /* the caller's signals */
	no_signals();
	no_late_signal();
	fake_direct(false);
	append_only();
	counted();
	message();
	entries();
	commands();
	polling();
	fake_end();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
