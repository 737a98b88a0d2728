/* SPDX-License-Identifier: MIT */
/*
 * What a gate looks at twice is the same twice: its message is a copy, also while another hand changes the caller's
 * memory all the time, in the page that the message was taken from.  World: host, with the library's inner names to have
 * such a hand; gates and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#include <stdatomic.h>

#include "sthread/gate/gate.h"

#define LEN 4000

static char *_Atomic page;	/* the caller's message, on the host */
static atomic_bool over;
static atomic_ulong changes;

/* ---- gates ---- */

/* Finds the caller's page, which stays what it is as long as the caller runs. */
static ssize_t shows_page(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct lane *l = gate_current()->caller;
	struct dune_leaf leaf;
	uint64_t at;

	(void)trusted, (void)out, (void)out_cap;
	CHECK_EQ(in_len, sizeof(at));
	memcpy(&at, in, sizeof(at));
	CHECK_OK(dune_vm_lookup(l->space, dune_gva(at), &leaf));
	CHECK(leaf.prot & DUNE_WRITE);
	atomic_store(&page, (char *)dune_page_host(l->ctx.mem.vm, leaf.page) + at % 4096);
	return 0;
}

static ssize_t hides_page(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned long seen = atomic_load(&changes);

	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	/* The hand was at work, and has left. */
	LIFE_UNTIL(atomic_load(&changes) > seen + 2);
	atomic_store(&page, NULL);
	seen = atomic_load(&changes);
	LIFE_UNTIL(atomic_load(&changes) >= seen + 2);
	return 0;
}

static ssize_t looks_twice(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static char first[LEN];

	(void)trusted, (void)out, (void)out_cap;
	CHECK_EQ(in_len, LEN);
	memcpy(first, in, LEN);
	for (volatile int i = 0; i < 300000; i++)
		;
	for (int i = 0; i < LEN; i++)
		if (((const volatile char *)in)[i] != first[i])
			return -EILSEQ;
	return 0;
}

/* ---- inside ---- */

static _Alignas(4096) char message[4096];

/* arg: how often. */
ST_FN(calls)
{
	uint64_t at = (uintptr_t)message;
	bool differs = false;

	message[0] = 1;
	CHECK_EQ(gate_ask("shows", &at, sizeof(at), NULL, 0), 0);
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++) {
		char before = ((volatile char *)message)[7];

		CHECK_EQ(gate_ask(i % 3 == 0 ? "fresh" : i % 3 == 1 ? "recycled" : "native", message, LEN, NULL, 0), 0);
		differs |= ((volatile char *)message)[7] != before;
	}
	CHECK_EQ(gate_ask("hides", NULL, 0, NULL, 0), 0);
	CHECK(differs); /* the twin: without the copy it would have been seen */
	return NULL;
}

/* ---- the other hand ---- */

static void *hand(void *unused)
{
	for (unsigned char c = 0; !atomic_load(&over); c++) {
		char *p = atomic_load(&page);

		if (p)
			memset(p, c, LEN);
		atomic_fetch_add(&changes, 1);
		if (!p)
			life_nap(100);
	}
	return unused;
}

int main(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_gate *g[5];
	pthread_t t;

	st_init();
	g[0] = GATE(.name = "shows", .fn = shows_page, .native = true);
	g[1] = GATE(.name = "hides", .fn = hides_page, .native = true);
	g[2] = GATE(.name = "fresh", .fn = looks_twice);
	g[3] = GATE(.name = "recycled", .fn = looks_twice, .kind = STHREAD_GATE_RECYCLED);
	g[4] = GATE(.name = "native", .fn = looks_twice, .native = true);
	for (int i = 0; i < 5; i++)
		CHECK_OK(sthread_policy_gate(p, g[i]));
	t = life_thread(hand, NULL);
	ST_PASSES(p, calls, test_scale(60) + 3);
	atomic_store(&over, true);
	life_join(t);
	for (int i = 0; i < 5; i++)
		sthread_gate_destroy(g[i]);
	sthread_policy_destroy(p);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
