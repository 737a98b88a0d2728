/* SPDX-License-Identifier: MIT */
/*
 * st_fork_holds.c - the program forks, without exec, while compartments have descriptors: what they were granted and
 * what they made.  The child closes all but what the program's own policies grant, so that peers see the end and locks
 * go when the compartment ends, although the child lives; in the parent nothing changes.  World: host; what is marked
 * runs inside.
 */
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

/* Says that it is there, then reads until the end, and says back what it gets.  arg: a socket. */
static void *echoes(void *arg)
{
	int fd = (int)(uintptr_t)arg;
	char c = 'y';

	do {
		if (write(fd, &c, 1) != 1)
			break;
	} while (read(fd, &c, 1) == 1);
	return NULL;
}

/* The same on a connection that it accepts. */
static void *accepts(void *arg)
{
	int fd = accept4((int)(uintptr_t)arg, NULL, NULL, 0);

	CHECK(fd >= 0);
	return echoes((void *)(uintptr_t)fd);
}

/* The same on a duplicate of what it was granted, which it closes. */
static void *duplicates(void *arg)
{
	int fd = dup((int)(uintptr_t)arg);

	CHECK(fd >= 0 && !close((int)(uintptr_t)arg));
	return echoes((void *)(uintptr_t)fd);
}

/* The same, with a lock on a file that it opened: arg: directory << 16 | socket. */
static void *locks(void *arg)
{
	int dir = (int)((uintptr_t)arg >> 16), fd = openat(dir, "file", O_RDWR);

	CHECK(fd >= 0 && !flock(fd, LOCK_EX));
	return echoes((void *)((uintptr_t)arg & 0xffff));
}

/* A compartment within the compartment has it. */
static void *hands_on(void *arg)
{
	struct sthread_policy *p;
	struct sthread *st;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_syscall(p, SYS_write, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_fd(p, (int)(uintptr_t)arg, STHREAD_FD_READ | STHREAD_FD_WRITE));
	CHECK_OK(sthread_create(&st, p, echoes, arg));
	CHECK_OK(sthread_join(st, NULL));
	return NULL;
}

/* A pipe of its own, of which the reading end is with it alone: what is written shows whether anybody has it yet. */
static void *ends_pipe(void *arg)
{
	int ends[2];

	(void)arg;
	CHECK(!pipe(ends) && !close(ends[0]));
	return (void *)(uintptr_t)(write(ends[1], "x", 1) == 1 ? 0 : errno);
}

static ssize_t gate_echoes(void *trusted, const void *in, size_t in_len, void *out, size_t cap)
{
	(void)in, (void)in_len, (void)out, (void)cap;
	echoes(trusted);
	return 0;
}

/* ---- the child ------------------------------------------------------------------------------------------------ */

/* It lives until this is closed. */
static int child_lives[2] = { -1, -1 };

static pid_t fork_one(void)
{
	pid_t pid;

	CHECK(!pipe2(child_lives, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		char c;

		close(child_lives[1]);
		(void)!read(child_lives[0], &c, 1);
		_exit(TEST_PASSED);
	}
	close(child_lives[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0); /* it was there all the time */
	close(child_lives[1]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "wait status %#x", (unsigned)status);
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

static void answers(int peer, char c)
{
	struct pollfd p = { .fd = peer, .events = POLLIN };
	char got = 0;

	CHECK_EQ(poll(&p, 1, 20000), 1);
	CHECK_EQ(read(peer, &got, 1), 1);
	CHECK_EQ(got, c);
}

static void says(int peer, char c)
{
	CHECK_EQ(write(peer, &c, 1), 1);
	answers(peer, c);
}

static void sees_the_end(int peer, const char *what)
{
	struct pollfd p = { .fd = peer, .events = POLLIN };
	char got;
	ssize_t n;

	CHECK_MSG(poll(&p, 1, 10000) == 1, "%s: the peer sees no end", what);
	n = read(peer, &got, 1);
	CHECK_MSG(n == 0 || (n < 0 && errno == ECONNRESET), "%s: the peer gets %zd", what, n);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

struct conn {
	int ours, theirs;
};

static struct conn connect_pair(void)
{
	int ends[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	return (struct conn){ ends[0], ends[1] };
}

static struct sthread_policy *talks(int fd)
{
	struct sthread_policy *p = st_policy();

	st_allow(p, SYS_read, SYS_write, SYS_dup, SYS_close);
	st_grant(p, fd, STHREAD_FD_READ | STHREAD_FD_WRITE);
	return p;
}

/* It runs with `fn`, the program has let go of all, forks, and ends it. */
static void case_of(const char *what, struct sthread_policy *p, st_fn *fn, void *arg, struct conn c, bool on_thread)
{
	struct sthread *st = st_create(p, fn, arg);
	struct sthread_result r;
	pid_t pid;

	NOTE("%s", what);
	sthread_policy_destroy(p);
	if (c.theirs >= 0)
		close(c.theirs);
	answers(c.ours, 'y');
	pid = fork_one();
	says(c.ours, 'a'); /* the parent's is untouched */
	if (on_thread) {
		CHECK(!shutdown(c.ours, SHUT_WR)); /* it ends by itself */
		r = st_join(st);
		ST_RETURNED(&r, 0);
	} else {
		CHECK_OK(sthread_kill(st));
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
	}
	sees_the_end(c.ours, what);
	close(c.ours);
	end_child(pid);
}

static void granted(void)
{
	for (int i = 0; i < 2; i++) {
		struct conn c = connect_pair();

		case_of("granted", talks(c.theirs), echoes, (void *)(uintptr_t)c.theirs, c, i);
		c = connect_pair();
		case_of("duplicated", talks(c.theirs), duplicates, (void *)(uintptr_t)c.theirs, c, i);
		c = connect_pair();
		case_of("handed on", talks(c.theirs), hands_on, (void *)(uintptr_t)c.theirs, c, i);
	}
}

static void accepted(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(a.sun_family);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sthread_policy *p = st_policy();

	CHECK(listener >= 0 && peer >= 0);
	CHECK(!bind(listener, (struct sockaddr *)&a, len) && !listen(listener, 1)); /* a name of the kernel's choice */
	len = sizeof(a);
	CHECK(!getsockname(listener, (struct sockaddr *)&a, &len));
	CHECK(!connect(peer, (struct sockaddr *)&a, len));
	st_allow(p, SYS_read, SYS_write, SYS_accept4);
	st_grant(p, listener, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_ACCEPT);
	case_of("accepted", p, accepts, (void *)(uintptr_t)listener, (struct conn){ peer, listener }, false);
}

static void locked(void)
{
	struct conn c = connect_pair();
	struct sthread_policy *p = talks(c.theirs);
	char name[] = "/tmp/st_fork_holds.XXXXXX";
	struct sthread *st;
	int dir, fd;
	pid_t pid;

	NOTE("locked");
	CHECK(mkdtemp(name) != NULL);
	dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(dir >= 0 && fd >= 0);
	st_allow(p, SYS_openat, SYS_flock);
	st_grant_dir(p, dir, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_LOCK);
	st = st_create(p, locks, (void *)((uintptr_t)dir << 16 | (unsigned)c.theirs));
	sthread_policy_destroy(p);
	answers(c.ours, 'y');
	pid = fork_one();
	CHECK(flock(fd, LOCK_EX | LOCK_NB) < 0);
	CHECK_EQ(errno, EWOULDBLOCK);
	CHECK_OK(sthread_kill(st));
	st_join(st);
	LIFE_UNTIL(!flock(fd, LOCK_EX | LOCK_NB)); /* it goes with the run's descriptors, just behind its end */
	end_child(pid);
	CHECK(!unlinkat(dir, "file", 0) && !rmdir(name));
	close(fd);
	close(dir);
	close(c.ours);
	close(c.theirs);
}

/* A gate at rest, in whose policy it is; and one that serves a call. */
static void *asks(void *arg)
{
	return (void *)sthread_gate_call(arg, NULL, 0, NULL, 0);
}

static void of_gate(void)
{
	for (int i = 0; i < 2; i++) {
		struct conn c = connect_pair();
		struct sthread_policy *p = talks(c.theirs), *q;
		struct sthread_gate *g = GATE(.name = "echoes", .fn = gate_echoes, .policy = p, .trusted = (void *)(uintptr_t)c.theirs);
		struct sthread *st = NULL;
		pid_t pid;

		NOTE("of a gate");
		q = gate_policy(g);
		sthread_policy_destroy(p);
		close(c.theirs);
		if (i) {
			st = st_create(q, asks, g);
			answers(c.ours, 'y');
		}
		pid = fork_one();
		if (i) {
			says(c.ours, 'b');
			CHECK_OK(sthread_kill(st));
			st_join(st);
		}
		sthread_policy_destroy(q);
		sthread_gate_destroy(g);
		sees_the_end(c.ours, "of a gate");
		end_child(pid);
		close(c.ours);
	}
}

/* What a compartment makes after the fork is nobody else's anyway; and the child's own machine works. */
static void twin(void)
{
	struct conn c = connect_pair(), d = connect_pair();
	struct sthread_policy *p = talks(c.theirs), *q = st_policy();
	struct sthread *st = st_create(p, echoes, (void *)(uintptr_t)c.theirs);
	struct sthread_result r;
	struct sthread_gate *g = GATE(.name = "echoes", .fn = gate_echoes, .policy = p, .trusted = (void *)(uintptr_t)c.theirs);
	int status;
	pid_t pid;

	NOTE("what policies of the program grant stays");
	answers(c.ours, 'y');
	st_allow(q, SYS_pipe, SYS_pipe2, SYS_close, SYS_write);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		sthread_gate_destroy(g);
		st_init();
		r = st_call(q, ends_pipe, NULL);
		ST_RETURNED(&r, EPIPE);
		/* A policy from before grants what it granted. */
		CHECK(!close(c.theirs) && !close(d.theirs) && !close(d.ours));
		CHECK_OK(sthread_detach(st_create(p, echoes, (void *)(uintptr_t)c.theirs)));
		sthread_policy_destroy(p);
		pause();
		_exit(TEST_FAILED);
	}
	answers(c.ours, 'y'); /* the child's compartment */
	CHECK_OK(sthread_kill(st));
	st_join(st);
	CHECK(!kill(pid, SIGKILL));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	r = st_call(q, ends_pipe, NULL);
	ST_RETURNED(&r, EPIPE);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	sthread_gate_destroy(g);
	close(c.theirs);
	sees_the_end(c.ours, "all gone");
}

int main(void)
{
	st_init();
	granted();
	accepted();
	locked();
	of_gate();
	twin();
	sthread_fini();
	return TEST_PASSED;
}
