/* SPDX-License-Identifier: MIT */
/*
 * st_nested.h - what tests of gates made inside share: a board in tagged memory, policies and gates there.  World: host;
 * what is not of_master() and board_init(): inside.
 */
#ifndef TESTS_ST_NESTED_H
#define TESTS_ST_NESTED_H

#include <stdatomic.h>

#include "tests/st_gate.h"

struct board {
	int pipe;
	enum sthread_gate_kind kind;
	_Atomic uint64_t beats, go, queued, inside, most, burnt;
	_Atomic int64_t answer;
	_Atomic(struct sthread_gate *) gate;
};
static struct sthread_tag *board_tag;
static struct board *board;

static inline void board_init(void)
{
	CHECK_OK(sthread_tag_create(&board_tag, "board", 1 << 16));
	board = sthread_calloc(board_tag, 1, sizeof(*board));
	CHECK(board);
}

/* Inside: a policy with the board. */
static inline struct sthread_policy *with_board(void *at)
{
	struct sthread_policy *p;

	board = at; /* its copy */
	CHECK_OK(sthread_policy_create(&p));
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

static inline struct sthread_policy *of_master(void)
{
	struct sthread_policy *p = st_policy();

	CHECK_OK(sthread_policy_tag(p, board_tag, STHREAD_WRITE));
	return p;
}

static inline ssize_t nothing(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return 0;
}

ST_FN(returns)
{
	return arg;
}

static inline int try_gate(struct sthread_gate **g, const struct sthread_policy *p, sthread_gate_fn *fn, void *trusted)
{
	return sthread_gate_create(g, &(struct sthread_gate_config){ .size = sizeof(struct sthread_gate_config),
								     .fn = fn, .policy = p, .trusted = trusted });
}

#endif
