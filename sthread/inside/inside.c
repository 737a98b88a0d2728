/* SPDX-License-Identifier: MIT */
/* inside.c - is this a compartment, and the end of one.  World: ring 3, and the program. */
#include "sthread/inside/inside.h"

#include <pthread.h>
#include <sthread.h>

#include "sthread/inside/hostcall.h"

/* The checkpoint patches its copy of this byte: nothing else tells the two worlds apart. */
volatile bool sthread_inside_flag;

bool sthread_inside(void)
{
	return is_inside();
}

void sthread_exit(void *value)
{
	if (!is_inside())
		pthread_exit(value);
	for (;;)
		host_call(HOSTCALL_EXIT, (uint64_t)value, 0, 0, 0, 0);
}
