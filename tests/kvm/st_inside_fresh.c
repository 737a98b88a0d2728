/* SPDX-License-Identifier: MIT */
/*
 * Every run starts fresh: memory as at the checkpoint, nothing of an earlier run in memory or registers, randomness of
 * its own.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>

#define PATTERN 0x5ec2e7f00d5ec2e7ULL
#define PAGES	64

static uint64_t global = 1, array[3 * 512];
static uint64_t *old_heap;
static volatile int *volatile nowhere = (int *)8;
static bool has_avx, has_avx512;

static void fill(volatile uint64_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = PATTERN;
}

static void find_none(const volatile uint64_t *p, size_t n, const char *where)
{
	for (size_t i = 0; i < n; i++)
		CHECK_MSG(p[i] != PATTERN, "word %zu of %s", i, where);
}

/* ---- registers ---- */

static void fill_registers(void)
{
	uint64_t v = PATTERN;

	/* Integers are pushed on the x87 stack: all eight. */
	for (int i = 0; i < 8; i++)
		__asm__ volatile("fildll %0" : : "m"(v));
	__asm__ volatile("movq %0, %%xmm0\n movq %0, %%xmm1\n movq %0, %%xmm7\n movq %0, %%xmm15\n"
			 :
			 : "m"(v));
	if (has_avx)
		__asm__ volatile("vbroadcastsd %0, %%ymm2\n vbroadcastsd %0, %%ymm14\n" : : "m"(v));
	if (has_avx512)
		__asm__ volatile(
			"vbroadcastsd %0, %%zmm3\n vbroadcastsd %0, %%zmm31\n kmovq %0, %%k1"
			:
			: "m"(v));
}

struct vectors {
	uint64_t x[8], y[8], z[16], k;
	unsigned short fpu[14];
	uint32_t mxcsr;
};

/* Before anything that the C library may do with vectors: the first words of a function. */
__attribute__((always_inline)) static inline void save_registers(struct vectors *r)
{
	__asm__ volatile("fnstenv %0" : "=m"(r->fpu));
	__asm__ volatile("stmxcsr %0" : "=m"(r->mxcsr));
	__asm__ volatile(
		"movdqu %%xmm0, %0\n movdqu %%xmm1, %1\n movdqu %%xmm7, %2\n movdqu %%xmm15, %3"
		: "=m"(r->x[0]), "=m"(r->x[2]), "=m"(r->x[4]), "=m"(r->x[6])
		:
		: "memory");
	if (has_avx)
		__asm__ volatile("vmovdqu %%ymm2, %0\n vmovdqu %%ymm14, %1"
				 : "=m"(r->y[0]), "=m"(r->y[4])
				 :
				 : "memory");
	if (has_avx512)
		__asm__ volatile("vmovdqu64 %%zmm3, %0\n vmovdqu64 %%zmm31, %1\n kmovq %%k1, %2"
				 : "=m"(r->z[0]), "=m"(r->z[8]), "=m"(r->k)
				 :
				 : "memory");
}

ST_FN(registers_are_clear)
{
	struct vectors r;

	for (volatile unsigned char *p = (void *)&r; p < (unsigned char *)(&r + 1); p++)
		*p = 0;
	save_registers(&r);
	CHECK_EQ(r.mxcsr, 0x1f80u);
	CHECK_EQ(r.fpu[0], 0x37f);	 /* control */
	CHECK_EQ(r.fpu[2] & ~0x4700, 0); /* status, but for condition codes */
	CHECK_EQ(r.fpu[4], 0xffff);	 /* all empty */
	for (unsigned i = 0; i < 8; i++)
		CHECK(r.x[i] == 0 && r.y[i] == 0);
	for (unsigned i = 0; i < 16; i++)
		CHECK_EQ(r.z[i], 0u);
	CHECK_EQ(r.k, 0u);
	if (arg) {
		uint32_t mxcsr = 0xffc0;
		unsigned short cw = 0x0c7f;

		fill_registers();
		__asm__ volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(cw));
		/* Ends with them full. */
		__asm__ volatile("ud2");
	}
	return NULL;
}

/* What the trampoline passes on: the first argument, and nothing else. */
__asm__(".section st_first_registers,\"ax\",@progbits\n"
	"first_registers:\n"
	"	movq %rbx, %rax\n orq %rcx, %rax\n orq %rdx, %rax\n orq %rsi, %rax\n orq %rbp, %rax\n"
	"	orq %r8, %rax\n orq %r9, %rax\n orq %r10, %rax\n orq %r12, %rax\n orq %r13, %rax\n orq %r14, %rax\n"
	"	orq %r15, %rax\n ret\n"
	".previous\n");
void *first_registers(void *arg);

/* ---- memory ---- */

ST_FN(changes_globals)
{
	CHECK_EQ(global, 2u);
	CHECK_EQ(old_heap[0], 3u);
	for (unsigned i = 0; i < sizeof(array) / 8; i++)
		CHECK_EQ(array[i], 0u);
	global = old_heap[0] = 99;
	fill(array, sizeof(array) / 8);
	if (arg == (void *)1)
		*nowhere = 0;
	if (arg == (void *)2)
		for (;;)
			__asm__ volatile("");
	if (arg == (void *)3)
		exit(3);
	return NULL;
}

/* Leaves the pattern wherever it can.  Returns where its own memory was. */
ST_FN(leaves_traces)
{
	uint64_t *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0),
		 *q, *s;
	volatile uint64_t deep[60 * 512];

	CHECK((void *)p != MAP_FAILED);
	fill(p, PAGES * 512);
	fill(deep, 60 * 512);
	q = malloc(300000);
	fill(q, 300000 / 8);
	q = realloc(q, 600000);
	s = malloc(200);
	fill(s, 25);
	free(s);
	if ((uintptr_t)arg & 1)
		munmap(p, PAGES / 2 * 4096);
	if ((uintptr_t)arg & 2)
		mprotect(p + PAGES / 2 * 512, 4096, PROT_NONE);
	if ((uintptr_t)arg & 4)
		free(q);
	/* The red zone. */
	__asm__ volatile("movq %0, -8(%%rsp)\n movq %0, -128(%%rsp)" : : "r"(PATTERN) : "memory");
	fill_registers();
	return p;
}

/* arg: where the memory of the run before was. */
ST_FN(finds_no_traces)
{
	volatile uint64_t deep[100 * 512];
	uint64_t *p, *q;

	find_none(deep, 100 * 512, "the stack");
	for (int i = 0; i < 2; i++) {
		p = mmap(NULL, PAGES * 4096 * 4, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK((void *)p != MAP_FAILED);
		for (unsigned k = 0; k < PAGES * 4 * 512; k++)
			CHECK_EQ(p[k], 0u);
	}
	CHECK((char *)arg >= (char *)p - (1 << 24) && (char *)arg <= (char *)p + (1 << 24));
	q = malloc(600000);
	find_none(q, 600000 / 8, "malloc()");
	q = malloc(200);
	find_none(q, 25, "a small block");
	for (unsigned i = 0; i < sizeof(array) / 8; i++)
		CHECK_EQ(array[i], 0u);
	return NULL;
}

static void memory_is_fresh(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	struct sthread *st;

	st_limit(p, STHREAD_LIMIT_WALL_NS, 20000000);
	for (int i = 0; i < 2; i++) {
		ST_PASSES(NULL, changes_globals, NULL);	 /* the same lane */
		r = st_run(NULL, changes_globals, NULL); /* another */
		ST_RETURNED(&r, 0);
		r = st_call(NULL, changes_globals, (void *)1);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, 8, 2, ST_IN(changes_globals), NULL);
		ST_PASSES(NULL, changes_globals, NULL);
		r = st_call(p, changes_globals, (void *)2);
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
		ST_PASSES(NULL, changes_globals, NULL);
		st = st_create(NULL, changes_globals, (void *)2);
		CHECK_OK(sthread_kill(st));
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
		r = st_run(NULL, changes_globals, NULL);
		ST_RETURNED(&r, 0);
		r = st_call(NULL, changes_globals, (void *)3);
		ST_EXITED(&r, 3);
		ST_PASSES(NULL, changes_globals, NULL);
	}
	CHECK_EQ(global, 5u);
	CHECK_EQ(old_heap[0], 6u);
	/* Ring 0 is slow where it is emulated. */
	for (uintptr_t how = 0; how < 8; how += test_placement() == TEST_PLACEMENT_RING0 ? 7 : 1) {
		r = st_call(NULL, leaves_traces, (void *)how);
		ST_END(&r, STHREAD_RETURNED);
		ST_PASSES(NULL, finds_no_traces, r.value);
		r = st_run(NULL, leaves_traces, (void *)how);
		ST_END(&r, STHREAD_RETURNED);
		r = st_run(NULL, finds_no_traces, r.value);
		ST_RETURNED(&r, 0);
	}
	sthread_policy_destroy(p);
}

/* ---- randomness ---- */

static uint64_t canary(void)
{
	uint64_t v;

	__asm__ volatile("movq %%fs:0x28, %0" : "=r"(v));
	return v;
}

static uint64_t pointer_guard(void)
{
	uint64_t v;

	__asm__ volatile("movq %%fs:0x30, %0" : "=r"(v));
	return v;
}

ST_FN(gives_canary)
{
	return (void *)canary();
}

ST_FN(gives_at_random)
{
	const uint64_t *p = (const uint64_t *)getauxval(AT_RANDOM);

	return (void *)p[(uintptr_t)arg];
}

ST_FN(gives_random)
{
	uint64_t v;

	CHECK_EQ(getrandom(&v, sizeof(v), 0), 8);
	return (void *)v;
}

static void randomness(void)
{
	enum { N = 12 };
	static const struct {
		st_fn *fn;
		uintptr_t arg;
	} sources[] = {
		{ gives_canary, 0 },
		{ gives_at_random, 0 },
		{ gives_at_random, 1 },
		{ gives_random, 0 },
	};
	const uint64_t *own = (const uint64_t *)getauxval(AT_RANDOM);

	for (unsigned k = 0; k < 4; k++) {
		uint64_t seen[N];

		for (int i = 0; i < N; i++) {
			struct sthread_result r =
				i & 1 ? st_run(NULL, sources[k].fn, (void *)sources[k].arg) :
					st_call(NULL, sources[k].fn, (void *)sources[k].arg);

			ST_END(&r, STHREAD_RETURNED);
			seen[i] = (uint64_t)r.value;
			CHECK_NE(seen[i], 0u);
			CHECK(seen[i] != canary() && seen[i] != own[0] && seen[i] != own[1]);
			CHECK_NE(seen[i], pointer_guard());
			for (int j = 0; j < i; j++)
				CHECK_NE(seen[i], seen[j]);
			if (!k)
				CHECK_EQ(seen[i] & 0xff, 0u);
		}
	}
}

static void registers(void)
{
	struct sthread_result r;

	for (int i = 0; i < 3; i++) {
		fill_registers();
		__asm__ volatile("fninit");
		ST_PASSES(NULL, registers_are_clear, NULL);
		r = st_call(NULL, registers_are_clear, (void *)1);
		ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_IN(registers_are_clear), NULL);
		r = st_run(NULL, registers_are_clear, (void *)1);
		ST_FAULTS(&r, STHREAD_FAULT_INSTRUCTION, 0, 0, ST_IN(registers_are_clear), NULL);
		r = st_run(NULL, registers_are_clear, NULL);
		ST_RETURNED(&r, 0);
		r = st_call(NULL, first_registers, (void *)-1L);
		ST_RETURNED(&r, 0);
	}
}

int main(void)
{
	has_avx = __builtin_cpu_supports("avx2");
	has_avx512 = __builtin_cpu_supports("avx512bw");
	NOTE("avx2 %d, avx512bw %d", has_avx, has_avx512);
	old_heap = malloc(64);
	global = 2;
	old_heap[0] = 3;
	st_init();
	global = 5;
	old_heap[0] = 6;
	registers();
	memory_is_fresh();
	randomness();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
