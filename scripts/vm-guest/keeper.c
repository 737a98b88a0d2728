/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - keeps the emulated machine of scripts/vm-run alive, and says that it is.  World: that
 * machine's user space.
 *
 * It holds one idle KVM virtual machine.  The kernel rewrites its own code (static keys in
 * schedule() and in KVM) whenever the first virtual machine or the first vCPU without a local APIC
 * comes, and when the last one goes.  With a thread per processor, QEMU 7.2's translator at times goes
 * on with its translation of the breakpoint that such a rewrite puts there for a moment: both
 * processors then take it for ever (seen in 3 of 4 runs of the test suite).  So those rewrites
 * happen once, at the start.
 *
 * A process pinned to each processor writes `beat N` every SECONDS seconds; if that is 0, once.  With
 * a thread per processor, one rarely never comes back from VMRUN: QEMU exits from the guest again and
 * again, with the host's own registers saved as the guest's.  No program can stop a processor of a
 * sound machine; so whoever misses a beat knows that the machine is broken, and not what ran on it.
 *
 * Usage: keeper REPORT SECONDS.  Ends with 0 when the virtual machine stands; the children stay.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int hold_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	return vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
}

static void beat(const char *report, unsigned seconds, int cpu)
{
	const struct sched_param first = { .sched_priority = 1 };
	int fd = open(report, O_WRONLY | O_NOCTTY);
	cpu_set_t only;
	char line[32];
	int len = snprintf(line, sizeof(line), "beat %d\n", cpu);

	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	setsid();
	if (sched_setaffinity(0, sizeof(only), &only) || sched_setscheduler(0, SCHED_FIFO, &first))
		exit(1);
	while (write(fd, line, (size_t)len) == len) {
		if (seconds)
			sleep(seconds);
		else
			pause(); /* no signal comes */
	}
	exit(1);
}

int main(int argc, char **argv)
{
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);

	if (argc != 3 || hold_vm() < 0) {
		perror("keeper: no virtual machine");
		return 1;
	}
	for (int cpu = 0; cpu < cpus; cpu++) {
		pid_t child = fork();

		if (child < 0) {
			perror("keeper: fork");
			return 1;
		}
		if (!child)
			beat(argv[1], (unsigned)atoi(argv[2]), cpu);
	}
	return 0;
}
