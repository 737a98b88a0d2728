/* SPDX-License-Identifier: MIT */
/*
 * Tagged memory that a compartment may not use: a tag it was not granted, a read-only one written, the pages around a
 * tag, code in a tag, a tag by system calls, and all that an earlier run in the same lane had.  Each beside the same
 * access with the grant.  World: host; ST_FN: inside.
 */
#include <sys/mman.h>

#include "tests/st_tag.h"

#define PAGE 4096UL

static int null_fd;

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(writes)
{
	*(volatile unsigned char *)arg = 'W';
	return NULL;
}

ST_FN(jumps)
{
	((void (*)(void))(uintptr_t)arg)();
	return NULL;
}

static void reads_as(const struct sthread_policy *p, const void *at, unsigned char value)
{
	for (int i = 0; i < 2; i++) {
		struct sthread_result r = st_both[i](p, reads, (void *)(uintptr_t)at);

		ST_RETURNED(&r, value);
	}
}

static void may_write(const struct sthread_policy *p, unsigned char *at)
{
	for (int i = 0; i < 2; i++) {
		struct sthread_result r;

		*at = 0;
		r = st_both[i](p, writes, at);
		ST_RETURNED(&r, 0);
		CHECK_EQ(*at, 'W');
	}
}

static void no_read(const struct sthread_policy *p, const void *at, const char *text)
{
	for (int i = 0; i < 2; i++) {
		struct sthread_result r = st_both[i](p, reads, (void *)(uintptr_t)at);

		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, 1, ST_IN(reads), text);
		CHECK_EQ(r.error & 1, 0);
	}
}

static void no_write(const struct sthread_policy *p, unsigned char *at, bool present,
		     const char *text)
{
	unsigned char was = present ? *at : 0;

	for (int i = 0; i < 2; i++) {
		struct sthread_result r = st_both[i](p, writes, at);

		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, 2, ST_IN(writes), text);
		CHECK_EQ(r.error & 1, present);
		if (present)
			CHECK_EQ(*at, was);
	}
}

static void not_granted(void)
{
	struct sthread_tag *a = tag("secrets", 3 * PAGE), *b = tag("public", PAGE);
	struct sthread_policy *only_b = grants(b, STHREAD_WRITE), *read_a = grants(a, STHREAD_READ),
			      *write_a = grants(a, STHREAD_WRITE);
	unsigned char *at = sthread_tag_start(a), *of_b = sthread_tag_start(b);

	at[0] = 's';
	at[3 * PAGE - 1] = 't';
	of_b[0] = 'p';
	no_read(NULL, at, "tag secrets: not granted");
	no_read(only_b, at, "tag secrets: not granted");
	no_read(only_b, at + 3 * PAGE - 1, "tag secrets: not granted");
	no_write(only_b, at, false, "tag secrets: not granted");
	reads_as(only_b, of_b, 'p');
	reads_as(read_a, at, 's');
	reads_as(read_a, at + 3 * PAGE - 1, 't');
	no_write(read_a, at + 5, true, "tag secrets + 0x5 (granted read-only)");
	no_read(read_a, of_b, "tag public: not granted");
	may_write(write_a, at + 5);
	/* After the writer in both lanes: a reader, and one that may do nothing. */
	no_write(read_a, at + 5, true, "granted read-only");
	no_read(only_b, at, "not granted");
	/* Around it there is nothing, for the master neither. */
	no_read(write_a, at + 3 * PAGE, "where no tag is");
	no_write(write_a, at - 1, false, NULL);
	no_write(only_b, of_b - 1, false, "where no tag is");
	st_others_live();
	sthread_policy_destroy(only_b);
	sthread_policy_destroy(read_a);
	sthread_policy_destroy(write_a);
	CHECK_OK(sthread_tag_destroy(a));
	CHECK_OK(sthread_tag_destroy(b));
}

static void not_executable(void)
{
	struct sthread_tag *t = tag("code", PAGE);
	struct sthread_policy *p = grants(t, STHREAD_WRITE);
	unsigned char *at = sthread_tag_start(t);
	struct sthread_result r;

	*at = 0xc3; /* ret */
	reads_as(p, at, 0xc3);
	r = st_call(p, jumps, at);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, 4, ST_BELOW(jumps),
		  "tag code + 0x0 (never executable)");
	st_others_live();
	sthread_policy_destroy(p);
	CHECK_OK(sthread_tag_destroy(t));
}

/* ---- what an earlier run had ---- */

/* Each in turn, in the same two lanes, and every pair of them one after the other. */
static void earlier_runs(size_t max)
{
	struct sthread_tag *a = tag("a", max), *b = tag("b", PAGE);
	struct sthread_policy *p[] = { grants(NULL, 0), grants(a, STHREAD_READ),
				       grants(a, STHREAD_WRITE), grants(b, STHREAD_WRITE),
				       grants(b, STHREAD_READ) };
	unsigned char *at[] = { sthread_tag_start(a), sthread_tag_start(b) };
	const struct {
		int tag;
		bool write;
	} may[] = { { -1, false }, { 0, false }, { 0, true }, { 1, true }, { 1, false } };

	CHECK_OK(sthread_policy_tag(p[3], a, STHREAD_READ));
	for (int first = 0; first < 5; first++) {
		for (int then = 0; then < 5; then++) {
			for (int k = 0; k < 2; k++) {
				bool reader = may[then].tag == k || (then == 3 && k == 0);
				unsigned char *where = at[k] + (k ? 0 : max - 1);

				/* What the first may, it does, in both lanes. */
				if (may[first].write)
					may_write(p[first], at[may[first].tag]);
				else if (may[first].tag >= 0)
					reads_as(p[first], at[may[first].tag], *at[may[first].tag]);
				else
					no_read(p[first], at[0], "not granted");
				if (may[then].tag == k && may[then].write)
					may_write(p[then], where);
				else
					no_write(p[then], where, reader,
						 reader ? "read-only" : "not granted");
				if (reader)
					reads_as(p[then], where, *where);
				else
					no_read(p[then], where, "not granted");
			}
		}
	}
	for (int i = 0; i < 5; i++)
		sthread_policy_destroy(p[i]);
	CHECK_OK(sthread_tag_destroy(a));
	CHECK_OK(sthread_tag_destroy(b));
}

/* ---- gone, and its address another's ---- */

static void reused_address(size_t max)
{
	struct sthread_tag *old = tag("old", max), *new;
	struct sthread_policy *p = grants(old, STHREAD_WRITE), *q, *reader;
	unsigned char *at = sthread_tag_start(old);
	struct sthread_result r;
	struct sthread *st;

	memset(at, 'o', max);
	may_write(p, at);
	reads_as(p, at + max - 1, 'o');
	CHECK_OK(sthread_tag_destroy(old));
	/* The policy that names it grants nothing any more, rather than what is there now. */
	CHECK_ERR(sthread_call(p, reads, at, &r), -EINVAL);
	CHECK_ERR(sthread_create(&st, p, reads, at), -EINVAL);
	no_read(NULL, at, "where no tag is");
	new = tag("new", max);
	CHECK(sthread_tag_start(new) == at);
	CHECK_EQ(at[0], 0); /* and so is all of it */
	CHECK_EQ(memcmp(at, at + 1, max - 1), 0);
	at[0] = 'n';
	CHECK_ERR(sthread_call(p, reads, at, &r), -EINVAL);
	no_read(NULL, at, "tag new: not granted");
	q = grants(new, STHREAD_READ);
	reads_as(q, at, 'n');
	no_write(q, at, true, "tag new + 0x0 (granted read-only)");
	sthread_policy_destroy(q);
	/* The same with no run between: the lanes map the old one until they next run. */
	CHECK_OK(sthread_tag_destroy(new));
	old = tag("old", max);
	q = grants(old, STHREAD_WRITE);
	may_write(q, at);
	CHECK_OK(sthread_tag_destroy(old));
	new = tag("new", max);
	CHECK(sthread_tag_start(new) == at);
	CHECK_EQ(at[0], 0);
	reader = grants(new, STHREAD_READ);
	reads_as(reader, at, 0);
	no_write(reader, at, true, "granted read-only");
	CHECK_EQ(at[0], 0);
	no_read(NULL, at, "not granted");
	CHECK_OK(sthread_tag_destroy(new));
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	sthread_policy_destroy(reader);
	st_others_live();
}

/* ---- by system calls ---- */

ST_FN(by_calls)
{
	unsigned char *at = arg;

	/* Memory calls do not reach it. */
	CHECK(mprotect(at, PAGE, PROT_READ | PROT_WRITE) < 0);
	CHECK(munmap(at, PAGE) < 0 || at[0] == 'c');
	CHECK(madvise(at, PAGE, MADV_DONTNEED) < 0 || at[0] == 'c');
	CHECK(mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == MAP_FAILED);
	CHECK_EQ(at[0], 'c');
	/* The kernel reads it for us, and does not write it. */
	CHECK_EQ(write(null_fd, at, PAGE), (ssize_t)PAGE);
	errno = 0;
	CHECK_EQ(read(null_fd, at, 16), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(at[0], 'c');
	/* A buffer that leaves it. */
	CHECK_EQ(write(null_fd, at + PAGE - 8, 16), -1);
	CHECK_EQ(errno, EFAULT);
	return NULL;
}

ST_FN(kernel_writes)
{
	unsigned char *at = arg;

	memset(at, 'x', 32);
	CHECK_EQ(read(null_fd, at + 8, 16), 16);
	CHECK_EQ(at[7], 'x');
	CHECK_EQ(at[8], 0);
	CHECK_EQ(at[23], 0);
	CHECK_EQ(at[24], 'x');
	return NULL;
}

ST_FN(kernel_is_denied)
{
	CHECK_EQ(write(null_fd, arg, 1), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(read(null_fd, arg, 1), -1);
	CHECK_EQ(errno, EFAULT);
	return NULL;
}

static void system_calls(void)
{
	struct sthread_tag *t = tag("calls", PAGE);
	struct sthread_policy *p[] = { grants(t, STHREAD_READ), grants(t, STHREAD_WRITE),
				       grants(NULL, 0) };
	unsigned char *at = sthread_tag_start(t);

	for (int i = 0; i < 3; i++) {
		st_allow(p[i], SYS_read, SYS_write);
		st_grant(p[i], null_fd, STHREAD_FD_READ | STHREAD_FD_WRITE);
	}
	at[0] = 'c';
	ST_PASSES(p[0], by_calls, at);
	CHECK_EQ(at[0], 'c');
	ST_PASSES(p[1], kernel_writes, at);
	CHECK_EQ(at[8], 0);
	CHECK_EQ(at[24], 'x');
	ST_PASSES(p[2], kernel_is_denied, at);
	for (int i = 0; i < 3; i++)
		sthread_policy_destroy(p[i]);
	CHECK_OK(sthread_tag_destroy(t));
}

/* ---- the calls themselves ---- */

ST_FN(all_refused)
{
	void *p;

	CHECK_ERR(sthread_tag_create((struct sthread_tag **)&p, "x", PAGE), -EPERM);
	CHECK_ERR(sthread_tag_destroy(arg), -EPERM);
	CHECK_ERR(sthread_policy_tag(arg, arg, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(arg, arg, PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_map(PAGE, &p), -EPERM);
	CHECK_ERR(sthread_unmap(arg), -EPERM);
	return NULL;
}

int main(void)
{
	null_fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	CHECK_GE(null_fd, 0);
	st_init();
	NOTE("not granted");
	not_granted();
	not_executable();
	NOTE("earlier runs");
	earlier_runs(PAGE);
	earlier_runs(2UL << 20);
	NOTE("reused addresses");
	reused_address(PAGE);
	reused_address(2UL << 20);
	NOTE("system calls");
	system_calls();
	ST_PASSES(NULL, all_refused, NULL);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
