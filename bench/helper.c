/* SPDX-License-Identifier: MIT */
/* The groups' processes: each waits for a question, samples, answers.  World: host. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

#define ANSWER_MS (10 * 60 * 1000) /* the emulated machine is slow */

struct question {
	sample_fn *sample; /* the same address on both sides of a fork() */
	unsigned n;
};

struct answer {
	int result;	   /* as sample_fn */
	bool setup_failed; /* result is of setup_fn */
};

static struct helper {
	bool there; /* else none, or lost */
	pid_t pid;
	int fd;
} helpers[GROUPS][MACHINES][PLACEMENTS];

struct place here;

static struct helper *helper_at(enum group g, struct place p)
{
	return &helpers[g][p.machine][p.processors];
}

/* This thread, and what it makes from now on, is on the n-th processor of those that there are. */
static int pin(unsigned n)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		return -errno;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || n--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		return sched_setaffinity(0, sizeof(one), &one) ? -errno : 0;
	}
	return -ENODEV;
}

/*
 * On two processors: what the set-up makes, which stubs are clones of, is on the second, and then
 * the process goes to the first.
 */
static int set_up(setup_fn *setup)
{
	cpu_set_t all;
	int err = sched_getaffinity(0, sizeof(all), &all) ? -errno : 0;

	if (!err && here.processors != UNPINNED)
		err = pin(here.processors == TWO);
	if (!err && setup)
		err = setup();
	if (!err && here.processors == TWO)
		err = sched_setaffinity(0, sizeof(all), &all) ? -errno : pin(0);
	return err;
}

static bool move(int fd, void *buf, size_t len, bool out)
{
	char *p = buf;

	while (len) {
		ssize_t n = out ? send(fd, p, len, MSG_NOSIGNAL) : recv(fd, p, len, 0);

		if (n <= 0 && !(n < 0 && errno == EINTR))
			return false;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return true;
}

__attribute__((noreturn)) static void serve(int fd, setup_fn *setup)
{
	static uint64_t samples[MAX_SAMPLES];
	bool ready = false;
	struct question q;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (move(fd, &q, sizeof(q), false)) {
		struct answer a = { 0 };

		if (!ready) {
			a.result = set_up(setup);
			a.setup_failed = a.result < 0;
		}
		if (!a.setup_failed) {
			ready = true;
			a.result = q.sample(q.n < MAX_SAMPLES ? q.n : MAX_SAMPLES, samples);
		}
		if (!move(fd, &a, sizeof(a), true) ||
		    (a.result > 0 && !move(fd, samples, (size_t)a.result * sizeof(*samples), true)))
			break;
	}
	_exit(0);
}

static int start(enum group g, struct place p, setup_fn *setup)
{
	struct helper *h = helper_at(g, p), *all = &helpers[0][0][0];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	h->pid = fork();
	if (h->pid < 0) {
		int err = -errno;

		close(fds[0]);
		close(fds[1]);
		return err;
	}
	if (h->pid == 0) {
		here = p;
		for (size_t i = 0; i < sizeof(helpers) / sizeof(*all); i++)
			if (all[i].there)
				close(all[i].fd);
		close(fds[0]);
		serve(fds[1], setup);
	}
	close(fds[1]);
	h->fd = fds[0];
	h->there = true;
	return 0;
}

int helpers_start(setup_fn *const setup[GROUPS][MACHINES], wanted_fn *wanted)
{
	struct place p;
	int err = 0;

	fflush(NULL);
	for (unsigned g = 0; g < GROUPS; g++)
		for (p.machine = 0; p.machine < MACHINES; p.machine++)
			for (p.processors = 0; p.processors < PLACEMENTS; p.processors++)
				if (!err && wanted((enum group)g, p))
					err = start((enum group)g, p, setup[g][p.machine]);
	return err;
}

/* It died, or does not answer. */
static const char *bury(struct helper *h)
{
	static char why[64];
	int status = 0;

	close(h->fd);
	h->there = false;
	if (waitpid(h->pid, &status, WNOHANG) == 0) {
		struct timespec second = { .tv_sec = 1 };

		nanosleep(&second, NULL);
		if (waitpid(h->pid, &status, WNOHANG) == 0) {
			kill(h->pid, SIGKILL);
			waitpid(h->pid, &status, 0);
			return "its process did not answer";
		}
	}
	if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "its process died of signal %d", WTERMSIG(status));
	else
		snprintf(why, sizeof(why), "its process exited with %d", WEXITSTATUS(status));
	return why;
}

int helper_ask(const struct series *s, struct place at, unsigned n, uint64_t *out, const char **why)
{
	struct question q = { .sample = s->sample, .n = n };
	struct helper *h = helper_at(s->group, at);
	int fd = h->fd;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct answer a;

	*why = NULL;
	if (!h->there) {
		*why = "its process is gone";
		return -ESRCH;
	}
	if (!move(fd, &q, sizeof(q), true) || poll(&ready, 1, ANSWER_MS) != 1 ||
	    !move(fd, &a, sizeof(a), false) ||
	    (a.result > 0 && !move(fd, out, (size_t)a.result * sizeof(*out), false))) {
		*why = bury(h);
		return -ESRCH;
	}
	return a.result;
}

static void stop(struct helper *h)
{
	if (!h->there)
		return;
	close(h->fd);
	h->there = false;
	waitpid(h->pid, NULL, 0);
}

void helper_stop(enum group g, struct place p)
{
	stop(helper_at(g, p));
}

void helpers_stop(void)
{
	struct helper *all = &helpers[0][0][0];

	for (size_t i = 0; i < sizeof(helpers) / sizeof(*all); i++)
		stop(&all[i]);
}
