/* SPDX-License-Identifier: MIT */
/* Which pages are found, how they are read and given arena memory. World: host. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "checkpoint/peek.h"
#include "checkpoint/runs.h"
#include "tests/test.h"
#include "tests/unit/ckpt_fake.h"

#define PAGE 4096ul

static char *map(size_t pages, int prot)
{
	char *p = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* A file of `bytes` bytes of 0x11, mapped privately for `pages` pages. */
static char *map_file(size_t bytes, size_t pages)
{
	char fill[PAGE];
	int fd = memfd_create("file", 0);
	char *p;

	CHECK(fd >= 0);
	memset(fill, 0x11, sizeof(fill));
	for (size_t n = 0; n < bytes; n += PAGE)
		CHECK_GT(write(fd, fill, bytes - n < PAGE ? bytes - n : PAGE), 0);
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	close(fd);
	return p;
}

static void zero_pages(void)
{
	char *p = map(2, PROT_READ | PROT_WRITE);

	CHECK(ckpt_page_zero(p));
	for (size_t i = 0; i < PAGE; i++) {
		p[i] = i & 1 ? 1 : (char)0x80;
		CHECK(!ckpt_page_zero(p));
		p[i] = 0;
	}
	CHECK(ckpt_page_zero(p));
	p[PAGE] = 1; /* the next page is not looked at */
	CHECK(ckpt_page_zero(p));
	munmap(p, 2 * PAGE);
}

static void peek(void)
{
	char *p = map(8, PROT_READ | PROT_WRITE), *f = map_file(PAGE + 100, 4),
	     *buf = map(8, PROT_READ | PROT_WRITE);

	memset(p, 0x22, 8 * PAGE);
	CHECK_EQ(ckpt_peek_pages((uintptr_t)p, buf, 8), 8);
	CHECK_MEM(buf, p, 8 * PAGE);
	/* A guard in the middle: what is before it is read, all of it. */
	CHECK_EQ(mprotect(p + 5 * PAGE, PAGE, PROT_NONE), 0);
	memset(buf, 0, 8 * PAGE);
	CHECK_EQ(ckpt_peek_pages((uintptr_t)p, buf, 8), 5);
	CHECK_MEM(buf, p, 5 * PAGE);
	CHECK_EQ(ckpt_peek_pages((uintptr_t)p + 5 * PAGE, buf, 3), 0);
	CHECK(ckpt_peek((uintptr_t)p + 10, buf, 5 * PAGE - 10));
	CHECK(!ckpt_peek((uintptr_t)p + 10, buf, 5 * PAGE - 9));
	CHECK(!ckpt_peek(0, buf, 1));
	/* Past the end of a file: an error, where this process would get a signal. */
	CHECK_EQ(ckpt_peek_pages((uintptr_t)f, buf, 4), 2);
	CHECK_EQ(buf[PAGE + 99], 0x11);
	CHECK_EQ(buf[PAGE + 100], 0);
	munmap(f, 4 * PAGE);
	munmap(p, 8 * PAGE);
	munmap(buf, 8 * PAGE);
}

/* Where a filter of system calls denies process_vm_readv(): the file.  For good, in this process. */
static void peek_by_file(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(filter) / sizeof(filter[0]), filter };
	char *p = map(3, PROT_READ | PROT_WRITE), *f = map_file(PAGE + 100, 4),
	     *buf = map(4, PROT_READ | PROT_WRITE);

	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	memset(p, 0x33, 3 * PAGE);
	munmap(p + 2 * PAGE, PAGE);
	CHECK(ckpt_peek((uintptr_t)p + 10, buf, 2 * PAGE - 10));
	CHECK_MEM(buf, p + 10, 2 * PAGE - 10);
	CHECK(!ckpt_peek((uintptr_t)p + 10, buf, 2 * PAGE));
	CHECK_EQ(ckpt_peek_pages((uintptr_t)p, buf, 3), 2);
	CHECK_EQ(ckpt_peek_pages((uintptr_t)f, buf, 4), 2);
	CHECK(!ckpt_peek(0, buf, 1));
	munmap(f, 4 * PAGE);
	munmap(p, 2 * PAGE);
	munmap(buf, 4 * PAGE);
}

static void pagemap(void)
{
	static struct ckpt_pagemap pm;
	const size_t n = 5000; /* more than the reader's buffer */
	char *p = map(n, PROT_READ | PROT_WRITE);
	uint64_t base = (uintptr_t)p, start, end;

	ckpt_pagemap_open(&pm);
	CHECK(pm.fd >= 0);
	CHECK(!ckpt_pagemap_next(&pm, base, base + n * PAGE, &start, &end));
	CHECK(!ckpt_pagemap_next(&pm, base, base, &start, &end));
	p[0] = p[7 * PAGE] = p[8 * PAGE] = p[2047 * PAGE] = p[2048 * PAGE] = p[2049 * PAGE] =
		p[(n - 1) * PAGE] = 1;
	/* What was written, what was only read (a zero page), and what was given back. */
	CHECK_EQ(((volatile char *)p)[100 * PAGE], 0);
	CHECK_EQ(madvise(p + 8 * PAGE, PAGE, MADV_DONTNEED), 0);
	const size_t want[][2] = { { 0, 1 }, { 7, 8 }, { 100, 101 }, { 2047, 2050 }, { n - 1, n } };
	ckpt_pagemap_close(&pm);
	ckpt_pagemap_open(&pm);
	end = base;
	for (size_t i = 0; i < 5; i++) {
		CHECK(ckpt_pagemap_next(&pm, end, base + n * PAGE, &start, &end));
		CHECK_EQ((start - base) / PAGE, want[i][0]);
		CHECK_EQ((end - base) / PAGE, want[i][1]);
	}
	CHECK(!ckpt_pagemap_next(&pm, end, base + n * PAGE, &start, &end));
	/* From the middle of a run, up to the middle of one. */
	CHECK(ckpt_pagemap_next(&pm, base + 2048 * PAGE, base + 2049 * PAGE, &start, &end));
	CHECK_EQ((start - base) / PAGE, 2048);
	CHECK_EQ((end - base) / PAGE, 2049);
	ckpt_pagemap_close(&pm);
	/* Unreadable: everything counts. */
	CHECK(ckpt_pagemap_next(&pm, base, base + n * PAGE, &start, &end));
	CHECK_EQ(start, base);
	CHECK_EQ(end, base + n * PAGE);
	munmap(p, n * PAGE);
}

static void add_region(struct ckpt_plan *plan, char *p, size_t pages, bool anonymous,
		       uint64_t in_use)
{
	struct ckpt_region *r = scratch_push(&plan->regions, sizeof(*r));

	CHECK(r);
	r->start = (uintptr_t)p;
	r->end = r->start + pages * PAGE;
	r->kind = CKPT_COPY;
	r->anonymous = anonymous;
	r->in_use = in_use;
}

/* The states of all pages of a region, in order; '.' where no run is. */
static void show(const struct ckpt_runs *runs, const char *p, size_t pages, char *out)
{
	memset(out, '.', pages);
	out[pages] = '\0';
	for (size_t i = 0; i < runs->runs.count; i++) {
		const struct ckpt_run *r = ckpt_run_at(runs, i);

		for (uint64_t k = 0; k < r->pages; k++) {
			uint64_t at = r->at + k * PAGE - (uintptr_t)p;

			if (at < pages * PAGE)
				out[at / PAGE] = runs->states.count ?
							 "nuzst"[ckpt_run_states(runs, r)[k]] :
							 "wa"[r->absent];
		}
	}
}

static void find_and_copy(void)
{
	struct dune_vm *vm = fake_vm(64ul << 20);
	char *a = map(8, PROT_READ | PROT_WRITE), *f = map_file(PAGE + 5, 4),
	     *z = map(8, PROT_READ | PROT_WRITE);
	struct ckpt_runs want = { 0 }, have = { 0 }, runs = { 0 };
	struct ckpt_plan plan = { 0 };
	char text[16];

	a[1 * PAGE] = 1;
	a[2 * PAGE] = 0; /* touched and zero */
	a[5 * PAGE] = 1;
	f[PAGE + 4] = 0x33; /* a page of its own; the first one was never touched */
	for (int i = 0; i < 8; i++)
		CHECK_EQ(((volatile char *)z)[i * PAGE], 0);
	z[3 * PAGE] = 1;
	add_region(&plan, a, 8, true, 3 * PAGE);
	add_region(&plan, f, 4, false, PAGE);
	add_region(&plan, z, 8, true, PAGE); /* eight pages are there, and memory for one */
	CHECK_OK(ckpt_runs_find(&want, &plan));
	show(&want, a, 8, text);
	CHECK_STR(text, ".wwaaw..");
	show(&want, f, 4, text);
	CHECK_STR(text, "wwww");
	show(&want, z, 8, text);
	CHECK_STR(text, "...w....");
	CHECK_OK(ckpt_runs_alloc(vm, &want, &have, &runs));
	CHECK_EQ(fake_used(vm), 5 + 4 + 1);
	CHECK_OK(ckpt_runs_copy(vm, &runs));
	show(&runs, a, 8, text);
	CHECK_STR(text, ".sssss.."); /* those between are zero, and stay */
	for (uint64_t i = 0, k = 0; i < runs.runs.count; i++) {
		const struct ckpt_run *r = ckpt_run_at(&runs, i);

		for (uint64_t j = 0; j < r->pages && r->region == 0; j++, k++)
			CHECK_MEM(dune_page_host(vm, dune_gpa(r->gpa + j * PAGE)), a + (k + 1) * PAGE, PAGE);
	}
	show(&runs, f, 4, text);
	CHECK_STR(text, "ssuu");
	CHECK_MEM(dune_page_host(vm, dune_gpa(ckpt_run_at(&runs, 3)->gpa)), f, PAGE);
	CHECK_MEM(dune_page_host(vm, dune_gpa(ckpt_run_at(&runs, 3)->gpa + PAGE)), f + PAGE, PAGE);
	ckpt_runs_trim(vm, &runs);
	CHECK_EQ(fake_used(vm), 5 + 2 + 1);
	ckpt_runs_free(vm, &runs);
	ckpt_runs_free(vm, &want);
	CHECK_EQ(fake_used(vm), 0);
	ckpt_plan_free(&plan);
	munmap(a, 8 * PAGE);
	munmap(f, 4 * PAGE);
	munmap(z, 8 * PAGE);
	fake_vm_free(vm);
}

/* One page in seventeen is there: what is kept between them has a bound, which the estimate of memory has room for. */
static void sparse(void)
{
	struct dune_vm *vm = fake_vm(64ul << 20);
	struct ckpt_runs want = { 0 };
	struct ckpt_plan plan = { 0 };
	uint64_t pages = 0, absent = 0;
	char *a = map(17 * 200, PROT_READ | PROT_WRITE);

	for (int i = 0; i < 200; i++)
		a[i * 17 * PAGE] = 1;
	add_region(&plan, a, 17 * 200, true, 200 * PAGE);
	CHECK_OK(ckpt_runs_find(&want, &plan));
	for (size_t i = 0; i < want.runs.count; i++) {
		const struct ckpt_run *r = ckpt_run_at(&want, i);

		*(r->absent ? &absent : &pages) += r->pages;
	}
	CHECK_EQ(pages, 200);
	CHECK_GT(absent, 16);
	CHECK_LE(absent * PAGE, 2ul << 20);
	ckpt_runs_free(vm, &want);
	ckpt_plan_free(&plan);
	munmap(a, 17 * 200 * PAGE);
	fake_vm_free(vm);
}

static void add_run(struct ckpt_runs *r, uint64_t page, uint64_t pages)
{
	struct ckpt_run *run = scratch_push(&r->runs, sizeof(*run));

	CHECK(run);
	run->at = 0x10000000 + page * PAGE;
	run->pages = pages;
}

/* Every wanted page has an arena page of its own; of those that were there before, the same one. */
static void check_alloc(struct dune_vm *vm, const struct ckpt_runs *want,
			const struct ckpt_runs *got, uint64_t gpa[4096])
{
	static uint64_t now[4096];
	uint64_t pages = 0;
	size_t j = 0;

	memset(now, 0, sizeof(now));
	for (size_t i = 0; i < got->runs.count; i++) {
		const struct ckpt_run *r = ckpt_run_at(got, i);

		for (uint64_t k = 0; k < r->pages; k++, pages++)
			now[(r->at - 0x10000000) / PAGE + k] = r->gpa + k * PAGE;
	}
	CHECK_EQ(fake_used(vm), pages);
	for (size_t i = 0; i < want->runs.count; i++) {
		const struct ckpt_run *r = ckpt_run_at(want, i);

		for (uint64_t k = 0; k < r->pages; k++, j++) {
			uint64_t page = (r->at - 0x10000000) / PAGE + k;

			CHECK(now[page]);
			CHECK(!gpa[page] || gpa[page] == now[page]);
		}
	}
	CHECK_EQ(j, pages);
	memcpy(gpa, now, sizeof(now));
}

static void allocation(void)
{
	struct dune_vm *vm = fake_vm(64ul << 20);
	struct ckpt_runs have = { 0 };
	static uint64_t gpa[4096];
	uint64_t seed = 7;

	/* A large run lies as its addresses do, modulo 2 MiB. */
	for (int i = 0; i < 2; i++) {
		struct ckpt_runs want = { 0 }, runs = { 0 };

		add_run(&want, 100, i ? 412 + 512 : 412 + 511);
		CHECK_OK(ckpt_runs_alloc(vm, &want, &have, &runs));
		CHECK_EQ(runs.runs.count, 1);
		if (i)
			CHECK_EQ(ckpt_run_at(&runs, 0)->gpa / PAGE % 512, 100);
		ckpt_runs_free(vm, &runs);
		ckpt_runs_free(vm, &want);
		CHECK_EQ(fake_used(vm), 0);
	}
	/* Again and again, with changed wishes. */
	for (int i = 0; i < 300; i++) {
		struct ckpt_runs want = { 0 }, runs = { 0 };

		for (uint64_t page = 0;;) {
			uint64_t pages;

			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			page += (seed >> 33) % 20 + 1;
			pages = (seed >> 50) % 30 + 1;
			if (page + pages > 400)
				break;
			add_run(&want, page, pages);
			page += pages;
		}
		CHECK_OK(ckpt_runs_alloc(vm, &want, &have, &runs));
		CHECK_EQ(have.runs.count, 0);
		check_alloc(vm, &want, &runs, gpa);
		ckpt_runs_free(vm, &want);
		have = runs;
	}
	/* No memory at any point: nothing is lost. */
	for (long n = 0;; n++) {
		struct ckpt_runs want = { 0 }, runs = { 0 };
		int err;

		vm->fail_after = -1;
		ckpt_runs_free(vm, &have);
		add_run(&want, 10, 20);
		CHECK_OK(ckpt_runs_alloc(vm, &want, &have, &runs));
		have = runs;
		runs = (struct ckpt_runs){ 0 };
		ckpt_runs_free(vm, &want);
		for (uint64_t k = 0; k < 9; k++)
			add_run(&want, k * 7, 4);
		vm->fail_after = n;
		err = ckpt_runs_alloc(vm, &want, &have, &runs);
		ckpt_runs_free(vm, &runs);
		ckpt_runs_free(vm, &want);
		CHECK_EQ(fake_used(vm), 0);
		if (!err)
			break;
		CHECK_EQ(err, -ENOMEM);
	}
	/* An arena in which no two pages that are free lie together. */
	{
		struct dune_vm *small = fake_vm(64 * PAGE);
		struct ckpt_runs want = { 0 }, runs = { 0 };
		dune_gpa_t page[62];

		for (int i = 0; i < 62; i++)
			CHECK_OK(dune_page_alloc(small, &page[i]));
		for (int i = 0; i < 62; i += 2)
			dune_page_put(small, page[i]);
		add_run(&want, 3, 31);
		CHECK_OK(ckpt_runs_alloc(small, &want, &have, &runs));
		CHECK_EQ(runs.runs.count, 31);
		ckpt_runs_free(small, &runs);
		add_run(&want, 50, 1);
		CHECK_ERR(ckpt_runs_alloc(small, &want, &have, &runs), -ENOMEM);
		ckpt_runs_free(small, &runs);
		ckpt_runs_free(small, &want);
		CHECK_EQ(fake_used(small), 31);
		fake_vm_free(small);
	}
	fake_vm_free(vm);
}

int main(void)
{
	zero_pages();
	peek();
	pagemap();
	find_and_copy();
	sparse();
	allocation();
	peek_by_file();
	return TEST_PASSED;
}
