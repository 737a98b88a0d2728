/* SPDX-License-Identifier: MIT */
/*
 * What is taken back from who made a gate the gate gives nobody any more, and no call of one holds that up.
 * World: host; gates and ST_FN: inside.
 */
#include <fcntl.h>

#include "tests/kvm/st_life.h"
#include "tests/st_nested.h"

struct board {
	int pipe;
	enum sthread_gate_kind kind;
	_Atomic uint64_t beats, go, queued;
	_Atomic int64_t answer;
	_Atomic(struct sthread_gate *) gate;
};

ST_FN(asks)
{
	struct board *b = arg;

	b->answer = sthread_gate_call(b->gate, NULL, 0, NULL, 0);
	return NULL;
}

/* ---- what is taken back from its maker ---- */

static ssize_t reads_pipe(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct board *b = trusted;
	char c;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	b->go = 1;
	return read(b->pipe, &c, 1) < 0 ? -errno : 0;
}

/* A child waits in the gate while the master takes the pipe back. */
ST_FN(has_reader)
{
	struct sthread_policy *p = with_board(arg), *holds;
	struct sthread_gate *other = GATE(.fn = gate_nothing), *g;
	struct sthread *st;

	CHECK_OK(sthread_policy_fd(p, board->pipe, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	board->gate = g = GATE(.fn = reads_pipe, .policy = p, .trusted = arg, .kind = board->kind);
	holds = of_gate(arg, g);
	CHECK_OK(sthread_create(&st, holds, asks, arg));
	CHECK_OK(sthread_join(st, NULL));
	CHECK_EQ(board->answer, -ECANCELED);
	while (board->go != 2)
		;
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -ENOENT);
	CHECK_ERR(try_gate(&g, p, reads_pipe, arg), -EPERM);
	CHECK_EQ(sthread_gate_call(other, NULL, 0, NULL, 0), 0);
	return NULL;
}

/* Once the master says that it has been taken back. */
static void reads_none(void)
{
	char c;

	while (board->go != 3)
		;
	for (int i = 0; i < 64; i++) {
		CHECK_EQ(read(i, &c, 1), -1);
		CHECK_EQ(errno, EBADF);
	}
}

/* Hands its caller what it has. */
static ssize_t hands_out(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int fd = sthread_gate_give_fd((int)(intptr_t)trusted, STHREAD_FD_READ);

	(void)in, (void)in_len;
	return fd < 0 ? fd : gate_answer(out, out_cap, fd);
}

/* Asks for it again and again, over the revocation: then there is none that it could read. */
ST_FN(collects)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_gate *g, *again;
	int64_t fd = -1;
	int last = -1;
	ssize_t n;

	CHECK_OK(sthread_policy_fd(p, board->pipe, STHREAD_FD_READ));
	g = GATE(.fn = hands_out, .policy = p, .trusted = (void *)(intptr_t)board->pipe, .kind = board->kind);
	while ((n = sthread_gate_call(g, NULL, 0, &fd, sizeof(fd))) != -ENOENT) {
		CHECK(n == sizeof(fd) || n == -ECANCELED);
		board->go = 1;
		if (n < 0)
			continue;
		CHECK(!close(last) || errno == EBADF); /* so that it always has one */
		last = (int)fd;
		CHECK_OK(sthread_policy_create(&p)); /* and to keep it by another gate */
		if (!sthread_policy_fd(p, last, STHREAD_FD_READ) && !try_gate(&again, p, gate_nothing, NULL))
			sthread_gate_destroy(again);
		sthread_policy_destroy(p);
	}
	board->go = 2;
	reads_none();
	return NULL;
}

static ssize_t gate_beats(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct board *b = trusted;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	beats((void *)&b->beats);
	return 0;
}

/* It is in a gate of its own that does not end, or in the queue behind a child that is. */
ST_FN(holds_up)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread *st;
	ssize_t n;

	board->gate = GATE(.fn = gate_beats, .policy = p, .trusted = arg);
	p = of_gate(arg, board->gate);
	if (board->queued) {
		CHECK_OK(sthread_create(&st, p, asks, arg));
		while (board->beats < 1000)
			;
	}
	n = sthread_gate_call(board->gate, NULL, 0, NULL, 0);
	CHECK_EQ(n, -ECANCELED);
	return NULL;
}

static void held_up(struct sthread_policy *p, int fd)
{
	struct sthread_result r;
	struct sthread *st;
	uint64_t start;

	for (int queue = 0; queue < 2; queue++) {
		board->beats = 0;
		board->queued = (uint64_t)queue;
		st = st_create(p, holds_up, board);
		LIFE_UNTIL(board->beats >= 1000);
		life_nap(20000);
		start = life_now();
		CHECK_OK(sthread_policy_fd_revoke(st, fd));
		CHECK_LT(life_now() - start, SOON);
		if (queue)
			CHECK_OK(sthread_kill(st));
		r = st_join(st);
		if (queue)
			ST_END(&r, STHREAD_KILLED);
		else
			ST_RETURNED(&r, 0);
	}
}

/* A call that nothing interrupts: who takes something back meanwhile looks more and more seldom. */
static ssize_t naps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	life_nap(10000);
	return 0;
}

/* It has just given it up, and asks its own gate for it at once, before the master looks again. */
ST_FN(gets_again)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_gate *g, *slow;
	int64_t fd = -1;
	char c;

	CHECK_OK(sthread_gate_find(&slow, "naps"));
	CHECK_OK(sthread_policy_fd(p, board->pipe, STHREAD_FD_READ));
	g = GATE(.fn = hands_out, .policy = p, .trusted = (void *)(intptr_t)board->pipe, .kind = board->kind);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &fd, sizeof(fd)), sizeof(fd));
	CHECK_OK(close((int)fd));
	board->go = 1;
	do
		CHECK_EQ(sthread_gate_call(slow, NULL, 0, NULL, 0), 0);
	while (read(board->pipe, &c, 1) == -1 && errno == EAGAIN);
	CHECK_EQ(errno, EBADF);
	if (sthread_gate_call(g, NULL, 0, &fd, sizeof(fd)) == sizeof(fd))
		sthread_gate_destroy(g);
	board->go = 2;
	reads_none();
	return NULL;
}

static void given_up(void)
{
	struct sthread_gate *slow = GATE(.name = "naps", .fn = naps, .native = true);
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	struct sthread *st;
	int fds[2];

	CHECK(!pipe2(fds, O_NONBLOCK));
	board->pipe = fds[0];
	st_grant(p, fds[0], STHREAD_FD_READ);
	st_allow(p, SYS_read, SYS_close);
	CHECK_OK(sthread_policy_gate(p, slow));
	for (board->kind = STHREAD_GATE_FRESH; board->kind <= STHREAD_GATE_RECYCLED; board->kind++) {
		for (unsigned long i = test_scale(10); i; i--) {
			board->go = 0;
			st = st_create(p, gets_again, board);
			LIFE_UNTIL(board->go == 1);
			CHECK_OK(sthread_policy_fd_revoke(st, fds[0]));
			LIFE_UNTIL(board->go == 2);
			board->go = 3;
			r = st_join(st);
			ST_RETURNED(&r, 0);
		}
	}
	close(fds[0]);
	close(fds[1]);
	sthread_gate_destroy(slow);
	sthread_policy_destroy(p);
}

static void taken_back(void)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	struct sthread *st;
	int fds[2];

	CHECK(!pipe2(fds, O_NONBLOCK));
	CHECK(!fcntl(fds[0], F_SETFL, 0));
	board->pipe = fds[0];
	st_grant(p, fds[0], STHREAD_FD_READ);
	st_allow(p, SYS_read, SYS_close);
	held_up(p, fds[0]);
	for (board->kind = STHREAD_GATE_FRESH; board->kind <= STHREAD_GATE_RECYCLED; board->kind++) {
		board->go = 0;
		st = st_create(p, has_reader, board);
		LIFE_UNTIL(board->go == 1);
		life_nap(20000);
		CHECK_OK(sthread_policy_fd_revoke(st, fds[0]));
		board->go = 2; /* until then calls of its gates end */
		r = st_join(st);
		ST_RETURNED(&r, 0);
		for (unsigned long i = test_scale(10); i; i--) {
			board->go = 0;
			st = st_create(p, collects, board);
			LIFE_UNTIL(board->go == 1);
			life_nap(500 * i);
			CHECK_OK(sthread_policy_fd_revoke(st, fds[0]));
			LIFE_UNTIL(board->go == 2);
			board->go = 3;
			r = st_join(st);
			ST_RETURNED(&r, 0);
		}
	}
	close(fds[0]);
	close(fds[1]);
	sthread_policy_destroy(p);
}

/* ---- a native gate, called from beneath, ends or takes from the one above: it does not wait for itself ---- */

static struct sthread *above;

static ssize_t strikes(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct board *b = trusted;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	LIFE_UNTIL(b->go == 1);
	CHECK_ERR(sthread_policy_fd_revoke(above, b->pipe), -EDEADLK);
	CHECK_OK(sthread_kill(above));
	return 0;
}

static ssize_t asks_strike(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_ask("strikes", NULL, 0, out, out_cap);
}

ST_FN(is_struck)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_gate *native;
	struct sthread *st;

	CHECK_OK(sthread_gate_find(&native, "strikes"));
	CHECK_OK(sthread_policy_gate(p, native));
	board->gate = GATE(.fn = asks_strike, .policy = p);
	CHECK_OK(sthread_create(&st, of_gate(arg, board->gate), asks, arg));
	CHECK_OK(sthread_join(st, NULL));
	return NULL;
}

static void struck(void)
{
	struct sthread_gate *g = GATE(.name = "strikes", .fn = strikes, .native = true, .trusted = board);
	struct sthread_policy *p = of_master();
	struct sthread_result r;

	board->pipe = open("/dev/null", O_RDONLY);
	st_grant(p, board->pipe, STHREAD_FD_READ);
	CHECK_OK(sthread_policy_gate(p, g));
	board->go = 0;
	above = st_create(p, is_struck, board);
	board->go = 1;
	r = st_join(above);
	ST_END(&r, STHREAD_KILLED);
	close(board->pipe);
	sthread_gate_destroy(g);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	board_init();
	taken_back();
	given_up();
	struck();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
