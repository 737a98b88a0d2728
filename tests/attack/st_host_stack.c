/* SPDX-License-Identifier: MIT */
/*
 * What the kernel leaves as it was in a buffer of the host's - bytes between the names of a directory - does not go to a
 * compartment: it would be the stack of the thread that serves it, with the master's secrets in it.  World: host;
 * ST_FN: inside.
 */
#include "tests/st.h"

#include <dirent.h>

#define NAMES	   60
#define LONGEST	   9
#define MARK	   0xa5
#define STACK_USED (96UL << 10)

static int dir = -1;

/* Bytes behind the NUL of each name, up to the next entry: arg says whether all are zeros, else how many there are. */
ST_FN(looks_between_names)
{
	static unsigned char buf[4096];
	unsigned names = 0, between = 0, left = 0;
	int fd = (int)syscall(SYS_openat, dir, ".", O_RDONLY | O_DIRECTORY, 0);
	long n;

	CHECK_GE(fd, 0);
	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n; names++) {
			const struct dirent64 *d = (const struct dirent64 *)(buf + at);
			const char *end = (const char *)d + d->d_reclen;

			for (const char *c = d->d_name + strlen(d->d_name) + 1; c < end;
			     c++, between++)
				left += *c != 0;
			at += d->d_reclen;
		}
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(names, NAMES + 2u); /* and . and .. */
	CHECK_EQ(close(fd), 0);
	return (void *)(uintptr_t)(arg ? left : between);
}

/* What a function of the master had on its stack, and left there. */
__attribute__((noinline)) static void uses_the_stack(void)
{
	volatile unsigned char secret[STACK_USED];

	for (unsigned i = 0; i < sizeof(secret); i++)
		secret[i] = MARK;
}

static void names_only(const struct sthread_policy *p)
{
	struct sthread_result r;

	for (unsigned i = 0; i < 8; i++) {
		uses_the_stack();
		r = st_both[i % 2](p, looks_between_names, (void *)1);
		ST_RETURNED(&r, 0);
	}
	/* The twin: there were such bytes. */
	r = st_call(p, looks_between_names, NULL);
	ST_END(&r, STHREAD_RETURNED);
	CHECK_GE((uintptr_t)r.value, NAMES);
}

int main(void)
{
	char top[] = "/tmp/st_host_stack_XXXXXX", name[32], command[64];
	struct sthread_policy *p;

	CHECK(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY);
	CHECK_GE(dir, 0);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "%.*s%d", i % LONGEST, "abcdefghi", i);
		CHECK_OK(close(openat(dir, name, O_CREAT | O_WRONLY, 0600)));
	}
	st_init();
	p = st_policy();
	st_allow(p, SYS_openat, SYS_getdents64);
	st_grant_dir(p, dir, STHREAD_FD_READ);
	names_only(p);
	st_others_live();
	sthread_policy_destroy(p);
	sthread_fini();
	snprintf(command, sizeof(command), "rm -r %s", top);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
