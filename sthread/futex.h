/* SPDX-License-Identifier: MIT */
/* futex.h - wait for a word of this process to change.  World: host. */
#ifndef STHREAD_FUTEX_H
#define STHREAD_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
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

static inline void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
