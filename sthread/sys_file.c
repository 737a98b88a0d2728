// SPDX-License-Identifier: MIT
/*
 * sys_file.c - system calls on descriptors of any kind: forwarded with host descriptors and host
 * ranges.  World: host.
 *
 * A forwarded call may make the kernel raise a signal in the calling thread: SIGPIPE, SIGXFSZ, and
 * SIGTTIN or SIGTTOU for a terminal.  The master must not notice.  Sockets are written with
 * sendmsg(MSG_NOSIGNAL); elsewhere the thread blocks these signals meanwhile and eats the one that
 * its call raised.
 */
#include "sthread/sys_calls.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* ---- signals of our own making ---- */

struct shield {
	bool on;
	sigset_t old, pending; /* pending: those of ours that the thread had already, blocked */
};

static void shield_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGPIPE);
	sigaddset(set, SIGXFSZ);
	sigaddset(set, SIGTTIN);
	sigaddset(set, SIGTTOU);
}

static void shield_up(const struct sys_call *c, struct shield *s)
{
	sigset_t set;

	s->on = !c->ctx->own_thread; /* threads of the library block everything, for ever */
	if (!s->on)
		return;
	shield_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, &s->old);
	sigemptyset(&s->pending);
	if (sigismember(&s->old, SIGPIPE) || sigismember(&s->old, SIGXFSZ))
		sigpending(&s->pending);
}

static void shield_eat(const struct shield *s, int sig)
{
	const struct timespec now = { 0, 0 };
	sigset_t set;

	if (sigismember(&s->pending, sig))
		return;
	sigemptyset(&set);
	sigaddset(&set, sig);
	while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
		;
}

/* A write of `want` bytes that did less may have met a closed pipe or a limit on the way. */
static void shield_down(const struct shield *s, long result, size_t want)
{
	if (!s->on)
		return;
	if (result == -EPIPE || result == -EFBIG || (result >= 0 && (size_t)result < want)) {
		shield_eat(s, SIGPIPE);
		shield_eat(s, SIGXFSZ);
	}
	pthread_sigmask(SIG_SETMASK, &s->old, NULL);
}

/* ---- reading and writing ---- */

static bool is_socket(const struct sys_call *c)
{
	return c->fd.obj->kind == FD_STREAM || c->fd.obj->kind == FD_MESSAGE;
}

/* A transfer cut short is a short transfer; but a message is neither sent nor received in part. */
int sys_check_transfer(struct sys_call *c)
{
	return c->partial && c->fd.obj->kind == FD_MESSAGE ? -EMSGSIZE : 0;
}

static long read_spans(struct sys_call *c)
{
	const struct uspans *sp = &c->spans;
	int fd = c->fd.obj->host;

	if (sp->n == 1)
		return SYS_RETRY(c, read(fd, sp->iov[0].iov_base, sp->iov[0].iov_len));
	return SYS_RETRY(c, readv(fd, sp->iov, (int)sp->n));
}

long sys_do_read(struct sys_call *c)
{
	struct shield s;
	long r;

	if (c->fd.obj->kind != FD_CHAR)
		return read_spans(c);
	shield_up(c, &s);
	r = read_spans(c);
	shield_down(&s, r, 0);
	return r;
}

long sys_do_write(struct sys_call *c)
{
	const struct uspans *sp = &c->spans;
	int fd = c->fd.obj->host;
	struct shield s;
	long r;

	if (is_socket(c)) {
		const struct msghdr m = { .msg_iov = (struct iovec *)sp->iov, .msg_iovlen = sp->n };

		return SYS_RETRY(c, sendmsg(fd, &m, MSG_NOSIGNAL));
	}
	shield_up(c, &s);
	if (sp->n == 1)
		r = SYS_RETRY(c, write(fd, sp->iov[0].iov_base, sp->iov[0].iov_len));
	else
		r = SYS_RETRY(c, writev(fd, sp->iov, (int)sp->n));
	shield_down(&s, r, sp->bytes);
	return r;
}

long sys_do_pread(struct sys_call *c)
{
	return SYS_RETRY(c,
			 preadv(c->fd.obj->host, c->spans.iov, (int)c->spans.n, (off_t)c->arg[3]));
}

long sys_do_pwrite(struct sys_call *c)
{
	struct shield s;
	long r;

	shield_up(c, &s);
	r = SYS_RETRY(c, pwritev(c->fd.obj->host, c->spans.iov, (int)c->spans.n, (off_t)c->arg[3]));
	shield_down(&s, r, c->spans.bytes);
	return r;
}

long sys_do_lseek(struct sys_call *c)
{
	off_t r = lseek(c->fd.obj->host, (off_t)c->arg[1], sys_int(c, 2));

	return r < 0 ? -errno : r;
}

/* Inside, the right is gone; the host descriptor goes when nobody else refers to it. */
long sys_do_close(struct sys_call *c)
{
	return fdtab_close(&c->ctx->fds, sys_int(c, 0));
}

long sys_do_fstat(struct sys_call *c)
{
	struct stat st;

	if (fstat(c->fd.obj->host, &st) < 0)
		return -errno;
	memcpy(c->result.bytes, &st, sizeof(st));
	return 0;
}

long sys_do_getdents(struct sys_call *c)
{
	long r = syscall(SYS_getdents64, c->fd.obj->host, c->u.bytes, c->out[0].cap);

	if (r < 0)
		return -errno;
	c->out[0].len = (uint32_t)r;
	return r;
}

/* ---- fcntl, ioctl: the command decides about the right ---- */

#define SETTABLE (O_NONBLOCK | O_APPEND)
/*
 * What F_SETFL ignores, by its manual: access mode and creation flags; programs pass on what
 * F_GETFL gave.
 */
#define IGNORED	 (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | 0100000 /* O_LARGEFILE */)

int sys_check_fcntl(struct sys_call *c)
{
	switch (sys_int(c, 1)) {
	case F_GETFD:
	case F_SETFD:
	case F_GETFL:
		return 0;
	case F_SETFL:
		if (!(c->fd.rights & STHREAD_FD_FLAGS))
			return -EPERM;
		return (int)c->arg[2] & ~(SETTABLE | IGNORED) ? -EPERM : 0;
	default:
		return -EINVAL;
	}
}

/*
 * O_NONBLOCK and O_APPEND belong to the open file, which the duplicate shares with the master's
 * descriptor: whoever grants STHREAD_FD_FLAGS lets the compartment change how its own descriptor
 * behaves.  But what the master only ever appends to stays so.  FIONBIO, since F_SETFL would put
 * all flags back to what they were a moment before.
 */
static long set_flags(int fd, int want)
{
	int now = fcntl(fd, F_GETFL), nonblock = (want & O_NONBLOCK) != 0;

	if (now < 0)
		return -errno;
	if (now & ~want & O_APPEND)
		return -EPERM;
	if ((want & ~now & O_APPEND) && fcntl(fd, F_SETFL, now | O_APPEND) < 0)
		return -errno;
	return ioctl(fd, FIONBIO, &nonblock) < 0 ? -errno : 0;
}

long sys_do_fcntl(struct sys_call *c)
{
	int r;

	switch (sys_int(c, 1)) {
	case F_GETFD:
		return FD_CLOEXEC; /* nothing inside ever executes */
	case F_SETFL:
		return set_flags(c->fd.obj->host, (int)c->arg[2]);
	case F_GETFL:
		r = fcntl(c->fd.obj->host, F_GETFL);
		return r < 0 ? -errno : r & (O_ACCMODE | SETTABLE);
	default:
		return 0;
	}
}

/* Where FIONREAD is the kernel's own, and no driver's. */
static bool counts_bytes(enum fd_kind kind)
{
	switch (kind) {
	case FD_FILE:
	case FD_STREAM:
	case FD_MESSAGE:
	case FD_PIPE:
	case FD_CHAR:
		return true;
	default:
		return false;
	}
}

int sys_check_ioctl(struct sys_call *c)
{
	dune_gva_t at = dune_gva(c->arg[2]);

	switch ((unsigned)c->arg[1]) {
	case TCGETS: /* stdio asks whether to buffer by line */
	case TIOCGWINSZ:
		return -ENOTTY;
	case FIONREAD:
		if (!(c->fd.rights & STHREAD_FD_READ))
			return -EPERM;
		if (!counts_bytes(c->fd.obj->kind))
			return -ENOTTY;
		return sys_add_out(c, at, sizeof(int), c->result.bytes);
	case FIONBIO:
		if (!(c->fd.rights & STHREAD_FD_FLAGS))
			return -EPERM;
		return uaccess_copy_in(&c->ctx->mem, c->in.bytes, at, sizeof(int));
	default:
		return -EINVAL;
	}
}

long sys_do_ioctl(struct sys_call *c)
{
	int fd = c->fd.obj->host, v = 0;

	if ((unsigned)c->arg[1] == FIONBIO) {
		memcpy(&v, c->in.bytes, sizeof(v));
		return ioctl(fd, FIONBIO, &v) < 0 ? -errno : 0;
	}
	if (ioctl(fd, FIONREAD, &v) < 0)
		return -errno;
	memcpy(c->result.bytes, &v, sizeof(v));
	c->out[0].len = sizeof(v);
	return 0;
}

/* ---- poll ---- */

static struct timespec now_plus_ms(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* Zero when it has passed. */
static struct timespec time_left(const struct timespec *until)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec = until->tv_sec - t.tv_sec;
	t.tv_nsec = until->tv_nsec - t.tv_nsec;
	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += 1000000000;
	}
	if (t.tv_sec < 0)
		t.tv_sec = t.tv_nsec = 0;
	return t;
}

/*
 * Descriptors that are not there, or may not be polled: counted, and marked after the host's
 * answer.
 */
static unsigned invalid_of(const struct sys_call *c, unsigned n)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < n; i++)
		bad += c->u.poll.number[i] >= 0 && c->u.poll.fd[i].fd < 0;
	return bad;
}

long sys_do_poll(struct sys_call *c)
{
	unsigned n = (unsigned)c->arg[1], bad = invalid_of(c, n);
	int ms = bad ? 0 : sys_int(c, 2);
	struct timespec until, left;
	long r;

	if (ms > 0)
		until = now_plus_ms(ms);
	do {
		left = ms > 0 ? time_left(&until) : (struct timespec){ 0, 0 };
		r = ppoll(c->u.poll.fd, n, ms < 0 ? NULL : &left, NULL);
		if (r < 0)
			r = -errno;
	} while (r == -EINTR && !sys_stopping(c->ctx));
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++)
		if (c->u.poll.number[i] >= 0 && c->u.poll.fd[i].fd < 0)
			c->u.poll.fd[i].revents = POLLNVAL;
	return r + bad;
}
