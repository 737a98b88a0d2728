/* SPDX-License-Identifier: MIT */
/* ckpt_describe.c - every kind of memory that a plan can name, in words.  World: host. */
#include <sys/mman.h>

#include "checkpoint/ckpt.h"
#include "tests/test.h"
#include "tests/unit/ckpt_fake.h"

#define PAGE 4096UL
#define AT(i) (0x100000000UL + (i) * 16 * PAGE)

static const struct {
	enum ckpt_kind kind;
	unsigned prot;
	bool anonymous, object;
	const char *name, *words;
} cases[] = {
	{ CKPT_WINDOW, DUNE_READ | DUNE_EXEC, false, true, NULL, "text of /lib/x.so + 0x1010" },
	{ CKPT_WINDOW, DUNE_READ, false, true, NULL, "read-only data of /lib/x.so + 0x11010" },
	{ CKPT_KERNEL, DUNE_READ, false, false, "[vdso]", "the kernel's [vdso] + 0x1010" },
	{ CKPT_COPY, DUNE_READ | DUNE_COW, false, true, NULL, "image, .data of /lib/x.so + 0x31010" },
	{ CKPT_COPY, DUNE_READ | DUNE_COW, true, true, NULL, "image, .bss of /lib/x.so + 0x41010" },
	{ CKPT_COPY, DUNE_READ, false, true, NULL, "image, read-only data of /lib/x.so + 0x51010" },
	{ CKPT_COPY, DUNE_READ | DUNE_COW, true, false, "[heap]", "image, heap + 0x1010" },
	{ CKPT_COPY, DUNE_READ | DUNE_COW, true, false, "[anon:arena]", "image, [anon:arena] + 0x1010" },
	{ CKPT_COPY, DUNE_READ | DUNE_COW, true, false, NULL, "image, anonymous memory + 0x1010" },
	{ CKPT_COPY, DUNE_READ | DUNE_COW, false, false, "/etc/x", "image, private mapping of /etc/x, file offset 0x3010" },
	{ CKPT_ZERO, DUNE_READ | DUNE_COW, true, false, NULL, "image, memory that is wiped on fork + 0x1010" },
	{ CKPT_STACK, DUNE_READ | DUNE_COW, true, false, NULL, "image, arguments at the top of the main stack + 0x1010" },
	{ CKPT_NO_STACK, 0, true, false, NULL, "the master's stack: not granted" },
	{ CKPT_NO_SHARED, 0, false, false, "/dev/shm/x", "shared mapping of /dev/shm/x: not granted" },
	{ CKPT_NO_SHARED, 0, true, false, NULL, "shared mapping of anonymous memory: not granted" },
	{ CKPT_NO_ACCESS, 0, false, true, NULL, "memory that the master cannot read either (a gap of /lib/x.so + 0xf1010)" },
	{ CKPT_NO_ACCESS, 0, true, false, NULL, "memory that the master cannot read either (anonymous memory)" },
	{ CKPT_NO_KEY, 0, true, false, NULL, "memory under a protection key: not granted" },
	{ CKPT_NO_DEVICE, 0, false, false, "/dev/x", "device memory of /dev/x: not granted" },
	{ CKPT_NO_RESERVED, 0, true, false, NULL, "the library's own memory: not granted" },
	{ CKPT_NO_EXCLUDED, 0, true, false, NULL, "memory that the image leaves out: not granted" },
	{ CKPT_NO_EXCLUDED, 0, false, true, NULL, "memory that the image leaves out, data of /lib/x.so + 0x151010: not granted" },
	{ CKPT_NO_USER, 0, false, false, "[vsyscall]", "the kernel's [vsyscall]: not granted" },
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static struct ckpt c;

static void plan(void)
{
	CHECK_OK(ckpt_objects_add(&c.objects, AT(0), "/lib/x.so", true));
	for (unsigned i = 0; i < CASES; i++) {
		struct ckpt_region *r = scratch_push(&c.plan.regions, sizeof(*r));
		size_t len = cases[i].name ? strlen(cases[i].name) : 0;

		CHECK(r);
		*r = (struct ckpt_region){
			.start = AT(i),
			.end = AT(i) + 4 * PAGE,
			.offset = 2 * PAGE,
			.kind = cases[i].kind,
			.prot = cases[i].prot,
			.anonymous = cases[i].anonymous,
			.object = cases[i].object ? 0 : CKPT_NO_OBJECT,
			.name = (uint32_t)c.plan.names.count,
			.name_len = (uint32_t)len,
		};
		if (len)
			memcpy(scratch_extend(&c.plan.names, 1, len), cases[i].name, len);
	}
}

static void says(uint64_t at, const char *words)
{
	char all[512], cut[24];
	size_t n = ckpt_describe(&c, at, all, sizeof(all));

	CHECK_STR(all, words);
	CHECK_EQ(n, strlen(words));
	CHECK_EQ(ckpt_describe(&c, at, cut, sizeof(cut)), n);
	CHECK(strlen(cut) == (n < sizeof(cut) ? n : sizeof(cut) - 1) && !strncmp(cut, words, strlen(cut)));
	CHECK_EQ(ckpt_describe(&c, at, NULL, 0), n);
}

/* What is there now, where the plan has nothing, or memory that was not to be forked. */
static void later(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ckpt_region *r;
	const char *words = "memory the master mapped after the checkpoint (/memfd:later): not granted";
	int fd = memfd_create("later", MFD_CLOEXEC);

	CHECK(p != MAP_FAILED && fd >= 0 && !ftruncate(fd, PAGE));
	/* So that it is a mapping of its own. */
	CHECK_EQ(mprotect(p, PAGE, PROT_READ), 0);
	says((uintptr_t)p, "memory the master mapped after the checkpoint: not granted");
	CHECK(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == p);
	says((uintptr_t)p, words);
	r = scratch_push(&c.plan.regions, sizeof(*r));
	CHECK(r);
	*r = (struct ckpt_region){ .start = (uintptr_t)p, .end = (uintptr_t)p + PAGE, .kind = CKPT_NO_FORK };
	says((uintptr_t)p, words);
	CHECK_EQ(madvise(p, PAGE, MADV_DONTFORK), 0);
	says((uintptr_t)p, "memory marked MADV_DONTFORK: not granted");
	munmap(p, PAGE);
	says((uintptr_t)p, "nothing mapped there");
	close(fd);
}

int main(void)
{
	static struct fake_extent all = { .at = AT(0), .len = AT(CASES) - AT(0), .prot = DUNE_READ };
	struct dune_vm *vm = fake_vm(1UL << 20);

	c.vm = vm;
	c.space = &vm->space;
	vm->space.extents = &all;
	vm->space.count = 1;
	c.reserved = (struct ckpt_range){ 0x700000000000, 16 * PAGE };
	plan();
	for (unsigned i = 0; i < CASES; i++)
		says(AT(i) + PAGE + 0x10, cases[i].words);
	vm->space.count = 0; /* a page that is not there */
	says(AT(8) + 0x10, "image, anonymous memory + 0x10 (could not be read at the checkpoint)");

	says(0, "null pointer page");
	says(4095, "null pointer page");
	says(0x700000000000 + 15 * PAGE, "the library's own memory: not granted");
	says(DUNE_USER_END, "the kernel's half of the address space");
	says(~0UL, "the kernel's half of the address space");
	says(0x0000800000000000, "not an address (not canonical)");
	says(0xffff7fffffffffff, "not an address (not canonical)");
	later();
	return 0;
}
