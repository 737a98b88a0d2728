// SPDX-License-Identifier: MIT
/*
 * fd_filesystem.c - file systems whose files are the kernel's own state, or somebody's memory: nothing there is
 * granted, opened or made.  World: host.
 */
#include "sthread/fdtab.h"

#include <errno.h>
#include <sys/vfs.h>

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
