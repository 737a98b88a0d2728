/* SPDX-License-Identifier: MIT */
/* peek.c - reads this process's memory through the kernel.  World: host. */
#include "checkpoint/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

/* Where a filter of system calls denies the better way. */
static ssize_t read_by_file(uint64_t at, void *buf, size_t len)
{
	ssize_t n;
	int fd;

	fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = pread(fd, buf, len, (off_t)at);
	close(fd);
	return n;
}

/* Like read(): a beginning, or -1. */
static ssize_t read_some(uint64_t at, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)at, len };
	ssize_t n;

	n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (n < 0 && (errno == ENOSYS || errno == EPERM))
		n = read_by_file(at, buf, len);
	return n;
}

bool ckpt_peek(uint64_t at, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read_some(at + done, (char *)buf + done, len - done);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

size_t ckpt_peek_pages(uint64_t at, void *buf, size_t pages)
{
	size_t done = 0, len = pages * 4096;

	while (done < len) {
		ssize_t n = read_some(at + done, (char *)buf + done, len - done);

		if (n <= 0) {
			/*
			 * proc(5) promises a beginning, process_vm_readv(2) promises none: page by
			 * page.
			 */
			if (!ckpt_peek(at + (done & ~4095UL), (char *)buf + (done & ~4095UL), 4096))
				break;
			n = (ssize_t)((done | 4095) + 1 - done);
		}
		done += (size_t)n;
	}
	return done / 4096;
}

bool ckpt_page_zero(const void *p)
{
	const uint64_t *w = p, *end = w + 512;

	/*
	 * Most pages that are not zero show it at once; eight words a step keep up with the memory.
	 */
	for (; w < end; w += 8)
		if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
			return false;
	return true;
}
