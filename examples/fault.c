/* SPDX-License-Identifier: MIT */
/*
 * A compartment goes after a secret that the program loaded after sthread_init(): in memory that
 * was there before, it finds what was there before; in memory that is new, nothing, and it ends
 * there. The program goes on and prints the report.  World: the program; peek_*() run inside.
 *
 *   build/examples/fault
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sthread.h>

static char old_place[64] = "nothing here yet"; /* in the image that sthread_init() takes */
static char *new_place;				/* allocated later: in no image */

/* Inside: reads the copy that the image holds. */
static void *peek_old(void *arg)
{
	const char *place = arg;

	return (void *)(size_t)(strcmp(place, "nothing here yet") == 0);
}

/*
 * Inside: the address is passed, as an attacker might have guessed it. No such memory exists here.
 */
static void *peek_new(void *arg)
{
	const volatile char *place = arg;

	return (void *)(size_t)place[0];
}

static int failed(const char *what, int err)
{
	fprintf(stderr, "fault: %s: %s\n", what, strerror(-err));
	return 1;
}

int main(void)
{
	struct sthread_policy *nothing;
	struct sthread_result result;
	char report[8192];
	int err;

	err = sthread_init(NULL);
	if (err)
		return failed("sthread_init", err);
	err = sthread_policy_create(&nothing);
	if (err)
		return failed("sthread_policy_create", err);

	/* Now the secrets. A megabyte, so that malloc() takes a mapping of its own for it. */
	new_place = malloc(1 << 20);
	if (!new_place)
		return failed("malloc", -ENOMEM);
	strcpy(new_place, "correct horse battery staple");
	strcpy(old_place, new_place);

	err = sthread_call(nothing, peek_old, old_place, &result);
	if (err)
		return failed("sthread_call", err);
	printf("in memory of before: %s\n\n", result.end == STHREAD_RETURNED && result.value ?
						      "it found what was there before" :
						      "it found something else");

	err = sthread_call(nothing, peek_new, new_place, &result);
	if (err)
		return failed("sthread_call", err);
	if (sthread_fault_format(&result, report, sizeof(report)) < 0)
		return failed("sthread_fault_format", -EINVAL);
	printf("in new memory:\n%s\nthe program goes on, and so does its secret: %s\n", report,
	       strcmp(old_place, new_place) == 0 ? "untouched" : "damaged");

	free(new_place);
	sthread_policy_destroy(nothing);
	sthread_fini();
	return result.end != STHREAD_FAULTED;
}
