/* SPDX-License-Identifier: MIT */
/*
 * Callgates, called from a compartment.  World: host; functions marked "inside" run in the compartment, and the gate's
 * own where the series says.
 */
#include <errno.h>
#include <string.h>

#include <sthread.h>

#include "bench/compartment.h"

#define CALLS	16 /* in a run that has any */
#define MESSAGE 64

enum { FRESH, RECYCLED, NATIVE, KINDS };

static const char *const names[KINDS] = { "fresh", "recycled", "native" };
static struct sthread_policy *policies[KINDS];

static ssize_t echo(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	if (in_len > out_cap)
		return -EMSGSIZE;
	memcpy(out, in, in_len);
	return (ssize_t)in_len;
}

/* Inside: arg calls of the one gate that is there. */
static void *call(void *arg)
{
	struct sthread_gate *gate = NULL;
	char message[MESSAGE] = "";

	for (int i = 0; i < KINDS && !gate; i++)
		if (sthread_gate_find(&gate, names[i]))
			gate = NULL;
	for (uintptr_t n = (uintptr_t)arg; n; n--)
		if (sthread_gate_call(gate, message, MESSAGE, message, MESSAGE) != MESSAGE)
			return (void *)1;
	return NULL;
}

int setup_gate(void)
{
	int err = bench_init(0);

	for (int i = 0; i < KINDS && !err; i++) {
		struct sthread_gate_config c = { .size = sizeof(c),
						 .name = names[i],
						 .fn = echo,
						 .native = i == NATIVE,
						 .kind = i == RECYCLED ? STHREAD_GATE_RECYCLED :
									 STHREAD_GATE_FRESH };
		struct sthread_gate *gate;

		err = sthread_gate_create(&gate, &c);
		if (!err)
			err = sthread_policy_create(&policies[i]);
		if (!err)
			err = sthread_policy_gate(policies[i], gate);
	}
	return err;
}

static int timed(int kind, uintptr_t calls, uint64_t *took)
{
	uint64_t start = now_ns();
	void *failed;
	int err = bench_call(policies[kind], call, (void *)calls, &failed);

	*took = now_ns() - start;
	return !err && failed ? -EPROTO : err;
}

static int sample(int kind, unsigned n, uint64_t *out)
{
	uint64_t none, many;

	for (unsigned i = 0; i < n; i++) {
		int err = i ? 0 : timed(kind, CALLS, &many); /* warm up */

		if (!err)
			err = timed(kind, 0, &none);
		if (!err)
			err = timed(kind, CALLS, &many);
		if (err)
			return err;
		out[i] = many > none ? (many - none) / CALLS : 0;
	}
	return (int)n;
}

int sample_gate_fresh(unsigned n, uint64_t *out)
{
	return sample(FRESH, n, out);
}

int sample_gate_recycled(unsigned n, uint64_t *out)
{
	return sample(RECYCLED, n, out);
}

int sample_gate_native(unsigned n, uint64_t *out)
{
	return sample(NATIVE, n, out);
}
