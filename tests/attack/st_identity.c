/* SPDX-License-Identifier: MIT */
/*
 * st_identity.c - the program changes its user and groups while compartments run, rest and wait, as a server does that
 * has bound its port.  The C library has every thread change, the library's, too: none refuses, none keeps the rights
 * that the program gave up, what compartments may open follows, and they go on.  World: host; what is marked runs
 * inside.
 */
#include <dirent.h>
#include <grp.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define OTHER 65534u
#define THIRD 65533u

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

/* Whether it can open the file "mine" beneath the directory: 0 or errno. */
static void *opens(void *arg)
{
	int fd = openat((int)(uintptr_t)arg, "mine", O_RDONLY);

	return (void *)(uintptr_t)(fd < 0 ? errno : 0);
}

/* ---- what must be so ---------------------------------------------------------------------------------------- */

/* Each thread of this process has these lines in its status. */
static void all_threads_are(const char *uids, const char *gids)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		char name[300], line[256], uid[64] = "", gid[64] = "";
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "/proc/self/task/%s/status", e->d_name);
		f = fopen(name, "re");
		if (!f)
			continue; /* a thread that has ended */
		while (fgets(line, sizeof(line), f)) {
			sscanf(line, "Uid:\t%63[^\n]", uid);
			sscanf(line, "Gid:\t%63[^\n]", gid);
		}
		fclose(f);
		n++;
		CHECK_STR(uid, uids);
		CHECK_STR(gid, gids);
	}
	closedir(d);
	CHECK_GE(n, 3);
}

static struct sthread_policy *files;
static struct sthread_gate *fresh, *recycled;
static int dir;

static ssize_t twice(void *trusted, const void *in, size_t in_len, void *out, size_t cap)
{
	int64_t word;

	(void)trusted;
	if (in_len != sizeof(word))
		return -EINVAL;
	memcpy(&word, in, sizeof(word));
	return gate_answer(out, cap, 2 * word);
}

/* Threads at rest and at work of all kinds: an idle worker, one that waits in a call, one that watches a limit. */
static void begin(void)
{
	struct sthread_policy *p = st_policy();
	int64_t word = 4;

	st_init();
	files = st_policy();
	st_allow(files, SYS_openat);
	st_grant_dir(files, dir, STHREAD_FD_READ);
	fresh = GATE(.name = "fresh", .fn = twice);
	recycled = GATE(.name = "recycled", .fn = twice, .kind = STHREAD_GATE_RECYCLED);
	CHECK_EQ(gate_word_of(fresh, &word, sizeof(word)), 8);
	CHECK_EQ(gate_word_of(recycled, &word, sizeof(word)), 8);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 3600 * 1000000000UL);
	CHECK_OK(sthread_detach(st_create(p, life_spins, NULL)));
	CHECK_OK(sthread_detach(st_create(NULL, life_spins, NULL)));
	sthread_policy_destroy(p);
	st_others_live();
}

static void goes_on(int expected)
{
	struct sthread_result r;
	int64_t word = 5;

	st_others_live();
	for (int i = 0; i < 2; i++) {
		r = st_both[i](files, opens, (void *)(uintptr_t)dir);
		ST_RETURNED(&r, expected);
		r = st_both[i](NULL, plus_one, (void *)1);
		ST_RETURNED(&r, 2);
	}
	CHECK_EQ(gate_word_of(fresh, &word, sizeof(word)), 10);
	CHECK_EQ(gate_word_of(recycled, &word, sizeof(word)), 10);
}

/* More at once than before: new threads, new lanes. */
static void makes_new(void)
{
	struct sthread *st[8];
	struct sthread_result r;

	for (uintptr_t i = 0; i < 8; i++)
		st[i] = st_create(NULL, i % 2 ? plus_one : life_spins, (void *)i);
	for (uintptr_t i = 0; i < 8; i++) {
		int err = i % 2 ? 0 : sthread_kill(st[i]);

		r = st_join(st[i]);
		CHECK_MSG(!err, "it could not be killed: %s; its end: %s", strerror(-err), st_words(&r));
		if (i % 2)
			ST_RETURNED(&r, i + 1);
		else
			ST_END(&r, STHREAD_KILLED);
	}
}

/* ---- ways ---------------------------------------------------------------------------------------------------- */

/* For good, as servers do it, after compartments were made. */
static void drops(void)
{
	begin();
	goes_on(0);
	all_threads_are("0\t0\t0\t0", "0\t0\t0\t0");
	CHECK(!setgroups(0, NULL));
	goes_on(0);
	CHECK(!setgid(OTHER));
	goes_on(0);
	CHECK(!setuid(OTHER));
	all_threads_are("65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534");
	goes_on(EACCES);
	makes_new();
	goes_on(EACCES);
	all_threads_are("65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534");
	CHECK(setuid(0) < 0); /* and nobody dies of what is refused */
	CHECK_EQ(errno, EPERM);
	goes_on(EACCES);
	sthread_fini();
}

/* By calls that set all three. */
static void drops_all_three(void)
{
	begin();
	CHECK(!setresgid(OTHER, OTHER, OTHER));
	CHECK(!setresuid(OTHER, OTHER, OTHER));
	all_threads_are("65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534");
	goes_on(EACCES);
	makes_new();
	sthread_fini();
}

/* For a while, and back. */
static void and_back(void)
{
	begin();
	for (int i = 0; i < 3; i++) {
		CHECK(!setegid(OTHER) && !seteuid(OTHER));
		all_threads_are("0\t65534\t0\t65534", "0\t65534\t0\t65534");
		goes_on(EACCES);
		makes_new();
		CHECK(!seteuid(0) && !setegid(0));
		all_threads_are("0\t0\t0\t0", "0\t0\t0\t0");
		goes_on(0);
	}
	CHECK(!setregid(OTHER, OTHER) && !setreuid(OTHER, THIRD));
	all_threads_are("65534\t65533\t65533\t65533", "65534\t65534\t65534\t65534");
	goes_on(EACCES);
	CHECK(!setreuid(THIRD, OTHER));
	goes_on(EACCES);
	sthread_fini();
}

/* Before anything is there, between init and the first run. */
static void before(void)
{
	st_init();
	CHECK(!setgroups(0, NULL) && !setgid(OTHER) && !setuid(OTHER));
	sthread_fini();
	begin();
	goes_on(EACCES);
	makes_new();
	sthread_fini();
}

static void between(void)
{
	st_init();
	CHECK(!setgroups(0, NULL) && !setgid(OTHER) && !setuid(OTHER));
	makes_new();
	st_others_live();
	all_threads_are("65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534");
	sthread_fini();
}

/* Again and again, while another thread creates: new threads are behind their filter at any moment of it. */
static atomic_bool over;

static void *creates_on(void *arg)
{
	while (!atomic_load(&over))
		makes_new();
	return arg;
}

static void meanwhile(void)
{
	uint64_t end = life_now() + 1000000000UL * st_slow();
	pthread_t t;

	begin();
	t = life_thread(creates_on, NULL);
	for (unsigned i = 0; i < 200 && life_now() < end; i++) {
		CHECK(!setresuid((uid_t)-1, (uid_t)-1, (uid_t)-1) && !setresgid((gid_t)-1, (gid_t)-1, (gid_t)-1));
		if (!getuid())
			CHECK(!setegid(OTHER) && !seteuid(OTHER) && !seteuid(0) && !setegid(0));
	}
	atomic_store(&over, true);
	life_join(t);
	goes_on(0);
	sthread_fini();
}

/* ---- each in a process of its own, which has its first machine then -------------------------------------------- */

static void apart(const char *what, void (*fn)(void))
{
	pid_t pid;
	int status;

	NOTE("%s", what);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		fn();
		_exit(TEST_PASSED);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED)
		exit(TEST_SKIPPED);
	CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "%s: wait status %#x", what, (unsigned)status);
}

int main(void)
{
	char name[] = "/tmp/st_identity.XXXXXX";
	int fd;

	test_needs_machine();
	CHECK(mkdtemp(name) != NULL);
	dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, "mine", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(dir >= 0 && fd >= 0);
	close(fd);
	CHECK(!chmod(name, 0755));
	apart("all the time", meanwhile);
	if (!getuid()) {
		apart("for good", drops);
		apart("all three", drops_all_three);
		apart("and back", and_back);
		apart("before", before);
		apart("between", between);
	} else {
		NOTE("the rest needs root");
	}
	CHECK(!unlinkat(dir, "mine", 0) && !rmdir(name));
	return TEST_PASSED;
}
