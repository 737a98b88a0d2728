// SPDX-License-Identifier: MIT
/*
 * poll.c - waiting for descriptors: poll, select and epoll.  World: host.
 *
 * A compartment names its own numbers; the host's kernel gets the host's.  What goes into an epoll
 * set of the host is the compartment's own data word, which comes back as it is.  A descriptor
 * leaves every set when its number is closed or taken back (fdtab_close).
 */
#include "sthread/syscall/calls.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000L
#define FOREVER	 (1LL << 40) /* seconds */

/* ---- how long ---- */

/* To a point in time, so that a signal neither lengthens nor shortens it. */
struct wait {
	bool forever, none;
	struct timespec until;
};

static struct wait wait_for(int64_t s, int64_t ns)
{
	struct wait w = { .none = !s && !ns };

	if (w.none)
		return w;
	clock_gettime(CLOCK_MONOTONIC, &w.until);
	w.until.tv_sec = s < FOREVER ? w.until.tv_sec + s : FOREVER;
	w.until.tv_nsec += ns;
	if (w.until.tv_nsec >= NS_PER_S) {
		w.until.tv_sec++;
		w.until.tv_nsec -= NS_PER_S;
	}
	return w;
}

static struct wait wait_ms(int ms)
{
	if (ms < 0)
		return (struct wait){ .forever = true };
	return wait_for(ms / 1000, (ms % 1000) * 1000000L);
}

/* in: what ARG_STRUCT_IN copied, or nothing. */
static struct wait wait_in(const struct sys_call *c, long unit)
{
	if (!c->in_len)
		return (struct wait){ .forever = true };
	return wait_for((int64_t)c->in.word[0], (int64_t)c->in.word[1] * (NS_PER_S / unit));
}

static int check_wait(const struct sys_call *c, long unit)
{
	if (!c->in_len)
		return 0;
	return (int64_t)c->in.word[0] < 0 || c->in.word[1] >= (uint64_t)unit ? -EINVAL : 0;
}

/* Zero when it has passed; NULL: for ever. */
static struct timespec *time_left(const struct wait *w, struct timespec *left)
{
	*left = (struct timespec){ 0, 0 };
	if (w->forever)
		return NULL;
	if (w->none)
		return left;
	clock_gettime(CLOCK_MONOTONIC, left);
	left->tv_sec = w->until.tv_sec - left->tv_sec;
	left->tv_nsec = w->until.tv_nsec - left->tv_nsec;
	if (left->tv_nsec < 0) {
		left->tv_sec--;
		left->tv_nsec += NS_PER_S;
	}
	if (left->tv_sec < 0)
		*left = (struct timespec){ 0, 0 };
	return left;
}

static long host_poll(struct sys_call *c, unsigned n, struct wait w)
{
	struct timespec left;

	return SYS_RETRY(c, ppoll(c->u.poll.fd, n, time_left(&w, &left), NULL));
}

/* ---- poll ---- */

/*
 * Descriptors that are not there, or may not be polled: counted, and marked after the host's
 * answer.
 */
static unsigned invalid_of(const struct sys_call *c, unsigned n)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < n; i++)
		bad += c->u.poll.number[i] >= 0 && c->u.poll.fd[i].fd < 0;
	return bad;
}

static long poll_until(struct sys_call *c, struct wait w)
{
	unsigned n = (unsigned)c->arg[1], bad = invalid_of(c, n);
	long r = host_poll(c, n, bad ? wait_ms(0) : w);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++)
		if (c->u.poll.number[i] >= 0 && c->u.poll.fd[i].fd < 0)
			c->u.poll.fd[i].revents = POLLNVAL;
	return r + bad;
}

long sys_do_poll(struct sys_call *c)
{
	return poll_until(c, wait_ms(sys_int(c, 2)));
}

int sys_check_ppoll(struct sys_call *c)
{
	return check_wait(c, NS_PER_S);
}

long sys_do_ppoll(struct sys_call *c)
{
	return poll_until(c, wait_in(c, NS_PER_S));
}

/* ---- select: the same with sets of numbers ---- */

enum { SET_IN, SET_OUT, SET_PRI };

static bool in_set(const struct sys_call *c, unsigned set, unsigned number)
{
	return c->arg[1 + set] && (c->result.set[set][number / 64] >> number % 64 & 1);
}

static short events_of(const struct sys_call *c, unsigned number)
{
	return (short)((in_set(c, SET_IN, number) ? POLLIN : 0) |
		       (in_set(c, SET_OUT, number) ? POLLOUT : 0) |
		       (in_set(c, SET_PRI, number) ? POLLPRI : 0));
}

static int check_sets(struct sys_call *c)
{
	int numbers = sys_int(c, 0);

	if (numbers < 0 || numbers > SYS_FDSET)
		return -EINVAL;
	c->u.poll.n = 0;
	for (unsigned number = 0; number < (unsigned)numbers; number++) {
		short events = events_of(c, number);
		const struct fd_entry *e = events ? fdtab_find(&c->ctx->fds, (int)number) : NULL;

		if (!events)
			continue;
		if (!e || !(e->rights & STHREAD_FD_POLL))
			return -EBADF;
		if (c->u.poll.n == SYS_POLLFDS)
			return -EINVAL;
		c->u.poll.number[c->u.poll.n] = (int)number;
		c->u.poll.fd[c->u.poll.n++] = (struct pollfd){ e->obj->host, events, 0 };
	}
	return 0;
}

int sys_check_select(struct sys_call *c)
{
	int r = check_wait(c, 1000000);

	return r ? r : check_sets(c);
}

int sys_check_pselect(struct sys_call *c)
{
	int r = check_wait(c, NS_PER_S);

	return r ? r : check_sets(c);
}

/* What each set says of a descriptor, by the host's manual of select(). */
static const short set_events[] = { POLLIN | POLLHUP | POLLERR, POLLOUT | POLLERR, POLLPRI };

static long select_until(struct sys_call *c, struct wait w)
{
	long r = host_poll(c, c->u.poll.n, w), bits = 0;

	if (r < 0)
		return r;
	for (unsigned i = 0; i < c->u.poll.n; i++) {
		unsigned number = (unsigned)c->u.poll.number[i];

		for (unsigned set = SET_IN; set <= SET_PRI; set++) {
			if (!in_set(c, set, number))
				continue;
			if (c->u.poll.fd[i].revents & set_events[set])
				bits++;
			else
				c->result.set[set][number / 64] &= ~(1ULL << number % 64);
		}
	}
	/* Beyond the numbers, in the last word, nothing is ready. */
	for (unsigned set = SET_IN, n = (unsigned)c->arg[0]; set <= SET_PRI && n % 64; set++)
		c->result.set[set][n / 64] &= (1ULL << n % 64) - 1;
	return bits;
}

long sys_do_select(struct sys_call *c)
{
	return select_until(c, wait_in(c, 1000000));
}

long sys_do_pselect(struct sys_call *c)
{
	return select_until(c, wait_in(c, NS_PER_S));
}

/* ---- epoll ---- */

#define EPOLL_EVENTS                                                                              \
	(EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDNORM |         \
	 EPOLLRDBAND | EPOLLWRNORM | EPOLLWRBAND | EPOLLET | EPOLLONESHOT)

int sys_check_epoll_create(struct sys_call *c)
{
	if (c->entry->arg[0].kind == ARG_INT && sys_int(c, 0) <= 0)
		return -EINVAL;
	return sys_check_new(c);
}

long sys_do_epoll_create(struct sys_call *c)
{
	return sys_new_fd(c, SYS_MAKE(epoll_create1(EPOLL_CLOEXEC)), FD_EPOLL,
			  STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_POLL);
}

/* No set in a set: waking would go round in the host. */
int sys_check_epoll_ctl(struct sys_call *c)
{
	uint32_t events = (uint32_t)c->in.word[0];

	if (c->fd.obj->kind != FD_EPOLL || c->fd2.obj->kind == FD_EPOLL)
		return -EINVAL;
	switch (sys_int(c, 1)) {
	case EPOLL_CTL_ADD:
	case EPOLL_CTL_MOD:
		if (!c->in_len)
			return -EFAULT;
		return events & ~(uint32_t)EPOLL_EVENTS ? -EINVAL : 0;
	case EPOLL_CTL_DEL:
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_do_epoll_ctl(struct sys_call *c)
{
	struct epoll_event e;

	memcpy(&e, c->in.bytes, sizeof(e));
	return epoll_ctl(c->fd.obj->host, sys_int(c, 1), c->fd2.obj->host, &e) < 0 ? -errno : 0;
}

int sys_check_epoll_wait(struct sys_call *c)
{
	if (c->fd.obj->kind != FD_EPOLL)
		return -EINVAL;
	return c->entry->arg[3].kind == ARG_STRUCT_IN ? check_wait(c, NS_PER_S) : 0;
}

/* The host counts in milliseconds; rounded up, so that nothing ends early. */
static int ms_left(const struct wait *w)
{
	struct timespec left;

	if (!time_left(w, &left))
		return -1;
	if (left.tv_sec >= INT_MAX / 1000)
		return INT_MAX / 1000 * 1000;
	return (int)(left.tv_sec * 1000 + (left.tv_nsec + 999999) / 1000000);
}

long sys_do_epoll_wait(struct sys_call *c)
{
	struct wait w = c->entry->arg[3].kind == ARG_STRUCT_IN ? wait_in(c, NS_PER_S) :
								 wait_ms(sys_int(c, 3));
	int most = (int)(c->out[0].cap / sizeof(struct epoll_event));
	long r = SYS_RETRY(c, epoll_wait(c->fd.obj->host, (struct epoll_event *)c->u.bytes, most,
					 ms_left(&w)));

	if (r > 0)
		c->out[0].len = (uint32_t)r * (uint32_t)sizeof(struct epoll_event);
	return r;
}
