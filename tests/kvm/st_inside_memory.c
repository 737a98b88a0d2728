/* SPDX-License-Identifier: MIT */
/*
 * Memory inside: the allocator, thread-local variables, one mebibyte of stack, and where each ends.  World: host;
 * ST_FN: inside.
 */
#include "tests/st.h"

#include <alloca.h>
#include <pthread.h>
#include <sys/mman.h>

#define KIB 1024UL
#define MIB (1024 * KIB)

static __thread int tls_set = 17;
static __thread char tls_zero[64];
static __thread uint64_t tls_changed = 1; /* 2 at the checkpoint, 3 after it */
static char *old_heap;

/* ---- the allocator ---- */

ST_FN(small_blocks)
{
	enum { N = 400 };
	unsigned char *p[N];

	for (unsigned i = 0; i < N; i++) {
		p[i] = malloc(i * 7 + 1);
		CHECK(p[i]);
		memset(p[i], (int)i, i * 7 + 1);
	}
	for (unsigned i = 0; i < N; i += 2)
		free(p[i]);
	for (unsigned i = 1; i < N; i += 2) {
		p[i] = realloc(p[i], i * 20 + 1);
		CHECK(p[i]);
		for (unsigned k = 0; k <= i * 7; k++)
			CHECK_EQ(p[i][k], (unsigned char)i);
		free(p[i]);
	}
	return NULL;
}

/* arg MiB in one block: zeros, then grown, shrunk and freed. */
ST_FN(big_block)
{
	size_t len = (uintptr_t)arg * MIB;
	unsigned char *p = calloc(1, len);

	CHECK(p);
	for (size_t i = 0; i < len; i += 4096) {
		CHECK_EQ(p[i], 0);
		p[i] = (unsigned char)(i >> 12);
	}
	p = realloc(p, len + MIB);
	CHECK(p);
	for (size_t i = 0; i < len; i += 4096)
		CHECK_EQ(p[i], (unsigned char)(i >> 12));
	p = realloc(p, len / 2);
	CHECK(p);
	CHECK_EQ(p[4096], 1);
	free(p);
	p = calloc(1, len);
	CHECK(p);
	for (size_t i = 0; i < len; i += 4096)
		CHECK_EQ(p[i], 0);
	free(p);
	return NULL;
}

ST_FN(aligned_blocks)
{
	for (size_t a = 16; a <= 64 * KIB; a *= 2) {
		void *p = NULL;

		CHECK_EQ(posix_memalign(&p, a, 100), 0);
		CHECK_EQ((uintptr_t)p % a, 0u);
		memset(p, 1, 100);
		free(p);
	}
	return NULL;
}

/* A block of the master's from before the checkpoint is a copy, and can be freed like one's own. */
ST_FN(frees_old_block)
{
	CHECK_STR(old_heap, "of the master");
	old_heap[0] = 'O';
	free(old_heap);
	return NULL;
}

ST_FN(memory_calls)
{
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	p[0] = p[4096] = p[8192] = 1;
	CHECK_EQ(mprotect(p + 4096, 4096, PROT_READ), 0);
	CHECK_EQ(p[4096], 1);
	CHECK_EQ(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE), 0);
	p[4096] = 2;
	CHECK_EQ(madvise(p + 4096, 4096, MADV_DONTNEED), 0);
	CHECK_EQ(p[4096], 0);
	CHECK_EQ(munmap(p + 4096, 4096), 0);
	CHECK_EQ(p[0] + p[8192], 2);
	CHECK(mmap(p + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == p + 4096);
	CHECK_EQ(p[4096], 0);
	CHECK_EQ(munmap(p, 3 * 4096), 0);
	/* The image stays as it is. */
	CHECK_EQ(munmap((void *)((uintptr_t)&old_heap & ~4095UL), 4096), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(mprotect((void *)((uintptr_t)&old_heap & ~4095UL), 4096, PROT_READ), -1);
	CHECK_EQ(errno, EACCES);
	/* Neither files nor shared memory. */
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 0, 0) == MAP_FAILED);
	CHECK_EQ(errno, ENODEV);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK_EQ(errno, EINVAL);
	return NULL;
}

ST_FN(writes_after_unmap)
{
	volatile char *p =
		mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p[0] = 1;
	munmap((void *)p, 4096);
	if (!arg)
		p[4096] = 1; /* the twin */
	else
		p[0] = 1;
	return NULL;
}

ST_FN(writes_read_only)
{
	volatile char *p =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p[0] = 1;
	CHECK_EQ(mprotect((void *)p, 4096, PROT_READ), 0);
	if (arg)
		p[0] = 2;
	CHECK_EQ(p[0], 1);
	return NULL;
}

/* ---- thread-local variables ---- */

ST_FN(tls_is_as_at_checkpoint)
{
	CHECK_EQ(tls_set, 17);
	CHECK_EQ(tls_changed, 2u);
	for (unsigned i = 0; i < sizeof(tls_zero); i++)
		CHECK_EQ(tls_zero[i], 0);
	tls_set = 99;
	tls_changed = 99;
	memset(tls_zero, 1, sizeof(tls_zero));
	errno = 99;
	return NULL;
}

static void *tls_of_a_thread(void *arg)
{
	tls_set = 1234;
	ST_PASSES(NULL, tls_is_as_at_checkpoint, NULL);
	CHECK_EQ(tls_set, 1234);
	return arg;
}

/* ---- the stack ---- */

static int use_stack(size_t left);
static int (*volatile again)(size_t left) = use_stack;

static int use_stack(size_t left)
{
	volatile char room[4096];
	int below;

	for (unsigned i = 0; i < sizeof(room); i += 512)
		room[i] = 1;
	below = left > sizeof(room) ? again(left - sizeof(room)) : 0;
	return below + room[512];
}

ST_FN(deep_recursion)
{
	CHECK_EQ(again((uintptr_t)arg), ((int)(uintptr_t)arg + 4095) / 4096);
	return NULL;
}

ST_FN(big_alloca)
{
	volatile char *p = alloca((uintptr_t)arg);

	for (size_t i = 0; i < (uintptr_t)arg; i += 1000) {
		CHECK_EQ(p[i], 0); /* nobody was there before */
		p[i] = 1;
	}
	return NULL;
}

/* Just the pushes, so that the address is known: below the lowest page. */
ST_FN(overflows)
{
	__asm__ volatile("1: pushq $1\n jmp 1b\n" ::: "memory");
	return NULL;
}

static void stacks(void)
{
	struct sthread_result r;

	ST_PASSES(NULL, deep_recursion, 900 * KIB);
	ST_PASSES(NULL, big_alloca, 1000 * KIB);
	ST_PASSES(NULL, big_alloca, 1000 * KIB); /* recycled: zeros again */
	r = st_call(NULL, overflows, NULL);
	ST_FAULTS(&r, STHREAD_FAULT_STACK, ST_ANY, 2, ST_IN(overflows),
		  "guard below the compartment's stack");
	CHECK_EQ(r.address, r.sp - 8);
	CHECK_EQ(r.address % 4096, 4088u);
	st_others_live();
	r = st_call(NULL, deep_recursion, (void *)(2 * MIB));
	ST_FAULTS(&r, STHREAD_FAULT_STACK, ST_ANY, ST_ANY, ST_ANYWHERE, "use_stack");
	CHECK_EQ(r.frames, STHREAD_BACKTRACE);
	r = st_run(NULL, deep_recursion, (void *)(2 * MIB));
	ST_FAULTS(&r, STHREAD_FAULT_STACK, ST_ANY, ST_ANY, ST_ANYWHERE, "use_stack");
	st_others_live();
	ST_PASSES(NULL, deep_recursion, 900 * KIB);
}

int main(void)
{
	struct sthread_policy *roomy;
	struct sthread_result r;
	pthread_t t;

	old_heap = strdup("of the master");
	tls_changed = 2;
	st_init();
	tls_changed = 3;
	roomy = st_policy();
	st_limit(roomy, STHREAD_LIMIT_MEMORY, 256 * MIB);

	for (int round = 0; round < 2; round++) {
		ST_PASSES(NULL, small_blocks, NULL);
		ST_PASSES(NULL, aligned_blocks, NULL);
		ST_PASSES(NULL, big_block, 2);
		ST_PASSES(NULL, memory_calls, NULL);
		ST_PASSES(NULL, frees_old_block, NULL);
		CHECK_STR(old_heap, "of the master");
		ST_PASSES(NULL, tls_is_as_at_checkpoint, NULL);
		CHECK_EQ(tls_set, 17);
		CHECK_EQ(tls_changed, 3u);
	}
	/* Ring 0 is slow where it is emulated. */
	ST_PASSES(roomy, big_block, test_scale(test_placement() == TEST_PLACEMENT_RING0 ? 4 : 48));
	CHECK_EQ(pthread_create(&t, NULL, tls_of_a_thread, NULL), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);

	ST_PASSES(NULL, writes_after_unmap, NULL);
	r = st_call(NULL, writes_after_unmap, (void *)1);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, ST_ANY, 2, ST_IN(writes_after_unmap), "private memory");
	ST_PASSES(NULL, writes_read_only, NULL);
	r = st_call(NULL, writes_read_only, (void *)1);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, ST_ANY, 2, ST_IN(writes_read_only), "private memory");
	stacks();
	sthread_fini();
	return TEST_PASSED;
}
