/* SPDX-License-Identifier: MIT */
/*
 * A timer of the program's that is faster than an entry into the guest takes: ring 0 makes its edits all the same, and
 * no vCPU is given up.  World: host; the routines: ring 3.
 */
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "tests/guest.h"

#define BASE  0x100000000UL
#define PAGES 48UL
#define STORM_S \
	5 /* at most: where the handler alone takes longer than the timer, nothing else gets anywhere */

static volatile sig_atomic_t signals;
static struct timespec calm;

static void alarms_every(long us)
{
	const struct itimerval v = { { 0, us }, { 0, us } };

	CHECK(!setitimer(ITIMER_REAL, &v, NULL));
}

static void on_alarm(int sig)
{
	struct timespec now;

	(void)sig;
	signals++;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec > calm.tv_sec || (now.tv_sec == calm.tv_sec && now.tv_nsec > calm.tv_nsec))
		alarms_every(0);
}

int main(void)
{
	const uint64_t len = PAGES * DUNE_PAGE_SIZE;
	struct sigaction sa = { .sa_handler = on_alarm };
	struct dune_vm_stats st;
	struct dune_space *s;
	struct dune_vcpu *c;

	guest_start(32UL << 20);
	c = guest_vcpu();
	s = guest_space();
	for (uint64_t at = BASE; at < BASE + len; at += DUNE_PAGE_SIZE)
		guest_map(s, at, 7, RW);
	CHECK_EQ(guest_call(c, s, guest_r_sum, BASE, BASE + len), 7 * PAGES);
	CHECK(!sigaction(SIGALRM, &sa, NULL));
	for (long us = 10; us <= 40; us *= 2) {
		signals = 0;
		CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE), len, RO));
		clock_gettime(CLOCK_MONOTONIC, &calm);
		calm.tv_sec += STORM_S;
		alarms_every(us);
		CHECK_OK(dune_vm_sync(s));
		alarms_every(0);
		NOTE("every %ld us: %d signals", us, (int)signals);
		guest_write_fault(c, s, BASE + len - DUNE_PAGE_SIZE, PF_DENIED_WRITE);
		CHECK_EQ(guest_read(c, s, BASE), 7);
		CHECK_OK(dune_vm_mprotect(s, dune_gva(BASE), len, RW));
		CHECK_EQ(guest_call(c, s, guest_r_touch, BASE, BASE + len), BASE + len);
		for (uint64_t at = BASE; at < BASE + len; at += DUNE_PAGE_SIZE)
			guest_write(c, s, at, 7);
	}
	dune_vm_get_stats(guest_vm, &st);
	CHECK_EQ(st.vcpus_lost, 0);
	dune_vm_free(s);
	guest_stop();
	return TEST_PASSED;
}
