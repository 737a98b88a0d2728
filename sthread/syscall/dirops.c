// SPDX-License-Identifier: MIT
/*
 * dirops.c - making, removing and moving names beneath a directory granted with STHREAD_FD_MAKE.
 * World: host.
 *
 * The path up to the last component is resolved as for openat (path.c) and gives the directory
 * that the name is in, as a descriptor; the last component goes to the host by itself, in a call
 * that does not follow links.  So no name is made or removed outside, whatever is renamed
 * meanwhile.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- checks ---- */

static int check_at(const struct fd_entry *e, const char *path)
{
	if (!e->dir)
		return -ENOTDIR;
	if (e->obj->barred)
		return -EACCES;
	return path[0] ? 0 : -ENOENT;
}

int sys_check_name(struct sys_call *c)
{
	return check_at(&c->fd, c->u.path);
}

int sys_check_renameat(struct sys_call *c)
{
	unsigned flags = c->entry->arg[4].kind == ARG_NONE ? 0 : (unsigned)sys_int(c, 4);
	unsigned from = c->fd.rights, to = c->fd2.rights;
	int r = check_at(&c->fd, c->u.path);

	if (!r)
		r = check_at(&c->fd2, c->u.path2);
	if (r)
		return r;
	if (flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	/* A file does not gain rights by being moved: what may be copied there can be copied. */
	if ((to & ~from) || ((flags & RENAME_EXCHANGE) && (from & ~to)))
		return -EXDEV;
	return 0;
}

/* ---- where a name is ---- */

/*
 * The directory that the last component of `path` is in (to be closed), and that component, without
 * slashes after it.  `path` is cut.  -EXDEV: the path has no last component of its own ("..", "/").
 */
static int parent_of(const struct fd_entry *e, char *path, const char **name, bool *slashes)
{
	size_t len = strlen(path), end = len;
	const char *dir = path;
	char *last;
	int fd, r;

	while (end > 1 && path[end - 1] == '/')
		path[--end] = '\0';
	*slashes = end < len;
	last = strrchr(path, '/');
	*name = last ? last + 1 : path;
	if (!last)
		dir = ".";
	else if (last == path)
		return -EXDEV; /* absolute */
	else
		*last = '\0';
	if (!strcmp(*name, ".."))
		return -EXDEV;
	if (!strcmp(*name, "."))
		return -EINVAL;
	fd = sys_open_beneath(e->obj->host, dir, O_PATH | O_DIRECTORY, 0);
	r = fd < 0 ? fd : fd_check_filesystem(fd);
	if (fd >= 0 && r)
		close(fd);
	return r ? r : fd;
}

/* ---- the calls ---- */

long sys_do_mkdirat(struct sys_call *c)
{
	mode_t mode = (mode_t)(c->arg[2] & 0777 & ~(uint64_t)c->ctx->umask);
	const char *name;
	bool slashes;
	int fd = parent_of(&c->fd, c->u.path, &name, &slashes), r;

	if (fd < 0)
		return fd;
	r = mkdirat(fd, name, mode) < 0 ? -errno : 0;
	close(fd);
	return r;
}

long sys_do_unlinkat(struct sys_call *c)
{
	int flags = sys_int(c, 2), fd, r;
	const char *name;
	bool slashes;

	fd = parent_of(&c->fd, c->u.path, &name, &slashes);
	if (fd < 0)
		return fd;
	if (slashes && !(flags & AT_REMOVEDIR))
		r = -ENOTDIR;
	else
		r = unlinkat(fd, name, flags) < 0 ? -errno : 0;
	close(fd);
	return r;
}

long sys_do_renameat(struct sys_call *c)
{
	unsigned flags = c->entry->arg[4].kind == ARG_NONE ? 0 : (unsigned)sys_int(c, 4);
	bool slashes, slashes2;
	const char *name, *name2;
	int from = parent_of(&c->fd, c->u.path, &name, &slashes), to;
	long r;

	if (from < 0)
		return from;
	to = parent_of(&c->fd2, c->u.path2, &name2, &slashes2);
	if (to < 0)
		r = to;
	else if (slashes || slashes2)
		r = -ENOTDIR;
	else
		r = syscall(SYS_renameat2, from, name, to, name2, flags) < 0 ? -errno : 0;
	if (to >= 0)
		close(to);
	close(from);
	return r;
}
