/* SPDX-License-Identifier: MIT */
/*
 * Nothing that a compartment can write is ever executed, nothing that is executed can be written, and nothing is made
 * so.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <dune.h>
#include <sys/mman.h>

#include "arch/layout.h"

/* mov $42, %eax; ret */
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
static unsigned char data_code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
static unsigned char *heap_code, *old_executable;

typedef int code_fn(void);

static code_fn *as_code(const void *p)
{
	return (code_fn *)(uintptr_t)p;
}

static int forty_two(void)
{
	return 42;
}

/* The twin runs code where it is, by the same call. */
ST_FN(calls)
{
	volatile int r = as_code(arg)();

	return (void *)(uintptr_t)r;
}

ST_FN(calls_own_stack)
{
	unsigned char here[16];
	volatile int r;

	memcpy(here, code, sizeof(code));
	r = as_code(here)();
	return (void *)(uintptr_t)r;
}

ST_FN(calls_own_memory)
{
	unsigned char *p =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile int r;

	memcpy(p, code, sizeof(code));
	r = as_code(p)();
	return (void *)(uintptr_t)r;
}

/* A page made private by a write is as little executable as before. */
ST_FN(calls_written_data)
{
	volatile int r;

	data_code[1] = 43;
	r = as_code(data_code)();
	return (void *)(uintptr_t)r;
}

ST_FN(writes_text)
{
	*(volatile unsigned char *)arg = 0xc3;
	return NULL;
}

static void denied_mprotect(void *at, int prot, int err)
{
	void *page = (void *)((uintptr_t)at & ~4095UL);

	CHECK_EQ(mprotect(page, 4096, prot), -1);
	CHECK_EQ(errno, err);
}

ST_FN(no_right_can_be_had)
{
	static const int execs[] = { PROT_EXEC, PROT_EXEC | PROT_READ,
				     PROT_EXEC | PROT_READ | PROT_WRITE };
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0), here;

	CHECK(p != MAP_FAILED);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(mmap(NULL, 4096, execs[i], flags, -1, 0) == MAP_FAILED);
		CHECK_EQ(errno, EACCES);
		CHECK(mmap(p, 4096, execs[i], flags | MAP_FIXED, -1, 0) == MAP_FAILED);
		CHECK_EQ(errno, EACCES);
		denied_mprotect(p, execs[i], EACCES);
		denied_mprotect(&here, execs[i], EACCES);
		denied_mprotect(data_code, execs[i], EACCES);
		denied_mprotect((void *)(uintptr_t)forty_two, execs[i], EACCES);
	}
	denied_mprotect((void *)(uintptr_t)forty_two, PROT_READ | PROT_WRITE, EACCES);
	denied_mprotect((void *)(uintptr_t)strlen, PROT_READ | PROT_WRITE, EACCES);
	/* Not by another name, nor over what is there. */
	CHECK(mmap((void *)((uintptr_t)forty_two & ~4095UL), 4096, PROT_READ | PROT_WRITE,
		   flags | MAP_FIXED, -1, 0) == MAP_FAILED);
	CHECK_EQ(errno, ENOMEM);
	CHECK_EQ(munmap((void *)((uintptr_t)forty_two & ~4095UL), 4096), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK(mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED,
		     (void *)((uintptr_t)forty_two & ~4095UL)) == MAP_FAILED);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(syscall(SYS_pkey_mprotect, p, 4096, PROT_READ | PROT_EXEC, -1), -1);
	CHECK_EQ(errno, ENOSYS);
	CHECK_EQ(forty_two(), 42);
	/* The twin. */
	CHECK_EQ(mprotect(p, 4096, PROT_READ), 0);
	CHECK_EQ(mprotect(p, 4096, PROT_READ | PROT_WRITE), 0);
	p[0] = 1;
	return NULL;
}

static void fetch_denied(void *at)
{
	struct sthread_result r = st_call(NULL, calls, at);

	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, 4, ST_BELOW(calls), NULL);
	CHECK_EQ(r.ip, (uint64_t)at);
}

int main(void)
{
	struct sthread_result r;

	heap_code = malloc(64);
	memcpy(heap_code, code, sizeof(code));
	old_executable = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(old_executable != MAP_FAILED);
	memcpy(old_executable, code, sizeof(code));
	st_init();
	CHECK_EQ(as_code(old_executable)(), 42);

	r = st_call(NULL, calls, (void *)(uintptr_t)forty_two);
	ST_RETURNED(&r, 42);
	NOTE("data, heap, memory that is executable in the master");
	fetch_denied(data_code);
	fetch_denied(heap_code);
	fetch_denied(old_executable);
	st_others_live();
	NOTE("nowhere, the monitor");
	fetch_denied(NULL);
	fetch_denied((void *)0x1234);
	fetch_denied((void *)(MON_BASE + 0x3000));
	fetch_denied((void *)0xffffffffff600000);
	r = st_call(NULL, calls, (void *)0x800000000000);
	ST_FAULTS(&r, STHREAD_FAULT_PROTECTION, ST_ANY, 0, ST_ANYWHERE, NULL);
	r = st_call(NULL, calls, (void *)0x7ffffffff000);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, 0x7ffffffff000, 4, ST_ANYWHERE, NULL);
	st_others_live();
	NOTE("its own memory");
	r = st_call(NULL, calls_own_stack, NULL);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, r.ip, 4, ST_BELOW(calls_own_stack),
		  "the compartment's stack");
	r = st_call(NULL, calls_own_memory, NULL);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, r.ip, 4, ST_BELOW(calls_own_memory), "private memory");
	r = st_call(NULL, calls_written_data, NULL);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, data_code, 4, ST_BELOW(calls_written_data), NULL);
	st_others_live();
	NOTE("writing text");
	r = st_call(NULL, writes_text, (void *)(uintptr_t)forty_two);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, forty_two, 2, ST_IN(writes_text), "text of");
	r = st_call(NULL, writes_text, (void *)(uintptr_t)dune_reset_entry);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, dune_reset_entry, 2, ST_IN(writes_text), "text of");
	r = st_call(NULL, writes_text, data_code);
	ST_RETURNED(&r, 0);
	CHECK_EQ(data_code[0], 0xb8);
	CHECK_EQ(forty_two(), 42);
	ST_PASSES(NULL, no_right_can_be_had, NULL);
	ST_PASSES(NULL, no_right_can_be_had, NULL);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
