// SPDX-License-Identifier: MIT
/*
 * fd.c - descriptor numbers of a compartment: duplicated, closed, and made for new objects of
 * the host.  World: host.
 */
#include "sthread/syscall/calls.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define PIPE_RIGHTS (STHREAD_FD_STAT | STHREAD_FD_POLL | STHREAD_FD_FLAGS)

/* ---- new ones ---- */

int sys_check_new(struct sys_call *c)
{
	return fdtab_reserve(&c->ctx->fds);
}

int sys_check_new_pair(struct sys_call *c)
{
	return fdtab_reserve_more(&c->ctx->fds, 2);
}

static int own(int host, enum fd_kind kind, struct fd_object **out)
{
	int r = host < 0 ? host : fd_object_adopt(host, kind, out);

	if (!r)
		(*out)->own = true;
	return r;
}

long sys_new_fd(struct sys_call *c, int host, enum fd_kind kind, unsigned rights)
{
	struct fd_object *o;
	int r = own(host, kind, &o);

	return r ? r : fdtab_open(&c->ctx->fds, o, rights, false);
}

/* The numbers go to out[0]. */
long sys_new_pair(struct sys_call *c, const int host[2], enum fd_kind kind,
		  const unsigned rights[2])
{
	struct fd_object *o[2];
	int r = own(host[0], kind, &o[0]), number[2];

	if (r) {
		close(host[1]);
		return r;
	}
	r = own(host[1], kind, &o[1]);
	if (r) {
		fd_object_put(o[0]);
		return r;
	}
	for (int i = 0; i < 2; i++)
		number[i] = fdtab_open(&c->ctx->fds, o[i], rights[i], false);
	memcpy(c->result.bytes, number, sizeof(number));
	return 0;
}

long sys_do_pipe2(struct sys_call *c)
{
	const unsigned rights[2] = { PIPE_RIGHTS | STHREAD_FD_READ, PIPE_RIGHTS | STHREAD_FD_WRITE };
	int flags = c->entry->arg[1].kind == ARG_NONE ? 0 : sys_int(c, 1), host[2] = { -1, -1 };
	int r = SYS_MAKE(pipe2(host, flags | O_CLOEXEC));

	return r ? r : sys_new_pair(c, host, FD_PIPE, rights);
}

/* ---- duplicates: the same open file with the same rights ---- */

/* A new number may be as large as RLIMIT_NOFILE says inside, or is one that is open already. */
static bool may_be_number(const struct sys_call *c, int number)
{
	return number >= 0 &&
	       ((unsigned)number < c->ctx->fds.limit || fdtab_find(&c->ctx->fds, number));
}

int sys_check_dup3(struct sys_call *c)
{
	int old = sys_int(c, 0), number = sys_int(c, 1);

	if (old == number && c->entry->arg[2].kind != ARG_NONE)
		return -EINVAL;
	if (!may_be_number(c, number))
		return -EBADF;
	return fdtab_find(&c->ctx->fds, number) ? 0 : fdtab_reserve(&c->ctx->fds);
}

static long duplicate(struct sys_call *c, int least)
{
	struct fd_object *o;
	int r = fd_object_again(c->fd.obj, &o);

	return r ? r : fdtab_open_from(&c->ctx->fds, least, o, c->fd.rights, c->fd.dir);
}

long sys_do_dup(struct sys_call *c)
{
	return duplicate(c, 0);
}

/* The number's old descriptor is closed only when its replacement is there. */
long sys_do_dup3(struct sys_call *c)
{
	int number = sys_int(c, 1), r;
	struct fd_object *o;

	if (number == sys_int(c, 0))
		return number;
	r = fd_object_again(c->fd.obj, &o);
	if (r)
		return r;
	(void)fdtab_close(&c->ctx->fds, number);
	return fdtab_open_from(&c->ctx->fds, number, o, c->fd.rights, c->fd.dir);
}

/* fcntl F_DUPFD */
int sys_check_dupfd(struct sys_call *c)
{
	int least = (int)c->arg[2];

	if (least < 0 || (unsigned)least >= c->ctx->fds.limit)
		return -EINVAL;
	return fdtab_reserve(&c->ctx->fds);
}

long sys_do_dupfd(struct sys_call *c)
{
	return duplicate(c, (int)c->arg[2]);
}

/* ---- closing ---- */

/* Inside, the right is gone; the host descriptor goes when nobody else refers to it. */
long sys_do_close(struct sys_call *c)
{
	return fdtab_close(&c->ctx->fds, sys_int(c, 0));
}

int sys_check_close_range(struct sys_call *c)
{
	return (unsigned)c->arg[0] > (unsigned)c->arg[1] ? -EINVAL : 0;
}

long sys_do_close_range(struct sys_call *c)
{
	unsigned first = (unsigned)c->arg[0], last = (unsigned)c->arg[1];
	struct fdtab *t = &c->ctx->fds;

	if (first > INT_MAX || (sys_int(c, 2) & CLOSE_RANGE_CLOEXEC)) /* nothing executes */
		return 0;
	for (;;) {
		unsigned at = fd_entries_search(t->entry, t->n, (int)first);

		if (at == t->n || (unsigned)t->entry[at].number > last)
			return 0;
		(void)fdtab_close(t, t->entry[at].number);
	}
}
