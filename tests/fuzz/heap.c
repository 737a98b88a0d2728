/* SPDX-License-Identifier: MIT */
/*
 * heap.c - blocks of tagged memory, from outside and from inside, any address and size, while all of the tags' memory is
 * overwritten at any time, blocks that are free and in use alike.  World: host, fuzzing, over the library's jemalloc.
 *
 * Whatever is written there: blocks are in their tag, apart from each other, and zero when they are to be; only an
 * address where a block is live is freed or resized, once; and nothing else of a tag changes, used or not: the allocator
 * keeps nothing there.
 */
#include <jemalloc/jemalloc.h>
#include <sys/mman.h>

#include "sthread/inside/inside.h"
#include "sthread/syscall/syscall.h"
#include "sthread/tag/tag.h"
#include "tests/fuzz/fuzz.h"

size_t tag_je_sallocx(const void *ptr, int flags);

#define TAGS   2
#define BLOCKS 64

volatile bool sthread_inside_flag;

static const size_t length[TAGS] = { 256 << 10, 64 << 10 };
static struct sthread_tag tag[TAGS];
static unsigned char *expected[TAGS]; /* what is in them */
static struct block {
	unsigned char *at; /* NULL: none */
	size_t size, room; /* asked for; what there is */
	unsigned tag;
} block[BLOCKS];

static struct input in;
static bool inside;	    /* by a compartment, which may write the first tag and read the other */
static unsigned no_mapping; /* so many are refused */
static bool lacked;	    /* some were */
static struct policy policy;
static struct sys_ctx ctx = { .policy = &policy };

/* ---- what the library has elsewhere ---- */

struct sthread_tag *tag_enter(struct sthread_tag *t)
{
	CHECK(t >= tag && t < tag + TAGS);
	t->users++;
	return t;
}

struct sthread_tag *tag_enter_at(uint64_t at)
{
	for (unsigned i = 0; i < TAGS; i++)
		if (at - tag[i].start < tag[i].len)
			return tag_enter(&tag[i]);
	return NULL;
}

void tag_leave(struct sthread_tag *t)
{
	t->users--;
}

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if (!no_mapping)
		return __real_mmap(at, len, prot, flags, fd, off);
	no_mapping--;
	lacked = true;
	errno = ENOMEM;
	return MAP_FAILED;
}

/* ---- the calls, as both sides make them: an address or a negative errno ---- */

static long result_of(const void *p)
{
	return p ? (long)p : -errno;
}

static long allocate(unsigned t, size_t size, bool zero)
{
	const uint64_t arg[5] = { (uint64_t)&tag[t], size };

	if (inside) /* where who asks for zeros writes them */
		return tag_serve(&ctx, HOSTCALL_TAG_ALLOC, arg);
	return result_of(zero ? sthread_calloc(&tag[t], size, 1) : sthread_malloc(&tag[t], size));
}

/* From inside: the bytes that it has then, where it is. */
static long resize(unsigned t, uint64_t at, size_t size)
{
	const uint64_t arg[5] = { (uint64_t)&tag[t], at, size };

	if (inside)
		return tag_serve(&ctx, HOSTCALL_TAG_RESIZE, arg);
	return result_of(
		sthread_realloc(&tag[t], (void *)at, size)); /* NOLINT(performance-no-int-to-ptr) */
}

/* From outside it says nothing; from inside 0, -EINVAL or -EPERM. */
static long release(uint64_t at)
{
	const uint64_t arg[5] = { at };

	if (inside)
		return tag_serve(&ctx, HOSTCALL_TAG_FREE, arg);
	sthread_free((void *)at); /* NOLINT(performance-no-int-to-ptr) */
	return 0;
}

static bool refused(unsigned t)
{
	return inside && t;
}

/* ---- the model ---- */

static unsigned tag_at(uint64_t at)
{
	unsigned t = 0;

	while (t < TAGS && at - tag[t].start >= tag[t].len)
		t++;
	return t;
}

static struct block *live_at(uint64_t at)
{
	for (unsigned i = 0; at && i < BLOCKS; i++)
		if ((uint64_t)block[i].at == at)
			return &block[i];
	return NULL;
}

static unsigned char *expected_at(const struct block *b)
{
	return expected[b->tag] + (b->at - (unsigned char *)tag[b->tag].start); /* NOLINT */
}

/* Now: it is a block, and nobody else's memory. */
static void place(struct block *b, uint64_t at, size_t n, unsigned t)
{
	const uint64_t end = tag[t].start + tag[t].len;

	CHECK(at - tag[t].start < tag[t].len);
	*b = (struct block){ (unsigned char *)at, n, 0, t }; /* NOLINT(performance-no-int-to-ptr) */
	b->room = tag_je_sallocx(b->at, MALLOCX_TCACHE_NONE); /* of the library's own data */
	CHECK(n <= b->room && b->room <= end - at);
	CHECK_EQ(at % (n < 16 ? 8 : 16), 0);
	for (const struct block *o = block; o < block + BLOCKS; o++)
		CHECK(o == b || !o->at || o->at + o->room <= b->at || b->at + b->room <= o->at);
}

static void consistent(void)
{
	for (unsigned t = 0; t < TAGS; t++) {
		uint64_t sum = 0;

		CHECK(!memcmp((void *)tag[t].start, expected[t],
			      tag[t].len)); /* NOLINT(performance-no-int-to-ptr) */
		CHECK_EQ(tag[t].users, 0);
		for (unsigned i = 0; i < BLOCKS; i++) {
			if (!block[i].at || block[i].tag != t)
				continue;
			sum += block[i].room;
		}
		CHECK_EQ(heap_bytes(&tag[t]), sum);
	}
}

/* An address: of a block, within one, of one that was, near the ends, any. */
static uint64_t address(void)
{
	static uint64_t last[4];
	unsigned how = (unsigned)take(&in, 1);
	const struct block *b = &block[take(&in, 1) % BLOCKS];
	const struct sthread_tag *t = &tag[how >> 3 & 1];
	uint64_t at = (uint64_t)b->at;

	switch (how & 7) {
	case 0:
	case 1:
	case 2:
		break;
	case 3:
		at += (how >> 3) + 1;
		break;
	case 4:
		at = last[how >> 3 & 3];
		break;
	case 5:
		at = t->start + (take(&in, 4) & ~7UL) % t->len;
		break;
	case 6:
		at = t->start + (how & 16 ? t->len : 0) + ((how >> 5) - 4UL) * 8;
		break;
	default:
		at = take(&in, 8);
	}
	last[how >> 6] = at;
	return at;
}

static size_t size(void)
{
	unsigned how = (unsigned)take(&in, 1);

	switch (how >> 6) {
	case 0:
		return how;
	case 1:
		return (how & 63) * 97;
	case 2:
		return 1UL << (how & 63) % 20;
	default:
		return how & 1 ? take(&in, 8) : take(&in, 3);
	}
}

/* ---- steps ---- */

static void allocates(bool zero)
{
	unsigned t = (unsigned)take(&in, 1) % TAGS;
	struct block *b = &block[take(&in, 1) % BLOCKS];
	size_t n = size();
	long at;

	if (b->at)
		return;
	at = allocate(t, n, zero);
	if (refused(t)) {
		CHECK_EQ(at, -EPERM);
		return;
	}
	if (at < 0) {
		CHECK_EQ(at, -ENOMEM);
		CHECK(lacked || n > DUNE_PAGE_SIZE || heap_bytes(&tag[t])); /* there is room */
		return;
	}
	place(b, (uint64_t)at, n, t);
	if (zero && inside)
		memset(b->at, 0, n);
	if (zero)
		memset(expected_at(b), 0, n);
}

/* As it is written: a block of another tag, or none, is not of this one. */
static void resizes(void)
{
	unsigned t = (unsigned)take(&in, 1) % TAGS;
	uint64_t at = address();
	struct block *b = live_at(at), before;
	bool none = !at && !inside; /* as malloc(), for which there is a step */
	size_t n = size(), kept;
	long to;

	if (none)
		return;
	to = resize(t, at, n);
	if (refused(t) || !b || b->tag != t) {
		CHECK_EQ(to, refused(t) ? -EPERM : -EINVAL);
		return;
	}
	if (inside) {
		place(b, at, n < (size_t)to ? n : (size_t)to, t);
		CHECK_EQ(to, b->room);
		return;
	}
	if (to < 0) {
		CHECK_EQ(to, -ENOMEM);
		return;
	}
	before = *b;
	place(b, (uint64_t)to, n, t);
	if (b->at == before.at)
		return;
	kept = n < before.size ? n : before.size;
	memcpy(expected_at(b), expected_at(&before), kept);
	memcpy(expected_at(b) + kept, b->at + kept,
	       b->room - kept); /* the rest of its old room may have come along */
}

static void frees(void)
{
	uint64_t at = address();
	unsigned t = tag_at(at);
	struct block *b = live_at(at);
	long r = release(at);

	if (inside)
		CHECK_EQ(r, t == TAGS || refused(t) ? -EPERM : b ? 0 : -EINVAL);
	if (b && !(inside && refused(t)))
		b->at = NULL;
}

/* The compartment, or the master: to it all of the tag is memory. */
static void scribbles(void)
{
	unsigned t = (unsigned)take(&in, 1) % TAGS, how = (unsigned)take(&in, 1);
	size_t at = take(&in, 3) % tag[t].len,
	       n = how & 1 ? tag[t].len - at : take(&in, 2) % (tag[t].len - at);
	uint64_t word = how & 2 ? (uint64_t)block[how >> 2].at : take(&in, 8);

	for (size_t i = 0; i < n; i++)
		expected[t][at + i] = (unsigned char)(word >> i % 8 * 8);
	memcpy((unsigned char *)tag[t].start + at, expected[t] + at,
	       n); /* NOLINT(performance-no-int-to-ptr) */
}

/* ---- a run ---- */

static void step(void)
{
	unsigned op = (unsigned)take(&in, 1);

	inside = op & 8;
	switch (op & 7) {
	case 0:
	case 1:
		allocates(false);
		break;
	case 2:
		allocates(true);
		break;
	case 3:
		resizes();
		break;
	case 4:
	case 5:
		frees();
		break;
	case 6:
		scribbles();
		break;
	default:
		no_mapping = op >> 5;
	}
	consistent();
}

static void prepare(void)
{
	for (unsigned i = 0; i < TAGS; i++) {
		struct grant e = { .len = length[i],
				   .rights = STHREAD_READ | (i ? 0 : STHREAD_WRITE),
				   .tag = &tag[i] };
		char *at = mmap(NULL, length[i] + 2 * DUNE_PAGE_SIZE, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(at != MAP_FAILED);
		CHECK_OK(mprotect(at + DUNE_PAGE_SIZE, length[i], PROT_READ | PROT_WRITE));
		tag[i].start = e.start = (uint64_t)at + DUNE_PAGE_SIZE;
		tag[i].len = length[i];
		atomic_init(&tag[i].refs, 1);
		pthread_mutex_init(&tag[i].making, NULL);
		CHECK_OK(grants_insert(&policy.mem, &e));
		expected[i] = malloc(length[i]);
		CHECK(expected[i]);
	}
	heap_start();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!expected[0])
		prepare();
	in = (struct input){ data, len };
	memset(block, 0, sizeof(block));
	lacked = false;
	for (unsigned i = 0; i < TAGS; i++) {
		memset(expected[i], 0xa5, tag[i].len);
		memset((void *)tag[i].start, 0xa5,
		       tag[i].len); /* NOLINT(performance-no-int-to-ptr) */
	}
	while (in.left)
		step();
	no_mapping = 0;
	for (unsigned i = 0; i < TAGS; i++)
		heap_destroy(&tag[i]);
	memset(block, 0, sizeof(block));
	consistent();
	return 0;
}
