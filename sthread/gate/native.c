/* SPDX-License-Identifier: MIT */
/*
 * native.c - gates whose function runs in the master.  World: host.
 *
 * On a thread of the program fn runs where it was called.  A worker is confined to what serving a
 * compartment takes, so there fn runs on a helper (run/helper.c), while the worker waits.  It is
 * not interrupted: what stops the caller takes effect when fn has returned.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "sthread/gate/gate.h"
#include "sthread/process.h"
#include "sthread/run/helper.h"

static void invoke(void *arg)
{
	struct gate_call *c = arg, *before;
	const struct sthread_gate *g = c->gate;
	sigset_t ours, old;

	sigemptyset(&ours);
	sigaddset(&ours, process.signal);
	pthread_sigmask(SIG_BLOCK, &ours, &old);
	before = gate_set_current(c);
	c->answer = g->fn(g->trusted, c->in, c->in_len, c->out, c->out_cap);
	gate_set_current(before);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

ssize_t gate_in_master(struct gate_call *c)
{
	if (gate_stopping(c))
		return -ECANCELED;
	if (helper_run(c->caller, invoke, c))
		return -EAGAIN;
	c->began = true;
	c->failed = !gate_answer_ok(c->answer, c->out_cap);
	return c->failed ? -EPROTO : c->answer;
}
