/* SPDX-License-Identifier: MIT */
/*
 * A datagram socket that the master sends through, too, does not keep the beginning of a message of a compartment's: what
 * the master sends next would be its end, and go where the beginning was to go.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum way { SENDTO, SENDMSG, SENDMMSG, SENDFILE, WAYS };

/* In the image: set before sthread_init(). */
static int shared[2] = {
	-1, -1
}; /* one that is connected to the compartment's friend, one that is not */
static int stream = -1, file = -1;
static union {
	struct sockaddr any;
	struct sockaddr_in in;
} theirs, ours;

/* Four bytes of a message: 0 or -errno. */
static int sends(int fd, enum way way, bool to, int flags)
{
	struct iovec iov = { (void *)"EVIL", 4 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	long n = -1;

	if (to) {
		m.msg_hdr.msg_name = &theirs;
		m.msg_hdr.msg_namelen = sizeof(theirs.in);
	}
	switch (way) {
	case SENDTO:
		n = sendto(fd, "EVIL", 4, flags, to ? &theirs.any : NULL,
			   to ? sizeof(theirs.in) : 0);
		break;
	case SENDMSG:
		n = sendmsg(fd, &m.msg_hdr, flags);
		break;
	case SENDMMSG:
		n = sendmmsg(fd, &m, 1, flags) == 1 ? (long)m.msg_len : -1;
		break;
	case SENDFILE:
		n = sendfile(fd, file, &(off_t){ 0 }, 100000);
		break;
	case WAYS:
		break;
	}
	CHECK(n == 4 || n == -1);
	return n < 0 ? -errno : 0;
}

#define ARG(way, to) ((void *)(uintptr_t)((way) << 1 | (to)))

ST_FN(keeps_a_beginning)
{
	bool to = (uintptr_t)arg & 1;
	enum way way = (enum way)((uintptr_t)arg >> 1);

	CHECK_EQ(sends(shared[!to], way, to, MSG_MORE), -EINVAL);
	return NULL;
}

/* The twins: whole messages; and a stream has no beginnings. */
ST_FN(sends_whole_ones)
{
	bool to = (uintptr_t)arg & 1;
	enum way way = (enum way)((uintptr_t)arg >> 1);

	if (way != SENDFILE)
		CHECK_EQ(sends(shared[!to], way, to, 0), 0);
	if (!to)
		CHECK_EQ(sends(stream, way, to, MSG_MORE), 0);
	return NULL;
}

static void arrives(int at, const char *text)
{
	char buf[64];
	ssize_t n = recv(at, buf, sizeof(buf), MSG_DONTWAIT);

	if (!text) {
		CHECK_ERR(n < 0 ? -errno : 0, -EAGAIN);
		return;
	}
	CHECK_MSG(n == (ssize_t)strlen(text) && !memcmp(buf, text, (size_t)n), "%s expected: %.*s",
		  text, n < 0 ? 0 : (int)n, buf);
}

static void corks(const struct sthread_policy *p, int friend, int own, int peer)
{
	for (enum way way = SENDTO; way < WAYS; way++) {
		for (unsigned to = 0; to < 2; to++) {
			if (to && way == SENDFILE)
				continue;
			ST_PASSES(p, keeps_a_beginning, ARG(way, to));
			if (to)
				CHECK_EQ(sendto(shared[0], "secret", 6, 0, &ours.any,
						sizeof(ours.in)),
					 6);
			else
				CHECK_EQ(send(shared[1], "hello", 5, 0), 5);
			arrives(friend, to ? NULL : "hello");
			arrives(own, to ? "secret" : NULL);

			ST_PASSES(p, sends_whole_ones, ARG(way, to));
			arrives(friend, way == SENDFILE ? NULL : "EVIL");
			if (!to) {
				CHECK_EQ(send(stream, ".", 1, 0), 1);
				arrives(peer, "EVIL.");
			}
		}
	}
	arrives(friend, NULL);
	arrives(own, NULL);
}

static int bound(int type, struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, type, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK_GE(fd, 0);
	CHECK_OK(bind(fd, (struct sockaddr *)at, sizeof(*at)));
	CHECK_OK(getsockname(fd, (struct sockaddr *)at, &len));
	return fd;
}

int main(void)
{
	int friend = bound(SOCK_DGRAM, &theirs.in), own = bound(SOCK_DGRAM, &ours.in), peer;
	struct sockaddr_in at;
	int listener = bound(SOCK_STREAM, &at);
	char name[] = "/tmp/st_shared_socket_XXXXXX";
	struct sthread_policy *p;

	for (int i = 0; i < 2; i++) {
		shared[i] = socket(AF_INET, SOCK_DGRAM, 0);
		CHECK_GE(shared[i], 0);
	}
	CHECK_OK(connect(shared[1], &theirs.any, sizeof(theirs.in)));
	stream = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_OK(listen(listener, 1));
	CHECK_OK(connect(stream, (struct sockaddr *)&at, sizeof(at)));
	peer = accept(listener, NULL, NULL);
	CHECK_GE(peer, 0);
	file = mkstemp(name);
	CHECK_GE(file, 0);
	CHECK_EQ(write(file, "EVIL", 4), 4);
	CHECK_OK(unlink(name));

	st_init();
	p = st_policy();
	st_allow(p, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_sendfile);
	st_grant(p, shared[0], STHREAD_FD_WRITE | STHREAD_FD_CONNECT);
	st_grant(p, shared[1], STHREAD_FD_WRITE);
	st_grant(p, stream, STHREAD_FD_WRITE);
	st_grant(p, file, STHREAD_FD_READ | STHREAD_FD_SEEK);
	CHECK_OK(sthread_policy_connect(p, &theirs.any, sizeof(theirs.in), STHREAD_EXACT));
	corks(p, friend, own, peer);
	st_others_live();
	sthread_policy_destroy(p);
	sthread_fini();
	return TEST_PASSED;
}
