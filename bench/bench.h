/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the parts of sthread-bench share.  World: host.
 *
 * A series is one quantity, and a row is a series at a place: on one of the library's machines, or
 * of the system; on which processors. Each series belongs to a group, and each group at a place is
 * a process of its own, forked before anything else happened: so what forks has no virtual machine
 * open, and what has one is disturbed by no other. One process works at a time. The main process
 * asks for a few samples of each row in turn, in rounds, so that a drift of the machine hits all
 * alike.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What runs compartments: a program has one. SYSTEM: none, it is not about the library. */
enum machine { SYSTEM, KVM, PROCESS, MACHINES };

/*
 * What the threads of a group's process may run on: all; one processor, stubs too; or threads on
 * one, and stubs on another.
 */
enum processors { UNPINNED, ONE, TWO, PLACEMENTS };

struct place {
	enum machine machine;
	enum processors processors;
};

/* The process in which a series runs. */
enum group {
	GROUP_SMALL,   /* next to nothing resident, no VM, no thread */
	GROUP_40MB,    /* 40 MB resident */
	GROUP_THREADS, /* with a pooled thread */
	GROUP_FLOOR,   /* a bare VM, or a bare child behind a filter */
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
	WHEN_COLD_SIZE, /* --cold-size: taken in pairs */
	WHEN_IDLE,	/* --idle; values are not times */
	WHEN_STEADY,	/* always; values are not times */
	WHENS,
};

/*
 * Up to n samples, nanoseconds, into out[]; gives how many (0: it has no more), or a negative
 * errno. In the group's process.
 */
typedef int sample_fn(unsigned n, uint64_t *out);

struct series {
	const char *name;
	enum group group;
	unsigned machines;   /* 1 << enum machine */
	unsigned processors; /* 1 << enum processors; of the system and of KVM: unpinned alone, where that is in it */
	enum when when;
	unsigned samples; /* unless --samples says otherwise */
	sample_fn *sample;
	const char *what; /* for --list */
};

/* In the group's process, before its first sample. 0 or a negative errno. May be NULL. */
typedef int setup_fn(void);

/* What the processes find out about the host; shared memory. -1: not asked. */
struct facts {
	int kvm_software; /* 1: `syscall` in ring 3 faults (software KVM), 0: no */
	int placement;	  /* enum sthread_placement in force on KVM */
	int sync, polls;  /* of stubs: SYNC_WAKE_UP is in force; the host polls before it waits */
};
extern struct facts *facts;

/* Where this process is, one of the groups'. */
extern struct place here;

#define MAX_SAMPLES 20000u

/*
 * Runs before the first sample that counts, of what is called warm: other processes had the
 * machine.
 */
#define WARM_UP	    3u

/*
 * What --idle asks for, in this order. For one compartment more: of the library's own count, of the
 * process, of the whole host; then how many there were.
 */
enum idle_value {
	IDLE_ARENA,
	IDLE_RSS,
	IDLE_ANON,
	IDLE_SHMEM,
	IDLE_TABLES,
	IDLE_STACKS,
	IDLE_SLAB,
	IDLE_PERCPU,
	IDLE_CHARGED, /* to the control group; 0: it does not say */
	IDLE_VCPUS,   /* from here on in thousandths */
	IDLE_THREADS,
	IDLE_FDS,
	IDLE_LIVE, /* from here on numbers */
	IDLE_ANSWERED,
	IDLE_VALUES
};
#define IDLE_HOST_FIRST IDLE_ANON
#define IDLE_HOST_LAST	IDLE_PERCPU

/* What a warm run takes of what is counted, in thousandths. */
enum steady_value { STEADY_SWITCHES, STEADY_FAULTS, STEADY_EDITS, STEADY_VALUES };
#define MAX_VALUES IDLE_VALUES

/* Nanoseconds; with --count, instructions. Also inside. */
uint64_t now_ns(void);
/* Lets what was woken go to sleep again: a pause without a system call. */
void settle(void);

/* system.c */
setup_fn setup_40mb, setup_threads;
sample_fn sample_fork, sample_pthread, sample_handoff, sample_futex;
/* floor.c, floor_process.c */
setup_fn setup_floor, setup_floor_process;
sample_fn sample_round_trip, sample_round_trip_process;
/* compartment.c */
setup_fn setup_warm, setup_cow;
sample_fn sample_call, sample_create_join, sample_syscall, sample_private, sample_cow, sample_demand, sample_late_wall,
	sample_late_cpu, sample_steady;
/* gate.c */
setup_fn setup_gate;
sample_fn sample_gate_fresh, sample_gate_recycled, sample_gate_native;
/* cold.c */
setup_fn setup_cold, setup_10mb, setup_1gb, setup_idle;
sample_fn sample_call_cold, sample_create_join_cold, sample_call_pooled, sample_create_join_pooled, sample_idle;

/* options.c */
extern struct options {
	bool json, list, count;
	const char *json_file; /* NULL: standard output, in place of the table */
	bool when[WHENS];
	bool machines[MACHINES];
	bool asked_for; /* the machines, by name: one that is not there is told */
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
typedef bool wanted_fn(enum group g, struct place p);
int helpers_start(setup_fn *const setup[GROUPS][MACHINES], wanted_fn *wanted);
/* As sample_fn; *why says what happened where a negative number does not. */
int helper_ask(const struct series *s, struct place p, unsigned n, uint64_t *out, const char **why);
void helper_stop(enum group g, struct place p);
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
	struct place place;
	struct figures f;
	int err; /* negative: no figures */
	char why[64];
	uint64_t values[MAX_VALUES]; /* where they are not times */
};
/* A number that there is a goal for. */
struct goal {
	const char *name;
	struct place place;
	double value, low, high; /* low, high: 0 if there is no interval */
	double least, most;	 /* what is asked for; most 0 with least not 0: no bound */
};
bool goal_met(const struct goal *g);
/* Of one idle compartment more, on the whole host, bytes. */
double idle_total(const uint64_t *values);
void output_json(FILE *f, const struct result *r, size_t n, const struct goal *g, size_t ng);
void output_table(FILE *f, const struct result *r, size_t n, const struct goal *g, size_t ng);

#endif
