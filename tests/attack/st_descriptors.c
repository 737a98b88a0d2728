/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: only those granted, only with the rights granted, only the file that was granted.  World: host; ST_FN:
 * inside.
 */
#include "tests/st.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define BUF 64

/* One call of each kind on a descriptor: 0 or the errno. */
enum op {
	READ,
	WRITE,
	READV,
	WRITEV,
	PREAD,
	PWRITE,
	LSEEK,
	FSTAT,
	FSTATAT,
	POLL,
	FIONREAD_,
	SETFL,
	FIONBIO_,
	GETFL,
	OPS
};
static const char *const op_names[] = { "read",	    "write",   "readv",	  "writev",  "pread",
					"pwrite",   "lseek",   "fstat",	  "fstatat", "poll",
					"FIONREAD", "F_SETFL", "FIONBIO", "F_GETFL" };
static const unsigned op_rights[] = {
	STHREAD_FD_READ,
	STHREAD_FD_WRITE,
	STHREAD_FD_READ,
	STHREAD_FD_WRITE,
	STHREAD_FD_READ | STHREAD_FD_SEEK,
	STHREAD_FD_WRITE | STHREAD_FD_SEEK,
	STHREAD_FD_SEEK,
	STHREAD_FD_STAT,
	STHREAD_FD_STAT,
	STHREAD_FD_POLL,
	STHREAD_FD_READ,
	STHREAD_FD_FLAGS,
	STHREAD_FD_FLAGS,
	0,
};

static int try_op(int fd, enum op op)
{
	static char buf[BUF];
	struct iovec iov = { buf, BUF };
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	struct stat st;
	long r = -1;
	int n = 0;

	errno = 0;
	switch (op) {
	case READ:
		r = read(fd, buf, BUF);
		break;
	case WRITE:
		r = write(fd, buf, 1);
		break;
	case READV:
		r = readv(fd, &iov, 1);
		break;
	case WRITEV:
		iov.iov_len = 1;
		r = writev(fd, &iov, 1);
		break;
	case PREAD:
		r = pread(fd, buf, BUF, 0);
		break;
	case PWRITE:
		r = pwrite(fd, buf, 1, 0);
		break;
	case LSEEK:
		r = lseek(fd, 0, SEEK_SET);
		break;
	case FSTAT:
		r = syscall(SYS_fstat, fd, &st);
		break;
	case FSTATAT:
		r = fstatat(fd, "", &st, AT_EMPTY_PATH);
		break;
	case POLL:
		r = poll(&p, 1, 0);
		if (r == 1 && p.revents == POLLNVAL)
			return EPERM;
		break;
	case FIONREAD_:
		r = ioctl(fd, FIONREAD, &n);
		break;
	case SETFL:
		r = fcntl(fd, F_SETFL, O_APPEND);
		break;
	case FIONBIO_:
		r = ioctl(fd, FIONBIO, &n);
		break;
	case GETFL:
		r = fcntl(fd, F_GETFL);
		break;
	case OPS:
		break;
	}
	return r < 0 ? errno : 0;
}

/* arg: descriptor | rights << 16.  What the rights do not hold is refused; what they hold works. */
ST_FN(has_just_these_rights)
{
	int fd = (int)((uintptr_t)arg & 0xffff);
	unsigned rights = (unsigned)((uintptr_t)arg >> 16);

	for (enum op op = 0; op < OPS; op++) {
		int err = try_op(fd, op), want = (op_rights[op] & ~rights) ? EPERM : 0;

		CHECK_MSG(err == want, "rights %#x, %s: errno %d", rights, op_names[op], err);
	}
	return NULL;
}

static void rights(int fd)
{
	static const unsigned all[] = { STHREAD_FD_READ,
					STHREAD_FD_WRITE,
					STHREAD_FD_SEEK,
					STHREAD_FD_STAT,
					STHREAD_FD_POLL,
					STHREAD_FD_FLAGS,
					STHREAD_FD_SOCKOPT,
					STHREAD_FD_SHUTDOWN,
					STHREAD_FD_READ | STHREAD_FD_SEEK,
					STHREAD_FD_ALL,
					STHREAD_FD_ALL & ~STHREAD_FD_READ,
					STHREAD_FD_ALL & ~STHREAD_FD_WRITE,
					STHREAD_FD_ALL & ~STHREAD_FD_SEEK,
					STHREAD_FD_ALL & ~STHREAD_FD_FLAGS };

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct sthread_policy *p = st_policy_all_calls();

		st_grant(p, fd, all[i]);
		ST_PASSES(p, has_just_these_rights, (uintptr_t)fd | (uintptr_t)all[i] << 16);
		CHECK_ERR(sthread_policy_fd(p, fd, all[i]), -EEXIST);
		sthread_policy_destroy(p);
	}
}

/* ---- numbers ---- */

/* arg: the only one that is there. */
ST_FN(finds_no_other_number)
{
	int mine = (int)(intptr_t)arg;

	for (int fd = -3; fd < 2048; fd++) {
		for (enum op op = 0; op < OPS && fd != mine; op++) {
			int err = try_op(fd, op);

			if (op == POLL && fd < 0)
				continue; /* poll() ignores these */
			if (op == FSTATAT && err == EACCES && fd == AT_FDCWD)
				continue;
			CHECK_MSG(err == (op == POLL ? EPERM : EBADF),
				  "descriptor %d, %s: errno %d", fd, op_names[op], err);
			if (fd > 20 && op > WRITE)
				break;
		}
	}
	static const int odd[] = { INT32_MIN, INT32_MAX, 1 << 30 };

	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(try_op(odd[i], READ), EBADF);
	/* An int's upper half does not count; and is not an index. */
	CHECK_EQ(syscall(SYS_write, (1L << 32) | (unsigned)mine, "x", 1L), 1);
	CHECK_EQ(try_op(mine, WRITE), 0);
	return NULL;
}

ST_FN(closes)
{
	int fd = (int)(intptr_t)arg;

	CHECK_EQ(try_op(fd, WRITE), 0);
	CHECK_EQ(close(fd), 0);
	for (enum op op = 0; op < OPS; op++)
		CHECK_EQ(try_op(fd, op), op == POLL ? EPERM : EBADF);
	CHECK(close(fd) == -1 && errno == EBADF);
	for (int other = 0; other < 1024; other++)
		CHECK(close(other) == -1);
	return NULL;
}

ST_FN(writes_mark)
{
	char c = (char)((uintptr_t)arg >> 16);

	return (void *)(intptr_t)write((int)((uintptr_t)arg & 0xffff), &c, 1);
}

static char first_byte(int fd)
{
	char c = 0;

	return pread(fd, &c, 1, 0) == 1 ? c : 0;
}

/* The grant is for the open file, whatever the number means in the program afterwards. */
static void number_reused(void)
{
	char a[] = "/tmp/st_fd_XXXXXX", b[] = "/tmp/st_fd_XXXXXX";
	struct sthread_policy *p = st_policy_all_calls();
	int fd = mkstemp(a), keep = dup(fd), other;
	struct sthread_result r;

	unlink(a);
	st_grant(p, fd, STHREAD_FD_WRITE);
	close(fd);
	other = mkstemp(b);
	unlink(b);
	CHECK_EQ(other, fd);
	r = st_call(p, writes_mark, (void *)((uintptr_t)fd | 'm' << 16));
	ST_RETURNED(&r, 1);
	CHECK_EQ(first_byte(keep), 'm');
	CHECK_EQ(first_byte(other), 0);
	/* A policy without the grant has no such descriptor, though the program has. */
	r = st_call(st_policy_all_calls(), writes_mark, (void *)((uintptr_t)fd | 'n' << 16));
	ST_RETURNED(&r, -1);
	CHECK_EQ(first_byte(other), 0);
	sthread_policy_destroy(p);
	close(keep);
	close(other);
}

/* What a compartment closes, the next one has, and the program too. */
static void closed(int fd)
{
	struct sthread_policy *p = st_policy_all_calls();

	st_grant(p, fd, STHREAD_FD_ALL);
	for (int i = 0; i < 3; i++) {
		ST_PASSES(p, closes, (intptr_t)fd);
		CHECK_EQ(fcntl(fd, F_GETFD) < 0, false);
		ST_PASSES(p, finds_no_other_number, (intptr_t)fd);
	}
	st_others_live();
	sthread_policy_destroy(p);
}

/* ---- writing where nobody reads ---- */

ST_FN(writes_to_closed)
{
	int fd = (int)(intptr_t)arg;
	struct iovec iov = { (char *)"x", 1 };

	CHECK(write(fd, "x", 1) == -1 && errno == EPIPE);
	CHECK(writev(fd, &iov, 1) == -1 && errno == EPIPE);
	CHECK(send(fd, "x", 1, 0) == -1 && (errno == EPIPE || errno == ENOTSOCK));
	return NULL;
}

static volatile sig_atomic_t pipes_broken;

static void on_pipe(int sig)
{
	(void)sig;
	pipes_broken++;
}

static void broken_pipes(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	int pipes[2], pair[2];
	sigset_t pending;

	CHECK(!pipe(pipes) && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	st_grant(p, pipes[1], STHREAD_FD_ALL);
	st_grant(p, pair[0], STHREAD_FD_ALL);
	close(pipes[0]);
	close(pair[1]);
	for (int i = 0; i < 2; i++) {
		struct sthread_result r;

		signal(SIGPIPE, i ? on_pipe : SIG_DFL);
		ST_PASSES(p, writes_to_closed, (intptr_t)pipes[1]);
		ST_PASSES(p, writes_to_closed, (intptr_t)pair[0]);
		r = st_run(p, writes_to_closed, (void *)(intptr_t)pipes[1]);
		ST_RETURNED(&r, 0);
		sigpending(&pending);
		CHECK(!sigismember(&pending, SIGPIPE) && !pipes_broken);
	}
	/* The twin: in the program it is a signal. */
	CHECK(write(pipes[1], "x", 1) == -1 && errno == EPIPE && pipes_broken == 1);
	signal(SIGPIPE, SIG_DFL);
	sthread_policy_destroy(p);
}

/* arg: a log that the master appends to.  What is there stays, whatever is tried. */
ST_FN(only_appends)
{
	int fd = (int)(intptr_t)arg;
	struct iovec iov = { (void *)"third ", 6 };

	CHECK_EQ(write(fd, "second ", 7), 7);
	CHECK_EQ(pwrite(fd, "!", 1, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(fcntl(fd, F_SETFL, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(ftruncate(fd, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(writev(fd, &iov, 1), 6);
	return NULL;
}

/* The twin, with the right to be anywhere in it. */
ST_FN(cuts)
{
	CHECK_OK(ftruncate((int)(intptr_t)arg, 5));
	return NULL;
}

static void appended(void)
{
	char name[] = "/tmp/st_descriptors_XXXXXX", text[32] = "";
	int fd = mkstemp(name), log = open(name, O_WRONLY | O_APPEND);
	struct sthread_policy *p = st_policy_all_calls();

	CHECK(fd >= 0 && log >= 0 && write(fd, "first ", 6) == 6 && !unlink(name));
	st_grant(p, log, STHREAD_FD_WRITE | STHREAD_FD_FLAGS);
	ST_PASSES(p, only_appends, (intptr_t)log);
	CHECK_EQ(pread(fd, text, sizeof(text), 0), 19);
	CHECK_STR(text, "first second third ");
	sthread_policy_destroy(p);
	p = st_policy_all_calls();
	st_grant(p, log, STHREAD_FD_WRITE | STHREAD_FD_SEEK);
	ST_PASSES(p, cuts, (intptr_t)log);
	CHECK_EQ(pread(fd, text, sizeof(text), 0), 5);
	sthread_policy_destroy(p);
	close(fd);
	close(log);
}

int main(void)
{
	char name[] = "/tmp/st_fd_XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	CHECK(dup2(fd, 5) == 5 && dup2(fd, 600) == 600);
	st_init();
	rights(fd);
	closed(fd);
	number_reused();
	broken_pipes();
	appended();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
