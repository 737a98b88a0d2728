/* SPDX-License-Identifier: MIT */
/* st_soft.h - which kind of computer this is, for what processors do differently.  World: host. */
#ifndef TESTS_ST_SOFT_H
#define TESTS_ST_SOFT_H

#include <signal.h>
#include <sys/auxv.h>
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

/*
 * Can a process of this computer keep that stack pointer?  A kernel that is itself a guest may not return to one that is
 * not canonical; and a stub is a process.  True for KVM.  It has spun long enough to be interrupted when it is judged.
 */
static inline bool st_host_can_spin(uint64_t sp)
{
	const struct timespec t = { 0, 5000000 };
	struct timespec used = { 0 };
	clockid_t its;
	int status;
	pid_t pid;

	if (test_placement() != TEST_PLACEMENT_PROCESS)
		return true;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		st_host_spins(sp);
	CHECK_EQ(clock_getcpuclockid(pid, &its), 0);
	while (used.tv_sec == 0 && used.tv_nsec < 50000000) {
		nanosleep(&t, NULL);
		if (waitpid(pid, &status, WNOHANG) == pid)
			return false;
		CHECK_EQ(clock_gettime(its, &used), 0);
	}
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WTERMSIG(status) == SIGKILL;
}

/*
 * Are bases kept that ring 3 wrote by itself?  Where the kernel does not enable FSGSBASE (AT_HWCAP2 says so), a process
 * may write them if the processor lets it, and they last until another process runs.
 */
static inline bool st_host_keeps_bases(void)
{
	return test_placement() != TEST_PLACEMENT_PROCESS || (getauxval(AT_HWCAP2) & 2);
}

#endif
