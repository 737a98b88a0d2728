// SPDX-License-Identifier: MIT
/*
 * filesystem.c - file systems whose files are the kernel's own state, or somebody's memory, or
 * devices: nothing there is granted, opened or made.  World: host.
 */
#include "sthread/fd/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS_TYPE 0x01021994
#define RAMFS_TYPE 0x858458f6

static bool kernel_filesystem(const struct statfs *fs)
{
	static const uint32_t type[] = {
		0x00009fa0, /* proc */
		0x62656572, /* sysfs */
		0x00001cd1, /* devpts */
		0x0027e0eb, /* cgroup */
		0x63677270, /* cgroup2 */
		0x64626720, /* debugfs */
		0x74726163, /* tracefs */
		0x73636673, /* securityfs */
		0xcafe4a11, /* bpf */
		0xf97cff8c, /* selinux */
		0x43415d53, /* smack */
		0x5a3c69f0, /* apparmor */
		0xde5e81e4, /* efivarfs */
		0x6165676c, /* pstore */
		0x62656570, /* configfs */
		0x65735543, /* fusectl */
		0x42494e4d, /* binfmt_misc */
		0x07655821, /* resctrl */
		0x6e736673, /* nsfs */
		0x50494446, /* pidfs */
		0x09041934, /* anonymous inodes */
		0x50495045, /* pipefs */
		0x534f434b, /* sockfs */
		0x19800202, /* mqueue */
		0x6c6f6f70, /* binder */
		0xabba1974, /* xenfs */
		0x00009fa2, /* usbfs */
		0x67596969, /* rpc_pipefs */
		0x6e667364, /* nfsd */
		0x444d4142, /* dma-buf */
		0x454d444d, /* devmem */
		0x5345434d, /* secretmem */
		0x474d454d, /* guest_memfd */
		0x00000187, /* autofs */
	};

	for (unsigned i = 0; i < sizeof(type) / sizeof(type[0]); i++)
		if ((uint32_t)fs->f_type == type[i])
			return true;
	return false;
}

int fd_check_filesystem(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return kernel_filesystem(&fs) ? -EACCES : 0;
}

/* ---- devtmpfs ---- */

/*
 * A devtmpfs cannot be told from a tmpfs by statfs(), but by its device number.  There is one, for
 * as long as the kernel runs: so its number, once seen in the table of mounts, is known for ever,
 * and so is that another number is not it.
 */
static atomic_ullong devtmpfs_dev;      /* 0: not seen yet */
static atomic_ullong plain_dev[4];      /* seen to be something else */
static atomic_uint plain_next;

static bool is_plain(dev_t dev)
{
	for (unsigned i = 0; i < sizeof(plain_dev) / sizeof(plain_dev[0]); i++)
		if (atomic_load(&plain_dev[i]) == dev)
			return true;
	return false;
}

/* Looks for the devtmpfs; true: `dev` is there and is something else. */
static bool read_mounts(dev_t dev)
{
	char name[FD_PROC_NAME], *line = NULL;
	int at = fd_proc_name(name, "mountinfo", -1);
	int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	bool plain = false;
	unsigned maj, min;
	size_t cap = 0;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (getline(&line, &cap, f) >= 0) {
		const char *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*u %*u %u:%u ", &maj, &min) != 2)
			continue;
		if (!strncmp(type + 3, "devtmpfs ", 9))
			atomic_store(&devtmpfs_dev, makedev(maj, min));
		else if (makedev(maj, min) == dev)
			plain = true;
	}
	free(line);
	fclose(f);
	return plain;
}

void fd_find_devtmpfs(void)
{
	if (!atomic_load(&devtmpfs_dev))
		read_mounts(0);
}

/*
 * openat2() with RESOLVE_NO_XDEV never leaves the mount, so asking once, at the grant, is enough.
 * A mount that the mount table does not show might be devtmpfs: the table may be a chroot()'s, or
 * missing.
 */
bool fd_on_devtmpfs(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return true;
	if ((uint32_t)fs.f_type != TMPFS_TYPE && (uint32_t)fs.f_type != RAMFS_TYPE)
		return false;
	if (!atomic_load(&devtmpfs_dev) && !is_plain(st.st_dev)) {
		if (!read_mounts(st.st_dev) && !atomic_load(&devtmpfs_dev))
			return true;
		if (st.st_dev != atomic_load(&devtmpfs_dev))
			atomic_store(&plain_dev[atomic_fetch_add(&plain_next, 1) % 4], st.st_dev);
	}
	return st.st_dev == atomic_load(&devtmpfs_dev);
}
