/* SPDX-License-Identifier: MIT */
/*
 * Nothing that a compartment made outlives it, however it ends; what is taken back from it its children lose, too.
 * World: host; ST_FN: inside.
 */
#include "tests/st_nested.h"

struct board {
	int pipe;
	_Atomic uint64_t beats, go;
};

/* ---- nothing outlives its maker ---- */

ST_FN(has_beating_child)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread *st;

	CHECK_OK(sthread_create(&st, p, beats, (void *)&board->beats));
	while (board->beats < 1000)
		;
	if (board->go == 1)
		return (void *)5;
	if (board->go == 2)
		*(volatile char *)(uintptr_t)board->go = 1;
	if (board->go == 3)
		CHECK_OK(sthread_detach(st));
	else
		CHECK_OK(sthread_join(st, NULL));
	return (void *)6;
}

/* The one that beats is two below. */
ST_FN(has_grandchild)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_result r;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 16 << 20));
	CHECK_OK(sthread_call(p, has_beating_child, arg, &r));
	return NULL;
}

static void outlived(void)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	struct sthread *st;

	for (uint64_t how = 1; how <= 3; how++) {
		board->go = how;
		board->beats = 0;
		r = how == 2 ? st_run(p, has_beating_child, board) : st_call(p, has_beating_child, board);
		if (how == 2)
			ST_FAULTS(&r, STHREAD_FAULT_MEMORY, 2, 2, ST_IN(has_beating_child), "null pointer");
		else
			ST_RETURNED(&r, how == 1 ? 5 : 6);
		stands_still(&board->beats);
	}
	board->go = 4;
	for (int deep = 0; deep < 2; deep++) {
		st = st_create(p, deep ? has_grandchild : has_beating_child, board);
		while (board->beats < 1000)
			usleep(1000);
		CHECK_OK(sthread_kill(st));
		stands_still(&board->beats); /* as soon as the kill is done */
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
	}
	st_limit(p, STHREAD_LIMIT_WALL_NS, 300 * MS);
	r = st_call(p, has_grandchild, board);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	stands_still(&board->beats);
	sthread_policy_destroy(p);
}

/* ---- taken back from all beneath ---- */

ST_FN(reads_pipe)
{
	struct board *b = arg;
	char c;

	b->go = 1;
	return read(b->pipe, &c, 1) < 0 ? (void *)(intptr_t)errno : NULL;
}

ST_FN(hands_pipe_on)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_result r;

	CHECK_OK(sthread_policy_fd(p, board->pipe, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	CHECK_OK(sthread_call(p, reads_pipe, arg, &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	CHECK_EQ((uint64_t)r.value, EBADF);
	/* Nor is it handed to another one by a policy of before, or a new one. */
	CHECK_ERR(sthread_call(p, reads_pipe, arg, &r), -EPERM);
	CHECK_ERR(sthread_policy_fd(fresh(), board->pipe, STHREAD_FD_READ), -EBADF);
	return NULL;
}

static void taken_back(void)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	struct sthread *st;
	int fds[2];

	CHECK(!pipe(fds));
	board->go = 0;
	board->pipe = fds[0];
	st_grant(p, fds[0], STHREAD_FD_READ);
	st_allow(p, SYS_read);
	st = st_create(p, hands_pipe_on, board);
	while (!board->go)
		usleep(1000);
	usleep(20000);
	CHECK_OK(sthread_policy_fd_revoke(st, fds[0]));
	r = st_join(st);
	ST_RETURNED(&r, 0);
	close(fds[0]);
	close(fds[1]);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	board_init();
	outlived();
	taken_back();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
