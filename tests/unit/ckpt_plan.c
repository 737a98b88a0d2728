/* SPDX-License-Identifier: MIT */
/* Every kind of mapping gets what the image may have of it, and no more. World: host. */
#include <sys/mman.h>

#include "checkpoint/plan.h"
#include "tests/test.h"

#define PROG	   0x555555554000ull
#define LIB	   0x7ffff7d00000ull
#define STACK_ARGC 0x7ffffffde128ull

static const char text[] =
	/* the program: header, text, constants, RELRO (in a writable segment), .data, .bss */
	"555555554000-555555555000 r--p 00000000 fe:00 10 /bin/prog\nVmFlags: rd mr mw me\n"
	"555555555000-555555557000 r-xp 00001000 fe:00 10 /bin/prog\nVmFlags: rd ex mr mw me\n"
	"555555557000-555555558000 r--p 00003000 fe:00 10 /bin/prog\nVmFlags: rd mr mw me\n"
	"555555558000-555555559000 r--p 00003000 fe:00 10 /bin/prog\nVmFlags: rd mr mw me ac\n"
	"555555559000-55555555b000 rw-p 00004000 fe:00 10 /bin/prog\nVmFlags: rd wr mr mw me ac\n"
	"55555555b000-55555555c000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac\n"
	/* its .bss again, which it protected itself: it may open it again */
	"55555555c000-55555555d000 r--p 00000000 00:00 0 \nVmFlags: rd mr mw me ac\n"
	"555555560000-555555580000 rw-p 00000000 00:00 0 [heap]\nVmFlags: rd wr mr mw me ac\n"
	/* private memory of many kinds */
	"600000000000-600000002000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac\n"
	"600000002000-600000004000 ---p 00000000 00:00 0 \nVmFlags: mr mw me ac\n"
	"600000004000-600000005000 rwxp 00000000 00:00 0 \nVmFlags: rd wr ex mr mw me ac\n"
	"600000005000-600000006000 r-xp 00000000 00:00 0 [anon:jit]\nVmFlags: rd ex mr mw me ac\n"
	"600000006000-600000007000 --xp 00000000 00:00 0 \nVmFlags: ex mr mw me ac\n"
	"600000007000-600000008000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac wf\n"
	"600000008000-600000009000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac dc\n"
	"600000009000-60000000a000 rw-p 00000000 00:00 0 \nProtectionKey: 1\nVmFlags: rd wr mr mw me ac\n"
	"60000000a000-60000000b000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me gd ac\n"
	"60000000b000-60000000c000 r--p 00005000 fe:00 77 /usr/lib/locale/locale-archive\nVmFlags: rd mr mw me\n"
	"60000000c000-60000000d000 rw-p 00005000 fe:00 78 /gone (deleted)\nVmFlags: rd wr mr mw me ac\n"
	"60000000d000-60000000e000 rw-p 00000000 00:05 79 /dev/mem\nVmFlags: rd wr mr mw me pf io\n"
	"60000000e000-600000010000 rw-p 00000000 00:0f 80 /anon_hugepage (deleted)\nVmFlags: rd wr mr mw me ht\n"
	"600000010000-600000018000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac\n" /* cut by ranges */
	/*
	 * shared memory of many kinds: the last is the only small file that nobody can write
	 * through it
	 */
	"610000000000-610000001000 rw-s 00000000 00:01 90 /dev/zero (deleted)\nVmFlags: rd wr sh mr mw me ms\n"
	"610000001000-610000002000 r--s 00000000 00:01 91 /dev/null\nVmFlags: rd mr me ms\n"
	"610000002000-610000005000 rw-s 00000000 00:0e 92 anon_inode:kvm-vcpu:0\nVmFlags: rd wr sh mr mw me ms\n"
	"610000005000-610000006000 r--s 00000000 00:0e 93 /proc/self/exe\nVmFlags: rd mr mw me ms\n"
	"610000006000-610000007000 r--s 00000000 00:0e 93 /gone (deleted)\nVmFlags: rd mr me ms\n"
	"610000100000-610000300000 r--s 00000000 00:0e 94 /etc/passwd\nVmFlags: rd mr me ms\n"
	"610000300000-610000301000 r--s 00000000 00:0e 94 /etc\nVmFlags: rd mr me ms\n"
	"610000400000-610000401000 r--s 00000000 00:0e 94 /etc/passwd\nVmFlags: rd mr me ms\n"
	"610000500000-610000501000 r--s 00000000 00:0e 94 /etc/passwd\nVmFlags: rd mr mw me ms\n"
	/* a library that could not be pinned */
	"7ffff7d00000-7ffff7d02000 r-xp 00000000 fe:00 20 /lib/loose.so\nVmFlags: rd ex mr mw me\n"
	"7ffff7fbd000-7ffff7fc1000 r--p 00000000 00:00 0 [vvar]\nVmFlags: rd mr pf io de dd\n"
	"7ffff7fc1000-7ffff7fc2000 r--p 00000000 00:00 0 [vvar_vclock]\nVmFlags: rd mr pf io de dd\n"
	"7ffff7fc2000-7ffff7fc4000 r-xp 00000000 00:00 0 [vdso]\nVmFlags: rd ex mr mw me de\n"
	"7ffffffb0000-7ffffffb1000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me gd ac\n" /* cut off by the program */
	"7ffffffb1000-7ffffffe0000 rw-p 00000000 00:00 0 [stack]\nVmFlags: rd wr mr mw me gd ac\n"
	"7fffffffe000-800000000000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac\n" /* the top user page */
	"ffffffffff600000-ffffffffff601000 r-xp 00000000 00:00 0 [vsyscall]\nVmFlags: rd ex\n";

static struct ckpt_objects objects;
static struct ckpt_plan plan;

static void expect(uint64_t start, uint64_t end, enum ckpt_kind kind, unsigned prot, int anonymous)
{
	const struct ckpt_region *r = ckpt_plan_find(&plan, start);

	CHECK_MSG(r, "0x%llx", (unsigned long long)start);
	CHECK_EQ(r->start, start);
	CHECK_EQ(r->end, end);
	CHECK_MSG(r->kind == kind && r->prot == prot, "0x%llx: kind %d, prot %u",
		  (unsigned long long)start, r->kind, r->prot);
	if (anonymous >= 0)
		CHECK_EQ(r->anonymous, anonymous);
	CHECK_EQ(ckpt_kind_mapped(kind), prot != 0);
}

static void expect_name(uint64_t at, const char *name)
{
	const struct ckpt_region *r = ckpt_plan_find(&plan, at);

	CHECK_EQ(r->name_len, strlen(name));
	CHECK_MEM((char *)plan.names.items + r->name, name, strlen(name));
}

static int make(const char *what, const struct ckpt_config *cfg, uint64_t argc_at)
{
	int fd = memfd_create("smaps", 0), err;
	struct maps maps;

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, what, strlen(what)), strlen(what));
	CHECK_OK(maps_read(&maps, fd, true));
	close(fd);
	err = ckpt_plan_make(&plan, &maps, &objects, cfg, argc_at);
	maps_free(&maps);
	return err;
}

static void make_objects(void)
{
	CHECK_OK(ckpt_objects_add(&objects, PROG, "/bin/prog", true));
	/* in no order, as nobody promises one */
	CHECK_OK(ckpt_objects_add_segment(&objects, PROG + 0x5000, PROG + 0x9000, false));
	CHECK_OK(ckpt_objects_add_segment(&objects, PROG + 0x4000, PROG + 0x5000, true));
	CHECK_OK(ckpt_objects_add_segment(&objects, PROG, PROG + 0x1000, true));
	CHECK_OK(ckpt_objects_add_segment(&objects, PROG + 0x1000, PROG + 0x3000, true));
	CHECK_OK(ckpt_objects_add_segment(&objects, PROG + 0x3000, PROG + 0x4000, true));
	CHECK_OK(ckpt_objects_add(&objects, LIB, "/lib/loose.so", false));
	CHECK_OK(ckpt_objects_add_segment(&objects, LIB, LIB + 0x2000, true));
	CHECK_OK(ckpt_objects_sort(&objects));
}

static void kinds(void)
{
	const unsigned r = DUNE_READ, rx = DUNE_READ | DUNE_EXEC, rc = DUNE_READ | DUNE_COW;
	const struct ckpt_range exclude[] = {
		{ 0x600000011000, 0x1000 },
		{ 0x600000013000, 0 },
		{ 0x600000017000, 0x5000 },
		{ PROG + 0x6000, 0x1000 }, /* a page of .data */
	};
	const struct ckpt_config cfg = {
		.reserved = { 0x600000014000, 0x2000 },
		.exclude = exclude,
		.n_exclude = 4,
	};

	CHECK_OK(make(text, &cfg, STACK_ARGC));
	expect(PROG, PROG + 0x1000, CKPT_WINDOW, r, 0);
	expect(PROG + 0x1000, PROG + 0x3000, CKPT_WINDOW, rx, 0);
	expect(PROG + 0x3000, PROG + 0x4000, CKPT_WINDOW, r, 0);
	expect(PROG + 0x4000, PROG + 0x5000, CKPT_WINDOW, r, 0);
	expect(PROG + 0x5000, PROG + 0x6000, CKPT_COPY, rc, 0);
	expect(PROG + 0x6000, PROG + 0x7000, CKPT_NO_EXCLUDED, 0, -1);
	expect(PROG + 0x7000, PROG + 0x8000, CKPT_COPY, rc, 1);
	expect(PROG + 0x8000, PROG + 0x9000, CKPT_COPY, r, 1);
	expect(0x555555560000, 0x555555580000, CKPT_COPY, rc, 1);
	expect(0x600000000000, 0x600000002000, CKPT_COPY, rc, 1);
	expect(0x600000002000, 0x600000004000, CKPT_NO_ACCESS, 0, -1);
	expect(0x600000004000, 0x600000005000, CKPT_COPY, rc, 1);
	expect(0x600000005000, 0x600000006000, CKPT_COPY, r, 1);
	expect(0x600000006000, 0x600000007000, CKPT_NO_ACCESS, 0, -1);
	expect(0x600000007000, 0x600000008000, CKPT_ZERO, rc, -1);
	expect(0x600000008000, 0x600000009000, CKPT_NO_FORK, 0, -1);
	expect(0x600000009000, 0x60000000a000, CKPT_NO_KEY, 0, -1);
	expect(0x60000000a000, 0x60000000b000, CKPT_NO_STACK, 0, -1);
	expect(0x60000000b000, 0x60000000c000, CKPT_COPY, r, 0);
	expect(0x60000000c000, 0x60000000d000, CKPT_COPY, rc, 0);
	expect(0x60000000d000, 0x60000000e000, CKPT_NO_DEVICE, 0, -1);
	expect(0x60000000e000, 0x600000010000, CKPT_COPY, rc, 1);
	expect(0x600000010000, 0x600000011000, CKPT_COPY, rc, 1);
	expect(0x600000011000, 0x600000012000, CKPT_NO_EXCLUDED, 0, -1);
	expect(0x600000012000, 0x600000014000, CKPT_COPY, rc, 1);
	expect(0x600000014000, 0x600000016000, CKPT_NO_RESERVED, 0, -1);
	expect(0x600000016000, 0x600000017000, CKPT_COPY, rc, 1);
	expect(0x600000017000, 0x600000018000, CKPT_NO_EXCLUDED, 0, -1);
	expect(0x610000000000, 0x610000001000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000001000, 0x610000002000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000002000, 0x610000005000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000005000, 0x610000006000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000006000, 0x610000007000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000100000, 0x610000300000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000300000, 0x610000301000, CKPT_NO_SHARED, 0, -1);
	expect(0x610000400000, 0x610000401000, CKPT_COPY, r, 0);
	expect(0x610000500000, 0x610000501000, CKPT_NO_SHARED, 0, -1);
	expect(LIB, LIB + 0x2000, CKPT_COPY, r, 0); /* not pinned: a copy, and not to be executed */
	expect(0x7ffff7fbd000, 0x7ffff7fc1000, CKPT_KERNEL, r, -1);
	expect(0x7ffff7fc1000, 0x7ffff7fc2000, CKPT_KERNEL, r, -1);
	expect(0x7ffff7fc2000, 0x7ffff7fc4000, CKPT_KERNEL, rx, -1);
	expect(0x7ffffffb0000, 0x7ffffffb1000, CKPT_NO_STACK, 0, -1);
	expect(0x7ffffffb1000, 0x7ffffffde000, CKPT_NO_STACK, 0, -1);
	expect(0x7ffffffde000, 0x7ffffffe0000, CKPT_STACK, rc, -1);
	expect(0x7fffffffe000, DUNE_USER_END, CKPT_COPY, rc, 1);
	expect(DUNE_USER_END, 0x800000000000, CKPT_NO_USER, 0, -1);
	expect(0xffffffffff600000, 0xffffffffff601000, CKPT_NO_USER, 0, -1);
	expect_name(PROG + 0x1000, "/bin/prog");
	expect_name(0x60000000c000, "/gone");
	expect_name(0x600000000000, "");
	CHECK_EQ(ckpt_plan_find(&plan, PROG + 0x4000)->object, 0);
	CHECK_EQ(ckpt_plan_find(&plan, LIB)->object, 1);
	CHECK_EQ(ckpt_plan_find(&plan, 0x600000000000)->object, CKPT_NO_OBJECT);
	CHECK_EQ(ckpt_plan_find(&plan, 0x60000000b000)->offset, 0x5000);
	CHECK(!ckpt_plan_find(&plan, 0));
	CHECK(!ckpt_plan_find(&plan, PROG - 1));
	CHECK(!ckpt_plan_find(&plan, PROG + 0x9000));
	/* Nothing that may be written is a window, nothing overlaps. */
	for (size_t i = 1; i < plan.regions.count; i++)
		CHECK_LE(ckpt_plan_at(&plan, i - 1)->end, ckpt_plan_at(&plan, i)->start);
	ckpt_plan_free(&plan);
}

/*
 * Without the place of argc nothing of the stack is there; a stack by another name is one all the
 * same.
 */
static void stacks(void)
{
	static const char unnamed[] =
		"7ffffffb1000-7ffffffe0000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me ac\n";
	const struct ckpt_config cfg = { 0 };

	CHECK_OK(make(text, &cfg, 0));
	expect(0x7ffffffb1000, 0x7ffffffe0000, CKPT_NO_STACK, 0, -1);
	ckpt_plan_free(&plan);
	CHECK_OK(make(unnamed, &cfg, STACK_ARGC));
	expect(0x7ffffffb1000, 0x7ffffffde000, CKPT_NO_STACK, 0, -1);
	expect(0x7ffffffde000, 0x7ffffffe0000, CKPT_STACK, DUNE_READ | DUNE_COW, -1);
	ckpt_plan_free(&plan);
}

static void refusals(void)
{
	static const char bare[] = "600000000000-600000002000 rw-p 00000000 00:00 0 \n";
	const struct ckpt_range odd = { 0x1000, 0x10 }, wraps = { ~0xfffull, 0x2000 };
	const struct ckpt_config good = { 0 };
	const struct ckpt_config bad[] = {
		{ .reserved = { 0x10, 0x1000 } },
		{ .reserved = wraps },
		{ .exclude = &odd, .n_exclude = 1 },
		{ .exclude = &wraps, .n_exclude = 1 },
	};

	CHECK_ERR(make(bare, &good, 0), -ENOTSUP); /* no flags: who knows what it is */
	for (size_t i = 0; i < 4; i++)
		CHECK_ERR(make(text, &bad[i], 0), -EINVAL);
}

static void equality(void)
{
	static const char one[] = "600000000000-600000002000 rw-p 0 00:00 0 \nVmFlags: rd\n";
	static const char longer[] = "600000000000-600000003000 rw-p 0 00:00 0 \nVmFlags: rd\n";
	static const char readonly[] = "600000000000-600000002000 r--p 0 00:00 0 \nVmFlags: rd\n";
	static const char denied[] = "600000000000-600000002000 rw-p 0 00:00 0 \nVmFlags: rd\n"
				     "600000009000-60000000a000 rw-p 0 00:00 0 \nVmFlags: dc\n";
	static const char more[] = "600000000000-600000002000 rw-p 0 00:00 0 \nVmFlags: rd\n"
				   "600000009000-60000000a000 rw-p 0 00:00 0 \nVmFlags: rd\n";
	const struct ckpt_config cfg = { 0 };
	const char *const others[] = { one, denied, longer, readonly, more };
	struct ckpt_plan first;

	CHECK_OK(make(one, &cfg, 0));
	first = plan;
	for (int i = 0; i < 5; i++) {
		CHECK_OK(make(others[i], &cfg, 0));
		CHECK_EQ(ckpt_plan_equal(&first, &plan), i < 2);
		CHECK_EQ(ckpt_plan_equal(&plan, &first), i < 2);
		ckpt_plan_free(&plan);
	}
	ckpt_plan_free(&first);
}

/* What two segments claim is not taken for constant. */
static void overlapping_segments(void)
{
	struct ckpt_objects o = { 0 };

	CHECK_OK(ckpt_objects_add(&o, 0, "a", true));
	CHECK_OK(ckpt_objects_add_segment(&o, 0x1000, 0x4000, true));
	CHECK_OK(ckpt_objects_add_segment(&o, 0x3000, 0x6000, true));
	CHECK_OK(ckpt_objects_add_segment(&o, 0x3000, 0x5000, true));
	CHECK_OK(ckpt_objects_add_segment(&o, 0x7000, 0x8000, true));
	CHECK_OK(ckpt_objects_sort(&o));
	CHECK(!ckpt_objects_find(&o, 0xfff));
	CHECK(!ckpt_objects_find(&o, 0x3000)->fixed);
	CHECK(!ckpt_objects_find(&o, 0x4000)->fixed);
	CHECK(ckpt_objects_find(&o, 0x7fff)->fixed);
	CHECK(!ckpt_objects_find(&o, 0x8000));
	ckpt_objects_free(&o);
}

/*
 * This process: the program and the C library are there, pinned, and their code lies in a fixed
 * segment.
 */
static void own_objects(void)
{
	const void *const code[] = { (void *)own_objects, (void *)strtoull };
	static int data = 1;
	struct ckpt_objects o;

	CHECK_OK(ckpt_objects_load(&o));
	for (int i = 0; i < 2; i++) {
		const struct ckpt_segment *s = ckpt_objects_find(&o, (uintptr_t)code[i]);

		CHECK(s && s->fixed);
		CHECK(ckpt_object_at(&o, s->object)->pinned);
		CHECK_EQ(ckpt_object_name(&o, s->object)[0], '/');
	}
	CHECK(!ckpt_objects_find(&o, (uintptr_t)&data)->fixed);
	CHECK(!ckpt_objects_find(&o, (uintptr_t)&o));
	ckpt_objects_free(&o);
}

int main(void)
{
	make_objects();
	kinds();
	stacks();
	refusals();
	equality();
	overlapping_segments();
	own_objects();
	ckpt_objects_free(&objects);
	return TEST_PASSED;
}
