// SPDX-License-Identifier: MIT
/*
 * path.c - opening what lies beneath a granted directory.  World: host.
 *
 * A path from a compartment is resolved by the kernel with openat2(): beneath the granted
 * directory, without magic links, on the directory's own mount.  The first open is with O_PATH,
 * which has no effect on whatever is found, not even on a device or a FIFO.  What was found is
 * looked at; and only that very inode, not the path again, is opened in earnest through
 * /proc/thread-self/fd, which cannot be redirected in between.  Whether it is the same is looked at
 * again, before anything is done to it.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESOLVE	 (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define NEW_MODE 0666 /* no program files, no set-id bits */
#define REOPEN	 (O_ACCMODE | O_APPEND | O_NONBLOCK)

int sys_init(void)
{
	int r = fd_proc_init();

	if (!r)
		fd_find_devtmpfs();
	return r;
}

void sys_fini(void)
{
	fd_proc_fini();
}

int sys_open_beneath(int dir, const char *path, uint64_t flags, uint64_t mode)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = RESOLVE };
	long fd;

	/*
	 * EAGAIN: something was renamed meanwhile and the kernel will not say that it stayed
	 * beneath.
	 */
	for (int tries = 0; tries < 8; tries++) {
		fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

/* Accept regular files and directories, and symbolic links if `links`; refuse all else. */
int sys_check_found(int fd, bool links, struct stat *st)
{
	int r = fd_check_filesystem(fd);

	if (r)
		return r;
	if (fstat(fd, st) < 0)
		return -errno;
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
		return 0;
	if (S_ISLNK(st->st_mode))
		return links ? 0 : -ELOOP;
	return -EACCES;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
	       (x.st_mode & S_IFMT) == (y.st_mode & S_IFMT);
}

/* The file that `found` (O_PATH) stands for, or -EACCES.  Truncated when it is known to be it. */
static int reopen(int found, int flags)
{
	char name[FD_PROC_NAME];
	int at = fd_proc_name(name, "fd", found), fd, r = 0;
	struct fd_reserved held = { .n = 0 };

	if (found <= STDERR_FILENO)
		r = fd_reserve_low(&held);
	fd = r ? r : openat(at, name, (flags & ~O_TRUNC) | O_CLOEXEC | O_NOCTTY);
	if (!r && fd < 0)
		r = errno == ENOENT ? -EACCES : -errno; /* no /proc: not the file's business */
	else if (!r && !same_file(found, fd))
		r = -EACCES;
	else if (!r && (flags & O_TRUNC) && ftruncate(fd, 0) < 0)
		r = -errno;
	fd_release_low(&held);
	if (r && fd >= 0)
		close(fd);
	return r ? r : fd;
}

/* ---- openat ---- */

int sys_check_openat(struct sys_call *c)
{
	int flags = sys_int(c, 2), mode = flags & O_ACCMODE;
	unsigned need = 0;

	if (!c->fd.dir)
		return -ENOTDIR;
	if (mode == O_ACCMODE)
		return -EINVAL;
	if (mode != O_WRONLY)
		need |= STHREAD_FD_READ;
	if (mode != O_RDONLY || (flags & (O_CREAT | O_TRUNC)))
		need |= STHREAD_FD_WRITE;
	if ((c->fd.rights & need) != need || c->fd.obj->barred)
		return -EACCES;
	/* Without a meaning by the standard, and another one by each kernel. */
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY) ||
	    ((flags & O_TRUNC) && mode == O_RDONLY))
		return -EINVAL;
	if (!c->u.path[0])
		return -ENOENT;
	return fdtab_reserve(&c->ctx->fds);
}

/*
 * Creates what is not there.  Before that: the new file will be on the directory's own mount, so
 * that one is asked.
 */
static int create(int dir, const char *path, int flags, uint64_t mode, struct stat *st)
{
	struct fd_reserved held = { .n = 0 };
	int r = fd_check_filesystem(dir);

	if (!r)
		r = fd_reserve_low(&held);
	if (!r)
		r = sys_open_beneath(dir, path,
				 (uint64_t)((flags & REOPEN) | O_CREAT | O_EXCL | O_NOFOLLOW |
					    O_NOCTTY),
				 mode & NEW_MODE);
	fd_release_low(&held);
	if (r >= 0 && fstat(r, st) < 0) {
		close(r);
		r = -EACCES;
	}
	return r;
}

static int open_found(int found, int flags, struct stat *st)
{
	int r = sys_check_found(found, false, st);

	if (!r && (flags & O_CREAT) && (flags & O_EXCL))
		r = -EEXIST;
	if (!r && (flags & O_CREAT) && S_ISDIR(st->st_mode))
		r = -EISDIR;
	if (!r)
		r = reopen(found, flags & (REOPEN | O_TRUNC | O_DIRECTORY));
	close(found);
	return r;
}

/* Others that make and remove the file all the time win a race now and then, not so many. */
#define CREATE_TRIES 64

static int open_vetted(int dir, const char *path, int flags, uint64_t mode, struct stat *st)
{
	const uint64_t look = (uint64_t)(O_PATH | (flags & (O_NOFOLLOW | O_DIRECTORY)));
	int r = -EEXIST;

	/* Not there, but there when it is to be made: others made it.  Or it is a dead link. */
	for (int tries = 0; r == -EEXIST && tries < CREATE_TRIES; tries++) {
		int found = sys_open_beneath(dir, path, look, 0);

		if (found >= 0)
			return open_found(found, flags, st);
		if (found != -ENOENT || !(flags & O_CREAT))
			return found;
		r = create(dir, path, flags, mode, st);
		if (flags & O_EXCL)
			break;
	}
	return r;
}

long sys_do_openat(struct sys_call *c)
{
	int flags = sys_int(c, 2), mode = flags & O_ACCMODE, fd, r;
	uint64_t create = c->arg[3] & ~(uint64_t)c->ctx->umask;
	unsigned rights = c->fd.rights;
	struct fd_object *o;
	struct stat st;

	/* How long it takes is the file system's business; a kill does not interrupt it. */
	fd = open_vetted(c->fd.obj->host, c->u.path, flags, create, &st);
	if (fd < 0)
		return fd;
	r = fd_object_adopt(fd, S_ISDIR(st.st_mode) ? FD_DIRECTORY : FD_FILE, &o);
	if (r)
		return r;
	o->barred = c->fd.obj->barred;
	if (mode == O_RDONLY)
		rights &= ~STHREAD_FD_WRITE;
	else if (mode == O_WRONLY)
		rights &= ~STHREAD_FD_READ;
	/*
	 * A directory opened inside is again one to open beneath, but not for writing or making
	 * names: that takes the grant itself.
	 */
	return fdtab_open(&c->ctx->fds, o, rights & ~STHREAD_FD_MAKE, S_ISDIR(st.st_mode));
}
