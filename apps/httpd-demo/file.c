/* SPDX-License-Identifier: MIT */
/*
 * The one place that opens anything. World: inside the compartment.
 *
 * In a compartment a plain openat() on the granted directory is all there is, and the library
 * lets nothing out of it. Where there is no compartment, openat2() builds the same wall, as far
 * as the code that calls it can be trusted.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "isolation.h"

static int open_beneath(int dirfd, const char *name)
{
	struct open_how how = {
		/* A FIFO must not hold us up. */
		.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};

	return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
}

int file_open(const char *name, struct stat *st)
{
	int fd, err;

	do {
		if (config.isolation->guards_root)
			fd = openat(config.rootfd, name, O_RDONLY | O_CLOEXEC);
		else
			fd = open_beneath(config.rootfd, name);
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN)); /* EAGAIN: a rename got in between */
	if (fd < 0)
		return -errno;
	if (fstat(fd, st)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
