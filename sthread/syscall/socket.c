// SPDX-License-Identifier: MIT
/*
 * socket.c - system calls on granted sockets.  World: host.
 *
 * A compartment talks through sockets that it was given or made, and reaches nobody but whom its
 * policy names (connect.c): no other destination addresses, no ancillary data, no descriptors by
 * message, no zero copy (which would keep pages after the call), listed options.
 */
#include "sthread/syscall/calls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* ---- sending ---- */

static int flags_of(const struct sys_call *c)
{
	return sys_int(c, c->entry->arg[1].kind == ARG_MSG_IN ? 2 : 3);
}

/*
 * The beginning of a datagram waits in the socket, which others may share: what they send next
 * would be its end, and go where the beginning was to go.
 */
static int check_send(struct sys_call *c, bool to)
{
	int r = to ? sys_check_destination(c) : 0;

	if (!r && c->fd.obj->kind == FD_MESSAGE && (flags_of(c) & MSG_MORE))
		r = -EINVAL;
	return r ? r : sys_check_transfer(c);
}

int sys_check_sendto(struct sys_call *c)
{
	return check_send(c, c->arg[4] != 0);
}

int sys_check_sendmsg(struct sys_call *c)
{
	return check_send(c, c->in_len != 0);
}

/* sendto and sendmsg: both are spans, and perhaps an address, by now. */
long sys_do_send(struct sys_call *c)
{
	const struct msghdr m = { .msg_name = c->in_len ? c->in.bytes : NULL,
				  .msg_namelen = c->in_len,
				  .msg_iov = c->spans.iov,
				  .msg_iovlen = c->spans.n };

	return SYS_RETRY(c, sendmsg(c->fd.obj->host, &m, flags_of(c) | MSG_NOSIGNAL));
}

/* ---- receiving ---- */

/* The sender's address is shown to who may ask for the peer's name. */
int sys_check_recvfrom(struct sys_call *c)
{
	return c->outs && !(c->fd.rights & STHREAD_FD_STAT) ? -EPERM : sys_check_transfer(c);
}

void sys_socklen_out(struct sys_call *c, socklen_t actual)
{
	c->out[0].len = actual < c->out[0].cap ? actual : c->out[0].cap;
	c->socklen = actual;
	c->out[1].len = sizeof(c->socklen);
}

long sys_do_recvfrom(struct sys_call *c)
{
	struct msghdr m = { .msg_iov = c->spans.iov, .msg_iovlen = c->spans.n };
	long r;

	if (c->outs) {
		m.msg_name = &c->result.addr;
		m.msg_namelen = sizeof(c->result.addr);
	}
	r = SYS_RETRY(c, recvmsg(c->fd.obj->host, &m, sys_int(c, 3)));
	if (r >= 0 && c->outs)
		sys_socklen_out(c, m.msg_namelen);
	return r;
}

long sys_do_recvmsg(struct sys_call *c)
{
	struct sys_out *flags = &c->out[c->outs - 1], *name = c->outs > 1 ? &c->out[0] : NULL;
	struct msghdr m = { .msg_iov = c->spans.iov, .msg_iovlen = c->spans.n };
	long r;

	if (name) {
		m.msg_name = &c->result.addr;
		m.msg_namelen = sizeof(c->result.addr);
	}
	r = SYS_RETRY(c, recvmsg(c->fd.obj->host, &m, sys_int(c, 2)));
	if (r < 0)
		return r;
	if (name) {
		name->len = m.msg_namelen < name->cap ? m.msg_namelen : name->cap;
		c->out[1].len = c->out[1].cap;
	}
	c->msg.msg_namelen = m.msg_namelen;
	c->msg.msg_controllen = 0;
	c->msg.msg_flags = m.msg_flags;
	flags->len = flags->cap;
	return r;
}

/* ---- the socket itself ---- */

long sys_do_shutdown(struct sys_call *c)
{
	return shutdown(c->fd.obj->host, sys_int(c, 1)) < 0 ? -errno : 0;
}

long sys_do_getsockname(struct sys_call *c)
{
	socklen_t len = sizeof(c->result.addr);

	if (getsockname(c->fd.obj->host, (struct sockaddr *)&c->result.addr, &len) < 0)
		return -errno;
	sys_socklen_out(c, len);
	return 0;
}

long sys_do_getpeername(struct sys_call *c)
{
	socklen_t len = sizeof(c->result.addr);

	if (getpeername(c->fd.obj->host, (struct sockaddr *)&c->result.addr, &len) < 0)
		return -errno;
	sys_socklen_out(c, len);
	return 0;
}

/* ---- options ---- */

#define GET 1u
#define SET 2u
#define OWN 4u /* of sockets that were made inside; others do not have it */

static const struct sockopt {
	int level, name;
	unsigned may;
	unsigned size;
} options[] = {
	{ SOL_SOCKET, SO_TYPE, GET, sizeof(int) },
	{ SOL_SOCKET, SO_DOMAIN, GET, sizeof(int) },
	{ SOL_SOCKET, SO_PROTOCOL, GET, sizeof(int) },
	{ SOL_SOCKET, SO_ERROR, GET, sizeof(int) },
	{ SOL_SOCKET, SO_ACCEPTCONN, GET, sizeof(int) },
	{ SOL_SOCKET, SO_SNDBUF, GET, sizeof(int) },
	{ SOL_SOCKET, SO_RCVBUF, GET, sizeof(int) },
	{ SOL_SOCKET, SO_LINGER, GET,
	  sizeof(struct linger) }, /* set, it would make the master's close() wait */
	{ SOL_SOCKET, SO_REUSEADDR, GET | SET | OWN, sizeof(int) },
	{ SOL_SOCKET, SO_KEEPALIVE, GET | SET, sizeof(int) },
	{ SOL_SOCKET, SO_RCVLOWAT, GET | SET, sizeof(int) },
	{ SOL_SOCKET, SO_RCVTIMEO, GET | SET, sizeof(struct timeval) },
	{ SOL_SOCKET, SO_SNDTIMEO, GET | SET, sizeof(struct timeval) },
	{ IPPROTO_TCP, TCP_NODELAY, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_CORK, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_QUICKACK, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_KEEPIDLE, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_KEEPINTVL, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_KEEPCNT, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, GET | SET, sizeof(int) },
	{ IPPROTO_TCP, TCP_MAXSEG, GET, sizeof(int) },
};

/* Elsewhere the numbers of TCP's options mean what they like. */
static int check_level(int fd, int level)
{
	int domain = 0, protocol = 0;
	socklen_t len = sizeof(int);

	if (level == SOL_SOCKET)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -errno;
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
		return -errno;
	return protocol == IPPROTO_TCP && (domain == AF_INET || domain == AF_INET6) ? 0 :
										      -ENOPROTOOPT;
}

int sys_check_sockopt(struct sys_call *c)
{
	bool set = c->entry->arg[3].kind == ARG_OPT_IN;
	unsigned want = set ? SET : GET;

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const struct sockopt *o = &options[i];

		if (o->level != sys_int(c, 1) || o->name != sys_int(c, 2))
			continue;
		if ((o->may & OWN) && !c->fd.obj->own)
			break;
		if (!(o->may & want))
			return -EPERM;
		if (set && c->in_len != o->size)
			return -EINVAL;
		return check_level(c->fd.obj->host, o->level);
	}
	return -ENOPROTOOPT;
}

long sys_do_getsockopt(struct sys_call *c)
{
	socklen_t len = c->out[0].cap;

	if (getsockopt(c->fd.obj->host, sys_int(c, 1), sys_int(c, 2), c->result.bytes, &len) < 0)
		return -errno;
	sys_socklen_out(c, len);
	return 0;
}

long sys_do_setsockopt(struct sys_call *c)
{
	return setsockopt(c->fd.obj->host, sys_int(c, 1), sys_int(c, 2), c->in.bytes, c->in_len) <
			       0 ?
		       -errno :
		       0;
}
