// SPDX-License-Identifier: MIT
/*
 * stat.c - looking at what lies beneath a granted directory, without opening it.  World: host.
 *
 * As for openat (path.c): the kernel finds it with O_PATH, without magic links and beneath the
 * directory, and the question is put to that very inode.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int check_dir(const struct sys_call *c)
{
	if (!c->fd.dir)
		return -ENOTDIR;
	return c->fd.obj->barred ? -EACCES : 0;
}

/* newfstatat, statx: AT_EMPTY_PATH is in argument `flags`. */
static int check_stat(const struct sys_call *c, unsigned flags)
{
	if (!c->u.path[0])
		return sys_int(c, flags) & AT_EMPTY_PATH ? 0 : -ENOENT;
	return check_dir(c);
}

int sys_check_newfstatat(struct sys_call *c)
{
	return check_stat(c, 3);
}

int sys_check_look(struct sys_call *c)
{
	return c->u.path[0] ? check_dir(c) : -ENOENT;
}

int sys_check_statx(struct sys_call *c)
{
	return check_stat(c, 2);
}

static int find(const struct sys_call *c, bool link, struct stat *st)
{
	uint64_t flags = O_PATH | (link ? O_NOFOLLOW : 0);
	int fd = sys_open_beneath(c->fd.obj->host, c->u.path, flags, 0);
	int r = fd < 0 ? fd : sys_check_found(fd, link, st);

	if (fd >= 0 && r)
		close(fd);
	return r ? r : fd;
}

long sys_do_newfstatat(struct sys_call *c)
{
	struct stat st;
	int fd;

	if (!c->u.path[0])
		return sys_do_fstat(c);
	fd = find(c, sys_int(c, 3) & AT_SYMLINK_NOFOLLOW, &st);
	if (fd < 0)
		return fd;
	memcpy(c->result.bytes, &st, sizeof(st));
	close(fd);
	return 0;
}

long sys_do_statx(struct sys_call *c)
{
	struct statx *stx = (struct statx *)c->result.word;
	int flags = AT_EMPTY_PATH | (sys_int(c, 2) & (AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC));
	int fd = c->fd.obj->host, r;
	struct stat st;

	if (c->u.path[0])
		fd = find(c, sys_int(c, 2) & AT_SYMLINK_NOFOLLOW, &st);
	if (fd < 0)
		return fd;
	r = statx(fd, "", flags, (unsigned)c->arg[3], stx) < 0 ? -errno : 0;
	if (c->u.path[0])
		close(fd);
	return r;
}

/* The rights of the grant decide first, then those that the master has. */
int sys_check_faccessat(struct sys_call *c)
{
	int mode = sys_int(c, 2), r = sys_check_look(c);

	if (r)
		return r;
	if ((mode & R_OK) && !(c->fd.rights & STHREAD_FD_READ))
		return -EACCES;
	return (mode & W_OK) && !(c->fd.rights & STHREAD_FD_WRITE) ? -EACCES : 0;
}

long sys_do_faccessat(struct sys_call *c)
{
	int mode = sys_int(c, 2), flags = c->entry->arg[3].kind == ARG_NONE ? 0 : sys_int(c, 3);
	struct stat st;
	int fd = find(c, flags & AT_SYMLINK_NOFOLLOW, &st), r;

	if (fd < 0)
		return fd;
	if ((mode & X_OK) && !S_ISDIR(st.st_mode))
		r = -EACCES; /* nothing is executed */
	else
		r = syscall(SYS_faccessat2, fd, "", mode, AT_EMPTY_PATH | AT_EACCESS) < 0 ? -errno :
											    0;
	close(fd);
	return r;
}

long sys_do_readlinkat(struct sys_call *c)
{
	struct stat st;
	int fd;
	long r;

	if ((int)c->arg[3] <= 0)
		return -EINVAL;
	fd = find(c, true, &st);
	if (fd < 0)
		return fd;
	r = S_ISLNK(st.st_mode) ? readlinkat(fd, "", (char *)c->u.bytes, c->out[0].cap) : -1;
	if (r < 0)
		r = S_ISLNK(st.st_mode) ? -errno : -EINVAL;
	else
		c->out[0].len = (uint32_t)r;
	close(fd);
	return r;
}
