/* SPDX-License-Identifier: MIT */
/*
 * Opening beneath a granted directory: no way out of it, no device, no writing or creating without the right.  World:
 * host; ST_FN: inside.
 */
#include "tests/st.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Beneath it all is made by the program: see build(). */
static char top[] = "/tmp/st_paths_XXXXXX";
static int dir = -1;

static int try_open(const char *path, int flags)
{
	int fd = (int)syscall(SYS_openat, dir, path, flags, 0644);

	return fd < 0 ? -errno : fd;
}

static int try_stat(const char *path, int flags)
{
	struct stat st;

	return syscall(SYS_newfstatat, dir, path, &st, flags) < 0 ? -errno : 0;
}

ST_FN(opens_what_is_there)
{
	static const char *const good[] = { "file", "./file", "sub/../file", "sub/inner",
					    "link", "sub/up", "sub//inner",  "to_sub/inner",
					    ".",    "sub/.." };
	char buf[16];

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int fd = try_open(good[i], O_RDONLY);

		CHECK_MSG(fd >= 0, "%s: %d", good[i], fd);
		if (strchr(good[i], 'f') || strchr(good[i], 'k'))
			CHECK_EQ(read(fd, buf, sizeof(buf)), 7);
		CHECK_EQ(close(fd), 0);
		CHECK_EQ(try_stat(good[i], 0), 0);
	}
	CHECK_EQ(try_stat("out", AT_SYMLINK_NOFOLLOW), 0);
	/* A directory opened inside is again one to open beneath, and no way up. */
	int sub = try_open("sub", O_RDONLY | O_DIRECTORY), fd;

	CHECK(sub >= 0);
	fd = (int)syscall(SYS_openat, sub, "inner", O_RDONLY, 0);
	CHECK(fd >= 0);
	CHECK(syscall(SYS_openat, sub, "../file", O_RDONLY, 0) == -1 && errno == EXDEV);
	CHECK(syscall(SYS_openat, fd, "x", O_RDONLY, 0) == -1 && errno == ENOTDIR);
	return NULL;
}

ST_FN(finds_no_way_out)
{
	static const struct {
		const char *path;
		int err;
	} bad[] = {
		{ "..", EXDEV },
		{ "../", EXDEV },
		{ "../outside", EXDEV },
		{ "sub/../../outside", EXDEV },
		{ "/", EXDEV },
		{ "/etc/passwd", EXDEV },
		{ "//etc/passwd", EXDEV },
		{ "/proc/self/mem", EXDEV },
		{ "out", EXDEV },
		{ "out_relative", EXDEV },
		{ "out_dir/passwd", EXDEV },
		{ "out_by_proc", EXDEV },
		{ "loop", ELOOP },
		{ "loop_a", ELOOP },
		{ "deep_loop/x", ELOOP },
		{ "", ENOENT },
		{ "none", ENOENT },
		{ "file/", ENOTDIR },
		{ "file/x", ENOTDIR },
		{ "fifo", EACCES },
		{ "socket", EACCES },
	};
	char path[4096];
	int at = 0;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int r = try_open(bad[i].path, O_RDONLY);

		CHECK_MSG(r == -bad[i].err, "%s: %d", bad[i].path, r);
		if (*bad[i].path)
			CHECK_MSG((r = try_stat(bad[i].path, 0)) == -bad[i].err, "stat %s: %d",
				  bad[i].path, r);
	}
	for (int i = 0; i < 500; i++)
		at += sprintf(path + at, "sub/../");
	strcpy(path + at, "../outside");
	CHECK_EQ(try_open(path, O_RDONLY), -EXDEV);
	/* Not by another directory: neither the working directory nor the root nor any number. */
	CHECK(openat(AT_FDCWD, "/etc/passwd", O_RDONLY) == -1 && errno == EACCES);
	CHECK(syscall(SYS_openat, dir + 1, "x", O_RDONLY, 0) == -1 && errno == EBADF);
	CHECK(syscall(SYS_openat, -1, "/etc/passwd", O_RDONLY, 0) == -1 && errno == EBADF);
	return NULL;
}

ST_FN(changes_nothing)
{
	static const int flags[] = { O_WRONLY,
				     O_RDWR,
				     O_RDONLY | O_CREAT,
				     O_WRONLY | O_CREAT,
				     O_RDONLY | O_TRUNC,
				     O_RDWR | O_APPEND,
				     O_WRONLY | O_CREAT | O_EXCL };
	static const int unknown[] = { O_PATH,	O_TMPFILE | O_RDWR, O_DIRECT,
				       O_ASYNC, O_NOATIME,	    O_SYNC,
				       1 << 30 };
	int r;

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		CHECK_EQ(try_open("file", flags[i]), -EACCES);
		CHECK_EQ(try_open("new", flags[i]), -EACCES);
	}
	for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		CHECK_MSG((r = try_open("sub", unknown[i])) == -EINVAL, "flags %#x: %d", unknown[i],
			  r);
	CHECK_EQ(try_open("file", O_ACCMODE), -EINVAL);
	/* What was opened for reading is for reading. */
	r = try_open("file", O_RDONLY);
	CHECK(write(r, "x", 1) == -1 && errno == EPERM);
	CHECK(pwrite(r, "x", 1, 0) == -1 && errno == EPERM);
	return NULL;
}

/* With the right to write: files, and only beneath. */
ST_FN(creates)
{
	int fd = try_open("new", O_WRONLY | O_CREAT | O_EXCL);
	char c;

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, "made", 4), 4);
	CHECK(read(fd, &c, 1) == -1 && errno == EPERM);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(try_open("new", O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
	fd = try_open("new", O_RDWR | O_TRUNC);
	CHECK(fd >= 0 && read(fd, &c, 1) == 0);
	CHECK_EQ(try_open("../made", O_WRONLY | O_CREAT), -EXDEV);
	CHECK_EQ(try_open("out_new", O_WRONLY | O_CREAT), -EXDEV);
	CHECK_EQ(try_open("out", O_WRONLY | O_TRUNC), -EXDEV);
	CHECK_EQ(try_open("/tmp/st_paths_made", O_WRONLY | O_CREAT), -EXDEV);
	CHECK_EQ(try_open("fifo", O_RDWR | O_NONBLOCK), -EACCES);
	CHECK_EQ(try_open("sub", O_RDONLY | O_CREAT), -EISDIR);
	return NULL;
}

/* arg: a second directory, with fewer rights.  Names are made beneath, and nowhere else. */
ST_FN(makes_names_beneath_only)
{
	static const struct {
		const char *path;
		int err;
	} bad[] = {
		{ "..", EXDEV },       { "../x", EXDEV },	{ "/tmp/x", EXDEV },	  { "/", EXDEV },
		{ "sub/..", EXDEV },   { "sub/../../x", EXDEV }, { "out_dir/x", EXDEV },   { "loop/x", ELOOP },
		{ "out_by_proc/x", EXDEV }, { "", ENOENT },	{ "none/x", ENOENT },	  { ".", EINVAL },
		{ "file/x", ENOTDIR }, { "sub/.", EINVAL },
	};
	int other = (int)(intptr_t)arg;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *path = bad[i].path;

		CHECK_MSG(mkdirat(dir, path, 0700) == -1 && errno == bad[i].err, "%s: %d", path, errno);
		CHECK_MSG(unlinkat(dir, path, 0) == -1 && errno == bad[i].err, "%s: %d", path, errno);
		CHECK_MSG(unlinkat(dir, path, AT_REMOVEDIR) == -1 && errno == bad[i].err, "%s: %d", path,
			  errno);
		CHECK_MSG(renameat(dir, path, dir, "moved") == -1 && errno == bad[i].err, "%s: %d", path,
			  errno);
		CHECK_MSG(renameat(dir, "file", dir, path) == -1 && errno == bad[i].err, "%s: %d", path,
			  errno);
	}
	CHECK(mkdirat(dir, "out_new", 0700) == -1 && errno == EEXIST);
	CHECK(mkdirat(dir, "out_dir/", 0700) == -1 && errno == EEXIST);
	CHECK(unlinkat(dir, "out_dir/", AT_REMOVEDIR) == -1 && errno == ENOTDIR);
	CHECK(mkdirat(AT_FDCWD, "x", 0700) == -1 && errno == EACCES);
	CHECK(mkdirat(dir + 1, "x", 0700) == -1 && errno == EBADF);
	/* A file that may only be read there would be writable here. */
	CHECK(renameat(other, "file", dir, "mine") == -1 && errno == EXDEV);
	CHECK(syscall(SYS_renameat2, dir, "file", other, "file", 2 /* exchange */) == -1 && errno == EXDEV);
	/* The twins. */
	CHECK_EQ(mkdirat(dir, "made", 0700), 0);
	CHECK_EQ(renameat(dir, "link", dir, "made/link"), 0);
	CHECK_EQ(renameat(dir, "made/link", dir, "link"), 0);
	CHECK_EQ(unlinkat(dir, "made/", AT_REMOVEDIR), 0);
	CHECK_EQ(unlinkat(dir, "out", 0), 0);
	return NULL;
}

ST_FN(makes_no_names)
{
	CHECK(mkdirat(dir, "made", 0700) == -1 && errno == EPERM);
	CHECK(unlinkat(dir, "file", 0) == -1 && errno == EPERM);
	CHECK(renameat(dir, "file", dir, "moved") == -1 && errno == EPERM);
	return NULL;
}

static void names(void)
{
	const unsigned rights = STHREAD_FD_READ | STHREAD_FD_STAT | STHREAD_FD_MAKE;
	struct sthread_policy *p = st_policy_all_calls();
	char name[64];
	int other;

	snprintf(name, sizeof(name), "%s/other", top);
	CHECK_EQ(mkdir(name, 0700), 0);
	other = open(name, O_RDONLY | O_DIRECTORY);
	close(openat(other, "file", O_CREAT | O_WRONLY, 0600));
	st_grant_dir(p, dir, rights | STHREAD_FD_WRITE);
	st_grant_dir(p, other, rights);
	ST_PASSES(p, makes_names_beneath_only, (intptr_t)other);
	CHECK(!faccessat(dir, "file", F_OK, 0) && !faccessat(other, "file", F_OK, 0));
	CHECK_EQ(access("/etc/passwd", F_OK), 0);
	snprintf(name, sizeof(name), "%s/x", top);
	CHECK_EQ(access(name, F_OK), -1);
	close(other);
	sthread_policy_destroy(p);
	st_others_live();
}

static void build(void)
{
	char name[64];
	int fd;

	CHECK(mkdtemp(top));
	snprintf(name, sizeof(name), "%s/outside", top);
	fd = open(name, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, "outside", 7), 7);
	close(fd);
	snprintf(name, sizeof(name), "%s/in", top);
	CHECK_EQ(mkdir(name, 0700), 0);
	dir = open(name, O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "file", O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, "is file", 7), 7);
	close(fd);
	CHECK_EQ(mkdirat(dir, "sub", 0700), 0);
	CHECK_EQ(linkat(dir, "file", dir, "sub/inner", 0), 0);
	CHECK(!symlinkat("file", dir, "link") && !symlinkat("../file", dir, "sub/up") &&
	      !symlinkat("sub", dir, "to_sub"));
	CHECK(!symlinkat("/etc/passwd", dir, "out") &&
	      !symlinkat("../outside", dir, "out_relative"));
	CHECK(!symlinkat("/etc", dir, "out_dir") &&
	      !symlinkat("/proc/self/fd/0", dir, "out_by_proc"));
	CHECK(!symlinkat("../made", dir, "out_new"));
	CHECK(!symlinkat("loop", dir, "loop") && !symlinkat("loop_b", dir, "loop_a") &&
	      !symlinkat("loop_a", dir, "loop_b"));
	CHECK(!symlinkat("deep_loop/x", dir, "deep_loop"));
	CHECK(!mkfifoat(dir, "fifo", 0600) && !mknodat(dir, "socket", S_IFSOCK | 0600, 0));
	if (mknodat(dir, "device", S_IFCHR | 0600, makedev(1, 5)) == 0) /* as root */
		NOTE("with a device node");
}

ST_FN(device_is_refused)
{
	int r = try_open("device", O_RDONLY);

	CHECK_MSG(r == -EACCES || r == -ENOENT, "%d", r);
	return NULL;
}

static void tear_down(void)
{
	char command[80];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	CHECK_EQ(system(command), 0);
}

int main(void)
{
	struct sthread_policy *reader, *writer;
	char name[64];

	build();
	st_init();
	reader = st_policy_all_calls();
	st_grant_dir(reader, dir, STHREAD_FD_READ | STHREAD_FD_STAT);
	ST_PASSES(reader, opens_what_is_there, NULL);
	ST_PASSES(reader, finds_no_way_out, NULL);
	ST_PASSES(reader, changes_nothing, NULL);
	ST_PASSES(reader, device_is_refused, NULL);
	CHECK(faccessat(dir, "new", F_OK, 0) == -1);
	st_others_live();
	writer = st_policy_all_calls();
	st_grant_dir(writer, dir, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT);
	ST_PASSES(writer, creates, NULL);
	ST_PASSES(writer, finds_no_way_out, NULL);
	ST_PASSES(writer, opens_what_is_there, NULL);
	CHECK(faccessat(dir, "new", F_OK, 0) == 0);
	ST_PASSES(writer, makes_no_names, NULL);
	names();
	snprintf(name, sizeof(name), "%s/made", top);
	CHECK(access(name, F_OK) == -1 && access("/tmp/st_paths_made", F_OK) == -1);
	st_others_live();
	sthread_fini();
	tear_down();
	return TEST_PASSED;
}
