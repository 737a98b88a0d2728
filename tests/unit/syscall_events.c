// SPDX-License-Identifier: MIT
/*
 * Waiting on many: select, ppoll, epoll over numbers of the compartment's own, counters and timers.
 * What is closed or taken back is heard of no more.  World: host.
 */
#include <asm/unistd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define BUF (FAKE_DATA + 8 * PAGE)
#define SET (FAKE_DATA + 4 * PAGE)
#define TIME (FAKE_DATA + 5 * PAGE)

static void all(void)
{
	struct sthread_policy *p = fake_policy_all();

	fake_begin(p);
	sthread_policy_destroy(p);
}

static void with(int fd, unsigned rights)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_fd(p, fd, rights));
	fake_begin(p);
	sthread_policy_destroy(p);
}

static uint64_t put_time(long s, long ns)
{
	struct timespec t = { s, ns };

	return fake_put(TIME, &t, sizeof(t));
}

static void made_pipe(int fd[2])
{
	CHECK_OK(CALL(__NR_pipe2, BUF, 0));
	memcpy(fd, fake_host(BUF), 2 * sizeof(int));
}

static long ctl(long ep, int op, long fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };

	return CALL(__NR_epoll_ctl, (uint64_t)ep, (uint64_t)op, (uint64_t)fd,
		    fake_put(BUF + 512, &e, sizeof(e)));
}

static struct epoll_event event(unsigned i)
{
	struct epoll_event e;

	memcpy(&e, fake_host(BUF + i * sizeof(e)), sizeof(e));
	return e;
}

static void pipes(void)
{
	int fd[2];

	all();
	made_pipe(fd);
	CHECK_EQ(fd[0], 0);
	CHECK_EQ(fd[1], 1);
	CHECK_EQ(CALL(__NR_write, 1, BUF, 3), 3);
	CHECK_EQ(CALL(__NR_read, 0, BUF, 10), 3);
	CHECK_ERR(CALL(__NR_read, 1, BUF, 3), -EPERM);
	CHECK_ERR(CALL(__NR_write, 0, BUF, 3), -EPERM);
	CHECK_ERR(CALL(__NR_pipe2, BUF, O_DIRECT), -EINVAL);
	CHECK_OK(CALL(__NR_pipe, BUF));
	CHECK_EQ(CALL(__NR_close, 0), 0);
	CHECK_ERR(CALL(__NR_write, 1, BUF, 1), -EPIPE);
	/* A place that is not there: nothing is made. */
	CHECK_ERR(CALL(__NR_pipe2, FAKE_RO, 0), -EFAULT);
	CHECK_EQ(fake_ctx.fds.n, 3);
	fake_end();
	CHECK_EQ(fd_objects(), 0);
}

/* Half a pipe is none. */
static void limited(void)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 3));
	fake_begin(p);
	sthread_policy_destroy(p);
	CHECK_OK(CALL(__NR_pipe2, BUF, 0));
	CHECK_ERR(CALL(__NR_pipe2, BUF, 0), -EMFILE);
	CHECK_ERR(CALL(__NR_socketpair, AF_UNIX, SOCK_STREAM, 0, BUF), -EMFILE);
	CHECK_EQ(CALL(__NR_eventfd2, 0, 0), 2);
	CHECK_ERR(CALL(__NR_eventfd2, 0, 0), -EMFILE);
	CHECK_ERR(CALL(__NR_epoll_create1, 0), -EMFILE);
	CHECK_ERR(CALL(__NR_timerfd_create, CLOCK_MONOTONIC, 0), -EMFILE);
	CHECK_ERR(CALL(__NR_dup, 0), -EMFILE);
	CHECK_ERR(CALL(__NR_fcntl, 0, F_DUPFD, 0), -EMFILE);
	CHECK_EQ(CALL(__NR_dup2, 0, 1), 1);
	CHECK_ERR(CALL(__NR_dup2, 0, 3), -EBADF); /* beyond RLIMIT_NOFILE as it is inside */
	CHECK_EQ(fd_objects(), 3);
	fake_end();
	CHECK_EQ(fd_objects(), 0);
}

static void counters(void)
{
	const struct itimerspec soon = { .it_value = { 0, 1000000 } };
	struct itimerspec old;
	uint64_t n = 5;

	all();
	CHECK_EQ(CALL(__NR_eventfd2, 3, EFD_SEMAPHORE), 0);
	CHECK_EQ(CALL(__NR_read, 0, BUF, 8), 8);
	CHECK_EQ(*(uint64_t *)(void *)fake_host(BUF), 1);
	CHECK_EQ(CALL(__NR_eventfd, 0), 1);
	CHECK_EQ(CALL(__NR_write, 1, fake_put(BUF, &n, 8), 8), 8);
	CHECK_EQ(CALL(__NR_read, 1, BUF, 8), 8);
	CHECK_EQ(*(uint64_t *)(void *)fake_host(BUF), 5);
	CHECK_ERR(CALL(__NR_eventfd2, 0, 1 << 20), -EINVAL);
	CHECK_EQ(CALL(__NR_timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK), 2);
	CHECK_ERR(CALL(__NR_timerfd_create, CLOCK_REALTIME_ALARM, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_read, 2, BUF, 8), -EAGAIN);
	fake_put(BUF, &soon, sizeof(soon));
	CHECK_OK(CALL(__NR_timerfd_settime, 2, 0, BUF, FAKE_COW));
	memcpy(&old, fake_host(FAKE_COW), sizeof(old));
	CHECK_EQ(old.it_value.tv_nsec, 0);
	CHECK_OK(CALL(__NR_timerfd_gettime, 2, BUF));
	memcpy(&old, fake_host(BUF), sizeof(old));
	CHECK_LE(old.it_value.tv_nsec, 1000000);
	CHECK_ERR(CALL(__NR_timerfd_settime, 0, 0, BUF, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_timerfd_settime, 2, TFD_TIMER_CANCEL_ON_SET, BUF, 0), -EINVAL);
	usleep(2000);
	CHECK_EQ(CALL(__NR_read, 2, BUF, 8), 8);
	fake_end();
}

static void selects(void)
{
	uint64_t set[16] = { 0 };
	int fd[2], secret = eventfd(1, 0);

	all();
	made_pipe(fd);
	CHECK_EQ(CALL(__NR_write, 1, BUF, 1), 1);
	set[0] = 3; /* both, and only one is ready to read */
	fake_put(SET, set, sizeof(set));
	fake_put(SET + 128, set, sizeof(set));
	CHECK_ERR(CALL(__NR_select, 2, SET, SET + 128, 0, FAKE_NOTHING), -EFAULT);
	CHECK_EQ(CALL(__NR_pselect6, 2, SET, SET + 128, 0, put_time(1, 0), FAKE_NOTHING), 2);
	CHECK_EQ(*(uint64_t *)(void *)fake_host(SET), 1);
	CHECK_EQ(*(uint64_t *)(void *)fake_host(SET + 128), 2);
	/* Numbers beyond nfds are not looked at, and the rest of the word is cleared. */
	set[0] = ~0ULL;
	fake_put(SET, set, sizeof(set));
	CHECK_EQ(CALL(__NR_select, 1, SET, 0, 0, 0), 1);
	CHECK_EQ(*(uint64_t *)(void *)fake_host(SET), 1);
	CHECK_ERR(CALL(__NR_select, 3, fake_put(SET, set, 128), 0, 0, 0), -EBADF);
	CHECK_ERR(CALL(__NR_select, (uint64_t)-1, SET, 0, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_select, 1025, SET, 0, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_select, 1024, FAKE_RO, 0, 0, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_select, 0, 0, 0, 0, put_time(-1, 0)), -EINVAL);
	CHECK_ERR(CALL(__NR_select, 0, 0, 0, 0, put_time(0, 1000000)), -EINVAL);
	CHECK_ERR(CALL(__NR_pselect6, 0, 0, 0, 0, put_time(0, 1000000000), 0), -EINVAL);
	CHECK_OK(CALL(__NR_select, 0, 0, 0, 0, put_time(0, 1000)));
	/* A number of the master's. */
	memset(set, 0, sizeof(set));
	set[secret / 64] = 1ULL << secret % 64;
	CHECK_ERR(CALL(__NR_select, 1024, fake_put(SET, set, 128), 0, 0, 0), -EBADF);
	with(secret, STHREAD_FD_READ);
	CHECK_ERR(CALL(__NR_select, 1024, fake_put(SET, set, 128), 0, 0, 0), -EBADF);
	with(secret, STHREAD_FD_POLL);
	CHECK_EQ(CALL(__NR_select, 1024, fake_put(SET, set, 128), 0, 0, 0), 1);
	fake_end();
	close(secret);
}

static void ppolls(void)
{
	struct pollfd p[2] = { { 0, POLLIN, 0 }, { 1, POLLOUT, 0 } };
	int fd[2];

	all();
	made_pipe(fd);
	fake_put(SET, p, sizeof(p));
	CHECK_EQ(CALL(__NR_ppoll, SET, 2, put_time(1, 0), FAKE_NOTHING, 8), 1);
	memcpy(p, fake_host(SET), sizeof(p));
	CHECK_EQ(p[0].revents, 0);
	CHECK_EQ(p[1].revents, POLLOUT);
	CHECK_OK(CALL(__NR_ppoll, SET, 1, put_time(0, 1000), 0, 8));
	CHECK_ERR(CALL(__NR_ppoll, SET, 1, put_time(0, -1), 0, 8), -EINVAL);
	fake_end();
}

static void epolls(void)
{
	int fd[2], ep, secret = fcntl(eventfd(1, 0), F_DUPFD, 50), file = open("/proc/self/exe", O_RDONLY);

	all();
	ep = (int)CALL(__NR_epoll_create1, EPOLL_CLOEXEC);
	CHECK_EQ(ep, 0);
	CHECK_ERR(CALL(__NR_epoll_create, 0), -EINVAL);
	CHECK_EQ(CALL(__NR_epoll_create, 1), 1);
	made_pipe(fd);
	/* Data is its own, whatever it looks like. */
	CHECK_OK(ctl(ep, EPOLL_CTL_ADD, fd[0], EPOLLIN, (uintptr_t)&fake_ctx));
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, fd[0], EPOLLIN, 1), -EEXIST);
	CHECK_ERR(ctl(ep, EPOLL_CTL_MOD, fd[1], EPOLLOUT, 1), -ENOENT);
	CHECK_OK(CALL(__NR_epoll_wait, (uint64_t)ep, BUF, 4, 0));
	CHECK_EQ(CALL(__NR_write, (uint64_t)fd[1], BUF, 1), 1);
	CHECK_EQ(CALL(__NR_epoll_wait, (uint64_t)ep, BUF, 4, -1), 1);
	CHECK_EQ(event(0).events, EPOLLIN);
	CHECK_EQ(event(0).data.u64, (uintptr_t)&fake_ctx);
	CHECK_OK(ctl(ep, EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLET, 7));
	CHECK_EQ(CALL(__NR_epoll_pwait, (uint64_t)ep, BUF, 4, 1000, FAKE_NOTHING, 8), 1);
	CHECK_EQ(event(0).data.u64, 7);
	CHECK_OK(CALL(__NR_epoll_pwait2, (uint64_t)ep, BUF, 4, put_time(0, 1000), 0, 8));
	CHECK_ERR(CALL(__NR_epoll_pwait2, (uint64_t)ep, BUF, 4, put_time(0, -1), 0, 8), -EINVAL);
	/* Sets in sets, things that are no sets, numbers of others, wrong operations. */
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, 1, EPOLLIN, 0), -EINVAL);
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN, 0), -EINVAL);
	CHECK_ERR(ctl(fd[1], EPOLL_CTL_ADD, fd[0], EPOLLIN, 0), -EINVAL);
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, secret, EPOLLIN, 0), -EBADF);
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, -1, EPOLLIN, 0), -EBADF);
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, fake_ctx.fds.entry[0].obj->host, EPOLLIN, 0), -EBADF);
	CHECK_ERR(ctl(ep, 9, fd[0], EPOLLIN, 0), -EINVAL);
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, fd[1], EPOLLOUT | EPOLLWAKEUP, 0), -EINVAL);
	CHECK_ERR(ctl(ep, EPOLL_CTL_ADD, fd[1], EPOLLOUT | EPOLLEXCLUSIVE, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_epoll_ctl, (uint64_t)ep, EPOLL_CTL_ADD, (uint64_t)fd[1], 0), -EFAULT);
	CHECK_ERR(CALL(__NR_epoll_wait, (uint64_t)ep, BUF, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_epoll_wait, (uint64_t)ep, BUF, (uint64_t)-1, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_epoll_wait, (uint64_t)ep, FAKE_RO, 1, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_epoll_wait, (uint64_t)fd[0], BUF, 1, 0), -EINVAL);
	CHECK_OK(CALL(__NR_epoll_wait, (uint64_t)ep, FAKE_DATA, INT32_MAX, 0));
	CHECK_OK(CALL(__NR_epoll_ctl, (uint64_t)ep, EPOLL_CTL_DEL, (uint64_t)fd[0], 0));
	CHECK_ERR(CALL(__NR_epoll_ctl, (uint64_t)ep, EPOLL_CTL_DEL, (uint64_t)fd[0], 0), -ENOENT);
	with(secret, STHREAD_FD_READ);
	CHECK_EQ(CALL(__NR_epoll_create1, 0), 0);
	CHECK_ERR(ctl(0, EPOLL_CTL_ADD, secret, EPOLLIN, 0), -EPERM);
	with(file, STHREAD_FD_ALL);
	CHECK_EQ(CALL(__NR_epoll_create1, 0), 0);
	CHECK_ERR(ctl(0, EPOLL_CTL_ADD, file, EPOLLIN, 0), -EPERM); /* as everywhere */
	fake_end();
	CHECK_EQ(fd_objects(), 0);
	close(secret);
	close(file);
}

/*
 * The open file is the master's, too, and lives on: what was closed inside is not heard of, by any
 * name that it had.
 */
static void epoll_closed(void)
{
	int secret = eventfd(1, 0);

	for (unsigned how = 0; how < 5; how++) {
		with(secret, STHREAD_FD_ALL);
		CHECK_EQ(CALL(__NR_epoll_create1, 0), 0);
		CHECK_EQ(CALL(__NR_dup, 0), 1);
		CHECK_EQ(CALL(__NR_dup, (uint64_t)secret), 2);
		CHECK_OK(ctl(0, EPOLL_CTL_ADD, secret, EPOLLIN, 1));
		CHECK_OK(ctl(0, EPOLL_CTL_ADD, 2, EPOLLIN, 2));
		CHECK_EQ(CALL(__NR_epoll_wait, 1, BUF, 4, 0), 2);
		switch (how) {
		case 0:
			CHECK_OK(CALL(__NR_close, (uint64_t)secret));
			break;
		case 1:
			CHECK_EQ(CALL(__NR_dup2, 0, (uint64_t)secret), secret);
			break;
		case 2:
			CHECK_OK(CALL(__NR_close_range, 3, UINT32_MAX, 0));
			break;
		case 3: /* the first set is closed, the duplicate is the same set */
			CHECK_OK(CALL(__NR_close, 0));
			CHECK_OK(CALL(__NR_close, (uint64_t)secret));
			break;
		default: /* taken back: with all that it was duplicated to */
			atomic_store(&fake_ctx.revoke, fake_ctx.policy->grant[0].obj->file);
			CHECK_OK(CALL(__NR_epoll_wait, 1, BUF, 4, 0));
			CHECK_EQ(atomic_load(&fake_ctx.revoke), 0);
			CHECK_ERR(CALL(__NR_read, 2, BUF, 8), -EBADF);
			CHECK_ERR(CALL(__NR_read, (uint64_t)secret, BUF, 8), -EBADF);
			continue;
		}
		CHECK_EQ(CALL(__NR_epoll_wait, 1, BUF, 4, 0), 1);
		CHECK_EQ(event(0).data.u64, 2);
		CHECK_OK(CALL(__NR_close, 2));
		CHECK_OK(CALL(__NR_epoll_wait, 1, BUF, 4, 0));
	}
	fake_end();
	CHECK_EQ(fd_objects(), 0);
	close(secret);
}

/* ---- taken back while it waits ---- */

static void handler(int sig)
{
	(void)sig;
}

struct taker {
	pthread_t victim;
	uint64_t file;
};

/* As lane_revoke() does it. */
static void *takes(void *arg)
{
	struct taker *t = arg;

	usleep(20000);
	atomic_store(&fake_ctx.revoke, t->file);
	while (atomic_load(&fake_ctx.revoke)) {
		pthread_kill(t->victim, SIGUSR1);
		usleep(1000);
	}
	return NULL;
}

static void revoked_while_waiting(void)
{
	struct sigaction sa = { .sa_handler = handler };
	int mine[2], other[2];
	struct pollfd p[1];

	CHECK_OK(sigaction(SIGUSR1, &sa, NULL));
	for (unsigned how = 0; how < 5; how++) {
		struct sthread_policy *policy = fake_policy_all();
		struct taker t = { .victim = pthread_self() };
		pthread_t thread;

		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, mine));
		CHECK_OK(pipe(other));
		CHECK_OK(sthread_policy_fd(policy, mine[0], STHREAD_FD_ALL));
		CHECK_OK(sthread_policy_fd(policy, other[0], STHREAD_FD_ALL));
		fake_begin(policy);
		sthread_policy_destroy(policy);
		t.file = fake_ctx.policy->grant[0].obj->file;
		p[0] = (struct pollfd){ mine[0], POLLIN, 0 };
		fake_put(SET, p, sizeof(p));
		CHECK_OK(pthread_create(&thread, NULL, takes, &t));
		switch (how) {
		case 0:
			CHECK_ERR(CALL(__NR_read, (uint64_t)mine[0], BUF, 1), -EBADF);
			break;
		case 1:
			CHECK_EQ(CALL(__NR_poll, SET, 1, (uint64_t)-1), 1);
			memcpy(p, fake_host(SET), sizeof(p));
			CHECK_EQ(p[0].revents, POLLNVAL);
			break;
		case 2: /* one that sleeps is not disturbed */
			CHECK_OK(CALL(__NR_nanosleep, put_time(0, 100000000), 0));
			CHECK_ERR(CALL(__NR_read, (uint64_t)mine[0], BUF, 1), -EBADF);
			break;
		case 3: /* one that waits for something else goes on waiting, and gets it */
			CHECK_EQ(CALL(__NR_epoll_create1, 0), 0);
			CHECK_OK(ctl(0, EPOLL_CTL_ADD, mine[0], EPOLLIN, 1));
			CHECK_OK(CALL(__NR_epoll_wait, 0, BUF, 4, 100));
			CHECK_ERR(CALL(__NR_epoll_ctl, 0, EPOLL_CTL_DEL, (uint64_t)mine[0], 0), -EBADF);
			break;
		default: { /* a kill beats it */
			atomic_store(&fake_stop, true);
			CHECK_ERR(CALL(__NR_read, (uint64_t)mine[0], BUF, 1), -EINTR);
			atomic_store(&fake_stop, false);
			CHECK_ERR(CALL(__NR_getpid) ? CALL(__NR_read, (uint64_t)mine[0], BUF, 1) : 0, -EBADF);
			break;
		}
		}
		CHECK_OK(pthread_join(thread, NULL));
		CHECK_EQ(write(mine[1], "x", 1), 1);
		CHECK_ERR(CALL(__NR_read, (uint64_t)mine[0], BUF, 1), -EBADF);
		/* The master's is untouched, and so is the other one. */
		CHECK_EQ(read(mine[0], p, 1), 1);
		CHECK_EQ(write(other[1], "x", 1), 1);
		CHECK_EQ(CALL(__NR_read, (uint64_t)other[0], BUF, 1), 1);
		fake_end();
		for (unsigned i = 0; i < 2; i++) {
			close(mine[i]);
			close(other[i]);
		}
	}
	CHECK_EQ(fd_objects(), 0);
}

int main(void)
{
	fake_reset();
	pipes();
	limited();
	counters();
	selects();
	ppolls();
	epolls();
	epoll_closed();
	fake_direct(true); /* the one that is signalled is this thread */
	revoked_while_waiting();
	fake_direct(false);
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
