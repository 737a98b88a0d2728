/* SPDX-License-Identifier: MIT */
/* st_gate.h - what tests of callgates share.  World: host; gate_ask() also inside. */
#ifndef TESTS_ST_GATE_H
#define TESTS_ST_GATE_H

#include "tests/st.h"

/* GATE(.name = "echo", .fn = echo) */
static inline struct sthread_gate *gate_make(struct sthread_gate_config cfg)
{
	struct sthread_gate *g;

	cfg.size = sizeof(cfg);
	CHECK_OK(sthread_gate_create(&g, &cfg));
	return g;
}
#define GATE(...) gate_make((struct sthread_gate_config){ __VA_ARGS__ })

/* A policy that grants one gate, or none (NULL). */
static inline struct sthread_policy *gate_policy(struct sthread_gate *g)
{
	struct sthread_policy *p = st_policy();

	if (g)
		CHECK_OK(sthread_policy_gate(p, g));
	return p;
}

/* Inside: calls the gate of that name. */
static inline ssize_t gate_ask(const char *name, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_gate *g;

	CHECK_OK(sthread_gate_find(&g, name));
	return sthread_gate_call(g, in, in_len, out, out_cap);
}

/* A call that answers a word; an error as it is. */
static inline int64_t gate_word_of(struct sthread_gate *g, const void *in, size_t in_len)
{
	int64_t word = -1;
	ssize_t n = sthread_gate_call(g, in, in_len, &word, sizeof(word));

	if (n < 0)
		return n;
	CHECK_EQ(n, (ssize_t)sizeof(word));
	return word;
}

/* Inside: the same, of no arguments, by name. */
static inline int64_t gate_word(const char *name)
{
	struct sthread_gate *g;

	CHECK_OK(sthread_gate_find(&g, name));
	return gate_word_of(g, NULL, 0);
}

static inline ssize_t gate_answer(void *out, size_t cap, int64_t word)
{
	if (cap < sizeof(word))
		return -EMSGSIZE;
	memcpy(out, &word, sizeof(word));
	return sizeof(word);
}

static inline ssize_t gate_nothing(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return 0;
}

#endif
