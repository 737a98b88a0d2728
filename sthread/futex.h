/* SPDX-License-Identifier: MIT */
/* futex.h - wait for a word of this process to change.  World: host. */
#ifndef STHREAD_FUTEX_H
#define STHREAD_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Until woken, a signal, or that long (NULL: for ever); not at all if the word is another. */
static inline void futex_wait_for(_Atomic uint32_t *word, uint32_t while_is,
				  const struct timespec *most)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_is, most, NULL, 0);
}

static inline void futex_wait(_Atomic uint32_t *word, uint32_t while_is)
{
	futex_wait_for(word, while_is, NULL);
}

/*
 * Until the word is not 0.  What comes soon is not worth going to sleep for: to be woken takes
 * longer than a short run.  Others that want the processor meanwhile, the run itself perhaps, get
 * it.
 */
#define FUTEX_SOON_NS 100000

static inline void futex_await(_Atomic uint32_t *word)
{
	uint64_t now, until = 0;
	struct timespec t;

	while (!atomic_load(word)) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
		until = until ? until : now + FUTEX_SOON_NS;
		if (now < until)
			sched_yield();
		else
			futex_wait(word, 0);
	}
}

/*
 * Likewise, for the end of a run, which says by `begun` that it has begun.  As long as it has not, it may be this
 * processor that it waits for: so if its thread rested here last (cpu), it gets it at once, and else soon.
 */
#define FUTEX_BEGIN_NS 20000

static inline void futex_await_run(_Atomic uint32_t *word, const _Atomic uint32_t *begun, int cpu)
{
	uint64_t now, since = 0, most;
	struct timespec t;

	while (!atomic_load(word)) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
		since = since ? since : now;
		most = atomic_load(begun) ? FUTEX_SOON_NS : cpu == sched_getcpu() ? 0 : FUTEX_BEGIN_NS;
		if (now - since < most)
			sched_yield();
		else
			futex_wait(word, 0);
	}
}

static inline void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
