// SPDX-License-Identifier: MIT
/*
 * Sockets that a compartment makes: to granted addresses and to no others, in any encoding; what it
 * accepts; whom it hears; several messages in one call.  World: host.
 */
#include <arpa/inet.h>
#include <asm/unistd.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define BUF  (FAKE_DATA + 8 * PAGE)
#define NAME (FAKE_DATA + 4 * PAGE)
#define LEN  (FAKE_DATA + 5 * PAGE)
#define IOV  (FAKE_DATA + 6 * PAGE)

static struct sockaddr_in loop(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int bound(int type, struct sockaddr_in *a)
{
	int fd = socket(AF_INET, type, 0);
	socklen_t len = sizeof(*a);

	*a = loop();
	CHECK_OK(bind(fd, (struct sockaddr *)a, len));
	CHECK_OK(getsockname(fd, (struct sockaddr *)a, &len));
	if (type == SOCK_STREAM)
		CHECK_OK(listen(fd, 8));
	return fd;
}

static long call_address(long nr, long fd, const void *a, size_t len)
{
	fake_put(NAME, a, len);
	return CALL(nr, (uint64_t)fd, NAME, len);
}

static void run_with(struct sthread_policy *p)
{
	fake_begin(p);
	sthread_policy_destroy(p);
}

static void kinds(void)
{
	static const int domains[] = { AF_UNSPEC, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG,
				       AF_BLUETOOTH, AF_RDS, -1, 1000 };
	static const int types[] = { 0, SOCK_RAW, SOCK_RDM, SOCK_DCCP, SOCK_PACKET, 15, 0x10, 1 << 30 };

	run_with(fake_policy_all());
	for (unsigned i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
		CHECK_ERR(CALL(__NR_socket, (uint64_t)domains[i], SOCK_DGRAM, 0), -EINVAL);
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		CHECK_ERR(CALL(__NR_socket, AF_INET, (uint64_t)types[i], 0), -EINVAL);
	CHECK_ERR(CALL(__NR_socket, AF_INET, SOCK_SEQPACKET, 0), -EPROTONOSUPPORT);
	CHECK_ERR(CALL(__NR_socket, AF_INET, SOCK_STREAM, 132 /* SCTP */), -EPROTONOSUPPORT);
	CHECK_ERR(CALL(__NR_socket, AF_INET, SOCK_STREAM, 262 /* MPTCP */), -EPROTONOSUPPORT);
	CHECK_ERR(CALL(__NR_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP), -EPROTONOSUPPORT);
	CHECK_ERR(CALL(__NR_socket, AF_UNIX, SOCK_STREAM, IPPROTO_TCP), -EPROTONOSUPPORT);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP), 0);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_DGRAM, IPPROTO_UDP), 1);
	CHECK_EQ(CALL(__NR_socket, AF_UNIX, SOCK_SEQPACKET, 0), 2);
	CHECK_ERR(CALL(__NR_socketpair, AF_INET, SOCK_STREAM, 0, BUF), -EINVAL);
	CHECK_OK(CALL(__NR_socketpair, AF_UNIX, SOCK_DGRAM, 0, BUF));
	CHECK_EQ(((int *)(void *)fake_host(BUF))[0], 3);
	CHECK_EQ(((int *)(void *)fake_host(BUF))[1], 4);
	CHECK_EQ(CALL(__NR_write, 3, BUF, 8), 8);
	CHECK_EQ(CALL(__NR_read, 4, BUF, 100), 8);
	/* A pair has no addresses. */
	CHECK_ERR(CALL(__NR_connect, 3, NAME, 16), -EPERM);
	CHECK_ERR(CALL(__NR_listen, 3, 1), -EPERM);
	for (unsigned i = 0; i < 5; i++)
		CHECK_GE(fake_ctx.fds.entry[i].obj->host, 512);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(fcntl(fake_ctx.fds.entry[i].obj->host, F_GETFD), FD_CLOEXEC);
	fake_end();
	CHECK_EQ(fd_objects(), 0);
}

/* Nothing is granted: nobody is reached. */
static void none(void)
{
	struct sockaddr_in a;
	int listener = bound(SOCK_STREAM, &a);
	struct sockaddr_in any = loop();

	run_with(fake_policy_all());
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_DGRAM, 0), 1);
	CHECK_ERR(call_address(__NR_connect, 0, &a, sizeof(a)), -EACCES);
	CHECK_ERR(call_address(__NR_connect, 1, &a, sizeof(a)), -EACCES);
	CHECK_ERR(call_address(__NR_bind, 0, &any, sizeof(any)), -EACCES);
	CHECK_ERR(CALL(__NR_sendto, 1, BUF, 1, 0, NAME, sizeof(a)), -EACCES);
	/* An address that the host would choose by itself. */
	CHECK_ERR(CALL(__NR_listen, 0, 5), -EACCES);
	fake_end();
	close(listener);
}

static void encodings(void)
{
	struct sockaddr_in a, b, bad;
	int good = bound(SOCK_STREAM, &a), other = bound(SOCK_STREAM, &b);
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = a.sin_port };
	struct sthread_policy *p = fake_policy_all();
	int peer;

	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&a, sizeof(a), STHREAD_EXACT));
	run_with(p);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(CALL(__NR_socket, AF_INET6, SOCK_STREAM, 0), 1);
	CHECK_ERR(call_address(__NR_connect, 0, &b, sizeof(b)), -EACCES);
	bad = a;
	bad.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	CHECK_ERR(call_address(__NR_connect, 0, &bad, sizeof(bad)), -EACCES);
	bad.sin_addr.s_addr = htonl(INADDR_ANY); /* which is the loopback, to Linux */
	CHECK_ERR(call_address(__NR_connect, 0, &bad, sizeof(bad)), -EACCES);
	bad = a;
	bad.sin_family = AF_UNSPEC;
	CHECK_ERR(call_address(__NR_connect, 0, &bad, sizeof(bad)), -EACCES);
	CHECK_ERR(call_address(__NR_bind, 0, &bad, sizeof(bad)), -EACCES);
	CHECK_ERR(call_address(__NR_bind, 0, &a, sizeof(a)), -EACCES); /* granted for the other use */
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &six.sin6_addr);
	CHECK_ERR(call_address(__NR_connect, 1, &six, sizeof(six)), -EACCES);
	inet_pton(AF_INET6, "::1", &six.sin6_addr);
	CHECK_ERR(call_address(__NR_connect, 1, &six, sizeof(six)), -EACCES);
	fake_put(NAME, &a, sizeof(a));
	for (uint64_t len = 0; len < sizeof(a); len++)
		CHECK_ERR(CALL(__NR_connect, 0, NAME, len), -EINVAL);
	CHECK_ERR(CALL(__NR_connect, 0, NAME, 129), -EINVAL);
	CHECK_ERR(CALL(__NR_connect, 0, NAME, UINT64_MAX), -EINVAL);
	CHECK_ERR(CALL(__NR_connect, 0, NAME, 1UL << 31), -EINVAL);
	CHECK_ERR(CALL(__NR_connect, 0, FAKE_NOTHING, sizeof(a)), -EFAULT);
	CHECK_ERR(CALL(__NR_connect, 7, NAME, sizeof(a)), -EBADF);
	/* The twin, with noise where nothing is meant. */
	memset(fake_host(NAME) + offsetof(struct sockaddr_in, sin_zero), 0xa5, 100);
	CHECK_OK(CALL(__NR_connect, 0, NAME, 100));
	peer = accept(good, NULL, NULL);
	CHECK_GE(peer, 0);
	fake_puts(BUF, "hello");
	CHECK_EQ(CALL(__NR_write, 0, BUF, 5), 5);
	CHECK_ERR(call_address(__NR_connect, 0, &a, sizeof(a)), -EISCONN);
	/* Loose again it could be used to listen. */
	CHECK_ERR(call_address(__NR_connect, 0, &bad, sizeof(bad)), -EACCES);
	CHECK_ERR(CALL(__NR_listen, 0, 5), -EACCES);
	fake_end();
	CHECK_EQ(fd_objects(), 0);
	fcntl(other, F_SETFL, O_NONBLOCK);
	CHECK_EQ(accept(other, NULL, NULL), -1);
	close(good);
	close(other);
	close(peer);
}

static void local(void)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX }, no;
	struct sthread_policy *p = fake_policy_all();
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t len = sizeof(u);

	CHECK_OK(bind(listener, (struct sockaddr *)&u, sizeof(sa_family_t))); /* an abstract name */
	CHECK_OK(listen(listener, 1));
	CHECK_OK(getsockname(listener, (struct sockaddr *)&u, &len));
	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&u, len, STHREAD_EXACT));
	run_with(p);
	CHECK_EQ(CALL(__NR_socket, AF_UNIX, SOCK_STREAM, 0), 0);
	fake_put(NAME, &u, sizeof(u));
	CHECK_ERR(CALL(__NR_connect, 0, NAME, len + 1), -EACCES);
	CHECK_ERR(CALL(__NR_connect, 0, NAME, len - 1), -EACCES);
	CHECK_ERR(CALL(__NR_connect, 0, NAME, 2), -EACCES);
	CHECK_ERR(CALL(__NR_bind, 0, NAME, 2), -EACCES); /* a name of the kernel's choice */
	no = u;
	no.sun_path[0] = 'x';
	CHECK_ERR(call_address(__NR_connect, 0, &no, len), -EACCES);
	no = (struct sockaddr_un){ AF_UNIX, "/run/nobody" };
	CHECK_ERR(call_address(__NR_connect, 0, &no, sizeof(no)), -EACCES);
	fake_put(NAME, &u, sizeof(u));
	CHECK_OK(CALL(__NR_connect, 0, NAME, len));
	fake_end();
	close(listener);
}

static void servers(void)
{
	struct sthread_policy *p = fake_policy_all();
	struct sockaddr_in any = loop(), a;
	socklen_t len = sizeof(a);
	uint32_t room = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0), v = 1;

	CHECK_OK(sthread_policy_bind(p, (struct sockaddr *)&any, sizeof(any), STHREAD_EXACT));
	run_with(p);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_STREAM, 0), 0);
	fake_put(BUF, &v, sizeof(v));
	CHECK_OK(CALL(__NR_setsockopt, 0, SOL_SOCKET, SO_REUSEADDR, BUF, 4));
	CHECK_ERR(CALL(__NR_setsockopt, 0, SOL_SOCKET, SO_REUSEPORT, BUF, 4), -ENOPROTOOPT);
	CHECK_ERR(CALL(__NR_listen, 0, 5), -EACCES);
	a = any;
	a.sin_addr.s_addr = 0;
	CHECK_ERR(call_address(__NR_bind, 0, &a, sizeof(a)), -EACCES);
	CHECK_OK(call_address(__NR_bind, 0, &any, sizeof(any)));
	CHECK_OK(CALL(__NR_listen, 0, 5));
	CHECK_OK(getsockname(fake_ctx.fds.entry[0].obj->host, (struct sockaddr *)&a, &len));
	CHECK_OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	fake_put(LEN, &room, sizeof(room));
	CHECK_EQ(CALL(__NR_accept4, 0, NAME, LEN, SOCK_NONBLOCK), 1);
	CHECK_EQ(*(uint32_t *)(void *)fake_host(LEN), sizeof(a));
	CHECK_OK(getsockname(fd, (struct sockaddr *)&a, &len));
	CHECK_MEM(fake_host(NAME), &a, sizeof(a));
	CHECK_EQ(send(fd, "ping", 4, 0), 4);
	CHECK_EQ(CALL(__NR_read, 1, BUF, 10), 4);
	/* A connection is no listener, and talks to nobody else. */
	CHECK_ERR(CALL(__NR_accept4, 1, 0, 0, 0), -EPERM);
	CHECK_ERR(CALL(__NR_connect, 1, NAME, sizeof(a)), -EPERM);
	CHECK_ERR(CALL(__NR_accept4, 0, 0, 0, SOCK_STREAM), -EINVAL);
	fake_end();
	close(fd);
}

/* A granted listener: what it accepts has no more rights than it, and counts. */
static void granted_listener(void)
{
	static const unsigned most = STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT | STHREAD_FD_POLL |
				     STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN | STHREAD_FD_FLAGS;
	struct sockaddr_in a;
	int listener = bound(SOCK_STREAM, &a);
	int client[3];

	fcntl(listener, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 3; i++) {
		client[i] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK_OK(connect(client[i], (struct sockaddr *)&a, sizeof(a)));
	}
	for (unsigned with = 0; with < 2; with++) {
		unsigned rights = with ? STHREAD_FD_ALL : STHREAD_FD_ACCEPT | STHREAD_FD_READ;
		struct sthread_policy *p = fake_policy_all();

		CHECK_OK(sthread_policy_fd(p, listener, rights));
		CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 2));
		run_with(p);
		if (!with) /* the peer's name is not to be seen */
			CHECK_ERR(CALL(__NR_accept, listener, NAME, fake_put(LEN, &(int){ 16 }, 4)), -EPERM);
		CHECK_EQ(CALL(__NR_accept, listener, 0, 0), 0);
		CHECK_EQ(fake_ctx.fds.entry[0].rights, rights & most);
		CHECK_ERR(CALL(__NR_accept, listener, 0, 0), -EMFILE);
		CHECK_ERR(CALL(__NR_socket, AF_INET, SOCK_STREAM, 0), -EMFILE);
		CHECK_ERR(CALL(__NR_listen, listener, 5), with ? -EACCES : -EPERM);
		if (!with)
			CHECK_ERR(CALL(__NR_write, 0, BUF, 1), -EPERM);
		else
			CHECK_EQ(CALL(__NR_write, 0, BUF, 1), 1);
	}
	CHECK_OK(CALL(__NR_close, 0));
	CHECK_EQ(CALL(__NR_accept, listener, 0, 0), 0); /* the third was not lost */
	CHECK_OK(CALL(__NR_close, 0));
	CHECK_ERR(CALL(__NR_accept, listener, 0, 0), -EAGAIN);
	fake_end();
	for (unsigned i = 0; i < 3; i++)
		close(client[i]);
	close(listener);
}

static uint64_t put_messages(unsigned n, const void *name, socklen_t name_len)
{
	for (unsigned i = 0; i < n; i++) {
		struct iovec iov = { (void *)(BUF + i * 16), i + 1 };
		struct mmsghdr m = { .msg_hdr = { .msg_iov = (void *)(IOV + i * 16), .msg_iovlen = 1 },
				     .msg_len = 99 };

		if (name) {
			m.msg_hdr.msg_name = (void *)fake_put(NAME, name, name_len);
			m.msg_hdr.msg_namelen = name_len;
		}
		fake_put(IOV + i * 16, &iov, sizeof(iov));
		fake_put(FAKE_DATA + i * sizeof(m), &m, sizeof(m));
	}
	return FAKE_DATA;
}

static unsigned length(unsigned i)
{
	struct mmsghdr m;

	memcpy(&m, fake_host(FAKE_DATA + i * sizeof(m)), sizeof(m));
	return m.msg_len;
}

static void datagrams(void)
{
	struct sthread_policy *p = fake_policy_all();
	struct sockaddr_in friend, stranger;
	int to = bound(SOCK_DGRAM, &friend), no = bound(SOCK_DGRAM, &stranger);
	char got[16];

	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&friend, sizeof(friend), 32));
	run_with(p);
	CHECK_EQ(CALL(__NR_socket, AF_INET, SOCK_DGRAM, 0), 0);
	fake_put(NAME, &stranger, sizeof(stranger));
	CHECK_ERR(CALL(__NR_sendto, 0, BUF, 1, 0, NAME, sizeof(stranger)), -EACCES);
	CHECK_ERR(CALL(__NR_sendmmsg, 0, put_messages(3, &stranger, sizeof(stranger)), 3, 0), -EACCES);
	fake_put(NAME, &friend, sizeof(friend));
	CHECK_EQ(CALL(__NR_sendto, 0, BUF, 1, 0, NAME, sizeof(friend)), 1);
	CHECK_ERR(CALL(__NR_sendto, 0, BUF, 1, 0, NAME, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_sendto, 0, BUF, 1, 0, FAKE_NOTHING, 16), -EFAULT);
	CHECK_EQ(recv(to, got, sizeof(got), 0), 1);
	fake_puts(BUF + 16, "ab");
	CHECK_EQ(CALL(__NR_sendmmsg, 0, put_messages(3, &friend, sizeof(friend)), 3, 0), 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(length(i), i + 1);
		CHECK_EQ(recv(to, got, sizeof(got), MSG_DONTWAIT), (ssize_t)i + 1);
	}
	CHECK_EQ(recv(no, got, sizeof(got), MSG_DONTWAIT), -1);
	/* A bad one after a good one: what was done is said. */
	put_messages(3, &friend, sizeof(friend));
	fake_put(IOV + 16, &(struct iovec){ (void *)FAKE_NOTHING, 1 }, 16);
	CHECK_EQ(CALL(__NR_sendmmsg, 0, FAKE_DATA, 3, 0), 1);
	CHECK_EQ(length(1), 99);
	CHECK_EQ(recv(to, got, sizeof(got), MSG_DONTWAIT), 1);
	CHECK_EQ(CALL(__NR_sendmmsg, 0, FAKE_DATA, 0, 0), 0);
	CHECK_ERR(CALL(__NR_sendmmsg, 0, FAKE_DATA + FAKE_DATA_PAGES * PAGE - 64, 2, 0), -EFAULT);
	fake_end();

	/* And back: two are there, three are asked for. */
	p = fake_policy_all();
	CHECK_OK(sthread_policy_fd(p, to, STHREAD_FD_READ));
	run_with(p);
	for (unsigned i = 0; i < 2; i++)
		CHECK_EQ(sendto(no, "xyz", 3, 0, (struct sockaddr *)&friend, sizeof(friend)), 3);
	CHECK_ERR(CALL(__NR_recvmmsg, to, put_messages(3, &friend, sizeof(friend)), 3, 0, 0), -EPERM);
	CHECK_ERR(CALL(__NR_recvmmsg, to, put_messages(3, NULL, 0), 3, 0, FAKE_DATA), -EINVAL);
	CHECK_EQ(CALL(__NR_recvmmsg, to, put_messages(3, NULL, 0), 3, MSG_WAITFORONE, 0), 2);
	CHECK_EQ(length(0), 1);
	CHECK_EQ(length(1), 2);
	CHECK_EQ(length(2), 99);
	CHECK_MEM(fake_host(BUF + 16), "xy", 2);
	fake_end();
	close(to);
	close(no);
}

/* Each call has rules and an action of its own, also one that does what another does, several times. */
static void own_rules(void)
{
	static const struct {
		long one, many;
	} calls[] = { { __NR_sendmsg, __NR_sendmmsg }, { __NR_recvmsg, __NR_recvmmsg } };
	int pair[2];

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned ruled = 0; ruled < 3; ruled++) { /* one, many, both */
			struct sthread_policy *p = fake_policy_all();
			long one, many;

			CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
			CHECK_OK(sthread_policy_fd(p, pair[0], STHREAD_FD_READ | STHREAD_FD_WRITE));
			if (ruled != 1)
				CHECK_OK(sthread_policy_syscall_arg(p, calls[i].one, 2, MSG_DONTWAIT, 0));
			if (ruled != 0)
				CHECK_OK(sthread_policy_syscall_arg(p, calls[i].many, 3, MSG_DONTWAIT, 0));
			run_with(p);
			for (unsigned n = 0; n < 4; n++)
				CHECK_EQ(send(pair[1], "x", 1, 0), 1);
			one = CALL(calls[i].one, pair[0], put_messages(1, NULL, 0), MSG_DONTWAIT);
			many = CALL(calls[i].many, pair[0], put_messages(1, NULL, 0), 1, MSG_DONTWAIT, 0);
			CHECK_EQ(one, ruled != 1 ? -EPERM : 1);
			CHECK_EQ(many, ruled != 0 ? -EPERM : 1);
			CHECK_EQ(CALL(calls[i].one, pair[0], put_messages(1, NULL, 0), 0), 1);
			CHECK_EQ(CALL(calls[i].many, pair[0], put_messages(1, NULL, 0), 1, 0, 0), 1);
			fake_end();
			/* And what is not allowed at all leaves the other. */
			p = fake_policy_all();
			CHECK_OK(sthread_policy_fd(p, pair[0], STHREAD_FD_READ | STHREAD_FD_WRITE));
			CHECK_OK(sthread_policy_syscall(p, calls[i].one, STHREAD_DENY_KILL));
			run_with(p);
			CHECK_EQ(CALL(calls[i].many, pair[0], put_messages(1, NULL, 0), 1, 0, 0), 1);
			CHECK_EQ(CALL_ENDS(calls[i].one, pair[0], put_messages(1, NULL, 0), 0), STHREAD_DENIED);
			fake_end();
			close(pair[0]);
			close(pair[1]);
		}
	}
}

/*
 * Whom a socket hears: with every prefix, and with one bit of it wrong; in a policy that is full, so that the program
 * is as long as it can be.
 */
static void heard(int domain, unsigned bits)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a[2] = { { .any.sa_family = (sa_family_t)domain }, { .any.sa_family = (sa_family_t)domain } }, rule, from;
	socklen_t len = domain == AF_INET ? sizeof(a->in) : sizeof(a->in6), n;
	unsigned char *byte = domain == AF_INET ? (void *)&rule.in.sin_addr : (void *)&rule.in6.sin6_addr;
	int fd[2];

	for (int i = 0; i < 2; i++) {
		if (domain == AF_INET)
			a[i].in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		else
			a[i].in6.sin6_addr = in6addr_loopback;
		fd[i] = socket(domain, SOCK_DGRAM, 0);
		if (fd[i] < 0 || bind(fd[i], &a[i].any, len)) {
			CHECK_EQ(domain, AF_INET6);
			NOTE("no IPv6 here");
			return;
		}
		n = sizeof(a[i]);
		CHECK_OK(getsockname(fd[i], &a[i].any, &n));
	}
	for (unsigned prefix = 0; prefix <= bits; prefix++) {
		for (int wrong = 0; wrong <= (prefix > 0); wrong++) {
			struct sthread_policy *p = fake_policy_all();

			rule = a[1];
			if (wrong)
				byte[(prefix - 1) / 8] ^= (unsigned char)(0x80 >> (prefix - 1) % 8);
			CHECK_OK(sthread_policy_bind(p, &a[1].any, len, 0)); /* another use */
			for (int i = 0; i < POLICY_ADDRESSES - 2; i++)
				CHECK_OK(sthread_policy_connect(p, &a[0].any, len, (int)bits));
			CHECK_OK(sthread_policy_connect(p, &rule.any, len, (int)prefix));
			run_with(p);
			CHECK_EQ(CALL(__NR_socket, domain, SOCK_DGRAM, 0), 0);
			fake_put(NAME, &a[0], len);
			CHECK_EQ(CALL(__NR_sendto, 0, BUF, 1, 0, NAME, len), 1);
			n = sizeof(from);
			CHECK_EQ(recvfrom(fd[0], &from, 0, 0, &from.any, &n), 0);
			CHECK_EQ(sendto(fd[1], "one", 3, 0, &from.any, n), 3);
			CHECK_EQ(sendto(fd[0], "to", 2, 0, &from.any, n), 2);
			if (!wrong)
				CHECK_EQ(CALL(__NR_recvfrom, 0, BUF, 9, MSG_DONTWAIT, 0, 0), 3);
			CHECK_EQ(CALL(__NR_recvfrom, 0, BUF, 9, MSG_DONTWAIT, 0, 0), 2);
			CHECK_ERR(CALL(__NR_recvfrom, 0, BUF, 9, MSG_DONTWAIT, 0, 0), -EAGAIN);
			fake_end();
		}
	}
	close(fd[0]);
	close(fd[1]);
}

/* The grants themselves. */
static void grants(void)
{
	struct sthread_policy *p = fake_policy_all();
	struct sockaddr_in a = loop();
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_un u = { AF_UNIX, "relative" };
	const struct sockaddr *any = (struct sockaddr *)&a;

	CHECK_ERR(sthread_policy_connect(NULL, any, sizeof(a), 0), -EINVAL);
	CHECK_ERR(sthread_policy_connect(p, NULL, sizeof(a), 0), -EINVAL);
	CHECK_ERR(sthread_policy_connect(p, any, sizeof(a) - 1, 0), -EINVAL);
	CHECK_ERR(sthread_policy_connect(p, any, sizeof(a), 33), -EINVAL);
	CHECK_ERR(sthread_policy_connect(p, any, sizeof(a), -2), -EINVAL);
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &six.sin6_addr);
	CHECK_ERR(sthread_policy_bind(p, (struct sockaddr *)&six, sizeof(six), 128), -EINVAL);
	CHECK_ERR(sthread_policy_bind(p, (struct sockaddr *)&u, sizeof(u), STHREAD_EXACT), -EINVAL);
	u.sun_path[0] = '/';
	CHECK_ERR(sthread_policy_bind(p, (struct sockaddr *)&u, sizeof(u), 0), -EINVAL);
	CHECK_OK(sthread_policy_bind(p, (struct sockaddr *)&u, sizeof(u), STHREAD_EXACT));
	a.sin_family = AF_UNSPEC;
	CHECK_ERR(sthread_policy_connect(p, any, sizeof(a), 0), -EINVAL);
	a.sin_family = AF_INET;
	for (unsigned i = 1; i < POLICY_ADDRESSES; i++)
		CHECK_OK(sthread_policy_connect(p, any, sizeof(a), 32));
	CHECK_ERR(sthread_policy_connect(p, any, sizeof(a), 32), -ENOSPC);
	fake_inside(true);
	CHECK_ERR(sthread_policy_connect(p, any, sizeof(a), 32), -EINTR);
	CHECK_ERR(sthread_policy_bind(p, any, sizeof(a), 32), -EINTR);
	fake_inside(false);
	sthread_policy_destroy(p);
}

int main(void)
{
	fake_reset();
	kinds();
	none();
	encodings();
	local();
	servers();
	granted_listener();
	datagrams();
	own_rules();
	heard(AF_INET, 32);
	heard(AF_INET6, 128);
	grants();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
