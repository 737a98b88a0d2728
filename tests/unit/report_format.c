/* SPDX-License-Identifier: MIT */
/*
 * The report says what a result holds, in words; cuts as snprintf() does; shows nothing
 * unprintable.  World: host.
 */
#include "include/sthread.h"
#include "sthread/report/describe.h"
#include "sthread/report/unwind.h"
#include "tests/test.h"

static const char *description = "heap, not in the image";

const char *report_call_name(uint64_t nr)
{
	return nr == 59 ? "execve" : NULL;
}

const char *report_describe(uint64_t addr, unsigned error, char *buf, size_t len)
{
	(void)error;
	if (!description)
		return NULL;
	snprintf(buf, len, "%s (%#" PRIx64 ")", description, addr);
	return buf;
}

static char text[65536];

static const char *format(const struct sthread_result *r)
{
	int n = sthread_fault_format(r, text, sizeof(text));

	CHECK_GT(n, 0);
	CHECK_EQ((size_t)n, strlen(text));
	CHECK_EQ(text[n - 1], '\n');
	for (const char *c = text; *c; c++)
		CHECK(*c == '\n' || (*c >= 0x20 && *c < 0x7f));
	return text;
}

__attribute__((noinline)) static int here(int x)
{
	return x * 3 + 1;
}

/* A fault with everything in it. */
static struct sthread_result full(void)
{
	struct sthread_result r = {
		.end = STHREAD_FAULTED,
		.fault = STHREAD_FAULT_MEMORY,
		.vector = 14,
		.error = 7,
		.address = 0x7f00deadb000,
		.access = 2,
		.ip = (uint64_t)(uintptr_t)here,
		.sp = 0x7fffffffe000,
		.frames = 3,
		.message = "bad header\n",
	};

	for (unsigned i = 0; i < 16; i++)
		r.regs[i] = 0x1000 + i;
	r.backtrace[0] = r.ip;
	r.backtrace[1] = (uint64_t)(uintptr_t)format + 4;
	r.backtrace[2] = 0x10; /* nothing there */
	return r;
}

static void ends(void)
{
	struct sthread_result r = { .end = STHREAD_RETURNED, .value = (void *)0x2a };

	CHECK_HAS(format(&r), "sthread returned 0x2a\n");
	CHECK(!strstr(text, "registers"));
	r.end = STHREAD_EXITED, r.value = (void *)3;
	CHECK_HAS(format(&r), "exited with status 3\n");
	r.end = STHREAD_ABORTED, strcpy(r.message, "*** stack smashing detected ***: terminated\n");
	CHECK_HAS(format(&r), "sthread aborted");
	CHECK_HAS(text, "\"*** stack smashing detected ***: terminated\\n\"");
	r.message[0] = '\0';
	r.end = STHREAD_DENIED, r.value = (void *)59;
	CHECK_HAS(format(&r), "number 59");
	r.end = STHREAD_OVER_LIMIT;
	r.limit = STHREAD_LIMIT_MEMORY;
	CHECK_HAS(format(&r), "private memory");
	r.limit = STHREAD_LIMIT_WALL_NS;
	CHECK_HAS(format(&r), "wall time");
	r.limit = STHREAD_LIMIT_FDS;
	CHECK_HAS(format(&r), "descriptors");
	r.limit = STHREAD_LIMIT_GATE_CALLS;
	CHECK_HAS(format(&r), "gate calls");
	r.limit = (enum sthread_limit)77;
	CHECK_HAS(format(&r), "ended at a limit");
	r.end = STHREAD_KILLED;
	CHECK_HAS(format(&r), "killed");
	r.end = STHREAD_LOST;
	CHECK_HAS(format(&r), "lost");
	r.end = (enum sthread_end) - 1;
	CHECK_HAS(format(&r), "without a name");
}

static void faults(void)
{
	static const struct {
		enum sthread_fault fault;
		unsigned vector;
		const char *says, *name;
	} kinds[] = {
		{ STHREAD_FAULT_NONE, 0, "nothing is known", "" },
		{ STHREAD_FAULT_STACK, 14, "off the end of its stack: it wrote to 0x7f00deadb000",
		  "" },
		{ STHREAD_FAULT_PROTECTION, 13, "privileged instruction", "general protection" },
		{ STHREAD_FAULT_INSTRUCTION, 6, "undefined", "invalid opcode" },
		{ STHREAD_FAULT_ARITHMETIC, 0, "arithmetic", "divide error" },
		{ STHREAD_FAULT_ARITHMETIC, 19, "arithmetic", "SIMD error" },
		{ STHREAD_FAULT_TRAP, 3, "trap", "breakpoint" },
		{ STHREAD_FAULT_OTHER, 12, "processor exception", "stack segment" },
		{ STHREAD_FAULT_OTHER, 4000000000u, "processor exception", "vector 4000000000" },
		{ (enum sthread_fault)99, 15, "without a name", "exception, vector 15" },
	};
	struct sthread_result r;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		r = full();
		r.fault = kinds[i].fault;
		r.vector = kinds[i].vector;
		CHECK_HAS(format(&r), kinds[i].says);
		CHECK_HAS(text, kinds[i].name);
		CHECK_EQ(!!strstr(text, "there:"), r.fault == STHREAD_FAULT_STACK);
	}

	r = full();
	CHECK_HAS(format(&r), "sthread faulted: it wrote to 0x7f00deadb000, which it may not\n");
	CHECK_HAS(text, "heap, not in the image (0x7f00deadb000)\n");
	CHECK_HAS(text, "the page is there, without that right (page fault, vector 14, error 0x7)");
	CHECK_HAS(text, "where:     here+0 in /");
	CHECK_HAS(text, "report_format.c:");
	CHECK_HAS(text, "it wrote:  \"bad header\\n\"\n");
	CHECK_HAS(text, "rax 0000000000001000  rbx 0000000000001001");
	CHECK_HAS(text, "r15 000000000000100f\n");
	CHECK_HAS(text, "#0  0x0000");
	CHECK_HAS(text, " here+0 (report_format.c:");
	CHECK_HAS(text, "#1  0x0000");
	CHECK_HAS(text, " format+0x4 (report_format.c:");
	CHECK_HAS(text, "#2  0x0000000000000010\n");
	puts(text);

	r.access = 1, r.error = 4;
	CHECK_HAS(format(&r), "it read from");
	CHECK_HAS(text, "no page is there");
	r.access = 4, r.address = r.ip = 0x18, description = NULL;
	CHECK_HAS(format(&r), "it jumped to 0x18");
	CHECK_HAS(text, "null pointer");
	CHECK_HAS(text, "in no program or library");
	r.address = 1UL << 40;
	CHECK_HAS(format(&r), "nothing is known\n");
	description = "a\nb\033[2J\xff";
	CHECK_HAS(format(&r), "a\\nb\\x1b[2J\\xff");
	description = "heap, not in the image";
}

static void hostile(void)
{
	struct sthread_result r;

	/* Nothing in the structure is trusted to be in range. */
	memset(&r, 0xff, sizeof(r));
	r.end = STHREAD_FAULTED;
	format(&r);
	r = full();
	r.frames = UINT32_MAX;
	format(&r);
	for (unsigned i = 0; i < sizeof(r.message); i++)
		r.message[i] = (char)(i + 1); /* the last is NUL */
	format(&r);
	CHECK_HAS(text, "\\x01\\x02");
	CHECK_HAS(text, "\\\"#$");
	CHECK_HAS(text, "[\\\\]");
	CHECK_HAS(text, "\\xff\"\n");
	memset(r.message, 'x', sizeof(r.message)); /* not even that */
	format(&r);
}

static void cut(void)
{
	struct sthread_result r = full();
	int whole = sthread_fault_format(&r, text, sizeof(text));
	static char buf[65536];

	CHECK_EQ(sthread_fault_format(&r, NULL, 0), whole);
	CHECK_EQ(sthread_fault_format(&r, buf, 0), whole);
	for (size_t len = 1; len <= (size_t)whole + 2; len++) {
		size_t kept = len - 1 < (size_t)whole ? len - 1 : (size_t)whole;

		memset(buf, 0x5a, len + 1);
		CHECK_EQ(sthread_fault_format(&r, buf, len), whole);
		CHECK_EQ(strlen(buf), kept);
		CHECK_MEM(buf, text, kept);
		CHECK_EQ(buf[len], 0x5a);
	}
	CHECK_ERR(sthread_fault_format(NULL, buf, 8), -EINVAL);
	CHECK_ERR(sthread_fault_format(NULL, NULL, 0), -EINVAL);
	CHECK_ERR(sthread_fault_format(&r, NULL, 1), -EINVAL);
}

int main(void)
{
	volatile int one = 1;

	CHECK_EQ(here(one), 4);
	ends();
	faults();
	hostile();
	cut();
	unwind_fini();
	return TEST_PASSED;
}
