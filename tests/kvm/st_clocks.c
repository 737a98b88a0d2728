/* SPDX-License-Identifier: MIT */
/*
 * The CPU time that a compartment is told is its own: what it computes counts, by each of the calls that tell, whoever
 * computes for it.  World: host; ST_FN: inside.
 */
#include <sys/resource.h>
#include <sys/times.h>
#include <time.h>

#include "tests/st.h"

#define TURNS	200000000UL /* no processor makes so many in LEAST_MS */
#define LEAST_MS 10

static uint64_t ms(clockid_t clock)
{
	struct timespec t;

	CHECK(!syscall(SYS_clock_gettime, clock, &t));
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t used(int how)
{
	struct rusage u;
	struct tms t;

	switch (how) {
	case 0:
		return ms(CLOCK_THREAD_CPUTIME_ID);
	case 1:
		return ms(CLOCK_PROCESS_CPUTIME_ID);
	case 2:
		CHECK(!syscall(SYS_getrusage, RUSAGE_SELF, &u));
		return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
		       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
	default:
		CHECK(syscall(SYS_times, &t) >= 0);
		return (uint64_t)(t.tms_utime + t.tms_stime) * 10;
	}
}

ST_FN(computes)
{
	uint64_t before[4], wall = ms(CLOCK_MONOTONIC);

	(void)arg;
	for (int how = 0; how < 4; how++)
		before[how] = used(how);
	for (unsigned long i = 0; i < TURNS; i++)
		__asm__ volatile("");
	for (int how = 0; how < 4; how++) {
		uint64_t now = used(how);

		CHECK_GE(now - before[how], LEAST_MS);
		CHECK_LE(now - before[how], ms(CLOCK_MONOTONIC) - wall + 20); /* a tick is 10 ms */
	}
	return NULL;
}

int main(void)
{
	st_init();
	ST_PASSES(NULL, computes, NULL);
	ST_PASSES(NULL, computes, NULL);
	sthread_fini();
	return TEST_PASSED;
}
