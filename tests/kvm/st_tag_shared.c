/* SPDX-License-Identifier: MIT */
/*
 * st_tag_shared.c - tags as memory that is shared: one address in both worlds, atomics between compartments that live,
 * thousands of them, gigabytes that take up memory when touched; and when they may be destroyed.  World: host; what is
 * marked: inside.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "tests/st_tag.h"

#define PAGE 4096UL
#define GIB  (1UL << 30)

static struct sthread_stats stats(void)
{
	struct sthread_stats s;

	CHECK_OK(sthread_stats(&s));
	return s;
}

/* ---- a list with pointers, made in the master and continued inside ---- */

struct node {
	struct node *next;
	struct sthread_tag *tag;
	unsigned long value;
};

ST_FN(appends)
{
	struct node *n = arg;
	unsigned long sum = 0;

	for (; n->next; n = n->next)
		sum += n->value;
	sum += n->value;
	n->next = sthread_calloc(n->tag, 1, sizeof(*n));
	CHECK(n->next);
	n->next->tag = n->tag;
	n->next->value = sum;
	return (void *)sum;
}

static void same_pointers(void)
{
	struct sthread_tag *t = tag("list", 64 << 10);
	struct sthread_policy *p = grants(t, STHREAD_READ | STHREAD_WRITE);
	struct node *head = sthread_calloc(t, 1, sizeof(*head)), *n = head;
	struct sthread_result r;

	CHECK(head);
	head->tag = t;
	head->value = 1;
	for (unsigned i = 0; i < 8; i++) {
		r = i % 2 ? st_call(p, appends, head) : st_run(p, appends, head);
		ST_RETURNED(&r, 1UL << i);
		CHECK(n->next);
		n = n->next;
		CHECK_EQ(n->value, 1UL << i);
		CHECK(sthread_tag_of(n) == t);
	}
	for (; head; head = n) {
		n = head->next;
		sthread_free(head);
	}
	CHECK_EQ(stats().tag_bytes, 0);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(t));
}

/* ---- two compartments and the master, at once ---- */

struct game {
	_Atomic unsigned turn, count;
	unsigned rounds;
};

/* Takes turns with the other: each sees what the other wrote while both live. */
ST_FN(plays)
{
	struct game *g = (struct game *)((uintptr_t)arg & ~1UL);
	unsigned me = (uintptr_t)arg & 1;

	for (unsigned i = 0; i < g->rounds; i++) {
		while (atomic_load(&g->turn) % 2 != me)
			__builtin_ia32_pause();
		atomic_fetch_add(&g->turn, 1);
		atomic_fetch_add(&g->count, 1);
	}
	return NULL;
}

static void at_once(void)
{
	struct sthread_tag *t = tag("game", PAGE);
	struct sthread_policy *p = grants(t, STHREAD_WRITE);
	struct game *g = sthread_tag_start(t);
	struct sthread *a, *b;
	struct sthread_result r;

	g->rounds = (unsigned)test_scale(1000);
	a = st_create(p, plays, g);
	b = st_create(p, plays, (char *)g + 1);
	CHECK_ERR(sthread_tag_destroy(t), -EBUSY);
	r = st_join(a);
	ST_RETURNED(&r, 0);
	r = st_join(b);
	ST_RETURNED(&r, 0);
	CHECK_EQ(g->turn, 2 * g->rounds);
	CHECK_EQ(g->count, 2 * g->rounds);
	/* It has ended: its policy alone keeps nothing. */
	CHECK_OK(sthread_tag_destroy(t));
	CHECK_ERR(sthread_call(p, plays, g, &r), -EINVAL);
	sthread_policy_destroy(p);
}

/* ---- thousands ---- */

struct many {
	unsigned n;
	unsigned long *at[];
};

ST_FN(sums)
{
	const struct many *m = arg;
	unsigned long sum = 0;

	for (unsigned i = 0; i < m->n; i++)
		sum += *m->at[i];
	return (void *)sum;
}

static void thousands(void)
{
	unsigned n = (unsigned)test_scale(3000);
	struct sthread_tag **t = malloc(n * sizeof(*t)),
			   *list = tag("list", (n + 1) * sizeof(void *));
	struct many *m = sthread_tag_start(list);
	struct sthread_policy *p = grants(list, STHREAD_READ), *half = grants(list, STHREAD_READ);
	struct sthread_result r;
	uint64_t edits;

	m->n = n;
	for (unsigned i = 0; i < n; i++) {
		t[i] = tag("one of many", PAGE);
		m->at[i] = sthread_tag_start(t[i]);
		*m->at[i] = i;
		CHECK_OK(sthread_policy_tag(p, t[i], i % 2 ? STHREAD_READ : STHREAD_WRITE));
		if (i < n / 2)
			CHECK_OK(sthread_policy_tag(half, t[i], STHREAD_READ));
	}
	CHECK_EQ(stats().tags, n + 1);
	for (int i = 0; i < 3; i++) {
		r = st_call(p, sums, m);
		ST_RETURNED(&r, (uint64_t)n * (n - 1) / 2);
		if (i == 0)
			edits = stats().page_table_edits;
	}
	/* The same policy again costs nothing. */
	CHECK_EQ(stats().page_table_edits, edits);
	r = st_call(half, sums, m);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, m->at[n / 2], 1, ST_IN(sums),
		  "tag one of many: not granted");
	m->n = n / 2;
	r = st_call(half, sums, m);
	ST_RETURNED(&r, (uint64_t)(n / 2) * (n / 2 - 1) / 2);
	r = st_call(NULL, sums, m);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, m, 1, ST_IN(sums), "tag list: not granted");
	CHECK_ERR(sthread_policy_tag(p, t[n / 2], STHREAD_READ), -EEXIST);
	for (unsigned i = 0; i < n; i++)
		CHECK_OK(sthread_tag_destroy(t[i]));
	CHECK_ERR(sthread_call(p, sums, m, &r), -EINVAL);
	CHECK_OK(sthread_tag_destroy(list));
	CHECK_EQ(stats().tags, 0);
	sthread_policy_destroy(p);
	sthread_policy_destroy(half);
	free(t);
}

/* ---- gigabytes ---- */

/* Every 2 MiB, and the two ends. */
ST_FN(touches)
{
	unsigned char *p = arg;

	for (unsigned long at = 0; at < GIB; at += GIB / 64)
		p[at] = (unsigned char)(at >> 24 | 1);
	p[GIB - 1] = 77;
	return NULL;
}

static size_t resident(void)
{
	unsigned long size, rss;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f);
	CHECK_EQ(fscanf(f, "%lu %lu", &size, &rss), 2);
	fclose(f);
	return rss * PAGE;
}

static void gigabytes(void)
{
	size_t before = resident();
	struct sthread_tag *t = tag("big", GIB), *huge = tag("bigger", 64 * GIB);
	struct sthread_policy *p = grants(t, STHREAD_WRITE);
	unsigned char *at = sthread_tag_start(t), *far = sthread_tag_start(huge);

	CHECK_EQ((uintptr_t)at % (2UL << 20), 0);
	ST_PASSES(p, touches, at);
	for (unsigned long off = 0; off < GIB; off += GIB / 64)
		CHECK_EQ(at[off], off >> 24 | 1);
	CHECK_EQ(at[GIB - 1], 77);
	CHECK_EQ(at[GIB / 64 + PAGE], 0);
	far[64 * GIB - 1] = 1;
	/* Pages that were touched, perhaps large ones, and no more. */
	CHECK_LT(resident(), before + GIB / 2);
	CHECK_OK(sthread_tag_destroy(t));
	CHECK_OK(sthread_tag_destroy(huge));
	sthread_policy_destroy(p);
	CHECK_LT(resident(), before + (64UL << 20));
}

/* ---- making and destroying while others run ---- */

static atomic_bool over;

ST_FN(reads_own)
{
	return (void *)*(unsigned long *)arg;
}

/* Each thread has tags of its own at addresses that were the others' a moment ago. */
static void *churns(void *arg)
{
	unsigned long id = (unsigned long)arg, rounds = 0;

	while (!atomic_load(&over) || rounds < 8) {
		struct sthread_tag *t = tag("churn", rounds % 4 ? PAGE : 2UL << 20);
		struct sthread_policy *p = grants(t, rounds % 2 ? STHREAD_WRITE : STHREAD_READ);
		unsigned long *at = sthread_tag_start(t);
		struct sthread_result r;

		CHECK_EQ(*at, 0);
		*at = id << 32 | ++rounds;
		r = rounds % 3 ? st_call(p, reads_own, at) : st_run(p, reads_own, at);
		ST_RETURNED(&r, id << 32 | rounds);
		CHECK_OK(sthread_tag_destroy(t));
		CHECK_ERR(sthread_call(p, reads_own, at, &r), -EINVAL);
		r = st_call(NULL, reads_own, at);
		CHECK_EQ(r.end, STHREAD_FAULTED);
		CHECK_EQ(r.address, (uint64_t)at);
		sthread_policy_destroy(p);
	}
	return (void *)rounds;
}

static void churn(void)
{
	pthread_t thread[3];
	void *rounds;

	for (unsigned long i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, churns, (void *)(i + 1)), 0);
	usleep((unsigned)test_scale(400) * 1000);
	atomic_store(&over, true);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(pthread_join(thread[i], &rounds), 0);
		CHECK_GE((unsigned long)rounds, 8);
	}
	CHECK_EQ(stats().tags, 0);
}

/* ---- sthread_map() and parts of it ---- */

static void parts(void)
{
	struct sthread_policy *p = st_policy();
	unsigned long *at, *other;
	struct sthread_result r;
	void *same;

	CHECK_OK(sthread_map(4 * PAGE, (void **)&at));
	for (unsigned i = 0; i < 4; i++)
		at[i * 512] = 10 + i;
	CHECK_OK(sthread_policy_memory(p, at + 512, PAGE, STHREAD_READ));
	CHECK_OK(sthread_policy_memory(p, at + 3 * 512, PAGE, STHREAD_WRITE));
	CHECK_ERR(sthread_policy_memory(p, at + 512, PAGE, STHREAD_WRITE), -EEXIST);
	CHECK_ERR(sthread_policy_memory(p, at + 512, 2 * PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, 4 * PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, 5 * PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, (char *)at + 8, PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, PAGE - 8, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, 0, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, PAGE, 0), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, PAGE, 4), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, at, -PAGE, STHREAD_READ), -EINVAL);
	same = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_ERR(sthread_policy_memory(p, same, PAGE, STHREAD_READ), -EINVAL);
	munmap(same, PAGE);
	r = st_call(p, reads_own, at + 512);
	ST_RETURNED(&r, 11);
	r = st_call(p, reads_own, at + 3 * 512);
	ST_RETURNED(&r, 13);
	r = st_call(p, reads_own, at + 2 * 512);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at + 2 * 512, 1, ST_IN(reads_own),
		  "memory of sthread_map(): not granted");
	r = st_call(NULL, reads_own, at + 512);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at + 512, 1, ST_IN(reads_own), "not granted");
	/* No blocks in it. */
	sthread_free(at);
	CHECK(!sthread_tag_of(at));
	CHECK_ERR(sthread_unmap(at + 512), -EINVAL);
	CHECK_ERR(sthread_unmap(&r), -EINVAL);
	CHECK_ERR(sthread_map(PAGE + 1, (void **)&other), -EINVAL);
	CHECK_ERR(sthread_map(0, (void **)&other), -EINVAL);
	CHECK_ERR(sthread_map(PAGE, NULL), -EINVAL);
	CHECK_OK(sthread_unmap(at));
	CHECK_ERR(sthread_unmap(at), -EINVAL);
	CHECK_OK(sthread_unmap(NULL));
	CHECK_ERR(sthread_call(p, reads_own, at + 512, &r), -EINVAL);
	sthread_policy_destroy(p);
}

static void errors(void)
{
	struct sthread_tag *t = NULL, *u = tag("u", 1);
	struct sthread_policy *p = st_policy();

	CHECK_ERR(sthread_tag_create(NULL, "x", PAGE), -EINVAL);
	CHECK_ERR(sthread_tag_create(&t, NULL, PAGE), -EINVAL);
	CHECK_ERR(sthread_tag_create(&t, "", PAGE), -EINVAL);
	CHECK_ERR(sthread_tag_create(&t, "a name that is longer than it may", PAGE), -EINVAL);
	CHECK_ERR(sthread_tag_create(&t, "x", 0), -EINVAL);
	CHECK_ERR(sthread_tag_create(&t, "x", 2UL << 40), -ENOMEM);
	CHECK_ERR(sthread_tag_create(&t, "x", SIZE_MAX), -ENOMEM);
	CHECK(!t);
	CHECK_ERR(sthread_policy_tag(p, NULL, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_tag(NULL, u, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_tag(p, u, 0), -EINVAL);
	CHECK_ERR(sthread_policy_tag(p, u, 8 | STHREAD_READ), -EINVAL);
	CHECK_OK(sthread_policy_tag(p, u, STHREAD_READ));
	CHECK_ERR(sthread_policy_tag(p, u, STHREAD_WRITE), -EEXIST);
	CHECK_OK(sthread_tag_destroy(NULL));
	CHECK_OK(sthread_tag_destroy(u));
	sthread_policy_destroy(p);
	CHECK_EQ(stats().tags, 0);
}

int main(void)
{
	struct sthread_tag *t;

	CHECK_ERR(sthread_tag_create(&t, "early", PAGE), -EINVAL);
	st_init();
	errors();
	NOTE("pointers");
	same_pointers();
	NOTE("at once");
	at_once();
	NOTE("parts");
	parts();
	NOTE("thousands");
	thousands();
	NOTE("gigabytes");
	gigabytes();
	NOTE("churn");
	churn();
	st_others_live();
	/* What is left goes with the library; what names it is a policy like any other. */
	t = tag("left", PAGE);
	CHECK(sthread_malloc(t, 10));
	sthread_fini();
	st_init();
	CHECK_EQ(stats().tags, 0);
	CHECK_EQ(stats().tag_bytes, 0);
	sthread_fini();
	return TEST_PASSED;
}
