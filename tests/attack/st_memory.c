/* SPDX-License-Identifier: MIT */
/*
 * What a compartment may not read or write: everything of the program that was not there at the checkpoint, the
 * library's memory, other compartments, the monitor, addresses that are none.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <pthread.h>
#include <sys/mman.h>

#include "arch/layout.h"

#define SECRET "correct horse battery staple"

static char old_global[64] = "before";
static char *old_heap;
static const char constant[16] = "constant";
static char *shared; /* with the master, before the checkpoint */

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(writes)
{
	*(volatile unsigned char *)arg = 'W';
	return NULL;
}

ST_FN(sees_no_secret)
{
	CHECK_STR(old_global, "before");
	CHECK_STR(old_heap, "before, too");
	strcpy(old_global, "written inside");
	strcpy(old_heap, "inside");
	return NULL;
}

/* Reading and writing at `at` both fault, on this thread and on another. */
static void denied(const char *what, const void *at, enum sthread_fault kind, const char *text)
{
	bool memory = kind == STHREAD_FAULT_MEMORY;
	uint64_t addr = memory ? (uint64_t)at : ST_ANY;
	struct sthread_result r;

	NOTE("%s, %p", what, at);
	r = st_call(NULL, reads, (void *)(uintptr_t)at);
	ST_FAULTS(&r, kind, addr, memory ? 1 : 0, ST_IN(reads), text);
	if (memory)
		CHECK_EQ(r.vector, 14u);
	CHECK_EQ(r.regs[5], (uint64_t)at);
	r = st_run(NULL, writes, (void *)(uintptr_t)at);
	ST_FAULTS(&r, kind, addr, memory ? 2 : 0, ST_IN(writes), text);
	st_others_live();
}

/* Far below the page of argc, which is there, but for what lies below argc. */
static char *stack_room(void)
{
	volatile char far[3 * 4096];

	far[0] = 0;
	return (char *)((uintptr_t)far & ~63UL);
}
static char *(*volatile far_stack)(void) = stack_room;

ST_FN(argument_page_is_empty_below_argc)
{
	const char *end = arg;

	for (const char *p = (const char *)((uintptr_t)end & ~4095UL); p < end; p++)
		CHECK_EQ(*p, 0);
	return NULL;
}

static void new_memory(char **argv)
{
	char *heap = malloc(1 << 20), *on_stack = far_stack(), *mapped;
	struct sthread_result r;

	strcpy(old_global, SECRET);
	strcpy(old_heap, "now secret");
	strcpy(heap, SECRET);
	strcpy(on_stack, SECRET);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(mapped, SECRET);
	strcpy(shared, SECRET);

	/* Twins: what was there before may be read and written, as it was then. */
	for (int i = 0; i < 2; i++)
		ST_PASSES(NULL, sees_no_secret, NULL);
	r = st_call(NULL, reads, old_global);
	ST_RETURNED(&r, 'b');
	r = st_call(NULL, writes, old_global);
	ST_RETURNED(&r, 0);
	CHECK_STR(old_global, SECRET);
	CHECK_STR(old_heap, "now secret");

	denied("heap since then", heap, STHREAD_FAULT_MEMORY,
	       "memory the master mapped after the checkpoint");
	denied("the stack of the master", on_stack, STHREAD_FAULT_MEMORY,
	       "the master's stack: not granted");
	ST_PASSES(NULL, argument_page_is_empty_below_argc, argv - 1);
	denied("mapped since then", mapped, STHREAD_FAULT_MEMORY,
	       "memory the master mapped after the checkpoint");
	denied("shared memory", shared, STHREAD_FAULT_MEMORY, "shared mapping");
	CHECK_STR(heap, SECRET);
	CHECK_STR(mapped, SECRET);
	CHECK_STR(shared, SECRET);
	munmap(mapped, 4096);
	denied("nothing", mapped, STHREAD_FAULT_MEMORY, "nothing mapped there");
	free(heap);
}

static void *stack_of_thread(void *arg)
{
	char here[64] = SECRET;

	*(char **)arg = here;
	denied("the stack of another thread", here, STHREAD_FAULT_MEMORY, NULL);
	return NULL;
}

/* What the library and KVM have mapped: found where the kernel says it is. */
static void library_memory(void)
{
	unsigned long start, end, vcpus = 0, arenas = 0, big_start = 0, big_end = 0;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) != 2)
			continue;
		if (strstr(line, "kvm-vcpu") && !vcpus++)
			denied("kvm_run", (void *)start, STHREAD_FAULT_MEMORY, NULL);
		/* The second view of the image's file, which can be written. */
		if (strstr(line, "rw-s") && strstr(line, "sthread-image") && !vcpus++)
			denied("the image, to be written", (void *)start, STHREAD_FAULT_MEMORY, NULL);
		/* The reserved range: its accessible part is the arena, then comes the part without access. */
		if (end - start >= 1UL << 30 && (strstr(line, " rw-p ") || strstr(line, "sthread-private")) && !arenas++) {
			big_start = start;
			big_end = end;
		}
	}
	fclose(f);
	CHECK(vcpus && arenas);
	for (unsigned long at = big_start; at < big_end; at += (big_end - big_start) / 5 & ~4095UL)
		denied("the arena", (void *)(at + 16), STHREAD_FAULT_MEMORY, "never granted");
	denied("the arena's end", (void *)(big_end - 8), STHREAD_FAULT_MEMORY, "never granted");
}

static void no_memory(void)
{
	denied("NULL", NULL, STHREAD_FAULT_MEMORY, "null pointer");
	denied("an offset from NULL", (void *)0x18, STHREAD_FAULT_MEMORY, "null pointer");
	denied("the last page of user space", (void *)0x7ffffffff000, STHREAD_FAULT_MEMORY, NULL);
	denied("before it", (void *)0x7fffffffeff8, STHREAD_FAULT_MEMORY, NULL);
	denied("not canonical", (void *)0x800000000000, STHREAD_FAULT_PROTECTION, NULL);
	denied("not canonical", (void *)0x4141414141414141, STHREAD_FAULT_PROTECTION, NULL);
	denied("just below the kernel's half", (void *)0xffff7ffffffffff8, STHREAD_FAULT_PROTECTION,
	       NULL);
	denied("the kernel's half", (void *)0xffff800000000000, STHREAD_FAULT_MEMORY, NULL);
	denied("the vsyscall page", (void *)0xffffffffff600000, STHREAD_FAULT_MEMORY, NULL);
	denied("the last byte", (void *)UINT64_MAX, STHREAD_FAULT_MEMORY, NULL);
	for (uint64_t at = MON_BASE; at < MON_BASE + 0x8000; at += 0x1000)
		denied("the monitor", (void *)at, STHREAD_FAULT_MEMORY, NULL);
	denied("its tables", (void *)MON_IDT_HOST, STHREAD_FAULT_MEMORY, NULL);
	denied("its tables", (void *)MON_IDT_RING0, STHREAD_FAULT_MEMORY, NULL);
	denied("its page tables", (void *)MON_AREA_TABLES, STHREAD_FAULT_MEMORY, NULL);
	for (uint64_t area = MON_AREAS; area < MON_AREAS + 3 * MON_AREA_SIZE; area += MON_AREA_SIZE)
		for (uint64_t page = 0; page <= MON_AREA_WINDOWS + 0x4000; page += 0x1000)
			denied("a processor's area", (void *)(area + page), STHREAD_FAULT_MEMORY,
			       NULL);
}

static void read_only(void)
{
	const void *const places[] = { constant, (void *)(uintptr_t)reads,
				       (void *)(uintptr_t)strlen, (void *)(uintptr_t)sthread_inside,
				       "a literal" };
	struct sthread_result r;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		unsigned char was = *(const unsigned char *)places[i];

		r = st_call(NULL, reads, (void *)(uintptr_t)places[i]);
		ST_RETURNED(&r, was);
		r = st_call(NULL, writes, (void *)(uintptr_t)places[i]);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, places[i], 2, ST_IN(writes),
			  i == 0 ? "read-only" : NULL);
		CHECK_EQ(*(const unsigned char *)places[i], was);
		st_others_live();
	}
}

/* ---- another compartment ---- */

struct private_memory {
	char *stack, *area, *global;
};

/* Fills memory of its own, tells where, and lives on until the pipe closes.  arg: write end << 16 | read end. */
ST_FN(keeps_secret)
{
	struct private_memory m;
	char here[64] = "secret of one", c;

	m.stack = here;
	m.area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m.global = old_global;
	strcpy(m.area, "secret of one");
	strcpy(m.global, "secret of one");
	if (write((int)((uintptr_t)arg >> 16), &m, sizeof(m)) != sizeof(m))
		return (void *)1;
	if (read((int)((uintptr_t)arg & 0xffff), &c, 1) != 0)
		return (void *)2;
	CHECK_STR(here, "secret of one");
	CHECK_STR(m.area, "secret of one");
	CHECK_STR(m.global, "secret of one");
	return NULL;
}

/* The same addresses: its own bytes. */
ST_FN(looks_and_writes)
{
	char *p = arg;

	CHECK(!strstr(p, "secret"));
	memcpy(p, "spoiled", 8);
	return NULL;
}

ST_FN(maps_and_looks)
{
	char *p = mmap(arg, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0);

	CHECK(p == arg);
	CHECK_EQ(p[0] | p[1] | p[4095], 0);
	memcpy(p, "spoiled", 8);
	return NULL;
}

static void others(void)
{
	struct sthread_policy *p = st_policy();
	struct private_memory m;
	struct sthread_result r;
	struct sthread *st;
	int there[2], back[2];

	CHECK(!pipe(there) && !pipe(back));
	st_allow(p, SYS_read, SYS_write);
	st_grant(p, there[0], STHREAD_FD_READ);
	st_grant(p, back[1], STHREAD_FD_WRITE);
	st = st_create(p, keeps_secret, (void *)((uintptr_t)back[1] << 16 | (unsigned)there[0]));
	sthread_policy_destroy(p);
	CHECK_EQ(read(back[0], &m, sizeof(m)), (ssize_t)sizeof(m));
	ST_PASSES(NULL, looks_and_writes, m.stack);
	ST_PASSES(NULL, maps_and_looks, m.area);
	ST_PASSES(NULL, looks_and_writes, m.global);
	/* Nor is it the master's. */
	r = st_run(NULL, looks_and_writes, m.global);
	ST_RETURNED(&r, 0);
	close(there[1]);
	r = st_join(st);
	ST_RETURNED(&r, 0);
}

int main(int argc, char **argv)
{
	char *seen = NULL;
	pthread_t t;

	old_heap = strdup("before, too");
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	st_init();
	(void)argc;
	new_memory(argv);
	CHECK_EQ(pthread_create(&t, NULL, stack_of_thread, &seen), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	library_memory();
	no_memory();
	read_only();
	others();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
