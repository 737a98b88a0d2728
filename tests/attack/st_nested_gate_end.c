/* SPDX-License-Identifier: MIT */
/*
 * Gates that compartments make end with their makers, whatever is in them; what is taken back from their maker they give
 * nobody any more; and neither that nor a kill waits for them.  World: host; gates and ST_FN: inside.
 */
#include <fcntl.h>

#include "tests/kvm/st_life.h"
#include "tests/st_nested.h"

#define MS   1000000UL
#define SOON 5000000000UL /* generous: the emulated machine is slow, and never as slow as for ever */

ST_FN(asks)
{
	struct board *b = arg;

	b->queued++;
	b->answer = sthread_gate_call(b->gate, NULL, 0, NULL, 0);
	return NULL;
}

/* ---- its maker ends while it is called ---- */

/* The call beats, and so does its child. */
ST_FN(beats)
{
	struct board *b = arg;

	for (;;)
		b->beats++;
	return NULL;
}

static ssize_t gate_beats(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_policy *p = with_board(trusted);
	struct sthread *st;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	CHECK_OK(sthread_create(&st, p, beats, trusted));
	beats(trusted);
	return 0;
}

/* Two children call it: one is in it, the other waits for its turn. */
ST_FN(has_called_gate)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread *st[2];

	board->gate = GATE(.fn = gate_beats, .policy = p, .trusted = arg, .kind = board->kind);
	p = of_gate(arg, board->gate);
	for (int i = 0; i < 2; i++)
		CHECK_OK(sthread_create(&st[i], p, asks, arg));
	while (board->beats < 1000 || board->queued < 2)
		;
	if (board->go == 1)
		return (void *)5;
	if (board->go == 2)
		*(volatile char *)(uintptr_t)board->go = 1;
	if (board->go == 3) /* and from now on without a name */
		sthread_gate_destroy(board->gate);
	if (board->go == 4)
		return (void *)sthread_gate_call(board->gate, NULL, 0, NULL, 0);
	CHECK_OK(sthread_join(st[0], NULL));
	return NULL;
}

static void still(void)
{
	uint64_t beats = board->beats;

	usleep(20000);
	CHECK_EQ(board->beats, beats);
	CHECK_GE(beats, 1000);
	board->beats = board->queued = 0;
}

static void outlived(void)
{
	struct sthread_policy *p = of_master();
	struct sthread_result r;
	struct sthread *st;
	uint64_t start;

	for (board->kind = STHREAD_GATE_FRESH; board->kind <= STHREAD_GATE_RECYCLED; board->kind++) {
		board->go = 1;
		r = st_call(p, has_called_gate, board);
		ST_RETURNED(&r, 5);
		still();
		board->go = 2;
		r = st_run(p, has_called_gate, board);
		ST_END(&r, STHREAD_FAULTED);
		still();
		for (board->go = 3; board->go <= 4; board->go++) {
			st = st_create(p, has_called_gate, board);
			LIFE_UNTIL(board->beats >= 1000);
			life_nap(20000);
			start = life_now();
			CHECK_OK(sthread_kill(st));
			still(); /* as soon as the kill is done */
			CHECK_LT(life_now() - start, SOON);
			r = st_join(st);
			ST_END(&r, STHREAD_KILLED);
		}
	}
	board->kind = STHREAD_GATE_RECYCLED;
	board->go = 4;
	st_limit(p, STHREAD_LIMIT_WALL_NS, 2000 * MS);
	r = st_call(p, has_called_gate, board);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	still();
	sthread_policy_destroy(p);
}

/* ---- after its maker: of a recycled gate each call is one ---- */

static ssize_t keeps_handle(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static struct sthread_policy *kept;
	static struct sthread_gate *g;

	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	if (!g) {
		g = GATE(.name = "mine", .fn = nothing, .kind = STHREAD_GATE_RECYCLED);
		CHECK_OK(sthread_policy_create(&kept));
		CHECK_OK(sthread_policy_gate(kept, g));
		CHECK_OK(sthread_call(kept, returns, NULL, NULL));
		CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
		return 1;
	}
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -ENOENT);
	CHECK_ERR(sthread_gate_find(&g, "mine"), -ENOENT);
	CHECK_ERR(sthread_call(kept, returns, NULL, NULL), -EPERM);
	g = GATE(.name = "mine", .fn = nothing);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
	return 2;
}

ST_FN(asks_keeper)
{
	char out[8];

	CHECK_EQ(gate_ask("keeper", NULL, 0, out, sizeof(out)), 1);
	CHECK_EQ(gate_ask("keeper", NULL, 0, out, sizeof(out)), 2);
	CHECK_EQ(gate_ask("keeper", NULL, 0, out, sizeof(out)), 2);
	return NULL;
}

static void ended(void)
{
	for (int i = 0; i < 2; i++) {
		struct sthread_gate *g = GATE(.name = "keeper", .fn = keeps_handle, .kind = STHREAD_GATE_RECYCLED);
		struct sthread_policy *p = gate_policy(g);
		struct sthread_result r = i ? st_run(p, asks_keeper, NULL) : st_call(p, asks_keeper, NULL);

		ST_RETURNED(&r, 0);
		sthread_gate_destroy(g);
		sthread_policy_destroy(p);
	}
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
	struct sthread_gate *other = GATE(.fn = nothing), *g;
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
	char c;

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
		if (!sthread_policy_fd(p, last, STHREAD_FD_READ) && !try_gate(&again, p, nothing, NULL))
			sthread_gate_destroy(again);
		sthread_policy_destroy(p);
	}
	board->go = 2;
	while (board->go != 3)
		;
	for (int i = 0; i < 64; i++) {
		CHECK_EQ(read(i, &c, 1), -1);
		CHECK_EQ(errno, EBADF);
	}
	return NULL;
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
	while (board->go != 3)
		;
	for (int i = 0; i < 64; i++) {
		CHECK_EQ(read(i, &c, 1), -1);
		CHECK_EQ(errno, EBADF);
	}
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
	outlived();
	ended();
	taken_back();
	given_up();
	struck();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
