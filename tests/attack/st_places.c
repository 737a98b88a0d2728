/* SPDX-License-Identifier: MIT */
/*
 * What an earlier run used leaves no trace of where: of its memory the next one in the same space finds at most a
 * number of zeroed pages, next to the ends of where memory always is.  And a page of the image with nothing behind it is
 * a fault, not the end of the virtual processor.  World: host; ST_FN: inside.
 */
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/st.h"

#define PAGE  4096UL
#define LOOKS 4096 /* pages that are looked at, from where mmap() begins */
#define KEPT  64   /* KEEP_AREA in sthread/run/loop.c */

/* ---- places ---- */

/* Maps so many pages, touches some of them, all over, deep in the stack, too. */
ST_FN(scatters)
{
	uintptr_t n = (uintptr_t)arg;
	char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile char deep[300000];

	CHECK(p != MAP_FAILED);
	for (uintptr_t i = 0; i < n; i += 1 + i % 7)
		memset(p + i * PAGE, 0x5e, PAGE);
	for (size_t i = 0; i < sizeof(deep); i += PAGE)
		deep[i] = 0x5e;
	return p;
}

static int probe_fd;

/*
 * How many of the pages from arg on can be read, asked by a system call, which tells without a fault; and whether they
 * are not the first ones, or not zero. 
 */
ST_FN(looks)
{
	uintptr_t n = 0, holes = 0, dirty = 0;

	for (uintptr_t i = 0; i < LOOKS; i++) {
		char *at = (char *)arg + i * PAGE;

		if (syscall(SYS_write, probe_fd, at, 1) != 1)
			continue;
		holes += i != n;
		for (size_t k = 0; k < PAGE; k++)
			dirty += at[k] != 0;
		n++;
	}
	return (void *)(n | holes << 16 | dirty << 32);
}

/* The twin: what it maps itself it can read. */
ST_FN(maps_and_looks)
{
	char *p =
		mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p == arg);
	p[99 * PAGE] = 1;
	for (uintptr_t i = 0; i < 100; i++)
		CHECK_EQ(syscall(SYS_write, probe_fd, p + i * PAGE, 1), 1);
	return NULL;
}

static void places(void)
{
	static const uintptr_t sizes[] = { 3, 60, 64, 65, 200, 3000, 1 };
	struct sthread_policy *p = st_policy();
	struct sthread_result r;
	uintptr_t first;

	st_allow(p, SYS_write);
	st_grant(p, probe_fd, STHREAD_FD_WRITE);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		r = st_call(p, scatters, (void *)sizes[i]);
		ST_END(&r, STHREAD_RETURNED);
		first = (uintptr_t)r.value;
		r = st_call(p, looks, (void *)first);
		ST_END(&r, STHREAD_RETURNED);
		NOTE("after %lu pages %lu are there", (unsigned long)sizes[i],
		     (unsigned long)r.value & 0xffff);
		CHECK_LE((uintptr_t)r.value & 0xffff, KEPT);
		CHECK_EQ((uintptr_t)r.value >> 16, 0); /* no hole, no byte */
	}
	ST_PASSES(p, maps_and_looks, first);
	sthread_policy_destroy(p);
}

/* ---- nothing behind ---- */

static sigjmp_buf past;

static void bus(int sig)
{
	(void)sig;
	siglongjmp(past, 1);
}

/* Can the master read it? */
static bool readable(const char *at)
{
	struct sigaction sa = { .sa_handler = bus }, was;
	volatile bool ok = false;

	CHECK(!sigaction(SIGBUS, &sa, &was));
	if (!sigsetjmp(past, 1)) {
		(void)*(volatile const char *)at;
		ok = true;
	}
	sigaction(SIGBUS, &was, NULL);
	return ok;
}

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

/* Pages that only the kernel knows the contents of: those of the clocks. */
static void nothing_behind(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned there = 0, absent = 0;
	struct sthread_stats s;
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		uint64_t start, end;

		if (!strstr(line, "[vvar") ||
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2)
			continue;
		for (; start < end; start += PAGE) {
			bool here = readable((const char *)start);
			struct sthread_result r = st_call(NULL, reads, (void *)start);

			if (here)
				ST_END(&r, STHREAD_RETURNED);
			else
				ST_FAULTS(&r, STHREAD_FAULT_MEMORY, start, 1, ST_IN(reads), NULL);
			there += here;
			absent += !here;
			st_others_live();
		}
	}
	fclose(f);
	NOTE("%u pages of clocks are there, %u have nothing behind them", there, absent);
	CHECK_GT(there, 0);
	CHECK_OK(sthread_stats(&s));
	CHECK_EQ(s.vcpus_lost, 0);
}

/*
 * The same of a file, past its end, mapped before the checkpoint.  The twin is the byte before the end, which is in the
 * image.
 */
static void past_the_end(const char *map)
{
	struct sthread_result r = st_call(NULL, reads, (void *)(map + PAGE));
	struct sthread_stats s;

	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, map + PAGE, 1, ST_IN(reads), NULL);
	CHECK_EQ(r.vector, 14u);
	r = st_call(NULL, reads, (void *)map);
	ST_RETURNED(&r, 'x');
	st_others_live();
	CHECK_OK(sthread_stats(&s));
	CHECK_EQ(s.vcpus_lost, 0);
}

int main(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	char *map;

	CHECK(fd >= 0 && write(fd, "x", 1) == 1);
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(map != MAP_FAILED);
	probe_fd = memfd_create("probe", MFD_CLOEXEC);
	CHECK(probe_fd >= 0);
	st_init();
	places();
	nothing_behind();
	past_the_end(map);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
