/* SPDX-License-Identifier: MIT */
/*
 * Gates without end, each granted by the next, or each the step before the next, and destroyed when that is there: they
 * do not pile up in the program, to come down all at once, one by the other, on the stack of a thread of it.  World: host;
 * answers() and ST_FN: inside.
 */
#include <malloc.h>

#include "tests/st_gate.h"

#define GATES	  1000
#define LEAST_LEN 512 /* of what the program would have for each */

enum way { BY_POLICY, BY_ORDER, BY_BOTH, WAYS };

/* Native: bytes of the program's heap that are in use. */
static ssize_t measures(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct mallinfo2 m = mallinfo2();

	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)(m.uordblks + m.hblkhd));
}

static ssize_t answers(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)(intptr_t)trusted);
}

static struct sthread_gate *next(enum way way, struct sthread_gate *before, intptr_t number)
{
	struct sthread_gate_config cfg = { .size = sizeof(cfg),
					   .fn = answers,
					   .trusted = (void *)number };
	struct sthread_policy *p;
	struct sthread_gate *g;

	CHECK_OK(sthread_policy_create(&p));
	if (before && way != BY_ORDER)
		CHECK_OK(sthread_policy_gate(p, before));
	if (before && way != BY_POLICY)
		cfg.after = before;
	cfg.policy = p;
	CHECK_OK(sthread_gate_create(&g, &cfg));
	sthread_policy_destroy(p);
	return g;
}

static void answer(struct sthread_gate *g, int64_t number)
{
	int64_t word = -1;

	CHECK_EQ(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), (ssize_t)sizeof(word));
	CHECK_EQ(word, number);
}

/* The twin: each is called while the one before is there, and may be called on where no order speaks of that. */
static void are_called(enum way way)
{
	struct sthread_gate *first = next(way, NULL, 0), *second = next(way, first, 1);

	if (way != BY_POLICY)
		CHECK_ERR(sthread_gate_call(second, NULL, 0, NULL, 0), -EPERM);
	answer(first, 0);
	answer(second, 1);
	sthread_gate_destroy(first);
	CHECK_ERR(sthread_gate_call(first, NULL, 0, NULL, 0), -ENOENT);
	if (way != BY_POLICY)
		CHECK_ERR(sthread_gate_call(second, NULL, 0, NULL, 0), -EPERM);
	else
		answer(second, 1);
	sthread_gate_destroy(second);
}

ST_FN(piles_up)
{
	enum way way = (enum way)(uintptr_t)arg;
	struct sthread_gate *g, *before;
	int64_t first, last;

	are_called(way);
	first = gate_word("measures");
	g = next(way, NULL, 0);
	for (intptr_t i = 1; i < GATES; i++) {
		before = g;
		g = next(way, before, i);
		sthread_gate_destroy(before);
	}
	last = gate_word("measures");
	CHECK_LT(last - first, (int64_t)GATES * LEAST_LEN);
	return NULL;
}

int main(void)
{
	struct sthread_policy *p;
	struct sthread_gate *g;

	st_init();
	g = GATE(.name = "measures", .fn = measures, .native = true);
	p = gate_policy(g);
	for (enum way way = BY_POLICY; way < WAYS; way++) {
		struct sthread_result r = st_run(p, piles_up, (void *)(uintptr_t)way);

		ST_RETURNED(&r, 0);
		st_others_live();
	}
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
	sthread_fini();
	return TEST_PASSED;
}
