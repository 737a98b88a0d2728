// SPDX-License-Identifier: MIT
/*
 * connect.c - sockets that a compartment makes, and whom it may talk to with them: addresses that
 * its policy grants.  World: host.
 *
 * An address is copied in, brought into its one form (policy/address.h) and compared; the host is
 * told that form, never the compartment's bytes.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TYPE_FLAGS  (SOCK_NONBLOCK | SOCK_CLOEXEC)
#define PAIR_RIGHTS                                                                               \
	(STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT | STHREAD_FD_POLL |                 \
	 STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN | STHREAD_FD_FLAGS)
#define SOCKET_RIGHTS (PAIR_RIGHTS | STHREAD_FD_ACCEPT | STHREAD_FD_CONNECT)

/* ---- making ---- */

static int type_of(const struct sys_call *c)
{
	return sys_int(c, 1) & ~TYPE_FLAGS;
}

static enum fd_kind kind_of_type(const struct sys_call *c)
{
	return type_of(c) == SOCK_STREAM ? FD_STREAM : FD_MESSAGE;
}

static int check_type(const struct sys_call *c)
{
	int domain = sys_int(c, 0), protocol = sys_int(c, 2);

	switch (type_of(c)) {
	case SOCK_STREAM:
		return !protocol || (domain != AF_UNIX && protocol == IPPROTO_TCP) ?
			       0 :
			       -EPROTONOSUPPORT;
	case SOCK_DGRAM:
		return !protocol || (domain != AF_UNIX && protocol == IPPROTO_UDP) ?
			       0 :
			       -EPROTONOSUPPORT;
	case SOCK_SEQPACKET:
		return domain == AF_UNIX && !protocol ? 0 : -EPROTONOSUPPORT;
	default:
		return -EINVAL;
	}
}

int sys_check_socket(struct sys_call *c)
{
	int r = check_type(c);

	return r ? r : sys_check_new(c);
}

/*
 * An IPv6 socket is one: it does not also stand for IPv4 addresses, which are granted as such.  One
 * for datagrams hears whom it may send to, until it is bound; without an address, an AF_UNIX one
 * hears nobody.
 */
long sys_do_socket(struct sys_call *c)
{
	int domain = sys_int(c, 0), on = 1, r = 0;
	int fd = SYS_MAKE(socket(domain, sys_int(c, 1) | SOCK_CLOEXEC, sys_int(c, 2)));

	if (fd >= 0 && domain == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		r = -EAFNOSUPPORT;
	else if (fd >= 0 && domain != AF_UNIX && type_of(c) == SOCK_DGRAM)
		r = sys_filter_raise(fd, domain, c->ctx->policy);
	if (r) {
		close(fd);
		return r;
	}
	return sys_new_fd(c, fd, kind_of_type(c), SOCKET_RIGHTS);
}

int sys_check_socketpair(struct sys_call *c)
{
	int r = check_type(c);

	return r ? r : sys_check_new_pair(c);
}

long sys_do_socketpair(struct sys_call *c)
{
	const unsigned rights[2] = { PAIR_RIGHTS, PAIR_RIGHTS };
	int host[2] = { -1, -1 };
	int r = SYS_MAKE(socketpair(AF_UNIX, sys_int(c, 1) | SOCK_CLOEXEC, 0, host));

	return r ? r : sys_new_pair(c, host, kind_of_type(c), rights);
}

/* ---- addresses ---- */

static int check_address(struct sys_call *c, enum policy_use use)
{
	struct address a;
	int r;

	_Static_assert(sizeof(a.un) <= sizeof(c->in), "an address fits");
	if (!(c->fd.rights & STHREAD_FD_CONNECT))
		return -EACCES;
	r = address_read(&a, c->in.bytes, c->in_len);
	if (r)
		return r;
	if (!policy_address(c->ctx->policy, use, &a))
		return -EACCES;
	memcpy(c->in.bytes, &a.any, a.len);
	c->in_len = a.len;
	return 0;
}

int sys_check_destination(struct sys_call *c)
{
	return check_address(c, POLICY_CONNECT);
}

int sys_check_connect(struct sys_call *c)
{
	return check_address(c, POLICY_CONNECT);
}

/* Made again after a signal, connect() goes on waiting. */
long sys_do_connect(struct sys_call *c)
{
	return SYS_RETRY(c, connect(c->fd.obj->host, (const struct sockaddr *)c->in.bytes,
				    c->in_len));
}

int sys_check_bind(struct sys_call *c)
{
	return check_address(c, POLICY_BIND);
}

long sys_do_bind(struct sys_call *c)
{
	if (bind(c->fd.obj->host, (const struct sockaddr *)c->in.bytes, c->in_len) < 0)
		return -errno;
	if (c->fd.obj->own) { /* others are shared */
		c->fd.obj->bound = true;
		sys_filter_drop(c->fd.obj->host); /* a server hears everybody */
	}
	return 0;
}

/* ---- listening ---- */

/*
 * The host would give a socket without an address one of its own choice, and whoever connects is
 * heard: so it is one that was bound here.
 */
int sys_check_listen(struct sys_call *c)
{
	return c->fd.obj->own && c->fd.obj->bound ? 0 : -EACCES;
}

long sys_do_listen(struct sys_call *c)
{
	return listen(c->fd.obj->host, sys_int(c, 1)) < 0 ? -errno : 0;
}

/* The peer's address is shown to who may ask for its name. */
int sys_check_accept(struct sys_call *c)
{
	return c->outs && !(c->fd.rights & STHREAD_FD_STAT) ? -EPERM : sys_check_new(c);
}

static long wait_for_peer(struct sys_call *c)
{
	struct pollfd p = { c->fd.obj->host, POLLIN, 0 };

	if (fcntl(p.fd, F_GETFL) & O_NONBLOCK)
		return 0;
	return SYS_RETRY(c, poll(&p, 1, -1));
}

long sys_do_accept(struct sys_call *c)
{
	int flags = c->entry->arg[3].kind == ARG_NONE ? 0 : sys_int(c, 3);
	unsigned rights = c->fd.rights & PAIR_RIGHTS;
	socklen_t len = sizeof(c->result.addr);
	struct sockaddr *peer = (struct sockaddr *)&c->result.addr;
	struct fd_reserved held;
	long r = fd_reserve_low(&held);

	/* Not for as long as nobody comes. */
	if (!r && held.n) {
		fd_release_low(&held);
		r = wait_for_peer(c);
		if (r < 0)
			return r;
		r = fd_reserve_low(&held);
	}
	if (!r)
		r = SYS_RETRY(c, accept4(c->fd.obj->host, peer, &len, flags | SOCK_CLOEXEC));
	fd_release_low(&held);
	r = sys_new_fd(c, (int)r, c->fd.obj->kind, rights);
	if (r >= 0 && c->outs)
		sys_socklen_out(c, len);
	return r;
}

/*
 * ---- several messages: one after the other, each decoded and made as its own call ----
 *
 * Actions and rules of sendmsg and recvmsg do not apply to sendmmsg and recvmmsg: each call has
 * its own, so that policies can be compared call by call.
 */

static long one_message(struct sys_call *c, long nr, uint64_t at, uint64_t flags)
{
	const struct sys_entry *entry = &sys_table[sys_index((uint64_t)nr)];
	const uint64_t arg[6] = { c->arg[0], at, flags };
	struct sys_call one;
	long r = sys_decode(c->ctx, entry, arg, &one);

	if (!r) {
		int err;

		r = entry->perform(&one);
		err = sys_finish(&one, r);
		if (err)
			r = err;
	}
	sys_release(&one);
	return r;
}

static long messages(struct sys_call *c, long nr)
{
	uint64_t flags = c->arg[3] & ~(uint64_t)MSG_WAITFORONE, at = c->arg[1];
	unsigned n = (unsigned)c->arg[2], done = 0;

	for (; done < n && done < SYS_MMSG; done++, at += sizeof(struct mmsghdr)) {
		long r = one_message(c, nr, at, flags);
		uint32_t len = (uint32_t)r;

		if (r >= 0)
			r = uaccess_copy_out(&c->ctx->mem,
					     dune_gva(at + offsetof(struct mmsghdr, msg_len)), &len,
					     sizeof(len));
		if (r < 0 && done) {
			c->ctx->mem.nomem = false; /* the next call says so, which then has done nothing */
			return (long)done;
		}
		if (r < 0)
			return r;
		if (c->arg[3] & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
	}
	return (long)done;
}

long sys_do_sendmmsg(struct sys_call *c)
{
	return messages(c, SYS_sendmsg);
}

/* A time limit would be looked at between messages only: nobody who knows that uses it. */
int sys_check_recvmmsg(struct sys_call *c)
{
	return c->in_len ? -EINVAL : 0;
}

long sys_do_recvmmsg(struct sys_call *c)
{
	return messages(c, SYS_recvmsg);
}
