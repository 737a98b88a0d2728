/* SPDX-License-Identifier: MIT */
/*
 * coverage.c - in builds for scripts/coverage: who ends by _exit() is counted, too.  World: host.
 *
 * Instead of the C library's.  Not for compartments, which cannot write files, nor where the build's folder is not
 * (TEST_COVERAGE), as in another root.
 */
#include <sthread.h>
#include <sys/syscall.h>
#include <unistd.h>

void __gcov_dump(void);

__attribute__((weak)) extern bool sthread_inside(void);

void _exit(int status)
{
	if ((!sthread_inside || !sthread_inside()) && !access(TEST_COVERAGE, W_OK))
		__gcov_dump();
	for (;;)
		syscall(SYS_exit_group, status);
}
