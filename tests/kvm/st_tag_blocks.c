/* SPDX-License-Identifier: MIT */
/*
 * st_tag_blocks.c - blocks in tags: allocated and freed in both worlds at once, contents kept, zeros where they are
 * promised; addresses that are no blocks, handles that are none, and rights that are missing do nothing; no byte of the
 * tag is the allocator's, whatever a tenant writes there.  World: host; ST_FN and what is marked: inside.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "tests/st_tag.h"

#define MIB (1UL << 20)

static uint64_t bytes_used(void)
{
	struct sthread_stats s;

	CHECK_OK(sthread_stats(&s));
	return s.tag_bytes;
}

/* ---- both worlds: each block says what it holds ---- */

static void fill(unsigned char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)(seed + i * 7);
}

static bool holds(const unsigned char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != (unsigned char)(seed + i * 7))
			return false;
	return true;
}

struct work {
	struct sthread_tag *tag;
	unsigned char *low, *high; /* of the tag */
	unsigned seed, rounds;
};

#define BLOCKS 64

/* The same function in the master and inside.  NULL: all went well. */
static void *works(void *arg)
{
	struct work w = *(struct work *)arg;
	unsigned char *p[BLOCKS] = { NULL }, *q;
	unsigned len[BLOCKS] = { 0 }, x = w.seed;

	for (unsigned i = 0; i < w.rounds; i++) {
		unsigned k, n;

		x = x * 1103515245 + 12345;
		k = x >> 16 & (BLOCKS - 1);
		n = 1 + (x >> 8 & (x >> 30 ? 0x1ff : 0x7fff));
		if (p[k]) {
			CHECK(holds(p[k], len[k], w.seed + k));
			if (x & 1) {
				sthread_free(p[k]);
				p[k] = NULL;
				continue;
			}
			q = sthread_realloc(w.tag, p[k], n);
			CHECK(q);
			CHECK(holds(q, n < len[k] ? n : len[k], w.seed + k));
		} else if (x & 2) {
			q = sthread_calloc(w.tag, n, 1);
			CHECK(q);
			for (unsigned z = 0; z < n; z++)
				CHECK_EQ(q[z], 0);
		} else {
			q = sthread_malloc(w.tag, n);
			CHECK(q);
		}
		CHECK(q >= w.low && q + n <= w.high && (uintptr_t)q % 8 == 0);
		p[k] = q;
		len[k] = n;
		fill(q, n, w.seed + k);
	}
	for (unsigned k = 0; k < BLOCKS; k++) {
		CHECK(!p[k] || holds(p[k], len[k], w.seed + k));
		sthread_free(p[k]);
	}
	return NULL;
}

static struct work *work_in(struct sthread_tag *t, size_t max, unsigned seed, unsigned rounds)
{
	struct work *w = sthread_malloc(t, sizeof(*w));

	CHECK(w);
	*w = (struct work){ t, sthread_tag_start(t), (unsigned char *)sthread_tag_start(t) + max,
			    seed, rounds };
	return w;
}

static void torture(void)
{
	struct sthread_tag *t = tag("torture", 16 * MIB);
	struct sthread_policy *p = grants(t, STHREAD_WRITE);
	struct sthread *st[3];
	unsigned inside = (unsigned)test_scale(600), outside = (unsigned)test_scale(30000);
	struct work *w[6];
	pthread_t thread[3];
	void *result;

	for (unsigned i = 0; i < 6; i++)
		w[i] = work_in(t, 16 * MIB, 100 * i + 1, i < 3 ? inside : outside);
	for (int i = 0; i < 3; i++) {
		st[i] = st_create(p, works, w[i]);
		CHECK_EQ(pthread_create(&thread[i], NULL, works, w[3 + i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		struct sthread_result r = st_join(st[i]);

		ST_RETURNED(&r, 0);
		CHECK_EQ(pthread_join(thread[i], &result), 0);
		CHECK(!result);
	}
	for (int i = 0; i < 6; i++)
		sthread_free(w[i]);
	CHECK_EQ(bytes_used(), 0);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(t));
}

/* ---- every byte of the tag is the tenant's ---- */

ST_FN(fills_all)
{
	const struct work *w = arg;

	memset(w->low, 0xff, (size_t)(w->high - w->low));
	return NULL;
}

static void metadata_outside(size_t max)
{
	struct sthread_tag *t = tag("filled", max);
	struct sthread_policy *p = grants(t, STHREAD_WRITE);
	unsigned rounds = (unsigned)test_scale(400);
	struct work *kept[2], w;
	struct sthread_result r;
	unsigned char *blocks[40];

	kept[0] = work_in(t, max, 1, 0);
	kept[1] = sthread_malloc(t, 100000);
	CHECK(kept[1]);
	for (int i = 0; i < 8; i++) {
		w = (struct work){ t, sthread_tag_start(t),
				   (unsigned char *)sthread_tag_start(t) + max, (unsigned)i,
				   rounds };
		/* In the midst of something: live blocks of many sizes, freed ones between them. */
		for (unsigned k = 0; k < 40; k++)
			CHECK(blocks[k] = sthread_malloc(t, 8UL << k % 12));
		for (unsigned k = 0; k < 40; k += 2)
			sthread_free(blocks[k]);
		*kept[0] = w;
		r = st_call(p, fills_all, kept[0]);
		ST_RETURNED(&r, 0);
		for (size_t at = 0; at < max; at += 4096)
			CHECK_EQ(w.low[at], 0xff);
		for (unsigned k = 1; k < 40; k += 2)
			sthread_free(blocks[k]);
		CHECK(!works(&w));
		w.rounds = rounds / 8;
		*kept[0] = w;
		r = st_call(p, works, kept[0]);
		ST_RETURNED(&r, 0);
	}
	sthread_free(kept[0]);
	sthread_free(kept[1]);
	CHECK_EQ(bytes_used(), 0);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(t));
}

/* ---- what is freed can be had again, in other sizes ---- */

static void used_up(void)
{
	struct sthread_tag *t = tag("small", MIB);
	static unsigned char *p[MIB / 1024];
	unsigned n = 0;

	for (int i = 0; i < 5; i++) {
		for (n = 0; n < MIB / 1024 && (p[n] = sthread_malloc(t, 1024)); n++)
			memset(p[n], 0xaa, 1024);
		CHECK_GE(n, MIB / 1024 * 9 / 10);
		errno = 0;
		while (n < MIB / 1024 && sthread_malloc(t, 1024))
			;
		CHECK_ERR(sthread_malloc(t, 64 * 1024) ? 0 : -errno, -ENOMEM);
		while (n)
			sthread_free(p[--n]);
		CHECK_EQ(bytes_used(), 0);
		p[0] = sthread_malloc(t, 768 * 1024);
		CHECK(p[0]);
		sthread_free(p[0]);
	}
	CHECK(!sthread_malloc(t, MIB + 1));
	CHECK(!sthread_malloc(t, SIZE_MAX));
	CHECK(!sthread_calloc(t, SIZE_MAX / 2, 4));
	CHECK_EQ(errno, ENOMEM);
	p[0] = sthread_malloc(t, 0);
	CHECK(p[0]);
	p[0] = sthread_realloc(t, p[0], 0);
	CHECK(p[0]);
	sthread_free(p[0]);
	sthread_free(NULL);
	CHECK_EQ(bytes_used(), 0);
	CHECK_OK(sthread_tag_destroy(t));
}

/* ---- what is no block, no handle, or not granted ---- */

struct ask {
	struct sthread_tag *mine, *other, *none[6];
	unsigned char *block, *other_block, *start;
};

ST_FN(asks_wrongly)
{
	struct ask a = *(struct ask *)arg;
	char here[64];
	void *const wrong[] = { a.block + 8,
				a.block - 8,
				a.block + 1,
				a.start + 512 * 1024,
				here,
				a.mine,
				arg == a.block ? here : (void *)8,
				a.other_block };

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		sthread_free(wrong[i]);
		errno = 0;
		CHECK(!sthread_realloc(a.mine, wrong[i], 10));
		CHECK_EQ(errno, EINVAL);
	}
	errno = 0;
	CHECK(!sthread_malloc(a.other, 16));
	CHECK_EQ(errno, EPERM);
	errno = 0;
	CHECK(!sthread_calloc(a.other, 1, 16));
	CHECK_EQ(errno, EPERM);
	errno = 0;
	CHECK(!sthread_realloc(a.other, a.other_block, 16));
	CHECK_EQ(errno, EPERM);
	for (int i = 0; i < 6; i++) {
		errno = 0;
		CHECK(!sthread_malloc(a.none[i], 16));
		CHECK_EQ(errno, EPERM);
		CHECK(!sthread_realloc(a.none[i], a.block, 16));
	}
	CHECK(!sthread_tag_of(a.other_block));
	CHECK(!sthread_tag_of(here));
	/* Twice is once. */
	sthread_free(a.block);
	sthread_free(a.block);
	CHECK(sthread_malloc(a.mine, 48));
	CHECK(sthread_tag_of(a.start) == a.mine);
	CHECK(!sthread_tag_start(a.mine));
	return NULL;
}

ST_FN(only_reads)
{
	struct ask a = *(struct ask *)arg;

	errno = 0;
	CHECK(!sthread_malloc(a.mine, 16));
	CHECK_EQ(errno, EPERM);
	errno = 0;
	CHECK(!sthread_realloc(a.mine, a.block, 16));
	CHECK_EQ(errno, EPERM);
	sthread_free(a.block);
	CHECK(sthread_tag_of(a.block) == a.mine);
	return NULL;
}

static void wrong_ones(void)
{
	struct sthread_tag *mine = tag("mine", MIB), *other = tag("other", MIB);
	struct sthread_policy *writer = grants(mine, STHREAD_WRITE),
			      *reader = grants(mine, STHREAD_READ);
	struct ask *a = sthread_malloc(mine, sizeof(*a));
	uint64_t before;

	*a = (struct ask){ mine,
			   other,
			   { NULL, (void *)1, (void *)UINT64_MAX, (void *)a, (void *)"text",
			     (void *)((char *)mine + 8) },
			   sthread_malloc(mine, 48),
			   sthread_malloc(other, 48),
			   sthread_tag_start(mine) };
	CHECK(a->block && a->other_block);
	fill(a->other_block, 48, 3);
	before = bytes_used();
	ST_PASSES(reader, only_reads, a);
	CHECK_EQ(bytes_used(), before);
	ST_PASSES(writer, asks_wrongly, a);
	CHECK_EQ(bytes_used(), before); /* one less, one more */
	CHECK(holds(a->other_block, 48, 3));
	/* In the master. */
	sthread_free(a->other_block + 8);
	sthread_free(a);
	sthread_free(a);
	sthread_free(&before);
	CHECK(!sthread_malloc(NULL, 1));
	CHECK_EQ(errno, EINVAL);
	errno = 0;
	CHECK(!sthread_realloc(mine, a->other_block, 4));
	CHECK_EQ(errno, EINVAL);
	CHECK(sthread_tag_of(a->other_block) == other);
	CHECK(!sthread_tag_of(&before));
	sthread_free(a->other_block);
	CHECK_LT(bytes_used(), before);
	sthread_policy_destroy(writer);
	sthread_policy_destroy(reader);
	CHECK_OK(sthread_tag_destroy(mine));
	CHECK_OK(sthread_tag_destroy(other));
	CHECK_EQ(bytes_used(), 0);
}

/* ---- in a child there is none ---- */

static void forked(void)
{
	struct sthread_tag *t = tag("parents", MIB), *own;
	void *block = sthread_malloc(t, 100);
	int status;
	pid_t pid;

	CHECK(block);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!sthread_malloc(t, 1));
		CHECK_EQ(errno, EINVAL);
		sthread_free(block);
		CHECK(!sthread_tag_of(block));
		CHECK(!sthread_tag_start(t));
		CHECK_ERR(sthread_tag_destroy(t), -EINVAL);
		CHECK_ERR(sthread_tag_create(&own, "own", MIB), -EINVAL);
		st_init();
		own = tag("own", MIB);
		CHECK(sthread_calloc(own, 10, 10));
		CHECK_ERR(sthread_tag_destroy(t), -EINVAL);
		CHECK_OK(sthread_tag_destroy(own));
		sthread_fini();
		_exit(TEST_PASSED);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	memset(block, 1, 100);
	sthread_free(block);
	CHECK_EQ(bytes_used(), 0);
	CHECK_OK(sthread_tag_destroy(t));
}

int main(void)
{
	st_init();
	NOTE("used up");
	used_up();
	NOTE("wrong ones");
	wrong_ones();
	NOTE("metadata");
	metadata_outside(MIB);
	metadata_outside(4 * MIB);
	NOTE("torture");
	torture();
	NOTE("fork");
	forked();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
