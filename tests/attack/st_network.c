/* SPDX-License-Identifier: MIT */
/*
 * Sockets of a compartment's own: to the addresses that its policy grants and to no others; and programs as people
 * write them, a server around epoll and a client.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS 8

static struct sockaddr_in loop_at(unsigned port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int tries(int fd, int (*call)(int, const struct sockaddr *, socklen_t), const void *a, socklen_t len)
{
	return call(fd, a, len) ? errno : 0;
}

/* ---- whom it may talk to ---- */

/* arg: the granted port << 16 | another one on which somebody listens. */
ST_FN(reaches_the_granted_one_only)
{
	unsigned good = (unsigned)((uintptr_t)arg >> 16), other = (unsigned)(uintptr_t)arg & 0xffff;
	struct sockaddr_in a = loop_at(good), b = loop_at(other), bad;
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)good) };
	struct sockaddr_un un = { AF_UNIX, "/tmp/.X11-unix/X0" };
	int fd = socket(AF_INET, SOCK_STREAM, 0), fd6 = socket(AF_INET6, SOCK_STREAM, 0),
	    unix_fd = socket(AF_UNIX, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	char c = 'x';

	CHECK(fd >= 0 && unix_fd >= 0 && udp >= 0);
	CHECK(socket(AF_NETLINK, SOCK_RAW, 0) == -1 && errno == EINVAL);
	CHECK(socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EINVAL);
	CHECK(socket(AF_INET, SOCK_RAW, IPPROTO_TCP) == -1 && errno == EINVAL);
	CHECK_EQ(tries(fd, connect, &b, sizeof(b)), EACCES);
	bad = a;
	bad.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	CHECK_EQ(tries(fd, connect, &bad, sizeof(bad)), EACCES);
	bad.sin_addr.s_addr = INADDR_ANY;
	CHECK_EQ(tries(fd, connect, &bad, sizeof(bad)), EACCES);
	bad = a;
	bad.sin_family = AF_UNSPEC;
	CHECK_EQ(tries(fd, connect, &bad, sizeof(bad)), EACCES);
	CHECK_EQ(tries(fd, bind, &bad, sizeof(bad)), EACCES);
	CHECK_EQ(tries(fd, bind, &a, sizeof(a)), EACCES);
	bad.sin_port = 0;
	CHECK_EQ(tries(fd, bind, &bad, sizeof(bad)), EACCES);
	for (socklen_t len = 0; len < sizeof(a); len++)
		CHECK_EQ(tries(fd, connect, &a, len), EINVAL);
	CHECK_EQ(tries(fd, connect, &a, (socklen_t)-1), EINVAL);
	if (fd6 >= 0) {
		CHECK_EQ(inet_pton(AF_INET6, "::ffff:127.0.0.1", &six.sin6_addr), 1);
		CHECK_EQ(tries(fd6, connect, &six, sizeof(six)), EACCES);
		CHECK_EQ(inet_pton(AF_INET6, "::1", &six.sin6_addr), 1);
		CHECK_EQ(tries(fd6, connect, &six, sizeof(six)), EACCES);
	}
	CHECK_EQ(tries(unix_fd, connect, &un, sizeof(un)), EACCES);
	un.sun_path[0] = '\0';
	CHECK_EQ(tries(unix_fd, connect, &un, sizeof(un)), EACCES);
	CHECK_EQ(tries(unix_fd, bind, &un, sizeof(sa_family_t)), EACCES);
	CHECK(sendto(udp, &c, 1, 0, (struct sockaddr *)&b, sizeof(b)) == -1 && errno == EACCES);
	CHECK(listen(fd, 5) == -1 && errno == EACCES);
	CHECK(listen(unix_fd, 5) == -1 && errno == EACCES);
	/* The twin. */
	CHECK_EQ(tries(fd, connect, &a, sizeof(a)), 0);
	CHECK_EQ(write(fd, &c, 1), 1);
	return NULL;
}

static int listener(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*a);

	*a = loop_at(0);
	if (fd < 0 || bind(fd, (struct sockaddr *)a, len) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)a, &len))
		return -1;
	return fd;
}

static void addresses(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	struct sockaddr_in a, b;
	int good = listener(&a), other = listener(&b), fd;
	char c;

	CHECK(good >= 0 && other >= 0);
	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&a, sizeof(a), STHREAD_EXACT));
	ST_PASSES(p, reaches_the_granted_one_only,
		  (uintptr_t)ntohs(a.sin_port) << 16 | ntohs(b.sin_port));
	fd = accept(good, NULL, NULL);
	CHECK_GE(fd, 0);
	CHECK_EQ(read(fd, &c, 1), 1);
	CHECK_EQ(read(fd, &c, 1), 0); /* closed when the run ended */
	CHECK(accept(good, NULL, NULL) == -1 && errno == EAGAIN);
	CHECK(accept(other, NULL, NULL) == -1 && errno == EAGAIN);
	close(fd);
	close(good);
	close(other);
	sthread_policy_destroy(p);
	st_others_live();
}

/* ---- a server as people write it ---- */

static void answer(int fd, int ep)
{
	static const char reply[] = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes";
	char request[256];
	ssize_t n = read(fd, request, sizeof(request) - 1);

	if (n < 0 && errno == EAGAIN)
		return;
	CHECK_GT(n, 0);
	request[n] = '\0';
	CHECK(strstr(request, "GET /"));
	CHECK_EQ(write(fd, reply, sizeof(reply) - 1), (ssize_t)sizeof(reply) - 1);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL), 0);
	CHECK_EQ(close(fd), 0);
}

/* arg: the listener, granted.  Serves CLIENTS requests. */
ST_FN(serves)
{
	int lfd = (int)(intptr_t)arg, ep = epoll_create1(EPOLL_CLOEXEC), served = 0;
	struct epoll_event e = { .events = EPOLLIN, .data.fd = lfd }, got[4];

	CHECK(ep >= 0);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &e), 0);
	while (served < CLIENTS) {
		int n = epoll_wait(ep, got, 4, 5000);

		CHECK_GT(n, 0);
		for (int i = 0; i < n; i++) {
			struct sockaddr_in peer;
			socklen_t len = sizeof(peer);

			if (got[i].data.fd != lfd) {
				answer(got[i].data.fd, ep);
				served++;
				continue;
			}
			e.data.fd = accept4(lfd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK);
			if (e.data.fd < 0 && errno == EAGAIN)
				continue;
			CHECK(e.data.fd >= 0);
			CHECK_EQ(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
			CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e), 0);
		}
	}
	return NULL;
}

/* arg: the port.  Inside, too. */
static void *asks(void *arg)
{
	struct sockaddr_in a = loop_at((unsigned)(uintptr_t)arg);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct pollfd p = { fd, POLLIN, 0 };
	char reply[128];
	ssize_t n, all = 0;

	CHECK_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK_EQ(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
	CHECK_EQ(poll(&p, 1, 5000), 1);
	while ((n = read(fd, reply + all, sizeof(reply) - (size_t)all)) > 0)
		all += n;
	CHECK_EQ(n, 0);
	CHECK(all > 3 && !memcmp(reply + all - 3, "yes", 3));
	CHECK_EQ(close(fd), 0);
	return NULL;
}

/* The server is in one compartment, each client in another. */
static void server_and_clients(void)
{
	struct sthread_policy *server = st_policy(), *client = st_policy();
	struct sthread *st[CLIENTS], *s;
	struct sockaddr_in a;
	struct sthread_result r;
	int fd = listener(&a);

	CHECK(fd >= 0);
	st_allow(server, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_wait, SYS_accept4, SYS_read, SYS_write);
	st_grant(server, fd, STHREAD_FD_ACCEPT | STHREAD_FD_POLL | STHREAD_FD_READ | STHREAD_FD_WRITE |
				     STHREAD_FD_STAT);
	st_allow(client, SYS_socket, SYS_connect, SYS_sendto, SYS_read, SYS_poll);
	CHECK_OK(sthread_policy_syscall_arg(client, SYS_socket, 0, UINT64_MAX, AF_INET));
	CHECK_OK(sthread_policy_connect(client, (struct sockaddr *)&a, sizeof(a), 8));
	s = st_create(server, serves, (void *)(intptr_t)fd);
	for (int i = 0; i < CLIENTS; i++)
		st[i] = st_create(client, asks, (void *)(uintptr_t)ntohs(a.sin_port));
	for (int i = 0; i < CLIENTS; i++) {
		r = st_join(st[i]);
		ST_RETURNED(&r, 0);
	}
	r = st_join(s);
	ST_RETURNED(&r, 0);
	CHECK(accept(fd, NULL, NULL) == -1 && errno == EAGAIN); /* all came through, and no more */
	close(fd);
	sthread_policy_destroy(server);
	sthread_policy_destroy(client);
	st_others_live();
}

/* ---- numbers of others ---- */

ST_FN(watches_what_it_has_only)
{
	struct epoll_event e = { .events = EPOLLIN };
	int ep = epoll_create1(0), granted = (int)(intptr_t)arg, mine = eventfd(1, 0);

	CHECK(ep >= 0 && mine >= 0);
	for (int fd = 0; fd < 1024; fd++)
		if (fd != granted && fd != ep && fd != mine)
			CHECK_MSG(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == -1 && errno == EBADF, "number %d",
				  fd);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e) == -1 && errno == EINVAL);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, granted, &e) == -1 && errno == EPERM);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, mine, &e), 0);
	CHECK_EQ(epoll_wait(ep, &e, 1, -1), 1);
	CHECK_EQ(close(mine), 0);
	CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
	/* Rights do not grow by another number. */
	CHECK_EQ(dup2(granted, 40), 40);
	CHECK(read(40, &e, 8) == -1 && errno == EPERM);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, 40, &e) == -1 && errno == EPERM);
	CHECK_EQ(write(40, &(uint64_t){ 1 }, 8), 8);
	return NULL;
}

/* What a compartment leaves open, whatever its end, is gone. */
ST_FN(leaves_all_open)
{
	int fd[2], n = 0;

	while (pipe(fd) == 0)
		n++;
	CHECK_EQ(errno, EMFILE);
	CHECK_EQ(n, 32);
	if (arg)
		*(volatile int *)arg = 1;
	return NULL;
}

static unsigned open_files(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void numbers(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	int fd = eventfd(0, 0);
	struct sthread_result r;
	unsigned before = 0;

	st_grant(p, fd, STHREAD_FD_WRITE);
	ST_PASSES(p, watches_what_it_has_only, (intptr_t)fd);
	sthread_policy_destroy(p);
	close(fd);
	p = st_policy_all_calls();
	for (int i = 0; i < 4; i++) {
		r = st_call(p, leaves_all_open, NULL);
		ST_RETURNED(&r, 0);
		r = st_call(p, leaves_all_open, (void *)8);
		ST_END(&r, STHREAD_FAULTED);
		if (!i) /* with what the library keeps warm */
			before = open_files();
		CHECK_EQ(open_files(), before);
	}
	sthread_policy_destroy(p);
	st_others_live();
}

int main(void)
{
	st_init();
	st_others_live();
	addresses();
	numbers();
	server_and_clients();
	sthread_fini();
	return TEST_PASSED;
}
