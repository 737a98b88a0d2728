/* SPDX-License-Identifier: MIT */
/*
 * <sthread/wedge.h>: each of the papers' names does what sthread_wedge(3) says, and a policy that could not be built as
 * it was meant runs nothing.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <sthread/wedge.h>

#define POLICY(...)                 \
	do {                        \
		sc_init(&sc);       \
		__VA_ARGS__;        \
		CHECK_OK(sc.error); \
	} while (0)

/* What wedge_join() says. */
static int run(const sc_t *sc, cb_t cb, void *arg, void **ret)
{
	sthread_t thr;

	CHECK_OK(wedge_create(&thr, sc, cb, arg));
	return wedge_join(thr, ret);
}

/* ---- memory ---- */

struct counter {
	int n;
};
BOUNDARY_VAR(struct counter, counter, 7);

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned *)arg;
}

ST_FN(adds)
{
	++*(volatile unsigned *)arg;
	return NULL;
}

ST_FN(allocates)
{
	char *mine, *theirs = NULL;

	smalloc_on((tag_t)arg);
	theirs = malloc(100);
	smalloc_off();
	mine = malloc(100);
	CHECK(theirs && mine && !sthread_is_tagged(mine));
	CHECK_EQ(sthread_tag_of(theirs), (tag_t)arg);
	free(theirs);
	free(mine);
	mine = smalloc(50, (tag_t)arg);
	CHECK(mine);
	sfree(mine);
	mine = smalloc(50, (tag_t)arg);
	strcpy(mine, "from inside");
	return mine;
}

static void memory(void)
{
	tag_t tag = tag_new();
	unsigned *word;
	void *ret = &sc_init;
	sc_t sc;

	CHECK(tag);
	word = smalloc(sizeof(*word), tag);
	CHECK(word && sthread_tag_of(word) == tag);
	*word = 41;

	POLICY((void)0);
	CHECK_ERR(run(&sc, reads, word, &ret), -EIO);
	CHECK_ERR(run(&sc, reads, counter, &ret), -EIO);
	CHECK_EQ(ret, (void *)&sc_init);
	sc_destroy(&sc);

	POLICY(sc_mem_add(&sc, tag, PROT_READ), sc_boundary_add(&sc, BOUNDARY_TAG(7), PROT_READ));
	counter->n = 77;
	CHECK_OK(run(&sc, reads, word, &ret));
	CHECK_EQ(ret, (void *)41);
	CHECK_OK(run(&sc, reads, counter, &ret));
	CHECK_EQ(ret, (void *)77);
	CHECK_ERR(run(&sc, adds, word, NULL), -EIO);
	CHECK_ERR(run(&sc, adds, counter, NULL), -EIO);
	CHECK_EQ(*word, 41u);
	CHECK_EQ(counter->n, 77);
	sc_destroy(&sc);

	POLICY(sc_mem_add(&sc, tag, PROT_READ | PROT_WRITE),
	       sc_boundary_add(&sc, BOUNDARY_TAG(7), PROT_READ | PROT_WRITE));
	CHECK_OK(run(&sc, adds, word, NULL));
	CHECK_OK(run(&sc, adds, counter, NULL));
	CHECK_EQ(*word, 42u);
	CHECK_EQ(counter->n, 78);
	CHECK_OK(run(&sc, allocates, tag, &ret));
	CHECK_STR((const char *)ret, "from inside");
	sfree(ret);
	sc_destroy(&sc);

	sfree(word);
	CHECK_OK(tag_delete(tag));
}

/* ---- descriptors and system calls ---- */

ST_FN(only_reads)
{
	int fd = (int)(intptr_t)arg;
	char c;

	CHECK_EQ(read(fd, &c, 1), 1);
	CHECK_EQ(c, 'x');
	CHECK_EQ(write(fd, &c, 1), -1);
	CHECK_EQ(errno, ENOSYS);
	CHECK_EQ(syscall(SYS_socket, 1, 1, 0), -1);
	CHECK_EQ(errno, ENOSYS);
	return NULL;
}

ST_FN(only_writes)
{
	int fd = (int)(intptr_t)arg;
	char c = 'y';

	CHECK_EQ(write(fd, &c, 1), 1);
	/* The call is there, the right is not. */
	CHECK_EQ(read(fd, &c, 1), -1);
	CHECK_EQ(errno, EPERM);
	return NULL;
}

static void descriptors(void)
{
	int p[2], q[2];
	char c = 'x';
	sc_t sc;

	CHECK_OK(pipe(p));
	CHECK_OK(pipe(q));
	CHECK_EQ(write(p[1], &c, 1), 1);
	POLICY(sc_fd_add(&sc, p[0], PROT_READ));
	ST_PASSES(sc.policy, only_reads, (intptr_t)p[0]);
	sc_destroy(&sc);
	POLICY(sc_fd_add(&sc, q[1], PROT_WRITE), sc_sys_add(&sc, SYS_read));
	ST_PASSES(sc.policy, only_writes, (intptr_t)q[1]);
	sc_destroy(&sc);
	CHECK_EQ(read(q[0], &c, 1), 1);
	CHECK_EQ(c, 'y');
	close(p[0]), close(p[1]), close(q[0]), close(q[1]);
}

/* ---- failures stay ---- */

static void *checks(void *trusted, void *arg);
CGATE(checks);

static void failures(void)
{
	tag_t tag = tag_new();
	sthread_t thr = (sthread_t)&tag;
	sc_t sc, bad;

	sc_init(&bad);
	CHECK_ERR(sc_mem_add(&bad, tag, PROT_READ | PROT_EXEC), -EINVAL);
	CHECK_ERR(sc_mem_add(&bad, NULL, PROT_READ), -EINVAL);
	CHECK_OK(sc_mem_add(&bad, tag, PROT_READ));
	CHECK_ERR(sc_mem_add(&bad, tag, PROT_READ), -EEXIST);
	CHECK_ERR(wedge_create(&thr, &bad, reads, NULL), -EINVAL); /* the first */
	CHECK_EQ(thr, (sthread_t)&tag);
	sc_init(&sc);
	CHECK_ERR(sc_cgate_add(&sc, checks, &bad, NULL), -EINVAL);
	sc_destroy(&sc);
	sc_destroy(&bad);
	CHECK_ERR(wedge_create(&thr, &bad, reads, NULL), -EINVAL);

	sc_init(&sc);
	CHECK_ERR(sc_fd_add(&sc, -1, PROT_READ), -EBADF);
	CHECK_ERR(sc_fd_add(&sc, 0, PROT_EXEC), -EINVAL);
	CHECK_ERR(sc_sys_add(&sc, 100000), -EINVAL);
	CHECK_ERR(sc_boundary_add(&sc, BOUNDARY_TAG(8), PROT_READ), -ENOENT);
	CHECK_ERR(wedge_create(&thr, &sc, reads, NULL), -EBADF);
	CHECK_EQ(thr, (sthread_t)&tag);
	sc_destroy(&sc);
	CHECK_OK(tag_delete(tag));
}

/* ---- ends ---- */

ST_FN(leaves)
{
	sthread_exit(arg);
}

ST_FN(exits)
{
	_exit(0);
}

ST_FN(aborts)
{
	abort();
}

ST_FN(loops)
{
	for (;;)
		__asm__ volatile("pause");
	return NULL;
}

ST_FN(asks)
{
	syscall(SYS_socket, 1, 1, 0);
	return NULL;
}

ST_FN(takes_memory)
{
	for (;;) {
		char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0);

		if (page != MAP_FAILED)
			*page = 1;
	}
	return NULL;
}

static void ends(void)
{
	void *ret = &run;
	sthread_t thr;
	sc_t sc;

	CHECK_OK(run(NULL, leaves, (void *)5, &ret));
	CHECK_EQ(ret, (void *)5);
	ret = &run;
	CHECK_ERR(run(NULL, exits, NULL, &ret), -EIO);
	CHECK_ERR(run(NULL, aborts, NULL, &ret), -EIO);
	POLICY(st_action(sc.policy, SYS_socket, STHREAD_DENY_KILL));
	CHECK_ERR(run(&sc, asks, NULL, &ret), -EACCES);
	sc_destroy(&sc);
	POLICY(st_limit(sc.policy, STHREAD_LIMIT_WALL_NS, 50000000));
	CHECK_ERR(run(&sc, loops, NULL, &ret), -ETIMEDOUT);
	sc_destroy(&sc);
	POLICY(st_limit(sc.policy, STHREAD_LIMIT_CPU_NS, 50000000));
	CHECK_ERR(run(&sc, loops, NULL, &ret), -ETIMEDOUT);
	sc_destroy(&sc);
	POLICY(st_limit(sc.policy, STHREAD_LIMIT_MEMORY, 2 << 20));
	CHECK_ERR(run(&sc, takes_memory, NULL, &ret), -EDQUOT);
	sc_destroy(&sc);
	CHECK_OK(wedge_create(&thr, NULL, loops, NULL));
	CHECK_OK(sthread_kill(thr));
	CHECK_ERR(wedge_join(thr, &ret), -ECANCELED);
	CHECK_EQ(ret, (void *)&run);
	CHECK_ERR(wedge_join(NULL, &ret), -EINVAL);
}

/* ---- callgates ---- */

static unsigned calls;

static void *checks(void *trusted, void *arg)
{
	return trusted == arg ? (void *)0x9e5 : NULL;
}

static void *counts(void *trusted, void *arg)
{
	(void)trusted, (void)arg;
	return (void *)(uintptr_t)++calls;
}
CGATE(counts);

static void *counts_anew(void *trusted, void *arg)
{
	return counts(trusted, arg);
}
CGATE(counts_anew);

static void *asks_another(void *trusted, void *arg)
{
	(void)trusted;
	return cgate(checks, NULL, arg);
}
CGATE(asks_another);

static void *crashes(void *trusted, void *arg)
{
	(void)trusted;
	return (void *)(uintptr_t) * (volatile char *)arg;
}
CGATE(crashes);

#define REFUSED(call, why)                   \
	do {                                 \
		errno = 0;                   \
		CHECK_EQ((call), NULL);      \
		CHECK_EQ(errno, (int)(why)); \
	} while (0)

ST_FN(calls_them)
{
	static const sc_t perms;

	REFUSED(cgate(counts_anew, NULL, NULL), EPERM);
	REFUSED(cgate(checks, NULL, (void *)1), ENODATA);
	REFUSED(cgate(counts_anew, NULL, NULL), EPERM);
	CHECK_EQ(cgate(checks, NULL, (void *)0x5ec2e7), (void *)0x9e5);
	CHECK_EQ(cgate(counts_anew, NULL, NULL), (void *)1);
	CHECK_EQ(cgate(counts_anew, NULL, NULL), (void *)1);
	CHECK_EQ(cgate(counts, NULL, NULL), (void *)1);
	CHECK_EQ(cgate(counts, NULL, NULL), (void *)2);
	CHECK_EQ(cgate(asks_another, NULL, (void *)0x7), (void *)0x9e5);
	REFUSED(cgate(asks_another, NULL, (void *)0x5ec2e7), ENODATA);
	REFUSED(cgate(crashes, NULL, (void *)16), EIO);
	REFUSED(cgate(takes_none, NULL, NULL), ENOENT);
	REFUSED(cgate(checks, &perms, (void *)0x5ec2e7), ENOTSUP);
	return NULL;
}

ST_FN(has_none)
{
	REFUSED(cgate(checks, NULL, (void *)0x5ec2e7), ENOENT);
	return NULL;
}

static void callgates(void)
{
	sc_t sc, nested;

	sc_init(&nested);
	CHECK_OK(sc_cgate_add(&nested, checks, NULL, (void *)0x7));
	POLICY(sc_cgate_add(&sc, checks, NULL, (void *)0x5ec2e7),
	       sc_cgate_add_recycled(&sc, counts, NULL, NULL),
	       sc_cgate_add_after(&sc, counts_anew, NULL, NULL, checks),
	       sc_cgate_add(&sc, asks_another, &nested, NULL),
	       sc_cgate_add(&sc, crashes, NULL, NULL));
	ST_PASSES(sc.policy, calls_them, NULL);
	CHECK_EQ(calls, 0u);
	ST_PASSES(NULL, has_none, NULL);
	REFUSED(cgate(checks, NULL, (void *)0x5ec2e7), EINVAL);
	CHECK_ERR(sc_cgate_add(&sc, checks, NULL, NULL), -EEXIST);
	sc_destroy(&sc);
	sc_init(&sc);
	CHECK_ERR(sc_cgate_add_after(&sc, counts, NULL, NULL, checks), -ENOENT);
	sc_destroy(&sc);
	sc_destroy(&nested);
}

int main(void)
{
	st_init();
	memory();
	descriptors();
	failures();
	ends();
	callgates();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
