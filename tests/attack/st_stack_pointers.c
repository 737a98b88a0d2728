/* SPDX-License-Identifier: MIT */
/*
 * A stack pointer that points nowhere, at every kind of entry: traps, faults that are denied and that are resolved, the
 * library's own calls, the end of a function and of a gate's, a kill and a limit.  The entry works, and the record is
 * exact.  World: host; ST_FN and gates: inside.  (System calls, copies on write, invalid instructions: st_registers.c.)
 */
#include "tests/st_gate.h"
#include "tests/st_soft.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "arch/layout.h"
#include "sthread/inside/hostcall.h"

#define NOWHERE 0x18UL /* no memory */

/* In a tag that master and compartment share. */
static struct board {
	uint64_t sp;
	struct sthread_tag *tag;
	_Atomic uint32_t up;
} * board;
static struct sthread_policy *policy;

#define ONLY(fn, before, after)                                                                    \
	ST_FN(fn)                                                                                  \
	{                                                                                          \
		__asm__ volatile(before "movq %0, %%rsp\n" after                                   \
				 :                                                                 \
				 : "r"(((struct board *)arg)->sp), "r"(&((struct board *)arg)->up) \
				 : "rax", "memory", "cc");                                         \
		return NULL;                                                                       \
	}

ONLY(steps, "pushfq\n orq $0x100, (%%rsp)\n popfq\n", "nop\n nop\n")
ONLY(halts, "", "hlt\n")
ONLY(reads_not_canonical, "movabsq $0x4141414141414141, %%rax\n", "movb (%%rax), %%al\n")
ONLY(reads_nothing, "", "movb 0x18, %%al\n")
ONLY(writes_nothing, "", "movb %%al, 0x18\n")
ONLY(jumps_to_nothing, "movl $0x18, %%eax\n", "jmpq *%%rax\n")
ONLY(divides, "xorl %%eax, %%eax\n", "divb %%al\n")
ONLY(returns, "", "retq\n")
ONLY(pushes, "", "pushq $1\n")
ONLY(spins, "", "movl $1, (%1)\n 1: pause\n jmp 1b\n")

/* A page that is there when it is touched; the stack pointer is the same afterwards. */
ST_FN(demands)
{
	struct board *b = arg;
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t after;

	CHECK(p != MAP_FAILED);
	__asm__ volatile("movq %%rsp, %%rbx\n"
			 "	movq %1, %%rsp\n"
			 "	movb $7, 4096(%2)\n"
			 "	movq %%rsp, %0\n"
			 "	movq %%rbx, %%rsp\n"
			 : "=&r"(after)
			 : "r"(b->sp), "r"(p)
			 : "rbx", "memory");
	CHECK_EQ(after, b->sp);
	CHECK_EQ(p[4096], 7);
	return NULL;
}

/* One of the library's calls. */
static inline __attribute__((always_inline)) long
own_call(uint64_t sp, enum hostcall nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	register uint64_t r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	uint64_t after;
	long result;

	__asm__ volatile("movq %%rsp, %%rbx\n"
			 "	movq %3, %%rsp\n"
			 "	syscall\n"
			 "	movq %%rsp, %1\n"
			 "	movq %%rbx, %%rsp\n"
			 : "=a"(result), "=&r"(after)
			 : "a"((long)nr), "r"(sp), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rbx", "rcx", "r11", "memory");
	CHECK_EQ(after, sp);
	return result;
}

ST_FN(allocates)
{
	struct board *b = arg;
	char *block = (char *)own_call(b->sp, HOSTCALL_TAG_ALLOC, (uint64_t)b->tag, 100, 0, 0, 0);

	CHECK(sthread_tag_of(block) == b->tag);
	memset(block, 1, 100);
	CHECK_EQ(own_call(b->sp, HOSTCALL_TAG_FREE, (uint64_t)block, 0, 0, 0, 0), 0);
	return NULL;
}

ST_FN(returns_five)
{
	return (void *)5;
}

ST_FN(calls_sthread)
{
	struct board *b = arg;
	struct sthread_result r;
	uint64_t p = (uint64_t)own_call(b->sp, HOSTCALL_POLICY_CREATE, 0, 0, 0, 0, 0);

	CHECK_EQ(own_call(b->sp, HOSTCALL_STHREAD_CALL, p, (uint64_t)returns_five, 0, (uint64_t)&r,
			  0),
		 0);
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)5);
	CHECK_EQ(own_call(b->sp, HOSTCALL_POLICY_DESTROY, p, 0, 0, 0, 0), 0);
	return NULL;
}

/* What the outermost frame does when the function has returned; sthread_exit(). */
ST_FN(returns_by_call)
{
	return (void *)own_call(((struct board *)arg)->sp, HOSTCALL_RETURN, 77, 0, 0, 0, 0);
}

ST_FN(exits_by_call)
{
	return (void *)own_call(((struct board *)arg)->sp, HOSTCALL_EXIT, 78, 0, 0, 0, 0);
}

/* ---- gates ---- */

enum how { PROPERLY, BY_CALL, BY_RETURN };
struct order {
	uint64_t sp;
	enum how how;
};

static ssize_t ends(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const struct order *o = in;

	(void)trusted;
	CHECK(in_len == sizeof(*o) && out_cap == 8);
	memcpy(out, "answered", 8);
	if (o->how == BY_CALL)
		own_call(o->sp, HOSTCALL_RETURN, 8, 0, 0, 0, 0);
	if (o->how == BY_RETURN)
		__asm__ volatile("movq %0, %%rsp\n retq" : : "r"(o->sp) : "memory");
	return 8;
}

static ssize_t ask(const char *name, uint64_t sp, enum how how, char *out)
{
	struct order o = { sp, how };

	return gate_ask(name, &o, sizeof(o), out, 8);
}

/* The caller of a gate has such a stack, too. */
ST_FN(calls_gate)
{
	struct board *b = arg;
	struct order o = { b->sp, BY_CALL };
	struct sthread_gate *g;
	char out[8];

	CHECK_OK(sthread_gate_find(&g, "fresh"));
	CHECK_EQ(own_call(b->sp, HOSTCALL_GATE_CALL, (uint64_t)g, (uint64_t)&o, sizeof(o),
			  (uint64_t)out, sizeof(out)),
		 8);
	CHECK(!memcmp(out, "answered", 8));
	/* Its buffer there: refused, before the gate runs. */
	CHECK_EQ(own_call(b->sp, HOSTCALL_GATE_CALL, (uint64_t)g, b->sp, sizeof(o), (uint64_t)out,
			  8),
		 -EFAULT);
	return NULL;
}

ST_FN(calls_gates_that_end)
{
	static const char *const names[] = { "fresh", "recycled" };
	struct board *b = arg;

	for (int i = 0; i < 2; i++) {
		char out[8] = "";

		CHECK_EQ(ask(names[i], b->sp, BY_CALL, out), 8);
		CHECK(!memcmp(out, "answered", 8));
		memset(out, 0, 8);
		CHECK_EQ(ask(names[i], b->sp, BY_RETURN, out), -EIO);
		CHECK(!memcmp(out, "\0\0\0\0\0\0\0\0", 8));
		CHECK_EQ(ask(names[i], b->sp, PROPERLY, out), 8);
		CHECK(!memcmp(out, "answered", 8));
	}
	return NULL;
}

/* ---- the master ---- */

/* A memory access at `at` through the stack pointer. */
static void faults_at(const struct sthread_result *r, uint64_t at, unsigned access,
		      const char *name)
{
	bool user = at < 1UL << 47, kernel = at >= 0xffff800000000000;

	if (!user && !kernel) {
		ST_FAULTS(r, STHREAD_FAULT_PROTECTION, 0, 0, ST_ANYWHERE, name);
		/* Emulated processors do not tell stacks apart. */
		CHECK(r->vector == 12 || (!st_soft() && r->vector == 13));
		return;
	}
	ST_FAULTS(r,
		  at >= process.stack_low - STACK_GUARD && at < process.stack_low ?
			  STHREAD_FAULT_STACK :
			  STHREAD_FAULT_MEMORY,
		  at, access, ST_ANYWHERE, name);
	CHECK_EQ(r->vector, 14u);
}

/* What every record has: where it was, with which stack. */
static void record(const struct sthread_result *r, struct st_place in)
{
	CHECK_EQ(r->sp, board->sp);
	CHECK_EQ(r->regs[7], board->sp);
	CHECK_GE(r->frames, 1u);
	CHECK_EQ(r->backtrace[0], r->ip);
	CHECK_MSG(r->ip >= (uint64_t)in.start && r->ip < (uint64_t)in.end, "%s: %s", in.name,
		  st_words(r));
}

static const struct {
	st_fn *fn;
	struct st_place in;
	enum sthread_fault fault;
	unsigned vector;
	uint64_t address;
	unsigned access;
} kinds[] = {
#define KIND(fn, ...)                                                     \
	{                                                                 \
		fn, { __start_st_##fn, __stop_st_##fn, #fn }, __VA_ARGS__ \
	}
	KIND(steps, STHREAD_FAULT_TRAP, 1, 0, 0),
	KIND(halts, STHREAD_FAULT_PROTECTION, 13, 0, 0),
	KIND(reads_not_canonical, STHREAD_FAULT_PROTECTION, 13, 0, 0),
	KIND(reads_nothing, STHREAD_FAULT_MEMORY, 14, NOWHERE, 1),
	KIND(writes_nothing, STHREAD_FAULT_MEMORY, 14, NOWHERE, 2),
	KIND(divides, STHREAD_FAULT_ARITHMETIC, 0, 0, 0),
};

static void faults(void)
{
	struct sthread_result r;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		r = i & 1 ? st_run(policy, kinds[i].fn, board) :
			    st_call(policy, kinds[i].fn, board);
		ST_FAULTS(&r, kinds[i].fault, kinds[i].address, kinds[i].access, kinds[i].in, NULL);
		CHECK_EQ(r.vector, kinds[i].vector);
		record(&r, kinds[i].in);
	}
	r = st_call(policy, jumps_to_nothing, board);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, NOWHERE, 4, ST_ANYWHERE, NULL);
	CHECK_EQ(r.ip, NOWHERE);
	CHECK_EQ(r.sp, board->sp);
	CHECK_EQ(r.backtrace[0], NOWHERE);
	/* Those that use it. */
	r = st_run(policy, returns, board);
	faults_at(&r, board->sp, 1, "returns");
	record(&r, ST_IN(returns));
	r = st_call(policy, pushes, board);
	faults_at(&r, board->sp - 8, 2, "pushes");
	record(&r, ST_IN(pushes));
}

/* ns 0: by a kill, and not by the limit. */
static void ended(enum sthread_limit limit, uint64_t ns)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	struct sthread *st;

	CHECK_OK(sthread_policy_tag(p, board->tag, STHREAD_WRITE));
	atomic_store(&board->up, 0);
	if (ns)
		st_limit(p, limit, ns);
	st = st_create(p, spins, board);
	if (!ns) {
		while (!atomic_load(&board->up))
			usleep(200);
		CHECK_OK(sthread_kill(st));
	}
	r = st_join(st);
	if (ns)
		ST_LIMIT(&r, limit);
	else
		ST_END(&r, STHREAD_KILLED);
	CHECK_EQ(atomic_load(&board->up), 1u);
	record(&r, ST_IN(spins));
	CHECK_HAS(st_words(&r), "spins");
	sthread_policy_destroy(p);
}

static void own_calls(struct sthread_gate *fresh, struct sthread_gate *recycled)
{
	struct sthread_gate *const gates[] = { fresh, recycled };
	struct sthread_result r;

	ST_PASSES(policy, demands, board);
	ST_PASSES(policy, allocates, board);
	ST_PASSES(policy, calls_sthread, board);
	r = st_call(policy, returns_by_call, board);
	ST_RETURNED(&r, 77);
	r = st_run(policy, exits_by_call, board);
	ST_RETURNED(&r, 78);
	ST_PASSES(policy, calls_gate, board);
	ST_PASSES(policy, calls_gates_that_end, board);
	for (int i = 0; i < 2; i++) {
		CHECK_OK(sthread_gate_last_result(gates[i], &r));
		faults_at(&r, board->sp, 1, "ends");
		CHECK_EQ(r.sp, board->sp);
	}
}

static void all(struct sthread_gate *fresh, struct sthread_gate *recycled)
{
	const uint64_t places[] = {
		0,
		0x7ffffffff000,
		0x800000000000,
		0x4141414141414141,
		MON_BASE + 0x4008,
		(uint64_t)-8L,
		process.stack_low - 8,
		process.stack_low - STACK_GUARD,
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		board->sp = places[i];
		NOTE("stack at %#lx", (unsigned long)board->sp);
		faults();
		own_calls(fresh, recycled);
		if (!st_host_can_spin(board->sp)) {
			NOTE("it cannot be interrupted on this host");
			continue;
		}
		ended(STHREAD_LIMIT_WALL_NS, 0);
		ended(STHREAD_LIMIT_WALL_NS, 600000000);
		ended(STHREAD_LIMIT_CPU_NS, 200000000);
		st_others_live();
	}
}

int main(void)
{
	struct sthread_gate *fresh, *recycled;
	struct sthread_tag *tag;

	st_init();
	CHECK_OK(sthread_tag_create(&tag, "board", 1 << 20));
	board = sthread_calloc(tag, 1, sizeof(*board));
	CHECK(board);
	board->tag = tag;
	fresh = GATE(.name = "fresh", .fn = ends, .kind = STHREAD_GATE_FRESH);
	recycled = GATE(.name = "recycled", .fn = ends, .kind = STHREAD_GATE_RECYCLED);
	policy = gate_policy(fresh);
	CHECK_OK(sthread_policy_gate(policy, recycled));
	CHECK_OK(sthread_policy_tag(policy, tag, STHREAD_WRITE));
	all(fresh, recycled);
	sthread_policy_destroy(policy);
	sthread_gate_destroy(fresh);
	sthread_gate_destroy(recycled);
	sthread_fini();
	return TEST_PASSED;
}
