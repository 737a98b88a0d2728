/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own file systems, and devices, are not opened even by a grant of "/" or of a directory in them: each
 * path is refused for its own reason.  The same names on a file system of files are opened.  World: host; ST_FN:
 * inside.
 */
#include "tests/st.h"

#include <sys/stat.h>

#define RIGHTS (STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT)

/*
 * EXDEV: in another mount, or through an absolute link.  ELOOP: through a link of the kernel's (/proc/PID/exe).
 * EACCES: found, and of a file system or a type that is not opened.
 */
static const struct kernel_file {
	const char *place, *path;
	int err;
} files[] = {
	{ "/", "proc/self/mem", EXDEV },
	{ "/", "proc/self/maps", EXDEV },
	{ "/", "proc/self/fd/0", EXDEV },
	{ "/", "proc/self/environ", EXDEV },
	{ "/", "proc/self/root/etc/passwd", EXDEV },
	{ "/", "proc/self/exe", EXDEV },
	{ "/", "proc/1/status", EXDEV },
	{ "/", "proc/version", EXDEV },
	{ "/", "proc/none_such", EXDEV },
	{ "/", "proc", EXDEV },
	{ "/", "sys/kernel/mm", EXDEV },
	{ "/", "dev/null", EXDEV },
	{ "/", "dev/kvm", EXDEV },
	{ "/", "dev/zero", EXDEV },
	{ "/", "dev/none_such", EXDEV },
	{ "/", "none_such", ENOENT },
	{ "/proc", "self/mem", EACCES },
	{ "/proc", "self/maps", EACCES },
	{ "/proc", "self/fd/0", ELOOP },
	{ "/proc", "self/root", ELOOP },
	{ "/proc", "self/root/etc/passwd", ELOOP },
	{ "/proc", "self/exe", ELOOP },
	{ "/proc", "self/cwd", ELOOP },
	{ "/proc", "thread-self/mem", EACCES },
	{ "/proc", "version", EACCES },
	{ "/proc", "self", EACCES },
	{ "/proc", ".", EACCES },
	{ "/proc", "none_such", ENOENT },
	{ "/proc", "self/../version", EACCES },
	{ "/proc", "..", EXDEV },
	{ "/proc/self", "mem", EACCES },
	{ "/proc/self", "maps", EACCES },
	{ "/proc/self", "environ", EACCES },
	{ "/proc/self", "exe", ELOOP },
	{ "/proc/self", "root/etc/passwd", ELOOP },
	{ "/proc/self", "fd", EACCES },
	{ "/proc/self", "fd/0", ELOOP },
	{ "/proc/self", "../version", EXDEV },
	{ "/proc/self/fd", "0", ELOOP },
	{ "/proc/self/fd", "..", EXDEV },
	{ "/sys", "kernel/notes", EACCES },
	{ "/sys", "kernel", EACCES },
	{ "/sys", "none_such", ENOENT },
	{ "/dev", "null", EACCES },
	{ "/dev", "zero", EACCES },
	{ "/dev", "kvm", EACCES },
	{ "/dev", "tty", EACCES },
};
#define FILES (sizeof(files) / sizeof(files[0]))

/* arg: descriptor << 16 | index. */
ST_FN(opens)
{
	const struct kernel_file *f = &files[(uintptr_t)arg & 0xffff];
	long r = syscall(SYS_openat, (long)((uintptr_t)arg >> 16), f->path, O_RDONLY, 0);

	return (void *)(intptr_t)(r < 0 ? -errno : 0);
}

static void *packed(int dir, size_t i)
{
	return (void *)((uintptr_t)dir << 16 | i);
}

static void refused(void)
{
	for (size_t i = 0; i < FILES; i++) {
		int dir = open(files[i].place, O_RDONLY | O_DIRECTORY);
		struct sthread_policy *p = st_policy_all_calls();
		struct sthread_result r;

		CHECK_MSG(dir >= 0, "%s", files[i].place);
		st_grant_dir(p, dir, RIGHTS);
		r = st_call(p, opens, packed(dir, i));
		ST_END(&r, STHREAD_RETURNED);
		CHECK_MSG((intptr_t)r.value == -files[i].err, "\"%s\" beneath %s: %ld",
			  files[i].path, files[i].place, (long)(intptr_t)r.value);
		/* It was there to be opened; only the master may. */
		CHECK_MSG(files[i].err == ENOENT || strstr(files[i].path, "none_such") ||
				  (strstr(files[i].path, "kvm") && access("/dev/kvm", F_OK)) ||
				  !faccessat(dir, files[i].path, F_OK, AT_SYMLINK_NOFOLLOW),
			  "\"%s\" beneath %s is not there", files[i].path, files[i].place);
		sthread_policy_destroy(p);
		close(dir);
	}
	st_others_live();
}

/* ---- twins ---- */

static char plain_top[] = "/tmp/st_kernel_files_XXXXXX", beneath_root[] = "/st_kernel_file_XXXXXX";

/* arg: as above; the index after the last: what was made in "/". */
ST_FN(opens_plain)
{
	size_t i = (uintptr_t)arg & 0xffff;
	const char *path = i < FILES ? files[i].path : beneath_root + 1;
	long fd = syscall(SYS_openat, (long)((uintptr_t)arg >> 16), path, O_RDONLY, 0);
	char text[8];

	CHECK_MSG(fd >= 0, "%s: errno %d", path, errno);
	CHECK_EQ(read((int)fd, text, sizeof(text)), 5);
	CHECK_MEM(text, "plain", 5);
	return NULL;
}

static void make_plain(int dir, const char *name)
{
	char part[64];
	int fd;

	for (const char *s = strchr(name, '/'); s; s = strchr(s + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(s - name), name);
		CHECK_MSG(!mkdirat(dir, part, 0700) || errno == EEXIST, "%s", part);
	}
	fd = openat(dir, name, O_CREAT | O_WRONLY, 0600);
	CHECK_MSG(fd >= 0, "%s", name);
	CHECK_EQ(write(fd, "plain", 5), 5);
	close(fd);
}

static bool is_directory_of_another(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < FILES; i++)
		if (!strncmp(files[i].path, name, len) && files[i].path[len] == '/')
			return true;
	return false;
}

/* Made before the checkpoint: the paths of `files` as plain files. */
static int make_twins(void)
{
	int dir, fd;

	CHECK(mkdtemp(plain_top));
	dir = open(plain_top, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < FILES; i++)
		if (!strstr(files[i].path, "..") && strcmp(files[i].path, ".") &&
		    !is_directory_of_another(files[i].path))
			make_plain(dir, files[i].path);
	fd = mkstemp(beneath_root);
	if (fd < 0) { /* not as root */
		NOTE("nothing can be made in /: %s", strerror(errno));
		beneath_root[0] = '\0';
		return dir;
	}
	CHECK_EQ(write(fd, "plain", 5), 5);
	close(fd);
	return dir;
}

static void opened(int dir)
{
	struct sthread_policy *p = st_policy_all_calls();
	int root = open("/", O_RDONLY | O_DIRECTORY);
	unsigned n = 0;

	st_grant_dir(p, dir, RIGHTS);
	st_grant_dir(p, root, RIGHTS);
	if (*beneath_root)
		ST_PASSES(p, opens_plain, packed(root, FILES));
	for (size_t i = 0; i < FILES; i++) {
		struct stat st;

		if (fstatat(dir, files[i].path, &st, 0) || !S_ISREG(st.st_mode))
			continue;
		ST_PASSES(p, opens_plain, packed(dir, i));
		n++;
	}
	CHECK_GE(n, 30);
	sthread_policy_destroy(p);
	close(root);
}

/* What the rows above rest on. */
static void check_mounts(void)
{
	static const char *const mounts[] = { "/proc", "/sys", "/dev" };
	struct stat root, st;

	CHECK_EQ(stat("/", &root), 0);
	for (unsigned i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		CHECK_EQ(stat(mounts[i], &st), 0);
		CHECK_MSG(st.st_dev != root.st_dev, "%s is no file system of its own", mounts[i]);
	}
}

int main(void)
{
	char command[80];
	int dir;

	check_mounts();
	dir = make_twins();
	st_init();
	refused();
	opened(dir);
	sthread_fini();
	snprintf(command, sizeof(command), "rm -r %s %s", plain_top, beneath_root);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
