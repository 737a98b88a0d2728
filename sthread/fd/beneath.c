/* SPDX-License-Identifier: MIT */
/*
 * beneath.c - granted directories that lie one beneath the other.  World: host.
 *
 * No table grants a directory with STHREAD_FD_MAKE and another, above or beneath it, that gives
 * more rights: a file could be moved from the one to the other and gain rights.  Checking each
 * move would not do: a compartment that has both could close one, or make a child with one alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <sthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sthread/fd/table.h"

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * 1 or 0, or a negative errno: it cannot be told.  Nothing is moved from one file system to
 * another: where another begins is the end.
 */
static int lies_beneath(int inner, int outer)
{
	struct stat top, at, up;
	int fd = inner, r = 0;

	if (fd_identify(outer, &top) < 0 || fd_identify(inner, &at) < 0)
		return -errno;
	while (!r && at.st_dev == top.st_dev) {
		int parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (parent < 0)
			r = -errno;
		if (fd != inner)
			close(fd);
		fd = parent;
		if (!r && fd_identify(fd, &up) < 0)
			r = -errno;
		if (r || same(&up, &at)) /* the root */
			break;
		at = up;
		r = same(&at, &top);
	}
	if (fd != inner && fd >= 0)
		close(fd);
	return r;
}

static int check_pair(const struct fd_entry *outer, const struct fd_entry *inner)
{
	int r;

	if (!(outer->rights & STHREAD_FD_MAKE) || !(inner->rights & ~outer->rights))
		return 0;
	r = lies_beneath(inner->obj->host, outer->obj->host);
	return r > 0 ? -EINVAL : r;
}

int fd_dirs_fit(const struct fd_entry *entry, unsigned n, const struct fd_entry *add)
{
	int r = 0;

	for (unsigned i = 0; add->dir && i < n && !r; i++) {
		if (!entry[i].dir)
			continue;
		r = check_pair(&entry[i], add);
		if (!r)
			r = check_pair(add, &entry[i]);
	}
	return r;
}
