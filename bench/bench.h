/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the parts of sthread-bench share.  World: host.
 *
 * A series is one quantity. Each belongs to a group, and each group is a process of its own, forked
 * before anything else happened: so what forks has no virtual machine open, and what has one is
 * disturbed by no other. One process works at a time. The main process asks for a few samples of
 * each series in turn, in rounds, so that a drift of the machine hits all alike.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The process in which a series runs. */
enum group {
	GROUP_SMALL,   /* next to nothing resident, no VM, no thread */
	GROUP_40MB,    /* 40 MB resident */
	GROUP_THREADS, /* with a pooled thread */
	GROUP_FLOOR,   /* a bare VM */
	GROUP_WARM,    /* libsthread */
	GROUP_COW,     /* libsthread, with 64 MiB in the image */
	GROUP_GATE,    /* libsthread, with gates */
	GROUP_COLD,    /* libsthread, with one pooled compartment only */
	GROUP_10MB,    /* the same with 10 MB of touched heap */
	GROUP_1GB,     /* the same with 1 GB */
	GROUP_IDLE,    /* libsthread, filled with idle compartments */
	GROUPS,
};

/* Which run includes a series. */
enum when {
	WHEN_ALWAYS,
	WHEN_COLD_SIZE, /* --cold-size */
	WHEN_IDLE,	/* --idle; values are not times */
};

/*
 * Up to n samples, nanoseconds, into out[]; gives how many (0: it has no more), or a negative
 * errno. In the group's process.
 */
typedef int sample_fn(unsigned n, uint64_t *out);

struct series {
	const char *name;
	enum group group;
	enum when when;
	unsigned samples; /* unless --samples says otherwise */
	sample_fn *sample;
	const char *what; /* for --list */
};

/* In the group's process, before its first sample. 0 or a negative errno. May be NULL. */
typedef int setup_fn(void);

/* What the processes find out about the machine; shared memory. */
struct facts {
	int kvm_software; /* 1: `syscall` in ring 3 faults (software KVM), 0: no, -1: not asked */
	int placement;	  /* enum sthread_placement in force, -1: not asked */
};
extern struct facts *facts;

#define MAX_SAMPLES 20000u

/*
 * Runs before the first sample that counts, of what is called warm: other processes had the
 * machine.
 */
#define WARM_UP	    3u

/* What --idle asks for, in this order. */
enum idle_value { IDLE_ARENA, IDLE_RSS, IDLE_VCPUS, IDLE_THREADS, IDLE_LIVE, IDLE_VALUES };

/* Nanoseconds; with --count, instructions. Also inside. */
uint64_t now_ns(void);
/* Lets what was woken go to sleep again: a pause without a system call. */
void settle(void);

/* system.c */
setup_fn setup_40mb, setup_threads;
sample_fn sample_fork, sample_pthread, sample_handoff, sample_futex;
/* floor.c */
setup_fn setup_floor;
sample_fn sample_round_trip;
/* compartment.c */
setup_fn setup_warm, setup_cow;
sample_fn sample_call, sample_create_join, sample_syscall, sample_cow, sample_late_wall, sample_late_cpu;
/* gate.c */
setup_fn setup_gate;
sample_fn sample_gate_fresh, sample_gate_recycled, sample_gate_native;
/* cold.c */
setup_fn setup_cold, setup_10mb, setup_1gb, setup_idle;
sample_fn sample_call_cold, sample_create_join_cold, sample_idle;

/* options.c */
extern struct options {
	bool json, list, count;
	const char *json_file; /* NULL: standard output, in place of the table */
	bool when[3]; /* by enum when */
	const char *filter;
	unsigned samples; /* 0: each series' own */
} options;
/* 0, or the exit status of a wrong call; --help ends the process. */
int options_parse(int argc, char **argv);

/*
 * count.c: the instructions that the processor executed so far, where the time stamp counter counts
 * them; and whether it does.
 */
uint64_t instructions(void);
bool instructions_counted(void);

/* helper.c: the groups' processes. Ask after all were started. */
int helpers_start(setup_fn *const setup[GROUPS], const bool wanted[GROUPS]);
/* As sample_fn; *why says what happened where a negative number does not. */
int helper_ask(const struct series *s, unsigned n, uint64_t *out, const char **why);
void helpers_stop(void);

/* figures.c */
struct figures {
	double median, p5, p95;
	unsigned n;
};
/* Sorts v. */
struct figures figures_of(uint64_t *v, unsigned n);
/*
 * Median of a over median of b for n pairs, and the interval in which 95 % of resampled ones lie.
 */
struct ratio {
	double value, low, high;
};
struct ratio figures_ratio(const uint64_t *a, const uint64_t *b, unsigned n);

/* output.c */
struct result {
	const struct series *series;
	struct figures f;
	int err; /* negative: no figures */
	char why[64];
	uint64_t idle[IDLE_VALUES]; /* WHEN_IDLE */
};
struct quotient {
	const char *name, *goal;
	double value, low, high; /* low, high: 0 if there is no interval */
};
void output_json(FILE *f, const struct result *r, size_t n, const struct quotient *q, size_t nq);
void output_table(FILE *f, const struct result *r, size_t n, const struct quotient *q, size_t nq);

#endif
