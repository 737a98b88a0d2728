// SPDX-License-Identifier: MIT
/*
 * file.c - system calls on descriptors of any kind: forwarded with host descriptors and host
 * ranges.  World: host.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

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
	struct sys_shield s;
	long r;

	if (c->fd.obj->kind != FD_CHAR)
		return read_spans(c);
	sys_shield_up(c, &s);
	r = read_spans(c);
	sys_shield_down(&s, r, 0);
	return r;
}

long sys_do_write(struct sys_call *c)
{
	const struct uspans *sp = &c->spans;
	int fd = c->fd.obj->host;
	struct sys_shield s;
	long r;

	if (is_socket(c)) {
		const struct msghdr m = { .msg_iov = (struct iovec *)sp->iov, .msg_iovlen = sp->n };

		return SYS_RETRY(c, sendmsg(fd, &m, MSG_NOSIGNAL));
	}
	sys_shield_up(c, &s);
	if (sp->n == 1)
		r = SYS_RETRY(c, write(fd, sp->iov[0].iov_base, sp->iov[0].iov_len));
	else
		r = SYS_RETRY(c, writev(fd, sp->iov, (int)sp->n));
	sys_shield_down(&s, r, sp->bytes);
	return r;
}

long sys_do_pread(struct sys_call *c)
{
	return SYS_RETRY(c,
			 preadv(c->fd.obj->host, c->spans.iov, (int)c->spans.n, (off_t)c->arg[3]));
}

long sys_do_pwrite(struct sys_call *c)
{
	struct sys_shield s;
	long r;

	sys_shield_up(c, &s);
	r = SYS_RETRY(c, pwritev(c->fd.obj->host, c->spans.iov, (int)c->spans.n, (off_t)c->arg[3]));
	sys_shield_down(&s, r, c->spans.bytes);
	return r;
}

long sys_do_lseek(struct sys_call *c)
{
	off_t r = lseek(c->fd.obj->host, (off_t)c->arg[1], sys_int(c, 2));

	return r < 0 ? -errno : r;
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
 * Flags that F_SETFL ignores: access mode and creation flags, as in fcntl(2).  Programs pass what
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
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return sys_check_dupfd(c);
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
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return sys_do_dupfd(c);
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
