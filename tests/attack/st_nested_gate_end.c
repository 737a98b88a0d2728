/* SPDX-License-Identifier: MIT */
/*
 * Gates that compartments make end with their makers, whatever is in them, and a kill does not wait for them.
 * World: host; gates and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_nested.h"

struct board {
	enum sthread_gate_kind kind;
	_Atomic uint64_t beats, go, queued;
	_Atomic(struct sthread_gate *) gate;
};

ST_FN(asks)
{
	struct board *b = arg;

	b->queued++;
	return (void *)sthread_gate_call(b->gate, NULL, 0, NULL, 0);
}

/* ---- its maker ends while it is called ---- */

/* The call beats, and so does its child. */
static ssize_t gate_beats(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_policy *p = with_board(trusted);
	struct sthread *st;

	(void)in, (void)in_len, (void)out, (void)out_cap;
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	CHECK_OK(sthread_create(&st, p, beats, (void *)&board->beats));
	beats((void *)&board->beats);
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
	for (int i = 0; i < 2; i++) /* who waits may find no name any more; who is in it does not come back */
		CHECK_OK(sthread_join(st[i], NULL));
	return NULL;
}

static void still(void)
{
	stands_still(&board->beats);
	board->queued = 0;
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
		g = GATE(.name = "mine", .fn = gate_nothing, .kind = STHREAD_GATE_RECYCLED);
		CHECK_OK(sthread_policy_create(&kept));
		CHECK_OK(sthread_policy_gate(kept, g));
		CHECK_OK(sthread_call(kept, returns, NULL, NULL));
		CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
		return 1;
	}
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -ENOENT);
	CHECK_ERR(sthread_gate_find(&g, "mine"), -ENOENT);
	CHECK_ERR(sthread_call(kept, returns, NULL, NULL), -EPERM);
	g = GATE(.name = "mine", .fn = gate_nothing);
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

int main(void)
{
	st_init();
	board_init();
	outlived();
	ended();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
