/* SPDX-License-Identifier: MIT */
/*
 * sthread-bench: what compartments cost, beside what else the machine offers, in one run.  World:
 * host.
 *
 * sthread-bench(1) defines every series.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

#define ON_SYSTEM (1U << SYSTEM)
#define ON_KVM	  (1U << KVM)
#define ON_STUBS  (1U << PROCESS)
#define ON_BOTH	  (ON_KVM | ON_STUBS)

/*
 * The floor of stubs, and what is measured by it, on each placement: the ratios are to hold in each.
 * A hand-over between threads is the same on one processor and on two: stubs alone are on the
 * second.
 */
#define FREE	  (1U << UNPINNED)
#define FREE_ONE  (FREE | 1U << ONE)
#define EACH	  (FREE_ONE | 1U << TWO)

static const struct series series[] = {
	{ "thread.handoff", GROUP_THREADS, ON_SYSTEM, FREE_ONE, WHEN_ALWAYS, 1000, sample_handoff,
	  "wake a sleeping thread by futex, and wait for its answer" },
	{ "fork.small", GROUP_SMALL, ON_SYSTEM, FREE, WHEN_ALWAYS, 500, sample_fork,
	  "fork, _exit and wait, next to nothing resident" },
	{ "fork.40mb", GROUP_40MB, ON_SYSTEM, FREE, WHEN_ALWAYS, 300, sample_fork,
	  "the same with 40 MB resident" },
	{ "pthread", GROUP_SMALL, ON_SYSTEM, FREE, WHEN_ALWAYS, 500, sample_pthread,
	  "pthread_create and pthread_join" },
	{ "futex.same_core", GROUP_SMALL, ON_SYSTEM, FREE, WHEN_ALWAYS, 1000, sample_futex,
	  "futex round trip between two processes on one processor" },
	{ "kvm.round_trip", GROUP_FLOOR, ON_KVM, FREE, WHEN_ALWAYS, 1000, sample_round_trip,
	  "into a bare VM's ring 3, and out by syscall and a ring-0 stub" },
	{ "process.round_trip", GROUP_FLOOR, ON_STUBS, EACH, WHEN_ALWAYS, 1000,
	  sample_round_trip_process,
	  "a call of a bare child is answered, and its next one is there" },
	{ "sthread.call.cold", GROUP_COLD, ON_BOTH, FREE, WHEN_ALWAYS, 200, sample_call_cold,
	  "sthread_call in a space that never ran" },
	{ "sthread.call.warm", GROUP_WARM, ON_BOTH, EACH, WHEN_ALWAYS, 1000, sample_call,
	  "sthread_call in one that was put back" },
	{ "sthread.create_join.cold", GROUP_COLD, ON_BOTH, FREE, WHEN_ALWAYS, 200,
	  sample_create_join_cold,
	  "sthread_create and sthread_join, new thread, processor and space" },
	{ "sthread.create_join.warm", GROUP_WARM, ON_BOTH, EACH, WHEN_ALWAYS, 1000,
	  sample_create_join, "the same from the pool" },
	{ "syscall.forwarded", GROUP_WARM, ON_BOTH, EACH, WHEN_ALWAYS, 200, sample_syscall,
	  "one lseek, timed inside, median of 16" },
	{ "syscall.private", GROUP_COW, ON_BOTH, EACH, WHEN_ALWAYS, 200, sample_private,
	  "one pread that makes a page of the image private, likewise" },
	{ "fault.cow", GROUP_COW, ON_BOTH, EACH, WHEN_ALWAYS, 200, sample_cow,
	  "first write to a page of the image, likewise" },
	{ "fault.demand", GROUP_COW, ON_BOTH, EACH, WHEN_ALWAYS, 200, sample_demand,
	  "first write to a page of the stack, likewise" },
	{ "limit.latency", GROUP_COW, ON_BOTH, FREE, WHEN_ALWAYS, 100, sample_late_wall,
	  "how much later than a limit of wall time an endless loop ends" },
	{ "limit.latency.cpu", GROUP_COW, ON_BOTH, FREE, WHEN_ALWAYS, 100, sample_late_cpu,
	  "the same for CPU time" },
	{ "gate.call.fresh", GROUP_GATE, ON_BOTH, FREE, WHEN_ALWAYS, 200, sample_gate_fresh,
	  "call of a fresh gate from inside, 64 bytes each way: runs with 16 against none" },
	{ "gate.call.recycled", GROUP_GATE, ON_BOTH, FREE, WHEN_ALWAYS, 200, sample_gate_recycled,
	  "the same of a recycled gate" },
	{ "gate.call.native", GROUP_GATE, ON_BOTH, FREE, WHEN_ALWAYS, 200, sample_gate_native,
	  "the same of a native gate" },
	{ "sthread.call.warm.10mb", GROUP_10MB, ON_BOTH, FREE, WHEN_COLD_SIZE, 200,
	  sample_call_pooled, "warm, in a master with 10 MB of touched heap" },
	{ "sthread.call.warm.1gb", GROUP_1GB, ON_BOTH, FREE, WHEN_COLD_SIZE, 200,
	  sample_call_pooled, "warm, in a master with 1 GB of touched heap" },
	{ "sthread.create_join.warm.10mb", GROUP_10MB, ON_BOTH, FREE, WHEN_COLD_SIZE, 200,
	  sample_create_join_pooled, "likewise" },
	{ "sthread.create_join.warm.1gb", GROUP_1GB, ON_BOTH, FREE, WHEN_COLD_SIZE, 200,
	  sample_create_join_pooled, "likewise" },
	{ "sthread.call.cold.10mb", GROUP_10MB, ON_BOTH, FREE, WHEN_COLD_SIZE, 200,
	  sample_call_cold, "cold, likewise" },
	{ "sthread.call.cold.1gb", GROUP_1GB, ON_BOTH, FREE, WHEN_COLD_SIZE, 200, sample_call_cold,
	  "cold, likewise" },
	{ "steady.call", GROUP_WARM, ON_BOTH, FREE, WHEN_STEADY, STEADY_VALUES, sample_steady,
	  "what the library counts in a warm sthread_call" },
	{ "memory.idle", GROUP_IDLE, ON_BOTH, FREE, WHEN_IDLE, IDLE_VALUES, sample_idle,
	  "what one more idle compartment takes, median of steps of 50" },
};
#define SERIES (sizeof(series) / sizeof(*series))

#define LIBRARY(setup) { [KVM] = (setup), [PROCESS] = (setup) }
static setup_fn *const setups[GROUPS][MACHINES] = {
	[GROUP_40MB] = { [SYSTEM] = setup_40mb },
	[GROUP_THREADS] = { [SYSTEM] = setup_threads },
	[GROUP_FLOOR] = { [KVM] = setup_floor, [PROCESS] = setup_floor_process },
	[GROUP_WARM] = LIBRARY(setup_warm),
	[GROUP_COW] = LIBRARY(setup_cow),
	[GROUP_GATE] = LIBRARY(setup_gate),
	[GROUP_COLD] = LIBRARY(setup_cold),
	[GROUP_10MB] = LIBRARY(setup_10mb),
	[GROUP_1GB] = LIBRARY(setup_1gb),
	[GROUP_IDLE] = LIBRARY(setup_idle),
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

#define ROWS_MAX  80u
#define GOALS_MAX 64u

static struct row {
	const struct series *series;
	struct place place;
	uint64_t *samples;
	unsigned taken;
	int err; /* negative: no figures */
	char why[64];
} rows[ROWS_MAX];
static unsigned nrows;

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

static int processors(void)
{
	cpu_set_t all;

	return sched_getaffinity(0, sizeof(all), &all) ? 1 : CPU_COUNT(&all);
}

static bool wanted(const struct series *s, struct place p)
{
	if (!(s->machines >> p.machine & 1) || !options.machines[p.machine])
		return false;
	/* Who enters a virtual machine is one thread, on one processor. And there is one to count on. */
	if (p.processors != UNPINNED && (p.machine == KVM || options.count))
		return false;
	if (p.processors == TWO && processors() < 2)
		return false;
	return (s->processors >> p.processors & 1) && options.when[s->when] &&
	       (!options.filter || strstr(s->name, options.filter));
}

/* What kind of KVM it is only the floor finds out: also where its series was not asked for. */
static bool group_wanted(enum group g, struct place p)
{
	if (g == GROUP_FLOOR && p.machine == KVM && p.processors == UNPINNED && options.machines[KVM])
		return true;
	for (unsigned i = 0; i < nrows; i++)
		if (rows[i].series->group == g && rows[i].place.machine == p.machine &&
		    rows[i].place.processors == p.processors)
			return true;
	return false;
}

static void plan_rows(void)
{
	struct place p;

	for (p.machine = 0; p.machine < MACHINES; p.machine++)
		for (p.processors = 0; p.processors < PLACEMENTS; p.processors++)
			for (size_t i = 0; i < SERIES && nrows < ROWS_MAX; i++)
				if (wanted(&series[i], p))
					rows[nrows++] = (struct row){ .series = &series[i], .place = p };
}

static unsigned planned(const struct series *s)
{
	if (s->when == WHEN_IDLE || s->when == WHEN_STEADY)
		return s->samples;
	if (options.samples)
		return options.samples;
	if (!options.count)
		return s->samples;
	return s->group == GROUP_COLD || s->when == WHEN_COLD_SIZE ? COUNT_COLD : COUNT_SAMPLES;
}

static void progress(unsigned done, unsigned of, const char *name)
{
	if (isatty(STDERR_FILENO) && !options.count)
		fprintf(stderr, "\r\033[K%3u %% %s", done * 100 / of, name);
}

static void fail(struct row *r, int err, const char *why)
{
	r->err = err;
	snprintf(r->why, sizeof(r->why), "%s", why ? why : strerror(-err));
}

/* Up to n more samples of a row. */
static void ask(struct row *r, unsigned n)
{
	const char *why;
	int got;

	if (r->err || n == 0)
		return;
	got = helper_ask(r->series, r->place, n, r->samples + r->taken, &why);
	if (got > 0)
		r->taken += (unsigned)got;
	else if (got < 0 || !r->taken) /* no more to be had is no failure */
		fail(r, got ? got : -ENODATA, why);
}

static struct row *find(const char *name, enum machine machine, enum processors processors)
{
	for (unsigned i = 0; i < nrows; i++)
		if (!strcmp(rows[i].series->name, name) && rows[i].place.machine == machine &&
		    rows[i].place.processors == processors)
			return &rows[i];
	return NULL;
}

/* Pairs: one sample of each, the first of them in turn. */
static void ask_pairs(struct row *a, struct row *b)
{
	unsigned n = a && b ? planned(a->series) : 0;

	while (n && a->taken < n && !a->err && !b->err) {
		bool swap = a->taken % 2;

		progress(a->taken, n, "pairs, in masters of 1 GB and 10 MB");
		ask(swap ? b : a, 1);
		ask(swap ? a : b, 1);
	}
}

static const char *const sizes[][2] = {
	{ "sthread.call.warm.1gb", "sthread.call.warm.10mb" },
	{ "sthread.create_join.warm.1gb", "sthread.create_join.warm.10mb" },
	{ "sthread.call.cold.1gb", "sthread.call.cold.10mb" }, /* last: it leaves compartments that hold what is warm */
};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

static void measure_sizes(void)
{
	for (enum machine m = KVM; m < MACHINES; m++) {
		for (size_t i = 0; i < SIZES; i++)
			ask_pairs(find(sizes[i][0], m, UNPINNED), find(sizes[i][1], m, UNPINNED));
		helper_stop(GROUP_1GB, (struct place){ m, UNPINNED });
		helper_stop(GROUP_10MB, (struct place){ m, UNPINNED });
	}
}

static void learn_kvm(void)
{
	const struct place p = { KVM, UNPINNED };
	const char *why;
	uint64_t trip;

	for (size_t i = 0; i < SERIES; i++)
		if (options.machines[KVM] && facts->kvm_software < 0 && series[i].sample == sample_round_trip)
			(void)helper_ask(&series[i], p, 1, &trip, &why);
}

static void measure(void)
{
	unsigned rounds = options.count ? COUNT_ROUNDS : ROUNDS;

	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < nrows; i++) {
			unsigned n = planned(rows[i].series);

			if (rows[i].series->when != WHEN_ALWAYS)
				continue;
			progress(round, rounds, rows[i].series->name);
			ask(&rows[i], n * (round + 1) / rounds - n * round / rounds);
		}
	}
	measure_sizes();
	for (unsigned i = 0; i < nrows; i++) {
		if (rows[i].series->when != WHEN_IDLE && rows[i].series->when != WHEN_STEADY)
			continue;
		progress(0, 1, rows[i].series->name);
		ask(&rows[i], planned(rows[i].series));
		if (rows[i].series->when == WHEN_IDLE)
			helper_stop(GROUP_IDLE, rows[i].place); /* the next one counts on the same host */
	}
	learn_kvm();
	if (isatty(STDERR_FILENO) && !options.count)
		fputs("\r\033[K", stderr);
}

/* ---- goals ----------------------------------------------------------------------------------- */

static struct result results[ROWS_MAX];
static struct goal goals[GOALS_MAX];
static unsigned ngoals;

static void add_goal(struct goal g)
{
	if (ngoals < GOALS_MAX)
		goals[ngoals++] = g;
}

static bool has_figures(const struct row *r)
{
	return r && r->taken && !r->err;
}

/* 0: there is none. */
static double median(const char *name, enum machine machine, enum processors processors)
{
	struct row *r = find(name, machine, processors);

	return has_figures(r) ? results[r - rows].f.median : 0;
}

static void add_ratio(const char *name, struct place p, double over, double under, double least, double most)
{
	if (over > 0 && under > 0)
		add_goal((struct goal){
			.name = name, .place = p, .value = over / under, .least = least, .most = most });
}

/* What is asked of KVM. */
static void goals_of_kvm(void)
{
	const struct place p = { KVM, UNPINNED };
	double trip = median("kvm.round_trip", KVM, UNPINNED), warm = median("sthread.call.warm", KVM, UNPINNED),
	       handoff = median("thread.handoff", SYSTEM, UNPINNED);

	add_ratio("sthread.call.warm / kvm.round_trip", p, warm, trip, 0, 2);
	add_ratio("fork.40mb / sthread.call.warm", p, median("fork.40mb", SYSTEM, UNPINNED), warm, 3, 0);
	add_ratio("sthread.create_join.warm / (kvm.round_trip + thread.handoff)", p,
		  median("sthread.create_join.warm", KVM, UNPINNED), trip && handoff ? trip + handoff : 0, 0, 2);
}

/* What is asked of stubs on each placement; of a fork where nothing is pinned. */
static void goals_of_stubs(enum processors on)
{
	static const struct {
		const char *name, *ratio;
		double most;
	} to_floor[] = {
		{ "syscall.forwarded", "syscall.forwarded / process.round_trip", 1.3 },
		{ "sthread.call.warm", "sthread.call.warm / process.round_trip", 1.6 },
		{ "fault.cow", "fault.cow / process.round_trip", 4 },
		{ "fault.demand", "fault.demand / process.round_trip", 4 },
	};
	const struct place p = { PROCESS, on };
	double trip = median("process.round_trip", PROCESS, on),
	       handoff = median("thread.handoff", SYSTEM, on == TWO ? ONE : on),
	       fork = median("fork.40mb", SYSTEM, UNPINNED);

	for (size_t i = 0; i < sizeof(to_floor) / sizeof(*to_floor); i++)
		add_ratio(to_floor[i].ratio, p, median(to_floor[i].name, PROCESS, on), trip, 0, to_floor[i].most);
	add_ratio("sthread.create_join.warm / (process.round_trip + thread.handoff)", p,
		  median("sthread.create_join.warm", PROCESS, on), trip && handoff ? trip + handoff : 0, 0, 2);
	if (on != UNPINNED)
		return;
	add_ratio("fork.40mb / sthread.call.warm", p, fork, median("sthread.call.warm", PROCESS, on), 50, 0);
	add_ratio("fork.40mb / sthread.call.cold", p, fork, median("sthread.call.cold", PROCESS, on), 1, 0);
}

static void goals_of_sizes(enum machine m)
{
	static const char *const names[SIZES] = { "sthread.call.warm.1gb / .10mb", "sthread.create_join.warm.1gb / .10mb",
						  "sthread.call.cold.1gb / .10mb" };

	for (size_t i = 0; i < SIZES; i++) {
		struct row *a = find(sizes[i][0], m, UNPINNED), *b = find(sizes[i][1], m, UNPINNED);
		struct ratio r;

		if (!has_figures(a) || !has_figures(b) || a->taken != b->taken)
			continue;
		r = figures_ratio(a->samples, b->samples, a->taken);
		add_goal((struct goal){ names[i], { m, UNPINNED }, r.value, r.low, r.high, 0.9, 1.1 });
	}
}

static void goals_of_counts(enum machine m)
{
	const struct place p = { m, UNPINNED };
	struct row *steady = find("steady.call", m, UNPINNED), *idle = find("memory.idle", m, UNPINNED);

	if (has_figures(steady)) {
		const uint64_t *v = results[steady - rows].values;

		add_goal((struct goal){ "world switches of a warm sthread_call", p, (double)v[STEADY_SWITCHES] / 1000, 0, 0, 1, 1 });
		add_goal((struct goal){ "faults of a warm sthread_call", p, (double)v[STEADY_FAULTS] / 1000, 0, 0, 0, 0 });
		add_goal((struct goal){ "mappings changed by a warm sthread_call", p, (double)v[STEADY_EDITS] / 1000, 0, 0, 0, 0 });
	}
	if (has_figures(idle)) {
		const uint64_t *v = results[idle - rows].values;

		if (m == KVM)
			add_goal((struct goal){ "guest memory of an idle compartment, KiB", p, (double)v[IDLE_ARENA] / 1024, 0, 0,
						0, 64 });
		else
			add_goal((struct goal){ "memory of an idle compartment, KiB", p, idle_total(v) / 1024, 0, 0, 0, 192 });
		add_goal((struct goal){ "compartments that were live at once, and answered", p, (double)v[IDLE_ANSWERED], 0, 0,
					(double)v[IDLE_LIVE], 0 });
	}
}

/* ---------------------------------------------------------------------------------------------- */

/* The figures of all rows; the ratios of pairs are made from unsorted samples. */
static int finish(void)
{
	uint64_t *sorted = calloc(MAX_SAMPLES, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (unsigned i = 0; i < nrows; i++) {
		struct row *r = &rows[i];
		struct result *out = &results[i];

		if (!r->taken && !r->err)
			fail(r, -ENODATA, "it has no pair");
		*out = (struct result){ .series = r->series, .place = r->place, .err = r->err };
		memcpy(out->why, r->why, sizeof(out->why));
		if (r->err)
			continue;
		memcpy(sorted, r->samples, r->taken * sizeof(*sorted));
		if (r->series->when == WHEN_IDLE || r->series->when == WHEN_STEADY)
			memcpy(out->values, sorted, r->taken * sizeof(*sorted));
		out->f = figures_of(sorted, r->taken);
	}
	free(sorted);
	goals_of_kvm();
	for (enum processors on = 0; on < PLACEMENTS; on++)
		goals_of_stubs(on);
	for (enum machine m = KVM; m < MACHINES; m++) {
		goals_of_sizes(m);
		goals_of_counts(m);
	}
	return 0;
}

static int start(void)
{
	facts = mmap(NULL, sizeof(*facts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (facts == MAP_FAILED)
		return -errno;
	*facts = (struct facts){ -1, -1, -1, -1 };
	plan_rows();
	if (!nrows) {
		fprintf(stderr, "sthread-bench: no series of this name; see --list\n");
		exit(2);
	}
	return helpers_start(setups, group_wanted);
}

static int allocate(void)
{
	for (unsigned i = 0; i < nrows; i++) {
		rows[i].samples = calloc(MAX_SAMPLES, sizeof(*rows[i].samples));
		if (!rows[i].samples)
			return -ENOMEM;
	}
	return 0;
}

int main(int argc, char **argv)
{
	FILE *json = stdout;
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
	/* After the helpers were forked: what they measure has none of this. */
	if (!err)
		err = allocate();
	if (!err) {
		measure();
		helpers_stop();
		err = finish();
	}
	if (err) {
		fprintf(stderr, "sthread-bench: %s\n", strerror(-err));
		return 1;
	}
	if (options.json)
		output_json(json, results, nrows, goals, ngoals);
	if (json != stdout || !options.json)
		output_table(stdout, results, nrows, goals, ngoals);
	if (fflush(stdout) || ferror(stdout) || fflush(json) || ferror(json))
		return 1;
	for (unsigned i = 0; i < nrows; i++)
		if (rows[i].err)
			return 3; /* something was skipped */
	return 0;
}
