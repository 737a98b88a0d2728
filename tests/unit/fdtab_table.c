// SPDX-License-Identifier: MIT
/*
 * Descriptor tables: numbers of the compartment's own, duplicates of the library's own, and never
 * one left over. World: host.
 */
#include <linux/netlink.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "sthread/fd/table.h"
#include "tests/test.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void objects(void)
{
	int pipefd[2], pair[2], host;
	struct fd_object *o, *p;
	struct stat a, b;

	CHECK_OK(pipe(pipefd));
	CHECK_ERR(fd_object_dup(-1, &o), -EBADF);
	CHECK_ERR(fd_object_dup(99999, &o), -EBADF);
	CHECK_EQ(fd_objects(), 0);
	CHECK_OK(fd_object_dup(pipefd[0], &o));
	CHECK_EQ(o->kind, FD_PIPE);
	CHECK_GE(o->host, 512);
	CHECK(fcntl(o->host, F_GETFD) & FD_CLOEXEC);
	host = o->host;
	close(pipefd[0]); /* the master's own close touches nothing */
	CHECK(is_open(host));
	p = fd_object_get(o);
	fd_object_put(o);
	CHECK(is_open(host));
	fd_object_put(p);
	CHECK(!is_open(host));
	CHECK_EQ(fd_objects(), 0);
	close(pipefd[1]);

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(fd_object_dup(pair[0], &o));
	CHECK_EQ(o->kind, FD_STREAM);
	fd_object_put(o);
	close(pair[0]);
	close(pair[1]);
	CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	CHECK_OK(fd_object_dup(pair[0], &o));
	CHECK_EQ(o->kind, FD_MESSAGE);
	fd_object_put(o);

	CHECK_ERR(fd_object_dir(pair[0], &o), -ENOTDIR);
	CHECK_ERR(fd_object_dir(-1, &o), -EBADF);
	host = open("/tmp", O_RDONLY | O_DIRECTORY);
	CHECK_OK(fd_object_dir(host, &o));
	CHECK(fcntl(o->host, F_GETFL) & O_PATH);
	CHECK_OK(fstat(host, &a));
	CHECK_OK(fstat(o->host, &b));
	CHECK_EQ(a.st_ino, b.st_ino);
	CHECK_EQ(o->kind, FD_DIRECTORY);
	CHECK(!o->barred);
	fd_object_put(o);
	close(host);
	close(pair[0]);
	close(pair[1]);
	fd_object_put(NULL);
	CHECK_EQ(fd_objects(), 0);
}

static void grantable(const char *what, int fd, enum fd_kind kind)
{
	struct fd_object *o;
	int r;

	if (fd < 0) {
		NOTE("no %s", what);
		return;
	}
	r = fd_object_dup(fd, &o);
	CHECK_MSG(!r && o->kind == kind, "%s: %d", what, r);
	fd_object_put(o);
	close(fd);
}

static void not_grantable(const char *what, int fd)
{
	struct fd_object *o;
	int r;

	if (fd < 0) {
		NOTE("no %s", what);
		return;
	}
	r = fd_object_dup(fd, &o);
	CHECK_MSG(r == -EINVAL, "%s: %d", what, r);
	close(fd);
}

/* A folder or file that nothing is mounted on, as /sys is in a bare chroot(): the root's own. */
static bool unmounted(const char *path)
{
	struct stat root, there;

	return !stat("/", &root) && !stat(path, &there) && there.st_dev == root.st_dev &&
	       (S_ISDIR(there.st_mode) || S_ISREG(there.st_mode));
}

/* Only what holds nothing but data: no address, descriptor or process of the master's. */
static void kinds(void)
{
	static const char *const good[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					    "/dev/urandom" };
	static const char *const bad[] = { "/dev/kvm", "/dev/mem", "/dev/port", "/dev/kmsg",
					   "/dev/fuse", "/dev/net/tun", "/dev/vhost-net",
					   "/dev/userfaultfd", "/dev/sg0", "/dev/snapshot",
					   "/dev/loop-control", "/dev/uinput", "/dev/rtc0" };
	/* Of the kernel's file systems; and what holds everybody's files. */
	static const char *const kernels[] = {
		"/proc/self/mem", "/proc/self/maps", "/proc/self/environ", "/proc/version",
		"/proc/sys/kernel/core_pattern", "/proc/self/ns/net", "/proc", "/proc/self/fd",
		"/proc/self/map_files", "/sys", "/sys/kernel/uevent_seqnum",
		"/sys/fs/cgroup/cgroup.procs", "/sys/kernel/debug", "/sys/kernel/tracing/trace",
		"/sys/fs/bpf", "/dev/pts", "/dev/mqueue", "/dev/sda", "/dev/vda", "/dev/loop0",
		"/dev/ram0",
	};
	sigset_t set;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		grantable(good[i], open(good[i], O_RDONLY), FD_CHAR);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		not_grantable(bad[i], open(bad[i], O_RDONLY | O_NONBLOCK));
	grantable("pty", posix_openpt(O_RDWR | O_NOCTTY), FD_CHAR);
	grantable("eventfd", eventfd(0, 0), FD_OTHER);
	grantable("timerfd", timerfd_create(CLOCK_MONOTONIC, 0), FD_OTHER);
	grantable("memfd", memfd_create("anon_inode:[signalfd]", 0), FD_FILE);
	CHECK(!unmounted("/proc")); /* the library itself needs it */
	for (unsigned i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		if (unmounted(kernels[i])) {
			NOTE("nothing is mounted on %s", kernels[i]);
			continue;
		}
		not_grantable(kernels[i], open(kernels[i], O_RDONLY | O_NONBLOCK));
		not_grantable(kernels[i], open(kernels[i], O_PATH));
	}
	not_grantable("/proc/self/mem", open("/proc/self/mem", O_RDWR));
	grantable("/", open("/", O_RDONLY | O_DIRECTORY), FD_DIRECTORY);
	grantable("/dev/shm", open("/dev/shm", O_PATH | O_DIRECTORY), FD_DIRECTORY);
	grantable("a program", open("/proc/self/exe", O_RDONLY), FD_FILE); /* where the link leads */
	not_grantable("secret memory", (int)syscall(SYS_memfd_secret, 0));
	not_grantable("message queue", mq_open("/sthread-fdtab", O_RDWR | O_CREAT, 0600, NULL));
	mq_unlink("/sthread-fdtab");
	sigemptyset(&set);
	not_grantable("signalfd", signalfd(-1, &set, 0));
	not_grantable("fanotify", fanotify_init(FAN_CLASS_NOTIF, O_RDONLY));
	not_grantable("inotify", inotify_init());
	not_grantable("epoll", epoll_create1(0));
	not_grantable("pidfd", (int)syscall(SYS_pidfd_open, getpid(), 0));
	not_grantable("userfaultfd", (int)syscall(SYS_userfaultfd, O_CLOEXEC));
	not_grantable("netlink", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	CHECK_EQ(fd_objects(), 0);
}

/* Nothing that the library opened gets into the place of the standard descriptors. */
static void adopted(void)
{
	int fd = open("/dev/null", O_RDONLY), keep[3];
	struct fd_object *o;

	for (int i = 0; i < 3; i++)
		keep[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(dup2(fd, i), i);
		CHECK_OK(fd_object_adopt(i, FD_FILE, &o));
		CHECK(!is_open(i));
		CHECK_GE(o->host, 512);
		fd_object_put(o);
		CHECK_EQ(dup2(keep[i], i), i);
		close(keep[i]);
	}
	close(fd);
}

/*
 * A devtmpfs is told by the table of mounts: without one whatever might be a devtmpfs is, and what
 * was known before stays known.  In a process of its own each.
 */
static int hidden_mounts(bool known)
{
	int dev = open("/dev", O_RDONLY | O_DIRECTORY);
	int shm = open("/dev/shm", O_RDONLY | O_DIRECTORY);
	struct fd_object *o;
	struct statfs fs;

	if (known) {
		CHECK_OK(fd_object_dir(shm, &o));
		CHECK(!o->barred);
		fd_object_put(o);
	}
	if (fstatfs(dev, &fs) || fs.f_type != 0x01021994 || fstatfs(shm, &fs) ||
	    fs.f_type != 0x01021994 || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		return TEST_SKIPPED;
	CHECK_OK(fd_object_dir(dev, &o));
	CHECK(o->barred);
	fd_object_put(o);
	CHECK_OK(fd_object_dir(shm, &o));
	CHECK_EQ(o->barred, !known);
	fd_object_put(o);
	CHECK_ERR(fd_proc_init(), -ENOENT); /* what is there is no procfs */
	return TEST_PASSED;
}

static void mounts(void)
{
	for (int known = 0; known < 2; known++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			_exit(hidden_mounts(known));
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) != TEST_FAILED);
		if (WEXITSTATUS(status) == TEST_SKIPPED)
			NOTE("the table of mounts cannot be hidden here");
	}
}

/* No number free at all: the answer, and nothing leaked. */
static void no_numbers(void)
{
	struct rlimit old, tight;
	struct fd_object *o;
	int fill[64], n = 0;

	CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
	tight = old;
	tight.rlim_cur = 40; /* below 512: small numbers will do */
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &tight));
	CHECK_OK(fd_object_dup(0, &o));
	CHECK_LT(o->host, 40);
	fd_object_put(o);
	while (n < 64 && (fill[n] = dup(0)) >= 0)
		n++;
	CHECK_ERR(fd_object_dup(0, &o), -EMFILE);
	CHECK_EQ(fd_objects(), 0);
	while (n)
		close(fill[--n]);
	tight.rlim_cur = 2; /* below what is in use */
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &tight));
	CHECK_ERR(fd_object_dup(0, &o), -EMFILE);
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
}

static struct fd_object *any(void)
{
	struct fd_object *o;

	CHECK_OK(fd_object_dup(0, &o));
	return o;
}

static void tables(void)
{
	struct fdtab t = { 0 };
	struct fd_entry *e = NULL, one;
	unsigned n = 0, cap = 0;

	/* As the policy keeps them: sorted, no number twice. */
	static const int numbers[] = { 7, 0, 900, 1, 3 };

	for (unsigned i = 0; i < 5; i++) {
		one = (struct fd_entry){ numbers[i], 1u << i, false, any() };
		CHECK_OK(fd_entries_insert(&e, &n, &cap, &one));
	}
	one.obj = any();
	CHECK_ERR(fd_entries_insert(&e, &n, &cap, &one), -EEXIST);
	fd_object_put(one.obj);
	for (unsigned i = 1; i < n; i++)
		CHECK_LT(e[i - 1].number, e[i].number);
	CHECK_EQ(fd_objects(), 5);

	CHECK_OK(fdtab_load(&t, e, n, 8));
	CHECK_EQ(fd_objects(), 5); /* shared, not duplicated */
	CHECK(fdtab_find(&t, 7)->rights == 1);
	CHECK(fdtab_find(&t, 900)->rights == 4);
	CHECK(!fdtab_find(&t, 2));
	CHECK(!fdtab_find(&t, -1));
	CHECK(!fdtab_find(&t, fdtab_find(&t, 7)->obj->host)); /* a live descriptor of the master */

	/* The lowest free number, up to the limit. */
	CHECK_OK(fdtab_reserve(&t));
	CHECK_EQ(fdtab_open(&t, any(), 1, false), 2);
	CHECK_OK(fdtab_reserve(&t));
	CHECK_EQ(fdtab_open(&t, any(), 1, false), 4);
	CHECK_OK(fdtab_close(&t, 0));
	CHECK_ERR(fdtab_close(&t, 0), -EBADF);
	CHECK_OK(fdtab_reserve(&t));
	CHECK_EQ(fdtab_open(&t, any(), 1, false), 0);
	CHECK_OK(fdtab_reserve(&t));
	CHECK_EQ(fdtab_open(&t, any(), 1, true), 5);
	CHECK_ERR(fdtab_reserve(&t), -EMFILE);
	CHECK_OK(fdtab_close(&t, 5));
	CHECK_OK(fdtab_reserve(&t));

	/* A policy that goes first; a second run in the same table. */
	CHECK_EQ(fd_objects(), 5 + 3); /* what a run closed of the policy's stays the policy's */
	for (unsigned i = 0; i < n; i++)
		fd_object_put(e[i].obj);
	CHECK_EQ(fd_objects(), 4 + 3);
	CHECK(fdtab_find(&t, 900));
	CHECK_OK(fdtab_load(&t, NULL, 0, 8));
	CHECK(!fdtab_find(&t, 900));
	CHECK_EQ(fd_objects(), 0);
	fdtab_fini(&t);
	free(e);
}

int main(void)
{
	mounts();
	objects();
	kinds();
	adopted();
	no_numbers();
	tables();
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
