/* SPDX-License-Identifier: MIT */
/*
 * st_nested.h - what tests of compartments that make compartments share: a board in tagged memory, policies, gates, and
 * what runs in them.  World: host; what is not of_master(), board_init() and both_ways(): inside.
 */
#ifndef TESTS_ST_NESTED_H
#define TESTS_ST_NESTED_H

#include <stdatomic.h>

#include "tests/st_gate.h"

#define MS   1000000UL
#define SOON 5000000000UL /* generous: the emulated machine is slow, and never as slow as for ever */

/* What master and compartments share; of each test its own. */
struct board;
static struct sthread_tag *board_tag;
static struct board *board;

#define board_init()                                                     \
	do {                                                             \
		CHECK_OK(sthread_tag_create(&board_tag, "board", 1 << 16)); \
		board = sthread_calloc(board_tag, 1, sizeof(*board));    \
		CHECK(board);                                            \
	} while (0)

static inline struct sthread_policy *of_master(void)
{
	struct sthread_policy *p = st_policy();

	CHECK_OK(sthread_policy_tag(p, board_tag, STHREAD_WRITE));
	return p;
}

/* On this thread, and on one of the library, which is behind the wall. */
static inline void both_ways(const struct sthread_policy *p, st_fn *fn, void *arg)
{
	struct sthread_result r;

	ST_PASSES(p, fn, arg);
	r = st_run(p, fn, arg);
	ST_RETURNED(&r, 0);
}

static inline struct sthread_policy *fresh(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	return p;
}

/* Inside: a policy with the board. */
static inline struct sthread_policy *with_board(void *at)
{
	struct sthread_policy *p = fresh();

	board = at; /* its copy */
	CHECK_OK(sthread_policy_tag(p, sthread_tag_of(at), STHREAD_WRITE));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 2 << 20));
	return p;
}

/* A second one, which grants the gate, too. */
static inline struct sthread_policy *of_gate(void *at, struct sthread_gate *g)
{
	struct sthread_policy *p = with_board(at);

	CHECK_OK(sthread_policy_gate(p, g));
	return p;
}

static inline int try_gate(struct sthread_gate **g, const struct sthread_policy *p, sthread_gate_fn *fn, void *trusted)
{
	return sthread_gate_create(g, &(struct sthread_gate_config){ .size = sizeof(struct sthread_gate_config),
								     .fn = fn, .policy = p, .trusted = trusted });
}

static inline ssize_t forty_two(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, 42);
}

ST_FN(returns)
{
	return arg;
}

ST_FN(rests)
{
	for (;;)
		pause();
	return arg;
}

ST_FN(burns)
{
	for (;;)
		;
	return arg;
}

/* arg: a counter on the board. */
ST_FN(beats)
{
	_Atomic uint64_t *n = arg;

	for (;;)
		++*n;
	return NULL;
}

/* What beat does no more; it begins again at 0. */
static inline void stands_still(_Atomic uint64_t *n)
{
	uint64_t beats = *n;

	usleep(20000);
	CHECK_EQ(*n, beats);
	CHECK_GE(beats, 1000);
	*n = 0;
}

#endif
