/* SPDX-License-Identifier: MIT */
/*
 * The smallest program with a compartment.  World: the program; hello() runs inside.
 *
 *   build/examples/hello
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sthread.h>

/*
 * Runs in the compartment: on a copy of the program's memory, with one descriptor and one system
 * call.
 */
static void *hello(void *arg)
{
	static const char words[] = "hello from inside\n";
	long there;

	if (write(STDOUT_FILENO, words, sizeof(words) - 1) < 0)
		return NULL;

	/* Not granted, so it does not exist in here. */
	there = syscall(SYS_socket, 2, 1, 0);
	return there < 0 ? arg : NULL;
}

static int failed(const char *what, int err)
{
	fprintf(stderr, "hello: %s: %s\n", what, strerror(-err));
	return 1;
}

int main(void)
{
	struct sthread_policy *policy;
	struct sthread_result result;
	int err;

	/*
	 * What the program is now is what every compartment starts from. Secrets come after this.
	 */
	err = sthread_init(NULL);
	if (err)
		return failed("sthread_init", err);

	/* A new policy grants nothing. This one lets it write to descriptor 1. */
	err = sthread_policy_create(&policy);
	if (err)
		return failed("sthread_policy_create", err);
	err = sthread_policy_fd(policy, STDOUT_FILENO, STHREAD_FD_WRITE);
	if (!err)
		err = sthread_policy_syscall(policy, SYS_write, STHREAD_ALLOW);
	if (err)
		return failed("policy", err);

	/* Runs hello(42) inside and waits for it. */
	err = sthread_call(policy, hello, (void *)(uintptr_t)42, &result);
	if (err)
		return failed("sthread_call", err);

	if (result.end == STHREAD_RETURNED)
		printf("it returned %lu\n", (unsigned long)(uintptr_t)result.value);
	else
		printf("it ended otherwise (%d): see examples/fault.c\n", (int)result.end);

	sthread_policy_destroy(policy);
	sthread_fini();
	return !(result.end == STHREAD_RETURNED && result.value == (void *)(uintptr_t)42);
}
