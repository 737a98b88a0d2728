/* SPDX-License-Identifier: MIT */
/*
 * --isolation fork: each connection in a forked child. World: master, and the child up to
 * conn_serve().
 *
 * For comparison: a fault or a loop ends one child, but who takes over the parser reads all that
 * the master had in memory at the fork, and may use every system call.
 */
#include "isolation.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "conn.h"

/* Children that serve, so that fini can end them. A child leaves the list before it is reaped. */
static struct {
	pthread_mutex_t lock;
	pid_t *pid;
	unsigned count, size;
} children = { .lock = PTHREAD_MUTEX_INITIALIZER };

static pid_t *pid_table(unsigned size)
{
	static pid_t table[4096];

	return size <= sizeof(table) / sizeof(table[0]) ? table : NULL;
}

static int fork_init(char *why, size_t len)
{
	children.pid = pid_table(config.max_connections);
	children.size = config.max_connections;
	if (!children.pid) {
		snprintf(why, len, "too many connections for --isolation fork; see --max-connections");
		return -EINVAL;
	}
	return 0;
}

static void children_add(pid_t pid)
{
	pthread_mutex_lock(&children.lock);
	children.pid[children.count++] = pid;
	pthread_mutex_unlock(&children.lock);
}

static void children_remove(pid_t pid)
{
	pthread_mutex_lock(&children.lock);
	for (unsigned i = 0; i < children.count; i++)
		if (children.pid[i] == pid) {
			children.pid[i] = children.pid[--children.count];
			break;
		}
	pthread_mutex_unlock(&children.lock);
}

static void limit(int resource, rlim_t value)
{
	struct rlimit r = { value, value };

	setrlimit(resource, &r); /* only ever lowers: cannot fail in a way that matters */
}

/* The child keeps the connection, the root and the standard descriptors. */
static void close_others(int connfd)
{
	unsigned low = (unsigned)(connfd < config.rootfd ? connfd : config.rootfd);
	unsigned high = (unsigned)(connfd < config.rootfd ? config.rootfd : connfd);

	if (low > 3)
		close_range(3, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0u, 0);
}

__attribute__((noreturn)) static void child(int connfd, pid_t master)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != master)
		_exit(CONN_BROKEN);
	/* Other connections would stay open as long as this child. */
	close_others(connfd);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, (rlim_t)(connfd > config.rootfd ? connfd : config.rootfd) + 8);
	alarm(config_hard_limit());
	_exit((int)conn_result(conn_serve(conn_arg(connfd))));
}

static int fork_serve(int connfd, char *report, size_t len)
{
	pid_t master = getpid(), pid = fork();
	siginfo_t info;
	int status;

	if (pid == 0)
		child(connfd, master);
	if (pid < 0) {
		int err = errno;

		snprintf(report, len, "no child could be forked: %s", strerror(err));
		return -err;
	}
	children_add(pid);
	/* First wait without reaping: as long as the number is listed, it is nobody else's. */
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
		;
	children_remove(pid);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) {
			snprintf(report, len, "its child is lost: %s", strerror(errno));
			return -ECHILD;
		}
	if (WIFEXITED(status) && WEXITSTATUS(status) < CONN_ENDS)
		return WEXITSTATUS(status);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(report, len, "its child was ended after %u seconds", config_hard_limit());
	else if (WIFSIGNALED(status))
		snprintf(report, len, "its child was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(report, len, "its child exited with status %d", WEXITSTATUS(status));
	return -EFAULT;
}

static void fork_fini(void)
{
	pthread_mutex_lock(&children.lock);
	for (unsigned i = 0; i < children.count; i++)
		kill(children.pid[i], SIGKILL);
	pthread_mutex_unlock(&children.lock);
}

const struct isolation isolation_fork = {
	.name = "fork",
	.closes_all = true,
	.descriptors = 1,
	.init = fork_init,
	.serve = fork_serve,
	.fini = fork_fini,
};
