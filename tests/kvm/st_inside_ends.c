/* SPDX-License-Identifier: MIT */
/* What a function gets inside, and every way in which it can end by its own will.  World: host; ST_FN: inside. */
#include "tests/st.h"

#include <setjmp.h>

static volatile int depth_reached;
static int atexit_pipe[2];

ST_FN(same)
{
	return arg;
}

ST_FN(inside_is_true)
{
	CHECK(sthread_inside());
	return NULL;
}

/* The calls of the library that are the master's are refused inside, and no handle is one; nothing changes. */
ST_FN(library_calls)
{
	struct sthread_stats stats;
	struct sthread_result r;
	struct sthread *st = NULL;

	CHECK_ERR(sthread_init(NULL), -EPERM);
	sthread_fini();
	CHECK_ERR(sthread_join(st, &r), -EINVAL);
	CHECK_ERR(sthread_kill(st), -EINVAL);
	CHECK_ERR(sthread_detach(st), -EINVAL);
	CHECK_ERR(sthread_stats(&stats), -EPERM);
	CHECK_ERR(sthread_checkpoint_range(&stats, 1), -EPERM);
	return NULL;
}

static int deep(int n, void *value);
static int (*volatile deeper)(int n, void *value) = deep;

static int deep(int n, void *value)
{
	volatile char room[512];

	room[0] = (char)n;
	depth_reached++;
	if (n > 0)
		return deeper(n - 1, value) + room[0];
	sthread_exit(value);
}

ST_FN(exits_from_depth)
{
	deep(200, arg);
	return NULL;
}

static void end(void *arg);

static int compare_and_end(const void *a, const void *b)
{
	(void)a;
	(void)b;
	end((void *)0x77);
	return 0;
}

static void end(void *arg)
{
	sthread_exit(arg);
}

ST_FN(exits_from_qsort)
{
	int v[4] = { 4, 3, 2, 1 };

	qsort(v, 4, sizeof(v[0]), compare_and_end);
	return NULL;
}

ST_FN(calls_exit)
{
	exit((int)(intptr_t)arg);
}

ST_FN(calls_quick_exit)
{
	_exit((int)(intptr_t)arg);
}

ST_FN(sets_errno)
{
	errno = 0;
	CHECK(close(77) == -1);
	CHECK_EQ(errno, EBADF);
	errno = 4711;
	return NULL;
}

ST_FN(jumps)
{
	volatile int rounds = 0;
	jmp_buf back;
	sigjmp_buf sigback;

	if (setjmp(back) < 5) {
		rounds++;
		longjmp(back, rounds);
	}
	CHECK_EQ(rounds, 5);
	if (sigsetjmp(sigback, 1) == 0)
		siglongjmp(sigback, 3);
	return NULL;
}

static void at_exit(void)
{
	char c = 'x';

	if (write(atexit_pipe[1], &c, 1) != 1)
		return;
}

static void values(void)
{
	static const uint64_t some[] = { 0, 1, 42, UINT64_MAX, 1ULL << 63, 0x00005555deadbeefULL };
	struct sthread_result r;

	for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		r = st_call(NULL, same, (void *)some[i]);
		ST_RETURNED(&r, some[i]);
		CHECK_EQ(r.frames, 0u);
		CHECK_EQ(r.message[0], 0);
		r = st_run(NULL, same, (void *)some[i]);
		ST_RETURNED(&r, some[i]);
		r = st_call(NULL, exits_from_depth, (void *)some[i]);
		ST_RETURNED(&r, some[i]);
	}
	CHECK_EQ(depth_reached, 0);
	CHECK_OK(sthread_call(NULL, same, NULL, NULL));
	r = st_call(NULL, exits_from_qsort, NULL);
	ST_RETURNED(&r, 0x77);
}

/*
 * exit() inside runs neither the master's handlers nor writes its buffered output: with no descriptor granted it
 * cannot, and with the descriptors granted it does so to its copies, which is what the grant says.
 */
static void exits(void)
{
	struct sthread_result r;
	char got[64];
	FILE *f;
	int p[2];

	CHECK(pipe(p) == 0);
	f = fdopen(p[1], "w");
	CHECK(f);
	fprintf(f, "once");
	for (int status = -1; status < 4; status++) {
		r = st_call(NULL, calls_exit, (void *)(intptr_t)status);
		ST_EXITED(&r, status);
		r = st_call(NULL, calls_quick_exit, (void *)(intptr_t)status);
		ST_EXITED(&r, status);
	}
	r = st_call(NULL, calls_exit, (void *)0x1234);
	ST_EXITED(&r, 0x1234);
	fclose(f);
	CHECK_EQ(read(p[0], got, sizeof(got)), 4);
	CHECK_MEM(got, "once", 4);
	CHECK_EQ(read(atexit_pipe[0], got, 1), -1);
	CHECK_EQ(errno, EAGAIN);
	close(p[0]);
}

int main(void)
{
	struct sthread_result r;

	/* A handler and unwritten output that are there at the checkpoint. */
	CHECK(pipe2(atexit_pipe, O_NONBLOCK) == 0);
	CHECK(atexit(at_exit) == 0);
	printf("buffered before the checkpoint\n");
	st_init();
	CHECK(!sthread_inside());
	values();
	ST_PASSES(NULL, inside_is_true, NULL);
	ST_PASSES(NULL, library_calls, NULL);
	ST_PASSES(NULL, jumps, NULL);
	exits();
	errno = 5;
	ST_PASSES(NULL, sets_errno, NULL);
	CHECK_EQ(errno, 5);
	/* fn that is not code of the image. */
	CHECK_ERR(sthread_call(NULL, (st_fn *)(uintptr_t)&depth_reached, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(NULL, NULL, NULL, &r), -EINVAL);
	st_others_live();
	sthread_fini();
	CHECK_ERR(sthread_call(NULL, same, NULL, &r), -EINVAL);
	_exit(TEST_PASSED);
}
