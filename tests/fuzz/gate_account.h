/* SPDX-License-Identifier: MIT */
/*
 * gate_account.h - what memory a run of gate.c has, by the target's own account: what it began with, and what gates gave
 * it.  World: host, fuzzing.
 *
 * A gate gives of what is in its account, and no other thing adds to one.  What the library says a run has, its policy,
 * is the same, page by page, at any time.
 */
#ifndef TESTS_FUZZ_GATE_ACCOUNT_H
#define TESTS_FUZZ_GATE_ACCOUNT_H

#include "sthread/gate/gate.h"
#include "sthread/tag/tag.h"
#include "tests/fuzz/fuzz.h"

#define TAGS	  3
#define TAG_PAGES 16
#define TAG_LEN	  (TAG_PAGES * DUNE_PAGE_SIZE)
#define ALL	  (STHREAD_READ | STHREAD_WRITE)

#define GATES	  4

static struct sthread_tag tag[TAGS];
static struct sthread_gate *gate[GATES]; /* the master's */

struct account {
	unsigned char rights[TAGS][TAG_PAGES];
};

/* Every lane of the target is the beginning of one. */
struct accounted {
	struct lane lane;
	struct account has;
};

static inline struct account *account(const struct lane *l)
{
	return &((struct accounted *)l)->has;
}

static inline struct account account_of(const struct policy *p)
{
	struct account a = { 0 };

	for (size_t i = 0; i < p->mem.n; i++) {
		const struct grant *g = &p->mem.list[i];
		size_t t = (size_t)(g->tag - tag),
		       first = (g->start - tag[t].start) / DUNE_PAGE_SIZE;

		CHECK(t < TAGS && g->start >= tag[t].start &&
		      g->len <= tag[t].start + TAG_LEN - g->start);
		for (size_t n = 0; n < g->len / DUNE_PAGE_SIZE; n++)
			a.rights[t][first + n] |= (unsigned char)g->rights;
	}
	return a;
}

static inline bool account_within(const struct account *a, const struct account *of)
{
	for (unsigned t = 0; t < TAGS; t++)
		for (unsigned i = 0; i < TAG_PAGES; i++)
			if (a->rights[t][i] & ~of->rights[t][i])
				return false;
	return true;
}

/* Of the last tag: what the master's gates have, and the run has not. */
static inline unsigned last_tag(unsigned which)
{
	return which == 2 ? ALL : STHREAD_READ;
}

/* What whole() of gate.c grants to the master's gates, and to the run, which comes after them. */
static inline struct account account_whole(unsigned which)
{
	struct account a = { 0 };

	memset(a.rights[0], ALL, TAG_PAGES);
	memset(a.rights[1], STHREAD_READ, 4);
	if (which < GATES)
		memset(a.rights[2], (int)last_tag(which), TAG_PAGES);
	return a;
}

static inline void account_opened(struct lane *l, const struct policy *p)
{
	const struct sthread_gate *g = l->gates.serving ? l->gates.serving->gate : NULL;
	struct account whole;
	unsigned i = 0;

	*account(l) = account_of(p);
	if (g && g->root)
		return;
	while (g && gate[i] != g)
		i++;
	whole = account_whole(g ? i : GATES);
	CHECK_MEM(account(l), &whole, sizeof(whole));
}

static inline void account_holds(const struct lane *l)
{
	const struct account a = account_of(l->ctx.policy);

	CHECK_MEM(&a, account(l), sizeof(a));
	CHECK(l->pinned == l->ctx.policy);
}

/* It said that it gave: by a compartment, or (NULL) a native gate, which has all. */
static inline void account_gave(const struct lane *giver, struct lane *to, uint64_t handle,
				unsigned rights)
{
	size_t t = (size_t)((struct sthread_tag *)handle -
			    tag); /* NOLINT(performance-no-int-to-ptr) */

	CHECK(t < TAGS && handle == (uint64_t)&tag[t]);
	CHECK(to && rights && !(rights & ~ALL) && (!giver || !tag[t].plain));
	for (unsigned i = 0; i < TAG_PAGES; i++) {
		CHECK(!giver || !(rights & ~account(giver)->rights[t][i]));
		account(to)->rights[t][i] |= (unsigned char)(rights | STHREAD_READ);
	}
}

#endif
