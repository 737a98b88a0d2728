/* SPDX-License-Identifier: MIT */
/*
 * A new address space in the page-table pages of a dead one reads its own memory, never the dead one's: roots and
 * tables of every level, on one vCPU and on two.  World: host.
 */
#include "tests/guest.h"

#define GIB   (1UL << 30)
#define BASE  0x40000000UL
#define VCPUS 2

static struct dune_vcpu *c[VCPUS];

/* One page in each table of a path, so that every level's tables are among what is reused. */
static const uint64_t places[] = {
	BASE,
	BASE + 4096,
	BASE + GUEST_HUGE,
	BASE + 3 * GIB,
	BASE + 512 * GIB,
	200 * 512 * GIB,
	DUNE_USER_END - 4096,
};
#define PLACES (sizeof(places) / sizeof(*places))

/* Which places a round maps: neighbours differ, so that a stale entry would show as memory where there is none. */
static bool has(unsigned long round, size_t place)
{
	return (round * 0x9e3779b97f4a7c15UL >> (8 + place)) & 1;
}

static uint64_t value(unsigned long round, size_t place)
{
	return 0xdead000000000000UL + round * 256 + place;
}

static void look(struct dune_vcpu *v, struct dune_space *s, unsigned long round)
{
	for (size_t p = 0; p < PLACES; p++) {
		if (has(round, p)) {
			CHECK_EQ(guest_read(v, s, places[p]), value(round, p));
			guest_write(v, s, places[p], value(round, p));
		} else {
			guest_read_fault(v, s, places[p], PF_ABSENT_READ);
			guest_write_fault(v, s, places[p], PF_ABSENT_WRITE);
		}
	}
}

/* Spaces come and go; `lag` of them live at a time; vCPUs alternate or not. */
static void generations(unsigned long rounds, unsigned vcpus, unsigned lag)
{
	struct dune_space *live[4] = { NULL };
	struct dune_vm_stats st;
	uint64_t pages = 0, tables = 0, begun = 0;

	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 4000); i++) {
		struct dune_space *s;

		if (i >= lag) {
			/* Its last moments are on another vCPU than the next one's first. */
			look(c[i % vcpus], live[i % lag], i - lag);
			dune_vm_free(live[i % lag]);
		}
		s = guest_space();
		for (size_t p = 0; p < PLACES; p++)
			if (has(i, p))
				guest_map(s, places[p], value(i, p), RW);
		for (unsigned v = 0; v < vcpus; v++)
			look(c[(i + v) % vcpus], s, i);
		live[i % lag] = s;
		/* It is reuse that happens here: the arena does not grow with the rounds. */
		dune_vm_get_stats(guest_vm, &st);
		if (i == 64) {
			pages = st.pages_used;
			tables = st.table_pages;
		}
		if (i > 64) {
			CHECK_LE(st.pages_used, pages + 64);
			CHECK_LE(st.table_pages, tables + 64);
		}
	}
	for (unsigned k = 0; k < lag; k++)
		dune_vm_free(live[k]);
}

/* Clones share tables with a source: the copies that they made are reused, the source's tables are not touched. */
static void clones(unsigned long rounds)
{
	const uint64_t len = 8 * 4096;
	struct dune_space *t, *s;
	dune_gpa_t pages;
	uint64_t used = 0, begun = 0;

	CHECK_OK(dune_pages_alloc(guest_vm, 8, &pages));
	for (size_t i = 0; i < 8; i++)
		guest_fill(dune_gpa(pages.v + i * 4096), 1, 0x7e39 + i);
	CHECK_OK(dune_space_create(guest_vm, &t));
	CHECK_OK(dune_vm_map(t, dune_gva(BASE), pages, len, RO | DUNE_COW));
	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 4000); i++) {
		struct dune_vcpu *v = c[i % VCPUS], *w = c[(i + 1) % VCPUS];
		uint64_t mine = BASE + i % 8 * 4096, hole = BASE + (i + 3) % 8 * 4096;

		CHECK_OK(dune_vm_clone(t, &s));
		guest_furnish(s);
		for (uint64_t k = 0; k < 8; k++)
			CHECK_EQ(guest_read(v, s, BASE + k * 4096), 0x7e39 + k);
		guest_write(v, s, mine, i);
		CHECK_OK(dune_vm_unmap(s, dune_gva(hole), DUNE_PAGE_SIZE));
		for (uint64_t k = 0; k < 8; k++) {
			uint64_t at = BASE + k * 4096;

			if (at == hole)
				guest_read_fault(w, s, at, PF_ABSENT_READ);
			else
				CHECK_EQ(guest_read(w, s, at), at == mine ? i : 0x7e39 + k);
		}
		dune_vm_free(s);
		if (i == 8)
			used = guest_pages_used();
		if (i > 8)
			CHECK_LE(guest_pages_used(), used + 8);
	}
	dune_vm_free(t);
}

/* Within one living space: a table that was dropped comes back, at another place and with other pages. */
static void tables(unsigned long rounds)
{
	uint64_t begun = 0;
	struct dune_space *s = guest_space();

	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 4000); i++) {
		uint64_t at = BASE + i % 5 * (GIB + GUEST_HUGE),
			 before = BASE + (i + 4) % 5 * (GIB + GUEST_HUGE);
		uint64_t off = i % 3 * 4096;

		for (uint64_t k = 0; k < 3; k++)
			guest_map(s, at + k * 4096, 0x1000 + i * 4 + k, RW);
		for (unsigned v = 0; v < VCPUS; v++) {
			CHECK_EQ(guest_read(c[v], s, at + off), 0x1000 + i * 4 + i % 3);
			guest_write(c[v], s, at + off, 0x1000 + i * 4 + i % 3);
			guest_read_fault(c[v], s, before + off, PF_ABSENT_READ);
			guest_read_fault(c[v], s, at + 0x5000, PF_ABSENT_READ);
		}
		CHECK_OK(dune_vm_unmap(s, dune_gva(at), GIB));
		if (i % 2)
			CHECK_OK(dune_vm_sync(s));
		guest_read_fault(c[i / 2 % VCPUS], s, at + off, PF_ABSENT_READ);
	}
	dune_vm_free(s);
}

/* The same at once: each thread makes and frees spaces on a vCPU of its own, in one pool of tables. */
static void *concurrent(void *arg)
{
	struct dune_vcpu *v = arg;
	unsigned long which = v == c[0] ? 0 : 1000003;

	for (unsigned long i = 0; i < 60; i++) {
		struct dune_space *s = guest_space();

		for (size_t p = 0; p < PLACES; p++)
			if (has(i + which, p))
				guest_map(s, places[p], value(i + which, p), RW);
		look(v, s, i + which);
		CHECK_OK(dune_vm_unmap(s, dune_gva(BASE), GIB));
		guest_read_fault(v, s, BASE, PF_ABSENT_READ);
		dune_vm_free(s);
	}
	return NULL;
}

int main(void)
{
	unsigned long rounds;
	pthread_t threads[VCPUS];

	guest_start(64UL << 20);
	for (int i = 0; i < VCPUS; i++)
		c[i] = guest_vcpu();
	rounds = test_scale(300);
	NOTE("one vCPU");
	generations(rounds, 1, 1);
	NOTE("two vCPUs");
	generations(rounds, VCPUS, 1);
	generations(rounds, VCPUS, 3);
	NOTE("clones");
	clones(rounds);
	NOTE("tables of a living space");
	tables(rounds);
	NOTE("two threads");
	for (int i = 0; i < VCPUS; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, concurrent, c[i]));
	for (int i = 0; i < VCPUS; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	guest_stop();
	return 0;
}
