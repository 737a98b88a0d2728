// SPDX-License-Identifier: MIT
/*
 * decode.c - from six hostile numbers to a checked call, as the table says, and back.
 * World: host.
 *
 * Everything that the compartment points to is copied here, once; afterwards only the copy is used.
 * Buffers of bytes that nobody interprets become host ranges instead.
 */
#include "sthread/syscall/syscall.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#define IOV_BLOCK 32

int sys_add_out(struct sys_call *c, dune_gva_t at, uint32_t cap, const void *from)
{
	int r = uaccess_prepare_out(&c->ctx->mem, at, cap);

	if (r)
		return r;
	assert(c->outs < SYS_OUTS);
	c->out[c->outs++] = (struct sys_out){ .at = at, .cap = cap, .from = from };
	return 0;
}

static int decode_value(const struct sys_arg *a, uint64_t v)
{
	return v < 64 && (a->allowed & (1ULL << v)) ? 0 : -EINVAL;
}

static int decode_fd(struct sys_call *c, const struct sys_arg *a, int number)
{
	const struct fd_entry *e = fdtab_find(&c->ctx->fds, number);

	if (!e)
		return -EBADF;
	if ((e->rights & a->rights) != a->rights)
		return -EPERM;
	*(c->fd.obj ? &c->fd2 : &c->fd) = *e;
	return 0;
}

static int decode_dirfd(struct sys_call *c, const struct sys_arg *a, int number)
{
	/* There is no working directory inside. */
	return number == AT_FDCWD ? -EACCES : decode_fd(c, a, number);
}

/* Adds a buffer; what does not fit is left out, which makes a transfer short. */
static int decode_buffer(struct sys_call *c, dune_gva_t at, uint64_t len, bool write)
{
	int r;

	if (len > SSIZE_MAX)
		return -EINVAL;
	r = uaccess_spans(&c->ctx->mem, &c->spans, at, len, write);
	if (r < 0)
		return r;
	if (!r)
		c->partial = true;
	return 0;
}

static int decode_iov(struct sys_call *c, dune_gva_t at, uint64_t count, bool write, int too_many)
{
	struct iovec iov[IOV_BLOCK];
	uint64_t total = 0;

	if (count > IOV_MAX)
		return too_many;
	while (count) {
		unsigned n = count < IOV_BLOCK ? (unsigned)count : IOV_BLOCK;
		int r = uaccess_copy_in(&c->ctx->mem, iov, at, n * sizeof(*iov));

		for (unsigned i = 0; i < n && !r; i++) {
			if (iov[i].iov_len > SSIZE_MAX ||
			    __builtin_add_overflow(total, iov[i].iov_len, &total) ||
			    total > SSIZE_MAX)
				return -EINVAL;
			if (!c->partial)
				r = decode_buffer(c, dune_gva((uintptr_t)iov[i].iov_base),
						  iov[i].iov_len, write);
		}
		if (r)
			return r;
		at.v += n * sizeof(*iov);
		count -= n;
	}
	return 0;
}

static int decode_in(struct sys_call *c, dune_gva_t at, uint64_t len, uint32_t max)
{
	int r;

	if (len > max)
		return -EINVAL;
	assert(max <= sizeof(c->in));
	r = uaccess_copy_in(&c->ctx->mem, c->in.bytes, at, len);
	if (!r)
		c->in_len = (unsigned)len;
	return r;
}

/* What recvmsg() writes of the header, but for the name's length. */
#define MSG_RESULT offsetof(struct msghdr, msg_controllen)
#define MSG_RESULT_LEN (offsetof(struct msghdr, msg_flags) + sizeof(int) - MSG_RESULT)

/*
 * sendmsg: no control data; a name is copied, for the call's own check.  recvmsg: a name if
 * wanted; control data is never delivered, as if there were no room for it (MSG_CTRUNC), and
 * descriptors that come with a message are dropped by the kernel.
 */
static int decode_msg(struct sys_call *c, dune_gva_t at, bool write)
{
	struct msghdr *m = &c->msg;
	uint32_t cap = sizeof(c->result.addr);
	int r = uaccess_copy_in(&c->ctx->mem, m, at, sizeof(*m));

	if (r)
		return r;
	if (!write && m->msg_name && m->msg_namelen)
		r = decode_in(c, dune_gva((uintptr_t)m->msg_name), (unsigned)m->msg_namelen,
			      sizeof(c->in));
	if (!write && !r && m->msg_controllen)
		return -EINVAL;
	if (write && m->msg_name) {
		if ((int)m->msg_namelen < 0)
			return -EINVAL;
		if (!(c->fd.rights & STHREAD_FD_STAT))
			return -EPERM;
		if (m->msg_namelen < cap)
			cap = m->msg_namelen;
		r = sys_add_out(c, dune_gva((uintptr_t)m->msg_name), cap, &c->result.addr);
		if (!r)
			r = sys_add_out(c, dune_gva(at.v + offsetof(struct msghdr, msg_namelen)),
					sizeof(m->msg_namelen), &m->msg_namelen);
	}
	if (write && !r)
		r = sys_add_out(c, dune_gva(at.v + MSG_RESULT), MSG_RESULT_LEN, &m->msg_controllen);
	return r ? r : decode_iov(c, dune_gva((uintptr_t)m->msg_iov), m->msg_iovlen, write, -EMSGSIZE);
}

static int decode_poll(struct sys_call *c, dune_gva_t at, uint64_t count)
{
	struct pollfd *p = c->u.poll.fd;
	int r;

	if ((unsigned)count > SYS_POLLFDS)
		return -EINVAL;
	count = (unsigned)count;
	r = uaccess_copy_in(&c->ctx->mem, p, at, count * sizeof(*p));
	if (!r)
		r = uaccess_prepare_out(&c->ctx->mem, at, count * sizeof(*p));
	if (r)
		return r;
	for (unsigned i = 0; i < count; i++) {
		const struct fd_entry *e = fdtab_find(&c->ctx->fds, p[i].fd);

		c->u.poll.number[i] = p[i].fd;
		p[i].revents = 0;
		p[i].fd = e && (e->rights & STHREAD_FD_POLL) ? e->obj->host : -1;
	}
	return 0;
}

static int decode_struct_out(struct sys_call *c, dune_gva_t at, uint32_t size)
{
	void *from = c->outs ? (void *)c->more[c->outs - 1] : c->result.bytes;
	int r;

	assert(size <= (c->outs ? sizeof(c->more[0]) : sizeof(c->result)));
	r = sys_add_out(c, at, size, from);
	if (r)
		return r;
	/* Padding and what the host does not fill are zeros, not this thread's stack. */
	memset(from, 0, size);
	c->out[c->outs - 1].len = size;
	return 0;
}

static int decode_var_out(struct sys_call *c, dune_gva_t at, dune_gva_t len_at, uint32_t max)
{
	int r = uaccess_copy_in(&c->ctx->mem, &c->socklen, len_at, sizeof(c->socklen));

	if (r)
		return r;
	if ((int)c->socklen < 0)
		return -EINVAL;
	if (c->socklen > max)
		c->socklen = max;
	r = sys_add_out(c, at, c->socklen, c->result.bytes);
	return r ? r : sys_add_out(c, len_at, sizeof(c->socklen), &c->socklen);
}

static int decode_bytes_out(struct sys_call *c, dune_gva_t at, uint64_t len, uint32_t max)
{
	uint32_t cap = len < max ? (uint32_t)len : max;
	void *from = max <= sizeof(c->result) ? c->result.bytes : c->u.bytes;

	memset(from, 0, cap); /* the kernel leaves gaps, between the names of a directory */
	return sys_add_out(c, at, cap, from);
}

static int decode_path(struct sys_call *c, dune_gva_t at)
{
	int r = uaccess_str(&c->ctx->mem, c->paths++ ? c->u.path2 : c->u.path, at,
			    sizeof(c->u.path));

	return r < 0 ? r : 0;
}

static int decode_array_out(struct sys_call *c, dune_gva_t at, int count, uint32_t size)
{
	uint32_t most = sizeof(c->u.bytes) / size;

	if (count <= 0)
		return -EINVAL;
	return sys_add_out(c, at, size * ((uint32_t)count < most ? (uint32_t)count : most),
			   c->u.bytes);
}

static int decode_offset(struct sys_call *c, dune_gva_t at)
{
	int64_t *o = &c->offset[c->offsets++];
	int r = uaccess_copy_in(&c->ctx->mem, o, at, sizeof(*o));

	if (!r)
		r = sys_add_out(c, at, sizeof(*o), o);
	if (!r)
		c->out[c->outs - 1].len = sizeof(*o);
	return r;
}

/* The sets are the arguments after their length. */
static int decode_fdset(struct sys_call *c, dune_gva_t at, int numbers, unsigned set)
{
	size_t len = ((size_t)numbers + 63) / 64 * 8;
	int r;

	if (numbers < 0 || numbers > SYS_FDSET)
		return -EINVAL;
	r = uaccess_copy_in(&c->ctx->mem, c->result.set[set], at, len);
	if (!r)
		r = sys_add_out(c, at, (uint32_t)len, c->result.set[set]);
	if (!r)
		c->out[c->outs - 1].len = (uint32_t)len;
	return r;
}

static int decode_mmsg(struct sys_call *c, dune_gva_t at, unsigned count)
{
	return uaccess_prepare_out(&c->ctx->mem, at,
				   sizeof(struct mmsghdr) * (count < SYS_MMSG ? count : SYS_MMSG));
}

static int decode_arg(struct sys_call *c, const struct sys_arg *a, unsigned i)
{
	uint64_t v = c->arg[i], len = c->arg[a->len];
	dune_gva_t at = dune_gva(v);

	if (a->null && !v)
		return 0;
	switch ((enum sys_arg_kind)a->kind) {
	case ARG_NONE:
	case ARG_IGNORED:
	case ARG_NUMBER:
	case ARG_INT:
	case ARG_SIZE:
	case ARG_SOCKLEN: /* with the ARG_VAR_OUT that names it */
		return 0;
	case ARG_VALUE:
		return decode_value(a, v);
	case ARG_FLAGS:
		return (uint32_t)v & ~a->allowed ? -EINVAL : 0;
	case ARG_FD:
		return decode_fd(c, a, (int)v);
	case ARG_DIRFD:
		return decode_dirfd(c, a, (int)v);
	case ARG_IN:
		return decode_buffer(c, at, len, false);
	case ARG_OUT:
		return decode_buffer(c, at, len, true);
	case ARG_BYTES_OUT:
		return decode_bytes_out(c, at, len, a->size);
	case ARG_PATH:
		return decode_path(c, at);
	case ARG_STRUCT_IN:
		return decode_in(c, at, a->size, a->size);
	case ARG_OPT_IN:
		return decode_in(c, at, (uint32_t)len, a->size);
	case ARG_STRUCT_OUT:
		return decode_struct_out(c, at, a->size);
	case ARG_IOV_IN:
		return decode_iov(c, at, len, false, -EINVAL);
	case ARG_IOV_OUT:
		return decode_iov(c, at, len, true, -EINVAL);
	case ARG_MSG_IN:
		return decode_msg(c, at, false);
	case ARG_MSG_OUT:
		return decode_msg(c, at, true);
	case ARG_POLL:
		return decode_poll(c, at, len);
	case ARG_VAR_OUT:
		return decode_var_out(c, at, dune_gva(len), a->size);
	case ARG_ARRAY_OUT:
		return decode_array_out(c, at, (int)len, a->size);
	case ARG_OFFSET:
		return decode_offset(c, at);
	case ARG_FDSET:
		return decode_fdset(c, at, (int)len, i - a->len - 1);
	case ARG_MMSG:
		return decode_mmsg(c, at, (unsigned)len);
	}
	return -ENOSYS; /* a kind that this decoder does not know */
}

size_t sys_call_size(const struct sys_entry *entry)
{
	size_t size = offsetof(struct sys_call, u);

	for (unsigned i = 0; i < 6; i++) {
		const struct sys_arg *a = &entry->arg[i];

		switch ((enum sys_arg_kind)a->kind) {
		case ARG_PATH:
		case ARG_ARRAY_OUT:
			return sizeof(struct sys_call);
		case ARG_BYTES_OUT:
			if (a->size > sizeof(((struct sys_call *)0)->result))
				return sizeof(struct sys_call);
			break;
		case ARG_POLL:
		case ARG_FDSET:
			size = offsetof(struct sys_call, u) + sizeof(((struct sys_call *)0)->u.poll);
			break;
		default:
			break;
		}
	}
	return size;
}

int sys_decode(struct sys_ctx *ctx, const struct sys_entry *entry, const uint64_t arg[6],
	       struct sys_call *c)
{
	int r = 0;

	/* The big arrays are left as they are: each step fills what it uses. */
	c->ctx = ctx;
	c->entry = entry;
	c->fd.obj = NULL;
	c->fd.rights = 0;
	c->fd2 = c->fd;
	c->partial = false;
	c->in_len = 0;
	c->outs = 0;
	c->offsets = 0;
	c->paths = 0;
	if (sys_call_size(entry) == sizeof(*c))
		c->u.path[0] = '\0';
	uspans_init(&c->spans);
	for (unsigned i = 0; i < 6; i++) /* an int's upper half is undefined by convention */
		c->arg[i] = sys_is_int(&entry->arg[i]) ? (uint64_t)(int64_t)(int)arg[i] : arg[i];
	for (unsigned i = 0; i < 6 && !r && entry->arg[i].kind != ARG_NONE; i++)
		r = decode_arg(c, &entry->arg[i], i);
	if (!r && entry->check)
		r = entry->check(c);
	return r;
}

/* poll(): only `revents` of each is the host's to write. */
static int finish_poll(struct sys_call *c, dune_gva_t at, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct pollfd *p = &c->u.poll.fd[i];
		int r;

		p->fd = c->u.poll.number[i];
		r = uaccess_copy_out(&c->ctx->mem, dune_gva(at.v + i * sizeof(*p)), p, sizeof(*p));
		if (r)
			return r;
	}
	return 0;
}

int sys_finish(struct sys_call *c, long result)
{
	int r = 0;

	if (result < 0)
		return 0;
	for (unsigned i = 0; i < c->outs && !r; i++) {
		const struct sys_out *o = &c->out[i];

		assert(o->len <= o->cap);
		r = uaccess_copy_out(&c->ctx->mem, o->at, o->from, o->len);
	}
	if (!r && c->entry->arg[0].kind == ARG_POLL)
		r = finish_poll(c, dune_gva(c->arg[0]), (unsigned)c->arg[c->entry->arg[0].len]);
	return r;
}

void sys_release(struct sys_call *c)
{
	uspans_put(&c->ctx->mem, &c->spans);
}
