/* SPDX-License-Identifier: MIT */
/*
 * Two compartments run at the same time on two processors, beside the master; and clocks inside tell the master's
 * time.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <sched.h>
#include <sys/time.h>
#include <time.h>

static uint64_t ns_of(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

static uint64_t now(clockid_t id)
{
	struct timespec t;

	CHECK(clock_gettime(id, &t) == 0);
	return ns_of(&t);
}

static const clockid_t clocks[] = { CLOCK_REALTIME,
				    CLOCK_MONOTONIC,
				    CLOCK_MONOTONIC_RAW,
				    CLOCK_REALTIME_COARSE,
				    CLOCK_MONOTONIC_COARSE,
				    CLOCK_BOOTTIME,
				    CLOCK_TAI };

ST_FN(reads_clock)
{
	return (void *)now(clocks[(uintptr_t)arg]);
}

ST_FN(reads_clock_by_syscall)
{
	struct timespec t;

	CHECK_EQ(syscall(SYS_clock_gettime, clocks[(uintptr_t)arg], &t), 0);
	return (void *)ns_of(&t);
}

ST_FN(reads_time)
{
	struct timeval tv;

	CHECK_EQ(gettimeofday(&tv, NULL), 0);
	CHECK(tv.tv_sec - time(NULL) <= 1);
	return (void *)((uint64_t)tv.tv_sec * 1000000000 + (uint64_t)tv.tv_usec * 1000);
}

ST_FN(sleeps)
{
	struct timespec t = { 0, 20000000 };
	uint64_t before = now(CLOCK_MONOTONIC);

	CHECK_EQ(nanosleep(&t, NULL), 0);
	CHECK_GE(now(CLOCK_MONOTONIC) - before, 20000000u);
	return NULL;
}

/* Time is cut into slices by the cycle counter, which is the same inside and quick to read. */
#define SLICES	 15000U
#define SLICE_NS 10000U
static uint64_t slice; /* cycles */

struct span {
	unsigned char ran[SLICES / 8]; /* a bit for each slice of time */
};
static struct span spans[2]; /* as they are at the checkpoint: written inside, and sent */
static int outs[2][2];

static uint64_t cycles(void)
{
	return __builtin_ia32_rdtsc();
}

/* Spins and notes when it ran, then sends the notes.  arg: when to begin << 1 | which of the two. */
ST_FN(spins)
{
	unsigned which = (uintptr_t)arg & 1;
	uint64_t start = (uint64_t)(uintptr_t)arg >> 1, at;
	struct span *s = &spans[which];

	while ((at = cycles()) < start + SLICES * slice) {
		if (at >= start)
			s->ran[(at - start) / slice / 8] |=
				(unsigned char)(1u << (at - start) / slice % 8);
	}
	CHECK_EQ(write(outs[which][1], s->ran, sizeof(s->ran)), (ssize_t)sizeof(s->ran));
	return NULL;
}

static void clocks_agree(void)
{
	for (unsigned i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		for (int way = 0; way < 2; way++) {
			uint64_t before = now(clocks[i]);
			struct sthread_result r =
				st_call(NULL, way ? reads_clock_by_syscall : reads_clock,
					(void *)(uintptr_t)i);
			uint64_t after = now(clocks[i]), inside = (uint64_t)r.value;

			ST_END(&r, STHREAD_RETURNED);
			CHECK_MSG(before <= inside && inside <= after,
				  "clock %d, %s: %" PRIu64 " <= %" PRIu64 " <= %" PRIu64,
				  (int)clocks[i], way ? "system call" : "vDSO", before, inside,
				  after);
		}
	}
}

/*
 * Slices in which both ran, of 100 in which one did.  Taking turns, whatever the reason, both run only in a slice in
 * which they change places, one in hundreds.
 */
static unsigned overlap(const struct sthread_policy *p)
{
	uint64_t start = cycles() + 200 * slice;
	struct sthread *a = st_create(p, spins, (void *)(start << 1));
	struct sthread *b = st_create(p, spins, (void *)(start << 1 | 1));
	struct sthread_result ra = st_join(a), rb = st_join(b);
	unsigned one = 0, both = 0;

	ST_RETURNED(&ra, 0);
	ST_RETURNED(&rb, 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(read(outs[i][0], spans[i].ran, sizeof(spans[i].ran)),
			 (ssize_t)sizeof(spans[i].ran));
	for (unsigned i = 0; i < SLICES / 8; i++) {
		one += (unsigned)__builtin_popcount(spans[0].ran[i] | spans[1].ran[i]);
		both += (unsigned)__builtin_popcount(spans[0].ran[i] & spans[1].ran[i]);
	}
	NOTE("of %u slices one ran in %u, both in %u", SLICES, one, both);
	return both * 100 / (one ? one : 1);
}

static void parallel(void)
{
	struct sthread_policy *p = st_policy();
	int tries = 0;

	st_allow(p, SYS_write);
	st_grant(p, outs[0][1], STHREAD_FD_WRITE);
	st_grant(p, outs[1][1], STHREAD_FD_WRITE);
	/* A busy machine may not have two processors for us at once. */
	while (overlap(p) < 1)
		CHECK_MSG(++tries < 150, "two compartments never run at the same time");
	sthread_policy_destroy(p);
}

int main(void)
{
	uint64_t before, after, at;
	struct sthread_result r;
	cpu_set_t set;

	before = now(CLOCK_MONOTONIC);
	at = cycles();
	while (now(CLOCK_MONOTONIC) < before + 20000000)
		;
	slice = (cycles() - at) / (20000000 / SLICE_NS);
	CHECK(pipe(outs[0]) == 0 && pipe(outs[1]) == 0);
	st_init();
	clocks_agree();
	before = now(CLOCK_REALTIME);
	r = st_call(NULL, reads_time, NULL);
	after = now(CLOCK_REALTIME);
	ST_END(&r, STHREAD_RETURNED);
	CHECK_LE(before / 1000, (uint64_t)r.value / 1000);
	CHECK_LE((uint64_t)r.value, after);
	ST_PASSES(NULL, sleeps, NULL);
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) >= 2)
		parallel();
	else
		NOTE("one processor: nothing can run in parallel");
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
