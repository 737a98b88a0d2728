/* SPDX-License-Identifier: MIT */
/* standard.c - descriptors 0 to 2 are the program's, also where it has closed them.  World: host. */
#include <fcntl.h>
#include <unistd.h>

#include "vm/vm.h"

void standard_hold(struct standard *h)
{
	int fd;

	for (h->n = 0; h->n < 3; h->fd[h->n++] = fd) {
		/* Nobody can read or write it. */
		fd = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && fd <= STDERR_FILENO)
			continue;
		if (fd >= 0)
			close(fd);
		return;
	}
}

void standard_release(struct standard *h)
{
	while (h->n)
		close(h->fd[--h->n]);
}
