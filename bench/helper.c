/* SPDX-License-Identifier: MIT */
/* The groups' processes: each waits for a question, samples, answers.  World: host. */
#include <errno.h>
#include <poll.h>
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

static struct {
	pid_t pid;
	int fd; /* -1: none, or lost */
} helpers[GROUPS] = { [0 ... GROUPS - 1] = { .fd = -1 } };

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

		if (!ready && setup) {
			a.result = setup();
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

int helpers_start(setup_fn *const setup[GROUPS], const bool wanted[GROUPS])
{
	fflush(NULL);
	for (unsigned g = 0; g < GROUPS; g++) {
		int fds[2];

		if (!wanted[g])
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
			return -errno;
		helpers[g].pid = fork();
		if (helpers[g].pid < 0) {
			int err = -errno;

			close(fds[0]);
			close(fds[1]);
			return err;
		}
		if (helpers[g].pid == 0) {
			for (unsigned k = 0; k < g; k++)
				if (helpers[k].fd >= 0)
					close(helpers[k].fd);
			close(fds[0]);
			serve(fds[1], setup[g]);
		}
		close(fds[1]);
		helpers[g].fd = fds[0];
	}
	return 0;
}

/* It died, or does not answer. */
static const char *bury(enum group g)
{
	static char why[64];
	int status = 0;

	close(helpers[g].fd);
	helpers[g].fd = -1;
	if (waitpid(helpers[g].pid, &status, WNOHANG) == 0) {
		struct timespec second = { .tv_sec = 1 };

		nanosleep(&second, NULL);
		if (waitpid(helpers[g].pid, &status, WNOHANG) == 0) {
			kill(helpers[g].pid, SIGKILL);
			waitpid(helpers[g].pid, &status, 0);
			return "its process did not answer";
		}
	}
	if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "its process died of signal %d", WTERMSIG(status));
	else
		snprintf(why, sizeof(why), "its process exited with %d", WEXITSTATUS(status));
	return why;
}

int helper_ask(const struct series *s, unsigned n, uint64_t *out, const char **why)
{
	struct question q = { .sample = s->sample, .n = n };
	int fd = helpers[s->group].fd;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct answer a;

	*why = NULL;
	if (fd < 0) {
		*why = "its process is gone";
		return -ESRCH;
	}
	if (!move(fd, &q, sizeof(q), true) || poll(&ready, 1, ANSWER_MS) != 1 ||
	    !move(fd, &a, sizeof(a), false) ||
	    (a.result > 0 && !move(fd, out, (size_t)a.result * sizeof(*out), false))) {
		*why = bury(s->group);
		return -ESRCH;
	}
	return a.result;
}

void helpers_stop(void)
{
	for (unsigned g = 0; g < GROUPS; g++) {
		if (helpers[g].fd < 0)
			continue;
		close(helpers[g].fd);
		helpers[g].fd = -1;
		waitpid(helpers[g].pid, NULL, 0);
	}
}
