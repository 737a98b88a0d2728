/* SPDX-License-Identifier: MIT */
/*
 * A datagram socket of a compartment's own hears whom it may talk to, and no strangers, by whichever call it listens;
 * one that was bound to a granted address hears everybody.  World: host; ST_FN: inside.
 *
 * For each datagram that the friend gets, the strangers send to where it came from, and then the friend does: on the
 * loopback, what it sends is queued behind theirs.
 */
#include "tests/st_gate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { READ, READV, RECV, RECVFROM, RECVMSG, RECVMMSG, WAYS };

union place {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* In the image: set before sthread_init(). */
static struct world {
	int domain;
	int friend, other,
		twin; /* descriptors; twin: the friend's port, at another address, or -1 */
	union place at, bind_at;
	socklen_t len;
} worlds[2];

/* ---- inside ---- */

static int opens(const struct world *w)
{
	int fd = socket(w->domain, SOCK_DGRAM, 0);

	CHECK_GE(fd, 0);
	return fd;
}

static void awaits(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(p.revents, POLLIN);
}

/* They answer, one after the other. */
static void asks(const struct world *w, int fd)
{
	CHECK_EQ(sendto(fd, "?", 1, 0, &w->at.any, w->len), 1);
	awaits(fd);
}

/* One more, by this call; its text.  "": there is none. */
static const char *hears(int fd, int way)
{
	static char text[32];
	struct iovec iov[2] = { { text, 3 }, { text + 3, sizeof(text) - 4 } };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = iov, .msg_iovlen = 2 } };
	struct pollfd p = { fd, POLLIN, 0 };
	union place from = { .any.sa_family = 0 };
	socklen_t len = sizeof(from);
	ssize_t n = -1;

	memset(text, 0, sizeof(text));
	if (!poll(&p, 1, 0))
		return "";
	switch (way) {
	case READ:
		n = read(fd, text, sizeof(text) - 1);
		break;
	case READV:
		n = readv(fd, iov, 2);
		break;
	case RECV:
		n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
		break;
	case RECVFROM:
		n = recvfrom(fd, text, sizeof(text) - 1, MSG_DONTWAIT, &from.any, &len);
		CHECK_GT(len, 0);
		break;
	case RECVMSG:
		n = recvmsg(fd, &m.msg_hdr, MSG_DONTWAIT);
		break;
	case RECVMMSG:
		CHECK_EQ(recvmmsg(fd, &m, 1, MSG_DONTWAIT, NULL), 1);
		n = m.msg_len;
		break;
	}
	CHECK_EQ(n, (ssize_t)strlen(text));
	return text;
}

/* arg: a world. */
ST_FN(hears_its_friend_only)
{
	const struct world *w = arg;
	char peeked[32] = "";
	int fd, n;

	for (int way = 0; way < WAYS; way++) {
		fd = opens(w);
		asks(w, fd);
		CHECK_EQ(ioctl(fd, FIONREAD, &n), 0);
		CHECK_EQ(n, 6);
		CHECK_EQ(recv(fd, peeked, sizeof(peeked), MSG_PEEK), 6);
		CHECK_STR(peeked, "friend");
		CHECK_STR(hears(fd, way), "friend");
		CHECK_STR(hears(fd, way), "");
		CHECK(recv(fd, peeked, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
		CHECK_EQ(close(fd), 0);
	}
	/* What would have been there before it was connected is not there afterwards. */
	fd = opens(w);
	asks(w, fd);
	CHECK_EQ(connect(fd, &w->at.any, w->len), 0);
	CHECK_STR(hears(fd, READ), "friend");
	CHECK_STR(hears(fd, READ), "");
	/* By another number, too; and it cannot be undone. */
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &n, sizeof(n)), -1);
	CHECK_EQ(errno, ENOPROTOOPT);
	CHECK_EQ(close(fd), 0);
	fd = opens(w);
	CHECK_EQ(dup2(fd, 40), 40);
	asks(w, 40);
	CHECK_STR(hears(fd, READ), "friend");
	CHECK_STR(hears(40, READ), "");
	/* To be bound anywhere takes a grant. */
	CHECK(bind(opens(w), &w->bind_at.any, w->len) == -1 && errno == EACCES);
	return NULL;
}

/* The same address but for its last bits is granted, too. */
ST_FN(hears_two)
{
	const struct world *w = arg;
	int fd = opens(w);

	asks(w, fd);
	CHECK_STR(hears(fd, RECVFROM), "twin");
	awaits(fd);
	CHECK_STR(hears(fd, READ), "friend");
	CHECK_STR(hears(fd, READ), "");
	return NULL;
}

ST_FN(hears_everybody)
{
	const struct world *w = arg;
	int fd = opens(w);

	CHECK_EQ(bind(fd, &w->bind_at.any, w->len), 0);
	asks(w, fd);
	CHECK_STR(hears(fd, READ), "stranger");
	awaits(fd);
	if (w->twin >= 0)
		CHECK_STR(hears(fd, RECVFROM), "twin");
	awaits(fd);
	CHECK_STR(hears(fd, READ), "friend");
	CHECK_STR(hears(fd, READ), "");
	return NULL;
}

/* A gate's socket keeps to the gate's addresses, whoever reads. */
static ssize_t gives(void *trusted, const void *in, size_t in_len, void *out, size_t cap)
{
	const struct world *w = trusted;
	int fd = opens(w);

	(void)in;
	(void)in_len;
	asks(w, fd);
	return gate_answer(out, cap, sthread_gate_give_fd(fd, STHREAD_FD_READ | STHREAD_FD_POLL));
}

ST_FN(hears_by_a_gate)
{
	int fd = (int)gate_word("gives");

	(void)arg;
	CHECK_GE(fd, 0);
	CHECK_STR(hears(fd, READ), "friend");
	CHECK_STR(hears(fd, READ), "");
	return NULL;
}

/* ---- outside ---- */

static int at(union place *a, socklen_t len)
{
	int fd = socket(a->any.sa_family, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, &a->any, len) || getsockname(fd, &a->any, &len))
		return -1;
	return fd;
}

/* False: no such network here. */
static bool make(struct world *w, int domain)
{
	union place a;

	memset(w, 0, sizeof(*w));
	w->domain = domain;
	w->at.any.sa_family = (sa_family_t)domain;
	w->len = domain == AF_INET ? sizeof(w->at.in) : sizeof(w->at.in6);
	if (domain == AF_INET)
		w->at.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		w->at.in6.sin6_addr = in6addr_loopback;
	w->bind_at = a = w->at;
	w->friend = at(&w->at, w->len);
	w->other = at(&a, w->len);
	w->twin = -1;
	if (domain == AF_INET) {
		a = w->at;
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
		w->twin = at(&a, w->len);
		CHECK_GE(w->twin, 0);
	}
	return w->friend >= 0 && w->other >= 0;
}

/* Until "!" comes. */
static void *speaks(void *arg)
{
	const struct world *w = arg;
	union place from;
	char c;

	for (;;) {
		socklen_t len = sizeof(from);

		CHECK_EQ(recvfrom(w->friend, &c, 1, 0, &from.any, &len), 1);
		if (c == '!')
			return NULL;
		CHECK_EQ(sendto(w->other, "stranger", 8, 0, &from.any, len), 8);
		if (w->twin >= 0)
			CHECK_EQ(sendto(w->twin, "twin", 4, 0, &from.any, len), 4);
		CHECK_EQ(sendto(w->friend, "friend", 6, 0, &from.any, len), 6);
	}
}

static void network(struct world *w)
{
	struct sthread_policy *p = st_policy_all_calls(), *two = st_policy_all_calls(),
			      *server = st_policy_all_calls(), *caller;
	struct sthread_gate *g;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, speaks, w), 0);
	CHECK_OK(sthread_policy_connect(p, &w->at.any, w->len, STHREAD_EXACT));
	ST_PASSES(p, hears_its_friend_only, w);

	CHECK_OK(sthread_policy_connect(two, &w->at.any, w->len, 24));
	if (w->twin >= 0)
		ST_PASSES(two, hears_two, w);

	CHECK_OK(sthread_policy_connect(server, &w->at.any, w->len, STHREAD_EXACT));
	CHECK_OK(sthread_policy_bind(server, &w->bind_at.any, w->len, STHREAD_EXACT));
	ST_PASSES(server, hears_everybody, w);

	g = GATE(.name = "gives", .fn = gives, .policy = p, .trusted = w);
	caller = gate_policy(g);
	st_allow(caller, SYS_read, SYS_poll);
	ST_PASSES(caller, hears_by_a_gate, NULL);
	/* On a thread of the library, behind its filter. */
	ST_RETURNED(&(struct sthread_result[]){ st_run(p, hears_its_friend_only, w) }[0], 0);
	ST_RETURNED(&(struct sthread_result[]){ st_run(server, hears_everybody, w) }[0], 0);

	CHECK_EQ(sendto(w->other, "!", 1, 0, &w->at.any, w->len), 1);
	CHECK_EQ(pthread_join(t, NULL), 0);
	sthread_gate_destroy(g);
	sthread_policy_destroy(caller);
	sthread_policy_destroy(server);
	sthread_policy_destroy(two);
	sthread_policy_destroy(p);
	st_others_live();
}

int main(void)
{
	bool six;

	CHECK(make(&worlds[0], AF_INET));
	six = make(&worlds[1], AF_INET6);
	st_init();
	st_others_live();
	network(&worlds[0]);
	if (six)
		network(&worlds[1]);
	else
		NOTE("no IPv6 here");
	sthread_fini();
	return TEST_PASSED;
}
