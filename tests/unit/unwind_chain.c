/* SPDX-License-Identifier: MIT */
/*
 * A backtrace comes from registers and a copy of a stack, and from nothing else: also when the last
 * jump went to NULL, after dlopen(), and when the files of the program cannot be opened any more.
 * World: host.
 */
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "sthread/report/unwind.h"
#include "tests/test.h"

#define STACK (256UL << 10)

static ucontext_t back, inside;
static unsigned char *stack;

/* What the "compartment" left: its registers, and its stack as a copy elsewhere. */
static struct unwind_regs regs;
static uint64_t copy[STACK / 8];
static unsigned reads, reads_outside;

/* By hand: under ASan a memcpy() of a whole stack is an error. */
__attribute__((noinline, no_sanitize_address)) static void take(void)
{
	volatile const uint64_t *from = (const uint64_t *)(const void *)stack;
	static const int order[16] = { REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI,
				       REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
				       REG_R12, REG_R13, REG_R14, REG_R15 };

	for (size_t i = 0; i < STACK / 8; i++)
		copy[i] = from[i];
	for (unsigned i = 0; i < 16; i++)
		regs.gpr[i] = (uint64_t)inside.uc_mcontext.gregs[order[i]];
	regs.rip = (uint64_t)inside.uc_mcontext.gregs[REG_RIP];
}

static bool read_copy(void *ctx, uint64_t addr, uint64_t *out)
{
	uint64_t at = addr - (uint64_t)(uintptr_t)stack;

	CHECK(ctx == copy);
	reads++;
	if (at > STACK - 8) {
		reads_outside++;
		return false;
	}
	memcpy(out, (unsigned char *)copy + at, 8);
	return true;
}

/* The chain: each with something after the call, so that it is a call. */
__attribute__((noinline)) static int chain_c(int x)
{
	int r = getcontext(&inside); /* rip is after this call, rsp is chain_c's */

	take();
	return r + x;
}

__attribute__((noinline)) static int chain_b(int x)
{
	volatile int r = chain_c(x + 1);

	return r + 1;
}

__attribute__((noinline)) static int chain_a(int x)
{
	volatile int r = chain_b(x + 1);

	return r + 1;
}

static void run(void)
{
	volatile int one = 1,
		     r = chain_a(one); /* volatile: no copies of the chain made for a constant */

	(void)r;
}

static void capture(void)
{
	static ucontext_t ctx;

	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(stack != MAP_FAILED);
	CHECK(getcontext(&ctx) == 0);
	ctx.uc_stack.ss_sp = stack;
	ctx.uc_stack.ss_size = STACK;
	ctx.uc_link = &back;
	makecontext(&ctx, run, 0);
	CHECK(swapcontext(&back, &ctx) == 0);
}

static void check_function(uint64_t pc, bool call, const char *name)
{
	struct unwind_symbol sym;

	CHECK(unwind_symbol(pc, call, &sym));
	CHECK_STR(sym.function, name);
	CHECK_HAS(sym.file, "unwind_chain.c");
	CHECK_GT(sym.line, 0);
	CHECK_GT(sym.offset, 0);
	CHECK(sym.module[0] == '/');
}

static unsigned unwind(uint64_t *frames, unsigned max)
{
	unsigned n;

	reads = reads_outside = 0;
	n = unwind_frames(&regs, read_copy, copy, frames, max);
	CHECK_LE(n, max);
	return n;
}

static void check_chain(const uint64_t *f, unsigned n, unsigned first)
{
	static const char *const names[] = { "chain_c", "chain_b", "chain_a", "run" };

	CHECK_GE(n, first + 4);
	for (unsigned i = 0; i < 4; i++)
		check_function(f[first + i], first + i > 0, names[i]);
}

static void jumps(uint64_t to)
{
	struct unwind_regs saved = regs;
	uint64_t f[UNWIND_FRAMES], top = saved.gpr[7] - 8;
	unsigned n;

	/* As `call *to` in chain_c does it. */
	copy[(top - (uint64_t)(uintptr_t)stack) / 8] = saved.rip;
	regs.gpr[7] = top;
	regs.rip = to;
	n = unwind(f, UNWIND_FRAMES);
	CHECK_EQ(f[0], to);
	check_chain(f, n, 1);
	regs = saved;
}

static void after_dlopen(void)
{
	void *lib = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
	struct unwind_symbol sym;
	uint64_t pc;

	if (!lib) {
		NOTE("no libresolv.so.2: dlopen not shown");
		return;
	}
	pc = (uint64_t)(uintptr_t)dlsym(lib, "ns_format_ttl");
	CHECK(unwind_symbol(pc, false, &sym));
	CHECK_HAS(sym.function, "ns_format_ttl");
	CHECK_EQ(sym.offset, 0);
	CHECK_HAS(sym.module, "libresolv");
}

/* In a child whose root is empty, the tables come from memory: the same frames, fewer names. */
static void without_files(const uint64_t *want, unsigned want_n)
{
	char dir[] = "/tmp/unwind-XXXXXX";
	uint64_t f[UNWIND_FRAMES];
	struct unwind_symbol sym;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		NOTE("not root: an empty root directory not shown");
		return;
	}
	CHECK(mkdtemp(dir));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		unwind_forked();
		CHECK(chroot(dir) == 0 && chdir("/") == 0);
		CHECK_EQ(unwind(f, UNWIND_FRAMES), want_n);
		CHECK_MEM(f, want, want_n * sizeof(*f));
		CHECK(unwind_symbol(f[0], false, &sym));
		_exit(TEST_PASSED);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(rmdir(dir) == 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	static uint64_t data[4];
	uint64_t f[UNWIND_FRAMES], g[UNWIND_FRAMES];
	struct unwind_symbol sym;
	unsigned n;

	capture();
	n = unwind(f, UNWIND_FRAMES);
	NOTE("%u frames, %u words read, %u of them outside", n, reads, reads_outside);
	check_chain(f, n, 0);
	CHECK_EQ(f[0], regs.rip);
	CHECK_GT(reads, 2);

	NOTE("a copy that was tampered with decides, not the stack that it was made from");
	memset(copy, 0, sizeof(copy));
	CHECK_EQ(unwind(g, UNWIND_FRAMES), 1);
	capture();

	NOTE("bounds");
	CHECK_EQ(unwind(g, 0), 0);
	CHECK_EQ(unwind(g, 1), 1);
	CHECK_EQ(unwind(g, 2), 2);

	NOTE("jumps to NULL, to data, and to no address");
	jumps(0);
	jumps((uint64_t)(uintptr_t)data);
	jumps(0x8000000000000000UL);

	NOTE("no object there: no symbol");
	CHECK(!unwind_symbol(0, false, &sym));
	CHECK(!unwind_symbol((uint64_t)(uintptr_t)stack, false, &sym));

	after_dlopen();
	n = unwind(f, UNWIND_FRAMES);
	check_chain(f, n, 0);

	NOTE("the session is given back, and opened again");
	unwind_fini();
	unwind_fini();
	n = unwind(f, UNWIND_FRAMES);
	check_chain(f, n, 0);

	without_files(f, n);
	unwind_fini();
	return TEST_PASSED;
}
