/* SPDX-License-Identifier: MIT */
/*
 * st_race.h - another hand that changes memory which two compartments share, while a call of one of them looks at it.
 * The hand is a compartment of its own.  World: inside.
 */
#ifndef TESTS_ST_RACE_H
#define TESTS_ST_RACE_H

#include <stdatomic.h>
#include <time.h>

#include "tests/st.h"

#define RACE_WORDS 16

/* In the shared memory: both values in turn, word by word, to where the first is now. */
struct hand {
	atomic_uint want, seen;
	atomic_ulong flips;
	volatile uint64_t *at;
	unsigned words;
	uint64_t good[RACE_WORDS], bad[RACE_WORDS];
	unsigned long rounds; /* of each race, at least; set by the master */
};

static inline uint64_t race_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

ST_FN(hand_changes)
{
	struct hand *h = arg;

	for (;;) {
		unsigned want = atomic_load(&h->want);

		atomic_store(&h->seen, want);
		if (!want)
			continue;
		for (unsigned i = 0; i < h->words; i++)
			h->at[i] = h->bad[i];
		atomic_fetch_add(&h->flips, 1); /* and time for it to be seen */
		for (unsigned i = 0; i < h->words; i++)
			h->at[i] = h->good[i];
		atomic_fetch_add(&h->flips, 1);
	}
	return NULL;
}

struct race {
	struct hand *h;
	unsigned long rounds, flips, good, bad;
	uint64_t soon, until;
};

static inline void race_flipped(struct hand *h, unsigned long more)
{
	unsigned long from = atomic_load(&h->flips);

	while (atomic_load(&h->flips) - from < more)
		;
}

/* From now on [at, at+len) is changed all the time. */
static inline struct race race_begin(struct hand *h, void *at, const void *good, const void *bad,
				     size_t len)
{
	uint64_t now = race_now();
	struct race r = { .h = h, .soon = now + 5000000000UL, .until = now + 40000000000UL };

	CHECK(len <= sizeof(h->good) && len % 8 == 0 && (uintptr_t)at % 8 == 0);
	memcpy(at, good, len);
	memcpy(h->good, good, len);
	memcpy(h->bad, bad, len);
	h->at = at;
	h->words = (unsigned)(len / 8);
	atomic_store(&h->want, 1);
	race_flipped(h, 2);
	r.flips = atomic_load(&h->flips);
	return r;
}

/*
 * For as many rounds as are wanted, and until the call has met both.  A round counts if the hand was at work meanwhile;
 * where both take turns on one processor, after some seconds all do.
 */
static inline bool race_goes_on(struct race *r)
{
	unsigned long flips = atomic_load(&r->h->flips);
	uint64_t now = race_now();

	r->rounds += flips != r->flips || now > r->soon;
	r->flips = flips;
	if (r->rounds < r->h->rounds || !r->good || !r->bad) {
		CHECK_MSG(now < r->until, "%lu good, %lu bad", r->good, r->bad);
		return true;
	}
	return false;
}

static inline void race_ends(struct race *r)
{
	struct hand *h = r->h;

	atomic_store(&h->want, 0);
	while (atomic_load(&h->seen))
		;
	memcpy((void *)(uintptr_t)h->at, h->good, h->words * 8);
}

/* One call; its error must be this one. */
static inline bool race_counted(struct race *r, long result, long good, int err)
{
	if (result == good) {
		r->good++;
		return true;
	}
	CHECK_MSG(result == -1 && errno == err, "%ld, errno %d", result, errno);
	r->bad++;
	return false;
}

#endif
