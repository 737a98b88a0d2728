/* SPDX-License-Identifier: MIT */
/*
 * Another process swaps directories of the granted tree for symbolic links that lead out of it, all the time: what is
 * opened and looked at by a path through them is the file inside, or nothing.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOOKS	 400
#define TURNS	 50
#define ENOUGH	 100
#define INSIDE	 "is inside"
#define OUTSIDE	 "outside it"
#define EXCHANGE 2

/*
 *	top/in			granted
 *	    a/file a/sub	changes places with  to_a -> ../out
 *	    b/file b/sub	changes places with  to_b -> /tmp/.../out
 *	top/out/file		is never seen
 */
static char top[] = "/tmp/st_paths_race_XXXXXX";
static int dir, inside_size = sizeof(INSIDE) - 1;

struct seen {
	unsigned short opened, refused, looked, again;
};

/* It is not there as a file inside: it leads out, or the kernel could not tell, again and again. */
static bool leads_out(long r, struct seen *n)
{
	if (r == 0)
		return false;
	CHECK_MSG(errno == EXDEV || errno == EAGAIN, "errno %d", errno);
	n->again += errno == EAGAIN;
	n->refused++;
	return true;
}

static void open_one(const char *path, int flags, struct seen *n)
{
	char text[32] = "";
	int fd = (int)syscall(SYS_openat, dir, path, flags, 0600);

	if (leads_out(fd < 0, n))
		return;
	CHECK_EQ(pread(fd, text, sizeof(text) - 1, 0), inside_size);
	CHECK_STR(text, INSIDE);
	CHECK_EQ(close(fd), 0);
	n->opened++;
}

static void look_at_one(const char *path, struct seen *n)
{
	struct stat st;

	if (leads_out(syscall(SYS_newfstatat, dir, path, &st, 0), n))
		return;
	CHECK_EQ(st.st_size, inside_size);
	n->looked++;
}

ST_FN(opens_all_the_time)
{
	union {
		struct seen seen;
		void *value;
	} u = { .value = NULL };

	for (int i = 0; i < LOOKS; i++) {
		open_one("a/file", O_RDONLY, &u.seen);
		open_one("b/file", O_RDWR | O_CREAT, &u.seen);
		open_one("a/sub/../file", O_RDWR, &u.seen);
		open_one("b/../a/file", O_RDONLY, &u.seen);
		look_at_one("a/file", &u.seen);
		look_at_one("b/sub/../file", &u.seen);
	}
	return u.value;
}
_Static_assert(sizeof(struct seen) == sizeof(void *), "one word of answer");
_Static_assert(LOOKS * 6 <= USHRT_MAX, "counts fit");

static void put(const char *name, const char *text)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	if (!text) {
		CHECK_EQ(mkdir(path, 0700), 0);
		return;
	}
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void build(void)
{
	char to[64];

	CHECK(mkdtemp(top));
	put("in", NULL);
	put("in/a", NULL);
	put("in/a/sub", NULL);
	put("in/a/file", INSIDE);
	put("in/b", NULL);
	put("in/b/sub", NULL);
	put("in/b/file", INSIDE);
	put("out", NULL);
	put("out/sub", NULL);
	put("out/file", OUTSIDE);
	snprintf(to, sizeof(to), "%s/in", top);
	dir = open(to, O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0);
	snprintf(to, sizeof(to), "%s/out", top);
	CHECK(!symlinkat("../out", dir, "to_a") && !symlinkat(to, dir, "to_b"));
}

static pid_t swapper(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		CHECK(!syscall(SYS_renameat2, dir, "a", dir, "to_a", EXCHANGE) &&
		      !syscall(SYS_renameat2, dir, "b", dir, "to_b", EXCHANGE));
}

int main(void)
{
	unsigned long opened = 0, refused = 0, looked = 0, again = 0;
	struct sthread_policy *p;
	unsigned turns = 0;
	char command[128];
	pid_t pid;

	build();
	pid = swapper();
	st_init();
	p = st_policy_all_calls();
	st_grant_dir(p, dir,
		     STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_SEEK | STHREAD_FD_STAT);
	do {
		struct sthread_result r = st_call(p, opens_all_the_time, NULL);
		struct seen n;

		ST_END(&r, STHREAD_RETURNED);
		memcpy(&n, &r.value, sizeof(n));
		opened += n.opened, refused += n.refused, looked += n.looked, again += n.again;
	} while (++turns < TURNS &&
		 (opened < ENOUGH || looked < ENOUGH || refused - again < ENOUGH));
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	NOTE("opened %lu, looked at %lu, refused %lu, of them undecided %lu", opened, looked,
	     refused, again);
	/* Both sides of the race were seen; what is outside is as it was. */
	CHECK(opened >= ENOUGH && looked >= ENOUGH && refused - again >= ENOUGH);
	snprintf(command, sizeof(command), "grep -qx '%s' %s/out/file && rm -r %s", OUTSIDE, top,
		 top);
	CHECK_EQ(system(command), 0);
	st_others_live();
	sthread_policy_destroy(p);
	sthread_fini();
	return TEST_PASSED;
}
