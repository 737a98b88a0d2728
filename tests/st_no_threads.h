/* SPDX-License-Identifier: MIT */
/* st_no_threads.h - threads can be refused, to the library as to the test.  Wants libdl.  World: host. */
#ifndef TESTS_ST_NO_THREADS_H
#define TESTS_ST_NO_THREADS_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_bool no_threads;

/* In front of the C library's. */
int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (atomic_load(&no_threads))
		return EAGAIN;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	return real(t, attr, fn, arg);
}

#endif
