/* SPDX-License-Identifier: MIT */
/* inside.h - is this code running in a compartment?  World: ring 3, and the program. */
#ifndef STHREAD_INSIDE_INSIDE_H
#define STHREAD_INSIDE_INSIDE_H

#include <stdbool.h>

/* True in the image only, where the checkpoint patches it. */
extern volatile bool sthread_inside_flag;

static inline bool is_inside(void)
{
	return sthread_inside_flag;
}

#endif
