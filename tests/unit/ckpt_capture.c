/* SPDX-License-Identifier: MIT */
/*
 * The image is this process's memory, byte for byte, but for what must not be in it. World: host.
 *
 * The checkpoint layer runs on a fake of the VM layer, on this very process, which has mappings of
 * all kinds. A sanitizer's own memory changes while it is looked at: under one only the mappings
 * made here are compared.
 */
#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/rseq.h>

#include "checkpoint/image.h"
#include "checkpoint/maps.h"
#include "checkpoint/peek.h"
#include "tests/test.h"
#include "tests/unit/ckpt_fake.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#define PAGE		 4096ul
#define SECRET_ENV	 "CKPT_CAPTURE_SECRET"
#define AT_RANDOM_INSIDE 0x7f1234560010ull
#define EXCLUDES	 64
#define SPARSE		 (128ul << 20)
#define VAST		 (3ul << 30) /* more than the arena */

static const char in_constants[] = "in the program's constants";
static char untouched_data[3 * PAGE] = "in the program's .data"; /* also pages that nobody reads */
static char in_bss[2 * PAGE];
static volatile int inside_flag;
#ifdef TEST_COVERAGE
extern const char __bss_start[], _end[];
#endif
static char small[] = "/tmp/ckpt_capture.XXXXXX"; /* a file that has a name until main() ends */

/* One of each kind. */
static struct {
	char *guarded, *deleted, *past_end, *wiped, *unforked, *shared, *shared_file, *small_shared,
		*wx, *jit, *sparse, *vast, *read_only_touched, *dense, *many, *excluded,
		*private_file;
} m;

static struct ckpt_range exclude[EXCLUDES];
static struct ckpt_config config = { .at_random = AT_RANDOM_INSIDE,
				     .exclude = exclude,
				     .n_exclude = 1 };

static char *map(size_t pages, int prot, int flags, int fd)
{
	char *p = mmap(NULL, pages * PAGE, prot, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int file(char *path, size_t pages, int flags)
{
	int fd = mkostemp(path, flags);

	CHECK(fd >= 0);
	for (size_t i = 0; i < pages * PAGE; i++)
		CHECK_EQ(write(fd, "f", 1), 1);
	return fd;
}

static void make_mappings(void)
{
	const int rw = PROT_READ | PROT_WRITE;
	char gone[] = "/tmp/ckpt_capture.XXXXXX", shm[] = "/dev/shm/ckpt_capture.XXXXXX";
	int fd;

	m.guarded = map(9, rw, MAP_PRIVATE, -1);
	memset(m.guarded, 'g', 9 * PAGE);
	CHECK_EQ(mprotect(m.guarded, PAGE, PROT_NONE), 0);
	CHECK_EQ(mprotect(m.guarded + 8 * PAGE, PAGE, PROT_NONE), 0);
	CHECK_EQ(mprotect(m.guarded + 4 * PAGE, PAGE, PROT_READ), 0);

	fd = file(gone, 4, 0);
	m.deleted = map(4, rw, MAP_PRIVATE, fd);
	m.deleted[PAGE] = 'd';
	m.past_end = map(6, rw, MAP_PRIVATE, fd);
	CHECK_EQ(ftruncate(fd, 2 * PAGE + 100), 0);
	unlink(gone);
	close(fd);

	m.wiped = map(3, rw, MAP_PRIVATE, -1);
	memset(m.wiped, 'w', 3 * PAGE);
	CHECK_EQ(madvise(m.wiped, 3 * PAGE, MADV_WIPEONFORK), 0);
	m.unforked = map(2, rw, MAP_PRIVATE, -1);
	memset(m.unforked, 'u', 2 * PAGE);
	CHECK_EQ(madvise(m.unforked, 2 * PAGE, MADV_DONTFORK), 0);
	m.shared = map(2, rw, MAP_SHARED, -1);
	memset(m.shared, 's', 2 * PAGE);
	fd = file(shm, 2, 0);
	m.shared_file = map(2, PROT_READ, MAP_SHARED, fd);
	unlink(shm);
	close(fd);

	fd = file(small, 3, 0);
	close(fd);
	fd = open(small, O_RDONLY);
	m.small_shared = map(3, PROT_READ, MAP_SHARED, fd);
	m.private_file = map(3, PROT_READ, MAP_PRIVATE, fd);
	close(fd);

	m.wx = map(2, rw | PROT_EXEC, MAP_PRIVATE, -1);
	m.wx[0] = 'x';
	m.jit = map(2, rw, MAP_PRIVATE, -1);
	m.jit[PAGE] = 'j';
	CHECK_EQ(mprotect(m.jit, 2 * PAGE, PROT_READ | PROT_EXEC), 0);
	m.sparse = map(SPARSE / PAGE, rw, MAP_PRIVATE | MAP_NORESERVE, -1);
	m.sparse[0] = m.sparse[12345 * PAGE + 77] = m.sparse[SPARSE - 1] = '1';
	m.vast = map(VAST / PAGE, rw, MAP_PRIVATE | MAP_NORESERVE, -1);
	CHECK_EQ(madvise(m.vast, VAST, MADV_NOHUGEPAGE), 0); /* and not one with its neighbours */
	m.vast[VAST / 2] = 'v';
	m.read_only_touched = map(2000, rw, MAP_PRIVATE, -1);
	CHECK_EQ(madvise(m.read_only_touched, 2000 * PAGE, MADV_NOHUGEPAGE), 0);
	for (size_t i = 0; i < 2000; i++)
		CHECK_EQ(((volatile char *)m.read_only_touched)[i * PAGE], 0);
	m.read_only_touched[1000 * PAGE] = 'r';
	m.dense = map(3000, rw, MAP_PRIVATE, -1);
	for (size_t i = 0; i < 3000 * PAGE; i++)
		m.dense[i] = (char)(i * 31 + i / PAGE);
	m.many = map(600, rw, MAP_PRIVATE, -1);
	for (size_t i = 0; i < 600; i += 2) {
		m.many[i * PAGE] = (char)i;
		CHECK_EQ(mprotect(m.many + i * PAGE, PAGE, PROT_READ), 0);
	}
	m.excluded = map(4, rw, MAP_PRIVATE, -1);
	memset(m.excluded, 'e', 4 * PAGE);
	exclude[0] = (struct ckpt_range){ (uintptr_t)m.excluded + PAGE, 2 * PAGE };
}

/* What a sanitizer has reserved is larger than any arena. */
static void exclude_giants(void)
{
	struct maps maps;

	CHECK_OK(maps_read_self(&maps, false));
	for (size_t i = 0; i < maps.count; i++) {
		const struct maps_entry *e = &maps.entries[i];

		if (e->end - e->start > 4ul << 30) {
			CHECK_LT(config.n_exclude, EXCLUDES);
			exclude[config.n_exclude++] =
				(struct ckpt_range){ e->start, e->end - e->start };
		}
	}
	maps_free(&maps);
}

static struct dune_vm *vm;

static void image_read(uint64_t at, void *buf, size_t len)
{
	unsigned prot;

	for (size_t i = 0; i < len; i++) {
		const uint8_t *page = fake_page(vm, (at + i) & ~(PAGE - 1), &prot);

		CHECK(page);
		((uint8_t *)buf)[i] = page[(at + i) & (PAGE - 1)];
	}
}

static bool in_arena(const void *what, size_t len)
{
	return memmem(vm->arena, vm->top, what, len) != NULL;
}

/* Addresses at which the image and this process may differ. */
static bool may_differ(uint64_t at)
{
	uint64_t fs;

	__asm__("mov %%fs:0, %0" : "=r"(fs));
	const struct {
		uint64_t at, len;
	} ok[] = {
		{ fs + 0x28, 8 },		      /* canary */
		{ fs + 0x48, 4 },		      /* control-flow enforcement */
		{ fs + (uint64_t)__rseq_offset, 32 }, /* the kernel writes it */
		{ (uintptr_t)&errno, 4 },
		{ (uintptr_t)&environ, 8 },
		{ (uintptr_t)&inside_flag, 4 },
#ifdef TEST_COVERAGE
		/* Where gcov counts what runs meanwhile. */
		{ (uintptr_t)__bss_start, (uintptr_t)_end - (uintptr_t)__bss_start },
#endif
	};

	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		if (at - ok[i].at < ok[i].len)
			return true;
	/* Strings of the environment that setenv() put into the heap. */
	for (char **p = environ; *p; p++)
		if (at - (uintptr_t)*p < strlen(*p))
			return true;
	return false;
}

static void compare_page(const struct maps_entry *e, uint64_t at)
{
	const bool writable = e->prot & PROT_WRITE;
	uint8_t live[PAGE];
	const uint8_t *page;
	unsigned prot;

	page = fake_page(vm, at, &prot);
	if (!ckpt_peek_pages(at, live, 1)) {
		CHECK_MSG(!page, "0x%llx cannot be read", (unsigned long long)at);
		return;
	}
	CHECK_MSG(page, "0x%llx is not in the image", (unsigned long long)at);
	CHECK_EQ(!!(prot & DUNE_COW), writable);
	CHECK(!(prot & DUNE_EXEC) || ((e->prot & PROT_EXEC) && !writable && e->inode));
	if (!memcmp(page, live, PAGE))
		return;
	for (size_t i = 0; i < PAGE; i++)
		CHECK_MSG(page[i] == live[i] || may_differ(at + i), "0x%llx: 0x%02x is 0x%02x here",
			  (unsigned long long)at + i, page[i], live[i]);
}

static bool overlaps_ours(const struct maps_entry *e)
{
	char *const *all = (char *const *)&m;

	for (size_t i = 0; i < sizeof(m) / sizeof(all[0]); i++)
		if ((uintptr_t)all[i] >= e->start && (uintptr_t)all[i] < e->end)
			return true;
	return e->start >= (uintptr_t)m.many && e->end <= (uintptr_t)m.many + 600 * PAGE;
}

/* Every page of every mapping, by rules of the test's own. */
static void compare(void)
{
	struct maps maps;
	uint64_t in_image = 0, mapped = 0, step;
	unsigned prot;

	CHECK_OK(maps_read_self(&maps, true));
	for (size_t i = 0; i < maps.count; i++) {
		const struct maps_entry *e = &maps.entries[i];
		bool small_file = e->start == (uintptr_t)m.small_shared ||
				  memmem(e->path, e->path_len, "gconv-modules.cache", 19);
		bool none = (e->shared && !small_file) || !(e->prot & PROT_READ) ||
			    (e->flags & MAPS_DONTFORK) || e->start >= DUNE_USER_END;

		if (maps_is(e, "[stack]") || maps_begins(e, "[v"))
			continue;
		if (SANITIZED && !overlaps_ours(e))
			continue;
		/* To look at a page is to make it: not at all of them where there are so many. */
		step = e->end - e->start >= VAST ? 512 * PAGE : PAGE;
		for (uint64_t at = e->start; at < e->end; at += step) {
			bool out = none;

			for (size_t k = 0; k < config.n_exclude; k++)
				out |= at - exclude[k].start < exclude[k].len;
			if (out) {
				CHECK_MSG(!fake_page(vm, at, &prot), "0x%llx",
					  (unsigned long long)at);
				continue;
			}
			if (e->flags & MAPS_WIPEONFORK) {
				const uint8_t *page = fake_page(vm, at, &prot);

				CHECK(page && ckpt_page_zero(page));
			} else {
				compare_page(e, at);
			}
			if (fake_page(vm, at, &prot))
				in_image += step / PAGE;
		}
	}
	/* And no other, but for the top of the stack and the kernel's. */
	for (size_t i = 0; i < vm->space.count; i++) {
		uint64_t at = vm->space.extents[i].at;
		const struct maps_entry *e = maps_find(&maps, at);

		CHECK_MSG(e, "0x%llx is nowhere", (unsigned long long)at);
		if (!maps_is(e, "[stack]") && !maps_begins(e, "[v"))
			mapped += vm->space.extents[i].len / PAGE;
	}
	if (!SANITIZED)
		CHECK_EQ(mapped, in_image);
	maps_free(&maps);
}

static uint64_t estimate; /* for the last take() */

/*
 * Bytes of private memory that the kernel gave this process.  Some kernels give a page of zeroes to a read
 * of untouched memory, where others show one that all share: the estimate cannot know what is in a page.
 */
static uint64_t resident(void)
{
	unsigned long kib = 0;
	char line[256];
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	CHECK(f);
	while (fgets(line, sizeof(line), f) && sscanf(line, "Anonymous: %lu", &kib) != 1)
		;
	fclose(f);
	CHECK_GT(kib, 0);
	return kib << 10;
}

static struct ckpt *take(bool environment)
{
	struct ckpt *c;
	int err;

	config.environment = environment;
	/* A sanitizer's own threads and caches may move while we look: then again. */
	for (int i = 0;; i++) {
		CHECK_OK(ckpt_estimate(&config, &estimate));
		vm = fake_vm(2ul << 30);
		err = ckpt_take(vm, &config, &c);
		if (err != -EAGAIN || i == 30)
			break;
		NOTE("the memory of this process would not settle");
		CHECK_EQ(fake_used(vm), 0);
		fake_vm_free(vm);
	}
	CHECK_OK(err);
	return c;
}

static void drop(struct ckpt *c)
{
	ckpt_destroy(c);
	CHECK_EQ(fake_used(vm), 0);
	fake_vm_free(vm);
}

static void check_thread_area(struct ckpt *c)
{
	const struct ckpt_seed *s = ckpt_seeds(c);
	uint64_t fs = ckpt_fs_base(c), words[16], live[16];
	uint32_t rseq[8];

	__asm__("mov %%fs:0, %0" : "=r"(live[0]));
	CHECK_EQ(fs, live[0]);
	image_read(fs, words, sizeof(words));
	memcpy(live, (void *)fs, sizeof(live));
	CHECK_EQ(words[5], 0);
	CHECK_NE(live[5], 0);
	CHECK_EQ(words[6], live[6]); /* the pointer guard stays */
	CHECK_EQ((uint32_t)words[9], 0);
	image_read(fs + (uint64_t)__rseq_offset, rseq, sizeof(rseq));
	CHECK_EQ(rseq[0], 0);
	CHECK_EQ(rseq[1], (uint32_t)-2);
	CHECK_EQ(rseq[2] | rseq[3], 0);
	CHECK_EQ(s[CKPT_SEED_CANARY].at, fs + 0x28);
	CHECK_EQ(s[CKPT_SEED_CANARY].len, 8);
	CHECK_EQ(s[CKPT_SEED_CANARY].zero, 1);
	CHECK_EQ(s[CKPT_SEED_RANDOM].at, AT_RANDOM_INSIDE);
	CHECK_EQ(s[CKPT_SEED_RANDOM].len, 16);
}

/*
 * The stack below argc is nowhere, what AT_RANDOM showed is nowhere, and getauxval() finds the new
 * place.
 */
static void check_stack(char **argv, bool environment)
{
	uint64_t argc_at = (uint64_t)(argv - 1), word[2], at;
	uint8_t random[16];
	char name[256];
	unsigned prot;
	/* Not the address of a variable: a sanitizer may keep those elsewhere. */
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	CHECK_MSG(!fake_page(vm, here & ~(PAGE - 1), &prot) || (here ^ argc_at) < PAGE,
		  "the stack at 0x%" PRIxPTR " is there (%x), below argc at 0x%" PRIx64, here, prot,
		  argc_at);
	at = argc_at & ~(PAGE - 1);
	CHECK(!fake_page(vm, at - PAGE, &prot));
	for (; at < argc_at; at += 8) {
		image_read(at, word, 8);
		CHECK_EQ(word[0], 0);
	}
	memcpy(random, (void *)getauxval(AT_RANDOM), 16);
	if (!SANITIZED) { /* has stacks of its own, with our copies in them */
		CHECK(!in_arena(random, 8));
		CHECK(!in_arena(random + 1, 7)); /* the canary */
	}
	CHECK(!in_arena(random, 16));
	at = (uint64_t)environ;
	for (at = argc_at;; at += 8) {
		image_read(at, word, 16);
		if (word[0] == AT_RANDOM && word[1] == AT_RANDOM_INSIDE)
			break;
	}
	image_read(argc_at, word, 16);
	CHECK_EQ(word[0], environment ? 2 : 1);
	CHECK_EQ(word[1], (uintptr_t)argv[0]);
	image_read((uintptr_t)argv[0], name, strlen(argv[0]) + 1);
	CHECK_STR(name, argv[0]);
	image_read((uintptr_t)program_invocation_name, name, strlen(argv[0]) + 1);
	CHECK_STR(name, argv[0]);
	image_read((uintptr_t)getauxval(AT_EXECFN), name, 2);
	CHECK_EQ(name[0], *(char *)getauxval(AT_EXECFN));
	/* environ leads to a list; an empty one, if so asked. */
	image_read((uintptr_t)&environ, word, 8);
	image_read(word[0], word, 8);
	CHECK_EQ(word[0] != 0, environment);
}

static void faithful(char **argv, const char *secret)
{
	struct ckpt_stats s;
	struct ckpt *c;

	for (int environment = 0; environment < 2; environment++) {
		NOTE("environment %d", environment);
		c = take(environment);
		compare();
		check_thread_area(c);
		check_stack(argv, environment);
		ckpt_get_stats(c, &s);
		CHECK_EQ(s.pages * PAGE, s.bytes);
		CHECK_GT(s.mappings, 600);
		CHECK_GE(s.unread_pages, 4);
		CHECK_LT(s.slots, 64);
		CHECK_LE(s.bytes, estimate);
		CHECK_LE(vm->top, estimate);
		if (!SANITIZED)
			CHECK_LT(estimate, resident() / 4 * 5 + (32ul << 20)); /* and not by far */
		/* A sanitizer keeps copies of the environment. */
		if (!SANITIZED || environment)
			CHECK_EQ(in_arena(secret, 32), environment);
		drop(c);
	}
}

/* The same when setenv() has moved the environment to the heap, with secrets of its own. */
static void moved_environment(char **argv)
{
	char secret[33], random[16];
	struct ckpt *c;

	CHECK_EQ(getrandom(random, 16, 0), 16);
	for (int i = 0; i < 16; i++)
		snprintf(secret + 2 * i, 3, "%02x", (uint8_t)random[i]);
	CHECK_EQ(setenv("CKPT_CAPTURE_LATER", secret, 1), 0);
	c = take(false);
	compare();
	check_stack(argv, false);
	CHECK(!in_arena(secret, 32));
	drop(c);
	c = take(true);
	CHECK(SANITIZED ||
	      in_arena(secret, 32)); /* the twin; a sanitizer's heap is too large to be taken */
	drop(c);
	unsetenv("CKPT_CAPTURE_LATER");
}

static void patches(void)
{
	const int one = 1;
	struct ckpt_patch p[] = {
		{ (uintptr_t)&inside_flag, &one, sizeof(one) },
		{ (uintptr_t)in_bss + PAGE - 2, "four", 4 }, /* over two zero pages */
	};
	const uint64_t bad[] = { (uintptr_t)&one,     (uintptr_t)in_constants,
				 (uintptr_t)m.shared, (uintptr_t)m.excluded + PAGE,
				 (uintptr_t)m.wiped,  0,
				 UINT64_MAX - 2,      (uintptr_t)m.guarded + 8 * PAGE - 2 };
	struct ckpt *c;
	char got[4];
	int flag;

	config.patches = p;
	config.n_patches = 2;
	c = take(false);
	image_read((uintptr_t)&inside_flag, &flag, sizeof(flag));
	CHECK_EQ(flag, 1);
	CHECK_EQ(inside_flag, 0);
	image_read((uintptr_t)in_bss + PAGE - 2, got, 4);
	CHECK_MEM(got, "four", 4);
	CHECK_EQ(in_bss[PAGE], 0);
	drop(c);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vm = fake_vm(2ul << 30);
		p[1].at = bad[i];
		c = (void *)1;
		CHECK_ERR(ckpt_take(vm, &config, &c), -EINVAL);
		CHECK(c == (void *)1);
		CHECK_EQ(fake_used(vm), 0);
		fake_vm_free(vm);
	}
	config.n_patches = 0;
}

static void retake(void)
{
	const int one = 1;
	struct ckpt_patch p = { (uintptr_t)&inside_flag, &one, sizeof(one) };
	struct ckpt_stats before, after;
	char got[3 * PAGE];
	struct ckpt *c;
	unsigned prot;

	config.patches = &p;
	config.n_patches = 1;
	memset(in_bss, 0, sizeof(in_bss));
	c = take(false);
	ckpt_get_stats(c, &before);
	/* Zero pages get pages of their own; bytes beside the range keep their old state. */
	memset(m.sparse + 100 * PAGE, 'n', 3 * PAGE);
	CHECK_OK(ckpt_retake(c, m.sparse + 100 * PAGE + 5, 2 * PAGE));
	image_read((uintptr_t)m.sparse + 100 * PAGE, got, 3 * PAGE);
	for (size_t i = 0; i < 3 * PAGE; i++)
		CHECK_EQ(got[i], i >= 5 && i < 2 * PAGE + 5 ? 'n' : 0);
	ckpt_get_stats(c, &after);
	CHECK_EQ(after.pages, before.pages + 3);
	CHECK_EQ(after.zero_pages, before.zero_pages - 3);
	/*
	 * In the middle of a large piece of zeroes: its neighbours are as they were, and so are
	 * others like it.
	 */
	memset(m.sparse + (96ul << 20), 'h', 1);
	CHECK_OK(ckpt_retake(c, m.sparse + (96ul << 20), 1));
	image_read((uintptr_t)m.sparse + (96ul << 20), got, 2);
	CHECK_MEM(got, "h", 2);
	image_read((uintptr_t)m.sparse + (96ul << 20) - PAGE, got, 3 * PAGE);
	CHECK(ckpt_page_zero(got) && ckpt_page_zero(got + 2 * PAGE));
	for (size_t at = 2ul << 20; at < 32ul << 20; at += 2ul << 20) {
		image_read((uintptr_t)m.sparse + (96ul << 20) - at, got, 1);
		CHECK_EQ(got[0], 0);
	}
	/* What is still zero stays without a page; a page of bytes becomes zero. */
	ckpt_get_stats(c, &before);
	CHECK_OK(ckpt_retake(c, m.sparse + 400 * PAGE, 50 * PAGE));
	ckpt_get_stats(c, &after);
	CHECK_EQ(after.pages, before.pages);
	memset(m.dense, 0, PAGE);
	CHECK_OK(ckpt_retake(c, m.dense, PAGE));
	image_read((uintptr_t)m.dense, got, PAGE);
	CHECK(ckpt_page_zero(got));
	/* Over two mappings, of which this process may not write one. */
	CHECK_OK(ckpt_retake(c, m.many, 600 * PAGE));
	CHECK_OK(ckpt_retake(c, untouched_data, sizeof(untouched_data)));
	CHECK_OK(ckpt_retake(c, m.dense, 0));
	/* Patches outlast it. */
	CHECK_OK(ckpt_retake(c, (void *)&inside_flag, sizeof(inside_flag)));
	image_read((uintptr_t)&inside_flag, got, 4);
	CHECK_MEM(got, &one, 4);
	CHECK_OK(ckpt_retake(c, (char *)ckpt_fs_base(c), 0x80));
	check_thread_area(c);
	/* Not what is not the image's own. */
	CHECK_ERR(ckpt_retake(c, got, 1), -EINVAL);
	CHECK_ERR(ckpt_retake(c, in_constants, 1), -EINVAL);
	CHECK_ERR(ckpt_retake(c, m.shared, 1), -EINVAL);
	CHECK_ERR(ckpt_retake(c, m.unforked, 1), -EINVAL);
	CHECK_ERR(ckpt_retake(c, m.wiped, 1), -EINVAL);
	CHECK_ERR(ckpt_retake(c, m.excluded, PAGE + 1), -EINVAL);
	CHECK_OK(ckpt_retake(c, m.excluded, PAGE));
	CHECK_ERR(ckpt_retake(c, m.past_end, 5 * PAGE), -EINVAL);
	CHECK_ERR(ckpt_retake(c, m.dense, SIZE_MAX), -EINVAL);
	CHECK_ERR(ckpt_retake(c, NULL, 1), -EINVAL);
	CHECK(!fake_page(vm, (uintptr_t)m.past_end + 4 * PAGE, &prot));
	drop(c);
	config.n_patches = 0;
}

static void check_words(const struct ckpt *c, const void *addr, const char *words)
{
	char buf[512], cut[9];
	size_t n;

	n = ckpt_describe(c, (uintptr_t)addr, buf, sizeof(buf));
	CHECK_EQ(n, strlen(buf));
	CHECK_HAS(buf, words);
	CHECK_EQ(ckpt_describe(c, (uintptr_t)addr, cut, sizeof(cut)), n);
	CHECK_EQ(strlen(cut), n < 8 ? n : 8);
	CHECK_EQ(ckpt_describe(c, (uintptr_t)addr, NULL, 0), n);
}

static void descriptions(void)
{
	struct ckpt *c;
	char *later, *heap = malloc(100);
	char exe[400], words[500];
	volatile char frame[3 * PAGE]; /* its beginning is not on the page of argc */
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	CHECK_GT(n, 0);
	exe[n] = '\0';
	frame[0] = 0;
	config.reserved = (struct ckpt_range){ 0x200000000000, 1ul << 30 };
	c = take(false);
	later = map(1, PROT_READ | PROT_WRITE, MAP_SHARED,
		    -1); /* shared: does not merge with what was there */
	snprintf(words, sizeof(words), "text of %s + 0x", exe);
	check_words(c, (void *)descriptions, words);
	check_words(c, (void *)strtoull, "text of /");
	snprintf(words, sizeof(words), "read-only data of %s + 0x", exe);
	check_words(c, in_constants, words);
	snprintf(words, sizeof(words), "image, .data of %s + 0x", exe);
	check_words(c, untouched_data + PAGE, words);
	if (!SANITIZED)
		check_words(c, heap, "image, heap + 0x");
	check_words(c, m.dense + 5, "image, anonymous memory + 0x");
	check_words(c, m.private_file + PAGE + 1, ", file offset 0x1001");
	check_words(c, m.past_end + 5 * PAGE, "(could not be read at the checkpoint)");
	check_words(c, m.wiped, "wiped on fork");
	if (!SANITIZED)
		check_words(c, (char *)frame, "the master's stack: not granted");
	check_words(c, m.shared, "shared mapping of /dev/zero: not granted");
	check_words(c, m.shared_file, "shared mapping of /dev/shm/ckpt_capture.");
	check_words(c, m.guarded, "cannot read either");
	check_words(c, m.unforked, "MADV_DONTFORK");
	check_words(c, m.excluded + PAGE, "leaves out");
	check_words(c, (void *)getauxval(AT_SYSINFO_EHDR), "the kernel's [vdso] + 0x0");
	check_words(c, later, "memory the master mapped after the checkpoint");
	munmap(later, PAGE);
	check_words(c, later, "nothing mapped there");
	check_words(c, (void *)0x200000001000, "the library's own memory");
	check_words(c, NULL, "null pointer page");
	check_words(c, (void *)0xfff, "null pointer page");
	check_words(c, (void *)0xffff800000000000, "the kernel's half");
	check_words(c, (void *)0x1234567812345678, "not canonical");
	drop(c);
	free(heap);
	config.reserved = (struct ckpt_range){ 0, 0 };
}

/*
 * The VM layer uses the heap for its records: the image is of a moment after that, or there is
 * none.
 */
static void noise(void)
{
	struct ckpt *c;

	NOTE("noise");
	vm = fake_vm(2ul << 30);
	vm->noise = 40;
	CHECK_OK(ckpt_take(vm, &config, &c));
	CHECK_EQ(vm->noise, 0);
	compare();
	drop(c);
	if (SANITIZED)
		return;
	vm = fake_vm(2ul << 30);
	vm->noise = 1l << 40;
	CHECK_ERR(ckpt_take(vm, &config, &c), -EAGAIN);
	CHECK_EQ(fake_used(vm), 0);
	fake_vm_free(vm);
}

/* No memory, at many points: an error, and everything given back. */
static void exhaustion(void)
{
	unsigned long rounds = test_scale(40);
	struct ckpt *c;
	long allocs;

	c = take(false);
	allocs = vm->allocs;
	drop(c);
	for (unsigned long i = 0; i < rounds; i++) {
		vm = fake_vm(2ul << 30);
		vm->fail_after = (long)(i < rounds / 2 ? i :
							 (unsigned long)allocs - 1 -
								 (unsigned long)(allocs / 2) *
									 (i - rounds / 2) / rounds);
		CHECK_ERR(ckpt_take(vm, &config, &c), -ENOMEM);
		CHECK_EQ(fake_used(vm), 0);
		fake_vm_free(vm);
	}
	vm = fake_vm(4ul << 20);
	CHECK_ERR(ckpt_take(vm, &config, &c), -ENOMEM);
	CHECK_EQ(fake_used(vm), 0);
	fake_vm_free(vm);
}

static void no_mapping_is_left(void)
{
	struct maps before, after;
	struct ckpt *c;

	c = take(false);
	drop(c);
	CHECK_OK(maps_read_self(&before, false));
	for (int i = 0; i < 5; i++) {
		c = take(false);
		drop(c);
	}
	CHECK_OK(maps_read_self(&after, false));
	/* The second reading sees the first one's buffers. */
	CHECK_LE(after.count, before.count + 2);
	maps_free(&before);
	maps_free(&after);
}

int main(int argc, char **argv)
{
	const char *env = getenv(SECRET_ENV);
	char secret[64], random[16];

	/* Once more, with a secret in the environment that no program text has, and an argument. */
	if (!env || argc < 2) {
		char argument[] = "an argument", *const args[] = { argv[0], argument, NULL };

		CHECK_EQ(getrandom(random, 16, 0), 16);
		for (int i = 0; i < 16; i++)
			snprintf(secret + 2 * i, 3, "%02x", (uint8_t)random[i]);
		CHECK_EQ(setenv(SECRET_ENV, secret, 1), 0);
		CHECK_EQ(setenv("LD_BIND_NOW", "1", 1),
			 0); /* a call resolved late would differ from the image */
		execv("/proc/self/exe", args);
		FAIL("exec: %s", strerror(errno));
	}
	snprintf(secret, sizeof(secret), "%s", env);
	make_mappings();
	exclude_giants();
	NOTE("begin"); /* stdio has its buffer */
	faithful(argv, secret);
	moved_environment(argv);
	patches();
	retake();
	descriptions();
	exhaustion();
	no_mapping_is_left();
	noise();
	unlink(small);
	return TEST_PASSED;
}
