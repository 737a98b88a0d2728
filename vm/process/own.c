/* SPDX-License-Identifier: MIT */
/* own.c - descriptors of the library's, which the program may have closed.  World: host. */
#include <sys/stat.h>
#include <unistd.h>

#include "vm/process/process.h"

void own_take(struct own_fd *o, int fd)
{
	struct stat st = { 0 };

	*o = (struct own_fd){ .fd = fd < 0 || fstat(fd, &st) ? -1 : fd, .device = st.st_dev, .file = st.st_ino };
}

bool own_is_there(const struct own_fd *o)
{
	struct stat st;

	return o->fd >= 0 && !fstat(o->fd, &st) && st.st_dev == o->device && st.st_ino == o->file;
}

void own_close(struct own_fd *o)
{
	if (own_is_there(o))
		close(o->fd);
	o->fd = -1;
}
