// SPDX-License-Identifier: MIT
/*
 * signal.c - signals of our own making.  World: host.
 *
 * A forwarded call may make the kernel raise a signal in the calling thread: SIGPIPE, SIGXFSZ, and
 * SIGTTIN or SIGTTOU for a terminal.  The master must not notice.  Sockets are written with
 * sendmsg(MSG_NOSIGNAL); elsewhere the thread blocks these signals meanwhile and eats the one that
 * its call raised.
 */
#include "sthread/syscall/calls.h"

#include <pthread.h>
#include <time.h>

static void shield_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGPIPE);
	sigaddset(set, SIGXFSZ);
	sigaddset(set, SIGTTIN);
	sigaddset(set, SIGTTOU);
}

void sys_shield_up(const struct sys_call *c, struct sys_shield *s)
{
	sigset_t set;

	s->on = !c->ctx->on_worker; /* threads of the library block everything, for ever */
	if (!s->on)
		return;
	shield_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, &s->old);
	sigemptyset(&s->pending);
	if (sigismember(&s->old, SIGPIPE) || sigismember(&s->old, SIGXFSZ))
		sigpending(&s->pending);
}

static void shield_eat(const struct sys_shield *s, int sig)
{
	const struct timespec now = { 0, 0 };
	sigset_t set;

	if (sigismember(&s->pending, sig))
		return;
	sigemptyset(&set);
	sigaddset(&set, sig);
	while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
		;
}

void sys_shield_down(const struct sys_shield *s, long result, size_t want)
{
	if (!s->on)
		return;
	if (result == -EPIPE || result == -EFBIG || (result >= 0 && (size_t)result < want)) {
		shield_eat(s, SIGPIPE);
		shield_eat(s, SIGXFSZ);
	}
	pthread_sigmask(SIG_SETMASK, &s->old, NULL);
}
