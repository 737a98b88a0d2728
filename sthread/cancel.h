/* SPDX-License-Identifier: MIT */
/* cancel.h - no call of the library is a cancellation point.  World: host. */
#ifndef STHREAD_CANCEL_H
#define STHREAD_CANCEL_H

#include <pthread.h>

/*
 * No call of the library ends half way because its thread is cancelled: a request stays pending
 * until it is over.
 */
static inline int cancel_disable(void)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	return old;
}

static inline void cancel_restore(int old)
{
	pthread_setcancelstate(old, NULL);
}

#endif
