/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a compartment closed, and that its policies, gates and sthreads hold still, are not beyond its limit:
 * the program does not run out of them.  World: host; nothing(), and ST_FN: inside.
 */
#include <dirent.h>

#include "tests/st_gate.h"

#define LIMIT 24
#define BATCH 8 /* descriptors */

enum way { BY_NONE, BY_POLICY, BY_GATE, BY_STHREAD, WAYS };

/* Native: how many the program has open. */
static ssize_t counts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	DIR *d = opendir("/proc/self/fd");
	int64_t n = 0;

	(void)trusted, (void)in, (void)in_len;
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return gate_answer(out, out_cap, n);
}

static ssize_t nothing(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return 0;
}

ST_FN(waits)
{
	for (;;)
		pause();
	return arg;
}

static struct sthread_policy *small(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 0));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 512 << 10));
	return p;
}

/* Something that has the policy, and holds it when the handle is gone. */
static int keep(enum way way, struct sthread_policy *p)
{
	struct sthread_gate_config cfg = { .size = sizeof(cfg), .fn = nothing, .policy = p };
	struct sthread_gate *g;
	struct sthread *st;
	int err = 0;

	if (way == BY_GATE)
		err = sthread_gate_create(&g, &cfg);
	if (way == BY_STHREAD)
		err = sthread_create(&st, p, waits, NULL);
	if (way != BY_POLICY) /* they have copies */
		sthread_policy_destroy(p);
	return err;
}

/* BATCH new ones go into a policy, which something keeps, and are closed here; or an errno. */
static int hoard(enum way way)
{
	struct sthread_policy *p = small();
	int fd[BATCH], err = 0;

	for (int i = 0; i < BATCH; i += 2)
		CHECK_OK(pipe(fd + i));
	for (int i = 0; i < BATCH && !err; i++)
		err = sthread_policy_fd(p, fd[i], STHREAD_FD_STAT);
	if (!err)
		CHECK_OK(keep(way, p));
	for (int i = 0; i < BATCH; i++)
		CHECK_OK(close(fd[i]));
	return err;
}

ST_FN(hoards)
{
	enum way way = (enum way)(uintptr_t)arg;
	int64_t before = gate_word("counts"), now;
	int err = 0;

	for (int i = 0; i < 20 && !err; i++)
		err = hoard(way);
	CHECK_ERR(err, -EMFILE);
	now = gate_word("counts");
	/* Each sthread may have a thread's worth of the program's own. */
	CHECK_LE(now - before, 2 * LIMIT + (way == BY_STHREAD ? 16 : 0));
	CHECK_GE(now - before, BATCH);
	return NULL;
}

/* The twin: who lets go of what it made goes on for ever. */
ST_FN(lets_go)
{
	for (int i = 0; i < 20; i++)
		CHECK_OK(hoard(BY_NONE));
	return arg;
}

int main(void)
{
	struct sthread_policy *p;
	struct sthread_gate *g;

	st_init();
	g = GATE(.name = "counts", .fn = counts, .native = true);
	p = gate_policy(g);
	st_allow(p, SYS_pipe, SYS_pipe2);
	st_limit(p, STHREAD_LIMIT_FDS, LIMIT);
	for (enum way way = BY_POLICY; way < WAYS; way++) {
		struct sthread_result r = st_run(p, hoards, (void *)(uintptr_t)way);

		ST_RETURNED(&r, 0);
		ST_PASSES(p, lets_go, NULL);
		st_others_live();
	}
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
	sthread_fini();
	return TEST_PASSED;
}
