/* SPDX-License-Identifier: MIT */
/* st_life.h - what a process has: descriptors, mappings, memory, and the time; runs without end.  World: host. */
#ifndef TESTS_KVM_ST_LIFE_H
#define TESTS_KVM_ST_LIFE_H

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/st.h"

#define LIFE_SIGNAL (SIGRTMAX - 1)      /* the library's, unless the configuration says otherwise */
#define LIFE_LARGE (32UL << 30)         /* no mapping but the library's own range is as large */

static inline uint64_t life_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline void life_nap(unsigned us)
{
	struct timespec t = { us / 1000000, (long)(us % 1000000) * 1000 };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* Inside: until it is ended. */
static inline void *life_spins(void *arg)
{
	for (volatile unsigned i = 0;; i++)
		;
	return arg;
}

static inline void *life_sleeps(void *arg)
{
	const struct timespec hour = { 3600, 0 };

	nanosleep(&hour, NULL);
	return arg;
}

/* Descriptors; of them those whose file's name has `part`. */
static inline unsigned life_fds_named(const char *part)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		char name[256];
		ssize_t len;

		if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(d))
			continue;
		len = readlinkat(dirfd(d), e->d_name, name, sizeof(name) - 1);
		if (len < 0)
			continue;
		name[len] = '\0';
		n += strstr(name, part) != NULL;
	}
	closedir(d);
	return n;
}

static inline unsigned life_fds(void)
{
	return life_fds_named("");
}

static inline unsigned life_kvm_fds(void)
{
	return life_fds_named("/dev/kvm") + life_fds_named("anon_inode:kvm") + life_fds_named("/memfd:sthread") +
	       life_fds_named("anon_inode:seccomp") + life_fds_named("anon_inode:[pidfd]") + life_fds_named("pidfd:");
}

/* Mappings; *largest, when wanted: bytes of the largest one. */
static inline unsigned life_maps(uint64_t *largest)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t cap = 0;
	unsigned n = 0;
	uint64_t start, end, most = 0;

	CHECK(f != NULL);
	for (; getline(&line, &cap, f) > 0; n++) {
		CHECK_EQ(sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end), 2);
		if (end - start > most)
			most = end - start;
	}
	free(line);
	fclose(f);
	if (largest)
		*largest = most;
	return n;
}

/* Resident memory, KiB. */
static inline uint64_t life_rss(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	uint64_t size, resident;

	CHECK(f != NULL);
	CHECK_EQ(fscanf(f, "%" SCNu64 " %" SCNu64, &size, &resident), 2);
	fclose(f);
	return resident * 4;
}

static inline struct sthread_stats life_stats(void)
{
	struct sthread_stats s;

	CHECK_OK(sthread_stats(&s));
	return s;
}

/* What init and fini must give back. */
struct life {
	unsigned fds, maps;
	uint64_t largest;
	void (*handler)(int);
	int flags;
	sigset_t mask;
};

static inline struct life life_take(int sig)
{
	struct life l;
	struct sigaction sa;

	memset(&l, 0, sizeof(l));
	CHECK(!sigaction(sig, NULL, &sa));
	l.handler = sa.sa_handler;
	l.flags = sa.sa_flags & ~0x04000000; /* SA_RESTORER: the C library's, without a meaning */
	CHECK(!pthread_sigmask(SIG_BLOCK, NULL, &l.mask));
	l.maps = life_maps(&l.largest);
	l.fds = life_fds();
	return l;
}

/* maps_more: how many more mappings are fine, for what the C library keeps. */
static inline void life_same(const char *file, int line, const struct life *was, int sig, unsigned maps_more)
{
	struct life now = life_take(sig);

	if (now.fds != was->fds)
		test_fail(file, line, "%u descriptors, there were %u", now.fds, was->fds);
	if (now.maps > was->maps + maps_more)
		test_fail(file, line, "%u mappings, there were %u", now.maps, was->maps);
	if (now.largest >= LIFE_LARGE)
		test_fail(file, line, "a mapping of %" PRIu64 " bytes is left", now.largest);
	if (now.handler != was->handler || now.flags != was->flags)
		test_fail(file, line, "the disposition of signal %d has changed", sig);
	if (memcmp(&now.mask, &was->mask, sizeof(now.mask)))
		test_fail(file, line, "the signal mask has changed");
}
#define LIFE_SAME(was, sig, maps_more) life_same(__FILE__, __LINE__, (was), (sig), (maps_more))

static inline struct sthread_config life_config(void)
{
	struct sthread_config cfg = {
		.size = sizeof(cfg),
		.machine = test_placement() == TEST_PLACEMENT_PROCESS ? STHREAD_MACHINE_PROCESS : STHREAD_MACHINE_KVM,
	};

	if (test_placement() == TEST_PLACEMENT_HOST)
		cfg.placement = STHREAD_PLACE_HOST;
	else if (test_placement() == TEST_PLACEMENT_RING0)
		cfg.placement = STHREAD_PLACE_RING0;
	return cfg;
}

static inline pthread_t life_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}

static inline void *life_join(pthread_t t)
{
	void *value;

	CHECK_EQ(pthread_join(t, &value), 0);
	return value;
}

/* Waits until `cond`, for 10 s at most. */
#define LIFE_UNTIL(cond)                                                          \
	do {                                                                      \
		uint64_t life_end_ = life_now() + 10000000000UL;                  \
		while (!(cond)) {                                                 \
			CHECK_MSG(life_now() < life_end_, "not within 10 s");     \
			life_nap(200);                                            \
		}                                                                 \
	} while (0)

#endif
