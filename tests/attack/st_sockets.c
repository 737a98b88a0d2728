/* SPDX-License-Identifier: MIT */
/*
 * Sockets: talk to the granted peer, and nothing else: no descriptors by message, no other addresses, listed options
 * only, each right by itself.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static char control[256];

ST_FN(talks)
{
	int fd = (int)(intptr_t)arg, type = 0;
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	struct iovec iov = { (char *)"hello", 5 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	char buf[16];

	CHECK_EQ(send(fd, "hello", 5, 0), 5);
	CHECK_EQ(sendmsg(fd, &msg, MSG_NOSIGNAL), 5);
	CHECK_EQ(recv(fd, buf, sizeof(buf), 0), 3);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	len = sizeof(addr);
	CHECK_EQ(getpeername(fd, (struct sockaddr *)&addr, &len), 0);
	len = sizeof(type);
	CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len), 0);
	CHECK_EQ(type, SOCK_STREAM);
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int)), 0);
	CHECK_EQ(shutdown(fd, SHUT_WR), 0);
	return NULL;
}

/* The same with no right but one to something else. */
ST_FN(may_nothing)
{
	int fd = (int)(intptr_t)arg, type;
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char buf[16];

	CHECK(send(fd, "x", 1, 0) == -1 && errno == EPERM);
	CHECK(recv(fd, buf, 1, MSG_DONTWAIT) == -1 && errno == EPERM);
	CHECK(getsockname(fd, (struct sockaddr *)&addr, &len) == -1 && errno == EPERM);
	CHECK(getpeername(fd, (struct sockaddr *)&addr, &len) == -1 && errno == EPERM);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1 && errno == EPERM);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, 4) == -1 && errno == EPERM);
	CHECK(shutdown(fd, SHUT_RDWR) == -1 && errno == EPERM);
	return NULL;
}

ST_FN(sends_descriptors)
{
	int fd = (int)(intptr_t)arg;
	struct iovec iov = { (char *)"x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	for (int target = 0; target < 600; target++) {
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
				       .cmsg_level = SOL_SOCKET,
				       .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(c), &target, sizeof(target));
		CHECK(sendmsg(fd, &msg, 0) == -1 && errno == EINVAL);
		if (target > 8)
			target += 31;
	}
	c->cmsg_type = SCM_CREDENTIALS;
	CHECK(sendmsg(fd, &msg, 0) == -1 && errno == EINVAL);
	return NULL;
}

/* A message came with a descriptor: the bytes arrive. */
ST_FN(receives_descriptors)
{
	int fd = (int)(intptr_t)arg;
	char buf[8];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};

	memset(control, 0x55, sizeof(control));
	CHECK_EQ(recvmsg(fd, &msg, 0), 4);
	CHECK_EQ(msg.msg_controllen, 0u);
	CHECK(msg.msg_flags & MSG_CTRUNC);
	for (unsigned i = 0; i < sizeof(control); i++)
		CHECK_EQ(control[i], 0x55);
	for (int i = 0; i < 1024; i++)
		CHECK(i == fd || (fcntl(i, F_GETFL) == -1 && errno == EBADF));
	return NULL;
}

/* arg: a datagram socket << 16 | a port on this machine. */
ST_FN(sends_elsewhere)
{
	int fd = (int)((uintptr_t)arg >> 16);
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)(uintptr_t)arg),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct iovec iov = { (char *)"x", 1 };
	struct msghdr msg = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1
	};

	CHECK(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) == -1 && errno == EACCES);
	CHECK(sendmsg(fd, &msg, 0) == -1 && errno == EACCES);
	CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == -1 && errno == EACCES);
	CHECK(send(fd, "x", 1, MSG_OOB) == -1 && errno == EINVAL);
	CHECK(send(fd, "x", 1, MSG_FASTOPEN) == -1 && errno == EINVAL);
	CHECK(send(fd, "x", 1, MSG_ZEROCOPY) == -1 && errno == EINVAL);
	CHECK_EQ(send(fd, "x", 1, 0), 1); /* to whom it is connected */
	return NULL;
}

ST_FN(unlisted_options)
{
	static const struct {
		int level, name, set_only;
	} no[] = {
		{ SOL_SOCKET, SO_PEERCRED, 0 },
		{ SOL_SOCKET, SO_PASSCRED, 0 },
		{ SOL_SOCKET, SO_BINDTODEVICE, 0 },
		{ SOL_SOCKET, SO_ATTACH_FILTER, 0 },
		{ SOL_SOCKET, SO_REUSEADDR, 0 },
		{ SOL_SOCKET, SO_MARK, 0 },
		{ IPPROTO_TCP, TCP_ULP, 0 },
		{ IPPROTO_TCP, TCP_REPAIR, 0 },
		{ IPPROTO_IP, IP_TOS, 0 },
		{ IPPROTO_TCP, TCP_CONGESTION, 0 },
		{ SOL_SOCKET, SO_SNDBUF, 1 },
		{ SOL_SOCKET, SO_TYPE, 1 },
		{ -1, -1, 0 },
		{ SOL_SOCKET, SO_PEERSEC, 0 },
		{ SOL_SOCKET, SO_TIMESTAMP, 0 },
	};
	int fd = (int)(intptr_t)arg;
	char buf[64] = { 0 };
	socklen_t len;

	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		len = 4;
		if (!no[i].set_only)
			CHECK(getsockopt(fd, no[i].level, no[i].name, buf, &len) == -1 &&
			      errno == ENOPROTOOPT);
		CHECK(setsockopt(fd, no[i].level, no[i].name, buf, 4) == -1 &&
		      errno == (no[i].set_only ? EPERM : ENOPROTOOPT));
	}
	/* Lengths that are not the option's. */
	for (int n = -1; n < 64; n += n < 8 ? 1 : 13)
		if (n != 4)
			CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, buf, (socklen_t)n) == -1 &&
			      errno == EINVAL);
	/* A short buffer gets just that. */
	memset(buf, 0x77, sizeof(buf));
	len = 2;
	CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_TYPE, buf, &len), 0);
	CHECK_EQ(buf[2], 0x77);
	memset(buf, 0x77, sizeof(buf));
	len = 1;
	CHECK_EQ(getsockname(fd, (struct sockaddr *)buf, &len), 0);
	CHECK_EQ(buf[1], 0x77);
	return NULL;
}

static void stream_cases(void)
{
	struct sthread_policy *all = st_policy_all_calls(), *none = st_policy_all_calls();
	int pair[2], pipes[2];
	char got[64];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !pipe(pipes));
	st_grant(all, pair[0], STHREAD_FD_ALL);
	st_grant(none, pair[0], STHREAD_FD_POLL);
	ST_PASSES(none, may_nothing, (intptr_t)pair[0]);
	ST_PASSES(all, sends_descriptors, (intptr_t)pair[0]);
	CHECK_EQ(recv(pair[1], got, sizeof(got), MSG_DONTWAIT), -1);
	ST_PASSES(all, unlisted_options, (intptr_t)pair[0]);
	st_others_live();

	struct iovec iov = { (char *)"with", 4 };
	char room[CMSG_SPACE(sizeof(int))];
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = room,
			      .msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
			       .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &pipes[1], sizeof(int));
	CHECK_EQ(sendmsg(pair[1], &msg, 0), 4);
	close(pipes[1]);
	ST_PASSES(all, receives_descriptors, (intptr_t)pair[0]);
	/* The descriptor that came is gone: nobody holds the pipe open. */
	CHECK_EQ(read(pipes[0], got, 1), 0);

	CHECK_EQ(write(pair[1], "yes", 3), 3);
	ST_PASSES(all, talks, (intptr_t)pair[0]);
	CHECK_EQ(read(pair[1], got, sizeof(got)), 10);
	CHECK_EQ(read(pair[1], got, sizeof(got)), 0);
	sthread_policy_destroy(all);
	sthread_policy_destroy(none);
	st_others_live();
}

static int udp(struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || bind(fd, (struct sockaddr *)addr, len) ||
	    getsockname(fd, (struct sockaddr *)addr, &len))
		return -1;
	return fd;
}

static void datagram_cases(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	struct sockaddr_in a, b, c;
	int sender = udp(&a), friend = udp(&b), stranger = udp(&c);
	char got[8];

	if (sender < 0 || friend < 0 || stranger < 0) {
		NOTE("no loopback network: datagrams not tested");
		return;
	}
	CHECK_EQ(connect(sender, (struct sockaddr *)&b, sizeof(b)), 0);
	st_grant(p, sender, STHREAD_FD_ALL);
	ST_PASSES(p, sends_elsewhere, (uintptr_t)sender << 16 | ntohs(c.sin_port));
	CHECK_EQ(recv(stranger, got, sizeof(got), MSG_DONTWAIT), -1);
	CHECK_EQ(recv(friend, got, sizeof(got), 0), 1);
	CHECK_EQ(recv(friend, got, sizeof(got), MSG_DONTWAIT), -1);
	sthread_policy_destroy(p);
	st_others_live();
}

int main(void)
{
	st_init();
	stream_cases();
	datagram_cases();
	sthread_fini();
	return TEST_PASSED;
}
