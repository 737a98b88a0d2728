// SPDX-License-Identifier: MIT
/*
 * fileops.c - files as wholes: transfers at an offset, size, safety on disk, locks, and copying
 * from one to another.  World: host.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

/* Copying ends soon enough for a kill; more is for the next call. */
#define COPY_AT_ONCE (1UL << 20)

/* ---- at an offset ---- */

/* preadv and the like: the offset is in one register, the next is of no meaning on this machine. */
int sys_check_preadv(struct sys_call *c)
{
	return (int64_t)c->arg[3] < 0 ? -EINVAL : 0;
}

static int rwf(const struct sys_call *c)
{
	return c->entry->arg[5].kind == ARG_NONE ? 0 : sys_int(c, 5);
}

long sys_do_preadv(struct sys_call *c)
{
	return SYS_RETRY(c, preadv2(c->fd.obj->host, c->spans.iov, (int)c->spans.n,
				    (off_t)c->arg[3], rwf(c)));
}

long sys_do_pwritev(struct sys_call *c)
{
	struct sys_shield s;
	long r;

	sys_shield_up(c, &s);
	r = SYS_RETRY(c, pwritev2(c->fd.obj->host, c->spans.iov, (int)c->spans.n,
				  (off_t)c->arg[3], rwf(c)));
	sys_shield_down(&s, r, c->spans.bytes);
	return r;
}

/* ---- size and safety ---- */

/* An append-only file may not be cut without STHREAD_FD_SEEK: that would undo what was appended. */
int sys_check_ftruncate(struct sys_call *c)
{
	int flags = fcntl(c->fd.obj->host, F_GETFL);

	if (flags < 0)
		return -errno;
	return (flags & O_APPEND) && !(c->fd.rights & STHREAD_FD_SEEK) ? -EPERM : 0;
}

long sys_do_ftruncate(struct sys_call *c)
{
	struct sys_shield s;
	long r;

	sys_shield_up(c, &s);
	r = SYS_RETRY(c, ftruncate(c->fd.obj->host, (off_t)c->arg[1]));
	sys_shield_down(&s, r, 0);
	return r;
}

long sys_do_fallocate(struct sys_call *c)
{
	struct sys_shield s;
	long r;

	sys_shield_up(c, &s);
	r = SYS_RETRY(c, fallocate(c->fd.obj->host, sys_int(c, 1), (off_t)c->arg[2],
				   (off_t)c->arg[3]));
	sys_shield_down(&s, r, 0);
	return r;
}

long sys_do_fsync(struct sys_call *c)
{
	return SYS_RETRY(c, fsync(c->fd.obj->host));
}

long sys_do_fdatasync(struct sys_call *c)
{
	return SYS_RETRY(c, fdatasync(c->fd.obj->host));
}

long sys_do_fadvise(struct sys_call *c)
{
	return -posix_fadvise(c->fd.obj->host, (off_t)c->arg[1], (off_t)c->arg[2], sys_int(c, 3));
}

/* The lock is the open file's: of all who share it, the master among them. */
long sys_do_flock(struct sys_call *c)
{
	return SYS_RETRY(c, flock(c->fd.obj->host, sys_int(c, 1)));
}

/* ---- from one to another ---- */

static int check_offset(const struct fd_entry *e, bool given)
{
	return given && !(e->rights & STHREAD_FD_SEEK) ? -EPERM : 0;
}

/*
 * To messages no file is sent: kernels differ in where one ends, and some leave it open (see
 * socket.c).
 */
int sys_check_sendfile(struct sys_call *c)
{
	if (c->fd2.obj->kind != FD_FILE || c->fd.obj->kind == FD_MESSAGE)
		return -EINVAL;
	return check_offset(&c->fd2, c->arg[2] != 0);
}

long sys_do_sendfile(struct sys_call *c)
{
	size_t want = c->arg[3] < COPY_AT_ONCE ? c->arg[3] : COPY_AT_ONCE;
	off_t *from = c->offsets ? (off_t *)&c->offset[0] : NULL;
	struct sys_shield s;
	long r;

	sys_shield_up(c, &s);
	r = SYS_RETRY(c, sendfile(c->fd.obj->host, c->fd2.obj->host, from, want));
	sys_shield_down(&s, r, want);
	return r;
}

int sys_check_copy_range(struct sys_call *c)
{
	int r = check_offset(&c->fd, c->arg[1] != 0);

	return r ? r : check_offset(&c->fd2, c->arg[3] != 0);
}

long sys_do_copy_range(struct sys_call *c)
{
	size_t want = c->arg[4] < COPY_AT_ONCE ? c->arg[4] : COPY_AT_ONCE;
	off_t *from = c->arg[1] ? (off_t *)&c->offset[0] : NULL;
	off_t *to = c->arg[3] ? (off_t *)&c->offset[from ? 1 : 0] : NULL;
	struct sys_shield s;
	long r;

	sys_shield_up(c, &s);
	r = SYS_RETRY(c, copy_file_range(c->fd.obj->host, from, c->fd2.obj->host, to, want, 0));
	sys_shield_down(&s, r, want);
	return r;
}
