/* SPDX-License-Identifier: MIT */
/*
 * st_low_numbers.c - a program that has closed its standard input, output and error: no descriptor of a compartment's or
 * of the library's gets their numbers, not even for a moment, since any thread that prints would write into it, and
 * whoever opens these numbers anew would close it.  World: host; what is marked runs inside.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define MANY 40

/* ---- inside ------------------------------------------------------------------------------------------------ */

static struct {
	int dir, listener;
	struct sockaddr_un addr;
	socklen_t len;
} has;

/* Whatever makes a descriptor; all are open at the end.  Inside, the numbers begin at 0. */
static void *makes_all(void *arg)
{
	int fd, pair[2];

	(void)arg;
	CHECK_GE(openat(has.dir, "file", O_RDWR), 0);
	CHECK_GE(openat(has.dir, "file", O_RDWR | O_TRUNC), 0);
	CHECK_GE(openat(has.dir, "file", O_RDWR | O_CREAT, 0600), 0);
	CHECK_GE(openat(has.dir, ".", O_RDONLY | O_DIRECTORY), 0);
	CHECK_GE(openat(has.dir, "new", O_RDWR | O_CREAT | O_EXCL, 0600), 0);
	CHECK(!unlinkat(has.dir, "new", 0));
	CHECK(!pipe2(pair, 0));
	CHECK(!pipe2(pair, O_CLOEXEC));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_GE(socket(AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_GE(fd = socket(AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK(!connect(fd, (struct sockaddr *)&has.addr, has.len));
	CHECK_GE(accept4(has.listener, NULL, NULL, 0), 0);
	CHECK_GE(fd = socket(AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK(!connect(fd, (struct sockaddr *)&has.addr, has.len));
	CHECK_GE(accept(has.listener, NULL, NULL), 0);
	CHECK_GE(eventfd(0, 0), 0);
	CHECK_GE(timerfd_create(CLOCK_MONOTONIC, 0), 0);
	CHECK_GE(epoll_create1(0), 0);
	CHECK_GE(dup(fd), 0);
	CHECK_EQ(dup2(fd, 2), 2);
	CHECK_EQ(dup3(fd, 1, O_CLOEXEC), 1);
	CHECK_GE(fcntl(fd, F_DUPFD, 0), 0);
	CHECK_GE(fcntl(fd, F_DUPFD_CLOEXEC, 0), 0);
	CHECK(write(2, "x", 1) == 1 || errno == EPIPE); /* its own */
	return NULL;
}

static void *asks(void *arg)
{
	int64_t fd = gate_word_of(arg, NULL, 0);
	char c;

	CHECK_GE(fd, 0);
	CHECK(read((int)fd, &c, 1) >= 0);
	return NULL;
}

static void *spawns(void *arg)
{
	struct sthread_policy *p;
	struct sthread_result r;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_fd(p, has.listener, STHREAD_FD_ACCEPT));
	CHECK_OK(sthread_policy_dir(p, has.dir, STHREAD_FD_READ));
	CHECK_OK(sthread_call(p, (st_fn *)arg, NULL, &r));
	return (void *)(uintptr_t)(r.end != STHREAD_RETURNED);
}

static void *nothing_to_do(void *arg)
{
	return arg;
}

/* ---- gates ---------------------------------------------------------------------------------------------------- */

static ssize_t gives_file(void *trusted, const void *in, size_t in_len, void *out, size_t cap)
{
	int fd = openat((int)(uintptr_t)trusted, "file", O_RDONLY | O_CLOEXEC), low = fd, given;

	(void)in, (void)in_len;
	if (fd >= 0 && fd < 3 && !sthread_inside())
		low = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	given = sthread_gate_give_fd(low, STHREAD_FD_READ);
	close(low);
	if (low != fd)
		close(fd);
	return gate_answer(out, cap, given);
}

/* ---- who looks ---------------------------------------------------------------------------------------------------- */

static atomic_bool over;
static atomic_int seen; /* 1 + number, and what writing there gave << 8 */

/* The program has nothing there: whoever writes is told so. */
static void *prints(void *arg)
{
	while (!atomic_load(&over)) {
		for (int fd = 0; fd < 3; fd++) {
			if (write(fd, "x", 1) < 0 && errno == EBADF)
				continue;
			atomic_store(&seen, 1 + fd + (errno << 8));
			return NULL;
		}
	}
	return arg;
}

static void nothing_low(const char *what)
{
	/* A thread of the library may hold the numbers for a moment, with what nobody can read or write. */
	for (int fd = 0, naps = 0; fd < 3 && naps < 5000; naps++) {
		fd += fcntl(fd, F_GETFD) < 0;
		if (naps > 3)
			usleep(1000);
	}
	for (int fd = 0; fd < 3; fd++)
		CHECK_MSG(fcntl(fd, F_GETFD) < 0, "%s: a descriptor %d", what, fd);
	CHECK_MSG(!seen, "%s: somebody had a descriptor %d, errno %d", what, (seen & 255) - 1, seen >> 8);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static void close_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		close(fd);
}

static void lives_without(bool before_init)
{
	struct sthread_policy *p, *q;
	struct sthread_gate *gate;
	struct sthread *st[MANY];
	struct sthread_result r;
	pthread_t t;

	/* What fails is still to be read. */
	stderr = fdopen(fcntl(2, F_DUPFD_CLOEXEC, 600), "w");
	CHECK(stderr != NULL);
	if (before_init)
		close_standard();
	st_init();
	close_standard();
	nothing_low("init");
	t = life_thread(prints, NULL);
	p = st_policy_all_calls();
	st_grant_dir(p, has.dir, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_MAKE);
	st_grant(p, has.listener, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_ACCEPT);
	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&has.addr, has.len, STHREAD_EXACT));
	nothing_low("a policy");
	for (int i = 0; i < 10; i++) {
		r = st_both[i % 2](p, makes_all, NULL);
		ST_RETURNED(&r, 0);
		nothing_low("what a compartment makes");
		r = st_both[i % 2](p, spawns, (void *)nothing_to_do);
		ST_RETURNED(&r, 0);
		nothing_low("a compartment's compartment");
	}
	for (int i = 0; i < MANY; i++)
		st[i] = st_create(p, life_spins, NULL);
	nothing_low("many compartments");
	for (int i = 0; i < MANY; i++) {
		CHECK_OK(sthread_kill(st[i]));
		r = st_join(st[i]);
		ST_END(&r, STHREAD_KILLED);
	}
	nothing_low("their end");
	gate = GATE(.name = "gives", .fn = gives_file, .policy = p, .trusted = (void *)(uintptr_t)has.dir);
	q = gate_policy(gate);
	st_allow(q, SYS_read);
	r = st_call(q, asks, gate);
	ST_RETURNED(&r, 0);
	nothing_low("a gate's gift");
	atomic_store(&over, true);
	life_join(t);
	sthread_gate_destroy(gate);
	gate = GATE(.name = "gives", .fn = gives_file, .native = true, .trusted = (void *)(uintptr_t)has.dir);
	sthread_policy_destroy(q);
	q = gate_policy(gate);
	st_allow(q, SYS_read);
	r = st_call(q, asks, gate);
	ST_RETURNED(&r, 0);
	nothing_low("a native gate's gift");
	/* Who opens them anew harms nothing. */
	for (int fd = 0; fd < 3; fd++)
		CHECK_EQ(open("/dev/null", O_RDWR), fd);
	r = st_call(p, makes_all, NULL);
	ST_RETURNED(&r, 0);
	st_others_live();
	close_standard();
	sthread_fini();
	nothing_low("the end");
}

int main(void)
{
	char name[] = "/tmp/st_low_numbers.XXXXXX";
	int status;

	test_needs_machine();
	CHECK(mkdtemp(name) != NULL);
	has.dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(!close(openat(has.dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
	has.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	has.addr.sun_family = AF_UNIX;
	has.len = sizeof(has.addr.sun_family);
	CHECK(!bind(has.listener, (struct sockaddr *)&has.addr, has.len) && !listen(has.listener, 16));
	has.len = sizeof(has.addr);
	CHECK(!getsockname(has.listener, (struct sockaddr *)&has.addr, &has.len));
	for (int i = 0; i < 2; i++) {
		pid_t pid;

		NOTE("closed %s init", i ? "before" : "after");
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			lives_without(i);
			_exit(TEST_PASSED);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "wait status %#x", (unsigned)status);
	}
	CHECK(!unlinkat(has.dir, "file", 0) && !rmdir(name));
	return TEST_PASSED;
}
