// SPDX-License-Identifier: MIT
/*
 * self.c - what a compartment is told about itself and its machine, and how it ends itself.
 * World: host.
 *
 * Constants wherever the truth would be the master's: a compartment is one thread of user 65534 on
 * one processor.
 */
#include "sthread/syscall/calls.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

#define ANSWER(name, value)                        \
	long sys_do_##name(struct sys_call *c)     \
	{                                          \
		(void)c;                           \
		return value;                      \
	}
ANSWER(nothing, 0)
ANSWER(nosys, -ENOSYS)
ANSWER(again, -EAGAIN)
ANSWER(access, -EACCES)
ANSWER(perm, -EPERM)
ANSWER(noent, -ENOENT)
ANSWER(intr, -EINTR)
ANSWER(child, -ECHILD)

/* ---- identity ---- */

bool sys_is_self(const struct sys_ctx *ctx, int id)
{
	return id == ctx->pid || id == ctx->tid || id == ctx->image_tid;
}

long sys_do_getpid(struct sys_call *c)
{
	return c->ctx->pid;
}

long sys_do_gettid(struct sys_call *c)
{
	return c->ctx->tid;
}

long sys_do_uid(struct sys_call *c)
{
	(void)c;
	return SYS_UID;
}

/* getresuid, getresgid */
long sys_do_ids(struct sys_call *c)
{
	const uint32_t id = SYS_UID;

	for (unsigned i = 0; i < c->outs; i++)
		memcpy(i ? (void *)c->more[i - 1] : c->result.bytes, &id, sizeof(id));
	return 0;
}

/* Cut to what there is room for, as on any Linux. */
static int set_name(struct sys_call *c, dune_gva_t at)
{
	char *name = (char *)c->in.bytes;
	int r = uaccess_str(&c->ctx->mem, name, at, sizeof(c->ctx->name));

	if (r == -ENAMETOOLONG)
		r = sizeof(c->ctx->name) - 1;
	if (r < 0)
		return r;
	memset(name + r, 0, sizeof(c->ctx->name) - (size_t)r);
	return 0;
}

int sys_check_prctl(struct sys_call *c)
{
	dune_gva_t at = dune_gva(c->arg[1]);

	switch (sys_int(c, 0)) {
	case PR_SET_NAME:
		return set_name(c, at);
	case PR_GET_NAME:
		return sys_add_out(c, at, sizeof(c->ctx->name), c->ctx->name);
	default:
		return -EINVAL;
	}
}

long sys_do_prctl(struct sys_call *c)
{
	if (sys_int(c, 0) == PR_SET_NAME)
		memcpy(c->ctx->name, c->in.bytes, sizeof(c->ctx->name));
	else
		c->out[0].len = sizeof(c->ctx->name);
	return 0;
}

/* To ask, with all bits set; and to stay what it is. */
int sys_check_personality(struct sys_call *c)
{
	uint32_t want = (uint32_t)c->arg[0];

	return want && want != UINT32_MAX ? -EPERM : 0;
}

/* Nobody sees the names that it makes but by the file system: so this is its own. */
long sys_do_umask(struct sys_call *c)
{
	int before = c->ctx->umask;

	c->ctx->umask = sys_int(c, 0) & 0777;
	return before;
}

long sys_do_uname(struct sys_call *c)
{
	/* A release that every C library accepts, and that says nothing of the host's. */
	static const struct utsname u = { "Linux", "sthread", "6.1.0", "#1", "x86_64", "(none)" };

	memcpy(c->result.bytes, &u, sizeof(u));
	return 0;
}

/* ---- signals: none is ever delivered ---- */

int sys_check_sigset(struct sys_call *c)
{
	return c->arg[3] == sizeof(uint64_t) ? 0 : -EINVAL;
}

long sys_do_sigaltstack(struct sys_call *c)
{
	const stack_t none = { .ss_flags = SS_DISABLE };

	memcpy(c->result.bytes, &none, sizeof(none));
	return 0;
}

static int check_signal(int sig)
{
	return sig < 0 || sig > 64 ? -EINVAL : 0;
}

int sys_check_tgkill(struct sys_call *c)
{
	int pid = sys_int(c, 0), tid = sys_int(c, 1);

	if (pid <= 0 || tid <= 0)
		return -EINVAL;
	return sys_is_self(c->ctx, pid) && sys_is_self(c->ctx, tid) ? check_signal(sys_int(c, 2)) : -ESRCH;
}

int sys_check_tkill(struct sys_call *c)
{
	int tid = sys_int(c, 0);

	if (tid <= 0)
		return -EINVAL;
	return sys_is_self(c->ctx, tid) ? check_signal(sys_int(c, 1)) : -ESRCH;
}

/* 0: its own process group, which is itself. */
int sys_check_kill(struct sys_call *c)
{
	int pid = sys_int(c, 0);

	return pid == 0 || sys_is_self(c->ctx, pid) ? check_signal(sys_int(c, 1)) : -ESRCH;
}

/*
 * Perform a signal's default action: there are no handlers.  A stop ends the run, because nobody
 * could continue it.
 */
static long raise_signal(struct sys_ctx *ctx, int sig)
{
	switch (sig) {
	case 0:
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
		return 0;
	default:
		return sys_ended(ctx, STHREAD_ABORTED, (uint64_t)sig);
	}
}

long sys_do_tgkill(struct sys_call *c)
{
	return raise_signal(c->ctx, sys_int(c, 2));
}

long sys_do_tkill(struct sys_call *c)
{
	return raise_signal(c->ctx, sys_int(c, 1));
}

long sys_do_exit(struct sys_call *c)
{
	return sys_ended(c->ctx, STHREAD_EXITED, (uint64_t)(int64_t)sys_int(c, 0));
}
