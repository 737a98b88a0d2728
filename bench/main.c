/* SPDX-License-Identifier: MIT */
/*
 * sthread-bench: what compartments cost, beside what else the machine offers, in one run.  World:
 * host.
 *
 * sthread-bench(1) defines every series.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

static const struct series series[] = {
	{ "kvm.round_trip", GROUP_FLOOR, WHEN_ALWAYS, 1000, sample_round_trip,
	  "into a bare VM's ring 3, and out by syscall and a ring-0 stub" },
	{ "thread.handoff", GROUP_THREADS, WHEN_ALWAYS, 1000, sample_handoff,
	  "wake a sleeping thread by futex, and wait for its answer" },
	{ "fork.small", GROUP_SMALL, WHEN_ALWAYS, 500, sample_fork,
	  "fork, _exit and wait, next to nothing resident" },
	{ "fork.40mb", GROUP_40MB, WHEN_ALWAYS, 300, sample_fork, "the same with 40 MB resident" },
	{ "pthread", GROUP_SMALL, WHEN_ALWAYS, 500, sample_pthread,
	  "pthread_create and pthread_join" },
	{ "futex.same_core", GROUP_SMALL, WHEN_ALWAYS, 1000, sample_futex,
	  "futex round trip between two processes on one processor" },
	{ "sthread.call.cold", GROUP_COLD, WHEN_ALWAYS, 200, sample_call_cold,
	  "sthread_call in a space that never ran" },
	{ "sthread.call.warm", GROUP_WARM, WHEN_ALWAYS, 1000, sample_call,
	  "sthread_call in one that was put back" },
	{ "sthread.create_join.cold", GROUP_COLD, WHEN_ALWAYS, 200, sample_create_join_cold,
	  "sthread_create and sthread_join, new thread, processor and space" },
	{ "sthread.create_join.warm", GROUP_WARM, WHEN_ALWAYS, 1000, sample_create_join,
	  "the same from the pool" },
	{ "syscall.forwarded", GROUP_WARM, WHEN_ALWAYS, 200, sample_syscall,
	  "one lseek inside: runs with 128 against runs with none" },
	{ "fault.cow", GROUP_COW, WHEN_ALWAYS, 200, sample_cow,
	  "first write to a page of the image, timed inside, mean of 16" },
	{ "limit.latency", GROUP_COW, WHEN_ALWAYS, 100, sample_late_wall,
	  "how much later than a limit of wall time an endless loop ends" },
	{ "limit.latency.cpu", GROUP_COW, WHEN_ALWAYS, 100, sample_late_cpu,
	  "the same for CPU time" },
	{ "gate.call.fresh", GROUP_GATE, WHEN_ALWAYS, 200, sample_gate_fresh,
	  "call of a fresh gate from inside, 64 bytes each way: runs with 16 against none" },
	{ "gate.call.recycled", GROUP_GATE, WHEN_ALWAYS, 200, sample_gate_recycled,
	  "the same of a recycled gate" },
	{ "gate.call.native", GROUP_GATE, WHEN_ALWAYS, 200, sample_gate_native,
	  "the same of a native gate" },
	{ "sthread.call.cold.10mb", GROUP_10MB, WHEN_COLD_SIZE, 200, sample_call_cold,
	  "cold, in a master with 10 MB of touched heap" },
	{ "sthread.call.cold.1gb", GROUP_1GB, WHEN_COLD_SIZE, 200, sample_call_cold,
	  "cold, in a master with 1 GB of touched heap" },
	{ "memory.idle", GROUP_IDLE, WHEN_IDLE, IDLE_VALUES, sample_idle,
	  "what one more idle compartment takes, slope over 500" },
};
#define SERIES (sizeof(series) / sizeof(*series))

static setup_fn *const setups[GROUPS] = {
	[GROUP_40MB] = setup_40mb, [GROUP_THREADS] = setup_threads, [GROUP_FLOOR] = setup_floor,
	[GROUP_WARM] = setup_warm, [GROUP_COW] = setup_cow,	    [GROUP_COLD] = setup_cold,
	[GROUP_GATE] = setup_gate,
	[GROUP_10MB] = setup_10mb, [GROUP_1GB] = setup_1gb,	    [GROUP_IDLE] = setup_idle,
};

#define ROUNDS	      20u
/*
 * Where instructions are counted nothing drifts. The median of an odd number is the count of a run
 * that there was. Of cold runs only the first: later ones may have the virtual processor of a holder
 * that was let go, and KVM waits for a grace period of RCU when it changes its thread.
 */
#define COUNT_ROUNDS  5u
#define COUNT_SAMPLES 51u
#define COUNT_COLD    15u

static uint64_t *samples[SERIES];
static struct result results[SERIES];
static unsigned taken[SERIES];

struct facts *facts;

uint64_t now_ns(void)
{
	struct timespec t = { 0 };

	if (options.count)
		return instructions();
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void settle(void)
{
	uint64_t until = now_ns() + 30000;

	while (now_ns() < until)
		;
}

static bool wanted(const struct series *s)
{
	return options.when[s->when] && (!options.filter || strstr(s->name, options.filter));
}

static unsigned planned(const struct series *s)
{
	if (s->when == WHEN_IDLE)
		return s->samples;
	if (options.samples)
		return options.samples;
	if (!options.count)
		return s->samples;
	return s->group == GROUP_COLD || s->when == WHEN_COLD_SIZE ? COUNT_COLD : COUNT_SAMPLES;
}

static void progress(unsigned round, unsigned rounds, const char *name)
{
	if (isatty(STDERR_FILENO) && !options.count)
		fprintf(stderr, "\r\033[K%3u %% %s", round * 100 / rounds, name);
}

static void fail(size_t i, int err, const char *why)
{
	struct result *r = &results[i];

	r->err = err;
	snprintf(r->why, sizeof(r->why), "%s", why ? why : strerror(-err));
}

/* Up to n more samples of a series. */
static void ask(size_t i, unsigned n)
{
	const struct series *s = &series[i];
	const char *why;
	int got;

	if (results[i].err || n == 0)
		return;
	got = helper_ask(s, n, samples[i] + taken[i], &why);
	if (got > 0)
		taken[i] += (unsigned)got;
	else if (got < 0 || !taken[i]) /* no more to be had is no failure */
		fail(i, got ? got : -ENODATA, why);
}

/* Pairs: one sample of each, the first of them in turn. */
static void ask_pairs(size_t a, size_t b)
{
	unsigned n = planned(&series[a]);

	while (taken[a] < n && !results[a].err && !results[b].err) {
		bool swap = taken[a] % 2;

		progress(taken[a], n, "pairs of cold creates, 1 GB and 10 MB");
		ask(swap ? b : a, 1);
		ask(swap ? a : b, 1);
	}
}

static size_t find(const char *name)
{
	size_t i = 0;

	while (strcmp(series[i].name, name))
		i++;
	return i;
}

/* What kind of KVM it is only the floor finds out: also where its series was not asked for. */
static void learn_kvm(void)
{
	const char *why;
	uint64_t trip;

	if (facts->kvm_software < 0)
		(void)helper_ask(&series[find("kvm.round_trip")], 1, &trip, &why);
}

static void measure(void)
{
	size_t a = find("sthread.call.cold.1gb"), b = find("sthread.call.cold.10mb");
	unsigned rounds = options.count ? COUNT_ROUNDS : ROUNDS;

	for (unsigned round = 0; round < rounds; round++) {
		for (size_t i = 0; i < SERIES; i++) {
			unsigned n = planned(&series[i]);

			if (!wanted(&series[i]) || series[i].when != WHEN_ALWAYS)
				continue;
			progress(round, rounds, series[i].name);
			ask(i, n * (round + 1) / rounds - n * round / rounds);
		}
	}
	if (wanted(&series[a]) && wanted(&series[b]))
		ask_pairs(a, b);
	for (size_t i = 0; i < SERIES; i++) {
		if (!wanted(&series[i]) || series[i].when != WHEN_IDLE)
			continue;
		progress(0, 1, series[i].name);
		ask(i, planned(&series[i]));
	}
	learn_kvm();
	if (isatty(STDERR_FILENO) && !options.count)
		fputs("\r\033[K", stderr);
}

static double median(const char *name)
{
	size_t i = find(name);

	return taken[i] && !results[i].err ? results[i].f.median : 0;
}

static void add_quotient(struct quotient *q, size_t *n, const char *name, double over, double under,
			 const char *goal)
{
	if (over > 0 && under > 0)
		q[(*n)++] = (struct quotient){ .name = name, .goal = goal, .value = over / under };
}

static size_t quotients(struct quotient q[4])
{
	size_t a = find("sthread.call.cold.1gb"), b = find("sthread.call.cold.10mb"),
	       n = 0;
	double trip = median("kvm.round_trip"), handoff = median("thread.handoff");

	add_quotient(q, &n, "sthread.call.warm / kvm.round_trip", median("sthread.call.warm"), trip,
		     "at most 2");
	add_quotient(q, &n, "fork.40mb / sthread.call.warm", median("fork.40mb"),
		     median("sthread.call.warm"), "at least 3");
	if (trip > 0 && handoff > 0)
		add_quotient(q, &n, "sthread.create_join.warm / (kvm.round_trip + thread.handoff)",
			     median("sthread.create_join.warm"), trip + handoff, "at most 2");
	if (taken[a] && taken[a] == taken[b] && !results[a].err && !results[b].err) {
		struct ratio r = figures_ratio(samples[a], samples[b], taken[a]);

		q[n++] = (struct quotient){ "sthread.call.cold.1gb / .10mb", "0.9 to 1.1",
					    r.value, r.low, r.high };
	}
	return n;
}

/*
 * Results of the series that ran, moved together; the ratios are made before, from unsorted
 * samples.
 */
static size_t finish(struct result *out, struct quotient *q, size_t *nq)
{
	uint64_t *sorted = calloc(MAX_SAMPLES, sizeof(*sorted));
	size_t n = 0;

	if (!sorted)
		return 0;
	for (size_t i = 0; i < SERIES; i++) {
		results[i].series = &series[i];
		if (!wanted(&series[i]))
			continue;
		if (!taken[i] && !results[i].err)
			fail(i, -ENODATA, "it has no pair");
		if (taken[i] && !results[i].err) {
			memcpy(sorted, samples[i], taken[i] * sizeof(*sorted));
			if (series[i].when == WHEN_IDLE)
				memcpy(results[i].idle, sorted, sizeof(results[i].idle));
			results[i].f = figures_of(sorted, taken[i]);
		}
		out[n++] = results[i];
	}
	*nq = quotients(q);
	free(sorted);
	return n;
}

static int start(void)
{
	bool groups[GROUPS] = { false };
	bool any = false;

	facts = mmap(NULL, sizeof(*facts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (facts == MAP_FAILED)
		return -errno;
	facts->kvm_software = facts->placement = -1;
	for (size_t i = 0; i < SERIES; i++) {
		if (!wanted(&series[i]))
			continue;
		groups[series[i].group] = any = true;
	}
	groups[GROUP_FLOOR] = true;
	if (!any) {
		fprintf(stderr, "sthread-bench: no series of this name; see --list\n");
		exit(2);
	}
	return helpers_start(setups, groups);
}

int main(int argc, char **argv)
{
	struct result shown[SERIES];
	struct quotient q[4];
	FILE *json = stdout;
	size_t n, nq = 0;
	int err = options_parse(argc, argv);

	if (err)
		return err;
	if (options.list) {
		for (size_t i = 0; i < SERIES; i++)
			printf("%-30s %s\n", series[i].name, series[i].what);
		return 0;
	}
	if (options.count && !instructions_counted()) {
		fprintf(stderr, "sthread-bench: this machine does not count instructions; "
				"use scripts/bench --count\n");
		return 1;
	}
	if (options.json_file) {
		json = fopen(options.json_file, "we");
		if (!json) {
			fprintf(stderr, "sthread-bench: %s: %s\n", options.json_file,
				strerror(errno));
			return 1;
		}
	}
	err = start();
	if (err) {
		fprintf(stderr, "sthread-bench: %s\n", strerror(-err));
		return 1;
	}
	/* After the helpers were forked: what they measure has none of this. */
	for (size_t i = 0; i < SERIES; i++) {
		samples[i] = calloc(MAX_SAMPLES, sizeof(**samples));
		if (!samples[i]) {
			fprintf(stderr, "sthread-bench: %s\n", strerror(ENOMEM));
			return 1;
		}
	}
	measure();
	helpers_stop();
	n = finish(shown, q, &nq);
	if (options.json)
		output_json(json, shown, n, q, nq);
	if (json != stdout || !options.json)
		output_table(stdout, shown, n, q, nq);
	if (fflush(stdout) || ferror(stdout) || fflush(json) || ferror(json))
		return 1;
	for (size_t i = 0; i < n; i++)
		if (shown[i].err)
			return 3; /* something was skipped */
	return 0;
}
