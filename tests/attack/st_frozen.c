/* SPDX-License-Identifier: MIT */
/*
 * st_frozen.c - the program's control group is frozen and thawed, as a container is paused and a computer suspended, or
 * all of its processes are stopped and continued, while compartments compute, wait in calls, and rest.  Nothing of them
 * goes on meanwhile; afterwards all goes on, no result is wrong, and nothing is lost.  World: host; what is marked runs
 * inside.
 *
 * Three processes: main() makes the group and takes it away, whatever happens; one freezes and looks; the one that is
 * frozen has the compartments.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define FROZEN_MS 100

/* How far each has come: in a tag, so that it is theirs to write, and there for who looks from outside. */
enum who { COMPUTES, TOUCHES, SLEEPS, READS, ASKS, IS_CALLED, WHO };
static const char *const names[WHO] = { "computes", "touches memory", "sleeps", "reads", "asks a gate", "is called" };

struct counters {
	atomic_ulong n[WHO];
	atomic_bool over;
};

/* What the processes share. */
static struct board {
	atomic_bool in_group, runs, over;
	struct counters *counters; /* their address in the program */
} *board;

/* ---- inside ------------------------------------------------------------------------------------------------ */

static struct counters *counters;
static int words; /* the end of a pipe */

static uint64_t next(uint64_t x)
{
	return x * 6364136223846793005UL + 1442695040888963407UL;
}

static void *computes(void *unused)
{
	uint64_t x = 1;

	(void)unused;
	while (!atomic_load(&counters->over)) {
		for (int i = 0; i < 1000; i++)
			x = next(x);
		atomic_fetch_add(&counters->n[COMPUTES], 1);
	}
	return (void *)x;
}

/* First touches, and changes of its mappings. */
static void *touches(void *unused)
{
	while (!atomic_load(&counters->over)) {
		char *p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(p != MAP_FAILED);
		for (int i = 0; i < 1 << 16; i += 4096) {
			CHECK_EQ(p[i], 0);
			p[i] = 1;
		}
		CHECK(!munmap(p, 1 << 16));
		atomic_fetch_add(&counters->n[TOUCHES], 1);
	}
	return unused;
}

static void *sleeps(void *unused)
{
	while (!atomic_load(&counters->over)) {
		const struct timespec ms = { 0, 1000000 };

		CHECK(!nanosleep(&ms, NULL));
		atomic_fetch_add(&counters->n[SLEEPS], 1);
	}
	return unused;
}

/* Each word once and in its order, until there are no more. */
static void *reads(void *unused)
{
	uint64_t word, n = 0;
	ssize_t got;

	(void)unused;
	while ((got = read(words, &word, sizeof(word))) != 0) {
		CHECK_EQ(got, (ssize_t)sizeof(word));
		CHECK_EQ(word, n);
		n++;
		atomic_fetch_add(&counters->n[READS], 1);
	}
	return (void *)n;
}

static ssize_t adds_one(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int64_t n;

	(void)trusted;
	CHECK_EQ(in_len, sizeof(n));
	memcpy(&n, in, sizeof(n));
	return gate_answer(out, out_cap, n + 1);
}

static void *asks(void *unused)
{
	struct sthread_gate *g;
	int64_t n = 0;

	(void)unused;
	CHECK_OK(sthread_gate_find(&g, "adds one"));
	while (!atomic_load(&counters->over)) {
		CHECK_EQ(gate_word_of(g, &n, sizeof(n)), n + 1);
		n++;
		atomic_fetch_add(&counters->n[ASKS], 1);
	}
	return (void *)n;
}

static void *is_called(void *arg)
{
	atomic_fetch_add(&counters->n[IS_CALLED], 1);
	return (char *)arg + 1;
}

static void *rests(void *arg)
{
	char *p = malloc(50000);

	memset(p, 7, 50000);
	life_nap(5000);
	free(p);
	return arg;
}

/* ---- the program that is frozen -------------------------------------------------------------------------------- */

/* Several at a time, so that as many lanes rest afterwards. */
static void at_rest(const struct sthread_policy *p)
{
	struct sthread *st[6];

	for (uintptr_t i = 0; i < 6; i++)
		st[i] = st_create(p, rests, (void *)i);
	for (uintptr_t i = 0; i < 6; i++) {
		struct sthread_result r = st_join(st[i]);

		ST_RETURNED(&r, i);
	}
}

static void *calls(void *policy)
{
	uintptr_t n = 0;

	for (; !atomic_load(&counters->over); n++) {
		struct sthread_result r = st_call(policy, is_called, (void *)n);

		ST_RETURNED(&r, n + 1);
	}
	return (void *)n;
}

static uint64_t count_of(enum who who)
{
	return atomic_load(&counters->n[who]);
}

static void program(void)
{
	static st_fn *const fn[IS_CALLED] = { computes, touches, sleeps, reads, asks };
	struct sthread_result r[IS_CALLED];
	struct sthread *st[IS_CALLED];
	struct sthread_policy *p, *gates;
	struct sthread_gate *gate;
	struct sthread_tag *tag;
	pthread_t caller;
	uint64_t x = 1;

	LIFE_UNTIL(atomic_load(&board->in_group));
	/* Stubs are born in the group. */
	st_init();
	CHECK_OK(sthread_tag_create(&tag, "counters", 4096));
	counters = sthread_calloc(tag, 1, sizeof(*counters));
	CHECK(counters != NULL);
	CHECK_OK(sthread_checkpoint_range(&counters, sizeof(counters)));
	p = st_policy();
	gates = st_policy();
	gate = GATE(.name = "adds one", .fn = adds_one, .policy = gates);
	CHECK_OK(sthread_policy_tag(p, tag, STHREAD_READ | STHREAD_WRITE));
	CHECK_OK(sthread_policy_gate(p, gate));
	st_grant(p, words, STHREAD_FD_READ);
	st_allow(p, SYS_read, SYS_nanosleep, SYS_clock_nanosleep);
	at_rest(p);
	for (int i = 0; i < IS_CALLED; i++)
		st[i] = st_create(p, fn[i], NULL);
	caller = life_thread(calls, p);
	board->counters = counters;
	atomic_store(&board->runs, true);
	while (!atomic_load(&board->over))
		life_nap(1000);

	atomic_store(&counters->over, true);
	for (int i = 0; i < IS_CALLED; i++)
		r[i] = st_join(st[i]);
	for (uint64_t i = count_of(COMPUTES) * 1000; i; i--)
		x = next(x);
	ST_RETURNED(&r[COMPUTES], x);
	ST_RETURNED(&r[TOUCHES], 0);
	ST_RETURNED(&r[SLEEPS], 0);
	ST_RETURNED(&r[READS], count_of(READS));
	ST_RETURNED(&r[ASKS], count_of(ASKS));
	CHECK_EQ((uint64_t)life_join(caller), count_of(IS_CALLED));
	at_rest(p);
	st_others_live();
	CHECK_EQ(life_stats().vcpus_lost, 0);
	sthread_policy_destroy(p);
	sthread_policy_destroy(gates);
	sthread_gate_destroy(gate);
	sthread_fini();
}

/* ---- to freeze it ---------------------------------------------------------------------------------------------- */

/* The group; "": there is none, and signals do it. */
static char group[512];
static bool unified;

static void put_text(const char *file, const char *text)
{
	char name[600];
	int fd;

	snprintf(name, sizeof(name), "%s/%s", group, file);
	fd = open(name, O_WRONLY | O_CLOEXEC);
	CHECK_MSG(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: %s", name, strerror(errno));
	close(fd);
}

static bool get_text(const char *file, char *text, size_t cap)
{
	char name[600];
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "%s/%s", group, file);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, cap - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n >= 0;
}

/* Where this process is, of version 2 or with version 1's freezer: the part of a line of /proc/self/cgroup. */
static bool own_path(bool v2, char *path, size_t cap)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		found = v2 ? !strncmp(line, "0::", 3) : strstr(line, ":freezer") || strstr(line, ",freezer");
		if (found)
			snprintf(path, cap, "%s", strchr(strchr(line, ':') + 1, ':') + 1);
	}
	if (f)
		fclose(f);
	if (found)
		path[strcspn(path, "\n")] = '\0';
	return found;
}

static bool make_group_at(const char *mount, const char *path)
{
	char text[64];

	snprintf(group, sizeof(group), "%s%s/st_frozen.%d", mount, strcmp(path, "/") ? path : "", getpid());
	if (mkdir(group, 0755)) {
		group[0] = '\0';
		return false;
	}
	if (get_text(unified ? "cgroup.freeze" : "freezer.state", text, sizeof(text)))
		return true;
	rmdir(group);
	group[0] = '\0';
	return false;
}

/* Of the version, beneath the group that this process is in, or beneath the mount where that is seen otherwise. */
static bool make_group_of(bool v2)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[1024], path[256];
	bool made = false;

	unified = v2;
	while (f && !made && own_path(v2, path, sizeof(path)) && fgets(line, sizeof(line), f)) {
		char mount[256], *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*s %*s %*s %*s %255s", mount) != 1)
			continue;
		if (strstr(type, v2 ? " - cgroup2 " : " - cgroup ") == type && (v2 || strstr(type, "freezer")))
			made = make_group_at(mount, path) || make_group_at(mount, "/");
	}
	if (f)
		fclose(f);
	return made;
}

static bool make_group(void)
{
	bool made = make_group_of(true) || make_group_of(false);

	if (made)
		NOTE("by a control group of version %d", unified ? 2 : 1);
	else
		NOTE("no control group to be had: by signals alone");
	return made;
}

/* Whatever is left there ends. */
static void drop_group(void)
{
	char text[4096], *at;

	if (!group[0])
		return;
	put_text(unified ? "cgroup.freeze" : "freezer.state", unified ? "0" : "THAWED");
	for (int i = 0; i < 10000 && rmdir(group); i++) {
		get_text("cgroup.procs", text, sizeof(text));
		for (at = strtok(text, "\n"); at; at = strtok(NULL, "\n"))
			if (atoi(at) > 1)
				kill(atoi(at), SIGKILL);
		life_nap(1000);
	}
	CHECK_MSG(access(group, F_OK), "%s is left", group);
	group[0] = '\0';
}

/* Of /proc: 0 if there is no such process. */
static pid_t parent_of(pid_t pid)
{
	char name[64], text[512], *end;
	int fd, parent = 0;
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	end = strrchr(text, ')');
	if (end)
		sscanf(end + 1, " %*c %d", &parent);
	return parent;
}

/* The program first, so that who is answered by it is not; then its children, and theirs.  How many. */
static unsigned signal_tree(pid_t root, int sig)
{
	unsigned n = 1;
	DIR *d;

	if (kill(root, sig))
		CHECK_EQ(errno, ESRCH);
	d = opendir("/proc");
	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		pid_t pid = atoi(e->d_name);

		if (pid > 0 && parent_of(pid) == root)
			n += signal_tree(pid, sig);
	}
	closedir(d);
	return n;
}

static unsigned reached;

static void freeze(pid_t pid, bool on)
{
	if (!group[0])
		reached = signal_tree(pid, on ? SIGSTOP : SIGCONT);
	else if (unified)
		put_text("cgroup.freeze", on ? "1" : "0");
	else
		put_text("freezer.state", on ? "FROZEN" : "THAWED");
}

/* What the kernel says of it, for the log: who waits for an answer of the program's may not count as frozen. */
static void note_state(void)
{
	char text[256];

	if (!group[0]) {
		NOTE("  %u processes", reached);
		return;
	}
	if (!get_text(unified ? "cgroup.events" : "freezer.state", text, sizeof(text)))
		return;
	text[strcspn(text, "\n")] = unified ? ' ' : '\0';
	text[strcspn(text, "\n")] = '\0';
	NOTE("  state: %s", text);
}

/* ---- and to look ----------------------------------------------------------------------------------------------- */

static void look(pid_t pid, unsigned long n[WHO])
{
	struct counters c;
	struct iovec local = { &c, sizeof(c) }, remote = { board->counters, sizeof(c) };
	ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	if (got < 0 && errno == EPERM)
		SKIP("its memory may not be looked at");
	CHECK_EQ(got, (ssize_t)sizeof(c));
	for (int i = 0; i < WHO; i++)
		n[i] = c.n[i];
}

static bool stands_still(pid_t pid, unsigned ms)
{
	unsigned long was[WHO], is[WHO];

	look(pid, was);
	life_nap(ms * 1000);
	look(pid, is);
	return !memcmp(was, is, sizeof(was));
}

static void all_go_on(pid_t pid, int feed, uint64_t *word)
{
	unsigned long was[WHO], is[WHO];

	look(pid, was);
	for (int i = 0; i < WHO; i++) {
		uint64_t end = life_now() + 10000000000UL * st_slow();

		do {
			CHECK_MSG(life_now() < end, "who %s does not go on", names[i]);
			if (i == READS && is[i] == *word) {
				CHECK_EQ(write(feed, word, sizeof(*word)), (ssize_t)sizeof(*word));
				++*word;
			}
			life_nap(200);
			look(pid, is);
		} while (is[i] == was[i]);
	}
}

static void drive(void)
{
	unsigned long rounds = test_scale(10), was[WHO], is[WHO];
	unsigned seed = (unsigned)getpid();
	int feed[2], status;
	uint64_t word = 0;
	char text[32];
	pid_t pid;

	CHECK(!pipe2(feed, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
		close(feed[1]);
		words = feed[0];
		program();
		_exit(TEST_PASSED);
	}
	close(feed[0]);
	snprintf(text, sizeof(text), "%d", pid);
	if (group[0])
		put_text("cgroup.procs", text);
	atomic_store(&board->in_group, true);
	while (!atomic_load(&board->runs)) {
		if (waitpid(pid, &status, WNOHANG) == pid) /* skipped, or said why */
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : TEST_FAILED);
		life_nap(1000);
	}
	memset(is, 0, sizeof(is));
	for (unsigned long round = 0; round < rounds; round++) {
		uint64_t settled = life_now() + 5000000000UL * st_slow();

		all_go_on(pid, feed[1], &word);
		life_nap((unsigned)rand_r(&seed) % 5000);
		freeze(pid, true);
		while (!stands_still(pid, 10))
			CHECK_MSG(life_now() < settled, "it is not frozen");
		/* What comes now is for later. */
		for (int i = 0; i < 3; i++, word++)
			CHECK_EQ(write(feed[1], &word, sizeof(word)), (ssize_t)sizeof(word));
		look(pid, was);
		life_nap(FROZEN_MS * 1000);
		look(pid, is);
		if (!round)
			note_state();
		for (int i = 0; i < WHO; i++)
			CHECK_MSG(was[i] == is[i], "who %s went on: %lu, %lu", names[i], was[i], is[i]);
		freeze(pid, false);
	}
	all_go_on(pid, feed[1], &word);
	LIFE_UNTIL((look(pid, is), is[READS] == word)); /* nothing is lost */
	close(feed[1]);
	atomic_store(&board->over, true);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "wait status %#x", (unsigned)status);
}

static void in_turn(void)
{
	int status;
	pid_t pid;

	memset(board, 0, sizeof(*board));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!prctl(PR_SET_PDEATHSIG, SIGKILL));
		drive();
		_exit(TEST_PASSED);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	drop_group();
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : TEST_FAILED);
}

/* sthread(7): before Linux 5.19 a stub that is stopped may make a call twice. */
static bool is_old(void)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	CHECK(!uname(&u));
	return sscanf(u.release, "%u.%u", &major, &minor) != 2 || major < 5 || (major == 5 && minor < 19);
}

int main(void)
{
	test_needs_machine();
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(board != MAP_FAILED);
	if (make_group())
		in_turn();
	if (is_old()) {
		NOTE("not by signals: this kernel is too old");
	} else {
		NOTE("by signals");
		in_turn();
	}
	return TEST_PASSED;
}
