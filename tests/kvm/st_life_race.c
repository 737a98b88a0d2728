/* SPDX-License-Identifier: MIT */
/*
 * st_life_race.c - sthread_fini() while threads of the program make all the calls that do not need a handle it takes
 * away: each call is as before, or -EINVAL.  World: host; what is in ST_FN runs inside.
 */
#include <stdatomic.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

STHREAD_TAGGED(first, int, one);
STHREAD_TAGGED(second, int, two);
STHREAD_TAGGED(third, int, three);

static atomic_bool over;
static int fd, root;

/* 0, or the end has come. */
static bool done(int err)
{
	CHECK_MSG(!err || err == -EINVAL, "%d", err);
	return !err;
}

ST_FN(returns)
{
	return arg;
}

ST_FN(reads)
{
	char c;

	return (void *)(intptr_t)read((int)(intptr_t)arg, &c, 1);
}

static struct sthread_policy *reading(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_fd(p, fd, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	return p;
}

static void ended(const struct sthread_result *r)
{
	CHECK_MSG(r->end == STHREAD_RETURNED || r->end == STHREAD_KILLED, "%s", st_words(r));
}

/* ---- what threads do, again and again ---- */

static void tagged(const char *name)
{
	struct sthread_policy *p;
	int err;

	CHECK_OK(sthread_policy_create(&p));
	err = sthread_policy_tagged(p, name, STHREAD_READ);
	CHECK_MSG(!err || err == -ENOENT, "%d", err);
	sthread_policy_destroy(p);
}

static void grants_first(void)
{
	tagged("first");
}

static void grants_second(void)
{
	tagged("second");
}

static void grants_third(void)
{
	tagged("third");
}

static void calls(void)
{
	struct sthread_result r;

	if (done(sthread_call(NULL, returns, NULL, &r)))
		ended(&r);
}

static void kills(void)
{
	struct sthread_policy *p = reading();
	struct sthread_result r;
	struct sthread *st;
	int err;

	if (done(sthread_create(&st, p, reads, (void *)(intptr_t)fd))) {
		err = sthread_kill(st);
		CHECK_MSG(!err || err == -ESRCH, "%d", err);
		CHECK_OK(sthread_join(st, &r));
		CHECK_EQ(r.end, STHREAD_KILLED);
	}
	sthread_policy_destroy(p);
}

static void takes_back(void)
{
	struct sthread_policy *p = reading();
	struct sthread *st;
	int err;

	if (done(sthread_create(&st, p, reads, (void *)(intptr_t)fd))) {
		err = sthread_policy_fd_revoke(st, fd);
		CHECK_MSG(!err || err == -ESRCH, "%d", err);
		CHECK_OK(sthread_join(st, NULL));
	}
	sthread_policy_destroy(p);
}

static void detaches(void)
{
	struct sthread_policy *p = reading();
	struct sthread *st;

	if (done(sthread_create(&st, p, returns, NULL)))
		CHECK_OK(sthread_detach(st));
	sthread_policy_destroy(p);
}

static void asks(const struct sthread_gate_config *cfg)
{
	struct sthread_gate *g;

	if (!done(sthread_gate_create(&g, cfg)))
		return;
	for (int i = 0; i < 3; i++) {
		ssize_t n = sthread_gate_call(g, NULL, 0, NULL, 0);

		CHECK_MSG(n == 0 || n == -EINVAL || n == -ECANCELED, "%zd", n);
	}
	sthread_gate_destroy(g);
}

static void asks_native(void)
{
	asks(&(struct sthread_gate_config){ .size = sizeof(struct sthread_gate_config), .fn = gate_nothing, .native = true });
}

static void asks_recycled(void)
{
	struct sthread_policy *p = reading();

	asks(&(struct sthread_gate_config){ .size = sizeof(struct sthread_gate_config),
					    .fn = gate_nothing,
					    .policy = p,
					    .kind = STHREAD_GATE_RECYCLED });
	sthread_policy_destroy(p);
}

static void maps(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	void *at;

	if (done(sthread_map(8192, &at))) {
		if (done(sthread_policy_memory(p, at, 4096, STHREAD_READ)) &&
		    done(sthread_call(p, returns, NULL, &r)))
			ended(&r);
		CHECK(!sthread_tag_of(at));
		sthread_free(at);
		done(sthread_unmap(at));
	}
	sthread_policy_destroy(p);
}

static void looks(void)
{
	struct sthread_policy *p = reading();
	struct sthread_stats s;
	char buf[4096];

	CHECK_OK(sthread_policy_dir(p, root, STHREAD_FD_READ));
	CHECK_GT(sthread_policy_format(p, buf, sizeof(buf)), 0);
	sthread_policy_destroy(p);
	done(sthread_stats(&s));
	CHECK_GT(sthread_fault_format(&(struct sthread_result){ .end = STHREAD_FAULTED,
								.fault = STHREAD_FAULT_MEMORY,
								.address = (uintptr_t)two,
								.ip = (uintptr_t)looks },
				      buf, sizeof(buf)),
		 0);
}

/* ---- rounds ---- */

static void (*const what[])(void) = {
	grants_first, grants_second, grants_third, grants_first,  grants_second, grants_third, calls,
	kills,	      takes_back,    detaches,	   asks_native, asks_recycled, maps,	       looks,
};
#define KINDS (sizeof(what) / sizeof(what[0]))

static void *goes_on(void *fn)
{
	while (!atomic_load(&over))
		((void (*)(void))fn)();
	return NULL;
}

int main(void)
{
	pthread_t t[KINDS];
	int quiet[2];

	CHECK(!pipe(quiet));
	fd = quiet[0];
	root = open("/", O_RDONLY | O_DIRECTORY);
	CHECK_GE(root, 0);
	*one = *two = *three = 1;
	for (int round = 0; round < 8; round++) {
		st_init();
		atomic_store(&over, false);
		for (size_t i = 0; i < KINDS; i++)
			t[i] = life_thread(goes_on, (void *)(uintptr_t)what[i]);
		life_nap(20000 + 10000 * (unsigned)round);
		sthread_fini();
		atomic_store(&over, true);
		for (size_t i = 0; i < KINDS; i++)
			life_join(t[i]);
		CHECK_EQ(life_kvm_fds(), 0);
	}
	return TEST_PASSED;
}
