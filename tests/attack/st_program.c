/* SPDX-License-Identifier: MIT */
/*
 * What the program does to itself after sthread_init() opens nothing to a compartment, and ends no more than it must:
 * descriptors of the library closed and others put at their numbers, pages of a tag with other rights.  World: host;
 * ST_FN: inside.
 */
#include <sys/mman.h>

#include "tests/st.h"

#define PAGE	4096UL
#define HIGH	512 /* FD_OBJECT_BASE in sthread/fd/object.c */
#define NUMBERS 600 /* above all that the library has here */

/* The first byte, or -errno. */
ST_FN(reads)
{
	char byte;

	return (void *)(intptr_t)(pread((int)(intptr_t)arg, &byte, 1, 0) == 1 ? byte : -errno);
}

ST_FN(plus_one)
{
	return (char *)arg + 1;
}

ST_FN(faults)
{
	size_t (*volatile in_library)(const char *) = strlen;

	return (void *)(in_library(arg) + 1); /* no tail call: it is in the backtrace */
}

/* ---- descriptors -------------------------------------------------------------------------------------- */

static int file_of(char byte)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, &byte, 1), 1);
	return fd;
}

static char byte_of(int fd)
{
	char byte = 0;

	return pread(fd, &byte, 1, 0) == 1 ? byte : 0;
}

static struct sthread_policy *grants(int fd)
{
	struct sthread_policy *p = st_policy();

	st_allow(p, SYS_pread64);
	st_grant(p, fd, STHREAD_FD_READ | STHREAD_FD_SEEK);
	return p;
}

static void reads_as(const struct sthread_policy *p, int fd, intptr_t value)
{
	for (int i = 0; i < 2; i++) {
		struct sthread_result r = st_both[i](p, reads, (void *)(intptr_t)fd);

		ST_RETURNED(&r, value);
	}
}

/* The library's numbers from HIGH on are the program's now, which has its secrets there: in vain. */
static void closes_high(void)
{
	int granted = file_of('g'), other = file_of('o'), secret = file_of('s');
	struct sthread_policy *p = grants(granted), *q;

	reads_as(p, granted, 'g');
	CHECK(!close_range(HIGH, ~0U, 0));
	for (int fd = HIGH; fd < NUMBERS; fd++)
		CHECK_EQ(dup2(secret, fd), fd);
	reads_as(p, granted, -EBADF);
	q = grants(other); /* the twin: what is granted now is read */
	reads_as(q, other, 'o');
	sthread_policy_destroy(p);
	for (int fd = HIGH; fd < NUMBERS; fd++)
		CHECK_EQ(byte_of(fd), 's');
	reads_as(q, other, 'o');
	sthread_policy_destroy(q);
	CHECK(!close_range(HIGH, NUMBERS - 1, 0));
	close(granted);
	close(other);
	close(secret);
}

/* Another grant of the library's is at the number of one that was closed. */
static void takes_the_place(void)
{
	int first = file_of('1'), second = file_of('2');
	struct sthread_policy *p = grants(first), *q;

	reads_as(p, first, '1');
	CHECK(!close_range(HIGH, ~0U, 0));
	q = grants(second);
	reads_as(p, first, -EBADF);
	reads_as(q, second, '2');
	sthread_policy_destroy(p);
	reads_as(q, second, '2');
	sthread_policy_destroy(q);
	close(first);
	close(second);
}

/* What daemons do: nothing runs any more, no other file is touched, and a new beginning is one. */
static void closes_all(void)
{
	struct sthread_policy *p;
	struct sthread_result r = st_call(NULL, plus_one, (void *)1);
	int secret, fd, err;

	ST_RETURNED(&r, 2);
	r = st_call(NULL, faults, (void *)16);
	CHECK_HAS(st_words(&r), "in libc"); /* some of what a report is made from stays open, where there are debug files */
	fd = file_of('g');
	p = grants(fd);
	reads_as(p, fd, 'g');
	closefrom(STDERR_FILENO + 1);
	secret = file_of('s');
	for (int n = STDERR_FILENO + 1; n < NUMBERS; n++)
		CHECK(n == secret || dup2(secret, n) == n);
	for (int i = 0; i < 10; i++) {
		err = sthread_call(p, reads, (void *)(intptr_t)fd, &r);
		CHECK(err == -EIO || (!err && r.end == STHREAD_LOST));
	}
	CHECK_EQ(err, -EIO);
	sthread_policy_destroy(p);
	sthread_fini();
	for (int n = STDERR_FILENO + 1; n < NUMBERS; n++)
		CHECK_MSG(byte_of(n) == 's', "number %d was closed", n);
	closefrom(STDERR_FILENO + 1);
	st_init();
	fd = file_of('g');
	p = grants(fd);
	reads_as(p, fd, 'g');
	sthread_policy_destroy(p);
	close(fd);
}

/* ---- pages of a tag ------------------------------------------------------------------------------------- */

static int zeros; /* open before the image is taken */

ST_FN(stores)
{
	*(volatile char *)arg = 'w';
	return NULL;
}

ST_FN(loads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

/* By the library, and by the host's kernel: -errno, or 1. */
ST_FN(has_written)
{
	return (void *)(intptr_t)(syscall(SYS_read, zeros, arg, 1) == 1 ? 1 : -errno);
}

ST_FN(has_filled)
{
	return (void *)(intptr_t)(syscall(SYS_uname, arg) ? -errno : 1);
}

static void by_calls(const struct sthread_policy *p, char *at, intptr_t value)
{
	struct sthread_result r = st_call(p, has_written, at);

	ST_RETURNED(&r, value);
	r = st_call(p, has_filled, at);
	ST_RETURNED(&r, value);
}

static void ends_by(const struct sthread_policy *p, st_fn *fn, char *at, enum sthread_end end)
{
	struct sthread_result r = st_call(p, fn, at);

	ST_END(&r, end);
	st_others_live();
}

/*
 * The program withdraws its own access: the library has no more either, and the program survives what compartments try.
 * On KVM they have none themselves; a stub maps the tag's memory by itself, and keeps what its policy grants.
 */
static void protects_tag(void)
{
	const bool stubs = test_placement() == TEST_PLACEMENT_PROCESS;
	const enum sthread_end in_vain = stubs ? STHREAD_RETURNED : STHREAD_FAULTED;
	struct sthread_policy *p = st_policy();
	struct sthread_tag *tag;
	struct sthread_stats s;
	struct sthread_result r;
	char *at;

	CHECK_OK(sthread_tag_create(&tag, "tag", 4 * PAGE));
	at = sthread_tag_start(tag);
	st_allow(p, SYS_read, SYS_uname);
	st_grant(p, zeros, STHREAD_FD_READ);
	CHECK_OK(sthread_policy_tag(p, tag, STHREAD_READ | STHREAD_WRITE));
	for (int round = 0; round < 3; round++) {
		at[0] = 'm';
		by_calls(p, at, 1);
		ends_by(p, stores, at, STHREAD_RETURNED);
		CHECK_EQ(at[0], 'w');
		CHECK(!mprotect(at, PAGE, PROT_READ));
		by_calls(p, at, -EFAULT);
		ends_by(p, stores, at, in_vain);
		CHECK_EQ(at[0], 'w');
		ends_by(p, loads, at, STHREAD_RETURNED);
		CHECK(!mprotect(at, PAGE, PROT_NONE));
		by_calls(p, at, -EFAULT);
		ends_by(p, loads, at, in_vain);
		ends_by(p, stores, at + PAGE, STHREAD_RETURNED);
		CHECK(!mprotect(at, PAGE, PROT_READ | PROT_WRITE));
		CHECK(!madvise(at, PAGE, MADV_DONTNEED));
		r = st_call(p, loads, at);
		ST_RETURNED(&r, stubs ? 'w' : 0); /* shared memory of a file keeps its bytes */
	}
	CHECK_OK(sthread_stats(&s));
	CHECK_EQ(s.vcpus_lost, 0);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(tag));
}

/* ---- what reports read ---- */

/* How many descriptors are of the program's file, or of a library's. */
static unsigned objects_open(void)
{
	char path[32], to[300], self[300] = { 0 };
	unsigned n = 0;

	CHECK_GT(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	for (int fd = 0; fd < 2 * NUMBERS; fd++) {
		memset(to, 0, sizeof(to));
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, to, sizeof(to) - 1) > 0 && (!strcmp(to, self) || strstr(to, ".so")))
			n++;
	}
	return n;
}

/* Programs and libraries that a report was made from are not kept open. */
static void keeps_none(void)
{
	struct sthread_result r = st_call(NULL, faults, (void *)16);
	int fd;

	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, 16, 1, ST_BELOW(faults), "libc");
	CHECK_HAS(st_words(&r), "st_program.c:");
	CHECK_EQ(objects_open(), 0);
	/* The twin: it would be seen. */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(objects_open(), 1);
	close(fd);
}

int main(void)
{
	zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	CHECK(zeros >= 0);
	st_init();
	protects_tag();
	keeps_none();
	st_others_live();
	sthread_fini();
	st_init();
	closes_high();
	sthread_fini();
	st_init();
	takes_the_place();
	closes_all();
	sthread_fini();
	return TEST_PASSED;
}
