/* SPDX-License-Identifier: MIT */
/* digest.h - what a program is now, in a few numbers, to see that nothing changed.  World: host; digest() also inside. */
#ifndef TESTS_STRESS_DIGEST_H
#define TESTS_STRESS_DIGEST_H

#include <dirent.h>

#include "tests/test.h"

static inline uint64_t digest(const void *p, size_t len, uint64_t h)
{
	const uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		h = (h ^ w[i]) * 0x100000001b3 + (h >> 47);
	return h;
}

struct constants {
	unsigned n;
	struct {
		unsigned long from, to;
	} at[512];
};

/* What is mapped of files now and cannot be written: text, constants, relocated data. */
static inline void find_constants(struct constants *k)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to, inode;
		char prot[5];

		CHECK(sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, prot, &inode) == 4);
		if (!inode || prot[0] != 'r' || prot[1] != '-')
			continue;
		CHECK(k->n < sizeof(k->at) / sizeof(k->at[0]));
		k->at[k->n].from = from;
		k->at[k->n++].to = to;
	}
	fclose(f);
	CHECK_GT(k->n, 4);
}

static inline uint64_t digest_constants(const struct constants *k, uint64_t h)
{
	for (unsigned i = 0; i < k->n; i++)
		h = digest((void *)k->at[i].from, k->at[i].to - k->at[i].from, h);
	return h;
}

/* How many entries a directory has, and what they link to (h may be NULL). */
static inline unsigned entries_of(const char *dir, uint64_t *h)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	CHECK(d);
	for (struct dirent *e; (e = readdir(d));) {
		char path[300], to[300] = { 0 };

		if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(d))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		/* Of one more lane: the one before was still being cleaned. */
		if (h && readlink(path, to, sizeof(to) - 1) > 0 &&
		    (strstr(to, "kvm-vcpu") || strstr(to, "seccomp notify") || strstr(to, "[pidfd]")))
			continue;
		n++;
		if (h)
			*h += digest(to, sizeof(to) & ~7UL, (uint64_t)atoi(e->d_name));
	}
	closedir(d);
	return n;
}

#endif
