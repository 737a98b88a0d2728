// SPDX-License-Identifier: MIT
/*
 * Granted sockets: data in both directions, no addresses or ancillary data out, no descriptors in,
 * listed options. World: host.
 */
#include <asm/unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define BUF  (FAKE_DATA + 8 * PAGE)
#define MSG  FAKE_DATA
#define IOV  (FAKE_DATA + 256)
#define NAME (FAKE_DATA + 4 * PAGE)

static void with(int fd, unsigned rights)
{
	struct sthread_policy *p = fake_policy_all();

	CHECK_OK(sthread_policy_fd(p, fd, rights));
	fake_begin(p);
	sthread_policy_destroy(p);
}

static uint64_t put_msg(struct msghdr m, size_t len)
{
	struct iovec iov = { (void *)BUF, len };

	fake_put(IOV, &iov, sizeof(iov));
	m.msg_iov = (void *)IOV;
	m.msg_iovlen = 1;
	return fake_put(MSG, &m, sizeof(m));
}

static void data(void)
{
	int s[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	with(s[0], STHREAD_FD_READ | STHREAD_FD_WRITE);
	fake_puts(BUF, "hello");
	CHECK_EQ(CALL(__NR_sendto, s[0], BUF, 5, 0, 0, 0), 5);
	CHECK_EQ(CALL(__NR_write, s[0], BUF, 5), 5);
	CHECK_EQ(CALL(__NR_sendmsg, s[0], put_msg((struct msghdr){ 0 }, 5), 0), 5);
	CHECK_EQ(send(s[1], "0123456789", 10, 0), 10);
	CHECK_EQ(CALL(__NR_recvfrom, s[0], FAKE_COW, 4, MSG_PEEK, 0, 0), 4);
	CHECK_EQ(CALL(__NR_recvfrom, s[0], FAKE_COW, 4, 0, 0, 0), 4);
	CHECK_MEM(fake_host(FAKE_COW), "0123", 4);
	CHECK_EQ(*fake_template(FAKE_COW), 0xcc);
	CHECK_EQ(CALL(__NR_read, s[0], BUF, 2), 2);
	CHECK_EQ(CALL(__NR_recvmsg, s[0], put_msg((struct msghdr){ 0 }, 100), 0), 4);
	CHECK_MEM(fake_host(BUF), "6789", 4);
	CHECK_ERR(CALL(__NR_recvfrom, s[0], BUF, 4, MSG_DONTWAIT, 0, 0), -EAGAIN);
	/* An address of its own choice, null or not there. */
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 5, 0, NAME, 16), -EACCES);
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 5, 0, FAKE_NOTHING, 0), -EACCES);
	CHECK_ERR(CALL(__NR_sendmsg, s[0],
		       put_msg((struct msghdr){ .msg_name = (void *)NAME, .msg_namelen = 4 }, 5),
		       0),
		  -EACCES);
	/* Flags that keep pages, send out of band, or are unknown. */
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 5, MSG_ZEROCOPY, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 5, MSG_OOB, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 5, MSG_FASTOPEN, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_recvfrom, s[0], BUF, 5, MSG_ERRQUEUE, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 5, 1 << 30, 0, 0), -EINVAL);
	fake_begin(NULL);
	close(s[0]);
	close(s[1]);
}

static void shown(int sig)
{
	FAIL("signal %d in the master", sig);
}

static void closed_peer(void)
{
	int s[2];

	signal(SIGPIPE, shown);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	close(s[1]);
	with(s[0], STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_write, s[0], BUF, 1), -EPIPE);
	CHECK_ERR(CALL(__NR_sendto, s[0], BUF, 1, 0, 0, 0), -EPIPE);
	CHECK_ERR(CALL(__NR_sendmsg, s[0], put_msg((struct msghdr){ 0 }, 1), 0), -EPIPE);
	CHECK_EQ(CALL(__NR_read, s[0], BUF, 1), 0);
	fake_begin(NULL);
	close(s[0]);
}

static void send_descriptor(int to, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec iov = { (void *)"x", 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(to, &m, 0), 1);
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void ancillary(void)
{
	struct msghdr m = { .msg_control = (void *)NAME, .msg_controllen = 64 };
	struct msghdr back;
	unsigned before;
	int s[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	with(s[0], STHREAD_FD_ALL);
	/* Out: refused, whatever it says. */
	CHECK_ERR(CALL(__NR_sendmsg, s[0], put_msg(m, 1), 0), -EINVAL);
	m.msg_controllen = SIZE_MAX;
	CHECK_ERR(CALL(__NR_sendmsg, s[0], put_msg(m, 1), 0), -EINVAL);
	m.msg_controllen = 0; /* none, with a stale pointer */
	CHECK_EQ(CALL(__NR_sendmsg, s[0], put_msg(m, 1), 0), 1);
	/* In: the data arrives, the descriptor does not, neither there nor here. */
	before = open_descriptors();
	for (int room = 0; room < 2; room++) {
		send_descriptor(s[1], 0);
		m.msg_controllen = room ? 64 : 0;
		CHECK_EQ(CALL(__NR_recvmsg, s[0], put_msg(m, 10), 0), 1);
		memcpy(&back, fake_host(MSG), sizeof(back));
		CHECK_EQ(back.msg_controllen, 0);
		CHECK(back.msg_flags & MSG_CTRUNC);
		CHECK_EQ(*fake_host(NAME), 0);
		CHECK_EQ(open_descriptors(), before);
	}
	fake_begin(NULL);
	close(s[0]);
	close(s[1]);
}

/* Messages: whole or not at all; the sender's name with the right only. */
static void messages(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0sthread-test-a" };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), peer = socket(AF_UNIX, SOCK_DGRAM, 0);
	socklen_t len = sizeof(a.sun_family) + 15 + 1;
	struct msghdr back;
	uint32_t room = 6;

	snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "sthread-%d", getpid());
	CHECK_OK(bind(peer, (struct sockaddr *)&a, len));
	CHECK_OK(connect(fd, (struct sockaddr *)&a, len));
	with(fd, STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_write, fd, FAKE_DATA, (UACCESS_PAGES + 1) * PAGE),
		  -EMSGSIZE); /* never a part */
	CHECK_ERR(CALL(__NR_sendto, fd, FAKE_DATA, (UACCESS_PAGES + 1) * PAGE, 0, 0, 0), -EMSGSIZE);
	CHECK_ERR(CALL(__NR_sendmsg, fd, put_msg((struct msghdr){ 0 }, 1UL << 30), 0), -EMSGSIZE);
	CHECK_EQ(CALL(__NR_write, fd, BUF, 0), 0); /* an empty message is one */
	CHECK_EQ(recv(peer, &room, 1, 0), 0);
	close(fd);

	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	a.sun_path[1] = 'S';
	CHECK_OK(bind(fd, (struct sockaddr *)&a, len));
	CHECK_OK(connect(peer, (struct sockaddr *)&a, len));
	CHECK_EQ(send(peer, "abcdef", 6, 0), 6);
	CHECK_EQ(send(peer, "abcdef", 6, 0), 6);
	with(fd, STHREAD_FD_READ);
	room = 6;
	fake_put(MSG, &room, sizeof(room));
	CHECK_ERR(CALL(__NR_recvfrom, fd, BUF, 10, 0, NAME, MSG), -EPERM);
	CHECK_ERR(CALL(__NR_recvmsg, fd,
		       put_msg((struct msghdr){ .msg_name = (void *)NAME, .msg_namelen = 9 }, 10),
		       0),
		  -EPERM);
	with(fd, STHREAD_FD_READ | STHREAD_FD_STAT);
	memset(fake_host(NAME), 0xee, 200);
	fake_put(MSG, &room, sizeof(room));
	CHECK_EQ(CALL(__NR_recvfrom, fd, BUF, 3, MSG_TRUNC, NAME, MSG), 6);
	CHECK_EQ(*(uint32_t *)(void *)fake_host(MSG), len); /* what it would have been */
	CHECK_EQ(fake_host(NAME)[0], AF_UNIX);
	CHECK_EQ(fake_host(NAME)[5], 'h');  /* \0st[h]read */
	CHECK_EQ(fake_host(NAME)[6], 0xee); /* six bytes and no more */
	CHECK_EQ(CALL(__NR_recvmsg, fd,
		      put_msg((struct msghdr){ .msg_name = (void *)NAME, .msg_namelen = 200 }, 3),
		      0),
		 3);
	memcpy(&back, fake_host(MSG), sizeof(back));
	CHECK_EQ(back.msg_namelen, len);
	CHECK(back.msg_flags & MSG_TRUNC);
	CHECK_EQ(fake_host(NAME)[len], 0xee);
	/* Hostile lengths of the name. */
	room = UINT32_MAX;
	fake_put(MSG, &room, sizeof(room));
	CHECK_ERR(CALL(__NR_recvfrom, fd, BUF, 3, MSG_DONTWAIT, NAME, MSG), -EINVAL);
	CHECK_ERR(CALL(__NR_recvfrom, fd, BUF, 3, MSG_DONTWAIT, NAME, FAKE_RO), -EFAULT);
	CHECK_ERR(CALL(__NR_recvfrom, fd, BUF, 3, MSG_DONTWAIT, FAKE_RO, FAKE_DATA), -EINVAL);
	CHECK_ERR(
		CALL(__NR_recvmsg, fd,
		     put_msg((struct msghdr){ .msg_name = (void *)NAME, .msg_namelen = UINT32_MAX },
			     3),
		     MSG_DONTWAIT),
		-EINVAL);
	CHECK_ERR(CALL(__NR_recvmsg, fd,
		       put_msg((struct msghdr){ .msg_name = (void *)FAKE_RO, .msg_namelen = 9 }, 3),
		       MSG_DONTWAIT),
		  -EFAULT);
	fake_begin(NULL);
	close(fd);
	close(peer);
}

/* Nor received in part, when it is the library that would cut it: it stays for the next call. */
static void whole_messages(void)
{
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	struct msghdr m = { .msg_iov = (void *)FAKE_DATA, .msg_iovlen = 100 };
	const uint64_t at = FAKE_DATA + 20 * PAGE;
	struct iovec iov[100];
	char text[100] = { 0 };
	int s[2];

	for (unsigned i = 0; i < 100; i++)
		iov[i] = (struct iovec){ (void *)(BUF + 3 * i), 1 };
	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(socketpair(AF_UNIX, types[i], 0, s));
		with(s[0], STHREAD_FD_ALL);
		fake_put(FAKE_DATA, iov, sizeof(iov));
		fake_put(at, &m, sizeof(m));
		CHECK_EQ(write(s[1], text, 100), 100);
		CHECK_ERR(CALL(__NR_readv, s[0], FAKE_DATA, 100), -EMSGSIZE);
		CHECK_ERR(CALL(__NR_recvmsg, s[0], at, MSG_DONTWAIT), -EMSGSIZE);
		CHECK_ERR(CALL(__NR_read, s[0], FAKE_DATA, (UACCESS_PAGES + 1) * PAGE), -EMSGSIZE);
		CHECK_ERR(CALL(__NR_recvfrom, s[0], FAKE_DATA, (UACCESS_PAGES + 1) * PAGE, 0, 0, 0),
			  -EMSGSIZE);
		CHECK_EQ(CALL(__NR_readv, s[0], FAKE_DATA, 2), 2); /* cut by who asks: as ever */
		CHECK_EQ(write(s[1], text, 100), 100);
		CHECK_EQ(CALL(__NR_read, s[0], BUF, 200), 100);
		fake_begin(NULL);
		close(s[0]);
		close(s[1]);
	}
	/* A stream goes on with the rest. */
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	with(s[0], STHREAD_FD_ALL);
	fake_put(FAKE_DATA, iov, sizeof(iov));
	CHECK_EQ(write(s[1], text, 100), 100);
	CHECK_EQ(CALL(__NR_readv, s[0], FAKE_DATA, 100), UACCESS_PAGES);
	CHECK_EQ(CALL(__NR_readv, s[0], FAKE_DATA, 100), 100 - UACCESS_PAGES);
	fake_begin(NULL);
	close(s[0]);
	close(s[1]);
}

static void vectors(void)
{
	struct msghdr m = { .msg_iov = (void *)IOV, .msg_iovlen = IOV_MAX + 1 };
	int s[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	with(s[0], STHREAD_FD_ALL);
	CHECK_ERR(CALL(__NR_sendmsg, s[0], fake_put(MSG, &m, sizeof(m)), 0), -EMSGSIZE);
	m.msg_iovlen = SIZE_MAX;
	CHECK_ERR(CALL(__NR_recvmsg, s[0], fake_put(MSG, &m, sizeof(m)), 0), -EMSGSIZE);
	m.msg_iovlen = 1;
	m.msg_iov = (void *)FAKE_NOTHING;
	CHECK_ERR(CALL(__NR_sendmsg, s[0], fake_put(MSG, &m, sizeof(m)), 0), -EFAULT);
	/* The header of a received message is written back: it must be writable. */
	CHECK_ERR(CALL(__NR_recvmsg, s[0], FAKE_RO, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_recvmsg, s[0], FAKE_DATA + FAKE_DATA_PAGES * PAGE - 8, 0), -EFAULT);
	fake_begin(NULL);
	close(s[0]);
	close(s[1]);
}

static long get(int fd, int level, int name, uint32_t room)
{
	fake_put(MSG, &room, sizeof(room));
	return CALL(__NR_getsockopt, fd, level, name, FAKE_COW, MSG);
}

static long set_int(int fd, int level, int name, int v, unsigned len)
{
	fake_put(NAME, &v, sizeof(v));
	return CALL(__NR_setsockopt, fd, level, name, NAME, len);
}

static void options(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), v;
	socklen_t len = sizeof(v);
	struct timeval t = { 5, 0 };

	with(fd, STHREAD_FD_SOCKOPT);
	CHECK_OK(get(fd, SOL_SOCKET, SO_TYPE, 4));
	memcpy(&v, fake_host(FAKE_COW), sizeof(v));
	CHECK_EQ(v, SOCK_STREAM);
	CHECK_EQ(*fake_template(FAKE_COW), 0xcc);
	fake_reset();
	CHECK_OK(get(fd, SOL_SOCKET, SO_TYPE, 2)); /* two bytes and no more */
	CHECK_EQ(fake_host(FAKE_COW)[2], 0xcc);
	CHECK_OK(get(fd, SOL_SOCKET, SO_TYPE, 4000));
	CHECK_EQ(*(uint32_t *)(void *)fake_host(MSG), 4);
	CHECK_ERR(get(fd, SOL_SOCKET, SO_TYPE, UINT32_MAX), -EINVAL);
	CHECK_ERR(get(fd, SOL_SOCKET, SO_PEERCRED, 12), -ENOPROTOOPT);
	CHECK_ERR(get(fd, SOL_SOCKET, 9999, 4), -ENOPROTOOPT);
	CHECK_ERR(get(fd, 9999, SO_TYPE, 4), -ENOPROTOOPT);
	CHECK_OK(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, 4));
	CHECK_OK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, &len));
	CHECK_EQ(v, 1);
	CHECK_ERR(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, 3), -EINVAL);
	CHECK_ERR(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, 17), -EINVAL);
	CHECK_ERR(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, UINT32_MAX), -EINVAL);
	CHECK_ERR(set_int(fd, SOL_SOCKET, SO_RCVBUF, 1, 4), -EPERM); /* to read only */
	CHECK_ERR(set_int(fd, SOL_SOCKET, SO_MARK, 1, 4), -ENOPROTOOPT);
	CHECK_ERR(set_int(fd, SOL_SOCKET, SO_BINDTODEVICE, 1, 4), -ENOPROTOOPT);
	CHECK_ERR(set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1, 4), -ENOPROTOOPT);
	CHECK_ERR(set_int(fd, SOL_SOCKET, SO_ATTACH_FILTER, 1, 4), -ENOPROTOOPT);
	fake_put(NAME, &t, sizeof(t));
	CHECK_ERR(CALL(__NR_setsockopt, fd, SOL_SOCKET, SO_LINGER, NAME, 8), -EPERM);
	CHECK_OK(CALL(__NR_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, NAME, sizeof(t)));
	with(fd, STHREAD_FD_ALL & ~STHREAD_FD_SOCKOPT);
	CHECK_ERR(get(fd, SOL_SOCKET, SO_TYPE, 4), -EPERM);
	CHECK_ERR(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, 4), -EPERM);
	fake_begin(NULL);
	close(fd);
}

/* The numbers of TCP's options on what is not TCP. */
static void other_levels(void)
{
	int s[2], udp = socket(AF_INET, SOCK_DGRAM, 0), v = 1;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	with(udp, STHREAD_FD_SOCKOPT);
	CHECK_ERR(set_int(udp, IPPROTO_TCP, TCP_NODELAY, 1, 4), -ENOPROTOOPT);
	CHECK_ERR(get(udp, IPPROTO_TCP, TCP_NODELAY, 4), -ENOPROTOOPT);
	CHECK_OK(set_int(udp, SOL_SOCKET, SO_RCVLOWAT, 1, 4));
	with(s[0], STHREAD_FD_SOCKOPT);
	CHECK_ERR(set_int(s[0], IPPROTO_TCP, TCP_NODELAY, 1, 4), -ENOPROTOOPT);
	CHECK_ERR(get(s[0], IPPROTO_TCP, TCP_MAXSEG, 4), -ENOPROTOOPT);
	close(s[0]);
	close(s[1]);
	CHECK_OK(pipe(s));
	with(s[0], STHREAD_FD_SOCKOPT);
	CHECK_ERR(get(s[0], IPPROTO_TCP, TCP_NODELAY, 4), -ENOTSOCK);
	CHECK_ERR(get(s[0], SOL_SOCKET, SO_TYPE, 4), -ENOTSOCK);
	fake_begin(NULL);
	close(s[0]);
	close(s[1]);
	close(udp);
	udp = socket(AF_INET6, SOCK_STREAM, 0);
	if (udp < 0)
		return;
	with(udp, STHREAD_FD_SOCKOPT);
	CHECK_OK(set_int(udp, IPPROTO_TCP, TCP_NODELAY, v, 4));
	fake_begin(NULL);
	close(udp);
}

static void names_and_shutdown(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), peer;
	socklen_t len = sizeof(a);
	uint32_t room = 100;
	char byte;

	CHECK_OK(bind(listener, (struct sockaddr *)&a, len));
	CHECK_OK(listen(listener, 1));
	CHECK_OK(getsockname(listener, (struct sockaddr *)&a, &len));
	CHECK_OK(connect(fd, (struct sockaddr *)&a, len));
	peer = accept(listener, NULL, NULL);
	with(fd, STHREAD_FD_STAT | STHREAD_FD_SHUTDOWN);
	fake_put(MSG, &room, sizeof(room));
	CHECK_OK(CALL(__NR_getpeername, fd, NAME, MSG));
	CHECK_EQ(*(uint32_t *)(void *)fake_host(MSG), len);
	CHECK_MEM(fake_host(NAME), &a, len);
	CHECK_OK(CALL(__NR_getsockname, fd, NAME, MSG));
	CHECK_ERR(CALL(__NR_getsockname, fd, FAKE_RO, MSG), -EFAULT);
	CHECK_ERR(CALL(__NR_shutdown, fd, 3), -EINVAL);
	CHECK_ERR(CALL(__NR_shutdown, fd, -1), -EINVAL);
	CHECK_OK(CALL(__NR_shutdown, fd, SHUT_WR));
	CHECK_EQ(recv(peer, &byte, 1, 0), 0);
	fake_begin(NULL);
	close(listener);
	close(fd);
	close(peer);
}

int main(void)
{
	fake_reset();
	data();
	closed_peer();
	ancillary();
	messages();
	whole_messages();
	vectors();
	options();
	other_levels();
	names_and_shutdown();
	fake_end();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
