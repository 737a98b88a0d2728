/* SPDX-License-Identifier: MIT */
/*
 * Every system call that can wait: a limit of time ends it, and so does sthread_kill(); what it waits for does, too.
 * World: host; ST_FN: inside.
 */
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include "tests/attack/st_blocking.h"

#define LIMIT_NS 1000000000UL
#define SOON_MS	 30
#define AT_ONCE	 8 /* rows that run at the same time */

static int source; /* a file to send from */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void nap(long ns)
{
	struct timespec t = { 0, ns };

	nanosleep(&t, NULL);
}

/* ---- inside: each says that it has started, and waits ---- */

/* arg: where to say so << 32 | the descriptor, or how many ms. */
#define ARG(tell, what) ((void *)((uintptr_t)(tell) << 32 | (unsigned)(what)))
#define WHAT(arg)	((int)((uintptr_t)(arg)&0xffffffff))

/* What calls point to. */
struct things {
	uint64_t bytes; /* a count of 1, too */
	uint32_t word;
	struct iovec v; /* one byte */
	struct mmsghdr m;
	struct pollfd p;
	fd_set set;
	struct epoll_event event;
	struct timespec length, until;
};

static void prepare(struct things *t, int what)
{
	*t = (struct things){
		.bytes = 1,
		.word = 7,
		.v = { &t->bytes, 1 },
		.m.msg_hdr = { .msg_iov = &t->v, .msg_iovlen = 1 },
		.p = { .fd = what, .events = POLLIN },
		.event.events = EPOLLIN,
		.length = { what / 1000, what % 1000 * 1000000L },
	};
	if (what < FD_SETSIZE)
		FD_SET(what, &t->set);
}

static struct timespec *until(struct things *t, clockid_t clock)
{
	clock_gettime(clock, &t->until);
	t->until.tv_sec += t->length.tv_sec + 1; /* a second more, and nothing to carry */
	return &t->until;
}

static int epoll_of(int fd)
{
	struct epoll_event e = { .events = EPOLLIN };
	int ep = epoll_create1(0);

	CHECK(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	return ep;
}

static void started(void *arg)
{
	CHECK_EQ(syscall(SYS_write, (int)((uintptr_t)arg >> 32), "s", 1), 1);
}

/* With the descriptor, or time, `fd`, and `t`. */
#define WAITS(name, call)                                      \
	ST_FN(name)                                            \
	{                                                      \
		int fd __attribute__((unused)) = WHAT(arg);    \
		struct things t;                               \
		long r;                                        \
                                                               \
		prepare(&t, fd);                               \
		started(arg);                                  \
		r = call;                                      \
		return (void *)(intptr_t)(r < 0 ? -errno : r); \
	}

WAITS(read_, syscall(SYS_read, fd, &t.bytes, 1))
WAITS(read_8, syscall(SYS_read, fd, &t.bytes, 8))
WAITS(readv_, syscall(SYS_readv, fd, &t.v, 1))
WAITS(recvfrom_, syscall(SYS_recvfrom, fd, &t.bytes, 1, 0, NULL, NULL))
WAITS(recvmsg_, syscall(SYS_recvmsg, fd, &t.m.msg_hdr, 0))
WAITS(recvmmsg_, syscall(SYS_recvmmsg, fd, &t.m, 1, 0, NULL))
WAITS(write_, syscall(SYS_write, fd, &t.bytes, 1))
WAITS(write_8, syscall(SYS_write, fd, &t.bytes, 8))
WAITS(writev_, syscall(SYS_writev, fd, &t.v, 1))
WAITS(sendto_, syscall(SYS_sendto, fd, &t.bytes, 1, MSG_NOSIGNAL, NULL, 0))
WAITS(sendmsg_, syscall(SYS_sendmsg, fd, &t.m.msg_hdr, MSG_NOSIGNAL))
WAITS(sendmmsg_, syscall(SYS_sendmmsg, fd, &t.m, 1, MSG_NOSIGNAL))
WAITS(sendfile_, syscall(SYS_sendfile, fd, source, NULL, 1))
WAITS(connect_, syscall(SYS_connect, fd, &address, address_len))
/* The number of the new one is of no interest. */
WAITS(accept_, syscall(SYS_accept, fd, NULL, NULL) < 0 ? -1 : 0)
WAITS(accept4_, syscall(SYS_accept4, fd, NULL, NULL, SOCK_CLOEXEC) < 0 ? -1 : 0)
WAITS(flock_, syscall(SYS_flock, fd, LOCK_EX))
WAITS(flock_shared, syscall(SYS_flock, fd, LOCK_SH))
WAITS(poll_, syscall(SYS_poll, &t.p, 1, -1))
WAITS(poll_for_long, syscall(SYS_poll, &t.p, 1, HOUR_MS))
WAITS(poll_nothing, syscall(SYS_poll, NULL, 0, fd))
WAITS(ppoll_, syscall(SYS_ppoll, &t.p, 1, NULL, NULL, 8))
WAITS(select_, syscall(SYS_select, fd + 1, &t.set, NULL, NULL, NULL))
WAITS(pselect6_, syscall(SYS_pselect6, fd + 1, &t.set, NULL, NULL, NULL, NULL))
WAITS(epoll_wait_, syscall(SYS_epoll_wait, epoll_of(fd), &t.event, 1, -1))
WAITS(epoll_pwait_, syscall(SYS_epoll_pwait, epoll_of(fd), &t.event, 1, -1, NULL, 8))
WAITS(epoll_pwait2_, syscall(SYS_epoll_pwait2, epoll_of(fd), &t.event, 1, NULL, NULL, 8))
WAITS(nanosleep_, syscall(SYS_nanosleep, &t.length, NULL))
WAITS(clock_nanosleep_, syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &t.length, NULL))
WAITS(clock_nanosleep_until,
      syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, TIMER_ABSTIME, until(&t, CLOCK_BOOTTIME), NULL))
WAITS(futex_wait, syscall(SYS_futex, &t.word, FUTEX_WAIT_PRIVATE, 7, &t.length, NULL, 0))
WAITS(futex_wait_bitset,
      syscall(SYS_futex, &t.word, FUTEX_WAIT_BITSET, 7, until(&t, CLOCK_MONOTONIC), NULL, -1))
/* Without a time it waits for ever: the twin finds another value. */
WAITS(futex_wait_untimed,
      syscall(SYS_futex, &t.word, FUTEX_WAIT, fd == HOUR_MS ? 7 : 8, NULL, NULL, 0))

/* Compartments that wait for one of their own. */
ST_FN(sleeps)
{
	struct things t;

	prepare(&t, WHAT(arg));
	nanosleep(&t.length, NULL);
	return NULL;
}

static long joins(void *arg)
{
	struct sthread *child;

	CHECK_OK(sthread_create(&child, NULL, sleeps, arg));
	return sthread_join(child, NULL);
}

WAITS(sthread_join_, joins(arg))
WAITS(sthread_call_, sthread_call(NULL, sleeps, arg, NULL))

/* ---- the table ---- */

static const struct row {
	const char *name;
	st_fn *fn;
	void (*make)(struct place *);
	void (*come)(struct place *); /* NULL: time does */
	long gives;		      /* then */
} rows[] = {
#define ROW(fn, make, come, gives)         \
	{                                  \
#fn, fn, make, come, gives \
	}
	ROW(read_, empty_pipe, put, 1),
	ROW(readv_, empty_pipe, put, 1),
	ROW(read_, empty_socket, put, 1),
	ROW(read_8, event, counts, 8),
	ROW(read_8, timer, arms, 8),
	ROW(recvfrom_, empty_socket, put, 1),
	ROW(recvmsg_, empty_socket, put, 1),
	ROW(recvmmsg_, empty_socket, put, 1),
	ROW(write_, full_pipe, drain, 1),
	ROW(writev_, full_pipe, drain, 1),
	ROW(write_, full_socket, drain, 1),
	ROW(write_8, full_event, empties, 8),
	ROW(sendto_, full_socket, drain, 1),
	ROW(sendmsg_, full_socket, drain, 1),
	ROW(sendmmsg_, full_socket, drain, 1),
	ROW(sendfile_, full_pipe, drain, 1),
	ROW(connect_, full_listener, accepts, 0),
	ROW(accept_, listener, connects, 0),
	ROW(accept4_, listener, connects, 0),
	ROW(flock_, locked, unlocks, 0),
	ROW(flock_shared, locked, unlocks, 0),
	ROW(poll_, empty_pipe, put, 1),
	ROW(poll_, listener, connects, 1),
	ROW(poll_for_long, empty_pipe, put, 1),
	ROW(poll_nothing, hour, NULL, 0),
	ROW(ppoll_, empty_pipe, put, 1),
	ROW(select_, empty_pipe, put, 1),
	ROW(pselect6_, empty_pipe, put, 1),
	ROW(epoll_wait_, empty_pipe, put, 1),
	ROW(epoll_pwait_, event, counts, 1),
	ROW(epoll_pwait2_, timer, arms, 1),
	ROW(nanosleep_, hour, NULL, 0),
	ROW(clock_nanosleep_, hour, NULL, 0),
	ROW(clock_nanosleep_until, hour, NULL, 0),
	ROW(futex_wait, hour, NULL, -ETIMEDOUT),
	ROW(futex_wait_untimed, hour, NULL, -EAGAIN),
	ROW(futex_wait_bitset, hour, NULL, -ETIMEDOUT),
	ROW(sthread_join_, hour, NULL, 0),
	ROW(sthread_call_, hour, NULL, 0),
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* ---- a row under way ---- */

struct run {
	const struct row *row;
	struct place at;
	int tell[2];
	struct sthread_policy *p;
	pthread_t thread;
	struct sthread *st;
	struct sthread_result result;
	uint64_t took;
};

static void set_up(struct run *r, const struct row *row)
{
	*r = (struct run){ .row = row,
			   .at = { .other = -1, .third = -1 },
			   .p = st_policy_all_calls() };
	row->make(&r->at);
	CHECK(!pipe2(r->tell, O_CLOEXEC));
	st_grant(r->p, r->tell[1], STHREAD_FD_WRITE);
	if (r->at.time)
		return;
	st_grant(r->p, r->at.inside,
		 STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_POLL | STHREAD_FD_ACCEPT |
			 STHREAD_FD_CONNECT | STHREAD_FD_LOCK);
	st_grant(r->p, source, STHREAD_FD_READ);
	CHECK_OK(sthread_policy_connect(r->p, where(), address_len, STHREAD_EXACT));
}

static void *arg_of(const struct run *r)
{
	return ARG(r->tell[1], r->at.inside);
}

static void await_start(const struct run *r)
{
	struct pollfd p = { .fd = r->tell[0], .events = POLLIN };
	char c;

	CHECK_MSG(poll(&p, 1, 20000) == 1, "%s does not start", r->row->name);
	CHECK_EQ(read(r->tell[0], &c, 1), 1);
}

static void tear_down(struct run *r)
{
	close(r->tell[0]);
	close(r->tell[1]);
	if (!r->at.time)
		close(r->at.inside);
	if (r->at.other >= 0)
		close(r->at.other);
	if (r->at.third >= 0)
		close(r->at.third);
	sthread_policy_destroy(r->p);
}

/* On a thread of the program. */
static void *calls(void *arg)
{
	struct run *r = arg;
	uint64_t start = now();

	r->result = st_call(r->p, r->row->fn, arg_of(r));
	r->took = now() - start;
	return NULL;
}

static void over_limit(const struct row *row, size_t n)
{
	struct run runs[AT_ONCE];

	for (size_t i = 0; i < n; i++) {
		set_up(&runs[i], row + i);
		st_limit(runs[i].p, STHREAD_LIMIT_WALL_NS, LIMIT_NS);
		CHECK_EQ(pthread_create(&runs[i].thread, NULL, calls, &runs[i]), 0);
	}
	for (size_t i = 0; i < n; i++) {
		struct run *r = &runs[i];

		CHECK_EQ(pthread_join(r->thread, NULL), 0);
		NOTE("limit: %s, %lu ms", r->row->name, (unsigned long)(r->took / 1000000));
		ST_LIMIT(&r->result, STHREAD_LIMIT_WALL_NS);
		CHECK_GE((uint64_t)r->result.value, LIMIT_NS);
		CHECK_LT((uint64_t)r->result.value, LIMIT_NS + st_late());
		CHECK_LT(r->took, LIMIT_NS + st_late());
		CHECK_HAS(st_words(&r->result), r->row->name);
		await_start(r);
		tear_down(r);
	}
}

/* On threads of the library. */
static void killed(const struct row *row, size_t n)
{
	struct run runs[AT_ONCE];

	for (size_t i = 0; i < n; i++) {
		set_up(&runs[i], row + i);
		runs[i].st = st_create(runs[i].p, row[i].fn, arg_of(&runs[i]));
	}
	for (size_t i = 0; i < n; i++)
		await_start(&runs[i]);
	nap(20000000);
	for (size_t i = 0; i < n; i++) {
		struct run *r = &runs[i];
		uint64_t start = now();

		NOTE("kill: %s", r->row->name);
		CHECK_OK(sthread_kill(r->st)); /* it waits: -ESRCH if it had ended */
		r->result = st_join(r->st);
		CHECK_LT(now() - start, st_late());
		ST_END(&r->result, STHREAD_KILLED);
		CHECK_HAS(st_words(&r->result), r->row->name);
		tear_down(r);
	}
}

static void twin(const struct row *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct run r;

		NOTE("twin: %s", row[i].name);
		set_up(&r, row + i);
		if (r.at.time)
			r.at.inside = SOON_MS;
		r.st = st_create(r.p, row[i].fn, arg_of(&r));
		await_start(&r);
		if (row[i].come) {
			nap(5000000);
			row[i].come(&r.at);
		}
		r.result = st_join(r.st);
		ST_RETURNED(&r.result, row[i].gives);
		tear_down(&r);
	}
}

int main(void)
{
	source = memfd_create("source", MFD_CLOEXEC);
	CHECK(source >= 0 && write(source, "source", 6) == 6 && lseek(source, 0, SEEK_SET) == 0);
	address_len =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			    snprintf(address.sun_path + 1, 32, "st_blocking %d", getpid()) + 1);
	st_init();
	for (size_t i = 0; i < ROWS; i += AT_ONCE) {
		size_t n = ROWS - i < AT_ONCE ? ROWS - i : AT_ONCE;

		over_limit(rows + i, n);
		killed(rows + i, n);
		twin(rows + i, n);
		st_others_live();
	}
	sthread_fini();
	return TEST_PASSED;
}
