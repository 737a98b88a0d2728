/* SPDX-License-Identifier: MIT */
/* st_soft.h - which kind of computer this is, for what processors do differently.  World: host. */
#ifndef TESTS_ST_SOFT_H
#define TESTS_ST_SOFT_H

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sthread/process.h"
#include "tests/test.h"

/* The software KVM, as docs/architecture.md has it.  After st_init(). */
static inline bool st_soft(void)
{
	struct dune_vm_info info;

	dune_vm_get_info(process.vm, &info);
	return info.syscall_faults;
}

static inline void st_host_spins(uint64_t sp)
{
	__asm__ volatile("movq %0, %%rsp\n1: pause\n jmp 1b" : : "r"(sp) : "memory");
}

static inline void st_host_has_gs(uint64_t base)
{
	const struct timespec t = { 0, 1000000 };
	uint64_t now;

	__asm__ volatile("wrgsbase %0" : : "r"(base));
	nanosleep(&t, NULL); /* others run meanwhile */
	__asm__ volatile("rdgsbase %0" : "=r"(now));
	if (now != base)
		_exit(1);
	for (;;)
		pause();
}

/*
 * Can a process of this computer do that?  A kernel that is itself a guest may lose a base of the kernel's half, or
 * not return to a stack pointer that is not canonical; and a stub is a process.  True for KVM.
 */
static inline bool st_host_can(void (*what)(uint64_t), uint64_t arg)
{
	const struct timespec t = { 0, 50000000 };
	int status;
	pid_t pid;

	if (test_placement() != TEST_PLACEMENT_PROCESS)
		return true;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		what(arg);
	nanosleep(&t, NULL);
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

#endif
