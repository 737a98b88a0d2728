// SPDX-License-Identifier: MIT
/*
 * Opening beneath a granted directory, and nowhere else: escapes, links, special files, kernel file
 * systems, rights. World: host.
 */
#include <asm/unistd.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

/* That a directory can have. */
#define ALL_RIGHTS (STHREAD_FD_ALL & ~(STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN | STHREAD_FD_ACCEPT | STHREAD_FD_CONNECT))

static char root[] = "/tmp/sthread-XXXXXX";
static int dir;

static const char *under(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void put_file(const char *name, const char *text)
{
	int fd = open(under(name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void make_tree(void)
{
	CHECK(mkdtemp(root));
	CHECK_OK(mkdir(under("in"), 0755));
	CHECK_OK(mkdir(under("in/sub"), 0755));
	put_file("secret", "outside");
	put_file("in/file", "inside");
	put_file("in/sub/deep", "deep");
	CHECK_OK(symlink("file", under("in/link")));
	CHECK_OK(symlink("sub", under("in/linkdir")));
	CHECK_OK(symlink("../secret", under("in/out")));
	CHECK_OK(symlink("/etc/passwd", under("in/absolute")));
	CHECK_OK(symlink("/proc/self/fd/0", under("in/magic")));
	CHECK_OK(symlink("nowhere", under("in/dangling")));
	CHECK_OK(symlink("..", under("in/up")));
	CHECK_OK(mkfifo(under("in/fifo"), 0600));
	dir = open(under("in"), O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0);
}

static void remove_tree(void)
{
	char cmd[300];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	CHECK_OK(system(cmd));
}

/* The granted directory is number `dir` inside. */
static void with(int fd, unsigned rights)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_dir(p, fd, rights));
	fake_begin(p);
	sthread_policy_destroy(p);
}

static long open_as(int fd, const char *path, int flags)
{
	return CALL(__NR_openat, fd, fake_puts(FAKE_DATA, path), flags, 07777);
}

static long open_in(const char *path, int flags)
{
	return open_as(dir, path, flags);
}

static void check_reads(const char *path, const char *text)
{
	long fd = open_in(path, O_RDONLY);

	CHECK_MSG(fd >= 0, "%s: %ld", path, fd);
	CHECK_EQ(CALL(__NR_read, fd, FAKE_DATA + PAGE, 100), strlen(text));
	CHECK_MEM(fake_host(FAKE_DATA + PAGE), text, strlen(text));
	CHECK_OK(CALL(__NR_close, fd));
}

static void escapes(void)
{
	static const char *const paths[] = {
		"../secret",
		"..",
		"sub/../../secret",
		"/etc/passwd",
		"/",
		"out",
		"absolute",
		"magic",
		"up/secret",
		"up",
		"./../secret",
		"sub/./../..",
		"linkdir/../../secret",
		"/proc/self/mem",
	};
	unsigned live;

	with(dir, ALL_RIGHTS);
	live = fd_objects();
	check_reads("file", "inside");
	check_reads("sub/deep", "deep");
	check_reads("./sub/../file", "inside");
	check_reads("link", "inside");
	check_reads("linkdir/deep", "deep");
	for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		long r = open_in(paths[i], O_RDONLY);

		CHECK_MSG(r == -EXDEV || r == -ELOOP, "%s: %ld", paths[i], r);
		r = CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_DATA + PAGE, 0);
		CHECK_MSG(r == -EXDEV || r == -ELOOP, "stat %s: %ld", paths[i], r);
	}
	CHECK_ERR(open_in("absent", O_RDONLY), -ENOENT);
	CHECK_ERR(open_in("", O_RDONLY), -ENOENT);
	CHECK_ERR(open_in("file/x", O_RDONLY), -ENOTDIR);
	CHECK_ERR(open_in("file/", O_RDONLY), -ENOTDIR);
	CHECK_ERR(open_in("link", O_RDONLY | O_NOFOLLOW), -ELOOP);
	CHECK_ERR(open_in("fifo", O_RDONLY), -EACCES); /* and at once */
	CHECK_ERR(open_in("fifo", O_RDWR | O_NONBLOCK), -EACCES);
	CHECK_ERR(open_as(AT_FDCWD, "file", O_RDONLY), -EACCES);
	CHECK_ERR(open_as(AT_FDCWD, "/etc/passwd", O_RDONLY), -EACCES);
	CHECK_ERR(open_as(0, "file", O_RDONLY), -EBADF); /* open in the master, not granted */
	CHECK_EQ(fd_objects(), live);
}

static void hostile_paths(void)
{
	const uint64_t end = FAKE_DATA + FAKE_DATA_PAGES * PAGE;

	with(dir, ALL_RIGHTS);
	memset(fake_host(FAKE_DATA), 'a', 2 * PAGE);
	CHECK_ERR(CALL(__NR_openat, dir, FAKE_DATA, O_RDONLY), -ENAMETOOLONG);
	*fake_host(FAKE_DATA + PATH_MAX) = 0;
	CHECK_ERR(CALL(__NR_openat, dir, FAKE_DATA, O_RDONLY),
		  -ENAMETOOLONG); /* the NUL is byte 4097 */
	*fake_host(FAKE_DATA + PATH_MAX - 1) = 0;
	CHECK_ERR(CALL(__NR_openat, dir, FAKE_DATA, O_RDONLY),
		  -ENAMETOOLONG); /* now the kernel's: one name */
	memset(fake_host(end - 4), 'a', 4);
	CHECK_ERR(CALL(__NR_openat, dir, end - 4, O_RDONLY), -EFAULT); /* no NUL before the hole */
	memcpy(fake_host(end - 5), "file", 5);
	CHECK_GE(CALL(__NR_openat, dir, end - 5, O_RDONLY), 0);
	fake_reset();
}

static void flags(void)
{
	static const int refused[] = { O_PATH,	__O_TMPFILE, O_TMPFILE, O_DIRECT, O_SYNC,
				       O_ASYNC, O_NOATIME,   1 << 30,	O_ACCMODE };

	with(dir, ALL_RIGHTS);
	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		CHECK_MSG(open_in("file", refused[i]) == -EINVAL, "flag 0%o", refused[i]);
	CHECK_ERR(open_in("file", O_CREAT | O_EXCL), -EEXIST);
	CHECK_ERR(open_in("sub", O_WRONLY), -EISDIR);
	CHECK_ERR(open_in("file", O_DIRECTORY), -ENOTDIR);
	CHECK_ERR(open_in("sub", O_CREAT), -EISDIR);
	CHECK_ERR(open_in("sub", O_CREAT | O_DIRECTORY), -EINVAL);
	CHECK_ERR(open_in("new", O_CREAT | O_DIRECTORY), -EINVAL);
	CHECK_ERR(open_in("file", O_TRUNC), -EINVAL);
	CHECK_ERR(open_in("dangling", O_CREAT | O_WRONLY), -EEXIST);
	CHECK_ERR(open_in("../new", O_CREAT | O_WRONLY), -EXDEV);
	CHECK(access(under("new"), F_OK) < 0);
	CHECK_ERR(open_in("out", O_TRUNC | O_WRONLY), -EXDEV);
}

static void writing(void)
{
	struct stat st;
	long fd;

	/* Reading only: nothing that changes anything. */
	with(dir, ALL_RIGHTS & ~STHREAD_FD_WRITE);
	CHECK_ERR(open_in("file", O_WRONLY), -EACCES);
	CHECK_ERR(open_in("file", O_RDWR), -EACCES);
	CHECK_ERR(open_in("file", O_RDONLY | O_TRUNC), -EACCES);
	CHECK_ERR(open_in("new", O_RDONLY | O_CREAT), -EACCES);
	fd = open_in("file", O_RDONLY);
	CHECK_GE(fd, 0);
	CHECK_ERR(CALL(__NR_write, fd, FAKE_DATA, 1), -EPERM);
	CHECK_OK(stat(under("in/file"), &st));
	CHECK_EQ(st.st_size, 6);
	CHECK(access(under("in/new"), F_OK));
	/* Writing only. */
	with(dir, STHREAD_FD_WRITE);
	CHECK_ERR(open_in("file", O_RDONLY), -EACCES);
	CHECK_ERR(open_in("file", O_RDWR), -EACCES);
	umask(0);
	fd = open_in("new", O_WRONLY | O_CREAT);
	CHECK_GE(fd, 0);
	CHECK_EQ(CALL(__NR_write, fd, FAKE_DATA, 3), 3);
	CHECK_ERR(CALL(__NR_read, fd, FAKE_DATA, 3), -EPERM);
	CHECK_OK(stat(under("in/new"), &st));
	CHECK_EQ(st.st_size, 3);
	CHECK_EQ(st.st_mode & 07777, 0666); /* 07777 was asked for */
	fd = open_in("new", O_WRONLY | O_CREAT | O_TRUNC);
	CHECK_GE(fd, 0);
	CHECK_OK(stat(under("in/new"), &st));
	CHECK_EQ(st.st_size, 0);
	CHECK_OK(unlink(under("in/new")));
	/* Rights of the directory are those of what is opened, less what the mode gives up. */
	with(dir, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_SEEK);
	fd = open_in("file", O_RDONLY);
	CHECK_ERR(CALL(__NR_fstat, fd, FAKE_DATA), -EPERM);
	CHECK_ERR(CALL(__NR_write, fd, FAKE_DATA, 1), -EPERM);
	CHECK_EQ(CALL(__NR_pread64, fd, FAKE_DATA, 1, 0), 1);
}

static void looking(void)
{
	struct stat st, want;

	with(dir, STHREAD_FD_READ | STHREAD_FD_STAT);
	CHECK_OK(stat(under("in/sub/deep"), &want));
	fake_puts(FAKE_DATA, "sub/deep");
	CHECK_OK(CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_COW, 0));
	memcpy(&st, fake_host(FAKE_COW), sizeof(st));
	CHECK_EQ(st.st_ino, want.st_ino);
	fake_puts(FAKE_DATA, "link");
	CHECK_OK(CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_COW, AT_SYMLINK_NOFOLLOW));
	memcpy(&st, fake_host(FAKE_COW), sizeof(st));
	CHECK(S_ISLNK(st.st_mode));
	fake_puts(FAKE_DATA, "fifo");
	CHECK_ERR(CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_COW, 0), -EACCES);
	fake_puts(FAKE_DATA, "");
	CHECK_ERR(CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_COW, 0), -ENOENT);
	CHECK_OK(CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_COW, AT_EMPTY_PATH));
	CHECK_OK(CALL(__NR_newfstatat, dir, 0, FAKE_COW, AT_EMPTY_PATH));
	memcpy(&st, fake_host(FAKE_COW), sizeof(st));
	CHECK_OK(fstat(dir, &want));
	CHECK_EQ(st.st_ino, want.st_ino);
	CHECK_OK(CALL(__NR_fstat, dir, FAKE_COW));
	with(dir, STHREAD_FD_READ);
	CHECK_ERR(CALL(__NR_newfstatat, dir, 0, FAKE_COW, AT_EMPTY_PATH), -EPERM);
	fake_reset();
}

/*
 * The grant is for opening: it is not itself read, nor is what is merely a descriptor opened
 * beneath.
 */
static void grants(void)
{
	struct sthread_policy *p;
	long fd, sub;

	with(dir, ALL_RIGHTS);
	CHECK_ERR(CALL(__NR_getdents64, dir, FAKE_DATA, 1000), -EBADF);
	fd = open_in(".", O_RDONLY | O_DIRECTORY);
	CHECK_GE(fd, 0);
	CHECK_GT(CALL(__NR_getdents64, fd, FAKE_DATA, 1000), 0);
	sub = open_in("sub", O_RDONLY);
	CHECK_GE(sub, 0);
	CHECK_GE(open_as((int)sub, "deep", O_RDONLY), 0);
	CHECK_ERR(open_as((int)sub, "../file", O_RDONLY), -EXDEV);
	CHECK_ERR(open_as((int)sub, "deep", O_WRONLY), -EACCES);
	p = fake_policy_all();
	CHECK_OK(sthread_policy_fd(p, dir, STHREAD_FD_ALL));
	fake_begin(p);
	sthread_policy_destroy(p);
	CHECK_ERR(open_in("file", O_RDONLY), -ENOTDIR);
	fake_puts(FAKE_DATA, "file");
	CHECK_ERR(CALL(__NR_newfstatat, dir, FAKE_DATA, FAKE_COW, 0), -ENOTDIR);
}

static void limits(void)
{
	struct sthread_policy *p = fake_policy_all();
	struct rlimit old, tight;
	unsigned live;

	CHECK_OK(sthread_policy_dir(p, dir, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 3));
	fake_begin(p);
	CHECK_EQ(open_in("file", O_RDONLY), 0); /* numbers of its own, the lowest first */
	CHECK_EQ(open_in("file", O_RDONLY), 1);
	CHECK_ERR(open_in("file", O_RDONLY), -EMFILE);
	CHECK_OK(CALL(__NR_close, 0));
	CHECK_EQ(open_in("file", O_RDONLY), 0);
	live = fd_objects();
	CHECK_EQ(live, 3);
	/* The master has no number left. */
	CHECK_OK(CALL(__NR_close, 0));
	CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
	tight = old;
	tight.rlim_cur = 3;
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &tight));
	CHECK_ERR(open_in("file", O_RDONLY), -EMFILE);
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
	CHECK_EQ(open_in("file", O_RDONLY), 0);
	fake_end();
	CHECK_EQ(fd_objects(), 1);
	sthread_policy_destroy(p);
	CHECK_EQ(fd_objects(), 0);
}

static void barred(const char *where, const char *file)
{
	int fd = open(where, O_RDONLY | O_DIRECTORY);
	long r;

	if (fd < 0 || faccessat(fd, file, F_OK, AT_SYMLINK_NOFOLLOW)) {
		NOTE("%s/%s is not there", where, file);
		close(fd);
		return;
	}
	with(fd, ALL_RIGHTS);
	r = open_as(fd, file, O_RDONLY);
	CHECK_MSG(r == -EACCES || r == -ELOOP, "%s/%s", where, file); /* ELOOP: a magic link */
	CHECK_MSG(open_as(fd, ".", O_RDONLY | O_DIRECTORY) == -EACCES, "%s", where);
	CHECK_MSG(open_as(fd, "new", O_WRONLY | O_CREAT) == -EACCES, "%s/new", where);
	fake_begin(NULL);
	close(fd);
}

static bool is_devtmpfs(const char *where)
{
	char line[512];
	bool found = false;
	FILE *f = fopen("/proc/mounts", "r");

	snprintf(line, sizeof(line), " %s devtmpfs ", where);
	for (char l[512]; f && fgets(l, sizeof(l), f);)
		found |= strstr(l, line) != NULL;
	if (f)
		fclose(f);
	return found;
}

static void kernel_filesystems(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY);

	barred("/proc", "version");
	barred("/proc/self", "mem");
	barred("/proc/self/fd", "0");
	barred("/sys", "kernel/mm/transparent_hugepage/enabled");
	barred("/sys/fs/cgroup", "cgroup.procs");
	barred("/sys/fs/cgroup/memory", "cgroup.procs");
	if (is_devtmpfs("/dev"))
		barred("/dev", "null");
	/* A mount is not crossed. */
	with(fd, ALL_RIGHTS);
	CHECK_ERR(open_as(fd, "proc/version", O_RDONLY), -EXDEV);
	fake_begin(NULL);
	close(fd);
}

/* ---- numbers: the calling thread's, and out of the way ---- */

/* The first thread's descriptors are others: what is opened is the file all the same. */
static void *own_descriptors(void *arg)
{
	sem_t *s = arg;

	CHECK_OK(unshare(CLONE_FILES));
	sem_post(&s[0]);
	sem_wait(&s[1]);
	check_reads("file", "inside");
	check_reads("sub/deep", "deep");
	return NULL;
}

static void unshared(void)
{
	int secret[16];
	pthread_t t;
	sem_t s[2];

	with(dir, ALL_RIGHTS);
	sem_init(&s[0], 0, 0);
	sem_init(&s[1], 0, 0);
	CHECK_OK(pthread_create(&t, NULL, own_descriptors, s));
	sem_wait(&s[0]);
	for (int i = 0; i < 16; i++)
		secret[i] = open(under("secret"), O_RDONLY);
	sem_post(&s[1]);
	CHECK_OK(pthread_join(t, NULL));
	for (int i = 0; i < 16; i++)
		close(secret[i]);
	fake_begin(NULL);
}

static const char in_slot[16] __attribute__((aligned(16))) = "file";

/* As the kernel has it: gcc 14's ASan knows no thread that pthread_join() could wait for here. */
static bool leader_ended(void)
{
	char text[512] = "";
	const char *state;
	int fd = open("/proc/self/stat", O_RDONLY);

	CHECK_GE(fd, 0);
	CHECK_GE(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	state = strrchr(text, ')');
	return state && !strncmp(state, ") Z", 3);
}

static void *goes_on(void *arg)
{
	(void)arg;
	while (!leader_ended())
		usleep(1000);
	check_reads("file", "inside");
	/* And the name where the program has it. */
	fake_map_slot(in_slot, DUNE_READ, true);
	CHECK_GE(CALL(__NR_openat, dir, (uintptr_t)in_slot, O_RDONLY), 0);
	_exit(TEST_PASSED);
}

static void wait_for(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == TEST_SKIPPED)
		NOTE("not everything can be tried here");
	else
		CHECK_EQ(WEXITSTATUS(status), TEST_PASSED);
}

/* The first thread ended: its table of descriptors is gone. */
static void without_leader(void)
{
	pthread_t t;
	pid_t pid;

	with(dir, ALL_RIGHTS);
	pid = fork();
	if (!pid) {
		CHECK_OK(pthread_create(&t, NULL, goes_on, NULL));
		pthread_exit(NULL);
	}
	wait_for(pid);
	fake_begin(NULL);
}

/* Something in the place of /proc: what it leads to is not the file, and is left as it is. */
static int proc_is_false(void)
{
	char name[64];
	struct stat st;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		return TEST_SKIPPED;
	for (int i = 0; i < 2; i++) {
		CHECK_OK(mkdir(i ? "/proc/self" : "/proc/thread-self", 0755));
		CHECK_OK(mkdir(i ? "/proc/self/fd" : "/proc/thread-self/fd", 0755));
		for (int fd = 0; fd < 64; fd++) {
			snprintf(name, sizeof(name), "/proc/%s/fd/%d", i ? "self" : "thread-self",
				 fd);
			CHECK_OK(symlink(under("secret"), name));
		}
	}
	CHECK_ERR(open_in("file", O_RDONLY), -EACCES);
	CHECK_ERR(open_in("file", O_RDWR | O_TRUNC), -EACCES);
	CHECK_OK(stat(under("secret"), &st));
	CHECK_EQ(st.st_size, 7);
	return TEST_PASSED;
}

static void in_child(int (*fn)(void))
{
	pid_t pid;

	with(dir, ALL_RIGHTS);
	pid = fork();
	if (!pid)
		_exit(fn());
	wait_for(pid);
	fake_begin(NULL);
}

static atomic_bool enough;

/* A program without standard descriptors, which speaks all the same. */
static void *speaks(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough))
		for (int fd = 0; fd < 3; fd++)
			(void)!write(fd, "SECRET", 6);
	return NULL;
}

static int without_standard(void)
{
	struct stat st;
	pthread_t t;

	for (int fd = 0; fd < 3; fd++)
		close(fd);
	CHECK_OK(pthread_create(&t, NULL, speaks, NULL));
	for (int i = 0; i < 2000; i++) {
		long fd = open_in("spoken", O_RDWR | O_CREAT);

		CHECK(fd >= 0);
		CHECK(fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0);
		CHECK_OK(CALL(__NR_close, fd));
		if (i % 2)
			unlink(under("in/spoken"));
		else
			CHECK(!stat(under("in/spoken"), &st) && st.st_size == 0);
	}
	CHECK(stat(under("in/spoken"), &st) < 0);
	atomic_store(&enough, true);
	CHECK_OK(pthread_join(t, NULL));
	return TEST_PASSED;
}

/* ---- with others at work ---- */

static void *makes_and_removes(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough)) {
		int fd = openat(dir, "both", O_CREAT | O_WRONLY, 0600);

		close(fd);
		unlinkat(dir, "both", 0);
	}
	return NULL;
}

/* Made by somebody else between the look and the making: opened. */
static void made_by_others(void)
{
	pthread_t t;

	with(dir, ALL_RIGHTS);
	atomic_store(&enough, false);
	CHECK_OK(pthread_create(&t, NULL, makes_and_removes, NULL));
	for (int i = 0; i < 2000; i++) {
		long fd = open_in("both", O_CREAT | O_WRONLY);

		CHECK_MSG(fd >= 0, "%ld at the %dth", fd, i);
		CHECK_OK(CALL(__NR_close, fd));
	}
	atomic_store(&enough, true);
	CHECK_OK(pthread_join(t, NULL));
	unlinkat(dir, "both", 0);
	fake_begin(NULL);
}

/* With and without /proc kept from the start. */
int main(void)
{
	make_tree();
	for (int round = 0; round < 2; round++) {
		fake_reset();
		escapes();
		hostile_paths();
		flags();
		writing();
		looking();
		grants();
		limits();
		kernel_filesystems();
		unshared();
		without_leader();
		if (!round)
			in_child(proc_is_false);
		in_child(without_standard);
		made_by_others();
		CHECK_OK(sys_init());
	}
	sys_fini();
	fake_begin(NULL);
	fake_end();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	close(dir);
	remove_tree();
	return TEST_PASSED;
}
