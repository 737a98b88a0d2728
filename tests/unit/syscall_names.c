// SPDX-License-Identifier: MIT
/*
 * Names beneath a granted directory: looked at, made, removed and moved, and never outside; a file
 * gains no rights by being moved.  World: host.
 */
#include <asm/unistd.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define PATH  (FAKE_DATA + 8 * PAGE)
#define PATH2 (FAKE_DATA + 10 * PAGE)
#define BUF   (FAKE_DATA + 12 * PAGE)

#define LOOK  STHREAD_FD_STAT
#define MAKES (STHREAD_FD_STAT | STHREAD_FD_MAKE)

static char top[] = "/tmp/sthread-XXXXXX";
static int outside, in, weak; /* weak: granted with fewer rights */

static void touch(int dir, const char *name)
{
	int fd = openat(dir, name, O_CREAT | O_WRONLY, 0600);

	CHECK_GE(fd, 0);
	close(fd);
}

static bool there(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void build(void)
{
	CHECK(mkdtemp(top));
	outside = open(top, O_RDONLY | O_DIRECTORY);
	CHECK_OK(mkdirat(outside, "in", 0700));
	CHECK_OK(mkdirat(outside, "weak", 0700));
	in = openat(outside, "in", O_RDONLY | O_DIRECTORY);
	weak = openat(outside, "weak", O_RDONLY | O_DIRECTORY);
	touch(outside, "secret");
	touch(in, "file");
	touch(weak, "file");
	CHECK_OK(mkdirat(in, "sub", 0700));
	CHECK_OK(mkdirat(outside, "victim", 0700));
	CHECK_OK(symlinkat("..", in, "up"));
	CHECK_OK(symlinkat("../victim", in, "to_victim"));
	CHECK_OK(symlinkat("/proc/self/cwd", in, "magic"));
	CHECK_OK(symlinkat("sub", in, "to_sub"));
	CHECK_OK(symlinkat("file", in, "to_file"));
	CHECK_OK(symlinkat("../secret", in, "to_secret"));
}

static void with(unsigned rights, unsigned rights_weak)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_dir(p, in, rights));
	CHECK_OK(sthread_policy_dir(p, weak, rights_weak));
	fake_begin(p);
	sthread_policy_destroy(p);
}

static uint64_t path(const char *text)
{
	return fake_puts(PATH, text);
}

static long mk(const char *name)
{
	return CALL(__NR_mkdirat, (uint64_t)in, path(name), 0777);
}

static long rm(const char *name, int flags)
{
	return CALL(__NR_unlinkat, (uint64_t)in, path(name), (uint64_t)flags);
}

static long mv(int from, const char *old, int to, const char *new, unsigned flags)
{
	return CALL(__NR_renameat2, (uint64_t)from, path(old), (uint64_t)to, fake_puts(PATH2, new), flags);
}

/* Every way to a name that is not beneath, and the errno. */
static const struct {
	const char *path;
	int err;
} bad[] = {
	{ "", ENOENT },
	{ "/", EXDEV },
	{ "//", EXDEV },
	{ "/x", EXDEV },
	{ "/tmp/x", EXDEV },
	{ "..", EXDEV },
	{ "../", EXDEV },
	{ "../x", EXDEV },
	{ "sub/../../x", EXDEV },
	{ "sub/..", EXDEV },
	{ "sub/../", EXDEV },
	{ "up/x", EXDEV },
	{ "up/victim", EXDEV },
	{ "to_victim/x", EXDEV },
	{ "to_victim/../x", EXDEV },
	{ "magic/x", EXDEV },
	{ ".", EINVAL },
	{ "./", EINVAL },
	{ "sub/.", EINVAL },
	{ "none/x", ENOENT },
	{ "file/x", ENOTDIR },
	{ "to_file/x", ENOTDIR },
};

static void making(void)
{
	struct stat st;
	int flags;

	with(MAKES, LOOK);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_MSG(mk(bad[i].path) == -bad[i].err, "%s: %ld", bad[i].path, mk(bad[i].path));
		for (flags = 0; flags <= AT_REMOVEDIR; flags += AT_REMOVEDIR)
			CHECK_MSG(rm(bad[i].path, flags) == -bad[i].err, "%s: %ld", bad[i].path,
				  rm(bad[i].path, flags));
		CHECK_MSG(mv(in, bad[i].path, in, "new", 0) == -bad[i].err, "%s", bad[i].path);
		CHECK_MSG(mv(in, "file", in, bad[i].path, 0) == -bad[i].err, "%s", bad[i].path);
	}
	CHECK(!there(outside, "x") && there(in, "file") && !there(in, "new"));
	/* The last component is a name, and no link is followed. */
	CHECK_ERR(mk("to_victim"), -EEXIST);
	CHECK_ERR(mk("up"), -EEXIST);
	CHECK_ERR(rm("to_victim", AT_REMOVEDIR), -ENOTDIR);
	CHECK_ERR(rm("to_victim/", AT_REMOVEDIR), -ENOTDIR);
	CHECK_OK(rm("to_secret", 0));
	CHECK(there(outside, "secret") && !there(in, "to_secret"));
	CHECK_OK(mv(in, "to_victim", in, "link", 0));
	CHECK(there(outside, "victim") && there(in, "link"));
	CHECK_OK(mv(in, "file", in, "link", 0));
	CHECK(there(outside, "victim") && there(in, "link") && !there(in, "file"));
	CHECK_OK(mv(in, "link", in, "file", 0));
	/* Well-behaved ones. */
	CHECK_OK(mk("new"));
	CHECK_OK(mk("new/inner/"));
	CHECK_OK(mk("to_sub/inner"));
	CHECK(there(in, "sub/inner"));
	CHECK_ERR(mk("new"), -EEXIST);
	CHECK_ERR(rm("new", 0), -EISDIR);
	CHECK_ERR(rm("new", AT_REMOVEDIR), -ENOTEMPTY);
	CHECK_OK(mv(in, "new/inner", in, "sub/moved", RENAME_NOREPLACE));
	CHECK_ERR(mv(in, "file", in, "sub/moved", RENAME_NOREPLACE), -EEXIST);
	CHECK_ERR(mv(in, "file", in, "sub/moved", RENAME_NOREPLACE | RENAME_EXCHANGE), -EINVAL);
	CHECK_ERR(mv(in, "file", in, "sub/moved", RENAME_WHITEOUT), -EINVAL);
	CHECK_OK(mv(in, "file", in, "sub/moved", RENAME_EXCHANGE));
	CHECK_OK(mv(in, "file", in, "sub/moved", RENAME_EXCHANGE));
	CHECK_ERR(mv(in, "file/", in, "sub/x", 0), -ENOTDIR);
	CHECK_ERR(rm("file/", 0), -ENOTDIR);
	CHECK_ERR(rm("file", 0x1000), -EINVAL);
	CHECK_OK(rm("sub/moved/", AT_REMOVEDIR));
	CHECK_OK(rm("sub/inner", AT_REMOVEDIR));
	CHECK_OK(rm("new", AT_REMOVEDIR));
	/* No program, no set-id bits, and less by its own umask. */
	CHECK_EQ(CALL(__NR_umask, 0770), 0);
	CHECK_OK(CALL(__NR_mkdirat, (uint64_t)in, path("new"), 07777));
	CHECK_OK(fstatat(in, "new", &st, 0));
	CHECK_EQ(st.st_mode & 07770, 0);
	CHECK_EQ(CALL(__NR_umask, 0), 0770);
	CHECK_OK(rm("new", AT_REMOVEDIR));
	CHECK_EQ(umask(022), umask(022)); /* the master's is as it was */
	/* No working directory. */
	CHECK_ERR(CALL(__NR_mkdirat, (uint64_t)AT_FDCWD, path("x"), 0777), -EACCES);
	CHECK_ERR(CALL(__NR_renameat, (uint64_t)in, path("file"), (uint64_t)AT_FDCWD, PATH), -EACCES);
}

static void rights(void)
{
	const unsigned all = MAKES | STHREAD_FD_READ | STHREAD_FD_WRITE;
	int sub;

	with(LOOK | STHREAD_FD_WRITE | STHREAD_FD_READ, LOOK);
	CHECK_ERR(mk("new"), -EPERM);
	CHECK_ERR(rm("file", 0), -EPERM);
	CHECK_ERR(mv(in, "file", in, "new", 0), -EPERM);
	/* Each end needs it. */
	with(all, all & ~STHREAD_FD_MAKE);
	CHECK_ERR(mv(in, "file", weak, "new", 0), -EPERM);
	CHECK_ERR(mv(weak, "file", in, "new", 0), -EPERM);
	/* What may only be read would become writable, or readable; the other way is fine. */
	with(all, all & ~STHREAD_FD_WRITE);
	CHECK_ERR(mv(weak, "file", in, "new", 0), -EXDEV);
	CHECK_ERR(mv(in, "file", weak, "file", RENAME_EXCHANGE), -EXDEV);
	CHECK_ERR(mv(weak, "file", in, "file", RENAME_EXCHANGE), -EXDEV);
	with(all, MAKES);
	CHECK_ERR(mv(weak, "file", in, "new", 0), -EXDEV);
	CHECK_OK(mv(in, "file", weak, "new", 0));
	CHECK_ERR(mv(weak, "new", in, "file", 0), -EXDEV);
	with(all, all);
	CHECK_OK(mv(weak, "new", in, "file", 0));
	/* A directory that was opened inside is not one to make names in. */
	sub = (int)CALL(__NR_openat, (uint64_t)in, path("sub"), O_RDONLY | O_DIRECTORY, 0);
	CHECK_GE(sub, 0);
	CHECK_ERR(CALL(__NR_mkdirat, (uint64_t)sub, path("x"), 0777), -EPERM);
	/* And a file is not one to look beneath. */
	sub = (int)CALL(__NR_openat, (uint64_t)in, path("file"), O_RDONLY, 0);
	CHECK_ERR(CALL(__NR_statx, (uint64_t)sub, path("x"), 0, STATX_SIZE, BUF), -ENOTDIR);
	CHECK_ERR(CALL(__NR_readlinkat, (uint64_t)sub, path("x"), BUF, 10), -ENOTDIR);
	CHECK_ERR(CALL(__NR_faccessat, (uint64_t)sub, path("x"), 0), -ENOTDIR);
	CHECK_OK(CALL(__NR_statx, (uint64_t)sub, path(""), AT_EMPTY_PATH, STATX_SIZE, BUF));
}

static long at(const char *name, int mode)
{
	return CALL(__NR_faccessat2, (uint64_t)in, path(name), (uint64_t)mode, 0);
}

static void looking(void)
{
	static const struct {
		const char *path;
		int err;
	} no[] = { { "..", EXDEV },	     { "/etc/passwd", EXDEV }, { "up", EXDEV },
		   { "up/secret", EXDEV },   { "magic", EXDEV },       { "magic/x", EXDEV },
		   { "sub/../../x", EXDEV }, { "none", ENOENT },       { "", ENOENT } };
	struct statx stx;

	with(LOOK | STHREAD_FD_READ, LOOK);
	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		CHECK_MSG(at(no[i].path, F_OK) == -no[i].err, "%s", no[i].path);
		CHECK_MSG(CALL(__NR_statx, (uint64_t)in, path(no[i].path), 0, STATX_SIZE, BUF) == -no[i].err,
			  "%s", no[i].path);
	}
	CHECK_OK(at("file", F_OK));
	CHECK_OK(at("file", R_OK));
	CHECK_ERR(at("file", W_OK), -EACCES); /* not by this grant */
	CHECK_ERR(at("file", X_OK), -EACCES);
	CHECK_OK(at("sub", X_OK));
	CHECK_ERR(at("file", 8), -EINVAL);
	CHECK_OK(CALL(__NR_statx, (uint64_t)in, path("to_sub"), 0, STATX_BASIC_STATS, BUF));
	memcpy(&stx, fake_host(BUF), sizeof(stx));
	CHECK(S_ISDIR(stx.stx_mode));
	CHECK_OK(CALL(__NR_statx, (uint64_t)in, path("magic"), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, BUF));
	memcpy(&stx, fake_host(BUF), sizeof(stx));
	CHECK(S_ISLNK(stx.stx_mode));
	CHECK_ERR(CALL(__NR_statx, (uint64_t)in, path("file"), 0, 0x1000 /* MNT_ID */, BUF), -EINVAL);
	CHECK_EQ(CALL(__NR_readlinkat, (uint64_t)in, path("magic"), FAKE_COW, 100), 14);
	CHECK_MEM(fake_host(FAKE_COW), "/proc/self/cwd\xcc", 15);
	CHECK_EQ(CALL(__NR_readlinkat, (uint64_t)in, path("magic"), BUF, 5), 5);
	CHECK_ERR(CALL(__NR_readlinkat, (uint64_t)in, path("magic"), BUF, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_readlinkat, (uint64_t)in, path("file"), BUF, 10), -EINVAL);
	CHECK_ERR(CALL(__NR_readlinkat, (uint64_t)in, path("up/secret"), BUF, 10), -EXDEV);
	with(STHREAD_FD_READ, LOOK);
	CHECK_ERR(at("file", F_OK), -EPERM);
	CHECK_ERR(CALL(__NR_open, PATH, 0), -EACCES);
	CHECK_ERR(CALL(__NR_chdir, PATH), -EACCES);
	CHECK_ERR(CALL(__NR_getcwd, BUF, 100), -ENOENT);
}

int main(void)
{
	char command[64];

	umask(022);
	CHECK_OK(sys_init());
	fake_reset();
	build();
	making();
	rights();
	looking();
	fake_end();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	sys_fini();
	snprintf(command, sizeof(command), "rm -rf %s", top);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
