/* SPDX-License-Identifier: MIT */
/*
 * Cold compartments, and idle ones.  World: host; functions marked "inside" run in the compartment.
 *
 * Cold: a run in a space that never ran before. The library keeps one compartment warm here (its
 * pool is 1). Before each sample a holder takes that one and keeps it, blocked on a pipe, so that
 * the sample finds none; when it ends, its own becomes the warm one, which the next holder takes.
 * Thread and virtual processor are new then, too. A sample counts only if the library's statistics
 * say that it was cold.
 */
#include <fcntl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/compartment.h"

#define HOLDERS 32u /* then all are let go */

static struct sthread_policy *empty, *holding;
static int started[2], gate[2]; /* pipes: holders write to the one, and wait for the other */
static struct sthread *holders[HOLDERS];
static unsigned held;

/* Inside. */
static void *nothing(void *arg)
{
	return arg;
}

/* Inside: says that it is there, and stays until the gate opens. */
static void *hold(void *arg)
{
	struct pollfd p = { .fd = gate[0], .events = POLLIN };
	char c = 0;

	if (write(started[1], &c, 1) != 1)
		return (void *)1;
	while (poll(&p, 1, -1) < 0)
		;
	return arg;
}

static int open_pipes(void)
{
	if (pipe(started) || pipe(gate))
		return -errno;
	return 0;
}

static int make_policies(void)
{
	int err = sthread_policy_create(&empty);

	if (!err)
		err = sthread_policy_create(&holding);
	if (!err)
		err = sthread_policy_fd(holding, started[1], STHREAD_FD_WRITE);
	if (!err)
		err = sthread_policy_fd(holding, gate[0], STHREAD_FD_POLL);
	if (!err)
		err = sthread_policy_syscall(holding, SYS_write, STHREAD_ALLOW);
	if (!err)
		err = sthread_policy_syscall(holding, SYS_poll, STHREAD_ALLOW);
	return err;
}

/* Creates a holder, and waits until it runs. */
static int holder(struct sthread **out)
{
	struct pollfd p = { .fd = started[0], .events = POLLIN };
	int err = sthread_create(out, holding, hold, NULL);
	char c;

	if (err)
		return err;
	if (poll(&p, 1, 10000) == 1 && read(started[0], &c, 1) == 1)
		return 0;
	(void)!sthread_kill(*out);
	(void)!sthread_join(*out, NULL);
	return -ETIMEDOUT;
}

/* Opens the gate, waits for all, and shuts it again. */
static int let_go(struct sthread **st, unsigned n)
{
	char c = 0;
	int err = 0;

	if (n == 0)
		return 0;
	if (write(gate[1], &c, 1) != 1)
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		struct sthread_result r;
		int e = sthread_join(st[i], &r);

		if (!e && (r.end != STHREAD_RETURNED || r.value))
			e = -EPROTO;
		err = err ? err : e;
	}
	if (read(gate[0], &c, 1) != 1)
		return -errno;
	return err;
}

static int setup(size_t heap)
{
	int err = open_pipes();

	/* Both masters lie alike: how far things are apart decides how many page tables a run touches. */
	if (!err && heap) {
		void *p = mmap(NULL, 1UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p, heap, PROT_READ | PROT_WRITE))
			return -errno;
		memset(p, 0x5a, heap);
	}
	if (!err)
		err = bench_init(1);
	if (!err)
		err = make_policies();
	return err;
}

int setup_cold(void)
{
	return setup(0);
}

int setup_10mb(void)
{
	return setup(10UL << 20);
}

int setup_1gb(void)
{
	return setup(1UL << 30);
}

struct timed {
	uint64_t took;
	int err;
};

/* A run of a kind of its own, timed. */
typedef struct timed run_fn(void);

static void *call_on_thread(void *arg)
{
	struct timed *t = arg;
	uint64_t start = now_ns();

	t->err = bench_call(empty, nothing, NULL, NULL);
	t->took = now_ns() - start;
	return NULL;
}

/* On a thread that never called before: a thread keeps its space for its next call. */
static struct timed run_call(void)
{
	struct timed t = { 0 };
	pthread_t thread;
	int err = pthread_create(&thread, NULL, call_on_thread, &t);

	if (err)
		return (struct timed){ .err = -err };
	pthread_join(thread, NULL);
	return t;
}

static struct timed run_create_join(void)
{
	uint64_t start = now_ns();
	int err = bench_create_join(empty, nothing, NULL);

	return (struct timed){ .err = err, .took = now_ns() - start };
}

/* What ended is still being given back when it was joined: waits until nothing changes any more. */
static int quiesce(struct sthread_stats *now)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t last = UINT64_MAX;

	for (unsigned i = 0; i < 200; i++) {
		int err = sthread_stats(now);

		if (err)
			return err;
		if (now->pages_used == last)
			break;
		last = now->pages_used;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Holders take what is pooled, until nothing is. */
static int drain(struct sthread_stats *now)
{
	int err = quiesce(now);

	while (!err && (now->pooled || !held)) {
		if (held == HOLDERS) {
			held = 0;
			err = let_go(holders, HOLDERS);
		} else {
			err = holder(&holders[held]);
			held += !err;
		}
		if (!err)
			err = quiesce(now);
	}
	return err;
}

/* 1: *took is of a cold run; 0: it was not cold; or a negative errno. */
static int cold_run(run_fn *run, uint64_t *took)
{
	struct sthread_stats before, after;
	struct timed t;
	int err = drain(&before);

	if (err)
		return err;
	t = run();
	*took = t.took;
	err = t.err ? t.err : sthread_stats(&after);
	return err ? err : after.cold - before.cold == 1;
}

static int sample_cold(run_fn *run, unsigned n, uint64_t *out)
{
	unsigned got = 0;

	for (unsigned tries = 0; got < n && tries < 2 * n + 8; tries++) {
		uint64_t took;
		int r = cold_run(run, &took);

		if (r < 0)
			return r;
		if (r)
			out[got++] = took;
	}
	return got ? (int)got : -ENODATA;
}

int sample_call_cold(unsigned n, uint64_t *out)
{
	return sample_cold(run_call, n, out);
}

int sample_create_join_cold(unsigned n, uint64_t *out)
{
	return sample_cold(run_create_join, n, out);
}

/* As in compartment.c, in a master of some size, in pairs: one at a time, so each is warmed up. */
int sample_call_pooled(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		uint64_t start = now_ns(), took;
		int err = bench_call(empty, nothing, NULL, NULL);

		took = now_ns() - start;
		if (err)
			return err;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}

int sample_create_join_pooled(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		struct timed t;

		settle();
		t = run_create_join();
		if (t.err)
			return t.err;
		if (i >= WARM_UP)
			out[i - WARM_UP] = t.took;
	}
	return (int)n;
}

/* ---- idle ------------------------------------------------------------------------------------ */

#define IDLE_FIRST 50u /* live before it counts */
#define IDLE_STEP  50u
#define IDLE_STEPS 10u /* 500 in all, beyond the first */
#define IDLE_MAX   1000u
#define STEPS_MAX  (IDLE_FIRST + IDLE_STEP * IDLE_STEPS)

int setup_idle(void)
{
	struct rlimit files;
	int err;

	/* Each stub is two descriptors. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	err = open_pipes();
	if (!err)
		err = bench_init(0);
	if (!err)
		err = make_policies();
	return err;
}

/* KiB in a file of "name: n kB" lines. */
struct field {
	const char *name;
	enum idle_value value;
};

static int read_fields(const char *path, const struct field *fields, size_t n, double v[IDLE_VALUES])
{
	char line[256];
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		*colon = '\0';
		for (size_t i = 0; i < n; i++)
			if (!strcmp(fields[i].name, line))
				v[fields[i].value] += strtod(colon + 1, NULL) *
						      (fields[i].value < IDLE_VCPUS ? 1024 : 1);
	}
	fclose(f);
	return 0;
}

/* The file that says how much memory is charged to this process' control group, kernel memory too. */
static FILE *open_charged(void)
{
	static const struct {
		const char *controller, *path;
	} hierarchies[] = {
		{ ":memory:", "/sys/fs/cgroup/memory%s/memory.usage_in_bytes" },
		{ "0::", "/sys/fs/cgroup%s/memory.current" },
	};
	char line[256], path[512];
	FILE *groups = fopen("/proc/self/cgroup", "re"), *f = NULL;

	if (!groups)
		return NULL;
	while (!f && fgets(line, sizeof(line), groups)) {
		line[strcspn(line, "\n")] = '\0';
		for (unsigned i = 0; i < 2 && !f; i++) {
			const char *at = strstr(line, hierarchies[i].controller);

			if (!at)
				continue;
			at += strlen(hierarchies[i].controller);
			snprintf(path, sizeof(path), hierarchies[i].path, strcmp(at, "/") ? at : "");
			f = fopen(path, "re");
		}
	}
	fclose(groups);
	return f;
}

/* Asked one by one: to list them in /proc has the kernel keep something for each. */
static unsigned descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0, last = 0; fd < last + 1000; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		last = fd;
		n++;
	}
	return n;
}

static int look(double v[IDLE_VALUES])
{
	static const struct field own[] = { { "VmRSS", IDLE_RSS }, { "Threads", IDLE_THREADS } };
	static const struct field host[] = {
		{ "AnonPages", IDLE_ANON },   { "Shmem", IDLE_SHMEM },
		{ "PageTables", IDLE_TABLES }, { "SecPageTables", IDLE_TABLES },
		{ "KernelStack", IDLE_STACKS }, { "SReclaimable", IDLE_SLAB },
		{ "SUnreclaim", IDLE_SLAB },  { "Percpu", IDLE_PERCPU },
	};
	FILE *charged = open_charged();
	struct sthread_stats s;
	int err = sthread_stats(&s);

	memset(v, 0, IDLE_VALUES * sizeof(*v));
	if (!err)
		err = read_fields("/proc/self/status", own, sizeof(own) / sizeof(*own), v);
	if (!err)
		err = read_fields("/proc/meminfo", host, sizeof(host) / sizeof(*host), v);
	if (charged) {
		if (fscanf(charged, "%lf", &v[IDLE_CHARGED]) != 1)
			v[IDLE_CHARGED] = 0;
		fclose(charged);
	}
	if (err)
		return err;
	v[IDLE_ARENA] = (double)s.pages_used * 4096;
	v[IDLE_VCPUS] = (double)s.vcpus;
	v[IDLE_FDS] = descriptors();
	v[IDLE_LIVE] = (double)s.live;
	return 0;
}

/*
 * For one compartment more: the median of the steps, so that what another process of the host takes or
 * gives back at once is no part of it.
 */
static double slope(double v[IDLE_STEPS + 1][IDLE_VALUES], enum idle_value which)
{
	double step[IDLE_STEPS];

	for (unsigned i = 0; i < IDLE_STEPS; i++) {
		double d = (v[i + 1][which] - v[i][which]) / IDLE_STEP;
		unsigned at = i;

		for (; at && step[at - 1] > d; at--)
			step[at] = step[at - 1];
		step[at] = d;
	}
	return (step[IDLE_STEPS / 2 - 1] + step[IDLE_STEPS / 2]) / 2;
}

/* How many are to be live at once in the end. */
static unsigned idle_most(void)
{
	/* Of KVM's virtual processors there are 1024, and each takes seconds of an emulated computer. */
	return here.machine == PROCESS ? IDLE_MAX : STEPS_MAX;
}

int sample_idle(unsigned n, uint64_t *out)
{
	static double v[IDLE_STEPS + 1][IDLE_VALUES], last[IDLE_VALUES];
	static struct sthread *st[IDLE_MAX];
	unsigned live = 0;
	int err = 0, e;

	if (n < IDLE_VALUES)
		return -EINVAL;
	for (unsigned step = 0; !err && step <= IDLE_STEPS; step++) {
		while (!err && live < IDLE_FIRST + step * IDLE_STEP) {
			err = holder(&st[live]);
			live += !err;
		}
		if (!err)
			err = look(v[step]);
	}
	while (!err && live < idle_most()) {
		err = holder(&st[live]);
		live += !err;
	}
	if (!err)
		err = look(last);
	e = let_go(st, live);
	if (err || e)
		return err ? err : e;
	for (unsigned i = 0; i < IDLE_LIVE; i++) {
		double s = slope(v, (enum idle_value)i) * (i < IDLE_VCPUS ? 1 : 1000);

		out[i] = s > 0 ? (uint64_t)(s + 0.5) : 0;
	}
	out[IDLE_LIVE] = (uint64_t)last[IDLE_LIVE];
	out[IDLE_ANSWERED] = live; /* each returned what it was to */
	return IDLE_VALUES;
}
