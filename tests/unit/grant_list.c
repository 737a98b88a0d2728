/* SPDX-License-Identifier: MIT */
/*
 * grant_list.c - the list of memory that a policy grants: sorted, without overlaps, with references, all or nothing.
 * World: host.
 */
#include "tests/test.h"

#include "sthread/tag/tag.h"

#define PAGE 4096UL
#define N    500

static struct sthread_tag *tag(uint64_t start, uint64_t len)
{
	struct sthread_tag *t = calloc(1, sizeof(*t));

	CHECK(t);
	t->start = start;
	t->len = len;
	atomic_init(&t->refs, 1);
	pthread_mutex_init(&t->making, NULL);
	return t;
}

static int insert(struct grants *g, struct sthread_tag *t, uint64_t start, uint64_t len,
		  unsigned rights)
{
	const struct grant e = { start, len, rights, t };

	return grants_insert(g, &e);
}

static void order(void)
{
	struct grants g = { 0 };
	struct sthread_tag *t[N];
	uint64_t serial = 0;

	/* In an order that is none: 7 and N have no common factor. */
	for (unsigned i = 0; i < N; i++)
		t[i] = tag((1 + 2 * (i * 7 % N)) * PAGE, PAGE);
	for (unsigned i = 0; i < N; i++) {
		CHECK_OK(insert(&g, t[i], t[i]->start, PAGE, STHREAD_READ));
		CHECK_NE(g.serial, serial);
		serial = g.serial;
		CHECK_EQ(t[i]->refs, 2);
	}
	CHECK_EQ(g.n, N);
	for (unsigned i = 0; i < N; i++) {
		CHECK_EQ(g.list[i].start, (1 + 2 * i) * PAGE);
		CHECK(grants_find(&g, t[i]->start)->tag == t[i]);
		CHECK(grants_find(&g, t[i]->start + PAGE - 1)->tag == t[i]);
		CHECK(!grants_find(&g, t[i]->start - 1));
		CHECK(!grants_find(&g, t[i]->start + PAGE));
		CHECK(grants_handle(&g, (uint64_t)t[i])->tag == t[i]);
		CHECK(grants_name(&g, t[i]));
		CHECK_ERR(insert(&g, t[i], t[i]->start, PAGE, STHREAD_WRITE), -EEXIST);
	}
	CHECK(!grants_handle(&g, 0));
	CHECK(!grants_handle(&g, (uint64_t)&g));
	CHECK_EQ(g.serial, serial);
	grants_fini(&g);
	CHECK_EQ(g.serial, 0);
	for (unsigned i = 0; i < N; i++) {
		CHECK_EQ(t[i]->refs, 1);
		CHECK(!grants_name(&g, t[i]));
		tag_put(t[i]);
	}
}

static void overlaps(void)
{
	struct sthread_tag *t = tag(10 * PAGE, 10 * PAGE);
	struct grants g = { 0 };

	CHECK_OK(insert(&g, t, 12 * PAGE, 2 * PAGE, STHREAD_READ));
	CHECK_ERR(insert(&g, t, 11 * PAGE, 2 * PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(insert(&g, t, 13 * PAGE, 2 * PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(insert(&g, t, 12 * PAGE, PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(insert(&g, t, 10 * PAGE, 10 * PAGE, STHREAD_READ), -EINVAL);
	CHECK_EQ(g.n, 1);
	CHECK_EQ(t->refs, 2);
	/* Its neighbours on both sides do not. */
	CHECK_OK(insert(&g, t, 11 * PAGE, PAGE, STHREAD_READ));
	CHECK_OK(insert(&g, t, 14 * PAGE, PAGE, STHREAD_READ));
	CHECK_EQ(g.n, 3);
	CHECK(grants_name(&g, t));
	grants_fini(&g);
	CHECK_EQ(t->refs, 1);
	tag_put(t);
}

static void merged_and_copied(void)
{
	struct sthread_tag *t = tag(10 * PAGE, 10 * PAGE);
	struct grants g = { 0 }, more = { 0 }, copy;
	uint64_t serial;

	CHECK_OK(insert(&g, t, 14 * PAGE, PAGE, STHREAD_READ));
	CHECK_OK(insert(&more, t, 10 * PAGE, PAGE, STHREAD_READ));
	CHECK_OK(insert(&more, t, 14 * PAGE, PAGE, STHREAD_READ));
	serial = g.serial;
	/* The second fails: nor is the first there. */
	CHECK_ERR(grants_merge(&g, &more), -EEXIST);
	CHECK_EQ(g.n, 1);
	CHECK_EQ(g.serial, serial);
	CHECK(!grants_find(&g, 10 * PAGE));
	CHECK_EQ(t->refs, 4);
	CHECK_OK(grants_copy(&copy, &g));
	CHECK_EQ(copy.serial, g.serial);
	CHECK_EQ(t->refs, 5);
	grants_fini(&g);
	CHECK_OK(grants_merge(&g, &more));
	CHECK_EQ(g.n, 2);
	CHECK_NE(g.serial, copy.serial);
	CHECK_EQ(copy.n, 1);
	grants_fini(&g);
	grants_fini(&more);
	grants_fini(&copy);
	CHECK_EQ(t->refs, 1);
	tag_put(t);
}

/* Nothing goes by it, and a lane that has the list before sees that it is another. */
static void widened(void)
{
	const unsigned rw = STHREAD_READ | STHREAD_WRITE;
	struct sthread_tag *t = tag(10 * PAGE, 10 * PAGE), *other = tag(30 * PAGE, PAGE);
	struct grants g = { 0 };
	struct grant e = { 10 * PAGE, 10 * PAGE, STHREAD_READ, t };
	uint64_t serial = 0;

	for (unsigned i = 0; i < 3; i++) { /* read; write, too; read again */
		CHECK_EQ(grants_cover(&g, &e), i == 2);
		CHECK_OK(grants_widen(&g, &e));
		CHECK_NE(g.serial, serial);
		serial = g.serial;
		CHECK(g.n == 1 && g.list[0].rights == (i ? rw : STHREAD_READ));
		CHECK_EQ(t->refs, 2);
		e.rights = i ? STHREAD_READ : rw;
	}
	/* A part is covered, and is no range of its own. */
	e.len = PAGE;
	CHECK(grants_cover(&g, &e));
	CHECK_ERR(grants_widen(&g, &e), -EINVAL);
	e.tag = other;
	CHECK(!grants_cover(&g, &e));
	CHECK_ERR(grants_widen(&g, &e), -EINVAL);
	CHECK_EQ(g.serial, serial);
	e = (struct grant){ 30 * PAGE, PAGE, rw, other };
	CHECK(!grants_cover(&g, &e));
	CHECK_OK(grants_widen(&g, &e));
	CHECK(g.n == 2 && grants_cover(&g, &e));
	grants_fini(&g);
	CHECK_EQ(t->refs + other->refs, 2);
	tag_put(t);
	tag_put(other);
}

static void subsets(void)
{
	const unsigned rw = STHREAD_READ | STHREAD_WRITE;
	struct sthread_tag *t = tag(10 * PAGE, 10 * PAGE), *other = tag(30 * PAGE, PAGE);
	struct grants all = { 0 }, none = { 0 }, part = { 0 }, wide = { 0 }, writes = { 0 },
		      foreign = { 0 }, pieces = { 0 };

	CHECK_OK(insert(&all, t, 11 * PAGE, 4 * PAGE, STHREAD_READ));
	CHECK_OK(insert(&all, other, 30 * PAGE, PAGE, rw));
	CHECK_OK(insert(&part, t, 12 * PAGE, 3 * PAGE, STHREAD_READ));
	CHECK_OK(insert(&part, other, 30 * PAGE, PAGE, STHREAD_READ));
	CHECK_OK(insert(&wide, t, 12 * PAGE, 4 * PAGE, STHREAD_READ));
	CHECK_OK(insert(&writes, t, 11 * PAGE, 4 * PAGE, rw));
	CHECK_OK(insert(&foreign, other, 12 * PAGE, PAGE, STHREAD_READ));
	CHECK(grants_subset(&none, &none) && grants_subset(&none, &all) &&
	      grants_subset(&all, &all));
	CHECK(grants_subset(&part, &all));
	CHECK(!grants_subset(&all, &part));
	CHECK(!grants_subset(&all, &none));
	CHECK(!grants_subset(&wide, &all));
	CHECK(!grants_subset(&writes, &all));
	CHECK(!grants_subset(&foreign, &all));
	/* The same range in pieces; with a piece missing, or with less rights. */
	CHECK_OK(insert(&pieces, t, 13 * PAGE, 2 * PAGE, STHREAD_READ));
	CHECK(!grants_subset(&part, &pieces) && !grants_subset(&all, &pieces));
	CHECK_OK(insert(&pieces, other, 30 * PAGE, PAGE, rw));
	CHECK(!grants_subset(&part, &pieces) && !grants_subset(&all, &pieces));
	CHECK_OK(insert(&pieces, t, 12 * PAGE, PAGE, rw));
	CHECK(grants_subset(&part, &pieces) && !grants_subset(&all, &pieces));
	CHECK_OK(insert(&pieces, t, 11 * PAGE, PAGE, STHREAD_READ));
	CHECK(grants_subset(&all, &pieces) && !grants_subset(&pieces, &all));
	CHECK(!grants_subset(&writes, &pieces));
	grants_fini(&pieces);
	grants_fini(&all);
	grants_fini(&part);
	grants_fini(&wide);
	grants_fini(&writes);
	grants_fini(&foreign);
	CHECK_EQ(t->refs, 1);
	CHECK_EQ(other->refs, 1);
	tag_put(t);
	tag_put(other);
}

int main(void)
{
	order();
	overlaps();
	merged_and_copied();
	widened();
	subsets();
	return TEST_PASSED;
}
